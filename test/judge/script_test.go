package judge

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/test/history"
)

// A script is a history in few words, a line for each thing that happens, or
// several in a line with a semicolon between them. "1.2" is the second connection
// of client 1.
//
//	1.1 new 0xa                     it asks for a session and gets 0xa, timeout 1000 ms
//	1.2 back 0xa seen 5 [as 0xb]    it comes back, having seen zxid 5, and is welcomed
//	1.2 refused 0xa seen 5 [wrong]  it is told that 0xa is over; it shows a wrong password
//	1.1 lost
//	1.1 call 3 set /a x             xid 3; words as in ops below
//	1.1 reply 3 at 7 ok             or a code, or what the reply says
//	1.1 event at 7 changed /a
//	1.1 acquired /lock; 1.1 released /lock
//	+500                            milliseconds pass
//	fault; heal
//	txn 7 0xa 3 set /a x v 1        committed: zxid, session, cxid
type script struct {
	t     *testing.T
	run   *history.Run
	now   int64
	ops   map[string]proto.Op // by connection and xid
	paths map[string]string
	sess  map[string]int64
	conn  string
	words []string
}

func parse(t *testing.T, text string) *history.Run {
	t.Helper()
	s := &script{t: t, run: &history.Run{}, ops: map[string]proto.Op{}, paths: map[string]string{}, sess: map[string]int64{}}
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ';' }) {
		s.words = strings.Fields(line)
		if len(s.words) > 0 {
			s.line()
			if len(s.words) > 0 {
				t.Fatalf("%q: left are %q", line, s.words)
			}
		}
	}
	return s.run
}

func (s *script) next() string {
	s.t.Helper()
	if len(s.words) == 0 {
		s.t.Fatal("the line is too short")
	}
	w := s.words[0]
	s.words = s.words[1:]
	return w
}

