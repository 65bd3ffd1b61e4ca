package zab

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/zkcore/zkcore/consensus-zab/protocol"
	"github.com/zkcore/zkcore/core/member"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// standingFile in dataDir/version-2 says that this server's data is not all that it ever
// acknowledged: its first word is one of those below, the rest is for the operator. It
// is there before anything of a leader's is written, and goes when a leader's history and
// epoch are on the disk.
const (
	standingFile = "standing"
	wordBlank    = "blank"
	wordLost     = "lost"
)

// listFile, beside it, says which files the log has.
const listFile = "segments"

func readStanding(fsys vfs.FS, dataDir string) (protocol.Standing, string, error) {
	name := member.Version2(dataDir) + "/" + standingFile
	b, err := vfs.ReadFile(fsys, name, 1<<16)
	if errors.Is(err, fs.ErrNotExist) {
		return protocol.Proven, "", nil
	}
	if err != nil {
		return protocol.Lost, "", err
	}
	word, why, _ := strings.Cut(strings.TrimSpace(string(b)), ": ")
	if word == wordBlank {
		return protocol.Blank, why, nil
	}
	return protocol.Lost, why, nil // what can't be read says nothing better
}

func writeStanding(fsys vfs.FS, dataDir, word, why string) error {
	dir := member.Version2(dataDir)
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	name := dir + "/" + standingFile
	if err := vfs.WriteFile(fsys, dir, name+".tmp", name, []byte(word+": "+why+"\n")); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return fsys.SyncDir(dataDir)
}

func removeStanding(fsys vfs.FS, dataDir string) error {
	dir := member.Version2(dataDir)
	err := fsys.Remove(dir + "/" + standingFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", standingFile, err)
	}
	return fsys.SyncDir(dir)
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
	// The note comes first: what is left when an epoch file is gone may look like the data of a server that
	// never had one, and would give the vote of an earlier life.
	if err := writeStanding(fsys, cfg.DataDir, wordLost, why.Error()); err != nil {
		return err
	}
	if err := txnlog.SetFileAside(fsys, dir, folder, txnlog.CurrentEpoch); err != nil {
		return err
	}
	// acceptedEpoch is a promise that holds on, if it can be read.
	if _, _, err := txnlog.ReadEpoch(fsys, dir, txnlog.AcceptedEpoch); err != nil {
		if err := txnlog.SetFileAside(fsys, dir, folder, txnlog.AcceptedEpoch); err != nil {
			return err
		}
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

// standing says what this server's data is worth.
func standing(fsys vfs.FS, cfg consensus.Config, o *options, s store) (protocol.Standing, error) {
	st, why, err := readStanding(fsys, cfg.DataDir)
	if err != nil {
		return st, err
	}
	current, _, err := txnlog.ReadEpoch(fsys, member.Version2(cfg.DataDir), txnlog.CurrentEpoch)
	if err != nil {
		return st, err
	}
	// Who has an epoch was part of an ensemble, with this disk.
	empty := s.last == 0 && current == 0
	switch {
	case empty && s.initialize:
		cfg.Log.Warn("no data, and the file initialize says that there is to be none: this server votes")
		return protocol.Proven, removeStanding(fsys, cfg.DataDir)
	case st == protocol.Lost:
		cfg.Log.Warn("this server's data was lost: it has no vote until it has got everything from a leader", "damage", why)
		return st, nil
	case st == protocol.Blank && !empty:
		cfg.Log.Warn("this server was not brought up to date completely: it has no vote until it is")
		return st, nil
	case !empty:
		return protocol.Proven, nil
	case simbug.On("blank-votes"): // nothing is there, so nothing can have been acked
		return protocol.Proven, nil
	case o.autocreate == "true":
		cfg.Log.Warn("no data: this server votes all the same", "db.autocreate", true)
		return protocol.Proven, removeStanding(fsys, cfg.DataDir)
	case o.autocreate == "false":
		cfg.Log.Warn("no data: this server votes only after it got a leader's snapshot", "db.autocreate", false)
		return protocol.Lost, writeStanding(fsys, cfg.DataDir, wordLost, "there was no data, and db.autocreate is false")
	}
	if st != protocol.Blank {
		err = writeStanding(fsys, cfg.DataDir, wordBlank, "there was no data when this server started")
	}
	return protocol.Blank, err
}

// mayStandAlone refuses a standalone server whose data was set aside when it was one of
// an ensemble: it would begin with nothing.
func mayStandAlone(fsys vfs.FS, cfg consensus.Config) error {
	st, why, err := readStanding(fsys, cfg.DataDir)
	if err != nil {
		return err
	}
	if st == protocol.Lost {
		return &consensus.ExitError{Code: consensus.ExitDamage, Err: fmt.Errorf(
			"this server's data was set aside (%s), and alone it has nobody to get it from: move it back, or remove %s to begin with what is there",
			why, member.Version2(cfg.DataDir)+"/"+standingFile)}
	}
	return removeStanding(fsys, cfg.DataDir)
}
