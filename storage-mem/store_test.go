package mem

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

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

// What is deleted and what only old views showed is freed: after random batches
// under views nothing is left in the arena and the index.
func TestMemoryIsReclaimed(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	s := open(t).(*Store)
	defer s.Close()
	there := map[string]bool{"/": true}
	b := &storage.Batch{}
	b.Put("/", make([]byte, 84), nil)
	commit := func() {
		t.Helper()
		b.Zxid++
		zxid := b.Zxid
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		b.Reset()
		b.Zxid = zxid
	}
	commit()
	var views []storage.View
	for range 4000 {
		for range 1 + rnd.IntN(6) {
			path := fmt.Sprintf("/%d", rnd.IntN(2000))
			switch n := rnd.IntN(10); {
			case n < 4:
				b.Put(path, make([]byte, 84), make([]byte, rnd.IntN(300)))
				there[path] = true
			case n < 6 && there[path]:
				b.PutHead(path, make([]byte, 84))
			case n < 8:
				b.Delete(path)
				delete(there, path)
			case n < 9:
				b.TablePut("t", path, make([]byte, rnd.IntN(50)))
			default:
				b.TableDelete("t", path)
			}
		}
		b.PutHead("/", make([]byte, 84))
		commit()
		if rnd.IntN(4) == 0 {
			views = append(views, s.View())
		}
		for len(views) > 0 && (rnd.IntN(5) == 0 || len(views) > 20) {
			i := rnd.IntN(len(views))
			views[i].Release()
			views = append(views[:i], views[i+1:]...)
		}
	}
	for _, v := range views {
		v.Release()
	}
	views = append(views[:0], s.View())
	for path := range there {
		if path != "/" {
			b.Delete(path)
		}
	}
	b.Delete("/")
	for i := range 2000 {
		b.TableDelete("t", fmt.Sprintf("/%d", i))
	}
	commit()
	if s.st.arena.used == 0 {
		t.Error("what a view shows is freed")
	}
	views[0].Release()
	s.st.arena.checkEmpty(t)
	s.st.index.check(t, 0)
	if q := s.st.retired; q.begin != len(q.queue) {
		t.Errorf("%d records are retired for ever", len(q.queue)-q.begin)
	}
}

// A state that was reset goes with its last view, a closed store's at once.
func TestMemoryIsUnmapped(t *testing.T) {
	s := open(t).(*Store)
	fill := func() *state {
		storagetest.Fill(t, s, 10, 10)
		return s.st
	}
	mapped := func(st *state) bool { return st.arena.chunks != nil || st.index.maps != nil }
	first := fill()
	v, w := s.View(), s.View()
	if err := s.Reset(); err != nil {
		t.Fatal(err)
	}
	second := fill()
	w.Release()
	if !mapped(first) {
		t.Error("what a view shows is unmapped")
	}
	v.Release()
	if mapped(first) {
		t.Error("nobody sees the first state, and it is mapped")
	}
	if err := s.Reset(); err != nil {
		t.Fatal(err)
	}
	if mapped(second) {
		t.Error("nobody sees the second state, and it is mapped")
	}
	third := fill()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if mapped(third) {
		t.Error("the store is closed, and its memory is mapped")
	}
	v = s.View()
	defer v.Release()
	if _, _, err := v.Get("/"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("Get in a closed store: %v", err)
	}
	for what, err := range map[string]error{
		"Children":  v.Children("/", func(string) bool { return true }),
		"Walk":      v.Walk(func(string, storage.Record) bool { return true }),
		"TableScan": v.TableScan("t", "", func(string, []byte) bool { return true }),
		"Close":     s.Close(),
	} {
		if !errors.Is(err, storage.ErrClosed) {
			t.Errorf("%s in a closed store: %v", what, err)
		}
	}
}

// Reading allocates nothing, and neither does writing, but for a view.
func TestAllocations(t *testing.T) {
	s := open(t)
	defer s.Close()
	storagetest.Fill(t, s, 10, 1000)
	b := &storage.Batch{Zxid: s.Applied()}
	b.TablePut("t", "k", []byte("value"))
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	v := s.View()
	path, head, data := storagetest.BenchPath(5, 500), make([]byte, 84), make([]byte, 100)
	for _, tc := range []struct {
		name string
		max  float64
		run  func()
	}{
		{"Get", 0, func() { v.Get(path) }},
		{"Get of nothing", 0, func() { v.Get("/none") }},
		{"Children", 0, func() { v.Children("/bench-0005", func(string) bool { return true }) }},
		{"TableGet", 0, func() { v.TableGet("t", "k") }},
		{"TableScan", 0, func() { v.TableScan("t", "", func(string, []byte) bool { return true }) }},
		{"View", 1, func() { s.View().Release() }},
		{"Put and PutHead", 1, func() { // for the view
			v.Release()
			b.Reset()
			b.Put(path, head, data)
			b.PutHead("/bench-0005", head)
			b.TablePut("t", "k", head)
			if err := s.Commit(b); err != nil {
				t.Fatal(err)
			}
			v = s.View()
		}},
	} {
		if n := testing.AllocsPerRun(100, tc.run); n > tc.max {
			t.Errorf("%s allocates %v times, want at most %v", tc.name, n, tc.max)
		}
	}
	v.Release()
}

