package behind

import (
	"encoding/binary"
	"strings"
	"unsafe"
)

// Keys of a layer: a record's is 'r', its depth in four bytes, its path. So parents
// come before their children, and siblings stand together in the order of their
// names. A table's entry has 't', the length of the table's name in four bytes, the
// name, its key.
const keyHead = 5

func depth(path string) int {
	if path == "/" {
		return 0
	}
	return strings.Count(path, "/")
}

func appendHead(dst []byte, kind byte, n int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, kind), uint32(n))
}

func appendRecordKey(dst []byte, path string) []byte {
	return append(appendHead(dst, 'r', depth(path)), path...)
}

// appendChildKey is what the keys of all children of path begin with.
func appendChildKey(dst []byte, path string) []byte {
	if path == "/" {
		path = ""
	}
	dst = appendHead(dst, 'r', strings.Count(path, "/")+1)
	return append(append(dst, path...), '/')
}

func appendEntryKey(dst []byte, table, key string) []byte {
	return append(append(appendHead(dst, 't', len(table)), table...), key...)
}

func isRecord(key string) bool { return key[0] == 'r' }

// pathOf is the path in a record's key.
func pathOf(key string) string { return key[keyHead:] }

// entryOf is what stands in an entry's key.
func entryOf(key string) (table, name string) {
	n := int(binary.BigEndian.Uint32([]byte(key[1:keyHead])))
	return key[keyHead : keyHead+n], key[keyHead+n:]
}

// text is b as a string, for as long as b is not changed.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
