package proto

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/zkerr"
	"pgregory.net/rapid"
)

func Example() {
	// A client writes a request …
	frame := (&RequestHeader{Xid: 1, Op: OpGetData}).Append(nil)
	frame = (&ReadRequest{Path: "/a", Watch: true}).Append(frame)

	// … and a server reads it.
	d := jute.NewDecoder(frame)
	var h RequestHeader
	h.Decode(&d)
	r := NewRequest(h.Op)
	r.Decode(&d)
	fmt.Println(h.Xid, h.Op, *r.(*ReadRequest), d.Err())
	// Output: 1 getData {/a true} <nil>
}

func TestSessionPassword(t *testing.T) {
	type pair struct {
		ID     string `json:"sessionId_hex"`
		Passwd string `json:"passwd_hex"`
	}
	pairs := readLines[pair](t, "testdata/session-passwords.jsonl")
	pairs = append(pairs, pair{"0x1000029d7de0000", "40bf0a25cd1ffc081e84e8165e7dfd0c"})
	for _, p := range pairs {
		id, err := strconv.ParseUint(p.ID, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		if got := SessionPassword(int64(id)); fmt.Sprintf("%x", got) != p.Passwd {
			t.Errorf("%s: got %x, want %s", p.ID, got, p.Passwd)
		}
	}
}

func TestValidatePath(t *testing.T) {
	for _, tc := range []struct {
		path, want string // "" is valid
	}{
		{"/", ""},
		{"/a", ""},
		{"/a/b", ""},
		{"/a.b/.c/c./..d/d../...", ""},
		{"/é/中", ""},
		{"/\u00a0\ud7ff\uf900\uffef", ""},
		{"", "Path length must be > 0"},
		{"a", "Path must start with / character"},
		{"a/b", "Path must start with / character"},
		{"/a/", "Path must not end with / character"},
		{"//", "Path must not end with / character"},
		{"//a", `Invalid path string "//a" caused by empty node name specified @1`},
		{"/a//b", `Invalid path string "/a//b" caused by empty node name specified @3`},
		{"/.", `Invalid path string "/." caused by relative paths not allowed @1`},
		{"/..", `Invalid path string "/.." caused by relative paths not allowed @2`},
		{"/./a", `Invalid path string "/./a" caused by relative paths not allowed @1`},
		{"/é/../a", `Invalid path string "/é/../a" caused by relative paths not allowed @4`},
		{"/a/..", `Invalid path string "/a/.." caused by relative paths not allowed @4`},
		{"/a\x00", `Invalid path string "/a\x00" caused by null character not allowed @2`},
		{"/\x01", `Invalid path string "/\x01" caused by invalid character @1`},
		{"/\x1f", `Invalid path string "/\x1f" caused by invalid character @1`},
		{"/\x7f", `Invalid path string "/\x7f" caused by invalid character @1`},
		{"/é\u0080", `Invalid path string "/é\u0080" caused by invalid character @2`},
		{"/\u009f", `Invalid path string "/\u009f" caused by invalid character @1`},
		{"/\ue000", `Invalid path string "/\ue000" caused by invalid character @1`},
		{"/\uf8ff", `Invalid path string "/\uf8ff" caused by invalid character @1`},
		{"/\ufff0", `Invalid path string "/\ufff0" caused by invalid character @1`},
		{"/😀", `Invalid path string "/😀" caused by invalid character @1`},
		{"/\xff", `Invalid path string "/\xff" caused by invalid character @1`},
		{"/\xed\xa0\xbd", `Invalid path string "/\xed\xa0\xbd" caused by invalid character @1`},
	} {
		err := ValidatePath(tc.path)
		if got := fmt.Sprint(err); err == nil && tc.want != "" || err != nil && got != tc.want {
			t.Errorf("%q: got %v, want %q", tc.path, err, tc.want)
		}
		if err != nil && (zkerr.CodeOf(err) != zkerr.BadArguments || !errors.Is(err, zkerr.BadArguments)) {
			t.Errorf("%q: code %v", tc.path, zkerr.CodeOf(err))
		}
	}
}

// plainValid says the rules once more, as plainly as they are written down.
func plainValid(path string) bool {
	if path == "/" {
		return true
	}
	if path == "" || path[0] != '/' {
		return false
	}
	for _, segment := range strings.Split(path[1:], "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	for _, u := range utf16.Encode([]rune(path)) {
		if u <= 0x1f || u >= 0x7f && u <= 0x9f || u >= 0xd800 && u <= 0xf8ff || u >= 0xfff0 {
			return false
		}
	}
	return true
}

func TestValidatePathPartial(t *testing.T) {
	for path, valid := range map[string]bool{
		"/a": true, "a/b": true, "/": true, "/a/": true, "//": true, "/.": true, "/\x01": true,
		"": false, "a": false, "/a\x00": false, "\x00": false,
	} {
		err := ValidatePathPartial(path)
		if (err == nil) != valid {
			t.Errorf("%q: %v", path, err)
		}
		if err != nil && zkerr.CodeOf(err) != zkerr.BadArguments {
			t.Errorf("%q: code %v", path, zkerr.CodeOf(err))
		}
	}
}

func TestNames(t *testing.T) {
	for _, tc := range []struct {
		got  fmt.Stringer
		want string
	}{
		{OpGetAllChildrenNum, "getAllChildrenNumber"},
		{OpCloseSession, "closeSession"},
		{Op(99), "op 99"},
		{EventNodeChildrenChanged, "NodeChildrenChanged"},
		{EventType(99), "EventType(99)"},
		{StateSASLAuthenticated, "SaslAuthenticated"},
		{KeeperState(99), "KeeperState(99)"},
	} {
		if tc.got.String() != tc.want {
			t.Errorf("got %s, want %s", tc.got, tc.want)
		}
	}
}

func TestCreateFlags(t *testing.T) {
	type traits struct{ valid, ephemeral, sequential, container, ttl bool }
	for f, want := range map[CreateFlags]traits{
		-1:                              {},
		FlagPersistent:                  {valid: true},
		FlagEphemeral:                   {valid: true, ephemeral: true},
		FlagPersistentSequential:        {valid: true, sequential: true},
		FlagEphemeralSequential:         {valid: true, ephemeral: true, sequential: true},
		FlagContainer:                   {valid: true, container: true},
		FlagPersistentWithTTL:           {valid: true, ttl: true},
		FlagPersistentSequentialWithTTL: {valid: true, sequential: true, ttl: true},
		7:                               {},
	} {
		if got := (traits{f.Valid(), f.Ephemeral(), f.Sequential(), f.Container(), f.TTL()}); got != want {
			t.Errorf("%d: %+v, want %+v", f, got, want)
		}
	}
}

func TestMultiOpKind(t *testing.T) {
	for _, tc := range []struct {
		op    Op
		flags CreateFlags
		want  Op
	}{
		{OpCreate, FlagPersistent, OpCreate},
		{OpCreate, FlagContainer, OpCreateContainer},
		{OpCreate2, FlagEphemeral, OpCreate2},
		{OpCreate2, FlagContainer, OpCreateContainer},
		{OpCreateContainer, FlagPersistent, OpCreateContainer},
		{OpCreateTTL, FlagPersistentWithTTL, OpCreateTTL},
		{OpCreateTTL, FlagPersistent, OpCreate},
		{OpCreateTTL, FlagContainer, OpCreateContainer},
		{OpDelete, 0, OpDelete},
	} {
		if got := (&MultiOp{Op: tc.op, Flags: tc.flags}).Kind(); got != tc.want {
			t.Errorf("%v with %d: %v, want %v", tc.op, tc.flags, got, tc.want)
		}
	}
}

func TestRefusedRequests(t *testing.T) {
	null := jute.AppendNull(nil)
	multi := func(ops ...MultiOp) []byte { return (&MultiRequest{Ops: ops}).Append(nil) }
	for _, tc := range []struct {
		name string
		op   Op
		b    []byte
		want error
	}{
		{"null path", OpGetACL, null, ErrNullPath},
		{"null list", OpSetWatches, append(make([]byte, 8), null...), ErrNullList},
		{"null path in a list", OpSetWatches, append(make([]byte, 8), 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0), ErrNullPath},
		{"list too long", OpSetWatches2, append(make([]byte, 8), 0x7f, 0, 0, 0), jute.ErrShort},
		{"watcher type", OpCheckWatches, (&WatchesRequest{"/", 6}).Append(nil), ErrWatcherType},
		{"watcher type 0", OpRemoveWatches, (&WatchesRequest{"/", 0}).Append(nil), ErrWatcherType},
		{"watch mode", OpAddWatch, (&AddWatchRequest{"/", 2}).Append(nil), ErrWatchMode},
		{"getData in a multi", OpMulti, multi(MultiOp{Op: OpGetData, Path: "/"}), ErrMultiOp},
		{"delete in a multiRead", OpMultiRead, multi(MultiOp{Op: OpDelete, Path: "/"}), ErrMultiOp},
		{"setACL in a multi", OpMulti, multi(MultiOp{Op: OpSetACL, Path: "/"}), ErrMultiOp},
		{"TTL flags in a create of a multi", OpMulti, multi(MultiOp{Op: OpCreate, Path: "/", ACL: []ACL{}, Flags: 5}), ErrMultiFlag},
		{"unknown flags in a multi", OpMulti, multi(MultiOp{Op: OpCreateContainer, Path: "/", ACL: []ACL{}, Flags: 7}), ErrMultiFlag},
		{"null ACL in a multi", OpMulti, multi(MultiOp{Op: OpCreate, Path: "/"}), ErrNullACL},
		{"multi without end", OpMulti, multi(MultiOp{Op: OpDelete, Path: "/"})[:20], jute.ErrShort},
		{"nothing", OpCreate, nil, jute.ErrShort},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := CheckRequest(tc.op, tc.b)
			if !errors.Is(err, tc.want) || !errors.Is(err, zkerr.MarshallingError) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if zkerr.CodeOf(err) != zkerr.MarshallingError {
				t.Errorf("code %v", zkerr.CodeOf(err))
			}
			if errors.Is(err, zkerr.NoNode) || err.Error() == "" {
				t.Errorf("it is NoNode, or has no text: %v", err)
			}
		})
	}
	if err := CheckRequest(OpPing, []byte("anything")); err != nil {
		t.Errorf("ping: %v", err)
	}
	if err := Unmarshal([]byte{0, 0, 0, 3, 0, 0, 0, 0, 0}, new(MultiResponse)); !errors.Is(err, ErrMultiOp) {
		t.Errorf("result of exists in a multi: %v", err)
	}
}

