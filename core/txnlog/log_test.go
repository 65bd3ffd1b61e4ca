package txnlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

func newMem(t testing.TB) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	must(t, m.MkdirAll("/d"))
	return m
}

func open(t testing.TB, fsys vfs.FS, o Options) (*Log, Recovery) {
	t.Helper()
	l, rec, err := OpenLog(fsys, "/d", o)
	must(t, err)
	return l, rec
}

func appendRange(t testing.TB, l *Log, from, to consensus.Zxid, size int) {
	t.Helper()
	var batch []consensus.Txn
	for z := from; z <= to; z++ {
		batch = append(batch, create(z, size))
	}
	must(t, l.Append(batch))
}

func syncLog(t testing.TB, l *Log) consensus.Zxid {
	t.Helper()
	z, err := l.Sync()
	must(t, err)
	return z
}

func logNames(t testing.TB, fsys vfs.FS) []string {
	t.Helper()
	names, err := fsys.ReadDir("/d")
	must(t, err)
	return names
}

func TestLogLife(t *testing.T) {
	for _, prealloc := range []int64{0, 1, 16, 256, 65536} {
		t.Run(fmt.Sprint(prealloc), func(t *testing.T) {
			m := newMem(t)
			l, rec := open(t, m, Options{PreAllocKB: prealloc})
			if rec.Last != 0 || l.Last() != 0 || l.First() != 0 || len(readAll(t, l, 0)) != 0 {
				t.Fatalf("new log: %+v", rec)
			}
			appendRange(t, l, 1, 10, 100)
			if l.Last() != 10 || l.Durable() != 0 {
				t.Fatalf("last %v, durable %v", l.Last(), l.Durable())
			}
			if z := syncLog(t, l); z != 10 || l.Durable() != 10 {
				t.Fatalf("synced %v", z)
			}
			for z := consensus.Zxid(11); z <= 300; z++ {
				appendRange(t, l, z, z, 1000)
				if z%3 == 0 {
					must(t, l.Preallocate())
				}
				syncLog(t, l)
			}
			l.Roll()
			appendRange(t, l, 301, 305, 5000)
			syncLog(t, l)
			e2 := consensus.MakeZxid(2, 1)
			appendRange(t, l, e2, e2+4, 0)
			if got := logNames(t, m); !slices.Equal(got, []string{"log.1", "log.12d"}) {
				t.Fatalf("files %v", got)
			}
			want := append(zrange(1, 305), zrange(e2, e2+4)...)
			if got := readAll(t, l, 0); !slices.Equal(got, want) {
				t.Fatalf("read %v", got)
			}
			must(t, l.Close())
			must(t, l.Close())
			if _, err := l.Sync(); !errors.Is(err, ErrClosed) {
				t.Fatalf("sync after close: %v", err)
			}

			l, rec = open(t, m.Crash(vfs.LoseAll, 0), Options{PreAllocKB: prealloc})
			if rec.Last != e2+4 || rec.Records != 310 || rec.Rewritten != 0 || rec.TornFile != "" {
				t.Fatalf("after close: %+v", rec)
			}
			if got := readAll(t, l, 0); !slices.Equal(got, want) {
				t.Fatalf("read %v", got)
			}
			if l.First() != 1 {
				t.Fatalf("first %v", l.First())
			}
		})
	}
}

func TestLogFrom(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, Options{})
	for z := consensus.Zxid(1); z <= 30; z += 10 {
		l.Roll()
		appendRange(t, l, z, z+9, 10)
	}
	must(t, l.Close())
	for from := consensus.Zxid(0); from <= 30; from++ {
		_, rec := open(t, m, Options{From: from})
		files := 3 - int(min(from, 29))/10
		if rec.Last != 30 || rec.Records != int(30-from) || rec.Files != files {
			t.Errorf("from %v: %+v", from, rec)
		}
	}
	// A snapshot beyond the log: the log goes on behind it.
	l, rec := open(t, m, Options{From: 40})
	if rec.Last != 40 || l.Last() != 40 {
		t.Fatalf("from 40: %+v", rec)
	}
	if err := l.Append([]consensus.Txn{create(31, 1)}); err == nil {
		t.Fatal("31 was appended to a log whose state is at 40")
	}
	appendRange(t, l, 41, 42, 1)
	must(t, l.Close())
	_, rec = open(t, m, Options{From: 40})
	if rec.Last != 42 || rec.Records != 2 {
		t.Fatalf("from 40 again: %+v", rec)
	}
	// From an older snapshot there is a hole now.
	var d *Damage
	if _, _, err := OpenLog(m, "/d", Options{From: 30}); !errors.As(err, &d) || d.File != "log.29" || d.Offset != headerSize {
		t.Fatalf("from 30: %v", err)
	}
}

