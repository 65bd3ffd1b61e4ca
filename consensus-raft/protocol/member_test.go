package protocol

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/zkcore/zkcore/plugins/consensus"
)

func startAll(t *testing.T, voters int) *network {
	n := newNetwork(t, voters)
	for _, id := range n.ids {
		n.hosts[id].start()
	}
	n.leader()
	n.until("all follow", func() bool {
		for _, id := range n.ids {
			if n.hosts[id].role.State == consensus.Looking {
				return false
			}
		}
		return true
	})
	return n
}

// TestLosesItsTermInMidPipeline: a leader goes on proposing, each txn on top of the last
// one, while others have elected another leader. Nothing of it survives, and what the new
// leader proposes is what all deliver.
func TestLosesItsTermInMidPipeline(t *testing.T) {
	n := startAll(t, 3)
	old := n.leader()
	z := old.propose(old.role.Last+1, 5)
	n.until("they are delivered", func() bool { return old.last() == z })
	n.isolate(old.id, true)
	lost := old.propose(z+1, 3)
	lost = old.propose(lost+1, 4) // on top of them
	n.until("another leads", func() bool { h := n.leader(); return h != old })
	young := n.leader()
	if young.role.Epoch <= old.role.Epoch && old.role.State == consensus.Leading {
		t.Fatalf("epoch %d comes after %d", young.role.Epoch, old.role.Epoch)
	}
	if young.last() != z {
		t.Errorf("the new leader leads with %v, delivered was %v", young.last(), z)
	}
	old.propose(lost+1, 2) // it may not know yet
	w := young.propose(young.role.Last+1, 6)
	n.isolate(old.id, false)
	n.until("all have the same", func() bool {
		for _, id := range n.ids {
			if n.hosts[id].last() != w {
				return false
			}
		}
		return true
	})
	for _, id := range n.ids {
		h := n.hosts[id]
		if !slices.Equal(zxids(h.given), zxids(young.given)) {
			t.Errorf("server %d delivered %v, the leader %v", id, zxids(h.given), zxids(young.given))
		}
		if i := slices.IndexFunc(h.given, func(x Txn) bool { return x.Zxid > z && x.Zxid <= lost+2 }); i >= 0 {
			t.Errorf("server %d delivered %v, of a leader that had lost its term", id, h.given[i].Zxid)
		}
		if i := slices.IndexFunc(h.log, func(x Txn) bool { return x.Zxid > z && x.Zxid <= lost+2 }); i >= 0 {
			t.Errorf("server %d has %v in its log", id, h.log[i].Zxid)
		}
	}
}

// TestDeliversBeforeItLeads: what others have of an earlier term, committed or not, a new
// leader has delivered before it leads.
func TestDeliversBeforeItLeads(t *testing.T) {
	n := startAll(t, 3)
	old := n.leader()
	others := n.others(old)
	// The others have it on their disks; that they do the leader never hears.
	for _, o := range others {
		n.cut[[2]ServerID{o.id, old.id}] = true
	}
	z := old.propose(old.role.Last+1, 4)
	n.settle()
	for _, o := range others {
		if len(o.log) != 4 || len(o.given) != 0 {
			t.Fatalf("server %d has %d txns in its log and %d delivered", o.id, len(o.log), len(o.given))
		}
	}
	old.stop()
	young := n.leader()
	if young.last() != z {
		t.Errorf("the new leader leads at %v, and %v was on a majority's disks", young.last(), z)
	}
	n.cut = map[[2]ServerID]bool{}
	w := young.propose(young.role.Last+1, 1)
	old.start()
	n.until("all have it", func() bool { return old.last() == w && others[0].last() == w && others[1].last() == w })
}

// TestAsleepWhileElected: who was elected, and then asleep, does not lead when it wakes up: others
// have another leader by then, whose epoch is higher.
func TestAsleepWhileElected(t *testing.T) {
	n := newNetwork(t, 3)
	for _, id := range n.ids {
		n.hosts[id].start()
	}
	old := n.elected()
	for _, id := range n.ids {
		n.hosts[id].lazy = true
	}
	n.step() // it is connected, and nobody acknowledges its first entry yet
	old.asleep, old.lazy = true, false
	roles := len(old.roles)
	for _, id := range n.ids {
		if h := n.hosts[id]; h != old {
			h.lazy = false
			h.write()
			h.run()
		}
	}
	n.settle()
	if len(old.inbox) == 0 {
		t.Fatal("nobody has acknowledged anything")
	}
	n.isolate(old.id, true)
	young := n.leader()
	n.isolate(old.id, false)
	old.wakes()
	for range 3 {
		n.step()
	}
	for _, r := range old.roles[roles:] {
		if r.State == consensus.Leading {
			t.Errorf("it leads in epoch %d, and server %d in epoch %d", r.Epoch, young.id, young.role.Epoch)
		}
	}
	n.until("it follows", func() bool { return old.role.State == consensus.Following && old.role.Leader == young.id })
}

