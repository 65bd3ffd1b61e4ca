package bolt

import (
	"testing"

	"github.com/zkcore/zkcore/plugins/storage"
	"github.com/zkcore/zkcore/plugins/storage/storagetest"
)

// The tree alone keeps the contract.
func TestTreeContract(t *testing.T) {
	storagetest.Run(t, storagetest.Factory{
		Open: func(t testing.TB) storage.Store {
			s, err := openTree(storage.Config{Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Reopen: func(t testing.TB, s storage.Store) storage.Store {
			dir := s.(*tree).dir
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			again, err := openTree(storage.Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			return again
		},
	})
}
