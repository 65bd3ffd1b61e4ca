package node

import (
	"fmt"
	"math"
	"time"

	"github.com/zkcore/zkcore/core/conn"
	"github.com/zkcore/zkcore/core/session"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// beats is how often in a tick a node looks whether it was asleep.
const beats = 4

// startTicking makes time pass: each tick a leader expires sessions, and every node
// closes the connections of clients that are silent.
func (n *Node) startTicking() {
	tick := n.cfg.TickMS * 1e6
	every := max(tick/beats, 1e6)
	next := n.clock() + tick
	n.world.Every(time.Duration(every), func() bool {
		pause := n.beat()
		now := n.clock()
		// By the clock, not by the count: of beats that come late some are left out.
		if due := now+every/2 >= next; due || pause > 0 {
			for next <= now+every/2 {
				next += tick
			}
			n.tick(pause)
		}
		return true
	})
}

// beat notes that this process runs. It returns for how long it did not, if that was
// so long that a session may have been active without this node's hearing of it: of
// the time between two signs of life a session has little more than half its timeout,
// and the shortest timeout is two ticks.
func (n *Node) beat() (pause time.Duration) {
	now := n.clock()
	if gap := now - n.lastBeat.Swap(now); gap > n.unheard() {
		return time.Duration(gap)
	}
	return 0
}

// unheard is the longest time between two beats that is no pause. So much of a pause
// counts: else a process that gets little of its machine would be in one pause, and nobody's
// session end.
func (n *Node) unheard() int64 {
	tick := n.cfg.TickMS * 1e6
	return tick/beats + tick/2
}

// wholeFor returns the longest timeout, in ms, that begins anew after a pause. After one that anybody would call so
// all do. A busy machine has short ones all the time: they are only not counted, but for timeouts that are at most
// four times as long. That leaves a client that gives a sign of life in half its timeout a quarter of it for
// being heard.
func wholeFor(pause time.Duration) int64 {
	if pause >= longPause {
		return math.MaxInt64
	}
	return 4 * pause.Milliseconds()
}

const longPause = time.Second

func (n *Node) tick(pause time.Duration) {
	now := n.clock()

	n.mu.RLock()
	leading, term := n.serving && n.role.State == consensus.Leading, n.role.Term
	var last int64
	if leading {
		last = n.engine.LastZxid()
	}
	n.mu.RUnlock()

	// Silence counts only while this node could have heard: neither a pause of its own,
	// nor the time for which its log stood still.
	waiting := leading && n.prepared.Load() > last
	stuck := waiting && n.waiting && last == n.tickZxid
	if stuck && !n.stuck {
		n.stuckSince = n.lastTick
	}
	n.waiting, n.tickZxid, n.lastTick = waiting, last, now
	stood := time.Duration(0)
	if !stuck && n.stuck {
		stood = time.Duration(now - n.stuckSince)
	}
	n.stuck = stuck
	// Nor that for which a member in another process did.
	standing, still := n.deaf()
	switch {
	case pause >= longPause:
		n.log.Warn("this process was paused: sessions get a fresh timeout", "for", pause)
	case stood >= longPause:
		n.log.Warn("the log stood still: sessions get a fresh timeout", "for", stood)
	case still >= longPause && leading:
		n.log.Warn("the consensus module stood still: sessions get a fresh timeout", "for", still)
	}
	pause = max(pause, stood, still)

	n.sweep(now, leading, pause)
	n.expireLocals(pause)
	if !leading || stuck || standing {
		return
	}
	until := now / 1e6
	if pause > 0 {
		n.trackMu.Lock()
		until = n.rest(n.tracker, until, pause)
		n.trackMu.Unlock()
	}
	n.expire(term, until)
}

// deaf says whether the member stands still while this process goes on, and for how long it did until now, if that was
// so long that it counts as a pause. Only a member in a process of its own can do that.
func (n *Node) deaf() (standing bool, still time.Duration) {
	m, ok := n.member.(interface {
		Unanswered() (now, longest time.Duration)
	})
	if !ok {
		return false, 0
	}
	now, longest := m.Unanswered()
	if longest <= time.Duration(n.unheard()) {
		longest = 0
	}
	return now > time.Duration(n.unheard()), longest
}

// rest lets a pause that ends now not count for the sessions of a table, and returns until when their
// silence counts.
func (n *Node) rest(t *session.Table, nowMS int64, pause time.Duration) (untilMS int64) {
	lost := max(int64(pause)-n.unheard(), 0) / 1e6
	t.Pause(lost)
	// A timeout is the one that the client has now: it may have come back with a
	// shorter one than its session was opened with.
	t.Fresh(nowMS, wholeFor(pause))
	// What came during the pause may not be read yet. Who was silent for his time
	// before it has ended.
	return nowMS - pause.Milliseconds() + lost
}

// sweep looks at every connection: who was heard from keeps his session, who is
// silent loses his connection, less a pause.
func (n *Node) sweep(now int64, leading bool, pause time.Duration) {
	var silent []*client
	defer func() {
		for _, cl := range silent {
			cl.c.Close(fmt.Errorf("nothing was heard for the session's timeout of %d ms", cl.timeoutMS))
		}
	}()
	n.trackMu.Lock()
	defer n.trackMu.Unlock()
	n.conns.Each(func(c *conn.Conn) {
		cl, ok := c.Client().(*client)
		if !ok || !cl.opened.Load() {
			return
		}
		if c.TryLock() { // else it is busy, which is not silent
			// Of a client whose requests wait here nothing more is read. It lives if it
			// is this node that lets them wait, or if it goes on taking its replies.
			whole := pause > 0 && int64(cl.timeoutMS) <= wholeFor(pause)
			if whole || c.Stalled() && (cl.Blocked() || c.Written() != cl.written) {
				cl.heard.Store(now)
			}
			cl.written = c.Written()
			if cl.fifo.n == 0 && now-cl.heard.Load() > n.cfg.TickMS*1e6 {
				cl.fifo.shrink()
				c.Cool()
			}
			c.Unlock()
		}
		heard := cl.heard.Load()
		if cl.isLocal() {
			n.locals.table.Touch(cl.session, cl.timeoutMS, heard/1e6)
		} else if leading && cl.told.Swap(heard) != heard {
			n.tracker.Touch(cl.session, cl.timeoutMS, heard/1e6)
		}
		if pause > 0 && heard < now {
			// What was heard is as recent as if there had been no pause. That is no news
			// for who keeps the sessions.
			later := min(heard+max(int64(pause)-n.unheard(), 0), now)
			if cl.heard.CompareAndSwap(heard, later) {
				cl.told.CompareAndSwap(heard, later)
				heard = later
			}
		}
		if now-heard > int64(cl.timeoutMS)*1e6 {
			if simbug.On("expire-on-follower") {
				n.queue.put(item{kind: kWrite, cl: cl, req: n.closeItem(cl.session).req}) // it is silent here
				n.kick()
			}
			silent = append(silent, cl)
		}
	})
}

// lastHeard passes on what was heard from a client since it was last told: its connection
// is ending, and nobody will look at it again. The node's read lock is held.
func (n *Node) lastHeard(cl *client) {
	n.trackMu.Lock()
	defer n.trackMu.Unlock()
	heard := cl.heard.Load()
	switch {
	case cl.isLocal():
		n.locals.table.Touch(cl.session, cl.timeoutMS, heard/1e6)
	case cl.told.Swap(heard) == heard || !n.serving:
	case n.role.State == consensus.Leading:
		n.tracker.Touch(cl.session, cl.timeoutMS, heard/1e6)
	default:
		n.fresh = append(n.fresh, consensus.Touch{Session: cl.session, TimeoutMS: cl.timeoutMS})
	}
}

// freshSessions gives every open session a whole timeout. A lock of the node is
// held.
func (n *Node) freshSessions() {
	now := n.clockMS()
	n.trackMu.Lock()
	defer n.trackMu.Unlock()
	n.engine.Sessions(func(id int64, timeoutMS int32) { n.tracker.Add(id, timeoutMS, now) })
}

// expire asks, as a leader, for the end of the sessions whose time is over.
func (n *Node) expire(term uint64, nowMS int64) {
	n.trackMu.Lock()
	dead := n.tracker.Expire(nowMS)
	n.trackMu.Unlock()
	if len(dead) == 0 {
		return
	}
	n.mu.RLock()
	if n.role.Term == term && n.serving {
		for i, id := range dead {
			timeout, _ := n.engine.Session(id)
			if i < maxExpiryLines {
				n.log.Info("session expired", "session", sessionText(id), "timeoutMS", timeout)
			}
			n.queue.put(n.closeItem(id))
		}
	}
	n.mu.RUnlock()
	if len(dead) > maxExpiryLines {
		n.log.Info("more sessions expired", "sessions", len(dead)-maxExpiryLines)
	}
	n.cfg.Metrics.Add("stale_sessions_expired", int64(len(dead)))
	n.kick()
}

// maxExpiryLines bounds the lines of one tick.
const maxExpiryLines = 20

// heardElsewhere is when, for all that a leader can know, a client may have been heard
// from last by another server that speaks of it now: what that one hears until its next
// report, half a tick later, is lost with it.
func (n *Node) heardElsewhere() int64 { return n.clockMS() + n.cfg.TickMS/2 }

// Touch tells a leader of sessions that a learner heard from. One whose client has gone on to
// another server may still speak of it by a timeout that the client does not have any more.
func (n *Node) Touch(from consensus.ServerID, ts []consensus.Touch) {
	if simbug.On("touches-dropped") {
		return // who speaks to another server is his business
	}
	now := n.heardElsewhere()
	n.mu.RLock()
	defer n.mu.RUnlock()
	n.prepMu.Lock()
	left := make([]bool, len(ts))
	for i := range ts {
		owner := n.engine.Owner(ts[i].Session)
		left[i] = owner != 0 && owner != from
	}
	n.prepMu.Unlock()
	n.trackMu.Lock()
	defer n.trackMu.Unlock()
	for i, t := range ts {
		if left[i] {
			n.tracker.Heard(t.Session, now)
		} else {
			n.tracker.Touch(t.Session, t.TimeoutMS, now)
		}
	}
}

// Revalidate asks a leader for a session that another server's client has come
// back to.
func (n *Node) Revalidate(from consensus.ServerID, t consensus.Touch) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if !n.serving || n.role.State != consensus.Leading {
		return false
	}
	n.prepMu.Lock()
	alive := n.engine.SetOwner(t.Session, from)
	n.prepMu.Unlock()
	if alive {
		n.trackMu.Lock()
		n.tracker.Add(t.Session, t.TimeoutMS, n.heardElsewhere())
		n.trackMu.Unlock()
	}
	return alive
}

// Touched returns, on a learner, the sessions heard from since the last call.
func (n *Node) Touched() []consensus.Touch {
	n.trackMu.Lock()
	ts := n.fresh
	n.fresh = nil
	n.trackMu.Unlock()
	// A client that has come back since counts by the timeout that it has now: what was heard
	// of its last connection would give the session the old one once more.
	n.clientsMu.Lock()
	for i := range ts {
		if cl := n.sessions[ts[i].Session]; cl != nil {
			ts[i].TimeoutMS = cl.timeoutMS
		}
	}
	n.clientsMu.Unlock()
	n.conns.Each(func(c *conn.Conn) {
		cl, ok := c.Client().(*client)
		if !ok || !cl.opened.Load() || cl.isLocal() {
			return
		}
		if heard := cl.heard.Load(); cl.told.Swap(heard) != heard {
			ts = append(ts, consensus.Touch{Session: cl.session, TimeoutMS: cl.timeoutMS})
		}
	})
	return ts
}
