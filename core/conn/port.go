package conn

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"time"
)

// A Port carries the bytes of a connection that has neither a socket nor a goroutine:
// whoever holds the other end calls Receive and HangUp. The simulator does. The methods
// may be called while the connection is locked: they note what is to be done, and call
// nothing back.
type Port interface {
	// Send takes bytes for the client. It keeps nothing of b.
	Send(b []byte)
	// Resume asks for a call of Receive, with or without bytes: those that were not taken
	// may be now.
	Resume()
	// Shut says that nothing more is sent.
	Shut()
	// Close says that the connection is closed at once. HangUp must follow.
	Close()
	// Addr is the client's address.
	Addr() netip.AddrPort
}

// errStalled is frames' word for a connection on which it may not wait: later.
var errStalled = errors.New("conn: stalled")

// Attach serves a connection on a Port. There are no four-letter words on it and no
// time limit for the greeting.
func (s *Server) Attach(p Port) *Conn {
	c := newConn(s, portConn{p})
	c.port = p
	c.client = s.cfg.Accept(c)
	s.places.take(c, 0, 0)
	if !s.enter(c) {
		c.Close(nil)
	}
	return c
}

// Receive takes bytes that came on a Port, which are the connection's from then on.
func (c *Conn) Receive(b []byte) {
	if c.over {
		return
	}
	c.backlog = append(c.backlog, b...)
	if c.waiting > 0 {
		return // for Resume
	}
	for {
		err := c.frames()
		if err == errStalled {
			return
		}
		if err == nil && len(c.backlog) > 0 {
			c.unpark()
			if err = c.room(); err == nil {
				n := copy(c.in.b[len(c.in.b):cap(c.in.b)], c.backlog)
				c.in.b = c.in.b[:len(c.in.b)+n]
				c.backlog = c.backlog[n:]
				continue
			}
		}
		if err != nil {
			c.end(err)
		}
		return
	}
}

// HangUp says that the connection on a Port is closed, by either side.
func (c *Conn) HangUp() {
	if !c.over {
		c.end(io.EOF)
	}
}

func (c *Conn) end(err error) {
	c.over = true
	c.finish(err)
}

// A portConn is a Port where a net.Conn is wanted.
type portConn struct{ p Port }

func (c portConn) Read([]byte) (int, error) { return 0, io.EOF }
func (c portConn) Write(b []byte) (int, error) {
	c.p.Send(b)
	return len(b), nil
}
func (c portConn) Close() error {
	c.p.Close()
	return nil
}
func (c portConn) CloseWrite() error {
	c.p.Shut()
	return nil
}
func (c portConn) LocalAddr() net.Addr              { return nil }
func (c portConn) RemoteAddr() net.Addr             { return net.TCPAddrFromAddrPort(c.p.Addr()) }
func (c portConn) SetDeadline(time.Time) error      { return nil }
func (c portConn) SetReadDeadline(time.Time) error  { return nil }
func (c portConn) SetWriteDeadline(time.Time) error { return nil }
