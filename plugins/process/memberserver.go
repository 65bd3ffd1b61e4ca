package process

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/zkcore/zkcore/plugins/consensus"
	pb "github.com/zkcore/zkcore/plugins/process/modulepb"
)

// sendWindow bounds what was sent to the node and is not dealt with there: what Deliver
// waits for.
const sendWindow = 16 << 20

// A memberServer is the module's side of a member: the member's node, by way of the stream.
type memberServer struct {
	pb.UnimplementedConsensusServer
	open consensus.Open

	out     *outbox
	asked   asked
	silence silence
	metrics collector

	socket line // what the frames travel on; nil: they travel in Run

	mu     sync.Mutex
	member consensus.Member
	used   bool // there is a line already

	windowMu sync.Mutex
	less     sync.Cond
	unacked  int
	gone     bool

	// What the node has proposed in this term: it knows these txns, which need not be sent back.
	ownMu sync.Mutex
	own   struct {
		term        uint64
		first, last consensus.Zxid // none if last is 0
	}

	ioMu    sync.Mutex
	writes  map[uint64]*writing // snapshots that are asked for
	restore map[uint64]*reading // snapshots that are offered
}

var _ consensus.Node = (*memberServer)(nil)

// A writing is a snapshot on its way to a writer.
type writing struct {
	w     io.Writer
	n     int64
	taken bool
	done  chan error
}

// A reading is a snapshot on its way from a reader.
type reading struct {
	r     io.Reader
	err   error // of r
	taken bool
	done  chan struct{}
}

func (s *memberServer) get() consensus.Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.member
}

func (s *memberServer) alive(*pb.HealthReply) {
	s.silence.heard()
	if m := s.get(); m != nil {
		m.Status()
	}
}

// Run serves the line of a node that gives no socket.
func (s *memberServer) Run(stream grpc.BidiStreamingServer[pb.Frames, pb.Frames]) error {
	return s.serve(stream.Context(), &grpcLine{stream: stream})
}

// take serves the socket. The process has no other use: it ends with it.
func (s *memberServer) take() {
	err := s.serve(context.Background(), s.socket)
	if !errors.Is(err, io.EOF) {
		logTo(stderr, slog.LevelInfo).Error("the server's frames can't be read: the member ends", "error", err)
		os.Exit(1)
	}
	s.orphan()
}

func (s *memberServer) serve(ctx context.Context, l line) error {
	s.mu.Lock()
	used := s.used
	s.used = true
	s.mu.Unlock()
	if used {
		return errors.New("the member is open already")
	}
	s.out = newOutbox(l)
	s.less.L = &s.windowMu
	s.writes, s.restore = map[uint64]*writing{}, map[uint64]*reading{}
	go func() {
		if s.out.run() != nil {
			s.lost()
		}
	}()
	go s.sendMetrics(ctx)
	defer s.lost()
	for {
		frame, err := l.next()
		if err != nil {
			return err
		}
		s.silence.heard()
		if err := s.frame(frame); err != nil {
			return err
		}
	}
}

// lost ends what waits for the node, which is gone.
func (s *memberServer) lost() {
	s.asked.close()
	s.windowMu.Lock()
	s.gone = true
	s.less.Broadcast()
	s.windowMu.Unlock()
	s.out.close()
}

// metricsStep is how often metrics are sent.
const metricsStep = 200 * time.Millisecond

func (s *memberServer) sendMetrics(ctx context.Context) {
	t := time.NewTicker(metricsStep)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if b, ok := s.metrics.take(nil); ok {
			s.out.put(func(dst []byte) []byte { return append(dst, b...) })
		}
	}
}

