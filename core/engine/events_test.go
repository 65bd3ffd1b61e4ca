package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/model"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// told makes what the model says that a connection hears comparable with what it
// heard: its events, as far as it may read what they are about.
func told(events []model.Event, c *client, zxid int64) (out []string) {
	for _, e := range events {
		if e.Watcher == c.id && model.Permits(e.ACL, jute.PermRead, names(c.auth)) {
			out = append(out, fmt.Sprintf("%s %s at %d", e.Type, e.Path, zxid))
		}
	}
	return out
}

func heard(c *client) (out []string) {
	for _, g := range c.events() {
		out = append(out, fmt.Sprintf("%s %s at %d", g.ev, g.path, g.zxid))
	}
	return out
}

// genWatch makes a request that sets, changes or asks for watches.
func genWatch(w *world) *rapid.Generator[proto.MultiOp] {
	paths := append(w.m.Paths(), "/a", "/a/b", "/b/a/none", "")
	return rapid.Custom(func(t *rapid.T) proto.MultiOp {
		path := rapid.SampledFrom(paths).Draw(t, "path")
		op := rapid.SampledFrom([]proto.Op{proto.OpExists, proto.OpGetData, proto.OpGetChildren, proto.OpGetChildren2,
			proto.OpAddWatch, proto.OpAddWatch, proto.OpRemoveWatches, proto.OpCheckWatches, proto.OpSetWatches, proto.OpSetWatches2}).Draw(t, "op")
		var rec proto.Record
		switch op {
		case proto.OpAddWatch:
			rec = &proto.AddWatchRequest{Path: path, Mode: proto.AddWatchMode(rapid.Int32Range(0, 2).Draw(t, "mode"))}
		case proto.OpRemoveWatches, proto.OpCheckWatches:
			rec = &proto.WatchesRequest{Path: path, Type: proto.WatcherType(rapid.Int32Range(0, 6).Draw(t, "type"))}
		case proto.OpSetWatches, proto.OpSetWatches2:
			some := rapid.SliceOfN(rapid.SampledFrom(paths), 0, 3)
			q := proto.SetWatchesRequest{RelativeZxid: rapid.Int64Range(0, w.m.Zxid()).Draw(t, "seen"),
				Data: some.Draw(t, "data"), Exist: some.Draw(t, "exist"), Child: some.Draw(t, "child")}
			rec = &q
			if op == proto.OpSetWatches2 {
				rec = &proto.SetWatches2Request{SetWatchesRequest: q, Persistent: some.Draw(t, "persistent"), PersistentRecursive: some.Draw(t, "recursive")}
			}
		default:
			rec = &proto.ReadRequest{Path: path, Watch: true}
		}
		return proto.MultiOp{Op: op, Data: rec.Append(nil)}
	})
}

// Every connection hears of the changes that the model says, of no others, and in
// that order.
func TestEventsAreTheModel(t *testing.T) {
	fired := 0
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, false)
		w.r.held = false
		check := func(events []model.Event, zxid int64) {
			rt.Helper()
			for _, c := range w.r.conns {
				got, want := heard(c), told(events, c, zxid)
				if !slices.Equal(got, want) {
					rt.Fatalf("connection %d heard\n%s\nthe model says\n%s", c.id, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
				fired += len(want)
			}
		}
		for range 60 {
			w.r.now++
			what := rapid.IntRange(0, 19).Draw(rt, "step")
			if len(w.alive) == 0 || what == 0 && len(w.alive) < 4 {
				w.open(rt)
				continue
			}
			c := rapid.SampledFrom(w.alive).Draw(rt, "client")
			switch {
			case what == 1:
				events := w.ask(c.session, nil, proto.OpCloseSession, nil).Events
				w.r.prepare(0, &consensus.Request{Session: c.session, Op: int32(proto.OpCloseSession)})
				check(events, w.m.Zxid())
				w.m.Forget(c.id)
				w.r.e.DropWatcher(c.id)
				w.alive = slices.DeleteFunc(w.alive, func(o *client) bool { return o == c })
			case what <= 8:
				o := genWatch(w).Draw(rt, "watch")
				want := w.m.Read(model.Request{Session: c.session, IDs: names(c.auth), Op: o.Op, Body: o.Data, Watcher: c.id})
				if g := c.read(o.Op, o.Data); g.code != want.Code || string(g.body) != string(want.Body) {
					rt.Fatalf("%s: %v %x, the model says %v %x", o.Op, g.code, g.body, want.Code, want.Body)
				}
				check(want.Events, -1)
			default:
				o := w.genOp(false).Draw(rt, "op")
				if len(o.ACL) > 0 && rapid.Bool().Draw(rt, "closed") {
					// Many change what few may read.
					o.ACL = rapid.SampledFrom([][]jute.ACL{
						{{Perms: 30, Scheme: "world", ID: "anyone"}},
						{{Perms: 30, Scheme: "world", ID: "anyone"}, {Perms: 1, Scheme: "digest", ID: "ann:h"}},
					}).Draw(rt, "acl")
				}
				op, body := o.Op, encode(o)
				if what <= 11 {
					req := proto.MultiRequest{Ops: rapid.SliceOfN(w.genOp(true), 0, 4).Draw(rt, "ops")}
					op, body = proto.OpMulti, req.Append(nil)
				}
				want := w.ask(c.session, c.auth, op, body)
				if g := c.write(op, body); g.code != want.Code {
					rt.Fatalf("%s: %v, the model says %v", op, g.code, want.Code)
				}
				check(want.Events, w.m.Zxid())
			}
		}
		for _, c := range w.alive {
			for _, path := range w.m.Paths() {
				mode := model.Mode(w.r.e.watches.Has(c.id, path)) // the same bits
				if m := w.m.Watches(c.id, path); m != mode {
					rt.Fatalf("connection %d watches %s in modes %b, the model says %b", c.id, path, mode, m)
				}
			}
		}
	})
	if fired < 100 {
		t.Errorf("only %d events", fired)
	}
}
