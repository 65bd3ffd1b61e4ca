package process

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	pb "github.com/zkcore/zkcore/plugins/process/modulepb"
	"github.com/zkcore/zkcore/plugins/storage"
)

// A storeServer is the module's side of a store.
type storeServer struct {
	pb.UnimplementedStorageServer
	open storage.Open

	change sync.Mutex // Commit, Flush, Reset and Close come one at a time
	store  storage.Store
	buf    []byte
	ops    []storage.Op

	failed  atomic.Pointer[pb.Error]
	resets  atomic.Uint64
	closing bool // under mu

	mu    sync.Mutex
	fewer sync.Cond // a view was released
	last  uint64    // versions are numbered from 1
	// released counts them: those that are in neither are being released.
	released uint64
	views    map[uint64]*pinned
}

// A pinned view is there until it is released and nobody reads it any more.
type pinned struct {
	view     storage.View
	refs     int
	released bool // the node has done so: only calls that read have it
}

var errNotOpen = errors.New("the store is not open")

var errUnknownVersion = errors.New("no such version of the state is pinned")

func (s *storeServer) alive(r *pb.HealthReply) {
	s.mu.Lock()
	store := s.store
	s.mu.Unlock()
	if store != nil {
		r.Resets = s.resets.Load()
		r.Durable = store.Durable()
	}
	r.Failed = s.failed.Load()
}

func (s *storeServer) Stats(context.Context, *pb.StoreRequest) (*pb.StoreStats, error) {
	s.mu.Lock()
	store := s.store
	s.mu.Unlock()
	if store == nil {
		return nil, errNotOpen
	}
	st := store.Stats()
	return &pb.StoreStats{File: st.File, Free: st.Free, Gathered: st.Gathered, Flushes: st.Flushes, FlushedOps: st.FlushedOps,
		Cache: st.Cache, Hits: st.Hits, Misses: st.Misses}, nil
}

func (s *storeServer) Open(_ context.Context, c *pb.StorageConfig) (*pb.StoreState, error) {
	s.change.Lock()
	defer s.change.Unlock()
	if s.store != nil {
		return nil, errors.New("the store is open already")
	}
	store, err := s.open(storage.Config{
		Dir: c.Dir, Options: c.Options, Discard: c.Discard, Log: logTo(stderr, levelOf(c.Debug)),
		Fail: func(err error) { s.failed.CompareAndSwap(nil, toWire(err)) },
	})
	if err != nil {
		return &pb.StoreState{Error: toWire(err)}, nil
	}
	s.mu.Lock()
	s.fewer.L = &s.mu
	s.store, s.views = store, map[uint64]*pinned{}
	s.mu.Unlock()
	return s.state(nil), nil
}

// state pins the store's present state and says what it is.
func (s *storeServer) state(err error) *pb.StoreState {
	v := s.store.View()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.views[s.last] = &pinned{view: v, refs: 1}
	return &pb.StoreState{Error: toWire(err), Version: s.last, Applied: v.Applied(), Durable: s.store.Durable(), Len: int64(v.Len())}
}

// release gives up versions for the node. Once: what a call still reads then is there until that is over.
func (s *storeServer) release(versions []uint64) {
	for _, no := range versions {
		s.mu.Lock()
		p := s.views[no]
		again := p == nil || p.released
		if !again {
			p.released = true
		}
		s.mu.Unlock()
		if !again {
			s.unpin(no)
		}
	}
}

// pin keeps a version for a call that reads it.
func (s *storeServer) pin(no uint64) (storage.View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.views[no]
	if p == nil || s.closing {
		return nil, errUnknownVersion
	}
	p.refs++
	return p.view, nil
}

func (s *storeServer) unpin(no uint64) {
	s.mu.Lock()
	p := s.views[no]
	if p == nil {
		s.mu.Unlock()
		return
	}
	p.refs--
	last := p.refs == 0
	if last {
		delete(s.views, no)
	}
	s.mu.Unlock()
	if last {
		p.view.Release()
		s.mu.Lock()
		s.released++
		s.fewer.Broadcast()
		s.mu.Unlock()
	}
}

func (s *storeServer) ready() error {
	if s.store == nil {
		return errNotOpen
	}
	return nil
}

