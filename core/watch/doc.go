// Package watch knows who waits for what: a table of watchers by path, and which
// of them a change owes an event.
//
// A watcher is a connection, by its number. Standard watches are used up by the
// event they wait for; persistent ones stay; recursive ones stay too, stand for
// a path and all below it, and never hear that children changed.
//
// Whether a watcher may know of the change (its identities against the znode's
// ACL), and how the event reaches it, is the engine's and the node's business.
package watch
