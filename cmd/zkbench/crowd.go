package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// A crowd is many sessions that say no more than they must to stay alive.
type crowd struct {
	Servers  []string
	Sessions int
	Watches  int // of each session
	Paths    int // that are watched, in all
	Timeout  time.Duration
	Settle   time.Duration
	Fire     bool // everybody watches the first path, which is created then
	Storm    bool // all connections break, and all sessions come back

	members []*member
	events  atomic.Int64
	wg      sync.WaitGroup
}

// A member is one session of a crowd, over all its connections.
type member struct {
	s       atomic.Pointer[session]
	arrived chan error // the answer to its last request, or what became of the connection
}

// crowdFigures is what a crowd costs, and what it does to others.
type crowdFigures struct {
	Sessions   int   `json:"sessions"`
	Watches    int   `json:"watches"`
	Paths      int   `json:"paths"`
	Before     int64 `json:"rss_before_bytes"`
	WithThem   int64 `json:"rss_with_sessions_bytes"`
	WithAll    int64 `json:"rss_with_watches_bytes"`
	Peak       int64 `json:"peak_rss_bytes"`
	Collected  bool  `json:"collected"`
	HeapBefore int64 `json:"java_heap_before_bytes,omitempty"`
	HeapThem   int64 `json:"java_heap_with_sessions_bytes,omitempty"`
	HeapAll    int64 `json:"java_heap_with_watches_bytes,omitempty"`

	Quiet, Fired, Stormed *probed `json:",omitempty"` // what a writer beside it met
	Events                int64   `json:"events,omitempty"`
	Lost                  int     `json:"sessions_lost,omitempty"`
	Tries                 int64   `json:"connections_made,omitempty"`
}

// probed is what one client met that sets a znode, one request after the other.
type probed struct {
	Took   time.Duration `json:"took_ns"`
	Writes int           `json:"writes"`
	Median time.Duration `json:"median_ns"`
	Worst  time.Duration `json:"worst_ns"`
	CPU    float64       `json:"servers_cpu_seconds"`
}

// raiseLimit lets this process open as many files as it may.
func raiseLimit() {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) == nil && r.Cur < r.Max {
		r.Cur = r.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &r) // dial says so when there are too few
	}
}

