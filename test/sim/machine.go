package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/zkcore/zkcore/core/conn"
	"github.com/zkcore/zkcore/core/inv"
	"github.com/zkcore/zkcore/core/node"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A machine is a server: a disk that stays, and a process that comes and goes.
type machine struct {
	w        *world
	id       consensus.ServerID
	observer bool
	rng      *rand.Rand
	disk     disk
	said     promises
	shelf    shelf // beside the disk: the files of a store that has some

	// The process.
	up      bool
	inc     int
	wake    int64 // it is asleep until then
	slow    int64 // how long its node takes to be called
	breaks  bool  // its connection to the leader breaks behind the next request
	node    *node.Node
	peer    Peer
	tasks   []*task
	stopped bool
	role    consensus.Role
	reign   uint64 // the term in which its member leads, or did last
	found   int    // how many txns were committed when that began
	ceiling int64  // the highest epoch that anybody led when it began to look for a leader
	ends    []*end // of its connections

	// Its clocks: how fast the monotonic one goes, in millionths, and by how much the wall
	// clock is off.
	rate    int64
	booted  int64 // when
	wallOff int64 // ms

	crashAt int // operations on the disk until its power fails; -1: it does not
	downs   int // how often it went down

	// held is what its disk had before that was lost: it was there when the machine
	// acknowledged it. nil when the machine has got everything from a leader since.
	held      *vfs.Mem
	heldStore consensus.Zxid // up to where its store had all
}

// A task is what Go was given and has not begun.
type task struct {
	fn   func()
	done bool
}

func newMachine(w *world, id consensus.ServerID, observer bool) *machine {
	m := &machine{w: w, id: id, observer: observer, rng: rand.New(rand.NewPCG(w.seed, 100+uint64(id)))}
	m.disk.init(m)
	m.shelf.m = m
	m.said.rng = rand.New(rand.NewPCG(w.seed, 200+uint64(id)))
	m.rate = 1e6
	if w.plan.drift > 0 {
		m.rate += m.rng.Int64N(2*w.plan.drift+1) - w.plan.drift
	}
	m.wallOff = m.rng.Int64N(2000) - 1000
	return m
}

// An exit is how a process ends by itself.
type exit struct {
	code int
	err  error
}

// do runs something on the machine, and notes how it ends if it ends the process.
func (m *machine) do(fn func()) {
	defer func() {
		switch x := recover().(type) {
		case nil:
			if m.up && m.disk.powerFailed() {
				m.powerOff() // what met it was a chore, whose errors end no process
			}
		case exit:
			m.exited(x)
		case inv.Broken:
			m.w.fail("node %d: %w\n%s", m.id, x, debug.Stack())
		default:
			m.w.fail("node %d: panic: %v\n%s", m.id, x, debug.Stack())
		}
	}()
	fn()
}

// exited is the end of a process that ended itself.
func (m *machine) exited(x exit) {
	m.w.logf(m, "exit %d: %v", x.code, x.err)
	switch {
	case m.disk.powerFailed():
		m.powerOff()
	case m.disk.excuses(x.err):
		m.w.stats.Exits++
		m.end()
		m.restartIn(100*ms + m.rng.Int64N(2*s1))
	default:
		m.w.fail("node %d stops: exit %d: %w", m.id, x.code, x.err)
	}
}

// restartIn starts the machine after a while, unless somebody else does.
func (m *machine) restartIn(d int64) {
	inc := m.inc
	m.w.after(d, nil, func() {
		if !m.up && m.inc == inc {
			m.start()
		}
	})
}

// end ends the process: the system closes its connections, and keeps its files as they are.
func (m *machine) end() {
	if !m.up {
		return
	}
	m.down()
	for _, e := range m.ends {
		if !e.dead {
			e.dead = true
			o := e.other
			m.w.after(m.w.net.latency(e.host, o.host), nil, func() {
				if !m.w.net.isCut(e.host, o.host) {
					o.hangUp("reset by peer")
				}
			})
		}
	}
	m.ends = nil
	m.w.net.refuse(m)
}

