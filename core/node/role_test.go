package node

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestHold: while there is no leader clients stay, pings are answered, and all
// else waits; under the new leader it is executed, once and in order.
func TestHold(t *testing.T) {
	r := start(t, consensus.Leading, true, nil)
	p := r.connectBy(1)
	// The first is committed, the second survives, the third is lost with the leader.
	for i := range 3 {
		p.send(proto.OpCreate, create(fmt.Sprintf("/s%d-", i), proto.FlagPersistentSequential))
	}
	r.proposed(3)
	r.m.mu.Lock()
	txns := append([]consensus.Txn(nil), r.m.proposed...)
	r.m.mu.Unlock()
	r.m.deliver(1)
	if a := p.reply(); a.Err != zkerr.OK {
		t.Fatal(a.Err)
	}
	r.m.setRole(consensus.Looking)
	r.until("looking", func() bool { return !r.n.Serving() })
	p.send(proto.OpSetData, set("/s0-0000000000", "new"))
	p.send(proto.OpGetData, get("/s0-0000000000"))

	old := p.inflight
	p.inflight = nil
	p.write(p.requestXid(proto.XidPing, proto.OpPing, nil))
	p.reply()
	p.inflight = old

	q := r.dial() // comes while there is no leader
	q.sendConnect(&proto.ConnectRequest{TimeoutMS: sessionMS})
	if !p.silent() || !q.silent() {
		t.Fatal("something is answered without a leader")
	}
	r.m.wait(func() { r.n.Deliver(txns[1:2]) })
	r.m.mu.Lock()
	r.m.last = txns[1].Zxid
	r.m.mu.Unlock()
	if a := p.reply(); a.Err != zkerr.OK {
		t.Fatal(a.Err) // the one that survived
	}
	again := r.again(p) // what the client asked for on the old connection goes with it
	p.ended()
	if !again.silent() {
		t.Fatal("a session is reclaimed without a leader")
	}
	r.m.epoch()
	r.proposed(1)
	r.m.deliver(-1)
	q.greeted()
	if a := again.greeted(); a.SessionID != p.session {
		t.Fatalf("%+v", a)
	}
	for i, want := range []zkerr.Code{zkerr.OK, zkerr.OK, zkerr.NoNode} {
		q.send(proto.OpExists, get(fmt.Sprintf("/s%d-%010d", i, i)))
		if a := q.reply(); a.Err != want {
			t.Errorf("create %d: %v, want %v", i, a.Err, want)
		}
	}
}

// TestResubmit: what was not delivered before the new leader is proposed again,
// once and in order; what was delivered is not.
func TestResubmit(t *testing.T) {
	for _, survivors := range []int{0, 1, 3} {
		t.Run(fmt.Sprint(survivors), func(t *testing.T) {
			var m counters
			r := start(t, consensus.Leading, true, func(c *Config) { c.Metrics = &m })
			p := r.connectBy(1)
			p.send(proto.OpCreate, create("/a", 0))
			r.proposed(1)
			r.m.deliver(-1)
			p.reply()
			var b []byte
			for i := range 3 {
				b = append(b, p.request(proto.OpSetData, set("/a", fmt.Sprint(i)))...)
				b = append(b, p.request(proto.OpGetData, get("/a"))...)
			}
			b = append(b, p.request(proto.OpSync, &proto.AnyPathRequest{Path: "/"})...)
			p.write(b)
			r.proposed(3)
			r.until("the sync", func() bool { _, _, n, _ := r.m.counts(); return n == 1 })
			r.m.mu.Lock()
			txns := append([]consensus.Txn(nil), r.m.proposed...)
			r.m.mu.Unlock()
			r.m.setRole(consensus.Looking)
			if survivors > 0 {
				// They are known to be committed only now. Reads between them are answered
				// where they belong.
				r.m.wait(func() { r.n.Deliver(txns[:survivors]) })
				r.m.mu.Lock()
				r.m.last = txns[survivors-1].Zxid
				r.m.mu.Unlock()
			}
			r.m.epoch()
			if survivors < 3 {
				r.proposed(3 - survivors)
			}
			r.m.mu.Lock()
			for i, tx := range r.m.proposed {
				var d txn.Txn
				if err := txn.Decode(tx.Data, &d); err != nil || string(d.Data) != fmt.Sprint(survivors+i) {
					t.Errorf("proposal %d is %+v, %v", i, d, err)
				}
			}
			r.m.mu.Unlock()
			r.m.deliver(-1)
			r.until("the sync again", func() bool { _, _, n, _ := r.m.counts(); return n == 1 })
			for i := range 3 {
				a := p.reply()
				var st proto.Stat
				if err := proto.Unmarshal(a.body, &st); err != nil || st.Version != int32(i+1) {
					t.Fatalf("set %d: version %d, %v", i, st.Version, err)
				}
				if got := p.reply().data(t); got != fmt.Sprint(i) {
					t.Fatalf("get %d shows %s", i, got)
				}
			}
			r.m.wait(func() { r.n.Synced(r.m.syncs[0]) })
			p.reply()
			if n, _, _, _ := r.m.counts(); n != 0 {
				t.Fatalf("%d proposals too many", n)
			}
			if n := m.get("zkcore_requests_resubmitted"); n != int64(3-survivors+1) {
				t.Errorf("%d requests are counted that were asked for again", n)
			}
		})
	}
}

