package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process is a server that this program has started.
type process struct {
	cmd    *exec.Cmd
	begun  time.Time     // just before the process was made
	exited chan struct{} // closed when it has ended and was waited for
}

// spawner makes all children from one thread that never ends: the kernel ties "die with your
// parent" to the thread that made the child.
var spawner = struct {
	once sync.Once
	in   chan func()
}{in: make(chan func())}

// spawn starts cmd in a process group of its own, so that it dies with this program.
func spawn(cmd *exec.Cmd) (*process, error) {
	spawner.once.Do(func() {
		go func() {
			runtime.LockOSThread()
			for f := range spawner.in {
				f()
			}
		}()
	})
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	spawner.in <- func() {
		p.begun = time.Now()
		started <- cmd.Start()
	}
	if err := <-started; err != nil {
		return nil, err
	}
	go func() {
		cmd.Wait() // how it ended does not matter: it is killed in the end
		close(p.exited)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// kill ends the process and its children at once and waits until it is gone.
func (p *process) kill() {
	select {
	case <-p.exited:
		return
	default:
	}
	syscall.Kill(-p.pid(), syscall.SIGKILL)
	<-p.exited
}

// awaitAnswer polls the address every millisecond until a session can be opened there, and returns
// when that was.
func (p *process) awaitAnswer(ctx context.Context, addr string) (time.Time, error) {
	for {
		if answers(addr) {
			return time.Now(), nil
		}
		select {
		case <-p.exited:
			return time.Time{}, fmt.Errorf("%s: %v before it answered", p.cmd.Args[0], p.cmd.ProcessState)
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%s: no answer: %w", addr, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

// answers opens a session. The session stays behind, to expire: its close would cost time and is
// not part of an answer.
func answers(addr string) bool {
	nc, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer nc.Close()
	_, err = handshake(nc, 4*time.Second, 0, nil)
	return err == nil
}

// fourLetter sends a four-letter word.
func fourLetter(addr, word string) (string, error) {
	nc, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := nc.Write([]byte(word)); err != nil {
		return "", err
	}
	var b strings.Builder
	buf := make([]byte, 4096)
	for b.Len() < 1<<20 {
		n, err := nc.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			break // the server closes when it has said all, some with a reset
		}
	}
	if b.Len() == 0 {
		return "", errors.New("no answer to " + word)
	}
	return b.String(), nil
}

// mode returns what srvr says of the server: leader, follower, standalone; "" if it does not serve.
func mode(addr string) string {
	text, err := fourLetter(addr, "srvr")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(text) {
		if m, ok := strings.CutPrefix(line, "Mode: "); ok {
			return strings.TrimSpace(m)
		}
	}
	return ""
}

// freePorts returns ports on loopback that were free a moment ago.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// logTail is the end of a server's log, for an error message.
func logTail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(b[max(0, len(b)-2000):])
}