// What the log lacks below a snapshot that was taken over must not be left out by who
// reads it later: behind the end of an epoch nothing would show that it is missing.
func TestLogEndsBelowFrom(t *testing.T) {
	e1, e2 := consensus.MakeZxid(1, 0), consensus.MakeZxid(2, 0)
	m := newMem(t)
	l, _ := open(t, m, Options{})
	for z := e1 + 1; z <= e1+30; z += 10 {
		l.Roll()
		appendRange(t, l, z, z+9, 10)
	}
	must(t, l.Close())
	before := logNames(t, m)
	if _, rec := open(t, m, Options{From: e1 + 30}); len(rec.Removed) != 0 {
		t.Fatalf("removed %v of a log that is whole", rec.Removed)
	}
	if _, rec := open(t, m, Options{From: e2}); len(rec.Removed) != 0 {
		t.Fatalf("removed %v below an epoch that has begun with nothing", rec.Removed)
	}
	// The first removal is interrupted: only the newest file is gone.
	must(t, m.Remove("/d/"+before[len(before)-1]))
	l, rec := open(t, m, Options{From: e1 + 50})
	if !slices.Equal(logNames(t, m), nil) || len(rec.Removed) != 2 || rec.Last != e1+50 {
		t.Fatalf("left %v: %+v", logNames(t, m), rec)
	}
	// A file was begun for what comes next, and the server died before that was written.
	m2 := newMem(t)
	l2, _ := open(t, m2, Options{})
	appendRange(t, l2, e1+1, e1+30, 10)
	must(t, l2.Close())
	put(t, m2, LogName(e1+31), appendMark(appendHeader(nil, markedDBID), e1+31, headerSize, headerSize))
	if _, rec := open(t, m2, Options{From: e1 + 50}); len(rec.Removed) != 2 || len(logNames(t, m2)) != 0 {
		t.Fatalf("left %v: %+v", logNames(t, m2), rec)
	}
	// The file before the one that is read ends too early, or where it should.
	for last, removed := range map[consensus.Zxid]int{e1 + 45: 1, e1 + 50: 0} {
		m3, m4 := newMem(t), newMem(t)
		l3, _ := open(t, m3, Options{})
		appendRange(t, l3, e1+1, last, 10)
		must(t, l3.Close())
		l4, _ := open(t, m4, Options{From: e1 + 50})
		appendRange(t, l4, e1+51, e1+60, 10)
		must(t, l4.Close())
		put(t, m3, LogName(e1+51), get(t, m4, LogName(e1+51)))
		if _, rec := open(t, m3, Options{From: e1 + 50}); len(rec.Removed) != removed || rec.Last != e1+60 {
			t.Errorf("log to %v: %+v", last, rec)
		}
	}
	appendRange(t, l, e2+1, e2+5, 10)
	if got := readAll(t, l, e1+20); !slices.Equal(got, zrange(e2+1, e2+5)) {
		t.Fatalf("read %v", got)
	}
	must(t, l.Close())
	if _, rec = open(t, m, Options{From: e1 + 50}); rec.Last != e2+5 || rec.Records != 5 || len(rec.Removed) != 0 {
		t.Fatalf("again: %+v", rec)
	}
}

func TestAppendRefuses(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, Options{MaxRecord: 1000})
	appendRange(t, l, 1, 3, 10)
	ops := m.Ops()
	e2 := consensus.MakeZxid(2, 1)
	for name, batch := range map[string][]consensus.Txn{
		"gap":            {create(5, 1)},
		"again":          {create(3, 1)},
		"gap in batch":   {create(4, 1), create(6, 1)},
		"epoch's second": {create(e2+1, 1)},
		"older epoch":    {create(4, 1), create(e2, 1), create(5, 1)},
		"too long":       {create(4, 1001)},
		"too short":      {{Zxid: 4, Data: make([]byte, 31)}},
		"other header":   {{Zxid: 4, Data: create(5, 1).Data}},
	} {
		if err := l.Append(batch); err == nil {
			t.Errorf("%s: was appended", name)
		}
	}
	if m.Ops() != ops {
		t.Error("something was written")
	}
	must(t, l.Append(nil))
	must(t, l.Append([]consensus.Txn{create(4, 1), create(e2, 1)}))
	if l.Last() != e2 {
		t.Fatalf("last %v", l.Last())
	}
}

