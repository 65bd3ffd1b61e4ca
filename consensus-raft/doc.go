// Package raft is the consensus module that orders transactions with Raft, on
// go.etcd.io/raft. To a client there is no difference to Zab, nor in the configuration: elections
// go over the election port, everything else over the quorum port. The other servers of the
// ensemble must have it too.
//
// What is to be done is decided in package protocol, which knows no socket, file or
// clock. This package does it:
//
//	loop      owns the protocol's member; all that happens comes to it as an event
//	log       one goroutine that writes, and one that fills the file with zeros ahead
//	node      one goroutine that calls the node, in order
//	election  a connection from each voter to each other one, for votes
//	quorum    the leader's connection to each member; a sender and a reader on each
//
// # On disk
//
// The transactions are in log.* files as under Zab, in dataLogDir/version-2, so what reads
// Apache's logs reads these. What raft must know beside them is in one small file,
// dataDir/version-2/raft, which is replaced whole when a term, a vote or a standing changes:
//
//	zkcore-raft 1
//	standing proven|settling|blank|lost "why"    what this server's log is worth
//	term 7
//	vote 2
//	base 120 4 0x400000013        what the log continues: index, term and zxid
//	start 4 101                   the first entry of term 4 has index 101, and is empty
//	start 7 131
//	pending 400 7 0x700000020     a snapshot is being taken over (may be missing)
//	cut 0x400000017               the log is to be cut behind it (may be missing)
//	alone                         the server had no ensemble when it wrote its log (may be missing)
//	crc 1a2b3c4d                  CRC-32C of all above
//
// The entry with index start+n is the txn with the zxid term<<32|n. So the log holds no
// indexes, and neither terms nor empty entries. The file consensus in both directories says
// raft: no other module writes there.
package raft
