package conformance

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// What came, as tables write it.

// connected is the answer to a ConnectRequest.
func (sc *scene) connected(c *client, b []byte) (line string, opened bool) {
	var r proto.ConnectResponse
	if err := proto.Unmarshal(b, &r); err != nil || !bytes.Equal(r.Append(nil), b) {
		return fmt.Sprintf("no ConnectResponse: %x", b), false
	}
	what := "connected"
	if r.SessionID == 0 {
		what = "refused"
	} else {
		sc.meet(c, r.SessionID, r.Passwd)
	}
	line = fmt.Sprintf("%s session=%s timeout=%d", what, sc.owner(r.SessionID), r.TimeoutMS)
	if len(r.Passwd) != 16 || (r.SessionID == 0) != bytes.Equal(r.Passwd, make([]byte, 16)) {
		line += fmt.Sprintf(" passwd=%x", r.Passwd)
	}
	if r.ProtocolVersion != 0 {
		line += fmt.Sprintf(" version=%d", r.ProtocolVersion)
	}
	if !r.HasReadOnly {
		return line + " readonly=absent", r.TimeoutMS > 0
	}
	return fmt.Sprintf("%s readonly=%v", line, r.ReadOnly), r.TimeoutMS > 0
}

// zxid is a zxid counted from where the row began. Those of no txn are what they are.
func (sc *scene) zxid(z int64) string {
	if z <= 0 {
		return fmt.Sprint(z)
	}
	if z < sc.first {
		return "old"
	}
	if z >= sc.behind {
		z -= sc.repeated
	}
	return fmt.Sprintf("%+d", z-sc.first)
}

// owner is a session by the name of the client that opened it.
func (sc *scene) owner(id int64) string {
	if id == 0 {
		return "0"
	}
	for _, name := range sc.names {
		if sc.sessions[name].id == id {
			return name
		}
	}
	return fmt.Sprintf("0x%x", uint64(id))
}

// tilde puts the row's own znode back to "~".
func (sc *scene) tilde(path string) string {
	for _, of := range [...][2]string{{sc.base, "~"}, {quotas + sc.base, "%"}} {
		if rest, ok := strings.CutPrefix(path, of[0]); ok && sc.base != "" && (rest == "" || rest[0] == '/') {
			path = of[1] + rest
		}
	}
	if path == "" || strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == '"' || r >= 0x7f }) {
		return fmt.Sprintf("%q", path)
	}
	return path
}

func (sc *scene) paths(list []string) string {
	out := make([]string, 0, len(list))
	for _, p := range list {
		if sc.base != "" && p == sc.base[1:] {
			p = sc.base // its name, in its parent
		}
		out = append(out, sc.tilde(p))
	}
	slices.Sort(out) // Apache takes them out of a hash table
	return "[" + strings.Join(out, " ") + "]"
}

func data(b []byte) string {
	switch {
	case b == nil:
		return "null"
	case len(b) > 64 && bytes.Count(b, b[:1]) == len(b):
		return fmt.Sprintf("%q*%d", b[:1], len(b))
	}
	return fmt.Sprintf("%q", b)
}

func (sc *scene) stat(s *proto.Stat) string {
	if s.Czxid == 0 && !sc.fresh {
		// A znode that is always there: how often it was changed depends on the rows before this one.
		return fmt.Sprintf("{c=0 owner=%s len=%d kids=%d}", sc.owner(s.EphemeralOwner), s.DataLength, s.NumChildren)
	}
	wrong := sc.time("ctime", s.Czxid, s.Ctime) + sc.time("mtime", s.Mzxid, s.Mtime)
	return fmt.Sprintf("{c=%s m=%s p=%s v=%d cv=%d av=%d owner=%s len=%d kids=%d%s}", sc.zxid(s.Czxid), sc.zxid(s.Mzxid), sc.zxid(s.Pzxid),
		s.Version, s.Cversion, s.Aversion, sc.owner(s.EphemeralOwner), s.DataLength, s.NumChildren, wrong)
}

// time checks that all that carries a zxid carries one time with it.
func (sc *scene) time(field string, zxid, at int64) string {
	want, known := sc.times[zxid]
	switch {
	case zxid <= 0 && at == 0:
		return ""
	case !known:
		sc.times[zxid] = at
	case want != at:
		return " " + field + "=wrong"
	}
	return ""
}