func TestSizeLimitAndNoSync(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, Options{SizeLimitKB: 1, NoSync: true, PreAllocKB: 64})
	for z := consensus.Zxid(1); z <= 9; z++ {
		appendRange(t, l, z, z, 500)
		syncLog(t, l)
	}
	if got := logNames(t, m); !slices.Equal(got, []string{"log.1", "log.3", "log.5", "log.7", "log.9"}) {
		t.Fatalf("files %v", got)
	}
	// What was not synced is lost, and what is left is good. Finished files are.
	_, rec := open(t, m.Crash(vfs.LoseAll, 0), Options{})
	if rec.Last != 8 {
		t.Fatalf("after crash: %+v", rec)
	}
}

func TestReader(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, Options{From: 4})
	e2 := consensus.MakeZxid(2, 1)
	appendRange(t, l, 5, 9, 10)
	l.Roll()
	appendRange(t, l, e2, e2+3, 10)
	all := append(zrange(5, 9), zrange(e2, e2+3)...)
	for _, tc := range []struct {
		from, first consensus.Zxid
	}{{0, 5}, {4, 5}, {5, 5}, {7, 7}, {9, 9}, {10, 9}, {e2 - 1, 9}, {e2, e2}, {e2 + 3, e2 + 3}, {e2 + 99, e2 + 3}} {
		if got := readAll(t, l, tc.from); !slices.Equal(got, all[slices.Index(all, tc.first):]) {
			t.Errorf("from %v: %v", tc.from, got)
		}
	}
	// A reader at the end sees what comes.
	r, err := l.Reader(e2 + 3)
	must(t, err)
	next := func(want consensus.Zxid) {
		t.Helper()
		x, err := r.Next()
		if want == 0 {
			if err != io.EOF {
				t.Fatalf("next: %v, %v; want the end", x.Zxid, err)
			}
			return
		}
		if err != nil || x.Zxid != want || !bytes.Equal(x.Data, create(want, 10).Data) {
			t.Fatalf("next: %v, %v; want %v", x.Zxid, err, want)
		}
	}
	next(e2 + 3)
	next(0)
	appendRange(t, l, e2+4, e2+5, 10)
	next(e2 + 4)
	next(e2 + 5)
	next(0)
	appendRange(t, l, e2+6, e2+6, 10)
	l.Roll()
	appendRange(t, l, e2+7, e2+7, 10)
	l.Roll()
	appendRange(t, l, e2+8, e2+8, 10)
	next(e2 + 6)
	next(e2 + 7)
	next(e2 + 8)
	next(0)
	size, err := l.SizeFrom(e2 + 7)
	must(t, err)
	if rec := int64(len(appendRecord(nil, create(e2+7, 10).Data))); size != 2*headerSize+2*rec+markSize {
		t.Errorf("size from %v: %d", e2+7, size)
	}
	must(t, l.TruncateTo(e2+7))
	if _, err := r.Next(); !errors.Is(err, ErrCut) {
		t.Fatalf("after a cut: %v", err)
	}
	must(t, r.Close())
	// Of an empty log, and purged under the reader.
	r, err = l.Reader(0)
	must(t, err)
	next(5)
	if removed, err := l.Purge(e2 + 7); err != nil || len(removed) != 2 {
		t.Fatalf("purge: %v, %v", removed, err)
	}
	for z := consensus.Zxid(6); z <= 9; z++ {
		next(z)
	}
	if _, err := r.Next(); !errors.Is(err, ErrCut) {
		t.Fatalf("after a purge: %v", err)
	}
	must(t, r.Close())
	must(t, l.Reset(50))
	r, err = l.Reader(50)
	must(t, err)
	next(0)
	appendRange(t, l, 51, 51, 10)
	next(51)
	must(t, r.Close())
	if _, err := r.Next(); !errors.Is(err, ErrClosed) {
		t.Fatalf("after close: %v", err)
	}
}

