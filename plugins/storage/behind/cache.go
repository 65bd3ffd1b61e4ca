package behind

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"sync"

	"github.com/zkcore/zkcore/plugins/simbug"
	"github.com/zkcore/zkcore/plugins/storage"
)

// A cache holds copies of records, and what it takes has a bound. Its memory is
// mapped from the system: the collector does not look at it, and lets no garbage
// pile up beside it. What it hands out is copied again, for a record's place is
// used anew while somebody may still read what was in it.
//
// Each record has the number of the commit from which on it is valid, and it is the
// newest one. So a view that is not older than that may have it. Of a key that the
// cache doesn't have nothing is known; that there is no record is known of a key
// that has an entry saying so.
type cache struct {
	seed   maphash.Seed
	shards []shard
	hot    *hot
	gone   *hotRecord // of the commit that is being made
}

// A shard is a ring of entries. A new one is written at its head, and pushes out
// those at the tail; one that was read meanwhile goes to the head again instead.
type shard struct {
	mu           sync.Mutex
	index        map[uint64]uint32 // where the newest entry with that hash is, in units of 8 bytes
	ring         []byte
	head, tail   int
	used         int
	wrote        uint64 // the last commit that changed a key of this shard
	hits, misses int64
	scratch      []byte
	_            [40]byte
}

// An entry:
//
//	size 4 bytes, a multiple of 8   flags 4   hash 8   commit 8   lengths of key, head, data 4 each   4
//	key, head, data
const (
	slotHeader = 40

	slotRead   = 1 << iota // since it came to the head
	slotDead               // there is no record
	slotNil                // its data is nil
	slotFiller             // no entry: the ring goes on at its begin
)

// minRing is the least a shard is worth having: a record of a megabyte fits in.
const minRing = 4 << 20

// newCache makes one that takes some size bytes. A small one holds nothing large.
func newCache(size int64) (*cache, error) {
	n := 1
	for n < 64 && size/int64(2*n) >= minRing {
		n *= 2
	}
	c := &cache{seed: maphash.MakeSeed(), shards: make([]shard, n), hot: newHot(size)}
	// An eighth is for the index.
	ring := int(size/8*7/int64(n)) &^ 7
	for i := range c.shards {
		s := &c.shards[i]
		s.index = map[uint64]uint32{}
		if ring < 4*slotHeader {
			continue
		}
		b, err := mapMemory(ring)
		if err != nil {
			c.close()
			return nil, err
		}
		s.ring = b
	}
	return c, nil
}

func (c *cache) close() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		if s.ring != nil {
			unmapMemory(s.ring)
		}
		s.ring, s.index = nil, map[uint64]uint32{}
		s.head, s.tail, s.used = 0, 0, 0
		s.mu.Unlock()
	}
}

func (c *cache) hash(path string) uint64 { return maphash.String(c.seed, path) }

func (c *cache) shard(hash uint64) *shard { return &c.shards[hash>>32%uint64(len(c.shards))] }

// get looks up what a view of that commit may see. known is false when the cache
// can't tell; ok says whether there is a record.
func (c *cache) get(hash uint64, path string, commit uint64) (rec storage.Record, ok, known bool) {
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.find(hash, path)
	if b == nil || binary.LittleEndian.Uint64(b[16:]) > commit {
		s.misses++
		return rec, false, false
	}
	s.hits++
	flags := binary.LittleEndian.Uint32(b[4:])
	binary.LittleEndian.PutUint32(b[4:], flags|slotRead)
	if flags&slotDead != 0 {
		return rec, false, true
	}
	head, data := parts(b)
	n := len(head)
	if flags&slotNil != 0 {
		rec.Head = bytes.Clone(head)
		return rec, true, true
	}
	both := make([]byte, n+len(data))
	copy(both, head)
	copy(both[n:], data)
	rec.Head, rec.Data = both[:n:n], both[n:]
	return rec, true, true
}

// peek says whether there is a record, in the newest state.
func (c *cache) peek(hash uint64, path string) (ok, known bool) {
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.find(hash, path)
	if b == nil {
		return false, false
	}
	return binary.LittleEndian.Uint32(b[4:])&slotDead == 0, true
}

func parts(b []byte) (head, data []byte) {
	key, h, d := int(binary.LittleEndian.Uint32(b[24:])), int(binary.LittleEndian.Uint32(b[28:])), int(binary.LittleEndian.Uint32(b[32:]))
	at := slotHeader + key
	return b[at : at+h], b[at+h : at+h+d]
}

// find returns the entry of a path.
func (s *shard) find(hash uint64, path string) []byte {
	at, ok := s.index[hash]
	if !ok {
		return nil
	}
	b := s.at(int(at) * 8)
	n := int(binary.LittleEndian.Uint32(b[24:]))
	if n != len(path) || text(b[slotHeader:slotHeader+n]) != path {
		return nil
	}
	return b
}