// TestPowerIsLost: a server whose power fails ends no connection. It follows again when it is back, also if
// its leader had just connected to it, and had not heard of it yet.
func TestPowerIsLost(t *testing.T) {
	for _, greeted := range []bool{true, false} {
		t.Run(fmt.Sprintf("greeted %v", greeted), func(t *testing.T) {
			n := startAll(t, 3)
			l := n.leader()
			var h *host
			for _, id := range n.ids {
				if id != l.id {
					h = n.hosts[id]
				}
			}
			follows := func() bool { return h.role.State == consensus.Following && h.role.Leader == l.id }
			n.until("it follows", follows)
			if !greeted {
				h.stop()
				n.step()
				h.start()
				h.asleep = true
				n.until("there is a connection", func() bool { return l.m.leader.peer(h.id).linked })
				n.step()
				if l.m.leader.peer(h.id).here {
					t.Fatal("it has answered")
				}
			}
			h.m, h.role, h.asleep, h.inbox = nil, consensus.Role{}, false, nil
			for range 20 {
				n.step()
			}
			h.start()
			n.until("it follows again", follows)
			if l.role.State != consensus.Leading {
				t.Error("the leader is another one")
			}
		})
	}
}

// TestPowerIsLostInASnapshot: the same, while it takes the leader's state in.
func TestPowerIsLostInASnapshot(t *testing.T) {
	n := startAll(t, 3)
	lead := n.leader()
	h := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+1)%3]]
	h.stop()
	z := lead.propose(lead.role.Last+1, 20)
	n.until("delivered", func() bool { return lead.last() == z })
	lead.cfg.KeepCount, lead.m.log.keep = 0, 0
	lead.state = slices.Clone(lead.given)
	lead.m.Checkpoint(n.now, z, z)
	lead.run()
	h.holds = true
	h.start()
	n.until("the snapshot is there", func() bool { return len(h.held) > 0 })
	// As long as it takes, it is heard.
	for range 3000 {
		n.step()
	}
	if got := lead.counted["snap_count"]; got != 1 || len(h.held) != 1 {
		t.Fatalf("%d snapshots were sent", got)
	}
	h.m, h.role, h.held, h.holds = nil, consensus.Role{}, nil, false
	for range 20 {
		n.step()
	}
	h.start()
	n.until("it follows", func() bool { return h.role.State == consensus.Following && h.role.Leader == lead.id && h.last() == z })
}

// TestReplacedDisk: 1 and 2 have a txn, 3 has not. With the disk of 2 gone and 1 down, 2
// and 3 are a majority that must not lead. With 1 again they do, and have the txn.
func TestReplacedDisk(t *testing.T) {
	n := startAll(t, 3)
	lead := n.leader()
	var rest []*host
	for _, id := range n.ids {
		if id != lead.id {
			rest = append(rest, n.hosts[id])
		}
	}
	away, replaced := rest[0], rest[1]
	away.stop()
	z := lead.propose(lead.role.Last+1, 3)
	n.until("the two have it", func() bool { return replaced.last() == z && lead.last() == z })
	lead.stop()
	replaced.stop()
	replaced.file, replaced.log, replaced.state = nil, nil, nil
	replaced.start()
	away.start()
	for range 2000 {
		n.step()
		if away.role.State != consensus.Looking || replaced.role.State != consensus.Looking {
			t.Fatal("they have a leader without the txn")
		}
	}
	lead.start()
	n.until("all have it", func() bool { return away.last() == z && replaced.last() == z && lead.last() == z })
}

// TestLostDiskOfAFollower: a server that comes back empty to a leader that counts on what
// it acknowledged gets all of it before it counts again.
func TestLostDiskOfAFollower(t *testing.T) {
	n := startAll(t, 3)
	lead := n.leader()
	z := lead.propose(lead.role.Last+1, 20)
	n.until("all have it", func() bool {
		return n.hosts[1].last() == z && n.hosts[2].last() == z && n.hosts[3].last() == z
	})
	f := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+1)%3]]
	o := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+2)%3]]
	f.stop()
	f.file, f.log, f.state = nil, nil, nil
	o.stop() // no majority follows without f
	f.start()
	for range 500 {
		n.step()
		if f.role.State != consensus.Looking {
			t.Fatal("it serves, and nobody but the leader has said that the leader leads")
		}
	}
	o.start()
	n.until("it follows", func() bool { return f.role.State == consensus.Following && f.last() == z })
	s, err := DecodeState(f.file)
	if err != nil || s.Standing != Proven {
		t.Errorf("its standing is %v: %v", s.Standing, err)
	}
}

// TestRoundOfATermBefore: what a leader wanted to be sure of, in a term in which nothing was committed, is not in the way when
// it leads again.
func TestRoundOfATermBefore(t *testing.T) {
	n := startAll(t, 3)
	lead := n.leader()
	z := lead.propose(lead.role.Last+1, 3)
	n.until("all have it", func() bool {
		return n.hosts[1].last() == z && n.hosts[2].last() == z && n.hosts[3].last() == z
	})
	f := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+1)%3]]
	o := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+2)%3]]
	f.stop()
	f.file, f.log, f.state = nil, nil, nil
	term := lead.role.Epoch
	o.stop()
	n.until("it leads no more", func() bool { return lead.m.leader == nil })
	o.start()
	// One of them is elected, and the other one is gone before it has anything of the term.
	n.until("one is elected", func() bool {
		for _, h := range []*host{lead, o} {
			if l := h.m.leader; l != nil && l.term > uint64(term) {
				lead, o = h, map[*host]*host{lead: o, o: lead}[h]
				return true
			}
		}
		return false
	})
	if lead.m.leader.established {
		t.Fatal("its first entry is committed")
	}
	o.stop()
	f.start()
	n.until("one without data asks for all of it", func() bool {
		p := lead.m.leader.peer(f.id)
		return p.rescue && p.round > 0
	})
	n.until("it leads no more", func() bool { return lead.m.leader == nil })
	o.start()
	n.until("all follow", func() bool {
		return lead.role.State == consensus.Leading && f.role.State == consensus.Following && o.role.State == consensus.Following
	})
	for range 500 {
		n.step()
		if lead.role.State != consensus.Leading || f.role.State != consensus.Following || o.role.State != consensus.Following {
			t.Fatalf("they are %v, %v and %v", lead.role.State, f.role.State, o.role.State)
		}
	}
}

