package process

import (
	"sync"
	"sync/atomic"
	"time"

	pb "github.com/zkcore/zkcore/plugins/process/modulepb"
)

// A member lives in another process than its node, so that a node which stands still does not stop
// it: its peers would hear it and elect it for ever, and nobody would be served. So a member whose
// node is silent for too long ends. To its peers it is a server that died, and the node, if it goes
// on, sees a module that died.

// beat is how often a node is heard of at least: a health call.
const beat = 250 * time.Millisecond

// A pulse is how long health calls are not answered.
type pulse struct {
	mu      sync.Mutex
	since   time.Time     // of one that is not; zero: there is none
	longest time.Duration // of those that were, since it was looked at
}

func (p *pulse) ask() {
	p.mu.Lock()
	p.since = time.Now()
	p.mu.Unlock()
}

func (p *pulse) answered() {
	p.mu.Lock()
	p.longest, p.since = max(p.longest, time.Since(p.since)), time.Time{}
	p.mu.Unlock()
}

func (p *pulse) look() (now, longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	longest, p.longest = p.longest, 0
	if !p.since.IsZero() {
		now = time.Since(p.since)
	}
	return now, longest
}

// leastPatience bounds from below for how long a node may be silent, as a busy machine can
// keep it from its beat for a while.
const leastPatience = 2 * time.Second

// nodePatience is for how long a node may be silent if its member says nothing else: as long as its
// peers would wait for one whose member stands still with it.
func nodePatience(c *pb.ConsensusConfig) time.Duration {
	return time.Duration(c.SyncLimit) * time.Duration(c.TickNs)
}

// silenceSteps is in how many steps patience is counted.
const silenceSteps = 20

// A silence measures for how long nothing was heard, in steps of this process and not by the
// clock: when all has stood still together, nobody was silent.
type silence struct {
	steps    atomic.Int32
	patience atomic.Int64 // ns
}

func (s *silence) heard() { s.steps.Store(0) }

// limit says how long the silence may be. It may change.
func (s *silence) limit(d time.Duration) { s.patience.Store(int64(max(d, leastPatience))) }

// watch calls end once nothing was heard for so long, and returns.
func (s *silence) watch(end func(time.Duration)) {
	s.heard()
	step := func() time.Duration { return time.Duration(s.patience.Load()) / silenceSteps }
	t := time.NewTimer(step())
	defer t.Stop()
	for range t.C {
		if s.steps.Add(1) > silenceSteps {
			end(time.Duration(s.patience.Load()))
			return
		}
		t.Reset(step())
	}
}
