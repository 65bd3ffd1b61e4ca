package node

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// Recover loads the newest snapshot at or below max that can be read. Whether the
// log goes on from there is for the member to see.
func (n *Node) Recover(max consensus.Zxid) (consensus.Zxid, error) {
	n.snaps.mu.Lock() // no snapshot of a state that is half there
	defer n.snaps.mu.Unlock()
	n.unload()
	zxid, save, err := n.recover(max)
	if err != nil {
		return 0, err
	}
	n.loaded()
	if save {
		view, zxid := n.pin()
		defer view.Release()
		if _, err := n.write(view, zxid); err != nil {
			return 0, fmt.Errorf("write snapshot: %w", err)
		}
	}
	return zxid, nil
}

// recover says, too, whether a snapshot of the state is to be written before anything is built on it.
func (n *Node) recover(max consensus.Zxid) (zxid consensus.Zxid, save bool, err error) {
	begin := n.clock()
	s := &n.snaps
	if s.begun {
		if _, err := txnlog.DropSnapshotsAbove(n.cfg.FS, s.dirs.Snap, max); err != nil {
			return 0, false, err
		}
		n.engine.Close()
	}
	first := !s.begun
	s.begun = true
	if err := txnlog.SyncSnapshots(n.cfg.FS, s.dirs.Snap); err != nil {
		return 0, false, err
	}
	if first {
		kept, err := n.kept(max)
		if err != nil {
			return 0, false, err
		}
		if kept {
			zxid := consensus.Zxid(n.store.Applied())
			took := time.Duration(n.clock() - begin)
			n.log.Info("state opened in the store", "zxid", zxid, "in", took.Round(100*time.Microsecond), "znodes", n.engine.NodeCount())
			n.cfg.Metrics.Observe("dbinittime", float64(took.Milliseconds()))
			alone, err := n.alone(zxid)
			return zxid, alone, err
		}
	}
	whole, err := n.wholeLog()
	if err != nil {
		return 0, false, err
	}
	start, err := txnlog.Begin(n.cfg.FS, s.dirs, whole || n.option("snapshot.trust.empty") == "true", true)
	if errors.Is(err, txnlog.ErrNoSnapshot) {
		return 0, false, damaged(err)
	}
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
	// The names may be in memory only, if a sync failed in the life before: nothing may
	// count on them, such as a log that is cut to fit, before they are on the disk.
	if len(start.Snapshots) > 0 {
		if err := n.cfg.FS.SyncDir(s.dirs.Snap); err != nil {
			return 0, false, err
		}
	}
	for _, file := range start.Snapshots {
		if file.Zxid > max {
			continue
		}
		if err := n.load(file); err != nil {
			var format *txnlog.FormatError
			if errors.As(err, &format) {
				format.File = file.Name
				return 0, false, err
			}
			if isOfStore(err) {
				// An older snapshot would not help, and nothing is to be set aside for it.
				return 0, false, &consensus.ExitError{Code: storeExit(err), Err: fmt.Errorf("fill the store from %s: %w", file.Name, err)}
			}
			n.log.Warn("a snapshot can't be read: trying an older one", "file", file.Name, "err", err)
			bad = errors.Join(bad, err)
			continue
		}
		if err := n.flushStore(); err != nil {
			return 0, false, err
		}
		took := time.Duration(n.clock() - begin)
		n.log.Info("snapshot loaded", "zxid", file.Zxid, "in", took.Round(100*time.Microsecond), "znodes", n.engine.NodeCount(), "bytes", file.Size)
		n.cfg.Metrics.Observe("dbinittime", float64(took.Milliseconds()))
		n.cfg.Metrics.Observe("startup_snap_load_time", float64(took.Milliseconds()))
		s.busyMu.Lock()
		s.last = file
		s.busyMu.Unlock()
		return file.Zxid, false, nil
	}
	if bad != nil {
		return 0, false, damaged(fmt.Errorf("no snapshot can be read: %w", bad))
	}
	if err := n.store.Reset(); err != nil {
		return 0, false, err
	}
	// Apache starts from no log without a snapshot before it.
	return 0, first && start.Fresh, n.open()
}

