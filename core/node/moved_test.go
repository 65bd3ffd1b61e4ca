package node

import (
	"sync"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestMovedInMidRequest: a session goes to another server while it waits here for writes. What the leader had
// before that is answered; what came behind it is refused there, and its client is told nothing, but that the
// connection is over: reads that stood behind are not answered either.
func TestMovedInMidRequest(t *testing.T) {
	r := start(t, consensus.Leading, true, nil)
	p := r.connectBy(1)
	r.m.setRole(consensus.Looking)
	r.m.setRole(consensus.Following)
	r.until("following", r.n.Serving)
	var b []byte
	for _, path := range []string{"/before", "/behind"} {
		b = append(b, p.request(proto.OpCreate, create(path, 0))...)
	}
	p.write(append(b, p.request(proto.OpExists, get("/"))...))
	r.until("the requests", func() bool { _, n, _, _ := r.m.counts(); return n == 2 })

	answer := func(zxid int64, cxid int32, typ int32, body []byte) {
		h := txn.Header{ClientID: p.session, Cxid: cxid, Zxid: zxid, Time: 1, Type: typ}
		x := consensus.Txn{Zxid: consensus.Zxid(zxid), Data: append(txn.AppendHeader(nil, &h), body...)}
		r.m.wait(func() { r.n.Deliver([]consensus.Txn{x}) })
	}
	made := txn.Txn{Header: txn.Header{Type: txn.TypeCreate}, Body: txn.Body{Path: "/before", Data: []byte("x"),
		ACL: []proto.ACL{{Perms: 31, Scheme: "world", ID: "anyone"}}, ParentCVersion: 1}}
	answer(2, 1, txn.TypeCreate, txn.AppendBody(nil, &made))
	if a := p.reply(); a.Err != zkerr.OK || a.Zxid != 2 {
		t.Fatalf("%v at %x", a.Err, a.Zxid)
	}
	answer(3, 2, txn.TypeError, jute.AppendInt(nil, int32(zkerr.SessionMoved)))
	if b := p.ended(); len(b) > 0 {
		t.Errorf("told %x", b)
	}
	// The session itself goes on, elsewhere.
	if _, ok := r.session(p.session); !ok {
		t.Error("the session is over")
	}
}

// TestLeftBeforeReclaimed: a client that comes back is welcome when nothing more is taken on the connection that it had
// here before, and not earlier: what comes there would be executed behind what it asks for now.
func TestLeftBeforeReclaimed(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	p, other := r.connect(), r.connect()
	who := func() *client {
		r.n.clientsMu.Lock()
		defer r.n.clientsMu.Unlock()
		return r.n.sessions[p.session]
	}
	old := who()
	old.c.Lock() // it is taking what has just come
	free := sync.OnceFunc(old.c.Unlock)
	defer free()
	q := r.again(p)
	r.until("the new connection", func() bool { return who() != old })
	connecting := func() bool {
		cl := who()
		cl.c.Lock()
		defer cl.c.Unlock()
		return cl.state == sConnecting
	}
	r.until("its question", connecting)
	for range 2 { // all that was queued before is done then
		other.must(proto.OpSetData, set("/", "x"))
	}
	if !connecting() {
		t.Error("welcome while the old connection is at work")
	}
	free()
	if a := q.greeted(); a.SessionID != p.session {
		t.Fatalf("%+v", a)
	}
	p.ended()
}

// TestAhead: a client that has seen more than this server has is sent on without a word, with and without a
// session, and harms nobody's connection.
func TestAhead(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	p := r.connect()
	last := p.must(proto.OpCreate, create("/a", 0)).Zxid
	for _, session := range []int64{0, p.session} {
		q := r.dial()
		q.sendConnect(&proto.ConnectRequest{TimeoutMS: sessionMS, SessionID: session, Passwd: p.passwd, LastZxidSeen: last + 1})
		if b := q.ended(); len(b) > 0 {
			t.Errorf("told %x", b)
		}
	}
	p.must(proto.OpGetData, get("/a"))
	q := r.dial()
	if a := q.greet(&proto.ConnectRequest{TimeoutMS: sessionMS, SessionID: p.session, Passwd: p.passwd, LastZxidSeen: last}); a.SessionID != p.session {
		t.Errorf("%+v", a)
	}
}