// TestHandOver: a leader that leaves hands its leadership over, and nobody waits until it is
// missed.
func TestHandOver(t *testing.T) {
	n := startAll(t, 3)
	old := n.leader()
	z := old.propose(old.role.Last+1, 5)
	n.until("they are delivered", func() bool { return old.last() == z })
	began := n.now
	old.m.Leave(n.now)
	old.run()
	if old.role.State != consensus.Looking {
		t.Fatalf("it is %v while it hands over", old.role.State)
	}
	n.until("it has left", func() bool { return old.left })
	old.stop()
	young := n.leader()
	if took := n.now - began; took >= Second {
		t.Errorf("the next leader leads after %d ms: as if nobody had told it", took/Millisecond)
	}
	if young.last() != z {
		t.Errorf("it leads at %v, delivered was %v", young.last(), z)
	}
	// Both have looked for a leader twice; one has found it twice.
	for h, found := range map[*host]int64{old: 1, young: 2} {
		if l, e := h.counted["looking_count"], h.counted["observed election_time"]; l != 2 || e != found {
			t.Errorf("server %d counts %d times that it looked, and %d that it had a leader", h.id, l, e)
		}
	}
}

// TestHandOverToNobody: a leader that leaves does not wait long for one that is gone.
func TestHandOverToNobody(t *testing.T) {
	n := startAll(t, 2)
	old := n.leader()
	began := n.now
	old.m.Leave(n.now)
	old.run()
	if old.left {
		t.Fatal("it hands nothing over")
	}
	n.hosts[3-old.id].stop()
	n.until("it has left", func() bool { return old.left })
	if took := n.now - began; took > Second/2 {
		t.Errorf("it leaves after %d ms", took/Millisecond)
	}
}

// TestProposalOutOfPlaceEndsTheTerm: what does not go on where the last one ended is not
// taken in, nor is anything behind it.
func TestProposalOutOfPlaceEndsTheTerm(t *testing.T) {
	n := startAll(t, 3)
	old := n.leader()
	term := old.role.Epoch
	old.propose(old.role.Last+2, 1)
	if old.role.State != consensus.Looking {
		t.Fatal("it leads on")
	}
	n.until("there is a leader of a later term", func() bool { return n.leader().role.Epoch > term })
	n.until("all follow", func() bool {
		return n.hosts[1].role.State != consensus.Looking && n.hosts[2].role.State != consensus.Looking && n.hosts[3].role.State != consensus.Looking
	})
	for _, id := range n.ids {
		if got := n.hosts[id].given; len(got) != 0 {
			t.Errorf("server %d delivered %v", id, zxids(got))
		}
	}
}

// TestSnapshotToOneFarBehind: whose log does not reach the leader's gets the state, and
// then the log, though the connection breaks twice meanwhile.
func TestSnapshotToOneFarBehind(t *testing.T) {
	n := startAll(t, 3)
	lead := n.leader()
	f := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+1)%3]]
	lead.propose(lead.role.Last+1, 3)
	n.settle()
	f.stop()
	z := lead.role.Last + 3
	for range 20 {
		z = lead.propose(z+1, 100)
		n.step()
	}
	n.until("delivered", func() bool { return lead.last() == z })
	lead.cfg.KeepCount = 10
	lead.m.log.keep = 10
	lead.state = slices.Clone(lead.given)
	lead.m.Checkpoint(n.now, z, z)
	lead.run()
	z = lead.propose(z+1, 50)
	f.start()
	f.cuts = 2
	n.until("it has all", func() bool { return f.last() == z && f.role.State == consensus.Following })
	if f.cuts != 0 {
		t.Errorf("%d times the connection was to break in a snapshot, and did not", f.cuts)
	}
	if len(f.state) == 0 {
		t.Error("it got no snapshot")
	}
	if !slices.Equal(zxids(f.given), zxids(lead.given)) {
		t.Error("it has another history than the leader")
	}
}

// TestSlowDiskAcksNothing: a follower acknowledges what is on its disk, no sooner.
func TestSlowDiskAcksNothing(t *testing.T) {
	n := startAll(t, 3)
	lead := n.leader()
	for _, id := range n.ids {
		if id != lead.id {
			n.hosts[id].lazy = true
		}
	}
	lead.propose(lead.role.Last+1, 5)
	for range 20 {
		n.step()
	}
	if lead.last() != 0 {
		t.Errorf("%v is committed, and no follower has it on its disk", lead.last())
	}
}

