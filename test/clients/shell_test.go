package clients

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zkcore/zkcore/test/harness"
)

var rewrite = flag.Bool("rewrite", false, "write the shell's outputs in testdata anew (only with ZKCORE_TEST_SERVER=apache)")

// testdata/shell.txt is a session of Apache's shell as Apache's server answered it: blocks of a
// command, a line ----, and what the shell printed (stdout and stderr). The zxids stand as they
// came: the server is a fresh one and the shell its only client. Times are written as <time>,
// sessions as 0x<session>. «events N» is no command of the shell: it waits for N watch events and
// prints them.
func TestShellScript(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{}).Servers[0]
	sh := startShell(t, shellCommand(t, s.Addr()))
	checkScript(t, "testdata/shell.txt", func(command string) string {
		return sh.run(t, command)
	})
	sh.quit(t)
}

// eventZxid is what an event has behind its path since 3.9; the recorded shell is Debian's.
var eventZxid = regexp.MustCompile(`(?m) zxid: -?\d+$`)

// Our own shell prints what Apache's did.
func TestOwnShellScript(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{}).Servers[0]
	bin := filepath.Join(t.TempDir(), "zkcli")
	build := exec.Command("go", "build", "-o", bin, "./cmd/zkcli")
	build.Dir = harness.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sh := startShell(t, exec.Command(bin, "-timeout", "300000", "-server", s.Addr()))
	checkScript(t, "testdata/shell.txt", func(command string) string {
		var b strings.Builder
		for line := range strings.Lines(sh.run(t, command)) {
			if !strings.HasPrefix(line, "[zk: ") { // it repeats each command behind its prompt, as Apache's does on a terminal
				b.WriteString(eventZxid.ReplaceAllString(line, ""))
			}
		}
		return b.String()
	})
	sh.quit(t)
}

// testdata/oneshot.txt likewise, each command a run of the shell of its own; its exit code is the
// last line.
func TestShellOneShot(t *testing.T) {
	t.Parallel()
	// The shell leaves without closing its session; none of them may expire meanwhile.
	s := harness.Start(t, harness.Options{Extra: map[string]string{"maxSessionTimeout": "300000"}}).Servers[0]
	checkScript(t, "testdata/oneshot.txt", func(command string) string {
		cmd := shellCommand(t, s.Addr(), words(command)...)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		text := strings.TrimPrefix(string(out), "Connecting to "+s.Addr()+"\n")
		text, _ = cutEvents(text)
		return fmt.Sprintf("%sexit %d\n", settle(text), cmd.ProcessState.ExitCode())
	})
}

// The shell's session goes on when its server dies.
func TestShellServerDies(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{Servers: 3})
	sh := startShell(t, shellCommand(t, e.Connect()))
	must := func(command, want string) {
		t.Helper()
		if got := sh.run(t, command); got != want {
			t.Fatalf("%s\ngot:\n%swant:\n%s", command, got, want)
		}
	}
	must("create /persistent before", "Created /persistent\n")
	must("create -e /ephemeral mine", "Created /ephemeral\n")
	must("get -w /persistent", "before\n")
	owner := func() string {
		m := regexp.MustCompile(`ephemeralOwner = 0x([0-9a-f]+)`).FindStringSubmatch(sh.raw(t, "stat /ephemeral"))
		if m == nil {
			t.Fatal("/ephemeral has no owner")
		}
		return m[1]
	}
	session := owner()

	server := sessionsServer(t, e, session)
	server.Kill9()
	// What was under way may be lost with the connection. The shell says so, and is asked again.
	end := time.Now().Add(harness.Patience)
	for sh.run(t, "get /ephemeral") != "mine\n" {
		if time.Now().After(end) {
			t.Fatal("the shell does not come back")
		}
		time.Sleep(100 * time.Millisecond)
	}
	if now := owner(); now != session {
		t.Fatalf("session 0x%s, before 0x%s", now, session)
	}
	must("set /persistent after", "")
	want := "WatchedEvent state:SyncConnected type:NodeDataChanged path:/persistent\n"
	for {
		ev := sh.event(t)
		if ev == want {
			break
		}
		if !strings.Contains(ev, "type:None") { // disconnected, connected
			t.Fatalf("event %q, want %q", ev, want)
		}
	}
	server.Start()
	e.Await()
	sh.quit(t)
}