func (s *script) number() int64 {
	s.t.Helper()
	n, err := strconv.ParseInt(s.next(), 0, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *script) is(word string) bool {
	if len(s.words) > 0 && s.words[0] == word {
		s.words = s.words[1:]
		return true
	}
	return false
}

func (s *script) add(r history.Record) {
	s.now += 1e6
	r.At = s.now
	if s.conn != "" {
		client, conn, _ := strings.Cut(s.conn, ".")
		r.Client, _ = strconv.Atoi(client)
		r.Conn, _ = strconv.Atoi(conn)
	}
	s.run.Records = append(s.run.Records, r)
}

func password(session int64) []byte { return fmt.Appendf(nil, "password of 0x%x", session) }

func (s *script) line() {
	s.t.Helper()
	s.conn = ""
	switch w := s.next(); {
	case w[0] == '+':
		n, err := strconv.ParseInt(w[1:], 10, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		s.now += n * 1e6
		return
	case w == "fault":
		s.add(history.Record{Kind: history.Fault})
		return
	case w == "heal":
		s.add(history.Record{Kind: history.Heal})
		return
	case w == "txns":
		s.run.Txns = []history.Txn{}
		return
	case w == "txn":
		s.txn()
		return
	case strings.Contains(w, "."):
		s.conn = w
	default:
		s.t.Fatalf("what is %q?", w)
	}
	switch w := s.next(); w {
	case "asks": // for a session, with a timeout, and gets no answer
		id := s.number()
		s.add(history.Record{Kind: history.Connecting, Session: id, TimeoutMS: int32(s.number()), Body: password(id), Addr: "127.0.0.1"})
	case "new", "back", "refused":
		id := s.number()
		r := history.Record{Kind: history.Connecting, TimeoutMS: 1000, Addr: "127.0.0.1"}
		if w != "new" {
			r.Session, r.Body = id, password(id)
		}
		if s.is("seen") {
			r.Zxid = s.number()
		}
		if s.is("wrong") {
			r.Body = []byte("not its password")
		}
		if s.is("as") {
			id = s.number()
		}
		s.add(r)
		s.sess[s.conn] = id
		if w == "refused" {
			s.add(history.Record{Kind: history.Refused})
		} else {
			s.add(history.Record{Kind: history.Connected, Session: id, TimeoutMS: 1000, Body: password(id)})
		}
	case "lost":
		s.add(history.Record{Kind: history.Lost})
	case "acquired":
		s.add(history.Record{Kind: history.Acquired, Path: s.next(), Session: s.sess[s.conn]})
	case "released":
		s.add(history.Record{Kind: history.Released, Path: s.next(), Session: s.sess[s.conn]})
	case "call":
		xid := int32(s.number())
		op, rec := s.request()
		s.ops[fmt.Sprint(s.conn, xid)] = op
		s.add(history.Record{Kind: history.Call, Session: s.sess[s.conn], Xid: xid, Op: int32(op), Body: rec})
	case "reply":
		s.reply()
	case "event":
		s.next()
		r := history.Record{Kind: history.Event, Session: s.sess[s.conn], Zxid: s.number(), State: 3}
		r.Type = int32(map[string]proto.EventType{"created": 1, "deleted": 2, "changed": 3, "children": 4}[s.next()])
		r.Path = s.next()
		s.add(r)
	default:
		s.t.Fatalf("what is %q?", w)
	}
}

// request reads "set /a x" and the like.
func (s *script) request() (proto.Op, []byte) {
	s.t.Helper()
	word := s.next()
	switch word {
	case "close":
		return proto.OpCloseSession, nil
	case "ping":
		return proto.OpPing, nil
	case "auth":
		return proto.OpAuth, (&proto.AuthPacket{Scheme: "digest", Auth: []byte(s.next())}).Append(nil)
	}
	path := s.next()
	s.paths[s.conn] = path
	version := int32(-1)
	if s.is("if") {
		version = int32(s.number())
	}
	switch word {
	case "create", "ephemeral", "sequential":
		q := proto.CreateRequest{Path: path, ACL: jute.OpenACL(), Data: []byte(s.next())}
		q.Flags = map[string]proto.CreateFlags{"ephemeral": 1, "sequential": 2}[word]
		return proto.OpCreate, q.Append(nil)
	case "set":
		return proto.OpSetData, (&proto.SetDataRequest{Path: path, Data: []byte(s.next()), Version: version}).Append(nil)
	case "delete":
		return proto.OpDelete, (&proto.VersionRequest{Path: path, Version: version}).Append(nil)
	case "sync":
		return proto.OpSync, (&proto.AnyPathRequest{Path: path}).Append(nil)
	case "get", "exists", "children":
		op := map[string]proto.Op{"get": proto.OpGetData, "exists": proto.OpExists, "children": proto.OpGetChildren}[word]
		return op, (&proto.ReadRequest{Path: path, Watch: s.is("watch")}).Append(nil)
	case "setwatches":
		return proto.OpSetWatches, (&proto.SetWatchesRequest{RelativeZxid: s.number(), Data: []string{path}}).Append(nil)
	case "createset": // a multi
		q := proto.MultiRequest{Ops: []proto.MultiOp{
			{Op: proto.OpCreate, Path: path, Data: []byte("new"), ACL: jute.OpenACL()},
			{Op: proto.OpSetData, Path: path, Data: []byte(s.next()), Version: version},
		}}
		return proto.OpMulti, q.Append(nil)
	}
	s.t.Fatalf("what is %q?", word)
	return 0, nil
}

func (s *script) stat(zxid int64) proto.Stat {
	st := proto.Stat{Czxid: 1, Mzxid: zxid, Pzxid: zxid}
	for len(s.words) > 0 {
		switch w := s.next(); w {
		case "c":
			st.Czxid = s.number()
		case "m":
			st.Mzxid = s.number()
		case "p":
			st.Pzxid = s.number()
		case "v":
			st.Version = int32(s.number())
		case "owner":
			st.EphemeralOwner = s.number()
		case "kids":
			st.NumChildren = int32(s.number())
		default:
			s.t.Fatalf("what is %q?", w)
		}
	}
	if st.Czxid > st.Mzxid {
		st.Czxid = st.Mzxid
	}
	st.Pzxid = max(st.Pzxid, st.Czxid)
	return st
}

var codes = map[string]zkerr.Code{"nonode": zkerr.NoNode, "badversion": zkerr.BadVersion, "exists": zkerr.NodeExists, "expired": zkerr.SessionExpired}

func (s *script) reply() {
	s.t.Helper()
	xid := int32(s.number())
	op := s.ops[fmt.Sprint(s.conn, xid)]
	s.next()
	r := history.Record{Kind: history.Reply, Session: s.sess[s.conn], Xid: xid, Op: int32(op), Zxid: s.number()}
	word := s.next()
	if code, ok := codes[word]; ok {
		r.Err = int32(code)
		s.add(r)
		return
	}
	switch op {
	case proto.OpCreate:
		r.Body = jute.AppendString(nil, word)
	case proto.OpSetData, proto.OpExists:
		st := s.stat(r.Zxid)
		st.DataLength = 1
		r.Body = st.Append(nil)
	case proto.OpGetData:
		st := s.stat(r.Zxid)
		st.DataLength = int32(len(word))
		r.Body = st.Append(jute.AppendBuffer(nil, []byte(word)))
	case proto.OpGetChildren:
		r.Body = jute.AppendStrings(nil, strings.Split(word, ","))
	case proto.OpSync:
		r.Body = jute.AppendString(nil, "/")
	case proto.OpMulti:
		m := proto.MultiResponse{Results: []proto.MultiResult{{Op: proto.OpError}, {Op: proto.OpError, Err: zkerr.BadVersion}}}
		if word == "ok" {
			m.Results = []proto.MultiResult{{Op: proto.OpCreate, Path: s.next()}, {Op: proto.OpSetData, Stat: s.stat(r.Zxid)}}
		}
		r.Body = m.Append(nil)
	}
	s.add(r)
}

// txn reads "7 0xa 3 set /a x v 1" and the like.
func (s *script) txn() {
	s.t.Helper()
	t := txn.Txn{Header: txn.Header{Zxid: s.number(), ClientID: s.number(), Cxid: int32(s.number())}}
	switch w := s.next(); w {
	case "open":
		t.Header.Type, t.TimeoutMS = txn.TypeCreateSession, 1000
	case "close":
		t.Header.Type = txn.TypeCloseSession
	case "create", "ephemeral":
		t.Header.Type = txn.TypeCreate
		t.Path, t.Data, t.ACL, t.ParentCVersion, t.Ephemeral = s.next(), []byte(s.next()), jute.OpenACL(), -1, w == "ephemeral"
	case "set":
		t.Header.Type, t.Path, t.Data = txn.TypeSetData, s.next(), []byte(s.next())
		s.next()
		t.Version = int32(s.number())
	case "delete":
		t.Header.Type, t.Path = txn.TypeDelete, s.next()
	case "error":
		t.Header.Type, t.Err = txn.TypeError, int32(codes[s.next()])
	default:
		s.t.Fatalf("what is %q?", w)
	}
	buf := txn.AppendHeader(nil, &t.Header)
	buf = txn.AppendBody(buf, &t)
	s.run.Txns = append(s.run.Txns, history.Txn{Zxid: t.Header.Zxid, Data: buf})
}

// What both histories begin with.
const two = "1.1 new 0xa; 2.1 new 0xb\n"

// Each check lets a good history pass and finds what is wrong with one that
// differs little from it.
func TestScripts(t *testing.T) {
	for _, tc := range []struct {
		name, good, bad, want string
		options               Options
	}{
		{name: "replies come in the order of the calls",
			good: two + "1.1 call 1 get /a; 1.1 call 2 get /b; 1.1 reply 1 at 2 nonode; 1.1 reply 2 at 2 nonode",
			bad:  two + "1.1 call 1 get /a; 1.1 call 2 get /b; 1.1 reply 2 at 2 nonode; 1.1 reply 1 at 2 nonode", want: "I03"},
		{name: "no reply is left out",
			good: two + "1.1 call 1 get /a; 1.1 call 2 get /b; 1.1 reply 1 at 2 nonode; 1.1 lost",
			bad:  two + "1.1 call 1 get /a; 1.1 call 2 get /b; 1.1 reply 2 at 2 nonode; 1.1 lost", want: "I03"},
		{name: "nothing is answered twice",
			good: two + "1.1 call 1 get /a; 1.1 reply 1 at 2 nonode",
			bad:  two + "1.1 call 1 get /a; 1.1 reply 1 at 2 nonode; 1.1 reply 1 at 2 nonode", want: "I03"},
		{name: "pings go beside the order",
			good: two + "1.1 call 1 get /a; 1.1 call -2 ping; 1.1 reply -2 at 2 ok; 1.1 reply 1 at 2 nonode",
			bad:  two + "1.1 call 1 get /a; 1.1 reply -2 at 2 ok; 1.1 reply 1 at 2 nonode", want: "I03"},
		{name: "writes agree with real time",
			good: two + "1.1 call 1 create /a x; 2.1 call 1 create /b x; 1.1 reply 1 at 6 /a; 2.1 reply 1 at 5 /b",
			bad:  two + "1.1 call 1 create /a x; 1.1 reply 1 at 6 /a; 2.1 call 1 create /b x; 2.1 reply 1 at 5 /b", want: "I01"},
		{name: "a refused write has its place too",
			good: two + "1.1 call 1 create /a x; 1.1 reply 1 at 6 exists; 2.1 call 1 create /b x; 2.1 reply 1 at 7 /b",
			bad:  two + "1.1 call 1 create /a x; 1.1 reply 1 at 6 exists; 2.1 call 1 create /b x; 2.1 reply 1 at 6 /b", want: "I01"},
		{name: "the writes of a session keep their order over connections",
			good: two + "1.1 call 1 create /a x; 1.1 lost; 1.2 back 0xa seen 0; 1.2 call 2 create /b x; 1.2 reply 2 at 5 /b\n" +
				"txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 1 create /a x; txn 4 0xc 0 open; txn 5 0xa 2 create /b x",
			bad: two + "1.1 call 1 create /a x; 1.1 lost; 1.2 back 0xa seen 0; 1.2 call 2 create /b x; 1.2 reply 2 at 4 /b\n" +
				"txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xc 0 open; txn 4 0xa 2 create /b x; txn 5 0xa 1 create /a x", want: "I01"},
		{name: "a session is opened behind what was answered before",
			good: "1.1 new 0xa; 1.1 call 1 create /a x; 1.1 reply 1 at 2 /a; 2.1 new 0xb; txn 1 0xa 0 open; txn 2 0xa 1 create /a x; txn 3 0xb 0 open",
			bad:  "1.1 new 0xa; 1.1 call 1 create /a x; 1.1 reply 1 at 3 /a; 2.1 new 0xb; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 1 create /a x", want: "I01"},
		{name: "zxids do not fall on a connection",
			good: two + "1.1 call 1 get /a; 1.1 reply 1 at 5 nonode; 1.1 call 2 get /a; 1.1 reply 2 at 5 nonode",
			bad:  two + "1.1 call 1 get /a; 1.1 reply 1 at 5 nonode; 1.1 call 2 get /a; 1.1 reply 2 at 4 nonode", want: "I04"},
		{name: "nor behind a reconnect",
			good: two + "1.1 call 1 get /a; 1.1 reply 1 at 5 nonode; 1.1 lost; 1.2 back 0xa seen 5; 1.2 call 2 get /a; 1.2 reply 2 at 6 nonode",
			bad:  two + "1.1 call 1 get /a; 1.1 reply 1 at 5 nonode; 1.1 lost; 1.2 back 0xa seen 5; 1.2 call 2 get /a; 1.2 reply 2 at 4 nonode", want: "I04"},
		{name: "nor behind an event",
			good: two + "1.1 event at 5 changed /a; 1.1 lost; 1.2 back 0xa seen 5; 1.2 call 2 get /a; 1.2 reply 2 at 5 nonode",
			bad:  two + "1.1 event at 5 changed /a; 1.1 lost; 1.2 back 0xa seen 5; 1.2 call 2 get /a; 1.2 reply 2 at 4 nonode", want: "I04"},
		{name: "a client says what it has seen",
			good: two + "1.1 call 1 get /a; 1.1 reply 1 at 5 nonode; 1.1 lost; 1.2 back 0xa seen 5",
			bad:  two + "1.1 call 1 get /a; 1.1 reply 1 at 5 nonode; 1.1 lost; 1.2 back 0xa seen 4", want: "client"},
		{name: "a sync is behind what was answered before it was sent",
			good: two + "1.1 call 1 create /a x; 2.1 call 1 sync /; 1.1 reply 1 at 6 /a; 2.1 reply 1 at 5 ok",
			bad:  two + "1.1 call 1 create /a x; 1.1 reply 1 at 6 /a; 2.1 call 1 sync /; 2.1 reply 1 at 5 ok", want: "I05"},
		{name: "a read behind a sync is fresh",
			good: two + "2.1 call 1 get /a; 2.1 call 2 sync /; 2.1 reply 1 at 2 nonode; 1.1 call 1 create /a x; 1.1 reply 1 at 6 /a; 2.1 reply 2 at 2 ok; 2.1 call 3 get /a; 2.1 reply 3 at 5 nonode",
			bad:  two + "1.1 call 1 create /a x; 1.1 reply 1 at 6 /a; 2.1 call 1 sync /; 2.1 call 2 get /a; 2.1 reply 1 at 6 ok; 2.1 reply 2 at 5 nonode", want: "I05"},
		{name: "sequential names rise",
			good: two + "1.1 call 1 sequential /q/n x; 1.1 reply 1 at 5 /q/n0000000003; 2.1 call 1 sequential /q/m x; 2.1 reply 1 at 6 /q/m0000000004",
			bad:  two + "1.1 call 1 sequential /q/n x; 1.1 reply 1 at 5 /q/n0000000003; 2.1 call 1 sequential /q/m x; 2.1 reply 1 at 6 /q/m0000000003", want: "I10"},
		{name: "sequential names rise past the end of the numbers",
			good: two + "1.1 call 1 sequential /q/ x; 1.1 reply 1 at 5 /q/2147483647; 2.1 call 1 sequential /q/ x; 2.1 reply 1 at 6 /q/-2147483648",
			bad:  two + "1.1 call 1 sequential /q/ x; 1.1 reply 1 at 5 /q/2147483647; 2.1 call 1 sequential /q/ x; 2.1 reply 1 at 6 /q/2147483646", want: "I10"},
		{name: "a parent that is made anew counts anew",
			good: two + "1.1 call 1 sequential /q/n x; 1.1 reply 1 at 5 /q/n0000000003; 1.1 call 2 delete /q; 1.1 reply 2 at 6 ok; 2.1 call 1 sequential /q/n x; 2.1 reply 1 at 9 /q/n0000000000",
			bad:  two + "1.1 call 1 sequential /q/n x; 1.1 reply 1 at 5 /q/n0000000003; 2.1 call 1 sequential /q/n x; 2.1 reply 1 at 9 /q/n0000000000", want: "I10"},
		{name: "a stat is of no later than the reply",
			good: two + "1.1 call 1 create /a x; 1.1 reply 1 at 5 /a; 1.1 call 2 get /a; 1.1 reply 2 at 7 x m 5",
			bad:  two + "1.1 call 1 create /a x; 1.1 reply 1 at 5 /a; 1.1 call 2 get /a; 1.1 reply 2 at 7 x m 8", want: "I11"},
		{name: "a read shows the last write that was answered",
			good: two + "1.1 call 1 create /a x; 1.1 reply 1 at 5 /a; 1.1 call 2 set /a y; 1.1 reply 2 at 7 ok v 1; 2.1 call 1 get /a; 2.1 reply 1 at 6 x m 5",
			bad:  two + "1.1 call 1 create /a x; 1.1 reply 1 at 5 /a; 1.1 call 2 set /a y; 1.1 reply 2 at 7 ok v 1; 2.1 call 1 get /a; 2.1 reply 1 at 7 x m 5", want: "I02"},
		{name: "a read shows what that write has written",
			good: two + "1.1 call 1 create /a x; 1.1 reply 1 at 5 /a; 2.1 call 1 get /a; 2.1 reply 1 at 6 x m 5",
			bad:  two + "1.1 call 1 create /a x; 1.1 reply 1 at 5 /a; 2.1 call 1 get /a; 2.1 reply 1 at 6 y m 5", want: "I02"},
		{name: "a write that nobody was answered may show or not",
			good: two + "1.1 call 1 create /a x; 1.1 reply 1 at 5 /a; 1.1 call 2 set /a y; 1.1 lost; 2.1 call 1 get /a; 2.1 reply 1 at 6 y m 6 v 1",
			bad:  two + "1.1 call 1 create /a x; 1.1 reply 1 at 5 /a; 1.1 call 2 set /a y; 1.1 lost; 2.1 call 1 get /a; 2.1 reply 1 at 6 z m 6 v 1", want: "I02"},
		{name: "a multi shows all of itself",
			good: two + "1.1 call 1 createset /a x; 1.1 reply 1 at 5 ok /a v 1; 2.1 call 1 get /a; 2.1 reply 1 at 5 x m 5",
			bad:  two + "1.1 call 1 createset /a x; 1.1 reply 1 at 5 ok /a v 1; 2.1 call 1 get /a; 2.1 reply 1 at 5 new m 5", want: "I02"},
		{name: "a multi that failed shows nothing",
			good: two + "1.1 call 1 createset /a x; 1.1 reply 1 at 5 failed; 2.1 call 1 get /a; 2.1 reply 1 at 5 nonode",
			bad:  two + "1.1 call 1 createset /a x; 1.1 reply 1 at 5 failed; 2.1 call 1 get /a; 2.1 reply 1 at 5 new m 5", want: "I02"},
		{name: "what was created is there",
			good: two + "1.1 call 1 create /a x; 1.1 reply 1 at 5 /a; 2.1 call 1 get /a; 2.1 reply 1 at 4 nonode",
			bad:  two + "1.1 call 1 create /a x; 1.1 reply 1 at 5 /a; 2.1 call 1 get /a; 2.1 reply 1 at 5 nonode", want: "I13"},
		{name: "unless it was deleted",
			good: two + "1.1 call 1 create /a x; 1.1 reply 1 at 5 /a; 1.1 call 2 delete /a; 1.1 lost; 2.1 call 1 get /a; 2.1 reply 1 at 9 nonode",
			bad:  two + "1.1 call 1 create /a x; 1.1 reply 1 at 5 /a; 1.1 call 2 delete /a; 1.1 reply 2 at 6 badversion; 2.1 call 1 get /a; 2.1 reply 1 at 9 nonode", want: "I13"},
		{name: "an ephemeral lives as long as its session",
			good: two + "1.1 call 1 ephemeral /e x; 1.1 reply 1 at 5 /e; 2.1 call 1 get /e; 2.1 reply 1 at 9 nonode",
			bad:  two + "1.1 call 1 ephemeral /e x; 1.1 reply 1 at 5 /e; 1.1 call 2 get /e; 1.1 reply 2 at 9 nonode", want: "I21"},
		{name: "and no longer",
			good: two + "1.1 call 1 ephemeral /e x; 1.1 reply 1 at 5 /e; 1.1 lost; +9000; 1.2 refused 0xa seen 5; 1.2 lost; 1.3 new 0xc; 1.3 call 1 exists /e; 1.3 reply 1 at 8 nonode",
			bad:  two + "1.1 call 1 ephemeral /e x; 1.1 reply 1 at 5 /e; 1.1 lost; +9000; 1.2 refused 0xa seen 5; 1.2 lost; 1.3 new 0xc; 1.3 call 1 exists /e; 1.3 reply 1 at 8 ok c 5 m 5 owner 0xa", want: "I21"},
		{name: "each session has an id of its own",
			good: "1.1 new 0xa; 2.1 new 0xb", bad: "1.1 new 0xa; 2.1 new 0xa", want: "I19"},
		{name: "a client gets the session that it comes with",
			good: two + "1.1 lost; 1.2 back 0xa seen 0",
			bad:  two + "1.1 lost; 1.2 back 0xa seen 0 as 0xc", want: "I23"},
		{name: "and nobody gets in with a wrong password",
			good: two + "3.1 refused 0xa seen 0 wrong",
			bad:  two + "3.1 back 0xa seen 0 wrong", want: "I23"},
		{name: "a session whose end was seen is not welcomed",
			good: two + "1.1 lost; +500; 1.2 back 0xa seen 0; +2000; 2.1 call 1 exists /x; 2.1 reply 1 at 3 nonode; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 0 close",
			bad:  two + "1.1 lost; +2000; 2.1 call 1 exists /x; 2.1 reply 1 at 3 nonode; 1.2 back 0xa seen 0; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 0 close", want: "I23"},
		{name: "a session that is said to be over is",
			good: two + "1.1 lost; +2000; 1.2 refused 0xa seen 0; 2.1 call 1 create /a x; 2.1 reply 1 at 4 /a; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 0 close; txn 4 0xb 1 create /a x",
			bad:  two + "1.1 lost; +2000; 1.2 refused 0xa seen 0; 2.1 call 1 create /a x; 2.1 reply 1 at 3 /a; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xb 1 create /a x; txn 4 0xa 0 close", want: "I23"},
		{name: "a session ends behind its timeout",
			good: two + "1.1 call 1 create /a x; 1.1 reply 1 at 3 /a; +1001; 2.1 call 1 exists /x; 2.1 reply 1 at 4 nonode; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 1 create /a x; txn 4 0xa 0 close",
			bad:  two + "1.1 call 1 create /a x; 1.1 reply 1 at 3 /a; +900; 2.1 call 1 exists /x; 2.1 reply 1 at 4 nonode; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 1 create /a x; txn 4 0xa 0 close", want: "I20"},
		{name: "a fast clock ends it a little earlier", options: Options{ClockDrift: 0.2},
			good: two + "+900; 2.1 call 1 exists /x; 2.1 reply 1 at 3 nonode; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 0 close",
			bad:  two + "+700; 2.1 call 1 exists /x; 2.1 reply 1 at 3 nonode; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 0 close", want: "I20"},
		{name: "its client may ask for less, and hear of it no more",
			good: two + "1.1 lost; 1.2 asks 0xa 500; 1.2 lost; +501; 2.1 call 1 exists /x; 2.1 reply 1 at 3 nonode; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 0 close",
			bad:  two + "1.1 lost; 1.2 asks 0xa 500; 1.2 lost; +490; 2.1 call 1 exists /x; 2.1 reply 1 at 3 nonode; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 0 close", want: "I20"},
		{name: "nobody else may",
			good: two + "1.1 lost; 3.1 asks 0xa 500; 3.1 lost; +1001; 2.1 call 1 exists /x; 2.1 reply 1 at 3 nonode; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 0 close",
			bad:  two + "1.1 lost; 3.1 asks 0xa 500; 3.1 lost; +501; 2.1 call 1 exists /x; 2.1 reply 1 at 3 nonode; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 0 close", want: "I20"},
		{name: "what it asked for counts no more when it is long back with another",
			good: two + "1.1 lost; 1.2 asks 0xa 500; 1.2 lost; +400; 1.3 back 0xa seen 0; 1.3 lost; +700; 1.4 back 0xa seen 0; +501; 2.1 call 1 exists /x; 2.1 reply 1 at 3 nonode; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 0 close",
			bad:  two + "1.1 lost; 1.2 asks 0xa 500; 1.2 lost; +400; 1.3 back 0xa seen 0; 1.3 lost; +700; 1.4 back 0xa seen 0; +200; 1.4 call 1 create /a x; 1.4 reply 1 at 3 /a; +501; 2.1 call 1 exists /x; 2.1 reply 1 at 4 nonode; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 1 create /a x; txn 4 0xa 0 close", want: "I20"},
		{name: "its client may close it any time",
			good: two + "1.1 call 1 close; 1.1 reply 1 at 3 ok; 1.1 lost; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 1 close",
			bad:  two + "1.1 call 1 close; 1.1 lost; 2.1 call 1 exists /x; 2.1 reply 1 at 3 nonode; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 0 close", want: "I20"},
		{name: "nothing of a session comes behind its end",
			good: two + "1.1 call 1 close; 1.1 reply 1 at 3 ok; 1.1 lost",
			bad:  two + "1.1 call 1 create /a x; 1.1 call 2 close; 1.1 reply 1 at 4 /a; 1.1 reply 2 at 3 ok; 1.1 lost", want: "I22"},
		{name: "nor of one that has expired",
			good: two + "1.1 call 1 create /a x; 1.1 lost; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 0 close; txn 4 0xa 1 error expired",
			bad:  two + "1.1 call 1 create /a x; 1.1 lost; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 0 close; txn 4 0xa 1 create /a x", want: "I22"},
		{name: "a write takes effect once",
			good: two + "1.1 call 1 create /a x; 1.1 lost; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 1 create /a x",
			bad:  two + "1.1 call 1 create /a x; 1.1 lost; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 1 create /a x; txn 4 0xa 1 create /a x", want: "I07"},
		{name: "nobody asks for nothing",
			good: two + "1.1 call 1 create /a x; 1.1 lost; txn 1 0xa 0 open; txn 2 0xb 0 open",
			bad:  two + "1.1 call 1 create /a x; 1.1 lost; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 2 create /a x", want: "I07"},
		{name: "what was answered is committed",
			good: two + "1.1 call 1 create /a x; 1.1 reply 1 at 3 /a; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xa 1 create /a x",
			bad:  two + "1.1 call 1 create /a x; 1.1 reply 1 at 3 /a; txn 1 0xa 0 open; txn 2 0xb 0 open", want: "I13"},
		{name: "a read is from what is committed",
			good: two + "1.1 call 1 get /a; 1.1 reply 1 at 2 nonode; txn 1 0xa 0 open; txn 2 0xb 0 open",
			bad:  two + "1.1 call 1 get /a; 1.1 reply 1 at 3 nonode; txn 1 0xa 0 open; txn 2 0xb 0 open", want: "I13"},
		{name: "there is no hole", good: two + "txn 1 0xa 0 open; txn 2 0xb 0 open; txn 0x100000001 0xb 0 close",
			bad: two + "txn 1 0xa 0 open; txn 3 0xb 0 open", want: "I16"},
		{name: "a new epoch begins with 1", good: two + "txn 1 0xa 0 open; txn 0x200000001 0xb 0 open",
			bad: two + "txn 1 0xa 0 open; txn 0x200000002 0xb 0 open", want: "I16"},
		{name: "an event comes before the reply that shows the change",
			good: two + watched + "1.1 event at 4 changed /a; 1.1 call 2 get /a; 1.1 reply 2 at 4 y c 3 m 4 p 3 v 1" + watchedTxns,
			bad:  two + watched + "1.1 call 2 get /a; 1.1 reply 2 at 4 y c 3 m 4 p 3 v 1; 1.1 event at 4 changed /a" + watchedTxns, want: "I24"},
		{name: "no event is lost",
			good: two + watched + "1.1 event at 4 changed /a; 1.1 call 2 exists /b; 1.1 reply 2 at 4 nonode" + watchedTxns,
			bad:  two + watched + "1.1 call 2 exists /b; 1.1 reply 2 at 4 nonode" + watchedTxns, want: "I24"},
		{name: "nor comes it twice",
			good: two + watched + "1.1 event at 4 changed /a; 1.1 call 2 exists /b; 1.1 reply 2 at 4 nonode" + watchedTxns,
			bad:  two + watched + "1.1 event at 4 changed /a; 1.1 event at 4 changed /a" + watchedTxns, want: "I24"},
		{name: "nor is it another",
			good: two + watched + "1.1 event at 4 changed /a" + watchedTxns,
			bad:  two + watched + "1.1 event at 4 children /a" + watchedTxns, want: "I24"},
		{name: "an event may be on its way when the connection is lost",
			good: two + watched + "1.1 call 2 exists /b; 1.1 reply 2 at 3 nonode; 1.1 lost" + watchedTxns,
			bad:  two + watched + "1.1 call 2 exists /b; 1.1 reply 2 at 4 nonode; 1.1 lost" + watchedTxns, want: "I24"},
		{name: "after a reconnect it comes all the same",
			good: two + watched + "1.1 lost; 1.2 back 0xa seen 3; 1.2 call -8 setwatches /a 3; 1.2 event at -1 changed /a; 1.2 reply -8 at 4 ok" + watchedTxns,
			bad:  two + watched + "1.1 lost; 1.2 back 0xa seen 3; 1.2 call -8 setwatches /a 3; 1.2 reply -8 at 4 ok" + watchedTxns, want: "I24"},
		{name: "before the reply to setWatches",
			good: two + watched + "1.1 lost; 1.2 back 0xa seen 3; 1.2 call -8 setwatches /a 3; 1.2 event at -1 changed /a; 1.2 lost" + watchedTxns,
			bad:  two + watched + "1.1 lost; 1.2 back 0xa seen 3; 1.2 call -8 setwatches /a 3; 1.2 reply -8 at 4 ok; 1.2 event at -1 changed /a" + watchedTxns, want: "I24"},
		{name: "a lock has one holder",
			good: two + "1.1 acquired /l; 1.1 released /l; 2.1 acquired /l",
			bad:  two + "1.1 acquired /l; 2.1 acquired /l; 1.1 released /l", want: "lock"},
		{name: "until its session may be over",
			good: two + "1.1 acquired /l; +2000; 2.1 acquired /l; 1.1 released /l",
			bad:  two + "1.1 acquired /l; +700; 1.1 call 1 create /a x; 1.1 reply 1 at 3 /a; +700; 2.1 call 1 create /b x; 2.1 reply 1 at 4 /b; 2.1 acquired /l; 1.1 released /l",
			want: "lock"},
		{name: "there is a linear order of writes", options: Options{Porcupine: 20 * time.Second},
			good: two + "1.1 call 1 create /a x; 1.1 reply 1 at 3 /a; 1.1 call 2 set /a if 0 y; 2.1 call 1 set /a if 0 z; 1.1 reply 2 at 5 badversion; 2.1 reply 1 at 4 ok v 1",
			bad:  two + "1.1 call 1 create /a x; 1.1 reply 1 at 3 /a; 1.1 call 2 set /a if 0 y; 2.1 call 1 set /a if 0 z; 1.1 reply 2 at 5 ok v 1; 2.1 reply 1 at 4 ok v 1", want: "linear"},
		{name: "and of reads behind a sync", options: Options{Porcupine: 20 * time.Second},
			good: two + "1.1 call 1 create /a x; 1.1 reply 1 at 3 /a; 1.1 call 2 set /a y; 2.1 call 1 sync /; 2.1 reply 1 at 3 ok; 1.1 reply 2 at 4 ok v 1; 2.1 call 2 get /a; 2.1 reply 2 at 3 x m 3",
			bad:  two + "1.1 call 1 create /a x; 1.1 reply 1 at 3 /a; 1.1 call 2 set /a y; 1.1 reply 2 at 4 ok v 1; 2.1 call 1 sync /; 2.1 reply 1 at 4 ok; 2.1 call 2 get /a; 2.1 reply 2 at 4 x m 3", want: "linear"},
		{name: "what was not answered is in the order, or not", options: Options{Porcupine: 20 * time.Second},
			good: two + "1.1 call 1 create /a x; 1.1 reply 1 at 3 /a; 1.1 call 2 set /a y; 1.1 lost; 2.1 call 1 sync /; 2.1 reply 1 at 4 ok; 2.1 call 2 get /a; 2.1 reply 2 at 4 y m 4 v 1; 2.1 call 3 set /a if 1 z; 2.1 reply 3 at 5 ok v 2",
			bad:  two + "1.1 call 1 create /a x; 1.1 reply 1 at 3 /a; 1.1 call 2 set /a y; 1.1 lost; 2.1 call 1 sync /; 2.1 reply 1 at 4 ok; 2.1 call 2 get /a; 2.1 reply 2 at 4 y m 4 v 1; 2.1 call 3 set /a if 0 z; 2.1 reply 3 at 5 ok v 1", want: "linear"},
		{name: "an ephemeral goes when its session may", options: Options{Porcupine: 20 * time.Second},
			good: two + "1.1 call 1 ephemeral /e x; 1.1 reply 1 at 3 /e; 1.1 call 2 close; 1.1 reply 2 at 4 ok; 1.1 lost; 2.1 call 1 ephemeral /e y; 2.1 reply 1 at 5 /e",
			bad:  two + "1.1 call 1 ephemeral /e x; 2.1 call 1 ephemeral /e y; 1.1 reply 1 at 3 /e; 2.1 reply 1 at 4 /e; 1.1 call 2 close; 1.1 reply 2 at 5 ok; 1.1 lost; 2.1 call 2 create /z x; 2.1 reply 2 at 6 /z", want: "linear"},
		{name: "there is load", options: Options{MinRate: 100},
			good: two + "1.1 call 1 sync /; 1.1 reply 1 at 2 ok; 1.1 call 2 sync /; 1.1 reply 2 at 2 ok; fault",
			bad:  two + "1.1 call 1 sync /; 1.1 reply 1 at 2 ok; 1.1 call 2 sync /; 1.1 reply 2 at 2 ok; +1000; fault", want: "run"},
		{name: "faults strike", options: Options{MinFaults: 2}, good: "fault; fault", bad: "fault", want: "run"},
		{name: "and it goes on", options: Options{LastWrite: true},
			good: two + "fault; heal; 1.1 call 1 create /a x; 1.1 reply 1 at 3 /a",
			bad:  two + "fault; 1.1 call 1 create /a x; heal; 1.1 reply 1 at 3 /a", want: "run"},
		{name: "there was something to check", options: Options{AtLeast: map[string]int{"I05 syncs": 2}},
			good: two + "1.1 call 1 sync /; 1.1 reply 1 at 2 ok; 1.1 call 2 sync /; 1.1 reply 2 at 2 ok",
			bad:  two + "1.1 call 1 sync /; 1.1 reply 1 at 2 ok", want: "run"},
		{name: "xids are used once",
			good: two + "1.1 call 1 sync /; 1.1 lost; 1.2 back 0xa seen 0; 1.2 call 2 sync /",
			bad:  two + "1.1 call 1 sync /; 1.1 lost; 1.2 back 0xa seen 0; 1.2 call 1 sync /", want: "client"},
		{name: "who authenticates waits",
			good: two + "1.1 call -4 auth me:pw; 1.1 reply -4 at 0 ok; 1.1 call 1 sync /",
			bad:  two + "1.1 call -4 auth me:pw; 1.1 call 1 sync /; 1.1 reply -4 at 0 ok", want: "client"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if v := Judge(parse(t, tc.good), tc.options); !v.OK() {
				t.Errorf("the good one: %s", v)
			}
			v := Judge(parse(t, tc.bad), tc.options)
			if !v.Has(tc.want) {
				t.Errorf("the bad one, want %s: %s", tc.want, v)
			}
			if v.Err() == nil || !strings.Contains(v.Err().Error(), tc.want+": ") {
				t.Errorf("the error is %v", v.Err())
			}
		})
	}
}

// A client watches a znode that another sets.
const (
	watched = "2.1 call 1 create /a x; 2.1 reply 1 at 3 /a; 1.1 call 1 get /a watch; 1.1 reply 1 at 3 x c 3 m 3 p 3; " +
		"2.1 call 2 set /a y; 2.1 reply 2 at 4 ok c 3 m 4 p 3 v 1; "
	watchedTxns = "; txn 1 0xa 0 open; txn 2 0xb 0 open; txn 3 0xb 1 create /a x; txn 4 0xb 2 set /a y v 1"
)
