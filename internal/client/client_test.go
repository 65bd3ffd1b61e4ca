package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/internal/client/fakezk"
)

const patience = 30 * time.Second

func context30(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// dial connects with a timeout so long that nothing depends on heartbeats.
func dial(t testing.TB, opt client.Options, addrs ...string) *client.Client {
	t.Helper()
	c, err := client.Dial(context30(t), addrs, patience, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Abandon)
	return c
}

func must(t testing.TB, what string) func(client.Reply, error) client.Reply {
	return func(r client.Reply, err error) client.Reply {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return r
	}
}

func want(t testing.TB, err error, code zkerr.Code) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Fatalf("got %v, want %v", err, code)
	}
}

func TestOperations(t *testing.T) {
	s := fakezk.Start(t)
	ctx := context30(t)
	c := dial(t, client.Options{}, s.Addr)

	r := must(t, "create")(c.Create(ctx, "/a", []byte("x"), client.Persistent))
	if r.Path != "/a" || r.Zxid == 0 {
		t.Fatalf("create: %+v", r)
	}
	created := r.Zxid
	_, err := c.Create(ctx, "/a", nil, client.Persistent)
	want(t, err, zkerr.NodeExists)
	var e *zkerr.Error
	if !errors.As(err, &e) || e.Op != "create" || e.Path != "/a" {
		t.Fatalf("error %#v", err)
	}
	r, err = c.Create(ctx, "/no/a", nil, client.Persistent)
	want(t, err, zkerr.NoNode)
	if r.Zxid <= created {
		t.Fatalf("a failed write's zxid is %d, after %d", r.Zxid, created)
	}
	if r = must(t, "create2")(c.Create2(ctx, "/a/s-", nil, client.PersistentSequential)); r.Path != "/a/s-0000000000" || r.Stat.Czxid != r.Zxid {
		t.Fatalf("create2: %+v", r)
	}
	if r = must(t, "get")(c.Get(ctx, "/a")); string(r.Data) != "x" || r.Stat.NumChildren != 1 || r.Stat.Czxid != created {
		t.Fatalf("get: %+v", r)
	}
	if r = must(t, "get null")(c.Get(ctx, "/a/s-0000000000")); r.Data != nil {
		t.Fatalf("null data came as %q", r.Data)
	}
	if r = must(t, "set")(c.Set(ctx, "/a", []byte{}, 0)); r.Stat.Version != 1 {
		t.Fatalf("set: %+v", r)
	}
	if r = must(t, "get empty")(c.Get(ctx, "/a")); r.Data == nil || len(r.Data) != 0 {
		t.Fatalf("empty data came as %v", r.Data)
	}
	_, err = c.Set(ctx, "/a", nil, 7)
	want(t, err, zkerr.BadVersion)
	if r = must(t, "exists")(c.Exists(ctx, "/a")); r.Stat.Version != 1 {
		t.Fatalf("exists: %+v", r)
	}
	_, err = c.Exists(ctx, "/b")
	want(t, err, zkerr.NoNode)
	if r = must(t, "children")(c.Children(ctx, "/a")); !slices.Equal(r.Children, []string{"s-0000000000"}) {
		t.Fatalf("children: %+v", r)
	}
	_, err = c.Delete(ctx, "/a", -1)
	want(t, err, zkerr.NotEmpty)
	must(t, "delete")(c.Delete(ctx, "/a/s-0000000000", 0))

	if err := c.AddAuth(ctx, "digest", []byte("joe:pw")); err != nil {
		t.Fatal(err)
	}
	must(t, "setACL")(c.SetACL(ctx, "/a", client.CreatorACL(), 0))
	r = must(t, "getACL")(c.GetACL(ctx, "/a"))
	if len(r.ACL) != 1 || r.ACL[0].Scheme != "digest" || r.ACL[0].ID != "joe" || r.Stat.Aversion != 1 {
		t.Fatalf("getACL: %+v", r)
	}
	if r = must(t, "sync")(c.Sync(ctx, "/a")); r.Path != "/a" {
		t.Fatalf("sync: %+v", r)
	}
	must(t, "ephemeral")(c.Create(ctx, "/a/e", nil, client.Ephemeral))
	if r = must(t, "ephemerals")(c.Do(ctx, client.EphemeralsOp{Prefix: "/a"})); !slices.Equal(r.Children, []string{"/a/e"}) {
		t.Fatalf("ephemerals: %+v", r)
	}
	if r = must(t, "number")(c.Do(ctx, client.AllChildrenNumberOp{Path: "/"})); r.Number != 2 {
		t.Fatalf("number of children: %+v", r)
	}
	if r = must(t, "whoami")(c.Do(ctx, client.WhoAmIOp{})); len(r.Users) != 2 || r.Users[1] != (client.User{Scheme: "digest", User: "joe"}) {
		t.Fatalf("who am I: %+v", r)
	}
	_, err = c.Do(ctx, client.RawOp{Code: 999, Body: []byte{0, 0, 0, 0}})
	want(t, err, zkerr.NoNode)

	if c.LastZxid() < created || c.Server() != s.Addr {
		t.Fatalf("last zxid %d, server %q", c.LastZxid(), c.Server())
	}
	id := c.Session().ID
	if err := c.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if s.Open(id) {
		t.Fatal("the session is open after Close")
	}
	_, err = c.Get(ctx, "/a")
	want(t, err, zkerr.ConnectionLoss)
}

