package node

import (
	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// advance queues what follows in the fifo, in its order, as far as it may go to
// the leader now. It reports whether it queued anything. The node's read lock is
// held, or the write lock.
//
// A write behind a sync waits until the sync is answered: else a read between them
// could show a change that was asked for after it. Reads that a write is queued
// behind may have to be answered by Deliver, whether the client takes the replies
// or not. So it waits while they are too many, or too large, or the client is slow.
func (cl *client) advance() (queued bool) {
	n := cl.n
	if !n.serving || cl.next == cl.fifo.end() {
		return false
	}
	n.queue.mu.Lock()
	defer n.queue.mu.Unlock()
	var now int64
	if n.throttle.Max > 0 {
		now = n.clock()
	}
	for ; cl.next != cl.fifo.end(); cl.next++ {
		e := cl.fifo.at(cl.next)
		if cl.heldBack && !cl.inLine && !cl.overdue(e, now) {
			return queued
		}
		it := item{kind: e.kind, cl: cl, from: consensus.ServerID(n.cfg.ServerID)}
		switch e.kind {
		case kWrite, kCreate, kUpgrade:
			if cl.syncsAhead > 0 || cl.readsAhead > 0 && !cl.mayPass() {
				return queued
			}
			if n.throttle.Max > 0 && !cl.enter(e, now) {
				return queued
			}
			if cl.readsAhead > 0 && !e.barrier {
				e.barrier = true
				n.barriers.Add(1)
			}
			it.kind = kWrite
			it.req = consensus.Request{Session: cl.session, Cxid: e.xid, Op: e.op, Body: e.body}
			if e.kind == kWrite {
				it.req.Auth = cl.knownAs(e)
				if e.local && !simbug.On("local-unmarked") && (!n.cfg.Mixed || n.role.State == consensus.Leading) {
					it.req.Auth = engine.MarkLocal(it.req.Auth) // a leader of Apache's would wonder
				}
			}
		case kSync:
			if n.throttle.Max > 0 && !cl.enter(e, now) {
				return queued
			}
			cl.syncsAhead++
			e.sync = consensus.SyncID(n.lastSync.Add(1))
			it.sync = e.sync
		case kRewatch:
			return queued // what is behind it is for when it is done
		case kReclaim:
			it.timeout = cl.timeoutMS
			it.req.Session = cl.session
		default:
			cl.readsAhead++
			if e.code == zkerr.ThrottledOp {
				cl.startPump()
			}
			continue
		}
		n.queue.items = append(n.queue.items, it)
		queued = true
	}
	cl.heldBack = false
	return queued
}

// mayPass says whether a write may be queued behind the reads that are ahead.
func (cl *client) mayPass() bool {
	return cl.readsAhead <= maxAhead && cl.readsAhead*cl.replySize <= maxAheadBytes && cl.c.Queued() <= maxAheadBytes
}

// push puts e at the end of the fifo.
func (cl *client) push(e *entry) {
	cl.fifo.push(e)
	cl.held += len(e.body)
	cl.n.held.Add(int64(len(e.body)))
	cl.n.outstanding.Add(1)
}

// pop removes the head of the fifo.
func (cl *client) pop() {
	e := cl.fifo.head()
	if cl.fifo.first < cl.next {
		switch {
		case e.kind == kSync:
			cl.syncsAhead--
		case !e.kind.waits():
			cl.readsAhead--
		}
	} else {
		cl.next++
	}
	if e.barrier {
		cl.n.barriers.Add(-1)
	}
	if e.throttled {
		cl.n.throttle.underWay.Add(-1)
	}
	if e.large > 0 {
		cl.n.conns.GiveLarge(int(e.large))
	}
	cl.held -= len(e.body)
	cl.n.held.Add(-int64(len(e.body)))
	cl.fifo.pop()
	cl.n.outstanding.Add(-1)
}

// ready says whether the head of the fifo can be answered.
func (cl *client) ready() bool {
	if cl.fifo.n == 0 {
		return false
	}
	e := cl.fifo.head()
	return !e.kind.waits() || e.done
}

// run answers what is at the head of the fifo and waits for nothing, until there
// is a batch to send. The node's read lock is held.
func (cl *client) run() {
	if !cl.ready() || cl.c.Gone() {
		return
	}
	out := cl.c.Out()
	var reads int
	var at int64
	sent, enough := cl.stats.sent, len(out)+replyBatch
	for cl.ready() && len(out) < enough && !cl.c.Gone() {
		e := cl.fifo.head()
		if e.kind == kRead || e.kind == kPing {
			reads, at = reads+1, e.at
		}
		out = cl.answer(out, e)
		cl.pop()
	}
	cl.c.SetOut(out)
	cl.n.sent.Add(cl.stats.sent - sent)
	if reads > 0 {
		cl.measure(reads, at, &cl.n.reads, "readlatency")
	}
	if !cl.Blocked() {
		cl.c.Wake()
	}
	cl.startPaced()
}

// pump answers, on a goroutine of its own, what has come to the head of the
// fifo.
func (cl *client) pump() {
	n := cl.n
	for {
		n.mu.RLock()
		cl.c.Lock()
		if !cl.served() || !cl.ready() || cl.c.Gone() {
			cl.pumping = false
			cl.c.Unlock()
			n.mu.RUnlock()
			return
		}
		cl.run()
		queued := cl.advance()
		cl.c.Unlock()
		n.mu.RUnlock()
		if queued {
			n.submit()
		}
		n.letIn()
		cl.c.Flush()
		cl.c.WaitSent()
	}
}

// startPump starts pump if it has something to do. The connection is locked.
func (cl *client) startPump() {
	cl.startPaced()
	if !cl.pumping && cl.ready() && cl.served() && !cl.c.Gone() {
		cl.pumping = true
		cl.n.world.Go(cl.pump)
	}
}
