package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// each runs a test on the real file system and on the one in memory: what tests
// believe of the second must hold for the first.
func each(t *testing.T, test func(t *testing.T, fsys FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, OS, t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		m := NewMem()
		must(t, m.MkdirAll("/d"))
		test(t, m, "/d")
	})
	t.Run("errors", func(t *testing.T) {
		m := NewMem()
		must(t, m.MkdirAll("/d"))
		test(t, NewErrors(m, func(Op) error { return nil }), "/d")
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, fsys FS, name string) []byte {
	t.Helper()
	b, err := ReadFile(fsys, name, 1<<20)
	must(t, err)
	return b
}

func TestFile(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "a")
		f, err := fsys.Create(name)
		must(t, err)
		_, err = f.Write([]byte("hello "))
		must(t, err)
		_, err = f.Write([]byte("world"))
		must(t, err)
		_, err = f.WriteAt([]byte("W"), 6)
		must(t, err)
		must(t, f.Sync())
		if got := read(t, fsys, name); string(got) != "hello World" {
			t.Fatalf("read %q", got)
		}
		must(t, f.Preallocate(11, 300<<10))
		if n, err := f.Size(); err != nil || n != 11+300<<10 {
			t.Fatalf("size %d, %v", n, err)
		}
		var b [4]byte
		if n, err := f.ReadAt(b[:], 10); n != 4 || err != nil || string(b[:]) != "d\x00\x00\x00" {
			t.Fatalf("read %d %q, %v", n, b, err)
		}
		must(t, f.Truncate(5))
		must(t, f.Truncate(8))
		if got := read(t, fsys, name); string(got) != "hello\x00\x00\x00" {
			t.Fatalf("after truncate: %q", got)
		}
		must(t, f.Close())
		if f.Sync() == nil {
			t.Fatal("sync of a closed file is no error")
		}

		w, err := fsys.OpenWrite(name)
		must(t, err)
		_, err = w.WriteAt([]byte("J"), 0)
		must(t, err)
		must(t, w.Close())
		r, err := fsys.Open(name)
		must(t, err)
		if _, err := r.WriteAt([]byte("x"), 0); err == nil {
			t.Fatal("a file opened for reading can be written")
		}
		must(t, r.Close())
		if got := read(t, fsys, name); string(got) != "Jello\x00\x00\x00" {
			t.Fatalf("read %q", got)
		}
		f, err = fsys.Create(name)
		must(t, err)
		must(t, f.Close())
		if st, err := fsys.Stat(name); err != nil || st.Size != 0 || st.Dir {
			t.Fatalf("stat after create: %+v, %v", st, err)
		}
		if _, err := ReadFile(fsys, name, 0); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDir(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		sub := filepath.Join(dir, "x", "y")
		must(t, fsys.MkdirAll(sub))
		must(t, fsys.MkdirAll(sub))
		for _, n := range []string{"b", "a", "c"} {
			must(t, WriteFile(fsys, sub, filepath.Join(sub, n+".tmp"), filepath.Join(sub, n), []byte(n)))
		}
		must(t, fsys.Rename(filepath.Join(sub, "a"), filepath.Join(sub, "c")))
		names, err := fsys.ReadDir(sub)
		must(t, err)
		if !slices.Equal(names, []string{"b", "c"}) {
			t.Fatalf("names %v", names)
		}
		if got := read(t, fsys, filepath.Join(sub, "c")); string(got) != "a" {
			t.Fatalf("c holds %q", got)
		}
		if names, err := fsys.ReadDir(filepath.Join(dir, "x")); err != nil || !slices.Equal(names, []string{"y"}) {
			t.Fatalf("names %v, %v", names, err)
		}
		if st, err := fsys.Stat(sub); err != nil || !st.Dir {
			t.Fatalf("stat %+v, %v", st, err)
		}
		if fsys.Remove(sub) == nil {
			t.Fatal("a directory with files can be removed")
		}
		must(t, fsys.Remove(filepath.Join(sub, "b")))
		none := filepath.Join(sub, "b")
		_, openErr := fsys.Open(none)
		_, writeErr := fsys.OpenWrite(none)
		_, createErr := fsys.Create(filepath.Join(none, "b"))
		_, statErr := fsys.Stat(none)
		_, dirErr := fsys.ReadDir(none)
		for i, err := range []error{openErr, writeErr, createErr, statErr, dirErr,
			fsys.Remove(none), fsys.Rename(none, none), fsys.SyncDir(none)} {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%d: %v, want not exist", i, err)
			}
		}
		if u, err := fsys.Usage(dir); err != nil || u.Total <= 0 || u.Free <= 0 || u.Free > u.Total {
			t.Errorf("usage %+v, %v", u, err)
		}
		must(t, WriteFile(fsys, sub, filepath.Join(sub, "t"), filepath.Join(sub, "big"), make([]byte, 100)))
		if _, err := ReadFile(fsys, filepath.Join(sub, "big"), 99); err == nil {
			t.Error("a file above the limit was read")
		}
	})
}

