package node

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// An exchange is a line of testdata/exchanges-3.9.5.jsonl: what a client sent to
// Apache's server, and what came back.
type exchange struct {
	Name    string `json:"name"`
	Conn    string `json:"conn"`
	Request string `json:"request_hex"`
	Reply   string `json:"reply_hex"`
	Closed  bool   `json:"closed"`
	Notes   string `json:"notes"`
}

// ours are the exchanges in which this server does not do what Apache's did, and
// what it does: the defects that are not to be copied.
var ours = map[string]string{
	"deleteContainer_from_client_not_empty": "unimplemented, closed",
	"deleteContainer_from_client":           "gone",
	"deleteContainer_ephemeral":             "gone",
	"multiRead_with_write":                  "header only",
}

// TestExchanges sends what was sent to Apache's server and expects what it
// answered, byte by byte, but for what is different at every run: session ids,
// passwords, zxids and times, and the order of names. Of zxids it checks that
// they are in the same order.
func TestExchanges(t *testing.T) {
	f, err := os.Open("testdata/exchanges-3.9.5.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dirs := []string{t.TempDir(), t.TempDir()}
	// In a time of its own: sessions expire at once when they should, and on a slow
	// machine not before.
	synctest.Test(t, func(t *testing.T) { testExchanges(t, f, dirs) })
}

func testExchanges(t *testing.T, f io.Reader, dirs []string) {
	v := &replay{
		t: t, peers: map[string]*peer{}, sessions: map[int64]*peer{}, zxids: map[int64]int64{},
		rig: startPiped(t, dirs[0], vectorConfig(true)),
	}
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	n := 0
	for sc.Scan() {
		var x exchange
		if err := json.Unmarshal(sc.Bytes(), &x); err != nil {
			t.Fatal(err)
		}
		if x.Conn == "nottl" && n > 0 && !v.nottl {
			v.nottl = true
			v.rig = startPiped(t, dirs[1], vectorConfig(false))
		}
		v.exchange(&x)
		n++
	}
	if n < 200 {
		t.Fatalf("%d exchanges only", n)
	}
	// Equal zxids there are equal here, and a later one there is not earlier here. It
	// may be the same, as a write that is refused before it is ordered has none.
	var order []int64
	for theirs := range v.zxids {
		order = append(order, theirs)
	}
	slices.Sort(order)
	for i := 1; i < len(order); i++ {
		if v.zxids[order[i]] < v.zxids[order[i-1]] {
			t.Errorf("zxids 0x%x, 0x%x there are 0x%x, 0x%x here", order[i-1], order[i], v.zxids[order[i-1]], v.zxids[order[i]])
		}
	}
}

func vectorConfig(ttl bool) func(*Config) {
	return func(c *Config) {
		c.ExtendedTypes = ttl
		// As it was recorded.
		c.MinSessionTimeoutMS, c.MaxSessionTimeoutMS = 4000, 40000
	}
}

type replay struct {
	t        *testing.T
	rig      *rig
	nottl    bool
	peers    map[string]*peer
	sessions map[int64]*peer // by the id that they had when recorded
	zxids    map[int64]int64 // recorded → here
}

func (v *replay) exchange(x *exchange) {
	t := v.t
	req, err := hex.DecodeString(x.Request)
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(x.Reply)
	if err != nil {
		t.Fatal(err)
	}
	v.prepare(x)
	p := v.peers[x.Conn]
	isConnect := p == nil && len(req) > 0 && (strings.HasPrefix(x.Name, "connect") || strings.HasPrefix(x.Name, "reconnect") || x.Conn == "pipe")
	if p == nil {
		if isConnect {
			p = v.rig.dial()
		} else {
			p = v.rig.connect()
		}
		v.peers[x.Conn] = p
	}
	if x.Name == "oversized_length" {
		req = []byte{0x7f, 0xff, 0xff, 0xff}
	} else if x.Name == "negative_length" {
		req = []byte{0xff, 0xff, 0xff, 0xfb}
	}
	if ours[x.Name] == "gone" {
		return
	}
	if isConnect {
		req = v.mapConnect(req)
	} else if strings.HasPrefix(x.Name, "setWatches") {
		v.mapZxid(req[4+8:])
	}
	if len(req) > 0 {
		p.write(req)
	}
	var ops []proto.Op // those of the requests, whose replies come in this order
	if !isConnect && len(req) >= 12 {
		var h proto.RequestHeader
		if err := proto.Unmarshal(req[4:], &h); err != nil {
			t.Fatal(err)
		}
		ops = append(ops, h.Op)
	} else if x.Conn == "pipe" {
		ops = []proto.Op{proto.OpExists, proto.OpGetChildren}
	}
	switch ours[x.Name] {
	case "header only":
		want = want[:4+proto.ReplyHeaderSize]
		want[3] = proto.ReplyHeaderSize
	case "unimplemented, closed":
		want = hexFrame("00000001" + "ffffffffffffffff" + "fffffffa")
		copy(want[4:], req[4:8])
		x.Closed = true
	}
	for first := true; len(want) > 0; first = false {
		n := 4 + int(uint32(want[0])<<24|uint32(want[1])<<16|uint32(want[2])<<8|uint32(want[3]))
		theirs := want[4:n]
		want = want[n:]
		got, err := p.readFrame(patience)
		if err != nil {
			t.Errorf("%s (%s): %v, want a frame %x", x.Name, x.Notes, err, theirs)
			return
		}
		if isConnect && first {
			v.compareConnect(x, p, got, theirs)
			continue
		}
		ops = v.compare(x, got, theirs, ops)
	}
	if x.Closed {
		if rest := p.ended(); len(rest) > 0 {
			t.Errorf("%s: %x before the end", x.Name, rest)
		}
	}
}

func hexFrame(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return frame(b)
}

// prepare does what the recorder did without writing it down.
func (v *replay) prepare(x *exchange) {
	conn := func(name string, timeout int32, theirs int64) {
		p := v.rig.dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: timeout, Passwd: make([]byte, 16), HasReadOnly: true})
		v.peers[name] = p
		v.sessions[theirs] = p
	}
	const base = 0x1000022c65e0000
	switch x.Name {
	case "reconnect_existing_while_old_connection_open":
		conn("re1", 10000, base+7)
	case "reconnect_after_tcp_close":
		v.peers["re2"].c.Close()
	case "close_session":
		conn("re6", 10000, base+8)
	case "watch_ephemeral":
		conn("ex", 4000, sessionOf(v.t, "ex"))
		q := create("/exp", proto.FlagEphemeral)
		q.Data = []byte{}
		v.peers["ex"].must(proto.OpCreate, q)
		conn("w2", 40000, -1)
	case "pipelined_connect_and_requests":
		// There a client could delete a container, and the recorder was slow enough
		// for a TTL to pass.
		p := v.rig.connect()
		p.must(proto.OpDelete, &proto.VersionRequest{Path: "/cont0", Version: -1})
		p.must(proto.OpDelete, &proto.VersionRequest{Path: "/mttl", Version: -1})
	case "event_ephemeral_deleted_on_expiry":
		v.peers["ex"].c.Close()
	}
}

