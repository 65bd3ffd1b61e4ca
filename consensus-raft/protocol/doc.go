// Package protocol is what a member of a raft ensemble decides. It knows no socket, file,
// clock or goroutine: it is told what happens, with the time, and says what is to be done.
//
// Raft itself is go.etcd.io/raft. Around it, this package makes of raft's entries the
// transactions of ZooKeeper, of raft's states the roles of the contract, and sees to it
// that a server which lost its disk counts for nothing.
//
// # Entries
//
// Each entry is one txn. The first entry of a term is empty, and the zxids of a term count
// from it: the txn behind it is 1. So a zxid says which entry a txn is, together with where
// the terms began, and the log on disk is one of txns, in Apache's format. The leader's
// term is its epoch.
//
// # Frames
//
// Numbers are big-endian. A frame is its length in 4 bytes, which do not count, its kind
// in one, and
//
//	HELLO        version int, from long, voters long                       election port
//	VOTE         a raft message
//	BID          term, nonce, echo long, standing byte, point
//
//	LEAD         version int, from long, voters long, term long            leader to learner
//	HERE         version int, from long, voters long, term long, standing byte
//	NEWER        term long
//	RAFT         a raft message
//	JOIN         index long
//	REQUESTS     count int, each: session long, cxid, op int, count int of identities
//	             (scheme, id), body                          strings and bodies: length int, bytes
//	SYNC         id long
//	SYNCED       id, index long
//	REVALIDATE   session long, timeout int
//	REVALIDATED  session, index long, alive byte
//	TOUCHES      count int, each: session long, timeout int
//	SNAP         point
//	CHUNK        bytes of Apache's snapshot stream, 64 kB at most
//	SNAPDONE
//	INSTALLED    point
//	ALIVE                                          while raft says nothing
//
//	point        index, term, zxid long
//	raft message type, reject byte; term, log term, index, commit, hint long; context: length
//	             int, bytes; count int of entries, each: term long, length int, bytes
//
// A leader connects to each member's quorum port and sends LEAD. The member answers with
// HERE, or with NEWER if it knows of a later term. If it has a log to go on with, raft's
// messages pass from then on, both ways. If not, the leader waits until a majority without
// it has answered a heartbeat that began after HERE, and sends its whole state, as it does
// to one that is too far behind; raft's messages pass after INSTALLED. With JOIN the
// member serves, as soon as it has the entry named.
package protocol
