package conn

import (
	"errors"
	"sync/atomic"
	"time"
)

// output is the outgoing side, guarded by the connection's lock.
type output struct {
	out     *buffer // appended, not yet taken for writing
	flight  *buffer // being written
	sent    int     // bytes of flight that are
	writing bool    // somebody writes: flight, left and what follows are his

	// Bytes that nobody has asked for: fresh ones in out, those of out and of flight that are
	// counted, and these together.
	fresh, waits, flies, held int

	written  atomic.Int64 // bytes in all
	writeRaw func(fd uintptr) bool
	left     []byte
	wait     bool
	werr     error
}

// Out is what waits to be sent, to append to; SetOut puts it back. The
// connection is locked from before the one until after the other.
func (c *Conn) Out() []byte {
	if c.out == nil {
		c.out = getOut()
	}
	return c.out.b
}

// OutShort is Out for one who appends little: what is made for it is not made for more.
func (c *Conn) OutShort() []byte {
	if c.out == nil {
		c.out = getShort()
	}
	return c.out.b
}

// SetOut takes back what Out handed out, with more behind it.
func (c *Conn) SetOut(b []byte) { c.out.b = b }

// Queued is the number of bytes that wait to be sent. The connection is locked.
func (c *Conn) Queued() int { return c.queued() }

func (c *Conn) queued() int {
	n := 0
	if c.out != nil {
		n = len(c.out.b)
	}
	if c.flight != nil {
		n += len(c.flight.b) - c.sent
	}
	return n
}

// Written is the number of bytes that the socket has taken in all.
func (c *Conn) Written() int64 { return c.written.Load() }

// errSlow is why a connection is closed whose client takes nothing.
var errSlow = errors.New("the client does not read what it is sent")

// Flush sends what was appended, as far as the socket takes it now; a goroutine
// sends the rest. The connection is not locked.
func (c *Conn) Flush() {
	c.mu.Lock()
	switch {
	case c.closed:
	case c.writing:
		// Behind a flight that does not land more may wait only up to a limit.
		if c.account() || c.out != nil && len(c.out.b) > c.srv.cfg.MaxQueued {
			c.closeLocked(errSlow)
			c.srv.add("zkcore_slow_readers_closed", 1)
		}
	case c.out != nil && len(c.out.b) > 0:
		c.writing = true
		if !c.drain(false) {
			c.srv.wg.Add(1)
			go c.pump()
		}
		return // drain unlocks
	case c.closing:
		c.shutLocked()
	}
	c.mu.Unlock()
}

// pump writes what the socket did not take at once, and ends.
func (c *Conn) pump() {
	defer c.srv.wg.Done()
	c.mu.Lock()
	c.drain(true)
}

// drain writes until nothing is left, or, if it may not wait, until the socket
// takes no more: then it returns false, and the caller finds somebody who may.
// It is called with the connection locked and writing set, and unlocks it.
func (c *Conn) drain(wait bool) bool {
	defer c.mu.Unlock()
	for {
		if c.flight == nil {
			if c.out == nil || len(c.out.b) == 0 {
				break
			}
			c.flight, c.out, c.sent = c.out, nil, 0
			c.takeOff()
		}
		b := c.flight.b[c.sent:]
		c.mu.Unlock()
		left, err := c.write(b, wait)
		c.srv.add("response_bytes", int64(len(b)-len(left)))
		c.mu.Lock()
		c.sent = len(c.flight.b) - len(left)
		if err != nil {
			if !c.closed {
				c.closeLocked(nil) // the client went away: its own affair
				c.srv.add("connection_drop_count", 1)
			}
			break
		}
		if len(left) > 0 {
			if !wait {
				return false
			}
			continue
		}
		putOut(c.flight)
		c.flight, c.sent = nil, 0
		c.land()
		c.Wake()
	}
	c.writing = false
	if c.closing && !c.closed {
		c.shutLocked()
	}
	return true
}

// shutLocked ends sending. The client gets a moment to take what was sent and
// to close its side: closed at once, bytes of its own that nobody read would
// make the system throw away our last answer.
func (c *Conn) shutLocked() {
	if c.shut {
		return
	}
	c.shut = true
	may := c.srv.places.linger(c)
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !may || !ok || half.CloseWrite() != nil {
		c.closeLocked(nil)
		return
	}
	c.nc.SetReadDeadline(time.Now().Add(linger))
	c.Wake()
}

// linger is how long a client may take to close its side.
const linger = time.Second

// writePlain writes to what is no socket. There is no way to ask such a thing
// whether it would wait, so all is left to who may.
func (c *Conn) writePlain(b []byte, wait bool) ([]byte, error) {
	for (wait || c.port != nil) && len(b) > 0 {
		n, err := c.nc.Write(b[:min(len(b), keepOut)])
		c.written.Add(int64(n))
		b = b[n:]
		if err != nil {
			return b, err
		}
	}
	return b, nil
}