// TestResubmitForwarded is the same for a learner: requests go to the new leader
// that the old one did not see through.
func TestResubmitForwarded(t *testing.T) {
	r := start(t, consensus.Leading, true, nil)
	p := r.connectBy(1)
	r.m.setRole(consensus.Following)
	for i := range 3 {
		p.send(proto.OpCreate, create(fmt.Sprintf("/%d", i), 0))
	}
	r.until("requests", func() bool { _, n, _, _ := r.m.counts(); return n == 3 })
	r.m.setRole(consensus.Looking)
	r.m.setRole(consensus.Observing)
	r.until("requests again", func() bool { _, n, _, _ := r.m.counts(); return n == 3 })
	r.m.mu.Lock()
	for i, q := range r.m.forwarded {
		if q.Cxid != int32(i+1) || q.Session != p.session {
			t.Errorf("request %d: %+v", i, q)
		}
	}
	r.m.mu.Unlock()
	// Then this node leads.
	r.m.setRole(consensus.Looking)
	r.m.epoch()
	r.proposed(3)
	r.m.deliver(-1)
	for range 3 {
		if a := p.reply(); a.Err != zkerr.OK {
			t.Fatal(a.Err)
		}
	}
}

// TestSilentIsNotResubmitted: who asked for something and was not heard from since may
// be on another server: a new leader does not get his old request from here.
func TestSilentIsNotResubmitted(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig, dial func() *peer) {
		silent, pinging := dial(), dial()
		for _, p := range []*peer{silent, pinging} {
			p.greet(&proto.ConnectRequest{TimeoutMS: 10000})
		}
		r.m.setRole(consensus.Following)
		synctest.Wait()
		for _, p := range []*peer{silent, pinging} {
			p.send(proto.OpCreate, create(fmt.Sprintf("/%x", p.session), 0))
		}
		time.Sleep(3 * time.Second)
		pinging.write(pinging.requestXid(proto.XidPing, proto.OpPing, nil))
		time.Sleep(3 * time.Second)
		r.m.setRole(consensus.Looking)
		r.m.setRole(consensus.Following)
		synctest.Wait()
		silent.ended()
		r.m.mu.Lock()
		defer r.m.mu.Unlock()
		if len(r.m.forwarded) != 1 || r.m.forwarded[0].Session != pinging.session {
			t.Errorf("forwarded: %+v", r.m.forwarded)
		}
	})
}

// TestHoldEnds: without a leader for long, clients must try another server.
func TestHoldEnds(t *testing.T) {
	bubble(t, func(c *Config) { c.HoldMS = 3000 }, func(t *testing.T, r *rig, dial func() *peer) {
		short, long := dial(), dial()
		short.greet(&proto.ConnectRequest{TimeoutMS: 4000})
		long.greet(&proto.ConnectRequest{TimeoutMS: 40000})
		r.m.setRole(consensus.Looking)
		begin := time.Now()
		short.ended()
		if d := time.Since(begin); d < 2*time.Second || d > 2200*time.Millisecond {
			t.Errorf("a client with a timeout of 4 s was held for %v", d)
		}
		long.ended()
		if d := time.Since(begin); d < 3*time.Second || d > 3200*time.Millisecond {
			t.Errorf("a client with a timeout of 40 s was held for %v", d)
		}
		late := dial()
		late.sendConnect(&proto.ConnectRequest{TimeoutMS: 4000})
		late.ended()
		r.m.epoch()
		synctest.Wait()
		back := dial()
		if a := back.greet(&proto.ConnectRequest{TimeoutMS: 40000, SessionID: long.session, Passwd: long.passwd}); a.SessionID != long.session {
			t.Fatalf("%+v", a)
		}
	})
}

