package jute

import "encoding/binary"

// AppendByte appends one byte.
func AppendByte(dst []byte, v byte) []byte { return append(dst, v) }

// AppendBool appends a boolean as 0 or 1.
func AppendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// AppendInt appends an int.
func AppendInt(dst []byte, v int32) []byte { return binary.BigEndian.AppendUint32(dst, uint32(v)) }

// AppendLong appends a long.
func AppendLong(dst []byte, v int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(v)) }

// AppendNull appends the length or count of a null buffer, string or vector.
func AppendNull(dst []byte) []byte { return append(dst, 0xff, 0xff, 0xff, 0xff) }

// AppendBuffer appends a buffer; a nil one as null.
func AppendBuffer(dst, v []byte) []byte {
	if v == nil {
		return AppendNull(dst)
	}
	return append(AppendInt(dst, int32(len(v))), v...)
}

// AppendString appends a string; "" is written as empty, not as null.
func AppendString(dst []byte, v string) []byte {
	return append(AppendInt(dst, int32(len(v))), v...)
}

// AppendNullString appends a null string.
func AppendNullString(dst []byte) []byte { return AppendNull(dst) }

// AppendNullableString appends a string, or null in its place.
func AppendNullableString(dst []byte, v string, null bool) []byte {
	if null {
		return AppendNull(dst)
	}
	return AppendString(dst, v)
}

// AppendCount appends the count of a vector; -1 stands for a null one.
func AppendCount(dst []byte, n int) []byte { return AppendInt(dst, int32(n)) }

// AppendStrings appends a vector of strings; a nil one as null.
func AppendStrings(dst []byte, v []string) []byte {
	if v == nil {
		return AppendNull(dst)
	}
	dst = AppendCount(dst, len(v))
	for _, s := range v {
		dst = AppendString(dst, s)
	}
	return dst
}
