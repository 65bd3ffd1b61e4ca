package behind

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/zkcore/zkcore/plugins/storage"
)

// A plain is a store of plain maps, each commit of which is durable. It refuses a
// batch in which a znode comes before its parent or goes before its children.
type plain struct {
	mu      sync.Mutex
	now     *maplike
	closed  bool
	fail    error         // of the next commits
	hold    chan struct{} // a commit waits for it
	commits int
	views   int
	gets    int // of all views
}

// A maplike never changes once it is the store's.
type maplike struct {
	applied int64
	records map[string]storage.Record
	kids    map[string]int
	tables  map[string]map[string][]byte
}

func newPlain() *plain {
	return &plain{now: &maplike{records: map[string]storage.Record{}, kids: map[string]int{}, tables: map[string]map[string][]byte{}}}
}

func parentOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

func (p *plain) Commit(b *storage.Batch) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if hold := p.hold; hold != nil {
		p.mu.Unlock()
		<-hold
		p.mu.Lock()
	}
	if p.closed {
		return storage.ErrClosed
	}
	if p.fail != nil {
		return p.fail
	}
	n := &maplike{applied: b.Zxid, records: maps.Clone(p.now.records), kids: maps.Clone(p.now.kids), tables: map[string]map[string][]byte{}}
	for name, t := range p.now.tables {
		n.tables[name] = maps.Clone(t)
	}
	for _, op := range b.Ops {
		path := strings.Clone(op.Path)
		old, there := n.records[path]
		switch op.Kind {
		case storage.OpPut:
			if !there && path != "/" {
				if _, ok := n.records[parentOf(path)]; !ok {
					return fmt.Errorf("%q is put before its parent", path)
				}
				n.kids[parentOf(path)]++
			}
			n.records[path] = storage.Record{Head: bytes.Clone(op.Head), Data: bytes.Clone(op.Data)}
		case storage.OpPutHead:
			if !there || len(old.Head) != len(op.Head) {
				return fmt.Errorf("head put over nothing at %q", path)
			}
			n.records[path] = storage.Record{Head: bytes.Clone(op.Head), Data: old.Data}
		case storage.OpDelete:
			if n.kids[path] > 0 {
				return fmt.Errorf("%q is deleted before its children", path)
			}
			if there && path != "/" {
				n.kids[parentOf(path)]--
			}
			delete(n.records, path)
		case storage.OpTablePut:
			if n.tables[op.Table] == nil {
				n.tables[strings.Clone(op.Table)] = map[string][]byte{}
			}
			n.tables[op.Table][path] = bytes.Clone(op.Data)
		case storage.OpTableDelete:
			delete(n.tables[op.Table], path)
		default:
			return fmt.Errorf("op %d", op.Kind)
		}
	}
	p.now = n
	p.commits++
	return nil
}

func (p *plain) View() storage.View {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.views++
	return &plainView{p, p.now}
}

func (p *plain) Applied() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now.applied
}

func (p *plain) Durable() int64              { return p.Applied() }
func (p *plain) Flush(context.Context) error { return nil }
func (p *plain) Stats() storage.Stats        { return storage.Stats{} }

func (p *plain) Reset() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = newPlain().now
	return nil
}

func (p *plain) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

// A plainView fails once it was released.
type plainView struct {
	p *plain
	m *maplike
}

func (v *plainView) Applied() int64 { return v.m.applied }
func (v *plainView) Len() int       { return len(v.m.records) }

func (v *plainView) Release() {
	v.m = nil
	v.p.mu.Lock()
	defer v.p.mu.Unlock()
	v.p.views--
}

func (v *plainView) Get(path string) (storage.Record, bool, error) {
	v.p.mu.Lock()
	v.p.gets++
	v.p.mu.Unlock()
	rec, ok := v.m.records[path]
	return rec, ok, nil
}

func (v *plainView) Children(path string, fn func(string) bool) error {
	var names []string
	if v.m.kids[path] > 0 {
		for p := range v.m.records {
			if p != "/" && parentOf(p) == path {
				names = append(names, p[strings.LastIndexByte(p, '/')+1:])
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if !fn(name) {
			break
		}
	}
	return nil
}

func (v *plainView) Walk(fn func(string, storage.Record) bool) error {
	for _, p := range slices.Sorted(maps.Keys(v.m.records)) {
		if !fn(p, v.m.records[p]) {
			break
		}
	}
	return nil
}

func (v *plainView) TableGet(table, key string) ([]byte, bool, error) {
	b, ok := v.m.tables[table][key]
	return b, ok, nil
}

func (v *plainView) TableScan(table, prefix string, fn func(string, []byte) bool) error {
	for _, k := range slices.Sorted(maps.Keys(v.m.tables[table])) {
		if strings.HasPrefix(k, prefix) && !fn(k, v.m.tables[table][k]) {
			break
		}
	}
	return nil
}
