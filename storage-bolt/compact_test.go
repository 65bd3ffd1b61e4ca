package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/zkcore/zkcore/plugins/storage"
)

// What is compacted holds the same, in less.
func TestCompact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 1))
	dir := fastDir(t)
	s, err := openTree(storage.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	want := newState()
	for range 60 {
		b := want.random(rnd)
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		want.commit(b)
	}
	// Most of it goes again.
	b := &storage.Batch{Zxid: want.applied + 1}
	for path := range want.records {
		if len(path) > 1 {
			rec := want.records[path]
			b.Put(path, rec.Head, make([]byte, 3000))
		}
	}
	for _, data := range []int{3000, 1} {
		for i := range b.Ops {
			b.Ops[i].Data = make([]byte, data)
		}
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		want.commit(b)
		b.Zxid++
	}
	if st := s.Stats(); st.Free < st.File/4 {
		t.Errorf("%d of %d bytes are free", st.Free, st.File)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := storage.Config{Dir: dir}
	if err := Check(cfg); err != nil {
		t.Fatal(err)
	}
	before, after, err := Compact(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(dir, fileName)); err != nil || st.Size() != after || after > before*2/3 {
		t.Errorf("from %d to %d bytes, and the file is %v, %v", before, after, st, err)
	}
	if err := Check(cfg); err != nil {
		t.Fatal(err)
	}
	if s, err = openTree(cfg); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustHold(t, s, want)
	next := want.random(rnd)
	if err := s.Commit(next); err != nil {
		t.Fatal(err)
	}
	want.commit(next)
	mustHold(t, s, want)
}

// TestCheckTells: what Check or Compact finds is remembered: no server begins with the file, though it would not look
// at that place before it serves.
func TestCheckTells(t *testing.T) {
	good := fastDir(t)
	s, err := openTree(storage.Config{Dir: good})
	if err != nil {
		t.Fatal(err)
	}
	const needle = "a value that is looked for in the file"
	b := storage.Batch{Zxid: 1}
	b.Put("/", []byte("head"), nil)
	// More than a page: else opening reads them all.
	for i := range 200 {
		b.TablePut("ttl", fmt.Sprintf("/n%03d", i), []byte(needle))
	}
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(good, fileName))
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(file, []byte(needle))
	if at < 0 {
		t.Fatal("the value is not in the file")
	}
	file[at] ^= 1
	for what, find := range map[string]func(storage.Config) error{
		"Check":   Check,
		"Compact": func(cfg storage.Config) error { _, _, err := Compact(cfg); return err },
	} {
		t.Run(what, func(t *testing.T) {
			cfg := storage.Config{Dir: fastDir(t)}
			if err := os.WriteFile(filepath.Join(cfg.Dir, fileName), file, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := find(cfg); !errors.Is(err, storage.ErrDamaged) {
				t.Fatalf("it says %v", err)
			}
			if wrong := discarded(cfg.Dir); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

// TestFreedPagesAreUsed: a file whose znodes change again and again, in a different size each time,
// comes to a size and stays there.
func TestFreedPagesAreUsed(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 1))
	s, err := openTree(storage.Config{Dir: fastDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const records = 200
	rewrite := func(zxid int64) {
		b := &storage.Batch{Zxid: zxid}
		for i := range records {
			b.Put("/"+strconv.Itoa(i), []byte("head"), make([]byte, 500+rnd.IntN(5000)))
		}
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
	zxid := int64(1)
	round := func() int64 {
		for range 10 {
			rewrite(zxid)
			zxid++
		}
		return s.Stats().File
	}
	first := round()
	for range 4 {
		round()
	}
	if last := round(); last > first*3/2 {
		t.Errorf("the file had %d bytes after 10 rounds and has %d after 60", first, last)
	}
}
