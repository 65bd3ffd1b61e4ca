package vfs

import (
	"io"
	"sync"
)

// An Op is one operation on an FS or one of its files.
type Op struct {
	N    int // how many came before it
	Kind string
	Name string
}

// Errors is an FS in front of another that fails the operations that a test
// chooses, and shows it all of them in their order. A write that fails has
// written half; of a sync that fails, of a file or of a directory, on a Mem, the data is gone
// although it can still be read, and no later sync brings it back.
type Errors struct {
	base FS
	fail func(Op) error

	mu sync.Mutex
	n  int
}

// NewErrors returns an Errors that asks fail before each operation. An error is
// what the operation returns.
func NewErrors(base FS, fail func(Op) error) *Errors { return &Errors{base: base, fail: fail} }

// FailNth fails operation n alone, with err.
func FailNth(n int, err error) func(Op) error {
	return func(op Op) error {
		if op.N == n {
			return err
		}
		return nil
	}
}

// Ops counts the operations so far.
func (e *Errors) Ops() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.n
}

func (e *Errors) check(kind, name string) error {
	e.mu.Lock()
	op := Op{N: e.n, Kind: kind, Name: name}
	e.n++
	e.mu.Unlock()
	return pathErr(kind, name, e.fail(op))
}

func (e *Errors) wrap(kind, name string, open func(string) (File, error)) (File, error) {
	if err := e.check(kind, name); err != nil {
		return nil, err
	}
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	return &errorsFile{e: e, f: f, name: name}, nil
}

// Open implements FS.
func (e *Errors) Open(name string) (File, error) { return e.wrap("open", name, e.base.Open) }

// OpenWrite implements FS.
func (e *Errors) OpenWrite(name string) (File, error) {
	return e.wrap("openwrite", name, e.base.OpenWrite)
}

// Create implements FS.
func (e *Errors) Create(name string) (File, error) { return e.wrap("create", name, e.base.Create) }

// ReadDir implements FS.
func (e *Errors) ReadDir(name string) ([]string, error) {
	if err := e.check("readdir", name); err != nil {
		return nil, err
	}
	return e.base.ReadDir(name)
}

// Stat implements FS.
func (e *Errors) Stat(name string) (Info, error) {
	if err := e.check("stat", name); err != nil {
		return Info{}, err
	}
	return e.base.Stat(name)
}

// Rename implements FS.
func (e *Errors) Rename(from, to string) error {
	if err := e.check("rename", from); err != nil {
		return err
	}
	return e.base.Rename(from, to)
}

// Remove implements FS.
func (e *Errors) Remove(name string) error {
	if err := e.check("remove", name); err != nil {
		return err
	}
	return e.base.Remove(name)
}

// MkdirAll implements FS.
func (e *Errors) MkdirAll(name string) error {
	if err := e.check("mkdir", name); err != nil {
		return err
	}
	return e.base.MkdirAll(name)
}

// SyncDir implements FS.
func (e *Errors) SyncDir(name string) error {
	if err := e.check("syncdir", name); err != nil {
		if m, ok := e.base.(*Mem); ok {
			m.forgetDir(name)
		}
		return err
	}
	return e.base.SyncDir(name)
}

// Lock implements FS.
func (e *Errors) Lock(name string) (io.Closer, error) {
	if err := e.check("lock", name); err != nil {
		return nil, err
	}
	return e.base.Lock(name)
}

// Usage implements FS.
func (e *Errors) Usage(name string) (Usage, error) {
	if err := e.check("usage", name); err != nil {
		return Usage{}, err
	}
	return e.base.Usage(name)
}

type errorsFile struct {
	e    *Errors
	f    File
	name string
}

func (f *errorsFile) Read(b []byte) (int, error) {
	if err := f.e.check("read", f.name); err != nil {
		return 0, err
	}
	return f.f.Read(b)
}

func (f *errorsFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.e.check("read", f.name); err != nil {
		return 0, err
	}
	return f.f.ReadAt(b, off)
}

func (f *errorsFile) Write(b []byte) (int, error) {
	if err := f.e.check("write", f.name); err != nil {
		n, werr := f.f.Write(b[:len(b)/2])
		if werr != nil {
			return n, werr
		}
		return n, err
	}
	return f.f.Write(b)
}

func (f *errorsFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.e.check("write", f.name); err != nil {
		n, werr := f.f.WriteAt(b[:len(b)/2], off)
		if werr != nil {
			return n, werr
		}
		return n, err
	}
	return f.f.WriteAt(b, off)
}

func (f *errorsFile) Preallocate(off, n int64) error {
	if err := f.e.check("preallocate", f.name); err != nil {
		if werr := f.f.Preallocate(off, n/2); werr != nil {
			return werr
		}
		return err
	}
	return f.f.Preallocate(off, n)
}

func (f *errorsFile) Truncate(size int64) error {
	if err := f.e.check("truncate", f.name); err != nil {
		return err
	}
	return f.f.Truncate(size)
}

func (f *errorsFile) Sync() error {
	if err := f.e.check("sync", f.name); err != nil {
		if m, ok := f.f.(*memHandle); ok {
			m.forgetUnsynced()
		}
		return err
	}
	return f.f.Sync()
}

func (f *errorsFile) Size() (int64, error) {
	if err := f.e.check("size", f.name); err != nil {
		return 0, err
	}
	return f.f.Size()
}

func (f *errorsFile) Close() error {
	err := f.e.check("close", f.name)
	if cerr := f.f.Close(); err == nil {
		err = cerr
	}
	return err
}

var _ FS = (*Errors)(nil)