func TestPurge(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, Options{})
	for z := consensus.Zxid(1); z <= 40; z += 10 {
		l.Roll()
		appendRange(t, l, z, z+9, 10)
	}
	for _, tc := range []struct {
		needed consensus.Zxid
		first  consensus.Zxid
	}{{0, 1}, {10, 1}, {11, 11}, {20, 11}, {25, 21}, {99, 31}} {
		_, err := l.Purge(tc.needed)
		must(t, err)
		if l.First() != tc.first || len(logNames(t, m)) != int(40-tc.first)/10+1 {
			t.Errorf("needed %v: first %v, files %v", tc.needed, l.First(), logNames(t, m))
		}
	}
	appendRange(t, l, 41, 41, 1)
	must(t, l.Close())
	if _, rec := open(t, m.Crash(vfs.LoseAll, 0), Options{From: 31}); rec.Last != 41 {
		t.Errorf("after purge: %+v", rec)
	}
}

// A purge whose sync of the directory failed may have taken the name of somebody else's
// snapshot along: it is the end of the log.
func TestPurgeThatIsNotSynced(t *testing.T) {
	broken := false
	fsys := vfs.NewErrors(newMem(t), func(op vfs.Op) error {
		if broken && op.Kind == "syncdir" {
			return syscall.EIO
		}
		return nil
	})
	l, _, err := OpenLog(fsys, "/d", Options{})
	must(t, err)
	for z := consensus.Zxid(1); z <= 20; z += 10 {
		l.Roll()
		appendRange(t, l, z, z+9, 10)
	}
	broken = true
	if _, err := l.Purge(15); !errors.Is(err, ErrNotDurable) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("purged: %v", err)
	}
	broken = false
	if err := l.Append([]consensus.Txn{create(21, 10)}); !errors.Is(err, ErrNotDurable) {
		t.Fatalf("it goes on: %v", err)
	}
	for _, z := range []consensus.Zxid{1, 2} {
		_, err := SaveSnapshot(fsys, "/d", z, Plain, func(w *SnapshotWriter) error {
			w.Sessions(0)
			w.ACLs(0)
			return w.Node(&Node{})
		})
		must(t, err)
	}
	broken = true
	if _, _, _, err := PurgeSnapshots(fsys, "/d", 1); !errors.Is(err, ErrNotDurable) {
		t.Fatalf("snapshots purged: %v", err)
	}
}

// TestReaderOfWhatWasCut: a reader returns nothing that was cut before it was asked, though it has it already.
func TestReaderOfWhatWasCut(t *testing.T) {
	for name, cut := range map[string]func(l *Log) error{
		"truncate": func(l *Log) error { return l.TruncateTo(2) },
		"reset":    func(l *Log) error { return l.Reset(2) },
	} {
		l, _ := open(t, newMem(t), Options{})
		appendRange(t, l, 1, 5, 10)
		r, err := l.Reader(0)
		must(t, err)
		for z := consensus.Zxid(1); z <= 2; z++ {
			if x, err := r.Next(); err != nil || x.Zxid != z {
				t.Fatalf("%s: next is %v, %v", name, x.Zxid, err)
			}
		}
		must(t, cut(l))
		appendRange(t, l, consensus.MakeZxid(1, 1), consensus.MakeZxid(1, 3), 10)
		if x, err := r.Next(); !errors.Is(err, ErrCut) {
			t.Errorf("%s: next is %v, %v", name, x.Zxid, err)
		}
		must(t, r.Close())
		must(t, l.Close())
	}
}

