package node

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

func mayRead(c *Config) { c.ReadOnly = true }

// reader is the connect request of a client for which reading is enough.
func reader() *proto.ConnectRequest {
	return &proto.ConnectRequest{TimeoutMS: 10000, Passwd: make([]byte, 16), ReadOnly: true, HasReadOnly: true}
}

// leaderless makes the node one that has lost its leader, and has shown its state since.
func leaderless(r *rig) {
	r.m.setRole(consensus.Looking)
	time.Sleep(2500 * time.Millisecond)
	synctest.Wait()
	if i := r.n.Info(); i.Serving || !i.ReadOnly || i.State() != "read-only" {
		r.t.Fatalf("two and a half seconds without a leader: %+v", i)
	}
}

// TestReadOnly: who asks for no more than to read is let in while there is no leader, sees
// the state as it was, and may change nothing.
func TestReadOnly(t *testing.T) {
	bubble(t, mayRead, func(t *testing.T, r *rig, dial func() *peer) {
		p := dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 10000})
		p.must(proto.OpCreate, create("/a", 0))
		last := p.must(proto.OpSetData, set("/a", "old")).Zxid
		p.c.Close()
		leaderless(r)

		q := dial()
		a := q.greet(reader())
		if !a.ReadOnly || !a.HasReadOnly || a.SessionID == 0 || a.TimeoutMS != 10000 {
			t.Fatalf("%+v", a)
		}
		if got := q.must(proto.OpGetData, getWatch("/a")); got.data(t) != "old" || got.Zxid != last {
			t.Errorf("%q at %x", got.data(t), got.Zxid)
		}
		q.must(proto.OpGetChildren, get("/"))
		q.must(proto.OpWhoAmI, nil)
		q.must(proto.OpAuth, &proto.AuthPacket{Scheme: "digest", Auth: []byte("a:b")})
		for op, rec := range map[proto.Op]appender{
			proto.OpCreate: create("/b", 0), proto.OpCreate2: create("/b", 0), proto.OpSetData: set("/a", "new"),
			proto.OpDelete: raw(""), proto.OpSync: &proto.AnyPathRequest{Path: "/"},
			proto.OpMulti: raw(""), proto.OpReconfig: raw(""), proto.OpSetACL: raw(""), // it is not looked at
			proto.OpCreateContainer: raw(""), proto.OpCreateTTL: raw(""),
		} {
			if a := q.call(op, rec); a.Err != zkerr.NotReadOnly || a.Zxid != last {
				t.Errorf("%v: %v at %x", op, a.Err, a.Zxid)
			}
		}
		if a := q.must(proto.OpCloseSession, nil); a.Zxid != last {
			t.Errorf("closed at %x", a.Zxid)
		}
		q.ended()
		synctest.Wait()
		if i := r.n.Info(); i.LocalSessions != 0 || i.Sessions != 1 {
			t.Errorf("%d and %d sessions are left", i.Sessions, i.LocalSessions)
		}
	})
}

// TestReadOnlyRefuses: who wants more is sent away without a word, and so is who has seen more,
// or has a session of which only a leader knows whether it lives.
func TestReadOnlyRefuses(t *testing.T) {
	bubble(t, mayRead, func(t *testing.T, r *rig, dial func() *peer) {
		p := dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 10000})
		p.c.Close()
		r.m.setRole(consensus.Looking)
		early := dial()
		early.sendConnect(reader()) // waits for a leader, as there may be one in a moment
		synctest.Wait()
		leaderless(r)
		if b := early.ended(); len(b) > 0 {
			t.Errorf("who came too early is told %x", b)
		}
		for name, change := range map[string]func(*proto.ConnectRequest){
			"wants to write":          func(q *proto.ConnectRequest) { q.ReadOnly = false },
			"does not know of it":     func(q *proto.ConnectRequest) { q.ReadOnly, q.HasReadOnly = false, false },
			"has seen more":           func(q *proto.ConnectRequest) { q.LastZxidSeen = 1 << 40 },
			"has a session":           func(q *proto.ConnectRequest) { q.SessionID, q.Passwd = p.session, p.passwd },
			"has one, not known here": func(q *proto.ConnectRequest) { pw := r.n.password(77); q.SessionID, q.Passwd = 77, pw[:] },
		} {
			c, q := dial(), reader()
			change(q)
			c.sendConnect(q)
			if b := c.ended(); len(b) > 0 {
				t.Errorf("one who %s is told %x", name, b)
			}
		}
		// It can be said for sure of a wrong password, and of another's session for reading.
		for _, pw := range [][16]byte{{}, r.n.readOnlyPassword(77)} {
			c, q := dial(), reader()
			q.SessionID, q.Passwd = 77, pw[:]
			if a := c.greet(q); a.SessionID != 0 || a.TimeoutMS != 0 || !a.ReadOnly {
				t.Errorf("%+v", a)
			}
			c.ended()
		}
	})
}

