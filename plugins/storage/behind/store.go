package behind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/zkcore/zkcore/plugins/simbug"
	"github.com/zkcore/zkcore/plugins/storage"
)

// Options are what a store is made with. Zero values take the default.
type Options struct {
	// CacheBytes is what the cache of records may take; 0: none.
	CacheBytes int64
	// GatherBytes and GatherRecords bound what is committed and not written; 0: 16
	// MiB, and 50000 records and entries.
	GatherBytes   int64
	GatherRecords int
	// Interval is after how much time it is written at the latest; 0: 2 s. Negative:
	// it is written within Commit, when half of a bound is reached, and otherwise
	// only by Flush and Close: there is no goroutine then, and what is written
	// when depends on the commits alone.
	Interval time.Duration
	// Fail is told of the error after which nothing is written any more, if no
	// call that is waiting for it returns it. It may be nil.
	Fail func(error)
}

// A Store stands before another.
type Store struct {
	inner storage.Store
	opts  Options
	cache *cache

	// commit is held by who changes the state: Commit, Reset, Close.
	commit sync.Mutex
	// flush is held by who writes to the store behind.
	flush sync.Mutex

	mu      sync.Mutex
	cond    sync.Cond // the state has become smaller, or err is set
	now     *state
	err     error
	closed  bool
	since   time.Time // the oldest commit that is not being written
	durable int64     // of inner
	flushes int64
	ops     int64

	kick chan struct{}
	done chan struct{}
	stop chan struct{}
}

// A state is what a view shows. It never changes.
type state struct {
	commit    uint64 // counts commits and resets since Open
	applied   int64
	records   int
	gathering layer
	writing   layer
	bytes     int64 // of gathering
	writes    int64 // of writing
	base      *base
}

// A base is a view of the store behind, with those who need it: each view of this
// store that has it, and the present state.
type base struct {
	storage.View
	refs int // under Store.mu
}

var _ storage.Store = (*Store)(nil)

// Open makes a store that stands before inner, which becomes its own: it is closed
// with it, or if Open fails.
func Open(inner storage.Store, o Options) (*Store, error) {
	if o.GatherBytes <= 0 {
		o.GatherBytes = 16 << 20
	}
	if o.GatherRecords <= 0 {
		o.GatherRecords = 50_000
	}
	if o.Interval == 0 {
		o.Interval = 2 * time.Second
	}
	c, err := newCache(max(o.CacheBytes, 0))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("memory for a cache of %d bytes: %w", o.CacheBytes, err), inner.Close())
	}
	s := &Store{
		inner: inner, opts: o, cache: c, durable: inner.Durable(),
		kick: make(chan struct{}, 1), done: make(chan struct{}), stop: make(chan struct{}),
	}
	s.cond.L = &s.mu
	v := inner.View()
	s.now = &state{commit: 1, applied: v.Applied(), records: v.Len(), base: &base{v, 1}}
	if o.Interval > 0 {
		go s.run()
	} else {
		close(s.done)
	}
	return s, nil
}

// View implements storage.Store.
func (s *Store) View() storage.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed { // else it was released for good
		s.now.base.refs++
	}
	return &view{s: s, st: s.now, closed: s.closed}
}

// release takes one reference off a base.
func (s *Store) release(b *base) {
	s.mu.Lock()
	b.refs--
	last := b.refs == 0
	s.mu.Unlock()
	if last {
		b.View.Release()
	}
}

// Applied implements storage.Store.
func (s *Store) Applied() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.applied
}

// Durable implements storage.Store.
func (s *Store) Durable() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if simbug.On("durable-when-gathered") {
		return s.now.applied
	}
	return s.durable
}

// Stats implements storage.Store.
func (s *Store) Stats() storage.Stats {
	st := s.inner.Stats()
	st.Cache, st.Hits, st.Misses = s.cache.stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Gathered = s.now.bytes + s.now.writes
	st.Flushes, st.FlushedOps = s.flushes, s.ops
	return st
}

func (s *Store) usable() error {
	if s.closed {
		return storage.ErrClosed
	}
	return s.err
}

// full says that as much has gathered as a part of the bounds.
func (s *Store) full(st *state, part int) bool {
	return st.bytes+st.writes >= s.opts.GatherBytes/int64(part) || st.gathering.count+st.writing.count >= s.opts.GatherRecords/part
}

// Commit implements storage.Store.
func (s *Store) Commit(b *storage.Batch) error {
	if err := s.room(); err != nil {
		return err
	}
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.Lock()
	if err := s.usable(); err != nil {
		s.mu.Unlock()
		return err
	}
	st := s.now
	// What is looked up in the base stays there: a flush that ends meanwhile takes
	// the state's reference off it.
	st.base.refs++
	s.mu.Unlock()
	defer s.release(st.base)

	c := newCommitter(s, st, b.Ops)
	if err := c.apply(b.Ops); err != nil {
		return err
	}
	// The cache first: a view that shows this commit must not find there what was.
	next := st.commit + 1
	c.fill(next)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := *s.now // its base and what is being written may be others by now
	n.commit, n.applied, n.records = next, b.Zxid, c.records
	n.gathering = c.edit.layer()
	if n.bytes == 0 {
		s.since = time.Now()
		s.wake()
	}
	n.bytes += c.bytes
	s.now = &n
	if s.full(s.now, 2) {
		s.wake()
	}
	return nil
}

