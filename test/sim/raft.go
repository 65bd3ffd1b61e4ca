package sim

import (
	"fmt"
	"maps"

	pb "go.etcd.io/raft/v3/raftpb"

	raft "github.com/zkcore/zkcore/consensus-raft"
	"github.com/zkcore/zkcore/consensus-raft/protocol"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A raftPeer drives a member of package raft.
type raftPeer struct {
	m *machine
	w *world
	d *raft.Driven

	alone        bool
	turns, calls bool // an event will take a turn, call the node
	writing      bool // an event will do the journal's jobs
	timerAt      int64
	listening    bool
	dials        map[consensus.ServerID]int // the attempt that is under way
	dialling     map[consensus.ServerID]bool
	rounds       int
	links        map[protocol.Conn]*raftLink
	mails        map[consensus.ServerID]*post
}

// A raftLink is this side of a connection on the quorum port.
type raftLink struct {
	e   *end
	buf []byte
}

// A post is what is on its way to another server's election port, in order.
type post struct {
	b       [][]byte
	waiting bool
	last    int64
}

// raftOptions are what a seed draws from: a log in memory that is soon too small, learners
// that soon need a snapshot, leaders that are soon missed.
var raftOptions = map[string][]string{
	"zkcore.raft.windowBytes": {"4096", "65536", "33554432"},
	"zkcore.raft.keepEntries": {"0", "3", "50", "5000", "0"},
	"zkcore.raft.electionMs":  {"500", "1000", "1000", "2000"},
}

// maxPost bounds it, as the driver does: the oldest goes.
const maxPost = 64

func openRaft(m *machine, cfg consensus.Config, n consensus.Node) (Peer, consensus.Member, error) {
	p := &raftPeer{m: m, w: m.w, links: map[protocol.Conn]*raftLink{}, mails: map[consensus.ServerID]*post{},
		dials: map[consensus.ServerID]int{}, dialling: map[consensus.ServerID]bool{}, alone: len(cfg.Servers) == 0}
	cfg.Options = maps.Clone(cfg.Options)
	for key, values := range raftOptions {
		cfg.Options[key] = values[(m.w.seed>>4)%uint64(len(values))]
	}
	if m.w.plan.narrow {
		maps.Copy(cfg.Options, narrowRaft)
	}
	d, err := raft.OpenDriven(&m.disk, p, cfg, n)
	if err != nil {
		return nil, nil, err
	}
	p.d = d
	for _, s := range cfg.Servers {
		if s.ID != cfg.ID {
			p.mails[s.ID] = new(post)
		}
	}
	return p, d, nil
}

// Begin starts the protocol. What was queued while the member was opened waits for it.
func (p *raftPeer) Begin() {
	if !p.alone {
		p.listening = true
		p.d.Begin()
		p.turned()
	}
	p.WakeJournal()
	p.WakeNode()
}

// Up implements Peer.
func (p *raftPeer) Up(*machine) {}

// Leave implements Peer.
func (p *raftPeer) Leave() { p.d.Leave() }

// Left implements Peer.
func (p *raftPeer) Left() bool { return p.d == nil || p.d.Left() }

// Refused implements Peer: what was on its way to a process that is gone is lost.
func (p *raftPeer) Refused(o *machine) {
	if b := p.mails[o.id]; b != nil {
		b.b = nil
	}
}

func (p *raftPeer) peerOf(id consensus.ServerID) *machine { return p.w.machines[id-1] }

// Now implements raft.World.
func (p *raftPeer) Now() protocol.Time { return protocol.Time(p.m.clock() + s1) }

// IntN implements raft.World.
func (p *raftPeer) IntN(n int64) int64 { return p.m.rng.Int64N(n) }

// Wake implements raft.World.
func (p *raftPeer) Wake() {
	if !p.turns && p.d != nil {
		p.turns = true
		p.w.after(p.m.rng.Int64N(30*us), p.m, func() {
			p.turns = false
			p.turn()
		})
	}
}

func (p *raftPeer) turn() {
	if p.m.stopped {
		return
	}
	p.d.Turn()
	p.turned()
}

// turned sees to it that the member is told the time when it wants to be.
func (p *raftPeer) turned() {
	if r := p.d.Role(); r.State == consensus.Leading {
		p.w.truth.leads(p.m, r)
	}
	at := p.m.global(int64(p.d.Next()) - s1)
	if p.timerAt > p.w.now && p.timerAt <= at+ms {
		return
	}
	p.timerAt = at
	p.w.at(at, p.m, func() {
		if p.timerAt == at {
			p.timerAt = 0
			p.turn()
		}
	})
}

// WakeJournal implements raft.World.
func (p *raftPeer) WakeJournal() {
	if p.writing || p.d == nil || !p.d.JournalWaits() {
		return
	}
	p.writing = true
	wait := p.m.disk.took()
	if p.d.WaitsForSpace() {
		wait += 100 * ms
	}
	p.w.after(wait, p.m, func() {
		p.writing = false
		if p.m.stopped {
			return
		}
		if err := p.d.Journal(); err != nil {
			panic(exit{1, err})
		}
		p.WakeJournal()
	})
}

// WakeNode implements raft.World.
func (p *raftPeer) WakeNode() {
	if p.calls || p.d == nil || !p.d.NodeWaits() {
		return
	}
	p.calls = true
	p.w.after(p.m.rng.Int64N(100*us)+p.m.slow, p.m, func() {
		p.calls = false
		if !p.m.stopped && p.d.Node() {
			p.WakeNode()
		}
	})
}

// Mail implements raft.World.
func (p *raftPeer) Mail(to consensus.ServerID, frame []byte) {
	b := p.mails[to]
	if b == nil {
		return
	}
	p.votes(to, frame)
	if len(b.b) == maxPost {
		b.b = b.b[1:]
	}
	b.b = append(b.b, frame)
	p.post(to, b)
}

// post carries what is queued as soon as it gets through.
func (p *raftPeer) post(to consensus.ServerID, b *post) {
	if b.waiting {
		return
	}
	b.waiting = true
	o := p.peerOf(to)
	b.last = max(p.w.now+p.w.net.latency(host(p.m.id), host(to)), b.last+1)
	p.w.at(b.last, p.m, func() { p.deliver(o, b) })
}

func (p *raftPeer) deliver(o *machine, b *post) {
	net := &p.w.net
	b.waiting = false
	switch {
	case len(b.b) == 0:
	case net.isCut(host(p.m.id), host(o.id)) || net.isCut(host(o.id), host(p.m.id)):
		b.waiting = true
		p.w.after(30*ms+p.w.netRand.Int64N(30*ms), p.m, func() { p.deliver(o, b) })
	case !o.up:
		b.b = nil
	default:
		frames := b.b
		b.b = nil
		p.w.at(p.w.now, o, func() {
			q, ok := o.peer.(*raftPeer)
			if !ok || q.d == nil {
				return
			}
			for _, f := range frames {
				if err := q.d.Mailed(p.m.id, f); err != nil {
					p.w.fail("node %d: a frame does not decode: %v", p.m.id, err)
				}
			}
		})
	}
}

// Dial implements raft.World.
func (p *raftPeer) Dial(to consensus.ServerID, after protocol.Time) {
	p.rounds++
	round := p.rounds
	p.dials[to] = round
	p.w.after(int64(after), p.m, func() { p.dial(p.peerOf(to), round, 1) })
}

// HangUp implements raft.World.
func (p *raftPeer) HangUp() { clear(p.dials) }

func (p *raftPeer) dial(o *machine, attempt, try int) {
	net := &p.w.net
	p.w.after(net.latency(host(p.m.id), host(o.id)), p.m, func() {
		if attempt != p.dials[o.id] {
			return
		}
		cut := net.isCut(host(p.m.id), host(o.id)) || net.isCut(host(o.id), host(p.m.id))
		q, _ := o.peer.(*raftPeer)
		switch {
		case o.up && q != nil && q.listening && !cut && o.wake <= p.w.now:
			delete(p.dials, o.id)
			p.connected(o, q)
		case cut || o.wake > p.w.now:
			p.w.after(500*ms, p.m, func() { p.dial(o, attempt, try+1) })
		default:
			p.w.after(min(10*ms<<min(try, 5), 250*ms), p.m, func() { p.dial(o, attempt, try+1) })
		}
	})
}

func (p *raftPeer) connected(o *machine, q *raftPeer) {
	a, b := p.w.net.connect(host(p.m.id), host(o.id), p.m, o)
	p.attach(a)
	q.attach(b)
	c := protocol.Conn(a.no)
	p.w.after(p.w.net.latency(a.host, b.host), o, func() {
		if !b.dead {
			q.d.Accepted(c, fmt.Sprintf("10.0.0.%d:%d", p.m.id, a.no))
			q.links[c].open(q)
		}
	})
	p.d.Linked(o.id, c, fmt.Sprintf("10.0.0.%d:2888", o.id))
	p.links[c].open(p)
}

// attach keeps what arrives until the member knows of the connection.
func (p *raftPeer) attach(e *end) {
	l := &raftLink{e: e}
	p.links[protocol.Conn(e.no)] = l
	p.m.ends = append(p.m.ends, e)
	e.recv = func(b []byte) { l.buf = append(l.buf, b...) }
	e.closed = func(why string) {
		delete(p.links, protocol.Conn(e.no))
		p.d.Closed(protocol.Conn(e.no), why)
	}
}

// open gives the member what arrives.
func (l *raftLink) open(p *raftPeer) {
	l.e.recv = func(b []byte) {
		l.buf = append(l.buf, b...)
		l.read(p)
	}
	l.read(p)
}

func (l *raftLink) read(p *raftPeer) {
	rest, err := p.d.Frames(protocol.Conn(l.e.no), l.buf)
	l.buf = append([]byte(nil), rest...)
	if err != nil {
		p.w.fail("node %d: frames don't decode: %v", p.m.id, err)
	}
}

// Send implements raft.World.
func (p *raftPeer) Send(c protocol.Conn, b []byte) {
	if l := p.links[c]; l != nil {
		p.says(l, b)
		l.e.send(b)
	}
}

// Disconnect implements raft.World.
func (p *raftPeer) Disconnect(c protocol.Conn) {
	if l := p.links[c]; l != nil {
		l.e.close()
		delete(p.links, c)
	}
}

// stateOnDisk is what the state file would say after a power cut.
func (m *machine) stateOnDisk() (protocol.State, bool) {
	b, err := vfs.ReadFile(m.disk.synced(), dataDir+"/raft", 1<<20)
	if err != nil {
		return protocol.State{}, false
	}
	s, err := protocol.DecodeState(b)
	return s, err == nil
}

// votes looks at what leaves for an election port: terms and votes are on the disk, and who
// stands has what it has said that it has.
func (p *raftPeer) votes(to consensus.ServerID, frame []byte) {
	f, err := protocol.DecodeFrame(frame[4:])
	if err != nil || f.Kind != protocol.Vote || p.m.disk.failed {
		return
	}
	w, m, k := p.w, p.m, f.Raft
	switch k.GetType() {
	case pb.MsgVote:
		if s, ok := m.stateOnDisk(); !ok || s.Term < k.GetTerm() || s.Term == k.GetTerm() && s.Vote != m.id {
			w.fail("I14: node %d stands in term %d, and its disk says %d, vote %d", m.id, k.GetTerm(), s.Term, s.Vote)
		}
	case pb.MsgVoteResp:
		if s, ok := m.stateOnDisk(); !k.GetReject() && (!ok || s.Term < k.GetTerm() || s.Term == k.GetTerm() && s.Vote != to) {
			w.fail("I14: node %d votes for %d in term %d, and its disk says %d, vote %d", m.id, to, k.GetTerm(), s.Term, s.Vote)
		}
	}
	if k.GetType() == pb.MsgVote || k.GetType() == pb.MsgPreVote {
		if s, ok := m.stateOnDisk(); ok {
			if kept := m.said.kept(&w.truth); s.Zxid(k.GetIndex()) < kept {
				w.fail("I17: node %d stands for election with %v, and had acked %v, which is committed", m.id, s.Zxid(k.GetIndex()), kept)
			}
		}
	}
}

// says looks at frames that leave on a connection of the quorum port.
func (p *raftPeer) says(l *raftLink, b []byte) {
	w, m := p.w, p.m
	for len(b) >= 5 && !m.disk.failed {
		n := int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])
		kind, body := protocol.Kind(b[4]), b[4:4+n]
		b = b[4+n:]
		if kind == protocol.Requests && m.breaks {
			m.breaks = false
			w.after(500*us+w.faultRand.Int64N(ms), nil, func() {
				w.logf(m, "%v breaks behind a request", l.e)
				l.e.break_("reset")
			})
		}
		if kind != protocol.Raft && kind != protocol.Installed {
			continue
		}
		f, err := protocol.DecodeFrame(body)
		if err != nil {
			w.fail("node %d: a frame does not decode: %v", m.id, err)
			return
		}
		index := f.At.Index
		if kind == protocol.Installed {
			w.stats.Snaps++
		}
		if kind == protocol.Raft {
			if k := f.Raft; k.GetType() != pb.MsgAppResp || k.GetReject() {
				continue
			}
			index = f.Raft.GetIndex()
		}
		if kind == protocol.Raft && !m.disk.struck && m.said.rng.IntN(50) != 0 {
			continue
		}
		s, ok := m.stateOnDisk()
		if !ok {
			w.fail("I06: node %d acks entry %d, and has no state file", m.id, index)
			return
		}
		z := s.Zxid(index)
		if !m.holds(z) {
			w.fail("I06: node %d acks entry %d, and %v is not on its disk", m.id, index, z)
		}
		m.said.ack(&w.truth, z)
	}
}
