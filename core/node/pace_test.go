package node

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// handPaced makes the pace take a step only when the test says so.
func (r *rig) handPaced() {
	r.n.mu.Lock()
	defer r.n.mu.Unlock()
	r.n.pace.hand, r.n.counts.hand = func() {}, func() {}
}

func (r *rig) paceLine() int { return r.n.pace.length() }

func (p *pace) length() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.line)
}

func (r *rig) paceOn() { r.n.paceOn(&r.n.pace) }

func watches(prefix string, n int) (paths []string) {
	for i := range n {
		paths = append(paths, fmt.Sprintf("%s%05d", prefix, i))
	}
	return paths
}

// TestPace: of a storm of clients that come back with many watches one takes one step at a
// time, all have their turns, and between two steps others are served.
func TestPace(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	r.handPaced()
	other := r.connect()
	other.must(proto.OpCreate, create("/z", 0))
	const crowd, each, steps = 20, 4 * rewatchStep, 4
	var back []*peer
	for i := range crowd {
		p := r.connect()
		p.send(proto.OpSetWatches, &proto.SetWatchesRequest{RelativeZxid: math.MaxInt64, Exist: watches(fmt.Sprintf("/c%d-", i), each)})
		p.send(proto.OpGetData, get("/z"))
		p.send(proto.OpSetData, set("/z", fmt.Sprint(i)))
		back = append(back, p)
	}
	r.until("all to stand in line", func() bool { return r.paceLine() == crowd })
	for step := range crowd * steps {
		r.paceOn()
		other.must(proto.OpSetData, set("/z", "other"))
		if n := r.n.Info().Watches; n != min(step+1, crowd*steps)*rewatchStep {
			t.Fatalf("%d watches after %d steps", n, step+1)
		}
	}
	if n := r.paceLine(); n != 0 {
		t.Errorf("%d are in line still", n)
	}
	for _, p := range back {
		for range 3 {
			if a := p.reply(); a.Err != zkerr.OK {
				t.Fatal(a.Err)
			}
		}
	}
}

// TestPacedChanges: what is changed while the watches are being set is told once, whether the step
// that comes to it is before or after; an election in between changes nothing.
func TestPacedChanges(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	r.handPaced()
	w, p := r.connect(), r.connect()
	const n = 3 * rewatchStep
	paths := watches("/n", n)
	early, late := paths[5], paths[n-5]
	for _, path := range []string{early, late, "/before"} {
		p.must(proto.OpCreate, create(path, 0))
	}
	since := r.n.lastZxid()
	p.must(proto.OpSetData, set("/before", "changed"))
	w.send(proto.OpSetWatches2, &proto.SetWatches2Request{
		SetWatchesRequest: proto.SetWatchesRequest{RelativeZxid: since, Data: []string{"/before", early, late}, Exist: watches("/e", n)},
		Persistent:        []string{"/"},
	})
	w.send(proto.OpGetData, get(late))
	r.until("it to stand in line", func() bool { return r.paceLine() == 1 })
	r.paceOn()
	p.must(proto.OpSetData, set(early, "changed"))
	r.m.setRole(consensus.Looking)
	r.paceOn() // nobody's turn
	r.m.epoch()
	r.until("it to stand in line again", func() bool { return r.paceLine() == 1 })
	p.must(proto.OpCreate, create(fmt.Sprintf("/e%05d", n-1), 0))
	for r.paceLine() > 0 {
		r.paceOn()
	}
	p.must(proto.OpSetData, set(late, "changed"))
	p.must(proto.OpCreate, create("/child", 0))
	want := []string{
		"3 /before", "3 " + early, fmt.Sprintf("1 /e%05d", n-1), // then the answer, and that to the read
		"xid 1", "xid 2", "3 " + late, "4 /",
	}
	for i := range want {
		a := w.reply()
		got := fmt.Sprintf("xid %d", a.Xid)
		if a.Xid == proto.XidNotification {
			got = fmt.Sprintf("%d %s", a.event.Type, a.event.Path)
		}
		if got != want[i] {
			t.Fatalf("frame %d: %s, want %s", i, got, want[i])
		}
	}
}

