package proto

import (
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/zkerr"
)

// A MultiOp is one operation of a multi: one struct for all kinds, of which each
// uses the fields of its own request record.
type MultiOp struct {
	// In this order there is no padding: a multi of deletes makes many of these of
	// few bytes.
	Path    string
	Data    []byte // create…, setData
	ACL     []ACL  // create…
	TTL     int64  // createTTL
	Op      Op
	Flags   CreateFlags // create…
	Version int32       // delete, setData, check
	Watch   bool        // getData, getChildren; a server takes it as false
}

// Kind returns the operation that o comes to: inside a multi the flags of a
// create decide, not only its code. Container flags make a container of any
// create, and createTTL without TTL flags is a plain create.
func (o *MultiOp) Kind() Op {
	switch o.Op {
	case OpCreate, OpCreate2, OpCreateTTL:
		switch {
		case o.Flags.Container():
			return OpCreateContainer
		case o.Op == OpCreateTTL && !o.Flags.TTL():
			return OpCreate
		}
	}
	return o.Op
}

// A MultiRequest is the record of multi, or of multiRead if Read is set: Read
// has to be set before decoding.
//
// On the wire it is a list of {op int, false, -1} and the op's own record, ended
// by {-1, true, -1}.
type MultiRequest struct {
	Read bool
	Ops  []MultiOp
}

// multiOpMin is the least that an op takes: its header, a path, a byte.
const multiOpMin = multiHeaderSize + 4 + 1

const multiHeaderSize = 4 + 1 + 4

func multiHeader(d *jute.Decoder) (op Op, done bool, err zkerr.Code) {
	return Op(d.Int()), d.Bool(), zkerr.Code(d.Int())
}

func appendMultiHeader(dst []byte, op Op, done bool, err zkerr.Code) []byte {
	dst = jute.AppendInt(dst, int32(op))
	dst = jute.AppendBool(dst, done)
	return jute.AppendInt(dst, int32(err))
}

func (r *MultiRequest) Decode(d *jute.Decoder) {
	r.Ops = nil
	for {
		op, done, _ := multiHeader(d)
		if d.Err() != nil || done {
			return
		}
		if len(r.Ops) == fewOps {
			// An op in memory is up to seven times what it takes on the wire, and growing
			// the list leaves as much behind again: what is to come is counted.
			ops := make([]MultiOp, fewOps, fewOps+1+countOps(*d, op))
			copy(ops, r.Ops)
			r.Ops = ops
		} else if r.Ops == nil {
			r.Ops = make([]MultiOp, 0, min(d.Remaining()/multiOpMin+1, fewOps))
		}
		r.Ops = append(r.Ops, MultiOp{Op: op})
		r.Ops[len(r.Ops)-1].decode(d, r.Read)
		if d.Err() != nil {
			return
		}
	}
}

// fewOps is how many ops get their memory before it is known whether they come.
const fewOps = 8

// countOps counts the ops that follow on one whose header was read: those that are
// whole, as far as their lengths go.
func countOps(d jute.Decoder, op Op) (n int) {
	for {
		d.Buffer()
		switch op {
		case OpCreate, OpCreate2, OpCreateContainer, OpCreateTTL:
			d.Buffer()
			jute.SkipACLs(&d)
			d.Int()
			if op == OpCreateTTL {
				d.Long()
			}
		case OpDelete, OpCheck:
			d.Int()
		case OpSetData:
			d.Buffer()
			d.Int()
		case OpGetData, OpGetChildren:
			d.Bool()
		default:
			return n
		}
		var done bool
		if op, done, _ = multiHeader(&d); d.Err() != nil || done {
			return n
		}
		n++
	}
}

func (o *MultiOp) decode(d *jute.Decoder, read bool) {
	if read != (o.Op == OpGetData || o.Op == OpGetChildren) {
		d.Fail(ErrMultiOp)
		return
	}
	switch o.Op {
	case OpCreate, OpCreate2, OpCreateContainer, OpCreateTTL:
		o.Path = path(d)
		o.Data = d.Buffer()
		o.ACL = d.ACLs()
		o.Flags = CreateFlags(d.Int())
		if o.ACL == nil && o.Op != OpCreateTTL {
			d.Fail(ErrNullACL) // as Apache does; alone, or in a createTTL, it is an invalid ACL
		}
		if o.Op == OpCreateTTL {
			o.TTL = d.Long()
		} else if !o.Flags.Valid() || o.Flags.TTL() {
			d.Fail(ErrMultiFlag)
		}
	case OpDelete, OpCheck:
		o.Path = path(d)
		o.Version = d.Int()
	case OpSetData:
		o.Path = path(d)
		o.Data = d.Buffer()
		o.Version = d.Int()
	case OpGetData, OpGetChildren:
		o.Path = path(d)
		o.Watch = d.Bool()
	default:
		d.Fail(ErrMultiOp)
	}
}

