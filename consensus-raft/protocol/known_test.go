package protocol

import (
	"testing"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestKnownCommitted: what is known to be committed the node gets before there is a leader, as far as
// the log has it; nothing beyond, and nothing on a server that is not sure of its log.
func TestKnownCommitted(t *testing.T) {
	for _, tc := range []struct {
		name        string
		known, want Zxid // above the first txn's predecessor
		lost        bool
	}{
		{"nothing", 0, 0, false},
		{"some", 12, 12, false},
		{"all", 20, 20, false},
		{"more than there is", 500, 20, false},
		{"of a log that is lost", 12, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := startAll(t, 3)
			lead := n.leader()
			first := lead.role.Last
			z := lead.propose(first+1, 20)
			n.until("all have it", func() bool { return n.hosts[1].last() == z && n.hosts[2].last() == z && n.hosts[3].last() == z })
			for _, id := range n.ids {
				n.hosts[id].stop()
			}
			h := n.hosts[1]
			if h.known = 0; tc.known != 0 {
				h.known = first + tc.known
			}
			if tc.lost {
				h.file, h.log, h.state = nil, nil, nil
			}
			h.start()
			for range 200 {
				n.step()
			}
			if got := h.last(); h.role.State != consensus.Looking || tc.want == 0 && len(h.given) > 0 || tc.want != 0 && got != first+tc.want {
				t.Fatalf("%v with %d txns, the last is %v", h.role.State, len(h.given), got)
			}
			n.hosts[2].start()
			n.hosts[3].start()
			n.until("all have it again", func() bool { return n.hosts[1].last() == z && n.hosts[2].last() == z && n.hosts[3].last() == z })
			var last Zxid
			for _, x := range h.given {
				if x.Zxid <= last {
					t.Errorf("%v comes behind %v", x.Zxid, last)
				}
				last = x.Zxid
			}
		})
	}
}