func TestLock(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "lock")
		l, err := fsys.Lock(name)
		must(t, err)
		if _, err := fsys.Lock(name); !errors.Is(err, ErrLocked) {
			t.Fatalf("second lock: %v", err)
		}
		must(t, l.Close())
		l, err = fsys.Lock(name)
		must(t, err)
		must(t, l.Close())
	})
}

// TestCrashKeepsSynced: whatever is lost, what was synced is there.
func TestCrashKeepsSynced(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("/d"))
	f, err := m.Create("/d/f")
	must(t, err)
	base := bytes.Repeat([]byte("s"), 3000)
	_, err = f.Write(base)
	must(t, err)
	if c := m.Crash(LoseAll, 0); len(names(t, c)) != 0 {
		t.Fatal("a name that was not synced is there")
	}
	must(t, f.Sync())
	must(t, m.SyncDir("/d"))
	_, err = f.WriteAt(bytes.Repeat([]byte("n"), 2000), 1000)
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte("e"), 3000), 3000)
	must(t, err)
	if got := read(t, m.Crash(LoseAll, 0), "/d/f"); !bytes.Equal(got, base) {
		t.Fatalf("lose all: %q", got)
	}
	if got := read(t, m.Crash(LoseNone, 0), "/d/f"); !bytes.Equal(got, read(t, m, "/d/f")) {
		t.Fatalf("lose none: %q", got)
	}
	sizes, variants := map[int]bool{}, map[string]bool{}
	for seed := range uint64(200) {
		got := read(t, m.Crash(LoseSome, seed), "/d/f")
		if !bytes.Equal(got[:1000], base[:1000]) || len(got) < 3000 {
			t.Fatalf("seed %d: synced bytes are gone", seed)
		}
		if again := read(t, m.Crash(LoseSome, seed), "/d/f"); !bytes.Equal(got, again) {
			t.Fatalf("seed %d: not the same twice", seed)
		}
		sizes[len(got)] = true
		variants[string(got)] = true
	}
	if len(sizes) < 10 || len(variants) < 100 {
		t.Fatalf("%d sizes, %d variants: not random enough", len(sizes), len(variants))
	}
}

func names(t *testing.T, fsys FS) []string {
	t.Helper()
	n, err := fsys.ReadDir("/d")
	must(t, err)
	return n
}

// TestCrashRename: of a rename either name is left, never none.
func TestCrashRename(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("/d"))
	must(t, WriteFile(m, "/d", "/d/t", "/d/a", []byte("old")))
	must(t, WriteFile(m, "/d", "/d/t", "/d/t2", []byte("new")))
	must(t, m.Rename("/d/t2", "/d/a"))
	seen := map[string]bool{}
	for seed := range uint64(50) {
		c := m.Crash(LoseSome, seed)
		seen[fmt.Sprint(names(t, c), string(read(t, c, "/d/a")))] = true
	}
	if len(seen) != 2 || !seen["[a]new"] || !seen["[a t2]old"] {
		t.Fatalf("seen %v", seen)
	}
	// WriteFile stopped anywhere leaves the old or the new content.
	for stop := range 10 {
		m := NewMem()
		must(t, m.MkdirAll("/d"))
		must(t, WriteFile(m, "/d", "/d/t", "/d/a", []byte("old")))
		m.StopAt(m.Ops() + stop)
		err := WriteFile(m, "/d", "/d/t", "/d/a", []byte("new"))
		for seed := range uint64(20) {
			got := string(read(t, m.Crash(LoseSome, seed), "/d/a"))
			if got != "new" && (got != "old" || err == nil) {
				t.Fatalf("stopped at %d (%v): %q", stop, err, got)
			}
		}
		if err != nil && !errors.Is(err, ErrCrashed) {
			t.Fatal(err)
		}
	}
}

