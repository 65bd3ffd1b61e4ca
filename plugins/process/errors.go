package process

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/zkcore/zkcore/plugins/consensus"
	pb "github.com/zkcore/zkcore/plugins/process/modulepb"
	"github.com/zkcore/zkcore/plugins/storage"
)

// A Refused error says that a module was not started, or not accepted: trying again, or
// restarting it, does not help before somebody has changed something.
type Refused struct {
	Path string
	Err  error
}

// ExitCode is that of a configuration that is wrong.
func (e *Refused) ExitCode() int { return 2 }

func (e *Refused) Error() string { return fmt.Sprintf("module %s: %v", e.Path, e.Err) }
func (e *Refused) Unwrap() error { return e.Err }

// Died says that a module's process is gone, or was ended because it could not be relied on
// any more. Whoever gets it knows nothing of what the module did last.
type Died struct {
	Module string // the name, with its kind: "storage bolt"
	Err    error
	// Code is not 0 if the module itself has said that it must not go on, and what its
	// process ends with for that: the node must end with it too.
	Code int
	// Silence says that the module has ended itself as it heard nothing of its node for too long:
	// the node stood still, and nothing is wrong with the module.
	Silence bool
}

func (e *Died) Error() string { return e.Module + ": " + e.Err.Error() }
func (e *Died) Unwrap() error { return e.Err }

// ExitCode is what the node's process ends with if nobody starts the module again.
func (e *Died) ExitCode() int {
	if e.Code != 0 {
		return e.Code
	}
	return consensus.ExitModule
}

// kinds are the errors that keep their meaning when they cross.
var kinds = []struct {
	kind pb.Error_Kind
	of   map[string]error // by the kind of module
}{
	{pb.Error_KIND_NOT_NOW, map[string]error{kindConsensus: consensus.ErrNotNow}},
	{pb.Error_KIND_UNSUPPORTED, map[string]error{kindConsensus: consensus.ErrUnsupported}},
	{pb.Error_KIND_CLOSED, map[string]error{kindConsensus: consensus.ErrClosed, kindStorage: storage.ErrClosed}},
	{pb.Error_KIND_DAMAGED, map[string]error{kindConsensus: consensus.ErrDamaged, kindStorage: storage.ErrDamaged}},
	{pb.Error_KIND_CANCELED, map[string]error{kindConsensus: context.Canceled, kindStorage: context.Canceled}},
}

// toWire is err as it crosses; nil for nil.
func toWire(err error) *pb.Error {
	if err == nil {
		return nil
	}
	e := &pb.Error{Text: clean(err.Error())}
	for _, k := range kinds {
		for _, sentinel := range k.of {
			if errors.Is(err, sentinel) {
				e.Kind = k.kind
			}
		}
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		e.Errno = int32(errno)
	}
	if o := (*storage.OptionError)(nil); errors.As(err, &o) {
		e.Kind, e.Option, e.Reason = pb.Error_KIND_OPTION, clean(o.Key), clean(o.Reason)
	}
	if o := (*consensus.OwnerError)(nil); errors.As(err, &o) {
		e.Kind, e.Dir, e.Owner, e.Want = pb.Error_KIND_OWNER, clean(o.Dir), clean(o.Owner), clean(o.Want)
	}
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		e.ExitCode = int32(coded.ExitCode())
	}
	return e
}

// fromWire is the error that crossed, for a module of that kind; nil for nil.
func fromWire(kind string, e *pb.Error) error {
	if e == nil {
		return nil
	}
	err := &remoteError{text: e.Text}
	for _, k := range kinds {
		if is := k.of[kind]; k.kind == e.Kind && is != nil {
			err.is = append(err.is, is)
		}
	}
	if e.Kind == pb.Error_KIND_OPTION && kind == kindStorage {
		err.is = append(err.is, &storage.OptionError{Key: printable(e.Option), Reason: printable(e.Reason)})
	}
	if e.Kind == pb.Error_KIND_OWNER && kind == kindConsensus {
		err.is = append(err.is, &consensus.OwnerError{Dir: printable(e.Dir), Owner: printable(e.Owner), Want: printable(e.Want)})
	}
	if e.Errno > 0 {
		err.is = append(err.is, syscall.Errno(e.Errno))
	}
	if e.ExitCode != 0 {
		return &consensus.ExitError{Code: exitCode(int(e.ExitCode)), Err: err}
	}
	return err
}

// exitCode is a code that a module wants its node to end with. The system keeps eight bits of it: 256 would be success.
func exitCode(code int) int {
	if code < 0 || code > 255 {
		return consensus.ExitUnexpected
	}
	return code
}

// maxText is how much of what a module prints is told.
const maxText = 500

// printable is text out of a module as one line that does nothing to a terminal but to stand there.
func printable(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	n := 0
	return strings.Map(func(r rune) rune {
		switch n++; {
		case n > maxText:
			return -1
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, strings.TrimSpace(text))
}

// oneLine is an error of go-plugin's, which has what the module has printed in it, and advice on lines of their own.
func oneLine(err error) error { return &remoteError{text: printable(err.Error()), is: []error{err}} }

// A remoteError is an error of the other process.
type remoteError struct {
	text string
	is   []error // what it is besides
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.is }
