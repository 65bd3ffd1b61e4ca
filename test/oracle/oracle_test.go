package oracle

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/test/harness"
)

var (
	seedsFlag = flag.Int("oracle.seeds", 0, "fresh seeds for each pair of servers; 0 goes by time")
	timeFlag  = flag.Duration("oracle.time", 75*time.Second, "without -oracle.seeds: how long all pairs of servers together get fresh seeds")
	seedFlag  = flag.Uint64("oracle.seed", 0, "run this seed only")
	stepsFlag = flag.Int("oracle.steps", 150, "steps of a run")
	fileFlag  = flag.String("oracle.file", "", "run this sequence only")
)

// leastSeeds is how many fresh seeds run on a machine that is too busy for more.
const leastSeeds = 5

// pairs are what is compared, and which part of the time each gets.
var pairs = []struct {
	name               string
	release            string
	servers            int
	consensus, storage string
	share              float64
}{
	{"3.9.5", "3.9.5", 1, "zab", "mem", 0.25},
	{"3.9.5-bolt", "3.9.5", 1, "zab", "bolt", 0.12},
	{"3.9.5-ensemble", "3.9.5", 3, "zab", "mem", 0.18},
	{"3.9.5-raft", "3.9.5", 3, "raft", "bolt", 0.15},
	{"debian", "debian", 1, "zab", "mem", 0.16},
	// The same history through all modules gives the same answers (I28).
	{"same-zab-bolt", "zkcore", 3, "zab", "bolt", 0.02},
	{"same-raft-mem", "zkcore", 3, "raft", "mem", 0.02},
	{"same-raft-bolt", "zkcore", 3, "raft", "bolt", 0.02},
	{"same-processes-zab-mem", "zkcore", 3, "process:zab", "process:mem", 0.02},
	{"same-processes-zab-bolt", "zkcore", 3, "process:zab", "process:bolt", 0.02},
	{"same-processes-raft-mem", "zkcore", 3, "process:raft", "process:mem", 0.02},
	{"same-processes-raft-bolt", "zkcore", 3, "process:raft", "process:bolt", 0.02},
}

func TestOracle(t *testing.T) {
	for _, pr := range pairs {
		t.Run(pr.name, func(t *testing.T) {
			if pr.release == "zkcore" && harness.Apache() {
				t.Skip("Apache has no modules to choose")
			}
			r := &releases[slices.IndexFunc(releases, func(r release) bool { return r.name == pr.release })]
			o := &oracle{t: t, release: r, servers: pr.servers, consensus: pr.consensus, storage: pr.storage, name: pr.name}
			o.restart()
			switch {
			case *fileFlag != "":
				s, err := readSequence(*fileFlag)
				if err != nil {
					t.Fatal(err)
				}
				o.try(*fileFlag, s.Steps)
			case *seedFlag != 0:
				o.seed(*seedFlag)
			default:
				o.kept()
				o.fresh(time.Duration(float64(*timeFlag) * pr.share))
			}
			o.report()
		})
	}
}

// An oracle runs sequences on one pair of services.
type oracle struct {
	t                  *testing.T
	name               string
	release            *release
	servers            int
	consensus, storage string
	pair               *pair
	differed           bool // the last run; the servers may not be alike any more
	runs               int
	took               time.Duration
	total              pair // counts of pairs that are gone
}

func (o *oracle) restart() {
	if o.pair != nil {
		o.pair.stop()
		o.count()
	}
	o.pair = o.release.start(o.t, o.servers, o.consensus, o.storage)
}

func (o *oracle) count() {
	p := o.pair
	o.total.requests += p.requests
	o.total.frames += p.frames
	o.total.events += p.events
	o.total.expired += p.expired
	if o.total.allowed == nil {
		o.total.allowed = make(map[string]int)
	}
	for why, n := range p.allowed {
		o.total.allowed[why] += n
	}
}

func (o *oracle) report() {
	o.count()
	n := &o.total
	o.t.Logf("%s: %d runs in %v: %d requests, %d replies, events and znodes equal, %d of them events; %d sessions expired",
		o.name, o.runs, o.took.Round(time.Millisecond), n.requests, n.frames, n.events, n.expired)
	for _, why := range slices.Sorted(maps.Keys(n.allowed)) {
		o.t.Logf("%s: allowed %d times: %s", o.name, n.allowed[why], why)
	}
}

// kept runs the sequences of testdata.
func (o *oracle) kept() {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		o.t.Fatalf("no sequences in testdata: %v", err)
	}
	for _, name := range files {
		s, err := readSequence(name)
		if err != nil {
			o.t.Fatal(err)
		}
		if s.Against == "" || s.Against == o.release.name {
			o.try(name, s.Steps)
		}
	}
}