func TestMulti(t *testing.T) {
	s := fakezk.Start(t)
	ctx := context30(t)
	c := dial(t, client.Options{Chroot: "/"}, s.Addr)

	r := must(t, "multi")(c.Multi(ctx,
		client.CreateOp{Path: "/m", Data: []byte("1")},
		client.CreateOp{Path: "/m/c", WithStat: true},
		client.SetOp{Path: "/m", Data: []byte("2"), Version: 0},
		client.CheckOp{Path: "/m", Version: 1},
		client.DeleteOp{Path: "/m/c", Version: -1}))
	if len(r.Results) != 5 || r.Results[0].Path != "/m" || r.Results[1].Stat.Czxid != r.Zxid || r.Results[2].Stat.Version != 1 {
		t.Fatalf("multi: %+v", r)
	}

	r, err := c.Multi(ctx,
		client.SetOp{Path: "/m", Data: []byte("3"), Version: -1},
		client.CheckOp{Path: "/m", Version: 99},
		client.DeleteOp{Path: "/m", Version: -1})
	want(t, err, zkerr.BadVersion)
	var codes []zkerr.Code
	for _, res := range r.Results {
		codes = append(codes, res.Code)
	}
	if !slices.Equal(codes, []zkerr.Code{zkerr.OK, zkerr.BadVersion, zkerr.RuntimeInconsistency}) {
		t.Fatalf("results of a failed multi: %v", codes)
	}
	if r = must(t, "get")(c.Get(ctx, "/m")); string(r.Data) != "2" {
		t.Fatalf("a failed multi left %q", r.Data)
	}
}

// The answer to each op is the one of that op, however many are under way.
func TestPipeline(t *testing.T) {
	s := fakezk.Start(t)
	ctx := context30(t)
	c := dial(t, client.Options{}, s.Addr)
	must(t, "create")(c.Create(ctx, "/p", nil, client.Persistent))

	const n = 2000
	var calls []*client.Call
	for i := range n {
		calls = append(calls, c.Start(client.SetOp{Path: "/p", Data: fmt.Appendf(nil, "%d", i), Version: int32(i)}))
		calls = append(calls, c.Start(client.GetOp{Path: "/p"}))
	}
	last := int64(0)
	for i := range n {
		set := must(t, "set")(calls[2*i].Wait(ctx))
		get := must(t, "get")(calls[2*i+1].Wait(ctx))
		if set.Stat.Version != int32(i+1) || string(get.Data) != fmt.Sprint(i) || set.Zxid <= last {
			t.Fatalf("call %d: %+v, %q, after zxid %d", i, set, get.Data, last)
		}
		last = set.Zxid
	}
}

