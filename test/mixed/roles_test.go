package mixed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// TestRoles puts the two programs into every pair of roles, and has clients of each server do all
// that changes the tree.
func TestRoles(t *testing.T) {
	for _, tc := range []struct {
		name      string
		observers int
		apache    []int
		leader    int
	}{
		{"zkcore leads zkcore and Apache", 0, []int{1}, 3},
		{"zkcore leads two of Apache", 0, []int{1, 2}, 3},
		{"Apache leads two of zkcore", 0, []int{3}, 3},
		{"Apache leads Apache and zkcore", 0, []int{1, 3}, 3},
		{"zkcore observes Apache", 1, []int{1, 2, 3}, 3},
		{"Apache observes zkcore", 1, []int{4}, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := ensemble(t, harness.Options{Servers: 3, Observers: tc.observers, Apache: tc.apache, Extra: map[string]string{"enforceQuota": "true"}})
			startLed(t, e, e.Servers[tc.leader-1])
			modes := make(map[string]int)
			for _, s := range e.Servers {
				mode, err := s.Mode()
				if err != nil {
					t.Fatal(err)
				}
				modes[mode]++
			}
			want := map[string]int{"leader": 1, "follower": 2}
			if tc.observers > 0 {
				want["observer"] = tc.observers
			}
			if fmt.Sprint(modes) != fmt.Sprint(want) {
				t.Fatalf("modes %v, want %v", modes, want)
			}
			expired := startExpiry(t, e)
			writeEverything(t, e)
			enforceQuotas(t, e)
			readOwnWrites(t, e)
			moveSessions(t, e)
			expired()
			sameTrees(t, e)
			wantLeader(t, e.Servers[tc.leader-1])
		})
	}
}

