package engine

import (
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/plugins/storage"
)

// An overlay is the znodes that changed since the engine's view was taken. There
// are two: Prepare's, with what is proposed and not yet applied, and Apply's,
// with what is applied and not yet committed to the store.
type overlay struct {
	view   storage.View
	digest uint64 // of the tree with the changes
	hash   bool   // whether a digest is kept at all
	cells  map[string]*cell
	list   []string // Apply only: the keys of cells
	listed bool
	free   []*cell
	hasher znode.Hasher
	undo   []undone // what to put back should the multi that is under way fail
	undoes bool
	err    error // the first of the store's
}

// A cell is one znode with its changes.
type cell struct {
	head    [znode.HeadSize]byte
	data    []byte        // Apply: as it is; Prepare: unless content is known
	acl     []jute.ACL    // Prepare only: a list that has no key yet
	rights  *znode.Rights // of acl, if that is long and was asked
	zxid    int64         // Prepare only: of the last change
	share   uint64        // of the digest
	content uint32        // the part of share that path and data make
	op      int32         // Apply only: the place of its put in the batch, plus 1
	exists  bool
	counts  bool // whether it has a share
	known   bool // whether content is that of path and data
}

type undone struct {
	path string
	was  cell
	had  bool
}

func (c *cell) Head() znode.Head { return c.head[:] }

// A node is what peek finds: a znode's head, and its cell if it has changes. The
// data is the store's.
type node struct {
	head znode.Head
	data []byte
	cell *cell
}

func newOverlay(hash bool) overlay { return overlay{hash: hash, cells: map[string]*cell{}} }

// peek looks a znode up and takes no note of it. The path may be a temporary.
func (o *overlay) peek(path string) (node, bool) {
	if len(o.cells) > 0 {
		if c := o.cells[path]; c != nil {
			return node{c.head[:], nil, c}, c.exists
		}
	}
	rec, ok, err := o.view.Get(path)
	if err != nil {
		if o.err == nil {
			o.err = err
		}
		return node{}, false
	}
	return node{rec.Head, rec.Data, nil}, ok
}

// own makes a cell of a znode that is about to change. The overlay keeps path.
func (o *overlay) own(path string, n node) *cell {
	c := n.cell
	if c != nil {
		o.save(path, c)
		return c
	}
	o.save(path, nil)
	c = o.alloc()
	copy(c.head[:], n.head)
	c.data = n.data
	c.exists = true
	c.known = false
	if c.counts = o.hash && znode.InDigest(path); c.counts {
		c.share = o.hasher.Whole(path, c.head[:], n.data)
	}
	o.add(path, c)
	return c
}

func (o *overlay) add(path string, c *cell) {
	o.cells[path] = c
	if o.listed {
		o.list = append(o.list, path)
	}
}

// fresh makes a cell for a znode that does not exist. The overlay keeps path.
// The caller fills the head and calls changedData.
func (o *overlay) fresh(path string, n node) *cell {
	c := n.cell
	if c != nil {
		o.save(path, c) // it existed, and its deletion is in the overlay
	} else {
		o.save(path, nil)
		c = o.alloc()
		o.add(path, c)
	}
	c.exists = true
	c.counts = o.hash && znode.InDigest(path)
	c.share = 0
	return c
}

// changed brings the digest up to date after c's head changed.
func (o *overlay) changed(path string, c *cell) {
	if !c.counts {
		return
	}
	o.learn(path, c)
	o.count(c, o.hasher.Share(c.content, c.head[:]))
}

// learn makes c independent of its data.
func (o *overlay) learn(path string, c *cell) {
	if c.counts && !c.known {
		c.content = o.hasher.Content(path, c.data)
		c.known = true
	}
}

// changedData gives c other data, and brings the digest up to date. Its head has
// changed already.
func (o *overlay) changedData(path string, c *cell, data []byte) {
	c.data = data
	c.known = false
	if c.counts {
		o.count(c, o.hasher.Whole(path, c.head[:], data))
	}
}

func (o *overlay) count(c *cell, share uint64) {
	o.digest += share - c.share
	c.share = share
}

// gone marks the znode of c as deleted.
func (o *overlay) gone(c *cell) {
	c.exists = false
	c.acl, c.rights = nil, nil
	c.data = nil
	o.digest -= c.share
	c.share = 0
}

func (o *overlay) alloc() *cell {
	if n := len(o.free); n > 0 {
		c := o.free[n-1]
		o.free = o.free[:n-1]
		return c
	}
	return &cell{}
}

// release makes a cell that is in the map no more available again.
func (o *overlay) release(c *cell) {
	if len(o.free) < 4096 {
		*c = cell{}
		o.free = append(o.free, c)
	}
}

// save takes note of a cell before it changes, while there may be a way back.
func (o *overlay) save(path string, c *cell) {
	if !o.undoes {
		return
	}
	u := undone{path: path}
	if c != nil {
		u.was, u.had = *c, true
	}
	o.undo = append(o.undo, u)
}

// begin makes a way back to the present state; end closes it; rollback takes it.
func (o *overlay) begin() { o.undoes = true }

func (o *overlay) end() {
	clear(o.undo)
	o.undo = o.undo[:0]
	o.undoes = false
}

func (o *overlay) rollback(digest uint64) {
	for i := len(o.undo) - 1; i >= 0; i-- {
		u := &o.undo[i]
		c := o.cells[u.path]
		if u.had {
			*c = u.was
		} else {
			delete(o.cells, u.path)
			o.release(c)
		}
	}
	o.digest = digest
	o.end()
}

// reset forgets all changes.
func (o *overlay) reset(view storage.View, digest uint64) {
	o.view, o.digest, o.err = view, digest, nil
	if len(o.cells) > 4096 {
		o.cells = map[string]*cell{} // it would keep its size
		o.list = nil
		return
	}
	// Not by ranging over the map, which takes as long as it has ever been large.
	for _, path := range o.list {
		if c := o.cells[path]; c != nil {
			delete(o.cells, path)
			o.release(c)
		}
	}
	clear(o.list)
	o.list = o.list[:0]
}
