package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

const statsOfP = "/zookeeper/quota/p/zookeeper_stats"

// limit makes a quota of /p.
func limit(c *client, limits string) {
	c.rig.t.Helper()
	c.must(proto.OpCreate, create("/zookeeper/quota/p", 0, open))
	c.must(proto.OpCreate, (&proto.CreateRequest{Path: "/zookeeper/quota/p/zookeeper_limits", Data: []byte(limits), ACL: open}).Append(nil))
	c.must(proto.OpCreate, create(statsOfP, 0, open))
}

func (e *Engine) stats(t tb) string {
	t.Helper()
	_, data, ok := e.get(statsOfP)
	if !ok {
		t.Fatal("there are no stats")
	}
	return string(data)
}

// What another program has kept of the usage, an Apache's snapshot or an earlier
// release's store, is not taken for true; what this engine has kept is, and is not
// counted again.
func TestUsageOfAnotherStore(t *testing.T) {
	r, c := tree(t, Options{})
	limit(c, "")
	if got := r.e.stats(t); got != "count=2,bytes=2" { // x of /p, d of /p/kid
		t.Fatalf("stats %q", got)
	}
	spoil := func() {
		rec := r.store.recs[statsOfP]
		head := znode.Head(slices.Clone(rec.Head))
		data := []byte("count=70,bytes=700")
		head.SetDataLength(len(data))
		r.store.recs[statsOfP] = storage.Record{Head: head, Data: data}
	}
	spoil()
	e := New(Options{})
	if err := e.Open(r.store); err != nil {
		t.Fatal(err)
	}
	if got := e.stats(t); got != "count=70,bytes=700" {
		t.Errorf("stats of our own store became %q", got)
	}
	e.Close()
	state := r.store.tables[tableMeta][metaState]
	state = slices.Clone(state)
	state[stateSize-1] &^= 4
	r.store.tables[tableMeta][metaState] = state
	e = New(Options{})
	if err := e.Open(r.store); err != nil {
		t.Fatal(err)
	}
	if got := e.stats(t); got != "count=2,bytes=2" {
		t.Errorf("stats of a foreign store became %q", got)
	}
	e.Close()
	// Ours, but not in our words: somebody has been there.
	rec := r.store.recs[statsOfP]
	head := znode.Head(slices.Clone(rec.Head))
	head.SetDataLength(1)
	r.store.recs[statsOfP] = storage.Record{Head: head, Data: []byte("?")}
	e = New(Options{})
	if err := e.Open(r.store); err != nil {
		t.Fatal(err)
	}
	if got := e.stats(t); got != "count=2,bytes=2" {
		t.Errorf("stats that are none became %q", got)
	}
}

// What goes beyond a quota is told of, refused or not.
func TestQuotaExcess(t *testing.T) {
	var told []QuotaExcess
	r, c := tree(t, Options{EnforceQuota: true, OnQuotaExcess: func(x QuotaExcess) { told = append(told, x) }})
	limit(c, "count=2,bytes=3=;byteHardLimit=5")
	for _, tc := range []struct {
		op   proto.Op
		body []byte
		code zkerr.Code
		want []QuotaExcess
	}{
		{proto.OpCreate, create("/p/a", 0, open), zkerr.OK, []QuotaExcess{{Path: "/p", Write: "/p/a", Now: 3, Limit: 2}}},
		{proto.OpSetData, setData("/p/a", "123456", -1), zkerr.QuotaExceeded, []QuotaExcess{{Path: "/p", Write: "/p/a", Bytes: true, Hard: true, Now: 8, Limit: 5}}},
		{proto.OpSetData, setData("/p/a", "123", -1), zkerr.OK, nil},
		{proto.OpCreate, create("/p/b", 0, open), zkerr.QuotaExceeded, []QuotaExcess{
			{Path: "/p", Write: "/p/b", Now: 4, Limit: 2}, {Path: "/p", Write: "/p/b", Bytes: true, Hard: true, Now: 6, Limit: 5}}},
		{proto.OpCreate, create("/q", 0, open), zkerr.OK, nil},
	} {
		told = nil
		if g := c.write(tc.op, tc.body); g.code != tc.code || fmt.Sprint(told) != fmt.Sprint(tc.want) {
			t.Errorf("%s: %v, told of %+v, want %v, %+v", tc.op, g.code, told, tc.code, tc.want)
		}
	}
	if q := r.e.Quotas(); len(q) != 1 || q[0] != (QuotaStatus{Path: "/p", Limited: true, Limits: znode.Limits{Count: 2, Bytes: 3, CountHard: -1, BytesHard: 5}, Kept: true, Usage: znode.Usage{Count: 3, Bytes: 5}}) {
		t.Errorf("quotas %+v", q)
	}
}

