package nemesis

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/zkcore/zkcore/core/failpoint"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/test/harness"
	"github.com/zkcore/zkcore/test/history"
)

// A nemesis carries out the steps of a plan. All its methods are for one goroutine.
type nemesis struct {
	w      *world
	begun  time.Time
	due    []action // by time
	silent map[cut]int
	busy   map[int]string // servers that something is done to which leaves no room for more
	mortal map[int]mortal // servers that may end by themselves
	struck map[string]int
	passed int // steps that could not be carried out
}

// An action is what is still to be done, most of all to heal.
type action struct {
	at   time.Duration
	what string
	do   func()
}

// mortal says why a server may end by itself, and until when it is not started again.
type mortal struct {
	why   string
	until time.Time // zero: until it is healed
	hold  bool      // it stays down
}

func newNemesis(w *world) *nemesis {
	return &nemesis{w: w, silent: make(map[cut]int), busy: make(map[int]string), mortal: make(map[int]mortal), struck: make(map[string]int)}
}

func (n *nemesis) note(kind history.Kind, server int, format string, args ...any) {
	n.w.log.Append(history.Record{Kind: kind, Server: server, Note: fmt.Sprintf(format, args...)})
}

func (n *nemesis) fail(format string, args ...any) { n.w.t.Errorf(format, args...) }

// check fails the run for an error of the nemesis itself.
func (n *nemesis) check(err error) {
	if err != nil {
		n.w.t.Errorf("nemesis: %v", err)
	}
}

func (n *nemesis) now() time.Duration { return time.Since(n.begun) }

// later does something after so long, or when all is healed.
func (n *nemesis) later(d time.Duration, what string, do func()) {
	a := action{n.now() + d, what, do}
	i, _ := slices.BinarySearchFunc(n.due, a.at, func(x action, at time.Duration) int {
		if x.at <= at {
			return -1
		}
		return 1
	})
	n.due = slices.Insert(n.due, i, a)
}

// run carries out the plan and heals everything.
func (n *nemesis) run(faults time.Duration) {
	n.begun = time.Now()
	for _, s := range n.w.plan.Steps {
		n.until(s.At)
		if n.w.t.Failed() {
			break
		}
		n.step(s)
	}
	n.until(faults)
	n.heal()
}

// until waits, does what comes due and looks after the servers.
func (n *nemesis) until(at time.Duration) {
	for {
		n.lookAfter()
		now := n.now()
		if len(n.due) > 0 && n.due[0].at <= min(now, at) {
			a := n.due[0]
			n.due = n.due[1:]
			a.do()
			continue
		}
		if now >= at || n.w.t.Failed() {
			return
		}
		next := at
		if len(n.due) > 0 {
			next = min(next, n.due[0].at)
		}
		time.Sleep(min(next-now, 20*time.Millisecond))
	}
}

// heal does all that is due, and leaves no harm.
func (n *nemesis) heal() {
	for len(n.due) > 0 {
		a := n.due[0]
		n.due = n.due[1:]
		a.do()
	}
	n.lookAfter()
}

// lookAfter starts servers again that ended as they had to, and complains of those that ended
// without a reason.
func (n *nemesis) lookAfter() {
	for _, s := range n.w.e.Servers {
		m, may := n.mortal[s.ID]
		if err := s.Died(); s.Running() && err != nil {
			if !may || !m.until.IsZero() && time.Now().After(m.until) {
				n.fail("server %d ended by itself, and nothing was done to it: %v", s.ID, err)
				n.mortal[s.ID] = mortal{why: "it failed already", hold: true}
			}
			s.Wait()
			n.note(history.Fault, s.ID, "ended: %s: %v", m.why, err)
		}
		if !s.Running() && may && !m.hold {
			s.Start()
			n.note(history.Heal, s.ID, "started again")
		}
		if may && !m.until.IsZero() && time.Now().After(m.until) {
			delete(n.mortal, s.ID)
		}
	}
}

// mayDie lets a server end by itself, and keeps it down then until it is healed.
func (n *nemesis) mayDie(s *harness.Server, why string) {
	n.mortal[s.ID] = mortal{why: why, hold: true}
}

