package judge

import (
	"testing"
	"time"
)

// What an ensemble without mistakes does is right, with and without a look at
// what was committed.
func TestGoodHistories(t *testing.T) {
	total := map[string]int{}
	for seed := range uint64(25) {
		run := newRig(seed).run(2500)
		v := Judge(run, Options{MinFaults: 1, LastWrite: true, Porcupine: 20 * time.Second})
		if !v.OK() {
			t.Fatalf("seed %d: %s", seed, v)
		}
		if len(v.Blind) > 0 {
			t.Errorf("seed %d: blind: %q", seed, v.Blind)
		}
		for what, n := range v.Counts {
			total[what] += n
		}
		run.Txns = nil
		if v = Judge(run, Options{Porcupine: 20 * time.Second}); !v.OK() {
			t.Fatalf("seed %d without txns: %s", seed, v)
		}
	}
	t.Log(total)
}
