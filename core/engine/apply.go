package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// An applier is what Apply works with. It is empty between two calls.
type applier struct {
	overlay
	batch storage.Batch
	sink  Sink
	txn   txn.Txn
	reply []byte
	fired []uint64
	// born has the ephemerals of this batch, by session: the store's table does
	// not show them yet. Some may be gone again.
	born map[int64][]string
	meta []byte
}

// Apply changes the state by committed txns, in the order of their zxids. All of
// them are committed to the store together; those at or below LastZxid were
// applied before and are skipped. For each txn it tells the sink of the events
// that the change owes to watchers, then of the reply. What the sink hears must
// not be seen outside before Apply has returned nil: after an error nothing of
// this is in the store, and the node has to stop. When the sink has enough, what is
// left of the txns is for another call: LastZxid says how far this one went.
//
// A txn may come again to a state that has seen it, or later ones: a snapshot of
// Apache's is taken while txns are applied. So what is there already, or gone
// already, is no error, and in the end the state is the one that each txn once
// would have made.
func (e *Engine) Apply(txns []consensus.Txn, s Sink) error {
	if s == nil {
		s = NopSink
	}
	a := &e.applier
	a.sink = s
	a.view, a.digest = e.view, e.state.digest
	last := e.last
	for i := range txns {
		if int64(txns[i].Zxid) <= last {
			continue
		}
		if last != e.last && s.Enough() {
			break
		}
		if err := txn.Decode(txns[i].Data, &a.txn); err != nil {
			return fmt.Errorf("txn %s: %w", txns[i].Zxid, err)
		}
		if z := a.txn.Header.Zxid; z != int64(txns[i].Zxid) {
			return fmt.Errorf("txn %s says that it is %s", txns[i].Zxid, consensus.Zxid(z))
		}
		e.applyTxn(&a.txn)
		if a.err != nil {
			return fmt.Errorf("txn %s: read the store: %w", txns[i].Zxid, a.err)
		}
		last = int64(txns[i].Zxid)
	}
	if last == e.last {
		a.sink = nil
		return nil
	}
	if err := e.commit(last); err != nil {
		return err
	}
	if e.leading {
		e.applied()
	}
	return nil
}

// commit puts what the overlay holds into the store.
func (e *Engine) commit(last int64) error {
	a := &e.applier
	e.acls.flush(&a.batch)
	e.state.digest = a.digest
	e.state.nextACL = e.acls.next
	a.meta = e.state.append(a.meta[:0])
	a.batch.TablePut(tableMeta, metaState, a.meta)
	a.batch.Zxid = last
	// The view goes before the commit: a store that has none to keep intact writes
	// in place. Nothing in the batch is the view's.
	e.view.Release()
	err := e.store.Commit(&a.batch)
	e.view = e.store.View()
	a.view = e.view
	if err != nil {
		return fmt.Errorf("commit to the store: %w", err)
	}
	e.last = last
	a.reset(e.view, a.digest)
	if cap(a.batch.Ops) > 1<<16 {
		a.batch.Ops = nil
	}
	a.batch.Reset()
	clear(a.born)
	if cap(a.reply) > 1<<20 {
		a.reply = nil
	}
	a.txn = txn.Txn{}
	a.sink = nil
	return nil
}

func (e *Engine) applyTxn(t *txn.Txn) {
	a := &e.applier
	h := &t.Header
	code := zkerr.OK
	request, waits := a.sink.Waits(h.ClientID, h.Cxid)
	body := a.reply[:0]
	closed := false
	switch h.Type {
	case txn.TypeMulti:
		body = e.applyMulti(t, body, request, waits)
	case txn.TypeCreateSession:
		e.openSession(h.ClientID, t.TimeoutMS)
	case txn.TypeCloseSession:
		e.closeSession(h, t.Paths)
		closed = true
	case txn.TypeError:
		code = zkerr.Code(t.Err)
	default:
		var n node
		n, code = e.applyOp(h, h.Type, &t.Body)
		if code == zkerr.OK && waits {
			body = appendResult(body, h.Type, t.Path, n.head)
		}
	}
	e.settleQuotas() // behind the replies, which say what the client wrote
	if t.HasDigest && e.state.hashed && t.Digest.Version == txn.DigestVersion &&
		h.Zxid > e.state.fuzzy && t.Digest.Tree != a.digest {
		e.mismatches++
		if e.opts.OnDigestMismatch != nil {
			e.opts.OnDigestMismatch(h.Zxid, t.Digest.Tree, a.digest)
		}
	}
	if waits {
		if code != zkerr.OK {
			body = body[:0]
		}
		a.sink.Reply(h.ClientID, h.Cxid, h.Zxid, h.Type, code, body)
	} else if h.Type != txn.TypeCreateSession && !closed && code != zkerr.SessionMoved {
		a.sink.Wrote(h.ClientID, h.Cxid)
	}
	if closed {
		a.sink.SessionClosed(h.ClientID)
	}
	a.reply = body
}

