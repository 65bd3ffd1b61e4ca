package node

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zkcore/zkcore/core/conn"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// counters are metrics that a test looks at.
type counters struct {
	mu   sync.Mutex
	sums map[string]int64
}

func (c *counters) Add(name string, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sums == nil {
		c.sums = map[string]int64{}
	}
	c.sums[name] += n
}

func (c *counters) Observe(name string, _ float64)     { c.Add("observed "+name, 1) }
func (c *counters) ObserveKey(string, string, float64) {}

func (c *counters) get(name string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sums[name]
}

// proposedBy counts the proposals of a session.
func (r *rig) proposedBy(session int64) (n int) {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	for i := range r.m.proposed {
		if t := &r.m.proposed[i]; clientOf(t) == session {
			n++
		}
	}
	return n
}

func clientOf(t *consensus.Txn) (id int64) {
	for _, b := range t.Data[headSession : headSession+8] {
		id = id<<8 | int64(b)
	}
	return id
}

// TestThrottle: never more requests are under way than the throttle lets, what waits is executed
// in its order, and who asks for little does not wait for all that somebody else asked for.
func TestThrottle(t *testing.T) {
	var m counters
	const most = 4
	r := start(t, consensus.Leading, true, func(c *Config) { c.RequestThrottle.Max, c.Metrics = most, &m })
	a, b := r.connectBy(1), r.connectBy(1)
	var frames []byte
	const many = 200
	for i := range many {
		frames = append(frames, a.request(proto.OpCreate, create(fmt.Sprintf("/a%d", i), 0))...)
	}
	a.write(frames)
	r.until("a's requests to be taken in", func() bool { n, _ := r.fifoLen(a.session); return n == many })
	b.send(proto.OpCreate, create("/b", 0))
	r.until("b's request to be taken in", func() bool { n, _ := r.fifoLen(b.session); return n == 1 })
	done := 0
	for answered := false; !answered; done++ {
		r.proposed(1)
		if n, _, _, _ := r.m.counts(); n > most {
			t.Fatalf("%d requests are under way", n)
		}
		answered = r.proposedBy(b.session) > 0
		if done > most+throttleTurn {
			t.Fatalf("b waits for %d requests of a's", done)
		}
		r.m.deliver(1)
	}
	for left := many; left > 0; {
		n, _, _, _ := r.m.counts()
		if n > most {
			t.Fatalf("%d requests are under way", n)
		}
		r.m.deliver(-1)
		left, _ = r.fifoLen(a.session)
	}
	for range many {
		if a := a.reply(); a.Err != zkerr.OK {
			t.Fatal(a.Err)
		}
	}
	b.reply()
	if w, q := m.get("request_throttle_wait_count"), m.get("observed request_throttle_queue_time_ms"); w == 0 || q != many+3 {
		t.Errorf("%d waits, %d queue times", w, q) // two sessions and b's
	}
	if n := r.n.throttle.underWay.Load(); n != 0 {
		t.Errorf("%d requests are under way still", n)
	}
}

// TestThrottleAtElection: what waits in line when the leader goes is executed once.
func TestThrottleAtElection(t *testing.T) {
	r := start(t, consensus.Leading, true, func(c *Config) { c.RequestThrottle.Max = 1 })
	p, q := r.connectBy(1), r.connectBy(1)
	for i := range 3 {
		p.send(proto.OpCreate, create(fmt.Sprintf("/p%d", i), 0))
	}
	q.send(proto.OpSync, &proto.PathRequest{Path: "/"})
	r.until("the requests", func() bool {
		n, _ := r.fifoLen(p.session)
		k, _ := r.fifoLen(q.session)
		return n == 3 && k == 1
	})
	r.m.setRole(consensus.Looking)
	r.m.epoch()
	deadline := time.Now().Add(patience)
	for n := 1; n > 0 && time.Now().Before(deadline); {
		r.m.deliver(-1)
		r.m.mu.Lock()
		syncs := r.m.syncs
		r.m.syncs = nil
		r.m.mu.Unlock()
		for _, id := range syncs {
			r.m.wait(func() { r.n.Synced(id) })
		}
		n, _ = r.fifoLen(p.session)
		k, _ := r.fifoLen(q.session)
		n += k
	}
	for range 3 {
		if a := p.reply(); a.Err != zkerr.OK {
			t.Fatal(a.Err)
		}
	}
	q.reply()
	if n := r.n.throttle.underWay.Load(); n != 0 {
		t.Errorf("%d requests are under way still", n)
	}
}

