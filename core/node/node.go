package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zkcore/zkcore/core/conn"
	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/core/session"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// A Node is one server. doc.go tells how its parts work together.
type Node struct {
	cfg    Config
	log    *slog.Logger
	world  World
	start  int64 // on the clock
	conns  *conn.Server
	store  storage.Store
	member consensus.Member
	addrs  []net.Addr

	mu           sync.RWMutex
	engine       *engine.Engine
	role         consensus.Role
	serving      bool // there is a leader that this node is, or follows
	served       bool // has there ever been one
	holding      bool // clients may stay and come although there is none
	readOnly     bool // there is none for long: who only reads is served
	loading      bool // the state is being replaced: the engine has none
	doubt        bool // the state is not the leader's, and a new one has not come yet
	lookingSince int64

	clientsMu sync.Mutex
	clients   map[uint64]*client // by connection
	sessions  map[int64]*client
	syncs     map[consensus.SyncID]*client
	reclaims  map[int64][]*client // Revalidates of a learner, in their order
	later     []reclaim
	refusals  map[consensus.SyncID]*client // who is refused when the sync is answered
	ids       *session.IDs
	reserving bool // more ids are being reserved
	idsLost   bool // nobody knows up to where ids were reserved before

	watchMu sync.Mutex // watches, while mu is not held alone

	prepMu   sync.Mutex   // the engine's Prepare, SetOwner and Owner
	prepared atomic.Int64 // the last zxid given as leader, 0 before the first; written under prepMu

	trackMu sync.Mutex
	tracker *session.Table    // a leader's
	locals  locals            // what only this server knows
	fresh   []consensus.Touch // sessions opened since Touched was called

	queue    queue
	throttle throttle
	pace     pace
	counts   pace
	bucketMu sync.Mutex
	bucket   *conn.Bucket
	sink     sink // Deliver's
	snaps    snapshots
	check    check // Deliver's

	excesses excesses

	// tick's own: when it was last called, the zxid that was applied then, whether txns
	// waited behind it, and whether and since when they had waited since the call before.
	lastBeat             atomic.Int64 // beat's, ns
	lastTick, stuckSince int64        // ns
	tickZxid             int64
	waiting, stuck       bool

	outstanding atomic.Int64 // requests in all fifos
	held        atomic.Int64 // bytes of their records
	barriers    atomic.Int64 // writes in them that have barrier set
	lastSync    atomic.Uint64
	received    atomic.Int64
	sent        atomic.Int64
	authFailed  atomic.Int64
	sizes       sizes
	reads       latency
	updates     latency

	closeOnce sync.Once
	closeErr  error

	writing   atomic.Bool // the file of what is committed
	committed int64       // what stands there, as far as this life has written it; for who writes

	failed atomic.Bool
	opened chan struct{} // closed when member is set
}

// Start opens the store, recovers the state, joins the ensemble and opens the
// client ports. Clients are served as soon as there is a leader. ctx ends the
// starting, not the node.
func Start(ctx context.Context, cfg Config) (_ *Node, err error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, log: cfg.Log, world: cfg.World, start: cfg.World.Clock(),
		clients: map[uint64]*client{}, sessions: map[int64]*client{},
		syncs: map[consensus.SyncID]*client{}, reclaims: map[int64][]*client{},
		refusals: map[consensus.SyncID]*client{},
		excesses: excesses{refused: map[string]int64{}},
		ids:      session.NewIDs(cfg.ServerID, cfg.World.WallMS()),
		tracker:  session.New(cfg.TickMS),
		locals:   newLocals(cfg.TickMS),
		opened:   make(chan struct{}),
		bucket:   conn.NewBucket(cfg.ConnectionThrottle, cfg.World.Clock()/1e6),
		throttle: throttle{RequestThrottle: cfg.RequestThrottle},
	}
	n.sink.n = n
	n.conns = conn.NewServer(conn.Config{
		MaxPerIP: cfg.MaxClientCnxns, Max: cfg.MaxCnxns, MaxFrame: cfg.JuteMaxBuffer, Greeting: cfg.Sessionless,
		MaxLarge: cfg.LargeRequestMax, LargeOver: cfg.LargeRequestOver, Backlog: cfg.ListenBacklog, KeepAlive: cfg.ClientKeepAlive,
		Accept: n.accept, FourLetter: n.fourLetter, Log: cfg.Log, Metrics: cfg.Metrics,
		Now: func() time.Time { return time.Unix(0, n.world.Clock()) },
	})
	var undo []func()
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()

	if err := n.openDirs(); err != nil {
		return nil, err
	}
	undo = append(undo, n.unlockDirs)
	if err := n.openIDs(); err != nil {
		return nil, err
	}
	if err := n.openSecret(); err != nil {
		return nil, err
	}

	if err := n.openStore(); err != nil {
		return nil, err
	}
	undo = append(undo, func() { n.store.Close() })
	n.engine = engine.New(n.engineOptions())
	undo = append(undo, n.engine.Close)

	cc := cfg.Consensus
	cc.ID = consensus.ServerID(cfg.ServerID)
	cc.DataDir, cc.LogDir = cfg.DataDir, cfg.LogDir
	cc.Tick = time.Duration(cfg.TickMS) * time.Millisecond
	cc.Log, cc.Metrics = cfg.Log, cfg.Metrics
	cc.Fail = n.fail
	if err := n.openCommitted(&cc); err != nil {
		return nil, err
	}
	undo = append(undo, n.world.Wait, n.world.Stop, n.conns.Close)
	n.queue.hand = n.world.Trigger(func() { n.drain(-1) })
	for _, p := range []*pace{&n.pace, &n.counts} {
		p.hand = n.world.Trigger(func() { n.paceOn(p) })
	}
	// Calls may come before Open has returned; what they cause that needs the member
	// goes through the queue, whose goroutine is started behind it, or waits.
	n.member, err = cfg.OpenConsensus(cc, n)
	close(n.opened)
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() { n.member.Close() })
	if err := n.cover(); err != nil {
		return nil, err
	}

	n.lastBeat.Store(n.clock())
	n.startTicking()
	n.world.Every(n.cfg.ContainerCheck, func() bool { n.removeExpired(); return true })
	n.startPurging()
	if cfg.ReadOnly {
		n.world.Every(committedEvery, func() bool { n.keepCommitted(); return true })
	}
	for _, addr := range cfg.ClientAddrs {
		a, err := n.conns.Listen(ctx, addr)
		if err != nil {
			return nil, fmt.Errorf("client port: %w", err)
		}
		n.addrs = append(n.addrs, a)
		n.log.Info("client port open", "addr", a)
	}
	return n, nil
}

