package history

import (
	"bytes"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

func example() *Run {
	stat := proto.Stat{Czxid: 1 << 33, Version: 3}
	return &Run{
		About: About{Name: "seed 7", ExtendedTypes: true, SuperDigest: "super:x"},
		Records: []Record{
			{At: 1, Client: 1, Conn: 1, Server: 2, Kind: Connecting, TimeoutMS: 4000, Addr: "127.0.0.1", Body: make([]byte, 16)},
			{At: 2, Client: 1, Conn: 1, Server: 2, Kind: Connected, Session: 1<<56 | 5, TimeoutMS: 4000, Body: []byte("password of it")},
			{At: 3, Client: 1, Conn: 1, Server: 2, Kind: Call, Session: 1<<56 | 5, Xid: 1, Op: int32(proto.OpSetData),
				Body: (&proto.SetDataRequest{Path: "/a", Data: []byte("x"), Version: -1}).Append(nil)},
			{At: 3, Kind: Fault, Server: 3, Note: "kill"},
			{At: 4, Client: 1, Conn: 1, Server: 2, Kind: Event, Zxid: -1, Type: int32(proto.EventNodeDataChanged), State: 3, Path: "/a"},
			{At: 5, Client: 1, Conn: 1, Server: 2, Kind: Reply, Session: 1<<56 | 5, Xid: 1, Op: int32(proto.OpSetData), Zxid: 1<<33 + 1, Body: stat.Append(nil)},
			{At: 6, Client: 1, Conn: 1, Server: 2, Kind: Reply, Session: 1<<56 | 5, Xid: 2, Op: int32(proto.OpDelete), Zxid: 1<<33 + 2, Err: int32(zkerr.NoNode)},
			{At: 7, Client: 1, Conn: 1, Server: 2, Kind: Lost, Note: "reset by peer"},
		},
		Txns: []Txn{{Zxid: 1 << 33, Data: []byte{1, 2, 3}}},
		Trees: []Tree{{Server: 1, Zxid: 1 << 33, Digest: 1<<64 - 1, Sessions: map[int64]int32{1<<56 | 5: 4000},
			Nodes: []Znode{{Path: "/", ACL: jute.OpenACL()}, {Path: "/a", Data: []byte{}, ACL: jute.OpenACL(), Owner: -1 << 63}}}},
	}
}

func TestWriteAndRead(t *testing.T) {
	for _, run := range []*Run{example(), {Records: []Record{{Kind: Mark}}}, {Txns: []Txn{}}} {
		var b bytes.Buffer
		if err := run.Write(&b); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		got, err := Read(&b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, run) {
			t.Errorf("read\n%+v, written was\n%+v", got, run)
		}
		if len(run.Records) > 1 {
			if _, err := Read(strings.NewReader(text[:len(text)-9])); err == nil {
				t.Error("a file without its end is read")
			}
			if _, err := Read(strings.NewReader(text[strings.Index(text, "\n")+1:])); err == nil {
				t.Error("a file without its beginning is read")
			}
			if _, err := Read(strings.NewReader(strings.Replace(text, `"fault"`, `"flaut"`, 1))); err == nil {
				t.Error("a kind that does not exist is read")
			}
		}
	}
	if _, err := Read(strings.NewReader("")); err == nil {
		t.Error("nothing is read")
	}
}

func TestText(t *testing.T) {
	var b strings.Builder
	for _, r := range example().Records {
		b.WriteString(r.String() + "\n")
	}
	for _, want := range []string{
		"client 1.1 @2  connecting session 0x0, timeout 4000 ms, seen 0x0",
		`call 1 setData "/a" "x" version -1`,
		"@3  fault kill",
		"event NodeDataChanged /a",
		"reply 1 setData at 0x200000001 {c 0x200000000 m 0x0 p 0x0, versions 3/0/0",
		"reply 2 delete at 0x200000002: ",
		"lost reset by peer",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	// Every operation can be told, whatever its bytes are.
	for op := int32(-11); op < 110; op++ {
		for _, body := range [][]byte{nil, {0, 0}, bytes.Repeat([]byte{0}, 100)} {
			for _, kind := range []Kind{Call, Reply} {
				if s := (Record{Kind: kind, Op: op, Body: body}).String(); s == "" {
					t.Errorf("op %d has no text", op)
				}
			}
		}
	}
}

// Many may append at a time; times are in the order of the records then.
func TestLog(t *testing.T) {
	var mu sync.Mutex
	now := int64(0)
	l := NewLog(func() int64 {
		mu.Lock()
		defer mu.Unlock()
		now++
		return now
	})
	var wg sync.WaitGroup
	for client := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			last := int64(0)
			for i := range 100 {
				if at := l.Append(Record{Kind: Call, Client: client, Xid: int32(i)}); at <= last {
					t.Errorf("client %d: %d behind %d", client, at, last)
				} else {
					last = at
				}
			}
		}()
	}
	wg.Wait()
	next := map[int]int32{}
	for i, r := range l.Records() {
		if r.At != int64(i+1) || r.Xid != next[r.Client] {
			t.Fatalf("record %d: %v", i, r)
		}
		next[r.Client]++
	}
	if l.Len() != 800 {
		t.Errorf("%d records", l.Len())
	}
}
