package mixed

import (
	"bytes"
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

// howWords are what Apache's learners log of the packet that they synchronise by.
var howWords = map[string]string{
	"DIFF":  "Getting a diff from the leader",
	"SNAP":  "Getting a snapshot from leader",
	"TRUNC": "Truncating log to get in sync with the leader",
}

// rejoin starts a server and checks by which means it catches up, unless how is empty.
func rejoin(t *testing.T, e *harness.Ensemble, s *harness.Server, how string) {
	t.Helper()
	from := len(s.Log())
	s.Start()
	e.Await()
	if how == "" {
		return
	}
	word := "how=" + how + " from="
	if s.Apache {
		word = howWords[how]
	}
	// It serves, so the line is there.
	if text := s.Log()[from:]; !strings.Contains(text, word) {
		t.Errorf("server %d (%s) did not catch up by %s:\n%s", s.ID, kind(s), how, text)
	}
}

// pairs runs a test with either program as the leader of an ensemble in which a follower is the
// other. Server 2 is of the follower's kind, so that it can be spared.
func pairs(t *testing.T, extra map[string]string, test func(t *testing.T, e *harness.Ensemble, leader, follower *harness.Server)) {
	for _, tc := range []struct {
		name   string
		apache []int
	}{
		{"from zkcore to Apache", []int{1}},
		{"from Apache to zkcore", []int{3}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := ensemble(t, harness.Options{Servers: 3, Apache: tc.apache, Extra: extra})
			startLed(t, e, e.Servers[2])
			test(t, e, e.Servers[2], e.Servers[0])
		})
	}
}

// TestDiffAndSnap: a follower that missed a little gets the difference, one that missed more than
// the leader remembers gets the tree. Either survives a kill right after.
func TestDiffAndSnap(t *testing.T) {
	pairs(t, map[string]string{"snapCount": "300", "commitLogCount": "500", "snapshotSizeFactor": "-1"},
		func(t *testing.T, e *harness.Ensemble, leader, follower *harness.Server) {
			c := connect(t, leader.Addr())
			writeMany(t, c, "/before", 50, 20)
			setQuota(t, c, "/a-little", "")
			setQuota(t, c, "/much", "")
			follower.Kill9()
			writeMany(t, c, "/a-little", 200, 20)
			rejoin(t, e, follower, "DIFF")
			sameTrees(t, e)

			follower.Kill9()
			must(t, c, client.CreateOp{Path: "/mine", Mode: client.Ephemeral})
			authenticate(t, c)
			must(t, c, client.CreateOp{Path: "/private", Mode: client.Container, ACL: client.CreatorACL()})
			writeMany(t, c, "/much", 1500, 20)
			rejoin(t, e, follower, "SNAP")
			sameTrees(t, e)

			// What it got is on its disk, and a session goes on there.
			follower.Kill9()
			writeMany(t, c, "/a-little-more", 20, 20)
			rejoin(t, e, follower, "DIFF")
			own := connect(t, follower.Addr())
			writeMany(t, own, "/through-it", 50, 20)
			wantUsage(t, e, "/a-little", "count=201,bytes=4000")
			wantUsage(t, e, "/much", "count=1501,bytes=30000")
			wantLeader(t, leader)
			sameTrees(t, e)
		})
}

// TestForget: a leader has logged what nobody else has, dies, and comes back to an ensemble that the
// other program leads by now: it must forget it.
func TestForget(t *testing.T) {
	for _, tc := range []struct {
		name   string
		apache []int
	}{
		{"first zkcore, then Apache", []int{1, 2}},
		{"first Apache, then zkcore", []int{3}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := ensemble(t, harness.Options{Servers: 3, Apache: tc.apache})
			startLed(t, e, e.Servers[2])
			// As long as the new epoch has no transaction, what is too much is cut off. Once it has
			// one, the leader sends the tree.
			forget(t, e, "TRUNC")
			forget(t, e, "SNAP")
		})
	}
}

func forget(t *testing.T, e *harness.Ensemble, how string) {
	t.Helper()
	old := e.Leader()
	var rest []*harness.Server
	for _, s := range e.Servers {
		if s != old {
			rest = append(rest, s)
		}
	}
	c := connect(t, old.Addr())
	writeMany(t, c, "/before-"+how, 50, 20)
	setQuota(t, c, "/lost-"+how+"-7", "")
	for _, s := range rest {
		// Both know as much, so that the one of the higher id leads next.
		waitLogged(t, s, fmt.Sprintf("/lost-%s-7/zookeeper_stats", how))
		s.Signal(syscall.SIGSTOP)
	}
	var calls []*client.Call
	for i := range 20 {
		calls = append(calls, c.Start(client.CreateOp{Path: fmt.Sprintf("/lost-%s-%d", how, i)}))
	}
	waitLogged(t, old, fmt.Sprintf("/lost-%s-19", how))
	for _, call := range calls {
		select {
		case <-call.Done():
			ctx, cancel := patience()
			defer cancel()
			r, err := call.Wait(ctx)
			t.Fatalf("server %d (%s) answered a write without a majority: %+v, %v", old.ID, kind(old), r, err)
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
	leader := e.Leader()
	if leader.Apache == old.Apache && !harness.Apache() {
		t.Fatalf("server %d (%s) follows on %d", leader.ID, kind(leader), old.ID)
	}
	if how == "SNAP" {
		writeMany(t, connect(t, leader.Addr()), "/instead", 50, 20)
	}
	rejoin(t, e, old, how)
	writeMany(t, connect(t, old.Addr()), "/after-"+how, 50, 20)
	for range 2 {
		for _, line := range tree(t, old) {
			if strings.HasPrefix(line, "/lost-") {
				t.Errorf("server %d (%s) kept what was never committed: %s", old.ID, kind(old), line)
			}
		}
		wantUsage(t, e, "/lost-"+how+"-7", "count=0,bytes=0")
		sameTrees(t, e)
		old.Kill9()
		old.Start()
		e.Await()
	}
	wantLeader(t, leader)
}

// waitLogged waits until a server's transaction log has the word in it.
func waitLogged(t *testing.T, s *harness.Server, word string) {
	t.Helper()
	end := time.Now().Add(harness.Patience)
	for {
		names, err := filepath.Glob(filepath.Join(s.DataDir, "version-2", "log.*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte(word)) {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatalf("the log of server %d (%s) never had %s", s.ID, kind(s), word)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
