package mixed

import (
	"testing"

	"github.com/zkcore/zkcore/test/harness"
)

// TestRollingMigration replaces an ensemble's servers one by one, on their data and configuration
// and under load: Apache's by zkcore's, and back.
func TestRollingMigration(t *testing.T) {
	for _, tc := range []struct {
		name  string
		extra map[string]string
		how   string
		leave func(*harness.Server)
	}{
		{"what was missed", map[string]string{"snapCount": "500", "commitLogCount": "1000000"}, "DIFF", (*harness.Server).Stop},
		// The tree is sent while it changes.
		{"whole trees", map[string]string{"snapCount": "500", "forceSnapshotSync": "true"}, "SNAP", (*harness.Server).Kill9},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := ensemble(t, harness.Options{Servers: 3, Apache: []int{1, 2, 3}, Extra: tc.extra})
			for _, s := range e.Servers {
				s.Start()
			}
			e.Await()
			l := startLoad(t, e, "/load")
			l.waitAcked(200)
			// An Apache leader sends a tree that changes while it does. Apache's learners then
			// compare digests which can't be equal yet, to no harm; ours don't.
			fuzzy := make(map[*harness.Server]bool)
			for _, apache := range []bool{false, true} {
				for _, s := range e.Servers {
					led := e.Leader() == s
					tc.leave(s)
					l.waitAcked(20)
					s.Apache = apache || harness.Apache()
					how := tc.how
					if led && how == "DIFF" {
						how = "" // it may have logged what nobody else has: see TestForget
					}
					rejoin(t, e, s, how)
					l.waitAcked(100)
					leader := e.Leader()
					t.Logf("server %d is %s now, server %d leads", s.ID, kind(s), leader.ID)
					fuzzy[s] = false
					for _, s := range e.Servers {
						if s.Apache && leader.Apache && tc.how == "SNAP" {
							fuzzy[s] = true
						} else if !fuzzy[s] {
							noMismatch(t, s)
						}
					}
				}
			}
			l.finish()
			for s := range fuzzy {
				if fuzzy[s] {
					s.Restart() // it counts anew
				}
			}
			e.Await()
			l.check(e)
			t.Logf("%d writes answered", l.acked.Load())
		})
	}
}
