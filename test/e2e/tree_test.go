package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// tree reads the whole tree of one server: a line for each znode.
func tree(t *testing.T, server *harness.Server) []string {
	t.Helper()
	c := connect(t, server.Addr())
	must(t, c, client.SyncOp{Path: "/"})
	var lines []string
	paths := []string{"/"}
	for len(paths) > 0 {
		// A level at a time, pipelined.
		gets := make([]*client.Call, len(paths))
		lists := make([]*client.Call, len(paths))
		acls := make([]*client.Call, len(paths))
		for i, p := range paths {
			gets[i], lists[i], acls[i] = c.Start(client.GetOp{Path: p}), c.Start(client.ChildrenOp{Path: p}), c.Start(client.GetACLOp{Path: p})
		}
		var below []string
		for i, p := range paths {
			get, list, acl := wait(t, gets[i], p), wait(t, lists[i], p), wait(t, acls[i], p)
			// mzxid of the configuration's node is that of the leader's start.
			if p != "/zookeeper/config" {
				lines = append(lines, fmt.Sprintf("%s %q %+v %v", p, get.Data, get.Stat, acl.ACL))
			}
			slices.Sort(list.Children)
			for _, name := range list.Children {
				below = append(below, strings.TrimSuffix(p, "/")+"/"+name)
			}
		}
		paths = below
	}
	return lines
}

func wait(t *testing.T, call *client.Call, path string) client.Reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	r, err := call.Wait(ctx)
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	return r
}

// sameTrees checks that all running servers have the same tree, by content and
// by digest.
func sameTrees(t *testing.T, e *harness.Ensemble) {
	t.Helper()
	servers := e.Running()
	var first []string
	for i, s := range servers {
		lines := tree(t, s)
		if i == 0 {
			first = lines
			continue
		}
		if !slices.Equal(first, lines) {
			t.Errorf("servers %d and %d differ: %s", servers[0].ID, s.ID, difference(first, lines))
		}
	}
	if harness.Apache() {
		return
	}
	// Sessions come and go: the digests are compared at the same zxid.
	end := time.Now().Add(harness.Patience)
	for {
		seen := make(map[string]bool)
		for _, s := range servers {
			m, err := s.Monitor()
			if err != nil {
				t.Fatal(err)
			}
			if m["zk_digest_mismatches_count"] != "0" {
				t.Errorf("server %d counts %s digest mismatches", s.ID, m["zk_digest_mismatches_count"])
			}
			if m["zk_zkcore_tree_digest"] == "" {
				t.Fatalf("server %d shows no digest", s.ID)
			}
			seen[m["zk_zkcore_tree_digest"]] = true
		}
		if len(seen) == 1 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the digests stay different: %v", seen)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func difference(a, b []string) string {
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return fmt.Sprintf("line %d\n\t%s\n\t%s", i, x, y)
		}
	}
	return "not at all"
}
