package member

import (
	"log/slog"
	"sync"
	"time"

	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A Gauge knows how full the disks are, before a write finds out: a write that failed ends
// the process, and one that was not begun does not.
//
// Below the reserve the disk is low: there is time to do something about it. With an
// eighth of the reserve left it is full, and nothing more is written.
type Gauge struct {
	fs      vfs.FS
	dirs    []string
	reserve int64 // 0: it does not look
	log     *slog.Logger
	m       Meter
	// Changed is told of each change, in order. It must not wait.
	Changed func(Disk)

	mu     sync.Mutex
	state  consensus.Disk
	need   int64 // bytes that wait to be written
	failed bool
}

// Disk is how full the disk is.
type Disk uint8

// The levels.
const (
	DiskOK Disk = iota
	DiskLow
	DiskFull
)

// How often it looks: often enough that a disk does not fill up in between, as far as
// it is this server that fills it; what others write to it nobody can foresee.
const (
	lookEvery     = 500 * time.Millisecond
	lookEveryFull = 100 * time.Millisecond
)

// NewGauge makes one for the disks of cfg. Without a reserve, in bytes, it does not look.
func NewGauge(fsys vfs.FS, cfg consensus.Config, reserve int64) *Gauge {
	g := &Gauge{fs: fsys, dirs: []string{cfg.LogDir}, reserve: reserve, log: cfg.Log, m: Meter{cfg.Metrics}}
	if cfg.DataDir != cfg.LogDir {
		g.dirs = append(g.dirs, cfg.DataDir)
	}
	return g
}

// room says whether n bytes may be written now. If not, the gauge looks from time to
// time, and tells when they may.
func (g *Gauge) room(n int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.need = n
	g.look()
	if !g.state.Full {
		g.need = 0
	}
	return !g.state.Full
}

// Measure looks how full the disks are now.
func (g *Gauge) Measure() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.look()
}

// look does it. mu is held.
func (g *Gauge) look() {
	if g.reserve <= 0 {
		return
	}
	was := g.state
	free, reserve := int64(-1), g.reserve
	for _, dir := range g.dirs {
		u, err := g.fs.Usage(dir)
		if err != nil {
			if !g.failed {
				g.failed = true
				g.log.Warn("how full the disk is can't be found out: nothing is done about it in time", "dir", dir, "error", err)
			}
			return
		}
		// A small disk has a small reserve.
		if r := min(g.reserve, u.Total/4); free < 0 || u.Free-r < free-reserve {
			free, reserve = u.Free, r
		}
	}
	g.failed = false
	least, low := reserve/8, reserve
	if was.Full {
		least *= 2 // not to and fro
	}
	if was.Low {
		low += reserve / 8
	}
	s := consensus.Disk{Free: free, Reserve: reserve, Low: free < low, Full: free-g.need < least}
	s.Low = s.Low || s.Full
	g.state = s
	if s.Low == was.Low && s.Full == was.Full {
		return
	}
	mb := func(n int64) int64 { return n >> 20 }
	level := DiskOK
	switch {
	case s.Full:
		level = DiskFull
		g.m.Add("zkcore_disk_full_count", 1)
		g.log.Error("the disk is full: nothing is written or acknowledged until there is space", "dirs", g.dirs, "freeMB", mb(free), "reserveMB", mb(reserve))
	case s.Low:
		level = DiskLow
		g.m.Add("zkcore_disk_low_count", 1)
		g.log.Error("the disk is nearly full: make space", "dirs", g.dirs, "freeMB", mb(free), "reserveMB", mb(reserve))
	default:
		g.log.Warn("the disk has space again", "dirs", g.dirs, "freeMB", mb(free), "reserveMB", mb(reserve))
	}
	if g.Changed != nil {
		g.Changed(level)
	}
}

// Picture is what it saw last.
func (g *Gauge) Picture() consensus.Disk {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state
}

// Watch looks until done.
func (g *Gauge) Watch(done <-chan struct{}) {
	if g.reserve <= 0 {
		return
	}
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-done:
			return
		}
		g.Measure()
		if g.Picture().Full {
			t.Reset(lookEveryFull)
		} else {
			t.Reset(lookEvery)
		}
	}
}
