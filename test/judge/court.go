package judge

import (
	"fmt"
	"slices"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/model"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/test/history"
)

// A court has the records sorted by what they belong to.
type court struct {
	run      *history.Run
	v        *Verdict
	conns    []*conn // in the order in which they began
	ops      []*op   // in the order of the calls
	sessions map[int64]*session
	order    []*session // in the order in which they were first seen
	ledger   *ledger    // of the committed txns; nil if nobody looked
	model    *model.Model

	touchList []touch
}

// A conn is one connection of a client.
type conn struct {
	no                                   int // its place among all, from 1: the watcher in the model
	client, n, server                    int
	session                              *session // nil until connected
	asked                                int64    // the session that it came with, 0 for a new one
	seen                                 int64    // the zxid that it came with
	connecting, connected, refused, lost int      // places of records, -1 if there is none
	ops                                  []*op
	stream                               []item    // what came, in order
	addr, ids                            []jute.ID // as whom it is known: at first, and in the end
	auths                                []auth
	horizon                              int64 // the highest zxid that came
	floor                                floor // when it began
	wanted                               []wanted
	shownWrong                           bool // refused for its password, as far as one can tell
}

// An auth is when a connection became known as more.
type auth struct {
	ids  []jute.ID
	call int   // record
	lo   int64 // events up to this zxid came before
	hi   int64 // events beyond this zxid came after
}

// An item is a reply or an event as it came.
type item struct {
	record int
	op     *op // nil: an event
}

// An op is a request and what became of it.
type op struct {
	call, reply int // places of records; reply is -1 if there is none
	conn        *conn
	xid         int32
	op          proto.Op
	body        []byte
	ids         []jute.ID // who asks
	zxid        int64     // of the reply header
	code        zkerr.Code
	out         []byte
	// own says that zxid is that of a txn that this write made.
	own   bool
	txn   *committed // nil if there is none, or nobody looked
	floor floor      // when it was called
}

// A floor is the highest zxid that anybody's write was answered with before some
// moment, and the place of that answer.
type floor struct {
	zxid   int64
	record int
}

// A session is one, over all its connections.
type session struct {
	id        int64
	client    int
	timeoutMS int32
	conns     []*conn
	ops       []*op
	opened    *committed
	closed    *committed // the first that closed it
}

func (o *op) answered() bool { return o.reply >= 0 }

// done says that a write was answered and had an effect. A multi that failed is
// answered OK.
func (o *op) done() bool { return o.answered() && o.code == zkerr.OK && isWrite(o.op) }

func (o *op) String() string {
	return fmt.Sprintf("%s (xid %d of session 0x%x)", o.op, o.xid, o.session())
}

func (o *op) session() int64 {
	if o.conn.session == nil {
		return 0
	}
	return o.conn.session.id
}

func isWrite(op proto.Op) bool {
	switch op {
	case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL, proto.OpDelete,
		proto.OpSetData, proto.OpSetACL, proto.OpMulti, proto.OpReconfig, proto.OpCloseSession:
		return true
	}
	return false
}

// hasOwnZxid says whether a write with this answer surely made a txn: a server
// refuses on its own what can't be decoded, makes no sense, or is not for now.
func hasOwnZxid(o *op) bool {
	return isWrite(o.op) && (o.code == zkerr.OK || o.code < zkerr.APIError && !forNobody(o.code))
}

// forbidden says whether no client may ask for an operation, or nobody knows it.
func forbidden(op proto.Op) bool {
	switch op {
	case proto.OpCheck, proto.OpCreateSession, proto.OpDeleteContainer, proto.OpError:
		return true
	case proto.OpPing, proto.OpAuth, proto.OpSASL, proto.OpCloseSession, proto.OpWhoAmI:
		return false
	}
	return proto.NewRequest(op) == nil
}

