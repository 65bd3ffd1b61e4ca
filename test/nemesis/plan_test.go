package nemesis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/failpoint"
	zk "github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// TestPlan: a seed is a plan, all kinds are drawn, and half of the faults are for the leader.
func TestPlan(t *testing.T) {
	seen := make(map[string]int)
	leader, steps, five, disks := 0, 0, 0, 0
	const seeds = 300
	for seed := range uint64(seeds) {
		p := NewPlan(seed, 25*time.Second)
		if !reflect.DeepEqual(p, NewPlan(seed, 25*time.Second)) {
			t.Fatalf("seed %d makes two plans", seed)
		}
		if p.Proxies != (seed%2 == 1) {
			t.Errorf("seed %d: proxies %v", seed, p.Proxies)
		}
		for _, s := range p.Steps {
			seen[s.Kind]++
			steps++
			if s.Leader {
				leader++
			}
			if s.At+s.For > 25*time.Second || s.For <= 0 || s.Server < 1 || s.Server > p.Servers {
				t.Errorf("seed %d: step %v", seed, s)
			}
		}
		if p.Servers == 5 {
			five++
		}
		if p.Disks {
			disks++
		}
	}
	for _, k := range kinds {
		if seen[k.name] < 10 {
			t.Errorf("%d seeds have %q %d times", seeds, k.name, seen[k.name])
		}
	}
	if leader < steps*4/10 || leader > steps*6/10 {
		t.Errorf("%d of %d steps are for the leader", leader, steps)
	}
	if five < seeds/4 || five > seeds*3/4 || disks < seeds/4 || disks > seeds*3/4 {
		t.Errorf("of %d seeds %d have five servers, %d disks of their own", seeds, five, disks)
	}
}

// TestShapes: partitions have the shape that their names say.
func TestShapes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, servers := range []int{3, 5} {
		for _, kind := range []string{"halves", "one node", "bridge", "one-way", "ring", "clients only", "swizzle"} {
			for range 50 {
				victim := 1 + rng.IntN(servers)
				cuts := shape(rng, kind, servers, victim)
				silent := make(map[cut]bool)
				between, withClients := 0, 0
				for _, c := range cuts {
					if silent[c] {
						t.Fatalf("%s: %v twice in %v", kind, c, cuts)
					}
					silent[c] = true
					if c.from > 0 && c.to > 0 {
						between++
					} else {
						withClients++
					}
				}
				hears := func(from, to int) bool { return !silent[cut{from, to}] }
				bad := ""
				switch kind {
				case "halves":
					if between != 2*(servers/2)*(servers-servers/2) {
						bad = "sizes"
					}
				case "one node":
					for i := 1; i <= servers; i++ {
						if i != victim && (hears(i, victim) || hears(victim, i)) {
							bad = "it is not alone"
						}
					}
					if between != 2*(servers-1) {
						bad = "others are cut off"
					}
				case "bridge":
					for i := 1; i <= servers; i++ {
						if i != victim && !(hears(i, victim) && hears(victim, i)) {
							bad = "the bridge is cut off"
						}
					}
					if between == 0 {
						bad = "nothing is cut"
					}
				case "one-way":
					for c := range silent {
						if !hears(c.to, c.from) {
							bad = "both ways"
						}
					}
				case "ring":
					for i := 1; i <= servers; i++ {
						next := i%servers + 1
						if !hears(i, next) || servers > 3 && !hears(next, i) {
							bad = "neighbours are cut off"
						}
						n := 0
						for j := 1; j <= servers; j++ {
							if i != j && hears(i, j) {
								n++
							}
						}
						if want := map[int]int{3: 1, 5: 2}[servers]; n != want {
							bad = fmt.Sprintf("%d is heard by %d", i, n)
						}
					}
				case "clients only":
					if between > 0 || withClients == 0 {
						bad = "not clients only"
					}
				case "swizzle":
					if between < 2*(servers-1) {
						bad = "too few links"
					}
				}
				if bad != "" {
					t.Fatalf("%s of %d servers around %d: %s: %v", kind, servers, victim, bad, cuts)
				}
			}
		}
	}
}

// TestFailpoints: the servers here end where they are told, wait where they are told, and fail as
// their disk does.
func TestFailpoints(t *testing.T) {
	sockets, err := os.MkdirTemp("", "zkcore-failpoints-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	e := harness.New(t, harness.Options{Binary: os.Getenv(binaryVar)})
	s := e.Servers[0]
	socket := filepath.Join(sockets, "s")
	s.Env = []string{failpoint.Env + "=" + socket}
	tell := func(format string, args ...any) {
		t.Helper()
		if err := command(socket, fmt.Sprintf(format, args...)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.Patience)
	defer cancel()
	dial := func() *zk.Client {
		t.Helper()
		s.Start()
		s.Await()
		c, err := zk.Dial(ctx, []string{s.Addr()}, 10*time.Second, zk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Abandon)
		return c
	}
	set := zk.SetOp{Path: "/", Data: []byte("x"), Version: -1}
	for _, point := range []string{"write.log.before", "sync.log.after", string(failpoint.BeforeApply), string(failpoint.BeforeReply)} {
		c := dial()
		tell("kill %s 1", point)
		call := c.Start(set)
		if code := s.Wait(); code != -1 {
			t.Errorf("%s: exit code %d, want none", point, code)
		}
		if _, err := call.Wait(ctx); err == nil {
			t.Errorf("%s: the write is answered", point)
		}
		c.Abandon()
	}
	c := dial()
	const wait = 300
	tell("sleep sync.log.* %d", wait)
	begun := time.Now()
	if _, err := c.Start(set).Wait(ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took < wait*time.Millisecond {
		t.Errorf("with a disk that takes %d ms to sync a write was answered in %v", wait, took)
	}
	tell("off")
	if _, err := c.Start(set).Wait(ctx); err != nil {
		t.Error(err)
	}
	tell("fail sync.log.before 1")
	call := c.Start(set)
	if code := s.Wait(); code == 0 || code == -1 {
		t.Errorf("a server whose disk refuses to sync ends with exit code %d", code)
	}
	if _, err := call.Wait(ctx); err == nil {
		t.Error("a write is answered that was not synced")
	}
	c.Abandon()
	// And at the start.
	s.Env = append(s.Env, failpoint.EnvAtStart+"=kill create.snapshot.before 1")
	if err := os.RemoveAll(filepath.Join(s.DataDir, "version-2")); err != nil {
		t.Fatal(err)
	}
	s.Start()
	if code := s.Wait(); code != -1 {
		t.Errorf("exit code %d of a start that was to be killed", code)
	}
}
