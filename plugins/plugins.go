// Package plugins holds the Set of modules that a binary is built with. The
// contracts are in its subfolders: consensus orders the transactions of an
// ensemble, storage holds a node's znodes. Nothing here requires more than the
// standard library, so that whoever writes a module gets nothing else with it.
package plugins

import (
	"fmt"
	"maps"
	"path/filepath"
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

// The kinds of module, as the configuration's keys and the names of files have them.
const (
	KindConsensus = "consensus"
	KindStorage   = "storage"
)

// FileName is what the program of a module is called that runs as a process:
// zkcore-storage-bolt.
func FileName(kind, name string) string { return "zkcore-" + kind + "-" + name }

// Name is the name of the module that the configuration chooses by value: value
// itself, or, if it is the path of a program, what the program's name says. By
// it the configuration's keys for a module are called.
func Name(value string) string {
	if !IsPath(value) {
		return value
	}
	base := filepath.Base(value)
	for _, kind := range []string{KindConsensus, KindStorage} {
		if name, ok := strings.CutPrefix(base, FileName(kind, "")); ok && name != "" {
			return name
		}
	}
	return base
}

// IsPath says whether value names a program, not a module.
func IsPath(value string) bool { return strings.ContainsRune(value, filepath.Separator) }

func names[T any](m map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}
