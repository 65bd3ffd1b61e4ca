package mem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// A ref is where a block begins, in units of 8 bytes from the arena's begin.
// 0 is none.
type ref uint32

const (
	unitShift = 3
	pageShift = 12
	pageSize  = 1 << pageShift

	chunkSize  = 1 << chunkShift
	chunkPages = 1 << (chunkShift - pageShift)
	maxChunks  = 1 << (32 + unitShift - chunkShift)

	// smallMax is the largest block that shares its pages with others.
	smallMax   = 8 << 10
	numClasses = 64 + 16*4
	spanPages  = 16

	numBins = 64 + 32
)

// errFull is the limit that 32 bits of ref set.
var errFull = errors.New("mem: the store is full: its records take 32 GiB")

// An arena hands out blocks of memory: small ones by size class out of spans of
// pages, larger ones as runs of pages, and what is larger than a chunk as a
// mapping of its own. Blocks don't move.
type arena struct {
	// chunks are the mappings. A huge block takes several numbers in a row, of
	// which the first refers to all of it. A number that isn't used is nil.
	chunks [][]byte
	pages  [][]page

	bins [numBins]uint32    // first pages of the free runs, by length
	room [numClasses]uint32 // first pages of the spans with a free block

	used  int // pages in spans and runs
	dirty int // pages in free runs that are worth giving back to the system
}

// A page describes a page of a chunk. Of a run, the first and the last page are
// described, of a span all pages are.
type page struct {
	next, prev uint32 // in a list of free runs, or of spans with room; next is a spanTail's first page
	run        uint32 // pages in the run
	free       ref    // of a span: its first free block; of a free run: how many pages were written to
	live       uint16 // of a span: how many blocks are in use
	fresh      uint16 // of a span: how many blocks were ever in use
	blocks     uint16 // of a span: how many blocks it has
	class      uint8
	kind       uint8
}

// Kinds of page.
const (
	pageFree uint8 = iota
	pageRun
	pageSpan
	pageSpanTail
	pageHuge
)

// classOf returns the class of blocks of n bytes, n <= smallMax: steps of 8
// bytes up to 512, then sixteen steps for each doubling.
func classOf(n int) int {
	if n <= 512 {
		return max(n+7, 8)>>3 - 1
	}
	doubling := bits.Len(uint(n-1)) - 10
	return 64 + doubling*16 + (n-1)>>(doubling+5) - 16
}

// classSize is the size of a class's blocks.
func classSize(class int) int {
	if class < 64 {
		return (class + 1) << 3
	}
	doubling, step := (class-64)>>4, (class-64)&15
	return (step + 17) << (doubling + 5)
}

// binOf returns the bin of free runs of n pages: one for each length up to 64,
// then one for each power of two.
func binOf(n uint32) int {
	if n <= 64 {
		return int(n) - 1
	}
	return 64 + bits.Len32(n) - 7
}

func (a *arena) page(p uint32) *page {
	return &a.pages[p>>(chunkShift-pageShift)][p&(chunkPages-1)]
}

// at returns the memory from r to the end of its chunk.
func (a *arena) at(r ref) []byte {
	addr := uint64(r) << unitShift
	return a.chunks[addr>>chunkShift][addr&(chunkSize-1):]
}

func pageRef(p uint32) ref         { return ref(p << (pageShift - unitShift)) }
func refPage(r ref) uint32         { return uint32(r >> (pageShift - unitShift)) }
func pagesFor(n int) uint32        { return uint32((n + pageSize - 1) >> pageShift) }
func chunksFor(n int) int          { return (n + chunkSize - 1) >> chunkShift }
func (a *arena) link(r ref) []byte { return a.at(r)[:4] }

// reserve makes sure that n bytes can be allocated, in whatever blocks, and
// huge blocks that take so many chunk numbers.
func (a *arena) reserve(n, numbers int) error {
	const margin = chunkPages / 4 // for lists, and for spans of classes that have none
	if numbers > 0 {
		if _, err := a.numbers(numbers); err != nil {
			return err
		}
	}
	need := pagesFor(n) + pagesFor(n/4) + margin
	for b := binOf(need) + 1; b < numBins; b++ {
		if a.bins[b] != 0 {
			return nil
		}
	}
	have := uint32(0)
	for b := binOf(margin); b < numBins; b++ {
		for p := a.bins[b]; p != 0; p = a.page(p).next {
			if run := a.page(p).run; run >= margin {
				have += run
			}
		}
	}
	for have < 2*need {
		if err := a.grow(); err != nil {
			return err
		}
		have += chunkPages
	}
	return nil
}

