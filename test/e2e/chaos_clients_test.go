package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// chaosTimeout is what sessions have that must not end: longer than any fault.
const chaosTimeout = 20 * time.Second

// A crowd is the clients of a chaos run. Each keeps account of what it was
// answered, and complains at once where an answer breaks a promise.
type crowd struct {
	t     *testing.T
	e     *harness.Ensemble
	stop  atomic.Bool
	ctx   context.Context
	wg    sync.WaitGroup
	acked atomic.Int64

	mu     sync.Mutex
	actors []*actor
	final  []func(c *client.Client) // what to check in the end, on each server

	latest atomic.Int32 // the highest version of the register of which a set was answered
}

// An actor is one session and what is known of it.
type actor struct {
	w    *crowd
	name string
	c    *client.Client
	rng  *rand.Rand
	seen atomic.Int64 // the highest zxid of an answer
	done atomic.Int64 // answered requests
}

func (w *crowd) actor(name string, seed uint64, servers ...string) *actor {
	w.t.Helper()
	a := &actor{w: w, name: name, rng: rand.New(rand.NewPCG(seed, uint64(len(w.actors))))}
	servers = slices.Clone(servers)
	a.rng.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	c, err := client.Open(servers, chaosTimeout, client.Options{InOrder: true, OnEvent: func(ev client.Event) {
		if ev.State == client.Expired && !w.stop.Load() {
			w.t.Errorf("%s: its session expired", a.name)
		}
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	a.c = c
	w.mu.Lock()
	w.actors = append(w.actors, a)
	w.mu.Unlock()
	return a
}

// run repeats fn until the crowd stops, at a pace that leaves the servers some
// air.
func (a *actor) run(fn func()) {
	a.w.wg.Go(func() {
		for !a.w.stop.Load() && !a.w.t.Failed() {
			fn()
			time.Sleep(time.Duration(a.rng.IntN(6000)) * time.Microsecond)
		}
	})
}

// await returns the answers to calls that were started one after the other, as
// far as each was answered, and checks that their zxids don't fall.
func (a *actor) await(calls ...*client.Call) (replies []client.Reply, errs []error) {
	for _, call := range calls {
		r, err := call.Wait(a.w.ctx)
		replies, errs = append(replies, r), append(errs, err)
		if errors.Is(err, zkerr.ConnectionLoss) || errors.Is(err, zkerr.SessionExpired) || a.w.ctx.Err() != nil {
			continue
		}
		if seen := a.seen.Load(); r.Zxid < seen {
			a.w.t.Errorf("%s, on %s: answer at zxid 0x%x after one at 0x%x", a.name, a.c.Server(), r.Zxid, seen)
		}
		a.seen.Store(r.Zxid)
		a.done.Add(1)
		a.w.acked.Add(1)
	}
	return replies, errs
}

func (a *actor) do(op client.Op) (client.Reply, error) {
	r, err := a.await(a.c.Start(op))
	return r[0], err[0]
}

// unknown says whether an error leaves open what became of a write.
func (a *actor) unknown(err error) bool {
	return errors.Is(err, zkerr.ConnectionLoss) || a.w.ctx.Err() != nil
}

func (a *actor) fail(format string, args ...any) {
	a.w.t.Errorf("%s, on %s: %s", a.name, a.c.Server(), fmt.Sprintf(format, args...))
}

func (w *crowd) finally(fn func(c *client.Client)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.final = append(w.final, fn)
}

// pipeline sends sets and gets of a node of its own, many at a time. A set bears
// no version: one that is executed twice shows.
func (w *crowd) pipeline(a *actor, path string) {
	var (
		version, maybe int32 // as of the last answer, and sets since then that were not answered
		sent           int
		acked          int
	)
	a.run(func() {
		var calls []*client.Call
		var sets []int // the number of each set, 0 for a get
		for range 1 + a.rng.IntN(20) {
			if a.rng.IntN(3) == 0 {
				calls, sets = append(calls, a.c.Start(client.GetOp{Path: path})), append(sets, 0)
			} else {
				sent++
				calls = append(calls, a.c.Start(client.SetOp{Path: path, Data: strconv.AppendInt(nil, int64(sent), 10), Version: -1}))
				sets = append(sets, sent)
			}
		}
		replies, errs := a.await(calls...)
		for i, r := range replies {
			switch err := errs[i]; {
			case a.unknown(err):
				if sets[i] > 0 {
					maybe++
				}
				continue
			case err != nil:
				a.fail("%s: %v", path, err)
				continue
			}
			v := r.Stat.Version
			if sets[i] > 0 {
				if v <= version || v > version+1+maybe {
					a.fail("%s: set %d made version %d, after version %d and %d unanswered sets", path, sets[i], v, version, maybe)
				}
				acked = sets[i]
			} else {
				if v < version || v > version+maybe {
					a.fail("%s: get shows version %d, after version %d and %d unanswered sets", path, v, version, maybe)
				}
				if n, _ := strconv.Atoi(string(r.Data)); n < acked || maybe == 0 && n != acked {
					a.fail("%s: get shows set %d, after set %d and %d unanswered sets", path, n, acked, maybe)
				} else {
					acked = n
				}
			}
			version, maybe = v, 0
		}
	})
	w.finally(func(c *client.Client) {
		if v := must(w.t, c, client.GetOp{Path: path}).Stat.Version; v < version || v > version+maybe {
			w.t.Errorf("%s has version %d, after version %d and %d unanswered sets", path, v, version, maybe)
		}
	})
}

// create makes nodes of its own, and deletes some.
func (w *crowd) create(a *actor, parent string) {
	there := make(map[string]int64)
	gone := make(map[string]bool)
	unknown := make(map[string]bool)
	n := 0
	a.run(func() {
		path := fmt.Sprintf("%s/n%06d", parent, n)
		n++
		r, err := a.do(client.CreateOp{Path: path, Data: []byte(path)})
		switch {
		case err == nil:
			there[path] = r.Zxid
		case a.unknown(err):
			unknown[path] = true
			return
		default:
			a.fail("create %s: %v", path, err)
			return
		}
		if a.rng.IntN(3) > 0 {
			return
		}
		_, err = a.do(client.DeleteOp{Path: path, Version: 0})
		switch {
		case err == nil:
			delete(there, path)
			gone[path] = true
		case a.unknown(err):
			delete(there, path)
			unknown[path] = true
		default:
			a.fail("delete %s: %v", path, err)
		}
	})
	w.finally(func(c *client.Client) {
		found := make(map[string]bool)
		for _, name := range must(w.t, c, client.ChildrenOp{Path: parent}).Children {
			path := parent + "/" + name
			found[path] = true
			switch {
			case gone[path]:
				w.t.Errorf("%s is there, and its delete was answered", path)
			case there[path] == 0 && !unknown[path]:
				w.t.Errorf("%s is there, and nobody asked for it", path)
			}
		}
		for path, zxid := range there {
			if !found[path] {
				w.t.Errorf("%s is lost, which was answered at 0x%x", path, zxid)
			}
		}
	})
}

// tickets are sequential nodes that several actors make under one parent.
type tickets struct {
	mu      sync.Mutex
	acked   map[string]ticket // by the token in the data
	asked   map[string]bool
	deleted map[string]bool
}

type ticket struct {
	path string
	zxid int64
}

func (w *crowd) tickets(parent string) *tickets {
	k := &tickets{acked: make(map[string]ticket), asked: make(map[string]bool), deleted: make(map[string]bool)}
	w.finally(func(c *client.Client) { k.check(w.t, c, parent) })
	return k
}

func (w *crowd) draw(a *actor, k *tickets, parent string) {
	n := 0
	a.run(func() {
		token := fmt.Sprintf("%s#%d", a.name, n)
		n++
		k.mu.Lock()
		k.asked[token] = true
		k.mu.Unlock()
		r, err := a.do(client.CreateOp{Path: parent + "/t-", Data: []byte(token), Mode: client.PersistentSequential})
		switch {
		case a.unknown(err):
			return
		case err != nil:
			a.fail("create sequential: %v", err)
			return
		}
		k.mu.Lock()
		k.acked[token] = ticket{r.Path, r.Zxid}
		k.mu.Unlock()
		if a.rng.IntN(4) > 0 {
			return
		}
		k.mu.Lock()
		k.deleted[token] = true // or perhaps
		k.mu.Unlock()
		if _, err := a.do(client.DeleteOp{Path: r.Path, Version: -1}); err != nil && !a.unknown(err) {
			a.fail("delete %s: %v", r.Path, err)
		}
	})
}

func (k *tickets) check(t *testing.T, c *client.Client, parent string) {
	t.Helper()
	names := must(t, c, client.ChildrenOp{Path: parent}).Children
	slices.Sort(names)
	var calls []*client.Call
	for _, name := range names {
		calls = append(calls, c.Start(client.GetOp{Path: parent + "/" + name}))
	}
	found := make(map[string]string)
	last := int64(0)
	for i, name := range names {
		r := wait(t, calls[i], name)
		token := string(r.Data)
		if other := found[token]; other != "" {
			t.Errorf("%s was created twice: %s and %s", token, other, name)
		}
		found[token] = name
		if !k.asked[token] {
			t.Errorf("%s bears %q, which nobody asked for", name, token)
		}
		if r.Stat.Czxid <= last {
			t.Errorf("%s was created at 0x%x, the one before it at 0x%x", name, r.Stat.Czxid, last)
		}
		last = r.Stat.Czxid
		if a, ok := k.acked[token]; ok && (a.path != parent+"/"+name || a.zxid != r.Stat.Czxid) {
			t.Errorf("%s was answered as %s at 0x%x, and is %s since 0x%x", token, a.path, a.zxid, name, r.Stat.Czxid)
		}
	}
	paths := make(map[string]string)
	for token, a := range k.acked {
		if other := paths[a.path]; other != "" {
			t.Errorf("%s was given to %s and %s", a.path, token, other)
		}
		paths[a.path] = token
		if found[token] == "" && !k.deleted[token] {
			t.Errorf("%s is lost, which was answered as %s at 0x%x", token, a.path, a.zxid)
		}
	}
}

// pair changes two nodes and makes a third, in one multi.
func (w *crowd) pair(a *actor, prefix string) {
	version := int32(0)
	left, right := prefix+"-left", prefix+"-right"
	look := func() {
		r, err := a.do(client.MultiReadOp{Ops: []client.Op{client.GetOp{Path: left}, client.GetOp{Path: right}}})
		switch {
		case a.unknown(err):
		case err != nil:
			a.fail("multiRead: %v", err)
		case r.Results[0].Stat.Version != r.Results[1].Stat.Version:
			a.fail("half a multi: versions %d and %d", r.Results[0].Stat.Version, r.Results[1].Stat.Version)
		case r.Results[0].Stat.Version < version:
			a.fail("%s went back from version %d to %d", prefix, version, r.Results[0].Stat.Version)
		default:
			version = r.Results[0].Stat.Version
		}
	}
	a.run(func() {
		v := version
		ops := []client.Op{
			client.SetOp{Path: left, Data: []byte("x"), Version: v},
			client.CreateOp{Path: fmt.Sprintf("%s/%d", prefix, v+1)},
			client.SetOp{Path: right, Data: []byte("x"), Version: v},
		}
		bad := a.rng.IntN(4) == 0
		if bad {
			ops = append(ops, client.CheckOp{Path: left, Version: v})
		}
		r, err := a.do(client.MultiOp{Ops: ops})
		switch {
		case a.unknown(err):
			look()
		case err == nil && bad:
			a.fail("a multi whose check could not hold was answered OK")
		case err == nil:
			version = v + 1
			for _, i := range []int{0, 2} {
				if r.Results[i].Stat.Version != version {
					a.fail("multi: part %d made version %d, want %d", i, r.Results[i].Stat.Version, version)
				}
			}
		case errors.Is(err, zkerr.BadVersion) && (bad || version == v):
			look()
			if !bad && version == v {
				a.fail("multi refused for its version, which is %d", v)
			}
		default:
			a.fail("multi: %v", err)
		}
	})
	w.finally(func(c *client.Client) {
		l, r := must(w.t, c, client.GetOp{Path: left}).Stat, must(w.t, c, client.GetOp{Path: right}).Stat
		if l.Version != r.Version || l.Mzxid != r.Mzxid || l.Version < version {
			w.t.Errorf("%s: left has version %d of 0x%x, right %d of 0x%x, answered was %d", prefix, l.Version, l.Mzxid, r.Version, r.Mzxid, version)
		}
		names := must(w.t, c, client.ChildrenOp{Path: prefix}).Children
		if len(names) != int(l.Version) {
			w.t.Errorf("%s: %d children at version %d", prefix, len(names), l.Version)
		}
	})
}

// write moves the register on.
func (w *crowd) write(a *actor, path string) {
	a.run(func() {
		r, err := a.do(client.SetOp{Path: path, Data: []byte("x"), Version: -1})
		switch {
		case err == nil:
			w.latest.Store(r.Stat.Version)
		case !a.unknown(err):
			a.fail("set %s: %v", path, err)
		}
	})
}

// fresh syncs and reads the register: it must see what was answered before.
func (w *crowd) fresh(a *actor, path string) {
	a.run(func() {
		before := w.latest.Load()
		replies, errs := a.await(a.c.Start(client.SyncOp{Path: path}), a.c.Start(client.GetOp{Path: path}))
		if errs[0] != nil || errs[1] != nil {
			return
		}
		if v := replies[1].Stat.Version; v < before {
			a.fail("sync and get show version %d, %d was answered before", v, before)
		}
	})
}

// watch watches the register: the event comes before the change can be read.
func (w *crowd) watch(a *actor, path string) {
	a.run(func() {
		r, err := a.do(client.GetOp{Path: path, Watch: true})
		if err != nil {
			return
		}
		for !w.stop.Load() && w.ctx.Err() == nil {
			now, err := a.do(client.GetOp{Path: path})
			if err != nil {
				time.Sleep(time.Millisecond)
				continue
			}
			if now.Stat.Version == r.Stat.Version {
				continue
			}
			select {
			case ev := <-r.Event:
				if ev.Type != client.NodeDataChanged || ev.Path != path {
					a.fail("event %+v", ev)
				}
			default:
				a.fail("version %d is read where %d was watched, and no event came before", now.Stat.Version, r.Stat.Version)
			}
			return
		}
	})
}

// lives opens sessions with ephemerals and closes them, or leaves them behind.
func (w *crowd) lives(parent string, seed uint64, servers []string) {
	a := &actor{w: w, name: "lives", rng: rand.New(rand.NewPCG(seed, 77))}
	checker := w.actor("lives-checker", seed, servers...)
	n := 0
	a.run(func() {
		n++
		list := slices.Clone(servers)
		a.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		abandon := a.rng.IntN(4) == 0
		// Short, so that the end of those whose close is not answered is not far.
		c, err := client.Open(list, 4*time.Second, client.Options{InOrder: true})
		if err != nil {
			w.t.Error(err)
			return
		}
		defer c.Abandon()
		self := &actor{w: w, name: fmt.Sprintf("life %d", n), c: c}
		if c.WaitConnected(w.ctx) != nil {
			return
		}
		id := c.Session().ID
		var paths []string
		var calls []*client.Call
		for i := range 1 + a.rng.IntN(5) {
			paths = append(paths, fmt.Sprintf("%s/%d-%d", parent, n, i))
			calls = append(calls, c.Start(client.CreateOp{Path: paths[i], Mode: client.Ephemeral}))
		}
		_, errs := self.await(calls...)
		if !abandon {
			if a.rng.IntN(3) == 0 {
				c.Drop()
			}
			for i, path := range paths {
				if errs[i] != nil {
					continue
				}
				// The session is open: its ephemeral is there, for itself at least.
				if r, err := self.do(client.ExistsOp{Path: path}); errors.Is(err, zkerr.NoNode) {
					self.fail("%s is gone while session 0x%x is open", path, id)
				} else if err == nil && r.Stat.EphemeralOwner != id {
					self.fail("%s belongs to 0x%x, not 0x%x", path, r.Stat.EphemeralOwner, id)
				}
			}
			// Not by Close, which says nothing to a server that it isn't connected to.
			if _, err := self.do(client.RawOp{Code: proto.OpCloseSession}); err == nil {
				// Answered: everybody who syncs sees that they are gone.
				if _, err := checker.do(client.SyncOp{Path: parent}); err == nil {
					for _, path := range paths {
						if _, err := checker.do(client.ExistsOp{Path: path}); err == nil {
							checker.fail("%s is there, and the close of session 0x%x was answered", path, id)
						}
					}
				}
			}
		}
	})
	// In the end only open sessions have ephemerals: all of these are closed, or silent.
	w.finally(func(c *client.Client) {
		end := time.Now().Add(harness.Patience)
		for {
			names := must(w.t, c, client.ChildrenOp{Path: parent}).Children
			if len(names) == 0 {
				return
			}
			if time.Now().After(end) {
				w.t.Errorf("ephemerals of sessions that are closed or silent are still there: %v", names)
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// stays is an ephemeral whose session goes through everything.
func (w *crowd) stays(a *actor, path string) {
	id := int64(0)
	made := false
	a.run(func() {
		if !made {
			_, err := a.do(client.CreateOp{Path: path, Mode: client.Ephemeral})
			made = err == nil || errors.Is(err, zkerr.NodeExists)
			id = a.c.Session().ID
			return
		}
		r, err := a.do(client.ExistsOp{Path: path})
		switch {
		case a.unknown(err):
		case err != nil:
			a.fail("%s of session 0x%x: %v", path, id, err)
		case r.Stat.EphemeralOwner != id:
			a.fail("%s belongs to 0x%x, not 0x%x", path, r.Stat.EphemeralOwner, id)
		}
	})
	w.finally(func(c *client.Client) {
		if !made {
			return
		}
		if r := must(w.t, c, client.ExistsOp{Path: path}); r.Stat.EphemeralOwner != id {
			w.t.Errorf("%s belongs to 0x%x, not 0x%x", path, r.Stat.EphemeralOwner, id)
		}
	})
}

// gather makes the crowd of a run.
func gather(t *testing.T, e *harness.Ensemble, seed uint64) *crowd {
	t.Helper()
	w := &crowd{t: t, e: e, ctx: context.Background()}
	root := connect(t, e.Addrs()...)
	for _, path := range []string{"/c", "/c/0", "/c/1", "/t", "/m-0", "/m-0-left", "/m-0-right", "/m-1", "/m-1-left", "/m-1-right", "/r", "/l"} {
		must(t, root, client.CreateOp{Path: path})
	}
	addrs := e.Addrs()
	tickets := w.tickets("/t")
	for i := range 2 {
		must(t, root, client.CreateOp{Path: fmt.Sprintf("/p-%d", i)})
		w.pipeline(w.actor(fmt.Sprintf("pipeline-%d", i), seed, addrs...), fmt.Sprintf("/p-%d", i))
		w.create(w.actor(fmt.Sprintf("create-%d", i), seed, addrs...), fmt.Sprintf("/c/%d", i))
		w.draw(w.actor(fmt.Sprintf("draw-%d", i), seed, addrs...), tickets, "/t")
		w.pair(w.actor(fmt.Sprintf("pair-%d", i), seed, addrs...), fmt.Sprintf("/m-%d", i))
		w.fresh(w.actor(fmt.Sprintf("fresh-%d", i), seed, addrs...), "/r")
		w.watch(w.actor(fmt.Sprintf("watch-%d", i), seed, addrs...), "/r")
		w.stays(w.actor(fmt.Sprintf("stays-%d", i), seed, addrs...), fmt.Sprintf("/stays-%d", i))
	}
	// One whose home is each of the servers: what a server keeps for its own clients is tested on all.
	for i, addr := range addrs {
		path := fmt.Sprintf("/home-%d", i)
		must(t, root, client.CreateOp{Path: path})
		w.pipeline(w.actor(strings.TrimPrefix(path, "/"), seed, addr), path)
	}
	w.write(w.actor("write", seed, addrs...), "/r")
	w.lives("/l", seed, addrs)
	return w
}

// goOn waits until every actor was answered again.
func (w *crowd) goOn() {
	w.t.Helper()
	w.mu.Lock()
	actors := slices.Clone(w.actors)
	w.mu.Unlock()
	was := make([]int64, len(actors))
	for i, a := range actors {
		was[i] = a.done.Load()
	}
	end := time.Now().Add(harness.Patience)
	for i, a := range actors {
		for a.done.Load() == was[i] && !w.t.Failed() {
			if time.Now().After(end) {
				w.t.Errorf("%s is answered nothing within %v of the last fault (state %v, on %q)", a.name, harness.Patience, a.c.State(), a.c.Server())
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// finish ends the work of all, and checks what it came to on each server.
func (w *crowd) finish() {
	w.t.Helper()
	w.stop.Store(true)
	w.wg.Wait()
	for _, s := range w.e.Servers {
		c := connect(w.t, s.Addr())
		must(w.t, c, client.SyncOp{Path: "/"})
		for _, check := range w.final {
			check(c)
		}
	}
}

// leave ends the sessions.
func (w *crowd) leave() {
	for _, a := range w.actors {
		a.c.Abandon()
	}
}
