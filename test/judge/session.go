package judge

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/test/history"
)

// welcomes: who comes back gets the session that it shows the password of, or is
// told that it is over, and then it is over for everybody (I23); a new session has
// an id that no other has (I19).
func (c *court) welcomes(*Options) {
	// knows is the highest zxid that a server had shown at each Connecting to it, or
	// that its client comes with: what it must know of. A server that does not know
	// yet that it leads no more may welcome whom the others have seen the end of.
	top := map[int]int64{}
	knows := map[int]int64{}
	for i := range c.run.Records {
		switch r := &c.run.Records[i]; r.Kind {
		case history.Reply, history.Event:
			top[r.Server] = max(top[r.Server], r.Zxid)
		case history.Connecting:
			knows[i] = max(top[r.Server], r.Zxid)
		}
	}
	passwords := map[int64][]byte{}
	owner := map[int64]*conn{}
	var over []*conn // refused with the right password, in the order of the refusals
	for _, cn := range c.conns {
		shown := []byte(nil)
		if cn.connecting >= 0 {
			shown = c.run.Records[cn.connecting].Body
		}
		if cn.refused >= 0 {
			if bytes.Equal(shown, passwords[cn.asked]) && cn.asked != 0 && c.sessions[cn.asked] != nil {
				over = append(over, cn)
				c.v.Counts["I23 refused"]++
			} else {
				cn.shownWrong = true
			}
			continue
		}
		if cn.session == nil {
			continue
		}
		id := cn.session.id
		if cn.asked == 0 {
			if first := owner[id]; first != nil {
				c.v.add("I19", fmt.Sprintf("session 0x%x is given to a second client", id), first.connected, cn.connected)
			}
			owner[id] = cn
			passwords[id] = c.run.Records[cn.connected].Body
			continue
		}
		c.v.Counts["I23 welcomed back"]++
		if c.run.About.LocalSessions && cn.session.opened == nil {
			c.v.Counts["local sessions welcomed back"]++
		}
		switch {
		case id != cn.asked:
			c.v.add("I23", fmt.Sprintf("a client comes with session 0x%x and gets 0x%x", cn.asked, id), cn.connecting, cn.connected)
		case owner[id] != nil && !bytes.Equal(shown, passwords[id]):
			c.v.add("I23", fmt.Sprintf("a client gets session 0x%x with a wrong password", id), cn.connecting, cn.connected)
		}
		if end := cn.session.closed; end != nil && end.Header.Zxid <= knows[cn.connecting] {
			c.v.add("I23", fmt.Sprintf("session 0x%x is welcomed by a server that has shown its end at 0x%x", id, end.Header.Zxid), cn.connecting, cn.connected)
		}
	}
	if c.ledger == nil {
		return
	}
	for _, cn := range over {
		if c.unknown(cn) {
			continue
		}
		s := c.sessions[cn.asked]
		end := never
		if s.closed != nil {
			end = s.closed.Header.Zxid
		}
		later := func(zxid int64, what fmt.Stringer, records ...int) {
			if zxid == 0 || zxid > end {
				return
			}
			when := "and never was"
			if s.closed != nil {
				when = fmt.Sprintf("and was at 0x%x", end)
			}
			c.v.add("I23", fmt.Sprintf("a client was told that session 0x%x is over, %s; what was asked for later came first: %v at 0x%x", s.id, when, what, zxid),
				append(records, cn.refused)...)
		}
		for _, o := range c.ops {
			if o.call > cn.refused {
				later(zxidOf(o), o, o.call)
			}
		}
		for _, other := range c.order {
			if first := other.conns[0]; first.connecting > cn.refused && first.asked == 0 && other.opened != nil {
				later(other.opened.Header.Zxid, other.opened, first.connecting)
			}
		}
	}
}

// unknown says of a connection that was refused that the session it asked for may well have been a local one:
// nobody had been answered from a state that knew it. Another server than its own takes such a session for over, and what its
// client asked of its own may make it the ensemble's afterwards.
func (c *court) unknown(cn *conn) bool {
	s := c.sessions[cn.asked]
	if !c.run.About.LocalSessions || s == nil || c.ledger == nil {
		return false
	}
	for _, o := range s.ops {
		if s.opened != nil && o.answered() && o.reply < cn.refused && o.zxid >= s.opened.Header.Zxid {
			return false
		}
	}
	c.v.Counts["refused, maybe local"]++
	return true
}