// wholeLog says that the log begins with the first txn there can be: then no
// snapshot is missing before it.
func (n *Node) wholeLog() (bool, error) {
	names, err := n.cfg.FS.ReadDir(n.snaps.dirs.Log)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if rest, ok := strings.CutPrefix(name, "log."); ok && (rest == "1" || rest == "100000001") {
			return true, nil
		}
	}
	return false, nil
}

// damaged says of an error that it is what the files hold that is wrong. A disk that
// can't be read is another matter: what is on it may be good.
func damaged(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return err
	}
	return fmt.Errorf("%w: %w", consensus.ErrDamaged, err)
}

// SetAside moves the snapshots into folder.
func (n *Node) SetAside(folder string) error {
	n.snaps.mu.Lock()
	defer n.snaps.mu.Unlock()
	n.unload()
	n.engine.Close()
	moved, err := txnlog.SetSnapshotsAside(n.cfg.FS, n.snaps.dirs.Snap, folder)
	if len(moved) > 0 {
		n.log.Warn("snapshots are set aside", "folder", folder, "files", moved)
	}
	n.snaps.begun = false
	n.snaps.busyMu.Lock()
	n.snaps.last = txnlog.SnapshotFile{}
	n.snaps.busyMu.Unlock()
	return errors.Join(err, n.dropCommitted(), n.store.Reset())
}

// load makes the state that of a snapshot file.
func (n *Node) load(file txnlog.SnapshotFile) error {
	r, f, err := txnlog.OpenSnapshot(n.cfg.FS, n.snaps.dirs.Snap, file.Name)
	if err != nil {
		return err
	}
	return errors.Join(n.fill(r, file.Zxid, file.Name), f.Close())
}

// open makes the store's state the engine's. Connections that have lost their state
// are ending meanwhile, and drop their watches.
func (n *Node) open() error {
	n.watchMu.Lock()
	defer n.watchMu.Unlock()
	return n.engine.Open(n.store)
}

// fill makes the state that of a snapshot.
func (n *Node) fill(r *txnlog.SnapshotReader, zxid consensus.Zxid, from string) error {
	if err := n.store.Reset(); err != nil {
		return ofStore(err)
	}
	i := n.importer(from)
	if _, err := engine.ReadSnapshot(r, i, int64(zxid), n.engineOptions()); err != nil {
		if i.failed != nil {
			return ofStore(i.failed)
		}
		return err
	}
	return ofStore(n.open())
}

// unload keeps everybody away from the engine, whose state is about to be
// replaced. Clients lose their connections: what happened between what they have
// seen and the new state nobody can tell them.
func (n *Node) unload() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.shutOut()
}

// shutOut is unload for who holds the write lock.
func (n *Node) shutOut() {
	n.loading, n.holding, n.readOnly = true, false, false
	n.endReadOnly()
	for _, cl := range n.byAge() {
		cl.c.Close(nil)
	}
}

func (n *Node) loaded() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loading, n.doubt = false, false
	n.sawID(n.engine.HighestSession(n.cfg.ServerID))
}

// Restore replaces the state by a leader's. When it returns nil the state is on
// disk as a snapshot.
func (n *Node) Restore(zxid consensus.Zxid, r io.Reader) error {
	n.snaps.mu.Lock() // no snapshot of a state that is half there
	defer n.snaps.mu.Unlock()
	n.unload()
	n.engine.Close()
	if err := n.fill(txnlog.NewSnapshotReader(r, txnlog.StreamForm), zxid, "the leader's snapshot"); err != nil {
		n.engine.Close()
		err = fmt.Errorf("load the leader's snapshot: %w", err)
		err = errors.Join(err, ofStore(n.store.Reset()), ofStore(n.open()))
		if isOfStore(err) {
			// No other leader's would do better.
			n.fail(storeExit(err), err)
			return err
		}
		n.loaded()
		return err
	}
	n.loaded()
	view, _ := n.pin()
	defer view.Release()
	_, err := n.write(view, zxid)
	if err == nil {
		err = n.flushStore()
	}
	if err != nil {
		n.fail(ExitSnapshot, fmt.Errorf("write the leader's snapshot: %w", err))
		return err
	}
	n.drawBounds()
	return nil
}
