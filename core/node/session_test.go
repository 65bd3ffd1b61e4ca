package node

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestWrongPassword: who does not know the password is refused and harms nobody;
// who knows it takes the session over.
func TestWrongPassword(t *testing.T) {
	for _, secret := range []string{"", "a secret of the ensemble"} {
		t.Run(fmt.Sprintf("secret %q", secret), func(t *testing.T) {
			r := start(t, consensus.Leading, false, func(c *Config) { c.SessionSecret = []byte(secret) })
			p := r.connect()
			p.must(proto.OpCreate, create("/e", proto.FlagEphemeral))
			if apache := proto.SessionPassword(p.session); (string(apache[:]) == string(p.passwd)) == (secret != "") {
				t.Fatalf("password %x", p.passwd)
			}
			q := r.dial()
			if a := q.greet(&proto.ConnectRequest{TimeoutMS: sessionMS, SessionID: p.session, Passwd: []byte("0123456789abcdef")}); a.SessionID != 0 || a.TimeoutMS != 0 {
				t.Fatalf("%+v", a)
			}
			q.ended()
			p.must(proto.OpGetData, get("/e"))

			q = r.again(p)
			if a := q.greeted(); a.SessionID != p.session {
				t.Fatalf("%+v", a)
			}
			p.ended()
			q.must(proto.OpDelete, &proto.VersionRequest{Path: "/e", Version: -1})
		})
	}
}

// TestUnderWayAtReconnect: what a client asked for on its old connection is not
// taken for what it asks for on the new one under the same number.
func TestUnderWayAtReconnect(t *testing.T) {
	r := start(t, consensus.Leading, true, nil)
	p := r.connectBy(1)
	p.send(proto.OpCreate, create("/old", 0)) // xid 1
	r.proposed(1)
	q := r.again(p)
	p.ended()
	if !q.silent() {
		t.Fatal("welcome before the old request is done")
	}
	r.m.deliver(-1)
	if a := q.greeted(); a.SessionID != p.session {
		t.Fatalf("%+v", a)
	}
	if a := func() reply {
		q.send(proto.OpCreate, create("/old", 0)) // xid 1 again
		r.proposed(1)
		r.m.deliver(-1)
		return q.reply()
	}(); a.Err != zkerr.NodeExists {
		t.Fatalf("%v, want that the old request was executed", a.Err)
	}
}

// TestMoved: the connection of a session that went to another server is closed
// when it asks for something.
func TestMoved(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	p := r.connect()
	if !r.n.Revalidate(2, consensus.Touch{Session: p.session, TimeoutMS: sessionMS}) {
		t.Fatal("not alive")
	}
	if r.n.Revalidate(2, consensus.Touch{Session: 77, TimeoutMS: sessionMS}) {
		t.Fatal("an unknown session is alive")
	}
	p.send(proto.OpCreate, create("/a", 0))
	if b := p.ended(); len(b) > 0 {
		t.Fatalf("%x", b)
	}
}

// TestLearner: a learner forwards, asks for sessions, and reports who it heard
// from.
func TestLearner(t *testing.T) {
	r := start(t, consensus.Following, true, nil)
	p := r.dial()
	p.sendConnect(&proto.ConnectRequest{TimeoutMS: sessionMS})
	r.until("the request", func() bool { _, n, _, _ := r.m.counts(); return n == 1 })
	// A leader of its own answers.
	lead := start(t, consensus.Leading, true, nil)
	forwardAll := func() {
		r.m.mu.Lock()
		reqs := r.m.forwarded
		r.m.forwarded = nil
		r.m.mu.Unlock()
		for _, q := range reqs {
			lead.n.Receive(2, q)
		}
		lead.proposed(len(reqs))
		lead.m.mu.Lock()
		txns := append([]consensus.Txn(nil), lead.m.proposed...)
		lead.m.mu.Unlock()
		lead.m.deliver(-1)
		r.m.wait(func() { r.n.Deliver(txns) })
	}
	forwardAll()
	p.greeted()
	ts := r.n.Touched()
	if len(ts) == 0 || ts[0] != (consensus.Touch{Session: p.session, TimeoutMS: sessionMS}) {
		t.Fatalf("touched %v", ts)
	}
	if ts = r.n.Touched(); len(ts) > 1 {
		t.Fatalf("touched %v without a sound", ts)
	}
	p.must(proto.OpGetData, get("/"))
	if ts = r.n.Touched(); len(ts) != 1 {
		t.Fatalf("touched %v", ts)
	}
	lead.n.Touch(2, ts)

	q := r.again(p)
	r.until("the question", func() bool { _, _, _, n := r.m.counts(); return n == 1 })
	if !q.silent() {
		t.Fatal("welcome without the leader's word")
	}
	r.m.wait(func() { r.n.Revalidated(p.session, true) })
	if a := q.greeted(); a.SessionID != p.session {
		t.Fatalf("%+v", a)
	}
	q2 := r.again(q)
	r.until("the question", func() bool { _, _, _, n := r.m.counts(); return n == 2 })
	r.m.wait(func() { r.n.Revalidated(p.session, false) })
	r.until("the question who leads", func() bool { _, _, n, _ := r.m.counts(); return n == 1 })
	if !q2.silent() {
		t.Fatal("refused on the word of one server")
	}
	r.m.wait(func() { r.n.Synced(r.m.syncs[0]) })
	if b := q2.ended(); len(b) != 0 { // the session is open here: it was no leader any more that said so
		t.Fatalf("answered %x", b)
	}
}

