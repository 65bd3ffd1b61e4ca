package node

import (
	"errors"
	"runtime"
	"strings"

	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/core/failpoint"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A sink carries out what Apply says, for one call of Deliver at a time.
type sink struct {
	n     *Node
	now   int64
	cl    *client // who waits for the next Reply
	dirty []*client
	// replied are those of dirty that have a reply, once each or more often.
	replied []*client
	// crowded says that what is flushed must be gone, or be known to wait, before there is more.
	crowded bool
	// Sums over the batch.
	replies, events, eventBytes int64
	sumNS, maxNS                int64
	sizes                       span
}

// mark puts a client on the list of those who have something to be sent.
func (s *sink) mark(cl *client) {
	if !cl.dirty {
		cl.dirty = true
		s.dirty = append(s.dirty, cl)
	}
}

// Waits says whether the write at the head of a session's fifo is the one.
func (s *sink) Waits(session int64, cxid int32) (request []byte, waits bool) {
	cl := s.n.sessions[session]
	if cl == nil {
		return nil, false
	}
	cl.c.Lock()
	defer cl.c.Unlock()
	if cl.fifo.n == 0 || cl.next == cl.fifo.first {
		return nil, false
	}
	e := cl.fifo.head()
	if !e.kind.isTxn() || e.xid != cxid {
		return nil, false
	}
	s.cl = cl
	return e.body, true
}

// Reply answers the write that Waits has found.
func (s *sink) Reply(session int64, cxid int32, zxid int64, op int32, code zkerr.Code, body []byte) {
	cl := s.cl
	c := cl.c
	c.Lock()
	e := cl.fifo.head()
	if e.kind == kUpgrade {
		cl.upgraded(code)
		c.Unlock()
		s.mark(cl)
		return
	}
	if e.local && code == zkerr.SessionExpired && engine.MakesEphemeral(e.op, e.body) {
		code = zkerr.EphemeralOnLocalSession // a leader of Apache's can't tell it from one that has expired
	}
	done := e.op
	if code != zkerr.OK {
		done = int32(proto.OpError)
	}
	out := c.Out()
	switch {
	case code == zkerr.SessionMoved:
		c.CloseLocked(errMoved)
	case e.kind == kWrite:
		s.sizes.see(proto.ReplyHeaderSize + len(body))
		out = appendReply(out, e.xid, zxid, code, body)
	case code == zkerr.OK:
		out = cl.welcome(out)
		c.Wake()
	default:
		c.CloseLocked(&zkerr.Error{Code: code, Op: "createSession"})
	}
	c.SetOut(out)
	ns := max(s.now-e.at, 0)
	cl.stats.answered(done, e.xid, zxid)
	cl.stats.took(1, ns, s.now)
	if proto.Op(e.op) == proto.OpCloseSession {
		c.CloseSent()
	}
	cl.pop()
	c.Unlock()
	s.replied = append(s.replied, cl)
	s.replies++
	s.sumNS += ns
	s.maxNS = max(s.maxNS, ns)
	s.mark(cl)
}

// Wrote closes the connection of a session whose client is on another server by now: it
// has written there. The one that is left here may not know yet, as when the network is
// cut; with the next leader what waits on it would be executed behind what came later.
func (s *sink) Wrote(session int64, cxid int32) {
	cl := s.n.sessions[session]
	if cl == nil {
		return
	}
	cl.c.Lock()
	defer cl.c.Unlock()
	if !cl.opened.Load() || cl.c.Gone() {
		return
	}
	for no := cl.fifo.first; no != cl.fifo.end(); no++ {
		if e := cl.fifo.at(no); e.kind == kWrite && e.xid == cxid {
			return
		}
	}
	cl.c.CloseLocked(errMoved)
}

// Auth returns what a connection is known as.
func (s *sink) Auth(watcher uint64) []consensus.Identity {
	cl := s.n.clients[watcher]
	if cl == nil {
		return nil
	}
	cl.c.Lock()
	defer cl.c.Unlock()
	return cl.auth
}

// Event tells a connection.
func (s *sink) Event(watcher uint64, zxid int64, typ int32, path string) {
	if simbug.On("watch-after-reply") && s.now != 0 {
		path := strings.Clone(path)
		// Whoever made the change comes first.
		s.n.world.Go(func() {
			if cl := s.n.clients[watcher]; cl != nil && !cl.c.Gone() {
				cl.c.SetOut(appendEvent(cl.c.Out(), zxid, typ, path))
				cl.c.Flush()
			}
		})
		return
	}
	cl := s.n.clients[watcher]
	if cl == nil {
		return
	}
	failpoint.Hit(failpoint.BeforeEvent)
	cl.c.Lock()
	switch {
	case cl.c.Gone():
	case s.eventBytes > maxEventBytes:
		cl.c.CloseLocked(errEvents)
	default:
		size := 4 + proto.ReplyHeaderSize + 12 + len(path)
		if !cl.counting {
			cl.c.SetOut(appendEvent(cl.c.OutShort(), zxid, typ, path))
			cl.c.Unasked(size)
		} else if cl.late = appendEvent(cl.late, zxid, typ, path); len(cl.late) > maxLate {
			cl.c.CloseLocked(errLate)
		}
		cl.stats.sent++
		s.events++
		s.eventBytes += int64(size)
	}
	cl.c.Unlock()
	s.mark(cl)
	failpoint.Hit(failpoint.AfterEvent)
}

// Between two txns events are sent when there are many: a thousand writes of one batch may each be
// an event for a thousand clients, and not all of that has to be in memory at once. One txn
// that has too many by itself, such as the end of a session with very many ephemerals, costs those
// who watch all of it their connections: they come back, and look.
const (
	manyEventBytes = 8 << 20
	maxEventBytes  = 256 << 20
)

var errEvents = errors.New("one transaction has more events than there is memory for")

// Enough says that there are events to be sent before there are more.
func (s *sink) Enough() bool { return s.eventBytes > manyEventBytes }

// relieve sends what there is: then there is room for more events.
func (s *sink) relieve() {
	s.crowded = true
	s.finish()
	s.crowded = false
}

// SessionOpened begins to track a session.
func (s *sink) SessionOpened(id int64, timeoutMS int32) {
	n := s.n
	n.sawID(id)
	if cl := n.sessions[id]; cl != nil {
		cl.scope.Store(uint32(ensembleWide))
	}
	n.trackMu.Lock()
	defer n.trackMu.Unlock()
	n.locals.remove(id)
	switch {
	case n.role.State == consensus.Leading:
		n.tracker.Add(id, timeoutMS, n.clockMS())
	case n.serving:
		// The leader hears of it from every learner: the one that opened it may be
		// gone before its first ping.
		n.fresh = append(n.fresh, consensus.Touch{Session: id, TimeoutMS: timeoutMS})
	}
}

// SessionClosed ends the connection of a session, behind what it is still to be
// told.
func (s *sink) SessionClosed(id int64) {
	n := s.n
	n.trackMu.Lock()
	n.tracker.Remove(id)
	n.trackMu.Unlock()
	cl := n.sessions[id]
	if cl == nil {
		return
	}
	delete(n.sessions, id)
	cl.c.Lock()
	if cl.state == sConnecting {
		cl.c.Unlock()
		return // it will be told
	}
	cl.deaf = true
	cl.opened.Store(false)
	cl.tellLateNow()
	cl.c.CloseSent()
	cl.c.Unlock()
	s.mark(cl)
}

// finish sends what the batch has made, and lets clients go on that waited.
func (s *sink) finish() {
	n := s.n
	if len(s.dirty) == 0 {
		return
	}
	queued := false
	n.mu.RLock()
	for _, cl := range s.dirty {
		cl.dirty = false
		cl.c.Lock()
		if cl.fifo.n > 0 {
			cl.startPump()
			queued = cl.advance() || queued
		}
		if !cl.Blocked() {
			cl.c.Wake()
		}
		cl.c.Unlock()
	}
	n.mu.RUnlock()
	if queued {
		n.kick()
	}
	n.letIn()
	failpoint.Hit(failpoint.BeforeReply)
	switch {
	case s.crowded:
		for _, cl := range s.dirty {
			cl.c.Flush()
		}
	case s.events > inline:
		flush(n, s.replied) // whoever asked for the change does not wait for all who watch
		fallthrough
	default:
		flush(n, s.dirty)
	}
	failpoint.Hit(failpoint.AfterReply)
	n.sent.Add(s.replies + s.events)
	if s.replies > 0 {
		n.sizes.take(&s.sizes)
		n.updates.add(s.replies, s.sumNS, s.maxNS, s.maxNS)
		n.cfg.Metrics.Observe("updatelatency", float64(s.sumNS)/float64(s.replies)/1e6)
	}
	if s.events > 0 {
		n.cfg.Metrics.Add("watch_bytes", s.eventBytes)
	}
	clear(s.replied)
	if s.replied = s.replied[:0]; cap(s.replied) > 4096 {
		s.replied = nil
	}
	clear(s.dirty)
	if s.dirty = s.dirty[:0]; cap(s.dirty) > 4096 {
		s.dirty = nil
	}
	s.replies, s.events, s.eventBytes, s.sumNS, s.maxNS = 0, 0, 0, 0, 0
	s.cl = nil
}

// inline is how many connections are written to without help: their bytes go out
// in less time than another processor takes to wake up.
const inline = 16

// flush sends to many connections at once.
func flush(n *Node, clients []*client) {
	if len(clients) > inline {
		rest := append([]*client(nil), clients[inline:]...)
		clients = clients[:inline]
		share := max((len(rest)+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0), inline)
		for len(rest) > 0 {
			part := rest[:min(share, len(rest))]
			rest = rest[len(part):]
			n.world.Go(func() {
				for _, cl := range part {
					cl.c.Flush()
				}
			})
		}
	}
	for _, cl := range clients {
		cl.c.Flush()
	}
}
