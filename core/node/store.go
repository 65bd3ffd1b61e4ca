package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// openStore opens the store. What it has on disk is derived from snapshots and log:
// if it is damaged it is left out, and made anew from them.
func (n *Node) openStore() (err error) {
	sc := n.cfg.Storage
	if sc.Dir == "" {
		sc.Dir = filepath.Join(n.snaps.dirs.Snap, "store")
	}
	sc.Log = n.log
	sc.Fail = func(err error) { n.fail(storeExit(err), fmt.Errorf("the store: %w", err)) }
	n.store, err = n.cfg.OpenStorage(sc)
	if errors.Is(err, storage.ErrDamaged) {
		n.log.Error("the store is damaged: it is set aside, and made anew from a snapshot and the log", "damage", err, "dir", sc.Dir)
		n.cfg.Metrics.Add("zkcore_storage_damaged", 1)
		sc.Discard = true
		n.store, err = n.cfg.OpenStorage(sc)
	}
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	return nil
}

// storeExit is what the process ends with after an error of the store: whoever starts it again
// can tell from it whether that helps. A damaged store is made anew by the next start.
func storeExit(err error) int {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return consensus.ExitDiskFull
	case errors.Is(err, syscall.EIO):
		return consensus.ExitDisk
	}
	return ExitUnexpected
}

// kept says whether the store survived with a state that recovery may begin with,
// at or below max. All that it holds was committed, and the log, or a snapshot, has
// it too.
//
// A snapshot that is newer was taken while the server ran on another store: the log
// need not reach back to before it.
func (n *Node) kept(max consensus.Zxid) (bool, error) {
	at := consensus.Zxid(n.store.Applied())
	if n.store.Durable() <= 0 || at > max {
		return false, nil
	}
	files, err := txnlog.ListSnapshots(n.cfg.FS, n.snaps.dirs.Snap)
	if err != nil {
		return false, err
	}
	if len(files) > 0 && files[0].Zxid > at {
		n.log.Info("the store is older than the newest snapshot: it is filled anew", "zxid", at, "snapshot", files[0].Zxid)
		return false, nil
	}
	err = n.open()
	if errors.Is(err, engine.ErrOtherOptions) {
		n.log.Info("the store was made with other options: it is filled anew", "zxid", at, "reason", err)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if len(files) > 0 {
		n.snaps.busyMu.Lock()
		n.snaps.last = files[0]
		n.snaps.busyMu.Unlock()
	}
	return true, nil
}

// alone says whether the store, which recovery begins with, has what snapshots and log don't lead
// to: it may be ahead of a log whose last writes a power cut took, or the server may have ended between
// getting a leader's state and writing the snapshot of it. The member removes a log that ends below
// the state. If the store were found to be damaged then, and it is read whole for a snapshot, nothing would
// tell that this server had acknowledged more than its newest snapshot has.
func (n *Node) alone(at consensus.Zxid) (bool, error) {
	n.snaps.busyMu.Lock()
	last := n.snaps.last.Zxid
	n.snaps.busyMu.Unlock()
	if last == at {
		return false, nil
	}
	held, err := txnlog.Holds(n.cfg.FS, n.snaps.dirs.Log, at)
	if err != nil || held {
		return false, err
	}
	n.log.Info("the log does not reach to the store's state: taking a snapshot", "snapshot", last, "zxid", at)
	return true, nil
}

// cover takes a snapshot if the log does not reach down to the newest one, so that damage
// to the store, which alone holds what is between, is never a loss.
func (n *Node) cover() error {
	if n.store.Durable() <= 0 {
		return nil
	}
	n.snaps.busyMu.Lock()
	last := n.snaps.last.Zxid
	n.snaps.busyMu.Unlock()
	if int64(last) == n.store.Applied() {
		return nil
	}
	covered, err := txnlog.BeginsAtOrBelow(n.cfg.FS, n.snaps.dirs.Log, last+1)
	if err != nil || covered {
		return err
	}
	n.log.Info("the log does not reach from the newest snapshot to the store's state: taking a snapshot", "snapshot", last, "zxid", n.store.Applied())
	n.snaps.busyMu.Lock()
	n.snaps.busy = true
	n.snaps.busyMu.Unlock()
	n.world.Go(func() {
		n.save()
		n.snaps.busyMu.Lock()
		n.snaps.busy = false
		n.snaps.busyMu.Unlock()
	})
	return nil
}

// flushStore makes durable what the store has, if it is one that can.
func (n *Node) flushStore() error {
	if err := n.store.Flush(context.Background()); err != nil {
		return fmt.Errorf("flush the store: %w", err)
	}
	return nil
}

// A storeError is one of the store that is being filled, and says nothing about what it
// is filled from.
type storeError struct{ error }

func (e *storeError) Unwrap() error { return e.error }

func ofStore(err error) error {
	if err == nil {
		return nil
	}
	return &storeError{err}
}

// isOfStore says whether the store failed.
func isOfStore(err error) bool {
	var own *storeError
	return errors.As(err, &own)
}

// An importer says how far a snapshot has come into the store, when that takes long, and tells
// the store's errors from the snapshot's.
type importer struct {
	storage.Store
	n       *Node
	records int
	said    int64
	from    string
	failed  error // the store's first
}

const sayEvery = 5 * time.Second

func (n *Node) importer(from string) *importer {
	return &importer{Store: n.store, n: n, said: n.clock(), from: from}
}

func (i *importer) Commit(b *storage.Batch) error {
	err := i.Store.Commit(b)
	for k := range b.Ops {
		if b.Ops[k].Kind == storage.OpPut {
			i.records++
		}
	}
	if now := i.n.clock(); now-i.said >= int64(sayEvery) {
		i.said = now
		i.n.log.Info("filling the store", "from", i.from, "znodes", i.records)
	}
	return i.noted(err)
}

func (i *importer) noted(err error) error {
	if i.failed == nil {
		i.failed = err
	}
	return err
}

func (i *importer) View() storage.View { return importedView{i.Store.View(), i} }

// An importedView is what is asked while the store is filled.
type importedView struct {
	storage.View
	i *importer
}

func (v importedView) Get(path string) (storage.Record, bool, error) {
	rec, ok, err := v.View.Get(path)
	return rec, ok, v.i.noted(err)
}
