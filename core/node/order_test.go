package node

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestReadsBetweenWrites: a read shows the write before it and not the one
// behind it, also when both are committed in one batch.
func TestReadsBetweenWrites(t *testing.T) {
	const rounds = 50
	for _, batch := range []int{1, 2, 7, rounds} {
		t.Run(fmt.Sprint(batch), func(t *testing.T) {
			r := start(t, consensus.Leading, true, nil)
			p := r.dial()
			p.sendConnect(&proto.ConnectRequest{TimeoutMS: sessionMS})
			r.proposed(1)
			r.m.deliver(-1)
			p.greeted()
			p.send(proto.OpCreate, create("/a", 0))
			r.proposed(1)
			r.m.deliver(-1)
			p.reply()

			var all []byte
			for i := range rounds {
				all = append(all, p.request(proto.OpSetData, set("/a", fmt.Sprint(i)))...)
				all = append(all, p.request(proto.OpGetData, get("/a"))...)
				if i%3 == 0 {
					all = append(all, p.request(proto.OpExists, get("/b"))...)
				}
			}
			p.write(all)
			for left := rounds; left > 0; {
				// Behind too many reads that wait a write is not proposed yet.
				r.proposed(min(batch, left, 4))
				n, _, _, _ := r.m.counts()
				n = min(batch, n)
				r.m.deliver(n)
				left -= n
			}
			for i := range rounds {
				if a := p.reply(); a.Err != zkerr.OK {
					t.Fatalf("set %d: %v", i, a.Err)
				}
				if got := p.reply().data(t); got != fmt.Sprint(i) {
					t.Fatalf("the get behind set %d shows %s", i, got)
				}
				if i%3 == 0 {
					if a := p.reply(); a.Err != zkerr.NoNode {
						t.Fatal(a.Err)
					}
				}
			}
		})
	}
}

// proposed waits until at least n txns are proposed and not delivered.
func (r *rig) proposed(n int) {
	r.t.Helper()
	r.until(fmt.Sprintf("%d proposals", n), func() bool { got, _, _, _ := r.m.counts(); return got >= n })
}

// TestManyClients: mixed requests of many clients, pipelined; each reads what it
// wrote last, in order, whatever the others do.
func TestManyClients(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := start(t, consensus.Leading, true, nil)
	stop := make(chan struct{})
	var delivering sync.WaitGroup
	delivering.Add(1)
	go func() {
		defer delivering.Done()
		rnd := rand.New(rand.NewPCG(seed, 0))
		for {
			select {
			case <-stop:
				return
			default:
			}
			if n, _, _, _ := r.m.counts(); n > 0 {
				r.m.deliver(1 + rnd.IntN(n))
			} else {
				time.Sleep(100 * time.Microsecond)
			}
			if _, _, s, _ := r.m.counts(); s > 0 {
				r.m.mu.Lock()
				syncs := r.m.syncs
				r.m.syncs = nil
				r.m.mu.Unlock()
				for _, id := range syncs {
					r.m.wait(func() { r.n.Synced(id) })
				}
			}
		}
	}()
	var clients sync.WaitGroup
	for c := range 6 {
		p := r.connect()
		clients.Add(1)
		go func() {
			defer clients.Done()
			rnd := rand.New(rand.NewPCG(seed, uint64(c+1)))
			path := fmt.Sprintf("/c%d", c)
			value := "x"
			p.send(proto.OpCreate, create(path, 0))
			expect := []string{""}
			drain := func(keep int) {
				for len(expect) > keep {
					a := p.reply()
					if a.Err != zkerr.OK {
						t.Errorf("client %d: xid %d: %v", c, a.Xid, a.Err)
						return
					}
					if want := expect[0]; want != "" {
						if got := a.data(t); got != want {
							t.Errorf("client %d: xid %d shows %s, want %s", c, a.Xid, got, want)
						}
					}
					expect = expect[1:]
				}
			}
			for i := range 600 {
				var b []byte
				for range 1 + rnd.IntN(20) {
					switch k := rnd.IntN(20); {
					case k < 8:
						value = fmt.Sprint(i, k, rnd.IntN(1000))
						b = append(b, p.request(proto.OpSetData, set(path, value))...)
						expect = append(expect, "")
					case k < 9:
						b = append(b, p.request(proto.OpSync, &proto.AnyPathRequest{Path: path})...)
						expect = append(expect, "")
					case k < 10:
						b = append(b, p.requestXid(proto.XidPing, proto.OpPing, nil)...)
						expect = append(expect, "")
					default:
						b = append(b, p.request(proto.OpGetData, get(path))...)
						expect = append(expect, value)
					}
				}
				p.write(b)
				if t.Failed() {
					return
				}
				drain(rnd.IntN(100))
			}
			drain(0)
		}()
	}
	clients.Wait()
	close(stop)
	delivering.Wait()
	if n := r.n.outstanding.Load(); n != 0 {
		t.Errorf("%d requests outstanding", n)
	}
	if n := r.n.barriers.Load(); n != 0 {
		t.Errorf("%d barriers left", n)
	}
}

