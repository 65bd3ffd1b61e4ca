package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
)

// A step is what both servers get at once. Its fields are what stands in a kept sequence, so none may
// change its meaning.
type step struct {
	Client int    `json:"client"`
	Kind   string `json:"kind,omitempty"` // one of the kinds below
	// Requests leave in one write; behind a kind that connects, in one with the ConnectRequest.
	Requests []request `json:"requests,omitempty"`

	TimeoutMS  int32 `json:"timeoutMS,omitempty"`  // of kinds that connect
	NoReadOnly bool  `json:"noReadOnly,omitempty"` // the ConnectRequest of old clients
	Move       int   `json:"move,omitempty"`       // an ensemble: so many servers further

	ReadOnly bool   `json:"readOnly,omitempty"` // of kinds that connect: a server without a quorum will do
	Protocol int32  `json:"protocol,omitempty"` // the version
	Passwd   string `json:"passwd,omitempty"`   // of a new session: see passwd
}

// The kinds of steps.
const (
	kindRequests = ""         // Requests on the client's connection; nothing if it has none
	kindOpen     = "open"     // a new connection with a new session; the old one is left alone
	kindResume   = "resume"   // a new connection for the same session, whether or not it has one
	kindDrop     = "drop"     // the connection is closed, not the session
	kindExpire   = "expire"   // resume with the shortest timeout, then silence until the server ends it
	kindPassword = "password" // somebody else asks for the session, with another password
	kindUnknown  = "unknown"  // somebody asks for a session that never was
	kindAhead    = "ahead"    // somebody has seen a zxid that the server has not
)

// A request is one request record in words. Which fields count depends on Op.
type request struct {
	Op      string    `json:"op"` // proto's name, or a number
	Path    string    `json:"path,omitempty"`
	Data    *string   `json:"data,omitempty"` // none is null; *N is N bytes
	ACL     string    `json:"acl,omitempty"`  // "31 world:anyone, 1 ip:10.0.0.0/8"; "" is none at all, null is null
	Flags   int32     `json:"flags,omitempty"`
	Version int32     `json:"version,omitempty"`
	TTL     int64     `json:"ttl,omitempty"`
	Watch   bool      `json:"watch,omitempty"`
	Type    int32     `json:"type,omitempty"` // removeWatches, checkWatches, auth; the mode of addWatch
	Scheme  string    `json:"scheme,omitempty"`
	Back    int64     `json:"back,omitempty"` // setWatches: so many zxids before the last one seen
	Lists   []string  `json:"lists,omitempty"`
	Ops     []request `json:"ops,omitempty"` // multi, multiRead
	Xid     int32     `json:"xid,omitempty"` // 0: the one that is due

	// What is done to the encoded record.
	Null  bool   `json:"null,omitempty"`  // the path is null
	Cut   int    `json:"cut,omitempty"`   // bytes taken from the end
	Extra string `json:"extra,omitempty"` // bytes put behind
	At    int    `json:"at,omitempty"`    // this byte, from 1,
	Byte  byte   `json:"byte,omitempty"`  // becomes this one
}

var opByName = func() map[string]proto.Op {
	m := make(map[string]proto.Op)
	for op := proto.Op(-20); op < 200; op++ {
		m[op.String()] = op
	}
	return m
}()

func (r *request) op() proto.Op {
	if op, ok := opByName[r.Op]; ok {
		return op
	}
	n, err := strconv.ParseInt(r.Op, 10, 32)
	if err != nil {
		panic("oracle: no operation is called " + r.Op)
	}
	return proto.Op(n)
}

// ends says that the request ends its session.
func (r *request) ends() bool { return r.op() == proto.OpCloseSession }

