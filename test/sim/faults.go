package sim

import (
	"slices"
	"syscall"

	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/test/history"
)

// A faultKind is one kind of harm. do reports false if there was nobody to do it to.
type faultKind struct {
	name   string
	weight int
	do     func(w *world, victim *machine) bool
}

// faultKinds are all that there are.
var faultKinds []faultKind

func init() {
	faultKinds = []faultKind{
		{"kill", 3, func(w *world, m *machine) bool {
			if !m.up {
				return false
			}
			m.end()
			m.restartIn(w.faultRand.Int64N(3 * s1))
			return true
		}},
		{"power", 3, func(_ *world, m *machine) bool {
			if !m.up {
				return false
			}
			m.powerOff()
			return true
		}},
		{"power at an operation", 4, func(w *world, m *machine) bool {
			if !m.up {
				return false
			}
			m.disk.left = 1 + w.faultRand.IntN(30)
			return true
		}},
		{"power of all", 1, func(w *world, _ *machine) bool {
			for _, m := range w.machines {
				if m.up {
					m.powerOff()
				}
			}
			return true
		}},
		{"power of all at an operation", 1, func(w *world, _ *machine) bool {
			for _, m := range w.machines {
				m.disk.left = 1 + w.faultRand.IntN(12)
			}
			return true
		}},
		{"kill all", 1, func(w *world, _ *machine) bool {
			for _, m := range w.machines {
				m.end()
				m.restartIn(w.faultRand.Int64N(s1))
			}
			return true
		}},
		{"restart", 2, func(w *world, m *machine) bool {
			if !m.up || m.wake > w.now || m.node == nil {
				return false
			}
			m.do(m.peer.Leave)
			m.leave(w.now+2*s1, w.faultRand.Int64N(s1))
			return true
		}},
		{"pause", 4, func(w *world, m *machine) bool {
			if !m.up || m.wake > w.now {
				return false
			}
			d := w.faultRand.Int64N([]int64{300 * ms, 2 * s1, 8 * s1}[w.faultRand.IntN(3)])
			m.wake = w.now + d
			w.logf(m, "sleeps for %d ms", d/ms)
			return true
		}},
		{"partition", 6, (*world).partition},
		{"heal", 2, func(w *world, _ *machine) bool {
			if len(w.net.cut) == 0 {
				return false
			}
			clear(w.net.cut)
			return true
		}},
		{"reset", 4, func(w *world, m *machine) bool { return w.breakSome(m, 1, false) }},
		{"reset in a frame", 3, func(w *world, m *machine) bool { return w.breakSome(m, 1, true) }},
		{"reset all", 1, func(w *world, m *machine) bool { return w.breakSome(m, 100, false) }},
		{"reset of a learner", 3, (*world).breakLearner},
		{"reset behind a request", 6, func(w *world, m *machine) bool {
			l := w.leader()
			if l == m {
				m = w.machines[w.faultRand.IntN(len(w.machines))]
			}
			if l == nil || l == m || !m.up {
				return false
			}
			// What it has asked for is not decided yet when it is back.
			m.breaks = true
			d := 5*ms + w.faultRand.Int64N(100*ms)
			if w.faultRand.IntN(2) == 0 {
				l.slow = d
			} else {
				l.disk.slow = d
			}
			w.after(s1, nil, func() { l.slow, l.disk.slow, m.breaks = 0, 0, false })
			return true
		}},
		{"leader left behind", 2, (*world).leaveBehind},
		{"slow node", 2, func(w *world, m *machine) bool {
			m.slow = w.faultRand.Int64N([]int64{5 * ms, 100 * ms}[w.faultRand.IntN(2)])
			w.after(w.faultRand.Int64N(4*s1), nil, func() { m.slow = 0 })
			return true
		}},
		{"slow link", 2, func(w *world, m *machine) bool {
			w.net.slow[host(m.id)] = w.faultRand.Int64N(200 * ms)
			w.after(w.faultRand.Int64N(6*s1), nil, func() { delete(w.net.slow, host(m.id)) })
			return true
		}},
		{"slow disk", 2, func(w *world, m *machine) bool {
			m.disk.slow = w.faultRand.Int64N([]int64{50 * ms, s1, 10 * s1}[w.faultRand.IntN(3)])
			w.after(w.faultRand.Int64N(8*s1), nil, func() { m.disk.slow = 0 })
			return true
		}},
		{"failed sync", 2, func(w *world, m *machine) bool {
			m.disk.sync, m.disk.once = syscall.EIO, w.faultRand.IntN(2) == 0
			return m.up
		}},
		{"bit rot", 2, func(w *world, m *machine) bool {
			// The rest has all that was acked: one at a time, of three at least. And log and store are
			// not hurt both: a server that begins with its store does not read the log below that, and
			// goes on to acknowledge what it could not recover without it.
			if w.rotten || !m.up || m.shelf.harm || w.plan.voters < 3 || !m.mayLose() {
				return false
			}
			held := m.disk.kept()
			if !m.disk.rot(w.faultRand) {
				return false
			}
			w.rotten, m.held = true, held
			m.end()
			m.restartIn(w.faultRand.Int64N(s1))
			return true
		}},
		{"failed write", 1, func(_ *world, m *machine) bool {
			m.disk.write = syscall.EIO
			return m.up
		}},
		{"wall clock", 2, func(w *world, m *machine) bool {
			m.wallOff += w.faultRand.Int64N(7_200_000) - 3_600_000
			return true
		}},
		{"client pause", 4, func(w *world, _ *machine) bool {
			c := w.clients[w.faultRand.IntN(len(w.clients))]
			c.asleep = w.now + w.faultRand.Int64N(2*int64(w.plan.sessionMS)*ms)
			w.logf(nil, "client %d sleeps for %d ms", c.no, (c.asleep-w.now)/ms)
			return true
		}},
		{"client moves", 3, func(w *world, _ *machine) bool {
			c := w.clients[w.faultRand.IntN(len(w.clients))]
			if c.e == nil {
				return false
			}
			if h := host(c.server); w.faultRand.IntN(2) == 0 {
				// What it has asked for is still under way when it is elsewhere.
				w.net.slow[h] = 10*ms + w.faultRand.Int64N(200*ms)
				w.after(s1, nil, func() { delete(w.net.slow, h) })
				w.after(w.faultRand.Int64N(100*ms), nil, func() { c.lost("moves") })
				return true
			}
			c.lost("moves")
			return true
		}},
	}
}

