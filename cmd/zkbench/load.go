package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// A load says what to do to which servers.
type load struct {
	Workload    string        `json:"workload"`
	Servers     []string      `json:"servers"`
	Connections int           `json:"connections"`
	Outstanding int           `json:"outstanding"`
	Size        int           `json:"value_bytes"`
	Znodes      int           `json:"znodes"`
	ReadPercent int           `json:"read_percent,omitempty"` // mixed
	Warmup      time.Duration `json:"-"`
	Duration    time.Duration `json:"-"`
	Count       int64         `json:"count,omitempty"` // ops to do, instead of a duration
	PIDs        []int         `json:"pids,omitempty"`
	Keep        bool          `json:"-"` // leave the znodes that were made

	SessionTimeout time.Duration `json:"-"`
}

// A result is what a load has measured.
type result struct {
	Load      load             `json:"load"`
	Ops       int64            `json:"operations"`
	Seconds   float64          `json:"seconds"`
	PerSecond float64          `json:"operations_per_second"`
	Errors    map[string]int64 `json:"errors,omitempty"`
	Latency   latencies        `json:"latency"`
	Client    procSample       `json:"client"`

	// Of the server processes, if their pids were given.
	Server       *procSample `json:"server,omitempty"` // CPU seconds used meanwhile; memory at the end
	PerCPUSecond float64     `json:"operations_per_server_cpu_second,omitempty"`
}

// root is the znode under which everything of a load lies.
const root = "/zkbench"

// A phase says whether what happens counts.
type phase = int32

const (
	warming phase = iota
	measuring
	over
)

// A run is a load in progress: what its lanes share.
type run struct {
	load
	phase  atomic.Int32
	budget atomic.Int64 // ops still to be sent, with Count
	base   string       // of the znodes that this run alone makes
}

// A tally is what one goroutine has counted. It is read when that goroutine has ended.
type tally struct {
	ops    int64
	errors map[zkerr.Code]int64
	lat    histogram
}

func (t *tally) fail(code zkerr.Code) {
	if t.errors == nil {
		t.errors = make(map[zkerr.Code]int64)
	}
	t.errors[code]++
}

func (l *load) check() error {
	switch {
	case len(l.Servers) == 0:
		return errors.New("no servers")
	case l.Connections < 1 || l.Outstanding < 1 || l.Znodes < 1:
		return errors.New("connections, outstanding and znodes must be at least 1")
	case l.Size < 0 || l.Size > maxFrame/2:
		return fmt.Errorf("a value of %d bytes", l.Size)
	case l.ReadPercent < 0 || l.ReadPercent > 100:
		return errors.New("reads must be 0 to 100 percent")
	case l.Count < 0 || l.Count == 0 && l.Duration <= 0:
		return errors.New("neither a duration nor a count")
	}
	if _, ok := workloads[l.Workload]; !ok {
		return fmt.Errorf("unknown workload %q", l.Workload)
	}
	return nil
}

var workloads = map[string]func(*run, context.Context, *measurement) error{
	"create":   (*run).pipelined,
	"set":      (*run).pipelined,
	"get":      (*run).pipelined,
	"exists":   (*run).pipelined,
	"mixed":    (*run).pipelined,
	"lone":     (*run).lone,
	"watches":  (*run).watches,
	"sessions": (*run).sessions,
}

// do runs the load and returns what it measured.
func (l load) do(ctx context.Context) (result, error) {
	if err := l.check(); err != nil {
		return result{}, err
	}
	r := &run{load: l, base: root + "/r" + strconv.FormatInt(time.Now().UnixNano(), 36)}
	m := &measurement{run: r}
	if err := workloads[l.Workload](r, ctx, m); err != nil {
		return result{}, fmt.Errorf("%s: %w", l.Workload, err)
	}
	return m.result()
}

// A measurement brackets the part of a run that counts.
type measurement struct {
	run            *run
	begin, end     time.Time
	client, server [2]procSample
	tallies        []*tally
}

