package engine

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/model"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

var modelOptions = Options{ExtendedTypes: true}

// A world is an engine and the model, fed with the same.
type world struct {
	t     *rapid.T
	r     *rig
	m     *model.Model
	alive []*client
	next  int64
	want  []wanted
	// states has the tree behind each txn, if it is wanted.
	states   []map[string]*model.Node
	sessions []map[int64]int32
	keep     bool
	base     []byte // the snapshot that it began with, if it did
	limited  bool   // there are quotas
}

type wanted struct {
	c    *client
	xid  int32
	op   proto.Op
	code zkerr.Code
	body []byte
	zxid int64
}

func newWorld(t *rapid.T, keep bool) *world {
	opts := modelOptions
	opts.EnforceQuota = rapid.Bool().Draw(t, "enforce")
	w := &world{t: t, r: newRig(t, opts), m: model.New(model.Options{ExtendedTypes: true, EnforceQuota: opts.EnforceQuota}), next: 100, keep: keep}
	w.r.held = true
	w.limited = rapid.Bool().Draw(t, "quotas")
	if rapid.IntRange(0, 3).Draw(t, "old") == 0 {
		w.grow(old)
	}
	w.record()
	return w
}

// old are znodes of a tree that has seen much: their counters are about to pass
// 2³¹, their versions -1. The number of creates does not pass -1 here: in a txn
// that stands for one more than there are, so that a txn that is played over a
// later state counts once too often there, in Apache's servers as in ours.
var old = map[string]*model.Node{
	"/a":   {Version: math.MaxInt32, Aversion: -2, Creates: math.MaxInt32},
	"/a/a": {Version: -2, Aversion: math.MaxInt32, Creates: 7, Kind: model.Container},
	"/b":   {Version: -3, Creates: math.MaxInt32 - 1},
	"/b/a": {Version: math.MaxInt32 - 1, Creates: math.MaxInt32, Kind: model.TTL, TTLMS: 1<<40 - 1},
}

