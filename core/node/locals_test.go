package node

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

func localOnly(c *Config) { c.LocalSessions = true }

func upgrading(c *Config) { c.LocalSessions, c.LocalUpgrade = true, true }

// local opens a local session.
func (r *rig) local() *peer {
	r.t.Helper()
	p := r.dial()
	if a := p.greet(&proto.ConnectRequest{TimeoutMS: 10000, HasReadOnly: true}); a.SessionID == 0 || a.ReadOnly {
		r.t.Fatalf("%+v", a)
	}
	return p
}

// back returns to a session on a new connection.
func (r *rig) back(p *peer) (*peer, proto.ConnectResponse) {
	r.t.Helper()
	q := r.dial()
	return q, q.greet(&proto.ConnectRequest{TimeoutMS: 10000, SessionID: p.session, Passwd: p.passwd})
}

func (r *rig) counted() (ensembles, locals int) {
	synctest.Wait()
	i := r.n.Info()
	return i.Sessions, i.LocalSessions
}

func (p *peer) ping() {
	p.t.Helper()
	p.write(p.requestXid(proto.XidPing, proto.OpPing, nil))
	p.reply()
}

// TestLocalSession: no txn opens it or ends it, it may write, and has no ephemerals.
func TestLocalSession(t *testing.T) {
	bubble(t, localOnly, func(t *testing.T, r *rig, dial func() *peer) {
		p := r.local()
		if a := p.must(proto.OpExists, get("/")); a.Zxid != 0 {
			t.Fatalf("zxid %x before there was a write", a.Zxid)
		}
		p.must(proto.OpCreate, create("/a", 0))
		if a := p.call(proto.OpCreate, create("/e", proto.FlagEphemeral)); a.Err != zkerr.EphemeralOnLocalSession || a.Zxid != 2 {
			t.Errorf("%v at %x", a.Err, a.Zxid)
		}
		a := p.must(proto.OpMulti, &proto.MultiRequest{Ops: []proto.MultiOp{
			{Op: proto.OpSetData, Path: "/a", Version: -1},
			{Op: proto.OpCreate, Path: "/e", ACL: []proto.ACL{{Perms: 31, Scheme: "world", ID: "anyone"}}, Flags: proto.FlagEphemeral},
		}})
		var m proto.MultiResponse
		if err := proto.Unmarshal(a.body, &m); err != nil || len(m.Results) != 2 || m.Results[1].Err != zkerr.EphemeralOnLocalSession {
			t.Errorf("%+v, %v", m, err)
		}
		if n, l := r.counted(); n != 0 || l != 1 {
			t.Errorf("%d and %d sessions", n, l)
		}
		if a := p.must(proto.OpCloseSession, nil); a.Zxid != 3 {
			t.Errorf("closed at %x", a.Zxid)
		}
		p.ended()
		if n, l := r.counted(); n != 0 || l != 0 {
			t.Errorf("%d and %d sessions", n, l)
		}
		if _, a := r.back(p); a.SessionID != 0 {
			t.Errorf("back in a session that was closed: %+v", a)
		}
	})
}

// TestLocalSessionLives: it can be come back to, here, for as long as its timeout, and it outlives
// its server's leader; elsewhere it is not known.
func TestLocalSessionLives(t *testing.T) {
	bubble(t, localOnly, func(t *testing.T, r *rig, dial func() *peer) {
		p, silent := r.local(), r.local()
		p.c.Close()
		time.Sleep(9 * time.Second)
		p, a := r.back(p)
		if a.SessionID == 0 {
			t.Fatal("gone before its timeout")
		}
		old := p
		p, a = r.back(p)
		if a.SessionID != old.session {
			t.Fatalf("%+v", a)
		}
		old.ended()
		for range 4 {
			time.Sleep(3 * time.Second)
			p.ping()
		}
		silent.ended()
		if _, a := r.back(silent); a.SessionID != 0 {
			t.Errorf("silence does not count: %+v", a)
		}
		r.m.setRole(consensus.Looking)
		synctest.Wait()
		early := dial() // gets its session when there is a leader
		early.sendConnect(&proto.ConnectRequest{TimeoutMS: 10000})
		p.send(proto.OpCreate, create("/a", 0))
		time.Sleep(4 * time.Second)
		r.m.epoch()
		synctest.Wait()
		if a := early.greeted(); a.SessionID == 0 {
			t.Fatal("no session")
		}
		early.must(proto.OpCreate, create("/b", 0))
		if n, l := r.counted(); n != 0 || l != 2 {
			t.Errorf("%d and %d sessions", n, l)
		}
	})
	// The leader says that it knows no such session, and so does a server that it is not of.
	r := start(t, consensus.Leading, false, localOnly)
	p := r.local()
	if r.n.Revalidate(2, consensus.Touch{Session: p.session, TimeoutMS: 10000}) {
		t.Error("a local session is handed to another server")
	}
	other := start(t, consensus.Leading, false, func(c *Config) { c.ServerID = 2; localOnly(c) })
	if _, a := other.back(p); a.SessionID != 0 {
		t.Errorf("%+v", a)
	}
}