// TestNothingIsDeliveredIntoARestore: what a server has in its log may become committed
// while the leader's snapshot, which has all of it, is on its way into the node.
func TestNothingIsDeliveredIntoARestore(t *testing.T) {
	n := startAll(t, 3)
	lead := n.leader()
	f := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+1)%3]]
	z := lead.propose(lead.role.Last+1, 20)
	n.until("all have it", func() bool { return f.last() == z })
	f.stop() // its node has no snapshot: it begins with nothing
	z = lead.propose(z+1, 20)
	n.until("delivered", func() bool { return lead.last() == z })
	lead.m.log.keep = 0
	lead.state = slices.Clone(lead.given)
	lead.m.Checkpoint(n.now, z, z)
	lead.run()
	f.holds = true
	f.start()
	n.until("the snapshot is there", func() bool { return len(f.held) > 0 })
	for range 100 {
		n.step()
	}
	f.holds = false
	o := f.held[0]
	f.held = nil
	f.do(o)
	f.run()
	z = lead.propose(z+1, 1)
	n.until("it has all", func() bool { return f.last() == z && f.role.State == consensus.Following })
	if !slices.Equal(zxids(f.given), zxids(lead.given)) {
		t.Error("it has another history than the leader")
	}
}

// TestBidBeforeItsLogIsDurable: a server whose disk is slow is asked what it has by one that acknowledged more
// of it, on a disk that is gone. When it commits that, the one that asked must know.
func TestBidBeforeItsLogIsDurable(t *testing.T) {
	n := startAll(t, 3)
	old := n.leader()
	others := n.others(old)
	lost, behind := others[0], others[1]
	z := old.propose(old.role.Last+1, 3)
	n.until("all have it", func() bool { return lost.last() == z && behind.last() == z && old.last() == z })

	old.lazy = true
	n.cut[[2]ServerID{old.id, behind.id}] = true
	z = old.propose(z+1, 1)
	n.settle()
	if k := len(lost.log); k != 4 || old.last() == z {
		t.Fatalf("the one to be lost has %d txns in its log, the leader delivered %v", k, old.last())
	}
	lost.stop()
	lost.file, lost.log, lost.state, lost.known = nil, nil, nil, 0
	lost.start()
	n.cut[[2]ServerID{old.id, behind.id}] = false
	n.settle() // it asks, and is answered
	n.cut[[2]ServerID{old.id, behind.id}] = true
	old.lazy = false
	old.write()
	old.run()
	if old.last() != z {
		t.Fatalf("the leader delivered %v: two of three had %v on their disks", old.last(), z)
	}
	old.stop()
	n.cut = map[[2]ServerID]bool{}
	for range 3000 {
		n.step()
		for _, h := range others {
			if h.role.State == consensus.Leading {
				t.Fatalf("server %d leads with %v, and %v was committed", h.id, h.last(), z)
			}
		}
	}
	old.start()
	n.until("all have it", func() bool { return lost.last() == z && behind.last() == z && old.last() == z })
}

// TestForwardedFramesAreBounded: what clients are known as goes with each of their requests, and counts for the length
// of a frame as the requests do. The leader takes none that is longer than a request may be.
func TestForwardedFramesAreBounded(t *testing.T) {
	n := startAll(t, 3)
	var h *host
	for _, id := range n.ids {
		if n.hosts[id].role.State == consensus.Following {
			h = n.hosts[id]
		}
	}
	const auth = 16 << 10
	for _, tc := range []struct {
		requests, auth, body, frames int
	}{
		{1, 0, 10, 1},
		{1024, 0, 10, 1},
		{1025, 0, 10, 2},
		{256, auth, 100, 86}, // three of them are 48 kB
		{3, auth, 1 << 20, 3},
		{64, 0, 2 << 10, 3},
	} {
		var rs []consensus.Request
		for i := range tc.requests {
			rs = append(rs, consensus.Request{Session: 5, Cxid: int32(i), Op: 1, Body: make([]byte, tc.body),
				Auth: []consensus.Identity{{Scheme: "digest", ID: strings.Repeat("a", tc.auth)}}})
		}
		h.m.Forward(n.now, h.role.Term, rs)
		frames, next := 0, int32(0)
		for _, o := range h.m.Outputs() {
			s, ok := o.(Send)
			if !ok {
				continue
			}
			for _, f := range s.Frames {
				frames++
				most := max(MaxChunk, requestSize(&rs[0]))
				if k := len(f.Append(nil)); k > most+16 {
					t.Errorf("%d requests of %d bytes with identities of %d: a frame of %d bytes", tc.requests, tc.body, tc.auth, k)
				}
				for _, q := range f.Requests {
					if q.Cxid != next {
						t.Fatalf("request %d comes, and %d is next", q.Cxid, next)
					}
					next++
				}
			}
		}
		if frames != tc.frames || int(next) != tc.requests {
			t.Errorf("%d requests of %d bytes with identities of %d: %d came in %d frames, want %d", tc.requests, tc.body, tc.auth, next, frames, tc.frames)
		}
	}
}

// TestHandsOverToOneThatIsHeard: a leader that leaves hands over to a server that answers, and not to one that stands
// still and has as much.
func TestHandsOverToOneThatIsHeard(t *testing.T) {
	for still := range 2 {
		n := startAll(t, 3)
		old := n.leader()
		z := old.propose(old.role.Last+1, 2)
		n.until("all have it", func() bool { return n.hosts[1].last() == z && n.hosts[2].last() == z && n.hosts[3].last() == z })
		others := n.others(old)
		others[still].asleep = true
		for range 70 {
			n.step()
		}
		if old.m.leader == nil {
			t.Fatal("it leads no more")
		}
		old.m.Leave(n.now)
		old.run()
		n.until("it has left", func() bool { return old.left })
		if old.m.leader != nil {
			t.Errorf("server %d stands still: the leadership was not handed over to server %d", others[still].id, others[1-still].id)
		}
	}
}

