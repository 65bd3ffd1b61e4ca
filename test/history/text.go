package history

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// String tells the record in one line.
func (r Record) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%12.6fs", float64(r.At)/1e9)
	if r.Client != 0 {
		fmt.Fprintf(&b, "  client %d.%d", r.Client, r.Conn)
	}
	if r.Server != 0 {
		fmt.Fprintf(&b, " @%d", r.Server)
	}
	fmt.Fprintf(&b, "  %s", r.Kind)
	switch r.Kind {
	case Connecting:
		fmt.Fprintf(&b, " session 0x%x, timeout %d ms, seen 0x%x", r.Session, r.TimeoutMS, r.Zxid)
	case Connected:
		fmt.Fprintf(&b, " session 0x%x, timeout %d ms", r.Session, r.TimeoutMS)
	case Refused:
		fmt.Fprintf(&b, " session 0x%x", r.Session)
	case Call:
		fmt.Fprintf(&b, " %d %s%s", r.Xid, proto.Op(r.Op), request(proto.Op(r.Op), r.Body))
	case Reply:
		fmt.Fprintf(&b, " %d %s at 0x%x", r.Xid, proto.Op(r.Op), r.Zxid)
		if r.Err != 0 {
			fmt.Fprintf(&b, ": %v", zkerr.Code(r.Err))
		} else {
			b.WriteString(response(proto.Op(r.Op), r.Body))
		}
	case Event:
		fmt.Fprintf(&b, " %s %s at 0x%x", proto.EventType(r.Type), r.Path, uint64(r.Zxid))
	case Acquired, Released:
		fmt.Fprintf(&b, " %s by session 0x%x", r.Path, r.Session)
	}
	if r.Note != "" {
		fmt.Fprintf(&b, " %s", r.Note)
	}
	return b.String()
}

func request(op proto.Op, body []byte) string {
	rec := proto.NewRequest(op)
	if rec == nil {
		return ""
	}
	if proto.Unmarshal(body, rec) != nil {
		return fmt.Sprintf(" %x", body)
	}
	switch q := rec.(type) {
	case *proto.CreateRequest:
		return fmt.Sprintf(" %q %s flags %d%s", q.Path, data(q.Data), q.Flags, acls(q.ACL))
	case *proto.CreateTTLRequest:
		return fmt.Sprintf(" %q %s flags %d ttl %d%s", q.Path, data(q.Data), q.Flags, q.TTL, acls(q.ACL))
	case *proto.VersionRequest:
		return fmt.Sprintf(" %q version %d", q.Path, q.Version)
	case *proto.ReadRequest:
		if q.Watch {
			return fmt.Sprintf(" %q and watch", q.Path)
		}
		return fmt.Sprintf(" %q", q.Path)
	case *proto.SetDataRequest:
		return fmt.Sprintf(" %q %s version %d", q.Path, data(q.Data), q.Version)
	case *proto.SetACLRequest:
		return fmt.Sprintf(" %q version %d%s", q.Path, q.Version, acls(q.ACL))
	case *proto.PathRequest:
		return fmt.Sprintf(" %q", q.Path)
	case *proto.AnyPathRequest:
		return fmt.Sprintf(" %q", q.Path)
	case *proto.MultiRequest:
		var parts []string
		for i := range q.Ops {
			o := &q.Ops[i]
			s := fmt.Sprintf("%s %q", o.Op, o.Path)
			switch o.Op {
			case proto.OpSetData:
				s += fmt.Sprintf(" %s version %d", data(o.Data), o.Version)
			case proto.OpDelete, proto.OpCheck:
				s += fmt.Sprintf(" version %d", o.Version)
			case proto.OpGetData, proto.OpGetChildren:
			default:
				s += fmt.Sprintf(" %s flags %d", data(o.Data), o.Flags)
			}
			parts = append(parts, s)
		}
		return " [" + strings.Join(parts, "; ") + "]"
	}
	return fmt.Sprintf(" %+v", rec)
}

func response(op proto.Op, body []byte) string {
	rec := proto.NewResponse(op)
	if rec == nil {
		return ""
	}
	if proto.Unmarshal(body, rec) != nil {
		return fmt.Sprintf(" %x", body)
	}
	switch p := rec.(type) {
	case *proto.PathResponse:
		return fmt.Sprintf(" %q", p.Path)
	case *proto.AnyPathRequest:
		return fmt.Sprintf(" %q", p.Path)
	case *proto.Create2Response:
		return fmt.Sprintf(" %q %s", p.Path, stat(&p.Stat))
	case *proto.Stat:
		return " " + stat(p)
	case *proto.GetDataResponse:
		return fmt.Sprintf(" %s %s", data(p.Data), stat(&p.Stat))
	case *proto.GetACLResponse:
		return fmt.Sprintf("%s %s", acls(p.ACL), stat(&p.Stat))
	case *proto.StringsResponse:
		return fmt.Sprintf(" %q", p.Strings)
	case *proto.GetChildren2Response:
		return fmt.Sprintf(" %q %s", p.Children, stat(&p.Stat))
	case *proto.MultiResponse:
		var parts []string
		for i := range p.Results {
			r := &p.Results[i]
			s := r.Op.String()
			switch r.Op {
			case proto.OpError:
				s = r.Err.Error()
			case proto.OpCreate:
				s += fmt.Sprintf(" %q", r.Path)
			case proto.OpCreate2:
				s += fmt.Sprintf(" %q %s", r.Path, stat(&r.Stat))
			case proto.OpSetData:
				s += " " + stat(&r.Stat)
			case proto.OpGetData:
				s += fmt.Sprintf(" %s %s", data(r.Data), stat(&r.Stat))
			case proto.OpGetChildren:
				s += fmt.Sprintf(" %q", r.Children)
			}
			parts = append(parts, s)
		}
		return " [" + strings.Join(parts, "; ") + "]"
	}
	return fmt.Sprintf(" %+v", rec)
}

func data(b []byte) string {
	switch {
	case b == nil:
		return "null"
	case len(b) > 40:
		return fmt.Sprintf("%q… (%d bytes)", b[:32], len(b))
	case utf8.Valid(b):
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%x", b)
}

func acls(list []jute.ACL) string {
	if len(list) == 1 && list[0] == jute.OpenACL()[0] {
		return ""
	}
	var b strings.Builder
	b.WriteString(" acl")
	for _, a := range list {
		fmt.Fprintf(&b, " %s:%s:%d", a.Scheme, a.ID, a.Perms)
	}
	return b.String()
}

func stat(s *proto.Stat) string {
	return fmt.Sprintf("{c 0x%x m 0x%x p 0x%x, versions %d/%d/%d, owner 0x%x, %d bytes, %d children, times %d/%d}",
		s.Czxid, s.Mzxid, s.Pzxid, s.Version, s.Cversion, s.Aversion, s.EphemeralOwner, s.DataLength, s.NumChildren, s.Ctime, s.Mtime)
}