func TestStop(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("/d"))
	f, err := m.Create("/d/f")
	must(t, err)
	m.StopAt(m.Ops() + 1)
	_, err = f.Write([]byte("a"))
	must(t, err)
	if _, err := f.Write([]byte("b")); !errors.Is(err, ErrCrashed) {
		t.Fatalf("write: %v", err)
	}
	if _, err := m.Open("/d/f"); !errors.Is(err, ErrCrashed) {
		t.Fatalf("open: %v", err)
	}
	if got := read(t, m.Crash(LoseNone, 0), "/d/f"); string(got) != "a" {
		t.Fatalf("left %q", got)
	}
}

// TestFailedSync: after a failed sync the data can be read and is not there after
// a crash, even if a later sync succeeds; written again, it is.
func TestFailedSync(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("/d"))
	fail := true
	e := NewErrors(m, func(op Op) error {
		if op.Kind == "sync" && fail {
			fail = false
			return syscall.EIO
		}
		return nil
	})
	f, err := e.Create("/d/f")
	must(t, err)
	must(t, e.SyncDir("/d"))
	_, err = f.Write([]byte("data"))
	must(t, err)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync: %v", err)
	}
	must(t, f.Sync())
	if got := read(t, m, "/d/f"); string(got) != "data" {
		t.Fatalf("read %q", got)
	}
	if got := read(t, m.Crash(LoseAll, 0), "/d/f"); string(got) == "data" {
		t.Fatal("a sync after the failed one brought the data to the disk")
	}
	_, err = f.WriteAt([]byte("data"), 0)
	must(t, err)
	must(t, f.Sync())
	if got := read(t, m.Crash(LoseAll, 0), "/d/f"); string(got) != "data" {
		t.Fatalf("written again: %q", got)
	}
}

// A directory whose sync failed has lost what was to be made durable, as a file has.
func TestFailedSyncDir(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("/d"))
	fail := true
	e := NewErrors(m, func(op Op) error {
		if op.Kind == "syncdir" && fail {
			return syscall.EIO
		}
		return nil
	})
	if err := WriteFile(e, "/d", "/d/t", "/d/lost", []byte("1")); !errors.Is(err, syscall.EIO) {
		t.Fatalf("written: %v", err)
	}
	fail = false
	must(t, WriteFile(e, "/d", "/d/t", "/d/kept", []byte("2")))
	must(t, e.SyncDir("/d"))
	if got := read(t, m, "/d/lost"); string(got) != "1" {
		t.Fatalf("read %q", got)
	}
	left := m.Crash(LoseAll, 0)
	if got := read(t, left, "/d/kept"); string(got) != "2" {
		t.Fatalf("kept: %q", got)
	}
	if _, err := left.Stat("/d/lost"); err == nil {
		t.Fatal("a sync after the failed one brought the name to the disk")
	}
}

func TestErrorsFailsEach(t *testing.T) {
	work := func(fsys FS) error {
		if err := fsys.MkdirAll("/d"); err != nil {
			return err
		}
		return WriteFile(fsys, "/d", "/d/t", "/d/f", []byte("1234"))
	}
	clean := NewErrors(NewMem(), func(Op) error { return nil })
	must(t, work(clean))
	if clean.Ops() != 7 {
		t.Fatalf("%d operations, want 7", clean.Ops())
	}
	for i := range clean.Ops() {
		if err := work(NewErrors(NewMem(), FailNth(i, syscall.EIO))); !errors.Is(err, syscall.EIO) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	m := NewMem()
	e := NewErrors(m, FailNth(1, syscall.EIO))
	f, err := e.Create("d")
	must(t, err)
	if n, err := f.Write([]byte("1234")); n != 2 || err == nil {
		t.Errorf("short write: %d, %v", n, err)
	}
}

func TestCapacity(t *testing.T) {
	m := NewMem()
	m.SetCapacity(100)
	f, err := m.Create("/f")
	must(t, err)
	must(t, f.Preallocate(0, 100))
	if err := f.Preallocate(100, 1); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("beyond the capacity: %v", err)
	}
	must(t, f.Truncate(50))
	must(t, f.Preallocate(50, 50))
	must(t, m.Remove("/f"))
	if u, _ := m.Usage("/"); u.Free != 100 {
		t.Fatalf("free %d", u.Free)
	}
}

