package nemesis

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/failpoint"
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/test/harness"
	"github.com/zkcore/zkcore/test/history"
	"github.com/zkcore/zkcore/test/nemesis/netns"
)

// binaryVar names the server with failpoints, for the process that netns.Enter makes of this one.
const binaryVar = "ZKCORE_TEST_NEMESIS_BINARY"

// What a run must reach to count.
const (
	minRate    = 100 // answers in a second before the first fault
	minStrikes = 3
)

// A world is an ensemble, its network and its clients, for one run.
type world struct {
	t    *testing.T
	plan *Plan
	last time.Duration // for how long there are faults
	dir  string
	net  network
	e    *harness.Ensemble
	log  *history.Log

	ctx      context.Context // ends when all clients must be gone
	cancel   context.CancelFunc
	stopped  atomic.Bool // no more load
	answers  atomic.Int64
	written  atomic.Int64
	workers  sync.WaitGroup
	storms   int
	ownDisks bool
	mounted  []string
	archive  *archive
	damaged  map[int]bool // servers whose files were spoiled
}

func (w *world) acked(write bool) {
	w.answers.Add(1)
	if write {
		w.written.Add(1)
	}
}

// socket is where a server's failpoints listen.
func (w *world) socket(s *harness.Server) string {
	return filepath.Join(w.dir, fmt.Sprintf("failpoints%d", s.ID))
}

// run makes one run of a plan. faults is for how long there is harm.
func run(t *testing.T, plan *Plan, faults time.Duration) {
	dir, err := os.MkdirTemp("", fmt.Sprintf("zkcore-nemesis-%d-", plan.Seed))
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	w := &world{t: t, plan: plan, last: faults, dir: dir, damaged: make(map[int]bool), log: history.NewLog(func() int64 { return int64(time.Since(begun)) })}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	defer w.cancel()
	t.Logf("%v", plan)
	t.Cleanup(w.tidy) // runs after the servers have been killed
	w.build()
	w.archive = newArchive(w.e)
	for _, s := range w.e.Servers {
		s.Start()
	}
	w.e.Await()
	before := w.descriptors()
	if err := w.layOut(); err != nil {
		t.Fatal(err)
	}
	w.load()
	n := newNemesis(w)
	rate := w.warmUp()
	n.run(faults)
	healed := time.Now()
	n.allServe(harness.Patience) // one that had to die may still do so
	w.e.Await()
	w.lastWrite()
	recovered := time.Since(healed)
	w.stopped.Store(true)
	w.waitFor("the clients to end", &w.workers)
	w.cancel()
	if t.Failed() {
		return
	}
	w.settle()
	w.leaks(before)
	for _, s := range w.e.Servers {
		s.Signal(syscall.SIGTERM)
		if code := s.Wait(); code != 0 {
			t.Errorf("server %d was asked to stop and ended with exit code %d", s.ID, code)
		}
	}
	w.sameLogs()
	txns, trees := w.txns(), w.trees()
	w.complaints()
	strikes := 0
	for _, k := range n.struck {
		strikes += k
	}
	t.Logf("%d answers, %d writes, %.0f/s before the first fault; %d faults struck %v, %d passed; all served and wrote %v after the last of them",
		w.answers.Load(), w.written.Load(), rate, strikes, n.struck, n.passed, recovered.Round(time.Millisecond))
	if strikes < min(minStrikes, len(plan.Steps)) {
		t.Errorf("only %d faults struck: the run does not count", strikes)
	}
	w.judge(&history.Run{
		About:   history.About{Name: fmt.Sprintf("nemesis seed %d", plan.Seed), ConfigText: w.configText()},
		Records: w.log.Records(), Txns: txns, Trees: trees,
	})
}

// build makes the network and the servers' folders.
func (w *world) build() {
	t := w.t
	if w.plan.Proxies {
		w.net = new(proxies)
	} else {
		n, err := newSpaces(w.plan.Servers)
		if err != nil {
			t.Fatal(err)
		}
		w.net = n
	}
	opt := harness.Options{Servers: w.plan.Servers, TickTimeMS: 300, InitLimit: 20, SyncLimit: 6, Extra: w.plan.Config,
		Dir: w.dir, Binary: os.Getenv(binaryVar)}
	if w.plan.Consensus != "" {
		opt.Args = append(opt.Args, "--consensus="+w.plan.Consensus)
	}
	w.net.options(&opt)
	w.e = harness.New(t, opt)
	for _, s := range w.e.Servers {
		s.Env = []string{failpoint.Env + "=" + w.socket(s)}
		if w.plan.Disks {
			w.mount(s)
		}
	}
	if err := w.net.wire(w.e); err != nil {
		t.Fatal(err)
	}
	t.Logf("setting: %s; disks: %s", w.net.name(), w.disks())
}

func (w *world) disks() string {
	switch {
	case w.ownDisks:
		return "one of its own for each server, which can be full"
	case w.plan.Disks:
		return "shared: mounts are not possible here, so no disk is ever full"
	}
	return "shared, as drawn"
}

// diskMB is the size of a server's own disk. It holds what a run writes, and more than what a
// server keeps in reserve.
const diskMB = 256

