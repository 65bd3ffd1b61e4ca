// Package zab is the consensus module that speaks Apache ZooKeeper's own
// protocols: fast leader election on the election port, Zab on the quorum port, its
// log and its epochs on disk. A node with it and a node of Apache's can be in one
// ensemble, each in any role.
//
// What is to be done is decided in package protocol, which knows no socket, file or
// clock. This package does it:
//
//	loop      owns the protocol's machines; all that happens comes to it as an event
//	log       one goroutine that writes, and one that fills the file with zeros ahead
//	node      one goroutine that calls the node, in order
//	election  a connection for each pair of servers, a sender and a reader on each
//	quorum    the leader's listener, or the connection to the leader; a sender and a
//	          reader on each
//
// Everything between them is a queue with a bound; who does not empty it loses its
// connection. A server alone needs the log and the node only: standalone.go.
package zab
