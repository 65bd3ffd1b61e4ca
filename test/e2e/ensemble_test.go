package e2e

import (
	"fmt"
	"maps"
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
			if size.servers > 1 {
				rolesAreShown(t, e, size.servers, size.observers)
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

// rolesAreShown: mntr says in Apache's words what each server is, and the leader who follows it.
func rolesAreShown(t *testing.T, e *harness.Ensemble, servers, observers int) {
	t.Helper()
	peer := map[string]string{"leader": "leading - broadcast", "follower": "following - broadcast", "observer": "observing - broadcast"}
	for _, s := range e.Servers {
		mode, err := s.Mode()
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"zk_server_state": mode, "zk_peer_state": peer[mode], "zk_quorum_size": fmt.Sprint(servers)}
		if mode == "leader" {
			want["zk_learners"] = fmt.Sprint(servers - 1 + observers)
			want["zk_synced_followers"], want["zk_synced_observers"] = fmt.Sprint(servers-1), fmt.Sprint(observers)
		}
		shown := map[string]string{}
		eventually(t, fmt.Sprintf("mntr of the %s, server %d, shows %v", mode, s.ID, want), func() bool {
			m, err := s.Monitor()
			if err != nil {
				return false
			}
			for name := range want {
				shown[name] = m[name]
			}
			return maps.Equal(shown, want)
		})
	}
}
