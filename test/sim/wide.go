package sim

import (
	"math/rand/v2"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
)

// What the protocol has beside what clients need every day: in some runs they ask for all of it. It is drawn from
// streams of its own, so that the other runs are what they were before there was such load.

// wideStream says which runs those are. Of streams that are as good as any other it is the first in which none of the
// seeds that were kept up to then has become another run.
const wideStream = 125651897

// drawWide draws whether clients ask for all that there is.
func (p *plan) drawWide(seed uint64) {
	p.wide = rand.New(rand.NewPCG(seed, wideStream)).IntN(2) == 0
}

// logins are whom a client can be, beside who comes from its address.
var logins = []proto.AuthPacket{
	{Scheme: "digest", Auth: []byte("bob:secret")},
	{Scheme: "digest", Auth: []byte("ann:secret")},
	{Scheme: "ip"},
}

// The hashes of bob:secret and ann:secret.
const (
	bob = "bob:6DY5WhzOfGsWQ1XFuIyzxkpwdPo="
	ann = "ann:7RJfAeIvrl4zdj6sS2fXrQHDvHM="
)

// asksWidely asks for something that something does not, now and then, in its place.
func (c *client) asksWidely() bool {
	r := c.w.wideRand
	if !c.w.plan.wide || r.IntN(4) > 0 {
		return false
	}
	switch k := r.IntN(100); {
	case k < 18:
		c.createWidely()
	case k < 34:
		c.severalWidely()
	case k < 44:
		c.readSeveral()
	case k < 50:
		c.ask(proto.OpGetEphemerals, &proto.PathRequest{Path: []string{"/", "", "/a", "/b/", "/lock/n"}[r.IntN(5)]})
	case k < 56:
		c.ask(proto.OpGetAllChildrenNum, &proto.PathRequest{Path: c.widePath()})
	case k < 60:
		c.ask(proto.OpWhoAmI, nil)
	case k < 66:
		op := proto.OpRemoveWatches
		if r.IntN(2) == 0 {
			op = proto.OpCheckWatches
		}
		c.ask(op, &proto.WatchesRequest{Path: c.widePath(), Type: proto.WatcherType(r.IntN(7))}) // two of them mean nothing
	case k < 72:
		c.ask(proto.OpAddWatch, &proto.AddWatchRequest{Path: c.widePath(), Mode: []proto.AddWatchMode{0, 0, 0, 1, 1, 1, 1, 2}[r.IntN(8)]})
	case k < 78:
		op := []proto.Op{proto.OpExists, proto.OpGetData, proto.OpGetChildren, proto.OpGetChildren2}[r.IntN(4)]
		c.ask(op, &proto.ReadRequest{Path: c.widePath(), Watch: r.IntN(2) == 0})
	case k < 83:
		c.ask(proto.OpSetACL, &proto.SetACLRequest{Path: c.path(), ACL: c.wideACL(), Version: c.version()})
	case k < 86:
		c.ask(proto.OpGetACL, &proto.PathRequest{Path: c.widePath()})
	case k < 92:
		c.login()
	case k < 95:
		c.cutShort()
	case k < 96:
		servers := "server.9=10.0.0.9:2888:3888;2181"
		c.ask(proto.OpReconfig, &proto.ReconfigRequest{JoiningServers: &servers, CurConfigID: -1})
	case k < 98:
		// What nobody can do.
		switch r.IntN(3) {
		case 0:
			c.ask(proto.OpDelete, &proto.VersionRequest{Path: []string{"/", "/zookeeper", "/zookeeper/quota", "/a/"}[r.IntN(4)], Version: -1})
		case 1:
			c.ask(proto.OpCreate, &proto.CreateRequest{Path: []string{"/a//x", "x", "/a/../b", "/"}[r.IntN(4)], ACL: jute.OpenACL()})
		default:
			c.ask(proto.OpSetData, &proto.SetDataRequest{Path: []string{"/a/", "", "/zookeeper/config"}[r.IntN(3)], Version: -1})
		}
	default:
		c.forbidden()
	}
	return true
}

