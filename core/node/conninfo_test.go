package node

import (
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestCutBesideReset: a node is cut while crst waits for a connection whose request waits for a module that is gone.
func TestCutBesideReset(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	for range 2 {
		r.connect().must(proto.OpCreate, create("/a-", proto.FlagPersistentSequential))
	}
	r.n.mu.Lock()
	all := r.n.byAge()
	r.n.mu.Unlock()
	if len(all) != 2 {
		t.Fatalf("%d clients", len(all))
	}
	received := func() int64 {
		all[0].c.Lock()
		defer all[0].c.Unlock()
		return all[0].stats.received
	}
	if received() == 0 {
		t.Fatal("nothing to reset")
	}
	all[1].c.Lock()
	reset, cut := make(chan struct{}), make(chan struct{})
	go func() { r.n.ResetConnectionStats(); close(reset) }()
	r.until("the first is reset, and the second waited for", func() bool { return received() == 0 })
	go func() { r.n.Cut(); close(cut) }()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-cut:
	case <-timer.C:
		t.Error("Cut waits for a connection's lock")
	}
	all[1].c.Unlock()
	<-reset
	<-cut
}
