package protocol

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// The simulator drives members on one goroutine in virtual time. Connections deliver in
// order, late, or break; servers pause, and crash with the loss of what was not synced.

type world struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand
	now    Time
	seq    uint64
	events eventHeap
	all    []*server
	cut    map[[2]ServerID]bool // nothing passes from the first to the second
	// hold is a script's: packets from the first to the second stop before one of this type.
	hold   map[[2]ServerID]quorum.PacketType
	faults bool
	conns  Conn
	// One message in calm is late by up to spike ms; one sync in slow takes long.
	calm, spike, slow int

	// What any node has been given, in order: it may only grow.
	global  []entry
	place   map[Zxid]int
	leaders map[int64]ServerID
	// Requests by the id in their txn: what became of each.
	asked   map[uint64]*ask
	lastAsk uint64

	acked   int
	syncs   int
	snaps   int
	truncs  int
	crashes int
	disks   int // replaced, or set aside
	doubts  int
	trace   *strings.Builder
	hash    uint64
	failed  bool
}

type entry struct {
	zxid Zxid
	sum  uint64
}

// An ask is a request of a server's client: forwarded, or proposed if the server leads.
type ask struct {
	by    *server
	gone  bool // its server was told a role since, without it: it must never come
	place int  // of its txn among what was delivered, the first has 1; 0 if it was not
}

type simEvent struct {
	at  Time
	seq uint64
	to  *server // nil: the world
	inc int     // the incarnation that it is for
	fn  func()
}

type eventHeap []simEvent

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(simEvent)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

// A server is a member with a disk and a node.
type server struct {
	w    *world
	id   ServerID
	cfg  Config
	m    *Member
	up   bool
	inc  int
	wake Time // it is asleep until then

	// The disk, as it would be found after a power cut.
	log               []Txn
	accepted, current int64
	snaps             []simState
	standing          Standing
	gone              []Txn // what was on the disk before it was replaced: acked, but not there any more
	disk              Disk
	committed         Zxid // what its node had when it last went down, of half the times

	// The journal: what was given to it and is not durable.
	jobs    []func()
	pending []Txn // appended by jobs of the sync under way, not synced
	syncing bool
	stuck   bool // a script's: the disk finishes nothing

	// The node.
	state    simState
	role     consensus.Role
	next     Zxid
	asks     []uint64                 // of this server, in its present term
	received []uint64                 // what the node was given and has not proposed yet
	syncs    map[consensus.SyncID]int // how many entries the answer must see
	nextSync consensus.SyncID

	listening bool
	conns     map[Conn]*pipe
	attempt   int
	lastMail  map[ServerID]Time
	tickAt    Time
	ticked    Time
}

// A simState is what a node has: so many entries of the global history.
type simState struct {
	zxid Zxid
	n    int
}

// A pipe is one direction of a connection.
type pipe struct {
	from, to *server
	fromInc  int
	toInc    int
	toConn   Conn
	back     *pipe
	last     Time
	closed   bool // nothing more is put in
	broken   bool // nothing more comes out
	held     []arrival
	holding  bool
	state    simState // of the SNAP that is being read
}

// An arrival is what has come through a pipe: a packet of the type, or its end.
type arrival struct {
	what quorum.PacketType // 0: no packet
	fn   func()
}

func newWorld(t *testing.T, seed uint64, voters, observers int) *world {
	w := &world{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), now: 1000 * Millisecond,
		cut: map[[2]ServerID]bool{}, hold: map[[2]ServerID]quorum.PacketType{}, place: map[Zxid]int{}, asked: map[uint64]*ask{}, leaders: map[int64]ServerID{}, trace: new(strings.Builder)}
	w.calm, w.spike, w.slow = 20+w.rng.IntN(2000), []int{20, 500, 3000}[w.rng.IntN(3)], []int{2, 20, 1000}[w.rng.IntN(3)]
	props := map[string]string{}
	for i := 1; i <= voters+observers; i++ {
		role := "participant"
		if i > voters {
			role = "observer"
		}
		props[fmt.Sprintf("server.%d", i)] = fmt.Sprintf("h%d:2888:3888:%s", i, role)
	}
	members, err := quorum.NewConfig(props, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= voters+observers; i++ {
		s := &server{w: w, id: ServerID(i), lastMail: map[ServerID]Time{}}
		s.cfg = Config{ID: s.id, Observer: i > voters, Quorum: NewQuorum(members), Text: []byte("version=0"),
			Tick: 200 * Millisecond, InitLimit: 10, SyncLimit: 5, MinNotify: 200 * Millisecond, MaxNotify: 2000 * Millisecond,
			FinalizeWait: 200 * Millisecond, GiveUp: 300 * Millisecond, CommitLogCount: 1 + w.rng.IntN(40), CommitLogBytes: 1 << 20,
			MaxSnapshots: 10, MaxDiffs: 100, ForceSnapshot: w.rng.IntN(10) == 0}
		w.all = append(w.all, s)
	}
	return w
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.failed = true
	w.t.Errorf("seed %d, %d ms: %s", w.seed, w.now/Millisecond, fmt.Sprintf(format, args...))
}

