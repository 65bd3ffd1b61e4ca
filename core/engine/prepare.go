package engine

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/zkcore/zkcore/core/inv"
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A preparer is what a leader knows beside the committed state: the state as it
// will be when all that it has prepared is applied.
type preparer struct {
	overlay
	base int64 // zxid before the first txn of this leadership
	last int64 // zxid of the last txn
	// sessions has all sessions that are open, or will be.
	sessions map[int64]tracked
	// queue has what changed by which txn, in order, so that it can be forgotten
	// once that is applied. It may name more, which is no matter.
	queue queue
	// born has the ephemerals whose creation is not applied yet. Some may be gone
	// again, or never come: whoever asks looks them up.
	born []birth
	// quotas are as they will be, if they are enforced; changes are those of the
	// present txn, which count when it is whole.
	quotas   quotas
	enforced bool
	changes  []quotaChange

	slab []byte // where the next txns are encoded
	op   proto.MultiOp
	txn  txn.Txn
}

// A tracked session is one that a leader takes writes for.
type tracked struct {
	owner   consensus.ServerID // the server that speaks for it; 0 if that is not known yet
	closing bool
}

type birth struct {
	zxid, session int64
	path          string
}

// A plan is a change that has passed all checks and is not made yet.
type plan struct {
	typ         int32
	path        string // a temporary, until it stands in the txn
	node        node   // what is there
	parent      node
	parentPath  string
	data        []byte
	acl         []jute.ACL
	owner       int64 // create: as it is stored
	ttl         int64
	version     int32 // setData, setACL, check: as it stands in the txn
	creates     int32 // create: the parent's counter afterwards
	isEphemeral bool
	kept        bool // path and data stay as they are
}

// request is who asks for a txn.
type request struct {
	zxid, now int64
	session   int64
	auth      []consensus.Identity
	local     bool // the session is known to the server that asks, and to no other
	// noEphemerals is what the client is told that asks for an ephemeral, if it may have none.
	noEphemerals zkerr.Code
}

// Lead makes the engine prepare txns: the next one has zxid last+1. All that is
// committed has been applied, so that what is prepared stands on the state as it
// is. Which server speaks for a session is not known until its first request, or
// SetOwner, says so.
func (e *Engine) Lead(last int64) {
	inv.Check("I09", last >= e.last, "leading from zxid 0x%x with 0x%x applied", last, e.last)
	e.leading = true
	p := &e.preparer
	*p = preparer{overlay: newOverlay(e.state.hashed), base: last, last: last, sessions: make(map[int64]tracked, len(e.sessions))}
	for id := range e.sessions {
		p.sessions[id] = tracked{}
	}
	if p.enforced = e.opts.EnforceQuota; p.enforced {
		p.quotas = e.quotas.clone()
	}
	p.reset(e.view, e.state.digest)
}

// StopLeading forgets what was prepared and is not applied.
func (e *Engine) StopLeading() {
	e.leading = false
	e.preparer = preparer{}
}

// Outstanding is the number of txns that were prepared and are not applied yet.
func (e *Engine) Outstanding() int {
	if !e.leading {
		return 0
	}
	return int(e.preparer.last - max(e.last, e.preparer.base))
}

// SetOwner makes from the server that speaks for a session, as a client that
// moved there asks for. It is false if there is no such session, or there will
// be none. It belongs to Prepare: not both at a time.
func (e *Engine) SetOwner(session int64, from consensus.ServerID) bool {
	t, ok := e.preparer.sessions[session]
	if (!ok || t.closing) && !simbug.On("dead-session-welcomed") { // else who has the password may come back
		return false
	}
	t.owner = from
	e.preparer.sessions[session] = t
	return true
}

// Owner is the server that speaks for a session; 0 if none has since this one leads. It belongs
// to Prepare, like SetOwner.
func (e *Engine) Owner(session int64) consensus.ServerID { return e.preparer.sessions[session].owner }

