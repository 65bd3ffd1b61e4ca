package vfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// ErrCrashed is returned by a Mem that was stopped.
var ErrCrashed = errors.New("vfs: the machine has crashed")

// Loss says what a crash does to what was not synced.
type Loss uint8

// The losses.
const (
	// LoseAll: nothing of it is there.
	LoseAll Loss = iota
	// LoseNone: all of it is there, as after the end of a process alone.
	LoseNone
	// LoseSome: each sector, file size and directory entry is there or not, or,
	// for a sector, garbled in the bytes that were to change.
	LoseSome
)

// sector is the unit in which unsynced data survives.
const sector = 512

// A Mem is a file system in memory that knows what of it is on the disk. Crash
// makes of it the file system that is found after a crash. Directories that were
// made are on the disk at once; their entries are when SyncDir was called.
//
// It is made by NewMem. All it does follows from the calls and the seeds.
type Mem struct {
	mu       sync.Mutex
	dirs     map[string]*memDir // by cleaned path
	locks    map[string]bool
	ops      int
	stopAt   int // -1: never
	stopped  bool
	used     int64
	capacity int64
}

type memDir struct {
	now, synced map[string]*memFile
	pending     []dirOp // what led from synced to now
}

// A dirOp puts file under name to; or moves it there from from; or, without a
// to, removes from.
type dirOp struct {
	from, to string
	file     *memFile
}

type memFile struct {
	data       []byte
	syncedSize int64
	// undo holds, for each sector changed since the last sync, what the disk has.
	undo map[int64][]byte
	// lost holds the same for sectors whose sync failed: the system takes them for
	// clean, so a sync does not write them unless they are written to again.
	lost map[int64][]byte
	// borrowed: data is another file's.
	borrowed bool
}

// NewMem returns an empty file system.
func NewMem() *Mem {
	return &Mem{
		dirs:     map[string]*memDir{"/": newMemDir(), ".": newMemDir()},
		locks:    map[string]bool{},
		stopAt:   -1,
		capacity: 1 << 40,
	}
}

func newMemDir() *memDir {
	return &memDir{now: map[string]*memFile{}, synced: map[string]*memFile{}}
}

// Ops counts the operations so far that change something or make it durable.
func (m *Mem) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// StopAt makes the operation before which Ops is n, and all operations after it,
// fail with ErrCrashed and do nothing. A negative n is never.
func (m *Mem) StopAt(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopAt = n
}

// Restart is the end of the process alone, and the start of the next one, after a stop:
// the machine still has all that was written and not synced, and may lose it later.
func (m *Mem) Restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopAt, m.stopped = -1, false
	clear(m.locks)
}

// SetCapacity makes the disk that large: writes beyond fail with ENOSPC.
func (m *Mem) SetCapacity(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = n
}

// Crash returns what is found after a crash at this moment. m stays as it is, so
// that one moment can be looked at under several losses. For LoseSome the seed
// says what is lost.
func (m *Mem) Crash(loss Loss, seed uint64) *Mem { return m.crash(loss, seed, false) }

// Synced is Crash(LoseAll) for a short look: it may share memory with m, and is of no use any
// more when m has changed.
func (m *Mem) Synced() *Mem { return m.crash(LoseAll, 0, true) }

func (m *Mem) crash(loss Loss, seed uint64, borrow bool) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, 0x7a6b))
	after := NewMem()
	after.capacity = m.capacity
	files := map[*memFile]*memFile{} // a file may have two names
	for _, name := range slices.Sorted(maps.Keys(m.dirs)) {
		d := m.dirs[name]
		left := maps.Clone(d.synced)
		for _, op := range d.pending {
			if loss == LoseNone || loss == LoseSome && rng.IntN(2) == 0 {
				op.apply(left)
			}
		}
		nd := newMemDir()
		for _, fname := range slices.Sorted(maps.Keys(left)) {
			f := left[fname]
			nf := files[f]
			if nf == nil {
				if n := f.syncedSize; borrow && len(f.undo) == 0 && len(f.lost) == 0 && n <= int64(len(f.data)) {
					nf = &memFile{data: f.data[:n:n], syncedSize: n, borrowed: true}
				} else {
					nf = f.crash(loss, rng)
				}
				files[f] = nf
				after.used += int64(len(nf.data))
			}
			nd.now[fname] = nf
		}
		nd.synced = maps.Clone(nd.now)
		after.dirs[name] = nd
	}
	return after
}

