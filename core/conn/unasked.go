package conn

import "sync/atomic"

// What a client has asked for is bounded by what it is let ask: no more is executed for one that
// does not take its replies. Events nobody asks for. Those that wait for a client which does not
// read may be many, and such clients too: when there are more bytes of events in all than there
// may be, a client with more than its share of them loses its connection. Only what waits behind
// a write that does not land is counted, so that it costs nothing where everybody reads.

// unasked is a server's account.
type unasked struct {
	bytes atomic.Int64 // of all connections
	conns atomic.Int64 // that have any
}

// Unasked says that n of the bytes that were appended nobody has asked for. The connection is locked.
func (c *Conn) Unasked(n int) { c.fresh += n }

// account counts what has come to wait behind a write, and says whether it is more than may be.
func (c *Conn) account() (tooMuch bool) {
	if c.fresh > 0 {
		c.hold(c.fresh)
		c.waits += c.fresh
		c.fresh = 0
	}
	u, most := &c.srv.unasked, c.srv.cfg.MaxUnasked
	return c.held > 0 && u.bytes.Load() > most && int64(c.held) > most/max(u.conns.Load(), 1)
}

// takeOff says that what waited is being written now.
func (c *Conn) takeOff() { c.flies, c.waits, c.fresh = c.waits, 0, 0 }

// land says that it has been written.
func (c *Conn) land() {
	c.hold(-c.flies)
	c.flies = 0
}

// forgive says that nothing of it will be.
func (c *Conn) forgive() {
	c.hold(-c.held)
	c.flies, c.waits, c.fresh = 0, 0, 0
}

func (c *Conn) hold(n int) {
	if n == 0 {
		return
	}
	was := c.held
	c.held += n
	u := &c.srv.unasked
	u.bytes.Add(int64(n))
	switch {
	case was == 0:
		u.conns.Add(1)
	case c.held == 0:
		u.conns.Add(-1)
	}
}
