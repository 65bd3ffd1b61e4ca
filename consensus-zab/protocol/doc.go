// Package protocol is Zab and fast leader election without a world around them.
//
// Three machines decide everything that the protocol decides: Election finds
// whom to follow, leader leads, learner follows. A Member holds one of each and
// moves between them; beside them it keeps the History, which is what the machines
// must know of the log. A Member's methods take what happened (a notification, a
// packet, a batch that reached the disk, the time) and note what has to be done;
// Outputs hands that over, and the order of the outputs is the order in which to
// do them:
//
//   - what goes to one connection goes in that order,
//   - what goes to the log goes in that order, each job durable before the next one's
//     completion is reported back,
//   - what goes to the node goes in that order.
//
// Nothing here has a goroutine, a lock, a socket, a file, a clock or a random
// number: the same inputs in the same order make the same outputs. Package zab
// drives a Member on real ones, the tests of this package on simulated ones.
//
// # Where this is stricter than Apache
//
// Only what an established leader has committed is delivered. What is in the log
// above that stays there, and on disk, until a leader with a quorum decides.
//
// An ack counts only after the learner's ack of NEWLEADER on the same connection:
// before that its currentEpoch might lose against a server that never saw the
// proposal. A learner that is gone takes its acks along, since the next sync may
// truncate what it had acked.
//
// Before NEWLEADER a learner gets committed history only; what is outstanding follows
// after it.
//
// A sync is answered after a round of pings that began after it arrived.
package protocol
