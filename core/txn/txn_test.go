package txn

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"pgregory.net/rapid"
)

// A vector is a txn as Apache wrote it, and what is in it.
type vector struct {
	From   string
	Hex    string
	Header any
	Txn    any
	Digest any
}

func vectors(t testing.TB) []vector {
	f, err := os.Open("testdata/txns.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var vs []vector
	for s := bufio.NewScanner(f); s.Scan(); {
		var v vector
		d := json.NewDecoder(bytes.NewReader(s.Bytes()))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		vs = append(vs, v)
	}
	if len(vs) < 100 {
		t.Fatalf("only %d vectors", len(vs))
	}
	return vs
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// describe says what is in a record in the words of the vectors.
func describe(typ int32, b *Body, subs []Sub) any {
	data := func() any {
		if b.Data == nil {
			return nil
		}
		return hex.EncodeToString(b.Data)
	}
	acl := func() any {
		if b.ACL == nil {
			return nil
		}
		l := []any{}
		for _, a := range b.ACL {
			l = append(l, map[string]any{"perms": a.Perms, "id": map[string]any{"scheme": a.Scheme, "id": a.ID}})
		}
		return l
	}
	switch typ {
	case TypeCreate, TypeCreate2:
		m := map[string]any{"path": b.Path, "data": data(), "acl": acl(), "ephemeral": b.Ephemeral}
		if b.NoParentCVersion {
			m["v0"] = true
		} else {
			m["parentCVersion"] = b.ParentCVersion
		}
		return m
	case TypeCreateContainer:
		return map[string]any{"path": b.Path, "data": data(), "acl": acl(), "parentCVersion": b.ParentCVersion}
	case TypeCreateTTL:
		return map[string]any{"path": b.Path, "data": data(), "acl": acl(), "parentCVersion": b.ParentCVersion, "ttl": b.TTL}
	case TypeDelete, TypeDeleteContainer:
		return map[string]any{"path": b.Path}
	case TypeSetData, TypeReconfig:
		return map[string]any{"path": b.Path, "data": data(), "version": b.Version}
	case TypeSetACL:
		return map[string]any{"path": b.Path, "acl": acl(), "version": b.Version}
	case TypeCheck:
		return map[string]any{"path": b.Path, "version": b.Version}
	case TypeError:
		return map[string]any{"err": b.Err}
	case TypeCreateSession:
		return map[string]any{"timeOut": b.TimeoutMS}
	case TypeCloseSession:
		if b.NoPaths {
			return nil
		}
		return map[string]any{"paths2Delete": b.Paths}
	case TypeMulti:
		l := []any{}
		for i := range subs {
			s := &subs[i]
			l = append(l, map[string]any{"type": s.Type, "name": TypeName(s.Type), "txn": describe(s.Type, &s.Body, nil)})
		}
		return map[string]any{"txns": l}
	}
	return fmt.Sprintf("type %d", typ)
}

// normal is v as it looks after a trip through JSON.
func normal(t *testing.T, v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var out any
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestApacheTxns(t *testing.T) {
	types := map[int32]bool{}
	for i, v := range vectors(t) {
		b := unhex(t, v.Hex)
		var x Txn
		if err := Decode(b, &x); err != nil {
			t.Errorf("%d, %s: %v", i, v.From, err)
			continue
		}
		h := x.Header
		types[h.Type] = true
		header := normal(t, map[string]any{
			"clientId": fmt.Sprintf("%#x", uint64(h.ClientID)),
			"cxid":     h.Cxid,
			"zxid":     fmt.Sprintf("%#x", uint64(h.Zxid)),
			"time":     h.Time,
			"type":     h.Type,
			"name":     TypeName(h.Type),
		})
		if !reflect.DeepEqual(header, v.Header) {
			t.Errorf("%d, %s: header\n got %v\nwant %v", i, v.From, header, v.Header)
		}
		rec := normal(t, describe(h.Type, &x.Body, x.Subs))
		if !reflect.DeepEqual(rec, v.Txn) {
			t.Errorf("%d, %s: record\n got %v\nwant %v", i, v.From, rec, v.Txn)
		}
		var digest any
		if x.HasDigest {
			digest = normal(t, map[string]any{"version": x.Digest.Version, "treeDigest": x.Digest.Tree})
		}
		if !reflect.DeepEqual(digest, v.Digest) {
			t.Errorf("%d, %s: digest\n got %v\nwant %v", i, v.From, digest, v.Digest)
		}
		if got := Append(nil, &x); !bytes.Equal(got, b) {
			t.Errorf("%d, %s: encoded again\n got %x\nwant %x", i, v.From, got, b)
		}
		if got, err := DecodeHeader(b); err != nil || got != h {
			t.Errorf("%d, %s: DecodeHeader = %v, %v", i, v.From, got, err)
		}
	}
	for _, typ := range []int32{TypeCreate, TypeDelete, TypeSetData, TypeSetACL, TypeMulti, TypeCreate2, TypeReconfig,
		TypeCreateContainer, TypeCreateTTL, TypeError, TypeCreateSession, TypeCloseSession} {
		if !types[typ] {
			t.Errorf("no vector of type %s", TypeName(typ))
		}
	}
}

// A record cut anywhere is short, unless what is left is a whole txn of an older
// form.
func TestCutShort(t *testing.T) {
	for i, v := range vectors(t) {
		b := unhex(t, v.Hex)
		for n := range b {
			var x Txn
			err := Decode(b[:n:n], &x)
			if err != nil {
				if !errors.Is(err, jute.ErrShort) {
					t.Fatalf("%d cut to %d: %v", i, n, err)
				}
				continue
			}
			whole := len(b)
			if x.Header.Type != TypeError && v.Digest != nil {
				whole -= DigestSize
			}
			switch {
			case n >= whole:
			case x.NoParentCVersion && n >= whole-4:
			case x.NoPaths && n == HeaderSize:
			default:
				t.Fatalf("%d, type %s of %d bytes, decodes from %d", i, TypeName(x.Header.Type), len(b), n)
			}
		}
	}
}

func TestTrailingBytesAreIgnored(t *testing.T) {
	x := Txn{Header: Header{Zxid: 5, Type: TypeDelete}, Body: Body{Path: "/a"}}
	b := Append(nil, &x)
	var got Txn
	if err := Decode(append(bytes.Clone(b), 1, 2, 3), &got); err != nil || got.HasDigest || got.Path != "/a" {
		t.Errorf("three bytes behind: %+v, %v", got, err)
	}
	x.HasDigest, x.Digest = true, Digest{DigestVersion, 1 << 63}
	b = Append(nil, &x)
	if err := Decode(append(b, 1, 2, 3), &got); err != nil || got.Digest != x.Digest {
		t.Errorf("three bytes behind the digest: %+v, %v", got, err)
	}
}

func TestRefused(t *testing.T) {
	head := func(typ int32, rest ...byte) []byte {
		return append(AppendHeader(nil, &Header{Type: typ}), rest...)
	}
	for _, tc := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, jute.ErrShort},
		{"unknown type", head(99), UnknownTypeError(99)},
		{"bare check", head(TypeCheck, 0, 0, 0, 1, '/', 0, 0, 0, 0), UnknownTypeError(TypeCheck)},
		{"negative length", head(TypeDelete, 0xff, 0xff, 0xff, 0xfe), jute.ErrLength},
		{"length past the end", head(TypeDelete, 0x7f, 0xff, 0xff, 0xff, '/'), jute.ErrShort},
		{"more parts than bytes", head(TypeMulti, 0x7f, 0xff, 0xff, 0xff), jute.ErrShort},
		{"part cut short", head(TypeMulti, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0), jute.ErrShort},
		{"part without record", head(TypeMulti, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff), jute.ErrShort},
		{"more paths than bytes", head(TypeCloseSession, 0, 0, 0, 2, 0, 0, 0, 1, '/'), jute.ErrShort},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var x Txn
			if err := Decode(tc.b, &x); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestUnknownTypeError(t *testing.T) {
	for typ, want := range map[int32]string{
		99:        "txn: unknown type 99",
		TypeCheck: "txn: type 13 (check) can't stand alone",
	} {
		if got := UnknownTypeError(typ).Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := TypeName(99); got != "type 99" {
		t.Errorf("TypeName = %q", got)
	}
	if got := UnknownTypeError(99).ZKCode(); got != -5 {
		t.Errorf("ZKCode = %d", got)
	}
}

// What can't be logged must not be: the log could never be read again.
func TestAppendPanics(t *testing.T) {
	for _, typ := range []int32{TypeCheck, 99} {
		func() {
			defer func() {
				if r := recover(); r != UnknownTypeError(typ) {
					t.Errorf("type %d: recovered %v", typ, r)
				}
			}()
			Append(nil, &Txn{Header: Header{Type: typ}})
		}()
	}
}

// A part of a type that Apache does not apply keeps its bytes.
func TestForeignPart(t *testing.T) {
	x := Txn{
		Header: Header{Type: TypeMulti},
		Subs: []Sub{
			{Type: TypeDelete, Body: Body{Path: "/a"}},
			{Type: TypeSetACL, Raw: []byte{1, 2, 3}},
			{Type: 99, Raw: nil},
		},
	}
	b := Append(nil, &x)
	var got Txn
	if err := Decode(b, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, x) {
		t.Errorf("got %+v", got)
	}
	if got.Failed() {
		t.Error("it failed without an error part")
	}
	got.Subs[1] = Sub{Type: TypeError, Body: Body{Err: -101}}
	if !got.Failed() {
		t.Error("it has an error part and did not fail")
	}
}

func TestNullParts(t *testing.T) {
	x := Txn{Header: Header{Type: TypeMulti}}
	var got Txn
	if err := Decode(Append(nil, &x), &got); err != nil || got.Subs != nil {
		t.Errorf("null multi: %+v, %v", got, err)
	}
}

func drawBytes(t *rapid.T, name string) []byte {
	if rapid.Bool().Draw(t, name+" is null") {
		return nil
	}
	return rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, name)
}

func drawACL(t *rapid.T) []ACL {
	switch rapid.IntRange(0, 4).Draw(t, "acl") {
	case 0:
		return nil
	case 1:
		return []ACL{}
	case 2:
		return jute.OpenACL()
	case 3:
		return jute.ReadACL()
	}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) ACL {
		return ACL{
			Perms:  rapid.Int32().Draw(t, "perms"),
			Scheme: rapid.SampledFrom([]string{"world", "auth", "digest", "ip", "sasl", "x509", "super", "", "own"}).Draw(t, "scheme"),
			ID:     rapid.String().Draw(t, "id"),
		}
	}), 1, 4).Draw(t, "acls")
}

