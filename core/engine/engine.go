package engine

import (
	"github.com/zkcore/zkcore/core/watch"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// Options are what an engine is made with.
type Options struct {
	// Extended is zookeeper.extendedTypesEnabled: there are TTL nodes.
	ExtendedTypes bool
	// SkipACL is zookeeper.skipACL: no permission is checked.
	SkipACL bool
	// NoDigest is the opposite of zookeeper.digest.enabled: txns carry no tree
	// digest, and none is kept.
	NoDigest bool
	// SuperDigest is zookeeper.DigestAuthenticationProvider.superDigest.
	SuperDigest string
	// NoDigestAuth switches the scheme digest off.
	NoDigestAuth bool
	// MaxTxnBytes bounds a txn: jute.maxbuffer and its extrasize together, which
	// is what a peer, and whoever reads the log, takes. 0 means 2 MiB - 2.
	MaxTxnBytes int
	// MaxReplyBytes bounds the reply to a multiRead, the one that may be many times
	// its request. 0 means 64 MiB.
	MaxReplyBytes int
	// ConfigText is what /zookeeper/config holds: "" standalone. ConfigVersion and
	// ConfigTimeMS are its mzxid and mtime then.
	ConfigText    string
	ConfigVersion int64
	ConfigTimeMS  int64
	// OnDigestMismatch is told, during Apply, of a txn after which this tree is not
	// the one that the leader had. It may be nil.
	OnDigestMismatch func(zxid int64, txn, tree uint64)
}

// An Engine is the state of one node.
type Engine struct {
	opts    Options
	store   storage.Store
	view    storage.View
	watches *watch.Table
}

// New makes an engine without a state: Open attaches one.
func New(opts Options) *Engine { return &Engine{opts: opts, watches: watch.New()} }

// Open attaches the store: an empty one becomes a fresh tree. What the engine
// knew before, the watches apart, is forgotten. The engine holds a view of the
// store until Close.
func (e *Engine) Open(store storage.Store) error { e.store = store; return nil }

// Close releases the view.
func (e *Engine) Close() {}

// View is the state as of the last Apply. It stays valid until the next one.
func (e *Engine) View() storage.View { return e.view }

// LastZxid is the zxid of the last txn that was applied.
func (e *Engine) LastZxid() int64 { return 0 }

// Session returns the timeout of an open session.
func (e *Engine) Session(id int64) (timeoutMS int32, ok bool) { return 0, false }

// Sessions calls fn for each open session, in ascending order.
func (e *Engine) Sessions(fn func(id int64, timeoutMS int32)) {}

// HighestSession is the highest session id of that server that is or, since the
// store was opened, was known: 0 if there was none.
func (e *Engine) HighestSession(server int64) int64 { return 0 }

// Orphans calls fn with each session that has ephemerals and is not open, which
// only an imperfect snapshot can hold. A new leader closes them.
func (e *Engine) Orphans(fn func(session int64)) error { return nil }

// Counts of the state.
func (e *Engine) NodeCount() int                               { return 0 }
func (e *Engine) SessionCount() int                            { return 0 }
func (e *Engine) EphemeralsCount() int                         { return 0 }
func (e *Engine) DataSize() int64                              { return 0 }
func (e *Engine) Digest() uint64                               { return 0 }
func (e *Engine) DigestMismatches() uint64                     { return 0 }
func (e *Engine) WatchCounts() (connections, paths, total int) { return }

// Watches calls fn for every watch, in order of path and watcher.
func (e *Engine) Watches(fn func(path string, watcher uint64, m watch.Mode)) {}

// Ephemerals calls fn for the ephemerals of a session, in order of their paths.
func (e *Engine) Ephemerals(session int64, fn func(path string) bool) error { return nil }

// AllEphemerals calls fn for all ephemerals, in order of session and path.
func (e *Engine) AllEphemerals(fn func(session int64, path string) bool) error { return nil }

// DropWatcher forgets what a connection watches.
func (e *Engine) DropWatcher(watcher uint64) {}

// Lead makes the engine prepare txns: the next one has zxid last+1. All that is
// committed has been applied.
func (e *Engine) Lead(last int64) {}

// StopLeading forgets what was prepared and is not applied.
func (e *Engine) StopLeading() {}

// Outstanding is the number of txns prepared and not yet applied.
func (e *Engine) Outstanding() int { return 0 }

// SetOwner makes from the server that speaks for a session, if the session is
// open and not about to be closed. It is the leader's.
func (e *Engine) SetOwner(session int64, from consensus.ServerID) bool { return false }

// Check says what can be said of a write before it is forwarded, prepared or
// logged: whether it decodes and is one that a client may ask for.
func (e *Engine) Check(op int32, body []byte) zkerr.Code { return zkerr.Unimplemented }

// Prepare makes the next txn.
func (e *Engine) Prepare(nowMS int64, from consensus.ServerID, r *consensus.Request) consensus.Txn {
	return consensus.Txn{}
}

// Apply changes the state by committed txns.
func (e *Engine) Apply(txns []consensus.Txn, s Sink) error { return nil }

// Read answers a request that changes nothing but watches: it appends the reply
// record to dst. Without zkerr.OK dst comes back as it was.
func (e *Engine) Read(dst []byte, r *ReadRequest, s Sink) ([]byte, zkerr.Code) {
	return dst, zkerr.Unimplemented
}

// Authenticate checks credentials under a scheme and returns the identities that
// the connection gains: zkerr.AuthFailed if there are none to be had.
func (e *Engine) Authenticate(scheme string, data []byte, addr string) ([]consensus.Identity, zkerr.Code) {
	return nil, zkerr.AuthFailed
}
