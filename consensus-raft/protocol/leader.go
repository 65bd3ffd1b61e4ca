package protocol

import (
	"encoding/binary"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/plugins/consensus"
)

type progress = tracker.Progress

// A leader leads for one term. It connects to all the others.
type leader struct {
	m     *Member
	term  uint64
	since Time
	peers []*peer // of all members, by their ids
	// established: the node leads. By then everything of earlier terms is delivered, since
	// the first entry of this term is.
	established bool
	proposed    uint64 // the last entry

	// Rounds of heartbeats that a majority answered say that this is the leader still.
	issued, sure uint64
	index        uint64 // what was committed when the last sure round began
	wanted       bool   // somebody waits for the round after this one
	syncs        []pendingSync
	answers      []pendingAnswer
	nextTouch    Time

	// owed are the requests of learners that the node was given and has proposed no txn
	// for, oldest first; handed and settled count them since the beginning.
	owed            []owed
	handed, settled int64
	born            []birth
}

// A birth says when proposals up to an entry were made.
type birth struct {
	index uint64
	at    Time
}

// An owed request is known by what its txn will say of it.
type owed struct {
	session int64
	cxid    int32
}

// A pendingSync waits until an entry is committed and a round is sure.
type pendingSync struct {
	peer  *peer // nil: this server's own
	conn  Conn
	id    uint64
	index uint64
	round uint64
}

// A pendingAnswer to a REVALIDATE waits until all that the node was given before is proposed.
type pendingAnswer struct {
	peer    *peer
	conn    Conn
	session int64
	alive   bool
	since   Time
	fence   int64
}

// A peer is a member as the leader sees it.
type peer struct {
	id     ServerID
	voter  bool
	conn   Conn
	addr   string
	linked bool
	since  Time // the last connection began
	seen   Time // something came on it
	brief  int  // connections in a row that did not last
	here   bool // HERE came
	ready  bool // raft's messages pass
	worth  Standing

	// On its way to having all there is, for one that has no log to go on with: the round
	// that says that a majority follows without it, and the entry that the state must have.
	rescue   bool
	round    uint64
	needs    uint64
	taking   bool // a snapshot is being taken or sent
	sent     Point
	holds    uint64 // it was sent a state at this entry, or has come from there to it, and goes on with the log
	fence    int64
	joining  Time
	joined   bool
	acked    uint64
	acksFrom Time
}

func newLeader(m *Member, term uint64) *leader {
	l := &leader{m: m, term: term, since: m.now, nextTouch: m.now}
	for _, id := range m.cfg.Voters {
		if id != m.cfg.ID {
			l.peers = append(l.peers, &peer{id: id, voter: true})
		}
	}
	for _, id := range m.cfg.Observers {
		l.peers = append(l.peers, &peer{id: id})
	}
	for _, p := range l.peers {
		m.out(Dial{To: p.id})
	}
	m.sizes = Sizes{-1, -1, -1}
	m.log.hold = 0
	return l
}

