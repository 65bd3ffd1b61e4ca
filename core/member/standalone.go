package member

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"time"

	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// Standalone is a server without an ensemble: it leads from the start, and what is
// on its own disk is committed.
type Standalone struct {
	cfg     consensus.Config
	log     *txnlog.Log
	journal *Journal
	caller  *Caller
	m       Meter

	mu      sync.Mutex
	closed  bool
	term    uint64
	role    consensus.Role
	offered consensus.Zxid // the last one that was proposed
	logged  consensus.Zxid
	given   consensus.Zxid  // the last one that the caller has
	pending []consensus.Txn // proposed and not yet durable
	syncs   []pendingSync
	sizes   sizes
}

// A pendingSync waits until zxid is delivered.
type pendingSync struct {
	id   consensus.SyncID
	zxid consensus.Zxid
}

var _ consensus.Member = (*Standalone)(nil)

// sizes are those of the proposals, for an operator.
type sizes struct{ last, min, max int64 }

func (s *sizes) add(txns []consensus.Txn) {
	for i := range txns {
		n := int64(len(txns[i].Data))
		if s.last < 0 {
			s.min, s.max = n, n
		}
		s.last, s.min, s.max = n, min(s.min, n), max(s.max, n)
	}
}

// noSizes is what is said before the first proposal.
var noSizes = sizes{-1, -1, -1}

// NewStandalone makes one of a log whose journal and caller do not run yet.
func NewStandalone(cfg consensus.Config, l *txnlog.Log, j *Journal, c *Caller) *Standalone {
	return &Standalone{cfg: cfg, log: l, journal: j, caller: c, m: Meter{cfg.Metrics}}
}

// Start makes the server lead, after what the log holds above base is delivered.
func (s *Standalone) Start(base, last consensus.Zxid) {
	s.offered, s.logged, s.given = last, last, base
	s.journal.Gauge.Changed = func(d Disk) {
		if d != DiskFull {
			s.journal.Resume()
		}
	}
	s.sizes = noSizes
	s.caller.Do(func() { s.cfgRole(consensus.Role{Term: 1, Epoch: last.Epoch()}) })
	s.caller.Do(func() {
		start := time.Now()
		err := ReadLog(s.log, base, last, func(txns []consensus.Txn) error {
			s.caller.Node.Deliver(txns)
			s.delivered(txns[len(txns)-1].Zxid)
			if s.caller.Closed() {
				return consensus.ErrClosed
			}
			return nil
		})
		if err == consensus.ErrClosed {
			return
		}
		if err != nil {
			s.cfg.Fail(ExitCode(err), err)
			return
		}
		if last > base {
			s.cfg.Log.Info("transactions after the snapshot delivered", "from", base, "to", last, "ms", time.Since(start).Milliseconds())
			s.m.Since("startup_txns_load_time", start)
		}
		s.lead(last)
	})
}

// lead tells the node that it leads, with zxids that follow last.
func (s *Standalone) lead(last consensus.Zxid) {
	s.cfg.Log.Info("leading, standalone", "zxid", last)
	s.cfgRole(consensus.Role{State: consensus.Leading, Epoch: last.Epoch(), Last: last})
}

// cfgRole makes r, with the next term, the role and tells the node. It runs on the
// node's goroutine.
func (s *Standalone) cfgRole(r consensus.Role) {
	s.mu.Lock()
	s.term++
	r.Term, r.Standalone = s.term, true
	if r.State == consensus.Leading {
		r.Leader = s.cfg.ID
	}
	s.role = r
	s.mu.Unlock()
	s.caller.Node.Role(r)
}

// check is the first thing that a call does. mu is held.
func (s *Standalone) check(term uint64) error {
	switch {
	case s.closed:
		return consensus.ErrClosed
	case s.role.State != consensus.Leading || term != s.role.Term:
		return consensus.ErrNotNow
	}
	return nil
}

func (s *Standalone) Propose(term uint64, txns []consensus.Txn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(term); err != nil {
		return err
	}
	if len(txns) == 0 {
		return nil
	}
	last, err := Dense(s.offered, txns)
	if err != nil {
		return err
	}
	if last.Counter() == math.MaxUint32 {
		s.nextEpoch()
		return consensus.ErrNotNow
	}
	s.offered = last
	s.sizes.add(txns)
	// The order of the journal's queue is that of the zxids: so it is filled under mu.
	s.pending = append(s.pending, txns...)
	s.journal.Append(txns, s.durable)
	s.m.Add("proposal_count", int64(len(txns)))
	return nil
}

