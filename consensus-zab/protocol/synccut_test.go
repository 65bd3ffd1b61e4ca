package protocol

import (
	"fmt"
	"testing"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// alone is a txn of epoch 1 that only one server has, as its leader would have logged it.
func alone(counter uint32) Txn {
	z := consensus.MakeZxid(1, counter)
	b := body(z).Data
	b[7] = 200 + byte(counter)
	return Txn{Zxid: z, Data: b}
}

// TestSyncCutAtEveryMessage cuts a synchronisation of each kind before each of its
// messages: by the learner's power, or by the leader's, after which another one leads. Then
// there is another sync, and a restart. The state that a node recovers, what it is given and
// what its disk has must fit at each step (ZOOKEEPER-4712, 5094, 3642, 2872): the world
// checks that.
func TestSyncCutAtEveryMessage(t *testing.T) {
	cuts := 0
	for _, how := range []string{"DIFF", "TRUNC", "SNAP"} {
		for _, at := range []string{"LEADERINFO", how, "PROPOSAL", "COMMIT", "NEWLEADER", "UPTODATE", "never"} {
			if how == "SNAP" && (at == "PROPOSAL" || at == "COMMIT") || how == "TRUNC" && at == "COMMIT" {
				continue // there is none before UPTODATE
			}
			for _, then := range []string{"crash 1", "crash 3", "crash 1 keep=1"} {
				t.Run(fmt.Sprintf("%s before %s, %s", how, at, then), func(t *testing.T) {
					s := &script{t: t}
					do := func(commands ...string) {
						t.Helper()
						for _, c := range commands {
							s.do(c)
							if s.w.failed {
								t.Fatalf("%s\n%s", c, s.w.trace)
							}
						}
					}
					do("ensemble 3")
					if how == "SNAP" {
						for _, x := range s.w.all {
							x.cfg.ForceSnapshot = true
						}
					}
					do("start 1 2 3", "vote 1 2 3", "propose 2", "run 300")
					if how == "TRUNC" {
						// Server 1 leads with 2, has two txns alone, and dies: 2 and 3 go on without
						// them, and commit nothing before it comes back.
						do("crash 3", "crash 2", "crash 1")
						s.w.all[0].log = append(s.w.all[0].log, alone(3), alone(4))
						do("start 2 3", "vote 2 3", "hold 2->3 PROPOSAL", "hold 3->2 PROPOSAL", "propose 2", "run 100")
					} else {
						do("crash 1", "propose 3", "run 500")
					}
					truncs, snaps := s.w.truncs, s.w.snaps
					if at != "never" {
						do("hold 3->1 "+at, "hold 2->1 "+at)
					}
					leader := s.leader()
					do("start 1", "run 1500")
					if at == "never" || at == "UPTODATE" {
						if how == "TRUNC" && s.w.truncs == truncs || how == "SNAP" && s.w.snaps == snaps {
							t.Fatalf("there was no %s\n%s", how, s.w.trace)
						}
					}
					if (s.w.all[0].role.State == consensus.Looking) == (at == "never") {
						t.Fatalf("server 1 is %v\n%s", s.w.all[0].role.State, s.w.trace)
					}
					cuts++
					if then == "crash 3" {
						then = fmt.Sprintf("crash %d", leader.id)
					}
					do(then, "release", "run 2500")
					if then[:7] == "crash 1" {
						do("start 1")
					}
					do("run 4000")
					if l := s.leader(); l != nil && l.role.State == consensus.Leading {
						do("propose 2")
					}
					do("run 500", "crash 1", "start 1", "stabilize")
				})
			}
		}
	}
	if cuts < 50 {
		t.Errorf("%d cuts", cuts)
	}
}
