package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// A State says how a client stands with its servers.
type State = proto.KeeperState

// The states. Expired, AuthFailed and Closed are final.
const (
	Disconnected      = proto.StateDisconnected
	Connected         = proto.StateSyncConnected
	AuthFailed        = proto.StateAuthFailed
	ConnectedReadOnly = proto.StateConnectedReadOnly
	Closed            = proto.StateClosed
	Expired           = proto.StateExpired
)

func final(s State) bool { return s == AuthFailed || s == Closed || s == Expired }

// A Session identifies a session to a server. Who knows it can take it over.
type Session struct {
	ID       int64
	Password []byte
	Timeout  time.Duration // as negotiated with the server
}

// Options change how a Client works. The zero value is what most want.
type Options struct {
	// Chroot is put before every path that is sent and taken off every path that comes back.
	Chroot string

	// ReadOnly accepts a server that has no quorum and answers reads only.
	ReadOnly bool

	// InOrder tries the servers in the order given, each time from the one after the last. By
	// default the list is shuffled once, to spread clients.
	InOrder bool

	// FailFast makes requests fail with zkerr.ConnectionLoss when none of the servers could be
	// reached, where else they would wait on.
	FailFast bool

	// Session resumes a session instead of opening a new one, and LastZxid is then the highest
	// zxid that it has seen.
	Session  *Session
	LastZxid int64

	// OmitReadOnly leaves the readOnly byte out of the handshake, as clients of old do.
	OmitReadOnly bool

	// OnEvent gets every event in order: state changes (Type None) and what watches fire. It is
	// called from a goroutine of its own and may call the client. More than 65536 events that it
	// has not yet taken are too many: the oldest are dropped.
	OnEvent func(Event)

	// Dial opens connections, in place of net.Dialer's DialContext.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Logf gets a line for every connection made, refused or lost. Nil says nothing.
	Logf func(format string, args ...any)

	// MaxFrame bounds a frame from the server; 0 stands for 64 MiB.
	MaxFrame int
}

const (
	defaultMaxFrame = 64 << 20
	maxEvents       = 1 << 16
)

// A Client is one session. Its methods may be called from any goroutine.
type Client struct {
	opt     Options
	servers []string
	chroot  string // "" or "/x", never "/"

	stop     context.CancelFunc // ends the connecting goroutine
	finished chan struct{}      // closed when it has ended

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced when state changes
	state    State
	conn     *conn // the live connection, nil when there is none
	session  Session
	lastZxid int64
	xid      int32
	next     int // index in servers of the next to try
	queue    []*Call
	auths    []auth
	watches  watches
	closing  bool

	events eventQueue
}

type auth struct {
	scheme string
	data   []byte
}

// Open makes a client and starts to connect, without waiting for it. Servers are host:port; the
// last may carry a chroot, "h:2181,h2:2181/app" split at the commas. A timeout of 0 stands for 30 s;
// the server may change it, see Session.
func Open(servers []string, timeout time.Duration, opt Options) (*Client, error) {
	servers = slices.Clone(servers)
	chroot := opt.Chroot
	if n := len(servers); n > 0 {
		if host, path, ok := strings.Cut(servers[n-1], "/"); ok {
			servers[n-1], chroot = host, "/"+path
		}
	}
	for i, s := range servers {
		s = strings.TrimSpace(s)
		if _, _, err := net.SplitHostPort(s); err != nil {
			s = net.JoinHostPort(strings.Trim(s, "[]"), "2181")
		}
		servers[i] = s
	}
	if len(servers) == 0 {
		return nil, errors.New("no servers to connect to")
	}
	chroot = strings.TrimSuffix(chroot, "/")
	if chroot != "" {
		if err := CheckPath(chroot); err != nil {
			return nil, fmt.Errorf("chroot: %w", err)
		}
	}
	if !opt.InOrder {
		rand.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	}
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	if opt.Dial == nil {
		opt.Dial = new(net.Dialer).DialContext
	}
	if opt.Logf == nil {
		opt.Logf = func(string, ...any) {}
	}
	if opt.MaxFrame <= 0 {
		opt.MaxFrame = defaultMaxFrame
	}
	c := &Client{
		opt:      opt,
		servers:  servers,
		chroot:   chroot,
		changed:  make(chan struct{}),
		session:  Session{Timeout: timeout, Password: make([]byte, 16)},
		lastZxid: opt.LastZxid,
		finished: make(chan struct{}),
	}
	if opt.Session != nil {
		c.session = *opt.Session
		c.session.Timeout = timeout
	}
	c.watches.init()
	if opt.OnEvent != nil {
		c.events.start(opt.OnEvent)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	go c.run(ctx)
	return c, nil
}

// Dial is Open and WaitConnected. If ctx ends first nothing stays open.
func Dial(ctx context.Context, servers []string, timeout time.Duration, opt Options) (*Client, error) {
	c, err := Open(servers, timeout, opt)
	if err != nil {
		return nil, err
	}
	if err := c.WaitConnected(ctx); err != nil {
		c.Abandon()
		return nil, err
	}
	return c, nil
}

// WaitConnected waits until the client has a connection with its session on it.
func (c *Client) WaitConnected(ctx context.Context) error {
	return c.WaitState(ctx, Connected, ConnectedReadOnly)
}

// WaitState waits until the client is in one of the states. It fails when ctx ends, and when the
// client is in another state that is final.
func (c *Client) WaitState(ctx context.Context, states ...State) error {
	for {
		c.mu.Lock()
		state, changed := c.state, c.changed
		c.mu.Unlock()
		switch {
		case slices.Contains(states, state):
			return nil
		case final(state):
			return &zkerr.Error{Op: "connect", Code: finalCode(state)}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return &zkerr.Error{Op: "connect", Code: zkerr.ConnectionLoss, Err: ctx.Err()}
		}
	}
}

// State returns the state of the client.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Session returns the session, whose ID is 0 until the first connection stands.
func (c *Client) Session() Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.session
	s.Password = slices.Clone(s.Password)
	return s
}

