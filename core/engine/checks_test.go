package engine

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/inv"
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/plugins/consensus"
)

var open = jute.OpenACL()

func create(path string, flags int32, acl []jute.ACL) []byte {
	return (&proto.CreateRequest{Path: path, Data: []byte("d"), ACL: acl, Flags: proto.CreateFlags(flags)}).Append(nil)
}

func createTTL(path string, flags int32, ttl int64) []byte {
	return jute.AppendLong(create(path, flags, open), ttl)
}

func version(path string, v int32) []byte {
	return (&proto.VersionRequest{Path: path, Version: v}).Append(nil)
}

func setData(path, data string, v int32) []byte {
	return (&proto.SetDataRequest{Path: path, Data: []byte(data), Version: v}).Append(nil)
}

func setACL(path string, acl []jute.ACL, v int32) []byte {
	return (&proto.SetACLRequest{Path: path, ACL: acl, Version: v}).Append(nil)
}

func look(path string, watch bool) []byte {
	return (&proto.ReadRequest{Path: path, Watch: watch}).Append(nil)
}

func onlyPath(path string) []byte { return jute.AppendString(nil, path) }

func (c *client) must(op proto.Op, body []byte) reply {
	c.rig.t.Helper()
	g := c.write(op, body)
	if g.code != zkerr.OK {
		c.rig.t.Fatalf("%s: %v", op, g.code)
	}
	return g
}

var (
	nobody  = []jute.ACL{{Perms: 0, Scheme: "world", ID: "anyone"}}
	bobsACL = []jute.ACL{{Perms: 31, Scheme: "digest", ID: "bob:h"}}
	badACL  = []jute.ACL{{Perms: 31, Scheme: "no", ID: "such"}}
)

// tree makes znodes of all sorts:
//
//	/p with data of version 1, and /p/kid   /e ephemeral of the client
//	/locked and /locked/kid, which nobody may do anything to
//	/c container   /t TTL, if there are any
func tree(t tb, opts Options) (*rig, *client) {
	r := newRig(t, opts)
	c := r.connect(1)
	c.must(proto.OpCreate, create("/p", 0, open))
	c.must(proto.OpSetData, setData("/p", "x", 0))
	c.must(proto.OpSetACL, setACL("/p", open, 0))
	c.must(proto.OpCreate, create("/p/kid", 0, open))
	c.must(proto.OpCreate, create("/e", 1, open))
	c.must(proto.OpCreate, create("/locked", 0, open))
	c.must(proto.OpCreate, create("/locked/kid", 0, nobody))
	c.must(proto.OpSetACL, setACL("/locked", nobody, -1))
	c.must(proto.OpCreateContainer, create("/c", 4, open))
	if opts.ExtendedTypes {
		c.must(proto.OpCreateTTL, createTTL("/t", 5, 1000))
	}
	return r, c
}

