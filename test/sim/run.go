package sim

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/test/history"
	"github.com/zkcore/zkcore/test/judge"
)

// A Result is what came of a run.
type Result struct {
	Seed   uint64
	Module string
	Store  string
	Err    error
	Stats  Stats
	Hash   uint64 // of all that happened
	Trace  string // if it was asked for
	Run    *history.Run
}

// Run makes the run of a seed.
func Run(module Module, store Store, seed uint64, traced bool) *Result {
	return run(module, store, seed, draw(seed), traced)
}

func run(module Module, store Store, seed uint64, p plan, traced bool) *Result {
	w := newWorld(seed, module, store, p, traced)
	defer w.shelve()()
	w.play()
	r := &Result{Seed: seed, Module: module.Name, Store: store.Name, Err: w.err, Stats: w.stats, Hash: w.hash}
	if w.trace != nil {
		r.Trace = w.trace.String()
	}
	r.Run = w.history()
	w.checkStores()
	r.Err = w.err
	if r.Err == nil {
		v := judge.Judge(r.Run, judge.Options{ClockDrift: float64(w.plan.drift) / 1e6})
		r.Err = v.Err()
		for _, what := range ofLocals {
			r.Stats.Done[what] += v.Counts[what]
		}
	}
	return r
}

// play is harm first, then peace, in which all must come together.
func (w *world) play() {
	p := &w.plan
	w.logf(nil, "plan: %+v", *p)
	for _, m := range w.machines {
		w.after(w.loadRand.Int64N(300*ms), nil, func() {
			if !m.up {
				m.start()
			}
		})
	}
	for _, c := range w.clients {
		c.start()
	}
	if p.readOnly {
		newReader(w, p.clients+1).start()
	}
	w.run(3 * s1)
	w.faults = true
	w.harm()
	w.harmDisks()
	w.harmStores()
	w.run(p.faultS * s1)
	if w.err != nil {
		return
	}

	w.logf(nil, "peace")
	w.calm()
	began := w.now
	w.run(p.calmS * s1)
	for _, c := range w.clients {
		if w.err == nil && c.last < began {
			w.fail("I31: client %d has written nothing in %d s of peace", c.no, p.calmS)
		}
		c.done = true
	}
	w.run(2 * s1)
	// The leader does something by itself now and then: that may be under way.
	for end := w.now + s1; w.err == nil && w.now < end && slices.ContainsFunc(w.machines, w.lags); {
		w.run(10 * ms)
	}
	if w.err != nil {
		return
	}
	for _, m := range w.machines {
		switch {
		case !m.up || m.role.State == consensus.Looking:
			w.fail("I31: node %d is not serving in peace", m.id)
		case w.lags(m):
			w.fail("I31: node %d has %d of %d txns in peace", m.id, w.truth.at[m], len(w.truth.txns))
		}
	}
}

// lags says that a machine has not all that is committed.
func (w *world) lags(m *machine) bool { return w.truth.at[m] != len(w.truth.txns) }

// history is what a judge is given.
func (w *world) history() *history.Run {
	run := &history.Run{
		About:   history.About{Name: fmt.Sprintf("%s on %s, seed %d", w.module.Name, w.store.Name, w.seed), ExtendedTypes: true, EnforceQuota: true, LocalSessions: w.plan.local, SuperDigest: superDigest},
		Records: w.log.Records(),
		Txns:    w.truth.txns,
	}
	if w.err != nil {
		return run
	}
	for _, m := range w.machines {
		if !m.up || m.node == nil {
			continue
		}
		t, err := m.tree()
		if err != nil {
			w.fail("node %d: %v", m.id, err)
			continue
		}
		run.Trees = append(run.Trees, t)
	}
	return run
}

// tree is a machine's state, read from a snapshot of it as a learner gets it.
func (m *machine) tree() (history.Tree, error) {
	var t history.Tree
	s, err := m.node.Snapshot()
	if err != nil {
		return t, err
	}
	defer s.Close()
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		return t, err
	}
	t, _, err = history.ReadTree(txnlog.NewSnapshotReader(&b, txnlog.StreamForm))
	t.Server, t.Zxid, t.Digest = int(m.id), int64(s.Zxid()), m.node.Info().Digest
	return t, err
}
