// Package fuzztest holds what the fuzz targets of all modules assert in common: that
// a decoder ends, and that it takes no more memory than its input is worth.
//
// What comes out of a decoder is each target's own business. Panics need no help.
package fuzztest

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"
	"time"
)

// A Limit is how much may be allocated for an input.
type Limit struct {
	// Factor is how many bytes each byte of input may cost.
	Factor int
	// Constant is what an empty input may cost.
	Constant int64
}

// Rule is the limit that every decoder keeps unless its target says why it can't.
var Rule = Limit{Factor: 4, Constant: 64 << 10}

// An input that has used so much of the processor hangs: what is measured in practice is
// some milliseconds. Time on a clock says less on a busy machine, so there is more of it:
// it finds who waits for something.
const (
	maxCPU  = 3 * time.Second
	maxWait = 2 * time.Minute
)

// Check runs fn, which decodes an input of that many bytes, within Rule.
func Check(t testing.TB, input int, fn func()) {
	t.Helper()
	Rule.Check(t, input, fn)
}

// Check runs fn, which decodes an input of that many bytes. The test fails if fn
// allocates more than the limit allows, garbage included. fn may be called several
// times and must do the same each time.
//
// An input on which fn hangs ends the process with the stacks of all goroutines: the
// fuzzer then keeps that input, as it does for a panic.
func (l Limit) Check(t testing.TB, input int, fn func()) {
	t.Helper()
	defer watch(t.Name(), input)()
	limit := slack*int64(l.Factor)*int64(input) + l.Constant
	// The quick count lags behind by what the runtime has not added up yet, and counts
	// what other goroutines allocate. So it only says where to look again.
	before := quick()
	fn()
	if quick()-before <= limit {
		return
	}
	least := exact(fn)
	for range 4 {
		if least <= limit {
			return
		}
		least = min(least, exact(fn))
	}
	if least > limit {
		t.Errorf("%d bytes were allocated for an input of %d: more than %d times that and %d", least, input, l.Factor, l.Constant)
	}
}

// watch ends the process if the function that it returns is not called in time.
func watch(name string, input int) (done func()) {
	start, cpu := time.Now(), cpuTime()
	var mu sync.Mutex
	ended := false
	var timer *time.Timer
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(time.Second, func() {
		mu.Lock()
		defer mu.Unlock()
		if ended {
			return
		}
		if used, waited := cpuTime()-cpu, time.Since(start); used > maxCPU || waited > maxWait {
			panic(fmt.Sprintf("fuzztest: %s hangs on an input of %d bytes: %v of the processor, %v in all",
				name, input, used.Round(time.Millisecond), waited.Round(time.Millisecond)))
		}
		timer.Reset(time.Second)
	})
	return func() {
		mu.Lock()
		ended = true
		mu.Unlock()
		timer.Stop()
	}
}

// quick is how much the process has allocated so far, more or less.
func quick() int64 {
	sample := [1]metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample[:])
	return int64(sample[0].Value.Uint64())
}

// exact is how much fn allocates. It stops the world twice.
func exact(fn func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}
