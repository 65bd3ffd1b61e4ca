// Package txnlog is the files of a data directory, in Apache ZooKeeper's
// formats: the transaction log, the snapshots, the epoch files and the rules
// about which of them may be where. A directory of Apache's can be opened here
// and the other way round.
//
// It owns bytes and their durability. What a transaction means is package txn's
// and znode's business; who may write when is the consensus module's. There are
// no goroutines here, no clock and no logging: what happened is returned.
//
// # Names
//
//	log.<hex>              transactions; hex is the zxid of the first one
//	snapshot.<hex>         the state; hex is the last zxid that it surely holds
//	snapshot.<hex>.gz      the same, compressed; also .snappy, which is only read
//	acceptedEpoch          decimal number
//	currentEpoch           decimal number
//	tmp.snapshot.<hex>…    being written
//	torn.log.<hex>.<off>   what was cut from a log's end at a start, for an operator's eyes
//	segments               which files the log has, a name a line; in dataDir
//
// The last three are ours. Apache's servers ignore them, because it takes "log" or
// "snapshot" before the first dot to make a file one of theirs.
//
// # Log
//
// All numbers are big-endian.
//
//	header   magic int "ZKLG", version int 2, dbid long
//	record   checksum long, length int, body, 'B'
//	…
//	mark     synced long, int 0, magic int, offset long, checksum int     (ours; optional)
//	padding  zeros
//
// The checksum is the Adler-32 of the body, and nothing but the body. A record's
// body is what package txn encodes: header, transaction and digest. A length of
// zero ends the file for every reader, Apache's too, so what follows it is free
// for use. We put a mark there, behind the last record of each write, and the
// next write covers it:
//
//	synced    all of the file before this offset was on the disk when the mark was written
//	magic     "zkcm"
//	offset    the mark's own
//	checksum  CRC-32C of the file's first zxid (by name, as long) and the mark so far
//
// The dbid, zero in Apache's files and read by nobody, is "zkcore" and two zero
// bytes in a file whose writes end in marks.
//
// A mark tells damage from a torn write. A power cut leaves any part of what was
// not synced yet, in any order, so that good records may follow a hole. Without
// further knowledge that can't be told from a synced record gone bad in front of
// others, which must never be skipped. With the mark it can: damage below an
// offset that some mark vouches for is damage; above it, it is a write that was
// never acknowledged. In a file without marks everything that has a good record
// behind it counts as acknowledged.
//
// A file is synced, with its name, before its first record is written, and synced
// to its end before the next file is begun. So only the last file can be torn.
//
// # List
//
// A file that is missing between two others is no hole in the zxids if an epoch
// begins behind it. So the list segments, beside the snapshots, names all files. It is
// replaced when a file is begun, before the first record is in it, and before one is
// removed.
//
// # Start
//
// [OpenLog] reads from the snapshot's zxid on and wants every zxid of an epoch,
// beginning with 1, in order. Records that repeat earlier zxids are passed over,
// as Apache does. A torn end of the last file is cut and a copy of it kept.
// Anything else is a [Damage]. What was read and may not be on the disk, because
// a sync may have failed in the life before and left it in the page cache only,
// is written again and synced before OpenLog returns.
//
// # Snapshot
//
//	header     magic int "ZKSN", version int 2, dbid long -1
//	sessions   count int; each: id long, timeout int (ms)
//	ACLs       count int; each: key long, vector of ACL
//	nodes      each: path ustring, data buffer, ACL key long, stat; parents first, "" is the root
//	           ustring "/"
//	seal       checksum long, ustring "/"
//	digest     zxid long, version int, digest long; seal     (may be missing)
//	last zxid  zxid long; seal                               (may be missing; without a digest
//	           only Apache's servers with digest.enabled=false write it)
//
//	stat       czxid, mzxid, ctime, mtime long; version, cversion, aversion int;
//	           ephemeralOwner, pzxid long
//
// The checksum is the Adler-32 of all bytes before it, seals included, of the
// uncompressed stream. The stream that follows a SNAP packet is the same from
// sessions to the "/" after the nodes; then comes the ustring "BenWasHere" and
// nothing else.
//
// A snapshot is written under a temporary name, synced, renamed, and the
// directory synced: one that has its name is whole.
//
// # Epochs
//
// A decimal number in ASCII without an end of line, replaced by way of
// <name>.tmp. [OpenEpochs] has the rules for a start.
package txnlog