// harm does something now and then.
func (w *world) harm() {
	w.after(w.faultRand.Int64N(2*w.plan.gapMS*ms), nil, func() {
		if !w.faults || w.err != nil {
			return
		}
		victim := w.machines[w.faultRand.IntN(len(w.machines))]
		if w.faultRand.IntN(2) == 0 {
			if l := w.leader(); l != nil {
				victim = l
			}
		}
		k := &faultKinds[w.plan.kinds[w.faultRand.IntN(len(w.plan.kinds))]]
		w.logf(victim, "fault: %s", k.name)
		if k.do(w, victim) {
			w.stats.Faults++
			w.stats.Kinds[k.name]++
			w.log.Append(history.Record{Kind: history.Fault, Server: int(victim.id), Note: k.name})
		}
		w.harm()
	})
}

// leader is a machine that leads, if one does.
func (w *world) leader() *machine {
	for _, m := range w.machines {
		if m.up && m.role.State == consensus.Leading {
			return m
		}
	}
	return nil
}

// calm ends all harm. Who is asleep wakes up in his own time: what waits for him comes in order.
func (w *world) calm() {
	w.faults = false
	clear(w.net.cut)
	clear(w.net.slow)
	for _, e := range w.net.ends {
		e.cutAt = -1
	}
	for _, m := range w.machines {
		w.peace = max(w.peace, w.now, m.wake)
		m.slow, m.breaks = 0, false
		m.disk.left, m.disk.slow, m.disk.sync, m.disk.write = -1, 0, nil, nil
		m.disk.clear()
		if !m.up && !m.disk.failed {
			m.start()
		}
	}
	for _, c := range w.clients {
		if c.asleep = 0; c.waking {
			c.waking = false
			c.readAll()
		}
	}
	w.log.Append(history.Record{Kind: history.Heal, Note: "all"})
}

// breakSome breaks up to n connections of a machine, or of anybody.
func (w *world) breakSome(m *machine, n int, inFrame bool) bool {
	w.net.forget()
	var es []*end
	for _, e := range w.net.ends {
		if !e.dead && (e.host == host(m.id) || n == 1 && w.faultRand.IntN(4) == 0) {
			es = append(es, e)
		}
	}
	if len(es) == 0 {
		return false
	}
	for range min(n, len(es)) {
		e := es[w.faultRand.IntN(len(es))]
		if inFrame {
			e.cutAt = w.faultRand.IntN(200)
		} else {
			w.logf(nil, "%v breaks", e)
			e.break_("reset")
		}
	}
	return true
}

