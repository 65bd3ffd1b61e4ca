package engine

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// readLog cuts a log file of the vectors into txns. It does so by itself: what
// is in question here is not how txnlog reads.
func readLog(t *testing.T, name string) []consensus.Txn {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var txns []consensus.Txn
	for b = b[16:]; len(b) >= 12; {
		n := int(binary.BigEndian.Uint32(b[8:]))
		if n == 0 {
			break
		}
		body := b[12 : 12+n]
		h, err := txn.DecodeHeader(body)
		if err != nil {
			t.Fatal(err)
		}
		txns = append(txns, consensus.Txn{Zxid: consensus.Zxid(h.Zxid), Data: body})
		b = b[12+n+1:]
	}
	return txns
}

// restore opens an engine on a snapshot file.
func restore(t *testing.T, name string, opts Options) *Engine {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, suffix, _ := strings.Cut(filepath.Base(name), ".")
	zxid, err := strconv.ParseInt(suffix, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	store := newMapStore()
	if _, err := ReadSnapshot(txnlog.NewSnapshotReader(f, txnlog.FileForm), store, zxid, opts); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	e := New(opts)
	if err := e.Open(store); err != nil {
		t.Fatal(err)
	}
	return e
}

type wantNode struct {
	Data *string
	ACL  []struct {
		Perms      int32
		Scheme, ID string
	}
	Czxid, Mzxid, Pzxid, EphemeralOwner string
	Ctime, Mtime                        int64
	Version, Cversion, Aversion         int32
}

type wantState struct {
	StartingSnapshot  string
	Logs              []string
	DigestsChecked    int
	LastProcessedZxid string
	TreeDigest        uint64
	Sessions          map[string]int32
	Nodes             map[string]wantNode
}

func loadWant(t *testing.T, dir string) wantState {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var x struct{ AfterReplay wantState }
	if err := json.Unmarshal(b, &x); err != nil {
		t.Fatal(err)
	}
	return x.AfterReplay
}

// dump is the state of an engine as lines, to be compared.
func (e *Engine) dump(t tb) map[string]string {
	t.Helper()
	out := map[string]string{}
	kids := map[string]int32{}
	err := e.view.Walk(func(path string, rec storage.Record) bool {
		h := znode.Head(rec.Head)
		data := "null"
		if rec.Data != nil {
			data = hex.EncodeToString(rec.Data)
		}
		line := fmt.Sprintf("data %s acl", data)
		for _, a := range e.acls.list(h.ACL()) {
			line += fmt.Sprintf(" %d:%s:%s", a.Perms, a.Scheme, a.ID)
		}
		line += fmt.Sprintf(" c %x m %x p %x ct %d mt %d v %d cv %d av %d o %x",
			h.Czxid(), h.Mzxid(), h.Pzxid(), h.Ctime(), h.Mtime(), h.Version(), h.Creates(), h.Aversion(), uint64(h.Owner()))
		out[strings.Clone(path)] = line
		if path != "/" {
			kids[znode.Parent(path)]++
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	e.check(t, kids)
	return out
}

// check holds what follows from the znodes against what is kept beside them.
func (e *Engine) check(t tb, kids map[string]int32) {
	t.Helper()
	var digest uint64
	var size int64
	var hasher znode.Hasher
	refs := map[uint32]int64{}
	ephemerals := map[string]bool{}
	_ = e.view.Walk(func(path string, rec storage.Record) bool {
		h := znode.Head(rec.Head)
		if h.NumChildren() != kids[path] || h.Cversion() != 2*h.Creates()-h.NumChildren() || int(h.DataLength()) != len(rec.Data) {
			t.Errorf("%s: %d children of %d, cversion %d of %d creates, length %d of %d",
				path, h.NumChildren(), kids[path], h.Cversion(), h.Creates(), h.DataLength(), len(rec.Data))
		}
		if !e.opts.NoDigest {
			digest += hasher.Digest(path, h, rec.Data)
		}
		size += int64(len(path) + len(rec.Data))
		if h.ACL() != znode.OpenACL {
			refs[h.ACL()]++
		}
		if znode.KindOf(h.Owner(), e.opts.ExtendedTypes) == znode.Ephemeral {
			ephemerals[ephemeralKey(h.Owner(), path)] = true
		}
		return true
	})
	if digest != e.Digest() {
		t.Errorf("digest is %d, kept %d", digest, e.Digest())
	}
	if size != e.DataSize() {
		t.Errorf("size is %d, kept %d", size, e.DataSize())
	}
	if len(refs) != len(e.acls.byKey) {
		t.Errorf("%d lists are in use, kept %d", len(refs), len(e.acls.byKey))
	}
	for key, n := range refs {
		if got := e.acls.byKey[key]; got == nil || got.refs != n {
			t.Errorf("list %d has %d znodes, kept %+v", key, n, got)
		}
	}
	n := 0
	_ = e.view.TableScan(tableEphemerals, "", func(key string, _ []byte) bool {
		n++
		if !ephemerals[key] {
			t.Errorf("table has an ephemeral that is none: %q", key)
		}
		return true
	})
	if n != len(ephemerals) || n != e.EphemeralsCount() {
		t.Errorf("%d ephemerals, %d in the table, count %d", len(ephemerals), n, e.EphemeralsCount())
	}
	if len(e.applier.cells) != 0 || len(e.applier.batch.Ops) != 0 {
		t.Error("apply left something behind")
	}
}

func (w *wantState) dump() map[string]string {
	out := map[string]string{}
	for path, n := range w.Nodes {
		data := "null"
		if n.Data != nil {
			data = *n.Data
		}
		line := fmt.Sprintf("data %s acl", data)
		for _, a := range n.ACL {
			line += fmt.Sprintf(" %d:%s:%s", a.Perms, a.Scheme, a.ID)
		}
		x := func(s string) string { return strings.TrimPrefix(s, "0x") }
		line += fmt.Sprintf(" c %s m %s p %s ct %d mt %d v %d cv %d av %d o %s",
			x(n.Czxid), x(n.Mzxid), x(n.Pzxid), n.Ctime, n.Mtime, n.Version, n.Cversion, n.Aversion, x(n.EphemeralOwner))
		out[path] = line
	}
	return out
}

func compareDumps(t tb, got, want map[string]string) {
	t.Helper()
	for path, w := range want {
		if g := got[path]; g != w {
			t.Errorf("%s\n got %s\nwant %s", path, g, w)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s should not be there", path)
		}
	}
}

func compareState(t *testing.T, e *Engine, want *wantState) {
	t.Helper()
	compareDumps(t, e.dump(t), want.dump())
	if got := fmt.Sprintf("0x%x", e.LastZxid()); got != want.LastProcessedZxid {
		t.Errorf("last zxid %s, want %s", got, want.LastProcessedZxid)
	}
	if e.Digest() != want.TreeDigest {
		t.Errorf("digest %d, want %d", e.Digest(), want.TreeDigest)
	}
	if e.SessionCount() != len(want.Sessions) {
		t.Errorf("%d sessions, want %d", e.SessionCount(), len(want.Sessions))
	}
	e.Sessions(func(id int64, timeout int32) {
		if want.Sessions[fmt.Sprintf("0x%x", id)] != timeout {
			t.Errorf("session 0x%x has timeout %d, want %v", id, timeout, want.Sessions)
		}
	})
}

const vectors = "testdata/disk-vectors"

// Directories of real servers, replayed: from the first snapshot and from the
// last, one txn at a time and all at once. Each txn's digest is that of the tree.
func TestReplayOfApachesDirectories(t *testing.T) {
	for _, name := range []string{"ensemble-3.8.0", "ensemble-3.9.5", "edge-error-txn", "edge-ok-no-padding", "edge-legacy-records"} {
		dir := filepath.Join(vectors, name)
		want := loadWant(t, dir)
		starts := []string{"snapshot.0"}
		if want.StartingSnapshot != starts[0] {
			starts = append(starts, want.StartingSnapshot)
		}
		for _, snap := range starts {
			for _, oneByOne := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/%v", name, snap, oneByOne), func(t *testing.T) {
					checked := 0
					opts := Options{ExtendedTypes: true, OnDigestMismatch: func(zxid int64, txn, tree uint64) {
						t.Errorf("0x%x: digest %d, want %d", zxid, tree, txn)
					}}
					e := restore(t, filepath.Join(dir, "version-2", snap), opts)
					e.Settle()
					var txns []consensus.Txn
					for _, log := range want.Logs {
						txns = append(txns, readLog(t, filepath.Join(dir, "version-2", log))...)
					}
					for _, x := range txns {
						var d txn.Txn
						if err := txn.Decode(x.Data, &d); err != nil {
							t.Fatal(err)
						}
						if d.HasDigest && int64(x.Zxid) > e.LastZxid() {
							checked++
						}
					}
					if snap == want.StartingSnapshot && checked != want.DigestsChecked {
						t.Errorf("%d digests to check, want %d", checked, want.DigestsChecked)
					}
					if oneByOne {
						for i := range txns {
							if err := e.Apply(txns[i:i+1], nil); err != nil {
								t.Fatal(err)
							}
							e.dump(t)
						}
					} else if err := e.Apply(txns, nil); err != nil {
						t.Fatal(err)
					}
					compareState(t, e, &want)
					if e.DigestMismatches() != 0 {
						t.Error("digests differ")
					}
				})
			}
		}
	}
}

// The state after replay is that of the older snapshot and the log.
func TestReplayOverASnapshotThatIsAhead(t *testing.T) {
	dir := filepath.Join(vectors, "edge-snapshot-ahead-of-name/version-2")
	e := restore(t, filepath.Join(dir, "snapshot.3"), Options{})
	before := e.dump(t)
	mismatches := 0
	e.opts.OnDigestMismatch = func(int64, uint64, uint64) { mismatches++ }
	if err := e.Apply(readLog(t, filepath.Join(dir, "log.1")), nil); err != nil {
		t.Fatal(err)
	}
	compareDumps(t, e.dump(t), before)
	if mismatches != 0 || e.LastZxid() != 5 {
		t.Errorf("%d mismatches, last zxid %d", mismatches, e.LastZxid())
	}
	want := loadWant(t, filepath.Join(vectors, "edge-ok-no-padding"))
	compareDumps(t, e.dump(t), want.dump())
}

func TestSnapshotOfOldServers(t *testing.T) {
	e := restore(t, filepath.Join(vectors, "edge-snapshot-minimal/version-2/snapshot.5"), Options{})
	want := loadWant(t, filepath.Join(vectors, "edge-ok-no-padding"))
	compareState(t, e, &want)
}

func TestFreshTree(t *testing.T) {
	e := New(Options{})
	store := newMapStore()
	if err := e.Open(store); err != nil {
		t.Fatal(err)
	}
	if e.Digest() != 1371985504 {
		t.Errorf("digest of the fresh tree is %d", e.Digest())
	}
	compareDumps(t, e.dump(t), map[string]string{
		"/":                 "data  acl 31:world:anyone c 0 m 0 p 0 ct 0 mt 0 v 0 cv 0 av 0 o 0",
		"/zookeeper":        "data  acl 31:world:anyone c 0 m 0 p 0 ct 0 mt 0 v 0 cv 0 av 0 o 0",
		"/zookeeper/quota":  "data  acl 31:world:anyone c 0 m 0 p 0 ct 0 mt 0 v 0 cv 0 av 0 o 0",
		"/zookeeper/config": "data  acl 1:world:anyone c 0 m 0 p 0 ct 0 mt 0 v 0 cv 0 av -1 o 0",
	})
	for path, want := range map[string]int32{"/": -1, "/zookeeper": -2} {
		h, _, _ := e.get(path)
		if h.Cversion() != want {
			t.Errorf("cversion of %s is %d, want %d", path, h.Cversion(), want)
		}
	}
	// An ensemble's configuration is put in its place at each start.
	e.opts = Options{ConfigText: "server.1=a:1:2:participant\nversion=0", ConfigTimeMS: 17}
	for range 2 {
		if err := e.Open(store); err != nil {
			t.Fatal(err)
		}
		got := e.dump(t)["/zookeeper/config"]
		want := "data " + hex.EncodeToString([]byte(e.opts.ConfigText)) + " acl 1:world:anyone c 0 m 0 p 0 ct 0 mt 17 v -1 cv 0 av -1 o 0"
		if got != want {
			t.Errorf("config\n got %s\nwant %s", got, want)
		}
	}
	e.Close()
	if store.views != 0 {
		t.Errorf("%d views are held", store.views)
	}
}