// logf keeps the trace, of which a failure shows the end.
func (w *world) logf(s *server, format string, args ...any) {
	line := fmt.Sprintf("%6d.%03d %d: %s\n", w.now/Millisecond, w.now/1000%1000, s.id, fmt.Sprintf(format, args...))
	h := fnv.New64a()
	binary.Write(h, binary.BigEndian, w.hash)
	io.WriteString(h, line)
	w.hash = h.Sum64()
	w.trace.WriteString(line)
}

func (w *world) at(t Time, to *server, fn func()) {
	w.seq++
	e := simEvent{at: t, seq: w.seq, to: to, fn: fn}
	if to != nil {
		e.inc = to.inc
	}
	heap.Push(&w.events, e)
}

// run lets time pass.
func (w *world) run(d Time) {
	end := w.now + d
	for len(w.events) > 0 && w.events[0].at <= end && !w.failed {
		e := heap.Pop(&w.events).(simEvent)
		w.now = max(w.now, e.at)
		if s := e.to; s != nil {
			if !s.up || s.inc != e.inc {
				continue
			}
			if s.wake > w.now {
				// All that comes while it sleeps waits, in order; the clock goes on.
				e.at = s.wake
				heap.Push(&w.events, e)
				continue
			}
			s.late()
			e.fn()
			s.work()
			continue
		}
		e.fn()
	}
	w.now = end
}

func (w *world) latency() Time {
	d := Time(w.rng.IntN(2000)) * 1000
	if w.faults && w.rng.IntN(w.calm) == 0 {
		d += Time(w.rng.IntN(w.spike)) * Millisecond
	}
	return d + 1000
}

// diskTime is how long a sync takes.
func (w *world) diskTime() Time {
	if w.faults && w.rng.IntN(w.slow) == 0 {
		return Time(w.rng.IntN(800)) * Millisecond
	}
	return w.latency()
}

// start boots a server from its disk.
func (s *server) start() {
	s.up, s.inc, s.wake = true, s.inc+1, 0
	s.jobs, s.pending, s.syncing = nil, nil, false
	s.conns, s.listening = map[Conn]*pipe{}, false
	s.role, s.syncs = consensus.Role{}, map[consensus.SyncID]int{}
	s.asks, s.received = nil, nil // its clients will not ask again
	s.recover(1 << 62)
	if n := len(s.log); n > 0 && s.log[n-1].Zxid < s.state.zxid {
		s.log = nil // as OpenLog does: what is missing up to the state nobody could tell
	}
	runs, _, ok := s.scan(s.state.zxid)
	if !ok {
		s.w.fail("server %d: its disk has a hole above %v", s.id, s.state.zxid)
	}
	last := s.state.zxid
	if len(runs) > 0 {
		last = runs[len(runs)-1].Last
	}
	// As the driver mends what a crash between log and currentEpoch leaves.
	if last.Epoch() > s.current && s.standing == Proven {
		if last.Epoch() > s.accepted {
			s.w.fail("server %d: log of epoch %d, accepted %d", s.id, last.Epoch(), s.accepted)
		}
		s.current = last.Epoch()
	}
	// As the driver marks a directory without data before anything is written to it.
	if s.standing == Proven && last == 0 && s.current == 0 {
		s.standing = Blank
	}
	s.m = New(&s.cfg, Start{Base: s.state.zxid, Runs: runs, Accepted: s.accepted, Current: s.current, Standing: s.standing, Committed: s.committed})
	s.w.logf(s, "start at %v, log to %v, epochs %d %d, standing %d", s.state.zxid, last, s.accepted, s.current, s.standing)
	s.disk = DiskOK
	s.m.Begin(s.w.now)
	s.ticked, s.tickAt = s.w.now, 0
	s.work()
}

// crash loses what was not synced, or what of it the disk has not happened to write.
func (s *server) crash() {
	keep := 0
	if len(s.pending) > 0 {
		keep = s.w.rng.IntN(len(s.pending) + 1)
	}
	s.crashKeeping(keep)
}

func (s *server) crashKeeping(keep int) {
	w := s.w
	w.crashes++
	if w.faults && w.now/Millisecond%2 == 0 {
		s.committed = s.state.zxid
	}
	keep = min(keep, len(s.pending))
	s.log = append(s.log, s.pending[:keep]...)
	w.logf(s, "crash, %d of %d txns kept", keep, len(s.pending))
	s.up = false
	for _, c := range slices.Sorted(maps.Keys(s.conns)) {
		p := s.conns[c]
		p.close()
		p.shut()
	}
	for _, o := range w.all {
		if o != s && o.up {
			w.at(w.now+w.latency(), o, func() {
				if !s.up {
					o.m.Reach(w.now, s.id, Refused)
				}
			})
		}
	}
}

// late ticks first when the server was asleep, as the driver does.
func (s *server) late() {
	if s.w.now >= s.tickAt {
		s.ticked = s.w.now
		s.m.Tick(s.w.now)
		s.carryOut()
	}
}

