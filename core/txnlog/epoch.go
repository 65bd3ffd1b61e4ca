package txnlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// The names of the epoch files.
const (
	AcceptedEpoch = "acceptedEpoch"
	CurrentEpoch  = "currentEpoch"
)

// Epochs are the promises of an ensemble's member.
type Epochs struct {
	// Accepted is the highest epoch that it promised to a leader.
	Accepted int64
	// Current is the epoch of the leader that its log agrees with.
	Current int64
}

// ReadEpoch reads an epoch file in dir; ok is false if there is none.
func ReadEpoch(fsys vfs.FS, dir, name string) (epoch int64, ok bool, err error) {
	path := join(dir, name)
	b, err := vfs.ReadFile(fsys, path, 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	epoch, err = strconv.ParseInt(string(line), 10, 64)
	if err != nil {
		return 0, false, &Damage{File: path, Reason: fmt.Sprintf("it should hold an epoch and holds %q", clip(line))}
	}
	return epoch, true, nil
}

func clip(b []byte) []byte { return b[:min(len(b), 32)] }

// WriteEpoch replaces an epoch file in dir, durably.
func WriteEpoch(fsys vfs.FS, dir, name string, epoch int64) error {
	path := join(dir, name)
	return vfs.WriteFile(fsys, dir, path+".tmp", path, strconv.AppendInt(nil, epoch, 10))
}

// OpenEpochs reads the epoch files in dir at the start of a member whose log
// ends with last. A file that is missing is written with the epoch of last. A
// log of a later epoch than the current one is an error, unless the server died
// between the log and the rename of currentEpoch: then the new value is beside it.
func OpenEpochs(fsys vfs.FS, dir string, last consensus.Zxid) (Epochs, error) {
	e := Epochs{Accepted: last.Epoch(), Current: last.Epoch()}
	current, ok, err := ReadEpoch(fsys, dir, CurrentEpoch)
	if err != nil {
		return e, err
	}
	switch {
	case !ok:
		if err := WriteEpoch(fsys, dir, CurrentEpoch, e.Current); err != nil {
			return e, err
		}
	case last.Epoch() > current:
		next, ok, err := ReadEpoch(fsys, dir, CurrentEpoch+".tmp")
		if err != nil || !ok || next < last.Epoch() {
			return e, &Damage{File: join(dir, CurrentEpoch), Reason: fmt.Sprintf(
				"the current epoch, %x, is older than the last zxid, %x", current, int64(last))}
		}
		if err := WriteEpoch(fsys, dir, CurrentEpoch, next); err != nil {
			return e, err
		}
		e.Current = next
	default:
		e.Current = current
	}
	accepted, ok, err := ReadEpoch(fsys, dir, AcceptedEpoch)
	if err != nil {
		return e, err
	}
	if !ok {
		if err := WriteEpoch(fsys, dir, AcceptedEpoch, e.Accepted); err != nil {
			return e, err
		}
	} else {
		e.Accepted = accepted
	}
	if e.Accepted < e.Current {
		return e, &Damage{File: join(dir, AcceptedEpoch), Reason: fmt.Sprintf(
			"the accepted epoch, %x, is less than the current epoch, %x", e.Accepted, e.Current)}
	}
	return e, nil
}
