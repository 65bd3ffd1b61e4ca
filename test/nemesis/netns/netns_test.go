package netns

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// listenVar makes this program a listener that serves nobody: whoever gets through is let in by the
// kernel of its host.
const listenVar = "ZKCORE_TEST_NETNS_LISTEN"

func TestMain(m *testing.M) {
	if addr := os.Getenv(listenVar); addr != "" {
		if _, err := net.Listen("tcp", addr); err != nil {
			panic(err)
		}
		time.Sleep(time.Hour)
	}
	Enter()
	os.Exit(m.Run())
}

// TestDrop: what is dropped is silence, one way, and comes back.
func TestDrop(t *testing.T) {
	if _, ok := Inside(); !ok {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no namespaces: %s", Why())
		}
		t.Skipf("no namespaces: %s", Why())
	}
	n, err := New(2, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(n.Prefix(1), self)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), listenVar+"="+n.Addr(1)+":7000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	dial := func(group int, wait time.Duration) error {
		d := net.Dialer{Timeout: wait, LocalAddr: &net.TCPAddr{IP: net.ParseIP(n.ClientAddr(group))}}
		c, err := d.Dial("tcp", n.Addr(1)+":7000")
		if err == nil {
			c.Close()
		}
		return err
	}
	for end := time.Now().Add(20 * time.Second); dial(0, time.Second) != nil; {
		if time.Now().After(end) {
			t.Fatal("nobody listens")
		}
	}
	isTimeout := func(err error) bool {
		var ne net.Error
		return errors.As(err, &ne) && ne.Timeout()
	}
	for _, way := range [][2]End{{0, 1}, {1, 0}} {
		if err := n.Drop(way[0], way[1], true); err != nil {
			t.Fatal(err)
		}
		if err := dial(0, 300*time.Millisecond); !isTimeout(err) {
			t.Errorf("drop %v: %v, want a timeout", way, err)
		}
		if err := dial(1, 20*time.Second); err != nil {
			t.Errorf("drop %v: the other group: %v", way, err)
		}
		if err := n.Drop(way[0], way[1], false); err != nil {
			t.Fatal(err)
		}
		if err := dial(0, 20*time.Second); err != nil {
			t.Errorf("after drop %v: %v", way, err)
		}
	}
	if err := n.Refuse(1, 0, true); err != nil {
		t.Fatal(err)
	}
	if err := dial(0, 20*time.Second); err == nil || isTimeout(err) {
		t.Errorf("refused: %v", err)
	}
	if err := n.Refuse(1, 0, false); err != nil {
		t.Fatal(err)
	}
	if err := n.Slow(1, 20, 2000, true); err != nil {
		t.Fatal(err)
	}
	if err := dial(0, 20*time.Second); err != nil {
		t.Error(err)
	}
	if err := n.Slow(1, 20, 2000, false); err != nil {
		t.Fatal(err)
	}
}
