package process

import (
	"log/slog"
	"testing"

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