// work is the rest of the driver's loop.
func (s *server) work() {
	if !s.up {
		return
	}
	s.m.Flush(s.w.now)
	s.carryOut()
	next := min(s.m.Next(), s.ticked+s.cfg.Tick/2)
	at := max(next, s.w.now+1000)
	if at == s.tickAt {
		return
	}
	s.tickAt = at
	inc := s.inc
	s.w.at(at, nil, func() { s.timer(at, inc) })
}

// timer wakes a server for its tick, unless it has made another date since.
func (s *server) timer(at Time, inc int) {
	switch {
	case !s.up || s.inc != inc || s.tickAt != at:
	case s.wake > s.w.now:
		s.w.at(s.wake, nil, func() { s.timer(at, inc) })
	default:
		s.late()
		s.work()
	}
}

func (s *server) carryOut() {
	for {
		outs := s.m.Outputs()
		if len(outs) == 0 {
			return
		}
		for _, o := range outs {
			s.do(o)
		}
	}
}

func (s *server) do(o Output) {
	w := s.w
	switch o := o.(type) {
	case Notify:
		s.mail(o)
	case Listen:
		s.listening = true
	case StopListening:
		s.listening = false
	case Connect:
		s.attempt++
		s.dial(w.all[o.Leader-1], s.attempt, 1)
	case HangUp:
		s.attempt++
	case Disconnect:
		if p := s.conns[o.Conn]; p != nil {
			w.logf(s, "disconnect %d: %s", o.Conn, o.Why)
			delete(s.conns, o.Conn)
			p.close()
		}
	case Send:
		for _, c := range o.To {
			s.send(c, o.Packets...)
		}
	case SendTxns:
		for _, c := range o.To {
			for _, t := range o.Txns {
				s.send(c, Packet{Type: o.Type, Zxid: int64(t.Zxid), Data: t.Data})
			}
		}
	case SendCommits:
		for _, c := range o.To {
			for _, t := range o.Txns {
				s.send(c, Packet{Type: quorum.TypeCommit, Zxid: int64(t.Zxid)})
			}
		}
	case SendHistory:
		s.sendHistory(o.To, o.Txns)
	case SendLog:
		s.sendHistory(o.To, s.read(o.From, o.Last))
	case SendSnapshot:
		w.snaps++
		st := o.Snapshot.(*simSnapshot).simState
		if p := s.conns[o.To]; p != nil {
			p.put(quorum.TypeSnap, func() {
				p.state = st
				p.holding = true
				p.to.m.Packets(w.now, p.toConn, []Packet{{Type: quorum.TypeSnap, Zxid: int64(st.zxid)}})
			})
		}
	case DropSnapshot:
	case SendAcks:
		for _, z := range o.Zxids {
			s.send(o.To, Packet{Type: quorum.TypeAck, Zxid: int64(z)})
		}
	case Pong:
		s.send(o.To, Packet{Type: quorum.TypePing, Zxid: int64(o.Zxid), Data: []byte{}})
	case Append:
		s.job(func() { s.append(o.Txns) }, func() { s.m.Logged(w.now, o.Gen, o.Txns[len(o.Txns)-1].Zxid) })
	case SaveAccepted:
		s.job(func() {}, func() { s.accepted = o.Epoch; s.m.Saved(w.now, o.ID) })
	case SaveCurrent:
		w.logf(s, "save epoch %d, log %v %v window %v %d", o.Epoch, s.m.hist.last, s.m.hist.durable, s.m.hist.lo, len(s.m.hist.window))
		s.job(func() {}, func() {
			s.current, s.standing, s.gone = o.Epoch, Proven, nil
			s.m.Saved(w.now, o.ID)
		})
	case Truncate:
		w.truncs++
		s.job(func() {}, func() { s.truncate(o.Zxid, o.Base) })
	case ResetLog:
		s.job(func() {}, func() { s.log = nil })
	case Scan:
		fn := func() {
			runs, below, ok := s.scan(o.From)
			if o.Limited && w.faults && w.rng.IntN(3) == 0 {
				ok = false
			}
			s.m.Scanned(w.now, o.ID, runs, below, ok)
		}
		if o.Limited {
			w.at(w.now+w.latency(), s, fn)
		} else {
			s.job(func() {}, fn)
		}
	case Deliver:
		s.deliver(o.Txns)
	case DeliverLog:
		w.logf(s, "deliver from the log, above %v to %v", o.From, o.Last)
		s.deliver(s.read(o.From, o.Last))
	case SetRole:
		s.setRole(o.Role)
	case Receive:
		// The node takes its time.
		for _, r := range o.Requests {
			s.received = append(s.received, uint64(r.Session))
		}
		term := s.role.Term
		w.at(w.now+w.latency(), s, func() {
			if s.role.Term == term && s.role.State == consensus.Leading {
				s.propose(0)
			}
		})
	case Touch:
	case AskRevalidate:
	case Revalidated:
	case Synced:
		for _, id := range o.IDs {
			must, ok := s.syncs[id]
			if !ok {
				w.fail("server %d: an answer to a sync that was not asked for", s.id)
			}
			delete(s.syncs, id)
			if s.state.n < must {
				w.fail("server %d: synced at %v after %d entries, and %d had been delivered before it asked", s.id, s.state.zxid, s.state.n, must)
			}
			w.syncs++
		}
	case Recover:
		s.recover(o.Max)
		z := s.state.zxid
		w.at(w.now+min(5*w.latency(), 1000*Millisecond), s, func() { s.m.Recovered(w.now, z) })
	case Restore:
		s.restore(o)
	case TakeSnapshot:
		st := s.state
		w.at(w.now+w.latency(), s, func() { s.m.SnapshotTaken(w.now, o.Conn, &simSnapshot{st}, nil) })
	case Report:
		w.logf(s, "%s %v", o.Text, o.Args)
	case Count, Observe:
	default:
		w.fail("nobody carries out %T", o)
	}
}

