package judge

import (
	"slices"

	"github.com/zkcore/zkcore/core/proto"
)

// A touch is what a request was to do to one znode, or surely did.
type touch struct {
	op    *op
	kind  proto.Op // create, setData, delete, setACL, check
	path  string   // of a sequential create that was not answered: without its number
	flags proto.CreateFlags
	mode  proto.Op // the kind of create
	data  []byte
	// version is the one that was expected.
	version int32
	// done: it surely took effect, at op's zxid. Else void: it surely did not. Else
	// nobody knows.
	done, void bool
	stat       *proto.Stat // as answered, if it was
	part       int         // its place in a multi
}

func (t *touch) sequential() bool { return t.kind == proto.OpCreate && t.flags.Sequential() }

// mine says whether the touch may be of path.
func (t *touch) mine(path string) bool {
	if t.path == path {
		return true
	}
	n := len(t.path)
	return t.sequential() && !t.done && len(path) >= n+10 && path[:n] == t.path
}

// touches are those of one write.
func (o *op) touches() []touch {
	var list []touch
	one := touch{op: o, done: o.done(), void: o.answered() && !o.done()}
	switch o.op {
	case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL, proto.OpDelete, proto.OpSetData, proto.OpSetACL:
		rec := proto.NewRequest(o.op)
		if proto.Unmarshal(o.body, rec) != nil {
			return nil
		}
		one.kind = o.op
		switch r := rec.(type) {
		case *proto.CreateRequest:
			one.create(o.op, r.Path, r.Data, r.Flags)
		case *proto.CreateTTLRequest:
			one.create(o.op, r.Path, r.Data, r.Flags)
		case *proto.VersionRequest:
			one.path, one.version = r.Path, r.Version
		case *proto.SetDataRequest:
			one.path, one.data, one.version = r.Path, r.Data, r.Version
		case *proto.SetACLRequest:
			one.path, one.version = r.Path, r.Version
		}
		if one.done {
			resp := proto.NewResponse(o.op)
			if resp != nil && proto.Unmarshal(o.out, resp) == nil {
				switch p := resp.(type) {
				case *proto.PathResponse:
					one.path = p.Path
				case *proto.Create2Response:
					one.path, one.stat = p.Path, &p.Stat
				case *proto.Stat:
					one.stat = p
				}
			}
		}
		return append(list, one)
	case proto.OpMulti:
		var r proto.MultiRequest
		if proto.Unmarshal(o.body, &r) != nil {
			return nil
		}
		var p proto.MultiResponse
		if o.done() {
			if proto.Unmarshal(o.out, &p) != nil || len(p.Results) != len(r.Ops) {
				return nil // the replay complains
			}
			one.done = !failed(o)
			one.void = !one.done
		}
		for i := range r.Ops {
			q := &r.Ops[i]
			t := one
			t.kind, t.path, t.version, t.part = q.Op, q.Path, q.Version, i
			switch q.Op {
			case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL:
				t.create(q.Kind(), q.Path, q.Data, q.Flags)
				if t.done {
					t.path = p.Results[i].Path
				}
			case proto.OpSetData:
				t.data = q.Data
			}
			if t.done && (p.Results[i].Op == proto.OpSetData || p.Results[i].Op == proto.OpCreate2) {
				t.stat = &p.Results[i].Stat
			}
			list = append(list, t)
		}
	}
	return list
}

func (t *touch) create(mode proto.Op, path string, data []byte, flags proto.CreateFlags) {
	t.kind, t.mode, t.path, t.data, t.flags = proto.OpCreate, mode, path, data, flags
}

// touched are the touches of all writes, in the order of the calls.
func (c *court) touched() []touch {
	if c.touchList == nil {
		c.touchList = []touch{}
		for _, o := range c.ops {
			if isWrite(o.op) {
				c.touchList = append(c.touchList, o.touches()...)
			}
		}
	}
	return c.touchList
}

// goes says whether the znode that a create makes may go without a request that
// deletes it.
func (t *touch) goes() bool {
	return t.flags.Ephemeral() || slices.Contains([]proto.Op{proto.OpCreateContainer, proto.OpCreateTTL}, t.mode)
}
