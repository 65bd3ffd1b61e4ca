package raft

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/zkcore/zkcore/consensus-raft/protocol"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// An electNet carries the messages of elections. Each voter makes a connection to each
// other one, and speaks on that, for a while; it listens on those that the others made.
type electNet struct {
	e     *ensemble
	lns   []net.Listener
	hello []byte

	mu     sync.Mutex
	closed bool
	peers  map[consensus.ServerID]*electPeer
	heard  map[consensus.ServerID]net.Conn // on which it speaks
	quiet  int                             // connections that have not said who they are
}

// An electPeer is the way to another server's election port.
type electPeer struct {
	id    consensus.ServerID
	addrs []string
	queue [][]byte
	wake  chan struct{}
	c     net.Conn
	made  time.Time // c was
}

// maxMail is how many messages may wait for one server: they are soon old.
const maxMail = 64

// maxQuiet bounds the connections that have not said who they are.
const maxQuiet = 64

func newElectNet(e *ensemble) *electNet {
	hello := protocol.Frame{Kind: protocol.Hello, Version: protocol.Version, From: e.cfg.ID, Set: e.member.Set()}
	n := &electNet{e: e, hello: hello.Append(nil), peers: map[consensus.ServerID]*electPeer{}, heard: map[consensus.ServerID]net.Conn{}}
	for _, s := range e.cfg.Servers {
		if s.ID != e.cfg.ID && !s.Observer && !e.self.Observer {
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

func (n *electNet) listen() error {
	for _, a := range n.e.listenAddrs(n.e.self.Election) {
		ln, err := n.e.bind(a, "election port")
		if err != nil {
			n.close()
			return &electionPortError{err}
		}
		n.lns = append(n.lns, ln)
	}
	return nil
}

func (n *electNet) start() {
	for _, ln := range n.lns {
		n.e.wg.Add(1)
		go func() { defer n.e.wg.Done(); n.accept(ln) }()
	}
	for _, p := range n.peers {
		n.e.wg.Add(1)
		go func() { defer n.e.wg.Done(); n.write(p) }()
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
	for _, c := range n.heard {
		c.Close()
	}
}

// send queues a message. When there are too many the oldest goes.
func (n *electNet) send(to consensus.ServerID, b []byte) {
	p := n.peers[to]
	if p == nil {
		return
	}
	n.mu.Lock()
	if len(p.queue) == maxMail {
		p.queue = append(p.queue[:0], p.queue[1:]...)
	}
	p.queue = append(p.queue, b)
	n.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// write sends what is queued for one server. What can't be sent is dropped: a vote that
// comes late is none.
func (n *electNet) write(p *electPeer) {
	told := time.Time{}
	for {
		select {
		case <-n.e.ctx.Done():
			return
		case <-p.wake:
		}
		n.mu.Lock()
		c, made := p.c, p.made
		n.mu.Unlock()
		if c != nil && time.Since(made) > n.e.opts.dialTimeout {
			// What became of it nobody says: the other side answers on a connection of its own. One that lost
			// its power, or was cut off, gets what is sent on the old one only when the system sends it again,
			// and that is late when it was away for long.
			n.drop(p, c)
			c = nil
		}
		if c == nil {
			var err error
			if c, err = n.dial(p); err != nil {
				n.mu.Lock()
				p.queue = nil
				n.mu.Unlock()
				if time.Since(told) > time.Minute && n.e.ctx.Err() == nil {
					told = time.Now()
					n.e.cfg.Log.Warn("a server can't be reached on its election port", "server", p.id, "error", err)
				}
				continue
			}
			told = time.Time{}
		}
		n.mu.Lock()
		queue := p.queue
		p.queue = nil
		n.mu.Unlock()
		c.SetWriteDeadline(time.Now().Add(n.e.opts.dialTimeout))
		for _, b := range queue {
			if _, err := c.Write(b); err != nil {
				n.drop(p, c)
				break
			}
		}
	}
}

func (n *electNet) dial(p *electPeer) (net.Conn, error) {
	err := errors.New("it has no election address")
	for _, a := range p.addrs {
		ctx, cancel := context.WithTimeout(n.e.ctx, n.e.opts.dialTimeout)
		var c net.Conn
		c, err = n.e.dialer().DialContext(ctx, "tcp", a)
		cancel()
		if err != nil {
			continue
		}
		if _, err = c.Write(n.hello); err != nil {
			c.Close()
			continue
		}
		n.mu.Lock()
		if n.closed {
			n.mu.Unlock()
			c.Close()
			return nil, net.ErrClosed
		}
		p.c, p.made = c, time.Now()
		n.mu.Unlock()
		// Nothing comes on it but its end: so that it is known before the next message.
		n.e.wg.Add(1)
		go func() {
			defer n.e.wg.Done()
			var b [1]byte
			c.Read(b[:])
			n.drop(p, c)
		}()
		return c, nil
	}
	return nil, err
}

// drop closes a connection.
func (n *electNet) drop(p *electPeer, c net.Conn) {
	c.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.c == c {
		p.c = nil
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
		n.mu.Lock()
		full := n.quiet >= maxQuiet
		if !full {
			n.quiet++
		}
		n.mu.Unlock()
		if full {
			n.e.cfg.Log.Warn("election port: connection refused", "address", c.RemoteAddr(), "reason", "too many say nothing")
			c.Close()
			continue
		}
		n.e.wg.Add(1)
		go func() { defer n.e.wg.Done(); n.read(c) }()
	}
}

// maxMailFrame is longer than any message of an election.
const maxMailFrame = 1024

// zabHead is how a connection to Zab's election port begins, whose servers may have been given this one's address.
const zabHead = "\xff\xff\xff\xff"

// read reads who speaks, and what it says.
func (n *electNet) read(c net.Conn) {
	defer c.Close()
	stop := context.AfterFunc(n.e.ctx, func() { c.Close() })
	defer stop()
	r := bufio.NewReaderSize(c, 2048)
	c.SetReadDeadline(time.Now().Add(n.e.opts.dialTimeout))
	var f protocol.Frame
	head, err := r.Peek(4)
	if err == nil && string(head) == zabHead {
		err = errors.New("it speaks Zab: that server runs with --consensus=zab, or is Apache's, and all must have the same")
	} else {
		f, _, err = readFrame(r, maxMailFrame)
	}
	n.mu.Lock()
	n.quiet--
	n.mu.Unlock()
	if err == nil {
		err = n.greet(&f)
	}
	if err != nil {
		n.e.cfg.Log.Warn("election port: connection refused", "address", c.RemoteAddr(), "reason", err)
		return
	}
	c.SetReadDeadline(time.Time{})
	from := f.From
	n.mu.Lock()
	old := n.heard[from]
	n.heard[from] = c
	closed := n.closed
	n.mu.Unlock()
	if old != nil {
		old.Close()
	}
	defer func() {
		n.mu.Lock()
		if n.heard[from] == c {
			delete(n.heard, from)
		}
		n.mu.Unlock()
	}()
	for !closed {
		f, size, err := readFrame(r, maxMailFrame)
		if err != nil {
			return
		}
		if f.Kind != protocol.Vote && f.Kind != protocol.Bid {
			n.e.cfg.Log.Warn("election port: connection ended", "server", from, "reason", fmt.Sprintf("%v comes there", f.Kind))
			return
		}
		n.e.postBytes(size, nil, func(m *protocol.Member, now protocol.Time) { m.Mailed(now, from, f) })
	}
}

func (n *electNet) greet(f *protocol.Frame) error {
	switch {
	case f.Kind != protocol.Hello:
		return fmt.Errorf("the first frame is %v", f.Kind)
	case f.Version != protocol.Version:
		return fmt.Errorf("its frames are of version %d, this server's are of version %d", f.Version, protocol.Version)
	case f.From == n.e.cfg.ID:
		return errors.New("it says that it is this server")
	case n.peers[f.From] == nil:
		return fmt.Errorf("server %d is no voter of this ensemble", f.From)
	case f.Set != n.e.member.Set():
		return errors.New("its configuration names other voters")
	}
	return nil
}