func (s *shard) at(off int) []byte {
	size := int(binary.LittleEndian.Uint32(s.ring[off:]))
	return s.ring[off : off+size : off+size]
}

// put makes e what a commit has made of path.
func (c *cache) put(hash uint64, path string, commit uint64, e *entry) {
	if slot := c.hot.slot(hash); slot != nil && !simbug.On("hot-keeps-old") {
		if c.gone == nil || c.gone.from != commit {
			c.gone = &hotRecord{from: commit}
		}
		c.hot.drop(slot, c.gone)
	}
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrote = commit
	s.set(hash, path, commit, e)
}

// fill keeps what a view of that commit has read elsewhere, if it is still so.
func (c *cache) fill(hash uint64, path string, commit uint64, e *entry) {
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if commit < s.wrote || s.find(hash, path) != nil {
		return
	}
	// It was so since the last change in this shard, at least.
	s.set(hash, path, s.wrote, e)
}

// clear forgets everything, because a commit has changed everything.
func (c *cache) clear(commit uint64) {
	c.hot.forget(commit)
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.wrote = commit
		s.index = map[uint64]uint32{}
		s.head, s.tail, s.used = 0, 0, 0
		s.mu.Unlock()
	}
}

func (s *shard) set(hash uint64, path string, commit uint64, e *entry) {
	size := (slotHeader + len(path) + len(e.head) + len(e.data) + 7) &^ 7
	if size > len(s.ring)/4 {
		delete(s.index, hash)
		return
	}
	b := s.find(hash, path)
	if len(b) != size {
		delete(s.index, hash) // the entry that is there is one that nobody finds
		off := s.place(size)
		s.index[hash] = uint32(off / 8)
		b = s.ring[off : off+size]
		binary.LittleEndian.PutUint32(b, uint32(size))
		binary.LittleEndian.PutUint64(b[8:], hash)
		binary.LittleEndian.PutUint32(b[24:], uint32(len(path)))
		copy(b[slotHeader:], path)
	}
	flags := uint32(0)
	if e.dead {
		flags |= slotDead
	}
	if e.data == nil {
		flags |= slotNil
	}
	binary.LittleEndian.PutUint32(b[4:], flags)
	binary.LittleEndian.PutUint64(b[16:], commit)
	binary.LittleEndian.PutUint32(b[28:], uint32(len(e.head)))
	binary.LittleEndian.PutUint32(b[32:], uint32(len(e.data)))
	at := slotHeader + len(path)
	copy(b[at:], e.head)
	copy(b[at+len(e.head):], e.data)
}

// place makes room for an entry at the head.
func (s *shard) place(size int) int {
	for chances := 16; ; {
		if off, ok := s.room(size); ok {
			return off
		}
		off := s.tail
		b := s.at(off)
		s.tail += len(b)
		s.used -= len(b)
		if s.tail == len(s.ring) {
			s.tail = 0
		}
		flags := binary.LittleEndian.Uint32(b[4:])
		if flags&slotFiller != 0 {
			continue
		}
		hash := binary.LittleEndian.Uint64(b[8:])
		if at, ok := s.index[hash]; !ok || int(at)*8 != off {
			continue // a newer one is elsewhere
		}
		if flags&slotRead != 0 && chances > 0 && len(b) <= len(s.ring)/64 {
			chances--
			s.scratch = append(s.scratch[:0], b...)
			if to, ok := s.room(len(s.scratch)); ok {
				copy(s.ring[to:], s.scratch)
				binary.LittleEndian.PutUint32(s.ring[to+4:], flags&^slotRead)
				s.index[hash] = uint32(to / 8)
				continue
			}
		}
		delete(s.index, hash)
	}
}

// room takes size bytes at the head, if they are free.
func (s *shard) room(size int) (off int, ok bool) {
	if s.used == 0 {
		s.head, s.tail = 0, 0
	}
	free := len(s.ring) - s.used
	if s.head >= s.tail && s.used < len(s.ring) {
		if end := len(s.ring) - s.head; end < size {
			if s.tail < size {
				return 0, false
			}
			if end > 0 {
				// What is left at the end is skipped.
				binary.LittleEndian.PutUint32(s.ring[s.head:], uint32(end))
				binary.LittleEndian.PutUint32(s.ring[s.head+4:], slotFiller)
				s.used += end
			}
			s.head = 0
		}
	} else if free < size {
		return 0, false
	}
	off = s.head
	s.used += size
	if s.head += size; s.head == len(s.ring) {
		s.head = 0
	}
	return off, true
}

// stats returns the bytes in use, and how many reads found what they looked for.
func (c *cache) stats() (used, hits, misses int64) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		used += int64(s.used) + int64(len(s.index))*32
		hits += s.hits
		misses += s.misses
		s.mu.Unlock()
	}
	return used, hits + c.hot.hits.Load(), misses
}
