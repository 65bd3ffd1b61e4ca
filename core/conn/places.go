package conn

import (
	"net/netip"
	"sync"
)

// Places are those that connections take of the limits. A connection gives its own back before its client can see that it is
// closed: who has closed one may open another at once. The lock is taken with a connection's held.
//
// One that has given its place back may stay for a moment, for the client to take what was sent: of those there is
// a bound too, else they could be as many as a client opens in that moment, whatever the limits, and take the
// descriptors that files and other servers need.
type places struct {
	mu    sync.Mutex
	perIP map[netip.Addr]int

	lingering, mayLinger int
}

// take gives c a place, or says why there is none.
func (p *places) take(c *Conn, perIP, all int) (why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case perIP > 0 && c.ip.IsValid() && p.perIP[c.ip] >= perIP:
		return "too many connections from this address: maxClientCnxns"
	case c.count != nil && all > 0 && *c.count >= all:
		return "too many connections in all: maxCnxns, or the limit of descriptors"
	}
	c.placed = true
	p.perIP[c.ip]++
	if c.count != nil {
		*c.count++
	}
	return ""
}

// linger gives back the place of c, and says whether c may stay for a moment.
func (p *places) linger(c *Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release(c)
	if p.lingering >= p.mayLinger {
		return false
	}
	p.lingering++
	c.lingers = true
	return true
}

// giveBack says that c is closed.
func (p *places) giveBack(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release(c)
	if c.lingers {
		c.lingers = false
		p.lingering--
	}
}

func (p *places) release(c *Conn) {
	if !c.placed {
		return
	}
	c.placed = false
	if p.perIP[c.ip]--; p.perIP[c.ip] <= 0 {
		delete(p.perIP, c.ip)
	}
	if c.count != nil {
		*c.count--
	}
}
