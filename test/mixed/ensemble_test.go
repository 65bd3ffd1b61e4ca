package mixed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// sessionTimeout is long enough that no fault here ends a session.
const sessionTimeout = 30 * time.Second

// kind names the program that a server runs.
func kind(s *harness.Server) string {
	if s.Apache {
		return "Apache"
	}
	return "zkcore"
}

// ensemble makes the servers of a mixed ensemble without starting them.
func ensemble(t *testing.T, opt harness.Options) *harness.Ensemble {
	t.Helper()
	opt.TickTimeMS = 500
	opt.InitLimit, opt.SyncLimit = 40, 20 // the machine may be slow, and no test waits for these
	extra := map[string]string{"maxSessionTimeout": "60000", "preAllocSize": "64", "extendedTypesEnabled": "true"}
	maps.Copy(extra, opt.Extra)
	opt.Extra = extra
	// Info says how a learner was brought up to date.
	opt.JVMArgs = append(opt.JVMArgs, "-Dorg.slf4j.simpleLogger.defaultLogLevel=info")
	return harness.New(t, opt)
}

// startLed starts all servers, so that leader comes to lead: with one other voter first, of a lower
// id and with the same data, and then the rest. As the servers are new and not all of them are
// there at first, they have to be told so.
func startLed(t *testing.T, e *harness.Ensemble, leader *harness.Server) {
	t.Helper()
	var voters []*harness.Server
	for _, s := range e.Servers {
		if err := os.WriteFile(filepath.Join(s.DataDir, "initialize"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if !s.Observer && s != leader {
			voters = append(voters, s)
		}
	}
	leader.Start()
	for _, s := range voters[:len(voters)/2] {
		s.Start()
	}
	e.Await()
	for _, s := range e.Servers {
		if !s.Running() {
			s.Start()
		}
	}
	e.Await()
	wantLeader(t, leader)
}

func wantLeader(t *testing.T, s *harness.Server) {
	t.Helper()
	if mode, err := s.Mode(); err != nil || mode != "leader" {
		t.Fatalf("server %d (%s) is %q, %v, and was to lead", s.ID, kind(s), mode, err)
	}
}

func patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), harness.Patience)
}

// connect opens a session, and closes it when the test ends.
func connect(t *testing.T, servers ...string) *client.Client {
	t.Helper()
	return connectWith(t, client.Options{InOrder: true}, sessionTimeout, servers...)
}

func connectWith(t *testing.T, opt client.Options, timeout time.Duration, servers ...string) *client.Client {
	t.Helper()
	ctx, cancel := patience()
	defer cancel()
	c, err := client.Dial(ctx, servers, timeout, opt)
	if err != nil {
		t.Fatalf("connect to %v: %v", servers, err)
	}
	t.Cleanup(func() { end(c) })
	return c
}

// end closes a session, or leaves it to the end of its servers.
func end(c *client.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if c.Close(ctx) != nil {
		c.Abandon()
	}
}

// must runs an op that has to succeed.
func must(t *testing.T, c *client.Client, op client.Op) client.Reply {
	t.Helper()
	return wait(t, c.Start(op), fmt.Sprintf("%T on %s", op, c.Server()))
}

// elsewhere returns when a client whose server may be gone has noticed that, and has another one.
func elsewhere(t *testing.T, c *client.Client) {
	t.Helper()
	ctx, cancel := patience()
	defer cancel()
	for {
		_, err := c.Start(client.ExistsOp{Path: "/"}).Wait(ctx)
		if err == nil {
			return
		}
		if !errors.Is(err, zkerr.ConnectionLoss) {
			t.Fatal(err)
		}
	}
}

func wait(t *testing.T, call *client.Call, what string) client.Reply {
	t.Helper()
	ctx, cancel := patience()
	defer cancel()
	r, err := call.Wait(ctx)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return r
}

// The owner of the nodes whose ACL grants little.
var owner = []byte("joe:secret")

func authenticate(t *testing.T, c *client.Client) {
	t.Helper()
	ctx, cancel := patience()
	defer cancel()
	if err := c.AddAuth(ctx, "digest", owner); err != nil {
		t.Fatalf("authenticate on %s: %v", c.Server(), err)
	}
}

// tree reads all that one server shows of its tree: a line for each znode.
func tree(t *testing.T, s *harness.Server) []string {
	t.Helper()
	c := connect(t, s.Addr())
	defer end(c)
	authenticate(t, c)
	must(t, c, client.SyncOp{Path: "/"})
	var lines []string
	paths := []string{"/"}
	for len(paths) > 0 {
		// A level at a time, pipelined.
		gets := make([]*client.Call, len(paths))
		lists := make([]*client.Call, len(paths))
		acls := make([]*client.Call, len(paths))
		for i, p := range paths {
			gets[i], lists[i], acls[i] = c.Start(client.GetOp{Path: p}), c.Start(client.ChildrenOp{Path: p}), c.Start(client.GetACLOp{Path: p})
		}
		var below []string
		for i, p := range paths {
			get, list, acl := wait(t, gets[i], p), wait(t, lists[i], p), wait(t, acls[i], p)
			null := ""
			if get.Data == nil {
				null = " null"
			}
			// mtime of the configuration's node is that of the server's start.
			if p == "/zookeeper/config" {
				get.Stat.Mtime = 0
			}
			lines = append(lines, fmt.Sprintf("%s %q%s %+v %v", p, get.Data, null, get.Stat, acl.ACL))
			slices.Sort(list.Children)
			for _, name := range list.Children {
				below = append(below, strings.TrimSuffix(p, "/")+"/"+name)
			}
		}
		paths = below
	}
	return lines
}

// sameTrees checks that all running servers show the same tree, and that none of them has seen a
// digest that differs from its own.
func sameTrees(t *testing.T, e *harness.Ensemble) {
	t.Helper()
	servers := e.Running()
	var first []string
	for i, s := range servers {
		lines := tree(t, s)
		if i == 0 {
			first = lines
		} else if !slices.Equal(first, lines) {
			t.Errorf("server %d (%s) and %d (%s) differ: %s", servers[0].ID, kind(servers[0]), s.ID, kind(s), difference(first, lines))
		}
		noMismatch(t, s)
	}
}

func difference(a, b []string) string {
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return fmt.Sprintf("line %d\n\t%s\n\t%s", i, x, y)
		}
	}
	return "not at all"
}

// writeMany writes n nodes of size bytes under a new parent, pipelined.
func writeMany(t *testing.T, c *client.Client, parent string, n, size int) {
	t.Helper()
	must(t, c, client.CreateOp{Path: parent})
	data := []byte(strings.Repeat("x", size))
	for i := 0; i < n; {
		var calls []*client.Call
		for ; i < n && len(calls) < 200; i++ {
			calls = append(calls, c.Start(client.CreateOp{Path: fmt.Sprintf("%s/n%06d", parent, i), Data: data}))
		}
		for _, call := range calls {
			wait(t, call, parent)
		}
	}
}

// event waits for what a watch fires.
func event(t *testing.T, what string, ch <-chan client.Event) client.Event {
	t.Helper()
	select {
	case ev, ok := <-ch:
		if !ok {
			t.Fatalf("%s: the watch is gone", what)
		}
		return ev
	case <-time.After(harness.Patience):
		t.Fatalf("%s: no event", what)
		return client.Event{}
	}
}
