package conn

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Metrics takes what is counted, under Apache's names.
type Metrics interface {
	Add(name string, n int64)
}

// Config is what a Server is made with. Zero values mean what is said.
type Config struct {
	// MaxPerIP bounds the connections from one address; 0 is no limit.
	MaxPerIP int
	// Max bounds the connections of each listener; 0 is no limit but that of the
	// descriptors that the process may open, less a reserve.
	Max int
	// MaxFrame is the longest frame that is read: jute.maxbuffer. 0: 1048575.
	MaxFrame int
	// Greeting is the time in which a client must have sent its ConnectRequest.
	// 0: 10 s.
	Greeting time.Duration
	// MaxQueued bounds the bytes that wait behind a write that the client does
	// not take. 0: 16 MiB.
	MaxQueued int
	// MaxUnasked bounds what of that nobody has asked for, of all connections: events.
	// 0: 128 MiB.
	MaxUnasked int64
	// MaxLarge bounds, over all connections, the memory of frames that outgrow
	// the common buffers. 0: 100 MiB, as zookeeper.largeRequestMaxBytes.
	MaxLarge int64
	// LargeOver is the length beyond which a request counts as large until it is
	// answered, and not only while it comes; 0: there is no such.
	LargeOver int
	// Backlog is how many connections may wait to be accepted; 0: as many as the system
	// lets.
	Backlog int
	// KeepAlive sets SO_KEEPALIVE on the sockets.
	KeepAlive bool

	// Accept makes the client of a connection, before anything was read from it.
	Accept func(*Conn) Client
	// FourLetter answers a four-letter word. It reads and writes on nc, which is
	// closed behind it; false says that there is no such word.
	FourLetter func(word string, nc net.Conn) bool

	Log     *slog.Logger
	Metrics Metrics
	// Now says by which time log lines are limited. nil: time.Now.
	Now func() time.Time
}

// A Client is what stands behind a connection.
type Client interface {
	// Blocked says that no frames are wanted now. It is called with the
	// connection locked; whoever changes the answer calls Conn.Wake.
	Blocked() bool
	// Frames hands over whole frames, each behind its length, which are valid
	// during the call. It returns how many bytes of them it took, which may be
	// less than all if it has become Blocked, or if enough is to be sent already:
	// but never none if it is not Blocked. What it appended is flushed afterwards.
	// An error closes the connection. Until Conn.Established was called it gets
	// one frame at a time.
	Frames(frames []byte) (int, error)
	// Closed is called once, when nothing is read any more.
	Closed()
	// Describe names the client in log lines: "session 0x…".
	Describe() string
}

// A Server is the listeners and connections of one node.
type Server struct {
	cfg  Config
	log  limiter
	next atomic.Uint64
	// large is the memory that frames beyond the common size hold.
	large atomic.Int64
	// underWay is what large requests have that are not answered.
	underWay atomic.Int64

	unasked unasked

	// cold has a place for each connection that is looked after by handle's goroutine.
	cold chan struct{}

	mu        sync.Mutex
	listeners map[net.Listener]*int // how many connections each has
	conns     map[uint64]*Conn
	closed    bool

	places places

	wg sync.WaitGroup // accept loops, connections, writers
}

