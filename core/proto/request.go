package proto

import "github.com/zkcore/zkcore/core/jute"

// NewRequest returns an empty request record for op; nil for an operation
// that has none, or that is none.
func NewRequest(op Op) Record {
	switch op {
	case OpCreate, OpCreate2, OpCreateContainer:
		return new(CreateRequest)
	case OpCreateTTL:
		return new(CreateTTLRequest)
	case OpDelete, OpCheck:
		return new(VersionRequest)
	case OpExists, OpGetData, OpGetChildren, OpGetChildren2:
		return new(ReadRequest)
	case OpSetData:
		return new(SetDataRequest)
	case OpGetACL, OpGetAllChildrenNum, OpDeleteContainer:
		return new(PathRequest)
	case OpSync, OpGetEphemerals:
		return new(AnyPathRequest)
	case OpSetACL:
		return new(SetACLRequest)
	case OpMulti:
		return new(MultiRequest)
	case OpMultiRead:
		return &MultiRequest{Read: true}
	case OpReconfig:
		return new(ReconfigRequest)
	case OpCheckWatches, OpRemoveWatches:
		return new(WatchesRequest)
	case OpAuth:
		return new(AuthPacket)
	case OpSetWatches:
		return new(SetWatchesRequest)
	case OpSetWatches2:
		return new(SetWatches2Request)
	case OpSASL:
		return new(SASLToken)
	case OpAddWatch:
		return new(AddWatchRequest)
	}
	return nil
}

// CheckRequest says whether b holds a whole request record for op. A learner
// asks it before it forwards a write: what does not decode must not reach an
// Apache leader.
func CheckRequest(op Op, b []byte) error {
	r := NewRequest(op)
	if r == nil {
		return nil
	}
	return Unmarshal(b, r)
}

// A CreateRequest is the record of create, create2 and createContainer.
type CreateRequest struct {
	Path  string
	Data  []byte // nil is null, which a znode can hold
	ACL   []ACL  // may be shared: not to be modified
	Flags CreateFlags
}

func (r *CreateRequest) Decode(d *jute.Decoder) {
	r.Path = path(d)
	r.Data = d.Buffer()
	r.ACL = d.ACLs()
	r.Flags = CreateFlags(d.Int())
}

func (r *CreateRequest) Append(dst []byte) []byte {
	dst = jute.AppendString(dst, r.Path)
	dst = jute.AppendBuffer(dst, r.Data)
	dst = jute.AppendACLs(dst, r.ACL)
	return jute.AppendInt(dst, int32(r.Flags))
}

// A CreateTTLRequest is the record of createTTL.
type CreateTTLRequest struct {
	CreateRequest
	TTL int64 // ms
}

func (r *CreateTTLRequest) Decode(d *jute.Decoder) {
	r.CreateRequest.Decode(d)
	r.TTL = d.Long()
}

func (r *CreateTTLRequest) Append(dst []byte) []byte {
	dst = r.CreateRequest.Append(dst)
	return jute.AppendLong(dst, r.TTL)
}

// A VersionRequest is the record of delete and check.
type VersionRequest struct {
	Path    string
	Version int32 // -1 is any
}

func (r *VersionRequest) Decode(d *jute.Decoder) {
	r.Path = path(d)
	r.Version = d.Int()
}

func (r *VersionRequest) Append(dst []byte) []byte {
	dst = jute.AppendString(dst, r.Path)
	return jute.AppendInt(dst, r.Version)
}

// A ReadRequest is the record of exists, getData, getChildren and getChildren2.
type ReadRequest struct {
	Path  string
	Watch bool
}

func (r *ReadRequest) Decode(d *jute.Decoder) {
	r.Path = path(d)
	r.Watch = d.Bool()
}

func (r *ReadRequest) Append(dst []byte) []byte {
	dst = jute.AppendString(dst, r.Path)
	return jute.AppendBool(dst, r.Watch)
}

// DecodeRead decodes a ReadRequest without copying its path, which aliases the
// frame: for the reads that look a path up and forget it.
func DecodeRead(d *jute.Decoder) (path []byte, watch bool) {
	path, null := d.StringBytes()
	if null {
		d.Fail(ErrNullPath)
	}
	return path, d.Bool()
}

// A SetDataRequest is the record of setData.
type SetDataRequest struct {
	Path    string
	Data    []byte
	Version int32
}

func (r *SetDataRequest) Decode(d *jute.Decoder) {
	r.Path = path(d)
	r.Data = d.Buffer()
	r.Version = d.Int()
}

func (r *SetDataRequest) Append(dst []byte) []byte {
	dst = jute.AppendString(dst, r.Path)
	dst = jute.AppendBuffer(dst, r.Data)
	return jute.AppendInt(dst, r.Version)
}

// A SetACLRequest is the record of setACL.
type SetACLRequest struct {
	Path    string
	ACL     []ACL
	Version int32 // of the ACL
}

func (r *SetACLRequest) Decode(d *jute.Decoder) {
	r.Path = path(d)
	r.ACL = d.ACLs()
	r.Version = d.Int()
}

func (r *SetACLRequest) Append(dst []byte) []byte {
	dst = jute.AppendString(dst, r.Path)
	dst = jute.AppendACLs(dst, r.ACL)
	return jute.AppendInt(dst, r.Version)
}

// A PathRequest is the record of getACL, getAllChildrenNumber and
// deleteContainer.
type PathRequest struct{ Path string }