func TestWatches(t *testing.T) {
	s := fakezk.Start(t)
	ctx := context30(t)
	c := dial(t, client.Options{}, s.Addr)
	other := dial(t, client.Options{}, s.Addr)

	exists, err := c.ExistsW(ctx, "/w")
	want(t, err, zkerr.NoNode)
	root := must(t, "children")(c.ChildrenW(ctx, "/"))
	below := must(t, "addWatch")(c.AddWatch(ctx, "/w", client.PersistentRecursiveWatch)).Watch
	exact := must(t, "addWatch")(c.AddWatch(ctx, "/w", client.PersistentWatch)).Watch

	r := must(t, "create")(other.Create(ctx, "/w", []byte("1"), client.Persistent))
	expect(t, exists.Event, client.Event{Type: client.NodeCreated, State: client.Connected, Path: "/w", Zxid: r.Zxid})
	expect(t, root.Event, client.Event{Type: client.NodeChildrenChanged, State: client.Connected, Path: "/", Zxid: r.Zxid})

	get := must(t, "get")(c.GetW(ctx, "/w"))
	must(t, "own write")(c.Set(ctx, "/w", []byte("2"), -1))
	// The event came before the reply of the write, so it needs no waiting for.
	select {
	case e, ok := <-get.Event:
		if !ok || e.Type != client.NodeDataChanged {
			t.Fatalf("event %+v", e)
		}
	default:
		t.Fatal("the event of an own write was not there with its reply")
	}
	if _, ok := <-get.Event; ok {
		t.Fatal("a watch of one shot has fired twice")
	}

	kids := must(t, "children")(c.ChildrenW(ctx, "/w"))
	must(t, "create")(c.Create(ctx, "/w/k", nil, client.Persistent))
	must(t, "delete")(c.Delete(ctx, "/w/k", -1))
	must(t, "delete")(c.Delete(ctx, "/w", -1))
	expect(t, kids.Event, client.Event{Type: client.NodeChildrenChanged, State: client.Connected, Path: "/w", Zxid: 0})

	// Two watches on one path share what the server sends. The fake sends by the mode last set.
	var types []string
	for _, e := range exact.Take() {
		types = append(types, e.Type.String()+" "+e.Path)
	}
	if got := strings.Join(types, ", "); got != "NodeCreated /w, NodeDataChanged /w, NodeChildrenChanged /w, NodeChildrenChanged /w, NodeDeleted /w" {
		t.Fatalf("persistent watch saw %s", got)
	}
	for _, e := range below.Take() {
		if e.Type == client.NodeChildrenChanged {
			t.Fatalf("a recursive watch saw %+v", e)
		}
	}

	must(t, "removeWatches")(c.RemoveWatches(ctx, "/w", client.WatcherAny))
	_, err = exact.Next(ctx)
	want(t, err, zkerr.NoWatcher)
	_, err = c.RemoveWatches(ctx, "/w", client.WatcherAny)
	want(t, err, zkerr.NoWatcher)
}

