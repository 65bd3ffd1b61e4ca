// Package main is a storage module that somebody else could have written: the store contract on
// github.com/cockroachdb/pebble, and the program that a server starts to use it.
// docs/writing-a-plugin.md walks through it.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble"

	"github.com/zkcore/zkcore/plugins/storage"
)

// Keys: a record's is 'r', its depth, its path, so that parents come before their children and
// siblings stand together in the order of their names. A table's entry has 't', the length of the
// table's name, the name, its key. One key more holds what is about the whole.
var metaKey = []byte("m")

func head(kind byte, n int) []byte { return binary.BigEndian.AppendUint32([]byte{kind}, uint32(n)) }

func recordKey(path string) []byte {
	depth := strings.Count(path, "/")
	if path == "/" {
		depth = 0
	}
	return append(head('r', depth), path...)
}

func entryKey(table, key string) []byte {
	return append(append(head('t', len(table)), table...), key...)
}

// A record's value: the length of its head and whether its data is nil, the head, the data.
func encode(rec storage.Record) []byte {
	n := uint64(len(rec.Head)) << 1
	if rec.Data == nil {
		n |= 1
	}
	return append(append(binary.AppendUvarint(nil, n), rec.Head...), rec.Data...)
}

func decode(b []byte) (storage.Record, error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n>>1 > uint64(len(b)-w) {
		return storage.Record{}, fmt.Errorf("a record of %d bytes: %w", len(b), storage.ErrDamaged)
	}
	b = b[w:]
	rec := storage.Record{Head: b[:n>>1], Data: b[n>>1:]}
	if n&1 != 0 {
		rec.Data = nil
	}
	return rec, nil
}

// get returns a copy of what is at key: pebble's own is valid for a moment.
func get(r pebble.Reader, key []byte) ([]byte, bool, error) {
	b, c, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, asOurs(err)
	}
	b = append([]byte{}, b...)
	return b, true, c.Close()
}

// asOurs says of pebble's errors which of them are damage.
func asOurs(err error) error {
	if pebble.IsCorruptionError(err) { // its mark is none that errors.Is would see
		return fmt.Errorf("%w: %w", storage.ErrDamaged, err)
	}
	return err
}

// damagedName is a file beside pebble's that says what was found to be damaged.
const damagedName = "damaged"

// noted is asOurs for what a store in use has met. The server ends then, and the next Open has to know: it may not read
// the place where the damage is.
func (s *store) noted(err error) error {
	if err = asOurs(err); errors.Is(err, storage.ErrDamaged) {
		_ = os.WriteFile(filepath.Join(s.dir, damagedName), []byte(err.Error()), 0o644) // else it is found again
	}
	return err
}

// A store is a pebble database in a folder.
type store struct {
	dir string
	// Without a lock: the server asks now and then, to see whether the module is well, and a sync may take longer
	// than the answer to that.
	applied, durable atomic.Int64

	mu      sync.Mutex
	db      *pebble.DB
	records int
	closed  bool
}

// open is the module's storage.Open.
func open(c storage.Config) (storage.Store, error) {
	for name := range c.Options {
		return nil, &storage.OptionError{Key: name, Reason: "pebble has no such option"} // the server names the line
	}
	if c.Discard {
		if err := os.RemoveAll(c.Dir); err != nil {
			return nil, err
		}
	}
	if why, err := os.ReadFile(filepath.Join(c.Dir, damagedName)); err == nil {
		return nil, fmt.Errorf("open %s: %w: it was found before: %s", c.Dir, storage.ErrDamaged, why)
	}
	s := &store{dir: c.Dir}
	events := pebble.EventListener{BackgroundError: func(err error) {
		if err = s.noted(err); c.Fail != nil {
			c.Fail(err)
		}
	}}
	db, err := pebble.Open(c.Dir, &pebble.Options{EventListener: &events, Logger: quiet{}})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", c.Dir, asOurs(err))
	}
	s.db = db
	meta, ok, err := get(db, metaKey)
	switch {
	case err == nil && ok && len(meta) != 16:
		err = fmt.Errorf("%d bytes about the whole: %w", len(meta), storage.ErrDamaged)
	case err == nil && ok:
		s.applied.Store(int64(binary.BigEndian.Uint64(meta)))
		s.records = int(binary.BigEndian.Uint64(meta[8:]))
		err = s.sync() // what was read may not be on the disk yet
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", c.Dir, err), db.Close())
	}
	return s, nil
}

