package protocol

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A stage is how far a leader has come.
type stage uint8

const (
	discovering  stage = iota // waits for a quorum, to find an epoch that nobody has seen
	savingEpoch               // acceptedEpoch is being written
	proposing                 // LEADERINFO is out; waits for a quorum of ACKEPOCH
	savingLeader              // currentEpoch is being written
	syncing                   // waits for a quorum of NEWLEADER's acks
	broadcasting
)

func (s stage) String() string {
	switch s {
	case discovering, savingEpoch, proposing, savingLeader:
		return "leading - discovery"
	case syncing:
		return "leading - synchronization"
	}
	return "leading - broadcast"
}

// A leader leads for one epoch.
type leader struct {
	m     *Member
	stage stage
	epoch int64
	known int64 // currentEpoch when it was elected
	// votes is false for one without data that has not heard from all: it takes a quorum without it.
	votes bool
	since Time
	// deadline is when this stage must be over.
	deadline Time

	peers []*peer // in the order in which they came
	byID  map[ServerID]*peer

	// Who took part in finding the epoch, and in agreeing to it.
	met, agreed map[ServerID]bool
	// elsewhere are voters that were heard to look for another leader.
	elsewhere map[ServerID]bool
	saving    uint64 // the epoch file that is being written

	proposed  Zxid // the last zxid that was given out
	followers []Conn
	observers []Conn
	syncs     []pendingSync
	answers   []pendingAnswer
	round     int64 // of pings
	confirmed int64 // the last round that a quorum answered
	wanted    bool  // a sync waits for the round after this one
	nextPing  Time
	half      bool // the next ping is in the middle of a tick
	born      []birth
	// owed are the requests of learners that the node was given and has proposed no txn
	// for, oldest first; given and settled count them since the beginning.
	owed           []owed
	given, settled int64
	leadsSince     Time
	sizes          Sizes
	resign         string // why it must not go on
}

// Sizes are those of a leader's proposals.
type Sizes struct{ Last, Min, Max int64 }

// A birth says when proposals up to zxid were made.
type birth struct {
	zxid Zxid
	at   Time
}

// An owed request is known by what its txn will say of it.
type owed struct {
	session int64
	cxid    int32
}

// A pendingSync waits until zxid is committed and the round of pings confirmed.
type pendingSync struct {
	conn  Conn // whose it is; 0 for the leader's own node
	id    consensus.SyncID
	zxid  Zxid
	round int64
}

// A pendingAnswer to a REVALIDATE waits until all that was given to the node before is
// proposed, which is up to zxid then, and until that is committed: what the session's
// client asked for on its earlier connection comes to the learner before the answer.
type pendingAnswer struct {
	conn  Conn
	data  []byte
	since Time
	fence int64
	ready bool
	zxid  Zxid
}

// A peer is a learner as the leader sees it.
type peer struct {
	conn     Conn
	addr     string
	id       ServerID
	known    bool // its FOLLOWERINFO is here
	observer bool // it said OBSERVERINFO
	voter    bool

	told     bool // LEADERINFO is out
	agreed   bool // its ACKEPOCH is here
	at       Zxid // the last txn in its log
	looking  bool // a Scan or a Snapshot for it is under way
	scan     uint64
	offered  bool  // NEWLEADER is out, and all proposals after it
	accepted bool  // NEWLEADER's ack is here
	joined   Time  // since when
	fence    int64 // so many requests had been given to the node when it said hello
	passed   bool  // all of these are proposed
	after    Zxid  // an observer: what was proposed then
	active   bool  // UPTODATE is out
	how      string

	heard   Time // its last packet, or the last that could be sent of a long stream
	began   Time // of the synchronisation
	acked   Zxid
	rounds  []int64 // of the pings that it has not answered
	round   int64   // the last one that it answered
	owes    Zxid    // it owes the ack of this proposal
	owesFor Time    // since then
}

func newLeader(m *Member) *leader {
	l := &leader{m: m, byID: map[ServerID]*peer{}, met: map[ServerID]bool{}, agreed: map[ServerID]bool{}, elsewhere: map[ServerID]bool{},
		epoch: max(m.accepted, m.seen) + 1, known: m.current, votes: m.standing != Blank || m.election.entitled, since: m.now, sizes: Sizes{-1, -1, -1}}
	l.enter(discovering)
	m.out(Listen{})
	l.meet(m.cfg.ID)
	return l
}