// appendResult appends the reply record of a single operation, or of one in a
// multi.
func appendResult(dst []byte, typ int32, path string, h znode.Head) []byte {
	switch typ {
	case txn.TypeCreate:
		return jute.AppendString(dst, path)
	case txn.TypeCreate2, txn.TypeCreateContainer, txn.TypeCreateTTL:
		dst = jute.AppendString(dst, path)
		return append(dst, h.Stat()...)
	case txn.TypeSetData, txn.TypeSetACL:
		return append(dst, h.Stat()...)
	}
	return dst
}

// applyOp makes one change to the tree. The node is the one that was made or
// changed, for the reply.
func (e *Engine) applyOp(h *txn.Header, typ int32, b *txn.Body) (node, zkerr.Code) {
	switch typ {
	case txn.TypeCreate, txn.TypeCreate2:
		owner := int64(0)
		if b.Ephemeral {
			owner = h.ClientID
		}
		return e.create(h, b, owner)
	case txn.TypeCreateContainer:
		return e.create(h, b, znode.ContainerOwner)
	case txn.TypeCreateTTL:
		return e.create(h, b, znode.TTLOwner(b.TTL))
	case txn.TypeDelete, txn.TypeDeleteContainer:
		return node{}, e.delete(h.Zxid, b.Path)
	case txn.TypeSetData, txn.TypeReconfig:
		return e.setData(h, b)
	case txn.TypeSetACL:
		return e.setACL(b)
	}
	return node{}, zkerr.OK // a check has had its effect when it was prepared
}

// touch makes sure that c's head gets into the store, with whatever becomes of
// it until the commit.
func (a *applier) touch(path string, c *cell) {
	if c.op == 0 {
		a.batch.PutHead(path, c.head[:])
		c.op = int32(len(a.batch.Ops))
	}
}

// put does the same for a whole record.
func (a *applier) put(path string, c *cell) {
	if c.op == 0 {
		a.batch.Put(path, c.head[:], c.data)
		c.op = int32(len(a.batch.Ops))
		return
	}
	op := &a.batch.Ops[c.op-1]
	op.Kind, op.Data = storage.OpPut, c.data
}

// placed says whether path has a place below another znode. No server logs a
// change to one that has not, so this is about damage.
func placed(path string) bool {
	return len(path) > 1 && path[0] == '/' && path[len(path)-1] != '/'
}

func (e *Engine) create(h *txn.Header, b *txn.Body, owner int64) (node, zkerr.Code) {
	a := &e.applier
	if !placed(b.Path) {
		return node{}, zkerr.BadArguments
	}
	parentPath := znode.Parent(b.Path)
	pn, ok := a.peek(parentPath)
	if !ok {
		return node{}, zkerr.NoNode
	}
	n, exists := a.peek(b.Path)
	creates := b.ParentCVersion
	if creates == -1 {
		creates = pn.head.Creates() + 1
	}
	if exists {
		// Played again. The znode stays as it is, but for the list: that of a
		// snapshot may be older than the znode. Its parent may be as it was before
		// (Apache looks after that for one kind of create of four).
		c := a.own(b.Path, n)
		e.replaceACL(c, b.ACL)
		a.touch(b.Path, c)
		if later(creates, pn.head.Creates()) {
			p := a.own(parentPath, pn)
			p.Head().SetChildren(creates, p.Head().NumChildren())
			p.Head().SetPzxid(h.Zxid)
			a.changed(parentPath, p)
			a.touch(parentPath, p)
		}
		return node{}, zkerr.NodeExists
	}
	p := a.own(parentPath, pn)
	ph := p.Head()
	num := ph.NumChildren() + 1
	if later(creates, ph.Creates()) {
		ph.SetChildren(creates, num)
		ph.SetPzxid(h.Zxid)
	} else {
		ph.SetChildren(ph.Creates(), num)
	}
	a.changed(parentPath, p)
	a.touch(parentPath, p)

	c := a.fresh(b.Path, n)
	c.Head().Init(h.Zxid, h.Time, len(b.Data), owner, e.acls.use(b.ACL), e.opts.ExtendedTypes)
	a.changedData(b.Path, c, b.Data)
	a.put(b.Path, c)
	e.state.dataSize += int64(len(b.Path) + len(b.Data))
	if e.quotas.concern(b.Path) {
		e.quotas.put(b.Path, b.Data, true, 0)
	}
	switch znode.KindOf(owner, e.opts.ExtendedTypes) {
	case znode.Ephemeral:
		a.batch.TablePut(tableEphemerals, ephemeralKey(owner, b.Path), nil)
		e.ephemerals[owner]++
		e.ephemeralCount++
		a.born[owner] = append(a.born[owner], b.Path)
	case znode.Container, znode.TTL:
		a.batch.TablePut(tableTTL, b.Path, nil)
	}
	if !e.watches.Empty() {
		e.fire(proto.EventNodeCreated, b.Path, h.Zxid, c.Head().ACL())
		e.fire(proto.EventNodeChildrenChanged, parentPath, h.Zxid, ph.ACL())
	}
	return node{head: c.head[:]}, zkerr.OK
}

