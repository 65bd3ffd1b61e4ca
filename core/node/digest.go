package node

import (
	"fmt"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// A check is what Deliver knows of how this node's tree compares to the leader's.
type check struct {
	at           consensus.Zxid // of the first txn after which they differed; 0 for none
	leader, here uint64
	times        int // that a state was given up
	agreed       int // txns applied since
}

// again is after how many txns a second difference is no longer the same trouble: a
// state that came from the leader itself and differs so soon was not damaged here. Then
// it is this server that computes something else, or the leader that is wrong, and
// getting the state anew does not help.
const again = 100000

func (c *check) differs(at consensus.Zxid, leader, here uint64) {
	if c.at == 0 {
		c.at, c.leader, c.here = at, leader, here
	}
}

func (n *Node) doubts() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.doubt
}

// distrust gives up a state that is not the leader's. Nobody is served from it, and the
// member gets another one.
func (n *Node) distrust() {
	c := &n.check
	n.mu.RLock()
	leading := n.role.State == consensus.Leading
	n.mu.RUnlock()
	why := fmt.Sprintf("digest mismatch: after %v the tree's digest is %d here, and %d in the leader's transaction", c.at, int64(c.here), int64(c.leader))
	at := c.at
	soon := c.times > 0 && c.agreed < again
	c.at, c.agreed = 0, 0
	c.times++
	// What the store keeps of it is no state to begin with, in this life or the next.
	if err := n.store.Reset(); err != nil {
		n.fail(consensus.ExitUnexpected, fmt.Errorf("empty the store: %w", err))
		return
	}
	switch {
	case leading:
		// It made the txn out of this very tree.
		n.fail(consensus.ExitDigest, fmt.Errorf("%s, which is this server's own", why))
		return
	case soon:
		n.fail(consensus.ExitDigest, fmt.Errorf("%s, again: this server and the leader don't come to the same tree; see docs/operations.md, Digests", why))
		return
	}
	n.log.Error("this tree is not the leader's: it serves nobody any more, and is to be replaced by the leader's",
		"zxid", at, "leader", c.leader, "here", c.here)
	<-n.opened
	if n.member == nil {
		return // the node does not start
	}
	_ = n.member.Distrust(at, why) // it fails when the member is closed, and then nobody is served
}
