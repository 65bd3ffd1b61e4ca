package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/watch"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// Options are what an engine is made with.
type Options struct {
	// ExtendedTypes is zookeeper.extendedTypesEnabled: there are TTL nodes.
	ExtendedTypes bool
	// SkipACL is zookeeper.skipACL: no permission is checked.
	SkipACL bool
	// NoDigest is the opposite of zookeeper.digest.enabled: txns carry no tree
	// digest, and none is kept.
	NoDigest bool
	// ReconfigEnabled is reconfigEnabled: reconfig is looked at. MultiAddress is
	// multiAddress.enabled, NoStandalone the opposite of standaloneEnabled, by which it
	// is judged.
	ReconfigEnabled, MultiAddress, NoStandalone bool
	// Synced returns the ids of the servers that are there and have all that this one
	// has, itself among them. It is called in Prepare, of a reconfig. If it is nil,
	// all are.
	Synced func() []int64
	// EnforceQuota is zookeeper.enforceQuota: what would go beyond a hard limit is
	// refused. Usage is kept in any case.
	EnforceQuota bool
	// OnQuotaExcess is told, during Prepare, of what goes beyond a quota, refused or
	// not. It may be nil.
	OnQuotaExcess func(QuotaExcess)
	// SuperDigest is zookeeper.DigestAuthenticationProvider.superDigest.
	SuperDigest string
	// NoDigestAuth switches the scheme digest off.
	NoDigestAuth bool
	// MaxTxnBytes bounds a txn: jute.maxbuffer and its extrasize together, which
	// is what a peer, and whoever reads the log, takes. 0 means 2 MiB - 2.
	MaxTxnBytes int
	// MaxReplyBytes bounds the reply to a multiRead, which may be many times its
	// request. 0 means 64 MiB.
	MaxReplyBytes int
	// ConfigText is what /zookeeper/config holds: "" standalone. ConfigVersion and
	// ConfigTimeMS are its mzxid and mtime then.
	ConfigText    string
	ConfigVersion int64
	ConfigTimeMS  int64
	// Server is this server's number. UnmarkedLocals says that there may be servers that have
	// local sessions and don't say so: Apache's.
	Server         consensus.ServerID
	UnmarkedLocals bool
	// OnDigestMismatch is told, during Apply, of a txn after which this tree is not
	// the one that the leader had. It may be nil.
	OnDigestMismatch func(zxid int64, txn, tree uint64)
	// Fail is told that the store can't be read where no error can be returned: in
	// Prepare and Read. It does not return. If it is nil, they panic.
	Fail func(err error)
}

// An Engine is the state of one node.
type Engine struct {
	opts  Options
	store storage.Store
	view  storage.View
	last  int64
	state state

	acls     acls
	sessions map[int64]int32 // open sessions: their timeouts in ms
	// ephemerals counts those of each session, ephemeralCount all.
	ephemerals     map[int64]int
	ephemeralCount int
	// highest has the highest id seen of each server's sessions.
	highest map[int64]int64

	quotas quotas

	watches    *watch.Table
	mismatches uint64

	applier  applier
	leading  bool
	preparer preparer
}

// ErrOtherOptions is what Open returns for a store whose znodes were made under
// options by which they mean something else: it has to be reset and filled anew.
var ErrOtherOptions = errors.New("the store was filled under other options")

// New makes an engine without a state: Open attaches one.
func New(opts Options) *Engine {
	return &Engine{opts: opts, watches: watch.New(), highest: map[int64]int64{}, quotas: newQuotas()}
}

// Open attaches the store: an empty one becomes a fresh tree. It may be called
// again, behind a reset of the store for example; what the engine knew before is
// forgotten, the watches apart. The engine holds a view until Close.
func (e *Engine) Open(store storage.Store) error {
	e.Close()
	e.StopLeading()
	e.store = store
	e.view = store.View()
	e.last = e.view.Applied()
	e.state = state{hashed: !e.opts.NoDigest, extended: e.opts.ExtendedTypes, nextACL: 1}
	e.acls.reset()
	e.sessions = map[int64]int32{}
	e.ephemerals = map[int64]int{}
	e.ephemeralCount = 0
	e.applier = applier{overlay: newOverlay(!e.opts.NoDigest), born: map[int64][]string{}, sink: NopSink}
	if err := e.load(); err != nil {
		return err
	}
	e.applier.listed = true
	e.applier.reset(e.view, e.state.digest)
	if err := e.loadQuotas(); err != nil {
		return fmt.Errorf("read the quotas: %w", err)
	}
	return e.special()
}

// Close releases the view.
func (e *Engine) Close() {
	if e.view != nil {
		e.view.Release()
		e.view = nil
	}
}

