package nemesis

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/test/harness"
	"github.com/zkcore/zkcore/test/nemesis/netns"
)

var (
	seedFlag      = flag.Int64("nemesis.seed", -1, "run the plan of this seed and no other")
	runsFlag      = flag.Int("nemesis.runs", 6, "how many runs with fresh seeds TestNemesis makes, half of them in each setting")
	lengthFlag    = flag.Duration("nemesis.length", 25*time.Second, "for how long there are faults in a run")
	forFlag       = flag.Duration("nemesis.for", 0, "for how long TestSoak begins new runs; 0 skips it")
	consensusFlag = flag.String("nemesis.consensus", "", "the consensus module of all runs but those of TestRaft; empty: zab")
	failoverFlag  = flag.Int("nemesis.failover", 0, "how many times TestFailover does each of its harms; 0 skips it")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(binaryVar) == "" {
		// Before it enters a network where nothing can be fetched.
		bin, err := harness.Build("failpoints")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Setenv(binaryVar, bin)
	}
	netns.Enter()
	os.Exit(m.Run())
}

// possible skips a run whose setting this machine can't make.
func possible(t *testing.T, p *Plan) {
	if _, ok := netns.Inside(); ok || p.Proxies {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("no network namespaces: %s", netns.Why())
	}
	t.Skipf("no network namespaces, so no runs in them: %s", netns.Why())
}

func oneRun(t *testing.T, seed uint64) bool { return oneRunOf(t, seed, *consensusFlag, *lengthFlag) }

func oneRunOf(t *testing.T, seed uint64, consensus string, length time.Duration) bool {
	return t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
		p := NewPlan(seed, length)
		p.Consensus = consensus
		if harness.ModulesAsProcesses() {
			p.hurtModules(length)
		}
		possible(t, p)
		run(t, p, length)
	})
}

// fresh is a seed that nobody has seen, short enough to be typed.
func fresh() uint64 { return rand.Uint64N(1e9) }

// TestNemesis makes runs with fresh seeds.
func TestNemesis(t *testing.T) {
	if *seedFlag >= 0 {
		oneRun(t, uint64(*seedFlag))
		return
	}
	for i := range *runsFlag {
		oneRun(t, fresh()&^1|uint64(i&1))
	}
}

// TestRaft makes one run with a fresh seed in each setting, under Raft.
func TestRaft(t *testing.T) {
	if *seedFlag >= 0 || *consensusFlag != "" {
		return // TestNemesis runs what was asked for
	}
	for i := range 2 {
		oneRunOf(t, fresh()&^1|uint64(i), "raft", *lengthFlag*3/5)
	}
}

// TestKept runs seeds that found something once: testdata/seeds has one a line, and what it found.
func TestKept(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "seeds"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		seed, err := strconv.ParseUint(line, 10, 64)
		if err != nil {
			t.Fatalf("testdata/seeds: %v", err)
		}
		oneRun(t, seed)
	}
}

// TestSoak makes runs until the time is over, and says how many.
func TestSoak(t *testing.T) {
	if *forFlag == 0 {
		t.Skip("no -nemesis.for=1h")
	}
	begun := time.Now()
	var failed []uint64
	n := 0
	for ; time.Since(begun) < *forFlag; n++ {
		seed := fresh()&^1 | uint64(n&1)
		if !oneRun(t, seed) {
			failed = append(failed, seed)
		}
	}
	t.Logf("%d runs in %v; failed: %v", n, time.Since(begun).Round(time.Second), failed)
}

// TestFailover measures, and prints what it has measured.
func TestFailover(t *testing.T) {
	if *failoverFlag == 0 {
		t.Skip("no -nemesis.failover=5")
	}
	failover(t, *failoverFlag, *consensusFlag)
}
