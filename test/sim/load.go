package sim

import (
	"fmt"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
)

// superDigest is of super:test.
const superDigest = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="

// act asks for something now and then, as long as this connection is open.
func (c *client) act() {
	w := c.w
	e := c.e
	d := w.loadRand.Int64N(2 * w.plan.pauseMS * ms)
	if w.loadRand.IntN(4) == 0 {
		d = w.loadRand.Int64N(2 * ms) // in a row
	}
	w.after(d, nil, func() {
		if c.e != e || !c.open || c.ended {
			return
		}
		if !c.done && w.now >= c.asleep && len(c.pending) < w.plan.pipeline && c.auth == 0 {
			c.something()
		}
		if c.e == e && c.open && !c.ended {
			c.act()
		}
	})
}

// dirs and names make the paths that clients meet at.
var (
	dirs  = []string{"", "/a", "/b", "/a/c"}
	names = []string{"x", "y", "z", "a", "b", "c"}
)

func (c *client) path() string {
	r := c.w.loadRand
	return dirs[r.IntN(len(dirs))] + "/" + names[r.IntN(len(names))]
}

func (c *client) data() []byte {
	b := fmt.Appendf(nil, "%d.%d.%d", c.no, c.conn, c.w.stats.Calls)
	switch c.w.loadRand.IntN(40) {
	case 0:
		return make([]byte, 1+c.w.loadRand.IntN(c.w.plan.dataMax))
	case 1:
		return nil
	}
	return b
}

func (c *client) acl() []proto.ACL {
	r := c.w.loadRand
	switch r.IntN(12) {
	case 0:
		return []proto.ACL{{Perms: 31, Scheme: "auth"}}
	case 1:
		return []proto.ACL{{Perms: 1, Scheme: "world", ID: "anyone"}, {Perms: 31, Scheme: "digest", ID: bob}}
	}
	return jute.OpenACL()
}

func (c *client) version() int32 {
	if c.w.loadRand.IntN(3) > 0 {
		return -1
	}
	return int32(c.w.loadRand.IntN(4))
}

// something is the next thing that a client asks for.
func (c *client) something() {
	r := c.w.loadRand
	k := r.IntN(100)
	if c.no <= c.w.plan.readers && c.lock.state == lockIdle && (c.w.faults || c.w.peace > 0 && c.last > c.w.peace) {
		// Whoever hears of a server from its reads and syncs alone does not see that it
		// commits nothing any more.
		k = []int{49, 57, 63, 79, 79, 86, 89}[r.IntN(7)]
	} else if c.lock.wants(c) || c.asksWidely() {
		return
	} else if c.asksOfQuotas() {
		return
	}
	switch {
	case k < 18:
		flags := []proto.CreateFlags{0, 0, 0, 1, 1, 2, 3}[r.IntN(7)]
		op := proto.OpCreate
		if r.IntN(3) == 0 {
			op = proto.OpCreate2
		}
		c.ask(op, &proto.CreateRequest{Path: c.path(), Data: c.data(), ACL: c.acl(), Flags: flags})
	case k < 20:
		c.ask(proto.OpCreateContainer, &proto.CreateRequest{Path: c.path(), Data: c.data(), ACL: c.acl(), Flags: proto.FlagContainer})
	case k < 21:
		c.ask(proto.OpCreateTTL, &proto.CreateTTLRequest{CreateRequest: proto.CreateRequest{Path: c.path(), Data: c.data(), ACL: c.acl(), Flags: proto.FlagPersistentWithTTL}, TTL: 500 + r.Int64N(5000)})
	case k < 31:
		c.ask(proto.OpDelete, &proto.VersionRequest{Path: c.path(), Version: c.version()})
	case k < 49:
		c.ask(proto.OpSetData, &proto.SetDataRequest{Path: c.path(), Data: c.data(), Version: c.version()})
	case k < 57:
		c.ask(proto.OpGetData, &proto.ReadRequest{Path: c.path(), Watch: r.IntN(3) == 0})
	case k < 63:
		c.ask(proto.OpExists, &proto.ReadRequest{Path: c.path(), Watch: r.IntN(3) == 0})
	case k < 69:
		op := proto.OpGetChildren
		if r.IntN(2) == 0 {
			op = proto.OpGetChildren2
		}
		p := dirs[r.IntN(len(dirs))]
		if p == "" {
			p = "/"
		}
		c.ask(op, &proto.ReadRequest{Path: p, Watch: r.IntN(3) == 0})
	case k < 79:
		c.several()
	case k < 86:
		c.ask(proto.OpSync, &proto.PathRequest{Path: "/"})
		if len(c.pending) < c.w.plan.pipeline || r.IntN(2) == 0 {
			c.ask(proto.OpGetData, &proto.ReadRequest{Path: c.path()})
		}
	case k < 89:
		mode := proto.AddWatchPersistent
		if r.IntN(2) == 0 {
			mode = proto.AddWatchPersistentRecursive
		}
		c.ask(proto.OpAddWatch, &proto.AddWatchRequest{Path: c.path(), Mode: mode})
	case k < 91:
		c.ask(proto.OpRemoveWatches, &proto.WatchesRequest{Path: c.path(), Type: []proto.WatcherType{1, 2, 3}[r.IntN(3)]})
	case k < 93:
		c.ask(proto.OpSetACL, &proto.SetACLRequest{Path: c.path(), ACL: c.acl(), Version: c.version()})
	case k < 94:
		c.ask(proto.OpGetACL, &proto.PathRequest{Path: c.path()})
	case k < 96:
		// Not while an event may make it ask for more: beside an auth packet it asks for
		// nothing, or nobody knows who asks.
		if !c.ids && len(c.pending) == 0 && c.lock.state != lockWaiting {
			c.auth++
			c.call(proto.OpAuth, proto.XidAuth, (&proto.AuthPacket{Scheme: "digest", Auth: []byte("bob:secret")}).Append(nil))
		}
	case k < 97:
		if r.IntN(4) == 0 {
			if r.IntN(2) == 0 && c.w.plan.pipeline > 1 {
				// Its node is not there yet when the session ends.
				c.ask(proto.OpCreate, &proto.CreateRequest{Path: c.path(), ACL: jute.OpenACL(), Flags: proto.FlagEphemeralSequential})
			}
			c.end()
		}
	default:
		c.ask(proto.OpSetData, &proto.SetDataRequest{Path: "/a", Data: c.data(), Version: -1})
	}
}

// end closes the session.
func (c *client) end() {
	c.ended, c.closes = true, true
	c.lock.gone(c)
	c.ask(proto.OpCloseSession, nil)
}

// several is a multi; now and then one that fails.
func (c *client) several() {
	r := c.w.loadRand
	var q proto.MultiRequest
	for range 1 + r.IntN(4) {
		o := proto.MultiOp{Path: c.path()}
		switch r.IntN(5) {
		case 0:
			o.Op, o.Version = proto.OpCheck, c.version()
		case 1:
			o.Op, o.Version = proto.OpDelete, c.version()
		case 2, 3:
			o.Op, o.Data, o.Version = proto.OpSetData, c.data(), c.version()
		default:
			o.Op, o.Data, o.ACL, o.Flags = proto.OpCreate, c.data(), jute.OpenACL(), proto.CreateFlags(r.IntN(4))
		}
		q.Ops = append(q.Ops, o)
	}
	c.ask(proto.OpMulti, &q)
}
