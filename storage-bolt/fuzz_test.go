package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/zkcore/zkcore/plugins/storage"
)

// goodFile is a file with some of everything in it, and what it holds.
var goodFile = sync.OnceValues(func() ([]byte, *state) {
	dir, err := os.MkdirTemp("", "bolt")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	s, err := openTree(storage.Config{Dir: dir})
	if err != nil {
		panic(err)
	}
	rnd := rand.New(rand.NewPCG(9, 1))
	want := newState()
	for range 12 {
		b := want.random(rnd)
		if err := s.Commit(b); err != nil {
			panic(err)
		}
		want.commit(b)
	}
	if err := s.Close(); err != nil {
		panic(err)
	}
	b, err := os.ReadFile(s.path())
	if err != nil {
		panic(err)
	}
	return b, want
})

// An edit of a file is six bytes: a page, an offset in it, and what is written there, in two
// bytes each.
func edited(good, edits []byte) []byte {
	b := bytes.Clone(good)
	size := os.Getpagesize()
	for ; len(edits) >= 6; edits = edits[6:] {
		page, off := int(binary.BigEndian.Uint16(edits)), int(binary.BigEndian.Uint16(edits[2:]))
		at := page%(len(b)/size)*size + off%(size-1)
		copy(b[at:], edits[4:6])
	}
	return b
}

// freeList is the page that has it, by the newer head.
func freeList(file []byte) uint64 {
	a, b := file[pageHeader:], file[os.Getpagesize()+pageHeader:]
	if native.Uint64(b[48:]) > native.Uint64(a[48:]) {
		a = b
	}
	return native.Uint64(a[32:])
}

// FuzzFile opens, reads and writes a file of any content. What is wrong with it is named and
// no worse: no panic leaves the module, and what is read is right or an error.
func FuzzFile(f *testing.F) {
	f.Add(true, []byte("not a file of bbolt"))
	f.Add(true, make([]byte, 3*os.Getpagesize()))
	f.Add(false, []byte{})
	f.Add(false, []byte{0, 0, 0, 16, 1, 2})
	f.Add(false, []byte{0, 0, 0, 16, 1, 2, 0, 1, 0, 16, 1, 2})
	for page := range byte(8) {
		f.Add(false, []byte{0, page, 0, 8, 0xff, 0xff})                        // its kind
		f.Add(false, []byte{0, page, 0, 10, 0xff, 0xff, 0, page, 0, 20, 1, 0}) // how much it holds
		f.Add(false, []byte{0, page, 0, 12, 0xff, 0xff})                       // over how many it goes
		f.Add(false, []byte{0, page, 0, 16, 0xff, 0xff})
	}
	// The list of free pages says that it has more than there is room for, in memory even, or
	// that a page is free which is in use.
	good, _ := goodFile()
	at := byte(freeList(good))
	f.Add(false, []byte{0, at, 0, 10, 0xff, 0xff})
	f.Add(false, []byte{0, at, 0, 10, 0xff, 0xff, 0, at, 0, 19, 0, 1})
	f.Add(false, []byte{0, at, 0, 10, 0xff, 0xff, 0, at, 0, 20, 1, 0})
	f.Add(false, []byte{0, at, 0, 10, 0xff, 0xff, 0, at, 0, 22, 1, 1})
	f.Add(false, []byte{0, at, 0, 16, 3, 0})
	f.Add(false, []byte{0, at, 0, 16, 0, 0x77})
	f.Fuzz(func(t *testing.T, raw bool, input []byte) {
		if len(input) > 1<<20 {
			return
		}
		good, want := goodFile()
		file := input
		if !raw {
			file = edited(good, input)
		}
		dir := fastDir(t)
		defer os.RemoveAll(dir)
		if err := os.WriteFile(filepath.Join(dir, fileName), file, 0o600); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var told error
		s, err := openTree(storage.Config{Dir: dir, Fail: func(err error) { told = err }})
		if err != nil {
			mustBeNamed(t, err)
			return
		}
		v := s.View()
		got, err := read(v)
		v.Release()
		if err != nil {
			mustBeNamed(t, err)
			mustBeNamed(t, told)
		} else if !raw && got.applied == want.applied {
			if d := got.diff(want); d != "" {
				t.Error(d)
			}
		}
		b := &storage.Batch{Zxid: s.Applied() + 1}
		b.Put("/", make([]byte, 84), nil)
		b.TablePut("t", "k", []byte("v"))
		if err := s.Commit(b); err != nil {
			mustBeNamed(t, err)
		}
		_ = s.Close()
		runtime.ReadMemStats(&after)
		// What was read and written, in memory that is used again and in some that is not.
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20+40*uint64(len(file)) {
			t.Errorf("%d bytes were allocated for a file of %d", grown, len(file))
		}
	})
}

func mustBeNamed(t *testing.T, err error) {
	t.Helper()
	var d *Damage
	if !errors.Is(err, storage.ErrDamaged) || errors.As(err, &d) && filepath.Base(d.File) != fileName {
		t.Errorf("%v is no damage with a name", err)
	}
}
