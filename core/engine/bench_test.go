package engine

import (
	"fmt"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// The benchmarks measure what the engine takes, on a store that takes little,
// with batches as they come from many clients at once.
const batch = 128

type waiting struct{ nopSink }

func (waiting) Waits(int64, int32) ([]byte, bool) { return nil, true }

func newBench(b *testing.B) *Engine {
	e := New(Options{})
	store := newMapStore()
	store.live = true
	if err := e.Open(store); err != nil {
		b.Fatal(err)
	}
	e.Lead(0)
	benchWrite(b, e, &consensus.Request{Session: 1, Op: int32(proto.OpCreateSession), Body: jute.AppendInt(nil, 1000)})
	return e
}

func benchWrite(b *testing.B, e *Engine, r *consensus.Request) {
	if err := e.Apply([]consensus.Txn{e.Prepare(1, 1, r)}, waiting{}); err != nil {
		b.Fatal(err)
	}
}

func benchSetup(b *testing.B, e *Engine, n int) []string {
	paths := make([]string, n)
	for i := range paths {
		paths[i] = fmt.Sprintf("/bench/node-%08d", i)
		if i == 0 {
			c := proto.CreateRequest{Path: "/bench", Data: []byte{}, ACL: jute.OpenACL()}
			benchWrite(b, e, &consensus.Request{Session: 1, Op: 1, Body: c.Append(nil)})
		}
		c := proto.CreateRequest{Path: paths[i], Data: make([]byte, 100), ACL: jute.OpenACL()}
		benchWrite(b, e, &consensus.Request{Session: 1, Op: 1, Body: c.Append(nil)})
	}
	return paths
}

func run(b *testing.B, e *Engine, next func(i int) (op proto.Op, body []byte)) {
	b.ReportAllocs()
	txns := make([]consensus.Txn, 0, batch)
	for i := 0; b.Loop(); i++ {
		op, body := next(i)
		txns = append(txns, e.Prepare(1, 1, &consensus.Request{Session: 1, Cxid: 1, Op: int32(op), Body: body}))
		if len(txns) == batch {
			if err := e.Apply(txns, waiting{}); err != nil {
				b.Fatal(err)
			}
			txns = txns[:0]
		}
	}
}

func BenchmarkSet(b *testing.B) {
	e := newBench(b)
	paths := benchSetup(b, e, 1000)
	bodies := make([][]byte, len(paths))
	for i, p := range paths {
		r := proto.SetDataRequest{Path: p, Data: make([]byte, 100), Version: -1}
		bodies[i] = r.Append(nil)
	}
	run(b, e, func(i int) (proto.Op, []byte) { return proto.OpSetData, bodies[i%len(bodies)] })
}

func BenchmarkCreate(b *testing.B) {
	e := newBench(b)
	benchSetup(b, e, 1)
	var body []byte
	run(b, e, func(i int) (proto.Op, []byte) {
		r := proto.CreateRequest{Path: fmt.Sprintf("/bench/n%09d", i), Data: make([]byte, 100), ACL: jute.OpenACL()}
		body = r.Append(body[:0])
		return proto.OpCreate, body
	})
}

func BenchmarkPrepareSet(b *testing.B) {
	e := newBench(b)
	paths := benchSetup(b, e, 1000)
	r := proto.SetDataRequest{Path: paths[7], Data: make([]byte, 100), Version: -1}
	body := r.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if x := e.Prepare(1, 1, &consensus.Request{Session: 1, Cxid: 1, Op: int32(proto.OpSetData), Body: body}); x.Zxid == 0 {
			b.Fatal()
		}
		if e.Outstanding() == 1<<16 {
			e.Lead(e.LastZxid())
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, op := range []proto.Op{proto.OpExists, proto.OpGetData} {
		b.Run(op.String(), func(b *testing.B) {
			e := newBench(b)
			paths := benchSetup(b, e, 1000)
			bodies := make([][]byte, len(paths))
			for i, p := range paths {
				r := proto.ReadRequest{Path: p}
				bodies[i] = r.Append(nil)
			}
			r := &ReadRequest{Session: 1, Watcher: 1, Op: int32(op)}
			dst := make([]byte, 0, 1024)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r.Body = bodies[i%len(bodies)]
				if _, code := e.Read(dst, r, NopSink); code != zkerr.OK {
					b.Fatal(code)
				}
			}
		})
	}
}