// TestReadOnlyEnds: with a leader the connections of those who only read end, and their
// sessions with them; on the next connection they get one that is the ensemble's.
func TestReadOnlyEnds(t *testing.T) {
	for _, secret := range []string{"", "of the ensemble"} {
		change := func(c *Config) { c.ReadOnly, c.SessionSecret = true, []byte(secret) }
		bubble(t, change, func(t *testing.T, r *rig, dial func() *peer) {
			leaderless(r)
			p := dial()
			p.greet(reader())
			p.c.Close()
			again := reader()
			again.SessionID, again.Passwd = p.session, p.passwd
			q := dial() // while it lasts it can be come back to
			if a := q.greet(again); a.SessionID != p.session {
				t.Fatalf("%+v", a)
			}
			q2 := dial()
			if a := q2.greet(again); a.SessionID != p.session {
				t.Fatalf("%+v", a)
			}
			q.ended()
			r.m.epoch()
			q2.ended()
			synctest.Wait()
			if i := r.n.Info(); i.ReadOnly || i.LocalSessions != 0 {
				t.Fatalf("%+v", i)
			}
			old := dial()
			if a := old.greet(again); a.SessionID != 0 || a.ReadOnly {
				t.Fatalf("a session for reading is taken for one of the ensemble's: %+v", a)
			}
			next := dial()
			if a := next.greet(reader()); a.SessionID == 0 || a.ReadOnly {
				t.Fatalf("%+v", a)
			}
			next.must(proto.OpCreate, create("/e", proto.FlagEphemeral))
		})
	}
}

// TestReadOnlySessionExpires: it lives as long as any other, here.
func TestReadOnlySessionExpires(t *testing.T) {
	bubble(t, mayRead, func(t *testing.T, r *rig, dial func() *peer) {
		leaderless(r)
		silent, pinging := dial(), dial()
		silent.greet(reader())
		pinging.greet(reader())
		for range 5 {
			time.Sleep(3 * time.Second)
			pinging.write(pinging.requestXid(proto.XidPing, proto.OpPing, nil))
			pinging.reply()
		}
		silent.ended()
		synctest.Wait()
		if i := r.n.Info(); i.LocalSessions != 1 {
			t.Errorf("%d sessions", i.LocalSessions)
		}
	})
}

// TestReadOnlySeesWhatComes: what is delivered before this server has a leader is seen in
// order, with its events.
func TestReadOnlySeesWhatComes(t *testing.T) {
	bubble(t, mayRead, func(t *testing.T, r *rig, dial func() *peer) {
		p := dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 10000})
		p.must(proto.OpCreate, create("/a", 0))
		r.m.mu.Lock()
		r.m.manual, r.m.role.Last = true, r.m.last
		r.m.mu.Unlock()
		p.send(proto.OpSetData, set("/a", "new"))
		r.proposed(1)
		txns := slices.Clone(r.m.proposed)
		leaderless(r)
		q := dial()
		q.greet(reader())
		q.must(proto.OpGetData, getWatch("/a"))
		r.m.wait(func() { r.n.Deliver(txns) })
		if a := q.reply(); a.event.Path != "/a" || a.event.Type != proto.EventNodeDataChanged {
			t.Errorf("%+v", a)
		}
		if a := q.must(proto.OpGetData, get("/a")); a.data(t) != "new" {
			t.Error(a.data(t))
		}
	})
}

// TestNothingToShow: a server that has never seen the ensemble's state shows none, and one
// that is not asked to serves nobody.
func TestNothingToShow(t *testing.T) {
	for _, on := range []bool{true, false} {
		r := start(t, consensus.Looking, false, func(c *Config) { c.ReadOnly = on })
		r.n.mu.Lock()
		r.n.lookingSince -= int64(time.Hour)
		r.n.mu.Unlock()
		if !on {
			r.n.awaitReadOnly(0)
		}
		for range 3 {
			p := r.dial()
			p.sendConnect(reader())
			if b := p.ended(); len(b) > 0 || r.n.Info().ReadOnly {
				t.Fatalf("%x", b)
			}
		}
	}
}

// TestReadOnlyLongSetWatches: a client that comes back with much that it watches is answered without a leader too.
func TestReadOnlyLongSetWatches(t *testing.T) {
	bubble(t, mayRead, func(t *testing.T, r *rig, dial func() *peer) {
		p := dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 10000})
		last := p.must(proto.OpCreate, create("/a", 0)).Zxid
		p.c.Close()
		leaderless(r)
		q := dial()
		q.greet(reader())
		const many = 3 * rewatchStep
		q.must(proto.OpSetWatches, &proto.SetWatchesRequest{RelativeZxid: last, Exist: watches("/w", many)})
		q.must(proto.OpGetData, get("/a"))
		if n := r.n.Info().Watches; n != many {
			t.Errorf("%d watches", n)
		}
	})
}
