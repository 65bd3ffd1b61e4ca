package node

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/zkcore/zkcore/core/engine"
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

	mu     sync.Mutex // one snapshot is written or purged at a time
	busyMu sync.Mutex
	busy   bool
	needed consensus.Zxid // what the log must hold from, as of the last purge
	last   txnlog.SnapshotFile
	lastAt time.Time
	begun  bool // Recover was called
}

// openDirs makes and locks the data directories. A second process on them would
// be the end of both.
func (n *Node) openDirs() error {
	d, err := txnlog.OpenDirs(n.cfg.FS, n.cfg.DataDir, n.cfg.LogDir, n.option("datadir.autocreate") != "false")
	if err != nil {
		return err
	}
	n.snaps.dirs = d
	for _, dir := range []string{n.cfg.DataDir, n.cfg.LogDir} {
		if len(n.snaps.lock) > 0 && filepath.Clean(n.cfg.DataDir) == filepath.Clean(n.cfg.LogDir) {
			break
		}
		l, err := n.cfg.FS.Lock(filepath.Join(dir, lockName))
		if err != nil {
			n.unlockDirs()
			return fmt.Errorf("data directory %s: %w", dir, err)
		}
		n.snaps.lock = append(n.snaps.lock, l)
	}
	n.drawBounds()
	return nil
}

// lockName is the file that a running server holds locked.
const lockName = ".lock"

func (n *Node) unlockDirs() {
	for _, l := range n.snaps.lock {
		l.Close()
	}
	n.snaps.lock = nil
}

// option is a key of the configuration that the consensus module gets too.
func (n *Node) option(key string) string { return n.cfg.Consensus.Options[key] }

// drawBounds draws when the next snapshot is due, so that the servers of an
// ensemble don't all write theirs at once.
func (n *Node) drawBounds() {
	half := n.cfg.SnapCount / 2
	n.snaps.txns, n.snaps.bytes = 0, 0
	n.snaps.maxTxns = half + rand.IntN(max(half, 1))
	if limit := n.cfg.SnapSizeLimitKB << 10; limit > 0 {
		n.snaps.maxBytes = limit/2 + rand.Int64N(limit/2+1)
	}
}

// applied counts what Deliver has applied, and begins a snapshot when one is due.
func (n *Node) applied(txns []consensus.Txn) {
	s := &n.snaps
	s.txns += len(txns)
	for i := range txns {
		s.bytes += int64(len(txns[i].Data))
	}
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
	n.wg.Add(1)
	go func() {
		defer n.wg.Done()
		n.save()
		s.busyMu.Lock()
		s.busy = false
		s.busyMu.Unlock()
	}()
}

// pin pins the state as it is now.
func (n *Node) pin() (storage.View, consensus.Zxid) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.store.View(), consensus.Zxid(n.engine.LastZxid())
}

// save writes a snapshot of the present state, beside whatever else happens, and
// tells the member.
func (n *Node) save() {
	s := &n.snaps
	s.mu.Lock()
	defer s.mu.Unlock()
	view, zxid := n.pin()
	file, err := n.write(view, zxid)
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
	begin := time.Now()
	file, err := txnlog.SaveSnapshot(n.cfg.FS, n.snaps.dirs.Snap, zxid, n.compression(), func(w *txnlog.SnapshotWriter) error {
		return engine.WriteSnapshot(w, txnlog.FileForm, view)
	})
	if err != nil {
		return file, err
	}
	took := time.Since(begin)
	n.snaps.busyMu.Lock()
	n.snaps.last, n.snaps.lastAt = file, time.Now()
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
	n.wg.Add(1)
	go func() {
		defer n.wg.Done()
		t := time.NewTicker(n.cfg.PurgeInterval)
		defer t.Stop()
		for {
			n.purge()
			select {
			case <-t.C:
			case <-n.closing:
				return
			}
		}
	}()
}

func (n *Node) purge() {
	s := &n.snaps
	s.mu.Lock()
	defer s.mu.Unlock()
	needed, kept, removed, err := txnlog.PurgeSnapshots(n.cfg.FS, s.dirs.Snap, n.cfg.SnapRetain)
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
	if err != nil || len(files) == 0 {
		return
	}
	s.needed = needed
	if err := n.member.Checkpoint(files[0].Zxid, needed); err != nil && !errors.Is(err, consensus.ErrClosed) {
		n.fail(ExitUnexpected, fmt.Errorf("checkpoint: %w", err))
	}
}

// Recover loads the newest snapshot at or below max that can be read. Whether the
// log goes on from there is for the member to see.
func (n *Node) Recover(max consensus.Zxid) (consensus.Zxid, error) {
	n.unload()
	zxid, fresh, err := n.recover(max)
	if err != nil {
		return 0, err
	}
	n.loaded()
	if fresh {
		// Apache starts from no log without a snapshot before it.
		view, _ := n.pin()
		defer view.Release()
		if _, err := n.write(view, 0); err != nil {
			return 0, fmt.Errorf("write snapshot: %w", err)
		}
	}
	return zxid, nil
}

