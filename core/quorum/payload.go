package quorum

import "github.com/zkcore/zkcore/core/jute"

// ProtocolVersion is that of Zab 1.0, spoken since 3.4.
const ProtocolVersion int32 = 0x10000

// LearnerInfo is the data of FOLLOWERINFO and OBSERVERINFO.
type LearnerInfo struct {
	ServerID        int64
	ProtocolVersion int32
	ConfigVersion   int64
}

// DecodeLearnerInfo reads what is there: servers before 3.5 send no
// configVersion, still older ones only their id, or nothing. Missing numbers are
// 0; ok is false if not even the id is there.
func DecodeLearnerInfo(b []byte) (v LearnerInfo, ok bool) {
	d := jute.NewDecoder(b)
	if len(b) < 8 {
		return v, false
	}
	v.ServerID = d.Long()
	if d.Remaining() >= 4 {
		v.ProtocolVersion = d.Int()
	}
	if d.Remaining() >= 8 {
		v.ConfigVersion = d.Long()
	}
	return v, true
}

// Append appends the full form.
func (v LearnerInfo) Append(dst []byte) []byte {
	dst = jute.AppendLong(dst, v.ServerID)
	dst = jute.AppendInt(dst, v.ProtocolVersion)
	return jute.AppendLong(dst, v.ConfigVersion)
}

// DecodeInt reads the data of LEADERINFO, a protocol version, and of ACKEPOCH,
// the current epoch.
func DecodeInt(b []byte) (int32, error) {
	d := jute.NewDecoder(b)
	v := d.Int()
	return v, d.Err()
}

// AppendInt appends the data of LEADERINFO and ACKEPOCH.
func AppendInt(dst []byte, v int32) []byte { return jute.AppendInt(dst, v) }

// DecodeActivate reads the data of COMMITANDACTIVATE and INFORMANDACTIVATE: the
// designated leader, and behind it, for the latter, a txn.
func DecodeActivate(b []byte) (leader int64, txn []byte, err error) {
	d := jute.NewDecoder(b)
	leader = d.Long()
	return leader, d.Rest(), d.Err()
}

// AppendActivate appends the data of COMMITANDACTIVATE and INFORMANDACTIVATE.
func AppendActivate(dst []byte, leader int64, txn []byte) []byte {
	return append(jute.AppendLong(dst, leader), txn...)
}

// A Request is the data of REQUEST: a client's request on its way to the leader.
// The client's identities are in the packet.
type Request struct {
	SessionID int64
	Cxid      int32
	Op        int32
	Body      []byte // the request record, not decoded
}

// DecodeRequest reads a request; its body aliases b.
func DecodeRequest(b []byte) (Request, error) {
	d := jute.NewDecoder(b)
	v := Request{SessionID: d.Long(), Cxid: d.Int(), Op: d.Int(), Body: d.Rest()}
	return v, d.Err()
}

// Append appends the request.
func (v *Request) Append(dst []byte) []byte {
	dst = jute.AppendLong(dst, v.SessionID)
	dst = jute.AppendInt(dst, v.Cxid)
	dst = jute.AppendInt(dst, v.Op)
	return append(dst, v.Body...)
}

// A Touch says that a session was heard of.
type Touch struct {
	SessionID int64
	TimeoutMS int32
}

const touchSize = 8 + 4

// DecodeTouches reads the data of a learner's PING.
func DecodeTouches(b []byte) ([]Touch, error) {
	v := make([]Touch, 0, len(b)/touchSize)
	for d := jute.NewDecoder(b); d.Remaining() > 0; {
		t := Touch{SessionID: d.Long(), TimeoutMS: d.Int()}
		if err := d.Err(); err != nil {
			return nil, err
		}
		v = append(v, t)
	}
	return v, nil
}

// AppendTouches appends the data of a learner's PING. If there are none and dst
// is nil it still returns a slice that is not nil: null in their place makes an
// Apache leader drop the learner.
func AppendTouches(dst []byte, v []Touch) []byte {
	if dst == nil {
		dst = make([]byte, 0, len(v)*touchSize)
	}
	for _, t := range v {
		dst = jute.AppendLong(dst, t.SessionID)
		dst = jute.AppendInt(dst, t.TimeoutMS)
	}
	return dst
}

// A Revalidate asks the leader whether a session may go on at another server.
type Revalidate struct {
	SessionID int64
	TimeoutMS int32
}

// DecodeRevalidate reads a learner's REVALIDATE.
func DecodeRevalidate(b []byte) (Revalidate, error) {
	d := jute.NewDecoder(b)
	v := Revalidate{SessionID: d.Long(), TimeoutMS: d.Int()}
	return v, d.Err()
}

// Append appends it.
func (v Revalidate) Append(dst []byte) []byte {
	return jute.AppendInt(jute.AppendLong(dst, v.SessionID), v.TimeoutMS)
}

// A Revalidated is the leader's answer.
type Revalidated struct {
	SessionID int64
	Valid     bool
}

// DecodeRevalidated reads a leader's REVALIDATE.
func DecodeRevalidated(b []byte) (Revalidated, error) {
	d := jute.NewDecoder(b)
	v := Revalidated{SessionID: d.Long(), Valid: d.Bool()}
	return v, d.Err()
}

// Append appends it.
func (v Revalidated) Append(dst []byte) []byte {
	return jute.AppendBool(jute.AppendLong(dst, v.SessionID), v.Valid)
}
