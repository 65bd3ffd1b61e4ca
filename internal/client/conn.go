package client

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// A setWatches frame carries at most about this many bytes of paths, so that it stays below a
// server's limit for a frame however many watches there are.
const setWatchesBytes = 128 << 10

var errExpired = errors.New("session expired")

// A conn is one connection with the session on it: a goroutine that writes and one that reads.
type conn struct {
	c       *Client
	nc      net.Conn
	addr    string
	timeout time.Duration

	wake     chan struct{} // has room for one: there is something to write
	dead     chan struct{} // closed by the first fail
	failOnce sync.Once
	cause    error

	lastSent atomic.Int64 // when, in ns since started

	// Calls that wait for their reply, oldest first; auth packets are answered out of turn and wait
	// in a list of their own. The client's mutex guards both.
	pending []*Call
	auths   []*Call
}

// run connects until the client is at its end.
func (c *Client) run(ctx context.Context) {
	defer close(c.finished)
	tried := 0
	for ctx.Err() == nil {
		cn, err := c.connect(ctx)
		switch {
		case errors.Is(err, errExpired):
			c.opt.Logf("session 0x%x expired", c.Session().ID)
			c.setFinal(Expired)
			return
		case err != nil:
			if ctx.Err() == nil {
				c.opt.Logf("connect: %v", err)
			}
			// Once round the list without a pause, then ever more slowly.
			if tried++; tried >= len(c.servers) {
				if c.opt.FailFast {
					c.failQueue()
				}
				pause := min(time.Second, 20*time.Millisecond<<min((tried-len(c.servers))/len(c.servers), 6))
				select {
				case <-time.After(pause):
				case <-ctx.Done():
				}
			}
			continue
		}
		tried = 0
		c.serve(ctx, cn)
	}
}

// failQueue ends the requests that wait for a connection.
func (c *Client) failQueue() {
	c.mu.Lock()
	queue := c.queue
	c.queue = nil
	c.mu.Unlock()
	for _, call := range queue {
		call.finish(zkerr.ConnectionLoss)
	}
}

// connect opens a connection to the next server and puts the session on it.
func (c *Client) connect(ctx context.Context) (*conn, error) {
	c.mu.Lock()
	addr := c.servers[c.next]
	c.next = (c.next + 1) % len(c.servers)
	session, lastZxid := c.session, c.lastZxid
	c.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, max(session.Timeout/time.Duration(len(c.servers)), time.Second))
	defer cancel()
	nc, err := c.opt.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	cn, err := c.handshake(nc, addr, session, lastZxid)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return cn, nil
}

