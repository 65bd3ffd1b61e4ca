package node

import (
	"sync"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestContainersHoldUpNobody: while a leader looks at the containers and TTL nodes there are,
// which may take long, others write and read. What is set meanwhile stays.
func TestContainersHoldUpNobody(t *testing.T) {
	s, gated := gate()
	r := start(t, consensus.Leading, false, func(c *Config) {
		c.ExtendedTypes, c.ContainerCheck, c.OpenStorage = true, time.Hour, gated
	})
	p := r.connect()
	ttl := func(path string) {
		p.must(proto.OpCreateTTL, &proto.CreateTTLRequest{CreateRequest: *create(path, proto.FlagPersistentWithTTL), TTL: 1})
	}
	ttl("/set")
	ttl("/unset")
	made := r.n.wallMS()
	r.until("the TTL to be over", func() bool { return r.n.wallMS() > made+1 })

	there, open := s.shut("/set")
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.n.removeExpired()
	}()
	release := sync.OnceFunc(func() { close(open) })
	t.Cleanup(func() { release(); <-done }) // before the node is closed
	select {
	case <-there:
	case <-time.After(patience):
		t.Fatal("nobody looks")
	}
	p.must(proto.OpSetData, set("/set", "new"))
	if got := p.call(proto.OpGetData, get("/set")).data(t); got != "new" {
		t.Errorf("it is %q", got)
	}
	release()
	<-done
	p.must(proto.OpCreate, create("/behind", 0)) // whatever is to be removed
	for path, want := range map[string]zkerr.Code{"/set": zkerr.OK, "/unset": zkerr.NoNode} {
		if a := p.call(proto.OpExists, get(path)); a.Err != want {
			t.Errorf("%s: %v, want %v", path, a.Err, want)
		}
	}
}
