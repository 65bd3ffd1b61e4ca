package judge

import (
	"strings"
	"testing"
)

// Servers that make one kind of mistake are found out, by the invariant that it
// breaks, with what was committed in hand; most of them also without.
func TestMistakes(t *testing.T) {
	for _, tc := range []struct {
		mistake string
		want    string // any of these
		blind   string // without txns
	}{
		{"answer sync from what is there", "I05", "I05"},
		{"take a client that has seen more", "I04", "I04"},
		{"welcome a session that is over", "I23", ""},
		{"say that a session is over", "I23", ""},
		{"give another session", "I23", "I23"},
		{"propose a write again", "I07", "I02"},
		{"skip a txn", "I26 I02", "I02 I13"},
		{"lose an event", "I24", ""},
		{"send an event twice", "I24", ""},
		{"send an event after the next reply", "I24", ""},
		{"answer a write as refused", "I07", ""},
		{"answer out of order", "I03", "I03"},
		{"lose what was answered", "I13", ""},
		{"expire a session that is heard from", "I20", ""},
	} {
		t.Run(tc.mistake, func(t *testing.T) {
			made, found, blind := 0, 0, 0
			for seed := range uint64(8) {
				r := newRig(1000 + seed)
				r.mistake = tc.mistake
				run := r.run(1500)
				made += min(r.made, 1)
				v := Judge(run, Options{})
				for _, want := range strings.Fields(tc.want) {
					if v.Has(want) {
						found++
						break
					}
				}
				if r.made == 0 && !v.OK() {
					t.Fatalf("no mistake was made: %s", v)
				}
				run.Txns = nil
				v = Judge(run, Options{})
				for _, want := range strings.Fields(tc.blind) {
					if v.Has(want) {
						blind++
						break
					}
				}
			}
			t.Logf("made in %d runs, found in %d, without txns in %d", made, found, blind)
			if made < 2 || found == 0 || tc.blind != "" && blind == 0 {
				t.Errorf("made in %d runs, found in %d, without txns in %d", made, found, blind)
			}
		})
	}
}
