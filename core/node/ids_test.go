package node

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A wallWorld has a wall clock of its own.
type wallWorld struct {
	*realWorld
	ms int64
}

func (w wallWorld) WallMS() int64 { return w.ms }

// TestIDsAreNotGivenTwice: not when the wall clock goes back over a restart, though the
// sessions are closed and in no snapshot.
func TestIDsAreNotGivenTwice(t *testing.T) {
	dir := t.TempDir()
	var before int64
	seen := map[int64]bool{}
	for i, ms := range []int64{1_800_000_000_000, 1_800_000_000_000, 1_700_000_000_000, 1_800_000_000_001, 1_900_000_000_000} {
		r := start(t, consensus.Leading, false, func(c *Config) {
			c.DataDir, c.World = dir, wallWorld{newWorld(), ms}
		})
		for range 3 {
			p := r.connect()
			if seen[p.session] {
				t.Fatalf("start %d: session 0x%x is given twice", i, p.session)
			}
			if p.session <= before {
				t.Errorf("start %d: session 0x%x comes after 0x%x", i, p.session, before)
			}
			seen[p.session], before = true, p.session
			p.must(proto.OpCloseSession, nil)
			p.ended()
		}
		if err := r.n.Close(); err != nil {
			t.Fatal(err)
		}
		// What the log or a snapshot might tell is not there.
		names, err := vfs.OS.ReadDir(filepath.Join(dir, "version-2"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if name != idsFile {
				if err := vfs.OS.Remove(filepath.Join(dir, "version-2", name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if want := int64(1)<<56 | 1_900_000_000_000<<24>>8&(1<<56-1); before < want {
		t.Errorf("with the clock ahead again the ids do not follow it: 0x%x, want 0x%x", before, want)
	}
}

// TestIDsFollowTheLog: on a new disk there is no file of ids; what the ensemble's own txns
// say of the time holds.
func TestIDsFollowTheLog(t *testing.T) {
	_, txns := leadersTxns(t, 5)
	r := start(t, consensus.Looking, true, func(c *Config) { c.World = wallWorld{newWorld(), 1000} })
	last := txns[len(txns)-1]
	last.Data = last.Data[:len(last.Data)-12] // its digest is that of another tree
	r.m.wait(func() { r.n.Deliver([]consensus.Txn{last}) })
	r.m.setRole(consensus.Following)
	r.until("serving", r.n.Serving)
	r.until("ids are reserved", func() bool {
		r.n.clientsMu.Lock()
		defer r.n.clientsMu.Unlock()
		return r.n.ids.Left() > 0
	})
	p := r.dial()
	p.sendConnect(&proto.ConnectRequest{TimeoutMS: sessionMS, Passwd: make([]byte, 16)})
	r.until("the client is known", func() bool {
		r.n.clientsMu.Lock()
		defer r.n.clientsMu.Unlock()
		return len(r.n.sessions) == 1
	})
	r.n.clientsMu.Lock()
	defer r.n.clientsMu.Unlock()
	for id := range r.n.sessions {
		if ms := id & (1<<56 - 1) >> 16; ms < 1_600_000_000_000&(1<<40-1) {
			t.Errorf("session 0x%x is numbered by a clock that went back", id)
		}
	}
}

// TestIDsAreReservedInTime: before the last one is given.
func TestIDsAreReservedInTime(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	r.connect()
	r.n.clientsMu.Lock()
	r.n.ids.Saw(r.n.ids.After(idsAhead * 3 / 4))
	r.n.clientsMu.Unlock()
	r.connect()
	r.until("more are reserved", func() bool {
		r.n.clientsMu.Lock()
		defer r.n.clientsMu.Unlock()
		return r.n.ids.Left() > idsAhead*3/4
	})
}

// TestLostIDs: where the file of ids is lost, what the state knows of earlier lives is no
// more than a part of what they gave: the rest may be ids of closed sessions. That does not
// change before the server has served, however often it starts.
func TestLostIDs(t *testing.T) {
	for _, tc := range []struct {
		name   string
		open   bool // a session is, when the disk is lost
		starts int  // in vain
	}{{"some are open", true, 0}, {"all are closed", false, 0}, {"a start in between", false, 1}} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "version-2", idsFile)
			world := func(c *Config) { c.DataDir, c.World = dir, wallWorld{newWorld(), 1_800_000_000_000} }
			r := start(t, consensus.Leading, false, world)
			if tc.open {
				r.connect()
			}
			closed := r.connect()
			closed.must(proto.OpCloseSession, nil)
			closed.ended()
			if _, err := r.n.pinAndWrite(); err != nil {
				t.Fatal(err)
			}
			if err := r.n.Close(); err != nil {
				t.Fatal(err)
			}
			if err := vfs.OS.Remove(file); err != nil {
				t.Fatal(err)
			}
			for range tc.starts {
				r := start(t, consensus.Looking, false, world)
				if err := r.n.Close(); err != nil {
					t.Fatal(err)
				}
				if b, err := vfs.ReadFile(vfs.OS, file, 64); err != nil || !strings.Contains(string(b), lostIDs) {
					t.Errorf("it has not served, and the file of ids says %q, %v", b, err)
				}
			}
			r = start(t, consensus.Leading, false, world)
			r.until("ids are reserved", func() bool {
				r.n.clientsMu.Lock()
				defer r.n.clientsMu.Unlock()
				return r.n.ids.Left() > 0 && !r.n.reserving
			})
			if p := r.connect(); p.session <= closed.session {
				t.Errorf("session 0x%x comes after 0x%x, which is closed", p.session, closed.session)
			}
			if b, err := vfs.ReadFile(vfs.OS, file, 64); err != nil || strings.Contains(string(b), lostIDs) {
				t.Errorf("it serves, and the file of ids says %q, %v", b, err)
			}
		})
	}
}

// pinAndWrite writes a snapshot of the present state.
func (n *Node) pinAndWrite() (txnlog.SnapshotFile, error) {
	view, zxid := n.pin()
	defer view.Release()
	return n.write(view, zxid)
}
