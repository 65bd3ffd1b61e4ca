package znode

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
)

// Digest is a znode's share of the tree digest, version 2: the CRC-32 of its
// path, its data and its stat in an order of its own. The tree digest is the sum
// of all shares. What lies below /zookeeper has none, as it is not the same on
// all servers; path "/" counts as "".
func Digest(path string, h Head, data []byte) uint64 {
	if !InDigest(path) {
		return 0
	}
	// The path goes in from a buffer: a conversion would allocate.
	var buf [digestBuf]byte
	n := 0
	crc := uint32(0)
	if path != "/" {
		if len(path) > len(buf)-digestStat {
			crc = crc32.ChecksumIEEE([]byte(path))
		} else {
			n = copy(buf[:], path)
		}
	}
	if n+len(data) <= len(buf)-digestStat {
		n += copy(buf[n:], data)
	} else {
		crc = crc32.Update(crc, crc32.IEEETable, buf[:n])
		crc = crc32.Update(crc, crc32.IEEETable, data)
		n = 0
	}
	b := buf[n : n+digestStat]
	copy(b[0:16], h[czxidAt:czxidAt+16])  // czxid, mzxid
	copy(b[16:24], h[pzxidAt:pzxidAt+8])  // pzxid
	copy(b[24:40], h[ctimeAt:ctimeAt+16]) // ctime, mtime
	copy(b[40:44], h[versionAt:versionAt+4])
	binary.BigEndian.PutUint32(b[44:], uint32(h.Creates()))
	copy(b[48:52], h[aversionAt:aversionAt+4])
	binary.BigEndian.PutUint64(b[52:], uint64(h.Owner()))
	return uint64(crc32.Update(crc, crc32.IEEETable, buf[:n+digestStat]))
}

const (
	digestStat = 60
	digestBuf  = 256
)

// InDigest says whether the znode at path counts in the tree digest.
func InDigest(path string) bool { return !strings.HasPrefix(path, "/zookeeper/") }
