package raft

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/zkcore/zkcore/consensus-raft/protocol"
	"github.com/zkcore/zkcore/core/member"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// zabStanding is the file in which consensus-zab says that a server has no vote.
const zabStanding = "standing"

// FromZab makes data directories that Zab wrote, Apache's or consensus-zab's, raft's. No
// server may run on them. The transactions and the snapshots stay as they are. It returns
// the last zxid there is.
//
// Whenever it ends, the directories are still Zab's, or raft's already.
func FromZab(fsys vfs.FS, dataDir, logDir string) (consensus.Zxid, error) {
	data := member.Version2(dataDir)
	if err := ownedBy(fsys, dataDir, logDir, txnlog.Zab); err != nil {
		return 0, err
	}
	var epochs [2]int64
	for i, name := range []string{txnlog.AcceptedEpoch, txnlog.CurrentEpoch} {
		e, _, err := txnlog.ReadEpoch(fsys, data, name)
		if err != nil {
			return 0, err
		}
		epochs[i] = e
	}
	last, l, _, err := openOffline(fsys, dataDir, logDir)
	if err != nil {
		return 0, err
	}
	if err := l.Close(); err != nil {
		return 0, err
	}
	st := protocol.State{Standing: protocol.Blank, Alone: true, Term: uint64(max(epochs[0], epochs[1], last.Epoch()))}
	switch b, err := vfs.ReadFile(fsys, data+"/"+zabStanding, 1<<16); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return 0, err
	case last == 0 && strings.HasPrefix(string(b), "blank"):
	default:
		return 0, fmt.Errorf("%s/%s says that this server was never brought up to date under zab: start it once under zab, or convert the others and let this one begin with an empty directory", data, zabStanding)
	}
	if err := writeState(fsys, dataDir, st.Encode()); err != nil {
		return 0, err
	}
	if err := own(fsys, dataDir, logDir, Name); err != nil {
		return 0, err
	}
	return last, remove(fsys, data, txnlog.AcceptedEpoch, txnlog.CurrentEpoch, zabStanding)
}

// ToZab makes raft's data directories Zab's. No server may run on them. It returns the
// last zxid there is.
func ToZab(fsys vfs.FS, dataDir, logDir string) (consensus.Zxid, error) {
	data := member.Version2(dataDir)
	if err := ownedBy(fsys, dataDir, logDir, Name); err != nil {
		return 0, err
	}
	st, there, err := readState(fsys, dataDir)
	switch {
	case err != nil:
		return 0, err
	case !there:
		return 0, fmt.Errorf("%s is missing: start the server once under raft", stateName(dataDir))
	case st.Pending.Index != 0 || st.Cut:
		return 0, fmt.Errorf("%s says that something was left half done: start the server once under raft", stateName(dataDir))
	}
	last, l, runs, err := openOffline(fsys, dataDir, logDir)
	if err != nil {
		return 0, err
	}
	if err := l.Close(); err != nil {
		return 0, err
	}
	f := protocol.Found{State: st, Recovered: runs.from, Last: last, Runs: runs.runs}
	current := last.Epoch()
	if !st.Alone {
		// A log that has begun with what a leader has, be it with the empty entry of a term, or with a snapshot
		// whose rest did not come, would be a voter's under Zab.
		begun := last > st.Base.Zxid || len(st.Starts) > 0 || st.Base != (protocol.Point{}) && st.Base != aloneBase(st.Base.Zxid)
		if st.Standing == protocol.Lost || st.Standing == protocol.Blank && begun {
			return 0, fmt.Errorf("%s says that this server was never brought up to date under raft (%s): start it once under raft, or convert the others and let this one begin with an empty directory",
				stateName(dataDir), st.Standing)
		}
		if err := f.Check(); err != nil {
			return 0, fmt.Errorf("%s: %w", stateName(dataDir), err)
		}
		// A term that has only its empty entry outranks the txns of those before it.
		current = max(current, int64(f.LastTerm()))
	}
	accepted := max(int64(st.Term), current)
	if err := txnlog.WriteEpoch(fsys, data, txnlog.AcceptedEpoch, accepted); err != nil {
		return 0, err
	}
	if err := txnlog.WriteEpoch(fsys, data, txnlog.CurrentEpoch, current); err != nil {
		return 0, err
	}
	if err := own(fsys, dataDir, logDir, txnlog.Zab); err != nil {
		return 0, err
	}
	return last, remove(fsys, data, stateFile)
}

