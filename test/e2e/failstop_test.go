package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/adler32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/test/harness"
)

// waitFor waits until a server's log, from a place in it on, has a text.
func waitFor(t *testing.T, s *harness.Server, from int, text string) {
	t.Helper()
	for end := time.Now().Add(harness.Patience); !strings.Contains(since(s, from), text); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("server %d does not say %q", s.ID, text)
		}
	}
}

// TestReplacedDisk: two servers have a write, the third missed it. When one of the two gets a new
// disk and the other is down, the rest must not serve without it.
func TestReplacedDisk(t *testing.T) {
	e := harness.Start(t, harness.Options{Servers: 3})
	e.Servers[2].Kill9()
	c := connect(t, e.Servers[0].Addr(), e.Servers[1].Addr())
	must(t, c, client.CreateOp{Path: "/precious"})
	e.Servers[0].Kill9()
	e.Servers[1].Kill9()
	if err := os.RemoveAll(filepath.Join(e.Servers[1].DataDir, "version-2")); err != nil {
		t.Fatal(err)
	}
	from := len(e.Servers[1].Log())
	e.Servers[1].Start()
	e.Servers[2].Start()
	waitFor(t, e.Servers[1], from, "waits for a leader, or until every voter is there")
	if text := since(e.Servers[1], from); !strings.Contains(text, "missing=[1]") {
		t.Errorf("it does not say who is missing:\n%s", text)
	}
	for _, s := range e.Servers[1:] {
		if mode, err := s.Mode(); err == nil {
			t.Errorf("server %d is %s without the write", s.ID, mode)
		}
	}
	e.Servers[0].Start()
	e.Await()
	must(t, connect(t, e.Servers[1].Addr()), client.GetOp{Path: "/precious"})
}

