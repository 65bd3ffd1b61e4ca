package node

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A bystander is a client without a socket, that only counts what it is sent.
type bystander struct {
	gate   <-chan struct{} // Send waits for it
	mu     sync.Mutex
	left   []byte
	frames int
	events int
}

func (b *bystander) Send(p []byte) {
	b.mu.Lock()
	gate := b.gate
	b.mu.Unlock()
	<-gate
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = append(b.left, p...)
	for len(b.left) >= 4 {
		n := 4 + int(binary.BigEndian.Uint32(b.left))
		if len(b.left) < n {
			break
		}
		b.frames++
		if n > 20 && int32(binary.BigEndian.Uint32(b.left[4:])) == proto.XidNotification {
			b.events++
		}
		b.left = b.left[n:]
	}
	if len(b.left) == 0 {
		b.left = nil
	}
}

func (b *bystander) seen() (frames, events int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.frames, b.events
}

func (*bystander) Resume()              {}
func (*bystander) Shut()                {}
func (*bystander) Close()               {}
func (*bystander) Addr() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.1:1") }

// TestManyWatches: a znode that a hundred thousand clients watch is changed. While none
// of them takes its event, writes are answered, and what waits for them is small; all get
// the event, once.
func TestManyWatches(t *testing.T) {
	const crowd = 100000 / (19*slack - 18) // five thousand under the race detector
	r := start(t, consensus.Leading, true, nil)
	p := r.connectBy(1)
	p.send(proto.OpCreate, create("/hot", 0))
	r.proposed(1)
	r.m.deliver(-1)
	p.reply()
	open, shut := make(chan struct{}), make(chan struct{})
	close(open)
	hello := frame((&proto.ConnectRequest{TimeoutMS: sessionMS, Passwd: make([]byte, 16)}).Append(nil))
	watch := (&peer{}).request(proto.OpExists, getWatch("/hot"))
	all := make([]*bystander, crowd)
	// By the thousand: the store of these tests copies all that it has for each commit.
	const batch = 1000
	for i := range all {
		b := &bystander{gate: open}
		all[i] = b
		c := r.n.Attach(b)
		t.Cleanup(c.HangUp)
		c.Receive(hello)
		if i%batch == batch-1 {
			r.proposed(batch)
			r.m.deliver(-1)
		}
	}
	r.m.mu.Lock()
	r.m.manual = false
	r.m.mu.Unlock()
	i := 0
	for _, c := range r.clients() {
		if _, ok := c.port(); ok {
			r.until("the session", c.opened.Load)
			c.c.Receive(watch)
			i++
		}
	}
	if n := r.n.Info().Watches; n != crowd || i != crowd {
		t.Fatalf("%d watches of %d clients", n, i)
	}
	// Those who are told first are told by who applies: a socket never makes him wait.
	for _, b := range all[inline+10:] {
		b.mu.Lock()
		b.gate = shut
		b.mu.Unlock()
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	p.must(proto.OpSetData, set("/hot", "changed"))
	for i := range 20 {
		if a := p.call(proto.OpSetData, set("/hot", fmt.Sprint(i))); a.Err != zkerr.OK {
			t.Fatal(a.Err)
		}
		p.must(proto.OpGetData, get("/hot"))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	got := 0
	for _, b := range all {
		_, n := b.seen()
		got += n
	}
	if got > crowd/2 {
		t.Errorf("%d of %d have their events already", got, crowd)
	}
	if each := int64(after.HeapAlloc-before.HeapAlloc) / crowd; each > 1000 {
		t.Errorf("%d bytes wait for each", each)
	}
	close(shut)
	for i, b := range all {
		r.until("the event", func() bool { _, n := b.seen(); return n > 0 })
		if frames, events := b.seen(); frames != 3 || events != 1 {
			t.Fatalf("client %d: %d frames, %d events", i, frames, events)
		}
	}
	if n := r.n.Info().Watches; n != 0 {
		t.Errorf("%d watches are left", n)
	}
}

// clients are all, in the order in which they came.
func (r *rig) clients() []*client {
	r.n.mu.Lock()
	defer r.n.mu.Unlock()
	return r.n.byAge()
}

// port says whether a client is a bystander.
func (cl *client) port() (string, bool) {
	return cl.c.RemoteAddr(), cl.c.IP().String() == "192.0.2.1"
}

// TestAMillionPipelined: a client that sends a million requests without a pause gets a million
// answers, and does not keep another one from its own, one by one; nor does it take memory.
func TestAMillionPipelined(t *testing.T) {
	const million = 1000000 / (4*slack - 3)
	r := start(t, consensus.Leading, false, nil)
	p, other := r.connect(), r.connect()
	p.must(proto.OpCreate, create("/a", 0))
	one := p.request(proto.OpGetData, get("/a"))
	p.inflight = nil
	chunk := bytes.Repeat(one, 1000)
	go func() {
		for range million / 1000 {
			if _, err := p.c.Write(chunk); err != nil {
				return
			}
		}
	}()
	var answered atomic.Int64
	go func() {
		buf, left := make([]byte, 64<<10), 0
		for {
			n, err := p.c.Read(buf[left:])
			if err != nil {
				return
			}
			left += n
			at := 0
			for left-at >= 4 {
				size := 4 + int(binary.BigEndian.Uint32(buf[at:]))
				if left-at < size {
					break
				}
				at += size
				answered.Add(1)
			}
			left = copy(buf, buf[at:left])
		}
	}()
	var before, now runtime.MemStats
	runtime.GC() // what the tests before have left
	runtime.ReadMemStats(&before)
	served, last, worst := 0, int64(0), int64(0)
	for answered.Load() < million {
		other.must(proto.OpGetData, get("/a")) // not a write: a disk may be slow
		served++
		n := answered.Load()
		worst, last = max(worst, n-last), n
		if served%50 == 0 {
			runtime.ReadMemStats(&now)
			if now.HeapAlloc > before.HeapAlloc+64<<20 {
				runtime.GC() // some of it may be garbage
				runtime.ReadMemStats(&now)
			}
			if grown := int64(now.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
				t.Fatalf("the heap has grown by %d MiB", grown>>20)
			}
		}
	}
	t.Logf("%d requests beside it; at most %d answers between two of them", served, worst)
	if served < 3 || worst > million/2 { // how many there are is a matter of the machine's other work
		t.Errorf("%d requests of another client beside it, once %d answers to the one between two of the other", served, worst)
	}
}