// TestThrottledOp: who waited in line for longer than he may is told so, and what he asked for
// is not done. The end of a session is.
func TestThrottledOp(t *testing.T) {
	var m counters
	change := func(c *Config) {
		c.TickMS, c.Metrics = 20000, &m
		c.RequestThrottle.Max, c.RequestThrottle.OpWaitMS = 1, 1000
	}
	bubble(t, change, func(t *testing.T, r *rig, dial func() *peer) {
		p := dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 40000})
		synctest.Wait()
		r.m.mu.Lock()
		r.m.manual, r.m.role.Last = true, r.m.last
		r.m.mu.Unlock()
		p.send(proto.OpCreate, create("/a", 0))
		p.send(proto.OpSetData, set("/a", "late"))
		p.send(proto.OpGetData, get("/a"))
		p.send(proto.OpSync, &proto.PathRequest{Path: "/a"})
		p.write(p.requestXid(proto.XidPing, proto.OpPing, nil))
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		p.send(proto.OpExists, get("/a"))
		p.send(proto.OpCloseSession, nil)
		synctest.Wait()
		r.m.deliver(-1)
		synctest.Wait()
		for i, want := range []zkerr.Code{zkerr.OK, zkerr.ThrottledOp, zkerr.ThrottledOp, zkerr.ThrottledOp, zkerr.OK, zkerr.OK} {
			a := p.reply()
			if a.Err != want || want == zkerr.ThrottledOp && (len(a.body) > 0 || a.Zxid != r.n.lastZxid()) {
				t.Errorf("reply %d: %+v, want %v", i, a, want)
			}
		}
		r.m.deliver(-1)
		if a := p.reply(); a.Err != zkerr.OK {
			t.Errorf("closeSession: %v", a.Err)
		}
		if n := m.get("throttled_ops"); n != 3 {
			t.Errorf("%d throttled", n)
		}
	})
}

// TestThrottledOpHasBegun: a setWatches that is being carried out waits for nobody any more. It is not told
// ThrottledOp half way, and the one behind it is not taken for what is left of it.
func TestThrottledOpHasBegun(t *testing.T) {
	change := func(c *Config) {
		c.TickMS = 20000
		c.RequestThrottle.Max, c.RequestThrottle.OpWaitMS = 1, 1000
	}
	bubble(t, change, func(t *testing.T, r *rig, dial func() *peer) {
		r.handPaced()
		p, other := dial(), dial()
		for _, q := range []*peer{p, other} {
			q.greet(&proto.ConnectRequest{TimeoutMS: 40000})
		}
		synctest.Wait()
		r.m.mu.Lock()
		r.m.manual, r.m.role.Last = true, r.m.last
		r.m.mu.Unlock()
		deliver := func() {
			synctest.Wait()
			r.m.deliver(-1)
			synctest.Wait()
		}
		const first, second = 3 * rewatchStep, 2 * rewatchStep
		p.send(proto.OpCreate, create("/a", 0))
		p.send(proto.OpCreate, create("/b", 0)) // stands in line
		p.send(proto.OpSetWatches, &proto.SetWatchesRequest{Exist: watches("/first", first)})
		deliver()
		deliver()
		if n := r.paceLine(); n != 1 {
			t.Fatalf("%d are in line", n)
		}
		r.paceOn()
		time.Sleep(1500 * time.Millisecond)
		p.send(proto.OpSetWatches, &proto.SetWatchesRequest{Exist: watches("/second", second)})
		other.send(proto.OpCreate, create("/first00000", 0))
		deliver()
		for r.paceLine() > 0 {
			r.paceOn()
			synctest.Wait()
		}
		other.reply()
		p.reply()
		p.reply()
		if a := p.reply(); a.event.Path != "/first00000" {
			t.Fatalf("%+v", a)
		}
		for range 2 {
			if a := p.reply(); a.Err != zkerr.OK {
				t.Errorf("setWatches: %v", a.Err)
			}
		}
		if n := r.n.Info().Watches; n != first-1+second {
			t.Errorf("%d watches", n)
		}
	})
}

