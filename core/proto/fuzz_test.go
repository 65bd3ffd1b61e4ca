package proto

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/zkcore/zkcore/core/fuzztest"
	"github.com/zkcore/zkcore/core/jute"
)

// multis is the limit for lists of operations and of results: an operation takes 88
// bytes and can come in 14, a result takes 176 and can come in 9.
var (
	multis       = fuzztest.Limit{Factor: 8, Constant: fuzztest.Rule.Constant}
	multiResults = fuzztest.Limit{Factor: 64, Constant: fuzztest.Rule.Constant}
)

func limitOf(r Record) fuzztest.Limit {
	switch r.(type) {
	case *MultiRequest:
		return multis
	case *MultiResponse:
		return multiResults
	}
	return fuzztest.Rule
}

// fuzzRecord checks that what decodes can be encoded, that this decodes to the same,
// and that neither takes more memory than it should.
func fuzzRecord(t *testing.T, fresh func() Record, b []byte) {
	t.Helper()
	var r Record
	var err error
	limitOf(fresh()).Check(t, len(b), func() {
		r = fresh()
		err = Unmarshal(b, r)
	})
	if err != nil {
		return
	}
	enc := r.Append(nil)
	again := fresh()
	if err := Unmarshal(enc, again); err != nil {
		t.Fatalf("%T %x: %v", r, enc, err)
	}
	if !reflect.DeepEqual(r, again) {
		t.Fatalf("%T\n%+v\n%+v", r, r, again)
	}
	if twice := again.Append(nil); !bytes.Equal(enc, twice) {
		t.Fatalf("%T\n%x\n%x", r, enc, twice)
	}
}

func as[T any, P interface {
	*T
	Record
}]() func() Record {
	return func() Record { return P(new(T)) }
}

// nasty are bytes in which a record of any kind finds lengths that lie.
var nasty = [][]byte{
	{},
	{0xff},
	bytes.Repeat([]byte{0xff}, 40),
	bytes.Repeat([]byte{0x7f, 0xff, 0xff, 0xff}, 10),
	bytes.Repeat([]byte{0x80, 0, 0, 0}, 10),
	make([]byte, 64),
	[]byte("\x00\x00\x00\x02/a\x7f\xff\xff\xff"),
	[]byte("\x00\x00\x00\x02/a\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"),
	[]byte("\x00\x00\x00\x02/a\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x1f\x00\x00\x00\x05world\x00\x00\x00\x06anyone"),
}

func FuzzDecodeRequest(f *testing.F) {
	for _, x := range readLines[exchange](f, exchanges("3.9.5")) {
		for _, fr := range frames(unhex(f, x.ReqHex)) {
			d := jute.NewDecoder(fr)
			var h RequestHeader
			if h.Decode(&d); d.Err() == nil {
				f.Add(int32(h.Op), d.Rest())
			}
		}
	}
	for _, op := range ops() {
		for _, b := range nasty {
			f.Add(int32(op), b)
		}
	}
	f.Fuzz(func(t *testing.T, op int32, b []byte) {
		fuzzRecord(t, as[RequestHeader](), b)
		if NewRequest(Op(op)) == nil {
			return
		}
		fuzzRecord(t, func() Record { return NewRequest(Op(op)) }, b)
		if err := CheckRequest(Op(op), b); (err == nil) != (Unmarshal(b, NewRequest(Op(op))) == nil) {
			t.Fatalf("%v: checked %v", Op(op), err)
		}
	})
}

func FuzzConnectRequest(f *testing.F) {
	for _, x := range readLines[exchange](f, exchanges("3.9.5")) {
		for _, fr := range frames(unhex(f, x.ReqHex)) {
			if len(fr) >= 28 && len(fr) <= 50 {
				f.Add(fr)
			}
		}
	}
	for _, b := range nasty {
		f.Add(b)
	}
	full := (&ConnectRequest{LastZxidSeen: 1 << 40, TimeoutMS: -1, SessionID: -1, Passwd: make([]byte, 16), ReadOnly: true, HasReadOnly: true}).Append(nil)
	f.Add(full)
	f.Add(full[:len(full)-1])
	f.Add(append(full, 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzRecord(t, as[ConnectRequest](), b)
	})
}

func FuzzMulti(f *testing.F) {
	for _, x := range readLines[exchange](f, exchanges("3.9.5")) {
		for _, fr := range frames(unhex(f, x.ReqHex)) {
			d := jute.NewDecoder(fr)
			var h RequestHeader
			if h.Decode(&d); d.Err() == nil && (h.Op == OpMulti || h.Op == OpMultiRead) {
				f.Add(h.Op == OpMultiRead, d.Rest())
			}
		}
	}
	var all MultiRequest
	for range 3 {
		all.Ops = append(all.Ops,
			MultiOp{Op: OpCreate, Path: "/a", Data: []byte("x"), ACL: jute.OpenACL(), Flags: 1},
			MultiOp{Op: OpCreateContainer, Path: "/c", ACL: jute.ReadACL(), Flags: 4},
			MultiOp{Op: OpCreateTTL, Path: "/t", ACL: []ACL{{Perms: 1, Scheme: "ip", ID: "::1"}}, Flags: 5, TTL: 1 << 39},
			MultiOp{Op: OpSetData, Path: "/a", Version: -1}, MultiOp{Op: OpCheck, Path: "/a", Version: 1 << 30}, MultiOp{Op: OpDelete})
	}
	f.Add(false, all.Append(nil))
	f.Add(true, (&MultiRequest{Read: true, Ops: []MultiOp{{Op: OpGetData, Path: "/a", Watch: true}, {Op: OpGetChildren, Path: "/"}}}).Append(nil))
	f.Add(false, append(AppendMultiEnd(nil), AppendMultiEnd(nil)...))
	f.Add(false, append(appendMultiHeader(nil, OpMulti, false, -1), AppendMultiEnd(nil)...))
	for _, b := range nasty {
		f.Add(false, append(appendMultiHeader(nil, OpCreate, false, -1), b...))
		f.Add(true, append(appendMultiHeader(nil, OpGetData, false, -1), b...))
	}
	f.Fuzz(func(t *testing.T, read bool, b []byte) {
		fuzzRecord(t, func() Record { return &MultiRequest{Read: read} }, b)
		fuzzRecord(t, as[MultiResponse](), b)
	})
}

