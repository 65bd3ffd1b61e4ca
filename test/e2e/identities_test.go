package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// TestLongIdentities: what clients of a follower are goes to the leader with each of their writes. However long that is,
// and however many come at once, the follower keeps its leader, and others are served.
func TestLongIdentities(t *testing.T) {
	for name, tc := range map[string]struct {
		identities, length, writes int
	}{
		"a few that are long":    {5, 900_000, 3},
		"many of a usual length": {60, 30, 3000},
		"one, and many writes":   {1, 3000, 3000},
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.Start(t, harness.Options{Servers: 3})
			s := e.Follower()
			other := connect(t, s.Addr())
			must(t, other, client.CreateOp{Path: "/other"})
			c := connect(t, s.Addr())
			must(t, c, client.CreateOp{Path: "/long"})
			at := len(s.Log())
			ctx, cancel := patience()
			defer cancel()
			for i := range tc.identities {
				if err := c.AddAuth(ctx, "digest", fmt.Appendf(nil, "%s%02d:word", strings.Repeat("u", tc.length), i)); err != nil {
					if !errors.Is(err, zkerr.AuthFailed) {
						t.Fatal(err)
					}
					break
				}
			}
			var calls []*client.Call
			for range tc.writes {
				calls = append(calls, c.Start(client.SetOp{Path: "/long", Data: []byte("x"), Version: -1}))
			}
			for range 20 {
				must(t, other, client.SetOp{Path: "/other", Version: -1})
			}
			for _, call := range calls {
				if _, err := call.Wait(ctx); err != nil && !errors.Is(err, zkerr.ConnectionLoss) && !errors.Is(err, zkerr.AuthFailed) && !errors.Is(err, zkerr.SessionExpired) {
					t.Fatal(err)
				}
			}
			must(t, other, client.SetOp{Path: "/other", Version: -1})
			if text := since(s, at); strings.Contains(text, "looking for a leader") || strings.Contains(text, "lost the leader") {
				t.Errorf("the follower has lost its leader:\n%s", text)
			}
		})
	}
}
