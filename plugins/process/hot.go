package process

import (
	"bytes"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/zkcore/zkcore/plugins/storage"
	"github.com/zkcore/zkcore/plugins/storage/behind"
)

// CachedStorage is Storage with what makes a read seldom cross, and a commit wait for nothing: a
// cache of so many bytes, commits that are written behind, and the records that are read most
// at hand without a lock or a copy.
func CachedStorage(cfg Config, cacheBytes int64, log *slog.Logger) storage.Open {
	open := Storage(cfg)
	return func(sc storage.Config) (storage.Store, error) {
		s, err := open(sc)
		if err != nil {
			return nil, err
		}
		fail := sc.Fail
		b, err := behind.Open(s, behind.Options{CacheBytes: cacheBytes, Fail: func(err error) {
			log.Error("what is committed can't be written to the store any more", "error", err)
			if fail != nil {
				fail(err)
			}
		}})
		if err != nil {
			return nil, err
		}
		return newHot(b), nil
	}
}

// A hot store has the records that were read last in slots, one for each hash. What is in a slot
// is never changed, and says from which commit on it is right: until the slot is given away,
// which the commit that changes the record does before anybody can see that it has.
//
// In a slot that number never falls. So whoever has read a record from a view, and has taken his
// time, can't put it over what a later commit has left there.
type hot struct {
	storage.Store
	seed  maphash.Seed
	slots []atomic.Pointer[hotRecord]
	done  atomic.Uint64 // commits and resets that are seen by views taken from now on
}

// A hotRecord is what a slot holds; without a path nothing but the number.
type hotRecord struct {
	path string
	rec  storage.Record
	from uint64
}

const (
	hotSlots = 1 << 13
	// maxHot bounds what one slot holds: some megabytes in all.
	maxHot = 2 << 10
)

func newHot(s storage.Store) *hot {
	return &hot{Store: s, seed: maphash.MakeSeed(), slots: make([]atomic.Pointer[hotRecord], hotSlots)}
}

func (h *hot) slot(path string) *atomic.Pointer[hotRecord] {
	return &h.slots[maphash.String(h.seed, path)%hotSlots]
}

// Commit implements storage.Store.
func (h *hot) Commit(b *storage.Batch) error {
	gone := &hotRecord{from: h.done.Load() + 1}
	for i := range b.Ops {
		switch op := &b.Ops[i]; op.Kind {
		case storage.OpPut, storage.OpPutHead, storage.OpDelete:
			h.slot(op.Path).Store(gone)
		}
	}
	err := h.Store.Commit(b)
	if err == nil {
		h.done.Add(1)
	}
	return err
}

// Reset implements storage.Store.
func (h *hot) Reset() error {
	gone := &hotRecord{from: h.done.Load() + 1}
	for i := range h.slots {
		h.slots[i].Store(gone)
	}
	err := h.Store.Reset()
	if err == nil {
		h.done.Add(1)
	}
	return err
}

// View implements storage.Store. The number is read first: a view may show more than it says,
// but not less.
func (h *hot) View() storage.View {
	at := h.done.Load()
	return &hotView{View: h.Store.View(), h: h, at: at}
}

// A hotView looks into the slots first.
type hotView struct {
	storage.View
	h  *hot
	at uint64
}

// Get implements storage.View.
func (v *hotView) Get(path string) (storage.Record, bool, error) {
	slot := v.h.slot(path)
	was := slot.Load()
	if was != nil && was.from <= v.at && was.path == path {
		return was.rec, true, nil
	}
	rec, ok, err := v.View.Get(path)
	if err != nil || !ok || len(path)+len(rec.Head)+len(rec.Data) > maxHot || was != nil && was.from > v.at {
		return rec, ok, err
	}
	keep := &hotRecord{path: strings.Clone(path), rec: storage.Record{Head: bytes.Clone(rec.Head), Data: bytes.Clone(rec.Data)}, from: v.at}
	slot.CompareAndSwap(was, keep)
	return keep.rec, true, nil
}
