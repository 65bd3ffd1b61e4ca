package node

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/core/failpoint"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// snapshots is what a node knows of its snapshots.
type snapshots struct {
	dirs txnlog.Dirs
	lock []io.Closer

	// Deliver's: what was applied since the last snapshot was begun, and the bounds
	// after which the next is.
	txns     int
	bytes    int64
	maxTxns  int
	maxBytes int64
	fileSize int64 // what was applied since the log began a new file for the store

	mu     sync.Mutex // one snapshot is written or purged at a time
	busyMu sync.Mutex
	busy   bool
	needed consensus.Zxid // what the log must hold from, as of the last purge
	purged consensus.Zxid // the same, under busyMu
	last   txnlog.SnapshotFile
	lastAt time.Time
	begun  bool // Recover was called
}

// drawBounds draws when the next snapshot is due, so that the servers of an
// ensemble don't all write theirs at once.
func (n *Node) drawBounds() {
	half := n.cfg.SnapCount / 2
	n.snaps.txns, n.snaps.bytes = 0, 0
	n.snaps.maxTxns = half + int(n.world.IntN(int64(max(half, 1))))
	if limit := n.cfg.SnapSizeLimitKB << 10; limit > 0 {
		n.snaps.maxBytes = limit/2 + n.world.IntN(limit/2+1)
	}
}

// applied counts what Deliver has applied, and begins a snapshot when one is due.
func (n *Node) applied(txns []consensus.Txn) {
	s := &n.snaps
	s.txns += len(txns)
	size := int64(0)
	for i := range txns {
		size += int64(len(txns[i].Data))
	}
	s.bytes += size
	n.shorten(size)
	if s.txns <= s.maxTxns && (s.maxBytes == 0 || s.bytes <= s.maxBytes) {
		return
	}
	s.busyMu.Lock()
	defer s.busyMu.Unlock()
	if s.busy || s.bytes < s.last.Size && (s.maxBytes == 0 || s.bytes <= s.maxBytes) {
		return
	}
	n.drawBounds()
	s.busy = true
	n.world.Go(func() {
		n.save()
		s.busyMu.Lock()
		s.busy = false
		s.busyMu.Unlock()
	})
}

// logFile is how long a file of the log may become where the store survives: a start
// reads the log from the file on that the store's state is in.
const logFile = 32 << 20

// shorten makes the log begin a new file when there is enough in this one.
func (n *Node) shorten(size int64) {
	s := &n.snaps
	if s.fileSize += size; s.fileSize < logFile || n.store.Durable() <= 0 {
		return
	}
	select {
	case <-n.opened:
	default:
		return // the member is not known yet
	}
	if n.member == nil {
		return // the node does not start
	}
	s.fileSize = 0
	s.busyMu.Lock()
	saved, needed := s.last.Zxid, s.purged
	s.busyMu.Unlock()
	if err := n.member.Checkpoint(saved, needed); err != nil && !errors.Is(err, consensus.ErrClosed) {
		n.fail(ExitUnexpected, fmt.Errorf("checkpoint: %w", err))
	}
}

// pin pins the state as it is now.
func (n *Node) pin() (storage.View, consensus.Zxid) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.store.View(), consensus.Zxid(n.engine.LastZxid())
}

// pinState is pin for whoever does not keep the state from being replaced: there may be none. Nobody
// begins to replace it before loading is set.
func (n *Node) pinState() (view storage.View, zxid consensus.Zxid, ok bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.loading {
		return nil, 0, false
	}
	return n.store.View(), consensus.Zxid(n.engine.LastZxid()), true
}

func (n *Node) hasState() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return !n.loading
}

// save writes a snapshot of the present state, beside whatever else happens, and
// tells the member.
func (n *Node) save() {
	<-n.opened
	if n.member == nil {
		return // the node does not start
	}
	s := &n.snaps
	s.mu.Lock()
	defer s.mu.Unlock()
	if !n.hasState() {
		return // it is not one to keep
	}
	s.busyMu.Lock()
	size := s.last.Size
	s.busyMu.Unlock()
	if d := n.member.Status().Disk; d.Low || d.Reserve > 0 && d.Free-size < d.Reserve {
		n.log.Warn("no snapshot: the disk is nearly full, and the log can do without it", "freeMB", d.Free>>20, "reserveMB", d.Reserve>>20)
		return
	}
	view, zxid, ok := n.pinState()
	if !ok {
		return // it was given up meanwhile: see distrust
	}
	// The store comes first: one that is behind the newest snapshot looks as if it
	// had not been in use when that was taken.
	err := n.flushStore()
	var file txnlog.SnapshotFile
	if err == nil {
		file, err = n.write(view, zxid)
	}
	view.Release()
	if err != nil {
		n.fail(ExitSnapshot, fmt.Errorf("write snapshot: %w", err))
		return
	}
	err = n.member.Checkpoint(file.Zxid, s.needed)
	if err != nil && !errors.Is(err, consensus.ErrClosed) {
		n.fail(ExitUnexpected, fmt.Errorf("checkpoint: %w", err))
	}
}

