package mem

import (
	"math/rand/v2"
	"testing"
)

// The index against a set of entries, with hashes that are spread, as those of
// maphash are, and with some that begin alike or are the same.
func TestIndex(t *testing.T) {
	for name, hash := range map[string]func(rnd *rand.Rand) uint32{
		"spread": func(rnd *rand.Rand) uint32 { return rnd.Uint32() },
		"high":   func(rnd *rand.Rand) uint32 { return 0xffff0000 | rnd.Uint32N(1<<16) },
		"low":    func(rnd *rand.Rand) uint32 { return rnd.Uint32N(1 << 16) },
	} {
		t.Run(name, func(t *testing.T) {
			x := &index{}
			defer x.close()
			rnd := rand.New(rand.NewPCG(1, 2))
			type entry struct {
				h uint32
				r ref
			}
			var entries []entry
			next := ref(1)
			for _, n := range []int{200, 50, 3000, 10, 60_000, 59_000, 100, 30_000, 0} {
				for len(entries) < n {
					e := entry{hash(rnd), next}
					if next%50 == 0 { // the same hash once more
						e.h = entries[rnd.IntN(len(entries))].h
					}
					next++
					x.insert(e.h, e.r)
					entries = append(entries, e)
				}
				x.check(t, len(entries))
				for range len(entries) / 4 {
					e := &entries[rnd.IntN(len(entries))]
					x.replace(e.h, e.r, next)
					if x.has(e.h, e.r) {
						t.Fatal("a replaced entry is there")
					}
					e.r = next
					next++
				}
				for len(entries) > n {
					i := rnd.IntN(len(entries))
					e := entries[i]
					x.remove(e.h, e.r)
					if x.has(e.h, e.r) {
						t.Fatal("a removed entry is there")
					}
					entries[i] = entries[len(entries)-1]
					entries = entries[:len(entries)-1]
				}
				x.check(t, len(entries))
				for _, e := range entries {
					if !x.has(e.h, e.r) {
						t.Fatalf("hash %#x is not there", e.h)
					}
				}
			}
		})
	}
}

// check looks at every entry's place.
func (x *index) check(t *testing.T, want int) {
	t.Helper()
	n := 0
	last := uint64(0)
	seen := map[*segment]bool{}
	for i, s := range x.dir {
		if seen[s] {
			continue
		}
		seen[s] = true
		if want := uint32(i) >> (x.depth - s.depth); x.segment(want<<(32-s.depth)) != s && s.depth > 0 {
			t.Fatalf("segment %d of the directory is not where it belongs", i)
		}
		if s.n >= s.home {
			t.Fatalf("a segment has %d entries in %d slots", s.n, s.home)
		}
		count := 0
		for at, e := range s.slots {
			if e == 0 {
				continue
			}
			count++
			h := uint32(e >> 32)
			if x.segment(h) != s {
				t.Fatalf("hash %#x is in another segment", h)
			}
			home := s.slot(h)
			if e>>32 < last>>32 || home > uint32(at) {
				t.Fatalf("hash %#x is at %d, belongs to %d, and comes after %#x", h, at, home, last>>32)
			}
			for j := int(home); j < at; j++ {
				if s.slots[j] == 0 {
					t.Fatalf("hash %#x is at %d behind an empty slot", h, at)
				}
			}
			last = e
		}
		if count != int(s.n) {
			t.Fatalf("a segment has %d entries and says %d", count, s.n)
		}
		n += count
	}
	if n != want {
		t.Fatalf("the index has %d entries, want %d", n, want)
	}
}
