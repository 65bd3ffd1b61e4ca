package process

import (
	"fmt"
	"sync"
	"time"
)

// calls are the calls that a module has not answered yet. Time is counted in ticks of this
// process, not taken from the clock: a process that was stopped itself, or whose machine was,
// has not waited meanwhile.
type calls struct {
	tick  time.Duration
	late  func(what string, after time.Duration) // tells of one that takes too long
	mu    sync.Mutex
	open  map[*call]struct{}
	ended chan struct{}
	once  sync.Once
}

// A call is one that waits for its answer.
type call struct {
	what  string
	limit int // ticks
	ticks int
}

func newCalls(tick time.Duration, late func(string, time.Duration)) *calls {
	c := &calls{tick: tick, late: late, open: map[*call]struct{}{}, ended: make(chan struct{})}
	go c.watch()
	return c
}

// begin begins a call that may take that long; end is called when it is answered.
func (c *calls) begin(what string, limit time.Duration) *call {
	k := &call{what: what, limit: int(limit/c.tick) + 1}
	c.mu.Lock()
	c.open[k] = struct{}{}
	c.mu.Unlock()
	return k
}

func (c *calls) end(k *call) {
	c.mu.Lock()
	delete(c.open, k)
	c.mu.Unlock()
}

func (c *calls) close() { c.once.Do(func() { close(c.ended) }) }

func (c *calls) watch() {
	t := time.NewTicker(c.tick)
	defer t.Stop()
	for {
		select {
		case <-c.ended:
			return
		case <-t.C:
		}
		var late *call
		c.mu.Lock()
		for k := range c.open {
			if k.ticks++; k.ticks > k.limit && late == nil {
				late = k
			}
		}
		c.mu.Unlock()
		if late != nil {
			c.late(late.what, time.Duration(late.limit)*c.tick)
			return
		}
	}
}

func lateError(what string, after time.Duration) error {
	return fmt.Errorf("it does not answer: %s, for %v", what, after.Round(time.Millisecond))
}
