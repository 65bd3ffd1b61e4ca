package engine

import (
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A Sink takes what Apply and Read have to tell. The node implements it. Its
// methods are called within the call of Apply or Read, in the order in which
// clients are to hear of things, and must not call the engine.
type Sink interface {
	// Waits says whether a client here waits for the reply to a write, so that
	// none is made for others, and what it has sent. request is valid until Reply.
	Waits(session int64, cxid int32) (request []byte, waits bool)
	// Reply answers a write. op is the txn's type: an error txn has -1, as what
	// failed can't be seen any more. body is the reply record, valid during the
	// call; none unless code is OK.
	Reply(session int64, cxid int32, zxid int64, op int32, code zkerr.Code, body []byte)
	// Wrote tells of a write of a session for whose reply nobody here waits, by its
	// Waits, executed or refused: whoever asked for it did not do so here, or is gone.
	// What was refused since the session had moved is not among them.
	Wrote(session int64, cxid int32)
	// Auth returns the identities of a watcher's connection.
	Auth(watcher uint64) []consensus.Identity
	// Event tells a watcher. zxid is that of the txn, -1 for what Read tells of.
	// The path is valid during the call.
	Event(watcher uint64, zxid int64, typ int32, path string)
	// Enough says that so much was told that it should be sent before there is more: Apply stops
	// behind the present txn.
	Enough() bool
	// SessionOpened comes before the reply to its createSession.
	SessionOpened(id int64, timeoutMS int32)
	// SessionClosed comes behind the reply to its closeSession.
	SessionClosed(id int64)
}

// NopSink is for a node that has no clients yet.
var NopSink Sink = nopSink{}

type nopSink struct{}

func (nopSink) Waits(int64, int32) ([]byte, bool)                    { return nil, false }
func (nopSink) Reply(int64, int32, int64, int32, zkerr.Code, []byte) {}
func (nopSink) Wrote(int64, int32)                                   {}
func (nopSink) Auth(uint64) []consensus.Identity                     { return nil }
func (nopSink) Event(uint64, int64, int32, string)                   {}
func (nopSink) Enough() bool                                         { return false }
func (nopSink) SessionOpened(int64, int32)                           {}
func (nopSink) SessionClosed(int64)                                  {}
