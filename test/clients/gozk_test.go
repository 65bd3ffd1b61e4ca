package clients

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/zkcore/zkcore/test/harness"
)

// A session is a go-zookeeper connection that a test can cut.
type session struct {
	*zk.Conn

	mu    sync.Mutex
	conn  net.Conn
	dials int // that reached a server
	dead  bool
}

// dial connects, and waits for the session. It is closed with the test.
func dial(t testing.TB, addrs []string, timeout time.Duration) *session {
	t.Helper()
	s := &session{}
	c, events, err := zk.Connect(addrs, timeout, zk.WithLogger(quiet{}), zk.WithDialer(s.dial))
	if err != nil {
		t.Fatal(err)
	}
	s.Conn = c
	t.Cleanup(c.Close)
	patience := time.After(harness.Patience)
	for {
		select {
		case ev := <-events:
			if ev.State == zk.StateHasSession {
				return s
			}
		case <-patience:
			t.Fatalf("no session after %v", harness.Patience)
		}
	}
}

func (s *session) dial(network, addr string, timeout time.Duration) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return nil, errors.New("dead")
	}
	c, err := net.DialTimeout(network, addr, timeout)
	s.conn = c
	if err == nil {
		s.dials++
	}
	return c, err
}

// dialed returns how often it was connected to a server: once, and again after each loss.
func (s *session) dialed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials
}

// die makes the client vanish as a machine without power does: nothing is closed in order, and it
// never comes back.
func (s *session) die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
	if s.conn != nil {
		s.conn.Close()
	}
}

// server is the one that the session is connected to.
func (s *session) server(t testing.TB, e *harness.Ensemble) *harness.Server {
	t.Helper()
	_, port, err := net.SplitHostPort(s.Server())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return e.ByPort(n)
}

// others are the addresses of all servers but one.
func others(e *harness.Ensemble, but *harness.Server) []string {
	return slices.DeleteFunc(e.Addrs(), func(a string) bool { return a == but.Addr() })
}