// applied forgets what Apply has made part of the state.
func (e *Engine) applied() {
	p := &e.preparer
	p.view = e.view
	for {
		q, ok := p.queue.first()
		if !ok || q.zxid > e.last {
			break
		}
		p.queue.pop()
		if q.path == "" {
			// The end of a session. What it was may have come back under a new owner by
			// no way: ids are not used twice.
			delete(p.sessions, q.session)
			continue
		}
		if c := p.cells[q.path]; c != nil && c.zxid <= e.last {
			delete(p.cells, q.path)
			p.release(c)
		}
	}
	n := 0
	for n < len(p.born) && p.born[n].zxid <= e.last {
		n++
	}
	if n > 0 {
		p.born = slices.Delete(p.born, 0, n)
	}
	if p.queue.len() == 0 && e.last >= p.last {
		inv.Check("I26", p.digest == e.state.digest,
			"the tree's digest is %#x, and what was prepared makes %#x", e.state.digest, p.digest)
	}
}

// Check says what can be said of a write before it is forwarded, prepared or
// logged, without a look at the state: zkerr.MarshallingError if it does not
// decode, zkerr.Unimplemented for what no client may ask for. It is not the
// only defence: Prepare takes whatever comes.
func (e *Engine) Check(op int32, body []byte) zkerr.Code {
	d := jute.NewDecoder(body)
	switch proto.Op(op) {
	case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL:
		skipPath(&d)
		d.Buffer()
		jute.SkipACLs(&d)
		flags := proto.CreateFlags(d.Int())
		if proto.Op(op) == proto.OpCreateTTL {
			if ttl := d.Long(); d.Err() == nil && flags.Valid() && !flags.TTL() && ttl < 0 {
				// An Apache leader would take it, and never start again. With any other
				// time to live it is refused where all is that takes a zxid.
				return zkerr.BadArguments
			}
		}
	case proto.OpDelete:
		skipPath(&d)
		d.Int()
	case proto.OpSetData:
		skipPath(&d)
		d.Buffer()
		d.Int()
	case proto.OpSetACL:
		skipPath(&d)
		jute.SkipACLs(&d)
		d.Int()
	case proto.OpMulti, proto.OpReconfig:
		if proto.CheckRequest(proto.Op(op), body) != nil {
			return zkerr.MarshallingError
		}
	case proto.OpCloseSession:
	default:
		return zkerr.Unimplemented
	}
	if d.Err() != nil {
		return zkerr.MarshallingError
	}
	return zkerr.OK
}

func skipPath(d *jute.Decoder) {
	if _, null := d.StringBytes(); null {
		d.Fail(proto.ErrNullPath)
	}
}

// Prepare makes the next txn of a request that from's client sent; from 0 is the
// server itself, which ends sessions and removes containers. Its steps:
//
//	decode, check the session, check against the state as it will be,
//	encode the txn, take note of what it will change, add the digest
//
// A request that is refused makes an error txn, with the code that the client
// gets. Nothing of r is kept.
func (e *Engine) Prepare(nowMS int64, from consensus.ServerID, r *consensus.Request) consensus.Txn {
	if !e.leading {
		inv.Break("I12", "a node that does not lead was asked to prepare %s", proto.Op(r.Op))
	}
	p := &e.preparer
	p.view = e.view
	q := request{zxid: p.last + 1, now: nowMS, session: r.Session}
	q.auth, q.local = unmark(r.Auth)
	data := e.prepare(&q, from, r)
	p.settleQuotas()
	if p.err != nil {
		e.fail(p.err)
	}
	p.last = q.zxid
	return consensus.Txn{Zxid: consensus.Zxid(q.zxid), Data: data}
}

