package mixed

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/test/harness"
)

// TestNewServers: new servers of both kinds make an ensemble when all are there. One of zkcore
// whose disk was replaced, or whose log is damaged, gets everything from a leader of either
// kind, and then has a vote.
func TestNewServers(t *testing.T) {
	for _, apache := range [][]int{{1}, {3}, {1, 3}} {
		t.Run(fmt.Sprintf("Apache %v", apache), func(t *testing.T) {
			e := ensemble(t, harness.Options{Servers: 3, Apache: apache})
			for _, s := range e.Servers {
				s.Start()
			}
			e.Await()
			s := e.Servers[1]
			c := connect(t, e.Servers[0].Addr(), e.Servers[2].Addr())
			writeMany(t, c, "/a", 100, 20)

			s.Kill9()
			if err := os.RemoveAll(filepath.Join(s.DataDir, "version-2")); err != nil {
				t.Fatal(err)
			}
			rejoin(t, e, s, "SNAP")
			sameTrees(t, e)

			writeMany(t, c, "/b", 100, 20)
			s.Kill9()
			logs, err := filepath.Glob(filepath.Join(s.DataDir, "version-2", "log.*"))
			if err != nil || len(logs) == 0 {
				t.Fatalf("no log: %v", err)
			}
			raw, err := os.ReadFile(logs[0])
			if err != nil {
				t.Fatal(err)
			}
			raw[len(strings.TrimRight(string(raw), "\x00"))/2] ^= 1
			if err := os.WriteFile(logs[0], raw, 0o644); err != nil {
				t.Fatal(err)
			}
			rejoin(t, e, s, "SNAP")
			if _, err := os.Stat(filepath.Join(s.DataDir, "damaged.1", filepath.Base(logs[0]))); err != nil {
				t.Errorf("the damaged file is not set aside: %v", err)
			}
			sameTrees(t, e)

			// It counts again: with one of the others gone it is needed.
			e.Servers[0].Kill9()
			e.Await()
			elsewhere(t, c)
			writeMany(t, c, "/c", 20, 20)
			rejoin(t, e, e.Servers[0], "")
			sameTrees(t, e)
		})
	}
}
