package bolt

import (
	"syscall"
	"unsafe"
)

// release gives back the memory that bbolt's map of the file takes: it touches what it
// writes anew through the map, and that counts as this process's. The pages stay in
// the system's cache.
func (f *file) release() {
	f.mu.Lock()
	broken := f.broken
	f.mu.Unlock()
	if broken {
		return
	}
	// The map stays what it is while a transaction is open.
	tx, err := f.db.Begin(false)
	if err != nil {
		return
	}
	defer tx.Rollback()
	if n := int(tx.Size()) &^ (f.pageSize - 1); n > 0 {
		at := f.db.Info().Data
		b := unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&at))), n)
		_ = syscall.Madvise(b, syscall.MADV_DONTNEED) // a hint
	}
}
