package process

import (
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	zab "github.com/zkcore/zkcore/consensus-zab"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/consensus/consensustest"
	"github.com/zkcore/zkcore/plugins/process"
	"github.com/zkcore/zkcore/plugins/storage"
	"github.com/zkcore/zkcore/plugins/storage/storagetest"
	mem "github.com/zkcore/zkcore/storage-mem"
)

// BenchmarkStore measures a store behind the boundary, without what stands in front of it in
// a server.
func BenchmarkStore(b *testing.B) {
	storagetest.Bench(b, storagetest.Factory{Open: openStore})
}

// BenchmarkCached measures it with that, where the cache holds everything.
func BenchmarkCached(b *testing.B) {
	storagetest.Bench(b, storagetest.Factory{Open: func(t testing.TB) storage.Store {
		s, err := process.CachedStorage(module(t, "zkcore-storage-mem"), 512<<20, slog.New(slog.DiscardHandler))(storage.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}})
}

// BenchmarkBuiltIn measures what both are compared with.
func BenchmarkBuiltIn(b *testing.B) {
	storagetest.Bench(b, storagetest.Factory{Open: func(t testing.TB) storage.Store {
		s, err := mem.Open(storage.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}})
}

// BenchmarkMember measures a member that orders for a node which does nothing: a txn of 100 bytes,
// 64 of them in a Propose, a few thousand under way; and one alone.
func BenchmarkMember(b *testing.B) {
	for name, open := range map[string]consensus.Open{"BuiltIn": zab.Open, "Process": process.Consensus(module(b, "zkcore-consensus-zab"))} {
		for _, mode := range []struct {
			name          string
			batch, window int
		}{{"Pipelined", 64, 4096}, {"Lone", 1, 1}} {
			b.Run(name+mode.name, func(b *testing.B) {
				n := &counter{leads: make(chan consensus.Role, 1)}
				n.changed.L = &n.mu
				dir := b.TempDir()
				if err := os.Mkdir(filepath.Join(dir, "version-2"), 0o755); err != nil {
					b.Fatal(err)
				}
				m, err := open(consensus.Config{ID: 1, Tick: time.Second, DataDir: dir, LogDir: dir, Options: map[string]string{"forceSync": "no"},
					Log: slog.New(slog.DiscardHandler), Fail: func(_ int, err error) { panic(err) }}, n)
				if err != nil {
					b.Fatal(err)
				}
				defer m.Close()
				role := <-n.leads
				next := role.Last + 1
				b.ResetTimer()
				for i := 0; i < b.N; i += mode.batch {
					txns := make([]consensus.Txn, mode.batch)
					for k := range txns {
						txns[k] = consensustest.MakeTxn(next, 1, 1, 50)
						next++
					}
					if err := m.Propose(role.Term, txns); err != nil {
						b.Fatal(err)
					}
					n.wait(next - 1 - consensus.Zxid(mode.window) + 1)
				}
				n.wait(next - 1)
			})
		}
	}
}

// A counter is a node that counts.
type counter struct {
	consensus.Node
	leads   chan consensus.Role
	mu      sync.Mutex
	changed sync.Cond
	last    consensus.Zxid
}

func (n *counter) Recover(consensus.Zxid) (consensus.Zxid, error) { return 0, nil }
func (n *counter) Role(r consensus.Role) {
	if r.State == consensus.Leading {
		n.leads <- r
	}
}
func (n *counter) Deliver(txns []consensus.Txn) {
	n.mu.Lock()
	n.last = txns[len(txns)-1].Zxid
	n.changed.Signal()
	n.mu.Unlock()
}
func (n *counter) wait(z consensus.Zxid) {
	n.mu.Lock()
	for n.last < z {
		n.changed.Wait()
	}
	n.mu.Unlock()
}