// Each case breaks the rule that it is named for and as many of the later ones
// as it can.
func TestOrderOfChecks(t *testing.T) {
	type tc struct {
		name string
		op   proto.Op
		body []byte
		want zkerr.Code
	}
	short := func(b []byte) []byte { return b[:len(b)-1] }
	null := func(b []byte) []byte { return append(jute.AppendNull(nil), b...) }
	for _, ttl := range []bool{true, false} {
		modes := zkerr.BadArguments
		if !ttl {
			modes = zkerr.Unimplemented
		}
		r, c := tree(t, Options{ExtendedTypes: ttl})
		for _, x := range []tc{
			{"create: cut short", proto.OpCreate, short(create("nopath", 99, badACL)), zkerr.MarshallingError},
			{"create: null path", proto.OpCreate, null(create("", 99, badACL)[4:]), zkerr.MarshallingError},
			{"create: flags", proto.OpCreate, create("nopath", 99, badACL), zkerr.BadArguments},
			{"create: flags below", proto.OpCreate, create("nopath", -1, badACL), zkerr.BadArguments},
			{"create: TTL flag", proto.OpCreate, create("nopath", 5, badACL), modes},
			{"create2: TTL flag", proto.OpCreate2, create("/x", 6, open), modes},
			{"createTTL: no TTL", proto.OpCreateTTL, createTTL("nopath", 5, 0), modes},
			{"createTTL: negative", proto.OpCreateTTL, createTTL("nopath", 5, -1), modes},
			{"createTTL: too long", proto.OpCreateTTL, createTTL("nopath", 6, znode.MaxTTL+1), modes},
			// Apache takes a zxid for it, so it is refused where that is done.
			{"createTTL: mode without", proto.OpCreateTTL, createTTL("/x", 0, 1), zkerr.BadArguments},
			{"createTTL: mode without, as Apache dies of it", proto.OpCreateTTL, createTTL("/x", 0, -1), zkerr.BadArguments},
			{"createTTL: cut short", proto.OpCreateTTL, short(createTTL("/x", 5, 1)), zkerr.MarshallingError},
			{"create: no slash", proto.OpCreate, create("nopath", 0, badACL), zkerr.BadArguments},
			{"create: NUL", proto.OpCreate, create("/a\x00", 0, badACL), zkerr.BadArguments},
			{"create: ACL", proto.OpCreate, create("/none/./x", 0, badACL), zkerr.InvalidACL},
			{"create: null ACL", proto.OpCreate, create("/none/x", 0, nil), zkerr.InvalidACL},
			{"create: no parent", proto.OpCreate, create("/none/.", 0, open), zkerr.NoNode},
			{"create: empty segment", proto.OpCreate, create("/p//x", 0, open), zkerr.NoNode},
			{"create: permission", proto.OpCreate, create("/locked/.", 0, open), zkerr.NoAuth},
			{"create: permission, exists", proto.OpCreate, create("/locked/kid", 0, open), zkerr.NoAuth},
			{"create: path", proto.OpCreate, create("/e/..", 0, open), zkerr.BadArguments},
			{"create: path ends in slash", proto.OpCreate, create("/e/", 0, open), zkerr.BadArguments},
			{"create: root", proto.OpCreate, create("/", 0, open), zkerr.NodeExists},
			{"create: exists", proto.OpCreate, create("/p/kid", 1, open), zkerr.NodeExists},
			{"create: under ephemeral", proto.OpCreate, create("/e/x", 0, open), zkerr.NoChildrenForEphemerals},
			{"create: sequential under ephemeral", proto.OpCreate, create("/e/", 2, open), zkerr.NoChildrenForEphemerals},

			{"delete: cut short", proto.OpDelete, short(version("nopath", -1)), zkerr.MarshallingError},
			{"delete: no slash", proto.OpDelete, version("nopath", -1), zkerr.BadArguments},
			{"delete: NUL", proto.OpDelete, version("/a\x00", -1), zkerr.BadArguments},
			{"delete: root", proto.OpDelete, version("/", -1), zkerr.BadArguments},
			{"delete: config", proto.OpDelete, version("/zookeeper/config", 7), zkerr.BadArguments},
			{"delete: no parent", proto.OpDelete, version("/none/x", 9), zkerr.NoNode},
			{"delete: permission", proto.OpDelete, version("/locked/none", 9), zkerr.NoAuth},
			{"delete: none", proto.OpDelete, version("/p/", 9), zkerr.NoNode},
			{"delete: version", proto.OpDelete, version("/p", 9), zkerr.BadVersion},
			{"delete: children", proto.OpDelete, version("/p", 1), zkerr.NotEmpty},

			{"setData: cut short", proto.OpSetData, short(setData("nopath", "", 9)), zkerr.MarshallingError},
			{"setData: path", proto.OpSetData, setData("/none/", "", 9), zkerr.BadArguments},
			{"setData: empty path", proto.OpSetData, setData("", "", -1), zkerr.BadArguments},
			{"setData: none", proto.OpSetData, setData("/none", "", 9), zkerr.NoNode},
			{"setData: permission", proto.OpSetData, setData("/locked", "", 9), zkerr.NoAuth},
			{"setData: version", proto.OpSetData, setData("/p", "", 0), zkerr.BadVersion},

			{"setACL: cut short", proto.OpSetACL, short(setACL("nopath", badACL, 9)), zkerr.MarshallingError},
			{"setACL: path", proto.OpSetACL, setACL("/none/", badACL, 9), zkerr.BadArguments},
			{"setACL: ACL", proto.OpSetACL, setACL("/none", badACL, 9), zkerr.InvalidACL},
			{"setACL: none", proto.OpSetACL, setACL("/none", open, 9), zkerr.NoNode},
			{"setACL: permission", proto.OpSetACL, setACL("/locked", open, 9), zkerr.NoAuth},
			{"setACL: aversion", proto.OpSetACL, setACL("/p", open, 0), zkerr.BadVersion},

			{"reconfig", proto.OpReconfig, jute.AppendLong(jute.AppendNull(jute.AppendNull(jute.AppendNull(nil))), -1), zkerr.ReconfigDisabled},
			{"multi: cut short", proto.OpMulti, []byte{0, 0, 0, 1}, zkerr.MarshallingError},
			{"deleteContainer of a client", proto.OpDeleteContainer, onlyPath("/c"), zkerr.Unimplemented},
			{"no write at all", proto.OpGetData, look("/p", false), zkerr.Unimplemented},
			{"check alone", proto.OpCheck, version("/p", 1), zkerr.Unimplemented},
		} {
			before, zxid := r.e.dump(t), r.e.LastZxid()
			g := c.write(x.op, x.body)
			if g.code != x.want || len(g.body) != 0 {
				t.Errorf("%s: %v %x, want %v", x.name, g.code, g.body, x.want)
			}
			if g.zxid != zxid+1 || r.e.LastZxid() != zxid+1 {
				t.Errorf("%s: has zxid %d behind %d", x.name, g.zxid, zxid)
			}
			compareDumps(t, r.e.dump(t), before)
			code := r.e.Check(int32(x.op), x.body)
			switch {
			case x.want == zkerr.MarshallingError, x.want == zkerr.Unimplemented && x.op != proto.OpCreate && x.op != proto.OpCreate2 && x.op != proto.OpCreateTTL:
				if code != x.want {
					t.Errorf("%s: check says %v, want %v", x.name, code, x.want)
				}
			case x.name == "createTTL: mode without, as Apache dies of it":
				if code != zkerr.BadArguments {
					t.Errorf("%s: check says %v", x.name, code)
				}
			case code != zkerr.OK:
				t.Errorf("%s: check says %v", x.name, code)
			}
		}
		// What is refused in front of the path, whoever asks.
		stranger := &client{rig: r, id: 99, session: 404, server: 1, waits: map[int32]proto.Op{}}
		r.conns = append(r.conns, stranger)
		for _, x := range []tc{
			{"flags before session", proto.OpCreate, create("nopath", 99, badACL), zkerr.BadArguments},
			{"session before path", proto.OpCreate, create("nopath", 0, badACL), zkerr.SessionExpired},
			{"session", proto.OpDelete, version("nopath", 1), zkerr.SessionExpired},
			{"session", proto.OpSetData, setData("nopath", "", 1), zkerr.SessionExpired},
			{"session", proto.OpSetACL, setACL("nopath", badACL, 1), zkerr.SessionExpired},
			{"session", proto.OpMulti, (&proto.MultiRequest{}).Append(nil), zkerr.SessionExpired},
		} {
			if g := stranger.write(x.op, x.body); g.code != x.want {
				t.Errorf("%s of %s: %v, want %v", x.name, x.op, g.code, x.want)
			}
		}
	}
}

