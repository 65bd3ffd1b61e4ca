package behind

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/zkcore/zkcore/plugins/storage"
	"github.com/zkcore/zkcore/plugins/storage/storagetest"
)

// The layer keeps the contract before a store that keeps it: with a cache that
// is too small and one that holds everything, writing in the background and
// within commits, as often as it can and never.
func TestContract(t *testing.T) {
	for name, o := range map[string]Options{
		"Background": {CacheBytes: 1 << 20, Interval: time.Millisecond},
		"Within":     {CacheBytes: 1 << 20, Interval: -1, GatherRecords: 40},
		"SmallCache": {CacheBytes: 20 << 10, Interval: -1, GatherRecords: 1000},
		"Large":      {CacheBytes: 64 << 20, Interval: time.Hour, GatherBytes: 1 << 30, GatherRecords: 1 << 30},
	} {
		t.Run(name, func(t *testing.T) {
			open := func(t testing.TB, inner storage.Store) storage.Store {
				s, err := Open(inner, o)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			storagetest.Run(t, storagetest.Factory{
				Open: func(t testing.TB) storage.Store { return open(t, newPlain()) },
				// A crash: what is not written is lost.
				Reopen: func(t testing.TB, s storage.Store) storage.Store {
					crashed := s.(*Store)
					Crash(crashed)
					inner := newPlain()
					inner.now = crashed.inner.(*plain).now
					return open(t, inner)
				},
			})
		})
	}
}

// TestWalkAsksForNothing: a walk goes through the base once. Each question for one record may be a call to another
// process.
func TestWalkAsksForNothing(t *testing.T) {
	inner := newPlain()
	// What the base has already is gathered once more, and other things beside.
	written := storage.Batch{Zxid: 1}
	written.Put("/", nil, nil)
	for i := range 100 {
		written.Put(fmt.Sprintf("/a%02d", i), nil, []byte("old"))
	}
	if err := inner.Commit(&written); err != nil {
		t.Fatal(err)
	}
	s, err := Open(inner, Options{CacheBytes: 1 << 20, Interval: -1, GatherBytes: 1 << 30, GatherRecords: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := storage.Batch{Zxid: 2}
	for i := range 100 {
		b.Put(fmt.Sprintf("/a%02d", i), nil, []byte("new"))
		b.Put(fmt.Sprintf("/b%02d", i), nil, []byte("new"))
	}
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	v := s.View()
	defer v.Release()
	before, walked := inner.gets, 0
	err = v.Walk(func(path string, rec storage.Record) bool {
		if walked++; path != "/" && string(rec.Data) != "new" {
			t.Errorf("%s is %q", path, rec.Data)
		}
		return true
	})
	if err != nil || walked != 201 || inner.gets != before {
		t.Errorf("%d records, %d questions, %v", walked, inner.gets-before, err)
	}
}

// TestHeadsOfLargeRecords: a head that gathers keeps the data beside it in memory, wherever that was found. It
// counts against the bound.
func TestHeadsOfLargeRecords(t *testing.T) {
	const records, size, bound = 64, 64 << 10, 1 << 20
	for name, cacheBytes := range map[string]int64{"Cached": 64 << 20, "InTheBase": 0} {
		t.Run(name, func(t *testing.T) {
			inner := newPlain()
			written := storage.Batch{Zxid: 1}
			written.Put("/", []byte("old"), nil)
			for i := range records {
				written.Put(fmt.Sprintf("/a%02d", i), []byte("old"), make([]byte, size))
			}
			if err := inner.Commit(&written); err != nil {
				t.Fatal(err)
			}
			s, err := Open(inner, Options{CacheBytes: cacheBytes, Interval: -1, GatherBytes: bound})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			v := s.View()
			for i := range records {
				if rec, ok, err := v.Get(fmt.Sprintf("/a%02d", i)); !ok || err != nil || len(rec.Data) != size {
					t.Fatal(i, ok, err)
				}
			}
			v.Release()
			for i := range records {
				b := storage.Batch{Zxid: int64(i) + 2}
				b.PutHead(fmt.Sprintf("/a%02d", i), []byte("new"))
				if err := s.Commit(&b); err != nil {
					t.Fatal(err)
				}
				held := 0
				for w := s.now.gathering.from(""); ; w.next() {
					_, e, ok := w.peek()
					if !ok {
						break
					}
					held += len(e.head) + len(e.data)
				}
				if held > bound {
					t.Fatalf("after %d heads %d bytes have gathered, for a bound of %d", i+1, held, bound)
				}
			}
		})
	}
}

// TestViewOfAClosedStore: a view that is taken of a closed store does not release the one of the store behind once more.
func TestViewOfAClosedStore(t *testing.T) {
	inner := newPlain()
	s, err := Open(inner, Options{Interval: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	v := s.View()
	if _, _, err := v.Get("/"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("it shows %v", err)
	}
	v.Release()
	if inner.views != 0 {
		t.Errorf("%d views of the store behind are not released", inner.views)
	}
}

// A lazy store makes durable what it is told to, and not what is committed.
type lazy struct {
	*plain
	durable int64
}

func (l *lazy) Durable() int64 { return l.durable }

func (l *lazy) Flush(context.Context) error {
	l.durable = l.Applied()
	return nil
}

func (l *lazy) Reset() error {
	l.durable = 0
	return l.plain.Reset()
}

// TestDurableAfterFlush: what a flush of the store behind makes durable is told, also if that store syncs no commit: one
// that writes behind itself, in another process, does not.
func TestDurableAfterFlush(t *testing.T) {
	s, err := Open(&lazy{plain: newPlain()}, Options{Interval: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for zxid := int64(1); zxid <= 3; zxid++ {
		b := storage.Batch{Zxid: zxid}
		b.Put("/", nil, nil)
		if err := s.Commit(&b); err != nil {
			t.Fatal(err)
		}
		if d := s.Durable(); d != zxid-1 {
			t.Errorf("Durable is %d before the flush at %d", d, zxid)
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := s.Durable(); d != zxid {
			t.Errorf("Durable is %d after the flush at %d", d, zxid)
		}
	}
	if err := s.Reset(); err != nil {
		t.Fatal(err)
	}
	if d := s.Durable(); d != 0 {
		t.Errorf("an empty store is durable up to %d", d)
	}
}
