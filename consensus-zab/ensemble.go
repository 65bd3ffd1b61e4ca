package zab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/zkcore/zkcore/consensus-zab/protocol"
	"github.com/zkcore/zkcore/core/failpoint"
	"github.com/zkcore/zkcore/core/member"
	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/core/simbug"
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
	elect   *electNet
	self    consensus.Server
	voters  int
	start   time.Time

	// Of a member that somebody else drives, in place of what this package does with
	// sockets and the clock: see Driven.
	driven *Driven

	initTimeout, syncTimeout time.Duration

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	done   chan struct{} // the loop is over

	// What happened and the loop has not seen.
	evMu    sync.Mutex
	evLess  chan struct{} // closed when the loop takes events
	events  []event
	evBytes int
	evWake  chan struct{}

	// The loop's:
	ticked  protocol.Time // when the member was last told the time
	taken   []event       // memory for the next events
	links   map[protocol.Conn]*link
	ids     protocol.Conn
	ln      []net.Listener
	dialing context.CancelFunc
	attempt int // to connect: what comes of an earlier one is not wanted
	views   protocol.Time

	// What the methods see, which are called from anywhere.
	mu      sync.Mutex
	closed  bool
	role    consensus.Role
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
	e, err := newEnsemble(fsys, cfg, o, s, j, c)
	if err != nil {
		return nil, err
	}
	e.elect = newElectNet(e, e.self)
	if err := e.elect.listen(); err != nil {
		return nil, err
	}
	go e.journal.Run()
	e.wg.Add(1)
	go func() { defer e.wg.Done(); e.journal.Gauge.Watch(e.ctx.Done()) }()
	go e.caller.Run()
	e.elect.start()
	go e.loop()
	return e, nil
}

// newEnsemble makes the member and its protocol from what is on the disk. Nothing runs yet.
func newEnsemble(fsys vfs.FS, cfg consensus.Config, o options, s store, j *member.Journal, c *member.Caller) (*ensemble, error) {
	e := &ensemble{
		cfg: cfg, opts: o, fs: fsys, log: s.log, journal: j, caller: c, m: member.Meter{To: cfg.Metrics},
		start: time.Now().Add(-time.Second), // so that no time is 0
		done:  make(chan struct{}), evLess: make(chan struct{}), evWake: make(chan struct{}, 1),
		links: map[protocol.Conn]*link{},
	}
	e.initTimeout = cfg.Tick * time.Duration(cfg.InitLimit)
	e.syncTimeout = cfg.Tick * time.Duration(cfg.SyncLimit)
	members, self, err := checked(cfg)
	if err != nil {
		return nil, err
	}
	e.self = self
	worth, err := standing(fsys, cfg, &e.opts, s)
	if err != nil {
		return nil, err
	}
	epochs, err := e.openEpochs(s.last, worth)
	if err != nil {
		return nil, err
	}
	j.Gauge.Changed = func(d member.Disk) {
		if d != member.DiskFull {
			j.Resume()
		}
		e.post(func(m *protocol.Member, now protocol.Time) { m.Disk(now, protocol.Disk(d)) })
	}
	e.voters = len(members.Voters())
	giveUp := o.giveUp
	if giveUp < 0 {
		giveUp = 300 * time.Millisecond // a little more than others wait before they decide
	}
	e.member = protocol.New(&protocol.Config{
		ID: cfg.ID, Observer: e.self.Observer, Quorum: protocol.NewQuorum(members),
		Text: []byte(cfg.ConfigText), Version: members.Version,
		Tick: protocol.Time(cfg.Tick), InitLimit: cfg.InitLimit, SyncLimit: cfg.SyncLimit,
		MinNotify: protocol.Time(o.minNotify), MaxNotify: protocol.Time(o.maxNotify),
		FinalizeWait: 200 * protocol.Millisecond, GiveUp: protocol.Time(giveUp),
		CommitLogCount: o.logCount, CommitLogBytes: 64 << 20, ForceSnapshot: o.forceSnapshot,
		MaxSnapshots: o.maxSnaps, MaxDiffs: o.maxDiffs,
	}, protocol.Start{Base: s.base, Runs: s.runs, Accepted: epochs.Accepted, Current: epochs.Current, Standing: worth, Committed: o.committed})
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.status = consensus.Status{Peer: "looking", Logged: s.last, Committed: s.base, Quorum: e.voters,
		LastProposal: -1, MinProposal: -1, MaxProposal: -1}
	return e, nil
}

