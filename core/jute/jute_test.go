package jute

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/zkcore/zkcore/core/fuzztest"
	"github.com/zkcore/zkcore/core/zkerr"
	"pgregory.net/rapid"
)

func Example() {
	b := AppendString(nil, "/a")
	b = AppendInt(b, -1)

	d := NewDecoder(b)
	path, version := d.String(), d.Int()
	fmt.Println(path, version, d.Err())

	d = NewDecoder(b[:7])
	path, version = d.String(), d.Int()
	fmt.Println(path, version, d.Err())
	// Output:
	// /a -1 <nil>
	// /a 0 jute: record is cut short
}

func TestEncoding(t *testing.T) {
	for _, tc := range []struct {
		name string
		got  []byte
		want string
	}{
		{"byte", AppendByte(nil, 0xab), "ab"},
		{"true", AppendBool(nil, true), "01"},
		{"false", AppendBool(nil, false), "00"},
		{"int", AppendInt(nil, -2), "fffffffe"},
		{"long", AppendLong(nil, 1<<40+1), "0000010000000001"},
		{"buffer", AppendBuffer(nil, []byte{7}), "0000000107"},
		{"empty buffer", AppendBuffer(nil, []byte{}), "00000000"},
		{"null buffer", AppendBuffer(nil, nil), "ffffffff"},
		{"string", AppendString(nil, "é"), "00000002c3a9"},
		{"empty string", AppendString(nil, ""), "00000000"},
		{"null string", AppendNullString(nil), "ffffffff"},
		{"nullable string", AppendNullableString(nil, "a", false), "0000000161"},
		{"nullable string, null", AppendNullableString(nil, "a", true), "ffffffff"},
		{"strings", AppendStrings(nil, []string{"a", ""}), "00000002000000016100000000"},
		{"no strings", AppendStrings(nil, []string{}), "00000000"},
		{"null strings", AppendStrings(nil, nil), "ffffffff"},
		{"acl", AppendACLs(nil, OpenACL()), "000000010000001f00000005776f726c6400000006616e796f6e65"},
		{"read acl", AppendACLs(nil, ReadACL()), "000000010000000100000005776f726c6400000006616e796f6e65"},
		{"null acl", AppendACLs(nil, nil), "ffffffff"},
		{"ids", AppendIDs(nil, []ID{{"ip", "::1"}}), "00000001000000026970000000033a3a31"},
		{"null ids", AppendIDs(nil, nil), "ffffffff"},
	} {
		if got := fmt.Sprintf("%x", tc.got); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

// values is one of each kind.
type values struct {
	B       byte
	Bool    bool
	I       int32
	L       int64
	Buf     []byte
	S       string
	N       string
	Null    bool
	Strings []string
	ACL     []ACL
	IDs     []ID
	Tail    []byte
}

func (v *values) append(dst []byte) []byte {
	dst = AppendByte(dst, v.B)
	dst = AppendBool(dst, v.Bool)
	dst = AppendInt(dst, v.I)
	dst = AppendLong(dst, v.L)
	dst = AppendBuffer(dst, v.Buf)
	dst = AppendString(dst, v.S)
	dst = AppendNullableString(dst, v.N, v.Null)
	dst = AppendStrings(dst, v.Strings)
	dst = AppendACLs(dst, v.ACL)
	dst = AppendIDs(dst, v.IDs)
	return append(dst, v.Tail...)
}

func (v *values) decode(d *Decoder) {
	v.B = d.Byte()
	v.Bool = d.Bool()
	v.I = d.Int()
	v.L = d.Long()
	v.Buf = d.Buffer()
	v.S = d.String()
	v.N, v.Null = d.NullableString()
	v.Strings = d.Strings()
	v.ACL = d.ACLs()
	v.IDs = d.IDs()
	v.Tail = d.Rest()
}

func (v *values) read(r *Reader, tail int) {
	v.B = r.Byte()
	v.Bool = r.Bool()
	v.I = r.Int()
	v.L = r.Long()
	v.Buf = r.Buffer()
	v.S = r.String()
	v.N, v.Null = r.NullableString()
	if n := r.Count(); n >= 0 && r.Err() == nil {
		v.Strings = []string{}
		for i := 0; i < n && r.Err() == nil; i++ {
			v.Strings = append(v.Strings, r.String())
		}
	}
	v.ACL = r.ACLs()
	v.IDs = r.IDs()
	v.Tail = r.AppendBytes([]byte{}, tail)
}

func draw(t *rapid.T) *values {
	null := func(name string) bool { return rapid.Bool().Draw(t, name) }
	v := &values{
		B:    rapid.Byte().Draw(t, "byte"),
		Bool: rapid.Bool().Draw(t, "bool"),
		I:    rapid.Int32().Draw(t, "int"),
		L:    rapid.Int64().Draw(t, "long"),
		S:    rapid.String().Draw(t, "string"),
		Tail: rapid.SliceOf(rapid.Byte()).Draw(t, "tail"),
	}
	if !null("null buffer") {
		v.Buf = rapid.SliceOf(rapid.Byte()).Draw(t, "buffer")
	}
	if v.Null = null("null string"); !v.Null {
		v.N = rapid.String().Draw(t, "nullable")
	}
	if !null("null strings") {
		v.Strings = rapid.SliceOf(rapid.String()).Draw(t, "strings")
	}
	scheme := rapid.SampledFrom([]string{"world", "auth", "digest", "ip", "sasl", "x509", "super", "", "ä"})
	if !null("null acl") {
		v.ACL = rapid.SliceOf(rapid.Custom(func(t *rapid.T) ACL {
			return ACL{rapid.SampledFrom([]int32{PermRead, PermAll, -1}).Draw(t, "perms"), scheme.Draw(t, "scheme"),
				rapid.SampledFrom([]string{"anyone", "", "bob"}).Draw(t, "id")}
		})).Draw(t, "acl")
	}
	if !null("null ids") {
		v.IDs = rapid.SliceOf(rapid.Custom(func(t *rapid.T) ID {
			return ID{scheme.Draw(t, "scheme"), rapid.String().Draw(t, "id")}
		})).Draw(t, "ids")
	}
	return v
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := draw(t)
		b := v.append(nil)

		var got values
		d := NewDecoder(b)
		got.decode(&d)
		if d.Err() != nil || d.Remaining() != 0 || d.Offset() != len(b) {
			t.Fatalf("err %v, %d left, at %d of %d", d.Err(), d.Remaining(), d.Offset(), len(b))
		}
		if !reflect.DeepEqual(&got, v) {
			t.Fatalf("decoder\n got %+v\nwant %+v", got, v)
		}

		got = values{}
		r := NewReader(iotest.OneByteReader(bytes.NewReader(b)), len(b))
		got.read(r, len(v.Tail))
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		if !reflect.DeepEqual(&got, v) {
			t.Fatalf("reader\n got %+v\nwant %+v", got, v)
		}

		// Cut anywhere before the tail, both say so and neither panics.
		cut := rapid.IntRange(0, len(b)-len(v.Tail)-1).Draw(t, "cut")
		d = NewDecoder(b[:cut])
		got.decode(&d)
		if !errors.Is(d.Err(), ErrShort) {
			t.Fatalf("decoder cut to %d: %v", cut, d.Err())
		}
		r = NewReader(bytes.NewReader(b[:cut]), len(b))
		got.read(r, 0)
		if err := r.Err(); err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Fatalf("reader cut to %d: %v", cut, err)
		}
	})
}