func (r *MultiRequest) Append(dst []byte) []byte {
	for i := range r.Ops {
		dst = r.Ops[i].append(dst)
	}
	return AppendMultiEnd(dst)
}

func (o *MultiOp) append(dst []byte) []byte {
	dst = appendMultiHeader(dst, o.Op, false, -1)
	dst = jute.AppendString(dst, o.Path)
	switch o.Op {
	case OpCreate, OpCreate2, OpCreateContainer, OpCreateTTL:
		dst = jute.AppendBuffer(dst, o.Data)
		dst = jute.AppendACLs(dst, o.ACL)
		dst = jute.AppendInt(dst, int32(o.Flags))
		if o.Op == OpCreateTTL {
			dst = jute.AppendLong(dst, o.TTL)
		}
	case OpSetData:
		dst = jute.AppendBuffer(dst, o.Data)
		dst = jute.AppendInt(dst, o.Version)
	case OpGetData, OpGetChildren:
		dst = jute.AppendBool(dst, o.Watch)
	default:
		dst = jute.AppendInt(dst, o.Version)
	}
	return dst
}

// A MultiResult is the answer to one operation of a multi. Op is that of the
// result: OpError for a failed one; OpCreate2 for all creates that answer with
// a Stat.
type MultiResult struct {
	Op       Op
	Err      zkerr.Code // OpError
	Path     string     // OpCreate, OpCreate2
	Stat     Stat       // OpCreate2, OpSetData, OpGetData
	Data     []byte     // OpGetData
	Children []string   // OpGetChildren
}

// A MultiResponse answers multi and multiRead.
type MultiResponse struct{ Results []MultiResult }

func (r *MultiResponse) Decode(d *jute.Decoder) {
	r.Results = nil
	for {
		op, done, err := multiHeader(d)
		if d.Err() != nil || done {
			return
		}
		r.Results = append(r.Results, MultiResult{Op: op, Err: err})
		r.Results[len(r.Results)-1].decode(d)
		if d.Err() != nil {
			return
		}
	}
}

func (r *MultiResult) decode(d *jute.Decoder) {
	switch r.Op {
	case OpCreate:
		r.Path = d.String()
	case OpCreate2:
		r.Path = d.String()
		r.Stat.Decode(d)
	case OpSetData:
		r.Stat.Decode(d)
	case OpDelete, OpCheck:
	case OpGetData:
		r.Data = d.Buffer()
		r.Stat.Decode(d)
	case OpGetChildren:
		r.Children = d.Strings()
	case OpError:
		r.Err = zkerr.Code(d.Int())
	default:
		d.Fail(ErrMultiOp)
	}
}

func (r *MultiResponse) Append(dst []byte) []byte {
	for i := range r.Results {
		dst = r.Results[i].Append(dst)
	}
	return AppendMultiEnd(dst)
}

// Append appends one result. Results are ended by AppendMultiEnd.
func (r *MultiResult) Append(dst []byte) []byte {
	dst = appendMultiHeader(dst, r.Op, false, r.Err)
	switch r.Op {
	case OpCreate:
		dst = jute.AppendString(dst, r.Path)
	case OpCreate2:
		dst = jute.AppendString(dst, r.Path)
		dst = r.Stat.Append(dst)
	case OpSetData:
		dst = r.Stat.Append(dst)
	case OpGetData:
		dst = jute.AppendBuffer(dst, r.Data)
		dst = r.Stat.Append(dst)
	case OpGetChildren:
		dst = jute.AppendStrings(dst, r.Children)
	case OpError:
		dst = jute.AppendInt(dst, int32(r.Err))
	}
	return dst
}

// AppendMultiEnd appends what ends a list of operations or results.
func AppendMultiEnd(dst []byte) []byte { return appendMultiHeader(dst, OpError, true, -1) }
