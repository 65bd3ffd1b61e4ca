package mixed

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// setQuota makes a quota of a path with one name, as zkCli.sh does.
func setQuota(t *testing.T, c *client.Client, path, limits string) {
	t.Helper()
	base := "/zookeeper/quota" + path
	must(t, c, client.CreateOp{Path: base})
	must(t, c, client.CreateOp{Path: base + "/zookeeper_limits", Data: []byte(limits)})
	must(t, c, client.CreateOp{Path: base + "/zookeeper_stats", Data: []byte("count=0,bytes=0")})
}

// wantUsage wants every running server to say so of a quota.
func wantUsage(t *testing.T, e *harness.Ensemble, path, want string) {
	t.Helper()
	for _, s := range e.Running() {
		c := connect(t, s.Addr())
		must(t, c, client.SyncOp{Path: "/"})
		wait := time.Duration(0)
		if s.Apache {
			wait = harness.Patience
		}
		if usage := usageOf(t, c, path, want, wait); usage != want {
			t.Errorf("server %d (%s): the usage of %s is %q, want %q", s.ID, kind(s), path, usage, want)
		}
		end(c)
	}
}

// usageOf asks for the usage of a quota until it is what is wanted, or for so long. Apache's leader may have applied less
// than the server has that a client got its answer from, also behind a sync: not even that there is a quota.
func usageOf(t *testing.T, c *client.Client, path, want string, wait time.Duration) string {
	t.Helper()
	for end := time.Now().Add(wait); ; time.Sleep(5 * time.Millisecond) {
		ctx, cancel := patience()
		r, err := c.Do(ctx, client.GetOp{Path: "/zookeeper/quota" + path + "/zookeeper_stats"})
		cancel()
		if err != nil && !errors.Is(err, zkerr.NoNode) {
			t.Fatal(err)
		}
		usage := string(r.Data)
		if err != nil {
			usage = "NoNode"
		}
		if usage == want || !time.Now().Before(end) {
			return usage
		}
	}
}

// enforceQuotas sets a quota through each server, and finds it enforced through all, and counted by all.
func enforceQuotas(t *testing.T, e *harness.Ensemble) {
	t.Helper()
	var clients []*client.Client
	for _, s := range e.Servers {
		clients = append(clients, connect(t, s.Addr()))
	}
	leader := connect(t, e.Leader().Addr())
	// Apache's leader judges by what it has applied.
	leaderHas := func(path, want string) {
		t.Helper()
		if usage := usageOf(t, leader, path, want, harness.Patience); usage != want {
			t.Fatalf("the leader: the usage of %s is %q, want %q", path, usage, want)
		}
	}
	for i, c := range clients {
		path := fmt.Sprintf("/limited-%d", i)
		must(t, c, client.CreateOp{Path: path})
		setQuota(t, c, path, "count=-1,bytes=-1=;byteHardLimit=6;countHardLimit=3")
		for j, other := range clients {
			must(t, leader, client.SyncOp{Path: "/"})
			leaderHas(path, "count=1,bytes=0")
			must(t, other, client.CreateOp{Path: path + "/a", Data: []byte("1234")})
			must(t, other, client.CreateOp{Path: path + "/e", Data: []byte("1"), Mode: client.Ephemeral})
			leaderHas(path, "count=3,bytes=5")
			for _, op := range []client.Op{client.CreateOp{Path: path + "/b"}, client.SetOp{Path: path + "/a", Data: []byte("123456"), Version: -1}} {
				ctx, cancel := patience()
				if _, err := other.Do(ctx, op); !errors.Is(err, zkerr.QuotaExceeded) {
					t.Errorf("through server %d, of a quota made through %d: %+v: %v", e.Servers[j].ID, e.Servers[i].ID, op, err)
				}
				cancel()
			}
			must(t, other, client.MultiOp{Ops: []client.Op{client.DeleteOp{Path: path + "/a", Version: -1}, client.DeleteOp{Path: path + "/e", Version: -1}}})
		}
		leaderHas(path, "count=1,bytes=0")
		must(t, c, client.CreateOp{Path: path + "/left", Data: []byte("12")})
		wantUsage(t, e, path, "count=2,bytes=2")
	}
}