// ownedBy wants the directories to be of one module.
func ownedBy(fsys vfs.FS, dataDir, logDir, want string) error {
	owner, err := txnlog.ReadOwner(fsys, member.Version2(dataDir), member.Version2(logDir))
	switch {
	case err != nil:
		return err
	case owner == "":
		return fmt.Errorf("%s is empty: there is nothing to convert", member.Version2(dataDir))
	case owner != want:
		return fmt.Errorf("the data in %s is that of --consensus=%s already, or of another module: %s was expected", member.Version2(dataDir), owner, want)
	}
	return nil
}

// own writes the new owner. Until the last file is written the old one counts.
func own(fsys vfs.FS, dataDir, logDir, owner string) error {
	if logDir != dataDir {
		// Both must say the same: so the one that is not needed goes first.
		if err := remove(fsys, member.Version2(logDir), txnlog.OwnerFile); err != nil {
			return err
		}
	}
	if err := txnlog.WriteOwner(fsys, member.Version2(dataDir), owner); err != nil {
		return err
	}
	if logDir != dataDir {
		return txnlog.WriteOwner(fsys, member.Version2(logDir), owner)
	}
	return nil
}

func remove(fsys vfs.FS, dir string, names ...string) error {
	for _, name := range names {
		if err := fsys.Remove(dir + "/" + name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fsys.SyncDir(dir)
}

type above struct {
	from consensus.Zxid
	runs []protocol.Run
}

// openOffline opens the log as a start would, over the newest snapshot that can be read.
func openOffline(fsys vfs.FS, dataDir, logDir string) (consensus.Zxid, *txnlog.Log, above, error) {
	var a above
	files, err := txnlog.ListSnapshots(fsys, member.Version2(dataDir))
	if err != nil {
		return 0, nil, a, err
	}
	newest, err := txnlog.NewestName(fsys, member.Version2(dataDir))
	if err != nil {
		return 0, nil, a, err
	}
	if len(files) > 0 {
		a.from = files[0].Zxid
	}
	// A store that keeps its state itself needs neither the snapshot nor the log up to it.
	first, err := firstLogged(fsys, member.Version2(logDir))
	if err != nil {
		return 0, nil, a, err
	}
	if first > 0 {
		a.from = max(a.from, first-1)
	}
	l, rec, err := txnlog.OpenLog(fsys, member.Version2(logDir), txnlog.Options{
		From: a.from, AtLeast: newest, List: member.Version2(dataDir) + "/" + listFile,
		MaxRecord: 1 << 30, // whatever jute.maxbuffer is: no txn is made, and none goes anywhere
		Visit:     func(t consensus.Txn) error { a.runs = addRun(a.runs, t.Zxid); return nil },
	})
	if err != nil {
		return 0, nil, a, fmt.Errorf("transaction log in %s: %w", member.Version2(logDir), err)
	}
	return rec.Last, l, a, nil
}

// firstLogged is the zxid that the oldest file of the log begins with; 0 if there is none.
func firstLogged(fsys vfs.FS, dir string) (first consensus.Zxid, err error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		hex, ok := strings.CutPrefix(name, "log.")
		if !ok {
			continue
		}
		if z, err := strconv.ParseUint(hex, 16, 63); err == nil && (first == 0 || consensus.Zxid(z) < first) {
			first = consensus.Zxid(z)
		}
	}
	return first, nil
}
