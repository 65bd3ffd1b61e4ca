package process

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/zkcore/zkcore/plugins/consensus"
	pb "github.com/zkcore/zkcore/plugins/process/modulepb"
)

// Consensus is the Open of a member in a process of its own.
func Consensus(cfg Config) consensus.Open {
	return func(cc consensus.Config, n consensus.Node) (consensus.Member, error) {
		m, err := openMember(cfg, cc, n)
		if err != nil {
			return nil, err // and not a member that is nil
		}
		return m, nil
	}
}

// A member is the node's side of a member in another process.
type member struct {
	m      *module
	c      pb.ConsensusClient
	node   consensus.Node
	line   line
	out    *outbox
	fatal  func(code int, err error)
	caps   consensus.Caps
	asked  asked
	opened chan *pb.Opened // the answer to fOpen
	left   chan *pb.Error  // the answer to fClose
	ran    chan struct{}   // closed when the node is called no more

	mu     sync.Mutex
	role   consensus.Role  // the last that was passed to the node
	next   consensus.Zxid  // what a leader proposes next
	own    []consensus.Txn // what it has proposed in this term and was not given back
	up     bool            // Open has returned
	closed bool

	calls callQueue
	dealt int // bytes that the module has not heard of; credit's

	statusMu sync.Mutex
	status   consensus.Status

	snapMu    sync.Mutex
	snapshots map[uint64]*snapshot
}

var _ consensus.Member = (*member)(nil)

func openMember(cfg Config, cc consensus.Config, n consensus.Node) (*member, error) {
	if cc.Log != nil {
		cfg.Log = cc.Log
	}
	if cc.Metrics != nil {
		cfg.Metrics = cc.Metrics
	}
	mod, err := start(cfg, kindConsensus)
	if err != nil {
		return nil, err
	}
	m := &member{
		m: mod, c: pb.NewConsensusClient(mod.conn), node: n, fatal: cc.Fail,
		opened: make(chan *pb.Opened, 1), left: make(chan *pb.Error, 1), ran: make(chan struct{}),
		snapshots: map[uint64]*snapshot{},
	}
	m.calls.more.L = &m.calls.mu
	go mod.health()
	if m.line = mod.line; m.line == nil {
		stream, err := m.c.Run(mod.ctx)
		if err != nil {
			return nil, mod.broken("open", err)
		}
		m.line = &grpcLine{stream: stream, end: func() { stream.CloseSend() }}
	}
	m.out = newOutbox(timedLine{m.line, mod})
	m.out.put(func(dst []byte) []byte {
		return appendProto(append(dst, fOpen), configToWire(&cc, mod.log.Enabled(context.Background(), slog.LevelDebug)))
	})
	go m.send()
	go m.receive()
	go m.run()
	// Opening takes as long as it takes to recover: that the module is well the health calls
	// say.
	var o *pb.Opened
	select {
	case o = <-m.opened:
	case <-mod.ctx.Done():
		err = mod.fail(errors.New("it does not open"))
	}
	if o != nil {
		err = fromWire(kindConsensus, o.Error)
	}
	if err != nil {
		m.end()
		return nil, err
	}
	m.caps.Reconfigure = o.CanReconfigure
	m.mu.Lock()
	m.up = true
	m.mu.Unlock()
	if err := mod.failed(); err != nil {
		m.end()
		return nil, err
	}
	return m, nil
}

// end ends the process, and returns when the node is called no more.
func (m *member) end() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.out.close()
	m.m.shut()
	m.calls.close()
	m.asked.close()
	<-m.ran
	m.calls.wait()
	m.closeSnapshots()
}

// A timedLine is one on which sending may not take longer than an answer.
type timedLine struct {
	line
	m *module
}

func (l timedLine) send(b []byte) error {
	k := l.m.calls.begin("it takes nothing in", l.m.cfg.Timeout)
	defer l.m.calls.end(k)
	return l.line.send(b)
}

// send sends what others do not send themselves. If the line fails, receive hears why.
func (m *member) send() { _ = m.out.run() }

