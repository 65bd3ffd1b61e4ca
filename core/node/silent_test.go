package node

import (
	"runtime"
	"testing"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestSilentSessions: a session that only pings keeps no buffer and a goroutine whose stack is
// as small as when it was made. Both ends of its connection are in this process.
func TestSilentSessions(t *testing.T) {
	r := start(t, consensus.Leading, false, func(c *Config) { c.SessionSecret = []byte("a secret of the ensemble") })
	r.connect()
	const n = 1000
	memory := func() (stacks, all int64) {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // the second takes what pools have put aside
		runtime.ReadMemStats(&m)
		return int64(m.StackInuse), int64(m.HeapInuse + m.StackInuse)
	}
	stacks, all := memory()
	peers := make([]*peer, n)
	for i := range peers {
		peers[i] = r.connect()
	}
	for range 3 {
		for _, p := range peers {
			p.write(p.requestXid(proto.XidPing, proto.OpPing, nil))
			p.reply()
		}
	}
	s, a := memory()
	t.Logf("%d bytes of stack, %d in all", (s-stacks)/n, (a-all)/n)
	if (s-stacks)/n > slack*3000 {
		t.Errorf("%d bytes of stack each", (s-stacks)/n)
	}
	if (a-all)/n > slack*8000 {
		t.Errorf("%d bytes each", (a-all)/n)
	}
	runtime.KeepAlive(peers)
}
