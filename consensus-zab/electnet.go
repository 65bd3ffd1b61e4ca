package zab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/zkcore/zkcore/consensus-zab/protocol"
	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// An electNet carries notifications. Of each pair of servers the one with the larger id
// makes the connection; the other one, when it has something to say, knocks: it connects,
// says who it is, and is called back.
type electNet struct {
	e     *ensemble
	self  consensus.Server
	hello []byte
	lns   []net.Listener
	busy  chan struct{} // bounds the handshakes

	mu        sync.Mutex
	closed    bool
	peers     map[consensus.ServerID]*electPeer
	strangers map[consensus.ServerID]time.Time // when the log said last that they are strangers
}

// An electPeer is another server on the election port.
type electPeer struct {
	id      consensus.ServerID
	addrs   []string
	c       net.Conn
	since   time.Time // when c began
	wake    chan struct{}
	next    []byte // to be sent: only the newest counts
	last    []byte // the last one that was sent, for a connection that begins anew
	dialing bool
	knocks  int // since the last connection
	brief   int // connections in a row that did not last

	failing time.Time // since when it can't be reached; zero if it can
	told    time.Time // when the log said so last
	ended   time.Time // when the log said last that it ends each connection
}

// crossing is how long a knock and a connection in the other direction may miss each
// other.
const crossing = 500 * time.Millisecond

// lasting is how long a connection stands that the other side wanted.
const lasting = time.Second

// reminder is how often the log says the same of a server: that it can't be reached, that
// it wants no connection, that it is none of this ensemble.
const reminder = time.Minute

// maxStrangers is how many strangers' ids are remembered, to say it seldom.
const maxStrangers = 64

// maxKnocks is how often a server knocks that nobody calls back, but for what there is to
// send.
const maxKnocks = 6

func newElectNet(e *ensemble, self consensus.Server) *electNet {
	n := &electNet{e: e, self: self, busy: make(chan struct{}, 64), peers: map[consensus.ServerID]*electPeer{},
		strangers: map[consensus.ServerID]time.Time{}}
	hello := quorum.InitialMessage{Version: quorum.InitialV1, SID: int64(self.ID)}
	for _, a := range self.Election[:1] {
		if hp, err := splitHostPort(a); err == nil {
			hello.Addrs = append(hello.Addrs, hp)
		}
	}
	n.hello = hello.Append(nil)
	for _, s := range e.cfg.Servers {
		if s.ID != self.ID {
			n.peers[s.ID] = &electPeer{id: s.ID, addrs: s.Election, wake: make(chan struct{}, 1)}
		}
	}
	return n
}

// An electionPortError ends the process with the code that Apache has for it.
type electionPortError struct{ err error }

func (e *electionPortError) Error() string { return "election port: " + e.err.Error() }
func (e *electionPortError) Unwrap() error { return e.err }
func (e *electionPortError) ExitCode() int { return consensus.ExitElectionPort }

// listen opens the election port. It tries as often as the configuration says.
func (n *electNet) listen() error {
	for _, a := range n.e.listenAddrs(n.self.Election) {
		for try := 1; ; try++ {
			ln, err := n.e.listenConfig().Listen(context.Background(), "tcp", a)
			if err == nil {
				n.lns = append(n.lns, ln)
				break
			}
			if n.e.opts.bindRetries != 0 && try >= n.e.opts.bindRetries {
				n.close()
				return &electionPortError{err}
			}
			n.e.cfg.Log.Warn("election port can't be opened; trying again", "address", a, "error", err)
			time.Sleep(time.Second)
		}
	}
	return nil
}

func (n *electNet) start() {
	for _, ln := range n.lns {
		n.e.wg.Add(1)
		go func() { defer n.e.wg.Done(); n.accept(ln) }()
	}
}

func (n *electNet) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for _, ln := range n.lns {
		ln.Close()
	}
	for _, p := range n.peers {
		if p.c != nil {
			p.c.Close()
		}
	}
}

func (n *electNet) accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			n.e.cfg.Log.Warn("election port", "error", err)
			time.Sleep(100 * time.Millisecond) // out of descriptors, most likely
			continue
		}
		select {
		case n.busy <- struct{}{}:
			n.e.wg.Add(1)
			go func() {
				defer n.e.wg.Done()
				n.greet(c)
				<-n.busy
			}()
		default:
			n.e.cfg.Log.Warn("election port: connection refused", "address", c.RemoteAddr(), "reason", "too many say nothing")
			c.Close()
		}
	}
}

