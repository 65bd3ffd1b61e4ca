package txnlog

import (
	"errors"
	"fmt"
	"io"

	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A Reader reads the transactions of a log in order. It is for one goroutine;
// others may append to the log and purge it meanwhile.
type Reader struct {
	l    *Log
	gen  uint64
	f    vfs.File
	s    segReader
	prev consensus.Zxid
	any  bool // prev was returned
	gone bool // the file that was read before this one has been purged
	err  error
}

// Reader returns a reader whose first transaction is the last one that is not
// above from; if all are above, it is the first in the log. So the caller sees
// whether from itself is there.
func (l *Log) Reader(from consensus.Zxid) (*Reader, error) { return l.reader(from, from) }

// ReaderAbove returns a reader for what is above from. It needs no file that ends there,
// which may be damaged and do no harm; transactions that are not above from may come first.
func (l *Log) ReaderAbove(from consensus.Zxid) (*Reader, error) { return l.reader(from, from+1) }

// reader begins in the file that begins with start at the latest.
func (l *Log) reader(from, start consensus.Zxid) (*Reader, error) {
	l.mu.Lock()
	err, gen, segs := l.err, l.gen, l.segs
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	r := &Reader{l: l, gen: gen}
	if len(segs) == 0 {
		return r, nil
	}
	if err := r.open(segs[startSegment(segs, start)]); err != nil {
		return nil, err
	}
	place := int64(headerSize)
	for {
		at := r.s.off
		body, err := r.s.next()
		if err != nil {
			r.Close()
			return nil, err
		}
		if body == nil || bodyZxid(body) > from {
			break
		}
		place = at
	}
	if r.s.end != endHeader {
		r.s.seek(place)
	}
	return r, nil
}

// Next returns the next transaction; its Data is valid until the next call. The
// error is io.EOF at the end of what was appended: a later call may find more.
// It is a *Damage if the log is not whole, and ErrCut after TruncateTo, Reset or
// a Purge of what was still to be read.
func (r *Reader) Next() (consensus.Txn, error) {
	if r.err != nil {
		return consensus.Txn{}, r.err
	}
	t, err := r.next()
	if err != nil && err != io.EOF {
		r.err = err
	}
	return t, err
}

func (r *Reader) next() (consensus.Txn, error) {
	for {
		if r.f == nil {
			more, err := r.advance()
			if err != nil {
				return consensus.Txn{}, err
			}
			if !more {
				return consensus.Txn{}, io.EOF
			}
		}
		at := r.s.off
		body, err := r.s.next()
		if err != nil {
			return consensus.Txn{}, err
		}
		if body == nil {
			if r.s.end == endBad || r.s.end == endHeader && r.s.size > 0 {
				return consensus.Txn{}, r.s.damage()
			}
			more, err := r.advance()
			if err != nil {
				return consensus.Txn{}, err
			}
			if !more {
				return consensus.Txn{}, io.EOF
			}
			continue
		}
		z := bodyZxid(body)
		if r.any && z <= r.prev {
			continue
		}
		if r.any && !follows(r.prev, z) {
			if r.gone {
				return consensus.Txn{}, ErrCut
			}
			return consensus.Txn{}, &Damage{r.s.name, at, fmt.Sprintf("zxid gap: %v comes after %v", z, r.prev)}
		}
		// What was read ahead, and what is in a file that is gone, may be of before a cut.
		r.l.mu.Lock()
		cut := r.gen != r.l.gen
		r.l.mu.Unlock()
		if cut {
			return consensus.Txn{}, ErrCut
		}
		r.prev, r.any = z, true
		return consensus.Txn{Zxid: z, Data: body}, nil
	}
}

// advance finds more to read: what was appended to the present file since, or
// the next one.
func (r *Reader) advance() (bool, error) {
	l := r.l
	l.mu.Lock()
	err, gen, segs, active, end := l.err, l.gen, l.segs, l.f != nil, l.end
	l.mu.Unlock()
	if err != nil {
		return false, err
	}
	if gen != r.gen {
		return false, ErrCut
	}
	if len(segs) == 0 {
		return false, nil
	}
	if r.f == nil {
		return true, r.open(segs[0])
	}
	if newest := segs[len(segs)-1]; newest.name == r.s.name {
		if active && end > r.s.off && r.s.end == endEOF {
			r.s.size, r.s.end = end, endNone
			return true, nil
		}
		return false, nil
	}
	// The file that we are in has a successor. It may have got its last records
	// since we saw its end, so it is read to what is now its end first.
	if r.s.end == endEOF {
		size, err := r.f.Size()
		if err != nil {
			return false, err
		}
		if size > r.s.size {
			r.s.size, r.s.end = size, endNone
			return true, nil
		}
	}
	r.gone = segs[0].zxid > r.s.first
	for _, seg := range segs {
		if seg.zxid > r.s.first {
			return true, r.open(seg)
		}
	}
	return false, nil
}

// open makes seg the file that is read.
func (r *Reader) open(seg segment) error {
	l := r.l
	f, err := l.fs.Open(join(l.dir, seg.name))
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.mu.Lock()
	if l.f != nil && l.segs[len(l.segs)-1].name == seg.name {
		size = l.end
	}
	l.mu.Unlock()
	if r.f != nil {
		r.f.Close()
	}
	r.f = f
	return r.s.init(f, seg, size, l.maxRecord())
}

// Close ends the reader.
func (r *Reader) Close() error {
	if r.f == nil {
		return nil
	}
	f := r.f
	r.f = nil
	r.err = ErrClosed
	return f.Close()
}

// SizeFrom is the size of the files that a reader from that zxid reads, in
// bytes, what is filled with zeros included.
func (l *Log) SizeFrom(from consensus.Zxid) (int64, error) {
	l.mu.Lock()
	segs, active, end := l.segs, l.f != nil, l.end
	l.mu.Unlock()
	var sum int64
	for i := startSegment(segs, from); i < len(segs); i++ {
		if active && i == len(segs)-1 {
			sum += end
			continue
		}
		st, err := l.fs.Stat(join(l.dir, segs[i].name))
		if err != nil {
			return 0, err
		}
		sum += st.Size
	}
	return sum, nil
}