// room waits until what has gathered is below the bounds.
func (s *Store) room() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opts.Interval < 0 {
		if s.full(s.now, 2) && s.usable() == nil {
			s.mu.Unlock()
			defer s.mu.Lock()
			return s.write()
		}
		return s.usable()
	}
	for s.full(s.now, 1) && s.usable() == nil {
		s.wake()
		s.cond.Wait()
	}
	return s.usable()
}

// wake makes run look whether there is something to write.
func (s *Store) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// run writes what has gathered, when it is much or when it has waited long enough.
func (s *Store) run() {
	defer close(s.done)
	timer := time.NewTimer(s.opts.Interval)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.kick:
		case <-timer.C:
		}
		s.mu.Lock()
		wait := s.opts.Interval
		due := false
		if s.now.bytes > 0 {
			wait = max(s.opts.Interval-time.Since(s.since), 0)
			due = wait == 0 || s.full(s.now, 2)
		}
		s.mu.Unlock()
		if !due {
			timer.Reset(wait)
			continue
		}
		if err := s.write(); err != nil {
			if s.opts.Fail != nil && !errors.Is(err, storage.ErrClosed) && !errors.Is(err, errCrashed) {
				s.opts.Fail(err)
			}
			return
		}
		s.wake() // more may have gathered meanwhile
	}
}

// write writes all that was committed before the call.
func (s *Store) write() error {
	s.flush.Lock()
	defer s.flush.Unlock()
	s.commit.Lock()
	s.mu.Lock()
	err := s.usable()
	if err == nil && s.now.bytes > 0 {
		n := *s.now
		n.writing, n.writes = n.gathering, n.bytes
		n.gathering, n.bytes = layer{}, 0
		s.now = &n
	}
	st := s.now
	s.mu.Unlock()
	s.commit.Unlock()
	if err != nil || st.writes == 0 {
		return err
	}
	upTo := st.applied
	if simbug.On("flush-says-too-much") {
		upTo++
	}
	err = s.inner.Commit(merged(st.writing, upTo))
	var v storage.View
	if err == nil {
		v = s.inner.View()
	}
	s.mu.Lock()
	defer s.cond.Broadcast()
	if err != nil {
		s.err = err
		s.mu.Unlock()
		return err
	}
	n := *s.now
	n.writing, n.writes = layer{}, 0
	old := n.base
	n.base = &base{v, 1}
	s.now = &n
	s.durable = s.inner.Durable()
	s.flushes++
	s.ops += int64(st.writing.count)
	s.mu.Unlock()
	s.release(old)
	return nil
}

// merged is the batch that makes of the store behind what a layer says. Znodes go
// from below and come from above, so that each has its parent meanwhile.
func merged(l layer, zxid int64) *storage.Batch {
	b := &storage.Batch{Zxid: zxid, Ops: make([]storage.Op, 0, l.count)}
	for w := l.from(""); ; w.next() {
		key, e, ok := w.peek()
		if !ok {
			break
		}
		if isRecord(key) && e.dead && !simbug.On("flush-forgets-deletes") {
			b.Delete(pathOf(key))
		}
	}
	slices.Reverse(b.Ops)
	for w := l.from(""); ; w.next() {
		key, e, ok := w.peek()
		if !ok {
			return b
		}
		switch {
		case !isRecord(key):
			table, name := entryOf(key)
			if e.dead {
				b.TableDelete(table, name)
			} else if len(e.data) > 0 || !simbug.On("empty-entries-not-written") {
				b.TablePut(table, name, e.data)
			}
		case e.dead:
		case e.headOnly:
			b.PutHead(pathOf(key), e.head)
		default:
			b.Put(pathOf(key), e.head, e.data)
		}
	}
}

// Flush implements storage.Store. A write that has begun is finished whatever
// becomes of ctx.
func (s *Store) Flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.write(); err != nil {
		return err
	}
	if err := s.inner.Flush(ctx); err != nil {
		return err
	}
	// It may have made durable what no commit did.
	s.mu.Lock()
	s.durable = s.inner.Durable()
	s.mu.Unlock()
	return nil
}

// Reset implements storage.Store.
func (s *Store) Reset() error {
	s.flush.Lock()
	defer s.flush.Unlock()
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.Lock()
	err := s.usable()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	err = s.inner.Reset()
	var v storage.View
	if err == nil {
		v = s.inner.View()
		if !simbug.On("reset-keeps-cache") {
			s.cache.clear(s.now.commit + 1) // nobody else changes it now
		}
	}
	s.mu.Lock()
	defer s.cond.Broadcast()
	if err != nil {
		s.err = err
		s.mu.Unlock()
		return err
	}
	old := s.now.base
	s.now = &state{commit: s.now.commit + 1, base: &base{v, 1}}
	s.durable = s.inner.Durable()
	s.mu.Unlock()
	s.release(old)
	return nil
}

// Close implements storage.Store: what has gathered is written first.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return storage.ErrClosed
	}
	s.mu.Unlock()
	if s.opts.Interval > 0 {
		close(s.stop)
		<-s.done
	}
	err := s.write()
	s.mu.Lock()
	s.closed = true
	old := s.now.base
	s.cond.Broadcast()
	s.mu.Unlock()
	s.release(old)
	s.cache.close()
	return errors.Join(err, s.inner.Close())
}

var errCrashed = errors.New("storage: the store has crashed")

// Crash closes a store as the end of its process would: nothing more is written, and
// what has gathered is lost. It is for tests.
func Crash(s *Store) {
	s.flush.Lock() // what is being written may come to its end
	s.mu.Lock()
	if s.err == nil {
		s.err = errCrashed
	}
	s.cond.Broadcast()
	s.mu.Unlock()
	s.flush.Unlock()
	_ = s.Close() // the error is the one above
}