// records are one of each record, with all that can be in it drawn.
func records(t *rapid.T) []Record {
	str := func() string { return rapid.String().Draw(t, "string") }
	i32 := func() int32 { return rapid.Int32().Draw(t, "int") }
	i64 := func() int64 { return rapid.Int64().Draw(t, "long") }
	flag := func() bool { return rapid.Bool().Draw(t, "bool") }
	buf := func() []byte {
		if flag() {
			return nil
		}
		return rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "buffer")
	}
	list := func() []string { return rapid.SliceOfN(rapid.String(), 0, 4).Draw(t, "list") }
	acl := func() []ACL {
		if flag() {
			return nil
		}
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) ACL {
			return ACL{Perms: rapid.Int32().Draw(t, "perms"), Scheme: rapid.String().Draw(t, "scheme"), ID: rapid.String().Draw(t, "id")}
		}), 0, 3).Draw(t, "acl")
	}
	stat := func() Stat {
		return Stat{i64(), i64(), i64(), i64(), i32(), i32(), i32(), i64(), i32(), i32(), i64()}
	}
	optional := func() *string {
		if flag() {
			return nil
		}
		s := str()
		return &s
	}
	readOnly := func() (ro, has bool) {
		if has = flag(); has {
			ro = flag()
		}
		return ro, has
	}
	creq := &ConnectRequest{ProtocolVersion: i32(), LastZxidSeen: i64(), TimeoutMS: i32(), SessionID: i64(), Passwd: buf()}
	creq.ReadOnly, creq.HasReadOnly = readOnly()
	cresp := &ConnectResponse{ProtocolVersion: i32(), TimeoutMS: i32(), SessionID: i64(), Passwd: buf()}
	cresp.ReadOnly, cresp.HasReadOnly = readOnly()

	someACL := func() []ACL { // in a multi it can't be null
		if l := acl(); l != nil {
			return l
		}
		return []ACL{}
	}
	var ops []MultiOp
	for range rapid.IntRange(0, 4).Draw(t, "ops") {
		o := MultiOp{Op: rapid.SampledFrom([]Op{OpCreate, OpCreate2, OpCreateContainer, OpCreateTTL, OpDelete, OpSetData, OpCheck}).Draw(t, "op"), Path: str()}
		switch o.Op {
		case OpDelete, OpCheck:
			o.Version = i32()
		case OpSetData:
			o.Data, o.Version = buf(), i32()
		case OpCreateTTL:
			o.Data, o.ACL, o.Flags, o.TTL = buf(), someACL(), CreateFlags(i32()), i64()
		default:
			o.Data, o.ACL, o.Flags = buf(), someACL(), CreateFlags(rapid.IntRange(0, 4).Draw(t, "flags"))
		}
		ops = append(ops, o)
	}
	var reads []MultiOp
	for range rapid.IntRange(0, 3).Draw(t, "reads") {
		reads = append(reads, MultiOp{Op: rapid.SampledFrom([]Op{OpGetData, OpGetChildren}).Draw(t, "op"), Path: str(), Watch: flag()})
	}
	var results []MultiResult
	for range rapid.IntRange(0, 4).Draw(t, "results") {
		r := MultiResult{Op: rapid.SampledFrom([]Op{OpCreate, OpCreate2, OpDelete, OpSetData, OpCheck, OpGetData, OpGetChildren, OpError}).Draw(t, "op")}
		switch r.Op {
		case OpCreate:
			r.Path = str()
		case OpCreate2:
			r.Path, r.Stat = str(), stat()
		case OpSetData:
			r.Stat = stat()
		case OpGetData:
			r.Data, r.Stat = buf(), stat()
		case OpGetChildren:
			r.Children = list()
		case OpError:
			r.Err = zkerr.Code(i32())
		}
		results = append(results, r)
	}
	create := CreateRequest{str(), buf(), acl(), CreateFlags(i32())}
	watches := SetWatchesRequest{i64(), list(), list(), list()}
	null := AnyPathRequest{Null: true}
	whoami := &WhoAmIResponse{}
	if !flag() {
		whoami.ClientInfo = []ClientInfo{{str(), str()}}
	}
	s := stat()
	return []Record{
		creq, cresp,
		&RequestHeader{i32(), Op(i32())},
		&ReplyHeader{i32(), i64(), zkerr.Code(i32())},
		&s,
		&WatcherEvent{EventType(i32()), KeeperState(i32()), str()},
		&create,
		&CreateTTLRequest{create, i64()},
		&VersionRequest{str(), i32()},
		&ReadRequest{str(), flag()},
		&SetDataRequest{str(), buf(), i32()},
		&SetACLRequest{str(), acl(), i32()},
		&PathRequest{str()},
		&AnyPathRequest{Path: str()}, &null,
		&ReconfigRequest{optional(), optional(), optional(), i64()},
		&WatchesRequest{str(), WatcherType(rapid.IntRange(1, 5).Draw(t, "type"))},
		&AddWatchRequest{str(), AddWatchMode(rapid.IntRange(0, 1).Draw(t, "mode"))},
		&AuthPacket{i32(), str(), buf()},
		&watches,
		&SetWatches2Request{watches, list(), list()},
		&SASLToken{buf()},
		&MultiRequest{Ops: ops},
		&MultiRequest{Read: true, Ops: reads},
		&PathResponse{str()},
		&Create2Response{str(), stat()},
		&GetDataResponse{buf(), stat()},
		&GetACLResponse{acl(), stat()},
		&StringsResponse{list()},
		&GetChildren2Response{list(), stat()},
		&IntResponse{i32()},
		whoami,
		&MultiResponse{results},
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, r := range records(t) {
			b := r.Append([]byte("before"))[len("before"):]
			got := reflect.New(reflect.TypeOf(r).Elem()).Interface().(Record)
			if m, ok := r.(*MultiRequest); ok {
				got.(*MultiRequest).Read = m.Read
			}
			d := jute.NewDecoder(b)
			got.Decode(&d)
			if d.Err() != nil || d.Remaining() != 0 {
				t.Fatalf("%T: %v, %d bytes left", r, d.Err(), d.Remaining())
			}
			if !reflect.DeepEqual(got, r) {
				t.Fatalf("%T:\n got %+v\nwant %+v", r, got, r)
			}
			// A record that is decoded into may have held another.
			got.Decode(new(jute.Decoder))
			d = jute.NewDecoder(b)
			if got.Decode(&d); !reflect.DeepEqual(got, r) {
				t.Fatalf("%T, decoded over another:\n got %+v\nwant %+v", r, got, r)
			}
			// Cut anywhere it is short; only a connect record may end before
			// its last byte.
			cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
			d = jute.NewDecoder(b[:cut])
			got.Decode(&d)
			switch r := r.(type) {
			case *ConnectRequest:
				if r.HasReadOnly && cut == len(b)-1 {
					continue
				}
			case *ConnectResponse:
				if r.HasReadOnly && cut == len(b)-1 {
					continue
				}
			}
			if !errors.Is(d.Err(), zkerr.MarshallingError) {
				t.Fatalf("%T cut to %d of %d: %v", r, cut, len(b), d.Err())
			}
		}
	})
}

