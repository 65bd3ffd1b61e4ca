package zkerr

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func Example() {
	err := error(&Error{Code: NoNode, Op: "delete", Path: "/a"})
	fmt.Println(err)
	fmt.Println(errors.Is(err, NoNode), CodeOf(err) == NoNode)
	// Output:
	// delete /a: NoNode
	// true true
}

// The numbers are the protocol's, the names are those that Apache's tools print.
func TestCodes(t *testing.T) {
	want := map[int32]string{
		0: "OK", -1: "SystemError", -2: "RuntimeInconsistency", -3: "DataInconsistency", -4: "ConnectionLoss",
		-5: "MarshallingError", -6: "Unimplemented", -7: "OperationTimeout", -8: "BadArguments", -12: "UnknownSession",
		-13: "NewConfigNoQuorum", -14: "ReconfigInProgress", -100: "APIError", -101: "NoNode", -102: "NoAuth",
		-103: "BadVersion", -108: "NoChildrenForEphemerals", -110: "NodeExists", -111: "NotEmpty",
		-112: "SessionExpired", -113: "InvalidCallback", -114: "InvalidACL", -115: "AuthFailed", -118: "SessionMoved",
		-119: "NotReadOnly", -120: "EphemeralOnLocalSession", -121: "NoWatcher", -122: "RequestTimeout",
		-123: "ReconfigDisabled", -124: "SessionClosedRequireSaslAuth", -125: "QuotaExceeded", -127: "ThrottledOp",
	}
	if len(names) != len(want) {
		t.Errorf("%d names, want %d", len(names), len(want))
	}
	for n, name := range want {
		if c := Code(n); c.String() != name || c.Error() != name || c.ZKCode() != n {
			t.Errorf("%d: %s, want %s", n, c, name)
		}
	}
	if got := Code(-99).String(); got != "Code(-99)" {
		t.Errorf("unknown code: %s", got)
	}
}

func TestErr(t *testing.T) {
	if OK.Err() != nil {
		t.Error("OK is an error")
	}
	if NoNode.Err() != error(NoNode) {
		t.Error("NoNode is not NoNode")
	}
}

func TestErrorText(t *testing.T) {
	for _, tc := range []struct {
		err  *Error
		want string
	}{
		{&Error{Code: NoNode}, "NoNode"},
		{&Error{Code: NoNode, Op: "delete"}, "delete: NoNode"},
		{&Error{Code: NoNode, Path: "/a"}, "/a: NoNode"},
		{&Error{Code: NoNode, Op: "delete", Path: "/a"}, "delete /a: NoNode"},
		{&Error{Code: SystemError, Op: "restore snapshot", Path: "snapshot.1", Err: io.EOF}, "restore snapshot snapshot.1: SystemError: EOF"},
	} {
		if got := tc.err.Error(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

type coded struct{ error }

func (coded) ZKCode() int32 { return -5 }

func TestCodeOf(t *testing.T) {
	deep := &Error{Code: SystemError, Op: "apply", Err: &Error{Code: NoNode}}
	for _, tc := range []struct {
		err  error
		want Code
	}{
		{nil, OK},
		{NoAuth, NoAuth},
		{fmt.Errorf("create: %w", NodeExists), NodeExists},
		{&Error{Code: NotEmpty, Err: io.EOF}, NotEmpty},
		{deep, SystemError},
		{io.EOF, SystemError},
		{coded{io.EOF}, MarshallingError},
		{fmt.Errorf("frame: %w", coded{io.EOF}), MarshallingError},
	} {
		if got := CodeOf(tc.err); got != tc.want {
			t.Errorf("CodeOf(%v) = %v, want %v", tc.err, got, tc.want)
		}
	}
	if !errors.Is(deep, SystemError) || !errors.Is(deep, NoNode) || errors.Is(deep, NoAuth) {
		t.Error("the codes of an error and its cause are not found")
	}
	if !errors.Is(&Error{Code: NoNode, Err: io.EOF}, io.EOF) {
		t.Error("the cause is not found")
	}
}