// checked is the membership of a configuration that can be used, and this server in it.
// Nothing on the disk is touched before.
func checked(cfg consensus.Config) (members *quorum.Config, self consensus.Server, err error) {
	if members, err = membership(cfg); err != nil {
		return nil, self, err
	}
	found := false
	for _, v := range cfg.Servers {
		if len(v.Quorum) == 0 || len(v.Election) == 0 {
			return nil, self, errKey(fmt.Sprintf("server.%d", v.ID), "it needs a quorum and an election address")
		}
		if v.ID == cfg.ID {
			self, found = v, true
		}
	}
	switch {
	case !found:
		return nil, self, errKey("myid", "server %d is not in the list of servers", cfg.ID)
	case cfg.Tick <= 0 || cfg.InitLimit <= 0 || cfg.SyncLimit <= 0:
		return nil, self, errKey("tickTime, initLimit, syncLimit", "they must be positive in an ensemble")
	}
	return members, self, nil
}

// membership is the configuration's list of servers as the protocol counts it.
func membership(cfg consensus.Config) (*quorum.Config, error) {
	members := new(quorum.Config)
	if cfg.ConfigText != "" {
		c, err := quorum.ParseConfig(cfg.ConfigText, true)
		if err != nil {
			return nil, fmt.Errorf("configuration of the ensemble: %w", err)
		}
		members = c
	}
	// The text is what the others hear; what counts here is the list.
	byID := map[int64]bool{}
	for _, s := range cfg.Servers {
		byID[int64(s.ID)] = true
		if cfg.ConfigText != "" {
			t, ok := members.Find(int64(s.ID))
			if !ok || t.Observer != s.Observer {
				return nil, fmt.Errorf("configuration of the ensemble: its text and its list differ in server %d", s.ID)
			}
		}
	}
	if cfg.ConfigText != "" {
		if len(members.Servers) != len(byID) {
			return nil, errors.New("configuration of the ensemble: its text and its list differ")
		}
		return members, nil
	}
	props := map[string]string{}
	for _, s := range cfg.Servers {
		v := quorum.Server{ID: int64(s.ID), Observer: s.Observer}
		for i := range min(len(s.Quorum), len(s.Election)) {
			q, err := splitHostPort(s.Quorum[i])
			if err != nil {
				return nil, errKey(fmt.Sprintf("server.%d", s.ID), "%v", err)
			}
			l, err := splitHostPort(s.Election[i])
			if err != nil {
				return nil, errKey(fmt.Sprintf("server.%d", s.ID), "%v", err)
			}
			v.Addrs = append(v.Addrs, quorum.ServerAddr{Host: q.Host, QuorumPort: q.Port, ElectionPort: l.Port})
		}
		props[fmt.Sprintf("server.%d", s.ID)] = v.String()
		if s.Group != 0 && !s.Observer {
			g := fmt.Sprintf("group.%d", s.Group)
			if props[g] != "" {
				props[g] += ":"
			}
			props[g] += strconv.FormatInt(int64(s.ID), 10)
			props[fmt.Sprintf("weight.%d", s.ID)] = strconv.FormatInt(s.Weight, 10)
		}
	}
	c, err := quorum.NewConfig(props, true)
	if err != nil {
		return nil, fmt.Errorf("configuration of the ensemble: %w", err)
	}
	return c, nil
}

func splitHostPort(a string) (quorum.HostPort, error) {
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return quorum.HostPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return quorum.HostPort{}, fmt.Errorf("address %s: bad port", a)
	}
	return quorum.HostPort{Host: host, Port: int(n)}, nil
}

