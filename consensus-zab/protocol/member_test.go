package protocol

import (
	"reflect"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/plugins/consensus"
)

func body(z Zxid) Packet {
	b := make([]byte, 40)
	for i := range 8 {
		b[12+i] = byte(uint64(z) >> (56 - 8*i))
	}
	return Packet{Type: quorum.TypeProposal, Zxid: int64(z), Data: b}
}

func plain(t quorum.PacketType, z Zxid) Packet { return Packet{Type: t, Zxid: int64(z)} }

func leaderInfo(epoch int64) Packet {
	return Packet{Type: quorum.TypeLeaderInfo, Zxid: epoch << 32, Data: quorum.AppendInt(nil, quorum.ProtocolVersion)}
}

// newLearnerRig is server 1, following server 3, with a log from base to last.
func newLearnerRig(t *testing.T, base Zxid, runs []Run, epoch int64) *rig {
	r := newRig(t, 1, []byte(three), Start{Base: base, Runs: runs, Accepted: epoch, Current: epoch})
	r.follow(3, epoch)
	r.take(1)
	return r
}

func kinds(outs []Output) []string {
	var s []string
	for _, o := range outs {
		s = append(s, strings.TrimPrefix(reflect.TypeOf(o).String(), "protocol."))
	}
	return s
}