// TestDamagedMember: a server of an ensemble whose log or snapshots are damaged sets them aside and
// gets everything from the others.
func TestDamagedMember(t *testing.T) {
	e := harness.Start(t, harness.Options{Servers: 3, Extra: map[string]string{"snapCount": "100"}})
	c := connect(t, e.Addrs()...)
	patterns := []string{"log.*", "snapshot.*"}
	if harness.StoreSurvives() {
		patterns = patterns[:1] // no snapshot is read at the start
	}
	for i, pattern := range patterns {
		writeMany(t, c, "/part"+strconv.Itoa(i), 300, 50)
		// What is damaged in the last write, nobody can tell from one that was torn: there are later ones
		// on each server.
		for k := range 2 {
			sameDigests(t, e)
			must(t, c, client.CreateOp{Path: fmt.Sprintf("/behind%d-%d", i, k)})
		}
		sameDigests(t, e)
		s := e.Follower()
		s.Kill9()
		files, err := filepath.Glob(filepath.Join(s.DataDir, "version-2", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		for _, name := range files {
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			raw[len(strings.TrimRight(string(raw), "\x00"))/2] ^= 0x40
			if err := os.WriteFile(name, raw, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		from := len(s.Log())
		s.Start()
		e.Await()
		if text := since(s, from); !strings.Contains(text, "it is set aside") || !strings.Contains(text, "how=SNAP") {
			t.Errorf("%s: the log tells of no damage, or of no snapshot:\n%s", pattern, text)
		}
		aside, err := filepath.Glob(filepath.Join(s.DataDir, "damaged.*", pattern))
		if err != nil || len(aside) < len(files) {
			t.Errorf("%d of %d files of %s are set aside: %v", len(aside), len(files), pattern, err)
		}
		sameDigests(t, e)
	}
}

// sameDigests waits until all servers have the same tree.
func sameDigests(t *testing.T, e *harness.Ensemble) {
	t.Helper()
	var got []string
	for end := time.Now().Add(harness.Patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		got = nil
		for _, s := range e.Servers {
			m, err := s.Monitor()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, m["zk_zkcore_tree_digest"])
		}
		if slices.Equal(got, slices.Repeat(got[:1], len(got))) {
			return
		}
	}
	t.Fatalf("the trees stay different: %v", got)
}

// TestWrongTree: a server whose tree is not the leader's notices with a change in it, serves nobody
// until it has the leader's tree, and then is one like the others.
func TestWrongTree(t *testing.T) {
	opt := harness.Options{Servers: 3, Extra: map[string]string{"snapCount": "20"}}
	if harness.StoreSurvives() {
		opt.Storage = "mem" // the wrong tree comes by way of a snapshot
	}
	e := harness.Start(t, opt)
	c := connect(t, e.Addrs()...)
	must(t, c, client.CreateOp{Path: "/victim", Data: []byte("right-right-right")})
	writeMany(t, c, "/a", 100, 10)
	s := e.Follower()
	var newest string
	for end := time.Now().Add(harness.Patience); ; time.Sleep(20 * time.Millisecond) {
		files, err := filepath.Glob(filepath.Join(s.DataDir, "version-2", "snapshot.*"))
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(files, func(a, b string) int { return int(snapshotZxid(t, a) - snapshotZxid(t, b)) })
		if newest = files[len(files)-1]; snapshotZxid(t, newest)&0xffffffff > 40 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no snapshot: %v", files)
		}
		must(t, c, client.CreateOp{Path: "/a/more-", Mode: client.PersistentSequential})
	}
	s.Stop()
	spoilTree(t, s)
	from := len(s.Log())
	s.Start()
	e.Await()
	must(t, c, client.CreateOp{Path: "/another"})
	waitFor(t, s, from, "this tree is not the leader's")
	waitFor(t, s, from, "how=SNAP")
	e.Await()
	sameDigests(t, e)
	if got := string(must(t, connect(t, s.Addr()), client.GetOp{Path: "/victim"}).Data); got != "right-right-right" {
		t.Errorf("it has %q", got)
	}
}

func snapshotZxid(t *testing.T, name string) int64 {
	t.Helper()
	z, err := strconv.ParseInt(strings.TrimPrefix(filepath.Base(name), "snapshot."), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// spoilTree changes a znode in all snapshots of a server, so that their checksums are right.
func spoilTree(t *testing.T, s *harness.Server) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.DataDir, "version-2", "snapshot.*"))
	if err != nil {
		t.Fatal(err)
	}
	const (
		seal = 8 + 4 + 1
		tail = seal + (8 + 4 + 8) + seal + 8 + seal // behind the znodes
	)
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		body := bytes.Replace(raw[:len(raw)-tail], []byte("right-right-right"), []byte("wrong-wrong-wrong"), 1)
		// The digest and the last zxid may be missing, and are left out.
		body = binary.BigEndian.AppendUint64(body, uint64(adler32.Checksum(body)))
		body = append(body, 0, 0, 0, 1, '/')
		if err := os.WriteFile(name, body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestExitCodes: who starts it again can tell why it ended.
func TestExitCodes(t *testing.T) {
	e := harness.Start(t, harness.Options{})
	s := e.Servers[0]
	other := harness.New(t, harness.Options{Extra: map[string]string{"dataDir": s.DataDir}})
	other.Servers[0].Start()
	if code := other.Servers[0].Wait(); code != consensus.ExitLocked {
		t.Errorf("a second process: exit code %d, want %d", code, consensus.ExitLocked)
	}
	writeMany(t, connect(t, s.Addr()), "/a", 100, 50)
	s.Kill9()
	name := logFiles(t, s)[0]
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		what string
		at   int
		code int
	}{{"damage", len(strings.TrimRight(string(raw), "\x00")) / 2, consensus.ExitDamage}, {"another version", 7, consensus.ExitFormat}} {
		bad := slices.Clone(raw)
		bad[tc.at] ^= 1
		if err := os.WriteFile(name, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		s.Start()
		if code := s.Wait(); code != tc.code {
			t.Errorf("%s: exit code %d, want %d", tc.what, code, tc.code)
		}
	}
	if err := os.WriteFile(name, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	s.Restart()
}
