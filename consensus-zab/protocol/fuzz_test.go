package protocol

import (
	"testing"

	"github.com/zkcore/zkcore/core/fuzztest"
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/quorum"
)

// What a peer can do, as the first byte of each part of an input.
const (
	peerPacket   = iota // on one of two connections; the packet follows, as on the wire
	peerNotifies        // the notification follows, behind its length
	peerConnects
	peerCloses
	peerTime
	peerKinds
)

func peerSays(on byte, ks ...Packet) (b []byte) {
	for _, k := range ks {
		b = k.Append(append(b, peerPacket, on))
	}
	return b
}

// FuzzPeer hands a member anything that its peers can say and do, in any order: it stays
// a member, keeps what it promised, and gives its node a history without a hole.
func FuzzPeer(f *testing.F) {
	const e2 = Zxid(2) << 32
	info := quorum.LearnerInfo{ServerID: 1, ProtocolVersion: quorum.ProtocolVersion}
	greeting := []Packet{{Type: quorum.TypeFollowerInfo, Zxid: 1 << 32, Data: info.Append(nil)},
		{Type: quorum.TypeAckEpoch, Zxid: 1<<32 | 9, Data: quorum.AppendInt(nil, 1)}, plain(quorum.TypeAck, e2)}
	request := quorum.Request{SessionID: 7, Cxid: 1, Op: 1, Body: []byte("x")}
	for _, ks := range [][]Packet{
		{leaderInfo(2), plain(quorum.TypeDiff, 1<<32|9), body(e2 + 1), plain(quorum.TypeCommit, e2+1), plain(quorum.TypeNewLeader, e2), plain(quorum.TypeUpToDate, -1), plain(quorum.TypePing, e2)},
		{leaderInfo(2), plain(quorum.TypeTrunc, 1<<32|5), plain(quorum.TypeNewLeader, e2), body(e2 + 1), plain(quorum.TypeUpToDate, -1), plain(quorum.TypeCommit, e2+1)},
		{leaderInfo(2), plain(quorum.TypeSnap, 1<<32|20), plain(quorum.TypeNewLeader, e2), plain(quorum.TypeUpToDate, -1), plain(quorum.TypeSync, 0)},
		{leaderInfo(2), plain(quorum.TypeDiff, 0), plain(quorum.TypeCommitAndActivate, 1), plain(quorum.TypeInform, e2+1)},
	} {
		f.Add(false, peerSays(0, ks...))
	}
	for _, ks := range [][]Packet{
		greeting,
		append(greeting[:3:3], Packet{Type: quorum.TypeRequest, Data: request.Append(nil), AuthInfo: []jute.ID{{Scheme: "ip", ID: "::1"}}}, plain(quorum.TypeAck, e2+1),
			Packet{Type: quorum.TypePing, Data: quorum.AppendTouches(nil, []quorum.Touch{{SessionID: 1, TimeoutMS: 2}})},
			Packet{Type: quorum.TypeRevalidate, Data: quorum.Revalidate{SessionID: 7, TimeoutMS: 9}.Append(nil)}),
		{{Type: quorum.TypeObserverInfo, Zxid: 0, Data: info.Append(nil)}},
	} {
		f.Add(true, append([]byte{peerConnects, 0}, peerSays(0, ks...)...))
	}
	n := vote(quorum.Looking, 3, 1<<32|9, 9, 1)
	f.Add(true, n.AppendFrame([]byte{peerNotifies, 3}))
	f.Add(false, n.AppendFrame([]byte{peerTime, 200, peerCloses, 0, peerNotifies, 2}))
	f.Fuzz(func(t *testing.T, leads bool, b []byte) {
		if len(b) > 4<<10 {
			return
		}
		// What is sent and logged is kept by the rig, many times over.
		(fuzztest.Limit{Factor: 4096, Constant: 4 << 20}).Check(t, len(b), func() { hearAll(t, leads, b) })
	})
}

func hearAll(t *testing.T, leads bool, b []byte) {
	const last = Zxid(1)<<32 | 9
	r := newRig(t, 1, []byte(three), Start{Base: 1<<32 | 4, Runs: []Run{{1<<32 | 5, last}}, Accepted: 1, Current: 1})
	if leads {
		r.lead()
	} else {
		r.follow(3, 1)
	}
	conns := []Conn{1, 2}
	next := Conn(3)
	for d := jute.NewDecoder(b); d.Remaining() > 1; {
		what, arg := d.Byte()%peerKinds, d.Byte()
		c := &conns[int(arg)%len(conns)]
		switch what {
		case peerPacket:
			var k Packet
			if k.Decode(&d); d.Err() == nil {
				r.packets(*c, k)
			}
		case peerNotifies:
			if n, err := quorum.DecodeNotification(d.Buffer()); err == nil {
				r.m.Notification(r.now, ServerID(arg%5), n)
			}
		case peerConnects:
			*c = next
			next++
			r.m.Accepted(r.now, *c, "peer")
		case peerCloses:
			r.m.Closed(r.now, *c, "closed")
		case peerTime:
			r.now += Time(arg) * 10 * Millisecond
			r.m.Tick(r.now)
		}
		r.run()
		r.sound()
	}
}

// sound checks what holds whatever a peer says.
func (r *rig) sound() {
	r.t.Helper()
	m := r.m
	if m.current > m.accepted {
		r.t.Fatalf("currentEpoch %d is above acceptedEpoch %d (I14)", m.current, m.accepted)
	}
	if m.hist.delivered > m.hist.last {
		r.t.Fatalf("the node is at %v, the log ends at %v (I17)", m.hist.delivered, m.hist.last)
	}
	if !m.hist.whole() {
		r.t.Fatalf("the log has a hole: %+v (I16)", m.hist.runs)
	}
	for i := 1; i < len(r.given); i++ {
		if r.given[i].Zxid <= r.given[i-1].Zxid && !r.restored {
			r.t.Fatalf("delivered %v behind %v (I13)", r.given[i].Zxid, r.given[i-1].Zxid)
		}
	}
}