// TestLocalSessionComesBack: what its client asked for on another connection comes before all that
// it asks for on the new one, and is not taken for that.
func TestLocalSessionComesBack(t *testing.T) {
	r := start(t, consensus.Leading, true, localOnly)
	p := r.local()
	p.send(proto.OpCreate, create("/old", 0))
	r.proposed(1)
	q := r.dial()
	q.sendConnect(&proto.ConnectRequest{TimeoutMS: 10000, SessionID: p.session, Passwd: p.passwd})
	p.ended()
	r.until("the sync", func() bool { _, _, n, _ := r.m.counts(); return n == 1 })
	if !q.silent() {
		t.Fatal("welcome before the old write was applied")
	}
	r.m.deliver(-1)
	r.m.wait(func() { r.n.Synced(r.m.syncs[0]) })
	if a := q.greeted(); a.SessionID != p.session {
		t.Fatalf("%+v", a)
	}
	q.send(proto.OpCreate, create("/new", 0))
	r.proposed(1)
	r.m.deliver(-1)
	if a := q.reply(); a.Err != zkerr.OK || string(a.body[4:]) != "/new" {
		t.Errorf("%v %q", a.Err, a.body)
	}
	q.must(proto.OpExists, get("/old"))
}

// TestUpgrade: with its first ephemeral a local session becomes one of the ensemble's, under the same
// name and password.
func TestUpgrade(t *testing.T) {
	ephemeral := proto.MultiOp{Op: proto.OpCreate, Path: "/e", ACL: []proto.ACL{{Perms: 31, Scheme: "world", ID: "anyone"}}, Flags: proto.FlagEphemeral}
	for name, ask := range map[string]func(p *peer) reply{
		"create":  func(p *peer) reply { return p.call(proto.OpCreate, create("/e", proto.FlagEphemeral)) },
		"create2": func(p *peer) reply { return p.call(proto.OpCreate2, create("/e", proto.FlagEphemeral)) },
		"multi": func(p *peer) reply {
			return p.call(proto.OpMulti, &proto.MultiRequest{Ops: []proto.MultiOp{ephemeral}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, upgrading, func(t *testing.T, r *rig, dial func() *peer) {
				p := r.local()
				p.must(proto.OpCreate, create("/a", 0))
				if a := ask(p); a.Err != zkerr.OK || a.Zxid != 3 {
					t.Fatalf("%v at %x", a.Err, a.Zxid)
				}
				if n, l := r.counted(); n != 1 || l != 0 {
					t.Fatalf("%d and %d sessions", n, l)
				}
				p.must(proto.OpSetData, set("/a", "x"))
				p.must(proto.OpCreate, create("/e2", proto.FlagEphemeral)) // and not twice
				p.c.Close()
				p, a := r.back(p)
				if a.SessionID == 0 {
					t.Fatal("the session is lost")
				}
				p.must(proto.OpExists, get("/e"))
				watcher := r.local()
				watcher.must(proto.OpExists, getWatch("/e2"))
				for range 7 { // the leader ends it, like any other
					time.Sleep(3 * time.Second)
					watcher.write(watcher.requestXid(proto.XidPing, proto.OpPing, nil))
					if b := watcher.reply(); b.Xid == proto.XidNotification {
						return
					}
				}
				t.Error("its ephemerals stay")
			})
		})
	}
	// It ends by its client's wish through the log.
	bubble(t, upgrading, func(t *testing.T, r *rig, dial func() *peer) {
		p := r.local()
		p.must(proto.OpCreate, create("/e", proto.FlagEphemeral))
		p.must(proto.OpCloseSession, nil)
		if n, l := r.counted(); n != 0 || l != 0 || r.n.Info().Ephemerals != 0 {
			t.Errorf("%d and %d sessions, %d ephemerals", n, l, r.n.Info().Ephemerals)
		}
	})
}

// TestUpgradeOnLearner: the leader is asked for the session before it is asked for the ephemeral, by
// each leader anew until one has done it; what was asked before is asked as it was.
func TestUpgradeOnLearner(t *testing.T) {
	bubble(t, upgrading, func(t *testing.T, r *rig, dial func() *peer) {
		r.m.setRole(consensus.Looking)
		r.m.setRole(consensus.Following)
		synctest.Wait()
		p := r.local()
		p.send(proto.OpCreate, create("/a", 0))
		p.send(proto.OpCreate, create("/e", proto.FlagEphemeral))
		p.send(proto.OpSetData, set("/a", "x"))
		synctest.Wait()
		type asked struct {
			op     proto.Op
			cxid   int32
			marked bool
		}
		want := []asked{{proto.OpCreate, 1, true}, {proto.OpCreateSession, 0, false}, {proto.OpCreate, 2, false}, {proto.OpSetData, 3, false}}
		marked := engine.MarkLocal(nil)[0]
		for round := range 3 {
			r.m.mu.Lock()
			var got []asked
			for _, q := range r.m.forwarded {
				got = append(got, asked{proto.Op(q.Op), q.Cxid, slices.Contains(q.Auth, marked)})
			}
			r.m.mu.Unlock()
			if !slices.Equal(got, want) {
				t.Fatalf("round %d: %v", round, got)
			}
			time.Sleep(2 * time.Second)
			p.write(p.requestXid(proto.XidPing, proto.OpPing, nil)) // answered behind what waits
			r.m.setRole(consensus.Looking)
			r.m.setRole(consensus.Following)
			synctest.Wait()
		}
		for range 5 { // meanwhile it does not end here
			time.Sleep(4 * time.Second)
			p.write(p.requestXid(proto.XidPing, proto.OpPing, nil))
		}
		if _, l := r.counted(); l != 1 {
			t.Errorf("%d local sessions", l)
		}
	})
}

