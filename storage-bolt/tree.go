package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"github.com/zkcore/zkcore/plugins/simbug"
	"github.com/zkcore/zkcore/plugins/storage"
)

// A tree is a store without anything in front of it: each commit is a transaction
// of bbolt's, synced, and each view one that only reads.
type tree struct {
	dir string
	cfg storage.Config

	write sync.Mutex // Commit, Reset and Close
	noted sync.Once

	mu      sync.Mutex
	file    *file
	err     error // after which nothing is written any more
	closed  bool
	applied atomic.Int64
	records int // under write
	flushes atomic.Int64
	ops     atomic.Int64
}

var _ storage.Store = (*tree)(nil)

// openTree opens the store in cfg.Dir.
func openTree(cfg storage.Config) (*tree, error) {
	if cfg.Dir == "" {
		return nil, errors.New("bolt: no directory is given")
	}
	if err := os.MkdirAll(cfg.Dir, 0o750); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(cfg.Dir)); err != nil {
		return nil, err
	}
	t := &tree{dir: cfg.Dir, cfg: cfg}
	path := t.path()
	if cfg.Discard {
		if err := t.discard(); err != nil {
			return nil, err
		}
	}
	why, err := os.ReadFile(filepath.Join(cfg.Dir, damagedName))
	if err == nil {
		return nil, fmt.Errorf("%w: it was found when it was read: %s", storage.ErrDamaged, bytes.TrimSpace(why))
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := removeIfThere(path + newSuffix); err != nil {
		return nil, err
	}
	// A life before may have ended between a rename and the sync of it: else the file that was replaced, and
	// given up, could come back.
	if err := syncDir(cfg.Dir); err != nil {
		return nil, err
	}
	// It has its name only once it is whole.
	switch st, err := os.Stat(path); {
	case errors.Is(err, os.ErrNotExist):
		if err := t.create(); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case st.Size() == 0:
		return nil, &Damage{File: path, Reason: "the file is empty"}
	}
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	v, err := f.open(nil)
	if err == nil && v.record.root == 0 && v.record.inline.b == nil {
		err = f.damage(0, "it holds nothing of a store")
	}
	if err == nil {
		err = settle(f.f, int64(v.tx.ID()%2)*int64(f.pageSize)) // where bbolt has the head of a txn
	}
	if err != nil {
		if v != nil {
			v.Release()
		}
		return nil, errors.Join(err, f.drop())
	}
	t.file, t.records = f, v.records
	t.applied.Store(v.applied)
	v.Release()
	return t, nil
}

func (t *tree) path() string { return filepath.Join(t.dir, fileName) }

// discard moves a file that is not to be used out of the way.
func (t *tree) discard() error {
	path := t.path()
	if err := os.Rename(path, path+damagedAside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := syncDir(t.dir); err != nil {
		return err
	}
	if err := removeIfThere(filepath.Join(t.dir, damagedName)); err != nil {
		return err
	}
	return syncDir(t.dir)
}

func removeIfThere(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// create makes an empty file under the store's name, whatever has it.
func (t *tree) create() error {
	name := t.path() + newSuffix
	if err := removeIfThere(name); err != nil {
		return err
	}
	f, err := openFile(name)
	if err != nil {
		return err
	}
	err = guarded(name, func() error {
		return f.db.Update(func(tx *bbolt.Tx) error { return fill(tx, 0, 0) })
	})
	if err = errors.Join(err, f.drop()); err != nil {
		return err
	}
	return replace(t.path())
}

// fill makes the buckets of an empty store.
func fill(tx *bbolt.Tx, applied int64, records int) error {
	for _, name := range [][]byte{recordsBucket, dataBucket, tablesBucket, metaBucket} {
		b, err := tx.CreateBucket(name)
		if err != nil {
			return err
		}
		for _, mark := range [][]byte{lowMark, highMark} {
			if err := b.Put(mark, sealed(mark, make([]byte, 4))); err != nil {
				return err
			}
		}
	}
	return putMeta(tx, applied, records)
}

func putMeta(tx *bbolt.Tx, applied int64, records int) error {
	value := make([]byte, 4, 24)
	value = binary.BigEndian.AppendUint32(value, formatVersion)
	value = binary.BigEndian.AppendUint64(value, uint64(applied))
	value = binary.BigEndian.AppendUint64(value, uint64(records))
	return tx.Bucket(metaBucket).Put(metaKey, sealed(metaKey, value))
}

// note is told of every error of the file. What is damaged is marked, so that no
// later life trusts it.
func (t *tree) note(err error) {
	if err == nil || errors.Is(err, storage.ErrClosed) {
		return
	}
	t.mu.Lock()
	if t.err == nil {
		t.err = err
	}
	t.mu.Unlock()
	t.noted.Do(func() {
		if isDamage(err) {
			// If this fails the damage is found again.
			if f, cerr := os.Create(filepath.Join(t.dir, damagedName)); cerr == nil {
				_, _ = fmt.Fprintln(f, err)
				_ = f.Sync()
				_ = f.Close()
				_ = syncDir(t.dir)
			}
		}
		if t.cfg.Fail != nil {
			t.cfg.Fail(err)
		}
	})
}

// use returns the file, or what stands against using it.
func (t *tree) use() (*file, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, storage.ErrClosed
	}
	return t.file, t.err
}

// View implements storage.Store.
func (t *tree) View() storage.View {
	f, err := t.use()
	if err == nil {
		var v *view
		if v, err = f.open(t); err == nil {
			return v
		}
		t.note(err)
	}
	return failedView{err}
}

// Applied implements storage.Store.
func (t *tree) Applied() int64 { return t.applied.Load() }

// Durable implements storage.Store: what is committed is.
func (t *tree) Durable() int64 { return t.applied.Load() }

// Flush implements storage.Store.
func (t *tree) Flush(context.Context) error {
	_, err := t.use()
	return err
}

// Stats implements storage.Store.
func (t *tree) Stats() storage.Stats {
	f, err := t.use()
	if err != nil {
		return storage.Stats{}
	}
	s := storage.Stats{Flushes: t.flushes.Load(), FlushedOps: t.ops.Load()}
	if st, err := f.f.Stat(); err == nil {
		s.File = st.Size()
	}
	s.Free = int64(f.db.Stats().FreeAlloc)
	if v, err := f.open(nil); err == nil {
		s.Free += max(s.File-int64(v.high)*int64(f.pageSize), 0)
		v.Release()
	}
	return s
}

// Reset implements storage.Store: the file is replaced by an empty one. Views keep
// theirs, whose space is freed with the last of them.
func (t *tree) Reset() error {
	t.write.Lock()
	defer t.write.Unlock()
	old, err := t.use()
	if err != nil {
		return err
	}
	if simbug.On("reset-keeps-file") {
		t.applied.Store(0)
		return nil
	}
	f, err := func() (*file, error) {
		if err := t.create(); err != nil {
			return nil, err
		}
		return openFile(t.path())
	}()
	if err != nil {
		t.note(err)
		return err
	}
	t.mu.Lock()
	t.file, t.records = f, 0
	t.applied.Store(0)
	t.mu.Unlock()
	return old.drop()
}

// Close implements storage.Store.
func (t *tree) Close() error {
	t.write.Lock()
	defer t.write.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return storage.ErrClosed
	}
	t.closed = true
	return t.file.drop()
}

