package harness

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A Server is one member: a folder, its ports, and at times a process.
type Server struct {
	ID       int
	Observer bool
	Apache   bool // runs Apache's server; a test may change it for the next Start, on the same folder

	ClientPort, QuorumPort, ElectionPort int // the latter two 0 when standalone

	Host string // the address that it listens on

	Dir     string // holds all of the server's files
	DataDir string
	Config  string // zoo.cfg
	LogFile string // what all its processes wrote to stdout and stderr, one after the other

	Extra map[string]string // zoo.cfg lines of this server only; see Ensemble.WriteConfig
	Args  []string          // further arguments of this server only, behind those of the options
	Env   []string          // environment of this server only

	t      testing.TB
	opt    Options
	frozen bool
	proc   atomic.Pointer[process]
}

// A process is one run of a server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once the process was waited for
	err  error         // how it ended; read after done
}

// Start starts the process and does not wait for it to serve.
func (s *Server) Start() {
	s.t.Helper()
	if s.Running() {
		s.t.Fatalf("server %d runs already", s.ID)
	}
	log, err := os.OpenFile(s.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close() // the child has its own
	cmd := s.command()
	cmd.Dir = s.Dir
	cmd.Env = append(append(append(os.Environ(), cmd.Env...), s.opt.Env...), s.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := spawn(cmd); err != nil {
		s.t.Fatalf("start server %d: %v", s.ID, err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	s.frozen = false
	s.proc.Store(p)
}

// Running reports whether the process was started and neither stopped nor killed by the test. A
// process that ended by itself counts as running; see Died.
func (s *Server) Running() bool { return s.proc.Load() != nil }

// Died returns how the process ended, if it ended though nobody stopped it.
func (s *Server) Died() error {
	p := s.proc.Load()
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		return fmt.Errorf("server %d ended by itself: %v", s.ID, p.err)
	default:
		return nil
	}
}

// Stop ends the process with SIGTERM and waits until it is gone.
func (s *Server) Stop() {
	s.t.Helper()
	s.Signal(syscall.SIGTERM)
	if s.frozen {
		s.Signal(syscall.SIGCONT)
	}
	s.gone(Patience)
}

// Kill9 ends the process with SIGKILL and waits until it is gone.
func (s *Server) Kill9() {
	s.t.Helper()
	s.Signal(syscall.SIGKILL)
	s.gone(Patience)
}

// Signal sends a signal. A server stopped by SIGSTOP is left out of Ensemble.Await until its SIGCONT.
func (s *Server) Signal(sig syscall.Signal) {
	s.t.Helper()
	p := s.proc.Load()
	if p == nil {
		s.t.Fatalf("server %d does not run", s.ID)
	}
	if err := s.Died(); err != nil {
		s.t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatalf("signal server %d: %v", s.ID, err)
	}
	switch sig {
	case syscall.SIGSTOP:
		s.frozen = true
		s.awaitStopped(p.cmd.Process.Pid)
	case syscall.SIGCONT:
		s.frozen = false
	}
}

// awaitStopped waits until no thread of a process runs any more: one of them has to take the signal
// first, and the others go on until it does.
func (s *Server) awaitStopped(pid int) {
	s.t.Helper()
	for end := time.Now().Add(Patience); !stopped(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("server %d (pid %d) does not stop", s.ID, pid)
		}
	}
}

func stopped(pid int) bool {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(stats) == 0 {
		return false
	}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // a thread that is no more
		}
		// The state is behind the name, which stands in parentheses and may hold any byte.
		if rest := b[bytes.LastIndexByte(b, ')')+1:]; len(rest) < 2 || rest[1] != 'T' {
			return false
		}
	}
	return true
}

// Wait waits until the process has ended by itself, and returns its exit code (-1 after a signal).
func (s *Server) Wait() int {
	s.t.Helper()
	p := s.proc.Load()
	if p == nil {
		s.t.Fatalf("server %d does not run", s.ID)
	}
	s.gone(Patience)
	return p.cmd.ProcessState.ExitCode()
}

// Restart starts a server that was stopped or killed, and waits until it serves. It stops it first
// if it runs.
func (s *Server) Restart() {
	s.t.Helper()
	if s.Running() {
		s.Stop()
	}
	s.Start()
	s.Await()
}

// Await returns when the server serves.
func (s *Server) Await() {
	s.t.Helper()
	end := time.Now().Add(Patience)
	for {
		_, err := s.Mode()
		if err == nil {
			return
		}
		if died := s.Died(); died != nil {
			s.t.Fatal(died)
		}
		if time.Now().After(end) {
			s.t.Fatalf("after %v server %d does not serve: %v", Patience, s.ID, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// gone waits for the end of the process and forgets it.
func (s *Server) gone(patience time.Duration) {
	s.t.Helper()
	p := s.proc.Load()
	select {
	case <-p.done:
		s.proc.Store(nil)
		s.frozen = false
	case <-time.After(patience):
		s.t.Fatalf("after %v server %d (pid %d) has not ended", patience, s.ID, p.cmd.Process.Pid)
	}
}

// end kills what still runs, at the end of the test.
func (s *Server) end() {
	p := s.proc.Load()
	if p == nil {
		return
	}
	// A process that has ended is no failure here: the test had Died to ask.
	_ = p.cmd.Process.Kill()
	<-p.done
	s.proc.Store(nil)
}

// Pid is the process id, 0 if there is no process.
func (s *Server) Pid() int {
	if p := s.proc.Load(); p != nil {
		return p.cmd.Process.Pid
	}
	return 0
}

// Addr is the client address.
func (s *Server) Addr() string { return fmt.Sprintf("%s:%d", s.Host, s.ClientPort) }

// Log is all that the server's processes have written so far.
func (s *Server) Log() string {
	b, err := os.ReadFile(s.LogFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Error(err)
	}
	return string(b)
}

// fourLetterPatience is for the answer to one word. A frozen server accepts and says nothing.
const fourLetterPatience = 5 * time.Second

// FourLetter sends a four-letter word and returns all of the answer.
func (s *Server) FourLetter(word string) (string, error) { return FourLetter(s.Addr(), word) }

// FourLetter sends a four-letter word to addr and returns all of the answer.
func FourLetter(addr, word string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, fourLetterPatience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(fourLetterPatience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, word); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	if err != nil {
		return "", fmt.Errorf("%s to %s: %w", word, addr, err)
	}
	return string(b), nil
}

// Mode is what the server says of itself in srvr: leader, follower, observer, standalone. A server
// that does not serve (yet) is an error.
func (s *Server) Mode() (string, error) {
	text, err := s.FourLetter("srvr")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if mode, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "Mode: "); ok {
			return mode, nil
		}
	}
	return "", fmt.Errorf("no Mode in the answer to srvr: %q", text)
}

// Monitor is the answer to mntr: zk_server_state → leader, and so on.
func (s *Server) Monitor() (map[string]string, error) {
	text, err := s.FourLetter("mntr")
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "\t"); ok {
			out[k] = v
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no values in the answer to mntr: %q", text)
	}
	return out, nil
}

// RSS is the memory of the process that is in RAM, in bytes.
func (s *Server) RSS() int64 {
	s.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		s.t.Fatal(err)
	}
	sc := bufio.NewScanner(bytes.NewReader(b))
	for sc.Scan() {
		if f := strings.Fields(sc.Text()); len(f) == 3 && f[0] == "VmRSS:" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return kb << 10
		}
	}
	s.t.Fatalf("no VmRSS of process %d", s.Pid())
	return 0
}

// Descriptors is the number of files that the process has open.
func (s *Server) Descriptors() int {
	s.t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.Pid()))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(fds)
}
