package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// TestSizes: every size of ensemble serves writes and reads on each server,
// sessions that move, ephemerals and watches.
func TestSizes(t *testing.T) {
	for _, size := range []struct{ servers, observers int }{{1, 0}, {2, 0}, {3, 0}, {5, 0}, {3, 1}} {
		t.Run(fmt.Sprintf("%d+%d", size.servers, size.observers), func(t *testing.T) {
			e := harness.Start(t, harness.Options{Servers: size.servers, Observers: size.observers})
			modes := make(map[string]int)
			for _, s := range e.Servers {
				mode, err := s.Mode()
				if err != nil {
					t.Fatal(err)
				}
				modes[mode]++
			}
			want := map[string]int{"standalone": 1}
			if size.servers > 1 {
				want = map[string]int{"leader": 1, "follower": size.servers - 1}
				if size.observers > 0 {
					want["observer"] = size.observers
				}
			}
			if fmt.Sprint(modes) != fmt.Sprint(want) {
				t.Errorf("modes %v, want %v", modes, want)
			}

			var clients []*client.Client
			for _, s := range e.Servers {
				clients = append(clients, connect(t, s.Addr()))
			}
			must(t, clients[0], client.CreateOp{Path: "/app", Data: []byte("root")})
			for i, c := range clients {
				must(t, c, client.SyncOp{Path: "/app"})
				if r := must(t, c, client.GetOp{Path: "/app"}); string(r.Data) != "root" {
					t.Errorf("server %d has %q", i+1, r.Data)
				}
				ctx, cancel := patience()
				r, err := c.ChildrenW(ctx, "/app")
				cancel()
				if err != nil {
					t.Fatal(err)
				}
				must(t, clients[(i+1)%len(clients)], client.CreateOp{Path: fmt.Sprintf("/app/n%d", i), Mode: client.Ephemeral})
				select {
				case ev := <-r.Event:
					if ev.Path != "/app" {
						t.Errorf("event for %s", ev.Path)
					}
				case <-time.After(harness.Patience):
					t.Fatal("no event")
				}
			}
			var names []string
			for i := range 2 * len(clients) {
				r := must(t, clients[i%len(clients)], client.CreateOp{Path: "/app/seq-", Mode: client.PersistentSequential})
				names = append(names, r.Path)
			}
			if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
				t.Errorf("sequential names %v", names)
			}
			sameTrees(t, e)

			// A session that is closed takes its ephemerals along, everywhere.
			ctx, cancel := patience()
			defer cancel()
			if err := clients[0].Close(ctx); err != nil {
				t.Fatal(err)
			}
			last := clients[len(clients)-1]
			if len(clients) == 1 {
				last = connect(t, e.Servers[0].Addr())
			}
			must(t, last, client.SyncOp{Path: "/"})
			gone := fmt.Sprintf("/app/n%d", len(clients)-1)
			if _, err := last.Exists(ctx, gone); err == nil {
				t.Errorf("%s outlived its session", gone)
			}
		})
	}
}