func (n *Node) recover(max consensus.Zxid) (zxid consensus.Zxid, fresh bool, err error) {
	begin := time.Now()
	s := &n.snaps
	if s.begun {
		if _, err := txnlog.DropSnapshotsAbove(n.cfg.FS, s.dirs.Snap, max); err != nil {
			return 0, false, err
		}
		n.engine.Close()
	} else if at := n.store.Applied(); n.store.Durable() > 0 && at <= int64(max) {
		s.begun = true
		return consensus.Zxid(at), false, n.engine.Open(n.store)
	}
	first := !s.begun
	s.begun = true
	start, err := txnlog.Begin(n.cfg.FS, s.dirs, n.option("snapshot.trust.empty") == "true" || n.wholeLog(), true)
	if err != nil {
		return 0, false, err
	}
	broken, err := txnlog.BrokenSnapshots(n.cfg.FS, s.dirs.Snap)
	if err != nil {
		return 0, false, err
	}
	for _, name := range broken {
		n.log.Warn("a snapshot is not whole: left out", "file", name)
	}
	var bad error
	for _, file := range start.Snapshots {
		if file.Zxid > max {
			continue
		}
		if err := n.load(file); err != nil {
			n.log.Warn("a snapshot can't be read: trying an older one", "file", file.Name, "err", err)
			bad = errors.Join(bad, err)
			continue
		}
		took := time.Since(begin)
		n.log.Info("snapshot loaded", "zxid", file.Zxid, "in", took.Round(100*time.Microsecond), "znodes", n.engine.NodeCount(), "bytes", file.Size)
		n.cfg.Metrics.Observe("dbinittime", float64(took.Milliseconds()))
		n.cfg.Metrics.Observe("startup_snap_load_time", float64(took.Milliseconds()))
		s.busyMu.Lock()
		s.last = file
		s.busyMu.Unlock()
		return file.Zxid, false, nil
	}
	if bad != nil {
		return 0, false, fmt.Errorf("no snapshot can be read: %w", bad)
	}
	if err := n.store.Reset(); err != nil {
		return 0, false, err
	}
	return 0, first && start.Fresh, n.engine.Open(n.store)
}

// wholeLog says that the log begins with the first txn there can be: then no
// snapshot is missing before it.
func (n *Node) wholeLog() bool {
	names, err := n.cfg.FS.ReadDir(n.snaps.dirs.Log)
	if err != nil {
		return false
	}
	for _, name := range names {
		if rest, ok := strings.CutPrefix(name, "log."); ok && (rest == "1" || rest == "100000001") {
			return true
		}
	}
	return false
}

// load makes the state that of a snapshot file.
func (n *Node) load(file txnlog.SnapshotFile) error {
	r, f, err := txnlog.OpenSnapshot(n.cfg.FS, n.snaps.dirs.Snap, file.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	return n.fill(r, file.Zxid)
}

// fill makes the state that of a snapshot.
func (n *Node) fill(r *txnlog.SnapshotReader, zxid consensus.Zxid) error {
	if err := n.store.Reset(); err != nil {
		return err
	}
	if _, err := engine.ReadSnapshot(r, n.store, int64(zxid), n.engineOptions()); err != nil {
		return err
	}
	return n.engine.Open(n.store)
}

// unload keeps everybody away from the engine, whose state is about to be
// replaced. Clients lose their connections: what happened between what they have
// seen and the new state nobody can tell them.
func (n *Node) unload() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loading, n.holding = true, false
	for _, cl := range n.clients {
		cl.c.Close(nil)
	}
}

func (n *Node) loaded() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loading = false
	n.ids.Saw(n.engine.HighestSession(n.cfg.ServerID))
}

// A pinned is a Snapshot for a learner.
type pinned struct {
	view storage.View
	zxid consensus.Zxid
}

// Snapshot pins the state for a learner.
func (n *Node) Snapshot() (consensus.Snapshot, error) {
	view, zxid := n.pin()
	return &pinned{view, zxid}, nil
}

func (p *pinned) Zxid() consensus.Zxid { return p.zxid }

func (p *pinned) WriteTo(w io.Writer) (int64, error) {
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

// Restore replaces the state by a leader's. When it returns nil the state is on
// disk as a snapshot.
func (n *Node) Restore(zxid consensus.Zxid, r io.Reader) error {
	n.unload()
	n.engine.Close()
	if err := n.fill(txnlog.NewSnapshotReader(r, txnlog.StreamForm), zxid); err != nil {
		n.engine.Close()
		err = fmt.Errorf("load the leader's snapshot: %w", err)
		err = errors.Join(err, n.store.Reset(), n.engine.Open(n.store))
		n.loaded()
		return err
	}
	n.loaded()
	n.snaps.mu.Lock()
	defer n.snaps.mu.Unlock()
	view, _ := n.pin()
	defer view.Release()
	if _, err := n.write(view, zxid); err != nil {
		n.fail(ExitSnapshot, fmt.Errorf("write the leader's snapshot: %w", err))
		return err
	}
	n.drawBounds()
	return nil
}

func (n *Node) engineOptions() engine.Options {
	return engine.Options{
		ExtendedTypes: n.cfg.ExtendedTypes, SkipACL: n.cfg.SkipACL, NoDigest: n.cfg.NoDigest,
		SuperDigest: n.cfg.SuperDigest, NoDigestAuth: n.cfg.NoDigestAuth,
		MaxTxnBytes: 2*n.cfg.JuteMaxBuffer - 2*1024,
		ConfigText:  n.cfg.Consensus.ConfigText, ConfigTimeMS: n.wallMS(),
		Fail: func(err error) { n.fail(ExitUnexpected, err) },
		OnDigestMismatch: func(zxid int64, txn, tree uint64) {
			n.cfg.Metrics.Add("digest_mismatches_count", 1)
			n.conns.Warn("digest mismatch: this tree is not the leader's", "zxid", consensus.Zxid(zxid), "leader", txn, "here", tree)
		},
	}
}
