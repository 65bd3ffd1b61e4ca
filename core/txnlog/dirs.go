package txnlog

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/zkcore/zkcore/core/vfs"
)

// VersionDir is the directory below dataDir and dataLogDir that holds the files.
const VersionDir = "version-2"

// Dirs are the two directories of a server, each with its version-2.
type Dirs struct {
	Snap string // <dataDir>/version-2
	Log  string // <dataLogDir>/version-2
	// Top is dataLogDir itself, which holds the file initialize.
	Top string
}

// Errors of a data directory, in Apache's words: operators look for them.
var (
	ErrSnapshotsInLogDir = errors.New("Log directory has snapshot files. Check if dataLogDir and dataDir configuration is correct.") //lint:ignore ST1005 Apache's text
	ErrLogsInSnapDir     = errors.New("Snapshot directory has log files. Check if dataLogDir and dataDir configuration is correct.") //lint:ignore ST1005 Apache's text
	ErrNoSnapshot        = errors.New("No snapshot found, but there are log entries. Something is broken!")                          //lint:ignore ST1005 Apache's text
)

// OpenDirs makes the directories that are missing, unless autocreate is false
// (zookeeper.datadir.autocreate), and checks that each holds what it should.
func OpenDirs(fsys vfs.FS, dataDir, dataLogDir string, autocreate bool) (Dirs, error) {
	if dataLogDir == "" {
		dataLogDir = dataDir
	}
	d := Dirs{Snap: join(dataDir, VersionDir), Log: join(dataLogDir, VersionDir), Top: dataLogDir}
	for _, p := range []struct{ top, dir string }{{dataLogDir, d.Log}, {dataDir, d.Snap}} {
		st, err := fsys.Stat(p.dir)
		if err == nil && st.Dir {
			continue
		}
		if err == nil {
			return d, fmt.Errorf("%s is not a directory", p.dir)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return d, err
		}
		if !autocreate {
			return d, fmt.Errorf("data directory %s is missing and is not created because zookeeper.datadir.autocreate is false: create it by hand", p.dir)
		}
		if err := fsys.MkdirAll(p.dir); err != nil {
			return d, fmt.Errorf("create data directory: %w", err)
		}
		if err := fsys.SyncDir(p.top); err != nil {
			return d, err
		}
	}
	if d.Snap == d.Log {
		return d, nil
	}
	if has, err := hasPrefix(fsys, d.Log, snapPrefix); err != nil {
		return d, err
	} else if has {
		return d, ErrSnapshotsInLogDir
	}
	if has, err := hasPrefix(fsys, d.Snap, logPrefix); err != nil {
		return d, err
	} else if has {
		return d, ErrLogsInSnapDir
	}
	return d, nil
}

func hasPrefix(fsys vfs.FS, dir, prefix string) (bool, error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if strings.HasPrefix(name, prefix) {
			return true, nil
		}
	}
	return false, nil
}

// A Start says what a server starts from.
type Start struct {
	// Snapshots are those to try, the newest first; if none of them can be read,
	// the server does not start. If there is none, the tree is empty, and the log
	// is replayed into it from 0.
	Snapshots []SnapshotFile
	// Fresh means that there is neither a snapshot nor a log: snapshot.0 of the
	// empty tree is to be written.
	Fresh bool
	// NoVote means that the database is empty and that nobody said it should be:
	// the member has zxid -1 and does not vote until it has synced.
	NoVote bool
}

// Begin decides what a server starts from. trustEmpty is
// zookeeper.snapshot.trust.empty, autocreate is zookeeper.db.autocreate. The
// file initialize is removed, as at every start.
func Begin(fsys vfs.FS, d Dirs, trustEmpty, autocreate bool) (Start, error) {
	var s Start
	snaps, err := ListSnapshots(fsys, d.Snap)
	if err != nil {
		return s, err
	}
	logs, err := listLogs(fsys, d.Log)
	if err != nil {
		return s, err
	}
	marked := true
	err = fsys.Remove(join(d.Top, "initialize"))
	if errors.Is(err, fs.ErrNotExist) {
		marked = false
	} else if err != nil {
		return s, err
	}
	s.Snapshots = snaps
	switch {
	case len(snaps) > 0:
	case len(logs) > 0 && !trustEmpty:
		return s, ErrNoSnapshot
	case len(logs) > 0:
	case marked || autocreate:
		s.Fresh = true
	default:
		s.NoVote = true
	}
	return s, nil
}