// powerOff ends the machine: nobody hears of it, and of what was not synced any part is lost.
func (m *machine) powerOff() {
	m.recovers()
	m.shelf.powerOff()
	if m.up {
		m.down()
	}
	for _, e := range m.ends {
		e.dead = true
	}
	m.ends = nil
	m.disk.crash()
	m.restartIn(50*ms + m.rng.Int64N(3*s1))
}

// leave ends the process in order, once its member has handed over what it has to, or at
// the end of its patience, and starts it again after a while.
func (m *machine) leave(until, rest int64) {
	if m.peer == nil {
		return
	}
	if !m.peer.Left() && m.w.now < until {
		m.w.after(5*ms, m, func() { m.leave(until, rest) })
		return
	}
	m.do(func() {
		if err := m.node.Close(); err != nil {
			panic(exit{1, err})
		}
	})
	m.end()
	m.restartIn(rest)
}

func (m *machine) down() {
	m.up = false
	m.shelf.kill()
	m.inc++
	m.downs++
	m.wake, m.crashAt = 0, -1
	m.peer, m.node, m.tasks = nil, nil, nil
	m.role, m.reign = consensus.Role{}, 0
	m.w.stats.Crashes++
	m.w.truth.down(m)
}

// start starts the process.
func (m *machine) start() {
	w := m.w
	m.up, m.stopped = true, false
	m.inc++
	m.ceiling = w.truth.epoch
	m.booted = w.now - w.faultRand.Int64N(s1) - s1
	m.disk.boot()
	w.stats.Restarts++
	w.logf(m, "starts")
	m.do(func() {
		_, err := node.Start(context.Background(), m.config())
		if err != nil {
			panic(exit{1, err})
		}
	})
}

func (m *machine) config() node.Config {
	w := m.w
	p := &w.plan
	var ids []consensus.Server
	if p.voters+p.observers > 1 || p.ensembleOfOne {
		for i := range p.voters + p.observers {
			a := fmt.Sprintf("10.0.0.%d", i+1)
			ids = append(ids, consensus.Server{
				ID: consensus.ServerID(i + 1), Observer: i >= p.voters, Weight: 1,
				Quorum: []string{a + ":2888"}, Election: []string{a + ":3888"}, Client: a + ":2181",
			})
		}
	}
	// No sync takes time here: a warning about one says that somebody looks at a real clock.
	opts := map[string]string{"preAllocSize": "8", "commitLogCount": "500", "fsync.warningthresholdms": "1"}
	for k, v := range p.options {
		opts[k] = v
	}
	return node.Config{
		ServerID: int64(m.id), DataDir: "/data", TickMS: p.tickMS,
		SnapCount: p.snapCount, SnapRetain: 3, PurgeInterval: time.Duration(p.purgeMS) * time.Millisecond,
		HoldMS: p.holdMS, ReadOnly: p.readOnly, LocalSessions: p.local, LocalUpgrade: p.upgrades, OutstandingLimit: p.outstanding, ContainerCheck: 2 * time.Second,
		ExtendedTypes: true, SuperDigest: superDigest, EnforceQuota: true,
		MinSessionTimeoutMS: 0, MaxSessionTimeoutMS: 0,
		Consensus: consensus.Config{
			Servers: ids, InitLimit: p.initLimit, SyncLimit: p.syncLimit, Options: opts,
		},
		OpenConsensus: func(cfg consensus.Config, n consensus.Node) (consensus.Member, error) {
			peer, member, err := w.module.Open(m, cfg, &watched{m: m, n: n})
			if err != nil {
				return nil, err
			}
			m.peer, m.node = peer, n.(*node.Node)
			w.at(w.now, m, func() { peer.Begin() })
			return &watchedMember{member, m}, nil
		},
		Storage:     m.storeConfig(),
		OpenStorage: m.openStore,
		FS:          &m.disk, World: (*nodeWorld)(m),
		Log:  slog.New(&traceHandler{m: m}),
		Fail: func(code int, err error) { panic(exit{code, err}) },
	}
}

// clock is the machine's monotonic clock.
func (m *machine) clock() int64 {
	d := m.w.now - m.booted
	return d + d/1e6*(m.rate-1e6)
}