func (e *Engine) prepare(q *request, from consensus.ServerID, r *consensus.Request) []byte {
	p := &e.preparer
	op := proto.Op(r.Op)
	switch op {
	case proto.OpCreateSession:
		return e.prepareOpen(q, from, r)
	case proto.OpCloseSession:
		return e.prepareClose(q, r)
	case proto.OpDeleteContainer:
		if from != 0 {
			return e.refuse(q, r, zkerr.Unimplemented)
		}
	case proto.OpReconfig:
		return e.refuse(q, r, e.checkReconfig(q, from, r))
	case proto.OpMulti:
		return e.prepareMulti(q, from, r)
	}
	o := &p.op
	if code := decodeOp(o, op, r.Body); code != zkerr.OK {
		return e.refuse(q, r, code)
	}
	if op != proto.OpDeleteContainer {
		if code := e.checkFlags(o); code != zkerr.OK {
			return e.refuse(q, r, code)
		}
		if code := e.checkSession(q, from); code != zkerr.OK {
			return e.refuse(q, r, code)
		}
		if code := q.mayOwn(o); code != zkerr.OK {
			return e.refuse(q, r, code)
		}
	}
	var pl plan
	if code := e.plan(q, o, &pl); code != zkerr.OK {
		return e.refuse(q, r, code)
	}
	t := &p.txn
	t.Header = q.header(r.Cxid, pl.typ)
	pl.body(&t.Body)
	size := txn.HeaderSize + pl.size() + 64 + txn.DigestSize
	if size > e.maxTxn() {
		return e.refuse(q, r, zkerr.MarshallingError)
	}
	buf := p.buffer(size)
	at := len(buf)
	buf = txn.AppendHeader(buf, &t.Header)
	buf = txn.AppendBody(buf, t)
	if len(buf)-at+txn.DigestSize > e.maxTxn() {
		return e.refuse(q, r, zkerr.MarshallingError)
	}
	// From here on path and data are what stands in the txn, which nobody changes
	// and which is kept as long as they are.
	pathAt := at + txn.HeaderSize + 4
	pl.own(buf[pathAt:])
	e.effect(q, &pl)
	return e.finish(buf, at)
}

func (q *request) header(cxid, typ int32) txn.Header {
	return txn.Header{ClientID: q.session, Cxid: cxid, Zxid: q.zxid, Time: q.now, Type: typ}
}

// size is how long the parts are that have no fixed length.
func (pl *plan) size() int {
	n := len(pl.path) + len(pl.data)
	for i := range pl.acl {
		n += 12 + len(pl.acl[i].Scheme) + len(pl.acl[i].ID)
	}
	return n
}

// own replaces the plan's temporary path and data by those of a txn's record.
func (pl *plan) own(rec []byte) {
	n := len(pl.path)
	pl.path = temporary(rec[:n])
	if pl.parentPath != "" {
		pl.parentPath = znode.Parent(pl.path)
	}
	if pl.data != nil {
		pl.data = rec[n+4 : n+4+len(pl.data)]
	}
	pl.kept = true
}

// slabSize is how much is allocated at once for txns. They go as they came, so
// one that is kept does not keep many others.
const slabSize = 64 << 10

// buffer returns room for a txn of up to size bytes: an empty slice, or one that
// ends where the last txn does.
func (p *preparer) buffer(size int) []byte {
	if size > slabSize/8 {
		return make([]byte, 0, size)
	}
	if cap(p.slab)-len(p.slab) < size {
		p.slab = make([]byte, 0, slabSize)
	}
	return p.slab
}

// finish adds the digest to the txn that begins at from, and cuts it out.
func (e *Engine) finish(buf []byte, from int) []byte {
	p := &e.preparer
	if e.state.hashed {
		buf = txn.AppendDigest(buf, txn.Digest{Version: txn.DigestVersion, Tree: p.digest})
	}
	return p.cut(buf, from)
}

func (p *preparer) cut(buf []byte, from int) []byte {
	if cap(p.slab) > 0 && len(buf) > 0 && cap(buf) == cap(p.slab) && &buf[:1][0] == &p.slab[:1][0] {
		p.slab = buf
	}
	return buf[from:len(buf):len(buf)]
}

// refuse makes an error txn.
func (e *Engine) refuse(q *request, r *consensus.Request, code zkerr.Code) []byte {
	if simbug.On("zxid-reused") {
		q.zxid-- // what changes nothing needs no number
	}
	buf := e.preparer.buffer(txn.HeaderSize + 4)
	at := len(buf)
	h := q.header(r.Cxid, txn.TypeError)
	buf = txn.AppendHeader(buf, &h)
	buf = jute.AppendInt(buf, int32(code))
	return e.preparer.cut(buf, at)
}

