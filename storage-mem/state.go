package mem

import (
	"fmt"
	"hash/maphash"
	"math"
	"strings"
	"sync"
	"unsafe"

	"github.com/zkcore/zkcore/plugins/storage"
)

// A state is all that a store holds, from one Reset to the next.
//
// What the committer and views share is guarded by stripes, in this way: whoever
// changes the arena, the index, a list or tables holds all of them while a view
// is live, and a view that reads them holds one. What a view got out of them
// afterwards, the bytes of records, doesn't change before it is released. All
// else belongs to the holder of Store.mu.
type state struct {
	stripes [8]stripe

	seed   maphash.Seed
	arena  arena
	index  index
	tables []table
	gen    uint64 // changes when anything does that stripes guard
	closed bool

	epoch   uint64 // of the last commit
	applied int64
	records int
	retired retired
	steps   []step
	last    []int32

	oldest, newest *view // live ones are linked by their age
	detached       bool  // the store has another state now
}

// A stripe is one of the locks, in a cache line of its own.
type stripe struct {
	sync.RWMutex
	_ [128 - unsafe.Sizeof(sync.RWMutex{})%128]byte
}

// A table is known by its number: the first one has 1.
type table struct {
	name string
	list ref
}

func newState() *state {
	return &state{seed: maphash.MakeSeed()}
}

// close frees all. No view is live.
func (st *state) close() {
	st.arena.close()
	st.index.close()
	st.tables = nil
}

// pinned says that a view is live, all of which are older than a commit that
// begins now.
func (st *state) pinned() bool { return st.newest != nil }

func (st *state) lock() {
	if st.pinned() {
		for i := range st.stripes {
			st.stripes[i].Lock()
		}
	}
	st.gen++
}

func (st *state) unlock() {
	if st.pinned() {
		for i := range st.stripes {
			st.stripes[i].Unlock()
		}
	}
}

// hash returns the hash of a key: the index has a record by its upper half, and
// the list of its children by its lower half.
func (st *state) hash(table byte, key string) uint64 {
	return maphash.String(st.seed, key) ^ uint64(table)*0x9e3779b97f4a7c15
}

func recordHash(h uint64) uint32 { return uint32(h >> 32) }
func listHash(h uint64) uint32   { return uint32(h) }

// find returns the newest record of a key, which may be a dead one, or 0.
func (st *state) find(h uint64, table byte, key string) ref {
	if st.index.dir == nil {
		return 0
	}
	h32 := recordHash(h)
	s := st.index.segment(h32)
	for i := s.slot(h32); int(i) < len(s.slots); i++ {
		e := s.slots[i]
		if e == 0 || uint32(e>>32) > h32 {
			break
		}
		if uint32(e>>32) == h32 {
			if st.arena.record(ref(e)).is(table, key) {
				return ref(e)
			}
		}
	}
	return 0
}

// findList returns the list of a path's children, or 0. The parent of "/a" is
// written "".
func (st *state) findList(h uint64, parent string) ref {
	if st.index.dir == nil {
		return 0
	}
	h32 := listHash(h)
	s := st.index.segment(h32)
	for i := s.slot(h32); int(i) < len(s.slots); i++ {
		e := s.slots[i]
		if e == 0 || uint32(e>>32) > h32 {
			break
		}
		if uint32(e>>32) == h32 && st.arena.at(ref(e))[0]&flagList != 0 && st.arena.list(ref(e)).parent() == len(parent) {
			if string(st.arena.record(st.arena.first(ref(e))).key()[:len(parent)]) == parent {
				return ref(e)
			}
		}
	}
	return 0
}

// seen returns the record that a view of an epoch shows where r is the newest.
func (st *state) seen(r ref, epoch uint64) (record, bool) {
	for r != 0 {
		x := st.arena.record(r)
		if x.flags()&flagVersion == 0 || x.epoch() <= epoch {
			return x, !x.dead()
		}
		r = x.before()
	}
	return nil, false
}