// global is when the machine's monotonic clock will show t.
func (m *machine) global(t int64) int64 {
	// The inverse of clock, rounded up.
	d := t - m.clock()
	return m.w.now + max(d-d/1e6*(m.rate-1e6), 0) + us
}

// nodeWorld is a machine as its node sees it.
type nodeWorld machine

func (n *nodeWorld) Clock() int64 { return (*machine)(n).clock() }
func (n *nodeWorld) WallMS() int64 {
	return 1_800_000_000_000 + n.w.now/ms + n.wallOff
}
func (n *nodeWorld) IntN(k int64) int64 { return n.rng.Int64N(k) }

func (n *nodeWorld) Go(fn func()) {
	m := (*machine)(n)
	t := &task{fn: fn}
	m.tasks = append(m.tasks, t)
	m.w.after(m.rng.Int64N(100*us), m, func() { m.begin(t) })
}

func (m *machine) begin(t *task) {
	if t.done {
		return
	}
	t.done = true
	for i, o := range m.tasks {
		if o == t {
			m.tasks = append(m.tasks[:i], m.tasks[i+1:]...)
			break
		}
	}
	t.fn()
}

func (n *nodeWorld) Every(d time.Duration, fn func() bool) {
	m := (*machine)(n)
	var next func()
	at := m.clock() + int64(d)
	next = func() {
		if m.stopped || !fn() {
			return
		}
		// As a ticker: beats that were missed are left out.
		at = max(at+int64(d), m.clock()+1)
		m.w.at(m.global(at), m, next)
	}
	m.w.at(m.global(at), m, next)
}

func (n *nodeWorld) Trigger(fn func()) func() {
	m := (*machine)(n)
	pending := false
	return func() {
		if pending || m.stopped {
			return
		}
		pending = true
		m.w.after(m.rng.Int64N(50*us), m, func() {
			pending = false
			if !m.stopped {
				fn()
			}
		})
	}
}

func (n *nodeWorld) Stop() { n.stopped = true }
func (n *nodeWorld) Wait() {
	m := (*machine)(n)
	for len(m.tasks) > 0 {
		m.begin(m.tasks[0])
	}
}

// A port is a client's connection as its server sees it.
type port struct {
	e    *end
	c    *conn.Conn
	addr netip.AddrPort
}

func (p *port) Send(b []byte)        { p.e.send(append([]byte(nil), b...)) }
func (p *port) Shut()                { p.e.shut() }
func (p *port) Addr() netip.AddrPort { return p.addr }

// soon does something on the machine that can't be done from within a call.
func (p *port) soon(fn func()) { p.e.net.w.at(p.e.net.w.now, p.e.m, fn) }
func (p *port) Resume()        { p.soon(func() { p.c.Receive(nil) }) }
func (p *port) Close() {
	p.e.close()
	p.soon(func() { p.c.HangUp() })
}

// accept takes a client's connection.
func (m *machine) accept(e *end, addr netip.AddrPort) {
	m.ends = append(m.ends, e)
	p := &port{e: e, addr: addr}
	e.recv = func(b []byte) { p.c.Receive(b) }
	e.closed = func(string) { p.c.HangUp() }
	p.c = m.node.Attach(p)
}

// A traceHandler writes a process's log lines into the trace.
type traceHandler struct {
	m     *machine
	attrs string
}

func (h *traceHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (h *traceHandler) WithAttrs(as []slog.Attr) slog.Handler {
	s := h.attrs
	for _, a := range as {
		s += " " + a.String()
	}
	return &traceHandler{h.m, s}
}
func (h *traceHandler) WithGroup(string) slog.Handler { return h }
func (h *traceHandler) Handle(_ context.Context, r slog.Record) error {
	line := r.Message + h.attrs
	r.Attrs(func(a slog.Attr) bool {
		// Files and the processor take their own time.
		if a.Key != "ms" {
			line += " " + a.Key + "=" + a.Value.String()
		}
		return true
	})
	h.m.w.logf(h.m, "%s", line)
	return nil
}

var errPower = errors.New("the power failed")

var _ vfs.FS = (*disk)(nil)
