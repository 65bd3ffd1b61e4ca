// Package process holds the tests of modules as processes that span modules: the kits of both
// contracts on the real modules behind a process boundary, and servers whose modules are
// killed, stopped and swapped.
package process

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/zkcore/zkcore/plugins/process"
	"github.com/zkcore/zkcore/plugins/storage"
	"github.com/zkcore/zkcore/plugins/storage/storagetest"

	"github.com/zkcore/zkcore/plugins/consensus/consensustest"
)

// bin is the folder with the modules' programs, made once.
var bin string

func TestMain(m *testing.M) {
	code := func() int {
		dir, err := os.MkdirTemp("", "zkcore-modules")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin = dir
		out, err := exec.Command("go", "build", "-o", bin+"/", "../../cmd/zkcore", "../../cmd/zkcore-storage-mem", "../../cmd/zkcore-storage-bolt", "../../cmd/zkcore-consensus-zab", "../../cmd/zkcore-consensus-raft").CombinedOutput()
		if err != nil {
			fmt.Fprintf(os.Stderr, "build the modules: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}()
	os.Exit(code)
}

var sums sync.Map

// module is the configuration of one of the modules.
func module(t testing.TB, name string) process.Config {
	t.Helper()
	path := filepath.Join(bin, name)
	sum, ok := sums.Load(path)
	if !ok {
		s, err := process.Sum(path)
		if err != nil {
			t.Fatal(err)
		}
		sums.Store(path, s)
		sum = s
	}
	return process.Config{Path: path, SHA256: sum.(string), Timeout: waitForIt}
}

func openStore(t testing.TB) storage.Store {
	s, err := process.Storage(module(t, "zkcore-storage-mem"))(storage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStorageContract checks a store in another process, every call of which crosses.
func TestStorageContract(t *testing.T) {
	storagetest.Run(t, storagetest.Factory{Open: openStore, Far: true})
}

// TestStorageCached checks what a server uses: the same store, with its caches and the commits
// written behind.
func TestStorageCached(t *testing.T) {
	storagetest.Run(t, storagetest.Factory{Open: func(t testing.TB) storage.Store {
		s, err := process.CachedStorage(module(t, "zkcore-storage-mem"), 8<<20, slog.New(slog.DiscardHandler))(storage.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}, Far: true})
}

// TestStorageBolt checks a store that survives, and loses its process as a crash would.
func TestStorageBolt(t *testing.T) {
	open := func(t testing.TB, dir string) storage.Store {
		c := module(t, "zkcore-storage-bolt")
		c.Running = new(process.Running)
		s, err := process.Storage(c)(storage.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return &killable{s, dir, c.Running}
	}
	storagetest.Run(t, storagetest.Factory{
		Far:  true,
		Open: func(t testing.TB) storage.Store { return open(t, t.TempDir()) },
		Reopen: func(t testing.TB, s storage.Store) storage.Store {
			k := s.(*killable)
			k.running.Kill()
			var died *process.Died
			if err := k.Close(); !errors.As(err, &died) {
				t.Errorf("Close of a store whose process is gone: %v", err)
			}
			return open(t, k.dir)
		},
	})
}

// killable is a store with what kills its process.
type killable struct {
	storage.Store
	dir     string
	running *process.Running
}

func TestConsensusContract(t *testing.T) {
	for _, name := range []string{"zab", "raft"} {
		t.Run(name, func(t *testing.T) { consensustest.Run(t, process.Consensus(module(t, "zkcore-consensus-"+name))) })
	}
}