func TestOrderOfChecksInAMulti(t *testing.T) {
	r, c := tree(t, Options{ExtendedTypes: true})
	for _, x := range []struct {
		name string
		o    proto.MultiOp
		want zkerr.Code
	}{
		{"check: path", proto.MultiOp{Op: proto.OpCheck, Path: "/none/", Version: 9}, zkerr.BadArguments},
		{"check: none", proto.MultiOp{Op: proto.OpCheck, Path: "/none", Version: 9}, zkerr.NoNode},
		{"check: permission", proto.MultiOp{Op: proto.OpCheck, Path: "/locked", Version: 9}, zkerr.NoAuth},
		{"check: version", proto.MultiOp{Op: proto.OpCheck, Path: "/p", Version: 9}, zkerr.BadVersion},
		{"createTTL with unknown flags", proto.MultiOp{Op: proto.OpCreateTTL, Path: "/x", ACL: open, Flags: 99}, zkerr.BadArguments},
		{"delete: children", proto.MultiOp{Op: proto.OpDelete, Path: "/p", Version: -1}, zkerr.NotEmpty},
		{"create: exists", proto.MultiOp{Op: proto.OpCreate, Path: "/p", ACL: open}, zkerr.NodeExists},
	} {
		before, digest := r.e.dump(t), r.e.Digest()
		m := proto.MultiRequest{Ops: []proto.MultiOp{
			{Op: proto.OpCreate, Path: "/new", ACL: open, Flags: 2}, {Op: proto.OpSetData, Path: "/p", Version: 1}, x.o,
			{Op: proto.OpDelete, Path: "/e", Version: -1},
		}}
		g := c.write(proto.OpMulti, m.Append(nil))
		var resp proto.MultiResponse
		if err := proto.Unmarshal(g.body, &resp); err != nil || g.code != zkerr.OK {
			t.Fatalf("%s: %v, %v", x.name, g.code, err)
		}
		var codes []zkerr.Code
		for _, res := range resp.Results {
			if res.Op != proto.OpError {
				t.Errorf("%s: result %v", x.name, res)
			}
			codes = append(codes, res.Err)
		}
		if want := []zkerr.Code{0, 0, x.want, zkerr.RuntimeInconsistency}; !slices.Equal(codes, want) {
			t.Errorf("%s: %v, want %v", x.name, codes, want)
		}
		// A failed multi leaves no trace, not in what is prepared next either (I08).
		compareDumps(t, r.e.dump(t), before)
		if r.e.Digest() != digest {
			t.Errorf("%s: the digest moved", x.name)
		}
	}
	// The numbers of sequential znodes have not moved (I10).
	h, _, _ := r.e.get("/")
	want := znode.Sequential("/seq-", h.Creates())
	if g := c.must(proto.OpCreate, create("/seq-", 2, open)); string(g.body[4:]) != want {
		t.Errorf("next sequential is %s, want %s", g.body[4:], want)
	}
}

