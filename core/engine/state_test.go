package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

func encodeTxn(x txn.Txn) consensus.Txn {
	return consensus.Txn{Zxid: consensus.Zxid(x.Header.Zxid), Data: txn.Append(nil, &x)}
}

func TestApplyRefusesWhatItCantRead(t *testing.T) {
	r, _ := tree(t, Options{})
	r.e.StopLeading()
	z := r.e.LastZxid() + 1
	good := encodeTxn(txn.Txn{Header: txn.Header{Zxid: z, Type: txn.TypeError}, Body: txn.Body{Err: -101}})
	for name, x := range map[string]consensus.Txn{
		"empty":         {Zxid: consensus.Zxid(z)},
		"cut short":     {Zxid: consensus.Zxid(z), Data: good.Data[:len(good.Data)-1]},
		"another zxid":  {Zxid: consensus.Zxid(z + 1), Data: good.Data},
		"a bare check":  {Zxid: consensus.Zxid(z), Data: append(txn.AppendHeader(nil, &txn.Header{Zxid: z, Type: txn.TypeCheck}), onlyPath("/p")...)},
		"unknown types": {Zxid: consensus.Zxid(z), Data: txn.AppendHeader(nil, &txn.Header{Zxid: z, Type: 77})},
	} {
		if err := r.e.Apply([]consensus.Txn{x}, nil); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
	if err := r.e.Apply([]consensus.Txn{good}, nil); err != nil || r.e.LastZxid() != z {
		t.Errorf("%v", err)
	}
}

// A txn whose digest is not the tree's is told of, and counted.
func TestDigestMismatch(t *testing.T) {
	var told []string
	opts := Options{OnDigestMismatch: func(zxid int64, txn, tree uint64) { told = append(told, fmt.Sprint(zxid, txn != tree)) }}
	r, _ := tree(t, opts)
	z := r.e.LastZxid()
	r.e.StopLeading()
	bad := func(version int32) consensus.Txn {
		z++
		return encodeTxn(txn.Txn{Header: txn.Header{Zxid: z, Type: txn.TypeSetData}, Body: txn.Body{Path: "/p"}, HasDigest: true, Digest: txn.Digest{Version: version, Tree: 4711}})
	}
	if err := r.e.Apply([]consensus.Txn{bad(2), bad(1), bad(2)}, nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{fmt.Sprint(z-2, true), fmt.Sprint(z, true)}; !slices.Equal(told, want) || r.e.DigestMismatches() != 2 {
		t.Errorf("told %q, want %q", told, want)
	}
	// While the state may be ahead of the txns, nothing is compared.
	for _, form := range []txnlog.Form{txnlog.FileForm, txnlog.StreamForm} {
		told = nil
		e := reload(t, r.e, r.e.LastZxid()-2, form)
		again := []consensus.Txn{encodeTxn(txn.Txn{Header: txn.Header{Zxid: e.LastZxid() + 1, Type: txn.TypeError}})}
		z = e.LastZxid() + 1
		again = append(again, bad(2))
		if err := e.Apply(again, nil); err != nil {
			t.Fatal(err)
		}
		if len(told) != 0 {
			t.Errorf("form %d: told %q", form, told)
		}
		e.Settle()
		if err := e.Apply([]consensus.Txn{bad(2)}, nil); err != nil {
			t.Fatal(err)
		}
		if len(told) != 1 {
			t.Errorf("form %d: told %q", form, told)
		}
	}
}

// With digests switched off none is kept, and switched on again it is right.
func TestDigestOffAndOn(t *testing.T) {
	r, c := tree(t, Options{NoDigest: true})
	g := r.log[len(r.log)-1]
	var d txn.Txn
	if err := txn.Decode(g.Data, &d); err != nil || d.HasDigest {
		t.Errorf("a txn has a digest: %v", err)
	}
	if r.e.Digest() != 0 {
		t.Error("a digest is kept")
	}
	c.must(proto.OpMulti, (&proto.MultiRequest{Ops: []proto.MultiOp{{Op: proto.OpSetData, Path: "/p", Version: -1}}}).Append(nil))
	r.e.dump(t)
	var b bytes.Buffer
	sw := txnlog.NewSnapshotWriter(&b, txnlog.FileForm)
	if err := WriteSnapshot(sw, txnlog.FileForm, r.e.View()); err != nil || sw.Close() != nil {
		t.Fatal(err)
	}
	e := New(Options{})
	if err := e.Open(r.store); err != nil {
		t.Fatal(err)
	}
	e.dump(t)
	if e.Digest() == 0 {
		t.Error("no digest is kept")
	}
	store := newMapStore()
	trailer, err := ReadSnapshot(txnlog.NewSnapshotReader(&b, txnlog.FileForm), store, r.e.LastZxid(), Options{})
	if err != nil || trailer.HasDigest {
		t.Errorf("%+v, %v", trailer, err)
	}
}

// Ephemerals without a session, which an imperfect snapshot holds, are there for
// a leader to see, and go by its closing of the session (I21).
func TestOrphans(t *testing.T) {
	r, _ := tree(t, Options{})
	r.connect(9)
	r.conns[1].must(proto.OpCreate, create("/p/z", 1, open))
	r.e.StopLeading()
	delete(r.store.tables[tableSessions], sessionKey(9))
	ttl := znode.TTLOwner(5000)
	r.store.tables[tableEphemerals][ephemeralKey(ttl, "/not/a/session")] = nil
	if err := r.e.Open(r.store); err != nil {
		t.Fatal(err)
	}
	delete(r.store.tables[tableEphemerals], ephemeralKey(ttl, "/not/a/session"))
	var ids []int64
	r.e.Orphans(func(id int64) { ids = append(ids, id) })
	if !slices.Equal(ids, []int64{9}) {
		t.Errorf("orphans of %v", ids)
	}
	if err := r.e.Open(r.store); err != nil {
		t.Fatal(err)
	}
	r.e.Lead(r.e.LastZxid())
	r.prepare(0, &consensus.Request{Session: 9, Op: int32(proto.OpCloseSession)})
	if _, _, ok := r.e.get("/p/z"); ok {
		t.Error("the orphan is there")
	}
	r.e.dump(t)
}

// What a close does not list goes too: by servers that were told to list nothing
// (closeSessionTxn.enabled=false), or by those before 3.6.
func TestCloseWithoutPaths(t *testing.T) {
	r, c := tree(t, Options{})
	c.must(proto.OpCreate, create("/p/z", 1, open))
	r.e.StopLeading()
	z := r.e.LastZxid()
	born := encodeTxn(txn.Txn{Header: txn.Header{ClientID: 1, Zxid: z + 1, Type: txn.TypeCreate}, Body: txn.Body{Path: "/p/y", Ephemeral: true, ParentCVersion: -1}})
	other := encodeTxn(txn.Txn{Header: txn.Header{ClientID: 5, Zxid: z + 2, Type: txn.TypeCreate}, Body: txn.Body{Path: "/p/x", Ephemeral: true, ParentCVersion: -1}})
	closing := encodeTxn(txn.Txn{Header: txn.Header{ClientID: 1, Zxid: z + 3, Type: txn.TypeCloseSession}, Body: txn.Body{NoPaths: true}})
	if err := r.e.Apply([]consensus.Txn{born, other, closing}, r); err != nil {
		t.Fatal(err)
	}
	var names []string
	_ = r.e.View().Children("/p", func(n string) bool { names = append(names, n); return true })
	if !slices.Equal(names, []string{"kid", "x"}) || !slices.Equal(r.closed, []int64{1}) {
		t.Errorf("left are %v, closed %v", names, r.closed)
	}
	// A list may name what is not there, or never could be.
	odd := encodeTxn(txn.Txn{Header: txn.Header{ClientID: 5, Zxid: z + 4, Type: txn.TypeCloseSession}, Body: txn.Body{Paths: []string{"/none", "", "/", "/zookeeper/config", "/p/x"}}})
	if err := r.e.Apply([]consensus.Txn{odd}, nil); err != nil {
		t.Fatal(err)
	}
	if r.e.EphemeralsCount() != 0 || r.e.NodeCount() != 9 {
		t.Errorf("%d ephemerals, %d znodes", r.e.EphemeralsCount(), r.e.NodeCount())
	}
	r.e.dump(t)
}

// Apache stops in silence at a part of a multi that has no business there.
func TestMultiWithAForeignPart(t *testing.T) {
	r, _ := tree(t, Options{})
	r.e.StopLeading()
	x := txn.Txn{Header: txn.Header{ClientID: 1, Zxid: r.e.LastZxid() + 1, Type: txn.TypeMulti}, Subs: []txn.Sub{
		{Type: txn.TypeSetData, Body: txn.Body{Path: "/p", Data: []byte("first")}},
		{Type: txn.TypeSetACL, Raw: setACL("/p", nobody, 1)},
		{Type: txn.TypeSetData, Body: txn.Body{Path: "/p", Data: []byte("behind")}},
	}}
	if err := r.e.Apply([]consensus.Txn{encodeTxn(x)}, nil); err != nil {
		t.Fatal(err)
	}
	if h, data, _ := r.e.get("/p"); string(data) != "first" || h.ACL() != znode.OpenACL {
		t.Errorf("data %q", data)
	}
}

// What a replay finds gone, or there, is told to whoever waits, and harms nothing.
func TestApplyOverAnotherState(t *testing.T) {
	r, c := tree(t, Options{})
	r.e.StopLeading()
	for i, tc := range []struct {
		typ  int32
		body txn.Body
		want zkerr.Code
	}{
		{txn.TypeCreate, txn.Body{Path: "/none/x", ACL: open}, zkerr.NoNode},
		{txn.TypeDelete, txn.Body{Path: "/none/x"}, zkerr.NoNode},
		{txn.TypeDelete, txn.Body{Path: "/p/none"}, zkerr.NoNode},
		{txn.TypeSetData, txn.Body{Path: "/none"}, zkerr.NoNode},
		{txn.TypeSetACL, txn.Body{Path: "/none", ACL: open}, zkerr.NoNode},
		{txn.TypeCreate2, txn.Body{Path: "/p/kid", ACL: open, ParentCVersion: 1}, zkerr.NodeExists},
	} {
		c.got = nil
		c.waits[int32(1000+i)] = proto.Op(tc.typ)
		x := txn.Txn{Header: txn.Header{ClientID: 1, Cxid: int32(1000 + i), Zxid: r.e.LastZxid() + 1, Type: tc.typ}, Body: tc.body}
		if err := r.e.Apply([]consensus.Txn{encodeTxn(x)}, r); err != nil {
			t.Fatal(err)
		}
		if len(c.got) != 1 || c.got[0].code != tc.want || len(c.got[0].body) != 0 {
			t.Errorf("%d: %+v, want %v", tc.typ, c.got, tc.want)
		}
		c.waits[int32(2000+i)] = proto.OpMulti
		m := txn.Txn{Header: txn.Header{ClientID: 1, Cxid: int32(2000 + i), Zxid: r.e.LastZxid() + 1, Type: txn.TypeMulti}}
		if tc.typ == txn.TypeSetACL {
			continue
		}
		m.Subs = []txn.Sub{{Type: tc.typ, Body: tc.body}, {Type: txn.TypeCheck}}
		if err := r.e.Apply([]consensus.Txn{encodeTxn(m)}, r); err != nil {
			t.Fatal(err)
		}
		var resp proto.MultiResponse
		if err := proto.Unmarshal(c.got[1].body, &resp); err != nil || len(resp.Results) != 2 || resp.Results[0].Err != tc.want || resp.Results[1].Op != proto.OpCheck {
			t.Errorf("multi of %d: %+v, %v", tc.typ, resp, err)
		}
	}
	r.e.dump(t)
}

// A create that comes again gives the znode the list that it was made with, for
// the snapshot's may be one that was not in its table; and it never takes the
// parent's counter back.
func TestCreateAgain(t *testing.T) {
	r, c := tree(t, Options{})
	c.must(proto.OpCreate, create("/p/b", 0, open))
	r.e.StopLeading()
	before, _, _ := r.e.get("/p")
	creates, num := before.Creates(), before.NumChildren()
	apply := func(path string, counter int32) {
		t.Helper()
		x := txn.Txn{Header: txn.Header{Zxid: r.e.LastZxid() + 1, Type: txn.TypeCreate2}, Body: txn.Body{Path: path, ACL: bobsACL, ParentCVersion: counter}}
		if err := r.e.Apply([]consensus.Txn{encodeTxn(x)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	apply("/p/b", creates)
	if h, _, _ := r.e.get("/p/b"); !slices.Equal(r.e.acls.list(h.ACL()), bobsACL) {
		t.Errorf("list is %v", r.e.acls.list(h.ACL()))
	}
	apply("/p/new", creates-1)
	if h, _, _ := r.e.get("/p"); h.Creates() != creates || h.NumChildren() != num+1 || h.Pzxid() != before.Pzxid() {
		t.Errorf("%d creates, %d children, pzxid %d", h.Creates(), h.NumChildren(), h.Pzxid())
	}
	apply("/p/new", creates+5)
	if h, _, _ := r.e.get("/p"); h.Creates() != creates+5 || h.NumChildren() != num+1 || h.Pzxid() != r.e.LastZxid() {
		t.Errorf("%d creates, %d children, pzxid %d", h.Creates(), h.NumChildren(), h.Pzxid())
	}
	r.e.dump(t)
}

// Lists that nobody has any more are forgotten, in memory and in the store.
func TestUnusedListsGo(t *testing.T) {
	r, c := tree(t, Options{})
	for i := range 100 {
		acl := []jute.ACL{{Perms: 31, Scheme: "world", ID: "anyone"}, {Perms: 1, Scheme: "digest", ID: fmt.Sprintf("u%d:h", i)}}
		c.must(proto.OpSetACL, setACL("/p", acl, -1))
		c.must(proto.OpCreate, create("/tmp", 0, acl))
		c.must(proto.OpDelete, version("/tmp", -1))
		r.e.dump(t)
	}
	if n := len(r.store.tables[tableACLs]); n != 3 { // of config, of /locked, of /p
		t.Errorf("%d lists", n)
	}
	if r.e.acls.list(4711)[0].Perms != 0 {
		t.Error("a list that is not there gives rights")
	}
}

// An error of the store is never passed over.
func TestStoreErrors(t *testing.T) {
	broken := errors.New("broken")
	r, c := tree(t, Options{})
	view := r.e.view.(*mapView)
	view.s.failGet = broken
	asked := func(f func()) {
		t.Helper()
		defer func() {
			if err, ok := recover().(error); !ok || !errors.Is(err, broken) {
				t.Errorf("it went on: %v", err)
			}
		}()
		f()
	}
	asked(func() { r.e.Prepare(1, 1, &consensus.Request{Session: 1, Op: 5, Body: setData("/p", "", -1)}) })
	asked(func() { r.e.Prepare(1, 0, &consensus.Request{Session: 1, Op: -11}) })
	asked(func() { c.read(proto.OpGetData, look("/p", false)) })
	asked(func() { c.read(proto.OpGetEphemerals, onlyPath("/")) })
	told := false
	r.e.opts.Fail = func(err error) { told = errors.Is(err, broken); panic(err) }
	asked(func() { c.read(proto.OpGetChildren, look("/p", false)) })
	if !told {
		t.Error("nobody was told")
	}
	if err := r.e.Expirable(r.e.View(), 0, 0, func(string) bool { return true }); !errors.Is(err, broken) {
		t.Errorf("expirable: %v", err)
	}
	z := r.e.LastZxid() + 1
	set := encodeTxn(txn.Txn{Header: txn.Header{Zxid: z, Type: txn.TypeSetData}, Body: txn.Body{Path: "/p"}})
	if err := r.e.Apply([]consensus.Txn{set}, nil); !errors.Is(err, broken) {
		t.Errorf("apply: %v", err)
	}
	sw := txnlog.NewSnapshotWriter(io.Discard, txnlog.FileForm)
	if err := WriteSnapshot(sw, txnlog.FileForm, view); !errors.Is(err, broken) {
		t.Errorf("snapshot: %v", err)
	}
	r.store.failGet = broken
	if err := New(Options{}).Open(r.store); !errors.Is(err, broken) {
		t.Errorf("open: %v", err)
	}

	r, _ = tree(t, Options{})
	r.e.StopLeading()
	r.store.fail = broken
	if err := r.e.Apply([]consensus.Txn{encodeTxn(txn.Txn{Header: txn.Header{Zxid: r.e.LastZxid() + 1, Type: txn.TypeError}})}, nil); !errors.Is(err, broken) {
		t.Errorf("commit: %v", err)
	}
	fresh := newMapStore()
	fresh.fail = broken
	if err := New(Options{}).Open(fresh); !errors.Is(err, broken) {
		t.Errorf("open: %v", err)
	}
}

// A store that is not this engine's is not taken for one.
func TestOpenOfAStrangeStore(t *testing.T) {
	for name, spoil := range map[string]func(*mapStore){
		"session key":     func(s *mapStore) { s.tables[tableSessions]["short"] = []byte{0, 0, 0, 1} },
		"session timeout": func(s *mapStore) { s.tables[tableSessions][sessionKey(1)] = nil },
		"ephemeral key":   func(s *mapStore) { s.tables[tableEphemerals]["short"] = nil },
		"list":            func(s *mapStore) { s.tables[tableACLs][aclKey(7)] = make([]byte, 9) },
		"list key":        func(s *mapStore) { s.tables[tableACLs]["x"] = make([]byte, 12) },
		"state":           func(s *mapStore) { s.tables[tableMeta][metaState] = []byte("?") },
		"half a snapshot": func(s *mapStore) { delete(s.tables, tableMeta) },
	} {
		r, _ := tree(t, Options{})
		spoil(r.store)
		e := New(Options{})
		if err := e.Open(r.store); err == nil {
			t.Errorf("%s: opened", name)
		}
		if name == "list" || name == "state" {
			v := r.store.View()
			sw := txnlog.NewSnapshotWriter(io.Discard, txnlog.FileForm)
			if err := WriteSnapshot(sw, txnlog.FileForm, v); err == nil {
				t.Errorf("%s: written", name)
			}
		}
	}
}

// snapshot writes one by hand.
func snapshot(t *testing.T, nodes ...txnlog.Node) *txnlog.SnapshotReader {
	t.Helper()
	var b bytes.Buffer
	w := txnlog.NewSnapshotWriter(&b, txnlog.StreamForm)
	w.Sessions(0)
	w.ACLs(2)
	w.ACL(1, open)
	w.ACL(2, jute.ReadACL())
	for i := range nodes {
		if err := w.Node(&nodes[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return txnlog.NewSnapshotReader(&b, txnlog.StreamForm)
}

func TestSnapshotsThatAreRefused(t *testing.T) {
	root := txnlog.Node{ACL: -1}
	for name, nodes := range map[string][]txnlog.Node{
		"none":             nil,
		"no root":          {{Path: "/a"}},
		"root twice":       {root, root},
		"no parent":        {root, {Path: "/a/b"}},
		"twice":            {root, {Path: "/a"}, {Path: "/a"}},
		"no slash":         {root, {Path: "a"}},
		"trailing slash":   {root, {Path: "/a"}, {Path: "/a/"}},
		"parent too late":  {root, {Path: "/a/b"}, {Path: "/a"}},
		"root not at once": {{Path: "/a"}, root},
	} {
		store := newMapStore()
		if _, err := ReadSnapshot(snapshot(t, nodes...), store, 1, Options{}); err == nil {
			t.Errorf("%s: read", name)
		}
	}
	store := newMapStore()
	if _, err := ReadSnapshot(snapshot(t, root), store, 7, Options{}); err != nil {
		t.Error(err)
	}
	if _, err := ReadSnapshot(snapshot(t, root), store, 7, Options{}); err == nil {
		t.Error("read over another")
	}
	if store.views != 0 {
		t.Errorf("%d views are held", store.views)
	}
	// The znodes that every tree has come by themselves.
	e := New(Options{})
	if err := e.Open(store); err != nil {
		t.Fatal(err)
	}
	e.dump(t)
	if e.NodeCount() != 4 || e.LastZxid() != 7 {
		t.Errorf("%d znodes, zxid %d", e.NodeCount(), e.LastZxid())
	}
}

// A snapshot of many batches has what it had, and the memory for it is not that
// of the tree.
func TestLargeSnapshot(t *testing.T) {
	nodes := []txnlog.Node{{ACL: -1}}
	for i := range 60 {
		dir := fmt.Sprintf("/dir%02d", i)
		nodes = append(nodes, txnlog.Node{Path: dir, ACL: 2, Stat: txnlog.Stat{Cversion: 700}})
		for j := range 600 {
			n := txnlog.Node{Path: fmt.Sprintf("%s/%03d", dir, j), Data: bytes.Repeat([]byte{byte(j)}, j), ACL: 1}
			if j%100 == 0 {
				n.Stat.EphemeralOwner = int64(i + 1)
			}
			nodes = append(nodes, n)
		}
	}
	store := newMapStore()
	store.live = true
	if _, err := ReadSnapshot(snapshot(t, nodes...), store, 5, Options{}); err != nil {
		t.Fatal(err)
	}
	e := New(Options{})
	if err := e.Open(store); err != nil {
		t.Fatal(err)
	}
	got := e.dump(t)
	if len(got) != len(nodes)+3 || e.EphemeralsCount() != 360 {
		t.Errorf("%d znodes, %d ephemerals", len(got), e.EphemeralsCount())
	}
	h, _, _ := e.get("/dir07")
	if h.NumChildren() != 600 || h.Creates() != 700 || h.Cversion() != 800 {
		t.Errorf("%d children, %d creates", h.NumChildren(), h.Creates())
	}
	again := reload(t, e, 5, txnlog.StreamForm)
	compareDumps(t, again.dump(t), got)
}

// The file form says what the state is worth: its digest, or that none is known.
func TestTrailerOfASnapshot(t *testing.T) {
	r, _ := tree(t, Options{})
	trailer := func(fuzzy int64) txnlog.Trailer {
		t.Helper()
		r.e.state.fuzzy = fuzzy
		r.store.tables[tableMeta][metaState] = r.e.state.append(nil)
		v := r.store.View()
		defer v.Release()
		var b bytes.Buffer
		w := txnlog.NewSnapshotWriter(&b, txnlog.FileForm)
		if err := WriteSnapshot(w, txnlog.FileForm, v); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		got, err := ReadSnapshot(txnlog.NewSnapshotReader(&b, txnlog.FileForm), newMapStore(), v.Applied(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	z := consensus.Zxid(r.e.LastZxid())
	if got := trailer(0); got != (txnlog.Trailer{HasDigest: true, DigestZxid: z, DigestVersion: 2, Digest: r.e.Digest(), HasLastZxid: true, LastZxid: z}) {
		t.Errorf("%+v", got)
	}
	if got := trailer(int64(z) + 5); got.DigestZxid != z+5 || got.Digest != 0 {
		t.Errorf("while it is ahead: %+v", got)
	}
	if got := trailer(math.MaxInt64); got.DigestZxid != 0 || got.Digest != 0 {
		t.Errorf("while nobody knows: %+v", got)
	}
}

// Views taken by others outlive what is applied; the engine holds one.
func TestViewsAreReleased(t *testing.T) {
	r, c := tree(t, Options{})
	for range 10 {
		c.must(proto.OpSetData, setData("/p", "", -1))
	}
	if r.store.views != 1 {
		t.Errorf("%d views are held", r.store.views)
	}
	if r.e.View().Applied() != r.e.LastZxid() {
		t.Error("the view is old")
	}
	if err := r.e.Open(r.store); err != nil || r.store.views != 1 {
		t.Errorf("%d views are held, %v", r.store.views, err)
	}
	r.e.Close()
	r.e.Close()
	if r.store.views != 0 {
		t.Errorf("%d views are held", r.store.views)
	}
}

// A batch is one commit: the store is never seen between two txns of it.
func TestABatchIsOneCommit(t *testing.T) {
	r, c := tree(t, Options{})
	r.held = true
	for i := range 50 {
		c.send(proto.OpCreate, create(fmt.Sprintf("/p/n%d", i), 0, open))
		c.send(proto.OpSetData, setData(fmt.Sprintf("/p/n%d", i), strings.Repeat("x", i), 0))
		if i%3 == 0 {
			c.send(proto.OpDelete, version(fmt.Sprintf("/p/n%d", i), 1))
		}
	}
	counter := &countingStore{mapStore: r.store}
	r.e.store = counter
	r.release(len(r.pending))
	if counter.commits != 1 {
		t.Errorf("%d commits", counter.commits)
	}
	// Each znode is written once, whatever happened to it.
	if counter.ops > 50+17+10 {
		t.Errorf("%d changes for 50 znodes", counter.ops)
	}
	r.e.store = r.store
	r.e.dump(t)
}

type countingStore struct {
	*mapStore
	commits, ops int
}

func (s *countingStore) Commit(b *storage.Batch) error {
	s.commits++
	s.ops += len(b.Ops)
	return s.mapStore.Commit(b)
}

// Of a tree from a snapshot that doesn't say how far it is ahead nobody knows what
// its digest has to be, also when it was written down and read again.
func TestAheadNobodyKnowsHowFar(t *testing.T) {
	r := newRig(t, modelOptions)
	c := r.connect(7)
	for _, path := range []string{"/a", "/b", "/c"} {
		c.write(proto.OpCreate, (&proto.CreateRequest{Path: path, ACL: jute.OpenACL()}).Append(nil))
	}
	// The stream form has no digest: the tree is ahead of what it says.
	ahead := reload(t, r.e, 2, txnlog.StreamForm)
	again := reload(t, ahead, 2, txnlog.FileForm)
	for _, e := range []*Engine{ahead, again} {
		if err := e.Apply(r.log[2:], nil); err != nil { // complains of a digest that differs
			t.Fatal(err)
		}
		if e.DigestMismatches() != 0 {
			t.Errorf("%d digests differ", e.DigestMismatches())
		}
	}
	again.Settle()
	if again.Digest() != r.e.Digest() {
		t.Errorf("digest %d, want %d", again.Digest(), r.e.Digest())
	}
	if err := again.Apply([]consensus.Txn{r.prepare(0, &consensus.Request{Session: 7, Op: int32(proto.OpCloseSession)})}, nil); err != nil {
		t.Fatal(err)
	}
}