// measure brings the crowd together, and does to it what is asked for.
func (c *crowd) measure(ctx context.Context, pids []int) (crowdFigures, error) {
	f := crowdFigures{Sessions: c.Sessions, Watches: c.Sessions * c.Watches, Paths: c.Paths}
	raiseLimit()
	first, err := dial(c.Servers[0], c.Timeout, 0, nil)
	if err != nil {
		return f, err
	}
	defer first.close()
	base := root + "/c" + strconv.FormatInt(time.Now().UnixNano(), 36)
	for _, path := range []string{root, base} {
		if err := first.ensure(path, nil); err != nil {
			return f, err
		}
	}
	defer c.dismiss()
	rest := func(rss, heap *int64) error {
		m, h, collected, err := restingMemory(ctx, pids, c.Settle)
		if *rss, *heap = m.RSS, h; m.PeakRSS > f.Peak {
			f.Peak = m.PeakRSS
		}
		f.Collected = f.Collected || collected
		return err
	}
	if err := rest(&f.Before, &f.HeapBefore); err != nil {
		return f, err
	}
	c.members = make([]*member, c.Sessions)
	err = c.each(ctx, func(i int) error {
		m := &member{}
		s, err := dial(c.Servers[i%len(c.Servers)], c.Timeout, 0, nil)
		if err != nil {
			return err
		}
		c.members[i] = m
		c.take(m, s)
		return nil
	})
	if err != nil {
		return f, fmt.Errorf("open %d sessions: %w", c.Sessions, err)
	}
	alive, stop := context.WithCancel(ctx)
	defer stop()
	c.wg.Go(func() { c.keepAlive(alive) })
	if err := rest(&f.WithThem, &f.HeapThem); err != nil {
		return f, err
	}
	watch := func(i int) error { return c.watch(i, base) }
	if c.Watches > 0 {
		if err := c.each(ctx, watch); err != nil {
			return f, fmt.Errorf("set watches: %w", err)
		}
		if err := rest(&f.WithAll, &f.HeapAll); err != nil {
			return f, err
		}
	}
	quiet := func(context.Context) error {
		select {
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
		}
		return nil
	}
	if c.Fire || c.Storm {
		if f.Quiet, err = probeWhile(ctx, c.Servers[0], pids, quiet); err != nil {
			return f, err
		}
	}
	if c.Fire {
		other, err := dial(c.Servers[0], c.Timeout, 0, nil)
		if err != nil {
			return f, err
		}
		defer other.close()
		f.Fired, err = probeWhile(ctx, c.Servers[0], pids, func(ctx context.Context) error {
			if err := other.ensure(watchPath(base, 0), nil); err != nil {
				return err
			}
			for c.events.Load() < int64(c.Sessions) {
				select {
				case <-ctx.Done():
					return fmt.Errorf("%d of %d events have come: %w", c.events.Load(), c.Sessions, ctx.Err())
				case <-time.After(time.Millisecond):
				}
			}
			return nil
		})
		if err != nil {
			return f, err
		}
		f.Events = c.events.Load()
	}
	if c.Storm {
		var lost, tries atomic.Int64
		f.Stormed, err = probeWhile(ctx, c.Servers[0], pids, func(ctx context.Context) error {
			for _, m := range c.members {
				m.s.Load().nc.Close()
			}
			return c.storm(ctx, &lost, &tries, watch)
		})
		f.Lost, f.Tries = int(lost.Load()), tries.Load()
		if err != nil {
			return f, err
		}
	}
	last, err := sampleProcs(pids)
	f.Peak = max(f.Peak, last.PeakRSS)
	return f, err
}

// take makes s the connection of m, and reads what comes on it.
func (c *crowd) take(m *member, s *session) {
	arrived := make(chan error, 1)
	m.arrived = arrived
	m.s.Store(s)
	c.wg.Go(func() {
		var buf [256]byte
		for {
			b, err := readInto(s.nc, buf[:])
			if err != nil {
				select {
				case arrived <- err:
				default:
				}
				return
			}
			d := jute.NewDecoder(b)
			xid, _, code := d.Int(), d.Long(), zkerr.Code(d.Int())
			switch {
			case xid == proto.XidNotification:
				c.events.Add(1)
			case xid == 1 && code != zkerr.OK:
				arrived <- code
			case xid == 1:
				arrived <- nil
			}
		}
	})
}

// readInto reads a frame, into buf if it fits.
func readInto(r io.Reader, buf []byte) ([]byte, error) {
	if _, err := io.ReadFull(r, buf[:4]); err != nil {
		return nil, err
	}
	d := jute.NewDecoder(buf[:4])
	n := int(d.Int())
	if n < 0 || n > maxFrame {
		return nil, fmt.Errorf("frame of %d bytes", n)
	}
	if n > len(buf) {
		buf = make([]byte, n)
	}
	_, err := io.ReadFull(r, buf[:n])
	return buf[:n], err
}

// crowdWorkers is how many members do something at the same time.
const crowdWorkers = 64

// each does something for every member.
func (c *crowd) each(ctx context.Context, do func(i int) error) error {
	var next atomic.Int64
	errs := make(chan error, crowdWorkers)
	for range crowdWorkers {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= c.Sessions || ctx.Err() != nil {
					errs <- ctx.Err()
					return
				}
				if err := do(i); err != nil {
					next.Store(int64(c.Sessions))
					errs <- err
					return
				}
			}
		}()
	}
	var all error
	for range crowdWorkers {
		all = errors.Join(all, <-errs)
	}
	return all
}

func watchPath(base string, i int) string {
	b := append([]byte(base), "/w"...)
	return string(appendPadded(b, int64(i)))
}