// TestNeverServed: before there was a leader nobody is held.
func TestNeverServed(t *testing.T) {
	r := start(t, consensus.Looking, false, nil)
	p := r.dial()
	p.sendConnect(&proto.ConnectRequest{TimeoutMS: sessionMS})
	if b := p.ended(); len(b) > 0 {
		t.Fatalf("%x", b)
	}
	if i := r.n.Info(); i.Serving || i.State() != "" {
		t.Fatalf("%+v", i)
	}
}

// TestRestore: a node that gets the state of another has its tree and sessions,
// keeps it on disk, and its clients come back.
func TestRestore(t *testing.T) {
	src := start(t, consensus.Leading, false, nil)
	p := src.connect()
	p.must(proto.OpCreate, create("/of-the-leader", 0))
	snap, err := src.n.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	p.must(proto.OpCreate, create("/later", 0))

	dir := t.TempDir()
	dst := start(t, consensus.Leading, false, func(c *Config) { c.DataDir = dir })
	q := dst.connect()
	q.must(proto.OpCreate, create("/own", 0))
	dst.m.setRole(consensus.Looking)
	pr, pw := io.Pipe()
	go func() {
		_, err := snap.WriteTo(pw)
		pw.CloseWithError(err)
	}()
	dst.m.wait(func() { err = dst.n.Restore(snap.Zxid(), pr) })
	if err != nil {
		t.Fatal(err)
	}
	q.ended()
	dst.m.mu.Lock()
	dst.m.last = snap.Zxid()
	dst.m.mu.Unlock()
	dst.m.epoch()
	// Until it serves again it holds nobody: who comes too early is sent away.
	dst.until("leading", dst.n.Serving)
	back := dst.again(p)
	if a := back.greeted(); a.SessionID != p.session {
		t.Fatalf("%+v", a)
	}
	for path, want := range map[string]zkerr.Code{"/of-the-leader": zkerr.OK, "/later": zkerr.NoNode, "/own": zkerr.NoNode} {
		if a := back.call(proto.OpExists, get(path)); a.Err != want {
			t.Errorf("%s: %v, want %v", path, a.Err, want)
		}
	}
	if err := dst.n.Close(); err != nil {
		t.Fatal(err)
	}
	if n := start(t, consensus.Looking, false, func(c *Config) { c.DataDir = dir }).n; n.Info().Zxid != int64(snap.Zxid()) {
		t.Fatalf("on disk is 0x%x, want %v", n.Info().Zxid, snap.Zxid())
	}
}

// TestRestoreWhileClientsLeave: connections that end because the state goes drop their
// watches while the new state is set up.
func TestRestoreWhileClientsLeave(t *testing.T) {
	src := start(t, consensus.Leading, false, func(c *Config) { c.Consensus.ConfigText = "version=0" })
	r := start(t, consensus.Leading, false, func(c *Config) { c.Consensus.ConfigText = "version=1" })
	for range 3 {
		r.until("leading", r.n.Serving)
		for range 40 {
			p := r.connect()
			p.must(proto.OpGetData, getWatch("/zookeeper/config"))
		}
		r.m.setRole(consensus.Looking)
		snap, err := src.n.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := snap.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		snap.Close()
		r.m.wait(func() { err = r.n.Restore(snap.Zxid(), &b) })
		if err != nil {
			t.Fatal(err)
		}
		r.m.epoch()
	}
}

// TestRestoreBroken: a stream that ends early leaves an empty state.
func TestRestoreBroken(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	p := r.connect()
	p.must(proto.OpCreate, create("/own", 0))
	r.m.setRole(consensus.Looking)
	pr, pw := io.Pipe()
	go func() {
		pw.Write([]byte{0, 0, 0, 0, 0, 0, 0, 0})
		pw.Close()
	}()
	var err error
	r.m.wait(func() { err = r.n.Restore(77, pr) })
	if err == nil {
		t.Fatal("half a snapshot is taken for one")
	}
	if i := r.n.Info(); i.Znodes != 4 || i.Zxid != 0 {
		t.Fatalf("%+v", i)
	}
}
