package sim

import (
	"bytes"
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"

	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// A disk is a machine's: a file system in memory that knows what of it would survive a power
// cut, and that fails when it is told to.
type disk struct {
	vfs.FS
	m   *machine
	mem *vfs.Mem

	failed bool  // the power is off
	left   int   // operations until it is; negative: it stays
	sync   error // what syncs fail with
	write  error // what writes fail with
	struck bool  // an error was returned to this process
	slow   int64 // how long a sync takes, beside the rest
	once   bool  // only the next sync fails
	rotten bool  // bits of it have changed
	filled bool  // by something else
	fills  int   // how often that began
	full   bool  // it was while this process ran
}

func (d *disk) init(m *machine) {
	d.m = m
	d.mem = vfs.NewMem()
	d.left = -1
	d.FS = vfs.NewErrors(d.mem, d.check)
}

// boot is called when a process begins.
func (d *disk) boot() {
	d.failed, d.left, d.struck = false, -1, false
	d.full = d.filled
	d.mem.EndProcess()
	d.sync, d.write = nil, nil
	d.FS = vfs.NewErrors(d.mem, d.check)
}

// crash is a power cut.
func (d *disk) crash() {
	seed := d.m.w.diskRand.Uint64()
	loss := []vfs.Loss{vfs.LoseAll, vfs.LoseSome, vfs.LoseSome, vfs.LoseNone}[seed%4]
	d.m.w.logf(d.m, "power off, loss %d", loss)
	d.mem = d.mem.Crash(loss, seed)
	d.failed = false
}

// kept is a copy of what is synced.
func (d *disk) kept() *vfs.Mem { return d.mem.Crash(vfs.LoseAll, 0) }

// replace puts an empty disk in the place of this one.
func (d *disk) replace() {
	d.m.shelf.replace()
	d.mem = vfs.NewMem()
	d.rotten, d.filled = false, false
	d.FS = vfs.NewErrors(d.mem, d.check)
}

// fill lets something else leave only so many bytes free.
func (d *disk) fill(free int64) {
	u, _ := d.mem.Usage(dataDir) // a Mem always knows
	d.mem.SetCapacity(u.Total - u.Free + free)
	d.filled, d.full = true, true
	d.fills++
}

// clear takes away what fills the disk.
func (d *disk) clear() {
	if d.filled {
		d.filled = false
		d.mem.SetCapacity(1 << 40)
	}
}

// Usage is that of a disk of the size that the plan has.
func (d *disk) Usage(dir string) (vfs.Usage, error) {
	u, err := d.FS.Usage(dir)
	if size := d.m.w.plan.diskMB << 20; size > 0 {
		u.Total, u.Free = size, min(u.Free, size/4*3)
	}
	return u, err
}

// check says whether an operation fails.
func (d *disk) check(op vfs.Op) error {
	if d.failed {
		return errPower
	}
	if d.left >= 0 && changes(op.Kind) {
		if d.left--; d.left < 0 {
			d.failed = true
			d.m.w.logf(d.m, "the power fails before %s %s", op.Kind, op.Name)
			return errPower
		}
	}
	switch {
	case d.sync != nil && strings.HasPrefix(op.Kind, "sync"), d.write != nil && (op.Kind == "write" || op.Kind == "preallocate" || op.Kind == "create"):
		err := d.sync
		if err == nil {
			err = d.write
		}
		d.struck = true
		if d.once {
			d.sync, d.once = nil, false
		}
		d.m.w.logf(d.m, "%s %s: %v", op.Kind, op.Name, err)
		return err
	}
	return nil
}

// changes says whether an operation changes the disk or makes changes durable.
func changes(kind string) bool {
	switch kind {
	case "open", "read", "readdir", "stat", "lock", "usage", "size", "close":
		return false
	}
	return true
}

// rot changes a bit in a record of a file of the log, one that was synced long ago, and
// reports whether there is one.
func (d *disk) rot(r *rand.Rand) bool {
	names, err := d.mem.ReadDir(dataDir)
	if err != nil {
		return false
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, "log.") })
	if len(names) == 0 {
		return false
	}
	// The last file by its zxid, most often: the others may not be needed any more.
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) })
	name := dataDir + "/" + names[len(names)-1]
	if r.IntN(4) == 0 {
		name = dataDir + "/" + names[r.IntN(len(names))]
	}
	f, err := d.mem.OpenWrite(name)
	if err != nil {
		return false
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return false
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		return false
	}
	// Behind the header, and before the last writes: of those it can't be told whether they
	// were finished.
	b = bytes.TrimRight(b, "\x00")
	if len(b) < 4000 {
		return false
	}
	at := int64(16 + r.IntN(len(b)/2-16))
	bit := b[at] ^ 1<<r.IntN(8)
	if _, err := f.WriteAt([]byte{bit}, at); err != nil {
		return false
	}
	if err := f.Sync(); err != nil {
		return false
	}
	d.rotten = true
	d.m.w.logf(d.m, "a bit of %s changes at offset %d", name, at)
	return true
}

func (d *disk) powerFailed() bool { return d.failed }

// excuses says whether the disk has given reason for a process to end with err.
func (d *disk) excuses(err error) bool {
	if d.rotten && errors.Is(err, consensus.ErrDamaged) {
		return true // met while it runs; the next start sets the data aside
	}
	if d.m.shelf.harm && errors.Is(err, storage.ErrDamaged) {
		return true // the next start makes its store anew
	}
	return d.struck && errors.Is(err, syscall.EIO) || d.full && errors.Is(err, syscall.ENOSPC)
}

// took is how long writing and syncing what waits takes.
func (d *disk) took() int64 {
	r := d.m.w.diskRand
	t := 100*us + r.Int64N(400*us)
	if r.IntN(100) == 0 {
		t += r.Int64N(20 * ms)
	}
	return t + d.slow
}

// synced is the disk as it would be found after a power cut that loses all it can.
func (d *disk) synced() *vfs.Mem { return d.mem.Synced() }