// A localPipe is the end of a pipe of which the node believes that it leads to a
// client on this machine.
type localPipe struct{ net.Conn }

func (localPipe) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// A pipeListener gives out ends of pipes, which belong to the bubble of a test
// with its own time.
type pipeListener struct {
	c    chan net.Conn
	done chan struct{}
	once sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{c: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.c:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// bubble runs a test with a node, without sockets, in a time of its own.
func bubble(t *testing.T, change func(*Config), test func(*testing.T, *rig, func() *peer)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := startPiped(t, dir, change)
		test(t, r, r.dial)
	})
}

// startPiped starts a leader whose clients come through pipes, in a bubble.
func startPiped(t *testing.T, dir string, change func(*Config)) *rig {
	r := start(t, consensus.Leading, false, func(c *Config) {
		c.DataDir, c.ClientAddrs = dir, nil
		if change != nil {
			change(c)
		}
	})
	r.pipes = newPipeListener()
	if err := r.n.ServeClients(r.pipes); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestExpiry: a session ends after its timeout of silence and not before, and
// takes its ephemerals along. Pings keep one alive.
func TestExpiry(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig, dial func() *peer) {
		silent, pinging := dial(), dial()
		for _, p := range []*peer{silent, pinging} {
			p.greet(&proto.ConnectRequest{TimeoutMS: 10000})
		}
		silent.must(proto.OpCreate, create("/silent", proto.FlagEphemeral))
		pinging.must(proto.OpCreate, create("/pinging", proto.FlagEphemeral))
		begin := time.Now()
		pinging.must(proto.OpExists, getWatch("/silent"))
		for {
			time.Sleep(3 * time.Second)
			pinging.write(pinging.requestXid(proto.XidPing, proto.OpPing, nil))
			if a := pinging.reply(); a.Xid == proto.XidNotification {
				if a.event.Type != proto.EventNodeDeleted || a.event.Path != "/silent" {
					t.Fatalf("%+v", a.event)
				}
				break
			}
			if passed := time.Since(begin); passed > 20*time.Second {
				t.Fatalf("alive after %v", passed)
			}
		}
		if passed := time.Since(begin); passed < 10*time.Second {
			t.Fatalf("dead after %v", passed)
		}
		silent.ended()
		pinging.reply()
		pinging.must(proto.OpGetData, get("/pinging"))
		q := dial()
		if a := q.greet(&proto.ConnectRequest{TimeoutMS: 10000, SessionID: silent.session, Passwd: silent.passwd}); a.SessionID != 0 {
			t.Fatalf("%+v", a)
		}
	})
}

