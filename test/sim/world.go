package sim

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"

	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/test/history"
)

// Units of virtual time.
const (
	us = int64(1e3)
	ms = int64(1e6)
	s1 = int64(1e9)
)

// A world is one run.
type world struct {
	seed   uint64
	plan   plan
	module Module
	store  Store

	// Chance, a stream for each kind of use: more faults don't change the load.
	netRand, diskRand, faultRand, loadRand, nodeRand, disksRand, lureRand, storeRand, quotaRand, wideRand, localRand, vanishRand *rand.Rand

	now    int64
	seq    uint64
	events heap

	machines []*machine // server i is machines[i-1]
	shelves  string     // where stores have their files; empty: they have none
	clients  []*client
	net      network
	truth    truth
	log      *history.Log

	limited bool // clients set quotas

	faults bool  // harm is being done
	rotten bool  // a disk has lost something
	peace  int64 // when the harm was over, and all were awake; 0 before
	stats  Stats

	trace *strings.Builder
	hash  uint64
	err   error // the first thing that went wrong
}

func newWorld(seed uint64, module Module, store Store, p plan, traced bool) *world {
	stream := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
	w := &world{
		seed: seed, plan: p, module: module, store: store, now: s1,
		netRand: stream(1), diskRand: stream(2), faultRand: stream(3), loadRand: stream(4), nodeRand: stream(5),
		disksRand: stream(9), lureRand: stream(10), storeRand: stream(12), quotaRand: stream(13), wideRand: stream(15), localRand: stream(21), vanishRand: stream(43),
	}
	w.limited = limited(seed, w.quotaRand)
	w.stats.Kinds, w.stats.Done = map[string]int{}, map[string]int{}
	if traced {
		w.trace = new(strings.Builder)
	}
	w.log = history.NewLog(func() int64 { return w.now })
	w.net.init(w)
	w.truth.init(w)
	for i := range p.voters + p.observers {
		w.machines = append(w.machines, newMachine(w, consensus.ServerID(i+1), i >= p.voters))
	}
	for i := range p.clients {
		w.clients = append(w.clients, newClient(w, i+1))
	}
	return w
}

// fail notes what went wrong. The run ends.
func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
		w.logf(nil, "FAILED: %v", w.err)
	}
}

// logf adds a line to the trace, of a machine or of the world. The trace is hashed, so that
// two runs can be held against each other.
func (w *world) logf(m *machine, format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	h := fnv.New64a()
	var b [16]byte
	for i := range 8 {
		b[i], b[8+i] = byte(w.hash>>(8*i)), byte(w.now>>(8*i))
	}
	h.Write(b[:])
	h.Write([]byte(w.hidden(line)))
	w.hash = h.Sum64()
	if w.trace == nil {
		return
	}
	who := "      "
	if m != nil {
		who = fmt.Sprintf("node %d", m.id)
	}
	fmt.Fprintf(w.trace, "%11.6f %s  %s\n", float64(w.now)/1e9, who, line)
}

// at makes something happen.
func (w *world) at(t int64, to *machine, fn func()) {
	w.seq++
	e := event{at: max(t, w.now), seq: w.seq, to: to, fn: fn}
	if to != nil {
		e.inc = to.inc
	}
	w.events.push(e)
}

// after is at, from now on.
func (w *world) after(d int64, to *machine, fn func()) { w.at(w.now+d, to, fn) }

// run lets so much time pass.
func (w *world) run(d int64) {
	for end := w.now + d; w.err == nil; {
		if len(w.events) == 0 || w.events[0].at > end {
			w.stats.Nanos += end - w.now
			w.now = end
			return
		}
		e := w.events.pop()
		w.stats.Nanos += e.at - w.now
		w.now = e.at
		m := e.to
		switch {
		case m == nil:
			e.fn()
		case !m.up || m.inc != e.inc:
		case m.wake > w.now:
			// Asleep: it happens when the machine wakes up, in the same order.
			e.at = m.wake
			w.events.push(e)
		default:
			m.do(e.fn)
		}
		w.stats.Events++
	}
}
