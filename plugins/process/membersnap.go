package process

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"

	"github.com/zkcore/zkcore/plugins/consensus"
	pb "github.com/zkcore/zkcore/plugins/process/modulepb"
)

// A snapshot is a state of the node that the module has pinned, by the id of its call.
type snapshot struct {
	s    consensus.Snapshot
	mu   sync.Mutex // one stream at a time, and none after Close
	done bool
}

// pin answers Snapshot: the zxid, then an error or nothing.
func (m *member) pin(id uint64) error {
	s, err := m.node.Snapshot()
	var z consensus.Zxid
	if err == nil {
		z = s.Zxid()
		m.snapMu.Lock()
		taken := m.snapshots[id] != nil
		if !taken {
			m.snapshots[id] = &snapshot{s: s}
		}
		m.snapMu.Unlock()
		if taken {
			s.Close()
			return errGarbage
		}
	}
	m.answer(id, func(dst []byte) []byte {
		return appendError(binary.AppendVarint(dst, int64(z)), err)
	})
	return nil
}

func (m *member) pinned(id uint64) *snapshot {
	m.snapMu.Lock()
	defer m.snapMu.Unlock()
	return m.snapshots[id]
}

// unpin closes a snapshot, once nothing of it is being sent any more.
func (m *member) unpin(id uint64) error {
	m.snapMu.Lock()
	s := m.snapshots[id]
	delete(m.snapshots, id)
	m.snapMu.Unlock()
	if s == nil {
		return errGarbage
	}
	go s.close()
	return nil
}

func (s *snapshot) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.done {
		s.done = true
		s.s.Close()
	}
}

func (m *member) closeSnapshots() {
	m.snapMu.Lock()
	all := m.snapshots
	m.snapshots = map[uint64]*snapshot{}
	m.snapMu.Unlock()
	for _, s := range all {
		s.close()
	}
}

// stream sends a snapshot, as the module has asked. What becomes of that, the module knows.
func (m *member) stream(id uint64) error {
	s := m.pinned(id)
	if s == nil {
		return errGarbage
	}
	go func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.done {
			return
		}
		if err := m.put(id, s.s); err != nil && m.m.ctx.Err() == nil {
			m.die(m.m.broken("a snapshot", err))
		}
	}()
	return nil
}

func (m *member) put(id uint64, s consensus.Snapshot) error {
	ctx, cancel := context.WithCancel(m.m.ctx)
	defer cancel()
	stream, err := m.c.PutSnapshot(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&pb.Chunk{Id: id}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	w := &chunkWriter{stream: stream}
	_, err = s.WriteTo(w)
	if err == nil {
		err = w.flush()
	}
	if err != nil && !errors.Is(err, io.EOF) { // EOF: the module does not want the rest
		if err := stream.Send(&pb.Chunk{Error: toWire(err)}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

// A chunkWriter sends what is written to it, in pieces of some size.
type chunkWriter struct {
	stream grpc.ClientStreamingClient[pb.Chunk, pb.SnapshotEnd]
	b      []byte
}

func (w *chunkWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		k := min(len(b), chunkSize-len(w.b))
		w.b = append(w.b, b[:k]...)
		b = b[k:]
		if len(w.b) == chunkSize {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (w *chunkWriter) flush() error {
	if len(w.b) == 0 {
		return nil
	}
	err := w.stream.Send(&pb.Chunk{Data: w.b})
	w.b = w.b[:0]
	return err
}

// restore calls Node.Restore with what the module has from a leader.
func (m *member) restore(id uint64, z consensus.Zxid) error {
	ctx, cancel := context.WithCancel(m.m.ctx)
	defer cancel()
	stream, err := m.c.GetSnapshot(ctx, &pb.SnapshotRef{Id: id})
	if err != nil {
		return m.m.broken("a snapshot", err)
	}
	r := &chunkReader{stream: stream}
	return m.node.Restore(z, r)
}

// A chunkReader reads a stream of chunks.
type chunkReader struct {
	stream grpc.ServerStreamingClient[pb.Chunk]
	b      []byte
	err    error
}

func (r *chunkReader) Read(b []byte) (int, error) {
	for len(r.b) == 0 && r.err == nil {
		piece, err := r.stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			r.err = io.EOF
		case err != nil:
			r.err = fmt.Errorf("read the leader's snapshot: %w", err)
		case piece.Error != nil:
			r.err = fromWire(kindConsensus, piece.Error)
		default:
			r.b = piece.Data
		}
	}
	if len(r.b) == 0 {
		return 0, r.err
	}
	n := copy(b, r.b)
	r.b = r.b[n:]
	return n, nil
}