func (e *Engine) maxTxn() int {
	if e.opts.MaxTxnBytes > 0 {
		return e.opts.MaxTxnBytes
	}
	return 2 * 1048575
}

// decodeOp reads a single request. Path and data are r's own bytes.
func decodeOp(o *proto.MultiOp, op proto.Op, body []byte) zkerr.Code {
	*o = proto.MultiOp{Op: op}
	d := jute.NewDecoder(body)
	path, null := d.StringBytes()
	if null {
		return zkerr.MarshallingError
	}
	o.Path = temporary(path)
	switch op {
	case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL:
		o.Data = d.Buffer()
		o.ACL = d.ACLs()
		o.Flags = proto.CreateFlags(d.Int())
		if op == proto.OpCreateTTL {
			o.TTL = d.Long()
		}
	case proto.OpDelete:
		o.Version = d.Int()
	case proto.OpSetData:
		o.Data = d.Buffer()
		o.Version = d.Int()
	case proto.OpSetACL:
		o.ACL = d.ACLs()
		o.Version = d.Int()
	case proto.OpDeleteContainer:
	default:
		return zkerr.Unimplemented
	}
	if d.Err() != nil {
		return zkerr.MarshallingError
	}
	return zkerr.OK
}

// checkSession says whether a server may write for a session.
func (e *Engine) checkSession(q *request, from consensus.ServerID) zkerr.Code {
	p, id := &e.preparer, q.session
	t, ok := p.sessions[id]
	switch {
	case !ok && q.local:
		q.noEphemerals = zkerr.EphemeralOnLocalSession
		return zkerr.OK
	case !ok && e.mayBeLocal(id, from):
		q.noEphemerals = zkerr.SessionExpired
		return zkerr.OK
	case (!ok || t.closing) && !simbug.On("dead-session-writes"): // else its connection would have been closed
		return zkerr.SessionExpired
	case from == 0, t.owner == from:
		return zkerr.OK
	case t.owner == 0:
		t.owner = from
		p.sessions[id] = t
		return zkerr.OK
	}
	if simbug.On("session-moved-ignored") {
		return zkerr.OK // it is the same session
	}
	return zkerr.SessionMoved
}

// checkFlags is what is looked at of a create before its session is.
func (e *Engine) checkFlags(o *proto.MultiOp) zkerr.Code {
	switch o.Op {
	case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL:
	default:
		return zkerr.OK
	}
	if !o.Flags.Valid() {
		return zkerr.BadArguments
	}
	ttl := int64(-1)
	if o.Op == proto.OpCreateTTL {
		ttl = o.TTL
	}
	if o.Flags.TTL() {
		if !e.opts.ExtendedTypes {
			return zkerr.Unimplemented
		}
		if o.Op != proto.OpCreateTTL || ttl < 1 || ttl > znode.MaxTTL {
			return zkerr.BadArguments
		}
	} else if o.Op == proto.OpCreateTTL {
		return zkerr.BadArguments // Apache takes it if ttl is negative, and dies of it
	}
	return zkerr.OK
}

func (e *Engine) plan(q *request, o *proto.MultiOp, pl *plan) zkerr.Code {
	switch o.Op {
	case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL:
		return e.planCreate(q, o, pl)
	case proto.OpDelete:
		return e.planDelete(q, o, pl)
	case proto.OpSetData:
		return e.planSetData(q, o, pl)
	case proto.OpSetACL:
		return e.planSetACL(q, o, pl)
	case proto.OpCheck:
		return e.planCheck(q, o, pl)
	case proto.OpDeleteContainer:
		return e.planDeleteContainer(o, pl)
	}
	return zkerr.Unimplemented
}

// permits says whether the client may do to n what perm is the bit of.
func (e *Engine) permits(q *request, n node, perm int32) bool {
	if e.opts.SkipACL {
		return true
	}
	if n.cell != nil && n.cell.acl != nil {
		if c := n.cell; c.rights == nil {
			c.rights = znode.NewRights(c.acl)
		}
		if r := n.cell.rights; r != nil {
			return r.Permits(perm, q.auth)
		}
		return znode.Permits(n.cell.acl, perm, q.auth)
	}
	key := n.head.ACL()
	return key == znode.OpenACL || e.acls.permits(key, perm, q.auth)
}