type simSnapshot struct{ simState }

func (s *simSnapshot) Zxid() Zxid                       { return s.zxid }
func (s *simSnapshot) WriteTo(io.Writer) (int64, error) { return 0, nil }
func (s *simSnapshot) Close() error                     { return nil }

// mail carries a notification, in order with those before it.
func (s *server) mail(o Notify) {
	w, to := s.w, s.w.all[o.To-1]
	if w.cut[[2]ServerID{s.id, to.id}] || w.cut[[2]ServerID{to.id, s.id}] {
		return
	}
	if !to.up {
		w.at(w.now+w.latency(), s, func() {
			if !to.up {
				s.m.Reach(w.now, to.id, Refused)
			}
		})
		return
	}
	at := max(w.now+w.latency(), s.lastMail[to.id]+1)
	s.lastMail[to.id] = at
	w.at(at, to, func() {
		to.m.Reach(w.now, s.id, Up)
		to.m.Notification(w.now, s.id, o.N)
	})
}

// dial tries to connect to a leader.
func (s *server) dial(to *server, attempt, try int) {
	w := s.w
	w.at(w.now+w.latency(), s, func() {
		if attempt != s.attempt {
			return
		}
		cut := w.cut[[2]ServerID{s.id, to.id}] || w.cut[[2]ServerID{to.id, s.id}]
		switch {
		case to.up && to.listening && !cut && to.wake <= w.now:
			s.connected(to)
		case try == 60 || cut && try == 5:
			s.m.ConnectFailed(w.now, to.id, "refused")
		default:
			w.at(w.now+25*Millisecond, s, func() { s.dial(to, attempt, try+1) })
		}
	})
}

func (s *server) connected(to *server) {
	w := s.w
	w.conns++
	c := w.conns
	out := &pipe{from: s, to: to, fromInc: s.inc, toInc: to.inc, toConn: c}
	in := &pipe{from: to, to: s, fromInc: to.inc, toInc: s.inc, toConn: c}
	out.back, in.back = in, out
	s.conns[c], to.conns[c] = out, in
	out.last = w.now + w.latency()
	w.at(out.last, to, func() { to.m.Accepted(w.now, c, fmt.Sprint(s.id)) })
	s.m.Connected(w.now, c)
}

func (s *server) send(c Conn, ks ...Packet) {
	p := s.conns[c]
	if p == nil {
		return
	}
	// Through the bytes, as on the wire.
	for i := range ks {
		var k Packet
		if err := decodePacket(ks[i].Append(nil), &k); err != nil {
			s.w.fail("%v does not decode: %v", ks[i].Type, err)
		}
		p.put(k.Type, func() { p.to.m.Packets(s.w.now, p.toConn, []Packet{k}) })
	}
}

// put makes fn happen at the other end, behind all before it.
func (p *pipe) put(what quorum.PacketType, fn func()) {
	if p.closed || p.broken {
		return
	}
	w := p.from.w
	p.last = max(w.now+w.latency(), p.last+1)
	w.at(p.last, p.to, func() { p.arrive(what, fn) })
}

func (p *pipe) arrive(what quorum.PacketType, fn func()) {
	if p.broken || p.to.inc != p.toInc {
		return
	}
	p.held = append(p.held, arrival{what, fn})
	if len(p.held) == 1 {
		p.drain()
	}
}

// drain lets out what has arrived, unless the reader is at a snapshot or the network is
// cut: then it stalls.
func (p *pipe) drain() {
	w := p.from.w
	for len(p.held) > 0 && !p.broken && !p.holding {
		if w.cut[[2]ServerID{p.from.id, p.to.id}] {
			w.at(w.now+20*Millisecond, p.to, p.drain)
			return
		}
		next := p.held[0]
		if t := w.hold[[2]ServerID{p.from.id, p.to.id}]; t != 0 && t == next.what {
			w.at(w.now+20*Millisecond, p.to, p.drain)
			return
		}
		next.fn()
		p.held = p.held[1:]
	}
}