// All kinds of results, and what later operations see of earlier ones.
func TestMultiThatSucceeds(t *testing.T) {
	r, c := tree(t, Options{ExtendedTypes: true})
	m := proto.MultiRequest{Ops: []proto.MultiOp{
		{Op: proto.OpCreate, Path: "/m", ACL: open, Data: []byte("1")},
		{Op: proto.OpCheck, Path: "/m", Version: 0},
		{Op: proto.OpSetData, Path: "/m", Data: []byte("22"), Version: 0},
		{Op: proto.OpCreate2, Path: "/m/k", ACL: bobsACL},
		{Op: proto.OpCreate, Path: "/m/c", ACL: open, Flags: 4},
		{Op: proto.OpCreateTTL, Path: "/m/t-", ACL: open, Flags: 6, TTL: 5},
		{Op: proto.OpCreateTTL, Path: "/m/plain", ACL: open, Flags: 0, TTL: -1},
		{Op: proto.OpCreateContainer, Path: "/m/c2", ACL: open, Flags: 1},
		{Op: proto.OpDelete, Path: "/m/k", Version: 0},
	}}
	g := c.must(proto.OpMulti, m.Append(nil))
	var resp proto.MultiResponse
	if err := proto.Unmarshal(g.body, &resp); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range resp.Results {
		got = append(got, fmt.Sprintf("%d %s", x.Op, x.Path))
	}
	want := []string{"1 /m", "13 ", "5 ", "15 /m/k", "15 /m/c", "15 /m/t-0000000002", "1 /m/plain", "15 /m/c2", "2 "}
	if !slices.Equal(got, want) {
		t.Errorf("results %q\nwant %q", got, want)
	}
	// Apache 3.8.0 would skip a create2 and what is behind it: it is logged as a create.
	var logged txn.Txn
	if err := txn.Decode(r.log[len(r.log)-1].Data, &logged); err != nil {
		t.Fatal(err)
	}
	var types []int32
	for _, s := range logged.Subs {
		types = append(types, s.Type)
	}
	if want := []int32{1, 13, 5, 1, 19, 21, 1, 19, 2}; !slices.Equal(types, want) {
		t.Errorf("logged as %d, want %d", types, want)
	}
	if s := resp.Results[2].Stat; s.Version != 1 || s.DataLength != 2 || s.Czxid != g.zxid || s.Mzxid != g.zxid {
		t.Errorf("stat in the middle: %+v", s)
	}
	if s := resp.Results[7].Stat; s.EphemeralOwner != 0 {
		t.Errorf("a container is reported as %+v", s)
	}
	h, _, _ := r.e.get("/m")
	if h.NumChildren() != 4 || h.Creates() != 5 || h.Cversion() != 6 || h.Pzxid() != g.zxid {
		t.Errorf("parent has %d children, %d creates", h.NumChildren(), h.Creates())
	}
	if g := c.must(proto.OpMulti, (&proto.MultiRequest{}).Append(nil)); !bytes.Equal(g.body, proto.AppendMultiEnd(nil)) {
		t.Errorf("empty multi: %x", g.body)
	}
}

