package storagetest

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/zkcore/zkcore/plugins/storage"
)

// A model is what a store has to hold, in plain maps. What the values refer to
// is never changed, so that a clone copies the maps only.
type model struct {
	reads   int // how many records a check gets one by one; 0: all
	applied int64
	records map[string]storage.Record
	tables  map[string]map[string][]byte
}

func newModel() *model {
	return &model{records: map[string]storage.Record{}, tables: map[string]map[string][]byte{}}
}

func (m *model) clone() *model {
	c := &model{reads: m.reads, applied: m.applied, records: maps.Clone(m.records), tables: map[string]map[string][]byte{}}
	for name, table := range m.tables {
		c.tables[name] = maps.Clone(table)
	}
	return c
}

func (m *model) commit(b *storage.Batch) {
	for _, op := range b.Ops {
		switch op.Kind {
		case storage.OpPut:
			m.records[op.Path] = storage.Record{Head: bytes.Clone(op.Head), Data: bytes.Clone(op.Data)}
		case storage.OpPutHead:
			rec := m.records[op.Path]
			rec.Head = bytes.Clone(op.Head)
			m.records[op.Path] = rec
		case storage.OpDelete:
			delete(m.records, op.Path)
		case storage.OpTablePut:
			if m.tables[op.Table] == nil {
				m.tables[op.Table] = map[string][]byte{}
			}
			m.tables[op.Table][op.Path] = bytes.Clone(op.Data)
		case storage.OpTableDelete:
			delete(m.tables[op.Table], op.Path)
		}
	}
	m.applied = b.Zxid
}

// parent returns the path of path's parent; "/" has none.
func parent(path string) string {
	i := strings.LastIndexByte(path, '/')
	if i <= 0 {
		return path[:1]
	}
	return path[:i]
}

// child returns the path of a child.
func child(path, name string) string {
	if path == "/" {
		return "/" + name
	}
	return path + "/" + name
}

// children returns the names of all children in byte order, by path.
func (m *model) children() map[string][]string {
	all := map[string][]string{}
	for path := range m.records {
		if path != "/" {
			p := parent(path)
			all[p] = append(all[p], path[strings.LastIndexByte(path, '/')+1:])
		}
	}
	for _, names := range all {
		slices.Sort(names)
	}
	return all
}

// check compares all that v shows with the model.
func (m *model) check(t testing.TB, v storage.View) {
	t.Helper()
	if got := v.Applied(); got != m.applied {
		t.Errorf("Applied is %d, want %d", got, m.applied)
	}
	if got := v.Len(); got != len(m.records) {
		t.Errorf("Len is %d, want %d", got, len(m.records))
	}
	// The order is another one each time, and Walk gives them all.
	n := 0
	for path, want := range m.records {
		if n++; n > m.reads && m.reads > 0 {
			break
		}
		got, ok, err := v.Get(path)
		if err != nil {
			t.Fatalf("Get(%q): %v", path, err)
		}
		if !ok {
			t.Errorf("Get(%q) found nothing", path)
		} else if err := sameRecord(got, want); err != nil {
			t.Errorf("Get(%q): %v", path, err)
		}
	}
	children := m.children()
	n = 0
	for path := range m.records {
		if n++; n > m.reads && m.reads > 0 {
			break
		}
		if got, want := childrenOf(t, v, path), children[path]; !slices.Equal(got, want) {
			t.Errorf("Children(%q) are %.200q, want %.200q", path, got, want)
		}
	}
	m.checkWalk(t, v)
	for name, table := range m.tables {
		m.checkScan(t, v, name, "")
		n = 0
		for key, want := range table {
			if n++; n > m.reads && m.reads > 0 {
				break
			}
			got, ok, err := v.TableGet(name, key)
			if err != nil || !ok || !bytes.Equal(got, want) {
				t.Errorf("TableGet(%q, %q) is %.40q, %v, %v; want %.40q", name, key, got, ok, err, want)
			}
		}
	}
	if t.Failed() {
		t.FailNow() // one state's differences are enough to read
	}
}