// expiries: a session that its client has not closed ends only when it was not
// heard from for its whole timeout (I20). What a leader has surely heard, and those
// behind it have taken over: what is committed, the opening among it. A welcome or
// a read may come from a server that the others don't listen to.
func (c *court) expiries(o *Options) {
	if c.ledger == nil {
		return
	}
	// known has the time at which somebody first saw a state of at least that zxid.
	type sight struct {
		zxid int64
		at   int64
		rec  int
	}
	var sights []sight
	top := int64(0)
	for i := range c.run.Records {
		if r := &c.run.Records[i]; (r.Kind == history.Reply || r.Kind == history.Event) && r.Zxid > top {
			top = r.Zxid
			sights = append(sights, sight{top, r.At, i})
		}
	}
	for _, s := range c.order {
		t := s.closed
		if t == nil || t.op != nil && t.op.op == proto.OpCloseSession {
			continue
		}
		var seen *sight
		for i := range sights {
			if sights[i].zxid >= t.Header.Zxid {
				seen = &sights[i]
				break
			}
		}
		if seen == nil {
			continue // nobody was there to see how late it was
		}
		c.v.Counts["I20 expiries"]++
		heard := -1
		timeout := c.shortest(s, seen.rec)
		if first := s.conns[0]; first.asked == 0 {
			heard = first.connecting
		}
		for _, x := range s.ops {
			if x.txn != nil && x.txn.effect() && x.txn.Header.Zxid < t.Header.Zxid {
				heard = max(heard, x.call)
			}
		}
		if heard < 0 {
			continue
		}
		silent := float64(seen.at-c.run.Records[heard].At) / 1e6
		if silent*(1+o.ClockDrift) < float64(timeout) {
			c.v.add("I20", fmt.Sprintf("session 0x%x ended at 0x%x, which was seen %.0f ms after it was heard from; its timeout is %d ms",
				s.id, t.Header.Zxid, silent, timeout), heard, seen.rec)
		}
	}
}

// shortest is the shortest timeout by which a server may have gone for a session until a record: its client may have
// come back with another one than it was opened with. That counts from when a server hears of it, whether its answer
// arrives or not, and until the client has long been back with another: what it asked for on a connection that it has
// left may come late to the leader, but not later than a session lasts.
func (c *court) shortest(s *session, until int) int32 {
	timeout := s.timeoutMS
	at := func(record int) int64 { return c.run.Records[record].At }
	forgotten := func(cn *conn, last int) bool {
		return slices.ContainsFunc(s.conns, func(next *conn) bool {
			return next.no > cn.no && next.connected < until && at(next.connected) > at(last)+int64(s.timeoutMS)*1e6
		})
	}
	for _, cn := range s.conns {
		if cn.connected < until && !forgotten(cn, cn.connected) {
			timeout = min(timeout, c.run.Records[cn.connected].TimeoutMS)
		}
	}
	for _, cn := range c.conns {
		if cn.asked == s.id && cn.client == s.client && cn.connected < 0 && cn.refused < 0 && cn.connecting < until && !forgotten(cn, cn.connecting) {
			timeout = min(timeout, c.run.Records[cn.connecting].TimeoutMS)
		}
	}
	return timeout
}

// closes: nothing of a session is committed behind its end (I22).
func (c *court) closes(*Options) {
	for _, s := range c.order {
		var end int64
		if s.closed != nil {
			end = s.closed.Header.Zxid
		}
		for _, o := range s.ops {
			if o.op == proto.OpCloseSession && o.answered() && o.code == zkerr.OK && (end == 0 || o.zxid < end) {
				end = o.zxid
			}
		}
		if end == 0 {
			continue
		}
		c.v.Counts["I22 ended sessions"]++
		for _, o := range s.ops {
			if zxid := zxidOf(o); zxid > end && o.op != proto.OpCloseSession && (o.txn != nil && o.txn.effect() || o.txn == nil && o.done() && !failed(o)) {
				c.v.add("I22", fmt.Sprintf("%s takes effect at 0x%x, behind the end of its session at 0x%x", o, zxid, end), o.call, o.reply)
			}
		}
	}
	if c.ledger == nil {
		return
	}
	ended := map[int64]int64{}
	for _, t := range c.ledger.txns {
		id := t.Header.ClientID
		switch {
		case t.Header.Type == txn.TypeCloseSession:
			if ended[id] == 0 {
				ended[id] = t.Header.Zxid
			}
		case ended[id] != 0 && t.effect() && id != 0:
			c.v.add("I22", fmt.Sprintf("%s: its session ended at 0x%x", t, ended[id]))
		}
	}
}

// failed says whether a multi was answered with errors.
func failed(o *op) bool {
	var p proto.MultiResponse
	return o.op == proto.OpMulti && proto.Unmarshal(o.out, &p) == nil && len(p.Results) > 0 && p.Results[0].Op == proto.OpError
}
