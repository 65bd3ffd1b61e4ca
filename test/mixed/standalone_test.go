package mixed

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// TestStandaloneHandover opens one server's data directory with one program after the other. Each
// finds what the other left: snapshots and logs after a stop, logs alone after a kill.
func TestStandaloneHandover(t *testing.T) {
	for name, apache := range map[string]bool{"Apache first": true, "zkcore first": false} {
		t.Run(name, func(t *testing.T) {
			s := ensemble(t, harness.Options{Extra: map[string]string{"snapCount": "200"}}).Servers[0]
			s.Apache = apache || harness.Apache()
			var before []string
			for round := range 4 {
				s.Start()
				s.Await()
				if after := tree(t, s); round > 0 && !slices.Equal(before, after) {
					t.Fatalf("%s does not find what was left: %s", kind(s), difference(before, after))
				}
				what := fmt.Sprintf("/round-%d", round)
				c := connect(t, s.Addr())
				authenticate(t, c)
				setQuota(t, c, what, "")
				writeMany(t, c, what, 300, 50) // more than a snapshot takes
				must(t, c, client.CreateOp{Path: what + "/null"})
				must(t, c, client.CreateOp{Path: what + "/ünï", Data: []byte{}, WithStat: true})
				must(t, c, client.CreateOp{Path: what + "/private", ACL: client.CreatorACL(), Mode: client.Container})
				must(t, c, client.SetACLOp{Path: what + "/n000000", ACL: []client.ACL{{Perms: 31, Scheme: "ip", ID: "127.0.0.1"}}, Version: 0})
				for range 3 {
					must(t, c, client.CreateOp{Path: what + "/s-", Mode: client.PersistentSequential})
				}
				must(t, c, client.SetOp{Path: what + "/n000001", Data: []byte("set"), Version: 0})
				must(t, c, client.DeleteOp{Path: what + "/n000002", Version: 0})
				must(t, c, client.MultiOp{Ops: []client.Op{
					client.CreateOp{Path: what + "/multi"}, client.CreateOp{Path: what + "/multi/2", WithStat: true}, client.CheckOp{Path: what, Version: 0},
				}})
				ctx, cancel := patience()
				if _, err := c.Multi(ctx, client.CreateOp{Path: what + "/no"}, client.DeleteOp{Path: "/nobody"}); err == nil {
					t.Error("a multi with a delete of nothing succeeded")
				}
				if _, err := c.Create(ctx, what, nil, client.Persistent); err == nil {
					t.Error("a node was created twice")
				}
				cancel()
				// Sessions live on, with what they own, under the other program.
				must(t, c, client.CreateOp{Path: what + "/ephemeral", Mode: client.Ephemeral})
				brief := connect(t, s.Addr())
				must(t, brief, client.CreateOp{Path: what + "/brief", Mode: client.Ephemeral})
				end(brief)

				before = tree(t, s)
				noMismatch(t, s)
				if round%2 == 0 {
					s.Stop()
				} else {
					s.Kill9()
				}
				s.Apache = !s.Apache || harness.Apache()
			}
			// Both have written snapshots that the other has read.
			snaps, err := filepath.Glob(filepath.Join(s.DataDir, "version-2", "snapshot.*"))
			if err != nil || len(snaps) < 3 {
				t.Errorf("snapshots %v, %v", snaps, err)
			}
		})
	}
}
