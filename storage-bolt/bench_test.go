package bolt

import (
	"testing"

	"github.com/zkcore/zkcore/plugins/storage"
	"github.com/zkcore/zkcore/plugins/storage/storagetest"
)

// With a cache that holds the whole tree, and with one that holds a quarter of it.
func BenchmarkStore(b *testing.B) {
	for name, cache := range map[string]string{"All": "629145600", "Quarter": "104857600"} {
		b.Run(name, func(b *testing.B) {
			storagetest.Bench(b, storagetest.Factory{Open: func(t testing.TB) storage.Store {
				return open(t, t.TempDir(), map[string]string{"cacheBytes": cache})
			}})
		})
	}
}
