package oracle

import (
	"testing"

	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/core/proto"
)

// TestEveryOperationIsAsked: what fresh seeds ask for, within few of them, is all that there is to ask for: each
// operation, each alone and each kind of multi, and watches of every mode.
func TestEveryOperationIsAsked(t *testing.T) {
	for i := range releases {
		r := &releases[i]
		if r.name == "debian" {
			continue // what 3.8.0 answers in another way is left out there
		}
		ops, parts, modes := map[proto.Op]int{}, map[proto.Op]int{}, map[int32]int{}
		for seed := range uint64(200) {
			for _, st := range generate(seed, &r.rules, *stepsFlag) {
				for j := range st.Requests {
					q := &st.Requests[j]
					ops[q.op()]++
					for k := range q.Ops {
						parts[q.Ops[k].op()]++
					}
					if q.op() == proto.OpAddWatch {
						modes[q.Type]++
					}
				}
			}
		}
		for op := proto.Op(-200); op < 200; op++ {
			if engine.Known(int32(op)) && ops[op] == 0 {
				t.Errorf("%s: nobody asks for %v", r.name, op)
			}
		}
		t.Logf("%s: %v; in multis %v; addWatch %v", r.name, ops, parts, modes)
		for _, op := range []proto.Op{proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL, proto.OpDelete, proto.OpSetData,
			proto.OpCheck, proto.OpGetData, proto.OpGetChildren} {
			if parts[op] == 0 {
				t.Errorf("%s: no multi has a %v", r.name, op)
			}
		}
		for _, mode := range []proto.AddWatchMode{proto.AddWatchPersistent, proto.AddWatchPersistentRecursive} {
			if modes[int32(mode)] == 0 {
				t.Errorf("%s: nobody adds a watch of mode %v", r.name, mode)
			}
		}
	}
}