// receive takes apart what the module sends. What is not a call that must be made in order is
// dealt with at once.
func (m *member) receive() {
	for {
		frame, err := m.line.next()
		if err == nil {
			err = m.frame(frame)
		}
		if err == nil {
			continue
		}
		if errors.Is(err, errGarbage) {
			m.die(m.m.fail(fmt.Errorf("its stream: %w", err)))
		} else {
			m.die(m.m.broken("its stream", err))
		}
		return
	}
}

// die ends the calls of the node, as the module is gone.
func (m *member) die(err error) {
	m.calls.close()
	m.asked.close()
	m.out.close()
	m.mu.Lock()
	told := m.up && !m.closed // else whoever opens it, or closes it, hears of it
	m.mu.Unlock()
	var died *Died
	if told && m.fatal != nil && errors.As(err, &died) {
		m.fatal(died.ExitCode(), died)
	}
}

func (m *member) frame(frame []byte) error {
	kind := frame[0]
	if ordered(kind) {
		if quick(frame) && m.calls.begin() {
			_, err := m.make(frame)
			m.calls.end()
			return err
		}
		m.calls.put(frame)
		return nil
	}
	r := &reader{b: frame[1:]}
	switch kind {
	case fOpened:
		o := new(pb.Opened)
		if r.proto(o); r.bad {
			return errGarbage
		}
		select {
		case m.opened <- o:
		default:
			return errGarbage
		}
		return nil
	case fTouched:
		id := r.uint()
		if err := r.err(); err != nil {
			return err
		}
		ts := m.node.Touched()
		m.answer(id, func(dst []byte) []byte { return appendTouches(dst, ts) })
	case fStream:
		id := r.uint()
		if err := r.err(); err != nil {
			return err
		}
		return m.stream(id)
	case fUnpin:
		id := r.uint()
		if err := r.err(); err != nil {
			return err
		}
		return m.unpin(id)
	case fReply:
		id := r.uint()
		if r.bad || !m.asked.answer(id, r.b) {
			return errGarbage
		}
		return nil
	case fMetrics:
		counts, seen, err := decodeMetrics(r)
		if err != nil {
			return err
		}
		if m.m.cfg.Metrics != nil {
			passOn(m.m.cfg.Metrics, counts, seen)
		}
		return nil
	default:
		return errGarbage
	}
	return r.err()
}

func (m *member) answer(id uint64, fn func(dst []byte) []byte) {
	m.out.put(func(dst []byte) []byte {
		dst = binary.AppendUvarint(append(dst, fAnswer), id)
		if fn != nil {
			dst = fn(dst)
		}
		return dst
	})
}

// Few txns are delivered by the goroutine that has read them, if nothing else is under way: the
// way to another goroutine takes longer than to apply them. A leader's own always are: nobody waits
// for what that goroutine does beside, as the pings of a learner would.
const fewBytes = 4 << 10

// quick says whether a call is one that does not take long.
func quick(frame []byte) bool {
	switch frame[0] {
	case fSynced, fOwn:
		return true
	case fDeliver:
		return len(frame) <= fewBytes
	}
	return false
}

// A callQueue holds calls of the node until they are made. One goroutine makes them, or the one
// that has read them.
type callQueue struct {
	mu     sync.Mutex
	more   sync.Cond
	frames [][]byte
	busy   bool // a call is under way
	closed bool
}

// begin says whether nothing waits and nothing is under way: then a call may be made now, up to
// end.
func (q *callQueue) begin() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.busy || q.closed || len(q.frames) > 0 {
		return false
	}
	q.busy = true
	return true
}

func (q *callQueue) end() {
	q.mu.Lock()
	q.busy = false
	q.more.Broadcast()
	q.mu.Unlock()
}

func (q *callQueue) put(frame []byte) {
	q.mu.Lock()
	q.frames = append(q.frames, frame)
	if len(q.frames) == 1 {
		q.more.Broadcast()
	}
	q.mu.Unlock()
}

func (q *callQueue) take(spare [][]byte) (frames [][]byte, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for (q.busy || len(q.frames) == 0) && !q.closed {
		q.more.Wait()
	}
	if q.closed {
		return nil, false
	}
	frames = q.frames
	q.frames = spare[:0]
	q.busy = true // up to end
	return frames, true
}

// wait waits until no call is under way.
func (q *callQueue) wait() {
	q.mu.Lock()
	for q.busy {
		q.more.Wait()
	}
	q.mu.Unlock()
}

func (q *callQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.more.Broadcast()
	q.mu.Unlock()
}

// creditStep is how much is dealt with before the other side hears of it.
const creditStep = sendWindow / 8

// run makes the calls of the node, one after the other.
func (m *member) run() {
	defer close(m.ran)
	var frames [][]byte
	for {
		var ok bool
		if frames, ok = m.calls.take(frames); !ok {
			return
		}
		more := m.makeAll(frames)
		m.calls.end()
		if !more {
			return
		}
		if cap(frames) > 4096 {
			frames = nil
		}
	}
}

// makeAll makes calls, until there are no more to be made.
func (m *member) makeAll(frames [][]byte) (more bool) {
	for i, frame := range frames {
		if m.m.ctx.Err() != nil {
			return false // the node has heard enough
		}
		done, err := m.make(frame)
		if err != nil {
			m.die(m.m.fail(fmt.Errorf("a call: %w", err)))
			return false
		}
		if done {
			return false
		}
		frames[i] = nil
	}
	return true
}

// credit says that so much was dealt with. Whoever makes the calls calls it.
func (m *member) credit(n int) {
	if m.dealt += n; m.dealt >= creditStep {
		n := m.dealt
		m.dealt = 0
		m.out.put(func(dst []byte) []byte { return binary.AppendUvarint(append(dst, fCredit), uint64(n)) })
	}
}

// make makes one call of the node, and says so to the other side.
func (m *member) make(frame []byte) (done bool, err error) {
	size := len(frame)
	r := &reader{b: frame[1:]}
	if frame[0] == fOwn {
		txns, err := m.mine(r)
		if err != nil {
			return false, err
		}
		for i := range txns {
			size += len(txns[i].Data)
		}
		m.node.Deliver(txns)
		clear(txns) // nobody else has this memory any more
	} else if done, err = m.makeOther(frame[0], r); done || err != nil {
		return done, err
	}
	m.credit(size)
	return false, nil
}

// mine takes back what this node has proposed.
func (m *member) mine(r *reader) ([]consensus.Txn, error) {
	n, last := r.uint(), consensus.Zxid(r.int())
	if err := r.err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if n == 0 || n > uint64(len(m.own)) || m.own[n-1].Zxid != last {
		return nil, fmt.Errorf("%w: %d transactions up to %v are not the next that were proposed", errGarbage, n, last)
	}
	txns := m.own[:n:n]
	m.own = m.own[n:]
	return txns, nil
}

// forget drops what this node has proposed up to z.
func (m *member) forget(z consensus.Zxid) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.own) > 0 && m.own[0].Zxid <= z {
		m.own = m.own[1:]
	}
}

// makeOther makes a call that is no fOwn.
func (m *member) makeOther(kind byte, r *reader) (done bool, err error) {
	switch kind {
	case fRecover:
		id, max := r.uint(), consensus.Zxid(r.int())
		if err := r.err(); err != nil {
			return false, err
		}
		z, err := m.node.Recover(max)
		m.answer(id, func(dst []byte) []byte {
			dst = binary.AppendVarint(dst, int64(z))
			return appendError(dst, err)
		})
	case fSetAside:
		id, folder := r.uint(), r.string()
		if err := r.err(); err != nil {
			return false, err
		}
		err := m.node.SetAside(folder)
		m.answer(id, func(dst []byte) []byte { return appendError(dst, err) })
	case fRole:
		w := new(pb.Role)
		r.proto(w)
		role := roleFromWire(w)
		if r.bad || role.State > consensus.Leading {
			return false, errGarbage
		}
		m.mu.Lock()
		m.role, m.next, m.own = role, role.Last+1, nil
		m.mu.Unlock()
		m.node.Role(role)
	case fDeliver:
		txns := r.txns()
		if err := r.err(); err != nil {
			return false, err
		}
		if len(txns) == 0 {
			return false, errGarbage
		}
		m.forget(txns[len(txns)-1].Zxid)
		m.node.Deliver(txns)
	case fReceive:
		from, q := consensus.ServerID(r.int()), r.request()
		if err := r.err(); err != nil {
			return false, err
		}
		m.node.Receive(from, q)
	case fTouch:
		from, ts := consensus.ServerID(r.int()), r.touches()
		if err := r.err(); err != nil {
			return false, err
		}
		m.node.Touch(from, ts)
	case fAsk:
		id, from, t := r.uint(), consensus.ServerID(r.int()), consensus.Touch{Session: r.int(), TimeoutMS: r.int32()}
		if err := r.err(); err != nil {
			return false, err
		}
		alive := m.node.Revalidate(from, t)
		m.answer(id, func(dst []byte) []byte { return appendBool(dst, alive) })
	case fRevalidated:
		session, alive := r.int(), r.byte() == 1
		if err := r.err(); err != nil {
			return false, err
		}
		m.node.Revalidated(session, alive)
	case fSynced:
		id := r.uint()
		if err := r.err(); err != nil {
			return false, err
		}
		m.node.Synced(consensus.SyncID(id))
	case fSnapshot:
		id := r.uint()
		if err := r.err(); err != nil {
			return false, err
		}
		return false, m.pin(id)
	case fRestore:
		id, z := r.uint(), consensus.Zxid(r.int())
		if err := r.err(); err != nil {
			return false, err
		}
		err := m.restore(id, z)
		m.answer(id, func(dst []byte) []byte { return appendError(dst, err) })
	case fClosed:
		e, err := r.error()
		if err != nil {
			return false, err
		}
		select {
		case m.left <- e:
		default:
			return false, errGarbage
		}
		return true, nil
	default:
		return false, errGarbage
	}
	return false, nil
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// appendError appends an error as the rest of a frame: nothing for none.
func appendError(dst []byte, err error) []byte {
	if err == nil {
		return dst
	}
	return appendProto(append(dst, 1), toWire(err))
}

// error takes the rest of a frame as an error, nil for none.
func (r *reader) error() (*pb.Error, error) {
	if r.bad {
		return nil, errGarbage
	}
	if len(r.b) == 0 {
		return nil, nil
	}
	if r.byte() != 1 {
		return nil, errGarbage
	}
	e := new(pb.Error)
	r.proto(e)
	return e, r.err()
}

// The calls of the node. Whether one is of the present term the role says that was passed
// last: what the module has lost since, its next role tells.

// tell puts a frame of the present term into the stream, if the role is one of states.
func (m *member) tell(term uint64, states []consensus.State, fn func(dst []byte) []byte) error {
	m.mu.Lock()
	if err := m.check(term, states); err != nil {
		m.mu.Unlock()
		return err
	}
	m.leave(fn)
	return nil
}

// leave puts a frame into the stream and unlocks mu, which keeps the frames in the order of the
// decisions.
func (m *member) leave(fn func(dst []byte) []byte) {
	_, mine := m.out.add(fn)
	m.mu.Unlock()
	if mine {
		m.out.flush()
	}
}

// check says whether a call may be made. mu is held.
func (m *member) check(term uint64, states []consensus.State) error {
	if m.closed {
		return consensus.ErrClosed
	}
	if term == m.role.Term {
		for _, s := range states {
			if m.role.State == s {
				return nil
			}
		}
	}
	return consensus.ErrNotNow
}

var (
	leading  = []consensus.State{consensus.Leading}
	learning = []consensus.State{consensus.Following, consensus.Observing}
	anything = []consensus.State{consensus.Following, consensus.Observing, consensus.Leading}
)

func (m *member) Propose(term uint64, txns []consensus.Txn) error {
	m.mu.Lock()
	if err := m.check(term, leading); err != nil {
		m.mu.Unlock()
		return err
	}
	next := m.next
	for i := range txns {
		if txns[i].Zxid != next {
			m.mu.Unlock()
			return fmt.Errorf("consensus: a proposal of %v where %v is the next", txns[i].Zxid, next)
		}
		next++
	}
	m.next = next
	m.own = append(m.own, txns...)
	m.leave(func(dst []byte) []byte {
		return appendTxns(binary.AppendUvarint(append(dst, fPropose), term), txns)
	})
	return nil
}

func (m *member) Forward(term uint64, rs []consensus.Request) error {
	return m.tell(term, learning, func(dst []byte) []byte {
		dst = binary.AppendUvarint(append(dst, fForward), term)
		dst = binary.AppendUvarint(dst, uint64(len(rs)))
		for i := range rs {
			dst = appendRequest(dst, &rs[i])
		}
		return dst
	})
}

func (m *member) Sync(term uint64, id consensus.SyncID) error {
	return m.tell(term, anything, func(dst []byte) []byte {
		return binary.AppendUvarint(binary.AppendUvarint(append(dst, fSync), term), uint64(id))
	})
}

func (m *member) Revalidate(term uint64, t consensus.Touch) error {
	return m.tell(term, learning, func(dst []byte) []byte {
		dst = binary.AppendUvarint(append(dst, fRevalidate), term)
		return binary.AppendVarint(binary.AppendVarint(dst, t.Session), int64(t.TimeoutMS))
	})
}

// anyTime puts a frame into the stream that no term belongs to.
func (m *member) anyTime(fn func(dst []byte) []byte) error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return consensus.ErrClosed
	}
	m.leave(fn)
	return nil
}

func (m *member) Checkpoint(saved, needed consensus.Zxid) error {
	return m.anyTime(func(dst []byte) []byte {
		return binary.AppendVarint(binary.AppendVarint(append(dst, fCheckpoint), int64(saved)), int64(needed))
	})
}

func (m *member) Distrust(at consensus.Zxid, why string) error {
	return m.anyTime(func(dst []byte) []byte {
		return appendBytes(binary.AppendVarint(append(dst, fDistrust), int64(at)), why)
	})
}

// Reconfigure waits for the module to judge the text, which takes it no disk and no network.
func (m *member) Reconfigure(term uint64, config string) error {
	if !m.caps.Reconfigure {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.closed {
			return consensus.ErrClosed
		}
		return consensus.ErrUnsupported
	}
	id, ch := m.asked.begin()
	err := m.tell(term, anything, func(dst []byte) []byte {
		dst = binary.AppendUvarint(binary.AppendUvarint(append(dst, fReconfigure), id), term)
		return appendBytes(dst, config)
	})
	if err != nil {
		return err
	}
	k := m.m.calls.begin("a reconfiguration", m.m.cfg.Timeout)
	b, ok := <-ch
	m.m.calls.end(k)
	if !ok {
		return consensus.ErrClosed
	}
	r := &reader{b: b}
	e, err := r.error()
	if err != nil {
		return m.m.fail(fmt.Errorf("the answer to a reconfiguration: %w", err))
	}
	return fromWire(kindConsensus, e)
}

func (m *member) Caps() consensus.Caps { return m.caps }

// Unanswered says for how long the module has not answered a health call that it was sent, and what the longest was that
// it did answer since Unanswered was last called. While its member stands still a node hears of nobody else's clients.
func (m *member) Unanswered() (now, longest time.Duration) { return m.m.pulse.look() }

// statusPatience is how long an operator waits for a picture of the present: else the last
// one has to do.
const statusPatience = 2 * time.Second

func (m *member) Status() consensus.Status {
	ctx, cancel := context.WithTimeout(m.m.ctx, statusPatience)
	defer cancel()
	w, err := m.c.Status(ctx, &pb.StatusRequest{})
	m.statusMu.Lock()
	defer m.statusMu.Unlock()
	if err == nil {
		m.status = statusFromWire(w)
	}
	return m.status
}

func (m *member) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return consensus.ErrClosed
	}
	m.closed = true
	m.leave(func(dst []byte) []byte { return append(dst, fClose) })
	var err error
	k := m.m.calls.begin("close", 10*m.m.cfg.Timeout)
	select {
	case e := <-m.left:
		err = fromWire(kindConsensus, e)
	case <-m.m.ctx.Done():
		err = m.m.fail(errors.New("it is gone"))
	}
	m.m.calls.end(k)
	m.end()
	return err
}