// EndProcess is what the system does when a process ends and the machine goes on: its
// locks are free. What was written is there, synced or not.
func (m *Mem) EndProcess() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.locks)
}

// apply makes the change, if what it changes is there.
func (op dirOp) apply(entries map[string]*memFile) {
	switch {
	case op.from == "":
		entries[op.to] = op.file
	case op.to == "":
		delete(entries, op.from)
	case entries[op.from] == op.file:
		delete(entries, op.from)
		entries[op.to] = op.file
	}
}

// crash returns what is left of a file.
func (f *memFile) crash(loss Loss, rng *rand.Rand) *memFile {
	now := int64(len(f.data))
	buf := make([]byte, max(now, f.syncedSize))
	copy(buf, f.data)
	size := now
	switch {
	case loss == LoseAll:
		size = f.syncedSize
	case loss == LoseSome && now != f.syncedSize:
		lo, hi := min(now, f.syncedSize), max(now, f.syncedSize)
		// A file grows as its blocks are written. It shrinks in one step.
		switch what := rng.IntN(3); {
		case what == 0:
			size = lo
		case what == 1 || now < f.syncedSize:
			size = hi
		default:
			size = lo + rng.Int64N(hi-lo+1)
		}
	}
	for _, blk := range slices.Sorted(maps.Keys(f.undo)) {
		if loss == LoseNone {
			break
		}
		old := make([]byte, sector)
		copy(old, f.undo[blk])
		at := min(blk*sector, int64(len(buf)))
		cur := buf[at:min((blk+1)*sector, int64(len(buf)))]
		// Behind the end of a file that shrank there is what the disk has.
		if n := max(0, now-at); n < int64(len(cur)) {
			copy(cur[n:], old[n:])
			cur = cur[:n]
		}
		what := 0
		if loss == LoseSome {
			what = rng.IntN(3)
		}
		switch what {
		case 0:
			copy(cur, old)
		case 1: // kept
		case 2:
			for i := range cur {
				if cur[i] != old[i] {
					cur[i] = byte(rng.Uint32())
				}
			}
		}
	}
	if loss != LoseNone {
		for blk, old := range f.lost {
			full := make([]byte, sector)
			copy(full, old)
			at := min(blk*sector, int64(len(buf)))
			copy(buf[at:min((blk+1)*sector, int64(len(buf)))], full)
		}
	}
	return &memFile{data: buf[:size], syncedSize: size}
}

// touch notes what the disk has of the sectors in [from, to).
func (f *memFile) touch(from, to int64) {
	if f.borrowed {
		f.data, f.borrowed = slices.Clone(f.data), false
	}
	if f.undo == nil {
		f.undo = map[int64][]byte{}
	}
	for blk := from / sector; blk*sector < to; blk++ {
		if _, ok := f.undo[blk]; ok {
			continue
		}
		if old, ok := f.lost[blk]; ok {
			f.undo[blk] = old
			delete(f.lost, blk)
			continue
		}
		lo := min(blk*sector, f.syncedSize, int64(len(f.data)))
		hi := min((blk+1)*sector, f.syncedSize, int64(len(f.data)))
		f.undo[blk] = slices.Clone(f.data[lo:hi])
	}
}

func (f *memFile) resize(size int64) {
	now := int64(len(f.data))
	if size < now {
		f.touch(size, now)
		f.data = f.data[:size]
		return
	}
	// What lies behind the end may be old content: it reads as zeros.
	f.data = slices.Grow(f.data, int(size-now))[:size]
	clear(f.data[now:])
}

func (f *memFile) sync() {
	f.undo = nil
	f.syncedSize = int64(len(f.data))
}

// forget is what Linux does when a sync fails: the sectors are taken for clean.
func (f *memFile) forget() {
	if f.lost == nil {
		f.lost = map[int64][]byte{}
	}
	maps.Copy(f.lost, f.undo)
	f.undo = nil
}

// begin is called by every operation with mu held; change says that it changes
// something or makes it durable.
func (m *Mem) begin(change bool) error {
	if m.stopped || change && m.stopAt >= 0 && m.ops >= m.stopAt {
		m.stopped = true
		return ErrCrashed
	}
	if change {
		m.ops++
	}
	return nil
}