// forNobody says whether a server refuses with this code whatever is asked of it.
func forNobody(code zkerr.Code) bool {
	switch code {
	case zkerr.NotReadOnly, zkerr.SessionClosedRequireSASLAuth, zkerr.ThrottledOp, zkerr.EphemeralOnLocalSession:
		return true
	}
	return false
}

type connKey struct{ client, conn int }

func newCourt(run *history.Run, v *Verdict) *court {
	c := &court{run: run, v: v, sessions: map[int64]*session{}}
	c.model = model.New(model.Options{ExtendedTypes: run.About.ExtendedTypes, EnforceQuota: run.About.EnforceQuota, SuperDigest: run.About.SuperDigest,
		ConfigText: run.About.ConfigText, ConfigVersion: run.About.ConfigVersion})
	conns := map[connKey]*conn{}
	type waiting struct{ fifo, pings, auths []*op }
	waits := map[*conn]*waiting{}
	used := map[int64]map[int32]bool{}
	last := int64(0)
	for i := range run.Records {
		r := &run.Records[i]
		if r.At < last {
			v.add("client", "the time of the records goes back", i-1, i)
		}
		last = max(last, r.At)
		switch r.Kind {
		case history.Connecting, history.Connected, history.Refused, history.Lost, history.Call, history.Reply, history.Event:
		default:
			continue
		}
		key := connKey{r.Client, r.Conn}
		cn := conns[key]
		if cn == nil {
			cn = &conn{no: len(c.conns) + 1, client: r.Client, n: r.Conn, server: r.Server, connecting: -1, connected: -1, refused: -1, lost: -1}
			conns[key] = cn
			c.conns = append(c.conns, cn)
			waits[cn] = &waiting{}
		}
		if cn.lost >= 0 {
			v.add("client", "something is recorded of a connection that is lost", cn.lost, i)
			continue
		}
		w := waits[cn]
		switch r.Kind {
		case history.Connecting:
			cn.connecting, cn.asked, cn.seen = i, r.Session, r.Zxid
			cn.addr = []jute.ID{{Scheme: "ip", ID: r.Addr}}
			cn.ids = cn.addr
		case history.Connected:
			cn.connected = i
			s := c.sessions[r.Session]
			if s == nil {
				s = &session{id: r.Session, client: r.Client, timeoutMS: r.TimeoutMS}
				c.sessions[r.Session] = s
				c.order = append(c.order, s)
			}
			cn.session = s
			s.conns = append(s.conns, cn)
		case history.Refused:
			cn.refused = i
		case history.Lost:
			cn.lost = i
		case history.Call:
			if cn.session == nil {
				v.add("client", "a call on a connection without a session", i)
				continue
			}
			o := &op{call: i, reply: -1, conn: cn, xid: r.Xid, op: proto.Op(r.Op), body: r.Body, ids: cn.ids}
			if len(w.auths) > 0 {
				v.add("client", "a call while an auth request is not answered: nobody knows who asks", w.auths[0].call, i)
			}
			switch {
			case o.op == proto.OpPing:
				w.pings = append(w.pings, o)
			case o.op == proto.OpAuth:
				if len(w.fifo) > 0 {
					v.add("client", "an auth request while others are not answered: nobody knows who asks", w.fifo[0].call, i)
				}
				w.auths = append(w.auths, o)
			default:
				w.fifo = append(w.fifo, o)
			}
			if o.xid > 0 {
				id := cn.session.id
				if used[id] == nil {
					used[id] = map[int32]bool{}
				}
				if used[id][o.xid] {
					v.add("client", fmt.Sprintf("xid %d is used twice in session 0x%x", o.xid, id), i)
				}
				used[id][o.xid] = true
			}
			c.ops = append(c.ops, o)
			cn.ops = append(cn.ops, o)
			cn.session.ops = append(cn.session.ops, o)
		case history.Reply:
			queue := &w.fifo
			switch proto.Op(r.Op) {
			case proto.OpPing:
				queue = &w.pings
			case proto.OpAuth:
				queue = &w.auths
			}
			// Replies come in the order of the calls (I03): the oldest call is the one.
			if len(*queue) == 0 || (*queue)[0].xid != r.Xid {
				what := "and nothing was asked"
				at := -1
				if len(*queue) > 0 {
					what, at = fmt.Sprintf("the next that is due is the one to xid %d", (*queue)[0].xid), (*queue)[0].call
				}
				v.add("I03", fmt.Sprintf("a reply to xid %d, %s", r.Xid, what), at, i)
				// Take it for what it says it is, if there is such a call.
				for at, o := range *queue {
					if o.xid == r.Xid {
						*queue = append((*queue)[:at:at], (*queue)[at+1:]...)
						c.take(cn, o, i)
						break
					}
				}
				continue
			}
			o := (*queue)[0]
			*queue = (*queue)[1:]
			c.take(cn, o, i)
		case history.Event:
			cn.stream = append(cn.stream, item{record: i})
			cn.saw(r.Zxid)
		}
	}
	c.openLedger()
	c.findFloors()
	return c
}

