// Package process runs a module as a process of its own: Storage and Consensus are an Open
// like any other for the node, ServeStorage and ServeConsensus make a program out of an Open.
//
//	func main() { process.ServeStorage(bolt.Open) }     // the module
//	open := process.Storage(process.Config{Path: …})    // the node
//
// # The boundary
//
// The process is started, and its connection made and secured, by hashicorp/go-plugin: gRPC
// over a socket in a directory that only this user can enter, with certificates made for
// this one connection. modulepb says what crosses. Whatever comes from a module is checked
// like what comes from a client: lengths are claims, and what can't be decoded ends the
// module.
//
// Errors cross as what they are (errors.go): errors.Is and exit codes hold on the other side.
// Log lines cross on stderr with their level and attributes (log.go), metrics with the
// member's stream. The node's environment is not handed down.
//
// # Storage
//
// A store's changes are calls, one at a time. With each comes the view of the state after it,
// pinned on the other side, so that taking a view costs nothing and reading one is a call.
// That is what plugins/storage/behind is for: put in front, it makes most reads local and a
// commit a matter of memory.
//
// # Consensus
//
// One line carries all that is asked in either direction, in order, many frames to a
// message (frames.go): sockets that the process inherits, or a stream of gRPC where there are
// none (line.go). Who has a frame sends it, and never waits for the other side (outbox.go).
// The node's stub decides by the role that it passed last whether a call is one of its term,
// so that no call waits for the other process; calls of the node are made here one at a time,
// in their order. What a leader's node has proposed is not sent back to it: Deliver says how
// many. A Deliver that blocks is felt on the other side when a window of bytes is full.
//
// # When it goes wrong
//
// A process that ends, that does not answer for Config.Timeout, or answers what nobody can
// read, is killed by its handle and waited for; every call returns a Died from then on. It
// is never started again behind a node that runs: what it did last nobody knows. Config.OnDeath
// is told first, so that the node can be stopped before it answers anybody, and begun anew
// from what is on disk. A module ends when its node does, however that ends: its stdin is
// closed then, and on Linux it gets a signal.
package process
