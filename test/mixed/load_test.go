package mixed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// A load is writers, one at home on each server, that keep account of what was answered.
type load struct {
	t       *testing.T
	prefix  string
	writers []*writer
	stop    context.CancelFunc
	wg      sync.WaitGroup
	acked   atomic.Int64
}

type writer struct {
	id int
	c  *client.Client

	mu      sync.Mutex
	acked   map[string]bool
	unknown map[string]bool // asked for, not answered
	sets    int32           // answered increments of the writer's counter
	maybe   int32           // unanswered ones
}

// startLoad starts a writer for each server, with several writes under way at any time: creates,
// multis of two creates, and conditional sets of a counter. A writer whose server is gone goes on to
// the next. Each has an ephemeral node, which must outlive all that happens.
func startLoad(t *testing.T, e *harness.Ensemble, prefix string) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{t: t, prefix: prefix, stop: cancel}
	addrs := e.Addrs()
	root := connect(t, addrs...)
	must(t, root, client.CreateOp{Path: prefix})
	for i := range addrs {
		c := connect(t, append(addrs[i:len(addrs):len(addrs)], addrs[:i]...)...)
		w := &writer{id: i, c: c, acked: make(map[string]bool), unknown: make(map[string]bool)}
		must(t, c, client.CreateOp{Path: l.counter(w), Data: []byte("0")})
		must(t, c, client.CreateOp{Path: l.ephemeral(w), Mode: client.Ephemeral})
		l.writers = append(l.writers, w)
	}
	for _, w := range l.writers {
		l.wg.Go(func() { l.create(ctx, w, "a") })
		l.wg.Go(func() { l.create(ctx, w, "b") })
		l.wg.Go(func() { l.multi(ctx, w) })
		l.wg.Go(func() { l.count(ctx, w) })
	}
	t.Cleanup(l.finish)
	return l
}

func (l *load) counter(w *writer) string   { return fmt.Sprintf("%s/counter-%d", l.prefix, w.id) }
func (l *load) ephemeral(w *writer) string { return fmt.Sprintf("%s/ephemeral-%d", l.prefix, w.id) }

// lost says whether an error leaves open what became of the write.
func lost(err error) bool {
	return errors.Is(err, zkerr.ConnectionLoss) || errors.Is(err, context.Canceled)
}

// pause is between two writes of a lane: what is written will be read from every server.
const pause = 2 * time.Millisecond

// account takes note of what became of paths, and says whether to go on.
func (l *load) account(w *writer, err error, paths ...string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, path := range paths {
		if err == nil {
			w.acked[path] = true
		} else {
			w.unknown[path] = true
		}
	}
	if err == nil {
		l.acked.Add(1)
	} else if !lost(err) {
		l.t.Errorf("%v: %v", paths, err)
		return false
	}
	return true
}

func (l *load) create(ctx context.Context, w *writer, lane string) {
	for i := 0; ctx.Err() == nil; i++ {
		time.Sleep(pause)
		path := fmt.Sprintf("%s/%d-%s-%06d", l.prefix, w.id, lane, i)
		_, err := w.c.Create(ctx, path, []byte(path), client.Persistent)
		if !l.account(w, err, path) {
			return
		}
	}
}

func (l *load) multi(ctx context.Context, w *writer) {
	for i := 0; ctx.Err() == nil; i++ {
		time.Sleep(pause)
		path := fmt.Sprintf("%s/%d-m-%06d", l.prefix, w.id, i)
		_, err := w.c.Multi(ctx, client.CreateOp{Path: path + "-1", WithStat: true}, client.CreateOp{Path: path + "-2"})
		if !l.account(w, err, path+"-1", path+"-2") {
			return
		}
	}
}