// raftHead is what a connection to the election port of consensus-raft begins with: a HELLO's length and kind. A server
// before 3.5 sends its id there, which is no such number.
const raftHead = 21<<8 | 1

// greet reads who connected.
func (n *electNet) greet(c net.Conn) {
	refuse := func(why any) {
		n.e.cfg.Log.Warn("election port: connection refused", "address", c.RemoteAddr(), "reason", why)
		c.Close()
	}
	timeout := n.e.opts.handshakeTimeout
	if timeout == 0 {
		timeout = n.e.syncTimeout
	}
	c.SetDeadline(time.Now().Add(timeout))
	stop := context.AfterFunc(n.e.ctx, func() { c.Close() })
	m, err := quorum.ReadInitialMessage(c)
	stop()
	if err != nil {
		refuse(err)
		return
	}
	c.SetDeadline(time.Time{})
	id := consensus.ServerID(m.SID)
	if uint64(m.SID)>>24 == raftHead {
		if n.strange(raftHead) {
			refuse("it speaks Raft: that server runs with --consensus=raft, and all must have the same")
		}
		c.Close()
		return
	}
	p := n.peers[id]
	switch {
	case id == n.self.ID:
		refuse("it says that it is this server")
	case p == nil:
		if !n.strange(id) {
			c.Close()
			return
		}
		refuse(fmt.Sprintf("server %d is not in the membership", id))
	case id < n.self.ID:
		// A knock: whatever connection there was is none for it, but for one that is just
		// being made from here.
		c.Close()
		n.mu.Lock()
		if p.c != nil && time.Since(p.since) > crossing {
			p.c.Close()
			p.c = nil
		}
		n.mu.Unlock()
		n.dial(p)
	default:
		n.attach(p, c)
	}
}

// strange says whether it is time to say that a server is not in the membership: it will
// come again and again.
func (n *electNet) strange(id consensus.ServerID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	at, known := n.strangers[id]
	if known && now.Sub(at) < reminder {
		return false
	}
	if !known && len(n.strangers) >= maxStrangers {
		return true
	}
	n.strangers[id] = now
	return true
}

// send sends a notification, in place of one that is not sent yet.
func (n *electNet) send(to consensus.ServerID, b []byte) {
	p := n.peers[to]
	if p == nil {
		return
	}
	n.mu.Lock()
	p.next = b
	connected := p.c != nil
	n.mu.Unlock()
	if connected {
		n.rouse(p)
		return
	}
	n.dial(p)
}

// rouse makes a server's sender look at what there is to send.
func (n *electNet) rouse(p *electPeer) {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// dial connects to a server, or knocks, unless that is under way.
func (n *electNet) dial(p *electPeer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.dialing || p.c != nil || n.closed {
		return
	}
	p.dialing = true
	n.e.wg.Add(1)
	go func() {
		defer n.e.wg.Done()
		c, err := n.connect(p)
		n.mu.Lock()
		p.dialing = false
		n.tell(p, err)
		n.mu.Unlock()
		switch {
		case err != nil:
			reach := protocol.Unknown
			if errors.Is(err, syscall.ECONNREFUSED) {
				reach = protocol.Refused
			}
			n.reach(p.id, reach)
		case p.id > n.self.ID:
			c.Close()
			n.reach(p.id, protocol.Unknown)
			n.knockAgain(p)
		default:
			n.attach(p, c)
		}
	}()
}

// tell logs that a server can't be reached, for as long that it is not one that is just
// being started, and that it can again. It is called with the lock held.
func (n *electNet) tell(p *electPeer, err error) {
	now := time.Now()
	switch {
	case n.closed:
	case err == nil:
		if !p.told.IsZero() {
			n.e.cfg.Log.Info("election port: server reached", "server", p.id, "after", now.Sub(p.failing).Round(time.Millisecond))
		}
		p.failing, p.told = time.Time{}, time.Time{}
	case p.failing.IsZero():
		p.failing = now
	case now.Sub(p.failing) >= n.e.cfg.Tick && (p.told.IsZero() || now.Sub(p.told) >= reminder):
		p.told = now
		n.e.cfg.Log.Warn("election port: server can't be reached", "server", p.id, "address", strings.Join(p.addrs, "|"), "error", err)
	}
}

// knockAgain knocks once more if nobody calls back. The port of a process that is just
// dying may still be open: whether it is gone an election wants to know soon.
func (n *electNet) knockAgain(p *electPeer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.knocks < maxKnocks && p.c == nil {
		p.knocks++
		time.AfterFunc(10*time.Millisecond<<p.knocks, func() { n.dial(p) })
	}
}

func (n *electNet) connect(p *electPeer) (net.Conn, error) {
	var err error
	for _, a := range p.addrs {
		var c net.Conn
		if c, err = n.e.dialer(n.e.opts.dialTimeout).DialContext(n.e.ctx, "tcp", a); err != nil {
			continue
		}
		c.SetWriteDeadline(time.Now().Add(n.e.opts.dialTimeout))
		if _, err = c.Write(n.hello); err != nil { // in one piece: Apache reads it with one read
			c.Close()
			continue
		}
		c.SetWriteDeadline(time.Time{})
		return c, nil
	}
	return nil, err
}

func (n *electNet) reach(id consensus.ServerID, r protocol.Reach) {
	n.e.post(func(m *protocol.Member, now protocol.Time) { m.Reach(now, id, r) })
}

// attach makes c the connection to a server.
func (n *electNet) attach(p *electPeer, c net.Conn) {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		c.Close()
		return
	}
	if p.c != nil {
		p.c.Close()
	}
	p.c, p.since, p.knocks = c, time.Now(), 0
	n.tell(p, nil) // it may be the one that reached us
	if p.next == nil {
		p.next = p.last
	}
	n.mu.Unlock()
	n.reach(p.id, protocol.Up)
	gone := make(chan struct{})
	n.e.wg.Add(2)
	go func() { defer n.e.wg.Done(); n.write(p, c, gone) }()
	go func() {
		defer n.e.wg.Done()
		err := n.read(p, c)
		close(gone)
		c.Close()
		n.detach(p, c, err)
	}()
}

