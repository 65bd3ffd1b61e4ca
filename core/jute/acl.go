package jute

// Permission bits of an ACL.
const (
	PermRead   int32 = 1
	PermWrite  int32 = 2
	PermCreate int32 = 4
	PermDelete int32 = 8
	PermAdmin  int32 = 16
	PermAll    int32 = 31
)

// An ID is an identity under an authentication scheme: world:anyone,
// digest:user:hash, ip:10.0.0.0/8.
type ID struct {
	Scheme string
	ID     string
}

// An ACL grants permissions to an identity.
type ACL struct {
	Perms  int32
	Scheme string
	ID     string
}

const (
	minID  = 4 + 4
	minACL = 4 + minID
)

// Lists that nearly every znode has. They are shared by all who decode them.
var (
	openACL = [1]ACL{{Perms: PermAll, Scheme: "world", ID: "anyone"}}
	readACL = [1]ACL{{Perms: PermRead, Scheme: "world", ID: "anyone"}}
)

const (
	openACLBytes = "\x00\x00\x00\x01\x00\x00\x00\x1f\x00\x00\x00\x05world\x00\x00\x00\x06anyone"
	readACLBytes = "\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x05world\x00\x00\x00\x06anyone"
)

// OpenACL returns the list {all permissions, world:anyone}. It must not be
// modified; appending to it copies.
func OpenACL() []ACL { return openACL[:] }

// ReadACL returns the list {read, world:anyone}. It must not be modified.
func ReadACL() []ACL { return readACL[:] }

// ACLs reads a vector of ACLs: nil for null. The list may be shared with other
// records and must not be modified; appending to it copies.
func (d *Decoder) ACLs() []ACL {
	if len(d.b) >= len(openACLBytes) {
		switch string(d.b[:len(openACLBytes)]) { // does not allocate
		case openACLBytes:
			d.b = d.b[len(openACLBytes):]
			return OpenACL()
		case readACLBytes:
			d.b = d.b[len(readACLBytes):]
			return ReadACL()
		}
	}
	n := d.Count(minACL)
	if n < 0 || d.err != nil || !d.holds(n, 1, 2) {
		return nil
	}
	v := make([]ACL, 0, n)
	for range n {
		a := ACL{Perms: d.Int(), Scheme: d.scheme(), ID: d.String()}
		if d.err != nil {
			return nil
		}
		v = append(v, a)
	}
	return v[:len(v):len(v)]
}

// SkipACLs passes over a vector of ACLs.
func SkipACLs(d *Decoder) {
	for n := d.Count(minACL); n > 0 && d.err == nil; n-- {
		d.Int()
		d.Buffer()
		d.Buffer()
	}
}

// scheme reads a string that is nearly always one of a few.
func (d *Decoder) scheme() string {
	b := d.Buffer()
	switch string(b) { // does not allocate
	case "world":
		return "world"
	case "auth":
		return "auth"
	case "digest":
		return "digest"
	case "ip":
		return "ip"
	case "sasl":
		return "sasl"
	case "x509":
		return "x509"
	case "super":
		return "super"
	}
	return string(b)
}

// AppendACLs appends a vector of ACLs; a nil one as null.
func AppendACLs(dst []byte, v []ACL) []byte {
	if v == nil {
		return AppendNull(dst)
	}
	dst = AppendCount(dst, len(v))
	for i := range v {
		dst = AppendInt(dst, v[i].Perms)
		dst = AppendString(dst, v[i].Scheme)
		dst = AppendString(dst, v[i].ID)
	}
	return dst
}

// IDs reads a vector of identities: nil for null.
func (d *Decoder) IDs() []ID {
	n := d.Count(minID)
	if n < 0 || d.err != nil || !d.holds(n, 0, 2) {
		return nil
	}
	v := make([]ID, 0, n)
	for range n {
		id := ID{Scheme: d.scheme(), ID: d.String()}
		if d.err != nil {
			return nil
		}
		v = append(v, id)
	}
	return v
}

// AppendIDs appends a vector of identities; a nil one as null.
func AppendIDs(dst []byte, v []ID) []byte {
	if v == nil {
		return AppendNull(dst)
	}
	dst = AppendCount(dst, len(v))
	for i := range v {
		dst = AppendString(dst, v[i].Scheme)
		dst = AppendString(dst, v[i].ID)
	}
	return dst
}
