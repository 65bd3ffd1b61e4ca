package bolt

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
)

// Keys of the two buckets with an order. A record's is its depth, then its path:
// so parents come before their children, and the children of a znode stand
// together in the order of their names. An entry's is the length of its table's
// name, the name, its key.
//
// Both begin with a number: one byte, or 0xf0 and four.
const (
	oneByte = 0xf0
	// keyMax is how long a key can be in the file; bbolt takes 32768 bytes. What is
	// longer is cut, and a hash of the rest follows; the rest itself is in the value.
	keyMax  = 30000
	keyLong = keyMax + sha256.Size
)

// Below and above all keys of a tree stands a mark. So whatever is looked for has
// a neighbour on either side, and an end of the tree that was not reached is
// noticed.
var (
	lowMark  = []byte{0x00}
	highMark = []byte{0xff}
)

func appendNumber(dst []byte, n int) []byte {
	if n++; n < oneByte {
		return append(dst, byte(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, oneByte), uint32(n))
}

// numberLen is how many bytes the number at the begin of a key takes.
func numberLen(key []byte) int {
	if len(key) > 0 && key[0] == oneByte {
		return 5
	}
	return 1
}

func appendRecordKey(dst []byte, path string) []byte {
	depth := strings.Count(path, "/")
	if path == "/" {
		depth = 0
	}
	return append(appendNumber(dst, depth), path...)
}

// appendChildKey appends what the keys of all children of path begin with.
func appendChildKey(dst []byte, path string) []byte {
	if path == "/" {
		path = ""
	}
	dst = appendNumber(dst, strings.Count(path, "/")+1)
	return append(append(dst, path...), '/')
}

func appendEntryKey(dst []byte, table, key string) []byte {
	return append(append(appendNumber(dst, len(table)), table...), key...)
}

// inFile is a key as it stands in the file, and what of it is in the value.
func inFile(key []byte) (file, rest []byte) {
	if len(key) <= keyMax {
		return key, nil
	}
	sum := sha256.Sum256(key[keyMax:])
	file = append(make([]byte, 0, keyLong), key[:keyMax]...)
	return append(file, sum[:]...), key[keyMax:]
}

func isLong(file []byte) bool { return len(file) > keyMax }
