package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/zkcore/zkcore/plugins/storage"
)

// A mapStore is the plainest store that keeps the contract, and complains where
// an engine does not keep its part of it. Its views are copies, unless live is
// set, as benchmarks do.
type mapStore struct {
	recs    map[string]storage.Record
	kids    map[string]map[string]bool
	tables  map[string]map[string][]byte
	applied int64
	views   int
	live    bool
	fail    error // what Commit, or a read, answers
	failGet error
}

func newMapStore() *mapStore {
	return &mapStore{recs: map[string]storage.Record{}, kids: map[string]map[string]bool{}, tables: map[string]map[string][]byte{}}
}

func split(path string) (parent, name string) {
	i := strings.LastIndexByte(path, '/')
	if i <= 0 {
		return "/", path[i+1:]
	}
	return path[:i], path[i+1:]
}

func (s *mapStore) Commit(b *storage.Batch) error {
	if s.fail != nil {
		return s.fail
	}
	for _, op := range b.Ops {
		if err := s.apply(op); err != nil {
			return err
		}
	}
	s.applied = b.Zxid
	return nil
}

func (s *mapStore) apply(op storage.Op) error {
	old, there := s.recs[op.Path]
	switch op.Kind {
	case storage.OpPut:
		if !there && op.Path != "/" {
			parent, name := split(op.Path)
			if _, ok := s.recs[parent]; !ok {
				return fmt.Errorf("put of %q before its parent", op.Path)
			}
			if s.kids[parent] == nil {
				s.kids[parent] = map[string]bool{}
			}
			s.kids[strings.Clone(parent)][strings.Clone(name)] = true
		}
		data := bytes.Clone(op.Data)
		s.recs[strings.Clone(op.Path)] = storage.Record{Head: bytes.Clone(op.Head), Data: data}
	case storage.OpPutHead:
		if !there || len(old.Head) != len(op.Head) {
			return fmt.Errorf("head put over nothing at %q", op.Path)
		}
		s.recs[strings.Clone(op.Path)] = storage.Record{Head: bytes.Clone(op.Head), Data: old.Data}
	case storage.OpDelete:
		if len(s.kids[op.Path]) > 0 {
			return fmt.Errorf("delete of %q before its children", op.Path)
		}
		delete(s.recs, op.Path)
		parent, name := split(op.Path)
		delete(s.kids[parent], name)
	case storage.OpTablePut:
		if s.tables[op.Table] == nil {
			s.tables[op.Table] = map[string][]byte{}
		}
		s.tables[op.Table][strings.Clone(op.Path)] = bytes.Clone(op.Data)
	case storage.OpTableDelete:
		delete(s.tables[op.Table], op.Path)
	default:
		return errors.New("unknown op")
	}
	return nil
}

func (s *mapStore) View() storage.View {
	s.views++
	if s.live {
		return &mapView{s: s, of: s}
	}
	c := newMapStore()
	maps.Copy(c.recs, s.recs)
	for p, k := range s.kids {
		c.kids[p] = maps.Clone(k)
	}
	for t, e := range s.tables {
		c.tables[t] = maps.Clone(e)
	}
	c.applied, c.failGet = s.applied, s.failGet
	return &mapView{s: c, of: s}
}

func (s *mapStore) Applied() int64              { return s.applied }
func (s *mapStore) Durable() int64              { return 0 }
func (s *mapStore) Flush(context.Context) error { return nil }
func (s *mapStore) Stats() storage.Stats        { return storage.Stats{} }
func (s *mapStore) Close() error                { return nil }
func (s *mapStore) Reset() error {
	*s = mapStore{recs: map[string]storage.Record{}, kids: map[string]map[string]bool{}, tables: map[string]map[string][]byte{}, views: s.views}
	return nil
}

type mapView struct {
	s, of    *mapStore
	released bool
}

func (v *mapView) Applied() int64 { return v.s.applied }
func (v *mapView) Len() int       { return len(v.s.recs) }

func (v *mapView) Get(path string) (storage.Record, bool, error) {
	if v.released {
		panic("view used after its release")
	}
	rec, ok := v.s.recs[path]
	return rec, ok, v.s.failGet
}

func (v *mapView) Children(path string, fn func(string) bool) error {
	for _, name := range slices.Sorted(maps.Keys(v.s.kids[path])) {
		if !fn(name) {
			break
		}
	}
	return v.s.failGet
}

func (v *mapView) Walk(fn func(string, storage.Record) bool) error {
	paths := slices.Collect(maps.Keys(v.s.recs))
	sort.Strings(paths) // "/" first, parents before their children
	for _, p := range paths {
		if !fn(p, v.s.recs[p]) {
			break
		}
	}
	return v.s.failGet
}

func (v *mapView) TableGet(table, key string) ([]byte, bool, error) {
	value, ok := v.s.tables[table][key]
	return value, ok, v.s.failGet
}

func (v *mapView) TableScan(table, prefix string, fn func(string, []byte) bool) error {
	var keys []string
	for k := range v.s.tables[table] {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	for _, k := range keys {
		if !fn(k, v.s.tables[table][k]) {
			break
		}
	}
	return v.s.failGet
}

func (v *mapView) Release() {
	if v.released {
		panic("view released twice")
	}
	v.released = true
	v.of.views--
}
