package node

import (
	"fmt"
	"sync/atomic"

	"github.com/zkcore/zkcore/core/conn"
	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/plugins/consensus"
)

const (
	// maxPipelined bounds the unanswered requests of one connection.
	maxPipelined = 1000
	// maxHeld bounds the bytes of their records, maxHeldInAll those of all
	// connections: beyond that a connection may have one unanswered.
	maxHeld      = 4 << 20
	maxHeldInAll = 256 << 20
	// replyBatch is how many bytes of replies are gathered before they are sent.
	replyBatch = 64 << 10
	// copyAhead is how much of a batch of frames is copied at once for requests
	// that wait.
	copyAhead = 8 << 10
	// maxAhead bounds what stands unanswered before a write when it is queued: as
	// much may have to be answered while the write's txn waits to be applied.
	maxAhead = 32
	// maxAheadBytes bounds the replies to it, going by those before.
	maxAheadBytes = 1 << 20
	// guessedReply is how long they are taken to be at first.
	guessedReply = 128 << 10
)

// state is how far a connection has got.
type state uint8

const (
	sGreeting   state = iota // nothing has come
	sConnecting              // the session is being opened or reclaimed
	sOpen                    // requests are taken
)

// A client is a node's side of one connection. Its fields are guarded by the
// connection's lock, unless they say otherwise.
type client struct {
	n *Node
	c *conn.Conn

	state     state
	session   int64 // fixed once set, as is timeoutMS
	timeoutMS int32
	hasFlag   bool // the client knows the flag readOnly, and wants it in the answer
	mayRead   bool // it has set it: reading is enough for it
	deaf      bool // what comes is not looked at: there will be an end
	full      bool // the fifo was full and has not emptied by half since
	pumping   bool // a goroutine answers what is at the head of the fifo
	dirty     bool // in the present Deliver's list; Deliver's own
	auth      []consensus.Identity
	written   int64   // what Conn.Written was at the last sweep
	evicts    *client // who had the session here before: to be closed

	// paced says that the client is in line to set its watches; rewatch is how far it has come.
	paced   bool
	rewatch *engine.Rewatch
	// counting says that znodes are being counted for the client; late are the events that have come
	// since, pinged that a ping was answered.
	counting, pinged bool
	late             []byte

	// inLine says that the client stands in the throttle's line, heldBack that something in
	// the fifo did; turn is what may pass of it now.
	inLine, heldBack bool
	turn             int

	fifo fifo
	held int // bytes of the records in it
	// next is the number of the first entry that advance has not looked at.
	// readsAhead and syncsAhead count what is unanswered before it.
	next                   uint64
	readsAhead, syncsAhead int
	replySize              int    // how long replies are, on average of late
	scan                   uint64 // Deliver's own: where it looks for the next write

	// heard is when the client was last heard from, told what Touched last told.
	heard, told atomic.Int64
	opened      atomic.Bool // session and timeoutMS are set, and the session is open
	scope       atomic.Uint32

	stats connStats
}

// isLocal says that only this server knows the session.
func (cl *client) isLocal() bool { return scope(cl.scope.Load()) != ensembleWide }

// onlyReads says that the client is here while there is no leader.
func (cl *client) onlyReads() bool { return scope(cl.scope.Load()) == readOnly }

// served says whether requests are answered. The node's lock is held.
func (cl *client) served() bool { return cl.n.serving || cl.n.readOnly && cl.onlyReads() }

// Describe names the client in log lines.
func (cl *client) Describe() string {
	if cl.opened.Load() {
		return fmt.Sprintf("session 0x%x", cl.session)
	}
	return "no session"
}

// Blocked is asked before frames are handed over.
func (cl *client) Blocked() bool {
	switch {
	case cl.state == sConnecting:
		return true
	case cl.fifo.n == 0:
		cl.full = false
		return false
	case cl.full && (cl.fifo.n > maxPipelined/2 || cl.held > maxHeld/2):
		return true
	case cl.fifo.n >= maxPipelined || cl.held >= maxHeld:
		cl.full = true
		return true
	}
	cl.full = false
	// globalOutstandingLimit: beyond it a client with something unanswered waits.
	return cl.n.outstanding.Load() > int64(cl.n.cfg.OutstandingLimit) || cl.n.held.Load() > maxHeldInAll
}

// Frames takes requests. It is the beginning of the request path: see doc.go.
func (cl *client) Frames(b []byte) (int, error) {
	n := cl.n
	now := n.clock()
	cl.heard.Store(now)

	n.mu.RLock()
	if n.loading {
		n.mu.RUnlock()
		return 0, conn.ErrQuiet
	}
	cl.c.Lock()
	if cl.c.Gone() {
		// The session may be another connection's by now: what this one has left must
		// not come behind what that one asks for.
		cl.c.Unlock()
		n.mu.RUnlock()
		return len(b), nil
	}
	var taken int
	var err error
	if cl.state == sGreeting {
		taken, err = len(b), cl.greet(b[4:], now)
	} else {
		taken, err = cl.take(b, now)
	}
	old := cl.evicts
	cl.evicts = nil
	queued := old == nil && cl.advance()
	cl.startPaced()
	cl.c.Unlock()
	n.mu.RUnlock()

	if old != nil {
		// First, so that what the old one has queued stands before the question whether the session is
		// alive, and nothing of it behind.
		old.c.Close(nil)
		n.mu.RLock()
		cl.c.Lock()
		queued = cl.advance()
		cl.c.Unlock()
		n.mu.RUnlock()
	}
	if queued {
		n.submit()
	}
	return taken, err
}

// Closed forgets the client.
func (cl *client) Closed() {
	cl.n.forget(cl)
	cl.n.letIn()
}

// dropStep is how many watches of a connection that is gone are forgotten before others have their turn.
const dropStep = 4096

func (n *Node) forget(cl *client) {
	for done := false; !done; { // it may have very many
		n.mu.RLock()
		n.watchMu.Lock()
		done = n.engine.DropWatches(cl.c.ID, dropStep)
		n.watchMu.Unlock()
		n.mu.RUnlock()
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	cl.c.Lock()
	cl.deaf = true
	if cl.opened.Swap(false) {
		n.lastHeard(cl)
	}
	cl.dropUpgrade()
	cl.leaveLine()
	for cl.fifo.n > 0 {
		cl.pop()
	}
	cl.fifo.shrink()
	session := cl.session
	cl.c.Unlock()
	n.clientsMu.Lock()
	delete(n.clients, cl.c.ID)
	if session != 0 && n.sessions[session] == cl {
		delete(n.sessions, session)
	}
	n.clientsMu.Unlock()
}