// sessionOf finds the recorded id of a session in the request that came back to
// it later.
func sessionOf(t *testing.T, conn string) int64 {
	b, err := os.ReadFile("testdata/exchanges-3.9.5.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var x exchange
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			t.Fatal(err)
		}
		if x.Name != "reconnect_expired" {
			continue
		}
		req, err := hex.DecodeString(x.Request)
		if err != nil {
			t.Fatal(err)
		}
		var q proto.ConnectRequest
		if err := proto.Unmarshal(req[4:], &q); err != nil {
			t.Fatal(err)
		}
		return q.SessionID
	}
	t.Fatalf("%s does not come back", conn)
	return 0
}

// mapConnect puts our session and password in the place of the recorded ones.
func (v *replay) mapConnect(req []byte) []byte {
	n := int(req[3]) + 4
	var q proto.ConnectRequest
	if err := proto.Unmarshal(req[4:n], &q); err != nil {
		v.t.Fatal(err)
	}
	if p := v.sessions[q.SessionID]; p != nil {
		right := proto.SessionPassword(q.SessionID) // as Apache made it
		if string(q.Passwd) == string(right[:]) {
			q.Passwd = p.passwd
		}
		q.SessionID = p.session
	}
	return append(frame(q.Append(nil)), req[n:]...)
}

