package bolt

import (
	"errors"
	"fmt"
	"os"

	"go.etcd.io/bbolt"

	"github.com/zkcore/zkcore/plugins/storage"
)

// Tools are what can be done to a store that no server has open.
var Tools = storage.Tools{Compact: Compact, Check: Check}

// compactBytes is about how much of a file is copied in one transaction.
const compactBytes = 8 << 20

// Compact copies what is in use into a new file, which takes the place of the old
// one once it is whole and on the disk. All that is copied is checked.
func Compact(cfg storage.Config) (before, after int64, err error) {
	err = withTree(cfg, func(t *tree, v *view) error {
		st, err := v.file.f.Stat()
		if err != nil {
			return err
		}
		before = st.Size()
		name := t.path() + newSuffix
		if err := removeIfThere(name); err != nil {
			return err
		}
		to, err := openFile(name)
		if err != nil {
			return err
		}
		to.db.AllocSize = int(min(max(before/16, leastGrowth), compactBytes))
		err = guarded(name, func() error { return v.copyTo(to) })
		if st, serr := to.f.Stat(); serr == nil {
			after = st.Size()
		}
		if err = errors.Join(err, to.drop()); err != nil {
			return errors.Join(err, os.Remove(name))
		}
		return replace(t.path())
	})
	return before, after, err
}

// copyTo fills an empty file with what a view shows.
func (v *view) copyTo(to *file) error {
	if err := to.db.Update(func(tx *bbolt.Tx) error { return fill(tx, 0, 0) }); err != nil {
		return err
	}
	for _, b := range []struct {
		name []byte
		from *bucket
	}{{recordsBucket, &v.record}, {dataBucket, &v.data}, {tablesBucket, &v.table}} {
		c := v.cursor(b.from)
		defer c.close()
		ok := c.seek([]byte{lowMark[0], 0})
		for ok && !c.end() {
			err := to.db.Update(func(tx *bbolt.Tx) error {
				dst := tx.Bucket(b.name)
				dst.FillPercent = 0.95 // they come in order
				for size := 0; ok && !c.end() && size < compactBytes; ok = c.next() {
					key, value := c.key(), c.leaf.value(c.i)
					size += len(key) + len(value)
					// The value has to last until the end of the transaction, the key is copied.
					if err := dst.Put(key, append([]byte(nil), value...)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		if c.err != nil {
			return c.err
		}
	}
	return to.db.Update(func(tx *bbolt.Tx) error { return putMeta(tx, v.applied, v.records) })
}

// Check reads all of a store, and returns what is wrong with it.
func Check(cfg storage.Config) error {
	return withTree(cfg, func(_ *tree, v *view) error {
		n := 0
		if err := v.Walk(func(string, storage.Record) bool { n++; return true }); err != nil {
			return err
		}
		if n != v.records {
			return v.file.damage(0, "it holds %d records, and says that it holds %d", n, v.records)
		}
		for _, b := range []*bucket{&v.data, &v.table} {
			if err := v.scan(b, nil, func([]byte, []byte) bool { return true }); err != nil {
				return err
			}
		}
		// Whether a page is in use and free at once only bbolt knows.
		return guarded(v.file.path, func() error {
			var errs []error
			for err := range v.tx.Check() {
				if len(errs) < 10 {
					errs = append(errs, v.file.damage(0, "%v", err))
				}
			}
			return errors.Join(errs...)
		})
	})
}

// withTree calls fn with the store in cfg.Dir, which must be there. What it finds damaged in it is remembered there.
func withTree(cfg storage.Config, fn func(*tree, *view) error) error {
	t := tree{dir: cfg.Dir}
	if _, err := os.Stat(t.path()); err != nil {
		return fmt.Errorf("no store in %s: %w", cfg.Dir, err)
	}
	s, err := openTree(cfg)
	if err != nil {
		return err
	}
	v, err := s.file.open(s)
	if err == nil {
		err = fn(s, v)
		v.Release()
		if d := (*Damage)(nil); errors.As(err, &d) && d.File == s.path() {
			s.note(err)
		}
	}
	return errors.Join(err, s.Close())
}
