package node

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// Role says what this node is from now on.
//
// Without a leader, clients keep their connections for a while: pings are
// answered, what else comes waits in the fifos. With a new one all of it is
// queued again from the beginning: what the ensemble kept of earlier tries has
// been delivered, and has left the fifos with that; the rest never was.
func (n *Node) Role(r consensus.Role) {
	if n.failed.Load() {
		return
	}
	now := n.clock()
	n.mu.Lock()
	if n.doubt {
		// The member has not heard of it yet. With this state nobody is served.
		r.State = consensus.Looking
	}
	was := n.role
	n.role = r
	n.serving = r.State != consensus.Looking
	n.queue.reset(r.Term)
	if was.State == consensus.Leading {
		n.engine.StopLeading()
	}
	clear(n.syncs)
	clear(n.reclaims)
	n.later = nil
	clear(n.refusals)
	n.prepared.Store(0)
	n.trackMu.Lock()
	if !simbug.On("stale-timeouts") { // else a session has as long as it had when this node led before
		n.tracker.Reset()
	}
	n.fresh = nil
	n.trackMu.Unlock()

	switch r.State {
	case consensus.Looking:
		n.readOnly = n.readOnly && was.State == consensus.Looking
		n.holding = n.served && n.cfg.HoldMS > 0
		n.lookingSince = now
	case consensus.Leading:
		n.engine.Lead(int64(r.Last))
		if !simbug.On("stale-timeouts") || n.tracker.Len() == 0 {
			n.freshSessions()
		}
		n.closeOrphans()
	}
	var waiting, readers []*client
	if n.serving {
		n.served, n.holding, n.readOnly = true, false, false
		readers = n.freshLocals()
		n.idsFound()
		n.engine.Settle()
		n.settleUpgrades()
		waiting = n.requeue()
	} else if !n.holding {
		for _, cl := range n.byAge() {
			cl.c.Close(nil)
		}
	}
	n.mu.Unlock()

	for _, cl := range readers {
		cl.c.Close(nil)
	}
	n.keepCommitted()
	n.logRole(r)
	n.kick()
	for _, cl := range waiting {
		cl.c.Lock()
		cl.startPump()
		if !cl.Blocked() {
			cl.c.Wake()
		}
		cl.c.Unlock()
	}
	if r.State == consensus.Looking && n.holding {
		n.world.Every(holdStep, func() bool { return n.hold(r.Term) })
	}
	if r.State == consensus.Looking && n.cfg.ReadOnly && !r.Standalone {
		n.world.Every(holdStep, func() bool { return n.awaitReadOnly(r.Term) })
	}
}

// logRole is for who looks closely: the member has a line for each of these,
// with what it knows of the reason.
func (n *Node) logRole(r consensus.Role) {
	n.log.Debug("role", "state", r.State, "term", r.Term, "leader", r.Leader, "epoch", r.Epoch, "last", r.Last)
}

// requeue queues what all clients wait for, those first that came first, and
// returns the clients. The write lock is held.
//
// Left out, and closed, is who was not heard from for half his timeout: a client
// that is there says something in a third of it. That one may have given up this
// connection without a word and be on another server, and a new leader does not know
// which of the two speaks for the session: what is asked here would be executed
// behind what is asked there, or be taken for it.
func (n *Node) requeue() []*client {
	now := n.clock()
	n.clearLine()
	var waiting []*client
	for _, cl := range n.byAge() {
		cl.c.Lock()
		switch {
		case cl.fifo.n == 0 || cl.c.Gone():
		case cl.opened.Load() && !cl.Blocked() && now-cl.heard.Load() > int64(cl.timeoutMS)*1e6/2:
			cl.c.CloseLocked(errors.New("nothing was heard for long when a leader came, and something was asked before"))
		default:
			waiting = append(waiting, cl)
			cl.leaveQueue()
		}
		cl.c.Unlock()
	}
	var again int64
	for _, cl := range waiting {
		cl.c.Lock()
		asked := cl.next // what is before this was with a leader already
		cl.next, cl.readsAhead, cl.syncsAhead, cl.scan = cl.fifo.first, 0, 0, 0
		for no := cl.fifo.first; no != cl.fifo.end(); no++ {
			e := cl.fifo.at(no)
			if e.kind == kReclaim {
				e.done = false
			}
			if no < asked && e.kind.waits() && e.kind != kRewatch {
				again++
			}
			if e.barrier {
				e.barrier = false
				n.barriers.Add(-1)
			}
		}
		cl.advance()
		cl.c.Unlock()
	}
	n.cfg.Metrics.Add("zkcore_requests_resubmitted", again)
	return waiting
}

// closeOrphans ends the sessions that have ephemerals and are not open: such
// there can be in an imperfect snapshot only. The write lock is held.
func (n *Node) closeOrphans() {
	n.engine.Orphans(func(session int64) {
		n.log.Warn("ephemerals of a session that is not open", "session", sessionText(session))
		n.queue.put(n.closeItem(session))
	})
}

// closeItem is the node's own request to close a session.
func (n *Node) closeItem(session int64) item {
	return item{kind: kWrite, from: 0, req: consensus.Request{Session: session, Op: int32(proto.OpCloseSession)}}
}

// hold closes the connections of clients for which the time without a leader is
// getting long: after half of its timeout a client is better off with another
// server, where it still comes in time to keep its session. It reports whether there is
// more to come.
func (n *Node) hold(term uint64) bool {
	n.mu.Lock()
	if n.role.Term != term || n.serving {
		n.mu.Unlock()
		return false
	}
	passed := n.clock() - n.lookingSince
	over := passed >= n.cfg.HoldMS*1e6
	if over {
		n.holding = false // and nobody new is let in
	}
	closed := 0
	for _, cl := range n.byAge() {
		cl.c.Lock()
		if cl.state != sGreeting && !cl.onlyReads() && !cl.c.Gone() && (over || passed >= int64(cl.timeoutMS)*1e6/2) {
			cl.c.CloseLocked(nil)
			closed++
		}
		cl.c.Unlock()
	}
	n.mu.Unlock()
	if closed > 0 {
		n.log.Info("no leader yet: clients have to try another server", "closed", closed, "after", time.Duration(passed))
	}
	return !over
}

// byAge are the clients in the order in which they came: what is done to all of them is
// done in the same order each time. The write lock is held.
func (n *Node) byAge() []*client {
	return slices.SortedFunc(maps.Values(n.clients), func(a, b *client) int { return cmp.Compare(a.c.ID, b.c.ID) })
}

// holdStep is how often hold looks.
const holdStep = 100 * time.Millisecond

// Receive takes a request of another server's client, on a leader.
func (n *Node) Receive(from consensus.ServerID, r consensus.Request) {
	n.queue.put(item{kind: kWrite, from: from, req: r})
	n.kick()
}