// measure starts the lanes, lets them warm up, and samples the processes where counting begins and
// ends. A lane returns when the phase is over, or when the budget of a count is used up; the first
// error ends them all through ctx.
func (m *measurement) measure(ctx context.Context, lanes []func(context.Context, *tally) error) error {
	r := m.run
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.budget.Store(r.Count)
	if r.Count > 0 {
		r.phase.Store(measuring)
	}
	m.tallies = make([]*tally, len(lanes))
	var wg sync.WaitGroup
	if r.Count > 0 {
		if err := m.sample(0); err != nil {
			return err
		}
	}
	for i, lane := range lanes {
		t := new(tally)
		m.tallies[i] = t
		wg.Go(func() {
			if err := lane(ctx, t); err != nil {
				cancel(err)
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		wg.Wait()
		close(ended)
	}()
	if r.Count > 0 {
		<-ended
		if err := context.Cause(ctx); err != nil {
			return err
		}
		return m.sample(1)
	}
	pause := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		case <-ended: // before its time: an error, or nothing to do
		}
	}
	pause(r.Warmup)
	errBegin := m.sample(0)
	r.phase.Store(measuring)
	pause(r.Duration)
	errEnd := m.sample(1)
	r.phase.Store(over)
	<-ended
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return errors.Join(errBegin, errEnd)
}

func (m *measurement) sample(i int) (err error) {
	now := time.Now()
	if i == 0 {
		m.begin = now
	} else {
		m.end = now
	}
	if m.client[i], err = sampleProcs([]int{os.Getpid()}); err != nil {
		return err
	}
	m.server[i], err = sampleProcs(m.run.PIDs)
	return err
}

func (m *measurement) result() (result, error) {
	var all tally
	for _, t := range m.tallies {
		all.ops += t.ops
		all.lat.merge(&t.lat)
		for c, n := range t.errors {
			if all.errors == nil {
				all.errors = make(map[zkerr.Code]int64)
			}
			all.errors[c] += n
		}
	}
	sec := m.end.Sub(m.begin).Seconds()
	res := result{
		Load:      m.run.load,
		Ops:       all.ops,
		Seconds:   sec,
		PerSecond: float64(all.ops) / sec,
		Latency:   all.lat.summary(),
		Client:    m.client[1],
	}
	res.Client.CPU -= m.client[0].CPU
	if len(all.errors) > 0 {
		res.Errors = make(map[string]int64)
		for c, n := range all.errors {
			res.Errors[c.String()] = n
		}
	}
	if len(m.run.PIDs) > 0 {
		s := m.server[1]
		s.CPU -= m.server[0].CPU
		res.Server = &s
		// Below a tenth of a second the clock ticks of /proc say nothing.
		if s.CPU >= 0.1 {
			res.PerCPUSecond = float64(all.ops) / s.CPU
		}
	}
	return res, nil
}

// A maker appends the next request of a lane to b. It returns the same slice when there is none
// left.
type maker func(b []byte, xid int32) []byte

// pipelined runs the workloads in which each connection keeps a number of requests under way.
func (r *run) pipelined(ctx context.Context, m *measurement) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	sessions, err := r.dialAll(r.Connections)
	if err != nil {
		return err
	}
	defer closeAll(sessions)

	lanes := make([]func(context.Context, *tally) error, len(sessions))
	created := make([]int64, len(sessions))
	for i, s := range sessions {
		mk := r.maker(i, &created[i])
		lanes[i] = func(ctx context.Context, t *tally) error {
			return r.lane(ctx, s, t, mk)
		}
	}
	if err := m.measure(ctx, lanes); err != nil {
		return err
	}
	if r.Keep {
		return nil
	}
	return r.cleanUp(ctx, created)
}