func TestTruncate(t *testing.T) {
	build := func() (*vfs.Mem, *Log) {
		m := newMem(t)
		l, _ := open(t, m, Options{From: 3, PreAllocKB: 4})
		for z := consensus.Zxid(4); z <= 15; z += 4 {
			l.Roll()
			appendRange(t, l, z, z+3, 50)
		}
		return m, l
	}
	for z := consensus.Zxid(3); z <= 15; z++ {
		m, l := build()
		must(t, l.TruncateTo(z))
		if l.Last() != z {
			t.Fatalf("truncate to %v: last %v", z, l.Last())
		}
		// Durable at once, with nothing synced before.
		c := m.Crash(vfs.LoseAll, 0)
		if z < 15 {
			if _, rec := open(t, c, Options{From: 3}); rec.Last != z || rec.TornFile != "" {
				t.Fatalf("truncate to %v: found %+v", z, rec)
			}
		}
		appendRange(t, l, z+1, z+2, 10)
		must(t, l.Close())
		l, rec := open(t, m, Options{From: 3})
		if rec.Last != z+2 {
			t.Fatalf("appended after truncate to %v: %+v", z, rec)
		}
		if got := readAll(t, l, 0); !slices.Equal(got, zrange(4, z+2)) {
			t.Fatalf("truncate to %v: %v", z, got)
		}
	}
	m, l := build()
	ops := m.Ops()
	for _, z := range []consensus.Zxid{0, 2, 16, consensus.MakeZxid(1, 1)} {
		if err := l.TruncateTo(z); !errors.Is(err, ErrNotInLog) {
			t.Errorf("truncate to %v: %v", z, err)
		}
	}
	if m.Ops() != ops {
		t.Error("something was changed")
	}
	must(t, l.Reset(100))
	if l.Last() != 100 || len(logNames(t, m)) != 0 {
		t.Fatalf("reset: last %v, files %v", l.Last(), logNames(t, m))
	}
	appendRange(t, l, 101, 101, 1)
	must(t, l.TruncateTo(100))
	if l.Last() != 100 || len(logNames(t, m)) != 0 {
		t.Fatalf("back to the snapshot: last %v, files %v", l.Last(), logNames(t, m))
	}
	// A log of Apache's, cut in the middle of a file.
	m = load(t, "edge-ok-no-padding")
	l, _ = open(t, m, Options{})
	must(t, l.TruncateTo(3))
	if got := len(get(t, m, "log.1")); got != 319 {
		t.Fatalf("cut at %d, want 319", got)
	}
	// Below the state it was opened with.
	m = load(t, "edge-ok-no-padding")
	l, _ = open(t, m, Options{From: 4})
	must(t, l.TruncateTo(2))
	appendRange(t, l, 3, 3, 1)
	if got := readAll(t, l, 0); !slices.Equal(got, zrange(1, 3)) {
		t.Fatalf("below the state: %v", got)
	}
}

// TestConcurrent runs what may run at the same time at the same time; the race
// detector and the content say whether it may.
func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	l, _, err := OpenLog(vfs.OS, dir, Options{PreAllocKB: 256, SizeLimitKB: 200})
	must(t, err)
	const last = 3000
	var wg sync.WaitGroup
	done := make(chan struct{})
	for _, step := range []func() error{
		func() error { _, err := l.Sync(); return err },
		l.Preallocate,
		func() error { _, err := l.Purge(1); return err },
	} {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := step(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		r, err := l.Reader(0)
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		for want := consensus.Zxid(1); want <= last; {
			x, err := r.Next()
			if err == io.EOF {
				continue
			}
			if err != nil || x.Zxid != want || !bytes.Equal(x.Data, create(want, int(want%700)).Data) {
				t.Errorf("read %v, %v; want %v", x.Zxid, err, want)
				return
			}
			want++
		}
	})
	for z := consensus.Zxid(1); z <= last; z += 3 {
		batch := []consensus.Txn{create(z, int(z%700)), create(z+1, int((z+1)%700)), create(z+2, int((z+2)%700))}
		must(t, l.Append(batch))
	}
	close(done)
	wg.Wait()
	must(t, l.Close())
	_, rec, err := OpenLog(vfs.OS, dir, Options{})
	must(t, err)
	if rec.Last != last || rec.Rewritten != 0 {
		t.Fatalf("found %+v", rec)
	}
}

func TestRepeatedRecords(t *testing.T) {
	m := newMem(t)
	file := func(first consensus.Zxid, zs ...consensus.Zxid) {
		b := appendHeader(nil, 0)
		for _, z := range zs {
			b = appendRecord(b, create(z, 5).Data)
		}
		put(t, m, LogName(first), b)
	}
	file(1, 1, 2, 3, 4)
	file(3, 3, 4, 5)
	l, rec := open(t, m, Options{})
	if rec.Last != 5 || rec.Repeated != 2 || rec.Records != 5 {
		t.Fatalf("found %+v", rec)
	}
	if got := readAll(t, l, 0); !slices.Equal(got, zrange(1, 5)) {
		t.Fatalf("read %v", got)
	}
}

