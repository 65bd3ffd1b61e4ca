package engine

import (
	"fmt"
	"slices"
	"testing"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestEnough: when the sink has enough, Apply stops between two txns, with all of the state as of the one before;
// the same txns again go on from there, each once. One is applied in any case, and what was applied before is
// no reason to stop.
func TestEnough(t *testing.T) {
	for _, each := range []int{1, 2, 3, 100} {
		t.Run(fmt.Sprint(each), func(t *testing.T) {
			r, c := tree(t, Options{})
			c.read(proto.OpAddWatch, (&proto.AddWatchRequest{Path: "/", Mode: proto.AddWatchPersistentRecursive}).Append(nil))
			var txns []consensus.Txn
			r.held = true
			before := r.e.LastZxid()
			for i := range 7 {
				txns = append(txns, r.prepare(1, &consensus.Request{Session: c.session, Op: int32(proto.OpCreate), Body: create(fmt.Sprintf("/e%d", i), 0, open)}))
			}
			c.events()
			last := before
			var want []string
			for calls := 0; r.e.LastZxid() < before+7; calls++ {
				told := len(c.got)
				r.enough = func() bool { return len(c.got)-told >= each }
				if err := r.e.Apply(txns, r); err != nil {
					t.Fatal(err)
				}
				went := int(r.e.LastZxid() - last)
				if went < 1 || went > each || went < min(each, int(before+7-last)) {
					t.Fatalf("call %d goes %d txns far", calls, went)
				}
				for i := range went {
					n := last - before + int64(i)
					want = append(want, fmt.Sprintf("%s /e%d at %d", proto.EventNodeCreated, n, last+int64(i)+1))
				}
				last = r.e.LastZxid()
				if z := int64(r.e.View().Applied()); z != last {
					t.Fatalf("the store is at %d", z)
				}
				if _, ok, _ := r.e.View().Get(fmt.Sprintf("/e%d", last-before)); ok {
					t.Fatal("there is what comes behind")
				}
			}
			if got := heard(c); !slices.Equal(got, want) {
				t.Errorf("heard %q", got)
			}
		})
	}
}