// fresh runs new seeds.
func (o *oracle) fresh(budget time.Duration) {
	first := rand.Uint64N(1 << 40)
	o.t.Logf("%s: seeds from %d", o.name, first)
	for n := uint64(0); ; n++ {
		if *seedsFlag > 0 && n >= uint64(*seedsFlag) || *seedsFlag == 0 && n >= leastSeeds && o.took > budget {
			return
		}
		o.seed(first + n)
	}
}

func (o *oracle) seed(seed uint64) {
	o.try(fmt.Sprintf("seed %d", seed), generate(seed, o.pair.rules, *stepsFlag))
}

// try runs steps, and ends the test with the shortest ones that show it if the two sides differ.
func (o *oracle) try(what string, steps []step) {
	o.t.Helper()
	start := time.Now()
	defer func() { o.took += time.Since(start) }()
	o.runs++
	err := o.once(steps)
	if err == nil {
		return
	}
	var d *difference
	if !errors.As(err, &d) {
		o.t.Fatalf("%s: %s: %v", o.name, what, err)
	}
	o.t.Errorf("%s: %s: %v\n%s\nagain: %s", o.name, what, d, o.around(steps, d.step), o.again(what))
	short, d := o.minimize(steps, d)
	seq := &sequence{About: what + ": " + firstLine(d.text), Steps: short}
	file := filepath.Join(os.TempDir(), fmt.Sprintf("oracle-%d.json", os.Getpid()))
	if err := os.WriteFile(file, seq.format(), 0o644); err != nil {
		o.t.Error(err)
	}
	o.t.Fatalf("%s: the shortest that differs, left in %s for testdata:\n%s%v", o.name, file, seq.format(), d)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

func (o *oracle) again(what string) string {
	cmd := fmt.Sprintf("go test ./test/oracle -count=1 -run 'Oracle/%s$' ", o.name)
	if seed, ok := strings.CutPrefix(what, "seed "); ok {
		cmd += fmt.Sprintf("-oracle.seed=%s -oracle.steps=%d", seed, *stepsFlag)
	} else {
		cmd += "-oracle.file=" + what
	}
	return cmd
}

func (o *oracle) around(steps []step, i int) string {
	s := sequence{Steps: steps[max(0, i-2):min(i+1, len(steps))]}
	return string(s.format())
}

// once runs steps on servers that are alike and swept.
func (o *oracle) once(steps []step) error {
	if o.differed {
		o.restart()
		o.differed = false
	}
	alike, err := o.pair.sweep()
	if err != nil {
		return fmt.Errorf("behind the run before: %w", err)
	}
	if !alike {
		return errors.New("behind the run before: what no client can delete is not alike")
	}
	err = o.pair.run(steps)
	o.differed = err != nil
	return err
}

// patienceToMinimize bounds how long a failing run is made shorter.
const patienceToMinimize = 3 * time.Minute

// minimize leaves out steps, then requests, then operations of multis, as long as what is left differs
// in some way.
func (o *oracle) minimize(steps []step, d *difference) ([]step, *difference) {
	end := time.Now().Add(patienceToMinimize)
	steps = steps[:min(d.step+1, len(steps))]
	attempt := func(shorter []step) bool {
		var found *difference
		if time.Now().After(end) || !errors.As(o.once(shorter), &found) {
			return false
		}
		steps, d = shorter, found
		steps = steps[:min(d.step+1, len(steps))]
		return true
	}
	fewer := func(size int) {
		for ; size > 0; size /= 2 {
			for at := 0; at < len(steps); {
				if !attempt(slices.Delete(slices.Clone(steps), at, min(at+size, len(steps)))) {
					at += size
				}
			}
		}
	}
	fewer(len(steps) / 2)
	for i := 0; i < len(steps); i++ {
		for k := 0; i < len(steps) && k < len(steps[i].Requests); {
			shorter := slices.Clone(steps)
			shorter[i].Requests = slices.Delete(slices.Clone(steps[i].Requests), k, k+1)
			if !attempt(shorter) {
				k++
			}
		}
		for k := 0; i < len(steps) && k < len(steps[i].Requests); k++ {
			for m := 0; i < len(steps) && k < len(steps[i].Requests) && m < len(steps[i].Requests[k].Ops); {
				shorter := slices.Clone(steps)
				shorter[i].Requests = slices.Clone(steps[i].Requests)
				r := &shorter[i].Requests[k]
				r.Ops = slices.Delete(slices.Clone(r.Ops), m, m+1)
				if !attempt(shorter) {
					m++
				}
			}
		}
	}
	fewer(1)
	return steps, d
}
