package txnlog

import (
	"errors"
	"fmt"
	"io"

	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// OpenLog opens the log in dir, which exists, reads it from o.From on, and makes
// durable what it has read. The error is a *Damage if the log does not hold
// every transaction from o.From to its last one.
func OpenLog(fsys vfs.FS, dir string, o Options) (*Log, Recovery, error) {
	l := &Log{fs: fsys, dir: dir, opts: o, base: o.From, last: o.From}
	var rec Recovery
	segs, err := listLogs(fsys, dir)
	if err != nil {
		return nil, rec, err
	}
	if err := l.missing(segs); err != nil {
		return nil, rec, err
	}
	if segs, err = l.removeEmpty(segs, &rec); err != nil {
		return nil, rec, err
	}
	l.segs = segs
	start := startSegment(segs, o.From+1)
	if err := l.recover(start, &rec); err != nil {
		return nil, rec, err
	}
	if l.last < o.AtLeast {
		return nil, rec, &Damage{SnapshotName(o.AtLeast), 0, fmt.Sprintf(
			"it can't be read, and what can be read instead ends at %v", l.last)}
	}
	if err := l.removeBelowHole(&rec); err != nil {
		return nil, rec, err
	}
	// The names of what was read must be durable too.
	if err := fsys.SyncDir(dir); err != nil {
		return nil, rec, err
	}
	// What Apache wrote meanwhile comes on the list.
	if err := l.writeList(l.segs); err != nil {
		return nil, rec, err
	}
	l.durable = l.last
	rec.Last = l.last
	return l, rec, nil
}

// BeginsAtOrBelow says whether a file of the log in dir begins at or below z.
func BeginsAtOrBelow(fsys vfs.FS, dir string, z consensus.Zxid) (bool, error) {
	segs, err := listLogs(fsys, dir)
	if err != nil || len(segs) == 0 {
		return false, err
	}
	return segs[0].zxid <= z, nil
}

// Holds says whether the log in dir has the transaction z. What it finds damaged on the way does not.
func Holds(fsys vfs.FS, dir string, z consensus.Zxid) (bool, error) {
	segs, err := listLogs(fsys, dir)
	if err != nil || len(segs) == 0 {
		return false, err
	}
	l := &Log{fs: fsys, dir: dir, opts: Options{MaxRecord: 1 << 30}}
	_, found, _, err := l.find(segs[startSegment(segs, z)], z)
	if errors.Is(err, consensus.ErrDamaged) {
		return false, nil
	}
	return found, err
}

// removeEmpty removes files of no length from the end of the list: what is left
// when a server died between making a file and writing its header.
func (l *Log) removeEmpty(segs []segment, rec *Recovery) ([]segment, error) {
	for len(segs) > 0 {
		last := segs[len(segs)-1]
		st, err := l.fs.Stat(join(l.dir, last.name))
		if err != nil {
			return nil, err
		}
		if st.Size > 0 {
			break
		}
		if err := l.writeList(segs[:len(segs)-1]); err != nil {
			return nil, err
		}
		if err := l.remove(last.name, rec); err != nil {
			return nil, err
		}
		segs = segs[:len(segs)-1]
	}
	return segs, nil
}

// removeBelowHole removes the files that end below the state that the log continues.
// So they do when the state is a snapshot of a leader's, and the server died before it
// could empty its log. What lies between them and the state is in no file, and once an
// epoch begins behind it nobody could tell: who read on from them would leave it out.
func (l *Log) removeBelowHole(rec *Recovery) error {
	from, n := l.opts.From, 0
	for n < len(l.segs) && l.segs[n].zxid <= from {
		n++
	}
	// An epoch's begin is the zxid of no transaction.
	whole := n == 0 || from.Counter() == 0 || rec.joined || rec.below == from
	if !whole && rec.below == 0 {
		// The file that ends there was not read: a later one could begin right above.
		var err error
		if _, whole, _, err = l.find(l.segs[n-1], from); err != nil {
			var d *Damage
			if errors.As(err, &d) {
				return nil // nobody needs it to start
			}
			return err
		}
	}
	if whole {
		return nil
	}
	if err := l.writeList(l.segs[n:]); err != nil {
		return err
	}
	for i := n - 1; i >= 0; i-- {
		if err := l.remove(l.segs[i].name, rec); err != nil {
			return err
		}
	}
	l.segs = l.segs[n:]
	return nil
}

func (l *Log) remove(name string, rec *Recovery) error {
	if err := l.fs.Remove(join(l.dir, name)); err != nil {
		return err
	}
	rec.Removed = append(rec.Removed, name)
	return l.fs.SyncDir(l.dir)
}

// recover reads l.segs[start:], and mends the end of the last one.
func (l *Log) recover(start int, rec *Recovery) error {
	var s segReader
	for i := start; i < len(l.segs); i++ {
		if err := l.recoverSegment(&s, i, rec); err != nil {
			return err
		}
		rec.Files++
	}
	// Where the last file held nothing and was removed, the one before it is the
	// last, and its end is to be seen to like that of any.
	for n := len(l.segs); n > start && n < start+rec.Files; n = len(l.segs) {
		repeated := rec.Repeated
		if err := l.recoverSegment(&s, n-1, rec); err != nil {
			return err
		}
		rec.Repeated = repeated
		if len(l.segs) == n {
			break
		}
	}
	return nil
}

func (l *Log) recoverSegment(s *segReader, i int, rec *Recovery) error {
	seg := l.segs[i]
	final := i == len(l.segs)-1
	open := l.fs.Open
	if final {
		open = l.fs.OpenWrite
	}
	f, err := open(join(l.dir, seg.name))
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	if size == 0 {
		return nil // a later file goes on where the one before this ended, or it is a gap
	}
	if err := s.init(f, seg, size, l.maxRecord()); err != nil {
		return err
	}
	for {
		at := s.off
		body, err := s.next()
		if err != nil {
			return err
		}
		if body == nil {
			break
		}
		z := bodyZxid(body)
		if z <= l.opts.From {
			rec.below = max(rec.below, z)
			continue
		}
		if z > l.last && rec.Records == 0 && seg.zxid <= l.opts.From {
			rec.joined = true
		}
		if z <= l.last {
			rec.Repeated++
			continue
		}
		if !follows(l.last, z) {
			return &Damage{seg.name, at, fmt.Sprintf("zxid gap: %v comes after %v", z, l.last)}
		}
		if l.opts.Visit != nil {
			if err := l.opts.Visit(consensus.Txn{Zxid: z, Data: body}); err != nil {
				return err
			}
		}
		l.last = z
		rec.Records++
	}
	cut, err := l.judge(s, final)
	if err != nil || !final {
		return err
	}
	return l.mend(f, s, i, cut, rec)
}

// judge decides whether the place where s stopped is a proper end of its file,
// which is the last one or not. What is cut is what behind it is not zero.
func (l *Log) judge(s *segReader, final bool) (cut rest, err error) {
	if s.end == endEOF || s.end == endMark && !final {
		return rest{nonZero: s.off, record: -1, synced: s.off}, nil
	}
	if s.end == endBad {
		// A record that is right, but for its size or for what it holds, was meant so.
		whole := *s
		whole.buf, whole.max = nil, 1<<30
		whole.seek(s.off)
		body, err := whole.next()
		if err != nil {
			return cut, err
		}
		if len(body) > s.max {
			return cut, &SizeError{File: s.name, Offset: s.off, Length: len(body), Max: s.max}
		}
		if body != nil || !final {
			return cut, s.damage()
		}
	}
	if !final && s.end == endHeader {
		return cut, s.damage()
	}
	if !final && s.marked {
		// A file of ours gets its last mark, synced, before the next is begun.
		return cut, &Damage{s.name, s.off, l.why(s, "in a file that was finished")}
	}
	cut, err = s.lookBehind(l.last)
	if err != nil {
		return cut, err
	}
	if simbug.On("damage-as-torn") && final {
		cut.synced = min(cut.synced, s.off)
		return cut, nil // a last write that was not finished: what else
	}
	switch {
	case cut.moved:
		return cut, &Damage{s.name, s.off, moved}
	case s.end == endMark:
		// The mark of the last write but one, if more comes behind it: part of a
		// write that was not finished.
		if cut.synced > s.off {
			return cut, &Damage{s.name, s.off, "records that were synced are missing"}
		}
		cut.synced = max(cut.synced, s.synced)
		if cut.nonZero <= s.off+markSize {
			cut.nonZero = s.off
		}
		return cut, nil
	case cut.synced > s.off:
		return cut, &Damage{s.name, s.off, l.why(s, "and it was synced")}
	case cut.record >= 0 && !(s.marked && final):
		return cut, &Damage{s.name, s.off, l.why(s, fmt.Sprintf("and a good record follows at offset %d", cut.record))}
	}
	return cut, nil
}

func (l *Log) why(s *segReader, more string) string {
	if s.end == endZero {
		return "a hole of zeros, " + more
	}
	return s.reason + ", " + more
}

// mend cuts the last file where its good records end, and writes anew what may
// be in the page cache only.
func (l *Log) mend(f vfs.File, s *segReader, i int, cut rest, rec *Recovery) error {
	end := s.off
	if s.end == endHeader {
		end = 0
	}
	if cut.nonZero > end {
		rec.TornFile, rec.TornOffset, rec.TornReason = s.name, end, s.reason
		if s.reason == "" {
			rec.TornReason = "part of a write that was not finished"
		}
		rec.CutBytes = cut.nonZero - end
		rec.TornCopy = fmt.Sprintf("%s%s.%x", tornPrefix, s.name, end)
		if err := l.copyTorn(f, end, cut.nonZero, rec.TornCopy); err != nil {
			return err
		}
	}
	if end <= headerSize {
		// No record: the next append may well make a file of this name.
		l.segs = l.segs[:i]
		if err := l.writeList(l.segs); err != nil {
			return err
		}
		return l.remove(s.name, rec)
	}
	from := cut.synced
	switch {
	case cut.nonZero > end || s.marked && s.end == endZero:
		// Files of ours end in a mark or where their last record does.
		if err := f.Truncate(end); err != nil {
			return err
		}
	case from >= end && s.end == endMark:
		// All that the mark vouches for is on the disk. The mark itself may be in the
		// page cache only, and the file is about to be followed by the next.
		if _, err := rewrite(f, end, end+markSize); err != nil {
			return err
		}
		return f.Sync()
	}
	if s.end == endEOF {
		from = 0 // no mark says how much of it was synced
	}
	n, err := rewrite(f, min(from, end), end)
	if err != nil {
		return err
	}
	rec.Rewritten = n
	if err := f.Sync(); err != nil || !s.marked {
		return err
	}
	// All of it is on the disk now, and only a mark says so: without one, what is damaged
	// later looks like a write that was not finished. A file that is followed by another
	// ends in one too.
	if _, err := f.WriteAt(appendMark(nil, s.first, end, end), end); err != nil {
		return err
	}
	return f.Sync()
}

func (l *Log) copyTorn(f vfs.File, from, to int64, name string) error {
	c, err := l.fs.Create(join(l.dir, name))
	if err != nil {
		return err
	}
	_, err = io.Copy(writerOnly{c}, io.NewSectionReader(f, from, to-from))
	if err == nil {
		err = c.Sync()
	}
	if err := errors.Join(err, c.Close()); err != nil {
		return err
	}
	return l.fs.SyncDir(l.dir)
}

type writerOnly struct{ io.Writer }

// rewrite writes f's bytes from from to to over themselves, so that the next
// sync brings them to the disk whatever the page cache believes.
func rewrite(f vfs.File, from, to int64) (int64, error) {
	buf := make([]byte, min(1<<20, to-from))
	for off := from; off < to; {
		b := buf[:min(int64(len(buf)), to-off)]
		if _, err := f.ReadAt(b, off); err != nil {
			return 0, err
		}
		if _, err := f.WriteAt(b, off); err != nil {
			return 0, err
		}
		off += int64(len(b))
	}
	return to - from, nil
}
