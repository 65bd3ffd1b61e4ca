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

// watches measures how fast changes reach those who watch. Each connection watches the same few
// znodes, as many as Outstanding says; one more connection sets each znode as soon as all of them
// watch it again. An operation is an event that has arrived, and its latency counts from when its
// set was sent.
func (r *run) watches(ctx context.Context, m *measurement) error {
	w := &watchRun{
		run:   r,
		armed: make([]atomic.Int64, r.Outstanding),
		setAt: make([]atomic.Int64, r.Outstanding),
		ready: make(chan int, r.Outstanding),
	}
	sessions, err := r.dialAll(r.Connections + 1)
	if err != nil {
		return err
	}
	defer closeAll(sessions)
	setter := sessions[0]
	if err := setter.ensure(root, nil); err != nil {
		return err
	}
	if err := setter.ensure(r.base, makeValue(r.Size)); err != nil {
		return err
	}
	for i := range r.Outstanding {
		if err := setter.ensure(string(w.appendPath(nil, i)), makeValue(r.Size)); err != nil {
			return err
		}
	}
	for _, s := range sessions[1:] {
		if err := s.sync(); err != nil {
			return err
		}
	}

	// When it is over nobody sets any more, and those who wait for events would wait for ever.
	ended := make(chan struct{})
	var waker sync.WaitGroup
	waker.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for r.phase.Load() != over && ctx.Err() == nil {
			select {
			case <-tick.C:
			case <-ended:
				return
			}
		}
		for _, s := range sessions {
			s.nc.SetReadDeadline(time.Unix(1, 0))
		}
	})
	lanes := []func(context.Context, *tally) error{
		func(ctx context.Context, t *tally) error { return w.set(ctx, setter) },
		func(ctx context.Context, t *tally) error { return w.setReplies(setter, t) },
	}
	for _, s := range sessions[1:] {
		lanes = append(lanes, func(_ context.Context, t *tally) error { return w.watch(s, t) })
	}
	err = m.measure(ctx, lanes)
	close(ended)
	waker.Wait()
	for _, s := range sessions {
		s.nc.SetDeadline(time.Time{})
	}
	if err != nil || r.Keep {
		return err
	}
	s, err := dial(r.Servers[0], r.SessionTimeout, 0, nil)
	if err != nil {
		return err
	}
	defer s.close()
	return s.batch(ctx, r.Outstanding+1, 0, zkerr.NoNode, func(b []byte, xid int32, n int) []byte {
		if n == r.Outstanding {
			return appendDelete(b, xid, []byte(r.base))
		}
		return appendDelete(b, xid, w.appendPath(nil, n))
	})
}

type watchRun struct {
	*run
	armed  []atomic.Int64 // of each znode: how many connections watch it
	setAt  []atomic.Int64 // of each znode: when its set was sent
	ready  chan int       // znodes that all of them watch
	events atomic.Int64
}

func (w *watchRun) appendPath(b []byte, i int) []byte {
	b = append(b, w.base...)
	return strconv.AppendInt(append(b, '/'), int64(i), 10)
}

// timedOut says whether err is what ends a connection's goroutine when the run is over.
func (w *watchRun) timedOut(err error) bool {
	return w.phase.Load() == over && errors.Is(err, os.ErrDeadlineExceeded)
}

func (w *watchRun) set(ctx context.Context, s *session) error {
	value := makeValue(w.Size)
	var buf, path []byte
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for w.phase.Load() != over {
		var i int
		select {
		case i = <-w.ready:
		case <-tick.C:
			continue
		case <-ctx.Done():
			return nil
		}
		buf = buf[:0]
		for more := true; more; {
			w.armed[i].Store(0)
			path = w.appendPath(path[:0], i)
			buf = appendSet(buf, 1, path, value)
			w.setAt[i].Store(clock())
			if len(buf) > bufSize {
				break
			}
			select {
			case i = <-w.ready:
			default:
				more = false
			}
		}
		if _, err := s.nc.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

func (w *watchRun) setReplies(s *session, t *tally) error {
	f := newFrameReader(s.nc)
	for {
		b, err := f.next()
		switch {
		case err != nil && w.timedOut(err):
			return nil
		case err != nil:
			return err
		case len(b) < headerSize-4:
			return fmt.Errorf("reply of %d bytes", len(b))
		}
		if code := int32(binary.BigEndian.Uint32(b[12:])); code != 0 {
			t.fail(zkerr.Code(code))
		}
	}
}

// watch keeps the znodes watched on one connection. A request's xid says which znode it is about.
func (w *watchRun) watch(s *session, t *tally) error {
	f := newFrameReader(s.nc)
	var buf, path []byte
	arm := func(i int) {
		path = w.appendPath(path[:0], i)
		buf = appendRead(buf, int32(i)+1, proto.OpGetData, path, true)
	}
	for i := range w.Outstanding {
		arm(i)
	}
	prefix := w.base + "/"
	for w.phase.Load() != over {
		if len(buf) > 0 {
			if _, err := s.nc.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
		for {
			b, err := f.next()
			switch {
			case err != nil && w.timedOut(err):
				return nil
			case err != nil:
				return err
			}
			d := jute.NewDecoder(b)
			xid, _, code := d.Int(), d.Long(), zkerr.Code(d.Int())
			if xid == proto.XidNotification {
				d.Int() // type
				d.Int() // state
				p := d.Buffer()
				if d.Err() != nil || len(p) <= len(prefix) {
					return fmt.Errorf("event %x", b)
				}
				i, err := strconv.Atoi(string(p[len(prefix):]))
				if err != nil || i >= w.Outstanding {
					return fmt.Errorf("event for %q", p)
				}
				if w.phase.Load() == measuring {
					t.ops++
					t.lat.record(clock() - w.setAt[i].Load())
				}
				if n := w.events.Add(1); w.Count > 0 && n >= w.Count {
					w.phase.Store(over)
				}
				arm(i)
			} else {
				if d.Err() != nil || xid < 1 || int(xid) > w.Outstanding {
					return fmt.Errorf("reply %x", b)
				}
				if code != zkerr.OK {
					return fmt.Errorf("watch: %w", code)
				}
				if w.armed[xid-1].Add(1) == int64(w.Connections) {
					w.ready <- int(xid - 1)
				}
			}
			if !f.buffered() {
				break
			}
		}
	}
	return nil
}

// sessions measures opening and closing: each lane opens a connection and a session, closes both
// and starts again. An operation is a session, its latency that until it stood.
func (r *run) sessions(ctx context.Context, m *measurement) error {
	lanes := make([]func(context.Context, *tally) error, r.Connections)
	for i := range lanes {
		addr := r.Servers[i%len(r.Servers)]
		lanes[i] = func(ctx context.Context, t *tally) error {
			for r.phase.Load() != over && ctx.Err() == nil {
				if r.Count > 0 && r.budget.Add(-1) < 0 {
					return nil
				}
				begin := clock()
				s, err := dial(addr, r.SessionTimeout, 0, nil)
				if err != nil {
					return err
				}
				took := clock() - begin
				if tcp, ok := s.nc.(interface{ SetLinger(int) error }); ok {
					tcp.SetLinger(0) // or the ports in TIME_WAIT run out
				}
				if err := s.close(); err != nil {
					return err
				}
				if r.phase.Load() == measuring {
					t.ops++
					t.lat.record(took)
				}
			}
			return nil
		}
	}
	return m.measure(ctx, lanes)
}
