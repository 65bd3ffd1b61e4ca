package bolt

import (
	"errors"
	"fmt"

	"github.com/zkcore/zkcore/plugins/storage"
)

// A Damage is a place in a file that does not hold what was written there. It is
// a storage.ErrDamaged.
type Damage struct {
	File   string
	Page   uint64 // counted from 0, in pages of the file
	Reason string
}

func (d *Damage) Error() string {
	return fmt.Sprintf("%s: page %d: %s", d.File, d.Page, d.Reason)
}

// Is makes a Damage a storage.ErrDamaged.
func (d *Damage) Is(target error) bool { return target == storage.ErrDamaged }

func isDamage(err error) bool { return errors.Is(err, storage.ErrDamaged) }

// guarded runs fn, in which bbolt walks over pages that it trusts: where they are
// not what it takes them for it panics, or touches memory that is not there.
func guarded(file string, fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Damage{File: file, Reason: fmt.Sprintf("bbolt gave up: %v", p)}
		}
	}()
	return fn()
}
