package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// A Request is what a client asks for. Op may also be createSession, which the
// server asks for that a client connects to, and deleteContainer, which the
// leader does.
type Request struct {
	Session int64
	Local   bool      // no txn has opened the session: one server alone knows it
	IDs     []jute.ID // who asks
	Op      proto.Op
	Body    []byte // the request record
	Watcher uint64 // reads: who is told of changes, if the request says so; not 0
}

// A Result is what comes of a request.
type Result struct {
	Code   zkerr.Code
	Body   []byte  // the response record, if Code is OK
	Events []Event // in the order in which each watcher hears of them
}

// Write makes the write with this zxid, at this time. Also one that is refused
// has a zxid.
func (m *Model) Write(zxid, timeMS int64, q Request) Result {
	m.zxid = zxid
	m.undo, m.changes = m.undo[:0], m.changes[:0]
	w := write{m: m, now: timeMS, session: q.Session, local: q.Local, ids: q.IDs}
	if m.opts.EnforceQuota {
		w.quotas = m.quotas()
	}
	code, body := w.do(&q)
	if code != zkerr.OK {
		m.rollback()
		return Result{Code: code}
	}
	m.writeUsage()
	return Result{Body: body, Events: m.fire()}
}

// write is one that is being made.
type write struct {
	m       *Model
	now     int64
	session int64
	local   bool
	ids     []jute.ID
	multi   bool
	quotas  map[string]quota // before it, if they are enforced
}

func (w *write) do(q *Request) (zkerr.Code, []byte) {
	m := w.m
	switch q.Op {
	case proto.OpCreateSession:
		d := jute.NewDecoder(q.Body)
		timeout := d.Int()
		switch {
		case d.Err() != nil, q.Session == 0:
			return zkerr.MarshallingError, nil
		case m.Open(q.Session):
			return zkerr.SessionExpired, nil
		}
		m.sessions[q.Session] = timeout
		return zkerr.OK, nil
	case proto.OpCloseSession:
		for _, path := range m.Ephemerals(q.Session) {
			w.remove(path)
		}
		delete(m.sessions, q.Session)
		return zkerr.OK, nil
	case proto.OpReconfig:
		return zkerr.ReconfigDisabled, nil
	case proto.OpDeleteContainer:
		return w.deleteContainer(q.Body), nil
	case proto.OpMulti:
		return w.several(q)
	case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL,
		proto.OpDelete, proto.OpSetData, proto.OpSetACL:
	default:
		return zkerr.Unimplemented, nil
	}
	o, ok := decode(q.Op, q.Body)
	if !ok {
		return zkerr.MarshallingError, nil
	}
	if code := w.mode(&o); code != zkerr.OK {
		return code, nil
	}
	if !q.Local && !m.Open(q.Session) {
		return zkerr.SessionExpired, nil
	}
	res, code := w.one(&o)
	if code != zkerr.OK {
		return code, nil
	}
	switch q.Op {
	case proto.OpCreate:
		return code, jute.AppendString(nil, res.Path)
	case proto.OpDelete:
		return code, nil
	case proto.OpSetData, proto.OpSetACL:
		return code, res.Stat.Append(nil)
	}
	return code, res.Stat.Append(jute.AppendString(nil, res.Path))
}

// An op is one of a multi or a request of its own: setACL, which no multi can
// hold, has its list where creates have theirs.
type op = proto.MultiOp

func decode(code proto.Op, body []byte) (op, bool) {
	rec := proto.NewRequest(code)
	if proto.Unmarshal(body, rec) != nil {
		return op{}, false
	}
	o := op{Op: code}
	switch r := rec.(type) {
	case *proto.CreateRequest:
		o.Path, o.Data, o.ACL, o.Flags = r.Path, r.Data, r.ACL, r.Flags
	case *proto.CreateTTLRequest:
		o.Path, o.Data, o.ACL, o.Flags, o.TTL = r.Path, r.Data, r.ACL, r.Flags, r.TTL
	case *proto.VersionRequest:
		o.Path, o.Version = r.Path, r.Version
	case *proto.SetDataRequest:
		o.Path, o.Data, o.Version = r.Path, r.Data, r.Version
	case *proto.SetACLRequest:
		o.Path, o.ACL, o.Version = r.Path, r.ACL, r.Version
	}
	o.Data = slices.Clone(o.Data) // a znode's data is its own
	return o, true
}

