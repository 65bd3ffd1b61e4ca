package nemesis

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/test/history"
)

// The tree that clients work on. Few names, so that they meet.
const (
	registers = 6 // /k/0 …
	places    = 8 // /d/0 …, which come and go
	lockPath  = "/lock"
)

var parents = []string{"/k", "/d", "/q", "/e", "/a", "/p", "/p/left", "/p/right", lockPath}

// layOut makes the parents.
func (w *world) layOut() error {
	c := newClient(w, layOutClient, 0, 10*time.Second)
	defer c.end(true)
	paths := slices.Clone(parents)
	for i := range registers {
		paths = append(paths, fmt.Sprintf("/k/%d", i))
	}
	for _, path := range paths {
		for {
			cn := c.live()
			if cn == nil {
				return fmt.Errorf("create %s: %w", path, c.ctx.Err())
			}
			k := cn.send(proto.OpCreate, &proto.CreateRequest{Path: path, Data: []byte("0"), ACL: jute.OpenACL()})
			if k.wait() && (k.err == zkerr.OK || k.err == zkerr.NodeExists) {
				break
			}
		}
	}
	return nil
}

// Numbers of clients that are not workers, which are numbered from 1.
const (
	layOutClient = 900
	lastClient   = 901
	stormClients = 1000
)

// A worker is a client and what it does.
type worker struct {
	*client
	w       *world
	n       int // tokens so far
	weights []int
	total   int
	mine    []string // sequential and ephemeral nodes that it made and may delete
	version map[string]int32
	quiet   bool // it ends by going away
}

// A job is one kind of thing that a worker does.
type job struct {
	name   string
	weight int // how common it is where nothing is drawn
	do     func(a *worker, cn *conn)
}

// The jobs. The plan draws for each worker how often it does which.
var jobs = []job{
	{"set", 6, (*worker).set},
	{"get", 8, (*worker).get},
	{"come and go", 8, (*worker).comeAndGo},
	{"sequence", 6, (*worker).sequence},
	{"ephemeral", 5, (*worker).ephemeral},
	{"list", 3, (*worker).list},
	{"multi", 5, (*worker).multi},
	{"fresh", 4, (*worker).fresh},
	{"burst", 3, (*worker).burst},
	{"watch", 5, (*worker).watchSome},
	{"acl", 2, (*worker).acl},
	{"move", 1, (*worker).moveOn},
}

// newWorker draws a worker.
func newWorker(w *world, no int) *worker {
	rng := rand.New(rand.NewPCG(w.plan.Seed, uint64(no)<<32))
	ask := []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second}[rng.IntN(3)]
	a := &worker{client: newClient(w, no, no%groups, ask), w: w, version: make(map[string]int32), quiet: rng.IntN(4) == 0}
	if rng.IntN(3) == 0 {
		a.auth = fmt.Appendf(nil, "user%d:secret", no)
	}
	for _, j := range jobs {
		weight := j.weight * rng.IntN(4) // some do nothing of a kind at all
		a.weights = append(a.weights, weight)
		a.total += weight
	}
	if a.total == 0 {
		a.weights[0], a.total = 1, 1
	}
	return a
}

// run works until the load stops.
func (a *worker) run() {
	for !a.w.stopped.Load() && a.ctx.Err() == nil {
		cn := a.live()
		if cn == nil {
			break
		}
		n := a.rng.IntN(a.total)
		for i, weight := range a.weights {
			if n -= weight; n < 0 {
				jobs[i].do(a, cn)
				break
			}
		}
		time.Sleep(time.Duration(a.rng.IntN(a.w.plan.PaceUS+1)) * time.Microsecond)
	}
	a.end(!a.quiet)
}

func (a *worker) token() []byte {
	a.n++
	s := fmt.Sprintf("%d.%d.", a.no, a.n)
	switch a.rng.IntN(60) {
	case 0:
		s += strings.Repeat("x", 20_000+a.rng.IntN(40_000)) // more than one segment of TCP, so that it can break in the middle
	case 1, 2, 3, 4, 5:
		s += strings.Repeat("y", a.rng.IntN(1000))
	}
	return []byte(s)
}

