package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/zkcore/zkcore/core/conn"
	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

const (
	// maxPipelined bounds the unanswered requests of one connection.
	maxPipelined = 1000
	// maxHeld bounds the bytes of their records, maxHeldInAll those of all
	// connections: beyond that a connection may have one unanswered.
	maxHeld      = 4 << 20
	maxHeldInAll = 256 << 20
	// replyBatch is how many bytes of replies are gathered before they are sent.
	replyBatch = 64 << 10
	// copyAhead is how much of a batch of frames is copied at once for requests
	// that wait.
	copyAhead = 8 << 10
	// maxAhead bounds what stands unanswered before a write when it is queued: as
	// much may have to be answered while the write's txn waits to be applied.
	maxAhead = 32
)

// state is how far a connection has got.
type state uint8

const (
	sGreeting   state = iota // nothing has come
	sConnecting              // the session is being opened or reclaimed
	sOpen                    // requests are taken
)

// A client is a node's side of one connection. Its fields are guarded by the
// connection's lock, unless they say otherwise.
type client struct {
	n *Node
	c *conn.Conn

	state     state
	session   int64 // fixed once set, as is timeoutMS
	timeoutMS int32
	readOnly  bool // the client knows the flag readOnly, and wants it in the answer
	deaf      bool // what comes is not looked at: there will be an end
	full      bool // the fifo was full and has not emptied by half since
	pumping   bool // a goroutine answers what is at the head of the fifo
	dirty     bool // in the present Deliver's list; Deliver's own
	auth      []consensus.Identity
	evicts    *client // who had the session here before: to be closed

	fifo fifo
	held int // bytes of the records in it
	// next is the number of the first entry that advance has not looked at.
	// readsAhead and syncsAhead count what is unanswered before it.
	next                   uint64
	readsAhead, syncsAhead int
	scan                   uint64 // Deliver's own: where it looks for the next write

	// heard is when the client was last heard from, told what Touched last told.
	heard, told atomic.Int64
	opened      atomic.Bool // session and timeoutMS are set, and the session is open

	stats connStats
}

// Describe names the client in log lines.
func (cl *client) Describe() string {
	if cl.opened.Load() {
		return fmt.Sprintf("session 0x%x", cl.session)
	}
	return "no session"
}

// Blocked is asked before frames are handed over.
func (cl *client) Blocked() bool {
	switch {
	case cl.state == sConnecting:
		return true
	case cl.fifo.n == 0:
		cl.full = false
		return false
	case cl.full && (cl.fifo.n > maxPipelined/2 || cl.held > maxHeld/2):
		return true
	case cl.fifo.n >= maxPipelined || cl.held >= maxHeld:
		cl.full = true
		return true
	}
	cl.full = false
	// globalOutstandingLimit: beyond it a client with something unanswered waits.
	return cl.n.outstanding.Load() > int64(cl.n.cfg.OutstandingLimit) || cl.n.held.Load() > maxHeldInAll
}

var (
	errHeader = errors.New("frame too short for a request header")
	errMoved  = errors.New("the session has moved to another server")
)

// Frames takes requests. It is the beginning of the request path: see doc.go.
func (cl *client) Frames(b []byte) (int, error) {
	n := cl.n
	now := n.clock()
	cl.heard.Store(now)

	n.mu.RLock()
	if n.loading {
		n.mu.RUnlock()
		return 0, conn.ErrQuiet
	}
	cl.c.Lock()
	var taken int
	var err error
	if cl.state == sGreeting {
		taken, err = len(b), cl.greet(b[4:], now)
	} else {
		taken, err = cl.take(b, now)
	}
	queued := cl.advance()
	old := cl.evicts
	cl.evicts = nil
	cl.c.Unlock()
	n.mu.RUnlock()

	if old != nil {
		old.c.Close(nil)
	}
	if queued {
		n.submit()
	}
	return taken, err
}