func (l *leader) enter(s stage) {
	l.stage = s
	l.deadline = l.m.now + l.m.cfg.initTimeout()
}

// meet counts a voter that the epoch must be new to.
func (l *leader) meet(id ServerID) {
	l.met[id] = true
	delete(l.elsewhere, id)
	if l.stage == discovering && l.m.cfg.Quorum.Has(func(id ServerID) bool { return l.met[id] }) {
		l.enter(savingEpoch)
		l.saving = l.m.saveAccepted(l.epoch)
	}
}

// saved goes on when an epoch file is written.
func (l *leader) saved(id uint64) {
	if id != l.saving {
		return
	}
	switch l.stage {
	case savingEpoch:
		l.enter(proposing)
		for _, p := range l.peers {
			l.tellEpoch(p)
		}
		if l.votes {
			l.agree(l.m.cfg.ID)
		}
	case savingLeader:
		l.enter(syncing)
		for _, p := range slices.Clone(l.peers) {
			l.sync(p)
		}
		l.establish()
	}
}

// agree counts a voter that will follow no leader of an earlier epoch.
func (l *leader) agree(id ServerID) {
	l.agreed[id] = true
	if l.stage == proposing && l.m.cfg.Quorum.Has(func(id ServerID) bool { return l.agreed[id] }) {
		l.enter(savingLeader)
		l.saving = l.m.saveCurrent(l.epoch)
	}
}

// establish begins the broadcast when a quorum has this leader's history.
func (l *leader) establish() {
	if l.stage != syncing {
		return
	}
	has := func(id ServerID) bool {
		p := l.byID[id]
		if simbug.On("lead-before-acks") && p != nil && p.voter && p.offered {
			return true // it was sent all of the history
		}
		return id == l.m.cfg.ID && l.votes || p != nil && p.voter && p.accepted
	}
	if !l.m.cfg.Quorum.Has(has) {
		return
	}
	l.stage = broadcasting
	l.proposed = consensus.MakeZxid(l.epoch, 0)
	l.leadsSince = l.m.now
	l.nextPing = l.m.now + l.m.cfg.Tick/2
	l.confirmed = l.round // the pings so far were for nobody to answer: no sync waits for them
	h := l.m.hist
	h.committed = h.last
	h.deliver(h.last, l.m.out)
	l.m.election.Established(l.epoch)
	l.m.setRole(consensus.Role{State: consensus.Leading, Leader: l.m.cfg.ID, Epoch: l.epoch, Last: l.proposed})
	var with []ServerID
	for _, id := range l.m.cfg.Quorum.Voters() {
		if has(id) {
			with = append(with, id)
		}
	}
	l.m.report("leading", "epoch", l.epoch, "with", with, "zxid", h.last, "ms", int64((l.m.now-l.since)/Millisecond))
	for _, p := range slices.Clone(l.peers) {
		if p.accepted {
			l.activate(p)
		} else {
			l.sync(p) // if it had to wait for this
		}
	}
}

// accept takes in a connection.
func (l *leader) accept(c Conn, addr string) {
	l.peers = append(l.peers, &peer{conn: c, addr: addr, heard: l.m.now})
}

func (l *leader) find(c Conn) *peer {
	for _, p := range l.peers {
		if p.conn == c {
			return p
		}
	}
	return nil
}

// drop closes a learner's connection.
func (l *leader) drop(p *peer, why string) {
	l.m.out(Disconnect{Conn: p.conn, Why: why})
	l.gone(p, why)
}

// gone forgets a learner, and all that it had acked.
func (l *leader) gone(p *peer, why string) {
	l.peers = slices.DeleteFunc(l.peers, func(q *peer) bool { return q == p })
	if l.byID[p.id] == p {
		delete(l.byID, p.id)
	}
	if p.offered {
		l.listConns()
	}
	l.syncs = slices.DeleteFunc(l.syncs, func(s pendingSync) bool { return s.conn == p.conn })
	l.answers = slices.DeleteFunc(l.answers, func(a pendingAnswer) bool { return a.conn == p.conn })
	switch {
	case p.known:
		l.m.report("learner left", "server", p.id, "address", p.addr, "reason", why)
	default:
		l.m.warn("connection to the quorum port refused", "address", p.addr, "reason", why)
	}
}

