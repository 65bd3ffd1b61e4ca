package mixed

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// TestNoDigest: where digests are switched off neither program writes any, and each reads what the other left:
// behind the znodes of Apache's snapshots there is a section less then. zkcore goes on from there with digests, too.
func TestNoDigest(t *testing.T) {
	e := ensemble(t, harness.Options{Extra: map[string]string{"snapCount": "100"}, ApacheClasspath: harness.ApacheRelease(t)})
	s := e.Servers[0]
	var before []string
	for round, who := range []struct{ apache, off bool }{{true, true}, {false, true}, {true, true}, {false, false}} {
		s.Apache = who.apache || harness.Apache()
		s.Extra = map[string]string{"digest.enabled": fmt.Sprint(!who.off)}
		e.WriteConfig(s)
		from := len(s.Log())
		s.Start()
		s.Await()
		for _, word := range []string{"can't be read", "not whole", "problem reading snap file"} {
			if text := s.Log()[from:]; strings.Contains(text, word) {
				t.Errorf("round %d: %s: %s:\n%s", round, kind(s), word, text)
			}
		}
		if after := tree(t, s); round > 0 && !slices.Equal(before, after) {
			t.Fatalf("round %d: %s does not find what was left: %s", round, kind(s), difference(before, after))
		}
		c := connect(t, s.Addr())
		writeMany(t, c, fmt.Sprintf("/round-%d", round), 250, 30)
		must(t, c, client.CreateOp{Path: fmt.Sprintf("/round-%d/e", round), Mode: client.Ephemeral})
		end(c)
		before = tree(t, s)
		noMismatch(t, s)
		s.Stop()
	}
}