// TestForwardedWriteIsHeard: the client of a learner whose write the leader has
// got is alive, whatever becomes of the learner before it says so: it may be dead
// a moment later, and its client has all of its timeout to come to another server.
func TestForwardedWriteIsHeard(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig, _ func() *peer) {
		const session = 2<<56 | 7
		r.n.Receive(2, consensus.Request{Session: session, Op: int32(proto.OpCreateSession), Body: jute.AppendInt(nil, 10000)})
		open := func() bool {
			r.n.mu.RLock()
			defer r.n.mu.RUnlock()
			_, ok := r.n.engine.Session(session)
			return ok
		}
		r.until("the session", open)
		// It has come back since, with another timeout.
		if !r.n.Revalidate(2, consensus.Touch{Session: session, TimeoutMS: 20000}) {
			t.Fatal("the session is not known")
		}
		time.Sleep(15 * time.Second)
		r.n.Receive(2, consensus.Request{Session: session, Cxid: 1, Op: int32(proto.OpCreate), Body: create("/e", proto.FlagEphemeral).Append(nil)})
		begin := time.Now()
		for open() {
			time.Sleep(100 * time.Millisecond)
			if passed := time.Since(begin); passed > 30*time.Second {
				t.Fatalf("alive after %v", passed)
			}
		}
		if passed := time.Since(begin); passed < 20*time.Second {
			t.Fatalf("dead after %v", passed)
		}
	})
}

// TestLastWordsAreHeard: what is heard from a client just before its connection ends counts,
// though nobody looks at the connection between the two.
func TestLastWordsAreHeard(t *testing.T) {
	change := func(c *Config) { c.TickMS = 4000 }
	bubble(t, change, func(t *testing.T, r *rig, dial func() *peer) {
		p := dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 10000})
		time.Sleep(3900 * time.Millisecond)
		p.write(p.requestXid(proto.XidPing, proto.OpPing, nil))
		p.reply()
		p.c.Close()
		time.Sleep(9500 * time.Millisecond)
		synctest.Wait()
		if _, ok := r.session(p.session); !ok {
			t.Fatal("the session is gone before its timeout")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if _, ok := r.session(p.session); ok {
			t.Fatal("silence does not count any more")
		}
	})
	bubble(t, change, func(t *testing.T, r *rig, dial func() *peer) {
		p := dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 10000})
		r.m.setRole(consensus.Looking)
		r.m.setRole(consensus.Following)
		r.until("following", r.n.Serving)
		time.Sleep(time.Second)
		r.n.Touched()
		p.write(p.requestXid(proto.XidPing, proto.OpPing, nil))
		p.reply()
		p.c.Close()
		synctest.Wait()
		want := consensus.Touch{Session: p.session, TimeoutMS: 10000}
		if ts := r.n.Touched(); !slices.Contains(ts, want) {
			t.Fatalf("the leader is told of %v, not of %v", ts, want)
		}
	})
}

// TestOldTimeout: a client that comes back with a shorter timeout is not given the old one again
// by what was heard of it before: on the server that it came back to, or on another one.
func TestOldTimeout(t *testing.T) {
	change := func(c *Config) { c.TickMS = 1000 }
	t.Run("the leader, of a server that its client has left", func(t *testing.T) {
		for from, lives := range map[consensus.ServerID]bool{3: false, 2: true} {
			bubble(t, change, func(t *testing.T, r *rig, dial func() *peer) {
				p := dial()
				p.greet(&proto.ConnectRequest{TimeoutMS: 60000})
				p.c.Close()
				synctest.Wait()
				if !r.n.Revalidate(2, consensus.Touch{Session: p.session, TimeoutMS: 2000}) {
					t.Fatal("there is no session")
				}
				r.n.Touch(from, []consensus.Touch{{Session: p.session, TimeoutMS: 60000}})
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if _, ok := r.session(p.session); ok != lives {
					t.Errorf("server 2 speaks for it, server %d says that it has a minute: it lives %v", from, ok)
				}
			})
		}
	})
	t.Run("a learner, of a connection that is gone", func(t *testing.T) {
		r := start(t, consensus.Leading, false, nil)
		p := r.connect()
		r.m.setRole(consensus.Looking)
		r.m.setRole(consensus.Following)
		r.until("following", r.n.Serving)
		r.n.Touched()
		p.must(proto.OpGetData, get("/"))
		p.c.Close()
		r.until("the end of the connection", func() bool { // it is counted no more before it is forgotten
			r.n.clientsMu.Lock()
			defer r.n.clientsMu.Unlock()
			return len(r.n.clients) == 0
		})
		q := r.dial()
		q.sendConnect(&proto.ConnectRequest{TimeoutMS: 5000, SessionID: p.session, Passwd: p.passwd, HasReadOnly: true})
		r.until("the question", func() bool { _, _, _, n := r.m.counts(); return n == 1 })
		if ts := r.n.Touched(); len(ts) != 1 || ts[0].TimeoutMS != 5000 {
			t.Errorf("the leader is told of %v", ts)
		}
	})
}

