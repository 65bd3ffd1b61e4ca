package engine

import (
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A ReadRequest is a request that changes nothing but watches.
type ReadRequest struct {
	Session int64
	Watcher uint64
	Auth    []consensus.Identity
	Op      int32
	Body    []byte // the request record, without the RequestHeader
}

// Known says whether op is one that a client may send. For another the answer is
// Unimplemented and the end of the connection.
func Known(op int32) bool {
	switch proto.Op(op) {
	case proto.OpCreate, proto.OpDelete, proto.OpExists, proto.OpGetData, proto.OpSetData,
		proto.OpGetACL, proto.OpSetACL, proto.OpGetChildren, proto.OpSync, proto.OpPing,
		proto.OpGetChildren2, proto.OpMulti, proto.OpCreate2, proto.OpReconfig,
		proto.OpCheckWatches, proto.OpRemoveWatches, proto.OpCreateContainer, proto.OpCreateTTL,
		proto.OpMultiRead, proto.OpAuth, proto.OpSetWatches, proto.OpSASL, proto.OpGetEphemerals,
		proto.OpGetAllChildrenNum, proto.OpSetWatches2, proto.OpAddWatch, proto.OpWhoAmI,
		proto.OpCloseSession:
		return true
	}
	return false
}

// IsWrite says whether op needs a txn. createSession and deleteContainer are
// among them, which only servers ask for.
func IsWrite(op int32) bool {
	switch proto.Op(op) {
	case proto.OpCreate, proto.OpDelete, proto.OpSetData, proto.OpSetACL, proto.OpMulti,
		proto.OpCreate2, proto.OpReconfig, proto.OpCreateContainer, proto.OpDeleteContainer,
		proto.OpCreateTTL, proto.OpCreateSession, proto.OpCloseSession:
		return true
	}
	return false
}

// SetsWatch says whether Read of this request looks at or changes watches. What
// can't be decoded does not.
func SetsWatch(op int32, body []byte) bool {
	switch proto.Op(op) {
	case proto.OpExists, proto.OpGetData, proto.OpGetChildren, proto.OpGetChildren2:
		// The record is a path and the flag.
		if len(body) < 4 {
			return false
		}
		n := int(int32(uint32(body[0])<<24 | uint32(body[1])<<16 | uint32(body[2])<<8 | uint32(body[3])))
		return n >= 0 && n < len(body)-4 && body[4+n] != 0
	case proto.OpSetWatches, proto.OpSetWatches2, proto.OpAddWatch, proto.OpRemoveWatches, proto.OpCheckWatches:
		return true
	}
	return false
}

// manyNodes is how many znodes a read looks at that others hardly notice.
const manyNodes = 10_000

// Wide says whether a read of a few bytes may have to look at very many znodes, and answers little of it: there
// is no other bound to how much of this a client can ask for.
func (e *Engine) Wide(op int32, session int64) bool {
	switch proto.Op(op) {
	case proto.OpGetAllChildrenNum:
		return e.view.Len() > manyNodes
	case proto.OpGetEphemerals:
		return e.ephemerals[session] > manyNodes
	}
	return false
}
