package engine

import (
	"encoding/binary"
	"unsafe"
)

// The store's tables.
const (
	tableSessions   = "sessions"
	tableACLs       = "acls"
	tableEphemerals = "ephemerals"
	tableTTL        = "ttl"
	tableMeta       = "meta"
)

// metaState is the key of the one entry of meta.
const metaState = "state"

// state is what the engine keeps of the tree beside its znodes.
type state struct {
	digest   uint64
	dataSize int64  // of all paths and data
	fuzzy    int64  // up to this zxid the tree may be ahead of the txns: no digest is checked
	nextACL  uint32 // the key of the next list
	hashed   bool   // digest is kept
	extended bool   // there are TTL nodes: Options.ExtendedTypes, by which znodes are told apart
	counted  bool   // the usage of quotas is what an engine has counted
}

const stateSize = 8 + 8 + 8 + 4 + 1

func (s *state) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, s.digest)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.dataSize))
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.fuzzy))
	dst = binary.BigEndian.AppendUint32(dst, s.nextACL)
	flags := byte(0)
	if s.hashed {
		flags |= 1
	}
	if s.extended {
		flags |= 2
	}
	if s.counted {
		flags |= 4
	}
	return append(dst, flags)
}

func (s *state) decode(b []byte) bool {
	if len(b) != stateSize {
		return false
	}
	s.digest = binary.BigEndian.Uint64(b)
	s.dataSize = int64(binary.BigEndian.Uint64(b[8:]))
	s.fuzzy = int64(binary.BigEndian.Uint64(b[16:]))
	s.nextACL = binary.BigEndian.Uint32(b[24:])
	s.hashed, s.extended, s.counted = b[28]&1 != 0, b[28]&2 != 0, b[28]&4 != 0
	return true
}

func sessionKey(id int64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(id))
	return string(b[:])
}

func ephemeralKey(session int64, path string) string {
	b := make([]byte, 8, 8+len(path))
	binary.BigEndian.PutUint64(b, uint64(session))
	b = append(b, path...)
	return unsafe.String(unsafe.SliceData(b), len(b)) // nobody else has b
}

func splitEphemeral(key string) (session int64, path string) {
	return int64(binary.BigEndian.Uint64([]byte(key[:8]))), key[8:]
}

// temporary is b as a string, for a call that looks something up and keeps
// nothing of it.
func temporary(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