// TestAloneAndAsleep: a server that had nobody to elect a leader with, and was asleep for long, looks for one soon when
// another is there.
func TestAloneAndAsleep(t *testing.T) {
	n := startAll(t, 3)
	old := n.leader()
	others := n.others(old)
	others[0].stop()
	z := old.propose(old.role.Last+1, 2) // others[0] can't be elected without it
	n.until("it is delivered", func() bool { return old.last() == z })
	others[1].stop()
	n.until("it is alone", func() bool { return old.role.State == consensus.Looking })
	old.asleep = true
	n.now += 3600 * Second
	old.wakes()
	others[0].start()
	if h := n.leader(); h != old {
		t.Errorf("server %d leads, and server %d has more", h.id, old.id)
	}
}

// TestLogThatCantBeRead: what can't be read of a leader's log below its newest snapshot does not end it, and is reported.
func TestLogThatCantBeRead(t *testing.T) {
	n := startAll(t, 3)
	old := n.leader()
	var behind *host
	for _, id := range n.ids {
		if id != old.id {
			behind = n.hosts[id]
		}
	}
	behind.stop()
	z := old.propose(old.role.Last+1, 100) // more than its window has
	n.until("it is delivered", func() bool { return old.last() == z })
	old.m.Checkpoint(n.now, z, 0)
	old.run()
	z = old.propose(z+1, 1)
	old.hurt = errors.New("input/output error")
	behind.start()
	n.until("it has all", func() bool { return behind.last() == z && len(behind.given) == 101 })
	if !slices.ContainsFunc(old.warns, func(s string) bool { return strings.Contains(s, "input/output error") }) {
		t.Errorf("nobody is told of the error; there are %q", old.warns)
	}
}

// TestLeadsWhileASnapshotIsRead: what a leader says waits behind the snapshot that it sends, for as long as the other node
// takes to read that. It leads on meanwhile, though there is nobody else.
func TestLeadsWhileASnapshotIsRead(t *testing.T) {
	n := startAll(t, 3)
	lead := n.leader()
	f := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+1)%3]]
	other := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+2)%3]]
	f.stop()
	z := lead.propose(lead.role.Last+1, 20)
	n.until("delivered", func() bool { return lead.last() == z })
	lead.m.log.keep = 0
	lead.state = slices.Clone(lead.given)
	lead.m.Checkpoint(n.now, z, z)
	lead.run()
	f.holds = true
	f.start()
	n.until("the snapshot is there", func() bool { return len(f.held) > 0 })
	other.stop()
	n.cut[[2]ServerID{lead.id, f.id}] = true
	roles := len(lead.roles)
	for range 2000 {
		n.step()
	}
	if len(lead.roles) != roles || lead.role.State != consensus.Leading {
		t.Fatalf("its roles since the snapshot was sent are %v", lead.roles[roles:])
	}
	n.cut = map[[2]ServerID]bool{}
	f.holds = false
	o := f.held[0]
	f.held = nil
	f.do(o)
	f.run()
	z = lead.propose(z+1, 1)
	n.until("it has all", func() bool { return f.last() == z && lead.last() == z && f.role.State == consensus.Following })
}

// TestCutOffFollowerDisturbsNobody: who can't win an election begins no term: neither one that hears
// nobody, nor one that the others do hear, but not the leader. The leader leads on meanwhile, and when
// it is back.
func TestCutOffFollowerDisturbsNobody(t *testing.T) {
	for _, from := range []string{"all", "the leader"} {
		n := startAll(t, 3)
		lead := n.leader()
		f := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+1)%3]]
		n.until("it follows", func() bool { return f.role.State == consensus.Following })
		role, roles := lead.role, len(lead.roles)
		cut := func(on bool) {
			if from == "all" {
				n.isolate(f.id, on)
				return
			}
			n.cut[[2]ServerID{f.id, lead.id}], n.cut[[2]ServerID{lead.id, f.id}] = on, on
		}
		cut(true)
		n.until("it looks for a leader", func() bool { return f.role.State == consensus.Looking })
		z := lead.propose(lead.role.Last+1, 5)
		for end := n.now + 30*f.cfg.Silence; n.now < end; {
			n.step()
		}
		cut(false)
		n.until("it follows again", func() bool { return f.role.State == consensus.Following && f.last() == z })
		if len(lead.roles) != roles || lead.role != role {
			t.Errorf("cut off from %s: the leader has had the roles %v since", from, lead.roles[roles:])
		}
	}
}

