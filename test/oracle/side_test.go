package oracle

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// A side is one of the two services, and what makes its answers comparable with the other's.
type side struct {
	name  string
	addrs []string
	// last is the highest zxid that any reply has shown, base what it was when the run began.
	last, base int64
	first      int64           // what it was when the servers had started
	times      map[int64]int64 // by zxid
	sessions   map[int64]int64 // by id: numbers in the order of their opening
	rules      *rules
	apache     bool
	extra      []int64 // zxids that are not counted, in order: see allowed_test.go
}

func (s *side) begin() {
	s.base = s.last
	s.times = make(map[int64]int64)
	s.sessions = make(map[int64]int64)
}

func (s *side) see(zxid int64) { s.last = max(s.last, zxid) }

// A frame is what came, once made comparable.
type frame struct {
	norm  []byte // equal for equal answers
	text  string // for people
	event bool
	// unasked says that an event is no change's: setWatches makes it. Path is that of an event.
	unasked bool
	path    string
	end     bool
	req     *request
	code    zkerr.Code
}

// zero is where comparable zxids of a run begin: none of them is taken for -1 or 0, which are what they
// are.
const zero = 1 << 40

func (s *side) zxid(z int64) int64 {
	if z <= 0 {
		return z
	}
	return s.counted(z) - s.counted(s.base) + zero
}

// counted is how many zxids there were up to this one, without the extra ones.
func (s *side) counted(z int64) int64 {
	n, found := slices.BinarySearch(s.extra, z)
	if found {
		n++
	}
	return z - int64(n)
}

// behind is the zxid that lies so many before the last one seen, not counting extra ones; -1 if there were not so
// many: the first one of an ensemble is far from 0.
func (s *side) behind(n int64) int64 {
	z := s.counted(s.last) - n
	if z < s.counted(s.first) {
		return -1
	}
	for _, e := range s.extra {
		if e <= z {
			z++
		}
	}
	return z
}

func zxidName(z int64) string {
	if z <= 0 {
		return fmt.Sprint(z)
	}
	return fmt.Sprintf("%+d", z-zero)
}

// number is the comparable form of a session id.
func (s *side) number(id int64) int64 {
	if id == 0 {
		return 0
	}
	n, ok := s.sessions[id]
	if !ok {
		n = int64(len(s.sessions) + 1)
		s.sessions[id] = n
	}
	return n
}

func sessionName(n int64) string { return fmt.Sprintf("#%d", n) }

// event makes a notification comparable.
func (s *side) event(h *proto.ReplyHeader, body []byte) frame {
	var e proto.WatcherEvent
	if err := proto.Unmarshal(body, &e); err != nil || !bytes.Equal(e.Append(nil), body) {
		return frame{text: fmt.Sprintf("no event: %+v % x", *h, body), norm: body, event: true}
	}
	n := *h
	n.Zxid = s.rules.eventZxid(s.zxid(h.Zxid))
	return frame{
		event:   true,
		unasked: h.Zxid == -1,
		path:    e.Path,
		norm:    append(n.Append(nil), body...),
		text:    fmt.Sprintf("event %v %v %q zxid %s err %d", e.Type, e.State, e.Path, zxidName(n.Zxid), n.Err),
	}
}

// reply makes a reply comparable. Its record has to be the one and only form of what it says.
func (s *side) reply(r *request, h *proto.ReplyHeader, body []byte) frame {
	s.discount(r, h)
	n := *h
	n.Xid = 0 // it is the request's, or there would be none
	n.Zxid = s.zxid(h.Zxid)
	f := frame{req: r, code: h.Err}
	f.text = fmt.Sprintf("%s: %v zxid %s", r.Op, h.Err, zxidName(n.Zxid))
	f.norm = n.Append(nil)
	var rec proto.Record
	if h.Err == zkerr.OK {
		rec = proto.NewResponse(r.op())
	}
	if rec == nil {
		if len(body) > 0 {
			f.text += fmt.Sprintf(" and % x", body)
			f.norm = append(f.norm, body...)
		}
		return f
	}
	d := jute.NewDecoder(body)
	rec.Decode(&d)
	if err := d.Err(); err != nil || !bytes.Equal(rec.Append(nil), body) {
		f.text += fmt.Sprintf(" and what is not its record (%v): % x", err, body)
		f.norm = append(f.norm, body...)
		return f
	}
	text := s.mask(r, rec)
	f.norm = append(rec.Append(f.norm), text...)
	f.text += " " + describe(rec) + text
	return f
}