// A version passes 2³¹, and is never -1, which means any (ZOOKEEPER-4743).
func TestVersionsWrap(t *testing.T) {
	r, c := tree(t, Options{})
	set := func(v int32) {
		r.e.StopLeading()
		x := txn.Txn{Header: txn.Header{ClientID: 1, Zxid: r.e.LastZxid() + 1, Type: txn.TypeSetData}, Body: txn.Body{Path: "/p", Version: v}}
		if err := r.e.Apply([]consensus.Txn{{Zxid: consensus.Zxid(x.Header.Zxid), Data: txn.Append(nil, &x)}}, nil); err != nil {
			t.Fatal(err)
		}
		r.e.Lead(r.e.LastZxid())
	}
	for from, want := range map[int32]int32{math.MaxInt32: math.MinInt32, -2: 0} {
		set(from)
		var s proto.Stat
		if err := proto.Unmarshal(c.must(proto.OpSetData, setData("/p", "", from)).body, &s); err != nil || s.Version != want {
			t.Errorf("behind %d comes %d, want %d", from, s.Version, want)
		}
	}
}

// The counter of sequential names passes 2³¹ and goes on.
func TestCreatesWrap(t *testing.T) {
	r, c := tree(t, Options{})
	r.e.StopLeading()
	x := txn.Txn{Header: txn.Header{ClientID: 1, Zxid: r.e.LastZxid() + 1, Type: txn.TypeCreate}, Body: txn.Body{Path: "/p/x", ACL: open, ParentCVersion: math.MaxInt32}}
	if err := r.e.Apply([]consensus.Txn{{Zxid: consensus.Zxid(x.Header.Zxid), Data: txn.Append(nil, &x)}}, nil); err != nil {
		t.Fatal(err)
	}
	r.e.Lead(r.e.LastZxid())
	for _, want := range []string{"/p/2147483647", "/p/-2147483648", "/p/-2147483647"} {
		if g := c.must(proto.OpCreate, create("/p/", 2, open)); string(g.body[4:]) != want {
			t.Errorf("name is %s, want %s", g.body[4:], want)
		}
	}
	r.e.dump(t)
}