func (a *worker) register() string { return fmt.Sprintf("/k/%d", a.rng.IntN(registers)) }
func (a *worker) place() string    { return fmt.Sprintf("/d/%d", a.rng.IntN(places)) }

// one says yes once in n times.
func (a *worker) one(n int) bool { return a.rng.IntN(n) == 0 }

func (a *worker) setOf(path string) *proto.SetDataRequest {
	v := int32(-1)
	if known, ok := a.version[path]; ok && a.one(2) {
		v = known
	}
	return &proto.SetDataRequest{Path: path, Data: a.token(), Version: v}
}

// learn keeps the version that an answer shows.
func (a *worker) learn(path string, k *call) {
	if !k.wait() || k.err != zkerr.OK {
		return
	}
	switch r := k.resp.(type) {
	case *proto.Stat:
		a.version[path] = r.Version
	case *proto.GetDataResponse:
		a.version[path] = r.Stat.Version
	}
}

func (a *worker) set(cn *conn) {
	path := a.register()
	a.learn(path, cn.send(proto.OpSetData, a.setOf(path)))
}

func (a *worker) get(cn *conn) {
	path := a.register()
	a.learn(path, cn.send(proto.OpGetData, &proto.ReadRequest{Path: path, Watch: a.one(4)}))
}

func (a *worker) create(path string, flags proto.CreateFlags) *proto.CreateRequest {
	return &proto.CreateRequest{Path: path, Data: a.token(), ACL: jute.OpenACL(), Flags: flags}
}

// comeAndGo makes, deletes, changes and asks for nodes that come and go.
func (a *worker) comeAndGo(cn *conn) {
	path := a.place()
	switch a.rng.IntN(7) {
	case 0, 1:
		cn.send(proto.OpCreate, a.create(path, proto.FlagPersistent)).wait()
	case 2:
		cn.send(proto.OpCreate2, a.create(path, proto.FlagEphemeral)).wait()
	case 3, 4:
		v := int32(-1)
		if a.one(4) {
			v = int32(a.rng.IntN(3))
		}
		cn.send(proto.OpDelete, &proto.VersionRequest{Path: path, Version: v}).wait()
	case 5:
		cn.send(proto.OpExists, &proto.ReadRequest{Path: path, Watch: a.one(2)}).wait()
	default:
		cn.send(proto.OpSetData, a.setOf(path)).wait()
	}
}

func (a *worker) made(k *call) {
	if k.wait() && k.err == zkerr.OK {
		if r, ok := k.resp.(*proto.PathResponse); ok {
			a.mine = append(a.mine, r.Path)
		}
	}
}

func (a *worker) dropOne(cn *conn) {
	if len(a.mine) == 0 {
		return
	}
	i := a.rng.IntN(len(a.mine))
	path := a.mine[i]
	a.mine = slices.Delete(a.mine, i, i+1)
	cn.send(proto.OpDelete, &proto.VersionRequest{Path: path, Version: -1}).wait()
}

func (a *worker) sequence(cn *conn) {
	if len(a.mine) > 3 && a.one(2) {
		a.dropOne(cn)
		return
	}
	flags := proto.FlagPersistentSequential
	if a.one(3) {
		flags = proto.FlagEphemeralSequential
	}
	a.made(cn.send(proto.OpCreate, a.create("/q/n-", flags)))
}

func (a *worker) ephemeral(cn *conn) {
	if a.one(3) {
		a.dropOne(cn)
		return
	}
	a.n++
	a.made(cn.send(proto.OpCreate, a.create(fmt.Sprintf("/e/%d-%d", a.no, a.n), proto.FlagEphemeral)))
}

func (a *worker) list(cn *conn) {
	op := []proto.Op{proto.OpGetChildren, proto.OpGetChildren2}[a.rng.IntN(2)]
	cn.send(op, &proto.ReadRequest{Path: []string{"/q", "/e", "/d", "/p"}[a.rng.IntN(4)], Watch: a.one(3)}).wait()
}