func clean(name string) string { return path.Clean(strings.ReplaceAll(name, "\\", "/")) }

// lookup finds the directory that a name is in, and the file, if there is one.
func (m *Mem) lookup(name string) (d *memDir, base string, f *memFile, err error) {
	name = clean(name)
	d = m.dirs[path.Dir(name)]
	base = path.Base(name)
	if d == nil {
		return nil, base, nil, fs.ErrNotExist
	}
	return d, base, d.now[base], nil
}

func pathErr(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) { return m.open("open", name, false) }

// OpenWrite implements FS.
func (m *Mem) OpenWrite(name string) (File, error) { return m.open("open", name, true) }

func (m *Mem) open(op, name string, write bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(false); err != nil {
		return nil, pathErr(op, name, err)
	}
	_, _, f, err := m.lookup(name)
	if err == nil && f == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, pathErr(op, name, err)
	}
	return &memHandle{m: m, f: f, name: name, write: write}, nil
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(true); err != nil {
		return nil, pathErr("create", name, err)
	}
	d, base, f, err := m.lookup(name)
	if err == nil && m.dirs[clean(name)] != nil {
		err = syscall.EISDIR
	}
	if err != nil {
		return nil, pathErr("create", name, err)
	}
	if f == nil {
		f = &memFile{}
		d.now[base] = f
		d.pending = append(d.pending, dirOp{to: base, file: f})
	} else {
		m.used -= int64(len(f.data))
		f.resize(0)
	}
	return &memHandle{m: m, f: f, name: name, write: true}, nil
}

// ReadDir implements FS.
func (m *Mem) ReadDir(name string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(false); err != nil {
		return nil, pathErr("readdir", name, err)
	}
	name = clean(name)
	d := m.dirs[name]
	if d == nil {
		return nil, pathErr("readdir", name, fs.ErrNotExist)
	}
	names := slices.Collect(maps.Keys(d.now))
	for sub := range m.dirs {
		if sub != name && path.Dir(sub) == name {
			names = append(names, path.Base(sub))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(false); err != nil {
		return Info{}, pathErr("stat", name, err)
	}
	if m.dirs[clean(name)] != nil {
		return Info{Dir: true}, nil
	}
	_, _, f, err := m.lookup(name)
	if err == nil && f == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return Info{}, pathErr("stat", name, err)
	}
	return Info{Size: int64(len(f.data))}, nil
}

// Rename implements FS. From one directory to another it is two changes, one in each: after
// a crash the file may be in both, or in neither if only the old directory was synced.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(true); err != nil {
		return pathErr("rename", from, err)
	}
	d, old, f, err := m.lookup(from)
	if err == nil && f == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return pathErr("rename", from, err)
	}
	base := path.Base(clean(to))
	if path.Dir(clean(from)) != path.Dir(clean(to)) {
		other, _, _, err := m.lookup(to)
		if err != nil {
			return pathErr("rename", to, err)
		}
		delete(d.now, old)
		d.pending = append(d.pending, dirOp{from: old, file: f})
		other.now[base] = f
		other.pending = append(other.pending, dirOp{to: base, file: f})
		return nil
	}
	delete(d.now, old)
	d.now[base] = f
	d.pending = append(d.pending, dirOp{from: old, to: base, file: f})
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(true); err != nil {
		return pathErr("remove", name, err)
	}
	if d := m.dirs[clean(name)]; d != nil {
		if len(d.now) > 0 {
			return pathErr("remove", name, syscall.ENOTEMPTY)
		}
		delete(m.dirs, clean(name))
		return nil
	}
	d, base, f, err := m.lookup(name)
	if err == nil && f == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return pathErr("remove", name, err)
	}
	delete(d.now, base)
	d.pending = append(d.pending, dirOp{from: base, file: f})
	m.used -= int64(len(f.data))
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(true); err != nil {
		return pathErr("mkdir", name, err)
	}
	for name = clean(name); m.dirs[name] == nil; name = path.Dir(name) {
		m.dirs[name] = newMemDir()
	}
	return nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(true); err != nil {
		return pathErr("sync", name, err)
	}
	d := m.dirs[clean(name)]
	if d == nil {
		return pathErr("sync", name, fs.ErrNotExist)
	}
	for _, op := range d.pending {
		op.apply(d.synced)
	}
	d.pending = nil
	return nil
}