// Who may write for a session: the server that its client is at (I23).
func TestOwnersOfSessions(t *testing.T) {
	r, c := tree(t, Options{})
	req := func(from consensus.ServerID, op proto.Op, body []byte) zkerr.Code {
		c.xid++
		c.waits[c.xid] = op
		r.prepare(from, &consensus.Request{Session: 1, Cxid: c.xid, Op: int32(op), Body: body})
		return c.got[len(c.got)-1].code
	}
	set := setData("/p", "", -1)
	if code := req(2, proto.OpSetData, set); code != zkerr.SessionMoved {
		t.Errorf("from another server: %v", code)
	}
	if code := req(2, proto.OpMulti, (&proto.MultiRequest{}).Append(nil)); code != zkerr.SessionMoved {
		t.Errorf("multi from another server: %v", code)
	}
	if code := req(0, proto.OpSetData, set); code != zkerr.OK {
		t.Errorf("from the server itself: %v", code)
	}
	if !r.e.SetOwner(1, 2) || r.e.SetOwner(77, 2) {
		t.Error("revalidation knows the wrong sessions")
	}
	if code := req(2, proto.OpSetData, set); code != zkerr.OK {
		t.Errorf("behind the move: %v", code)
	}
	if code := req(1, proto.OpSetData, set); code != zkerr.SessionMoved {
		t.Errorf("from the old server: %v", code)
	}
	// A new leader knows no owners: the first to write is it.
	r.e.Lead(r.e.LastZxid())
	if code := req(3, proto.OpSetData, set); code != zkerr.OK {
		t.Errorf("from the first: %v", code)
	}
	if code := req(1, proto.OpSetData, set); code != zkerr.SessionMoved {
		t.Errorf("from the second: %v", code)
	}
	// A session that is about to be closed can't be had, nor made again.
	r.held = true
	r.prepare(0, &consensus.Request{Session: 1, Op: int32(proto.OpCloseSession)})
	if r.e.SetOwner(1, 2) {
		t.Error("a closing session was revalidated")
	}
	r.prepare(2, &consensus.Request{Session: 1, Op: int32(proto.OpCreateSession), Body: jute.AppendInt(nil, 5)})
	r.release(2)
	if _, ok := r.e.Session(1); ok || r.e.SetOwner(1, 2) {
		t.Error("the session is back")
	}
	if !slices.Equal(r.opened, []int64{1}) || !slices.Equal(r.closed, []int64{1}) {
		t.Errorf("opened %v, closed %v", r.opened, r.closed)
	}
}

func TestSessionsOpen(t *testing.T) {
	r := newRig(t, Options{})
	r.connect(5)
	r.connect(3)
	r.connect(-7 << 56)
	var ids []int64
	r.e.Sessions(func(id int64, timeout int32) { ids = append(ids, id, int64(timeout)) })
	if !slices.Equal(ids, []int64{-7 << 56, 10000, 3, 10000, 5, 10000}) {
		t.Errorf("sessions %v", ids)
	}
	if r.e.HighestSession(0) != 5 || r.e.HighestSession(249) != -7<<56 || r.e.HighestSession(9) != 0 {
		t.Errorf("highest %d, %d", r.e.HighestSession(0), r.e.HighestSession(249))
	}
	// Nobody gets a session that is there, and none without a timeout.
	r.held = true
	for _, q := range []consensus.Request{{Session: 5, Body: jute.AppendInt(nil, 1)}, {Session: 6}, {Session: 0, Body: jute.AppendInt(nil, 1)}} {
		q.Op = int32(proto.OpCreateSession)
		x := r.prepare(1, &q)
		if h, err := txn.DecodeHeader(x.Data); err != nil || h.Type != txn.TypeError {
			t.Errorf("session %d: txn of type %d, %v", q.Session, h.Type, err)
		}
	}
}

// A session with more ephemerals than a txn can list closes, with all of them,
// also those that are on their way (ZOOKEEPER-3496, 4306).
func TestCloseOfManyEphemerals(t *testing.T) {
	for _, limit := range []int{0, 4000} {
		r, c := tree(t, Options{MaxTxnBytes: limit})
		other := r.connect(2)
		other.must(proto.OpCreate, create("/theirs", 1, open))
		const n = 300
		for i := range n {
			if i == n/2 {
				r.held = true
			}
			c.send(proto.OpCreate, create(fmt.Sprintf("/p/ephemeral-%d", i), 1, open))
		}
		c.send(proto.OpDelete, version("/p/ephemeral-7", -1))
		x := r.prepare(0, &consensus.Request{Session: 1, Op: int32(proto.OpCloseSession)})
		c.send(proto.OpCreate, create("/too-late", 1, open))
		if limit > 0 && len(x.Data) > limit {
			t.Errorf("txn of %d bytes, allowed are %d", len(x.Data), limit)
		}
		var d txn.Txn
		if err := txn.Decode(x.Data, &d); err != nil {
			t.Fatal(err)
		}
		if limit == 0 && len(d.Paths) != n {
			t.Errorf("txn lists %d paths", len(d.Paths))
		}
		if !slices.IsSorted(d.Paths) {
			t.Error("paths are in no order")
		}
		r.release(len(r.pending))
		h, _, _ := r.e.get("/p")
		if h.NumChildren() != 1 || r.e.EphemeralsCount() != 1 {
			t.Errorf("%d children, %d ephemerals left", h.NumChildren(), r.e.EphemeralsCount())
		}
		if _, _, ok := r.e.get("/too-late"); ok {
			t.Error("something of the session came behind its close (I22)")
		}
		r.e.dump(t)
	}
}