func TestRefusedBatches(t *testing.T) {
	s := open(t)
	defer s.Close()
	for _, path := range []string{"", "a", "/a/", "//", "a/b"} {
		b := &storage.Batch{Zxid: 1}
		b.Put("/", nil, nil)
		b.Put(path, nil, nil)
		if err := s.Commit(b); err == nil {
			t.Errorf("%q is taken for a path", path)
		}
	}
	b := &storage.Batch{Zxid: 1}
	for i := range 255 {
		b.TablePut(fmt.Sprint("table ", i), "k", []byte{byte(i)})
	}
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	b.Put("/", nil, nil)
	b.TablePut("one more", "k", nil)
	if err := s.Commit(b); err == nil {
		t.Error("a store has more than 255 tables")
	}
	v := s.View()
	defer v.Release()
	for i := range 255 {
		if value, ok, err := v.TableGet(fmt.Sprint("table ", i), "k"); err != nil || !ok || value[0] != byte(i) {
			t.Errorf("table %d has %v, %v, %v", i, value, ok, err)
		}
	}
	if v.Len() != 0 || v.Applied() != 1 {
		t.Errorf("a refused batch shows: Len %d, Applied %d", v.Len(), v.Applied())
	}
}

// A record larger than a chunk, beside a view.
func TestHugeRecord(t *testing.T) {
	s := open(t)
	defer s.Close()
	b := &storage.Batch{Zxid: 1}
	data := bytes.Repeat([]byte("huge"), chunkSize/4+1000)
	b.Put("/", []byte("head"), data)
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	old := s.View()
	b = &storage.Batch{Zxid: 2}
	b.PutHead("/", []byte("HEAD"))
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	v := s.View()
	for head, v := range map[string]storage.View{"head": old, "HEAD": v} {
		rec, ok, err := v.Get("/")
		if err != nil || !ok || string(rec.Head) != head || !bytes.Equal(rec.Data, data) {
			t.Errorf("Get is %q and %d bytes, %v, %v", rec.Head, len(rec.Data), ok, err)
		}
	}
	old.Release()
	v.Release()
	b = &storage.Batch{Zxid: 3}
	b.Delete("/")
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	s.(*Store).st.arena.checkEmpty(t)
}

// A view walks past children that it doesn't show, however many there are in a
// row.
func TestWalkPastLaterChildren(t *testing.T) {
	s := open(t)
	defer s.Close()
	b := &storage.Batch{Zxid: 1}
	b.Put("/", make([]byte, 84), nil)
	b.Put("/a", make([]byte, 84), nil)
	b.Put("/z", make([]byte, 84), nil)
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	v := s.View()
	defer v.Release()
	b.Reset()
	b.Zxid = 2
	for i := range 5000 {
		b.Put(fmt.Sprintf("/m%06d", i), make([]byte, 84), nil)
	}
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := v.Walk(func(path string, _ storage.Record) bool {
		got = append(got, string(bytes.Clone([]byte(path))))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != "[/ /a /z]" {
		t.Fatalf("%d paths: %.100q", len(got), got)
	}
}

// Between two portions the record at which the first one ended may be freed, and
// its block used for another.
func TestPlaceOutlivesItsRecord(t *testing.T) {
	s := open(t)
	defer s.Close()
	b := &storage.Batch{}
	commit := func() {
		t.Helper()
		zxid := b.Zxid + 1
		b.Zxid = zxid
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		b.Reset()
		b.Zxid = zxid
	}
	const n = 3000
	b.Put("/", nil, nil)
	b.Put("/z", nil, nil)
	for i := range n {
		b.Put(fmt.Sprintf("/m%05d", i), nil, nil)
	}
	commit()
	all := s.View()
	for i := 1; i < n; i++ {
		b.Delete(fmt.Sprintf("/m%05d", i))
	}
	commit()
	few := s.View()
	defer few.Release()
	var names []string
	if err := few.Children("/", func(name string) bool {
		names = append(names, strings.Clone(name))
		if len(names) == 1 {
			all.Release()
			for i := range 2 * n {
				b.Put(fmt.Sprintf("/a%05d", i), nil, nil)
			}
			commit()
		}
		return len(names) < 5
	}); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(names) != "[m00000 z]" {
		t.Errorf("the children are %q", names)
	}
}
