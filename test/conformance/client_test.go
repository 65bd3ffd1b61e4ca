package conformance

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/test/harness"
)

// A client is a connection, as a row calls it.
type client struct {
	name    string
	sc      *scene
	conn    net.Conn
	r       *bufio.Reader
	xid     int32
	waiting []*request // what has no reply yet
	open    bool

	// apart says that the replies to auth packets are gathered in auths: Apache's servers send
	// them at once, which may be before those to what was asked before.
	apart bool
	auths []string
}

// A session is what it takes to come back to one.
type session struct {
	id     int64
	passwd []byte
}

func (sc *scene) dial(name string) (*client, error) {
	conn, err := net.DialTimeout("tcp", sc.addr, harness.Patience)
	if err != nil {
		return nil, err
	}
	return &client{name: name, sc: sc, conn: conn, r: bufio.NewReaderSize(conn, 16<<10), open: true}, nil
}

// write sends. A connection that the server has closed is no error here: who reads sees that, and what came before.
func (c *client) write(b []byte) error {
	if err := c.conn.SetDeadline(time.Now().Add(c.sc.patience())); err != nil {
		return err
	}
	if _, err := c.conn.Write(b); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the server takes no more bytes: %w", err)
	}
	return nil
}

// frame reads a frame; io.EOF is the end of the connection, in whichever way.
func (c *client) frame() ([]byte, error) {
	if c.sc.forgets {
		if err := c.wake(); err != nil {
			return nil, err
		}
	}
	b, err := readFrame(c.r)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("client %s gets no answer, and its connection is open", c.name)
	case err != nil:
		c.open = false
		c.conn.Close()
		return nil, io.EOF
	}
	return b, nil
}

// wake waits for something to read, and asks the server something else now and then meanwhile, as the pings of
// other clients would.
func (c *client) wake() error {
	end := time.Now().Add(c.sc.patience())
	for time.Now().Before(end) {
		if err := c.conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		if _, err := c.r.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
			break // or an error, which who reads will see
		}
		if err := c.sc.ping(); err != nil {
			return err
		}
	}
	return c.conn.SetDeadline(end.Add(time.Second)) // for the rest of what has begun to come
}

func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > 64<<20 {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// more reads frames until done says so or the connection ends.
func (c *client) more(done func() bool) (lines []string, err error) {
	end := time.Now().Add(c.sc.patience())
	if err := c.conn.SetDeadline(end); err != nil {
		return nil, err
	}
	for !done() {
		if time.Now().After(end) {
			return lines, fmt.Errorf("client %s gets %q, and no more", c.name, lines)
		}
		b, err := c.frame()
		if err == io.EOF {
			return append(lines, "closed"), nil
		}
		if err != nil {
			return lines, err
		}
		lines = append(lines, c.take(b)...)
	}
	return lines, nil
}

// take makes lines of a frame.
func (c *client) take(b []byte) []string {
	var h proto.ReplyHeader
	d := jute.NewDecoder(b)
	h.Decode(&d)
	if d.Err() != nil {
		return []string{fmt.Sprintf("no header: %x", b)}
	}
	c.sc.last = max(c.sc.last, h.Zxid)
	body := d.Rest()
	if h.Xid == proto.XidNotification {
		return []string{c.sc.event(&h, body)}
	}
	if len(c.waiting) == 0 {
		return []string{fmt.Sprintf("a reply to nothing: %+v %x", h, body)}
	}
	// Replies come in order. What is answered out of it differs by its xid from what is expected there.
	at := 0
	for i, r := range c.waiting {
		if r.xid == h.Xid {
			at = i
			break
		}
	}
	r := c.waiting[at]
	c.waiting = append(c.waiting[:at:at], c.waiting[at+1:]...)
	if r == barrier {
		return nil
	}
	lines := c.sc.reply(r, &h, body)
	if c.apart && r.op == proto.OpAuth {
		c.auths = append(c.auths, lines...)
		return nil
	}
	return lines
}

// barrier is a ping whose reply comes behind all that was sent before it.
var barrier = &request{name: "barrier", xid: proto.XidPing, op: proto.OpPing}

// ask sends a ping and reads all that comes before its reply.
func (c *client) ask() ([]string, error) {
	if err := c.bar(); err != nil {
		return nil, err
	}
	return c.more(func() bool { return len(c.waiting) == 0 })
}

// bar sends a ping.
func (c *client) bar() error {
	h := proto.RequestHeader{Xid: proto.XidPing, Op: proto.OpPing}
	payload := h.Append(nil)
	c.waiting = append(c.waiting, barrier)
	return c.write(append(jute.AppendInt(nil, int32(len(payload))), payload...))
}

// leave closes the connection from this side, and waits until the server has too.
func (c *client) leave() error {
	if !c.open {
		return nil
	}
	if err := c.conn.(*net.TCPConn).CloseWrite(); err != nil {
		c.open = false
		return c.conn.Close()
	}
	_, err := c.more(func() bool { return false })
	return err
}

// patience is for what must come. Who writes tables learns soon that nothing does.
func (sc *scene) patience() time.Duration {
	if sc.writing {
		return harness.Patience / 10
	}
	return harness.Patience
}
