package model

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/recorded"
	"github.com/zkcore/zkcore/core/zkerr"
)

// times learns from the stats that the server showed when it did what.
func times(v any, at map[int64]int64) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			times(x, at)
		}
	case map[string]any:
		if c, ok := v["czxid"].(float64); ok {
			at[int64(c)] = int64(v["ctime"].(float64))
			at[int64(v["mzxid"].(float64))] = int64(v["mtime"].(float64))
		}
		for _, x := range v {
			times(x, at)
		}
	}
}

// A peer is a recorded connection.
type peer struct {
	m       *Model
	session int64
	watcher uint64
	ids     []jute.ID
	events  [][]byte // that it is owed and was not seen to get
}

// The model answers what Apache's server answered, byte for byte, and owes the
// events that it sent.
func TestApachesAnswers(t *testing.T) {
	all, err := recorded.Exchanges(recorded.Release)
	if err != nil {
		t.Fatal(err)
	}
	at := map[int64]int64{}
	for _, x := range all {
		var v any
		if err := json.Unmarshal(x.Reply, &v); err != nil {
			t.Fatal(err)
		}
		times(v, at)
	}
	models := map[bool]*Model{true: New(Options{ExtendedTypes: true}), false: New(Options{})}
	sessions := map[string]int64{}
	peers := map[string]*peer{}
	var order []*peer
	get := func(conn string) *peer {
		if p := peers[conn]; p != nil {
			return p
		}
		p := &peer{m: models[conn != "nottl"], session: sessions[conn], watcher: uint64(len(order) + 1), ids: []jute.ID{{Scheme: "ip", ID: "127.0.0.1"}}}
		if p.session == 0 {
			p.session = 1<<50 + int64(p.watcher)
		}
		peers[conn] = p
		order = append(order, p)
		if !p.m.Open(p.session) {
			p.m.Write(p.m.Zxid(), 0, Request{Session: p.session, Op: proto.OpCreateSession, Body: jute.AppendInt(nil, 10000)})
		}
		return p
	}
	tell := func(m *Model, events []Event, zxid int64) {
		for _, e := range events {
			p := order[e.Watcher-1]
			if p.m == m && Permits(e.ACL, jute.PermRead, p.ids) {
				ev := proto.WatcherEvent{Type: e.Type, State: proto.StateSyncConnected, Path: e.Path}
				p.events = append(p.events, ev.Append(proto.AppendReplyHeader(nil, proto.XidNotification, zxid, zkerr.OK)))
			}
		}
	}
	compared, heard := 0, 0
	for i := range all {
		x := &all[i]
		in, want := recorded.Frames(x.Sent), recorded.Frames(x.Came)
		var connect struct{ ProtocolVersion *int32 }
		if json.Unmarshal(x.Request, &connect) == nil && connect.ProtocolVersion != nil {
			var c proto.ConnectResponse
			if len(want) == 1 && proto.Unmarshal(want[0], &c) == nil && c.SessionID != 0 {
				sessions[x.Conn] = c.SessionID
				get(x.Conn)
			}
			continue
		}
		m := models[true]
		switch x.Name {
		case "pipelined_connect_and_requests":
			continue
		case "watch_ephemeral":
			// A session that was not recorded has made /exp.
			const session = 72057743394865172
			m.Write(135, 0, Request{Session: session, Op: proto.OpCreateSession, Body: jute.AppendInt(nil, 4000)})
			r := proto.CreateRequest{Path: "/exp", Data: []byte{}, ACL: jute.OpenACL(), Flags: proto.FlagEphemeral}
			tell(m, m.Write(137, at[137], Request{Session: session, Op: proto.OpCreate, Body: r.Append(nil)}).Events, 137)
		case "event_ephemeral_deleted_on_expiry":
			tell(m, m.Write(144, 0, Request{Session: 72057743394865172, Op: proto.OpCloseSession}).Events, 144)
		}
		if len(want) == 0 {
			continue
		}
		p := get(x.Conn)
		m = p.m
		var got [][]byte
		if len(in) > 0 {
			d := jute.NewDecoder(in[0])
			var h proto.RequestHeader
			h.Decode(&d)
			q := Request{Session: p.session, IDs: p.ids, Op: h.Op, Body: d.Rest(), Watcher: p.watcher}
			last := jute.NewDecoder(want[len(want)-1])
			var wh proto.ReplyHeader
			wh.Decode(&last)
			var res Result
			switch h.Op {
			case proto.OpPing, proto.OpSASL, proto.OpCreateSession, proto.OpReconfig:
				continue
			case proto.OpAuth:
				var a proto.AuthPacket
				if err := proto.Unmarshal(q.Body, &a); err != nil {
					t.Fatalf("%s: %v", x.Name, err)
				}
				ids, code := m.Authenticate(a.Scheme, a.Auth, "127.0.0.1")
				if code != wh.Err {
					t.Errorf("%s: %v, want %v", x.Name, code, wh.Err)
				}
				p.ids = append(ids, p.ids...) // whoAmI shows the latest first
				compared++
				continue
			case proto.OpDeleteContainer:
				// Not for clients of zkcore.
				tell(m, m.Write(wh.Zxid, 0, Request{Op: h.Op, Body: q.Body}).Events, wh.Zxid)
				continue
			case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL, proto.OpDelete,
				proto.OpSetData, proto.OpSetACL, proto.OpMulti, proto.OpCloseSession:
				if code := m.Check(q); code != zkerr.OK {
					res = Result{Code: code}
					break
				}
				res = m.Write(wh.Zxid, at[wh.Zxid], q)
				tell(m, res.Events, wh.Zxid)
			default:
				res = m.Read(q)
				tell(m, res.Events, -1)
			}
			got = append(p.events, append(proto.AppendReplyHeader(nil, h.Xid, wh.Zxid, res.Code), res.Body...))
		} else {
			got = p.events
			heard += len(got)
		}
		p.events = nil
		compared++
		if x.Name == "multiRead_with_write" {
			want[0] = want[0][:proto.ReplyHeaderSize] // a body behind an error is a slip of Apache's
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d frames, want %d: %x", x.Name, len(got), len(want), got)
			continue
		}
		for i := range want {
			if g, w := inOrder(x, got[i]), inOrder(x, want[i]); !bytes.Equal(g, w) {
				t.Errorf("%s\n got %x\nwant %x", x.Name, g, w)
			}
		}
	}
	if compared < 170 || heard < 5 {
		t.Errorf("%d exchanges compared, %d events", compared, heard)
	}
}

// inOrder sorts the names in a reply: Apache's have no order.
func inOrder(x *recorded.Exchange, frame []byte) []byte {
	var q struct{ Op string }
	_ = json.Unmarshal(x.Request, &q)
	head, body := frame[:proto.ReplyHeaderSize], frame[proto.ReplyHeaderSize:]
	if bytes.HasPrefix(head, jute.AppendInt(nil, proto.XidNotification)) {
		return frame
	}
	out := slices.Clone(head)
	switch q.Op {
	case "getChildren", "getEphemerals":
		var r proto.StringsResponse
		if proto.Unmarshal(body, &r) == nil {
			slices.Sort(r.Strings)
			return r.Append(out)
		}
	case "getChildren2":
		var r proto.GetChildren2Response
		if proto.Unmarshal(body, &r) == nil {
			slices.Sort(r.Children)
			return r.Append(out)
		}
	case "multiRead":
		var r proto.MultiResponse
		if proto.Unmarshal(body, &r) == nil {
			for i := range r.Results {
				slices.Sort(r.Results[i].Children)
			}
			return r.Append(out)
		}
	}
	return frame
}
