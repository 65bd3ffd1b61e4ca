package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

func localSessions(upgrade string) harness.Options {
	return harness.Options{Servers: 3, TickTimeMS: 300, Extra: map[string]string{
		"localSessionsEnabled": "true", "localSessionsUpgradingEnabled": upgrade, "4lw.commands.whitelist": "*",
	}}
}

// TestLocalSessions: sessions of one server only, on the leader and on a follower. They write and read, have
// no ephemerals, and are known nowhere else. (ZKCORE_TEST_SERVER=apache runs it against Apache's.)
func TestLocalSessions(t *testing.T) {
	e := harness.Start(t, localSessions("false"))
	leader, follower := e.Leader(), e.Follower()
	for _, s := range []*harness.Server{leader, follower} {
		dir := fmt.Sprintf("/of-%d", s.ID)
		c := connect(t, s.Addr())
		must(t, c, client.CreateOp{Path: dir})
		must(t, c, client.SetOp{Path: dir, Data: []byte("x"), Version: 0})
		ctx, cancel := patience()
		_, err := c.Do(ctx, client.CreateOp{Path: dir + "/e", Mode: client.Ephemeral})
		if !errors.Is(err, zkerr.EphemeralOnLocalSession) {
			t.Errorf("an ephemeral on the %s: %v", s.Addr(), err)
		}
		cancel()
		awaitWord(t, s, "mntr", "zk_global_sessions\t0\n")
		awaitWord(t, s, "mntr", "zk_local_sessions\t1\n")
		dump := awaitWord(t, s, "dump", "SessionTracker dump:\nLocal Session Sets (")
		if !strings.Contains(dump, ")/(1):\n") {
			t.Errorf("dump says %q", dump)
		}
		want := "\nGlobal Sessions(0):\n"
		if s == leader {
			want = "\nGlobal Session Sets (" // Apache's has empty ones
		}
		if !strings.Contains(dump, want) {
			t.Errorf("dump says %q", dump)
		}
	}
	// Here it can be come back to, with the same name; elsewhere it is over.
	c := connect(t, follower.Addr())
	session := c.Session()
	c.Drop()
	must(t, c, client.ExistsOp{Path: "/"})
	if c.Session().ID != session.ID {
		t.Errorf("0x%x, then 0x%x", session.ID, c.Session().ID)
	}
	ctx, cancel := patience()
	defer cancel()
	moved, err := client.Dial(ctx, []string{leader.Addr()}, sessionTimeout, client.Options{Session: &session})
	if err == nil {
		defer moved.Abandon()
	}
	if !errors.Is(err, zkerr.SessionExpired) {
		t.Errorf("on another server: %v", err)
	}
	must(t, connect(t, leader.Addr()), client.SyncOp{Path: "/"})
	if !harness.Apache() {
		sameTrees(t, e)
	}
}

// TestUpgradedSessions: with its first ephemeral a local session becomes the ensemble's. It can go to another
// server then, and its ephemerals go with it.
func TestUpgradedSessions(t *testing.T) {
	e := harness.Start(t, localSessions("true"))
	for i, s := range []*harness.Server{e.Leader(), e.Follower()} {
		path := "/e" + string(rune('a'+i))
		c := connect(t, s.Addr())
		must(t, c, client.CreateOp{Path: path + "-before"})
		before := c.Session()
		if i == 0 {
			must(t, c, client.CreateOp{Path: path, Mode: client.Ephemeral})
		} else {
			must(t, c, client.MultiOp{Ops: []client.Op{client.CreateOp{Path: path + "-beside"}, client.CreateOp{Path: path, Mode: client.Ephemeral}}})
		}
		if c.Session().ID != before.ID {
			t.Errorf("0x%x, then 0x%x", before.ID, c.Session().ID)
		}
		awaitWord(t, s, "mntr", "zk_local_sessions\t0\n")
		zxid := c.LastZxid()
		c.Abandon()
		var others []string
		for _, o := range e.Servers {
			if o != s {
				others = append(others, o.Addr())
			}
		}
		c = connectWith(t, client.Options{Session: &before, LastZxid: zxid}, others...)
		r := must(t, c, client.ExistsOp{Path: path})
		if c.Session().ID != before.ID || r.Stat.EphemeralOwner != before.ID {
			t.Errorf("on another server: 0x%x, %+v", c.Session().ID, r.Stat)
		}
		watcher := connect(t, s.Addr())
		must(t, watcher, client.SyncOp{Path: "/"})
		ctx, cancel := patience()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		must(t, watcher, client.SyncOp{Path: "/"})
		ctx, cancel = patience()
		if _, err := watcher.Do(ctx, client.ExistsOp{Path: path}); !errors.Is(err, zkerr.NoNode) {
			t.Errorf("%s outlives its session: %v", path, err)
		}
		cancel()
	}
	if !harness.Apache() {
		sameTrees(t, e)
	}
}

// TestLocalSessionsThroughAnElection: they are their server's, not their leader's.
func TestLocalSessionsThroughAnElection(t *testing.T) {
	e := harness.Start(t, localSessions("true"))
	leader, follower := e.Leader(), e.Follower()
	c := connect(t, follower.Addr())
	must(t, c, client.CreateOp{Path: "/n"})
	id := c.Session().ID
	leader.Kill9()
	ctx, cancel := patience()
	defer cancel()
	// Asked for while nobody leads: the ephemeral brings an upgrade with it.
	write := c.Start(client.SetOp{Path: "/n", Data: []byte("1"), Version: 0})
	ephemeral := c.Start(client.CreateOp{Path: "/e", Mode: client.Ephemeral})
	if _, err := write.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := ephemeral.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if r := must(t, c, client.ExistsOp{Path: "/e"}); c.Session().ID != id || r.Stat.EphemeralOwner != id {
		t.Errorf("the session was 0x%x, and is 0x%x", id, c.Session().ID)
	}
	leader.Start()
	e.Await()
	sameTrees(t, e)
}
