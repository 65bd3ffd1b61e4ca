// Package recorded has the bytes that were exchanged with running servers of Apache ZooKeeper, 3.8.0 and 3.9.5, and
// holds other servers against them.
//
// An [Exchange] is what a client sent and all that came back for it. A [Replay] sends the same to another server, on
// as many connections as there were, and compares what comes, byte by byte, but for what is another at every run:
// session ids, passwords, zxids and times, and names that Apache takes out of a hash table. Of zxids it checks that
// they come in the same order. Where zkcore answers in another way on purpose there is a [Difference], with the row of
// docs/compatibility.md that says so.
//
// Only tests import it: those of the engine, the model and the node, and the conformance suite, which replays to
// whole servers and to Apache's own.
package recorded
