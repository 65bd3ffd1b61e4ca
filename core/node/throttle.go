package node

import (
	"errors"
	"sync/atomic"

	"github.com/zkcore/zkcore/core/conn"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// RequestThrottle bounds what is under way of this node's clients, as Apache's request
// throttler. What is beyond it stands in line; each client gets its turn, so that one which
// asks for a lot waits longer than one which asks for little.
type RequestThrottle struct {
	Max       int   // request_throttle_max_requests; 0: there is no bound
	OpWaitMS  int64 // throttled_op_wait_time: who waited longer is told ThrottledOp; 0: nobody is
	Latency   bool  // request_stale_latency_check: who waited longer than his timeout is stale
	KeepStale bool  // request_throttle_drop_stale=false: what is stale is executed nevertheless
}

// throttleTurn is how many requests of a client pass before the next one in line.
const throttleTurn = 8

// A throttle is a RequestThrottle at work. queue.mu guards the line.
type throttle struct {
	RequestThrottle
	underWay atomic.Int64 // requests in the queue or behind it that are not answered
	line     []*client
}

var errStale = errors.New("a request waited longer than the session's timeout")

// enter says whether e, the next to be queued, may be. Else its client stands in line, and letIn
// will call. queue.mu is held, and the connection is locked.
func (cl *client) enter(e *entry, now int64) bool {
	n := cl.n
	t := &n.throttle
	if cl.inLine {
		return false
	}
	if t.underWay.Load() >= int64(t.Max) || cl.turn == 0 && len(t.line) > 0 {
		cl.inLine, cl.heldBack = true, true
		t.line = append(t.line, cl)
		n.cfg.Metrics.Add("request_throttle_wait_count", 1)
		return false
	}
	if cl.turn > 0 {
		cl.turn--
	}
	t.underWay.Add(1)
	e.throttled = true
	n.cfg.Metrics.Observe("request_throttle_queue_time_ms", float64(max(now-e.at, 0)/1e6))
	return true
}

// overdue deals with a request that was held back for too long. False: the connection is
// closed for it. queue.mu is held, and the connection is locked.
func (cl *client) overdue(e *entry, now int64) bool {
	n := cl.n
	t := &n.throttle
	if cl.rewatch != nil || cl.counting {
		return true // it is being carried out, in its steps: see pace
	}
	waited := now - e.at
	if t.Latency && waited > int64(cl.timeoutMS)*1e6 && proto.Op(e.op) != proto.OpCloseSession {
		if !t.KeepStale {
			n.cfg.Metrics.Add("stale_requests_dropped", 1)
			cl.c.CloseLocked(errStale)
			return false
		}
		n.cfg.Metrics.Add("stale_requests", 1)
	}
	if t.OpWaitMS > 0 && waited > t.OpWaitMS*1e6 {
		switch e.kind {
		case kRead, kRewatch, kSync, kWrite: // what a client has asked for, and not what opens, changes or ends its session
			if proto.Op(e.op) != proto.OpCloseSession {
				e.kind, e.code = kReply, zkerr.ThrottledOp
				n.cfg.Metrics.Add("throttled_ops", 1)
			}
		}
	}
	return true
}

// letIn gives clients that stand in line their turns, as far as requests have been answered.
// The caller holds no lock.
func (n *Node) letIn() {
	t := &n.throttle
	if t.Max == 0 {
		return
	}
	queued := false
	for {
		n.mu.RLock()
		n.queue.mu.Lock()
		var cl *client
		if n.serving && len(t.line) > 0 && t.underWay.Load() < int64(t.Max) {
			cl, t.line = t.line[0], t.line[1:]
		}
		n.queue.mu.Unlock()
		if cl == nil {
			n.mu.RUnlock()
			break
		}
		cl.c.Lock()
		cl.inLine, cl.turn = false, throttleTurn
		queued = cl.advance() || queued
		cl.turn = 0
		cl.startPump()
		cl.c.Unlock()
		n.mu.RUnlock()
	}
	if queued {
		n.kick()
	}
}

// clearLine sends everybody in line away: what clients wait for is queued anew. The node's
// write lock is held.
func (n *Node) clearLine() {
	for _, cl := range n.throttle.line {
		cl.inLine = false
	}
	n.throttle.line = nil
}

// leaveQueue takes back what is under way of a client, before anything of any is queued anew.
// The connection is locked.
func (cl *client) leaveQueue() {
	for no := cl.fifo.first; no != cl.next; no++ {
		if e := cl.fifo.at(no); e.throttled {
			e.throttled = false
			cl.n.throttle.underWay.Add(-1)
		}
	}
}

// leaveLine notes that a client is gone that has entries left. The connection is locked.
func (cl *client) leaveLine() {
	n := cl.n
	replies := int64(0)
	for no := cl.fifo.first; no != cl.next; no++ {
		if cl.fifo.at(no).kind.isTxn() {
			replies++
		}
	}
	if replies > 0 {
		n.cfg.Metrics.Add("stale_replies", replies)
	}
	if cl.inLine && cl.next != cl.fifo.end() {
		n.cfg.Metrics.Add("stale_requests_dropped", 1)
	}
}

// admit asks the bucket of connections. The node's read lock is held.
func (n *Node) admit(session int64) bool {
	errand := conn.GlobalSession
	switch {
	case session != 0:
		errand = conn.Renewal
	case n.cfg.LocalSessions:
		errand = conn.LocalSession
	}
	n.bucketMu.Lock()
	ok := n.bucket.Admit(n.clockMS(), errand, func() float64 { return float64(n.world.IntN(1<<53)) / (1 << 53) })
	deficit := n.bucket.Deficit()
	n.bucketMu.Unlock()
	if !ok {
		n.cfg.Metrics.Add("connection_rejected", 1)
		return false
	}
	n.cfg.Metrics.Observe("connection_token_deficit", float64(deficit))
	return true
}
