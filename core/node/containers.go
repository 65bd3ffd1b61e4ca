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
func (n *Node) removeExpired() {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if !n.serving || n.role.State != consensus.Leading {
		return
	}
	left := n.cfg.ContainersPerCheck
	err := n.engine.Expirable(n.wallMS(), n.cfg.ContainerNeverUsed.Milliseconds(), func(path string) bool {
		body := jute.AppendString(nil, strings.Clone(path))
		n.queue.put(item{kind: kWrite, req: consensus.Request{Op: int32(proto.OpDeleteContainer), Body: body}})
		left--
		return left > 0
	})
	if err != nil {
		n.fail(ExitUnexpected, err)
		return
	}
	if left < n.cfg.ContainersPerCheck {
		n.kick()
	}
}