// mustLive ends that. What is on its way to end may still do so.
func (n *nemesis) mustLive(s *harness.Server) {
	m := n.mortal[s.ID]
	n.mortal[s.ID] = mortal{why: m.why, until: time.Now().Add(10 * time.Second)}
	delete(n.busy, s.ID)
}

// leader is the server that leads, as far as one says so.
func (n *nemesis) leader() *harness.Server {
	var (
		mu    sync.Mutex
		found *harness.Server
		wg    sync.WaitGroup
	)
	for _, s := range n.w.e.Servers {
		if !s.Running() || n.busy[s.ID] != "" {
			continue
		}
		wg.Go(func() {
			if mode, err := mode(s, 500*time.Millisecond); err == nil && mode == "leader" {
				mu.Lock()
				found = s
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return found
}

// mode is Server.Mode with less patience.
func mode(s *harness.Server, patience time.Duration) (string, error) {
	c, err := net.DialTimeout("tcp", s.Addr(), patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("srvr")); err != nil {
		return "", err
	}
	b := make([]byte, 4096)
	got := ""
	for {
		k, err := c.Read(b)
		got += string(b[:k])
		if err != nil {
			break
		}
	}
	for line := range strings.Lines(got) {
		if m, ok := strings.CutPrefix(strings.TrimSpace(line), "Mode: "); ok {
			return m, nil
		}
	}
	return "", errors.New("it does not serve")
}

// kill ends a process at once.
func (n *nemesis) kill(s *harness.Server, sig syscall.Signal) {
	if !s.Running() {
		return
	}
	if err := syscall.Kill(s.Pid(), sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		n.check(err)
	}
	s.Wait()
}

func (n *nemesis) start(s *harness.Server) {
	if !s.Running() {
		s.Start()
	}
	delete(n.busy, s.ID)
}

// silence counts, so that two partitions may overlap.
func (n *nemesis) silence(c cut, on bool) {
	if on {
		if n.silent[c]++; n.silent[c] == 1 {
			n.check(n.w.net.silence(c.from, c.to, true))
		}
	} else if n.silent[c]--; n.silent[c] == 0 {
		n.check(n.w.net.silence(c.from, c.to, false))
	}
}

// tell sends a command to a server's failpoints.
func (n *nemesis) tell(s *harness.Server, format string, args ...any) bool {
	return command(n.w.socket(s), fmt.Sprintf(format, args...)) == nil // else it has just ended, or is not there yet
}

// command tells failpoints what to do. When it returns nil, they will.
func command(socket, text string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	if err := c.(*net.UnixConn).CloseWrite(); err != nil {
		return err
	}
	b, err := io.ReadAll(c)
	if err == nil && string(b) != "ok" {
		err = fmt.Errorf("answer %q", b)
	}
	return err
}

// disarm takes the failpoints' commands back. A server that is just starting does not listen yet,
// and has to die later then.
func (n *nemesis) disarm(s *harness.Server) {
	if !n.tell(s, "off") && s.Running() && s.Died() == nil {
		time.Sleep(10 * time.Millisecond) // when all is healed nobody waits in between
		n.later(0, "off", func() { n.disarm(s) })
		return
	}
	n.mustLive(s)
}

// Where a server is killed: any of these, after so many times at most.
var killPoints = func() (out []string) {
	for _, p := range failpoint.Points {
		out = append(out, string(p))
	}
	for _, side := range []string{"before", "after"} {
		for _, p := range []string{"write.log", "sync.log", "create.log", "syncdir.other", "truncate.log", "remove.log", "create.snapshot", "write.snapshot",
			"sync.snapshot", "rename.snapshot", "create.epoch", "write.epoch", "sync.epoch", "rename.epoch"} {
			out = append(out, p+"."+side)
		}
	}
	return out
}()

// rare says that a server comes to a point only when it elects or is brought up to date.
func rare(point string) bool {
	for _, p := range []string{"vote", "packet", "stream", "restore", "truncate", "create.epoch", "write.epoch", "sync.epoch", "rename.epoch"} {
		if strings.HasPrefix(point, p) {
			return true
		}
	}
	return false
}

// step does one harm.
func (n *nemesis) step(s Step) {
	rng := rand.New(rand.NewPCG(s.Sub, 0))
	victim := n.w.e.Servers[s.Server-1]
	if s.Leader {
		if l := n.leader(); l != nil {
			victim = l
		}
	}
	strike := func(format string, args ...any) {
		n.struck[s.Kind]++
		n.note(history.Fault, victim.ID, s.Kind+format, args...)
	}
	healed := func() { n.note(history.Heal, victim.ID, "%s", s.Kind) }
	process := false
	switch s.Kind {
	case "kill", "kill at a failpoint", "kill in the start", "stop", moduleKilled, moduleStopped, "full disk", "nearly full disk", "slow disk", "bad disk":
		process = true
	}
	if process && (n.busy[victim.ID] != "" || !victim.Running()) {
		n.passed++
		return
	}
	switch s.Kind {
	case "kill":
		sig := syscall.SIGKILL
		if rng.IntN(5) == 0 {
			sig = syscall.SIGTERM
		}
		strike(" (%v)", sig)
		n.busy[victim.ID] = s.Kind
		n.kill(victim, sig)
		n.later(s.For, s.Kind, func() { healed(); n.start(victim) })

	case "kill at a failpoint":
		point := killPoints[rng.IntN(len(killPoints))]
		times := 1 + rng.IntN(1<<rng.IntN(8))
		if rare(point) {
			times = 1 + rng.IntN(3)
		}
		strike(" %s, %d", point, times)
		n.busy[victim.ID] = s.Kind
		n.mayDie(victim, "it had to die at "+point)
		n.tell(victim, "kill %s %d", point, times)
		if rare(point) {
			// It gets there when it has lost the others for a moment.
			for _, o := range n.w.e.Servers {
				if o != victim {
					n.check(n.w.net.sever(victim.ID, o.ID, severReset, 0, true))
					n.later(100*time.Millisecond, "reset", func() { n.check(n.w.net.sever(victim.ID, o.ID, severReset, 0, false)) })
				}
			}
		}
		n.later(s.For, s.Kind, func() { healed(); n.disarm(victim) })

	case "kill in the start":
		point := killPoints[rng.IntN(len(killPoints))]
		times := 1 + rng.IntN(3)
		strike(" %s, %d", point, times)
		n.busy[victim.ID] = s.Kind
		n.kill(victim, syscall.SIGKILL)
		env := victim.Env
		victim.Env = append(slices.Clone(env), fmt.Sprintf("%s=kill %s %d", failpoint.EnvAtStart, point, times))
		n.mayDie(victim, "it had to die at "+point)
		victim.Start()
		victim.Env = env
		n.later(s.For, s.Kind, func() { healed(); n.disarm(victim) })

	case "power cut":
		n.heal()
		strike("")
		for _, x := range n.w.e.Servers {
			if err := syscall.Kill(x.Pid(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				n.check(err)
			}
		}
		for _, x := range n.w.e.Servers {
			x.Wait()
			n.busy[x.ID] = s.Kind
		}
		order := rng.Perm(len(n.w.e.Servers))
		n.later(s.For, s.Kind, func() {
			healed()
			for _, i := range order {
				n.start(n.w.e.Servers[i])
			}
		})

	case "stop":
		strike("")
		n.busy[victim.ID] = s.Kind
		n.check(syscall.Kill(victim.Pid(), syscall.SIGSTOP))
		n.later(s.For, s.Kind, func() {
			healed()
			n.check(syscall.Kill(victim.Pid(), syscall.SIGCONT))
			delete(n.busy, victim.ID)
		})

	case moduleKilled, moduleStopped:
		n.hurtModule(rng, s, victim, strike, healed)

	case "halves", "one node", "bridge", "one-way", "ring", "clients only":
		cuts := shape(rng, s.Kind, n.w.plan.Servers, victim.ID)
		strike(" %v", cuts)
		for _, c := range cuts {
			n.silence(c, true)
		}
		n.later(s.For, s.Kind, func() {
			healed()
			for _, c := range cuts {
				n.silence(c, false)
			}
		})

	case "swizzle":
		cuts := shape(rng, s.Kind, n.w.plan.Servers, victim.ID)
		strike(" %v", cuts)
		rng.Shuffle(len(cuts), func(i, j int) { cuts[i], cuts[j] = cuts[j], cuts[i] })
		step := s.For / time.Duration(2*len(cuts)+1)
		for i, c := range cuts {
			n.later(time.Duration(i)*step, s.Kind, func() { n.silence(c, true) })
		}
		order := rng.Perm(len(cuts))
		for i, k := range order {
			n.later(time.Duration(len(cuts)+1+i)*step, s.Kind, func() { n.silence(cuts[k], false) })
		}
		n.later(s.For, s.Kind, healed)

	case "half-open", "reset", "mid-frame":
		how := map[string]string{"half-open": severHalfOpen, "reset": severReset, "mid-frame": severMidFrame}[s.Kind]
		var ends []end
		for _, o := range n.w.e.Servers {
			if o != victim && rng.IntN(3) > 0 {
				ends = append(ends, o.ID)
			}
		}
		for g := range groups {
			if rng.IntN(2) == 0 {
				ends = append(ends, -g)
			}
		}
		bytes := int64(1 + rng.IntN(1<<(4+rng.IntN(14))))
		strike(" with %v after %d bytes", ends, bytes)
		for _, o := range ends {
			n.check(n.w.net.sever(victim.ID, o, how, bytes, true))
		}
		n.later(s.For, s.Kind, func() {
			healed()
			for _, o := range ends {
				n.check(n.w.net.sever(victim.ID, o, how, 0, false))
			}
		})

	case "slow link":
		delay, kbit := time.Duration(5+rng.IntN(200))*time.Millisecond, 200+rng.IntN(8000)
		strike(" %v, %d kbit/s", delay, kbit)
		n.check(n.w.net.slow(victim.ID, delay, kbit, true))
		n.later(s.For, s.Kind, func() { healed(); n.check(n.w.net.slow(victim.ID, 0, 0, false)) })

	case "full disk", "nearly full disk":
		if !n.w.ownDisks {
			n.passed++
			return
		}
		spare := int64(0)
		if s.Kind != "full disk" {
			spare = int64(rng.IntN(3 << 20))
		}
		strike(", %d bytes left", spare)
		n.busy[victim.ID] = s.Kind
		n.mayDie(victim, "its disk is full")
		n.check(fill(victim.DataDir, spare))
		n.later(s.For, s.Kind, func() {
			healed()
			n.check(os.Remove(filepath.Join(victim.DataDir, ballast)))
			n.mustLive(victim)
		})

	case "slow disk":
		point, ms := []string{"sync.log.before", "sync.*", "write.log.before", "sync.log.after"}[rng.IntN(4)], 5+rng.IntN(1<<(3+rng.IntN(7)))
		strike(": %s, %d ms", point, ms)
		n.busy[victim.ID] = s.Kind
		n.tell(victim, "sleep %s %d", point, ms)
		n.later(s.For, s.Kind, func() { healed(); n.tell(victim, "off"); delete(n.busy, victim.ID) })

	case "bad disk":
		point := []string{"sync.log.before", "write.log.before", "sync.snapshot.before", "rename.snapshot.before", "sync.epoch.before", "create.log.before"}[rng.IntN(6)]
		strike(": %s fails", point)
		n.busy[victim.ID] = s.Kind
		n.mayDie(victim, "its disk failed at "+point)
		n.tell(victim, "fail %s %d", point, 1+rng.IntN(20))
		n.later(s.For, s.Kind, func() { healed(); n.disarm(victim) })

	case "damage":
		n.heal()
		if !n.allServe(20 * time.Second) {
			n.passed++
			return
		}
		strike("")
		n.damage(rng, victim)
		healed()

	case "rolling restart":
		strike("")
		for _, x := range n.w.e.Servers {
			if n.busy[x.ID] != "" || !x.Running() {
				continue
			}
			n.kill(x, syscall.SIGTERM)
			x.Start()
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && x.Died() == nil; time.Sleep(20 * time.Millisecond) {
				if _, err := mode(x, 200*time.Millisecond); err == nil {
					break
				}
			}
		}
		healed()

	case "storm":
		many := 20 + rng.IntN(100)
		strike(" of %d clients", many)
		n.w.storm(many, rng)

	default:
		n.fail("nobody knows the fault %q", s.Kind)
	}
}

func (n *nemesis) allServe(patience time.Duration) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		n.lookAfter()
		ok := true
		for _, s := range n.w.e.Servers {
			if _, err := mode(s, time.Second); err != nil {
				ok = false
				break
			}
		}
		if ok {
			return true
		}
	}
	return false
}

// ballast is what a full disk is full of.
const ballast = "ballast"

// fill leaves so many bytes of a disk.
func fill(dir string, spare int64) error {
	f, err := os.Create(filepath.Join(dir, ballast))
	if err != nil {
		return err
	}
	defer f.Close()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return err
	}
	size := int64(st.Bavail)*st.Bsize - spare
	for size > 0 {
		err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
		if err == nil || errors.Is(err, syscall.EINTR) {
			break
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		size -= 64 << 10 // others write meanwhile, and files need blocks for themselves
	}
	return nil
}

// damage kills a server and spoils one of its files. All the others are well, and nothing else
// happens until it serves again: what it has lost is on the disks of the others. A server that does
// not start on what it finds says so, and then its operator takes the data away.
func (n *nemesis) damage(rng *rand.Rand, s *harness.Server) {
	n.kill(s, syscall.SIGKILL)
	dir := filepath.Join(s.DataDir, txnlog.VersionDir)
	var (
		what string
		err  error
	)
	n.w.damaged[s.ID] = true
	n.w.archive.spoil(s, func() { what, err = spoil(rng, dir) })
	if err != nil {
		n.check(err)
		return
	}
	n.note(history.Fault, s.ID, "damage: %s", what)
	// It is no help in finding out who has what was committed: the others find out first.
	n.busy[s.ID] = "damage"
	for end := time.Now().Add(harness.Patience); n.leader() == nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			n.fail("without server %d, which is down, nobody leads", s.ID)
			return
		}
	}
	delete(n.busy, s.ID)
	s.Start()
	for try := 0; ; {
		if n.served(s) {
			return
		}
		if s.Died() == nil || try > 0 {
			n.fail("server %d does not serve after damage: %s", s.ID, what)
			return
		}
		s.Wait()
		try++
		aside := filepath.Join(s.Dir, fmt.Sprintf("damaged-%d", time.Now().UnixNano()))
		n.note(history.Heal, s.ID, "does not start on %s: its data is taken away", what)
		n.check(moveAside(dir, aside))
		s.Start()
	}
}

func (n *nemesis) served(s *harness.Server) bool {
	for end := time.Now().Add(harness.Patience); time.Now().Before(end) && s.Died() == nil; time.Sleep(50 * time.Millisecond) {
		if _, err := mode(s, time.Second); err == nil {
			return true
		}
	}
	return false
}

// moveAside moves a folder, between disks if need be.
func moveAside(from, to string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	return os.RemoveAll(from)
}

// spoil spoils one file, and says what it did.
func spoil(rng *rand.Rand, dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var names []string
	for _, e := range entries {
		if base := e.Name(); strings.HasPrefix(base, "log.") || strings.HasPrefix(base, "snapshot.") || strings.HasSuffix(base, "Epoch") || base == "raft" {
			names = append(names, base)
		}
	}
	if len(names) == 0 {
		return "", errors.New("there is no file to damage")
	}
	base := names[rng.IntN(len(names))]
	name := filepath.Join(dir, base)
	b, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	what := ""
	used := len(strings.TrimRight(string(b), "\x00"))
	switch k := rng.IntN(4); {
	case used == 0 || k == 0:
		return base + " is lost", os.Remove(name)
	case k == 1:
		at := rng.IntN(used)
		b, what = b[:at], fmt.Sprintf("%s ends at %d of %d", base, at, used)
	case k == 2:
		at := rng.IntN(used)
		clear(b[at:min(at+512, used)])
		what = fmt.Sprintf("%s has zeros at %d of %d", base, at, used)
	default:
		at := rng.IntN(used)
		b[at] ^= 1 << rng.IntN(8)
		what = fmt.Sprintf("%s has another bit at %d of %d", base, at, used)
	}
	// In another file: the archive keeps the one that was good.
	if err := os.WriteFile(name+spoiledSuffix, b, 0o644); err != nil {
		return "", err
	}
	return what, os.Rename(name+spoiledSuffix, name)
}

const spoiledSuffix = ".spoiled"