// TestStaleRequests: a request that waited in line for longer than its session has ends the
// connection, and not the session; what waits of a connection that is gone is dropped.
func TestStaleRequests(t *testing.T) {
	for _, keep := range []bool{false, true} {
		var m counters
		change := func(c *Config) {
			c.TickMS, c.Metrics = 1000, &m
			c.RequestThrottle = RequestThrottle{Max: 1, Latency: true, KeepStale: keep}
		}
		bubble(t, change, func(t *testing.T, r *rig, dial func() *peer) {
			p, other := dial(), dial()
			p.greet(&proto.ConnectRequest{TimeoutMS: 2000})
			other.greet(&proto.ConnectRequest{TimeoutMS: 20000})
			synctest.Wait()
			r.m.mu.Lock()
			r.m.manual, r.m.role.Last = true, r.m.last
			r.m.mu.Unlock()
			other.send(proto.OpCreate, create("/other", 0))
			synctest.Wait()
			p.send(proto.OpCreate, create("/p", 0))
			for range 4 {
				time.Sleep(900 * time.Millisecond)
				p.write(p.requestXid(proto.XidPing, proto.OpPing, nil))
			}
			synctest.Wait()
			r.m.deliver(-1)
			other.reply()
			if keep {
				synctest.Wait()
				r.m.deliver(-1)
				if a := p.reply(); a.Err != zkerr.OK || m.get("stale_requests") == 0 || m.get("stale_requests_dropped") != 0 {
					t.Errorf("%v, %v", a.Err, m.sums)
				}
				return
			}
			if b := p.ended(); len(b) > 0 {
				t.Errorf("answered %x", b)
			}
			if m.get("stale_requests_dropped") != 1 {
				t.Errorf("%v", m.sums)
			}
			if _, ok := r.session(p.session); !ok {
				t.Error("the session is gone")
			}
		})
	}
	var m counters
	r := start(t, consensus.Leading, true, func(c *Config) { c.RequestThrottle.Max, c.Metrics = 1, &m })
	p := r.connectBy(1)
	p.send(proto.OpCreate, create("/p", 0))
	p.send(proto.OpCreate, create("/q", 0))
	r.until("the requests", func() bool { n, _ := r.fifoLen(p.session); return n == 2 })
	p.c.Close()
	r.until("the connection's end", func() bool { return m.get("stale_requests_dropped") == 1 })
	if n := m.get("stale_replies"); n != 1 {
		t.Errorf("%d stale replies", n)
	}
	r.m.deliver(-1)
	q := r.connectBy(1) // it has its turn
	if n, _, _, _ := r.m.counts(); n != 0 || q.session == 0 {
		t.Errorf("%d proposals are left", n)
	}
}

// TestConnectionThrottle: beyond the bucket's tokens clients are sent away without a word.
func TestConnectionThrottle(t *testing.T) {
	var m counters
	r := start(t, consensus.Leading, false, func(c *Config) {
		c.Metrics = &m
		c.ConnectionThrottle = conn.Throttle{Tokens: 7, FillMS: 1 << 30, FillCount: 1, FreezeMS: -1, Weighed: true, GlobalWeight: 3, LocalWeight: 1, RenewWeight: 2}
	})
	for range 5 {
		r.connect() // 15 of 21
	}
	p := r.connect()
	q := r.again(p) // 20
	if a := q.greeted(); a.SessionID != p.session {
		t.Fatalf("%+v", a)
	}
	late := r.dial()
	late.sendConnect(&proto.ConnectRequest{TimeoutMS: sessionMS})
	if b := late.ended(); len(b) > 0 {
		t.Fatalf("answered %x", b)
	}
	if n, k, d := m.get("connection_rejected"), m.get("connection_request_count"), m.get("observed connection_token_deficit"); n != 1 || k != 7 || d != 7 {
		t.Errorf("%d rejected, %d let in, %d deficits", n, k, d)
	}
	q.must(proto.OpGetData, get("/"))
}

// TestLargeRequests: large requests have their bytes in all, from when they are read until they
// are answered. Who asks for more loses the connection.
func TestLargeRequests(t *testing.T) {
	var m counters
	r := start(t, consensus.Leading, true, func(c *Config) {
		c.Metrics, c.LargeRequestOver, c.LargeRequestMax = &m, 1000, 100<<10
	})
	p, q := r.connectBy(1), r.connectBy(1)
	big := func(n int) appender { return set("/none", strings.Repeat("x", n)) }
	p.send(proto.OpSetData, big(45<<10))
	p.send(proto.OpSetData, big(500))
	p.send(proto.OpSetData, big(45<<10))
	r.until("the requests", func() bool { n, _ := r.fifoLen(p.session); return n == 3 })
	q.send(proto.OpSetData, big(900))
	r.until("the small request", func() bool { n, _ := r.fifoLen(q.session); return n == 1 })
	q.c.Write(q.request(proto.OpSetData, big(15<<10)))
	q.ended()
	if n := m.get("large_requests_rejected"); n != 1 {
		t.Errorf("%d rejected", n)
	}
	r.until("the proposals", func() bool { n, _, _, _ := r.m.counts(); return n == 4 })
	r.m.deliver(-1)
	for range 3 {
		p.reply()
	}
	p.send(proto.OpSetData, big(99<<10))
	r.proposed(1)
	r.m.deliver(-1)
	p.reply()
	// One that is only announced.
	q = r.connectBy(1)
	p.send(proto.OpSetData, big(60<<10))
	r.until("the request", func() bool { n, _ := r.fifoLen(p.session); return n == 1 })
	q.write([]byte{0, 1, 0, 0, 0, 0, 0, 1})
	q.ended()
	if n := m.get("large_requests_rejected"); n != 2 {
		t.Errorf("%d rejected", n)
	}
}
