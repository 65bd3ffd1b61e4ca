package txn

import (
	"encoding/binary"

	"github.com/zkcore/zkcore/core/jute"
)

// Append appends the encoded txn, with its digest if it has one. A type that
// can't be logged is a broken invariant of the caller, and panics.
func Append(dst []byte, t *Txn) []byte {
	dst = AppendHeader(dst, &t.Header)
	dst = AppendBody(dst, t)
	if t.HasDigest {
		dst = AppendDigest(dst, t.Digest)
	}
	return dst
}

// AppendHeader appends a header.
func AppendHeader(dst []byte, h *Header) []byte {
	dst = jute.AppendLong(dst, h.ClientID)
	dst = jute.AppendInt(dst, h.Cxid)
	dst = jute.AppendLong(dst, h.Zxid)
	dst = jute.AppendLong(dst, h.Time)
	return jute.AppendInt(dst, h.Type)
}

// AppendDigest appends a digest.
func AppendDigest(dst []byte, g Digest) []byte {
	dst = jute.AppendInt(dst, g.Version)
	return jute.AppendLong(dst, int64(g.Tree))
}

// AppendBody appends the record of t without header and digest.
func AppendBody(dst []byte, t *Txn) []byte {
	switch t.Header.Type {
	case TypeMulti:
		if t.Subs == nil {
			return jute.AppendNull(dst)
		}
		dst = jute.AppendCount(dst, len(t.Subs))
		for i := range t.Subs {
			s := &t.Subs[i]
			dst = jute.AppendInt(dst, s.Type)
			if !inMulti(s.Type) {
				dst = jute.AppendBuffer(dst, s.Raw)
				continue
			}
			// The length stands before the record and is known behind it.
			at := len(dst)
			dst = jute.AppendInt(dst, 0)
			dst = appendBody(dst, s.Type, &s.Body)
			binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
		}
		return dst
	case TypeCloseSession:
		if t.NoPaths {
			return dst
		}
		return jute.AppendStrings(dst, t.Paths)
	case TypeCheck:
		panic(UnknownTypeError(TypeCheck))
	}
	return appendBody(dst, t.Header.Type, &t.Body)
}

func appendBody(dst []byte, typ int32, b *Body) []byte {
	switch typ {
	case TypeCreate, TypeCreate2:
		dst = jute.AppendString(dst, b.Path)
		dst = jute.AppendBuffer(dst, b.Data)
		dst = jute.AppendACLs(dst, b.ACL)
		dst = jute.AppendBool(dst, b.Ephemeral)
		if b.NoParentCVersion {
			return dst
		}
		return jute.AppendInt(dst, b.ParentCVersion)
	case TypeDelete, TypeDeleteContainer:
		return jute.AppendString(dst, b.Path)
	case TypeSetData, TypeReconfig:
		dst = jute.AppendString(dst, b.Path)
		dst = jute.AppendBuffer(dst, b.Data)
		return jute.AppendInt(dst, b.Version)
	case TypeSetACL:
		dst = jute.AppendString(dst, b.Path)
		dst = jute.AppendACLs(dst, b.ACL)
		return jute.AppendInt(dst, b.Version)
	case TypeCheck:
		dst = jute.AppendString(dst, b.Path)
		return jute.AppendInt(dst, b.Version)
	case TypeCreateContainer:
		dst = jute.AppendString(dst, b.Path)
		dst = jute.AppendBuffer(dst, b.Data)
		dst = jute.AppendACLs(dst, b.ACL)
		return jute.AppendInt(dst, b.ParentCVersion)
	case TypeCreateTTL:
		dst = jute.AppendString(dst, b.Path)
		dst = jute.AppendBuffer(dst, b.Data)
		dst = jute.AppendACLs(dst, b.ACL)
		dst = jute.AppendInt(dst, b.ParentCVersion)
		return jute.AppendLong(dst, b.TTL)
	case TypeError:
		return jute.AppendInt(dst, b.Err)
	case TypeCreateSession:
		return jute.AppendInt(dst, b.TimeoutMS)
	}
	panic(UnknownTypeError(typ))
}
