package node

import (
	"encoding/binary"
	"errors"

	"github.com/zkcore/zkcore/core/failpoint"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// Where a txn's session, cxid and time stand in its data.
const (
	headSession = 0
	headCxid    = 8
	headTime    = 20
	headLen     = 32
)

// Deliver applies committed txns. It is the one place where state changes, and
// all that a batch changes changes together: a client gets its event before it
// can read the change.
//
// Only where a session has reads between two writes of the batch it is applied in
// parts, with those reads answered in between: no read shows what its own client
// asked for later. And where there are very many events they are sent in between.
func (n *Node) Deliver(txns []consensus.Txn) {
	if n.failed.Load() || len(txns) == 0 || n.doubts() {
		return
	}
	s := &n.sink
	s.now = n.clock()
	start := 0
	if n.barriers.Load() > 0 {
		for i := range txns {
			cl := n.behindReads(&txns[i])
			if cl == nil {
				continue
			}
			if !n.apply(txns[start:i]) {
				s.finish()
				return
			}
			start = i
			n.answerNow(cl)
		}
	}
	if !n.apply(txns[start:]) {
		s.finish() // of clients that are closed
		return
	}
	s.finish()
	n.welcomeLate()
	if last := &txns[len(txns)-1]; len(last.Data) >= headLen {
		ms := n.wallMS() - int64(binary.BigEndian.Uint64(last.Data[headTime:]))
		n.cfg.Metrics.Observe("propagation_latency", float64(max(ms, 0)))
	}
	n.applied(txns)
}

// apply applies one part of a batch, in as many steps as it takes for its events. False: the
// node has failed.
func (n *Node) apply(txns []consensus.Txn) bool {
	for len(txns) > 0 {
		done, ok := n.applySome(txns)
		if !ok {
			return false
		}
		if txns = txns[done:]; len(txns) > 0 {
			n.sink.relieve()
		}
	}
	return true
}

// applySome applies the first of these txns, all of them most often, and says how many.
func (n *Node) applySome(txns []consensus.Txn) (done int, ok bool) {
	failpoint.Hit(failpoint.BeforeApply)
	n.mu.Lock()
	err := n.engine.Apply(txns, &n.sink)
	for done = len(txns); done > 0 && int64(txns[done-1].Zxid) > n.engine.LastZxid(); done-- {
	}
	if last := txns[len(txns)-1].Data; err == nil && !n.serving && len(last) >= headLen {
		// What an earlier life of this server, on another disk maybe, numbered by a clock
		// that went ahead.
		n.clientsMu.Lock() // numbers may be being reserved still
		n.ids.Since(int64(binary.BigEndian.Uint64(last[headTime:])))
		n.clientsMu.Unlock()
	}
	differs := err == nil && n.check.at != 0
	if differs || err != nil {
		// Before anybody is answered out of it.
		n.doubt, n.serving = differs, false
		n.shutOut()
	}
	n.mu.Unlock()
	failpoint.Hit(failpoint.AfterApply)
	switch {
	case err != nil:
		n.fail(storeExit(err), err)
		return 0, false
	case differs:
		n.distrust()
		return 0, false
	}
	n.check.agreed += done
	return done, true
}

// behindReads returns the client that waits for t, if something that it asked for
// before t is not answered yet and waits for nothing.
func (n *Node) behindReads(t *consensus.Txn) *client {
	if len(t.Data) < headLen {
		return nil // the engine complains
	}
	session := int64(binary.BigEndian.Uint64(t.Data[headSession:]))
	cxid := int32(binary.BigEndian.Uint32(t.Data[headCxid:]))
	n.mu.RLock()
	defer n.mu.RUnlock()
	n.clientsMu.Lock()
	cl := n.sessions[session]
	n.clientsMu.Unlock()
	if cl == nil {
		return nil
	}
	cl.c.Lock()
	defer cl.c.Unlock()
	f := &cl.fifo
	for no := max(cl.scan, f.first); no < cl.next; no++ {
		e := f.at(no)
		if !e.kind.isTxn() || e.xid != cxid {
			continue
		}
		cl.scan = no + 1
		if e.barrier {
			for ahead := f.first; ahead < no; ahead++ {
				if !f.at(ahead).kind.waits() {
					return cl
				}
			}
		}
		return nil
	}
	return nil
}

// answerNow answers what is at the head of a client's fifo before the next part
// of a batch is applied. There are few such answers: see maxAhead.
func (n *Node) answerNow(cl *client) {
	n.mu.RLock()
	cl.c.Lock()
	for cl.ready() && !cl.c.Gone() {
		cl.run()
		if cl.c.Queued() > maxQueuedNow {
			cl.c.CloseLocked(errors.New("the client does not read what it is sent"))
			n.cfg.Metrics.Add("zkcore_slow_readers_closed", 1)
		}
	}
	cl.c.Unlock()
	n.mu.RUnlock()
	n.sink.mark(cl)
}

const maxQueuedNow = 64 << 20

// welcomeLate answers clients whose sessions had txns under way when they came
// back.
func (n *Node) welcomeLate() {
	n.mu.RLock()
	last := n.engine.LastZxid()
	n.clientsMu.Lock()
	if len(n.later) == 0 {
		n.clientsMu.Unlock()
		n.mu.RUnlock()
		return
	}
	var now []reclaim
	term := n.role.Term
	kept := n.later[:0]
	for _, r := range n.later {
		if r.zxid <= last {
			// The same batch may have ended the session.
			_, open := n.engine.Session(r.cl.session)
			r.alive = r.alive && open
			now = append(now, r)
		} else {
			kept = append(kept, r)
		}
	}
	clear(n.later[len(kept):])
	n.later = kept
	n.clientsMu.Unlock()
	n.mu.RUnlock()
	for _, r := range now {
		n.decided(term, r.cl, r.alive)
	}
}
