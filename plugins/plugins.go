// Package plugins holds the Set of modules that a binary is built with. The
// contracts are in its subfolders: consensus orders the transactions of an
// ensemble, storage holds a node's znodes. Nothing here requires more than the
// standard library, so that whoever writes a module gets nothing else with it.
package plugins

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// A Set is the modules that a binary is built with, by the names that a
// configuration chooses them by. It is a plain value: a binary with other
// modules has another one.
type Set struct {
	Consensus map[string]consensus.Open
	Storage   map[string]storage.Open
	// StorageTools are those of the storage modules that have some.
	StorageTools map[string]storage.Tools
}

// OpenConsensus returns the consensus module of that name.
func (s Set) OpenConsensus(name string) (consensus.Open, error) {
	if open, ok := s.Consensus[name]; ok {
		return open, nil
	}
	return nil, fmt.Errorf("no consensus module %q in this binary: it has %s", name, names(s.Consensus))
}

// OpenStorage returns the storage module of that name.
func (s Set) OpenStorage(name string) (storage.Open, error) {
	if open, ok := s.Storage[name]; ok {
		return open, nil
	}
	return nil, fmt.Errorf("no storage module %q in this binary: it has %s", name, names(s.Storage))
}

func names[T any](m map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}
