package behind

import (
	"fmt"
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
