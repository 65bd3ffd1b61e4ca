package mixed

import (
	"errors"
	"fmt"
	"testing"

	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// TestLocalSessions: the local sessions of each program's servers under a leader of the other's: they write,
// are told the same when they ask for an ephemeral, and become the ensemble's with one.
func TestLocalSessions(t *testing.T) {
	for _, tc := range []struct {
		name    string
		apache  []int
		leader  int
		upgrade string
	}{
		{"zkcore leads", []int{1, 2}, 3, "false"},
		{"zkcore leads, with upgrades", []int{1}, 3, "true"},
		{"Apache leads", []int{3}, 3, "false"},
		{"Apache leads, with upgrades", []int{3}, 3, "true"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := ensemble(t, harness.Options{Servers: 3, Apache: tc.apache, Extra: map[string]string{
				"zkcore.ensemble.mixed": "true", "localSessionsEnabled": "true", "localSessionsUpgradingEnabled": tc.upgrade,
			}})
			startLed(t, e, e.Servers[tc.leader-1])
			for _, s := range e.Servers {
				dir := fmt.Sprintf("/of-%d", s.ID)
				c := connect(t, s.Addr())
				must(t, c, client.CreateOp{Path: dir, Mode: client.Container})
				must(t, c, client.SetOp{Path: dir, Data: []byte("x"), Version: 0})
				must(t, c, client.MultiOp{Ops: []client.Op{client.CreateOp{Path: dir + "/n"}, client.SetOp{Path: dir, Version: 1}}})
				session, ephemeral := c.Session(), client.CreateOp{Path: dir + "/e", Mode: client.Ephemeral}
				if tc.upgrade == "false" {
					ctx, cancel := patience()
					if _, err := c.Do(ctx, ephemeral); !errors.Is(err, zkerr.EphemeralOnLocalSession) {
						t.Errorf("an ephemeral on server %d (%s): %v", s.ID, kind(s), err)
					}
					cancel()
					continue
				}
				must(t, c, ephemeral)
				// It can move now, to a server of the other program too.
				for _, o := range e.Servers {
					zxid := c.LastZxid()
					c.Abandon()
					c = connectWith(t, client.Options{Session: &session, LastZxid: zxid}, sessionTimeout, o.Addr())
					if r := must(t, c, client.ExistsOp{Path: dir + "/e"}); r.Stat.EphemeralOwner != session.ID || c.Session().ID != session.ID {
						t.Errorf("of server %d (%s) on server %d (%s): %+v", s.ID, kind(s), o.ID, kind(o), r.Stat)
					}
				}
				ctx, cancel := patience()
				if err := c.Close(ctx); err != nil {
					t.Error(err)
				}
				cancel()
			}
			sameTrees(t, e)
			wantLeader(t, e.Servers[tc.leader-1])
		})
	}
}