// TestEndIsNotYetCommitted: a client that comes back while the end of its session is only
// proposed is not told that the session is over: it may never be.
func TestEndIsNotYetCommitted(t *testing.T) {
	for _, lost := range []bool{false, true} {
		r := start(t, consensus.Leading, true, nil)
		p := r.connectBy(1)
		p.send(proto.OpCloseSession, nil)
		r.proposed(1)
		q := r.again(p)
		r.until("the client is back", func() bool {
			r.n.clientsMu.Lock()
			defer r.n.clientsMu.Unlock()
			return len(r.n.later) == 1
		})
		want := int64(0)
		if lost {
			want = p.session
			r.m.setRole(consensus.Looking)
			r.m.epoch()
		} else {
			r.m.deliver(-1)
			r.until("the question who leads", func() bool { _, _, n, _ := r.m.counts(); return n == 1 })
			r.m.wait(func() { r.n.Synced(r.m.syncs[0]) })
		}
		if a := q.greeted(); a.SessionID != want {
			t.Errorf("proposal lost %v: session 0x%x, want 0x%x", lost, a.SessionID, want)
		}
	}
}

// TestRefusedByAMajority: a server that believes that it leads, and no longer does, does not know
// of the sessions that were opened since. Nobody is told that such a session is over.
func TestRefusedByAMajority(t *testing.T) {
	r := start(t, consensus.Leading, true, nil)
	passwd := r.n.password(0x77)
	q := r.dial()
	q.sendConnect(&proto.ConnectRequest{TimeoutMS: sessionMS, SessionID: 0x77, Passwd: passwd[:], HasReadOnly: true})
	asked := func() {
		t.Helper()
		r.until("the question who leads", func() bool { _, _, n, _ := r.m.counts(); return n == 1 })
		if !q.silent() {
			t.Fatal("refused before a majority has said who leads")
		}
	}
	asked()
	r.m.setRole(consensus.Looking)
	r.m.epoch()
	asked() // the next leader again
	r.m.wait(func() { r.n.Synced(r.m.syncs[0]) })
	if a := q.greeted(); a.SessionID != 0 {
		t.Fatalf("%+v", a)
	}
	q.ended()
}

// TestWroteElsewhere: a connection is closed when its session writes through another server:
// what still waits on it must not be executed behind that by the next leader.
func TestWroteElsewhere(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	p, q := r.connect(), r.connect()
	if !r.n.Revalidate(2, consensus.Touch{Session: p.session, TimeoutMS: sessionMS}) {
		t.Fatal("the session is not known")
	}
	// A client that only moved may still hear of it here.
	p.must(proto.OpExists, get("/"))
	r.n.Receive(2, consensus.Request{Session: p.session, Cxid: 77, Op: int32(proto.OpCreate), Body: create("/elsewhere", 0).Append(nil)})
	p.ended()
	q.must(proto.OpGetData, get("/elsewhere"))
}

// TestPause: who could not be heard because this process stood still does not
// lose his session.
func TestPause(t *testing.T) {
	bubble(t, func(c *Config) { c.TickMS = 1000 }, func(t *testing.T, r *rig, dial func() *peer) {
		p := dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 4000})
		time.Sleep(3500 * time.Millisecond)
		synctest.Wait()
		r.n.lastBeat.Add(-10e9) // as if the last tick had been long ago
		time.Sleep(4 * time.Second)
		synctest.Wait()
		p.write(p.requestXid(proto.XidPing, proto.OpPing, nil))
		if a := p.reply(); a.Err != zkerr.OK {
			t.Fatal(a.Err)
		}
		if _, ok := r.session(p.session); !ok {
			t.Fatal("the session is gone")
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if _, ok := r.session(p.session); ok {
			t.Fatal("silence does not count any more")
		}
	})
}

// TestPauseAndLongTimeout: a pause gives the whole of its timeout also to a session whose timeout is much longer.
func TestPauseAndLongTimeout(t *testing.T) {
	bubble(t, func(c *Config) { c.TickMS = 1000 }, func(t *testing.T, r *rig, dial func() *peer) {
		p := dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 20000})
		time.Sleep(19 * time.Second)
		synctest.Wait()
		r.n.lastBeat.Add(-2e9)
		time.Sleep(18 * time.Second)
		synctest.Wait()
		if _, ok := r.session(p.session); !ok {
			t.Fatal("the session is gone within its timeout")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if _, ok := r.session(p.session); ok {
			t.Fatal("silence does not count any more")
		}
	})
}

