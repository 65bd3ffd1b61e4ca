package node

import (
	"errors"
	"sync"

	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// An item is something on its way to the leader, in the order in which it must
// get there.
type item struct {
	kind    kind // kWrite, kSync or kReclaim
	from    consensus.ServerID
	cl      *client // nil: a request of another server's client, or the node's own
	sync    consensus.SyncID
	timeout int32 // kReclaim
	req     consensus.Request
}

// A queue is what is to be ordered. Many put into it, one at a time takes out.
type queue struct {
	mu       sync.Mutex
	term     uint64
	items    []item
	spare    []item // memory for the next items
	draining bool   // somebody takes out, and will look again before he stops

	hand func() // tells the queue's own goroutine to take over
}

// runLength is how many writes are prepared under one read lock.
const runLength = 256

// reset drops what is queued: it was for another term.
func (q *queue) reset(term uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.items)
	q.items, q.term = q.items[:0], term
}

func (q *queue) put(it item) {
	q.mu.Lock()
	q.items = append(q.items, it)
	q.mu.Unlock()
}

// begin says whether the caller has to empty the queue, as nobody does.
func (q *queue) begin() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.draining || len(q.items) == 0 {
		return false
	}
	q.draining = true
	return true
}

// submit empties the queue if nobody does. The caller holds no lock. To wake
// another goroutine would cost a lone write more than to do its work; but whoever
// is here for long hands over to the queue's own goroutine, for his connection
// waits.
func (n *Node) submit() {
	if n.queue.begin() {
		n.drain(2)
	}
}

// kick is submit for those who may not wait, or hold a lock.
func (n *Node) kick() {
	if n.queue.begin() {
		n.queue.hand()
	}
}

// drain takes out until the queue is empty, at most so many times if rounds is
// not negative.
func (n *Node) drain(rounds int) {
	q := &n.queue
	for ; ; rounds-- {
		q.mu.Lock()
		if len(q.items) == 0 {
			q.draining = false
			q.mu.Unlock()
			return
		}
		if rounds == 0 {
			q.mu.Unlock()
			q.hand()
			return
		}
		batch, term := q.items, q.term
		q.items, q.spare = q.spare, nil
		q.mu.Unlock()

		n.order(term, batch)

		clear(batch)
		if cap(batch) <= 8<<10 {
			q.mu.Lock()
			q.spare = batch[:0]
			q.mu.Unlock()
		}
	}
}

// order passes items on: writes in runs, and what stands between them alone.
func (n *Node) order(term uint64, items []item) {
	for len(items) > 0 {
		run := 0
		for run < len(items) && run < runLength && items[run].kind == kWrite {
			run++
		}
		var err error
		if run > 0 {
			err = n.orderWrites(term, items[:run])
			items = items[run:]
		} else {
			it := &items[0]
			if it.kind == kSync {
				err = n.orderSync(term, it)
			} else {
				err = n.orderReclaim(term, it)
			}
			items = items[1:]
		}
		switch {
		case err == nil:
		case errors.Is(err, consensus.ErrNotNow), errors.Is(err, consensus.ErrClosed):
			return // the next Role fills the queue anew
		default:
			n.fail(ExitUnexpected, err)
			return
		}
	}
}

func (n *Node) orderWrites(term uint64, items []item) error {
	n.mu.RLock()
	if n.role.Term != term || !n.serving {
		n.mu.RUnlock()
		return consensus.ErrNotNow
	}
	if n.role.State != consensus.Leading {
		n.mu.RUnlock()
		reqs := make([]consensus.Request, 0, len(items))
		for i := range items {
			// Without a client it was meant for a leader, which this node was.
			if items[i].cl != nil {
				reqs = append(reqs, items[i].req)
			}
		}
		if len(reqs) == 0 {
			return nil
		}
		return n.member.Forward(term, reqs)
	}
	txns := make([]consensus.Txn, len(items))
	nowMS := n.wallMS()
	n.prepMu.Lock()
	for i := range items {
		txns[i] = n.engine.Prepare(nowMS, items[i].from, &items[i].req)
	}
	n.prepared.Store(int64(txns[len(txns)-1].Zxid))
	n.prepMu.Unlock()
	n.heardOf(items)
	n.mu.RUnlock()
	return n.member.Propose(term, txns)
}

// heardOf gives the sessions of other servers' clients their timeout anew, as this
// node has their writes. Those servers will say so themselves, unless they are gone
// before they do: the clients have all of their timeouts to come elsewhere then.
func (n *Node) heardOf(items []item) {
	theirs := func(it *item) bool { return it.cl == nil && it.from != 0 }
	first := 0
	for first < len(items) && !theirs(&items[first]) {
		first++
	}
	if first == len(items) {
		return
	}
	now := n.heardElsewhere()
	n.trackMu.Lock()
	defer n.trackMu.Unlock()
	for i := range items[first:] {
		if it := &items[first+i]; theirs(it) {
			n.tracker.Heard(it.req.Session, now)
		}
	}
}

func (n *Node) orderSync(term uint64, it *item) error {
	n.mu.RLock()
	if n.role.Term != term || !n.serving {
		n.mu.RUnlock()
		return consensus.ErrNotNow
	}
	n.clientsMu.Lock()
	n.syncs[it.sync] = it.cl
	n.clientsMu.Unlock()
	n.mu.RUnlock()
	if simbug.On("sync-local") {
		n.Synced(it.sync) // what this node has is what there is
		return nil
	}
	return n.member.Sync(term, it.sync)
}

// Synced answers the sync of that number.
func (n *Node) Synced(id consensus.SyncID) {
	n.mu.RLock()
	n.clientsMu.Lock()
	cl, refused := n.syncs[id], n.refusals[id]
	delete(n.syncs, id)
	delete(n.refusals, id)
	n.clientsMu.Unlock()
	if refused != nil {
		n.mu.RUnlock()
		n.refuse(refused)
		return
	}
	if cl == nil {
		n.mu.RUnlock()
		return
	}
	cl.c.Lock()
	for no := cl.fifo.first; no < cl.next; no++ {
		if e := cl.fifo.at(no); e.kind == kSync && e.sync == id {
			e.done = true
			break
		}
	}
	cl.run()
	queued := cl.advance()
	cl.startPump()
	cl.c.Unlock()
	n.mu.RUnlock()
	if queued {
		n.kick()
	}
	n.letIn()
	cl.c.Flush()
}