func (r *PathRequest) Decode(d *jute.Decoder) { r.Path = path(d) }

func (r *PathRequest) Append(dst []byte) []byte { return jute.AppendString(dst, r.Path) }

// An AnyPathRequest is the record of sync, which does not look at the path, and
// of getEphemerals, to which null means all: null is kept.
type AnyPathRequest struct {
	Path string
	Null bool
}

func (r *AnyPathRequest) Decode(d *jute.Decoder) { r.Path, r.Null = d.NullableString() }

func (r *AnyPathRequest) Append(dst []byte) []byte {
	return jute.AppendNullableString(dst, r.Path, r.Null)
}

// A ReconfigRequest asks for another membership. The three lists may be null.
type ReconfigRequest struct {
	JoiningServers *string
	LeavingServers *string
	NewMembers     *string
	CurConfigID    int64 // -1 is any
}

func (r *ReconfigRequest) Decode(d *jute.Decoder) {
	r.JoiningServers = optional(d)
	r.LeavingServers = optional(d)
	r.NewMembers = optional(d)
	r.CurConfigID = d.Long()
}

func (r *ReconfigRequest) Append(dst []byte) []byte {
	for _, s := range [...]*string{r.JoiningServers, r.LeavingServers, r.NewMembers} {
		if s == nil {
			dst = jute.AppendNullString(dst)
		} else {
			dst = jute.AppendString(dst, *s)
		}
	}
	return jute.AppendLong(dst, r.CurConfigID)
}

func optional(d *jute.Decoder) *string {
	s, null := d.NullableString()
	if null || d.Err() != nil {
		return nil
	}
	return &s
}

// A WatchesRequest is the record of checkWatches and removeWatches.
type WatchesRequest struct {
	Path string
	Type WatcherType
}

func (r *WatchesRequest) Decode(d *jute.Decoder) {
	r.Path = path(d)
	if r.Type = WatcherType(d.Int()); !r.Type.Valid() {
		d.Fail(ErrWatcherType)
	}
}

func (r *WatchesRequest) Append(dst []byte) []byte {
	dst = jute.AppendString(dst, r.Path)
	return jute.AppendInt(dst, int32(r.Type))
}

// An AddWatchRequest is the record of addWatch.
type AddWatchRequest struct {
	Path string
	Mode AddWatchMode
}

func (r *AddWatchRequest) Decode(d *jute.Decoder) {
	r.Path = path(d)
	if r.Mode = AddWatchMode(d.Int()); !r.Mode.Valid() {
		d.Fail(ErrWatchMode)
	}
}

func (r *AddWatchRequest) Append(dst []byte) []byte {
	dst = jute.AppendString(dst, r.Path)
	return jute.AppendInt(dst, int32(r.Mode))
}

// An AuthPacket carries a client's credentials under a scheme.
type AuthPacket struct {
	Type   int32 // 0
	Scheme string
	Auth   []byte
}

func (r *AuthPacket) Decode(d *jute.Decoder) {
	r.Type = d.Int()
	r.Scheme = d.String()
	r.Auth = d.Buffer()
}

func (r *AuthPacket) Append(dst []byte) []byte {
	dst = jute.AppendInt(dst, r.Type)
	dst = jute.AppendString(dst, r.Scheme)
	return jute.AppendBuffer(dst, r.Auth)
}

// A SetWatchesRequest sets the watches of a client that has reconnected.
type SetWatchesRequest struct {
	RelativeZxid int64 // what the client has seen
	Data         []string
	Exist        []string
	Child        []string
}

func (r *SetWatchesRequest) Decode(d *jute.Decoder) {
	r.RelativeZxid = d.Long()
	r.Data = list(d)
	r.Exist = list(d)
	r.Child = list(d)
}

func (r *SetWatchesRequest) Append(dst []byte) []byte {
	dst = jute.AppendLong(dst, r.RelativeZxid)
	dst = appendList(dst, r.Data)
	dst = appendList(dst, r.Exist)
	return appendList(dst, r.Child)
}

// A SetWatches2Request adds the persistent watches.
type SetWatches2Request struct {
	SetWatchesRequest
	Persistent          []string
	PersistentRecursive []string
}

func (r *SetWatches2Request) Decode(d *jute.Decoder) {
	r.SetWatchesRequest.Decode(d)
	r.Persistent = list(d)
	r.PersistentRecursive = list(d)
}

func (r *SetWatches2Request) Append(dst []byte) []byte {
	dst = r.SetWatchesRequest.Append(dst)
	dst = appendList(dst, r.Persistent)
	return appendList(dst, r.PersistentRecursive)
}

// list reads a list of watches, which must not be null, nor hold a path that is.
func list(d *jute.Decoder) []string {
	v, null := d.NullableStrings()
	switch {
	case v == nil:
		d.Fail(ErrNullList) // unless it has failed already
	case null:
		d.Fail(ErrNullPath)
		return nil
	}
	return v
}

// appendList appends a list of watches; a nil one is an empty one.
func appendList(dst []byte, v []string) []byte {
	if v == nil {
		return jute.AppendCount(dst, 0)
	}
	return jute.AppendStrings(dst, v)
}

// A SASLToken is both the request and the response record of sasl.
type SASLToken struct{ Token []byte }

func (r *SASLToken) Decode(d *jute.Decoder) { r.Token = d.Buffer() }

func (r *SASLToken) Append(dst []byte) []byte { return jute.AppendBuffer(dst, r.Token) }