// writeEverything does every kind of write through every server, and checks what each answers.
func writeEverything(t *testing.T, e *harness.Ensemble) {
	t.Helper()
	var clients []*client.Client
	for _, s := range e.Servers {
		clients = append(clients, connect(t, s.Addr()))
	}
	must(t, clients[0], client.CreateOp{Path: "/app", Data: []byte("root")})
	must(t, clients[0], client.CreateOp{Path: "/app/seq"})
	var names []string
	for i, c := range clients {
		s := e.Servers[i]
		authenticate(t, c)
		fail := func(op client.Op, code zkerr.Code) {
			t.Helper()
			ctx, cancel := patience()
			defer cancel()
			if _, err := c.Do(ctx, op); !errors.Is(err, code) {
				t.Errorf("server %d (%s): %T: %v, want %v", s.ID, kind(s), op, err, code)
			}
		}
		must(t, c, client.SyncOp{Path: "/app"})
		dir := fmt.Sprintf("/app/%d", s.ID)
		if r := must(t, c, client.CreateOp{Path: dir, Data: []byte{}, WithStat: true}); r.Path != dir || r.Stat.Czxid != r.Zxid {
			t.Errorf("server %d: create answers %+v", s.ID, r)
		}
		must(t, c, client.CreateOp{Path: dir + "/null"})
		fail(client.CreateOp{Path: dir}, zkerr.NodeExists)
		fail(client.CreateOp{Path: dir + "/none/x"}, zkerr.NoNode)
		must(t, c, client.CreateOp{Path: dir + "/ünï", Data: []byte("ö")})
		for v := range int32(3) {
			if r := must(t, c, client.SetOp{Path: dir + "/ünï", Data: fmt.Append(nil, v), Version: v}); r.Stat.Version != v+1 {
				t.Errorf("server %d: set makes version %d of %d", s.ID, r.Stat.Version, v)
			}
		}
		fail(client.SetOp{Path: dir + "/ünï", Version: 0}, zkerr.BadVersion)
		must(t, c, client.CreateOp{Path: dir + "/gone"})
		fail(client.DeleteOp{Path: dir, Version: -1}, zkerr.NotEmpty)
		must(t, c, client.DeleteOp{Path: dir + "/gone", Version: 0})
		must(t, c, client.CreateOp{Path: dir + "/ephemeral", Mode: client.Ephemeral})
		fail(client.CreateOp{Path: dir + "/ephemeral/x"}, zkerr.NoChildrenForEphemerals)
		must(t, c, client.CreateOp{Path: dir + "/container", Mode: client.Container})
		must(t, c, client.CreateOp{Path: dir + "/container/child"})
		must(t, c, client.CreateOp{Path: dir + "/ttl", Mode: client.PersistentTTL, TTL: 1000 * time.Hour})
		must(t, c, client.CreateOp{Path: dir + "/large", Data: []byte(strings.Repeat("large ", 100_000))})

		for range 2 {
			names = append(names, must(t, c, client.CreateOp{Path: "/app/seq/n-", Mode: client.PersistentSequential}).Path)
			names = append(names, must(t, c, client.CreateOp{Path: "/app/seq/n-", Mode: client.EphemeralSequential}).Path)
		}

		must(t, c, client.CreateOp{Path: dir + "/acl", ACL: client.CreatorACL()})
		if r := must(t, c, client.SetACLOp{Path: dir + "/ünï", Version: 0, ACL: []client.ACL{
			{Perms: 1, Scheme: "world", ID: "anyone"}, {Perms: 31, Scheme: "digest", ID: must(t, c, client.GetACLOp{Path: dir + "/acl"}).ACL[0].ID},
		}}); r.Stat.Aversion != 1 {
			t.Errorf("server %d: setACL makes aversion %d", s.ID, r.Stat.Aversion)
		}
		other := connect(t, s.Addr())
		ctx, cancel := patience()
		if _, err := other.Set(ctx, dir+"/ünï", nil, -1); !errors.Is(err, zkerr.NoAuth) {
			t.Errorf("server %d: a stranger's set: %v", s.ID, err)
		}
		if _, err := other.Get(ctx, dir+"/acl"); !errors.Is(err, zkerr.NoAuth) {
			t.Errorf("server %d: a stranger's get: %v", s.ID, err)
		}
		cancel()

		must(t, c, client.MultiOp{Ops: []client.Op{
			client.CheckOp{Path: dir, Version: 0},
			client.CreateOp{Path: dir + "/multi", Data: []byte("m")},
			client.CreateOp{Path: dir + "/multi/eph", Mode: client.Ephemeral},
			client.CreateOp{Path: dir + "/multi/s-", Mode: client.PersistentSequential},
			client.CreateOp{Path: dir + "/multi/with-stat", WithStat: true},
			client.SetOp{Path: dir + "/multi", Data: []byte("set"), Version: 0},
			client.CreateOp{Path: dir + "/multi/box", Mode: client.Container},
			client.CreateOp{Path: dir + "/multi/gone"},
			client.DeleteOp{Path: dir + "/multi/gone", Version: -1},
		}})
		r, err := func() (client.Reply, error) {
			ctx, cancel := patience()
			defer cancel()
			return c.Multi(ctx, client.CreateOp{Path: dir + "/half"}, client.DeleteOp{Path: dir + "/nobody", Version: -1}, client.CreateOp{Path: dir + "/rest"})
		}()
		var codes []zkerr.Code
		for _, res := range r.Results {
			codes = append(codes, res.Code)
		}
		if err == nil || !slices.Equal(codes, []zkerr.Code{zkerr.OK, zkerr.NoNode, zkerr.RuntimeInconsistency}) {
			t.Errorf("server %d (%s): a multi that fails answers %v, %v", s.ID, kind(s), codes, err)
		}
		fail(client.ExistsOp{Path: dir + "/half"}, zkerr.NoNode)

		// A session that ends takes its ephemerals along, those of a multi too.
		brief := connect(t, s.Addr())
		must(t, brief, client.CreateOp{Path: dir + "/brief", Mode: client.Ephemeral})
		must(t, brief, client.MultiOp{Ops: []client.Op{client.CreateOp{Path: dir + "/brief-multi", Mode: client.Ephemeral}}})
		end(brief)
		must(t, c, client.SyncOp{Path: dir})
		fail(client.ExistsOp{Path: dir + "/brief"}, zkerr.NoNode)
		fail(client.ExistsOp{Path: dir + "/brief-multi"}, zkerr.NoNode)
	}
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("sequential names %v", names)
	}
	// Many at once from everywhere: batches, and proposals that overtake the acks of others.
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			var calls []*client.Call
			for n := range 200 {
				calls = append(calls, c.Start(client.CreateOp{Path: fmt.Sprintf("/app/%d/many-%03d", i+1, n), Data: make([]byte, n)}),
					c.Start(client.SetOp{Path: "/app/seq", Data: fmt.Append(nil, i, n), Version: -1}))
			}
			ctx, cancel := patience()
			defer cancel()
			for _, call := range calls {
				if _, err := call.Wait(ctx); err != nil {
					t.Errorf("server %d: %v", i+1, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// readOwnWrites checks that what was written through one server is read, after a sync, on another.
func readOwnWrites(t *testing.T, e *harness.Ensemble) {
	t.Helper()
	var clients []*client.Client
	for _, s := range e.Servers {
		clients = append(clients, connect(t, s.Addr()))
	}
	leader := e.Leader()
	for i := range 10 * len(clients) {
		w, r := i%len(clients), (i+1+i/len(clients))%len(clients)
		must(t, clients[w], client.SetOp{Path: "/app", Data: fmt.Append(nil, i), Version: -1})
		sync := clients[r].Start(client.SyncOp{Path: "/app"})
		get := clients[r].Start(client.GetOp{Path: "/app"})
		wait(t, sync, "sync")
		got := wait(t, get, "get")
		// Apache's leader answers a sync of its own clients at once, at times before it has
		// applied what its followers have applied already.
		if s := e.Servers[r]; string(got.Data) != fmt.Sprint(i) && !(s.Apache && s == leader) {
			t.Errorf("after a sync server %d (%s) shows %q, not %d, which was written on server %d (%s)",
				s.ID, kind(s), got.Data, i, e.Servers[w].ID, kind(e.Servers[w]))
		}
	}
}

// A gate holds connection attempts back while it is shut.
type gate struct {
	mu   sync.Mutex
	open chan struct{}
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) lift() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.open)
}

func (g *gate) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	if open != nil {
		select {
		case <-open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// moveSessions takes a session once round all servers, with ephemerals and watches. At each stop
// what it watches changes while it is under way.
func moveSessions(t *testing.T, e *harness.Ensemble) {
	t.Helper()
	var g gate
	c := connectWith(t, client.Options{InOrder: true, Dial: g.dial}, sessionTimeout, e.Addrs()...)
	authenticate(t, c)
	id := c.Session().ID
	must(t, c, client.CreateOp{Path: "/moving", Data: []byte("0")})
	must(t, c, client.CreateOp{Path: "/moving/mine", Mode: client.Ephemeral})
	must(t, c, client.CreateOp{Path: "/moving/private", ACL: client.CreatorACL()})
	stays := must(t, c, client.AddWatchOp{Path: "/moving", Mode: client.PersistentRecursiveWatch}).Watch
	for i := range 2 * len(e.Servers) {
		at := c.Server()
		next := e.Servers[(i+1)%len(e.Servers)]
		what := fmt.Sprintf("session moves from %s to server %d (%s)", at, next.ID, kind(next))
		other := connect(t, e.Servers[(i+2)%len(e.Servers)].Addr())
		must(t, other, client.SyncOp{Path: "/"})

		data := must(t, c, client.GetOp{Path: "/moving", Watch: true}).Event
		children := must(t, c, client.ChildrenOp{Path: "/moving", Watch: true}).Event
		ctx, cancel := patience()
		absent, err := c.ExistsW(ctx, fmt.Sprintf("/moving/n%d", i))
		if !errors.Is(err, zkerr.NoNode) {
			t.Fatalf("%s: %v", what, err)
		}
		g.shut()
		c.Drop()
		if err := c.WaitState(ctx, client.Disconnected); err != nil {
			t.Fatal(err)
		}
		must(t, other, client.SetOp{Path: "/moving", Data: fmt.Append(nil, i+1), Version: -1})
		must(t, other, client.CreateOp{Path: fmt.Sprintf("/moving/n%d", i)})
		if next.Apache {
			// It looks at the znodes of a setWatches and sets the watches in two steps. Of a change that it applies
			// between them it tells nobody: seen once, on a leader that was about to apply what its observer had.
			shows(t, next, fmt.Sprintf("/moving/n%d", i))
		}
		g.lift()
		if err := c.WaitState(ctx, client.Connected); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if c.Session().ID != id {
			t.Fatalf("%s: it became 0x%x", what, c.Session().ID)
		}
		// A server that lags behind the session may not take it, and the client went on to
		// another one; the round is complete all the same.
		if ev := event(t, what, data); ev.Type != client.NodeDataChanged {
			t.Errorf("%s: %+v", what, ev)
		}
		if ev := event(t, what, children); ev.Type != client.NodeChildrenChanged {
			t.Errorf("%s: %+v", what, ev)
		}
		if ev := event(t, what, absent.Event); ev.Type != client.NodeCreated {
			t.Errorf("%s: %+v", what, ev)
		}
		// The connection is authenticated anew, and owns what the session owned.
		must(t, c, client.SetOp{Path: "/moving/private", Version: -1})
		if r := must(t, c, client.ExistsOp{Path: "/moving/mine"}); r.Stat.EphemeralOwner != id {
			t.Errorf("%s: its ephemeral belongs to 0x%x", what, r.Stat.EphemeralOwner)
		}
		must(t, c, client.CreateOp{Path: fmt.Sprintf("/moving/e%d", i), Mode: client.Ephemeral})
		for {
			ev, err := stays.Next(ctx)
			if err != nil {
				t.Fatalf("%s: the watch that stays: %v", what, err)
			}
			if ev.Path == fmt.Sprintf("/moving/e%d", i) {
				break
			}
		}
		cancel()
		end(other)
	}
	end(c)
	check := connect(t, e.Servers[0].Addr())
	authenticate(t, check)
	must(t, check, client.SyncOp{Path: "/"})
	for _, name := range must(t, check, client.ChildrenOp{Path: "/moving"}).Children {
		if name[0] == 'e' || name == "mine" {
			t.Errorf("/moving/%s outlived its session", name)
		}
	}
	must(t, check, client.SetOp{Path: "/moving/private", Data: []byte("x"), Version: -1})
}

// shows waits until a server shows a znode.
func shows(t *testing.T, s *harness.Server, path string) {
	t.Helper()
	c := connect(t, s.Addr())
	defer end(c)
	for end := time.Now().Add(harness.Patience); ; time.Sleep(time.Millisecond) {
		ctx, cancel := patience()
		_, err := c.Exists(ctx, path)
		cancel()
		if err == nil {
			return
		}
		if !errors.Is(err, zkerr.NoNode) || time.Now().After(end) {
			t.Fatalf("server %d: %s: %v", s.ID, path, err)
		}
	}
}

// startExpiry leaves a session on every server without a client, beside one that only sends
// heartbeats, and one that moved before it fell silent. What it returns waits until the silent ones
// have expired, everywhere, and the others have not.
func startExpiry(t *testing.T, e *harness.Ensemble) func() {
	t.Helper()
	const timeout = 5 * time.Second
	ctx, cancel := patience()
	defer cancel()
	var silent []client.Session
	var alive []*client.Client
	var paths []string
	abandon := func(path string, servers ...string) {
		var g gate
		c, err := client.Dial(ctx, servers, timeout, client.Options{InOrder: true, Dial: g.dial})
		if err != nil {
			t.Fatal(err)
		}
		must(t, c, client.CreateOp{Path: path, Mode: client.Ephemeral})
		if len(servers) > 1 {
			g.shut() // or it may be back before anybody sees that it was gone
			c.Drop()
			if err := c.WaitState(ctx, client.Disconnected); err != nil {
				t.Fatal(err)
			}
			g.lift()
			if err := c.WaitState(ctx, client.Connected); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.Session().Timeout; got != timeout {
			t.Errorf("%s gives a timeout of %v", c.Server(), got)
		}
		silent = append(silent, c.Session())
		paths = append(paths, path)
		c.Abandon()
	}
	for i, s := range e.Servers {
		abandon(fmt.Sprintf("/silent-%d", s.ID), s.Addr())
		abandon(fmt.Sprintf("/moved-%d", s.ID), s.Addr(), e.Servers[(i+1)%len(e.Servers)].Addr())
		c := connectWith(t, client.Options{}, timeout, s.Addr())
		must(t, c, client.CreateOp{Path: fmt.Sprintf("/alive-%d", s.ID), Mode: client.Ephemeral})
		alive = append(alive, c)
	}
	return func() {
		t.Helper()
		for i, s := range e.Servers {
			c := connect(t, s.Addr())
			for _, path := range paths {
				ctx, cancel := patience()
				r, err := c.ExistsW(ctx, path)
				if err == nil {
					if ev := event(t, fmt.Sprintf("server %d (%s): %s goes with its session", s.ID, kind(s), path), r.Event); ev.Type != client.NodeDeleted {
						t.Errorf("server %d: %+v", s.ID, ev)
					}
				} else if !errors.Is(err, zkerr.NoNode) {
					t.Errorf("server %d: %s: %v", s.ID, path, err)
				}
				cancel()
			}
			must(t, c, client.SyncOp{Path: "/"})
			if r := must(t, c, client.ExistsOp{Path: fmt.Sprintf("/alive-%d", s.ID)}); r.Stat.EphemeralOwner != alive[i].Session().ID {
				t.Errorf("server %d: /alive-%d belongs to 0x%x", s.ID, s.ID, r.Stat.EphemeralOwner)
			}
			must(t, alive[i], client.SetOp{Path: fmt.Sprintf("/alive-%d", s.ID), Version: 0})
			// No server takes an expired session back.
			for _, gone := range silent {
				back, err := client.Open([]string{s.Addr()}, timeout, client.Options{Session: &gone})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := patience()
				if err := back.WaitState(ctx, client.Expired); err != nil {
					t.Errorf("server %d (%s): session 0x%x expired and came back: %v", s.ID, kind(s), gone.ID, err)
				}
				cancel()
				back.Abandon()
			}
		}
	}
}
