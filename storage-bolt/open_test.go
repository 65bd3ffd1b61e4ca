package bolt

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/plugins/storage"
	"github.com/zkcore/zkcore/plugins/storage/behind"
	"github.com/zkcore/zkcore/plugins/storage/storagetest"
)

// fastDir is a directory whose syncs cost little, where there is one: what survives
// a power cut is another test's business.
func fastDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "bolt")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func open(t testing.TB, dir string, options map[string]string) storage.Store {
	t.Helper()
	s, err := Open(storage.Config{Dir: dir, Options: options, Fail: func(err error) { t.Errorf("the store failed: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The tree alone keeps the contract, and so does what Open returns: with a cache
// that holds everything, and with one that holds next to nothing and a file that is
// written all the time.
func TestContract(t *testing.T) {
	t.Run("Tree", func(t *testing.T) {
		dirs := map[storage.Store]string{}
		storagetest.Run(t, storagetest.Factory{
			Open: func(t testing.TB) storage.Store {
				dir := fastDir(t)
				s, err := openTree(storage.Config{Dir: dir})
				if err != nil {
					t.Fatal(err)
				}
				dirs[s] = dir
				return s
			},
			Reopen: func(t testing.TB, s storage.Store) storage.Store {
				dir := dirs[s]
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				again, err := openTree(storage.Config{Dir: dir})
				if err != nil {
					t.Fatal(err)
				}
				dirs[again] = dir
				return again
			},
		})
	})
	for name, o := range map[string]map[string]string{
		"Defaults": nil,
		"Small":    {"cacheBytes": "1048576", "gatherRecords": "50", "flushIntervalMs": "1"},
	} {
		t.Run(name, func(t *testing.T) {
			dirs := map[storage.Store]string{}
			storagetest.Run(t, storagetest.Factory{
				Open: func(t testing.TB) storage.Store {
					dir := fastDir(t)
					s := open(t, dir, o)
					dirs[s] = dir
					return s
				},
				// As kill -9 does: what is not in the file is lost.
				Reopen: func(t testing.TB, s storage.Store) storage.Store {
					dir := dirs[s]
					behind.Crash(s.(*behind.Store))
					again := open(t, dir, o)
					dirs[again] = dir
					return again
				},
			})
		})
	}
}

func TestOptions(t *testing.T) {
	for _, bad := range []map[string]string{
		{"cacheBytes": "many"}, {"cacheBytes": "0"}, {"cacheBytes": "1000"}, {"gatherBytes": "-1"}, {"flushIntervalMs": "0"}, {"flushIntervalMs": "-2"}, {"cache": "1"},
	} {
		if s, err := Open(storage.Config{Dir: t.TempDir(), Options: bad}); err == nil {
			t.Errorf("Open takes %v", bad)
			s.Close()
		} else if o := (*storage.OptionError)(nil); !errors.As(err, &o) || bad[o.Key] == "" {
			t.Errorf("%v: %v does not name the option", bad, err)
		}
	}
}

// TestEmptyFile: a file has its name once it is whole, so one of no bytes was emptied. It is not taken for a new one: check
// called it sound.
func TestEmptyFile(t *testing.T) {
	dir := fastDir(t)
	name := filepath.Join(dir, fileName)
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, open := range map[string]func(storage.Config) error{
		"Check": Check,
		"Open":  func(cfg storage.Config) error { _, err := Open(cfg); return err },
	} {
		if err := open(storage.Config{Dir: dir}); !errors.Is(err, storage.ErrDamaged) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s, err := Open(storage.Config{Dir: dir, Discard: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
