package zab

import (
	"errors"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/zkcore/zkcore/core/member"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/consensus/consensustest"
)

// A smallDisk is one of 64 MB, on which there is as much space as on the Mem, unless somebody
// is about to fill it.
type smallDisk struct {
	*vfs.Mem
	hides atomic.Bool
}

func (d *smallDisk) Usage(dir string) (vfs.Usage, error) {
	u, err := d.Mem.Usage(dir)
	if d.hides.Load() {
		u.Free = 60 * mb
	}
	u.Total = 64 * mb
	return u, err
}

// leave leaves so many bytes free.
func (d *smallDisk) leave(free int64) {
	u, _ := d.Mem.Usage("/d")
	d.SetCapacity(u.Total - u.Free + free)
}

func proposeMany(t *testing.T, a *alone, from, to consensus.Zxid) {
	t.Helper()
	r, _, _ := a.view()
	for z := from; z <= to; z++ {
		if err := a.m.Propose(r.Term, []consensus.Txn{consensustest.MakeTxn(z, 1, 1, 2000)}); err != nil {
			t.Fatal(err)
		}
	}
}

// idle says that nothing is written any more: neither txns nor zeros ahead of them.
func (a *alone) idle() bool { return a.m.(*member.Standalone).Idle() }

func (a *alone) has(z consensus.Zxid) func() bool {
	return func() bool {
		_, given, _ := a.view()
		return len(given) > 0 && given[len(given)-1] == z
	}
}

// What is given to a member while its disk is full waits, however much it is: no write is
// begun that would fail, and all goes on when there is space.
func TestNoSpace(t *testing.T) {
	disk := &smallDisk{Mem: vfs.NewMem()}
	disk.leave(50 * mb)
	a, err := openAlone(disk)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "leading", a.leads)
	proposeMany(t, a, 1, 10)
	eventually(t, "the first txns", a.has(10))
	last := consensus.Zxid(10)
	for _, free := range []int64{mb, 0, 100 << 10} {
		eventually(t, "zeros", a.idle)
		disk.leave(free)
		eventually(t, "it is full", func() bool { return a.m.Status().Disk.Full })
		ops := disk.Ops()
		proposeMany(t, a, last+1, last+100)
		if _, given, failed := a.view(); failed != nil || given[len(given)-1] != last {
			t.Fatalf("with %d bytes free: %v is delivered after %v, error %v", free, given[len(given)-1], last, failed)
		}
		if n := disk.Ops(); n != ops {
			t.Errorf("with %d bytes free it writes", free)
		}
		disk.leave(50 * mb)
		last += 100
		eventually(t, "what waited", a.has(last))
	}
	if err := a.m.Close(); err != nil {
		t.Fatal(err)
	}
}

// Where the disk is filled between the look at it and the write, the write fails and the
// process ends. What it had acknowledged is there when it starts again with space.
func TestNoSpaceAfterAll(t *testing.T) {
	for _, free := range []int64{0, 1000, 5000, 70_000} {
		disk := &smallDisk{Mem: vfs.NewMem()}
		disk.leave(50 * mb)
		a, err := openAlone(disk)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "leading", a.leads)
		proposeMany(t, a, 1, 10)
		eventually(t, "the first txns", a.has(10))
		disk.hides.Store(true)
		disk.leave(free)
		proposeMany(t, a, 11, 200)
		eventually(t, "the end", func() bool { _, _, failed := a.view(); return failed != nil })
		_, before, failed := a.view()
		if !errors.Is(failed, syscall.ENOSPC) || member.ExitCode(failed) != consensus.ExitDiskFull {
			t.Fatalf("%d bytes free: it ends with %v", free, failed)
		}
		a.m.Close() // what is left to say was said
		disk.EndProcess()
		disk.hides.Store(false)
		disk.leave(50 * mb)

		b, err := openAlone(disk)
		if err != nil {
			t.Fatalf("%d bytes free: it does not start again: %v", free, err)
		}
		eventually(t, "leading again", b.leads)
		r, after, _ := b.view()
		if n := min(len(before), len(after)); n < len(before) || !slices.Equal(after[:n], before) {
			t.Fatalf("%d bytes free: %v were delivered, %v are there", free, before, after)
		}
		proposeMany(t, b, r.Last+1, r.Last+10)
		eventually(t, "more", b.has(r.Last+10))
		if err := b.m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
