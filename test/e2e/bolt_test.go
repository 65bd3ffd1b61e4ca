package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// bolt are the lines of zoo.cfg that choose the store on disk, with so little memory
// and so short a time that its file is in use all the time.
func bolt(more map[string]string) map[string]string {
	cfg := map[string]string{
		"storage": "bolt", "zkcore.storage.bolt.cacheBytes": "1048576", "zkcore.storage.bolt.gatherRecords": "300",
		"zkcore.storage.bolt.flushIntervalMs": "100", "snapCount": "500",
	}
	for k, v := range more {
		cfg[k] = v
	}
	return cfg
}

func storeFile(s *harness.Server) string {
	return filepath.Join(s.DataDir, "version-2", "storage-bolt", "tree.db")
}

// TestBoltKillStandalone kills a server whose tree is on disk in the middle of writes.
// It begins with what its store has kept.
func TestBoltKillStandalone(t *testing.T) {
	e := harness.Start(t, harness.Options{Extra: bolt(nil)})
	s := e.Servers[0]
	l := startLoad(t, e, 4, "/load")
	for range 5 {
		l.waitAcked(400)
		s.Kill9()
		s.Restart()
	}
	l.waitAcked(100)
	l.finish()
	l.check(s, "/load")
	s.Restart()
	l.check(s, "/load")
	if n := strings.Count(s.Log(), "state opened in the store"); n < 5 {
		t.Errorf("%d of 6 starts began with the store's state", n)
	}
	m, err := s.Monitor()
	if err != nil || m["zk_digest_mismatches_count"] != "0" {
		t.Errorf("%v, %s digest mismatches", err, m["zk_digest_mismatches_count"])
	}
}

