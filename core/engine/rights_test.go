package engine

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestLongListsAreAskedOften: one packet can ask tens of thousands of times for what a list says that is as long as
// another packet. It took minutes to go through the list each time, and nothing else happened meanwhile.
func TestLongListsAreAskedOften(t *testing.T) {
	const packet = 1 << 20
	// What gives the client its right stands at the end.
	list := func(size int) []jute.ACL {
		var list []jute.ACL
		for len(list) < size/23 {
			list = append(list, jute.ACL{Perms: 31, Scheme: "ip", ID: fmt.Sprintf("10.%d.%d.0", len(list)>>8&0xff, len(list)&0xff)})
		}
		return append(list, jute.ACL{Perms: 31, Scheme: "ip", ID: "127.0.0.1"})
	}
	many := func(size int, o proto.MultiOp) (ops []proto.MultiOp) {
		for range size / 24 {
			ops = append(ops, o)
		}
		return ops
	}
	soon := func(what string, do func() reply) {
		t.Helper()
		done := make(chan reply, 1)
		go func() { done <- do() }()
		select {
		case g := <-done:
			if g.code != zkerr.OK || len(g.body) == 0 {
				t.Fatalf("%s: %v", what, g.code)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: there is no answer", what)
		}
	}
	r := newRig(t, Options{})
	c := r.connect(1)
	soon("create", func() reply { return c.write(proto.OpCreate, create("/a", 0, list(packet))) })
	check := proto.MultiOp{Op: proto.OpCheck, Path: "/a", Version: -1}
	soon("multi", func() reply { return c.write(proto.OpMulti, multi(many(packet, check)...)) })
	read := proto.MultiRequest{Read: true, Ops: many(packet, proto.MultiOp{Op: proto.OpGetData, Path: "/a"})}
	soon("multiRead", func() reply { return c.read(proto.OpMultiRead, read.Append(nil)) })

	// A list that is not yet there for others.
	check.Path = "/b"
	made := proto.MultiOp{Op: proto.OpCreate, Path: "/b", ACL: list(packet / 2)}
	soon("multi with the list", func() reply {
		return c.write(proto.OpMulti, multi(append([]proto.MultiOp{made}, many(packet/2, check)...)...))
	})
}

// TestMultiOfLongIdentities: entries of "auth" stand for all that a client is known as, however often a multi has
// them. What is too long for a txn is refused before it is made.
func TestMultiOfLongIdentities(t *testing.T) {
	const many, most = 4000, 32 << 20
	r := newRig(t, Options{})
	c := r.connect(1)
	c.auth = append(c.auth, consensus.Identity{Scheme: "digest", ID: strings.Repeat("u", 20_000) + ":hash"})
	var ops []proto.MultiOp
	for i := range many {
		ops = append(ops, proto.MultiOp{Op: proto.OpCreate, Path: fmt.Sprintf("/m%d", i), ACL: []jute.ACL{{Perms: 31, Scheme: "auth"}}})
	}
	body := multi(ops...)
	last := r.e.LastZxid()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	g := c.write(proto.OpMulti, body)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > most {
		t.Errorf("it takes %d bytes to refuse %d", got, len(body))
	}
	if g.code != zkerr.MarshallingError || r.e.LastZxid() != last+1 {
		t.Errorf("%v, zxid %d behind %d", g.code, r.e.LastZxid(), last)
	}
	// Nothing is left of it, and what fits is taken.
	if g := c.read(proto.OpExists, look("/m0", false)); g.code != zkerr.NoNode {
		t.Error(g.code)
	}
	c.must(proto.OpMulti, multi(ops[:50]...))
	if g := c.read(proto.OpExists, look("/m49", false)); g.code != zkerr.OK {
		t.Error(g.code)
	}
}