// What was a session's ephemeral and will be somebody else's znode stays.
func TestCloseLeavesWhatIsOthers(t *testing.T) {
	r, c := tree(t, Options{})
	other := r.connect(2)
	r.held = true
	c.send(proto.OpDelete, version("/e", -1))
	other.send(proto.OpCreate, create("/e", 1, open))
	c.send(proto.OpCreate, create("/f", 1, open))
	c.send(proto.OpDelete, version("/f", -1))
	c.send(proto.OpCreate, create("/f", 0, open))
	c.send(proto.OpMulti, (&proto.MultiRequest{Ops: []proto.MultiOp{
		{Op: proto.OpCreate, Path: "/g", ACL: open, Flags: 1}, {Op: proto.OpCheck, Path: "/none"},
	}}).Append(nil))
	other.send(proto.OpCreate, create("/g", 1, open))
	x := r.prepare(0, &consensus.Request{Session: 1, Op: int32(proto.OpCloseSession)})
	var d txn.Txn
	if err := txn.Decode(x.Data, &d); err != nil || len(d.Paths) != 0 {
		t.Errorf("txn lists %q, %v", d.Paths, err)
	}
	r.release(len(r.pending))
	for _, path := range []string{"/e", "/f", "/g"} {
		if _, _, ok := r.e.get(path); !ok {
			t.Errorf("%s is gone", path)
		}
	}
	r.e.dump(t)
}

func TestTxnsHaveABound(t *testing.T) {
	r, c := tree(t, Options{MaxTxnBytes: 1000})
	before := r.e.dump(t)
	big := strings.Repeat("x", 1000)
	sub := proto.MultiOp{Op: proto.OpSetData, Path: "/p", Data: []byte(big[:300]), Version: -1}
	long := []jute.ACL{{Perms: 1, Scheme: "digest", ID: big + ":h"}}
	for name, g := range map[string]reply{
		"setData": c.write(proto.OpSetData, setData("/p", big, -1)),
		"setACL":  c.write(proto.OpSetACL, setACL("/p", long, -1)),
		"create":  c.write(proto.OpCreate, create("/x", 0, long)),
		"multi":   c.write(proto.OpMulti, (&proto.MultiRequest{Ops: []proto.MultiOp{sub, sub, sub}}).Append(nil)),
	} {
		if g.code != zkerr.MarshallingError {
			t.Errorf("%s: %v", name, g.code)
		}
	}
	compareDumps(t, r.e.dump(t), before)
	c.must(proto.OpSetData, setData("/p", big[:800], -1))
	for _, x := range r.log {
		if len(x.Data) > 1000 {
			t.Errorf("txn of %d bytes", len(x.Data))
		}
	}
}

// Nothing of a request is kept: its buffer is the connection's.
func TestRequestsAreNotKept(t *testing.T) {
	r, c := tree(t, Options{})
	r.held = true
	bodies := [][]byte{
		create("/q", 0, bobsACL), create("/q/kid", 0, open), setData("/p", "secret", -1), create("/p/s-", 3, open),
		(&proto.MultiRequest{Ops: []proto.MultiOp{{Op: proto.OpCreate, Path: "/m", Data: []byte("m"), ACL: open}, {Op: proto.OpCreate, Path: "/m/n", ACL: open}}}).Append(nil),
		create("/m/o", 0, open),
	}
	c.auth = []consensus.Identity{users[1]}
	for i, op := range []proto.Op{proto.OpCreate, proto.OpCreate, proto.OpSetData, proto.OpCreate, proto.OpMulti, proto.OpCreate} {
		c.send(op, bodies[i])
		if op == proto.OpCreate && i == 1 {
			c.got = nil
		}
		for j := range bodies[i] {
			bodies[i][j] = 0xee
		}
	}
	r.release(len(r.pending))
	for path, data := range map[string]string{"/p": "secret", "/m": "m", "/m/n": "", "/m/o": "d", "/p/s-0000000001": "d", "/q": "d"} {
		if _, got, ok := r.e.get(path); !ok || string(got) != data {
			t.Errorf("%s has %q, %v", path, got, ok)
		}
	}
	r.e.dump(t)
}