// frame does what the node asks. Nothing of it waits.
func (s *memberServer) frame(frame []byte) error {
	r := &reader{b: frame[1:]}
	m := s.get()
	switch kind := frame[0]; kind {
	case fOpen:
		w := new(pb.ConsensusConfig)
		if r.proto(w); r.bad {
			return errGarbage
		}
		s.silence.limit(nodePatience(w))
		go s.silence.watch(func(after time.Duration) {
			logTo(stderr, slog.LevelInfo).Error(fmt.Sprintf("the server has said nothing for %v: the member has ended, so that the others go on without it", after), silenceKey, true)
			os.Exit(1)
		})
		go s.start(w)
		return nil
	case fCredit:
		n := r.uint()
		if err := r.err(); err != nil {
			return err
		}
		s.windowMu.Lock()
		s.unacked -= int(min(n, uint64(s.unacked)))
		s.less.Broadcast()
		s.windowMu.Unlock()
		return nil
	case fAnswer:
		id := r.uint()
		if r.bad {
			return errGarbage
		}
		s.asked.answer(id, r.b)
		return nil
	default:
		if m == nil {
			return fmt.Errorf("a call of kind %d before the member is open", kind)
		}
	}
	switch frame[0] {
	case fPropose:
		term, txns := r.uint(), r.txns()
		if err := r.err(); err != nil {
			return err
		}
		s.proposed(term, txns) // it may be delivered before Propose returns
		s.judge("propose", m.Propose(term, txns))
	case fForward:
		term := r.uint()
		n := r.count(5)
		rs := make([]consensus.Request, n)
		for i := range rs {
			rs[i] = r.request()
		}
		if err := r.err(); err != nil {
			return err
		}
		s.judge("forward", m.Forward(term, rs))
	case fSync:
		term, id := r.uint(), r.uint()
		if err := r.err(); err != nil {
			return err
		}
		s.judge("sync", m.Sync(term, consensus.SyncID(id)))
	case fRevalidate:
		term, t := r.uint(), consensus.Touch{Session: r.int(), TimeoutMS: r.int32()}
		if err := r.err(); err != nil {
			return err
		}
		s.judge("revalidate", m.Revalidate(term, t))
	case fCheckpoint:
		saved, needed := consensus.Zxid(r.int()), consensus.Zxid(r.int())
		if err := r.err(); err != nil {
			return err
		}
		s.judge("checkpoint", m.Checkpoint(saved, needed))
	case fDistrust:
		at, why := consensus.Zxid(r.int()), r.string()
		if err := r.err(); err != nil {
			return err
		}
		s.judge("distrust", m.Distrust(at, why))
	case fReconfigure:
		id, term, config := r.uint(), r.uint(), r.string()
		if err := r.err(); err != nil {
			return err
		}
		err := m.Reconfigure(term, config)
		s.out.put(func(dst []byte) []byte {
			return appendError(binary.AppendUvarint(append(dst, fReply), id), err)
		})
	case fClose:
		go func() {
			err := m.Close()
			s.call(fClosed, func(dst []byte) []byte { return appendError(dst, err) })
		}()
	default:
		return errGarbage
	}
	return nil
}

// proposed notes what the node has proposed, if it is of the present term.
func (s *memberServer) proposed(term uint64, txns []consensus.Txn) {
	s.ownMu.Lock()
	defer s.ownMu.Unlock()
	o := &s.own
	if term != o.term || len(txns) == 0 {
		return
	}
	if o.last == 0 {
		o.first = txns[0].Zxid
	}
	o.last = txns[len(txns)-1].Zxid
}

// knows says whether the node has proposed these txns in this term.
func (s *memberServer) knows(txns []consensus.Txn) bool {
	s.ownMu.Lock()
	defer s.ownMu.Unlock()
	first, last := txns[0].Zxid, txns[len(txns)-1].Zxid
	return s.own.last != 0 && first >= s.own.first && last <= s.own.last && int(last-first) == len(txns)-1
}

// judge looks at what a call has returned that the node believes to be taken in. That it
// comes too late, the node will see by the next role; anything else is the end of both.
func (s *memberServer) judge(what string, err error) {
	if err == nil || errors.Is(err, consensus.ErrNotNow) || errors.Is(err, consensus.ErrClosed) {
		return
	}
	Fail(consensus.ExitUnexpected, fmt.Errorf("%s: %w", what, err))
}

func (s *memberServer) start(w *pb.ConsensusConfig) {
	cfg := configFromWire(w)
	cfg.Log = logTo(stderr, levelOf(w.Debug))
	cfg.Metrics = &s.metrics
	cfg.Fail = Fail
	// Until it is there, the node has nothing to ask of it.
	m, err := s.open(cfg, s)
	o := &pb.Opened{Error: toWire(err)}
	if err == nil {
		caps := m.Caps()
		o.CanReconfigure = caps.Reconfigure
		if caps.Silence > 0 {
			s.silence.limit(caps.Silence)
		}
		s.mu.Lock()
		s.member = m
		s.mu.Unlock()
	}
	s.out.put(func(dst []byte) []byte { return appendProto(append(dst, fOpened), o) })
}

func (s *memberServer) Status(context.Context, *pb.StatusRequest) (*pb.MemberStatus, error) {
	m := s.get()
	if m == nil {
		return nil, errors.New("the member is not open")
	}
	return statusToWire(m.Status()), nil
}

// call sends a call of the node. It waits while too much is under way.
func (s *memberServer) call(kind byte, fn func(dst []byte) []byte) { s.callFor(0, kind, fn) }

