package znode

import "encoding/binary"

// HeadSize is the length of every head.
const HeadSize = statAt + StatSize

// StatSize is the length of a Stat as it is sent.
const StatSize = 68

const (
	aclAt     = 0
	createsAt = 4
	ownerAt   = 8
	statAt    = 16

	czxidAt       = statAt
	mzxidAt       = statAt + 8
	ctimeAt       = statAt + 16
	mtimeAt       = statAt + 24
	versionAt     = statAt + 32
	cversionAt    = statAt + 36
	aversionAt    = statAt + 40
	statOwnerAt   = statAt + 44
	dataLengthAt  = statAt + 52
	numChildrenAt = statAt + 56
	pzxidAt       = statAt + 60
)

// OpenACL is the key of the list {world:anyone, all permissions}.
const OpenACL uint32 = 0xffffffff

// A Head is the head of a record, HeadSize bytes. Its methods read and change it
// where it lies.
type Head []byte

func (h Head) long(at int) int64       { return int64(binary.BigEndian.Uint64(h[at:])) }
func (h Head) int(at int) int32        { return int32(binary.BigEndian.Uint32(h[at:])) }
func (h Head) setLong(at int, v int64) { binary.BigEndian.PutUint64(h[at:], uint64(v)) }
func (h Head) setInt(at int, v int32)  { binary.BigEndian.PutUint32(h[at:], uint32(v)) }

// Stat is the Stat as a reply carries it.
func (h Head) Stat() []byte { return h[statAt:HeadSize:HeadSize] }

// ACL is the key of the access control list.
func (h Head) ACL() uint32 { return uint32(h.int(aclAt)) }

// Creates is the number of children ever created, which is the stored cversion.
func (h Head) Creates() int32 { return h.int(createsAt) }

// Owner is the stored ephemeralOwner; see Kind.
func (h Head) Owner() int64 { return h.long(ownerAt) }

// Czxid and the others are the fields of the Stat.
func (h Head) Czxid() int64       { return h.long(czxidAt) }
func (h Head) Mzxid() int64       { return h.long(mzxidAt) }
func (h Head) Ctime() int64       { return h.long(ctimeAt) }
func (h Head) Mtime() int64       { return h.long(mtimeAt) }
func (h Head) Version() int32     { return h.int(versionAt) }
func (h Head) Cversion() int32    { return h.int(cversionAt) }
func (h Head) Aversion() int32    { return h.int(aversionAt) }
func (h Head) DataLength() int32  { return h.int(dataLengthAt) }
func (h Head) NumChildren() int32 { return h.int(numChildrenAt) }
func (h Head) Pzxid() int64       { return h.long(pzxidAt) }

// SetACL sets the key of the access control list.
func (h Head) SetACL(key uint32) { h.setInt(aclAt, int32(key)) }

// SetOwner sets the stored owner, and the one that is reported.
func (h Head) SetOwner(owner int64, extended bool) {
	h.setLong(ownerAt, owner)
	if KindOf(owner, extended) != Ephemeral {
		owner = 0
	}
	h.setLong(statOwnerAt, owner)
}

// SetCreated sets czxid and ctime.
func (h Head) SetCreated(zxid, timeMS int64) {
	h.setLong(czxidAt, zxid)
	h.setLong(ctimeAt, timeMS)
}

// SetModified sets mzxid and mtime.
func (h Head) SetModified(zxid, timeMS int64) {
	h.setLong(mzxidAt, zxid)
	h.setLong(mtimeAt, timeMS)
}

// SetVersion sets the version of the data.
func (h Head) SetVersion(v int32) { h.setInt(versionAt, v) }

// SetAversion sets the version of the ACL.
func (h Head) SetAversion(v int32) { h.setInt(aversionAt, v) }

// SetPzxid sets pzxid.
func (h Head) SetPzxid(zxid int64) { h.setLong(pzxidAt, zxid) }

// SetDataLength sets the length of the data.
func (h Head) SetDataLength(n int) { h.setInt(dataLengthAt, int32(n)) }

// SetChildren sets how many children were created and how many there are.
func (h Head) SetChildren(creates, num int32) {
	h.setInt(createsAt, creates)
	h.setInt(numChildrenAt, num)
	h.setInt(cversionAt, 2*creates-num)
}

// Init makes h the head of a znode that a txn has just created.
func (h Head) Init(zxid, timeMS int64, dataLen int, owner int64, acl uint32, extended bool) {
	clear(h)
	h.SetACL(acl)
	h.SetOwner(owner, extended)
	h.SetCreated(zxid, timeMS)
	h.SetModified(zxid, timeMS)
	h.SetPzxid(zxid)
	h.SetDataLength(dataLen)
}

// NextVersion is the version after v: one more, but never -1, which in a request
// means any.
func NextVersion(v int32) int32 {
	if v++; v == -1 {
		return 0
	}
	return v
}
