package protocol

import (
	"hash/fnv"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// election is what a server knows of elections beside raft.
type election struct {
	born  Time
	beat  Time // the next tick of raft's clock
	at    Time // when to look for a leader, or to be one
	avoid Time // not before that, if there are others
	stood Time // this server asked for votes last
	nonce uint64

	// A blank server asks all voters what they have. Who asks for the first time does not
	// know whether it has forgotten something; who heard all of them knows what is left.
	asks     Time // when to ask again; 0 if it need not
	heard    map[ServerID]bool
	heardAll bool
	told     bool   // the log says who is missing
	best     Point  // what it must support at least
	floor    uint64 // terms up to this one may have had its vote

	// answers are the questions of others, by their nonces, that wait for the disk.
	answers map[ServerID]uint64
}

// set tells which voters there are.
func (c *Config) set() uint64 {
	h := fnv.New64a()
	for _, id := range c.Voters {
		var b [8]byte
		for i := range b {
			b[i] = byte(uint64(id) >> (8 * i))
		}
		h.Write(b[:])
	}
	return h.Sum64()
}

// asking is how often a blank server asks.
const asking = 200 * Millisecond

// ask asks the voters what they have, if this server needs to know.
func (m *Member) ask() {
	e := &m.elect
	if m.st.Standing != Blank || e.heardAll || !m.cfg.voter(m.cfg.ID) {
		e.asks = 0
		return
	}
	e.asks = m.now + asking
	for _, id := range m.cfg.Voters {
		if id != m.cfg.ID && !e.heard[id] {
			m.out(Mail{id, Frame{Kind: Bid, Term: m.st.Term, Worth: m.st.Standing, At: m.end(), Nonce: e.nonce}})
		}
	}
	m.heardOne(0)
	if !e.heardAll && !e.told && m.now-e.born >= Second {
		e.told = true
		var missing []ServerID
		for _, id := range m.cfg.Voters {
			if id != m.cfg.ID && !e.heard[id] {
				missing = append(missing, id)
			}
		}
		m.warn("this server has no data, and waits for a leader, or until every voter is there: one that is not may have what was written",
			"missing", missing)
	}
}

// end is the last entry of the log.
func (m *Member) end() Point {
	return Point{Index: m.log.last, Term: m.log.term(m.log.last), Zxid: m.log.zxid(m.log.last)}
}

// Mailed is a frame that came to the election port.
func (m *Member) Mailed(now Time, from ServerID, f Frame) {
	m.now = now
	switch f.Kind {
	case Vote:
		m.election(from, f.Raft)
	case Bid:
		m.bid(from, &f)
	}
}

// bid answers a question, or takes an answer in.
func (m *Member) bid(from ServerID, f *Frame) {
	e := &m.elect
	if !m.cfg.voter(from) || !m.cfg.voter(m.cfg.ID) || from == m.cfg.ID {
		return
	}
	if f.Echo == 0 {
		m.answerBid(from, f.Nonce)
		if e.asks != 0 && !e.heard[from] {
			// It is here now.
			m.out(Mail{from, Frame{Kind: Bid, Term: m.st.Term, Worth: m.st.Standing, At: m.end(), Nonce: e.nonce}})
		}
		return
	}
	// What was said to an earlier process of this server counts for nothing; and what a
	// server has that lost something, does not say what there was.
	if f.Echo != e.nonce || e.heardAll || m.st.Standing != Blank || f.Worth == Lost {
		return
	}
	if e.heard == nil {
		e.heard = map[ServerID]bool{}
	}
	if e.best.before(f.At) {
		e.best = f.At
	}
	e.floor = max(e.floor, f.Term)
	m.heardOne(from)
}

// answerBid says what this server has, when all of that is on its disk: with what it is about to
// acknowledge, what the one that asks acknowledged on a disk that is gone is committed, and an
// answer without it would let that one help to elect a server that lacks it.
func (m *Member) answerBid(to ServerID, echo uint64) {
	e := &m.elect
	if e.answers[to] == echo {
		return // it asks again
	}
	if e.answers == nil {
		e.answers = map[ServerID]uint64{}
	}
	e.answers[to] = echo
	m.persist(Persist{}, func() {
		if e.answers[to] != echo {
			return // another process of that server asks now
		}
		delete(e.answers, to)
		term := m.st.Term
		if m.rn != nil {
			term = max(term, m.rn.BasicStatus().GetTerm())
		}
		worth := m.st.Standing
		if m.doubt && worth != Lost {
			worth = Proven // the log is good
		}
		at := m.log.durable
		m.out(Mail{to, Frame{Kind: Bid, Term: term, Worth: worth, Nonce: e.nonce, Echo: echo,
			At: Point{Index: at, Term: m.log.term(at), Zxid: m.log.zxid(at)}}})
	})
}

func (m *Member) heardOne(from ServerID) {
	e := &m.elect
	if from != 0 {
		e.heard[from] = true
	}
	for _, id := range m.cfg.Voters {
		if id != m.cfg.ID && !e.heard[id] {
			return
		}
	}
	e.heardAll, e.asks = true, 0
	if e.best.before(m.end()) {
		e.best = m.end()
	}
	// What it has itself, on a disk that was an ensemble's before, may be less than that.
	m.report("this server has no log of its own, and has heard of what all the others have", "zxid", e.best.Zxid, "term", e.floor)
	m.dropLearner("this server takes part now")
	if e.floor > m.st.Term {
		// It has no vote left in the terms that it may have voted in.
		m.st.Term, m.st.Vote = e.floor, m.cfg.ID
		m.save(func() {})
		m.rebuild(nil)
	} else if m.rn != nil && m.rn.BasicStatus().GetTerm() < m.st.Term {
		// raft did not hear of the leader that sends a snapshot, nor that this server's vote is its.
		m.rebuild(nil)
	}
	m.elect.at = m.now + Time(m.cfg.Rand(int64(200*Millisecond)))
}

// lapse is how long a vote that was given is of use: a candidate asks anew or gives up within two election
// timeouts, whatever happens, and twice that is long enough.
func (m *Member) lapse() Time { return 4 * m.cfg.Silence }

// forgetful says that somebody may be a candidate still with a vote that this server gave on a disk that is
// gone. What it acknowledged now to a leader of a term before, that one might lack. With less than five voters
// the leader's round without this server shows that there is none.
func (m *Member) forgetful() bool {
	return (m.st.Standing == Blank || m.st.Standing == Lost) && !m.part() && len(m.cfg.Voters) >= 5 && m.cfg.voter(m.cfg.ID) &&
		m.now-m.elect.born <= m.lapse()
}

// mayVote says whether this server may take part in an election now.
func (m *Member) mayVote() bool {
	if m.full || m.restoring || m.leaving && m.leader == nil {
		return false
	}
	return m.st.Standing != Settling || m.now-m.elect.born > m.lapse()
}

// ahead says whether this server, which asks for votes itself, goes before another one that
// does: so that of two that begin together one is elected, and not none, or both in turn.
func (m *Member) ahead(from ServerID, k *pb.Message) bool {
	s := m.rn.BasicStatus()
	if s.RaftState != raft.StatePreCandidate && s.RaftState != raft.StateCandidate || m.now-m.elect.stood > m.cfg.Silence/2 {
		return false
	}
	theirs := Point{Index: k.GetIndex(), Term: k.GetLogTerm()}
	mine := Point{Index: m.log.last, Term: m.log.term(m.log.last)}
	return theirs.before(mine) || !mine.before(theirs) && m.cfg.ID < from
}

// short says that this server, which may have forgotten something, has less than others had.
func (m *Member) short() bool { return m.st.Standing == Blank && m.end().before(m.elect.best) }

// mayLead says whether it may be elected.
func (m *Member) mayLead() bool {
	if m.rn == nil || m.leader != nil || !m.cfg.voter(m.cfg.ID) || !m.part() || !m.mayVote() || m.leaving {
		return false
	}
	if m.short() {
		return false
	}
	return m.now >= m.elect.avoid || len(m.cfg.Voters) == 1
}

// electTick looks for a leader when it is time.
func (m *Member) electTick() {
	e := &m.elect
	if e.asks != 0 && m.now >= e.asks {
		m.ask()
	}
	if m.st.Standing == Settling && m.mayVote() && m.rn != nil {
		m.st.Standing, m.st.Why = Proven, ""
		m.save(func() {})
	}
	if m.now < e.at {
		return
	}
	e.at = m.now + m.cfg.Silence/2 + Time(m.cfg.Rand(int64(m.cfg.Silence)))
	if !m.mayLead() {
		return
	}
	if l := m.learner; l != nil {
		m.learner = nil
		m.out(Disconnect{l.conn, "nothing was heard of it"})
		m.report("lost the leader", "leader", l.leader, "epoch", l.term, "reason", "nothing was heard from it in time")
		m.look()
	}
	if s := m.rn.BasicStatus(); s.RaftState != raft.StateLeader {
		e.stood = m.now
		m.rn.Campaign()
	}
}

// slept is called when this server did nothing for long. What it waited for may have
// come meanwhile, and waits to be read: it is no sign that others are silent.
func (m *Member) slept(gap Time) {
	// It does not come later for having been on its way for longer.
	m.elect.at = max(m.elect.at, m.now) + min(gap, 4*m.cfg.Silence)/4 + m.cfg.Silence/4
	if m.rn != nil && m.rn.BasicStatus().RaftState == raft.StateCandidate {
		// Votes for it may have been forgotten by now, with a disk: it asks anew.
		m.elect.stood = m.now
		m.rn.Campaign()
	}
	if l := m.leader; l != nil && !l.established {
		// Others may have another leader by now, and what would make this one lead is an old story.
		m.resign("this server was asleep while it was being elected")
	}
	if l := m.leader; l != nil {
		for _, p := range l.peers {
			p.seen = m.now
		}
	}
	if m.role.State == consensus.Leading {
		m.warn("this server was asleep", "ms", int64(gap/Millisecond))
	}
}

// Set tells which voters the configuration names.
func (m *Member) Set() uint64 { return m.cfg.set() }
