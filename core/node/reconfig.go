package node

// synced are the servers that could be part of another ensemble at once: this one,
// which leads, and who has all that it has.
func (n *Node) synced() []int64 {
	ids := []int64{n.cfg.ServerID}
	for _, l := range n.member.Status().Learners {
		if l.Synced {
			ids = append(ids, int64(l.ID))
		}
	}
	return ids
}
