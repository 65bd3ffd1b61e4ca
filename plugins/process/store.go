package process

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/zkcore/zkcore/plugins/process/modulepb"
	"github.com/zkcore/zkcore/plugins/storage"
)

// Storage is the Open of a store in a process of its own.
func Storage(cfg Config) storage.Open {
	return func(sc storage.Config) (storage.Store, error) {
		s, err := openStore(cfg, sc)
		if err != nil {
			return nil, err // and not a store that is nil
		}
		return s, nil
	}
}

// A store is the node's side of a store in another process.
type store struct {
	m *module
	c pb.StorageClient

	mu      sync.Mutex
	changed sync.Cond // now is there again
	now     *version  // what View shows; nil while a change is under way
	idle    []uint64  // versions that nobody looks at any more
	applied int64
	durable int64
	resets  uint64
	closed  bool
	dead    error // the module is gone: views show nothing

	seed   uint64
	filter atomic.Pointer[filter]
	making atomic.Bool // a filter is being made
	made   sync.WaitGroup
	hashes []uint64 // of a batch; Commit's

	flushing sync.RWMutex // by Flush; Reset waits

	fail   func(error)
	failed bool // fail was told; well's

	buf []byte // of a batch; Commit's
}

var _ storage.Store = (*store)(nil)

// A version is a state of the store that the module keeps pinned.
type version struct {
	no      uint64
	applied int64
	len     int
	views   int
}

func openStore(cfg Config, sc storage.Config) (*store, error) {
	if sc.Log != nil {
		cfg.Log = sc.Log
	}
	m, err := start(cfg, kindStorage)
	if err != nil {
		return nil, err
	}
	s := &store{m: m, c: pb.NewStorageClient(m.conn), fail: sc.Fail, seed: rand.Uint64()}
	s.changed.L = &s.mu
	m.well = s.well
	go m.health()
	var st *pb.StoreState
	err = m.call("open", m.slow(), func(ctx context.Context) (err error) {
		st, err = s.c.Open(ctx, &pb.StorageConfig{
			Dir: sc.Dir, Options: sc.Options, Debug: m.log.Enabled(ctx, slog.LevelDebug), Discard: sc.Discard,
		})
		return err
	})
	if err != nil {
		m.shut()
		return nil, err
	}
	if err := fromWire(kindStorage, st.Error); err != nil {
		m.shut()
		return nil, err
	}
	if err := s.take(st); err != nil {
		m.shut()
		return nil, err
	}
	if st.Len == 0 {
		s.filter.Store(&filter{from: st.Version, complete: true})
	} else {
		s.makeFilter()
	}
	return s, nil
}

// makeFilter makes a filter of the paths that are there, beside whatever else happens.
func (s *store) makeFilter() {
	if s.making.Swap(true) {
		return
	}
	s.made.Add(1)
	go func() {
		defer s.made.Done()
		defer s.making.Store(false)
		// What is committed from now on is in it; what was before, the view has.
		f := new(filter)
		s.filter.Store(f)
		v := s.View().(*view)
		defer v.Release()
		seed := binary.BigEndian.AppendUint64(nil, s.seed)
		var hashes []uint64
		err := v.scan("paths", s.c.Paths, &pb.ScanRequest{Version: v.v.no, Key: seed}, func(b []byte) (bool, error) {
			if len(b)%8 != 0 {
				return false, errGarbage
			}
			hashes = hashes[:0]
			for ; len(b) > 0; b = b[8:] {
				hashes = append(hashes, binary.BigEndian.Uint64(b))
			}
			f.addAll(hashes)
			return s.filter.Load() == f && !s.ending(), nil // else nobody wants it any more
		})
		if err == nil && !s.ending() {
			f.mu.Lock()
			f.from, f.complete = v.v.no, true
			f.mu.Unlock()
		}
	}()
}

func (s *store) ending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// well takes what a health call has brought.
func (s *store) well(r *pb.HealthReply) {
	s.mu.Lock()
	if r.Resets == s.resets { // else it is of a state that is gone
		s.durable = max(s.durable, r.Durable)
	}
	s.mu.Unlock()
	if r.Failed != nil && !s.failed && s.fail != nil {
		s.failed = true
		s.fail(fromWire(kindStorage, r.Failed))
	}
}

func (s *store) Stats() storage.Stats {
	if s.m.failed() != nil {
		return storage.Stats{}
	}
	ctx, cancel := context.WithTimeout(s.m.ctx, statusPatience)
	defer cancel()
	st, err := s.c.Stats(ctx, &pb.StoreRequest{})
	if err != nil {
		return storage.Stats{} // it is a picture for an operator: the health calls see to the rest
	}
	return storage.Stats{File: st.File, Free: st.Free, Gathered: st.Gathered, Flushes: st.Flushes, FlushedOps: st.FlushedOps,
		Cache: st.Cache, Hits: st.Hits, Misses: st.Misses}
}