// mount gives a server a disk of its own: ext4 in a file, or memory where that can't be had.
func (w *world) mount(s *harness.Server) {
	how, ok := netns.Inside()
	if !ok {
		return // its mounts would be everybody's
	}
	var tries [][]string
	if mkfs, err := exec.LookPath("mkfs.ext4"); err == nil && how != "user" {
		image := filepath.Join(w.dir, fmt.Sprintf("disk%d.img", s.ID))
		tries = append(tries, []string{"sh", "-c", fmt.Sprintf("truncate -s %dM %s && %s -q -m 0 -F %s && mount -o loop %s %s", diskMB, image, mkfs, image, image, s.DataDir)})
	}
	tries = append(tries, []string{"mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", diskMB), "none", s.DataDir})
	for _, args := range tries {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err == nil {
			w.mounted = append(w.mounted, s.DataDir)
			w.ownDisks = true
			w.e.WriteConfig(s) // myid was below the mount
			return
		}
		w.t.Logf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// load starts the clients.
func (w *world) load() {
	for i := 1; i <= w.plan.Workers; i++ {
		a := newWorker(w, i)
		w.workers.Go(a.run)
	}
	for i := w.plan.Workers + 1; i <= w.plan.Workers+w.plan.Lockers; i++ {
		a := newWorker(w, i)
		a.ask, a.auth = 6000, nil
		w.workers.Go(a.lockRun)
	}
}

// warmUp waits until the load is as strong as it must be, and returns what it was then.
func (w *world) warmUp() float64 {
	for end := time.Now().Add(harness.Patience); ; {
		from, at := w.answers.Load(), time.Now()
		time.Sleep(settle)
		if rate := float64(w.answers.Load()-from) / time.Since(at).Seconds(); rate >= minRate {
			return rate
		} else if time.Now().After(end) {
			w.t.Fatalf("%.0f answers in a second, less than %d, before anything was done: the run does not count", rate, minRate)
		}
	}
}

// storm lets many clients come at once, each with a little to do.
func (w *world) storm(many int, rng *rand.Rand) {
	for i := range many {
		no := stormClients + w.storms*stormClients + i
		group, closes := rng.IntN(groups), rng.IntN(3) > 0
		w.workers.Go(func() {
			c := newClient(w, no, group, 2*time.Second)
			for tries := 0; tries < 5 && !w.stopped.Load(); tries++ {
				cn, err := c.tryConnect()
				if err != nil {
					continue
				}
				cn.send(proto.OpGetChildren, &proto.ReadRequest{Path: "/e", Watch: true})
				k := cn.send(proto.OpCreate, &proto.CreateRequest{Path: "/e/s-", ACL: jute.OpenACL(), Flags: proto.FlagEphemeralSequential})
				if k.wait() {
					break
				}
			}
			c.end(closes)
		})
	}
	w.storms++
}

// lastWrite writes once more, after all harm: the service is back.
func (w *world) lastWrite() {
	c := newClient(w, lastClient, 0, 10*time.Second)
	defer c.end(true)
	for end := time.Now().Add(harness.Patience); ; {
		cn := c.live()
		if cn != nil {
			k := cn.send(proto.OpSetData, &proto.SetDataRequest{Path: "/k/0", Data: []byte("the last"), Version: -1})
			if k.wait() && k.err == zkerr.OK {
				return
			}
		}
		if time.Now().After(end) {
			w.t.Errorf("all is healed and serves, and for %v no write was answered: the run does not count", harness.Patience)
			return
		}
	}
}

// waitFor waits for what must come to an end.
func (w *world) waitFor(what string, wg *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(harness.Patience):
		w.t.Errorf("after %v still waiting for %s", harness.Patience, what)
		w.cancel()
	}
}

// tidy unmounts, and keeps what a failed run leaves.
func (w *world) tidy() {
	if w.net != nil {
		if err := w.net.close(); err != nil {
			w.t.Error(err)
		}
	}
	failed := w.t.Failed()
	for _, dir := range w.mounted {
		if failed {
			if err := os.CopyFS(dir+"-kept", os.DirFS(dir)); err != nil {
				w.t.Logf("keep %s: %v", dir, err)
			}
		}
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			w.t.Errorf("umount %s: %v: %s", dir, err, out)
		}
	}
	if !failed {
		if err := os.RemoveAll(w.dir); err != nil {
			w.t.Error(err)
		}
		return
	}
	images, _ := filepath.Glob(filepath.Join(w.dir, "disk*.img"))
	for _, image := range images {
		os.Remove(image) // what was in it has been copied
	}
	name := filepath.Join(w.dir, "history")
	if _, err := os.Stat(name); err != nil {
		w.keep(&history.Run{About: history.About{Name: fmt.Sprintf("nemesis seed %d", w.plan.Seed)}, Records: w.log.Records()})
	}
	w.t.Logf("seed %d failed. Its plan again:\n\tgo test -count=1 -v -run 'TestNemesis$' ./test/nemesis -nemesis.seed=%d -nemesis.length=%v -nemesis.consensus=%s\nhistory, logs and data directories: %s",
		w.plan.Seed, w.plan.Seed, w.last, cmp.Or(w.plan.Consensus, "zab"), w.dir)
}

// keep writes the history.
func (w *world) keep(r *history.Run) {
	f, err := os.Create(filepath.Join(w.dir, "history"))
	if err == nil {
		err = r.Write(f)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		w.t.Errorf("keep the history: %v", err)
	}
}

// complaints looks for lines in the servers' logs that tell of what must never happen.
func (w *world) complaints() {
	for _, s := range w.e.Servers {
		for line := range strings.Lines(s.Log()) {
			if slices.ContainsFunc([]string{"panic", "goroutine ", "fatal error", "invariant", "digest mismatch", "DATA RACE"},
				func(word string) bool { return strings.Contains(line, word) }) {
				w.t.Errorf("server %d logged: %s", s.ID, line)
			}
		}
	}
}
