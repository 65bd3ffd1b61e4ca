package znode

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"unsafe"
)

// A Hasher computes znodes' shares of the tree digest, version 2. The share is
// the CRC-32 of a znode's path ("" for the root), its data, and its stat in an
// order of its own; the digest is the sum of all shares. What lies below
// /zookeeper has none, since it is not the same on all servers.
//
// Many changes leave path and data alone, so the sum over those can be taken as a
// step of its own. The zero Hasher is ready; it is there to hold a buffer.
type Hasher struct{ buf [1024]byte }

const statBytes = 60

// InDigest says whether the znode at path counts in the tree digest.
func InDigest(path string) bool { return !strings.HasPrefix(path, "/zookeeper/") }

// Content is the part of a share that path and data make.
func (*Hasher) Content(path string, data []byte) uint32 {
	crc := uint32(0)
	if path != Root {
		// Not a conversion, which would copy: crc32 only reads.
		crc = crc32.ChecksumIEEE(unsafe.Slice(unsafe.StringData(path), len(path)))
	}
	return crc32.Update(crc, crc32.IEEETable, data)
}

// Share is the whole share of a znode whose path and data make content.
func (d *Hasher) Share(content uint32, h Head) uint64 {
	d.stat(0, h)
	return uint64(crc32.Update(content, crc32.IEEETable, d.buf[:statBytes]))
}

// stat writes the stat into the buffer, in the order of the digest.
func (d *Hasher) stat(at int, h Head) {
	b := d.buf[at : at+statBytes]
	copy(b[0:16], h[czxidAt:czxidAt+16])  // czxid, mzxid
	copy(b[16:24], h[pzxidAt:pzxidAt+8])  // pzxid
	copy(b[24:40], h[ctimeAt:ctimeAt+16]) // ctime, mtime
	copy(b[40:44], h[versionAt:versionAt+4])
	copy(b[44:48], h[createsAt:createsAt+4]) // the stored cversion
	copy(b[48:52], h[aversionAt:aversionAt+4])
	binary.BigEndian.PutUint64(b[52:], uint64(h.Owner()))
}

// Whole is the share of a znode that counts. In one run over one buffer it takes
// half the time of its two steps.
func (d *Hasher) Whole(path string, h Head, data []byte) uint64 {
	if len(path)+len(data) > len(d.buf)-statBytes {
		return d.Share(d.Content(path, data), h)
	}
	n := 0
	if path != Root {
		n = copy(d.buf[:], path)
	}
	n += copy(d.buf[n:], data)
	d.stat(n, h)
	return uint64(crc32.ChecksumIEEE(d.buf[:n+statBytes]))
}

// Digest is the share of the znode at path, 0 if it does not count.
func (d *Hasher) Digest(path string, h Head, data []byte) uint64 {
	if !InDigest(path) {
		return 0
	}
	return d.Whole(path, h, data)
}
