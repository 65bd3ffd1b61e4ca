package e2e

import (
	"fmt"
	"testing"

	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// TestManyEphemerals: a session with a hundred thousand ephemerals, whose names are longer
// together than a transaction may be, ends, and all of them with it, on every server and
// after a restart (ZOOKEEPER-3496, 4306).
func TestManyEphemerals(t *testing.T) {
	const n = 100_000
	e := harness.Start(t, harness.Options{Servers: 3})
	c := connect(t, e.Leader().Addr())
	must(t, c, client.CreateOp{Path: "/many"})
	name := func(i int) string { return fmt.Sprintf("/many/an-ephemeral-with-a-name-%06d", i) }
	if n*len(name(0)) < 3<<20 {
		t.Fatal("that would fit into a transaction")
	}
	ctx, cancel := patience()
	defer cancel()
	var calls []*client.Call
	wait := func(most int) {
		for len(calls) > most {
			if _, err := calls[0].Wait(ctx); err != nil {
				t.Fatal(err)
			}
			calls = calls[1:]
		}
	}
	for i := range n {
		calls = append(calls, c.Start(client.CreateOp{Path: name(i), Mode: client.Ephemeral}))
		wait(500)
	}
	wait(0)
	other := connect(t, e.Follower().Addr())
	must(t, other, client.SyncOp{Path: "/many"})
	if r := must(t, other, client.ExistsOp{Path: "/many"}); r.Stat.NumChildren != n {
		t.Fatalf("%d children", r.Stat.NumChildren)
	}
	if err := c.Close(ctx); err != nil {
		t.Fatal(err)
	}
	empty := func() {
		t.Helper()
		for _, s := range e.Servers {
			o := connect(t, s.Addr())
			must(t, o, client.SyncOp{Path: "/many"})
			if r := must(t, o, client.ExistsOp{Path: "/many"}); r.Stat.NumChildren != 0 {
				t.Errorf("server %d has %d children left", s.ID, r.Stat.NumChildren)
			}
		}
		sameTrees(t, e)
	}
	empty()
	for _, s := range e.Servers {
		s.Kill9()
	}
	for _, s := range e.Servers {
		s.Start()
	}
	e.Await()
	empty()
}

// TestSmallIDJoins: the server with the smallest id comes when those with larger ones are
// an ensemble already; it waits for nobody to come to it, and serves (ZOOKEEPER-4886).
func TestSmallIDJoins(t *testing.T) {
	e := harness.Start(t, harness.Options{Servers: 3})
	for _, s := range e.Servers {
		s.Kill9()
	}
	for _, s := range e.Servers[1:] {
		s.Start()
	}
	for _, s := range e.Servers[1:] {
		s.Await()
	}
	c := connect(t, e.Servers[1].Addr())
	must(t, c, client.CreateOp{Path: "/before", Data: []byte("x")})
	for range 3 {
		e.Servers[0].Start()
		e.Await()
		small := connect(t, e.Servers[0].Addr())
		must(t, small, client.SyncOp{Path: "/"})
		if r := must(t, small, client.GetOp{Path: "/before"}); string(r.Data) != "x" {
			t.Fatalf("it has %q", r.Data)
		}
		sameTrees(t, e)
		e.Servers[0].Kill9()
		must(t, c, client.SetOp{Path: "/before", Data: []byte("x"), Version: -1})
	}
}
