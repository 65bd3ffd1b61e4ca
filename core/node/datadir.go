package node

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

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
		l, err := n.cfg.FS.Lock(filepath.Join(dir, LockName))
		if err != nil {
			n.unlockDirs()
			err = fmt.Errorf("data directory %s: %w", dir, err)
			if errors.Is(err, vfs.ErrLocked) {
				return &consensus.ExitError{Code: consensus.ExitLocked, Err: err}
			}
			return err
		}
		n.snaps.lock = append(n.snaps.lock, l)
	}
	n.drawBounds()
	return nil
}

// LockName is the file that a running server holds locked.
const LockName = ".lock"

func (n *Node) unlockDirs() {
	for _, l := range n.snaps.lock {
		l.Close()
	}
	n.snaps.lock = nil
}

// option is a key of the configuration that the consensus module gets too.
func (n *Node) option(key string) string { return n.cfg.Consensus.Options[key] }
