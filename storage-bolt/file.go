package bolt

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Names in a store's directory.
const (
	fileName     = "tree.db"
	newSuffix    = ".new"     // being made; removed by the next Open
	damagedName  = "damaged"  // says in words why the file must not be used
	damagedAside = ".damaged" // the file itself, once the store was opened anew
)

// Names of the buckets.
var (
	recordsBucket = []byte("records")
	dataBucket    = []byte("data")
	tablesBucket  = []byte("tables")
	metaBucket    = []byte("meta")
	metaKey       = []byte("state")
)

// formatVersion is that of all below bbolt's own format.
const formatVersion = 1

// A file is an open bbolt file. Reads go around bbolt: see cursor.
type file struct {
	path     string
	db       *bbolt.DB
	f        *os.File // bbolt's
	pageSize int
	pool     sync.Pool

	mu     sync.Mutex
	refs   int  // views, and one for being the store's
	broken bool // bbolt can't be used any more, not even to close it
}

// leastGrowth is by how much a small file grows at a time; a large one by an eighth.
const leastGrowth = 256 << 10

// mapBytes is how much address space the map of a file takes. bbolt maps anew when
// a file outgrows it, for which no view may be open; so it is more than a file will
// ever need.
const mapBytes = 1 << 38

// openFile opens a file, or makes one.
func openFile(path string) (*file, error) {
	torn, err := checkMetas(path)
	if err != nil {
		return nil, err
	}
	f := &file{path: path, refs: 1}
	opts := *bbolt.DefaultOptions
	opts.FreelistType = bbolt.FreelistMapType
	opts.Timeout = time.Second
	opts.OpenFile = func(name string, flag int, perm os.FileMode) (*os.File, error) {
		file, err := os.OpenFile(name, flag, perm)
		if f.f == nil {
			f.f = file
		}
		return file, err
	}
	size := int64(0)
	if st, err := os.Stat(path); err == nil {
		size = st.Size()
	}
	if ^uint(0)>>32 == 0 || runtime.GOOS == "windows" {
		opts.InitialMmapSize = int(min(max(4*size, 1<<28), 1<<30))
	} else {
		opts.InitialMmapSize = int(max(4*size, mapBytes))
	}
	for {
		opts.MaxSize = opts.InitialMmapSize
		f.f = nil
		err := guarded(path, func() (err error) {
			// A page that can't be read is an error then, and not the end of the process.
			defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
			f.db, err = bbolt.Open(path, 0o600, &opts)
			return err
		})
		if err == nil {
			break
		}
		switch {
		case errors.Is(err, berrors.ErrTimeout):
			return nil, fmt.Errorf("%s is in use by another process", path)
		case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
			return nil, &Damage{File: path, Reason: err.Error()}
		case isDamage(err):
			if f.f != nil {
				f.f.Close()
			}
			return nil, err
		case opts.InitialMmapSize > 1<<30 && int64(opts.InitialMmapSize)/2 > size+size/2:
			opts.InitialMmapSize /= 2 // the address space may be limited
			continue
		}
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	f.pageSize = f.db.Info().PageSize
	f.db.AllocSize = leastGrowth
	for i := 0; torn && i < 2; i++ {
		// bbolt writes the two heads by turns. What it needs to do so it has; if it can't write
		// now, it says so when there is something to be written.
		err := guarded(path, func() error { return f.db.Update(func(*bbolt.Tx) error { return nil }) })
		if isDamage(err) {
			f.f.Close() // bbolt's locks may be held for ever
			return nil, err
		}
	}
	f.pool.New = func() any {
		b := make([]byte, f.pageSize)
		return &b
	}
	return f, nil
}

func (f *file) get() *[]byte { return f.pool.Get().(*[]byte) }

func (f *file) put(b *[]byte) {
	if cap(*b) > 16*f.pageSize {
		return
	}
	*b = (*b)[:f.pageSize]
	f.pool.Put(b)
}

func (f *file) damage(page uint64, format string, args ...any) error {
	return &Damage{File: f.path, Page: page, Reason: fmt.Sprintf(format, args...)}
}

// read reads the page id, which is below high, into buf, and checks it.
func (f *file) read(id, high uint64, buf *[]byte, buckets bool) (page, error) {
	b, err := f.readRaw(id, high, buf)
	if err != nil {
		return page{}, err
	}
	p, bad := check(id, b, buckets)
	if bad != "" {
		return page{}, f.damage(id, "%s", bad)
	}
	return p, nil
}

func (f *file) readRaw(id, high uint64, buf *[]byte) ([]byte, error) {
	if id < 2 || id >= high {
		return nil, f.damage(id, "there is no such page: the file has %d", high)
	}
	size := f.pageSize
	b := (*buf)[:size]
	if _, err := f.f.ReadAt(b, int64(id)*int64(size)); err != nil {
		return nil, f.unreadable(id, err)
	}
	over := uint64(native.Uint32(b[12:]))
	if over == 0 {
		return b, nil
	}
	if over >= high-id {
		return nil, f.damage(id, "it goes on over %d pages, and the file has %d in all", over, high)
	}
	whole := int(over+1) * size
	if cap(*buf) < whole {
		*buf = append(make([]byte, 0, whole), b...)
	}
	*buf = (*buf)[:whole]
	if _, err := f.f.ReadAt((*buf)[size:], (int64(id)+1)*int64(size)); err != nil {
		return nil, f.unreadable(id, err)
	}
	return *buf, nil
}

func (f *file) unreadable(id uint64, err error) error {
	if errors.Is(err, os.ErrClosed) {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the file ends before it does")
	}
	return f.damage(id, "it can't be read: %v", err)
}

// hold keeps the file open for a view.
func (f *file) hold() {
	f.mu.Lock()
	f.refs++
	f.mu.Unlock()
}

// drop closes the file when nobody holds it any more.
func (f *file) drop() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refs--; f.refs > 0 {
		return nil
	}
	if f.broken {
		return f.f.Close() // its map stays: bbolt's locks may be held for ever
	}
	return guarded(f.path, f.db.Close)
}

