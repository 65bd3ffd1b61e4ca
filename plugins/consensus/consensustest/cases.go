package consensustest

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// Run checks a module, standalone and in ensembles of one to five servers.
func Run(t *testing.T, open consensus.Open) {
	t.Run("standalone", func(t *testing.T) { RunStandalone(t, open) })
	for _, n := range []struct{ voters, observers int }{{1, 0}, {2, 0}, {3, 0}, {3, 1}, {5, 0}} {
		t.Run(fmt.Sprintf("%d voters %d observers", n.voters, n.observers), func(t *testing.T) {
			RunEnsemble(t, open, n.voters, n.observers)
		})
	}
}

// A check is one promise of the contract.
type check struct {
	name string
	do   func(t *testing.T, c *Cluster)
}

// RunStandalone checks a server without an ensemble.
func RunStandalone(t *testing.T, open consensus.Open) {
	for _, k := range append(common, alone...) {
		t.Run(k.name, func(t *testing.T) { k.do(t, NewCluster(t, open, 0, 0)) })
	}
}

// RunEnsemble checks an ensemble of that many servers.
func RunEnsemble(t *testing.T, open consensus.Open, voters, observers int) {
	checks := append(common[:len(common):len(common)], together...)
	if voters+observers > 1 {
		checks = append(checks, learners...)
	}
	if voters > 2 {
		checks = append(checks, survivors...)
	}
	for _, k := range checks {
		t.Run(k.name, func(t *testing.T) { k.do(t, NewCluster(t, open, voters, observers)) })
	}
}

