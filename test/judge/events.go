package judge

import (
	"fmt"
	"slices"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/model"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/test/history"
)

// wanted is an event that a connection is owed.
type wanted struct {
	zxid int64 // -1 if it comes of setWatches
	typ  proto.EventType
	path string
	// maybe: nobody knows whether the connection was known as one who may hear of
	// it.
	maybe bool
	// by is the record of the reply before which an event of setWatches comes.
	by int
}

func (w wanted) String() string {
	if w.zxid < 0 {
		return fmt.Sprintf("%s %s", w.typ, w.path)
	}
	return fmt.Sprintf("%s %s at 0x%x", w.typ, w.path, w.zxid)
}

// owe takes note of an event that the model says is owed for a txn, or for the setWatches
// by.
func (r *replayer) owe(e *model.Event, zxid int64, by *op) {
	cn := r.conns[e.Watcher-1]
	if zxid > cn.horizon {
		return
	}
	record := -1
	var before, after []jute.ID
	if by != nil {
		record = by.reply
		before, after = by.ids, by.ids
	} else {
		before, after = cn.known(zxid)
	}
	a := model.Permits(e.ACL, jute.PermRead, before)
	b := a
	if len(after) != len(before) {
		b = model.Permits(e.ACL, jute.PermRead, after)
	}
	if a || b {
		cn.wanted = append(cn.wanted, wanted{zxid, e.Type, e.Path, a != b, record})
	}
}

// known is as whom a connection was known when it was told of a txn: at least, and
// at most.
func (cn *conn) known(zxid int64) (least, most []jute.ID) {
	if len(cn.auths) == 0 {
		return cn.ids, cn.ids
	}
	least, most = cn.addr, cn.addr
	for i := range cn.auths {
		switch a := &cn.auths[i]; {
		case zxid > a.hi:
			least, most = a.ids, a.ids
		case zxid > a.lo:
			most = a.ids
		}
	}
	return least, most
}

// compareEvents: each connection has heard of all that it is owed, in the order of
// the txns, once, and of nothing else; of each before any reply from a state that
// has the change, and not before a reply from one that has not (I24). Standard
// watches and those of before a reconnect are among it, as the model has them.
func (c *court) compareEvents(r *replayer) {
	for _, cn := range c.conns {
		c.interleaved(cn)
		if !r.broken {
			c.compareConn(cn)
		}
	}
}

func (c *court) interleaved(cn *conn) {
	reply, replyAt := int64(0), -1
	event, eventAt := int64(0), -1
	for _, it := range cn.stream {
		z := c.zxid(it)
		switch {
		case z < 0:
		case it.op == nil:
			if z <= reply {
				c.v.add("I24", fmt.Sprintf("an event of 0x%x comes behind a reply that shows 0x%x", z, reply), replyAt, it.record)
			}
			if z < event {
				c.v.add("I24", fmt.Sprintf("an event of 0x%x comes behind one of 0x%x", z, event), eventAt, it.record)
			}
			event, eventAt = z, it.record
		default:
			if z < event {
				c.v.add("I24", fmt.Sprintf("a reply from 0x%x comes behind an event of 0x%x", z, event), eventAt, it.record)
			}
			reply, replyAt = z, it.record
		}
	}
}

func (c *court) compareConn(cn *conn) {
	// Behind the last reply nobody knows how far setWatches got.
	last, pending := -1, false
	for _, it := range cn.stream {
		if it.op != nil {
			last = it.record
		}
	}
	for _, o := range cn.ops {
		if !o.answered() && (o.op == proto.OpSetWatches || o.op == proto.OpSetWatches2) {
			pending = true
		}
	}
	want := cn.wanted
	for _, it := range cn.stream {
		if it.op != nil {
			// All that this reply's state owes has come.
			z := c.zxid(it)
			for len(want) > 0 && (want[0].zxid >= 0 && want[0].zxid <= z || want[0].zxid < 0 && want[0].by <= it.record) {
				if !want[0].maybe {
					c.v.add("I24", fmt.Sprintf("%s is owed, and did not come before a reply from 0x%x", want[0], z), it.op.call, it.record)
				}
				want = want[1:]
			}
			continue
		}
		rec := &c.run.Records[it.record]
		c.v.Counts["I24 events"]++
		if rec.State != int32(proto.StateSyncConnected) {
			c.v.add("I24", fmt.Sprintf("an event says state %d", rec.State), it.record)
		}
		rest, ok := c.strike(want, rec)
		if ok {
			want = rest
			continue
		}
		if rec.Zxid < 0 && pending && it.record > last {
			return
		}
		next := "nothing is"
		if len(want) > 0 {
			next = want[0].String() + " is"
		}
		// Go on as if it had not come: the one that is owed still may.
		c.v.add("I24", fmt.Sprintf("an event that is not owed, %s", next), it.record)
	}
}

// strike takes the event off the list if it is one that may come next: the first
// that must come, those before it that need not, and all that the end of one
// session owes, which has no order.
func (c *court) strike(want []wanted, rec *history.Record) ([]wanted, bool) {
	kept := 0 // how many before it may still come
	for i := range want {
		w := &want[i]
		if w.zxid == rec.Zxid && int32(w.typ) == rec.Type && w.path == rec.Path {
			rest := slices.Clone(want[i-kept : i])
			return append(rest, want[i+1:]...), true
		}
		t := c.ledger.byZxid[w.zxid]
		switch {
		case t != nil && t.Header.Type == txn.TypeCloseSession && w.zxid == rec.Zxid:
			kept++
		case w.maybe && kept == 0:
		default:
			return nil, false
		}
	}
	return nil, false
}
