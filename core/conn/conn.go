package conn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// maxGreeting is the longest frame before there is a session. A ConnectRequest
// has 45 bytes.
const maxGreeting = 1024

// highWater is how many bytes may wait to be sent before no more is executed
// for a client.
const highWater = 256 << 10

// A Conn is one client's connection.
//
// Lock and Unlock guard the outgoing side, and also whatever the Client keeps
// for the connection: what is executed and what is sent stay in step that way.
type Conn struct {
	// ID numbers the connection; it is never used again in the life of a process.
	ID uint64

	srv   *Server
	nc    net.Conn
	raw   syscall.RawConn // nil if nc is no socket: TLS, a pipe in a test
	ip    netip.Addr
	addr  string
	port  Port // nil: nc is a real one, and a goroutine reads it
	since time.Time
	count *int // connections of the listener
	// placed: it counts against the limits; lingers: it does not any more, and is open still. The
	// places' lock guards them, and count.
	placed, lingers bool

	client Client
	input
	warm atomic.Int32 // how often something came since Cool
	cold bool         // frames must not wait

	mu      sync.Mutex
	cond    sync.Cond // on mu: Wake
	waiting int       // goroutines in cond.Wait
	output
	closing bool  // close when all is sent
	shut    bool  // nothing more is sent: half closed
	closed  bool  // nothing more is read either
	why     error // reason for the log; nil: no line
}

// ErrQuiet is what Client.Frames returns to end a connection without a word to
// anybody.
var ErrQuiet = errors.New("conn: closed")

func newConn(s *Server, nc net.Conn) *Conn {
	c := &Conn{ID: s.next.Add(1), srv: s, nc: nc, since: time.Now()}
	c.cond.L = &c.mu
	c.limit = maxGreeting
	if a := nc.RemoteAddr(); a != nil {
		c.addr = a.String()
		if ap, err := netip.ParseAddrPort(c.addr); err == nil {
			c.ip = ap.Addr().Unmap().WithZone("")
		}
	}
	c.openRaw()
	return c
}

// RemoteAddr is the client's address and port; IP is the address alone, not
// valid if the connection is not of the network.
func (c *Conn) RemoteAddr() string { return c.addr }

// IP is the client's address, with a mapped IPv4 address as such.
func (c *Conn) IP() netip.Addr { return c.ip }

// Since is when the connection was accepted.
func (c *Conn) Since() time.Time { return c.since }

// Client is what Config.Accept returned for the connection.
func (c *Conn) Client() Client { return c.client }

// Lock locks the connection.
func (c *Conn) Lock() { c.mu.Lock() }

// Unlock unlocks the connection.
func (c *Conn) Unlock() { c.mu.Unlock() }

// TryLock locks the connection if that needs no waiting.
func (c *Conn) TryLock() bool { return c.mu.TryLock() }

// Stalled says that frames have come which the client does not take now. The
// connection is locked.
func (c *Conn) Stalled() bool { return c.waiting > 0 }

// Writing says that the socket takes less than there is to be sent. The
// connection is locked.
func (c *Conn) Writing() bool { return c.writing }

// WaitSent waits until so little is left to be sent that more may be made.
func (c *Conn) WaitSent() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed && c.queued() > highWater {
		c.waiting++
		c.cond.Wait()
		c.waiting--
	}
}

// Wake makes the connection ask its client again whether it is Blocked. The
// connection is locked.
func (c *Conn) Wake() {
	switch {
	case c.waiting == 0:
	case c.port != nil:
		c.waiting = 0
		c.port.Resume()
	default:
		c.cond.Broadcast()
	}
}

// Established says that the greeting is complete: its deadline is lifted and
// frames may be as long as MaxFrame. Called from within Client.Frames.
func (c *Conn) Established() {
	c.limit, c.greeted = c.srv.cfg.MaxFrame, true
	c.nc.SetReadDeadline(time.Time{})
}

// Close closes the connection at once. why is written to the log unless it is
// nil. Only the first call counts.
func (c *Conn) Close(why error) {
	c.mu.Lock()
	c.closeLocked(why)
	c.mu.Unlock()
}

// CloseLocked is Close for who has the connection locked.
func (c *Conn) CloseLocked(why error) { c.closeLocked(why) }

func (c *Conn) closeLocked(why error) {
	if c.closed {
		return
	}
	c.closed, c.why = true, why
	c.forgive()
	c.cond.Broadcast()
	c.srv.places.giveBack(c)
	c.nc.Close()
}

// CloseSent closes the connection when all that was appended is sent; nothing
// more is read from it. The connection is locked; Flush must follow.
func (c *Conn) CloseSent() {
	if !c.closing && !c.closed {
		c.closing = true
		c.nc.SetWriteDeadline(time.Now().Add(lastWords))
		c.Wake()
	}
}

// lastWords is how long the last replies may take their reader.
const lastWords = 5 * time.Second

// Gone says that the connection is closed or about to be. The connection is
// locked.
func (c *Conn) Gone() bool { return c.closed || c.closing }

// serve is the life of a connection, on a goroutine of its own.
func (c *Conn) serve() {
	defer c.srv.wg.Done()
	c.client = c.srv.cfg.Accept(c)
	if !c.srv.enter(c) {
		c.Close(nil)
	}
	c.nc.SetReadDeadline(c.since.Add(c.srv.cfg.Greeting))
	err := c.greet()
	for err == nil {
		if err = c.handle(); err == nil {
			err = c.fill()
		}
	}
	c.finish(err)
}

// greet reads until a four-letter word would be complete, and answers it if
// there is one.
func (c *Conn) greet() error {
	for c.in == nil || len(c.in.b) < 4 {
		if err := c.fill(); err != nil {
			return err
		}
	}
	if word, ok := fourLetters(c.in.b[:4]); ok {
		return c.fourLetter(word)
	}
	return nil
}

// finish ends the connection after err: io.EOF and the like are no news.
func (c *Conn) finish(err error) {
	c.mu.Lock()
	if !c.closed {
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, errAnswered), errors.Is(err, ErrQuiet), c.closing:
			err = nil
		case errors.Is(err, os.ErrDeadlineExceeded) && !c.greeted:
			c.srv.add("sessionless_connections_expired", 1)
			err = fmt.Errorf("no complete greeting within %v", c.srv.cfg.Greeting)
		case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, io.ErrClosedPipe):
			c.srv.add("connection_drop_count", 1)
			err = nil
		}
		c.closeLocked(err)
	}
	why := c.why
	c.mu.Unlock()
	if why != nil {
		c.srv.log.warn("connection closed", "client", c.addr, "of", c.client.Describe(), "why", why)
	}
	c.srv.remove(c)
	c.releaseInput()
	c.client.Closed()
}
