package zab

import (
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/consensus/consensustest"
)

// countNode counts what is delivered and does nothing else.
type countNode struct {
	consensustest.Node
	n    atomic.Int64
	role chan consensus.Role
	got  chan struct{}
	want atomic.Int64
}

func (n *countNode) Recover(consensus.Zxid) (consensus.Zxid, error) { return 0, nil }
func (n *countNode) Role(r consensus.Role)                          { n.role <- r }
func (n *countNode) Deliver(txns []consensus.Txn) {
	if n.n.Add(int64(len(txns))) >= n.want.Load() {
		select {
		case n.got <- struct{}{}:
		default:
		}
	}
}

func benchStandalone(b *testing.B, batch int) {
	n := &countNode{role: make(chan consensus.Role, 10), got: make(chan struct{}, 1)}
	dir := b.TempDir()
	m, err := Open(consensus.Config{DataDir: dir, LogDir: dir, Tick: time.Second, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Fail: func(c int, err error) { panic(err) }}, n)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	<-n.role
	r := <-n.role
	z := r.Last
	data := consensustest.MakeTxn(0, 1, 1, 100).Data
	b.ReportAllocs()
	b.ResetTimer()
	done := 0
	for done < b.N {
		k := min(batch, b.N-done)
		txns := make([]consensus.Txn, k)
		arena := make([]byte, 0, k*len(data))
		for i := range txns {
			z++
			at := len(arena)
			arena = append(arena, data...)
			d := arena[at:]
			for j := range 8 {
				d[12+j] = byte(z >> (56 - 8*j))
			}
			txns[i] = consensus.Txn{Zxid: z, Data: d[:len(data):len(data)]}
		}
		done += k
		if batch == 1 {
			n.want.Store(int64(done))
		} else {
			n.want.Store(int64(done - 8*batch)) // some in flight, as many clients make it
		}
		if err := m.Propose(r.Term, txns); err != nil {
			b.Fatal(err)
		}
		for n.n.Load() < n.want.Load() {
			<-n.got
		}
	}
	n.want.Store(int64(b.N))
	for n.n.Load() < int64(b.N) {
		<-n.got
	}
}

func BenchmarkStandalone1(b *testing.B)   { benchStandalone(b, 1) }
func BenchmarkStandalone200(b *testing.B) { benchStandalone(b, 200) }
