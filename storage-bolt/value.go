package bolt

import (
	"encoding/binary"
	"hash/crc32"
)

// Every value begins with a CRC-32C of its key in the file and of what follows:
//
//	crc 4 bytes
//	rest: uvarint length, bytes      only if the key is a long one
//
// Then, for a record:
//
//	flags 1 byte
//	head: uvarint length, bytes
//	data: the bytes, or, if it is out of line, uvarint length and CRC-32C (4 bytes)
//
// and for an entry of a table or data out of line: the bytes. Numbers are
// big-endian.
const (
	flagNil = 1 << iota // the data is nil
	flagOut             // the data is in the bucket of its own, under the same key

	// inlineMax is how much data stands beside its head: a parent's head changes
	// with each child, and what is beside it is written anew with it.
	inlineMax = 1024
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealed puts the checksum into value, whose first four bytes are kept for it.
func sealed(key, value []byte) []byte {
	binary.BigEndian.PutUint32(value, checksum(key, value[4:]))
	return value
}

func checksum(key, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, body)
}

// begin is the begin of a value.
func begin(rest []byte, size int) []byte {
	value := make([]byte, 4, 4+size+len(rest)+16)
	if rest != nil {
		value = appendBytes(value, rest)
	}
	return value
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// cut takes a length and as many bytes off b.
func cut(b []byte) (part, left []byte, ok bool) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, nil, false
	}
	return b[used : used+int(n)], b[used+int(n):], true
}

// unseal checks a value, and returns what is behind the checksum and the rest of
// the key.
func unseal(key, value []byte) (body, rest []byte, ok bool) {
	if len(value) < 4 || binary.BigEndian.Uint32(value) != checksum(key, value[4:]) {
		return nil, nil, false
	}
	body = value[4:]
	if isLong(key) {
		if rest, body, ok = cut(body); !ok {
			return nil, nil, false
		}
	}
	return body, rest, true
}

// A record is the value of one, in parts.
type record struct {
	flags byte
	head  []byte
	data  []byte // unless it is out of line
	size  int    // of the data out of line
	crc   uint32 // and its checksum
}

func parseRecord(body []byte) (r record, ok bool) {
	if len(body) < 1 {
		return r, false
	}
	r.flags = body[0]
	if r.head, r.data, ok = cut(body[1:]); !ok {
		return r, false
	}
	switch {
	case r.flags&flagOut != 0:
		n, used := binary.Uvarint(r.data)
		if used <= 0 || len(r.data) != used+4 {
			return r, false
		}
		r.size, r.crc = int(n), binary.BigEndian.Uint32(r.data[used:])
		r.data = nil
	case r.flags&flagNil != 0:
		ok = len(r.data) == 0
		r.data = nil
	}
	return r, ok
}

// appendRecord appends what parseRecord takes apart.
func appendRecord(dst []byte, r *record) []byte {
	dst = append(dst, r.flags)
	dst = appendBytes(dst, r.head)
	if r.flags&flagOut != 0 {
		dst = binary.AppendUvarint(dst, uint64(r.size))
		return binary.BigEndian.AppendUint32(dst, r.crc)
	}
	return append(dst, r.data...)
}

// newRecord is the record of a put. The data out of line, if it is, is to be put
// beside it.
func newRecord(head, data []byte) record {
	r := record{head: head, data: data}
	switch {
	case data == nil:
		r.flags = flagNil
	case len(data) > inlineMax:
		r.flags, r.data = flagOut, nil
		r.size, r.crc = len(data), crc32.Checksum(data, castagnoli)
	}
	return r
}
