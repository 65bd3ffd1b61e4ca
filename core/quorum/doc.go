// Package quorum holds what ZooKeeper's servers say to each other: the packets
// of the quorum port, the messages of the election port, and the text of the
// configuration that both carry.
//
// Quorum port: a stream of packets without a length around them,
//
//	type int, zxid long, data buffer, authinfo vector of {scheme, id ustring}
//
// where the type says what is in data:
//
//	FOLLOWERINFO, OBSERVERINFO  serverid long, protocolVersion int, configVersion long
//	LEADERINFO                  protocolVersion int
//	ACKEPOCH                    currentEpoch int, or -1
//	NEWLEADER                   configuration text
//	PROPOSAL, INFORM            a txn, as package txn has it
//	COMMITANDACTIVATE           designated leader long
//	INFORMANDACTIVATE           designated leader long, a txn
//	REQUEST                     sessionId long, cxid int, opcode int, the request record
//	REVALIDATE                  sessionId long, timeout int; back: sessionId long, valid bool
//	PING                        from a learner: {sessionId long, timeout int} to the end
//	others                      null
//
// Election port: an initial message, then notifications, each behind an int
// length; see [InitialMessage] and [Notification].
//
// Who sends what when is Zab's business and lives in its module; the stream that
// follows a SNAP packet is the snapshot format of package txnlog.
package quorum