// grow gives both a tree with these znodes, as if from a snapshot.
func (w *world) grow(more map[string]*model.Node) {
	w.t.Helper()
	nodes := w.m.Nodes()
	for path, n := range more {
		n := *n
		n.Data, n.ACL = []byte("old"), jute.OpenACL()
		nodes[path] = &n
	}
	var b bytes.Buffer
	sw := txnlog.NewSnapshotWriter(&b, txnlog.StreamForm)
	sw.Sessions(0)
	sw.ACLs(2)
	sw.ACL(1, jute.OpenACL())
	sw.ACL(2, jute.ReadACL())
	for _, path := range slices.Sorted(maps.Keys(nodes)) {
		n := nodes[path]
		key := int64(1)
		if len(n.ACL) == 1 && n.ACL[0] == jute.ReadACL()[0] {
			key = 2
		}
		if path == "/" {
			path = ""
		}
		if err := sw.Node(node1(path, n, key)); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := sw.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.base = b.Bytes()
	w.r.e, w.r.store = w.fresh()
	w.r.e.Lead(0)
	w.m.Restore(0, nodes, nil)
	w.same(w.r.e)
}

// fresh is an engine with the tree that this world began with.
func (w *world) fresh() (*Engine, *mapStore) {
	w.t.Helper()
	store := newMapStore()
	if w.base != nil {
		if _, err := ReadSnapshot(txnlog.NewSnapshotReader(bytes.NewReader(w.base), txnlog.StreamForm), store, 0, w.r.e.opts); err != nil {
			w.t.Fatal(err)
		}
	}
	e := New(w.r.e.opts)
	if err := e.Open(store); err != nil {
		w.t.Fatal(err)
	}
	e.Settle()
	return e, store
}

// node1 is a znode as a snapshot has it, its list under key.
func node1(path string, n *model.Node, key int64) *txnlog.Node {
	return &txnlog.Node{Path: path, Data: n.Data, ACL: key, Stat: txnlog.Stat{
		Czxid: n.Czxid, Mzxid: n.Mzxid, Ctime: n.Ctime, Mtime: n.Mtime,
		Version: n.Version, Cversion: n.Creates, Aversion: n.Aversion, EphemeralOwner: n.StoredOwner(), Pzxid: n.Pzxid,
	}}
}

func (w *world) record() {
	if w.keep {
		w.states = append(w.states, w.m.Nodes())
		w.sessions = append(w.sessions, w.m.Sessions())
	}
}

// ask makes a write in the model.
func (w *world) ask(session int64, ids []consensus.Identity, op proto.Op, body []byte) model.Result {
	return w.m.Write(w.m.Zxid()+1, w.r.now, model.Request{Session: session, IDs: names(ids), Op: op, Body: body})
}

// names are the same in the words of the codec.
func names(ids []consensus.Identity) []jute.ID {
	out := make([]jute.ID, len(ids))
	for i, id := range ids {
		out[i] = jute.ID(id)
	}
	return out
}

var users = []consensus.Identity{{Scheme: "digest", ID: "ann:h"}, {Scheme: "digest", ID: "bob:h"}}

func (w *world) open(rt *rapid.T) {
	w.next++
	c := w.r.connect(w.next)
	c.auth = append(c.auth, rapid.SampledFrom([][]consensus.Identity{nil, users[:1], users[1:], users, {{Scheme: "super"}}}).Draw(rt, "auth")...)
	w.ask(w.next, nil, proto.OpCreateSession, jute.AppendInt(nil, 10000))
	w.alive = append(w.alive, c)
	w.record()
}

var (
	genPath = rapid.Custom(func(t *rapid.T) string {
		p := ""
		for range rapid.IntRange(1, 3).Draw(t, "depth") {
			p += "/" + rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name")
		}
		return rapid.SampledFrom([]string{p, p, p, p, p, p, p, p, "/", "/zookeeper/a", "/zookeeper/quota", "a", "/a/", "//a", "/a/../b"}).Draw(t, "path")
	})
	genACL = rapid.SampledFrom([][]jute.ACL{
		jute.OpenACL(), jute.OpenACL(), jute.OpenACL(), jute.OpenACL(), jute.ReadACL(),
		{{Perms: 31, Scheme: "auth"}}, {{Perms: 31, Scheme: "auth"}, {Perms: 1, Scheme: "world", ID: "anyone"}},
		{{Perms: 13, Scheme: "digest", ID: "ann:h"}, {Perms: 13, Scheme: "digest", ID: "ann:h"}},
		{{Perms: 0, Scheme: "world", ID: "anyone"}}, {}, nil, {{Perms: 31, Scheme: "who", ID: "knows"}},
	})
	genData    = rapid.SampledFrom([][]byte{nil, {}, {1}, []byte("some more bytes than before"), bytes.Repeat([]byte{7}, 2000)})
	genVersion = rapid.SampledFrom([]int32{-1, -1, -1, 0, 1, 2})
)

// genOp makes an operation, most often about a znode that is there, or could be
// below one that is.
func (w *world) genOp(multi bool) *rapid.Generator[proto.MultiOp] {
	paths := slices.DeleteFunc(w.m.Paths(), func(p string) bool { return strings.HasPrefix(p, "/zookeeper") })
	slices.Reverse(paths) // leaves first

	ops := []proto.Op{proto.OpCreate, proto.OpCreate, proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL,
		proto.OpDelete, proto.OpDelete, proto.OpSetData, proto.OpSetACL}
	if multi {
		ops[len(ops)-1] = proto.OpCheck
	}
	return rapid.Custom(func(t *rapid.T) proto.MultiOp {
		if w.limited && rapid.IntRange(0, 3).Draw(t, "quota") == 0 {
			return w.genQuota(t)
		}
		o := proto.MultiOp{Op: rapid.SampledFrom(ops).Draw(t, "op"), Path: genPath.Draw(t, "path")}
		if rapid.IntRange(0, 3).Draw(t, "known") > 0 {
			o.Path = rapid.SampledFrom(paths).Draw(t, "there")
			if strings.HasPrefix(o.Op.String(), "create") && strings.Count(o.Path, "/") < 4 {
				o.Path = strings.TrimSuffix(o.Path, "/") + rapid.SampledFrom([]string{"/a", "/b", "/"}).Draw(t, "name")
			}
		}
		switch o.Op {
		case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer:
			o.Data, o.ACL = genData.Draw(t, "data"), genACL.Draw(t, "acl")
			o.Flags = proto.CreateFlags(rapid.SampledFrom([]int32{0, 0, 0, 1, 1, 2, 3, 4}).Draw(t, "flags"))
		case proto.OpCreateTTL:
			o.Data, o.ACL = genData.Draw(t, "data"), genACL.Draw(t, "acl")
			o.Flags = proto.CreateFlags(rapid.SampledFrom([]int32{5, 5, 6}).Draw(t, "flags"))
			o.TTL = rapid.SampledFrom([]int64{-1, 0, 1, 5000, 1<<40 - 1, 1 << 40}).Draw(t, "ttl")
		case proto.OpSetData:
			o.Data, o.Version = genData.Draw(t, "data"), genVersion.Draw(t, "version")
		case proto.OpSetACL:
			o.ACL, o.Version = genACL.Draw(t, "acl"), genVersion.Draw(t, "version")
		default:
			o.Version = genVersion.Draw(t, "version")
		}
		return o
	})
}

// genQuota makes an operation about a quota: one that makes the next of its znodes
// that is missing, most often.
func (w *world) genQuota(t *rapid.T) proto.MultiOp {
	path := "/zookeeper/quota"
	for range rapid.IntRange(0, 2).Draw(t, "depth") {
		path += "/" + rapid.SampledFrom([]string{"a", "a", "b", "zookeeper"}).Draw(t, "name")
		if w.m.Node(path) == nil {
			return proto.MultiOp{Op: proto.OpCreate, Path: path, ACL: jute.OpenACL()}
		}
	}
	path += rapid.SampledFrom([]string{"/zookeeper_limits", "/zookeeper_stats"}).Draw(t, "end")
	o := proto.MultiOp{Op: proto.OpSetData, Path: path, ACL: jute.OpenACL(), Version: -1}
	o.Data = rapid.SampledFrom([][]byte{
		[]byte("count=-1,bytes=-1=;byteHardLimit=30;countHardLimit=3"), []byte("countHardLimit=2"), []byte("byteHardLimit=0"), []byte("countHardLimit=5;byteHardLimit=2010"),
		[]byte("count=1,bytes=1"), []byte("count=0,bytes=0"), nil, {}, []byte("count="), []byte("what?"), []byte(",;,"),
	}).Draw(t, "limits")
	switch {
	case w.m.Node(path) == nil:
		o.Op, o.Version = proto.OpCreate, 0
	case rapid.IntRange(0, 5).Draw(t, "gone") == 0:
		o.Op, o.Data = proto.OpDelete, nil
	}
	return o
}

func encode(o proto.MultiOp) []byte {
	switch o.Op {
	case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer:
		return (&proto.CreateRequest{Path: o.Path, Data: o.Data, ACL: o.ACL, Flags: o.Flags}).Append(nil)
	case proto.OpCreateTTL:
		return (&proto.CreateTTLRequest{CreateRequest: proto.CreateRequest{Path: o.Path, Data: o.Data, ACL: o.ACL, Flags: o.Flags}, TTL: o.TTL}).Append(nil)
	case proto.OpSetData:
		return (&proto.SetDataRequest{Path: o.Path, Data: o.Data, Version: o.Version}).Append(nil)
	case proto.OpSetACL:
		return (&proto.SetACLRequest{Path: o.Path, ACL: o.ACL, Version: o.Version}).Append(nil)
	}
	return (&proto.VersionRequest{Path: o.Path, Version: o.Version}).Append(nil)
}

// step does something that a client, or the time, may do.
func (w *world) step(rt *rapid.T) {
	w.r.now++
	what := rapid.IntRange(0, 19).Draw(rt, "step")
	if len(w.alive) == 0 || what == 0 && len(w.alive) < 4 {
		w.open(rt)
		return
	}
	c := rapid.SampledFrom(w.alive).Draw(rt, "client")
	// send has the client ask both.
	send := func(op proto.Op, body []byte) {
		res := w.ask(c.session, c.auth, op, body)
		w.want = append(w.want, wanted{c, c.send(op, body), op, res.Code, res.Body, w.m.Zxid()})
	}
	switch {
	case what == 1:
		// Its client, or the leader, ends a session; once more is no harm.
		w.r.prepare(0, &consensus.Request{Session: c.session, Op: int32(proto.OpCloseSession)})
		w.ask(c.session, nil, proto.OpCloseSession, nil)
		if rapid.Bool().Draw(rt, "twice") {
			w.record()
			w.r.prepare(0, &consensus.Request{Session: c.session, Op: int32(proto.OpCloseSession)})
			w.ask(c.session, nil, proto.OpCloseSession, nil)
		} else {
			// What was on its way comes too late.
			w.record()
			o := w.genOp(false).Draw(rt, "op")
			send(o.Op, encode(o))
		}
		w.alive = slices.DeleteFunc(w.alive, func(o *client) bool { return o == c })
	case what <= 4:
		ops := rapid.SliceOfN(w.genOp(true), 0, 4).Draw(rt, "ops")
		req := proto.MultiRequest{Ops: ops}
		send(proto.OpMulti, req.Append(nil))
	default:
		o := w.genOp(false).Draw(rt, "op")
		send(o.Op, encode(o))
	}
	w.record()
}

// settle applies what is held and compares all replies.
func (w *world) settle() {
	w.t.Helper()
	w.r.release(len(w.r.pending))
	for _, x := range w.want {
		found := false
		for _, g := range x.c.got {
			if g.xid != x.xid {
				continue
			}
			found = true
			if g.code != x.code || !bytes.Equal(g.body, x.body) || g.zxid != x.zxid {
				w.t.Errorf("%s of session %d: %v %x at %d, the model says %v %x at %d",
					x.op, x.c.session, g.code, g.body, g.zxid, x.code, x.body, x.zxid)
			}
		}
		if !found {
			w.t.Errorf("%s of session %d: no reply", x.op, x.c.session)
		}
	}
	w.want = nil
	for _, c := range w.r.conns {
		c.got = nil
	}
	if n := w.r.e.Outstanding(); n != 0 {
		w.t.Errorf("%d outstanding", n)
	}
	p := &w.r.e.preparer
	if len(p.cells) != 0 || p.queue.len() != 0 || len(p.born) != 0 {
		w.t.Errorf("prepare keeps %d cells, %d entries, %d births", len(p.cells), p.queue.len(), len(p.born))
	}
	w.same(w.r.e)
	w.reads()
	if p.enforced && !reflect.DeepEqual(p.quotas.byPath, w.r.e.quotas.byPath) {
		w.t.Errorf("prepare's quotas are not apply's")
	}
}

func (w *world) same(e *Engine) {
	w.t.Helper()
	compareDumps(w.t, e.dump(w.t), dump(w.m.Nodes()))
	if e.Digest() != w.m.Digest() {
		w.t.Errorf("digest %d, the model has %d", e.Digest(), w.m.Digest())
	}
	if e.SessionCount() != len(w.m.Sessions()) {
		w.t.Errorf("%d sessions, the model has %d", e.SessionCount(), len(w.m.Sessions()))
	}
	if e.LastZxid() != w.m.Zxid() {
		w.t.Errorf("zxid %d, the model has %d", e.LastZxid(), w.m.Zxid())
	}
}

// dump is as Engine's.
func dump(nodes map[string]*model.Node) map[string]string {
	out := map[string]string{}
	for path, n := range nodes {
		data := "null"
		if n.Data != nil {
			data = hex.EncodeToString(n.Data)
		}
		line := fmt.Sprintf("data %s acl", data)
		for _, a := range n.ACL {
			line += fmt.Sprintf(" %d:%s:%s", a.Perms, a.Scheme, a.ID)
		}
		line += fmt.Sprintf(" c %x m %x p %x ct %d mt %d v %d cv %d av %d o %x",
			n.Czxid, n.Mzxid, n.Pzxid, n.Ctime, n.Mtime, n.Version, n.Creates, n.Aversion, uint64(n.StoredOwner()))
		out[path] = line
	}
	return out
}

// reads compares what the reads say.
func (w *world) reads() {
	w.t.Helper()
	for _, c := range w.alive {
		ask := func(op proto.Op, body []byte) {
			g := c.read(op, body)
			want := w.m.Read(model.Request{Session: c.session, IDs: names(c.auth), Op: op, Body: body})
			if g.code != want.Code || !bytes.Equal(g.body, want.Body) {
				w.t.Errorf("%s %q: %v %x, the model says %v %x", op, body, g.code, g.body, want.Code, want.Body)
			}
		}
		for _, path := range append(w.m.Paths(), "", "/none", "/a/none") {
			req := (&proto.ReadRequest{Path: path}).Append(nil)
			for _, op := range []proto.Op{proto.OpExists, proto.OpGetData, proto.OpGetChildren, proto.OpGetChildren2,
				proto.OpGetACL, proto.OpGetAllChildrenNum, proto.OpGetEphemerals, proto.OpSync} {
				ask(op, req)
			}
			several := proto.MultiRequest{Read: true, Ops: []proto.MultiOp{{Op: proto.OpGetData, Path: path}, {Op: proto.OpGetChildren, Path: path}}}
			ask(proto.OpMultiRead, several.Append(nil))
		}
		ask(proto.OpWhoAmI, nil)
	}
}

func (w *world) play(rt *rapid.T, steps int) {
	w.t.Helper()
	for range steps {
		w.step(rt)
		switch rapid.IntRange(0, 9).Draw(rt, "release") {
		case 0:
			w.settle()
		case 1, 2, 3:
			w.r.release(rapid.IntRange(0, len(w.r.pending)).Draw(rt, "n"))
		}
	}
	w.settle()
}

// The engine answers as the model does and keeps the same tree, however deep the
// pipeline between prepare and apply. Another engine that applies the same txns
// in batches of other sizes has that tree too, and so has one that reads the
// snapshot of the first.
func TestEngineIsTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, false)
		w.play(rt, 40)
		e, _ := w.fresh()
		rest := w.r.log
		for len(rest) > 0 {
			n := rapid.IntRange(1, len(rest)).Draw(rt, "batch")
			if err := e.Apply(rest[:n], nil); err != nil {
				rt.Fatal(err)
			}
			rest = rest[n:]
		}
		w.same(e)
		if err := e.Apply(w.r.log, nil); err != nil { // all of it is below LastZxid
			rt.Fatal(err)
		}
		w.same(e)
		w.same(reload(rt, e, e.LastZxid(), txnlog.FileForm))
		// And the store holds all that an engine needs.
		again := New(modelOptions)
		if err := again.Open(e.store); err != nil {
			rt.Fatal(err)
		}
		w.same(again)
	})
}