// slow is how long a call may take that writes much.
func (m *module) slow() time.Duration { return 10 * m.cfg.Timeout }

// take makes a state that the module has told the one that View shows.
func (s *store) take(st *pb.StoreState) error {
	if st.Applied < 0 || st.Durable < 0 || st.Len < 0 {
		return s.m.fail(fmt.Errorf("what it says of its state is %v", st))
	}
	s.mu.Lock()
	s.now = &version{no: st.Version, applied: st.Applied, len: int(st.Len)}
	s.applied, s.durable = st.Applied, st.Durable
	s.changed.Broadcast()
	s.mu.Unlock()
	return nil
}

// leave gives up the present version, and all that nobody looks at, before a change.
func (s *store) leave() (release []uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, storage.ErrClosed
	case s.dead != nil:
		return nil, s.dead
	}
	if s.now.views == 0 {
		s.idle = append(s.idle, s.now.no)
	}
	s.now = nil
	release, s.idle = s.idle, nil
	return release, nil
}

// change makes a call that changes the state.
func (s *store) change(what string, limit time.Duration, fn func(ctx context.Context, release []uint64) (*pb.StoreState, error)) error {
	release, err := s.leave()
	if err != nil {
		return err
	}
	var st *pb.StoreState
	err = s.m.call(what, limit, func(ctx context.Context) (err error) {
		st, err = fn(ctx, release)
		return err
	})
	if err == nil {
		err = s.take(st)
	}
	if err != nil {
		s.mu.Lock()
		s.dead = err
		s.now = &version{applied: s.applied}
		s.changed.Broadcast()
		s.mu.Unlock()
		return err
	}
	return fromWire(kindStorage, st.Error)
}

func (s *store) Commit(b *storage.Batch) error {
	s.buf = appendBatch(s.buf[:0], b)
	s.hashes = s.hashes[:0]
	for i := range b.Ops {
		if op := &b.Ops[i]; op.Kind == storage.OpPut {
			s.hashes = append(s.hashes, hashPath(s.seed, op.Path))
		}
	}
	err := s.change("commit", s.m.slow(), func(ctx context.Context, release []uint64) (*pb.StoreState, error) {
		// No view can be taken now: a filter that is begun later begins with this batch.
		s.filter.Load().addAll(s.hashes)
		stream, err := s.c.Commit(ctx)
		if err != nil {
			return nil, err
		}
		err = chunks(s.buf, func(piece []byte) error {
			err := stream.Send(&pb.Chunk{Data: piece, Release: release})
			release = nil
			return err
		})
		if err != nil && !errors.Is(err, io.EOF) { // the answer says why
			return nil, err
		}
		return stream.CloseAndRecv()
	})
	if cap(s.buf) > 16*chunkSize {
		s.buf, s.hashes = nil, nil
	}
	if err == nil && s.filter.Load().stale(s.len()) {
		s.makeFilter()
	}
	return err
}

func (s *store) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.len
}

func (s *store) Reset() error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.mu.Lock()
	s.resets++
	s.mu.Unlock()
	s.filter.Store(nil)
	var version uint64
	err := s.change("reset", s.m.slow(), func(ctx context.Context, release []uint64) (*pb.StoreState, error) {
		st, err := s.c.Reset(ctx, &pb.StoreRequest{Release: release})
		version = st.GetVersion()
		return st, err
	})
	if err == nil {
		s.filter.Store(&filter{from: version, complete: true})
	}
	return err
}

func (s *store) Flush(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return storage.ErrClosed
	}
	s.mu.Unlock()
	// Else what it has made durable might be told of the state that a Reset has put in its place.
	s.flushing.RLock()
	defer s.flushing.RUnlock()
	var st *pb.StoreState
	err := s.m.call("flush", s.m.slow(), func(mctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(mctx, cancel)()
		var err error
		st, err = s.c.Flush(ctx, &pb.StoreRequest{})
		if ctx.Err() != nil && mctx.Err() == nil && status.Code(err) == codes.Canceled {
			st, err = &pb.StoreState{Error: toWire(ctx.Err())}, nil
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil && st.Error != nil {
		return err
	}
	if st.Error == nil {
		s.mu.Lock()
		s.durable = max(s.durable, st.Durable) // a commit may have told more meanwhile
		s.mu.Unlock()
	}
	return fromWire(kindStorage, st.Error)
}

func (s *store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return storage.ErrClosed
	}
	s.closed = true
	s.mu.Unlock()
	s.made.Wait()
	var st *pb.StoreState
	err := s.m.call("close", s.m.slow(), func(ctx context.Context) (err error) {
		st, err = s.c.Close(ctx, &pb.StoreRequest{})
		return err
	})
	s.m.shut()
	if err != nil {
		return err
	}
	return fromWire(kindStorage, st.Error)
}

func (s *store) Applied() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied
}

