package txnlog

import (
	"errors"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// epochs is a log with three txns in each of the epochs 1 to n, a file each.
func epochs(t *testing.T, n int) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	for _, dir := range []string{"/d", "/s"} {
		if err := m.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	l, _, err := OpenLog(m, "/d", Options{List: "/s/segments"})
	if err != nil {
		t.Fatal(err)
	}
	for e := range n {
		l.Roll()
		for i := range 3 {
			if err := l.Append([]consensus.Txn{create(consensus.MakeZxid(int64(e+1), uint32(i+1)), 10)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

// A file that is missing is damage, wherever it was: behind it an epoch may begin, and
// then the zxids show no hole.
func TestMissingFile(t *testing.T) {
	for _, tc := range []struct {
		name   string
		remove []string
		from   consensus.Zxid
		want   string // the file that is named; "" for no damage
	}{
		{"none", nil, 0, ""},
		{"the first", []string{"log.100000001"}, 0, "log.100000001"},
		{"one between two epochs", []string{"log.200000001"}, 0, "log.200000001"},
		{"the last", []string{"log.300000001"}, 0, "log.300000001"},
		{"all", []string{"log.100000001", "log.200000001", "log.300000001"}, 0, "log.100000001"},
		{"all, above a snapshot", []string{"log.100000001", "log.200000001", "log.300000001"}, 2<<32 | 2, "log.200000001"},
		{"one that the snapshot makes superfluous", []string{"log.100000001"}, 2<<32 | 2, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := epochs(t, 3)
			for _, name := range tc.remove {
				if err := m.Remove("/d/" + name); err != nil {
					t.Fatal(err)
				}
			}
			_, _, err := OpenLog(m, "/d", Options{From: tc.from, List: "/s/segments"})
			var d *Damage
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("%v", err)
			case tc.want != "" && (!errors.As(err, &d) || d.File != tc.want || !errors.Is(err, consensus.ErrDamaged)):
				t.Errorf("%v, want damage in %s", err, tc.want)
			}
		})
	}
}

// Apache's servers know no list. What they write comes on it; what they cut from the end
// before they wrote is not missed.
func TestListAndApache(t *testing.T) {
	m := epochs(t, 3)
	if err := m.Remove("/d/log.300000001"); err != nil {
		t.Fatal(err)
	}
	l, _, err := OpenLog(m, "/d", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Append([]consensus.Txn{create(4<<32|1, 10)}), l.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l, rec, err := OpenLog(m, "/d", Options{List: "/s/segments"})
		if err != nil || rec.Last != 4<<32|1 {
			t.Fatalf("to %v, %v", rec.Last, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	b, err := vfs.ReadFile(m, "/s/segments", 1000)
	if err != nil || !strings.Contains(string(b), "log.400000001\n") || strings.Contains(string(b), "log.300000001") {
		t.Errorf("the list is %q: %v", b, err)
	}
}

// A list that is not one says so.
func TestBadList(t *testing.T) {
	for _, text := range []string{"log.100000001\nlog.2", "snapshot.1\n", "\x00\x00"} {
		m := epochs(t, 1)
		if err := vfs.WriteFile(m, "/s", "/s/tmp", "/s/segments", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := OpenLog(m, "/d", Options{List: "/s/segments"}); !errors.Is(err, consensus.ErrDamaged) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What an unreadable snapshot says of how far the server was holds.
func TestAtLeast(t *testing.T) {
	m := epochs(t, 2)
	if _, _, err := OpenLog(m, "/d", Options{AtLeast: 2<<32 | 3}); err != nil {
		t.Errorf("%v", err)
	}
	if _, _, err := OpenLog(m, "/d", Options{AtLeast: 2<<32 | 4}); !errors.Is(err, consensus.ErrDamaged) {
		t.Errorf("it starts below a snapshot: %v", err)
	}
}

// What is set aside is in the other directory, and nothing is lost at any crash.
func TestSetAside(t *testing.T) {
	done := false
	for stop := range 12 {
		m := epochs(t, 2)
		if err := m.MkdirAll("/aside"); err != nil {
			t.Fatal(err)
		}
		if err := m.SyncDir("/"); err != nil {
			t.Fatal(err)
		}
		m.StopAt(m.Ops() + stop)
		_, err := SetLogsAside(m, "/d", "/aside")
		left := m.Crash(vfs.LoseAll, uint64(stop))
		names, _ := left.ReadDir("/d")
		aside, _ := left.ReadDir("/aside")
		n := 0
		for _, name := range append(names, aside...) {
			if strings.HasPrefix(name, "log.") {
				n++
			}
		}
		if n < 2 {
			t.Errorf("stopped at %d: %v and %v are left", stop, names, aside)
		}
		if err == nil {
			done = true
			if len(aside) != 2 {
				t.Errorf("aside are %v", aside)
			}
		}
	}
	if !done {
		t.Error("it never comes to its end")
	}
}

// A later version is no damage: nothing is moved or cut for it.
func TestUnknownVersion(t *testing.T) {
	m := epochs(t, 1)
	f, err := m.OpenWrite("/d/log.100000001")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0, 0, 0, 3}, 4); err != nil {
		t.Fatal(err)
	}
	f.Close()
	_, _, err = OpenLog(m, "/d", Options{})
	var format *FormatError
	if !errors.As(err, &format) || format.Version != 3 || format.ExitCode() != consensus.ExitFormat || errors.Is(err, consensus.ErrDamaged) {
		t.Errorf("%v", err)
	}
}

// A sync that failed leaves in the page cache what the disk has not. The next start makes
// it durable, with the mark at its end: so the file is whole when another follows it.
func TestMarkAfterFailedSync(t *testing.T) {
	// Wherever the mark stands in a sector.
	for size := 5000; size < 5512; size += 4 {
		markAfterFailedSync(t, size)
	}
}

func markAfterFailedSync(t *testing.T, size int) {
	t.Helper()
	m := epochs(t, 1)
	var broken bool
	e := vfs.NewErrors(m, func(op vfs.Op) error {
		if broken && op.Kind == "sync" {
			return errors.New("the disk is broken")
		}
		return nil
	})
	l, _, err := OpenLog(e, "/d", Options{PreAllocKB: 64})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append([]consensus.Txn{create(1<<32|4, 10)}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append([]consensus.Txn{create(1<<32|5, size)}); err != nil {
		t.Fatal(err)
	}
	broken = true
	if _, err := l.Sync(); err == nil {
		t.Fatal("the sync does not fail")
	}
	// The process ends; the machine runs on, and so does the page cache.
	l, rec, err := OpenLog(m, "/d", Options{PreAllocKB: 64})
	if err != nil || rec.Last != 1<<32|5 {
		t.Fatalf("to %v, %v", rec.Last, err)
	}
	if err := l.Append([]consensus.Txn{create(1<<32|6, 10)}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	left := m.Crash(vfs.LoseAll, 1)
	if _, rec, err := OpenLog(left, "/d", Options{}); err != nil || rec.Last != 1<<32|6 {
		t.Errorf("%d bytes, after the power cut: to %v, %v", size, rec.Last, err)
	}
}

// A file that ends where the state begins is needed by nobody: its damage stops nobody.
func TestDamageBelowTheState(t *testing.T) {
	m := epochs(t, 2)
	f, err := m.OpenWrite("/d/log.100000001")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1, 2, 3}, 40); err != nil {
		t.Fatal(err)
	}
	f.Close()
	const from = 2 << 32 // as far as the state is: nothing of epoch 2 is in it
	l, rec, err := OpenLog(m, "/d", Options{From: from})
	if err != nil || rec.Last != 2<<32|3 {
		t.Fatalf("to %v, %v", rec.Last, err)
	}
	r, err := l.ReaderAbove(from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for want := consensus.Zxid(2<<32 | 1); want <= 2<<32|3; want++ {
		if x, err := r.Next(); err != nil || x.Zxid != want {
			t.Fatalf("%v, %v, want %v", x.Zxid, err, want)
		}
	}
	if r, err := l.Reader(1<<32 | 3); err == nil {
		if _, err = r.Next(); !errors.Is(err, consensus.ErrDamaged) {
			t.Errorf("who asks for what is damaged gets %v", err)
		}
		r.Close()
	}
}