// TestEventFirst: no read shows a change before its event came.
func TestEventFirst(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	w, p := r.connect(), r.connect()
	p.must(proto.OpCreate, create("/a", 0))
	for i := range 200 {
		before := w.must(proto.OpGetData, getWatch("/a")).data(t)
		p.send(proto.OpSetData, set("/a", fmt.Sprint(i)))
		told := false
		for {
			w.send(proto.OpGetData, get("/a"))
			a := w.reply()
			if a.Xid == proto.XidNotification {
				if a.event.Type != proto.EventNodeDataChanged || a.event.Path != "/a" {
					t.Fatalf("%+v", a.event)
				}
				told = true
				a = w.reply()
			}
			if got := a.data(t); got != before {
				if !told {
					t.Fatalf("%q instead of %q without an event before", got, before)
				}
				break
			}
			if told {
				t.Fatal("the event came, and the change behind it is not to be seen")
			}
		}
		p.reply()
	}
}

// TestWriteRefused: what can't be decoded is answered in its place and does not
// become a txn.
func TestWriteRefused(t *testing.T) {
	r := start(t, consensus.Leading, true, nil)
	p := r.connectBy(1)
	p.write(append(p.request(proto.OpCreate, create("/a", 0)), append(p.request(proto.OpCreate, raw("\x00\x00\x00\x09/b")), p.request(proto.OpCreate, create("/c", 0))...)...))
	r.proposed(2)
	if n, _, _, _ := r.m.counts(); n != 2 {
		t.Fatalf("%d txns", n)
	}
	r.m.deliver(-1)
	for _, want := range []zkerr.Code{zkerr.OK, zkerr.MarshallingError, zkerr.OK} {
		if a := p.reply(); a.Err != want {
			t.Fatalf("%v, want %v", a.Err, want)
		}
	}
}

// connectBy connects where deliveries are the test's: n txns are delivered.
func (r *rig) connectBy(n int) *peer {
	r.t.Helper()
	p := r.dial()
	p.sendConnect(&proto.ConnectRequest{TimeoutMS: sessionMS, HasReadOnly: true})
	r.proposed(n)
	r.m.deliver(-1)
	p.greeted()
	return p
}

// raw is a record of any bytes.
type raw string

func (r raw) Append(b []byte) []byte { return append(b, r...) }

// TestSyncEchoesItsPath: and nothing that stands behind it.
func TestSyncEchoesItsPath(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	p := r.connect()
	if a := p.must(proto.OpSync, raw("\x00\x00\x00\x02/a\x00\xff")); string(a.body) != "\x00\x00\x00\x02/a" {
		t.Fatalf("%x", a.body)
	}
}

// TestSyncWaits: what is behind a sync waits for it.
func TestSyncWaits(t *testing.T) {
	r := start(t, consensus.Leading, true, nil)
	p := r.connectBy(1)
	p.send(proto.OpSync, &proto.AnyPathRequest{Path: "/"})
	p.send(proto.OpGetData, get("/"))
	p.send(proto.OpCreate, create("/a", 0))
	r.until("the sync", func() bool { _, _, n, _ := r.m.counts(); return n == 1 })
	if !p.silent() {
		t.Fatal("something is answered before the sync")
	}
	if n, _, _, _ := r.m.counts(); n != 0 {
		t.Fatal("a write went before the sync that it stands behind")
	}
	r.m.wait(func() { r.n.Synced(r.m.syncs[0]) })
	if a := p.reply(); string(a.body) != "\x00\x00\x00\x01/" {
		t.Fatalf("%q", a.body)
	}
	p.reply()
	r.proposed(1)
	r.m.deliver(-1)
	p.reply()
}

// TestClosesBehindReply: replies that end a connection come, and nothing behind
// them.
func TestClosesBehindReply(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	for _, tc := range []struct {
		name string
		op   proto.Op
		rec  appender
		code zkerr.Code
	}{
		{"unknown operation", 99, nil, zkerr.Unimplemented},
		{"check", proto.OpCheck, &proto.VersionRequest{Path: "/", Version: -1}, zkerr.Unimplemented},
		{"createSession", proto.OpCreateSession, raw("\x00\x00\x10\x00"), zkerr.Unimplemented},
		{"deleteContainer", proto.OpDeleteContainer, raw("\x00\x00\x00\x02/a"), zkerr.Unimplemented},
		{"unknown scheme", proto.OpAuth, &proto.AuthPacket{Scheme: "none"}, zkerr.AuthFailed},
		{"closeSession", proto.OpCloseSession, nil, zkerr.OK},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := r.connect()
			b := p.request(proto.OpCreate, create("/x-", proto.FlagPersistentSequential))
			b = append(b, p.request(tc.op, tc.rec)...)
			p.xid++
			b = append(b, frame((&proto.RequestHeader{Xid: p.xid, Op: proto.OpGetData}).Append(nil))...)
			p.write(b)
			p.reply()
			if a := p.reply(); a.Err != tc.code {
				t.Fatalf("%v, want %v", a.Err, tc.code)
			}
			if rest := p.ended(); len(rest) > 0 {
				t.Fatalf("%x behind it", rest)
			}
		})
	}
}
