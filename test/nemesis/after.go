package nemesis

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/test/harness"
	"github.com/zkcore/zkcore/test/history"
)

// settle waits until all servers have the same tree: their own digests of what they hold in memory
// are equal at equal zxids.
func (w *world) settle() {
	digest := func(s *harness.Server) string {
		m, err := s.Monitor()
		if err != nil {
			return err.Error()
		}
		return m["zk_zkcore_tree_digest"]
	}
	var seen []string
	for end := time.Now().Add(harness.Patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		seen = seen[:0]
		for _, s := range w.e.Servers {
			seen = append(seen, digest(s))
		}
		// Twice, since sessions that were left behind still expire.
		if strings.HasPrefix(seen[0], "0x") && len(slices.Compact(slices.Clone(seen))) == 1 {
			return
		}
	}
	w.t.Errorf("after %v the trees differ (zxid and digest): %v", harness.Patience, seen)
}

// descriptors counts the files that each server has open.
func (w *world) descriptors() []int {
	var out []int
	for _, s := range w.e.Servers {
		out = append(out, s.Descriptors())
	}
	return out
}

// leaks waits until each server holds about as many files as before the load. Leader and followers
// hold different ones, and who leads has changed.
func (w *world) leaks(before []int) {
	limit := slices.Max(before) + 2*len(w.e.Servers)
	var now []int
	for end := time.Now().Add(harness.Patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if now = w.descriptors(); slices.Max(now) <= limit {
			return
		}
	}
	for _, s := range w.e.Servers {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.Pid()))
		for _, fd := range fds {
			to, _ := os.Readlink(fd)
			w.t.Logf("server %d holds %s", s.ID, to)
		}
	}
	w.t.Errorf("servers hold %d descriptors after the load, and held %d before it", now, before)
}

// configText is what the servers keep in /zookeeper/config.
func (w *world) configText() string {
	var lines []string
	for _, s := range w.e.Servers {
		lines = append(lines, fmt.Sprintf("server.%d=%s:%d:%d:participant", s.ID, s.Host, s.QuorumPort, s.ElectionPort))
	}
	return strings.Join(append(lines, "version=0"), "\n")
}

// treesOf is how many snapshots of each server are judged.
const treesOf = 2

// trees reads the newest snapshots that each server keeps. What it holds in memory was compared
// already, by its digest.
func (w *world) trees() []history.Tree {
	var out []history.Tree
	for _, s := range w.e.Servers {
		dir := filepath.Join(s.DataDir, txnlog.VersionDir)
		files, err := txnlog.ListSnapshots(vfs.OS, dir)
		if err != nil {
			w.t.Errorf("server %d: %v", s.ID, err)
			continue
		}
		for _, f := range files[:min(treesOf, len(files))] {
			tree, err := readTree(dir, f)
			if err != nil {
				if !w.damaged[s.ID] {
					w.t.Errorf("server %d: %s: %v", s.ID, f.Name, err)
				}
				continue
			}
			if tree != nil {
				tree.Server = s.ID
				if w.plan.Proxies {
					w.oneConfig(tree)
				}
				out = append(out, *tree)
			}
		}
	}
	return out
}

// oneConfig puts the configuration that the judge knows in place of a server's own: behind proxies each
// server finds the others elsewhere. The node is in no digest.
func (w *world) oneConfig(tree *history.Tree) {
	for i := range tree.Nodes {
		if tree.Nodes[i].Path == "/zookeeper/config" {
			tree.Nodes[i].Data = []byte(w.configText())
		}
	}
}

// readTree reads a snapshot. It is nil if it holds some of what came after its zxid.
func readTree(dir string, f txnlog.SnapshotFile) (*history.Tree, error) {
	r, c, err := txnlog.OpenSnapshot(vfs.OS, dir, f.Name)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	tree := &history.Tree{Sessions: make(map[int64]int32)}
	if err := r.Sessions(func(id int64, timeoutMS int32) error {
		tree.Sessions[id] = timeoutMS
		return nil
	}); err != nil {
		return nil, err
	}
	acls := map[int64][]jute.ACL{-1: jute.OpenACL()}
	if err := r.ACLs(func(key int64, acl []jute.ACL) error {
		acls[key] = acl
		return nil
	}); err != nil {
		return nil, err
	}
	if err := r.Nodes(func(n *txnlog.Node) error {
		path := n.Path
		if path == "" {
			path = "/"
		}
		if acls[n.ACL] == nil {
			return fmt.Errorf("%s: no ACL has the key %d", path, n.ACL)
		}
		tree.Nodes = append(tree.Nodes, history.Znode{
			Path: path, Data: bytes.Clone(n.Data), ACL: acls[n.ACL], Czxid: n.Stat.Czxid, Mzxid: n.Stat.Mzxid, Pzxid: n.Stat.Pzxid,
			Ctime: n.Stat.Ctime, Mtime: n.Stat.Mtime, Version: n.Stat.Version, Creates: n.Stat.Cversion, Aversion: n.Stat.Aversion,
			Owner: n.Stat.EphemeralOwner,
		})
		return nil
	}); err != nil {
		return nil, err
	}
	end, err := r.Finish()
	if err != nil || end.DigestZxid > f.Zxid {
		return nil, err
	}
	tree.Zxid = int64(f.Zxid)
	if end.DigestZxid == f.Zxid {
		tree.Digest = end.Digest
	}
	return tree, nil
}
