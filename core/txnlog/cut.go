package txnlog

import (
	"errors"
	"fmt"

	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TruncateTo cuts everything after z, durably. z must be in the log, or be the
// state that the log continues; else the error is ErrNotInLog and nothing has
// changed. Snapshots above z are the caller's to drop, before.
func (l *Log) TruncateTo(z consensus.Zxid) error {
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.growMu.Lock()
	defer l.growMu.Unlock()
	l.mu.Lock()
	err, segs, last, base := l.err, l.segs, l.last, l.base
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if z == last {
		return nil
	}
	if z > last {
		return fmt.Errorf("truncate to %v, last is %v: %w", z, last, ErrNotInLog)
	}
	// Find the place first: a cut that turns out to be impossible halfway would be
	// a loss.
	keep, off, found, marked := 0, int64(headerSize), false, false
	if i := startSegment(segs, z); i < len(segs) && segs[i].zxid <= z {
		if off, found, marked, err = l.find(segs[i], z); err != nil {
			return err
		}
		if off > headerSize {
			keep = i + 1
		} else {
			keep = i
		}
	}
	if !found && z != base {
		return fmt.Errorf("truncate to %v: %w", z, ErrNotInLog)
	}
	if err := l.drop(segs, keep); err != nil {
		return l.fail(err)
	}
	if off > headerSize {
		if err := l.cut(segs[keep-1], off, marked); err != nil {
			return l.fail(err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segs = segs[:keep:keep]
	l.last, l.durable = z, z
	l.base = min(l.base, z)
	return nil
}

// Reset removes all files: the next transaction to be appended is the one after
// z. It is for a state that was taken over whole, and is durable, at z.
func (l *Log) Reset(z consensus.Zxid) error {
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.growMu.Lock()
	defer l.growMu.Unlock()
	l.mu.Lock()
	err, segs := l.err, l.segs
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err := l.drop(segs, 0); err != nil {
		return l.fail(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segs = nil
	l.last, l.durable, l.base = z, z, z
	return nil
}

// drop closes the present file, ends all readers and removes segs[n:], the
// newest first, and each for good before the one before it: whenever it ends,
// what is left has no hole.
func (l *Log) drop(segs []segment, n int) error {
	l.mu.Lock()
	f := l.f
	l.f, l.roll = nil, false
	l.gen++
	l.mu.Unlock()
	if f != nil {
		if err := f.Close(); err != nil {
			return err
		}
	}
	if n < len(segs) {
		if err := l.writeList(segs[:n]); err != nil {
			return err
		}
	}
	for i := len(segs) - 1; i >= n; i-- {
		if err := l.fs.Remove(join(l.dir, segs[i].name)); err != nil {
			return err
		}
		if err := l.fs.SyncDir(l.dir); err != nil {
			return err
		}
	}
	return nil
}

// cut makes a file end at size, durably. If it is one with marks it gets one there: the one
// that vouched for what is left is gone with the rest.
func (l *Log) cut(seg segment, size int64, marked bool) error {
	f, err := l.fs.OpenWrite(join(l.dir, seg.name))
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil {
		err = f.Sync()
	}
	if err == nil && marked {
		if _, err = f.WriteAt(appendMark(nil, seg.zxid, size, size), size); err == nil {
			err = f.Sync()
		}
	}
	return errors.Join(err, f.Close())
}

// find returns the offset behind the last record of seg at or below z, and
// whether that is z. marked says whether seg is a file whose writes end in marks.
func (l *Log) find(seg segment, z consensus.Zxid) (off int64, found, marked bool, err error) {
	f, err := l.fs.Open(join(l.dir, seg.name))
	if err != nil {
		return 0, false, false, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return 0, false, false, err
	}
	var s segReader
	if err := s.init(f, seg, size, l.maxRecord()); err != nil {
		return 0, false, false, err
	}
	off = headerSize
	for {
		body, err := s.next()
		if err != nil {
			return 0, false, false, err
		}
		if body == nil {
			if s.end == endBad || s.end == endHeader {
				return 0, false, false, s.damage()
			}
			return off, found, s.marked, nil
		}
		if simbug.On("trunc-keeps-one") && bodyZxid(body) == z+1 {
			off = s.off // the offset behind the record that was just read
			continue
		}
		if bodyZxid(body) > z {
			return off, found, s.marked, nil
		}
		off = s.off
		if bodyZxid(body) == z {
			found = true
		}
	}
}

// startSegment is the index of the newest file whose name is not above z, or 0.
func startSegment(segs []segment, z consensus.Zxid) int {
	i := 0
	for i+1 < len(segs) && segs[i+1].zxid <= z {
		i++
	}
	return i
}