// later says whether the counter a is ahead of b, also where they pass 2³¹.
func later(a, b int32) bool { return a-b > 0 }

func (e *Engine) replaceACL(c *cell, list []jute.ACL) {
	was := c.Head().ACL()
	c.Head().SetACL(e.acls.use(list)) // first: the list may be the same
	e.acls.unuse(was)
}

func (e *Engine) delete(zxid int64, path string) zkerr.Code {
	a := &e.applier
	if !placed(path) || znode.Special(path) {
		return zkerr.BadArguments
	}
	parentPath := znode.Parent(path)
	pn, ok := a.peek(parentPath)
	if !ok {
		return zkerr.NoNode
	}
	n, exists := a.peek(path)
	if exists && n.head.NumChildren() > 0 {
		// Only a state that is ahead of this txn has children here: the znode was
		// made anew later, and they will be too.
		e.deleteBelow(zxid, path)
		n, _ = a.peek(path)
	}
	p := a.own(parentPath, pn)
	ph := p.Head()
	if exists {
		ph.SetChildren(ph.Creates(), ph.NumChildren()-1)
	}
	ph.SetPzxid(max(ph.Pzxid(), zxid))
	a.changed(parentPath, p)
	a.touch(parentPath, p)
	if !exists {
		return zkerr.NoNode
	}
	acl, owner := n.head.ACL(), n.head.Owner()
	e.state.dataSize -= int64(len(path)) + int64(n.head.DataLength())
	if e.quotas.concern(path) {
		e.quotas.remove(path, n.head.DataLength())
	}
	c := a.own(path, n)
	a.gone(c)
	a.batch.Delete(path)
	c.op = 0 // what is put from now on comes behind this
	switch znode.KindOf(owner, e.opts.ExtendedTypes) {
	case znode.Ephemeral:
		a.batch.TableDelete(tableEphemerals, ephemeralKey(owner, path))
		e.ephemeralCount--
		if e.ephemerals[owner]--; e.ephemerals[owner] <= 0 {
			delete(e.ephemerals, owner)
		}
	case znode.Container, znode.TTL:
		a.batch.TableDelete(tableTTL, path)
	}
	if !e.watches.Empty() {
		e.fire(proto.EventNodeDeleted, path, zxid, acl)
		e.fire(proto.EventNodeChildrenChanged, parentPath, zxid, ph.ACL())
	}
	e.acls.unuse(acl)
	return zkerr.OK
}

// deleteBelow deletes all that is under path, deepest first.
func (e *Engine) deleteBelow(zxid int64, path string) {
	a := &e.applier
	var names []string
	err := a.view.Children(path, func(name string) bool {
		names = append(names, strings.Clone(name))
		return true
	})
	if err != nil && a.err == nil {
		a.err = err
	}
	prefix := strings.TrimSuffix(path, "/") + "/"
	for p, c := range a.cells {
		if name, below := strings.CutPrefix(p, prefix); below && c.exists && !strings.Contains(name, "/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if _, ok := a.peek(prefix + name); ok {
			e.delete(zxid, prefix+name)
		}
	}
}

func (e *Engine) setData(h *txn.Header, b *txn.Body) (node, zkerr.Code) {
	a := &e.applier
	n, ok := a.peek(b.Path)
	if !ok {
		return node{}, zkerr.NoNode
	}
	c := a.own(b.Path, n)
	ch := c.Head()
	e.state.dataSize += int64(len(b.Data)) - int64(ch.DataLength())
	if e.quotas.concern(b.Path) {
		e.quotas.put(b.Path, b.Data, false, ch.DataLength())
	}
	ch.SetDataLength(len(b.Data))
	ch.SetVersion(b.Version)
	ch.SetModified(h.Zxid, h.Time)
	a.changedData(b.Path, c, b.Data)
	a.put(b.Path, c)
	if !e.watches.Empty() {
		e.fire(proto.EventNodeDataChanged, b.Path, h.Zxid, ch.ACL())
	}
	return node{head: ch}, zkerr.OK
}

func (e *Engine) setACL(b *txn.Body) (node, zkerr.Code) {
	a := &e.applier
	n, ok := a.peek(b.Path)
	if !ok {
		return node{}, zkerr.NoNode
	}
	c := a.own(b.Path, n)
	e.replaceACL(c, b.ACL)
	c.Head().SetAversion(b.Version)
	if !simbug.On("digest-not-updated") { // else a list is no data
		a.changed(b.Path, c)
	}
	a.touch(b.Path, c)
	return node{head: c.head[:]}, zkerr.OK
}

