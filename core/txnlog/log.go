package txnlog

import (
	"errors"
	"fmt"
	"sync"

	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

var (
	// ErrNotInLog means that the log does not hold the zxid asked for.
	ErrNotInLog = errors.New("txnlog: zxid is not in the log")
	// ErrCut means that the log was cut while a Reader read it.
	ErrCut = errors.New("txnlog: log was cut while it was read")
	// ErrClosed is returned by calls on a closed log.
	ErrClosed = errors.New("txnlog: log is closed")
)

// DefaultMaxRecord is the largest record that Apache reads with its default
// jute.maxbuffer and jute.maxbuffer.extrasize.
const DefaultMaxRecord = 0xfffff + 0xfffff

// Options are how a log is opened. The zero value is a log that grows as it is
// written, from an empty state.
type Options struct {
	// From is the zxid of the state that the log continues: the snapshot's.
	From consensus.Zxid
	// AtLeast is the zxid that the state and the log together must reach, because some
	// file says that they did; 0 if none does.
	AtLeast consensus.Zxid
	// List is the file that says which files the log has, in a directory that exists; ""
	// for none. It is best kept beside the snapshots: so it tells, too, when the log's
	// whole directory was lost.
	List string
	// PreAllocKB is preAllocSize: the most by which a file is filled with zeros
	// ahead of its records; 0 for not at all.
	PreAllocKB int64
	// NoSync is forceSync=no: Sync does nothing.
	NoSync bool
	// SizeLimitKB is txnLogSizeLimitInKb: a file with more records than that is
	// followed by a new one; 0 for no limit.
	SizeLimitKB int64
	// MaxRecord is the longest record; 0 for DefaultMaxRecord.
	MaxRecord int
	// Visit, if set, is called with each transaction above From while the log is
	// opened. Its Data is valid during the call.
	Visit func(consensus.Txn) error
}

// A Recovery is what OpenLog found and did.
type Recovery struct {
	// Last is the last zxid: From, if the log holds nothing above.
	Last consensus.Zxid
	// Records is the number of transactions above From, in Files that were read.
	Records, Files int
	// Repeated is the number of records passed over because their zxid was not
	// above the one before.
	Repeated int
	// TornFile names the file whose end was cut at TornOffset because of
	// TornReason. CutBytes were not zero; they are kept in TornCopy.
	TornFile, TornReason, TornCopy string
	TornOffset, CutBytes           int64
	// Removed are files that were removed: those without a record, and those that end
	// below From.
	Removed []string
	// Rewritten is how many bytes were made durable again.
	Rewritten int64

	below  consensus.Zxid // the last one that is not above From
	joined bool           // a file goes from below From to above it
}

// A Log is the transaction log in one directory.
//
// Append, TruncateTo, Reset and Close are for one goroutine. Sync and
// Preallocate may run on others beside them, and so may readers, Roll, Purge and
// the methods that only ask. So a caller can append a batch while the one before is
// being synced.
//
// An error of writing or syncing is final: every later call returns it. What is
// on the disk is found out by opening the log anew.
type Log struct {
	fs   vfs.FS
	dir  string
	opts Options

	// cutMu is held while files are removed, syncMu while one is synced and growMu
	// while one is filled with zeros. They are taken in this order, before mu; the
	// last two also when the file changes.
	cutMu  sync.Mutex
	syncMu sync.Mutex
	growMu sync.Mutex

	mu      sync.Mutex // guards what follows
	segs    []segment  // oldest first; f is the last one, if there is an f
	f       vfs.File   // nil: the next append begins a file
	end     int64      // after the last record
	zeroed  int64      // the file has this many bytes, zeros from end on
	synced  int64      // what surely is on the disk
	flushed int64      // the same, if syncs are real; else what Sync covered
	chunk   int64      // by which the file grows next
	roll    bool
	// appending is set while Append writes behind end, without mu.
	appending bool
	last      consensus.Zxid
	durable   consensus.Zxid
	base      consensus.Zxid // the state that the log continues
	gen       uint64         // counts cuts
	err       error

	buf []byte // Append's
}

const (
	firstChunk = 64 << 10
	maxChunk   = 1 << 20
	keepBuffer = 1 << 20
)

// Last is the last zxid that was appended; after Open, what the log and the
// state that it continues end with.
func (l *Log) Last() consensus.Zxid {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Durable is the last zxid that Sync made durable.
func (l *Log) Durable() consensus.Zxid {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable
}

// First is the first zxid in the oldest file; 0 if there is none. What follows
// it need not be without a hole up to the state that the log continues.
func (l *Log) First() consensus.Zxid {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segs) == 0 {
		return 0
	}
	return l.segs[0].zxid
}

func (l *Log) maxRecord() int {
	if l.opts.MaxRecord > 0 {
		return l.opts.MaxRecord
	}
	return DefaultMaxRecord
}

// Append writes transactions behind the last one, in one write. Their zxids must
// follow each other and Last without a hole; if they don't, nothing is written.
// They are durable when a Sync that began afterwards has returned. The log keeps
// nothing of txns.
func (l *Log) Append(txns []consensus.Txn) error {
	if len(txns) == 0 {
		return nil
	}
	l.mu.Lock()
	err, prev, roll := l.err, l.last, l.f == nil || l.roll
	l.mu.Unlock()
	if err != nil {
		return err
	}
	size := markSize
	for i := range txns {
		z, data := txns[i].Zxid, txns[i].Data
		if !follows(prev, z) {
			return fmt.Errorf("txnlog: append %v after %v: not the next zxid", z, prev)
		}
		if len(data) < txnHeaderSize || len(data) > l.maxRecord() {
			return fmt.Errorf("txnlog: append %v: a record of %d bytes, where %d to %d may be", z, len(data), txnHeaderSize, l.maxRecord())
		}
		if bodyZxid(data) != z {
			return fmt.Errorf("txnlog: append %v: the header says %v", z, bodyZxid(data))
		}
		prev = z
		size += recordHead + len(data) + recordTail
	}
	if roll {
		if err := l.begin(txns[0].Zxid); err != nil {
			return l.fail(err)
		}
	}
	if err := l.grow(int64(size)); err != nil {
		return l.fail(err)
	}

	l.mu.Lock()
	f, end, synced, first := l.f, l.end, l.synced, l.segs[len(l.segs)-1].zxid
	l.appending = true // from here on the place behind the last record is ours
	l.mu.Unlock()
	if cap(l.buf) < size || cap(l.buf) > keepBuffer {
		l.buf = make([]byte, 0, size)
	}
	b := l.buf[:0]
	for i := range txns {
		b = appendRecord(b, txns[i].Data)
	}
	newEnd := end + int64(len(b))
	b = appendMark(b, first, newEnd, synced)
	l.buf = b
	if _, err := f.WriteAt(b, end); err != nil {
		return l.fail(err)
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	l.appending = false
	l.end = newEnd
	l.zeroed = max(l.zeroed, newEnd+markSize)
	l.last = prev
	return nil
}

// fail makes err final.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
	return l.err
}

// begin ends the present file and makes the one whose first record is z.
func (l *Log) begin(z consensus.Zxid) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.growMu.Lock()
	defer l.growMu.Unlock()
	if err := l.finish(); err != nil {
		return err
	}
	seg := segment{z, LogName(z)}
	f, err := l.fs.Create(join(l.dir, seg.name))
	if err != nil {
		return err
	}
	zeroed := int64(headerSize + markSize)
	b := appendHeader(make([]byte, 0, zeroed), markedDBID)
	b = appendMark(b, z, headerSize, headerSize)
	chunk := min(firstChunk, l.opts.PreAllocKB<<10)
	_, err = f.WriteAt(b, 0)
	if err == nil && chunk > zeroed {
		err = f.Preallocate(zeroed, chunk-zeroed)
		zeroed = chunk
	}
	// The file and its name must be there before any record is in it: so a file
	// whose header is bad never held one that was acknowledged.
	if err == nil {
		err = f.Sync()
	}
	named := simbug.On("log-name-unsynced") // the file is synced, so its name must be
	if err == nil && !named {
		err = l.fs.SyncDir(l.dir)
	}
	l.mu.Lock()
	segs := append(l.segs[:len(l.segs):len(l.segs)], seg)
	l.mu.Unlock()
	if err == nil && !named {
		err = l.writeList(segs)
	}
	if err != nil {
		f.Close()
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segs = append(l.segs, seg)
	l.f, l.end, l.zeroed, l.chunk = f, headerSize, zeroed, 2*chunk
	l.synced, l.flushed = headerSize, headerSize
	l.roll = false
	return nil
}

// finish makes the present file durable and closes it. syncMu and growMu are held.
func (l *Log) finish() error {
	l.mu.Lock()
	f, end, synced, last, segs := l.f, l.end, l.synced, l.last, l.segs
	l.mu.Unlock()
	if f == nil {
		return nil
	}
	var err error
	if synced < end {
		err = f.Sync()
	}
	if err == nil {
		// Now the mark can vouch for all of the file.
		_, err = f.WriteAt(appendMark(nil, segs[len(segs)-1].zxid, end, end), end)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f = nil
	if err == nil {
		l.synced, l.durable = end, last
	}
	return err
}

// grow sees to it that n more bytes fit into what is filled with zeros.
func (l *Log) grow(n int64) error {
	fits := func() bool { return l.opts.PreAllocKB <= 0 || l.end+n <= l.zeroed }
	l.mu.Lock()
	ok := fits()
	l.mu.Unlock()
	if ok {
		return nil
	}
	l.growMu.Lock() // waits for a Preallocate under way
	defer l.growMu.Unlock()
	l.mu.Lock()
	ok = fits()
	f, from, to := l.f, max(l.zeroed, l.end+n), l.end+n+l.chunk
	l.mu.Unlock()
	if ok {
		return nil
	}
	if err := f.Preallocate(from, to-from); err != nil {
		return err
	}
	l.grown(to)
	return nil
}

func (l *Log) grown(to int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.zeroed = to
	l.chunk = max(l.chunk, min(2*l.chunk, maxChunk, l.opts.PreAllocKB<<10))
}

// Low says that Preallocate has something to do.
func (l *Log) Low() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err == nil && l.low()
}

func (l *Log) low() bool {
	return l.f != nil && l.opts.PreAllocKB > 0 && l.zeroed-l.end <= l.chunk/2
}

// Preallocate fills the file with zeros ahead of its records when there are few
// left, and syncs them. A write into them costs the disk no change of metadata,
// so its sync takes half the time. It is for a caller's idle moments: without it
// Append does the same when it must, in its own time.
func (l *Log) Preallocate() error {
	l.growMu.Lock()
	defer l.growMu.Unlock()
	l.mu.Lock()
	err, f, low, from, n := l.err, l.f, l.low(), l.zeroed, l.chunk
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if !low {
		return nil
	}
	if err := f.Preallocate(from, n); err != nil {
		return l.fail(err)
	}
	if err := f.Sync(); err != nil {
		return l.fail(err)
	}
	l.grown(from + n)
	return nil
}

// Sync makes durable what was appended before the call, and returns the last
// zxid of it.
func (l *Log) Sync() (consensus.Zxid, error) {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	err, f, end, flushed, last := l.err, l.f, l.end, l.flushed, l.last
	l.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if f == nil || flushed == end {
		// Nothing new: what there was before f is durable.
		l.mu.Lock()
		defer l.mu.Unlock()
		l.durable = last
		return last, nil
	}
	if !l.opts.NoSync {
		err := f.Sync()
		if err != nil && simbug.On("retry-failed-sync") {
			err = f.Sync() // it may have been a hiccup
		}
		if err != nil {
			return 0, l.fail(err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushed, l.durable = end, last
	if !l.opts.NoSync {
		l.synced = end
		// While nothing comes behind it, the last mark can vouch for all that was
		// synced: else the last write would be the one whose damage is taken for a
		// torn end. It needs no sync of its own, since the crash that comes most
		// often, of the process, leaves it in the page cache.
		if l.end == end && !l.appending {
			if _, err := f.WriteAt(appendMark(nil, l.segs[len(l.segs)-1].zxid, end, end), end); err != nil {
				l.err = err
				return 0, err
			}
		}
	}
	if limit := l.opts.SizeLimitKB; limit > 0 && end > limit<<10 {
		l.roll = true
	}
	return last, nil
}

// Roll makes the next append begin a new file.
func (l *Log) Roll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.roll = true
}

// Close syncs and closes the log. With a nil error the next OpenLog has nothing
// to make durable.
func (l *Log) Close() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.growMu.Lock()
	defer l.growMu.Unlock()
	l.mu.Lock()
	err, f := l.err, l.f
	l.mu.Unlock()
	switch {
	case errors.Is(err, ErrClosed):
		return nil
	case err != nil && f != nil:
		f.Close()
	case err == nil:
		err = l.finish()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err, l.f = ErrClosed, nil
	return err
}

// Purge removes the files that hold nothing above needed. What can't be removed
// is an error that leaves the log as good as it was, unless it is ErrNotDurable.
func (l *Log) Purge(needed consensus.Zxid) (removed []string, err error) {
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	l.mu.Lock()
	if l.err != nil {
		defer l.mu.Unlock()
		return nil, l.err
	}
	n := 0
	for n+1 < len(l.segs) && (l.segs[n+1].zxid <= needed || simbug.On("purge-too-much")) { // else down to the file that is being written
		n++
	}
	old := l.segs[:n:n]
	l.segs = l.segs[n:]
	l.mu.Unlock()
	for _, seg := range old {
		if err := l.fs.Remove(join(l.dir, seg.name)); err != nil {
			return removed, err
		}
		removed = append(removed, seg.name)
	}
	if len(removed) == 0 {
		return nil, nil
	}
	if err := syncDir(l.fs, l.dir); err != nil {
		return removed, l.fail(err)
	}
	return removed, nil
}
