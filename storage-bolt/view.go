package bolt

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"sync"
	"unsafe"

	"go.etcd.io/bbolt"

	"github.com/zkcore/zkcore/plugins/storage"
)

// A view is a read transaction: bbolt gives none of its pages another content
// until it ends.
type view struct {
	t       *tree
	file    *file
	tx      *bbolt.Tx
	high    uint64 // pages from here on are not its
	applied int64
	records int

	record, data, table bucket

	mu       sync.RWMutex
	branches map[uint64]*page
}

// maxBranches bounds the branch pages that a view keeps: with 4 KiB pages they lead
// to some eight million records.
const maxBranches = 1024

var _ storage.View = (*view)(nil)

// open makes the view of what is in the file now.
func (f *file) open(t *tree) (*view, error) {
	f.hold()
	v := &view{t: t, file: f, branches: map[uint64]*page{}}
	err := guarded(f.path, func() error {
		tx, err := f.db.Begin(false)
		if err != nil {
			return err
		}
		v.tx = tx
		v.high = uint64(tx.Size()) / uint64(f.pageSize)
		return v.root(uint64(tx.Cursor().Bucket().Root()))
	})
	if err != nil {
		v.Release()
		return nil, err
	}
	return v, nil
}

// root reads the page that lists the buckets.
func (v *view) root(id uint64) error {
	var buf = make([]byte, v.file.pageSize)
	p, err := v.file.read(id, v.high, &buf, true)
	if err != nil {
		return err
	}
	if !p.leaf {
		return v.file.damage(id, "the page that lists the buckets is a branch")
	}
	if p.count == 0 {
		return nil // a file that was made and not filled
	}
	var meta bucket
	for _, b := range []struct {
		name []byte
		to   *bucket
	}{{recordsBucket, &v.record}, {dataBucket, &v.data}, {tablesBucket, &v.table}, {metaBucket, &meta}} {
		i := p.search(b.name)
		if i == p.count || !bytes.Equal(p.key(i), b.name) {
			return v.file.damage(id, "it does not list the bucket %q", b.name)
		}
		value := p.value(i)
		if len(value) < 16 {
			return v.file.damage(id, "the bucket %q is cut", b.name)
		}
		if b.to.root = native.Uint64(value); b.to.root != 0 {
			continue
		}
		if len(value) < 16+pageHeader {
			return v.file.damage(id, "the bucket %q is cut", b.name)
		}
		var bad string
		if b.to.inline, bad = check(0, value[16:], false); bad != "" || !b.to.inline.leaf {
			return v.file.damage(id, "the bucket %q, which is in it: %s", b.name, bad)
		}
	}
	c := v.cursor(&meta)
	defer c.close()
	if !c.get(metaKey) {
		if c.err == nil {
			c.fail(id, "there is no entry %q", metaKey)
		}
		return c.err
	}
	body, _ := c.body()
	if len(body) != 20 {
		return v.file.damage(id, "the entry %q has %d bytes", metaKey, len(body))
	}
	if format := binary.BigEndian.Uint32(body); format != formatVersion {
		return &formatError{v.file.path, format}
	}
	v.applied = int64(binary.BigEndian.Uint64(body[4:]))
	v.records = int(binary.BigEndian.Uint64(body[12:]))
	return nil
}

func (v *view) branch(id uint64) *page {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.branches[id]
}

func (v *view) keep(p *page) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.branches) < maxBranches {
		v.branches[p.id] = p
	}
}

// Release implements storage.View.
func (v *view) Release() {
	if v.tx != nil {
		_ = v.tx.Rollback() // it fails when the transaction has ended already
	}
	if err := v.file.drop(); err != nil && v.t != nil {
		v.t.note(err)
	}
}

// Applied implements storage.View.
func (v *view) Applied() int64 { return v.applied }

// Len implements storage.View.
func (v *view) Len() int { return v.records }

// noted tells the store of an error, if there is one.
func (v *view) noted(err error) error {
	if err != nil && v.t != nil {
		v.t.note(err)
	}
	return err
}

// find looks a key up and returns a copy of its value.
func (v *view) find(b *bucket, key []byte) (body []byte, ok bool, err error) {
	if b.root == 0 && b.inline.b == nil {
		return nil, false, nil
	}
	file, rest := inFile(key)
	c := v.cursor(b)
	defer c.close()
	if !c.get(file) {
		return nil, false, c.err
	}
	body, r := c.body()
	if !bytes.Equal(r, rest) {
		return nil, false, v.file.damage(c.leaf.id, "the key of element %d is cut in another place than its hash", c.i)
	}
	return bytes.Clone(body), true, nil
}