func (m *model) checkWalk(t testing.TB, v storage.View) {
	t.Helper()
	seen := make(map[string]bool, len(m.records))
	err := v.Walk(func(path string, rec storage.Record) bool {
		path = strings.Clone(path)
		want, ok := m.records[path]
		switch {
		case !ok:
			t.Errorf("Walk gives %q, which is not there", path)
		case seen[path]:
			t.Errorf("Walk gives %q twice", path)
		case path != "/" && !seen[parent(path)]:
			t.Errorf("Walk gives %q before its parent", path)
		default:
			if err := sameRecord(rec, want); err != nil {
				t.Errorf("Walk at %q: %v", path, err)
			}
		}
		seen[path] = true
		return !t.Failed()
	})
	if err != nil {
		t.Fatalf("Walk: %v", err)
	}
	if !t.Failed() && len(seen) != len(m.records) {
		t.Errorf("Walk gives %d records of %d", len(seen), len(m.records))
	}
}

// checkScan compares the entries of a table that begin with prefix.
func (m *model) checkScan(t testing.TB, v storage.View, table, prefix string) {
	t.Helper()
	var want []string
	for key := range m.tables[table] {
		if strings.HasPrefix(key, prefix) {
			want = append(want, key)
		}
	}
	slices.Sort(want)
	var got []string
	err := v.TableScan(table, prefix, func(key string, value []byte) bool {
		key = strings.Clone(key)
		if !bytes.Equal(value, m.tables[table][key]) {
			t.Errorf("TableScan(%q, %q) gives %.40q at %q, want %.40q", table, prefix, value, key, m.tables[table][key])
		}
		got = append(got, key)
		return true
	})
	if err != nil {
		t.Fatalf("TableScan(%q, %q): %v", table, prefix, err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("TableScan(%q, %q) gives %.200q, want %.200q", table, prefix, got, want)
	}
}

func childrenOf(t testing.TB, v storage.View, path string) []string {
	t.Helper()
	var names []string
	err := v.Children(path, func(name string) bool {
		names = append(names, strings.Clone(name))
		return true
	})
	if err != nil {
		t.Fatalf("Children(%q): %v", path, err)
	}
	return names
}

func sameRecord(got, want storage.Record) error {
	if !bytes.Equal(got.Head, want.Head) {
		return fmt.Errorf("head is %.40q, want %.40q", got.Head, want.Head)
	}
	if !bytes.Equal(got.Data, want.Data) {
		return fmt.Errorf("data is %.40q (%d bytes), want %.40q (%d bytes)", got.Data, len(got.Data), want.Data, len(want.Data))
	}
	if (got.Data == nil) != (want.Data == nil) {
		return fmt.Errorf("data is nil: %v, want %v", got.Data == nil, want.Data == nil)
	}
	return nil
}

// commitPoisoned commits a copy of b and overwrites the copy afterwards, as a
// caller does who reuses its memory.
func commitPoisoned(s storage.Store, b *storage.Batch) error {
	n := 0
	for _, op := range b.Ops {
		n += len(op.Path) + len(op.Table) + len(op.Head) + len(op.Data)
	}
	mem := make([]byte, 0, n+1)
	take := func(from []byte) []byte {
		if from == nil {
			return nil
		}
		at := len(mem)
		mem = append(mem, from...)
		return mem[at:len(mem):len(mem)]
	}
	takeString := func(from string) string {
		to := take([]byte(from))
		return unsafe.String(unsafe.SliceData(to), len(to))
	}
	c := &storage.Batch{Zxid: b.Zxid, Ops: make([]storage.Op, 0, len(b.Ops))}
	for _, op := range b.Ops {
		c.Ops = append(c.Ops, storage.Op{Kind: op.Kind, Path: takeString(op.Path), Table: takeString(op.Table),
			Head: take(op.Head), Data: take(op.Data)})
	}
	err := s.Commit(c)
	for i := range mem {
		mem[i] = 0xdb
	}
	c.Reset()
	return err
}

// segments are names whose order and neighbours are easy to get wrong: those
// with a byte below the slash come before "a/" when whole paths are compared.
var segments = []string{"a", "a!", "a-", "a.", "a0", "aa", "b", "b\x7f", "é", "日本", "~", " ", "x.y", "0000000001", "0000000002", "0000000010"}

// Random plays random batches against a store and the model, with views held
// over them, and compares both all along. It prints the seed with which a
// failure is repeated; 0 takes a new one.
func Random(t *testing.T, f Factory, seed uint64, steps int) {
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("storagetest.Random(t, f, %d, %d)", seed, steps)
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := newRig(t, f)
	var held []*heldView
	// since are the states from the last durable one on, for stores that survive
	since := map[int64]*model{0: r.m.clone()}

	for range steps {
		switch n := rnd.IntN(100); {
		case n < 60:
			r.randomBatch(rnd)
			if f.Reopen != nil {
				since[r.m.applied] = r.m.clone()
			}
		case n < 75:
			if len(held) < 5 {
				held = append(held, r.view())
			}
		case n < 90:
			if len(held) > 0 {
				i := rnd.IntN(len(held))
				held[i].m.check(t, held[i].View)
				held[i].release()
				held = slices.Delete(held, i, i+1)
			}
		case n < 97:
			r.check()
		case n < 98:
			if err := r.s.Reset(); err != nil {
				t.Fatalf("Reset: %v", err)
			}
			r.m = newModel()
			clear(since)
			since[0] = r.m.clone()
		case n < 99:
			if err := r.s.Flush(t.Context()); err != nil {
				t.Fatalf("Flush: %v", err)
			}
		default:
			if f.Reopen == nil {
				continue
			}
			for _, h := range held {
				h.m.check(t, h.View)
				h.release()
			}
			held = nil
			r.reopen(f, since)
			maps.DeleteFunc(since, func(zxid int64, _ *model) bool { return zxid > r.m.applied })
		}
		if d := r.s.Durable(); d > r.m.applied {
			t.Fatalf("Durable is %d, Applied %d", d, r.m.applied)
		}
	}
	for _, h := range held {
		h.m.check(t, h.View)
		h.release()
	}
	r.check()
}

// reopen opens the store again, and expects one of the states in since that was
// not durable before, or a later one.
func (r *rig) reopen(f Factory, since map[int64]*model) {
	r.t.Helper()
	durable := r.s.Durable()
	r.s = f.Reopen(r.t, r.s)
	applied := r.s.Applied()
	m, ok := since[applied]
	if applied < durable || !ok {
		r.t.Fatalf("opened again, Applied is %d: Durable was %d, Applied was %d", applied, durable, r.m.applied)
	}
	r.m = m.clone()
	r.check()
}

// randomBatch commits a batch that keeps the caller's promises: a parent is
// there before its child and goes after it.
func (r *rig) randomBatch(rnd *rand.Rand) {
	r.t.Helper()
	r.commit(func(b *storage.Batch) {
		b.Zxid += rnd.Int64N(3)
		m := r.m.clone() // what the batch has done so far
		for range 1 + rnd.IntN(8) {
			from := len(b.Ops)
			randomOp(rnd, m, b)
			m.commit(&storage.Batch{Ops: b.Ops[from:]})
		}
	})
}

func randomOp(rnd *rand.Rand, m *model, b *storage.Batch) {
	paths := slices.Sorted(maps.Keys(m.records))
	if len(paths) == 0 {
		b.Put("/", randomHead(rnd), randomData(rnd))
		return
	}
	path := paths[rnd.IntN(len(paths))]
	table, key := []string{"t", "tt", "u"}[rnd.IntN(3)], segments[rnd.IntN(len(segments))]
	if rnd.IntN(4) == 0 {
		key += segments[rnd.IntN(len(segments))]
	}
	switch n := rnd.IntN(100); {
	case n < 35:
		if strings.Count(path, "/") < 5 {
			path = child(path, segments[rnd.IntN(len(segments))])
		}
		b.Put(path, randomHead(rnd), randomData(rnd))
	case n < 45:
		b.Put(path, randomHead(rnd), randomData(rnd))
	case n < 65:
		b.PutHead(path, fill(rnd, len(m.records[path].Head)))
	case n < 75:
		if path == "/" && rnd.IntN(10) > 0 {
			return
		}
		for _, p := range slices.Backward(paths) {
			if p != path && strings.HasPrefix(p, child(path, "")) {
				b.Delete(p)
			}
		}
		b.Delete(path)
	case n < 77:
		b.Delete("/none/there")
	case n < 93:
		b.TablePut(table, key, randomData(rnd))
	default:
		b.TableDelete(table, key)
	}
}

// randomHead is most often of one length, like the heads of an engine.
func randomHead(rnd *rand.Rand) []byte {
	switch rnd.IntN(10) {
	case 0:
		return []byte{}
	case 1:
		return fill(rnd, rnd.IntN(300))
	}
	return fill(rnd, 84)
}

func randomData(rnd *rand.Rand) []byte {
	switch rnd.IntN(20) {
	case 0, 1:
		return nil
	case 2, 3:
		return []byte{}
	case 4:
		return fill(rnd, rnd.IntN(5000))
	case 5:
		if rnd.IntN(5) == 0 {
			return fill(rnd, 30000+rnd.IntN(100000))
		}
	}
	return fill(rnd, rnd.IntN(120))
}

func fill(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}
