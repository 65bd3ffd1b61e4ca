package behind

import "sort"

// A layer is what became of keys since the layer below it: an ordered map that
// never changes. To change it is to make another one, which shares with it what is
// the same. It is a B-tree without deletion: a key that is gone has an entry that
// says so.
type layer struct {
	root  *node
	count int // entries
}

// An entry is what becomes of a key. Its memory is never changed.
type entry struct {
	head, data []byte
	dead       bool // there is none
	// headOnly: below this layer there is a record with the same data and as long
	// a head.
	headOnly bool
}

const maxKeys = 32

type node struct {
	owner *owner // whose edit may change it
	keys  []string
	vals  []*entry
	kids  []*node // nil: a leaf
}

// get returns the entry of key, or nil.
func (l layer) get(key string) *entry {
	for n := l.root; n != nil; {
		i := sort.SearchStrings(n.keys, key)
		if i < len(n.keys) && n.keys[i] == key {
			return n.vals[i]
		}
		if n.kids == nil {
			return nil
		}
		n = n.kids[i]
	}
	return nil
}

// An edit makes a new layer out of one. What it made itself it changes in place.
type edit struct {
	root  *node
	count int
	owner *owner
}

// An owner tells edits apart. The nodes keep it, so it is not the edit itself, which
// has a root.
type owner struct{ _ byte }

func (l layer) edit() *edit { return &edit{root: l.root, count: l.count, owner: &owner{}} }

func (e *edit) layer() layer { return layer{e.root, e.count} }

func (e *edit) get(key string) *entry { return layer{root: e.root}.get(key) }

// set makes v the entry of key, which it keeps.
func (e *edit) set(key string, v *entry) {
	if e.root == nil {
		e.root = &node{owner: e.owner, keys: []string{key}, vals: []*entry{v}}
		e.count++
		return
	}
	e.root = e.own(e.root)
	if len(e.root.keys) == maxKeys {
		e.root = &node{owner: e.owner, kids: []*node{e.root}}
		e.split(e.root, 0)
	}
	n := e.root
	for {
		i := sort.SearchStrings(n.keys, key)
		if i < len(n.keys) && n.keys[i] == key {
			n.vals[i] = v
			return
		}
		if n.kids == nil {
			n.keys = insert(n.keys, i, key)
			n.vals = insert(n.vals, i, v)
			e.count++
			return
		}
		n.kids[i] = e.own(n.kids[i])
		if len(n.kids[i].keys) == maxKeys {
			e.split(n, i)
			switch {
			case n.keys[i] == key:
				n.vals[i] = v
				return
			case n.keys[i] < key:
				i++
			}
		}
		n = n.kids[i]
	}
}

// own returns a node that this edit may change.
func (e *edit) own(n *node) *node {
	if n.owner == e.owner {
		return n
	}
	c := &node{owner: e.owner, keys: grown(n.keys), vals: grown(n.vals)}
	if n.kids != nil {
		c.kids = grown(n.kids)
	}
	return c
}

// grown is a copy with room for one more.
func grown[T any](s []T) []T { return append(make([]T, 0, len(s)+2), s...) }

// split makes two of the full child i of n; both are the edit's.
func (e *edit) split(n *node, i int) {
	c := n.kids[i]
	mid := len(c.keys) / 2
	right := &node{owner: e.owner, keys: grown(c.keys[mid+1:]), vals: grown(c.vals[mid+1:])}
	if c.kids != nil {
		right.kids = grown(c.kids[mid+1:])
	}
	n.keys = insert(n.keys, i, c.keys[mid])
	n.vals = insert(n.vals, i, c.vals[mid])
	n.kids = insert(n.kids, i+1, right)
	clear(c.vals[mid:])
	c.keys, c.vals = c.keys[:mid], c.vals[:mid]
	if c.kids != nil {
		clear(c.kids[mid+1:])
		c.kids = c.kids[:mid+1]
	}
}

func insert[T any](s []T, i int, v T) []T {
	s = append(s, v)
	copy(s[i+1:], s[i:])
	s[i] = v
	return s
}

// A walk goes through a layer in the order of the keys.
type walk struct {
	stack []place
}

type place struct {
	n *node
	i int // the next key
}

// from begins at the first key that is not below key.
func (l layer) from(key string) *walk {
	w := &walk{}
	for n := l.root; n != nil; {
		i := sort.SearchStrings(n.keys, key)
		w.stack = append(w.stack, place{n, i})
		if i < len(n.keys) && n.keys[i] == key || n.kids == nil {
			break
		}
		n = n.kids[i]
	}
	w.settle()
	return w
}

// settle leaves the nodes that are through.
func (w *walk) settle() {
	for len(w.stack) > 0 {
		top := &w.stack[len(w.stack)-1]
		if top.i < len(top.n.keys) {
			return
		}
		w.stack = w.stack[:len(w.stack)-1]
	}
}

// peek returns the key and its entry, without going on.
func (w *walk) peek() (key string, v *entry, ok bool) {
	if len(w.stack) == 0 {
		return "", nil, false
	}
	top := &w.stack[len(w.stack)-1]
	return top.n.keys[top.i], top.n.vals[top.i], true
}

// next goes on.
func (w *walk) next() {
	top := &w.stack[len(w.stack)-1]
	top.i++
	if top.n.kids != nil {
		for n := top.n.kids[top.i]; n != nil; {
			w.stack = append(w.stack, place{n, 0})
			if n.kids == nil {
				break
			}
			n = n.kids[0]
		}
	}
	w.settle()
}
