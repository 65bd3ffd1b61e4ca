package protocol

import (
	"fmt"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/zkcore/zkcore/core/inv"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A Member is one server's part in the ensemble. It is told what happens, and says with
// Outputs what is to be done.
type Member struct {
	cfg  *Config
	now  Time
	outs []Output

	st   State // what is in the state file, but for what is log's
	log  *store
	rn   *raft.RawNode // nil while it is being built anew
	life uint64        // counts the RawNodes
	role consensus.Role

	seq     uint64 // of the last Persist
	waiting []waiting
	cutSeq  uint64 // of the last one that cuts

	gen      uint64 // of deliveries: counts how often they began anew
	dseq     uint64
	applying []applying
	given    uint64 // the last entry that the node was given

	leader  *leader
	learner *learner
	guests  []guest // connections on which no LEAD came yet

	elect election

	restoring bool // a snapshot is on its way into the node
	complete  bool // it has all that this server can have acknowledged, on whatever disk
	doubt     bool // the node's state is wrong
	doubtEnds Time
	full      bool // the disk
	handing   Time // leadership is being handed over, until then; 0 if not
	heir      ServerID
	leaving   bool
	left      bool
	seen      Time // the last Tick
	sizes     Sizes
	since     Time // leads since then
	looking   Time // looks for a leader since then
}

// Sizes are those of a leader's proposals.
type Sizes struct{ Last, Min, Max int64 }

// A waiting waits until a Persist is done.
type waiting struct {
	seq  uint64
	then func()
}

// An applying waits until the node has taken what it was given.
type applying struct {
	seq  uint64
	resp *pb.Message
}

type guest struct {
	conn Conn
	addr string
}

// New makes a member of what is on the disk. Found.Check said that it is good. nonce is
// of this process.
func New(cfg *Config, f Found, disk Reader, nonce uint64, failed func(error)) *Member {
	m := &Member{cfg: cfg, st: f.State, sizes: Sizes{-1, -1, -1}}
	m.elect.nonce = nonce
	conf := &pb.ConfState{}
	for _, id := range cfg.Voters {
		conf.Voters = append(conf.Voters, uint64(id))
	}
	for _, id := range cfg.Observers {
		conf.Learners = append(conf.Learners, uint64(id))
	}
	m.log = &store{terms: terms{base: f.State.Base, starts: f.State.Starts}, conf: conf, disk: disk, failed: failed,
		max: cfg.WindowBytes, keep: cfg.KeepCount}
	m.log.unread = func(err error) {
		m.warn("the log can't be read below the newest snapshot: a learner gets that in its place", "error", err)
	}
	m.log.last = m.log.base.Index
	if n := len(m.log.starts); n > 0 {
		m.log.last = max(m.log.last, m.log.starts[n-1].Index)
	}
	if p, ok := m.log.point(f.Last); ok {
		m.log.last = max(m.log.last, p.Index)
	}
	m.log.first, m.log.durable = m.log.last+1, m.log.last
	m.log.saved = m.entry(f.Recovered)
	m.st.Starts, m.st.Base = nil, Point{}
	m.out(nil)
	m.outs = m.outs[:0]
	m.resume(m.surelyCommitted(f))
	return m
}

// entry is the entry that the node's state is at when it recovered z.
func (m *Member) entry(z Zxid) uint64 {
	if p, ok := m.log.point(z); ok {
		return p.Index
	}
	return m.log.base.Index
}

// surelyCommitted gives the node, which recovered its state, what the log holds of what is known to be
// committed, and returns what it has then.
func (m *Member) surelyCommitted(f Found) Zxid {
	known := min(f.Committed, m.log.zxid(m.log.last))
	if _, ok := m.log.point(known); !ok || known <= f.Recovered || m.st.Standing != Proven {
		return f.Recovered
	}
	m.out(DeliverLog{From: f.Recovered, Last: known})
	return known
}

// resume builds the RawNode over a state that was recovered.
func (m *Member) resume(z Zxid) {
	if simbug.On("deliver-log-at-start") {
		if last := m.log.zxid(m.log.last); last > z {
			m.out(DeliverLog{From: z, Last: last}) // so that it serves sooner
			z = last
		}
	}
	if z < m.log.base.Zxid {
		m.out(DeliverLog{From: z, Last: m.log.base.Zxid})
	}
	at := m.entry(z)
	m.log.saved, m.log.low = at, 0
	m.build(at)
}

// build makes a RawNode, as of one that starts, whose node has all up to applied.
func (m *Member) build(applied uint64) {
	m.log.hs = pb.HardState{Term: new(m.st.Term), Vote: new(uint64(m.st.Vote)), Commit: new(applied)}
	rn, err := raft.NewRawNode(&raft.Config{
		ID: uint64(m.cfg.ID), ElectionTick: int(m.cfg.Silence / m.cfg.Beat), HeartbeatTick: 1,
		Storage: m.log, Applied: applied, AsyncStorageWrites: true,
		MaxSizePerMsg: m.cfg.MaxMessage, MaxCommittedSizePerReady: m.cfg.MaxDelivering,
		MaxInflightMsgs: m.cfg.Inflight, MaxInflightBytes: 64 * m.cfg.MaxMessage,
		CheckQuorum: true, PreVote: true, DisableProposalForwarding: true, Logger: logger{m},
	})
	if err != nil {
		inv.Break("I13", "raft can't be started: %v", err)
	}
	m.rn = rn
	m.life++
	m.gen++
	m.applying = nil
	m.given = applied
}

// rebuild begins anew with the RawNode, as a follower, once all that it asked to be
// written is on the disk. before, if set, is called right before.
func (m *Member) rebuild(before func()) {
	if m.rn == nil && before == nil {
		return // it is being built already, perhaps over another state
	}
	m.rn = nil
	m.life++
	life, given := m.life, m.given
	m.persist(Persist{}, func() {
		if m.life != life || m.rn != nil {
			return
		}
		if before != nil {
			before()
			return
		}
		m.build(given)
		m.wait()
	})
}

func (m *Member) out(o Output) { m.outs = append(m.outs, o) }

// Outputs returns what is to be done, and forgets it.
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

// Begin is the first call.
func (m *Member) Begin(now Time) {
	m.now, m.seen = now, now
	m.setRole(consensus.Role{})
	m.elect.born = now
	m.elect.beat = now + m.cfg.Beat
	m.elect.at = now + 50*Millisecond + Time(m.cfg.Rand(int64(250*Millisecond)))
	m.ask()
	m.Flush(now)
}

// part says that this server takes part: what it says and acknowledges is worth something.
func (m *Member) part() bool {
	switch m.st.Standing {
	case Blank:
		return !m.doubt && (m.elect.heardAll || simbug.On("blank-votes")) // nothing is there, so nothing can have been acked
	case Lost:
		return simbug.On("lost-votes") // what the others have, it gets from them
	}
	return !m.doubt
}

// setRole tells the node.
func (m *Member) setRole(r consensus.Role) {
	r.Term = m.role.Term + 1
	m.role = r
	m.out(SetRole{r})
	if r.State == consensus.Looking {
		m.looking = m.now
		m.count("looking_count", 1)
	} else {
		m.observe("election_time", "", float64(m.now-m.looking)/float64(Millisecond))
	}
}

// look is the end of a role.
func (m *Member) look() {
	if m.role.State != consensus.Looking {
		m.setRole(consensus.Role{})
	}
}

// Role is what the node was told last.
func (m *Member) Role() consensus.Role { return m.role }

// persist asks for something to be written, and calls then when it is on the disk with
// all before it.
func (m *Member) persist(p Persist, then func()) {
	idle := p.Before == nil && p.After == nil && !p.Cut && !p.Reset && len(p.Txns) == 0
	switch {
	case idle && len(m.waiting) == 0:
		then()
	case idle:
		m.waiting = append(m.waiting, waiting{m.seq, then})
	default:
		m.seq++
		p.Seq = m.seq
		m.waiting = append(m.waiting, waiting{m.seq, then})
		m.out(p)
	}
}

// encode is the state file as it is to be now.
func (m *Member) encode() []byte {
	s := m.st
	s.Base, s.Starts = m.log.base, m.log.starts
	return s.Encode()
}

// save writes the state file.
func (m *Member) save(then func()) { m.persist(Persist{After: m.encode()}, then) }

// Persisted says that the Persist with this number and all before are on the disk.
func (m *Member) Persisted(now Time, seq uint64) {
	m.now = now
	for len(m.waiting) > 0 && m.waiting[0].seq <= seq {
		w := m.waiting[0]
		m.waiting = m.waiting[1:]
		w.then()
	}
	if len(m.waiting) == 0 {
		m.waiting = nil
	}
}

// drain does what raft wants to be done.
func (m *Member) drain() {
	for m.rn != nil && m.rn.HasReady() {
		rd := m.rn.Ready()
		for _, s := range rd.ReadStates {
			if m.leader != nil {
				m.leader.confirmed(s)
			}
		}
		for _, k := range rd.Messages {
			if k.GetTo() == raft.LocalAppendThread {
				m.append(k)
			}
		}
		life := m.life
		for _, k := range rd.Messages {
			switch {
			case k.GetTo() == raft.LocalAppendThread:
			case k.GetTo() == raft.LocalApplyThread:
				m.apply(k)
			case k.GetType() == pb.MsgVote && !simbug.On("vote-before-durable"): // else each vote costs a sync
				// The term, and the vote for itself, are on the disk before anybody hears of them.
				m.persist(Persist{}, func() {
					if m.life == life {
						m.post(k)
					}
				})
			default:
				m.post(k)
			}
		}
	}
}

// append writes entries and votes to the log, and answers when they are there.
func (m *Member) append(k *pb.Message) {
	var p Persist
	save := false
	if k.Term != nil && (k.GetTerm() != m.st.Term || ServerID(k.GetVote()) != m.st.Vote) {
		inv.Check("I14", k.GetTerm() >= m.st.Term, "term %d comes after %d", k.GetTerm(), m.st.Term)
		m.st.Term, m.st.Vote = k.GetTerm(), ServerID(k.GetVote())
		save = !simbug.On("vote-not-persisted") // the next entry brings it to the disk
	}
	if simbug.On("leader-counts-unsynced") {
		for _, r := range k.GetResponses() {
			if r.GetType() == pb.MsgAppResp && r.GetTo() == uint64(m.cfg.ID) {
				m.step(r) // the others have it on their disks
			}
		}
	}
	ents := k.GetEntries()
	if len(ents) > 0 {
		lo := ents[0].GetIndex()
		inv.Check("I16", lo <= m.log.last+1, "entry %d comes after %d", lo, m.log.last)
		if lo <= m.log.last {
			inv.Check("I13", lo > m.given, "entry %d is replaced, and was delivered up to %d", lo, m.given)
			m.log.truncate(lo - 1)
			p.Cut, p.CutTo = true, m.log.zxid(lo-1)
			s := m.st
			s.Base, s.Starts, s.Cut, s.CutTo = m.log.base, m.log.starts, true, p.CutTo
			p.Before = s.Encode()
			save = true
			if m.learner != nil {
				m.learner.how = "TRUNC"
			}
		}
	}
	for {
		// The state file names a term when all of those before it is in the log.
		n := 0
		for n < len(ents) && (len(ents[n].GetData()) > 0 || n == 0 || len(ents[n-1].GetData()) == 0 || simbug.On("state-before-log")) { // else in two steps, which takes longer
			n++
		}
		part := ents[:n]
		ents = ents[n:]
		last := uint64(0)
		if n > 0 {
			starts := len(m.log.starts)
			m.log.append(part)
			save = save || len(m.log.starts) != starts
			last = m.log.last
			for _, e := range part {
				if len(e.GetData()) > 0 {
					p.Txns = append(p.Txns, Txn{Zxid: m.log.id(e.GetIndex()), Data: e.GetData()})
				}
			}
		}
		if save {
			p.After = m.encode()
		}
		seq := m.seq + 1
		if p.Cut {
			m.cutSeq = seq
		}
		durable := func() {
			if last != 0 && seq >= m.cutSeq {
				m.log.durable = max(m.log.durable, last)
			}
		}
		if len(ents) > 0 {
			m.persist(p, durable)
			p, save = Persist{}, false
			continue
		}
		life := m.life
		m.persist(p, func() {
			durable()
			if m.life == life && m.rn != nil {
				m.appended(k)
			}
		})
		return
	}
}

// appended passes on what raft says of what is on the disk.
func (m *Member) appended(k *pb.Message) {
	for _, r := range k.GetResponses() {
		if r.GetTo() == uint64(m.cfg.ID) {
			m.step(r)
		} else {
			m.post(r)
		}
	}
	m.log.trim(m.given)
}

// apply gives the node what is committed.
func (m *Member) apply(k *pb.Message) {
	if m.restoring {
		return // the node's state is being replaced; what comes of that begins anew, without this
	}
	ents := k.GetEntries()
	var txns []Txn
	for _, e := range ents {
		inv.Check("I16", e.GetIndex() == m.given+1, "entry %d is committed after %d", e.GetIndex(), m.given)
		m.given++
		if len(e.GetData()) > 0 {
			txns = append(txns, Txn{Zxid: m.log.id(e.GetIndex()), Data: e.GetData()})
		}
	}
	if simbug.On("apply-out-of-order") && len(txns) > 1 {
		txns[0], txns[1] = txns[1], txns[0] // they are committed together
	}
	resp := k.GetResponses()[0]
	if len(txns) == 0 {
		if len(m.applying) == 0 {
			m.step(resp)
		} else {
			m.applying = append(m.applying, applying{m.dseq, resp})
		}
		return
	}
	m.dseq++
	m.applying = append(m.applying, applying{m.dseq, resp})
	m.out(Deliver{Gen: m.gen, Seq: m.dseq, Txns: txns})
	if m.leader != nil {
		m.count("commit_count", int64(len(txns)))
		m.leader.committed(m.given)
	} else {
		m.count("learner_commit_received_count", int64(len(txns)))
	}
}

// Delivered says that the node has taken the Deliver with this number and all before.
func (m *Member) Delivered(now Time, gen, seq uint64) {
	m.now = now
	if gen != m.gen || m.rn == nil {
		return
	}
	for len(m.applying) > 0 && m.applying[0].seq <= seq {
		r := m.applying[0].resp
		m.applying = m.applying[1:]
		m.step(r)
	}
}

// step gives raft a message.
func (m *Member) step(k *pb.Message) error {
	if m.rn == nil {
		return raft.ErrStopped
	}
	return m.rn.Step(k)
}

// post sends a message of raft's.
func (m *Member) post(k *pb.Message) {
	to := ServerID(k.GetTo())
	switch k.GetType() {
	case pb.MsgVote, pb.MsgPreVote, pb.MsgVoteResp, pb.MsgPreVoteResp:
		if k.GetType() == pb.MsgVoteResp && !k.GetReject() {
			m.wait() // a slow machine takes its time from the vote to the first heartbeat
		}
		if k.GetType() == pb.MsgPreVoteResp && !k.GetReject() {
			// Somebody else is about to stand, with this server's consent.
			m.elect.at = max(m.elect.at, m.now+m.cfg.Silence/2+Time(m.cfg.Rand(int64(m.cfg.Silence/2))))
		}
		m.out(Mail{To: to, F: Frame{Kind: Vote, Raft: k}})
	case pb.MsgApp, pb.MsgHeartbeat, pb.MsgTimeoutNow:
		if m.leader != nil {
			m.leader.post(to, k)
		}
	case pb.MsgSnap:
		if m.leader != nil {
			m.leader.snapshot(to)
		}
	case pb.MsgAppResp, pb.MsgHeartbeatResp:
		if l := m.learner; l != nil && l.leader == to && k.GetTerm() == l.term {
			m.out(Send{l.conn, []Frame{{Kind: Raft, Raft: k}}})
		}
	}
}

// reconcile draws the consequences of what raft has become.
func (m *Member) reconcile() {
	if m.rn == nil {
		return
	}
	s := m.rn.BasicStatus()
	leads := s.RaftState == raft.StateLeader
	if l := m.leader; l != nil && (!leads || s.GetTerm() != l.term) {
		m.stopLeading("another term has begun, or no majority answers")
	}
	if leads && m.full {
		// It was elected as its disk became full.
		if m.leader != nil {
			m.stopLeading("the disk is full")
		}
		m.rebuild(nil)
		return
	}
	if leads && m.leader == nil {
		m.dropLearner("this server leads now")
		m.handing = 0
		m.leader = newLeader(m, s.GetTerm())
	}
	if l := m.learner; l != nil && m.part() && !m.restoring && (s.GetTerm() != l.term || ServerID(s.Lead) != l.leader) {
		m.dropLearner("another term has begun")
	}
	if m.leader != nil {
		m.leader.flush()
	}
	if m.learner != nil {
		m.learner.flush()
	}
	m.prove()
	if m.leaving && !m.left && (m.leader == nil || m.handing == 0) {
		m.left = true
		m.out(Left{})
	}
}

// prove ends being blank, when what this server has is what the others had at least.
func (m *Member) prove() {
	n := len(m.log.starts)
	if m.st.Standing != Blank || !m.part() || n == 0 || m.log.durable < m.log.starts[n-1].Index {
		return
	}
	if d := m.log.durable; (Point{Index: d, Term: m.log.term(d)}).before(m.elect.best) {
		return
	}
	m.st.Standing, m.st.Why = Proven, ""
	m.save(func() {})
	m.report("this server has what the ensemble has, and counts from now on")
}

// Flush does what the inputs since the last one made possible.
func (m *Member) Flush(now Time) {
	m.now = now
	for range 1000 {
		n := len(m.outs)
		m.drain()
		m.reconcile()
		if len(m.outs) == n && (m.rn == nil || !m.rn.HasReady()) {
			return
		}
	}
}

// Next is when Tick is wanted if nothing happens.
func (m *Member) Next() Time {
	next := min(m.elect.beat, m.elect.at)
	if m.elect.asks > 0 {
		next = min(next, m.elect.asks)
	}
	return next
}

// Tick tells the time.
func (m *Member) Tick(now Time) {
	m.now = now
	gap := now - m.seen
	m.seen = now
	if gap > m.cfg.Silence/2 {
		m.slept(gap)
	}
	if now >= m.elect.beat {
		m.elect.beat = max(m.elect.beat+m.cfg.Beat, now+m.cfg.Beat/2)
		m.beat()
	}
	m.electTick()
	m.Flush(now)
}

// beat is a tick of raft's clock.
func (m *Member) beat() {
	if m.rn == nil {
		return
	}
	if m.rn.BasicStatus().RaftState == raft.StateCandidate && m.now-m.elect.stood > 2*m.cfg.Silence {
		// It consented to others meanwhile, or may not lead any more. Votes for it may have been forgotten by
		// now, with a disk.
		m.rebuild(nil)
		return
	}
	if m.leader != nil {
		m.rn.Tick()
		m.leader.beat()
	} else {
		// When to look for a leader is decided here: raft's own chance comes from where no
		// seed reaches.
		m.rn.TickQuiesced()
	}
	if m.learner != nil {
		m.learner.beat()
	}
	if m.handing != 0 && m.now >= m.handing && m.leader != nil {
		m.handing = 0
		if !m.leaving {
			m.resign("the leadership could not be handed over")
		}
	}
	if m.doubt && !m.restoring && m.now >= m.doubtEnds && m.rn != nil {
		m.warn("no leader gave this server another state: it goes back to the one on its disk")
		m.goBack()
	}
}

// goBack makes the node recover what is on its disk.
func (m *Member) goBack() {
	m.dropLearner("this server goes back to what is on its disk")
	m.look()
	m.rebuild(func() { m.out(Recover{}) })
}

// Recovered answers Recover.
func (m *Member) Recovered(now Time, z Zxid) {
	m.now = now
	if p := m.st.Pending; p.Index != 0 && p.Zxid == z {
		m.takeOver() // it came to the disk before what failed then
		return
	}
	m.doubt, m.restoring = false, false
	if _, ok := m.log.point(z); !ok && z > m.log.base.Zxid {
		m.log.failed(fmt.Errorf("the node recovers at %v, which is not in the log: %w", z, consensus.ErrDamaged))
		return
	}
	if m.st.Pending.Index != 0 {
		m.st.Pending = Point{}
		m.save(func() {})
	}
	m.resume(z)
	m.wait()
}

// wait puts off looking for a leader.
func (m *Member) wait() {
	m.elect.at = m.now + m.cfg.Silence + Time(m.cfg.Rand(int64(m.cfg.Silence)))
}

// stopLeading is the end of a leader.
func (m *Member) stopLeading(why string) {
	l := m.leader
	m.leader = nil
	m.since = 0
	m.look()
	m.out(HangUp{})
	for _, p := range l.peers {
		if p.linked {
			m.out(Disconnect{p.conn, why})
		}
	}
	m.report("leading no more", "term", l.term, "reason", why)
	m.wait()
}

// resign ends a leadership that raft would go on with. What was proposed under it may be
// lost: nobody proposes on top of it.
func (m *Member) resign(why string) {
	if m.leader == nil {
		return
	}
	m.stopLeading(why)
	m.rebuild(nil)
	m.elect.at = m.now + m.cfg.Silence/4 + Time(m.cfg.Rand(int64(m.cfg.Silence/2)))
}

// Resign is the wish of a leader's driver to end its term.
func (m *Member) Resign(now Time, term uint64, why string) {
	m.now = now
	if m.role.Term == term {
		m.resign(why)
	}
}

// Propose orders txns.
func (m *Member) Propose(now Time, term uint64, txns []Txn) {
	m.now = now
	if m.leader == nil || m.role.Term != term || m.role.State != consensus.Leading || m.rn == nil {
		return
	}
	m.leader.propose(txns)
}

// Forward sends requests to the leader.
func (m *Member) Forward(now Time, term uint64, rs []consensus.Request) {
	m.now = now
	l := m.learner
	if l == nil || m.role.Term != term || !l.joined {
		return
	}
	var frames []Frame
	from, size := 0, 0
	for i := range rs {
		n := requestSize(&rs[i])
		if i > from && (size+n > MaxChunk || i-from == 1024) {
			frames = append(frames, Frame{Kind: Requests, Requests: rs[from:i]})
			from, size = i, 0
		}
		size += n
	}
	if from < len(rs) {
		frames = append(frames, Frame{Kind: Requests, Requests: rs[from:]})
	}
	if frames != nil {
		m.out(Send{l.conn, frames})
	}
}

// Sync asks for a Synced.
func (m *Member) Sync(now Time, term uint64, id consensus.SyncID) {
	m.now = now
	if m.role.Term != term {
		return
	}
	switch {
	case m.leader != nil:
		m.leader.sync(nil, uint64(id))
	case m.learner != nil:
		m.learner.sync(id)
	}
}

// Revalidate asks the leader about a session.
func (m *Member) Revalidate(now Time, term uint64, t consensus.Touch) {
	m.now = now
	if l := m.learner; l != nil && m.role.Term == term && l.joined {
		m.out(Send{l.conn, []Frame{{Kind: Reval, Session: t.Session, Timeout: t.TimeoutMS}}})
	}
}

// RevalidateDone answers AskRevalidate.
func (m *Member) RevalidateDone(now Time, c Conn, session int64, alive bool) {
	m.now = now
	if m.leader != nil {
		m.leader.revalidated(c, session, alive)
	}
}

// Checkpoint says that there is a snapshot at saved, and that nothing at or below needed
// is wanted any more.
func (m *Member) Checkpoint(now Time, saved, needed Zxid) {
	m.now = now
	if p, ok := m.log.point(saved); ok && p.Index <= m.given {
		m.log.saved = max(m.log.saved, p.Index)
	}
	if p, ok := m.log.point(needed); ok && p.Index > m.log.base.Index && p.Index <= m.given && p.Index <= m.log.durable {
		m.log.compact(p)
		m.save(func() {})
	}
	m.out(Purge{needed})
}

// Distrust says that the node's state is wrong.
func (m *Member) Distrust(now Time, why string) {
	m.now = now
	if m.doubt {
		return
	}
	m.warn("this server's state is not to be trusted: it has no vote until it has another one", "reason", why)
	if m.leader != nil {
		m.stopLeading("its state is not to be trusted")
	}
	m.dropLearner("this server's state is not to be trusted")
	m.look()
	m.doubt = true
	m.doubtEnds = now + 2*m.cfg.Tick*Time(m.cfg.InitLimit)
	m.rebuild(nil)
}

// Disk says how full the disk is.
func (m *Member) Disk(now Time, d Disk) {
	m.now = now
	was := m.full
	m.full = d == DiskFull
	switch {
	case m.full && !was:
		if m.leader != nil {
			m.resign("the disk is full")
		}
		m.dropLearner("the disk is full")
	case d == DiskLow && m.leader != nil && m.role.State == consensus.Leading && m.handing == 0:
		if m.handOver() {
			m.report("the disk is nearly full: handing the leadership over")
		}
	case was && !m.full:
		m.wait()
	}
	if d != DiskOK {
		m.elect.avoid = now + 2*m.cfg.Silence
	}
}

// handOver gives the leadership to the voter that has most, of those that were heard a moment ago,
// if any was. It reports whether there is one.
func (m *Member) handOver() bool {
	to, match, heard := uint64(0), uint64(0), false
	m.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr progress) {
		p := m.leader.peer(ServerID(id))
		if p == nil || !p.voter || !p.ready || pr.Match == 0 {
			return
		}
		if now := m.now-p.seen < m.cfg.Silence/2; now && !heard || now == heard && pr.Match > match {
			to, match, heard = id, pr.Match, now
		}
	})
	if to == 0 {
		return false
	}
	m.look()
	m.handing, m.heir = m.now+m.cfg.Silence, ServerID(to)
	m.rn.TransferLeader(to)
	return true
}

