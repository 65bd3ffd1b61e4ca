package protocol

import (
	"github.com/zkcore/zkcore/core/inv"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// What these machines know of themselves they look at where it matters, in production too. What
// others send is no invariant: whoever sends nonsense loses the connection.

func check(no string, holds bool, format string, args ...any) {
	if !holds && !simbug.Planted() {
		inv.Break(no, format, args...)
	}
}

// checkRole: epochs rise, and this server has on its disk which it is in.
func (m *Member) checkRole(r consensus.Role) {
	if r.State == consensus.Looking {
		return
	}
	was := m.role.Epoch
	check("I09", r.Epoch > was || r.Epoch == was && r.State != consensus.Leading, "%v in epoch %d after epoch %d", r.State, r.Epoch, was)
	check("I14", m.acceptedDurable && m.current == r.Epoch && m.current <= m.accepted,
		"%v in epoch %d: currentEpoch is %d, acceptedEpoch %d (on disk: %t)", r.State, r.Epoch, m.current, m.accepted, m.acceptedDurable)
}

// checkVote: what the node has is in the log of who votes. (Some of that may still be on its way
// to the disk: it is there before the epoch is that this server votes itself into.)
func (h *History) checkVote() {
	check("I17", h.delivered <= max(h.last, h.base), "a vote with %v delivered, and the log ends at %v", h.delivered, h.last)
}

// checkCommitted: a quorum has z on disk.
func (l *leader) checkCommitted(z Zxid) {
	check("I06", l.m.cfg.Quorum.Has(func(id ServerID) bool {
		if id == l.m.cfg.ID {
			return l.m.hist.durable >= z
		}
		p := l.byID[id]
		return p != nil && p.voter && p.accepted && p.acked >= z
	}), "%v is committed, and not on the disks of a quorum", z)
}
