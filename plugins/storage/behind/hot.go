package behind

import (
	"bytes"
	"strings"
	"sync/atomic"

	"github.com/zkcore/zkcore/plugins/storage"
)

// Hot records are those that were read last, in slots, one for each hash: to be had without a lock or a copy.
// What is in a slot is never changed, and says from which commit on it is right: until the slot is
// given away, which the commit that changes the record does before anybody can see that it has.
//
// In a slot that number never falls. So whoever has read a record from a view, and has taken his
// time, can't put it over what a later commit has left there.
type hot []hotSlot

type hotSlot struct {
	atomic.Pointer[hotRecord]
	hits atomic.Int64
}

// A hotRecord is what a slot holds; without a path nothing but the number.
type hotRecord struct {
	path string
	rec  storage.Record
	from uint64
}

const (
	maxHotSlots = 1 << 13
	// maxHot bounds what one slot holds.
	maxHot = 2 << 10
)

// newHot makes so many slots that what they hold, which is beside what the cache takes, is at most an eighth of its size.
func newHot(cacheBytes int64) hot {
	n := 0
	for next := 16; next <= maxHotSlots && int64(next)*maxHot <= cacheBytes/8; next *= 2 {
		n = next
	}
	return make(hot, n)
}

// slot is nil if there are none.
func (h hot) slot(hash uint64) *hotSlot {
	if len(h) == 0 {
		return nil
	}
	return &h[hash%uint64(len(h))]
}

// get returns what a view of that commit may see. Without a record was is what keep is to be given.
func (s *hotSlot) get(path string, commit uint64) (rec storage.Record, was *hotRecord, ok bool) {
	was = s.Load()
	if was != nil && was.from <= commit && was.path == path {
		s.hits.Add(1)
		return was.rec, was, true
	}
	return rec, was, false
}

// keep takes what a view of that commit has read.
func (s *hotSlot) keep(was *hotRecord, path string, rec storage.Record, commit uint64) {
	if len(path)+len(rec.Head)+len(rec.Data) > maxHot || was != nil && was.from > commit {
		return
	}
	s.CompareAndSwap(was, &hotRecord{path: strings.Clone(path), rec: storage.Record{Head: bytes.Clone(rec.Head), Data: bytes.Clone(rec.Data)}, from: commit})
}

// forget gives away all slots, for a commit.
func (h hot) forget(commit uint64) {
	gone := &hotRecord{from: commit}
	for i := range h {
		h[i].Store(gone)
	}
}

func (h hot) hits() (n int64) {
	for i := range h {
		n += h[i].hits.Load()
	}
	return n
}
