package bolt

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/plugins/storage"
)

// A state is what a store holds, in maps.
type state struct {
	applied int64
	records map[string]storage.Record
	tables  map[string]string // "table\x00key"
}

func newState() *state {
	return &state{records: map[string]storage.Record{}, tables: map[string]string{}}
}

func (s *state) clone() *state {
	return &state{s.applied, maps.Clone(s.records), maps.Clone(s.tables)}
}

func (s *state) commit(b *storage.Batch) {
	s.applied = b.Zxid
	for _, op := range b.Ops {
		switch op.Kind {
		case storage.OpPut:
			s.records[op.Path] = storage.Record{Head: op.Head, Data: op.Data}
		case storage.OpPutHead:
			s.records[op.Path] = storage.Record{Head: op.Head, Data: s.records[op.Path].Data}
		case storage.OpDelete:
			delete(s.records, op.Path)
		case storage.OpTablePut:
			s.tables[op.Table+"\x00"+op.Path] = string(op.Data)
		case storage.OpTableDelete:
			delete(s.tables, op.Table+"\x00"+op.Path)
		}
	}
}

// random is a batch of a few changes, some of them large, which keeps a caller's
// promises.
func (s *state) random(rnd *rand.Rand) *storage.Batch {
	b := &storage.Batch{Zxid: s.applied + 1}
	after := s.clone()
	do := func(build func()) {
		from := len(b.Ops)
		build()
		after.commit(&storage.Batch{Ops: b.Ops[from:]})
	}
	if len(s.records) == 0 {
		do(func() { b.Put("/", noise(rnd, 84), nil) })
	}
	for range 1 + rnd.IntN(40) {
		paths := slices.Sorted(maps.Keys(after.records))
		path := paths[rnd.IntN(len(paths))]
		switch n := rnd.IntN(20); {
		case n < 9:
			if strings.Count(path, "/") > 3 {
				path = "/"
			}
			path = strings.TrimSuffix(path, "/") + fmt.Sprintf("/n%03d", rnd.IntN(600))
			if rnd.IntN(300) == 0 {
				path += strings.Repeat("x", 31000) // longer than a key of the file
			}
			do(func() { b.Put(path, noise(rnd, 84), randomData(rnd)) })
		case n < 13:
			do(func() { b.PutHead(path, noise(rnd, len(after.records[path].Head))) })
		case n < 15:
			do(func() { b.Put(path, noise(rnd, 84), randomData(rnd)) })
		case n < 17 && path != "/":
			do(func() {
				for _, p := range slices.Backward(paths) {
					if strings.HasPrefix(p, path+"/") {
						b.Delete(p)
					}
				}
				b.Delete(path)
			})
		case n < 19:
			do(func() { b.TablePut("t", fmt.Sprintf("k%03d", rnd.IntN(300)), noise(rnd, rnd.IntN(60))) })
		default:
			do(func() { b.TableDelete("t", fmt.Sprintf("k%03d", rnd.IntN(300))) })
		}
	}
	return b
}

func randomData(rnd *rand.Rand) []byte {
	switch rnd.IntN(12) {
	case 0:
		return nil
	case 1:
		return []byte{}
	case 2:
		return noise(rnd, rnd.IntN(20_000)) // most of them out of line
	}
	return noise(rnd, rnd.IntN(200))
}

func noise(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// read reads all that a view holds, in every way there is. An error is what the view
// returns; what is wrong otherwise is a failure of the test.
func read(v storage.View) (*state, error) {
	s := newState()
	s.applied = v.Applied()
	err := v.Walk(func(path string, rec storage.Record) bool {
		s.records[strings.Clone(path)] = storage.Record{Head: bytes.Clone(rec.Head), Data: bytes.Clone(rec.Data)}
		return true
	})
	if err != nil {
		return nil, err
	}
	return s, v.TableScan("t", "", func(key string, value []byte) bool {
		s.tables["t\x00"+key] = string(value)
		return true
	})
}

func (s *state) diff(o *state) string {
	if s.applied != o.applied {
		return fmt.Sprintf("applied is %d, want %d", s.applied, o.applied)
	}
	if len(s.records) != len(o.records) || len(s.tables) != len(o.tables) {
		return fmt.Sprintf("%d records and %d entries, want %d and %d", len(s.records), len(s.tables), len(o.records), len(o.tables))
	}
	for path, want := range o.records {
		if d := diffRecord(s.records[path], want); d != "" {
			return fmt.Sprintf("%.60q: %s", path, d)
		}
	}
	if !maps.Equal(s.tables, o.tables) {
		return "the tables differ"
	}
	return ""
}

func diffRecord(got, want storage.Record) string {
	switch {
	case !bytes.Equal(got.Head, want.Head):
		return "another head"
	case !bytes.Equal(got.Data, want.Data), (got.Data == nil) != (want.Data == nil):
		return fmt.Sprintf("other data: %d bytes (nil: %v), want %d (nil: %v)", len(got.Data), got.Data == nil, len(want.Data), want.Data == nil)
	}
	return ""
}

// mustHold checks a store against a state, all at once and one by one.
func mustHold(t testing.TB, s storage.Store, want *state) {
	t.Helper()
	v := s.View()
	defer v.Release()
	got, err := read(v)
	if err != nil {
		t.Fatal(err)
	}
	if d := got.diff(want); d != "" {
		t.Fatal(d)
	}
	if v.Len() != len(want.records) {
		t.Fatalf("Len is %d, want %d", v.Len(), len(want.records))
	}
	for path, rec := range want.records {
		got, ok, err := v.Get(path)
		if err != nil || !ok {
			t.Fatalf("Get(%.60q): %v, %v", path, ok, err)
		}
		if d := diffRecord(got, rec); d != "" {
			t.Fatalf("Get(%.60q): %s", path, d)
		}
	}
}
