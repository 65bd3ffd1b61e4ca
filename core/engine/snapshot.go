package engine

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// WriteSnapshot writes all that a view holds to w, which has the given form and
// is not closed. Unlike Apache's the snapshot is not fuzzy: it is the state at
// v.Applied() and nothing of what came later.
func WriteSnapshot(w *txnlog.SnapshotWriter, form txnlog.Form, v storage.View) error {
	var st state
	value, ok, err := v.TableGet(tableMeta, metaState)
	if err != nil {
		return err
	}
	if ok && !st.decode(value) {
		return errors.New("the store's state is none of ours")
	}
	type session struct {
		id      int64
		timeout int32
	}
	var sessions []session
	err = v.TableScan(tableSessions, "", func(key string, value []byte) bool {
		d := jute.NewDecoder(value)
		id, _ := splitEphemeral(key)
		sessions = append(sessions, session{id, d.Int()})
		return true
	})
	if err != nil {
		return err
	}
	w.Sessions(len(sessions))
	for _, s := range sessions {
		w.Session(s.id, s.timeout)
	}
	var lists acls
	lists.reset()
	n := 0
	err = v.TableScan(tableACLs, "", func(string, []byte) bool { n++; return true })
	if err != nil {
		return err
	}
	w.ACLs(n)
	bad := false
	err = v.TableScan(tableACLs, "", func(key string, value []byte) bool {
		lists.reset()
		if bad = !lists.load(key, value); bad {
			return false
		}
		for k, e := range lists.byKey {
			w.ACL(int64(k), e.list)
		}
		return true
	})
	if bad {
		err = errors.New("the store has an access control list that is none of ours")
	}
	if err != nil {
		return err
	}
	var failed error
	err = v.Walk(func(path string, rec storage.Record) bool {
		h := znode.Head(rec.Head)
		node := txnlog.Node{Path: path, Data: rec.Data, ACL: -1, Stat: txnlog.Stat{
			Czxid: h.Czxid(), Mzxid: h.Mzxid(), Ctime: h.Ctime(), Mtime: h.Mtime(),
			Version: h.Version(), Cversion: h.Creates(), Aversion: h.Aversion(),
			EphemeralOwner: h.Owner(), Pzxid: h.Pzxid(),
		}}
		if simbug.On("creates-lost-in-snapshot") {
			node.Stat.Cversion = h.NumChildren() // a counter of children
		}
		if path == znode.Root {
			node.Path = ""
		}
		if key := h.ACL(); key != znode.OpenACL {
			node.ACL = int64(key)
		}
		failed = w.Node(&node)
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	if form == txnlog.FileForm && st.hashed {
		switch zxid := v.Applied(); {
		case st.fuzzy == math.MaxInt64:
			w.Digest(0, 0)
		case st.fuzzy > zxid:
			w.Digest(consensus.Zxid(st.fuzzy), 0) // not to be compared before that
		default:
			w.Digest(consensus.Zxid(zxid), st.digest)
		}
		w.LastZxid(consensus.Zxid(v.Applied()))
	}
	return nil
}

// Batches of ReadSnapshot.
const (
	loadOps   = 8192
	loadBytes = 4 << 20
)

// A loader fills a store.
type loader struct {
	store  storage.Store
	opts   Options
	view   storage.View
	batch  storage.Batch
	arena  []byte // memory of the batch: the last piece of it
	bytes  int    // how much the batch has of it
	acls   acls
	lists  map[int64]*aclEntry // by the snapshot's keys; nil for the open one
	state  state
	hasher znode.Hasher
	// heads has the znodes of this batch, and those of earlier ones that got
	// children in this one.
	heads map[string]znode.Head
	again []string // the latter, in order
	nodes int
}

// ReadSnapshot fills an empty store from a snapshot that was taken at zxid and,
// if it is Apache's, may hold more. It takes bounded memory. After an error the
// store is to be reset; after success an engine may be opened on it. The trailer
// tells what the writer knew of the digest.
//
// A snapshot that does not say up to which zxid it is ahead makes a state whose
// digest is not compared before Settle.
func ReadSnapshot(r *txnlog.SnapshotReader, store storage.Store, zxid int64, opts Options) (txnlog.Trailer, error) {
	l := &loader{
		store: store, opts: opts, view: store.View(),
		lists: map[int64]*aclEntry{}, heads: map[string]znode.Head{},
		state: state{hashed: !opts.NoDigest, extended: opts.ExtendedTypes},
	}
	defer func() { l.view.Release() }()
	l.acls.reset()
	if l.view.Len() > 0 {
		return txnlog.Trailer{}, errors.New("restore a snapshot: the store is not empty")
	}
	err := r.Sessions(func(id int64, timeoutMS int32) error {
		l.batch.TablePut(tableSessions, sessionKey(id), jute.AppendInt(nil, timeoutMS))
		return l.flush(false)
	})
	if err == nil {
		err = r.ACLs(l.list)
	}
	if err == nil {
		err = r.Nodes(l.node)
	}
	if err != nil {
		return txnlog.Trailer{}, err
	}
	trailer, err := r.Finish()
	if err != nil {
		return trailer, err
	}
	if l.nodes == 0 {
		return trailer, errors.New("snapshot without a root")
	}
	switch {
	case !trailer.HasDigest, trailer.DigestZxid == 0 && trailer.Digest == 0:
		// Nobody knows how far it is ahead; zeros stand for that too, see WriteSnapshot.
		l.state.fuzzy = math.MaxInt64
	case int64(trailer.DigestZxid) > zxid:
		l.state.fuzzy = int64(trailer.DigestZxid)
	}
	if err := l.flush(true); err != nil {
		return trailer, err
	}
	// What makes the store whole comes last, all at once.
	l.acls.flush(&l.batch)
	l.state.nextACL = l.acls.next
	l.batch.TablePut(tableMeta, metaState, l.state.append(nil))
	l.batch.Zxid = zxid
	return trailer, l.store.Commit(&l.batch)
}

// Settle says that the state holds exactly the txns up to LastZxid: from now on
// digests are compared, also if it comes from a snapshot that did not say how
// far it is ahead. A node calls it when it has synchronised with its leader or
// leads. It runs alone, like Apply.
func (e *Engine) Settle() { e.state.fuzzy = min(e.state.fuzzy, e.last) }

func (l *loader) list(key int64, list []jute.ACL) error {
	if list == nil || znode.IsOpen(list) {
		l.lists[key] = nil
		return nil
	}
	l.lists[key] = l.acls.byKey[l.acls.use(list)]
	l.lists[key].refs = 0 // only znodes count, and are yet to come
	return nil
}

func (l *loader) node(n *txnlog.Node) error {
	path := n.Path
	switch {
	case path == "":
		path = znode.Root
	case path[0] != '/' || len(path) == 1 || path[len(path)-1] == '/':
		return fmt.Errorf("znode with the path %q", path)
	}
	if l.nodes == 0 != (path == znode.Root) {
		return fmt.Errorf("znode %q out of place", path)
	}
	if _, twice := l.heads[path]; twice {
		return fmt.Errorf("znode %q a second time", path)
	}
	if path != znode.Root {
		if err := l.child(znode.Parent(path)); err != nil {
			return err
		}
	}
	path = strings.Clone(path)
	h := znode.Head(l.alloc(znode.HeadSize))
	var data []byte
	if n.Data != nil {
		data = l.alloc(len(n.Data))
		copy(data, n.Data)
	}
	s := &n.Stat
	h.Init(s.Czxid, s.Ctime, len(data), s.EphemeralOwner, l.key(n.ACL), l.opts.ExtendedTypes)
	h.SetModified(s.Mzxid, s.Mtime)
	h.SetPzxid(s.Pzxid)
	h.SetVersion(s.Version)
	h.SetAversion(s.Aversion)
	h.SetChildren(s.Cversion, 0)
	l.heads[path] = h
	l.batch.Put(path, h, data)
	switch znode.KindOf(s.EphemeralOwner, l.opts.ExtendedTypes) {
	case znode.Ephemeral:
		l.batch.TablePut(tableEphemerals, ephemeralKey(s.EphemeralOwner, path), nil)
	case znode.Container, znode.TTL:
		l.batch.TablePut(tableTTL, path, nil)
	}
	if l.state.hashed {
		l.state.digest += l.hasher.Digest(path, h, data)
	}
	l.state.dataSize += int64(len(path) + len(data))
	l.nodes++
	return l.flush(false)
}

// key is this store's key for a list of the snapshot.
func (l *loader) key(key int64) uint32 {
	if key == -1 {
		return znode.OpenACL
	}
	e, known := l.lists[key]
	switch {
	case !known:
		// A list that was made while the snapshot was written. The txn that made it
		// comes again; until then nobody gets in.
		return l.acls.use([]jute.ACL{{Scheme: znode.SchemeWorld, ID: "anyone"}})
	case e == nil:
		return znode.OpenACL
	}
	e.refs++
	return e.key
}

// child counts one child more of a znode, which must be there.
func (l *loader) child(path string) error {
	h, ok := l.heads[path]
	if !ok {
		rec, ok, err := l.view.Get(path)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("znode %q is not there before its children", path)
		}
		h = znode.Head(l.alloc(znode.HeadSize))
		copy(h, rec.Head)
		path = strings.Clone(path)
		l.heads[path] = h
		l.again = append(l.again, path)
	}
	h.SetChildren(h.Creates(), h.NumChildren()+1)
	return nil
}

// alloc returns n bytes that live until the batch is committed.
func (l *loader) alloc(n int) []byte {
	if cap(l.arena)-len(l.arena) < n {
		l.arena = make([]byte, 0, max(n, 256<<10))
	}
	l.bytes += n
	at := len(l.arena)
	l.arena = l.arena[:at+n]
	b := l.arena[at : at+n : at+n]
	clear(b)
	return b
}

// flush commits what has gathered, if it is enough or if now is set.
func (l *loader) flush(now bool) error {
	if !now && len(l.batch.Ops) < loadOps && l.bytes < loadBytes {
		return nil
	}
	for _, path := range l.again {
		l.batch.PutHead(path, l.heads[path])
	}
	l.view.Release() // before the commit, so that it may write in place
	err := l.store.Commit(&l.batch)
	l.view = l.store.View()
	if err != nil {
		return err
	}
	l.batch.Reset()
	l.again = l.again[:0]
	clear(l.heads)
	l.arena, l.bytes = l.arena[:0], 0
	return nil
}