func TestFirstErrorStays(t *testing.T) {
	d := NewDecoder([]byte{1, 2, 3, 0, 0, 0, 9, 'x'})
	if b := d.Bytes(3); string(b) != "\x01\x02\x03" {
		t.Errorf("Bytes = %x", b)
	}
	if b := d.Buffer(); b != nil {
		t.Errorf("Buffer = %x", b)
	}
	if d.Offset() != 7 || d.Remaining() != 0 || !errors.Is(d.Err(), ErrShort) {
		t.Errorf("at %d, %d left, %v", d.Offset(), d.Remaining(), d.Err())
	}
	d.Fail(io.EOF)
	if d.Byte() != 0 || d.Bool() || d.Int() != 0 || d.Long() != 0 || d.Buffer() != nil || d.String() != "" ||
		d.Strings() != nil || d.ACLs() != nil || d.IDs() != nil || d.Count(1) != 0 || d.Bytes(1) != nil || len(d.Rest()) != 0 {
		t.Error("something came out of a failed decoder")
	}
	if s, null := d.NullableString(); s != "" || null {
		t.Errorf("NullableString = %q, %v", s, null)
	}
	if d.Err() != ErrShort || d.Offset() != 7 {
		t.Errorf("%v at %d", d.Err(), d.Offset())
	}
}