// breakLearner breaks a connection between two servers.
func (w *world) breakLearner(m *machine) bool {
	w.net.forget()
	var es []*end
	for _, e := range w.net.ends {
		if !e.dead && e.host == host(m.id) && e.other.m != nil {
			es = append(es, e)
		}
	}
	if len(es) == 0 {
		return false
	}
	e := es[w.faultRand.IntN(len(es))]
	w.logf(m, "%v breaks", e)
	e.break_("reset")
	return true
}

// leaveBehind cuts a leader off, and only the others notice at once: it leads on for a while,
// with its clients, when they have another leader.
func (w *world) leaveBehind(*machine) bool {
	l := w.leader()
	if l == nil || len(w.machines) < 3 {
		return false
	}
	w.net.forget()
	for _, m := range w.machines {
		if m != l {
			w.net.cut[[2]host{host(l.id), host(m.id)}] = true
			w.net.cut[[2]host{host(m.id), host(l.id)}] = true
		}
	}
	for _, e := range slices.Clone(w.net.ends) {
		if !e.dead && e.other.host == host(l.id) && e.m != nil {
			e.hangUp("reset")
		}
	}
	w.after(s1+w.faultRand.Int64N(5*s1), nil, func() { clear(w.net.cut) })
	w.lure(l)
	return true
}

// lure makes a client open a session with the others' next leader, and go with it to the one
// that was left behind, which knows nothing of it. It happens in some runs, and is drawn from a
// stream of its own.
func (w *world) lure(l *machine) {
	if !w.plan.lures {
		return
	}
	c := w.clients[w.lureRand.IntN(len(w.clients))]
	other := w.machines[w.lureRand.IntN(len(w.machines))]
	if other == l || c.e == nil {
		return
	}
	c.route = []int{int(other.id), int(l.id)}
	c.closes = true // it begins anew
	c.lost("begins anew")
	w.after(6*s1, nil, func() { c.route = nil })
}

// partition cuts the network in one of many shapes, for a while.
func (w *world) partition(victim *machine) bool {
	r := w.faultRand
	var hosts []host
	for _, m := range w.machines {
		hosts = append(hosts, host(m.id))
	}
	v := host(victim.id)
	both := func(a, b host) {
		w.net.cut[[2]host{a, b}] = true
		w.net.cut[[2]host{b, a}] = true
	}
	shape := ""
	switch r.IntN(9) {
	case 0:
		shape = "halves"
		side := map[host]bool{}
		for _, h := range hosts {
			side[h] = r.IntN(2) == 0
		}
		for _, c := range w.clients {
			side[c.host] = r.IntN(2) == 0
			hosts = append(hosts, c.host)
		}
		for _, a := range hosts {
			for _, b := range hosts {
				if side[a] != side[b] {
					both(a, b)
				}
			}
		}
	case 1, 2:
		shape = "one node"
		for _, h := range hosts {
			if h != v {
				both(v, h)
			}
		}
	case 3:
		shape = "bridge" // only the victim sees both sides
		for i, a := range hosts {
			for j, b := range hosts {
				if a != v && b != v && i%2 != j%2 {
					both(a, b)
				}
			}
		}
	case 4:
		shape = "one way"
		for _, h := range hosts {
			if h != v && r.IntN(3) > 0 {
				if r.IntN(2) == 0 {
					w.net.cut[[2]host{v, h}] = true
				} else {
					w.net.cut[[2]host{h, v}] = true
				}
			}
		}
	case 5:
		shape = "ring" // each sees its neighbours
		for i, a := range hosts {
			for j, b := range hosts {
				if d := (i - j + len(hosts)) % len(hosts); d > 1 && d < len(hosts)-1 {
					both(a, b)
				}
			}
		}
	case 6:
		shape = "clients"
		for _, c := range w.clients {
			if r.IntN(2) == 0 {
				both(v, c.host)
			}
		}
	case 7:
		shape = "swizzle" // links stop one by one, and heal in another order
		for _, h := range hosts {
			if h != v {
				w.after(r.Int64N(s1), nil, func() {
					if w.faults {
						both(v, h)
					}
				})
				w.after(s1+r.Int64N(3*s1), nil, func() {
					delete(w.net.cut, [2]host{v, h})
					delete(w.net.cut, [2]host{h, v})
				})
			}
		}
	case 8:
		shape = "some"
		for _, a := range hosts {
			for _, b := range hosts {
				if a != b && r.IntN(4) == 0 {
					w.net.cut[[2]host{a, b}] = true
				}
			}
		}
	}
	w.logf(victim, "partition: %s", shape)
	w.stats.Kinds["partition: "+shape]++
	w.after(r.Int64N([]int64{500 * ms, 4 * s1, 12 * s1}[r.IntN(3)]), nil, func() {
		w.logf(nil, "the network is whole")
		clear(w.net.cut)
	})
	return true
}
