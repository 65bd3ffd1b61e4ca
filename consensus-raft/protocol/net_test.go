package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// A network is an ensemble of members in virtual time, with disks that keep what was
// persisted and nodes that note what they are given.
type network struct {
	t     *testing.T
	rng   *rand.Rand
	now   Time
	hosts map[ServerID]*host
	ids   []ServerID
	cut   map[[2]ServerID]bool
	conns map[Conn]*wire
	next  Conn
	queue []func() // what is on its way
	most  int      // so much of it comes in a step, if it is not 0
}

type wire struct{ from, to *host }

func (w *wire) other(h *host) *host {
	if w.from == h {
		return w.to
	}
	return w.from
}

// A host is a server: a disk, and a process that may run.
type host struct {
	n    *network
	id   ServerID
	m    *Member
	cfg  Config
	lazy bool // it does not write: what it is to persist waits

	asleep bool     // it does nothing
	inbox  []func() // what came on its connections meanwhile

	// The disk. state is the zxid of the newest snapshot.
	file    []byte
	log     []Txn
	state   []Txn // what the newest snapshot holds
	waiting []Persist
	known   Zxid // to be committed, as far as its node had it when it was last stopped

	given    []Txn
	role     consensus.Role
	roles    []consensus.Role
	received []consensus.Request
	synced   []consensus.SyncID
	dials    map[ServerID]bool
	taken    []Txn // a snapshot that is on its way here
	left     bool
	counted  map[string]int64 // what its metrics were told

	hurt  error // what comes of reading its log
	warns []string

	cuts  int  // so many snapshots end with their connection: before they begin, then in the middle
	holds bool // its node takes long to restore
	held  []Restore
}

func newNetwork(t *testing.T, voters int) *network {
	n := &network{t: t, rng: rand.New(rand.NewPCG(1, 2)), now: Second, hosts: map[ServerID]*host{}, cut: map[[2]ServerID]bool{}, conns: map[Conn]*wire{}}
	for i := range voters {
		n.ids = append(n.ids, ServerID(i+1))
	}
	for _, id := range n.ids {
		n.hosts[id] = &host{n: n, id: id, cfg: Config{ID: id, Voters: n.ids, Tick: Second, InitLimit: 10, Beat: 100 * Millisecond, Silence: Second,
			WindowBytes: 1 << 10, KeepCount: 1000, Inflight: 256, MaxMessage: 1 << 16, MaxDelivering: 1 << 16, Rand: n.rng.Int64N}}
	}
	return n
}

// start starts a server's process.
func (h *host) start() {
	f := Found{State: State{Standing: Blank}}
	if h.file != nil {
		s, err := DecodeState(h.file)
		if err != nil {
			h.n.t.Fatal(err)
		}
		f.State = s
	}
	h.given = slices.Clone(h.state)
	if len(h.state) > 0 {
		f.Recovered = h.state[len(h.state)-1].Zxid
	}
	if f.State.Cut {
		h.cutTo(f.State.CutTo)
		f.State.Cut = false
	}
	f.Last, f.Committed = f.Recovered, h.known
	for _, x := range h.log {
		if x.Zxid <= f.Recovered {
			continue
		}
		f.Last = x.Zxid
		if k := len(f.Runs); k > 0 && f.Runs[k-1].Last+1 == x.Zxid && x.Zxid.Counter() != 0 {
			f.Runs[k-1].Last = x.Zxid
		} else {
			f.Runs = append(f.Runs, Run{x.Zxid, x.Zxid})
		}
	}
	if err := f.Check(); err != nil {
		h.n.t.Fatalf("server %d: %v", h.id, err)
	}
	h.dials, h.waiting, h.roles, h.left = map[ServerID]bool{}, nil, nil, false
	h.m = New(&h.cfg, f, h, h.n.rng.Uint64()|1, func(err error) { h.n.t.Fatalf("server %d: %v", h.id, err) })
	h.m.Begin(h.n.now)
	h.run()
}

// stop ends it; what was not persisted is lost.
func (h *host) stop() {
	h.m = nil
	h.role = consensus.Role{}
	if n := len(h.given); n > 0 {
		h.known = h.given[n-1].Zxid
	}
	for c, w := range h.n.conns {
		if w.from == h || w.to == h {
			delete(h.n.conns, c)
			if o := w.other(h); o.m != nil {
				o.m.Closed(h.n.now, c, "reset")
				o.run()
			}
		}
	}
}

// Read implements Reader.
func (h *host) Read(from, last Zxid, max uint64) ([]Txn, error) {
	if h.hurt != nil {
		return nil, h.hurt
	}
	var txns []Txn
	size := uint64(0)
	for _, x := range h.log {
		if x.Zxid <= from || x.Zxid > last {
			continue
		}
		size += uint64(len(x.Data))
		if len(txns) > 0 && size > max {
			break
		}
		txns = append(txns, x)
	}
	if len(txns) == 0 {
		return nil, fmt.Errorf("nothing between %v and %v", from, last)
	}
	return txns, nil
}