// listConns notes who gets proposals and who is informed.
func (l *leader) listConns() {
	l.followers, l.observers = nil, nil
	for _, p := range l.peers {
		switch {
		case !p.offered:
		case p.observer:
			l.observers = append(l.observers, p.conn)
		default:
			l.followers = append(l.followers, p.conn)
		}
	}
}

// packet takes in what a learner sent.
func (l *leader) packet(p *peer, k *Packet) {
	p.heard = l.m.now
	if !p.known {
		l.hello(p, k)
		return
	}
	switch k.Type {
	case quorum.TypeAckEpoch:
		l.ackEpoch(p, k)
	case quorum.TypeAck:
		l.ack(p, Zxid(k.Zxid))
	case quorum.TypePing:
		l.pong(p, k)
	case quorum.TypeRequest:
		l.request(p, k)
	case quorum.TypeRevalidate:
		l.revalidate(p, k)
	case quorum.TypeFollowerInfo, quorum.TypeObserverInfo:
		l.drop(p, k.Type.String()+" sent twice")
	default:
		l.m.warn("packet of an unknown type passed over", "server", p.id, "type", k.Type.String())
	}
}

// hello takes in a learner's first packet.
func (l *leader) hello(p *peer, k *Packet) {
	if k.Type != quorum.TypeFollowerInfo && k.Type != quorum.TypeObserverInfo {
		l.drop(p, "the first packet is "+k.Type.String())
		return
	}
	info, ok := quorum.DecodeLearnerInfo(k.Data)
	id := ServerID(info.ServerID)
	switch {
	case !ok:
		l.drop(p, "it does not say which server it is")
		return
	case id == l.m.cfg.ID:
		l.drop(p, "it says that it is this server")
		return
	case !l.m.cfg.Quorum.Known(id):
		l.drop(p, "server "+strconv.FormatInt(info.ServerID, 10)+" is not in the membership")
		return
	case info.ProtocolVersion < quorum.ProtocolVersion:
		l.drop(p, "its protocol is older than that of ZooKeeper 3.4")
		return
	case info.ConfigVersion > l.m.cfg.Version:
		l.drop(p, "its membership is newer than this server's")
		return
	}
	if old := l.byID[id]; old != nil {
		l.drop(old, "it connected anew")
	}
	p.known, p.id, p.observer = true, id, k.Type == quorum.TypeObserverInfo
	p.fence = l.given // of an earlier connection of its, nothing will be given any more
	p.voter = !p.observer && l.m.cfg.Quorum.Voter(id)
	l.byID[id] = p
	accepted := Zxid(k.Zxid).Epoch()
	l.m.seen = max(l.m.seen, accepted)
	if p.voter && accepted > l.epoch && l.stage > discovering {
		// It can't follow any leader of an epoch that is older than the one it accepted: a
		// new epoch must be found, with it.
		l.resign = fmt.Sprintf("server %d has accepted epoch %d, which is newer than this leader's epoch %d", id, accepted, l.epoch)
		return
	}
	if l.stage == discovering {
		// All count for the number of the epoch, but only voters for the quorum.
		l.epoch = max(l.epoch, accepted+1)
		if p.voter {
			l.meet(id)
		}
		return
	}
	l.tellEpoch(p)
}

func (l *leader) tellEpoch(p *peer) {
	if !p.known || p.told || l.stage < proposing {
		return
	}
	p.told = true
	l.send(p, Packet{Type: quorum.TypeLeaderInfo, Zxid: int64(consensus.MakeZxid(l.epoch, 0)),
		Data: quorum.AppendInt(nil, quorum.ProtocolVersion)})
}

func (l *leader) send(p *peer, k ...Packet) { l.m.out(Send{To: []Conn{p.conn}, Packets: k}) }