// take answers or queues the requests in b, as many as may be.
func (cl *client) take(b []byte, now int64) (taken int, err error) {
	n := cl.n
	sent := cl.stats.sent
	var kept []byte // copy of the frames from keptAt on, for those that wait
	var keptAt, frames, answered int
	out := cl.c.Out()
	enough := len(out) + replyBatch
	for taken < len(b) {
		if taken > 0 && (len(out) >= enough || cl.Blocked()) {
			break
		}
		size := int(binary.BigEndian.Uint32(b[taken:]))
		frame := b[taken+4 : taken+4+size]
		if size < proto.RequestHeaderSize {
			err = errHeader
			break
		}
		at := taken
		taken += 4 + size
		frames++
		if cl.deaf {
			continue
		}
		e := entry{
			xid:  int32(binary.BigEndian.Uint32(frame)),
			op:   int32(binary.BigEndian.Uint32(frame[4:])),
			body: frame[8:],
			at:   now,
		}
		cl.classify(&e)
		switch {
		case e.kind == kPing && !n.serving:
			out = cl.answer(out, &e) // it tells that the server is there, not who leads
			answered++
		case cl.fifo.n == 0 && !e.kind.waits() && n.serving:
			if out = cl.answer(out, &e); e.kind == kRead || e.kind == kPing {
				answered++
			}
		default:
			if len(e.body) > 0 {
				if taken > keptAt+len(kept) || kept == nil {
					kept, keptAt = bytes.Clone(b[at:window(b, at)]), at
				}
				e.body = kept[at-keptAt+4+8 : taken-keptAt]
			}
			cl.push(&e)
		}
	}
	cl.c.SetOut(out)
	cl.stats.received += int64(frames)
	n.received.Add(int64(frames))
	n.sent.Add(cl.stats.sent - sent)
	if answered > 0 {
		cl.measure(answered, now, &n.reads, "readlatency")
	}
	return taken, err
}

// window returns the end of the frame at which a copy of b[at:] may end.
func window(b []byte, at int) int {
	end := at
	for end < len(b) && end-at < copyAhead {
		end += 4 + int(binary.BigEndian.Uint32(b[end:]))
	}
	return end
}

// classify says what is to become of a request, and checks what can be checked.
func (cl *client) classify(e *entry) {
	refuse := func(code zkerr.Code) { e.kind, e.code, e.body = kReply, code, nil }
	switch op := proto.Op(e.op); {
	case op == proto.OpPing:
		e.kind, e.body = kPing, nil
	case engine.IsWrite(e.op) && engine.Known(e.op):
		e.kind = kWrite
		if op == proto.OpCloseSession {
			e.body = nil
			cl.deaf = true // nothing is executed behind it
		} else if code := cl.n.engine.Check(e.op, e.body); code != zkerr.OK {
			refuse(code)
		}
	case op == proto.OpSync:
		e.kind = kSync
		if n := pathLen(e.body); n < 0 {
			refuse(zkerr.MarshallingError)
		} else {
			e.body = e.body[:n]
		}
	case op == proto.OpAuth:
		refuse(cl.authenticate(e.body))
		if e.code != zkerr.OK {
			e.last, cl.deaf = true, true
		}
	case op == proto.OpSASL:
		e.kind, e.body = kSASL, nil
	case engine.Known(e.op):
		e.kind = kRead
	default:
		refuse(zkerr.Unimplemented)
		e.last, cl.deaf = true, true
		cl.n.conns.Warn("connection closed", "client", cl.c.RemoteAddr(), "of", cl.Describe(), "why", "no such operation", "op", e.op)
	}
}

// pathLen is the length of the string at the front of b, which may be null; -1 if
// there is none.
func pathLen(b []byte) int {
	if len(b) < 4 {
		return -1
	}
	n := int(int32(binary.BigEndian.Uint32(b)))
	switch {
	case n == -1:
		return 4
	case n < 0, n > len(b)-4:
		return -1
	}
	return 4 + n
}

// authenticate adds identities. It acts on all that is read behind it; what
// waits in the fifo may gain by it, which harms nobody.
func (cl *client) authenticate(body []byte) zkerr.Code {
	var p proto.AuthPacket
	if err := proto.Unmarshal(body, &p); err != nil {
		return zkerr.CodeOf(err)
	}
	ids, code := cl.n.engine.Authenticate(p.Scheme, p.Auth, cl.ipString())
	if code != zkerr.OK {
		cl.n.authFailed.Add(1)
		cl.n.conns.Warn("authentication failed", "client", cl.c.RemoteAddr(), "of", cl.Describe(), "scheme", p.Scheme)
		return code
	}
	if len(cl.auth)+len(ids) > maxIdentities {
		return zkerr.AuthFailed
	}
	auth := cl.auth
next:
	for _, id := range ids {
		for _, have := range auth {
			if have == id {
				continue next
			}
		}
		auth = append(auth[:len(auth):len(auth)], id) // a copy: requests hold the old one
	}
	cl.auth = auth
	return zkerr.OK
}

// maxIdentities bounds what a connection can be known as: each write carries it.
const maxIdentities = 64