func (h *host) cutTo(z Zxid) {
	h.log = slices.DeleteFunc(h.log, func(x Txn) bool { return x.Zxid > z })
}

// hears takes in what came on a connection, or keeps it while it is asleep.
func (h *host) hears(what func()) {
	if h.asleep {
		h.inbox = append(h.inbox, what)
		return
	}
	what()
	h.run()
}

// wakes is what comes first when it has slept: the time, then what came meanwhile.
func (h *host) wakes() {
	h.asleep = false
	h.m.Tick(h.n.now)
	h.run()
	for _, what := range h.inbox {
		h.hears(what)
	}
	h.inbox = nil
}

// write does what waits for the disk.
func (h *host) write() {
	for len(h.waiting) > 0 && !h.lazy && h.m != nil {
		p := h.waiting[0]
		h.waiting = h.waiting[1:]
		if p.Before != nil {
			h.file = p.Before
		}
		if p.Cut {
			h.cutTo(p.CutTo)
		}
		if p.Reset {
			h.log = nil
		}
		if p.After != nil {
			h.file = p.After
		}
		h.log = append(h.log, p.Txns...)
		h.m.Persisted(h.n.now, p.Seq)
		h.m.Flush(h.n.now)
	}
}

// run carries out what the member says until it says nothing more.
func (h *host) run() {
	if h.m == nil {
		return
	}
	h.m.Flush(h.n.now)
	for h.m != nil {
		outs := h.m.Outputs()
		if len(outs) == 0 {
			break
		}
		for _, o := range outs {
			h.do(o)
		}
		if h.m != nil {
			h.write()
			h.m.Flush(h.n.now)
		}
	}
}

func (n *network) reaches(a, b ServerID) bool { return !n.cut[[2]ServerID{a, b}] }

func (h *host) do(o Output) {
	n, now := h.n, h.n.now
	switch o := o.(type) {
	case Mail:
		to := n.hosts[o.To]
		if to.m != nil && n.reaches(h.id, o.To) {
			f := n.pass(o.F)
			n.later(func() {
				if to.m != nil {
					to.m.Mailed(n.now, h.id, f)
					to.run()
				}
			})
		}
	case Dial:
		h.dials[o.To] = true
	case HangUp:
		clear(h.dials)
	case Send:
		w := n.conns[o.To]
		if w == nil {
			return
		}
		for _, f := range o.Frames {
			f := n.pass(f)
			n.later(func() {
				to := w.other(h)
				if n.conns[o.To] != w || to.m == nil || !n.reaches(h.id, to.id) {
					return
				}
				to.hears(func() { to.m.Frames(n.now, o.To, []Frame{f}) })
			})
		}
	case SendSnapshot:
		s := o.Snapshot.(*pinned)
		if w := n.conns[o.To]; w != nil {
			n.later(func() {
				if to := w.other(h); n.conns[o.To] == w && to.m != nil {
					if to.cuts > 1 {
						to.cuts--
						n.breaks(o.To)
						return
					}
					to.taken = s.txns
					to.m.Frames(n.now, o.To, []Frame{{Kind: Snap, At: o.At}})
					to.run()
				}
			})
		}
	case Disconnect:
		w := n.conns[o.Conn]
		n.later(func() {
			if w != nil && n.conns[o.Conn] == w {
				delete(n.conns, o.Conn)
				if to := w.other(h); to.m != nil {
					to.hears(func() { to.m.Closed(n.now, o.Conn, "closed") })
				}
			}
		})
	case Persist:
		h.waiting = append(h.waiting, o)
	case Deliver:
		if len(h.held) > 0 {
			n.t.Fatalf("server %d delivers %v behind a restore that is under way", h.id, o.Txns[0].Zxid)
		}
		h.given = append(h.given, o.Txns...)
		h.m.Delivered(now, o.Gen, o.Seq)
	case DeliverLog:
		for _, x := range h.log {
			if x.Zxid > o.From && x.Zxid <= o.Last {
				h.given = append(h.given, x)
			}
		}
	case SetRole:
		h.role = o.Role
		h.roles = append(h.roles, o.Role)
	case Count:
		h.count(o.Name, o.N)
	case Observe:
		h.count("observed "+o.Name, 1)
	case Receive:
		h.received = append(h.received, o.Requests...)
	case Synced:
		h.synced = append(h.synced, o.IDs...)
	case TakeSnapshot:
		h.m.SnapshotTaken(now, o.Conn, &pinned{slices.Clone(h.given)}, nil)
	case Restore:
		if h.cuts == 1 && o.At != (Point{}) {
			h.cuts--
			n.later(func() {
				n.breaks(o.Conn)
				h.m.Restored(n.now, errors.New("the connection is gone"))
				h.run()
			})
		} else if h.holds {
			h.held = append(h.held, o)
		} else if o.At != (Point{}) {
			h.given, h.state = slices.Clone(h.taken), slices.Clone(h.taken)
			h.m.Restored(now, nil)
		}
	case Recover:
		h.given = slices.Clone(h.state)
		z := Zxid(0)
		if k := len(h.state); k > 0 {
			z = h.state[k-1].Zxid
		}
		h.m.Recovered(now, z)
	case Report:
		if o.Warn {
			h.warns = append(h.warns, o.Text+fmt.Sprint(o.Args...))
		}
	case Left:
		h.left = true
	}
}