// A change is what becomes of a key of the file in a commit.
type change struct {
	key     []byte
	record  bool
	was     bool   // it is in the file
	wasOut  bool   // and has data out of line
	exists  bool   // in the end
	body    []byte // the value without its checksum
	out     bool   // it has data out of line
	newData []byte // which is this one, if it is not the one that is there
}

// Commit implements storage.Store.
func (t *tree) Commit(b *storage.Batch) error {
	t.write.Lock()
	defer t.write.Unlock()
	f, err := t.use()
	if err != nil {
		return err
	}
	v, err := f.open(t)
	if err != nil {
		t.note(err)
		return err
	}
	changes, records, err := t.changes(v, b)
	v.Release()
	if err != nil {
		if isDamage(err) {
			t.note(err)
		}
		return err
	}
	if err := t.store(f, changes, b.Zxid, records); err != nil {
		t.note(err)
		return err
	}
	t.records = records
	t.applied.Store(b.Zxid)
	t.flushes.Add(1)
	t.ops.Add(int64(len(b.Ops)))
	return nil
}

// changes finds out what a batch makes of the file. It looks at every place that
// will be written to with eyes that see damage: bbolt would write it anew.
func (t *tree) changes(v *view, b *storage.Batch) ([]*change, int, error) {
	byKey := make(map[string]*change, len(b.Ops))
	list := make([]*change, 0, len(b.Ops))
	records := v.records
	// What behind writes comes in the order of the keys: the next is often in the
	// page that was just looked at.
	record, data, table := v.cursor(&v.record), v.cursor(&v.data), v.cursor(&v.table)
	defer record.close()
	defer data.close()
	defer table.close()
	var buf []byte
	for i := range b.Ops {
		op := &b.Ops[i]
		isRecord := op.Kind <= storage.OpDelete
		cur := table
		if isRecord {
			buf, cur = appendRecordKey(append(buf[:0], 'r'), op.Path), record
		} else {
			buf = appendEntryKey(append(buf[:0], 't'), op.Table, op.Path)
		}
		c := byKey[string(buf)]
		if c == nil {
			c = &change{key: slices.Clone(buf[1:]), record: isRecord}
			if err := c.look(v, cur, data, op.Kind == storage.OpDelete || op.Kind == storage.OpTableDelete); err != nil {
				return nil, 0, err
			}
			byKey[string(buf)] = c
			list = append(list, c)
		}
		had := c.exists
		switch op.Kind {
		case storage.OpPut:
			r := newRecord(op.Head, op.Data)
			c.set(appendRecord(nil, &r))
			c.out, c.newData = r.flags&flagOut != 0, nil
			if c.out {
				c.newData = op.Data
			}
		case storage.OpPutHead:
			if !had {
				return nil, 0, fmt.Errorf("bolt: head put over nothing at %q", op.Path)
			}
			r, ok := parseRecord(c.body)
			if !ok {
				return nil, 0, v.file.damage(0, "the record of %.40q has parts that don't fit", op.Path)
			}
			if len(r.head) != len(op.Head) {
				return nil, 0, fmt.Errorf("bolt: head of %d bytes put over one of %d at %q", len(op.Head), len(r.head), op.Path)
			}
			r.head = op.Head
			c.set(appendRecord(nil, &r))
		case storage.OpTablePut:
			c.set(op.Data)
		case storage.OpDelete, storage.OpTableDelete:
			c.exists, c.body, c.out, c.newData = false, nil, false, nil
		default:
			return nil, 0, fmt.Errorf("bolt: unknown kind of op %d", op.Kind)
		}
		if isRecord && had != c.exists {
			if c.exists {
				records++
			} else {
				records--
			}
		}
	}
	return list, records, nil
}