// A node that does not lead prepares nothing, and one that has applied more than
// it may lead from stops (I09, I12).
func TestLeadingIsAsked(t *testing.T) {
	broken := func(no string, f func()) {
		t.Helper()
		defer func() {
			var b inv.Broken
			if err, ok := recover().(error); !ok || !errors.As(err, &b) || b.No != no {
				t.Errorf("%s held: %v", no, b)
			}
		}()
		f()
	}
	r, _ := tree(t, Options{})
	broken("I09", func() { r.e.Lead(1) })
	r.e.StopLeading()
	if r.e.Outstanding() != 0 || r.e.SetOwner(1, 1) {
		t.Error("it leads still")
	}
	broken("I12", func() { r.e.Prepare(1, 1, &consensus.Request{Op: 1}) })
	// A new epoch begins with a jump.
	r.e.Lead(7 << 32)
	if n := r.e.Outstanding(); n != 0 {
		t.Errorf("%d outstanding", n)
	}
	r.held = true
	if x := r.prepare(1, &consensus.Request{Session: 1, Op: int32(proto.OpCloseSession)}); x.Zxid != 7<<32+1 || r.e.Outstanding() != 1 {
		t.Errorf("first of the epoch is %s, %d outstanding", x.Zxid, r.e.Outstanding())
	}
	r.release(1)
	if r.e.Outstanding() != 0 || r.e.LastZxid() != 7<<32+1 {
		t.Error("not applied")
	}
}

// Containers and TTL nodes go when the server says so, and only they.
func TestContainersAndTTLNodes(t *testing.T) {
	r, c := tree(t, Options{ExtendedTypes: true})
	due := func(now, never int64) []string {
		t.Helper()
		var paths []string
		if err := r.e.Expirable(r.e.View(), now, never, func(p string) bool { paths = append(paths, strings.Clone(p)); return true }); err != nil {
			t.Fatal(err)
		}
		return paths
	}
	made := r.now
	if got := due(made+1000, 0); got != nil {
		t.Errorf("due are %v", got)
	}
	if got := due(made+1001, 0); !slices.Equal(got, []string{"/t"}) {
		t.Errorf("due are %v", got)
	}
	if got := due(made+501, 500); !slices.Equal(got, []string{"/c"}) {
		t.Errorf("due are %v", got)
	}
	r.now += 500
	c.must(proto.OpSetData, setData("/t", "", -1)) // begins anew
	c.must(proto.OpCreate, create("/c/k", 0, open))
	if got := due(made+1001, 500); got != nil {
		t.Errorf("due are %v", got)
	}
	del := func(path string) zkerr.Code {
		t.Helper()
		x := r.prepare(0, &consensus.Request{Op: int32(proto.OpDeleteContainer), Body: onlyPath(path)})
		var d txn.Txn
		if err := txn.Decode(x.Data, &d); err != nil {
			t.Fatal(err)
		}
		if d.Header.Type == txn.TypeDeleteContainer {
			return zkerr.OK
		}
		return zkerr.Code(d.Err)
	}
	for path, want := range map[string]zkerr.Code{
		"/c": zkerr.NotEmpty, "/none": zkerr.NoNode, "/e": zkerr.BadVersion, "/": zkerr.BadArguments, "none": zkerr.BadArguments, "/c/k": zkerr.BadVersion,
	} {
		if got := del(path); got != want {
			t.Errorf("deleteContainer of %s: %v, want %v", path, got, want)
		}
	}
	c.must(proto.OpDelete, version("/c/k", -1))
	if got := due(made, 0); !slices.Equal(got, []string{"/c"}) {
		t.Errorf("due are %v", got)
	}
	first := 0
	_ = r.e.Expirable(r.e.View(), made+9999, 0, func(string) bool { first++; return false })
	if first != 1 {
		t.Errorf("went on %d times", first)
	}
	if del("/c") != zkerr.OK || del("/t") != zkerr.OK || due(made+9999, 1) != nil {
		t.Error("something is left")
	}
	r.e.dump(t)
}
