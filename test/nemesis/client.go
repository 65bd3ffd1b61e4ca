package nemesis

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/test/history"
)

// maxFrame bounds what a client takes from a server.
const maxFrame = 16 << 20

// A client is one client of a run: a session at a time, and a connection for it at most times. All
// that it says and hears goes into the log of the run first.
type client struct {
	no      int
	group   int
	rng     *rand.Rand
	net     network
	log     *history.Log
	servers int
	ctx     context.Context // the end of the run
	acked   func(write bool)
	auth    []byte // of scheme digest; nil for none

	mu       sync.Mutex
	session  int64
	password []byte
	timeout  time.Duration // as negotiated
	ask      int32         // ms
	last     int64         // highest zxid seen
	xid      int32
	conns    int
	cur      *conn
	watches  [5]map[string]bool // as in setWatches2: data, exist, child, persistent, recursive
	fired    map[string]chan struct{}
	draining sync.WaitGroup
}

// A conn is one connection.
type conn struct {
	c      *client
	nc     net.Conn
	no     int
	server int
	id     int64

	// Guarded by the client's mutex.
	pending []*call
	heard   time.Time // when the last request was sent that has been answered
	lost    bool

	done chan struct{} // closed when nothing is read any more
}

// A call is a request that was sent.
type call struct {
	xid  int32
	op   proto.Op
	body proto.Record
	sent time.Time
	done chan struct{}

	// Set before done is closed.
	lost bool
	err  zkerr.Code
	zxid int64
	resp proto.Record // nil unless err is 0
}

func newClient(w *world, no, group int, ask time.Duration) *client {
	c := &client{
		no: no, group: group, rng: rand.New(rand.NewPCG(w.plan.Seed, uint64(no))), net: w.net, log: w.log,
		servers: len(w.e.Servers), ctx: w.ctx, acked: w.acked, ask: int32(ask.Milliseconds()),
	}
	for i := range c.watches {
		c.watches[i] = make(map[string]bool)
	}
	c.fired = make(map[string]chan struct{})
	return c
}

// connect makes a connection with the client's session on it, or with a new session if it has none
// or has lost it. It tries until the run ends.
func (c *client) connect() *conn {
	for tries := 0; c.ctx.Err() == nil; tries++ {
		cn, err := c.tryConnect()
		if err == nil {
			return cn
		}
		pause := time.Duration(c.rng.IntN(20<<min(tries, 5))) * time.Millisecond
		select {
		case <-time.After(pause):
		case <-c.ctx.Done():
		}
	}
	return nil
}

var errRefused = errors.New("the session has expired")

func (c *client) tryConnect() (*conn, error) {
	server := 1 + c.rng.IntN(c.servers)
	patience := 1500 * time.Millisecond
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	nc, addr, err := c.net.dial(ctx, c.group, server)
	cancel()
	if err != nil {
		return nil, err
	}
	// An old connection may still drain: what it has seen until now, this one says that it has seen.
	c.mu.Lock()
	c.conns++
	cn := &conn{c: c, nc: nc, no: c.conns, server: server, done: make(chan struct{})}
	req := proto.ConnectRequest{LastZxidSeen: c.last, TimeoutMS: c.ask, SessionID: c.session, Passwd: c.password, HasReadOnly: true}
	if req.Passwd == nil {
		req.Passwd = make([]byte, 16)
	}
	c.record(cn, history.Record{Kind: history.Connecting, Session: req.SessionID, Body: req.Passwd, Zxid: req.LastZxidSeen,
		TimeoutMS: req.TimeoutMS, Addr: addr})
	c.mu.Unlock()
	res, err := greet(nc, &req, patience)
	if err != nil {
		nc.Close()
		c.record(cn, history.Record{Kind: history.Lost, Note: err.Error()})
		return nil, err
	}
	if res.TimeoutMS <= 0 {
		c.record(cn, history.Record{Kind: history.Refused, Session: req.SessionID})
		nc.Close()
		c.record(cn, history.Record{Kind: history.Lost})
		c.forget()
		return nil, errRefused
	}
	c.mu.Lock()
	c.session, c.password, c.timeout = res.SessionID, res.Passwd, time.Duration(res.TimeoutMS)*time.Millisecond
	cn.id = res.SessionID
	c.record(cn, history.Record{Kind: history.Connected, Session: res.SessionID, TimeoutMS: res.TimeoutMS, Body: res.Passwd})
	cn.heard = time.Now()
	c.cur = cn
	c.mu.Unlock()
	c.draining.Go(cn.read)
	if c.auth != nil {
		if a := cn.send(proto.OpAuth, &proto.AuthPacket{Scheme: "digest", Auth: c.auth}); !a.wait() || a.err != zkerr.OK {
			nc.Close()
			<-cn.done
			return nil, errors.New("no answer to auth")
		}
	}
	c.draining.Go(cn.beat) // not before: while an auth is not answered it is not known who asks
	cn.setWatches()
	return cn, nil
}

