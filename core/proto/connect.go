package proto

import (
	"encoding/binary"

	"github.com/zkcore/zkcore/core/jute"
)

// A ConnectRequest is the first frame of a connection.
type ConnectRequest struct {
	ProtocolVersion int32 // 0; not looked at
	LastZxidSeen    int64
	TimeoutMS       int32
	SessionID       int64 // 0 asks for a new session
	Passwd          []byte
	ReadOnly        bool
	HasReadOnly     bool // C clients before 3.5 and others end before the field
}

func (r *ConnectRequest) Decode(d *jute.Decoder) {
	*r = ConnectRequest{
		ProtocolVersion: d.Int(),
		LastZxidSeen:    d.Long(),
		TimeoutMS:       d.Int(),
		SessionID:       d.Long(),
		Passwd:          d.Buffer(),
	}
	if d.Remaining() > 0 {
		r.ReadOnly, r.HasReadOnly = d.Bool(), true
	}
}

func (r *ConnectRequest) Append(dst []byte) []byte {
	dst = jute.AppendInt(dst, r.ProtocolVersion)
	dst = jute.AppendLong(dst, r.LastZxidSeen)
	dst = jute.AppendInt(dst, r.TimeoutMS)
	dst = jute.AppendLong(dst, r.SessionID)
	dst = jute.AppendBuffer(dst, r.Passwd)
	if r.HasReadOnly {
		dst = jute.AppendBool(dst, r.ReadOnly)
	}
	return dst
}

// A ConnectResponse answers a ConnectRequest. TimeoutMS 0 says that the session
// is refused or has expired.
type ConnectResponse struct {
	ProtocolVersion int32
	TimeoutMS       int32
	SessionID       int64
	Passwd          []byte
	ReadOnly        bool
	HasReadOnly     bool // as in the request: those who did not send it can't read it
}

func (r *ConnectResponse) Decode(d *jute.Decoder) {
	*r = ConnectResponse{
		ProtocolVersion: d.Int(),
		TimeoutMS:       d.Int(),
		SessionID:       d.Long(),
		Passwd:          d.Buffer(),
	}
	if d.Remaining() > 0 {
		r.ReadOnly, r.HasReadOnly = d.Bool(), true
	}
}

func (r *ConnectResponse) Append(dst []byte) []byte {
	dst = jute.AppendInt(dst, r.ProtocolVersion)
	dst = jute.AppendInt(dst, r.TimeoutMS)
	dst = jute.AppendLong(dst, r.SessionID)
	dst = jute.AppendBuffer(dst, r.Passwd)
	if r.HasReadOnly {
		dst = jute.AppendBool(dst, r.ReadOnly)
	}
	return dst
}

// SessionPassword returns the password that Apache's servers give to a session.
// It is computed from the id alone, so it keeps nobody out: it is for ensembles
// with Apache's servers in them, which take no other.
//
// It is what java.util.Random with the seed id XOR 0xB3415C00 makes: a linear
// congruential generator of 48 bits whose upper 32 are the output, here in
// little-endian order.
func SessionPassword(id int64) [16]byte {
	const (
		mul  = 0x5DEECE66D
		add  = 0xB
		mask = 1<<48 - 1
	)
	var p [16]byte
	s := (uint64(id) ^ 0xB3415C00 ^ mul) & mask
	for i := 0; i < len(p); i += 4 {
		s = (s*mul + add) & mask
		binary.LittleEndian.PutUint32(p[i:], uint32(s>>16))
	}
	return p
}
