package member

import (
	"sync"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// A Caller calls the node, one call after the other and in the order in which it
// was asked to.
type Caller struct {
	Node consensus.Node
	max  int    // bytes of txns that may wait
	wake func() // of a caller that somebody else runs: there is a call
	// Delivered is told what the node has taken of what the protocol's member delivers.
	Delivered func(gen, seq uint64)

	mu     sync.Mutex
	more   sync.Cond // there is a call
	less   sync.Cond // calls were taken
	calls  []call
	bytes  int
	busy   bool // a call is under way
	closed bool
	done   chan struct{}
}

// A call is a Deliver, or fn.
type call struct {
	txns     []consensus.Txn
	gen, seq uint64 // of a Deliver that the protocol's member asked for
	fn       func()
}

// Txns delivered together are applied under one lock: no more at a time than lets
// readers through now and then.
const maxDeliver = 4096

// NewCaller makes one. maxBytes of txns may wait.
func NewCaller(n consensus.Node, maxBytes int) *Caller {
	c := &Caller{Node: n, max: maxBytes, done: make(chan struct{})}
	c.more.L, c.less.L = &c.mu, &c.mu
	return c
}

// Deliver asks for a Deliver. It waits while too much of the kind is waiting.
func (c *Caller) Deliver(txns []consensus.Txn) { c.add(call{txns: txns}, size(txns)) }

// fewTxns are delivered by whoever brings them, if nothing else is under way: the
// way to another goroutine and back takes as long as applying a dozen of them.
const fewTxns = 16

// deliverNow is Deliver for a goroutine that holds no lock and may take the time: a
// few txns are delivered when it returns.
func (c *Caller) deliverNow(txns []consensus.Txn) {
	c.mu.Lock()
	if len(txns) > fewTxns || c.busy || c.closed || len(c.calls) > 0 {
		c.mu.Unlock()
		c.Deliver(txns)
		return
	}
	c.busy = true
	c.mu.Unlock()
	c.Node.Deliver(txns)
	c.mu.Lock()
	c.busy = false
	if len(c.calls) > 0 || c.closed {
		c.more.Signal()
	}
	c.mu.Unlock()
}

// Give is Deliver for the protocol's member, which bounds what waits by itself.
func (c *Caller) Give(gen, seq uint64, txns []consensus.Txn) {
	c.add(call{txns: txns, gen: gen, seq: seq}, 0)
}

// Do asks for fn to be called. It does not wait.
func (c *Caller) Do(fn func()) { c.add(call{fn: fn}, 0) }

func (c *Caller) add(k call, bytes int) {
	c.mu.Lock()
	// Only the sum has a bound: one that is larger must pass too.
	for bytes > 0 && c.bytes > c.max && !c.closed {
		c.less.Wait()
	}
	if !c.closed {
		c.calls = append(c.calls, k)
		c.bytes += bytes
		c.more.Signal()
	}
	c.mu.Unlock()
	if c.wake != nil {
		c.wake()
	}
}

// Run calls the node until Close.
func (c *Caller) Run() {
	defer close(c.done)
	var calls []call
	for {
		c.mu.Lock()
		for c.busy || len(c.calls) == 0 && !c.closed {
			c.more.Wait()
		}
		if c.closed {
			c.mu.Unlock()
			return
		}
		calls = c.turn(calls)
	}
}

// turn makes the calls that wait, and returns their memory. mu is held, and is not
// when it returns.
func (c *Caller) turn(spare []call) []call {
	calls := c.calls
	c.calls = spare[:0]
	c.bytes = 0
	c.busy = true
	c.less.Broadcast()
	c.mu.Unlock()
	c.call(calls)
	clear(calls)
	c.mu.Lock()
	c.busy = false
	c.mu.Unlock()
	return calls
}

// call makes the calls. What can be delivered together is.
func (c *Caller) call(calls []call) {
	for i := 0; i < len(calls); i++ {
		if calls[i].fn != nil {
			if c.Closed() {
				return
			}
			calls[i].fn()
			continue
		}
		txns, first := calls[i].txns, i
		more := func() bool {
			return i+1 < len(calls) && calls[i+1].fn == nil && calls[i+1].gen == calls[first].gen && len(txns)+len(calls[i+1].txns) <= maxDeliver
		}
		if more() {
			// The first append copies: the slice ends where its caller's does.
			i++
			txns = append(txns[:len(txns):len(txns)], calls[i].txns...)
			for more() {
				i++
				txns = append(txns, calls[i].txns...)
			}
		}
		if c.Closed() {
			return
		}
		c.Node.Deliver(txns)
		if k := calls[i]; k.seq != 0 {
			c.Delivered(k.gen, k.seq)
		}
	}
}

// Closed says whether Close was called: nothing more is.
func (c *Caller) Closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Close ends Run after the call that is under way; wait for Done, unless on Run's own
// goroutine.
func (c *Caller) Close() {
	c.mu.Lock()
	c.closed = true
	c.more.Broadcast()
	c.less.Broadcast()
	c.mu.Unlock()
}

// Done is closed when Run is over.
func (c *Caller) Done() <-chan struct{} { return c.done }

func size(txns []consensus.Txn) int {
	n := 0
	for i := range txns {
		n += len(txns[i].Data) + 64
	}
	return n
}

// Drive is for a caller that somebody else runs, one call at a time with Turn: wake says that
// there is one.
func (c *Caller) Drive(wake func()) { c.wake = wake }

// Turn makes the next call, and reports whether there was one.
func (c *Caller) Turn() bool {
	c.mu.Lock()
	if c.closed || c.busy || len(c.calls) == 0 {
		c.mu.Unlock()
		return false
	}
	k := c.calls[0]
	c.calls = c.calls[1:]
	c.bytes -= size(k.txns)
	c.busy = true
	c.mu.Unlock()
	c.call([]call{k})
	c.mu.Lock()
	c.busy = false
	c.mu.Unlock()
	return true
}

// Waits says whether Turn has something to do.
func (c *Caller) Waits() bool { return len(c.calls) > 0 }

// Shut is Close for one that is driven. It reports whether that was done before.
func (c *Caller) Shut() (before bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, c.closed = c.closed, true
	return before
}
