package protocol

import (
	"testing"

	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// blankUrn is an election of a server without data.
func blankUrn(t *testing.T, id ServerID, text string) *urn {
	u := newUrn(t, id, text, 0, 0)
	u.said = nil
	u.StartBlank(u.now)
	return u
}

func TestBlankElection(t *testing.T) {
	looking, following, leading := quorum.Looking, quorum.Following, quorum.Leading
	t.Run("a quorum with it is none", func(t *testing.T) {
		u := blankUrn(t, 2, three)
		for range 3 {
			n := u.last(3)
			u.hear(3, vote(looking, 3, 9, n.ElectionEpoch, 2))
			if u.wait(1000 * ms) {
				t.Fatal("it decides, and server 1 was not heard")
			}
		}
		if n := u.last(3); n.Leader != 2 || n.Zxid != 0 || n.PeerEpoch != 0 {
			t.Errorf("it says %+v: it has no vote for anybody", n)
		}
		if m := u.Missing(); len(m) != 1 || m[0] != 1 {
			t.Errorf("missing are %v", m)
		}
	})
	t.Run("with all there it is for the best, in a round of its own", func(t *testing.T) {
		u := blankUrn(t, 2, three)
		u.hear(3, vote(looking, 3, 7, 5, 2))
		u.hear(1, vote(looking, 1, 9, 5, 2))
		n := u.last(3)
		if n.ElectionEpoch != 6 || n.Leader != 2 {
			t.Fatalf("after all were heard in round 5 it says %+v", n)
		}
		// What 1 said may have been meant for the life before: it counts when it says it again.
		u.hear(3, vote(looking, 3, 7, 6, 2))
		if u.wait(1000 * ms) {
			t.Fatal("it decides on what it heard in the round before")
		}
		u.hear(1, vote(looking, 1, 9, 6, 2))
		if n := u.last(3); n.Leader != 1 || n.Zxid != 9 || n.PeerEpoch != 2 {
			t.Errorf("it is for %+v", n)
		}
		u.hear(3, vote(looking, 1, 9, 6, 2))
		if v, s := u.Result(); s != following || v.Leader != 1 {
			if !u.wait(1000 * ms) {
				t.Fatal("not over")
			}
		}
		u.wants(1)
		if !u.Entitled() {
			t.Error("it was part of it")
		}
	})
	t.Run("later rounds do not lower its vote", func(t *testing.T) {
		u := blankUrn(t, 2, three)
		for _, round := range []int64{2, 3} {
			u.hear(1, vote(looking, 1, 9, round, 2))
			u.hear(3, vote(looking, 3, 7, round, 2))
		}
		u.hear(3, vote(looking, 3, 7, 9, 2)) // 1 is gone
		if u.wait(2000 * ms) {
			t.Fatal("it helps 3 to forget what 1 has")
		}
		if n := u.last(3); n.Leader != 1 || n.Zxid != 9 || n.ElectionEpoch != 9 {
			t.Errorf("it is for %+v", n)
		}
	})
	t.Run("one that lost its data is not heard", func(t *testing.T) {
		u := blankUrn(t, 2, three)
		for _, round := range []int64{2, 3, 4} {
			u.hear(1, vote(looking, 1, -1, round, 0))
			u.hear(3, vote(looking, 3, 7, round, 2))
		}
		if u.wait(2000 * ms) {
			t.Fatal("it decides")
		}
	})
	t.Run("new servers make an ensemble", func(t *testing.T) {
		u := blankUrn(t, 2, three)
		for _, round := range []int64{2, 3} {
			u.hear(1, vote(looking, 1, 0, round, 0))
			u.hear(3, vote(looking, 3, 0, round, 0))
		}
		u.hear(1, vote(looking, 3, 0, 3, 0))
		if _, s := u.Result(); s == looking && !u.wait(1000*ms) {
			t.Fatal("not over")
		}
		u.wants(3)
	})
	t.Run("it joins whom a quorum follows without it", func(t *testing.T) {
		u := blankUrn(t, 2, three)
		u.hear(3, vote(leading, 3, 9, 4, 2))
		if !u.hear(1, vote(following, 3, 9, 4, 2)) {
			t.Fatal("not over")
		}
		u.wants(3)
		if u.Entitled() {
			t.Error("it had no part in it")
		}
	})
	t.Run("the only voter is all there are", func(t *testing.T) {
		u := blankUrn(t, 1, "server.1=a:1:2:participant\nversion=0")
		if !u.wait(1000 * ms) {
			t.Fatal("not over")
		}
		u.wants(1)
	})
	t.Run("who has no weight need not be there", func(t *testing.T) {
		u := blankUrn(t, 1, "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.3=c:1:2:participant\n"+
			"group.1=1:2\ngroup.2=3\nweight.1=1\nweight.2=1\nweight.3=0\nversion=0")
		for _, round := range []int64{2, 3} {
			u.hear(2, vote(looking, 2, 5, round, 1))
		}
		if _, s := u.Result(); s == looking && !u.wait(1000*ms) {
			t.Fatal("not over")
		}
		u.wants(2)
	})
}

// A blank server counts for a leader only if it had a part in its election.
func TestStandingOfALearner(t *testing.T) {
	at := func(r *rig) (zxid int64) {
		t.Helper()
		r.packets(1, leaderInfo(5))
		for _, k := range r.take(1) {
			if k.Type == quorum.TypeAckEpoch {
				return k.Zxid
			}
		}
		t.Fatal("no ACKEPOCH")
		return 0
	}
	for _, s := range []Standing{Blank, Lost} {
		r := newRig(t, 1, []byte(three), Start{Standing: s})
		r.follow(3, 4)
		r.take(1)
		if z := at(r); z != -1 {
			t.Errorf("standing %d: it is at %d for the leader, want -1", s, z)
		}
		// A snapshot alone makes it no voter; the epoch behind it does.
		r.m.Packets(r.now, 1, []Packet{plain(quorum.TypeSnap, 4<<32|7)})
		r.run()
		if r.m.lastZxid() != -1 {
			t.Errorf("standing %d: a vote for %v after the snapshot alone", s, r.m.lastZxid())
		}
		r.packets(1, plain(quorum.TypeNewLeader, 5<<32))
		r.packets(1, plain(quorum.TypeUpToDate, -1))
		if r.m.lastZxid() != 4<<32|7 || r.m.role.State != consensus.Following {
			t.Errorf("standing %d: at %v, %v", s, r.m.lastZxid(), r.m.role.State)
		}
	}
}

// A server in doubt of its state has no vote until it has a leader's.
func TestDistrust(t *testing.T) {
	r := newLearnerRig(t, 1<<32|4, []Run{{1<<32 | 1, 1<<32 | 9}}, 1)
	r.packets(1, leaderInfo(2))
	r.packets(1, plain(quorum.TypeDiff, 1<<32|9), plain(quorum.TypeNewLeader, 2<<32))
	r.packets(1, plain(quorum.TypeUpToDate, -1))
	if r.m.role.State != consensus.Following {
		t.Fatalf("%v", r.m.role.State)
	}
	r.m.Distrust(r.now, "the digest differs")
	r.run()
	if r.m.lastZxid() != -1 || r.m.role.State != consensus.Looking {
		t.Fatalf("at %v, %v", r.m.lastZxid(), r.m.role.State)
	}
	r.runs = []Run{{1<<32 | 5, 1<<32 | 9}}
	// Nobody leads without it: after two initLimits it falls back to its disk.
	for end := r.now + 3*r.m.cfg.initTimeout(); r.now < end; {
		r.now += r.m.cfg.Tick / 2
		r.m.Tick(r.now)
		r.run()
	}
	if r.m.lastZxid() == -1 {
		t.Error("it never goes back to what it has")
	}
}

// A leader whose disk is nearly full hands over if it can be spared, once; full, it
// leaves in any case and takes no part in an election.
func TestDiskOfALeader(t *testing.T) {
	r := newRig(t, 3, []byte(three), Start{Base: 1<<32 | 5, Accepted: 1, Current: 1})
	r.m.Disk(r.now, DiskFull)
	r.run()
	for range 20 {
		r.now += 100 * ms
		r.m.Tick(r.now)
		r.m.Notification(r.now, 1, vote(quorum.Looking, 3, 1<<32|5, 9, 1))
		r.m.Notification(r.now, 2, vote(quorum.Looking, 3, 1<<32|5, 9, 1))
		r.run()
	}
	if r.m.Leading() {
		t.Fatal("it leads with a full disk")
	}
	r.m.Disk(r.now, DiskLow)
	r.run()
	for range 20 {
		r.now += 100 * ms
		r.m.Tick(r.now)
		r.m.Notification(r.now, 1, vote(quorum.Looking, 3, 1<<32|5, r.m.election.clock, 1))
		r.m.Notification(r.now, 2, vote(quorum.Looking, 3, 1<<32|5, r.m.election.clock, 1))
		r.run()
	}
	if !r.m.Leading() {
		t.Error("nearly full, it does not lead, and nobody else does")
	}
}

// TestBlankLeadsNobody: a server without data says that it votes for itself. One that is new may follow it at
// that; it does not lead it: whoever has what this one has lost was not heard.
func TestBlankLeadsNobody(t *testing.T) {
	looking, following := quorum.Looking, quorum.Following
	u := blankUrn(t, 3, three)
	u.hear(1, vote(looking, 1, 0, 1, 0))
	n := u.last(1)
	u.hear(1, vote(looking, 3, 0, n.ElectionEpoch, 0))
	if u.hear(1, vote(following, 3, 0, n.ElectionEpoch, 0)) {
		v, s := u.Result()
		t.Fatalf("%v of %d, and server 2 was not heard", s, v.Leader)
	}
	if u.wait(2000 * ms) {
		t.Fatal("it decides, and server 2 was not heard")
	}
}

// TestLeaderWithLessThanItsVote: a leader that a blank server helped to elect was killed before what its vote spoke of was on
// its disk, came back, and is elected with that vote, which others still have. What it has now proves nobody.
func TestLeaderWithLessThanItsVote(t *testing.T) {
	for _, tc := range []struct {
		ends  Zxid
		stays bool
	}{{4<<32 | 9, true}, {4<<32 | 8, false}} {
		r := newRig(t, 2, []byte(three), Start{Standing: Blank})
		for _, round := range []int64{2, 3} {
			for id := ServerID(1); id <= 3; id += 2 {
				r.m.Notification(r.now, id, vote(quorum.Looking, 3, 4<<32|9, round, 4))
			}
		}
		r.run()
		r.now += 300 * ms
		r.m.Tick(r.now)
		r.run()
		if r.m.learner == nil || !r.m.entitled {
			t.Fatalf("it does not follow: %s", r.m.Peer())
		}
		r.m.Connected(r.now, 1)
		r.run()
		r.packets(1, leaderInfo(5))
		// The leader's node is behind: it was just started.
		r.packets(1, plain(quorum.TypeSnap, 4<<32|7))
		for z := Zxid(4<<32 | 8); z <= tc.ends; z++ {
			r.packets(1, body(z), plain(quorum.TypeCommit, z))
		}
		r.take(1)
		r.packets(1, plain(quorum.TypeNewLeader, 5<<32))
		if acked := len(r.take(1)) > 0; acked != tc.stays || (r.m.standing == Proven) != tc.stays || (r.m.learner != nil) != tc.stays {
			t.Errorf("the leader was elected with %v and has %v: acked %t, standing %d, %s", Zxid(4<<32|9), tc.ends, acked, r.m.standing, r.m.Peer())
		}
	}
}

// TestBlankLeadsAQuorumWithoutIt: of five, three are new, as the file initialize says, and one more has nothing and has not
// heard from all. It has the highest id, so the three follow it; it leads when all three of them agree.
func TestBlankLeadsAQuorumWithoutIt(t *testing.T) {
	five := "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.3=c:1:2:participant\n" +
		"server.4=d:1:2:participant\nserver.5=e:1:2:participant\nversion=0"
	r := newRig(t, 5, []byte(five), Start{Standing: Blank})
	for id := ServerID(1); id <= 3; id++ {
		if r.m.leader != nil {
			t.Fatal("it leads too early")
		}
		r.m.Notification(r.now, id, vote(quorum.Following, 5, 0, r.m.election.clock, 0))
		r.run()
	}
	if r.m.leader == nil {
		t.Fatal("a quorum follows it, and nobody leads")
	}
	for id := ServerID(1); id <= 3; id++ {
		c := Conn(10 + id)
		r.m.Accepted(r.now, c, "")
		info := quorum.LearnerInfo{ServerID: int64(id), ProtocolVersion: quorum.ProtocolVersion}
		r.packets(c, Packet{Type: quorum.TypeFollowerInfo, Data: info.Append(nil)})
	}
	for id := ServerID(1); id <= 3; id++ {
		if r.m.leader.stage != proposing {
			t.Fatalf("less than three agreed: %v", r.m.leader.stage)
		}
		r.packets(Conn(10+id), Packet{Type: quorum.TypeAckEpoch, Data: quorum.AppendInt(nil, 0)})
	}
	for id := ServerID(1); id <= 3; id++ {
		if r.m.leader.stage == broadcasting {
			t.Fatal("it is established with less than three")
		}
		r.packets(Conn(10+id), Packet{Type: quorum.TypeAck, Zxid: r.m.leader.epoch << 32})
	}
	if r.m.leader.stage != broadcasting {
		t.Fatalf("three have its history: %v", r.m.leader.stage)
	}
}
