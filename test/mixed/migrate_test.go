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
			for _, apache := range []bool{false, true} {
				for _, s := range e.Servers {
					tc.leave(s)
					l.waitAcked(20)
					s.Apache = apache || harness.Apache()
					rejoin(t, e, s, tc.how)
					l.waitAcked(100)
					t.Logf("server %d is %s now, server %d leads", s.ID, kind(s), e.Leader().ID)
				}
			}
			l.finish()
			l.check(e)
			t.Logf("%d writes answered", l.acked.Load())
		})
	}
}