// closes says that the server closes the connection behind the reply. Whether it answers anything that comes
// behind such a request is chance, so that nothing may.
func (r *request) closes() bool {
	switch op := r.op(); op {
	case proto.OpCloseSession, proto.OpCheck:
		return true
	case proto.OpAuth:
		return r.Scheme != "ip" && (r.Scheme != "digest" || r.Data == nil)
	default:
		return !engine.Known(int32(op)) || proto.RequestHeaderSize+len(r.record(new(side))) > maxFrame
	}
}

// maxFrame is the jute.maxbuffer of both servers.
const maxFrame = 1048575

// atOnce says that the request may be answered before those that were sent before it: it is the only one of
// its step or the first.
func (r *request) atOnce() bool {
	switch r.op() {
	case proto.OpAuth, proto.OpSASL:
		return true
	}
	return r.closes() && !r.ends()
}

// writes says that the request may change something or make an event.
func (r *request) writes() bool {
	switch r.op() {
	case proto.OpExists, proto.OpGetData, proto.OpGetACL, proto.OpGetChildren, proto.OpGetChildren2, proto.OpSync, proto.OpPing,
		proto.OpCheckWatches, proto.OpRemoveWatches, proto.OpMultiRead, proto.OpAuth, proto.OpGetEphemerals,
		proto.OpGetAllChildrenNum, proto.OpAddWatch, proto.OpWhoAmI, proto.OpSASL:
		return false
	}
	return true
}

// record encodes the request's record for one side.
func (r *request) record(s *side) []byte {
	b := r.plain(s)
	if r.Null && len(b) >= 4 {
		n := 4 + int(int32(uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3])))
		b = append(jute.AppendNull(nil), b[n:]...)
	}
	if r.At > 0 && len(b) > 0 {
		b[(r.At-1)%len(b)] = r.Byte
	}
	b = b[:max(0, len(b)-r.Cut)]
	return append(b, r.Extra...)
}

func (r *request) plain(s *side) []byte {
	switch op := r.op(); op {
	case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL:
		b := (&proto.CreateRequest{Path: r.Path, Data: r.data(), ACL: r.acl(), Flags: proto.CreateFlags(r.Flags)}).Append(nil)
		if op == proto.OpCreateTTL {
			b = jute.AppendLong(b, r.TTL)
		}
		return b
	case proto.OpDelete, proto.OpCheck:
		return (&proto.VersionRequest{Path: r.Path, Version: r.Version}).Append(nil)
	case proto.OpExists, proto.OpGetData, proto.OpGetChildren, proto.OpGetChildren2:
		return (&proto.ReadRequest{Path: r.Path, Watch: r.Watch}).Append(nil)
	case proto.OpSetData:
		return (&proto.SetDataRequest{Path: r.Path, Data: r.data(), Version: r.Version}).Append(nil)
	case proto.OpGetACL, proto.OpGetAllChildrenNum, proto.OpDeleteContainer, proto.OpSync, proto.OpGetEphemerals:
		return (&proto.PathRequest{Path: r.Path}).Append(nil)
	case proto.OpSetACL:
		return (&proto.SetACLRequest{Path: r.Path, ACL: r.acl(), Version: r.Version}).Append(nil)
	case proto.OpMulti, proto.OpMultiRead:
		m := proto.MultiRequest{Read: op == proto.OpMultiRead}
		for i := range r.Ops {
			o := &r.Ops[i]
			m.Ops = append(m.Ops, proto.MultiOp{Op: o.op(), Path: o.Path, Data: o.data(), ACL: o.acl(),
				Flags: proto.CreateFlags(o.Flags), TTL: o.TTL, Version: o.Version, Watch: o.Watch})
		}
		return m.Append(nil)
	case proto.OpCheckWatches, proto.OpRemoveWatches:
		return (&proto.WatchesRequest{Path: r.Path, Type: proto.WatcherType(r.Type)}).Append(nil)
	case proto.OpAddWatch:
		return (&proto.AddWatchRequest{Path: r.Path, Mode: proto.AddWatchMode(r.Type)}).Append(nil)
	case proto.OpAuth:
		return (&proto.AuthPacket{Type: r.Type, Scheme: r.Scheme, Auth: r.data()}).Append(nil)
	case proto.OpSetWatches, proto.OpSetWatches2:
		lists := make([][]string, 5)
		for i := range lists {
			if i < len(r.Lists) {
				lists[i] = strings.Fields(r.Lists[i])
			}
		}
		w := proto.SetWatchesRequest{RelativeZxid: s.behind(r.Back), Data: lists[0], Exist: lists[1], Child: lists[2]}
		if op == proto.OpSetWatches {
			return w.Append(nil)
		}
		return (&proto.SetWatches2Request{SetWatchesRequest: w, Persistent: lists[3], PersistentRecursive: lists[4]}).Append(nil)
	case proto.OpReconfig:
		leave, q := "1", proto.ReconfigRequest{JoiningServers: &r.Path, CurConfigID: -1}
		if r.Version != 0 {
			q.CurConfigID = int64(r.Version)
		}
		for _, what := range r.Lists {
			switch what {
			case "leave":
				q.LeavingServers = &leave
			case "members":
				q.JoiningServers, q.NewMembers = nil, &r.Path
			case "nobody":
				q.JoiningServers = nil
			}
		}
		return q.Append(nil)
	case proto.OpSASL:
		return (&proto.SASLToken{Token: r.data()}).Append(nil)
	}
	return nil // ping, closeSession, whoAmI, and what is no operation
}