// load reads what is in memory beside the store.
func (e *Engine) load() error {
	var bad string
	err := e.view.TableScan(tableSessions, "", func(key string, value []byte) bool {
		d := jute.NewDecoder(value)
		if timeout := d.Int(); d.Err() == nil && len(key) == 8 {
			id, _ := splitEphemeral(key)
			e.sessions[id] = timeout
			e.saw(id)
			return true
		}
		bad = tableSessions
		return false
	})
	if err != nil {
		return fmt.Errorf("read the sessions: %w", err)
	}
	err = e.view.TableScan(tableEphemerals, "", func(key string, _ []byte) bool {
		if len(key) < 8 {
			bad = tableEphemerals
			return false
		}
		id, _ := splitEphemeral(key)
		e.ephemerals[id]++
		e.ephemeralCount++
		e.saw(id)
		return true
	})
	if err != nil {
		return fmt.Errorf("read the ephemerals: %w", err)
	}
	err = e.view.TableScan(tableACLs, "", func(key string, value []byte) bool {
		if e.acls.load(key, value) {
			return true
		}
		bad = tableACLs
		return false
	})
	if err != nil {
		return fmt.Errorf("read the access control lists: %w", err)
	}
	value, ok, err := e.view.TableGet(tableMeta, metaState)
	if err != nil {
		return fmt.Errorf("read the tree's digest: %w", err)
	}
	hashed := e.state.hashed
	switch {
	case ok && !e.state.decode(value):
		bad = tableMeta
	case !ok && e.view.Len() > 0:
		return errors.New("the store holds a snapshot that was not read to its end: it has to be reset")
	}
	if bad == "" && e.state.extended != e.opts.ExtendedTypes {
		return fmt.Errorf("%w: extendedTypesEnabled was %v", ErrOtherOptions, e.state.extended)
	}
	if bad != "" {
		return fmt.Errorf("table %q of the store has an entry that is none of ours", bad)
	}
	e.acls.next = max(e.state.nextACL, 1)
	if hashed && !e.state.hashed {
		// It was switched off meanwhile.
		if err := e.rehash(); err != nil {
			return err
		}
	}
	e.state.hashed = hashed
	return nil
}

// rehash computes the tree's digest from all znodes.
func (e *Engine) rehash() error {
	var hasher znode.Hasher
	e.state.digest = 0
	return e.view.Walk(func(path string, rec storage.Record) bool {
		e.state.digest += hasher.Digest(path, rec.Head, rec.Data)
		return true
	})
}

// special makes the znodes that every tree has, as far as they are missing, and
// writes the configuration into its own.
func (e *Engine) special() error {
	a := &e.applier
	changed := e.view.Len() == 0 || len(a.batch.Ops) > 0
	for _, path := range [...]string{znode.Root, znode.ZooKeeper, znode.Quota, znode.Config} {
		n, ok := a.peek(path)
		if !ok {
			changed = true
			c := a.fresh(path, n)
			c.Head().Init(0, 0, 0, 0, znode.OpenACL, e.opts.ExtendedTypes)
			if path == znode.Config {
				c.Head().SetACL(e.acls.use(jute.ReadACL()))
				c.Head().SetAversion(-1)
			}
			e.state.dataSize += int64(len(path))
			a.changedData(path, c, []byte{})
			a.put(path, c)
			if path != znode.Root {
				parent := znode.Parent(path)
				pn, _ := a.peek(parent)
				p := a.own(parent, pn)
				p.Head().SetChildren(p.Head().Creates(), p.Head().NumChildren()+1)
				a.touch(parent, p)
				a.changed(parent, p)
			}
			n, _ = a.peek(path)
		}
		if path != znode.Config || e.opts.ConfigText == "" {
			continue
		}
		if n.cell == nil && string(n.data) == e.opts.ConfigText && n.head.Mzxid() == e.opts.ConfigVersion {
			continue
		}
		changed = true
		h := txn.Header{Zxid: e.opts.ConfigVersion, Time: e.opts.ConfigTimeMS}
		e.setData(&h, &txn.Body{Path: path, Data: []byte(e.opts.ConfigText), Version: -1})
	}
	if a.err != nil {
		return fmt.Errorf("read the store: %w", a.err)
	}
	if !changed {
		return nil
	}
	return e.commit(e.last)
}

func (e *Engine) fail(err error) {
	err = fmt.Errorf("read the store: %w", err)
	if e.opts.Fail != nil {
		e.opts.Fail(err)
	}
	panic(err)
}

// View is the state as of the last Apply. It stays valid until the next one, or
// Open: who needs it longer takes one from the store.
func (e *Engine) View() storage.View { return e.view }

// LastZxid is the zxid of the last txn that was applied.
func (e *Engine) LastZxid() int64 { return e.last }

// Session returns the timeout of an open session.
func (e *Engine) Session(id int64) (timeoutMS int32, ok bool) {
	timeoutMS, ok = e.sessions[id]
	return timeoutMS, ok
}

