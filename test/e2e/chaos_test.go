package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/test/harness"
)

// Environment of TestChaos.
const (
	chaosSecondsVar = "ZKCORE_CHAOS_SECONDS" // for how long to go on beginning new runs; default 30
	chaosSeedVar    = "ZKCORE_CHAOS_SEED"    // the first run's seed; the next ones follow it
)

// TestChaos hurts ensembles at random while clients of many kinds work on them:
// it kills and freezes servers, cuts and holds up what they say to each other,
// and breaks the clients' connections. Then all is healed, and what was answered
// is compared with what is there. A failure prints the seed of its run.
func TestChaos(t *testing.T) {
	number := func(name string, def uint64) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return def
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	seconds := number(chaosSecondsVar, 30)
	seed := number(chaosSeedVar, uint64(time.Now().UnixNano()/1e6%1e9))
	for start := time.Now(); ; seed++ {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) { chaos(t, seed) })
		if !ok {
			t.Fatalf("again with: %s=%d %s=1 go test -count=1 -run TestChaos ./test/e2e", chaosSeedVar, seed, chaosSecondsVar)
		}
		if time.Since(start) > time.Duration(seconds)*time.Second {
			return
		}
	}
}

// chaosTime is for how long one run is hurt.
const chaosTime = 12 * time.Second

func chaos(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	pick := func(values ...string) string { return values[rng.IntN(len(values))] }
	opt := harness.Options{Servers: 3, TickTimeMS: 300, InitLimit: 10, SyncLimit: 5, Extra: map[string]string{
		"maxClientCnxns":      "0",
		"maxSessionTimeout":   "60000",
		"snapCount":           pick("50", "500", "5000", "100000"),
		"snapshotSizeFactor":  pick("-1", "0.01", "0.33"),
		"commitLogCount":      "500",
		"txnLogSizeLimitInKb": pick("0", "16", "256"),
		"preAllocSize":        pick("64", "1024"),
		"forceSnapshotSync":   pick("false", "false", "true"),
	}}
	switch rng.IntN(4) {
	case 0:
		opt.Servers = 5
	case 1:
		opt.Observers = 1
	}
	e := harness.New(t, opt)
	n := &nemesis{t: t, e: e, rng: rng, hurt: make(map[*harness.Server]func()), frozen: make(map[*harness.Server]bool)}
	if rng.IntN(3) > 0 {
		n.wires = wireUp(t, e)
	}
	t.Logf("seed %d: %d servers, %d observers, wires %v, %v", seed, opt.Servers, opt.Observers, n.wires != nil, opt.Extra)
	for _, s := range e.Servers {
		s.Start()
	}
	e.Await()
	w := gather(t, e, seed)
	defer w.leave()
	w.goOn()

	for end := time.Now().Add(chaosTime); time.Now().Before(end) && !t.Failed(); {
		n.step(w)
	}
	n.heal()
	healed := time.Now()
	e.Await()
	w.goOn()
	t.Logf("all go on %v after the last fault", time.Since(healed).Round(time.Millisecond))
	if rng.IntN(2) == 0 && !t.Failed() {
		n.killAll()
		e.Await()
		w.goOn()
	}
	w.finish()
	t.Logf("%d answers; %s", w.acked.Load(), strings.Join(n.log, ", "))
	if !t.Failed() {
		sameTrees(t, e)
	}
	for _, s := range e.Servers {
		s.Stop()
	}
	sameLogs(t, e)
	for _, s := range e.Servers {
		for line := range strings.Lines(s.Log()) {
			if complaint(line) && !(n.frozen[s] && harness.ModulesAsProcesses() && standstill(line)) {
				t.Errorf("server %d logged: %s", s.ID, line)
			}
		}
	}
}

// standstill says that a line tells of a server that was frozen for longer than its consensus module, a
// process of its own, waits for it.
func standstill(line string) bool { return strings.Contains(line, stoodLine) }