// partial is what is asked of a path whose parent is about to be looked up.
func partial(path string) bool {
	return strings.IndexByte(path, '/') >= 0 && strings.IndexByte(path, 0) < 0
}

func (e *Engine) planCreate(q *request, o *proto.MultiOp, pl *plan) zkerr.Code {
	p := &e.preparer
	path := o.Path
	if !partial(path) {
		return zkerr.BadArguments
	}
	acl, code := znode.Fixup(o.ACL, q.auth, !e.opts.NoDigestAuth)
	if code != zkerr.OK {
		return code
	}
	parentPath := znode.Parent(path)
	parent, ok := p.peek(parentPath)
	if !ok {
		return zkerr.NoNode
	}
	if !e.permits(q, parent, jute.PermCreate) {
		return zkerr.NoAuth
	}
	if o.Flags.Sequential() {
		creates := parent.head.Creates()
		if simbug.On("sequence-from-children") {
			creates = parent.head.NumChildren() // the next free number
		}
		path = znode.Sequential(path, creates)
	}
	if proto.ValidatePath(path) != nil {
		return zkerr.BadArguments
	}
	n, exists := p.peek(path)
	if exists {
		return zkerr.NodeExists
	}
	if znode.KindOf(parent.head.Owner(), e.opts.ExtendedTypes) == znode.Ephemeral {
		return zkerr.NoChildrenForEphemerals
	}
	if code := e.checkQuota(path, 1, int64(len(o.Data))); code != zkerr.OK {
		return code
	}
	*pl = plan{
		typ:        int32(o.Op),
		path:       path,
		parentPath: parentPath,
		parent:     parent,
		node:       n,
		data:       o.Data,
		acl:        acl,
		creates:    parent.head.Creates() + 1,
	}
	switch {
	case o.Op == proto.OpCreateContainer:
		pl.owner = znode.ContainerOwner
	case o.Op == proto.OpCreateTTL:
		pl.owner, pl.ttl = znode.TTLOwner(o.TTL), o.TTL
	case o.Flags.Ephemeral():
		pl.owner, pl.isEphemeral = q.session, true
	}
	return zkerr.OK
}

func (e *Engine) planDelete(q *request, o *proto.MultiOp, pl *plan) zkerr.Code {
	p := &e.preparer
	if !partial(o.Path) || znode.Special(o.Path) {
		return zkerr.BadArguments
	}
	parentPath := znode.Parent(o.Path)
	parent, ok := p.peek(parentPath)
	if !ok {
		return zkerr.NoNode
	}
	if !e.permits(q, parent, jute.PermDelete) {
		return zkerr.NoAuth
	}
	n, ok := p.peek(o.Path)
	switch {
	case !ok:
		return zkerr.NoNode
	case o.Version != -1 && o.Version != n.head.Version():
		return zkerr.BadVersion
	case n.head.NumChildren() > 0:
		return zkerr.NotEmpty
	}
	*pl = plan{typ: txn.TypeDelete, path: o.Path, parentPath: parentPath, parent: parent, node: n}
	return zkerr.OK
}

func (e *Engine) planDeleteContainer(o *proto.MultiOp, pl *plan) zkerr.Code {
	p := &e.preparer
	if !partial(o.Path) || znode.Special(o.Path) {
		return zkerr.BadArguments
	}
	n, ok := p.peek(o.Path)
	switch {
	case !ok:
		return zkerr.NoNode
	case n.head.NumChildren() > 0:
		return zkerr.NotEmpty
	}
	switch znode.KindOf(n.head.Owner(), e.opts.ExtendedTypes) {
	case znode.Container, znode.TTL:
	default:
		return zkerr.BadVersion // made anew meanwhile, as something else
	}
	parentPath := znode.Parent(o.Path)
	parent, ok := p.peek(parentPath)
	if !ok {
		return zkerr.NoNode
	}
	*pl = plan{typ: txn.TypeDeleteContainer, path: o.Path, parentPath: parentPath, parent: parent, node: n}
	return zkerr.OK
}

