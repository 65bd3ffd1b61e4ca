//go:build unix

package conn

import (
	"net"
	"runtime"
	"testing"
)

// TestIdle: a connection that says nothing holds no buffer, also behind half a
// frame.
func TestIdle(t *testing.T) {
	r := start(t, nil)
	const n = 500
	var before, after runtime.MemStats
	r.hello()
	runtime.GC()
	runtime.ReadMemStats(&before)
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = r.hello()
		if i%2 == 0 {
			write(t, conns[i], frame("half")[:6])
		}
	}
	r.until("all to be quiet", func() bool {
		runtime.GC()
		runtime.ReadMemStats(&after)
		// Both ends live in this process; the client's has no buffer either.
		per := (int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse)) / n
		return per < 8<<10
	})
}
