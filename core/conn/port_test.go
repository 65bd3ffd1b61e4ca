package conn

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// A testPort keeps what is sent.
type testPort struct {
	sent                  bytes.Buffer
	resumed, shut, closed bool
}

func (p *testPort) Send(b []byte)        { p.sent.Write(b) }
func (p *testPort) Resume()              { p.resumed = true }
func (p *testPort) Shut()                { p.shut = true }
func (p *testPort) Close()               { p.closed = true }
func (p *testPort) Addr() netip.AddrPort { return netip.MustParseAddrPort("10.0.0.1:4242") }

// A portClient echoes frames.
type portClient struct {
	c       *Conn
	blocked bool
	frames  int
	closed  int
}

func (e *portClient) Blocked() bool    { return e.blocked }
func (e *portClient) Closed()          { e.closed++ }
func (e *portClient) Describe() string { return "echo" }
func (e *portClient) Frames(b []byte) (int, error) {
	e.c.Established()
	n := 4 + int(binary.BigEndian.Uint32(b))
	e.c.Lock()
	e.c.SetOut(append(e.c.Out(), b[:n]...))
	e.c.Unlock()
	e.frames++
	return n, nil
}

func frameOf(text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
}

// TestPort: a connection that somebody else holds takes bytes in any pieces, waits while
// its client is blocked, and ends once.
func TestPort(t *testing.T) {
	var cl *portClient
	s := NewServer(Config{Accept: func(c *Conn) Client {
		cl = &portClient{c: c}
		return cl
	}})
	p := new(testPort)
	c := s.Attach(p)
	if c.IP() != netip.MustParseAddr("10.0.0.1") || s.Len() != 1 {
		t.Fatalf("%v, %d connections", c.IP(), s.Len())
	}
	want := append(frameOf("one"), frameOf("two")...)
	for i := range want {
		c.Receive(want[i : i+1])
	}
	if !bytes.Equal(p.sent.Bytes(), want) || cl.frames != 2 {
		t.Fatalf("%d frames, sent %q", cl.frames, p.sent.Bytes())
	}

	cl.blocked = true
	c.Receive(frameOf("three"))
	c.Receive(frameOf("four"))
	if cl.frames != 2 || p.resumed {
		t.Fatalf("a blocked client was given %d frames", cl.frames)
	}
	cl.blocked = false
	c.Lock()
	c.Wake()
	c.Unlock()
	if !p.resumed {
		t.Fatal("nobody is asked to go on")
	}
	c.Receive(nil)
	if cl.frames != 4 {
		t.Fatalf("%d frames after it went on", cl.frames)
	}
	large := frameOf(string(bytes.Repeat([]byte("x"), 100_000)))
	p.sent.Reset()
	c.Receive(large[:70_000])
	c.Receive(large[70_000:])
	if !bytes.Equal(p.sent.Bytes(), large) {
		t.Fatalf("%d bytes came back", p.sent.Len())
	}

	c.Lock()
	c.CloseSent()
	c.Unlock()
	c.Flush()
	if !p.shut || p.closed {
		t.Fatalf("shut %v, closed %v", p.shut, p.closed)
	}
	c.HangUp()
	c.HangUp()
	if cl.closed != 1 || s.Len() != 0 || !p.closed {
		t.Fatalf("closed %d times, %d connections", cl.closed, s.Len())
	}
	c.Receive(frameOf("late"))
	if cl.frames != 5 {
		t.Fatal("frames behind the end")
	}
}

// TestPortBadFrame: a frame that can't be ends the connection.
func TestPortBadFrame(t *testing.T) {
	var cl *portClient
	s := NewServer(Config{Now: func() time.Time { return time.Unix(1, 0) }, Accept: func(c *Conn) Client {
		cl = &portClient{c: c}
		return cl
	}})
	p := new(testPort)
	c := s.Attach(p)
	c.Receive([]byte{0xff, 0xff, 0xff, 0xff, 0})
	if !p.closed || cl.closed != 1 || cl.frames != 0 {
		t.Fatalf("closed %v, %d, %d frames", p.closed, cl.closed, cl.frames)
	}
}
