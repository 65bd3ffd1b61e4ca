package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/plugins/process"
	"github.com/zkcore/zkcore/plugins/storage"
	"github.com/zkcore/zkcore/plugins/storage/storagetest"
)

// dirs remembers where a store has its files.
type inDir struct {
	storage.Store
	dir string
}

func openIn(t testing.TB, open storage.Open, dir string) storage.Store {
	t.Helper()
	s, err := open(storage.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return &inDir{s, dir}
}

func factory(open storage.Open) storagetest.Factory {
	return storagetest.Factory{
		Open: func(t testing.TB) storage.Store { return openIn(t, open, filepath.Join(t.TempDir(), "store")) },
		Reopen: func(t testing.TB, s storage.Store) storage.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return openIn(t, open, s.(*inDir).dir)
		},
	}
}

// TestContract is all that the store's author has to write to know whether it is one.
func TestContract(t *testing.T) { storagetest.Run(t, factory(open)) }

// TestProcess is the same with the store where a server has it: in a process of its own.
func TestProcess(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "zkcore-storage-pebble")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sum, err := process.Sum(path)
	if err != nil {
		t.Fatal(err)
	}
	f := factory(process.Storage(process.Config{Path: path, SHA256: sum}))
	f.Far = true
	storagetest.Run(t, f)
}

// TestOptions refuses what it does not know, and Discard what is there.
func TestOptions(t *testing.T) {
	var option *storage.OptionError
	if _, err := open(storage.Config{Dir: t.TempDir(), Options: map[string]string{"cache": "1"}}); !errors.As(err, &option) || option.Key != "cache" {
		t.Errorf("an unknown option: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "store")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "CURRENT"), []byte("nonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := open(storage.Config{Dir: dir}); !errors.Is(err, storage.ErrDamaged) || !strings.Contains(err.Error(), dir) {
		t.Errorf("nonsense was opened: %v", err)
	}
	s, err := open(storage.Config{Dir: dir, Discard: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestDurableWaitsForNothing: the server asks for it, to see that the module is well, while a sync goes on that may take
// longer than it waits for the answer.
func TestDurableWaitsForNothing(t *testing.T) {
	s, err := open(storage.Config{Dir: filepath.Join(t.TempDir(), "store")})
	if err != nil {
		t.Fatal(err)
	}
	s.(*store).mu.Lock() // as Flush has it while it syncs
	told := make(chan struct{})
	go func() { s.Durable(); s.Applied(); close(told) }()
	select {
	case <-told:
	case <-time.After(30 * time.Second):
		t.Error("Durable waits for what is being written")
	}
	s.(*store).mu.Unlock()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestDamage: what is damaged is said to be, with the folder's name, when it is met and by each Open from then on, until
// the store is discarded.
func TestDamage(t *testing.T) {
	for what, at := range map[string]float64{"the first block": 0, "the middle": 0.5, "the end": 0.99} {
		dir := filepath.Join(t.TempDir(), "store")
		s, err := open(storage.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		b := &storage.Batch{Zxid: 1}
		b.Put("/", []byte("head"), nil)
		for i := range 2000 {
			data := make([]byte, 200)
			rand.Read(data)
			b.Put(fmt.Sprintf("/%04d", i), []byte("head"), data)
		}
		if err := errors.Join(s.Commit(b), s.(*store).db.Flush(), s.Close()); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.sst"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%v, %v", files, err)
		}
		raw, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		copy(raw[int(float64(len(raw))*at):], "nonsense")
		if err := os.WriteFile(files[0], raw, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err = open(storage.Config{Dir: dir})
		if err == nil {
			v := s.View()
			err = v.Walk(func(string, storage.Record) bool { return true })
			v.Release()
			if !errors.Is(err, storage.ErrDamaged) {
				t.Errorf("%s: a walk: %v", what, err)
			}
			s.Close() // whatever it says
			_, err = open(storage.Config{Dir: dir})
		}
		if !errors.Is(err, storage.ErrDamaged) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: Open: %v", what, err)
		}
		s, err = open(storage.Config{Dir: dir, Discard: true})
		if err != nil {
			t.Fatal(err)
		}
		if v := s.View(); v.Len() != 0 {
			t.Errorf("%s: what was discarded has %d records", what, v.Len())
		} else {
			v.Release()
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
