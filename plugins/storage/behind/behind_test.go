package behind

import (
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
