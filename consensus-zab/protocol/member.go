package protocol

import (
	"fmt"
	"math"

	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A Start is what a member found on its disk.
type Start struct {
	Base              Zxid  // the state that the node recovered
	Runs              []Run // what the log holds above it
	Accepted, Current int64 // the epoch files
	// Committed is a zxid up to which txns are known to be committed; 0 if none is.
	Committed Zxid
	// Standing is what this server's silence about its history is worth.
	Standing Standing
}

// A Standing says whether a server may help to make a quorum. What a quorum had
// acked must be on a server of every later one, and a server that lost its disk
// can't tell what it had acked.
type Standing uint8

// The standings. All but Proven last until the server has a leader's history and the
// epoch of it on disk.
const (
	// Proven is a server that has all that it ever acked.
	Proven Standing = iota
	// Blank is a server without any data: it may be new, or have a new disk. It takes part
	// in an election when it has heard from every voter, each of which had a vote to give,
	// and then only for what is the best of them all. Else it waits for a leader that a
	// quorum follows without it, and takes a snapshot.
	Blank
	// Lost is a server that knows that its data is lost: it only joins such a leader.
	Lost
)

// A Member moves between looking, leading and following. It is for one goroutine.
type Member struct {
	cfg     *Config
	outs    []Output
	now     Time
	lastRun Time // when the last input came

	election *Election
	hist     *History
	leader   *leader
	learner  *learner

	accepted, current int64 // epochs on disk, or on their way there
	acceptedID        uint64
	savingCurrent     map[uint64]bool
	acceptedDurable   bool  // accepted is on disk
	seen              int64 // the highest epoch that any server has accepted, as far as it said so
	failures          int   // to find or to be a leader, since the last time that it succeeded
	lookAt            Time  // when to look again
	// void says that the log does not lead to any state: it takes a leader's snapshot to
	// go on. Until then this server votes for nobody.
	void     bool
	standing Standing
	// entitled is set for a Blank server that was part of the election of the leader that
	// it follows, or is.
	entitled bool
	bid      Zxid // what the leader said that it has, in the election
	told     Time // when the operator was told last why this server waits
	// doubted is set when the node said that its state is not right, and why it did if the
	// machines were busy then.
	doubted bool
	doubt   string

	disk   Disk
	handed bool // this server gave up leading since its disk is nearly full
	stand  Time // before that it takes no part in an election

	known Zxid // to be committed, when this server started

	term uint64
	role consensus.Role

	ids     uint64
	scanned map[uint64]func(runs []Run, below Zxid, ok bool)
	// busy is set while the node's state and the log are made to fit each other. An
	// election waits for that.
	busy      bool
	waiting   bool // to look
	recovered func(Zxid)
	restored  func(error)
	looking   Time // since when
}

// New makes a member. Its Begin is the first input.
func New(cfg *Config, s Start) *Member {
	m := &Member{cfg: cfg, accepted: s.Accepted, acceptedDurable: true, current: s.Current, void: s.Standing == Lost, standing: s.Standing, known: s.Committed,
		savingCurrent: map[uint64]bool{},
		hist:          newHistory(s.Base, s.Runs), scanned: map[uint64]func([]Run, Zxid, bool){}}
	m.election = newElection(cfg, m.out)
	return m
}

func (m *Member) out(o Output) { m.outs = append(m.outs, o) }

// Outputs are the things to do since the last call, in order.
func (m *Member) Outputs() []Output {
	o := m.outs
	m.outs = nil
	return o
}

func (m *Member) report(text string, args ...any) { m.out(Report{Text: text, Args: args}) }
func (m *Member) warn(text string, args ...any)   { m.out(Report{Warn: true, Text: text, Args: args}) }
func (m *Member) count(name string, n int64)      { m.out(Count{name, n}) }
func (m *Member) observe(name, key string, v float64) {
	m.out(Observe{Name: name, Key: key, Value: v})
}

func (m *Member) setRole(r consensus.Role) {
	m.checkRole(r)
	m.term++
	r.Term = m.term
	m.role = r
	if r.State != consensus.Looking {
		m.failures = 0
	}
	m.out(SetRole{r})
}

func (m *Member) saveAccepted(epoch int64) uint64 {
	m.ids++
	m.acceptedID, m.acceptedDurable = m.ids, false
	if !simbug.On("vote-twice") { // else it is on the disk, and nobody here remembers
		m.accepted = epoch
	}
	m.out(SaveAccepted{ID: m.ids, Epoch: epoch})
	return m.ids
}

func (m *Member) saveCurrent(epoch int64) uint64 {
	m.ids++
	m.current = epoch
	m.savingCurrent[m.ids] = true
	m.out(SaveCurrent{ID: m.ids, Epoch: epoch})
	return m.ids
}

func (m *Member) scan(from Zxid, limited bool) uint64 {
	m.ids++
	m.out(Scan{ID: m.ids, From: from, Limited: limited})
	return m.ids
}

// lastZxid is the last txn of this server's history, -1 if that counts for nothing.
func (m *Member) lastZxid() Zxid {
	if m.void || m.standing == Lost || m.standing == Blank && !m.entitled {
		return -1
	}
	return m.hist.last
}

// Begin starts the member.
func (m *Member) Begin(now Time) {
	m.now, m.lastRun = now, now
	m.setRole(consensus.Role{})
	if m.standing == Proven {
		m.hist.resume(m.known, m.out)
	}
	if simbug.On("deliver-log-at-start") {
		m.hist.deliver(m.hist.last, m.out) // what is in the log was proposed by a leader
	}
	m.look("")
}

// at notes the time of an input. A leader that was not running may have a successor by
// now: it stands down before it says anything.
func (m *Member) at(now Time) {
	m.now = now
	pause := now - m.lastRun
	m.lastRun = now
	if m.leader != nil && pause > m.cfg.pauseLimit() {
		m.look(fmt.Sprintf("this server was not running for %d ms: there may be another leader", pause/Millisecond))
	}
}

// look ends what this server was and begins an election.
func (m *Member) look(why string) {
	if why != "" {
		m.warn("looking for a leader", "was", m.Peer(), "reason", why)
	}
	if l := m.leader; l != nil {
		l.quit(why)
	}
	if l := m.learner; l != nil {
		l.append() // it was received: it may count
		l.quit(why)
	}
	m.leader, m.learner = nil, nil
	if m.role.State != consensus.Looking {
		m.setRole(consensus.Role{Epoch: m.role.Epoch})
	}
	m.count("looking_count", 1)
	// The first tries come at once: they are what a failover waits for.
	m.lookAt = max(m.now, m.stand)
	if m.failures++; m.failures > 5 {
		m.lookAt += min(Time(m.failures)*10*Millisecond, 500*Millisecond)
	}
	m.waiting = true
	m.tryElect()
}

// tryElect begins an election unless it is not yet time.
func (m *Member) tryElect() {
	if m.waiting && !m.busy && m.now >= m.lookAt && m.disk != DiskFull {
		m.elect()
	}
}

func (m *Member) elect() {
	m.waiting = false
	m.looking = m.now
	m.entitled = false
	m.told = m.now
	m.hist.checkVote()
	m.report("looking", "zxid", m.lastZxid(), "epoch", m.current, "round", m.election.clock+1)
	if m.standing == Blank && !m.void && !m.cfg.Observer {
		m.election.StartBlank(m.now)
		return
	}
	m.election.Start(m.now, m.lastZxid(), m.current)
}

// complain tells the operator what a server without a vote waits for.
func (m *Member) complain() {
	const every = 10000 * Millisecond
	if m.cfg.Observer || m.now-m.told < every || m.lastZxid() != -1 {
		return
	}
	m.told = m.now
	switch {
	case m.doubted:
		m.warn("this server waits for a leader that a quorum follows without it, to get its state anew")
	case m.standing == Blank && !m.void:
		m.warn("this server has no data, and waits for a leader, or until every voter is there: one that is not may have what was written",
			"missing", m.election.Missing(), "help", "start the missing servers; or, if this ensemble never held data, put an empty file named initialize into dataLogDir and restart")
	default:
		m.warn("this server has lost its data, and waits for a leader that a quorum follows without it",
			"help", "start the other servers; if their data is lost too, see docs/operations.md, Damage")
	}
}

// ready ends being busy.
func (m *Member) ready() {
	m.busy = false
	if why := m.doubt; why != "" {
		m.doubt = ""
		m.distrust(why)
	}
	m.tryElect()
}

// elected goes on when the election is over.
func (m *Member) elected() {
	v, state := m.election.Result()
	leader := ServerID(v.Leader)
	took := (m.now - m.looking) / Millisecond
	m.observe("election_time", "", float64(m.now-m.looking)/float64(Millisecond))
	m.entitled, m.bid = m.election.Entitled(), Zxid(v.Zxid)
	m.report("elected", "leader", leader, "zxid", Zxid(v.Zxid), "epoch", v.PeerEpoch, "round", v.ElectionEpoch, "ms", int64(took))
	if state == quorum.Leading {
		m.leader = newLeader(m)
	} else {
		m.learner = newLearner(m, leader)
	}
}

// Tick tells the time. It is to come at Next, and twice a tick at least.
func (m *Member) Tick(now Time) {
	m.at(now)
	switch {
	case m.leader != nil:
		if why := m.leader.tick(); why != "" {
			m.look(why)
		} else {
			m.handOver()
		}
	case m.learner != nil:
		if why := m.learner.tick(); why != "" {
			m.look(why)
		}
	case m.waiting:
		m.tryElect()
	case m.election.Tick(now):
		m.elected()
	default:
		m.complain()
		m.fallBack()
	}
	m.flush()
}

// Next is when Tick has something to do.
func (m *Member) Next() Time {
	switch {
	case m.leader != nil:
		return m.leader.next()
	case m.learner != nil:
		return m.learner.next()
	case m.waiting && (m.busy || m.disk == DiskFull):
		return m.now + m.cfg.Tick/2
	case m.waiting:
		return max(m.lookAt, m.now)
	}
	return m.election.Next()
}

// Notification takes in what another server says on the election port.
func (m *Member) Notification(now Time, from ServerID, n Notification) {
	m.at(now)
	if from == m.cfg.ID || !m.cfg.Quorum.Known(from) {
		return
	}
	if m.waiting {
		return
	}
	if m.election.Receive(now, from, n) {
		m.elected()
	} else if m.cfg.Quorum.Voter(from) {
		m.disloyal(from, n)
	}
	m.flush()
}

// disloyal gives up early what can't succeed: following a server that doesn't lead, and
// leading without a quorum while voters look for somebody else.
func (m *Member) disloyal(from ServerID, n Notification) {
	switch l, f := m.leader, m.learner; {
	case l != nil && l.stage < broadcasting:
		if n.State == quorum.Looking && n.Leader != int64(m.cfg.ID) && l.byID[from] == nil {
			l.elsewhere[from] = true
		}
	case f != nil && f.step == dialing && from == f.leader && n.State != quorum.Leading && n.Leader != int64(f.leader):
		m.look(fmt.Sprintf("server %d, which was to lead, doesn't", from))
	}
}

// Reach takes in what is known of the way to another server's election port.
func (m *Member) Reach(now Time, id ServerID, r Reach) {
	m.at(now)
	if m.election.SetReach(now, id, r) && !m.waiting {
		m.elected()
	}
	if f := m.learner; f != nil && f.step == dialing && f.leader == id && r == Refused {
		m.look("the leader is gone")
	}
	m.flush()
}

// Accepted takes in a connection to the quorum port.
func (m *Member) Accepted(now Time, c Conn, addr string) {
	m.at(now)
	if m.leader == nil {
		m.out(Disconnect{Conn: c, Why: "not leading"})
		return
	}
	m.leader.accept(c, addr)
}

// Connected says that the Connect under way has succeeded.
func (m *Member) Connected(now Time, c Conn) {
	m.at(now)
	if m.learner == nil || m.learner.step != dialing {
		m.out(Disconnect{Conn: c, Why: "no longer wanted"})
		return
	}
	m.learner.connected(c)
}

// ConnectFailed says that the Connect under way has not.
func (m *Member) ConnectFailed(now Time, leader ServerID, why string) {
	m.at(now)
	if m.learner != nil && m.learner.step == dialing && m.learner.leader == leader {
		m.look("no connection to the leader: " + why)
	}
	m.flush()
}

// Packets takes in what came on a connection. The packets' Data becomes the member's.
func (m *Member) Packets(now Time, c Conn, ks []Packet) {
	m.at(now)
	if l := m.leader; l != nil {
		for i := range ks {
			p := l.find(c)
			if p == nil {
				return
			}
			if l.packet(p, &ks[i]); l.resign != "" {
				m.look(l.resign)
				return
			}
		}
		return
	}
	if f := m.learner; f != nil && f.step != dialing && f.conn == c {
		if why := f.packets(ks); why != "" {
			m.look(why)
		}
	}
}

// Sent says that a stream that takes long is getting through to a learner.
func (m *Member) Sent(now Time, c Conn) {
	m.at(now)
	if m.leader != nil {
		if p := m.leader.find(c); p != nil && !p.accepted {
			p.heard = now
		}
	}
}

// Closed says that a connection is gone.
func (m *Member) Closed(now Time, c Conn, why string) {
	m.at(now)
	if l := m.leader; l != nil {
		if p := l.find(c); p != nil {
			l.gone(p, why)
		}
	}
	if f := m.learner; f != nil && f.step != dialing && f.conn == c {
		if why := f.closed(why); why != "" {
			m.look(why)
		}
	}
	m.flush()
}

// Logged says that the txns appended under gen, up to z, are on disk.
func (m *Member) Logged(now Time, gen uint64, z Zxid) {
	m.at(now)
	if gen == m.hist.gen {
		m.hist.durable = max(m.hist.durable, min(z, m.hist.last))
	}
	if m.learner != nil {
		m.learner.ackLogged()
	}
}

// Saved says that an epoch file, and all that was given to the log before, is on disk.
func (m *Member) Saved(now Time, id uint64) {
	m.at(now)
	if id == m.acceptedID {
		m.acceptedDurable = true
	}
	if m.savingCurrent[id] {
		delete(m.savingCurrent, id)
		m.prove()
	}
	if m.leader != nil {
		m.leader.saved(id)
	}
	if m.learner != nil {
		m.learner.saved(id)
	}
	m.flush()
}

// prove is told that the history of a leader, and its epoch, are on disk: this server has
// a vote from now on.
func (m *Member) prove() {
	if m.standing == Proven {
		return
	}
	m.standing = Proven
	if m.leader == nil && m.learner == nil && !m.waiting {
		m.waiting = true
		m.tryElect()
	}
}

// Scanned answers a Scan: the parts of the log above From; the last txn in it that is not
// above From, 0 if there is none; and whether it could be read, within the limit if there
// was one.
func (m *Member) Scanned(now Time, id uint64, runs []Run, below Zxid, ok bool) {
	m.at(now)
	if fn := m.scanned[id]; fn != nil {
		delete(m.scanned, id)
		fn(runs, below, ok)
	} else if m.leader != nil {
		m.leader.scanned(id, runs, below, ok)
	}
	m.flush()
}

// recover makes the node go back to a snapshot at or below z, finds out what the log
// holds above it, and calls then.
func (m *Member) recover(z Zxid, then func()) {
	m.busy = true
	m.out(Recover{Max: z})
	m.recovered = func(base Zxid) {
		m.scanned[m.scan(base, false)] = func(runs []Run, below Zxid, ok bool) {
			switch {
			case !ok:
				runs = nil
				m.void = true
			case len(runs) == 0 && below != base:
				// A leader's snapshot that came through but for its last bytes: the log does
				// not lead up to it.
				m.out(ResetLog{base})
			}
			gen := m.hist.gen + 1
			m.hist = newHistory(base, runs)
			m.hist.gen = gen
			m.ready()
			then()
		}
	}
}

// Recovered answers a Recover.
func (m *Member) Recovered(now Time, base Zxid) {
	m.at(now)
	if fn := m.recovered; fn != nil {
		m.recovered = nil
		fn(base)
	}
	m.flush()
}

// restore makes the node's state that of a snapshot that comes on the connection.
func (m *Member) restore(c Conn, z Zxid) {
	m.busy = true
	// A snapshot below the one that is on this server's disk can come from a leader that
	// was just started itself. What this server has is better, and may be needed.
	sure := !m.void && (m.standing == Proven || m.entitled)
	skip := sure && z < m.hist.base
	m.out(Restore{Conn: c, Zxid: z, Skip: skip})
	f := m.learner
	m.restored = func(err error) {
		switch {
		case err != nil && skip:
			m.ready()
			m.notRestored(f)
		case err != nil:
			m.warn("the leader's snapshot did not come through", "zxid", z, "error", err)
			// The state is empty: the one before comes back from the disk.
			m.recover(math.MaxInt64, func() {})
			m.notRestored(f)
		case skip:
			m.ready()
			m.goOn(f, z, true)
		case z < m.hist.base:
			// The snapshots above it are not the ensemble's.
			m.out(Recover{Max: z})
			m.recovered = func(Zxid) { m.adopt(f, z, false) }
		default:
			m.adopt(f, z, sure && z < m.hist.last && m.hist.contains(z))
		}
	}
}

func (m *Member) notRestored(f *learner) {
	if m.learner == f && f != nil {
		m.look("the leader's snapshot did not come through")
	}
}

// adopt makes the history fit a state that was restored at z. kept says that the log
// goes through z and stays.
func (m *Member) adopt(f *learner, z Zxid, kept bool) {
	if h := m.hist; kept {
		h.delivered, h.committed = z, z
	} else {
		gen := h.gen + 1
		m.hist = newHistory(z, nil)
		m.hist.gen = gen
		m.void, m.doubted = false, false
		m.out(ResetLog{z})
	}
	m.ready()
	m.goOn(f, z, kept)
}

// goOn lets the learner go on after a snapshot, if it is still the same one.
func (m *Member) goOn(f *learner, z Zxid, kept bool) {
	if m.learner != f || f == nil {
		return
	}
	f.restored(z, kept)
	if why := f.resume(); why != "" {
		m.look(why)
	}
}

// Restored answers a Restore.
func (m *Member) Restored(now Time, err error) {
	m.at(now)
	if fn := m.restored; fn != nil {
		m.restored = nil
		fn(err)
	}
	m.flush()
}

// SnapshotTaken answers a TakeSnapshot.
func (m *Member) SnapshotTaken(now Time, c Conn, s consensus.Snapshot, err error) {
	m.at(now)
	var p *peer
	if m.leader != nil {
		p = m.leader.find(c)
	}
	switch {
	case p != nil && err != nil:
		m.leader.drop(p, "no snapshot could be taken: "+err.Error())
	case p != nil:
		m.leader.snapshotTaken(p, s)
	case err == nil:
		m.out(DropSnapshot{s})
	}
}

// RevalidateDone answers an AskRevalidate.
func (m *Member) RevalidateDone(now Time, c Conn, session int64, alive bool) {
	m.at(now)
	if m.leader != nil {
		m.leader.revalidated(c, session, alive)
	}
}

// Propose orders txns. term is that of the call; a call of another one is dropped: its
// Role has told the node so.
func (m *Member) Propose(now Time, term uint64, txns []Txn) {
	m.at(now)
	if m.leader != nil && m.leader.stage == broadcasting && term == m.term {
		m.leader.propose(txns)
	}
}

// Resign ends the leadership of that term.
func (m *Member) Resign(now Time, term uint64, why string) {
	m.at(now)
	if m.leader != nil && m.leader.stage == broadcasting && term == m.term {
		m.look(why)
	}
}

// Forward sends requests to the leader.
func (m *Member) Forward(now Time, term uint64, rs []consensus.Request) {
	m.at(now)
	if m.learner != nil && m.learner.step == serving && term == m.term {
		m.learner.forward(rs)
	}
}

// Sync asks for a Synced.
func (m *Member) Sync(now Time, term uint64, id consensus.SyncID) {
	m.at(now)
	switch {
	case term != m.term:
	case m.leader != nil && m.leader.stage == broadcasting:
		m.leader.syncRequest(0, id)
	case m.learner != nil && m.learner.step == serving:
		m.learner.sync(id)
	}
}

// Revalidate asks the leader about a session.
func (m *Member) Revalidate(now Time, term uint64, t consensus.Touch) {
	m.at(now)
	if m.learner != nil && m.learner.step == serving && term == m.term {
		m.learner.revalidate(t)
	}
}

// Distrust says that the node's state is not what the txns should have made of it. The
// log is as good as before, but it does not say which state was the last good one: so
// that comes from a leader, as for a server whose log leads nowhere. Who is wrong, this
// server or the leader, shows in whether a quorum goes on without this one.
func (m *Member) Distrust(now Time, why string) {
	m.at(now)
	if m.busy {
		m.doubt = why
		return
	}
	m.distrust(why)
	m.flush()
}

func (m *Member) distrust(why string) {
	m.void, m.doubted = true, true
	m.look(why)
}

// fallBack is for a server in doubt that is needed: nobody leads without it. What it has
// on disk may well be good; if it is not, the node says so again.
func (m *Member) fallBack() {
	if !m.doubted || m.now-m.looking < 2*m.cfg.initTimeout() {
		return
	}
	m.warn("no quorum stands without this server: it goes back to the state on its disk")
	m.void, m.doubted = false, false
	m.waiting = true
	m.recover(math.MaxInt64, func() {})
}

// Disk tells how full the disk is. A server whose disk is full can't be part of a quorum:
// it would hold up all the others.
func (m *Member) Disk(now Time, d Disk) {
	m.at(now)
	was := m.disk
	m.disk = d
	switch {
	case d == DiskFull && was != DiskFull && !simbug.On("full-disk-stays"): // else the journal waits for space anyway
		m.look("the disk is full")
	case d != DiskFull && was == DiskFull:
		m.tryElect()
	case d == DiskOK:
		m.handed = false
	}
	m.handOver()
	m.flush()
}

// handOver ends the leadership of a server whose disk is nearly full, if others can lead.
// It keeps out of the election that follows for a while; should it have to lead again,
// it does.
func (m *Member) handOver() {
	if m.disk != DiskLow || m.handed || m.leader == nil || !m.leader.dispensable() {
		return
	}
	m.handed = true
	m.stand = m.now + 5*m.cfg.FinalizeWait
	m.look("the disk is nearly full: another server shall lead")
}

// Checkpoint says that the node's state at saved is on disk. What the log holds at or below
// may go from now on.
func (m *Member) Checkpoint(now Time, saved Zxid) {
	m.at(now)
	m.hist.rebase(saved)
}

// Flush does what the inputs since the last Flush made possible: it is to come when no
// more inputs are at hand, so that what is committed together is sent together.
func (m *Member) Flush(now Time) {
	m.at(now)
	m.flush()
}

func (m *Member) flush() {
	if m.leader != nil {
		m.leader.flush()
	}
	if m.learner != nil {
		m.learner.flush()
	}
	// What is committed may be asked for by learners that are a little behind. Before a
	// leader has said what is committed, what is on disk may leave the memory: a DIFF may
	// be long.
	upTo := m.hist.durable
	if m.term != 0 && m.role.State != consensus.Looking {
		upTo = m.hist.committed
	}
	m.hist.trim(upTo, m.cfg.CommitLogCount, m.cfg.CommitLogBytes)
}

// ListenFailed says that the quorum port can't be opened.
func (m *Member) ListenFailed(now Time, why string) {
	m.at(now)
	if m.leader != nil {
		m.look("quorum port: " + why)
	}
}

// Role is what the node is, or will have been told to be.
func (m *Member) Role() consensus.Role { return m.role }

// Leading says whether this server leads or is about to.
func (m *Member) Leading() bool { return m.leader != nil }

// Peer is the state in words, as Apache's mntr has them.
func (m *Member) Peer() string {
	switch {
	case m.leader != nil:
		return m.leader.stage.String()
	case m.learner != nil && m.cfg.Observer:
		return "observing - " + m.learner.step.String()
	case m.learner != nil:
		return "following - " + m.learner.step.String()
	}
	return "looking"
}

// A View is a picture of the member for an operator.
type View struct {
	Logged, Committed Zxid
	Learners          []consensus.Learner
	PendingSyncs      int
	Sizes             Sizes
	Since             Time // when it began to lead
}

// View is what Status shows.
func (m *Member) View() View {
	v := View{Logged: m.hist.durable, Committed: m.hist.delivered, Sizes: Sizes{-1, -1, -1}}
	if l := m.leader; l != nil {
		v.PendingSyncs, v.Sizes, v.Since = len(l.syncs), l.sizes, l.leadsSince
		for _, p := range l.peers {
			if p.known {
				v.Learners = append(v.Learners, consensus.Learner{ID: p.id, Addr: p.addr, Observer: p.observer,
					Voter: p.voter, Synced: p.accepted, Acked: p.acked})
			}
		}
	}
	if f := m.learner; f != nil {
		v.PendingSyncs = len(f.syncs)
	}
	return v
}
