package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// sessionTimeout is long enough that no fault here ends a session.
const sessionTimeout = 30 * time.Second

// connect opens a session, and closes it when the test ends.
func connect(t *testing.T, servers ...string) *client.Client {
	t.Helper()
	return connectWith(t, client.Options{}, servers...)
}

func connectWith(t *testing.T, opt client.Options, servers ...string) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	c, err := client.Dial(ctx, servers, sessionTimeout, opt)
	if err != nil {
		t.Fatalf("connect to %v: %v", servers, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if c.Close(ctx) != nil {
			c.Abandon() // the servers are down: the session ends with the test
		}
	})
	return c
}

func patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), harness.Patience)
}

// must runs ops that have to succeed. One that changes nothing is asked again when its
// connection is lost: who is on a server that gets a snapshot loses it, and a machine may be
// so busy that a leader is given up for that.
func must(t *testing.T, c *client.Client, op client.Op) client.Reply {
	t.Helper()
	ctx, cancel := patience()
	defer cancel()
	for {
		r, err := c.Do(ctx, op)
		if err == nil {
			return r
		}
		if !errors.Is(err, zkerr.ConnectionLoss) || !reads(op) {
			t.Fatalf("%T: %v", op, err)
		}
	}
}

func reads(op client.Op) bool {
	switch op.(type) {
	case client.GetOp, client.ExistsOp, client.ChildrenOp, client.GetACLOp, client.SyncOp:
		return true
	}
	return false
}

// A load is writers that each create nodes of their own and keep account of
// what was answered.
type load struct {
	t       *testing.T
	writers []*writer
	stop    context.CancelFunc
	wg      sync.WaitGroup
	acked   atomic.Int64
	longest atomic.Int64 // longest time between two answered writes of anyone, ns
	last    atomic.Int64 // when the last one was answered, ns since start
	start   time.Time
}

type writer struct {
	id      int
	c       *client.Client
	mu      sync.Mutex
	acked   map[string]int64 // path → zxid
	unknown map[string]bool
	sets    int32 // answered increments of the writer's counter
	maybe   int32 // unanswered ones
}

// startLoad starts writers against all servers of the ensemble; each is in the
// middle of several writes at any time.
func startLoad(t *testing.T, e *harness.Ensemble, writers int, prefix string) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{t: t, stop: cancel, start: time.Now()}
	root := connect(t, e.Addrs()...)
	must(t, root, client.CreateOp{Path: prefix})
	for i := range writers {
		w := &writer{id: i, c: connect(t, e.Addrs()...), acked: make(map[string]int64), unknown: make(map[string]bool)}
		must(t, root, client.CreateOp{Path: fmt.Sprintf("%s/counter-%d", prefix, i), Data: []byte("0")})
		l.writers = append(l.writers, w)
	}
	for _, w := range l.writers {
		for lane := range 4 {
			l.wg.Go(func() { l.create(ctx, w, fmt.Sprintf("%s/w%d-%d", prefix, w.id, lane)) })
		}
		l.wg.Go(func() { l.count(ctx, w, fmt.Sprintf("%s/counter-%d", prefix, w.id)) })
	}
	return l
}