// LastZxid returns the highest zxid that a reply has carried.
func (c *Client) LastZxid() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastZxid
}

// Server returns the address of the server the client is connected to, "" if it is not.
func (c *Client) Server() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return ""
	}
	return c.conn.addr
}

// Drop breaks the connection. The client reconnects with the same session, to the next server.
func (c *Client) Drop() {
	c.mu.Lock()
	cn := c.conn
	c.mu.Unlock()
	if cn != nil {
		cn.fail(errors.New("dropped on request"))
	}
}

// DrainEvents waits until Options.OnEvent has taken all events that were there when it was called:
// after a reply, all that the server sent before it. OnEvent itself must not call it.
func (c *Client) DrainEvents() { c.events.drain() }

// Abandon ends the client without a word to the server, as a crash of its process would: the
// session lives on there until it expires.
func (c *Client) Abandon() {
	c.setFinal(Closed)
	<-c.finished
}

// Close ends the session, if there is a connection to say so on, and the client. It waits for the
// server's answer, and until Options.OnEvent has taken the last event, as long as ctx allows.
// OnEvent itself must not call it.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	connected := c.conn != nil && !c.closing && !final(c.state)
	c.closing = true
	c.mu.Unlock()
	var err error
	if connected {
		_, err = c.start(closeOp{}).Wait(ctx)
	}
	c.Abandon()
	if c.events.ended != nil {
		select {
		case <-c.events.ended:
		case <-ctx.Done():
		}
	}
	return err
}

// AddAuth authenticates the session's connection, and every later one.
func (c *Client) AddAuth(ctx context.Context, scheme string, data []byte) error {
	_, err := c.start(authOp{scheme: scheme, data: data}).Wait(ctx)
	return err
}

func finalCode(s State) zkerr.Code {
	switch s {
	case Expired:
		return zkerr.SessionExpired
	case AuthFailed:
		return zkerr.AuthFailed
	default:
		return zkerr.ConnectionLoss
	}
}

// setState is called with mu held.
func (c *Client) setState(s State) {
	if c.state == s || final(c.state) {
		return
	}
	c.state = s
	close(c.changed)
	c.changed = make(chan struct{})
	c.events.put(Event{Type: None, State: s, Zxid: -1})
}

// setFinal ends the client in state s: what waits gets an error.
func (c *Client) setFinal(s State) {
	c.mu.Lock()
	if final(c.state) {
		c.mu.Unlock()
		return
	}
	c.setState(s)
	queue, cn := c.queue, c.conn
	c.queue = nil
	c.watches.end(Event{Type: None, State: s, Zxid: -1})
	c.mu.Unlock()
	c.stop()
	for _, call := range queue {
		call.finish(finalCode(s))
	}
	if cn != nil {
		cn.fail(errors.New("client is " + s.String()))
	}
	c.events.stop()
}

// Start sends op and returns without waiting for the answer. Ops that one goroutine starts one
// after the other are executed in that order.
func (c *Client) Start(op Op) *Call { return c.start(op) }

// Do starts op and waits for its answer. When ctx ends first the op may still be executed.
func (c *Client) Do(ctx context.Context, op Op) (Reply, error) { return c.start(op).Wait(ctx) }

func (c *Client) start(op Op) *Call {
	call := &Call{op: op, done: make(chan struct{})}
	frame := make([]byte, 8, 128) // length and xid come when it is sent
	frame = jute.AppendInt(frame, int32(op.code()))
	call.frame = op.append(frame, c.chroot)
	binary.BigEndian.PutUint32(call.frame, uint32(len(call.frame)-4))

	c.mu.Lock()
	_, isClose := op.(closeOp)
	switch {
	case final(c.state):
		code := finalCode(c.state)
		c.mu.Unlock()
		call.finish(code)
		return call
	case c.closing && !isClose:
		c.mu.Unlock()
		call.finish(zkerr.ConnectionLoss)
		return call
	}
	c.queue = append(c.queue, call)
	cn := c.conn
	c.mu.Unlock()
	if cn != nil {
		cn.wakeWriter()
	}
	return call
}

// A Call is an op that was started.
type Call struct {
	op    Op
	frame []byte
	xid   int32
	done  chan struct{}
	reply Reply
	err   error
}

// Done is closed when the answer is there.
func (call *Call) Done() <-chan struct{} { return call.done }

// Wait waits for the answer, or for the end of ctx. The error of an answer is a *zkerr.Error;
// Reply.Zxid is set beside it.
func (call *Call) Wait(ctx context.Context) (Reply, error) {
	select {
	case <-call.done:
		return call.reply, call.err
	default:
	}
	select {
	case <-call.done:
		return call.reply, call.err
	case <-ctx.Done():
		return Reply{}, fmt.Errorf("%s %s: %w", call.op.name(), call.op.path(), ctx.Err())
	}
}

// finish is called once per call.
func (call *Call) finish(code zkerr.Code) {
	if code != zkerr.OK {
		call.err = &zkerr.Error{Op: call.op.name(), Path: call.op.path(), Code: code}
	}
	close(call.done)
}