// A list of watches that was never made is sent as an empty one: null would be
// refused.
func TestNilWatchListsAreEmpty(t *testing.T) {
	b := (&SetWatches2Request{}).Append(nil)
	if err := CheckRequest(OpSetWatches2, b); err != nil {
		t.Error(err)
	}
}

func TestDecodeRead(t *testing.T) {
	b := (&ReadRequest{"/a/b", true}).Append(nil)
	var path []byte
	var watch bool
	if n := testing.AllocsPerRun(100, func() {
		d := jute.NewDecoder(b)
		path, watch = DecodeRead(&d)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if string(path) != "/a/b" || !watch {
		t.Errorf("%q, %v", path, watch)
	}
	d := jute.NewDecoder(append(jute.AppendNull(nil), 1))
	if DecodeRead(&d); d.Err() != ErrNullPath {
		t.Errorf("null path: %v", d.Err())
	}
}

func ops() []Op {
	var all []Op
	for op := range opNames {
		all = append(all, op)
	}
	slices.Sort(all)
	return all
}

func TestStatSize(t *testing.T) {
	s := Stat{Pzxid: math.MaxInt64}
	if n := len(s.Append(nil)); n != StatSize {
		t.Errorf("a Stat takes %d bytes", n)
	}
}

func BenchmarkGetDataReply(b *testing.B) {
	r := GetDataResponse{Data: make([]byte, 100)}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendReplyHeader(buf[:0], 1, 2, zkerr.OK)
		buf = r.Append(buf)
	}
}

func BenchmarkValidatePath(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if ValidatePath("/bench/some/deeper/node-0000000042") != nil {
			b.Fatal("invalid")
		}
	}
}
