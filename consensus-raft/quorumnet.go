package raft

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/zkcore/zkcore/consensus-raft/protocol"
	"github.com/zkcore/zkcore/plugins/consensus"
)

func (e *ensemble) listenAddrs(addrs []string) []string {
	if !e.cfg.QuorumListenOnAllIPs {
		return addrs
	}
	var all []string
	for _, a := range addrs {
		if _, port, err := net.SplitHostPort(a); err == nil {
			all = append(all, ":"+port)
		}
	}
	return all[:min(1, len(all))]
}

func (e *ensemble) listenConfig() *net.ListenConfig {
	c := &net.ListenConfig{KeepAlive: -1}
	if e.opts.keepAlive {
		c.KeepAlive = 0
	}
	return c
}

func (e *ensemble) dialer() *net.Dialer {
	d := &net.Dialer{Timeout: e.opts.dialTimeout, KeepAlive: -1}
	if e.opts.keepAlive {
		d.KeepAlive = 0
	}
	return d
}

// listen opens the quorum port, to leaders.
func (e *ensemble) listen() error {
	for _, a := range e.listenAddrs(e.self.Quorum) {
		ln, err := e.bind(a, "quorum port")
		if err != nil {
			for _, ln := range e.lns {
				ln.Close()
			}
			return err
		}
		e.lns = append(e.lns, ln)
	}
	return nil
}

// bind opens a port. It tries as often as the configuration says.
func (e *ensemble) bind(addr, what string) (net.Listener, error) {
	for try := 1; ; try++ {
		ln, err := e.listenConfig().Listen(context.Background(), "tcp", addr)
		if err == nil {
			return ln, nil
		}
		if e.opts.bindRetries != 0 && try >= e.opts.bindRetries {
			return nil, err
		}
		e.cfg.Log.Warn(what+" can't be opened; trying again", "address", addr, "error", err)
		time.Sleep(time.Second)
	}
}

func (e *ensemble) accept(ln net.Listener) {
	limit := 4*len(e.cfg.Servers) + 16
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			e.cfg.Log.Warn("quorum port", "error", err)
			time.Sleep(100 * time.Millisecond) // out of descriptors, most likely
			continue
		}
		e.mu.Lock()
		full := e.conns >= limit
		if !full {
			e.conns++
		}
		e.mu.Unlock()
		if full {
			e.cfg.Log.Warn("quorum port: connection refused", "address", c.RemoteAddr(), "reason", "there are too many")
			c.Close()
			continue
		}
		e.post(func(m *protocol.Member, now protocol.Time) {
			if e.ctx.Err() != nil {
				c.Close()
				return
			}
			l := e.link(c)
			l.attend()
			m.Accepted(now, l.id, c.RemoteAddr().String())
			// Who says nothing does not stay.
			silent := time.AfterFunc(e.opts.dialTimeout, func() {
				e.post(func(m *protocol.Member, now protocol.Time) {
					if m.Guest(l.id) {
						l.fail(errors.New("it says nothing"))
					}
				})
			})
			e.wg.Add(1)
			go func() {
				defer e.wg.Done()
				<-l.gone
				silent.Stop()
				e.mu.Lock()
				e.conns--
				e.mu.Unlock()
			}()
			l.start()
		})
	}
}

// link makes a link of a connection. It is for the loop.
func (e *ensemble) link(c net.Conn) *link {
	e.ids++
	l := newLink(e, e.ids, c)
	e.links[l.id] = l
	return l
}

// A dialing is this server's way to another one's quorum port.
type dialing struct {
	e      *ensemble
	to     consensus.ServerID
	addrs  []string
	cancel context.CancelFunc // of the attempt under way
	round  int                // what comes of an earlier one is not wanted
}

// dial connects to a member, after a while, until it is reached, or until stop.
func (e *ensemble) dial(to consensus.ServerID, wait time.Duration) {
	d := e.dials[to]
	if d == nil {
		d = &dialing{e: e, to: to}
		for _, s := range e.cfg.Servers {
			if s.ID == to {
				d.addrs = s.Quorum
			}
		}
		e.dials[to] = d
	}
	d.stop()
	ctx, cancel := context.WithCancel(e.ctx)
	d.cancel = cancel
	d.round++
	round := d.round
	e.wg.Add(1)
	go func() {
		defer e.wg.Done()
		c := d.connect(ctx, wait)
		if c == nil {
			return
		}
		e.post(func(m *protocol.Member, now protocol.Time) {
			if round != d.round || e.ctx.Err() != nil {
				c.Close()
				return
			}
			l := e.link(c)
			m.Linked(now, to, l.id, c.RemoteAddr().String())
			l.start()
		})
	}()
}

// stop ends the attempt under way.
func (d *dialing) stop() {
	d.round++
	if d.cancel != nil {
		d.cancel()
		d.cancel = nil
	}
}

func (d *dialing) connect(ctx context.Context, wait time.Duration) net.Conn {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		for _, a := range d.addrs {
			c, err := d.e.dialer().DialContext(ctx, "tcp", a)
			if err == nil {
				return c
			}
		}
		wait = min(max(2*wait, 10*time.Millisecond), 250*time.Millisecond)
	}
}
