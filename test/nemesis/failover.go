package nemesis

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	zk "github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// The harms that TestFailover measures.
var failovers = []struct {
	name string
	do   func(e *harness.Ensemble)
}{
	{"leader killed", func(e *harness.Ensemble) { e.Leader().Kill9() }},
	{"leader ends", func(e *harness.Ensemble) { e.Leader().Stop() }}, // as in a rolling restart
	{"leader stopped", func(e *harness.Ensemble) { e.Leader().Signal(syscall.SIGSTOP) }},
	{"all power-cut", func(e *harness.Ensemble) {
		for _, s := range e.Servers {
			s.Kill9()
		}
		for _, s := range e.Servers {
			s.Start()
		}
	}},
}

// failover measures the longest time without an answered write, over all clients together, around
// each of the harms. Ensembles are as in a usual configuration: tickTime 2000, syncLimit 5. It
// asserts nothing about the times: a machine may be busy.
func failover(t *testing.T, times int, consensus string) {
	args := []string{"--consensus=" + cmp.Or(consensus, "zab")}
	var table strings.Builder
	fmt.Fprintf(&table, "%-16s %8s %8s %8s   of %d\n", "", "median", "worst", "best", times)
	for _, f := range failovers {
		var gaps []time.Duration
		for range times {
			e := harness.Start(t, harness.Options{Servers: 3, TickTimeMS: 2000, InitLimit: 10, SyncLimit: 5, Args: args})
			gaps = append(gaps, longestGap(t, e, f.do))
			for _, s := range e.Servers {
				if s.Running() {
					s.Signal(syscall.SIGCONT)
					s.Kill9()
				}
			}
		}
		slices.Sort(gaps)
		ms := func(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
		fmt.Fprintf(&table, "%-16s %8s %8s %8s\n", f.name, ms(gaps[len(gaps)/2]), ms(gaps[len(gaps)-1]), ms(gaps[0]))
	}
	fmt.Fprintf(os.Stdout, "longest time without an answered write (3 servers, tickTime 2000, syncLimit 5, a writer for each server):\n%s", table.String())
}

// longestGap lets a client for each server write all the time, does the harm, and goes on until all
// have written again.
func longestGap(t *testing.T, e *harness.Ensemble, harm func(*harness.Ensemble)) time.Duration {
	ctx, cancel := context.WithTimeout(context.Background(), 2*harness.Patience)
	defer cancel()
	var (
		mu      sync.Mutex
		last    = time.Now()
		longest time.Duration
		stop    atomic.Bool
		wg      sync.WaitGroup
		rounds  [3]atomic.Int64
	)
	addrs := e.Addrs()
	for i := range rounds {
		servers := append(slices.Clone(addrs[i:]), addrs[:i]...)
		c, err := zk.Dial(ctx, servers, 30*time.Second, zk.Options{InOrder: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Abandon()
		path := fmt.Sprintf("/w%d", i)
		if _, err := c.Create(ctx, path, nil, zk.Persistent); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for !stop.Load() && ctx.Err() == nil {
				if _, err := c.Set(ctx, path, []byte("x"), -1); err != nil {
					continue
				}
				mu.Lock()
				now := time.Now()
				longest, last = max(longest, now.Sub(last)), now
				mu.Unlock()
				rounds[i].Add(1)
			}
		})
	}
	// Behind the beginning, with all of them at work.
	awaitRounds(t, ctx, &rounds, 50)
	mu.Lock()
	longest, last = 0, time.Now()
	mu.Unlock()
	harm(e)
	// One that waits on a stopped server finds out by its own heartbeats: the others show the gap.
	awaitAny(t, ctx, &rounds, 200)
	stop.Store(true)
	cancel()
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	return longest
}

func awaitRounds(t *testing.T, ctx context.Context, rounds *[3]atomic.Int64, more int64) {
	t.Helper()
	for i := range rounds {
		for end := rounds[i].Load() + more; rounds[i].Load() < end; time.Sleep(time.Millisecond) {
			if ctx.Err() != nil {
				t.Fatal("no write is answered")
			}
		}
	}
}

// awaitAny waits until two of the clients have made so many more writes.
func awaitAny(t *testing.T, ctx context.Context, rounds *[3]atomic.Int64, more int64) {
	t.Helper()
	var begin [3]int64
	for i := range rounds {
		begin[i] = rounds[i].Load()
	}
	for n := 0; n < 2; time.Sleep(time.Millisecond) {
		n = 0
		for i := range rounds {
			if rounds[i].Load() >= begin[i]+more {
				n++
			}
		}
		if ctx.Err() != nil {
			t.Fatal("no write is answered")
		}
	}
}
