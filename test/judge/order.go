package judge

import (
	"fmt"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// replies: none is missing between two that came (I03). The order itself was seen
// to when they were taken. What nobody may ask for is refused (I07).
func (c *court) replies(*Options) {
	for _, cn := range c.conns {
		var hole *op
		for _, o := range cn.ops {
			switch {
			case o.op == proto.OpPing || o.op == proto.OpAuth:
			case !o.answered():
				hole = o
			case hole != nil:
				c.v.add("I03", fmt.Sprintf("%s is answered, and %s before it is not", o, hole), hole.call, o.reply)
				hole = nil
			}
			if o.answered() && forbidden(o.op) && o.code != zkerr.Unimplemented {
				c.v.add("I07", fmt.Sprintf("%s is answered %v, and nobody may ask for it", o, o.code), o.call, o.reply)
			}
			if o.answered() {
				c.v.Counts["I03 replies in order"]++
			}
		}
	}
}

// realTime: what is asked for after something was answered comes behind it (I01),
// and so does what a client asks for later than something else.
func (c *court) realTime(*Options) {
	for _, o := range c.ops {
		zxid := zxidOf(o)
		if zxid == 0 {
			continue
		}
		c.v.Counts["I01 writes"]++
		if zxid <= o.floor.zxid {
			c.v.add("I01", fmt.Sprintf("%s has zxid 0x%x, and 0x%x was answered before it was sent", o, zxid, o.floor.zxid), o.floor.record, o.call, o.reply)
		}
	}
	for _, s := range c.order {
		if s.opened == nil {
			continue
		}
		cn := s.conns[0]
		if zxid := s.opened.Header.Zxid; cn.asked == 0 && zxid <= cn.floor.zxid {
			c.v.add("I01", fmt.Sprintf("session 0x%x is opened at 0x%x, and 0x%x was answered before it was asked for", s.id, zxid, cn.floor.zxid),
				cn.floor.record, cn.connecting, cn.connected)
		}
	}
	for _, s := range c.order {
		var last *op
		for _, o := range s.ops {
			zxid := zxidOf(o)
			if zxid == 0 || o.txn != nil && o.txn.Err != 0 {
				continue // what is refused may be late
			}
			if last != nil && zxid <= zxidOf(last) {
				c.v.add("I01", fmt.Sprintf("%s at 0x%x comes before %s at 0x%x, which the same session had asked for earlier", o, zxid, last, zxidOf(last)), last.call, o.call, o.reply)
			}
			last = o
		}
	}
}

// neverBack: the zxid that a session sees never falls (I04), over all its
// connections: a server that is behind must not take a client.
func (c *court) neverBack(*Options) {
	for _, cn := range c.conns {
		last, at := cn.seen, cn.connecting
		if cn.session != nil && cn.asked != 0 {
			before := int64(0)
			for _, other := range cn.session.conns {
				for _, it := range other.stream {
					if z := c.zxid(it); it.record < cn.connecting && z > before {
						before = z
						if z > cn.seen {
							at = it.record
						}
					}
				}
			}
			if before > cn.seen {
				c.v.add("client", fmt.Sprintf("it comes back with 0x%x, and has seen 0x%x", cn.seen, before), at, cn.connecting)
			}
			last = max(last, before)
		}
		for _, it := range cn.stream {
			z := c.zxid(it)
			if z < 0 {
				continue
			}
			c.v.Counts["I04 zxids"]++
			if z < last {
				c.v.add("I04", fmt.Sprintf("the zxid falls from 0x%x to 0x%x", last, z), at, it.record)
			}
			if z >= last {
				last, at = z, it.record
			}
		}
	}
}

// zxid is what a reply or an event says of how far the server is, -1 if nothing.
func (c *court) zxid(it item) int64 {
	r := &c.run.Records[it.record]
	switch {
	case it.op == nil:
		return r.Zxid
	case it.op.op == proto.OpAuth, it.op.op == proto.OpSASL:
		return -1
	}
	return r.Zxid
}

// syncs: behind a sync a client sees all that anybody's write was answered with
// before the sync was sent (I05).
func (c *court) syncs(*Options) {
	for _, cn := range c.conns {
		var sync *op
		for _, o := range cn.ops {
			if !o.answered() || o.op == proto.OpAuth || o.op == proto.OpSASL || o.op == proto.OpPing || o.zxid < 0 {
				continue
			}
			if o.op == proto.OpSync && o.code == zkerr.OK {
				c.v.Counts["I05 syncs"]++
				if sync == nil || o.floor.zxid >= sync.floor.zxid {
					sync = o
				}
			}
			if sync == nil {
				continue
			}
			if o != sync && !isWrite(o.op) {
				c.v.Counts["I05 reads behind a sync"]++
			}
			if o.zxid < sync.floor.zxid {
				c.v.add("I05", fmt.Sprintf("%s is answered from 0x%x, behind a sync that was sent when 0x%x was answered", o, o.zxid, sync.floor.zxid),
					sync.floor.record, sync.call, o.reply)
			}
		}
	}
}