// xid is the request's number, which some operations have of their own.
func (r *request) xid(next int32) int32 {
	if r.Xid != 0 {
		return r.Xid
	}
	switch r.op() {
	case proto.OpPing:
		return proto.XidPing
	case proto.OpAuth:
		return proto.XidAuth
	case proto.OpSetWatches, proto.OpSetWatches2:
		return proto.XidSetWatches
	}
	return next
}

func (r *request) data() []byte {
	if r.Data == nil {
		return nil
	}
	if n, err := strconv.Atoi(strings.TrimPrefix(*r.Data, "*")); err == nil && strings.HasPrefix(*r.Data, "*") {
		return bytes.Repeat([]byte{'x'}, n)
	}
	return []byte(*r.Data)
}

func (r *request) acl() []proto.ACL {
	if r.ACL == "null" {
		return nil
	}
	list := []proto.ACL{}
	for entry := range strings.SplitSeq(r.ACL, ", ") {
		if entry == "" {
			continue
		}
		perms, id, _ := strings.Cut(entry, " ")
		n, err := strconv.ParseInt(perms, 10, 32)
		if err != nil {
			panic("oracle: no ACL: " + r.ACL)
		}
		scheme, id, _ := strings.Cut(id, ":")
		list = append(list, proto.ACL{Perms: int32(n), Scheme: scheme, ID: id})
	}
	return list
}

// A sequence is a run's steps, as testdata keeps them.
type sequence struct {
	About   string `json:"about"`             // what it shows
	Against string `json:"against,omitempty"` // only against this release; "" is all
	Steps   []step `json:"steps"`
}

func readSequence(name string) (*sequence, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	s := new(sequence)
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// format writes a sequence with a line for each step.
func (s *sequence) format() []byte {
	line := func(v any) string {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			panic(err) // there is nothing in it that can't be encoded
		}
		return strings.TrimSuffix(b.String(), "\n")
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n\t\"about\": %s,\n", line(s.About))
	if s.Against != "" {
		fmt.Fprintf(&b, "\t\"against\": %s,\n", line(s.Against))
	}
	b.WriteString("\t\"steps\": [\n")
	for i := range s.Steps {
		comma := ","
		if i == len(s.Steps)-1 {
			comma = ""
		}
		fmt.Fprintf(&b, "\t\t%s%s\n", line(&s.Steps[i]), comma)
	}
	b.WriteString("\t]\n}\n")
	return b.Bytes()
}