// checkMetas looks at the two pages that a file begins with before bbolt does: of
// those it needs one. The other is torn when the power failed while it was written: the
// file is as before that then, and has two again once it is written anew. It wants the file
// as long as they say, too.
func checkMetas(path string) (torn bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return false, err
	}
	var best, pageSize, high, free uint64
	sound := 0
	for i, at := 0, int64(0); i < 2; i++ {
		b := make([]byte, pageHeader+64)
		if _, err := f.ReadAt(b, at); err != nil && err != io.EOF {
			return false, &Damage{File: path, Page: uint64(i), Reason: err.Error()}
		}
		m := b[pageHeader:]
		sum := fnv.New64a()
		sum.Write(m[:56])
		ok := native.Uint32(m) == 0xED0CDAED && native.Uint64(m[56:]) == sum.Sum64()
		torn = torn || !ok || native.Uint64(b) != uint64(i) || native.Uint16(b[8:]) != headPage
		if i == 0 && !ok {
			// Where the other is follows from the size of a page, which this one would say.
			at = int64(os.Getpagesize())
			continue
		}
		if ok {
			sound++
			pageSize = uint64(native.Uint32(m[8:]))
			if pageSize < 512 || pageSize > 1<<20 || pageSize&(pageSize-1) != 0 {
				return false, &Damage{File: path, Page: uint64(i), Reason: fmt.Sprintf("a page is said to have %d bytes", pageSize)}
			}
			if tx := native.Uint64(m[48:]); tx >= best {
				best = tx
				high, free = native.Uint64(m[40:]), native.Uint64(m[32:])
				if need := native.Uint64(m[40:]) * pageSize; uint64(st.Size()) < need {
					return false, &Damage{File: path, Page: uint64(st.Size()) / pageSize,
						Reason: fmt.Sprintf("the file ends after %d bytes, and has %d pages", st.Size(), need/pageSize)}
				}
			}
		}
		at = int64(max(pageSize, 1024))
	}
	if sound == 0 {
		return false, &Damage{File: path, Reason: "neither of its first two pages is a head of a bbolt file"}
	}
	return torn, checkFree(f, path, pageSize, free, high)
}

// A syncedFile is what settle needs of a file.
type syncedFile interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// settle makes durable the head at off, which says what is in the file. The process that wrote it may have been killed before
// its sync, or that sync have failed: the system shows what was written all the same, and a sync alone would not write it again. What
// the head leads to was synced before it was written.
func settle(f syncedFile, off int64) error {
	b := make([]byte, pageHeader+64)
	if _, err := f.ReadAt(b, off); err != nil {
		return err
	}
	if _, err := f.WriteAt(b, off); err != nil {
		return err
	}
	return f.Sync()
}

// checkFree looks at the list of free pages at page id before bbolt does, which takes memory
// for as many as the list says it has, and writes to all that are in it.
func checkFree(f io.ReaderAt, path string, pageSize, id, high uint64) error {
	damage := func(format string, args ...any) error {
		return &Damage{File: path, Page: id, Reason: "the list of free pages: " + fmt.Sprintf(format, args...)}
	}
	if id < 2 || id >= high {
		return damage("there is no such page: the file has %d", high)
	}
	head := make([]byte, pageHeader+8)
	if _, err := f.ReadAt(head, int64(id*pageSize)); err != nil {
		return damage("%v", err)
	}
	over, count := uint64(native.Uint32(head[12:])), uint64(native.Uint16(head[10:]))
	if native.Uint64(head) != id || native.Uint16(head[8:]) != freelistPage || over >= high-id {
		return damage("the page is another one")
	}
	from := uint64(pageHeader)
	if count == 0xffff { // it is in the first place
		count, from = native.Uint64(head[pageHeader:]), from+8
	}
	if count > ((over+1)*pageSize-from)/8 {
		return damage("%d pages are not in %d bytes", count, (over+1)*pageSize)
	}
	b := make([]byte, count*8)
	if _, err := f.ReadAt(b, int64(id*pageSize+from)); err != nil {
		return damage("%v", err)
	}
	last := uint64(1)
	for ; len(b) > 0; b = b[8:] {
		p := native.Uint64(b)
		if p <= last || p >= high {
			return damage("page %d comes behind %d, and the file has %d", p, last, high)
		}
		last = p
	}
	return nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// replace puts the file made at path+newSuffix into the place of the one at path.
func replace(path string) error {
	if err := os.Rename(path+newSuffix, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
