package behind

import (
	"fmt"

	"github.com/zkcore/zkcore/plugins/simbug"
	"github.com/zkcore/zkcore/plugins/storage"
)

// A committer makes of a batch what it changes.
type committer struct {
	s       *Store
	st      *state
	edit    *edit
	records int
	mem     []byte // one piece of memory for all that is kept of the batch
	bytes   int64
	changed []changed // records, in order of the ops
	buf     []byte
}

// A changed is a record of the batch, for the cache.
type changed struct {
	hash uint64
	key  string
}

// perOp is what an op takes beside its bytes, about, and a batch, which is something to be written if it has no op.
const perOp = 128

func newCommitter(s *Store, st *state, ops []storage.Op) *committer {
	n := 0
	for i := range ops {
		op := &ops[i]
		n += keyHead + len(op.Table) + len(op.Path) + len(op.Head) + len(op.Data)
	}
	return &committer{
		s: s, st: st, edit: st.gathering.edit(), records: st.records,
		mem: make([]byte, 0, n), bytes: int64(n + perOp*(len(ops)+1)), changed: make([]changed, 0, len(ops)),
	}
}

// keep copies b into the batch's memory. Nil stays nil.
func (c *committer) keep(b []byte) []byte {
	if b == nil {
		return nil
	}
	at := len(c.mem)
	c.mem = append(c.mem, b...)
	return c.mem[at:len(c.mem):len(c.mem)]
}

func (c *committer) apply(ops []storage.Op) error {
	for i := range ops {
		op := &ops[i]
		switch op.Kind {
		case storage.OpTablePut, storage.OpTableDelete:
			c.buf = appendEntryKey(c.buf[:0], op.Table, op.Path)
			e := &entry{dead: op.Kind == storage.OpTableDelete}
			if !e.dead {
				e.data = c.keep(op.Data)
			}
			c.edit.set(text(c.keep(c.buf)), e)
			continue
		case storage.OpPut, storage.OpPutHead, storage.OpDelete:
		default:
			return fmt.Errorf("storage: unknown kind of op %d", op.Kind)
		}
		c.buf = appendRecordKey(c.buf[:0], op.Path)
		hash := c.s.cache.hash(op.Path)
		var e *entry
		if op.Kind == storage.OpPutHead {
			old, err := c.old(op.Path, hash)
			if err != nil {
				return err
			}
			if old == nil || len(old.head) != len(op.Head) {
				return fmt.Errorf("storage: head of %d bytes put over another, or none, at %q", len(op.Head), op.Path)
			}
			e = &entry{head: c.keep(op.Head), data: old.data, headOnly: old.headOnly}
		} else {
			had, err := c.exists(op.Path, hash)
			if err != nil {
				return err
			}
			if op.Kind == storage.OpPut {
				e = &entry{head: c.keep(op.Head), data: c.keep(op.Data)}
				if !had {
					c.records++
				}
			} else {
				if e = (&entry{dead: true}); had {
					c.records--
				}
			}
		}
		key := text(c.keep(c.buf))
		c.edit.set(key, e)
		c.changed = append(c.changed, changed{hash, key})
	}
	return nil
}

// exists says whether there is a record at the key in buf.
func (c *committer) exists(path string, hash uint64) (bool, error) {
	key := text(c.buf)
	if e := c.edit.get(key); e != nil {
		return !e.dead, nil
	}
	if e := c.st.writing.get(key); e != nil {
		return !e.dead, nil
	}
	if ok, known := c.s.cache.peek(hash, path); known {
		return ok, nil
	}
	_, ok, err := c.st.base.Get(path)
	return ok, err
}

// old returns the record at the key in buf, which is nil if there is none. Its
// headOnly says what a new head may say of itself.
//
// The data comes into this layer with the new head: it counts like what was put, or heads
// of large records would gather without a bound.
func (c *committer) old(path string, hash uint64) (*entry, error) {
	key := text(c.buf)
	if e := c.edit.get(key); e != nil {
		if e.dead {
			return nil, nil
		}
		return e, nil
	}
	if e := c.st.writing.get(key); e != nil {
		if e.dead {
			return nil, nil
		}
		c.bytes += int64(len(e.data))
		return &entry{head: e.head, data: e.data, headOnly: true}, nil
	}
	if rec, ok, known := c.s.cache.get(hash, path, c.st.commit); known {
		if !ok {
			return nil, nil
		}
		c.bytes += int64(len(rec.Data))
		return &entry{head: rec.Head, data: rec.Data, headOnly: true}, nil
	}
	rec, ok, err := c.st.base.Get(path)
	if err != nil || !ok {
		return nil, err
	}
	c.bytes += int64(len(rec.Data))
	// The base's memory lasts no longer than the base.
	return &entry{head: rec.Head, data: clone(rec.Data), headOnly: true}, nil
}

// clone copies b, and tells nil from empty.
func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

// fill tells the cache what the commit has changed.
func (c *committer) fill(commit uint64) {
	for _, ch := range c.changed {
		if _, known := c.s.cache.peek(ch.hash, pathOf(ch.key)); known && simbug.On("cache-keeps-old") {
			continue
		}
		c.s.cache.put(ch.hash, pathOf(ch.key), commit, c.edit.get(ch.key))
	}
}
