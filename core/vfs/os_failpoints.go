//go:build failpoints

package vfs

import (
	"path/filepath"
	"strings"

	"github.com/zkcore/zkcore/core/failpoint"
)

func init() { OS = failFS{OS} }

// A failFS is an FS whose operations are failpoints. Reading is none: it changes nothing.
type failFS struct{ FS }

// class says what kind of file a name is.
func class(name string) string {
	base := filepath.Base(name)
	switch {
	case strings.HasPrefix(base, "log."):
		return "log"
	case strings.HasPrefix(base, "snapshot."), strings.HasPrefix(base, "tmp.snapshot."):
		return "snapshot"
	case strings.HasSuffix(strings.TrimSuffix(base, ".tmp"), "Epoch"), strings.TrimSuffix(base, ".tmp") == "raft":
		return "epoch" // or what raft has in its place
	}
	return "other"
}

func around(kind, name string, do func() error) error {
	point := kind + "." + class(name)
	if err := failpoint.Err(failpoint.Point(point + ".before")); err != nil {
		return pathErr(kind, name, err)
	}
	err := do()
	failpoint.Hit(failpoint.Point(point + ".after"))
	return err
}

func (f failFS) open(name string, file File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return failFile{file, name}, nil
}

func (f failFS) Open(name string) (File, error) {
	file, err := f.FS.Open(name)
	return f.open(name, file, err)
}

func (f failFS) OpenWrite(name string) (File, error) {
	file, err := f.FS.OpenWrite(name)
	return f.open(name, file, err)
}

func (f failFS) Create(name string) (file File, err error) {
	err = around("create", name, func() error {
		file, err = f.FS.Create(name)
		return err
	})
	return f.open(name, file, err)
}

func (f failFS) Rename(from, to string) error {
	return around("rename", to, func() error { return f.FS.Rename(from, to) })
}

func (f failFS) Remove(name string) error {
	return around("remove", name, func() error { return f.FS.Remove(name) })
}

func (f failFS) SyncDir(name string) error {
	return around("syncdir", name, func() error { return f.FS.SyncDir(name) })
}

type failFile struct {
	File
	name string
}

func (f failFile) Write(b []byte) (n int, err error) {
	err = around("write", f.name, func() error {
		n, err = f.File.Write(b)
		return err
	})
	return n, err
}

func (f failFile) WriteAt(b []byte, off int64) (n int, err error) {
	err = around("write", f.name, func() error {
		n, err = f.File.WriteAt(b, off)
		return err
	})
	return n, err
}

func (f failFile) Truncate(size int64) error {
	return around("truncate", f.name, func() error { return f.File.Truncate(size) })
}

func (f failFile) Sync() error { return around("sync", f.name, f.File.Sync) }
