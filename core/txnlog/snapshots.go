package txnlog

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A SnapshotFile is a snapshot in a directory.
type SnapshotFile struct {
	Zxid consensus.Zxid
	Name string
	Size int64
}

// Compression is how a snapshot file is compressed; its value is the suffix.
type Compression string

// The compressions. Snappy is only read.
const (
	Plain  Compression = ""
	Gzip   Compression = ".gz"
	Snappy Compression = ".snappy"
)

// compressionOf goes by the last part of the name, as Apache does.
func compressionOf(name string) Compression {
	for _, c := range []Compression{Gzip, Snappy} {
		if strings.HasSuffix(name, string(c)) {
			return c
		}
	}
	return Plain
}

func parseSnapshotName(name string) (consensus.Zxid, bool) {
	rest, ok := strings.CutPrefix(name, snapPrefix)
	if !ok {
		return 0, false
	}
	rest, _, _ = strings.Cut(rest, ".")
	return parseZxid(rest)
}

// allSnapshots lists every file that is named like a snapshot, newest first.
func allSnapshots(fsys vfs.FS, dir string) ([]SnapshotFile, error) {
	names, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var files []SnapshotFile
	for _, name := range names {
		if z, ok := parseSnapshotName(name); ok {
			files = append(files, SnapshotFile{Zxid: z, Name: name})
		}
	}
	slices.SortStableFunc(files, func(a, b SnapshotFile) int { return cmp.Compare(b.Zxid, a.Zxid) })
	return files, nil
}

