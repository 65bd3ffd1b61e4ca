package mem

import (
	"bytes"
	"unsafe"

	"github.com/zkcore/zkcore/plugins/storage"
)

// A view shows a state as of an epoch.
type view struct {
	s       *Store
	st      *state
	epoch   uint64
	applied int64
	records int

	older, newer *view // the live ones beside it
}

// Applied implements storage.View.
func (v *view) Applied() int64 { return v.applied }

// Len implements storage.View.
func (v *view) Len() int { return v.records }

// Get implements storage.View.
func (v *view) Get(path string) (storage.Record, bool, error) {
	x, ok := v.get(0, path)
	if !ok {
		return storage.Record{}, false, v.st.err()
	}
	return x.record(), true, nil
}

// TableGet implements storage.View.
func (v *view) TableGet(table, key string) ([]byte, bool, error) {
	st := v.st
	l := &st.stripes[0]
	l.RLock()
	t := st.table(table)
	l.RUnlock()
	if t == 0 {
		return nil, false, st.err()
	}
	x, ok := v.get(t, key)
	if !ok {
		return nil, false, st.err()
	}
	return x.data(), true, nil
}

func (v *view) get(table byte, key string) (record, bool) {
	st := v.st
	h := st.hash(table, key)
	l := &st.stripes[h%uint64(len(st.stripes))]
	l.RLock()
	x, ok := st.seen(st.find(h, table, key), v.epoch)
	l.RUnlock()
	return x, ok
}

// err is the error for what isn't found.
func (st *state) err() error {
	if st.closed {
		return storage.ErrClosed
	}
	return nil
}

// Children implements storage.View.
func (v *view) Children(path string, fn func(name string) bool) error {
	if path == "/" {
		path = ""
	}
	c := cursor{v: v, parent: path}
	for {
		x, ok := c.next()
		if !ok || !fn(text(x.key()[len(path)+1:])) {
			return v.st.err()
		}
	}
}

// TableScan implements storage.View.
func (v *view) TableScan(table, prefix string, fn func(key string, value []byte) bool) error {
	st := v.st
	l := &st.stripes[0]
	l.RLock()
	t := st.table(table)
	l.RUnlock()
	if t == 0 {
		return st.err()
	}
	c := cursor{v: v, table: t, prefix: prefix}
	for {
		x, ok := c.next()
		if !ok || !fn(text(x.key()), x.data()) {
			return st.err()
		}
	}
}

// Walk implements storage.View: a parent, then each child with all below it.
func (v *view) Walk(fn func(path string, rec storage.Record) bool) error {
	root, ok := v.get(0, "/")
	if !ok {
		return v.st.err()
	}
	if !fn("/", root.record()) {
		return nil
	}
	stack := []*cursor{{v: v}} // those beyond its length are kept for reuse
	for len(stack) > 0 {
		x, ok := stack[len(stack)-1].next()
		if !ok {
			stack = stack[:len(stack)-1]
			continue
		}
		path := text(x.key())
		if !fn(path, x.record()) {
			return nil
		}
		if len(stack) == cap(stack) {
			stack = append(stack, &cursor{})
		} else {
			stack = stack[:len(stack)+1]
			if stack[len(stack)-1] == nil {
				stack[len(stack)-1] = &cursor{}
			}
		}
		stack[len(stack)-1].start(v, path)
	}
	return nil
}

// A cursor goes through a list as a view shows it. It holds the lock for a
// portion at a time.
type cursor struct {
	v      *view
	table  byte
	parent string // without a table: the list of this path's children
	prefix string // with a table: the keys that begin so

	found    [64]record // that the view shows
	i, n     int        // the next one, and how many there are
	complete bool       // there are no more behind them

	// Where the next portion begins: behind the key after. As long as gen is
	// the state's, that is at this place.
	begun    bool
	after    []byte
	copied   []byte
	gen      uint64
	list     ref
	leaf, at int
}

// start makes the cursor one for the children of a path.
func (c *cursor) start(v *view, parent string) {
	c.v, c.table, c.parent, c.prefix = v, 0, parent, ""
	c.i, c.n, c.complete, c.begun = 0, 0, false, false
}

// next returns the next record.
func (c *cursor) next() (record, bool) {
	for c.i == c.n {
		if c.complete {
			return nil, false
		}
		c.fill()
	}
	c.i++
	return c.found[c.i-1], true
}

// fill finds the next portion of records.
func (c *cursor) fill() {
	st := c.v.st
	l := &st.stripes[0]
	var h uint64
	if c.table == 0 {
		h = st.hash(0, c.parent)
		l = &st.stripes[h%uint64(len(st.stripes))]
	}
	c.i, c.n = 0, 0
	l.RLock()
	defer l.RUnlock()
	a := &st.arena
	if !c.begun || c.gen != st.gen {
		if c.table == 0 {
			c.list = st.findList(h, c.parent)
		} else {
			c.list = st.tables[c.table-1].list
		}
		if c.list == 0 {
			c.complete = true
			return
		}
		c.seek(a)
		c.gen = st.gen
	}
	root := a.list(c.list)
	leaf, leaves := root, 1
	if root.root() {
		leaves = root.len()
	}
	for scanned := 1; c.leaf < leaves; c.leaf, c.at = c.leaf+1, 0 {
		if root.root() {
			leaf = a.list(root.get(c.leaf))
		}
		for n := leaf.len(); c.at < n; {
			newest := a.record(leaf.get(c.at))
			x, ok := st.seen(leaf.get(c.at), c.v.epoch)
			c.at++
			if c.table != 0 && !bytes.HasPrefix(newest.key(), raw(c.prefix)) {
				c.complete = true
				return
			}
			if ok {
				c.found[c.n] = x
				c.n++
			}
			// Records that this view doesn't show may be many, too.
			if scanned++; c.n == len(c.found) || scanned > 1024 {
				c.begun = true
				if ok {
					c.after = x.key()
				} else { // it may be gone the next time
					c.copied = append(c.copied[:0], newest.key()...)
					c.after = c.copied
				}
				return
			}
		}
	}
	c.complete = true
}

// seek sets leaf and at to where the portion begins.
func (c *cursor) seek(a *arena) {
	c.leaf, c.at = 0, 0
	key := c.after
	if !c.begun {
		if key = raw(c.prefix); len(key) == 0 {
			return
		}
	}
	l := a.list(c.list)
	if l.root() {
		c.leaf = a.leafOf(l, key)
		l = a.list(l.get(c.leaf))
	}
	at, ok := a.search(l, key)
	if ok && c.begun {
		at++
	}
	c.at = at
}

// text is b as a string, for as long as b is not changed.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// raw is s as bytes, for reading.
func raw(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
