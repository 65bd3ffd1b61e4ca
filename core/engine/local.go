package engine

import (
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// Local sessions are known to their own server alone: no txn opens or closes one, so a
// leader does not find it among its sessions. It takes the writes of one, because the server
// that sends them says what it is, but gives it no ephemerals: nobody would know when they
// have to go.

// localMark says of a write that its session is a local one of the server that sends it. It goes
// with the client's identities, which both protocols carry to the leader as they are, and no client
// can be known under this scheme.
var localMark = consensus.Identity{Scheme: "zkcore", ID: "local session"}

// MarkLocal returns the identities of a request for a local session.
func MarkLocal(auth []consensus.Identity) []consensus.Identity {
	return append(auth[:len(auth):len(auth)], localMark)
}

// unmark takes the mark off, if there is one.
func unmark(auth []consensus.Identity) (rest []consensus.Identity, local bool) {
	if n := len(auth); n > 0 && auth[n-1] == localMark {
		return auth[:n-1], true
	}
	return auth, false
}

// mayBeLocal says whether a session that this leader does not know is some server's local one, by the
// rule of Apache's leaders, whose learners don't say: it is not, if this server numbered it. So a session
// that has ended, and whose server has not heard of it, is taken for a local one: which is why this is for
// ensembles only that have such learners.
func (e *Engine) mayBeLocal(session int64, from consensus.ServerID) bool {
	return e.opts.UnmarkedLocals && from != 0 && from != e.opts.Server && uint8(session>>56) != uint8(e.opts.Server)
}

// MakesEphemeral says whether a write would give its session an ephemeral.
func MakesEphemeral(op int32, body []byte) bool {
	var o proto.MultiOp
	switch op := proto.Op(op); op {
	case proto.OpCreate, proto.OpCreate2:
		return decodeOp(&o, op, body) == zkerr.OK && makesEphemeral(&o)
	case proto.OpMulti:
		var m proto.MultiRequest
		if proto.Unmarshal(body, &m) != nil {
			return false
		}
		for i := range m.Ops {
			if m.Ops[i].Op = m.Ops[i].Kind(); makesEphemeral(&m.Ops[i]) {
				return true
			}
		}
	}
	return false
}

func makesEphemeral(o *proto.MultiOp) bool {
	return (o.Op == proto.OpCreate || o.Op == proto.OpCreate2) && o.Flags.Ephemeral()
}

// mayOwn says whether the client may have what an operation makes.
func (q *request) mayOwn(o *proto.MultiOp) zkerr.Code {
	switch {
	case q.noEphemerals == zkerr.OK:
	case makesEphemeral(o):
		return q.noEphemerals
	case o.Op == proto.OpCreateContainer && o.Flags.Ephemeral():
		// What it makes is no ephemeral, but the flags are looked at first. No session is upgraded for it.
		return zkerr.SessionExpired
	}
	return zkerr.OK
}
