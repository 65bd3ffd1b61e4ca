package sim

import (
	"math/rand/v2"
	"strconv"
)

// A plan is what a seed draws: the ensemble, its configuration, its clients, and the harm.
// Few plans have everything: what is rare in the sum is common in some runs.
type plan struct {
	voters, observers int
	ensembleOfOne     bool

	clients   int
	pauseMS   int64 // between two requests of a client, on average
	pipeline  int   // unanswered requests of one
	dataMax   int
	sessionMS int32
	locks     int // clients that take locks
	readers   int // clients that write nothing while there is harm

	tickMS               int64
	initLimit, syncLimit int
	snapCount            int
	purgeMS              int64
	holdMS               int64
	outstanding          int
	options              map[string]string

	drift         int64 // millionths
	spiky, spike  int64
	gapMS         int64 // between two faults, on average
	kinds         []int // places in faultKinds, as often as they are wanted
	faultS, calmS int64 // how long there is harm, and then none

	diskMB     int64 // 0: no matter
	disksGapMS int64 // between two faults of diskKinds, on average; 0: there are none
	disks      []int // places in diskKinds, as often as they are wanted

	storeOptions map[string]string // of a store that writes behind
	flushMS      int64             // how often it writes by itself, on average; 0: never
	damageGapMS  int64             // between two damages of its file, on average; 0: there are none

	readOnly bool // servers show what they have when they have no leader, and somebody looks
	wide     bool // clients ask for all that the protocol has
	lures    bool // clients go with new sessions to leaders that were left behind
	local    bool // sessions are one server's own, until they are to have an ephemeral
	upgrades bool // and then they become the ensemble's; else they have none
	vanish   bool // clients leave servers without a word
	narrow   bool // leaders have little under way to a learner
}

// draw makes the plan of a seed.
func draw(seed uint64) plan {
	r := rand.New(rand.NewPCG(seed, 7))
	pick := func(xs ...int) int { return xs[r.IntN(len(xs))] }
	p := plan{
		clients: 2 + r.IntN(5), pauseMS: int64(pick(20, 60, 150)), pipeline: pick(1, 4, 32), dataMax: pick(16, 400, 9000),
		tickMS: int64(pick(200, 500, 1000)), initLimit: 10, syncLimit: 5,
		snapCount: pick(20, 100, 1000, 100000), purgeMS: int64(pick(0, 1500)), holdMS: int64(pick(-1, 500, 30000)),
		outstanding: pick(0, 0, 20), options: map[string]string{},
		drift: int64(pick(0, 0, 1000, 20000)), spiky: int64(pick(0, 5, 50)), spike: int64(pick(5, 50, 800)) * ms,
		gapMS:  int64(pick(300, 1000, 3000)),
		faultS: 42, calmS: 18,
	}
	switch shape := r.IntN(20); {
	case shape < 1:
		p.voters = 1
	case shape < 3:
		p.voters = 2
	case shape < 12:
		p.voters = 3
	case shape < 15:
		p.voters, p.observers = 3, 1
	case shape < 19:
		p.voters = 5
	default:
		p.voters, p.observers = 5, 1
	}
	p.sessionMS = int32(p.tickMS) * int32(2+r.IntN(18))
	if r.IntN(3) > 0 {
		p.locks = p.clients
	}
	if r.IntN(3) == 0 {
		p.readers = 1 + r.IntN(p.clients-1)
	}
	// Which harm: each kind is there or not.
	for i := range faultKinds {
		if r.IntN(2) == 0 {
			for range faultKinds[i].weight {
				p.kinds = append(p.kinds, i)
			}
		}
	}
	if len(p.kinds) == 0 {
		p.kinds = []int{0}
	}
	if r.IntN(4) == 0 {
		p.options["snapshotSizeFactor"] = []string{"-1", "0.05", "1"}[r.IntN(3)]
	}
	if r.IntN(12) == 0 {
		p.options["forceSnapshotSync"] = "true"
	}
	p.drawDisks(rand.New(rand.NewPCG(seed, 8)))
	p.lures = rand.New(rand.NewPCG(seed, 11)).IntN(3) == 0
	p.drawStore(rand.New(rand.NewPCG(seed, 13)))
	// The seeds that are kept do without: they are what they were.
	p.readOnly = rand.New(rand.NewPCG(seed, 35)).IntN(4) == 0
	p.drawWide(seed)
	p.drawLocal(seed)
	p.drawVanishing(seed)
	p.drawNarrow(seed)
	if seed >= Harsh {
		p.harden(rand.New(rand.NewPCG(seed, 41)))
	}
	return p
}

// Harsh is the first of the seeds whose plans are about power and disks: what takes a disk that is lost, a restart and a
// power cut at the wrong time is rare elsewhere.
const Harsh = 1 << 60

// harden has few clients, for more of it in a second of a processor, and snapshots all the time.
func (p *plan) harden(r *rand.Rand) {
	p.clients, p.pauseMS, p.pipeline = 2, 60+r.Int64N(200), 1+r.IntN(4)
	p.locks, p.readers = min(p.locks, p.clients), min(p.readers, 1)
	p.snapCount = 5 + r.IntN(60)
	p.gapMS = 100 + r.Int64N(900)
	if p.voters < 3 {
		p.voters = 3
	}
	for i := range faultKinds {
		for range 2 * r.IntN(3) {
			switch faultKinds[i].name {
			case "power", "power at an operation", "kill", "restart", "reset of a learner", "power of all", "power of all at an operation":
				p.kinds = append(p.kinds, i)
			}
		}
	}
	p.diskMB, p.disksGapMS, p.disks = 1<<16, 500+r.Int64N(3000), []int{0} // new ones
	if r.IntN(4) > 0 {
		p.options["commitLogCount"] = strconv.Itoa(r.IntN(20)) // who is behind gets a snapshot
	}
	if r.IntN(2) == 0 {
		p.voters, p.observers = 3, 0
	}
}