// answer appends the reply to e, which waits for nothing.
func (cl *client) answer(out []byte, e *entry) []byte {
	zxid := cl.n.engine.LastZxid()
	op := e.op
	switch e.kind {
	case kRead:
		return cl.read(out, e, zxid)
	case kPing:
		out = appendReply(out, proto.XidPing, zxid, zkerr.OK, nil)
	case kSync:
		out = appendReply(out, e.xid, zxid, zkerr.OK, e.body)
	case kSASL:
		out = appendReply(out, e.xid, 0, zkerr.OK, nullToken)
	case kReply:
		switch {
		case proto.Op(e.op) == proto.OpAuth:
			zxid = 0
		case e.code == zkerr.Unimplemented && e.last:
			zxid = -1
		}
		out = appendReply(out, e.xid, zxid, e.code, nil)
		if e.code != zkerr.OK {
			op = int32(proto.OpError)
		}
	case kReclaim:
		out = cl.answerReclaim(out, e.ok)
		op = int32(proto.OpCreateSession)
		if !e.ok {
			e.last = true
		}
	}
	cl.stats.answered(op, e.xid, zxid)
	if e.last {
		cl.deaf = true
		cl.c.CloseSent()
	}
	return out
}

var nullToken = []byte{0xff, 0xff, 0xff, 0xff}

// read lets the engine append its record behind a header, which is filled in
// afterwards.
func (cl *client) read(out []byte, e *entry, zxid int64) []byte {
	n := cl.n
	r := engine.ReadRequest{Session: cl.session, Watcher: cl.c.ID, Auth: cl.auth, Op: e.op, Body: e.body}
	watches := engine.SetsWatch(e.op, e.body)
	if watches {
		n.watchMu.Lock()
	}
	var at int
	var code zkerr.Code
	if op := proto.Op(e.op); op == proto.OpSetWatches || op == proto.OpSetWatches2 {
		// Their reply has no record, but events may come before it, through the
		// same buffer.
		cl.c.SetOut(out)
		_, code = n.engine.Read(nil, &r, (*readSink)(cl))
		out = cl.c.Out()
		at = len(out)
		out = append(out, noHeader[:]...)
	} else {
		at = len(out)
		out = append(out, noHeader[:]...)
		out, code = n.engine.Read(out, &r, (*readSink)(cl))
	}
	if watches {
		n.watchMu.Unlock()
	}
	h := out[at:]
	cl.stats.sizes.see(len(h) - 4)
	binary.BigEndian.PutUint32(h, uint32(len(h)-4))
	binary.BigEndian.PutUint32(h[4:], uint32(e.xid))
	binary.BigEndian.PutUint64(h[8:], uint64(zxid))
	binary.BigEndian.PutUint32(h[16:], uint32(code))
	op := e.op
	if code != zkerr.OK {
		op = int32(proto.OpError)
	}
	cl.stats.answered(op, e.xid, zxid)
	return out
}

var noHeader [4 + proto.ReplyHeaderSize]byte

// appendReply appends a whole reply frame.
func appendReply(out []byte, xid int32, zxid int64, code zkerr.Code, body []byte) []byte {
	if code != zkerr.OK {
		body = nil
	}
	out = binary.BigEndian.AppendUint32(out, uint32(proto.ReplyHeaderSize+len(body)))
	out = proto.AppendReplyHeader(out, xid, zxid, code)
	return append(out, body...)
}

// advance queues what follows in the fifo, in its order, as far as it may go to
// the leader now. It reports whether it queued anything. The node's read lock is
// held, or the write lock.
//
// A write behind a sync waits until the sync is answered, and one behind too many
// unanswered reads until they are fewer: else a read could show a change that was
// asked for after it.
func (cl *client) advance() (queued bool) {
	n := cl.n
	if !n.serving || cl.next == cl.fifo.end() {
		return false
	}
	n.queue.mu.Lock()
	defer n.queue.mu.Unlock()
	for ; cl.next != cl.fifo.end(); cl.next++ {
		e := cl.fifo.at(cl.next)
		it := item{kind: e.kind, cl: cl, from: consensus.ServerID(n.cfg.ServerID)}
		switch e.kind {
		case kWrite, kCreate:
			if cl.syncsAhead > 0 || cl.readsAhead > maxAhead {
				return queued
			}
			if cl.readsAhead > 0 && !e.barrier {
				e.barrier = true
				n.barriers.Add(1)
			}
			it.kind = kWrite
			it.req = consensus.Request{Session: cl.session, Cxid: e.xid, Op: e.op, Body: e.body}
			if e.kind == kWrite {
				it.req.Auth = cl.auth
			}
		case kSync:
			cl.syncsAhead++
			e.sync = consensus.SyncID(n.lastSync.Add(1))
			it.sync = e.sync
		case kReclaim:
			it.timeout = cl.timeoutMS
			it.req.Session = cl.session
		default:
			cl.readsAhead++
			continue
		}
		n.queue.items = append(n.queue.items, it)
		queued = true
	}
	return queued
}