// several makes all of a multi, or nothing of it.
func (w *write) several(q *Request) (zkerr.Code, []byte) {
	var req proto.MultiRequest
	if proto.Unmarshal(q.Body, &req) != nil {
		return zkerr.MarshallingError, nil
	}
	if !q.Local && !w.m.Open(q.Session) {
		return zkerr.SessionExpired, nil
	}
	w.multi = true
	var resp proto.MultiResponse
	for i := range req.Ops {
		o := req.Ops[i]
		o.Data = slices.Clone(o.Data)
		code := w.mode(&o)
		var res proto.MultiResult
		if code == zkerr.OK {
			res, code = w.one(&o)
		}
		if code == zkerr.OK {
			resp.Results = append(resp.Results, res)
			continue
		}
		if code == zkerr.MarshallingError {
			return code, nil // limits that say nothing: it is the server that stumbles, over the whole
		}
		w.m.rollback()
		resp.Results = nil
		for j := range req.Ops {
			c := zkerr.OK
			switch {
			case j == i:
				c = code
			case j > i:
				c = zkerr.RuntimeInconsistency
			}
			resp.Results = append(resp.Results, proto.MultiResult{Op: proto.OpError, Err: c})
		}
		break
	}
	return zkerr.OK, resp.Append(nil)
}

// mode is what is said of a create's flags before anything else.
func (w *write) mode(o *op) zkerr.Code {
	switch o.Op {
	case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL:
	default:
		return zkerr.OK
	}
	ttl := o.Flags == 5 || o.Flags == 6
	switch {
	case o.Flags < 0 || o.Flags > 6:
		return zkerr.BadArguments
	case w.multi && !ttl:
		return zkerr.OK // a createTTL without is a plain create there
	case ttl && !w.m.opts.ExtendedTypes:
		return zkerr.Unimplemented
	case ttl != (o.Op == proto.OpCreateTTL), ttl && (o.TTL < 1 || o.TTL >= 1<<40):
		return zkerr.BadArguments
	}
	return zkerr.OK
}

// one makes one operation, or says why not. The result is a multi's.
func (w *write) one(o *op) (proto.MultiResult, zkerr.Code) {
	switch o.Op {
	case proto.OpDelete:
		return proto.MultiResult{Op: proto.OpDelete}, w.delete(o)
	case proto.OpSetData, proto.OpSetACL, proto.OpCheck:
		return w.change(o)
	}
	return w.create(o)
}

func (w *write) create(o *op) (proto.MultiResult, zkerr.Code) {
	m := w.m
	var res proto.MultiResult
	path := o.Path
	flagged := o.Flags == 1 || o.Flags == 3
	ephemeral := flagged && o.Op != proto.OpCreateContainer
	switch {
	case ephemeral && w.local:
		return res, zkerr.EphemeralOnLocalSession
	case flagged && w.local:
		return res, zkerr.SessionExpired
	}
	if !strings.Contains(path, "/") || strings.Contains(path, "\x00") {
		return res, zkerr.BadArguments
	}
	acl, ok := wellFormed(o.ACL, w.ids)
	if !ok {
		return res, zkerr.InvalidACL
	}
	parentPath, _ := split(path)
	parent := m.nodes[parentPath]
	if parent == nil {
		return res, zkerr.NoNode
	}
	if !Permits(parent.ACL, jute.PermCreate, w.ids) {
		return res, zkerr.NoAuth
	}
	if o.Flags == 2 || o.Flags == 3 || o.Flags == 6 {
		path += fmt.Sprintf("%010d", parent.Creates)
	}
	if proto.ValidatePath(path) != nil {
		return res, zkerr.BadArguments
	}
	if m.nodes[path] != nil {
		return res, zkerr.NodeExists
	}
	if parent.Kind == Ephemeral {
		return res, zkerr.NoChildrenForEphemerals
	}
	if code := w.within(path, o, nil); code != zkerr.OK {
		return res, code
	}
	p := *parent
	p.Creates++
	p.Pzxid = m.zxid
	m.put(parentPath, &p)
	n := &Node{Data: o.Data, ACL: acl, Czxid: m.zxid, Mzxid: m.zxid, Pzxid: m.zxid, Ctime: w.now, Mtime: w.now}
	res = proto.MultiResult{Op: proto.OpCreate2, Path: path}
	switch {
	case o.Op == proto.OpCreateContainer, w.multi && o.Flags == 4:
		n.Kind = Container
	case o.Op == proto.OpCreateTTL && (o.Flags == 5 || o.Flags == 6):
		n.Kind, n.TTLMS = TTL, o.TTL
	default:
		if o.Op != proto.OpCreate2 {
			res.Op = proto.OpCreate
		}
		if ephemeral {
			n.Kind, n.Owner = Ephemeral, w.session
		}
	}
	m.put(path, n)
	m.changed(created, path, n, parentPath, &p)
	res.Stat = m.Stat(path)
	return res, zkerr.OK
}

