package node

import (
	"errors"
	"math"
	"testing"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/plugins/consensus"
)

func TestHello(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	p := r.connect()
	p.must(proto.OpCreate, create("/a", 0))
	if got := p.must(proto.OpGetData, get("/a")).data(t); got != "x" {
		t.Fatal(got)
	}
	p.must(proto.OpSetData, set("/a", "y"))
	if got := p.must(proto.OpGetData, get("/a")).data(t); got != "y" {
		t.Fatal(got)
	}
	p.must(proto.OpSync, &proto.AnyPathRequest{})
	p.must(proto.OpCloseSession, nil)
	if b := p.ended(); len(b) != 0 {
		t.Fatalf("%x", b)
	}
}

// TestFailedStart: a node that does not start leaves nothing behind: not even
// when its member has begun to deliver.
func TestFailedStart(t *testing.T) {
	dir := t.TempDir()
	cfg := func(open consensus.Open) Config {
		return Config{ServerID: 1, DataDir: dir, ClientAddrs: []string{"127.0.0.1:0"}, OpenStorage: openMapStore, OpenConsensus: open, SnapCount: 2,
			Fail: func(code int, err error) { t.Errorf("fails with %d: %v", code, err) }}
	}
	src := start(t, consensus.Leading, true, nil)
	p := src.connectBy(1)
	var txns []consensus.Txn
	for range 10 {
		p.send(proto.OpCreate, create("/s-", proto.FlagPersistentSequential))
		src.proposed(1)
		src.m.mu.Lock()
		txns = append(txns, src.m.proposed...)
		src.m.mu.Unlock()
		src.m.deliver(-1)
		p.reply()
	}
	if _, err := Start(t.Context(), cfg(func(c consensus.Config, n consensus.Node) (consensus.Member, error) {
		if _, err := n.Recover(math.MaxInt64); err != nil {
			return nil, err
		}
		n.Role(consensus.Role{Term: 1})
		n.Deliver(txns)
		return nil, errors.New("no")
	})); err == nil || err.Error() != "no" {
		t.Fatal(err)
	}
	var m *fakeMember
	c := cfg(opener(&m, consensus.Looking, false))
	c.ClientAddrs = append(c.ClientAddrs, "127.0.0.1:99999")
	if _, err := Start(t.Context(), c); err == nil {
		t.Fatal("a port that there is not")
	}
	n, err := Start(t.Context(), cfg(opener(&m, consensus.Looking, false)))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}
