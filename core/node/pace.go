package node

import (
	"sync"

	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

const (
	// rewatchBytes is how long a setWatches may be that is answered like any other request.
	rewatchBytes = 4 << 10
	// rewatchStep is how many watches of a longer one are set before others have their turn.
	rewatchStep = 256
)

// A pace carries out long setWatches, one at a time and in steps: when a server is lost its clients
// come to the others all at once, each with all that it watches, and those who are there
// are to be served meanwhile.
type pace struct {
	mu   sync.Mutex
	line []*client
	hand func() // makes one step more
}

func (p *pace) put(cl *client) {
	p.mu.Lock()
	p.line = append(p.line, cl)
	p.mu.Unlock()
	p.hand()
}

// isLong says whether a request is for the pace.
func (n *Node) isLong(e *entry) bool {
	op := proto.Op(e.op)
	return len(e.body) > n.cfg.RewatchBytes && (op == proto.OpSetWatches || op == proto.OpSetWatches2)
}

// startPaced puts the client in line if it has come to a long setWatches. The connection is
// locked.
func (cl *client) startPaced() {
	if !cl.paced && cl.served() && cl.mustPace() {
		cl.paced = true
		cl.n.pace.put(cl)
	}
}

// mustPace says whether a long setWatches is at the head of the fifo.
func (cl *client) mustPace() bool {
	return cl.fifo.n > 0 && !cl.c.Gone() && cl.fifo.head().kind == kRewatch && !cl.fifo.head().done
}

// paceOn makes one step.
func (n *Node) paceOn() {
	p := &n.pace
	p.mu.Lock()
	if len(p.line) == 0 {
		p.line = nil
		p.mu.Unlock()
		return
	}
	cl := p.line[0]
	p.line = p.line[1:]
	more := len(p.line) > 0
	p.mu.Unlock()

	n.mu.RLock()
	cl.c.Lock()
	cl.paced = false
	queued := false
	// With another role the client is put in line again, and goes on where it was.
	if cl.served() && cl.mustPace() {
		e := cl.fifo.head()
		if cl.rewatch == nil {
			cl.rewatch, e.code = engine.NewRewatch(e.op, e.body)
		}
		if e.code == zkerr.OK {
			r := engine.ReadRequest{Session: cl.session, Watcher: cl.c.ID, Auth: cl.knownAs(e)}
			n.watchMu.Lock()
			e.done = n.engine.Rewatch(cl.rewatch, &r, (*readSink)(cl), rewatchStep)
			n.watchMu.Unlock()
		} else {
			e.done = true
		}
		if e.done {
			cl.rewatch = nil
			cl.run()
			queued = cl.advance()
			cl.startPump()
		}
		cl.startPaced()
	}
	cl.c.Unlock()
	n.mu.RUnlock()
	if queued {
		n.kick()
	}
	cl.c.Flush()
	if more {
		p.hand()
	}
}