// TestSnapshotBelowWhatWasHeard: a server on a new disk has heard what the others have, and takes part. The leader, which was
// restarted, sends what its node has, and the rest as its log. If power is lost between the two, the server has no vote: the rest
// was committed with its own acknowledgement, on the disk that is gone.
func TestSnapshotBelowWhatWasHeard(t *testing.T) {
	n := startAll(t, 3)
	lead := n.leader()
	away := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+1)%3]]
	lost := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+2)%3]]
	at := lead.propose(lead.role.Last+1, 20)
	n.until("all have it", func() bool { return away.last() == at && lost.last() == at && lead.last() == at })
	away.stop()
	lead.cfg.KeepCount, lead.m.log.keep = 0, 0
	lead.state = slices.Clone(lead.given)
	lead.m.Checkpoint(n.now, at, at)
	lead.run()
	z := lead.propose(at+1, 5)
	n.until("the two have it", func() bool { return lost.last() == z && lead.last() == z })
	lead.stop()
	lost.stop()
	lead.known = at
	lost.file, lost.log, lost.state, lost.known = nil, nil, nil, 0
	away.start()
	lead.start()
	lost.holds = true
	lost.start()
	n.until("the snapshot is there", func() bool { return len(lost.held) > 0 })
	lost.holds, lost.held = false, nil
	lost.given, lost.state = slices.Clone(lost.taken), slices.Clone(lost.taken)
	lost.m.Restored(n.now, nil)
	lost.run()
	lost.lazy = true // the log waits for the disk
	for range 10 {
		n.step()
	}
	if got := lost.state[len(lost.state)-1].Zxid; got != at || len(lost.log) > 0 {
		t.Fatalf("it has a snapshot at %v and %d txns, want one at %v and none", got, len(lost.log), at)
	}
	lead.stop()
	lost.stop()
	lost.lazy = false
	lost.start()
	for range 3000 {
		n.step()
		if away.role.State != consensus.Looking || lost.role.State != consensus.Looking {
			t.Fatalf("the two have a leader, and %v was committed", z)
		}
	}
	lead.start()
	n.until("all have it", func() bool { return away.last() == z && lost.last() == z && lead.last() == z })
	n.until("it counts again", func() bool {
		s, err := DecodeState(lost.file)
		return err == nil && s.Standing == Proven
	})
}

// TestHandsOverToANewDisk: a leader knows what a server acknowledged, and not at once that it has another disk now. When it is stopped
// in that moment it hands over to that server, which has heard that others have more than it has, and does not stand.
func TestHandsOverToANewDisk(t *testing.T) {
	n := newNetwork(t, 3)
	for _, id := range n.ids {
		n.hosts[id].start()
	}
	lead := n.elected()
	empty := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+1)%3]]
	lost := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+2)%3]]
	n.cut[[2]ServerID{lead.id, empty.id}], n.cut[[2]ServerID{empty.id, lead.id}] = true, true
	n.until("it leads", func() bool { return lead.role.State == consensus.Leading && lost.role.State == consensus.Following })
	z := lead.propose(lead.role.Last+1, 20)
	n.until("the two have it", func() bool { return lead.last() == z && lost.last() == z })
	if len(empty.log) > 0 || empty.m.log.last > 0 {
		t.Fatalf("the third one has %d txns", len(empty.log))
	}
	lost.stop()
	lost.file, lost.log, lost.state, lost.known = nil, nil, nil, 0
	n.cut[[2]ServerID{lead.id, empty.id}], n.cut[[2]ServerID{empty.id, lead.id}] = false, false
	lost.start()
	n.settle()
	clear(lead.dials)
	n.next++
	n.conns[n.next] = &wire{lead, lost}
	lost.m.Accepted(n.now, n.next, "host")
	lead.m.Linked(n.now, lost.id, n.next, "host")
	lead.run()
	for !lead.m.leader.peer(lost.id).ready {
		fn := n.queue[0]
		n.queue = n.queue[1:]
		fn()
	}
	if !lost.m.part() || lost.m.st.Standing != Blank {
		t.Fatalf("it takes part: %v, and is %v", lost.m.part(), lost.m.st.Standing)
	}
	lead.m.Leave(n.now)
	lead.run()
	n.most = 100 // what is appended is refused, and sent anew, until a heartbeat tells what is missing
	for range 300 {
		n.step()
		if lost.m.leader != nil || empty.m.leader != nil {
			t.Fatalf("one without data was elected, and %v was committed", z)
		}
	}
	lead.stop()
	lead.start()
	n.until("all have it", func() bool { return lead.last() == z && lost.last() == z && empty.last() == z })
}

// TestVoteOfALostDisk: of five, one votes for a candidate and loses its disk. A leader of the term before gives it everything, and
// what it acknowledges then is committed, while the candidate waits for one more vote still.
func TestVoteOfALostDisk(t *testing.T) {
	n := startAll(t, 5)
	lead := n.leader()
	i := slices.Index(n.ids, lead.id)
	cand, lost, slow := n.hosts[n.ids[(i+1)%5]], n.hosts[n.ids[(i+2)%5]], n.hosts[n.ids[(i+3)%5]]
	z := lead.propose(lead.role.Last+1, 5)
	n.until("all have it", func() bool { return cand.last() == z && lost.last() == z && slow.last() == z && lead.last() == z })
	apart := func(a, b *host, on bool) {
		n.cut[[2]ServerID{a.id, b.id}], n.cut[[2]ServerID{b.id, a.id}] = on, on
		for c, w := range n.conns {
			if on && w.other(a) == b && (w.from == a || w.to == a) {
				n.breaks(c)
			}
		}
	}
	// Three lose the leader for a moment, and one of them stands.
	for _, h := range []*host{cand, lost, slow} {
		apart(lead, h, true)
	}
	cand.m.elect.at = n.now
	cand.lazy = true
	n.step()
	n.cut[[2]ServerID{cand.id, slow.id}] = true // this message comes late
	cand.lazy = false
	cand.write()
	cand.run()
	n.settle()
	s, err := DecodeState(lost.file)
	if err != nil || s.Vote != cand.id || cand.m.leader != nil {
		t.Fatalf("it voted for %d (%v)", s.Vote, err)
	}
	late := Frame{Kind: Vote, Raft: &pb.Message{Type: pb.MsgVote.Enum(), Term: new(s.Term), LogTerm: new(cand.m.end().Term), Index: new(cand.m.end().Index)}}
	lost.stop()
	lost.file, lost.log, lost.state, lost.known = nil, nil, nil, 0
	apart(cand, lost, true)
	apart(lead, lost, false)
	apart(lead, slow, false)
	lost.start()
	for range 30 {
		n.step()
	}
	if slow.role.State != consensus.Following || cand.m.rn.BasicStatus().RaftState != raft.StateCandidate {
		t.Fatalf("%v, and %v", slow.role, cand.m.rn.BasicStatus())
	}
	apart(lead, slow, true)
	w := lead.propose(z+1, 5)
	n.settle()
	n.cut[[2]ServerID{cand.id, slow.id}] = false
	slow.m.Mailed(n.now, cand.id, n.pass(late))
	slow.run()
	n.settle()
	if lead.last() == w && cand.m.leader != nil {
		t.Fatalf("%v is committed, and one leads that does not have it", w)
	}
	n.cut = map[[2]ServerID]bool{}
	w = n.leader().last()
	n.until("all have the same", func() bool {
		return !slices.ContainsFunc(n.ids, func(id ServerID) bool { return n.hosts[id].last() != w || n.hosts[id].role.State == consensus.Looking })
	})
}

