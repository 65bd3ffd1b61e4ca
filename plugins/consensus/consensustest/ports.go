package consensustest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"testing"
)

// freePorts returns loopback addresses that nobody listens on. Their ports are below those
// that the kernel gives to outgoing connections, one of which could take the port of a
// member that is closed and opened again. Where there are abstract sockets, one of the
// port's number keeps test processes that run side by side out of each other's way until
// the test ends.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	low, high := 10000, 32768
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		var first, last int
		if _, err := fmt.Sscan(string(b), &first, &last); err == nil {
			if high = first; first < low+5000 {
				low = 2000
			}
		}
	}
	var addrs []string
	for tries := 0; len(addrs) < n; tries++ {
		if tries == 1000 {
			t.Fatal("found no free ports in 1000 tries")
		}
		port := low + rand.IntN(high-low)
		claim, err := net.Listen("unix", fmt.Sprintf("@zkcore-test-port-%d", port))
		if err != nil {
			if _, err := os.Stat("/proc/net/unix"); err == nil {
				continue
			}
		}
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			if claim != nil {
				claim.Close()
			}
			continue
		}
		ln.Close()
		if claim != nil {
			t.Cleanup(func() { claim.Close() })
		}
		addrs = append(addrs, fmt.Sprintf("127.0.0.1:%d", port))
	}
	return addrs
}