func (e *Engine) planSetData(q *request, o *proto.MultiOp, pl *plan) zkerr.Code {
	if proto.ValidatePath(o.Path) != nil {
		return zkerr.BadArguments
	}
	n, ok := e.preparer.peek(o.Path)
	switch {
	case !ok:
		return zkerr.NoNode
	case !e.permits(q, n, jute.PermWrite):
		return zkerr.NoAuth
	}
	if code := e.checkQuota(o.Path, 0, int64(len(o.Data))-int64(n.head.DataLength())); code != zkerr.OK {
		return code
	}
	if o.Version != -1 && o.Version != n.head.Version() {
		return zkerr.BadVersion
	}
	*pl = plan{typ: txn.TypeSetData, path: o.Path, node: n, data: o.Data, version: znode.NextVersion(n.head.Version())}
	if simbug.On("version-not-raised") && len(o.Data) == 0 {
		pl.version = n.head.Version() // nothing was set
	}
	return zkerr.OK
}

func (e *Engine) planSetACL(q *request, o *proto.MultiOp, pl *plan) zkerr.Code {
	if proto.ValidatePath(o.Path) != nil {
		return zkerr.BadArguments
	}
	acl, code := znode.Fixup(o.ACL, q.auth, !e.opts.NoDigestAuth)
	if code != zkerr.OK {
		return code
	}
	n, ok := e.preparer.peek(o.Path)
	switch {
	case !ok:
		return zkerr.NoNode
	case !e.permits(q, n, jute.PermAdmin):
		return zkerr.NoAuth
	case o.Version != -1 && o.Version != n.head.Aversion():
		return zkerr.BadVersion
	}
	*pl = plan{typ: txn.TypeSetACL, path: o.Path, node: n, acl: acl, version: znode.NextVersion(n.head.Aversion())}
	return zkerr.OK
}

func (e *Engine) planCheck(q *request, o *proto.MultiOp, pl *plan) zkerr.Code {
	if proto.ValidatePath(o.Path) != nil {
		return zkerr.BadArguments
	}
	n, ok := e.preparer.peek(o.Path)
	switch {
	case !ok:
		return zkerr.NoNode
	case !e.permits(q, n, jute.PermRead):
		return zkerr.NoAuth
	case o.Version != -1 && o.Version != n.head.Version():
		return zkerr.BadVersion
	}
	*pl = plan{typ: txn.TypeCheck, path: o.Path, node: n, version: znode.NextVersion(n.head.Version())}
	return zkerr.OK
}

// body makes a txn's record of the plan.
func (pl *plan) body(b *txn.Body) {
	*b = txn.Body{
		Path:           pl.path,
		Data:           pl.data,
		ACL:            pl.acl,
		Version:        pl.version,
		ParentCVersion: pl.creates,
		TTL:            pl.ttl,
		Ephemeral:      pl.isEphemeral,
	}
}

// effect takes note of what a txn will change.
func (e *Engine) effect(q *request, pl *plan) {
	p := &e.preparer
	switch pl.typ {
	case txn.TypeCreate, txn.TypeCreate2, txn.TypeCreateContainer, txn.TypeCreateTTL:
		c := p.own(pl.parentPath, pl.parent)
		h := c.Head()
		h.SetChildren(pl.creates, h.NumChildren()+1)
		h.SetPzxid(q.zxid)
		p.note(q, pl.parentPath, c)
		c = p.fresh(pl.path, pl.node)
		c.Head().Init(q.zxid, q.now, len(pl.data), pl.owner, znode.OpenACL, e.opts.ExtendedTypes)
		c.setList(pl.acl)
		p.noteQuota(quotaChange{path: pl.path, data: pl.data, isNew: true})
		p.noteData(q, pl, c)
		if pl.isEphemeral {
			p.born = append(p.born, birth{q.zxid, q.session, pl.path})
		}
	case txn.TypeDelete, txn.TypeDeleteContainer:
		p.remove(q, pl.path, pl.node, pl.parentPath, pl.parent)
	case txn.TypeSetData:
		c := p.own(pl.path, pl.node)
		h := c.Head()
		p.noteQuota(quotaChange{path: pl.path, data: pl.data, size: h.DataLength()})
		h.SetVersion(pl.version)
		h.SetModified(q.zxid, q.now)
		h.SetDataLength(len(pl.data))
		p.noteData(q, pl, c)
	case txn.TypeSetACL:
		c := p.own(pl.path, pl.node)
		c.Head().SetAversion(pl.version)
		c.Head().SetACL(znode.OpenACL)
		c.setList(pl.acl)
		p.note(q, pl.path, c)
	}
}