func (r *run) dialAll(n int) ([]*session, error) {
	var all []*session
	for i := range n {
		s, err := dial(r.Servers[i%len(r.Servers)], r.SessionTimeout, 0, nil)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func closeAll(sessions []*session) {
	for _, s := range sessions {
		s.close() // an error ends the session all the same, only later
	}
}

// lane drives one connection: this goroutine writes, another one reads.
func (r *run) lane(ctx context.Context, s *session, t *tally, next maker) error {
	l := &lane{run: r, s: s, t: t, sentAt: make([]int64, r.Outstanding), wake: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		if context.Cause(ctx) != errLaneDone {
			s.nc.SetDeadline(time.Unix(1, 0)) // whoever still reads or writes stops
		}
	})
	defer stop()
	go func() { cancel(l.read()) }()
	if err := l.write(ctx, next); err != nil {
		cancel(err)
	}
	// The reader ends when all that was sent is answered.
	l.allSent.Store(true)
	<-ctx.Done()
	if err := context.Cause(ctx); err != errLaneDone {
		return err
	}
	return nil
}

var errLaneDone = errors.New("lane done")

type lane struct {
	*run
	s       *session
	t       *tally
	sentAt  []int64 // when the request n was sent, at n modulo its length
	sent    atomic.Int64
	recv    atomic.Int64
	allSent atomic.Bool
	wake    chan struct{} // has room for one: replies came
}

var epoch = time.Now()

// clock counts ns from the start of the process: monotonic, and an integer.
func clock() int64 { return int64(time.Since(epoch)) }

func (l *lane) write(ctx context.Context, next maker) error {
	buf := make([]byte, 0, bufSize+maxFrameOf(l.Size))
	var sent int64
	counted := l.Count > 0
	for ctx.Err() == nil {
		if l.phase.Load() == over {
			return l.finish()
		}
		// A quarter of the window at a time: refilling it reply by reply would cost both sides a
		// system call for each request whenever the server answers one by one.
		free := int64(l.Outstanding) - (sent - l.recv.Load())
		if free < max(1, int64(l.Outstanding)/4) {
			select {
			case <-l.wake:
			case <-ctx.Done():
			}
			continue
		}
		if counted {
			left := l.budget.Add(-free)
			if left < 0 {
				free += max(left, -free)
			}
			if free == 0 {
				return l.finish()
			}
		}
		for free > 0 {
			buf = buf[:0]
			now := clock()
			n := int64(0)
			for ; n < free && len(buf) < bufSize; n++ {
				buf = next(buf, xidOf(sent+n))
				l.sentAt[(sent+n)%int64(len(l.sentAt))] = now
			}
			sent += n
			free -= n
			l.sent.Store(sent)
			if _, err := l.s.nc.Write(buf); err != nil {
				return err
			}
		}
	}
	return nil
}

// xidOf is the xid of the request n: they count from 1 and start again below 2^31.
func xidOf(n int64) int32 { return int32(n%(1<<30)) + 1 }

// finish wakes the reader by a ping, whose answer is the last it needs to see.
func (l *lane) finish() error {
	l.allSent.Store(true)
	_, err := l.s.nc.Write(ping)
	return err
}

var ping = frame(nil, func(b []byte) []byte {
	b = jute.AppendInt(b, proto.XidPing)
	return jute.AppendInt(b, int32(proto.OpPing))
})

func maxFrameOf(size int) int { return size + 512 }

func (l *lane) read() error {
	f := newFrameReader(l.s.nc)
	var recv int64
	for {
		b, err := f.next()
		if err != nil {
			return err
		}
		now := clock()
		counts := l.phase.Load() == measuring
		for {
			if len(b) < headerSize-4 {
				return fmt.Errorf("reply of %d bytes", len(b))
			}
			xid := int32(binary.BigEndian.Uint32(b))
			switch {
			case xid == proto.XidPing:
				if l.allSent.Load() && recv == l.sent.Load() {
					return errLaneDone
				}
			case xid < 0:
				return fmt.Errorf("unexpected xid %d", xid)
			default:
				if xid != xidOf(recv) {
					return fmt.Errorf("reply to xid %d, expected %d", xid, xidOf(recv))
				}
				if counts {
					l.t.ops++
					l.t.lat.record(now - l.sentAt[recv%int64(len(l.sentAt))])
				}
				if code := int32(binary.BigEndian.Uint32(b[12:])); code != 0 {
					l.t.fail(zkerr.Code(code))
				}
				recv++
			}
			if !f.buffered() {
				break
			}
			if b, err = f.next(); err != nil {
				return err
			}
		}
		l.recv.Store(recv)
		if l.sent.Load()-recv <= int64(l.Outstanding)*3/4 {
			select {
			case l.wake <- struct{}{}:
			default:
			}
		}
	}
}

// maker returns what makes the requests of the lane i. Those that create count into created.
func (r *run) maker(i int, created *int64) maker {
	value := makeValue(r.Size)
	// Each lane walks through the znodes by a stride that is prime to most counts, so that lanes
	// do not follow each other over the same ones.
	at := i * 7919 % r.Znodes
	path := make([]byte, 0, 64)
	znode := func() []byte {
		if at += 31; at >= r.Znodes {
			at %= r.Znodes
		}
		path = appendZnode(path[:0], at)
		return path
	}
	get := func(b []byte, xid int32) []byte { return appendRead(b, xid, proto.OpGetData, znode(), false) }
	set := func(b []byte, xid int32) []byte { return appendSet(b, xid, znode(), value) }
	switch r.Workload {
	case "get":
		return get
	case "set":
		return set
	case "exists":
		return func(b []byte, xid int32) []byte { return appendRead(b, xid, proto.OpExists, znode(), false) }
	case "mixed":
		// Spread evenly: of each 100 requests, ReadPercent are reads.
		acc := i * 13 % 100
		return func(b []byte, xid int32) []byte {
			if acc += r.ReadPercent; acc >= 100 {
				acc -= 100
				return get(b, xid)
			}
			return set(b, xid)
		}
	case "create":
		return func(b []byte, xid int32) []byte {
			path = r.appendCreated(path[:0], i, *created)
			*created++
			return appendCreate(b, xid, path, value)
		}
	}
	panic("no maker for " + r.Workload)
}

// appendZnode appends the path of the shared znode n.
func appendZnode(b []byte, n int) []byte {
	b = append(b, root+"/n"...)
	return appendPadded(b, int64(n))
}

// appendCreated appends the path of the znode n that lane i creates. Each lane has a parent of its own.
func (r *run) appendCreated(b []byte, i int, n int64) []byte {
	b = append(b, r.base...)
	b = append(b, "/c"...)
	b = strconv.AppendInt(b, int64(i), 10)
	b = append(b, "/n"...)
	return appendPadded(b, n)
}

func appendPadded(b []byte, n int64) []byte {
	var digits [20]byte
	d := strconv.AppendInt(digits[:0], n, 10)
	for range 9 - len(d) {
		b = append(b, '0')
	}
	return append(b, d...)
}

func makeValue(size int) []byte {
	v := make([]byte, size)
	for i := range v {
		v[i] = 'a' + byte(i%26)
	}
	return v
}

// The append functions below write out their frames in place: a closure for each request would
// cost the generator more than the request.

func begin(b []byte, xid int32, op proto.Op) ([]byte, int) {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = jute.AppendInt(b, xid)
	return jute.AppendInt(b, int32(op)), at
}

func end(b []byte, at int) []byte {
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

func appendRead(b []byte, xid int32, op proto.Op, path []byte, watch bool) []byte {
	b, at := begin(b, xid, op)
	b = jute.AppendBuffer(b, path)
	b = jute.AppendBool(b, watch)
	return end(b, at)
}

func appendSet(b []byte, xid int32, path, value []byte) []byte {
	b, at := begin(b, xid, proto.OpSetData)
	b = jute.AppendBuffer(b, path)
	b = jute.AppendBuffer(b, value)
	b = jute.AppendInt(b, -1)
	return end(b, at)
}

func appendCreate(b []byte, xid int32, path, value []byte) []byte {
	b, at := begin(b, xid, proto.OpCreate)
	b = jute.AppendBuffer(b, path)
	b = jute.AppendBuffer(b, value)
	b = jute.AppendACLs(b, jute.OpenACL())
	b = jute.AppendInt(b, int32(proto.FlagPersistent))
	return end(b, at)
}

func appendDelete(b []byte, xid int32, path []byte) []byte {
	b, at := begin(b, xid, proto.OpDelete)
	b = jute.AppendBuffer(b, path)
	b = jute.AppendInt(b, -1)
	return end(b, at)
}

// prepare makes the znodes that the workload needs, with values of the size asked for.
func (r *run) prepare(ctx context.Context) error {
	s, err := dial(r.Servers[0], r.SessionTimeout, 0, nil)
	if err != nil {
		return err
	}
	defer s.close()
	value := makeValue(r.Size)
	if err := s.ensure(root, nil); err != nil {
		return err
	}
	if r.Workload == "create" {
		if err := s.ensure(r.base, nil); err != nil {
			return err
		}
		for i := range r.Connections {
			if err := s.ensure(r.base+"/c"+strconv.Itoa(i), nil); err != nil {
				return err
			}
		}
		return nil
	}
	// Create them all, and set them all: of those that were there the size may differ.
	path := make([]byte, 0, 64)
	for _, mk := range []func(b []byte, xid int32, n int) []byte{
		func(b []byte, xid int32, n int) []byte {
			path = appendZnode(path[:0], n)
			return appendCreate(b, xid, path, value)
		},
		func(b []byte, xid int32, n int) []byte {
			path = appendZnode(path[:0], n)
			return appendSet(b, xid, path, value)
		},
	} {
		if err := s.batch(ctx, r.Znodes, r.Size, zkerr.NodeExists, mk); err != nil {
			return err
		}
	}
	return s.sync()
}

// ensure creates a znode unless it is there.
func (s *session) ensure(path string, value []byte) error {
	req := proto.CreateRequest{Path: path, Data: value, ACL: jute.OpenACL()}
	if _, err := s.call(proto.OpCreate, req.Append); err != nil && !errors.Is(err, zkerr.NodeExists) {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return nil
}

func (s *session) sync() error {
	req := proto.PathRequest{Path: root}
	_, err := s.call(proto.OpSync, req.Append)
	return err
}

// batch sends n requests, a few hundred at a time, and tolerates one error code in the replies.
func (s *session) batch(ctx context.Context, n, size int, tolerate zkerr.Code, mk func(b []byte, xid int32, n int) []byte) error {
	if n == 0 {
		return nil // a count of 0 would stand for no end
	}
	// Small enough that neither side's socket buffers fill while nobody reads.
	window := min(256, max(1, (128<<10)/maxFrameOf(size)))
	t := new(tally)
	i := 0
	l := load{Outstanding: window, Size: size, Count: int64(n)}
	r := &run{load: l}
	r.budget.Store(int64(n))
	err := r.lane(ctx, s, t, func(b []byte, xid int32) []byte {
		b = mk(b, xid, i)
		i++
		return b
	})
	if err != nil {
		return err
	}
	for code := range t.errors {
		if code != tolerate {
			return code
		}
	}
	return nil
}

// cleanUp deletes what the lanes of a create workload have made.
func (r *run) cleanUp(ctx context.Context, created []int64) error {
	if r.Workload != "create" {
		return nil
	}
	for i, n := range created {
		s, err := dial(r.Servers[i%len(r.Servers)], r.SessionTimeout, 0, nil)
		if err != nil {
			return err
		}
		path := make([]byte, 0, 64)
		err = s.batch(ctx, int(n), 0, zkerr.NoNode, func(b []byte, xid int32, n int) []byte {
			path = r.appendCreated(path[:0], i, int64(n))
			return appendDelete(b, xid, path)
		})
		if err == nil {
			err = s.batch(ctx, 1, 0, zkerr.NoNode, func(b []byte, xid int32, _ int) []byte {
				return appendDelete(b, xid, []byte(r.base+"/c"+strconv.Itoa(i)))
			})
		}
		s.close()
		if err != nil {
			return fmt.Errorf("delete what was created: %w", err)
		}
	}
	s, err := dial(r.Servers[0], r.SessionTimeout, 0, nil)
	if err != nil {
		return err
	}
	defer s.close()
	// Another server may not have heard of the last child's deletion yet, but the leader has.
	return s.batch(ctx, 1, 0, zkerr.NoNode, func(b []byte, xid int32, _ int) []byte {
		return appendDelete(b, xid, []byte(r.base))
	})
}
