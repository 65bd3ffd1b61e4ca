package mem

import (
	"bytes"
	"encoding/binary"
)

// A list is the children of a znode, or the entries of a table, ordered by key:
// refs to their newest records, dead ones among them. Their keys begin alike, with
// the parent's path and a slash, so that comparing whole keys orders them by name.
//
// A leaf is a block:
//
//	flags   1 byte: flagList
//	table   1 byte
//	n       2 bytes: how many refs
//	parent  4 bytes: the length of the parent's path
//	refs    4 bytes each
//
// A list that a leaf has no room for is a root over leaves, none of them empty:
//
//	flags 1 (flagList | flagRoot), table 1, nothing 2, parent 4, n 4, nothing 4, refs
//
// Two levels are enough: with ten million children the root's refs take a third
// of a megabyte, of which every hundredth insertion moves a part.
type list struct {
	b []byte
}

const (
	leafHeader = 8
	rootHeader = 16
	leafMax    = 254 // fills a block of 1 KiB
)

func (l list) root() bool  { return l.b[0]&flagRoot != 0 }
func (l list) parent() int { return int(binary.LittleEndian.Uint32(l.b[4:])) }

func (l list) header() int {
	if l.root() {
		return rootHeader
	}
	return leafHeader
}

func (l list) len() int {
	if l.root() {
		return int(binary.LittleEndian.Uint32(l.b[8:]))
	}
	return int(binary.LittleEndian.Uint16(l.b[2:]))
}

func (l list) setLen(n int) {
	if l.root() {
		binary.LittleEndian.PutUint32(l.b[8:], uint32(n))
	} else {
		binary.LittleEndian.PutUint16(l.b[2:], uint16(n))
	}
}

func (l list) get(i int) ref {
	return ref(binary.LittleEndian.Uint32(l.b[l.header()+4*i:]))
}

func (l list) set(i int, r ref) {
	binary.LittleEndian.PutUint32(l.b[l.header()+4*i:], uint32(r))
}

// move copies the refs from..to of l to at of another list or of the same.
func (l list) move(from, to int, m list, at int) {
	h := l.header()
	copy(m.b[m.header()+4*at:], l.b[h+4*from:h+4*to])
}

func (a *arena) list(r ref) list { return list{a.at(r)} }

// newList returns an empty one with room for n refs.
func (a *arena) newList(flags, table byte, parent, n int) ref {
	size := leafHeader
	if flags&flagRoot != 0 {
		size = rootHeader
	}
	r := a.alloc(size + 4*n)
	b := a.at(r)
	clear(b[:size])
	b[0], b[1] = flags, table
	binary.LittleEndian.PutUint32(b[4:], uint32(parent))
	return r
}

// room is how many refs the list's block has room for.
func (a *arena) listRoom(r ref) int {
	l := a.list(r)
	return (a.size(r) - l.header()) / 4
}

// resize puts the list into a block with room for n refs.
func (a *arena) resize(r ref, n int) ref {
	l := a.list(r)
	to := a.newList(l.b[0], l.b[1], l.parent(), n)
	m := a.list(to)
	l.move(0, l.len(), m, 0)
	m.setLen(l.len())
	a.free(r)
	return to
}

// first is the list's first record.
func (a *arena) first(r ref) ref {
	l := a.list(r)
	if l.root() {
		l = a.list(l.get(0))
	}
	return l.get(0)
}

