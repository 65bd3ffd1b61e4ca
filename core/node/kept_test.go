package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// A keptStore is one that survives its process.
type keptStore struct {
	mapStore
	opens  int
	resets int
	failed error // of Commit
	stuck  error // of Reset
}

func newKeptStore() *keptStore { return &keptStore{mapStore: mapStore{now: newMapState()}} }

func (s *keptStore) open(storage.Config) (storage.Store, error) {
	s.opens++
	return s, nil
}

func (s *keptStore) Durable() int64 { return s.Applied() }

func (s *keptStore) Commit(b *storage.Batch) error {
	if s.failed != nil {
		return s.failed
	}
	return s.mapStore.Commit(b)
}

func (s *keptStore) Reset() error {
	s.resets++
	if s.stuck != nil {
		return s.stuck
	}
	return s.mapStore.Reset()
}

// snapshotAt polls for a snapshot at z or above, and returns its zxid.
func (r *rig) snapshotAt(z consensus.Zxid) {
	r.t.Helper()
	r.until("a snapshot", func() bool {
		files, err := txnlog.ListSnapshots(r.n.cfg.FS, r.n.snaps.dirs.Snap)
		return err == nil && len(files) > 0 && files[0].Zxid >= z
	})
}

// TestStoreIsKept: a node whose store has survived begins with it, without a snapshot or a log.
// What the store alone has is put into a snapshot then.
func TestStoreIsKept(t *testing.T) {
	dir, kept := t.TempDir(), newKeptStore()
	change := func(c *Config) { c.DataDir, c.OpenStorage = dir, kept.open }
	r := start(t, consensus.Leading, false, change)
	p := r.connect()
	p.must(proto.OpCreate, create("/a", 0))
	last := consensus.Zxid(kept.Applied())
	if err := r.n.Close(); err != nil {
		t.Fatal(err)
	}
	resets := kept.resets
	r = start(t, consensus.Leading, false, change)
	if kept.resets != resets {
		t.Error("the store is filled anew")
	}
	r.snapshotAt(last)
	q := r.again(p)
	if a := q.greeted(); a.SessionID != p.session {
		t.Errorf("session 0x%x is 0x%x", p.session, a.SessionID)
	}
	q.must(proto.OpGetData, get("/a"))
}