func TestLearner(t *testing.T) {
	const e2 = Zxid(2) << 32
	runs := []Run{{1<<32 | 1, 1<<32 | 9}}
	t.Run("a leader that does not listen yet behind a proxy is dialled again", func(t *testing.T) {
		r := newLearnerRig(t, 1<<32|4, runs, 1)
		for c := Conn(1); r.m.learner != nil; c++ {
			dials := r.dials
			if r.m.Closed(r.now, c, "reset"); r.m.learner == nil {
				break
			}
			for began := r.now; r.dials == dials; r.run() {
				if r.m.Next() <= r.now || r.now > began+500*ms {
					t.Fatalf("at %v it wants to be woken at %v", r.now, r.m.Next())
				}
				r.now = r.m.Next()
				r.m.Tick(r.now)
			}
			r.m.Connected(r.now, c+1)
			if c == 3 {
				r.packets(c+1, leaderInfo(2))
				r.m.Closed(r.now, c+1, "reset")
				if r.m.learner != nil {
					t.Fatal("it holds on to a leader that it has heard and lost")
				}
				return
			}
		}
		t.Fatal("it gives up at once")
	})
	t.Run("but not for ever", func(t *testing.T) {
		r := newLearnerRig(t, 1<<32|4, runs, 1)
		for range maxDials {
			if r.m.learner == nil {
				t.Fatal("it gives up too soon")
			}
			r.m.Closed(r.now, r.m.learner.conn, "reset")
			r.now += 200 * ms
			r.m.Tick(r.now)
			r.run()
			r.m.Connected(r.now, Conn(r.dials))
		}
		if r.m.learner != nil {
			t.Errorf("dialled %d times, and it goes on", r.dials)
		}
	})
	t.Run("the tail is delivered at UPTODATE", func(t *testing.T) {
		r := newLearnerRig(t, 1<<32|4, runs, 1)
		r.packets(1, leaderInfo(2))
		r.packets(1, plain(quorum.TypeDiff, 1<<32|9), body(e2+1), plain(quorum.TypeCommit, e2+1))
		r.packets(1, plain(quorum.TypePing, 0))
		r.packets(1, plain(quorum.TypeNewLeader, e2))
		if r.state != 1<<32|4 {
			t.Fatalf("delivered to %v before UPTODATE", r.state)
		}
		if k := kinds(r.log); !reflect.DeepEqual(k, []string{"SaveAccepted", "Append", "SaveCurrent"}) {
			t.Errorf("disk: %v", k)
		}
		for _, k := range r.take(1) {
			if k.Type == quorum.TypePing {
				t.Error("a ping is answered before UPTODATE")
			}
		}
		r.packets(1, plain(quorum.TypeUpToDate, -1))
		if r.state != e2+1 || r.m.role.State != consensus.Following {
			t.Errorf("at %v, %v", r.state, r.m.role.State)
		}
	})
	t.Run("the role comes behind all that was proposed before UPTODATE", func(t *testing.T) {
		// Among it may be what the node forwarded to this leader on an earlier connection.
		r := newLearnerRig(t, 1<<32|4, runs, 1)
		r.packets(1, leaderInfo(2))
		r.packets(1, plain(quorum.TypeDiff, 1<<32|9), plain(quorum.TypeNewLeader, e2))
		r.packets(1, body(e2+1), plain(quorum.TypeUpToDate, -1))
		if r.state != 1<<32|9 || r.m.role.State != consensus.Looking {
			t.Fatalf("at %v, %v", r.state, r.m.role.State)
		}
		r.packets(1, plain(quorum.TypePing, 0), body(e2+2), plain(quorum.TypeCommit, e2+1))
		r.m.Flush(r.now)
		r.run()
		if r.state != e2+1 || r.m.role.State != consensus.Following {
			t.Fatalf("at %v, %v", r.state, r.m.role.State)
		}
	})
	t.Run("NEWLEADER is acked when log and epoch are on disk", func(t *testing.T) {
		r := newLearnerRig(t, 0, nil, 1)
		r.packets(1, leaderInfo(2))
		r.packets(1, plain(quorum.TypeDiff, 0))
		r.take(1)
		r.m.Packets(r.now, 1, []Packet{body(e2 + 1), plain(quorum.TypeNewLeader, e2)})
		var save SaveCurrent
		for _, o := range r.m.Outputs() {
			if s, ok := o.(SaveCurrent); ok {
				save = s
			} else if _, ok := o.(Send); ok {
				t.Fatalf("%+v is sent before the disk is ready", o)
			}
		}
		r.m.Logged(r.now, r.m.hist.gen, e2+1)
		r.run()
		if ks := r.take(1); len(ks) != 0 {
			t.Fatalf("%+v is sent before currentEpoch is written", ks)
		}
		r.m.Saved(r.now, save.ID)
		r.run()
		if ks := r.take(1); len(ks) != 2 || ks[0].Zxid != int64(e2) || ks[1].Zxid != int64(e2+1) {
			t.Errorf("acks: %+v", ks)
		}
	})
	// What makes it leave the leader.
	for _, tc := range []struct {
		name string
		ks   []Packet
	}{
		{"an older epoch", []Packet{leaderInfo(0)}},
		{"no LEADERINFO", []Packet{plain(quorum.TypeDiff, 0)}},
		{"an old protocol", []Packet{{Type: quorum.TypeLeaderInfo, Zxid: int64(e2), Data: []byte{0, 0, 0, 1}}}},
		{"PING in place of DIFF", []Packet{leaderInfo(2), plain(quorum.TypePing, 0)}},
		{"TRUNC above the log", []Packet{leaderInfo(2), plain(quorum.TypeTrunc, 1<<32|12)}},
		{"a hole", []Packet{leaderInfo(2), plain(quorum.TypeDiff, 0), body(1<<32 | 11)}},
		{"a hole at the start of an epoch", []Packet{leaderInfo(2), plain(quorum.TypeDiff, 0), body(e2 + 2)}},
		{"COMMIT of nothing", []Packet{leaderInfo(2), plain(quorum.TypeDiff, 0), plain(quorum.TypeCommit, e2+1)}},
		{"another epoch in NEWLEADER", []Packet{leaderInfo(2), plain(quorum.TypeDiff, 0), plain(quorum.TypeNewLeader, 3<<32)}},
		{"UPTODATE before NEWLEADER", []Packet{leaderInfo(2), plain(quorum.TypeDiff, 0), plain(quorum.TypeUpToDate, -1)}},
		{"DIFF twice", []Packet{leaderInfo(2), plain(quorum.TypeDiff, 0), plain(quorum.TypeDiff, 0)}},
		{"another txn in the proposal", []Packet{leaderInfo(2), plain(quorum.TypeDiff, 0), {Type: quorum.TypeProposal, Zxid: int64(e2 + 1), Data: make([]byte, 40)}}},
	} {
		t.Run("it leaves on "+tc.name, func(t *testing.T) {
			r := newLearnerRig(t, 0, runs, 1)
			for _, k := range tc.ks {
				if r.m.learner == nil {
					t.Fatal("it left too early")
				}
				r.packets(1, k)
			}
			if r.m.learner != nil {
				t.Error("it stays")
			}
			if r.state != 0 || r.m.hist.last != 1<<32|9 {
				t.Errorf("the state is at %v, the log at %v", r.state, r.m.hist.last)
			}
		})
	}
	t.Run("TRUNC below the state goes back to a snapshot", func(t *testing.T) {
		// The snapshot at 9 is Apache's: the ensemble never committed more than 7.
		r := newRig(t, 1, []byte(three), Start{Base: 1<<32 | 9, Accepted: 1, Current: 1})
		r.follow(3, 1)
		r.packets(1, leaderInfo(2))
		r.m.Packets(r.now, 1, []Packet{plain(quorum.TypeTrunc, 1<<32|7)})
		outs := r.m.Outputs()
		if k := kinds(outs); k[len(k)-1] != "Recover" || outs[len(outs)-1].(Recover).Max != 1<<32|7 {
			t.Fatalf("%v", k)
		}
		// What comes meanwhile waits.
		r.packets(1, body(e2+1), plain(quorum.TypeCommit, e2+1), plain(quorum.TypeNewLeader, e2))
		r.m.Recovered(r.now, 1<<32|4)
		scan := r.m.Outputs()[0].(Scan)
		if scan.Limited || scan.From != 1<<32|4 {
			t.Fatalf("%+v", scan)
		}
		r.m.Scanned(r.now, scan.ID, []Run{{1<<32 | 5, 1<<32 | 9}}, 0, true)
		r.run()
		r.packets(1, plain(quorum.TypeUpToDate, -1))
		if k := kinds(r.log); !reflect.DeepEqual(k, []string{"SaveAccepted", "Truncate", "Append", "SaveCurrent"}) {
			t.Errorf("disk: %v", k)
		}
		if r.state != e2+1 || r.m.role.State != consensus.Following {
			t.Errorf("at %v, %v", r.state, r.m.role.State)
		}
	})
	t.Run("where TRUNC is not possible a snapshot is asked for", func(t *testing.T) {
		r := newRig(t, 1, []byte(three), Start{Base: 1<<32 | 9, Accepted: 1, Current: 1})
		r.follow(3, 1)
		r.packets(1, leaderInfo(2))
		r.m.Packets(r.now, 1, []Packet{plain(quorum.TypeTrunc, 1<<32|7)})
		r.m.Outputs()
		r.m.Recovered(r.now, 1<<32|4)
		r.m.Scanned(r.now, r.m.Outputs()[0].(Scan).ID, nil, 0, true)
		r.run()
		if r.m.learner != nil || r.m.lastZxid() != -1 {
			t.Fatalf("learner %v, last %v", r.m.learner, r.m.lastZxid())
		}
		if n := r.told[len(r.told)-1].N; n.Zxid != -1 {
			t.Errorf("it votes with %x", n.Zxid)
		}
		r.follow(3, 2)
		r.packets(1, leaderInfo(2))
		ks := r.take(1)
		if k := ks[len(ks)-1]; k.Type != quorum.TypeAckEpoch || k.Zxid != -1 {
			t.Fatalf("%+v", k)
		}
		for _, k := range []Packet{plain(quorum.TypeSnap, 1<<32|7), plain(quorum.TypeNewLeader, e2), plain(quorum.TypeUpToDate, -1)} {
			r.packets(1, k)
		}
		if r.state != 1<<32|7 || r.m.void || r.m.hist.last != 1<<32|7 || r.m.role.State != consensus.Following {
			t.Errorf("at %v, void %v, log to %v, %v", r.state, r.m.void, r.m.hist.last, r.m.role.State)
		}
	})
	t.Run("an answer of an older leader comes after what was proposed before", func(t *testing.T) {
		r := newLearnerRig(t, 0, nil, 1)
		for _, k := range []Packet{leaderInfo(2), plain(quorum.TypeDiff, 0), plain(quorum.TypeNewLeader, e2), plain(quorum.TypeUpToDate, -1), body(e2 + 1)} {
			r.packets(1, k)
		}
		r.packets(1, Packet{Type: quorum.TypeRevalidate, Zxid: -1, Data: quorum.Revalidated{SessionID: 5, Valid: true}.Append(nil)})
		if len(r.revs) != 0 {
			t.Fatal("answered before the proposal is committed")
		}
		r.packets(1, plain(quorum.TypeCommit, e2+1))
		if len(r.revs) != 1 || r.state != e2+1 {
			t.Errorf("%+v at %v", r.revs, r.state)
		}
	})
}