// sameLogs reads the transaction logs of stopped servers: what one has as a zxid all
// have as that, without holes, and no client's request is in them twice.
func sameLogs(t *testing.T, e *harness.Ensemble) {
	t.Helper()
	type ask struct {
		session int64
		cxid    int32
	}
	all := make(map[consensus.Zxid][]byte)
	asked := make(map[ask]consensus.Zxid)
	for _, s := range e.Servers {
		dir := filepath.Join(s.DataDir, txnlog.VersionDir)
		snaps, err := txnlog.ListSnapshots(vfs.OS, dir)
		if err != nil || len(snaps) == 0 {
			t.Fatalf("server %d: no snapshot: %v", s.ID, err)
		}
		l, _, err := txnlog.OpenLog(vfs.OS, dir, txnlog.Options{From: snaps[0].Zxid})
		if err != nil {
			t.Fatalf("server %d: %v", s.ID, err)
		}
		r, err := l.Reader(0)
		if err != nil {
			t.Fatalf("server %d: %v", s.ID, err)
		}
		for {
			x, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("server %d: %v", s.ID, err)
			}
			if other, ok := all[x.Zxid]; ok {
				if !bytes.Equal(x.Data, other) {
					t.Errorf("server %d has another transaction as %v", s.ID, x.Zxid)
				}
				continue
			}
			all[x.Zxid] = bytes.Clone(x.Data)
			var d txn.Txn
			if err := txn.Decode(x.Data, &d); err != nil {
				t.Fatalf("server %d: %v: %v", s.ID, x.Zxid, err)
			}
			if d.Header.Cxid == 0 {
				continue // the beginning of a session, and an end that nobody asked for
			}
			a := ask{d.Header.ClientID, d.Header.Cxid}
			if other, ok := asked[a]; ok {
				t.Errorf("request %d of session 0x%x was executed twice: as %v and %v", a.cxid, a.session, other, x.Zxid)
			}
			asked[a] = x.Zxid
		}
		r.Close()
		if err := l.Close(); err != nil {
			t.Fatalf("server %d: %v", s.ID, err)
		}
	}
}

// complaint says whether a log line tells of something that must not happen.
func complaint(line string) bool {
	for _, word := range []string{"panic", "goroutine ", "fatal error", "invariant", "digest mismatch", "level=ERROR", " ERROR ", "DATA RACE"} {
		if strings.Contains(line, word) {
			return true
		}
	}
	return false
}

// A nemesis hurts an ensemble, and heals it again.
type nemesis struct {
	t     *testing.T
	e     *harness.Ensemble
	rng   *rand.Rand
	wires wires // nil: the servers are connected directly
	hurt  map[*harness.Server]func()
	// frozen are those that were stopped for a while.
	frozen map[*harness.Server]bool
	log    []string
}

func (n *nemesis) note(format string, args ...any) {
	n.log = append(n.log, fmt.Sprintf(format, args...))
}

// leader is the server that leads, as far as one that is well says so.
func (n *nemesis) leader() *harness.Server {
	for _, s := range n.e.Servers {
		if n.hurt[s] != nil {
			continue
		}
		if mode, err := s.Mode(); err == nil && mode == "leader" {
			return s
		}
	}
	return nil
}

// victim is the leader half of the time.
func (n *nemesis) victim() *harness.Server {
	if n.rng.IntN(2) == 0 {
		if l := n.leader(); l != nil {
			return l
		}
	}
	return n.e.Servers[n.rng.IntN(len(n.e.Servers))]
}