// close is what the end that writes does: what is in the pipe still comes out, or not.
func (p *pipe) close() {
	if p.closed {
		return
	}
	p.closed = true
	p.back.broken = true // it doesn't listen any more
	if p.from.w.rng.IntN(2) == 0 {
		p.shut()
		return
	}
	w := p.from.w
	p.last = max(w.now+w.latency(), p.last+1)
	w.at(p.last, p.to, func() { p.arrive(0, p.end) })
}

// shut breaks the pipe now.
func (p *pipe) shut() {
	if p.broken {
		return
	}
	w := p.from.w
	w.at(w.now+w.latency(), p.to, func() {
		if p.to.inc == p.toInc && p.to.conns[p.toConn] != nil {
			p.broken = true
			p.end()
		}
	})
}

func (p *pipe) end() {
	s := p.to
	if s.conns[p.toConn] == nil {
		return
	}
	delete(s.conns, p.toConn)
	p.broken = true
	p.back.closed = true
	s.m.Closed(s.w.now, p.toConn, "closed")
}

// job gives the journal something: begin when its sync begins, done when that is over.
func (s *server) job(begin, done func()) {
	s.jobs = append(s.jobs, func() { begin() }, done)
	s.journal()
}

func (s *server) journal() {
	if s.syncing || len(s.jobs) == 0 || s.disk == DiskFull {
		return
	}
	s.syncing = true
	// Jobs that write are synced together; any other one stands alone, as in the driver.
	begin, done := s.jobs[0], s.jobs[1]
	s.jobs = s.jobs[2:]
	begin()
	w := s.w
	w.at(w.now+w.diskTime(), s, func() { s.finish(done) })
}

// finish ends what the journal is at, unless the disk is stuck.
func (s *server) finish(done func()) {
	if s.stuck {
		s.w.at(s.w.now+10*Millisecond, s, func() { s.finish(done) })
		return
	}
	s.log = append(s.log, s.pending...)
	s.pending = nil
	done()
	s.syncing = false
	s.journal()
}

// append writes txns. A log that is not empty takes only what may follow its last one.
func (s *server) append(txns []Txn) {
	log := s.log
	if len(s.pending) > 0 {
		log = s.pending
	}
	if n := len(log); n > 0 {
		last, next := log[n-1].Zxid, txns[0].Zxid
		a, b := s.w.place[last], s.w.place[next]
		if !follows(last, next) || a > 0 && b > 0 && b != a+1 {
			s.w.fail("server %d: %v is logged after %v", s.id, next, last)
		}
	}
	s.pending = append(s.pending, txns...)
}

func (s *server) truncate(z Zxid, base bool) {
	i := len(s.log)
	for i > 0 && s.log[i-1].Zxid > z {
		i--
	}
	if (i == 0 || s.log[i-1].Zxid != z) && !base {
		s.w.fail("server %d: truncate to %v, which is not in the log", s.id, z)
	}
	s.w.logf(s, "truncate to %v", z)
	s.log = s.log[:i:i]
}

// scan finds what the disk's log holds above a zxid.
func (s *server) scan(from Zxid) (runs []Run, below Zxid, ok bool) {
	prev := from
	for _, t := range s.log {
		if t.Zxid <= from {
			below = t.Zxid
			continue
		}
		if len(runs) > 0 && !follows(prev, t.Zxid) {
			return nil, 0, false
		}
		if n := len(runs); n > 0 && runs[n-1].Last+1 == t.Zxid {
			runs[n-1].Last = t.Zxid
		} else {
			runs = append(runs, Run{t.Zxid, t.Zxid})
		}
		prev = t.Zxid
	}
	return runs, below, true
}

// read reads the log above from, up to last: it must all be there, written if not synced.
func (s *server) read(from, last Zxid) []Txn {
	var txns []Txn
	at := from
	for _, t := range append(s.log[:len(s.log):len(s.log)], s.pending...) {
		if t.Zxid <= from || t.Zxid > last {
			continue
		}
		if a, b := s.w.place[at], s.w.place[t.Zxid]; !follows(at, t.Zxid) || b > 0 && (a > 0 || at == 0) && b != a+1 {
			s.w.fail("server %d: read from %v to %v: %v comes after %v", s.id, from, last, t.Zxid, at)
		}
		txns = append(txns, t)
		at = t.Zxid
	}
	if at != last {
		s.w.fail("server %d: read from %v to %v: it ends at %v", s.id, from, last, at)
	}
	return txns
}

func (s *server) sendHistory(c Conn, txns []Txn) {
	for _, t := range txns {
		s.send(c, Packet{Type: quorum.TypeProposal, Zxid: int64(t.Zxid), Data: t.Data}, Packet{Type: quorum.TypeCommit, Zxid: int64(t.Zxid)})
	}
}

func decodePacket(b []byte, k *Packet) error {
	d := jute.NewDecoder(b)
	k.Decode(&d)
	return d.Err()
}

func sum(t Txn) uint64 {
	h := fnv.New64a()
	h.Write(t.Data)
	return h.Sum64()
}

