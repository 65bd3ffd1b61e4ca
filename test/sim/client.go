package sim

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/test/history"
)

// A client talks to the ensemble as ZooKeeper's clients do: one session, one connection at a
// time, another server when one is lost; and it notes all it does and sees.
type client struct {
	w    *world
	no   int
	host host
	addr netip.AddrPort

	e       *end
	conn    int // number of the connection
	server  int
	open    bool // requests may be sent
	in      []byte
	inbox   [][]byte // what has come and is not read
	waking  bool     // an event will read it
	heard   int64    // when something came last
	spoke   int64    // when something was sent last
	asleep  int64    // until when it does nothing
	since   int64    // when this connection was welcomed
	route   []int    // the servers that it is to go to, instead of any
	started bool

	session   int64
	passwd    []byte
	timeoutMS int32
	seen      int64 // the highest zxid
	xid       int32

	pending []sent // unanswered, oldest first
	auth    int    // unanswered auth packets
	ended   bool   // a close is under way
	done    bool   // it asks for nothing any more
	ids     bool   // it has authenticated on this connection
	closes  bool   // it has asked for the end of its session
	left    bool   // the last server without a word
	lies    bool   // it has come with a wrong password on this connection

	watches watchSet
	last    int64 // when a write succeeded last
	lock    locker
}

// A sent is a request that waits for its reply.
type sent struct {
	xid  int32
	op   proto.Op
	body []byte
}

func newClient(w *world, no int) *client {
	c := &client{w: w, no: no, host: host(1000 + no), addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(no)}), 40000)}
	c.watches.init()
	return c
}

func (c *client) note(r history.Record) {
	r.Client, r.Conn, r.Server = c.no, c.conn, c.server
	if r.Session == 0 {
		r.Session = c.session
	}
	c.w.log.Append(r)
}

func (c *client) logf(format string, args ...any) {
	c.w.logf(nil, "client %d: "+format, append([]any{c.no}, args...)...)
}

// start begins the client's life.
func (c *client) start() {
	c.started = true
	c.w.after(c.w.loadRand.Int64N(500*ms), nil, func() { c.connect(); c.tick() })
}

// tick is what a client does by the clock: pings, and giving up.
func (c *client) tick() {
	w := c.w
	w.after(50*ms+w.loadRand.Int64N(50*ms), nil, c.tick)
	if w.now < c.asleep || c.e == nil {
		return
	}
	timeout := int64(c.timeoutMS) * ms
	if timeout == 0 {
		timeout = 4 * s1
	}
	switch {
	case w.now-c.heard > timeout*2/3:
		c.lost("silence")
	case c.open && !c.ended && c.auth == 0 && w.now-c.spoke > timeout/3:
		c.call(proto.OpPing, proto.XidPing, nil)
	}
}

// connect tries a server.
func (c *client) connect() {
	w := c.w
	if c.e != nil {
		return
	}
	if w.now < c.asleep {
		w.at(min(c.asleep, w.now+s1), nil, c.connect)
		return
	}
	next := 1 + w.loadRand.IntN(len(w.machines))
	if home := c.home(); home > 0 {
		next = home
	}
	if len(c.route) > 0 {
		next = c.route[0]
	}
	m := w.machines[next-1]
	c.conn++
	c.server = next
	cut := w.net.isCut(c.host, host(m.id)) || w.net.isCut(host(m.id), c.host)
	if !m.up || m.node == nil || m.stopped || cut {
		d := 5*ms + w.loadRand.Int64N(100*ms)
		if cut || !m.up && m.disk.failed {
			d = 500 * ms
		}
		w.after(d, nil, c.connect)
		return
	}
	a, b := w.net.connect(c.host, host(m.id), nil, m)
	c.addr = netip.AddrPortFrom(c.addr.Addr(), uint16(1024+a.no%60000))
	c.e, c.in, c.open, c.auth, c.ended, c.ids = a, nil, false, 0, false, false
	c.inbox, c.waking = nil, false
	a.recv = func(b []byte) {
		if c.e == a {
			c.receive(b)
		}
	}
	a.closed = func(why string) {
		if c.e == a {
			c.lost(why)
		}
	}
	addr := c.addr
	// The bytes go behind the connection itself.
	a.put(func() {
		if !b.owned() {
			a.hangUp("refused")
			return
		}
		w.at(w.now, m, func() {
			if !b.dead {
				m.accept(b, addr)
			}
		})
	})
	q := proto.ConnectRequest{TimeoutMS: w.plan.sessionMS, SessionID: c.session, Passwd: c.passwd, LastZxidSeen: c.seen, HasReadOnly: true}
	c.lies = c.session != 0 && w.loadRand.IntN(20) == 0
	switch {
	case c.session == 0:
		q.Passwd = make([]byte, 16)
	case c.lies:
		q.Passwd = bytes.Clone(c.passwd)
		q.Passwd[w.loadRand.IntN(len(q.Passwd))] ^= 1
	}
	c.greetsWidely(&q)
	c.heard, c.spoke = w.now, w.now
	c.note(history.Record{Kind: history.Connecting, Session: c.session, Body: q.Passwd, Zxid: c.seen, TimeoutMS: q.TimeoutMS, Addr: c.addr.Addr().String()})
	c.write(q.Append(nil))
}