func drawBody(t *rapid.T, typ int32) (b Body) {
	path := func() string { return rapid.String().Draw(t, "path") }
	i32 := func(name string) int32 { return rapid.Int32().Draw(t, name) }
	switch typ {
	case TypeCreate, TypeCreate2, TypeCreateContainer, TypeCreateTTL:
		b = Body{Path: path(), Data: drawBytes(t, "data"), ACL: drawACL(t), ParentCVersion: i32("pcv")}
		switch typ {
		case TypeCreateTTL:
			b.TTL = rapid.Int64().Draw(t, "ttl")
		case TypeCreate, TypeCreate2:
			b.Ephemeral = rapid.Bool().Draw(t, "ephemeral")
		}
	case TypeDelete, TypeDeleteContainer:
		b.Path = path()
	case TypeSetData, TypeReconfig:
		b = Body{Path: path(), Data: drawBytes(t, "data"), Version: i32("version")}
	case TypeSetACL:
		b = Body{Path: path(), ACL: drawACL(t), Version: i32("version")}
	case TypeCheck:
		b = Body{Path: path(), Version: i32("version")}
	case TypeError:
		b.Err = i32("err")
	case TypeCreateSession:
		b.TimeoutMS = i32("timeout")
	case TypeCloseSession:
		if rapid.Bool().Draw(t, "list") {
			b.Paths = rapid.SliceOfN(rapid.String(), 0, 5).Draw(t, "paths")
		}
	}
	return b
}