func (w *write) delete(o *op) zkerr.Code {
	m := w.m
	if !strings.Contains(o.Path, "/") || strings.Contains(o.Path, "\x00") || slices.Contains(special, o.Path) {
		return zkerr.BadArguments
	}
	parentPath, _ := split(o.Path)
	parent := m.nodes[parentPath]
	if parent == nil {
		return zkerr.NoNode
	}
	if !Permits(parent.ACL, jute.PermDelete, w.ids) {
		return zkerr.NoAuth
	}
	n := m.nodes[o.Path]
	switch {
	case n == nil:
		return zkerr.NoNode
	case o.Version != -1 && o.Version != n.Version:
		return zkerr.BadVersion
	case len(m.kids[o.Path]) > 0:
		return zkerr.NotEmpty
	}
	w.remove(o.Path)
	return zkerr.OK
}

// deleteContainer is what the leader does to a container or TTL node whose time
// is up.
func (w *write) deleteContainer(body []byte) zkerr.Code {
	m := w.m
	var r proto.PathRequest
	if proto.Unmarshal(body, &r) != nil {
		return zkerr.MarshallingError
	}
	if !strings.Contains(r.Path, "/") || slices.Contains(special, r.Path) {
		return zkerr.BadArguments
	}
	n := m.nodes[r.Path]
	switch {
	case n == nil:
		return zkerr.NoNode
	case len(m.kids[r.Path]) > 0:
		return zkerr.NotEmpty
	case n.Kind != Container && n.Kind != TTL:
		return zkerr.BadVersion
	}
	w.remove(r.Path)
	return zkerr.OK
}

func (w *write) remove(path string) {
	m := w.m
	n := m.nodes[path]
	m.drop(path)
	parentPath, _ := split(path)
	p := *m.nodes[parentPath]
	p.Pzxid = m.zxid
	m.put(parentPath, &p)
	m.changed(deleted, path, n, parentPath, &p)
}

// change is setData, setACL and check, which are checked alike.
func (w *write) change(o *op) (proto.MultiResult, zkerr.Code) {
	m := w.m
	var res proto.MultiResult
	if proto.ValidatePath(o.Path) != nil {
		return res, zkerr.BadArguments
	}
	var acl []jute.ACL
	if o.Op == proto.OpSetACL {
		var ok bool
		if acl, ok = wellFormed(o.ACL, w.ids); !ok {
			return res, zkerr.InvalidACL
		}
	}
	was := m.nodes[o.Path]
	if was == nil {
		return res, zkerr.NoNode
	}
	n := *was
	perm, version := jute.PermWrite, &n.Version
	switch o.Op {
	case proto.OpCheck:
		perm = jute.PermRead
	case proto.OpSetACL:
		perm, version = jute.PermAdmin, &n.Aversion
	}
	if !Permits(n.ACL, perm, w.ids) {
		return res, zkerr.NoAuth
	}
	if o.Op == proto.OpSetData {
		if code := w.within(o.Path, o, was); code != zkerr.OK {
			return res, code
		}
	}
	if o.Version != -1 && o.Version != *version {
		return res, zkerr.BadVersion
	}
	res = proto.MultiResult{Op: o.Op}
	if o.Op == proto.OpCheck {
		return res, zkerr.OK
	}
	if *version++; *version == -1 {
		*version = 0 // which in a request means any
	}
	if o.Op == proto.OpSetACL {
		n.ACL = acl
		m.put(o.Path, &n)
	} else {
		n.Data, n.Mzxid, n.Mtime = o.Data, m.zxid, w.now
		m.put(o.Path, &n)
		m.changed(dataSet, o.Path, &n, "", nil)
	}
	res.Stat = m.Stat(o.Path)
	return res, zkerr.OK
}