// expect takes one event from a watch of one shot; a zxid of 0 stands for any.
func expect(t testing.TB, ch <-chan client.Event, want client.Event) {
	t.Helper()
	select {
	case got := <-ch:
		if want.Zxid == 0 {
			want.Zxid = got.Zxid
		}
		if got != want {
			t.Fatalf("event %+v, want %+v", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("no event, want %+v", want)
	}
}

// A broken connection costs the requests on it, and nothing else: session, ephemerals, identities
// and watches are there on the next one, and what happened meanwhile is told.
func TestReconnect(t *testing.T) {
	s := fakezk.Start(t)
	ctx := context30(t)
	c := dial(t, client.Options{}, s.Addr)
	other := dial(t, client.Options{}, s.Addr)
	if err := c.AddAuth(ctx, "digest", []byte("joe:pw")); err != nil {
		t.Fatal(err)
	}
	must(t, "create")(c.Create(ctx, "/d", nil, client.Persistent))
	must(t, "create")(c.Create(ctx, "/e", nil, client.Ephemeral))
	data := must(t, "get")(c.GetW(ctx, "/d"))
	kept := must(t, "get")(c.GetW(ctx, "/e"))
	exists, _ := c.ExistsW(ctx, "/x")
	child := must(t, "children")(c.ChildrenW(ctx, "/d"))
	lasting := must(t, "addWatch")(c.AddWatch(ctx, "/d", client.PersistentWatch)).Watch
	before := c.Session()

	s.Refuse(true)
	for _, c := range []*client.Client{c, other} {
		if err := c.WaitState(ctx, client.Disconnected); err != nil {
			t.Fatal(err)
		}
	}
	waiting := c.Start(client.GetOp{Path: "/d"})
	select {
	case <-waiting.Done():
		t.Fatal("a request made without a connection did not wait for one")
	case <-time.After(50 * time.Millisecond):
	}
	s.Refuse(false)
	if err := other.WaitConnected(ctx); err != nil {
		t.Fatal(err)
	}
	must(t, "set")(other.Set(ctx, "/d", []byte("2"), -1))
	must(t, "create")(other.Create(ctx, "/x", nil, client.Persistent))
	must(t, "create")(other.Create(ctx, "/d/k", nil, client.Persistent))
	must(t, "waiting request")(waiting.Wait(ctx))

	if after := c.Session(); after.ID != before.ID {
		t.Fatalf("session 0x%x became 0x%x", before.ID, after.ID)
	}
	must(t, "ephemeral")(c.Exists(ctx, "/e"))
	expectType(t, data.Event, client.NodeDataChanged)
	expectType(t, exists.Event, client.NodeCreated)
	expectType(t, child.Event, client.NodeChildrenChanged)
	must(t, "set")(other.Set(ctx, "/e", []byte("2"), -1))
	expectType(t, kept.Event, client.NodeDataChanged)
	must(t, "set")(other.Set(ctx, "/d", []byte("3"), -1))
	for {
		e, err := lasting.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == client.NodeDataChanged {
			break
		}
	}
	if r := must(t, "who am I")(c.Do(ctx, client.WhoAmIOp{})); len(r.Users) != 2 {
		t.Fatalf("after the reconnection the server knows %v", r.Users)
	}
}

func expectType(t testing.TB, ch <-chan client.Event, want client.EventType) {
	t.Helper()
	select {
	case got := <-ch:
		if got.Type != want {
			t.Fatalf("event %+v, want %v", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("no event, want %v", want)
	}
}

// A client with no watches that old servers do not know speaks to them in words that they do.
func TestSetWatchesForOldServers(t *testing.T) {
	s := fakezk.Start(t)
	ctx := context30(t)
	c := dial(t, client.Options{}, s.Addr)
	for i := range 9000 {
		c.Start(client.ExistsOp{Path: fmt.Sprintf("/a-path-of-some-length-%d", i), Watch: true})
	}
	must(t, "sync")(c.Sync(ctx, "/"))
	s.Seen()
	s.Break()
	must(t, "sync")(retry(ctx, c))
	frames := 0
	for _, op := range s.Seen() {
		switch op {
		case proto.OpSetWatches:
			frames++
		case proto.OpSetWatches2:
			t.Fatal("setWatches2 without persistent watches")
		}
	}
	if frames < 2 {
		t.Fatalf("9000 watches in %d frames", frames)
	}
	must(t, "create")(c.Create(ctx, "/a-path-of-some-length-8999", nil, client.Persistent))
}

// retry syncs until a connection carries it through.
func retry(ctx context.Context, c *client.Client) (client.Reply, error) {
	for {
		r, err := c.Sync(ctx, "/")
		if !errors.Is(err, zkerr.ConnectionLoss) || ctx.Err() != nil {
			return r, err
		}
	}
}

func TestExpiry(t *testing.T) {
	s := fakezk.Start(t)
	ctx := context30(t)
	var mu sync.Mutex
	var states []client.State
	c := dial(t, client.Options{OnEvent: func(e client.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Type == client.None {
			states = append(states, e.State)
		}
	}}, s.Addr)
	must(t, "create")(c.Create(ctx, "/e", nil, client.Ephemeral))
	r := must(t, "get")(c.GetW(ctx, "/e"))
	w := must(t, "addWatch")(c.AddWatch(ctx, "/e", client.PersistentWatch)).Watch
	s.Expire(c.Session().ID)
	if err := c.WaitState(ctx, client.Expired); err != nil {
		t.Fatal(err)
	}
	if e := <-r.Event; e.Type != client.None && e.Type != client.NodeDeleted {
		t.Fatalf("watch of an expired session: %+v", e)
	}
	for {
		_, err := w.Next(ctx)
		if err != nil {
			want(t, err, zkerr.SessionExpired)
			break
		}
	}
	_, err := c.Get(ctx, "/e")
	want(t, err, zkerr.SessionExpired)
	want(t, c.WaitConnected(ctx), zkerr.SessionExpired)
	if err := c.Close(ctx); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(states, []client.State{client.Connected, client.Disconnected, client.Expired}) {
		t.Fatalf("states %v", states)
	}
}

func TestResumeSession(t *testing.T) {
	s := fakezk.Start(t)
	ctx := context30(t)
	c := dial(t, client.Options{}, s.Addr)
	must(t, "create")(c.Create(ctx, "/e", nil, client.Ephemeral))
	session, zxid := c.Session(), c.LastZxid()
	c.Abandon()
	if !s.Open(session.ID) {
		t.Fatal("Abandon has closed the session")
	}
	again := dial(t, client.Options{Session: &session, LastZxid: zxid, OmitReadOnly: true}, s.Addr)
	if got := must(t, "exists")(again.Exists(ctx, "/e")); got.Stat.EphemeralOwner != session.ID || again.Session().ID != session.ID {
		t.Fatalf("owner 0x%x, session 0x%x, was 0x%x", got.Stat.EphemeralOwner, again.Session().ID, session.ID)
	}
	session.Password = []byte("wrong password!!")
	_, err := client.Dial(ctx, []string{s.Addr}, patience, client.Options{Session: &session})
	want(t, err, zkerr.SessionExpired)
}

func TestAuthFailed(t *testing.T) {
	s := fakezk.Start(t)
	ctx := context30(t)
	c := dial(t, client.Options{}, s.Addr)
	want(t, c.AddAuth(ctx, "nonsense", nil), zkerr.AuthFailed)
	_, err := c.Get(ctx, "/")
	want(t, err, zkerr.AuthFailed)
}

func TestChroot(t *testing.T) {
	s := fakezk.Start(t)
	ctx := context30(t)
	plain := dial(t, client.Options{}, s.Addr)
	must(t, "create")(plain.Create(ctx, "/app", nil, client.Persistent))
	c := dial(t, client.Options{}, s.Addr+"/app")
	r := must(t, "children")(c.ChildrenW(ctx, "/"))
	if got := must(t, "create")(c.Create(ctx, "/x", nil, client.Persistent)); got.Path != "/x" {
		t.Fatalf("path %q", got.Path)
	}
	expect(t, r.Event, client.Event{Type: client.NodeChildrenChanged, State: client.Connected, Path: "/"})
	if got := must(t, "create")(c.Create(ctx, "/", nil, client.PersistentSequential)); got.Path != "/0000000001" {
		t.Fatalf("path %q", got.Path)
	}
	must(t, "get")(plain.Get(ctx, "/app/x"))
	must(t, "get")(plain.Get(ctx, "/app/0000000001"))
}

func TestServerList(t *testing.T) {
	s := fakezk.Start(t)
	dead := fakezk.Start(t)
	dead.Refuse(true)
	ctx := context30(t)
	c := dial(t, client.Options{InOrder: true}, dead.Addr, s.Addr)
	if c.Server() != s.Addr {
		t.Fatalf("connected to %q", c.Server())
	}
	must(t, "get")(c.Get(ctx, "/"))

	alone, err := client.Open([]string{dead.Addr}, patience, client.Options{FailFast: true})
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Abandon()
	_, err = alone.Get(ctx, "/")
	want(t, err, zkerr.ConnectionLoss)

	if _, err := client.Open(nil, patience, client.Options{}); err == nil {
		t.Fatal("no servers were accepted")
	}
	if _, err := client.Open([]string{"h/bad//chroot"}, patience, client.Options{}); err == nil {
		t.Fatal("a bad chroot was accepted")
	}
}

// A request whose context ends does not disturb those behind it.
func TestContext(t *testing.T) {
	s := fakezk.Start(t)
	c := dial(t, client.Options{}, s.Addr)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Start(client.GetOp{Path: "/"}).Wait(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	must(t, "get")(c.Get(context30(t), "/"))
}

// An idle client keeps its session by pings.
func TestHeartbeat(t *testing.T) {
	s := fakezk.Start(t)
	ctx := context30(t)
	c, err := client.Dial(ctx, []string{s.Addr}, 300*time.Millisecond, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Abandon()
	for pings := 0; pings < 3; {
		if ctx.Err() != nil {
			t.Fatalf("%d pings", pings)
		}
		for _, op := range s.Seen() {
			if op == proto.OpPing {
				pings++
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestCheckPath(t *testing.T) {
	for path, want := range map[string]string{
		"":             "Path length must be > 0",
		"a":            "Path must start with / character",
		"/":            "",
		"/a":           "",
		"/a/":          "Path must not end with / character",
		"/a//b":        `Invalid path string "/a//b" caused by empty node name specified @3`,
		"/a/./b":       `Invalid path string "/a/./b" caused by relative paths not allowed @3`,
		"/a/..":        `Invalid path string "/a/.." caused by relative paths not allowed @4`,
		"/a/..b":       "",
		"/a/b..":       "",
		"/a/...":       "",
		"/.a":          "",
		"/a\x00":       "Invalid path string \"/a\x00\" caused by null character not allowed @2",
		"/a\x1fb":      "Invalid path string \"/a\x1fb\" caused by invalid character @2",
		"/é/b":         "",
		"/a\U0001F600": "Invalid path string \"/a\U0001F600\" caused by invalid character @2",
	} {
		got := ""
		if err := client.CheckPath(path); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}
