package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// logFiles are the transaction logs of a server, oldest first.
func logFiles(t *testing.T, s *harness.Server) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.DataDir, "version-2", "log.*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no log: %v", err)
	}
	// By zxid: shorter hex first.
	slices.SortFunc(names, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return names
}

// TestTornTail: the end of a log that a crash left half written is cut, with a
// line in the server's log, and everything before it is there.
func TestTornTail(t *testing.T) {
	e := harness.Start(t, harness.Options{})
	s := e.Servers[0]
	c := connect(t, s.Addr())
	writeMany(t, c, "/a", 100, 50)
	s.Kill9()
	// Half a record behind the last one.
	files := logFiles(t, s)
	name := files[len(files)-1]
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	end := len(raw)
	for end > 0 && raw[end-1] == 0 {
		end--
	}
	torn := slices.Concat(raw[:end], []byte{0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 90}, []byte("half a record"))
	if err := os.WriteFile(name, torn, 0o644); err != nil {
		t.Fatal(err)
	}
	from := len(s.Log())
	s.Restart()
	if text := since(s, from); !regexp.MustCompile(`(?i)torn`).MatchString(text) || !strings.Contains(text, filepath.Base(name)) {
		t.Errorf("no line says that %s was torn:\n%s", name, text)
	}
	c = connect(t, s.Addr())
	if n := len(must(t, c, client.ChildrenOp{Path: "/a"}).Children); n != 100 {
		t.Errorf("%d of 100 nodes are there", n)
	}
	writeMany(t, c, "/b", 100, 50)
	s.Kill9()
	s.Restart()
	c = connect(t, s.Addr())
	if n := len(must(t, c, client.ChildrenOp{Path: "/b"}).Children); n != 100 {
		t.Errorf("%d of 100 nodes written after the cut are there", n)
	}
}

// TestDamage: damage in the middle of a log stops the server, which names the
// file and the offset.
func TestDamage(t *testing.T) {
	e := harness.Start(t, harness.Options{})
	s := e.Servers[0]
	writeMany(t, connect(t, s.Addr()), "/a", 100, 50)
	s.Kill9()
	files := logFiles(t, s)
	name := files[len(files)-1]
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(strings.TrimRight(string(raw), "\x00"))/2] ^= 0x40
	if err := os.WriteFile(name, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	from := len(s.Log())
	s.Start()
	if code := s.Wait(); code == 0 {
		t.Error("a server with a damaged log ended with exit code 0")
	}
	text := since(s, from)
	if !strings.Contains(text, filepath.Base(name)) || !regexp.MustCompile(`offset[= ]*\d+`).MatchString(text) {
		t.Errorf("the log names neither %s nor an offset:\n%s", name, text)
	}
}

// TestSecondProcess: two servers on one data directory would ruin it.
func TestSecondProcess(t *testing.T) {
	e := harness.Start(t, harness.Options{})
	other := harness.New(t, harness.Options{Extra: map[string]string{"dataDir": e.Servers[0].DataDir}})
	other.Servers[0].Start()
	if code := other.Servers[0].Wait(); code == 0 {
		t.Error("a second server on the same directory ended with exit code 0")
	}
	if text := other.Servers[0].Log(); !regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d .* ERROR .*` + regexp.QuoteMeta(e.Servers[0].DataDir)).MatchString(text) {
		t.Errorf("the refusal has no time or does not name the directory:\n%s", text)
	}
	must(t, connect(t, e.Servers[0].Addr()), client.CreateOp{Path: "/still-here"})
}

// TestSnapshotsAndPurge: snapshots are taken under load without stopping it,
// old files go, and a restart finds everything.
func TestSnapshotsAndPurge(t *testing.T) {
	e := harness.Start(t, harness.Options{Extra: map[string]string{
		"snapCount": "1000", "autopurge.purgeInterval": "1", "autopurge.snapRetainCount": "3", "preAllocSize": "64",
	}})
	s := e.Servers[0]
	l := startLoad(t, e, 4, "/load")
	bulk := connect(t, s.Addr())
	writeMany(t, bulk, "/bulk", 8000, 100)
	l.waitAcked(100)
	l.finish()
	snaps := func() []string {
		names, err := filepath.Glob(filepath.Join(s.DataDir, "version-2", "snapshot.*"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	// Where the disk is slow, or the tree far, one snapshot takes as long as thousands of writes: there are many
	// rounds then, and an address has a limit of connections.
	for round, end := 0, time.Now().Add(harness.Patience); len(snaps()) < 4; round++ {
		writeMany(t, bulk, fmt.Sprintf("/more-%d", round), 1000, 10)
		if time.Now().After(end) {
			t.Fatalf("only %d snapshots with snapCount 1000", len(snaps()))
		}
	}
	s.Kill9()
	s.Restart() // purges at start
	l.check(s, "/load")
	if n := len(must(t, connect(t, s.Addr()), client.ChildrenOp{Path: "/bulk"}).Children); n != 8000 {
		t.Errorf("%d of 8000 nodes are there", n)
	}
	for end := time.Now().Add(harness.Patience); len(snaps()) > 4; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d snapshots, and a purge keeps 3: %v", len(snaps()), snaps())
		}
	}
	// The oldest that was kept is a way back: the logs from there on are there.
	s.Kill9()
	all := snaps()
	slices.SortFunc(all, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	newest := all[len(all)-1]
	if err := os.Truncate(newest, 100); err != nil {
		t.Fatal(err)
	}
	from := len(s.Log())
	s.Restart()
	l.check(s, "/load")
	if !harness.StoreSurvives() && !strings.Contains(since(s, from), filepath.Base(newest)) {
		t.Errorf("no line says that %s is bad:\n%s", newest, since(s, from))
	}
}