// multi changes two nodes that only ever change together, and makes or deletes others beside. Some
// can't succeed.
func (a *worker) multi(cn *conn) {
	if a.one(4) {
		cn.send(proto.OpMultiRead, &proto.MultiRequest{Read: true, Ops: []proto.MultiOp{
			{Op: proto.OpGetData, Path: "/p/left"}, {Op: proto.OpGetData, Path: "/p/right"}, {Op: proto.OpGetChildren, Path: "/e"}}}).wait()
		return
	}
	data := a.token()
	ops := []proto.MultiOp{{Op: proto.OpSetData, Path: "/p/left", Data: data, Version: -1}}
	for range a.rng.IntN(4) {
		switch a.rng.IntN(4) {
		case 0:
			ops = append(ops, proto.MultiOp{Op: proto.OpCreate, Path: a.place(), Data: data, ACL: jute.OpenACL()})
		case 1:
			ops = append(ops, proto.MultiOp{Op: proto.OpDelete, Path: a.place(), Version: -1})
		case 2:
			ops = append(ops, proto.MultiOp{Op: proto.OpCreate, Path: "/q/m-", Data: data, ACL: jute.OpenACL(), Flags: proto.FlagPersistentSequential})
		case 3:
			ops = append(ops, proto.MultiOp{Op: proto.OpCheck, Path: a.register(), Version: int32(a.rng.IntN(40)) - 1})
		}
	}
	ops = append(ops, proto.MultiOp{Op: proto.OpSetData, Path: "/p/right", Data: data, Version: -1})
	cn.send(proto.OpMulti, &proto.MultiRequest{Ops: ops}).wait()
}

// fresh syncs and reads, without waiting in between.
func (a *worker) fresh(cn *conn) {
	path := a.register()
	s := cn.send(proto.OpSync, &proto.AnyPathRequest{Path: path})
	k := cn.send(proto.OpGetData, &proto.ReadRequest{Path: path})
	s.wait()
	a.learn(path, k)
}

// burst sends many requests at once.
func (a *worker) burst(cn *conn) {
	var calls []*call
	for range 2 + a.rng.IntN(20) {
		path := a.register()
		switch a.rng.IntN(5) {
		case 0:
			calls = append(calls, cn.send(proto.OpGetData, &proto.ReadRequest{Path: path}))
		case 1:
			calls = append(calls, cn.send(proto.OpCreate, a.create("/q/b-", proto.FlagEphemeralSequential)))
		case 2:
			calls = append(calls, cn.send(proto.OpExists, &proto.ReadRequest{Path: a.place()}))
		default:
			calls = append(calls, cn.send(proto.OpSetData, &proto.SetDataRequest{Path: path, Data: a.token(), Version: -1}))
		}
	}
	if a.one(8) {
		a.move(a.one(2)) // with all of that under way
	}
	for _, k := range calls {
		k.wait()
	}
}

// watchSome watches, changes what it watches at times, and adds watches that stay.
func (a *worker) watchSome(cn *conn) {
	switch a.rng.IntN(8) {
	case 0:
		mode := []proto.AddWatchMode{proto.AddWatchPersistent, proto.AddWatchPersistentRecursive}[a.rng.IntN(2)]
		cn.send(proto.OpAddWatch, &proto.AddWatchRequest{Path: []string{"/d", "/k", a.place(), a.register()}[a.rng.IntN(4)], Mode: mode}).wait()
	case 1, 2:
		path := a.place()
		cn.send(proto.OpExists, &proto.ReadRequest{Path: path, Watch: true}).wait()
		cn.send(proto.OpCreate, a.create(path, proto.FlagPersistent)).wait()
	case 3, 4:
		cn.send(proto.OpGetChildren, &proto.ReadRequest{Path: "/d", Watch: true}).wait()
	default:
		path := a.register()
		cn.send(proto.OpGetData, &proto.ReadRequest{Path: path, Watch: true}).wait()
		if a.one(2) {
			cn.send(proto.OpSetData, a.setOf(path)).wait()
			a.learn(path, cn.send(proto.OpGetData, &proto.ReadRequest{Path: path}))
		}
	}
}

