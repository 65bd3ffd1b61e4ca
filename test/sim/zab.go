package sim

import (
	"fmt"

	zab "github.com/zkcore/zkcore/consensus-zab"
	"github.com/zkcore/zkcore/consensus-zab/protocol"
	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A zabPeer drives a member of package zab.
type zabPeer struct {
	m *machine
	w *world
	d *zab.Driven

	alone            bool
	turns, calls     bool // an event will take a turn, call the node
	writing          bool // an event will do the journal's jobs
	timerAt          int64
	listening        bool
	attempt          int
	links            map[protocol.Conn]*link
	mails            map[consensus.ServerID]*mail
	restoring        *link
	restoreZxid      consensus.Zxid
	restoreSkip      bool
	restoreScheduled bool
}

// A link is this side of a connection on the quorum port.
type link struct {
	e     *end
	buf   []byte
	snaps bool // the other side is the leader
	holds bool // a snapshot begins here, and waits for the node
	gone  bool

	// On a learner's side, what it was told before it joined: see hears.
	epoch          int64
	top            consensus.Zxid
	sealed, joined bool
}

// A mail is what is on its way to another server's election port: the newest counts.
type mail struct {
	n       *protocol.Notification
	sent    *protocol.Notification // for a connection that begins anew
	waiting bool
	last    int64
}

func openZab(m *machine, cfg consensus.Config, n consensus.Node) (Peer, consensus.Member, error) {
	p := &zabPeer{m: m, w: m.w, links: map[protocol.Conn]*link{}, mails: map[consensus.ServerID]*mail{}, alone: len(cfg.Servers) == 0}
	d, err := zab.OpenDriven(&m.disk, p, cfg, n)
	if err != nil {
		return nil, nil, err
	}
	p.d = d
	for _, s := range cfg.Servers {
		if s.ID != cfg.ID {
			p.mails[s.ID] = new(mail)
		}
	}
	return p, d, nil
}

// Begin starts the protocol. What was queued while the member was opened waits for it.
func (p *zabPeer) Begin() {
	if !p.alone {
		p.d.Begin()
		p.turned()
		for _, o := range p.w.machines {
			if q, ok := o.peer.(*zabPeer); ok && o != p.m && o.up && q.d != nil {
				p.w.after(p.w.net.latency(host(p.m.id), host(o.id)), o, func() { o.peer.Up(p.m) })
			}
		}
	}
	p.WakeJournal()
	p.WakeNode()
}

func (p *zabPeer) peerOf(id consensus.ServerID) *machine { return p.w.machines[id-1] }

// Now implements zab.World.
func (p *zabPeer) Now() protocol.Time { return protocol.Time(p.m.clock() + s1) }

// Wake implements zab.World.
func (p *zabPeer) Wake() {
	if !p.turns && p.d != nil {
		p.turns = true
		p.w.after(p.m.rng.Int64N(30*us), p.m, func() {
			p.turns = false
			p.turn()
		})
	}
}

func (p *zabPeer) turn() {
	if p.m.stopped {
		return
	}
	p.d.Turn()
	p.turned()
}

// turned sees to it that the member is told the time when it wants to be.
func (p *zabPeer) turned() {
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

// WakeJournal implements zab.World.
func (p *zabPeer) WakeJournal() {
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

// WakeNode implements zab.World.
func (p *zabPeer) WakeNode() {
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

// Notify implements zab.World.
func (p *zabPeer) Notify(to consensus.ServerID, n protocol.Notification) {
	b := p.mails[to]
	if b == nil {
		return
	}
	p.votes(&n)
	b.n = &n
	p.post(to, b)
}

// post carries a notification as soon as it gets through.
func (p *zabPeer) post(to consensus.ServerID, b *mail) {
	if b.waiting {
		return
	}
	b.waiting = true
	o := p.peerOf(to)
	b.last = max(p.w.now+p.w.net.latency(host(p.m.id), host(to)), b.last+1)
	p.w.at(b.last, p.m, func() { p.deliver(o, b) })
}

func (p *zabPeer) deliver(o *machine, b *mail) {
	net := &p.w.net
	b.waiting = false
	switch {
	case b.n == nil:
	case net.isCut(host(p.m.id), host(o.id)) || net.isCut(host(o.id), host(p.m.id)):
		b.waiting = true
		p.w.after(30*ms+p.w.netRand.Int64N(30*ms), p.m, func() { p.deliver(o, b) })
	case !o.up:
		b.sent, b.n = b.n, nil
		if o.disk.failed {
			return // nobody says that nobody is there
		}
		p.d.Reach(o.id, protocol.Refused)
	default:
		n := *b.n
		b.sent, b.n = b.n, nil
		// Through the bytes, as on the wire.
		k, err := quorum.DecodeNotification(n.Append(nil))
		if err != nil {
			p.w.fail("node %d: a notification does not decode: %v", p.m.id, err)
			return
		}
		p.d.Reach(o.id, protocol.Up)
		p.w.at(p.w.now, o, func() {
			q := o.peer.(*zabPeer)
			q.d.Reach(p.m.id, protocol.Up)
			q.d.Notification(p.m.id, k)
		})
	}
}

// Up implements Peer: what was said last is said again to who has just begun.
func (p *zabPeer) Up(o *machine) {
	b := p.mails[o.id]
	if b == nil || b.n != nil || b.sent == nil {
		return
	}
	b.n = b.sent
	p.post(o.id, b)
}

// Refused implements Peer.
func (p *zabPeer) Refused(o *machine) {
	if p.mails[o.id] != nil {
		p.d.Reach(o.id, protocol.Refused)
	}
}

// Leave implements Peer: there is nothing to hand over.
func (p *zabPeer) Leave() {}

// Left implements Peer.
func (p *zabPeer) Left() bool { return true }

// Listen implements zab.World.
func (p *zabPeer) Listen() { p.listening = true }

// StopListening implements zab.World.
func (p *zabPeer) StopListening() { p.listening = false }

// Connect implements zab.World.
func (p *zabPeer) Connect(leader consensus.ServerID) {
	p.attempt++
	p.dial(p.peerOf(leader), p.attempt, 1)
}

// HangUp implements zab.World.
func (p *zabPeer) HangUp() { p.attempt++ }

func (p *zabPeer) dial(o *machine, attempt, try int) {
	net := &p.w.net
	p.w.after(net.latency(host(p.m.id), host(o.id)), p.m, func() {
		if attempt != p.attempt {
			return
		}
		cut := net.isCut(host(p.m.id), host(o.id)) || net.isCut(host(o.id), host(p.m.id))
		q, _ := o.peer.(*zabPeer)
		switch {
		case o.up && q != nil && q.listening && !cut && o.wake <= p.w.now:
			p.connected(o, q)
		case try == 60 || cut && try == 5:
			p.d.ConnectFailed(o.id, "refused")
		case cut || o.wake > p.w.now:
			p.w.after(500*ms, p.m, func() { p.dial(o, attempt, try+1) })
		default:
			p.w.after(25*ms, p.m, func() { p.dial(o, attempt, try+1) })
		}
	})
}

func (p *zabPeer) connected(o *machine, q *zabPeer) {
	a, b := p.w.net.connect(host(p.m.id), host(o.id), p.m, o)
	p.attach(a, true)
	q.attach(b, false)
	c := protocol.Conn(a.no)
	p.w.after(p.w.net.latency(a.host, b.host), o, func() {
		if !b.dead {
			q.d.Accepted(c, fmt.Sprintf("10.0.0.%d:%d", p.m.id, a.no))
			q.links[c].open(q)
		}
	})
	p.d.Connected(c)
	p.links[c].open(p)
}

// attach keeps what arrives until the member knows of the connection.
func (p *zabPeer) attach(e *end, snaps bool) {
	l := &link{e: e, snaps: snaps}
	p.links[protocol.Conn(e.no)] = l
	p.m.ends = append(p.m.ends, e)
	e.recv = func(b []byte) { l.buf = append(l.buf, b...) }
	e.closed = func(why string) {
		l.gone = true
		delete(p.links, protocol.Conn(e.no))
		p.d.Closed(protocol.Conn(e.no), why)
		if p.restoring == l {
			p.restore()
		}
	}
}

// open gives the member what arrives.
func (l *link) open(p *zabPeer) {
	l.e.recv = func(b []byte) {
		l.buf = append(l.buf, b...)
		l.read(p)
	}
	l.read(p)
}

func (l *link) read(p *zabPeer) {
	if l.holds {
		if p.restoring == l {
			p.restore()
		}
		return
	}
	ks, rest, err := p.d.ReadPackets(l.buf, l.snaps)
	l.buf = append([]byte(nil), rest...)
	if len(ks) > 0 {
		l.hears(p, ks)
		l.holds = l.snaps && ks[len(ks)-1].Type == quorum.TypeSnap
		p.d.Packets(protocol.Conn(l.e.no), ks)
	}
	if err != nil {
		p.w.fail("node %d: packets don't decode: %v", p.m.id, err)
	}
}

// Send implements zab.World.
func (p *zabPeer) Send(c protocol.Conn, b []byte) {
	if l := p.links[c]; l != nil {
		p.says(l, b)
		l.e.send(b)
	}
}

// Disconnect implements zab.World.
func (p *zabPeer) Disconnect(c protocol.Conn) {
	if l := p.links[c]; l != nil {
		l.gone = true
		l.e.close()
		delete(p.links, c)
		if p.restoring == l {
			p.restore()
		}
	}
}

// Restore implements zab.World.
func (p *zabPeer) Restore(c protocol.Conn, zxid consensus.Zxid, skip bool) {
	p.w.logf(p.m, "restore at %v, skip %v", zxid, skip)
	l := p.links[c]
	if l == nil {
		l = &link{gone: true}
	}
	p.restoring, p.restoreZxid, p.restoreSkip = l, zxid, skip
	p.restore()
}

// restore gives the node the snapshot when all of it is there, or all that will be.
func (p *zabPeer) restore() {
	if p.restoreScheduled {
		return
	}
	p.restoreScheduled = true
	p.w.after(p.m.disk.took(), p.m, func() {
		p.restoreScheduled = false
		l := p.restoring
		if l == nil || p.m.stopped || !l.gone && zab.SnapshotLen(l.buf) < 0 {
			return
		}
		p.restoring = nil
		rest, err := p.d.Restore(p.restoreZxid, p.restoreSkip, l.buf)
		l.buf, l.holds = rest, false
		if err == nil && !l.gone {
			p.w.stats.Snaps++
			l.read(p)
		}
	})
}