// raw looks a record up.
func (v *view) raw(key []byte) (r record, ok bool, err error) {
	body, ok, err := v.find(&v.record, key)
	if !ok {
		return r, false, err
	}
	if r, ok = parseRecord(body); !ok {
		return r, false, v.file.damage(0, "the record of %.40q has parts that don't fit", key)
	}
	return r, true, nil
}

// out looks up the data of a record that has it out of line.
func (v *view) out(key []byte, r *record) ([]byte, error) {
	data, ok, err := v.find(&v.data, key)
	switch {
	case err != nil:
		return nil, err
	case !ok || len(data) != r.size || crc32.Checksum(data, castagnoli) != r.crc:
		return nil, v.file.damage(v.data.root, "the data of %.40q is not what its record says", key)
	}
	return data, nil
}

// Get implements storage.View.
func (v *view) Get(path string) (storage.Record, bool, error) {
	var arr [256]byte
	key := appendRecordKey(arr[:0], path)
	r, ok, err := v.raw(key)
	if !ok {
		return storage.Record{}, false, v.noted(err)
	}
	rec, err := v.whole(key, &r)
	return rec, err == nil, v.noted(err)
}

func (v *view) whole(key []byte, r *record) (storage.Record, error) {
	rec := storage.Record{Head: r.head, Data: r.data}
	switch {
	case r.flags&flagOut != 0:
		data, err := v.out(key, r)
		if err != nil {
			return rec, err
		}
		rec.Data = data
	case r.flags&flagNil == 0 && rec.Data == nil:
		rec.Data = []byte{}
	}
	return rec, nil
}

// scan calls fn for each element of b whose key begins with prefix, in order, until
// it returns false. Key and value are valid during the call.
func (v *view) scan(b *bucket, prefix []byte, fn func(key, body []byte) bool) error {
	if b.root == 0 && b.inline.b == nil {
		return nil
	}
	from := prefix
	if len(from) > keyMax {
		from = from[:keyMax]
	}
	start := from
	if len(start) == 0 {
		start = []byte{lowMark[0], 0} // behind the mark
	}
	c := v.cursor(b)
	defer c.close()
	// Long keys stand in the order of their hashes where they differ in what is not
	// in the file only: they are put into theirs.
	var group []longKey
	flush := func() bool {
		slices.SortFunc(group, func(a, b longKey) int { return bytes.Compare(a.key, b.key) })
		for _, g := range group {
			if bytes.HasPrefix(g.key, prefix) && !fn(g.key, g.body) {
				return false
			}
		}
		group = group[:0]
		return true
	}
	for ok := c.seek(start); ok; ok = c.next() {
		key := c.key()
		if c.end() || !bytes.HasPrefix(key, from) {
			flush()
			return nil
		}
		body, rest := c.body()
		if !isLong(key) {
			if !flush() || bytes.HasPrefix(key, prefix) && !fn(key, body) {
				return nil
			}
			continue
		}
		whole := append(bytes.Clone(key[:keyMax]), rest...)
		if len(group) > 0 && !bytes.Equal(group[0].key[:keyMax], key[:keyMax]) && !flush() {
			return nil
		}
		group = append(group, longKey{whole, bytes.Clone(body)})
	}
	return c.err
}

type longKey struct{ key, body []byte }

// Children implements storage.View.
func (v *view) Children(path string, fn func(name string) bool) error {
	var arr [256]byte
	prefix := appendChildKey(arr[:0], path)
	return v.noted(v.scan(&v.record, prefix, func(key, _ []byte) bool {
		return fn(text(key[len(prefix):]))
	}))
}

// Walk implements storage.View: level by level.
func (v *view) Walk(fn func(path string, rec storage.Record) bool) error {
	var failed error
	err := v.scan(&v.record, nil, func(key, body []byte) bool {
		r, ok := parseRecord(body)
		if !ok {
			failed = v.file.damage(0, "the record of %.40q has parts that don't fit", key)
			return false
		}
		rec, err := v.whole(key, &r)
		if err != nil {
			failed = err
			return false
		}
		return fn(text(key[numberLen(key):]), rec)
	})
	if failed != nil {
		err = failed
	}
	return v.noted(err)
}

// TableGet implements storage.View.
func (v *view) TableGet(table, key string) ([]byte, bool, error) {
	var arr [256]byte
	body, ok, err := v.find(&v.table, appendEntryKey(arr[:0], table, key))
	return body, ok, v.noted(err)
}

// TableScan implements storage.View.
func (v *view) TableScan(table, prefix string, fn func(key string, value []byte) bool) error {
	var arr [256]byte
	from := appendEntryKey(arr[:0], table, prefix)
	at := len(from) - len(prefix)
	return v.noted(v.scan(&v.table, from, func(key, body []byte) bool {
		return fn(text(key[at:]), body)
	}))
}

// text is b as a string, for as long as b is not changed.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