// step does one thing and waits a little.
func (n *nemesis) step(w *crowd) {
	limit := (len(n.e.Servers) - 1) / 2
	if n.rng.IntN(6) == 0 {
		limit = len(n.e.Servers)
	}
	switch k := n.rng.IntN(12); {
	case len(n.hurt) > 0 && (len(n.hurt) >= limit || k < 4):
		n.healOne()
	case k == 0:
		n.killAll()
	case k < 4:
		n.kill(n.victim())
	case k < 7:
		n.freeze(n.victim())
	case k < 10 && n.wires != nil:
		n.disturb(n.victim())
	default:
		n.drop(w)
	}
	// Short pauses and long ones: some faults shall meet an election, some a quiet ensemble.
	time.Sleep(time.Duration(n.rng.IntN(1<<n.rng.IntN(12))) * time.Millisecond)
}

func (n *nemesis) healOne() {
	var list []*harness.Server
	for _, s := range n.e.Servers {
		if n.hurt[s] != nil {
			list = append(list, s)
		}
	}
	s := list[n.rng.IntN(len(list))]
	heal := n.hurt[s]
	delete(n.hurt, s)
	heal()
}

func (n *nemesis) heal() {
	for len(n.hurt) > 0 {
		n.healOne()
	}
}

func (n *nemesis) kill(s *harness.Server) {
	if n.hurt[s] != nil {
		return
	}
	if n.rng.IntN(4) == 0 {
		n.note("stop %d", s.ID)
		s.Stop()
	} else {
		n.note("kill %d", s.ID)
		s.Kill9()
	}
	n.hurt[s] = func() { n.note("start %d", s.ID); s.Start() }
}

// killAll is a power cut, and power again.
func (n *nemesis) killAll() {
	n.heal()
	n.note("kill all")
	for _, s := range n.e.Servers {
		if err := syscall.Kill(s.Pid(), syscall.SIGKILL); err != nil {
			n.t.Fatal(err)
		}
	}
	for _, s := range n.e.Servers {
		s.Wait()
	}
	for _, i := range n.rng.Perm(len(n.e.Servers)) {
		n.e.Servers[i].Start()
	}
}

func (n *nemesis) freeze(s *harness.Server) {
	if n.hurt[s] != nil {
		return
	}
	n.note("freeze %d", s.ID)
	n.frozen[s] = true
	s.Signal(syscall.SIGSTOP)
	n.hurt[s] = func() { n.note("thaw %d", s.ID); s.Signal(syscall.SIGCONT) }
}

// disturb does something to a server's connections with its peers: resets them,
// or holds up what goes in, out, or both, with some of the peers or all.
func (n *nemesis) disturb(s *harness.Server) {
	var peers []int
	for _, p := range n.e.Servers {
		if p != s && n.rng.IntN(4) > 0 {
			peers = append(peers, p.ID)
		}
	}
	if n.rng.IntN(2) == 0 {
		n.note("cut %d from %v", s.ID, peers)
		for _, p := range peers {
			n.wires.between(s.ID, p, func(w *wire, _ int) { w.cut() })
		}
		return
	}
	if n.hurt[s] != nil {
		return
	}
	out, in := n.rng.IntN(3) > 0, n.rng.IntN(3) > 0
	n.note("hold %d and %v (out %v, in %v)", s.ID, peers, out, in)
	hold := func(on bool) {
		for _, p := range peers {
			n.wires.between(s.ID, p, func(w *wire, way int) {
				if out {
					w.hold(way, on)
				}
				if in {
					w.hold(1-way, on)
				}
			})
		}
	}
	hold(true)
	cut := n.rng.IntN(2) == 0
	n.hurt[s] = func() {
		n.note("let go %d (cut %v)", s.ID, cut)
		if cut {
			for _, p := range peers {
				n.wires.between(s.ID, p, func(w *wire, _ int) { w.cut() })
			}
		}
		hold(false)
	}
}

// drop breaks some of the clients' connections: their sessions move.
func (n *nemesis) drop(w *crowd) {
	w.mu.Lock()
	actors := slices.Clone(w.actors)
	w.mu.Unlock()
	n.note("drop clients")
	for _, a := range actors {
		if n.rng.IntN(3) == 0 {
			a.c.Drop()
		}
	}
}
