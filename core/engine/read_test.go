package engine

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/watch"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

func (g reply) String() string {
	if g.xid == -1 {
		return fmt.Sprintf("%v %s @%d", g.ev, g.path, g.zxid)
	}
	return fmt.Sprintf("reply %d @%d", g.xid, g.zxid)
}

// told returns what a client heard, without zxids, and forgets it.
func (c *client) told() string {
	var s []string
	for _, g := range c.events() {
		s = append(s, fmt.Sprintf("%v %s", g.ev, g.path))
	}
	return strings.Join(s, ", ")
}

func addWatch(path string, mode int32) []byte { return version(path, mode) }

func TestEventsOfChanges(t *testing.T) {
	r, c := tree(t, Options{})
	c.got = nil
	w := r.connect(2)
	set := func() {
		for _, path := range []string{"/p", "/p/kid", "/new", "/e"} {
			w.read(proto.OpExists, look(path, true))
			w.read(proto.OpGetChildren, look(path, true))
		}
		w.read(proto.OpGetChildren2, look("/", true))
		w.got = nil
	}
	for _, tc := range []struct {
		name string
		op   proto.Op
		body []byte
		want string
	}{
		{"create", proto.OpCreate, create("/new", 0, open), "NodeCreated /new, NodeChildrenChanged /"},
		{"create below", proto.OpCreate, create("/new/x", 0, open), "NodeChildrenChanged /new"},
		{"setData", proto.OpSetData, setData("/p", "", -1), "NodeDataChanged /p"},
		{"setACL", proto.OpSetACL, setACL("/p", open, -1), ""},
		{"refused", proto.OpSetData, setData("/p", "", 99), ""},
		{"delete", proto.OpDelete, version("/p/kid", -1), "NodeDeleted /p/kid, NodeChildrenChanged /p"},
		{"multi", proto.OpMulti, (&proto.MultiRequest{Ops: []proto.MultiOp{
			{Op: proto.OpDelete, Path: "/p", Version: -1}, {Op: proto.OpCreate, Path: "/p", ACL: open}, {Op: proto.OpSetData, Path: "/p", Version: -1},
		}}).Append(nil), "NodeDeleted /p, NodeChildrenChanged /"},
	} {
		set()
		c.write(tc.op, tc.body)
		if got := w.told(); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
		c.write(tc.op, tc.body)
		w.told()
	}
	set()
	r.prepare(0, &consensus.Request{Session: 1, Op: int32(proto.OpCloseSession)})
	if got, want := w.told(), "NodeDeleted /e, NodeChildrenChanged /"; got != want {
		t.Errorf("close: %s, want %s", got, want)
	}
}

// An event comes before the reply to the write that caused it, and has its zxid;
// a watch on a znode that is not there is set by exists alone (I24).
func TestEventsAndReplies(t *testing.T) {
	_, c := tree(t, Options{})
	c.got = nil
	if g := c.read(proto.OpGetData, look("/new", true)); g.code != zkerr.NoNode {
		t.Error(g.code)
	}
	if g := c.read(proto.OpGetChildren, look("/new", true)); g.code != zkerr.NoNode {
		t.Error(g.code)
	}
	c.got = nil
	c.must(proto.OpCreate, create("/new", 0, open))
	if got := fmt.Sprint(c.got); strings.Contains(got, "Node") {
		t.Errorf("a watch without a znode: %s", got)
	}
	c.read(proto.OpGetData, look("/new", true))
	c.got = nil
	g := c.must(proto.OpSetData, setData("/new", "", -1))
	want := fmt.Sprintf("[NodeDataChanged /new @%d reply %d @%d]", g.zxid, g.xid, g.zxid)
	if got := fmt.Sprint(c.got); got != want {
		t.Errorf("heard %s, want %s", got, want)
	}
	c.read(proto.OpGetData, look("/new", true))
	c.got = nil
	c.rig.e.DropWatcher(c.id)
	c.must(proto.OpSetData, setData("/new", "", -1))
	if got := c.told(); got != "" {
		t.Errorf("a connection that is gone heard %s", got)
	}
}

