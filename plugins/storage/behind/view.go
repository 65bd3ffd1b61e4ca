package behind

import (
	"strings"

	"github.com/zkcore/zkcore/plugins/storage"
)

// A view shows a state.
type view struct {
	s      *Store
	st     *state
	closed bool // the store was, when the view was taken
}

var _ storage.View = (*view)(nil)

// Applied implements storage.View.
func (v *view) Applied() int64 { return v.st.applied }

// Len implements storage.View.
func (v *view) Len() int { return v.st.records }

// Release implements storage.View.
func (v *view) Release() {
	if !v.closed {
		v.s.release(v.st.base)
	}
}

// layered looks a key up in what has gathered.
func (v *view) layered(key string) *entry {
	if e := v.st.gathering.get(key); e != nil {
		return e
	}
	return v.st.writing.get(key)
}

// Get implements storage.View.
func (v *view) Get(path string) (storage.Record, bool, error) {
	if v.closed {
		return storage.Record{}, false, storage.ErrClosed
	}
	c := v.s.cache
	hash := c.hash(path)
	slot := c.hot.slot(hash)
	if slot == nil {
		return v.get(hash, path)
	}
	rec, was, ok := c.hot.get(slot, path, v.st.commit)
	if ok {
		return rec, true, nil
	}
	rec, ok, err := v.get(hash, path)
	if ok && err == nil {
		c.hot.keep(slot, was, path, rec, v.st.commit)
	}
	return rec, ok, err
}

// get is Get without the hot records.
func (v *view) get(hash uint64, path string) (storage.Record, bool, error) {
	c := v.s.cache
	if rec, ok, known := c.get(hash, path, v.st.commit); known {
		return rec, ok, nil
	}
	if v.st.gathering.root != nil || v.st.writing.root != nil {
		var arr [256]byte
		if e := v.layered(text(appendRecordKey(arr[:0], path))); e != nil {
			c.fill(hash, path, v.st.commit, e)
			return storage.Record{Head: e.head, Data: e.data}, !e.dead, nil
		}
	}
	rec, ok, err := v.st.base.Get(path)
	if err != nil {
		return rec, false, err
	}
	c.fill(hash, path, v.st.commit, &entry{head: rec.Head, data: rec.Data, dead: !ok})
	return rec, ok, nil
}

// A merge goes through both layers, in the order of the keys, and shows of two
// entries of a key the younger one.
type merge struct {
	young, old *walk
	prefix     string
}

func (v *view) merge(prefix string) *merge {
	return &merge{v.st.gathering.from(prefix), v.st.writing.from(prefix), prefix}
}

// next returns what is next and goes behind it.
func (m *merge) next() (key string, e *entry, ok bool) {
	k1, e1, ok1 := m.young.peek()
	k2, e2, ok2 := m.old.peek()
	ok1 = ok1 && strings.HasPrefix(k1, m.prefix)
	ok2 = ok2 && strings.HasPrefix(k2, m.prefix)
	switch {
	case ok1 && (!ok2 || k1 <= k2):
		m.young.next()
		if ok2 && k1 == k2 {
			m.old.next()
		}
		return k1, e1, true
	case ok2:
		m.old.next()
		return k2, e2, true
	}
	return "", nil, false
}

// over calls fn for what the layers and the base have whose keys begin with prefix, in
// order. fn is told what stands behind the first outer bytes of a key, as scan tells
// it when it goes through the base's.
func (v *view) over(prefix string, outer int, scan func(fn func(name string, value []byte) bool) error, fn func(name string, value []byte) bool) error {
	if v.closed {
		return storage.ErrClosed
	}
	m := v.merge(prefix)
	key, e, ok := m.next()
	if !ok {
		return scan(fn)
	}
	stopped := false
	// upto shows what the layers have before name, or all of it.
	upto := func(name string, all bool) bool {
		for ok && !stopped && (all || key[outer:] < name) {
			if !e.dead && !fn(key[outer:], e.data) {
				stopped = true
			}
			key, e, ok = m.next()
		}
		return !stopped
	}
	err := scan(func(name string, value []byte) bool {
		if !upto(name, false) {
			return false
		}
		if ok && key[outer:] == name {
			if !e.dead && !fn(name, e.data) {
				stopped = true
			}
			key, e, ok = m.next()
			return !stopped
		}
		stopped = !fn(name, value)
		return !stopped
	})
	if err != nil || stopped {
		return err
	}
	upto("", true)
	return nil
}

// Children implements storage.View.
func (v *view) Children(path string, fn func(name string) bool) error {
	var arr [256]byte
	prefix := text(appendChildKey(arr[:0], path))
	return v.over(prefix, len(prefix), func(fn func(string, []byte) bool) error {
		return v.st.base.Children(path, func(name string) bool { return fn(name, nil) })
	}, func(name string, _ []byte) bool { return fn(name) })
}

// TableScan implements storage.View.
func (v *view) TableScan(table, prefix string, fn func(key string, value []byte) bool) error {
	var arr [256]byte
	from := appendEntryKey(arr[:0], table, prefix)
	return v.over(text(from), len(from)-len(prefix), func(fn func(string, []byte) bool) error {
		return v.st.base.TableScan(table, prefix, fn)
	}, fn)
}

// TableGet implements storage.View.
func (v *view) TableGet(table, key string) ([]byte, bool, error) {
	if v.closed {
		return nil, false, storage.ErrClosed
	}
	var arr [256]byte
	if e := v.layered(text(appendEntryKey(arr[:0], table, key))); e != nil {
		return e.data, !e.dead, nil
	}
	return v.st.base.TableGet(table, key)
}

// Walk implements storage.View: first the znodes of the base, as they are now, then
// those that are not in it, level by level.
func (v *view) Walk(fn func(path string, rec storage.Record) bool) error {
	if v.closed {
		return storage.ErrClosed
	}
	if v.st.gathering.root == nil && v.st.writing.root == nil {
		return v.st.base.Walk(fn)
	}
	stopped := false
	// shown are the entries of the layers that the base has too: to ask it for each would take, of one in another
	// process, as many calls.
	shown := map[*entry]struct{}{}
	var buf []byte
	err := v.st.base.Walk(func(path string, rec storage.Record) bool {
		buf = appendRecordKey(buf[:0], path)
		if e := v.layered(text(buf)); e != nil {
			if e.dead {
				return true
			}
			rec = storage.Record{Head: e.head, Data: e.data}
			shown[e] = struct{}{}
		}
		stopped = !fn(path, rec)
		return !stopped
	})
	if err != nil || stopped {
		return err
	}
	for m := v.merge("r"); ; {
		key, e, ok := m.next()
		if !ok {
			return nil
		}
		if e.dead {
			continue
		}
		if _, there := shown[e]; there {
			continue
		}
		if !fn(pathOf(key), storage.Record{Head: e.head, Data: e.data}) {
			return nil
		}
	}
}
