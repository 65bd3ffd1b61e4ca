package sim

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/proto"
)

var (
	seedsFlag = flag.Int("sim.seeds", 0, "how many seeds to run; 0: what the test says")
	freshFlag = flag.Bool("sim.fresh", false, "TestSim runs seeds that nobody has seen before")
	harshFlag = flag.Bool("sim.harsh", false, "the seeds of TestSim are those whose plans are about power and disks")
	seedFlag  = flag.Uint64("sim.seed", 0, "run this seed alone, and write its trace to -sim.trace")
	traceFlag = flag.String("sim.trace", "", "the file for the trace of -sim.seed; empty: the end of it is shown")
	module    = flag.String("sim.module", "", "the consensus module; empty: each in its turn")
	storeFlag = flag.String("sim.storage", "", "the storage module; empty: each has its share of the seeds")
	forFlag   = flag.Duration("sim.for", 0, "TestSoak runs for so long")
)

// chosen are the modules to run.
func chosen(t *testing.T) []Module {
	if *module == "" {
		return Modules
	}
	for _, m := range Modules {
		if m.Name == *module {
			return []Module{m}
		}
	}
	t.Fatalf("-sim.module: there is no module %q", *module)
	return nil
}

// stores are those to run on.
func stores(t *testing.T) []Store {
	if *storeFlag == "" {
		return Stores
	}
	for _, s := range Stores {
		if s.Name == *storeFlag {
			s.Share = 100
			return []Store{s}
		}
	}
	t.Fatalf("-sim.storage: there is no store %q", *storeFlag)
	return nil
}

// show fails the test with what is known of a run.
func show(t *testing.T, r *Result) {
	t.Helper()
	again := Run(named(r.Module), storeNamed(r.Store), r.Seed, true)
	trace := again.Trace
	if *traceFlag != "" {
		if err := os.WriteFile(*traceFlag, []byte(trace), 0o644); err != nil {
			t.Error(err)
		}
	}
	lines := strings.Split(trace, "\n")
	t.Errorf("seed %d: %v\n\n%s\n\nagain, with all of its trace:\n  go test ./test/sim -run TestSim -sim.module=%s -sim.storage=%s -sim.seed=%d -sim.trace=trace.txt",
		r.Seed, r.Err, strings.Join(lines[max(0, len(lines)-40):], "\n"), r.Module, r.Store, r.Seed)
}

func named(name string) Module {
	for _, m := range Modules {
		if m.Name == name {
			return m
		}
	}
	panic("no module " + name)
}

func storeNamed(name string) Store {
	for _, s := range Stores {
		if s.Name == name {
			return s
		}
	}
	panic("no store " + name)
}

// many runs seeds on all processors until next says that there is none, and returns what they
// come to; it stops at the first failure.
func many(t *testing.T, m Module, st Store, next func() (uint64, bool)) Stats {
	t.Helper()
	var (
		mu     sync.Mutex
		sum    = Stats{Kinds: map[string]int{}, Done: map[string]int{}}
		runs   int
		failed atomic.Pointer[Result]
		wg     sync.WaitGroup
	)
	// A run's heap is small and short-lived: collecting less often saves a third of the time.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	began := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for failed.Load() == nil {
				mu.Lock()
				seed, ok := next()
				mu.Unlock()
				if !ok {
					return
				}
				r := Run(m, st, seed, false)
				if r.Err == nil && seed%100 == 0 {
					if b := Run(m, st, seed, false); b.Hash != r.Hash {
						r.Err = fmt.Errorf("two runs of the seed differ")
					}
				}
				if r.Err != nil {
					failed.CompareAndSwap(nil, r)
					return
				}
				mu.Lock()
				runs++
				sum.add(&r.Stats)
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	if r := failed.Load(); r != nil {
		show(t, r)
		return sum
	}
	took := time.Since(began)
	t.Logf("%s on %s: %d seeds in %v: %v; %.1f simulated hours a minute", m.Name, st.Name, runs, took.Round(time.Second), &sum,
		float64(sum.Nanos)/3.6e12/took.Minutes())
	return sum
}

// seedsPerRun is how many seeds TestSim runs in all, and the least for each module.
const seedsPerRun, seedsPerModule = 1200, 600

// TestSim runs the first seeds, the same ones each time: what it says of a commit it says
// everywhere. Those that nobody has seen before come with -sim.fresh, and with TestSoak.
func TestSim(t *testing.T) {
	for _, m := range chosen(t) {
		n, first := max(seedsPerRun/len(Modules), seedsPerModule), uint64(1)
		if *seedsFlag > 0 {
			n = *seedsFlag
		}
		if *freshFlag {
			first = fresh()
		}
		if *harshFlag {
			first += Harsh
		}
		hurt, done, ran := map[string]int{}, map[string]int{}, 0
		for _, st := range stores(t) {
			if *seedFlag != 0 {
				r := Run(m, st, *seedFlag, true)
				t.Logf("%v", &r.Stats)
				if r.Err != nil {
					show(t, r)
				}
				continue
			}
			n := n * st.Share / 100
			t.Logf("%s on %s: %d seeds from %d on", m.Name, st.Name, n, first)
			end := first + uint64(n)
			sum := many(t, m, st, func() (uint64, bool) {
				first++
				return first - 1, first <= end
			})
			first = end
			ran += n
			for k, n := range sum.Kinds {
				hurt[k] += n
			}
			for k, n := range sum.Done {
				done[k] += n
			}
			if st.OnDisk && n >= 100 && !t.Failed() && sum.Kinds[damagedStore] == 0 {
				t.Errorf("nobody was hurt by a %s", damagedStore)
			}
		}
		full := ran >= seedsPerModule*9/10 && !*harshFlag
		for _, k := range slices.Concat(faultKinds, diskKinds) {
			if full && !t.Failed() && hurt[k.name] == 0 {
				t.Errorf("nobody was hurt by a %s", k.name)
			}
		}
		for _, op := range allOps {
			if full && !t.Failed() && done[op.String()] == 0 {
				t.Errorf("nobody was answered a %s", op)
			}
		}
		for _, what := range ofLocals {
			if full && !t.Failed() && done[what] == 0 {
				t.Errorf("there were no %s", what)
			}
		}
		t.Logf("%s: answered without an error: %v", m.Name, done)
	}
}