func acls(list []proto.ACL) string {
	if list == nil {
		return "null"
	}
	out := make([]string, 0, len(list))
	for _, a := range list {
		out = append(out, fmt.Sprintf("%d:%s:%s", a.Perms, a.Scheme, a.ID))
	}
	return "[" + strings.Join(out, " ") + "]"
}

// event is a notification.
func (sc *scene) event(h *proto.ReplyHeader, body []byte) string {
	var e proto.WatcherEvent
	if err := proto.Unmarshal(body, &e); err != nil || !bytes.Equal(e.Append(nil), body) {
		return fmt.Sprintf("no event: %+v %x", *h, body)
	}
	line := fmt.Sprintf("event %v %s z=%s", e.Type, sc.tilde(e.Path), sc.zxid(h.Zxid))
	if e.State != proto.StateSyncConnected || h.Err != zkerr.OK {
		line += fmt.Sprintf(" state=%v err=%v", e.State, h.Err)
	}
	return line
}

// reply is the answer to a request.
func (sc *scene) reply(r *request, h *proto.ReplyHeader, body []byte) []string {
	line := fmt.Sprintf("%v z=%s", h.Err, sc.zxid(h.Zxid))
	if h.Xid != r.xid {
		line += fmt.Sprintf(" xid=%d", h.Xid)
	}
	var rec proto.Record
	if h.Err == zkerr.OK {
		rec = proto.NewResponse(r.op)
	}
	if rec == nil {
		if len(body) > 0 {
			line += fmt.Sprintf(" body=%x", body)
		}
		return []string{line}
	}
	d := jute.NewDecoder(body)
	rec.Decode(&d)
	// A record has one form only.
	if err := d.Err(); err != nil || !bytes.Equal(rec.Append(nil), body) {
		return []string{fmt.Sprintf("%s and what is not its record: %x", line, body)}
	}
	if m, ok := rec.(*proto.MultiResponse); ok {
		lines := []string{line}
		for i := range m.Results {
			lines = append(lines, "  "+sc.result(&m.Results[i]))
		}
		return lines
	}
	return []string{line + " " + sc.record(rec)}
}

func (sc *scene) record(rec proto.Record) string {
	switch r := rec.(type) {
	case *proto.PathResponse:
		return sc.tilde(r.Path)
	case *proto.AnyPathRequest:
		if r.Null {
			return "null"
		}
		return sc.tilde(r.Path)
	case *proto.Create2Response:
		return sc.tilde(r.Path) + " " + sc.stat(&r.Stat)
	case *proto.Stat:
		return sc.stat(r)
	case *proto.GetDataResponse:
		return data(r.Data) + " " + sc.stat(&r.Stat)
	case *proto.GetACLResponse:
		return acls(r.ACL) + " " + sc.stat(&r.Stat)
	case *proto.StringsResponse:
		return sc.paths(r.Strings)
	case *proto.GetChildren2Response:
		return sc.paths(r.Children) + " " + sc.stat(&r.Stat)
	case *proto.IntResponse:
		return fmt.Sprint(r.Value)
	case *proto.SASLToken:
		return data(r.Token)
	case *proto.WhoAmIResponse:
		out := make([]string, 0, len(r.ClientInfo))
		for _, i := range r.ClientInfo {
			out = append(out, i.AuthScheme+":"+i.User)
		}
		slices.Sort(out)
		return "[" + strings.Join(out, " ") + "]"
	}
	return fmt.Sprintf("%+v", rec)
}

// result is that of one operation of a multi.
func (sc *scene) result(m *proto.MultiResult) string {
	line := m.Op.String()
	switch m.Op {
	case proto.OpError:
		return fmt.Sprintf("error %v", m.Err)
	case proto.OpCreate:
		line += " " + sc.tilde(m.Path)
	case proto.OpCreate2:
		line += " " + sc.tilde(m.Path) + " " + sc.stat(&m.Stat)
	case proto.OpSetData:
		line += " " + sc.stat(&m.Stat)
	case proto.OpGetData:
		line += " " + data(m.Data) + " " + sc.stat(&m.Stat)
	case proto.OpGetChildren:
		line += " " + sc.paths(m.Children)
	}
	if m.Err != zkerr.OK {
		line += fmt.Sprintf(" err=%v", m.Err)
	}
	return line
}