// openEpochs reads the epoch files.
func (e *ensemble) openEpochs(last consensus.Zxid, worth protocol.Standing) (txnlog.Epochs, error) {
	dir := member.Version2(e.cfg.DataDir)
	// The log is synced before currentEpoch is written, so that a server that dies between
	// the two has more than it claims, never less. What it has then, up to some txn of the
	// epoch of its last one, is what a follower of that epoch has.
	accepted, ok, err := txnlog.ReadEpoch(e.fs, dir, txnlog.AcceptedEpoch)
	if err != nil {
		return txnlog.Epochs{}, err
	}
	current, known, err := txnlog.ReadEpoch(e.fs, dir, txnlog.CurrentEpoch)
	if err != nil {
		return txnlog.Epochs{}, err
	}
	if worth != protocol.Proven {
		// What there is in the log is part of what a leader sent. It counts for nothing
		// until the epoch is there that comes last.
		promised := txnlog.Epochs{Accepted: max(accepted, current), Current: current}
		if !ok {
			return promised, nil
		}
		// The promise holds, and is on the disk before it is told of.
		return promised, txnlog.WriteEpoch(e.fs, dir, txnlog.AcceptedEpoch, promised.Accepted)
	}
	if ok && known && last.Epoch() > current && last.Epoch() <= accepted {
		e.cfg.Log.Warn("the last synchronisation with a leader was cut short", "currentEpoch", current, "zxid", last)
		if err := txnlog.WriteEpoch(e.fs, dir, txnlog.CurrentEpoch, last.Epoch()); err != nil {
			return txnlog.Epochs{}, err
		}
	}
	return txnlog.OpenEpochs(e.fs, dir, last)
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
		timer.Reset(time.Duration(max(e.next()-e.now(), 0)))
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
	e.ticked = e.now()
	e.member.Begin(e.ticked)
	e.carryOut()
}

// next is when the protocol's member wants to be told the time.
func (e *ensemble) next() protocol.Time {
	return min(e.member.Next(), e.ticked+protocol.Time(e.cfg.Tick/2))
}

