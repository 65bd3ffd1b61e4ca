package judge

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/model"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/test/history"
)

// replay makes what was committed once more with the plain model, in the order of
// the zxids: each reply is to be the very one that the model gives (I02), each
// read that of the state at the zxid in its header, and the tree's digest behind
// each txn that of the model (I26). On the way it gathers the events that are owed
// to each connection.
func (c *court) replay(*Options) {
	if c.ledger == nil {
		return
	}
	r := &replayer{court: c, m: c.model, known: map[int64]bool{}}
	for _, o := range c.ops {
		if o.answered() && !o.own && o.zxid >= 0 && !forNobody(o.code) {
			switch o.op {
			case proto.OpPing, proto.OpAuth, proto.OpSASL, proto.OpReconfig, proto.OpCloseSession:
				continue
			}
			r.reads = append(r.reads, o)
			if z := o.zxid; z > c.ledger.last || c.ledger.byZxid[z] == nil && z&(1<<32-1) != 0 {
				c.v.add("I13", fmt.Sprintf("%s is answered from 0x%x, which nobody committed", o, z), o.call, o.reply)
			}
		}
	}
	// Of two answers to one connection from the same state the first was made first.
	slices.SortStableFunc(r.reads, func(a, b *op) int {
		return cmp.Or(cmp.Compare(a.zxid, b.zxid), cmp.Compare(a.reply, b.reply))
	})
	for i := range c.run.Trees {
		r.trees = append(r.trees, &c.run.Trees[i])
	}
	slices.SortStableFunc(r.trees, func(a, b *history.Tree) int { return cmp.Compare(a.Zxid, b.Zxid) })
	r.ends = slices.Clone(c.conns)
	slices.SortStableFunc(r.ends, func(a, b *conn) int { return cmp.Compare(a.horizon, b.horizon) })

	for _, t := range c.ledger.txns {
		r.until(t.Header.Zxid)
		if !r.apply(t) {
			c.v.blind("the replay ends at 0x%x of 0x%x: the model and the ensemble are not the same any more", t.Header.Zxid, c.ledger.last)
			r.broken = true
			break
		}
	}
	if !r.broken {
		r.until(never)
	}
	c.compareEvents(r)
}

type replayer struct {
	*court
	m      *model.Model
	reads  []*op // by zxid
	trees  []*history.Tree
	ends   []*conn        // by what they saw last
	known  map[int64]bool // the sessions that txns have opened or closed
	broken bool           // the replay did not come to the end
}

// until does what stands between the last txn and the one at zxid.
func (r *replayer) until(zxid int64) {
	for len(r.reads) > 0 && r.reads[0].zxid < zxid {
		r.read(r.reads[0])
		r.reads = r.reads[1:]
	}
	for len(r.trees) > 0 && r.trees[0].Zxid < zxid {
		r.compareTree(r.trees[0])
		r.trees = r.trees[1:]
	}
	// Whoever saw nothing from here on may have been told of nothing more.
	for len(r.ends) > 0 && r.ends[0].horizon < zxid {
		r.m.Forget(uint64(r.ends[0].no))
		r.ends = r.ends[1:]
	}
}

// apply makes one txn. It is false if the replay can't go on.
func (r *replayer) apply(t *committed) bool {
	h := &t.Header
	q := model.Request{Session: h.ClientID, Local: r.run.About.LocalSessions && !r.known[h.ClientID]}
	if h.Type == txn.TypeCreateSession || h.Type == txn.TypeCloseSession {
		r.known[h.ClientID] = true
	}
	if h.Type == txn.TypeCreateSession && r.run.About.LocalSessions {
		r.v.Counts["local sessions upgraded"]++
	}
	if q.Local && t.op != nil && t.effect() {
		r.v.Counts["writes of local sessions"]++
	}
	switch {
	case h.Type == txn.TypeCreateSession:
		q.Op, q.Body = proto.OpCreateSession, jute.AppendInt(nil, t.TimeoutMS)
	case h.Type == txn.TypeCloseSession:
		q.Op = proto.OpCloseSession
	case h.Type == txn.TypeDeleteContainer:
		q.Op, q.Body = proto.OpDeleteContainer, (&proto.PathRequest{Path: t.Path}).Append(nil)
	case t.op != nil:
		q.Op, q.Body, q.IDs = t.op.op, t.op.body, t.op.ids
	case h.Type == txn.TypeError && h.Cxid == 0:
		q.Op = proto.OpError // something of the server's own that came to nothing
	default:
		r.v.add("I07", fmt.Sprintf("%s: nobody has asked for it", t))
		if h.Type != txn.TypeError {
			return false
		}
		q.Op = proto.OpError
	}
	refusedUnseen := false
	if h.Type == txn.TypeError && t.op != nil {
		switch code := zkerr.Code(t.Err); {
		case code == zkerr.SessionMoved:
			// The server that sent it does not speak for the session any more, which the
			// model doesn't know. Its client must not be answered.
			if t.op.answered() && t.op.zxid == h.Zxid {
				r.v.add("I03", fmt.Sprintf("%s is answered with session moved", t.op), t.op.call, t.op.reply)
			}
			refusedUnseen = true
		case code == zkerr.MarshallingError && len(t.op.body) > 256<<10:
			refusedUnseen = true // too long for a txn
		}
	}
	if refusedUnseen {
		q.Op = proto.OpError
	}
	res := r.m.Write(h.Zxid, h.Time, q)
	for i := range res.Events {
		r.owe(&res.Events[i], h.Zxid, nil)
	}
	switch {
	case refusedUnseen, q.Op == proto.OpError:
		return true
	case h.Type == txn.TypeError && res.Code != zkerr.Code(t.Err),
		h.Type != txn.TypeError && res.Code != zkerr.OK:
		r.v.add("I02", fmt.Sprintf("%s: the model says %v", t, res.Code), r.places(t.op)...)
		if (res.Code == zkerr.OK) != (h.Type != txn.TypeError) {
			return false
		}
	}
	if t.HasDigest && t.Digest.Version == txn.DigestVersion {
		r.v.Counts["I26 digests"]++
		if t.Digest.Tree != r.m.Digest() {
			r.v.add("I26", fmt.Sprintf("%s: the txn says that the tree's digest is %d, the model's is %d", t, t.Digest.Tree, r.m.Digest()), r.places(t.op)...)
			return false
		}
	}
	if t.op != nil && t.op.txn == t && t.op.answered() {
		r.v.Counts["I02 writes"]++
		r.compare(t.op, res)
	}
	return true
}