func (s *storeServer) Commit(stream grpc.ClientStreamingServer[pb.Chunk, pb.StoreState]) error {
	s.change.Lock()
	defer s.change.Unlock()
	if err := s.ready(); err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	raw := first.Data
	for piece := first; ; {
		if piece, err = stream.Recv(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		if len(s.buf) == 0 {
			s.buf = append(s.buf, first.Data...)
		}
		s.buf = append(s.buf, piece.Data...)
		raw = s.buf
	}
	batch, err := decodeBatch(raw, s.ops)
	if err != nil {
		return fmt.Errorf("a batch: %w", err)
	}
	s.release(first.Release)
	err = s.store.Commit(&batch)
	clear(batch.Ops)
	if s.ops = batch.Ops[:0]; cap(s.ops) > 1<<16 {
		s.ops = nil
	}
	if s.buf = s.buf[:0]; cap(s.buf) > 16*chunkSize {
		s.buf = nil
	}
	return stream.SendAndClose(s.state(err))
}

func (s *storeServer) Reset(_ context.Context, r *pb.StoreRequest) (*pb.StoreState, error) {
	s.change.Lock()
	defer s.change.Unlock()
	if err := s.ready(); err != nil {
		return nil, err
	}
	s.release(r.Release)
	err := s.store.Reset()
	s.resets.Add(1) // behind it: what is durable meanwhile may be what was
	return s.state(err), nil
}

func (s *storeServer) Flush(ctx context.Context, _ *pb.StoreRequest) (*pb.StoreState, error) {
	s.change.Lock()
	defer s.change.Unlock()
	if err := s.ready(); err != nil {
		return nil, err
	}
	err := s.store.Flush(ctx)
	return &pb.StoreState{Error: toWire(err), Durable: s.store.Durable()}, nil
}

func (s *storeServer) Close(context.Context, *pb.StoreRequest) (*pb.StoreState, error) {
	s.change.Lock()
	defer s.change.Unlock()
	if err := s.ready(); err != nil {
		return nil, err
	}
	// What still reads has nobody any more who wants it, and ends.
	s.mu.Lock()
	s.closing = true
	var own []uint64
	for no := range s.views {
		own = append(own, no)
	}
	s.mu.Unlock()
	s.release(own)
	s.mu.Lock()
	for s.released < s.last {
		s.fewer.Wait()
	}
	s.mu.Unlock()
	return &pb.StoreState{Error: toWire(s.store.Close())}, nil
}

func (s *storeServer) Get(_ context.Context, r *pb.GetRequest) (*pb.GetReply, error) {
	v, err := s.pin(r.Version)
	if err != nil {
		return nil, err
	}
	defer s.unpin(r.Version)
	rec, ok, err := v.Get(string(r.Key))
	// What the view hands out is valid until it is released: here it is copied.
	return &pb.GetReply{Error: toWire(err), Found: ok, Head: append([]byte(nil), rec.Head...), Data: append([]byte(nil), rec.Data...), NoData: rec.Data == nil}, nil
}

func (s *storeServer) TableGet(_ context.Context, r *pb.GetRequest) (*pb.GetReply, error) {
	v, err := s.pin(r.Version)
	if err != nil {
		return nil, err
	}
	defer s.unpin(r.Version)
	value, ok, err := v.TableGet(string(r.Table), string(r.Key))
	return &pb.GetReply{Error: toWire(err), Found: ok, Data: append([]byte(nil), value...)}, nil
}

func (s *storeServer) Children(r *pb.ScanRequest, stream grpc.ServerStreamingServer[pb.Chunk]) error {
	return s.scan(r, stream, func(v storage.View, p *pieces) error {
		return v.Children(string(r.Key), func(name string) bool {
			p.b = appendBytes(p.b, name)
			return p.next()
		})
	})
}

func (s *storeServer) Walk(r *pb.ScanRequest, stream grpc.ServerStreamingServer[pb.Chunk]) error {
	return s.scan(r, stream, func(v storage.View, p *pieces) error {
		return v.Walk(func(path string, rec storage.Record) bool {
			p.b = appendRecord(p.b, path, rec)
			return p.next()
		})
	})
}

func (s *storeServer) Paths(r *pb.ScanRequest, stream grpc.ServerStreamingServer[pb.Chunk]) error {
	if len(r.Key) != 8 {
		return errors.New("no seed to hash paths with")
	}
	seed := binary.BigEndian.Uint64(r.Key)
	return s.scan(r, stream, func(v storage.View, p *pieces) error {
		return v.Walk(func(path string, _ storage.Record) bool {
			p.b = binary.BigEndian.AppendUint64(p.b, hashPath(seed, path))
			return p.next()
		})
	})
}

func (s *storeServer) TableScan(r *pb.ScanRequest, stream grpc.ServerStreamingServer[pb.Chunk]) error {
	return s.scan(r, stream, func(v storage.View, p *pieces) error {
		return v.TableScan(string(r.Table), string(r.Key), func(key string, value []byte) bool {
			p.b = appendBytes(appendBytes(p.b, key), value)
			return p.next()
		})
	})
}

func (s *storeServer) scan(r *pb.ScanRequest, stream grpc.ServerStreamingServer[pb.Chunk], run func(storage.View, *pieces) error) error {
	v, err := s.pin(r.Version)
	if err != nil {
		return err
	}
	defer s.unpin(r.Version)
	p := &pieces{send: func(b []byte) error { return stream.Send(&pb.Chunk{Data: b}) }}
	if err := run(v, p); err != nil {
		return stream.Send(&pb.Chunk{Error: toWire(err)})
	}
	return p.flush()
}

// pieces gathers what a scan finds into messages.
type pieces struct {
	b    []byte
	send func([]byte) error
	err  error
}

// next sends what is gathered if it is enough. False: the other side does not want more.
func (p *pieces) next() bool {
	if len(p.b) < chunkSize {
		return true
	}
	return p.flush() == nil
}

func (p *pieces) flush() error {
	if p.err == nil && len(p.b) > 0 {
		p.err = p.send(p.b)
		p.b = p.b[:0]
	}
	return p.err
}