// What is proposed counts before it is applied, also a quota that is only proposed,
// and a new leader begins with what its tree says.
func TestQuotaInThePipeline(t *testing.T) {
	r, c := tree(t, Options{EnforceQuota: true})
	codes := func(n int) []zkerr.Code {
		t.Helper()
		r.release(len(r.pending))
		var out []zkerr.Code
		for _, g := range c.got[len(c.got)-n:] {
			out = append(out, g.code)
		}
		return out
	}
	r.held = true
	c.send(proto.OpCreate, create("/zookeeper/quota/p", 0, open))
	c.send(proto.OpCreate, create("/p/before", 0, open))
	c.send(proto.OpCreate, (&proto.CreateRequest{Path: "/zookeeper/quota/p/zookeeper_limits", Data: []byte("countHardLimit=4"), ACL: open}).Append(nil))
	c.send(proto.OpCreate, create(statsOfP, 0, open))
	c.send(proto.OpCreate, create("/p/a", 1, open))
	c.send(proto.OpCreate, create("/p/b", 0, open))
	c.send(proto.OpDelete, version("/p/before", -1))
	c.send(proto.OpCreate, create("/p/b", 0, open))
	if got, want := codes(8), []zkerr.Code{0, 0, 0, 0, 0, zkerr.QuotaExceeded, 0, 0}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := r.e.stats(t); got != "count=4,bytes=4" {
		t.Errorf("stats %q", got)
	}
	// What was prepared and is lost with a leadership counts no more.
	c.send(proto.OpDelete, version("/p/b", -1))
	r.pending = nil
	delete(c.waits, c.xid)
	r.log = r.log[:len(r.log)-1]
	r.e.StopLeading()
	r.e.Lead(r.e.LastZxid())
	c.send(proto.OpCreate, create("/p/c", 0, open))
	r.prepare(0, &consensus.Request{Session: 1, Op: int32(proto.OpCloseSession)}) // with /p/a
	if got, want := codes(1), []zkerr.Code{zkerr.QuotaExceeded}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := r.e.stats(t); got != "count=3,bytes=3" {
		t.Errorf("stats %q", got)
	}
	r.e.dump(t)
}

// Znodes that describe quotas count in none, and no quota keeps them away.
func TestQuotaOfQuotas(t *testing.T) {
	r, c := tree(t, Options{EnforceQuota: true})
	base := "/zookeeper/quota/zookeeper"
	c.must(proto.OpCreate, create(base, 0, open))
	c.must(proto.OpCreate, (&proto.CreateRequest{Path: base + "/zookeeper_limits", Data: []byte("countHardLimit=3;byteHardLimit=0"), ACL: open}).Append(nil))
	c.must(proto.OpCreate, create(base+"/zookeeper_stats", 0, open))
	limit(c, "")
	if g := c.write(proto.OpCreate, create("/zookeeper/x", 0, open)); g.code != zkerr.QuotaExceeded {
		t.Errorf("a znode below /zookeeper: %v", g.code)
	}
	if _, data, _ := r.e.get(base + "/zookeeper_stats"); string(data) != "count=3,bytes=0" { // itself, quota, config
		t.Errorf("stats %q", data)
	}
	// The root has no quota, whatever is made.
	c.must(proto.OpCreate, create("/zookeeper/quota/zookeeper_limits", 0, open))
	c.must(proto.OpCreate, create("/zookeeper/quota/zookeeper_stats", 0, open))
	if _, data, _ := r.e.get("/zookeeper/quota/zookeeper_stats"); string(data) != "d" {
		t.Errorf("stats of the root: %q", data)
	}
	c.must(proto.OpDelete, version("/zookeeper/quota/zookeeper_limits", -1))
	r.e.dump(t)
}

