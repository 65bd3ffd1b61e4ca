package node

import (
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/session"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/core/zkerr"
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

// expireLocals ends the local sessions whose time is over, behind a pause if there was one.
func (n *Node) expireLocals(pause time.Duration) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if !n.serving && !n.readOnly {
		return // their clients can't come back, so nobody's time passes
	}
	now := n.clockMS()
	var over []int64
	n.trackMu.Lock()
	until := now
	if pause > 0 {
		until = n.rest(n.locals.table, now, pause)
	}
	for _, id := range n.locals.table.Expire(until) {
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
	n.locals.table.Fresh(n.clockMS(), math.MaxInt64)
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

// greetLocal begins a session that only this server knows.
func (cl *client) greetLocal(now int64) error {
	n := cl.n
	if err := cl.newSession(); err != nil {
		return err
	}
	cl.scope.Store(uint32(thisServers))
	n.openLocal(cl.session, local{timeoutMS: cl.timeoutMS})
	e := entry{kind: kOpen, op: int32(proto.OpCreateSession), at: now}
	if n.serving {
		cl.c.SetOut(cl.answer(cl.c.Out(), &e))
		return nil
	}
	cl.state = sConnecting
	cl.push(&e)
	return nil
}

// reclaimLocal gives a client its local session back, if that lives.
func (n *Node) reclaimLocal(cl *client) bool {
	n.trackMu.Lock()
	defer n.trackMu.Unlock()
	s, ok := n.locals.open[cl.session]
	if simbug.On("local-of-anybody") && n.cfg.LocalSessions && !ok {
		s, ok = local{}, true // its client knows the password
	}
	if !ok || s.readOnly || s.upgrading {
		return false
	}
	s.timeoutMS = cl.timeoutMS
	n.locals.put(cl.session, s, n.clockMS())
	cl.scope.Store(uint32(thisServers))
	return true
}

// writeLocal is what a write of a local session needs besides: one that makes an ephemeral
// makes the session one of the ensemble's first, if that is configured. Else the leader refuses it.
func (cl *client) writeLocal(e *entry) {
	n := cl.n
	if !n.cfg.LocalUpgrade || !engine.MakesEphemeral(e.op, e.body) {
		e.local = true
		return
	}
	n.setUpgrading(cl.session, true)
	cl.scope.Store(uint32(ensembleWide))
	cl.push(&entry{kind: kUpgrade, op: int32(proto.OpCreateSession), body: jute.AppendInt(nil, cl.timeoutMS), at: e.at})
}

func (n *Node) setUpgrading(id int64, upgrading bool) {
	n.trackMu.Lock()
	defer n.trackMu.Unlock()
	if s, ok := n.locals.open[id]; ok {
		s.upgrading = upgrading
		n.locals.open[id] = s
	}
}

// upgraded takes note of what has become of an upgrade, which is at the head of the fifo.
func (cl *client) upgraded(code zkerr.Code) {
	cl.pop()
	if code != zkerr.OK {
		cl.n.closeLocal(cl.session)
		cl.c.CloseLocked(&zkerr.Error{Code: code, Op: "make a local session the ensemble's"})
		return
	}
	cl.n.log.Debug("a local session is the ensemble's now", "session", sessionText(cl.session))
}

// dropUpgrade is called when the connection ends: what it has not asked the leader for does
// not happen.
func (cl *client) dropUpgrade() {
	for no := max(cl.next, cl.fifo.first); no < cl.fifo.end(); no++ {
		if cl.fifo.at(no).kind == kUpgrade {
			cl.n.setUpgrading(cl.session, false)
		}
	}
}

// settleUpgrades is called when there is a leader: of what was asked of earlier ones all that
// will ever happen has happened. A session that is local still, and whose client does not
// ask again, stays one. The write lock is held.
func (n *Node) settleUpgrades() {
	var open []int64
	n.trackMu.Lock()
	for id, s := range n.locals.open {
		if s.upgrading {
			open = append(open, id)
		}
	}
	n.trackMu.Unlock()
	for _, id := range open { // in any order: each is on its own
		if cl := n.sessions[id]; cl == nil || !cl.upgrades() {
			n.setUpgrading(id, false)
		}
	}
}

// upgrades says whether the client's session is to become one of the ensemble's.
func (cl *client) upgrades() bool {
	cl.c.Lock()
	defer cl.c.Unlock()
	for no := cl.fifo.first; no != cl.fifo.end(); no++ {
		if cl.fifo.at(no).kind == kUpgrade {
			return true
		}
	}
	return false
}

// LocalSessions are the sessions that only this server knows, in ascending order.
func (n *Node) LocalSessions() []SessionInfo {
	now := n.clockMS()
	n.trackMu.Lock()
	defer n.trackMu.Unlock()
	var all []SessionInfo
	for _, id := range slices.Sorted(maps.Keys(n.locals.open)) {
		i := SessionInfo{ID: id, TimeoutMS: n.locals.open[id].timeoutMS}
		if end, ok := n.locals.table.End(id); ok {
			i.ExpiresIn = time.Duration(max(end-now, 1)) * time.Millisecond
		}
		all = append(all, i)
	}
	return all
}
