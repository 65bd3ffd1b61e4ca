package badinput

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/zkcore/zkcore/test/harness"
)

// The bytes of the protocol, written by hand: a test of wrong bytes can't use a codec that makes
// only right ones.

func i32(v int32) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }
func i64(v int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(v)) }
func str(s string) []byte {
	return append(i32(int32(len(s))), s...)
}

func join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// frame puts the length before what it is given.
func frame(parts ...[]byte) []byte {
	body := join(parts...)
	return append(i32(int32(len(body))), body...)
}

// connect is a ConnectRequest for a new session.
func connect(timeoutMS int32) []byte {
	return frame(i32(0), i64(0), i32(timeoutMS), i64(0), i32(16), make([]byte, 16), []byte{0})
}

// request is one of any operation.
func request(xid, op int32, record ...[]byte) []byte {
	return frame(i32(xid), i32(op), join(record...))
}

// The operations that are used here.
const (
	opNotification = 0
	opCreate       = 1
	opExists       = 3
	opGetData      = 4
	opSetData      = 5
	opUnused       = 10
	opPing         = 11
	opMulti        = 14
	opAuth         = 100
	opSetWatches   = 101
	opSetWatches2  = 105
)

// Result codes.
const (
	ok            = 0
	marshalling   = -5
	unimplemented = -6
	badArguments  = -8
	noNode        = -101
)

// worldAll is the vector of ACLs that lets everybody do all.
var worldAll = join(i32(1), i32(31), str("world"), str("anyone"))

// A wire is a raw connection.
type wire struct {
	net.Conn
	t testing.TB
}

func open(t testing.TB, s *harness.Server) *wire {
	t.Helper()
	w, err := tryOpen(t, s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func tryOpen(t testing.TB, s *harness.Server) (*wire, error) {
	c, err := net.DialTimeout("tcp", s.Addr(), harness.Patience)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.Close() })
	return &wire{c, t}, c.SetDeadline(time.Now().Add(harness.Patience))
}

// openSession opens a connection with a session.
func openSession(t testing.TB, s *harness.Server) *wire {
	t.Helper()
	w := open(t, s)
	w.send(connect(30_000))
	if b := w.receive(); len(b) < 20 || binary.BigEndian.Uint64(b[8:]) == 0 {
		t.Fatalf("no session: % x", b)
	}
	return w
}

// addr is this side of the connection, by which the server's log names it.
func (w *wire) addr() string { return w.LocalAddr().String() }

// send writes bytes. The server may have closed the connection over earlier ones: what it did is
// seen by who reads.
func (w *wire) send(b []byte) {
	w.t.Helper()
	if _, err := w.Write(b); err != nil && !closedByPeer(err) {
		w.t.Fatal(err)
	}
}

// receive reads a frame.
func (w *wire) receive() []byte {
	w.t.Helper()
	b, err := w.tryReceive()
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *wire) tryReceive() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(w, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > 64<<20 {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(w, b)
	return b, err
}

// reply reads the reply to the request with that xid and returns its result code.
func (w *wire) reply(xid int32) int32 {
	w.t.Helper()
	code, err := w.tryReply(xid)
	if err != nil {
		w.t.Fatal(err)
	}
	return code
}

func (w *wire) tryReply(xid int32) (int32, error) {
	b, err := w.tryReceive()
	if err != nil {
		return 0, err
	}
	if len(b) < 16 || int32(binary.BigEndian.Uint32(b)) != xid {
		return 0, fmt.Errorf("not a reply to xid %d: % x", xid, b)
	}
	return int32(binary.BigEndian.Uint32(b[12:])), nil
}

// closed waits until the server has closed the connection and returns what it sent before.
func (w *wire) closed() string {
	w.t.Helper()
	b, err := io.ReadAll(w)
	if err != nil && !closedByPeer(err) {
		w.t.Fatalf("the server does not close the connection: %v (it sent %q)", err, b)
	}
	return string(b)
}

// closedByPeer says that err is what is left of a connection that the other side has closed, be it
// with unread bytes of ours.
func closedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || isReset(err)
}