// forgetDir is what a sync of a directory leaves that fails: what was to be made durable
// counts as done. It is seen, and no later sync brings it to the disk.
func (m *Mem) forgetDir(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.dirs[clean(name)]; d != nil {
		d.pending = nil
	}
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	f, err := m.OpenWrite(name)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = m.Create(name)
	}
	if err != nil {
		return nil, err
	}
	f.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	name = clean(name)
	if m.locks[name] {
		return nil, pathErr("lock", name, ErrLocked)
	}
	m.locks[name] = true
	return &memLock{m: m, name: name}, nil
}

type memLock struct {
	m    *Mem
	name string
	once sync.Once
}

func (l *memLock) Close() error {
	l.once.Do(func() {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		delete(l.m.locks, l.name)
	})
	return nil
}

// Usage implements FS.
func (m *Mem) Usage(string) (Usage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Usage{Total: m.capacity, Free: max(0, m.capacity-m.used)}, nil
}

// A memHandle is an open memFile.
type memHandle struct {
	m      *Mem
	f      *memFile
	name   string
	write  bool
	pos    int64 // of Read and Write
	closed bool
}

// do runs fn with the file system locked, if the operation may take place.
func (h *memHandle) do(op string, change bool, fn func() error) error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.closed {
		return pathErr(op, h.name, fs.ErrClosed)
	}
	if change && !h.write && op != "sync" {
		return pathErr(op, h.name, syscall.EBADF)
	}
	if err := h.m.begin(change); err != nil {
		return pathErr(op, h.name, err)
	}
	err := fn()
	if err == io.EOF {
		return err
	}
	return pathErr(op, h.name, err)
}

func (h *memHandle) readAt(b []byte, off int64) (int, error) {
	if off >= int64(len(h.f.data)) {
		if len(b) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(b, h.f.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *memHandle) Read(b []byte) (n int, err error) {
	err = h.do("read", false, func() error {
		n, err = h.readAt(b, h.pos)
		h.pos += int64(n)
		if n > 0 {
			return nil
		}
		return err
	})
	return n, err
}

func (h *memHandle) ReadAt(b []byte, off int64) (n int, err error) {
	err = h.do("read", false, func() error {
		n, err = h.readAt(b, off)
		return err
	})
	return n, err
}

func (h *memHandle) writeAt(b []byte, off int64) error {
	if len(b) == 0 {
		return nil
	}
	if end := off + int64(len(b)); end > int64(len(h.f.data)) {
		grow := end - int64(len(h.f.data))
		if h.m.used+grow > h.m.capacity {
			return syscall.ENOSPC
		}
		h.f.touch(off, end)
		h.m.used += grow
		h.f.resize(end)
	} else {
		h.f.touch(off, end)
	}
	copy(h.f.data[off:], b)
	return nil
}

func (h *memHandle) Write(b []byte) (n int, err error) {
	err = h.do("write", true, func() error {
		if err := h.writeAt(b, h.pos); err != nil {
			return err
		}
		h.pos += int64(len(b))
		n = len(b)
		return nil
	})
	return n, err
}

func (h *memHandle) WriteAt(b []byte, off int64) (n int, err error) {
	err = h.do("write", true, func() error {
		if err := h.writeAt(b, off); err != nil {
			return err
		}
		n = len(b)
		return nil
	})
	return n, err
}

func (h *memHandle) Preallocate(off, n int64) error {
	return h.do("write", true, func() error { return h.writeAt(make([]byte, n), off) })
}

func (h *memHandle) Truncate(size int64) error {
	return h.do("truncate", true, func() error {
		h.m.used += size - int64(len(h.f.data))
		h.f.resize(size)
		return nil
	})
}

func (h *memHandle) Sync() error {
	return h.do("sync", true, func() error {
		h.f.sync()
		return nil
	})
}

func (h *memHandle) forgetUnsynced() {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.f.forget()
}

func (h *memHandle) Size() (size int64, err error) {
	err = h.do("stat", false, func() error {
		size = int64(len(h.f.data))
		return nil
	})
	return size, err
}

func (h *memHandle) Close() error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.closed {
		return pathErr("close", h.name, fs.ErrClosed)
	}
	h.closed = true
	return nil
}

var _ FS = (*Mem)(nil)
