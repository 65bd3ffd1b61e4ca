package node

import (
	"errors"
	"slices"

	"github.com/zkcore/zkcore/core/session"
)

// A scope says whose a session is.
type scope uint32

const (
	// ensembleWide: opened and closed by txns, ended by the leader, its client may go to
	// any server.
	ensembleWide scope = iota
	// thisServers is a local session: no other server knows it, and it has no ephemerals.
	thisServers
	// readOnly is the session of a client that reads while there is no leader. It ends when
	// there is one.
	readOnly
)

// locals are the sessions that only this server knows. trackMu guards them. A client may
// be away from its session for the timeout, as from one of the ensemble's.
type locals struct {
	open  map[int64]local
	table *session.Table // when they end
}

type local struct {
	timeoutMS int32
	readOnly  bool
	// upgrading: it has been asked for, or will be, that this becomes a session of the
	// ensemble's. What is said of it after that must come behind.
	upgrading bool
}

func newLocals(tickMS int64) locals {
	return locals{open: map[int64]local{}, table: session.New(tickMS)}
}

// put makes id a local session, or gives one that is a timeout anew.
func (l *locals) put(id int64, s local, nowMS int64) {
	l.open[id] = s
	l.table.Add(id, s.timeoutMS, nowMS)
}

func (l *locals) remove(id int64) {
	delete(l.open, id)
	l.table.Remove(id)
}

// openLocal begins a session that only this server knows.
func (n *Node) openLocal(id int64, s local) {
	n.trackMu.Lock()
	n.locals.put(id, s, n.clockMS())
	n.trackMu.Unlock()
}

// closeLocal ends one; it does no harm to another.
func (n *Node) closeLocal(id int64) {
	n.trackMu.Lock()
	n.locals.remove(id)
	n.trackMu.Unlock()
}

// local returns a session that only this server knows.
func (n *Node) local(id int64) (local, bool) {
	n.trackMu.Lock()
	defer n.trackMu.Unlock()
	s, ok := n.locals.open[id]
	return s, ok
}

// expireLocals ends the local sessions whose time is over. again: everybody gets his
// timeout anew.
func (n *Node) expireLocals(again bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if !n.serving && !n.readOnly {
		return // their clients can't come back, so nobody's time passes
	}
	now := n.clockMS()
	var over []int64
	n.trackMu.Lock()
	if again {
		n.locals.table.Fresh(now)
	}
	for _, id := range n.locals.table.Expire(now) {
		s := n.locals.open[id]
		if s.upgrading || !s.readOnly && !n.serving {
			n.locals.put(id, s, now)
			continue
		}
		delete(n.locals.open, id)
		over = append(over, id)
	}
	n.trackMu.Unlock()
	for i, id := range over {
		if i < maxExpiryLines {
			n.log.Info("local session expired", "session", sessionText(id))
		}
		n.clientsMu.Lock()
		cl := n.sessions[id]
		n.clientsMu.Unlock()
		if cl != nil {
			cl.c.Close(errors.New("its session has expired"))
		}
	}
	if len(over) > 0 {
		n.cfg.Metrics.Add("stale_sessions_expired", int64(len(over)))
	}
}

// freshLocals gives every local session a whole timeout, as there is a leader again, and
// ends those of clients that were here to read only. Their connections are returned. The
// write lock is held.
func (n *Node) freshLocals() (ended []*client) {
	n.trackMu.Lock()
	n.locals.table.Fresh(n.clockMS())
	n.trackMu.Unlock()
	return n.endReadOnly()
}

// endReadOnly ends the sessions of those who were here to read only, and returns who has
// them, oldest first. The write lock is held.
func (n *Node) endReadOnly() (ended []*client) {
	n.trackMu.Lock()
	var ids []int64
	for id, s := range n.locals.open {
		if s.readOnly {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		n.locals.remove(id)
	}
	n.trackMu.Unlock()
	for _, id := range ids {
		if cl := n.sessions[id]; cl != nil {
			ended = append(ended, cl)
		}
	}
	return ended
}
