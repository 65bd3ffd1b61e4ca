package mem

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/zkcore/zkcore/plugins/storage"
)

var (
	_ storage.Store = (*Store)(nil)
	_ storage.View  = (*view)(nil)
	_ storage.Open  = Open
)

// A Store keeps the records as versions, by path: a view sees those that are
// not younger than itself.
type Store struct {
	mu     sync.RWMutex
	st     *state
	closed bool
}

// state is what Reset replaces; a view keeps the one it was taken of.
type state struct {
	epoch    uint64
	applied  int64
	records  map[string][]version
	children map[string]map[string]struct{}
	tables   map[string]map[string][]version
	live     map[*view]struct{}
	count    int
}

// A version is a record from an epoch on; a dead one says that there is none.
type version struct {
	epoch uint64
	dead  bool
	rec   storage.Record
}

func newState() *state {
	return &state{
		records:  map[string][]version{},
		children: map[string]map[string]struct{}{},
		tables:   map[string]map[string][]version{},
		live:     map[*view]struct{}{},
	}
}

// Open returns an empty store. The configuration has nothing for it.
func Open(storage.Config) (storage.Store, error) {
	return &Store{st: newState()}, nil
}

// View implements storage.Store.
func (s *Store) View() storage.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &view{s: s, st: s.st, epoch: s.st.epoch, applied: s.st.applied, count: s.st.count}
	s.st.live[v] = struct{}{}
	return v
}

// Commit implements storage.Store.
func (s *Store) Commit(b *storage.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	st := s.st
	if err := st.check(b); err != nil {
		return err
	}
	st.epoch++
	for _, op := range b.Ops {
		st.apply(op)
	}
	st.applied = b.Zxid
	return nil
}

func (st *state) check(b *storage.Batch) error {
	heads := map[string]int{}
	for _, op := range b.Ops {
		switch op.Kind {
		case storage.OpPut:
			heads[op.Path] = len(op.Head)
		case storage.OpDelete:
			heads[op.Path] = -1
		case storage.OpPutHead:
			n, ok := heads[op.Path]
			if !ok {
				n = -1
				if rec, ok := at(st.records[op.Path], st.epoch); ok {
					n = len(rec.Head)
				}
			}
			if n != len(op.Head) {
				return fmt.Errorf("mem: head of %d bytes put over one of %d at %q", len(op.Head), n, op.Path)
			}
		case storage.OpTablePut, storage.OpTableDelete:
		default:
			return fmt.Errorf("mem: unknown op %d", op.Kind)
		}
	}
	return nil
}

func (st *state) apply(op storage.Op) {
	switch op.Kind {
	case storage.OpPut, storage.OpPutHead:
		key := strings.Clone(op.Path)
		rec := storage.Record{Head: bytes.Clone(op.Head), Data: bytes.Clone(op.Data)}
		old, ok := at(st.records[key], st.epoch)
		if op.Kind == storage.OpPutHead {
			rec.Data = old.Data
		}
		if !ok {
			st.count++
			if key != "/" {
				p, name := split(key)
				if st.children[p] == nil {
					st.children[p] = map[string]struct{}{}
				}
				st.children[p][name] = struct{}{}
			}
		}
		st.records[key] = st.add(st.records[key], version{epoch: st.epoch, rec: rec})
	case storage.OpDelete:
		if _, ok := at(st.records[op.Path], st.epoch); !ok {
			return
		}
		st.count--
		key := strings.Clone(op.Path)
		vs := st.add(st.records[key], version{epoch: st.epoch, dead: true})
		st.records[key] = vs
		if len(vs) == 1 {
			delete(st.records, key)
			p, name := split(key)
			delete(st.children[p], name)
			if len(st.children[p]) == 0 {
				delete(st.children, p)
			}
		}
	case storage.OpTablePut:
		t := st.tables[op.Table]
		if t == nil {
			t = map[string][]version{}
			st.tables[strings.Clone(op.Table)] = t
		}
		key := strings.Clone(op.Path)
		t[key] = st.add(t[key], version{epoch: st.epoch, rec: storage.Record{Data: bytes.Clone(op.Data)}})
	case storage.OpTableDelete:
		t := st.tables[op.Table]
		if t == nil || len(t[op.Path]) == 0 {
			return
		}
		key := strings.Clone(op.Path)
		t[key] = st.add(t[key], version{epoch: st.epoch, dead: true})
		if len(t[key]) == 1 {
			delete(t, key)
		}
	}
}

