package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
)

// Quotas, in some runs. They are drawn from a stream of their own: whether there are any does
// not change what else clients ask for.

// limited says of a run whether its clients set quotas. What was kept before there were any
// stays as it was.
func limited(seed uint64, r *rand.Rand) bool { return r.IntN(100) < 35 && !above(quotasLine)[seed] }

// asksOfQuotas asks for something about quotas now and then, instead of something else.
func (c *client) asksOfQuotas() bool {
	r := c.w.quotaRand
	if !c.w.limited || r.IntN(9) > 0 {
		return false
	}
	of := [...]string{"/a", "/a", "/b", "/a/c", "/x"}[r.IntN(5)]
	base := "/zookeeper/quota" + of
	limits, stats := base+"/zookeeper_limits", base+"/zookeeper_stats"
	switch r.IntN(12) {
	case 0, 1, 2, 3:
		var q proto.MultiRequest
		for i := 1; i < len(of); i++ {
			if of[i] == '/' {
				c.ask(proto.OpCreate, &proto.CreateRequest{Path: "/zookeeper/quota" + of[:i], ACL: jute.OpenACL()})
			}
		}
		if r.IntN(2) == 0 {
			c.ask(proto.OpCreate, &proto.CreateRequest{Path: base, ACL: jute.OpenACL()})
		} else {
			q.Ops = append(q.Ops, proto.MultiOp{Op: proto.OpCreate, Path: base, ACL: jute.OpenACL()})
		}
		q.Ops = append(q.Ops,
			proto.MultiOp{Op: proto.OpCreate, Path: limits, Data: someLimits(r), ACL: jute.OpenACL()},
			proto.MultiOp{Op: proto.OpCreate, Path: stats, Data: []byte("count=0,bytes=0"), ACL: jute.OpenACL()})
		if r.IntN(2) == 0 {
			q.Ops = append(q.Ops, proto.MultiOp{Op: proto.OpSetData, Path: of, Data: fmt.Append(nil, strings.Repeat("q", r.IntN(30))), Version: -1})
		}
		c.ask(proto.OpMulti, &q)
	case 4:
		c.ask(proto.OpCreate, &proto.CreateRequest{Path: limits, Data: someLimits(r), ACL: jute.OpenACL()})
	case 5:
		c.ask(proto.OpCreate2, &proto.CreateRequest{Path: stats, ACL: jute.OpenACL()})
	case 6, 7:
		c.ask(proto.OpSetData, &proto.SetDataRequest{Path: limits, Data: someLimits(r), Version: -1})
	case 8:
		c.ask(proto.OpSetData, &proto.SetDataRequest{Path: stats, Data: []byte("count=1,bytes=1"), Version: -1})
	case 9:
		c.ask(proto.OpDelete, &proto.VersionRequest{Path: [...]string{limits, stats}[r.IntN(2)], Version: -1})
	default:
		c.ask(proto.OpGetData, &proto.ReadRequest{Path: stats, Watch: r.IntN(3) == 0})
	}
	return true
}

func someLimits(r *rand.Rand) []byte {
	if r.IntN(20) == 0 {
		return []byte("no limits")
	}
	return fmt.Appendf(nil, "count=%d,bytes=-1=;byteHardLimit=%d;countHardLimit=%d", r.IntN(9)-1, [...]int{-1, -1, 0, 30, 100, 500}[r.IntN(6)], [...]int{-1, 1, 2, 3, 5, 8}[r.IntN(6)])
}
