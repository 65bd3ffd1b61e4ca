package raft

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	mrand "math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/zkcore/zkcore/consensus-raft/protocol"
	"github.com/zkcore/zkcore/core/failpoint"
	"github.com/zkcore/zkcore/core/member"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// An ensemble is a member of one: the driver of a protocol.Member.
type ensemble struct {
	cfg     consensus.Config
	opts    options
	fs      vfs.FS
	log     *txnlog.Log
	journal *member.Journal
	caller  *member.Caller
	m       member.Meter
	member  *protocol.Member // the loop's
	reader  *logReader       // its
	elect   *electNet
	self    consensus.Server
	nvoters int
	start   time.Time

	// Of a member that somebody else drives, in place of what this package does with
	// sockets and the clock: see Driven.
	driven *Driven

	initTimeout time.Duration

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	done   chan struct{} // the loop is over
	left   chan struct{} // the leadership is handed over, or can't be

	// What happened and the loop has not seen.
	evMu    sync.Mutex
	evLess  chan struct{} // closed when the loop takes events
	events  []event
	evBytes int
	evWake  chan struct{}

	// The loop's:
	taken []event // memory for the next events
	links map[protocol.Conn]*link
	ids   protocol.Conn
	lns   []net.Listener
	dials map[consensus.ServerID]*dialing
	views protocol.Time

	// What the methods see, which are called from anywhere.
	mu      sync.Mutex
	closed  bool
	role    consensus.Role // that which calls are checked against
	made    consensus.Role // that which the protocol has come to; the node may be told later
	offered consensus.Zxid
	status  consensus.Status
	conns   int // on the quorum port
}

var _ consensus.Member = (*ensemble)(nil)

// An event is a call of the protocol's member.
type event func(m *protocol.Member, now protocol.Time)

// maxEventBytes is how much of what peers sent may wait for the loop.
const maxEventBytes = 16 << 20

func openEnsemble(fsys vfs.FS, cfg consensus.Config, o options, s store, j *member.Journal, c *member.Caller) (consensus.Member, error) {
	cfg.Log = member.Limited(cfg.Log) // by the clock: not where a seed makes the time
	var seed [32]byte
	rand.Read(seed[:])
	chance := mrand.New(mrand.NewChaCha8(seed))
	e, err := newEnsemble(fsys, cfg, o, s, j, c, chance.Int64N, chance.Uint64()|1)
	if err != nil {
		return nil, err
	}
	e.elect = newElectNet(e)
	if err := e.elect.listen(); err != nil {
		return nil, err
	}
	if err := e.listen(); err != nil {
		e.elect.close()
		return nil, err
	}
	go e.journal.Run()
	e.wg.Add(1)
	go func() { defer e.wg.Done(); e.journal.Gauge.Watch(e.ctx.Done()) }()
	go e.caller.Run()
	e.elect.start()
	for _, ln := range e.lns {
		e.wg.Add(1)
		go func() { defer e.wg.Done(); e.accept(ln) }()
	}
	go e.loop()
	return e, nil
}

