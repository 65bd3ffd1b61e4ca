package protocol

import (
	"testing"

	"github.com/zkcore/zkcore/core/quorum"
)

// An urn is an election of server id among the members, and what it says.
type urn struct {
	*Election
	t    *testing.T
	now  Time
	said []Notify
}

const ms = Millisecond

func newUrn(t *testing.T, id ServerID, text string, last Zxid, epoch int64) *urn {
	u := &urn{t: t, now: 1000 * ms}
	members := membersOf(t, []byte(text))
	cfg := &Config{ID: id, Observer: members.IsObserver(int64(id)), Quorum: NewQuorum(members), Text: []byte(text),
		MinNotify: 200 * ms, MaxNotify: 1600 * ms, FinalizeWait: 200 * ms}
	u.Election = newElection(cfg, func(o Output) { u.said = append(u.said, o.(Notify)) })
	u.Start(u.now, last, epoch)
	return u
}

const three = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.3=c:1:2:participant\nserver.4=d:1:2:observer\nversion=0"

// vote is what another server says.
func vote(s quorum.ServerState, leader int64, zxid Zxid, round, epoch int64) Notification {
	return Notification{State: s, Leader: leader, Zxid: int64(zxid), ElectionEpoch: round, PeerEpoch: epoch, Version: 2}
}

func (u *urn) hear(from ServerID, n Notification) bool { return u.Receive(u.now, from, n) }

// wait lets time pass, with ticks when the election wants them.
func (u *urn) wait(d Time) bool {
	for end := u.now + d; u.now < end; {
		u.now = min(end, max(u.Next(), u.now+ms))
		if u.Tick(u.now) {
			return true
		}
	}
	return false
}

func (u *urn) last(to ServerID) Notification {
	u.t.Helper()
	for i := len(u.said) - 1; i >= 0; i-- {
		if u.said[i].To == to {
			return u.said[i].N
		}
	}
	u.t.Fatalf("nothing was said to %d", to)
	return Notification{}
}

func (u *urn) wants(leader int64) {
	u.t.Helper()
	if v, s := u.Result(); v.Leader != leader || s == quorum.Looking {
		u.t.Errorf("elected %+v, %v, want %d", v, s, leader)
	}
}

