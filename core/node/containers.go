package node

import (
	"strings"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// containers removes, as a leader, the containers that have lost their last child
// and the TTL nodes whose time is up. Each goes by a txn of its own, which does
// nothing if the node got a child meanwhile.
func (n *Node) containers() {
	defer n.wg.Done()
	t := time.NewTicker(n.cfg.ContainerCheck)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			n.removeExpired()
		case <-n.closing:
			return
		}
	}
}

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