// TestPauseAfterShorterTimeout: after a pause a session has the timeout that its client had last, not the longer one
// that it was opened with, be the client here or gone.
func TestPauseAfterShorterTimeout(t *testing.T) {
	bubble(t, func(c *Config) { c.TickMS = 1000 }, func(t *testing.T, r *rig, dial func() *peer) {
		var sessions []int64
		for _, gone := range []bool{false, true} {
			p, q := dial(), dial()
			a := p.greet(&proto.ConnectRequest{TimeoutMS: 20000})
			q.greet(&proto.ConnectRequest{TimeoutMS: 2000, SessionID: a.SessionID, Passwd: a.Passwd})
			p.ended()
			if gone {
				q.c.Close()
			}
			sessions = append(sessions, a.SessionID)
		}
		open := func() (n int) {
			synctest.Wait()
			for _, id := range sessions {
				if _, ok := r.session(id); ok {
					n++
				}
			}
			return n
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		r.n.lastBeat.Add(-10e9)
		time.Sleep(1500 * time.Millisecond)
		if n := open(); n != 2 {
			t.Fatalf("%d sessions are left within their timeout", n)
		}
		time.Sleep(4 * time.Second)
		if n := open(); n != 0 {
			t.Fatalf("%d sessions live on by the timeout that they were opened with", n)
		}
	})
}

// TestShortPause: a pause that is shorter than any session's timeout is as bad for who
// was last heard from a while before.
func TestShortPause(t *testing.T) {
	bubble(t, func(c *Config) { c.TickMS = 1000 }, func(t *testing.T, r *rig, dial func() *peer) {
		p := dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 2000})
		time.Sleep(1900 * time.Millisecond)
		synctest.Wait()
		r.n.lastBeat.Add(-900e6) // as if the last second had been none
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if _, ok := r.session(p.session); !ok {
			t.Fatal("the session is gone")
		}
		p.write(p.requestXid(proto.XidPing, proto.OpPing, nil))
		if a := p.reply(); a.Err != zkerr.OK {
			t.Fatal(a.Err)
		}
	})
}

// TestPausesDoNotAddUp: on a machine that gives this process little, pauses follow one another.
// Each of them counts for what it was, and a silent session ends; it had its whole timeout anew
// after each of them once, and never ended.
func TestPausesDoNotAddUp(t *testing.T) {
	bubble(t, func(c *Config) { c.TickMS = 200 }, func(t *testing.T, r *rig, dial func() *peer) {
		silent, pinging := dial(), dial()
		silent.greet(&proto.ConnectRequest{TimeoutMS: 2000})
		pinging.greet(&proto.ConnectRequest{TimeoutMS: 2000})
		begin := time.Now()
		for i := 1; ; i++ {
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
			r.n.lastBeat.Add(-130e6) // a beat of 50 ms that took 180
			if i%20 == 0 {
				pinging.write(pinging.requestXid(proto.XidPing, proto.OpPing, nil))
				pinging.reply()
			}
			if _, ok := r.session(silent.session); !ok {
				break
			}
			if passed := time.Since(begin); passed > time.Minute {
				t.Fatalf("alive after %v of silence", passed)
			}
		}
		if passed := time.Since(begin); passed < 2*time.Second {
			t.Errorf("dead after %v", passed)
		}
		if _, ok := r.session(pinging.session); !ok {
			t.Error("who pings is dead")
		}
	})
}

// TestLateBeats: a session ends in time also if the beats come so late that some are left out.
func TestLateBeats(t *testing.T) {
	slow := func(c *Config) {
		c.TickMS, c.World = 200, &slowWorld{realWorld: newWorld(), late: 140 * time.Millisecond}
	}
	bubble(t, slow, func(t *testing.T, r *rig, dial func() *peer) {
		p := dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 400})
		time.Sleep(1000 * time.Millisecond)
		synctest.Wait()
		if _, ok := r.session(p.session); ok {
			t.Error("alive after 2.5 times its timeout")
		}
	})
}

// A slowWorld calls what is to be called every so often later than that.
type slowWorld struct {
	*realWorld
	late time.Duration
}

func (w *slowWorld) Every(d time.Duration, fn func() bool) {
	w.realWorld.Every(max(d, w.late), fn)
}

