package model

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

const me = 0xa

func opened(t *testing.T) *Model {
	t.Helper()
	m := New(Options{ExtendedTypes: true})
	if res := m.Write(1, 1, Request{Session: me, Op: proto.OpCreateSession, Body: jute.AppendInt(nil, 1000)}); res.Code != zkerr.OK {
		t.Fatal(res.Code)
	}
	return m
}

func create(path string, flags proto.CreateFlags) Request {
	return Request{Session: me, Op: proto.OpCreate, Body: (&proto.CreateRequest{Path: path, ACL: jute.OpenACL(), Flags: flags}).Append(nil)}
}

// sum is the digest from all znodes anew.
func (m *Model) sum() (sum uint64) {
	for path, n := range m.nodes {
		sum += n.share(path)
	}
	return sum
}

// What follows from the znodes is kept along with them, also where a multi is
// taken back.
func TestWhatFollowsIsKept(t *testing.T) {
	m := opened(t)
	check := func() {
		t.Helper()
		if m.digest != m.sum() {
			t.Errorf("digest %d, should be %d", m.digest, m.sum())
		}
		children, owned := 0, 0
		for parent, names := range m.kids {
			for name := range names {
				children++
				path := parent + "/" + name
				if parent == "/" {
					path = "/" + name
				}
				if m.nodes[path] == nil {
					t.Errorf("%s is a child and not there", path)
				}
			}
		}
		for session, paths := range m.owned {
			for path := range paths {
				owned++
				if n := m.nodes[path]; n == nil || n.Kind != Ephemeral || n.Owner != session {
					t.Errorf("%s is not an ephemeral of 0x%x", path, session)
				}
			}
		}
		ephemerals := 0
		for _, n := range m.nodes {
			if n.Kind == Ephemeral {
				ephemerals++
			}
		}
		if children != len(m.nodes)-1 || owned != ephemerals {
			t.Errorf("%d children of %d znodes, %d owned of %d ephemerals", children, len(m.nodes), owned, ephemerals)
		}
	}
	m.Write(2, 2, create("/a", 0))
	m.Write(3, 3, create("/a/e", 1))
	m.Write(4, 4, create("/a/s-", 3))
	check()
	before := m.Digest()
	good := []proto.MultiOp{
		{Op: proto.OpDelete, Path: "/a/e", Version: -1},
		{Op: proto.OpCreate, Path: "/a/f", ACL: jute.OpenACL(), Flags: 1},
		{Op: proto.OpSetData, Path: "/a", Data: []byte("x"), Version: 0},
		{Op: proto.OpDelete, Path: "/a/f", Version: -1},
	}
	bad := append(slices.Clone(good), proto.MultiOp{Op: proto.OpCheck, Path: "/none", Version: -1})
	m.Write(5, 5, Request{Session: me, Op: proto.OpMulti, Body: (&proto.MultiRequest{Ops: bad}).Append(nil)})
	check()
	if m.Digest() != before {
		t.Error("a multi that failed left something")
	}
	m.Write(6, 6, Request{Session: me, Op: proto.OpMulti, Body: (&proto.MultiRequest{Ops: good}).Append(nil)})
	check()
	if m.Digest() == before || len(m.Ephemerals(me)) != 1 {
		t.Errorf("a multi did nothing: %q", m.Ephemerals(me))
	}
	m.Write(7, 7, Request{Session: me, Op: proto.OpCloseSession})
	check()
	if len(m.Ephemerals(me)) != 0 || m.Open(me) {
		t.Error("the session lives on")
	}
}

// Counters go past 2³¹, and no version is -1.
func TestCountersPassTheEnd(t *testing.T) {
	m := opened(t)
	m.Write(2, 2, create("/a", 0))
	set := func(change func(*Node)) {
		n := *m.nodes["/a"]
		change(&n)
		m.put("/a", &n)
	}
	for _, tc := range []struct{ from, want int32 }{{0, 1}, {math.MaxInt32, math.MinInt32}, {-3, -2}, {-2, 0}} {
		set(func(n *Node) { n.Version, n.Aversion = tc.from, tc.from })
		m.Write(3, 3, Request{Session: me, Op: proto.OpSetData, Body: (&proto.SetDataRequest{Path: "/a", Version: -1}).Append(nil)})
		m.Write(4, 4, Request{Session: me, Op: proto.OpSetACL, Body: (&proto.SetACLRequest{Path: "/a", ACL: jute.OpenACL(), Version: -1}).Append(nil)})
		if n := m.nodes["/a"]; n.Version != tc.want || n.Aversion != tc.want {
			t.Errorf("behind %d come %d and %d, want %d", tc.from, n.Version, n.Aversion, tc.want)
		}
	}
	for i, tc := range []struct {
		creates int32
		want    string
	}{{math.MaxInt32, "/a/2147483647"}, {math.MinInt32, "/a/-2147483648"}, {-1, "/a/-000000001"}, {0, "/a/0000000000"}} {
		set(func(n *Node) { n.Creates = tc.creates })
		res := m.Write(int64(5+i), 5, create("/a/", 2))
		d := jute.NewDecoder(res.Body)
		if got := d.String(); res.Code != zkerr.OK || got != tc.want {
			t.Errorf("%v %q, want %q", res.Code, got, tc.want)
		}
	}
}