// No event and no path reaches a client that may not read the znode; a standard
// watch is used up all the same (I25).
func TestEventsAreForThoseWhoMayRead(t *testing.T) {
	r, c := tree(t, Options{})
	bob, ann := r.connect(2), r.connect(3)
	bob.auth, ann.auth = users[1:], users[:1]
	c.auth = []consensus.Identity{{Scheme: "super"}}
	for _, w := range []*client{bob, ann} {
		w.read(proto.OpExists, look("/x", true))
		w.read(proto.OpAddWatch, addWatch("/", 1))
		w.read(proto.OpAddWatch, addWatch("/x", 0))
		w.read(proto.OpGetChildren, look("/", true))
		w.got = nil
	}
	c.must(proto.OpCreate, create("/x", 0, bobsACL))
	c.must(proto.OpCreate, create("/x/open", 0, open))
	c.must(proto.OpSetData, setData("/x", "", -1))
	c.must(proto.OpSetData, setData("/x/open", "", -1))
	c.must(proto.OpDelete, version("/x/open", -1))
	c.must(proto.OpDelete, version("/x", -1))
	want := "NodeCreated /x, NodeChildrenChanged /, NodeCreated /x/open, NodeChildrenChanged /x, NodeDataChanged /x, " +
		"NodeDataChanged /x/open, NodeDeleted /x/open, NodeChildrenChanged /x, NodeDeleted /x"
	if got := bob.told(); got != want {
		t.Errorf("bob heard %s\nwant %s", got, want)
	}
	// What stands below may be everybody's while the parent is not.
	want = "NodeChildrenChanged /, NodeCreated /x/open, NodeDataChanged /x/open, NodeDeleted /x/open"
	if got := ann.told(); got != want {
		t.Errorf("ann heard %s\nwant %s", got, want)
	}
	if m := r.e.watches.Has(ann.id, "/x"); m != watch.Persistent {
		t.Errorf("ann has %b", m)
	}
	// Who skips ACLs hears all.
	_, c = tree(t, Options{SkipACL: true})
	c.read(proto.OpExists, look("/locked", true))
	c.must(proto.OpSetData, setData("/locked", "", -1))
	if got := c.told(); got != "NodeDataChanged /locked" {
		t.Errorf("heard %s", got)
	}
}

func TestSetWatches(t *testing.T) {
	r, c := tree(t, Options{})
	c.must(proto.OpCreate, create("/bobs", 0, bobsACL))
	zxid := r.e.LastZxid()
	c.must(proto.OpSetData, setData("/p", "", -1))
	c.must(proto.OpCreate, create("/c/k", 0, open))
	c.auth = users[1:]
	c.must(proto.OpSetData, setData("/bobs", "", -1))
	w := r.connect(2)
	req := proto.SetWatches2Request{
		SetWatchesRequest: proto.SetWatchesRequest{
			RelativeZxid: zxid,
			Data:         []string{"/p", "/e", "/gone", "/bobs"},
			Exist:        []string{"/p", "/none", "/bobs"},
			Child:        []string{"/c", "/p", "/gone2", "/bobs"},
		},
		Persistent:          []string{"/e"},
		PersistentRecursive: []string{"/c", "/nowhere"},
	}
	if g := w.read(proto.OpSetWatches2, req.Append(nil)); g.code != zkerr.OK || len(g.body) != 0 {
		t.Errorf("%v", g)
	}
	want := "[NodeDataChanged /p @-1 NodeDeleted /gone @-1 NodeCreated /p @-1 NodeChildrenChanged /c @-1 NodeDeleted /gone2 @-1 reply 1 @"
	if got := fmt.Sprint(w.got); !strings.HasPrefix(got, want) {
		t.Errorf("heard %s\nwant  %s", got, want)
	}
	var have []string
	r.e.Watches(func(path string, id uint64, m watch.Mode) { have = append(have, fmt.Sprintf("%s %d %b", path, id, m)) })
	wantSet := []string{"/bobs 2 10", "/c 2 1000", "/e 2 101", "/none 2 1", "/nowhere 2 1000", "/p 2 10"}
	if !slices.Equal(have, wantSet) {
		t.Errorf("set are %q\nwant %q", have, wantSet)
	}
	if a, b, n := r.e.WatchCounts(); a != 1 || b != 6 || n != 7 {
		t.Errorf("counts %d %d %d", a, b, n)
	}
	// The elder form, and what is none.
	w.got = nil
	if g := w.read(proto.OpSetWatches, req.SetWatchesRequest.Append(nil)); g.code != zkerr.OK || len(w.events()) != 5 {
		t.Errorf("setWatches: %v", g)
	}
	for _, op := range []proto.Op{proto.OpSetWatches, proto.OpSetWatches2} {
		if g := w.read(op, jute.AppendNull(jute.AppendLong(nil, 1))); g.code != zkerr.MarshallingError {
			t.Errorf("%s with null lists: %v", op, g.code)
		}
	}
}