// table returns a table's number, or 0.
func (st *state) table(name string) byte {
	for i := range st.tables {
		if st.tables[i].name == name {
			return byte(i + 1)
		}
	}
	return 0
}

// parentOf returns the path of a path's parent, "" for that of "/a".
func parentOf(path string) string { return path[:strings.LastIndexByte(path, '/')] }

// A step is what prepare found out about an op.
type step struct {
	hash  uint64
	ref   ref
	head  int32 // the length of the record's head after the op; -1: no record
	table byte
	again bool // an op before this one had the same key, so ref may be wrong
	skip  bool
}

// prepare finds out whether the batch can be applied, and what apply needs to
// know. It changes nothing that can be seen.
func (st *state) prepare(ops []storage.Op) error {
	if len(ops) == 0 {
		return nil
	}
	if cap(st.steps) < len(ops) {
		st.steps = make([]step, len(ops)+len(ops)/4)
		st.last = make([]int32, 1<<(bitsFor(cap(st.steps))+1))
	}
	steps := st.steps[:len(ops)]
	mask := 1<<(bitsFor(len(ops))+1) - 1
	last := st.last[:mask+1] // the last op of a key, plus one, by hash
	clear(last)

	need, huge := 0, 0
	add := func(n int) {
		if n > chunkSize {
			huge += chunksFor(n)
		} else {
			need += n
		}
	}
	for i := range ops {
		op, s := &ops[i], &steps[i]
		*s = step{}
		if len(op.Path) > maxPart || len(op.Head) > maxPart || len(op.Data) > maxPart ||
			len(op.Path)+len(op.Head)+len(op.Data) > maxPart {
			return fmt.Errorf("mem: a record of %d bytes is too large", len(op.Path)+len(op.Head)+len(op.Data))
		}
		switch op.Kind {
		case storage.OpPut, storage.OpPutHead, storage.OpDelete:
			if !validPath(op.Path) {
				return fmt.Errorf("mem: %.100q is not a path", op.Path)
			}
		case storage.OpTablePut:
			if s.table = st.table(op.Table); s.table == 0 {
				if len(st.tables) == math.MaxUint8 {
					return fmt.Errorf("mem: more than %d tables", math.MaxUint8)
				}
				st.tables = append(st.tables, table{name: strings.Clone(op.Table)})
				s.table = byte(len(st.tables))
			}
		case storage.OpTableDelete:
			if s.table = st.table(op.Table); s.table == 0 {
				s.skip = true
				continue
			}
		default:
			return fmt.Errorf("mem: unknown kind of op %d", op.Kind)
		}

		s.hash = st.hash(s.table, op.Path)
		before := -1 // the op before this one on the same key
		at := int(s.hash) & mask
		for ; last[at] != 0; at = (at + 1) & mask {
			j := int(last[at] - 1)
			if steps[j].hash == s.hash && steps[j].table == s.table && ops[j].Path == op.Path {
				before = j
				break
			}
		}
		last[at] = int32(i + 1)
		head := int32(-1)
		if before >= 0 {
			s.again = true
			head = steps[before].head
		} else if s.ref = st.find(s.hash, s.table, op.Path); s.ref != 0 {
			if x := st.arena.record(s.ref); !x.dead() {
				head = int32(len(x.head()))
				if op.Kind == storage.OpPutHead {
					add(x.size() + versionSize)
				}
			}
		}
		switch op.Kind {
		case storage.OpPutHead:
			if head < 0 {
				return fmt.Errorf("mem: the head of %.100q can't be put: there is no record", op.Path)
			}
			if int(head) != len(op.Head) {
				return fmt.Errorf("mem: a head of %d bytes can't be put over one of %d at %.100q", len(op.Head), head, op.Path)
			}
		case storage.OpDelete, storage.OpTableDelete:
			head = -1
		default:
			head = int32(len(op.Head))
		}
		s.head = head
		add(len(op.Path) + len(op.Head) + len(op.Data) + versionSize + wideHeader)
	}
	return st.arena.reserve(need, huge)
}

