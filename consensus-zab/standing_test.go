package zab

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/consensus-zab/protocol"
	"github.com/zkcore/zkcore/core/member"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/consensus/consensustest"
)

// logFiles are the files of a server's log, oldest first.
func logFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "version-2", "log.*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no log in %s: %v", dir, err)
	}
	slices.Sort(files)
	return files
}

// spoil flips a bit in the middle of what a file holds.
func spoil(t *testing.T, name string) {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(strings.TrimRight(string(raw), "\x00"))/2] ^= 0x40
	if err := os.WriteFile(name, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A disk that was replaced gives no vote: a server that lost what it had acked can't help
// others to forget it.
func TestReplacedDiskGivesNoVote(t *testing.T) {
	c := consensustest.NewCluster(t, Open, 3, 0)
	c.Options["preAllocSize"] = "64"
	c.StartAll()
	c.Agree(c.Write(5))
	// Server 3 misses what 1 and 2 write.
	c.Stop(3)
	z := c.Write(5)
	c.Agree(z)
	// The disk of 2 is replaced while 1 is down: 3 has nothing but the old.
	c.Stop(1)
	c.Stop(2)
	if err := os.RemoveAll(c.Dir(2)); err != nil {
		t.Fatal(err)
	}
	c.Start(2)
	c.Start(3)
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, id := range []consensus.ServerID{2, 3} {
			if s := c.Nodes[id].State(); s.Role.State != consensus.Looking {
				t.Fatalf("server %d is %v at %v, and %v was acknowledged", id, s.Role.State, s.Last, z)
			}
		}
	}
	// A restart in between changes nothing.
	c.Stop(2)
	c.Start(2)
	c.Start(1)
	c.Agree(z)
	if s := c.Nodes[2].State(); s.Count != 10 {
		t.Errorf("server 2 has %d txns, want 10", s.Count)
	}
	// Now it has a vote again.
	c.Stop(1)
	c.Agree(c.Write(1))
}

// One server with data becomes an ensemble with new members: when all are there.
func TestDataAndNewServers(t *testing.T) {
	c := consensustest.NewCluster(t, Open, 3, 0)
	c.StartAll()
	z := c.Write(5)
	c.Agree(z)
	for _, id := range []consensus.ServerID{1, 2, 3} {
		c.Stop(id)
		if id == 1 {
			// As a standalone server leaves it.
			for _, name := range []string{"acceptedEpoch", "currentEpoch"} {
				if err := os.Remove(filepath.Join(c.Dir(1), "version-2", name)); err != nil {
					t.Fatal(err)
				}
			}
			continue
		}
		if err := os.RemoveAll(c.Dir(id)); err != nil {
			t.Fatal(err)
		}
	}
	c.StartAll()
	c.Agree(z)
	c.Agree(c.Write(1))
}