// TestWatchesOnNothing: "" reads the root, and a watch on it is none on the root: Apache keeps it under the
// path as it was sent, which no change has.
func TestWatchesOnNothing(t *testing.T) {
	r, c := tree(t, Options{})
	for _, op := range []proto.Op{proto.OpExists, proto.OpGetData, proto.OpGetChildren, proto.OpGetChildren2} {
		if g := c.read(op, look("", true)); g.code != zkerr.OK {
			t.Errorf("%s: %v", op, g.code)
		}
	}
	for mode := range int32(2) {
		if g := c.read(proto.OpAddWatch, addWatch("", mode)); g.code != zkerr.OK {
			t.Errorf("addWatch: %v", g.code)
		}
	}
	c.must(proto.OpSetData, setData("/", "", -1))
	c.must(proto.OpCreate, create("/new", 0, open))
	if got := c.events(); got != nil {
		t.Errorf("heard %v", got)
	}
	if m := r.e.watches.Has(c.id, ""); m != watch.Any {
		t.Errorf("watches of \"\": %b", m)
	}
	for _, want := range []zkerr.Code{zkerr.NoWatcher, zkerr.OK} {
		path := map[zkerr.Code]string{zkerr.NoWatcher: "/"}[want]
		if g := c.read(proto.OpRemoveWatches, version(path, int32(proto.WatcherAny))); g.code != want {
			t.Errorf("remove of %q: %v", path, g.code)
		}
	}
	req := proto.SetWatchesRequest{Data: []string{""}, Exist: []string{""}, Child: []string{""}}
	if g := c.read(proto.OpSetWatches, req.Append(nil)); g.code != zkerr.OK {
		t.Errorf("setWatches: %v", g.code)
	}
	if got, want := c.told(), "NodeDataChanged , NodeCreated , NodeChildrenChanged "; got != want {
		t.Errorf("setWatches tells %q, want %q", got, want)
	}
}

func TestRemoveAndCheckWatches(t *testing.T) {
	_, c := tree(t, Options{})
	all := func() {
		c.read(proto.OpGetData, look("/p", true))
		c.read(proto.OpGetChildren, look("/p", true))
		c.read(proto.OpAddWatch, addWatch("/p", 0))
		c.read(proto.OpAddWatch, addWatch("/p", 1))
	}
	for typ, left := range map[proto.WatcherType]watch.Mode{
		proto.WatcherData: watch.Any &^ watch.Data, proto.WatcherChildren: watch.Any &^ watch.Child, proto.WatcherAny: 0,
		proto.WatcherPersistent: watch.Any &^ watch.Persistent, proto.WatcherPersistentRecursive: watch.Any &^ watch.Recursive,
	} {
		all()
		body := version("/p", int32(typ))
		for i, want := range []zkerr.Code{zkerr.OK, zkerr.NoWatcher} {
			if g := c.read(proto.OpCheckWatches, body); g.code != want {
				t.Errorf("check of %d, turn %d: %v", typ, i, g.code)
			}
			if g := c.read(proto.OpRemoveWatches, body); g.code != want || len(g.body) != 0 {
				t.Errorf("remove of %d, turn %d: %v", typ, i, g.code)
			}
		}
		if m := c.rig.e.watches.Has(c.id, "/p"); m != left {
			t.Errorf("behind %d: %b, want %b", typ, m, left)
		}
	}
	for _, op := range []proto.Op{proto.OpCheckWatches, proto.OpRemoveWatches, proto.OpAddWatch} {
		for _, body := range [][]byte{version("/p", 17), version("/p", -1), onlyPath("/p"), nil} {
			if g := c.read(op, body); g.code != zkerr.MarshallingError {
				t.Errorf("%s %x: %v", op, body, g.code)
			}
		}
	}
	if c.events() != nil {
		t.Error("removing watches made events")
	}
}