// TestRewatchInParts: a client whose watches do not go into one packet sends several, and each
// is answered; one that is longer than jute.maxbuffer costs the connection, as ever.
func TestRewatchInParts(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	p := r.connect()
	long := strings.Repeat("p", 900)
	const parts, each = 8, 1000
	for i := range parts {
		p.send(proto.OpSetWatches, &proto.SetWatchesRequest{RelativeZxid: math.MaxInt64, Exist: watches(fmt.Sprintf("/%d-%s", i, long), each)})
	}
	p.send(proto.OpSetWatches, raw("\x7f\xff\xff\xff\xff"+strings.Repeat("x", 8000)))
	for i := range parts {
		if a := p.reply(); a.Err != zkerr.OK || len(a.body) > 0 {
			t.Fatalf("part %d: %+v", i, a)
		}
	}
	if a := p.reply(); a.Err != zkerr.MarshallingError {
		t.Errorf("nonsense: %v", a.Err)
	}
	if n := r.n.Info().Watches; n != parts*each {
		t.Errorf("%d watches", n)
	}
	go p.c.Write(p.request(proto.OpSetWatches, &proto.SetWatchesRequest{Exist: watches("/"+long, 1200)}))
	p.ended()
	r.until("the watches to be forgotten", func() bool { return r.n.Info().Watches == 0 })
}