func (c *change) set(body []byte) { c.exists, c.body = true, body }

// look finds out what the file has under the key.
func (c *change) look(v *view, cur, data *cursor, deletes bool) error {
	file, rest := inFile(c.key)
	if c.was = cur.get(file); !c.was {
		return cur.err
	}
	body, r := cur.body()
	if string(r) != string(rest) {
		return v.file.damage(cur.leaf.id, "the key of element %d is cut in another place than its hash", cur.i)
	}
	c.exists = true
	if c.record {
		c.body = slices.Clone(body)
		rec, ok := parseRecord(c.body)
		if !ok {
			return v.file.damage(cur.leaf.id, "the record of %.40q has parts that don't fit", c.key)
		}
		c.wasOut = rec.flags&flagOut != 0
		c.out = c.wasOut
	}
	if c.wasOut {
		// The place of its data is about to be written to as well.
		if !data.get(file) || !data.beside() {
			if data.err == nil {
				data.fail(v.data.root, "the data of %.40q is missing", c.key)
			}
			return data.err
		}
	}
	if deletes && !cur.beside() {
		return cur.err
	}
	return nil
}

// store writes the changes in one transaction.
func (t *tree) store(f *file, changes []*change, zxid int64, records int) error {
	slices.SortFunc(changes, func(a, b *change) int { return bytes.Compare(a.key, b.key) })
	// A page that can't be read is an error then, and not the end of the process.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	finished := false
	err := guarded(f.path, func() error {
		st, err := f.f.Stat()
		if err != nil {
			return err
		}
		f.db.AllocSize = int(min(max(st.Size()/8, leastGrowth), 64<<20))
		if simbug.On("zxid-before-data") {
			if err := f.db.Update(func(tx *bbolt.Tx) error { return putMeta(tx, zxid, records) }); err != nil {
				return err
			}
		}
		tx, err := f.db.Begin(true)
		if err != nil {
			return err
		}
		if err := apply(tx, changes, zxid, records); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		err = tx.Commit()
		finished = true
		return err
	})
	if err != nil && !finished {
		// bbolt may hold its locks for ever.
		f.mu.Lock()
		f.broken = true
		f.mu.Unlock()
	}
	f.release()
	return err
}

func apply(tx *bbolt.Tx, changes []*change, zxid int64, records int) error {
	record, data, table := tx.Bucket(recordsBucket), tx.Bucket(dataBucket), tx.Bucket(tablesBucket)
	for _, b := range []*bbolt.Bucket{record, data, table} {
		b.FillPercent = fillPercent
	}
	for _, c := range changes {
		b := table
		if c.record {
			b = record
		}
		key, rest := inFile(c.key)
		switch {
		case c.exists:
			if err := b.Put(key, sealed(key, append(begin(rest, len(c.body)), c.body...))); err != nil {
				return err
			}
		case c.was:
			if err := b.Delete(key); err != nil {
				return err
			}
		}
		switch {
		case c.newData != nil:
			if err := data.Put(key, sealed(key, append(begin(rest, len(c.newData)), c.newData...))); err != nil {
				return err
			}
		case c.wasOut && !c.out:
			if err := data.Delete(key); err != nil {
				return err
			}
		}
	}
	return putMeta(tx, zxid, records)
}

// fillPercent is how full a page is left when it is split: between what suits keys
// that come in order and what suits any order.
const fillPercent = 0.7

// formatError says that a later version wrote the file.
type formatError struct {
	file   string
	format uint32
}

func (e *formatError) Error() string {
	return fmt.Sprintf("%s: format %d, which this version does not know: it knows %d", e.file, e.format, formatVersion)
}

// A failedView is what a store shows that can't be read.
type failedView struct{ err error }

func (v failedView) Applied() int64                                            { return 0 }
func (v failedView) Len() int                                                  { return 0 }
func (v failedView) Get(string) (storage.Record, bool, error)                  { return storage.Record{}, false, v.err }
func (v failedView) Children(string, func(string) bool) error                  { return v.err }
func (v failedView) Walk(func(string, storage.Record) bool) error              { return v.err }
func (v failedView) TableGet(string, string) ([]byte, bool, error)             { return nil, false, v.err }
func (v failedView) TableScan(string, string, func(string, []byte) bool) error { return v.err }
func (v failedView) Release()                                                  {}