// A shell that was started to read only, on a server that is alone, and its way to one that takes writes.
func TestShellReadOnly(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{Servers: 3, TickTimeMS: 400, Extra: map[string]string{"readonlymode.enabled": "true"}})
	writer := startShell(t, shellCommand(t, e.Connect()))
	writer.run(t, "create /ro before")
	for _, s := range e.Servers[1:] {
		s.Kill9()
	}
	awaitReadOnly(t, e.Servers[0])
	sh := startShell(t, shellCommand(t, e.Connect(), "-r"))
	if got := sh.run(t, "get /ro"); got != "before\n" {
		t.Fatalf("get: %q", got)
	}
	for command, want := range map[string]string{
		"set /ro after": "Not a read-only call", "create /more": "Not a read-only call", "delete /ro": "Not a read-only call", "sync /ro": "rc=-119",
	} {
		if got := sh.run(t, command); !strings.Contains(got, want) {
			t.Fatalf("%s: %q, want %q", command, got, want)
		}
	}
	if got := sh.run(t, "get /ro"); got != "before\n" {
		t.Fatalf("get: %q", got)
	}
	for _, s := range e.Servers[1:] {
		s.Start()
	}
	e.Await()
	for end := time.Now().Add(harness.Patience); sh.run(t, "set /ro after") != ""; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the shell does not find a server that takes writes")
		}
	}
	for !strings.Contains(sh.event(t), "state:SyncConnected type:None") { // behind those of the way
	}
	if got := sh.run(t, "get /ro"); got != "after\n" {
		t.Fatalf("get: %q", got)
	}
	sh.quit(t)
}

func awaitReadOnly(t *testing.T, s *harness.Server) {
	t.Helper()
	for end := time.Now().Add(harness.Patience); ; time.Sleep(20 * time.Millisecond) {
		text, err := s.FourLetter("isro")
		if err == nil && text == "ro" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("isro: %q, %v", text, err)
		}
	}
}

// sessionsServer finds the server that has a connection of that session.
func sessionsServer(t *testing.T, e *harness.Ensemble, session string) *harness.Server {
	t.Helper()
	for _, s := range e.Running() {
		text, err := s.FourLetter("cons")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(text, "sid=0x"+session) {
			return s
		}
	}
	t.Fatalf("no server says in cons that session 0x%s is connected to it", session)
	return nil
}

func shellCommand(t *testing.T, connect string, args ...string) *exec.Cmd {
	t.Helper()
	// Without a logging backend, so that what comes out is the shell's own words.
	cp := "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-nop.jar"
	harness.ApacheClasspath(t)
	args = append([]string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", cp,
		"org.apache.zookeeper.ZooKeeperMain", "-timeout", "300000", "-server", connect}, args...)
	return exec.Command(harness.Tool(t, "java", "default-jre-headless"), args...)
}

// A shell is an interactive one, spoken to over its stdin.
type shell struct {
	cmd *exec.Cmd
	in  io.WriteCloser

	mu     sync.Mutex
	out    bytes.Buffer
	ended  bool
	events []string
}

func startShell(t *testing.T, cmd *exec.Cmd) *shell {
	t.Helper()
	sh := &shell{cmd: cmd}
	var err error
	if sh.in, err = sh.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	sh.cmd.Stdout, sh.cmd.Stderr = w, w
	if err := harness.Spawn(sh.cmd); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		_ = sh.cmd.Process.Kill() // it has ended by itself if all went well
		_ = sh.cmd.Wait()
		r.Close()
	})
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			sh.mu.Lock()
			sh.out.Write(buf[:n])
			sh.ended = err != nil
			sh.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	// The first answer comes once the shell is connected.
	sh.raw(t, "ls /")
	state := "SyncConnected"
	if slices.Contains(cmd.Args, "-r") {
		state = "ConnectedReadOnly"
	}
	if ev := sh.event(t); !strings.Contains(ev, "state:"+state+" type:None") {
		t.Fatalf("the first event is %q", ev)
	}
	return sh
}

// fence is a command that the shell answers without its server, and its answer: where one ends, the
// output of the command before it has ended too.
const fence, fenced = "printwatches", "printwatches is on\n"

