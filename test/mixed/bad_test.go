package mixed

import (
	"slices"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// TestBadRequests sends what no server may carry out: to a zkcore leader through everybody, since
// Apache's servers pass on what they have not decoded, and to an Apache leader through zkcore, which
// must not pass on what that one would not survive. Nobody takes harm, and all start again.
func TestBadRequests(t *testing.T) {
	open := func(b []byte) []byte { return jute.AppendACLs(b, client.OpenACL()) }
	path := func(p string) []byte { return jute.AppendString(nil, p) }
	create := func(p string, flags int32) []byte {
		return jute.AppendInt(open(jute.AppendBuffer(path(p), []byte("data"))), flags)
	}
	multi := func(op proto.Op, body []byte) []byte {
		b := append(jute.AppendInt(jute.AppendBool(jute.AppendInt(nil, int32(op)), false), -1), body...)
		return proto.AppendMultiEnd(b)
	}
	bad := map[string]client.RawOp{
		"check alone":               {Code: proto.OpCheck, Body: jute.AppendInt(path("/there"), 0)},
		"create cut short":          {Code: proto.OpCreate, Body: create("/bad-1", 0)[:20]},
		"create of null":            {Code: proto.OpCreate, Body: append(jute.AppendInt(nil, -1), create("/bad-2", 0)[10:]...)},
		"create without a body":     {Code: proto.OpCreate},
		"create, unknown flags":     {Code: proto.OpCreate, Body: create("/bad-3", 99)},
		"create, a long claim":      {Code: proto.OpCreate, Body: jute.AppendInt(path("/bad-4"), 1<<30)},
		"create, no ACL":            {Code: proto.OpCreate, Body: jute.AppendInt(jute.AppendInt(jute.AppendBuffer(path("/bad-5"), nil), 0), 0)},
		"create, bad path":          {Code: proto.OpCreate, Body: create("/bad-6/../x", 0)},
		"createTTL that has none":   {Code: proto.OpCreateTTL, Body: jute.AppendLong(create("/bad-7", 0), -1)},
		"createTTL, negative":       {Code: proto.OpCreateTTL, Body: jute.AppendLong(create("/bad-8", 5), -5)},
		"createTTL, no time":        {Code: proto.OpCreateTTL, Body: create("/bad-9", 5)},
		"delete of null":            {Code: proto.OpDelete, Body: jute.AppendInt(jute.AppendInt(nil, -1), 0)},
		"set without a version":     {Code: proto.OpSetData, Body: jute.AppendBuffer(path("/there"), nil)},
		"setACL, unknown scheme":    {Code: proto.OpSetACL, Body: jute.AppendInt(jute.AppendACLs(path("/there"), []client.ACL{{Perms: 31, Scheme: "none", ID: "x"}}), 0)},
		"multi cut short":           {Code: proto.OpMulti, Body: multi(proto.OpCreate, create("/bad-10", 0))[:30]},
		"multi with a setACL":       {Code: proto.OpMulti, Body: multi(proto.OpSetACL, jute.AppendInt(open(path("/there")), 0))},
		"multi with a closeSession": {Code: proto.OpMulti, Body: multi(proto.OpCloseSession, nil)},
		"deleteContainer":           {Code: proto.OpDeleteContainer, Body: path("/there/x")},
		"createSession":             {Code: proto.OpCreateSession, Body: jute.AppendInt(nil, 10000)},
		"reconfig":                  {Code: proto.OpReconfig, Body: jute.AppendLong(append(append(path("server.9=h:1:2"), path("")...), path("")...), -1)},
		"unknown":                   {Code: 77, Body: path("/there")},
	}
	for _, tc := range []struct {
		name   string
		apache []int
	}{
		{"zkcore leads", []int{1}},
		{"Apache leads", []int{3}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := ensemble(t, harness.Options{Servers: 3, Apache: tc.apache})
			leader := e.Servers[2]
			startLed(t, e, leader)
			good := connect(t, e.Addrs()...)
			must(t, good, client.CreateOp{Path: "/there"})
			must(t, good, client.CreateOp{Path: "/there/x"})
			for _, s := range e.Servers {
				if s.Apache && leader.Apache {
					continue // by itself, Apache falls over some of these
				}
				for what, op := range bad {
					c := connect(t, s.Addr())
					call := c.Start(op)
					select {
					case <-call.Done():
						ctx, cancel := patience()
						if r, err := call.Wait(ctx); err == nil && !failedMulti(op, r.Body) {
							t.Errorf("server %d (%s) answers OK to %s: %x", s.ID, kind(s), what, r.Body)
						}
						cancel()
					case <-time.After(2 * time.Second):
						// Apache leaves some of them without an answer.
						if !s.Apache {
							t.Errorf("server %d (%s) does not answer %s", s.ID, kind(s), what)
						}
					}
					c.Abandon()
				}
			}
			wantLeader(t, leader)
			for _, s := range e.Servers {
				must(t, connect(t, s.Addr()), client.SetOp{Path: "/there", Data: []byte("set"), Version: -1})
			}
			sameTrees(t, e)
			before := tree(t, leader)
			for _, s := range e.Servers {
				s.Kill9()
			}
			for _, s := range e.Servers {
				s.Start()
			}
			e.Await()
			sameTrees(t, e)
			if after := tree(t, leader); !slices.Equal(before, after) {
				t.Errorf("after a restart the tree is another: %s", difference(before, after))
			}
		})
	}
}

// failedMulti says whether an answer without an error is that of a multi that failed.
func failedMulti(op client.RawOp, body []byte) bool {
	var r proto.MultiResponse
	return op.Code == proto.OpMulti && proto.Unmarshal(body, &r) == nil &&
		slices.ContainsFunc(r.Results, func(r proto.MultiResult) bool { return r.Op == proto.OpError })
}
