package clients

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/test/harness"
)

// suitePatience bounds one client program as a whole. It only ends programs that hang.
const suitePatience = 5 * time.Minute

// drive runs a client program and reports each of its cases as a subtest.
//
// The program says on its stdout, one to a line:
//
//	ok NAME            a case held
//	fail NAME: WHY     it did not; a stack trace may follow on stderr
//	@kill PORT         kill -9 the server with that client port
//	@start PORT        start it again, and wait until all running servers serve
//	@restore           start all that don't run, and wait likewise
//	@leader            tell the client port of the leader
//
// Each @ line is answered by one line on its stdin: done, or the port. All names in want must come,
// so that a case can't get lost, and no others.
func drive(t *testing.T, e *harness.Ensemble, cmd *exec.Cmd, want ...string) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr tail
	cmd.Stderr = &stderr
	if err := harness.Spawn(cmd); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(suitePatience, func() {
		fmt.Fprintf(&stderr, "\nkilled by the test after %v\n", suitePatience)
		_ = cmd.Process.Kill() // it may just have ended
	})
	defer kill.Stop()

	results := make(map[string]string)
	var other strings.Builder
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "ok":
			results[rest] = ""
		case "fail":
			name, why, _ := strings.Cut(rest, ": ")
			results[name] = why
			if why == "" {
				results[name] = "no reason given"
			}
		case "@kill":
			byPort(t, e, rest).Kill9()
			reply(t, in, "done")
		case "@start":
			byPort(t, e, rest).Start()
			e.Await()
			reply(t, in, "done")
		case "@restore":
			for _, s := range e.Servers {
				if !s.Running() {
					s.Start()
				}
			}
			e.Await()
			reply(t, in, "done")
		case "@leader":
			reply(t, in, strconv.Itoa(e.Leader().ClientPort))
		default:
			other.WriteString(line + "\n")
		}
	}
	ended := cmd.Wait()
	for _, name := range want {
		t.Run(name, func(t *testing.T) {
			why, came := results[name]
			if !came {
				t.Fatal("the program did not get that far")
			}
			if why != "" {
				t.Fatal(why)
			}
		})
		delete(results, name)
	}
	for name := range results {
		t.Errorf("case %q is not one of those that must come", name)
	}
	if ended != nil {
		t.Errorf("%s: %v", filepath.Base(cmd.Path), ended)
	}
	if t.Failed() {
		t.Logf("stdout beside the cases:\n%s", other.String())
		t.Logf("stderr:\n%s", stderr.String())
	}
}

func byPort(t *testing.T, e *harness.Ensemble, port string) *harness.Server {
	t.Helper()
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatalf("the client program names port %q", port)
	}
	return e.ByPort(n)
}

func reply(t *testing.T, in io.Writer, line string) {
	t.Helper()
	if _, err := io.WriteString(in, line+"\n"); err != nil {
		t.Fatalf("answer the client program: %v", err)
	}
}

// A tail keeps the end of what is written to it. It is written by one goroutine, and once more when
// the program is killed for its time.
type tail struct{ b []byte }

func (w *tail) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	if over := len(w.b) - 16<<10; over > 0 {
		w.b = append(w.b[:0], w.b[over:]...)
	}
	return len(p), nil
}

func (w *tail) String() string { return string(w.b) }

// cached returns a path that setup/install.sh makes below .cache/clients.
func cached(t *testing.T, path string) string {
	t.Helper()
	p := filepath.Join(harness.Root(), ".cache", "clients", path)
	if _, err := os.Stat(p); err != nil {
		t.Fatalf("%v: %s", err, harness.InstallHint)
	}
	return p
}

// here returns the absolute path of a file of this package.
func here(t *testing.T, path string) string {
	t.Helper()
	p, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
