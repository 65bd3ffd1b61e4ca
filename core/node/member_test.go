package node

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// A fakeMember orders for a test: what is proposed is delivered at once, or when
// the test says so; roles change on command.
type fakeMember struct {
	node consensus.Node
	cfg  consensus.Config

	mu         sync.Mutex
	cond       *sync.Cond
	calls      []func() // for the one goroutine that calls the node
	closed     bool
	role       consensus.Role
	last       consensus.Zxid
	manual     bool // proposals wait for deliver
	proposed   []consensus.Txn
	forwarded  []consensus.Request
	syncs      []consensus.SyncID
	revals     []consensus.Touch
	saved      []consensus.Zxid
	distrusted []consensus.Zxid
	needed     consensus.Zxid
	done       chan struct{}
	asked      func()                              // by Status, if it is set
	stands     func() (now, longest time.Duration) // Unanswered's; may be nil
	// follow makes it begin as a follower.
	begin consensus.State
}

// opener returns the Open of a member that is handed to the test through m.
func opener(m **fakeMember, begin consensus.State, manual bool) consensus.Open {
	return func(cfg consensus.Config, n consensus.Node) (consensus.Member, error) {
		f := &fakeMember{node: n, cfg: cfg, begin: begin, manual: manual, done: make(chan struct{})}
		f.cond = sync.NewCond(&f.mu)
		last, err := n.Recover(math.MaxInt64)
		if err != nil {
			return nil, err
		}
		f.last = last
		*m = f
		go f.run()
		f.setRole(consensus.Looking)
		f.setRole(begin)
		return f, nil
	}
}

func (f *fakeMember) run() {
	defer close(f.done)
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		for len(f.calls) == 0 && !f.closed {
			f.cond.Wait()
		}
		if f.closed {
			return
		}
		call := f.calls[0]
		f.calls = f.calls[1:]
		f.mu.Unlock()
		call()
		f.mu.Lock()
	}
}

func (f *fakeMember) do(call func()) {
	f.mu.Lock()
	f.calls = append(f.calls, call)
	f.mu.Unlock()
	f.cond.Signal()
}

// wait runs call on the node's goroutine and returns when it is done.
func (f *fakeMember) wait(call func()) {
	done := make(chan struct{})
	f.do(func() { call(); close(done) })
	<-done
}

// setRole changes the role; what was proposed and not delivered is lost.
func (f *fakeMember) setRole(s consensus.State) {
	f.mu.Lock()
	f.role = consensus.Role{State: s, Term: f.role.Term + 1, Standalone: s == consensus.Leading && f.begin == consensus.Leading, Epoch: f.last.Epoch(), Last: f.last}
	f.proposed, f.forwarded, f.syncs, f.revals = nil, nil, nil, nil
	r := f.role
	f.mu.Unlock()
	f.do(func() { f.node.Role(r) })
}

// epoch begins a new epoch with this node as its leader.
func (f *fakeMember) epoch() {
	f.mu.Lock()
	f.last = consensus.MakeZxid(f.last.Epoch()+1, 0)
	f.mu.Unlock()
	f.setRole(consensus.Leading)
}

func (f *fakeMember) Propose(term uint64, txns []consensus.Txn) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.role.State != consensus.Leading || term != f.role.Term {
		return consensus.ErrNotNow
	}
	for _, t := range txns {
		if want := f.role.Last + consensus.Zxid(len(f.proposed)) + 1; f.manual && t.Zxid != want {
			return fmt.Errorf("proposed %v, want %v", t.Zxid, want)
		}
		f.proposed = append(f.proposed, t)
	}
	if !f.manual {
		f.proposed = nil
		f.last = txns[len(txns)-1].Zxid
		f.calls = append(f.calls, func() { f.node.Deliver(txns) })
		f.cond.Signal()
	}
	return nil
}

// deliver delivers the oldest n proposals, all of them if n is negative.
func (f *fakeMember) deliver(n int) {
	f.mu.Lock()
	if n < 0 {
		n = len(f.proposed)
	}
	txns := f.proposed[:n]
	f.proposed = f.proposed[n:]
	if n > 0 {
		f.last = txns[n-1].Zxid
		f.role.Last = f.last
	}
	f.mu.Unlock()
	f.wait(func() {
		if len(txns) > 0 {
			f.node.Deliver(txns)
		}
	})
}

func (f *fakeMember) counts() (proposed, forwarded, syncs, revals int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.proposed), len(f.forwarded), len(f.syncs), len(f.revals)
}

func (f *fakeMember) Forward(term uint64, rs []consensus.Request) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if term != f.role.Term || f.role.State != consensus.Following && f.role.State != consensus.Observing {
		return consensus.ErrNotNow
	}
	f.forwarded = append(f.forwarded, rs...)
	return nil
}

func (f *fakeMember) Sync(term uint64, id consensus.SyncID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if term != f.role.Term || f.role.State == consensus.Looking {
		return consensus.ErrNotNow
	}
	if f.manual {
		f.syncs = append(f.syncs, id)
		return nil
	}
	f.calls = append(f.calls, func() { f.node.Synced(id) })
	f.cond.Signal()
	return nil
}

func (f *fakeMember) Revalidate(term uint64, t consensus.Touch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if term != f.role.Term {
		return consensus.ErrNotNow
	}
	f.revals = append(f.revals, t)
	return nil
}

func (f *fakeMember) Checkpoint(saved, needed consensus.Zxid) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.saved = append(f.saved, saved)
	f.needed = needed
	return nil
}

// Unanswered is what a member in a process of its own has.
func (f *fakeMember) Unanswered() (now, longest time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stands == nil {
		return 0, 0
	}
	return f.stands()
}

func (f *fakeMember) Reconfigure(uint64, string) error { return consensus.ErrUnsupported }
func (f *fakeMember) Distrust(at consensus.Zxid, _ string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.distrusted = append(f.distrusted, at)
	return nil
}
func (f *fakeMember) Caps() consensus.Caps { return consensus.Caps{} }

func (f *fakeMember) Status() consensus.Status {
	f.mu.Lock()
	asked := f.asked
	f.mu.Unlock()
	if asked != nil {
		asked()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return consensus.Status{Role: f.role}
}

func (f *fakeMember) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil
	}
	f.closed = true
	f.mu.Unlock()
	f.cond.Broadcast()
	<-f.done
	return nil
}
