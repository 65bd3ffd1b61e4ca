package node

import (
	"errors"
	"fmt"

	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// Export writes what a store has kept as a snapshot file, which a server with any
// store starts from. No server may run on the directory meanwhile; cfg is as for
// Start, of which it takes the directories, the store and the file system.
func Export(cfg Config) (file txnlog.SnapshotFile, znodes int, err error) {
	err = WithStopped(cfg, func(n *Node) (err error) {
		if err := n.openStore(); err != nil {
			return err
		}
		view := n.store.View()
		defer func() {
			view.Release()
			err = errors.Join(err, n.store.Close())
		}()
		zxid := consensus.Zxid(view.Applied())
		if n.store.Durable() <= 0 {
			return fmt.Errorf("the store keeps no state on disk: a server without it starts from the newest snapshot and the log, in %s", n.snaps.dirs.Snap)
		}
		if err := txnlog.SyncSnapshots(n.cfg.FS, n.snaps.dirs.Snap); err != nil {
			return err
		}
		znodes = view.Len()
		file, err = txnlog.SaveSnapshot(n.cfg.FS, n.snaps.dirs.Snap, zxid, n.compression(), func(w *txnlog.SnapshotWriter) error {
			return engine.WriteSnapshot(w, txnlog.FileForm, view)
		})
		return err
	})
	return file, znodes, err
}

// WithStopped calls fn while no server can start on cfg's directories.
func WithStopped(cfg Config, fn func(*Node) error) error {
	if cfg.OpenConsensus == nil {
		cfg.OpenConsensus = func(consensus.Config, consensus.Node) (consensus.Member, error) { return nil, nil }
	}
	if cfg.OpenStorage == nil {
		cfg.OpenStorage = func(storage.Config) (storage.Store, error) { return nil, errors.New("no store") }
	}
	if err := cfg.defaults(); err != nil {
		return err
	}
	n := &Node{cfg: cfg, log: cfg.Log, world: cfg.World, opened: make(chan struct{})}
	if err := n.openDirs(); err != nil {
		if l := (*consensus.ExitError)(nil); errors.As(err, &l) && l.Code == consensus.ExitLocked {
			return &consensus.ExitError{Code: l.Code, Err: fmt.Errorf("%w: stop the server first", err)}
		}
		return err
	}
	defer n.unlockDirs()
	return fn(n)
}