// ackEpoch takes in a learner's consent, and where it stands.
func (l *leader) ackEpoch(p *peer, k *Packet) {
	current, err := quorum.DecodeInt(k.Data)
	if !p.told || p.agreed || err != nil {
		l.drop(p, "ACKEPOCH is malformed or comes out of order")
		return
	}
	p.agreed, p.at = true, Zxid(k.Zxid)
	if l.stage < broadcasting && current != -1 && p.at != -1 {
		// Also when a quorum has agreed: one that agreed and then lost its disk may have acknowledged more with
		// this one since, to the leader before. Until a quorum has this leader's history, nobody cuts off his.
		if int64(current) > l.known || int64(current) == l.known && p.at > l.m.hist.last {
			l.drop(p, "it knows more than this leader")
			if p.voter {
				// It can't follow, and as long as this server leads, those who are told so come
				// back to it: the next election finds the better one.
				l.resign = fmt.Sprintf("server %d knows more than this leader", p.id)
			}
			return
		}
		if p.voter {
			l.agree(p.id)
		}
	}
	l.sync(p)
}

// sync decides how a learner gets this leader's history.
func (l *leader) sync(p *peer) {
	if l.stage < syncing || !p.agreed || p.offered || p.looking {
		return
	}
	if p.at < 0 && l.stage < broadcasting {
		return // it is about to lose what it has: not before that is known to be elsewhere
	}
	p.began = l.m.now
	h := l.m.hist
	c := l.history()
	fresh := p.at.Counter() == 0 // a leader of Apache's that proposed nothing, or nothing at all
	switch {
	case l.m.cfg.ForceSnapshot || p.at < 0:
		l.snapshot(p)
	case p.at == c:
		l.diff(p, c, p.at)
	case p.at > c:
		if fresh || c == 0 {
			l.snapshot(p)
			return
		}
		l.trunc(p, c)
	case p.at >= h.lo:
		prev, next := p.at, Zxid(0)
		txns := h.between(h.lo, c)
		i := h.index(p.at)
		if i < len(txns) {
			next = txns[i].Zxid
		}
		if !fresh && p.at != h.lo && (i == 0 || h.window[i-1].Zxid != p.at) {
			prev = h.lo
			if i > 0 {
				prev = h.window[i-1].Zxid
			}
		}
		l.decide(p, prev, next)
	default:
		p.looking = true
		p.scan = l.m.scan(p.at, true)
	}
}

// history is the last txn that learners get before NEWLEADER.
func (l *leader) history() Zxid {
	if l.stage == broadcasting {
		return l.m.hist.committed
	}
	return l.m.hist.last
}

// scanned goes on when the log was looked through for a learner's last txn.
func (l *leader) scanned(id uint64, runs []Run, below Zxid, ok bool) bool {
	i := slices.IndexFunc(l.peers, func(p *peer) bool { return p.looking && p.scan == id })
	if i < 0 {
		return false
	}
	p := l.peers[i]
	p.looking = false
	if !ok || len(runs) == 0 {
		l.snapshot(p)
		return true
	}
	prev, next := p.at, runs[0].First
	switch {
	case below == p.at && below != 0:
	case p.at == 0:
		// Whether something came before the first txn of the log nobody knows, but for a
		// server that began with nothing itself.
		ok = l.m.hist.base == 0 && next == l.m.hist.runs[0].First
	case below == 0:
		ok = next == p.at+1
	case p.at.Counter() != 0:
		prev = below
	}
	if !ok {
		l.snapshot(p)
		return true
	}
	l.decide(p, prev, next)
	return true
}

// decide sends what follows prev, the last txn at or below the learner's that is in the
// log; next is the one after it.
func (l *leader) decide(p *peer, prev, next Zxid) {
	switch {
	case prev == p.at:
		l.diff(p, l.history(), prev)
	case prev == 0 || next == 0:
		l.snapshot(p)
	case next.Epoch() == p.at.Epoch():
		l.trunc(p, prev)
	case l.stage != broadcasting && l.m.hist.delivered < l.m.hist.last && prev.Epoch() == p.at.Epoch():
		// Apache sends a snapshot here. Ours would be old, since what the log holds
		// beyond it is not delivered yet, and the learner may be needed to get there.
		l.trunc(p, prev)
	default:
		l.snapshot(p)
	}
}

// diff sends the history above from to a learner that has it up to there.
func (l *leader) diff(p *peer, zxid, from Zxid) {
	if !l.admit(p, "DIFF") {
		return
	}
	l.send(p, Packet{Type: quorum.TypeDiff, Zxid: int64(zxid)})
	l.offer(p, from)
}

