package quorum

import (
	"io"
	"strconv"

	"github.com/zkcore/zkcore/core/jute"
)

// A PacketType says what a packet is for.
type PacketType int32

// The packet types. "up" is from learner to leader, "down" from leader to learner.
const (
	TypeRequest           PacketType = 1  // up: a client's write, or sync
	TypeProposal          PacketType = 2  // down, voters
	TypeAck               PacketType = 3  // up
	TypeCommit            PacketType = 4  // down, voters
	TypePing              PacketType = 5  // both
	TypeRevalidate        PacketType = 6  // both
	TypeSync              PacketType = 7  // down: answers the oldest sync
	TypeInform            PacketType = 8  // down, observers
	TypeCommitAndActivate PacketType = 9  // down: commits a reconfig
	TypeNewLeader         PacketType = 10 // down
	TypeFollowerInfo      PacketType = 11 // up
	TypeUpToDate          PacketType = 12 // down
	TypeDiff              PacketType = 13 // down
	TypeTrunc             PacketType = 14 // down
	TypeSnap              PacketType = 15 // down: the snapshot's stream follows
	TypeObserverInfo      PacketType = 16 // up
	TypeLeaderInfo        PacketType = 17 // down
	TypeAckEpoch          PacketType = 18 // up
	TypeInformAndActivate PacketType = 19 // down, observers
)

var packetNames = [...]string{
	TypeRequest:           "REQUEST",
	TypeProposal:          "PROPOSAL",
	TypeAck:               "ACK",
	TypeCommit:            "COMMIT",
	TypePing:              "PING",
	TypeRevalidate:        "REVALIDATE",
	TypeSync:              "SYNC",
	TypeInform:            "INFORM",
	TypeCommitAndActivate: "COMMITANDACTIVATE",
	TypeNewLeader:         "NEWLEADER",
	TypeFollowerInfo:      "FOLLOWERINFO",
	TypeUpToDate:          "UPTODATE",
	TypeDiff:              "DIFF",
	TypeTrunc:             "TRUNC",
	TypeSnap:              "SNAP",
	TypeObserverInfo:      "OBSERVERINFO",
	TypeLeaderInfo:        "LEADERINFO",
	TypeAckEpoch:          "ACKEPOCH",
	TypeInformAndActivate: "INFORMANDACTIVATE",
}

func (t PacketType) String() string {
	if t > 0 && int(t) < len(packetNames) {
		return packetNames[t]
	}
	return "packet type " + strconv.Itoa(int(t))
}

// A Packet is one message of the quorum port.
type Packet struct {
	Type     PacketType
	Zxid     int64
	Data     []byte    // nil is null; an empty one is not
	AuthInfo []jute.ID // of REQUEST: the client's identities; else nil
}

// MinPacketSize is the size of a packet without data and identities.
const MinPacketSize = 4 + 8 + 4 + 4

// Read reads the next packet. Its data is in memory of its own. The error is
// io.EOF if the stream ended between two packets, and the reader's limit holds
// for the data and for each string.
func (p *Packet) Read(r *jute.Reader) error {
	p.Type = PacketType(r.Int())
	if err := r.Err(); err != nil {
		return err
	}
	p.Zxid = r.Long()
	p.Data = r.Buffer()
	p.AuthInfo = r.IDs()
	if err := r.Err(); err == io.EOF {
		return io.ErrUnexpectedEOF
	} else if err != nil {
		return err
	}
	return nil
}

// Decode reads a packet from a slice, which its data aliases.
func (p *Packet) Decode(d *jute.Decoder) {
	p.Type = PacketType(d.Int())
	p.Zxid = d.Long()
	p.Data = d.Buffer()
	p.AuthInfo = d.IDs()
}

// Append appends the packet.
func (p *Packet) Append(dst []byte) []byte {
	dst = jute.AppendInt(dst, int32(p.Type))
	dst = jute.AppendLong(dst, p.Zxid)
	dst = jute.AppendBuffer(dst, p.Data)
	return jute.AppendIDs(dst, p.AuthInfo)
}

// AppendPacket appends a packet without identities.
func AppendPacket(dst []byte, t PacketType, zxid int64, data []byte) []byte {
	p := Packet{Type: t, Zxid: zxid, Data: data}
	return p.Append(dst)
}
