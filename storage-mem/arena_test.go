package mem

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/zkcore/zkcore/plugins/storage"
)

func TestClasses(t *testing.T) {
	last := 0
	for n := 1; n <= smallMax; n++ {
		class := classOf(n)
		size := classSize(class)
		if class < 0 || class >= numClasses || size < n {
			t.Fatalf("%d bytes are of class %d, %d bytes", n, class, size)
		}
		if size-n >= max(8, n/16+8) {
			t.Errorf("%d bytes take %d", n, size)
		}
		if class > 0 && classSize(class-1) >= n {
			t.Fatalf("%d bytes are of class %d, though %d has room", n, class, class-1)
		}
		if size%8 != 0 || size < last {
			t.Errorf("class %d is of %d bytes, after %d", class, size, last)
		}
		last = size
	}
	if last != smallMax || classOf(smallMax) != numClasses-1 {
		t.Errorf("the last class has %d bytes and number %d", last, classOf(smallMax))
	}
}

// Blocks of all kinds come and go, each filled with a byte of its own.
func TestArena(t *testing.T) {
	a := &arena{}
	defer a.close()
	rnd := rand.New(rand.NewPCG(1, 1))
	type block struct {
		r    ref
		n    int
		fill byte
	}
	var blocks []block
	check := func(b block) {
		t.Helper()
		if got := bytes.Count(a.at(b.r)[:b.n], []byte{b.fill}); got != b.n {
			t.Fatalf("a block of %d bytes at %d has %d of its own", b.n, b.r, got)
		}
		if a.size(b.r) < b.n {
			t.Fatalf("a block of %d bytes at %d has room for %d", b.n, b.r, a.size(b.r))
		}
	}
	drop := func(i int) {
		check(blocks[i])
		a.free(blocks[i].r)
		blocks[i] = blocks[len(blocks)-1]
		blocks = blocks[:len(blocks)-1]
	}
	for round := range 6 {
		for range 4000 {
			n := 1 + rnd.IntN(600)
			switch rnd.IntN(100) {
			case 0, 1, 2, 3:
				n = 1 + rnd.IntN(40_000)
			case 4:
				n = 1 + rnd.IntN(300_000)
			}
			if err := a.reserve(n, 0); err != nil {
				t.Fatal(err)
			}
			b := block{a.alloc(n), n, byte(rnd.IntN(256))}
			for i := range a.at(b.r)[:n] {
				a.at(b.r)[i] = b.fill
			}
			blocks = append(blocks, b)
			if rnd.IntN(3) == 0 {
				drop(rnd.IntN(len(blocks)))
			}
		}
		a.checkRuns(t)
		for keep := len(blocks) / (2 + round%2*10); len(blocks) > keep; {
			drop(rnd.IntN(len(blocks)))
		}
		a.checkRuns(t)
		a.dirty += chunkPages + a.used // more than it is, so that it is given back
		a.scavenge()
		a.dirty -= chunkPages + a.used
		a.checkRuns(t)
	}
	for len(blocks) > 0 {
		drop(0)
	}
	a.checkEmpty(t)
}

// checkRuns compares the free runs with what the arena says of them.
func (a *arena) checkRuns(t *testing.T) {
	t.Helper()
	free, dirty := 0, 0
	for bin, p := range a.bins {
		for prev := uint32(0); p != 0; prev, p = p, a.page(p).next {
			pg := a.page(p)
			if pg.kind != pageFree || binOf(pg.run) != bin || pg.prev != prev || uint32(pg.free) > pg.run {
				t.Fatalf("bin %d has a run %+v", bin, pg)
			}
			if last := a.page(p + pg.run - 1); last.kind != pageFree || last.run != pg.run {
				t.Fatalf("a run of %d pages ends with %+v", pg.run, last)
			}
			free += int(pg.run)
			if pg.free >= worthwhile {
				dirty += int(pg.free)
			}
		}
	}
	all := -1 // page 0
	for _, pages := range a.pages {
		if len(pages) == chunkPages {
			all += chunkPages
		}
	}
	if len(a.chunks) > 0 && free+a.used != all {
		t.Fatalf("%d pages are free and %d used, of %d", free, a.used, all)
	}
	if dirty != a.dirty {
		t.Fatalf("%d pages are dirty, not %d", dirty, a.dirty)
	}
}

// checkEmpty expects that everything has been freed, and has become one.
func (a *arena) checkEmpty(t *testing.T) {
	t.Helper()
	a.checkRuns(t)
	runs := 0
	for _, p := range a.bins {
		for ; p != 0; p = a.page(p).next {
			runs++
		}
	}
	chunks := 0
	for _, c := range a.chunks {
		if c != nil {
			chunks++
		}
	}
	if a.used != 0 || runs != chunks {
		t.Fatalf("%d pages are in use, and %d chunks have %d free runs", a.used, chunks, runs)
	}
}

// Numbers of chunks that huge blocks have left are used again.
func TestHugeBlocks(t *testing.T) {
	a := &arena{}
	defer a.close()
	var blocks []ref
	for i := range 3 {
		n := chunkSize*(i+1) + 1
		if err := a.reserve(100, chunksFor(n)); err != nil {
			t.Fatal(err)
		}
		r := a.alloc(n)
		b := a.at(r)[:n]
		b[0], b[n-1] = byte(i), byte(i)
		if a.size(r) < n {
			t.Fatalf("a block of %d bytes has room for %d", n, a.size(r))
		}
		blocks = append(blocks, r)
		small := a.alloc(100)
		a.at(small)[0] = 9
		defer a.free(small)
	}
	for i, r := range blocks {
		n := chunkSize*(i+1) + 1
		if b := a.at(r)[:n]; b[0] != byte(i) || b[n-1] != byte(i) {
			t.Fatalf("a huge block has %d, %d", b[0], b[n-1])
		}
	}
	numbers := len(a.chunks)
	for range 5 {
		for i, r := range blocks {
			a.free(r)
			blocks[i] = a.alloc(chunkSize*(i+1) + 1)
		}
	}
	if len(a.chunks) != numbers {
		t.Errorf("there are %d chunk numbers, and were %d", len(a.chunks), numbers)
	}
	for _, r := range blocks {
		a.free(r)
	}
}

// A full store refuses a batch and stays what it is.
func TestFull(t *testing.T) {
	s := open(t).(*Store)
	b := &storage.Batch{Zxid: 1}
	b.Put("/", nil, []byte("root"))
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	// All numbers of chunks but the first are taken.
	a := &s.st.arena
	for len(a.chunks) < maxChunks {
		a.chunks = append(a.chunks, []byte{})
		a.pages = append(a.pages, nil)
	}
	for _, n := range []int{chunkSize / 2, chunkSize + 1} {
		b = &storage.Batch{Zxid: 2}
		b.Put("/a", nil, nil)
		b.Put("/b", nil, make([]byte, n))
		b.Put("/c", nil, make([]byte, n))
		if err := s.Commit(b); !errors.Is(err, errFull) {
			t.Errorf("a batch of %d bytes: %v", 2*n, err)
		}
	}
	v := s.View()
	if v.Len() != 1 || v.Applied() != 1 {
		t.Errorf("there are %d records, and the zxid is %d", v.Len(), v.Applied())
	}
	v.Release()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