// TestStoreAheadOfItsLog: a power cut took the end of the log, and the store has it. The member removes what is left of the log
// when it opens that: by then there is a snapshot, for damage to the store may show only later. Where the log has the state
// nothing is written, and the start takes no time for it.
func TestStoreAheadOfItsLog(t *testing.T) {
	dir, kept := t.TempDir(), newKeptStore()
	change := func(c *Config) { c.DataDir, c.OpenStorage = dir, kept.open }
	r := start(t, consensus.Leading, false, change)
	p := r.connect()
	for _, path := range []string{"/a", "/b", "/c"} {
		p.must(proto.OpCreate, create(path, 0))
	}
	last := consensus.Zxid(kept.Applied())
	snap, log := r.n.snaps.dirs.Snap, r.n.snaps.dirs.Log
	if err := r.n.Close(); err != nil {
		t.Fatal(err)
	}
	for _, has := range []consensus.Zxid{last, last - 1} {
		first := consensus.MakeZxid(last.Epoch(), 1)
		for _, name := range []string{log + "/" + txnlog.LogName(first), snap + "/" + txnlog.SnapshotName(last)} {
			if err := os.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
		}
		l, _, err := txnlog.OpenLog(vfs.OS, log, txnlog.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for z := first; z <= has; z++ {
			data := make([]byte, 40)
			binary.BigEndian.PutUint64(data[12:], uint64(z))
			if err := l.Append([]consensus.Txn{{Zxid: z, Data: data}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		r := start(t, consensus.Leading, false, func(c *Config) {
			change(c)
			open := c.OpenConsensus
			c.OpenConsensus = func(cc consensus.Config, n consensus.Node) (consensus.Member, error) {
				m, err := open(cc, n)
				if err != nil {
					return nil, err
				}
				files, err := txnlog.ListSnapshots(vfs.OS, snap)
				if err != nil {
					return nil, err
				}
				if there := len(files) > 0 && files[0].Zxid == last; there != (has < last) {
					t.Errorf("the log ends at %v, the store has %v, and the snapshots are %v", has, last, files)
				}
				return m, nil
			}
		})
		if err := r.n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStoreThatWasNotInUse: a store that is behind the newest snapshot is filled from it: the
// server ran on another one meanwhile.
func TestStoreThatWasNotInUse(t *testing.T) {
	dir, kept := t.TempDir(), newKeptStore()
	on := func(open storage.Open) func(*Config) {
		return func(c *Config) { c.DataDir, c.OpenStorage = dir, open }
	}
	write := func(open storage.Open, path string) {
		t.Helper()
		r := start(t, consensus.Leading, false, on(open))
		r.connect().must(proto.OpCreate, create(path, 0))
		if _, err := r.n.pinAndWrite(); err != nil {
			t.Fatal(err)
		}
		if err := r.n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write(kept.open, "/a")
	write(openMapStore, "/b") // from the snapshot
	r := start(t, consensus.Leading, false, on(kept.open))
	q := r.connect()
	q.must(proto.OpGetData, get("/a"))
	q.must(proto.OpGetData, get("/b"))
}

// A lateWorld is the real one, later.
type lateWorld struct {
	World
	by atomic.Int64
}

func (w *lateWorld) Clock() int64 { return w.World.Clock() + w.by.Load() }

// A slowStore takes longer for each commit than a server is silent about.
type slowStore struct {
	*keptStore
	w *lateWorld
}

func (s slowStore) Commit(b *storage.Batch) error {
	s.w.by.Add(int64(sayEvery))
	return s.keptStore.Commit(b)
}

// TestLongImportIsSeen: a server that fills its store from a snapshot for long says how far it is.
func TestLongImportIsSeen(t *testing.T) {
	dir := t.TempDir()
	r := start(t, consensus.Leading, false, func(c *Config) { c.DataDir = dir })
	r.connect().must(proto.OpCreate, create("/a", 0))
	if _, err := r.n.pinAndWrite(); err != nil {
		t.Fatal(err)
	}
	if err := r.n.Close(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var log bytes.Buffer
	r = start(t, consensus.Leading, false, func(c *Config) {
		w := &lateWorld{World: newWorld()}
		c.DataDir, c.World = dir, w
		c.OpenStorage = func(storage.Config) (storage.Store, error) { return slowStore{newKeptStore(), w}, nil }
		c.Log = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return log.Write(b)
		}), nil))
	})
	r.connect().must(proto.OpGetData, get("/a"))
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(log.String(), `msg="filling the store" from=snapshot.`) || !strings.Contains(log.String(), " znodes=") {
		t.Errorf("the server is silent about it:\n%s", log.String())
	}
}

// TestStoreOfOtherOptions: what was made where there are no TTL nodes means something else where
// there are, and the store is filled anew.
func TestStoreOfOtherOptions(t *testing.T) {
	dir, kept := t.TempDir(), newKeptStore()
	on := func(extended bool) func(*Config) {
		return func(c *Config) { c.DataDir, c.OpenStorage, c.ExtendedTypes = dir, kept.open, extended }
	}
	r := start(t, consensus.Leading, false, on(false))
	r.connect().must(proto.OpCreate, create("/a", 0))
	if _, err := r.n.pinAndWrite(); err != nil {
		t.Fatal(err)
	}
	if err := r.n.Close(); err != nil {
		t.Fatal(err)
	}
	resets := kept.resets
	r = start(t, consensus.Leading, false, on(true))
	if kept.resets == resets {
		t.Error("the store is taken as it is")
	}
	r.connect().must(proto.OpGetData, get("/a"))
}

// TestDamagedStore: a store that is damaged is opened anew, and told to leave out what it has.
func TestDamagedStore(t *testing.T) {
	damaged := errors.Join(errors.New("page 7"), storage.ErrDamaged)
	discarded := 0
	r := start(t, consensus.Leading, false, func(c *Config) {
		c.OpenStorage = func(sc storage.Config) (storage.Store, error) {
			if !sc.Discard {
				return nil, damaged
			}
			discarded++
			return openMapStore(sc)
		}
	})
	r.connect()
	if discarded != 1 {
		t.Errorf("opened anew %d times", discarded)
	}
}

// TestStoreFails: a store that can't be written ends the process, with the code that says
// whether space helps, and nothing is read out of its state.
func TestStoreFails(t *testing.T) {
	for _, tc := range []struct {
		err  error
		code int
	}{{syscall.ENOSPC, consensus.ExitDiskFull}, {syscall.EIO, consensus.ExitDisk}, {storage.ErrDamaged, consensus.ExitUnexpected}} {
		kept := newKeptStore()
		failed := make(chan int, 10)
		r := start(t, consensus.Leading, false, func(c *Config) {
			c.OpenStorage = kept.open
			c.Fail = func(code int, err error) {
				if !strings.Contains(err.Error(), tc.err.Error()) {
					t.Errorf("it fails with %v, not %v", err, tc.err)
				}
				failed <- code
			}
		})
		p := r.connect()
		r.m.wait(func() { kept.failed = tc.err })
		p.send(proto.OpCreate, create("/a", 0))
		if code := <-failed; code != tc.code {
			t.Errorf("%v: exit code %d, want %d", tc.err, code, tc.code)
		}
		p.ended() // the write is committed, and it may be told so; nobody reads the state without it
		if r.n.Serving() {
			t.Errorf("%v: it goes on to serve", tc.err)
		}
	}
}

// TestStoreFailsWhileItIsFilled: that the store can't be written says nothing of the snapshots. They are not taken for
// damaged, which would have them set aside, at a start, and the process ends with a leader's.
func TestStoreFailsWhileItIsFilled(t *testing.T) {
	dir := t.TempDir()
	src := start(t, consensus.Leading, false, func(c *Config) { c.DataDir = dir })
	src.connect().must(proto.OpCreate, create("/a", 0))
	if _, err := src.n.pinAndWrite(); err != nil {
		t.Fatal(err)
	}
	snap, err := src.n.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	if _, err := snap.WriteTo(&stream); err != nil {
		t.Fatal(err)
	}
	snap.Close()
	if err := src.n.Close(); err != nil {
		t.Fatal(err)
	}
	for what, full := range map[string]func(*keptStore){
		"commit": func(s *keptStore) { s.failed = syscall.ENOSPC },
		"reset":  func(s *keptStore) { s.stuck = syscall.ENOSPC },
	} {
		t.Run(what, func(t *testing.T) {
			kept := newKeptStore()
			full(kept)
			var m *fakeMember
			_, err := Start(t.Context(), Config{
				ServerID: 1, DataDir: dir, OpenStorage: kept.open, OpenConsensus: opener(&m, consensus.Looking, false),
				Fail: func(code int, err error) { t.Errorf("fails with %d: %v", code, err) },
			})
			var exit *consensus.ExitError
			if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, consensus.ErrDamaged) || !errors.As(err, &exit) || exit.Code != consensus.ExitDiskFull {
				t.Errorf("at the start: %v", err)
			}

			kept = newKeptStore()
			failed := make(chan int, 10)
			r := start(t, consensus.Leading, false, func(c *Config) {
				c.OpenStorage = kept.open
				c.Fail = func(code int, _ error) { failed <- code }
			})
			r.m.setRole(consensus.Looking)
			r.m.wait(func() {
				full(kept)
				err = r.n.Restore(snap.Zxid(), bytes.NewReader(stream.Bytes()))
			})
			if !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("of the leader: %v", err)
			}
			select {
			case code := <-failed:
				if code != consensus.ExitDiskFull {
					t.Errorf("of the leader: exit code %d", code)
				}
			default:
				t.Error("of the leader: it goes on")
			}
		})
	}
}