func (l *leader) peer(id ServerID) *peer {
	for _, p := range l.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

func (l *leader) find(c Conn) *peer {
	for _, p := range l.peers {
		if p.linked && p.conn == c {
			return p
		}
	}
	return nil
}

// linked begins to talk on a new connection.
func (l *leader) link(id ServerID, c Conn, addr string) bool {
	p := l.peer(id)
	if p == nil {
		return false
	}
	if p.linked {
		l.m.out(Disconnect{p.conn, "there is another connection"})
		l.unlink(p)
	}
	p.linked, p.conn, p.addr, p.since, p.seen = true, c, addr, l.m.now, l.m.now
	l.m.out(Send{c, []Frame{{Kind: Lead, Version: Version, From: l.m.cfg.ID, Set: l.m.cfg.set(), Term: l.term}}})
	return true
}

// unlink forgets a connection.
func (l *leader) unlink(p *peer) {
	if p.ready && l.m.rn != nil {
		l.m.rn.ReportUnreachable(uint64(p.id))
	}
	if p.taking && l.m.rn != nil {
		l.m.rn.ReportSnapshot(uint64(p.id), raft.SnapshotFailure)
	}
	*p = peer{id: p.id, voter: p.voter, since: p.since, brief: p.brief}
}

// drop ends a connection, and makes another one.
func (l *leader) drop(p *peer, why string) {
	l.m.warn("connection to a learner ended", "server", p.id, "reason", why)
	l.m.out(Disconnect{p.conn, why})
	l.unlink(p)
	l.redial(p)
}

func (l *leader) closed(p *peer, why string) {
	if p.here {
		l.m.report("learner left", "server", p.id, "address", p.addr, "reason", why)
	}
	l.unlink(p)
	l.redial(p)
	if m := l.m; m.handing != 0 && p.id == m.heir {
		// It stands for election, and asks for this server's vote as soon as its own is on its disk; or it is
		// gone.
		m.handing = min(m.handing, m.now+m.cfg.Silence/4)
	}
}

// redial makes another connection. Who does not want this leader, for now, is not asked all
// the time.
func (l *leader) redial(p *peer) {
	wait := Time(0)
	if l.m.now-p.since < Second {
		p.brief = min(p.brief+1, 5)
		wait = 10 * Millisecond << p.brief
	} else {
		p.brief = 0
	}
	l.m.out(Dial{p.id, wait})
}

// frame takes in what a learner sent.
func (l *leader) frame(p *peer, f *Frame) {
	p.seen = l.m.now
	if !p.here {
		switch f.Kind {
		case Here:
			l.hereIs(p, f)
		case Newer:
			l.m.report("a server knows of a later term", "server", p.id, "term", f.Term)
			if l.m.cfg.voter(p.id) && f.Term > l.term {
				l.m.step(&pb.Message{Type: pb.MsgAppResp.Enum(), From: new(uint64(p.id)), To: new(uint64(l.m.cfg.ID)), Term: new(f.Term)})
				return
			}
			l.drop(p, "it says that there is another term")
		default:
			l.drop(p, "its first frame is "+f.Kind.String())
		}
		return
	}
	switch f.Kind {
	case Raft:
		if !p.ready {
			return
		}
		if why := l.m.fromLearner(p, f.Raft); why != "" {
			l.drop(p, why)
		}
		return
	case Installed:
		l.installed(p, f.At)
		return
	}
	if !p.joined {
		l.drop(p, f.Kind.String()+" comes before JOIN")
		return
	}
	if l.m.role.State != consensus.Leading {
		return // the leadership is being handed over: the node leads no more, and the next leader is asked again
	}
	switch f.Kind {
	case Requests:
		for i := range f.Requests {
			l.owed = append(l.owed, owed{f.Requests[i].Session, f.Requests[i].Cxid})
		}
		l.handed += int64(len(f.Requests))
		l.m.out(Receive{From: p.id, Requests: f.Requests})
	case Sync:
		l.sync(p, f.ID)
	case Reval:
		l.m.count("revalidate_count", 1)
		l.m.out(AskRevalidate{Conn: p.conn, From: p.id, Touch: consensus.Touch{Session: f.Session, TimeoutMS: f.Timeout}})
	case TouchList:
		l.m.out(Touch{From: p.id, Sessions: f.Touches})
	default:
		l.drop(p, f.Kind.String()+" is nothing that a learner sends")
	}
}

// hereIs takes in a learner's answer to LEAD.
func (l *leader) hereIs(p *peer, f *Frame) {
	switch {
	case f.Version != Version:
		l.drop(p, "its frames are of another version")
		return
	case f.From != p.id:
		l.drop(p, "it says that it is another server: the addresses in the configuration are wrong")
		return
	case f.Set != l.m.cfg.set():
		l.drop(p, "its configuration names other voters")
		return
	}
	p.here, p.worth = true, f.Worth
	p.fence, p.joining = l.handed, l.m.now // of an earlier connection of its nothing will be handed any more
	if f.Worth == Proven || f.Worth == Settling {
		l.open(p)
		return
	}
	p.rescue = true
	p.round = l.ask()
	l.m.report("a server has no log to go on with: it gets the whole state", "server", p.id, "standing", f.Worth.String())
}

// open lets raft's messages pass.
func (l *leader) open(p *peer) {
	p.ready = true
	if l.m.rn != nil {
		// It is probed now, and not with the next heartbeat.
		l.m.step(&pb.Message{Type: pb.MsgHeartbeatResp.Enum(), From: new(uint64(p.id)), To: new(uint64(l.m.cfg.ID)), Term: new(l.term)})
	}
}

// post sends a message of raft's to a member.
func (l *leader) post(to ServerID, k *pb.Message) {
	p := l.peer(to)
	if p == nil || !p.ready {
		return
	}
	if n := len(k.GetEntries()); n > 0 && p.acksFrom == 0 {
		p.acksFrom = l.m.now
	}
	l.m.out(Send{p.conn, []Frame{{Kind: Raft, Raft: k}}})
}

// snapshot is what raft wants for a learner that is too far behind for the log.
func (l *leader) snapshot(to ServerID) {
	p := l.peer(to)
	if p == nil || !p.ready || p.taking {
		if l.m.rn != nil && (p == nil || !p.taking) {
			l.m.rn.ReportSnapshot(uint64(to), raft.SnapshotFailure)
		}
		return
	}
	l.take(p)
}

func (l *leader) take(p *peer) {
	p.taking = true
	l.m.count("snap_count", 1)
	l.m.out(TakeSnapshot{p.conn})
}

// taken sends a state.
func (l *leader) taken(p *peer, s consensus.Snapshot) {
	at, ok := l.m.log.point(s.Zxid())
	for ok && at.Index < l.m.given && l.m.log.id(at.Index+1).Counter() == 0 {
		// An empty entry changes nothing: it is in the state too.
		at.Index++
		at.Term = l.m.log.term(at.Index)
	}
	if !ok || at.Index < p.needs {
		// The node is not where it was thought to be.
		l.m.out(DropSnapshot{s})
		l.drop(p, "the state can't be sent")
		return
	}
	p.sent, p.holds = at, at.Index
	l.hold()
	l.m.report("sending a snapshot to a learner", "server", p.id, "address", p.addr, "zxid", at.Zxid)
	l.m.out(SendSnapshot{To: p.conn, At: at, Snapshot: s})
}

// hold keeps the log for those that were sent a state, until they have caught up. Else one that takes
// longer for it than the leader's node for the next snapshot would get that too, and so on without end.
func (l *leader) hold() {
	if !slices.ContainsFunc(l.peers, func(p *peer) bool { return p.holds != 0 }) {
		l.m.log.hold = 0
		return
	}
	if l.m.rn == nil {
		return
	}
	hold := uint64(0)
	l.m.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr progress) {
		p := l.peer(ServerID(id))
		if p == nil || p.holds == 0 {
			return
		}
		if !p.taking {
			p.holds = max(p.holds, pr.Match)
			if p.holds+l.m.log.keep >= l.m.log.last {
				p.holds = 0
				return
			}
		}
		if hold == 0 || p.holds < hold {
			hold = p.holds
		}
	})
	l.m.log.hold = hold
}