var common = []check{
	{"roles come in order", func(t *testing.T, c *Cluster) {
		c.StartAll()
		c.Leader()
		for id := range c.Members {
			s := c.Nodes[id].State()
			if s.Roles[0].State != consensus.Looking {
				t.Errorf("server %d: the first role is %v", id, s.Roles[0].State)
			}
			if s.Role.State == consensus.Leading && s.Role.Leader != id {
				t.Errorf("server %d leads and its leader is %d", id, s.Role.Leader)
			}
		}
	}},
	{"what is proposed is delivered once and in order", func(t *testing.T, c *Cluster) {
		c.StartAll()
		id := c.Leader()
		n := c.Nodes[id]
		base := n.State().Last
		var last consensus.Zxid
		total := 0
		for i := range 50 {
			z, err := n.Propose(1+i%7, 5, int32(total), 10+i)
			if err != nil {
				t.Fatal(err)
			}
			last = z
			total += 1 + i%7
		}
		c.Agree(last)
		s := n.State()
		if len(s.Log) != total || s.Log[0].Zxid <= base {
			t.Fatalf("%d txns delivered, from %v on, want %d", len(s.Log), s.Log[0].Zxid, total)
		}
		for i, a := range s.Log {
			if a.Cxid != int32(i) {
				t.Fatalf("txn %d was the %dth to be proposed", i, a.Cxid)
			}
		}
	}},
	{"a call of another term is refused", func(t *testing.T, c *Cluster) {
		c.StartAll()
		id := c.Leader()
		r, m := c.Nodes[id].State().Role, c.Members[id]
		for _, term := range []uint64{0, r.Term - 1, r.Term + 1} {
			if err := m.Propose(term, []consensus.Txn{MakeTxn(r.Last+1, 1, 1, 1)}); !errors.Is(err, consensus.ErrNotNow) {
				t.Errorf("Propose in term %d: %v", term, err)
			}
			if err := m.Sync(term, 1); !errors.Is(err, consensus.ErrNotNow) {
				t.Errorf("Sync in term %d: %v", term, err)
			}
		}
		if err := m.Forward(r.Term, []consensus.Request{{}}); !errors.Is(err, consensus.ErrNotNow) {
			t.Errorf("Forward by the leader: %v", err)
		}
		if err := m.Revalidate(r.Term, consensus.Touch{}); !errors.Is(err, consensus.ErrNotNow) {
			t.Errorf("Revalidate by the leader: %v", err)
		}
		z := c.Write(1)
		if z != r.Last+1 {
			t.Errorf("the first txn is %v: one of the refused was taken in", z)
		}
	}},
	{"a hole in the zxids is refused", func(t *testing.T, c *Cluster) {
		c.StartAll()
		id := c.Leader()
		r := c.Nodes[id].State().Role
		err := c.Members[id].Propose(r.Term, []consensus.Txn{MakeTxn(r.Last+2, 1, 1, 1)})
		if err == nil {
			t.Error("Propose of the zxid after the next one is taken in")
		}
		c.Write(1)
	}},
	{"propose does not wait for deliver", func(t *testing.T, c *Cluster) {
		c.StartAll()
		id := c.Leader()
		n := c.Nodes[id]
		release := n.Block()
		defer release()
		var last consensus.Zxid
		for i := range 2000 {
			z, err := n.Propose(1, 1, int32(i), 100)
			if err != nil {
				t.Fatal(err)
			}
			last = z
		}
		release()
		c.Agree(last)
	}},
	{"sync comes after what was committed before", func(t *testing.T, c *Cluster) {
		c.StartAll()
		leader := c.Leader()
		for round := range 5 {
			for id, m := range c.Members {
				z, err := c.Nodes[leader].Propose(3, 1, 1, 10)
				if err != nil {
					t.Fatal(err)
				}
				c.Delivered(leader, z)
				n := c.Nodes[id]
				if err := m.Sync(n.State().Role.Term, consensus.SyncID(round)); err != nil {
					t.Fatal(err)
				}
				c.Wait("Synced", func() bool { return len(n.State().Synced) > round })
				s := n.State()
				if s.Last < z {
					t.Errorf("server %d: synced at %v, and %v was committed before", id, s.Last, z)
				}
				if s.Synced[round] != consensus.SyncID(round) {
					t.Errorf("server %d: syncs are answered in the order %v", id, s.Synced)
				}
			}
		}
	}},
	{"syncs are answered in order", func(t *testing.T, c *Cluster) {
		c.StartAll()
		leader := c.Leader()
		const syncs = 200
		for i := range syncs {
			if i%3 == 0 {
				if _, err := c.Nodes[leader].Propose(1, 1, 1, 10); err != nil {
					t.Fatal(err)
				}
			}
			for id, m := range c.Members {
				if err := m.Sync(c.Nodes[id].State().Role.Term, consensus.SyncID(i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for id := range c.Members {
			n := c.Nodes[id]
			c.Wait("all Synced", func() bool { return len(n.State().Synced) == syncs })
			for i, got := range n.State().Synced {
				if got != consensus.SyncID(i) {
					t.Fatalf("server %d: sync %d is answered in place %d", id, got, i)
				}
			}
		}
	}},
	{"a restart delivers what was acknowledged", func(t *testing.T, c *Cluster) {
		c.StartAll()
		z := c.Write(100)
		c.Agree(z)
		digest := c.Nodes[c.Leader()].State().Digest
		for _, id := range c.IDs() {
			c.Stop(id)
		}
		c.StartAll()
		leader := c.Leader()
		s := c.Nodes[leader].State()
		if s.Last != z || s.Digest != digest {
			t.Errorf("after the restart the last txn is %v with digest %x, before it was %v with %x", s.Last, s.Digest, z, digest)
		}
		if s.Role.Last < z {
			t.Errorf("the leader goes on at %v after %v", s.Role.Last, z)
		}
		c.Agree(c.Write(3))
	}},
	{"a restart begins with the snapshot", func(t *testing.T, c *Cluster) {
		c.StartAll()
		z := c.Write(20)
		c.Agree(z)
		for id := range c.Members {
			if err := c.Nodes[id].Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
		z = c.Write(5)
		c.Agree(z)
		for _, id := range c.IDs() {
			c.Stop(id)
		}
		c.StartAll()
		s := c.Nodes[c.Leader()].State()
		if s.Last != z || s.Count != 25 {
			t.Errorf("after the restart there are %d txns up to %v, want 25 up to %v", s.Count, s.Last, z)
		}
		if len(s.Log) > 5 {
			t.Errorf("%d txns were delivered after the snapshot, want 5", len(s.Log))
		}
		c.Agree(c.Write(1))
	}},
	{"a closed member refuses everything", func(t *testing.T, c *Cluster) {
		c.StartAll()
		id := c.Leader()
		m, r := c.Members[id], c.Nodes[id].State().Role
		c.Stop(id)
		for what, err := range map[string]error{
			"Propose":    m.Propose(r.Term, []consensus.Txn{MakeTxn(r.Last+1, 1, 1, 1)}),
			"Sync":       m.Sync(r.Term, 1),
			"Checkpoint": m.Checkpoint(r.Last, 0),
			"Distrust":   m.Distrust(r.Last, "a test"),
		} {
			if !errors.Is(err, consensus.ErrClosed) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}},
	{"status says what it is", func(t *testing.T, c *Cluster) {
		c.StartAll()
		z := c.Write(4)
		c.Agree(z)
		for id, m := range c.Members {
			c.Wait("the status shows the last txn", func() bool { s := m.Status(); return s.Logged >= z && s.Committed >= z })
			if s := m.Status(); s.Role != c.Nodes[id].State().Role {
				t.Errorf("server %d: status says %+v, the node was told %+v", id, s.Role, c.Nodes[id].State().Role)
			}
		}
	}},
}

var alone = []check{
	{"standalone is said", func(t *testing.T, c *Cluster) {
		c.StartAll()
		if r := c.Nodes[c.Leader()].State().Role; !r.Standalone || r.Epoch != r.Last.Epoch() {
			t.Errorf("the role is %+v", r)
		}
	}},
	{"zxids go on where they were", func(t *testing.T, c *Cluster) {
		c.StartAll()
		z := c.Write(7)
		c.Stop(1)
		c.StartAll()
		if next := c.Write(1); next != z+1 {
			t.Errorf("%v comes after %v", next, z)
		}
	}},
}

var together = []check{
	{"a new leader begins a new epoch", func(t *testing.T, c *Cluster) {
		c.StartAll()
		z := c.Write(3)
		before := c.Nodes[c.Leader()].State().Role.Epoch
		if z.Epoch() != before {
			t.Errorf("a txn of epoch %d is %v", before, z)
		}
		for _, id := range c.IDs() {
			c.Stop(id)
		}
		c.StartAll()
		if after := c.Nodes[c.Leader()].State().Role.Epoch; after <= before {
			t.Errorf("epoch %d comes after %d", after, before)
		}
		if next := c.Write(1); next <= z || next.Counter() != 1 {
			t.Errorf("the first txn after %v is %v", z, next)
		}
	}},
}

// learner is a running server that does not lead.
func (c *Cluster) learner(leader consensus.ServerID) consensus.ServerID {
	for i := len(c.servers) - 1; i >= 0; i-- {
		if id := c.servers[i].ID; id != leader && c.Members[id] != nil {
			return id
		}
	}
	return 0
}

var learners = []check{
	{"only the leader may propose", func(t *testing.T, c *Cluster) {
		c.StartAll()
		leader := c.Leader()
		id := c.learner(leader)
		r := c.Nodes[id].State().Role
		z := consensus.MakeZxid(r.Epoch, 1)
		if err := c.Members[id].Propose(r.Term, []consensus.Txn{MakeTxn(z, 1, 1, 1)}); !errors.Is(err, consensus.ErrNotNow) {
			t.Errorf("Propose by a %v server: %v", r.State, err)
		}
	}},
	{"requests arrive in the order sent", func(t *testing.T, c *Cluster) {
		c.StartAll()
		leader := c.Leader()
		id := c.learner(leader)
		n, m := c.Nodes[id], c.Members[id]
		term := n.State().Role.Term
		const requests = 300
		for i := 0; i < requests; i += 3 {
			var rs []consensus.Request
			for j := range 3 {
				rs = append(rs, consensus.Request{Session: 77, Cxid: int32(i + j), Op: 1,
					Auth: []consensus.Identity{{Scheme: "ip", ID: "10.0.0.1"}, {Scheme: "digest", ID: "a:b"}}, Body: []byte{byte(i), byte(j)}})
			}
			if err := m.Forward(term, rs); err != nil {
				t.Fatal(err)
			}
		}
		c.Wait("all requests", func() bool { return len(c.Nodes[leader].State().Received) == requests })
		for i, r := range c.Nodes[leader].State().Received {
			if r.From != id || r.Request.Cxid != int32(i) || r.Request.Session != 77 || r.Request.Op != 1 ||
				len(r.Request.Auth) != 2 || r.Request.Auth[1] != (consensus.Identity{Scheme: "digest", ID: "a:b"}) ||
				len(r.Request.Body) != 2 || r.Request.Body[1] != byte(i%3) {
				t.Fatalf("request %d arrived as %+v", i, r)
			}
		}
		// Each became a txn, and comes back to where it was sent from.
		c.Wait("all txns", func() bool { return len(n.State().Log) >= requests })
		s := n.State()
		for i, a := range s.Log[len(s.Log)-requests:] {
			if a.Session != 77 || a.Cxid != int32(i) {
				t.Fatalf("txn %d is %+v", i, a)
			}
		}
	}},
	{"a revalidation is answered after what was proposed before", func(t *testing.T, c *Cluster) {
		c.StartAll()
		leader := c.Leader()
		id := c.learner(leader)
		n, m, ln := c.Nodes[id], c.Members[id], c.Nodes[leader]
		ln.SetAlive(1000)
		for i := range 20 {
			z, err := ln.Propose(2, 1, 1, 10)
			if err != nil {
				t.Fatal(err)
			}
			session := int64(1000 + i%2) // every second one is unknown
			if err := m.Revalidate(n.State().Role.Term, consensus.Touch{Session: session, TimeoutMS: 4000}); err != nil {
				t.Fatal(err)
			}
			c.Wait("the answer", func() bool { return len(n.State().Revals) > i })
			if r := n.State().Revals[i]; r.Session != session || r.Alive != (i%2 == 0) || r.At < z {
				t.Errorf("revalidation of %d after %v: %+v", session, z, r)
			}
		}
		if ln.Owner(1000) != id {
			t.Errorf("the session belongs to %d, not to %d", ln.Owner(1000), id)
		}
	}},
	{"touches reach the leader", func(t *testing.T, c *Cluster) {
		c.StartAll()
		leader := c.Leader()
		for id := range c.Members {
			if id != leader {
				c.Nodes[id].SetTouched([]consensus.Touch{{Session: int64(id) * 100, TimeoutMS: 5000}, {Session: 7, TimeoutMS: 1}})
			}
		}
		for id := range c.Members {
			if id == leader {
				continue
			}
			c.Wait("touches", func() bool {
				for _, x := range c.Nodes[leader].State().Touched {
					if x.From == id && x.Touch == (consensus.Touch{Session: int64(id) * 100, TimeoutMS: 5000}) {
						return true
					}
				}
				return false
			})
		}
	}},
	{"who was away catches up", func(t *testing.T, c *Cluster) {
		c.StartAll()
		c.Write(10)
		id := c.learner(c.Leader())
		c.Stop(id)
		if len(c.servers) > 2 {
			c.Write(50)
		}
		c.Start(id)
		c.Agree(c.Write(2))
		if c.Nodes[id].State().Restores != 0 {
			t.Error("a snapshot was sent for a few txns")
		}
	}},
	{"who lost everything gets a snapshot", func(t *testing.T, c *Cluster) {
		c.StartAll()
		c.Agree(c.Write(30))
		leader := c.Leader()
		id := c.learner(leader)
		if len(c.servers) == 2 {
			// Without the other one there would be no leader who could keep what it has.
			return
		}
		c.Stop(id)
		for other := range c.Members {
			c.Nodes[other].SetFiller(3000)
			if err := c.Nodes[other].Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
		// More than a leader keeps in memory for those who are a little behind.
		for range 30 {
			c.Write(100)
		}
		for other := range c.Members {
			if err := c.Nodes[other].Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
		c.Write(10)
		if err := os.RemoveAll(c.Dir(id)); err != nil {
			t.Fatal(err)
		}
		c.Start(id)
		z := c.Write(5)
		c.Agree(z)
		s := c.Nodes[id].State()
		if s.Restores == 0 || s.Count != 3045 {
			t.Errorf("%d restores, %d txns in all, want 3045", s.Restores, s.Count)
		}
		// What was restored must survive.
		c.Stop(id)
		c.Start(id)
		c.Agree(c.Write(1))
	}},
}

var survivors = []check{
	{"who distrusts its state gets the leader's", func(t *testing.T, c *Cluster) {
		c.StartAll()
		z := c.Write(10)
		c.Agree(z)
		leader := c.Leader()
		id := c.learner(leader)
		before := c.Nodes[id].State()
		if err := c.Members[id].Distrust(z, "a test"); err != nil {
			t.Fatal(err)
		}
		c.Wait("the state comes anew", func() bool { return c.Nodes[id].State().Restores > before.Restores })
		c.Agree(c.Write(5))
		roles := c.Nodes[id].State().Roles
		if len(roles) < len(before.Roles)+2 || roles[len(before.Roles)].State != consensus.Looking {
			t.Errorf("roles %v come after %v: it is to look for a leader first", roles, before.Roles)
		}
		// It has a vote again.
		c.Stop(leader)
		c.Agree(c.Write(5))
	}},
	{"what is damaged is set aside", func(t *testing.T, c *Cluster) {
		c.StartAll()
		c.Agree(c.Write(10))
		id := c.learner(c.Leader())
		c.Stop(id)
		c.Damaged = map[consensus.ServerID]bool{id: true}
		c.Start(id)
		c.Agree(c.Write(5))
		if s := c.Nodes[id].State(); s.Aside != 1 || s.Restores == 0 {
			t.Errorf("set aside %d times, restored %d times", s.Aside, s.Restores)
		}
	}},
	{"a leader that is gone is replaced", func(t *testing.T, c *Cluster) {
		c.StartAll()
		z := c.Write(10)
		for range 2 {
			old := c.Leader()
			epoch := c.Nodes[old].State().Role.Epoch
			c.Stop(old)
			leader := c.Leader()
			s := c.Nodes[leader].State()
			if s.Last < z {
				t.Errorf("the new leader begins at %v, and %v was acknowledged", s.Last, z)
			}
			if s.Role.Epoch <= epoch {
				t.Errorf("epoch %d comes after %d", s.Role.Epoch, epoch)
			}
			z = c.Write(10)
			c.Agree(z)
			c.Start(old)
			z = c.Write(1)
			c.Agree(z)
		}
	}},
	{"a leader that leaves is asked nothing more", func(t *testing.T, c *Cluster) {
		c.StartAll()
		c.Write(10)
		leader := c.Leader()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for id, m := range c.Members {
			if id == leader {
				continue
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := int32(0); ; i++ {
					select {
					case <-stop:
						return
					case <-time.After(200 * time.Microsecond):
					}
					// Refused when there is no leader; lost with it.
					term := m.Status().Role.Term
					_ = m.Forward(term, []consensus.Request{{Session: int64(id), Cxid: i, Op: 1}})
					_ = m.Revalidate(term, consensus.Touch{Session: int64(id), TimeoutMS: 4000})
					_ = m.Sync(term, consensus.SyncID(i))
				}
			}()
		}
		c.Write(50)
		c.Stop(leader) // its node hears nothing of them as long as it does not lead
		c.Leader()
		close(stop)
		wg.Wait()
		c.Start(leader)
		c.Agree(c.Write(5))
	}},
	{"without a majority nobody leads", func(t *testing.T, c *Cluster) {
		c.StartAll()
		c.Agree(c.Write(5))
		leader := c.Leader()
		for _, s := range c.servers {
			if !s.Observer && s.ID != leader {
				c.Stop(s.ID)
			}
		}
		n := c.Nodes[leader]
		c.Wait("the leader notices", func() bool { return n.State().Role.State == consensus.Looking })
		if _, err := n.Propose(1, 1, 1, 1); !errors.Is(err, consensus.ErrNotNow) {
			t.Errorf("Propose without a majority: %v", err)
		}
		for _, s := range c.servers {
			if c.Members[s.ID] == nil {
				c.Start(s.ID)
			}
		}
		c.Agree(c.Write(5))
		if got := c.Nodes[c.Leader()].State().Count; got != 10 {
			t.Errorf("%d txns, want 10", got)
		}
	}},
	{"what nobody acked is forgotten", func(t *testing.T, c *Cluster) {
		c.StartAll()
		z := c.Write(5)
		c.Agree(z)
		leader := c.Leader()
		var others []consensus.ServerID
		for _, s := range c.servers {
			if s.ID != leader {
				others = append(others, s.ID)
			}
		}
		for _, id := range others {
			c.Stop(id)
		}
		// It may take a moment until the leader knows that it is alone.
		n := c.Nodes[leader]
		n.Propose(3, 666, 1, 10)
		c.Wait("the leader notices", func() bool { return n.State().Role.State == consensus.Looking })
		c.Stop(leader)
		for _, id := range others {
			c.Start(id)
		}
		c.Write(5)
		c.Start(leader)
		z = c.Write(1)
		c.Agree(z)
		for id := range c.Members {
			for _, a := range c.Nodes[id].State().Log {
				if a.Session == 666 {
					t.Errorf("server %d delivered %v, which no other server ever had", id, a.Zxid)
				}
			}
		}
	}},
}
