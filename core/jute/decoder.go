package jute

import "encoding/binary"

// A Decoder reads values from a slice. It keeps its first error; from then on
// every method returns a zero value. What it returns as []byte aliases the
// slice it was made from.
type Decoder struct {
	b    []byte // what is left
	size int    // what there was
	err  error
}

// NewDecoder makes a decoder over b, which must not change while the decoder,
// or any slice that came out of it, is in use.
func NewDecoder(b []byte) Decoder { return Decoder{b: b, size: len(b)} }

// Err returns the first error, nil if there was none.
func (d *Decoder) Err() error { return d.err }

// Fail makes err the decoder's error unless it has one already. It is how a
// record refuses a value that is well formed but makes no sense.
func (d *Decoder) Fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.size -= len(d.b) // Offset stays where the error was found
	d.b = nil
}

// Remaining returns the number of bytes left, 0 after an error.
func (d *Decoder) Remaining() int { return len(d.b) }

// Offset returns how many bytes were consumed.
func (d *Decoder) Offset() int { return d.size - len(d.b) }

// Rest consumes and returns all that is left.
func (d *Decoder) Rest() []byte {
	b := d.b
	d.b = nil
	return b
}

// Byte reads one byte.
func (d *Decoder) Byte() byte {
	if len(d.b) < 1 {
		d.Fail(ErrShort)
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

// Bool reads a boolean: any byte but 0 is true.
func (d *Decoder) Bool() bool { return d.Byte() != 0 }

// Int reads an int.
func (d *Decoder) Int() int32 {
	if len(d.b) < 4 {
		d.Fail(ErrShort)
		return 0
	}
	v := binary.BigEndian.Uint32(d.b)
	d.b = d.b[4:]
	return int32(v)
}

// Long reads a long.
func (d *Decoder) Long() int64 {
	if len(d.b) < 8 {
		d.Fail(ErrShort)
		return 0
	}
	v := binary.BigEndian.Uint64(d.b)
	d.b = d.b[8:]
	return int64(v)
}

// Bytes reads exactly n bytes without a length before them.
func (d *Decoder) Bytes(n int) []byte {
	if n < 0 {
		d.Fail(ErrLength)
		return nil
	}
	if len(d.b) < n {
		d.Fail(ErrShort)
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

// Buffer reads a buffer: nil for null, not nil for an empty one. The result
// aliases the input; appending to it copies.
func (d *Decoder) Buffer() []byte {
	n := d.Int()
	if n < 0 {
		if n != -1 {
			d.Fail(ErrLength)
		}
		return nil
	}
	if d.err != nil {
		return nil
	}
	return d.Bytes(int(n))
}

// StringBytes reads a string without copying it; null says that it was null.
func (d *Decoder) StringBytes() (b []byte, null bool) {
	b = d.Buffer()
	return b, b == nil && d.err == nil
}

// String reads a string; null reads as "".
func (d *Decoder) String() string { return string(d.Buffer()) }

// NullableString reads a string and says whether it was null.
func (d *Decoder) NullableString() (s string, null bool) {
	b, null := d.StringBytes()
	return string(b), null
}

// Count reads the count of a vector whose elements take at least minElem bytes
// each. It returns -1 for a null vector, and fails when the bytes left can't
// hold that many elements.
func (d *Decoder) Count(minElem int) int {
	n := d.Int()
	switch {
	case n == -1:
		return -1
	case n < 0:
		d.Fail(ErrLength)
		return 0
	case int(n) > len(d.b)/max(minElem, 1):
		d.Fail(ErrShort)
		return 0
	}
	return int(n)
}

// few elements get their memory at once.
const few = 64

// holds says whether n elements follow, of so many ints and buffers each, and fails
// if they don't. An element of a list takes up to four times in memory what it takes
// on the wire, and growing a list leaves as much behind again: so a long one is walked
// through before it gets its memory, which then is exactly what it needs.
func (d *Decoder) holds(n, ints, buffers int) bool {
	if n <= few {
		return true
	}
	walk := *d
	for range n {
		walk.Bytes(4 * ints)
		for range buffers {
			walk.Buffer()
		}
		if walk.err != nil {
			*d = walk
			return false
		}
	}
	return true
}

// Strings reads a vector of strings: nil for null. A null element reads as "".
func (d *Decoder) Strings() []string {
	v, _ := d.NullableStrings()
	return v
}

// NullableStrings reads a vector of strings and says whether one of them was null.
func (d *Decoder) NullableStrings() (v []string, null bool) {
	n := d.Count(4)
	if n < 0 || d.err != nil || !d.holds(n, 0, 1) {
		return nil, false
	}
	v = make([]string, 0, n)
	for range n {
		s, none := d.NullableString()
		if d.err != nil {
			return nil, false
		}
		v, null = append(v, s), null || none
	}
	return v, null
}