// widePath is a path of all that there are, but for the configuration, which each server has of its own.
func (c *client) widePath() string {
	if r := c.w.wideRand; r.IntN(3) == 0 {
		return []string{"/", "", "/zookeeper", "/zookeeper/quota", "/a", "/b", "/lock"}[r.IntN(7)]
	}
	return c.widePathBelow()
}

func (c *client) widePathBelow() string {
	r := c.w.wideRand
	return dirs[r.IntN(len(dirs))] + "/" + names[r.IntN(len(names))]
}

// wideACL is a list of any kind. Most of them let everybody read, and nobody loses the root.
func (c *client) wideACL() []proto.ACL {
	r := c.w.wideRand
	perms := []int32{31, 31, 31, 1, 3, 7, 15, 16, 30, 0}[r.IntN(10)]
	list := []proto.ACL{[]proto.ACL{
		{Perms: perms, Scheme: "digest", ID: bob},
		{Perms: perms, Scheme: "digest", ID: ann},
		{Perms: perms, Scheme: "auth"},
		{Perms: perms, Scheme: "ip", ID: "10.1.0.0/24"},
		{Perms: perms, Scheme: "ip", ID: "10.1.0.1"},
		{Perms: perms, Scheme: "ip", ID: "10.1.0.2/31"},
		{Perms: 31, Scheme: "world", ID: "anyone"},
		{Perms: 31, Scheme: "world", ID: "anyone"},
		{Perms: 31, Scheme: "world", ID: "nobody"}, // is refused
	}[r.IntN(9)]}
	if r.IntN(3) > 0 {
		list = append(list, proto.ACL{Perms: []int32{1, 1, 5, 9, 2}[r.IntN(5)], Scheme: "world", ID: "anyone"})
	}
	return list
}

// createWidely creates a znode of any kind in any way.
func (c *client) createWidely() {
	op, q := c.anyCreate()
	if op == proto.OpCreateTTL {
		c.ask(op, &q)
		return
	}
	c.ask(op, &q.CreateRequest)
}

func (c *client) anyCreate() (proto.Op, proto.CreateTTLRequest) {
	r := c.w.wideRand
	q := proto.CreateTTLRequest{CreateRequest: proto.CreateRequest{Path: c.widePathBelow(), Data: c.data(), ACL: jute.OpenACL()}}
	if r.IntN(4) == 0 {
		q.ACL = c.wideACL()
	}
	op := []proto.Op{proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL}[r.IntN(4)]
	switch op {
	case proto.OpCreateContainer:
		q.Flags = []proto.CreateFlags{4, 4, 4, 0, 2}[r.IntN(5)]
	case proto.OpCreateTTL:
		q.Flags, q.TTL = []proto.CreateFlags{5, 6, 6, 0}[r.IntN(4)], []int64{300, 1000, 3000, 9000, 0}[r.IntN(5)]
	default:
		q.Flags = proto.CreateFlags(r.IntN(5))
	}
	if q.Flags.Sequential() && r.IntN(4) == 0 {
		q.Path = dirs[r.IntN(len(dirs))] + "/" // the number is all of the name
	}
	return op, q
}

// severalWidely is a multi with any kind of operations, and one without any.
func (c *client) severalWidely() {
	r := c.w.wideRand
	var q proto.MultiRequest
	for range r.IntN(7) {
		o := proto.MultiOp{Path: c.widePathBelow(), Version: -1}
		switch r.IntN(6) {
		case 0:
			o.Op = proto.OpCheck
			o.Version = c.version()
		case 1:
			o.Op = proto.OpDelete
		case 2:
			o.Op, o.Data = proto.OpSetData, c.data()
		default:
			op, x := c.anyCreate()
			o.Op, o.Path, o.Data, o.ACL, o.Flags, o.TTL = op, x.Path, x.Data, x.ACL, x.Flags, x.TTL
		}
		q.Ops = append(q.Ops, o)
		if r.IntN(3) == 0 && (o.Op == proto.OpCreate || o.Op == proto.OpCreate2) {
			// What was made just now, by the same txn.
			q.Ops = append(q.Ops, []proto.MultiOp{
				{Op: proto.OpDelete, Path: o.Path, Version: 0},
				{Op: proto.OpSetData, Path: o.Path, Data: c.data(), Version: 0},
				{Op: proto.OpCreate, Path: o.Path + "/x", ACL: jute.OpenACL(), Flags: proto.CreateFlags(r.IntN(4))},
			}[r.IntN(3)])
		}
	}
	c.ask(proto.OpMulti, &q)
}