// lost says whether an error leaves open what became of the write.
func lost(err error) bool {
	return errors.Is(err, zkerr.ConnectionLoss) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func (l *load) answered() {
	now := int64(time.Since(l.start))
	gap := now - l.last.Swap(now)
	for {
		old := l.longest.Load()
		if gap <= old || l.longest.CompareAndSwap(old, gap) {
			break
		}
	}
	l.acked.Add(1)
}

func (l *load) create(ctx context.Context, w *writer, prefix string) {
	for i := 0; ctx.Err() == nil; i++ {
		path := fmt.Sprintf("%s-%06d", prefix, i)
		r, err := w.c.Create(ctx, path, []byte(path), client.Persistent)
		w.mu.Lock()
		switch {
		case err == nil:
			w.acked[path] = r.Zxid
			l.answered()
		case lost(err):
			w.unknown[path] = true
		default:
			l.t.Errorf("create %s: %v", path, err)
		}
		w.mu.Unlock()
		if err != nil && !lost(err) {
			return
		}
	}
}

// count increments a counter by conditional sets. Each set that was answered
// took effect once; an unanswered one did or did not, which a read tells.
func (l *load) count(ctx context.Context, w *writer, path string) {
	version := int32(0)
	for ctx.Err() == nil {
		r, err := w.c.Set(ctx, path, fmt.Appendf(nil, "%d", version+1), version)
		w.mu.Lock()
		switch {
		case err == nil:
			if r.Stat.Version != version+1 {
				l.t.Errorf("%s: set of version %d made version %d", path, version, r.Stat.Version)
			}
			w.sets++
			version = r.Stat.Version
			l.answered()
		case lost(err):
			w.maybe++
		case errors.Is(err, zkerr.BadVersion) && w.maybe > 0:
			// An unanswered one had taken effect.
		default:
			l.t.Errorf("set %s of version %d: %v", path, version, err)
		}
		w.mu.Unlock()
		if err != nil {
			if !lost(err) && !errors.Is(err, zkerr.BadVersion) {
				return
			}
			if r, err := w.c.Get(ctx, path); err == nil {
				if r.Stat.Version < version {
					l.t.Errorf("%s went back from version %d to %d", path, version, r.Stat.Version)
				}
				version = r.Stat.Version
			}
		}
	}
}

// waitAcked waits until n more writes were answered.
func (l *load) waitAcked(n int64) {
	l.t.Helper()
	want := l.acked.Load() + n
	end := time.Now().Add(harness.Patience)
	for l.acked.Load() < want {
		if time.Now().After(end) {
			l.t.Fatalf("only %d of %d writes were answered within %v", n-(want-l.acked.Load()), n, harness.Patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// finish ends the load, and what is still under way of it: nothing changes any more.
func (l *load) finish() {
	l.t.Helper()
	l.stop()
	l.wg.Wait()
	for _, w := range l.writers {
		must(l.t, w.c, client.SyncOp{Path: "/"}) // is answered behind the last writes
	}
}

// check compares what was answered with what server has.
func (l *load) check(server *harness.Server, prefix string) {
	l.t.Helper()
	c := connect(l.t, server.Addr())
	must(l.t, c, client.SyncOp{Path: "/"})
	there := make(map[string]bool)
	for _, name := range must(l.t, c, client.ChildrenOp{Path: prefix}).Children {
		if there[prefix+"/"+name] {
			l.t.Errorf("server %d lists %s twice", server.ID, name)
		}
		there[prefix+"/"+name] = true
	}
	writes := 0
	for _, w := range l.writers {
		for path, zxid := range w.acked {
			writes++
			if !there[path] {
				l.t.Errorf("server %d has lost %s, which was answered as 0x%x", server.ID, path, zxid)
				continue
			}
			delete(there, path)
		}
		for path := range w.unknown {
			delete(there, path)
		}
		counter := fmt.Sprintf("%s/counter-%d", prefix, w.id)
		r := must(l.t, c, client.GetOp{Path: counter})
		delete(there, counter)
		if v := r.Stat.Version; v < w.sets || v > w.sets+w.maybe {
			l.t.Errorf("server %d: %s has version %d after %d answered and %d unanswered increments", server.ID, counter, v, w.sets, w.maybe)
		}
		if string(r.Data) != fmt.Sprint(r.Stat.Version) {
			l.t.Errorf("server %d: %s has data %q at version %d", server.ID, counter, r.Data, r.Stat.Version)
		}
	}
	for path := range there {
		l.t.Errorf("server %d has %s, which nobody asked for", server.ID, path)
	}
	if writes == 0 {
		l.t.Error("no write was answered: the check proves nothing")
	}
}
