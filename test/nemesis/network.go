package nemesis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/zkcore/zkcore/test/harness"
	"github.com/zkcore/zkcore/test/nemesis/netns"
	"github.com/zkcore/zkcore/test/nemesis/proxy"
)

// An end is a server, by its id, or a group of clients: 0, -1, -2.
type end = int

// groups is how many parts of the network the clients are in.
const groups = 3

// A network carries what servers and clients say, and hurts it. Its methods are for one
// goroutine, dial for any.
type network interface {
	name() string
	// options says where the servers are, before they are made.
	options(*harness.Options)
	// wire connects them, before they are started.
	wire(*harness.Ensemble) error
	// dial connects a client of a group with a server. addr is the client's, as the server sees it.
	dial(ctx context.Context, group, server int) (c net.Conn, addr string, err error)
	// silence stops what one end says to another, or lets it go on.
	silence(from, to end, on bool) error
	// sever ends the connections between two ends in one of the ways, and new ones too until it is off.
	sever(a, b end, how string, bytes int64, on bool) error
	// slow makes a server's connections slow.
	slow(server int, delay time.Duration, kbit int, on bool) error
	close() error
}

// The ways of sever.
const (
	severReset    = "reset"     // both sides know
	severMidFrame = "mid-frame" // after some bytes
	severHalfOpen = "half-open" // one side is told nothing
)

// spaces is the network of namespaces.
type spaces struct {
	n       *netns.Net
	e       *harness.Ensemble
	servers int
}

func newSpaces(servers int) (*spaces, error) {
	n, err := netns.New(servers, groups)
	if err != nil {
		return nil, err
	}
	return &spaces{n: n, servers: servers}, nil
}

func (s *spaces) name() string {
	how, _ := netns.Inside()
	slow := "tbf"
	if s.n.Netem() {
		slow = "netem"
	}
	return fmt.Sprintf("network namespaces (%s, slow links by %s)", how, slow)
}

func (s *spaces) options(o *harness.Options) {
	o.Host, o.Prefix = s.n.Addr, s.n.Prefix
}

func (s *spaces) wire(e *harness.Ensemble) error {
	s.e = e
	return nil
}

func (s *spaces) dial(ctx context.Context, group, server int) (net.Conn, string, error) {
	addr := s.n.ClientAddr(group)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
	c, err := d.DialContext(ctx, "tcp", s.e.Servers[server-1].Addr())
	return c, addr, err
}

func (s *spaces) silence(from, to end, on bool) error { return s.n.Drop(from, to, on) }

// sever: a packet filter knows no frames. What it refuses it refuses in the middle of whatever is
// under way, and one side, that of a, is never told: so all ways are one.
func (s *spaces) sever(a, b end, _ string, _ int64, on bool) error {
	if a <= 0 {
		a, b = b, a // the clients' side has no rules of its own
	}
	return s.n.Refuse(a, b, on)
}

func (s *spaces) slow(server int, delay time.Duration, kbit int, on bool) error {
	return s.n.Slow(server, int(delay.Milliseconds()), kbit, on)
}

func (s *spaces) close() error { return s.n.Close() }

// proxies is the network on loopback, with a proxy for whoever may dial whomever.
type proxies struct {
	links []*wired
}

// A wired link is one that from uses to dial to.
type wired struct {
	from, to end
	client   bool // to's client port
	*proxy.Link
}

func (p *proxies) name() string { return "loopback behind proxies" }

func (p *proxies) options(*harness.Options) {}

func (p *proxies) add(from, to end, target string, client bool) (*wired, error) {
	l, err := proxy.Listen(target)
	if err != nil {
		return nil, err
	}
	w := &wired{from: from, to: to, client: client, Link: l}
	p.links = append(p.links, w)
	return w, nil
}

func (p *proxies) wire(e *harness.Ensemble) error {
	for _, s := range e.Servers {
		for g := range groups {
			if _, err := p.add(-g, s.ID, s.Addr(), true); err != nil {
				return err
			}
		}
		if s.Extra == nil {
			s.Extra = make(map[string]string)
		}
		for _, t := range e.Servers {
			if t == s {
				continue
			}
			quorum, err := p.add(s.ID, t.ID, fmt.Sprintf("%s:%d", t.Host, t.QuorumPort), false)
			if err != nil {
				return err
			}
			election, err := p.add(s.ID, t.ID, fmt.Sprintf("%s:%d", t.Host, t.ElectionPort), false)
			if err != nil {
				return err
			}
			line := fmt.Sprintf("127.0.0.1:%d:%d", quorum.Port(), election.Port())
			if t.Observer {
				line += ":observer"
			}
			s.Extra[fmt.Sprintf("server.%d", t.ID)] = line
		}
		e.WriteConfig(s)
	}
	return nil
}

func (p *proxies) dial(ctx context.Context, group, server int) (net.Conn, string, error) {
	for _, l := range p.links {
		if l.client && l.from == -group && l.to == server {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", l.Port()))
			return c, "127.0.0.1", err
		}
	}
	return nil, "", errors.New("no such link")
}

// between calls fn for the links between two ends; way is the one from a to b.
func (p *proxies) between(a, b end, fn func(l *wired, way proxy.Way)) {
	for _, l := range p.links {
		switch {
		case l.from == a && l.to == b:
			fn(l, proxy.Out)
		case l.from == b && l.to == a:
			fn(l, proxy.In)
		}
	}
}

func (p *proxies) silence(from, to end, on bool) error {
	p.between(from, to, func(l *wired, way proxy.Way) { l.Hold(way, on) })
	return nil
}

func (p *proxies) sever(a, b end, how string, bytes int64, on bool) error {
	p.between(a, b, func(l *wired, way proxy.Way) {
		switch {
		case how == severMidFrame && on:
			l.ResetAfter(bytes)
		case how == severMidFrame:
			l.ResetAfter(0)
		case how == severHalfOpen && on:
			l.HalfOpen(way)
		case how == severHalfOpen:
			// Whoever was in the dark finds out by itself.
		default:
			l.Refuse(on)
			if on {
				l.Reset()
			}
		}
	})
	return nil
}

func (p *proxies) slow(server int, delay time.Duration, kbit int, on bool) error {
	for _, l := range p.links {
		if l.from != server && l.to != server {
			continue
		}
		if on {
			l.Slow(delay, kbit*1000/8)
		} else {
			l.Slow(0, 0)
		}
	}
	return nil
}

func (p *proxies) close() error {
	for _, l := range p.links {
		l.Close()
	}
	return nil
}