// TestHarsh runs seeds whose plans are about power and disks: the first ones, as TestSim does.
func TestHarsh(t *testing.T) {
	for _, m := range chosen(t) {
		seed := uint64(Harsh)
		for _, st := range stores(t) {
			end := seed + uint64(harshPerModule*st.Share/100)
			sum := many(t, m, st, func() (uint64, bool) {
				seed++
				return seed, seed <= end
			})
			seed = end
			if !t.Failed() && sum.Kinds[newDisk] == 0 {
				t.Errorf("%s on %s: nobody was hurt by a %s", m.Name, st.Name, newDisk)
			}
		}
	}
}

// harshPerModule is how many seeds TestHarsh runs for each module.
const harshPerModule = 300

// allOps are the operations that clients have; reconfig comes to nothing, and pings have their own way.
var allOps = []proto.Op{
	proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL, proto.OpDelete, proto.OpSetData, proto.OpSetACL, proto.OpMulti,
	proto.OpExists, proto.OpGetData, proto.OpGetACL, proto.OpGetChildren, proto.OpGetChildren2, proto.OpMultiRead, proto.OpGetEphemerals,
	proto.OpGetAllChildrenNum, proto.OpSync, proto.OpWhoAmI, proto.OpAddWatch, proto.OpCheckWatches, proto.OpRemoveWatches,
	proto.OpSetWatches, proto.OpSetWatches2, proto.OpAuth, proto.OpSASL, proto.OpCloseSession,
}

// fresh is a seed that nobody has seen before.
func fresh() uint64 { return uint64(time.Now().UnixNano()) / 1000 % 1e12 }

// TestKept runs the seeds that once found something. Each line of the file has a seed and
// what it found; a seed that found it on a certain store has a slash and its name.
func TestKept(t *testing.T) {
	f, err := os.Open("testdata/seeds")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seeds := map[string][]uint64{}
	for in := bufio.NewScanner(f); in.Scan(); {
		line, _, _ := strings.Cut(in.Text(), " ")
		if line == "" || line[0] == '#' {
			continue
		}
		no, store, _ := strings.Cut(line, "/")
		if store == "" {
			store = Stores[0].Name
		}
		seed, err := strconv.ParseUint(no, 10, 64)
		if err != nil || !slices.ContainsFunc(Stores, func(s Store) bool { return s.Name == store }) {
			t.Fatalf("testdata/seeds: %q is no seed, or is one on no store: %v", line, err)
		}
		seeds[store] = append(seeds[store], seed)
	}
	if len(seeds) == 0 {
		t.Fatal("testdata/seeds is empty")
	}
	for _, m := range chosen(t) {
		for _, st := range stores(t) {
			seeds, i := seeds[st.Name], -1
			many(t, m, st, func() (uint64, bool) {
				if i++; i >= len(seeds) {
					return 0, false
				}
				return seeds[i], true
			})
		}
	}
}

// TestRepeats: the same seed is the same run.
func TestRepeats(t *testing.T) {
	for _, m := range chosen(t) {
		for _, st := range stores(t) {
			for seed := range uint64(8) {
				if a, b := Run(m, st, seed, false), Run(m, st, seed, true); a.Hash != b.Hash {
					t.Errorf("%s on %s: two runs of seed %d differ", m.Name, st.Name, seed)
				} else if c := Run(m, st, seed+100, false); c.Hash == a.Hash {
					t.Errorf("%s on %s: seeds %d and %d are the same run", m.Name, st.Name, seed, seed+100)
				}
			}
		}
	}
}

// TestSoak runs seeds for as long as it is told, and reports every minute.
func TestSoak(t *testing.T) {
	if *forFlag == 0 {
		t.Log("to be run with -sim.for=1h")
		return
	}
	end := time.Now().Add(*forFlag)
	seed, other := fresh(), fresh()+Harsh
	for time.Now().Before(end) && !t.Failed() {
		for _, m := range chosen(t) {
			for _, st := range stores(t) {
				first := seed + 1
				round := time.Now().Add(min(time.Minute, time.Until(end)))
				sum := many(t, m, st, func() (uint64, bool) {
					seed++
					return seed, time.Now().Before(round)
				})
				fmt.Printf("%s %s on %s: seeds %d to %d: %v\n", time.Now().Format(time.TimeOnly), m.Name, st.Name, first, seed, &sum)
			}
		}
		seed, other = other, seed // each second round is harsh
	}
}