// grow maps another chunk.
func (a *arena) grow() error {
	c, err := a.numbers(1)
	if err != nil {
		return err
	}
	mem, err := mapPages(chunkSize)
	if err != nil {
		return fmt.Errorf("mem: more memory: %w", err)
	}
	if c > 0 { // a small store is to stay small
		hugePages(mem)
	}
	a.chunks[c], a.pages[c] = mem, make([]page, chunkPages)
	first, n := c*chunkPages, uint32(chunkPages)
	if c == 0 { // page 0 is none, as ref 0 is
		first, n = 1, n-1
		a.pages[0][0].kind = pageRun
	}
	a.putRun(first, n, 0)
	return nil
}

// numbers returns the first of n chunk numbers in a row that aren't used.
func (a *arena) numbers(n int) (uint32, error) {
	free := 0
	for i, c := range a.chunks {
		free++
		if c != nil {
			free = 0
		}
		if free == n {
			return uint32(i - n + 1), nil
		}
	}
	first := len(a.chunks) - free
	if first+n > maxChunks {
		return 0, errFull
	}
	a.chunks = append(a.chunks, make([][]byte, n-free)...)
	a.pages = append(a.pages, make([][]page, n-free)...)
	return uint32(first), nil
}

// alloc returns a block of n bytes. Its content is undefined. reserve has been
// called.
func (a *arena) alloc(n int) ref {
	if n > smallMax {
		if n > chunkSize {
			return a.allocHuge(n)
		}
		run := pagesFor(n)
		p := a.takeRun(run, run)
		a.mark(p, a.page(p).run, pageRun)
		return pageRef(p)
	}
	class := classOf(n)
	p := a.room[class]
	if p == 0 {
		p = a.newSpan(class)
	}
	pg := a.page(p)
	r := pg.free
	if r != 0 {
		pg.free = ref(binary.LittleEndian.Uint32(a.link(r)))
	} else {
		r = pageRef(p) + ref(int(pg.fresh)*classSize(class)>>unitShift)
		pg.fresh++
	}
	pg.live++
	if pg.free == 0 && pg.fresh == pg.blocks {
		a.unlink(&a.room[class], pg)
	}
	return r
}

// free takes back a block.
func (a *arena) free(r ref) {
	p := refPage(r)
	pg := a.page(p)
	switch pg.kind {
	case pageRun:
		a.freeRun(p, pg.run)
		return
	case pageHuge:
		a.freeHuge(p)
		return
	case pageSpanTail:
		p = pg.next
		pg = a.page(p)
	case pageSpan:
	default:
		panic("mem: freeing a block that is free")
	}
	if pg.free == 0 && pg.fresh == pg.blocks {
		a.push(&a.room[pg.class], p)
	}
	binary.LittleEndian.PutUint32(a.link(r), uint32(pg.free))
	pg.free = r
	pg.live--
	if pg.live == 0 {
		a.unlink(&a.room[pg.class], pg)
		a.freeRun(p, pg.run)
	}
}

// size returns how many bytes the block has room for.
func (a *arena) size(r ref) int {
	p := refPage(r)
	pg := a.page(p)
	switch pg.kind {
	case pageRun:
		return int(pg.run) << pageShift
	case pageHuge:
		return len(a.chunks[p/chunkPages])
	case pageSpanTail:
		pg = a.page(pg.next)
	}
	return classSize(int(pg.class))
}

// newSpan makes a span for a class. A shorter run will do, if it is there and
// holds a few blocks: that is what becomes of odd free runs.
func (a *arena) newSpan(class int) uint32 {
	p := a.takeRun(min(spanPages, pagesFor(8*classSize(class))), spanPages)
	pg := a.page(p)
	n := pg.run
	for i := uint32(1); i < n; i++ {
		*a.page(p + i) = page{kind: pageSpanTail, next: p}
	}
	*pg = page{kind: pageSpan, class: uint8(class), run: n, blocks: uint16(int(n) << pageShift / classSize(class))}
	a.push(&a.room[class], p)
	return p
}

// takeRun takes a run of most pages out of the free ones, or the longest of at
// least least pages if there is one shorter than most. The run's length is in
// its first page.
func (a *arena) takeRun(least, most uint32) uint32 {
	for n := most; n >= least && n <= 64; n-- {
		if p := a.bins[n-1]; p != 0 {
			return a.cut(p, n)
		}
	}
	for b := binOf(most); b < numBins; b++ {
		for p := a.bins[b]; p != 0; p = a.page(p).next {
			if a.page(p).run >= most {
				return a.cut(p, most)
			}
		}
	}
	// reserve has seen to it that there is room, if the system has it at all.
	if err := a.grow(); err != nil {
		panic(err)
	}
	return a.takeRun(least, most)
}

