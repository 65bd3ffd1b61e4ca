package txn

import "github.com/zkcore/zkcore/core/jute"

// minSub is the least that a part of a multi takes: its type and a length.
const minSub = 4 + 4

// Decode reads a txn from b and overwrites all of t. Data and Raw alias b. The
// bytes behind the digest are ignored, and so are those where a digest should
// be, if there are too few for one.
//
// The error wraps jute.ErrShort when b ends before the record does.
func Decode(b []byte, t *Txn) error {
	d := jute.NewDecoder(b)
	*t = Txn{Header: decodeHeader(&d)}
	if err := d.Err(); err != nil {
		return err
	}
	switch t.Header.Type {
	case TypeMulti:
		decodeSubs(&d, t)
	case TypeCheck:
		// Apache logs it when a client sends a bare check, and then can't read it.
		return UnknownTypeError(TypeCheck)
	case TypeCloseSession:
		if d.Remaining() == 0 {
			t.NoPaths = true
		} else {
			t.Paths = d.Strings()
		}
	case TypeCreate, TypeCreate2:
		decodeCreate(&d, &t.Body)
		// Only the record of before 3.4 has no parentCVersion; it has no digest
		// behind it either.
		if d.Err() == nil && d.Remaining() < 4 && t.Header.Type == TypeCreate {
			t.ParentCVersion, t.NoParentCVersion = -1, true
			return nil
		}
		t.ParentCVersion = d.Int()
	default:
		if !decodeBody(&d, t.Header.Type, &t.Body) {
			return UnknownTypeError(t.Header.Type)
		}
	}
	if err := d.Err(); err != nil {
		return err
	}
	if d.Remaining() >= DigestSize {
		t.HasDigest = true
		t.Digest = Digest{Version: d.Int(), Tree: uint64(d.Long())}
	}
	return nil
}

// DecodeHeader reads only the header of the txn in b.
func DecodeHeader(b []byte) (Header, error) {
	d := jute.NewDecoder(b)
	h := decodeHeader(&d)
	return h, d.Err()
}

func decodeHeader(d *jute.Decoder) Header {
	return Header{
		ClientID: d.Long(),
		Cxid:     d.Int(),
		Zxid:     d.Long(),
		Time:     d.Long(),
		Type:     d.Int(),
	}
}

// decodeCreate reads what all versions of a create have.
func decodeCreate(d *jute.Decoder, b *Body) {
	b.Path = d.String()
	b.Data = d.Buffer()
	b.ACL = d.ACLs()
	b.Ephemeral = d.Bool()
}

// decodeBody reads the record of typ, and says whether it knows that type. It
// reads the records that can stand in a multi and those that look the same in
// one and alone.
func decodeBody(d *jute.Decoder, typ int32, b *Body) bool {
	switch typ {
	case TypeCreate, TypeCreate2:
		decodeCreate(d, b)
		b.ParentCVersion = d.Int()
	case TypeDelete, TypeDeleteContainer:
		b.Path = d.String()
	case TypeSetData, TypeReconfig:
		b.Path = d.String()
		b.Data = d.Buffer()
		b.Version = d.Int()
	case TypeSetACL:
		b.Path = d.String()
		b.ACL = d.ACLs()
		b.Version = d.Int()
	case TypeCheck:
		b.Path = d.String()
		b.Version = d.Int()
	case TypeCreateContainer:
		b.Path = d.String()
		b.Data = d.Buffer()
		b.ACL = d.ACLs()
		b.ParentCVersion = d.Int()
	case TypeCreateTTL:
		b.Path = d.String()
		b.Data = d.Buffer()
		b.ACL = d.ACLs()
		b.ParentCVersion = d.Int()
		b.TTL = d.Long()
	case TypeError:
		b.Err = d.Int()
	case TypeCreateSession:
		b.TimeoutMS = d.Int()
	default:
		return false
	}
	return true
}

// inMulti says whether Apache applies a part of this type.
func inMulti(typ int32) bool {
	switch typ {
	case TypeCreate, TypeCreate2, TypeDelete, TypeSetData, TypeCheck,
		TypeCreateContainer, TypeDeleteContainer, TypeCreateTTL, TypeError:
		return true
	}
	return false
}

func decodeSubs(d *jute.Decoder, t *Txn) {
	n := d.Count(minSub)
	if n < 0 || d.Err() != nil {
		return
	}
	// A Sub is some twenty times the least it can be decoded from, and growing a list
	// leaves as much behind again: many get their memory when it is seen that they are
	// there.
	if n > 16 {
		walk := *d
		for range n {
			walk.Int()
			walk.Buffer()
		}
		if err := walk.Err(); err != nil {
			*d = walk
			return
		}
	}
	t.Subs = make([]Sub, 0, n)
	for range n {
		typ, rec := d.Int(), d.Buffer()
		if d.Err() != nil {
			return
		}
		t.Subs = append(t.Subs, Sub{Type: typ})
		s := &t.Subs[len(t.Subs)-1]
		if !inMulti(typ) {
			s.Raw = rec
			continue
		}
		sd := jute.NewDecoder(rec)
		decodeBody(&sd, typ, &s.Body)
		if err := sd.Err(); err != nil {
			d.Fail(err)
			return
		}
	}
}