// TestMemModel writes at random and holds the file, and what is left after a
// crash, against plain slices.
func TestMemModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	m := NewMem()
	f, err := m.Create("/f")
	must(t, err)
	must(t, m.SyncDir("/"))
	var now, synced []byte
	for i := range 2000 {
		switch rng.IntN(6) {
		case 0:
			n := rng.IntN(5000)
			must(t, f.Truncate(int64(n)))
			grown := make([]byte, n)
			copy(grown, now)
			now = grown
		case 1:
			must(t, f.Sync())
			synced = slices.Clone(now)
		default:
			off, b := rng.IntN(4000), make([]byte, 1+rng.IntN(1500))
			for j := range b {
				b[j] = byte(rng.Uint32())
			}
			_, err := f.WriteAt(b, int64(off))
			must(t, err)
			if end := off + len(b); end > len(now) {
				grown := make([]byte, end)
				copy(grown, now)
				now = grown
			}
			copy(now[off:], b)
		}
		if got := read(t, m, "/f"); !bytes.Equal(got, now) {
			t.Fatalf("step %d: content differs", i)
		}
		if got := read(t, m.Crash(LoseAll, 0), "/f"); !bytes.Equal(got, synced) {
			t.Fatalf("step %d: synced content differs", i)
		}
	}
}

// TestEndProcess: a lock ends with its process; what is not synced stays what it is.
func TestEndProcess(t *testing.T) {
	m := NewMem()
	if _, err := m.Lock("/l"); err != nil {
		t.Fatal(err)
	}
	f, err := m.Create("/f")
	if err == nil {
		_, err = f.Write([]byte("x"))
	}
	if err != nil {
		t.Fatal(err)
	}
	m.EndProcess()
	if _, err := m.Lock("/l"); err != nil {
		t.Errorf("the lock of a process that ended: %v", err)
	}
	if b, err := ReadFile(m, "/f", 10); err != nil || string(b) != "x" {
		t.Errorf("what it wrote: %q, %v", b, err)
	}
	if _, err := ReadFile(m.Crash(LoseAll, 0), "/f", 10); err == nil {
		t.Error("what it did not sync survives a power cut")
	}
}

// A short look at what is synced shows it, and what is written to it is not on the disk.
func TestSynced(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("/d"))
	write := func(fsys FS, name, text string, off int64, sync bool) {
		t.Helper()
		f, err := fsys.OpenWrite(name)
		if err != nil {
			f, err = fsys.Create(name)
		}
		must(t, err)
		_, err = f.WriteAt([]byte(text), off)
		must(t, err)
		if sync {
			must(t, f.Sync())
		}
		must(t, f.Close())
	}
	write(m, "/d/whole", "hello world", 0, true)
	write(m, "/d/longer", "hello world", 0, true)
	write(m, "/d/longer", "!", 11, false)
	write(m, "/d/changed", "hello world", 0, true)
	write(m, "/d/changed", "J", 0, false)
	must(t, m.SyncDir("/d"))
	write(m, "/d/new", "x", 0, true)
	s := m.Synced()
	names, err := s.ReadDir("/d")
	must(t, err)
	if !slices.Equal(names, []string{"changed", "longer", "whole"}) {
		t.Errorf("there is %q", names)
	}
	for _, name := range names {
		if got := read(t, s, "/d/"+name); string(got) != "hello world" {
			t.Errorf("%s has %q", name, got)
		}
		write(s, "/d/"+name, "XXXXX and more", 0, true)
	}
	for name, want := range map[string]string{"/d/whole": "hello world", "/d/longer": "hello world!", "/d/changed": "Jello world"} {
		if got := read(t, m, name); string(got) != want {
			t.Errorf("%s has %q after a write to what was looked at", name, got)
		}
	}
}
