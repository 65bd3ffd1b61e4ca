package protocol

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/zkcore/zkcore/core/fuzztest"
	"github.com/zkcore/zkcore/plugins/consensus"
)

func message(t pb.MessageType, term, logTerm, index, commit uint64, ents ...*pb.Entry) *pb.Message {
	return &pb.Message{Type: t.Enum(), Term: new(term), LogTerm: new(logTerm), Index: new(index), Commit: new(commit), Entries: ents}
}

func entry(term uint64, z Zxid) *pb.Entry {
	e := &pb.Entry{Term: new(term)}
	if z != 0 {
		e.Data = txnOf(z).Data
	}
	return e
}

// frames are one of each kind, and some more.
func frames() []Frame {
	z := consensus.MakeZxid(3, 1)
	return []Frame{
		{Kind: Hello, Version: 1, From: 2, Set: 7},
		{Kind: Vote, Raft: message(pb.MsgVote, 4, 3, 9, 0)},
		{Kind: Vote, Raft: message(pb.MsgPreVoteResp, 4, 3, 9, 0)},
		{Kind: Bid, Term: 3, Nonce: 5, Echo: 6, Worth: Blank, At: Point{9, 3, z}},
		{Kind: Lead, Version: 1, From: 2, Set: 7, Term: 4},
		{Kind: Here, Version: 1, From: 2, Set: 7, Term: 4, Worth: Proven},
		{Kind: Newer, Term: 9},
		{Kind: Raft, Raft: message(pb.MsgApp, 4, 3, 9, 8, entry(4, 0), entry(4, consensus.MakeZxid(4, 1)))},
		{Kind: Raft, Raft: message(pb.MsgHeartbeat, 4, 0, 0, 5)},
		{Kind: Raft, Raft: message(pb.MsgAppResp, 4, 0, 9, 0)},
		{Kind: Raft, Raft: &pb.Message{Type: pb.MsgHeartbeatResp.Enum(), Term: new(uint64(4)), Context: []byte{1, 0, 0, 0, 0, 0, 0, 0}}},
		{Kind: Raft, Raft: message(pb.MsgTimeoutNow, 4, 0, 0, 0)},
		{Kind: Join, Index: 9},
		{Kind: Requests, Requests: []consensus.Request{{Session: 1, Cxid: 2, Op: 3, Auth: []consensus.Identity{{Scheme: "ip", ID: "::1"}}, Body: []byte("b")}}},
		{Kind: Sync, ID: 4},
		{Kind: SyncDone, ID: 4, Index: 9},
		{Kind: Reval, Session: 5, Timeout: 6},
		{Kind: RevalDone, Session: 5, Index: 9, Valid: true},
		{Kind: TouchList, Touches: []consensus.Touch{{Session: 7, TimeoutMS: 8}}},
		{Kind: Snap, At: Point{9, 3, z}},
		{Kind: Chunk, Data: []byte("data")},
		{Kind: SnapDone},
		{Kind: Installed, At: Point{9, 3, z}},
		{Kind: Alive},
	}
}