// push puts e at the end of the fifo.
func (cl *client) push(e *entry) {
	cl.fifo.push(e)
	cl.held += len(e.body)
	cl.n.held.Add(int64(len(e.body)))
	cl.n.outstanding.Add(1)
}

// pop removes the head of the fifo.
func (cl *client) pop() {
	e := cl.fifo.head()
	if cl.fifo.first < cl.next {
		switch {
		case e.kind == kSync:
			cl.syncsAhead--
		case !e.kind.waits():
			cl.readsAhead--
		}
	} else {
		cl.next++
	}
	if e.barrier {
		cl.n.barriers.Add(-1)
	}
	cl.held -= len(e.body)
	cl.n.held.Add(-int64(len(e.body)))
	cl.fifo.pop()
	cl.n.outstanding.Add(-1)
}

// ready says whether the head of the fifo can be answered.
func (cl *client) ready() bool {
	if cl.fifo.n == 0 {
		return false
	}
	e := cl.fifo.head()
	return !e.kind.waits() || e.done
}

// run answers what is at the head of the fifo and waits for nothing, until there
// is a batch to send. The node's read lock is held.
func (cl *client) run() {
	if !cl.ready() || cl.c.Gone() {
		return
	}
	out := cl.c.Out()
	var reads int
	var at int64
	sent, enough := cl.stats.sent, len(out)+replyBatch
	for cl.ready() && len(out) < enough && !cl.c.Gone() {
		e := cl.fifo.head()
		if e.kind == kRead || e.kind == kPing {
			reads, at = reads+1, e.at
		}
		out = cl.answer(out, e)
		cl.pop()
	}
	cl.c.SetOut(out)
	cl.n.sent.Add(cl.stats.sent - sent)
	if reads > 0 {
		cl.measure(reads, at, &cl.n.reads, "readlatency")
	}
	if !cl.Blocked() {
		cl.c.Wake()
	}
}

// pump answers, on a goroutine of its own, what has come to the head of the
// fifo.
func (cl *client) pump() {
	n := cl.n
	defer n.wg.Done()
	for {
		n.mu.RLock()
		cl.c.Lock()
		if !n.serving || !cl.ready() || cl.c.Gone() {
			cl.pumping = false
			cl.c.Unlock()
			n.mu.RUnlock()
			return
		}
		cl.run()
		queued := cl.advance()
		cl.c.Unlock()
		n.mu.RUnlock()
		if queued {
			n.submit()
		}
		cl.c.Flush()
		cl.c.WaitSent()
	}
}

// startPump starts pump if it has something to do. The connection is locked.
func (cl *client) startPump() {
	if !cl.pumping && cl.ready() && cl.n.serving && !cl.c.Gone() {
		cl.pumping = true
		cl.n.wg.Add(1)
		go cl.pump()
	}
}

// Closed forgets the client.
func (cl *client) Closed() {
	n := cl.n
	n.mu.RLock()
	defer n.mu.RUnlock()
	n.watchMu.Lock()
	n.engine.DropWatcher(cl.c.ID)
	n.watchMu.Unlock()
	cl.c.Lock()
	cl.deaf = true
	cl.opened.Store(false)
	for cl.fifo.n > 0 {
		cl.pop()
	}
	cl.fifo.shrink()
	session := cl.session
	cl.c.Unlock()
	n.clientsMu.Lock()
	delete(n.clients, cl.c.ID)
	if session != 0 && n.sessions[session] == cl {
		delete(n.sessions, session)
	}
	n.clientsMu.Unlock()
}

// readSink takes the events of setWatches: they go to the client that asked.
type readSink client

func (s *readSink) Event(_ uint64, zxid int64, typ int32, path string) {
	s.c.SetOut(appendEvent(s.c.Out(), zxid, typ, path))
	s.stats.sent++
}

func (s *readSink) Auth(uint64) []consensus.Identity                     { return s.auth }
func (s *readSink) Waits(int64, int32) bool                              { return false }
func (s *readSink) Reply(int64, int32, int64, int32, zkerr.Code, []byte) {}
func (s *readSink) SessionOpened(int64, int32)                           {}
func (s *readSink) SessionClosed(int64)                                  {}

// appendEvent appends a notification frame.
func appendEvent(out []byte, zxid int64, typ int32, path string) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(proto.ReplyHeaderSize+4+4+4+len(path)))
	out = proto.AppendReplyHeader(out, proto.XidNotification, zxid, zkerr.OK)
	out = binary.BigEndian.AppendUint32(out, uint32(typ))
	out = binary.BigEndian.AppendUint32(out, uint32(proto.StateSyncConnected))
	out = binary.BigEndian.AppendUint32(out, uint32(len(path)))
	return append(out, path...)
}
