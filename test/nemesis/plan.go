package nemesis

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A Plan is all that is drawn of a run before it begins. The same seed and length make the same
// plan; what is only known later - who leads - is looked up when a step is carried out.
type Plan struct {
	Seed    uint64
	Proxies bool // the setting: behind proxies, or in namespaces
	Servers int
	Disks   bool // each server has a small disk of its own
	Workers int
	Lockers int
	PaceUS  int // how long a worker rests at most
	Config  map[string]string
	Steps   []Step

	Consensus string // not drawn; empty: the server's default
}

// A Step is a fault.
type Step struct {
	At   time.Duration // from the first fault's possible time on
	For  time.Duration
	Kind string
	// Whom it is for: the leader, if Leader says so and there is one, else Server.
	Leader bool
	Server int
	Sub    uint64 // the seed of what is drawn when it is carried out
}

func (s Step) String() string {
	whom := fmt.Sprintf("server %d", s.Server)
	if s.Leader {
		whom = fmt.Sprintf("the leader (or %d)", s.Server)
	}
	return fmt.Sprintf("%6.2fs +%5.2fs  %s, %s", s.At.Seconds(), s.For.Seconds(), s.Kind, whom)
}

// kinds are the faults, with how common each is where nothing is drawn, and how long it lasts: about
// that, and at times much longer or shorter.
var kinds = []struct {
	name    string
	weight  int
	typical time.Duration
}{
	{"kill", 6, time.Second},
	{"kill at a failpoint", 10, 3 * time.Second},
	{"kill in the start", 4, 2 * time.Second},
	{"power cut", 2, 200 * time.Millisecond},
	{"stop", 6, 3 * time.Second},
	{"halves", 3, 2 * time.Second},
	{"one node", 5, 2 * time.Second},
	{"bridge", 2, 2 * time.Second},
	{"one-way", 5, 2 * time.Second},
	{"ring", 2, 2 * time.Second},
	{"clients only", 2, 2 * time.Second},
	{"swizzle", 2, 3 * time.Second},
	{"half-open", 3, time.Second},
	{"reset", 5, 300 * time.Millisecond},
	{"mid-frame", 4, 600 * time.Millisecond},
	{"slow link", 3, 3 * time.Second},
	{"full disk", 3, 3 * time.Second},
	{"nearly full disk", 1, 2 * time.Second},
	{"slow disk", 4, 2 * time.Second},
	{"bad disk", 2, time.Second},
	{"damage", 2, 500 * time.Millisecond},
	{"rolling restart", 1, time.Second},
	{"storm", 2, time.Second},
}

// Faults of a plan whose modules are processes: a module's process ends, or hangs for a while.
const (
	moduleKilled  = "a module is killed"
	moduleStopped = "a module is stopped"
)