// deliver holds what a node gets against what others got.
func (s *server) deliver(txns []Txn) {
	w := s.w
	for _, t := range txns {
		if s.state.n == len(w.global) {
			if s.state.n > 0 && !follows(w.global[s.state.n-1].zxid, t.Zxid) {
				w.fail("server %d: %v is delivered after %v", s.id, t.Zxid, w.global[s.state.n-1].zxid)
				return
			}
			// The first to have it: it must be on the disks of a majority.
			copies := 0
			for _, o := range w.all {
				if !o.cfg.Observer && o.has(t) {
					copies++
				}
			}
			if copies <= len(s.cfg.Quorum.Voters())/2 {
				w.fail("server %d: %v is delivered with %d copies on disk", s.id, t.Zxid, copies)
			}
			id := binary.BigEndian.Uint64(t.Data)
			w.global = append(w.global, entry{t.Zxid, sum(t)})
			if a := w.asked[id]; a != nil {
				if a.gone {
					w.fail("server %d: %v is what server %d asked for, and was told that it never would come", s.id, t.Zxid, a.by.id)
				}
				a.place = len(w.global)
			}
			w.place[t.Zxid] = len(w.global)
			w.acked++
		} else if e := w.global[s.state.n]; e.zxid != t.Zxid || e.sum != sum(t) {
			w.fail("server %d: %v is delivered in place %d, where others have %v", s.id, t.Zxid, s.state.n, e.zxid)
			return
		}
		s.state.n++
		s.state.zxid = t.Zxid
		if len(s.asks) > 0 {
			id := binary.BigEndian.Uint64(t.Data)
			s.asks = slices.DeleteFunc(s.asks, func(a uint64) bool { return a == id })
		}
	}
}

// has says whether a txn would survive a power cut.
func (s *server) has(t Txn) bool {
	i, ok := slices.BinarySearchFunc(s.log, t.Zxid, func(a Txn, z Zxid) int {
		switch {
		case a.Zxid < z:
			return -1
		case a.Zxid > z:
			return 1
		}
		return 0
	})
	if ok {
		return sum(s.log[i]) == sum(t)
	}
	for _, st := range s.snaps {
		if n, ok := s.w.place[t.Zxid]; ok && st.n >= n {
			return true
		}
	}
	// A disk that was replaced since had it when it was acked.
	return slices.ContainsFunc(s.gone, func(g Txn) bool { return g.Zxid == t.Zxid && sum(g) == sum(t) })
}

// replace gives a server that is down an empty disk, or one whose data was set aside.
func (s *server) replace(as Standing) {
	w := s.w
	w.disks++
	w.logf(s, "its disk is replaced, standing %d", as)
	s.gone = append(s.gone, s.log...)
	s.log, s.snaps, s.current = nil, nil, 0
	s.standing = as
	if as == Blank {
		s.accepted = 0
		s.standing = Proven // nobody tells it
	}
}

// replaceable says whether a disk may go: no majority of the voters may be without
// what it had at a time.
func (w *world) replaceable(s *server) bool {
	without, voters := 0, 0
	for _, o := range w.all {
		if o.cfg.Observer {
			continue
		}
		voters++
		if o != s && (o.standing != Proven || o.current == 0) {
			without++
		}
	}
	if s.cfg.Observer {
		return true
	}
	return s.current > 0 && without+1 <= (voters-1)/2
}

// setDisk tells a server how full its disk is, as the driver does.
func (s *server) setDisk(d Disk) {
	if !s.up {
		return
	}
	s.w.logf(s, "disk: %d", d)
	s.disk = d
	s.m.Disk(s.w.now, d)
	s.work()
	s.journal()
}

func (s *server) setRole(r consensus.Role) {
	w := s.w
	w.logf(s, "role %v, leader %d, epoch %d", r.State, r.Leader, r.Epoch)
	if r.Term <= s.role.Term {
		w.fail("server %d: term %d comes after %d", s.id, r.Term, s.role.Term)
	}
	if s.role.Term != 0 && (s.role.State == consensus.Looking) == (r.State == consensus.Looking) {
		w.fail("server %d: %v comes after %v", s.id, r.State, s.role.State)
	}
	s.role = r
	s.syncs = map[consensus.SyncID]int{}
	if s.received = nil; r.State != consensus.Looking {
		// What was asked for earlier and has not come never will.
		for _, id := range s.asks {
			a := w.asked[id]
			if a.gone = true; a.place > s.state.n {
				w.fail("server %d: its role comes at %v before %v, which it had asked for", s.id, s.state.zxid, w.global[a.place-1].zxid)
			}
		}
		s.asks = nil
	}
	if r.State == consensus.Leading {
		if id, ok := w.leaders[r.Epoch]; ok {
			w.fail("servers %d and %d lead in epoch %d", id, s.id, r.Epoch)
		}
		w.leaders[r.Epoch] = s.id
		// What came before was delivered here; what others lead to later is not before.
		for _, e := range w.global[s.state.n:] {
			if e.zxid.Epoch() < r.Epoch {
				w.fail("server %d leads in epoch %d at %v without %v", s.id, r.Epoch, s.state.zxid, e.zxid)
			}
		}
		s.next = r.Last + 1
	}
}