func (c *Client) handshake(nc net.Conn, addr string, s Session, lastZxid int64) (*conn, error) {
	req := proto.ConnectRequest{
		LastZxidSeen: lastZxid,
		TimeoutMS:    int32(s.Timeout.Milliseconds()),
		SessionID:    s.ID,
		Passwd:       s.Password,
		ReadOnly:     c.opt.ReadOnly,
		HasReadOnly:  !c.opt.OmitReadOnly,
	}
	b := appendFrame(nil, req.Append)
	if _, err := nc.Write(b); err != nil {
		return nil, err
	}
	frame, err := readFrame(nc, c.opt.MaxFrame)
	if err != nil {
		return nil, fmt.Errorf("no answer to the handshake: %w", err)
	}
	var res proto.ConnectResponse
	if err := proto.Unmarshal(frame, &res); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	timeout := time.Duration(res.TimeoutMS) * time.Millisecond
	if timeout <= 0 {
		return nil, errExpired
	}
	cn := &conn{
		c: c, nc: nc, addr: addr, timeout: timeout,
		wake: make(chan struct{}, 1),
		dead: make(chan struct{}),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = Session{ID: res.SessionID, Password: res.Passwd, Timeout: timeout}
	if final(c.state) {
		return nil, errors.New("client is " + c.state.String())
	}
	c.conn = cn
	if res.ReadOnly {
		c.setState(ConnectedReadOnly)
	} else {
		c.setState(Connected)
	}
	return cn, nil
}

// serve runs the connection until it breaks.
func (c *Client) serve(ctx context.Context, cn *conn) {
	c.opt.Logf("session 0x%x on %s, timeout %v", c.Session().ID, cn.addr, cn.timeout)
	var wg sync.WaitGroup
	wg.Go(cn.write)
	wg.Go(cn.read)
	wg.Wait()
	cn.nc.Close()

	c.mu.Lock()
	c.conn = nil
	lost := append(cn.pending, cn.auths...)
	cn.pending, cn.auths = nil, nil
	c.setState(Disconnected)
	code := finalCode(c.state)
	c.mu.Unlock()
	for _, call := range lost {
		if call != nil {
			call.finish(code)
		}
	}
	if ctx.Err() == nil {
		c.opt.Logf("lost %s: %v", cn.addr, cn.cause)
	}
}

// fail breaks the connection: both goroutines end.
func (cn *conn) fail(err error) {
	cn.failOnce.Do(func() {
		cn.cause = err
		close(cn.dead)
		cn.nc.Close()
	})
}

func (cn *conn) wakeWriter() {
	select {
	case cn.wake <- struct{}{}:
	default:
	}
}

// write sends what is queued, as much per system call as there is, and heartbeats when there is
// nothing.
func (cn *conn) write() {
	idle := time.NewTicker(max(cn.timeout/6, time.Millisecond))
	defer idle.Stop()
	buf := cn.hello()
	for {
		if len(buf) > 0 {
			cn.lastSent.Store(time.Now().UnixNano())
			cn.nc.SetWriteDeadline(time.Now().Add(cn.timeout))
			if _, err := cn.nc.Write(buf); err != nil {
				cn.fail(err)
				return
			}
			if cap(buf) > 1<<20 {
				buf = nil
			}
		}
		buf = cn.takeQueue(buf[:0])
		if len(buf) > 0 {
			continue
		}
		select {
		case <-cn.wake:
		case <-idle.C:
			if time.Now().UnixNano()-cn.lastSent.Load() >= int64(cn.timeout/4) {
				buf = appendHeader(buf, proto.XidPing, proto.OpPing)
			}
		case <-cn.dead:
			return
		}
	}
}

// hello is what goes before all else on a connection: the identities that the session has, and
// its watches.
func (cn *conn) hello() []byte {
	c := cn.c
	c.mu.Lock()
	defer c.mu.Unlock()
	var b []byte
	for _, a := range c.auths {
		b = appendFrame(b, func(b []byte) []byte { return appendAuth(b, a.scheme, a.data) })
		cn.auths = append(cn.auths, nil)
	}
	return appendSetWatches(b, c.chroot, c.lastZxid, c.watches.lists())
}

// appendSetWatches appends as many frames as the lists need. Servers before 3.6 do not know
// setWatches2: it is only used for watches that they do not know either.
func appendSetWatches(b []byte, chroot string, relative int64, lists [5][]string) []byte {
	code, n := proto.OpSetWatches2, 5
	if len(lists[3])+len(lists[4]) == 0 {
		code, n = proto.OpSetWatches, 3
	}
	type item struct {
		list int
		path string
	}
	var items []item
	for i, list := range lists {
		for _, p := range list {
			items = append(items, item{i, serverPath(chroot, p)})
		}
	}
	for len(items) > 0 {
		var part [5][]string
		for size := 0; len(items) > 0 && (size == 0 || size+4+len(items[0].path) <= setWatchesBytes); items = items[1:] {
			it := items[0]
			part[it.list] = append(part[it.list], it.path)
			size += 4 + len(it.path)
		}
		b = appendFrame(b, func(b []byte) []byte {
			b = jute.AppendInt(b, proto.XidSetWatches)
			b = jute.AppendInt(b, int32(code))
			b = jute.AppendLong(b, relative)
			for _, list := range part[:n] {
				if list == nil {
					list = []string{} // null is refused
				}
				b = jute.AppendStrings(b, list)
			}
			return b
		})
	}
	return b
}

// takeQueue numbers the queued calls, moves them to pending and appends their frames, up to a
// reasonable size for one write.
func (cn *conn) takeQueue(buf []byte) []byte {
	c := cn.c
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, call := range c.queue {
		if len(buf) > 1<<20 {
			break
		}
		n++
		if a, ok := call.op.(authOp); ok {
			call.xid = proto.XidAuth
			c.auths = append(c.auths, auth(a))
			cn.auths = append(cn.auths, call)
		} else {
			if c.xid++; c.xid <= 0 {
				c.xid = 1
			}
			call.xid = c.xid
			cn.pending = append(cn.pending, call)
		}
		binary.BigEndian.PutUint32(call.frame[4:], uint32(call.xid))
		buf = append(buf, call.frame...)
		call.frame = nil
	}
	if n == len(c.queue) {
		c.queue = nil
	} else {
		c.queue = c.queue[n:]
	}
	return buf
}

// read takes in replies and events until the connection breaks or is silent for too long.
func (cn *conn) read() {
	r := bufio.NewReaderSize(cn.nc, 64<<10)
	for {
		if r.Buffered() < 4 {
			cn.nc.SetReadDeadline(time.Now().Add(cn.timeout * 2 / 3))
		}
		frame, err := readFrame(r, cn.c.opt.MaxFrame)
		if err == nil {
			err = cn.handle(frame)
		}
		if err != nil {
			cn.fail(err)
			return
		}
	}
}

// handle takes in one frame. An error breaks the connection.
func (cn *conn) handle(frame []byte) error {
	c := cn.c
	d := jute.NewDecoder(frame)
	xid, zxid, code := d.Int(), d.Long(), zkerr.Code(d.Int())
	if d.Err() != nil {
		return fmt.Errorf("reply header: %w", d.Err())
	}
	switch xid {
	case proto.XidPing:
		return nil
	case proto.XidSetWatches:
		if code != zkerr.OK {
			c.opt.Logf("setWatches: %v", code)
		}
		return nil
	case proto.XidNotification:
		return cn.event(&d, zxid)
	case proto.XidAuth:
		return cn.authReply(code)
	}

	c.mu.Lock()
	if len(cn.pending) == 0 || cn.pending[0].xid != xid {
		c.mu.Unlock()
		return fmt.Errorf("reply to xid %d, which is not next", xid)
	}
	call := cn.pending[0]
	cn.pending[0] = nil
	cn.pending = cn.pending[1:]
	call.reply.Zxid = zxid
	c.lastZxid = max(c.lastZxid, zxid)
	err := call.take(&d, code, c)
	c.mu.Unlock()
	call.finishReply(code, err)
	if _, ok := call.op.(closeOp); ok {
		c.setFinal(Closed)
		return io.EOF
	}
	return nil
}

// take decodes the reply and sets the watch that it confirms. It is called with the client's mutex
// held: an event behind this reply finds the watch.
func (call *Call) take(d *jute.Decoder, code zkerr.Code, c *Client) error {
	if code == zkerr.OK {
		call.op.decode(d, &call.reply, c.chroot)
		if err := d.Err(); err != nil {
			return fmt.Errorf("reply: %w", err)
		}
	}
	if w, ok := call.op.(watcher); ok {
		w.set(code, &call.reply, &c.watches)
	}
	return nil
}

func (call *Call) finishReply(code zkerr.Code, err error) {
	switch {
	case err != nil:
		call.err = &zkerr.Error{Op: call.op.name(), Path: call.op.path(), Code: zkerr.MarshallingError, Err: err}
	case code == zkerr.OK:
		call.err = call.reply.failed
	}
	if call.err != nil {
		close(call.done)
		return
	}
	call.finish(code)
}

func (cn *conn) authReply(code zkerr.Code) error {
	c := cn.c
	c.mu.Lock()
	if len(cn.auths) == 0 {
		c.mu.Unlock()
		return errors.New("reply to an auth packet that was not sent")
	}
	call := cn.auths[0]
	cn.auths = cn.auths[1:]
	c.mu.Unlock()
	if call != nil {
		call.finish(code)
	}
	if code != zkerr.OK {
		c.setFinal(AuthFailed)
		return code
	}
	return nil
}

func (cn *conn) event(d *jute.Decoder, zxid int64) error {
	e := Event{Type: EventType(d.Int()), State: State(d.Int()), Path: d.String(), Zxid: zxid}
	if err := d.Err(); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	c := cn.c
	e.Path = clientPath(c.chroot, e.Path)
	c.mu.Lock()
	c.watches.fire(e)
	c.mu.Unlock()
	c.events.put(e)
	return nil
}

func appendHeader(b []byte, xid int32, code proto.Op) []byte {
	b = jute.AppendInt(b, 8)
	b = jute.AppendInt(b, xid)
	return jute.AppendInt(b, int32(code))
}

func appendFrame(b []byte, body func([]byte) []byte) []byte {
	at := len(b)
	b = body(jute.AppendInt(b, 0))
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

func appendAuth(b []byte, scheme string, data []byte) []byte {
	b = jute.AppendInt(b, proto.XidAuth)
	b = jute.AppendInt(b, int32(proto.OpAuth))
	return authOp{scheme: scheme, data: data}.append(b, "")
}

func readFrame(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int32(binary.BigEndian.Uint32(head[:]))
	if n < 0 || int(n) > limit {
		return nil, fmt.Errorf("frame of %d bytes, the limit is %d", n, limit)
	}
	frame := make([]byte, n)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, err
	}
	return frame, nil
}