// cut takes n pages from the begin of a free run.
func (a *arena) cut(p, n uint32) uint32 {
	pg := a.page(p)
	all, dirty := pg.run, uint32(pg.free)
	a.dropRun(p)
	if all > n {
		a.putRun(p+n, all-n, dirty-min(dirty, n))
	}
	pg.run = n
	a.used += int(n)
	return p
}

// mark describes a run at both of its ends.
func (a *arena) mark(p, n uint32, kind uint8) {
	first, last := a.page(p), a.page(p+n-1)
	last.run, last.kind = n, kind
	first.run, first.kind = n, kind
}

// putRun puts a run into its bin. Of its pages some were written to since the
// system had them.
func (a *arena) putRun(p, n, dirty uint32) {
	a.mark(p, n, pageFree)
	a.page(p).free = ref(dirty)
	a.push(&a.bins[binOf(n)], p)
	if dirty >= worthwhile {
		a.dirty += int(dirty)
	}
}

// dropRun takes a run out of its bin.
func (a *arena) dropRun(p uint32) {
	pg := a.page(p)
	a.unlink(&a.bins[binOf(pg.run)], pg)
	if pg.free >= worthwhile {
		a.dirty -= int(pg.free)
	}
}

// freeRun puts pages back, together with the free ones beside them.
func (a *arena) freeRun(p, n uint32) {
	a.used -= int(n)
	dirty := n
	if p&(chunkPages-1) != 0 {
		if before := a.page(p - 1); before.kind == pageFree {
			n += before.run
			p -= before.run
			dirty += uint32(a.page(p).free)
			a.dropRun(p)
		}
	}
	if (p+n)&(chunkPages-1) != 0 {
		if behind := a.page(p + n); behind.kind == pageFree {
			a.dropRun(p + n)
			n += behind.run
			dirty += uint32(behind.free)
		}
	}
	a.putRun(p, n, dirty)
}

// worthwhile is how many pages a free run must have for the system to get them
// back.
const worthwhile = 32

// scavenge gives free pages back to the system when they are many, a portion at
// a time.
func (a *arena) scavenge() {
	if a.dirty < chunkPages/4+a.used/8 {
		return
	}
	const portion = chunkPages / 4
	done := uint32(0)
	for b := numBins - 1; b >= worthwhile-1; b-- {
		for p := a.bins[b]; p != 0; {
			pg := a.page(p)
			next, n, dirty := pg.next, pg.run, uint32(pg.free)
			if dirty >= worthwhile {
				forgetPages(a.at(pageRef(p))[:int(n)<<pageShift])
				a.dropRun(p)
				a.putRun(p, n, 0)
				if done += dirty; done >= portion {
					return
				}
			}
			p = next
		}
	}
}

func (a *arena) allocHuge(n int) ref {
	numbers := chunksFor(n)
	c, err := a.numbers(numbers)
	if err != nil {
		panic(err) // reserve has seen to it
	}
	mem, err := mapPages(n)
	if err != nil {
		panic(fmt.Errorf("mem: %d bytes for one record: %w", n, err))
	}
	for i := range numbers {
		a.chunks[int(c)+i] = mem[i<<chunkShift:]
	}
	a.pages[c] = []page{{kind: pageHuge, run: uint32(numbers)}}
	return pageRef(c * chunkPages)
}

func (a *arena) freeHuge(p uint32) {
	c := p / chunkPages
	unmapPages(a.chunks[c])
	for i := range a.pages[c][0].run {
		a.chunks[c+i] = nil
	}
	a.pages[c] = nil
}

// push puts page p at the head of a list.
func (a *arena) push(head *uint32, p uint32) {
	pg := a.page(p)
	pg.next, pg.prev = *head, 0
	if *head != 0 {
		a.page(*head).prev = p
	}
	*head = p
}

func (a *arena) unlink(head *uint32, pg *page) {
	if pg.prev != 0 {
		a.page(pg.prev).next = pg.next
	} else {
		*head = pg.next
	}
	if pg.next != 0 {
		a.page(pg.next).prev = pg.prev
	}
}

// close unmaps all.
func (a *arena) close() {
	for c, mem := range a.chunks {
		if a.pages[c] != nil {
			unmapPages(mem)
		}
	}
	*a = arena{}
}
