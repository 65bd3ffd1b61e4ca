package judge

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
	mem "github.com/zkcore/zkcore/storage-mem"
	"github.com/zkcore/zkcore/test/history"
)

// A rig makes histories that a real ensemble could have made: one engine prepares,
// others apply what is committed, each at its own pace; clients send, wait, lose
// their connections and come back. All is drawn from one seed.
type rig struct {
	rnd      *rand.Rand
	now      int64 // ns
	log      *history.Log
	leader   *engine.Engine
	txns     []consensus.Txn
	servers  []*server
	clients  []*client
	conns    uint64
	heard    map[int64]int64 // when a session was heard from
	timeouts map[int64]int64
	ids      int64
	// mistake is what the servers do wrong, if they are to, and made how often they
	// have had the occasion and took it.
	mistake string
	made    int
}

// errs says whether a server makes this mistake now.
func (r *rig) errs(mistake string) bool {
	oneIn := 3
	if mistake == "skip a txn" {
		oneIn = 60
	}
	if r.mistake != mistake || r.rnd.IntN(oneIn) > 0 {
		return false
	}
	r.made++
	return true
}

type server struct {
	rig     *rig
	id      int
	engine  *engine.Engine
	stalls  int64            // it applies nothing until then
	applied int              // how many of the txns
	conns   map[uint64]*link // by watcher
	live    map[int64]*link  // by session
}

// A link is a connection.
type link struct {
	id      uint64
	client  *client
	server  *server
	n       int
	session int64
	auth    []consensus.Identity
	in      []*request
	fifo    []*request
	out     []history.Record
	late    []history.Record // goes behind the next reply
	open    bool             // the session is there
	dead    bool
}

type request struct {
	xid  int32
	op   proto.Op
	body []byte
	need int // sync: how much must have been applied
	sent bool
}

type client struct {
	rig     *rig
	id      int
	session int64
	passwd  []byte
	seen    int64
	xid     int32
	n       int
	link    *link
	waiting int  // calls that are not answered
	authing bool // an auth request is under way
	user    string
	old     []*link // that still drain
	data    map[string]bool
	exist   map[string]bool
	child   map[string]bool
	deep    map[string]bool
	asked   map[int32]*request
	quiet   int64 // it does nothing until then
	mine    []string
}

const timeoutMS = 1000

func newRig(seed uint64) *rig {
	r := &rig{rnd: rand.New(rand.NewPCG(seed, 1)), heard: map[int64]int64{}, timeouts: map[int64]int64{}, ids: 1 << 56}
	r.log = history.NewLog(func() int64 { return r.now })
	opts := engine.Options{ExtendedTypes: true, SuperDigest: superDigest}
	open := func() *engine.Engine {
		e := engine.New(opts)
		store, err := mem.Open(storage.Config{})
		if err != nil {
			panic(err)
		}
		if err := e.Open(store); err != nil {
			panic(err)
		}
		return e
	}
	r.leader = open()
	r.leader.Lead(0)
	for i := range 3 {
		r.servers = append(r.servers, &server{rig: r, id: i + 1, engine: open(), conns: map[uint64]*link{}, live: map[int64]*link{}})
	}
	for i := range 5 {
		r.clients = append(r.clients, &client{rig: r, id: i + 1, user: fmt.Sprintf("user%d:secret", i%3)})
	}
	return r
}

const superDigest = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=" // user super, password test

func (r *rig) prepare(from consensus.ServerID, q *consensus.Request) consensus.Txn {
	t := r.leader.Prepare(r.now/1e6, from, q)
	r.txns = append(r.txns, t)
	if err := r.leader.Apply(r.txns[len(r.txns)-1:], nil); err != nil {
		panic(err)
	}
	return t
}