func (e *Engine) openSession(id int64, timeoutMS int32) {
	e.sessions[id] = timeoutMS
	e.saw(id)
	e.applier.batch.TablePut(tableSessions, sessionKey(id), jute.AppendInt(nil, timeoutMS))
	e.applier.sink.SessionOpened(id, timeoutMS)
}

// closeSession deletes what the txn lists, whoever owns it now: what a later
// session made under the same name comes again behind this txn. Then what the
// list does not name: it is left out when it is too long for a txn.
func (e *Engine) closeSession(h *txn.Header, paths []string) {
	a := &e.applier
	for _, path := range paths {
		e.delete(h.Zxid, path)
	}
	id := h.ClientID
	if e.ephemerals[id] > 0 {
		rest := slices.Clone(a.born[id])
		err := a.view.TableScan(tableEphemerals, sessionKey(id), func(key string, _ []byte) bool {
			_, path := splitEphemeral(key)
			rest = append(rest, strings.Clone(path))
			return true
		})
		if err != nil && a.err == nil {
			a.err = err
		}
		slices.Sort(rest)
		for _, path := range slices.Compact(rest) {
			if n, ok := a.peek(path); ok && n.head.Owner() == id {
				e.delete(h.Zxid, path)
			}
		}
	}
	if _, ok := e.sessions[id]; ok {
		delete(e.sessions, id)
		a.batch.TableDelete(tableSessions, sessionKey(id))
	}
}

// applyMulti applies all parts, or none if one of them was refused, and appends
// their results.
func (e *Engine) applyMulti(t *txn.Txn, dst, request []byte, waits bool) []byte {
	failed := t.Failed()
	past := false
	asked := asked{request: request}
	for i := range t.Subs {
		s := &t.Subs[i]
		if failed {
			code := zkerr.OK
			switch {
			case s.Type == txn.TypeError:
				code, past = zkerr.Code(s.Err), true
			case past:
				code = zkerr.RuntimeInconsistency
			}
			if waits {
				dst = appendMultiError(dst, code)
			}
			continue
		}
		if s.Raw != nil {
			break // no server applies such a part, nor what is behind it
		}
		n, code := e.applyOp(&t.Header, s.Type, &s.Body)
		if !waits {
			continue
		}
		if code != zkerr.OK {
			dst = appendMultiError(dst, code)
			continue
		}
		typ := s.Type
		if typ == txn.TypeCreateContainer || typ == txn.TypeCreateTTL || typ == txn.TypeCreate && asked.create2(i) {
			typ = txn.TypeCreate2
		}
		dst = appendMultiHeader(dst, typ, zkerr.OK)
		dst = appendResult(dst, typ, s.Path, n.head)
	}
	return proto.AppendMultiEnd(dst)
}

// asked is what the client of a multi asked for. The txn doesn't tell a create2
// from a create: see prepareMulti.
type asked struct {
	request []byte
	ops     []proto.MultiOp
}

func (a *asked) create2(i int) bool {
	if a.request != nil {
		var m proto.MultiRequest
		if proto.Unmarshal(a.request, &m) == nil {
			a.ops = m.Ops
		}
		a.request = nil
	}
	return i < len(a.ops) && a.ops[i].Op == proto.OpCreate2
}

func appendMultiHeader(dst []byte, typ int32, code zkerr.Code) []byte {
	dst = jute.AppendInt(dst, typ)
	dst = jute.AppendBool(dst, false)
	return jute.AppendInt(dst, int32(code))
}

func appendMultiError(dst []byte, code zkerr.Code) []byte {
	dst = appendMultiHeader(dst, txn.TypeError, code)
	return jute.AppendInt(dst, int32(code))
}

// fire tells those who watch path, as far as they may read the znode whose list
// acl is the key of.
func (e *Engine) fire(typ proto.EventType, path string, zxid int64, acl uint32) {
	a := &e.applier
	switch typ {
	case proto.EventNodeDeleted:
		a.fired = e.watches.Deleted(path, a.fired[:0])
	case proto.EventNodeChildrenChanged:
		a.fired = e.watches.ChildrenChanged(path, a.fired[:0])
	default:
		a.fired = e.watches.Changed(path, a.fired[:0])
	}
	if len(a.fired) == 0 {
		return
	}
	open := acl == znode.OpenACL || e.opts.SkipACL
	for _, w := range a.fired {
		if open || simbug.On("event-to-all") || e.acls.permits(acl, jute.PermRead, a.sink.Auth(w)) {
			a.sink.Event(w, zxid, int32(typ), path)
		}
	}
}
