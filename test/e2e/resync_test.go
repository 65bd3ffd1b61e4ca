package e2e

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// writeMany writes n nodes of size bytes under a new parent, pipelined.
func writeMany(t *testing.T, c *client.Client, parent string, n, size int) {
	t.Helper()
	must(t, c, client.CreateOp{Path: parent})
	data := []byte(strings.Repeat("x", size))
	for i := 0; i < n; {
		var calls []*client.Call
		for ; i < n && len(calls) < 500; i++ {
			calls = append(calls, c.Start(client.CreateOp{Path: fmt.Sprintf("%s/n%06d", parent, i), Data: data}))
		}
		for _, call := range calls {
			wait(t, call, parent)
		}
	}
}

// since is what a server logged after its log had that length.
func since(s *harness.Server, length int) string { return s.Log()[length:] }

func awaitLog(t *testing.T, s *harness.Server, from int, word string) {
	t.Helper()
	if harness.Apache() {
		return
	}
	end := time.Now().Add(harness.Patience)
	for !strings.Contains(since(s, from), word) {
		if time.Now().After(end) {
			t.Fatalf("server %d does not log %q:\n%s", s.ID, word, since(s, from))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// awaitLogged waits until the transaction logs of s hold that word. The page cache keeps it over a
// kill.
func awaitLogged(t *testing.T, s *harness.Server, word string) {
	t.Helper()
	for end := time.Now().Add(harness.Patience); ; time.Sleep(20 * time.Millisecond) {
		for _, name := range logFiles(t, s) {
			if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(word)) {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not come into the log of server %d", word, s.ID)
		}
	}
}

// TestDiff: a follower that missed a little gets the difference.
func TestDiff(t *testing.T) {
	e := harness.Start(t, harness.Options{Servers: 3})
	f := e.Follower()
	c := connect(t, e.Leader().Addr())
	writeMany(t, c, "/before", 50, 20)
	f.Kill9()
	writeMany(t, c, "/missed", 200, 20)
	from := len(f.Log())
	f.Start()
	e.Await()
	awaitLog(t, f, from, "DIFF")
	writeMany(t, c, "/after", 50, 20)
	sameTrees(t, e)
}

// TestSnap: one that missed more than the leader's log tells gets the whole
// tree, and survives a kill right after.
func TestSnap(t *testing.T) {
	e := harness.Start(t, harness.Options{Servers: 3, Extra: map[string]string{
		"snapCount": "1000", "commitLogCount": "500", "snapshotSizeFactor": "-1",
	}})
	f := e.Follower()
	c := connect(t, e.Leader().Addr())
	writeMany(t, c, "/before", 50, 20)
	setQuota(t, c, "/missed", "")
	f.Kill9()
	writeMany(t, c, "/missed", 5000, 100)
	from := len(f.Log())
	f.Start()
	e.Await()
	awaitLog(t, f, from, "SNAP")
	f.Kill9()
	f.Restart()
	e.Await()
	writeMany(t, c, "/after", 50, 20)
	wantUsage(t, e, "/missed", "count=5001,bytes=500000")
	sameTrees(t, e)
}

// TestTrunc: a leader has logged what nobody else has, dies, and comes back to
// an ensemble that went on without: it must forget it.
func TestTrunc(t *testing.T) {
	// Under Raft it is the election timeout that keeps the leader a leader meanwhile.
	e := harness.Start(t, harness.Options{Servers: 3, TickTimeMS: 500, SyncLimit: 20, Extra: map[string]string{"zkcore.raft.electionMs": "3000"}})
	old := e.Leader()
	c := connect(t, old.Addr())
	writeMany(t, c, "/before", 50, 20)
	setQuota(t, c, "/lost-7", "")
	// The followers stand still: what the leader proposes now stays its own.
	var rest []*harness.Server
	for _, s := range e.Servers {
		if s != old {
			s.Freeze()
			rest = append(rest, s)
		}
	}
	var calls []*client.Call
	for i := range 20 {
		calls = append(calls, c.Start(client.CreateOp{Path: fmt.Sprintf("/lost-%d", i)}))
	}
	awaitLogged(t, old, "/lost-19")
	for _, call := range calls {
		select {
		case <-call.Done():
			t.Fatal("a write was answered without a majority")
		default:
		}
	}
	old.Kill9()
	// The proposals lie in the followers' sockets: they must not read them.
	for _, s := range rest {
		s.Kill9()
	}
	for _, s := range rest {
		s.Start()
	}
	e.Await()
	// As long as the new epoch has no transaction, what is too much is cut off.
	// Once it has one, the leader sends the tree, as Apache's does.
	from := len(old.Log())
	old.Start()
	e.Await()
	awaitLog(t, old, from, "TRUNC")
	fresh := connect(t, rest[0].Addr(), rest[1].Addr())
	writeMany(t, fresh, "/after", 50, 20)
	for _, s := range e.Servers {
		for _, line := range tree(t, s) {
			if strings.HasPrefix(line, "/lost-") {
				t.Errorf("server %d kept what was never committed: %s", s.ID, line)
			}
		}
	}
	wantUsage(t, e, "/lost-7", "count=0,bytes=0")
	sameTrees(t, e)
	old.Kill9()
	old.Restart()
	e.Await()
	sameTrees(t, e)
}

// TestObserverCatchesUp: an observer takes part in everything but the quorum.
func TestObserverCatchesUp(t *testing.T) {
	e := harness.Start(t, harness.Options{Servers: 3, Observers: 1})
	o := e.Servers[3]
	c := connect(t, e.Leader().Addr())
	writeMany(t, c, "/before", 100, 20)
	o.Kill9()
	writeMany(t, c, "/missed", 100, 20)
	o.Start()
	e.Await()
	own := connect(t, o.Addr())
	writeMany(t, own, "/through-the-observer", 100, 20)
	// The observer is no part of the quorum.
	o.Kill9()
	writeMany(t, c, "/without-it", 20, 20)
	o.Restart()
	e.Await()
	sameTrees(t, e)
}