// TestStormOfWatches: many clients come back at once with many watches, while others write.
func TestStormOfWatches(t *testing.T) {
	const crowd, each = 120, 400
	r := start(t, consensus.Leading, false, func(c *Config) { c.MaxClientCnxns = 0 })
	var peers []*peer
	for range crowd {
		peers = append(peers, r.connect())
	}
	other := r.connect()
	other.must(proto.OpCreate, create("/z", 0))
	for _, p := range peers {
		p.c.Close()
	}
	var wg sync.WaitGroup
	back := make([]*peer, crowd)
	lost := make([]bool, crowd)
	for i, p := range peers {
		q := r.dial()
		back[i] = q
		wg.Go(func() {
			q.sendConnect(&proto.ConnectRequest{TimeoutMS: sessionMS, SessionID: p.session, Passwd: p.passwd, HasReadOnly: true})
			if q.greeted().SessionID != p.session {
				lost[i] = true
				return
			}
			q.must(proto.OpSetWatches, &proto.SetWatchesRequest{RelativeZxid: math.MaxInt64, Data: []string{"/z"}, Exist: watches(fmt.Sprintf("/c%d-", i), each)})
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	served := 0
	for waiting := true; waiting; served++ {
		other.must(proto.OpSetData, set("/", "x"))
		select {
		case <-done:
			waiting = false
		default:
		}
	}
	for i, l := range lost {
		if l {
			t.Errorf("session %d is lost", i)
		}
	}
	if n := r.n.Info().Watches; n != crowd*(each+1) {
		t.Errorf("%d watches", n)
	}
	other.must(proto.OpSetData, set("/z", "now"))
	for _, q := range back {
		if a := q.reply(); a.Xid != proto.XidNotification || a.event.Path != "/z" {
			t.Fatalf("%+v", a)
		}
	}
	t.Logf("%d writes were answered meanwhile", served)
}

// TestWideReads: what one client asks for in one write, each of which looks at all znodes, is answered one by one,
// with others in between, in its place among what else it has asked for.
func TestWideReads(t *testing.T) {
	const znodes, wide = 10_100, 50
	r := start(t, consensus.Leading, true, nil)
	r.handPaced()
	p := r.connectBy(1)
	for at := 0; at < znodes; {
		var q proto.MultiRequest
		for ; at < znodes && len(q.Ops) < 5000; at++ {
			q.Ops = append(q.Ops, proto.MultiOp{Op: proto.OpCreate, Path: fmt.Sprintf("/e%d", at), ACL: jute.OpenACL(), Flags: proto.FlagEphemeral})
		}
		p.send(proto.OpMulti, &q)
		r.proposed(1)
		r.m.deliver(-1)
		if a := p.reply(); a.Err != zkerr.OK {
			t.Fatal(a.Err)
		}
	}
	var b []byte
	for range wide {
		b = append(b, p.request(proto.OpGetAllChildrenNum, &proto.PathRequest{Path: "/zookeeper"})...)
		b = append(b, p.request(proto.OpGetEphemerals, &proto.AnyPathRequest{Path: "/none"})...)
		b = append(b, p.request(proto.OpExists, get("/e0"))...)
		b = append(b, p.request(proto.OpSetData, set("/e0", "x"))...)
	}
	p.write(b)
	other := r.connectBy(1)
	for i := range wide {
		for _, line := range []*pace{&r.n.counts, &r.n.pace} {
			r.until("it to stand in line", func() bool { return line.length() == 1 })
			if a := other.call(proto.OpExists, get("/e1")); a.Err != zkerr.OK {
				t.Fatal(a.Err)
			}
			r.n.paceOn(line)
			if a := p.reply(); a.Err != zkerr.OK {
				t.Fatal(a.Err)
			}
		}
		if a := p.reply(); a.Err != zkerr.OK || int(binary.BigEndian.Uint32(a.body[32:])) != i {
			t.Fatalf("the exists behind %d wide reads shows %x", i, a.body)
		}
		r.proposed(1)
		r.m.deliver(-1)
		if a := p.reply(); a.Err != zkerr.OK {
			t.Fatal(a.Err)
		}
	}
}

// TestCountHoldsUpNobody: while the znodes below one are counted, which may take long, others write. The answer
// is of the state whose zxid it has; and whoever was told of a later one by an event is not told of that any more.
func TestCountHoldsUpNobody(t *testing.T) {
	const znodes = 10_100
	s, gated := gate()
	r := start(t, consensus.Leading, false, func(c *Config) { c.OpenStorage = gated })
	p, other := r.connect(), r.connect()
	for at := 0; at < znodes; {
		var q proto.MultiRequest
		for ; at < znodes && len(q.Ops) < 5000; at++ {
			q.Ops = append(q.Ops, proto.MultiOp{Op: proto.OpCreate, Path: fmt.Sprintf("/n%d", at), ACL: jute.OpenACL()})
		}
		p.must(proto.OpMulti, &q)
	}
	const top = "/zookeeper" // there are two below it
	// during does something while p's count stands still.
	during := func(do func()) {
		t.Helper()
		there, open := s.shut("/zookeeper/quota")
		release := sync.OnceFunc(func() { close(open) })
		defer release()
		p.send(proto.OpGetAllChildrenNum, &proto.PathRequest{Path: top})
		select {
		case <-there:
		case <-time.After(patience):
			t.Fatal("nobody counts")
		}
		do()
	}
	answer := func(want int) reply {
		t.Helper()
		a := p.reply()
		if a.Err != zkerr.OK || len(a.body) != 4 || int(binary.BigEndian.Uint32(a.body)) != want {
			t.Fatalf("%v %x, want %d", a.Err, a.body, want)
		}
		return a
	}

	var wrote reply
	during(func() { wrote = other.must(proto.OpCreate, create("/zookeeper/quota/a", 0)) })
	if a := answer(2); a.Zxid >= wrote.Zxid {
		t.Errorf("without the znode, and of 0x%x, where it came with 0x%x", a.Zxid, wrote.Zxid)
	}
	p.send(proto.OpGetAllChildrenNum, &proto.PathRequest{Path: top})
	if a := answer(3); a.Zxid != wrote.Zxid {
		t.Errorf("with the znode, and of 0x%x, where it came with 0x%x", a.Zxid, wrote.Zxid)
	}

	p.call(proto.OpExists, getWatch("/w"))
	during(func() {
		other.must(proto.OpCreate, create("/zookeeper/quota/b", 0))
		wrote = other.must(proto.OpCreate, create("/w", 0))
	})
	if a := answer(3); a.Zxid >= wrote.Zxid {
		t.Errorf("of 0x%x before an event of 0x%x", a.Zxid, wrote.Zxid)
	}
	if e := p.reply(); e.event.Path != "/w" || e.Zxid != wrote.Zxid {
		t.Fatalf("%+v", e)
	}

	// So it is with what was asked behind it; and whoever is told something all the time is answered all the same, with
	// nobody held up.
	const events = 20
	p.call(proto.OpAddWatch, &proto.AddWatchRequest{Path: "/w", Mode: proto.AddWatchPersistent})
	during(func() {
		p.send(proto.OpGetData, get("/w"))
		for i := range events {
			wrote = other.must(proto.OpSetData, set("/w", fmt.Sprint(i)))
		}
	})
	if a := answer(4); a.Zxid >= wrote.Zxid {
		t.Errorf("of 0x%x before an event of 0x%x", a.Zxid, wrote.Zxid)
	}
	for range events {
		if e := p.reply(); e.Xid != proto.XidNotification || e.event.Path != "/w" {
			t.Fatalf("%+v", e)
		}
	}
	if got := p.reply().data(t); got != fmt.Sprint(events-1) {
		t.Errorf("behind the events there is %q", got)
	}

	// An election meanwhile, with a ping answered that tells of what is newer: it is counted anew.
	during(func() {
		wrote = other.must(proto.OpCreate, create("/zookeeper/quota/c", 0))
		other.must(proto.OpSetData, set("/w", "before the election"))
		r.m.setRole(consensus.Looking)
		r.until("no leader", func() bool { return !r.n.Serving() })
		before := p.inflight
		p.inflight = nil
		p.write(p.requestXid(proto.XidPing, proto.OpPing, nil))
		if e := p.reply(); e.Xid != proto.XidNotification {
			t.Fatalf("%+v", e)
		}
		p.reply()
		p.inflight = before
		r.m.epoch()
		r.until("a leader", r.n.Serving)
	})
	if a := answer(5); a.Zxid <= wrote.Zxid {
		t.Errorf("of 0x%x, behind a ping that knew of 0x%x", a.Zxid, wrote.Zxid)
	}

	// Watches that a client sets meanwhile don't wait for it.
	during(func() { other.must(proto.OpSetWatches, &proto.SetWatchesRequest{Exist: watches("/e", 4*rewatchStep)}) })
	answer(5)

	// Whoever goes away meanwhile hurts nobody.
	during(func() { p.c.Close() })
	other.must(proto.OpCreate, create("/after", 0))
	other.send(proto.OpGetAllChildrenNum, &proto.PathRequest{Path: top})
	if a := other.reply(); a.Err != zkerr.OK || int(binary.BigEndian.Uint32(a.body)) != 5 {
		t.Errorf("%v %x", a.Err, a.body)
	}
}

// TestCountEndsWithItsClient: nobody's znodes are counted to the end whose connection is closed, by himself or by a node
// that is being closed and would wait for it.
func TestCountEndsWithItsClient(t *testing.T) {
	const znodes = 10_100
	s, gated := gate()
	r := start(t, consensus.Leading, false, func(c *Config) { c.OpenStorage = gated })
	p := r.connect()
	p.must(proto.OpCreate, create("/t", 0))
	for at := 0; at < znodes; {
		var q proto.MultiRequest
		for ; at < znodes && len(q.Ops) < 5000; at++ {
			q.Ops = append(q.Ops, proto.MultiOp{Op: proto.OpCreate, Path: fmt.Sprintf("/t/n%05d", at), ACL: jute.OpenACL()})
		}
		p.must(proto.OpMulti, &q)
	}
	there, open := s.shut("/t/n00001")
	p.send(proto.OpGetAllChildrenNum, &proto.PathRequest{Path: "/t"})
	select {
	case <-there:
	case <-time.After(patience):
		t.Fatal("nobody counts")
	}
	p.c.Close()
	r.until("the connection's end", func() bool { return len(r.clients()) == 0 })
	there, last := s.shut(fmt.Sprintf("/t/n%05d", znodes-1))
	defer close(last)
	close(open)
	// The next in line is served when the first is through with.
	q := r.connect()
	q.send(proto.OpGetAllChildrenNum, &proto.PathRequest{Path: "/zookeeper"})
	q.reply()
	select {
	case <-there:
		t.Error("it was counted to the end")
	default:
	}
}
