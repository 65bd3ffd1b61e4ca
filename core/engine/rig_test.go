package engine

import (
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// tb is what *testing.T and *rapid.T have in common.
type tb interface {
	Helper()
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
}

// A rig is a node without sockets: what is written is prepared, applied and
// answered at once, or, while it is held, when it is released.
type rig struct {
	t       tb
	e       *Engine
	store   *mapStore
	now     int64
	conns   []*client
	pending []consensus.Txn
	log     []consensus.Txn // all that was prepared
	held    bool
	opened  []int64
	closed  []int64
	enough  func() bool // nil: never
}

// A client is one connection.
type client struct {
	rig     *rig
	id      uint64
	session int64
	server  consensus.ServerID
	auth    []consensus.Identity
	xid     int32
	waits   map[int32]proto.Op
	sent    map[int32][]byte // the bodies of what waits
	got     []reply
}

// A reply is what a client hears: an event if xid is -1.
type reply struct {
	xid  int32
	zxid int64
	code zkerr.Code
	body []byte
	ev   proto.EventType
	path string
}

func newRig(t tb, opts Options) *rig {
	t.Helper()
	if opts.OnDigestMismatch == nil {
		opts.OnDigestMismatch = func(zxid int64, txn, tree uint64) {
			t.Errorf("0x%x: the txn has digest %d, the tree %d", zxid, txn, tree)
		}
	}
	r := &rig{t: t, e: New(opts), store: newMapStore(), now: 1000}
	if err := r.e.Open(r.store); err != nil {
		t.Fatal(err)
	}
	r.e.Lead(0)
	return r
}

// connect opens a session, unless it is there, and a connection of it.
func (r *rig) connect(session int64) *client {
	r.t.Helper()
	c := &client{rig: r, id: uint64(len(r.conns) + 1), session: session, server: 1, waits: map[int32]proto.Op{},
		auth: []consensus.Identity{{Scheme: "ip", ID: "127.0.0.1"}}}
	r.conns = append(r.conns, c)
	if _, ok := r.e.Session(session); !ok {
		r.prepare(1, &consensus.Request{Session: session, Op: int32(proto.OpCreateSession), Body: jute.AppendInt(nil, 10000)})
	}
	return c
}

func (r *rig) prepare(from consensus.ServerID, q *consensus.Request) consensus.Txn {
	r.t.Helper()
	x := r.e.Prepare(r.now, from, q)
	r.pending = append(r.pending, x)
	r.log = append(r.log, x)
	if !r.held {
		r.release(len(r.pending))
	}
	return x
}

// release applies the first n of what is held.
func (r *rig) release(n int) {
	r.t.Helper()
	n = min(n, len(r.pending))
	if err := r.e.Apply(r.pending[:n], r); err != nil {
		r.t.Fatal(err)
	}
	r.pending = r.pending[n:]
}

// send writes, and does not wait.
func (c *client) send(op proto.Op, body []byte) int32 {
	c.rig.t.Helper()
	c.xid++
	c.waits[c.xid] = op
	if c.sent == nil {
		c.sent = map[int32][]byte{}
	}
	c.sent[c.xid] = body
	c.rig.prepare(c.server, &consensus.Request{Session: c.session, Cxid: c.xid, Op: int32(op), Auth: c.auth, Body: body})
	return c.xid
}

// write writes and returns the reply.
func (c *client) write(op proto.Op, body []byte) reply {
	c.rig.t.Helper()
	xid := c.send(op, body)
	for _, g := range c.got {
		if g.xid == xid {
			return g
		}
	}
	c.rig.t.Fatalf("no reply to %s", op)
	return reply{}
}

func (c *client) read(op proto.Op, body []byte) reply {
	c.xid++
	pre := []byte("frame so far")
	out, code := c.rig.e.Read(pre, &ReadRequest{Session: c.session, Watcher: c.id, Auth: c.auth, Op: int32(op), Body: body}, c.rig)
	if string(out[:len(pre)]) != string(pre) || code != zkerr.OK && len(out) != len(pre) {
		c.rig.t.Errorf("%s answers %d bytes with %v", op, len(out)-len(pre), code)
	}
	g := reply{xid: c.xid, zxid: c.rig.e.LastZxid(), code: code, body: out[len(pre):]}
	c.got = append(c.got, g)
	return g
}

// events returns and forgets what a client was told of.
func (c *client) events() []reply {
	var evs []reply
	for _, g := range c.got {
		if g.xid == -1 {
			evs = append(evs, g)
		}
	}
	c.got = nil
	return evs
}

func (r *rig) Waits(session int64, cxid int32) ([]byte, bool) {
	for _, c := range r.conns {
		if c.session == session && c.waits[cxid] != 0 {
			return c.sent[cxid], true
		}
	}
	return nil, false
}

func (r *rig) Wrote(int64, int32) {}

func (r *rig) Reply(session int64, cxid int32, zxid int64, op int32, code zkerr.Code, body []byte) {
	for _, c := range r.conns {
		if c.session == session && c.waits[cxid] != 0 {
			if want := c.waits[cxid]; op != int32(want) && op != int32(proto.OpError) {
				r.t.Errorf("reply to %s is of type %d", want, op)
			}
			delete(c.waits, cxid)
			delete(c.sent, cxid)
			c.got = append(c.got, reply{xid: cxid, zxid: zxid, code: code, body: append([]byte{}, body...)})
		}
	}
}

func (r *rig) conn(watcher uint64) *client { return r.conns[watcher-1] }

func (r *rig) Auth(watcher uint64) []consensus.Identity { return r.conn(watcher).auth }

func (r *rig) Event(watcher uint64, zxid int64, typ int32, path string) {
	c := r.conn(watcher)
	c.got = append(c.got, reply{xid: -1, zxid: zxid, ev: proto.EventType(typ), path: string([]byte(path))})
}

func (r *rig) Enough() bool { return r.enough != nil && r.enough() }

func (r *rig) SessionOpened(id int64, timeoutMS int32) {
	if got, ok := r.e.Session(id); !ok || got != timeoutMS {
		r.t.Errorf("session 0x%x opened with %d, known with %d", id, timeoutMS, got)
	}
	r.opened = append(r.opened, id)
}

func (r *rig) SessionClosed(id int64) {
	if _, ok := r.e.Session(id); ok {
		r.t.Errorf("session 0x%x closed and known", id)
	}
	r.closed = append(r.closed, id)
}
