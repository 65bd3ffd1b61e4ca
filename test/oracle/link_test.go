package oracle

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/test/harness"
)

// A link is one connection to one of the two sides.
type link struct {
	side    *side
	conn    net.Conn
	r       *bufio.Reader
	xid     int32
	greeted bool     // the ConnectResponse has come
	waiting []wanted // what has no reply yet, in order
	closed  bool     // by the server
	opened  session1 // what the ConnectResponse said
}

// A wanted is a request that was sent.
type wanted struct {
	xid     int32
	req     *request
	barrier bool // the runner's own, which shows nothing but that all before it has come
}

// session1 is a session as one side knows it.
type session1 struct {
	id     int64
	passwd []byte
}

func (s *side) dial(addr string) (*link, error) {
	c, err := net.DialTimeout("tcp", addr, harness.Patience)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return &link{side: s, conn: c, r: bufio.NewReaderSize(c, 64<<10)}, nil
}

// A packet gathers what leaves in one write.
type packet []byte

func (p *packet) frame(body []byte) {
	*p = append(jute.AppendInt(*p, int32(len(body))), body...)
}

func (l *link) greet(p *packet, r *proto.ConnectRequest) { p.frame(r.Append(nil)) }

func (l *link) request(p *packet, r *request, barrier bool) {
	l.xid++
	xid := r.xid(l.xid)
	h := proto.RequestHeader{Xid: xid, Op: r.op()}
	p.frame(append(h.Append(nil), r.record(l.side)...))
	l.waiting = append(l.waiting, wanted{xid, r, barrier})
}

// send writes. The server may have closed the connection: whoever reads sees that, and what came
// before.
func (l *link) send(p packet) error {
	if err := l.conn.SetDeadline(time.Now().Add(harness.Patience)); err != nil {
		return err
	}
	if _, err := l.conn.Write(p); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s takes no more bytes: %w", l.side.name, err)
	}
	return nil
}

// receive reads a frame; io.EOF says that the server has closed the connection.
func (l *link) receive() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(l.r, head[:]); err != nil {
		return nil, l.lost(err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > 64<<20 {
		return nil, fmt.Errorf("%s sends a frame of %d bytes", l.side.name, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(l.r, b); err != nil {
		return nil, l.lost(err)
	}
	return b, nil
}

func (l *link) lost(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		what := "anything"
		if len(l.waiting) > 0 {
			what = l.waiting[0].req.Op
		}
		return &silentError{fmt.Sprintf("%s: no answer to %s, and the connection is open", l.side.name, what)}
	}
	// Everything else is an end: a reset by a server that had bytes of ours unread is one too.
	l.closed = true
	l.conn.Close()
	return io.EOF
}

// A silentError says that a server owes an answer.
type silentError struct{ text string }

func (e *silentError) Error() string { return e.text }

// gather reads frames until the barrier's reply has come or the connection is closed, or, if until
// is not nil, until that says so.
func (l *link) gather(until func() bool) ([]frame, error) {
	var got []frame
	if err := l.conn.SetDeadline(time.Now().Add(harness.Patience)); err != nil {
		return nil, err
	}
	for until == nil || !until() {
		b, err := l.receive()
		if err == io.EOF {
			return append(got, frame{text: "connection closed", norm: []byte("closed"), end: true}), nil
		}
		if err != nil {
			return got, err
		}
		f, barrier := l.decode(b)
		if barrier {
			return got, nil
		}
		got = append(got, f)
	}
	return got, nil
}

// decode makes a frame comparable.
func (l *link) decode(b []byte) (f frame, barrier bool) {
	if !l.greeted {
		l.greeted = true
		return l.connected(b), false
	}
	var h proto.ReplyHeader
	d := jute.NewDecoder(b)
	h.Decode(&d)
	if d.Err() != nil {
		return frame{text: fmt.Sprintf("no header: % x", b), norm: b}, false
	}
	body := d.Rest()
	if h.Xid == proto.XidNotification {
		return l.side.event(&h, body), false
	}
	// Replies come in order; one that does not differs by its place among the others.
	at := slices.IndexFunc(l.waiting, func(w wanted) bool { return w.xid == h.Xid })
	if at < 0 {
		return frame{text: fmt.Sprintf("a reply to nothing: %+v % x", h, body), norm: b}, false
	}
	w := l.waiting[at]
	l.waiting = slices.Delete(l.waiting, at, at+1)
	f = l.side.reply(w.req, &h, body)
	l.side.see(h.Zxid)
	return f, w.barrier
}

func (l *link) connected(b []byte) frame {
	var r proto.ConnectResponse
	if err := proto.Unmarshal(b, &r); err != nil || string(r.Append(nil)) != string(b) {
		return frame{text: fmt.Sprintf("no ConnectResponse: % x", b), norm: b}
	}
	l.opened = session1{r.SessionID, r.Passwd}
	n := r
	n.SessionID = l.side.number(r.SessionID)
	passwd := fmt.Sprintf("%d bytes", len(r.Passwd))
	if string(r.Passwd) == string(make([]byte, 16)) {
		passwd = "zeros"
	}
	n.Passwd = []byte(passwd)
	return frame{
		text: fmt.Sprintf("connected: session %s timeout %d password of %s readOnly %v (field: %v)", sessionName(n.SessionID), n.TimeoutMS, passwd, n.ReadOnly, n.HasReadOnly),
		norm: n.Append(nil),
	}
}

// alive says that the link can carry requests.
func (l *link) alive() bool { return l != nil && !l.closed }

func (l *link) drop() {
	if l != nil {
		l.closed = true
		l.conn.Close()
	}
}

// leave closes the connection from this side and waits until the server has too: Apache may else take the
// end of an old connection for that of a new one with the same session.
func (l *link) leave() error {
	if !l.alive() {
		return nil
	}
	if err := l.conn.(*net.TCPConn).CloseWrite(); err != nil {
		l.drop()
		return nil // the server was first
	}
	_, err := l.gather(nil)
	l.drop()
	return err
}
