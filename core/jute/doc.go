// Package jute is ZooKeeper's wire encoding: how numbers, strings, buffers and
// vectors stand in a frame, in a txn and in the files under version-2.
//
//	byte, boolean  1 byte; any boolean byte but 0 reads as true
//	int, long      4 and 8 bytes, big-endian, two's complement
//	buffer         int length, then the bytes; length -1 is null
//	ustring        as buffer, UTF-8; the bytes are kept as they came
//	vector         int count, then the elements; count -1 is null
//	record         its fields in order, nothing between or around them
//
// Encoding is a set of append functions; decoding is a [Decoder] over a slice,
// or a [Reader] over a stream. Both keep their first error and return zeros
// after it, so that a record is decoded in one run and checked once at its end.
//
// A length or count in the input is a claim. It is held against the bytes that
// are left, or that arrive, before anything is allocated for it.
//
// Null and empty are different values and survive a round trip: a nil slice is
// null, an empty one that is not nil is empty. Strings can't show the
// difference; who needs it asks for NullableString.
//
// [ACL] and [ID] live here because the client protocol, the quorum protocol and
// the txns all use them. All other records belong to the packages that speak
// them: proto, quorum, txn. Nothing here knows a socket, a file or a frame.
package jute
