package storagetest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zkcore/zkcore/plugins/storage"
)

// faults are mistakes that a store could make, with the case that has to notice.
var faults = map[string]string{
	"keeps the batch's slices":    "CommitKeepsNothingOfTheBatch",
	"keeps the batch's strings":   "CommitKeepsNothingOfTheBatch",
	"applies half a batch":        "RefusedBatchChangesNothing",
	"takes any head":              "RefusedBatchChangesNothing",
	"applies ops backwards":       "OpsTakeEffectInOrder",
	"nil data is empty":           "NilAndEmptyDataDiffer",
	"empty data is nil":           "NilAndEmptyDataDiffer",
	"drops data with a head":      "PutHeadKeepsData",
	"children in any order":       "ChildrenAreInByteOrder",
	"children of the level below": "ChildrenAreInByteOrder",
	"does not stop":               "ChildrenStopsWhenTold",
	"children before parents":     "WalkGivesParentsFirst",
	"one big table":               "TablesAreOrderedAndApart",
	"scans without prefix":        "TablesAreOrderedAndApart",
	"forgets the zxid":            "AppliedFollowsCommit",
	"views are not stable":        "ViewStaysWhatItIs",
	"heads in place":              "SlicesStayValidUntilRelease",
	"views end with Reset":        "ViewStaysOverReset",
	"Reset keeps the zxid":        "AppliedFollowsCommit",
	"locked while walking":        "WalkDoesNotHoldUpCommits",
	"durable for nothing":         "FlushReturns",
	"loses what was flushed":      "FlushedSurvives",
	"keeps half a batch":          "WholeBatchesSurvive",
	"open after Close":            "ClosedStoreSaysSo",
	"counts the deleted":          "CommitIsSeenByLaterViews",
	"a batch in two steps":        "ReadersBesideACommitter",
}

const faultVar = "STORAGETEST_FAULT"

func init() {
	if os.Getenv(faultVar) != "" {
		hung = 3 * time.Second // some faults make a case wait that long
	}
}

func TestKit(t *testing.T) {
	Run(t, Factory{Open: func(testing.TB) storage.Store {
		return &plainStore{st: newModel(), fault: os.Getenv(faultVar)}
	}})
}

// The same store with a disk that a crash doesn't touch.
func TestKitDurable(t *testing.T) {
	fault := os.Getenv(faultVar)
	Run(t, Factory{
		Open: func(testing.TB) storage.Store {
			return &plainStore{st: newModel(), disk: newModel(), fault: fault}
		},
		Reopen: func(_ testing.TB, s storage.Store) storage.Store {
			disk := s.(*plainStore).disk
			if fault == "keeps half a batch" {
				for path := range disk.records {
					delete(disk.records, path)
					break
				}
			}
			return &plainStore{st: disk.clone(), disk: disk, fault: fault}
		},
	})
}

// Each case of the kit is of use only if it fails on a store that breaks the
// promise.
func TestFaultsAreFound(t *testing.T) {
	if os.Getenv(faultVar) != "" {
		t.Skip("a process that this test has started")
	}
	for fault, name := range faults {
		t.Run(strings.ReplaceAll(fault, " ", "_"), func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run", "^TestKit(Durable)?$/^"+name+"$", "-test.v")
			cmd.Env = append(os.Environ(), faultVar+"="+fault)
			out, err := cmd.CombinedOutput()
			if !bytes.Contains(out, []byte("=== RUN   TestKit/"+name)) && !bytes.Contains(out, []byte("=== RUN   TestKitDurable/"+name)) {
				t.Fatalf("there is no case %s:\n%.2000s", name, out)
			}
			if err == nil {
				t.Errorf("case %s passes on a store that %s", name, fault)
			}
		})
	}
}

// The random batches alone find most of what the cases find, too.
func TestRandomFindsFaults(t *testing.T) {
	if os.Getenv(faultVar) != "" {
		t.Skip("a process that another test has started")
	}
	for _, fault := range []string{"keeps the batch's slices", "applies ops backwards", "nil data is empty", "drops data with a head",
		"children in any order", "children of the level below", "children before parents", "one big table", "views are not stable",
		"views end with Reset", "counts the deleted"} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestKit$/^Random$")
		cmd.Env = append(os.Environ(), faultVar+"="+fault)
		if out, err := cmd.CombinedOutput(); err == nil {
			t.Errorf("Random passes on a store that %s:\n%.2000s", fault, out)
		}
	}
}

// A plainStore is the dumbest store there is: a view is a copy of everything.
// With a fault it makes one mistake.
type plainStore struct {
	mu     sync.RWMutex
	st     *model
	disk   *model
	closed bool
	fault  string
}

func (s *plainStore) View() storage.View {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := &plainView{s: s, m: s.st}
	if s.fault == "a batch in two steps" {
		v.m = s.st.clone()
	}
	return v
}

