package node

import (
	"errors"
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
// are carried out at one go nothing else happens. Those that count, which nobody else has to wait for but for the
// next of them, have a pace of their own: a step of theirs may take longer than a client waits that sets its watches.
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

// paceOf is the pace that e is for.
func (n *Node) paceOf(e *entry) *pace {
	if isCount(e.op) {
		return &n.counts
	}
	return &n.pace
}

func isCount(op int32) bool { return proto.Op(op) == proto.OpGetAllChildrenNum }

func isRewatch(op int32) bool {
	return proto.Op(op) == proto.OpSetWatches || proto.Op(op) == proto.OpSetWatches2
}

// startPaced puts the client in line if it has come to something for the pace. The connection is
// locked.
func (cl *client) startPaced() {
	if !cl.paced && cl.served() && cl.mustPace() {
		cl.paced = true
		cl.n.paceOf(cl.fifo.head()).put(cl)
	}
}

// mustPace says whether something for the pace is at the head of the fifo.
func (cl *client) mustPace() bool {
	return cl.fifo.n > 0 && !cl.c.Gone() && cl.fifo.head().kind == kRewatch && !cl.fifo.head().done
}

// paceOn makes one step.
func (n *Node) paceOn(p *pace) {
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
		case n.paceOf(e) != p: // what it came into this line for was answered otherwise
		case isRewatch(e.op):
			e.done = cl.stepRewatch(e)
		case isCount(e.op):
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

// maxLate bounds the bytes of events that wait for a count, of which there is one at a time.
const maxLate = 8 << 20

var errLate = errors.New("more events came while znodes were counted for the client than there is memory for")

// count carries out the getAllChildrenNumber at the head of the fifo. The node's lock and the connection's
// are held. While it counts they are given up, and the answer is of a state that may be past by then: it has that
// state's zxid, and the events that come meanwhile, of later states, are sent behind it. Only a ping that was answered
// meanwhile, as there was no leader, may have told of a later state: then it is counted anew.
func (cl *client) count() {
	n, no := cl.n, cl.fifo.first
	for {
		e := cl.fifo.head()
		r := engine.ReadRequest{Session: cl.session, Watcher: cl.c.ID, Auth: cl.knownAs(e), Op: e.op, Body: e.body}
		number, below, code := n.engine.Count(&r)
		zxid := n.engine.LastZxid()
		if below != "" {
			view := n.store.View()
			// Else it could come into the line a second time.
			cl.paced, cl.counting, cl.pinged = true, true, false
			cl.c.Unlock()
			n.mu.RUnlock()
			var err error
			number, err = engine.CountBelow(view, below, cl.gone)
			view.Release()
			n.mu.RLock()
			cl.c.Lock()
			cl.paced, cl.counting = false, false
			switch {
			case err != nil:
				n.fail(ExitUnexpected, fmt.Errorf("read the store: %w", err))
				return
			case !cl.served() || !cl.mustPace() || cl.fifo.first != no:
				cl.tellLateNow()
				return
			case cl.pinged && n.engine.LastZxid() != zxid:
				cl.tellLateNow()
				continue
			}
			e = cl.fifo.head() // the fifo may have grown
		}
		e.done, e.code, e.count, e.zxid = true, code, number, zxid
		return
	}
}

// gone says whether the connection is closed, or about to be.
func (cl *client) gone() bool {
	cl.c.Lock()
	defer cl.c.Unlock()
	return cl.c.Gone()
}

// tellLateNow sends the events that waited for a count, though there is no answer before them. The connection is
// locked.
func (cl *client) tellLateNow() {
	if len(cl.late) > 0 {
		cl.c.SetOut(cl.tellLate(cl.c.Out()))
	}
}

// tellLate appends these events. The connection is locked.
func (cl *client) tellLate(out []byte) []byte {
	out = append(out, cl.late...)
	cl.c.Unasked(len(cl.late))
	cl.late = nil
	return out
}