// Sessions calls fn for each open session, in ascending order.
func (e *Engine) Sessions(fn func(id int64, timeoutMS int32)) {
	for _, id := range slices.Sorted(maps.Keys(e.sessions)) {
		fn(id, e.sessions[id])
	}
}

func (e *Engine) saw(session int64) {
	server := session >> 56
	if high, ok := e.highest[server]; !ok || session > high {
		e.highest[server] = session
	}
}

// HighestSession is the highest id of that server's sessions that this engine
// has seen since it was made; 0 if it has seen none.
func (e *Engine) HighestSession(server int64) int64 { return e.highest[int64(int8(server))] }

// Orphans calls fn, in ascending order, with each session that has ephemerals
// and is not open, which only an imperfect snapshot can hold. A new leader
// closes them, through the log, so that they are gone on every node (I21).
func (e *Engine) Orphans(fn func(session int64)) {
	for _, id := range slices.Sorted(maps.Keys(e.ephemerals)) {
		_, open := e.sessions[id]
		// Without extended types a TTL node looks like a session's of server 255: it
		// is not for this node to delete it.
		if !open && znode.KindOf(id, true) == znode.Ephemeral {
			fn(id)
		}
	}
}

// NodeCount is the number of znodes.
func (e *Engine) NodeCount() int { return e.view.Len() }

// SessionCount is the number of open sessions.
func (e *Engine) SessionCount() int { return len(e.sessions) }

// EphemeralsCount is the number of ephemeral znodes.
func (e *Engine) EphemeralsCount() int { return e.ephemeralCount }

// DataSize is the number of bytes in all paths and data.
func (e *Engine) DataSize() int64 { return e.state.dataSize }

// Digest is the tree digest, 0 if none is kept.
func (e *Engine) Digest() uint64 {
	if !e.state.hashed {
		return 0
	}
	return e.state.digest
}

// DigestMismatches counts the txns after which the tree was not the leader's.
func (e *Engine) DigestMismatches() uint64 { return e.mismatches }

// WatchCounts returns how many connections watch how many paths, and with how
// many watches in all.
func (e *Engine) WatchCounts() (connections, paths, total int) { return e.watches.Counts() }

// Watches calls fn for every watched path and watcher, in order.
func (e *Engine) Watches(fn func(path string, watcher uint64, m watch.Mode)) { e.watches.Each(fn) }

// DropWatcher forgets what a connection watches.
func (e *Engine) DropWatcher(watcher uint64) { e.watches.Drop(watcher) }

// DropWatches forgets so many of its watches, at most, and says whether that was all.
func (e *Engine) DropWatches(watcher uint64, most int) (done bool) {
	return e.watches.DropSome(watcher, most)
}

// Ephemerals calls fn for the ephemerals of a session, in order of their paths,
// until it returns false. The path is valid during the call.
func (e *Engine) Ephemerals(session int64, fn func(path string) bool) error {
	if e.ephemerals[session] == 0 {
		return nil
	}
	return e.view.TableScan(tableEphemerals, sessionKey(session), func(key string, _ []byte) bool {
		_, path := splitEphemeral(key)
		return fn(path)
	})
}

// AllEphemerals calls fn for all ephemerals, those of a session together and in
// order of their paths, until it returns false. The path is valid during the
// call.
func (e *Engine) AllEphemerals(fn func(session int64, path string) bool) error {
	return e.view.TableScan(tableEphemerals, "", func(key string, _ []byte) bool {
		return fn(splitEphemeral(key))
	})
}

// Expirable calls fn for the containers and TTL nodes of a view whose time is up: they
// have no children, and a container once had some, or was never used for
// neverUsedMS, if that is not 0; a TTL node was not set for its time to live. The
// path is valid during the call. It may run beside Apply, if the view is not this
// engine's own.
func (e *Engine) Expirable(view storage.View, nowMS, neverUsedMS int64, fn func(path string) bool) error {
	var failed error
	err := view.TableScan(tableTTL, "", func(path string, _ []byte) bool {
		expired, err := e.Expired(view, path, nowMS, neverUsedMS)
		if err != nil {
			failed = err
			return false
		}
		return !expired || fn(path)
	})
	if failed != nil {
		return failed
	}
	return err
}

// Expired says whether the znode at path is one of those that Expirable is about.
func (e *Engine) Expired(view storage.View, path string, nowMS, neverUsedMS int64) (bool, error) {
	rec, ok, err := view.Get(path)
	if err != nil || !ok {
		return false, err
	}
	h := znode.Head(rec.Head)
	if h.NumChildren() > 0 {
		return false, nil
	}
	idle := nowMS - h.Mtime()
	switch znode.KindOf(h.Owner(), e.opts.ExtendedTypes) {
	case znode.Container:
		return h.Creates() > 0 || neverUsedMS > 0 && idle > neverUsedMS, nil
	case znode.TTL:
		return idle > znode.TTLOf(h.Owner()), nil
	}
	return false, nil
}
