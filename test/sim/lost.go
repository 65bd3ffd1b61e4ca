package sim

import (
	"math/rand/v2"

	"github.com/zkcore/zkcore/consensus-raft/protocol"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/test/history"
)

// Disks that are lost and disks that fill up strike in some runs, beside what else does harm.
// All about them is drawn from streams of their own: so the other runs, and the seeds that are
// kept, are what they were before there was such harm.

var diskKinds []faultKind

const newDisk = "new disk"

func init() {
	diskKinds = []faultKind{
		{newDisk, 2, func(w *world, m *machine) bool {
			if !m.mayLose() {
				return false
			}
			for _, o := range w.machines {
				// Who was never there has nothing of what was acknowledged.
				if !o.hasJoined() && (o == m || !o.observer && o.held == nil) {
					return false
				}
			}
			m.powerOff()
			m.held, m.heldStore = m.disk.kept(), m.shelf.durable()
			m.said = promises{rng: m.said.rng} // it knows nothing of what it said
			m.disk.replace()
			return true
		}},
		{"full disk", 3, func(w *world, m *machine) bool { return w.fill(m, 0, 1<<20) }},
		{"nearly full disk", 1, func(w *world, m *machine) bool { return w.fill(m, 8<<20, 15<<20) }},
		{"all disks full", 1, func(w *world, _ *machine) bool {
			for _, m := range w.machines {
				w.fill(m, 0, 1<<20)
			}
			return true
		}},
	}
}

// drawDisks draws what becomes of disks. Most runs have nothing of it.
func (p *plan) drawDisks(r *rand.Rand) {
	if r.IntN(4) > 0 {
		return
	}
	p.diskMB = []int64{64, 1 << 16}[r.IntN(2)] // what is kept free is 16 and 64 MB, and full is an eighth of that
	p.disksGapMS = []int64{2000, 6000, 12000}[r.IntN(3)]
	for i := range diskKinds {
		if r.IntN(2) == 0 {
			for range diskKinds[i].weight {
				p.disks = append(p.disks, i)
			}
		}
	}
	if len(p.disks) == 0 {
		p.disks = []int{r.IntN(len(diskKinds))}
	}
}

// harmDisks does something to a disk now and then.
func (w *world) harmDisks() {
	if w.plan.disksGapMS == 0 {
		return
	}
	w.after(w.disksRand.Int64N(2*w.plan.disksGapMS*ms), nil, func() {
		if !w.faults || w.err != nil {
			return
		}
		victim := w.machines[w.disksRand.IntN(len(w.machines))]
		if w.disksRand.IntN(2) == 0 {
			if l := w.leader(); l != nil {
				victim = l
			}
		}
		k := &diskKinds[w.plan.disks[w.disksRand.IntN(len(w.plan.disks))]]
		w.logf(victim, "fault: %s", k.name)
		if k.do(w, victim) {
			w.stats.Faults++
			w.stats.Kinds[k.name]++
			w.log.Append(history.Record{Kind: history.Fault, Server: int(victim.id), Note: k.name})
		}
		w.harmDisks()
	})
}

// hasJoined says whether the machine was part of an ensemble with the disk that it has now.
func (m *machine) hasJoined() bool {
	if s, ok := m.stateOnDisk(); ok {
		return s.Standing <= protocol.Settling && (len(s.Starts) > 0 || s.Base.Index > 0)
	}
	return m.epochOnDisk(txnlog.CurrentEpoch) > 0
}

// mayLose says whether a majority of the voters is left with all that it has acknowledged if
// the machine loses its disk, or a part of it: what a majority has lost nobody can bring back.
// A disk with a bit that changed counts for the rest of the run: who knows when that is met.
func (m *machine) mayLose() bool {
	lost, voters := 1, 0
	for _, o := range m.w.machines {
		if o.observer {
			continue
		}
		voters++
		if o != m && (o.held != nil || o.disk.rotten) {
			lost++
		}
	}
	return m.observer || lost <= (voters-1)/2
}

// fill leaves a machine's disk between so many bytes, for a while, and looks whether it does
// what a server with a full disk does: it leaves the quorum.
func (w *world) fill(m *machine, least, most int64) bool {
	r := w.disksRand
	m.disk.fill(least + r.Int64N(most-least))
	n, inc, began := m.disk.fills, m.inc, w.now
	w.logf(m, "its disk fills up")
	w.after(r.Int64N([]int64{2 * s1, 8 * s1, 15 * s1}[r.IntN(3)]), nil, func() {
		if m.disk.fills == n {
			w.logf(m, "its disk has space again")
			m.disk.clear()
		}
	})
	if most > 1<<20 || len(w.machines) == 1 {
		return true
	}
	// What was slow until a moment ago may still have a moment's work before it: look twice.
	looks := 0
	var look func()
	look = func() {
		free := int64(0)
		if u, err := m.disk.mem.Usage(dataDir); err == nil {
			free = u.Free
		}
		busy := !m.up || m.inc != inc || m.wake > began || m.slow > 0 || m.disk.slow > 0
		if m.disk.fills != n || !m.disk.filled || free >= 2<<20 || busy || m.role.State == consensus.Looking {
			return
		}
		if looks++; looks == 2 {
			w.fail("node %d has a full disk for %d ms, and is %v", m.id, 8*w.plan.tickMS, m.role.State)
			return
		}
		w.after(4*w.plan.tickMS*ms, nil, look)
	}
	w.after(4*w.plan.tickMS*ms, nil, look)
	return true
}