// Networks are compared by the bits that count, and only with their own kind.
func TestNetworks(t *testing.T) {
	for _, tc := range []struct {
		addr, entry string
		want        bool
	}{
		{"10.1.2.3", "10.1.2.3", true}, {"10.1.2.3", "10.1.2.4", false}, {"10.1.2.3", "10.0.0.0/8", true}, {"11.1.2.3", "10.0.0.0/8", false},
		{"10.1.2.3", "0.0.0.0/0", true}, {"10.1.2.3", "::/0", false}, {"0:0:0:0:0:0:0:1", "::1", true}, {"fe80::1", "fe80::2/64", true},
		{"10.1.2.3", "10.1.2.3/33", false}, {"10.1.2.3", "10.1.2.3/x", false}, {"10.1.2.3", "ten", false}, {"nobody", "10.0.0.0/8", false},
	} {
		acl := []jute.ACL{{Perms: 1, Scheme: "ip", ID: tc.entry}}
		if got := Permits(acl, 1, []jute.ID{{Scheme: "ip", ID: tc.addr}}); got != tc.want {
			t.Errorf("%s in %s: %v", tc.addr, tc.entry, got)
		}
	}
}

// Check refuses what any server can refuse, and Write agrees with it.
func TestCheckAgreesWithWrite(t *testing.T) {
	m := opened(t)
	refused := 0
	for _, flags := range []proto.CreateFlags{-1, 0, 1, 2, 3, 4, 5, 6, 7} {
		for _, ttl := range []int64{-1, 0, 1, 1 << 40} {
			r := proto.CreateTTLRequest{CreateRequest: proto.CreateRequest{Path: "/x", ACL: jute.OpenACL(), Flags: flags}, TTL: ttl}
			for op, body := range map[proto.Op][]byte{proto.OpCreate: r.CreateRequest.Append(nil), proto.OpCreateTTL: r.Append(nil), proto.OpDelete: {0}} {
				q := Request{Session: me, Op: op, Body: body}
				code := m.Check(q)
				if got := m.Write(2, 2, q); code != zkerr.OK && got.Code != code {
					t.Errorf("%s with flags %d and ttl %d: %v, then %v", op, flags, ttl, code, got.Code)
				}
				if code != zkerr.OK {
					refused++
				}
				m.Write(3, 3, Request{Session: me, Op: proto.OpDelete, Body: (&proto.VersionRequest{Path: "/x", Version: -1}).Append(nil)})
			}
		}
	}
	if refused < 20 {
		t.Errorf("only %d refused", refused)
	}
}

// A znode that was handed out stays as it is.
func TestNodesStay(t *testing.T) {
	m := opened(t)
	data := []byte("mine")
	m.Write(2, 2, create("/a", 0))
	q := Request{Session: me, Op: proto.OpSetData, Body: (&proto.SetDataRequest{Path: "/a", Data: data, Version: -1}).Append(nil)}
	m.Write(3, 3, q)
	nodes := m.Nodes()
	was := fmt.Sprintf("%+v", *nodes["/a"])
	for i := range q.Body {
		q.Body[i] = 0
	}
	m.Write(4, 4, create("/a/b", 0))
	m.Write(5, 5, Request{Session: me, Op: proto.OpSetACL, Body: (&proto.SetACLRequest{Path: "/a", ACL: jute.ReadACL(), Version: -1}).Append(nil)})
	if now := fmt.Sprintf("%+v", *nodes["/a"]); now != was || !bytes.Equal(nodes["/a"].Data, data) {
		t.Errorf("%s, was %s", now, was)
	}
	if len(nodes) != len(m.Nodes())-1 {
		t.Errorf("%d znodes, then %d", len(nodes), len(m.Nodes()))
	}
}

// The end of a connection is the end of its watches.
func TestForget(t *testing.T) {
	m := opened(t)
	for w := uint64(1); w <= 2; w++ {
		for _, path := range []string{"/", "/a", "/a/b"} {
			for _, mode := range []proto.AddWatchMode{0, 1} {
				m.Read(Request{Session: me, Watcher: w, Op: proto.OpAddWatch, Body: (&proto.AddWatchRequest{Path: path, Mode: mode}).Append(nil)})
			}
		}
		m.Read(Request{Session: me, Watcher: w, Op: proto.OpExists, Body: (&proto.ReadRequest{Path: "/a", Watch: true}).Append(nil)})
	}
	m.Forget(1)
	if got := m.Write(2, 2, create("/a", 0)).Events; len(got) == 0 || slices.ContainsFunc(got, func(e Event) bool { return e.Watcher != 2 }) {
		t.Errorf("%+v", got)
	}
	m.Forget(2)
	m.Forget(2)
	if len(m.watches)+len(m.watched)+len(m.below) != 0 {
		t.Errorf("left are %v %v %v", m.watches, m.watched, m.below)
	}
}