// reload makes another engine from the snapshot of e, as if it were of zxid.
func reload(t tb, e *Engine, zxid int64, form txnlog.Form) *Engine {
	t.Helper()
	var b bytes.Buffer
	sw := txnlog.NewSnapshotWriter(&b, form)
	if err := WriteSnapshot(sw, form, e.View()); err != nil {
		t.Fatal(err)
	}
	if err := sw.Close(); err != nil {
		t.Fatal(err)
	}
	store := newMapStore()
	if _, err := ReadSnapshot(txnlog.NewSnapshotReader(&b, form), store, zxid, e.opts); err != nil {
		t.Fatal(err)
	}
	f := New(e.opts)
	if err := f.Open(store); err != nil {
		t.Fatal(err)
	}
	return f
}

// Applying a second time what a snapshot holds already changes nothing in the
// end, from whatever txn one begins.
func TestReplayTwiceIsOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, false)
		w.play(rt, 25)
		from := rapid.Int64Range(0, w.m.Zxid()).Draw(rt, "from")
		e := reload(rt, w.r.e, from, rapid.SampledFrom([]txnlog.Form{txnlog.FileForm, txnlog.StreamForm}).Draw(rt, "form"))
		if e.LastZxid() != from {
			rt.Fatalf("snapshot of %d has %d", from, e.LastZxid())
		}
		if err := e.Apply(w.r.log, nil); err != nil {
			rt.Fatal(err)
		}
		w.same(e)
	})
}

