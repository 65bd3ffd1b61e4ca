package engine

import (
	"testing"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// What is only proposed decides about the writes behind it, which are in the log behind it
// too; it decides about no read, since it may never be (etcd #14571, ClickHouse Keeper
// #48595).
func TestACLOfWhatIsProposed(t *testing.T) {
	r, c := tree(t, Options{})
	other := r.connect(77)
	other.must(proto.OpSetData, setData("/p", "before", -1))
	r.held = true
	c.send(proto.OpSetACL, setACL("/p", bobsACL, -1))
	denied := other.send(proto.OpSetData, setData("/p", "after", -1))
	if g := other.read(proto.OpGetData, look("/p", false)); g.code != zkerr.OK {
		t.Errorf("a read is refused by an ACL that is not committed: %v", g.code)
	}
	if len(r.pending) != 2 {
		t.Fatalf("%d txns wait", len(r.pending))
	}
	r.release(1)
	if g := other.read(proto.OpGetData, look("/p", false)); g.code != zkerr.NoAuth {
		t.Errorf("a read passes an ACL that is committed: %v", g.code)
	}
	r.release(1)
	for _, g := range other.got {
		if g.xid == denied && g.code != zkerr.NoAuth {
			t.Errorf("the write behind the ACL is answered %v", g.code)
		}
	}
	// A leader that loses what it had proposed forgets what it would have meant.
	c.auth = append(c.auth, consensus.Identity{Scheme: "digest", ID: "bob:h"})
	c.send(proto.OpSetACL, setACL("/p", open, -1))
	r.pending = nil
	r.e.StopLeading()
	r.e.Lead(r.e.LastZxid() + 1<<32 - r.e.LastZxid()&(1<<32-1))
	r.held = false
	if g := other.write(proto.OpSetData, setData("/p", "lost", -1)); g.code != zkerr.NoAuth {
		t.Errorf("under the next leader the write is answered %v", g.code)
	}
}
