package behind

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/zkcore/zkcore/plugins/storage"
)

// TestReadersBesideCommits: whoever reads a few records again and again, from views of any age, sees what his view shows,
// while others read the same from other views, and commits and resets change them. What a view shows follows from its
// zxid alone.
func TestReadersBesideCommits(t *testing.T) {
	const paths, commits, readers = 24, 1500, 4
	// version is the commit that has changed a record last, up to one of them; 0: there is none.
	path := func(i int) string { return fmt.Sprintf("/%d", i) }
	changes := func(i int, commit int64) bool { return commit%97 != 0 && (commit*7+int64(i)*13)%5 == 0 }
	gone := func(i int, commit int64) bool { return (commit+int64(i))%11 == 0 }
	version := func(i int, commit int64) int64 {
		for c := commit; c > 0 && c > commit-200; c-- {
			switch {
			case c%97 == 0: // a reset
				return 0
			case changes(i, c) && gone(i, c):
				return 0
			case changes(i, c):
				return c
			}
		}
		return 0
	}
	s, err := Open(newPlain(), Options{CacheBytes: 1 << 20, Interval: 1, GatherRecords: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(s.cache.hot.slots) == 0 {
		t.Fatal("nothing is hot")
	}
	var over atomic.Bool
	var seen atomic.Int64
	var wg sync.WaitGroup
	for r := range readers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(1, uint64(r)))
			for !over.Load() {
				v := s.View()
				at := v.Applied()
				for range 1 + rng.IntN(60) {
					i := rng.IntN(paths)
					rec, ok, err := v.Get(path(i))
					want := version(i, at)
					if err != nil || ok != (want != 0) || ok && string(rec.Data) != fmt.Sprint(want) {
						t.Errorf("at %d %s is %q (%v, %v), want %d", at, path(i), rec.Data, ok, err, want)
						over.Store(true)
						break
					}
					seen.Add(1)
				}
				v.Release()
			}
		}()
	}
	for c := int64(1); c <= commits && !over.Load(); c++ {
		if c%97 == 0 {
			if err := s.Reset(); err != nil {
				t.Error(err)
			}
			continue
		}
		b := storage.Batch{Zxid: c}
		if c%97 == 1 {
			b.Put("/", nil, nil)
		}
		for i := range paths {
			switch {
			case !changes(i, c):
			case gone(i, c):
				b.Delete(path(i))
			default:
				b.Put(path(i), []byte("head"), fmt.Append(nil, c))
			}
		}
		if err := s.Commit(&b); err != nil {
			t.Error(err)
			break
		}
	}
	over.Store(true)
	wg.Wait()
	if hits := s.cache.hot.hits.Load(); hits == 0 {
		t.Errorf("of %d reads none was of what is hot", seen.Load())
	}
}

// TestHotMovesOn: once all bytes are used, what is read now still gets a place, the bytes stay within their bound, and what
// was pushed out leaves its number behind, so that no view of long ago puts an older record there.
func TestHotMovesOn(t *testing.T) {
	const cacheBytes, set = 1 << 20, 400
	h := newHot(cacheBytes)
	seed := maphash.MakeSeed()
	data := make([]byte, 1<<10)
	read := func(path string, commit uint64) (hit bool) {
		slot := h.slot(maphash.String(seed, path))
		_, was, hit := h.get(slot, path, commit)
		if !hit {
			h.keep(slot, was, path, storage.Record{Data: data}, commit)
		}
		return hit
	}
	for i := range set {
		read(fmt.Sprintf("/before/%d", i), 7)
	}
	if full := h.bytes.Load(); full < h.most*8/10 || full > h.most {
		t.Fatalf("%d of %d bytes are used", full, h.most)
	}
	// The working set moves: half of what fits.
	hits, now := 0, int(h.most/(2<<10)/2)
	for range 20 {
		hits = 0
		for i := range now {
			if read(fmt.Sprintf("/now/%d", i), 9) {
				hits++
			}
		}
		if used := h.bytes.Load(); used > h.most || used < 0 {
			t.Fatalf("%d of %d bytes are used", used, h.most)
		}
	}
	if hits < now*7/10 {
		t.Errorf("of %d records that are read again and again %d are hot", now, hits)
	}
	held := int64(0)
	for i := range h.slots {
		r := h.slots[i].Load()
		held += r.size()
		if r == nil {
			continue
		}
		if r.from < 7 {
			t.Errorf("slot %d is of %d", i, r.from)
		}
		h.keep(&h.slots[i], r, "/late", storage.Record{}, r.from-1)
		if h.slots[i].Load() != r {
			t.Errorf("slot %d of %d took a record of a view before it", i, r.from)
		}
	}
	if held != h.bytes.Load() {
		t.Errorf("the slots hold %d bytes, counted are %d", held, h.bytes.Load())
	}
}