// raw runs a command and returns what the shell printed, without the watch events, which it keeps.
func (sh *shell) raw(t *testing.T, command string) string {
	t.Helper()
	if n, ok := strings.CutPrefix(command, "events "); ok {
		var count int
		if _, err := fmt.Sscan(n, &count); err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for range count {
			b.WriteString(sh.event(t))
		}
		return b.String()
	}
	if _, err := io.WriteString(sh.in, command+"\n"+fence+"\n"); err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	end := time.Now().Add(harness.Patience)
	for {
		sh.mu.Lock()
		text, events := cutEvents(sh.out.String())
		before, after, ok := strings.Cut(text, fenced)
		if ok {
			sh.out.Reset()
			sh.out.WriteString(after)
			sh.events = append(sh.events, events...)
		}
		ended := sh.ended
		sh.mu.Unlock()
		if ok {
			return before
		}
		if ended || time.Now().After(end) {
			t.Fatalf("%s: no end of the output (the shell has ended: %v):\n%s", command, ended, text)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (sh *shell) run(t *testing.T, command string) string {
	t.Helper()
	return settle(sh.raw(t, command))
}

// event returns the next watch event.
func (sh *shell) event(t *testing.T) string {
	t.Helper()
	end := time.Now().Add(harness.Patience)
	for {
		sh.mu.Lock()
		text, events := cutEvents(sh.out.String())
		sh.out.Reset()
		sh.out.WriteString(text)
		sh.events = append(sh.events, events...)
		var ev string
		if len(sh.events) > 0 {
			ev, sh.events = sh.events[0], sh.events[1:]
		}
		sh.mu.Unlock()
		if ev != "" {
			return ev
		}
		if time.Now().After(end) {
			t.Fatalf("no event; beside it the shell said %q", text)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// quit ends the shell as a user does.
func (sh *shell) quit(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(sh.in, "quit\n"); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(harness.Patience)
	for {
		sh.mu.Lock()
		ended, text := sh.ended, sh.out.String()
		sh.mu.Unlock()
		if ended {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the shell does not quit: %q", text)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

var (
	watcherLine = regexp.MustCompile(`\nWATCHER::\n`)
	eventLine   = regexp.MustCompile(`\n(WatchedEvent [^\n]*\n)`)
)

// cutEvents takes the watch events out of the shell's output. It prints them from a thread of its
// own, in the midst of anything.
func cutEvents(text string) (rest string, events []string) {
	text = watcherLine.ReplaceAllString(text, "")
	for _, m := range eventLine.FindAllStringSubmatch(text, -1) {
		events = append(events, m[1])
	}
	return eventLine.ReplaceAllString(text, ""), events
}

var (
	timeValue = regexp.MustCompile(`(?m)^([cm]time = ).*$`)
	ownerID   = regexp.MustCompile(`(ephemeralOwner = )0x[0-9a-f]{2,}`)
)

// settle replaces what differs from run to run.
func settle(text string) string {
	text = timeValue.ReplaceAllString(text, "$1<time>")
	text = ownerID.ReplaceAllString(text, "${1}0x<session>")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

// words splits a command line as the shell does.
func words(line string) []string {
	var out []string
	for _, m := range regexp.MustCompile(`'([^']*)'|"([^"]*)"|(\S+)`).FindAllStringSubmatch(line, -1) {
		out = append(out, m[1]+m[2]+m[3])
	}
	return out
}

var emptyLine = regexp.MustCompile(`(?m)^\n`)

// checkScript runs the commands of a script and compares what they print. Blocks are separated by
// blank lines, so an empty line of the output is written as ·; lines that begin with # are comments.
func checkScript(t *testing.T, file string, run func(command string) string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var anew strings.Builder
	bad := 0
	for _, block := range strings.Split(strings.TrimSpace(string(b)), "\n\n") {
		var comment strings.Builder
		for strings.HasPrefix(block, "#") {
			line, rest, _ := strings.Cut(block, "\n")
			comment.WriteString(line + "\n")
			block = rest
		}
		command, want, found := strings.Cut(block, "\n----\n")
		if !found {
			command = strings.TrimSuffix(command, "\n----")
			want = ""
		} else {
			want += "\n"
		}
		got := emptyLine.ReplaceAllString(run(command), "·\n")
		fmt.Fprintf(&anew, "%s%s\n----\n%s\n", &comment, command, got)
		if got != want && !*rewrite {
			bad++
			t.Errorf("%s\ngot:\n%swant:\n%s", command, got, want)
			if bad == 10 {
				t.Fatal("enough")
			}
		}
	}
	if *rewrite {
		if !harness.Apache() {
			t.Fatal("-rewrite takes down what Apache's server says: set ZKCORE_TEST_SERVER=apache")
		}
		if err := os.WriteFile(file, []byte(strings.TrimSpace(anew.String())+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
