package watch

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/zkcore/zkcore/core/simbug"
)

// A Mode is a way to watch a path. One watcher may have several on one path.
type Mode uint8

// The modes.
const (
	Data       Mode = 1 << iota // standard: created, deleted, data changed; once
	Child                       // standard: deleted, children changed; once
	Persistent                  // all of it, for ever
	Recursive                   // created, deleted, data changed, of the path and all below it, for ever
)

// Any is all modes.
const Any = Data | Child | Persistent | Recursive

// A ref is a watcher's place in Table.numbers, above its modes. There is room for 2²⁸ watchers at a time, which
// is more than a machine has connections.
type ref uint32

const modeBits = 4

func (r ref) modes() Mode { return Mode(r) & Any }

// A Table is the watches of one node. It is not safe for concurrent use.
type Table struct {
	paths map[string]*entry
	// watchers has what each watcher watches. What it has no mode on any more stays
	// until the list is swept.
	watchers map[uint64]*watcher
	// numbers has the number of each watcher, at its place; a place that is left is given away again.
	numbers []uint64
	left    []uint32
	// total counts watches: one for each mode of a watcher on a path.
	total int
	// recursive counts those that make it necessary to look above a path.
	recursive int
}

// An entry is who watches a path: most often one or two. The refs are in the order of
// the watchers' numbers, so that on a path that everybody watches one more is found and put in its
// place without a map of its own.
type entry struct {
	path string
	refs []ref
	one  [1]ref // where refs begin
}

// A watcher has entries, not their paths: with hundreds of watchers on a path it is
// these eight bytes and the ref's four that a watch costs.
type watcher struct {
	on    []*entry
	live  int // how many different ones count
	place uint32
}

// New makes an empty table.
func New() *Table {
	return &Table{paths: map[string]*entry{}, watchers: map[uint64]*watcher{}}
}

// watcher is whose ref it is.
func (t *Table) watcher(r ref) uint64 { return t.numbers[r>>modeBits] }

func (t *Table) search(e *entry, w uint64) (int, bool) {
	return slices.BinarySearchFunc(e.refs, w, func(r ref, w uint64) int { return cmp.Compare(t.watcher(r), w) })
}

// arrive gives w a place.
func (t *Table) arrive(w uint64) *watcher {
	own := &watcher{}
	if n := len(t.left); n > 0 {
		own.place = t.left[n-1]
		t.left = t.left[:n-1]
		t.numbers[own.place] = w
	} else {
		own.place = uint32(len(t.numbers))
		t.numbers = append(t.numbers, w)
	}
	t.watchers[w] = own
	return own
}

// leave takes the place of w away. No ref to it is left.
func (t *Table) leave(w uint64, own *watcher) {
	delete(t.watchers, w)
	t.left = append(t.left, own.place)
}

// Add makes w watch path in the modes of m, beside those it has there already.
// The path is copied if it is kept.
func (t *Table) Add(w uint64, path string, m Mode) {
	e := t.paths[path]
	if e == nil {
		e = &entry{path: strings.Clone(path)}
		e.refs = e.one[:0]
		t.paths[e.path] = e
	}
	i, there := t.search(e, w)
	if there {
		t.count(m&^e.refs[i].modes(), 1)
		e.refs[i] |= ref(m)
		return
	}
	own := t.watchers[w]
	if own == nil {
		own = t.arrive(w)
	}
	e.refs = slices.Insert(roomy(e.refs), i, ref(own.place<<modeBits)|ref(m))
	own.on = append(roomy(own.on), e)
	own.live++
	t.count(m, 1)
	t.sweep(w, own)
}

// roomy makes room for one more. It leaves less room than append does, for there may be millions of these lists' elements.
func roomy[T any](s []T) []T {
	if len(s) < cap(s) || len(s) == 0 {
		return s
	}
	return append(make([]T, 0, len(s)+len(s)/8+1), s...)
}

func (t *Table) count(m Mode, n int) {
	t.total += n * bits.OnesCount8(uint8(m))
	if m&Recursive != 0 {
		t.recursive += n
	}
}

// Has returns the modes in which w watches path.
func (t *Table) Has(w uint64, path string) Mode {
	e := t.paths[path]
	if e == nil {
		return 0
	}
	if i, ok := t.search(e, w); ok {
		return e.refs[i].modes()
	}
	return 0
}

// Remove ends the modes of m that w has on path and returns those that it had.
func (t *Table) Remove(w uint64, path string, m Mode) Mode {
	e := t.paths[path]
	if e == nil {
		return 0
	}
	i, ok := t.search(e, w)
	if !ok {
		return 0
	}
	had := e.refs[i].modes() & m
	if had == 0 {
		return 0
	}
	t.count(had, -1)
	if e.refs[i] &^= ref(had); e.refs[i].modes() == 0 {
		t.keep(e, slices.Delete(e.refs, i, i+1))
		t.lost(w)
	}
	return had
}