// newEnsemble makes the member and its protocol from what is on the disk. Nothing runs yet.
func newEnsemble(fsys vfs.FS, cfg consensus.Config, o options, s store, j *member.Journal, c *member.Caller,
	chance func(int64) int64, nonce uint64) (*ensemble, error) {
	e := &ensemble{
		cfg: cfg, opts: o, fs: fsys, log: s.log, journal: j, caller: c, m: member.Meter{To: cfg.Metrics},
		start: time.Now().Add(-time.Second), // so that no time is 0
		done:  make(chan struct{}), left: make(chan struct{}), evLess: make(chan struct{}), evWake: make(chan struct{}, 1),
		links: map[protocol.Conn]*link{}, dials: map[consensus.ServerID]*dialing{},
	}
	e.initTimeout = cfg.Tick * time.Duration(cfg.InitLimit)
	self, err := checked(cfg)
	if err != nil {
		return nil, err
	}
	e.self = self
	e.nvoters = len(voters(cfg))
	j.Gauge.Changed = func(d member.Disk) {
		if d != member.DiskFull {
			j.Resume()
		}
		e.post(func(m *protocol.Member, now protocol.Time) { m.Disk(now, protocol.Disk(d)) })
	}
	c.Delivered = func(gen, seq uint64) {
		e.post(func(m *protocol.Member, now protocol.Time) { m.Delivered(now, gen, seq) })
	}
	e.reader = &logReader{log: s.log}
	s.found.Committed = o.committed
	e.member = protocol.New(&protocol.Config{
		ID: cfg.ID, Voters: voters(cfg), Observers: observers(cfg),
		Tick: protocol.Time(cfg.Tick), InitLimit: cfg.InitLimit,
		Beat: protocol.Time(o.election) / 10, Silence: protocol.Time(o.election) / 10 * 10,
		WindowBytes: o.window, KeepCount: uint64(o.keep), Inflight: o.inflight, MaxMessage: 1 << 20, MaxDelivering: 8 << 20,
		Rand: chance,
	}, s.found, e.reader, nonce, func(err error) {
		cfg.Fail(member.ExitCode(err), fmt.Errorf("transaction log: %w", err))
	})
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.status = consensus.Status{Peer: "looking", Logged: s.found.Last, Committed: s.found.Recovered, Quorum: e.nvoters,
		LastProposal: -1, MinProposal: -1, MaxProposal: -1}
	return e, nil
}

func (e *ensemble) now() protocol.Time {
	if e.driven != nil {
		return e.driven.world.Now()
	}
	return protocol.Time(time.Since(e.start))
}

// post notes an event. It does not wait.
func (e *ensemble) post(ev event) {
	e.evMu.Lock()
	e.events = append(e.events, ev)
	e.evMu.Unlock()
	e.wake()
}

// postBytes is post for what peers send. It waits while the loop has too much of it.
func (e *ensemble) postBytes(n int, gone <-chan struct{}, ev event) {
	e.evMu.Lock()
	for e.evBytes > maxEventBytes {
		less := e.evLess
		e.evMu.Unlock()
		select {
		case <-less:
		case <-gone:
			return
		case <-e.ctx.Done():
			return
		}
		e.evMu.Lock()
	}
	e.evBytes += n
	e.events = append(e.events, ev)
	e.evMu.Unlock()
	e.wake()
}

func (e *ensemble) wake() {
	if e.driven != nil {
		e.driven.world.Wake()
		return
	}
	select {
	case e.evWake <- struct{}{}:
	default:
	}
}

// take takes all events there are.
func (e *ensemble) take(into []event) []event {
	e.evMu.Lock()
	defer e.evMu.Unlock()
	into, e.events = e.events, into[:0]
	if e.evBytes > 0 {
		e.evBytes = 0
		close(e.evLess)
		e.evLess = make(chan struct{})
	}
	return into
}

// loop runs the protocol's member: events in, outputs out.
func (e *ensemble) loop() {
	defer close(e.done)
	e.begin()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(time.Duration(max(e.member.Next()-e.now(), 0)))
		select {
		case <-e.ctx.Done():
			e.shutDown()
			return
		case <-e.evWake:
		case <-timer.C:
		}
		e.turn(e.now())
	}
}

func (e *ensemble) begin() {
	e.member.Begin(e.now())
	e.carryOut()
}

// turn is one turn of the loop.
func (e *ensemble) turn(now protocol.Time) {
	// The time comes first: who was asleep finds out before it hears what came meanwhile.
	tick := now >= e.member.Next()
	if tick {
		if e.driven != nil {
			e.journal.Gauge.Measure()
		}
		e.member.Tick(now)
		e.carryOut()
	}
	e.taken = e.take(e.taken)
	for i, ev := range e.taken {
		ev(e.member, now)
		e.taken[i] = nil
	}
	e.member.Flush(now)
	e.carryOut()
	e.show(tick)
}