// recover goes back to a snapshot.
func (s *server) recover(limit Zxid) {
	s.snaps = slices.DeleteFunc(s.snaps, func(st simState) bool { return st.zxid > limit })
	s.state = simState{}
	for _, st := range s.snaps {
		if st.zxid > s.state.zxid {
			s.state = st
		}
	}
}

func (s *server) restore(o Restore) {
	w := s.w
	p := s.conns[o.Conn]
	w.at(w.now+min(10*w.latency(), 1000*Millisecond), s, func() {
		if !o.Skip {
			s.state = simState{}
		}
		if p == nil || p.back.broken || w.faults && w.rng.IntN(10) == 0 {
			if p != nil && !o.Skip && w.rng.IntN(2) == 0 {
				s.snaps = append(s.snaps, p.back.state) // it breaks behind the last znode
			}
			s.m.Restored(w.now, errors.New("broken"))
			return
		}
		if !o.Skip {
			s.state = p.back.state
			s.snaps = append(s.snaps, s.state)
		}
		w.logf(s, "restored %v, skipped %v", s.state.zxid, o.Skip)
		s.m.Restored(w.now, nil)
		s.work()
		p.back.holding = false
		p.back.drain()
	})
}

// checkpoint takes a snapshot, and drops the log that it makes superfluous.
func (s *server) checkpoint() {
	s.checkpointKeeping(func() Zxid { return Zxid(s.w.rng.IntN(30)) })
}

// checkpointKeeping keeps about so many txns of the log below the snapshot.
func (s *server) checkpointKeeping(keep func() Zxid) {
	st := s.state
	s.snaps = append(s.snaps, st)
	s.m.Checkpoint(s.w.now, st.zxid)
	s.job(func() {}, func() {
		i := 0
		for i < len(s.log) && s.log[i].Zxid <= st.zxid-keep() && s.log[i].Zxid.Epoch() == st.zxid.Epoch() {
			i++
		}
		s.log = slices.Clone(s.log[i:])
	})
}

// load makes clients do something now and then.
func (w *world) load() {
	w.at(w.now+Time(1+w.rng.IntN(60))*Millisecond, nil, func() {
		s := w.all[w.rng.IntN(len(w.all))]
		if s.up && s.wake <= w.now {
			switch {
			case s.role.State == consensus.Leading && w.rng.IntN(4) > 0:
				s.propose(1 + w.rng.IntN(5))
			case s.role.State != consensus.Leading && s.role.State != consensus.Looking && w.rng.IntN(2) > 0:
				s.forward(1 + w.rng.IntN(5))
			case s.role.State != consensus.Looking:
				s.nextSync++
				s.syncs[s.nextSync] = len(w.global)
				s.m.Sync(w.now, s.role.Term, s.nextSync)
				s.work()
			}
			if w.rng.IntN(100) == 0 && s.state.n > 0 {
				s.checkpoint()
			}
		}
		w.load()
	})
}

// ask makes the id of a request of this server's.
func (s *server) ask() uint64 {
	w := s.w
	w.lastAsk++
	w.asked[w.lastAsk] = &ask{by: s}
	s.asks = append(s.asks, w.lastAsk)
	return w.lastAsk
}

// forward sends k requests to the leader.
func (s *server) forward(k int) {
	rs := make([]consensus.Request, k)
	for i := range rs {
		rs[i] = consensus.Request{Session: int64(s.ask()), Op: 1, Body: []byte{}}
	}
	s.m.Forward(s.w.now, s.role.Term, rs)
	s.work()
}

// propose makes txns of what the node was given, and k of its own.
func (s *server) propose(k int) {
	ids := s.received
	s.received = nil
	for range k {
		ids = append(ids, s.ask())
	}
	if len(ids) == 0 {
		return
	}
	txns := make([]Txn, len(ids))
	for i := range txns {
		b := binary.BigEndian.AppendUint64(nil, ids[i])
		b = binary.BigEndian.AppendUint32(b, 0)
		b = binary.BigEndian.AppendUint64(b, uint64(s.next))
		b = append(b, make([]byte, 12)...)
		txns[i] = Txn{Zxid: s.next, Data: b}
		s.next++
	}
	s.m.Propose(s.w.now, s.role.Term, txns)
	s.work()
}