func (h *host) count(name string, n int64) {
	if h.counted == nil {
		h.counted = map[string]int64{}
	}
	h.counted[name] += n
}

// breaks ends a connection for both sides.
func (n *network) breaks(c Conn) {
	w := n.conns[c]
	delete(n.conns, c)
	for _, h := range []*host{w.from, w.to} {
		h.m.Closed(n.now, c, "reset")
		h.run()
	}
}

// pass carries a frame through its bytes.
func (n *network) pass(f Frame) Frame {
	b := f.Append(nil)
	g, err := DecodeFrame(b[4:])
	if err != nil {
		n.t.Fatalf("%v: %v", f.Kind, err)
	}
	if again := g.Append(nil); !bytes.Equal(again, b) {
		n.t.Fatalf("%v is not the same when it was decoded", f.Kind)
	}
	return g
}

// A pinned is a snapshot: the txns so far.
type pinned struct{ txns []Txn }

func (p *pinned) Zxid() Zxid {
	if len(p.txns) == 0 {
		return 0
	}
	return p.txns[len(p.txns)-1].Zxid
}
func (p *pinned) WriteTo(io.Writer) (int64, error) { return 0, nil }
func (p *pinned) Close() error                     { return nil }

// later notes what happens after what is being done.
func (n *network) later(fn func()) { n.queue = append(n.queue, fn) }

// settle delivers all that is on its way.
func (n *network) settle() {
	for i := range 100000 {
		if len(n.queue) == 0 || n.most > 0 && i == n.most {
			return
		}
		fn := n.queue[0]
		n.queue = n.queue[1:]
		fn()
	}
	n.t.Fatal("the network never comes to rest")
}

// step lets 10 ms pass.
func (n *network) step() {
	n.settle()
	n.now += 10 * Millisecond
	for _, id := range n.ids {
		h := n.hosts[id]
		if h.m == nil || h.asleep {
			continue
		}
		for _, to := range n.ids {
			o := n.hosts[to]
			if h.dials[to] && o.m != nil && n.reaches(h.id, to) && n.reaches(to, h.id) {
				delete(h.dials, to)
				n.next++
				n.conns[n.next] = &wire{h, o}
				o.m.Accepted(n.now, n.next, "host")
				h.m.Linked(n.now, to, n.next, "host")
				h.run()
			}
		}
		if h.m != nil && n.now >= h.m.Next() {
			h.m.Tick(n.now)
			h.run()
		}
	}
	n.settle()
}

// until lets time pass until cond holds.
func (n *network) until(what string, cond func() bool) {
	n.t.Helper()
	for range 6000 {
		if cond() {
			return
		}
		n.step()
	}
	n.t.Fatalf("a minute later: not yet: %s", what)
}

func (n *network) leader() *host {
	n.t.Helper()
	var l *host
	n.until("there is a leader", func() bool {
		for _, id := range n.ids {
			if h := n.hosts[id]; h.role.State == consensus.Leading && (l == nil || h.role.Epoch >= l.role.Epoch) {
				l = h
			}
		}
		return l != nil
	})
	return l
}

// elected is the first that is elected; nothing that it does as a leader is done yet.
func (n *network) elected() (lead *host) {
	n.until("one is elected", func() bool {
		for _, id := range n.ids {
			if h := n.hosts[id]; h.m.leader != nil {
				lead = h
			}
		}
		return lead != nil
	})
	return lead
}

// others are all but h.
func (n *network) others(h *host) (others []*host) {
	for _, id := range n.ids {
		if id != h.id {
			others = append(others, n.hosts[id])
		}
	}
	return others
}

// isolate cuts a server off.
func (n *network) isolate(id ServerID, on bool) {
	for _, o := range n.ids {
		if o != id {
			n.cut[[2]ServerID{id, o}], n.cut[[2]ServerID{o, id}] = on, on
		}
	}
}

// propose proposes k txns that begin with first, as a leader's node does.
func (h *host) propose(first Zxid, k int) Zxid {
	var txns []Txn
	for i := range k {
		txns = append(txns, txnOf(first+Zxid(i)))
	}
	h.m.Propose(h.n.now, h.role.Term, txns)
	h.run()
	return first + Zxid(k) - 1
}

func txnOf(z Zxid) Txn {
	b := binary.BigEndian.AppendUint64(nil, 7)
	b = binary.BigEndian.AppendUint32(b, uint32(z))
	b = binary.BigEndian.AppendUint64(b, uint64(z))
	return Txn{Zxid: z, Data: append(b, make([]byte, 20)...)}
}

func (h *host) last() Zxid {
	if len(h.given) == 0 {
		return 0
	}
	return h.given[len(h.given)-1].Zxid
}

func zxids(txns []Txn) (zs []Zxid) {
	for _, x := range txns {
		zs = append(zs, x.Zxid)
	}
	return zs
}