// callFor is call for one that stands for that many bytes beside its own.
func (s *memberServer) callFor(more int, kind byte, fn func(dst []byte) []byte) {
	s.windowMu.Lock()
	for s.unacked > sendWindow && !s.gone {
		s.less.Wait()
	}
	// The order of the calls is that in which they get here.
	n, mine := s.out.add(func(dst []byte) []byte {
		dst = append(dst, kind)
		if fn != nil {
			dst = fn(dst)
		}
		return dst
	})
	s.unacked += n + more
	s.windowMu.Unlock()
	if mine {
		s.out.flush()
	}
}

// ask sends a call and waits for the answer.
func (s *memberServer) ask(kind byte, fn func(dst []byte) []byte) *reader {
	id, ch := s.asked.begin()
	return s.wait(id, ch, kind, fn)
}

func (s *memberServer) wait(id uint64, ch chan []byte, kind byte, fn func(dst []byte) []byte) *reader {
	send := func(dst []byte) []byte {
		dst = binary.AppendUvarint(dst, id)
		if fn != nil {
			dst = fn(dst)
		}
		return dst
	}
	if ordered(kind) {
		s.call(kind, send)
	} else {
		s.out.put(func(dst []byte) []byte { return send(append(dst, kind)) })
	}
	b, ok := <-ch
	if !ok {
		s.orphan()
	}
	return &reader{b: b}
}

// orphan ends the process: there is no node any more that could answer.
func (s *memberServer) orphan() {
	os.Exit(0)
}

// nonsense ends the process over an answer of the node that makes no sense.
func nonsense(what string) {
	Fail(consensus.ExitUnexpected, fmt.Errorf("the node's answer to %s: %w", what, errGarbage))
}

func (s *memberServer) Recover(max consensus.Zxid) (consensus.Zxid, error) {
	r := s.ask(fRecover, func(dst []byte) []byte { return binary.AppendVarint(dst, int64(max)) })
	z := consensus.Zxid(r.int())
	e, err := r.error()
	if err != nil {
		nonsense("recover")
	}
	return z, fromWire(kindConsensus, e)
}

func (s *memberServer) SetAside(folder string) error {
	r := s.ask(fSetAside, func(dst []byte) []byte { return appendBytes(dst, folder) })
	e, err := r.error()
	if err != nil {
		nonsense("set aside")
	}
	return fromWire(kindConsensus, e)
}

func (s *memberServer) Role(role consensus.Role) {
	s.ownMu.Lock()
	s.own.term, s.own.first, s.own.last = role.Term, 0, 0
	s.ownMu.Unlock()
	s.call(fRole, func(dst []byte) []byte { return appendProto(dst, roleToWire(role)) })
}

// maxDeliver is how much is delivered in one frame, if it is more than one txn.
const maxDeliver = 1 << 20

func (s *memberServer) Deliver(txns []consensus.Txn) {
	if len(txns) == 0 {
		return
	}
	if s.knows(txns) {
		size := 0
		for i := range txns {
			size += len(txns[i].Data)
		}
		s.callFor(size, fOwn, func(dst []byte) []byte {
			return binary.AppendVarint(binary.AppendUvarint(dst, uint64(len(txns))), int64(txns[len(txns)-1].Zxid))
		})
		return
	}
	// The node takes no frame above its limit, and what a member has to deliver at a time has none: a learner may
	// have as much as waits for it, or as a leader's history has brought.
	for len(txns) > 0 {
		n, size := 1, len(txns[0].Data)
		for n < len(txns) && size+len(txns[n].Data) <= maxDeliver {
			size += len(txns[n].Data)
			n++
		}
		some := txns[:n]
		s.call(fDeliver, func(dst []byte) []byte { return appendTxns(dst, some) })
		txns = txns[n:]
	}
}

func (s *memberServer) Receive(from consensus.ServerID, q consensus.Request) {
	s.call(fReceive, func(dst []byte) []byte { return appendRequest(binary.AppendVarint(dst, int64(from)), &q) })
}

func (s *memberServer) Touch(from consensus.ServerID, ts []consensus.Touch) {
	s.call(fTouch, func(dst []byte) []byte { return appendTouches(binary.AppendVarint(dst, int64(from)), ts) })
}

func (s *memberServer) Revalidate(from consensus.ServerID, t consensus.Touch) bool {
	r := s.ask(fAsk, func(dst []byte) []byte {
		dst = binary.AppendVarint(dst, int64(from))
		return binary.AppendVarint(binary.AppendVarint(dst, t.Session), int64(t.TimeoutMS))
	})
	alive := r.byte() == 1
	if r.err() != nil {
		nonsense("revalidate")
	}
	return alive
}

