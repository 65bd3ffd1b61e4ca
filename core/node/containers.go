package node

import (
	"strings"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// removeExpired removes, as a leader, the containers that have lost their last child
// and the TTL nodes whose time is up. Each goes by a txn of its own, which does
// nothing if the node got a child meanwhile.
//
// Each container and TTL node there is has to be looked at, which may be millions, in
// a store that is another process. So it is done in a view, and the node's lock is held for one
// that is to go at a time: whoever waits for it to apply something holds up all clients.
func (n *Node) removeExpired() {
	n.mu.RLock()
	term := n.role.Term
	if !n.leads(term) {
		n.mu.RUnlock()
		return
	}
	view := n.store.View()
	n.mu.RUnlock()
	defer view.Release()

	now, neverUsed := n.wallMS(), n.cfg.ContainerNeverUsed.Milliseconds()
	left := n.cfg.ContainersPerCheck
	var failed error
	remove := func(path string) bool {
		n.mu.RLock()
		defer n.mu.RUnlock()
		if !n.leads(term) {
			return false
		}
		// It may have been set or used since the view was taken.
		expired, err := n.engine.Expired(n.engine.View(), path, now, neverUsed)
		if err != nil {
			failed = err
			return false
		}
		if expired {
			body := jute.AppendString(nil, strings.Clone(path))
			n.queue.put(item{kind: kWrite, req: consensus.Request{Op: int32(proto.OpDeleteContainer), Body: body}})
			left--
		}
		return left > 0
	}
	err := n.engine.Expirable(view, now, neverUsed, remove)
	if err == nil {
		err = failed
	}
	if err != nil {
		n.fail(ExitUnexpected, err)
		return
	}
	if left < n.cfg.ContainersPerCheck {
		n.kick()
	}
}

// leads says whether this node serves as the leader of that term. The node's lock is held.
func (n *Node) leads(term uint64) bool {
	return n.serving && n.role.State == consensus.Leading && n.role.Term == term
}
