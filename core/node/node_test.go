package node

import (
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
