package txnlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"hash/crc32"
	"io"

	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

const (
	logMagic   = 0x5A4B4C47 // "ZKLG"
	logVersion = 2
	// markedDBID stands in the header of files whose writes end in marks.
	markedDBID = 0x7A6B636F72650000 // "zkcore"

	headerSize = 16
	recordHead = 12 // checksum and length
	recordTail = 1  // 'B'
	recordEnd  = 'B'

	txnHeaderSize = 32 // the least that a body holds
	zxidOffset    = 12 // of the zxid in the body

	markSize  = 8 + 4 + 4 + 8 + 4
	markMagic = 0x7A6B636D // "zkcm"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendHeader(b []byte, dbid int64) []byte {
	b = binary.BigEndian.AppendUint32(b, logMagic)
	b = binary.BigEndian.AppendUint32(b, logVersion)
	return binary.BigEndian.AppendUint64(b, uint64(dbid))
}

func appendRecord(b, body []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(adler32.Checksum(body)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	return append(b, recordEnd)
}

// appendMark appends the mark that stands at offset off of the file whose name
// says first.
func appendMark(b []byte, first consensus.Zxid, off, synced int64) []byte {
	n := len(b)
	b = binary.BigEndian.AppendUint64(b, uint64(synced))
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, markMagic)
	b = binary.BigEndian.AppendUint64(b, uint64(off))
	return binary.BigEndian.AppendUint32(b, markSum(first, b[n:]))
}

func markSum(first consensus.Zxid, b []byte) uint32 {
	var z [8]byte
	binary.BigEndian.PutUint64(z[:], uint64(first))
	return crc32.Update(crc32.Checksum(z[:], castagnoli), castagnoli, b)
}

// parseMark returns what a mark at the begin of b says: at is its own offset.
func parseMark(b []byte, first consensus.Zxid) (at, synced int64, ok bool) {
	if len(b) < markSize || binary.BigEndian.Uint32(b[8:]) != 0 || binary.BigEndian.Uint32(b[12:]) != markMagic {
		return 0, 0, false
	}
	synced = int64(binary.BigEndian.Uint64(b))
	at = int64(binary.BigEndian.Uint64(b[16:]))
	if binary.BigEndian.Uint32(b[24:]) != markSum(first, b[:24]) || synced < headerSize || synced > at {
		return 0, 0, false
	}
	return at, synced, true
}

func bodyZxid(body []byte) consensus.Zxid {
	return consensus.Zxid(binary.BigEndian.Uint64(body[zxidOffset:]))
}

// An ending is why there is no next record in a file.
type ending uint8

const (
	endNone   ending = iota
	endEOF           // the file ends after a record
	endMark          // a mark of ours
	endZero          // zeros
	endTorn          // a record that is not all there
	endBad           // a record that is all there and wrong
	endHeader        // the file has no header
)

// A segReader reads one log file in order. It allocates nothing per record.
type segReader struct {
	f     vfs.File
	name  string
	first consensus.Zxid // by the file's name
	size  int64          // bytes of the file that are to be read
	max   int            // largest body

	buf    []byte // what was read and not consumed is buf[r:w]
	r, w   int
	off    int64 // file offset of buf[r]
	marked bool

	// What next found at the end:
	end    ending
	reason string
	synced int64 // of the mark
}

const scanBuffer = 512 << 10

// init makes the reader start with the header of f.
func (s *segReader) init(f vfs.File, seg segment, size int64, max int) error {
	*s = segReader{f: f, name: seg.name, first: seg.zxid, size: size, max: max, buf: s.buf}
	if err := s.fill(headerSize); err != nil {
		return err
	}
	b := s.buf[s.r:s.w]
	if len(b) < headerSize || binary.BigEndian.Uint32(b) != logMagic {
		s.end, s.reason = endHeader, "the file does not begin with a log's header"
		return nil
	}
	if v := int32(binary.BigEndian.Uint32(b[4:])); unknownVersion(v) {
		return &FormatError{seg.name, v}
	}
	s.marked = binary.BigEndian.Uint64(b[8:]) == markedDBID
	s.consume(headerSize)
	return nil
}

// seek makes off the place of the next record.
func (s *segReader) seek(off int64) {
	s.off, s.r, s.w, s.end = off, 0, 0, endNone
}

func (s *segReader) consume(n int) {
	s.r += n
	s.off += int64(n)
}

