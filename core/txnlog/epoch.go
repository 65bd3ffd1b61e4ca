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
// ends with last. A file that is missing is written with the epoch of last, and one that
// is there is written again, to be on the disk.
//
// A log of a later epoch than the current one is what a learner leaves that died
// after it had logged what its leader sent and before it wrote currentEpoch. The
// epoch that it was about to write is then beside the file, or it is the log's,
// if that was promised: the leader of an epoch proposes nothing before the epoch
// is established, and what a learner logs of it is a prefix of its history. A
// log of an epoch that was never promised is an error.
func OpenEpochs(fsys vfs.FS, dir string, last consensus.Zxid) (Epochs, error) {
	e := Epochs{Accepted: last.Epoch(), Current: last.Epoch()}
	current, hasCurrent, err := ReadEpoch(fsys, dir, CurrentEpoch)
	if err != nil {
		return e, err
	}
	accepted, hasAccepted, err := ReadEpoch(fsys, dir, AcceptedEpoch)
	if err != nil {
		return e, err
	}
	if hasAccepted {
		e.Accepted = accepted
	}
	if hasCurrent {
		e.Current = current
	}
	if hasCurrent && last.Epoch() > current {
		next, ok, err := ReadEpoch(fsys, dir, CurrentEpoch+".tmp")
		switch {
		case err == nil && ok && next >= last.Epoch():
			e.Current = next
		case hasAccepted && accepted >= last.Epoch():
			e.Current = last.Epoch()
		default:
			return e, &Damage{File: join(dir, CurrentEpoch), Reason: fmt.Sprintf(
				"the current epoch, %x, is older than the last zxid, %x", current, int64(last))}
		}
	}
	if e.Accepted < e.Current {
		return e, &Damage{File: join(dir, AcceptedEpoch), Reason: fmt.Sprintf(
			"the accepted epoch, %x, is less than the current epoch, %x", e.Accepted, e.Current)}
	}
	// What was read may not be on the disk: the life before may have ended in the sync that
	// was to bring it there. It is written again before anybody is told of it. The promise
	// comes first, so that it is never the smaller one.
	if err := WriteEpoch(fsys, dir, AcceptedEpoch, e.Accepted); err != nil {
		return e, err
	}
	if err := WriteEpoch(fsys, dir, CurrentEpoch, e.Current); err != nil {
		return e, err
	}
	return e, nil
}
