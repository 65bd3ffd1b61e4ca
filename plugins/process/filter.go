package process

import (
	"sync"
)

// A filter knows of most paths without a record that there is none, so that it need not be asked
// for in the other process: whoever creates a znode looks first whether there is one.
//
// It is a Bloom filter over the paths that have had a record since version from. A path that is
// deleted stays in it; so it is right about every view from that version on, whatever was
// changed since, and it is made anew when it holds too much that is gone.
type filter struct {
	mu       sync.RWMutex
	from     uint64
	complete bool
	tables   []bloom
	n        int // paths in it, about
}

// A bloom is one table. The next one is larger.
type bloom struct {
	bits []uint64
	n    int // what is in it
	max  int // what it is made for
}

const (
	firstBloom = 1 << 16
	bitsPer    = 16
	probes     = 6
)

// hashPath is the same in both processes.
func hashPath[T string | []byte](seed uint64, path T) uint64 {
	h := seed ^ 0xcbf29ce484222325
	for i := 0; i < len(path); i++ {
		h = (h ^ uint64(path[i])) * 0x100000001b3
	}
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}

func (b *bloom) each(h uint64, fn func(word int, bit uint64) bool) bool {
	step := h>>33 | 1
	for range probes {
		i := h % uint64(64*len(b.bits))
		if !fn(int(i/64), 1<<(i%64)) {
			return false
		}
		h += step
	}
	return true
}

func (b *bloom) has(h uint64) bool {
	return b.each(h, func(word int, bit uint64) bool { return b.bits[word]&bit != 0 })
}

func (f *filter) add(h uint64) {
	for i := range f.tables {
		if f.tables[i].has(h) {
			return
		}
	}
	last := len(f.tables) - 1
	if last < 0 || f.tables[last].n >= f.tables[last].max {
		size := firstBloom
		if last >= 0 {
			size = 4 * f.tables[last].max
		}
		f.tables = append(f.tables, bloom{bits: make([]uint64, size*bitsPer/64), max: size})
		last++
	}
	b := &f.tables[last]
	b.n++
	f.n++
	b.each(h, func(word int, bit uint64) bool {
		b.bits[word] |= bit
		return true
	})
}

// addAll adds paths by their hashes.
func (f *filter) addAll(hashes []uint64) {
	if f == nil || len(hashes) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range hashes {
		f.add(h)
	}
}

// lacks says that a view of that version has no record of the path. False says nothing.
func (f *filter) lacks(version, h uint64) bool {
	if f == nil {
		return false
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	if !f.complete || version < f.from {
		return false
	}
	for i := range f.tables {
		if f.tables[i].has(h) {
			return false
		}
	}
	return true
}

// stale says that so much in it is gone that it should be made anew, with live records there.
func (f *filter) stale(live int) bool {
	if f == nil {
		return false
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.complete && f.n > 2*live+firstBloom
}
