// Package engine is what a coordination server does, without a world around it:
// it makes transactions of requests (Prepare), changes the state by them (Apply)
// and answers what only looks (Read).
//
// A Txn carries all that its effect depends on: its zxid, the leader's time and
// the leader's decisions. Apply reads nothing else, so the same txns in the same
// order make the same state on every node, at a restart, and in the simulator.
// Prepare checks a request against the state as it will be when all that was
// prepared before has been applied; what it refuses becomes an error txn with a
// zxid of its own, for zxids have no holes.
//
// The state is in a store: the znodes as records (package znode has their
// layout), and a few tables:
//
//	sessions    session (8 bytes) → timeout in ms (4 bytes)
//	acls        key (4 bytes) → number of znodes that have it (8 bytes), the list
//	ephemerals  session (8 bytes), path → nothing
//	ttl         path → nothing: containers and TTL nodes
//	meta        "state" → zxid, tree digest, counters
//
// Sessions and lists are in memory too. Watches are in memory only.
//
// Nothing here has a lock, a goroutine, a clock or a socket: they are the
// node's. Apply, Open, Lead and StopLeading run alone. Prepare and the methods
// that only read may run together, but Prepare not beside itself; and what
// touches watches (Read where SetsWatch says so, DropWatcher and DropWatches, Watches) not
// beside each other.
package engine