// show makes what the loop knows visible to Status.
func (e *ensemble) show(ticked bool) {
	// The list of learners costs something.
	if now := e.now(); ticked || now-e.views > 20*protocol.Millisecond {
		e.views = now
		v := e.member.View()
		for i := range v.Learners {
			for _, l := range e.links {
				if l.c.RemoteAddr().String() == v.Learners[i].Addr {
					l.mu.Lock()
					v.Learners[i].Queued = len(l.queue)
					l.mu.Unlock()
				}
			}
		}
		var since time.Time
		if v.Since != 0 {
			since = e.start.Add(time.Duration(v.Since))
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.status = consensus.Status{
			Role: e.role, Peer: v.Peer, Logged: v.Logged, Committed: v.Committed, Quorum: e.nvoters,
			Learners: v.Learners, PendingSyncs: v.PendingSyncs,
			LastProposal: v.Sizes.Last, MinProposal: v.Sizes.Min, MaxProposal: v.Sizes.Max, LeaderSince: since,
			Disk: e.journal.Gauge.Picture(),
		}
	}
}

// carryOut does what the protocol's member says.
func (e *ensemble) carryOut() {
	for {
		outs := e.member.Outputs()
		if len(outs) == 0 {
			return
		}
		for _, o := range outs {
			e.do(o)
		}
	}
}

func (e *ensemble) do(o protocol.Output) {
	if e.driven != nil && e.driven.do(o) {
		return
	}
	switch o := o.(type) {
	case protocol.Mail:
		failpoint.Hit(failpoint.BeforeVote)
		e.elect.send(o.To, o.F.Append(nil))
		failpoint.Hit(failpoint.AfterVote)
	case protocol.Dial:
		e.dial(o.To, time.Duration(o.After))
	case protocol.HangUp:
		for _, d := range e.dials {
			d.stop()
		}
	case protocol.Disconnect:
		if l := e.links[o.Conn]; l != nil {
			delete(e.links, o.Conn)
			l.finish()
		}
	case protocol.Send:
		if l := e.links[o.To]; l != nil {
			l.send(encode(o.Frames))
		}
	case protocol.SendTouches:
		if l := e.links[o.To]; l != nil {
			l.send(encodeTouches(e.caller.Node.Touched()))
		}
	case protocol.SendSnapshot:
		if l := e.links[o.To]; l != nil {
			l.sendSnapshot(o.At, o.Snapshot)
		} else {
			o.Snapshot.Close()
		}
	case protocol.DropSnapshot:
		o.Snapshot.Close()
	case protocol.Persist:
		e.persist(o)
	case protocol.Purge:
		e.journal.Do(func() error { return member.Checkpoint(e.log, e.cfg, o.Needed) })
	case protocol.Report:
		if o.Warn {
			e.cfg.Log.Warn(o.Text, o.Args...)
		} else {
			e.cfg.Log.Info(o.Text, o.Args...)
		}
	case protocol.Count:
		e.m.Add(o.Name, o.N)
	case protocol.Observe:
		if o.Key != "" {
			e.m.ObserveKey(o.Name, o.Key, o.Value)
		} else {
			e.m.Observe(o.Name, o.Value)
		}
	case protocol.Left:
		close(e.left)
	default:
		e.call(o)
	}
}

func encode(frames []protocol.Frame) []byte {
	n := 0
	for i := range frames {
		n += frames[i].Size()
	}
	b := make([]byte, 0, n)
	for i := range frames {
		switch frames[i].Kind {
		case protocol.Raft:
			failpoint.Hit(failpoint.BeforeProposal)
		case protocol.Lead, protocol.Here, protocol.Join:
			failpoint.Hit(failpoint.BeforePacket)
		}
		b = frames[i].Append(b)
	}
	return b
}

func encodeTouches(ts []consensus.Touch) []byte {
	var b []byte
	for len(ts) > 0 {
		n := min(len(ts), protocol.MaxTouches)
		f := protocol.Frame{Kind: protocol.TouchList, Touches: ts[:n]}
		b = f.Append(b)
		ts = ts[n:]
	}
	return b
}

// persist gives the journal the steps of one Persist.
func (e *ensemble) persist(p protocol.Persist) {
	j := e.journal
	done := func() {
		e.post(func(m *protocol.Member, now protocol.Time) { m.Persisted(now, p.Seq) })
	}
	if p.Before != nil {
		j.Do(func() error { return writeState(e.fs, e.cfg.DataDir, p.Before) })
	}
	if p.Cut || p.Reset {
		j.Do(func() error {
			if p.Reset {
				if err := e.log.Reset(p.CutTo); err != nil {
					return fmt.Errorf("transaction log: begin anew: %w", err)
				}
				return nil
			}
			if err := truncate(e.log, p.CutTo, true); err != nil {
				return fmt.Errorf("transaction log: truncate to %v: %w", p.CutTo, err)
			}
			return nil
		})
	}
	if p.After != nil {
		j.Do(func() error { return writeState(e.fs, e.cfg.DataDir, p.After) })
	}
	if len(p.Txns) > 0 {
		j.Append(p.Txns, func(consensus.Zxid) { done() })
		return
	}
	j.Do(func() error { done(); return nil })
}

// call does what is for the node.
func (e *ensemble) call(o protocol.Output) {
	node := e.caller.Node
	switch o := o.(type) {
	case protocol.Deliver:
		e.caller.Give(o.Gen, o.Seq, o.Txns)
	case protocol.DeliverLog:
		e.caller.Do(func() {
			start := time.Now()
			err := member.ReadLog(e.log, o.From, o.Last, func(txns []consensus.Txn) error {
				node.Deliver(txns)
				if e.caller.Closed() {
					return consensus.ErrClosed
				}
				return nil
			})
			if err == consensus.ErrClosed {
				return
			}
			if err != nil {
				e.cfg.Fail(member.ExitCode(err), err)
				return
			}
			e.m.Since("startup_txns_load_time", start)
		})
	case protocol.SetRole:
		e.setRole(o.Role)
	case protocol.Receive:
		e.caller.Do(func() {
			for i := range o.Requests {
				node.Receive(o.From, o.Requests[i])
			}
		})
	case protocol.Touch:
		e.caller.Do(func() { node.Touch(o.From, o.Sessions) })
	case protocol.AskRevalidate:
		e.caller.Do(func() {
			alive := node.Revalidate(o.From, o.Touch)
			e.post(func(m *protocol.Member, now protocol.Time) { m.RevalidateDone(now, o.Conn, o.Touch.Session, alive) })
		})
	case protocol.Revalidated:
		e.caller.Do(func() { node.Revalidated(o.Session, o.Alive) })
	case protocol.Synced:
		e.caller.Do(func() {
			for _, id := range o.IDs {
				node.Synced(id)
			}
		})
	case protocol.Recover:
		e.caller.Do(func() {
			z, err := node.Recover(math.MaxInt64)
			if err != nil {
				e.cfg.Fail(member.ExitCode(err), fmt.Errorf("recover: %w", err))
				return
			}
			e.post(func(m *protocol.Member, now protocol.Time) { m.Recovered(now, z) })
		})
	case protocol.Restore:
		l := e.links[o.Conn]
		if o.At == (protocol.Point{}) {
			if l != nil {
				l.snap.discard()
			}
			return
		}
		e.caller.Do(func() {
			failpoint.Hit(failpoint.BeforeRestore)
			err := errors.New("the connection is gone")
			if l != nil {
				err = l.restore(o.At)
			}
			failpoint.Hit(failpoint.AfterRestore)
			e.post(func(m *protocol.Member, now protocol.Time) { m.Restored(now, err) })
		})
	case protocol.TakeSnapshot:
		e.caller.Do(func() {
			s, err := node.Snapshot()
			e.post(func(m *protocol.Member, now protocol.Time) { m.SnapshotTaken(now, o.Conn, s, err) })
		})
	default:
		e.cfg.Fail(consensus.ExitInvariant, fmt.Errorf("protocol: output %T is not known", o))
	}
}

// setRole makes r the role. The node hears of it in its turn; calls are checked against
// it from now on, so that none is taken for another role's.
func (e *ensemble) setRole(r consensus.Role) {
	e.mu.Lock()
	e.made = r
	if r.State == consensus.Looking {
		e.role = r
	}
	e.mu.Unlock()
	e.caller.Do(func() {
		e.mu.Lock()
		if r.Term > e.role.Term {
			e.role = r
		}
		if r.State == consensus.Leading && e.role.Term == r.Term {
			e.offered = r.Last
		}
		e.mu.Unlock()
		e.caller.Node.Role(r)
	})
}

// logReader is the protocol's view of the log on disk. It keeps the places where it
// stopped: what is asked for next mostly begins there.
type logReader struct {
	log     *txnlog.Log
	cursors []cursor
}

type cursor struct {
	r    *txnlog.Reader
	at   consensus.Zxid // the last txn that it returned
	held *consensus.Txn // the one after it, which did not fit
}

// maxCursors bounds those that are open.
const maxCursors = 4

// Read implements protocol.Reader.
func (l *logReader) Read(from, last consensus.Zxid, max uint64) ([]consensus.Txn, error) {
	var c cursor
	for i := range l.cursors {
		if l.cursors[i].at == from {
			c = l.cursors[i]
			l.cursors = append(l.cursors[:i], l.cursors[i+1:]...)
			break
		}
	}
	if c.r != nil {
		if txns, err := c.read(from, last, max); err == nil {
			l.keep(c)
			return txns, nil
		}
		c.r.Close() // the log was cut, perhaps elsewhere
	}
	for {
		r, err := l.log.ReaderAbove(from)
		if err != nil {
			return nil, err
		}
		c = cursor{r: r, at: from}
		txns, err := c.read(from, last, max)
		if err == nil {
			l.keep(c)
			return txns, nil
		}
		r.Close()
		if !errors.Is(err, txnlog.ErrCut) {
			return nil, err
		}
		// What a leader does not have was cut off behind last meanwhile, by the journal.
	}
}

func (l *logReader) keep(c cursor) {
	if len(l.cursors) == maxCursors {
		l.cursors[0].r.Close()
		l.cursors = append(l.cursors[:0], l.cursors[1:]...)
	}
	l.cursors = append(l.cursors, c)
}

func (l *logReader) close() {
	for _, c := range l.cursors {
		c.r.Close()
	}
	l.cursors = nil
}

func (c *cursor) read(from, last consensus.Zxid, max uint64) ([]consensus.Txn, error) {
	var txns []consensus.Txn
	size := uint64(0)
	for c.at < last {
		var t consensus.Txn
		if c.held != nil {
			t, c.held = *c.held, nil
		} else {
			var err error
			if t, err = c.r.Next(); err == io.EOF {
				return nil, fmt.Errorf("it ends at %v, %v is missing", c.at, last)
			} else if err != nil {
				return nil, err
			}
			if t.Zxid <= from {
				continue
			}
			t.Data = append([]byte(nil), t.Data...)
		}
		if t.Zxid > last {
			c.held = &t
			return nil, fmt.Errorf("%v is missing", last)
		}
		if t.Zxid != c.at+1 && !(t.Zxid.Epoch() > c.at.Epoch() && t.Zxid.Counter() == 1) {
			return nil, fmt.Errorf("between %v and %v something is missing", c.at, t.Zxid)
		}
		size += uint64(len(t.Data))
		if len(txns) > 0 && size > max {
			c.held = &t
			break
		}
		txns = append(txns, t)
		c.at = t.Zxid
	}
	return txns, nil
}

// shutDown ends everything but the node's goroutine and the log.
func (e *ensemble) shutDown() {
	e.elect.close()
	for _, ln := range e.lns {
		ln.Close()
	}
	for _, d := range e.dials {
		d.stop()
	}
	for _, l := range e.links {
		l.close()
	}
}

// check is the first thing that a call does. mu is held.
func (e *ensemble) check(term uint64, states ...consensus.State) error {
	if e.closed {
		return consensus.ErrClosed
	}
	if term == e.role.Term {
		for _, s := range states {
			if e.role.State == s {
				return nil
			}
		}
	}
	return consensus.ErrNotNow
}

func (e *ensemble) Propose(term uint64, txns []consensus.Txn) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.check(term, consensus.Leading); err != nil {
		return err
	}
	if len(txns) == 0 {
		return nil
	}
	last, err := member.Dense(e.offered, txns)
	if err != nil {
		return err
	}
	if last.Epoch() != e.role.Epoch || last.Counter() == math.MaxUint32 {
		e.post(func(m *protocol.Member, now protocol.Time) {
			m.Resign(now, term, "the epoch's zxids are used up: a new epoch begins")
		})
		e.role.State = consensus.Looking // refuses what comes until the node knows
		return consensus.ErrNotNow
	}
	e.offered = last
	e.post(func(m *protocol.Member, now protocol.Time) { m.Propose(now, term, txns) })
	return nil
}