// ClientAddrs are the addresses of the client ports, in the order of the
// configuration.
func (n *Node) ClientAddrs() []net.Addr { return n.addrs }

// ServeClients serves the clients that l accepts, until the node is closed.
func (n *Node) ServeClients(l net.Listener) error { return n.conns.Serve(l) }

// Attach serves a client whose bytes somebody else carries.
func (n *Node) Attach(p conn.Port) *conn.Conn { return n.conns.Attach(p) }

// Close stops accepting, closes the connections, leaves the ensemble and closes
// the store. It returns when nothing of the node runs any more.
func (n *Node) Close() error {
	n.closeOnce.Do(func() {
		n.conns.Close()
		n.world.Stop()
		err := n.member.Close()
		n.world.Wait()
		n.mu.Lock()
		n.loading, n.serving = true, false
		n.engine.Close()
		n.mu.Unlock()
		n.closeErr = errors.Join(err, n.store.Close())
		n.unlockDirs()
	})
	return n.closeErr
}

// Cut takes the node out of service at once: its client ports are closed, and so are its
// connections. It waits for nobody, also if the node's parts do.
func (n *Node) Cut() { n.conns.Cut() }

// fail ends the process.
func (n *Node) fail(code int, err error) {
	n.failed.Store(true)
	n.log.Error("stopping at once: what is on disk or in memory can't be trusted any more", "err", err, "exit", code)
	n.cfg.Fail(code, err)
}

// accept makes the client of a connection.
func (n *Node) accept(c *conn.Conn) conn.Client {
	cl := &client{n: n, c: c, replySize: guessedReply}
	cl.auth = []consensus.Identity{{Scheme: "ip", ID: cl.ipString()}}
	cl.heard.Store(n.clock())
	n.mu.RLock()
	n.clientsMu.Lock()
	n.clients[c.ID] = cl
	n.clientsMu.Unlock()
	n.mu.RUnlock()
	return cl
}

func (n *Node) fourLetter(word string, nc net.Conn) bool {
	n.received.Add(1) // the word counts as a packet, and so does its answer
	if n.cfg.FourLetter == nil || !n.cfg.FourLetter(n, word, nc) {
		return false
	}
	n.sent.Add(1)
	return true
}

// clock is monotonic time in ns.
func (n *Node) clock() int64   { return n.world.Clock() }
func (n *Node) clockMS() int64 { return n.clock() / 1e6 }

// wallMS is what becomes ctime and mtime: data, by which nothing is decided.
func (n *Node) wallMS() int64 { return n.world.WallMS() }

func (n *Node) lastZxid() int64 {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.engine.LastZxid()
}

// sessionText is a session as operators know it.
func sessionText(session int64) string { return fmt.Sprintf("0x%x", uint64(session)) }

// ipString is the client's address as ACLs have it: an IPv6 one in Java's full
// form.
func (cl *client) ipString() string {
	ip := cl.c.IP()
	if !ip.Is6() {
		return ip.String()
	}
	b := ip.As16()
	s := ""
	for i := 0; i < 16; i += 2 {
		if i > 0 {
			s += ":"
		}
		s += fmt.Sprintf("%x", int(b[i])<<8|int(b[i+1]))
	}
	return s
}
