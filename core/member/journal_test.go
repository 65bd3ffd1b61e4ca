package member

import (
	"encoding/binary"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestReadLogBesideACut: while a server delivers what it knows to be committed, a leader cuts off what
// is behind that and was never committed. And what is to be delivered itself must not be missing in silence.
func TestReadLogBesideACut(t *testing.T) {
	for _, tc := range []struct {
		name       string
		last, cut  consensus.Zxid
		want       consensus.Zxid
		incomplete bool
	}{
		{"behind it", 8, 8, 8, false},
		{"within it", 8, 5, 5, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fsys := vfs.NewMem()
			if err := fsys.MkdirAll("/log"); err != nil {
				t.Fatal(err)
			}
			l, _, err := txnlog.OpenLog(fsys, "/log", txnlog.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			for z := consensus.Zxid(1); z <= 10; z++ {
				b := make([]byte, 100<<10)
				binary.BigEndian.PutUint64(b[12:], uint64(z))
				if z%3 == 0 {
					l.Roll()
				}
				if err := l.Append([]consensus.Txn{{Zxid: z, Data: b}}); err != nil {
					t.Fatal(err)
				}
			}
			at := consensus.Zxid(0)
			err = ReadLog(l, 0, tc.last, func(txns []consensus.Txn) error {
				for _, x := range txns {
					if x.Zxid != at+1 || consensus.Zxid(binary.BigEndian.Uint64(x.Data[12:])) != x.Zxid {
						t.Fatalf("%v comes after %v", x.Zxid, at)
					}
					at = x.Zxid
				}
				if l.Last() == 10 {
					return l.TruncateTo(tc.cut)
				}
				return nil
			})
			if tc.incomplete != (err != nil) || at > tc.want || !tc.incomplete && at != tc.want {
				t.Errorf("delivered up to %v, %v", at, err)
			}
		})
	}
}

// A heldDisk has each sync of a file wait until it is let go.
type heldDisk struct {
	limitedDisk
	syncs chan chan struct{}
}

func (d *heldDisk) Create(name string) (vfs.File, error) {
	f, err := d.limitedDisk.Create(name)
	return heldFile{f, d}, err
}

type heldFile struct {
	vfs.File
	d *heldDisk
}

func (f heldFile) Sync() error {
	let := make(chan struct{})
	f.d.syncs <- let
	<-let
	return f.File.Sync()
}

// batchSizes are how many txns were synced together.
type batchSizes struct {
	mu   sync.Mutex
	seen []int
}

func (*batchSizes) Add(string, int64)                  {}
func (*batchSizes) ObserveKey(string, string, float64) {}
func (s *batchSizes) Observe(name string, v float64) {
	if name == "sync_processor_batch_size" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen = append(s.seen, int(v))
	}
}

// TestGroupCommit: what is appended while a sync runs costs one more sync, however much it is, and whoever
// waits is told of it after that one.
func TestGroupCommit(t *testing.T) {
	d := &heldDisk{limitedDisk: limitedDisk{FS: vfs.NewMem()}, syncs: make(chan chan struct{})}
	d.free.Store(1 << 40)
	if err := d.MkdirAll("/log"); err != nil {
		t.Fatal(err)
	}
	l, _, err := txnlog.OpenLog(d, "/log", txnlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g := NewGauge(d, consensus.Config{LogDir: "/log", DataDir: "/log", Log: slog.New(slog.DiscardHandler)}, mb)
	var sizes batchSizes
	j := NewJournal(l, g, 0, func(code int, err error) { t.Errorf("the process ends with %d: %v", code, err) }, slog.New(slog.DiscardHandler), Meter{&sizes})
	var durable []consensus.Zxid // Run's, and ours behind Close
	add := func(z consensus.Zxid) {
		b := make([]byte, 100)
		binary.BigEndian.PutUint64(b[12:], uint64(z))
		j.Append([]consensus.Txn{{Zxid: z, Data: b}}, func(z consensus.Zxid) { durable = append(durable, z) })
	}
	go j.Run()
	add(1)
	first := <-d.syncs
	for z := consensus.Zxid(2); z <= 200; z++ {
		add(z)
	}
	close(first)
	go func() {
		for let := range d.syncs {
			close(let)
		}
	}()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	close(d.syncs)
	if want := []int{1, 199}; !slices.Equal(sizes.seen, want) {
		t.Errorf("txns synced together: %v, want %v", sizes.seen, want)
	}
	if want := []consensus.Zxid{1, 200}; !slices.Equal(durable, want) {
		t.Errorf("told that durable is %v, want %v", durable, want)
	}
}