// add appends v and drops the versions that no view can see any more.
func (st *state) add(vs []version, v version) []version {
	vs = append(vs, v)
	oldest := st.epoch
	for v := range st.live {
		oldest = min(oldest, v.epoch)
	}
	first := 0
	for i, v := range vs {
		if v.epoch <= oldest {
			first = i
		}
	}
	return slices.Clone(vs[first:])
}

func at(vs []version, epoch uint64) (storage.Record, bool) {
	for i := len(vs) - 1; i >= 0; i-- {
		if vs[i].epoch <= epoch {
			return vs[i].rec, !vs[i].dead
		}
	}
	return storage.Record{}, false
}

// Applied implements storage.Store.
func (s *Store) Applied() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.st.applied
}

// Durable implements storage.Store: memory survives nothing.
func (s *Store) Durable() int64 { return 0 }

// Flush implements storage.Store: there is nothing to make durable.
func (s *Store) Flush(context.Context) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return storage.ErrClosed
	}
	return nil
}

// Reset implements storage.Store.
func (s *Store) Reset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	s.st = newState()
	return nil
}

// Close implements storage.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.st = newState()
	return nil
}

func split(path string) (parent, name string) {
	i := strings.LastIndexByte(path, '/')
	if i <= 0 {
		return "/", path[i+1:]
	}
	return path[:i], path[i+1:]
}

type view struct {
	s       *Store
	st      *state
	epoch   uint64
	applied int64
	count   int
}

func (v *view) Applied() int64 { return v.applied }
func (v *view) Len() int       { return v.count }

func (v *view) Get(path string) (storage.Record, bool, error) {
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	rec, ok := at(v.st.records[path], v.epoch)
	return rec, ok, nil
}

func (v *view) names(path string) []string {
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	var names []string
	prefix := path + "/"
	if path == "/" {
		prefix = "/"
	}
	for name := range v.st.children[path] {
		if _, ok := at(v.st.records[prefix+name], v.epoch); ok {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

func (v *view) Children(path string, fn func(name string) bool) error {
	for _, name := range v.names(path) {
		if !fn(name) {
			break
		}
	}
	return nil
}

func (v *view) Walk(fn func(path string, rec storage.Record) bool) error {
	stack := []string{"/"}
	for len(stack) > 0 {
		path := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		rec, ok, _ := v.Get(path)
		if !ok {
			continue
		}
		if !fn(path, rec) {
			break
		}
		prefix := strings.TrimSuffix(path, "/") + "/"
		for _, name := range v.names(path) {
			stack = append(stack, prefix+name)
		}
	}
	return nil
}

func (v *view) TableGet(table, key string) ([]byte, bool, error) {
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	rec, ok := at(v.st.tables[table][key], v.epoch)
	return rec.Data, ok, nil
}

func (v *view) TableScan(table, prefix string, fn func(key string, value []byte) bool) error {
	v.s.mu.RLock()
	var keys []string
	for key, vs := range v.st.tables[table] {
		if _, ok := at(vs, v.epoch); ok && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	v.s.mu.RUnlock()
	sort.Strings(keys)
	for _, key := range keys {
		value, _, _ := v.TableGet(table, key)
		if !fn(key, value) {
			break
		}
	}
	return nil
}

func (v *view) Release() {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	delete(v.st.live, v)
}