// nextEpoch begins anew with the counter in the next epoch, when that of this epoch is
// used up. mu is held.
func (s *Standalone) nextEpoch() {
	if s.role.State != consensus.Leading {
		return
	}
	epoch := s.offered.Epoch() + 1
	s.role.State = consensus.Looking // refuses what comes until the node knows
	s.journal.Do(func() error {
		s.caller.Do(func() { s.cfgRole(consensus.Role{Epoch: epoch - 1}) })
		s.caller.Do(func() {
			s.mu.Lock()
			s.offered = consensus.MakeZxid(epoch, 0)
			s.given = s.offered
			s.mu.Unlock()
			s.lead(consensus.MakeZxid(epoch, 0))
		})
		return nil
	})
}

func (s *Standalone) Forward(uint64, []consensus.Request) error { return consensus.ErrNotNow }

func (s *Standalone) Revalidate(uint64, consensus.Touch) error { return consensus.ErrNotNow }

func (s *Standalone) Sync(term uint64, id consensus.SyncID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(term); err != nil {
		return err
	}
	if s.given >= s.offered {
		s.caller.Do(func() { s.caller.Node.Synced(id) })
	} else {
		s.syncs = append(s.syncs, pendingSync{id, s.offered})
	}
	return nil
}

// durable delivers what is on the disk now. It runs on the journal's goroutine, so what
// it does is done in order.
func (s *Standalone) durable(z consensus.Zxid) {
	s.mu.Lock()
	n := 0
	for n < len(s.pending) && s.pending[n].Zxid <= z {
		n++
	}
	txns := s.pending[:n:n]
	if s.pending = s.pending[n:]; len(s.pending) == 0 {
		s.pending = nil // don't hold on to what is delivered
	}
	s.logged = z
	s.mu.Unlock()
	s.caller.deliverNow(txns) // may wait, so without mu
	s.m.Add("commit_count", int64(n))

	s.mu.Lock()
	defer s.mu.Unlock()
	s.given = z
	for len(s.syncs) > 0 && s.syncs[0].zxid <= z {
		id := s.syncs[0].id
		s.syncs = s.syncs[1:]
		s.caller.Do(func() { s.caller.Node.Synced(id) })
	}
}

func (s *Standalone) Checkpoint(saved, needed consensus.Zxid) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return consensus.ErrClosed
	}
	s.journal.Do(func() error { return Checkpoint(s.log, s.cfg, needed) })
	return nil
}

func (s *Standalone) Distrust(at consensus.Zxid, why string) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return consensus.ErrClosed
	}
	s.cfg.Fail(consensus.ExitDigest, fmt.Errorf("%s, and a standalone server has nobody to get the right state from: restore a backup, or see docs/operations.md, Damage", why))
	return nil
}

func (s *Standalone) Reconfigure(uint64, string) error { return consensus.ErrUnsupported }

func (s *Standalone) Caps() consensus.Caps { return consensus.Caps{} }

func (s *Standalone) Status() consensus.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return consensus.Status{
		Role: s.role, Peer: "standalone", Logged: s.logged, Committed: s.given, Quorum: 1,
		PendingSyncs: len(s.syncs), Disk: s.journal.Gauge.Picture(), LastProposal: s.sizes.last, MinProposal: s.sizes.min, MaxProposal: s.sizes.max,
	}
}

// Idle says that nothing is on its way to the disk: neither txns nor zeros ahead of them.
func (s *Standalone) Idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) == 0 && !s.log.Low()
}

func (s *Standalone) delivered(z consensus.Zxid) {
	s.mu.Lock()
	s.given = z
	s.mu.Unlock()
}

func (s *Standalone) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.caller.Done()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.caller.Close()
	<-s.caller.Done()
	if err := s.journal.Close(); err != nil {
		return fmt.Errorf("transaction log: %w", err)
	}
	return nil
}

// Dense checks that txns follow prev without a hole, and returns the last one.
func Dense(prev consensus.Zxid, txns []consensus.Txn) (consensus.Zxid, error) {
	for i := range txns {
		if txns[i].Zxid != prev+1 {
			return prev, fmt.Errorf("propose %v after %v: zxids must follow each other", txns[i].Zxid, prev)
		}
		prev = txns[i].Zxid
	}
	return prev, nil
}

// Checkpoint begins a new log file and drops those that nobody needs.
func Checkpoint(l *txnlog.Log, cfg consensus.Config, needed consensus.Zxid) error {
	l.Roll()
	removed, err := l.Purge(needed)
	if errors.Is(err, txnlog.ErrNotDurable) {
		return fmt.Errorf("transaction log: remove old files: %w", err)
	}
	if err != nil {
		// The log is as good as before; the files are removed the next time.
		cfg.Log.Warn("transaction log: old files can't be removed", "error", err)
	}
	if len(removed) > 0 {
		cfg.Log.Info("transaction log: old files removed", "files", removed)
	}
	return nil
}

// Version2 is where the files are below a directory of the configuration.
func Version2(dir string) string { return filepath.Join(dir, "version-2") }
