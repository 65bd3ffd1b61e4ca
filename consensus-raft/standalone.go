package raft

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"time"

	"github.com/zkcore/zkcore/consensus-raft/protocol"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// standalone is a server without an ensemble: it leads from the start, and what is
// on its own disk is committed.
type standalone struct {
	cfg     consensus.Config
	log     *txnlog.Log
	journal *journal
	caller  *caller
	m       meter
	quorum  int

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

var _ consensus.Member = (*standalone)(nil)

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

// start makes the server lead, after what the log holds above base is delivered.
func (s *standalone) start(base, last consensus.Zxid) {
	s.offered, s.logged, s.given = last, last, base
	s.journal.gauge.changed = func(d protocol.Disk) {
		if d != protocol.DiskFull {
			s.journal.resume()
		}
	}
	s.sizes = noSizes
	s.caller.do(func() { s.cfgRole(consensus.Role{Term: 1, Epoch: last.Epoch()}) })
	s.caller.do(func() {
		start := time.Now()
		err := read(s.log, base, last, func(txns []consensus.Txn) error {
			s.caller.node.Deliver(txns)
			s.delivered(txns[len(txns)-1].Zxid)
			if s.caller.isClosed() {
				return consensus.ErrClosed
			}
			return nil
		})
		if err == consensus.ErrClosed {
			return
		}
		if err != nil {
			s.cfg.Fail(exitCode(err), err)
			return
		}
		if last > base {
			s.cfg.Log.Info("transactions after the snapshot delivered", "from", base, "to", last, "ms", time.Since(start).Milliseconds())
			s.m.since("startup_txns_load_time", start)
		}
		s.lead(last)
	})
}

// lead tells the node that it leads, with zxids that follow last.
func (s *standalone) lead(last consensus.Zxid) {
	s.cfg.Log.Info("leading, standalone", "zxid", last)
	s.cfgRole(consensus.Role{State: consensus.Leading, Epoch: last.Epoch(), Last: last})
}

// cfgRole makes r, with the next term, the role and tells the node. It runs on the
// node's goroutine.
func (s *standalone) cfgRole(r consensus.Role) {
	s.mu.Lock()
	s.term++
	r.Term, r.Standalone = s.term, true
	if r.State == consensus.Leading {
		r.Leader = s.cfg.ID
	}
	s.role = r
	s.mu.Unlock()
	s.caller.node.Role(r)
}

// check is the first thing that a call does. mu is held.
func (s *standalone) check(term uint64) error {
	switch {
	case s.closed:
		return consensus.ErrClosed
	case s.role.State != consensus.Leading || term != s.role.Term:
		return consensus.ErrNotNow
	}
	return nil
}

func (s *standalone) Propose(term uint64, txns []consensus.Txn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(term); err != nil {
		return err
	}
	if len(txns) == 0 {
		return nil
	}
	last, err := dense(s.offered, txns)
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
	s.journal.append(txns, s.durable)
	s.m.add("proposal_count", int64(len(txns)))
	return nil
}

// nextEpoch begins anew with the counter in the next epoch, when that of this epoch is
// used up. mu is held.
func (s *standalone) nextEpoch() {
	if s.role.State != consensus.Leading {
		return
	}
	epoch := s.offered.Epoch() + 1
	s.role.State = consensus.Looking // refuses what comes until the node knows
	s.journal.do(func() error {
		s.caller.do(func() { s.cfgRole(consensus.Role{Epoch: epoch - 1}) })
		s.caller.do(func() {
			s.mu.Lock()
			s.offered = consensus.MakeZxid(epoch, 0)
			s.given = s.offered
			s.mu.Unlock()
			s.lead(consensus.MakeZxid(epoch, 0))
		})
		return nil
	})
}

func (s *standalone) Forward(uint64, []consensus.Request) error { return consensus.ErrNotNow }

func (s *standalone) Revalidate(uint64, consensus.Touch) error { return consensus.ErrNotNow }

func (s *standalone) Sync(term uint64, id consensus.SyncID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(term); err != nil {
		return err
	}
	if s.given >= s.offered {
		s.caller.do(func() { s.caller.node.Synced(id) })
	} else {
		s.syncs = append(s.syncs, pendingSync{id, s.offered})
	}
	return nil
}

// durable delivers what is on the disk now. It runs on the journal's goroutine, so what
// it does is done in order.
func (s *standalone) durable(z consensus.Zxid) {
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
	s.m.add("commit_count", int64(n))

	s.mu.Lock()
	defer s.mu.Unlock()
	s.given = z
	for len(s.syncs) > 0 && s.syncs[0].zxid <= z {
		id := s.syncs[0].id
		s.syncs = s.syncs[1:]
		s.caller.do(func() { s.caller.node.Synced(id) })
	}
}

func (s *standalone) Checkpoint(saved, needed consensus.Zxid) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return consensus.ErrClosed
	}
	s.journal.do(func() error { return checkpoint(s.log, s.cfg, needed) })
	return nil
}

func (s *standalone) Distrust(at consensus.Zxid, why string) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return consensus.ErrClosed
	}
	s.cfg.Fail(consensus.ExitDigest, fmt.Errorf("%s, and a standalone server has nobody to get the right state from: restore a backup, or see docs/operations.md, Damage", why))
	return nil
}

func (s *standalone) Reconfigure(uint64, string) error { return consensus.ErrUnsupported }

func (s *standalone) Caps() consensus.Caps { return consensus.Caps{} }

func (s *standalone) Status() consensus.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return consensus.Status{
		Role: s.role, Peer: "standalone", Logged: s.logged, Committed: s.given, Quorum: s.quorum,
		PendingSyncs: len(s.syncs), Disk: s.journal.gauge.picture(), LastProposal: s.sizes.last, MinProposal: s.sizes.min, MaxProposal: s.sizes.max,
	}
}

func (s *standalone) delivered(z consensus.Zxid) {
	s.mu.Lock()
	s.given = z
	s.mu.Unlock()
}

func (s *standalone) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.caller.done
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.caller.close()
	<-s.caller.done
	if err := s.journal.close(); err != nil {
		return fmt.Errorf("transaction log: %w", err)
	}
	return nil
}

// dense checks that txns follow prev without a hole, and returns the last one.
func dense(prev consensus.Zxid, txns []consensus.Txn) (consensus.Zxid, error) {
	for i := range txns {
		if txns[i].Zxid != prev+1 {
			return prev, fmt.Errorf("propose %v after %v: zxids must follow each other", txns[i].Zxid, prev)
		}
		prev = txns[i].Zxid
	}
	return prev, nil
}

// checkpoint begins a new log file and drops those that nobody needs.
func checkpoint(l *txnlog.Log, cfg consensus.Config, needed consensus.Zxid) error {
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

func version2(dir string) string { return filepath.Join(dir, "version-2") }