func (c *client) write(b []byte) {
	c.spoke = c.w.now
	c.e.send(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
}

// lost ends the connection; what was asked and not answered is unknown for ever.
func (c *client) lost(why string) {
	if c.e == nil {
		return
	}
	c.logf("loses its connection to %d: %s", c.server, why)
	c.note(history.Record{Kind: history.Lost, Note: why})
	e := c.e
	c.e, c.open = nil, false
	drains := c.w.loadRand.IntN(4) == 0 && why == "silence"
	switch {
	case c.vanishes():
		e.vanish()
		c.left = true
	case drains:
		// The old connection drains while the new one works.
		c.w.after(c.w.loadRand.Int64N(2*s1), nil, e.close)
	default:
		e.close()
	}
	c.pending = nil
	c.lock.lost(c)
	if c.closes {
		// Whether the session is gone nobody said: its client begins anew.
		c.forget()
	}
	c.w.after(c.w.loadRand.Int64N(300*ms), nil, c.connect)
}

// forget ends the session for the client.
func (c *client) forget() {
	c.lock.gone(c)
	c.session, c.passwd, c.timeoutMS, c.closes = 0, nil, 0, false
	c.xid = 0
	c.watches.init()
}

// receive takes what came.
func (c *client) receive(b []byte) {
	w := c.w
	c.inbox = append(c.inbox, b)
	if c.waking {
		return
	}
	if w.now < c.asleep {
		c.sleepOn()
		return
	}
	c.readAll()
}

// sleepOn reads what has come when the client wakes up, if the connection is still there.
func (c *client) sleepOn() {
	e := c.e
	c.waking = true
	c.w.at(c.asleep, nil, func() {
		switch {
		case c.e != e:
		case c.w.now < c.asleep:
			c.sleepOn()
		default:
			c.waking = false
			c.readAll()
		}
	})
}

func (c *client) readAll() {
	for e := c.e; c.e == e && len(c.inbox) > 0; {
		b := c.inbox[0]
		c.inbox = c.inbox[1:]
		c.read(b)
	}
}

func (c *client) read(b []byte) {
	w := c.w
	c.heard = w.now
	c.in = append(c.in, b...)
	for len(c.in) >= 4 && c.e != nil {
		n := int(binary.BigEndian.Uint32(c.in))
		if len(c.in) < 4+n {
			return
		}
		f := c.in[4 : 4+n : 4+n]
		c.in = c.in[4+n:]
		if c.open {
			c.frame(f)
		} else {
			c.greeted(f)
		}
	}
}

func (c *client) greeted(b []byte) {
	var r proto.ConnectResponse
	if err := proto.Unmarshal(b, &r); err != nil {
		c.w.fail("client %d: answer to a greeting: %v", c.no, err)
		return
	}
	if r.SessionID == 0 {
		c.logf("session 0x%x is refused", c.session)
		c.note(history.Record{Kind: history.Refused})
		c.note(history.Record{Kind: history.Lost, Note: "refused"})
		e := c.e
		c.e = nil
		e.close()
		if !c.lies {
			c.forget()
		}
		c.w.after(c.w.loadRand.Int64N(200*ms), nil, c.connect)
		return
	}
	if c.lies {
		c.w.fail("I23: client %d gets session 0x%x with a wrong password", c.no, r.SessionID)
		return
	}
	c.session, c.passwd, c.timeoutMS, c.open = r.SessionID, r.Passwd, r.TimeoutMS, true
	c.since = c.w.now
	if len(c.route) > 0 {
		if c.route = c.route[1:]; len(c.route) > 0 {
			c.w.after(c.w.lureRand.Int64N(50*ms), nil, func() { c.lost("moves") })
		}
	}
	c.logf("connected to %d as 0x%x", c.server, uint64(c.session))
	c.note(history.Record{Kind: history.Connected, TimeoutMS: r.TimeoutMS, Body: r.Passwd})
	if op, body := c.watches.again(c.seen); body != nil {
		c.call(op, proto.XidSetWatches, body)
	}
	if c.hurries() {
		c.end()
		return
	}
	c.act()
}

// call sends a request.
func (c *client) call(op proto.Op, xid int32, body []byte) *sent {
	c.w.stats.Calls++
	c.note(history.Record{Kind: history.Call, Xid: xid, Op: int32(op), Body: body})
	h := proto.RequestHeader{Xid: xid, Op: op}
	c.pending = append(c.pending, sent{xid: xid, op: op, body: body})
	c.write(append(h.Append(nil), body...))
	return &c.pending[len(c.pending)-1]
}

// ask sends a request under the next xid.
func (c *client) ask(op proto.Op, r proto.Record) *sent {
	c.xid++
	var body []byte
	if r != nil {
		body = r.Append(nil)
	}
	return c.call(op, c.xid, body)
}

// frame takes a reply or an event.
func (c *client) frame(b []byte) {
	var h proto.ReplyHeader
	if len(b) < proto.ReplyHeaderSize || proto.Unmarshal(b[:proto.ReplyHeaderSize], &h) != nil {
		c.w.fail("client %d: a frame of %d bytes is no reply", c.no, len(b))
		return
	}
	body := b[proto.ReplyHeaderSize:]
	c.seen = max(c.seen, h.Zxid)
	if h.Xid == proto.XidNotification {
		var e proto.WatcherEvent
		if err := proto.Unmarshal(body, &e); err != nil {
			c.w.fail("client %d: an event does not decode: %v", c.no, err)
			return
		}
		c.note(history.Record{Kind: history.Event, Zxid: h.Zxid, Type: int32(e.Type), State: int32(e.State), Path: e.Path})
		c.watches.fired(e)
		c.lock.event(c, e)
		return
	}
	c.w.stats.Replies++
	if h.Xid == proto.XidPing {
		// While there is no leader the server answers pings before what waits for one, as
		// every client has to expect.
		for i := range c.pending {
			if c.pending[i].xid == h.Xid {
				c.pending = append(c.pending[:i:i], c.pending[i+1:]...)
				c.note(history.Record{Kind: history.Reply, Xid: h.Xid, Op: int32(proto.OpPing), Zxid: h.Zxid, Err: int32(h.Err), Body: body})
				return
			}
		}
	}
	if len(c.pending) == 0 || c.pending[0].xid != h.Xid {
		c.w.fail("I03: client %d waits for %v, and is answered xid %d", c.no, c.pending, h.Xid)
		return
	}
	q := c.pending[0]
	c.pending = c.pending[1:]
	c.note(history.Record{Kind: history.Reply, Xid: h.Xid, Op: int32(q.op), Zxid: h.Zxid, Err: int32(h.Err), Body: body})
	if h.Err == zkerr.OK {
		c.w.stats.Done[q.op.String()]++
	}
	if isWrite(q.op) && h.Err == zkerr.OK {
		c.last = c.w.now
	}
	switch q.op {
	case proto.OpAuth:
		c.auth--
		c.ids = h.Err == zkerr.OK
	case proto.OpSASL:
		c.auth--
	case proto.OpCloseSession:
		c.note(history.Record{Kind: history.Lost, Note: "closed"})
		e := c.e
		c.e = nil
		e.close()
		c.forget()
		c.w.after(c.w.loadRand.Int64N(200*ms), nil, c.connect)
		return
	}
	c.watches.answered(q, h.Err, body)
	c.lock.reply(c, q, h.Err, body)
}

func isWrite(op proto.Op) bool {
	switch op {
	case proto.OpCreate, proto.OpCreate2, proto.OpCreateTTL, proto.OpCreateContainer, proto.OpDelete, proto.OpSetData, proto.OpSetACL, proto.OpMulti:
		return true
	}
	return false
}