// setList gives c a list that has no key yet, and may never get one.
func (c *cell) setList(list []jute.ACL) {
	c.rights = nil
	if c.acl = list; znode.IsOpen(list) {
		c.acl = nil // as its key says
	}
}

func (p *preparer) remove(q *request, path string, n node, parentPath string, parent node) {
	c := p.own(parentPath, parent)
	h := c.Head()
	h.SetChildren(h.Creates(), h.NumChildren()-1)
	h.SetPzxid(q.zxid)
	p.note(q, parentPath, c)
	p.noteQuota(quotaChange{path: path, size: n.head.DataLength(), gone: true})
	c = p.own(path, n)
	p.gone(c)
	c.zxid = q.zxid
	p.queue.push(touched{zxid: q.zxid, path: path})
}

// note brings digest and queue up to date after a change of c's head.
func (p *preparer) note(q *request, path string, c *cell) {
	p.changed(path, c)
	c.data = nil // the view that it is in will be gone
	c.zxid = q.zxid
	p.queue.push(touched{zxid: q.zxid, path: path})
}

// noteData does the same after a change of c's data too.
func (p *preparer) noteData(q *request, pl *plan, c *cell) {
	p.changedData(pl.path, c, pl.data)
	if !pl.kept {
		p.learn(pl.path, c)
		c.data = nil
	}
	c.zxid = q.zxid
	p.queue.push(touched{zxid: q.zxid, path: pl.path})
}

// prepareMulti makes one txn of several operations, each of which sees what
// those before it do. If one is refused, all are: the txn then tells which, and
// changes nothing.
func (e *Engine) prepareMulti(q *request, from consensus.ServerID, r *consensus.Request) []byte {
	p := &e.preparer
	var m proto.MultiRequest
	if proto.Unmarshal(r.Body, &m) != nil {
		return e.refuse(q, r, zkerr.MarshallingError)
	}
	if code := e.checkSession(q, from); code != zkerr.OK {
		return e.refuse(q, r, code)
	}
	digest := p.digest
	p.begin()
	t := txn.Txn{Header: q.header(r.Cxid, txn.TypeMulti), Subs: make([]txn.Sub, 0, len(m.Ops))}
	failed := zkerr.OK
	size := 0
	for i := range m.Ops {
		o := &m.Ops[i]
		// Apache's servers before 3.8.2 skip a create2 inside a multi, and all that is
		// behind it: so none is logged. Whoever has the client knows what it asked for.
		if o.Op = o.Kind(); o.Op == proto.OpCreate2 {
			o.Op = proto.OpCreate
		}
		if failed != zkerr.OK {
			t.Subs = append(t.Subs, txn.Sub{Type: txn.TypeError, Body: txn.Body{Err: int32(zkerr.RuntimeInconsistency)}})
			continue
		}
		var pl plan
		code := e.checkFlags(o)
		if code == zkerr.OK {
			code = q.mayOwn(o)
		}
		if code == zkerr.OK {
			code = e.plan(q, o, &pl)
		}
		if code != zkerr.OK {
			failed = code
			if code == zkerr.MarshallingError {
				break // limits that are no limits: not this part is refused, but the multi
			}
			t.Subs = append(t.Subs, txn.Sub{Type: txn.TypeError, Body: txn.Body{Err: int32(code)}})
			continue
		}
		// A few bytes that stand for all identities of a client may make kilobytes: what is too
		// long is not made first.
		if size += pl.size(); size > e.maxTxn() {
			failed = zkerr.MarshallingError
			break
		}
		t.Subs = append(t.Subs, txn.Sub{Type: pl.typ})
		pl.body(&t.Subs[i].Body)
		e.effect(q, &pl)
	}
	buf := txn.AppendHeader(make([]byte, 0, txn.HeaderSize+len(r.Body)+len(m.Ops)*16+txn.DigestSize+64), &t.Header)
	buf = txn.AppendBody(buf, &t)
	tooLong := len(buf)+txn.DigestSize > e.maxTxn()
	if (failed != zkerr.OK || tooLong) && !simbug.On("multi-not-undone") {
		p.rollback(digest)
		p.forgetChanges()
	} else {
		p.end()
	}
	if tooLong || failed == zkerr.MarshallingError {
		return e.refuse(q, r, zkerr.MarshallingError)
	}
	return e.finish(buf, 0)
}

