package node

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/zkcore/zkcore/core/conn"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// greet takes the ConnectRequest: it refuses the client, or begins to open or to
// reclaim its session. No frame is taken behind it before that is done.
func (cl *client) greet(b []byte, now int64) error {
	n := cl.n
	var r proto.ConnectRequest
	if err := proto.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("connect request: %w", err)
	}
	cl.stats.received++
	n.received.Add(1)
	if !n.serving && !n.holding && !n.readOnly || n.readOnly && !r.ReadOnly {
		return conn.ErrQuiet // the client tries another server
	}
	if !n.admit(r.SessionID) {
		return errors.New("too many clients came of late: connection_throttle_tokens")
	}
	n.cfg.Metrics.Add("connection_request_count", 1)
	if last := n.engine.LastZxid(); r.LastZxidSeen > last && !simbug.On("ahead-client-accepted") { // else this server will catch up
		return fmt.Errorf("the client has seen zxid 0x%x, this server only 0x%x: it must try another", r.LastZxidSeen, last)
	}
	cl.c.Established()
	cl.timeoutMS = n.cfg.clamp(r.TimeoutMS)
	cl.hasFlag, cl.mayRead = r.HasReadOnly, r.ReadOnly
	if n.readOnly {
		return cl.greetReadOnly(&r, now)
	}

	e := entry{kind: kCreate, op: int32(proto.OpCreateSession), at: now}
	if r.SessionID == 0 && n.cfg.LocalSessions {
		return cl.greetLocal(now)
	}
	if r.SessionID == 0 {
		e.body = binary.BigEndian.AppendUint32(nil, uint32(cl.timeoutMS))
		if err := cl.newSession(); err != nil {
			return err
		}
	} else {
		n.cfg.Metrics.Add("connection_revalidate_count", 1)
		// The password comes first: with a wrong one nobody's connection is touched.
		if !n.isPassword(r.SessionID, r.Passwd) {
			if n.isReadOnlyPassword(r.SessionID, r.Passwd) {
				cl.refuse(now) // it was for reading only, and there is a leader
			} else {
				cl.refuseWrong(r.SessionID, now)
			}
			return nil
		}
		e.kind = kReclaim
		cl.reclaim(r.SessionID)
		if s, ok := n.local(r.SessionID); ok && !s.upgrading {
			cl.scope.Store(uint32(thisServers))
		}
	}
	cl.state = sConnecting
	cl.push(&e)
	return nil
}

// newSession gives the client a session's number.
func (cl *client) newSession() error {
	n := cl.n
	n.clientsMu.Lock()
	defer n.clientsMu.Unlock()
	n.moreIDs()
	if n.ids.Left() == 0 {
		return errors.New("no session id is reserved yet: the client must try again")
	}
	cl.session = n.ids.Next(func(id int64) bool {
		_, open := n.engine.Session(id)
		return open || n.sessions[id] != nil
	})
	n.sessions[cl.session] = cl
	return nil
}

// reclaim takes the place of whoever had the session here before.
func (cl *client) reclaim(session int64) {
	n := cl.n
	cl.session = session
	n.clientsMu.Lock()
	cl.evicts = n.sessions[session]
	n.sessions[session] = cl
	n.clientsMu.Unlock()
	if cl.evicts != nil {
		// What was heard of the old one gives the session no time by the old timeout.
		cl.evicts.opened.Store(false)
	}
}

// refuse tells the client that its session is over.
func (cl *client) refuse(now int64) {
	cl.c.SetOut(cl.answer(cl.c.Out(), &entry{kind: kReclaim, done: true, at: now}))
}

// refuseWrong is refuse for who does not know the session's password.
func (cl *client) refuseWrong(session, now int64) {
	n := cl.n
	n.conns.Warn("client refused", "client", cl.c.RemoteAddr(), "why", fmt.Sprintf("wrong password for session 0x%x", session))
	cl.refuse(now)
}

// answerReclaim ends the greeting of a client that came with a session.
func (cl *client) answerReclaim(out []byte, alive bool) []byte {
	if !alive {
		return cl.appendConnect(out, &proto.ConnectResponse{Passwd: make([]byte, 16)})
	}
	return cl.welcome(out)
}

// welcome ends the greeting: from now on requests are taken.
func (cl *client) welcome(out []byte) []byte {
	p := cl.n.password(cl.session)
	if cl.onlyReads() {
		p = cl.n.readOnlyPassword(cl.session)
	}
	cl.state = sOpen
	cl.opened.Store(true)
	return cl.appendConnect(out, &proto.ConnectResponse{TimeoutMS: cl.timeoutMS, SessionID: cl.session, Passwd: p[:]})
}

func (cl *client) appendConnect(out []byte, r *proto.ConnectResponse) []byte {
	r.HasReadOnly, r.ReadOnly = cl.hasFlag, cl.n.readOnly
	at := len(out)
	out = r.Append(append(out, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(out[at:], uint32(len(out)-at-4))
	return out
}

// A reclaim is a client that waits for its session.
type reclaim struct {
	cl    *client
	zxid  int64 // on a leader: what must have been applied before
	alive bool
}

// orderReclaim asks whether a session is alive, behind all writes that were
// queued before: what its client asked for on another connection is applied here
// before the client is answered, and so not taken for what it asks for on this
// one.
func (n *Node) orderReclaim(term uint64, it *item) error {
	n.mu.RLock()
	if n.role.Term != term || !n.serving {
		n.mu.RUnlock()
		return consensus.ErrNotNow
	}
	if s, ok := n.local(it.req.Session); ok && !s.upgrading {
		// No leader has to be asked, but what its client wrote on another connection has to
		// be applied here all the same: a sync comes behind it.
		n.mu.RUnlock()
		n.decided(term, it.cl, false)
		return nil
	}
	if n.role.State != consensus.Leading {
		n.clientsMu.Lock()
		n.reclaims[it.req.Session] = append(n.reclaims[it.req.Session], it.cl)
		n.clientsMu.Unlock()
		n.mu.RUnlock()
		n.cfg.Metrics.Add("revalidate_count", 1)
		return n.member.Revalidate(term, consensus.Touch{Session: it.req.Session, TimeoutMS: it.timeout})
	}
	n.prepMu.Lock()
	alive := n.engine.SetOwner(it.req.Session, it.from)
	prepared := n.prepared.Load()
	n.prepMu.Unlock()
	if alive {
		n.trackMu.Lock()
		n.tracker.Add(it.req.Session, it.timeout, n.clockMS())
		n.trackMu.Unlock()
	}
	// A session that is about to end has ended when that is committed: with this leader
	// what is only proposed may be lost, and the session live on.
	if n.engine.LastZxid() < prepared {
		n.clientsMu.Lock()
		n.later = append(n.later, reclaim{it.cl, prepared, alive})
		n.clientsMu.Unlock()
		n.mu.RUnlock()
		return nil
	}
	n.mu.RUnlock()
	n.decided(term, it.cl, alive)
	return nil
}

// decided answers a client that came with a session. That there is no such session, a
// leader which nobody follows any more would say too, of one that was opened since: so
// before a client is told, a majority confirms who leads. term is that in which it was said:
// in the next one the client's question is asked again.
func (n *Node) decided(term uint64, cl *client, alive bool) {
	if alive || simbug.On("refused-by-anybody") {
		n.reclaimed(cl, alive)
		return
	}
	n.mu.RLock()
	if n.role.Term != term {
		n.mu.RUnlock()
		return
	}
	id := consensus.SyncID(n.lastSync.Add(1))
	n.clientsMu.Lock()
	n.refusals[id] = cl
	n.clientsMu.Unlock()
	n.mu.RUnlock()
	if n.member.Sync(term, id) != nil {
		n.clientsMu.Lock() // there is another role, or will be
		delete(n.refusals, id)
		n.clientsMu.Unlock()
	}
}

// refuse tells a client that its session is over, now that it is known to be.
func (n *Node) refuse(cl *client) {
	if n.reclaimLocal(cl) {
		n.reclaimed(cl, true)
		return
	}
	n.mu.RLock()
	_, open := n.engine.Session(cl.session)
	n.mu.RUnlock()
	if open {
		cl.c.Close(errors.New("its session came into being while it was asked for: the client must try again"))
		return
	}
	n.reclaimed(cl, false)
}

// Revalidated is the leader's word on a session.
func (n *Node) Revalidated(session int64, alive bool) {
	n.mu.RLock()
	term := n.role.Term
	n.mu.RUnlock()
	n.clientsMu.Lock()
	waiting := n.reclaims[session]
	if len(waiting) == 0 {
		n.clientsMu.Unlock()
		return
	}
	cl := waiting[0]
	if n.reclaims[session] = waiting[1:]; len(waiting) == 1 {
		delete(n.reclaims, session)
	}
	n.clientsMu.Unlock()
	n.decided(term, cl, alive)
}

func (n *Node) reclaimed(cl *client, alive bool) {
	n.mu.RLock()
	cl.c.Lock()
	if cl.fifo.n > 0 && cl.fifo.head().kind == kReclaim {
		e := cl.fifo.head()
		e.done, e.ok = true, alive
		cl.run()
		cl.c.Wake()
	}
	session := cl.session
	cl.c.Unlock()
	if !alive {
		n.clientsMu.Lock()
		if n.sessions[session] == cl {
			delete(n.sessions, session)
		}
		n.clientsMu.Unlock()
	}
	n.mu.RUnlock()
	cl.c.Flush()
}