// nemesis makes trouble now and then.
func (w *world) nemesis() {
	w.at(w.now+Time(50+w.rng.IntN(1500))*Millisecond, nil, func() {
		if !w.faults {
			return
		}
		victim := w.all[w.rng.IntN(len(w.all))]
		if w.rng.IntN(2) == 0 {
			for _, s := range w.all {
				if s.up && s.role.State == consensus.Leading {
					victim = s
				}
			}
		}
		switch w.rng.IntN(12) {
		case 8, 9: // a disk is lost
			if w.replaceable(victim) {
				if victim.up {
					victim.crash()
				}
				victim.replace(Blank + Standing(w.rng.IntN(2)))
				w.at(w.now+Time(w.rng.IntN(2000))*Millisecond, nil, victim.restart)
			}
		case 10: // a disk fills up, and has space again
			if victim.up && victim.wake <= w.now {
				victim.setDisk(DiskLow + Disk(w.rng.IntN(2)))
				w.at(w.now+Time(w.rng.IntN(4000))*Millisecond, nil, func() { victim.setDisk(DiskOK) })
			}
		case 11: // a tree goes wrong
			if victim.up && victim.wake <= w.now && victim.role.State != consensus.Looking {
				w.doubts++
				w.logf(victim, "distrusts its state")
				victim.m.Distrust(w.now, "test")
				victim.work()
			}
		case 0, 1:
			if victim.up {
				victim.crash()
				w.at(w.now+Time(w.rng.IntN(3000))*Millisecond, nil, victim.restart)
			}
		case 2: // all of them at once
			for _, s := range w.all {
				if s.up {
					s.crash()
					w.at(w.now+Time(w.rng.IntN(500))*Millisecond, nil, s.restart)
				}
			}
		case 3: // a connection breaks
			if conns := slices.Sorted(maps.Keys(victim.conns)); len(conns) > 0 {
				p := victim.conns[conns[w.rng.IntN(len(conns))]]
				p.shut()
				p.back.shut()
			}
		case 4: // asleep
			if victim.up {
				victim.wake = w.now + Time(w.rng.IntN(4000))*Millisecond
				w.logf(victim, "sleeps for %d ms", (victim.wake-w.now)/Millisecond)
			}
		case 5, 6: // nothing passes to or from some
			for _, s := range w.all {
				if s.id != victim.id && w.rng.IntN(3) > 0 {
					w.cut[[2]ServerID{victim.id, s.id}] = true
					if w.rng.IntN(4) > 0 {
						w.cut[[2]ServerID{s.id, victim.id}] = true
					}
				}
			}
			w.at(w.now+Time(w.rng.IntN(3000))*Millisecond, nil, func() { clear(w.cut) })
		case 7:
			clear(w.cut)
		}
		w.nemesis()
	})
}

func (s *server) restart() {
	if !s.up {
		s.start()
	}
}

// simulate runs a seed: trouble, then peace, in which all must come together.
func simulate(t *testing.T, seed uint64) *world {
	shapes := [][2]int{{1, 0}, {2, 0}, {3, 0}, {3, 0}, {3, 1}, {3, 0}, {5, 0}, {5, 1}}
	shape := shapes[seed%uint64(len(shapes))]
	w := newWorld(t, seed, shape[0], shape[1])
	for _, s := range w.all {
		w.at(w.now+Time(w.rng.IntN(300))*Millisecond, nil, s.restart)
	}
	w.faults = true
	w.load()
	w.nemesis()
	w.run(25000 * Millisecond)

	w.faults = false
	clear(w.cut)
	for _, s := range w.all {
		s.restart()
		s.setDisk(DiskOK)
	}
	w.run(15000 * Millisecond)
	before := w.acked
	for _, s := range w.all {
		if s.role.State == consensus.Leading {
			s.propose(1)
		}
	}
	w.run(1000 * Millisecond)
	if w.failed {
		return w
	}
	if w.acked == before {
		w.fail("nothing was committed in peace")
	}
	for _, s := range w.all {
		if s.role.State == consensus.Looking {
			w.fail("server %d is looking in peace: %s", s.id, s.m.Peer())
		} else if s.state.n < before {
			w.fail("server %d has %d of %d entries in peace", s.id, s.state.n, before)
		}
	}
	return w
}

var (
	seeds = flag.Int("seeds", 200, "how many seeds to simulate")
	seed  = flag.Uint64("seed", 0, "simulate this seed alone, and show its trace")
)

func TestSimulation(t *testing.T) {
	if *seed != 0 {
		w := simulate(t, *seed)
		t.Log("\n" + w.trace.String())
		return
	}
	var acked, syncs, snaps, truncs, crashes, disks, doubts int
	for i := range *seeds {
		w := simulate(t, uint64(i+1))
		acked, syncs, snaps, truncs, crashes = acked+w.acked, syncs+w.syncs, snaps+w.snaps, truncs+w.truncs, crashes+w.crashes
		disks, doubts = disks+w.disks, doubts+w.doubts
		if w.failed {
			trace := w.trace.String()
			t.Fatalf("go test -run TestSimulation -seed %d\n%s", w.seed, trace[max(0, len(trace)-6000):])
		}
	}
	t.Logf("%d seeds: %d txns, %d syncs, %d snapshots, %d truncations, %d crashes, %d disks replaced, %d doubts", *seeds, acked, syncs, snaps, truncs, crashes, disks, doubts)
	if snaps == 0 || truncs == 0 || syncs == 0 || crashes == 0 || disks == 0 || doubts == 0 {
		t.Error("the simulation does not reach what it is to test")
	}
}

// The same seed must make the same run, or a failure could not be looked at.
func TestSimulationRepeats(t *testing.T) {
	for s := uint64(3); s < 6; s++ {
		if a, b := simulate(t, s), simulate(t, s); a.hash != b.hash {
			t.Errorf("seed %d: two runs differ", s)
		}
	}
}