// keep makes refs what is left of e.
func (t *Table) keep(e *entry, refs []ref) {
	if len(refs) == 0 {
		delete(t.paths, e.path)
		e.refs = nil // for watchers that still have it on their lists
		return
	}
	if cap(refs) > 64 && len(refs) < cap(refs)/4 {
		refs = slices.Clone(refs)
	}
	e.refs = refs
}

// lost takes note that w has no mode any more on one of its paths.
func (t *Table) lost(w uint64) {
	own := t.watchers[w]
	own.live--
	if own.live == 0 {
		t.leave(w, own)
		return
	}
	t.sweep(w, own)
}

// sweep drops the paths that w does not watch any more, once they are most of
// its list.
func (t *Table) sweep(w uint64, own *watcher) {
	if len(own.on) < 2*own.live+16 {
		return
	}
	on := slices.DeleteFunc(own.on, func(e *entry) bool { _, ok := t.search(e, w); return !ok })
	// What is left is in the table, and so each path is that of one entry.
	slices.SortFunc(on, func(a, b *entry) int { return strings.Compare(a.path, b.path) })
	own.on = slices.Clip(slices.Clone(slices.Compact(on)))
}

// Drop forgets all that w watches.
func (t *Table) Drop(w uint64) { t.DropSome(w, math.MaxInt) }

// DropSome forgets so many of the paths that w watches, at most, and says whether that was all. Between two steps w may
// lose watches, and gets none.
func (t *Table) DropSome(w uint64, most int) (done bool) {
	own := t.watchers[w]
	if own == nil {
		return true
	}
	left := max(len(own.on)-most, 0)
	for _, e := range own.on[left:] {
		if i, ok := t.search(e, w); ok {
			t.count(e.refs[i].modes(), -1)
			t.keep(e, slices.Delete(e.refs, i, i+1))
			own.live--
		}
	}
	clear(own.on[left:])
	own.on = own.on[:left]
	if left > 0 && own.live > 0 {
		return false // what is left of the list may be of paths that w watches no more
	}
	t.leave(w, own)
	return true
}

// Empty says that nobody watches anything.
func (t *Table) Empty() bool { return len(t.paths) == 0 }

// Counts returns how many watchers, watched paths and watches there are.
func (t *Table) Counts() (watchers, paths, total int) {
	return len(t.watchers), len(t.paths), t.total
}

// Each calls fn for every path and watcher, in order of the paths and, for each,
// of the watchers.
func (t *Table) Each(fn func(path string, watcher uint64, m Mode)) {
	paths := make([]string, 0, len(t.paths))
	for p := range t.paths {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		for _, r := range t.paths[p].refs {
			fn(p, t.watcher(r), r.modes())
		}
	}
}

// Changed appends to dst, in ascending order, the watchers that are owed an event
// because path was created or its data changed. Standard watches are used up.
func (t *Table) Changed(path string, dst []uint64) []uint64 {
	return t.fire(path, Data, dst)
}

// Deleted is Changed for a znode that was deleted: those who watch its data and
// those who watch its children are told alike, and once.
func (t *Table) Deleted(path string, dst []uint64) []uint64 {
	return t.fire(path, Data|Child, dst)
}

// ChildrenChanged appends those who are owed an event because path has a child
// more or less.
func (t *Table) ChildrenChanged(path string, dst []uint64) []uint64 {
	if len(t.paths) == 0 {
		return dst
	}
	return t.fireAt(path, Child, Child|Persistent, dst)
}

func (t *Table) fire(path string, once Mode, dst []uint64) []uint64 {
	if len(t.paths) == 0 {
		return dst
	}
	from := len(dst)
	dst = t.fireAt(path, once, once|Persistent|Recursive, dst)
	if t.recursive == 0 {
		return dst
	}
	n := len(dst)
	for path != "/" && path != "" {
		if i := strings.LastIndexByte(path, '/'); i > 0 {
			path = path[:i]
		} else {
			path = "/"
		}
		if e := t.paths[path]; e != nil {
			for _, r := range e.refs {
				if r.modes()&Recursive != 0 {
					dst = append(dst, t.watcher(r))
				}
			}
		}
	}
	if len(dst) > n {
		slices.Sort(dst[from:])
		dst = dst[:from+len(slices.Compact(dst[from:]))]
	}
	return dst
}

// fireAt appends the watchers of path that have a mode of m there, and ends
// their modes of once.
func (t *Table) fireAt(path string, once, m Mode, dst []uint64) []uint64 {
	e := t.paths[path]
	if e == nil {
		return dst
	}
	fired := len(dst)
	all := len(e.refs)
	kept := e.refs[:0]
	for _, r := range e.refs {
		if r.modes()&m != 0 {
			dst = append(dst, t.watcher(r))
		}
		if used := r.modes() & once; used != 0 && !simbug.On("watch-fires-twice") {
			t.count(used, -1)
			r &^= ref(used)
		}
		if r.modes() != 0 {
			kept = append(kept, r)
		}
	}
	if len(kept) == all {
		return dst
	}
	t.keep(e, kept)
	for _, w := range dst[fired:] {
		if len(kept) == 0 || t.Has(w, path) == 0 {
			t.lost(w)
		}
	}
	return dst
}
