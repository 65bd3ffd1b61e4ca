package node

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/zkcore/zkcore/plugins/storage"
)

// A mapStore is the plainest store there can be: each commit copies the maps.
type mapStore struct {
	mu  sync.Mutex
	now *mapState
}

type mapState struct {
	applied int64
	recs    map[string]storage.Record
	kids    map[string]map[string]bool
	tables  map[string]map[string][]byte
}

func newMapState() *mapState {
	return &mapState{recs: map[string]storage.Record{}, kids: map[string]map[string]bool{}, tables: map[string]map[string][]byte{}}
}

func openMapStore(storage.Config) (storage.Store, error) { return &mapStore{now: newMapState()}, nil }

func (s *mapStore) View() storage.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return mapView{s.now}
}

func splitPath(p string) (parent, name string) {
	i := strings.LastIndexByte(p, '/')
	if i <= 0 {
		return "/", p[i+1:]
	}
	return p[:i], p[i+1:]
}

func (s *mapStore) Commit(b *storage.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &mapState{applied: b.Zxid, recs: maps.Clone(s.now.recs), kids: maps.Clone(s.now.kids), tables: map[string]map[string][]byte{}}
	for name, t := range s.now.tables {
		st.tables[name] = maps.Clone(t)
	}
	clone := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		return append([]byte{}, b...)
	}
	child := func(path string, there bool) {
		if path == "/" {
			return
		}
		parent, name := splitPath(path)
		names := maps.Clone(st.kids[parent])
		if names == nil {
			names = map[string]bool{}
		}
		if there {
			names[strings.Clone(name)] = true
		} else {
			delete(names, name)
		}
		st.kids[strings.Clone(parent)] = names
	}
	for _, op := range b.Ops {
		key := strings.Clone(op.Path)
		switch op.Kind {
		case storage.OpPut:
			st.recs[key] = storage.Record{Head: clone(op.Head), Data: clone(op.Data)}
			child(key, true)
		case storage.OpPutHead:
			st.recs[key] = storage.Record{Head: clone(op.Head), Data: st.recs[key].Data}
		case storage.OpDelete:
			delete(st.recs, key)
			child(key, false)
		case storage.OpTablePut:
			if st.tables[op.Table] == nil {
				st.tables[strings.Clone(op.Table)] = map[string][]byte{}
			}
			st.tables[op.Table][key] = clone(op.Data)
		case storage.OpTableDelete:
			delete(st.tables[op.Table], key)
		}
	}
	s.now = st
	return nil
}

func (s *mapStore) Applied() int64              { return s.View().Applied() }
func (s *mapStore) Durable() int64              { return 0 }
func (s *mapStore) Flush(context.Context) error { return nil }
func (s *mapStore) Stats() storage.Stats        { return storage.Stats{} }
func (s *mapStore) Close() error                { return nil }

func (s *mapStore) Reset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = newMapState()
	return nil
}

type mapView struct{ st *mapState }

func (v mapView) Applied() int64 { return v.st.applied }
func (v mapView) Len() int       { return len(v.st.recs) }
func (v mapView) Release()       {}

func (v mapView) Get(path string) (storage.Record, bool, error) {
	r, ok := v.st.recs[path]
	return r, ok, nil
}

func (v mapView) Children(path string, fn func(string) bool) error {
	for _, name := range slices.Sorted(maps.Keys(v.st.kids[path])) {
		if !fn(name) {
			break
		}
	}
	return nil
}

func (v mapView) Walk(fn func(string, storage.Record) bool) error {
	for _, p := range slices.Sorted(maps.Keys(v.st.recs)) {
		if !fn(p, v.st.recs[p]) {
			break
		}
	}
	return nil
}

func (v mapView) TableGet(table, key string) ([]byte, bool, error) {
	b, ok := v.st.tables[table][key]
	return b, ok, nil
}

func (v mapView) TableScan(table, prefix string, fn func(string, []byte) bool) error {
	for _, k := range slices.Sorted(maps.Keys(v.st.tables[table])) {
		if strings.HasPrefix(k, prefix) && !fn(k, v.st.tables[table][k]) {
			break
		}
	}
	return nil
}

// A gatedStore lets the next look at one path wait, as long as the gate is shut.
type gatedStore struct {
	storage.Store
	mu    sync.Mutex
	path  string // "": nobody waits
	there chan struct{}
	open  chan struct{}
}

func gate() (*gatedStore, storage.Open) {
	s := &gatedStore{Store: &mapStore{now: newMapState()}}
	return s, func(storage.Config) (storage.Store, error) { return s, nil }
}

// shut says whose look waits next. The first channel is closed when it does, and it goes on when
// the second is.
func (s *gatedStore) shut(path string) (there <-chan struct{}, open chan<- struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.path, s.there, s.open = path, make(chan struct{}), make(chan struct{})
	return s.there, s.open
}

func (s *gatedStore) View() storage.View { return gatedView{s.Store.View(), s} }

type gatedView struct {
	storage.View
	s *gatedStore
}

func (v gatedView) Get(path string) (storage.Record, bool, error) {
	v.s.mu.Lock()
	waits := v.s.path == path
	if waits {
		v.s.path = ""
		close(v.s.there)
	}
	open := v.s.open
	v.s.mu.Unlock()
	if waits {
		<-open
	}
	return v.View.Get(path)
}
