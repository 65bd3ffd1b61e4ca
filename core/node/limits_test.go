package node

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// fifoLen is how many requests of a session are unanswered.
func (r *rig) fifoLen(session int64) (n, bytes int) {
	r.n.mu.RLock()
	defer r.n.mu.RUnlock()
	r.n.clientsMu.Lock()
	cl := r.n.sessions[session]
	r.n.clientsMu.Unlock()
	if cl == nil {
		return 0, 0
	}
	cl.c.Lock()
	defer cl.c.Unlock()
	return cl.fifo.n, cl.held
}

// flood writes requests until the connection ends.
func flood(p *peer, b []byte) {
	go func() {
		for {
			if _, err := p.c.Write(b); err != nil {
				return
			}
		}
	}()
}

// steady waits until what is unanswered of a session has been the same for a
// while, and returns it.
func (r *rig) steady(session int64) (n, bytes int) {
	r.t.Helper()
	same := 0
	r.until("the client to be stopped", func() bool {
		now, b := r.fifoLen(session)
		if now == n && now > 0 {
			same++
		} else {
			same = 0
		}
		n, bytes = now, b
		time.Sleep(5 * time.Millisecond)
		return same > 20
	})
	return n, bytes
}

// TestPipelineWithoutEnd: a client that asks and asks is not read beyond a
// bound, and others are served.
func TestPipelineWithoutEnd(t *testing.T) {
	for _, tc := range []struct {
		name   string
		size   int
		change func(*Config)
		max    int
	}{
		{"requests", 10, func(c *Config) { c.OutstandingLimit = 1 << 20 }, maxPipelined},
		{"bytes", 200 << 10, func(c *Config) { c.OutstandingLimit = 1 << 20 }, maxHeld/(200<<10) + 1},
		{"outstanding", 10, func(c *Config) { c.OutstandingLimit = 50 }, 51},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := start(t, consensus.Leading, true, tc.change)
			other := r.connectBy(1)
			p := r.connectBy(1)
			flood(p, p.request(proto.OpSetData, set("/none", strings.Repeat("x", tc.size))))
			n, bytes := r.steady(p.session)
			if n > tc.max {
				t.Errorf("%d requests are taken in, want %d at most", n, tc.max)
			}
			if bytes > maxHeld+(1<<20) {
				t.Errorf("%d bytes are held", bytes)
			}
			// One at a time goes for everybody.
			other.send(proto.OpGetData, get("/"))
			other.reply()
			other.send(proto.OpCreate, create("/a", 0))
			r.until("the other's request", func() bool { n, _ := r.fifoLen(other.session); return n == 1 })
			r.m.deliver(-1)
			other.reply()
		})
	}
}

// TestLimitAtHold: also without a leader there is a bound, and pings are answered
// below it.
func TestLimitAtHold(t *testing.T) {
	r := start(t, consensus.Leading, true, nil)
	p, q := r.connectBy(1), r.connectBy(1)
	r.m.setRole(consensus.Looking)
	r.until("looking", func() bool { return !r.n.Serving() })
	flood(p, p.request(proto.OpGetData, get("/")))
	if n, _ := r.steady(p.session); n > maxPipelined {
		t.Errorf("%d requests are taken in", n)
	}
	q.write(q.requestXid(proto.XidPing, proto.OpPing, nil))
	q.reply()
}

