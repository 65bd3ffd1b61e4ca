package zab

import (
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/consensus/consensustest"
)

// A limited is a real disk that says what a test wants of its space.
type limitedDisk struct {
	vfs.FS
	free atomic.Int64
}

func (d *limitedDisk) Usage(string) (vfs.Usage, error) {
	return vfs.Usage{Total: 1 << 40, Free: d.free.Load()}, nil
}

const mb = 1 << 20

// disks are those of the members that are opened with open.
type disks struct {
	mu sync.Mutex
	of map[consensus.ServerID]*limitedDisk
}

func (d *disks) open(cfg consensus.Config, n consensus.Node) (consensus.Member, error) {
	disk := &limitedDisk{FS: vfs.OS}
	disk.free.Store(1000 * mb)
	d.mu.Lock()
	d.of[cfg.ID] = disk
	d.mu.Unlock()
	return OpenFS(disk)(cfg, n)
}

func (d *disks) set(id consensus.ServerID, free int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.of[id].free.Store(free)
}

// A server whose disk is full acknowledges nothing and leaves the quorum; it comes back by
// itself.
func TestDiskFull(t *testing.T) {
	d := &disks{of: map[consensus.ServerID]*limitedDisk{}}
	c := consensustest.NewCluster(t, d.open, 3, 0)
	c.StartAll()
	z := c.Write(10)
	c.Agree(z)
	// The leader first, then all.
	leader := c.Leader()
	d.set(leader, 1*mb)
	c.Wait("the full leader leaves", func() bool { return c.Nodes[leader].State().Role.State == consensus.Looking })
	// What Status shows may be some milliseconds old.
	c.Wait("its status says why", func() bool { return c.Members[leader].Status().Disk.Full })
	if s := c.Members[leader].Status().Disk; !s.Low || s.Free != 1*mb || s.Reserve != 64*mb {
		t.Errorf("status %+v", s)
	}
	var other consensus.ServerID
	c.Wait("another leads", func() bool {
		for id, n := range c.Nodes {
			if id != leader && n.State().Role.State == consensus.Leading {
				other = id
				return true
			}
		}
		return false
	})
	var z2 consensus.Zxid
	c.Wait("a write", func() bool {
		var err error
		z2, err = c.Nodes[other].Propose(5, 1, 1, 100)
		return err == nil
	})
	c.Delivered(other, z2)
	if s := c.Nodes[leader].State(); s.Role.State != consensus.Looking || s.Last > z {
		t.Errorf("the full one is %v at %v", s.Role.State, s.Last)
	}
	for _, id := range c.IDs() {
		d.set(id, 2*mb)
	}
	c.Wait("nobody leads", func() bool {
		for _, n := range c.Nodes {
			if n.State().Role.State != consensus.Looking {
				return false
			}
		}
		return true
	})
	for _, id := range c.IDs() {
		d.set(id, 500*mb)
	}
	c.Agree(c.Write(1))
}

// A leader whose disk is nearly full lets another one lead, and leads if it has to.
func TestDiskNearlyFull(t *testing.T) {
	d := &disks{of: map[consensus.ServerID]*limitedDisk{}}
	c := consensustest.NewCluster(t, d.open, 3, 0)
	c.StartAll()
	z := c.Write(10)
	leader := c.Leader()
	d.set(leader, 60*mb)
	c.Wait("another leads, and it follows", func() bool {
		r := c.Nodes[leader].State().Role
		return r.State == consensus.Following && r.Leader != leader
	})
	c.Agree(z)
	c.Agree(c.Write(5))
	// With one of the others gone the one with the higher id leads, full disk or not.
	other := c.Leader()
	c.Stop(other)
	c.Agree(c.Write(5))
}

// A standalone server waits for space, and what it was given is answered then.
func TestDiskFullStandalone(t *testing.T) {
	d := &disks{of: map[consensus.ServerID]*limitedDisk{}}
	c := consensustest.NewCluster(t, d.open, 0, 0)
	c.Start(1)
	z := c.Write(3)
	d.set(1, 1*mb)
	c.Wait("full", func() bool { return c.Members[1].Status().Disk.Full })
	n := c.Nodes[1]
	z2, err := n.Propose(3, 1, 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	if s := n.State(); s.Last != z {
		t.Fatalf("%v is delivered, and the disk is full", s.Last)
	}
	// 12 MB are more than an eighth of 64, but not enough to stop the to and fro.
	d.set(1, 12*mb)
	time.Sleep(500 * time.Millisecond)
	if !c.Members[1].Status().Disk.Full {
		t.Error("it is no longer full with a little space")
	}
	d.set(1, 30*mb)
	c.Delivered(1, z2)
	if s := c.Members[1].Status().Disk; s.Full || !s.Low {
		t.Errorf("status %+v", s)
	}
	// It can be closed while it waits.
	d.set(1, 1*mb)
	c.Wait("full again", func() bool { return c.Members[1].Status().Disk.Full })
	if _, err := n.Propose(3, 1, 1, 100); err != nil {
		t.Fatal(err)
	}
	c.Stop(1)
	d.set(1, 500*mb)
	c.Start(1)
	c.Delivered(1, z2)
	c.Write(1)
}

// A write that fails ends the process with a code that tells why.
func TestExitCodes(t *testing.T) {
	for _, tc := range []struct {
		err  error
		code int
	}{{syscall.ENOSPC, consensus.ExitDiskFull}, {syscall.EIO, consensus.ExitDisk}} {
		mem := vfs.NewMem()
		var on atomic.Bool
		fs := vfs.NewErrors(mem, func(op vfs.Op) error {
			if on.Load() && (op.Kind == "write" || op.Kind == "writeat" || op.Kind == "preallocate" || op.Kind == "sync") {
				return tc.err
			}
			return nil
		})
		code := make(chan int, 8)
		a := &alone{}
		m, err := OpenFS(fs)(consensus.Config{ID: 1, DataDir: "/d", LogDir: "/d", Tick: time.Second, Log: quiet(),
			Fail: func(n int, _ error) { code <- n }}, a)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "leading", a.leads)
		on.Store(true)
		r, _, _ := a.view()
		if err := m.Propose(r.Term, []consensus.Txn{consensustest.MakeTxn(1, 1, 1, 10)}); err != nil {
			t.Fatal(err)
		}
		if n := <-code; n != tc.code {
			t.Errorf("%v: exit code %d, want %d", tc.err, n, tc.code)
		}
		on.Store(false)
		m.Close()
	}
}