// watch registers all that a member watches, as a client does that comes back: with as many
// requests as that needs.
func (c *crowd) watch(i int, base string) error {
	const most = 128 << 10
	m := c.members[i]
	for j := 0; j < c.Watches; {
		q := proto.SetWatchesRequest{RelativeZxid: math.MaxInt64}
		for bytes := 0; j < c.Watches && bytes < most; j++ {
			at := (i*c.Watches + j) % c.Paths
			if c.Fire && j == 0 {
				at = 0
			}
			path := watchPath(base, at)
			q.Exist = append(q.Exist, path)
			bytes += len(path) + 4
		}
		if _, err := m.s.Load().nc.Write(request(nil, 1, proto.OpSetWatches, q.Append)); err != nil {
			return err
		}
		if err := <-m.arrived; err != nil {
			return err
		}
	}
	return nil
}

// storm brings every member back to its session, all at once.
func (c *crowd) storm(ctx context.Context, lost, tries *atomic.Int64, watch func(i int) error) error {
	var wg sync.WaitGroup
	errs := make(chan error, 1)
	for i, m := range c.members {
		was := m.s.Load()
		wg.Go(func() {
			for {
				tries.Add(1)
				s, err := dial(c.Servers[i%len(c.Servers)], c.Timeout, was.id, was.passwd)
				if errors.Is(err, errRefused) {
					lost.Add(1)
					return
				}
				if err == nil {
					c.take(m, s)
					if err = watch(i); err == nil {
						return
					}
					s.nc.Close()
				}
				select {
				case <-ctx.Done():
					select {
					case errs <- err:
					default:
					}
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// probe sets a znode again and again until something comes on in, and writes what it met. It
// says so when it is at work.
func probe(server string, timeout time.Duration, in io.Reader, out io.Writer) error {
	s, err := dial(server, timeout, 0, nil)
	if err != nil {
		return err
	}
	defer s.close()
	var stop atomic.Bool
	go func() {
		_, _ = in.Read(make([]byte, 1)) // its end is a word too
		stop.Store(true)
	}()
	var all []time.Duration
	var begin time.Time
	for i := 0; !stop.Load() || len(all) == 0; i++ {
		if i == probeWarm {
			begin = time.Now()
			all = all[:0]
			fmt.Fprintln(out, "ready")
		}
		at := time.Now()
		_, err := s.call(proto.OpSetData, func(b []byte) []byte {
			return (&proto.SetDataRequest{Path: root, Version: -1}).Append(b)
		})
		if err != nil {
			return err
		}
		all = append(all, time.Since(at))
	}
	p := probed{Took: time.Since(begin), Writes: len(all)}
	slices.Sort(all)
	p.Median, p.Worst = all[len(all)/2], all[len(all)-1]
	return json.NewEncoder(out).Encode(p)
}

// probeWarm is how many writes do not count.
const probeWarm = 50

// probeWhile lets another process set a znode while do runs: in this one it would have to wait
// for the crowd.
func probeWhile(ctx context.Context, server string, pids []int, do func(context.Context) error) (*probed, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "probe", server)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(out)
	if _, err = lines.ReadString('\n'); err != nil {
		in.Close()
		return nil, fmt.Errorf("the writer beside it: %w", errors.Join(err, cmd.Wait()))
	}
	before, _ := sampleProcs(pids)
	begin := time.Now()
	err = do(ctx)
	took := time.Since(begin)
	after, serr := sampleProcs(pids)
	in.Close()
	p := &probed{}
	err = errors.Join(err, serr, json.NewDecoder(lines).Decode(p), cmd.Wait())
	p.Took, p.CPU = took, after.CPU-before.CPU
	return p, err
}

// keepAlive pings for every member, in a third of the timeout.
func (c *crowd) keepAlive(ctx context.Context) {
	ping := request(nil, proto.XidPing, proto.OpPing, func(b []byte) []byte { return b })
	step := c.Timeout / 3 / time.Duration(len(c.members)/100+1)
	tick := time.NewTicker(max(step, time.Millisecond))
	defer tick.Stop()
	for i := 0; ; i += 100 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if i >= len(c.members) {
			i = 0
		}
		for _, m := range c.members[i:min(i+100, len(c.members))] {
			_, _ = m.s.Load().nc.Write(ping) // a connection that broke is noticed by who reads it
		}
	}
}

// dismiss ends the connections. The sessions expire by themselves.
func (c *crowd) dismiss() {
	for _, m := range c.members {
		if m != nil {
			m.s.Load().nc.Close()
		}
	}
	c.wg.Wait()
}

func (f *crowdFigures) text(w io.Writer) {
	per := func(from, to int64, n int) float64 { return float64(to-from) / float64(max(n, 1)) }
	fmt.Fprintf(w, "%d sessions: %.0f bytes resident each (%s before, %s after, %s at most)\n", f.Sessions, per(f.Before, f.WithThem, f.Sessions), mib(f.Before), mib(f.WithThem), mib(f.Peak))
	if f.Collected {
		fmt.Fprintf(w, "live heap %s before, %s after: %.0f bytes each\n", mib(f.HeapBefore), mib(f.HeapThem), per(f.HeapBefore, f.HeapThem, f.Sessions))
	}
	if f.Watches > 0 {
		fmt.Fprintf(w, "%d watches on %d paths: %.0f bytes resident each (%s after)\n", f.Watches, f.Paths, per(f.WithThem, f.WithAll, f.Watches), mib(f.WithAll))
		if f.Collected {
			fmt.Fprintf(w, "live heap %s after: %.0f bytes each\n", mib(f.HeapAll), per(f.HeapThem, f.HeapAll, f.Watches))
		}
	}
	line := func(what string, p *probed) {
		if p != nil {
			fmt.Fprintf(w, "%s: %.2f s, %.2f s of the servers' CPU, in which another client had %d writes answered, median %v, the slowest %v\n", what,
				p.Took.Seconds(), p.CPU, p.Writes, p.Median.Round(time.Microsecond), p.Worst.Round(time.Microsecond))
		}
	}
	line("quiet", f.Quiet)
	line(fmt.Sprintf("%d events", f.Events), f.Fired)
	line(fmt.Sprintf("all come back, with %d connections; %d sessions lost", f.Tries, f.Lost), f.Stormed)
}

func (c *cli) crowd() error {
	c.jsonFlag()
	var ids pids
	k := &crowd{}
	c.serverFlags((*list)(&k.Servers), &ids)
	c.fs.IntVar(&k.Sessions, "n", 17000, "sessions")
	c.fs.IntVar(&k.Watches, "watches", 0, "watches of each session")
	c.fs.IntVar(&k.Paths, "paths", 0, "paths that are watched; 0: no path by two sessions")
	c.fs.DurationVar(&k.Timeout, "timeout", 40*time.Second, "timeout of the sessions")
	c.fs.DurationVar(&k.Settle, "settle", 5*time.Second, "rest before memory is read")
	c.fs.BoolVar(&k.Fire, "fire", false, "the first watch of everybody is on the same path, which is created then")
	c.fs.BoolVar(&k.Storm, "storm", false, "break all connections, and let all sessions come back at once with their watches")
	if err := c.parse(); err != nil {
		return err
	}
	if err := c.noArgs(); err != nil {
		return err
	}
	if len(ids) == 0 || len(k.Servers) == 0 || k.Sessions < 1 || k.Watches < 0 || k.Fire && k.Watches < 1 {
		return errors.New("crowd: needs -servers, -pids, a number of sessions, and with -fire a number of watches")
	}
	if k.Paths < 1 {
		k.Paths = max(k.Sessions*k.Watches, 1)
	}
	f, err := k.measure(c.ctx, ids)
	if err != nil {
		return err
	}
	return c.print(f, f.text)
}