// trunc makes a learner forget what it has above z, and sends what follows.
func (l *leader) trunc(p *peer, z Zxid) {
	if !l.admit(p, "TRUNC") {
		return
	}
	l.send(p, Packet{Type: quorum.TypeTrunc, Zxid: int64(z)})
	l.offer(p, z)
}

// snapshot asks for the node's state, to send it.
func (l *leader) snapshot(p *peer) {
	if !l.admit(p, "SNAP") {
		return
	}
	p.looking = true
	l.m.out(TakeSnapshot{Conn: p.conn})
}

// admit counts a synchronisation. Of observers no more than so many at a time are let in.
func (l *leader) admit(p *peer, how string) bool {
	p.how = how
	snap, n := how == "SNAP", 0
	for _, q := range l.peers {
		if q.how != "" && !q.accepted && (q.how == "SNAP") == snap {
			n++
		}
	}
	counter, gauge, limit := "diff_count", "inflight_diff_count", l.m.cfg.MaxDiffs
	if snap {
		counter, gauge, limit = "snap_count", "inflight_snap_count", l.m.cfg.MaxSnapshots
	}
	if p.observer && n > limit {
		l.drop(p, "too many learners are being synchronised")
		return false
	}
	l.m.count(counter, 1)
	l.m.observe(gauge, "", float64(n))
	return true
}

// snapshotTaken sends a state and what was committed after it.
func (l *leader) snapshotTaken(p *peer, s consensus.Snapshot) {
	p.looking = false
	z := s.Zxid()
	l.m.out(SendSnapshot{To: p.conn, Zxid: z, Snapshot: s})
	l.offer(p, z)
}

// offer sends a learner the history above from, NEWLEADER, and what is proposed and not
// committed. From here on it gets everything.
func (l *leader) offer(p *peer, from Zxid) {
	h, c := l.m.hist, l.history()
	if from < c {
		if from < h.lo {
			to := min(c, h.lo)
			l.m.out(SendLog{To: p.conn, From: from, Last: to})
			from = to
		}
		if from < c {
			txns := h.between(from, c)
			if simbug.On("diff-skips-one") {
				txns = txns[1:] // off by one: the learner has the first already
			}
			l.m.out(SendHistory{To: p.conn, Txns: txns})
		}
	}
	p.offered = true
	l.listConns()
	l.send(p, Packet{Type: quorum.TypeNewLeader, Zxid: int64(consensus.MakeZxid(l.epoch, 0)), Data: l.m.cfg.Text})
	if c < h.last && !p.observer {
		l.m.out(SendTxns{To: []Conn{p.conn}, Type: quorum.TypeProposal, Txns: h.between(c, h.last)})
		p.owes, p.owesFor = h.last, l.m.now
	}
	l.m.report("synchronising a learner", "server", p.id, "address", p.addr, "observer", p.observer,
		"how", p.how, "from", p.at, "to", c)
}

// ack takes in a learner's ack.
func (l *leader) ack(p *peer, z Zxid) {
	switch {
	case z.Counter() == 0:
		if z == consensus.MakeZxid(l.epoch, 0) && p.offered && !p.accepted {
			l.accepted(p)
		}
	case p.observer || z > l.proposed || z.Epoch() != l.epoch:
		// An observer has no say; of what this leader did not propose there is none.
	default:
		p.acked = max(p.acked, z)
		if p.owes != 0 && p.acked >= p.owes {
			l.m.observe("ack_latency", strconv.FormatInt(int64(p.id), 10), float64(l.m.now-p.owesFor)/float64(Millisecond))
			if p.owes = 0; p.acked < l.proposed {
				p.owes, p.owesFor = l.proposed, l.m.now
			}
		}
	}
}

// accepted goes on when a learner has all of the history and the epoch on disk.
func (l *leader) accepted(p *peer) {
	p.accepted, p.joined = true, l.m.now
	if p.owes != 0 {
		p.owesFor = l.m.now
	}
	name := "follower_sync_time"
	if p.observer {
		name = "observer_sync_time"
	}
	l.m.observe(name, "", float64(l.m.now-p.began)/float64(Millisecond))
	if l.stage == broadcasting {
		l.activate(p)
	} else {
		l.establish()
	}
}

