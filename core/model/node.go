package model

import (
	"hash/crc32"
	"strings"

	"github.com/zkcore/zkcore/core/jute"
)

// A Kind says when a znode goes by itself.
type Kind string

// The kinds.
const (
	Persistent Kind = ""
	Ephemeral  Kind = "ephemeral"
	Container  Kind = "container"
	TTL        Kind = "ttl"
)

// A Node is a znode.
type Node struct {
	Data                []byte // nil is null
	ACL                 []jute.ACL
	Kind                Kind
	Owner               int64 // of an ephemeral
	TTLMS               int64 // of a TTL node
	Czxid, Mzxid, Pzxid int64
	Ctime, Mtime        int64
	Version, Aversion   int32
	Creates             int32 // children that it ever had
}

// StoredOwner is what snapshots and digests hold as its ephemeralOwner.
func (n *Node) StoredOwner() int64 {
	switch n.Kind {
	case Ephemeral:
		return n.Owner
	case Container:
		return -1 << 63
	case TTL:
		return -1<<56 | n.TTLMS
	}
	return 0
}

// share is its part in the tree digest. What lies below /zookeeper has none.
func (n *Node) share(path string) uint64 {
	if strings.HasPrefix(path, "/zookeeper/") {
		return 0
	}
	if path == "/" {
		path = ""
	}
	b := append([]byte(path), n.Data...)
	for _, v := range []int64{n.Czxid, n.Mzxid, n.Pzxid, n.Ctime, n.Mtime} {
		b = jute.AppendLong(b, v)
	}
	for _, v := range []int32{n.Version, n.Creates, n.Aversion} {
		b = jute.AppendInt(b, v)
	}
	b = jute.AppendLong(b, n.StoredOwner())
	return uint64(crc32.ChecksumIEEE(b))
}