// fill tries to have n bytes in the buffer; there are fewer where the file ends.
func (s *segReader) fill(n int) error {
	have := s.w - s.r
	if have >= n || s.off+int64(have) >= s.size {
		return nil
	}
	if s.buf == nil {
		s.buf = make([]byte, min(int64(scanBuffer), max(s.size, 4096)))
	}
	if n > len(s.buf) {
		if int64(n) > s.size-s.off {
			n = int(s.size - s.off)
		}
		if n > len(s.buf) {
			nb := make([]byte, n)
			copy(nb, s.buf[s.r:s.w])
			s.buf = nb
			s.r, s.w = 0, have
		}
	}
	if s.r > 0 {
		copy(s.buf, s.buf[s.r:s.w])
		s.r, s.w = 0, have
	}
	for s.w < n {
		at := s.off + int64(s.w)
		k := min(int64(len(s.buf)-s.w), s.size-at)
		if k <= 0 {
			return nil
		}
		m, err := s.f.ReadAt(s.buf[s.w:s.w+int(k)], at)
		s.w += m
		if errors.Is(err, io.EOF) && m < int(k) {
			// The file is shorter than it was when it was asked for its size.
			s.size = at + int64(m)
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

// next returns the body of the next record, or nil, and then end says why. The
// body is valid until the next call. A non-nil error is one of reading the file.
func (s *segReader) next() (body []byte, err error) {
	if s.end != endNone {
		return nil, nil
	}
	if err := s.fill(markSize); err != nil {
		return nil, err
	}
	b := s.buf[s.r:s.w]
	if len(b) == 0 {
		s.end = endEOF
		return nil, nil
	}
	if len(b) < recordHead {
		s.stop(endTorn, "the file ends in a record")
		if isZero(b) {
			s.end = endZero
		}
		return nil, nil
	}
	sum := binary.BigEndian.Uint64(b)
	length := int64(int32(binary.BigEndian.Uint32(b[8:])))
	left := s.size - s.off - recordHead - recordTail
	switch {
	case length == 0:
		if at, synced, ok := parseMark(b, s.first); ok && at == s.off {
			s.end, s.synced = endMark, synced
		} else if ok {
			s.stop(endBad, moved)
		} else if sum == 0 {
			s.end = endZero
		} else {
			s.stop(endTorn, "a record without a length")
		}
		return nil, nil
	case length < 0:
		s.stop(endBad, fmt.Sprintf("a record of %d bytes", length))
		return nil, nil
	case length > left:
		s.stop(endTorn, "the file ends in a record")
		return nil, nil
	case length > int64(s.max):
		s.stop(endBad, fmt.Sprintf("a record of %d bytes, more than the %d that jute.maxbuffer and jute.maxbuffer.extrasize allow", length, s.max))
		return nil, nil
	}
	n := recordHead + int(length) + recordTail
	if err := s.fill(n); err != nil {
		return nil, err
	}
	b = s.buf[s.r:s.w]
	if len(b) < n {
		s.stop(endTorn, "the file ends in a record")
		return nil, nil
	}
	body = b[recordHead : n-recordTail : n-recordTail]
	switch {
	case b[n-1] != recordEnd:
		s.stop(endTorn, "a record without its end")
		return nil, nil
	case sum != uint64(adler32.Checksum(body)):
		s.stop(endBad, "CRC check failed")
		return nil, nil
	case length < txnHeaderSize:
		s.stop(endBad, "a record too short for a transaction")
		return nil, nil
	}
	s.consume(n)
	return body, nil
}

func (s *segReader) stop(e ending, reason string) { s.end, s.reason = e, reason }

func (s *segReader) damage() *Damage { return &Damage{File: s.name, Offset: s.off, Reason: s.reason} }

func isZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.NativeEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// A rest is what is behind the place where reading a file stopped.
type rest struct {
	nonZero int64 // offset after the last byte that is not zero; the place itself if all are
	record  int64 // offset of the first whole record; -1 if there is none
	synced  int64 // the most that a mark vouches for; 0 if there is none
	moved   bool  // there is a mark that belongs elsewhere
}

const moved = "bytes of the file are missing or were moved"

// lookBehind reads from s.off to the end of the file. A record counts as found
// if everything about it is right and its zxid can come after last.
func (s *segReader) lookBehind(last consensus.Zxid) (rest, error) {
	from := s.off
	res := rest{nonZero: from, record: -1}
	probe := segReader{f: s.f, name: s.name, first: s.first, size: s.size, max: int(min(s.size, 1<<30))}
	probe.seek(from)
	// Checking a record costs its length, so a file made to look like records at
	// every byte would cost the square of its size: a budget bounds that, far above
	// what any real file needs.
	budget := 64*(s.size-from) + 1<<20
	for probe.off < probe.size {
		if err := probe.fill(recordHead + txnHeaderSize); err != nil {
			return res, err
		}
		b := probe.buf[probe.r:probe.w]
		if len(b) == 0 {
			break
		}
		// Most of what there is to see is zeros.
		if n := zeroPrefix(b); n > recordHead {
			// The head of a record may begin in zeros: keep as many as it can have.
			probe.consume(n - recordHead)
			continue
		}
		if b[0] != 0 {
			res.nonZero = probe.off + 1
		}
		if len(b) < recordHead {
			probe.consume(1)
			continue
		}
		if len(b) >= markSize {
			if at, synced, ok := parseMark(b, s.first); ok {
				res.synced = max(res.synced, synced)
				res.moved = res.moved || at != probe.off
			}
		}
		if probe.off > from && res.record < 0 && budget > 0 && mayBeRecord(b, last, probe.size-probe.off) {
			length := int(binary.BigEndian.Uint32(b[8:]))
			budget -= int64(length)
			n := recordHead + length + recordTail
			if err := probe.fill(n); err != nil {
				return res, err
			}
			b = probe.buf[probe.r:probe.w]
			if len(b) >= n && b[n-1] == recordEnd &&
				binary.BigEndian.Uint64(b) == uint64(adler32.Checksum(b[recordHead:n-recordTail])) {
				res.record = probe.off
			}
		}
		probe.consume(1)
	}
	return res, nil
}

// zeroPrefix counts the zeros that b begins with.
func zeroPrefix(b []byte) int {
	n := 0
	for len(b)-n >= 8 && binary.NativeEndian.Uint64(b[n:]) == 0 {
		n += 8
	}
	for n < len(b) && b[n] == 0 {
		n++
	}
	return n
}

// mayBeRecord looks at a record's head and at the zxid behind it.
func mayBeRecord(b []byte, last consensus.Zxid, left int64) bool {
	length := int64(int32(binary.BigEndian.Uint32(b[8:])))
	if binary.BigEndian.Uint32(b) != 0 || length < txnHeaderSize || length > left-recordHead-recordTail {
		return false
	}
	if len(b) < recordHead+txnHeaderSize {
		return false
	}
	return bodyZxid(b[recordHead:]) > last
}
