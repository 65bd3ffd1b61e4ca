// Package node is the world around the engine: it brings requests from the
// client ports to the engine and to the consensus module, and what comes of them
// back.
//
// # The request path
//
//		client ─frame→ take ─ read ──────────────────────→ answer ─→ reply
//		                 │
//		                 └─ write: check → fifo → queue ─┬ leader:  Prepare → Propose
//		                                                 └ learner: Forward → leader's Receive
//		consensus: log, quorum → Deliver → Apply → events, replies
//
//	  - take (client.go) runs on the connection's goroutine with the node's read
//	    lock and the connection's lock. A request whose session has nothing
//	    unanswered is answered at once, behind the replies that are already in the
//	    connection's buffer. Any other goes to the end of the connection's fifo.
//	  - advance (client.go) puts writes into the queue (queue.go), in the order of
//	    the fifo. Whoever finds the queue idle empties it: Prepare and Propose on a
//	    leader, Forward on a learner.
//	  - Deliver (deliver.go) applies committed txns under the node's write lock. The
//	    txn of the write at the head of a session's fifo answers it. Reads that
//	    stand between two writes of a session are answered between their txns.
//	  - run (client.go) answers what has come to the head of the fifo and waits for
//	    nothing. The connection's buffer is flushed once for all of it.
//
// Everything a client waits for stays in its fifo until it is answered. When the
// role changes the queue is dropped and, once there is a leader again, filled
// anew from the fifos (role.go): all that the ensemble kept has been delivered by
// then, so what is still unanswered never happened, and happens now once.
//
// # Locks
//
// In this order: Node.mu, a connection's lock, then any of watchMu, clientsMu,
// prepMu, trackMu, queue.mu, none of which is held while another is taken. Apply
// runs under Node.mu's write lock, which keeps out all who touch the engine. The
// tables of clients are guarded by that lock, or the read lock and clientsMu.
// Nothing that waits for the network or the disk is done under any of them.
//
// Sessions, snapshots, and what an operator may see of a node are here too. What
// a request means is the engine's business, bytes and sockets are conn's.
package node