// saw takes note of a zxid that came, whatever it came with.
func (cn *conn) saw(zxid int64) {
	if zxid <= 0 {
		return
	}
	cn.horizon = max(cn.horizon, zxid)
	for i := len(cn.auths) - 1; i >= 0 && cn.auths[i].hi == never; i-- {
		cn.auths[i].hi = zxid
	}
}

const never int64 = 1<<63 - 1

// findFloors finds for each request what had been answered when it was called.
func (c *court) findFloors() {
	calls := map[int]*floor{}
	replies := map[int]int64{}
	for _, cn := range c.conns {
		if cn.connecting >= 0 {
			calls[cn.connecting] = &cn.floor
		}
		if s := cn.session; s != nil && cn.asked == 0 && s.opened != nil && !c.run.About.LocalSessions {
			replies[cn.connected] = s.opened.Header.Zxid
		}
	}
	for _, o := range c.ops {
		calls[o.call] = &o.floor
		if o.answered() && o.own {
			replies[o.reply] = o.zxid
		}
	}
	top := floor{record: -1}
	for i := range c.run.Records {
		if f := calls[i]; f != nil {
			*f = top
		}
		if zxid := replies[i]; zxid > top.zxid {
			top = floor{zxid, i}
		}
	}
}

// take makes record i the reply to o.
func (c *court) take(cn *conn, o *op, i int) {
	r := &c.run.Records[i]
	o.reply, o.zxid, o.code, o.out = i, r.Zxid, zkerr.Code(r.Err), r.Body
	o.own = hasOwnZxid(o)
	cn.stream = append(cn.stream, item{record: i, op: o})
	c.v.Counts["replies"]++
	if o.op != proto.OpAuth {
		cn.saw(o.zxid)
		return
	}
	var p proto.AuthPacket
	if proto.Unmarshal(o.body, &p) != nil {
		return
	}
	addr := ""
	if cn.connecting >= 0 {
		addr = c.run.Records[cn.connecting].Addr
	}
	gained, want := c.model.Authenticate(p.Scheme, p.Auth, addr)
	c.v.Counts["I02 logins"]++
	if o.code != want {
		c.v.add("I02", fmt.Sprintf("%s: the model says %v, and it is answered %v", o, want, o.code), o.call, o.reply)
	}
	if o.code != zkerr.OK {
		return
	}
	ids := slices.Clone(cn.ids)
	for _, id := range gained {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	// While it was under way nothing else was, so all that came before the call came
	// of what was before; an event may have overtaken the call.
	lo := int64(0)
	for _, it := range cn.stream {
		if it.record < o.call {
			lo = max(lo, c.run.Records[it.record].Zxid)
		}
	}
	cn.ids = ids
	cn.auths = append(cn.auths, auth{ids: ids, call: o.call, lo: lo, hi: never})
}