func bitsFor(n int) int {
	b := 0
	for 1<<b < n {
		b++
	}
	return b
}

func validPath(p string) bool {
	return len(p) > 0 && p[0] == '/' && (len(p) == 1 || p[len(p)-1] != '/')
}

// apply carries out what prepare has checked.
func (st *state) apply(ops []storage.Op) {
	st.epoch++
	for i := range ops {
		op, s := &ops[i], &st.steps[i]
		if s.skip {
			continue
		}
		r := s.ref
		if s.again {
			r = st.find(s.hash, s.table, op.Path)
		}
		k := key{s.hash, s.table, op.Path}
		switch op.Kind {
		case storage.OpPutHead:
			st.putHead(k, r, op.Head)
		case storage.OpDelete, storage.OpTableDelete:
			st.delete(k, r)
		case storage.OpTablePut:
			st.put(k, r, nil, op.Data)
		default:
			st.put(k, r, op.Head, op.Data)
		}
	}
	if len(st.steps) > 1<<16 { // a batch like this one is rare
		st.steps, st.last = nil, nil
	}
}

// A key is what a record is found by.
type key struct {
	hash  uint64
	table byte
	name  string
}

func (k *key) bytes() []byte { return raw(k.name) }

// shown says that a live view shows the record, or may.
func (st *state) shown(x record) bool {
	return st.pinned() && x.epoch() <= st.newest.epoch
}

// draft begins the record that this commit puts in place of before.
func (st *state) draft(k key, before ref) draft {
	d := draft{table: k.table, key: k.name}
	if st.pinned() {
		d.flags, d.epoch, d.before = flagVersion, st.epoch, before
	}
	return d
}

func (st *state) put(k key, r ref, head, data []byte) {
	if r == 0 {
		d := st.draft(k, 0)
		d.head, d.data = head, data
		st.link(k, st.arena.add(&d))
		st.count(k, 1)
		return
	}
	x := st.arena.record(r)
	if x.dead() || st.shown(x) {
		d := st.draft(k, r)
		d.head, d.data = head, data
		st.relink(k, r, st.arena.add(&d))
		if x.dead() {
			st.count(k, 1)
		}
		st.retired.add(st.epoch, r, false)
		return
	}
	// Nobody sees what happens here. In the same block, if it fits well.
	d := st.draft(k, x.before())
	d.head, d.data = head, data
	if n := d.size(); n != x.size() {
		if room := st.arena.size(r); n > room || n < room-room/4 {
			st.relink(k, r, st.arena.add(&d))
			st.arena.free(r)
			return
		}
	}
	d.write(x)
}

func (st *state) putHead(k key, r ref, head []byte) {
	x := st.arena.record(r)
	if !st.shown(x) {
		copy(x.head(), head)
		return
	}
	d := st.draft(k, r)
	d.head, d.data = head, x.data()
	st.relink(k, r, st.arena.add(&d))
	st.retired.add(st.epoch, r, false)
}

func (st *state) delete(k key, r ref) {
	if r == 0 {
		return
	}
	x := st.arena.record(r)
	if x.dead() {
		return
	}
	st.count(k, -1)
	shown := st.shown(x)
	if !shown && (!st.pinned() || x.before() == 0) {
		st.unlink(k, r)
		st.arena.free(r)
		return
	}
	before := r
	if !shown {
		before = x.before()
	}
	d := st.draft(k, before)
	d.flags |= flagDead
	dead := st.arena.add(&d)
	st.relink(k, r, dead)
	if shown {
		st.retired.add(st.epoch, r, false)
	} else {
		st.arena.free(r)
	}
	st.retired.add(st.epoch, dead, true)
}

func (st *state) count(k key, n int) {
	if k.table == 0 {
		st.records += n
	}
}

