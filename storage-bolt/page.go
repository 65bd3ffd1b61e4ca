package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sort"
)

// A page of bbolt's file, as far as it concerns us. Numbers are in the machine's
// order.
//
//	id 8 bytes, flags 2, count 2, overflow 4
//	count elements of 16 bytes
//	their keys and values, in the same order, with nothing in between
//
//	branch element: pos 4, ksize 4, page 8
//	leaf element:   flags 4, pos 4, ksize 4, vsize 4
//
// pos counts from the element. A page with an overflow goes on over as many pages
// behind it.
const (
	pageHeader  = 16
	elementSize = 16

	branchPage   = 0x01
	leafPage     = 0x02
	headPage     = 0x04
	freelistPage = 0x10

	bucketElement = 0x01
)

var native = binary.NativeEndian

// A page is one that was checked.
type page struct {
	id    uint64
	b     []byte
	count int
	leaf  bool
}

// check finds out whether b, read at id, can be a page that bbolt wrote. What it
// can't see is a change of the bytes of a key or a value: those of a leaf have
// checksums, and those of a branch are compared to what they lead to.
//
// It reads mapped memory, which the race detector does not watch, and is most of what there is to do under it.
//
//go:norace
func check(id uint64, b []byte, buckets bool) (page, string) {
	p := page{id: id, b: b, count: int(native.Uint16(b[10:]))}
	if got := native.Uint64(b); got != id {
		return p, fmt.Sprintf("it says that it is page %d", got)
	}
	switch flags := native.Uint16(b[8:]); flags {
	case branchPage:
	case leafPage:
		p.leaf = true
	default:
		return p, fmt.Sprintf("its kind is %#x", flags)
	}
	if p.count == 0 && !p.leaf {
		return p, "a branch without children"
	}
	at := pageHeader + p.count*elementSize
	if at > len(b) {
		return p, fmt.Sprintf("%d elements don't fit", p.count)
	}
	want := uint32(0)
	if buckets {
		want = bucketElement
	}
	for i := range p.count {
		e := pageHeader + i*elementSize
		pos, ksize, vsize := uint64(0), uint64(0), uint64(0)
		if p.leaf {
			if flags := native.Uint32(b[e:]); flags != want {
				return p, fmt.Sprintf("element %d has the flags %#x", i, flags)
			}
			pos, ksize, vsize = uint64(native.Uint32(b[e+4:])), uint64(native.Uint32(b[e+8:])), uint64(native.Uint32(b[e+12:]))
		} else {
			pos, ksize = uint64(native.Uint32(b[e:])), uint64(native.Uint32(b[e+4:]))
		}
		if pos+uint64(e) != uint64(at) || ksize == 0 || ksize+vsize > uint64(len(b)-at) {
			return p, fmt.Sprintf("element %d is out of place", i)
		}
		at += int(ksize + vsize)
		if i > 0 && bytes.Compare(p.key(i-1), p.key(i)) >= 0 {
			return p, fmt.Sprintf("keys %d and %d are out of order", i-1, i)
		}
	}
	return p, ""
}

func (p *page) key(i int) []byte {
	e := pageHeader + i*elementSize
	if p.leaf {
		at := e + int(native.Uint32(p.b[e+4:]))
		return p.b[at : at+int(native.Uint32(p.b[e+8:]))]
	}
	at := e + int(native.Uint32(p.b[e:]))
	return p.b[at : at+int(native.Uint32(p.b[e+4:]))]
}

func (p *page) value(i int) []byte {
	e := pageHeader + i*elementSize
	at := e + int(native.Uint32(p.b[e+4:])) + int(native.Uint32(p.b[e+8:]))
	n := int(native.Uint32(p.b[e+12:]))
	return p.b[at : at+n : at+n]
}

func (p *page) child(i int) uint64 { return native.Uint64(p.b[pageHeader+i*elementSize+8:]) }

// search returns the first element whose key is not below key.
func (p *page) search(key []byte) int {
	return sort.Search(p.count, func(i int) bool { return bytes.Compare(p.key(i), key) >= 0 })
}
