package process

import (
	"testing"

	"github.com/zkcore/zkcore/plugins/process"
	"github.com/zkcore/zkcore/plugins/storage"
	"github.com/zkcore/zkcore/plugins/storage/storagetest"
)

// BenchmarkStore measures a store behind the boundary, without what stands in front of it in
// a server.
func BenchmarkStore(b *testing.B) {
	storagetest.Bench(b, storagetest.Factory{Open: func(t testing.TB) storage.Store {
		s, err := process.Storage(module(t, "zkcore-storage-mem"))(storage.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}})
}