func (r *replayer) places(o *op) []int {
	if o == nil {
		return nil
	}
	return []int{o.call, o.reply}
}

// read makes one read in the state that it was answered from.
func (r *replayer) read(o *op) {
	q := model.Request{Session: o.session(), IDs: o.ids, Op: o.op, Body: o.body, Watcher: uint64(o.conn.no)}
	if isWrite(o.op) {
		// A server has refused it on its own.
		res := model.Result{Code: r.m.Check(q)}
		r.compare(o, res)
		return
	}
	r.v.Counts["I02 reads"]++
	res := r.m.Read(q)
	r.compare(o, res)
	for i := range res.Events {
		r.owe(&res.Events[i], -1, o)
	}
}

func (r *replayer) compare(o *op, want model.Result) {
	if o.code == want.Code && (o.code != zkerr.OK || same(o.op, o.out, want.Body)) {
		return
	}
	w := history.Record{Kind: history.Reply, Xid: o.xid, Op: int32(o.op), Zxid: o.zxid, Err: int32(want.Code), Body: want.Body}
	r.v.add("I02", fmt.Sprintf("%s: the model says%s", o, w.String()[13:]), o.call, o.reply)
}

// same compares response records. The order of names and paths is the server's
// own business.
func same(op proto.Op, got, want []byte) bool {
	if bytes.Equal(got, want) {
		return true
	}
	rec := proto.NewResponse(op)
	if rec == nil || proto.Unmarshal(got, rec) != nil || !bytes.Equal(rec.Append(nil), got) {
		return false
	}
	switch p := rec.(type) {
	case *proto.StringsResponse:
		slices.Sort(p.Strings)
	case *proto.GetChildren2Response:
		slices.Sort(p.Children)
	case *proto.MultiResponse:
		for i := range p.Results {
			slices.Sort(p.Results[i].Children)
		}
	case *proto.WhoAmIResponse:
		var wanted proto.WhoAmIResponse
		if proto.Unmarshal(want, &wanted) != nil {
			return false
		}
		order := func(a, b proto.ClientInfo) int {
			return cmp.Or(cmp.Compare(a.AuthScheme, b.AuthScheme), cmp.Compare(a.User, b.User))
		}
		slices.SortFunc(p.ClientInfo, order)
		slices.SortFunc(wanted.ClientInfo, order)
		return slices.Equal(p.ClientInfo, wanted.ClientInfo)
	}
	return bytes.Equal(rec.Append(nil), want)
}

// compareTree holds a server's tree against the model's at the same zxid.
func (r *replayer) compareTree(t *history.Tree) {
	r.v.Counts["I26 trees"]++
	wrong := func(format string, args ...any) {
		r.v.add("I26", fmt.Sprintf("server %d at 0x%x: ", t.Server, t.Zxid)+fmt.Sprintf(format, args...))
	}
	if t.Digest != 0 && t.Digest != r.m.Digest() {
		wrong("its digest is %d, the model's %d", t.Digest, r.m.Digest())
	}
	left := r.m.Nodes()
	for i := range t.Nodes {
		z := &t.Nodes[i]
		n := left[z.Path]
		delete(left, z.Path)
		if n == nil {
			wrong("it has %s, the model has not", z.Path)
			continue
		}
		want := history.Znode{Path: z.Path, Data: n.Data, ACL: n.ACL, Czxid: n.Czxid, Mzxid: n.Mzxid, Pzxid: n.Pzxid, Ctime: n.Ctime, Mtime: n.Mtime,
			Version: n.Version, Creates: n.Creates, Aversion: n.Aversion, Owner: n.StoredOwner()}
		if z.Path == "/zookeeper/config" {
			want.Mtime = z.Mtime // each server's own
		}
		if !equal(z, &want) {
			wrong("it has %+v, the model %+v", *z, want)
		}
	}
	for path := range left {
		wrong("it has no %s, the model has", path)
	}
	sessions := r.m.Sessions()
	for id, timeout := range t.Sessions {
		if want, ok := sessions[id]; !ok || want != timeout {
			wrong("it has session 0x%x with %d ms, the model has %d", id, timeout, want)
		}
		delete(sessions, id)
	}
	for id := range sessions {
		wrong("it has no session 0x%x, the model has", id)
	}
}

func equal(a, b *history.Znode) bool {
	return a.Path == b.Path && bytes.Equal(a.Data, b.Data) && (a.Data == nil) == (b.Data == nil) && slices.Equal(a.ACL, b.ACL) &&
		a.Czxid == b.Czxid && a.Mzxid == b.Mzxid && a.Pzxid == b.Pzxid && a.Ctime == b.Ctime && a.Mtime == b.Mtime &&
		a.Version == b.Version && a.Creates == b.Creates && a.Aversion == b.Aversion && a.Owner == b.Owner
}
