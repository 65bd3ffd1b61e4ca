package jute

import (
	"encoding/binary"
	"io"
)

// step is how much a Reader allocates ahead of the bytes that arrive.
const step = 64 << 10

// A Reader reads values from a stream. It keeps its first error; from then on
// every method returns a zero value. It reads no byte more than the value that
// was asked for, and makes two small reads a value: hand it a bufio.Reader.
//
// The error is io.EOF when the stream ends before the first byte of a value,
// and io.ErrUnexpectedEOF when it ends inside one.
type Reader struct {
	r   io.Reader
	max int
	err error
	buf [8]byte
}

// NewReader makes a reader that refuses buffers and strings longer than maxLen.
func NewReader(r io.Reader, maxLen int) *Reader { return &Reader{r: r, max: maxLen} }

// Err returns the first error, nil if there was none.
func (r *Reader) Err() error { return r.err }

// Fail makes err the reader's error unless it has one already.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *Reader) fill(n int) bool {
	if r.err != nil {
		return false
	}
	_, r.err = io.ReadFull(r.r, r.buf[:n])
	return r.err == nil
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if !r.fill(1) {
		return 0
	}
	return r.buf[0]
}

// Bool reads a boolean: any byte but 0 is true.
func (r *Reader) Bool() bool { return r.Byte() != 0 }

// Int reads an int.
func (r *Reader) Int() int32 {
	if !r.fill(4) {
		return 0
	}
	return int32(binary.BigEndian.Uint32(r.buf[:]))
}

// Long reads a long.
func (r *Reader) Long() int64 {
	if !r.fill(8) {
		return 0
	}
	return int64(binary.BigEndian.Uint64(r.buf[:]))
}

// Buffer reads a buffer into memory of its own: nil for null.
func (r *Reader) Buffer() []byte { return r.AppendBuffer(nil) }

// AppendBuffer reads a buffer behind what dst holds, so that memory can be used
// again. It returns nil for null, and what it returns is not nil otherwise.
func (r *Reader) AppendBuffer(dst []byte) []byte {
	n := r.length()
	if n < 0 {
		return nil
	}
	return r.AppendBytes(dst, n)
}

// AppendBytes reads exactly n bytes behind what dst holds.
func (r *Reader) AppendBytes(dst []byte, n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 {
		r.err = ErrLength
		return nil
	}
	if dst == nil {
		dst = make([]byte, 0, min(n, step))
	}
	for n > 0 {
		at, chunk := len(dst), min(n, max(step, cap(dst)-len(dst)))
		if cap(dst)-at < chunk {
			// Twice what has arrived, not what is claimed.
			grown := make([]byte, at, at+min(n, max(at, step)))
			copy(grown, dst)
			dst, chunk = grown, min(n, cap(grown)-at)
		}
		dst = dst[:at+chunk]
		if _, err := io.ReadFull(r.r, dst[at:]); err != nil {
			r.err = inside(err)
			return nil
		}
		n -= chunk
	}
	return dst
}

// length reads the length of a buffer: -1 for null and after an error.
func (r *Reader) length() int {
	n := r.Int()
	switch {
	case r.err != nil, n == -1:
		return -1
	case n < 0, int(n) > r.max:
		r.err = ErrLength
		return -1
	}
	return int(n)
}

// String reads a string; null reads as "".
func (r *Reader) String() string { return string(r.Buffer()) }

// NullableString reads a string and says whether it was null.
func (r *Reader) NullableString() (s string, null bool) {
	b := r.Buffer()
	return string(b), b == nil && r.err == nil
}

// Count reads the count of a vector: -1 for null, 0 after an error. How many
// elements there are is only known when they have come: don't allocate for it.
func (r *Reader) Count() int {
	n := r.Int()
	if n < -1 {
		r.Fail(ErrLength)
		return 0
	}
	return int(n)
}

// IDs reads a vector of identities: nil for null.
func (r *Reader) IDs() []ID {
	n := r.Count()
	if n < 0 || r.err != nil {
		return nil
	}
	v := []ID{}
	for range n {
		id := ID{Scheme: r.String(), ID: r.String()}
		if r.err != nil {
			r.err = inside(r.err)
			return nil
		}
		v = append(v, id)
	}
	return v
}

// ACLs reads a vector of ACLs: nil for null.
func (r *Reader) ACLs() []ACL {
	n := r.Count()
	if n < 0 || r.err != nil {
		return nil
	}
	v := []ACL{}
	for range n {
		a := ACL{Perms: r.Int(), Scheme: r.String(), ID: r.String()}
		if r.err != nil {
			r.err = inside(r.err)
			return nil
		}
		v = append(v, a)
	}
	return v
}

// inside is err as it looks from within a value that has begun.
func inside(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