// write writes a view as snapshot file.
func (n *Node) write(view storage.View, zxid consensus.Zxid) (txnlog.SnapshotFile, error) {
	begin := n.clock()
	file, err := txnlog.SaveSnapshot(n.cfg.FS, n.snaps.dirs.Snap, zxid, n.compression(), func(w *txnlog.SnapshotWriter) error {
		return engine.WriteSnapshot(w, txnlog.FileForm, view)
	})
	if err != nil {
		return file, err
	}
	took := time.Duration(n.clock() - begin)
	n.snaps.busyMu.Lock()
	n.snaps.last, n.snaps.lastAt = file, time.UnixMilli(n.wallMS())
	n.snaps.busyMu.Unlock()
	n.log.Info("snapshot taken", "zxid", zxid, "in", took.Round(100*time.Microsecond), "znodes", view.Len(), "bytes", file.Size)
	n.cfg.Metrics.Observe("snapshottime", float64(took.Milliseconds()))
	return file, nil
}

func (n *Node) compression() txnlog.Compression {
	if n.option("snapshot.compression.method") == "gz" {
		return txnlog.Gzip
	}
	return txnlog.Plain
}

// startPurging removes old snapshots now and in intervals, if that is asked for.
func (n *Node) startPurging() {
	if n.cfg.PurgeInterval <= 0 {
		return
	}
	n.world.Go(n.purge)
	n.world.Every(n.cfg.PurgeInterval, func() bool { n.purge(); return true })
}

func (n *Node) purge() {
	s := &n.snaps
	s.mu.Lock()
	defer s.mu.Unlock()
	needed, kept, removed, err := txnlog.PurgeSnapshots(n.cfg.FS, s.dirs.Snap, n.cfg.SnapRetain)
	if errors.Is(err, txnlog.ErrNotDurable) {
		n.fail(ExitSnapshot, fmt.Errorf("remove old snapshots: %w", err))
		return
	}
	if err != nil {
		n.log.Warn("old snapshots can't be removed", "err", err)
	}
	if len(removed) > 0 {
		n.log.Info("old snapshots removed", "files", removed)
	}
	if !kept || needed <= s.needed {
		return
	}
	files, err := txnlog.ListSnapshots(n.cfg.FS, s.dirs.Snap)
	if err != nil {
		n.log.Warn("snapshots can't be listed: the log keeps its old files", "err", err)
	}
	if len(files) == 0 {
		return
	}
	s.needed = needed
	s.busyMu.Lock()
	s.purged = needed
	s.busyMu.Unlock()
	if err := n.member.Checkpoint(files[0].Zxid, needed); err != nil && !errors.Is(err, consensus.ErrClosed) {
		n.fail(ExitUnexpected, fmt.Errorf("checkpoint: %w", err))
	}
}

// A pinned is a Snapshot for a learner.
type pinned struct {
	view storage.View
	zxid consensus.Zxid
}

// Snapshot pins the state for a learner.
func (n *Node) Snapshot() (consensus.Snapshot, error) {
	view, zxid, ok := n.pinState()
	if !ok {
		return nil, errors.New("the state is being replaced")
	}
	return &pinned{view, zxid}, nil
}

func (p *pinned) Zxid() consensus.Zxid { return p.zxid }

func (p *pinned) WriteTo(w io.Writer) (int64, error) {
	failpoint.Hit(failpoint.BeforeStream)
	defer failpoint.Hit(failpoint.AfterStream)
	sw := txnlog.NewSnapshotWriter(w, txnlog.StreamForm)
	err := engine.WriteSnapshot(sw, txnlog.StreamForm, p.view)
	if err == nil {
		err = sw.Close()
	}
	return sw.Written(), err
}

func (p *pinned) Close() error {
	p.view.Release()
	return nil
}

// maxTxn is the longest txn that is made: the log and the other servers take buffer and extra together,
// and those put something around it. One of the longest request, which has a little more than that, is
// among them.
func maxTxn(buffer, extra int) int { return buffer + max(extra-2*1024, extra/2) }

func (n *Node) engineOptions() engine.Options {
	// A client of Apache's takes no frame that is longer than jute.maxbuffer. Sixty connections that
	// read nothing may have two answers each in memory, for some bytes that they have sent.
	const maxReplies = 4
	return engine.Options{
		ExtendedTypes: n.cfg.ExtendedTypes, SkipACL: n.cfg.SkipACL, NoDigest: n.cfg.NoDigest,
		Server: consensus.ServerID(n.cfg.ServerID), UnmarkedLocals: n.cfg.LocalSessions && n.cfg.Mixed,
		SuperDigest: n.cfg.SuperDigest, NoDigestAuth: n.cfg.NoDigestAuth,
		ReconfigEnabled: n.cfg.ReconfigEnabled, MultiAddress: n.cfg.MultiAddress, NoStandalone: n.cfg.NoStandalone,
		Synced: n.synced, EnforceQuota: n.cfg.EnforceQuota, OnQuotaExcess: n.exceeded,
		MaxTxnBytes: maxTxn(n.cfg.JuteMaxBuffer, n.cfg.JuteExtraSize), MaxReplyBytes: maxReplies * n.cfg.JuteMaxBuffer,
		ConfigText: n.cfg.Consensus.ConfigText, ConfigTimeMS: n.wallMS(),
		Fail: func(err error) { n.fail(ExitUnexpected, err) },
		OnDigestMismatch: func(zxid int64, txn, tree uint64) {
			n.cfg.Metrics.Add("digest_mismatches_count", 1)
			n.check.differs(consensus.Zxid(zxid), txn, tree)
		},
	}
}