func TestLengths(t *testing.T) {
	n := func(v int32, rest ...byte) []byte { return append(AppendInt(nil, v), rest...) }
	for _, tc := range []struct {
		name string
		b    []byte
		do   func(d *Decoder)
		want error
	}{
		{"buffer -2", n(-2), func(d *Decoder) { d.Buffer() }, ErrLength},
		{"buffer longer than all", n(math.MaxInt32, 1, 2), func(d *Decoder) { d.Buffer() }, ErrShort},
		{"strings -2", n(-2), func(d *Decoder) { d.Strings() }, ErrLength},
		{"more strings than bytes", n(2, 0, 0, 0, 0, 0, 0, 0), func(d *Decoder) { d.Strings() }, ErrShort},
		{"string in the list too long", n(1, 0, 0, 0, 1), func(d *Decoder) { d.Strings() }, ErrShort},
		{"acls -2", n(math.MinInt32), func(d *Decoder) { d.ACLs() }, ErrLength},
		{"more acls than bytes", n(math.MaxInt32, make([]byte, 99)...), func(d *Decoder) { d.ACLs() }, ErrShort},
		{"acl cut short", n(1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1), func(d *Decoder) { d.ACLs() }, ErrShort},
		{"ids cut short", n(1, 0, 0, 0, 0, 0, 0, 0, 1), func(d *Decoder) { d.IDs() }, ErrShort},
		{"more ids than bytes", n(2, 0, 0, 0, 0, 0, 0, 0, 0), func(d *Decoder) { d.IDs() }, ErrShort},
		{"bytes below 0", n(0), func(d *Decoder) { d.Bytes(-1) }, ErrLength},
	} {
		d := NewDecoder(tc.b)
		if tc.do(&d); d.Err() != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, d.Err(), tc.want)
		}
	}
	d := NewDecoder(n(-1))
	if c := d.Count(0); c != -1 || d.Err() != nil {
		t.Errorf("null count = %d, %v", c, d.Err())
	}
}

// The slices that come out of a decoder can be appended to without harm to the
// frame, and the shared lists without harm to each other.
func TestAppendingCopies(t *testing.T) {
	b := AppendBuffer(nil, []byte("ab"))
	b = AppendInt(b, 7)
	d := NewDecoder(b)
	_ = append(d.Buffer(), 0xff)
	if v := d.Int(); v != 7 {
		t.Errorf("the frame was written to: %d", v)
	}
	_ = append(OpenACL(), ACL{Perms: 1})
	a := NewDecoder(AppendACLs(nil, OpenACL()))
	if v := a.ACLs(); len(v) != 1 || v[0] != (ACL{PermAll, "world", "anyone"}) {
		t.Errorf("the shared list is %v", v)
	}
}

func TestReaderLimits(t *testing.T) {
	b := AppendBuffer(nil, make([]byte, 10))
	r := NewReader(bytes.NewReader(b), 9)
	if v := r.Buffer(); v != nil || r.Err() != ErrLength {
		t.Errorf("10 bytes where 9 are allowed: %v, %v", v, r.Err())
	}
	r.Fail(io.EOF)
	if r.Err() != ErrLength || r.Int() != 0 || r.Long() != 0 || r.Byte() != 0 || r.AppendBytes(nil, 1) != nil ||
		r.IDs() != nil || r.ACLs() != nil {
		t.Error("a failed reader went on")
	}
	for _, n := range []int32{-2, math.MinInt32} {
		r := NewReader(bytes.NewReader(AppendInt(nil, n)), 9)
		if r.Buffer(); r.Err() != ErrLength {
			t.Errorf("length %d: %v", n, r.Err())
		}
		r = NewReader(bytes.NewReader(AppendInt(nil, n)), 9)
		if r.Count(); r.Err() != ErrLength {
			t.Errorf("count %d: %v", n, r.Err())
		}
	}
	r = NewReader(bytes.NewReader(nil), 9)
	if r.AppendBytes(nil, -1); r.Err() != ErrLength {
		t.Errorf("AppendBytes(-1): %v", r.Err())
	}
	r = NewReader(bytes.NewReader(nil), 9)
	r.Fail(io.ErrClosedPipe)
	if r.Int(); r.Err() != io.ErrClosedPipe {
		t.Errorf("%v", r.Err())
	}
}