// TestDamageInAnyFile: a byte that turned in a log that was closed properly is
// found, wherever it is, or it did not matter.
func TestFlippedByte(t *testing.T) {
	build := func(close bool) *vfs.Mem {
		m := newMem(t)
		l, _ := open(t, m, Options{PreAllocKB: 1})
		for z := consensus.Zxid(1); z <= 9; z += 3 {
			if z == 7 {
				l.Roll()
			}
			appendRange(t, l, z, z+1, 20)
			syncLog(t, l)
			appendRange(t, l, z+2, z+2, 20)
			syncLog(t, l)
		}
		if close {
			must(t, l.Close())
		}
		return m
	}
	clean := build(true)
	for _, name := range []string{"log.1", "log.7"} {
		content := get(t, clean, name)
		damaged := 0
		for i := range content {
			b := slices.Clone(content)
			b[i] ^= 1 << (i % 8)
			m := build(true)
			put(t, m, name, b)
			_, rec, err := OpenLog(m, "/d", Options{})
			var d *Damage
			switch {
			case errors.As(err, &d):
				damaged++
				if d.File != name && d.Reason != "zxid gap: 0x7 comes after 0x5" {
					t.Errorf("%s, byte %d: %v", name, i, err)
				}
			case err != nil:
				t.Errorf("%s, byte %d: %v", name, i, err)
			case rec.Last != 9 || rec.Records != 9:
				t.Errorf("%s, byte %d: lost in silence: %+v", name, i, rec)
			}
		}
		if damaged < 200 {
			t.Errorf("%s: only %d of %d bytes matter", name, damaged, len(content))
		}
	}
	// Without a close only what the last mark does not vouch for, that is the last
	// write, may be taken for torn.
	content := get(t, build(false), "log.7")
	for i := range content {
		b := slices.Clone(content)
		b[i] ^= 0x40
		m := build(false)
		put(t, m, "log.7", b)
		_, rec, err := OpenLog(m, "/d", Options{})
		var d *Damage
		if err != nil && !errors.As(err, &d) || err == nil && rec.Last < 8 {
			t.Errorf("byte %d: %+v, %v", i, rec, err)
		}
	}
}

// TestRandomDamage does to a log that was closed what disks and hands do to files:
// ranges zeroed, garbled, moved, cut out. It is found, or nothing is missing.
// TestLastWriteVouched: a process that is killed leaves a mark behind its last
// write too, so that damage in that one isn't taken for a torn end.
func TestLastWriteVouched(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, Options{PreAllocKB: 64})
	appendRange(t, l, 1, 100, 50)
	syncLog(t, l)
	content := get(t, m, "log.1")
	for at := headerSize; at < 50*(50+recordHead+recordTail); at += 97 {
		b := slices.Clone(content)
		b[at] ^= 0x40
		put(t, m, "log.1", b)
		var d *Damage
		if _, rec, err := OpenLog(m, "/d", Options{}); !errors.As(err, &d) || d.File != "log.1" {
			t.Fatalf("byte %d of a write that was synced: %v, %+v", at, err, rec)
		}
	}
}

// TestMendedIsVouched: what a start has made durable is vouched for, also where the end of the
// file was cut and nothing is written behind it: what is damaged then was no torn write.
func TestMendedIsVouched(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, Options{})
	appendRange(t, l, 1, 20, 100)
	syncLog(t, l)
	b := get(t, m, "log.1")
	put(t, m, "log.1", append(b[:l.end:l.end], 1, 2, 3)) // half a mark
	for range 2 {
		if _, rec := open(t, m, Options{}); rec.Last != 20 {
			t.Fatalf("the log ends with %v", rec.Last)
		}
	}
	b = get(t, m, "log.1")
	b[200] ^= 1
	put(t, m, "log.1", b)
	var d *Damage
	if _, rec, err := OpenLog(m, "/d", Options{}); !errors.As(err, &d) {
		t.Errorf("a log with a damaged record opens and ends with %v: %v", rec.Last, err)
	}
}

