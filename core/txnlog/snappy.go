package txnlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// snappyMagic begins a stream of the snappy-java library.
const snappyMagic = "\x82SNAPPY\x00"

// maxSnappyChunk bounds a chunk, compressed and not. The writer's block is 32 KiB
// unless somebody sets it; it can't be above this.
const maxSnappyChunk = 32 << 20

var errSnappy = errors.New("snappy: not a valid block")

// A snappyReader decompresses a stream of snappy-java: magic, two version ints,
// then chunks of {length int, raw snappy block}.
type snappyReader struct {
	r    *bufio.Reader
	in   []byte
	out  []byte
	rest []byte // of out, not read yet
}

func newSnappyReader(r io.Reader) (io.Reader, error) {
	br := bufio.NewReader(r)
	var head [16]byte
	if _, err := io.ReadFull(br, head[:]); err != nil {
		return nil, noEOF(err)
	}
	if string(head[:8]) != snappyMagic {
		return nil, errors.New("snappy: wrong magic number")
	}
	if v := binary.BigEndian.Uint32(head[12:]); v > 1 {
		return nil, fmt.Errorf("snappy: the stream needs a reader of version %d", v)
	}
	return &snappyReader{r: br}, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (s *snappyReader) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		if err := s.chunk(); err != nil {
			return 0, err
		}
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *snappyReader) chunk() error {
	var head [4]byte
	if _, err := io.ReadFull(s.r, head[:]); err != nil {
		return err // io.EOF between chunks is the end
	}
	n := int(int32(binary.BigEndian.Uint32(head[:])))
	if n <= 0 || n > maxSnappyChunk {
		return fmt.Errorf("snappy: a chunk of %d bytes", n)
	}
	s.in = s.in[:0]
	for len(s.in) < n {
		k := min(n-len(s.in), max(64<<10, len(s.in)))
		if cap(s.in)-len(s.in) < k {
			s.in = append(make([]byte, 0, len(s.in)+k), s.in...)
		}
		m, err := io.ReadFull(s.r, s.in[len(s.in):len(s.in)+k])
		s.in = s.in[:len(s.in)+m]
		if err != nil {
			return noEOF(err)
		}
	}
	out, err := decodeSnappy(s.out[:0], s.in)
	if err != nil {
		return err
	}
	s.out, s.rest = out, out
	return nil
}

// decodeSnappy decompresses one raw block: the length as a varint, then literals
// and copies of what came before.
func decodeSnappy(dst, src []byte) ([]byte, error) {
	want, n := binary.Uvarint(src)
	// A copy of two bytes makes 64 at most, so the length claimed can be held
	// against what is there.
	if n <= 0 || want > maxSnappyChunk || want > 64*uint64(len(src)) {
		return nil, errSnappy
	}
	src = src[n:]
	if cap(dst) < int(want) {
		dst = make([]byte, 0, want)
	}
	for len(src) > 0 {
		tag := src[0]
		src = src[1:]
		if tag&3 == 0 {
			n := int(tag>>2) + 1
			if n > 60 {
				k := n - 60 // bytes that the length takes
				if len(src) < k {
					return nil, errSnappy
				}
				n = 0
				for i := k - 1; i >= 0; i-- {
					n = n<<8 | int(src[i])
				}
				n++
				src = src[k:]
			}
			if n <= 0 || n > len(src) || n > int(want)-len(dst) {
				return nil, errSnappy
			}
			dst = append(dst, src[:n]...)
			src = src[n:]
			continue
		}
		var length, offset, k int
		switch tag & 3 {
		case 1:
			k, length = 1, int(tag>>2&7)+4
		case 2:
			k, length = 2, int(tag>>2)+1
		case 3:
			k, length = 4, int(tag>>2)+1
		}
		if len(src) < k {
			return nil, errSnappy
		}
		for i := k - 1; i >= 0; i-- {
			offset = offset<<8 | int(src[i])
		}
		if tag&3 == 1 {
			offset |= int(tag>>5) << 8
		}
		src = src[k:]
		if offset <= 0 || offset > len(dst) || length > int(want)-len(dst) {
			return nil, errSnappy
		}
		// Source and target may overlap: byte by byte is what is meant.
		for from := len(dst) - offset; length > 0; length-- {
			dst = append(dst, dst[from])
			from++
		}
	}
	if len(dst) != int(want) {
		return nil, errSnappy
	}
	return dst, nil
}
