package process

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	pb "github.com/zkcore/zkcore/plugins/process/modulepb"
	"github.com/zkcore/zkcore/plugins/storage"
)

// A watched store says when a walk of it has begun, lets it wait, and knows whether its views are released.
type watched struct {
	fake
	durable  atomic.Int64
	reset    func()
	walks    chan struct{}
	goOn     chan struct{}
	released atomic.Int64
	closed   atomic.Bool
}

type watchedView struct {
	*fake
	s *watched
}

func (w *watched) View() storage.View { return &watchedView{new(fake), w} }
func (w *watched) Durable() int64     { return w.durable.Load() }
func (w *watched) Close() error       { w.closed.Store(true); return nil }
func (w *watched) Reset() error {
	w.reset()
	w.durable.Store(0)
	return nil
}

func (v *watchedView) Release() { v.s.released.Add(1) }
func (v *watchedView) Walk(func(string, storage.Record) bool) error {
	close(v.s.walks)
	<-v.s.goOn
	return nil
}

func serverOf(t *testing.T, w *watched) *storeServer {
	t.Helper()
	s := &storeServer{open: func(storage.Config) (storage.Store, error) { return w, nil }}
	if st, err := s.Open(t.Context(), &pb.StorageConfig{}); err != nil || st.Error != nil {
		t.Fatalf("%v, %v", st, err)
	}
	return s
}

// TestHealthBesideReset: what a store has made durable before a reset is not told as what it has since.
func TestHealthBesideReset(t *testing.T) {
	w := new(watched)
	s := serverOf(t, w)
	w.durable.Store(7)
	var beside pb.HealthReply
	w.reset = func() { s.alive(&beside) }
	if _, err := s.Reset(t.Context(), &pb.StoreRequest{}); err != nil {
		t.Fatal(err)
	}
	if beside.Resets != 0 || beside.Durable != 7 {
		t.Errorf("during the first reset it is durable up to %d after %d resets, want 7 after none", beside.Durable, beside.Resets)
	}
	var behind pb.HealthReply
	if s.alive(&behind); behind.Resets != 1 || behind.Durable != 0 {
		t.Errorf("after the first reset it is durable up to %d after %d resets", behind.Durable, behind.Resets)
	}
}

// A nowhereStream takes the pieces of a scan.
type nowhereStream struct {
	grpc.ServerStreamingServer[pb.Chunk]
	ctx context.Context
}

func (nowhereStream) Send(*pb.Chunk) error       { return nil }
func (n nowhereStream) Context() context.Context { return n.ctx }

// TestCloseWaitsForReaders: a view that the node has released, and that a call which it has given up still reads, is there
// until that call is over: neither it nor the store is closed before.
func TestCloseWaitsForReaders(t *testing.T) {
	w := &watched{walks: make(chan struct{}), goOn: make(chan struct{})}
	s := serverOf(t, w)
	walked, closed := make(chan error, 1), make(chan error, 1)
	go func() { walked <- s.Walk(&pb.ScanRequest{Version: 1}, nowhereStream{ctx: t.Context()}) }()
	<-w.walks
	s.release([]uint64{1})
	go func() {
		_, err := s.Close(t.Context(), &pb.StoreRequest{})
		closed <- err
	}()
	// It releases the view, or it waits for the walk: there is no sign of the latter.
	for end := time.Now().Add(200 * time.Millisecond); w.released.Load() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if w.released.Load() != 0 || w.closed.Load() {
		t.Error("what is being read was released")
	}
	close(w.goOn)
	if err := <-walked; err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if w.released.Load() != 1 || !w.closed.Load() {
		t.Errorf("in the end the view is released %d times, and the store closed: %v", w.released.Load(), w.closed.Load())
	}
}