// installed goes on when a state is on a learner's disk.
func (l *leader) installed(p *peer, at Point) {
	if !p.taking || at != p.sent || l.m.rn == nil {
		l.drop(p, "INSTALLED names a snapshot that was not sent")
		return
	}
	p.taking, p.rescue, p.sent = false, false, Point{}
	l.m.rn.ReportSnapshot(uint64(p.id), raft.SnapshotFinish)
	l.m.step(&pb.Message{Type: pb.MsgAppResp.Enum(), From: new(uint64(p.id)), To: new(uint64(l.m.cfg.ID)), Term: new(l.term), Index: new(at.Index)})
	l.open(p)
}

// ask begins a round of heartbeats, or waits for the one after that which is under way, or until
// this leads, and returns its number.
func (l *leader) ask() uint64 {
	l.wanted = true
	round := l.issued + 1
	l.issue()
	return round
}

// issue begins the round that is wanted, once it may. A round that raft is asked for before an entry of the
// term is committed it keeps, for later terms too, with leaders that count from one again.
func (l *leader) issue() {
	if !l.wanted || l.sure != l.issued || !l.established {
		return
	}
	l.issued++
	l.wanted = false
	if l.m.rn != nil {
		ctx := binary.BigEndian.AppendUint64(nil, l.term)
		l.m.rn.ReadIndex(binary.BigEndian.AppendUint64(ctx, l.issued))
	}
}

