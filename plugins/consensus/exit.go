package consensus

import (
	"errors"
	"fmt"
)

// Exit codes by which a process says why it ended, so that whoever starts it again knows
// whether that can help. The first three are Apache's.
const (
	ExitUnexpected   = 1  // an error that nothing can be done about
	ExitSnapshot     = 10 // a snapshot can't be written
	ExitElectionPort = 14 // the election port can't be opened
	ExitDisk         = 20 // a write, sync or rename of the log or of an epoch failed
	ExitDamage       = 21 // what is on disk is damaged, and there is nobody to get it from
	ExitDiskFull     = 22 // the disk is full
	ExitInvariant    = 23 // an invariant does not hold
	ExitDigest       = 24 // the state is not the one that the leader had, again
	ExitLocked       = 25 // another process has the data directory
	ExitFormat       = 26 // a file is of a version that this server does not know
	ExitModule       = 27 // a module's process is not to be kept alive
)

// An ExitError is an error with the code that the process ends with.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return e.Err.Error() }
func (e *ExitError) Unwrap() error { return e.Err }

// ExitCode is what Open says of its errors.
func (e *ExitError) ExitCode() int { return e.Code }

// ErrDamaged is what an error of Node.Recover, or of a log, is when the files on disk are
// not what they were written to be. What to do is for the ensemble, or for the operator,
// to say: a member of an ensemble sets the data aside, and gets it anew.
var ErrDamaged = errors.New("consensus: the data on disk is damaged")

// An OwnerError is what Open returns for data that another consensus module has written.
type OwnerError struct{ Dir, Owner, Want string }

func (e *OwnerError) Error() string { return e.Text("FILE") }

// Text is the error with the name of the configuration's file, which the module doesn't know.
func (e *OwnerError) Text(file string) string {
	return fmt.Sprintf("the data in %s is that of --consensus=%s: start with that, or convert it to %s with: zkcore convert --to=%s --config=%s",
		e.Dir, e.Owner, e.Want, e.Want, file)
}