// An upgrade that nobody was asked for is forgotten with its connection; one that was asked for, and
// of which a new leader does not know, never happened; one that happens late is one.
func TestUpgradeCutShort(t *testing.T) {
	for _, tc := range []struct {
		name          string
		asked, happen bool
	}{{"not asked for", false, false}, {"asked for, and lost", true, false}, {"asked for", true, true}} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, upgrading, func(t *testing.T, r *rig, dial func() *peer) {
				p := r.local()
				r.m.setRole(consensus.Looking)
				if tc.asked {
					r.m.setRole(consensus.Following)
				}
				synctest.Wait()
				p.send(proto.OpCreate, create("/e", proto.FlagEphemeral))
				synctest.Wait()
				if s, _ := r.n.local(p.session); s.upgrading == false {
					t.Fatal("it is not to be upgraded")
				}
				p.c.Close()
				synctest.Wait()
				if s, _ := r.n.local(p.session); s.upgrading != tc.asked {
					t.Fatalf("upgrading: %v", s.upgrading)
				}
				if tc.asked {
					r.m.setRole(consensus.Looking)
				}
				r.m.epoch()
				synctest.Wait()
				if tc.happen {
					r.n.Receive(1, consensus.Request{Session: p.session, Op: int32(proto.OpCreateSession), Body: jute.AppendInt(nil, 10000)})
				}
				synctest.Wait()
				p, a := r.back(p)
				if a.SessionID == 0 {
					t.Fatal("the session is lost")
				}
				n, l := r.counted()
				if tc.happen && (n != 1 || l != 0) || !tc.happen && (n != 0 || l != 1) {
					t.Errorf("%d and %d sessions", n, l)
				}
				p.must(proto.OpCreate, create("/e", proto.FlagEphemeral))
				if n, l := r.counted(); n != 1 || l != 0 {
					t.Errorf("%d and %d sessions", n, l)
				}
			})
		})
	}
}

// A client that comes back while its session is being upgraded asks the leader, behind that.
func TestBackWhileUpgrading(t *testing.T) {
	r := start(t, consensus.Leading, true, upgrading)
	p := r.local()
	p.send(proto.OpCreate, create("/e", proto.FlagEphemeral))
	r.proposed(2)
	q := r.dial()
	q.sendConnect(&proto.ConnectRequest{TimeoutMS: 10000, SessionID: p.session, Passwd: p.passwd})
	p.ended()
	if !q.silent() {
		t.Fatal("welcome before the upgrade is done")
	}
	r.m.deliver(-1)
	if a := q.greeted(); a.SessionID != p.session {
		t.Fatalf("%+v", a)
	}
	q.must(proto.OpExists, get("/e"))
	if i := r.n.Info(); i.Sessions != 1 || i.LocalSessions != 0 {
		t.Errorf("%d and %d sessions", i.Sessions, i.LocalSessions)
	}
}

// A leader of Apache's does not know a local session from one that has expired: its client is told
// what it is.
func TestLocalUnderApache(t *testing.T) {
	r := start(t, consensus.Leading, true, func(c *Config) { c.LocalSessions, c.Mixed = true, true })
	r.m.setRole(consensus.Looking)
	r.m.setRole(consensus.Following)
	r.until("following", r.n.Serving)
	p := r.local()
	p.send(proto.OpCreate, create("/e", proto.FlagEphemeral))
	p.send(proto.OpSetData, set("/e", ""))
	r.until("the requests", func() bool { _, n, _, _ := r.m.counts(); return n == 2 })
	r.m.mu.Lock()
	for _, q := range r.m.forwarded {
		if len(q.Auth) != 1 {
			t.Errorf("it is told %v", q.Auth)
		}
	}
	r.m.mu.Unlock()
	for i, want := range []zkerr.Code{zkerr.EphemeralOnLocalSession, zkerr.SessionExpired} {
		r.m.wait(func() { r.n.Deliver([]consensus.Txn{expiredTxn(int64(i+1), p.session, int32(i+1))}) })
		if a := p.reply(); a.Err != want {
			t.Errorf("%v, want %v", a.Err, want)
		}
	}
}

// expiredTxn is a leader's word that a session is over.
func expiredTxn(zxid, session int64, cxid int32) consensus.Txn {
	h := txn.Header{ClientID: session, Cxid: cxid, Zxid: zxid, Time: 1, Type: txn.TypeError}
	return consensus.Txn{Zxid: consensus.Zxid(zxid), Data: jute.AppendInt(txn.AppendHeader(nil, &h), int32(zkerr.SessionExpired))}
}