// TestCandidateGivesUp: whoever has lost its disk since may have forgotten a vote. So a candidate does not wait for long, also when
// others want to stand meanwhile, to whom it consents.
func TestCandidateGivesUp(t *testing.T) {
	n := startAll(t, 5)
	lead := n.leader()
	i := slices.Index(n.ids, lead.id)
	cand, other := n.hosts[n.ids[(i+1)%5]], n.hosts[n.ids[(i+2)%5]]
	n.isolate(lead.id, true)
	lead.stop()
	cand.m.elect.at = n.now
	cand.lazy = true
	n.step()
	for _, h := range []*host{cand, other} {
		n.isolate(h.id, true)
	}
	n.cut[[2]ServerID{cand.id, other.id}], n.cut[[2]ServerID{other.id, cand.id}] = false, false
	cand.lazy = false
	cand.write()
	cand.run()
	cand.cfg.Rand = func(n int64) int64 { return n - 1 }
	other.cfg.Rand = func(int64) int64 { return 0 }
	since, term := n.now, uint64(0)
	for end := n.now + 20*cand.cfg.Silence; n.now < end; {
		n.step()
		s := cand.m.rn.BasicStatus()
		if s.RaftState != raft.StateCandidate || s.GetTerm() != term {
			since, term = n.now, s.GetTerm()
		}
		if wait := n.now - since; wait > 5*cand.cfg.Silence/2 {
			t.Fatalf("it is a candidate of term %d for %d ms", term, wait/Millisecond)
		}
	}
}

// TestDistrustWhileTakingOver: the node finds its state wrong while what it was given in place of that is being noted.
func TestDistrustWhileTakingOver(t *testing.T) {
	n := startAll(t, 3)
	lead := n.leader()
	f := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+1)%3]]
	f.stop()
	z := lead.propose(lead.role.Last+1, 20)
	n.until("delivered", func() bool { return lead.last() == z })
	lead.m.log.keep = 0
	lead.state = slices.Clone(lead.given)
	lead.m.Checkpoint(n.now, z, z)
	lead.run()
	f.holds = true
	f.start()
	n.until("the snapshot is there", func() bool { return len(f.held) > 0 })
	f.holds, f.held = false, nil
	f.given, f.state = slices.Clone(f.taken), slices.Clone(f.taken)
	f.lazy = true
	f.m.Restored(n.now, nil)
	f.run()
	f.m.Distrust(n.now, "its digest differs")
	f.run()
	f.lazy = false
	f.write()
	f.run()
	w := lead.propose(z+1, 1)
	n.until("it has all", func() bool { return f.last() == w && f.role.State == consensus.Following })
}

// TestVoteForTheOneThatLeads: a server without data votes for the leader that it gets everything from, on its disk. That stays so when
// it hears of what all have before it is there.
func TestVoteForTheOneThatLeads(t *testing.T) {
	n := startAll(t, 3)
	lead := n.leader()
	i := slices.Index(n.ids, lead.id)
	lost, third := n.hosts[n.ids[(i+1)%3]], n.hosts[n.ids[(i+2)%3]]
	z := lead.propose(lead.role.Last+1, 5)
	n.until("all have it", func() bool { return lost.last() == z && third.last() == z && lead.last() == z })
	lost.stop()
	lost.file, lost.log, lost.state, lost.known = nil, nil, nil, 0
	n.cut[[2]ServerID{lost.id, third.id}] = true
	lost.holds = true
	lost.start()
	n.until("the snapshot is there", func() bool { return len(lost.held) > 0 })
	vote := func() ServerID {
		s, err := DecodeState(lost.file)
		if err != nil || s.Term != uint64(lead.role.Epoch) {
			t.Fatalf("%+v: %v", s, err)
		}
		return s.Vote
	}
	if got := vote(); got != lead.id {
		t.Fatalf("it voted for %d", got)
	}
	n.cut = map[[2]ServerID]bool{}
	n.until("it has heard all", func() bool { return lost.m.elect.heardAll })
	for range 100 {
		n.step()
		if got := vote(); got == 0 {
			t.Fatal("it may vote once more in this term")
		}
	}
}