func (v *replay) mapZxid(b []byte) {
	theirs := int64(b[0])<<56 | int64(b[1])<<48 | int64(b[2])<<40 | int64(b[3])<<32 | int64(b[4])<<24 | int64(b[5])<<16 | int64(b[6])<<8 | int64(b[7])
	here, ok := v.zxids[theirs]
	if !ok {
		// No reply had it: the next smaller one is the same point in the order.
		best := int64(-1)
		for z := range v.zxids {
			if z <= theirs && z > best {
				best = z
			}
		}
		here = v.zxids[best]
	}
	for i := range 8 {
		b[i] = byte(here >> (56 - 8*i))
	}
}

func (v *replay) compareConnect(x *exchange, p *peer, got, theirs []byte) {
	var a, b proto.ConnectResponse
	if err := proto.Unmarshal(got, &a); err != nil {
		v.t.Fatal(err)
	}
	if err := proto.Unmarshal(theirs, &b); err != nil {
		v.t.Fatal(err)
	}
	if len(got) != len(theirs) || a.TimeoutMS != b.TimeoutMS || a.ReadOnly != b.ReadOnly || (a.SessionID == 0) != (b.SessionID == 0) {
		v.t.Errorf("%s: %+v, want as %+v", x.Name, a, b)
	}
	if old := v.sessions[b.SessionID]; old != nil && old.session != a.SessionID {
		v.t.Errorf("%s: another session: 0x%x, want 0x%x", x.Name, a.SessionID, old.session)
	}
	if a.SessionID != 0 {
		if want := proto.SessionPassword(a.SessionID); string(a.Passwd) != string(want[:]) {
			v.t.Errorf("%s: password %x, want %x", x.Name, a.Passwd, want)
		}
		p.session, p.passwd = a.SessionID, a.Passwd
		v.sessions[b.SessionID] = p
	} else if string(a.Passwd) != string(b.Passwd) {
		v.t.Errorf("%s: password %x, want zeros", x.Name, a.Passwd)
	}
}

// compare compares a reply or an event.
func (v *replay) compare(x *exchange, got, theirs []byte, ops []proto.Op) []proto.Op {
	t := v.t
	var a, b proto.ReplyHeader
	if len(got) < proto.ReplyHeaderSize {
		t.Errorf("%s: reply of %d bytes", x.Name, len(got))
		return ops
	}
	if err := proto.Unmarshal(got, &a); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(theirs, &b); err != nil {
		t.Fatal(err)
	}
	if a.Xid != b.Xid || a.Err != b.Err {
		t.Errorf("%s: xid %d, err %v, want %d, %v (%s)", x.Name, a.Xid, a.Err, b.Xid, b.Err, x.Notes)
		return ops
	}
	v.zxid(x, a.Zxid, b.Zxid)
	body, want := got[proto.ReplyHeaderSize:], theirs[proto.ReplyHeaderSize:]
	var ra, rb proto.Record
	if b.Xid == proto.XidNotification {
		ra, rb = new(proto.WatcherEvent), new(proto.WatcherEvent)
	} else {
		if len(ops) == 0 {
			t.Errorf("%s: a reply to nothing: %x", x.Name, got)
			return ops
		}
		op := ops[0]
		ops = ops[1:]
		if b.Err == zkerr.OK {
			ra, rb = proto.NewResponse(op), proto.NewResponse(op)
		}
	}
	if ra == nil {
		if string(body) != string(want) {
			t.Errorf("%s: body %x, want %x", x.Name, body, want)
		}
		return ops
	}
	if err := proto.Unmarshal(body, ra); err != nil {
		t.Errorf("%s: %v", x.Name, err)
		return ops
	}
	if err := proto.Unmarshal(want, rb); err != nil {
		t.Fatal(err)
	}
	if string(ra.Append(nil)) != string(body) {
		t.Errorf("%s: more bytes than the record has: %x", x.Name, body)
	}
	v.level(x, ra, rb)
	if ga, gb := ra.Append(nil), rb.Append(nil); string(ga) != string(gb) {
		t.Errorf("%s: %+v\n\twant %+v", x.Name, dump(ra), dump(rb))
	}
	return ops
}

