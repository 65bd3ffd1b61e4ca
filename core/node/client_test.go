package node

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// sessionMS is the timeout of sessions in tests that run in real time: nobody's session
// may end, and nobody may be sent away for want of a leader, because the machine is slow.
const sessionMS = 20 * 60 * 1000

type rig struct {
	t *testing.T
	n *Node
	m *fakeMember
	// pipes is where the node gets its connections in a bubble; else it has a port.
	pipes *pipeListener
}

// start starts a node for a test, with a fake member that has the role begin.
func start(t *testing.T, begin consensus.State, manual bool, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t}
	cfg := Config{
		ServerID: 1, DataDir: t.TempDir(), ClientAddrs: []string{"127.0.0.1:0"}, TickMS: 2000,
		MaxSessionTimeoutMS: sessionMS, HoldMS: sessionMS,
		OpenConsensus: opener(&r.m, begin, manual), OpenStorage: openMapStore,
		Log:  slog.New(slog.NewTextHandler(testWriter{t}, nil)),
		Fail: func(code int, err error) { t.Errorf("the node fails with %d: %v", code, err) },
	}
	if change != nil {
		change(&cfg)
	}
	n, err := Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.n = n
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	if begin != consensus.Looking {
		r.until("serving", n.Serving)
	}
	return r
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b[:len(b)-1])
	return len(b), nil
}

// until polls until cond holds.
func (r *rig) until(what string, cond func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("%s: does not happen", what)
		}
	}
}

// An appender is a record to be sent.
type appender interface{ Append([]byte) []byte }

// A peer is the client's side of a connection.
type peer struct {
	t        *testing.T
	c        net.Conn
	xid      int32
	session  int64
	passwd   []byte
	timeout  int32
	inflight []int32
}

func (r *rig) dial() *peer {
	r.t.Helper()
	if r.pipes != nil {
		here, there := net.Pipe()
		r.t.Cleanup(func() { here.Close() })
		r.pipes.c <- localPipe{there}
		return &peer{t: r.t, c: here}
	}
	c, err := net.Dial("tcp", r.n.ClientAddrs()[0].String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return &peer{t: r.t, c: c}
}

// connect opens a session.
func (r *rig) connect() *peer {
	r.t.Helper()
	p := r.dial()
	p.greet(&proto.ConnectRequest{TimeoutMS: sessionMS, Passwd: make([]byte, 16), HasReadOnly: true})
	if p.session == 0 {
		r.t.Fatal("no session")
	}
	return p
}

// sendConnect sends a connect request.
func (p *peer) sendConnect(q *proto.ConnectRequest) { p.write(frame(q.Append(nil))) }

// greet sends a connect request and takes the answer.
func (p *peer) greet(q *proto.ConnectRequest) proto.ConnectResponse {
	p.t.Helper()
	p.sendConnect(q)
	return p.greeted()
}

func (p *peer) greeted() proto.ConnectResponse {
	p.t.Helper()
	var a proto.ConnectResponse
	if err := proto.Unmarshal(p.frame(), &a); err != nil {
		p.t.Fatal(err)
	}
	p.session, p.passwd, p.timeout = a.SessionID, a.Passwd, a.TimeoutMS
	return a
}

// again reconnects to the session of p on a new connection.
func (r *rig) again(p *peer) *peer {
	q := r.dial()
	q.sendConnect(&proto.ConnectRequest{TimeoutMS: sessionMS, SessionID: p.session, Passwd: p.passwd, HasReadOnly: true})
	return q
}

func frame(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.c.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// request makes a request frame with the next xid.
func (p *peer) request(op proto.Op, r appender) []byte {
	p.xid++
	return p.requestXid(p.xid, op, r)
}

func (p *peer) requestXid(xid int32, op proto.Op, r appender) []byte {
	b := (&proto.RequestHeader{Xid: xid, Op: op}).Append(nil)
	if r != nil {
		b = r.Append(b)
	}
	p.inflight = append(p.inflight, xid)
	return frame(b)
}

func (p *peer) send(op proto.Op, r appender) { p.t.Helper(); p.write(p.request(op, r)) }

// frame reads a frame.
func (p *peer) frame() []byte {
	p.t.Helper()
	b, err := p.readFrame(patience)
	if err != nil {
		p.t.Fatalf("read a frame: %v", err)
	}
	return b
}

func (p *peer) readFrame(wait time.Duration) ([]byte, error) {
	p.c.SetReadDeadline(time.Now().Add(wait))
	var n [4]byte
	if _, err := io.ReadFull(p.c, n[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(n[:]))
	_, err := io.ReadFull(p.c, b)
	return b, err
}

// A reply is a frame taken apart; event is set for a notification.
type reply struct {
	proto.ReplyHeader
	body  []byte
	event proto.WatcherEvent
}

// reply reads a reply or an event.
func (p *peer) reply() reply {
	p.t.Helper()
	b := p.frame()
	var a reply
	if len(b) < proto.ReplyHeaderSize {
		p.t.Fatalf("reply of %d bytes", len(b))
	}
	if err := proto.Unmarshal(b, &a.ReplyHeader); err != nil {
		p.t.Fatal(err)
	}
	a.body = b[proto.ReplyHeaderSize:]
	if a.Xid == proto.XidNotification {
		if err := proto.Unmarshal(a.body, &a.event); err != nil {
			p.t.Fatal(err)
		}
		return a
	}
	// Replies come in the order of the requests.
	if len(p.inflight) == 0 || p.inflight[0] != a.Xid {
		p.t.Fatalf("reply %d, in flight are %v", a.Xid, p.inflight)
	}
	p.inflight = p.inflight[1:]
	return a
}

// call sends a request and returns the reply.
func (p *peer) call(op proto.Op, r appender) reply {
	p.t.Helper()
	p.send(op, r)
	return p.reply()
}

// must is call for what must not fail.
func (p *peer) must(op proto.Op, r appender) reply {
	p.t.Helper()
	a := p.call(op, r)
	if a.Err != zkerr.OK {
		p.t.Fatalf("%v: %v", op, a.Err)
	}
	return a
}

func create(path string, flags proto.CreateFlags) *proto.CreateRequest {
	return &proto.CreateRequest{Path: path, Data: []byte("x"), ACL: []proto.ACL{{Perms: 31, Scheme: "world", ID: "anyone"}}, Flags: flags}
}

func set(path, data string) *proto.SetDataRequest {
	return &proto.SetDataRequest{Path: path, Data: []byte(data), Version: -1}
}

func get(path string) *proto.ReadRequest { return &proto.ReadRequest{Path: path} }

func getWatch(path string) *proto.ReadRequest { return &proto.ReadRequest{Path: path, Watch: true} }

// data is the data in the reply to a getData.
func (a reply) data(t *testing.T) string {
	t.Helper()
	var r proto.GetDataResponse
	if a.Err != zkerr.OK {
		t.Fatalf("getData: %v", a.Err)
	}
	if err := proto.Unmarshal(a.body, &r); err != nil {
		t.Fatal(err)
	}
	return string(r.Data)
}

// ended waits until the server closes the connection, and returns what it sent
// before.
func (p *peer) ended() []byte {
	p.t.Helper()
	p.c.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(p.c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatal("the connection stays open")
	}
	return b
}

// silent says that nothing comes for a moment.
func (p *peer) silent() bool {
	b, err := p.readFrame(50 * time.Millisecond)
	return b == nil && errors.Is(err, os.ErrDeadlineExceeded)
}
