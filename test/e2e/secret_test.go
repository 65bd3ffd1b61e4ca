package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// TestSessionSecret gives an ensemble that serves a secret for its session passwords, as docs/operations.md says: sessions
// of before and of behind it go from server to server, and the passwords of the latter nobody can compute.
func TestSessionSecret(t *testing.T) {
	if harness.Apache() {
		return
	}
	e := harness.Start(t, harness.Options{Servers: 3})
	common := func(c *client.Client) bool {
		s := c.Session()
		p := proto.SessionPassword(s.ID)
		return bytes.Equal(p[:], s.Password)
	}
	before := connect(t, e.Addrs()...)
	must(t, before, client.CreateOp{Path: "/before", Mode: client.Ephemeral})
	if !common(before) {
		t.Fatal("a password of its own, and no secret")
	}
	since := time.Now().Add(3 * time.Second).UTC().Truncate(time.Second)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, fmt.Appendf(nil, "a secret of the ensemble\nsince=%s\n", since.Format(time.RFC3339)), 0o600); err != nil {
		t.Fatal(err)
	}
	oneByOne := func() {
		t.Helper()
		for _, s := range e.Servers {
			s.Stop()
			s.Start()
			e.Await()
			must(t, before, client.ExistsOp{Path: "/before"})
		}
	}
	for _, s := range e.Servers {
		s.Extra = map[string]string{"zkcore.session.secretFile": file}
		e.WriteConfig(s)
	}
	id := before.Session().ID
	oneByOne()
	time.Sleep(time.Until(since.Add(time.Second)))
	oneByOne()
	behind := connect(t, e.Addrs()...)
	must(t, behind, client.CreateOp{Path: "/behind", Mode: client.Ephemeral})
	if common(behind) {
		t.Error("anybody can compute the password of a session that was numbered behind the time")
	}
	later := behind.Session().ID
	oneByOne() // both go through all servers
	for path, owner := range map[string]int64{"/before": id, "/behind": later} {
		if r := must(t, behind, client.ExistsOp{Path: path}); r.Stat.EphemeralOwner != owner {
			t.Errorf("%s belongs to %x, and did to %x", path, r.Stat.EphemeralOwner, owner)
		}
	}
	if before.Session().ID != id || behind.Session().ID != later {
		t.Errorf("the sessions are %x and %x, and were %x and %x", before.Session().ID, behind.Session().ID, id, later)
	}
}