func dump(r proto.Record) string { return fmt.Sprintf("%+v", r) }

// zxid takes note of a pair.
func (v *replay) zxid(x *exchange, here, theirs int64) {
	if here <= 0 || theirs <= 0 {
		if here != theirs {
			v.t.Errorf("%s: zxid %d, want %d", x.Name, here, theirs)
		}
		return
	}
	if v.nottl {
		return
	}
	if was, ok := v.zxids[theirs]; ok && was != here {
		v.t.Errorf("%s: zxid 0x%x, which was 0x%x before: want 0x%x", x.Name, here, was, theirs)
		return
	}
	v.zxids[theirs] = here
}

// level makes equal what may differ.
func (v *replay) level(x *exchange, ra, rb proto.Record) {
	switch a := ra.(type) {
	case *proto.Stat:
		v.stat(x, a, rb.(*proto.Stat))
	case *proto.Create2Response:
		v.stat(x, &a.Stat, &rb.(*proto.Create2Response).Stat)
	case *proto.GetDataResponse:
		v.stat(x, &a.Stat, &rb.(*proto.GetDataResponse).Stat)
	case *proto.GetACLResponse:
		v.stat(x, &a.Stat, &rb.(*proto.GetACLResponse).Stat)
	case *proto.StringsResponse:
		slices.Sort(a.Strings)
		slices.Sort(rb.(*proto.StringsResponse).Strings)
	case *proto.GetChildren2Response:
		b := rb.(*proto.GetChildren2Response)
		slices.Sort(a.Children)
		slices.Sort(b.Children)
		v.stat(x, &a.Stat, &b.Stat)
	case *proto.WhoAmIResponse:
		by := func(a, b proto.ClientInfo) int { return strings.Compare(a.AuthScheme+a.User, b.AuthScheme+b.User) }
		slices.SortFunc(a.ClientInfo, by)
		slices.SortFunc(rb.(*proto.WhoAmIResponse).ClientInfo, by)
	case *proto.MultiResponse:
		b := rb.(*proto.MultiResponse)
		if len(a.Results) != len(b.Results) {
			return
		}
		for i := range a.Results {
			v.stat(x, &a.Results[i].Stat, &b.Results[i].Stat)
			slices.Sort(a.Results[i].Children)
			slices.Sort(b.Results[i].Children)
		}
	}
}

func (v *replay) stat(x *exchange, a, b *proto.Stat) {
	for _, z := range []struct{ a, b *int64 }{{&a.Czxid, &b.Czxid}, {&a.Mzxid, &b.Mzxid}, {&a.Pzxid, &b.Pzxid}} {
		v.zxid(x, *z.a, *z.b)
		*z.a = *z.b
	}
	for _, z := range []struct{ a, b *int64 }{{&a.Ctime, &b.Ctime}, {&a.Mtime, &b.Mtime}} {
		if (*z.a == 0) != (*z.b == 0) {
			v.t.Errorf("%s: time %d, want %d", x.Name, *z.a, *z.b)
		}
		*z.a = *z.b
	}
	if b.EphemeralOwner != 0 {
		if p := v.sessions[b.EphemeralOwner]; p == nil || p.session != a.EphemeralOwner {
			v.t.Errorf("%s: owner 0x%x, want that of 0x%x", x.Name, a.EphemeralOwner, b.EphemeralOwner)
		}
		a.EphemeralOwner = b.EphemeralOwner
	}
}
