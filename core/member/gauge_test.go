package member

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A limitedDisk is a disk that says what a test wants of its space.
type limitedDisk struct {
	vfs.FS
	free atomic.Int64
}

func (d *limitedDisk) Usage(string) (vfs.Usage, error) {
	return vfs.Usage{Total: 1 << 40, Free: d.free.Load()}, nil
}

const mb = 1 << 20

// What the log says of a full disk is one line for each change.
func TestGauge(t *testing.T) {
	var b strings.Builder
	disk := &limitedDisk{FS: vfs.NewMem()}
	g := &Gauge{fs: disk, dirs: []string{"/d"}, reserve: 64 * mb, log: slog.New(slog.NewTextHandler(&b, nil))}
	for _, tc := range []struct {
		free, need int64
		room       bool
		lines      int
	}{
		{100 * mb, 1, true, 0}, {65 * mb, 1, true, 0}, {63 * mb, 1, true, 1}, {62 * mb, 1, true, 1}, {70 * mb, 1, true, 1},
		{73 * mb, 1, true, 2}, {10 * mb, 3 * mb, false, 3}, {10 * mb, 1, false, 3}, {17 * mb, 1, true, 4}, {7 * mb, 0, false, 5}, {1000 * mb, 1, true, 6},
	} {
		disk.free.Store(tc.free)
		if got := g.room(tc.need); got != tc.room {
			t.Errorf("%d MB free, %d needed: room %v", tc.free>>20, tc.need, got)
		}
		if n := strings.Count(b.String(), "\n"); n != tc.lines {
			t.Errorf("%d MB free: %d lines, want %d:\n%s", tc.free>>20, n, tc.lines, b.String())
		}
	}
}

// Many small jobs need little space: what a file grows ahead of them is not counted for each.
// (A server that waited with a few hundred of them never had enough again on a small disk.)
func TestManyJobsNeedLittle(t *testing.T) {
	d := &limitedDisk{FS: vfs.OS}
	d.free.Store(20 * mb)
	dir := t.TempDir()
	g := NewGauge(d, consensus.Config{LogDir: dir, DataDir: dir, Log: slog.New(slog.DiscardHandler)}, 64*mb)
	j := NewJournal(nil, g, 0, nil, nil, Meter{})
	jobs := make([]job, 500)
	for i := range jobs {
		jobs[i].txns = []consensus.Txn{{Zxid: consensus.MakeZxid(1, uint32(i+1)), Data: make([]byte, 100)}}
	}
	if !j.fits(jobs) {
		t.Error("50 kB in 500 jobs don't fit into 20 MB")
	}
	jobs[0].txns[0].Data = make([]byte, 15*mb)
	if j.fits(jobs) {
		t.Error("15 MB fit into 20 MB less the reserve")
	}
}