// search returns where key is in a leaf, or would be.
func (a *arena) search(leaf list, key []byte) (at int, ok bool) {
	lo, hi := 0, leaf.len()
	if hi > 0 { // names that count up come in at the end
		c := bytes.Compare(a.record(leaf.get(hi-1)).key(), key)
		if c < 0 {
			return hi, false
		}
		hi--
		if c == 0 {
			return hi, true
		}
	}
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		switch c := bytes.Compare(a.record(leaf.get(mid)).key(), key); {
		case c == 0:
			return mid, true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
}

// leafOf returns which leaf of a root key belongs into.
func (a *arena) leafOf(root list, key []byte) int {
	below := func(i int) bool { // leaf i begins at key or below
		return bytes.Compare(a.record(a.list(root.get(i)).get(0)).key(), key) <= 0
	}
	lo, hi := 0, root.len()-1 // the answer is lo..hi
	if below(hi) {
		return hi
	}
	for lo < hi {
		mid := int(uint(lo+hi+1) / 2)
		if below(mid) {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

// listReplace makes the list refer to another record of the same key.
func (a *arena) listReplace(r ref, key []byte, to ref) {
	l := a.list(r)
	if l.root() {
		l = a.list(l.get(a.leafOf(l, key)))
	}
	at, ok := a.search(l, key)
	if !ok {
		panic("mem: a record is not in its parent's list")
	}
	l.set(at, to)
}

// listInsert adds a record that isn't there, and returns the list, which may be
// another block now.
func (a *arena) listInsert(r ref, key []byte, rec ref) ref {
	l := a.list(r)
	if !l.root() {
		if l.len() < leafMax {
			return a.leafInsert(r, key, rec)
		}
		root := a.newList(flagList|flagRoot, l.b[1], l.parent(), 6)
		m := a.list(root)
		m.setLen(1)
		m.set(0, r)
		r, l = root, m
	}
	i := a.leafOf(l, key)
	leaf := l.get(i)
	if a.list(leaf).len() < leafMax {
		l.set(i, a.leafInsert(leaf, key, rec))
		return r
	}
	// The leaf is full. A record at the end of the list begins a leaf of its own,
	// so that names that count up fill all leaves; otherwise the leaf is cut in two.
	if l.len() == a.listRoom(r) {
		r = a.resize(r, l.len()+l.len()/4+4)
		l = a.list(r)
	}
	old := a.list(leaf)
	at, _ := a.search(old, key)
	cut := leafMax / 2
	if i == l.len()-1 && at == leafMax {
		cut = leafMax
	}
	next := a.newList(flagList, l.b[1], l.parent(), max(leafMax-cut+1, 6))
	m := a.list(next)
	old.move(cut, leafMax, m, 0)
	m.setLen(leafMax - cut)
	old.setLen(cut)
	l.move(i+1, l.len(), l, i+2)
	l.set(i+1, next)
	l.setLen(l.len() + 1)
	if at >= cut {
		l.set(i+1, a.leafInsert(next, key, rec))
	} else {
		a.leafInsert(leaf, key, rec) // has room for leafMax
	}
	return r
}

func (a *arena) leafInsert(r ref, key []byte, rec ref) ref {
	l := a.list(r)
	n := l.len()
	at, _ := a.search(l, key)
	if n == a.listRoom(r) {
		r = a.resize(r, min(n+n/4+2, leafMax))
		l = a.list(r)
	}
	l.move(at, n, l, at+1)
	l.set(at, rec)
	l.setLen(n + 1)
	return r
}

// listRemove takes out the record of a key, and returns the list, or 0 when
// nothing is left of it.
func (a *arena) listRemove(r ref, key []byte) ref {
	l := a.list(r)
	if !l.root() {
		return a.leafRemove(r, key)
	}
	i := a.leafOf(l, key)
	n := l.len()
	leaf := a.leafRemove(l.get(i), key)
	if leaf != 0 {
		l.set(i, leaf)
		// Two neighbours that are half full together become one.
		j := i + 1
		if j == n {
			i, j = i-1, i
		}
		if i < 0 || a.list(l.get(i)).len()+a.list(l.get(j)).len() > leafMax/2 {
			return r
		}
		l.set(i, a.join(l.get(i), l.get(j)))
		i = j
	}
	l.move(i+1, n, l, i)
	n--
	l.setLen(n)
	switch {
	case n == 0:
		a.free(r)
		return 0
	case n == 1:
		leaf := l.get(0)
		a.free(r)
		return leaf
	case n < a.listRoom(r)/2:
		return a.resize(r, n+n/4+4)
	}
	return r
}

// join appends the leaf s to r and frees it.
func (a *arena) join(r, s ref) ref {
	l, m := a.list(r), a.list(s)
	n := l.len() + m.len()
	if a.listRoom(r) < n {
		r = a.resize(r, n)
		l = a.list(r)
	}
	m.move(0, m.len(), l, l.len())
	l.setLen(n)
	a.free(s)
	return r
}

func (a *arena) leafRemove(r ref, key []byte) ref {
	l := a.list(r)
	n := l.len()
	at, ok := a.search(l, key)
	if !ok {
		panic("mem: a record is not in its parent's list")
	}
	if n == 1 {
		a.free(r)
		return 0
	}
	l.move(at+1, n, l, at)
	n--
	l.setLen(n)
	if n+n/2+4 < a.listRoom(r) {
		return a.resize(r, n+n/4+1)
	}
	return r
}