func FuzzAuthPacket(f *testing.F) {
	f.Add((&AuthPacket{Scheme: "digest", Auth: []byte("super:secret")}).Append(nil))
	f.Add((&AuthPacket{Type: -1, Scheme: "", Auth: nil}).Append(nil))
	f.Add((&AuthPacket{Scheme: "digest\x00", Auth: bytes.Repeat([]byte(":"), 300)}).Append(nil))
	for _, b := range nasty {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzRecord(t, as[AuthPacket](), b)
	})
}

func FuzzSASLToken(f *testing.F) {
	f.Add((&SASLToken{}).Append(nil))
	f.Add((&SASLToken{Token: []byte(`charset=utf-8,username="bob",realm="zk-sasl-md5",nonce="x",nc=00000001`)}).Append(nil))
	for _, b := range nasty {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzRecord(t, as[SASLToken](), b)
	})
}

func FuzzDecodeResponse(f *testing.F) {
	for _, x := range readLines[exchange](f, exchanges("3.9.5")) {
		for _, fr := range frames(unhex(f, x.RepHex)) {
			f.Add(int32(OpMulti), fr)
			f.Add(int32(OpGetData), fr[min(ReplyHeaderSize, len(fr)):])
		}
	}
	for _, op := range ops() {
		f.Add(int32(op), make([]byte, 200))
		for _, b := range nasty {
			f.Add(int32(op), b)
		}
	}
	f.Fuzz(func(t *testing.T, op int32, b []byte) {
		fuzzRecord(t, as[ReplyHeader](), b)
		fuzzRecord(t, as[ConnectResponse](), b)
		fuzzRecord(t, as[WatcherEvent](), b)
		if NewResponse(Op(op)) != nil {
			fuzzRecord(t, func() Record { return NewResponse(Op(op)) }, b)
		}
	})
}

func FuzzValidatePath(f *testing.F) {
	for _, s := range []string{"", "/", "/a/b", "/a//b", "/./..", "a", "/é\u0080", "/\xff", "/😀/", "/\ufff0x", "/\xed\xa0\x80", "/\xf4\x90\x80\x80", "/a\x00", "/...", "/.a/..b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		var err, partial error
		fuzztest.Check(t, len(path), func() { err, partial = ValidatePath(path), ValidatePathPartial(path) })
		if (err == nil) != plainValid(path) {
			t.Fatalf("%q: %v", path, err)
		}
		if partial != nil && plainValid(path) {
			t.Fatalf("%q: partial %v", path, partial)
		}
	})
}

// Whatever a frame claims, what is allocated for it stays in proportion: here are the
// frames in which the least bytes ask for the most.
func TestMemoryOfRequests(t *testing.T) {
	const size = 1 << 20
	one := func(o MultiOp) []byte { b := (&MultiRequest{Ops: []MultiOp{o}}).Append(nil); return b[:len(b)-9] }
	repeat := func(b []byte) []byte { return AppendMultiEnd(bytes.Repeat(b, size/len(b))) }
	list := jute.AppendInt(make([]byte, 8, size), size/4-3)
	acl := jute.AppendInt(jute.AppendNull(jute.AppendString(nil, "/")), (size-100)/12)
	for name, tc := range map[string]struct {
		op    Op
		b     []byte
		valid bool
	}{
		"multi of empty creates": {OpMulti, make([]byte, size), false},
		"multi of deletes":       {OpMulti, repeat(one(MultiOp{Op: OpDelete, Path: "/a"})), true},
		"multi of checks":        {OpMulti, repeat(one(MultiOp{Op: OpCheck})), true},
		"multi of creates":       {OpMulti, repeat(one(MultiOp{Op: OpCreate, Path: "/a", ACL: []ACL{{Perms: 1, Scheme: "ip", ID: "1"}}})), true},
		"multi of reads":         {OpMultiRead, repeat(one(MultiOp{Op: OpGetData})), true},
		"multi without an end":   {OpMulti, bytes.Repeat(one(MultiOp{Op: OpDelete}), size/17), false},
		"multi that breaks off":  {OpMulti, append(bytes.Repeat(one(MultiOp{Op: OpDelete}), 10), make([]byte, size)...), false},
		"list of empty strings":  {OpSetWatches, list[:size], false},
		"acl":                    {OpCreate, append(acl, make([]byte, size)...)[:size], true},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			limitOf(NewRequest(tc.op)).Check(t, len(tc.b), func() { err = CheckRequest(tc.op, tc.b) })
			if (err == nil) != tc.valid {
				t.Errorf("decoded: %v", err)
			}
		})
	}
}
