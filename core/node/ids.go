package node

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/zkcore/zkcore/core/vfs"
)

// idsFile, beside the snapshots, says up to where this server may have numbered sessions.
// The wall clock alone does not: it may go back over a restart, and sessions that are
// closed are in no snapshot (I19). Behind the number it says lostIDs as long as nobody
// knows up to where that was before there was this file.
const (
	idsFile = "sessionIds"
	lostIDs = "lost"
)

// idsAhead is how many numbers are reserved with one write: as many as a minute of the
// clock is worth, and more than a server gives in days.
const idsAhead = 1 << 32

// idsJump is how far a server may go ahead that does not know what it gave: three days of
// the clock.
const idsJump = 1 << 44

// openIDs goes on behind all that was reserved before, and reserves more.
func (n *Node) openIDs() error {
	b, err := vfs.ReadFile(n.cfg.FS, filepath.Join(n.snaps.dirs.Snap, idsFile), 64)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		n.idsLost = true
	case err != nil:
		return err
	default:
		s, lost := strings.CutSuffix(strings.TrimSpace(string(b)), " "+lostIDs)
		n.idsLost = lost
		high, err := strconv.ParseUint(s, 16, 64)
		if err != nil {
			// Nothing is lost with it but the certainty that the clock never went back.
			n.idsLost = true
			n.log.Warn("the file of session ids can't be read: the clock alone says which are new", "file", idsFile, "err", err)
			break
		}
		n.ids.Saw(int64(high) - 1)
	}
	return n.reserveIDs()
}

// reserveIDs makes durable that more numbers may be given.
func (n *Node) reserveIDs() error {
	n.clientsMu.Lock()
	high, lost := n.ids.After(idsAhead), ""
	if n.idsLost {
		lost = " " + lostIDs
	}
	n.clientsMu.Unlock()
	dir := n.snaps.dirs.Snap
	name := filepath.Join(dir, idsFile)
	if err := vfs.WriteFile(n.cfg.FS, dir, name+".tmp", name, fmt.Appendf(nil, "%x%s\n", uint64(high), lost)); err != nil {
		return fmt.Errorf("session ids: %w", err)
	}
	n.clientsMu.Lock()
	n.ids.Reserve(high)
	n.reserving = false
	n.clientsMu.Unlock()
	return nil
}

// idsFound is called when a server begins to serve: one whose file of ids is lost, with its
// disk maybe, knows of its earlier lives what is in the state, which says nothing of closed
// sessions. It goes on somewhere behind: a clock that went back by chance to where it was
// when such a session began does not bring back its id. n.mu is held.
func (n *Node) idsFound() {
	n.clientsMu.Lock()
	defer n.clientsMu.Unlock()
	if n.idsLost {
		n.idsLost = false
		if last := n.engine.LastZxid(); last>>32 > 1 || last&math.MaxUint32 > 0 { // else nobody had a session
			n.ids.Saw(n.ids.After(idsAhead + n.world.IntN(idsJump)))
		}
		n.reserveMore()
		return
	}
	n.moreIDs() // what came from the log or the leader may have gone beyond
}

// sawID notes a number that is in use. n.mu is held, which does not keep off who reserves.
func (n *Node) sawID(id int64) {
	n.clientsMu.Lock()
	n.ids.Saw(id)
	n.clientsMu.Unlock()
}

// moreIDs reserves numbers beside everything else when half of those reserved are given.
// clientsMu is held.
func (n *Node) moreIDs() {
	if n.ids.Left() <= idsAhead/2 {
		n.reserveMore()
	}
}

// reserveMore reserves numbers beside everything else. clientsMu is held.
func (n *Node) reserveMore() {
	if n.reserving {
		return
	}
	n.reserving = true
	n.world.Go(func() {
		if err := n.reserveIDs(); err != nil {
			n.fail(ExitUnexpected, err)
			return
		}
		n.clientsMu.Lock()
		n.moreIDs() // numbers were given meanwhile, or skipped
		n.clientsMu.Unlock()
	})
}
