package behind

import (
	"bytes"
	"math/rand/v2"
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
type hot struct {
	slots []hotSlot
	most  int64        // bytes that they may hold
	bytes atomic.Int64 // that they hold
	hits  atomic.Int64 // about
}

type hotSlot = atomic.Pointer[hotRecord]

// A hotRecord is what a slot holds; without a path nothing but the number.
type hotRecord struct {
	path string
	rec  storage.Record
	from uint64
}

func (r *hotRecord) size() int64 {
	if r == nil || r.path == "" {
		return 0
	}
	return int64(len(r.path)+len(r.rec.Head)+len(r.rec.Data)) + 96
}

const (
	maxHotSlots = 1 << 15
	// maxHot bounds what one slot holds.
	maxHot = 2 << 10
	// mostPushed is how many slots are looked at for a record to push out.
	mostPushed = 64
	// countEvery is how many hits are one that is counted: a number that all processors
	// write costs more than the record.
	countEvery = 64
)

// newHot makes slots for an eighth of the cache's size, which they take beside it: as many as there may be of small records.
func newHot(cacheBytes int64) *hot {
	h := &hot{most: cacheBytes / 8}
	n := 0
	for next := 16; next <= maxHotSlots && int64(next)*256 <= h.most; next *= 2 {
		n = next
	}
	h.slots = make([]hotSlot, n)
	return h
}

// slot is nil if there are none.
func (h *hot) slot(hash uint64) *hotSlot {
	if len(h.slots) == 0 {
		return nil
	}
	return &h.slots[hash%uint64(len(h.slots))]
}

// get returns what a view of that commit may see. Without a record was is what keep is to be given.
func (h *hot) get(slot *hotSlot, path string, commit uint64) (rec storage.Record, was *hotRecord, ok bool) {
	was = slot.Load()
	if was != nil && was.from <= commit && was.path == path {
		if rand.Uint32()%countEvery == 0 {
			h.hits.Add(countEvery)
		}
		return was.rec, was, true
	}
	return rec, was, false
}

// keep takes what a view of that commit has read.
func (h *hot) keep(slot *hotSlot, was *hotRecord, path string, rec storage.Record, commit uint64) {
	if len(path)+len(rec.Head)+len(rec.Data) > maxHot || was != nil && was.from > commit {
		return
	}
	r := &hotRecord{path: strings.Clone(path), rec: storage.Record{Head: bytes.Clone(rec.Head), Data: bytes.Clone(rec.Data)}, from: commit}
	more := r.size() - was.size()
	if more > 0 && !h.room(slot, more) {
		return
	}
	if slot.CompareAndSwap(was, r) {
		h.bytes.Add(more)
	}
}

// room says whether there are so many bytes more, for which it pushes out what some other slots hold: of any
// records, since nobody notes which of them was read when.
func (h *hot) room(slot *hotSlot, more int64) bool {
	at := rand.IntN(len(h.slots))
	for range min(mostPushed, len(h.slots)) {
		if h.bytes.Load()+more <= h.most {
			return true
		}
		other := &h.slots[at]
		at = (at + 1) % len(h.slots)
		r := other.Load()
		if other == slot || r.size() == 0 {
			continue
		}
		if other.CompareAndSwap(r, &hotRecord{from: r.from}) {
			h.bytes.Add(-r.size())
		}
	}
	return h.bytes.Load()+more <= h.most
}

// drop gives a slot away, for a commit that has gone into gone.
func (h *hot) drop(slot *hotSlot, gone *hotRecord) { h.bytes.Add(-slot.Swap(gone).size()) }

// forget gives away all slots, for a commit.
func (h *hot) forget(commit uint64) {
	gone := &hotRecord{from: commit}
	for i := range h.slots {
		h.drop(&h.slots[i], gone)
	}
}
