package sim

import "fmt"

// A host is somebody on the network: a server by its id, a client by its number behind 1000.
type host int

// A network carries connections: their bytes arrive in order, late, or never.
type network struct {
	w *world
	// cut says that nothing passes from the first to the second.
	cut map[[2]host]bool
	// slow is how long bytes of a connection with this host are under way, beside the rest.
	slow map[host]int64
	// spiky is how many in a thousand are late by up to a spike.
	spiky, spike int64
	ends         []*end // of living connections, in the order in which they were made
	next         uint64
}

func (n *network) init(w *world) {
	n.w = w
	n.cut = map[[2]host]bool{}
	n.slow = map[host]int64{}
	n.spiky, n.spike = w.plan.spiky, w.plan.spike
}

func (n *network) isCut(from, to host) bool { return len(n.cut) > 0 && n.cut[[2]host{from, to}] }

// latency draws how long something is under way.
func (n *network) latency(from, to host) int64 {
	d := 20*us + n.w.netRand.Int64N(200*us)
	if n.w.faults && n.spiky > 0 && n.w.netRand.Int64N(1000) < n.spiky {
		d += n.w.netRand.Int64N(n.spike)
	}
	if len(n.slow) > 0 {
		d += n.slow[from] + n.slow[to]
	}
	return d
}

// An end is one side of a connection.
type end struct {
	net   *network
	no    uint64 // of the connection; both ends have the same
	host  host
	other *end
	// m is who is busy with what arrives; nil for a client.
	m   *machine
	inc int

	recv   func(b []byte)
	closed func(why string)

	last     int64 // when the last bytes sent arrive
	held     []func()
	dead     bool // this side is closed, or knows that the connection is
	cutAt    int  // the connection breaks behind so many more bytes; -1: not
	severed  bool // nothing that is sent arrives any more
	vanished bool // it is dead, and says so to nobody
	waiting  bool // an event will look after held
}

// connect makes a connection; both ends are told to their owner by the caller.
func (n *network) connect(a, b host, ma, mb *machine) (*end, *end) {
	n.next++
	x := &end{net: n, no: n.next, host: a, m: ma, cutAt: -1}
	y := &end{net: n, no: n.next, host: b, m: mb, cutAt: -1}
	if ma != nil {
		x.inc = ma.inc
	}
	if mb != nil {
		y.inc = mb.inc
	}
	x.other, y.other = y, x
	n.ends = append(n.ends, x, y)
	return x, y
}

// forget drops dead connections from the list.
func (n *network) forget() {
	kept := n.ends[:0]
	for _, e := range n.ends {
		if !e.dead || !e.other.dead {
			kept = append(kept, e)
		}
	}
	clear(n.ends[len(kept):])
	n.ends = kept
}

// owned says whether the process that had this end still runs.
func (e *end) owned() bool { return e.m == nil || e.m.up && e.m.inc == e.inc }

// send sends bytes, which nobody changes any more.
func (e *end) send(b []byte) {
	if e.dead || e.severed || len(b) == 0 {
		return
	}
	if e.cutAt >= 0 {
		if e.cutAt < len(b) {
			b = b[:e.cutAt]
			e.put(func() { e.other.take(b) })
			e.cutAt, e.severed = -1, true
			e.net.w.logf(nil, "connection %d breaks in the middle", e.no)
			e.put(func() { e.break_("reset") })
			return
		}
		e.cutAt -= len(b)
	}
	e.put(func() { e.other.take(b) })
}

// put makes fn happen at the other end, behind all before it.
func (e *end) put(fn func()) {
	w := e.net.w
	e.last = max(w.now+e.net.latency(e.host, e.other.host), e.last+1)
	w.at(e.last, nil, func() { e.pass(fn) })
}

// pass lets something through, or holds it while nothing gets through.
func (e *end) pass(fn func()) {
	e.held = append(e.held, fn)
	if !e.waiting {
		e.drain()
	}
}

func (e *end) drain() {
	e.waiting = false
	for len(e.held) > 0 {
		if e.net.isCut(e.host, e.other.host) {
			e.waiting = true
			e.net.w.after(20*ms+e.net.w.netRand.Int64N(20*ms), nil, e.drain)
			return
		}
		fn := e.held[0]
		e.held = e.held[1:]
		fn()
	}
}

// take is called when bytes arrive at this end.
func (e *end) take(b []byte) {
	switch {
	case e.m != nil && (!e.m.up || e.m.inc != e.inc):
		// A machine that runs knows nothing of this connection and says so; one that is
		// off says nothing.
		if e.m.up && !e.net.isCut(e.host, e.other.host) {
			e.other.hangUp("reset by peer")
		}
	case e.dead:
		if !e.vanished && !e.net.isCut(e.host, e.other.host) {
			e.other.hangUp("reset by peer")
		}
	case e.m != nil:
		e.net.w.at(e.net.w.now, e.m, func() {
			if !e.dead {
				e.recv(b)
			}
		})
	default:
		e.recv(b)
	}
}

// hangUp ends this side because the other is gone.
func (e *end) hangUp(why string) {
	if e.dead {
		return
	}
	if !e.owned() {
		e.dead = true
		return
	}
	end := func() {
		if !e.dead {
			e.dead = true
			e.put(func() { e.other.hangUp("closed by peer") })
			if e.closed != nil {
				e.closed(why)
			}
		}
	}
	if e.m != nil {
		e.net.w.at(e.net.w.now, e.m, end)
		return
	}
	end()
}

// close closes this side; the other side hears of it behind all that was sent.
func (e *end) close() {
	if e.dead {
		return
	}
	e.dead = true
	e.put(func() { e.other.hangUp("closed by peer") })
}

// shut says that this side sends nothing more; it still hears.
func (e *end) shut() {
	if !e.dead {
		e.put(func() { e.other.hangUp("closed by peer") })
	}
}

// break_ ends the connection for both, at different times.
func (e *end) break_(why string) {
	n := e.net
	for _, x := range []*end{e, e.other} {
		n.w.after(n.latency(x.other.host, x.host), nil, func() { x.hangUp(why) })
	}
}

func (e *end) String() string {
	return fmt.Sprintf("connection %d, %d to %d", e.no, e.host, e.other.host)
}

// refuse tells the other servers that a machine's process is not there any more.
func (n *network) refuse(m *machine) {
	for _, o := range n.w.machines {
		if o != m {
			n.w.after(n.latency(host(m.id), host(o.id)), o, func() {
				if !m.up && o.peer != nil && !n.isCut(host(m.id), host(o.id)) {
					o.peer.Refused(m)
				}
			})
		}
	}
}
