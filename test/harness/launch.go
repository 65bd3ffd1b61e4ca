package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Apache reports whether the servers are Apache's by the environment's wish.
func Apache() bool { return os.Getenv("ZKCORE_TEST_SERVER") == "apache" }

// command makes the command that runs the server.
func (s *Server) command() *exec.Cmd {
	s.t.Helper()
	var prefix []string
	if s.opt.Prefix != nil {
		prefix = s.opt.Prefix(s.ID)
	}
	if !s.Apache {
		bin := s.opt.Binary
		if bin == "" {
			bin = Binary(s.t)
		}
		args := append(append(append(prefix, bin, "--config="+s.Config), s.opt.Args...), s.Args...)
		return exec.Command(args[0], args[1:]...)
	}
	// The heap is small, so that several of them leave room for the clients.
	classpath := s.opt.ApacheClasspath
	if classpath == "" {
		classpath = ApacheClasspath(s.t)
	}
	args := []string{"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dzookeeper.jmx.log4j.disable=true", "-cp", classpath}
	args = append(append(args, s.opt.JVMArgs...), // of a property given twice the last counts
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", s.Config)
	args = append(append(prefix, Tool(s.t, "java", "default-jre-headless")), args...)
	return exec.Command(args[0], args[1:]...)
}

// InstallHint is what a test says when a tool is missing.
const InstallHint = "run test/clients/setup/install.sh (make test does so)"

// Tool finds a program. A missing one fails the test: a suite that is skipped proves nothing.
func Tool(t testing.TB, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing (Debian: %s): %s", name, debian, InstallHint)
	}
	return path
}

// ApacheClasspath is what Apache's server and shell run with: those of Debian's package zookeeper,
// unless the environment names others.
func ApacheClasspath(t testing.TB) string {
	t.Helper()
	if cp := os.Getenv("ZKCORE_TEST_APACHE_CLASSPATH"); cp != "" {
		return cp
	}
	const dir = "/usr/share/java/"
	jars := []string{dir + "zookeeper.jar", dir + "slf4j-simple.jar"} // the manifest of the first names the others
	for _, jar := range jars {
		if _, err := os.Stat(jar); err != nil {
			t.Fatalf("%v (Debian: zookeeper): %s", err, InstallHint)
		}
	}
	return strings.Join(jars, ":")
}

// ApacheRelease is the class path of the release that zkcore says to be like, 3.9.5: the jars that the
// clients' tests use; what a server needs beside them comes from Debian.
func ApacheRelease(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(Root(), ".cache", "clients", "curator")
	var jars []string
	for _, pattern := range []string{"zookeeper-3.9.5.jar", "zookeeper-jute-3.9.5.jar", "netty-*.jar", "slf4j-*.jar"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			t.Fatalf("no %s in %s: %s", pattern, dir, InstallHint)
		}
		jars = append(jars, found...)
	}
	for _, name := range []string{"metrics-core.jar", "snappy-java.jar"} {
		jar := filepath.Join("/usr/share/java", name)
		if _, err := os.Stat(jar); err != nil {
			t.Fatalf("%v (Debian: zookeeper): %s", err, InstallHint)
		}
		jars = append(jars, jar)
	}
	return strings.Join(jars, ":")
}

var binary struct {
	sync.Once
	path string
	err  error
}

// Binary returns the zkcore binary, built from this checkout the first time that the test process
// asks for it.
func Binary(t testing.TB) string {
	t.Helper()
	binary.Do(func() { binary.path, binary.err = build() })
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return binary.path
}

// Root is the root of this checkout.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Build builds the zkcore binary with build tags, for this test process. It is not the one of
// ZKCORE_TEST_BINARY, which says nothing of tags.
func Build(tags string) (string, error) { return compile("-tags", tags) }

// build builds into a folder of the machine's temporary one that is named for this process. It
// can't be a test's TempDir, since later tests of the process use it too; what earlier processes
// left there is swept here.
func build() (string, error) {
	if bin := os.Getenv("ZKCORE_TEST_BINARY"); bin != "" {
		return filepath.Abs(bin)
	}
	return compile()
}

func compile(flags ...string) (string, error) { return compileProgram("zkcore", flags...) }

func compileProgram(name string, flags ...string) (string, error) {
	sweep()
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", buildPrefix, os.Getpid()))
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, name)
	args := append(append([]string{"build"}, flags...), "-o", bin, "./cmd/"+name)
	cmd := exec.Command("go", args...)
	cmd.Dir = Root()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return bin, nil
}

const buildPrefix = "zkcore-test-"

// sweep removes the binaries of test processes that are gone.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), buildPrefix+"*-*"))
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscanf(strings.TrimPrefix(filepath.Base(dir), buildPrefix), "%d-", &pid); err != nil {
			continue
		}
		if syscall.Kill(pid, 0) == syscall.ESRCH {
			_ = os.RemoveAll(dir) // another process may sweep the same folder
		}
	}
}

// spawn starts cmd so that it dies with this process, however that dies. The kernel ties such a
// promise to the thread that started the child, so all of them are started by one thread that
// never ends.
func spawn(cmd *exec.Cmd) error {
	spawner.Do(func() {
		go func() {
			runtime.LockOSThread()
			for cmd := range spawner.in {
				spawner.out <- cmd.Start()
			}
		}()
	})
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	spawner.Lock()
	defer spawner.Unlock()
	spawner.in <- cmd
	return <-spawner.out
}

var spawner = struct {
	sync.Once
	sync.Mutex
	in  chan *exec.Cmd
	out chan error
}{in: make(chan *exec.Cmd), out: make(chan error)}

// Spawn starts a client program so that it dies with the test process.
func Spawn(cmd *exec.Cmd) error { return spawn(cmd) }
