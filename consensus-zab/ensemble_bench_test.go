package zab

import (
	"testing"
	"time"

	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/consensus/consensustest"
)

// benchEnsemble is three servers in one process, so it measures the work of all three.
func benchEnsemble(b *testing.B, batch int) {
	c := consensustest.NewCluster(b, Open, 3, 0)
	c.Tick = time.Second
	c.StartAll()
	id := c.Leader()
	n, m := c.Nodes[id], c.Members[id]
	r := n.State().Role
	z := r.Last
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		k := min(batch, b.N-done)
		txns := make([]consensus.Txn, k)
		for i := range txns {
			z++
			txns[i] = consensustest.MakeTxn(z, 1, 1, 60)
		}
		if err := m.Propose(r.Term, txns); err != nil {
			b.Fatal(err)
		}
		done += k
		ahead := consensus.Zxid(8 * batch)
		if batch == 1 {
			ahead = 0
		}
		for n.Last() < z-ahead {
			time.Sleep(10 * time.Microsecond)
		}
	}
	for n.Last() < z {
		time.Sleep(10 * time.Microsecond)
	}
}

func BenchmarkEnsemble1(b *testing.B)   { benchEnsemble(b, 1) }
func BenchmarkEnsemble200(b *testing.B) { benchEnsemble(b, 200) }

// BenchmarkFailover is the time from the end of a leader to the next acknowledged write.
func BenchmarkFailover(b *testing.B) {
	c := consensustest.NewCluster(b, Open, 3, 0)
	c.Tick = 2 * time.Second
	c.StartAll()
	c.Write(10)
	b.ResetTimer()
	for range b.N {
		old := c.Leader()
		c.Stop(old)
		c.Write(1)
		b.StopTimer()
		c.Start(old)
		c.Agree(c.Write(1))
		b.StartTimer()
	}
}