// A stream that ends between two values ends cleanly, inside one it does not.
func TestReaderEnd(t *testing.T) {
	b := AppendInt(AppendBuffer(nil, []byte("abc")), 1)
	for n := range b {
		r := NewReader(bytes.NewReader(b[:n]), 9)
		r.Buffer()
		r.Int()
		want := io.ErrUnexpectedEOF
		if n == 0 || n == 7 {
			want = io.EOF
		}
		if r.Err() != want {
			t.Errorf("cut to %d: %v, want %v", n, r.Err(), want)
		}
	}
	one := AppendACLs(nil, OpenACL())
	for n := 4; n < len(one); n++ {
		r := NewReader(bytes.NewReader(one[:n]), 9)
		if r.ACLs(); r.Err() != io.ErrUnexpectedEOF {
			t.Errorf("acls cut to %d: %v", n, r.Err())
		}
	}
	ids := AppendIDs(nil, []ID{{"ip", "x"}})
	for n := 4; n < len(ids); n++ {
		r := NewReader(bytes.NewReader(ids[:n]), 9)
		if r.IDs(); r.Err() != io.ErrUnexpectedEOF {
			t.Errorf("ids cut to %d: %v", n, r.Err())
		}
	}
}

// A reader allocates for what has come, not for what was claimed.
func TestReaderAllocation(t *testing.T) {
	big := bytes.Repeat([]byte{5}, 5*step+7)
	r := NewReader(bytes.NewReader(AppendBuffer(nil, big)), math.MaxInt32)
	if got := r.Buffer(); !bytes.Equal(got, big) {
		t.Fatalf("%d bytes, %v", len(got), r.Err())
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r = NewReader(bytes.NewReader(AppendInt(nil, math.MaxInt32)), math.MaxInt32)
	r.Buffer()
	runtime.ReadMemStats(&after)
	if r.Err() != io.ErrUnexpectedEOF {
		t.Errorf("got %v", r.Err())
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 4*step {
		t.Errorf("%d bytes allocated for nothing", n)
	}
}

func TestReaderReusesMemory(t *testing.T) {
	buf := make([]byte, 0, 100)
	r := NewReader(bytes.NewReader(AppendBuffer(nil, []byte("abc"))), 9)
	if got := r.AppendBuffer(buf); string(got) != "abc" || &got[0] != &buf[:1][0] {
		t.Errorf("%q in other memory", got)
	}
}

func TestErrorsCarryTheCode(t *testing.T) {
	for _, err := range []error{ErrShort, ErrLength, fmt.Errorf("create: %w", ErrShort)} {
		if zkerr.CodeOf(err) != zkerr.MarshallingError || !errors.Is(err, zkerr.MarshallingError) {
			t.Errorf("%v is not a marshalling error", err)
		}
		if errors.Is(err, zkerr.NoNode) {
			t.Errorf("%v is NoNode", err)
		}
	}
	if errors.Is(ErrShort, ErrLength) || !errors.Is(ErrShort, ErrShort) || errors.Is(ErrShort, io.EOF) {
		t.Error("ErrShort is what it is not, or is not what it is")
	}
	if ErrShort.Error() == ErrLength.Error() {
		t.Error("the errors read the same")
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add([]byte{})
	v := values{B: 1, Bool: true, I: -1, L: 1 << 40, Buf: []byte{}, S: "/a", Strings: []string{"x", ""},
		ACL: []ACL{{PermAll, "digest", "bob:x"}}, IDs: []ID{{"ip", "::1"}}, Tail: []byte{1}}
	f.Add(v.append(nil))
	v.ACL, v.IDs, v.Null = ReadACL(), nil, true
	f.Add(v.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var x, y values
		var d Decoder
		fuzztest.Check(t, len(b), func() {
			d, x = NewDecoder(b), values{}
			x.decode(&d)
		})
		r := NewReader(bytes.NewReader(b), math.MaxInt32)
		y.read(r, len(x.Tail))
		if (d.Err() == nil) != (r.Err() == nil) {
			t.Fatalf("decoder %v, reader %v", d.Err(), r.Err())
		}
		if d.Err() == nil && !reflect.DeepEqual(x, y) {
			t.Fatalf("decoder %+v\nreader %+v", x, y)
		}
		if d.Err() != nil {
			return
		}
		var again values
		e := NewDecoder(x.append(nil))
		if again.decode(&e); e.Err() != nil || !reflect.DeepEqual(x, again) {
			t.Fatalf("%+v\nagain %+v, %v", x, again, e.Err())
		}
	})
}

// FuzzACLs decodes lists of ACLs and of identities, from a slice and from a stream.
func FuzzACLs(f *testing.F) {
	f.Add(AppendACLs(nil, OpenACL()))
	f.Add(AppendACLs(nil, ReadACL()))
	f.Add(AppendACLs(nil, nil))
	f.Add(AppendACLs(nil, []ACL{{PermAll, "digest", "bob:x"}, {-1, "ip", "10.0.0.0/8"}, {0, "", ""}, {1, "\xff", "\x00"}}))
	f.Add(AppendInt(nil, math.MaxInt32))
	f.Add(AppendInt(nil, math.MinInt32))
	f.Add(append(AppendInt(nil, 2), make([]byte, 24)...))
	f.Add(append(AppendInt(nil, 1), "\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var acls []ACL
		var ids []ID
		var d, e Decoder
		fuzztest.Check(t, len(b), func() { d = NewDecoder(b); acls = d.ACLs() })
		fuzztest.Check(t, len(b), func() { e = NewDecoder(b); ids = e.IDs() })
		if d.Err() == nil {
			again := NewDecoder(AppendACLs(nil, acls))
			if got := again.ACLs(); again.Err() != nil || !reflect.DeepEqual(got, acls) {
				t.Fatalf("%+v\n%+v, %v", acls, got, again.Err())
			}
			r := NewReader(bytes.NewReader(b), len(b))
			if got := r.ACLs(); r.Err() != nil || !reflect.DeepEqual(got, acls) {
				t.Fatalf("%+v\nfrom a stream %+v, %v", acls, got, r.Err())
			}
		}
		if e.Err() == nil {
			again := NewDecoder(AppendIDs(nil, ids))
			if got := again.IDs(); again.Err() != nil || !reflect.DeepEqual(got, ids) {
				t.Fatalf("%+v\n%+v, %v", ids, got, again.Err())
			}
			r := NewReader(bytes.NewReader(b), len(b))
			if got := r.IDs(); r.Err() != nil || !reflect.DeepEqual(got, ids) {
				t.Fatalf("%+v\nfrom a stream %+v, %v", ids, got, r.Err())
			}
		}
	})
}

// The lists whose elements take the least on the wire are those that cost most.
func TestMemoryOfLists(t *testing.T) {
	const n = 1 << 16
	for name, b := range map[string][]byte{
		"strings":                append(AppendInt(nil, n), make([]byte, 4*n)...),
		"acls":                   append(AppendInt(nil, n), make([]byte, 12*n)...),
		"ids":                    append(AppendInt(nil, n), make([]byte, 8*n)...),
		"strings of two bytes":   append(AppendInt(nil, n), bytes.Repeat([]byte("\x00\x00\x00\x02ab"), n)...),
		"a list that breaks off": append(append(AppendInt(nil, n), make([]byte, 8*n)...), bytes.Repeat([]byte{0xfe}, 8*n)...),
	} {
		t.Run(name, func(t *testing.T) {
			fuzztest.Check(t, len(b), func() { d := NewDecoder(b); d.Strings() })
			fuzztest.Check(t, len(b), func() { d := NewDecoder(b); d.ACLs() })
			fuzztest.Check(t, len(b), func() { d := NewDecoder(b); d.IDs() })
		})
	}
}

func BenchmarkDecoder(b *testing.B) {
	buf := AppendString(nil, "/bench/node-0000000042")
	buf = AppendBuffer(buf, make([]byte, 100))
	buf = AppendACLs(buf, OpenACL())
	buf = AppendInt(buf, 0)
	b.ReportAllocs()
	for b.Loop() {
		d := NewDecoder(buf)
		d.StringBytes()
		d.Buffer()
		d.ACLs()
		d.Int()
		if d.Err() != nil {
			b.Fatal(d.Err())
		}
	}
}
