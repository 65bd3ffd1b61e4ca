package txnlog

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/zkcore/zkcore/core/vfs"
)

// OwnerFile says in one word which consensus module a directory's files are of. A directory
// without it, with files in it, is Zab's: Apache's have none.
const OwnerFile = "consensus"

// Zab is the owner of a directory that does not say so.
const Zab = "zab"

// ReadOwner returns the owner of the files in dirs, of which the first are those of
// dataDir; "" if there are none.
func ReadOwner(fsys vfs.FS, dirs ...string) (string, error) {
	owner, used := "", false
	for _, dir := range dirs {
		names, err := fsys.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		for _, name := range names {
			switch {
			case name == OwnerFile:
				b, err := vfs.ReadFile(fsys, join(dir, name), 256)
				if err != nil {
					return "", err
				}
				o := strings.TrimSpace(string(b))
				if o == "" || owner != "" && owner != o {
					return "", fmt.Errorf("%s: it says %q, and must name the consensus module that the files are of", join(dir, name), o)
				}
				owner = o
			case name == AcceptedEpoch, name == CurrentEpoch, strings.HasPrefix(name, logPrefix), strings.HasPrefix(name, snapPrefix):
				used = true
			}
		}
	}
	if owner == "" && used {
		owner = Zab
	}
	return owner, nil
}

// WriteOwner makes owner that of the files in dir, durably.
func WriteOwner(fsys vfs.FS, dir, owner string) error {
	return vfs.WriteFile(fsys, dir, join(dir, OwnerFile+".tmp"), join(dir, OwnerFile), []byte(owner+"\n"))
}