// turn is one turn of the loop.
func (e *ensemble) turn(now protocol.Time) {
	// The time comes first: a leader that was asleep finds out before it hears what
	// came meanwhile.
	tick := now >= e.next()
	if tick {
		if e.ticked = now; e.driven != nil {
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
	// The list of learners changes seldom and costs something.
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
			Role: e.role, Peer: e.member.Peer(), Logged: v.Logged, Committed: v.Committed, Quorum: e.voters,
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
	case protocol.Notify:
		failpoint.Hit(failpoint.BeforeVote)
		e.elect.send(o.To, o.N.AppendFrame(nil))
		failpoint.Hit(failpoint.AfterVote)
	case protocol.Listen:
		e.listen()
	case protocol.StopListening:
		for _, ln := range e.ln {
			ln.Close()
		}
		e.ln = nil
	case protocol.Connect:
		e.connect(o.Leader)
	case protocol.HangUp:
		e.dialing()
		e.attempt++
	case protocol.Disconnect:
		if l := e.links[o.Conn]; l != nil {
			delete(e.links, o.Conn)
			l.close()
		}
	case protocol.Send:
		var b []byte
		for i := range o.Packets {
			b = o.Packets[i].Append(b)
		}
		failpoint.Hit(failpoint.BeforePacket)
		e.send(o.To, b)
		failpoint.Hit(failpoint.AfterPacket)
	case protocol.SendTxns:
		if len(o.To) > 0 {
			failpoint.Hit(failpoint.BeforeProposal)
			e.send(o.To, appendTxns(nil, o.Type, o.Txns))
			failpoint.Hit(failpoint.AfterProposal)
		}
	case protocol.SendCommits:
		b := make([]byte, 0, quorum.MinPacketSize*len(o.Txns))
		for i := range o.Txns {
			b = appendEmpty(b, quorum.TypeCommit, o.Txns[i].Zxid)
		}
		failpoint.Hit(failpoint.BeforeCommit)
		e.send(o.To, b)
		failpoint.Hit(failpoint.AfterCommit)
	case protocol.SendHistory:
		e.send([]protocol.Conn{o.To}, appendHistory(nil, o.Txns))
	case protocol.SendLog:
		if l := e.links[o.To]; l != nil {
			l.sendLog(o.From, o.Last)
		}
	case protocol.SendSnapshot:
		if l := e.links[o.To]; l != nil {
			l.sendSnapshot(o.Zxid, o.Snapshot)
		} else {
			o.Snapshot.Close()
		}
	case protocol.DropSnapshot:
		o.Snapshot.Close()
	case protocol.SendAcks:
		b := make([]byte, 0, quorum.MinPacketSize*len(o.Zxids))
		for _, z := range o.Zxids {
			b = appendEmpty(b, quorum.TypeAck, z)
		}
		failpoint.Hit(failpoint.BeforeAck)
		e.send([]protocol.Conn{o.To}, b)
		failpoint.Hit(failpoint.AfterAck)
	case protocol.Pong:
		e.pong(o)
	case protocol.Append:
		gen := o.Gen
		e.journal.Append(o.Txns, func(z consensus.Zxid) {
			e.post(func(m *protocol.Member, now protocol.Time) { m.Logged(now, gen, z) })
		})
	case protocol.SaveAccepted:
		e.saveEpoch(txnlog.AcceptedEpoch, o.ID, o.Epoch)
	case protocol.SaveCurrent:
		e.saveEpoch(txnlog.CurrentEpoch, o.ID, o.Epoch)
	case protocol.Truncate:
		e.journal.Do(func() error {
			err := e.log.TruncateTo(o.Zxid)
			if o.Base && errors.Is(err, txnlog.ErrNotInLog) {
				err = e.log.Reset(o.Zxid)
			}
			if err != nil {
				return fmt.Errorf("transaction log: truncate: %w", err)
			}
			return nil
		})
	case protocol.ResetLog:
		e.journal.Do(func() error {
			if err := e.log.Reset(o.Zxid); err != nil {
				return fmt.Errorf("transaction log: begin anew: %w", err)
			}
			return nil
		})
	case protocol.Scan:
		e.scan(o)
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
	default:
		e.call(o)
	}
}

// call does what is for the node.
func (e *ensemble) call(o protocol.Output) {
	node := e.caller.Node
	switch o := o.(type) {
	case protocol.Deliver:
		e.caller.Deliver(o.Txns)
	case protocol.DeliverLog:
		e.caller.Do(func() {
			start := time.Now()
			err := member.ReadLog(e.log, o.From, o.Last, func(txns []consensus.Txn) error {
				if e.caller.Closed() {
					return consensus.ErrClosed
				}
				node.Deliver(txns)
				return nil
			})
			switch {
			case err == nil:
				e.cfg.Log.Info("transactions delivered from the log", "from", o.From, "to", o.Last, "ms", time.Since(start).Milliseconds())
			case !errors.Is(err, consensus.ErrClosed):
				e.cfg.Fail(member.ExitCode(err), err)
			}
		})
	case protocol.SetRole:
		e.mu.Lock()
		e.role, e.offered = o.Role, o.Role.Last
		e.mu.Unlock()
		e.caller.Do(func() { node.Role(o.Role) })
	case protocol.Receive:
		e.caller.Do(func() {
			for _, r := range o.Requests {
				node.Receive(o.From, r)
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
			base, err := node.Recover(o.Max)
			if err != nil {
				e.cfg.Fail(member.ExitCode(err), fmt.Errorf("recover the state at %v: %w", o.Max, err))
				return
			}
			e.post(func(m *protocol.Member, now protocol.Time) { m.Recovered(now, base) })
		})
	case protocol.Restore:
		l := e.links[o.Conn]
		e.caller.Do(func() {
			err := errors.New("the connection is closed")
			if l != nil {
				failpoint.Hit(failpoint.BeforeRestore)
				err = l.restore(o.Zxid, o.Skip)
				failpoint.Hit(failpoint.AfterRestore)
			}
			e.post(func(m *protocol.Member, now protocol.Time) { m.Restored(now, err) })
		})
	case protocol.TakeSnapshot:
		e.caller.Do(func() {
			s, err := node.Snapshot()
			e.post(func(m *protocol.Member, now protocol.Time) { m.SnapshotTaken(now, o.Conn, s, err) })
		})
	default:
		e.cfg.Fail(1, fmt.Errorf("nobody carries out %T", o))
	}
}

func (e *ensemble) send(to []protocol.Conn, b []byte) {
	for _, c := range to {
		if e.driven != nil {
			e.driven.world.Send(c, b)
			continue
		}
		if l := e.links[c]; l != nil {
			l.send(b)
		}
	}
}

// pong answers a ping with the sessions that the node heard from.
func (e *ensemble) pong(o protocol.Pong) {
	ts := e.caller.Node.Touched()
	touches := make([]quorum.Touch, len(ts))
	for i, t := range ts {
		touches[i] = quorum.Touch{SessionID: t.Session, TimeoutMS: t.TimeoutMS}
	}
	e.send([]protocol.Conn{o.To}, quorum.AppendPacket(nil, quorum.TypePing, int64(o.Zxid), quorum.AppendTouches(nil, touches)))
}

func (e *ensemble) saveEpoch(name string, id uint64, epoch int64) {
	e.journal.Do(func() error {
		if simbug.On("vote-not-persisted") && name == txnlog.AcceptedEpoch {
			e.post(func(m *protocol.Member, now protocol.Time) { m.Saved(now, id) })
			return nil // it is in memory
		}
		if err := txnlog.WriteEpoch(e.fs, member.Version2(e.cfg.DataDir), name, epoch); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if name == txnlog.CurrentEpoch {
			// All that came before it is durable: this server is one like any other now.
			if err := removeStanding(e.fs, e.cfg.DataDir); err != nil {
				return err
			}
		}
		e.post(func(m *protocol.Member, now protocol.Time) { m.Saved(now, id) })
		return nil
	})
}

// scan finds out what the log holds above a zxid.
func (e *ensemble) scan(o protocol.Scan) {
	work := func() {
		limit := int64(math.MaxInt64)
		if o.Limited {
			if limit = e.worth(); limit == 0 {
				e.post(func(m *protocol.Member, now protocol.Time) { m.Scanned(now, o.ID, nil, 0, false) })
				return
			}
		}
		var (
			runs  []protocol.Run
			below consensus.Zxid
		)
		err := func() error {
			r, err := e.log.Reader(o.From)
			if err != nil {
				return err
			}
			defer r.Close()
			bytes := int64(0)
			for e.ctx.Err() == nil {
				t, err := r.Next()
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				if t.Zxid <= o.From {
					below = t.Zxid
					continue
				}
				runs = addRun(runs, t.Zxid)
				if bytes += int64(len(t.Data)); bytes > limit {
					return errors.New("a snapshot is less work")
				}
			}
			return e.ctx.Err()
		}()
		if err != nil {
			e.cfg.Log.Info("transaction log: not used to bring a learner up to date", "from", o.From, "reason", err)
		}
		e.post(func(m *protocol.Member, now protocol.Time) { m.Scanned(now, o.ID, runs, below, err == nil) })
	}
	if !o.Limited {
		e.journal.Do(func() error { work(); return nil })
		return
	}
	if e.driven != nil {
		work()
		return
	}
	e.wg.Add(1)
	go func() { defer e.wg.Done(); work() }()
}

// worth is how many bytes of the log are better than a snapshot; 0 for none.
func (e *ensemble) worth() int64 {
	if e.opts.sizeFactor < 0 {
		return 0
	}
	size, err := newestSnapshot(e.fs, member.Version2(e.cfg.DataDir))
	limit := int64(float64(size) * e.opts.sizeFactor)
	if err != nil || limit == 0 {
		return math.MaxInt64 // as Apache has it: no limit
	}
	return limit
}

func (e *ensemble) listenAddrs(addrs []string) []string {
	if !e.cfg.QuorumListenOnAllIPs {
		return addrs
	}
	var all []string
	for _, a := range addrs {
		if _, port, err := net.SplitHostPort(a); err == nil {
			all = append(all, ":"+port)
		}
	}
	return all[:min(1, len(all))]
}

func (e *ensemble) listenConfig() *net.ListenConfig {
	c := &net.ListenConfig{KeepAlive: -1}
	if e.opts.keepAlive {
		c.KeepAlive = 0
	}
	return c
}

func (e *ensemble) dialer(timeout time.Duration) *net.Dialer {
	d := &net.Dialer{Timeout: timeout, KeepAlive: -1}
	if e.opts.keepAlive {
		d.KeepAlive = 0
	}
	return d
}

// listen opens the quorum port. The one of the leadership before may just be closing.
func (e *ensemble) listen() {
	for _, a := range e.listenAddrs(e.self.Quorum) {
		var ln net.Listener
		var err error
		for range 10 {
			if ln, err = e.listenConfig().Listen(e.ctx, "tcp", a); err == nil || e.ctx.Err() != nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil {
			why := err.Error()
			e.post(func(m *protocol.Member, now protocol.Time) { m.ListenFailed(now, why) })
			return
		}
		e.ln = append(e.ln, ln)
		e.wg.Add(1)
		go func() { defer e.wg.Done(); e.accept(ln) }()
	}
}

func (e *ensemble) accept(ln net.Listener) {
	limit := 4*len(e.cfg.Servers) + 16
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			e.cfg.Log.Warn("quorum port", "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		e.mu.Lock()
		full := e.conns >= limit
		if !full {
			e.conns++
		}
		e.mu.Unlock()
		if full {
			e.cfg.Log.Warn("quorum port: connection refused", "address", c.RemoteAddr(), "reason", "there are too many")
			c.Close()
			continue
		}
		setNoDelay(c, e.opts.leaderNoDelay)
		e.post(func(m *protocol.Member, now protocol.Time) {
			if e.ctx.Err() != nil {
				c.Close()
				return
			}
			l := e.link(c, false)
			m.Accepted(now, l.id, c.RemoteAddr().String())
			e.wg.Add(1)
			go func() {
				defer e.wg.Done()
				<-l.gone
				e.mu.Lock()
				e.conns--
				e.mu.Unlock()
			}()
			l.start()
		})
	}
}

// link makes a link of a connection. It is for the loop.
func (e *ensemble) link(c net.Conn, snaps bool) *link {
	e.ids++
	l := newLink(e, e.ids, c, snaps)
	e.links[l.id] = l
	return l
}

func setNoDelay(c net.Conn, on bool) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetNoDelay(on)
	}
}

// connect dials the leader. A leader opens its port when it knows that it leads, which
// may be a moment after its followers do.
func (e *ensemble) connect(leader consensus.ServerID) {
	var addrs []string
	for _, s := range e.cfg.Servers {
		if s.ID == leader {
			addrs = s.Quorum
		}
	}
	total := e.initTimeout
	if e.opts.connectTicks > 0 {
		total = e.cfg.Tick * time.Duration(e.opts.connectTicks)
	}
	ctx, cancel := context.WithTimeout(e.ctx, total)
	e.dialing = cancel
	e.attempt++
	attempt := e.attempt
	e.wg.Add(1)
	go func() {
		defer e.wg.Done()
		defer cancel()
		c, err := e.dialLeader(ctx, addrs)
		if err != nil {
			why := err.Error()
			e.post(func(m *protocol.Member, now protocol.Time) {
				if attempt == e.attempt {
					m.ConnectFailed(now, leader, why)
				}
			})
			return
		}
		setNoDelay(c, e.opts.followerNoDelay)
		e.post(func(m *protocol.Member, now protocol.Time) {
			if attempt != e.attempt || e.ctx.Err() != nil {
				c.Close()
				return
			}
			l := e.link(c, true)
			m.Connected(now, l.id)
			l.start()
		})
	}()
}

// refusals is how often a leader's port may be closed before it is no leader.
const refusals = 60

func (e *ensemble) dialLeader(ctx context.Context, addrs []string) (net.Conn, error) {
	for try := 1; ; try++ {
		var last error
		for _, a := range addrs {
			c, err := e.dialer(e.syncTimeout).DialContext(ctx, "tcp", a)
			if err == nil {
				return c, nil
			}
			last = err
		}
		if ctx.Err() != nil || try >= refusals || !errors.Is(last, syscall.ECONNREFUSED) && try >= 5 {
			return nil, last
		}
		select {
		case <-ctx.Done():
			return nil, last
		case <-time.After(min(e.opts.connectDelay, 2*time.Millisecond<<min(try, 10))):
		}
	}
}

// shutDown ends everything but the node's goroutine and the log.
func (e *ensemble) shutDown() {
	e.elect.close() // first, so that nobody is told to follow this server while it leaves
	for _, ln := range e.ln {
		ln.Close()
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
	e.post(func(m *protocol.Member, now protocol.Time) {
		m.Checkpoint(now, saved)
		e.journal.Do(func() error { return member.Checkpoint(e.log, e.cfg, needed) })
	})
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

func (e *ensemble) Caps() consensus.Caps { return consensus.Caps{} }

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
		e.cancel()
		e.caller.Close() // the loop may wait for it
	}
	<-e.done
	<-e.caller.Done()
	if closed {
		return nil
	}
	e.wg.Wait()
	// Of what happened after the end only pinned states matter.
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
	if err := e.journal.Close(); err != nil {
		return fmt.Errorf("transaction log: %w", err)
	}
	return nil
}