func (r *rig) session(id int64) (int32, bool) {
	r.n.mu.RLock()
	defer r.n.mu.RUnlock()
	return r.n.engine.Session(id)
}

// TestStuckLog: while nothing can be written nobody's session ends, and then
// everybody has a whole timeout.
func TestStuckLog(t *testing.T) {
	bubble(t, func(c *Config) { c.TickMS = 1000 }, func(t *testing.T, r *rig, dial func() *peer) {
		p, q := dial(), dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 4000})
		q.greet(&proto.ConnectRequest{TimeoutMS: 20000})
		r.m.mu.Lock()
		r.m.manual = true
		r.m.role.Last = r.m.last
		r.m.mu.Unlock()
		q.send(proto.OpCreate, create("/a", 0))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		r.m.mu.Lock()
		if n := len(r.m.proposed); n != 1 {
			t.Errorf("%d proposals, want that of the write alone", n)
		}
		r.m.manual = false
		r.m.mu.Unlock()
		r.m.deliver(-1)
		q.reply()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if _, ok := r.session(p.session); !ok {
			t.Fatal("the session is gone")
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if _, ok := r.session(p.session); ok {
			t.Fatal("silence does not count any more")
		}
	})
}

// TestMemberStandsStill: while the member's process stands still nobody's session ends, as nothing is heard of other
// servers' clients, and then everybody has a whole timeout.
func TestMemberStandsStill(t *testing.T) {
	bubble(t, func(c *Config) { c.TickMS = 1000 }, func(t *testing.T, r *rig, dial func() *peer) {
		p := dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 4000})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		set := func(stands func() (now, longest time.Duration)) {
			r.m.mu.Lock()
			r.m.stands = stands
			r.m.mu.Unlock()
		}
		begin := time.Now()
		set(func() (time.Duration, time.Duration) { return time.Since(begin), 0 })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if _, ok := r.session(p.session); !ok {
			t.Fatal("the session has ended meanwhile")
		}
		end := time.Since(begin)
		set(func() (now, longest time.Duration) {
			longest, end = end, 0
			return 0, longest
		})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if _, ok := r.session(p.session); !ok {
			t.Fatal("the session is gone")
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if _, ok := r.session(p.session); ok {
			t.Fatal("silence does not count any more")
		}
	})
}

// TestNewLeader: under a new leader every session has a whole timeout.
func TestNewLeader(t *testing.T) {
	bubble(t, func(c *Config) { c.TickMS = 1000 }, func(t *testing.T, r *rig, dial func() *peer) {
		p := dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 4000})
		time.Sleep(3500 * time.Millisecond)
		r.m.setRole(consensus.Looking)
		time.Sleep(time.Second)
		r.m.epoch()
		time.Sleep(3900 * time.Millisecond)
		synctest.Wait()
		if _, ok := r.session(p.session); !ok {
			t.Fatal("the session is gone")
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if _, ok := r.session(p.session); ok {
			t.Fatal("the session lives for ever")
		}
	})
}

// TestContainers: an empty container that had a child is removed, one that was
// never used is not.
func TestContainers(t *testing.T) {
	bubble(t, func(c *Config) { c.ContainerCheck, c.ExtendedTypes = 10*time.Second, true }, func(t *testing.T, r *rig, dial func() *peer) {
		p := dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 40000})
		for _, path := range []string{"/used", "/new", "/used/kid"} {
			op := proto.OpCreateContainer
			if strings.Count(path, "/") > 1 {
				op = proto.OpCreate
			}
			p.must(op, create(path, 0))
		}
		ttl := &proto.CreateTTLRequest{CreateRequest: *create("/ttl", proto.FlagPersistentWithTTL), TTL: 15000}
		p.must(proto.OpCreateTTL, ttl)
		time.Sleep(11 * time.Second)
		p.must(proto.OpDelete, &proto.VersionRequest{Path: "/used/kid", Version: -1})
		p.must(proto.OpExists, get("/ttl"))
		time.Sleep(11 * time.Second)
		synctest.Wait()
		for path, want := range map[string]zkerr.Code{"/used": zkerr.NoNode, "/new": zkerr.OK, "/ttl": zkerr.NoNode} {
			if a := p.call(proto.OpExists, get(path)); a.Err != want {
				t.Errorf("%s: %v, want %v", path, a.Err, want)
			}
		}
	})
}

