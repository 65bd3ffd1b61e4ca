package e2e

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// TestKillLeader kills the leader under load, again and again.
func TestKillLeader(t *testing.T) {
	for _, servers := range []int{3, 5} {
		e := harness.Start(t, harness.Options{Servers: servers})
		l := startLoad(t, e, 4, "/load")
		l.waitAcked(200)
		rounds := 4
		if servers == 5 {
			rounds = 2
		}
		for range rounds {
			leader := e.Leader()
			leader.Kill9()
			l.waitAcked(100) // without it
			leader.Start()
			e.Await()
			l.waitAcked(100)
		}
		l.finish()
		t.Logf("%d servers: %d writes answered, longest time without one %v", servers, l.acked.Load(), time.Duration(l.longest.Load()))
		for _, s := range e.Servers {
			l.check(s, "/load")
		}
		sameTrees(t, e)
	}
}

// TestKillStandalone kills a server without peers in the middle of writes.
func TestKillStandalone(t *testing.T) {
	e := harness.Start(t, harness.Options{Extra: map[string]string{"snapCount": "500"}})
	l := startLoad(t, e, 4, "/load")
	for range 6 {
		l.waitAcked(300)
		e.Servers[0].Kill9()
		e.Servers[0].Restart()
	}
	l.waitAcked(100)
	l.finish()
	l.check(e.Servers[0], "/load")
	e.Servers[0].Restart()
	l.check(e.Servers[0], "/load")
}

// killAll kills all servers at once, and starts them again.
func killAll(t *testing.T, e *harness.Ensemble) {
	t.Helper()
	for _, s := range e.Servers {
		if err := syscall.Kill(s.Pid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range e.Servers {
		s.Wait()
		s.Start()
	}
	e.Await()
}

// TestKillAll: all servers lose power at once.
func TestKillAll(t *testing.T) {
	e := harness.Start(t, harness.Options{Servers: 3})
	l := startLoad(t, e, 4, "/load")
	for range 3 {
		l.waitAcked(200)
		killAll(t, e)
	}
	l.waitAcked(100)
	l.finish()
	for _, s := range e.Servers {
		l.check(s, "/load")
	}
	sameTrees(t, e)
}

// TestSurvivorsKeepConnections: clients of the servers that survive an election
// keep their connections, and see no more than a pause.
func TestSurvivorsKeepConnections(t *testing.T) {
	e := harness.Start(t, harness.Options{Servers: 3})
	leader := e.Leader()
	var lost atomic.Int32
	var clients []*client.Client
	for _, s := range e.Servers {
		if s == leader {
			continue
		}
		c := connectWith(t, client.Options{OnEvent: func(ev client.Event) {
			if ev.State == client.Disconnected {
				lost.Add(1)
			}
		}}, s.Addr())
		must(t, c, client.CreateOp{Path: "/e-" + s.Addr(), Mode: client.Ephemeral})
		clients = append(clients, c)
	}
	must(t, clients[0], client.CreateOp{Path: "/n"})
	must(t, clients[1], client.SyncOp{Path: "/"}) // it is on another server
	ctx, cancel := patience()
	defer cancel()
	w, err := clients[1].GetW(ctx, "/n")
	if err != nil {
		t.Fatal(err)
	}
	before := clients[0].Session().ID

	leader.Kill9()
	// At once, while there is no leader: the write waits for the new one.
	must(t, clients[0], client.SetOp{Path: "/n", Data: []byte("after"), Version: 0})
	select {
	case <-w.Event:
	case <-time.After(harness.Patience):
		t.Fatal("the watch was lost")
	}
	for i, c := range clients {
		must(t, c, client.SyncOp{Path: "/"})
		if r := must(t, c, client.ExistsOp{Path: "/e-" + c.Server()}); r.Stat.EphemeralOwner != c.Session().ID {
			t.Errorf("client %d: its ephemeral belongs to 0x%x", i, r.Stat.EphemeralOwner)
		}
	}
	if n := lost.Load(); n != 0 {
		t.Errorf("%d connections were lost", n)
	}
	if clients[0].Session().ID != before {
		t.Error("the session changed")
	}
}

// TestClientMoves: a client whose server dies keeps session, ephemerals and
// watches on another one.
func TestClientMoves(t *testing.T) {
	e := harness.Start(t, harness.Options{Servers: 3})
	home := e.Follower()
	var others []string
	for _, s := range e.Servers {
		if s != home {
			others = append(others, s.Addr())
		}
	}
	c := connectWith(t, client.Options{InOrder: true}, append([]string{home.Addr()}, others...)...)
	other := connect(t, others...)
	must(t, c, client.CreateOp{Path: "/mine", Mode: client.Ephemeral})
	must(t, c, client.CreateOp{Path: "/n"})
	ctx, cancel := patience()
	defer cancel()
	w, err := c.GetW(ctx, "/n")
	if err != nil {
		t.Fatal(err)
	}
	id := c.Session().ID
	home.Kill9()
	must(t, other, client.SetOp{Path: "/n", Data: []byte("x"), Version: -1})
	select {
	case <-w.Event:
	case <-time.After(harness.Patience):
		t.Fatal("the watch did not come along")
	}
	if c.Session().ID != id {
		t.Errorf("session 0x%x became 0x%x", id, c.Session().ID)
	}
	must(t, other, client.SyncOp{Path: "/"})
	if r := must(t, other, client.ExistsOp{Path: "/mine"}); r.Stat.EphemeralOwner != id {
		t.Errorf("the ephemeral belongs to 0x%x, not 0x%x", r.Stat.EphemeralOwner, id)
	}
}

// TestExpiry: the session of a client that is silent ends, with its ephemerals.
func TestExpiry(t *testing.T) {
	e := harness.Start(t, harness.Options{Servers: 3, TickTimeMS: 300})
	ctx, cancel := patience()
	defer cancel()
	// Long enough that a slow machine does not end it before it is left alone.
	silent, err := client.Dial(ctx, []string{e.Follower().Addr()}, 5*time.Second, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	must(t, silent, client.CreateOp{Path: "/silent", Mode: client.Ephemeral})
	c := connect(t, e.Leader().Addr())
	must(t, c, client.SyncOp{Path: "/"})
	w, err := c.ExistsW(ctx, "/silent")
	if err != nil {
		t.Fatal(err)
	}
	gone := silent.Session()
	silent.Abandon()
	select {
	case ev := <-w.Event:
		if ev.Path != "/silent" {
			t.Errorf("event %+v", ev)
		}
	case <-time.After(harness.Patience):
		t.Fatal("the session of a silent client did not end")
	}
	if !strings.Contains(e.Leader().Log(), "xpir") {
		t.Error("no log line says that the session expired")
	}
	back, err := client.Open([]string{e.Leader().Addr()}, time.Second, client.Options{Session: &gone})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Abandon()
	if err := back.WaitState(ctx, client.Expired); err != nil {
		t.Errorf("an expired session came back: %v", err)
	}
}
