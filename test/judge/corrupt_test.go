package judge

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/test/history"
)

// With what was committed in hand nothing in a history can be other than it is: a
// single bit of a reply, of an event, of a committed txn or of a tree, one of them
// missing, or two in the wrong order are seen.
func TestEveryBitCounts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	tried := map[string]int{}
	for seed := range uint64(5) {
		good := newRig(300 + seed).run(700)
		if v := Judge(good, Options{}); !v.OK() {
			t.Fatal(v)
		}
		for range 50 {
			run := &history.Run{About: good.About, Records: slices.Clone(good.Records), Txns: slices.Clone(good.Txns), Trees: slices.Clone(good.Trees)}
			what, places := corrupt(rnd, run)
			if what == "" {
				continue
			}
			tried[what]++
			if v := Judge(run, Options{}); v.OK() {
				t.Errorf("seed %d: not seen: %s at %d", 300+seed, what, places)
				for _, at := range places {
					for i := max(at-1, 0); i <= at+1 && i < len(run.Records); i++ {
						t.Logf("#%d %s (was %s)", i, run.Records[i], good.Records[i])
					}
				}
			}
		}
	}
	t.Log(tried)
	for _, what := range []string{"bit of a reply", "code of a reply", "event lost", "event changed", "reply lost", "two swapped", "bit of a tree", "txn lost"} {
		if tried[what] < 3 {
			t.Errorf("%s: tried %d times", what, tried[what])
		}
	}
}

func flip(rnd *rand.Rand, b []byte) []byte {
	b = slices.Clone(b)
	b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
	return b
}

// corrupt changes one thing.
func corrupt(rnd *rand.Rand, run *history.Run) (what string, at []int) {
	pick := func(fits func(r *history.Record) bool) int {
		var all []int
		for i := range run.Records {
			if fits(&run.Records[i]) {
				all = append(all, i)
			}
		}
		if len(all) == 0 {
			return -1
		}
		return all[rnd.IntN(len(all))]
	}
	// Behind an event or a reply of the same connection nobody knows what is still to
	// come.
	hasNext := func(i int) bool {
		return slices.ContainsFunc(run.Records[i+1:], func(r history.Record) bool {
			return r.Kind == history.Reply && r.Op != int32(proto.OpAuth) && r.Client == run.Records[i].Client && r.Conn == run.Records[i].Conn
		})
	}
	switch rnd.IntN(8) {
	case 0:
		i := pick(func(r *history.Record) bool { return r.Kind == history.Reply && len(r.Body) > 0 })
		run.Records[i].Body = flip(rnd, run.Records[i].Body)
		return "bit of a reply", []int{i}
	case 1:
		i := pick(func(r *history.Record) bool { return r.Kind == history.Reply && r.Xid > 0 })
		run.Records[i].Err -= 1 + int32(rnd.IntN(9))
		return "code of a reply", []int{i}
	case 2:
		i := pick(func(r *history.Record) bool { return r.Kind == history.Event })
		if i < 0 || !hasNext(i) {
			return "", nil
		}
		run.Records = slices.Delete(run.Records, i, i+1)
		return "event lost", []int{i}
	case 3:
		i := pick(func(r *history.Record) bool { return r.Kind == history.Event })
		if i < 0 {
			return "", nil
		}
		switch r := &run.Records[i]; rnd.IntN(4) {
		case 0:
			r.Type = r.Type%4 + 1
		case 1:
			r.Path += "x"
		case 2:
			r.State = 5
		case 3:
			if r.Zxid < 0 {
				return "", nil
			}
			r.Zxid++
		}
		return "event changed", []int{i}
	case 4:
		i := pick(func(r *history.Record) bool { return r.Kind == history.Reply && r.Xid > 0 })
		if !hasNext(i) {
			return "", nil
		}
		run.Records = slices.Delete(run.Records, i, i+1)
		return "reply lost", []int{i}
	case 5:
		// Two that came one behind the other on one connection.
		i := pick(func(r *history.Record) bool { return r.Kind == history.Event || r.Kind == history.Reply && r.Xid > 0 })
		for j := i + 1; j < len(run.Records); j++ {
			a, b := &run.Records[i], &run.Records[j]
			if a.Client != b.Client || a.Conn != b.Conn || b.Kind != history.Event && b.Kind != history.Reply {
				continue
			}
			if b.Xid < 0 || a.Kind == history.Event && b.Kind == history.Event && a.Type == b.Type && a.Path == b.Path {
				return "", nil
			}
			ends := func(r *history.Record) bool {
				t := slices.IndexFunc(run.Txns, func(t history.Txn) bool { return t.Zxid == r.Zxid })
				return t >= 0 && len(run.Txns[t].Data) > 32 && int8(run.Txns[t].Data[31]) == int8(proto.OpCloseSession)
			}
			if a.Kind == history.Event && b.Kind == history.Event && a.Zxid == b.Zxid && ends(a) {
				return "", nil // they have no order
			}
			at, bt := a.At, b.At
			*a, *b = *b, *a
			a.At, b.At = at, bt
			return "two swapped", []int{i, j}
		}
		return "", nil
	case 6:
		i := rnd.IntN(len(run.Trees))
		t := &run.Trees[i]
		t.Nodes = slices.Clone(t.Nodes)
		n := rnd.IntN(len(t.Nodes))
		switch z := &t.Nodes[n]; rnd.IntN(5) {
		case 0:
			z.Version++
		case 1:
			z.Data = append(slices.Clone(z.Data), 0)
		case 2:
			z.Pzxid++
		case 3:
			t.Nodes = slices.Delete(t.Nodes, n, n+1)
		case 4:
			z.Creates--
		}
		return "bit of a tree", nil
	}
	i := rnd.IntN(len(run.Txns))
	run.Txns = slices.Delete(run.Txns, i, i+1)
	if i == len(run.Txns) {
		return "", nil // nobody may have been answered
	}
	return "txn lost", nil
}