func (s *store) Durable() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable
}

func (s *store) View() storage.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.now == nil {
		s.changed.Wait()
	}
	s.now.views++
	return &view{s: s, v: s.now}
}

// A view shows one version.
type view struct {
	s *store
	v *version
}

func (v *view) Applied() int64 { return v.v.applied }
func (v *view) Len() int       { return v.v.len }

func (v *view) Release() {
	s := v.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.v.views--; v.v.views == 0 && v.v != s.now {
		s.idle = append(s.idle, v.v.no)
	}
}

func (v *view) Get(path string) (rec storage.Record, ok bool, err error) {
	if v.s.filter.Load().lacks(v.v.no, hashPath(v.s.seed, path)) {
		return rec, false, nil
	}
	r, err := v.get("get", v.s.c.Get, &pb.GetRequest{Version: v.v.no, Key: []byte(path)})
	if err != nil || !r.Found {
		return rec, false, err
	}
	rec = storage.Record{Head: r.Head, Data: r.Data}
	switch {
	case r.NoData:
		rec.Data = nil
	case rec.Data == nil:
		rec.Data = []byte{}
	}
	if rec.Head == nil {
		rec.Head = []byte{}
	}
	return rec, true, nil
}

func (v *view) TableGet(table, key string) (value []byte, ok bool, err error) {
	r, err := v.get("table get", v.s.c.TableGet, &pb.GetRequest{Version: v.v.no, Table: []byte(table), Key: []byte(key)})
	if err != nil || !r.Found {
		return nil, false, err
	}
	return r.Data, true, nil
}

func (v *view) get(what string, do func(context.Context, *pb.GetRequest, ...grpc.CallOption) (*pb.GetReply, error), req *pb.GetRequest) (*pb.GetReply, error) {
	var r *pb.GetReply
	err := v.s.m.call(what, v.s.m.cfg.Timeout, func(ctx context.Context) (err error) {
		r, err = do(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, fromWire(kindStorage, r.Error)
}

func (v *view) Children(path string, fn func(name string) bool) error {
	return v.scan("children", v.s.c.Children, &pb.ScanRequest{Version: v.v.no, Key: []byte(path)},
		func(b []byte) (bool, error) { return scanNames(b, fn) })
}

func (v *view) Walk(fn func(path string, rec storage.Record) bool) error {
	return v.scan("walk", v.s.c.Walk, &pb.ScanRequest{Version: v.v.no},
		func(b []byte) (bool, error) { return scanRecords(b, fn) })
}

func (v *view) TableScan(table, prefix string, fn func(key string, value []byte) bool) error {
	return v.scan("table scan", v.s.c.TableScan, &pb.ScanRequest{Version: v.v.no, Table: []byte(table), Key: []byte(prefix)},
		func(b []byte) (bool, error) { return scanEntries(b, fn) })
}

// scan makes a call that is answered by a stream. The module has its time for each piece of
// it; what is done with a piece may take as long as it likes.
func (v *view) scan(what string, do func(context.Context, *pb.ScanRequest, ...grpc.CallOption) (grpc.ServerStreamingClient[pb.Chunk], error),
	req *pb.ScanRequest, take func([]byte) (more bool, err error)) error {
	m := v.s.m
	if err := m.failed(); err != nil {
		return m.fail(err)
	}
	ctx, cancel := context.WithCancel(m.ctx)
	defer cancel()
	var stream grpc.ServerStreamingClient[pb.Chunk]
	err := m.call(what, m.cfg.Timeout, func(context.Context) (err error) {
		stream, err = do(ctx, req)
		return err
	})
	if err != nil {
		return err
	}
	for {
		var piece *pb.Chunk
		err := m.call(what, m.cfg.Timeout, func(context.Context) (err error) {
			if piece, err = stream.Recv(); errors.Is(err, io.EOF) {
				piece, err = nil, nil
			}
			return err
		})
		if err != nil || piece == nil {
			return err
		}
		if err := fromWire(kindStorage, piece.Error); err != nil {
			return err
		}
		more, err := take(piece.Data)
		if err != nil {
			return m.fail(fmt.Errorf("%s: %w", what, err))
		}
		if !more {
			return nil
		}
	}
}