// readSeveral is a multiRead.
func (c *client) readSeveral() {
	r := c.w.wideRand
	q := proto.MultiRequest{Read: true}
	for range r.IntN(5) {
		op := proto.OpGetData
		if r.IntN(2) == 0 {
			op = proto.OpGetChildren
		}
		q.Ops = append(q.Ops, proto.MultiOp{Op: op, Path: c.widePath(), Watch: r.IntN(4) == 0})
	}
	if r.IntN(20) == 0 {
		q = proto.MultiRequest{Ops: []proto.MultiOp{{Op: proto.OpDelete, Path: "/a/x", Version: -1}}} // no read
	}
	c.ask(proto.OpMultiRead, &q)
}

// login makes the client somebody more. Beside it the client asks for nothing, or nobody knows who asks.
func (c *client) login() {
	r := c.w.wideRand
	if len(c.pending) > 0 || c.lock.state == lockWaiting {
		return
	}
	c.auth++
	switch r.IntN(20) {
	case 0:
		c.call(proto.OpAuth, proto.XidAuth, (&proto.AuthPacket{Scheme: "digest", Auth: []byte("super:test")}).Append(nil))
	case 1:
		// Is refused, and its connection closed.
		c.ended = true
		c.call(proto.OpAuth, proto.XidAuth, (&proto.AuthPacket{Scheme: "nobody", Auth: []byte("bob")}).Append(nil))
	case 2:
		c.xid++
		c.call(proto.OpSASL, c.xid, (&proto.SASLToken{Token: []byte("token")}).Append(nil))
	default:
		c.call(proto.OpAuth, proto.XidAuth, logins[r.IntN(len(logins))].Append(nil))
	}
}

// cutShort sends a record that ends too soon.
func (c *client) cutShort() {
	r := c.w.wideRand
	op, rec := proto.OpGetData, proto.Record(&proto.ReadRequest{Path: c.widePath(), Watch: true})
	switch r.IntN(6) {
	case 0:
		op, rec = proto.OpCreate, &proto.CreateRequest{Path: c.widePathBelow(), ACL: jute.OpenACL()}
	case 1:
		op, rec = proto.OpSetData, &proto.SetDataRequest{Path: c.widePathBelow(), Version: -1}
	case 2:
		op, rec = proto.OpMulti, &proto.MultiRequest{Ops: []proto.MultiOp{{Op: proto.OpDelete, Path: c.widePathBelow(), Version: -1}}}
	case 3:
		op, rec = proto.OpAddWatch, &proto.AddWatchRequest{Path: c.widePath()}
	case 4:
		op, rec = proto.OpDelete, &proto.VersionRequest{Path: c.widePathBelow(), Version: -1}
	}
	b := rec.Append(nil)
	c.xid++
	c.call(op, c.xid, b[:r.IntN(len(b))])
}

// forbidden asks for what no client may ask for. The server says so and closes the connection.
func (c *client) forbidden() {
	c.ended = true
	switch c.w.wideRand.IntN(4) {
	case 0:
		c.ask(proto.OpDeleteContainer, &proto.PathRequest{Path: c.widePathBelow()})
	case 1:
		c.ask(proto.OpCheck, &proto.VersionRequest{Path: "/", Version: -1})
	case 2:
		c.ask(proto.OpCreateSession, nil)
	default:
		c.ask(99, nil)
	}
}

// greetsWidely makes a greeting one of another client: one that is older, or one that has changed its mind about its
// timeout.
func (c *client) greetsWidely(q *proto.ConnectRequest) {
	if !c.w.plan.wide {
		return
	}
	r := c.w.wideRand
	q.HasReadOnly = r.IntN(4) > 0
	if r.IntN(3) == 0 {
		q.TimeoutMS = q.TimeoutMS * int32(1+r.IntN(4)) / 2
	}
}