func TestReadsOfOneNode(t *testing.T) {
	_, c := tree(t, Options{ExtendedTypes: true})
	c.must(proto.OpCreate, create("/bobs", 0, bobsACL))
	for _, tc := range []struct {
		op   proto.Op
		path string
		want zkerr.Code
	}{
		{proto.OpExists, "/none\x00", zkerr.BadArguments},
		{proto.OpGetData, "/none\x00", zkerr.NoNode},
		{proto.OpExists, "none", zkerr.NoNode},
		{proto.OpExists, "/p/", zkerr.NoNode},
		{proto.OpExists, "", zkerr.OK},
		{proto.OpExists, "/locked", zkerr.NoAuth},
		{proto.OpGetData, "/locked", zkerr.NoAuth},
		{proto.OpGetChildren, "/locked", zkerr.NoAuth},
		{proto.OpGetChildren2, "/locked/none", zkerr.NoNode},
		{proto.OpGetChildren2, "/bobs", zkerr.NoAuth},
	} {
		if g := c.read(tc.op, look(tc.path, true)); g.code != tc.want {
			t.Errorf("%s %q: %v, want %v", tc.op, tc.path, g.code, tc.want)
		}
		if g := c.read(tc.op, onlyPath(tc.path)); g.code != zkerr.MarshallingError {
			t.Errorf("%s cut short: %v", tc.op, g.code)
		}
	}
	for _, tc := range []struct {
		path string
		auth []consensus.Identity
		want zkerr.Code
		acl  []jute.ACL
	}{
		{"/none", nil, zkerr.NoNode, nil},
		{"/bobs", users[:1], zkerr.NoAuth, nil},
		{"/bobs", users[1:], zkerr.OK, bobsACL},
		{"/locked", []consensus.Identity{{Scheme: "super"}}, zkerr.OK, nobody},
		{"/zookeeper/config", nil, zkerr.OK, jute.ReadACL()},
	} {
		c.auth = tc.auth
		g := c.read(proto.OpGetACL, onlyPath(tc.path))
		if g.code != tc.want {
			t.Errorf("getACL %s: %v, want %v", tc.path, g.code, tc.want)
			continue
		}
		var resp proto.GetACLResponse
		if g.code == zkerr.OK && (proto.Unmarshal(g.body, &resp) != nil || !slices.Equal(resp.ACL, tc.acl)) {
			t.Errorf("getACL %s: %v", tc.path, resp.ACL)
		}
	}
	// A reader who does not administer sees no hash.
	c.auth = []consensus.Identity{{Scheme: "super"}}
	c.must(proto.OpSetACL, setACL("/bobs", append(slices.Clone(bobsACL), jute.ReadACL()...), -1))
	c.auth = nil
	if g := c.read(proto.OpGetACL, onlyPath("/bobs")); !bytes.Contains(g.body, []byte("bob:x")) || bytes.Contains(g.body, []byte("bob:h")) {
		t.Errorf("shown is %q", g.body)
	}
	for _, op := range []proto.Op{proto.OpGetACL, proto.OpGetAllChildrenNum, proto.OpGetEphemerals, proto.OpMultiRead, proto.OpSync} {
		if g := c.read(op, []byte{0, 0, 0}); g.code != zkerr.MarshallingError {
			t.Errorf("%s cut short: %v", op, g.code)
		}
	}
	for _, op := range []proto.Op{proto.OpPing, proto.OpReconfig, proto.OpCreate, proto.OpSASL, 99} {
		if g := c.read(op, nil); g.code != zkerr.Unimplemented {
			t.Errorf("%s: %v", op, g.code)
		}
	}
	if g := c.read(proto.OpSync, onlyPath("/any")); g.code != zkerr.OK || !bytes.Equal(g.body, onlyPath("/any")) {
		t.Errorf("sync: %v", g)
	}
}

