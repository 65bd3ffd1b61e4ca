package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
)

var ports struct {
	sync.Mutex
	held []net.Listener // abstract sockets, one for each port that this process was given
}

// FreePort returns a loopback port that nobody listens on, and gives it to nobody else until this
// process ends. It is below those that the kernel picks for outgoing connections, since one of these
// could take the port of a server that a test has killed and wants to start again. A port is
// claimed by an abstract socket of its number, which the kernel removes with the process, so test
// processes that run side by side stay out of each other's way too.
func FreePort(t testing.TB) int {
	t.Helper()
	low, high := 10000, 32768
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		var first, last int
		if _, err := fmt.Sscan(string(b), &first, &last); err == nil && first < low+5000 {
			low, high = 2000, first
		} else if err == nil {
			high = first
		}
	}
	ports.Lock()
	defer ports.Unlock()
	for range 1000 {
		port := low + rand.IntN(high-low)
		claim, err := net.Listen("unix", fmt.Sprintf("@zkcore-test-port-%d", port))
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			claim.Close()
			continue
		}
		l.Close()
		ports.held = append(ports.held, claim)
		return port
	}
	t.Fatal("found no free port in 1000 tries")
	return 0
}
