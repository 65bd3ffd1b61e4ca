package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

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
		if r := must(t, c, client.GetOp{Path: "/zookeeper/quota" + path + "/zookeeper_stats"}); string(r.Data) != want {
			t.Errorf("server %d: the usage of %s is %q, want %q", s.ID, path, r.Data, want)
		}
		c.Close(context.Background())
	}
}

// TestQuota: a quota that is enforced holds on whichever server one writes, under every leader, and behind a
// restart; and its usage with it.
func TestQuota(t *testing.T) {
	e := harness.Start(t, harness.Options{Servers: 3, Extra: map[string]string{"enforceQuota": "true", "snapCount": "30"}})
	admin := connect(t, e.Addrs()...)
	must(t, admin, client.CreateOp{Path: "/app"})
	setQuota(t, admin, "/app", "count=-1,bytes=-1=;byteHardLimit=100;countHardLimit=11")
	refused := func(c *client.Client, op client.Op) {
		t.Helper()
		ctx, cancel := patience()
		defer cancel()
		if _, err := c.Do(ctx, op); !errors.Is(err, zkerr.QuotaExceeded) {
			t.Errorf("%+v: %v", op, err)
		}
	}
	for i := range 10 {
		must(t, connect(t, e.Servers[i%3].Addr()), client.CreateOp{Path: fmt.Sprintf("/app/%d", i), Data: []byte("12345678")})
	}
	for round := range 3 {
		wantUsage(t, e, "/app", "count=11,bytes=80")
		for _, s := range e.Servers {
			c := connect(t, s.Addr())
			refused(c, client.CreateOp{Path: "/app/more"})
			refused(c, client.SetOp{Path: "/app/0", Data: make([]byte, 29), Version: -1})
			must(t, c, client.SetOp{Path: "/app/0", Data: make([]byte, 8), Version: -1})
			c.Close(context.Background())
		}
		switch round {
		case 0:
			s := e.Leader()
			s.Kill9()
			s.Restart()
		case 1:
			for _, s := range e.Servers {
				s.Kill9()
			}
			for _, s := range e.Servers {
				s.Start()
			}
		}
		e.Await()
	}
	if harness.Apache() {
		return
	}
	seen := 0
	for _, s := range e.Servers {
		m, err := s.Monitor()
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"zk_app_quota_count_limit_per_namespace": "11", "zk_app_quota_bytes_limit_per_namespace": "100",
			"zk_app_quota_count_usage_per_namespace": "11", "zk_app_quota_bytes_usage_per_namespace": "80",
		} {
			if m[name] != want {
				t.Errorf("server %d: %s is %q, want %q", s.ID, name, m[name], want)
			}
		}
		if m["zk_app_quota_exceeded_error_per_namespace"] != "" {
			seen++
		}
	}
	if seen != 1 { // the leader
		t.Errorf("%d servers tell of refusals", seen)
	}
	sameTrees(t, e)
}