// NewServer makes a server that listens nowhere yet.
func NewServer(cfg Config) *Server {
	if cfg.MaxFrame <= 0 {
		cfg.MaxFrame = 0xfffff
	}
	if cfg.Greeting <= 0 {
		cfg.Greeting = 10 * time.Second
	}
	if cfg.MaxQueued <= 0 {
		cfg.MaxQueued = 16 << 20
	}
	if cfg.MaxUnasked <= 0 {
		cfg.MaxUnasked = 128 << 20
	}
	if cfg.MaxLarge <= 0 {
		cfg.MaxLarge = 100 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	n, spare := descriptors()
	if n > 0 && (cfg.Max <= 0 || cfg.Max > n) {
		cfg.Max = n
	}
	return &Server{
		cfg: cfg, cold: make(chan struct{}, coldAtOnce()), log: limiter{log: cfg.Log, now: cfg.Now},
		listeners: map[net.Listener]*int{}, conns: map[uint64]*Conn{}, places: places{perIP: map[netip.Addr]int{}, mayLinger: spare / 4},
	}
}

// errClosed is returned by calls on a closed server.
var errClosed = errors.New("conn: server is closed")

// Listen opens a client port and serves it. It returns the address, whose port
// the system chose if that of addr is 0.
func (s *Server) Listen(ctx context.Context, addr string) (net.Addr, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	if s.cfg.KeepAlive {
		lc.KeepAlive = 0
	}
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if s.cfg.Backlog > 0 {
		if err := setBacklog(l, s.cfg.Backlog); err != nil {
			l.Close()
			return nil, err
		}
	}
	if err := s.Serve(l); err != nil {
		return nil, err
	}
	return l.Addr(), nil
}

// Serve accepts from l until the server is closed. It returns at once, and
// closes l when it can't.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.Close()
		return errClosed
	}
	n := new(int)
	s.listeners[l] = n
	s.wg.Add(1)
	go s.accept(l, n)
	return nil
}

// CloseListeners stops accepting. Connections stay.
func (s *Server) CloseListeners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.listeners {
		l.Close()
	}
	clear(s.listeners)
}

// Cut stops accepting and ends all connections at once, whatever is under way on
// them. It takes no connection's lock and waits for nobody: it is for a server
// whose state is not to be shown any more, where somebody may wait for ever.
func (s *Server) Cut() {
	s.CloseListeners()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, c := range s.conns {
		c.nc.Close()
	}
}

// Close stops accepting, closes all connections and waits until nothing of the
// server runs any more.
func (s *Server) Close() {
	s.CloseListeners()
	s.mu.Lock()
	s.closed = true
	var conns []*Conn
	for _, id := range slices.Sorted(maps.Keys(s.conns)) {
		conns = append(conns, s.conns[id])
	}
	s.mu.Unlock()
	// Not with the server locked: who has a connection locked may wait for something that
	// never comes, and Cut is for that.
	for _, c := range conns {
		c.Close(nil)
	}
	s.wg.Wait()
}

// Len is the number of open connections.
func (s *Server) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Each calls fn for each connection, in the order in which they came, with the server
// locked: fn waits for no connection's lock.
func (s *Server) Each(fn func(*Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.conns)) {
		fn(s.conns[id])
	}
}

func (s *Server) accept(l net.Listener, count *int) {
	defer s.wg.Done()
	var wait time.Duration
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Most likely the process has no descriptor left: somebody has to close
			// one first.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			s.log.warn("can't accept a client", "addr", l.Addr(), "err", err, "retryIn", wait)
			time.Sleep(wait)
			continue
		}
		wait = 0
		s.Add(nc, count)
	}
}

// Add serves a connection that was accepted elsewhere; count is that of its
// listener, or nil.
func (s *Server) Add(nc net.Conn, count *int) {
	c := newConn(s, nc)
	c.count = count
	s.mu.Lock()
	why := "the server is stopping"
	if !s.closed {
		why = s.places.take(c, s.cfg.MaxPerIP, s.cfg.Max)
	}
	if why == "" {
		s.wg.Add(1)
	}
	s.mu.Unlock()
	if why != "" {
		if t, ok := nc.(*net.TCPConn); ok {
			t.SetLinger(0) // a reset, as Apache: nothing of it stays here
		}
		nc.Close()
		s.add("connection_rejected", 1)
		s.log.warn("client refused", "client", nc.RemoteAddr(), "why", why)
		return
	}
	go c.serve()
}

// enter makes a connection known, now that it has a client. False: the server is
// closed.
func (s *Server) enter(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c.ID] = c
	return !s.closed
}

func (s *Server) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c.ID)
}

func (s *Server) add(name string, n int64) {
	if s.cfg.Metrics != nil {
		s.cfg.Metrics.Add(name, n)
	}
}

// Warn writes a log line about clients, of which there are only so many a
// second.
func (s *Server) Warn(msg string, args ...any) { s.log.warn(msg, args...) }
