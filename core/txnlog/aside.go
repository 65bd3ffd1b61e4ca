package txnlog

import (
	"strings"

	"github.com/zkcore/zkcore/core/vfs"
)

// SetLogsAside moves the log files in dir to another directory on the same disk,
// durably. A crash leaves each file in one of the two.
func SetLogsAside(fsys vfs.FS, dir, to string) (moved []string, err error) {
	return setAside(fsys, dir, to, func(name string) bool {
		return strings.HasPrefix(name, logPrefix) || strings.HasPrefix(name, tornPrefix)
	})
}

// SetSnapshotsAside does the same for snapshots, finished or not.
func SetSnapshotsAside(fsys vfs.FS, dir, to string) (moved []string, err error) {
	return setAside(fsys, dir, to, func(name string) bool {
		return strings.HasPrefix(name, snapPrefix) || strings.HasPrefix(name, tmpPrefix+snapPrefix)
	})
}

// SetFileAside does the same for one file that is replaced by way of <name>.tmp, if it is
// there.
func SetFileAside(fsys vfs.FS, dir, to, name string) error {
	_, err := setAside(fsys, dir, to, func(n string) bool { return n == name || n == name+".tmp" })
	return err
}

func setAside(fsys vfs.FS, dir, to string, which func(string) bool) (moved []string, err error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !which(name) {
			continue
		}
		if err := fsys.Rename(join(dir, name), join(to, name)); err != nil {
			return moved, err
		}
		moved = append(moved, name)
	}
	if len(moved) == 0 {
		return nil, nil
	}
	// The new names first: a file must never be in neither directory.
	if err := fsys.SyncDir(to); err != nil {
		return moved, err
	}
	return moved, fsys.SyncDir(dir)
}
