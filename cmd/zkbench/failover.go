package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// An ensemble is what a failover run needs to do to servers.
type ensemble interface {
	addrs() []string
	kill(i int) error    // with -9
	restart(i int) error // after a kill
}

// A failover is one death of a leader, in milliseconds.
type failover struct {
	// Gap is the longest time without an acknowledged write, of all clients together.
	Gap float64 `json:"gap_ms"`
	// Worst is the same for the client that had to wait longest.
	Worst float64 `json:"worst_client_gap_ms"`
	// Reconnects counts the connections that were lost. One of them is the dead leader's own.
	Reconnects int `json:"reconnects"`
}

// A failoverResult is what several of them have given.
type failoverResult struct {
	Gap        spread     `json:"gap_ms"`
	Worst      spread     `json:"worst_client_gap_ms"`
	Reconnects spread     `json:"reconnects"`
	Runs       []failover `json:"runs"`
}

const (
	failoverSteady   = time.Second      // of writes before the kill
	failoverAfter    = 2 * time.Second  // of writes that still count after the kill
	failoverPatience = 60 * time.Second // until writes are acknowledged again, and all servers serve
)

// measureFailovers kills the leader n times and brings it back each time.
func measureFailovers(ctx context.Context, e ensemble, n int, report func(failover)) (failoverResult, error) {
	var res failoverResult
	var gaps, worst, reconnects []float64
	for range n {
		f, err := failOver(ctx, e)
		if err != nil {
			return res, err
		}
		report(f)
		res.Runs = append(res.Runs, f)
		gaps = append(gaps, f.Gap)
		worst = append(worst, f.Worst)
		reconnects = append(reconnects, float64(f.Reconnects))
	}
	res.Gap, res.Worst, res.Reconnects = spreadOf(gaps), spreadOf(worst), spreadOf(reconnects)
	return res, nil
}

func failOver(ctx context.Context, e ensemble) (failover, error) {
	leader, err := awaitLeader(ctx, e.addrs())
	if err != nil {
		return failover{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	// One client for each server, that starts there.
	writers := make([]*writer, len(e.addrs()))
	for i := range writers {
		w := &writer{addrs: e.addrs(), at: i, path: fmt.Sprintf("%s/f%d", root, i)}
		if err := w.connect(ctx); err != nil {
			cancel(nil)
			return failover{}, err
		}
		if err := errors.Join(w.s.ensure(root, nil), w.s.ensure(w.path, nil)); err != nil {
			cancel(nil)
			return failover{}, err
		}
		writers[i] = w
		wg.Go(func() {
			if err := w.run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	sleep(ctx, failoverSteady)
	killed := clock()
	if err := e.kill(leader); err != nil {
		cancel(nil)
		return failover{}, err
	}
	// Until every client is served again, and at least so long that a second pause would show.
	deadline := time.Now().Add(failoverPatience)
	for served := false; !served && ctx.Err() == nil; {
		if time.Now().After(deadline) {
			cancel(fmt.Errorf("no writes for %v after the leader's death", failoverPatience))
		}
		sleep(ctx, 20*time.Millisecond)
		served = clock()-killed > int64(failoverAfter)
		for _, w := range writers {
			served = served && w.lastAck() > killed
		}
	}
	cause := context.Cause(ctx)
	cancel(nil)
	wg.Wait()
	if cause != nil {
		return failover{}, cause
	}
	f := analyse(writers, killed)
	if err := e.restart(leader); err != nil {
		return failover{}, err
	}
	return f, awaitAll(context.WithoutCancel(ctx), e.addrs())
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// analyse finds the longest times between acknowledged writes, from the last one before the kill.
func analyse(writers []*writer, killed int64) failover {
	var f failover
	var all []int64
	for _, w := range writers {
		f.Reconnects += w.reconnects
		f.Worst = max(f.Worst, longestGap(w.acks, killed))
		all = append(all, w.acks...)
	}
	f.Gap = longestGap(all, killed)
	return f
}

func awaitLeader(ctx context.Context, addrs []string) (int, error) {
	if err := awaitAll(ctx, addrs); err != nil {
		return 0, err
	}
	for i, addr := range addrs {
		if mode(addr) == "leader" {
			return i, nil
		}
	}
	return 0, errors.New("no server says that it leads")
}

// awaitAll waits until all servers serve, one of them as the leader.
func awaitAll(ctx context.Context, addrs []string) error {
	ctx, cancel := context.WithTimeout(ctx, failoverPatience)
	defer cancel()
	for {
		leaders, serving := 0, 0
		for _, addr := range addrs {
			switch mode(addr) {
			case "leader":
				leaders++
				serving++
			case "follower", "observer":
				serving++
			}
		}
		if leaders == 1 && serving == len(addrs) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%d of %d servers serve, %d lead: %w", serving, len(addrs), leaders, err)
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

// A writer writes without a pause, one request at a time. When its connection breaks it takes its
// session to the next server at once.
type writer struct {
	addrs      []string
	at         int
	path       string
	s          *session
	reconnects int

	mu   sync.Mutex
	acks []int64 // when each write was acknowledged
}

const failoverTimeout = 10 * time.Second

func (w *writer) lastAck() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.acks) == 0 {
		return -1
	}
	return w.acks[len(w.acks)-1]
}

func (w *writer) connect(ctx context.Context) error {
	deadline := time.Now().Add(failoverPatience)
	var id int64
	var passwd []byte
	if w.s != nil {
		id, passwd = w.s.id, w.s.passwd
	}
	for {
		s, err := dial(w.addrs[w.at], failoverTimeout, id, passwd)
		switch {
		case err == nil:
			w.s = s
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(deadline):
			return err
		case errors.Is(err, errRefused):
			id, passwd = 0, nil
		}
		w.at = (w.at + 1) % len(w.addrs)
		sleep(ctx, 5*time.Millisecond)
	}
}

func (w *writer) run(ctx context.Context) error {
	defer func() { w.s.nc.Close() }()
	for n := 0; ctx.Err() == nil; n++ {
		req := proto.SetDataRequest{Path: w.path, Data: fmt.Appendf(nil, "%d", n), Version: -1}
		stop := context.AfterFunc(ctx, func() { w.s.nc.Close() })
		w.s.nc.SetDeadline(time.Now().Add(failoverTimeout))
		_, err := w.s.call(proto.OpSetData, req.Append)
		stop()
		var code zkerr.Code
		switch {
		case err == nil:
			now := clock()
			w.mu.Lock()
			w.acks = append(w.acks, now)
			w.mu.Unlock()
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &code):
			return fmt.Errorf("set: %w", err)
		case lost(err):
			w.s.nc.Close()
			w.reconnects++
			w.at = (w.at + 1) % len(w.addrs)
			if err := w.connect(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		default:
			return err
		}
	}
	return nil
}

// lost says whether an error means that the connection is gone.
func lost(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &op)
}