// newLeaderRig is server 3, leading in epoch 2 with server 1 as its only follower.
func newLeaderRig(t *testing.T) *rig {
	r := newRig(t, 3, []byte(three), Start{Runs: []Run{{1<<32 | 1, 1<<32 | 9}}, Accepted: 1, Current: 1})
	r.lead()
	r.join(1, 11, 1)
	return r
}

func (r *rig) propose(z Zxid) {
	k := body(z)
	r.m.Propose(r.now, r.m.term, []Txn{{Zxid: z, Data: k.Data}})
	r.run()
}

func TestLeader(t *testing.T) {
	const e2 = Zxid(2) << 32
	t.Run("nobody cuts off what a quorum may have before one has this leader's history", func(t *testing.T) {
		r := newRig(t, 3, []byte(three), Start{Runs: []Run{{1<<32 | 1, 1<<32 | 9}}, Accepted: 1, Current: 1})
		r.lead()
		come := func(id ServerID, c Conn, at Zxid) {
			r.m.Accepted(r.now, c, "")
			info := quorum.LearnerInfo{ServerID: int64(id), ProtocolVersion: quorum.ProtocolVersion}
			r.packets(c, Packet{Type: quorum.TypeFollowerInfo, Zxid: 1 << 32, Data: info.Append(nil)})
			r.packets(c, Packet{Type: quorum.TypeAckEpoch, Zxid: int64(at), Data: quorum.AppendInt(nil, 1)})
		}
		come(1, 20, 1<<32|9)
		if l := r.m.leader; l == nil || l.stage != syncing {
			t.Fatal("server 1 agreed, and it does not go on")
		}
		come(2, 21, 1<<32|10)
		if r.m.leader != nil {
			t.Errorf("it leads on, and server 2 has more")
		}
		for _, k := range r.take(21) {
			if k.Type == quorum.TypeTrunc || k.Type == quorum.TypeSnap {
				t.Errorf("it sends %v", k.Type)
			}
		}
	})
	t.Run("one whose history counts for nothing waits, whatever epoch it had", func(t *testing.T) {
		r := newRig(t, 3, []byte(three), Start{Runs: []Run{{1<<32 | 1, 1<<32 | 9}}, Accepted: 1, Current: 1})
		r.lead()
		r.m.Accepted(r.now, 20, "")
		info := quorum.LearnerInfo{ServerID: 1, ProtocolVersion: quorum.ProtocolVersion}
		r.packets(20, Packet{Type: quorum.TypeFollowerInfo, Zxid: 1 << 32, Data: info.Append(nil)})
		r.packets(20, Packet{Type: quorum.TypeAckEpoch, Zxid: -1, Data: quorum.AppendInt(nil, 2)})
		if l := r.m.leader; l == nil || l.stage != proposing || l.find(20) == nil {
			t.Error("it ends the leadership, is sent away, or counts")
		}
	})
	t.Run("a learner that knows more is sent away, and a voter ends the leadership", func(t *testing.T) {
		for _, tc := range []struct {
			id      int64
			kind    quorum.PacketType
			current int32
			at      Zxid
			stays   bool
		}{
			{1, quorum.TypeFollowerInfo, 2, 1, false},
			{1, quorum.TypeFollowerInfo, 1, 1<<32 | 10, false},
			{4, quorum.TypeObserverInfo, 1, 1<<32 | 10, true},
		} {
			r := newRig(t, 3, []byte(three), Start{Runs: []Run{{1<<32 | 1, 1<<32 | 9}}, Accepted: 1, Current: 1})
			r.lead()
			const c = Conn(20)
			r.m.Accepted(r.now, c, "")
			info := quorum.LearnerInfo{ServerID: tc.id, ProtocolVersion: quorum.ProtocolVersion}
			r.packets(c, Packet{Type: tc.kind, Zxid: 1 << 32, Data: info.Append(nil)})
			r.packets(c, Packet{Type: quorum.TypeAckEpoch, Zxid: int64(tc.at), Data: quorum.AppendInt(nil, tc.current)})
			switch l := r.m.leader; {
			case l == nil && tc.stays:
				t.Errorf("server %d at epoch %d, %v ends the leadership", tc.id, tc.current, tc.at)
			case l != nil && !tc.stays:
				t.Errorf("it leads on, and server %d at epoch %d, %v can't follow", tc.id, tc.current, tc.at)
			case l != nil && l.find(c) != nil:
				t.Errorf("server %d at epoch %d, %v stays", tc.id, tc.current, tc.at)
			}
		}
	})
	t.Run("what is outstanding follows NEWLEADER", func(t *testing.T) {
		r := newLeaderRig(t)
		r.propose(e2 + 1)
		r.packets(11, plain(quorum.TypeAck, e2+1))
		r.propose(e2 + 2)
		r.m.Accepted(r.now, 12, "")
		info := quorum.LearnerInfo{ServerID: 2, ProtocolVersion: quorum.ProtocolVersion}
		r.packets(12, Packet{Type: quorum.TypeFollowerInfo, Zxid: 1 << 32, Data: info.Append(nil)})
		r.packets(12, Packet{Type: quorum.TypeAckEpoch, Zxid: 1<<32 | 9, Data: quorum.AppendInt(nil, 1)})
		var got []quorum.PacketType
		for _, k := range r.take(12) {
			got = append(got, k.Type)
		}
		want := []quorum.PacketType{quorum.TypeLeaderInfo, quorum.TypeDiff, quorum.TypeProposal, quorum.TypeCommit, quorum.TypeNewLeader, quorum.TypeProposal}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("sent %v, want %v", got, want)
		}
		// Its ack of the proposal may come first, and counts when NEWLEADER is acked.
		r.packets(12, plain(quorum.TypeAck, e2+2))
		if r.state != e2+1 {
			t.Fatal("an ack counts before that of NEWLEADER")
		}
		r.packets(12, plain(quorum.TypeAck, e2))
		if r.state != e2+2 {
			t.Errorf("at %v", r.state)
		}
	})
	t.Run("who is gone takes its acks along", func(t *testing.T) {
		r := newLeaderRig(t)
		r.m.Propose(r.now, r.m.term, []Txn{{Zxid: e2 + 1, Data: body(e2 + 1).Data}})
		var app Append
		for _, o := range r.m.Outputs() {
			if a, ok := o.(Append); ok {
				app = a
			}
		}
		r.packets(11, plain(quorum.TypeAck, e2+1))
		r.m.Closed(r.now, 11, "gone")
		r.m.Logged(r.now, app.Gen, e2+1)
		r.run()
		if r.state == e2+1 {
			t.Error("committed with the ack of a server that is gone")
		}
	})
	t.Run("without a quorum it stands down at the tick", func(t *testing.T) {
		r := newLeaderRig(t)
		r.m.Closed(r.now, 11, "gone")
		for range 4 {
			r.now += 500 * ms
			r.m.Tick(r.now)
			r.run()
		}
		if r.m.leader != nil || r.m.role.State != consensus.Looking {
			t.Errorf("it is %v", r.m.role.State)
		}
	})
	t.Run("a silent quorum is none", func(t *testing.T) {
		r := newLeaderRig(t)
		for range 16 {
			r.now += 500 * ms
			r.m.Tick(r.now)
			r.run()
		}
		if r.m.leader != nil {
			t.Error("it leads with nobody answering")
		}
	})
	t.Run("after a sleep it says nothing as leader", func(t *testing.T) {
		r := newLeaderRig(t)
		r.m.Sync(r.now, r.m.term, 1)
		r.run()
		r.now += 3000 * ms
		r.packets(11, Packet{Type: quorum.TypePing, Data: []byte{}})
		if r.m.leader != nil || len(r.ids) != 0 {
			t.Errorf("it leads on, synced %v", r.ids)
		}
	})
	t.Run("one who accepted a newer epoch makes it begin anew", func(t *testing.T) {
		r := newLeaderRig(t)
		r.m.Accepted(r.now, 12, "")
		info := quorum.LearnerInfo{ServerID: 2, ProtocolVersion: quorum.ProtocolVersion}
		r.packets(12, Packet{Type: quorum.TypeFollowerInfo, Zxid: 7 << 32, Data: info.Append(nil)})
		if r.m.leader != nil {
			t.Fatal("it leads on")
		}
		r.lead()
		r.join(1, 13, 2)
		if r.m.leader.epoch != 8 {
			t.Errorf("epoch %d", r.m.leader.epoch)
		}
	})
	t.Run("a server that lost its data gets none before the epoch stands", func(t *testing.T) {
		r := newRig(t, 3, []byte(three), Start{Runs: []Run{{1<<32 | 1, 1<<32 | 9}}, Accepted: 1, Current: 1})
		r.lead()
		hello := func(id ServerID, c Conn, at Zxid) {
			r.m.Accepted(r.now, c, "")
			info := quorum.LearnerInfo{ServerID: int64(id), ProtocolVersion: quorum.ProtocolVersion}
			r.packets(c, Packet{Type: quorum.TypeFollowerInfo, Zxid: 1 << 32, Data: info.Append(nil)})
			r.packets(c, Packet{Type: quorum.TypeAckEpoch, Zxid: int64(at), Data: quorum.AppendInt(nil, 1)})
		}
		hello(1, 11, -1)
		if r.m.leader.stage != proposing {
			t.Fatalf("its word counts: %v", r.m.leader.stage)
		}
		hello(2, 12, 1<<32|9)
		if ks := r.take(11); len(ks) != 1 || r.m.leader.find(11).looking {
			t.Fatalf("it got %+v", ks)
		}
		r.packets(12, plain(quorum.TypeAck, e2))
		if r.m.leader.stage != broadcasting || r.m.leader.find(11).how != "SNAP" {
			t.Fatalf("%v, it gets %q", r.m.leader.stage, r.m.leader.find(11).how)
		}
	})
	t.Run("it stands down when its quorum has become impossible", func(t *testing.T) {
		r := newRig(t, 3, []byte(three), Start{Runs: []Run{{1<<32 | 1, 1<<32 | 9}}, Accepted: 1, Current: 1})
		r.lead()
		r.m.Accepted(r.now, 11, "")
		info := quorum.LearnerInfo{ServerID: 1, ProtocolVersion: quorum.ProtocolVersion}
		r.packets(11, Packet{Type: quorum.TypeFollowerInfo, Zxid: 1 << 32, Data: info.Append(nil)})
		r.m.Notification(r.now, 2, Notification{State: quorum.Looking, Leader: 2, ElectionEpoch: 9, Version: 2})
		r.now += 400 * ms
		r.m.Tick(r.now)
		r.run()
		if r.m.leader == nil || r.m.leader.stage != proposing {
			t.Fatal("it stands down with a quorum")
		}
		r.m.Closed(r.now, 11, "killed")
		r.m.Reach(r.now, 1, Refused)
		r.now += 400 * ms
		r.m.Tick(r.now)
		r.run()
		if r.m.leader != nil {
			t.Fatal("it waits for a quorum that can't come to be")
		}
	})
	t.Run("UPTODATE waits for what was forwarded on the connection before", func(t *testing.T) {
		r := newLeaderRig(t)
		k := body(e2 + 1)
		k.Data[7], k.Data[11] = 5, 6 // session 5, cxid 6
		req := quorum.Request{SessionID: 5, Cxid: 6, Op: 1}
		r.m.Packets(r.now, 11, []Packet{{Type: quorum.TypeRequest, Zxid: -1, Data: req.Append(nil)}})
		r.m.Outputs() // Receive, which the node is slow to take in
		r.m.Closed(r.now, 11, "cut")
		r.run()
		// It comes again. Meanwhile the other one holds the quorum.
		r.m.Accepted(r.now, 12, "")
		info := quorum.LearnerInfo{ServerID: 1, ProtocolVersion: quorum.ProtocolVersion}
		r.packets(12, Packet{Type: quorum.TypeFollowerInfo, Zxid: e2.Epoch() << 32, Data: info.Append(nil)})
		r.packets(12, Packet{Type: quorum.TypeAckEpoch, Zxid: int64(r.m.hist.last), Data: quorum.AppendInt(nil, -1)})
		r.packets(12, plain(quorum.TypeAck, e2))
		// However long that takes: it would send again what the node has not proposed yet.
		for range 6 {
			r.now += 500 * ms
			r.packets(12, Packet{Type: quorum.TypePing, Data: []byte{}})
			r.m.Tick(r.now)
			r.run()
		}
		for _, k := range r.take(12) {
			if k.Type == quorum.TypeUpToDate {
				t.Fatal("UPTODATE overtakes the request")
			}
		}
		r.m.Propose(r.now, r.m.term, []Txn{{Zxid: e2 + 1, Data: k.Data}})
		r.run()
		r.m.Flush(r.now)
		r.run()
		if ks := r.take(12); len(ks) != 2 || ks[0].Type != quorum.TypeProposal || ks[1].Type != quorum.TypeUpToDate {
			t.Fatalf("sent %+v", ks)
		}
	})
	t.Run("it stands down when its node proposes nothing of what it was given", func(t *testing.T) {
		r := newLeaderRig(t)
		req := quorum.Request{SessionID: 5, Cxid: 6, Op: 1}
		ask := quorum.Revalidate{SessionID: 5, TimeoutMS: 1000}
		r.m.Packets(r.now, 11, []Packet{{Type: quorum.TypeRequest, Zxid: -1, Data: req.Append(nil)},
			{Type: quorum.TypeRevalidate, Zxid: -1, Data: ask.Append(nil)}})
		r.m.Outputs()
		r.m.RevalidateDone(r.now, 11, 5, true)
		began := r.now
		for r.m.leader != nil && r.now-began < 20_000*ms {
			r.now += 500 * ms
			r.packets(11, Packet{Type: quorum.TypePing, Data: []byte{}})
			r.m.Tick(r.now)
			r.run()
		}
		if waited := r.now - began; waited != 10_500*ms {
			t.Errorf("it waited for %d ms, initLimit is 10 ticks of a second", waited/ms)
		}
	})
	t.Run("a revalidation is answered behind what was forwarded before", func(t *testing.T) {
		r := newLeaderRig(t)
		k := body(e2 + 1)
		k.Data[7], k.Data[11] = 5, 6 // session 5, cxid 6
		req := quorum.Request{SessionID: 5, Cxid: 6, Op: 1}
		ask := quorum.Revalidate{SessionID: 5, TimeoutMS: 1000}
		r.m.Packets(r.now, 11, []Packet{{Type: quorum.TypeRequest, Zxid: -1, Data: req.Append(nil)},
			{Type: quorum.TypeRevalidate, Zxid: -1, Data: ask.Append(nil)}})
		r.m.Outputs()
		r.m.RevalidateDone(r.now, 11, 5, true) // the request is still in the node's queue
		r.m.Flush(r.now)
		r.run()
		if ks := r.take(11); len(ks) != 0 {
			t.Fatalf("sent %+v", ks)
		}
		r.m.Propose(r.now, r.m.term, []Txn{{Zxid: e2 + 1, Data: k.Data}})
		r.run()
		if ks := r.take(11); len(ks) != 1 || ks[0].Type != quorum.TypeProposal {
			t.Fatalf("sent %+v", ks)
		}
		r.packets(11, plain(quorum.TypeAck, e2+1))
		r.m.Flush(r.now)
		r.run()
		if ks := r.take(11); len(ks) != 2 || ks[0].Type != quorum.TypeCommit || ks[1].Type != quorum.TypeRevalidate {
			t.Fatalf("sent %+v", ks)
		}
	})
	t.Run("the first sync waits for no ping of the time before", func(t *testing.T) {
		r := newRig(t, 3, []byte(three), Start{Runs: []Run{{1<<32 | 1, 1<<32 | 9}}, Accepted: 1, Current: 1})
		r.lead()
		r.m.Accepted(r.now, 11, "")
		info := quorum.LearnerInfo{ServerID: 1, ProtocolVersion: quorum.ProtocolVersion}
		r.packets(11, Packet{Type: quorum.TypeFollowerInfo, Zxid: 1 << 32, Data: info.Append(nil)})
		r.packets(11, Packet{Type: quorum.TypeAckEpoch, Zxid: 1<<32 | 9, Data: quorum.AppendInt(nil, 1)})
		r.m.Tick(r.now) // while it waits for the acks of NEWLEADER
		r.run()
		r.packets(11, plain(quorum.TypeAck, e2))
		r.take(11)
		r.m.Sync(r.now, r.m.term, 1)
		r.run()
		if ks := r.take(11); len(ks) != 1 || ks[0].Type != quorum.TypePing {
			t.Fatalf("sent %+v", ks)
		}
		r.packets(11, Packet{Type: quorum.TypePing, Data: []byte{}})
		if len(r.ids) != 1 {
			t.Fatal("the sync is not answered")
		}
	})
	t.Run("syncs share rounds of pings", func(t *testing.T) {
		r := newLeaderRig(t)
		r.take(11)
		for i := range 50 {
			r.m.Sync(r.now, r.m.term, consensus.SyncID(i))
		}
		r.run()
		if n := len(r.take(11)); n != 1 {
			t.Fatalf("%d pings for the first round", n)
		}
		pong := Packet{Type: quorum.TypePing, Data: []byte{}}
		r.packets(11, pong)
		if len(r.ids) != 1 {
			t.Fatalf("the first round answers %d syncs; the others came after it began", len(r.ids))
		}
		if n := len(r.take(11)); n != 1 {
			t.Fatalf("%d pings for the second round", n)
		}
		r.packets(11, pong)
		if len(r.ids) != 50 {
			t.Errorf("%d syncs are answered after two rounds", len(r.ids))
		}
	})
}

