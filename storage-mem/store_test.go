package mem

import (
	"testing"

	"github.com/zkcore/zkcore/plugins/storage"
	"github.com/zkcore/zkcore/plugins/storage/storagetest"
)

func open(t testing.TB) storage.Store {
	s, err := Open(storage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	storagetest.Run(t, storagetest.Factory{Open: open})
}