func drawTxn(t *rapid.T) (x Txn) {
	x.Header = Header{
		ClientID: rapid.Int64().Draw(t, "client"),
		Cxid:     rapid.Int32().Draw(t, "cxid"),
		Zxid:     rapid.Int64().Draw(t, "zxid"),
		Time:     rapid.Int64().Draw(t, "time"),
		Type: rapid.SampledFrom([]int32{TypeError, TypeCreate, TypeDelete, TypeSetData, TypeSetACL, TypeMulti, TypeCreate2,
			TypeReconfig, TypeCreateContainer, TypeDeleteContainer, TypeCreateTTL, TypeCreateSession, TypeCloseSession}).Draw(t, "type"),
	}
	x.Body = drawBody(t, x.Header.Type)
	if x.Header.Type == TypeMulti {
		x.Subs = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Sub {
			typ := rapid.SampledFrom([]int32{TypeCreate, TypeCreate2, TypeDelete, TypeSetData, TypeCheck, TypeCreateContainer,
				TypeDeleteContainer, TypeCreateTTL, TypeError, TypeSetACL}).Draw(t, "part")
			if typ == TypeSetACL {
				return Sub{Type: typ, Raw: drawBytes(t, "raw")}
			}
			return Sub{Type: typ, Body: drawBody(t, typ)}
		}), 0, 5).Draw(t, "parts")
	}
	if x.HasDigest = rapid.Bool().Draw(t, "digest"); x.HasDigest {
		x.Digest = Digest{rapid.Int32().Draw(t, "digest version"), rapid.Uint64().Draw(t, "tree")}
	}
	return x
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := drawTxn(t)
		b := Append([]byte("before"), &x)
		var got Txn
		if err := Decode(b[len("before"):], &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, x) {
			t.Fatalf("got %+v\nwant %+v", got, x)
		}
	})
}

