package mixed

import (
	"testing"

	"github.com/zkcore/zkcore/test/harness"
)

// TestKillLeader kills the leader under load, whichever program it is, until both kinds have led. Apache's servers are
// of a newer release than Debian's: in 3.8.0 a follower that has lost its leader goes on while its old threads still
// write its log, which on a busy machine costs it acknowledged txns (ZOOKEEPER-4712).
func TestKillLeader(t *testing.T) {
	for _, tc := range []struct {
		name      string
		observers int
		apache    []int
	}{
		{"one of zkcore", 0, []int{1, 3}},
		{"two of zkcore, and an observer of each kind", 2, []int{2, 5}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := ensemble(t, harness.Options{Servers: 3, Observers: tc.observers, Apache: tc.apache, ApacheClasspath: harness.ApacheRelease(t)})
			startLed(t, e, e.Servers[2])
			l := startLoad(t, e, "/load")
			l.waitAcked(200)
			killed := make(map[string]int)
			kinds := 2
			if harness.Apache() {
				kinds = 1
			}
			for round := 0; round < 20 && len(killed) < kinds; round++ {
				leader := e.Leader()
				leader.Kill9()
				killed[kind(leader)]++
				e.Await()
				l.waitAcked(100) // without it
				leader.Start()
				e.Await()
				l.waitAcked(100)
			}
			if len(killed) < kinds {
				t.Errorf("only %v led", killed)
			}
			l.finish()
			l.check(e)
			t.Logf("%d writes answered, leaders killed: %v", l.acked.Load(), killed)

			// All at once, so that each starts from its own disk.
			for _, s := range e.Servers {
				s.Kill9()
			}
			for _, s := range e.Servers {
				s.Start()
			}
			e.Await()
			l.check(e)
		})
	}
}