// FuzzFrame decodes anything: what it takes for a frame is the same when it is encoded.
func FuzzFrame(f *testing.F) {
	for _, k := range frames() {
		f.Add(k.Append(nil)[4:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var k Frame
		var err error
		// An entry has a few words of its own.
		(fuzztest.Limit{Factor: 24, Constant: 64 << 10}).Check(t, len(b), func() { k, err = DecodeFrame(b) })
		if err != nil {
			return
		}
		if again := k.Append(nil); !bytes.Equal(again[4:], b) {
			t.Errorf("%v: %x is encoded as %x", k.Kind, b, again[4:])
		}
	})
}

// FuzzState reads anything as the state file: it is damaged, or it is what it says.
func FuzzState(f *testing.F) {
	s := State{Standing: Settling, Why: "a \"reason\"\nof two lines", Term: 9, Vote: 2, Base: Point{7, 3, consensus.MakeZxid(3, 4)},
		Starts: []Start{{3, 3}, {5, 9}, {9, 12}}, Pending: Point{20, 9, consensus.MakeZxid(9, 8)}, Cut: true, CutTo: 5, Alone: true}
	f.Add(s.Encode())
	f.Add((&State{}).Encode())
	f.Add([]byte("zkcore-raft 2\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s State
		var err error
		(fuzztest.Limit{Factor: 32, Constant: 64 << 10}).Check(t, len(b), func() { s, err = DecodeState(b) })
		switch {
		case errors.Is(err, consensus.ErrDamaged), errors.Is(err, ErrVersion):
		case err != nil:
			t.Error(err)
		default:
			if again, err := DecodeState(s.Encode()); err != nil || !bytes.Equal(again.Encode(), s.Encode()) {
				t.Errorf("%+v is read as %+v: %v", s, again, err)
			}
		}
	})
}

// FuzzPeer hands a member anything that its peers can say, in any order: it stays a
// member, keeps what it promised, and gives its node a history without a hole.
func FuzzPeer(f *testing.F) {
	const (
		onQuorum = iota
		onElection
		connects
		closes
		passes
		actions
	)
	var all []byte
	for _, k := range frames() {
		what := byte(onQuorum)
		if k.Kind.OnElectionPort() {
			what = onElection
		}
		all = append(all, what, 2)
		all = k.Append(all)
	}
	f.Add(false, all)
	f.Add(true, all)
	f.Add(false, append([]byte{connects, 0}, all...))
	f.Fuzz(func(t *testing.T, leads bool, b []byte) {
		if len(b) > 4<<10 {
			return
		}
		n := newNetwork(t, 3)
		h := n.hosts[1]
		s := State{Standing: Proven, Term: 3, Vote: 2, Starts: []Start{{3, 1}}}
		h.file = s.Encode()
		for i := range uint32(9) {
			h.log = append(h.log, txnOf(consensus.MakeZxid(3, i+1)))
		}
		h.start()
		if leads {
			n.until("it asks for votes", func() bool { return h.m.Next() > 0 && h.m.rn.BasicStatus().RaftState != 0 })
			for _, k := range []pb.MessageType{pb.MsgPreVoteResp, pb.MsgVoteResp} {
				h.m.Mailed(n.now, 2, Frame{Kind: Vote, Raft: &pb.Message{Type: k.Enum(), Term: new(uint64(4))}})
				h.run()
			}
		}
		conn := Conn(100)
		(fuzztest.Limit{Factor: 65536, Constant: 64 << 20}).Check(t, len(b), func() {
			b := b
			for len(b) > 2 {
				what, arg := b[0]%actions, b[1]
				b = b[2:]
				switch what {
				case onQuorum, onElection:
					if len(b) < 5 {
						return
					}
					size := int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])
					if size < 1 || size > len(b)-4 {
						return
					}
					k, err := DecodeFrame(slices.Clone(b[4 : 4+size]))
					b = b[4+size:]
					if err != nil || k.Kind.OnElectionPort() != (what == onElection) {
						continue
					}
					if (k.Kind == Lead || k.Kind == Here || k.Kind == Hello) && arg%4 != 0 {
						k.Set, k.Version = h.m.Set(), Version
					}
					if what == onElection {
						h.m.Mailed(n.now, ServerID(arg%5), k)
					} else if k.Kind != Chunk && k.Kind != SnapDone {
						h.m.Frames(n.now, conn, []Frame{k})
					}
				case connects:
					conn++
					if arg%2 == 0 {
						h.m.Accepted(n.now, conn, "peer")
					} else {
						h.m.Linked(n.now, ServerID(arg%5), conn, "peer")
					}
				case closes:
					h.m.Closed(n.now, conn, "closed")
				case passes:
					n.now += Time(arg) * 10 * Millisecond
					h.m.Tick(n.now)
				}
				h.run()
				n.queue = nil
			}
		})
		for i := 1; i < len(h.given); i++ {
			if a, z := h.given[i-1].Zxid, h.given[i].Zxid; z != a+1 && (z.Epoch() <= a.Epoch() || z.Counter() != 1) {
				t.Fatalf("delivered %v behind %v (I16)", z, a)
			}
		}
	})
}