// The file initialize says that a server is new: the others need not be there.
func TestInitialize(t *testing.T) {
	c := consensustest.NewCluster(t, Open, 3, 0)
	for _, id := range []consensus.ServerID{1, 2} {
		if err := os.MkdirAll(c.Dir(id), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.Dir(id), "initialize"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		c.Start(id)
	}
	c.Agree(c.Write(3))
	if _, err := os.Stat(filepath.Join(c.Dir(1), "initialize")); !os.IsNotExist(err) {
		t.Errorf("initialize is still there: %v", err)
	}
}

// Damage in a log costs a member its vote until it has got everything anew, and nothing
// of what was there is deleted.
func TestDamageIsSetAside(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(t *testing.T, dir string)
	}{
		{"a record", func(t *testing.T, dir string) { spoil(t, logFiles(t, dir)[0]) }},
		{"a missing file", func(t *testing.T, dir string) {
			if err := os.Remove(logFiles(t, dir)[1]); err != nil {
				t.Fatal(err)
			}
		}},
		{"an epoch", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "version-2", "acceptedEpoch"), []byte("?"), 0o644); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := consensustest.NewCluster(t, Open, 3, 0)
			c.StartAll()
			for range 3 {
				// Each leader begins a file.
				c.Agree(c.Write(20))
				id := c.Leader()
				c.Stop(id)
				c.Leader()
				c.Start(id)
			}
			z := c.Write(20)
			c.Agree(z)
			leader := c.Leader()
			id := leader%3 + 1
			c.Stop(id)
			before, err := os.ReadFile(logFiles(t, c.Dir(id))[0])
			if err != nil {
				t.Fatal(err)
			}
			tc.do(t, c.Dir(id))
			c.Start(id)
			c.Agree(z)
			s := c.Nodes[id].State()
			if s.Aside != 1 || s.Restores == 0 {
				t.Errorf("set aside %d times, %d snapshots came", s.Aside, s.Restores)
			}
			aside, err := filepath.Glob(filepath.Join(c.Dir(id), "damaged.1", "log.*"))
			if err != nil || len(aside) == 0 {
				t.Fatalf("no log is set aside: %v", err)
			}
			if after, err := os.ReadFile(aside[0]); err != nil || len(after) != len(before) {
				t.Errorf("%s has %d bytes, %d before: %v", aside[0], len(after), len(before), err)
			}
			// With the other one gone it is needed, and has a vote.
			c.Agree(c.Write(1))
			c.Stop((leader+1)%3 + 1)
			c.Agree(c.Write(1))
		})
	}
}

// Who lost its data waits for others as long as it takes, also over restarts, and alone
// makes no ensemble with servers like itself.
func TestLostServersMakeNoEnsemble(t *testing.T) {
	c := consensustest.NewCluster(t, Open, 3, 0)
	c.StartAll()
	c.Agree(c.Write(50))
	for _, id := range c.IDs() {
		c.Stop(id)
		spoil(t, logFiles(t, c.Dir(id))[0])
	}
	for range 2 {
		c.StartAll()
		for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			for _, id := range c.IDs() {
				if s := c.Nodes[id].State(); s.Role.State != consensus.Looking {
					t.Fatalf("server %d is %v with nothing", id, s.Role.State)
				}
			}
		}
		for _, id := range c.IDs() {
			c.Stop(id)
		}
	}
	// The operator takes what one of them had, and says that the rest may be new.
	for _, id := range c.IDs() {
		if err := os.RemoveAll(filepath.Join(c.Dir(id), "version-2")); err != nil {
			t.Fatal(err)
		}
	}
	c.StartAll()
	c.Agree(c.Write(1))
}

// Alone there is nobody to get the data from: the server refuses, and says where the
// damage is.
func TestDamageStandalone(t *testing.T) {
	c := consensustest.NewCluster(t, Open, 0, 0)
	c.Start(1)
	c.Write(50)
	c.Stop(1)
	name := logFiles(t, c.Dir(1))[0]
	spoil(t, name)
	err := c.TryStart(1)
	coded, ok := err.(interface{ ExitCode() int })
	if !ok || coded.ExitCode() != consensus.ExitDamage {
		t.Fatalf("%v, want exit code %d", err, consensus.ExitDamage)
	}
	if text := err.Error(); !strings.Contains(text, filepath.Base(name)) || !strings.Contains(text, "offset") {
		t.Errorf("%q names no file or no offset", text)
	}
}