// count increments a counter. Each set that was answered took effect once; an unanswered one did or
// did not, which a read tells.
func (l *load) count(ctx context.Context, w *writer) {
	path := l.counter(w)
	version := int32(0)
	for ctx.Err() == nil {
		time.Sleep(pause)
		r, err := w.c.Set(ctx, path, fmt.Append(nil, version+1), version)
		w.mu.Lock()
		switch {
		case err == nil:
			if r.Stat.Version != version+1 {
				l.t.Errorf("%s: a set of version %d made version %d", path, version, r.Stat.Version)
			}
			w.sets++
			version = r.Stat.Version
			l.acked.Add(1)
		case lost(err):
			w.maybe++
		case errors.Is(err, zkerr.BadVersion) && w.maybe > 0:
			// An unanswered one had taken effect.
		default:
			l.t.Errorf("set %s of version %d: %v", path, version, err)
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		if err != nil {
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
		if l.t.Failed() {
			l.t.FailNow()
		}
		if time.Now().After(end) {
			l.t.Fatalf("only %d of %d writes were answered within %v", n-(want-l.acked.Load()), n, harness.Patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// finish ends the load.
func (l *load) finish() {
	l.stop()
	l.wg.Wait()
}

// check compares what was answered with what each running server has, once the load has ended, and
// the servers with each other.
func (l *load) check(e *harness.Ensemble) {
	l.t.Helper()
	for _, s := range e.Running() {
		l.checkOne(s)
	}
	sameTrees(l.t, e)
}

func (l *load) checkOne(s *harness.Server) {
	l.t.Helper()
	c := connect(l.t, s.Addr())
	defer end(c)
	must(l.t, c, client.SyncOp{Path: "/"})
	who := fmt.Sprintf("server %d (%s)", s.ID, kind(s))
	there := make(map[string]bool)
	for _, name := range must(l.t, c, client.ChildrenOp{Path: l.prefix}).Children {
		path := l.prefix + "/" + name
		if there[path] {
			l.t.Errorf("%s lists %s twice", who, path)
		}
		there[path] = true
	}
	writes, missing := 0, 0
	for _, w := range l.writers {
		for path := range w.acked {
			writes++
			if !there[path] {
				if missing++; missing <= 5 {
					l.t.Errorf("%s has lost %s, which was acknowledged", who, path)
				}
			}
			delete(there, path)
		}
		for path := range w.unknown {
			if one, ok := strings.CutSuffix(path, "-1"); ok && there[path] != there[one+"-2"] {
				l.t.Errorf("%s has half of the multi of %s", who, path)
			}
		}
		for path := range w.unknown {
			delete(there, path)
		}
		r := must(l.t, c, client.GetOp{Path: l.counter(w)})
		delete(there, l.counter(w))
		if v := r.Stat.Version; v < w.sets || v > w.sets+w.maybe {
			l.t.Errorf("%s: %s has version %d after %d answered and %d unanswered sets", who, l.counter(w), v, w.sets, w.maybe)
		}
		if string(r.Data) != fmt.Sprint(r.Stat.Version) {
			l.t.Errorf("%s: %s has data %q at version %d", who, l.counter(w), r.Data, r.Stat.Version)
		}
		if id := w.c.Session().ID; !there[l.ephemeral(w)] {
			l.t.Errorf("%s has lost %s, whose session 0x%x lives", who, l.ephemeral(w), id)
		} else if r := must(l.t, c, client.ExistsOp{Path: l.ephemeral(w)}); r.Stat.EphemeralOwner != id {
			l.t.Errorf("%s: %s belongs to 0x%x, not 0x%x", who, l.ephemeral(w), r.Stat.EphemeralOwner, id)
		}
		delete(there, l.ephemeral(w))
	}
	if missing > 0 {
		l.t.Errorf("%s has lost %d of %d acknowledged writes", who, missing, writes)
	}
	for path := range there {
		l.t.Errorf("%s has %s, which nobody asked for", who, path)
	}
	if writes == 0 {
		l.t.Error("no write was answered: the check proves nothing")
	}
}