// TestSnapshots: snapshots are taken as often as is asked for, and a node comes
// back from the newest that can be read.
func TestSnapshots(t *testing.T) {
	dir := t.TempDir()
	change := func(c *Config) { c.DataDir, c.SnapCount = dir, 8 }
	r := start(t, consensus.Leading, false, change)
	p := r.connect()
	made := 0
	r.until("snapshots", func() bool {
		q := create(fmt.Sprintf("/n%02d", made), 0)
		q.Data = []byte(strings.Repeat("d", 100))
		p.must(proto.OpCreate, q)
		made++
		r.m.mu.Lock()
		defer r.m.mu.Unlock()
		return len(r.m.saved) >= 2
	})
	if err := r.n.Close(); err != nil {
		t.Fatal(err)
	}
	newest := r.m.saved[len(r.m.saved)-1]
	name := func(z consensus.Zxid) string {
		return filepath.Join(dir, "version-2", fmt.Sprintf("snapshot.%x", uint64(z)))
	}
	b, err := os.ReadFile(name(newest))
	if err != nil {
		t.Fatal(err)
	}

	at := func(want consensus.Zxid) {
		t.Helper()
		r := start(t, consensus.Leading, false, change)
		defer r.n.Close()
		if got := r.n.Info().Zxid; got != int64(want) {
			t.Fatalf("comes back at 0x%x, want %v", got, want)
		}
		q := r.again(p)
		if a := q.greeted(); a.SessionID != p.session {
			t.Fatalf("the session is gone: %+v", a)
		}
		q.must(proto.OpGetData, get("/n00"))
		if r.connect().session == p.session {
			t.Fatal("a session's number is given twice")
		}
	}
	at(newest)
	b[len(b)/2] ^= 1
	if err := os.WriteFile(name(newest), b, 0o600); err != nil {
		t.Fatal(err)
	}
	at(r.m.saved[len(r.m.saved)-2])
}

// TestLocked: a second node on the same directory is refused.
func TestLocked(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	cfg := r.n.cfg
	if n, err := Start(t.Context(), cfg); err == nil {
		n.Close()
		t.Fatal("two nodes on one directory")
	}
}

// TestSlowIsNotSilent: a client that takes long to read what it asked for, and
// whose pings are behind that, keeps its session and its connection.
func TestSlowIsNotSilent(t *testing.T) {
	bubble(t, func(c *Config) { c.TickMS = 1000 }, func(t *testing.T, r *rig, dial func() *peer) {
		p := dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 4000})
		q := create("/big", 0)
		q.Data = []byte(strings.Repeat("x", 900<<10))
		p.must(proto.OpCreate, q)
		b := append(p.request(proto.OpGetData, get("/big")), p.request(proto.OpGetData, get("/big"))...)
		b = append(b, p.requestXid(proto.XidPing, proto.OpPing, nil)...)
		p.write(b)
		p.c.SetReadDeadline(time.Time{})
		for left := 2*(4+16+4+900<<10+68) + 20; left > 0; {
			time.Sleep(time.Second)
			n, err := io.CopyN(io.Discard, p.c, int64(min(left, 100<<10)))
			if left -= int(n); err != nil {
				t.Fatal(err)
			}
		}
		p.inflight = nil
		p.must(proto.OpGetData, get("/"))
		if _, ok := r.session(p.session); !ok {
			t.Fatal("the session is gone")
		}
	})
}

// TestHeardBetweenReports: what a learner heard after its last report is not known to anybody
// when it dies; its client has all of its timeout nevertheless.
func TestHeardBetweenReports(t *testing.T) {
	bubble(t, func(c *Config) { c.TickMS = 2000 }, func(t *testing.T, r *rig, _ func() *peer) {
		const session = 2<<56 | 7
		r.n.Receive(2, consensus.Request{Session: session, Op: int32(proto.OpCreateSession), Body: jute.AppendInt(nil, 4000)})
		r.until("the session", func() bool { _, ok := r.session(session); return ok })
		time.Sleep(1900 * time.Millisecond)
		r.n.Touch(2, []consensus.Touch{{Session: session, TimeoutMS: 4000}})
		// Heard from just before the next report, which does not come.
		time.Sleep(time.Second)
		begin := time.Now()
		for open := true; open; _, open = r.session(session) {
			time.Sleep(50 * time.Millisecond)
		}
		if passed := time.Since(begin); passed < 4*time.Second {
			t.Fatalf("dead after %v", passed)
		}
	})
}
