package proto

import (
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/zkerr"
)

// ACL and ID are shared with the txns.
type (
	ACL = jute.ACL
	ID  = jute.ID
)

// Permission bits of an ACL.
const (
	PermRead   = jute.PermRead
	PermWrite  = jute.PermWrite
	PermCreate = jute.PermCreate
	PermDelete = jute.PermDelete
	PermAdmin  = jute.PermAdmin
	PermAll    = jute.PermAll
)

// A Record is anything that this package encodes and decodes. Decode overwrites
// the whole record; its error is the decoder's.
type Record interface {
	Decode(d *jute.Decoder)
	Append(dst []byte) []byte
}

// Unmarshal decodes r from b. Byte slices in r alias b.
func Unmarshal(b []byte, r Record) error {
	d := jute.NewDecoder(b)
	r.Decode(&d)
	return d.Err()
}

// An InvalidError says that a record is complete and makes no sense. To a client
// it is a marshalling error.
type InvalidError string

func (e InvalidError) Error() string { return "proto: " + string(e) }

// ZKCode returns the code that the client gets.
func (InvalidError) ZKCode() int32 { return int32(zkerr.MarshallingError) }

// Is makes errors.Is find the protocol's code in e.
func (e InvalidError) Is(target error) bool {
	return target == zkerr.MarshallingError || target == error(e)
}

// Reasons to refuse a record.
const (
	ErrNullPath    InvalidError = "path is null"
	ErrNullList    InvalidError = "list of watches is null"
	ErrWatcherType InvalidError = "unknown type of watcher"
	ErrWatchMode   InvalidError = "unknown mode of addWatch"
	ErrMultiOp     InvalidError = "operation can't stand in this multi"
	ErrNullACL     InvalidError = "ACL is null"
	ErrMultiFlag   InvalidError = "create flags can't stand in this multi"
)

// path reads a path, which must not be null.
func path(d *jute.Decoder) string {
	b, null := d.StringBytes()
	if null {
		d.Fail(ErrNullPath)
	}
	return string(b)
}

// A RequestHeader stands in front of each request.
type RequestHeader struct {
	Xid int32
	Op  Op
}

// RequestHeaderSize is the encoded size of a RequestHeader.
const RequestHeaderSize = 4 + 4

func (r *RequestHeader) Decode(d *jute.Decoder) {
	r.Xid = d.Int()
	r.Op = Op(d.Int())
}

func (r *RequestHeader) Append(dst []byte) []byte {
	dst = jute.AppendInt(dst, r.Xid)
	return jute.AppendInt(dst, int32(r.Op))
}

// A ReplyHeader stands in front of each reply and of each event.
type ReplyHeader struct {
	Xid  int32
	Zxid int64
	Err  zkerr.Code
}

// ReplyHeaderSize is the encoded size of a ReplyHeader.
const ReplyHeaderSize = 4 + 8 + 4

func (r *ReplyHeader) Decode(d *jute.Decoder) {
	r.Xid = d.Int()
	r.Zxid = d.Long()
	r.Err = zkerr.Code(d.Int())
}

func (r *ReplyHeader) Append(dst []byte) []byte {
	return AppendReplyHeader(dst, r.Xid, r.Zxid, r.Err)
}

// AppendReplyHeader appends a reply header.
func AppendReplyHeader(dst []byte, xid int32, zxid int64, err zkerr.Code) []byte {
	dst = jute.AppendInt(dst, xid)
	dst = jute.AppendLong(dst, zxid)
	return jute.AppendInt(dst, int32(err))
}

// A Stat is what a client sees of a znode beside its data.
type Stat struct {
	Czxid          int64
	Mzxid          int64
	Ctime          int64 // ms since 1970
	Mtime          int64
	Version        int32
	Cversion       int32
	Aversion       int32
	EphemeralOwner int64
	DataLength     int32
	NumChildren    int32
	Pzxid          int64
}

// StatSize is the encoded size of a Stat.
const StatSize = 68

func (r *Stat) Decode(d *jute.Decoder) {
	r.Czxid = d.Long()
	r.Mzxid = d.Long()
	r.Ctime = d.Long()
	r.Mtime = d.Long()
	r.Version = d.Int()
	r.Cversion = d.Int()
	r.Aversion = d.Int()
	r.EphemeralOwner = d.Long()
	r.DataLength = d.Int()
	r.NumChildren = d.Int()
	r.Pzxid = d.Long()
}

func (r *Stat) Append(dst []byte) []byte {
	dst = jute.AppendLong(dst, r.Czxid)
	dst = jute.AppendLong(dst, r.Mzxid)
	dst = jute.AppendLong(dst, r.Ctime)
	dst = jute.AppendLong(dst, r.Mtime)
	dst = jute.AppendInt(dst, r.Version)
	dst = jute.AppendInt(dst, r.Cversion)
	dst = jute.AppendInt(dst, r.Aversion)
	dst = jute.AppendLong(dst, r.EphemeralOwner)
	dst = jute.AppendInt(dst, r.DataLength)
	dst = jute.AppendInt(dst, r.NumChildren)
	return jute.AppendLong(dst, r.Pzxid)
}

// A ClientInfo is an identity of a connection, as whoAmI shows it.
type ClientInfo struct {
	AuthScheme string
	User       string
}

// A WatcherEvent follows a reply header with XidNotification.
type WatcherEvent struct {
	Type  EventType
	State KeeperState
	Path  string
}

func (r *WatcherEvent) Decode(d *jute.Decoder) {
	r.Type = EventType(d.Int())
	r.State = KeeperState(d.Int())
	r.Path = d.String()
}

func (r *WatcherEvent) Append(dst []byte) []byte {
	dst = jute.AppendInt(dst, int32(r.Type))
	dst = jute.AppendInt(dst, int32(r.State))
	return jute.AppendString(dst, r.Path)
}
