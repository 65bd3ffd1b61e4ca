package node

import (
	"net"
	"testing"
	"testing/synctest"

	"github.com/zkcore/zkcore/core/recorded"
)

// TestExchanges sends to a node what was sent to Apache's server and expects what that answered, byte by byte but for
// what is another at every run (package recorded). The conformance suite does the same to whole servers.
func TestExchanges(t *testing.T) {
	dirs := map[bool]string{true: t.TempDir(), false: t.TempDir()}
	// In a time of its own: sessions expire at once when they should, and on a slow machine not before.
	synctest.Test(t, func(t *testing.T) {
		rigs := map[bool]*rig{}
		r := recorded.Replay{Ours: recorded.Ours, Patience: patience}
		r.Dial = func(extendedTypes bool) (net.Conn, error) {
			if rigs[extendedTypes] == nil {
				rigs[extendedTypes] = startPiped(t, dirs[extendedTypes], func(c *Config) {
					c.ExtendedTypes = extendedTypes
					c.MinSessionTimeoutMS, c.MaxSessionTimeoutMS = 4000, 40000 // as it was recorded
				})
			}
			return rigs[extendedTypes].dial().c, nil
		}
		all, err := r.Begin(recorded.Release)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for i := range all {
			if err := r.Do(&all[i]); err != nil {
				t.Errorf("%s (%s): %v", all[i].Name, all[i].Notes, err)
			}
		}
		if err := r.Order(); err != nil {
			t.Error(err)
		}
	})
}
