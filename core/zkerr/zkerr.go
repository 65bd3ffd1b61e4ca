package zkerr

import (
	"errors"
	"strconv"
)

// A Code is a result code of the client protocol. Its values are on the wire
// and never change. A Code is an error: errors.Is(err, zkerr.NoNode) holds
// whether err was made in this process or came out of a module's. OK is a Code
// too, and not a nil error: a function that returns error returns Code.Err().
type Code int32

// The codes. Those from APIError down are answers to a request; those above
// it say that something about the request or the server is wrong.
const (
	OK                           Code = 0
	SystemError                  Code = -1
	RuntimeInconsistency         Code = -2 // in a failed multi: the ops behind the failing one
	DataInconsistency            Code = -3
	ConnectionLoss               Code = -4 // made by clients
	MarshallingError             Code = -5
	Unimplemented                Code = -6
	OperationTimeout             Code = -7 // made by clients
	BadArguments                 Code = -8
	UnknownSession               Code = -12
	NewConfigNoQuorum            Code = -13
	ReconfigInProgress           Code = -14
	APIError                     Code = -100 // a mark, not an answer
	NoNode                       Code = -101
	NoAuth                       Code = -102
	BadVersion                   Code = -103
	NoChildrenForEphemerals      Code = -108
	NodeExists                   Code = -110
	NotEmpty                     Code = -111
	SessionExpired               Code = -112
	InvalidCallback              Code = -113
	InvalidACL                   Code = -114
	AuthFailed                   Code = -115
	SessionMoved                 Code = -118 // never on a client's wire: the connection is closed instead
	NotReadOnly                  Code = -119
	EphemeralOnLocalSession      Code = -120
	NoWatcher                    Code = -121
	RequestTimeout               Code = -122 // made by clients
	ReconfigDisabled             Code = -123
	SessionClosedRequireSASLAuth Code = -124
	QuotaExceeded                Code = -125
	ThrottledOp                  Code = -127
)

// names are those that Apache's tools print behind "KeeperErrorCode = ".
var names = map[Code]string{
	OK:                           "OK",
	SystemError:                  "SystemError",
	RuntimeInconsistency:         "RuntimeInconsistency",
	DataInconsistency:            "DataInconsistency",
	ConnectionLoss:               "ConnectionLoss",
	MarshallingError:             "MarshallingError",
	Unimplemented:                "Unimplemented",
	OperationTimeout:             "OperationTimeout",
	BadArguments:                 "BadArguments",
	UnknownSession:               "UnknownSession",
	NewConfigNoQuorum:            "NewConfigNoQuorum",
	ReconfigInProgress:           "ReconfigInProgress",
	APIError:                     "APIError",
	NoNode:                       "NoNode",
	NoAuth:                       "NoAuth",
	BadVersion:                   "BadVersion",
	NoChildrenForEphemerals:      "NoChildrenForEphemerals",
	NodeExists:                   "NodeExists",
	NotEmpty:                     "NotEmpty",
	SessionExpired:               "SessionExpired",
	InvalidCallback:              "InvalidCallback",
	InvalidACL:                   "InvalidACL",
	AuthFailed:                   "AuthFailed",
	SessionMoved:                 "SessionMoved",
	NotReadOnly:                  "NotReadOnly",
	EphemeralOnLocalSession:      "EphemeralOnLocalSession",
	NoWatcher:                    "NoWatcher",
	RequestTimeout:               "RequestTimeout",
	ReconfigDisabled:             "ReconfigDisabled",
	SessionClosedRequireSASLAuth: "SessionClosedRequireSaslAuth",
	QuotaExceeded:                "QuotaExceeded",
	ThrottledOp:                  "ThrottledOp",
}

// String returns the name of the code, "NoNode", or its number if it has none.
func (c Code) String() string {
	if s, ok := names[c]; ok {
		return s
	}
	return "Code(" + strconv.Itoa(int(c)) + ")"
}

func (c Code) Error() string { return c.String() }

// ZKCode returns the number on the wire.
func (c Code) ZKCode() int32 { return int32(c) }

// Err returns c as an error: nil for OK.
func (c Code) Err() error {
	if c == OK {
		return nil
	}
	return c
}

// An Error adds to a Code what the operator needs to know. Only the Code
// reaches the client.
type Error struct {
	Code Code
	Op   string // what was being done: "create", "restore snapshot"
	Path string // the znode or file it was done to, if any
	Err  error  // what went wrong underneath, if anything did
}

// Error returns "create /a: NoNode: cause", without the parts that are empty.
func (e *Error) Error() string {
	s := e.Op
	if e.Path != "" {
		if s != "" {
			s += " "
		}
		s += e.Path
	}
	if s != "" {
		s += ": "
	}
	s += e.Code.String()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// ZKCode returns the number on the wire.
func (e *Error) ZKCode() int32 { return int32(e.Code) }

// Unwrap lets errors.Is find both the code and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Code}
	}
	return []error{e.Code, e.Err}
}

// CodeOf returns the code that err carries: OK for nil, SystemError if it
// carries none.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	var c interface{ ZKCode() int32 }
	if errors.As(err, &c) {
		return Code(c.ZKCode())
	}
	return SystemError
}