// ListSnapshots returns the snapshots in dir that look whole, the newest first.
// Looking whole takes a read of a few bytes, not of the file. A directory that
// does not exist has none.
func ListSnapshots(fsys vfs.FS, dir string) ([]SnapshotFile, error) {
	all, err := allSnapshots(fsys, dir)
	if err != nil {
		return nil, err
	}
	var good []SnapshotFile
	for _, s := range all {
		ok, size, err := looksWhole(fsys, join(dir, s.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // purged meanwhile
		}
		if err != nil {
			return nil, err
		}
		if ok {
			s.Size = size
			good = append(good, s)
		}
	}
	return good, nil
}

// NewestName is the highest zxid that a file in dir is named for as a snapshot, whole or
// not; 0 if there is none. The ensemble had come so far.
func NewestName(fsys vfs.FS, dir string) (consensus.Zxid, error) {
	all, err := allSnapshots(fsys, dir)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	return all[0].Zxid, nil
}

// BrokenSnapshots returns the names of the snapshots that ListSnapshots leaves
// out, the newest first: they were not written to their end, or were cut.
func BrokenSnapshots(fsys vfs.FS, dir string) ([]string, error) {
	all, err := allSnapshots(fsys, dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range all {
		ok, _, err := looksWhole(fsys, join(dir, s.Name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case !ok:
			names = append(names, s.Name)
		}
	}
	return names, nil
}

func looksWhole(fsys vfs.FS, path string) (ok bool, size int64, err error) {
	f, err := fsys.Open(path)
	if err != nil {
		return false, 0, err
	}
	defer f.Close()
	if size, err = f.Size(); err != nil || size < 10 {
		return false, size, err
	}
	var b [8]byte
	at := int64(0)
	c := compressionOf(path)
	if c == Plain {
		at = size - 5
	}
	n, err := f.ReadAt(b[:], at)
	if err != nil && err != io.EOF {
		return false, size, err
	}
	got := string(b[:n])
	switch c {
	case Gzip:
		return strings.HasPrefix(got, "\x1f\x8b"), size, nil
	case Snappy:
		return got == snappyMagic, size, nil
	}
	return got == "\x00\x00\x00\x01/", size, nil
}

// OpenSnapshot opens a snapshot file for reading; which way it is compressed
// follows from its name. Close the returned file after the reader.
func OpenSnapshot(fsys vfs.FS, dir, name string) (*SnapshotReader, io.Closer, error) {
	f, err := fsys.Open(join(dir, name))
	if err != nil {
		return nil, nil, err
	}
	var r io.Reader = bufio.NewReaderSize(f, snapshotBuffer)
	switch compressionOf(name) {
	case Gzip:
		r, err = gzip.NewReader(r)
	case Snappy:
		r, err = newSnappyReader(r)
	}
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("snapshot %s: %w", name, err)
	}
	return NewSnapshotReader(r, FileForm), f, nil
}

// syncEvery bounds how much of a snapshot waits to be written at a time: one
// large flush at the end would hold up the syncs of the log.
const syncEvery = 8 << 20

// SyncSnapshots makes the names in dir durable, before a start builds on them: the process
// before may have ended between a snapshot's name and its sync.
func SyncSnapshots(fsys vfs.FS, dir string) error { return syncDir(fsys, dir) }

// SaveSnapshot writes a snapshot at z into dir: write writes its content. When it
// returns nil the snapshot is durable; a snapshot that has its name is whole,
// whenever the server dies.
func SaveSnapshot(fsys vfs.FS, dir string, z consensus.Zxid, c Compression, write func(*SnapshotWriter) error) (SnapshotFile, error) {
	s := SnapshotFile{Zxid: z, Name: SnapshotName(z) + string(c)}
	if c != Plain && c != Gzip {
		return s, fmt.Errorf("snapshot: can't write with compression %q", string(c))
	}
	tmp := join(dir, tmpPrefix+s.Name)
	f, err := fsys.Create(tmp)
	if err != nil {
		return s, err
	}
	paced := &pacedWriter{f: f}
	err = func() error {
		var w io.Writer = paced
		var zw *gzip.Writer
		if c == Gzip {
			zw, _ = gzip.NewWriterLevel(paced, gzip.BestSpeed)
			w = zw
		}
		sw := NewSnapshotWriter(w, FileForm)
		if err := write(sw); err != nil {
			return err
		}
		if err := sw.Close(); err != nil {
			return err
		}
		if zw != nil {
			if err := zw.Close(); err != nil {
				return err
			}
		}
		if simbug.On("snapshot-unsynced") {
			return nil // the rename makes it durable
		}
		return f.Sync()
	}()
	s.Size = paced.n
	if err = errors.Join(err, f.Close()); err != nil {
		// The first error counts; a file that can't be removed is removed by the
		// next PurgeSnapshots.
		_ = fsys.Remove(tmp)
		return s, err
	}
	if err := fsys.Rename(tmp, join(dir, s.Name)); err != nil {
		return s, err
	}
	if err := syncDir(fsys, dir); err != nil {
		// The name is seen and will never be on the disk. The next life must not build on
		// it: a log that ends below a snapshot is removed.
		_ = fsys.Remove(join(dir, s.Name))
		return s, err
	}
	return s, nil
}

type pacedWriter struct {
	f           vfs.File
	n, unsynced int64
}

func (w *pacedWriter) Write(b []byte) (int, error) {
	n, err := w.f.Write(b)
	w.n += int64(n)
	w.unsynced += int64(n)
	if err == nil && w.unsynced >= syncEvery {
		w.unsynced = 0
		err = w.f.Sync()
	}
	return n, err
}

// PurgeSnapshots removes all but the newest keep snapshots that look whole, and
// unfinished ones of an earlier life. It returns the zxid of the oldest that is
// kept: what the log must go on holding everything above of. If none looks
// whole nothing is removed, and kept is false. It must not run beside
// SaveSnapshot.
func PurgeSnapshots(fsys vfs.FS, dir string, keep int) (oldest consensus.Zxid, kept bool, removed []string, err error) {
	good, err := ListSnapshots(fsys, dir)
	if err != nil || len(good) == 0 {
		return 0, false, nil, err
	}
	oldest = good[min(max(keep, 1), len(good))-1].Zxid
	removed, err = removeSnapshots(fsys, dir, func(s SnapshotFile) bool { return s.Zxid < oldest })
	if err != nil {
		return oldest, true, removed, err
	}
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return oldest, true, removed, err
	}
	for _, name := range names {
		if strings.HasPrefix(name, tmpPrefix+snapPrefix) {
			if err := fsys.Remove(join(dir, name)); err != nil {
				return oldest, true, removed, err
			}
			removed = append(removed, name)
		}
	}
	return oldest, true, removed, nil
}

// DropSnapshotsAbove removes, for good, the snapshots above z: they hold what
// the ensemble never committed.
func DropSnapshotsAbove(fsys vfs.FS, dir string, z consensus.Zxid) (removed []string, err error) {
	return removeSnapshots(fsys, dir, func(s SnapshotFile) bool { return s.Zxid > z })
}

func removeSnapshots(fsys vfs.FS, dir string, which func(SnapshotFile) bool) (removed []string, err error) {
	all, err := allSnapshots(fsys, dir)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if !which(s) {
			continue
		}
		if err := fsys.Remove(join(dir, s.Name)); err != nil {
			return removed, err
		}
		removed = append(removed, s.Name)
	}
	if len(removed) == 0 {
		return nil, nil
	}
	return removed, syncDir(fsys, dir)
}