// Apache writes its snapshots while it applies: each znode is as it was when the
// walk came by, later than its parent and its elder siblings. Replay makes the
// true state of it.
func TestReplayOverAFuzzySnapshot(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, true)
		w.play(rt, 30)
		now := rapid.IntRange(0, len(w.states)-1).Draw(rt, "begin")
		begin := int64(now)
		var b bytes.Buffer
		sw := txnlog.NewSnapshotWriter(&b, txnlog.StreamForm)
		ids := slices.Sorted(maps.Keys(w.sessions[now]))
		sw.Sessions(len(ids))
		for _, id := range ids {
			sw.Session(id, 10000)
		}
		// The lists that are in use when it begins; the key is their place.
		var lists []string
		keys := map[string]int64{}
		text := map[string][]jute.ACL{}
		for _, path := range slices.Sorted(maps.Keys(w.states[now])) {
			acl := w.states[now][path].ACL
			if s := fmt.Sprint(acl); keys[s] == 0 {
				lists = append(lists, s)
				keys[s], text[s] = int64(len(lists)), acl
			}
		}
		sw.ACLs(len(lists))
		for _, s := range lists {
			sw.ACL(keys[s], text[s])
		}
		var walk func(path string)
		walk = func(path string) {
			n, ok := w.states[now][path]
			if !ok {
				return
			}
			var names []string
			for p := range w.states[now] {
				if name, ok := strings.CutPrefix(p, strings.TrimSuffix(path, "/")+"/"); ok && name != "" && !strings.Contains(name, "/") {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			key := keys[fmt.Sprint(n.ACL)]
			if key == 0 {
				key = 999 // made later: it is in no table
			}
			stored := path
			if path == "/" {
				stored = ""
			}
			if err := sw.Node(node1(stored, n, key)); err != nil {
				rt.Fatal(err)
			}
			for _, name := range names {
				now = min(now+rapid.IntRange(0, 4).Draw(rt, "later"), len(w.states)-1)
				walk(stored + "/" + name)
			}
		}
		walk("/")
		if err := sw.Close(); err != nil {
			rt.Fatal(err)
		}
		store := newMapStore()
		if _, err := ReadSnapshot(txnlog.NewSnapshotReader(&b, txnlog.StreamForm), store, begin, modelOptions); err != nil {
			rt.Fatal(err)
		}
		e := New(modelOptions)
		if err := e.Open(store); err != nil {
			rt.Fatal(err)
		}
		if err := e.Apply(w.r.log, nil); err != nil {
			rt.Fatal(err)
		}
		w.same(e)
	})
}