// retry repeats f as long as the connection is lost under it.
func retry(t testing.TB, f func() error) error {
	t.Helper()
	end := time.Now().Add(harness.Patience)
	for {
		err := f()
		if !errors.Is(err, zk.ErrConnectionClosed) && !errors.Is(err, zk.ErrNoServer) {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("still after %v: %w", harness.Patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// quiet drops what the library logs of lost connections: the tests cut them on purpose.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

var open = zk.WorldACL(zk.PermAll)

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantErr(t testing.TB, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("error %v, want %v", got, want)
	}
}

// next waits for an event.
func next(t testing.TB, ch <-chan zk.Event, typ zk.EventType, path string) {
	t.Helper()
	select {
	case ev := <-ch:
		if ev.Type != typ || ev.Path != path {
			t.Fatalf("event %v %s (%v), want %v %s", ev.Type, ev.Path, ev.Err, typ, path)
		}
	case <-time.After(harness.Patience):
		t.Fatalf("no event %v %s", typ, path)
	}
}

// go-zookeeper's calls and recipes, on one server.
func TestGoZK(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{})
	addrs := e.Addrs()

	t.Run("nodes", func(t *testing.T) {
		c := dial(t, addrs, 10*time.Second)
		if p := must[string](t)(c.Create("/n", []byte("one"), 0, open)); p != "/n" {
			t.Fatal(p)
		}
		_, err := c.Create("/n", nil, 0, open)
		wantErr(t, err, zk.ErrNodeExists)
		_, err = c.Create("/none/x", nil, 0, open)
		wantErr(t, err, zk.ErrNoNode)
		data, st, err := c.Get("/n")
		if err != nil || string(data) != "one" || st.Version != 0 || st.DataLength != 3 {
			t.Fatal(string(data), st, err)
		}
		st = must[*zk.Stat](t)(c.Set("/n", []byte("two"), 0))
		if st.Version != 1 || st.Mzxid <= st.Czxid {
			t.Fatal(st)
		}
		_, err = c.Set("/n", nil, 0)
		wantErr(t, err, zk.ErrBadVersion)
		if ok, _, err := c.Exists("/none"); ok || err != nil {
			t.Fatal(ok, err)
		}
		for i, flags := range []int32{zk.FlagSequence, zk.FlagSequence | zk.FlagEphemeral} {
			want := fmt.Sprintf("/n/s-%010d", i)
			if p := must[string](t)(c.Create("/n/s-", nil, flags, open)); p != want {
				t.Fatalf("%s, want %s", p, want)
			}
		}
		kids, st, err := c.Children("/n")
		slices.Sort(kids)
		if err != nil || !slices.Equal(kids, []string{"s-0000000000", "s-0000000001"}) || st.NumChildren != 2 {
			t.Fatal(kids, st, err)
		}
		_, st, err = c.Exists("/n/s-0000000001")
		if err != nil || st.EphemeralOwner != c.SessionID() {
			t.Fatal(st, err)
		}
		wantErr(t, c.Delete("/n", -1), zk.ErrNotEmpty)
		wantErr(t, c.Delete("/n/s-0000000000", 3), zk.ErrBadVersion)
		wantErr(t, c.Delete("/none", -1), zk.ErrNoNode)
		if err := c.Delete("/n/s-0000000000", 0); err != nil {
			t.Fatal(err)
		}
		_, err = c.Create("/n/s-0000000001/x", nil, 0, open)
		wantErr(t, err, zk.ErrNoChildrenForEphemerals)
		must[string](t)(c.Sync("/n"))
		must[string](t)(c.CreateContainer("/container", nil, zk.FlagContainer, open))
		big := bytes.Repeat([]byte{7}, 900_000)
		must[string](t)(c.Create("/big", big, 0, open))
		if got, _, err := c.Get("/big"); err != nil || !bytes.Equal(got, big) {
			t.Fatal(len(got), err)
		}
	})

	t.Run("watches", func(t *testing.T) {
		a, b := dial(t, addrs, 10*time.Second), dial(t, addrs, 10*time.Second)
		_, _, made, err := a.ExistsW("/w")
		if err != nil {
			t.Fatal(err)
		}
		must[string](t)(b.Create("/w", []byte("0"), 0, open))
		next(t, made, zk.EventNodeCreated, "/w")
		_, _, changed, err := a.GetW("/w")
		if err != nil {
			t.Fatal(err)
		}
		_, _, kids, err := a.ChildrenW("/w")
		if err != nil {
			t.Fatal(err)
		}
		must[*zk.Stat](t)(b.Set("/w", []byte("1"), -1))
		next(t, changed, zk.EventNodeDataChanged, "/w")
		must[string](t)(b.Create("/w/k", nil, 0, open))
		next(t, kids, zk.EventNodeChildrenChanged, "/w")
		_, _, gone, err := a.GetW("/w/k")
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Delete("/w/k", -1); err != nil {
			t.Fatal(err)
		}
		next(t, gone, zk.EventNodeDeleted, "/w/k")
	})

	t.Run("multi", func(t *testing.T) {
		c := dial(t, addrs, 10*time.Second)
		res, err := c.Multi(
			&zk.CreateRequest{Path: "/m", Data: []byte("0"), Acl: open},
			&zk.CreateRequest{Path: "/m/s-", Acl: open, Flags: zk.FlagSequence},
			&zk.SetDataRequest{Path: "/m", Data: []byte("1"), Version: 0},
			&zk.CheckVersionRequest{Path: "/m", Version: 1},
			&zk.DeleteRequest{Path: "/m/s-0000000000", Version: -1},
		)
		if err != nil || len(res) != 5 || res[1].String != "/m/s-0000000000" || res[2].Stat.Version != 1 {
			t.Fatal(res, err)
		}
		res, err = c.Multi(
			&zk.CreateRequest{Path: "/m/x", Acl: open},
			&zk.CheckVersionRequest{Path: "/m", Version: 9},
			&zk.DeleteRequest{Path: "/m", Version: -1},
		)
		wantErr(t, err, zk.ErrBadVersion)
		if len(res) != 3 || res[0].Error != nil || !errors.Is(res[1].Error, zk.ErrBadVersion) {
			t.Fatalf("%+v", res)
		}
		if ok, _, err := c.Exists("/m/x"); ok || err != nil {
			t.Fatal("a part of a failed multi was applied", err)
		}
	})

	t.Run("auth", func(t *testing.T) {
		a, b := dial(t, addrs, 10*time.Second), dial(t, addrs, 10*time.Second)
		if err := a.AddAuth("digest", []byte("user:password")); err != nil {
			t.Fatal(err)
		}
		must[string](t)(a.Create("/auth", nil, 0, zk.AuthACL(zk.PermAll)))
		_, _, err := b.Get("/auth")
		wantErr(t, err, zk.ErrNoAuth)
		acl, _, err := a.GetACL("/auth")
		if err != nil || !slices.Equal(acl, zk.DigestACL(zk.PermAll, "user", "password")) {
			t.Fatal(acl, err)
		}
		if err := b.AddAuth("digest", []byte("user:password")); err != nil {
			t.Fatal(err)
		}
		must[*zk.Stat](t)(b.SetACL("/auth", zk.WorldACL(zk.PermRead), 0))
		_, err = a.Set("/auth", nil, -1)
		wantErr(t, err, zk.ErrNoAuth)
		_, err = a.SetACL("/auth", nil, -1)
		wantErr(t, err, zk.ErrInvalidACL)
	})

	t.Run("lock", func(t *testing.T) {
		const clients, turns = 4, 10
		must[string](t)(dial(t, addrs, 10*time.Second).Create("/lockcount", []byte("0"), 0, open))
		var wg sync.WaitGroup
		errs := make(chan error, clients)
		for range clients {
			c := dial(t, addrs, 10*time.Second)
			wg.Go(func() {
				for range turns {
					if err := countUnderLock(c.Conn); err != nil {
						errs <- err
						return
					}
				}
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			t.Error(err)
		}
		c := dial(t, addrs, 10*time.Second)
		data, _, err := c.Get("/lockcount")
		if err != nil || string(data) != strconv.Itoa(clients*turns) {
			t.Fatalf("%s, %v: the lock let two in", data, err)
		}
	})

	t.Run("protected", func(t *testing.T) {
		c := dial(t, addrs, 10*time.Second)
		p := must[string](t)(c.CreateProtectedEphemeralSequential("/protected-", nil, open))
		if ok, _, err := c.Exists(p); !ok || err != nil {
			t.Fatal(p, err)
		}
	})

	t.Run("close", func(t *testing.T) {
		a, b := dial(t, addrs, 10*time.Second), dial(t, addrs, 10*time.Second)
		must[string](t)(a.Create("/closes", nil, zk.FlagEphemeral, open))
		_, _, gone, err := b.ExistsW("/closes")
		if err != nil {
			t.Fatal(err)
		}
		a.Close()
		next(t, gone, zk.EventNodeDeleted, "/closes")
	})

	t.Run("expire", func(t *testing.T) {
		a, b := dial(t, addrs, 5*time.Second), dial(t, addrs, 10*time.Second)
		must[string](t)(a.Create("/expires", nil, zk.FlagEphemeral, open))
		ok, _, gone, err := b.ExistsW("/expires")
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		a.die()
		next(t, gone, zk.EventNodeDeleted, "/expires")
	})

	t.Run("words", func(t *testing.T) {
		c := dial(t, addrs, 10*time.Second)
		if ok := zk.FLWRuok(addrs, harness.Patience); !ok[0] {
			t.Fatal("ruok is not answered")
		}
		// The line of the connection that asks has no session; the library makes an error of it.
		for end := time.Now().Add(harness.Patience); ; time.Sleep(20 * time.Millisecond) {
			must[string](t)(c.Sync("/")) // until its first request, a session has no lcxid to be parsed
			cons, _ := zk.FLWCons(addrs, harness.Patience)
			if slices.ContainsFunc(cons[0].Clients, func(sc *zk.ServerClient) bool {
				// A ping that came between is its last operation for a moment.
				return sc.SessionID == c.SessionID() && sc.Timeout == 10_000 && sc.LastOperation == "SYNC"
			}) {
				break
			}
			if time.Now().After(end) {
				text, err := e.Servers[0].FourLetter("cons")
				t.Fatalf("session 0x%x is not found in cons (%v):\n%s", c.SessionID(), err, text)
			}
		}
		// The library parses the version line in the form that ZooKeeper 3.4 gave it, and Apache's
		// later servers don't: theirs fail here.
		if harness.Apache() {
			return
		}
		srvr, ok := zk.FLWSrvr(addrs, harness.Patience)
		if !ok || srvr[0].Mode != zk.ModeStandalone || srvr[0].NodeCount == 0 || srvr[0].BuildTime.IsZero() {
			t.Fatalf("srvr can't be parsed: %+v", srvr[0])
		}
	})
}

// countUnderLock reads and writes /lockcount in two steps, which loses counts unless the lock holds.
func countUnderLock(c *zk.Conn) error {
	l := zk.NewLock(c, "/lock/here", open)
	if err := l.Lock(); err != nil {
		return err
	}
	data, st, err := c.Get("/lockcount")
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(string(data))
	if err != nil {
		return err
	}
	if _, err := c.Set("/lockcount", []byte(strconv.Itoa(n+1)), st.Version); err != nil {
		return fmt.Errorf("somebody else was in: %w", err)
	}
	return l.Unlock()
}

// What becomes of go-zookeeper's sessions when servers of an ensemble die.
func TestGoZKServerDies(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{Servers: 3})
	addrs := e.Addrs()

	t.Run("session, ephemerals and watches", func(t *testing.T) {
		a := dial(t, addrs, 20*time.Second)
		id := a.SessionID()
		must[string](t)(a.Create("/kept", []byte("0"), 0, open))
		must[string](t)(a.Create("/kept/eph", nil, zk.FlagEphemeral, open))
		_, _, changed, err := a.GetW("/kept")
		if err != nil {
			t.Fatal(err)
		}
		_, _, kids, err := a.ChildrenW("/kept")
		if err != nil {
			t.Fatal(err)
		}
		_, _, made, err := a.ExistsW("/kept/later")
		if err != nil {
			t.Fatal(err)
		}
		_, _, meanwhile, err := a.GetW("/kept/eph")
		if err != nil {
			t.Fatal(err)
		}
		s := a.server(t, e)
		b := dial(t, others(e, s), 20*time.Second)
		s.Kill9()
		// It may come before the client is back, or after: its watch fires either way.
		if err := retry(t, func() error { _, err := b.Set("/kept/eph", []byte("x"), -1); return err }); err != nil {
			t.Fatal(err)
		}
		next(t, meanwhile, zk.EventNodeDataChanged, "/kept/eph")
		var st *zk.Stat
		if err := retry(t, func() (err error) { _, st, err = a.Exists("/kept/eph"); return err }); err != nil {
			t.Fatal(err)
		}
		if a.SessionID() != id || st.EphemeralOwner != id {
			t.Fatalf("session 0x%x, owner 0x%x, before 0x%x", a.SessionID(), st.EphemeralOwner, id)
		}
		if a.server(t, e) == s {
			t.Fatal("connected to a dead server")
		}
		must[*zk.Stat](t)(b.Set("/kept", []byte("1"), -1))
		next(t, changed, zk.EventNodeDataChanged, "/kept")
		must[string](t)(b.Create("/kept/later", nil, 0, open))
		next(t, made, zk.EventNodeCreated, "/kept/later")
		next(t, kids, zk.EventNodeChildrenChanged, "/kept")
		s.Start()
		e.Await()
	})

	t.Run("no write is lost or doubled", func(t *testing.T) {
		root := dial(t, addrs, 20*time.Second)
		must[string](t)(root.Create("/w", nil, 0, open))
		const writers = 4
		var (
			mu    sync.Mutex
			acked []string
			tried = make(map[string]bool)
			wg    sync.WaitGroup
			stop  = make(chan struct{})
		)
		for w := range writers {
			c := dial(t, addrs, 20*time.Second)
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					name := fmt.Sprintf("%d-%d", w, i)
					mu.Lock()
					tried[name] = true
					mu.Unlock()
					switch _, err := c.Create("/w/"+name, nil, 0, open); {
					case err == nil:
						mu.Lock()
						acked = append(acked, name)
						mu.Unlock()
					case errors.Is(err, zk.ErrNodeExists):
						t.Errorf("%s was made twice", name)
						return
					default: // lost with the connection: it may be there or not
						time.Sleep(10 * time.Millisecond)
					}
				}
			})
		}
		more := func(what string) {
			t.Helper()
			mu.Lock()
			from := len(acked)
			mu.Unlock()
			end := time.Now().Add(harness.Patience)
			for {
				mu.Lock()
				n := len(acked)
				mu.Unlock()
				if n >= from+100 {
					return
				}
				if time.Now().After(end) {
					t.Errorf("%s: no writes go through", what)
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		more("at first")
		leader := e.Leader()
		leader.Kill9()
		more("without the old leader")
		leader.Restart()
		more("with the old leader as a follower")
		close(stop)
		wg.Wait()
		for _, addr := range addrs {
			c := dial(t, []string{addr}, 20*time.Second)
			must[string](t)(c.Sync("/w"))
			kids, _, err := c.Children("/w")
			if err != nil {
				t.Fatal(err)
			}
			there := make(map[string]bool)
			for _, k := range kids {
				there[k] = true
				if !tried[k] {
					t.Errorf("%s has %s, which nobody wrote", addr, k)
				}
			}
			for _, name := range acked {
				if !there[name] {
					t.Errorf("%s lacks %s, which was acknowledged", addr, path.Join("/w", name))
				}
			}
		}
	})

	t.Run("lock", func(t *testing.T) {
		holder := dial(t, addrs, 20*time.Second)
		s := holder.server(t, e)
		rival := dial(t, others(e, s), 20*time.Second)
		held, want := zk.NewLock(holder.Conn, "/l", open), zk.NewLock(rival.Conn, "/l", open)
		if err := held.Lock(); err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() { got <- want.Lock() }()
		end := time.Now().Add(harness.Patience)
		for {
			if kids, _, err := holder.Children("/l"); err == nil && len(kids) == 2 {
				break
			}
			if time.Now().After(end) {
				t.Fatal("the rival does not queue")
			}
			time.Sleep(20 * time.Millisecond)
		}
		s.Kill9()
		if err := retry(t, func() error { _, _, err := holder.Get("/l"); return err }); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-got:
			t.Fatalf("the rival got the lock that is held (%v)", err)
		default:
		}
		if err := held.Unlock(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-got:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(harness.Patience):
			t.Fatal("the rival does not get the lock")
		}
		s.Restart()
	})
}
