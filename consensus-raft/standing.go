package raft

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/zkcore/zkcore/consensus-raft/protocol"
	"github.com/zkcore/zkcore/core/member"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// stateFile in dataDir/version-2 is what this server keeps beside the txns.
const stateFile = "raft"

func stateName(dataDir string) string { return member.Version2(dataDir) + "/" + stateFile }

// readState reads it. there says whether it is there.
func readState(fsys vfs.FS, dataDir string) (st protocol.State, there bool, err error) {
	name := stateName(dataDir)
	b, err := vfs.ReadFile(fsys, name, 1<<24)
	if errors.Is(err, fs.ErrNotExist) {
		return st, false, nil
	}
	if err != nil {
		return st, false, err
	}
	st, err = protocol.DecodeState(b)
	switch {
	case errors.Is(err, protocol.ErrVersion):
		return st, true, &consensus.ExitError{Code: consensus.ExitFormat, Err: fmt.Errorf("%s: %w", name, err)}
	case err != nil:
		return st, true, fmt.Errorf("%s: %w", name, err)
	}
	// It may be in memory only, if a sync failed in the life before.
	return st, true, writeState(fsys, dataDir, b)
}

func writeState(fsys vfs.FS, dataDir string, b []byte) error {
	dir := member.Version2(dataDir)
	if err := vfs.WriteFile(fsys, dir, stateName(dataDir)+".tmp", stateName(dataDir), b); err != nil {
		return fmt.Errorf("%s: %w", stateName(dataDir), err)
	}
	return nil
}

// stand says what the data of a member is worth.
func stand(fsys vfs.FS, cfg consensus.Config, o *options, s *store) error {
	st := &s.found.State
	before := string(st.Encode())
	if st.Alone {
		// All that a server without an ensemble wrote is committed. What others have of it
		// they have under the same numbers.
		z := s.found.Last
		base := aloneBase(z)
		*st = protocol.State{Standing: protocol.Blank, Term: max(st.Term, base.Term), Base: base}
		if z == 0 {
			st.Base, st.Term = protocol.Point{}, 0
		}
	}
	// Who has a term was part of an ensemble, with this disk.
	empty := s.found.Last == 0 && st.Term == 0
	switch {
	case empty && s.initialize:
		cfg.Log.Warn("no data, and the file initialize says that there is to be none: this server votes")
		st.Standing, st.Why = protocol.Proven, ""
	case st.Standing == protocol.Lost:
		cfg.Log.Warn("this server's data was lost: it has no vote until it has got everything from a leader", "damage", st.Why)
	case st.Standing != protocol.Blank:
	case s.initialize:
		cfg.Log.Warn("the file initialize says that this server's data is what the ensemble begins with: this server votes")
		st.Standing, st.Why = protocol.Proven, ""
	case empty && o.autocreate == "true":
		cfg.Log.Warn("no data: this server votes all the same", "db.autocreate", true)
		st.Standing, st.Why = protocol.Proven, ""
	case empty && o.autocreate == "false":
		cfg.Log.Warn("no data: this server votes only after it got a leader's snapshot", "db.autocreate", false)
		st.Standing, st.Why = protocol.Lost, "there was no data, and db.autocreate is false"
	default:
		st.Why = "it was never known to have all that it acknowledged"
	}
	if b := st.Encode(); string(b) != before || !isThere(fsys, cfg.DataDir) {
		return writeState(fsys, cfg.DataDir, b)
	}
	return nil
}

// aloneBase is the base of a server whose log, up to z, was written without raft.
func aloneBase(z consensus.Zxid) protocol.Point {
	return protocol.Point{Index: uint64(z), Term: uint64(max(z.Epoch(), 1)), Zxid: z}
}

func isThere(fsys vfs.FS, dataDir string) bool {
	_, err := fsys.Stat(stateName(dataDir))
	return err == nil
}

// standAlone makes what is on the disk that of a server without an ensemble, unless it was
// set aside when the server was one of an ensemble: it would begin with nothing.
func standAlone(fsys vfs.FS, cfg consensus.Config, s *store) error {
	st := &s.found.State
	if st.Standing == protocol.Lost {
		return &consensus.ExitError{Code: consensus.ExitDamage, Err: fmt.Errorf(
			"this server's data was set aside (%s), and alone it has nobody to get it from: move it back, or remove %s to begin with what is there",
			st.Why, stateName(cfg.DataDir))}
	}
	if st.Alone {
		return nil
	}
	*st = protocol.State{Standing: protocol.Blank, Term: max(st.Term, uint64(s.found.Last.Epoch())), Alone: true}
	return writeState(fsys, cfg.DataDir, st.Encode())
}

// setAside moves everything on disk into a folder of its own, after a note that this
// server has lost what it had. Whenever that ends, the next start finds either the
// damage or the note.
func setAside(fsys vfs.FS, cfg consensus.Config, n consensus.Node, why error) error {
	name, err := freeName(fsys, cfg)
	if err != nil {
		return err
	}
	folder, logFolder := cfg.DataDir+"/"+name, cfg.LogDir+"/"+name
	for _, dir := range []string{cfg.DataDir, cfg.LogDir} {
		if err := errors.Join(fsys.MkdirAll(dir+"/"+name), fsys.SyncDir(dir)); err != nil {
			return err
		}
	}
	dir := member.Version2(cfg.DataDir)
	st, there, err := readState(fsys, cfg.DataDir)
	if err != nil {
		if !errors.Is(err, consensus.ErrDamaged) {
			return err
		}
		st, there = protocol.State{}, true
		if err := txnlog.SetFileAside(fsys, dir, folder, stateFile); err != nil {
			return err
		}
	}
	// A term and a vote are a promise that holds on, if they can be read.
	lost := protocol.State{Standing: protocol.Lost, Why: why.Error()}
	if there {
		lost.Term, lost.Vote = st.Term, st.Vote
	}
	if err := writeState(fsys, cfg.DataDir, lost.Encode()); err != nil {
		return err
	}
	if err := n.SetAside(folder); err != nil {
		return err
	}
	if err := txnlog.SetFileAside(fsys, dir, folder, listFile); err != nil {
		return err
	}
	moved, err := txnlog.SetLogsAside(fsys, member.Version2(cfg.LogDir), logFolder)
	if err != nil {
		return err
	}
	cfg.Log.Error("the data on this disk is damaged: it is set aside, and this server has no vote until it has got everything from a leader",
		"damage", why, "folder", folder, "logs", logFolder, "files", len(moved))
	return nil
}

// freeName is the name of a folder that is not there yet.
func freeName(fsys vfs.FS, cfg consensus.Config) (string, error) {
	for i := 1; i < 10000; i++ {
		name := fmt.Sprintf("damaged.%d", i)
		_, err1 := fsys.Stat(cfg.DataDir + "/" + name)
		_, err2 := fsys.Stat(cfg.LogDir + "/" + name)
		if errors.Is(err1, fs.ErrNotExist) && errors.Is(err2, fs.ErrNotExist) {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s: too many folders damaged.*: remove those that nobody needs", cfg.DataDir)
}
