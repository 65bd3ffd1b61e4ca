package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
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