// TestSetAsideEndsAnywhere: an epoch file can't be read, and the power fails while what is there is set aside. The rest of the
// data would do for a vote, and it would be one of an epoch before those that this server promised and joined.
func TestSetAsideEndsAnywhere(t *testing.T) {
	open := func(fsys vfs.FS) (protocol.Standing, error) {
		s := &stepped{}
		s.node = &tree{fs: fsys, s: s}
		cfg := crashConfig(s)
		cfg.Options = nil
		var err error
		if s.node.dirs, err = txnlog.OpenDirs(fsys, cfg.DataDir, cfg.LogDir, true); err != nil {
			return 0, err
		}
		o := parseOptions(cfg.Options, cfg.Log)
		st, err := openData(fsys, cfg, &o, s.node)
		if err != nil {
			return 0, err
		}
		defer st.log.Close()
		return standing(fsys, cfg, &o, st)
	}
	for _, damaged := range []string{txnlog.AcceptedEpoch, txnlog.CurrentEpoch} {
		for stop := 0; ; stop++ {
			m := newDisk(t)
			dir := member.Version2(crashLogDir)
			if err := m.MkdirAll(dir); err != nil {
				t.Fatal(err)
			}
			l, _, err := txnlog.OpenLog(m, dir, txnlog.Options{List: dir + "/" + listFile})
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Append([]consensus.Txn{txnOf(consensus.MakeZxid(1, 1)), txnOf(consensus.MakeZxid(1, 2))}); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Sync(); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			for name, e := range map[string]int64{txnlog.AcceptedEpoch: 4, txnlog.CurrentEpoch: 3} {
				if err := txnlog.WriteEpoch(m, dir, name, e); err != nil {
					t.Fatal(err)
				}
			}
			if err := vfs.WriteFile(m, dir, dir+"/damage.tmp", dir+"/"+damaged, []byte("?")); err != nil {
				t.Fatal(err)
			}
			m.StopAt(m.Ops() + stop)
			_, ended := open(m)
			for seed, loss := range []vfs.Loss{vfs.LoseAll, vfs.LoseNone, vfs.LoseSome, vfs.LoseSome, vfs.LoseSome} {
				if worth, err := open(m.Crash(loss, uint64(seed))); err != nil || worth != protocol.Lost {
					t.Fatalf("%s is damaged, and the power fails at operation %d: the next start says %v, %v, want %v",
						damaged, stop, worth, err, protocol.Lost)
				}
			}
			if ended == nil {
				if stop < 10 {
					t.Fatalf("only %d operations", stop)
				}
				break
			}
		}
	}
}

// A recovered is a node whose state is at a zxid.
type recovered struct {
	consensus.Node
	at consensus.Zxid
}

func (r recovered) Recover(consensus.Zxid) (consensus.Zxid, error) { return r.at, nil }

// TestOlderSnapshotAndLaterEpoch: a leader's snapshot can't be read any more, and the log begins behind it, with an epoch: that shows
// no hole above an older snapshot, and there is one.
func TestOlderSnapshotAndLaterEpoch(t *testing.T) {
	e1, e2 := consensus.MakeZxid(1, 0), consensus.MakeZxid(2, 0)
	for _, tc := range []struct {
		state, begins, newest consensus.Zxid
		whole                 bool
	}{
		{e1 + 50, e2 + 1, e1 + 100, false},
		{0, e2 + 1, e1 + 100, false},
		{e1 + 50, e2 + 1, e1 + 50, true}, // nothing says that the epoch went on
		{e1 + 50, e1 + 1, e1 + 100, true},
		{0, e1 + 1, e1 + 100, true},
		{0, 1, 100, true},
	} {
		fsys := vfs.NewMem()
		s := &stepped{}
		cfg := crashConfig(s)
		if _, err := txnlog.OpenDirs(fsys, cfg.DataDir, cfg.LogDir, true); err != nil {
			t.Fatal(err)
		}
		l, _, err := txnlog.OpenLog(fsys, "/data/version-2", txnlog.Options{From: tc.begins - 1})
		if err != nil {
			t.Fatal(err)
		}
		for z := tc.begins; z <= tc.begins+120; z++ {
			if err := l.Append([]consensus.Txn{txnOf(z)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		name := "/data/version-2/" + txnlog.SnapshotName(tc.newest)
		if err := vfs.WriteFile(fsys, "/data/version-2", name+".tmp", name, []byte("nobody can read this")); err != nil {
			t.Fatal(err)
		}
		o := parseOptions(cfg.Options, cfg.Log)
		if _, err := openStore(fsys, cfg, &o, recovered{at: tc.state}); tc.whole && err != nil || !tc.whole && !errors.Is(err, consensus.ErrDamaged) {
			t.Errorf("the state is at %v, a snapshot of %v can't be read, and the log begins with %v: %v", tc.state, tc.newest, tc.begins, err)
		}
	}
}
