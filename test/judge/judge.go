package judge

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/zkcore/zkcore/test/history"
)

// Options say what is asked of a run beside the invariants.
type Options struct {
	// MinRate is how many requests a second must have been answered before the
	// first fault, MinFaults how many faults there must have been. With LastWrite a
	// write must have succeeded behind the last of them.
	MinRate   float64
	MinFaults int
	LastWrite bool
	// AtLeast says how much must have been checked, by the keys of Verdict.Counts.
	AtLeast map[string]int
	// ClockDrift is by how much a server's clock may be fast: 0.1 is 10 %. It
	// weakens the check that sessions live for their whole timeout.
	ClockDrift float64
	// Porcupine is how long porcupine may search for a linear order of what was done
	// to one znode; 0: it is not asked. More time than that is a violation.
	Porcupine time.Duration
}

// Judge says what is wrong with a run.
func Judge(run *history.Run, o Options) *Verdict {
	v := &Verdict{Counts: map[string]int{}, run: run, dropped: map[string]int{}}
	c := newCourt(run, v)
	for _, check := range checks {
		check(c, &o)
	}
	for _, what := range slices.Sorted(maps.Keys(o.AtLeast)) {
		if n := v.Counts[what]; n < o.AtLeast[what] {
			v.add("run", fmt.Sprintf("%s: %d were checked, there should be %d", what, n, o.AtLeast[what]))
		}
	}
	return v
}

// checks are all that is looked at, those first that say most about a mistake.
var checks = []func(*court, *Options){
	(*court).load,
	(*court).replies,
	(*court).realTime,
	(*court).neverBack,
	(*court).syncs,
	(*court).replay,
	(*court).welcomes,
	(*court).expiries,
	(*court).closes,
	(*court).sequences,
	(*court).stats,
	(*court).witnessless,
	(*court).ownEphemerals,
	(*court).locks,
	(*court).linear,
}
