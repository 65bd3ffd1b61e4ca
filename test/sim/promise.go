package sim

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/zkcore/zkcore/consensus-zab/protocol"
	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// What a server of the ensemble says, others build on: it must be true whatever becomes of the
// server. So it is looked at when it leaves: what a power cut would leave of the disk at that
// moment has to bear it out.

const dataDir = "/data/version-2"

// promises are what a machine has said, in all its lives.
type promises struct {
	rng *rand.Rand
	// acked is the last txn that it said it has. known is the last of those that
	// was seen to be committed: who acked it keeps it.
	acked, known consensus.Zxid
}

func (p *promises) ack(t *truth, z consensus.Zxid) {
	if _, ok := t.place[p.acked]; ok {
		p.known = max(p.known, p.acked)
	}
	p.acked = z
}

// takenBack: a leader that has lost a learner counts its acks no more, and may take back what
// is not committed yet when it comes again, with TRUNC or behind a SNAP. It will be sent anew,
// and acked anew; others may have made it committed by the time that this one hears of it.
func (p *promises) takenBack(z consensus.Zxid) { p.acked = min(p.acked, z) }

// kept is the last txn that the machine must have.
func (p *promises) kept(t *truth) consensus.Zxid {
	p.ack(t, p.acked)
	return p.known
}

// packetSize is that of a packet without data.
const packetSize = quorum.MinPacketSize

// says looks at packets that leave on a connection of the quorum port.
func (p *zabPeer) says(l *link, b []byte) {
	if len(b) < packetSize || p.m.disk.failed {
		return
	}
	w, m := p.w, p.m
	z := consensus.Zxid(binary.BigEndian.Uint64(b[4:]))
	switch quorum.PacketType(binary.BigEndian.Uint32(b)) {
	case quorum.TypeRequest:
		if m.breaks {
			m.breaks = false
			w.after(500*us+w.faultRand.Int64N(ms), nil, func() {
				w.logf(m, "%v breaks behind a request", l.e)
				l.e.break_("reset")
			})
		}
	case quorum.TypeLeaderInfo:
		if e := m.epochOnDisk(txnlog.AcceptedEpoch); e < z.Epoch() {
			w.fail("I14: node %d proposes epoch %d, and has accepted %d on its disk", m.id, z.Epoch(), e)
		}
	case quorum.TypeAckEpoch:
		if e := m.epochOnDisk(txnlog.AcceptedEpoch); e < l.epoch {
			w.fail("I14: node %d votes for epoch %d, and has accepted %d on its disk", m.id, l.epoch, e)
		}
	case quorum.TypeNewLeader:
		if e := m.epochOnDisk(txnlog.CurrentEpoch); e < z.Epoch() {
			w.fail("I14: node %d says NEWLEADER for epoch %d, and is in %d on its disk", m.id, z.Epoch(), e)
		}
	case quorum.TypeAck:
		if z.Counter() == 0 {
			if e := m.epochOnDisk(txnlog.CurrentEpoch); e < z.Epoch() {
				w.fail("I15: node %d acks NEWLEADER of epoch %d, and is in %d on its disk", m.id, z.Epoch(), e)
			}
			if !l.joined {
				l.joined = true
				if !m.holds(l.top) {
					w.fail("I15: node %d acks NEWLEADER of epoch %d, and %v, which came before it, is not on its disk", m.id, z.Epoch(), l.top)
				}
				m.said.ack(&w.truth, l.top)
			}
			return
		}
		z = consensus.Zxid(binary.BigEndian.Uint64(b[len(b)-packetSize+4:]))
		// Who goes on after an error of its disk is looked at most closely.
		if (m.disk.struck || m.said.rng.IntN(100) == 0) && !m.holds(z) {
			w.fail("I06: node %d acks %v, which is not on its disk", m.id, z)
		}
		m.said.ack(&w.truth, z)
	}
}

// hears notes what a learner is told before it joins.
func (l *link) hears(p *zabPeer, ks []protocol.Packet) {
	for i := range ks {
		z := consensus.Zxid(ks[i].Zxid)
		switch ks[i].Type {
		case quorum.TypeLeaderInfo:
			l.epoch = z.Epoch()
		case quorum.TypeDiff, quorum.TypeTrunc, quorum.TypeSnap:
			if l.top = z; ks[i].Type == quorum.TypeTrunc {
				p.m.said.takenBack(z)
			}
		case quorum.TypeNewLeader:
			// A snapshot may be older than what the log holds, which ends now where the leader's
			// history does.
			p.m.said.takenBack(l.top)
			l.sealed = true
		case quorum.TypeProposal, quorum.TypeInform:
			if !l.sealed {
				l.top = max(l.top, z)
			}
		}
	}
}

// votes looks at what a machine says of itself when it looks for a leader: what it has said
// that it has, it has, or it says that it does not know.
func (p *zabPeer) votes(n *protocol.Notification) {
	if n.State != quorum.Looking || n.Leader != int64(p.m.id) || n.Zxid < 0 {
		return
	}
	if kept := p.m.said.kept(&p.w.truth); consensus.Zxid(n.Zxid) < kept {
		p.w.fail("I17: node %d stands for election with %v, and had acked %v, which is committed", p.m.id, consensus.Zxid(n.Zxid), kept)
	}
}

// epochOnDisk is what an epoch file would say after a power cut; -1 if it can't be read.
func (m *machine) epochOnDisk(name string) int64 {
	e, ok, err := txnlog.ReadEpoch(m.disk.synced(), dataDir, name)
	if err != nil || !ok {
		return -1
	}
	return e
}

// recovers looks whether a power cut now would leave what a start needs (I27): a snapshot that
// is whole, and a log that goes on from there.
func (m *machine) recovers() {
	if !m.up || m.disk.struck || m.disk.failed || m.disk.rotten {
		return
	}
	fs := m.disk.synced()
	files, err := txnlog.ListSnapshots(fs, dataDir)
	if err != nil {
		m.w.fail("I27: node %d: %v", m.id, err)
		return
	}
	base := consensus.Zxid(0)
	if len(files) > 0 {
		base = files[0].Zxid
	}
	l, _, err := txnlog.OpenLog(fs, dataDir, txnlog.Options{From: base})
	if err != nil {
		m.w.fail("I27: node %d: after a power cut its log does not lead on from the snapshot at %v: %v", m.id, base, err)
		return
	}
	l.Close()
}

// hasSnapshot looks whether a snapshot that is said to be on the disk is.
func (m *machine) hasSnapshot(z consensus.Zxid, when string) {
	if m.disk.failed || wholeSnapshot(m.disk.synced(), z) {
		return
	}
	m.w.fail("I27: node %d has %s a snapshot at %v, which a power cut would lose", m.id, when, z)
}

func wholeSnapshot(fs vfs.FS, z consensus.Zxid) bool {
	files, err := txnlog.ListSnapshots(fs, dataDir)
	if err != nil {
		return false
	}
	for _, f := range files {
		if f.Zxid == z {
			return true
		}
	}
	return false
}

// A watchedMember is a member as its node sees it.
type watchedMember struct {
	consensus.Member
	m *machine
}

func (c *watchedMember) Checkpoint(saved, needed consensus.Zxid) error {
	c.m.hasSnapshot(saved, "saved")
	return c.Member.Checkpoint(saved, needed)
}