// quiet drops what pebble would print.
type quiet struct{}

func (quiet) Infof(string, ...any)              {}
func (quiet) Errorf(string, ...any)             {}
func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// Commit writes a batch of the contract as one of pebble's: that is all or nothing, and what a
// crash leaves of pebble's log is a whole number of them. It is not synced: the server has a log
// of its own for that.
func (s *store) Commit(b *storage.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	batch := s.db.NewIndexedBatch() // whose reads see what is already in it
	defer batch.Close()
	records := s.records
	for _, op := range b.Ops {
		d, err := apply(batch, op)
		if err != nil {
			return s.noted(err)
		}
		records += d
	}
	meta := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(b.Zxid)), uint64(records))
	if err := batch.Set(metaKey, meta, nil); err != nil {
		return err
	}
	if err := batch.Commit(pebble.NoSync); err != nil {
		return s.noted(err)
	}
	s.applied.Store(b.Zxid)
	s.records = records
	return nil
}

// apply puts one op into a batch. It returns by how much the number of records changes.
func apply(batch *pebble.Batch, op storage.Op) (change int, err error) {
	switch op.Kind {
	case storage.OpTablePut:
		return 0, batch.Set(entryKey(op.Table, op.Path), op.Data, nil)
	case storage.OpTableDelete:
		return 0, batch.Delete(entryKey(op.Table, op.Path), nil)
	case storage.OpPut, storage.OpPutHead, storage.OpDelete:
	default:
		return 0, fmt.Errorf("no such kind of op: %d", op.Kind)
	}
	key := recordKey(op.Path)
	old, had, err := get(batch, key)
	if err != nil {
		return 0, err
	}
	switch {
	case op.Kind == storage.OpDelete && had:
		return -1, batch.Delete(key, nil)
	case op.Kind == storage.OpDelete:
		return 0, nil
	case op.Kind == storage.OpPutHead:
		rec, err := storage.Record{}, error(nil)
		if had {
			rec, err = decode(old)
		}
		if err != nil {
			return 0, err
		}
		if !had || len(rec.Head) != len(op.Head) {
			return 0, fmt.Errorf("a head of %d bytes for %q, which has %d, or is not there", len(op.Head), op.Path, len(rec.Head))
		}
		return 0, batch.Set(key, encode(storage.Record{Head: op.Head, Data: rec.Data}), nil)
	}
	if !had {
		change = 1
	}
	return change, batch.Set(key, encode(storage.Record{Head: op.Head, Data: op.Data}), nil)
}

func (s *store) Applied() int64 { return s.applied.Load() }
func (s *store) Durable() int64 { return s.durable.Load() }

// sync makes durable what was committed.
func (s *store) sync() error {
	if err := s.db.LogData(nil, pebble.Sync); err != nil {
		return s.noted(err)
	}
	s.durable.Store(s.applied.Load())
	return nil
}

func (s *store) Flush(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	return s.sync()
}

func (s *store) Reset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	if err := s.db.DeleteRange([]byte{0}, []byte{0xff}, pebble.Sync); err != nil {
		return s.noted(err)
	}
	s.applied.Store(0)
	s.durable.Store(0)
	s.records = 0
	return nil
}

func (s *store) Stats() storage.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.Stats{}
	}
	return storage.Stats{File: int64(s.db.Metrics().DiskSpaceUsage())}
}

func (s *store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	s.closed = true
	return errors.Join(s.sync(), s.db.Close())
}