// The window and the index of a History are held against a plain list.
func TestHistory(t *testing.T) {
	h := newHistory(1<<32|3, nil)
	model := []Zxid{}
	next := Zxid(1<<32 | 4)
	rnd := uint64(1)
	rand := func(n int) int { rnd = rnd*6364136223846793005 + 1442695040888963407; return int(rnd>>33) % n }
	for range 20000 {
		switch rand(5) {
		case 0, 1, 2:
			var txns []Txn
			for range 1 + rand(4) {
				txns = append(txns, Txn{Zxid: next, Data: make([]byte, rand(50))})
				model = append(model, next)
				next++
			}
			h.append(txns)
			h.durable = h.last
		case 3:
			if rand(20) == 0 && len(model) > 0 {
				n := rand(len(model))
				z := Zxid(1<<32 | 3)
				if n > 0 {
					z = model[n-1]
				}
				if z >= h.base {
					h.truncate(z)
					model = model[:n]
					next = consensus.MakeZxid(h.last.Epoch()+1, 1)
				}
			}
		case 4:
			h.trim(h.last, 5+rand(20), 1000)
		}
		last := Zxid(1<<32 | 3)
		if len(model) > 0 {
			last = model[len(model)-1]
		}
		if h.last != last || h.lo > h.last || !h.whole() {
			t.Fatalf("last %v, want %v, lo %v", h.last, last, h.lo)
		}
		w := h.between(h.lo, h.last)
		bytes := 0
		for i, x := range w {
			if m := model[len(model)-len(w)+i]; x.Zxid != m || !h.contains(m) {
				t.Fatalf("the window has %v where %v must be", x.Zxid, m)
			}
			bytes += len(x.Data)
		}
		if bytes != h.bytes {
			t.Fatalf("%d bytes, counted %d", bytes, h.bytes)
		}
		if h.contains(last + 1) {
			t.Fatalf("it contains %v", last+1)
		}
	}
}
