package nemesis

import (
	"time"

	"github.com/zkcore/zkcore/test/history"
	"github.com/zkcore/zkcore/test/judge"
)

// judge has the history judged.
func (w *world) judge(r *history.Run) {
	begun := time.Now()
	search := 3 * time.Minute
	if r.Txns == nil {
		search = 0 // with hundreds of writes of which nobody knows whether they happened it comes to no end
	}
	v := judge.Judge(r, judge.Options{
		// The rate was measured when the load had come up.
		MinFaults: min(minStrikes, len(w.plan.Steps)), LastWrite: true,
		// Servers and clients have one clock here. Of what the load of the machine makes late, nothing is
		// taken for a mistake of the servers.
		Porcupine: search,
	})
	if err := v.Err(); err != nil {
		w.t.Errorf("the history is not one that zkcore promises: %v", err)
	}
	w.t.Logf("judged in %v: %v; not judged: %q", time.Since(begun).Round(time.Millisecond), v.Counts, v.Blind)
	if w.t.Failed() {
		w.keep(r)
	}
}