// confirmed is the end of a round.
func (l *leader) confirmed(s raft.ReadState) {
	if ctx := s.RequestCtx; len(ctx) == 16 && binary.BigEndian.Uint64(ctx) == l.term {
		l.sure = max(l.sure, binary.BigEndian.Uint64(ctx[8:]))
		l.index = max(l.index, s.Index)
		l.issue()
	}
}

// sync is answered when all that is proposed now is committed, and when a round that
// begins now says that this is still the leader.
func (l *leader) sync(p *peer, id uint64) {
	s := pendingSync{peer: p, id: id, index: l.m.log.last, round: l.ask()}
	if p != nil {
		s.conn = p.conn
	}
	if simbug.On("sync-unconfirmed") {
		s.round = 0 // raft says that this is the leader
	}
	l.syncs = append(l.syncs, s)
}

func (l *leader) revalidated(c Conn, session int64, alive bool) {
	if p := l.find(c); p != nil && p.joined {
		l.answers = append(l.answers, pendingAnswer{p, c, session, alive, l.m.now, l.handed})
	}
}

// propose orders txns.
func (l *leader) propose(txns []Txn) {
	m := l.m
	for len(txns) > 0 {
		n, size := 0, 0
		for n < len(txns) && (n == 0 || size < 1<<20) {
			size += len(txns[n].Data)
			n++
		}
		k := &pb.Message{Type: pb.MsgProp.Enum(), From: new(uint64(m.cfg.ID))}
		for _, t := range txns[:n] {
			k.Entries = append(k.Entries, &pb.Entry{Data: t.Data})
		}
		if first := txns[0].Zxid; first != l.next() {
			m.resign("a proposal does not go on where the last one ended")
			return
		}
		if err := m.step(k); err != nil {
			m.resign("a proposal was refused: " + err.Error())
			return
		}
		l.proposed += uint64(n)
		for _, t := range txns[:n] {
			b := int64(len(t.Data))
			if m.sizes.Last < 0 {
				m.sizes.Min, m.sizes.Max = b, b
			}
			m.sizes = Sizes{b, min(m.sizes.Min, b), max(m.sizes.Max, b)}
		}
		l.settle(txns[:n])
		l.born = append(l.born, birth{l.proposed, m.now})
		m.count("proposal_count", int64(n))
		txns = txns[n:]
	}
}

// next is the zxid that the next proposal must have.
func (l *leader) next() Zxid {
	start := l.start()
	return consensus.MakeZxid(int64(l.term), uint32(l.proposed-start+1))
}

// start is the term's first entry; 0 if it is not in the log yet.
func (l *leader) start() uint64 {
	if s := l.m.log.starts; len(s) > 0 && s[len(s)-1].Term == l.term {
		return s[len(s)-1].Index
	}
	return 0
}

// settle takes off the list what the node has made txns of. It does so in the order in
// which it was given them.
func (l *leader) settle(txns []Txn) {
	n := 0
	for i := 0; i < len(txns) && n < len(l.owed); i++ {
		if d := txns[i].Data; len(d) >= 12 && (owed{int64(binary.BigEndian.Uint64(d)), int32(binary.BigEndian.Uint32(d[8:]))}) == l.owed[n] {
			n++
		}
	}
	l.settled += int64(n)
	if l.owed = l.owed[n:]; len(l.owed) == 0 {
		l.owed = nil
	}
}

// behind says whether the first fence requests that the node was given are proposed. A
// node makes a txn of each, however slow it is.
func (l *leader) behind(fence int64) bool { return l.settled >= fence }

// stuck says that somebody has waited for long for the node to propose what it was given.
// To let him go on would be to do twice what comes yet; the next leader begins anew.
func (l *leader) stuck() bool {
	long := func(since Time) bool { return l.m.now-since > l.m.cfg.Tick*Time(l.m.cfg.InitLimit) }
	for _, p := range l.peers {
		if p.ready && !p.joined && !l.behind(p.fence) && long(p.joining) {
			return true
		}
	}
	return len(l.answers) > 0 && !l.behind(l.answers[0].fence) && long(l.answers[0].since)
}

// committed measures how long commits took.
func (l *leader) committed(index uint64) {
	n := 0
	for n < len(l.born) && l.born[n].index <= index {
		n++
	}
	if n > 0 {
		l.m.observe("quorum_ack_latency", "", float64(l.m.now-l.born[0].at)/float64(Millisecond))
		l.born = append(l.born[:0], l.born[n:]...)
	}
}

