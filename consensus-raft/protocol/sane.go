package protocol

import (
	"encoding/binary"
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// What raft does with a message that no server would send is to panic. So what comes from
// the network is looked at before.

// fromLeader gives raft what the leader sent. A reason that comes back ends the following.
func (m *Member) fromLeader(l *learner, k *pb.Message) string {
	k.From, k.To = new(uint64(l.leader)), new(uint64(m.cfg.ID))
	if k.GetTerm() != l.term {
		return "it speaks for another term than its own"
	}
	if m.rn == nil || !m.part() {
		return "" // it was told
	}
	m.heard()
	m.drain() // what is looked at is what raft has, not what it had
	if m.rn == nil || m.learner != l {
		return ""
	}
	committed := m.rn.BasicStatus().GetCommit()
	switch k.GetType() {
	case pb.MsgHeartbeat:
		if len(k.GetEntries()) > 0 || len(k.GetContext()) != 0 && len(k.GetContext()) != 8 {
			return "its heartbeat is malformed"
		}
		if m.st.Standing == Blank && m.restoring {
			k.Commit = new(min(k.GetCommit(), committed)) // the rest, and more, is on its way
		}
		if k.GetCommit() > m.log.last {
			// The leader counts on what this server acknowledged.
			return m.forgot(fmt.Sprintf("the leader has heard of entry %d, and the log here ends at %d", k.GetCommit(), m.log.last))
		}
	case pb.MsgApp:
		if m.restoring {
			return "" // the log is about to be replaced
		}
		if why := m.entries(k, committed); why != "" {
			return why
		}
	case pb.MsgTimeoutNow:
		// A leader that has not noticed yet that this is another disk goes by what was acknowledged on the old one.
		if !m.mayVote() || m.short() {
			return ""
		}
		m.elect.stood = m.now
	default:
		return fmt.Sprintf("%v is nothing that a leader sends", k.GetType())
	}
	k.Reject, k.RejectHint, k.Snapshot, k.Responses = nil, nil, nil, nil
	m.step(k)
	return ""
}

// entries says what is wrong with an append.
func (m *Member) entries(k *pb.Message, committed uint64) string {
	index, term := k.GetIndex(), k.GetLogTerm()
	if term > k.GetTerm() {
		return "it appends behind an entry of a later term"
	}
	for _, e := range k.GetEntries() {
		index++
		switch z, ok := headerZxid(e.GetData()); {
		case e.GetTerm() < term || e.GetTerm() > k.GetTerm() || e.GetTerm() == 0:
			return fmt.Sprintf("entry %d has term %d, the one before it %d", index, e.GetTerm(), term)
		case (len(e.GetData()) == 0) != (e.GetTerm() > term):
			return fmt.Sprintf("entry %d: the first of a term is empty, and no other", index)
		case len(e.GetData()) > 0 && (!ok || z.Epoch() != int64(e.GetTerm()) || z.Counter() == 0):
			return fmt.Sprintf("entry %d of term %d holds %v", index, e.GetTerm(), z)
		}
		term = e.GetTerm()
		if index <= committed && index >= m.log.base.Index && m.log.term(index) != term {
			return fmt.Sprintf("entry %d is another one than what is committed here", index)
		}
	}
	// The zxids count from the beginning of the term, wherever that is.
	return m.counters(k)
}

// counters checks that the txns of an append have the zxids that their places give them.
func (m *Member) counters(k *pb.Message) string {
	var start Start
	if prev := k.GetIndex(); prev >= m.log.base.Index && prev <= m.log.last && m.log.term(prev) == k.GetLogTerm() {
		if i := m.log.at(prev); i >= 0 {
			start = m.log.starts[i]
		}
	} else {
		return "" // raft refuses it
	}
	for _, e := range k.GetEntries() {
		if len(e.GetData()) == 0 {
			start = Start{e.GetTerm(), e.GetIndex()}
			continue
		}
		z, _ := headerZxid(e.GetData())
		if start.Term != e.GetTerm() || z != consensus.MakeZxid(int64(start.Term), uint32(e.GetIndex()-start.Index)) {
			return fmt.Sprintf("entry %d of term %d holds %v", e.GetIndex(), e.GetTerm(), z)
		}
	}
	return ""
}

// forgot makes this server one that lost its log. One that has another disk, and has heard of what there is, has
// said so: the leader goes by what was acknowledged on the old disk, in the same term. In the next one it does not.
func (m *Member) forgot(why string) string {
	if l := m.learner; m.st.Standing == Blank && l != nil && l.term < MaxTerm {
		m.report("the leader counts on what this server had on another disk: another term is to begin", "reason", why)
		m.st.Term, m.st.Vote = max(m.st.Term, l.term+1), m.cfg.ID
		m.save(func() {})
		m.look()
		m.rebuild(nil)
		return why
	}
	m.warn("the log of this server is not all that it acknowledged: it has no vote until it has everything from a leader", "reason", why)
	m.st.Standing, m.st.Why = Lost, why
	m.save(func() {})
	m.look()
	m.rebuild(nil)
	return why
}

// fromLearner gives raft what a learner sent. A reason that comes back ends the connection.
func (m *Member) fromLearner(p *peer, k *pb.Message) string {
	k.From, k.To = new(uint64(p.id)), new(uint64(m.cfg.ID))
	if k.GetTerm() != m.leader.term {
		if k.GetTerm() < m.leader.term || !p.voter {
			return ""
		}
	}
	if len(k.GetEntries()) > 0 {
		return "it sends entries"
	}
	switch k.GetType() {
	case pb.MsgAppResp:
		if !k.GetReject() && k.GetIndex() > m.log.last {
			return fmt.Sprintf("it acknowledges entry %d, and the last one is %d", k.GetIndex(), m.log.last)
		}
		if p.acksFrom != 0 && k.GetIndex() >= p.acked {
			m.observe("ack_latency", fmt.Sprint(int64(p.id)), float64(m.now-p.acksFrom)/float64(Millisecond))
			p.acksFrom, p.acked = 0, k.GetIndex()
		}
	case pb.MsgHeartbeatResp:
		switch ctx := k.GetContext(); len(ctx) {
		case 0:
		case 8:
			if binary.LittleEndian.Uint64(ctx) > m.leader.issued {
				return "it answers a heartbeat that was not sent"
			}
		default:
			return "its answer to a heartbeat is malformed"
		}
	default:
		return fmt.Sprintf("%v is nothing that a learner sends", k.GetType())
	}
	k.Snapshot, k.Responses = nil, nil
	m.step(k)
	return ""
}

// election gives raft what came to the election port.
func (m *Member) election(from ServerID, k *pb.Message) {
	if !m.cfg.voter(from) || !m.cfg.voter(m.cfg.ID) || from == m.cfg.ID || m.rn == nil || !m.part() || len(k.GetEntries()) > 0 || k.GetTerm() == 0 {
		return
	}
	k.From, k.To = new(uint64(from)), new(uint64(m.cfg.ID))
	switch k.GetType() {
	case pb.MsgVote, pb.MsgPreVote:
		if !m.mayVote() || k.GetTerm() <= m.elect.floor {
			return
		}
		if k.GetType() == pb.MsgPreVote && m.ahead(from, k) {
			return
		}
		if m.st.Standing == Blank && (Point{Index: k.GetIndex(), Term: k.GetLogTerm()}).before(m.elect.best) {
			return
		}
	case pb.MsgVoteResp, pb.MsgPreVoteResp:
	default:
		return
	}
	k.Snapshot, k.Responses = nil, nil
	m.step(k)
}
