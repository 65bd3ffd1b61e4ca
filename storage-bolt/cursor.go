package bolt

import "bytes"

// A bucket is where the tree of one begins: a page, or, as long as it is small, a
// page within the one that lists the buckets.
type bucket struct {
	root   uint64
	inline page
}

// A cursor stands at an element of a tree. It trusts no page:
//
//   - the layout of each page is checked whole;
//   - the key by which a branch leads to a page is that page's first one, which
//     bbolt writes so, and the next key of the branch is above its last;
//   - a value and its key have a checksum.
//
// So what it finds is what was written; and what it doesn't find was not there,
// because the two neighbours that it would be between are, and are neighbours.
type cursor struct {
	v     *view
	b     *bucket
	stack []frame
	leaf  page
	i     int
	buf   *[]byte // the leaf's, to be used again
	err   error
}

// A frame is a branch and the child that the cursor is under.
type frame struct {
	p *page
	i int
}

// maxHeight is more than a tree can have: a page that leads to itself is noticed.
const maxHeight = 48

func (v *view) cursor(b *bucket) *cursor { return &cursor{v: v, b: b} }

// close gives the cursor's memory back. What it showed is not valid any more.
func (c *cursor) close() {
	if c.buf != nil {
		c.v.file.put(c.buf)
		c.buf, c.leaf = nil, page{}
	}
}

func (c *cursor) fail(page uint64, format string, args ...any) bool {
	if c.err == nil {
		c.err = c.v.file.damage(page, format, args...)
	}
	return false
}

// seek goes to the first element whose key is not below key. False: c.err says why.
func (c *cursor) seek(key []byte) bool {
	switch {
	case c.err != nil:
		return false
	case c.b.root == 0:
		c.leaf = c.b.inline
	case c.leaf.count > 0 && bytes.Compare(c.leaf.key(0), key) <= 0 && bytes.Compare(key, c.leaf.key(c.leaf.count-1)) <= 0:
		// It belongs where the cursor is.
	default:
		c.stack = c.stack[:0]
		if !c.descend(c.b.root, nil, nil, key) {
			return false
		}
	}
	c.i = c.leaf.search(key)
	if c.i == 0 {
		if c.leaf.count > 0 && bytes.Equal(c.leaf.key(0), key) {
			return c.sound(0)
		}
		return c.fail(c.leaf.id, "nothing is before %.40q in its tree", key)
	}
	if c.i == c.leaf.count {
		// What is above stands in the next leaf: this one ends with the last below.
		if !c.sound(c.i - 1) {
			return false
		}
		c.i--
		return c.next()
	}
	return c.sound(c.i-1) && c.sound(c.i)
}

// descend goes down from the page id to the leaf that key belongs into; nil is
// below everything. lower is the key that leads there and upper the one that leads
// to the next, if they are known.
func (c *cursor) descend(id uint64, lower, upper, key []byte) bool {
	for len(c.stack) < maxHeight {
		p, err := c.load(id)
		if err != nil {
			c.err = err
			return false
		}
		if p.count == 0 {
			return c.fail(id, "it is empty")
		}
		if lower != nil && !bytes.Equal(lower, p.key(0)) {
			return c.fail(id, "it begins with %.40q, and its parent says with %.40q", p.key(0), lower)
		}
		if upper != nil && bytes.Compare(p.key(p.count-1), upper) >= 0 {
			return c.fail(id, "it ends with %.40q, and the page behind it begins with %.40q", p.key(p.count-1), upper)
		}
		if p.leaf {
			return true
		}
		i := 0
		if key != nil {
			if i = p.search(key); i == p.count || !bytes.Equal(p.key(i), key) {
				i = max(i-1, 0)
			}
		}
		c.stack = append(c.stack, frame{p, i})
		lower = p.key(i)
		if i+1 < p.count {
			upper = p.key(i + 1)
		}
		id = p.child(i)
	}
	return c.fail(id, "the tree is higher than it can be")
}

// load reads a page. A leaf becomes the cursor's.
func (c *cursor) load(id uint64) (*page, error) {
	if p := c.v.branch(id); p != nil {
		return p, nil
	}
	if c.buf == nil {
		c.buf = c.v.file.get()
	}
	p, err := c.v.file.read(id, c.v.high, c.buf, false)
	if err != nil {
		return nil, err
	}
	if !p.leaf {
		c.buf = nil // it is kept
		c.v.keep(&p)
		return &p, nil
	}
	c.leaf = p
	return &c.leaf, nil
}

// next goes to the next element.
func (c *cursor) next() bool {
	if c.i++; c.i < c.leaf.count {
		return c.sound(c.i)
	}
	for len(c.stack) > 0 {
		f := &c.stack[len(c.stack)-1]
		if f.i++; f.i < f.p.count {
			var upper []byte
			if f.i+1 < f.p.count {
				upper = f.p.key(f.i + 1)
			}
			if !c.descend(f.p.child(f.i), f.p.key(f.i), upper, nil) {
				return false
			}
			c.i = 0
			return c.sound(0)
		}
		c.stack = c.stack[:len(c.stack)-1]
	}
	return c.fail(c.leaf.id, "the tree ends before its last key")
}

// sound checks the element i of the leaf.
func (c *cursor) sound(i int) bool {
	key, value := c.leaf.key(i), c.leaf.value(i)
	if _, _, ok := unseal(key, value); !ok {
		return c.fail(c.leaf.id, "the checksum of element %d is wrong", i)
	}
	return true
}

func (c *cursor) key() []byte { return c.leaf.key(c.i) }

// body is the value without its checksum, and the rest of the key.
func (c *cursor) body() (body, rest []byte) {
	body, rest, _ = unseal(c.key(), c.leaf.value(c.i))
	return body, rest
}

// get goes to the element with that key.
func (c *cursor) get(key []byte) bool {
	return c.seek(key) && bytes.Equal(c.key(), key)
}

// end says that the cursor is behind the last element.
func (c *cursor) end() bool { return bytes.Equal(c.key(), highMark) }

// beside checks the pages that bbolt may join with those on the way to the element
// where the cursor is, when it has become too small: what is wrong with their layout
// would be gone then, and what is missing in them, too.
func (c *cursor) beside() bool {
	for _, f := range c.stack {
		for _, i := range []int{f.i - 1, f.i + 1} {
			if i < 0 || i >= f.p.count {
				continue
			}
			id := f.p.child(i)
			if c.v.branch(id) != nil {
				continue
			}
			buf := c.v.file.get()
			p, err := c.v.file.read(id, c.v.high, buf, false)
			if err == nil && (p.count == 0 || !bytes.Equal(p.key(0), f.p.key(i))) {
				err = c.v.file.damage(id, "it does not begin with the key that its parent has of it")
			}
			c.v.file.put(buf)
			if err != nil {
				c.err = err
				return false
			}
		}
	}
	return true
}
