package node

import (
	"fmt"
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
// are to be served meanwhile. Reads that look at very many znodes and answer little go the same way,
// each in one step: a thousand of them take as many bytes as one packet has, and as long as they
// are carried out at one go nothing else happens.
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

// isLong says whether a request is for the pace. The node's lock is held.
func (cl *client) isLong(e *entry) bool {
	return len(e.body) > cl.n.cfg.RewatchBytes && isRewatch(e.op) || cl.n.engine.Wide(e.op, cl.session)
}

func isRewatch(op int32) bool {
	return proto.Op(op) == proto.OpSetWatches || proto.Op(op) == proto.OpSetWatches2
}

// startPaced puts the client in line if it has come to something for the pace. The connection is
// locked.
func (cl *client) startPaced() {
	if !cl.paced && cl.served() && cl.mustPace() {
		cl.paced = true
		cl.n.pace.put(cl)
	}
}

// mustPace says whether something for the pace is at the head of the fifo.
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
		switch e := cl.fifo.head(); {
		case isRewatch(e.op):
			e.done = cl.stepRewatch(e)
		case proto.Op(e.op) == proto.OpGetAllChildrenNum:
			cl.count()
		default:
			e.kind = kRead // which run answers
		}
		if cl.ready() {
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

// stepRewatch makes one step of a setWatches, and says whether it was the last.
func (cl *client) stepRewatch(e *entry) (done bool) {
	n := cl.n
	if cl.rewatch == nil {
		cl.rewatch, e.code = engine.NewRewatch(e.op, e.body)
	}
	if e.code != zkerr.OK {
		return true
	}
	r := engine.ReadRequest{Session: cl.session, Watcher: cl.c.ID, Auth: cl.knownAs(e)}
	n.watchMu.Lock()
	defer n.watchMu.Unlock()
	return n.engine.Rewatch(cl.rewatch, &r, (*readSink)(cl), rewatchStep)
}

// count carries out the getAllChildrenNumber at the head of the fifo. The node's lock and the connection's
// are held. While it counts they are given up, and the answer is of a state that may be past by then: it has that
// state's zxid. A client that was told of a later one meanwhile, by an event, must not be told of that any more,
// so for one it is counted anew; in the end with nothing else going on.
func (cl *client) count() {
	const tries = 3
	n, no := cl.n, cl.fifo.first
	for try := 0; ; try++ {
		e := cl.fifo.head()
		r := engine.ReadRequest{Session: cl.session, Watcher: cl.c.ID, Auth: cl.knownAs(e), Op: e.op, Body: e.body}
		number, below, code := n.engine.Count(&r)
		zxid, sent := n.engine.LastZxid(), cl.stats.sent
		if below != "" {
			view := n.store.View()
			aside := try < tries
			if aside {
				cl.paced = true // else it could come into the line a second time
				cl.c.Unlock()
				n.mu.RUnlock()
			}
			var err error
			number, err = engine.CountBelow(view, below)
			view.Release()
			if aside {
				n.mu.RLock()
				cl.c.Lock()
				cl.paced = false
			}
			switch {
			case err != nil:
				n.fail(ExitUnexpected, fmt.Errorf("read the store: %w", err))
				return
			case !cl.served() || !cl.mustPace() || cl.fifo.first != no:
				return
			case cl.stats.sent != sent:
				continue
			}
			e = cl.fifo.head() // the fifo may have grown
		}
		e.done, e.code, e.count, e.zxid = true, code, number, zxid
		return
	}
}