// hurtModules adds such faults to a plan. They are drawn apart: all else of the plan stays as it is
// with modules that are built in.
func (p *Plan) hurtModules(faults time.Duration) {
	rng := rand.New(rand.NewPCG(p.Seed, 2))
	p.Config["zkcore.plugin.timeoutMs"] = []string{"1500", "3000"}[rng.IntN(2)]
	p.Config["zkcore.plugin.maxCrashes"] = "1000"
	for at := time.Duration(rng.IntN(2000)) * time.Millisecond; at < faults; at += time.Duration(500+rng.IntN(5000)) * time.Millisecond {
		s := Step{At: at, Leader: rng.IntN(2) == 0, Server: 1 + rng.IntN(p.Servers), Sub: rng.Uint64(), Kind: moduleKilled}
		s.For = 2 * time.Second // to begin anew
		if rng.IntN(2) == 0 {
			s.Kind = moduleStopped
			s.For = time.Duration(100+rng.IntN(6000)) * time.Millisecond // for some shorter than the server waits
		}
		s.For = min(s.For, faults-at)
		p.Steps = append(p.Steps, s)
	}
	slices.SortStableFunc(p.Steps, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
}

// settle is how long the load runs before faults may begin, when it is as strong as it must be.
const settle = time.Second

// NewPlan draws a plan whose faults go on for that long.
func NewPlan(seed uint64, faults time.Duration) *Plan {
	rng := rand.New(rand.NewPCG(seed, 1))
	pick := func(values ...string) string { return values[rng.IntN(len(values))] }
	p := &Plan{
		Seed: seed, Proxies: seed%2 == 1, Servers: 3, Disks: rng.IntN(2) == 0,
		Workers: 8 + rng.IntN(6), Lockers: 3, PaceUS: []int{4000, 10_000, 20_000}[rng.IntN(3)],
		Config: map[string]string{
			"maxClientCnxns":      "0",
			"maxSessionTimeout":   "60000",
			"minSessionTimeout":   "1000",
			"snapCount":           pick("50", "500", "5000", "100000"),
			"snapshotSizeFactor":  pick("-1", "0.01", "0.33"),
			"commitLogCount":      pick("10", "500"),
			"txnLogSizeLimitInKb": pick("0", "64", "512"),
			"preAllocSize":        pick("64", "1024"),
			"forceSnapshotSync":   pick("false", "false", "false", "true"),
		},
	}
	if rng.IntN(5) < 2 {
		p.Servers = 5
	}
	// Of a stream of its own: the seeds that are kept stay what they are, on another store maybe.
	// Where disks are small what is left of them is counted for the log.
	if !p.Disks && rand.New(rand.NewPCG(seed, 2)).IntN(2) == 0 {
		p.Config["storage"] = "bolt"
		p.Config["zkcore.storage.bolt.cacheBytes"] = "1048576"
		p.Config["zkcore.storage.bolt.gatherRecords"] = "300"
		p.Config["zkcore.storage.bolt.flushIntervalMs"] = "100"
	}
	// Swarm: a run has some kinds of fault often and others never, so that each shows what it can do.
	weights := make([]int, len(kinds))
	total := 0
	for total == 0 {
		for i, k := range kinds {
			weights[i] = k.weight * []int{0, 0, 1, 1, 2, 4}[rng.IntN(6)]
			if !p.Disks && strings.HasSuffix(k.name, "full disk") {
				weights[i] = 0
			}
			total += weights[i]
		}
	}
	hasty := 1 + rng.IntN(4) // how close the faults are
	for at := time.Duration(0); at < faults; {
		s := Step{At: at, Leader: rng.IntN(2) == 0, Server: 1 + rng.IntN(p.Servers), Sub: rng.Uint64()}
		n := rng.IntN(total)
		for i, k := range kinds {
			if n -= weights[i]; n < 0 {
				s.Kind = k.name
				s.For = k.typical * time.Duration(20+rng.IntN(200)) / 100
				if rng.IntN(8) == 0 {
					s.For *= time.Duration(1 + rng.IntN(10))
				}
				if k.name == "stop" {
					s.For = min(max(s.For, time.Second), 30*time.Second)
				}
				break
			}
		}
		s.For = min(s.For, faults-at)
		p.Steps = append(p.Steps, s)
		// Short pauses and long ones: some faults shall meet an election, some a quiet ensemble.
		at += time.Duration(rng.IntN(4000/hasty)+50) * time.Millisecond
		if rng.IntN(6) == 0 {
			at += 2 * time.Second // for once, most of what was begun ends before more begins
		}
	}
	return p
}

func (p *Plan) String() string {
	setting := "namespaces"
	if p.Proxies {
		setting = "proxies"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d servers, %s, %s, own disks %v, %d workers and %d lockers with pauses up to %d us, %v\n",
		p.Seed, p.Servers, cmp.Or(p.Consensus, "zab"), setting, p.Disks, p.Workers, p.Lockers, p.PaceUS, p.Config)
	for _, s := range p.Steps {
		fmt.Fprintln(&b, s)
	}
	return b.String()
}

// parts splits the servers: those of the first part and the others, each drawn.
func parts(rng *rand.Rand, servers, first int) (a, b []end) {
	all := make([]end, servers)
	for i := range all {
		all[i] = i + 1
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	a, b = all[:first], all[first:]
	slices.Sort(a)
	slices.Sort(b)
	return a, b
}

// A cut is one direction that is silent.
type cut struct{ from, to end }

// shape draws which directions a partition of a kind silences. victim is the one at its centre.
func shape(rng *rand.Rand, kind string, servers, victim int) []cut {
	var out []cut
	both := func(a, b end) { out = append(out, cut{a, b}, cut{b, a}) }
	others := func() []end {
		var o []end
		for i := 1; i <= servers; i++ {
			if i != victim {
				o = append(o, i)
			}
		}
		rng.Shuffle(len(o), func(i, j int) { o[i], o[j] = o[j], o[i] })
		return o
	}()
	// With or without the clients' links to those who are cut off.
	clients := func(ends ...end) {
		for g := range groups {
			if rng.IntN(2) == 0 {
				for _, e := range ends {
					both(-g, e)
				}
			}
		}
	}
	switch kind {
	case "halves":
		a, b := parts(rng, servers, servers/2)
		for _, x := range a {
			for _, y := range b {
				both(x, y)
			}
		}
		clients(a...)
	case "one node":
		for _, o := range others {
			both(victim, o)
		}
		clients(victim)
	case "bridge": // two parts that only the victim reaches both of
		for _, x := range others[:len(others)/2] {
			for _, y := range others[len(others)/2:] {
				both(x, y)
			}
		}
	case "one-way":
		in := rng.IntN(2) == 0
		for _, o := range others[:1+rng.IntN(len(others))] {
			if in {
				out = append(out, cut{o, victim})
			} else {
				out = append(out, cut{victim, o})
			}
		}
		if rng.IntN(3) == 0 {
			out = append(out, cut{victim, -rng.IntN(groups)})
		}
	case "ring": // each reaches its two neighbours; of three servers, each is heard by the next one only
		for i := 1; i <= servers; i++ {
			for j := 1; j <= servers; j++ {
				next := i%servers + 1
				switch {
				case i == j || j == next:
				case servers > 3 && j%servers+1 == i:
				default:
					out = append(out, cut{i, j})
				}
			}
		}
	case "clients only":
		ends := []end{victim}
		if rng.IntN(2) == 0 {
			ends = append(ends, others[:1+rng.IntN(len(others))]...)
		}
		for g := range groups {
			if g == 0 || rng.IntN(3) > 0 {
				for _, e := range ends {
					both(-g, e)
				}
			}
		}
	case "swizzle": // links of most servers, in an order that the run keeps to
		all := append(others, victim)
		for _, x := range all[rng.IntN(2):] {
			for y := 1; y <= servers; y++ {
				if x != y && !slices.Contains(out, cut{x, y}) {
					both(x, y)
				}
			}
		}
	}
	return out
}
