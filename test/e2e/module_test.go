package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/plugins"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/test/harness"
)

// asProcesses has both modules as processes of their own, which are given up after timeoutMS.
func asProcesses(servers, timeoutMS int) harness.Options {
	return harness.Options{
		Servers: servers, Consensus: "process:zab", Storage: "process:mem",
		Extra: map[string]string{"zkcore.plugin.timeoutMs": fmt.Sprint(timeoutMS), "zkcore.plugin.maxCrashes": "100"},
	}
}

// moduleLine is what a server says when it takes itself out of service for a module.
const moduleLine = "a module's process is gone: serving nobody"

// stoodLine is what it says if that was its own standing still.
const stoodLine = "this server stood still, and its module has ended"

// modulePids are the processes of a server's modules, by their kinds.
func modulePids(t *testing.T, s *harness.Server) map[string]int {
	t.Helper()
	out, err := s.Modules()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// modulePid is that of one module, which runs.
func modulePid(t *testing.T, s *harness.Server, kind string) int {
	t.Helper()
	var pid int
	eventually(t, fmt.Sprintf("server %d has a %s module", s.ID, kind), func() bool {
		pid = modulePids(t, s)[kind]
		return pid != 0
	})
	return pid
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(harness.Patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

// recovered waits until a server whose module was hurt says so and serves again, with new modules
// and in the same process, and checks that the old ones are dead.
func recovered(t *testing.T, s *harness.Server, pid int, old map[string]int, lines int) {
	t.Helper()
	eventually(t, fmt.Sprintf("server %d says that its module is gone", s.ID), func() bool {
		return strings.Count(s.Log(), moduleLine) >= lines
	})
	s.Await()
	if n := strings.Count(s.Log(), moduleLine); n != lines {
		t.Errorf("server %d says %d times that a module is gone, want %d", s.ID, n, lines)
	}
	if s.Pid() != pid {
		t.Errorf("server %d is process %d, and was %d", s.ID, s.Pid(), pid)
	}
	for kind, was := range old {
		if is := modulePid(t, s, kind); is == was {
			t.Errorf("server %d has its old %s module", s.ID, kind)
		}
		if !gone(was) {
			t.Errorf("server %d: the old %s module, process %d, is still there", s.ID, kind, was)
		}
	}
}

// TestModuleKilled kills the processes of modules under load: those of the leader and of a
// follower, by SIGKILL and by a SIGSTOP that leaves them hanging. No answered write is lost, and
// no session ends.
func TestModuleKilled(t *testing.T) {
	e := harness.Start(t, asProcesses(3, 3000))
	keeper := connect(t, e.Addrs()...)
	must(t, keeper, client.CreateOp{Path: "/alive", Mode: client.Ephemeral})
	session := keeper.Session().ID
	l := startLoad(t, e, 4, "/load")
	l.waitAcked(200)
	said := map[int]int{}
	hurt := func(s *harness.Server, kind string, sig syscall.Signal) {
		t.Helper()
		old, pid := modulePids(t, s), s.Pid()
		if err := syscall.Kill(modulePid(t, s, kind), sig); err != nil {
			t.Fatal(err)
		}
		l.waitAcked(50)
		said[s.ID]++
		recovered(t, s, pid, old, said[s.ID])
		e.Await()
		l.waitAcked(50)
	}
	hurt(e.Follower(), plugins.KindStorage, syscall.SIGKILL)
	hurt(e.Leader(), plugins.KindConsensus, syscall.SIGKILL)
	hurt(e.Leader(), plugins.KindStorage, syscall.SIGKILL)
	hurt(e.Follower(), plugins.KindConsensus, syscall.SIGSTOP)
	hurt(e.Leader(), plugins.KindStorage, syscall.SIGSTOP)
	l.finish()
	for _, s := range e.Servers {
		l.check(s, "/load")
	}
	sameTrees(t, e)
	if r := must(t, keeper, client.ExistsOp{Path: "/alive"}); r.Stat.EphemeralOwner != session {
		t.Errorf("the ephemeral node belongs to 0x%x, the session is 0x%x", r.Stat.EphemeralOwner, session)
	}
}

// TestModuleKilledAlone does the same to a server without peers.
func TestModuleKilledAlone(t *testing.T) {
	opt := asProcesses(1, 3000)
	opt.Extra["snapCount"] = "500"
	e := harness.Start(t, opt)
	s := e.Servers[0]
	keeper := connect(t, s.Addr())
	must(t, keeper, client.CreateOp{Path: "/alive", Mode: client.Ephemeral})
	session := keeper.Session().ID
	l := startLoad(t, e, 4, "/load")
	for i, kind := range []string{plugins.KindStorage, plugins.KindConsensus, plugins.KindStorage} {
		l.waitAcked(300)
		old, pid := modulePids(t, s), s.Pid()
		if err := syscall.Kill(modulePid(t, s, kind), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		recovered(t, s, pid, old, i+1)
	}
	l.waitAcked(100)
	l.finish()
	l.check(s, "/load")
	if r := must(t, keeper, client.ExistsOp{Path: "/alive"}); r.Stat.EphemeralOwner != session {
		t.Errorf("the ephemeral node belongs to 0x%x, the session is 0x%x", r.Stat.EphemeralOwner, session)
	}
	s.Restart()
	l.check(s, "/load")
}

// TestModuleIsMissed: between the death of a module and the start of the next one nobody is served.
func TestModuleIsMissed(t *testing.T) {
	e := harness.Start(t, asProcesses(1, 3000))
	s := e.Servers[0]
	c := connect(t, s.Addr())
	must(t, c, client.CreateOp{Path: "/n"})
	missing := func() bool { return modulePids(t, s)[plugins.KindStorage] == 0 }
	asked := 0
	for crash := 1; asked < 5; crash++ { // the next one is waited for longer after each
		if err := syscall.Kill(modulePid(t, s, plugins.KindStorage), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the server says that its module is gone", func() bool { return strings.Count(s.Log(), moduleLine) == crash })
		for missing() {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			r, err := c.Do(ctx, client.GetOp{Path: "/n"})
			cancel()
			srvr, _ := s.FourLetter("srvr") // it may not even be listening
			if !missing() {
				break
			}
			asked++
			if err == nil {
				t.Errorf("a server without its store reads %+v", r.Stat)
			}
			if strings.Contains(srvr, "Mode:") {
				t.Errorf("a server without its store serves:\n%s", srvr)
			}
		}
		s.Await()
	}
	must(t, c, client.GetOp{Path: "/n"})
}

// TestModulesEndWithTheServer: however a server ends, its modules do.
func TestModulesEndWithTheServer(t *testing.T) {
	e := harness.Start(t, asProcesses(1, 3000))
	s := e.Servers[0]
	for _, end := range []struct {
		how string
		do  func()
	}{{"SIGKILL", s.Kill9}, {"SIGTERM", s.Stop}} {
		if !s.Running() {
			s.Restart()
		}
		pids := modulePids(t, s)
		if len(pids) != 2 {
			t.Fatalf("modules run as %v", pids)
		}
		end.do()
		for kind, pid := range pids {
			eventually(t, fmt.Sprintf("the %s module ends with its server's %s", kind, end.how), func() bool { return gone(pid) })
		}
	}
	if strings.Contains(s.Log(), moduleLine) || !strings.Contains(s.Log(), "- stopped") {
		t.Error("the server has not stopped in order")
	}
}

// TestModuleStopsGroup: a signal to all processes of a service stops it in order.
func TestModuleStopsGroup(t *testing.T) {
	e := harness.Start(t, asProcesses(1, 3000))
	s := e.Servers[0]
	pids := modulePids(t, s)
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	s.Stop()
	if strings.Contains(s.Log(), moduleLine) || !strings.Contains(s.Log(), "- stopped") {
		t.Error("the server has not stopped in order")
	}
}

// TestStopsWhileAModuleHangs: a server that waits for a module which does not answer ends when a signal asks for it. It
// ignored the signal, gave the module up half a minute later, and began anew.
func TestStopsWhileAModuleHangs(t *testing.T) {
	cat, err := exec.LookPath("cat") // which reads what there never is
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "zkcore-storage-cat")
	if err := os.WriteFile(path, raw, 0o755); err != nil {
		t.Fatal(err)
	}
	e := harness.New(t, harness.Options{Consensus: "zab", Storage: "mem",
		Extra: map[string]string{"storage": path, "zkcore.plugin.cat.sha256": fmt.Sprintf("%x", sha256.Sum256(raw))}})
	s := e.Servers[0]
	s.Start()
	pid := modulePid(t, s, plugins.KindStorage)
	s.Signal(syscall.SIGTERM)
	if code := s.Wait(); code != 0 || strings.Contains(s.Log(), moduleLine) || !strings.Contains(s.Log(), "stopped: a signal asks for it") {
		t.Errorf("exit code %d, and the log says\n%s", code, s.Log())
	}
	eventually(t, "the module ends", func() bool { return gone(pid) })
}

// TestStopsWhileAReadHangs: so does one that serves, and whose store hangs with a client's read under way. It gave the
// store up, and waited for ever for that client's connection.
func TestStopsWhileAReadHangs(t *testing.T) {
	e := harness.Start(t, harness.Options{Consensus: "zab", Storage: "process:mem", Extra: map[string]string{"zkcore.plugin.timeoutMs": "8000"}})
	s := e.Servers[0]
	c := connect(t, s.Addr())
	pid := modulePid(t, s, plugins.KindStorage)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for err := error(nil); err == nil; { // the last one is under way
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		_, err = c.Do(ctx, client.ChildrenOp{Path: "/"})
		cancel()
	}
	s.Signal(syscall.SIGTERM)
	if code := s.Wait(); code != consensus.ExitModule || !strings.Contains(s.Log(), "stopped, but not in order") {
		t.Errorf("exit code %d, want %d, and the log says\n%s", code, consensus.ExitModule, s.Log())
	}
	eventually(t, "the module is dead", func() bool { return gone(pid) })
}

// TestModuleRefused: a program that is not the configured one, or that others could change, is not
// started, and the server says why.
func TestModuleRefused(t *testing.T) {
	path, sum := harness.Module(t, plugins.KindStorage, "mem")
	other, otherSum := harness.Module(t, plugins.KindConsensus, "zab")
	bolt, boltSum := harness.Module(t, plugins.KindStorage, "bolt")
	dir := t.TempDir()
	link := filepath.Join(dir, "zkcore-storage-mem")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	inOpen := filepath.Join(open, "zkcore-storage-mem")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(inOpen, raw, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		extra map[string]string
		want  string
	}{
		"no checksum":    {map[string]string{"storage": path}, "no checksum is configured; the file's is sha256 " + sum},
		"wrong checksum": {map[string]string{"storage": path, "zkcore.plugin.mem.sha256": otherSum}, "its SHA-256 is " + sum},
		"a link":         {map[string]string{"storage": link, "zkcore.plugin.mem.sha256": sum}, "is a link"},
		"an open folder": {map[string]string{"storage": inOpen, "zkcore.plugin.mem.sha256": sum}, "can be written to by everybody"},
		"another kind":   {map[string]string{"storage": other, "zkcore.plugin.zab.sha256": otherSum}, "it is a consensus module, not a storage one"},
		"not there":      {map[string]string{"storage": filepath.Join(dir, "zkcore-storage-none"), "zkcore.plugin.none.sha256": sum}, "no such file"},
		"no such option": {map[string]string{"storage": bolt, "zkcore.plugin.bolt.sha256": boltSum, "zkcore.storage.bolt.nothing": "1"},
			": zkcore.storage.bolt.nothing: bolt has no such option"},
		"an unknown name": {map[string]string{"storage": "none", "zkcore.plugin.dir": filepath.Dir(path)}, `no storage module "none" in this binary`},
	} {
		e := harness.New(t, harness.Options{Extra: tc.extra, Consensus: "zab", Storage: "mem"})
		s := e.Servers[0]
		s.Start()
		if code := s.Wait(); code != 2 {
			t.Errorf("%s: exit code %d, want 2", name, code)
		}
		if !strings.Contains(s.Log(), tc.want) {
			t.Errorf("%s: the log has no %q:\n%s", name, tc.want, s.Log())
		}
	}
}

// TestOthersDataInAProcess: also a module that is a process refuses another one's data in the line that says what to do.
func TestOthersDataInAProcess(t *testing.T) {
	path, sum := harness.Module(t, plugins.KindConsensus, "raft")
	e := harness.Start(t, harness.Options{Consensus: "zab", Storage: "mem", Extra: map[string]string{"zkcore.plugin.raft.sha256": sum}})
	s := e.Servers[0]
	s.Stop()
	s.Args = []string{"--consensus=" + path}
	s.Start()
	if code := s.Wait(); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	if want := "zkcore convert --to=raft --config=" + s.Config; !strings.Contains(s.Log(), want+"\n") {
		t.Errorf("the log has no %q:\n%s", want, s.Log())
	}
}

// TestModuleSwapped: a program that was replaced while the server ran is not started again.
func TestModuleSwapped(t *testing.T) {
	path, sum := harness.Module(t, plugins.KindStorage, "mem")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(t.TempDir(), "zkcore-storage-mem")
	if err := os.WriteFile(mine, raw, 0o755); err != nil {
		t.Fatal(err)
	}
	e := harness.Start(t, harness.Options{Consensus: "zab", Storage: "mem", Extra: map[string]string{"storage": mine, "zkcore.plugin.mem.sha256": sum}})
	s := e.Servers[0]
	c := connect(t, s.Addr())
	must(t, c, client.CreateOp{Path: "/kept"})
	swapped := mine + ".new"
	if err := os.WriteFile(swapped, append(raw, 0), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(swapped, mine); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(modulePid(t, s, plugins.KindStorage), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := s.Wait(); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	if !strings.Contains(s.Log(), "and the configured one "+sum) {
		t.Errorf("the server does not say why:\n%s", s.Log())
	}
	// Another program, another line in zoo.cfg: what was written is there.
	if err := os.WriteFile(swapped, raw, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(swapped, mine); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	must(t, c, client.ExistsOp{Path: "/kept"})
}

// TestModuleCrashLimit: a module that ends again and again is given up.
func TestModuleCrashLimit(t *testing.T) {
	e := harness.New(t, harness.Options{Consensus: "zab", Storage: "process:mem", Extra: map[string]string{"zkcore.plugin.maxCrashes": "2"}})
	s := e.Servers[0]
	s.Start()
	s.Await()
	for i := range 3 {
		if err := syscall.Kill(modulePid(t, s, plugins.KindStorage), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if i < 2 {
			eventually(t, "the server says that its module is gone", func() bool { return strings.Count(s.Log(), moduleLine) == i+1 })
			s.Await()
		}
	}
	if code := s.Wait(); code != consensus.ExitModule {
		t.Errorf("exit code %d, want %d", code, consensus.ExitModule)
	}
	if !strings.Contains(s.Log(), "has been too often") {
		t.Errorf("the server does not say why:\n%s", s.Log())
	}
}

// TestStoodStill: a leader that stands still is replaced although its consensus module goes on, after
// the time that the others would wait for it: syncLimit under Zab, election timeouts under Raft. That
// is no crash of the module: the server, which may have none here, begins anew each time.
func TestStoodStill(t *testing.T) {
	for name, tc := range map[string]struct {
		tick, sync int
		after      string
	}{
		"zab":  {250, 10, "for 2.5s"},
		"raft": {2000, 5, "for 2s"},
	} {
		t.Run(name, func(t *testing.T) {
			e := harness.Start(t, harness.Options{Servers: 3, TickTimeMS: tc.tick, SyncLimit: tc.sync, Consensus: "process:" + name, Storage: "mem",
				Extra: map[string]string{"zkcore.plugin.maxCrashes": "0"}})
			must(t, connect(t, e.Addrs()...), client.CreateOp{Path: "/n", Data: []byte("0")})
			for range 2 {
				old := e.Leader()
				var rest []string
				for _, s := range e.Servers {
					if s != old {
						rest = append(rest, s.Addr())
					}
				}
				pid := modulePid(t, old, plugins.KindConsensus)
				was := strings.Count(old.Log(), stoodLine)
				old.Signal(syscall.SIGSTOP)
				begin := time.Now()
				e.Await()
				t.Logf("a new leader after %v", time.Since(begin).Round(time.Millisecond))
				eventually(t, "the module ends, and waits for its parent", func() bool { return modulePids(t, old)[plugins.KindConsensus] == 0 })
				must(t, connect(t, rest...), client.SetOp{Path: "/n", Data: []byte("1"), Version: -1})
				old.Signal(syscall.SIGCONT)
				eventually(t, "the server says why its module is gone", func() bool { return strings.Count(old.Log(), stoodLine) == was+1 })
				e.Await()
				if now := modulePid(t, old, plugins.KindConsensus); now == pid {
					t.Errorf("the module still runs as %d", pid)
				}
			}
			for _, s := range e.Servers {
				if strings.Contains(s.Log(), moduleLine) {
					t.Errorf("server %d: a module has crashed", s.ID)
				}
				for line := range strings.Lines(s.Log()) {
					if strings.Contains(line, stoodLine) && !strings.Contains(line, tc.after) {
						t.Errorf("server %d, want %q: %s", s.ID, tc.after, line)
					}
				}
			}
		})
	}
}

// TestModuleStalls: while the consensus module of a leader stands still, for less than it may take to answer, the leader
// hears of no client of the others: that ends nobody's session.
func TestModuleStalls(t *testing.T) {
	e := harness.Start(t, harness.Options{Servers: 3, TickTimeMS: 1000, SyncLimit: 30, Consensus: "process:zab", Storage: "mem",
		Extra: map[string]string{"zkcore.plugin.timeoutMs": "30000"}})
	ctx, cancel := patience()
	defer cancel()
	c, err := client.Dial(ctx, []string{e.Follower().Addr()}, 6*time.Second, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Abandon)
	leader := e.Leader()
	pid := modulePid(t, leader, plugins.KindConsensus)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(15 * time.Second)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	must(t, connect(t, e.Addrs()...), client.CreateOp{Path: "/behind"}) // any end of a session that was on its way has come
	if err := c.WaitState(ctx, client.Connected); err != nil {
		t.Error(err)
	}
	for _, s := range e.Servers {
		if strings.Contains(s.Log(), "session expired") || strings.Contains(s.Log(), moduleLine) {
			t.Errorf("server %d:\n%s", s.ID, s.Log())
		}
	}
}

// TestModuleByName finds a program in zkcore.plugin.dir, and its log lines and metrics are the
// server's.
func TestModuleByName(t *testing.T) {
	path, _ := harness.Module(t, plugins.KindConsensus, "zab")
	dir := t.TempDir()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// No such name is built in.
	if err := os.WriteFile(filepath.Join(dir, "zkcore-consensus-mine"), raw, 0o755); err != nil {
		t.Fatal(err)
	}
	_, sum := harness.Module(t, plugins.KindConsensus, "zab")
	e := harness.Start(t, harness.Options{Consensus: "mine", Storage: "mem",
		Extra: map[string]string{"zkcore.plugin.dir": dir, "zkcore.plugin.mine.sha256": sum}})
	s := e.Servers[0]
	c := connect(t, s.Addr())
	must(t, c, client.CreateOp{Path: "/a"})
	if !strings.Contains(s.Log(), "INFO  - transaction log read snapshot=0x0") {
		t.Errorf("the module's lines are not the server's:\n%s", s.Log())
	}
	eventually(t, "the module's metrics are the server's", func() bool {
		m, err := s.Monitor()
		return err == nil && m["zk_fsynctime_count"] != "" && m["zk_fsynctime_count"] != "0" || m["zk_cnt_fsynctime"] != "" && m["zk_cnt_fsynctime"] != "0"
	})
}

// TestPluginCommand lists and verifies what is in zkcore.plugin.dir.
func TestPluginCommand(t *testing.T) {
	path, sum := harness.Module(t, plugins.KindStorage, "mem")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"zkcore-storage-good", "zkcore-storage-unnamed", "zkcore-consensus-wrong", "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	pipe := filepath.Join(dir, "zkcore-storage-pipe") // which nobody ever writes to
	if err := syscall.Mkfifo(pipe, 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := filepath.Join(t.TempDir(), "zoo.cfg")
	text := fmt.Sprintf("dataDir=%s\nzkcore.plugin.dir=%s\nzkcore.plugin.good.sha256=%s\nzkcore.plugin.wrong.sha256=%s\n", t.TempDir(), dir, sum, sum)
	if err := os.WriteFile(cfg, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(code int, args ...string) string {
		t.Helper()
		cmd := exec.Command(harness.Binary(t), append(append([]string{"plugin"}, args...), "--config="+cfg)...)
		out, err := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Errorf("plugin %v: exit code %d, want %d (%v)\n%s", args, got, code, err, out)
		}
		return string(out)
	}
	list := strings.Join(strings.Fields(run(0, "list")), " ")
	for _, want := range []string{
		"consensus zab built in ok -", "storage mem built in ok -",
		"storage good " + dir + "/zkcore-storage-good ok " + sum, "storage unnamed " + dir + "/zkcore-storage-unnamed no checksum configured " + sum,
		"storage pipe " + pipe + " " + pipe + " is not a file",
	} {
		if !strings.Contains(list, want) {
			t.Errorf("plugin list has no %q:\n%s", want, list)
		}
	}
	if strings.Contains(list, "other") {
		t.Errorf("plugin list has what is no module:\n%s", list)
	}
	all := run(2, "verify")
	for _, want := range []string{
		"storage good: " + dir + "/zkcore-storage-good: ok, version", "zkcore-storage-unnamed: no checksum is configured",
		"zkcore-consensus-wrong: it is a storage module, not a consensus one", "3 of 4 modules can't be used",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("plugin verify has no %q:\n%s", want, all)
		}
	}
	if out := run(0, "verify", "good"); !strings.Contains(out, "good: "+dir+"/zkcore-storage-good: ok") || strings.Contains(out, "wrong") {
		t.Errorf("plugin verify good:\n%s", out)
	}
	run(1, "verify", "none")
}