// TestCutIsVouched: what is left of a file that was cut is vouched for, also when nothing is
// written behind it before the next start.
func TestCutIsVouched(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, Options{PreAllocKB: 64})
	appendRange(t, l, 1, 20, 100)
	syncLog(t, l)
	if err := l.TruncateTo(10); err != nil {
		t.Fatal(err)
	}
	content := get(t, m, "log.1")
	if _, rec := open(t, m, Options{}); rec.Last != 10 || rec.TornFile != "" {
		t.Fatalf("the log ends with %v, torn %q", rec.Last, rec.TornFile)
	}
	for at := headerSize; at < 10*(100+recordHead+recordTail); at += 37 {
		b := slices.Clone(content)
		b[at] ^= 0x40
		put(t, m, "log.1", b)
		var d *Damage
		if _, rec, err := OpenLog(m, "/d", Options{}); !errors.As(err, &d) || d.File != "log.1" {
			t.Fatalf("byte %d of what was left: %v, %+v", at, err, rec)
		}
	}
}

func TestRandomDamage(t *testing.T) {
	build := func() *vfs.Mem {
		m := newMem(t)
		l, _ := open(t, m, Options{PreAllocKB: 1})
		for z := consensus.Zxid(1); z <= 30; z++ {
			if z == 15 {
				l.Roll()
			}
			appendRange(t, l, z, z, int(z*31)%200)
			syncLog(t, l)
		}
		must(t, l.Close())
		return m
	}
	rng := rand.New(rand.NewPCG(5, 6))
	found := 0
	for i := range 1500 {
		m := build()
		name := []string{"log.1", "log.f"}[rng.IntN(2)]
		b := get(t, m, name)
		end := bytes.LastIndex(b, []byte{recordEnd, 0, 0, 0, 0, 0, 0}) + 1
		from := rng.IntN(end)
		to := from + 1 + rng.IntN(min(end-from, 700))
		what := rng.IntN(4)
		switch what {
		case 0:
			clear(b[from:to])
		case 1:
			for j := from; j < to; j++ {
				b[j] = byte(rng.Uint32())
			}
		case 2:
			copy(b[from:to], b[rng.IntN(end):])
		case 3:
			b = slices.Delete(b, from, to)
		}
		put(t, m, name, b)
		_, rec, err := OpenLog(m, "/d", Options{})
		var d *Damage
		if errors.As(err, &d) {
			found++
		} else if err != nil || rec.Last != 30 || rec.Records != 30 {
			t.Fatalf("%d: %s, [%d, %d) of %d, kind %d: %+v, %v", i, name, from, to, end, what, rec, err)
		}
	}
	if found < 1000 {
		t.Errorf("only %d found", found)
	}
}

// TestHole: zeros where synced records were, with more behind them.
func TestHole(t *testing.T) {
	for _, apache := range []bool{true, false} {
		m := newMem(t)
		l, _ := open(t, m, Options{PreAllocKB: 16})
		for z := consensus.Zxid(1); z <= 20; z++ {
			appendRange(t, l, z, z, 80)
			syncLog(t, l)
		}
		b := get(t, m, "log.1")
		if apache {
			copy(b[8:], make([]byte, 8))
		}
		rec := len(appendRecord(nil, create(1, 80).Data))
		copy(b[headerSize+3*rec:], make([]byte, 4*rec))
		put(t, m, "log.1", b)
		var d *Damage
		if _, _, err := OpenLog(m, "/d", Options{}); !errors.As(err, &d) || d.Offset != int64(headerSize+3*rec) {
			t.Errorf("apache %v: %v", apache, err)
		}
	}
}

// TestStartMakesDurable: after a sync that failed, the page cache shows data that
// the disk does not have. What a start reports, it has made durable.
func TestStartMakesDurable(t *testing.T) {
	m := newMem(t)
	armed := false
	e := vfs.NewErrors(m, func(op vfs.Op) error {
		if armed && op.Kind == "sync" {
			return syscall.EIO
		}
		return nil
	})
	l, _ := open(t, e, Options{PreAllocKB: 16})
	appendRange(t, l, 1, 5, 300)
	syncLog(t, l)
	armed = true
	appendRange(t, l, 6, 9, 300)
	if _, err := l.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync: %v", err)
	}
	armed = false
	// No second try, with this log.
	if _, err := l.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("second sync: %v", err)
	}
	if err := l.Append([]consensus.Txn{create(10, 1)}); !errors.Is(err, syscall.EIO) {
		t.Fatalf("append: %v", err)
	}
	if err := l.Close(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("close: %v", err)
	}
	if _, rec := open(t, m.Crash(vfs.LoseAll, 0), Options{}); rec.Last != 5 {
		t.Fatalf("crash without a start: %+v", rec)
	}
	_, rec := open(t, m, Options{})
	if rec.Last != 9 || rec.Rewritten == 0 {
		t.Fatalf("start: %+v", rec)
	}
	if _, rec := open(t, m.Crash(vfs.LoseAll, 0), Options{}); rec.Last != 9 {
		t.Fatalf("crash after a start: %+v", rec)
	}
}

