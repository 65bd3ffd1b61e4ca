package protocol

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// The vectors are conversations of Apache's servers, taken from the wire. Here one side of
// each is played by a member of ours: what it says must be what Apache's said, as far as
// the protocol leaves no choice.

// A line is one message of a recorded conversation.
type line struct {
	Connection, Direction, Type string
	Hex                         string
	up                          bool // from the learner
	k                           Packet
	raw                         []byte
}

// conversation reads the packets of the first connection in a file.
func conversation(t *testing.T, name string) []line {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []line
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if len(lines) > 0 && l.Connection != lines[0].Connection {
			continue
		}
		l.up = l.Direction == "learner->leader"
		if l.raw, err = hex.DecodeString(l.Hex); err != nil {
			t.Fatal(err)
		}
		if l.Type != "SNAPSTREAM" {
			d := jute.NewDecoder(l.raw)
			if l.k.Decode(&d); d.Err() != nil {
				t.Fatal(d.Err())
			}
		}
		lines = append(lines, l)
	}
	return lines
}

// A rig is a member whose disk and node answer at once.
type rig struct {
	t     *testing.T
	m     *Member
	sent  map[Conn][]Packet
	now   Time
	told  []Notify
	state Zxid // of the node
	roles []consensus.Role
	given []Txn
	log   []Output // disk jobs, in order
	ids   []consensus.SyncID
	revs  []Revalidated
	// restored: the node's state was replaced or went back.
	restored bool
	runs     []Run // what a Scan finds; nil: it fails
	dials    int
}

