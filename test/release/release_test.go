// Package release unpacks what make dist makes and does with it what the usual
// ZooKeeper tutorial says, word for word.
package release

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zkcore/zkcore/test/harness"
)

// run runs a command and returns what it printed and its exit code.
func run(t *testing.T, dir string, env []string, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var out, errs strings.Builder
	// A file, not a pipe: a server that was started in the background keeps the
	// script's stdout, and a pipe would be waited for.
	outFile, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer outFile.Close()
	errFile, err := os.CreateTemp(t.TempDir(), "err")
	if err != nil {
		t.Fatal(err)
	}
	defer errFile.Close()
	cmd.Stdout, cmd.Stderr = outFile, errFile
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	for f, to := range map[*os.File]*strings.Builder{outFile: &out, errFile: &errs} {
		raw, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		to.Write(raw)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

var (
	once sync.Once
	dist string
)

func TestMain(m *testing.M) {
	code := m.Run()
	if dist != "" {
		if err := os.RemoveAll(dist); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

// unpack makes a release, once, and unpacks it into n folders.
func unpack(t *testing.T, n int) []string {
	t.Helper()
	once.Do(func() {
		dir, err := os.MkdirTemp("", "zkcore-dist")
		if err != nil {
			t.Fatal(err)
		}
		dist = dir
		out, errs, code := run(t, harness.Root(), []string{"DIST_DIR=" + dist}, "bash", "scripts/dist.sh", "0.0.0-test")
		if code != 0 {
			t.Fatalf("make dist: exit %d\n%s%s", code, out, errs)
		}
	})
	var homes []string
	for i := range n {
		dir := t.TempDir()
		if out, errs, code := run(t, dir, nil, "tar", "xzf", filepath.Join(dist, "zkcore-0.0.0-test.tar.gz")); code != 0 {
			t.Fatalf("tar: %s%s", out, errs)
		}
		home := filepath.Join(dir, fmt.Sprintf("zookeeper%d", i+1))
		if err := os.Rename(filepath.Join(dir, "zkcore-0.0.0-test"), home); err != nil {
			t.Fatal(err)
		}
		homes = append(homes, home)
	}
	return homes
}

// samePort finds a port that is free on several addresses.
func samePort(t *testing.T, addrs ...string) int {
	t.Helper()
	for range 100 {
		port := harness.FreePort(t)
		free := true
		for _, a := range addrs {
			l, err := net.Listen("tcp", net.JoinHostPort(a, strconv.Itoa(port)))
			if err != nil {
				free = false
				continue
			}
			l.Close()
		}
		if free {
			return port
		}
	}
	t.Fatal("no port is free on all addresses")
	return 0
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestTutorial sets up the tutorial's two nodes.
func TestTutorial(t *testing.T) {
	homes := unpack(t, 2)
	hosts := []string{"127.0.0.1", "127.0.0.2"}
	quorum, election, client := samePort(t, hosts...), samePort(t, hosts...), samePort(t, hosts...)
	server := func(i int) string { return filepath.Join(homes[i], "bin", "zkServer.sh") }
	for i, home := range homes {
		conf := filepath.Join(home, "conf")
		if out, errs, code := run(t, conf, nil, "cp", "zoo_sample.cfg", "zoo.cfg"); code != 0 {
			t.Fatal(out, errs)
		}
		raw, err := os.ReadFile(filepath.Join(conf, "zoo.cfg"))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(raw), "dataDir=/tmp/zookeeper", "dataDir="+filepath.Join(home, "data"), 1)
		text = strings.Replace(text, "clientPort=2181", fmt.Sprintf("clientPort=%d\nclientPortAddress=%s", client, hosts[i]), 1)
		text += fmt.Sprintf("server.1=%s:%d:%d\nserver.2=%s:%d:%d\n", hosts[0], quorum, election, hosts[1], quorum, election)
		write(t, filepath.Join(conf, "zoo.cfg"), text)
		if err := os.Mkdir(filepath.Join(home, "data"), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(home, "data", "myid"), fmt.Sprintln(i+1))
	}

	// Before the start: nothing to stop, nobody to ask.
	if out, _, code := run(t, homes[0], nil, server(0), "status"); code != 1 || !strings.Contains(out, "Error contacting service. It is probably not running.") {
		t.Errorf("status of a server that does not run: exit %d, %q", code, out)
	}
	if out, _, code := run(t, homes[0], nil, server(0), "stop"); code != 0 || !strings.Contains(out, "no zookeeper to stop (could not find file") {
		t.Errorf("stop of a server that does not run: exit %d, %q", code, out)
	}

	for i := range homes {
		t.Cleanup(func() { run(t, homes[i], nil, server(i), "stop") })
		out, errs, code := run(t, homes[i], nil, server(i), "start")
		if code != 0 || out != "Starting zookeeper ... STARTED\n" || !strings.Contains(errs, "Using config: ") {
			t.Fatalf("start: exit %d, %q, %q", code, out, errs)
		}
	}
	status := func(i int) string {
		out, _, code := run(t, homes[i], nil, server(i), "status")
		mode := regexp.MustCompile(`(?m)^Mode: (\w+)$`).FindStringSubmatch(out)
		if code != 0 || mode == nil {
			return ""
		}
		if want := fmt.Sprintf("Client port found: %d. Client address: %s. Client SSL: false.\n", client, hosts[i]); !strings.HasPrefix(out, want) {
			t.Errorf("status says %q, want %q first", out, want)
		}
		return mode[1]
	}
	var modes [2]string
	for end := time.Now().Add(harness.Patience); ; {
		modes = [2]string{status(0), status(1)}
		if modes == [2]string{"follower", "leader"} || modes == [2]string{"leader", "follower"} {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("modes %q", modes)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if out, _, code := run(t, homes[0], nil, server(0), "start"); code != 1 || !strings.Contains(out, "already running as process") {
		t.Errorf("a second start: exit %d, %q", code, out)
	}

	// The shell, through one server and the other.
	cli := func(i int, args ...string) (string, string, int) {
		return run(t, homes[i], nil, filepath.Join(homes[i], "bin", "zkCli.sh"),
			append([]string{"-server", fmt.Sprintf("%s:%d", hosts[i], client)}, args...)...)
	}
	if out, errs, code := cli(0, "create", "/tutorial", "hello"); code != 0 || !strings.Contains(errs, "Created /tutorial") {
		t.Errorf("create: exit %d, %q, %q", code, out, errs)
	}
	if out, errs, code := cli(1, "get", "/tutorial"); code != 0 || !strings.Contains(out, "hello") {
		t.Errorf("get: exit %d, %q, %q", code, out, errs)
	}

	if out, _, code := run(t, homes[1], nil, server(1), "restart"); code != 0 || !strings.Contains(out, "STOPPED") || !strings.Contains(out, "STARTED") {
		t.Errorf("restart: exit %d, %q", code, out)
	}
	for i := range homes {
		if out, _, code := run(t, homes[i], nil, server(i), "stop"); code != 0 || out != "Stopping zookeeper ... STOPPED\n" {
			t.Errorf("stop: exit %d, %q", code, out)
		}
	}
}

// TestInit does it by the init script, with Apache's -D words in JVMFLAGS.
func TestInit(t *testing.T) {
	home := unpack(t, 1)[0]
	port := harness.FreePort(t)
	// The environment beats the file, for the script too.
	write(t, filepath.Join(home, "conf", "zoo.cfg"), fmt.Sprintf("tickTime=2000\ndataDir=%s/data\nclientPort=1\n", home))
	script := filepath.Join(home, "deploy", "init.d", "zookeeper")
	env := []string{"ZOOKEEPER_HOME=" + home, "SERVER_JVMFLAGS=-Xmx1g -Dzookeeper.4lw.commands.whitelist=ruok -Dlog4j.x=y", fmt.Sprintf("ZKCORE_CLIENTPORT=%d", port)}
	init := func(args ...string) (string, string, int) { return run(t, "/", env, script, args...) }
	raw, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^# chkconfig: \d+ \d+ \d+$`).Match(raw) || !strings.Contains(string(raw), "\n# description: ") {
		t.Error("no chkconfig header")
	}
	t.Cleanup(func() { init("stop") })
	if out, errs, code := init("start"); code != 0 || !strings.Contains(out, "STARTED") {
		t.Fatalf("start: exit %d, %q, %q", code, out, errs)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	for end := time.Now().Add(harness.Patience); ; time.Sleep(50 * time.Millisecond) {
		if out, _, code := init("status"); code == 0 && strings.Contains(out, "Mode: standalone") {
			break
		} else if time.Now().After(end) {
			t.Fatalf("status: exit %d, %q", code, out)
		}
	}
	if answer, err := harness.FourLetter(addr, "ruok"); err != nil || answer != "imok" {
		t.Errorf("the property in SERVER_JVMFLAGS had no effect: %q, %v", answer, err)
	}
	for _, args := range [][]string{{"explode"}, {}} {
		if _, errs, code := init(args...); code == 0 || !strings.Contains(errs, "{start|stop|restart|status}") {
			t.Errorf("%v: exit %d, %q", args, code, errs)
		}
	}
	if out, _, code := init("stop"); code != 0 || !strings.Contains(out, "STOPPED") {
		t.Errorf("stop: exit %d, %q", code, out)
	}
	if _, _, code := init("status"); code != 1 {
		t.Errorf("status after stop: exit %d", code)
	}
}

// TestScript tries what the other tests leave out.
func TestScript(t *testing.T) {
	home := unpack(t, 1)[0]
	script := filepath.Join(home, "bin", "zkServer.sh")
	conf := t.TempDir()
	write(t, filepath.Join(conf, "zoo.cfg"), "dataDir="+conf+"\nclientPort=0x\n")
	if _, errs, code := run(t, "/", nil, script); code != 0 || !strings.Contains(errs, "{start|start-foreground|stop|version|restart|status|print-cmd}") {
		t.Errorf("no action: exit %d, %q", code, errs)
	}
	if out, _, code := run(t, "/", nil, script, "version"); code != 0 || !regexp.MustCompile(`Apache ZooKeeper, version \d+\.\d+\.\d+`).MatchString(out) {
		t.Errorf("version: exit %d, %q", code, out)
	}
	out, _, code := run(t, "/", []string{"JVMFLAGS=-Da.b=c"}, script, "--config", conf, "print-cmd")
	if code != 0 || !strings.Contains(out, "-Da.b=c") || !strings.Contains(out, "--config="+conf+"/zoo.cfg") {
		t.Errorf("print-cmd: exit %d, %q", code, out)
	}
	// A configuration that is refused, in the foreground and behind it.
	if _, errs, code := run(t, "/", nil, script, "--config", conf, "start-foreground"); code != 2 || !strings.Contains(errs, "zoo.cfg:2: clientPort: ") {
		t.Errorf("a bad port in the foreground: exit %d, %q", code, errs)
	}
	out, errs, code := run(t, "/", nil, script, "--config", conf, "start")
	if code != 1 || !strings.Contains(out, "SERVER DID NOT START") || !strings.Contains(errs, "zoo.cfg:2: clientPort: ") {
		t.Errorf("a bad port: exit %d, %q, %q", code, out, errs)
	}
	if _, _, code := run(t, "/", []string{"ZOO_DATADIR_AUTOCREATE_DISABLE=1"}, script, "--config", conf, "start"); code != 1 {
		t.Errorf("start without version-2 though it may not be made: exit %d", code)
	}
	if _, errs, code := run(t, "/", nil, script, "--config", home, "start"); code != 1 || !strings.Contains(errs, "zoo.cfg file is missing") {
		t.Errorf("start without a zoo.cfg: exit %d, %q", code, errs)
	}
	if _, errs, code := run(t, "/", nil, script, "--config", home, "start-foreground"); code != 2 || !strings.Contains(errs, "zoo.cfg file is missing") {
		t.Errorf("start-foreground without a zoo.cfg: exit %d, %q", code, errs)
	}
	// The unit starts what is there, and may write where the usual dataDir is.
	raw, err := os.ReadFile(filepath.Join(home, "deploy", "systemd", "zookeeper.service"))
	if err != nil {
		t.Fatal(err)
	}
	if text := string(raw); strings.Contains(text, "ProtectSystem=") && !strings.Contains(text, "\nReadWritePaths=-/usr/local/zookeeper\n") {
		t.Error("the unit makes the usual dataDir read-only")
	}
	// Go's crash ends with 2, too, as a bad configuration does, unless it is told to end by a signal.
	if text := string(raw); strings.Contains(text, "\nRestartPreventExitStatus=2\n") && !strings.Contains(text, "\nEnvironment=GOTRACEBACK=crash\n") {
		t.Error("the unit does not start the server again that has crashed")
	}
	start := regexp.MustCompile(`(?m)^ExecStart=/usr/local/zookeeper/(\S+) start-foreground$`).FindSubmatch(raw)
	if start == nil {
		t.Fatal("no ExecStart")
	}
	if _, err := os.Stat(filepath.Join(home, string(start[1]))); err != nil {
		t.Error(err)
	}
}

// TestDeadServer has the pid of a server that ended and that nobody waited for,
// as it stays in a container whose first process waits for no one.
func TestDeadServer(t *testing.T) {
	home := unpack(t, 1)[0]
	script := filepath.Join(home, "bin", "zkServer.sh")
	data := filepath.Join(home, "data")
	write(t, filepath.Join(home, "conf", "zoo.cfg"), fmt.Sprintf("tickTime=2000\ndataDir : %s\nclientPort %d\n", data, harness.FreePort(t)))
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	dead := exec.Command(filepath.Join(home, "bin", "zkcore"), "--config="+filepath.Join(home, "nothing.cfg"))
	if err := dead.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var exit *exec.ExitError
		if err := dead.Wait(); !errors.As(err, &exit) {
			t.Error(err)
		}
	})
	for end := time.Now().Add(harness.Patience); ; time.Sleep(10 * time.Millisecond) {
		if raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", dead.Process.Pid)); err != nil || strings.Contains(string(raw), "\nState:\tZ") {
			break
		} else if time.Now().After(end) {
			t.Fatalf("it does not end: %s", raw)
		}
	}
	pidfile := filepath.Join(data, "zookeeper_server.pid")
	write(t, pidfile, fmt.Sprintln(dead.Process.Pid))
	t.Cleanup(func() { run(t, home, nil, script, "stop") })
	if out, errs, code := run(t, home, nil, script, "start"); code != 0 || !strings.Contains(out, "STARTED") {
		t.Fatalf("start: exit %d, %q, %q", code, out, errs)
	}
	if out, errs, code := run(t, home, nil, script, "restart"); code != 0 || !strings.Contains(out, "STARTED") {
		t.Fatalf("restart: exit %d, %q, %q", code, out, errs)
	}
	// One that takes its time to end is waited for: its data is locked until then.
	raw, err := os.ReadFile(pidfile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn := time.AfterFunc(6*time.Second, func() { syscall.Kill(pid, syscall.SIGCONT) })
	defer goOn.Stop()
	if out, errs, code := run(t, home, nil, script, "restart"); code != 0 || !strings.HasSuffix(out, "STOPPED\nStarting zookeeper ... STARTED\n") {
		t.Fatalf("restart of a server that is slow to end: exit %d, %q, %q", code, out, errs)
	}
	if logs, err := filepath.Glob(filepath.Join(home, "logs", "*.out.1")); err != nil || len(logs) != 1 {
		t.Errorf("the log of the server before is not kept: %v, %v", logs, err)
	}
}