// link puts a new key's record into the index and its list.
func (st *state) link(k key, r ref) {
	st.index.insert(recordHash(k.hash), r)
	if k.table != 0 {
		t := &st.tables[k.table-1]
		if t.list == 0 {
			t.list = st.arena.newList(flagList, k.table, 0, 1)
		}
		t.list = st.arena.listInsert(t.list, k.bytes(), r)
		return
	}
	if k.name == "/" {
		return
	}
	parent := parentOf(k.name)
	h := st.hash(0, parent)
	old := st.findList(h, parent)
	if old == 0 {
		list := st.arena.newList(flagList, 0, len(parent), 1)
		st.index.insert(listHash(h), st.arena.listInsert(list, k.bytes(), r))
		return
	}
	if list := st.arena.listInsert(old, k.bytes(), r); list != old {
		st.index.replace(listHash(h), old, list)
	}
}

// relink makes the index and the list refer to another record of the key.
func (st *state) relink(k key, old, r ref) {
	st.index.replace(recordHash(k.hash), old, r)
	switch {
	case k.table != 0:
		st.arena.listReplace(st.tables[k.table-1].list, k.bytes(), r)
	case k.name != "/":
		parent := parentOf(k.name)
		st.arena.listReplace(st.findList(st.hash(0, parent), parent), k.bytes(), r)
	}
}

// unlink takes a key out of the index and its list.
func (st *state) unlink(k key, r ref) {
	st.index.remove(recordHash(k.hash), r)
	if k.table != 0 {
		t := &st.tables[k.table-1]
		t.list = st.arena.listRemove(t.list, k.bytes())
		return
	}
	if k.name == "/" {
		return
	}
	parent := parentOf(k.name)
	h := st.hash(0, parent)
	old := st.findList(h, parent)
	switch list := st.arena.listRemove(old, k.bytes()); list {
	case old:
	case 0:
		st.index.remove(listHash(h), old)
	default:
		st.index.replace(listHash(h), old, list)
	}
}

// retired are records that only older views show, in the order of the epochs
// that replaced them. With no such view left they are freed.
//
// A dead record comes in twice when it is replaced: first as dead, to be taken
// out of the index and the list if it is still there, and then as replaced. A
// block that is in here is freed by the last of its entries and by nobody else.
type retired struct {
	queue []retiredRecord
	begin int
}

type retiredRecord struct {
	epoch uint64
	ref   ref
	dead  bool
}

func (q *retired) add(epoch uint64, r ref, dead bool) {
	if q.begin > 1024 && q.begin > len(q.queue)/2 {
		q.queue = append(q.queue[:0], q.queue[q.begin:]...)
		q.begin = 0
	}
	q.queue = append(q.queue, retiredRecord{epoch, r, dead})
}

// next removes the first entry if its epoch is not above oldest.
func (q *retired) next(oldest uint64) (retiredRecord, bool) {
	if q.begin == len(q.queue) || q.queue[q.begin].epoch > oldest {
		return retiredRecord{}, false
	}
	e := q.queue[q.begin]
	if q.begin++; q.begin == len(q.queue) {
		q.queue, q.begin = q.queue[:0], 0
		if cap(q.queue) > 1<<14 {
			q.queue = nil
		}
	}
	return e, true
}

// reclaim frees up to n records that no live view shows, and says whether there
// may be more.
func (st *state) reclaim(n int) bool {
	oldest := uint64(math.MaxUint64)
	if st.oldest != nil {
		oldest = st.oldest.epoch
	}
	if q := &st.retired; q.begin == len(q.queue) || q.queue[q.begin].epoch > oldest {
		return false
	}
	st.lock()
	defer st.unlock()
	for range n {
		e, ok := st.retired.next(oldest)
		if !ok {
			break
		}
		if e.dead {
			x := st.arena.record(e.ref)
			k := key{table: x.table(), name: text(x.key())}
			k.hash = st.hash(k.table, k.name)
			if !st.index.has(recordHash(k.hash), e.ref) {
				continue
			}
			st.unlink(k, e.ref)
		}
		st.arena.free(e.ref)
	}
	st.arena.scavenge()
	return true
}