func (e *ensemble) Forward(term uint64, rs []consensus.Request) error {
	return e.calls(term, func(m *protocol.Member, now protocol.Time) { m.Forward(now, term, rs) },
		consensus.Following, consensus.Observing)
}

func (e *ensemble) Sync(term uint64, id consensus.SyncID) error {
	return e.calls(term, func(m *protocol.Member, now protocol.Time) { m.Sync(now, term, id) },
		consensus.Following, consensus.Observing, consensus.Leading)
}

func (e *ensemble) Revalidate(term uint64, t consensus.Touch) error {
	return e.calls(term, func(m *protocol.Member, now protocol.Time) { m.Revalidate(now, term, t) },
		consensus.Following, consensus.Observing)
}

func (e *ensemble) calls(term uint64, ev event, states ...consensus.State) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.check(term, states...); err != nil {
		return err
	}
	e.post(ev)
	return nil
}

func (e *ensemble) Checkpoint(saved, needed consensus.Zxid) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return consensus.ErrClosed
	}
	e.post(func(m *protocol.Member, now protocol.Time) { m.Checkpoint(now, saved, needed) })
	return nil
}

func (e *ensemble) Distrust(at consensus.Zxid, why string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return consensus.ErrClosed
	}
	e.post(func(m *protocol.Member, now protocol.Time) { m.Distrust(now, why) })
	return nil
}

