package proto

import "github.com/zkcore/zkcore/core/jute"

// NewResponse returns an empty response record for op; nil for an operation
// that is answered by a header alone, or that is none.
func NewResponse(op Op) Record {
	switch op {
	case OpCreate:
		return new(PathResponse)
	case OpSync:
		return new(AnyPathRequest) // echoes its request
	case OpCreate2, OpCreateContainer, OpCreateTTL:
		return new(Create2Response)
	case OpExists, OpSetData, OpSetACL:
		return new(Stat)
	case OpGetData, OpReconfig:
		return new(GetDataResponse)
	case OpGetACL:
		return new(GetACLResponse)
	case OpGetChildren, OpGetEphemerals:
		return new(StringsResponse)
	case OpGetChildren2:
		return new(GetChildren2Response)
	case OpMulti, OpMultiRead:
		return new(MultiResponse)
	case OpSASL:
		return new(SASLToken)
	case OpGetAllChildrenNum, OpAddWatch:
		return new(IntResponse)
	case OpWhoAmI:
		return new(WhoAmIResponse)
	}
	return nil
}

// A PathResponse answers create.
type PathResponse struct{ Path string }

func (r *PathResponse) Decode(d *jute.Decoder) { r.Path = d.String() }

func (r *PathResponse) Append(dst []byte) []byte { return jute.AppendString(dst, r.Path) }

// A Create2Response answers create2, createContainer and createTTL.
type Create2Response struct {
	Path string
	Stat Stat
}

func (r *Create2Response) Decode(d *jute.Decoder) {
	r.Path = d.String()
	r.Stat.Decode(d)
}

func (r *Create2Response) Append(dst []byte) []byte {
	dst = jute.AppendString(dst, r.Path)
	return r.Stat.Append(dst)
}

// A GetDataResponse answers getData and reconfig.
type GetDataResponse struct {
	Data []byte
	Stat Stat
}

func (r *GetDataResponse) Decode(d *jute.Decoder) {
	r.Data = d.Buffer()
	r.Stat.Decode(d)
}

func (r *GetDataResponse) Append(dst []byte) []byte {
	dst = jute.AppendBuffer(dst, r.Data)
	return r.Stat.Append(dst)
}

// A GetACLResponse answers getACL.
type GetACLResponse struct {
	ACL  []ACL
	Stat Stat
}

func (r *GetACLResponse) Decode(d *jute.Decoder) {
	r.ACL = d.ACLs()
	r.Stat.Decode(d)
}

func (r *GetACLResponse) Append(dst []byte) []byte {
	dst = jute.AppendACLs(dst, r.ACL)
	return r.Stat.Append(dst)
}

// A StringsResponse answers getChildren with names and getEphemerals with paths.
type StringsResponse struct{ Strings []string }

func (r *StringsResponse) Decode(d *jute.Decoder) { r.Strings = d.Strings() }

func (r *StringsResponse) Append(dst []byte) []byte { return jute.AppendStrings(dst, r.Strings) }

// A GetChildren2Response answers getChildren2.
type GetChildren2Response struct {
	Children []string
	Stat     Stat
}

func (r *GetChildren2Response) Decode(d *jute.Decoder) {
	r.Children = d.Strings()
	r.Stat.Decode(d)
}

func (r *GetChildren2Response) Append(dst []byte) []byte {
	dst = jute.AppendStrings(dst, r.Children)
	return r.Stat.Append(dst)
}

// An IntResponse answers getAllChildrenNumber with a number, and addWatch with
// an error code that is always 0.
type IntResponse struct{ Value int32 }

func (r *IntResponse) Decode(d *jute.Decoder) { r.Value = d.Int() }

func (r *IntResponse) Append(dst []byte) []byte { return jute.AppendInt(dst, r.Value) }

// A WhoAmIResponse answers whoAmI.
type WhoAmIResponse struct{ ClientInfo []ClientInfo }

func (r *WhoAmIResponse) Decode(d *jute.Decoder) {
	ids := d.IDs() // the same two strings
	r.ClientInfo = nil
	if ids == nil {
		return
	}
	r.ClientInfo = make([]ClientInfo, 0, len(ids))
	for _, id := range ids {
		r.ClientInfo = append(r.ClientInfo, ClientInfo{AuthScheme: id.Scheme, User: id.ID})
	}
}

func (r *WhoAmIResponse) Append(dst []byte) []byte {
	if r.ClientInfo == nil {
		return jute.AppendNull(dst)
	}
	dst = jute.AppendCount(dst, len(r.ClientInfo))
	for i := range r.ClientInfo {
		dst = jute.AppendString(dst, r.ClientInfo[i].AuthScheme)
		dst = jute.AppendString(dst, r.ClientInfo[i].User)
	}
	return dst
}