// Leave says that this server is about to be closed. Left follows.
func (m *Member) Leave(now Time) {
	m.now = now
	m.leaving = true
	if m.leader != nil && m.rn != nil && m.role.State == consensus.Leading && m.handOver() {
		m.report("handing the leadership over before leaving")
	}
	if m.leader == nil && !m.left {
		m.left = true
		m.out(Left{})
	}
	m.Flush(now)
}

// View is a picture of the member.
type View struct {
	Peer              string
	Logged, Committed Zxid
	Learners          []consensus.Learner
	PendingSyncs      int
	Sizes             Sizes
	Since             Time
	Term              uint64
	Standing          Standing
}

// View returns it.
func (m *Member) View() View {
	v := View{Logged: m.log.zxid(min(m.log.last, m.log.durable)), Committed: m.log.zxid(m.given), Sizes: m.sizes, Since: m.since, Term: m.st.Term, Standing: m.st.Standing}
	switch {
	case m.role.State == consensus.Leading:
		v.Peer = "leading - broadcast"
	case m.leader != nil:
		v.Peer = "leading - synchronization"
	case m.role.State == consensus.Following:
		v.Peer = "following - broadcast"
	case m.role.State == consensus.Observing:
		v.Peer = "observing - broadcast"
	case m.learner != nil && m.cfg.observer(m.cfg.ID):
		v.Peer = "observing - synchronization"
	case m.learner != nil:
		v.Peer = "following - synchronization"
	default:
		v.Peer = "looking"
	}
	if m.leader != nil {
		v.Learners, v.PendingSyncs = m.leader.view(), len(m.leader.syncs)
	}
	return v
}

// logger takes raft's lines.
type logger struct{ m *Member }

func (logger) Debug(...any)          {}
func (logger) Debugf(string, ...any) {}
func (logger) Info(...any)           {}
func (logger) Infof(string, ...any)  {}

func (l logger) Warning(v ...any)            { l.m.warn("raft: " + fmt.Sprint(v...)) }
func (l logger) Warningf(f string, v ...any) { l.m.warn("raft: " + fmt.Sprintf(f, v...)) }
func (l logger) Error(v ...any)              { l.m.warn("raft: " + fmt.Sprint(v...)) }
func (l logger) Errorf(f string, v ...any)   { l.m.warn("raft: " + fmt.Sprintf(f, v...)) }
func (logger) Fatal(v ...any)                { inv.Break("I13", "raft: %s", fmt.Sprint(v...)) }
func (logger) Fatalf(f string, v ...any)     { inv.Break("I13", "raft: "+f, v...) }
func (logger) Panic(v ...any)                { inv.Break("I13", "raft: %s", fmt.Sprint(v...)) }
func (logger) Panicf(f string, v ...any)     { inv.Break("I13", "raft: "+f, v...) }