func (e *ensemble) Reconfigure(uint64, string) error { return consensus.ErrUnsupported }

// Caps says that the others wait for one to two election timeouts.
func (e *ensemble) Caps() consensus.Caps {
	return consensus.Caps{Silence: 2 * e.opts.election}
}

func (e *ensemble) Status() consensus.Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.status
	s.Role = e.role
	return s
}

func (e *ensemble) Close() error {
	e.mu.Lock()
	closed := e.closed
	e.closed = true
	e.mu.Unlock()
	if !closed {
		e.post(func(m *protocol.Member, now protocol.Time) { m.Leave(now) })
		select {
		case <-e.left:
		case <-time.After(e.opts.election + time.Second):
		}
		e.cancel()
		e.caller.Close()
	}
	<-e.done
	<-e.caller.Done()
	if closed {
		return nil
	}
	e.wg.Wait()
	e.dropPinned()
	if err := e.journal.Close(); err != nil {
		return fmt.Errorf("transaction log: %w", err)
	}
	return nil
}

// dropPinned closes the pinned states that were on their way when the loop ended.
func (e *ensemble) dropPinned() {
	for _, ev := range e.take(nil) {
		ev(e.member, e.now())
	}
	for _, o := range e.member.Outputs() {
		switch o := o.(type) {
		case protocol.SendSnapshot:
			o.Snapshot.Close()
		case protocol.DropSnapshot:
			o.Snapshot.Close()
		}
	}
	e.reader.close()
}

func beUint32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }
