package node

import (
	"time"

	"github.com/zkcore/zkcore/core/conn"
	"github.com/zkcore/zkcore/core/proto"
)

// A server that has had no leader for a while shows its state, as it was last, to
// clients that ask for no more than that (readonlymode.enabled). They get sessions that
// only this server knows; whatever writes, and sync, is answered NotReadOnly. With a leader
// all of that ends, and they connect again. Clients that want to write are sent away at
// once: their sessions wait for a leader, here as elsewhere.

// readOnlyAfter is the time without a leader after which a server shows what it has.
func (n *Node) readOnlyAfter() time.Duration {
	return max(2*time.Second, time.Duration(n.cfg.TickMS)*time.Millisecond)
}

// awaitReadOnly begins to serve those who only read, once there has been no leader for
// long enough and there is a state to show. It reports whether it has to look again.
func (n *Node) awaitReadOnly(term uint64) bool {
	n.mu.Lock()
	if n.role.Term != term || n.serving {
		n.mu.Unlock()
		return false
	}
	passed := time.Duration(n.clock() - n.lookingSince)
	if n.readOnly || n.loading || n.doubt || passed < n.readOnlyAfter() || !n.served && n.engine.LastZxid() == 0 {
		n.mu.Unlock()
		return true
	}
	n.readOnly = true
	zxid := n.engine.LastZxid()
	// Who came to read and waits for a leader comes again.
	for _, cl := range n.byAge() {
		cl.c.Lock()
		if cl.state == sConnecting && cl.mayRead && !cl.c.Gone() {
			cl.c.CloseLocked(nil)
		}
		cl.c.Unlock()
	}
	n.mu.Unlock()
	n.log.Warn("no leader: clients that only read are served from the state as it is here", "after", passed.Round(time.Millisecond), "zxid", zxid)
	return true
}

// greetReadOnly begins a session that lasts until there is a leader, or reclaims one.
func (cl *client) greetReadOnly(r *proto.ConnectRequest, now int64) error {
	n := cl.n
	e := entry{kind: kOpen, op: int32(proto.OpCreateSession), at: now}
	cl.scope.Store(uint32(readOnly))
	if r.SessionID == 0 {
		if err := cl.newSession(); err != nil {
			return err
		}
	} else {
		n.cfg.Metrics.Add("connection_revalidate_count", 1)
		switch s, ok := n.local(r.SessionID); {
		case n.isReadOnlyPassword(r.SessionID, r.Passwd):
			if !ok || !s.readOnly {
				cl.refuse(now) // it was another server's, or this one had a leader since
				return nil
			}
			cl.reclaim(r.SessionID)
		case n.isPassword(r.SessionID, r.Passwd):
			return conn.ErrQuiet // whether it is alive still, a leader alone can say
		default:
			cl.refuseWrong(r.SessionID, now)
			return nil
		}
	}
	n.openLocal(cl.session, local{timeoutMS: cl.timeoutMS, readOnly: true})
	cl.c.SetOut(cl.answer(cl.c.Out(), &e))
	return nil
}