// run takes so many steps, then brings all to an end, and returns what is known.
func (r *rig) run(steps int) *history.Run {
	for range steps {
		if s := r.servers[r.rnd.IntN(len(r.servers))]; r.rnd.IntN(150) == 0 {
			s.stalls = r.now + r.rnd.Int64N(600e6)
		}
		r.now += r.rnd.Int64N(6e6)
		r.step()
	}
	r.log.Append(history.Record{Kind: history.Heal, Note: "all"})
	for i := range 300 {
		for _, s := range r.servers {
			s.stalls = 0
		}
		r.now += 2e6
		for _, s := range r.servers {
			s.apply(1 + r.rnd.IntN(3))
		}
		for _, c := range r.clients {
			c.receive()
			c.serve()
			if i < 200 && c.link == nil {
				c.connect()
			} else if i < 60 && c.waiting == 0 && c.ready() {
				c.send(proto.OpSync, (&proto.AnyPathRequest{Path: "/"}).Append(nil))
				c.send(proto.OpSetData, (&proto.SetDataRequest{Path: "/", Data: fmt.Append(nil, i), Version: -1}).Append(nil))
			}
		}
	}
	run := &history.Run{About: history.About{Name: "rig", ExtendedTypes: true, SuperDigest: superDigest}, Records: r.log.Records(), Txns: []history.Txn{}}
	if r.mistake == "lose what was answered" {
		r.made++
		r.txns = r.txns[:len(r.txns)-20]
	}
	for _, t := range r.txns {
		run.Txns = append(run.Txns, history.Txn{Zxid: int64(t.Zxid), Data: t.Data})
	}
	for _, s := range r.servers {
		run.Trees = append(run.Trees, s.tree())
	}
	return run
}

func (s *server) tree() history.Tree {
	e := s.engine
	t := history.Tree{Server: s.id, Zxid: e.LastZxid(), Digest: e.Digest(), Sessions: map[int64]int32{}}
	e.Sessions(func(id int64, timeout int32) { t.Sessions[id] = timeout })
	lists := map[string][]jute.ACL{}
	err := e.View().Walk(func(path string, rec storage.Record) bool {
		h := znode.Head(rec.Head)
		z := history.Znode{Path: strings.Clone(path), Czxid: h.Czxid(), Mzxid: h.Mzxid(), Pzxid: h.Pzxid(), Ctime: h.Ctime(), Mtime: h.Mtime(),
			Version: h.Version(), Creates: h.Creates(), Aversion: h.Aversion(), Owner: h.Owner(), Data: slices.Clone(rec.Data)}
		if rec.Data != nil && z.Data == nil {
			z.Data = []byte{}
		}
		out, code := e.Read(nil, &engine.ReadRequest{Op: int32(proto.OpGetACL), Body: jute.AppendString(nil, path), Auth: []consensus.Identity{{Scheme: "super"}}}, engine.NopSink)
		var acl proto.GetACLResponse
		if code != zkerr.OK || proto.Unmarshal(out, &acl) != nil {
			panic(path)
		}
		lists[path] = acl.ACL
		z.ACL = acl.ACL
		t.Nodes = append(t.Nodes, z)
		return true
	})
	if err != nil {
		panic(err)
	}
	return t
}

func (r *rig) step() {
	c := r.clients[r.rnd.IntN(len(r.clients))]
	switch n := r.rnd.IntN(100); {
	case n < 30:
		c.act()
	case n < 55:
		c.serve()
	case n < 75:
		c.receive()
	case n < 97:
		r.servers[r.rnd.IntN(len(r.servers))].apply(1 + r.rnd.IntN(4))
	case n < 98:
		r.log.Append(history.Record{Kind: history.Fault, Server: c.id, Note: "loss of a connection"})
		c.lose()
	default:
		for _, id := range r.expired() {
			r.prepare(0, &consensus.Request{Session: id, Op: int32(proto.OpCloseSession)})
		}
		if l := c.link; l != nil && l.open && r.errs("expire a session that is heard from") {
			r.prepare(0, &consensus.Request{Session: l.session, Op: int32(proto.OpCloseSession)})
		}
		if err := r.leader.Expirable(r.leader.View(), r.now/1e6, 0, func(path string) bool {
			r.prepare(0, &consensus.Request{Op: int32(proto.OpDeleteContainer), Body: jute.AppendString(nil, path)})
			return false
		}); err != nil {
			panic(err)
		}
	}
	r.now += r.rnd.Int64N(1e6)
}

