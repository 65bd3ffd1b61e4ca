package node

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestCommittedIsKept: a node that shows its state without a leader notes what is committed, now and
// then and when it loses its leader, and tells its member in its next life; one that does not, does not.
func TestCommittedIsKept(t *testing.T) {
	for _, on := range []bool{true, false} {
		dir := t.TempDir()
		file := filepath.Join(dir, txnlog.VersionDir, committedFile)
		change := func(c *Config) { c.DataDir, c.ReadOnly = dir, on }
		has := func(want string) {
			t.Helper()
			synctest.Wait()
			b, err := os.ReadFile(file)
			if on && (err != nil || string(b) != want) || !on && !os.IsNotExist(err) {
				t.Fatalf("the file has %q, %v; want %q", b, err, want)
			}
		}
		bubble(t, change, func(t *testing.T, r *rig, dial func() *peer) {
			p := dial()
			p.greet(&proto.ConnectRequest{TimeoutMS: 40000})
			p.must(proto.OpCreate, create("/a", 0))
			time.Sleep(committedEvery + time.Second)
			has("2\n")
			p.must(proto.OpCreate, create("/b", 0))
			r.m.setRole(consensus.Looking)
			has("3\n")
		})
		bubble(t, change, func(t *testing.T, r *rig, dial func() *peer) {
			if got := r.m.cfg.Options[consensus.OptionCommitted]; on != (got == "3") {
				t.Errorf("the member is told %q", got)
			}
			if err := os.WriteFile(file, []byte("no zxid\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		})
		bubble(t, change, func(t *testing.T, r *rig, dial func() *peer) { // which harms nothing
			if got, ok := r.m.cfg.Options[consensus.OptionCommitted]; ok {
				t.Errorf("the member is told %q", got)
			}
			p := dial()
			p.greet(&proto.ConnectRequest{TimeoutMS: 40000})
			aside := filepath.Join(dir, "aside")
			if err := os.Mkdir(aside, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := r.n.SetAside(aside); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(file); !os.IsNotExist(err) {
				t.Error("the file outlives the state that it was about")
			}
		})
	}
}
