package harness

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A server goes through all that the harness can do to one.
func TestStandalone(t *testing.T) {
	e := Start(t, Options{})
	s := e.Leader()
	if mode, err := s.Mode(); err != nil || mode != "standalone" {
		t.Fatalf("mode %q, %v", mode, err)
	}
	if m, err := s.Monitor(); err != nil || m["zk_server_state"] != "standalone" {
		t.Fatalf("mntr says %q, %v", m["zk_server_state"], err)
	}
	if s.RSS() == 0 || s.Descriptors() == 0 || s.Log() == "" {
		t.Fatalf("RSS %d, descriptors %d, log of %d bytes", s.RSS(), s.Descriptors(), len(s.Log()))
	}
	first := s.Pid()
	s.Signal(syscall.SIGSTOP)
	s.Signal(syscall.SIGCONT)
	s.Kill9()
	if s.Running() || s.Pid() != 0 {
		t.Fatal("it runs after Kill9")
	}
	if c, err := net.Dial("tcp", s.Addr()); err == nil {
		c.Close()
		t.Fatal("somebody listens after Kill9")
	}
	s.Restart()
	if s.Pid() == first || s.Pid() == 0 {
		t.Fatalf("pid %d after %d", s.Pid(), first)
	}
	s.Stop()
}

func TestEnsemble(t *testing.T) {
	e := Start(t, Options{Servers: 3, Observers: 1})
	if mode, err := e.Servers[3].Mode(); err != nil || mode != "observer" {
		t.Fatalf("server 4 is %q, %v", mode, err)
	}
	old := e.Leader()
	old.Kill9()
	e.Await()
	if l := e.Leader(); l == old {
		t.Fatal("the dead leader leads")
	}
	old.Restart()
	e.Await()
	if mode, err := old.Mode(); err != nil || mode != "follower" {
		t.Fatalf("the old leader is %q, %v", mode, err)
	}
}

func TestFreePort(t *testing.T) {
	seen := make(map[int]bool)
	for range 50 {
		p := FreePort(t)
		if seen[p] {
			t.Fatalf("port %d twice", p)
		}
		seen[p] = true
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}

// A server that ends by itself is noticed, not waited for.
func TestDied(t *testing.T) {
	e := New(t, Options{Extra: map[string]string{"tickTime": "no number"}})
	s := e.Servers[0]
	s.Start()
	if err := e.await(Patience); err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Fatalf("await: %v", err)
	}
	if code := s.Wait(); code <= 0 {
		t.Fatalf("exit code %d for a configuration with an error", code)
	}
}

// What a test process started dies with it.
func TestPdeathsig(t *testing.T) {
	if os.Getenv("ZKCORE_TEST_CHILD") != "" {
		s := Start(t, Options{}).Servers[0]
		fmt.Printf("pid %d\n", s.Pid())
		os.Stdout.Sync()
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		select {}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd := exec.Command(self, "-test.run=^TestPdeathsig$")
	cmd.Env = append(os.Environ(), "ZKCORE_TEST_CHILD=1")
	cmd.Stdout = &out
	if err := cmd.Run(); err == nil {
		t.Fatal("the child did not die of its signal")
	}
	var pid int
	if _, err := fmt.Sscanf(out.String(), "pid %d", &pid); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	for end := time.Now().Add(Patience); !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("server %d outlives the test process", pid)
		}
	}
}