func (r *rig) expired() (ids []int64) {
	for id, at := range r.heard {
		if r.now-at > r.timeouts[id]*1e6 {
			ids = append(ids, id)
			delete(r.heard, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (c *client) record(l *link, r history.Record) {
	r.Client, r.Conn, r.Server = c.id, l.n, l.server.id
	c.rig.log.Append(r)
}

func (c *client) ready() bool { return c.link != nil && c.link.open && !c.authing }

func (c *client) lose() {
	l := c.link
	if l == nil {
		return
	}
	l.server.drop(l)
	c.link = nil
	if c.rig.rnd.IntN(4) == 0 {
		c.quiet = c.rig.now + c.rig.rnd.Int64N(3*timeoutMS*1e6)
	}
	c.waiting = 0
	c.authing = false
	c.asked = nil
	if len(l.out) > 0 && l.open && c.rig.rnd.IntN(2) == 0 {
		c.old = append(c.old, l) // goes on to drain
		return
	}
	c.record(l, history.Record{Kind: history.Lost})
}

func (s *server) drop(l *link) {
	l.dead = true
	delete(s.conns, l.id)
	s.engine.DropWatcher(l.id)
	if s.live[l.session] == l {
		delete(s.live, l.session)
	}
}

func (c *client) connect() {
	r := c.rig
	s := r.servers[r.rnd.IntN(len(r.servers))]
	r.conns++
	c.n++
	l := &link{id: r.conns, client: c, server: s, n: c.n, auth: []consensus.Identity{{Scheme: "ip", ID: "127.0.0.1"}}}
	seen := c.seen
	c.record(l, history.Record{Kind: history.Connecting, Session: c.session, Body: c.passwd, Zxid: seen, TimeoutMS: timeoutMS, Addr: "127.0.0.1"})
	if seen > s.engine.LastZxid() && !r.errs("take a client that has seen more") {
		c.record(l, history.Record{Kind: history.Lost, Note: "behind"})
		return
	}
	c.link = l
	s.conns[l.id] = l
	id := c.session
	kind := history.Connected
	if id == 0 {
		r.ids++
		id = r.ids
		r.prepare(consensus.ServerID(s.id), &consensus.Request{Session: id, Op: int32(proto.OpCreateSession), Body: jute.AppendInt(nil, timeoutMS)})
	} else if !r.leader.SetOwner(id, consensus.ServerID(s.id)) {
		if kind = history.Refused; r.errs("welcome a session that is over") {
			kind = history.Connected
		}
	} else if r.errs("say that a session is over") {
		kind = history.Refused
	}
	if kind == history.Connected && c.session != 0 && r.errs("give another session") {
		r.ids++
		id = r.ids
		r.prepare(consensus.ServerID(s.id), &consensus.Request{Session: id, Op: int32(proto.OpCreateSession), Body: jute.AppendInt(nil, timeoutMS)})
	}
	if kind == history.Connected {
		r.heard[id], r.timeouts[id] = r.now, timeoutMS
	}
	if old := s.live[id]; old != nil && old != l {
		s.drop(old)
	}
	l.session = id
	s.live[id] = l
	l.fifo = []*request{{op: proto.OpCreateSession, need: len(r.txns), xid: int32(kind)}}
	if seen > s.engine.LastZxid() {
		l.fifo[0].need = 0
	}
	s.answer(l)
}

// act does something that a client may do.
func (c *client) act() {
	r := c.rig
	switch {
	case r.now < c.quiet:
		return
	case c.link == nil:
		if r.rnd.IntN(3) == 0 {
			c.connect()
		}
		return
	case !c.ready() || c.waiting > 8:
		return
	case c.n%3 == 0 && c.waiting == 0 && len(c.link.auth) == 1 && r.rnd.IntN(4) == 0:
		who := c.user
		if c.id == 5 {
			who = "super:test"
		}
		c.authing = true
		c.call(proto.XidAuth, proto.OpAuth, (&proto.AuthPacket{Scheme: "digest", Auth: []byte(who)}).Append(nil))
		return
	}
	op, body := c.request()
	c.send(op, body)
}

func (c *client) send(op proto.Op, body []byte) {
	if op == proto.OpPing {
		c.call(proto.XidPing, op, nil)
		return
	}
	c.xid++
	c.call(c.xid, op, body)
}

func (c *client) call(xid int32, op proto.Op, body []byte) {
	q := &request{xid: xid, op: op, body: body}
	c.record(c.link, history.Record{Kind: history.Call, Session: c.session, Xid: xid, Op: int32(op), Body: body})
	c.link.in = append(c.link.in, q)
	if c.asked == nil {
		c.asked = map[int32]*request{}
	}
	c.asked[xid] = q
	if xid != proto.XidPing {
		c.waiting++
	}
}

func (c *client) path() string {
	r := c.rig
	p := ""
	for range 1 + r.rnd.IntN(2) {
		p += "/" + string("ab"[r.rnd.IntN(2)])
	}
	return p
}

func (c *client) acl() []jute.ACL {
	switch c.rig.rnd.IntN(12) {
	case 0:
		return []jute.ACL{{Perms: 31, Scheme: "auth"}}
	case 1:
		return []jute.ACL{{Perms: 31, Scheme: "ip", ID: "127.0.0.0/8"}}
	case 2:
		return []jute.ACL{{Perms: 30, Scheme: "world", ID: "anyone"}}
	}
	return jute.OpenACL()
}

// request makes one.
func (c *client) request() (proto.Op, []byte) {
	r := c.rig
	data := fmt.Appendf(nil, "%d.%d", c.id, c.xid)
	version := func() int32 { return []int32{-1, -1, -1, 0, 1, 2}[r.rnd.IntN(6)] }
	create := func() (q proto.CreateRequest) {
		q = proto.CreateRequest{Path: c.path(), Data: data, ACL: c.acl(), Flags: proto.CreateFlags(r.rnd.IntN(4))}
		if q.Flags.Sequential() {
			q.Path += "/q-"
		}
		return q
	}
	switch r.rnd.IntN(24) {
	case 0:
		q := create()
		return proto.OpCreate, q.Append(nil)
	case 1:
		// Below a parent that nobody deletes.
		q := proto.CreateRequest{Path: "/seq", Data: data, ACL: jute.OpenACL()}
		if r.rnd.IntN(5) > 0 {
			q.Path, q.Flags = "/seq/n-", proto.FlagPersistentSequential
			if r.rnd.IntN(2) == 0 {
				q.Flags = proto.FlagEphemeralSequential
			}
		}
		return proto.OpCreate, q.Append(nil)
	case 2, 3:
		q := create()
		return proto.OpCreate2, q.Append(nil)
	case 4:
		q := create()
		q.Flags = 4
		return proto.OpCreateContainer, q.Append(nil)
	case 5:
		q := proto.CreateTTLRequest{CreateRequest: create(), TTL: 300}
		q.Flags = proto.FlagPersistentWithTTL
		if r.rnd.IntN(5) == 0 {
			q.Flags = 0 // refused on the spot
		}
		return proto.OpCreateTTL, q.Append(nil)
	case 6, 7:
		return proto.OpDelete, (&proto.VersionRequest{Path: c.path(), Version: version()}).Append(nil)
	case 8, 9, 10:
		return proto.OpSetData, (&proto.SetDataRequest{Path: c.path(), Data: data, Version: version()}).Append(nil)
	case 11:
		return proto.OpSetACL, (&proto.SetACLRequest{Path: c.path(), ACL: c.acl(), Version: version()}).Append(nil)
	case 12, 13:
		var m proto.MultiRequest
		for range r.rnd.IntN(4) {
			q := create()
			o := proto.MultiOp{Path: q.Path, Data: data, ACL: q.ACL, Flags: q.Flags, Version: version(),
				Op: []proto.Op{proto.OpCreate, proto.OpCreate2, proto.OpSetData, proto.OpCheck, proto.OpDelete}[r.rnd.IntN(5)]}
			m.Ops = append(m.Ops, o)
		}
		return proto.OpMulti, m.Append(nil)
	case 14:
		return proto.OpSync, (&proto.AnyPathRequest{Path: c.path()}).Append(nil)
	case 15:
		return proto.OpGetACL, (&proto.PathRequest{Path: c.path()}).Append(nil)
	case 16:
		p := c.path()
		m := proto.MultiRequest{Read: true, Ops: []proto.MultiOp{{Op: proto.OpGetData, Path: p}, {Op: proto.OpGetChildren, Path: "/"}}}
		return proto.OpMultiRead, m.Append(nil)
	case 17:
		return proto.OpAddWatch, (&proto.AddWatchRequest{Path: c.path(), Mode: proto.AddWatchMode(r.rnd.IntN(2))}).Append(nil)
	case 18:
		switch r.rnd.IntN(6) {
		case 0:
			return proto.OpRemoveWatches, (&proto.WatchesRequest{Path: c.path(), Type: proto.WatcherType(1 + r.rnd.IntN(5))}).Append(nil)
		case 1:
			return proto.OpWhoAmI, nil
		case 2:
			return proto.OpGetEphemerals, (&proto.AnyPathRequest{Path: "/"}).Append(nil)
		case 3:
			return proto.OpGetAllChildrenNum, (&proto.PathRequest{Path: "/"}).Append(nil)
		case 4:
			if r.rnd.IntN(4) == 0 {
				return proto.OpCloseSession, nil
			}
		}
		return proto.OpPing, nil
	}
	op := []proto.Op{proto.OpExists, proto.OpGetData, proto.OpGetData, proto.OpGetChildren, proto.OpGetChildren2}[r.rnd.IntN(5)]
	path := c.path()
	switch n := len(c.mine); {
	case n > 0 && r.rnd.IntN(4) == 0:
		path = c.mine[r.rnd.IntN(n)]
	case r.rnd.IntN(6) == 0:
		path = "/seq"
	}
	return op, (&proto.ReadRequest{Path: path, Watch: r.rnd.IntN(2) == 0}).Append(nil)
}

// serve lets the server take what the client has sent.
func (c *client) serve() {
	l := c.link
	if l == nil || len(l.in) == 0 || l.dead || !l.open {
		return
	}
	r := c.rig
	q := l.in[0]
	l.in = l.in[1:]
	r.heard[l.session] = r.now
	if _, alive := r.leader.Session(l.session); !alive {
		delete(r.heard, l.session)
	}
	if len(l.late) > 0 && len(l.out) > 0 && l.out[len(l.out)-1].Kind == history.Reply {
		l.out, l.late = append(l.out, l.late...), nil
	}
	if q.op == proto.OpAuth {
		var p proto.AuthPacket
		if err := proto.Unmarshal(q.body, &p); err != nil {
			panic(err)
		}
		ids, code := l.server.engine.Authenticate(p.Scheme, p.Auth, "127.0.0.1")
		l.auth = append(slices.Clone(l.auth), ids...)
		l.out = append(l.out, history.Record{Kind: history.Reply, Session: l.session, Xid: q.xid, Op: int32(q.op), Err: int32(code)})
		return
	}
	if q.op == proto.OpSync && !r.errs("answer sync from what is there") {
		q.need = len(r.txns)
	}
	l.fifo = append(l.fifo, q)
	if engine.IsWrite(int32(q.op)) {
		if code := l.server.engine.Check(int32(q.op), q.body); code == zkerr.OK {
			q.sent = true
			w := consensus.Request{Session: l.session, Cxid: q.xid, Op: int32(q.op), Auth: l.auth, Body: q.body}
			r.prepare(consensus.ServerID(l.server.id), &w)
			if q.op == proto.OpSetData && r.errs("propose a write again") {
				r.prepare(consensus.ServerID(l.server.id), &w)
			}
		}
	}
	l.server.answer(l)
}

// answer answers what is at the head of the fifo and waits for nothing.
func (s *server) answer(l *link) {
	for len(l.fifo) > 0 && !l.dead {
		q := l.fifo[0]
		zxid := s.engine.LastZxid()
		switch {
		case q.sent, q.need > s.applied:
			return
		case q.op == proto.OpCreateSession:
			rec := history.Record{Kind: history.Kind(q.xid), Session: l.session}
			if rec.Kind == history.Connected {
				p := proto.SessionPassword(l.session)
				rec.Body, rec.TimeoutMS = p[:], timeoutMS
			}
			l.out = append(l.out, rec)
		case engine.IsWrite(int32(q.op)):
			code := s.engine.Check(int32(q.op), q.body)
			l.out = append(l.out, history.Record{Kind: history.Reply, Session: l.session, Xid: q.xid, Op: int32(q.op), Zxid: zxid, Err: int32(code)})
		case q.op == proto.OpPing:
			l.out = append(l.out, history.Record{Kind: history.Reply, Session: l.session, Xid: q.xid, Op: int32(q.op), Zxid: zxid})
		default:
			if len(l.fifo) > 1 && s.rig.errs("answer out of order") {
				l.fifo[0], l.fifo[1] = l.fifo[1], l.fifo[0]
				continue
			}
			out, code := s.engine.Read(nil, &engine.ReadRequest{Session: l.session, Watcher: l.id, Auth: l.auth, Op: int32(q.op), Body: q.body}, s)
			l.out = append(l.out, history.Record{Kind: history.Reply, Session: l.session, Xid: q.xid, Op: int32(q.op), Zxid: zxid, Err: int32(code), Body: out})
		}
		l.fifo = l.fifo[1:]
	}
}

// apply applies up to n txns, one by one.
func (s *server) apply(n int) {
	if s.rig.now < s.stalls {
		return
	}
	for ; n > 0 && s.applied < len(s.rig.txns); n-- {
		switch next := s.rig.txns[s.applied : s.applied+1]; {
		case s.rig.errs("skip a txn"):
		default:
			if err := s.engine.Apply(next, s); err != nil {
				panic(err)
			}
		}
		s.applied++
		for _, l := range s.rig.links() {
			if l.server == s {
				s.answer(l)
			}
		}
	}
}

func (r *rig) links() (all []*link) {
	for _, c := range r.clients {
		if c.link != nil && !c.link.dead {
			all = append(all, c.link)
		}
	}
	return all
}

func (s *server) Wrote(int64, int32) {}

func (s *server) Waits(session int64, cxid int32) ([]byte, bool) {
	l := s.live[session]
	if l == nil || len(l.fifo) == 0 || !l.fifo[0].sent || l.fifo[0].xid != cxid {
		return nil, false
	}
	return l.fifo[0].body, true
}

func (s *server) Reply(session int64, cxid int32, zxid int64, _ int32, code zkerr.Code, body []byte) {
	l := s.live[session]
	q := l.fifo[0]
	l.fifo = l.fifo[1:]
	if code == zkerr.OK && s.rig.errs("answer a write as refused") {
		code, body = zkerr.BadVersion, nil
	}
	if code == zkerr.SessionMoved {
		l.dead = true
		return
	}
	l.out = append(l.out, history.Record{Kind: history.Reply, Session: session, Xid: cxid, Op: int32(q.op), Zxid: zxid, Err: int32(code), Body: slices.Clone(body)})
}

func (s *server) Auth(watcher uint64) []consensus.Identity { return s.conns[watcher].auth }

func (s *server) Event(watcher uint64, zxid int64, typ int32, path string) {
	l := s.conns[watcher]
	switch {
	case s.rig.errs("lose an event"):
		return
	case s.rig.errs("send an event twice"):
		defer func() { l.out = append(l.out, l.out[len(l.out)-1]) }()
	case s.rig.errs("send an event after the next reply"):
		l.late = append(l.late, history.Record{Kind: history.Event, Session: l.session, Zxid: zxid, Type: typ, State: int32(proto.StateSyncConnected), Path: strings.Clone(path)})
		return
	}
	l.out = append(l.out, history.Record{Kind: history.Event, Session: l.session, Zxid: zxid, Type: typ, State: int32(proto.StateSyncConnected), Path: strings.Clone(path)})
}

func (s *server) Enough() bool { return false }

func (s *server) SessionOpened(int64, int32) {}

func (s *server) SessionClosed(id int64) {
	if l := s.live[id]; l != nil {
		l.dead = true // what is on its way still arrives
		s.drop(l)
	}
}

// receive takes what has arrived.
func (c *client) receive() {
	r := c.rig
	for i := 0; i < len(c.old); i++ {
		l := c.old[i]
		for len(l.out) > 0 && r.rnd.IntN(3) > 0 {
			c.hear(l, l.out[0])
			l.out = l.out[1:]
		}
		if len(l.out) == 0 {
			c.record(l, history.Record{Kind: history.Lost, Note: "drained"})
			c.old = slices.Delete(c.old, i, i+1)
			i--
		}
	}
	l := c.link
	if l == nil {
		return
	}
	for n := 1 + r.rnd.IntN(4); n > 0 && len(l.out) > 0; n-- {
		rec := l.out[0]
		l.out = l.out[1:]
		c.hear(l, rec)
		if c.link != l {
			return
		}
	}
	if l.dead && len(l.out) == 0 {
		c.lose()
	}
}

func (c *client) hear(l *link, rec history.Record) {
	c.record(l, rec)
	c.seen = max(c.seen, rec.Zxid)
	if l != c.link {
		return // of an old connection
	}
	switch rec.Kind {
	case history.Connected:
		l.open = true
		if c.session != rec.Session {
			c.session, c.passwd, c.xid = rec.Session, rec.Body, 0
			c.mine = nil
			c.data, c.exist, c.child, c.deep = map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
		} else if len(c.data)+len(c.exist)+len(c.child)+len(c.deep) > 0 {
			q := proto.SetWatches2Request{SetWatchesRequest: proto.SetWatchesRequest{RelativeZxid: c.seen, Data: keysOf(c.data), Exist: keysOf(c.exist), Child: keysOf(c.child)},
				PersistentRecursive: keysOf(c.deep)}
			c.call(proto.XidSetWatches, proto.OpSetWatches2, q.Append(nil))
		}
	case history.Refused:
		c.session, c.passwd = 0, nil
		c.lose()
	case history.Reply:
		q := c.asked[rec.Xid]
		if rec.Xid != proto.XidPing {
			c.waiting--
		}
		switch q.op {
		case proto.OpAuth:
			c.authing = false
		case proto.OpCreate:
			if rec.Err == 0 {
				d := jute.NewDecoder(rec.Body)
				c.mine = append(c.mine, d.String())
			}
		case proto.OpCloseSession:
			c.session, c.passwd = 0, nil
			c.lose()
		case proto.OpAddWatch:
			var p proto.AddWatchRequest
			if proto.Unmarshal(q.body, &p) == nil && p.Mode == proto.AddWatchPersistentRecursive {
				c.deep[p.Path] = true
			}
		case proto.OpExists, proto.OpGetData, proto.OpGetChildren, proto.OpGetChildren2:
			var p proto.ReadRequest
			if proto.Unmarshal(q.body, &p) != nil || !p.Watch {
				break
			}
			switch {
			case rec.Err == int32(zkerr.NoNode) && q.op == proto.OpExists:
				c.exist[p.Path] = true
			case rec.Err != 0:
			case q.op == proto.OpExists || q.op == proto.OpGetData:
				c.data[p.Path] = true
			default:
				c.child[p.Path] = true
			}
		}
	case history.Event:
		delete(c.data, rec.Path)
		delete(c.exist, rec.Path)
		delete(c.child, rec.Path)
	}
}

func keysOf(m map[string]bool) []string {
	keys := []string{}
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