// acl makes nodes that are not for everybody, changes who they are for, and tries others'.
func (a *worker) acl(cn *conn) {
	path := fmt.Sprintf("/a/%d", a.rng.IntN(4))
	own := []proto.ACL{{Perms: proto.PermAll, Scheme: "auth"}, {Perms: proto.PermRead, Scheme: "world", ID: "anyone"}}
	if a.auth == nil {
		own = jute.OpenACL()
	}
	switch a.rng.IntN(6) {
	case 0, 1:
		cn.send(proto.OpCreate, &proto.CreateRequest{Path: path, Data: a.token(), ACL: own}).wait()
	case 2:
		cn.send(proto.OpSetACL, &proto.SetACLRequest{Path: path, ACL: own, Version: -1}).wait()
	case 3:
		cn.send(proto.OpGetACL, &proto.PathRequest{Path: path}).wait()
	case 4:
		cn.send(proto.OpSetData, &proto.SetDataRequest{Path: path, Data: a.token(), Version: -1}).wait()
	default:
		cn.send(proto.OpDelete, &proto.VersionRequest{Path: path, Version: -1}).wait()
	}
}

// moveOn goes to another server, or ends the session and begins another.
func (a *worker) moveOn(cn *conn) {
	if a.one(3) {
		if cn.send(proto.OpCloseSession, nil).wait() {
			cn.nc.Close()
			<-cn.done
			a.forget()
			a.mine = nil
		}
		return
	}
	a.move(a.one(2))
}

// lockRun takes and gives back the lock, by the recipe with sequential ephemerals.
func (a *worker) lockRun() {
	for !a.w.stopped.Load() && a.ctx.Err() == nil {
		cn := a.live()
		if cn == nil {
			break
		}
		a.lockOnce(cn)
		time.Sleep(time.Duration(a.rng.IntN(50)) * time.Millisecond)
	}
	a.end(true)
}

// lockOnce stays on one connection: when that is lost, the lock is given up as far as the client
// is concerned, and what it has left is found and removed by its session's end or by the client.
func (a *worker) lockOnce(cn *conn) {
	a.sweepLock(cn)
	k := cn.send(proto.OpCreate, a.create(lockPath+"/l-", proto.FlagEphemeralSequential))
	if !k.wait() || k.err != zkerr.OK {
		return
	}
	path := k.resp.(*proto.PathResponse).Path
	mine := strings.TrimPrefix(path, lockPath+"/")
	defer func() { cn.send(proto.OpDelete, &proto.VersionRequest{Path: path, Version: -1}).wait() }()
	for !a.w.stopped.Load() {
		k := cn.send(proto.OpGetChildren, &proto.ReadRequest{Path: lockPath})
		if !k.wait() || k.err != zkerr.OK {
			return
		}
		before := ""
		for _, name := range k.resp.(*proto.StringsResponse).Strings {
			if name < mine && name > before {
				before = name
			}
		}
		if before == "" {
			a.hold(cn)
			return
		}
		event := a.awaits(lockPath + "/" + before)
		k = cn.send(proto.OpExists, &proto.ReadRequest{Path: lockPath + "/" + before, Watch: true})
		if !k.wait() {
			return
		}
		if k.err == zkerr.NoNode {
			continue
		}
		select {
		case <-event:
		case <-cn.done:
			return
		case <-time.After(3 * time.Second):
			return // the load may stop, and what is waited for may be its own, of a request that it thought lost
		}
	}
}

// sweepLock removes what this session has left in the queue when it lost a connection.
func (a *worker) sweepLock(cn *conn) {
	k := cn.send(proto.OpGetEphemerals, &proto.AnyPathRequest{Path: lockPath})
	if !k.wait() || k.err != zkerr.OK {
		return
	}
	for _, path := range k.resp.(*proto.StringsResponse).Strings {
		cn.send(proto.OpDelete, &proto.VersionRequest{Path: path, Version: -1}).wait()
	}
}

// hold holds the lock for a while, and no longer than it may be sure of its session.
func (a *worker) hold(cn *conn) {
	end := time.Now().Add(time.Duration(5+a.rng.IntN(60)) * time.Millisecond)
	// Before it says so, it looks whether it could still be true: the answer may be old.
	if until, lost := cn.holds(); lost || time.Until(until) < a.timeout/2 {
		return
	}
	a.record(cn, history.Record{Kind: history.Acquired, Session: cn.id, Path: lockPath})
	for time.Now().Before(end) {
		// Two thirds of the time-out are left for the record of the release to be late.
		if until, lost := cn.holds(); lost || time.Until(until) < a.timeout*2/3 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	a.record(cn, history.Record{Kind: history.Released, Session: cn.id, Path: lockPath})
}
