package history

import (
	"fmt"
	"strconv"
)

// A Kind says what a record is about.
type Kind uint8

// The kinds, and which fields a record has beside At, Client, Conn and Server.
const (
	// Connecting: a ConnectRequest is about to be sent. Session is 0 for a new one,
	// Body the password that is shown, Zxid what the client says it has seen,
	// TimeoutMS what it asks for, Addr its address as the server sees it.
	Connecting Kind = iota + 1
	// Connected: the server has accepted. Session, TimeoutMS as negotiated, Body is
	// the session's password.
	Connected
	// Refused: the server has answered that the session is expired, or was never
	// this client's.
	Refused
	// Lost: the connection has ended, whoever ended it; or it never came about.
	// Nothing of this connection is recorded behind it. Note may say why.
	Lost
	// Call: a request is about to be sent. Session, Xid, Op, Body is its record.
	Call
	// Reply: the answer to a call. Session, Xid, Op of the call, and of the reply
	// Zxid, Err and Body, its record.
	Reply
	// Event: Session, Zxid of the header, Type, State, Path.
	Event
	// Fault: the harness does harm. Client is 0, Server who is hit or 0, Note what.
	Fault
	// Heal: the harness takes harm away. As Fault.
	Heal
	// Acquired: the client believes that it holds the lock named by Path, under
	// Session, from now on.
	Acquired
	// Released: from now on it does not. Recorded before the request that lets
	// others have the lock is sent.
	Released
	// Mark: a note of the harness that means nothing to a judge.
	Mark
)

var kindNames = [...]string{
	Connecting: "connecting",
	Connected:  "connected",
	Refused:    "refused",
	Lost:       "lost",
	Call:       "call",
	Reply:      "reply",
	Event:      "event",
	Fault:      "fault",
	Heal:       "heal",
	Acquired:   "acquired",
	Released:   "released",
	Mark:       "mark",
}

// String is the name of the kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return "kind " + strconv.Itoa(int(k))
}

// MarshalText makes the name stand in files.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText knows the names.
func (k *Kind) UnmarshalText(b []byte) error {
	for i, name := range kindNames {
		if name == string(b) && name != "" {
			*k = Kind(i)
			return nil
		}
	}
	return fmt.Errorf("no kind of record is called %q", b)
}

// A Record is one thing that a client did or saw.
//
// What is taken for granted of a client:
//
//   - It has one session at a time and numbers its connections from 1 on. A
//     connection carries one session.
//   - Xids of calls rise over all connections of a session: a number is never used
//     twice in a session, so that session and xid tell whose write a txn was. The
//     fixed ones (ping, auth, setWatches) are as the protocol has them.
//   - It says in its ConnectRequest the highest zxid that it has seen, events
//     included.
//   - While it waits for the reply to an auth request it sends nothing else.
//   - It may go on with a new connection while an old one still drains: then records
//     of both stand mixed, each with its own Conn.
type Record struct {
	At     int64 `json:"at"` // ns on one clock of the whole run
	Client int   `json:"client,omitempty"`
	Conn   int   `json:"conn,omitempty"` // n-th connection of this client
	Server int   `json:"server,omitempty"`
	Kind   Kind  `json:"kind"`

	Session   int64  `json:"session,omitempty"`
	TimeoutMS int32  `json:"timeout,omitempty"`
	Addr      string `json:"addr,omitempty"`

	Xid  int32  `json:"xid,omitempty"`
	Op   int32  `json:"op,omitempty"`
	Body []byte `json:"body,omitempty"`
	Zxid int64  `json:"zxid,omitempty"`
	Err  int32  `json:"err,omitempty"`

	Type  int32  `json:"type,omitempty"`
	State int32  `json:"state,omitempty"`
	Path  string `json:"path,omitempty"`

	Note string `json:"note,omitempty"`
}