func TestGetAllChildrenNumber(t *testing.T) {
	r, c := tree(t, Options{ExtendedTypes: true})
	for _, p := range []string{"/p/kid/x", "/p/kid/x/y", "/p/other", "/pother"} {
		c.must(proto.OpCreate, create(p, 0, open))
	}
	for path, want := range map[string]int32{"/": int32(r.e.NodeCount() - 1), "": int32(r.e.NodeCount()), "/p": 4, "/p/kid": 2, "/e": 0, "/zookeeper": 2} {
		g := c.read(proto.OpGetAllChildrenNum, onlyPath(path))
		if g.code != zkerr.OK || !bytes.Equal(g.body, jute.AppendInt(nil, want)) {
			t.Errorf("%s has %v %x, want %d", path, g.code, g.body, want)
		}
	}
	for path, want := range map[string]zkerr.Code{"/none": zkerr.NoNode, "/locked": zkerr.NoAuth} {
		if g := c.read(proto.OpGetAllChildrenNum, onlyPath(path)); g.code != want {
			t.Errorf("%s: %v", path, g.code)
		}
	}
}

func TestGetEphemerals(t *testing.T) {
	r, c := tree(t, Options{})
	for _, p := range []string{"/p/ab", "/p/abc", "/p/b"} {
		c.must(proto.OpCreate, create(p, 1, open))
	}
	other := r.connect(2)
	other.must(proto.OpCreate, create("/theirs", 1, open))
	for prefix, want := range map[string][]string{
		"/": {"/e", "/p/ab", "/p/abc", "/p/b"}, "": {"/e", "/p/ab", "/p/abc", "/p/b"}, "  ": {"/e", "/p/ab", "/p/abc", "/p/b"},
		"\x00/\x1f": {"/e", "/p/ab", "/p/abc", "/p/b"}, "\u0085/": {}, // blank is what Java trims
		"/p/ab": {"/p/ab", "/p/abc"}, "/none": {},
	} {
		g := c.read(proto.OpGetEphemerals, onlyPath(prefix))
		if !bytes.Equal(g.body, jute.AppendStrings(nil, want)) {
			t.Errorf("%q: %q", prefix, g.body)
		}
	}
	if g := c.read(proto.OpGetEphemerals, jute.AppendNull(nil)); len(g.body) < 20 {
		t.Errorf("null: %q", g.body)
	}
	var all []string
	if err := r.e.AllEphemerals(func(id int64, path string) bool {
		all = append(all, fmt.Sprintf("%d %s", id, path))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"1 /e", "1 /p/ab", "1 /p/abc", "1 /p/b", "2 /theirs"}; !slices.Equal(all, want) {
		t.Errorf("all: %q", all)
	}
}

func TestWhoAmI(t *testing.T) {
	_, c := tree(t, Options{})
	c.auth = []consensus.Identity{{Scheme: "ip", ID: "0:0:0:0:0:0:0:1"}, {Scheme: "digest", ID: "bob:hash"}, {Scheme: "super", ID: ""}, {Scheme: "sasl", ID: "joe@X"}}
	var resp proto.WhoAmIResponse
	if err := proto.Unmarshal(c.read(proto.OpWhoAmI, []byte{1, 2, 3}).body, &resp); err != nil {
		t.Fatal(err)
	}
	want := []proto.ClientInfo{{AuthScheme: "ip", User: "0:0:0:0:0:0:0:1"}, {AuthScheme: "digest", User: "bob"}, {AuthScheme: "super"}, {AuthScheme: "sasl", User: "joe@X"}}
	if !slices.Equal(resp.ClientInfo, want) {
		t.Errorf("%v", resp.ClientInfo)
	}
}

// A reply that would be many times its request is refused.
func TestMultiReadHasABound(t *testing.T) {
	r, c := tree(t, Options{MaxReplyBytes: 1000})
	c.must(proto.OpSetData, setData("/p", strings.Repeat("x", 300), -1))
	req := proto.MultiRequest{Read: true}
	for range 2 {
		req.Ops = append(req.Ops, proto.MultiOp{Op: proto.OpGetData, Path: "/p", Watch: true})
	}
	req.Ops = append(req.Ops, proto.MultiOp{Op: proto.OpGetData, Path: "/locked"}, proto.MultiOp{Op: proto.OpGetChildren, Path: "/p"})
	g := c.read(proto.OpMultiRead, req.Append(nil))
	var resp proto.MultiResponse
	if err := proto.Unmarshal(g.body, &resp); err != nil || len(resp.Results) != 4 || resp.Results[2].Err != zkerr.NoAuth || len(resp.Results[3].Children) != 1 {
		t.Errorf("%v %+v, %v", g.code, resp, err)
	}
	if !r.e.watches.Empty() {
		t.Error("multiRead set a watch")
	}
	req.Ops = append(req.Ops, req.Ops[0], req.Ops[0])
	if g := c.read(proto.OpMultiRead, req.Append(nil)); g.code != zkerr.MarshallingError {
		t.Errorf("%d bytes, %v", len(g.body), g.code)
	}
}

func TestWhichRequestsTouchWatches(t *testing.T) {
	for _, tc := range []struct {
		op   proto.Op
		body []byte
		want bool
	}{
		{proto.OpGetData, look("/p", true), true},
		{proto.OpGetData, look("/p", false), false},
		{proto.OpExists, append(look("", true), 0), true},
		{proto.OpGetChildren, onlyPath("/p"), false},
		{proto.OpGetChildren2, []byte{0xff, 0xff, 0xff, 0xff, 1}, false},
		{proto.OpGetChildren2, []byte{0x7f, 0xff, 0xff, 0xff, 1}, false},
		{proto.OpGetData, nil, false},
		{proto.OpAddWatch, nil, true},
		{proto.OpSetWatches, nil, true},
		{proto.OpSetWatches2, nil, true},
		{proto.OpCheckWatches, nil, true},
		{proto.OpRemoveWatches, nil, true},
		{proto.OpGetACL, onlyPath("/p"), false},
		{proto.OpMultiRead, nil, false},
	} {
		if got := SetsWatch(int32(tc.op), tc.body); got != tc.want {
			t.Errorf("%s %x: %v", tc.op, tc.body, got)
		}
	}
	for op := int32(-20); op < 120; op++ {
		if IsWrite(op) && SetsWatch(op, look("/p", true)) {
			t.Errorf("%s is both", proto.Op(op))
		}
	}
}

func TestWhichOperationsAreKnown(t *testing.T) {
	for op, want := range map[proto.Op]bool{
		0: false, 1: true, 10: false, 13: false, 20: false, 22: true, 23: false, 99: false, 100: true, 107: true, 108: false, -1: false, -10: false, -11: true,
	} {
		if Known(int32(op)) != want {
			t.Errorf("%d known: %v", op, !want)
		}
	}
}

func TestAuthenticate(t *testing.T) {
	const super = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=" // of super:test
	for _, tc := range []struct {
		opts         Options
		scheme, data string
		want         string
	}{
		{Options{}, "digest", "bob:secret", "digest bob:fyVmFCwVbTJYrznoSu1koqYEYF0="},
		{Options{SuperDigest: super}, "digest", "super:test", "super , digest " + super},
		{Options{SuperDigest: super}, "digest", "super:tost", "digest super:UXDeCeufSL47UhBgfzCMF0qpNNc="},
		{Options{}, "digest", "super:test", "digest " + super},
		{Options{}, "digest", "m\xfcller:pa\xdf", "digest m\ufffdller:l3yWXxi0wHfJCtDoCxaSbTSCMWY="},
		{Options{NoDigestAuth: true}, "digest", "bob:secret", "AuthFailed"},
		{Options{}, "ip", "whatever", "ip 10.9.8.7"},
		{Options{}, "world", "anyone", "AuthFailed"},
		{Options{}, "super", "", "AuthFailed"},
		{Options{}, "sasl", "x", "AuthFailed"},
	} {
		ids, code := New(tc.opts).Authenticate(tc.scheme, []byte(tc.data), "10.9.8.7")
		var got []string
		for _, id := range ids {
			got = append(got, id.Scheme+" "+id.ID)
		}
		if code != zkerr.OK {
			got = append(got, code.String())
		}
		if s := strings.Join(got, ", "); s != tc.want {
			t.Errorf("%s %q: %s, want %s", tc.scheme, tc.data, s, tc.want)
		}
	}
	if _, code := New(Options{}).Authenticate("digest", nil, ""); code != zkerr.AuthFailed {
		t.Errorf("null: %v", code)
	}
	if ids, _ := New(Options{}).Authenticate("digest", []byte("nocolon"), ""); len(ids) != 1 || !strings.HasPrefix(ids[0].ID, "nocolon:") {
		t.Errorf("without a colon: %v", ids)
	}
}
