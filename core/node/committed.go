package node

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// committedFile, beside the snapshots, has a zxid up to which this server knew that txns were
// committed, so that after a restart without a leader it can show what it had and not only its
// newest snapshot. It may be behind, and is none of the things that anything rests on: nothing is
// ever done because it is missing.
const committedFile = "committed"

// committedEvery is how often it is written, if there is something new.
const committedEvery = 10 * time.Second

// openCommitted tells the member what the file says.
func (n *Node) openCommitted(cc *consensus.Config) error {
	if !n.cfg.ReadOnly {
		return nil
	}
	b, err := vfs.ReadFile(n.cfg.FS, filepath.Join(n.snaps.dirs.Snap, committedFile), 64)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	zxid, err := strconv.ParseInt(strings.TrimSpace(string(b)), 16, 64)
	if err != nil || zxid < 0 {
		n.log.Warn("what was committed is not known, until there is a leader", "file", committedFile, "text", strings.TrimSpace(string(b)))
		return nil
	}
	cc.Options = maps.Clone(cc.Options)
	if cc.Options == nil {
		cc.Options = map[string]string{}
	}
	cc.Options[consensus.OptionCommitted] = strconv.FormatInt(zxid, 10)
	return nil
}

// keepCommitted writes the file anew, beside everything else.
func (n *Node) keepCommitted() {
	if !n.cfg.ReadOnly || !n.writing.CompareAndSwap(false, true) {
		return
	}
	n.world.Go(func() {
		defer n.writing.Store(false)
		n.mu.RLock()
		if n.loading || n.doubt || !n.served {
			n.mu.RUnlock()
			return
		}
		zxid := n.engine.LastZxid()
		n.mu.RUnlock()
		if zxid == n.committed {
			return
		}
		dir := n.snaps.dirs.Snap
		name := filepath.Join(dir, committedFile)
		if err := vfs.WriteFile(n.cfg.FS, dir, name+".tmp", name, fmt.Appendf(nil, "%x\n", uint64(zxid))); err != nil {
			n.log.Warn("what is committed can't be noted: after a restart this server shows less, until there is a leader", "err", err)
			return
		}
		n.committed = zxid
	})
}

// dropCommitted removes the file, as the state that it was about is not this server's any more.
func (n *Node) dropCommitted() error {
	err := n.cfg.FS.Remove(filepath.Join(n.snaps.dirs.Snap, committedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
