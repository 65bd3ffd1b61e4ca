// Package member is what a consensus module has around its protocol, whichever that is: a
// journal that writes the log and syncs together what waits, a caller that calls the node
// in order, a gauge that knows of a full disk before a write finds out, a logger that is not
// flooded, and the member of a server without an ensemble.
//
// Nothing here knows of peers, votes or terms: that is the module's. A journal and a caller run
// on goroutines of their own, or are driven one step at a time by a simulator, with the same code.
package member