// activate lets a learner serve, when all that it forwarded on an earlier connection, to
// this same leader, is on its way to it: what it has not heard of by then never was
// proposed, and it sends that again. An observer hears of what is committed only.
func (l *leader) activate(p *peer) {
	if !p.passed {
		if !l.behind(p.fence) && !simbug.On("joins-before-its-requests") { // else it sends them again
			return
		}
		p.passed, p.after = true, l.proposed
	}
	if p.observer && p.after.Counter() != 0 && l.m.hist.committed < p.after {
		return
	}
	p.active = true
	l.send(p, Packet{Type: quorum.TypeUpToDate, Zxid: -1})
	l.m.report("learner joined", "server", p.id, "address", p.addr, "observer", p.observer,
		"how", p.how, "ms", int64((l.m.now-p.began)/Millisecond))
}

// propose orders txns, whose zxids follow the last one.
func (l *leader) propose(txns []Txn) {
	h := l.m.hist
	h.append(txns)
	l.proposed = h.last
	l.m.out(SendTxns{To: l.followers, Type: quorum.TypeProposal, Txns: txns})
	l.m.out(Append{Gen: h.gen, Txns: txns})
	for i := range txns {
		n := int64(len(txns[i].Data))
		if l.sizes.Last < 0 {
			l.sizes.Min, l.sizes.Max = n, n
		}
		l.sizes = Sizes{n, min(l.sizes.Min, n), max(l.sizes.Max, n)}
	}
	for _, p := range l.peers {
		if p.offered && !p.observer && p.owes == 0 {
			p.owes, p.owesFor = l.proposed, l.m.now
		}
	}
	l.settle(txns)
	l.born = append(l.born, birth{l.proposed, l.m.now})
	l.m.count("proposal_count", int64(len(txns)))
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

// behind says whether the first fence requests that were given to the node are proposed.
// A node makes a txn of each, however slow it is.
func (l *leader) behind(fence int64) bool { return l.settled >= fence }

// stuck says that somebody has waited for long for the node to propose what it was given.
// To let him go on would be to do twice what comes yet; the next leader begins anew.
func (l *leader) stuck() bool {
	long := func(since Time) bool { return l.m.now-since > l.m.cfg.initTimeout() }
	for _, p := range l.peers {
		if p.accepted && !p.passed && !l.behind(p.fence) && long(p.joined) {
			return true
		}
	}
	return len(l.answers) > 0 && !l.answers[0].ready && !l.behind(l.answers[0].fence) && long(l.answers[0].since)
}

// flush does what the inputs since the last one made possible.
func (l *leader) flush() {
	if l.stage != broadcasting {
		return
	}
	q, h, self := &l.m.cfg.Quorum, l.m.hist, l.m.cfg.ID
	if h.committed < h.last {
		v := Zxid(q.Highest(int64(max(h.committed, consensus.MakeZxid(l.epoch, 0))), func(id ServerID) (int64, bool) {
			if id == self {
				if simbug.On("leader-counts-unsynced") {
					return int64(h.last), true // its own part needs no disk
				}
				return int64(h.durable), true
			}
			p := l.byID[id]
			if p == nil || !p.voter || !p.accepted {
				return 0, false
			}
			return int64(p.acked), true
		}))
		if v > h.committed && v.Counter() != 0 {
			l.commit(v)
		}
	}
	if l.confirmed < l.round {
		l.confirmed = q.Highest(l.confirmed, func(id ServerID) (int64, bool) {
			if id == self {
				return l.round, true
			}
			p := l.byID[id]
			if p == nil || !p.voter {
				return 0, false
			}
			return p.round, true
		})
	}
	if l.wanted && l.confirmed == l.round {
		l.ping(true)
	}
	l.answer()
	for _, p := range l.peers {
		if p.accepted && !p.active {
			l.activate(p)
		}
	}
}

// commit commits everything up to z.
func (l *leader) commit(z Zxid) {
	h := l.m.hist
	l.checkCommitted(z)
	txns := h.between(h.committed, z)
	h.committed = z
	if len(l.followers) > 0 {
		l.m.out(SendCommits{To: l.followers, Txns: txns})
	}
	if len(l.observers) > 0 {
		l.m.out(SendTxns{To: l.observers, Type: quorum.TypeInform, Txns: txns})
	}
	h.deliver(z, l.m.out)
	l.m.count("commit_count", int64(len(txns)))
	n := 0
	for n < len(l.born) && l.born[n].zxid <= z {
		n++
	}
	if n > 0 {
		l.m.observe("quorum_ack_latency", "", float64(l.m.now-l.born[0].at)/float64(Millisecond))
		l.born = append(l.born[:0], l.born[n:]...)
	}
}

// answer answers what waited for commits and pings.
func (l *leader) answer() {
	h := l.m.hist
	done := func(z Zxid) bool { return z <= h.committed || z.Counter() == 0 }
	var own []consensus.SyncID
	n := 0
	for ; n < len(l.syncs); n++ {
		s := l.syncs[n]
		if !done(s.zxid) || s.round > l.confirmed {
			break
		}
		if s.conn == 0 {
			own = append(own, s.id)
		} else {
			l.m.out(Send{To: []Conn{s.conn}, Packets: []Packet{{Type: quorum.TypeSync}}})
		}
	}
	l.syncs = l.syncs[n:]
	if own != nil {
		l.m.out(Synced{own})
	}
	n = 0
	for ; n < len(l.answers); n++ {
		a := &l.answers[n]
		if !a.ready && l.behind(a.fence) {
			a.ready, a.zxid = true, l.proposed
		}
		if !a.ready || !done(a.zxid) {
			break
		}
		l.m.out(Send{To: []Conn{a.conn}, Packets: []Packet{{Type: quorum.TypeRevalidate, Zxid: -1, Data: a.data}}})
	}
	l.answers = l.answers[n:]
}

// sync of a client: it is answered when all that is proposed now is committed, and when
// a round of pings that begins now says that this is still the leader.
func (l *leader) syncRequest(c Conn, id consensus.SyncID) {
	s := pendingSync{conn: c, id: id, zxid: l.proposed}
	if simbug.On("sync-unconfirmed") {
		l.syncs = append(l.syncs, s) // who leads knows best
		return
	}
	if l.confirmed == l.round {
		l.ping(true)
		s.round = l.round
	} else {
		// One round at a time: all that come during it share the next one.
		l.wanted = true
		s.round = l.round + 1
	}
	l.syncs = append(l.syncs, s)
}

// ping begins a round of pings. An extra round goes to the voters only.
func (l *leader) ping(extra bool) {
	l.round++
	l.wanted = false
	var to []Conn
	for _, p := range l.peers {
		if !p.offered || extra && !(p.voter && p.active) {
			continue
		}
		to = append(to, p.conn)
		if p.active {
			// Before UPTODATE a learner does not answer.
			p.rounds = append(p.rounds, l.round)
		}
	}
	if to != nil {
		l.m.out(Send{To: to, Packets: []Packet{{Type: quorum.TypePing, Zxid: int64(l.proposed)}}})
	}
}

// pong takes in the answer to the oldest ping.
func (l *leader) pong(p *peer, k *Packet) {
	if len(p.rounds) > 0 {
		p.round = p.rounds[0]
		p.rounds = p.rounds[1:]
	}
	if len(k.Data) == 0 || l.stage != broadcasting {
		return
	}
	ts, err := quorum.DecodeTouches(k.Data)
	if err != nil {
		l.drop(p, "its answer to a ping is malformed")
		return
	}
	touches := make([]consensus.Touch, len(ts))
	for i, t := range ts {
		touches[i] = consensus.Touch{Session: t.SessionID, TimeoutMS: t.TimeoutMS}
	}
	l.m.out(Touch{From: p.id, Sessions: touches})
}

const opSync = 9

// request takes in a client's request that a learner forwards.
func (l *leader) request(p *peer, k *Packet) {
	if !p.active {
		l.drop(p, "REQUEST comes before UPTODATE")
		return
	}
	r, err := quorum.DecodeRequest(k.Data)
	if err != nil {
		l.drop(p, "its REQUEST is malformed")
		return
	}
	if r.Op == opSync {
		l.syncRequest(p.conn, 0)
		return
	}
	req := consensus.Request{Session: r.SessionID, Cxid: r.Cxid, Op: r.Op, Body: r.Body}
	for _, a := range k.AuthInfo {
		req.Auth = append(req.Auth, consensus.Identity{Scheme: a.Scheme, ID: a.ID})
	}
	l.owed = append(l.owed, owed{req.Session, req.Cxid})
	l.given++
	l.m.out(Receive{From: p.id, Requests: []consensus.Request{req}})
}

// revalidate takes in the question whether a session is alive.
func (l *leader) revalidate(p *peer, k *Packet) {
	r, err := quorum.DecodeRevalidate(k.Data)
	if err != nil || !p.active {
		l.drop(p, "its REVALIDATE is malformed or comes before UPTODATE")
		return
	}
	l.m.count("revalidate_count", 1)
	l.m.out(AskRevalidate{Conn: p.conn, From: p.id, Touch: consensus.Touch{Session: r.SessionID, TimeoutMS: r.TimeoutMS}})
}

// revalidated answers it, after all that is proposed by now.
func (l *leader) revalidated(c Conn, session int64, alive bool) {
	if p := l.find(c); p != nil && p.active {
		data := quorum.Revalidated{SessionID: session, Valid: alive}.Append(nil)
		l.answers = append(l.answers, pendingAnswer{conn: c, data: data, since: l.m.now, fence: l.given})
	}
}

// tick tells the time. A reason that comes back ends the leadership.
func (l *leader) tick() string {
	m := l.m
	for _, p := range slices.Clone(l.peers) {
		limit := m.cfg.initTimeout()
		if p.accepted {
			limit = m.cfg.syncTimeout()
		}
		switch {
		case m.now-p.heard > limit:
			l.drop(p, "nothing was heard from it in time")
		case p.accepted && p.owes != 0 && m.now-p.owesFor > m.cfg.syncTimeout():
			l.drop(p, "it did not ack a proposal in time")
		}
	}
	if l.stage != broadcasting {
		if m.now > l.deadline {
			return "no quorum in time: " + l.stage.String()
		}
		if m.cfg.GiveUp >= 0 && m.now-l.since > m.cfg.GiveUp && !m.cfg.Quorum.Has(l.mayFollow) {
			m.count("quit_leading_due_to_disloyal_voter", 1)
			return "a quorum is gone, or looks for another leader"
		}
		// Learners that wait for the others must not think that they are alone.
		if l.stage == syncing && m.now >= l.nextPing {
			l.nextPing = m.now + m.cfg.Tick/2
			l.ping(false)
		}
		return ""
	}
	if l.stuck() {
		return "the node does not propose what it was given"
	}
	if m.now < l.nextPing {
		return ""
	}
	l.nextPing = max(l.nextPing+m.cfg.Tick/2, m.now)
	l.ping(false)
	if l.half = !l.half; l.half {
		return ""
	}
	alive := func(id ServerID) bool {
		p := l.byID[id]
		return id == m.cfg.ID || p != nil && p.voter && p.accepted
	}
	if !m.cfg.Quorum.Has(alive) {
		return "lost the quorum"
	}
	return ""
}

// dispensable says whether the others can go on without this leader, and lose nothing
// by it.
func (l *leader) dispensable() bool {
	if l.stage != broadcasting {
		return false
	}
	return l.m.cfg.Quorum.Has(func(id ServerID) bool {
		p := l.byID[id]
		return id != l.m.cfg.ID && p != nil && p.voter && p.active
	})
}

// mayFollow says whether a voter is here or may still come.
func (l *leader) mayFollow(id ServerID) bool {
	return id == l.m.cfg.ID || l.byID[id] != nil || !l.elsewhere[id] && l.m.election.reach[id] != Refused
}

// next is when tick has something to do.
func (l *leader) next() Time {
	if l.stage >= syncing {
		return l.nextPing
	}
	next := min(l.deadline, l.m.now+l.m.cfg.Tick/2)
	if giveUp := l.since + l.m.cfg.GiveUp + Millisecond; l.m.now < giveUp && l.m.cfg.GiveUp >= 0 {
		next = min(next, giveUp)
	}
	return next
}

// quit ends the leadership.
func (l *leader) quit(why string) {
	l.m.out(StopListening{})
	for _, p := range l.peers {
		l.m.out(Disconnect{Conn: p.conn, Why: why})
	}
}
