package engine

import (
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// checkReconfig says what is answered to a reconfig, by checks in Apache's order. The
// last word is Unimplemented: a server that is alone has no ensemble to change, and
// the membership of one does not change while it runs.
func (e *Engine) checkReconfig(q *request, from consensus.ServerID, r *consensus.Request) zkerr.Code {
	var req proto.ReconfigRequest
	if proto.Unmarshal(r.Body, &req) != nil {
		return zkerr.MarshallingError
	}
	if !e.opts.ReconfigEnabled {
		return zkerr.ReconfigDisabled
	}
	if code := e.checkSession(q, from); code != zkerr.OK {
		return code
	}
	if e.opts.ConfigText == "" {
		return zkerr.Unimplemented
	}
	now, err := quorum.ParseConfig(e.opts.ConfigText, true)
	if err != nil {
		return zkerr.Unimplemented // not Apache's words for it, so there is nothing to compare
	}
	if req.CurConfigID != -1 && req.CurConfigID != now.Version {
		return zkerr.BadVersion
	}
	next, code := now.Change(&req, e.opts.MultiAddress, !e.opts.NoStandalone)
	if code != zkerr.OK {
		return code
	}
	if e.opts.Synced != nil && !next.IsQuorumOf(e.opts.Synced()...) {
		return zkerr.NewConfigNoQuorum
	}
	n, ok := e.preparer.peek(znode.Config)
	switch {
	case !ok:
		return zkerr.NoNode
	case !e.permits(q, n, jute.PermWrite):
		return zkerr.NoAuth
	}
	return zkerr.Unimplemented
}