func TestElection(t *testing.T) {
	looking, following, leading := quorum.Looking, quorum.Following, quorum.Leading
	t.Run("it tells every voter for whom it is", func(t *testing.T) {
		u := newUrn(t, 1, three, 7, 2)
		if len(u.said) != 2 {
			t.Fatalf("said %+v", u.said)
		}
		if n := u.last(3); n.Leader != 1 || n.Zxid != 7 || n.PeerEpoch != 2 || n.ElectionEpoch != 1 || n.State != looking || string(n.Config) != three {
			t.Errorf("%+v", n)
		}
	})
	t.Run("a better vote is taken over, by epoch, zxid and id", func(t *testing.T) {
		for _, n := range []Notification{vote(looking, 3, 7, 1, 2), vote(looking, 2, 8, 1, 2), vote(looking, 2, 0, 1, 3)} {
			u := newUrn(t, 1, three, 7, 2)
			u.hear(3, n)
			if got := u.last(2); got.Leader != n.Leader || got.Zxid != n.Zxid || got.PeerEpoch != n.PeerEpoch {
				t.Errorf("after %+v it says %+v", n, got)
			}
		}
		u := newUrn(t, 3, three, 7, 2)
		said := len(u.said)
		for _, n := range []Notification{vote(looking, 1, 7, 1, 2), vote(looking, 2, 6, 1, 2), vote(looking, 2, 9, 1, 1)} {
			u.hear(2, n)
		}
		for _, n := range u.said[said:] {
			// Only the one with the worse vote is told, and no other one than before.
			if n.To != 2 || n.N.Leader != 3 || n.N.State != looking {
				t.Errorf("after worse votes it says %+v", n)
			}
		}
		if len(u.said) != said+3 {
			t.Errorf("it answers %d of 3 worse votes", len(u.said)-said)
		}
	})
	t.Run("a server without a vote asks soon what came of an election", func(t *testing.T) {
		u := newUrn(t, 1, three, -1, 0)
		u.wait(10_000 * ms)
		for n := len(u.said); len(u.said) == n; {
			u.wait(10 * ms)
		}
		// It has just asked, and asks seldom by now.
		n := len(u.said)
		u.wait(1000 * ms)
		if len(u.said) != n {
			t.Fatal("it asks often")
		}
		for i := range 3 {
			u.hear(2, vote(looking, 2, 7, 5, 2))
			u.hear(3, vote(looking, 3, 7, 5, 2))
			if len(u.said) != n {
				t.Fatalf("it says %+v", u.said[n:])
			}
			if i == 2 {
				break
			}
			u.wait(10 * ms)
		}
		u.wait(180 * ms)
		if len(u.said) != n+2 {
			t.Fatalf("after the votes of others it asks %d of 2", len(u.said)-n)
		}
		u.hear(2, vote(following, 3, 7, 5, 2))
		if !u.hear(3, vote(leading, 3, 7, 5, 2)) {
			t.Fatal("it follows nobody")
		}
		u.wants(3)
	})
	t.Run("a server without a vote goes on asking", func(t *testing.T) {
		u := newUrn(t, 1, three, -1, 0)
		u.wait(60_000 * ms)
		n := len(u.said)
		u.wait(5_000 * ms)
		if asked := (len(u.said) - n) / 2; asked < 2 || asked > 4 {
			t.Fatalf("after a minute it asks %d times in 5 seconds", asked)
		}
	})
	t.Run("when all agree it is over at once", func(t *testing.T) {
		u := newUrn(t, 1, three, 7, 2)
		if u.hear(3, vote(looking, 3, 7, 1, 2)) {
			t.Fatal("it is over with two of three, and the third can vote")
		}
		if !u.hear(2, vote(looking, 3, 7, 1, 2)) {
			t.Fatal("it is not over")
		}
		u.wants(3)
	})
	t.Run("a quorum waits for a better vote", func(t *testing.T) {
		u := newUrn(t, 1, three, 7, 2)
		u.hear(2, vote(looking, 2, 7, 1, 2))
		if u.wait(190 * ms) {
			t.Fatal("over too early")
		}
		u.hear(3, vote(looking, 3, 9, 1, 2))
		if u.wait(190 * ms) {
			t.Fatal("the better vote does not begin the wait anew")
		}
		if !u.wait(20 * ms) {
			t.Fatal("not over")
		}
		u.wants(3)
	})
	t.Run("who is gone is not waited for, but for the first time", func(t *testing.T) {
		u := newUrn(t, 1, three, 7, 2)
		u.SetReach(u.now, 3, Refused)
		if u.hear(2, vote(looking, 2, 7, 1, 2)) {
			t.Fatal("over at once in the first election")
		}
		if !u.wait(210 * ms) {
			t.Fatal("not over")
		}
		u.Start(u.now, 8, 3)
		if !u.hear(2, vote(looking, 2, 8, 2, 3)) {
			t.Fatal("not over in the second election")
		}
		u.wants(2)
		u.Start(u.now, 8, 3)
		u.SetReach(u.now, 3, Up)
		if u.hear(2, vote(looking, 2, 8, 3, 3)) {
			t.Fatal("over, and server 3 is back")
		}
		if !u.SetReach(u.now, 3, Refused) {
			t.Fatal("not over when it is gone again")
		}
	})
	t.Run("an older round is told the present one", func(t *testing.T) {
		u := newUrn(t, 1, three, 7, 2)
		u.hear(2, vote(looking, 2, 7, 5, 2))
		said := len(u.said)
		u.hear(3, vote(looking, 3, 9, 4, 2))
		if len(u.said) != said+1 || u.last(3).ElectionEpoch != 5 || u.last(3).Leader != 2 {
			t.Errorf("it says %+v", u.said[said:])
		}
	})
	t.Run("a newer round begins with the own vote or a better one", func(t *testing.T) {
		u := newUrn(t, 1, three, 7, 2)
		u.hear(3, vote(looking, 3, 9, 1, 2))
		u.hear(2, vote(looking, 2, 1, 4, 2))
		if n := u.last(2); n.ElectionEpoch != 4 || n.Leader != 1 {
			t.Errorf("it says %+v: the vote of server 3 was of another round", n)
		}
	})
	t.Run("a settled ensemble is joined", func(t *testing.T) {
		u := newUrn(t, 3, three, 9, 2)
		if u.hear(2, vote(following, 1, 4, 7, 5)) {
			t.Fatal("over with a follower alone")
		}
		// Each remembers the zxid and the round of its own election.
		if !u.hear(1, vote(leading, 1, 5, 6, 5)) {
			t.Fatal("not over")
		}
		u.wants(1)
	})
	t.Run("a leader that does not say so is not joined", func(t *testing.T) {
		u := newUrn(t, 3, three, 9, 2)
		u.hear(2, vote(following, 1, 4, 7, 5))
		if u.hear(1, vote(following, 1, 4, 7, 5)) {
			t.Error("server 1 was elected, which follows")
		}
	})
	t.Run("settled servers of two epochs are no quorum", func(t *testing.T) {
		u := newUrn(t, 3, three, 9, 2)
		u.hear(2, vote(following, 1, 4, 7, 4))
		if u.hear(1, vote(leading, 1, 4, 7, 5)) {
			t.Error("a follower of the epoch before counts")
		}
	})
	t.Run("who may have lost its data does not vote", func(t *testing.T) {
		u := newUrn(t, 1, three, 0, 0)
		u.hear(2, vote(looking, 2, -1, 1, 0))
		u.hear(3, vote(looking, 3, -1, 1, 0))
		if u.wait(1000 * ms) {
			t.Error("elected by votes of servers that know nothing")
		}
		u = newUrn(t, 1, three, -1, 0)
		u.hear(2, vote(looking, 2, 5, 1, 0))
		u.hear(3, vote(looking, 2, 5, 1, 0))
		if u.wait(1000 * ms) {
			t.Error("it took part")
		}
		u.hear(3, vote(following, 2, 5, 1, 0))
		if !u.hear(2, vote(leading, 2, 5, 1, 0)) {
			t.Error("it does not join those who are settled")
		}
	})
	t.Run("an observer is told at once and does not count", func(t *testing.T) {
		u := newUrn(t, 1, three, 7, 2)
		u.hear(4, vote(looking, none, none, 1, none))
		if n := u.last(4); n.State != looking || n.Leader != 1 || n.ElectionEpoch != 1 {
			t.Errorf("it says %+v", n)
		}
		u.hear(4, vote(looking, 1, 7, 1, 2))
		if u.wait(1000 * ms) {
			t.Error("elected with an observer's vote")
		}
		o := newUrn(t, 4, three, 7, 2)
		if n := o.last(1); n.Leader != none || n.Zxid != none || n.PeerEpoch != none {
			t.Errorf("an observer votes %+v", n)
		}
		o.hear(2, vote(following, 1, 4, 7, 4))
		if !o.hear(1, vote(leading, 1, 4, 7, 4)) {
			t.Fatal("not over")
		}
		if v, s := o.Result(); s != quorum.Observing || v.Leader != 1 {
			t.Errorf("%+v, %v", v, s)
		}
	})
	t.Run("a server of no weight is never elected", func(t *testing.T) {
		u := newUrn(t, 1, "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.3=c:1:2:participant\n"+
			"group.1=1:2:3\nweight.1=1\nweight.2=1\nweight.3=0\nversion=0", 7, 2)
		u.hear(3, vote(looking, 3, 9, 1, 3))
		if !u.hear(2, vote(looking, 2, 7, 1, 2)) && !u.wait(1000*ms) {
			t.Fatal("not over")
		}
		u.wants(2)
	})
	t.Run("who is settled tells those who look", func(t *testing.T) {
		u := newUrn(t, 1, three, 7, 2)
		u.hear(2, vote(looking, 2, 7, 1, 2))
		u.hear(3, vote(looking, 2, 7, 1, 2))
		u.Established(3)
		u.hear(3, vote(looking, 3, 7, 9, 2))
		if n := u.last(3); n.State != following || n.Leader != 2 || n.PeerEpoch != 3 || n.ElectionEpoch != 1 || n.Zxid != 7 {
			t.Errorf("it says %+v", n)
		}
		said := len(u.said)
		u.hear(3, vote(following, 2, 7, 9, 2))
		if len(u.said) != said {
			t.Error("it answers one that does not look")
		}
	})
	t.Run("silence is met with patience", func(t *testing.T) {
		u := newUrn(t, 1, three, 7, 2)
		u.said = nil
		u.wait(10000 * ms)
		// After 0.2, 0.6, 1.4, 3.0 s, and every 1.6 s from then on.
		if n := len(u.said) / 2; n != 8 {
			t.Errorf("it asked %d times in ten seconds", n)
		}
	})
}
