package protocol

import (
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/zkcore/zkcore/core/inv"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A learner is a server on the connection that its leader made to it.
type learner struct {
	m      *Member
	leader ServerID
	term   uint64
	conn   Conn
	since  Time
	how    string // it was brought up to date, in Apache's words

	told   bool   // JOIN came
	joinAt uint64 // the entry that it names
	joined bool

	syncs   []consensus.SyncID
	answers []heldAnswer

	at        Point // of the snapshot that is on its way
	snap      bool  // it is
	skip      bool  // and is not needed
	nextTouch Time
	seen      Time // the last frame
}

// A heldAnswer of the leader's waits for an entry.
type heldAnswer struct {
	index   uint64
	sync    bool
	session int64
	alive   bool
}

// Accepted is a connection that somebody made to the quorum port.
func (m *Member) Accepted(now Time, c Conn, addr string) {
	m.now = now
	m.guests = append(m.guests, guest{c, addr})
}

// Linked is a connection that was made to a member, as Dial asked.
func (m *Member) Linked(now Time, to ServerID, c Conn, addr string) {
	m.now = now
	if m.leader == nil || !m.leader.link(to, c, addr) {
		m.out(Disconnect{c, "it is not wanted any more"})
	}
}

// Closed says that the other side ended a connection, or that it broke.
func (m *Member) Closed(now Time, c Conn, why string) {
	m.now = now
	if m.unguest(c) {
		return
	}
	if l := m.learner; l != nil && l.conn == c {
		m.learner = nil
		m.lost(l, why)
		if m.rn != nil {
			// A process that is gone is known by this at once.
			m.elect.at = m.now + 10*Millisecond + Time(m.cfg.Rand(int64(150*Millisecond)))
		}
		return
	}
	if m.leader != nil {
		if p := m.leader.find(c); p != nil {
			m.leader.closed(p, why)
		}
	}
}

func (m *Member) unguest(c Conn) bool {
	for i := range m.guests {
		if m.guests[i].conn == c {
			m.guests = append(m.guests[:i:i], m.guests[i+1:]...)
			return true
		}
	}
	return false
}

// dropLearner leaves the leader.
func (m *Member) dropLearner(why string) {
	if l := m.learner; l != nil {
		m.learner = nil
		m.out(Disconnect{l.conn, why})
		m.lost(l, why)
	}
}

// lost is the end of following.
func (m *Member) lost(l *learner, why string) {
	m.report("lost the leader", "leader", l.leader, "epoch", l.term, "reason", why)
	m.look()
	if m.rn != nil && m.leader == nil {
		if s := m.rn.BasicStatus(); ServerID(s.Lead) == l.leader && s.GetTerm() == l.term {
			m.rn.ForgetLeader() // else nobody else would get this server's vote
		}
		m.wait()
	}
}

// Frames came on a connection to the quorum port.
func (m *Member) Frames(now Time, c Conn, fs []Frame) {
	m.now = now
	for i := range fs {
		f := &fs[i]
		if l := m.learner; l != nil && l.conn == c {
			if why := l.frame(f); why != "" {
				m.warn("connection to the leader ended", "leader", l.leader, "reason", why)
				m.dropLearner(why)
				return
			}
			continue
		}
		if m.leader != nil {
			if p := m.leader.find(c); p != nil {
				m.leader.frame(p, f)
				continue
			}
		}
		if !m.unguest(c) {
			return
		}
		if why := m.greet(c, f); why != "" {
			m.warn("connection to the quorum port refused", "reason", why)
			m.out(Disconnect{c, why})
			return
		}
	}
}

// greet takes in a leader's first frame.
func (m *Member) greet(c Conn, f *Frame) string {
	switch {
	case f.Kind != Lead:
		return "the first frame is " + f.Kind.String()
	case f.Version != Version:
		return "its frames are of another version"
	case !m.cfg.voter(f.From) || f.From == m.cfg.ID:
		return "it is no voter of this ensemble"
	case f.Set != m.cfg.set():
		return "its configuration names other voters"
	case f.Term == 0:
		return "it has no term"
	case m.full:
		return "the disk is full"
	case m.rn == nil:
		return "this server is not ready"
	case m.forgetful():
		return "this server has forgotten whom it voted for, and waits until that counts for nothing"
	}
	known := m.st.Term
	if s := m.rn.BasicStatus(); s.GetTerm() > known {
		known = s.GetTerm()
	}
	if f.Term < known && m.part() || f.Term < m.elect.floor {
		m.out(Send{c, []Frame{{Kind: Newer, Term: max(known, m.elect.floor)}}})
		m.out(Disconnect{c, "its term is over"})
		return ""
	}
	if m.leader != nil && m.leader.term >= f.Term {
		return "there is another leader in this term"
	}
	if l := m.learner; l != nil {
		if f.Term < l.term || f.Term == l.term && f.From != l.leader {
			return "there is another leader in this term"
		}
		m.dropLearner("there is another connection")
	}
	if m.leader != nil {
		m.stopLeading("another term has begun")
	}
	l := &learner{m: m, leader: f.From, term: f.Term, conn: c, how: "DIFF", since: m.now, seen: m.now, nextTouch: m.now}
	m.learner = l
	worth := m.st.Standing
	if m.part() {
		worth = Proven
		// From the first frame on this is the leader, not from the first heartbeat on.
		m.step(&pb.Message{Type: pb.MsgHeartbeat.Enum(), From: new(uint64(l.leader)), To: new(uint64(m.cfg.ID)), Term: new(l.term)})
		m.heard()
		if s := m.rn.BasicStatus(); ServerID(s.Lead) != l.leader || s.GetTerm() != l.term {
			m.learner = nil
			return "there is another leader in this term"
		}
	} else if m.doubt {
		worth = Lost
	}
	m.out(Send{c, []Frame{{Kind: Here, Version: Version, From: m.cfg.ID, Set: m.cfg.set(), Term: m.st.Term, Worth: worth}}})
	m.report("synchronising with the leader", "leader", l.leader, "epoch", l.term, "standing", worth.String())
	return ""
}

// heard puts off looking for another leader.
func (m *Member) heard() { m.wait() }

// frame takes in what the leader sent. A reason that comes back ends the following.
func (l *learner) frame(f *Frame) string {
	m := l.m
	l.seen = m.now
	switch f.Kind {
	case Raft:
		return m.fromLeader(l, f.Raft)
	case Join:
		if l.told {
			return "JOIN comes a second time"
		}
		l.told, l.joinAt = true, f.Index
	case SyncDone:
		if len(l.syncs) == 0 || uint64(l.syncs[0]) != f.ID {
			return "SYNCED comes for a sync that was not asked for"
		}
		l.syncs = l.syncs[1:]
		l.answers = append(l.answers, heldAnswer{index: f.Index, sync: true, session: int64(f.ID)})
	case RevalDone:
		l.answers = append(l.answers, heldAnswer{index: f.Index, session: f.Session, alive: f.Valid})
	case Snap:
		return l.snapshot(f.At)
	case SnapDone, Chunk, Alive:
	default:
		return f.Kind.String() + " is nothing that a leader sends"
	}
	return ""
}

// snapshot begins to take in the leader's state.
func (l *learner) snapshot(at Point) string {
	m := l.m
	switch {
	case l.snap || m.restoring || m.rn == nil:
		return "a snapshot comes while another one is on its way"
	case at.Term > l.term || at.Zxid.Epoch() > int64(at.Term) && at.Term > 1 || at.Index == 0 && at.Zxid != 0:
		return "the snapshot is of no term that there was"
	}
	if l.joined && !simbug.On("snapshot-while-serving") {
		// What came of the requests on this connection is known when it is joined anew, on
		// another one.
		return "the log does not lead on from here: asking for the leader's state"
	}
	l.snap, l.at = true, at
	if m.part() && at.Index <= m.log.last && at.Index >= m.log.base.Index && m.log.term(at.Index) == at.Term {
		// It is in the log.
		l.skip = true
		m.persist(Persist{}, func() {
			if m.learner == l {
				l.snap, l.skip = false, false
				m.out(Send{l.conn, []Frame{{Kind: Installed, At: at}}})
			}
		})
		m.out(Restore{Conn: l.conn}) // nobody wants it
		return ""
	}
	m.look()
	// One that was asked for by a server that takes part in nothing has all that this one may have had. To
	// one that takes part, though it only has heard what there is, the leader sends what its node has: it may
	// be less, after a restart, and the rest follows.
	m.restoring, m.complete = true, !m.part()
	l.how = "SNAP"
	if (m.st.Standing == Blank || m.st.Standing == Lost) && !m.part() && l.term >= m.st.Term {
		// Whoever it voted for in this term, on a disk that is gone: this one was elected.
		m.st.Term, m.st.Vote = l.term, l.leader
	}
	m.report("synchronising with the leader", "leader", l.leader, "how", "SNAP", "from", m.log.zxid(m.log.last), "to", at.Zxid)
	m.st.Pending = at
	m.save(func() { m.out(Restore{l.conn, at}) })
	return ""
}

// Restored answers Restore.
func (m *Member) Restored(now Time, err error) {
	m.now = now
	if !m.restoring {
		return
	}
	if err != nil {
		m.warn("the leader's snapshot could not be taken", "error", err)
		m.goBack()
		return
	}
	m.takeOver()
}

// takeOver begins anew with the pending snapshot, which is the node's state and on its disk.
func (m *Member) takeOver() {
	at := m.st.Pending
	inv.Check("I13", m.leader == nil, "a snapshot is restored by a leader")
	m.rn = nil
	m.life++
	m.restoring, m.doubt = false, false
	m.st.TakeOver()
	if m.complete || !at.before(m.elect.best) {
		m.st.Complete(len(m.cfg.Voters), !m.cfg.voter(m.cfg.ID))
	}
	m.log.base, m.log.starts = m.st.Base, m.st.Starts
	m.st.Base, m.st.Starts = Point{}, nil
	m.log.window, m.log.bytes = nil, 0
	m.log.last, m.log.first, m.log.durable = at.Index, at.Index+1, at.Index
	m.log.saved, m.log.low = at.Index, at.Index
	life := m.life
	m.cutSeq = m.seq + 1
	m.persist(Persist{Reset: true, CutTo: at.Zxid, After: m.encode()}, func() {
		if m.life != life {
			return
		}
		m.build(at.Index)
		m.wait()
		if l := m.learner; l != nil {
			l.snap = false
			if m.part() {
				m.step(&pb.Message{Type: pb.MsgHeartbeat.Enum(), From: new(uint64(l.leader)), To: new(uint64(m.cfg.ID)), Term: new(l.term)})
			}
			m.out(Send{l.conn, []Frame{{Kind: Installed, At: at}}})
		}
	})
}

// SnapshotTaken answers TakeSnapshot.
func (m *Member) SnapshotTaken(now Time, c Conn, s consensus.Snapshot, err error) {
	m.now = now
	var p *peer
	if m.leader != nil {
		p = m.leader.find(c)
	}
	switch {
	case err != nil && p != nil:
		m.leader.drop(p, "the state can't be sent: "+err.Error())
	case err != nil:
	case p == nil || !p.taking:
		m.out(DropSnapshot{s})
	default:
		m.leader.taken(p, s)
	}
}

// sync asks the leader.
func (l *learner) sync(id consensus.SyncID) {
	if l.joined {
		l.syncs = append(l.syncs, id)
		l.m.out(Send{l.conn, []Frame{{Kind: Sync, ID: uint64(id)}}})
	}
}

// flush does what deliveries made possible.
func (l *learner) flush() {
	m := l.m
	if !l.joined && l.told && m.given >= l.joinAt && m.part() && !m.restoring && m.rn != nil && !m.leaving {
		l.joined = true
		state := consensus.Following
		if m.cfg.observer(m.cfg.ID) {
			state = consensus.Observing
		}
		m.setRole(consensus.Role{State: state, Leader: l.leader, Epoch: int64(l.term)})
		m.report(state.String(), "leader", l.leader, "epoch", l.term, "zxid", m.log.zxid(m.given), "how", l.how, "ms", int64((m.now-l.since)/Millisecond))
	}
	n := 0
	for ; n < len(l.answers) && (l.answers[n].index <= m.given || simbug.On("answers-ahead")); n++ {
		if a := l.answers[n]; a.sync {
			m.out(Synced{[]consensus.SyncID{consensus.SyncID(a.session)}})
		} else {
			m.out(Revalidated{a.session, a.alive})
		}
	}
	l.answers = l.answers[n:]
}

// beat sends what the node heard from, twice a tick.
func (l *learner) beat() {
	if l.joined && l.m.now >= l.nextTouch {
		l.nextTouch = l.m.now + l.m.cfg.Tick/2
		l.m.out(SendTouches{l.conn})
	}
	if m := l.m; m.restoring && m.part() {
		// What the leader says waits behind the snapshot, for as long as the node takes to read that. A leader that
		// nobody else follows would lead no more, and begin with the snapshot anew.
		if s := m.rn.BasicStatus(); s.GetTerm() == l.term && ServerID(s.Lead) == l.leader {
			m.out(Send{l.conn, []Frame{{Kind: Raft, Raft: &pb.Message{Type: pb.MsgHeartbeatResp.Enum(), Term: new(l.term)}}}})
		}
	}
	if l.m.now-l.seen > 4*l.m.cfg.Silence && !l.m.restoring {
		l.m.dropLearner("nothing was heard from it")
	}
}

// Guest says whether nothing came on a connection to the quorum port yet.
func (m *Member) Guest(c Conn) bool {
	for _, g := range m.guests {
		if g.conn == c {
			return true
		}
	}
	return false
}