// TestLostThatDoubts: a server that has lost something and distrusts its state as well does not say that its log is good.
func TestLostThatDoubts(t *testing.T) {
	n := startAll(t, 3)
	lead := n.leader()
	f := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+1)%3]]
	f.m.forgot("a test")
	f.m.Distrust(n.now, "its digest differs")
	f.m.Mailed(n.now, lead.id, Frame{Kind: Bid, Nonce: 7})
	said := false
	for range 10 {
		for _, o := range f.m.Outputs() {
			if p, ok := o.(Persist); ok {
				f.m.Persisted(n.now, p.Seq)
			}
			if o, ok := o.(Mail); ok && o.F.Kind == Bid && o.F.Echo == 7 {
				said = true
				if o.F.Worth != Lost {
					t.Errorf("it says that it is %v", o.F.Worth)
				}
			}
		}
	}
	if !said {
		t.Error("it does not answer")
	}
}

// TestLostThatHeardOfMore: a server on a new disk hears what the others have, some of which nobody has committed yet, and then from
// the leader that it acknowledged more than it has. With the leader's state it has all that, and is not to wait for more.
func TestLostThatHeardOfMore(t *testing.T) {
	n := startAll(t, 3)
	lead := n.leader()
	f := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+1)%3]]
	z := lead.propose(lead.role.Last+1, 5)
	n.until("all have it", func() bool { return f.last() == z && lead.last() == z })
	f.m.elect.heardAll, f.m.elect.best = true, lead.m.end()
	f.m.elect.best.Index++
	f.m.dropLearner(f.m.forgot("a test"))
	f.run()
	n.until("it follows", func() bool { return f.role.State == consensus.Following && f.m.st.Standing == Proven })
}

// TestGoesOnBehindItsSnapshot: while a server reads the leader's state, the leader takes the next snapshot. What lies between the
// two is sent out of the log: else a server whose snapshot takes longer than the time between two of them would get one after the
// other, and never have all.
func TestGoesOnBehindItsSnapshot(t *testing.T) {
	n := startAll(t, 3)
	lead := n.leader()
	far := n.hosts[n.ids[(slices.Index(n.ids, lead.id)+1)%3]]
	far.stop()
	lead.cfg.KeepCount, lead.m.log.keep = 0, 0
	checkpoint := func(z Zxid) {
		n.until("it is committed", func() bool { return lead.last() == z })
		lead.state = slices.Clone(lead.given)
		lead.m.Checkpoint(n.now, z, 0)
		lead.run()
	}
	z := lead.propose(lead.role.Last+1, 20)
	checkpoint(z)
	far.holds = true
	far.start()
	for range 3 {
		n.until("a snapshot is on its way", func() bool { return len(far.held) > 0 })
		z = lead.propose(z+1, 20)
		checkpoint(z)
		far.held = nil
		far.given, far.state = slices.Clone(far.taken), slices.Clone(far.taken)
		far.m.Restored(n.now, nil)
		far.run()
		for range 100 {
			n.step()
		}
		if far.last() == z {
			break
		}
	}
	if got := lead.counted["snap_count"]; got != 1 || far.last() != z {
		t.Fatalf("%d snapshots were sent, and it has %v of %v", got, far.last(), z)
	}
	// Who has caught up is held nothing back for.
	z = lead.propose(z+1, 20)
	checkpoint(z)
	n.until("it has that too", func() bool { return far.last() == z })
	if first, _ := lead.m.log.FirstIndex(); first != lead.m.log.last+1 {
		t.Errorf("the log is held for learners from entry %d on, and the newest snapshot is at %d", first, lead.m.log.last)
	}
}

// TestStateBelowWhatTheLogContinues: the snapshot that the log continues can't be read any more, and an older one is no state for that
// log, also where the log begins with a term, which shows no hole.
func TestStateBelowWhatTheLogContinues(t *testing.T) {
	z1, z2 := consensus.MakeZxid(1, 0), consensus.MakeZxid(2, 0)
	st := State{Standing: Proven, Term: 2, Base: Point{Index: 101, Term: 1, Zxid: z1 + 100}, Starts: []Start{{Index: 1, Term: 1}, {Index: 102, Term: 2}}}
	for _, tc := range []struct {
		state Zxid
		runs  []Run
		whole bool
	}{
		{z1 + 50, nil, false},
		{z1 + 50, []Run{{z2 + 1, z2 + 9}}, false},
		{z1 + 100, []Run{{z2 + 1, z2 + 9}}, true},
		{z1 + 50, []Run{{z1 + 51, z1 + 100}, {z2 + 1, z2 + 9}}, true},
	} {
		f := Found{State: st, Recovered: tc.state, Last: tc.state, Runs: tc.runs}
		if n := len(tc.runs); n > 0 {
			f.Last = tc.runs[n-1].Last
		}
		if err := f.Check(); tc.whole && err != nil || !tc.whole && !errors.Is(err, consensus.ErrDamaged) {
			t.Errorf("the state is at %v, and the log has %v: %v", tc.state, tc.runs, err)
		}
	}
}

// TestOneOfTwoIsReplaced: of two servers one gets a new disk, before the other one, which leads, has noticed that it was gone. Nobody
// else could say what the leader leads for: it begins a new term.
func TestOneOfTwoIsReplaced(t *testing.T) {
	n := startAll(t, 2)
	lead := n.leader()
	f := n.hosts[3-lead.id]
	z := lead.propose(lead.role.Last+1, 20)
	n.until("both have it", func() bool { return f.last() == z && lead.last() == z })
	f.stop()
	f.file, f.log, f.state, f.known = nil, nil, nil, 0
	n.most = 100
	f.start()
	n.until("it has all", func() bool { return f.last() == z && n.leader().last() == z && f.m.st.Standing == Proven })
}
