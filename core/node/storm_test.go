package node

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// A countingStore counts its commits.
type countingStore struct {
	storage.Store
	n atomic.Int64
}

func (s *countingStore) Commit(b *storage.Batch) error {
	s.n.Add(1)
	return s.Store.Commit(b)
}

// TestEventStorm: the writes of one batch, each of which is an event for each of many, are applied in steps that
// make no more events than there may be in memory; all get all of them, in order, and the writer its answers.
func TestEventStorm(t *testing.T) {
	const watchers, writes = 50, 200
	store := &countingStore{}
	r := start(t, consensus.Leading, true, func(c *Config) {
		c.OpenStorage = func(cfg storage.Config) (_ storage.Store, err error) {
			store.Store, err = openMapStore(cfg)
			return store, err
		}
	})
	p := r.connectBy(1)
	path := "/" + strings.Repeat("p", 4000)
	p.send(proto.OpCreate, create(path, 0))
	r.proposed(1)
	r.m.deliver(-1)
	p.reply()
	open := make(chan struct{})
	close(open)
	all := make([]*bystander, watchers)
	hello := frame((&proto.ConnectRequest{TimeoutMS: sessionMS, Passwd: make([]byte, 16)}).Append(nil))
	watch := (&peer{}).request(proto.OpAddWatch, &proto.AddWatchRequest{Path: "/", Mode: proto.AddWatchPersistentRecursive})
	for i := range all {
		all[i] = &bystander{gate: open}
		c := r.n.Attach(all[i])
		t.Cleanup(c.HangUp)
		c.Receive(hello)
	}
	r.proposed(watchers)
	r.m.deliver(-1)
	for _, c := range r.clients() {
		if _, ok := c.port(); ok {
			r.until("the session", c.opened.Load)
			c.c.Receive(watch)
		}
	}
	r.until("all to watch", func() bool { return r.n.Info().Watches == watchers })

	var b []byte
	for i := range writes {
		b = append(b, p.request(proto.OpSetData, set(path, fmt.Sprint(i)))...)
	}
	p.write(b)
	r.proposed(writes)
	before := store.n.Load()
	r.m.deliver(-1)
	// 40 MB in steps of 8 MB, and one write more in each.
	if n := store.n.Load() - before; n < 4 || n > 6 {
		t.Errorf("%d commits", n)
	}
	for range writes {
		p.reply()
	}
	for i, b := range all {
		r.until("the events", func() bool { _, n := b.seen(); return n == writes })
		if frames, _ := b.seen(); frames != writes+2 {
			t.Fatalf("client %d: %d frames", i, frames)
		}
	}
}

// TestTooManyEvents: what one txn alone has beyond all that there is memory for costs those who watch it their
// connections, and whoever asked for it nothing.
func TestTooManyEvents(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	p, w := r.connect(), r.connect()
	p.must(proto.OpCreate, create("/a", 0))
	w.must(proto.OpGetData, getWatch("/a"))
	r.m.wait(func() { r.n.sink.eventBytes = maxEventBytes + 1 }) // as if there had been as many before
	p.must(proto.OpSetData, set("/a", "1"))
	if b := w.ended(); len(b) > 0 {
		t.Errorf("the watcher is told %x", b)
	}
	back := r.again(w)
	if back.greeted().SessionID != w.session {
		t.Error("its session is gone")
	}
	back.must(proto.OpGetData, getWatch("/a"))
	p.must(proto.OpSetData, set("/a", "2"))
	if a := back.reply(); a.event.Path != "/a" {
		t.Errorf("%+v", a)
	}
}
