package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

const (
	// maxFrame is the most that a server may send as one frame before it is taken for nonsense.
	maxFrame = 64 << 20
	// bufSize is what is read, and about what is written, with one system call.
	bufSize = 64 << 10
	// headerSize is the size of a frame's length and its reply header.
	headerSize = 4 + 4 + 8 + 4
)

// A session is a connection with a session on it. It knows no reconnection: when it breaks, a
// measurement has failed.
type session struct {
	nc     net.Conn
	id     int64
	passwd []byte
}

var errRefused = errors.New("session refused")

// dial opens a connection and a session on it. With an id it resumes that session.
func dial(addr string, timeout time.Duration, id int64, passwd []byte) (*session, error) {
	nc, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return nil, err
	}
	s, err := handshake(nc, timeout, id, passwd)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return s, nil
}

func handshake(nc net.Conn, timeout time.Duration, id int64, passwd []byte) (*session, error) {
	if passwd == nil {
		passwd = make([]byte, 16)
	}
	req := proto.ConnectRequest{TimeoutMS: int32(timeout.Milliseconds()), SessionID: id, Passwd: passwd, HasReadOnly: true}
	nc.SetDeadline(time.Now().Add(timeout))
	defer nc.SetDeadline(time.Time{})
	if _, err := nc.Write(frame(nil, req.Append)); err != nil {
		return nil, err
	}
	b, err := readFrame(nc)
	if err != nil {
		return nil, fmt.Errorf("no answer to the handshake: %w", err)
	}
	var res proto.ConnectResponse
	if err := proto.Unmarshal(b, &res); err != nil {
		return nil, err
	}
	if res.TimeoutMS <= 0 {
		return nil, errRefused
	}
	return &session{nc: nc, id: res.SessionID, passwd: res.Passwd}, nil
}

// call sends one request and waits for its reply, whose body it returns.
func (s *session) call(op proto.Op, body func([]byte) []byte) ([]byte, error) {
	if _, err := s.nc.Write(request(nil, 1, op, body)); err != nil {
		return nil, err
	}
	for {
		b, err := readFrame(s.nc)
		if err != nil {
			return nil, err
		}
		d := jute.NewDecoder(b)
		xid, _, code := d.Int(), d.Long(), zkerr.Code(d.Int())
		switch {
		case d.Err() != nil:
			return nil, d.Err()
		case xid != 1:
			continue // an event or a ping's answer
		case code != zkerr.OK:
			return nil, code
		}
		return d.Rest(), nil
	}
}

// close ends the session and the connection.
func (s *session) close() error {
	defer s.nc.Close()
	s.nc.SetDeadline(time.Now().Add(5 * time.Second))
	_, err := s.call(proto.OpCloseSession, func(b []byte) []byte { return b })
	return err
}

// frame appends a frame with what body appends.
func frame(b []byte, body func([]byte) []byte) []byte {
	at := len(b)
	b = body(append(b, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

func request(b []byte, xid int32, op proto.Op, body func([]byte) []byte) []byte {
	return frame(b, func(b []byte) []byte {
		b = jute.AppendInt(b, xid)
		b = jute.AppendInt(b, int32(op))
		return body(b)
	})
}

func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int32(binary.BigEndian.Uint32(head[:]))
	if n < 0 || n > maxFrame {
		return nil, fmt.Errorf("frame of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// A frameReader cuts a stream into frames without copying them: what next returns is good until
// the following call. When next has to read it takes all that is there.
type frameReader struct {
	r    io.Reader
	buf  []byte
	a, z int // buf[a:z] is read and not yet used
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: r, buf: make([]byte, bufSize)}
}

// buffered says whether a whole frame is there without reading.
func (f *frameReader) buffered() bool {
	have := f.z - f.a
	return have >= 4 && uint32(have-4) >= binary.BigEndian.Uint32(f.buf[f.a:])
}

func (f *frameReader) next() ([]byte, error) {
	for !f.buffered() {
		need := 4
		if have := f.z - f.a; have >= 4 {
			n := int32(binary.BigEndian.Uint32(f.buf[f.a:]))
			if n < 0 || n > maxFrame {
				return nil, fmt.Errorf("frame of %d bytes", n)
			}
			need += int(n)
		}
		if f.a+need > len(f.buf) || f.a == f.z {
			dst := f.buf
			if need > len(dst) {
				dst = make([]byte, max(need, 2*len(dst)))
			}
			copy(dst, f.buf[f.a:f.z])
			f.buf, f.a, f.z = dst, 0, f.z-f.a
		}
		n, err := f.r.Read(f.buf[f.z:])
		f.z += n
		if n == 0 && err != nil {
			return nil, err
		}
	}
	n := int(binary.BigEndian.Uint32(f.buf[f.a:]))
	b := f.buf[f.a+4 : f.a+4+n]
	f.a += 4 + n
	return b, nil
}