// TestBoltReplayIsBounded: what a killed server has to read from its log is at most what may gather, whatever
// it has written, and however seldom it writes its file for the time that passed.
func TestBoltReplayIsBounded(t *testing.T) {
	const bound = 100 // each create is one record at least
	e := harness.Start(t, harness.Options{Extra: bolt(map[string]string{
		"zkcore.storage.bolt.gatherRecords": strconv.Itoa(bound), "zkcore.storage.bolt.flushIntervalMs": "3600000", "snapCount": "100000",
	})})
	s := e.Servers[0]
	c := connect(t, s.Addr())
	opened := regexp.MustCompile(`state opened in the store.*\bzxid=0x([0-9a-f]+)`)
	written := 0
	for range 3 {
		var last int64
		for range 2*bound + rand.IntN(bound) {
			last = must(t, c, client.CreateOp{Path: fmt.Sprintf("/n%05d", written)}).Zxid
			written++
		}
		s.Kill9()
		before := len(opened.FindAllString(s.Log(), -1))
		s.Restart()
		lines := opened.FindAllStringSubmatch(s.Log(), -1)
		if len(lines) != before+1 {
			t.Fatalf("%d starts began with the store's state, want %d", len(lines), before+1)
		}
		at, err := strconv.ParseInt(lines[before][1], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d txns to replay", last-at)
		if last-at > bound {
			t.Errorf("%d txns were in the log alone, want at most %d", last-at, bound)
		}
		if n := len(must(t, c, client.ChildrenOp{Path: "/"}).Children); n != written+1 { // and /zookeeper
			t.Errorf("%d znodes, want %d", n, written+1)
		}
	}
}

// TestBoltKillEnsemble does it to the servers of an ensemble, of which one has its
// tree in memory, in turn and all at once; then one loses everything, and gets the
// leader's state.
func TestBoltKillEnsemble(t *testing.T) {
	e := harness.New(t, harness.Options{Servers: 3, Extra: bolt(nil)})
	e.Servers[0].Extra = map[string]string{"storage": "mem"}
	for _, s := range e.Servers {
		e.WriteConfig(s)
		s.Start()
	}
	e.Await()
	l := startLoad(t, e, 4, "/load")
	for _, s := range e.Servers {
		l.waitAcked(200)
		s.Kill9()
		l.waitAcked(100)
		s.Start()
		e.Await()
	}
	killAll(t, e)
	l.waitAcked(200)
	lost := e.Servers[2]
	lost.Kill9()
	if err := os.RemoveAll(filepath.Join(lost.DataDir, "version-2")); err != nil {
		t.Fatal(err)
	}
	lost.Start()
	e.Await()
	l.waitAcked(100)
	l.finish()
	for _, s := range e.Servers {
		l.check(s, "/load")
	}
	sameTrees(t, e)
	// What it got survives it.
	lost.Restart()
	e.Await()
	l.check(lost, "/load")
}

// tool runs zkcore as a tool on the files of a server that is down.
func tool(t *testing.T, s *harness.Server, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(harness.Binary(t), append(args, "--config="+s.Config)...).CombinedOutput()
	return string(out), err
}

// TestStorageMoves takes a server from memory to disk and back, with and without the
// tool, and loses nothing on the way.
func TestStorageMoves(t *testing.T) {
	e := harness.Start(t, harness.Options{Extra: bolt(map[string]string{"storage": "mem"})})
	s := e.Servers[0]
	c := connect(t, s.Addr())
	secret := "/secret"
	must(t, c, client.CreateOp{Path: "/moves"})
	must(t, c, client.CreateOp{Path: secret, Data: []byte("hidden")})
	written := 0
	write := func(n int) {
		t.Helper()
		for range n {
			must(t, c, client.CreateOp{Path: fmt.Sprintf("/moves/n%05d", written), Data: []byte(fmt.Sprint(written))})
			written++
		}
	}
	check := func(when string) {
		t.Helper()
		must(t, c, client.SyncOp{Path: "/"})
		names := must(t, c, client.ChildrenOp{Path: "/moves"}).Children
		if len(names) != written {
			t.Fatalf("%s: %d znodes of %d", when, len(names), written)
		}
		for range 20 {
			i := rand.IntN(written)
			if got := string(must(t, c, client.GetOp{Path: fmt.Sprintf("/moves/n%05d", i)}).Data); got != fmt.Sprint(i) {
				t.Fatalf("%s: znode %d holds %q", when, i, got)
			}
		}
	}
	session := c.Session().ID
	move := func(to string, tools ...[]string) {
		t.Helper()
		s.Stop()
		for _, args := range tools {
			if out, err := tool(t, s, args...); err != nil {
				t.Fatalf("%v: %v\n%s", args, err, out)
			}
		}
		s.Extra = map[string]string{"storage": to}
		e.WriteConfig(s)
		s.Restart()
	}
	write(700)
	move("bolt")
	check("imported into bolt")
	write(700)
	move("mem") // from the newest snapshot and the log
	check("back in memory")
	write(700)
	move("bolt") // which is older than the newest snapshot by now
	check("in bolt again")
	write(100)
	move("bolt", []string{"storage", "check"}, []string{"storage", "compact"}, []string{"storage", "check"})
	check("compacted")
	write(100)
	move("mem", []string{"snapshot"})
	check("back in memory through a snapshot")
	if c.Session().ID != session {
		t.Error("the session was lost on the way")
	}
	if out, err := tool(t, s, "storage", "check"); err == nil {
		t.Errorf("a tool works on the files of a server that runs: %s", out)
	}
}

// TestBoltDamage damages the file of a server that is down. It serves nothing of it,
// and makes it anew from snapshot and log.
func TestBoltDamage(t *testing.T) {
	e := harness.Start(t, harness.Options{Extra: bolt(nil)})
	s := e.Servers[0]
	l := startLoad(t, e, 4, "/load")
	l.waitAcked(1500)
	l.finish()
	rnd := rand.New(rand.NewPCG(1, 1))
	for round := range 4 {
		s.Kill9()
		b, err := os.ReadFile(storeFile(s))
		if err != nil {
			t.Fatal(err)
		}
		switch round {
		case 0: // both heads
			clear(b[:8192])
		case 1:
			b = b[:len(b)/2]
		default: // every second page
			for at := 8192; at < len(b); at += 8192 {
				b[at+rnd.IntN(4096)] ^= 1 << rnd.IntN(8)
			}
		}
		if err := os.WriteFile(storeFile(s), b, 0o600); err != nil {
			t.Fatal(err)
		}
		// It may find it when it opens, or when it reads: then it ends, and its next
		// start knows.
		for try := 0; ; try++ {
			s.Start()
			if ok := readAll(s, l); ok {
				break
			}
			if try == 3 {
				t.Fatal("the server does not get over the damage")
			}
			s.Wait()
		}
		l.check(s, "/load")
		if !strings.Contains(s.Log(), "the store is damaged") || !strings.Contains(s.Log(), "tree.db") {
			t.Errorf("round %d: the log does not name the damage", round)
		}
	}
}

// readAll reads what a load has written, until the server ends. True: it did not.
func readAll(s *harness.Server, l *load) bool {
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	for s.Running() && s.Died() == nil {
		c, err := client.Dial(ctx, []string{s.Addr()}, sessionTimeout, client.Options{})
		if err != nil {
			return false
		}
		defer c.Abandon()
		for s.Died() == nil {
			r, err := c.Do(ctx, client.ChildrenOp{Path: "/load"})
			if err != nil {
				break
			}
			for _, name := range r.Children {
				if _, err = c.Do(ctx, client.GetOp{Path: "/load/" + name}); err != nil {
					break
				}
			}
			if err == nil {
				return s.Died() == nil
			}
			break
		}
	}
	return false
}

// TestBoltLargerThanMemory: a tree eight times as large as what the store may take of memory is written, read at
// random and read again after a start, and the server takes less than the tree has: its limit, and what every
// server takes.
func TestBoltLargerThanMemory(t *testing.T) {
	if harness.Apache() {
		return
	}
	const limit, znodes, size = 8 << 20, 32_000, 2000
	e := harness.Start(t, harness.Options{Consensus: "zab", Storage: "bolt", Extra: map[string]string{"zkcore.storage.bolt.cacheBytes": fmt.Sprint(limit)}})
	s := e.Servers[0]
	c := connect(t, s.Addr())
	writeMany(t, c, "/big", znodes, size)
	rnd := rand.New(rand.NewPCG(1, 1))
	most := int64(0)
	readSome := func() {
		t.Helper()
		for range 32 {
			var calls []*client.Call
			for range 500 {
				calls = append(calls, c.Start(client.GetOp{Path: fmt.Sprintf("/big/n%06d", rnd.IntN(znodes))}))
			}
			for _, call := range calls {
				if r := wait(t, call, "/big"); len(r.Data) != size {
					t.Fatalf("%d bytes", len(r.Data))
				}
			}
			most = max(most, s.RSS())
		}
	}
	readSome()
	s.Restart()
	if n := len(must(t, c, client.ChildrenOp{Path: "/big"}).Children); n != znodes {
		t.Fatalf("%d znodes after a start", n)
	}
	readSome()
	t.Logf("%d MiB resident at most, for %d MiB of data", most>>20, znodes*size>>20)
	if most > limit+44<<20 {
		t.Errorf("%d bytes are resident, with a limit of %d", most, limit)
	}
}
