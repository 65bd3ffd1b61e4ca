package sim

import (
	"math/rand/v2"
	"slices"
)

// Narrow ways to learners, in some runs: a leader has little under way to one of them, which is slow, and
// snapshots come one after the other. A learner that serves then falls so far behind that the log does not lead on from
// where it is. It is drawn from a stream of its own.

// drawNarrow draws whether the ways to learners are narrow.
func (p *plan) drawNarrow(seed uint64) {
	if rand.New(rand.NewPCG(seed, 45)).IntN(5) > 0 || above(vanishLine)[seed] {
		return
	}
	p.narrow = true
	p.snapCount, p.pauseMS = 20, min(p.pauseMS, 60)
	for i := range faultKinds {
		switch faultKinds[i].name {
		case "slow disk", "slow node":
			p.kinds = append(p.kinds, slices.Repeat([]int{i}, (len(p.kinds)+2)/2)...)
		}
	}
}

// narrowRaft are the options of the narrow runs under Raft.
var narrowRaft = map[string]string{"zkcore.raft.inflight": "2", "zkcore.raft.keepEntries": "0"}