func (s *memberServer) Revalidated(session int64, alive bool) {
	s.call(fRevalidated, func(dst []byte) []byte { return appendBool(binary.AppendVarint(dst, session), alive) })
}

func (s *memberServer) Synced(id consensus.SyncID) {
	s.call(fSynced, func(dst []byte) []byte { return binary.AppendUvarint(dst, uint64(id)) })
}

func (s *memberServer) Touched() []consensus.Touch {
	r := s.ask(fTouched, nil)
	ts := r.touches()
	if r.err() != nil {
		nonsense("touched")
	}
	return ts
}

func (s *memberServer) Snapshot() (consensus.Snapshot, error) {
	id, ch := s.asked.begin()
	r := s.wait(id, ch, fSnapshot, nil)
	z := consensus.Zxid(r.int())
	e, err := r.error()
	if err != nil {
		nonsense("snapshot")
	}
	if e != nil {
		return nil, fromWire(kindConsensus, e)
	}
	return &remoteSnapshot{s: s, id: id, zxid: z}, nil
}

// A remoteSnapshot is a state that the node has pinned.
type remoteSnapshot struct {
	s    *memberServer
	id   uint64
	zxid consensus.Zxid
}

func (p *remoteSnapshot) Zxid() consensus.Zxid { return p.zxid }

func (p *remoteSnapshot) WriteTo(w io.Writer) (int64, error) {
	x := &writing{w: w, done: make(chan error, 1)}
	p.s.ioMu.Lock()
	p.s.writes[p.id] = x
	p.s.ioMu.Unlock()
	p.s.out.put(func(dst []byte) []byte { return binary.AppendUvarint(append(dst, fStream), p.id) })
	err := <-x.done
	return x.n, err
}

func (p *remoteSnapshot) Close() error {
	p.s.out.put(func(dst []byte) []byte { return binary.AppendUvarint(append(dst, fUnpin), p.id) })
	return nil
}

// PutSnapshot writes what the node sends to whom it was asked for.
func (s *memberServer) PutSnapshot(stream grpc.ClientStreamingServer[pb.Chunk, pb.SnapshotEnd]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	s.ioMu.Lock()
	x := s.writes[first.Id]
	if x != nil && x.taken {
		x = nil
	}
	if x != nil {
		x.taken = true
		delete(s.writes, first.Id)
	}
	s.ioMu.Unlock()
	if x == nil {
		return errors.New("nobody has asked for that snapshot")
	}
	err = func() error {
		for {
			piece, err := stream.Recv()
			switch {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			case piece.Error != nil:
				return fromWire(kindConsensus, piece.Error)
			}
			n, err := x.w.Write(piece.Data)
			x.n += int64(n)
			if err != nil {
				return err
			}
		}
	}()
	x.done <- err
	return stream.SendAndClose(&pb.SnapshotEnd{Error: toWire(err)})
}

func (s *memberServer) Restore(z consensus.Zxid, r io.Reader) error {
	id, ch := s.asked.begin()
	x := &reading{r: r, done: make(chan struct{})}
	s.ioMu.Lock()
	s.restore[id] = x
	s.ioMu.Unlock()
	answer := s.wait(id, ch, fRestore, func(dst []byte) []byte { return binary.AppendVarint(dst, int64(z)) })
	e, err := answer.error()
	if err != nil {
		nonsense("restore")
	}
	s.ioMu.Lock()
	delete(s.restore, id)
	taken := x.taken
	s.ioMu.Unlock()
	if taken {
		<-x.done // r is the caller's again
	}
	if e == nil {
		return nil
	}
	err = fromWire(kindConsensus, e)
	if x.err != nil {
		return fmt.Errorf("%w (%w)", err, x.err)
	}
	return err
}

// GetSnapshot sends what comes from a leader to the node.
func (s *memberServer) GetSnapshot(ref *pb.SnapshotRef, stream grpc.ServerStreamingServer[pb.Chunk]) error {
	s.ioMu.Lock()
	x := s.restore[ref.Id]
	if x != nil && x.taken {
		x = nil
	}
	if x != nil {
		x.taken = true
	}
	s.ioMu.Unlock()
	if x == nil {
		return errors.New("no such snapshot is offered")
	}
	defer close(x.done)
	b := make([]byte, chunkSize)
	for {
		n, err := io.ReadAtLeast(x.r, b, 1)
		if n > 0 {
			if err := stream.Send(&pb.Chunk{Data: b[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			x.err = err
			return stream.Send(&pb.Chunk{Error: toWire(err)})
		}
	}
}