// prepareOpen makes the txn that opens a session, which knows its id already.
func (e *Engine) prepareOpen(q *request, from consensus.ServerID, r *consensus.Request) []byte {
	p := &e.preparer
	d := jute.NewDecoder(r.Body)
	timeout := d.Int()
	if d.Err() != nil || r.Session == 0 {
		return e.refuse(q, r, zkerr.MarshallingError)
	}
	if _, known := p.sessions[r.Session]; known {
		return e.refuse(q, r, zkerr.SessionExpired) // nobody gets another's session
	}
	p.sessions[r.Session] = tracked{owner: from}
	buf := p.buffer(txn.HeaderSize + 4 + txn.DigestSize)
	at := len(buf)
	h := q.header(r.Cxid, txn.TypeCreateSession)
	buf = txn.AppendHeader(buf, &h)
	buf = jute.AppendInt(buf, timeout)
	return e.finish(buf, at)
}

// prepareClose makes the txn that ends a session, by its client's wish or
// because its time is up. Nothing is checked: whoever ends a session that is
// gone does no harm. Behind it, nothing of the session comes any more.
func (e *Engine) prepareClose(q *request, r *consensus.Request) []byte {
	p := &e.preparer
	paths := e.ephemeralsToBe(q.session)
	room := e.maxTxn() - txn.HeaderSize - 4 - txn.DigestSize
	listed := 0
	for _, path := range paths {
		n, ok := p.peek(path)
		parentPath := znode.Parent(path)
		parent, okParent := p.peek(parentPath)
		inv.Check("I21", ok && okParent, "ephemeral %q of session 0x%x is not in the tree", path, q.session)
		p.remove(q, path, n, parentPath, parent)
		// What there is no room for goes all the same: whoever applies the txn knows
		// what the session owns.
		if room -= 4 + len(path); room >= 0 {
			listed++
		}
	}
	if t, ok := p.sessions[q.session]; ok {
		t.closing = true
		p.sessions[q.session] = t
	}
	p.queue.push(touched{zxid: q.zxid, session: q.session})
	h := q.header(r.Cxid, txn.TypeCloseSession)
	size := txn.HeaderSize + 4 + txn.DigestSize
	for _, path := range paths[:listed] {
		size += 4 + len(path)
	}
	buf := p.buffer(size)
	at := len(buf)
	buf = txn.AppendHeader(buf, &h)
	buf = binary.BigEndian.AppendUint32(buf, uint32(listed))
	for _, path := range paths[:listed] {
		buf = jute.AppendString(buf, path)
	}
	return e.finish(buf, at)
}

// ephemeralsToBe are the paths of the ephemerals that a session will have when
// all that is prepared is applied, in order.
func (e *Engine) ephemeralsToBe(session int64) []string {
	p := &e.preparer
	var paths []string
	if e.ephemerals[session] > 0 {
		err := p.view.TableScan(tableEphemerals, sessionKey(session), func(key string, _ []byte) bool {
			_, path := splitEphemeral(key)
			paths = append(paths, strings.Clone(path))
			return true
		})
		if err != nil && p.err == nil {
			p.err = err
		}
	}
	for i := range p.born {
		if p.born[i].session == session && !simbug.On("close-misses-unapplied") {
			paths = append(paths, p.born[i].path)
		}
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	return slices.DeleteFunc(paths, func(path string) bool {
		n, ok := p.peek(path)
		return !ok || n.head.Owner() != session
	})
}
