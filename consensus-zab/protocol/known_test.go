package protocol

import "testing"

// TestKnownCommitted: what is known to be committed the node gets before there is a leader, as far as
// the log has it; nothing beyond, and nothing on a server that is not sure of its log.
func TestKnownCommitted(t *testing.T) {
	const base, last = 1<<32 | 3, 1<<32 | 9
	for _, tc := range []struct {
		name        string
		known, want Zxid
		standing    Standing
	}{
		{"nothing", 0, base, Proven},
		{"less than the snapshot", 1<<32 | 2, base, Proven},
		{"some", 1<<32 | 6, 1<<32 | 6, Proven},
		{"all", last, last, Proven},
		{"more than there is", 2<<32 | 1, last, Proven},
		{"of a log that is lost", last, base, Lost},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, 1, []byte(three), Start{Base: base, Runs: []Run{{base + 1, last}}, Accepted: 1, Current: 1, Committed: tc.known, Standing: tc.standing})
			if r.state != tc.want {
				t.Errorf("the node has %v, want %v", r.state, tc.want)
			}
		})
	}
}