// detach forgets a connection, and tries for the next: its success or its refusal is what
// an election wants to know. With a server that ends each of them at once, since it does
// not know this one, there is ever more time between two.
func (n *electNet) detach(p *electPeer, c net.Conn, err error) {
	n.mu.Lock()
	mine := p.c == c
	var pause time.Duration
	if mine {
		p.c = nil
		if p.brief++; time.Since(p.since) > lasting {
			p.brief = 0
		}
		if p.brief > 2 {
			pause = min(10*time.Millisecond<<min(p.brief, 10), time.Second)
		}
	}
	closed := n.closed
	unwanted, say := p.brief > 2, false
	if now := time.Now(); unwanted && mine && now.Sub(p.ended) >= reminder {
		p.ended, say = now, true
	}
	n.mu.Unlock()
	if !mine || closed {
		return
	}
	if say {
		n.e.cfg.Log.Warn("election port: server ends each connection at once: it may not have this one in its membership",
			"server", p.id, "address", c.RemoteAddr(), "error", err)
	} else if !unwanted {
		n.e.cfg.Log.Info("election port: connection lost", "server", p.id, "error", err)
	}
	n.reach(p.id, protocol.Unknown)
	if pause == 0 {
		n.dial(p)
	} else {
		time.AfterFunc(pause, func() { n.dial(p) })
	}
}

func (n *electNet) write(p *electPeer, c net.Conn, gone chan struct{}) {
	for {
		n.mu.Lock()
		b := p.next
		if p.c != c {
			n.mu.Unlock()
			n.rouse(p) // the signal was for another
			return
		}
		if b != nil {
			p.next, p.last = nil, b
		}
		n.mu.Unlock()
		if b != nil {
			c.SetWriteDeadline(time.Now().Add(n.e.syncTimeout))
			if _, err := c.Write(b); err != nil {
				c.Close()
				return
			}
			continue
		}
		select {
		case <-p.wake:
		case <-gone:
			return
		case <-n.e.ctx.Done():
			return
		}
	}
}

func (n *electNet) read(p *electPeer, c net.Conn) error {
	r := bufio.NewReader(c)
	for {
		b, err := quorum.ReadMessage(r, nil)
		if err != nil {
			return err
		}
		v, err := quorum.DecodeNotification(b)
		if err != nil {
			n.e.cfg.Log.Warn("election port: message passed over", "server", p.id, "error", err)
			continue
		}
		n.e.postBytes(len(b), n.e.ctx.Done(), func(m *protocol.Member, now protocol.Time) { m.Notification(now, p.id, v) })
	}
}