func greet(nc net.Conn, req *proto.ConnectRequest, patience time.Duration) (*proto.ConnectResponse, error) {
	nc.SetDeadline(time.Now().Add(patience))
	if _, err := nc.Write(frame(req.Append)); err != nil {
		return nil, err
	}
	b, err := readFrame(nc)
	if err != nil {
		return nil, err
	}
	res := new(proto.ConnectResponse)
	if err := proto.Unmarshal(b, res); err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Time{})
	return res, nil
}

// forget makes the client begin a new session next.
func (c *client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.password = 0, nil
	for i := range c.watches {
		clear(c.watches[i])
	}
	for path, ch := range c.fired {
		close(ch)
		delete(c.fired, path)
	}
}

func (c *client) record(cn *conn, r history.Record) {
	r.Client, r.Conn, r.Server = c.no, cn.no, cn.server
	c.log.Append(r)
}

func frame(body func([]byte) []byte) []byte {
	b := body(make([]byte, 4, 128))
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// fixed are the xids of requests that have no number of their own.
var fixed = map[proto.Op]int32{
	proto.OpPing: proto.XidPing, proto.OpAuth: proto.XidAuth, proto.OpSetWatches: proto.XidSetWatches, proto.OpSetWatches2: proto.XidSetWatches,
}

// send sends a request without waiting for its answer.
func (cn *conn) send(op proto.Op, body proto.Record) *call {
	c := cn.c
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &call{op: op, body: body, sent: time.Now(), done: make(chan struct{})}
	if cn.lost {
		k.lost = true
		close(k.done)
		return k
	}
	var ok bool
	if k.xid, ok = fixed[op]; !ok {
		c.xid++
		k.xid = c.xid
	}
	b := frame(func(b []byte) []byte {
		b = (&proto.RequestHeader{Xid: k.xid, Op: op}).Append(b)
		if body != nil {
			b = body.Append(b)
		}
		return b
	})
	c.record(cn, history.Record{Kind: history.Call, Session: cn.id, Xid: k.xid, Op: int32(op), Body: b[4+proto.RequestHeaderSize:]})
	cn.pending = append(cn.pending, k)
	// Requests leave in the order in which they are recorded, so it is written under the lock. A
	// server that does not read doesn't block it for long: there is the deadline.
	cn.nc.SetWriteDeadline(time.Now().Add(c.timeout / 2))
	if _, err := cn.nc.Write(b); err != nil {
		cn.nc.Close() // what was sent of it, nobody knows
	}
	return k
}

// wait says whether the answer came.
func (k *call) wait() bool {
	<-k.done
	return !k.lost
}

// read takes in what comes until the connection ends.
func (cn *conn) read() {
	c := cn.c
	r := bufio.NewReader(cn.nc)
	var err error
	for err == nil {
		var b []byte
		cn.nc.SetReadDeadline(time.Now().Add(c.timeout * 2 / 3))
		if b, err = readFrame(r); err == nil {
			err = cn.take(b)
		}
	}
	cn.nc.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	cn.lost = true
	c.record(cn, history.Record{Kind: history.Lost, Note: err.Error()})
	for _, k := range cn.pending {
		k.lost = true
		close(k.done)
	}
	cn.pending = nil
	if c.cur == cn {
		c.cur = nil
	}
	close(cn.done)
}

// take takes in one frame.
func (cn *conn) take(b []byte) error {
	c := cn.c
	d := jute.NewDecoder(b)
	var h proto.ReplyHeader
	h.Decode(&d)
	if d.Err() != nil {
		return fmt.Errorf("reply header: %w", d.Err())
	}
	body := d.Rest()
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.Xid == proto.XidNotification {
		var e proto.WatcherEvent
		if err := proto.Unmarshal(body, &e); err != nil {
			return fmt.Errorf("event: %w", err)
		}
		c.record(cn, history.Record{Kind: history.Event, Session: cn.id, Zxid: h.Zxid, Type: int32(e.Type), State: int32(e.State), Path: e.Path})
		c.last = max(c.last, h.Zxid)
		c.fire(&e)
		return nil
	}
	at := -1
	for i, k := range cn.pending {
		if k.xid == h.Xid {
			at = i
			break
		}
	}
	if at < 0 {
		return fmt.Errorf("a reply to xid %d, which nobody waits for", h.Xid)
	}
	k := cn.pending[at]
	cn.pending = append(cn.pending[:at:at], cn.pending[at+1:]...)
	c.record(cn, history.Record{Kind: history.Reply, Session: cn.id, Xid: k.xid, Op: int32(k.op), Zxid: h.Zxid, Err: int32(h.Err), Body: body})
	c.last = max(c.last, h.Zxid)
	k.zxid, k.err = h.Zxid, h.Err
	if resp := proto.NewResponse(k.op); resp != nil && h.Err == zkerr.OK {
		if err := proto.Unmarshal(body, resp); err != nil {
			k.lost = true
			close(k.done)
			return fmt.Errorf("reply to %v: %w", k.op, err)
		}
		k.resp = resp
	}
	if k.sent.After(cn.heard) {
		cn.heard = k.sent
	}
	cn.watch(k)
	close(k.done)
	if k.xid > 0 {
		c.acked(writes(k.op) && h.Err == zkerr.OK)
	}
	return nil
}

func writes(op proto.Op) bool {
	switch op {
	case proto.OpCreate, proto.OpCreate2, proto.OpDelete, proto.OpSetData, proto.OpSetACL, proto.OpMulti, proto.OpCloseSession:
		return true
	}
	return false
}

// The lists of watches.
const (
	dataWatch = iota
	existWatch
	childWatch
	persistentWatch
	recursiveWatch
)

// watch notes the watch that an answer has set. Only the newest connection's count: those of an old
// one end with it, and are set again before.
func (cn *conn) watch(k *call) {
	c := cn.c
	if c.cur != cn {
		return
	}
	switch q := k.body.(type) {
	case *proto.ReadRequest:
		if !q.Watch {
			return
		}
		switch {
		case k.op == proto.OpExists && k.err == zkerr.NoNode:
			c.watches[existWatch][q.Path] = true
		case k.err != zkerr.OK:
		case k.op == proto.OpGetChildren || k.op == proto.OpGetChildren2:
			c.watches[childWatch][q.Path] = true
		default:
			c.watches[dataWatch][q.Path] = true
		}
	case *proto.AddWatchRequest:
		if k.err == zkerr.OK {
			c.watches[persistentWatch+int(q.Mode)][q.Path] = true
		}
	}
}

// fire uses up the watches that an event was for.
func (c *client) fire(e *proto.WatcherEvent) {
	drop := func(lists ...int) {
		for _, l := range lists {
			delete(c.watches[l], e.Path)
		}
	}
	switch e.Type {
	case proto.EventNodeCreated, proto.EventNodeDataChanged:
		drop(dataWatch, existWatch)
	case proto.EventNodeDeleted:
		drop(dataWatch, existWatch, childWatch)
	case proto.EventNodeChildrenChanged:
		drop(childWatch)
	}
	if ch := c.fired[e.Path]; ch != nil {
		close(ch)
		delete(c.fired, e.Path)
	}
}

// awaits returns what is closed by the next event of a path, or when the session is lost. It is
// asked before the watch is set.
func (c *client) awaits(path string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fired[path] == nil {
		c.fired[path] = make(chan struct{})
	}
	return c.fired[path]
}

// setWatches tells the server of the watches that the session has, as every client does on a new
// connection.
func (cn *conn) setWatches() {
	c := cn.c
	c.mu.Lock()
	req := proto.SetWatches2Request{SetWatchesRequest: proto.SetWatchesRequest{RelativeZxid: c.last}}
	n := 0
	for i, to := range []*[]string{&req.Data, &req.Exist, &req.Child, &req.Persistent, &req.PersistentRecursive} {
		*to = []string{}
		for path := range c.watches[i] {
			*to = append(*to, path)
			n++
		}
	}
	old := len(req.Persistent)+len(req.PersistentRecursive) == 0
	c.mu.Unlock()
	switch {
	case n == 0:
	case old:
		cn.send(proto.OpSetWatches, &req.SetWatchesRequest)
	default:
		cn.send(proto.OpSetWatches2, &req)
	}
}

// beat keeps the session alive while it has nothing else to say.
func (cn *conn) beat() {
	t := time.NewTicker(max(cn.c.timeout/6, 50*time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-cn.done:
			return
		case <-t.C:
		}
		cn.send(proto.OpPing, nil)
	}
}

// holds says until when the session lives for sure: the servers count its whole time-out from when
// they heard of it, which is not before it was sent.
func (cn *conn) holds() (until time.Time, lost bool) {
	c := cn.c
	c.mu.Lock()
	defer c.mu.Unlock()
	return cn.heard.Add(c.timeout), cn.lost
}

// live returns the connection to work on, and makes one if there is none.
func (c *client) live() *conn {
	c.mu.Lock()
	cn := c.cur
	c.mu.Unlock()
	if cn == nil {
		cn = c.connect()
	}
	return cn
}

// move goes on with a new connection. The old one drains while the new one works, if drain says so.
func (c *client) move(drain bool) {
	c.mu.Lock()
	old := c.cur
	c.cur = nil
	c.mu.Unlock()
	if old == nil {
		return
	}
	if !drain {
		old.nc.Close()
		<-old.done
	}
	c.connect()
	if drain {
		// The server closes it, or does not hear of the new one.
		time.AfterFunc(500*time.Millisecond, func() { old.nc.Close() })
	}
}

// end ends the client: it closes its session, or just goes away. Nothing is read any more when it
// returns.
func (c *client) end(closes bool) {
	c.mu.Lock()
	cn := c.cur
	c.mu.Unlock()
	if cn != nil {
		if closes {
			k := cn.send(proto.OpCloseSession, nil)
			select {
			case <-k.done:
			case <-time.After(5 * time.Second):
			}
		}
		cn.nc.Close()
	}
	c.draining.Wait()
}
