package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

var raft = []string{"--consensus=raft"}

// TestRaft puts an ensemble under Raft through what ends servers, one thing after the other, while
// clients write: nothing that was answered is lost, and all have the same tree in the end.
func TestRaft(t *testing.T) {
	if harness.Apache() {
		return // its servers have Zab
	}
	e := harness.Start(t, harness.Options{Servers: 3, Observers: 1, TickTimeMS: 2000, Args: raft,
		Extra: map[string]string{"snapCount": "500", "zkcore.raft.keepEntries": "200"}})
	l := startLoad(t, e, 4, "/load")
	l.waitAcked(200)
	gap := func(what string) {
		t.Logf("%s: the longest time without an answered write is %v", what, time.Duration(l.longest.Swap(0)).Round(time.Millisecond))
	}
	for range 3 {
		leader := e.Leader()
		leader.Kill9()
		l.waitAcked(100)
		leader.Start()
		e.Await()
	}
	gap("leader killed")
	for range 3 {
		leader := e.Leader()
		leader.Stop()
		l.waitAcked(100)
		leader.Start()
		e.Await()
	}
	gap("leader stopped in order")
	leader := e.Leader()
	leader.Signal(syscall.SIGSTOP)
	l.waitAcked(100)
	leader.Signal(syscall.SIGCONT)
	e.Await()
	gap("leader asleep")

	// One that was away for longer than the log is kept, and one with a new disk.
	away := e.Follower()
	away.Kill9()
	l.waitAcked(2000)
	away.Start()
	e.Await()
	l.waitAcked(100)
	replaced := e.Follower()
	replaced.Kill9()
	l.waitAcked(100)
	if err := os.RemoveAll(filepath.Join(replaced.DataDir, "version-2")); err != nil {
		t.Fatal(err)
	}
	from := len(replaced.Log())
	replaced.Start()
	e.Await()
	waitFor(t, replaced, from, "how=SNAP")
	l.waitAcked(100)

	for _, s := range e.Servers {
		s.Kill9()
	}
	for _, s := range e.Servers {
		s.Start()
	}
	e.Await()
	l.waitAcked(100)
	l.finish()
	for _, s := range e.Servers {
		l.check(s, "/load")
	}
	sameTrees(t, e)
}

// TestRaftSync: under Raft, too, a sync shows what was written elsewhere before.
func TestRaftSync(t *testing.T) {
	if harness.Apache() {
		return
	}
	e := harness.Start(t, harness.Options{Servers: 3, Observers: 1, Args: raft})
	a, b := connect(t, e.Leader().Addr()), connect(t, e.Servers[3].Addr())
	must(t, a, client.CreateOp{Path: "/x"})
	for i := range 50 {
		must(t, a, client.SetOp{Path: "/x", Data: []byte{byte(i)}, Version: int32(i)})
		must(t, b, client.SyncOp{Path: "/x"})
		if got := must(t, b, client.GetOp{Path: "/x"}).Data; len(got) != 1 || got[0] != byte(i) {
			t.Fatalf("after the sync it reads %v, %d was written", got, i)
		}
	}
}

// TestRaftSnapshotInLittleMemory: a server with a new disk gets a state that is larger than what it and its leader
// take of memory meanwhile.
func TestRaftSnapshotInLittleMemory(t *testing.T) {
	if harness.Apache() {
		return
	}
	const limit, znodes, size = 8 << 20, 40_000, 2000
	e := harness.Start(t, harness.Options{Servers: 3, Consensus: "raft", Storage: "bolt", TickTimeMS: 2000, Extra: map[string]string{
		"zkcore.storage.bolt.cacheBytes": fmt.Sprint(limit), "zkcore.raft.windowBytes": fmt.Sprint(4 << 20), "zkcore.raft.keepEntries": "200", "snapCount": "5000"}})
	c := connect(t, e.Leader().Addr())
	writeMany(t, c, "/big", znodes, size)
	replaced := e.Follower()
	replaced.Stop()
	writeMany(t, c, "/more", 6000, 10) // its log does not reach so far
	if err := os.RemoveAll(filepath.Join(replaced.DataDir, "version-2")); err != nil {
		t.Fatal(err)
	}
	leader, from := e.Leader(), len(replaced.Log())
	replaced.Start()
	most := map[string]int64{}
	eventually(t, "it has got the state", func() bool {
		most["the leader"] = max(most["the leader"], leader.RSS())
		most["who gets it"] = max(most["who gets it"], replaced.RSS())
		return strings.Contains(since(replaced, from), "how=SNAP")
	})
	e.Await()
	for who, rss := range most {
		t.Logf("%s: %d MiB resident, for %d MiB of data", who, rss>>20, znodes*size>>20)
		if rss > limit+56<<20 {
			t.Errorf("%s: %d bytes are resident, with a limit of %d", who, rss, limit)
		}
	}
	sameTrees(t, e)
}