func membersOf(t *testing.T, text []byte) *quorum.Config {
	c, err := quorum.ParseConfig(string(text), false)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newRig(t *testing.T, id ServerID, text []byte, start Start) *rig {
	members := membersOf(t, text)
	cfg := &Config{ID: id, Observer: !members.IsVoter(int64(id)), Quorum: NewQuorum(members), Text: text,
		Tick: 1000 * Millisecond, InitLimit: 10, SyncLimit: 5, MinNotify: 200 * Millisecond, MaxNotify: 60000 * Millisecond,
		FinalizeWait: 200 * Millisecond, GiveUp: 300 * Millisecond, CommitLogCount: 500, CommitLogBytes: 1 << 20,
		MaxSnapshots: 10, MaxDiffs: 100}
	r := &rig{t: t, m: New(cfg, start), sent: map[Conn][]Packet{}, now: 1000 * Millisecond, state: start.Base}
	r.m.Begin(r.now)
	r.run()
	return r
}

// run does what the member says, until it says nothing more.
func (r *rig) run() {
	r.m.Flush(r.now)
	for outs := r.m.Outputs(); len(outs) > 0; outs = r.m.Outputs() {
		for _, o := range outs {
			r.do(o)
		}
		r.m.Flush(r.now)
	}
}

func (r *rig) send(to []Conn, ks ...Packet) {
	for _, c := range to {
		r.sent[c] = append(r.sent[c], ks...)
	}
}

func (r *rig) do(o Output) {
	switch o := o.(type) {
	case Notify:
		r.told = append(r.told, o)
	case Connect:
		r.dials++
	case Send:
		r.send(o.To, o.Packets...)
	case SendTxns:
		for _, x := range o.Txns {
			r.send(o.To, Packet{Type: o.Type, Zxid: int64(x.Zxid), Data: x.Data})
		}
	case SendCommits:
		for _, x := range o.Txns {
			r.send(o.To, Packet{Type: quorum.TypeCommit, Zxid: int64(x.Zxid)})
		}
	case SendHistory:
		for _, x := range o.Txns {
			r.send([]Conn{o.To}, Packet{Type: quorum.TypeProposal, Zxid: int64(x.Zxid), Data: x.Data},
				Packet{Type: quorum.TypeCommit, Zxid: int64(x.Zxid)})
		}
	case SendSnapshot:
		r.send([]Conn{o.To}, Packet{Type: quorum.TypeSnap, Zxid: int64(o.Zxid)})
	case SendAcks:
		for _, z := range o.Zxids {
			r.send([]Conn{o.To}, Packet{Type: quorum.TypeAck, Zxid: int64(z)})
		}
	case Pong:
		r.send([]Conn{o.To}, Packet{Type: quorum.TypePing, Zxid: int64(o.Zxid), Data: []byte{}})
	case Append:
		r.log = append(r.log, o)
		r.m.Logged(r.now, o.Gen, o.Txns[len(o.Txns)-1].Zxid)
	case SaveAccepted:
		r.log = append(r.log, o)
		r.m.Saved(r.now, o.ID)
	case SaveCurrent:
		r.log = append(r.log, o)
		r.m.Saved(r.now, o.ID)
	case Truncate, ResetLog:
		r.log = append(r.log, o)
	case Scan:
		r.m.Scanned(r.now, o.ID, r.runs, 0, r.runs != nil)
	case Deliver:
		r.given = append(r.given, o.Txns...)
		r.state = o.Txns[len(o.Txns)-1].Zxid
	case DeliverLog:
		r.state = o.Last
	case SetRole:
		r.roles = append(r.roles, o.Role)
	case Restore:
		r.restored = true
		if !o.Skip {
			r.state = o.Zxid
		}
		r.m.Restored(r.now, nil)
	case Recover:
		r.restored = true
		r.state = min(r.state, o.Max)
		r.m.Recovered(r.now, r.state)
	case TakeSnapshot:
		r.m.SnapshotTaken(r.now, o.Conn, &simSnapshot{simState{zxid: r.state}}, nil)
	case Synced:
		r.ids = append(r.ids, o.IDs...)
	case Revalidated:
		r.revs = append(r.revs, o)
	}
}

func (r *rig) packets(c Conn, ks ...Packet) {
	r.m.Packets(r.now, c, ks)
	r.run()
}

// take returns what was sent on a connection since the last call.
func (r *rig) take(c Conn) []Packet {
	ks := r.sent[c]
	delete(r.sent, c)
	return ks
}

// follow makes the member a learner of leader.
func (r *rig) follow(leader ServerID, epoch int64) {
	v := Notification{State: quorum.Leading, Leader: int64(leader), Zxid: 1, ElectionEpoch: 1, PeerEpoch: epoch, Version: 2}
	for _, id := range r.m.cfg.Quorum.Voters() {
		if id == r.m.cfg.ID {
			continue
		}
		n := v
		if id != leader {
			n.State = quorum.Following
		}
		r.m.Notification(r.now, id, n)
	}
	r.run()
	r.m.Connected(r.now, 1)
	r.run()
	if r.m.learner == nil {
		r.t.Fatal("it does not follow")
	}
}

// lead makes the member the leader, as yet without a learner.
func (r *rig) lead() {
	for _, id := range r.m.cfg.Quorum.Voters() {
		if id != r.m.cfg.ID {
			r.m.Notification(r.now, id, Notification{State: quorum.Looking, Leader: int64(r.m.cfg.ID), Zxid: int64(r.m.hist.last),
				ElectionEpoch: r.m.election.clock, PeerEpoch: r.m.current, Version: 2})
		}
	}
	r.run()
	r.now += 300 * Millisecond
	r.m.Tick(r.now)
	r.run()
	if r.m.leader == nil {
		r.t.Fatal("it does not lead")
	}
}

// join plays a follower that is where the leader is, on a connection of its own.
func (r *rig) join(id ServerID, c Conn, accepted int64) {
	r.m.Accepted(r.now, c, "")
	info := quorum.LearnerInfo{ServerID: int64(id), ProtocolVersion: quorum.ProtocolVersion}
	r.packets(c, Packet{Type: quorum.TypeFollowerInfo, Zxid: accepted << 32, Data: info.Append(nil)})
	r.packets(c, Packet{Type: quorum.TypeAckEpoch, Zxid: int64(r.m.hist.last), Data: quorum.AppendInt(nil, int32(r.m.current))})
	r.packets(c, Packet{Type: quorum.TypeAck, Zxid: r.m.leader.epoch << 32})
	if r.m.leader.stage != broadcasting {
		r.t.Fatalf("stage %v", r.m.leader.stage)
	}
	r.take(c)
}

// packetsOf picks one direction.
func packetsOf(ls []line, up bool, drop func(line) bool) []line {
	var out []line
	for _, l := range ls {
		if l.up == up && l.Type != "SNAPSTREAM" && (drop == nil || !drop(l)) {
			out = append(out, l)
		}
	}
	return out
}

func compare(t *testing.T, got []Packet, want []line) {
	t.Helper()
	for i := 0; i < max(len(got), len(want)); i++ {
		switch {
		case i >= len(got):
			t.Fatalf("packet %d: nothing, Apache sent %s", i, want[i].Type)
		case i >= len(want):
			t.Fatalf("packet %d: %v %x, Apache sent nothing", i, got[i].Type, got[i].Zxid)
		}
		w := want[i]
		if w.Type == "PING" && w.up {
			// What the sessions did is not the protocol's business.
			if got[i].Type != w.k.Type || got[i].Zxid != w.k.Zxid || got[i].Data == nil {
				t.Fatalf("packet %d: %+v, Apache answered %+v", i, got[i], w.k)
			}
			continue
		}
		if b := got[i].Append(nil); !bytes.Equal(b, w.raw) {
			t.Fatalf("packet %d:\n%v %x\nApache's:\n%s %x", i, got[i].Type, b, w.Type, w.raw)
		}
	}
}

func configText(ls []line) []byte {
	for _, l := range ls {
		if l.Type == "NEWLEADER" {
			return l.k.Data
		}
	}
	return nil
}

func runsTo(z Zxid) []Run {
	if z == 0 {
		return nil
	}
	var runs []Run
	for e := int64(1); e <= z.Epoch(); e++ {
		last := consensus.MakeZxid(e, 3)
		if e == z.Epoch() {
			last = z
		}
		runs = append(runs, Run{consensus.MakeZxid(e, 1), last})
	}
	return runs
}

// A learner of ours in the place of Apache's answers the leader alike.
func TestLearnerSaysWhatApacheSays(t *testing.T) {
	for _, tc := range []struct {
		file string
		end  Zxid // where the node stands in the end
		// Apache 3.8.0 acks what came with a DIFF once more, one by one.
		skip func(line) bool
	}{
		{"follower-session-3.8.0", 0, nil},
		{"diff-sync-3.8.0", 0x100000015, func(l line) bool { return l.Type == "ACK" && Zxid(l.k.Zxid).Counter() != 0 }},
		{"snap-sync-3.9.5", 0x100000007, nil},
		{"snap-instead-of-trunc-3.9.5", 0x200000003, nil},
		{"trunc-sync-3.9.5", 0, nil},
		{"observer-3.9.5", 0, nil},
	} {
		t.Run(tc.file, func(t *testing.T) {
			ls := conversation(t, tc.file)
			text := configText(ls)
			info, _ := quorum.DecodeLearnerInfo(ls[0].k.Data)
			accepted := Zxid(ls[0].k.Zxid).Epoch()
			current := accepted
			var at Zxid
			for _, l := range ls {
				if l.Type == "ACKEPOCH" {
					at = Zxid(l.k.Zxid)
					if c, _ := quorum.DecodeInt(l.k.Data); c >= 0 {
						current = int64(c)
					}
				}
			}
			r := newRig(t, ServerID(info.ServerID), text, Start{Runs: runsTo(at), Accepted: accepted, Current: current})
			r.follow(3, 1)
			var last Zxid
			for _, l := range ls {
				switch {
				case !l.up && l.Type != "SNAPSTREAM":
					if z := Zxid(l.k.Zxid); l.Type == "COMMIT" || l.Type == "INFORM" {
						last = z
					}
					r.packets(1, l.k)
				case l.up && l.Type == "REQUEST":
					// What the clients wanted is not ours to know, only that SYNCs will be answered.
					if q, err := quorum.DecodeRequest(l.k.Data); err == nil && q.Op == opSync {
						r.m.Sync(r.now, r.m.term, 1)
						r.run()
						r.sent[1] = r.sent[1][:len(r.sent[1])-1]
					}
				}
			}
			drop := func(l line) bool {
				return l.Type == "REQUEST" || l.Type == "REVALIDATE" || tc.skip != nil && tc.skip(l)
			}
			got, want := r.take(1), packetsOf(ls, true, drop)
			if n := len(want); len(got) > n && len(got) <= n+2 && got[n].Type == quorum.TypeAck && !ls[len(ls)-1].up {
				got = got[:n] // the file ends before the learner's last words
			}
			compare(t, got, want)
			if tc.end == 0 {
				tc.end = max(last, r.state)
			}
			if r.state != tc.end {
				t.Errorf("the node is at %v, want %v", r.state, tc.end)
			}
			if role := r.roles[len(r.roles)-1]; role.Leader != 3 {
				t.Errorf("the role is %+v", role)
			}
		})
	}
}

// A leader of ours in the place of Apache's brings a learner up to date alike.
func TestLeaderSaysWhatApacheSays(t *testing.T) {
	txn := func(ls []line, z Zxid) Txn {
		for _, l := range ls {
			if (l.Type == "PROPOSAL" || l.Type == "INFORM") && Zxid(l.k.Zxid) == z {
				return Txn{Zxid: z, Data: l.k.Data}
			}
		}
		return Txn{Zxid: z, Data: make([]byte, 40)}
	}
	for _, tc := range []struct {
		file  string
		last  Zxid // of the leader's history before its epoch
		epoch int64
		// How far the leader had come in its epoch when the learner connected.
		proposed Zxid
		// In the file the learner is the one that makes the quorum.
		first bool
		// What follows the learner's joining, in the order of the file.
		play bool
	}{
		{"diff-sync-3.8.0", 0, 1, 0x100000015, false, false},
		{"trunc-sync-3.9.5", 0x100000005, 2, 0, false, false},
		{"snap-sync-3.9.5", 0, 1, 0x100000006, false, true},
		{"snap-instead-of-trunc-3.9.5", 0x100000007, 2, 0x200000003, false, false},
		{"follower-session-3.8.0", 0, 1, 0, true, true},
		{"observer-3.9.5", 0, 1, 0, false, true},
	} {
		t.Run(tc.file, func(t *testing.T) {
			ls := conversation(t, tc.file)
			info, _ := quorum.DecodeLearnerInfo(ls[0].k.Data)
			r := newRig(t, 3, configText(ls), Start{Runs: runsTo(tc.last), Accepted: tc.epoch - 1, Current: tc.epoch - 1})
			// An Apache leader sends a snapshot to a server with nothing, if only its memory says
			// what it would lack; ours may do better.
			r.m.cfg.ForceSnapshot = tc.file == "snap-sync-3.9.5"
			r.lead()
			other := ServerID(1)
			if info.ServerID == 1 {
				other = 2
			}
			if !tc.first {
				r.join(other, 50, tc.epoch-1)
			}
			for z := consensus.MakeZxid(tc.epoch, 1); z <= tc.proposed; z++ {
				r.m.Propose(r.now, r.m.term, []Txn{txn(ls, z)})
				r.run()
				r.packets(50, Packet{Type: quorum.TypeAck, Zxid: int64(z)})
			}
			r.m.Accepted(r.now, 7, "")
			joined := false
			var got []Packet
			var want []line
			for _, l := range ls {
				if joined && !tc.play {
					break
				}
				if !l.up {
					joined = joined || l.Type == "UPTODATE"
					if z := Zxid(l.k.Zxid); (l.Type == "PROPOSAL" || l.Type == "INFORM") && joined {
						r.m.Propose(r.now, r.m.term, []Txn{{Zxid: z, Data: l.k.Data}})
						r.run()
						if !tc.first {
							r.packets(50, Packet{Type: quorum.TypeAck, Zxid: int64(z)})
						}
					}
					// When it pings is the leader's choice.
					if l.Type != "PING" && l.Type != "SNAPSTREAM" {
						want = append(want, l)
					}
					continue
				}
				if l.Type != "PING" && l.Type != "REVALIDATE" {
					r.packets(7, l.k)
				}
				// A SYNC waits for a round of pings.
				for _, c := range []Conn{7, 50} {
					var rest []Packet
					for _, k := range r.take(c) {
						if k.Type == quorum.TypePing {
							r.packets(c, Packet{Type: quorum.TypePing, Zxid: k.Zxid, Data: []byte{}})
						} else {
							rest = append(rest, k)
						}
					}
					r.sent[c] = append(rest, r.sent[c]...)
				}
			}
			got = r.take(7)
			if !tc.play {
				got = got[:min(len(got), len(want))]
			}
			compareOrder(t, got, want)
		})
	}
}

// compareOrder compares what a leader sent, where acks of others may have let a COMMIT go
// earlier or later: all that is no COMMIT in order, all COMMITs in order.
func compareOrder(t *testing.T, got []Packet, want []line) {
	t.Helper()
	isCommit := func(k Packet) bool { return k.Type == quorum.TypeCommit }
	for _, commits := range []bool{false, true} {
		var g []Packet
		var w []line
		for _, k := range got {
			if isCommit(k) == commits {
				g = append(g, k)
			}
		}
		for _, l := range want {
			if isCommit(l.k) == commits {
				w = append(w, l)
			}
		}
		if n := len(w); commits && len(g) > n {
			g = g[:n] // the file ends before the last of them
		}
		compare(t, g, w)
	}
}

// The leader asks its node about a session, and answers as Apache does.
func TestRevalidateSaysWhatApacheSays(t *testing.T) {
	ls := conversation(t, "session-3.8.0")
	text := configText(conversation(t, "diff-sync-3.8.0"))
	r := newRig(t, 3, text, Start{})
	r.lead()
	r.join(1, 7, 0)
	if ls[0].Type != "REVALIDATE" || ls[1].Type != "REVALIDATE" {
		t.Fatal("the file has changed")
	}
	var ask *AskRevalidate
	r.m.Packets(r.now, 7, []Packet{ls[0].k})
	for _, o := range r.m.Outputs() {
		if a, ok := o.(AskRevalidate); ok {
			ask = &a
		}
	}
	if ask == nil || fmt.Sprintf("%x", ask.Touch.Session) != "1000018cd670000" || ask.Touch.TimeoutMS != 10000 || ask.From != 1 {
		t.Fatalf("the node is asked %+v", ask)
	}
	r.m.RevalidateDone(r.now, 7, ask.Touch.Session, true)
	r.run()
	compare(t, r.take(7), ls[1:2])

	f := newRig(t, 1, text, Start{})
	f.follow(3, 1)
	for _, k := range []Packet{
		{Type: quorum.TypeLeaderInfo, Zxid: 1 << 32, Data: quorum.AppendInt(nil, quorum.ProtocolVersion)},
		{Type: quorum.TypeDiff}, {Type: quorum.TypeNewLeader, Zxid: 1 << 32}, {Type: quorum.TypeUpToDate, Zxid: -1},
	} {
		f.packets(1, k)
	}
	f.take(1)
	f.m.Revalidate(f.now, f.m.term, ask.Touch)
	f.run()
	compare(t, f.take(1), ls[0:1])
	f.packets(1, ls[1].k)
	if len(f.revs) != 1 || !f.revs[0].Alive || f.revs[0].Session != ask.Touch.Session {
		t.Errorf("the node is told %+v", f.revs)
	}
}