// flush does what the inputs since the last one made possible.
func (l *leader) flush() {
	m := l.m
	if start := l.start(); !l.established && start != 0 && (m.given >= start || simbug.On("leads-before-delivered")) && m.handing == 0 && !m.leaving {
		l.established = true
		l.proposed = m.log.last
		m.since = m.now
		m.setRole(consensus.Role{State: consensus.Leading, Leader: m.cfg.ID, Epoch: int64(l.term), Last: consensus.MakeZxid(int64(l.term), 0)})
		m.report("leading", "epoch", l.term, "zxid", m.log.zxid(start), "ms", int64((m.now-l.since)/Millisecond))
		l.issue()
	}
	var own []consensus.SyncID
	n := 0
	for ; n < len(l.syncs); n++ {
		s := l.syncs[n]
		if s.round > l.sure || s.index > m.given {
			break
		}
		switch {
		case s.peer == nil:
			own = append(own, consensus.SyncID(s.id))
		case s.peer.linked && s.peer.conn == s.conn:
			m.out(Send{s.conn, []Frame{{Kind: SyncDone, ID: s.id, Index: s.index}}})
		}
	}
	l.syncs = l.syncs[n:]
	if own != nil {
		m.out(Synced{own})
	}
	n = 0
	for ; n < len(l.answers); n++ {
		a := &l.answers[n]
		if !l.behind(a.fence) {
			break
		}
		if a.peer.linked && a.peer.conn == a.conn {
			m.out(Send{a.conn, []Frame{{Kind: RevalDone, Session: a.session, Valid: a.alive, Index: m.log.last}}})
		}
	}
	l.answers = l.answers[n:]
	for _, p := range l.peers {
		l.see(p)
	}
	l.hold()
}

// see goes on with a learner that joins.
func (l *leader) see(p *peer) {
	m := l.m
	if p.rescue && !p.taking && l.established && p.round <= l.sure && m.rn != nil {
		// What it had acknowledged in this term, on a disk that is gone, it must have again
		// before it is asked anything.
		p.needs = l.index
		m.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr progress) {
			if id == uint64(p.id) {
				p.needs = max(p.needs, pr.Match)
			}
		})
		if m.given >= p.needs {
			l.take(p)
		}
	}
	if p.ready && !p.joined && l.established && m.handing == 0 && (l.behind(p.fence) || simbug.On("joins-before-its-requests")) { // else it sends them again
		p.joined = true
		m.out(Send{p.conn, []Frame{{Kind: Join, Index: m.log.last}}})
		m.report("learner joined", "server", p.id, "address", p.addr, "observer", !p.voter, "ms", int64((m.now-p.joining)/Millisecond))
	}
}

// beat is called with each heartbeat.
func (l *leader) beat() {
	if l.established && l.m.handing == 0 && l.stuck() {
		l.m.resign("the node does not propose what it was given")
		return
	}
	for _, p := range l.peers {
		switch silent := l.m.now - p.seen; {
		case !p.linked:
		case (!p.here || p.ready) && silent > l.m.cfg.Tick*Time(l.m.cfg.InitLimit):
			// A machine that lost its power has ended no connection. When it is back only what is sent on the old
			// one shows that, if that is sent soon, and nobody else tells the server who leads.
			l.drop(p, "nothing came from it in initLimit ticks")
		case !p.ready:
			l.m.out(Send{p.conn, []Frame{{Kind: Alive}}}) // raft says nothing to it yet
		}
	}
}

func (l *leader) view() []consensus.Learner {
	var ls []consensus.Learner
	match := map[ServerID]uint64{}
	if l.m.rn != nil {
		l.m.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr progress) { match[ServerID(id)] = pr.Match })
	}
	for _, p := range l.peers {
		if p.here {
			at := min(max(match[p.id], l.m.log.base.Index), l.m.log.last)
			ls = append(ls, consensus.Learner{ID: p.id, Addr: p.addr, Observer: !p.voter, Voter: p.voter, Synced: p.joined, Acked: l.m.log.zxid(at)})
		}
	}
	return ls
}