// TestReadsWithoutReading: a client that asks for more than it reads is stopped,
// and what it asked for comes when it reads, also between writes.
func TestReadsWithoutReading(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	p := r.connect()
	q := create("/big", 0)
	q.Data = []byte(strings.Repeat("x", 500<<10))
	p.must(proto.OpCreate, q)
	const rounds = 150
	var b []byte
	for i := range rounds {
		if i%10 == 0 {
			b = append(b, p.request(proto.OpSetData, set("/", fmt.Sprint(i)))...)
		}
		b = append(b, p.request(proto.OpGetData, get("/big"))...)
	}
	done := make(chan error, 1)
	go func() { _, err := p.c.Write(b); done <- err }()
	other := r.connect()
	other.must(proto.OpGetData, get("/"))
	var cl *client
	r.n.mu.RLock()
	cl = r.n.sessions[p.session]
	r.n.mu.RUnlock()
	time.Sleep(200 * time.Millisecond)
	cl.c.Lock()
	queued := cl.c.Queued()
	cl.c.Unlock()
	if queued > 16<<20 {
		t.Errorf("%d bytes wait", queued)
	}
	for i := range rounds {
		if i%10 == 0 {
			p.reply()
		}
		if a := p.reply(); a.Err != zkerr.OK || len(a.body) < 500<<10 {
			t.Fatalf("get %d: %v, %d bytes", i, a.Err, len(a.body))
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestEventsWithoutReading: who watches and does not read loses the connection,
// not an event.
func TestEventsWithoutReading(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	w, p := r.connect(), r.connect()
	long := "/" + strings.Repeat("l", 200<<10)
	p.must(proto.OpCreate, create(long, 0))
	w.must(proto.OpAddWatch, &proto.AddWatchRequest{Path: long, Mode: proto.AddWatchPersistent})
	r.until("the watcher to lose its connection", func() bool {
		p.must(proto.OpSetData, set(long, "x"))
		return r.n.conns.Len() == 1
	})
	p.must(proto.OpGetData, get("/"))
	// What it was sent has each event up to the end: the last one may be cut.
	b, events, last := w.ended(), 0, int64(0)
	for len(b) >= 4 {
		n := 4 + int(binary.BigEndian.Uint32(b))
		if len(b) < n {
			break
		}
		xid, zxid := int32(binary.BigEndian.Uint32(b[4:])), int64(binary.BigEndian.Uint64(b[8:]))
		if xid != proto.XidNotification || events > 0 && zxid != last+1 {
			t.Fatalf("behind %d events, the last of %x: xid %d, zxid %x", events, last, xid, zxid)
		}
		events, last, b = events+1, zxid, b[n:]
	}
	if events == 0 {
		t.Error("it was sent no event")
	}
}

// TestMultiReadIsBounded: the answer to a multiRead, for which some bytes suffice, is not many times what a
// client can ask for otherwise.
func TestMultiReadIsBounded(t *testing.T) {
	r := start(t, consensus.Leading, false, func(c *Config) { c.JuteMaxBuffer = 10_000 })
	p := r.connect()
	p.must(proto.OpCreate, create("/a", 0))
	p.must(proto.OpSetData, set("/a", strings.Repeat("x", 9000)))
	q := &proto.MultiRequest{Read: true}
	for n := 1; n <= 5; n++ {
		q.Ops = append(q.Ops, proto.MultiOp{Op: proto.OpGetData, Path: "/a"})
		want := zkerr.OK
		if n > 4 {
			want = zkerr.MarshallingError
		}
		if a := p.call(proto.OpMultiRead, q); a.Err != want {
			t.Errorf("%d reads: %v, want %v", n, a.Err, want)
		}
	}
}

// TestGreetings: greetings that are none, and what comes instead of one.
func TestGreetings(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	for name, b := range map[string][]byte{
		"cut short":    frame(make([]byte, 20)),
		"empty":        frame(nil),
		"passwd":       frame(append(make([]byte, 24), 0x7f, 0xff, 0xff, 0xff)),
		"ahead":        frame((&proto.ConnectRequest{LastZxidSeen: 1 << 40, Passwd: make([]byte, 16)}).Append(nil)),
		"twice":        append(frame((&proto.ConnectRequest{Passwd: make([]byte, 16)}).Append(nil)), frame([]byte("short"))...),
		"no more than": frame((&proto.ConnectRequest{Passwd: make([]byte, 1200)}).Append(nil)),
	} {
		t.Run(name, func(t *testing.T) {
			p := r.dial()
			p.write(b)
			got := p.ended()
			if name == "twice" {
				if len(got) == 0 {
					t.Fatal("no session")
				}
			} else if len(got) > 0 {
				t.Fatalf("%x", got)
			}
		})
	}
	r.connect().must(proto.OpGetData, get("/"))
}

// FuzzStream: whatever a client sends, others are served.
func FuzzStream(f *testing.F) {
	p := &peer{}
	f.Add([]byte{})
	f.Add(p.request(proto.OpMulti, raw("\x00\x00\x00\x01\x00\xff\xff\xff\xff")))
	f.Add(append(p.request(proto.OpCreate, create("/a", 1)), p.request(proto.OpSync, raw("\x00\x00\x00\x01/"))...))
	f.Add(append(p.request(proto.OpSetWatches, raw("\x00\x00\x00\x01/")), p.request(proto.OpCloseSession, nil)...))
	f.Add(append(p.request(proto.OpAuth, &proto.AuthPacket{Scheme: "digest", Auth: []byte("a:b")}), p.request(proto.OpSASL, nil)...))
	f.Add(append(p.request(proto.OpAddWatch, raw("\x00\x00\x00\x02/a\x00\x00\x00\x01")), p.request(proto.OpCreateTTL, create("/b", 5))...))
	var r *rig
	f.Fuzz(func(t *testing.T, b []byte) {
		if r == nil || r.t != t {
			r = start(t, consensus.Leading, false, func(c *Config) { c.ExtendedTypes = true })
		}
		p := r.connect()
		p.c.Write(b)
		p.c.(interface{ CloseWrite() error }).CloseWrite()
		p.ended()
		r.connect().must(proto.OpGetData, get("/"))
	})
}

// TestLongestTxn: what is made is what the log takes, and the longest request is made something of.
func TestLongestTxn(t *testing.T) {
	for _, buffer := range []int{1024, 4096, 100_000, 0xfffff, 1 << 30} {
		for _, extra := range []int{1024, 1025, 2047, 4096, buffer, 8 << 20} {
			if n := maxTxn(buffer, extra); n > buffer+extra-512 || n < buffer+512 {
				t.Errorf("a buffer of %d and %d more: a txn may have %d bytes", buffer, extra, n)
			}
		}
	}
}
