package main

import (
	"strings"

	"github.com/cockroachdb/pebble"

	"github.com/zkcore/zkcore/plugins/storage"
)

// A view is one of pebble's snapshots.
type view struct {
	s       *store
	snap    *pebble.Snapshot
	applied int64
	records int
}

func (s *store) View() storage.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &view{s, s.db.NewSnapshot(), s.applied.Load(), s.records}
}

func (v *view) Applied() int64 { return v.applied }
func (v *view) Len() int       { return v.records }
func (v *view) Release()       { v.snap.Close() }

func (v *view) Get(path string) (rec storage.Record, ok bool, err error) {
	b, ok, err := get(v.snap, recordKey(path))
	if err != nil || !ok {
		return rec, false, v.s.noted(err)
	}
	rec, err = decode(b)
	return rec, err == nil, v.s.noted(err)
}

func (v *view) TableGet(table, key string) ([]byte, bool, error) {
	value, ok, err := get(v.snap, entryKey(table, key))
	return value, ok, v.s.noted(err)
}

// scan calls fn for all keys that begin with prefix, until it returns false.
func (v *view) scan(prefix []byte, fn func(rest string, value []byte) (bool, error)) error {
	end := append([]byte{}, prefix...)
	for len(end) > 0 && end[len(end)-1] == 0xff {
		end = end[:len(end)-1]
	}
	if len(end) > 0 {
		end[len(end)-1]++
	}
	it, err := v.snap.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: end})
	if err != nil {
		return v.s.noted(err)
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		more, err := fn(string(it.Key()[len(prefix):]), it.Value())
		if err != nil || !more {
			return v.s.noted(err)
		}
	}
	if err := it.Error(); err != nil {
		return v.s.noted(err)
	}
	return nil
}

func (v *view) Children(path string, fn func(name string) bool) error {
	parent := strings.TrimSuffix(path, "/") + "/"
	return v.scan(append(head('r', strings.Count(parent, "/")), parent...), func(name string, _ []byte) (bool, error) {
		return fn(name), nil
	})
}

func (v *view) Walk(fn func(path string, rec storage.Record) bool) error {
	return v.scan([]byte("r"), func(rest string, value []byte) (bool, error) {
		rec, err := decode(value)
		if err != nil {
			return false, err
		}
		return fn(rest[4:], rec), nil
	})
}

func (v *view) TableScan(table, prefix string, fn func(key string, value []byte) bool) error {
	return v.scan(entryKey(table, prefix), func(rest string, value []byte) (bool, error) {
		return fn(prefix+rest, value), nil
	})
}
