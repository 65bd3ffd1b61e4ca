// Package node is the world around the engine: it brings requests from the
// client ports to the engine and to the consensus module, and what comes of them
// back.
//
// # The request path
//
//	client ─frame→ take ─ read ──────────────────────→ answer ─→ reply
//	                │
//	                └─ write: check → fifo → queue ─┬ leader:  Prepare → Propose
//	                                                └ learner: Forward → leader's Receive
//	consensus: log, quorum → Deliver → Apply → events, replies
//
// take (take.go) runs on the connection's goroutine, with the node's read lock
// and the connection's lock. A request whose session has nothing unanswered is
// answered at once, behind the replies that are in the connection's buffer
// already. Any other goes to the end of the connection's fifo.
//
// advance (advance.go) puts writes into the queue, in the order of the fifo.
// Whoever finds the queue idle empties it (queue.go): Prepare and Propose on a
// leader, Forward on a learner.
//
// Deliver (deliver.go) applies committed txns under the node's write lock. The
// txn of the write at the head of a session's fifo answers it (sink.go). Reads
// that stand between two writes of a session are answered between their txns.
//
// run (advance.go) answers what has come to the head of the fifo and waits for
// nothing. A connection's buffer is flushed once for all of that.
//
// Everything that a client waits for stays in its fifo until it is answered. When
// the role changes the queue is dropped and, once there is a leader again, filled
// anew from the fifos (role.go): all that the ensemble kept has been delivered by
// then, so what is still unanswered never happened, and happens now, once.
//
// # Locks
//
// In this order: Node.mu, a connection's lock, then any one of watchMu,
// clientsMu, prepMu, trackMu, queue.mu, pace.mu, bucketMu; conn.Server's own is taken within trackMu
// and without any other. Apply runs under Node.mu's write lock, which keeps out
// all who touch the engine. The tables of clients are guarded by that lock, or by
// the read lock and clientsMu. Nothing that waits for the network or the disk is
// done under any of them.
//
// Sessions, snapshots, and what an operator may see of a node are here too. What
// a request means is the engine's business, bytes and sockets are conn's.
package node
