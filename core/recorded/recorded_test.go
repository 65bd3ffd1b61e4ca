package recorded

import (
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// Both releases were asked the same, and no exchange has a name that another has.
func TestExchanges(t *testing.T) {
	was, err := Exchanges(OldRelease)
	if err != nil {
		t.Fatal(err)
	}
	is, err := Exchanges(Release)
	if err != nil {
		t.Fatal(err)
	}
	if len(is) != 212 || len(was) != len(is) {
		t.Fatalf("%d and %d exchanges", len(is), len(was))
	}
	names := map[string]bool{}
	for i := range is {
		if is[i].Name != was[i].Name || is[i].Conn != was[i].Conn {
			t.Errorf("%s on %s, and %s on %s", is[i].Name, is[i].Conn, was[i].Name, was[i].Conn)
		}
		if names[is[i].Name] {
			t.Errorf("a second exchange is called %s", is[i].Name)
		}
		names[is[i].Name] = true
	}
	for name, d := range Ours {
		if !names[name] || d.Because == "" {
			t.Errorf("no exchange is called %s, or nobody knows why it differs", name)
		}
	}
}

// A comparison sees each byte that may not differ, and none of those that may.
func TestComparison(t *testing.T) {
	header := func(xid int32, zxid int64, code zkerr.Code) []byte {
		return (&proto.ReplyHeader{Xid: xid, Zxid: zxid, Err: code}).Append(nil)
	}
	stat := func(s proto.Stat) []byte { return s.Append(header(1, 9, zkerr.OK)) }
	children := func(names ...string) []byte { return jute.AppendStrings(header(1, 9, zkerr.OK), names) }
	event := func(zxid int64, path string) []byte {
		e := proto.WatcherEvent{Type: proto.EventNodeCreated, State: proto.StateSyncConnected, Path: path}
		return e.Append(header(proto.XidNotification, zxid, zkerr.OK))
	}
	for _, tc := range []struct {
		name      string
		op        proto.Op
		got, want []byte
		wrong     string
	}{
		{"the same", proto.OpExists, stat(proto.Stat{Version: 1}), stat(proto.Stat{Version: 1}), ""},
		{"another xid", proto.OpDelete, header(2, 9, zkerr.OK), header(1, 9, zkerr.OK), "xid 2"},
		{"another code", proto.OpDelete, header(1, 9, zkerr.NoNode), header(1, 9, zkerr.OK), "want 1"},
		{"another zxid", proto.OpDelete, header(1, 77, zkerr.OK), header(1, 9, zkerr.OK), ""},
		{"no zxid", proto.OpDelete, header(1, -1, zkerr.OK), header(1, 9, zkerr.OK), "zxid -1"},
		{"a zxid in place of none", proto.OpDelete, header(1, 9, zkerr.OK), header(1, -1, zkerr.OK), "zxid 9"},
		{"another version", proto.OpExists, stat(proto.Stat{Version: 2}), stat(proto.Stat{Version: 1}), "Version:2"},
		{"another time", proto.OpExists, stat(proto.Stat{Ctime: 2}), stat(proto.Stat{Ctime: 1}), ""},
		{"no time", proto.OpExists, stat(proto.Stat{}), stat(proto.Stat{Ctime: 1}), "time 0"},
		{"two zxids for one", proto.OpExists, stat(proto.Stat{Czxid: 5, Mzxid: 6}), stat(proto.Stat{Czxid: 4, Mzxid: 4}), "was 0x5 before"},
		{"an owner that nobody knows", proto.OpExists, stat(proto.Stat{EphemeralOwner: 3}), stat(proto.Stat{EphemeralOwner: 3}), "owner 0x3"},
		{"another order of names", proto.OpGetChildren, children("b", "a"), children("a", "b"), ""},
		{"another name", proto.OpGetChildren, children("c"), children("b"), "c"},
		{"a byte more", proto.OpExists, append(stat(proto.Stat{}), 0), stat(proto.Stat{}), "more bytes"},
		{"a byte less", proto.OpExists, stat(proto.Stat{})[:80], stat(proto.Stat{}), "Stat"},
		{"something behind an error", proto.OpExists, append(header(1, 9, zkerr.NoNode), 0), header(1, 9, zkerr.NoNode), "behind the header"},
		{"an event", proto.OpExists, event(4, "/a"), event(3, "/a"), ""},
		{"another event", proto.OpExists, event(4, "/b"), event(3, "/a"), "/b"},
		{"an event in place of a reply", proto.OpExists, event(9, "/a"), header(1, 9, zkerr.NoNode), "xid -1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := comparison{r: &Replay{sessions: map[int64]*peer{}, zxids: map[int64]int64{}}}
			c.frame(tc.got, tc.want, []proto.Op{tc.op})
			var all []string
			for _, err := range c.wrong {
				all = append(all, err.Error())
			}
			if text := strings.Join(all, "\n"); (text == "") != (tc.wrong == "") || !strings.Contains(text, tc.wrong) {
				t.Errorf("%q, want %q", text, tc.wrong)
			}
		})
	}
}

// Zxids that come in another order are seen in the end.
func TestOrder(t *testing.T) {
	r := &Replay{zxids: map[int64]int64{1: 10, 2: 11, 3: 11, 7: 20}}
	if err := r.Order(); err != nil {
		t.Error(err)
	}
	if z := r.zxidOf(5); z != 11 {
		t.Errorf("behind 3 is %d", z)
	}
	r.zxids[8] = 19
	if r.Order() == nil {
		t.Error("a zxid that falls is all right")
	}
}
