// Package vfs is the one layer through which zkcore touches files that must
// survive: the transaction log, the epochs, the snapshots.
//
// [OS] is the real one. The others exist so that tests can do to a disk what a
// power cut does. [Mem] keeps what was synced apart from what was only written,
// block by block and directory entry by directory entry, can be stopped before
// any operation, and says what is left after a crash. [Errors] stands in front
// of another FS and fails the operations that a test chooses.
//
// What an FS promises is what POSIX and ext4 promise and no more:
//
//   - What was written is on the disk after File.Sync. Until then any part of it,
//     in units of a sector, may or may not be.
//   - A name is on the disk after SyncDir of the directory it is in. A file that
//     was synced may still be lost with its name.
//   - Rename replaces the target in one step.
//
// Nothing here knows what is in the files.
package vfs

import (
	"errors"
	"io"
	"io/fs"

	"github.com/zkcore/zkcore/core/simbug"
)

// ErrLocked is returned by Lock when another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// An FS is a file system. Its methods may be called from any goroutine. Errors
// are those of package os: errors.Is with fs.ErrNotExist and its like works.
type FS interface {
	// Open opens a file for reading.
	Open(name string) (File, error)
	// OpenWrite opens a file that exists for reading and writing.
	OpenWrite(name string) (File, error)
	// Create makes an empty file, for reading and writing; what was there under
	// that name is emptied.
	Create(name string) (File, error)
	// ReadDir returns the names in a directory, sorted.
	ReadDir(name string) ([]string, error)
	// Stat says what a name stands for.
	Stat(name string) (Info, error)
	// Rename moves a file, in place of the one that has the new name.
	Rename(from, to string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// MkdirAll makes a directory and those above it.
	MkdirAll(name string) error
	// SyncDir makes durable which names are in a directory.
	SyncDir(name string) error
	// Lock takes the lock that is the file of that name, which it creates when it
	// has to, or fails with ErrLocked. The lock ends with Close, and with the
	// process. The file stays.
	Lock(name string) (io.Closer, error)
	// Usage says how full the disk is that holds a directory.
	Usage(name string) (Usage, error)
}

// A File is an open file. ReadAt, WriteAt, Sync and Preallocate may be called
// from several goroutines at once.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Closer

	// Truncate makes the file size bytes long.
	Truncate(size int64) error

	// Sync makes durable what was written before the call, and the size. After
	// an error nobody knows what is on the disk, and a second Sync that succeeds
	// says nothing about it: the file is not to be used any more.
	Sync() error

	// Preallocate writes n zeros at off. A write into blocks that are there
	// already, synced, costs the disk no change of metadata.
	Preallocate(off, n int64) error

	// Size is the file's size.
	Size() (int64, error)
}

// Info says what a name stands for.
type Info struct {
	Size int64
	Dir  bool
}

// Usage is the state of a disk, in bytes.
type Usage struct {
	Total int64
	// Free is what this process may still use.
	Free int64
}

// ReadFile reads a file that is at most limit bytes long.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("file is too large for what it should be")}
	}
	return b, nil
}

// Private makes an empty file that only its owner may read, where files have owners. WriteFile by
// way of it leaves one of the same kind.
func Private(fsys FS, name string) error {
	if p, ok := fsys.(interface{ private(name string) error }); ok {
		return p.private(name)
	}
	return nil
}

// WriteFile replaces a file so that after any crash either the old or the new
// content is there, and after a nil error the new one: it writes tmp, in the same
// directory dir, and renames it.
func WriteFile(fsys FS, dir, tmp, name string, data []byte) error {
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return err
	}
	if simbug.On("rename-unsynced") {
		return nil // a rename is atomic
	}
	return fsys.SyncDir(dir)
}