func (s *plainStore) Commit(b *storage.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed && s.fault != "open after Close" {
		return storage.ErrClosed
	}
	st := s.st
	if s.fault != "views are not stable" {
		st = st.clone()
	}
	ops := slices.Clone(b.Ops)
	if s.fault == "applies ops backwards" {
		slices.Reverse(ops)
	}
	for i, op := range ops {
		if s.fault == "a batch in two steps" && i == len(ops)/2 {
			half := st.clone()
			half.applied = b.Zxid
			s.st = half
			s.mu.Unlock()
			s.mu.Lock()
		}
		if op.Kind < storage.OpPut || op.Kind > storage.OpTableDelete {
			return os.ErrInvalid
		}
		if op.Kind == storage.OpPutHead {
			old, ok := st.records[op.Path]
			if (!ok || len(old.Head) != len(op.Head)) && s.fault != "takes any head" {
				if s.fault == "applies half a batch" {
					s.st = st
				}
				return os.ErrInvalid
			}
			if s.fault == "heads in place" {
				copy(old.Head, op.Head)
			}
		}
		if s.fault == "one big table" {
			op.Table = "t"
		}
		path := strings.Clone(op.Path)
		if s.fault == "keeps the batch's strings" {
			path = op.Path
		}
		one := &storage.Batch{Ops: []storage.Op{{Kind: op.Kind, Path: path, Table: strings.Clone(op.Table), Head: op.Head, Data: op.Data}}}
		st.commit(one)
		rec, ok := st.records[path]
		if !ok || op.Kind > storage.OpPutHead {
			continue
		}
		switch {
		case s.fault == "keeps the batch's slices":
			rec.Head = op.Head
		case s.fault == "nil data is empty" && rec.Data == nil:
			rec.Data = []byte{}
		case s.fault == "empty data is nil" && len(rec.Data) == 0:
			rec.Data = nil
		case s.fault == "drops data with a head" && op.Kind == storage.OpPutHead:
			rec.Data = nil
		}
		st.records[path] = rec
	}
	st.applied = b.Zxid
	if s.fault == "forgets the zxid" {
		st.applied = s.st.applied
	}
	s.st = st
	if s.disk != nil && b.Zxid%3 == 0 {
		s.disk = st.clone()
	}
	return nil
}

func (s *plainStore) Applied() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.st.applied
}

func (s *plainStore) Durable() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.fault == "durable for nothing":
		return s.st.applied
	case s.disk == nil:
		return 0
	}
	return s.disk.applied
}

func (s *plainStore) Flush(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed && s.fault != "open after Close" {
		return storage.ErrClosed
	}
	if s.disk != nil && s.fault != "loses what was flushed" {
		s.disk = s.st.clone()
	}
	return nil
}

func (s *plainStore) Stats() storage.Stats { return storage.Stats{} }

func (s *plainStore) Reset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed && s.fault != "open after Close" {
		return storage.ErrClosed
	}
	applied := s.st.applied
	if s.fault == "views end with Reset" {
		clear(s.st.records)
		clear(s.st.tables)
	}
	s.st = newModel()
	if s.fault == "Reset keeps the zxid" {
		s.st.applied = applied
	}
	if s.disk != nil {
		s.disk = newModel()
	}
	return nil
}

func (s *plainStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

type plainView struct {
	s        *plainStore
	m        *model
	once     sync.Once
	children map[string][]string
}

func (v *plainView) Applied() int64 { return v.m.applied }
func (v *plainView) Release()       {}

func (v *plainView) Len() int {
	if v.s.fault == "counts the deleted" {
		return len(v.m.records) + int(v.m.applied)/20
	}
	return len(v.m.records)
}

func (v *plainView) Get(path string) (storage.Record, bool, error) {
	rec, ok := v.m.records[path]
	return rec, ok, nil
}

func (v *plainView) Children(path string, fn func(name string) bool) error {
	v.once.Do(func() { v.children = v.m.children() })
	names := slices.Clone(v.children[path])
	if v.s.fault == "children of the level below" {
		for _, name := range v.children[path] {
			names = append(names, v.children[child(path, name)]...)
		}
		slices.Sort(names)
	}
	if v.s.fault == "children in any order" {
		slices.Reverse(names)
	}
	for _, name := range names {
		if !fn(name) && v.s.fault != "does not stop" {
			break
		}
	}
	return nil
}

func (v *plainView) Walk(fn func(path string, rec storage.Record) bool) error {
	if v.s.fault == "locked while walking" {
		v.s.mu.RLock()
		defer v.s.mu.RUnlock()
	}
	var paths []string
	for path := range v.m.records {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	if v.s.fault == "children before parents" {
		slices.Reverse(paths)
	}
	for _, path := range paths {
		if !fn(path, v.m.records[path]) {
			break
		}
	}
	return nil
}

func (v *plainView) TableGet(table, key string) ([]byte, bool, error) {
	value, ok := v.m.tables[table][key]
	return value, ok, nil
}

func (v *plainView) TableScan(table, prefix string, fn func(key string, value []byte) bool) error {
	var keys []string
	for key := range v.m.tables[table] {
		if v.s.fault == "scans without prefix" || strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if !fn(key, v.m.tables[table][key]) {
			break
		}
	}
	return nil
}