// TestPaddingOfApache: a hole of zeros at the end of a file is its padding, also
// a large one, and in a file that is not the last.
func TestPaddingOfApache(t *testing.T) {
	m := newMem(t)
	b := appendHeader(nil, 0)
	for z := consensus.Zxid(1); z <= 3; z++ {
		b = appendRecord(b, create(z, 5).Data)
	}
	torn := append(slices.Clone(b), 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 50, 9, 9, 9, 9)
	put(t, m, "log.1", append(torn, make([]byte, 3<<20)...))
	put(t, m, "log.4", append(appendRecord(appendHeader(nil, 0), create(4, 5).Data), make([]byte, 3<<20)...))
	// A torn record that the next file makes good is what a restart of Apache leaves.
	_, rec := open(t, m, Options{})
	if rec.Last != 4 || rec.TornFile != "" {
		t.Fatalf("found %+v", rec)
	}
	// Not so if something good follows it in its own file.
	b = append(torn, make([]byte, 100)...)
	put(t, m, "log.1", appendRecord(b, create(9, 5).Data))
	var d *Damage
	if _, _, err := OpenLog(m, "/d", Options{}); !errors.As(err, &d) || d.File != "log.1" {
		t.Fatalf("found %v", err)
	}
}

// TestTooLarge: a record above the limit that is right was meant so. It is no torn
// tail, even at the end, and no damage: there are servers that set that aside.
func TestTooLarge(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, Options{})
	appendRange(t, l, 1, 1, 10)
	appendRange(t, l, 2, 2, 5000)
	for z := range consensus.Zxid(2) { // in the last file, and in another
		must(t, l.Close())
		var e *SizeError
		if _, _, err := OpenLog(m, "/d", Options{MaxRecord: 1000}); !errors.As(err, &e) || errors.Is(err, consensus.ErrDamaged) || e.Max != 1000 || e.Length < 5000 {
			t.Fatalf("found %v", err)
		}
		l, _ = open(t, m, Options{})
		l.Roll()
		appendRange(t, l, 3+z, 3+z, 10)
	}
	must(t, l.Close())
}

func TestHeaderless(t *testing.T) {
	for name, tc := range map[string]struct {
		last    []byte
		removed int
		copy    bool
	}{
		"empty":       {nil, 1, false},
		"half":        {appendHeader(nil, 0)[:7], 1, true},
		"zeros":       {make([]byte, 5000), 1, false},
		"header only": {append(appendHeader(nil, 0), make([]byte, 100)...), 1, false},
		"garbage":     {bytes.Repeat([]byte("x"), 100), 1, true},
		"torn first":  {appendRecord(appendHeader(nil, 0), create(6, 5).Data)[:40], 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := load(t, "edge-ok-no-padding")
			put(t, m, "log.6", tc.last)
			l, rec := open(t, m, Options{})
			if rec.Last != 5 || rec.Records != 5 || len(rec.Removed) != tc.removed || (rec.TornCopy != "") != tc.copy || rec.Repeated != 0 {
				t.Fatalf("found %+v", rec)
			}
			// The file before it is the last now: it was made durable as such.
			if rec.Rewritten != 521 {
				t.Fatalf("found %+v", rec)
			}
			appendRange(t, l, 6, 6, 10)
			must(t, l.Close())
			if _, rec := open(t, m, Options{}); rec.Last != 6 {
				t.Fatalf("found %+v", rec)
			}
			if tc.copy && !bytes.HasPrefix(tc.last, get(t, m, rec.TornCopy)) && !bytes.HasSuffix(tc.last, get(t, m, rec.TornCopy)) {
				t.Fatalf("copy %x of %x", get(t, m, rec.TornCopy), tc.last)
			}
		})
	}
	// Without a header, but with a record in it.
	m := load(t, "edge-ok-no-padding")
	b := get(t, m, "log.1")
	b[0] = 0
	put(t, m, "log.1", b)
	var d *Damage
	if _, _, err := OpenLog(m, "/d", Options{}); !errors.As(err, &d) {
		t.Fatalf("found %v", err)
	}
}