// Reconfig is checked in Apache's order; test/conformance has what it says.
func TestReconfigChecks(t *testing.T) {
	const members = "server.1=10.0.0.1:1:2:participant;3\nserver.2=10.0.0.2:1:2:participant;3\nversion=7"
	ask := func(leaving string, config int64) []byte {
		return (&proto.ReconfigRequest{LeavingServers: &leaving, CurConfigID: config}).Append(nil)
	}
	super := []consensus.Identity{{Scheme: "super"}}
	for _, tc := range []struct {
		name   string
		opts   Options
		auth   []consensus.Identity
		body   []byte
		closed bool
		want   zkerr.Code
	}{
		{"cut short", Options{}, super, ask("x", 1)[:5], false, zkerr.MarshallingError},
		{"disabled", Options{ConfigText: members}, super, ask("x", 1), true, zkerr.ReconfigDisabled},
		{"session", Options{ConfigText: members, ReconfigEnabled: true}, super, ask("x", 1), true, zkerr.SessionExpired},
		{"alone", Options{ReconfigEnabled: true}, nil, ask("x", 1), false, zkerr.Unimplemented},
		{"version", Options{ReconfigEnabled: true, ConfigText: members}, nil, ask("x", 1), false, zkerr.BadVersion},
		{"number", Options{ReconfigEnabled: true, ConfigText: members}, nil, ask("x", 7), false, zkerr.MarshallingError},
		{"too few", Options{ReconfigEnabled: true, ConfigText: members}, nil, ask("1", 7), false, zkerr.BadArguments},
		{"too few synced", Options{ReconfigEnabled: true, ConfigText: members, Synced: func() []int64 { return []int64{1} }}, nil, ask("", -1), false, zkerr.NewConfigNoQuorum},
		{"permission", Options{ReconfigEnabled: true, ConfigText: members, Synced: func() []int64 { return []int64{1, 2} }}, nil, ask("", -1), false, zkerr.NoAuth},
		{"permission, one does", Options{ReconfigEnabled: true, NoStandalone: true, ConfigText: members, Synced: func() []int64 { return []int64{1} }}, nil, ask("2", -1), false, zkerr.NoAuth},
		{"all is well", Options{ReconfigEnabled: true, ConfigText: members}, super, ask("9", 7), false, zkerr.Unimplemented},
		{"skipACL", Options{ReconfigEnabled: true, ConfigText: members, SkipACL: true}, nil, ask("9", 7), false, zkerr.Unimplemented},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, tc.opts)
			c := r.connect(1)
			c.auth = tc.auth
			if tc.closed {
				r.prepare(0, &consensus.Request{Session: 1, Op: int32(proto.OpCloseSession)})
			}
			before := r.e.Digest()
			g := c.write(proto.OpReconfig, tc.body)
			if g.code != tc.want || g.zxid != r.e.LastZxid() {
				t.Errorf("%v at %d, want %v", g.code, g.zxid, tc.want)
			}
			if _, data, _ := r.e.get(znode.Config); string(data) != tc.opts.ConfigText || r.e.Digest() != before {
				t.Errorf("the configuration has become %q", data)
			}
		})
	}
}

// BenchmarkQuotas is what usage costs: of a create and a delete, where there is no
// quota, where there is one elsewhere, and below one.
func BenchmarkQuotas(b *testing.B) {
	for _, tc := range []struct{ name, of string }{{"none", ""}, {"elsewhere", "/locked"}, {"here", "/p"}} {
		b.Run(tc.name, func(b *testing.B) {
			r, c := tree(b, Options{EnforceQuota: true})
			r.store.live = true
			if tc.of != "" {
				base := "/zookeeper/quota" + tc.of
				c.must(proto.OpCreate, create(base, 0, open))
				c.must(proto.OpCreate, (&proto.CreateRequest{Path: base + "/zookeeper_limits", Data: []byte("countHardLimit=1000"), ACL: open}).Append(nil))
				c.must(proto.OpCreate, create(base+"/zookeeper_stats", 0, open))
			}
			make, remove := create("/p/x", 0, open), version("/p/x", -1)
			b.ReportAllocs()
			for b.Loop() {
				for _, q := range []consensus.Request{{Session: 1, Op: int32(proto.OpCreate), Body: make}, {Session: 1, Op: int32(proto.OpDelete), Body: remove}} {
					if err := r.e.Apply([]consensus.Txn{r.e.Prepare(1, 1, &q)}, nil); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// A multi of many quotas counts each, and in little time: all others wait.
func TestMultiOfManyQuotas(t *testing.T) {
	const many = 60_000
	for _, enforced := range []bool{false, true} {
		t.Run(fmt.Sprintf("enforced=%v", enforced), func(t *testing.T) {
			r := newRig(t, Options{MaxTxnBytes: 64 << 20, EnforceQuota: enforced})
			c := r.connect(1)
			c.must(proto.OpCreate, create("/q7", 0, open))
			c.must(proto.OpCreate, create("/q7/old", 0, open))
			made := func(path string) proto.MultiOp {
				return proto.MultiOp{Op: proto.OpCreate, Path: path, Data: []byte("dd"), ACL: open}
			}
			ops := []proto.MultiOp{made("/q7/new"), made("/q77"), {Op: proto.OpDelete, Path: "/q7/old", Version: -1}, made("/q7/new/er")}
			for i := range many {
				quota := fmt.Sprintf("/zookeeper/quota/q%d", i)
				ops = append(ops, made(quota), made(quota+"/zookeeper_stats"))
			}
			done := make(chan zkerr.Code, 1)
			go func() { done <- c.write(proto.OpMulti, multi(ops...)).code }()
			select {
			case code := <-done:
				if code != zkerr.OK {
					t.Fatal(code)
				}
			case <-time.After(time.Minute):
				t.Fatal("there is no answer")
			}
			for i, want := range map[int]string{7: "count=3,bytes=5", 77: "count=1,bytes=2", 777: "count=0,bytes=0"} {
				var a proto.GetDataResponse
				g := c.read(proto.OpGetData, look(fmt.Sprintf("/zookeeper/quota/q%d/zookeeper_stats", i), false))
				if err := proto.Unmarshal(g.body, &a); err != nil || string(a.Data) != want {
					t.Errorf("quota %d: %q %v, want %q", i, a.Data, err, want)
				}
			}
		})
	}
}
