package txnlog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

const (
	logPrefix  = "log."
	snapPrefix = "snapshot."
	tmpPrefix  = "tmp."
	tornPrefix = "torn."
)

// LogName is the name of the log file whose first transaction is z.
func LogName(z consensus.Zxid) string { return fmt.Sprintf("%s%x", logPrefix, uint64(z)) }

// SnapshotName is the name of an uncompressed snapshot at z.
func SnapshotName(z consensus.Zxid) string { return fmt.Sprintf("%s%x", snapPrefix, uint64(z)) }

// parseZxid reads the hex part of a name.
func parseZxid(s string) (consensus.Zxid, bool) {
	v, err := strconv.ParseInt(s, 16, 64)
	if err != nil || v < 0 {
		return 0, false
	}
	return consensus.Zxid(v), true
}

// parseLogName takes names of exactly two parts: Apache reads log.5.bak as
// another log.5, which nobody who made such a copy can want.
func parseLogName(name string) (consensus.Zxid, bool) {
	rest, ok := strings.CutPrefix(name, logPrefix)
	if !ok {
		return 0, false
	}
	return parseZxid(rest)
}

// A segment is one log file.
type segment struct {
	zxid consensus.Zxid // by its name
	name string
}

// ErrNotDurable is in an error that says that a directory could not be synced. Whoever
// removed a file may go on with the file still there. But what else was done in the
// directory, a snapshot's name perhaps, may be lost now, and no later sync would tell: the
// process has to end.
var ErrNotDurable = errors.New("the directory could not be synced")

func syncDir(fsys vfs.FS, dir string) error {
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("%w: %w", ErrNotDurable, err)
	}
	return nil
}

// listLogs returns the log files in dir, oldest first. A directory that does not
// exist has none.
func listLogs(fsys vfs.FS, dir string) ([]segment, error) {
	names, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var segs []segment
	for _, name := range names {
		if z, ok := parseLogName(name); ok {
			segs = append(segs, segment{z, name})
		}
	}
	slices.SortStableFunc(segs, func(a, b segment) int { return cmp.Compare(a.zxid, b.zxid) })
	return segs, nil
}

// follows says whether z is the zxid that comes after prev: the next number, or
// the first of a later epoch.
func follows(prev, z consensus.Zxid) bool {
	if z.Epoch() == prev.Epoch() {
		return z == prev+1
	}
	return z.Epoch() > prev.Epoch() && z.Counter() == 1
}

// A Damage is a file that is not what it was written to be. Nothing is skipped
// for it: what to do is for the operator, or for the ensemble, to say.
type Damage struct {
	File   string
	Offset int64
	Reason string
}

func (d *Damage) Error() string {
	return fmt.Sprintf("%s is damaged at offset %d: %s", d.File, d.Offset, d.Reason)
}

// unknownVersion says whether a number in a header is a version that this program does
// not know. Apache's readers look at the magic only, and so do we where the number is no
// version at all: what follows has its own checksums.
func unknownVersion(v int32) bool { return v != logVersion && v > 0 && v < 32 }

// A FormatError is a file of a version that this program does not know. It may be all
// right: whoever wrote it can tell.
type FormatError struct {
	File    string
	Version int32
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s is of format version %d; this server knows version 2 only", e.File, e.Version)
}

// ExitCode is what a server ends with that finds such a file.
func (e *FormatError) ExitCode() int { return consensus.ExitFormat }

// A SizeError is a record that is right, and longer than the configuration lets records be. It was
// written under another one: nothing is damaged, and nothing is set aside.
type SizeError struct {
	File        string
	Offset      int64
	Length, Max int
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%s has a transaction of %d bytes at offset %d, and jute.maxbuffer and jute.maxbuffer.extrasize together allow %d: they have to allow what was written under larger ones",
		e.File, e.Length, e.Offset, e.Max)
}

// ExitCode is that of a configuration that can't be used.
func (e *SizeError) ExitCode() int { return 2 }

// Is says that a Damage is consensus.ErrDamaged.
func (d *Damage) Is(target error) bool { return target == consensus.ErrDamaged }

func join(dir, name string) string { return filepath.Join(dir, name) }
