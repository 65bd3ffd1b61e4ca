package node

import (
	"math/rand/v2"
	"sync"
	"time"
)

// A World is what a node has of time, chance and goroutines. The real one is the default;
// in the simulator's all is one thread, on virtual time, from a seed.
type World interface {
	// Clock is monotonic time in ns; by it everything is decided that depends on time.
	Clock() int64
	// WallMS is the wall clock in ms: data, by which nothing is decided.
	WallMS() int64
	// IntN draws a number in [0, n).
	IntN(n int64) int64

	// Go runs fn beside its caller.
	Go(fn func())
	// Every calls fn each d, one call after the other, until it returns false.
	Every(d time.Duration, fn func() bool)
	// Trigger returns a function that makes fn run once more. Of calls that come before
	// fn has begun one counts.
	Trigger(fn func()) (fire func())

	// Stop ends Every and Trigger. Wait returns when nothing runs any more of what Go,
	// Every and Trigger have begun.
	Stop()
	Wait()
}

// A realWorld runs on the machine's clock and on goroutines.
type realWorld struct {
	start   time.Time
	closing chan struct{}
	wg      sync.WaitGroup
}

func newWorld() *realWorld { return &realWorld{start: time.Now(), closing: make(chan struct{})} }

func (w *realWorld) Clock() int64       { return int64(time.Since(w.start)) }
func (w *realWorld) WallMS() int64      { return time.Now().UnixMilli() }
func (w *realWorld) IntN(n int64) int64 { return rand.Int64N(n) }

func (w *realWorld) Go(fn func()) {
	w.wg.Add(1)
	go func() {
		defer w.wg.Done()
		fn()
	}()
}

func (w *realWorld) Every(d time.Duration, fn func() bool) {
	w.Go(func() {
		t := time.NewTicker(d)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				if !fn() {
					return
				}
			case <-w.closing:
				return
			}
		}
	})
}

func (w *realWorld) Trigger(fn func()) func() {
	wake := make(chan struct{}, 1)
	w.Go(func() {
		for {
			select {
			case <-wake:
				fn()
			case <-w.closing:
				return
			}
		}
	})
	return func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

func (w *realWorld) Stop() { close(w.closing) }
func (w *realWorld) Wait() { w.wg.Wait() }