// mask replaces what can't be equal in a record. What it returns is what is wrong with it.
func (s *side) mask(r *request, rec proto.Record) (wrong string) {
	switch rec := rec.(type) {
	case *proto.Create2Response:
		return s.stat(rec.Path, &rec.Stat)
	case *proto.Stat:
		return s.stat(r.Path, rec)
	case *proto.GetDataResponse:
		return s.stat(r.Path, &rec.Stat)
	case *proto.GetACLResponse:
		if !s.rules.same {
			sortIdentities(rec.ACL)
		}
		return s.stat(r.Path, &rec.Stat)
	case *proto.GetChildren2Response:
		s.sort(rec.Children)
		return s.stat(r.Path, &rec.Stat)
	case *proto.StringsResponse:
		s.sort(rec.Strings)
	case *proto.WhoAmIResponse:
		slices.SortFunc(rec.ClientInfo, func(a, b proto.ClientInfo) int {
			return cmp.Or(cmp.Compare(a.AuthScheme, b.AuthScheme), cmp.Compare(a.User, b.User))
		})
	case *proto.MultiResponse:
		for i := range rec.Results {
			m := &rec.Results[i]
			s.sort(m.Children)
			switch m.Op {
			case proto.OpCreate2:
				if s.rules.plainCreateInMulti {
					m.Op = proto.OpCreate
					continue
				}
				wrong += s.stat(m.Path, &m.Stat)
			case proto.OpSetData, proto.OpGetData:
				path := ""
				if i < len(r.Ops) {
					path = r.Ops[i].Path
				}
				wrong += s.stat(path, &m.Stat)
			}
		}
	}
	return wrong
}

// sort puts names of children in order: Apache lists them in that of a hash table.
func (s *side) sort(names []string) {
	if !s.rules.same {
		slices.Sort(names)
	}
}

// sortIdentities puts neighbours that grant the same to digest identities in an order of their own: what "auth:"
// stands for comes out of a hash table. docs/compatibility.md: "the identities that `auth:` stands for".
func sortIdentities(list []proto.ACL) {
	for i := 1; i < len(list); i++ {
		for j := i; j > 0 && list[j].Scheme == "digest" && list[j-1].Scheme == "digest" && list[j].Perms == list[j-1].Perms && list[j].ID < list[j-1].ID; j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
}

// stat replaces zxids, session and times. A time has to be the same wherever its zxid stands.
func (s *side) stat(path string, st *proto.Stat) (wrong string) {
	if !ownTimes(path) {
		wrong = s.time("ctime", st.Czxid, st.Ctime) + s.time("mtime", st.Mzxid, st.Mtime)
	}
	st.Ctime, st.Mtime = 0, 0
	st.Czxid, st.Mzxid, st.Pzxid = s.zxid(st.Czxid), s.zxid(st.Mzxid), s.zxid(st.Pzxid)
	st.EphemeralOwner = s.number(st.EphemeralOwner)
	return wrong
}

// ownTimes says that a znode's times belong to no txn: each server makes the configuration's node.
func ownTimes(path string) bool { return path == config }

func (s *side) time(field string, zxid, at int64) string {
	want, ok := s.times[zxid]
	switch {
	case zxid == 0 && at != 0:
		return fmt.Sprintf(" %s %d of the first tree", field, at)
	case !ok:
		s.times[zxid] = at
	case want != at:
		return fmt.Sprintf(" %s is not that of zxid %s", field, zxidName(s.zxid(zxid)))
	}
	return ""
}

func describe(rec proto.Record) string {
	switch r := rec.(type) {
	case *proto.Create2Response:
		return fmt.Sprintf("%q %s", r.Path, describeStat(&r.Stat))
	case *proto.Stat:
		return describeStat(r)
	case *proto.GetDataResponse:
		return fmt.Sprintf("%s %s", describeData(r.Data), describeStat(&r.Stat))
	case *proto.GetACLResponse:
		return fmt.Sprintf("%v %s", r.ACL, describeStat(&r.Stat))
	case *proto.GetChildren2Response:
		return fmt.Sprintf("%q %s", r.Children, describeStat(&r.Stat))
	case *proto.StringsResponse:
		return fmt.Sprintf("%q", r.Strings)
	case *proto.MultiResponse:
		out := "["
		for i := range r.Results {
			m := &r.Results[i]
			switch m.Op {
			case proto.OpError:
				out += fmt.Sprintf(" %v", m.Err)
			default:
				out += fmt.Sprintf(" {%v %q %s %q %s}", m.Op, m.Path, describeData(m.Data), m.Children, describeStat(&m.Stat))
			}
		}
		return out + " ]"
	}
	return fmt.Sprintf("%+v", rec)
}

func describeData(b []byte) string {
	switch {
	case b == nil:
		return "null"
	case len(b) > 64:
		return fmt.Sprintf("%q… (%d bytes)", b[:32], len(b))
	}
	return fmt.Sprintf("%q", b)
}

func describeStat(s *proto.Stat) string {
	return fmt.Sprintf("{c %s m %s p %s versions %d %d %d owner %s length %d children %d}", zxidName(s.Czxid), zxidName(s.Mzxid), zxidName(s.Pzxid),
		s.Version, s.Cversion, s.Aversion, sessionName(s.EphemeralOwner), s.DataLength, s.NumChildren)
}
