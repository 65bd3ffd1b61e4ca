package mem

import (
	"math/bits"
	"unsafe"
)

// An index finds refs by 32 bits of hash.
//
// It is one sequence of entries sorted by hash, cut into segments by the first
// bits of the hash. In its segment an entry stands where the rest of its hash
// says, or behind that if others with a smaller hash or the same one are there:
// linear probing, in which a search ends at the first larger hash. A segment
// grows by a page at a time, so that it is nearly full always, and splits when it
// has all of its pages. Since an entry has its whole hash, neither looks at the
// records. It relies on hashes that are spread evenly, and that nobody can guess.
type index struct {
	depth uint // bits of hash that choose a segment
	dir   []*segment
	fresh []byte   // mapped, and not in a segment yet
	maps  [][]byte // all that was mapped
	spare []uint64 // for moving entries, segmentSlots of them
}

// A segment holds the entries whose hash begins with the same depth bits.
type segment struct {
	slots []uint64 // the pages in use: hash<<32 | ref, or 0
	all   []byte   // all pages it may use
	home  uint32   // how many slots a hash can choose; the rest take the overflow
	n     uint32
	depth uint
}

const (
	pageSlots    = pageSize / 8
	segmentPages = 16
	segmentSlots = segmentPages * pageSlots
	// overflow is how far the last entries of a segment may be from where they
	// belong.
	overflow = 64
	// segmentsMapped at once.
	segmentsMapped = 64
)

func (s *segment) slot(h uint32) uint32 {
	hi, _ := bits.Mul32(h<<s.depth, s.home)
	return hi
}

// crowded says that another entry is too many for n pages.
func (s *segment) crowded() bool { return s.n >= s.home-s.home/8 }

func (x *index) segment(h uint32) *segment { return x.dir[h>>(32-x.depth)] }

// insert adds an entry.
func (x *index) insert(h uint32, r ref) {
	if x.dir == nil {
		s := x.newSegment(0)
		s.lay(nil, 1)
		x.dir = []*segment{s}
	}
	for {
		s := x.segment(h)
		if !s.crowded() && s.insert(h, r) {
			return
		}
		x.enlarge(s)
	}
}

func (s *segment) insert(h uint32, r ref) bool {
	slots := s.slots
	i := s.slot(h)
	for int(i) < len(slots) && slots[i] != 0 && uint32(slots[i]>>32) <= h {
		i++
	}
	end := i
	for int(end) < len(slots) && slots[end] != 0 {
		end++
	}
	if int(end) == len(slots) {
		return false
	}
	copy(slots[i+1:end+1], slots[i:end])
	slots[i] = uint64(h)<<32 | uint64(r)
	s.n++
	return true
}

// find returns the slot of an entry that is there.
func (s *segment) find(h uint32, r ref) (uint32, bool) {
	e := uint64(h)<<32 | uint64(r)
	for i := s.slot(h); int(i) < len(s.slots); i++ {
		if s.slots[i] == e {
			return i, true
		}
		if s.slots[i] == 0 || uint32(s.slots[i]>>32) > h {
			break
		}
	}
	return 0, false
}

// has says whether the entry is there.
func (x *index) has(h uint32, r ref) bool {
	if x.dir == nil {
		return false
	}
	_, ok := x.segment(h).find(h, r)
	return ok
}

// replace makes an entry refer to another block.
func (x *index) replace(h uint32, old, r ref) {
	s := x.segment(h)
	i, ok := s.find(h, old)
	if !ok {
		panic("mem: a record is not in the index")
	}
	s.slots[i] = uint64(h)<<32 | uint64(r)
}

// remove takes an entry out.
func (x *index) remove(h uint32, r ref) {
	s := x.segment(h)
	i, ok := s.find(h, r)
	if !ok {
		panic("mem: a record is not in the index")
	}
	end := i + 1
	for int(end) < len(s.slots) && s.slots[end] != 0 && s.slot(uint32(s.slots[end]>>32)) < end {
		end++
	}
	copy(s.slots[i:], s.slots[i+1:end])
	s.slots[end-1] = 0
	s.n--
	if pages := len(s.slots) / pageSlots; pages > 1 && s.n < s.home/2 {
		s.layAny(x.lift(s))
	}
}

// enlarge gives a segment another page, or makes two of it.
func (x *index) enlarge(s *segment) {
	entries := x.lift(s)
	pages := len(s.slots) / pageSlots
	for pages++; pages <= segmentPages; pages++ {
		if s.lay(entries, pages) {
			return
		}
	}
	if s.depth == x.depth {
		if x.depth == 31 {
			panic("mem: more equal hashes than a segment holds")
		}
		x.depth++
		dir := make([]*segment, 2*len(x.dir))
		for i := range dir {
			dir[i] = x.dir[i/2]
		}
		x.dir = dir
	}
	// The upper half's hashes have the next bit set.
	s.depth++
	bit := uint64(1) << (64 - s.depth)
	cut := 0
	for cut < len(entries) && entries[cut]&bit == 0 {
		cut++
	}
	t := x.newSegment(s.depth)
	s.layAny(entries[:cut])
	t.layAny(entries[cut:])
	first := -1 // of s in the directory; the half behind is t's
	for i := int(uint32(entries[0]>>32) >> (32 - x.depth)); i >= 0 && x.dir[i] == s; i-- {
		first = i
	}
	width := 1 << (x.depth - s.depth)
	for i := first + width; i < first+2*width; i++ {
		x.dir[i] = t
	}
}

// lift copies a segment's entries out of it.
func (x *index) lift(s *segment) []uint64 {
	if x.spare == nil {
		x.spare = make([]uint64, 0, segmentSlots)
	}
	entries := x.spare[:0]
	for _, e := range s.slots {
		if e != 0 {
			entries = append(entries, e)
		}
	}
	return entries
}

// layAny lays entries into as many pages as they need.
func (s *segment) layAny(entries []uint64) {
	pages := len(entries)*8/7/pageSlots + 1
	for ; pages <= segmentPages; pages++ {
		if s.lay(entries, pages) {
			return
		}
	}
	panic("mem: a segment overflows after it was split")
}

// lay makes entries, sorted, the content of a segment of so many pages, if they
// go in there.
func (s *segment) lay(entries []uint64, pages int) bool {
	had := len(s.slots) / pageSlots
	s.slots = unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(s.all))), segmentSlots)[:pages*pageSlots]
	s.home = uint32(len(s.slots) - overflow)
	s.n = uint32(len(entries))
	clear(s.slots)
	if pages < had {
		forgetPages(s.all[pages*pageSize : had*pageSize])
	}
	next := uint32(0)
	for _, e := range entries {
		i := max(s.slot(uint32(e>>32)), next)
		if int(i) >= len(s.slots) {
			return false
		}
		s.slots[i] = e
		next = i + 1
	}
	return true
}

func (x *index) newSegment(depth uint) *segment {
	const size = segmentPages * pageSize
	if len(x.fresh) == 0 {
		mem, err := mapPages(segmentsMapped * size)
		if err != nil {
			panic(err)
		}
		x.maps = append(x.maps, mem)
		x.fresh = mem
	}
	s := &segment{all: x.fresh[:size:size], depth: depth}
	x.fresh = x.fresh[size:]
	return s
}

// close unmaps all.
func (x *index) close() {
	for _, mem := range x.maps {
		unmapPages(mem)
	}
	*x = index{}
}