// Whatever a multi claims, what is allocated for it stays in proportion.
func TestAllocationIsBounded(t *testing.T) {
	b := AppendHeader(nil, &Header{Type: TypeMulti})
	b = jute.AppendCount(b, 1<<20/minSub)
	b = append(b, make([]byte, 1<<20)...)  // parts of type 0 without a record
	b = b[:len(b)-minSub*(1<<20/minSub-8)] // the first eight of them
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var x Txn
	err := Decode(b, &x)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, jute.ErrShort) {
		t.Errorf("got %v", err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<10 {
		t.Errorf("%d bytes allocated for a claim that does not hold", got)
	}
}

func hot() (create, set Txn) {
	create = Txn{
		Header:    Header{ClientID: 0x1000029d7de0000, Cxid: 7, Zxid: 0x100000009, Time: 1795401765191, Type: TypeCreate},
		Body:      Body{Path: "/bench/node-0000000042", Data: make([]byte, 100), ACL: jute.OpenACL(), ParentCVersion: 43},
		HasDigest: true,
		Digest:    Digest{DigestVersion, 14616425389},
	}
	set = create
	set.Header.Type = TypeSetData
	set.Body = Body{Path: create.Path, Data: create.Data, Version: 3}
	return create, set
}

// The path is all that a hot txn may cost.
func TestAllocs(t *testing.T) {
	create, set := hot()
	for _, x := range []Txn{create, set} {
		b := Append(nil, &x)
		var y Txn
		if n := testing.AllocsPerRun(100, func() { _ = Decode(b, &y) }); n > 1 {
			t.Errorf("decoding %s: %v allocations", TypeName(x.Header.Type), n)
		}
		if n := testing.AllocsPerRun(100, func() { b = Append(b[:0], &x) }); n > 0 {
			t.Errorf("encoding %s: %v allocations", TypeName(x.Header.Type), n)
		}
	}
}

func BenchmarkTxn(b *testing.B) {
	create, set := hot()
	for _, x := range []Txn{create, set} {
		buf := Append(nil, &x)
		name := TypeName(x.Header.Type)
		b.Run("decode/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(buf)))
			var y Txn
			for b.Loop() {
				if err := Decode(buf, &y); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("encode/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				buf = Append(buf[:0], &x)
			}
		})
	}
}
