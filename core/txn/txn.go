package txn

import (
	"fmt"

	"github.com/zkcore/zkcore/core/jute"
)

// ACL is the element of an access control list.
type ACL = jute.ACL

// Types of txns. They have the numbers of the operations that make them.
const (
	TypeError           int32 = -1
	TypeCreate          int32 = 1
	TypeDelete          int32 = 2
	TypeSetData         int32 = 5
	TypeSetACL          int32 = 7
	TypeCheck           int32 = 13
	TypeMulti           int32 = 14
	TypeCreate2         int32 = 15
	TypeReconfig        int32 = 16
	TypeCreateContainer int32 = 19
	TypeDeleteContainer int32 = 20
	TypeCreateTTL       int32 = 21
	TypeCreateSession   int32 = -10
	TypeCloseSession    int32 = -11
)

var typeNames = map[int32]string{
	TypeError:           "error",
	TypeCreate:          "create",
	TypeDelete:          "delete",
	TypeSetData:         "setData",
	TypeSetACL:          "setACL",
	TypeCheck:           "check",
	TypeMulti:           "multi",
	TypeCreate2:         "create2",
	TypeReconfig:        "reconfig",
	TypeCreateContainer: "createContainer",
	TypeDeleteContainer: "deleteContainer",
	TypeCreateTTL:       "createTTL",
	TypeCreateSession:   "createSession",
	TypeCloseSession:    "closeSession",
}

// TypeName returns the name of a type for logs and tools.
func TypeName(t int32) string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("type %d", t)
}

// A Header stands in front of each txn.
type Header struct {
	ClientID int64 // session that asked for it
	Cxid     int32 // the client's xid; 0 when the server itself asked
	Zxid     int64
	Time     int64 // ms since 1970 on the leader's clock
	Type     int32
}

// HeaderSize is the encoded size of a Header.
const HeaderSize = 8 + 4 + 8 + 8 + 4

// DigestVersion is the version of the tree digest that is in use since 3.6.
const DigestVersion int32 = 2

// A Digest is the tree digest after a txn, and the version of its algorithm.
type Digest struct {
	Version int32
	Tree    uint64
}

// DigestSize is the encoded size of a Digest.
const DigestSize = 4 + 8

// A Body holds the fields of every type of record; those that a type does not
// have are zero.
type Body struct {
	Path string // create…, delete…, setData, setACL, check, reconfig
	Data []byte // create…, setData, reconfig; nil is null, which is not empty
	ACL  []ACL  // create…, setACL; shared, not to be modified

	Version        int32 // setData, setACL: the new version; check: the version found, plus 1
	ParentCVersion int32 // create…: the parent's stored cversion afterwards; -1 = one more than it has
	TTL            int64 // createTTL, ms
	Ephemeral      bool  // create, create2

	TimeoutMS int32 // createSession
	Err       int32 // error: a negative result code

	Paths []string // closeSession: the ephemerals to delete

	// NoPaths says that a closeSession has no body at all, which is valid only
	// if nothing follows it: each server then deletes the ephemerals it knows.
	NoPaths bool
	// NoParentCVersion says that a create came without the field, as before
	// 3.4. ParentCVersion is then -1.
	NoParentCVersion bool
}

// A Sub is one part of a multi.
type Sub struct {
	Type int32
	Body
	// Raw is the record of a type that has no business inside a multi. Apache
	// stops applying a multi at such a part, silently; it is kept as it came.
	Raw []byte
}

// A Txn is a prepared write. Which fields of Body it uses follows from
// Header.Type.
type Txn struct {
	Header Header
	Body
	Subs      []Sub // multi
	Digest    Digest
	HasDigest bool
}

// Failed says whether one of the parts of a multi is an error: then nothing of
// it is applied.
func (t *Txn) Failed() bool {
	for i := range t.Subs {
		if t.Subs[i].Type == TypeError {
			return true
		}
	}
	return false
}

// An UnknownTypeError says that a txn can't be read because of its type, which
// no version of the format has at that place. A log that holds one is damaged.
type UnknownTypeError int32

func (e UnknownTypeError) Error() string {
	if _, known := typeNames[int32(e)]; known {
		return fmt.Sprintf("txn: type %d (%s) can't stand alone", int32(e), TypeName(int32(e)))
	}
	return fmt.Sprintf("txn: unknown type %d", int32(e))
}

// ZKCode makes it a marshalling error for those who look for a result code.
func (UnknownTypeError) ZKCode() int32 { return -5 }
