package recorded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/zkcore/zkcore/core/proto"
)

// A peer is the client's side of a connection.
type peer struct {
	conn     net.Conn
	patience time.Duration
	session  int64
	passwd   []byte
	spoke    time.Time // when something was sent last
	read     [][]byte  // what has come and nobody has asked for
	ended    bool      // by the server
}

func frame(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// write sends. A connection that the server has closed is no error here: who reads sees that, and what came before.
func (p *peer) write(b []byte) error {
	p.spoke = time.Now()
	if err := p.conn.SetWriteDeadline(p.spoke.Add(p.patience)); err != nil {
		return nil
	}
	if _, err := p.conn.Write(b); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the server takes no more bytes: %w", err)
	}
	return nil
}

// next is the next frame; io.EOF is the end of the connection, in whichever way.
func (p *peer) next() ([]byte, error) {
	if len(p.read) > 0 {
		b := p.read[0]
		p.read = p.read[1:]
		return b, nil
	}
	return p.receive()
}

func (p *peer) receive() ([]byte, error) {
	if p.ended {
		return nil, io.EOF
	}
	// One that is closed here has no deadline: reading says so.
	_ = p.conn.SetReadDeadline(time.Now().Add(p.patience))
	var head [4]byte
	_, err := io.ReadFull(p.conn, head[:])
	var b []byte
	if err == nil {
		b = make([]byte, min(binary.BigEndian.Uint32(head[:]), 64<<20))
		_, err = io.ReadFull(p.conn, b)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errors.New("nothing comes, and the connection is open")
	case err != nil:
		p.ended = true
		return nil, io.EOF
	}
	return b, nil
}

// rest is what comes until the server closes the connection.
func (p *peer) rest() (frames [][]byte, err error) {
	for {
		b, err := p.next()
		if err == io.EOF {
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		frames = append(frames, b)
	}
}

// leave closes the connection, and waits until the server has too, where a connection can be closed on one side:
// Apache's may else take the end of an old connection for that of a new one with the same session.
func (p *peer) leave() error {
	if c, ok := p.conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		if _, err := p.rest(); err != nil {
			return err
		}
	}
	return p.conn.Close()
}

// call sends a request that was not recorded, and returns the code of its reply.
func (p *peer) call(h proto.RequestHeader, body []byte) (*proto.ReplyHeader, error) {
	if err := p.write(frame(append(h.Append(nil), body...))); err != nil {
		return nil, err
	}
	for {
		b, err := p.receive()
		if err != nil {
			return nil, err
		}
		var r proto.ReplyHeader
		if err := proto.Unmarshal(b, &r); err == nil && r.Xid == h.Xid {
			return &r, nil
		}
		p.read = append(p.read, b)
	}
}

// touch keeps a session alive that was silent for a while: the machine may be slow.
func (p *peer) touch() error {
	if p.session == 0 || p.ended || time.Since(p.spoke) < 2*time.Second {
		return nil
	}
	_, err := p.call(proto.RequestHeader{Xid: proto.XidPing, Op: proto.OpPing}, nil)
	if err == io.EOF {
		return nil // what has come before is still there, and so is the end
	}
	return err
}
