package engine

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/recorded"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

func loadExchanges(t tb) []recorded.Exchange {
	t.Helper()
	all, err := recorded.Exchanges(recorded.Release)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// times finds out when the recorded server did what, from the stats it showed.
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

// What Apache's server was asked and answered, asked again: the same bytes, as
// far as an engine makes them.
func TestRecordedExchanges(t *testing.T) {
	all := loadExchanges(t)
	at := map[int64]int64{}
	sessions := map[string]int64{}
	for _, x := range all {
		var v any
		if err := json.Unmarshal(x.Reply, &v); err != nil {
			t.Fatal(err)
		}
		times(v, at)
	}
	rigs := map[bool]*rig{
		true:  newRig(t, Options{ExtendedTypes: true}),
		false: newRig(t, Options{}),
	}
	conns := map[string]*client{}
	next := int64(1 << 50)
	get := func(x *recorded.Exchange) *client {
		if c := conns[x.Conn]; c != nil {
			return c
		}
		r := rigs[x.Conn != "nottl"]
		id, ok := sessions[x.Conn]
		if !ok {
			next++
			id = next
		}
		r.e.Lead(r.e.LastZxid()) // the sessions keep coming while nothing is under way
		c := r.connect(id)
		conns[x.Conn] = c
		return c
	}
	ran := 0
	for i := range all {
		x := &all[i]
		in, want := recorded.Frames(x.Sent), recorded.Frames(x.Came)
		if x.Name == "watch_ephemeral" {
			// A session that was not recorded made /exp.
			r := rigs[true]
			r.e.Lead(135)
			ex := r.connect(72057743394865172)
			r.now = at[137]
			create := proto.CreateRequest{Path: "/exp", Data: []byte{}, ACL: jute.OpenACL(), Flags: 1}
			if g := ex.write(proto.OpCreate, create.Append(nil)); g.zxid != 137 || g.code != zkerr.OK {
				t.Fatalf("%+v", g)
			}
			conns["ex"] = ex
		}
		var req struct{ ProtocolVersion *int32 }
		if json.Unmarshal(x.Request, &req) == nil && req.ProtocolVersion != nil {
			var c proto.ConnectResponse
			if len(want) == 1 && proto.Unmarshal(want[0], &c) == nil && c.SessionID != 0 {
				sessions[x.Conn] = c.SessionID
				get(x)
			}
			continue
		}
		if x.Name == "event_ephemeral_deleted_on_expiry" {
			r := rigs[true]
			r.e.Lead(143)
			r.prepare(0, &consensus.Request{Session: conns["ex"].session, Op: int32(proto.OpCloseSession)})
		}
		if len(want) == 0 || x.Name == "pipelined_connect_and_requests" {
			continue
		}
		c := get(x)
		r := c.rig
		var got []reply
		if len(in) == 0 {
			got = c.events()
		} else {
			c.got = slices.DeleteFunc(c.got, func(g reply) bool { return g.xid != -1 })
			var h proto.RequestHeader
			d := jute.NewDecoder(in[0])
			h.Decode(&d)
			body := d.Rest()
			last := jute.NewDecoder(want[len(want)-1])
			var wh proto.ReplyHeader
			wh.Decode(&last)
			op := int32(h.Op)
			switch {
			case !Known(op):
				if wh.Err != zkerr.Unimplemented && h.Op != proto.OpDeleteContainer {
					t.Errorf("%s: not known, and Apache answers %v", x.Name, wh.Err)
				}
				if code := r.e.Check(op, body); code != zkerr.Unimplemented {
					t.Errorf("%s: check says %v", x.Name, code)
				}
				if h.Op == proto.OpDeleteContainer {
					// Not for clients; the leader's own.
					r.e.Lead(wh.Zxid - 1)
					x := r.prepare(0, &consensus.Request{Op: op, Body: body})
					if int64(x.Zxid) != wh.Zxid {
						t.Errorf("zxid %s", x.Zxid)
					}
				}
				continue
			case h.Op == proto.OpPing, h.Op == proto.OpSASL:
				continue
			case h.Op == proto.OpAuth:
				var p proto.AuthPacket
				if proto.Unmarshal(body, &p) != nil {
					t.Fatal(x.Name)
				}
				ids, code := r.e.Authenticate(p.Scheme, p.Auth, "127.0.0.1")
				if code != wh.Err {
					t.Errorf("%s: %v, want %v", x.Name, code, wh.Err)
				}
				c.auth = append(ids, c.auth...)
				continue
			case IsWrite(op):
				if code := r.e.Check(op, body); code != zkerr.OK {
					if code != wh.Err {
						t.Errorf("%s: check says %v, want %v", x.Name, code, wh.Err)
					}
					ran++
					continue
				}
				r.e.Lead(wh.Zxid - 1)
				r.now = at[wh.Zxid]
				c.xid = h.Xid - 1
				c.send(h.Op, body)
				got = c.got
				c.got = nil
			default:
				c.xid = h.Xid - 1
				c.read(h.Op, body)
				got = c.got
				c.got = nil
			}
		}
		ran++
		if x.Name == "multiRead_with_write" {
			want[0] = want[0][:proto.ReplyHeaderSize] // a body behind an error is a slip of Apache's
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d frames, want %d: %+v", x.Name, len(got), len(want), got)
			continue
		}
		for i := range want {
			if g, w := tidy(got[i].frame(), x), tidy(want[i], x); !bytes.Equal(g, w) {
				t.Errorf("%s\n got %x\nwant %x", x.Name, g, w)
			}
		}
	}
	if ran < 170 {
		t.Errorf("%d exchanges only", ran)
	}
}

func (g *reply) frame() []byte {
	b := proto.AppendReplyHeader(nil, g.xid, g.zxid, g.code)
	if g.xid == -1 {
		ev := proto.WatcherEvent{Type: g.ev, State: proto.StateSyncConnected, Path: g.path}
		return ev.Append(b)
	}
	return append(b, g.body...)
}

// tidy levels what may differ: the zxid in the reply to a read, the order of
// names.
func tidy(frame []byte, x *recorded.Exchange) []byte {
	var q struct{ Op string }
	_ = json.Unmarshal(x.Request, &q)
	d := jute.NewDecoder(frame)
	var h proto.ReplyHeader
	h.Decode(&d)
	body := d.Rest()
	if h.Xid == -1 {
		return frame
	}
	switch q.Op {
	case "create", "create2", "createTTL", "createContainer", "delete", "setData", "setACL", "multi", "closeSession":
		return frame
	}
	h.Zxid = 0
	out := h.Append(nil)
	if h.Err != zkerr.OK {
		return append(out, body...)
	}
	switch q.Op {
	case "getChildren", "getEphemerals":
		var r proto.StringsResponse
		_ = proto.Unmarshal(body, &r)
		slices.Sort(r.Strings)
		return r.Append(out)
	case "getChildren2":
		var r proto.GetChildren2Response
		_ = proto.Unmarshal(body, &r)
		slices.Sort(r.Children)
		return r.Append(out)
	case "multiRead":
		var r proto.MultiResponse
		_ = proto.Unmarshal(body, &r)
		for i := range r.Results {
			slices.Sort(r.Results[i].Children)
		}
		return r.Append(out)
	}
	return append(out, body...)
}
