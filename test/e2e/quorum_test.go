package e2e

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// TestMajorityStops: without a majority nothing is written and no session ends;
// with it back, both go on.
func TestMajorityStops(t *testing.T) {
	e := harness.Start(t, harness.Options{Servers: 3, TickTimeMS: 300})
	l := startLoad(t, e, 3, "/load")
	keep := connect(t, e.Addrs()...)
	must(t, keep, client.CreateOp{Path: "/keep", Mode: client.Ephemeral})
	id := keep.Session().ID
	l.waitAcked(200)

	var down []*harness.Server
	for _, s := range e.Servers[:2] {
		s.Kill9()
		down = append(down, s)
	}
	// The third notices, and serves nobody. Until it does, it may answer what the
	// majority had already logged.
	last := e.Servers[2]
	end := time.Now().Add(harness.Patience)
	for {
		if text, err := last.FourLetter("srvr"); err == nil && strings.Contains(text, "not currently serving") {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a server without a majority goes on serving")
		}
		time.Sleep(20 * time.Millisecond)
	}
	// What it answered before may still be on its way to the writers, who go on asking:
	// if nothing comes for a second they get no answer.
	for n := int64(-1); ; time.Sleep(time.Second) {
		now := l.acked.Load()
		if now == n {
			break
		}
		if n = now; time.Now().After(end) {
			t.Fatal("writes are answered without a majority")
		}
	}

	for _, s := range down {
		s.Start()
	}
	e.Await()
	l.waitAcked(100)
	l.finish()
	must(t, keep, client.SyncOp{Path: "/"})
	if r := must(t, keep, client.ExistsOp{Path: "/keep"}); r.Stat.EphemeralOwner != id || keep.Session().ID != id {
		t.Errorf("the session did not wait: 0x%x, then 0x%x", id, keep.Session().ID)
	}
	for _, s := range e.Servers {
		l.check(s, "/load")
	}
	sameTrees(t, e)
}

// TestPausedLeader: a leader that stands still past syncLimit is replaced, and
// when it goes on it answers nobody as a leader.
func TestPausedLeader(t *testing.T) {
	e := harness.Start(t, harness.Options{Servers: 3, TickTimeMS: 200, SyncLimit: 3})
	for range 2 {
		prefix := fmt.Sprintf("/load-%d", time.Now().UnixNano())
		l := startLoad(t, e, 3, prefix)
		l.waitAcked(100)
		old := e.Leader()
		stale := connect(t, old.Addr())
		must(t, stale, client.CreateOp{Path: prefix + "/counter-by-hand", Data: []byte("0")})
		var rest []string
		for _, s := range e.Servers {
			if s != old {
				rest = append(rest, s.Addr())
			}
		}
		fresh := connect(t, rest...)
		old.Signal(syscall.SIGSTOP)
		e.Await()
		l.waitAcked(100)
		must(t, fresh, client.SetOp{Path: prefix + "/counter-by-hand", Data: []byte("1"), Version: 0})
		// Sent while the old leader stands still, answered when it goes on.
		sync := stale.Start(client.SyncOp{Path: prefix})
		read := stale.Start(client.GetOp{Path: prefix + "/counter-by-hand"})
		write := stale.Start(client.SetOp{Path: prefix + "/counter-by-hand", Data: []byte("x"), Version: 0})
		time.Sleep(100 * time.Millisecond)
		old.Signal(syscall.SIGCONT)
		ctx, cancel := patience()
		if _, err := write.Wait(ctx); err == nil {
			t.Error("a set of a version that is gone was answered OK by a leader of yesterday")
		}
		_, syncErr := sync.Wait(ctx)
		if r, err := read.Wait(ctx); err == nil && syncErr == nil && string(r.Data) != "1" {
			t.Errorf("after a sync the old leader showed %q", r.Data)
		}
		cancel()
		e.Await()
		l.waitAcked(100)
		l.finish()
		must(t, fresh, client.DeleteOp{Path: prefix + "/counter-by-hand", Version: -1})
		for _, s := range e.Servers {
			l.check(s, prefix)
		}
		sameTrees(t, e)
	}
}

// TestTwoServers: the tutorial's ensemble. Either of the two stops the writes,
// and its return brings them back.
func TestTwoServers(t *testing.T) {
	e := harness.Start(t, harness.Options{Servers: 2, TickTimeMS: 300})
	l := startLoad(t, e, 2, "/load")
	for _, s := range e.Servers {
		l.waitAcked(50)
		s.Kill9()
		s.Start()
		e.Await()
	}
	l.waitAcked(50)
	l.finish()
	for _, s := range e.Servers {
		l.check(s, "/load")
	}
	sameTrees(t, e)
}

// TestSyncIsFresh: what one client wrote, another that syncs on any server
// reads.
func TestSyncIsFresh(t *testing.T) {
	e := harness.Start(t, harness.Options{Servers: 3, Observers: 1})
	w := connect(t, e.Leader().Addr())
	must(t, w, client.CreateOp{Path: "/f"})
	var readers []*client.Client
	for _, s := range e.Servers {
		readers = append(readers, connect(t, s.Addr()))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*harness.Patience)
	defer cancel()
	for i := range 100 {
		if _, err := w.Set(ctx, "/f", fmt.Append(nil, i), -1); err != nil {
			t.Fatal(err)
		}
		r := readers[i%len(readers)]
		if _, err := r.Sync(ctx, "/f"); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Get(ctx, "/f"); err != nil || string(got.Data) != fmt.Sprint(i) {
			t.Fatalf("after a sync: %q, %v; want %d", got.Data, err, i)
		}
	}
}
