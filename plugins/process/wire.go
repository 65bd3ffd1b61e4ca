package process

import (
	"encoding/binary"
	"errors"
)

// errGarbage is what a decoder says of bytes that no module of ours sends.
var errGarbage = errors.New("what it sent can't be decoded")

// A reader takes a message of ours apart. After the first thing that is not there, nothing
// is there any more: bad is looked at once, in the end. What it hands out is a piece of the
// message, not a copy.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() {
	r.b, r.bad = nil, true
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int32() int32 {
	v := r.int()
	if v != int64(int32(v)) {
		r.fail()
	}
	return int32(v)
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// optional is bytes that may be nil, which is told apart from empty.
func (r *reader) optional() []byte {
	n := r.uint()
	if n == 0 {
		return nil
	}
	if n--; n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) string() string { return string(r.bytes()) }

// count reads how many things follow, each of which takes at least min bytes: no more are
// promised than there can be.
func (r *reader) count(min int) int {
	n := r.uint()
	if n > uint64(len(r.b)/min) {
		r.fail()
		return 0
	}
	return int(n)
}

// err is errGarbage if anything was missing, or is left.
func (r *reader) err() error {
	if r.bad || len(r.b) > 0 {
		return errGarbage
	}
	return nil
}

func appendBytes[T []byte | string](dst []byte, b T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

func appendOptional(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(b))+1)
	return append(dst, b...)
}
