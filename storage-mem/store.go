package mem

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/zkcore/zkcore/plugins/storage"
)

var (
	_ storage.Store = (*Store)(nil)
	_ storage.View  = (*view)(nil)
	_ storage.Open  = Open
)

// A Store is a storage.Store in memory.
type Store struct {
	mu      sync.Mutex // held for a commit, and while a view is taken or released
	st      *state
	closed  bool
	applied atomic.Int64
}

// Open returns an empty store. The configuration has nothing for it.
func Open(storage.Config) (storage.Store, error) {
	return &Store{st: newState()}, nil
}

// View implements storage.Store.
func (s *Store) View() storage.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	v := &view{s: s, st: st, epoch: st.epoch, applied: st.applied, records: st.records, older: st.newest}
	if v.older != nil {
		v.older.newer = v
	} else {
		st.oldest = v
	}
	st.newest = v
	return v
}

// Release implements storage.View.
func (v *view) Release() {
	s, st := v.s, v.st
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.newer != nil {
		v.newer.older = v.older
	} else {
		st.newest = v.older
	}
	if v.older != nil {
		v.older.newer = v.newer
	} else {
		st.oldest = v.newer
	}
	// What this view alone has kept is freed here, and others get their turn
	// in between: after a long snapshot it may be much.
	for {
		if st.detached {
			if !st.pinned() && !st.closed {
				st.closed = true
				st.close()
			}
			return
		}
		if !st.reclaim(256) {
			return
		}
		s.mu.Unlock()
		s.mu.Lock()
	}
}

// Commit implements storage.Store.
func (s *Store) Commit(b *storage.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	st := s.st
	st.lock()
	defer st.unlock()
	if err := st.prepare(b.Ops); err != nil {
		return err
	}
	st.apply(b.Ops)
	st.arena.scavenge()
	st.applied = b.Zxid
	s.applied.Store(b.Zxid)
	return nil
}

// Applied implements storage.Store.
func (s *Store) Applied() int64 { return s.applied.Load() }

// Durable implements storage.Store: memory survives nothing.
func (s *Store) Durable() int64 { return 0 }

// Flush implements storage.Store: there is nothing to make durable.
func (s *Store) Flush(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	return nil
}

// Stats implements storage.Store: all of it is about files.
func (s *Store) Stats() storage.Stats { return storage.Stats{} }

// Reset implements storage.Store.
func (s *Store) Reset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	s.renew()
	return nil
}

// renew begins a new state. The old one goes with its last view.
func (s *Store) renew() {
	st := s.st
	st.detached = true
	if !st.pinned() {
		st.closed = true
		st.close()
	}
	s.st = newState()
	s.applied.Store(0)
}

// Close implements storage.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	s.closed = true
	s.renew()
	s.st.closed = true // for views that are taken nevertheless
	return nil
}
