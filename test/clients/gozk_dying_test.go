package clients

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/zkcore/zkcore/test/harness"
)

// A crew is four sessions on three servers. The first ones, two at least, are on the server that will die.
type crew struct {
	t      *testing.T
	e      *harness.Ensemble
	all    []*session
	victim *harness.Server
	hurt   int
	done   []atomic.Int32 // turns of each
}

const crewSize = 4

func newCrew(t *testing.T, e *harness.Ensemble) *crew {
	t.Helper()
	c := &crew{t: t, e: e, done: make([]atomic.Int32, crewSize)}
	at := make(map[*harness.Server][]*session)
	for range crewSize {
		s := dial(t, e.Addrs(), 20*time.Second)
		at[s.server(t, e)] = append(at[s.server(t, e)], s)
	}
	for server, some := range at {
		if len(some) > c.hurt {
			c.victim, c.hurt = server, len(some)
		}
	}
	c.all = at[c.victim]
	delete(at, c.victim)
	for _, some := range at {
		c.all = append(c.all, some...)
	}
	return c
}

// work repeats step for each of them until the server has died and come back, and each had turns before, meanwhile
// and after.
func (c *crew) work(step func(i int) error) {
	c.t.Helper()
	var wg sync.WaitGroup
	stop, failed := make(chan struct{}), make(chan error, crewSize)
	for i := range crewSize {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := step(i); err != nil {
					failed <- fmt.Errorf("%d: %w", i, err)
					return
				}
				c.done[i].Add(1)
			}
		})
	}
	turns := func(when string, more int32) {
		c.t.Helper()
		want := make([]int32, crewSize)
		for i := range want {
			want[i] = c.done[i].Load() + more
		}
		end := time.Now().Add(harness.Patience)
		for i := 0; i < crewSize; {
			if c.done[i].Load() >= want[i] {
				i++
				continue
			}
			select {
			case err := <-failed:
				c.t.Fatal(when, err)
			case <-time.After(10 * time.Millisecond):
			}
			if time.Now().After(end) {
				c.t.Fatalf("%s: %d takes no turns", when, i)
			}
		}
	}
	defer func() {
		close(stop)
		ended := make(chan struct{})
		go func() {
			wg.Wait()
			close(ended)
		}()
		select {
		case <-ended:
		case err := <-failed:
			c.t.Error("at last", err)
		case <-time.After(harness.Patience):
			c.t.Error("somebody hangs")
		}
	}()
	turns("before", 10)
	c.victim.Kill9()
	turns("without the server", 10)
	for i, s := range c.all[:c.hurt] {
		if s.dialed() == 1 {
			c.t.Errorf("%d was on the server that died, and lost no connection", i)
		}
	}
	c.victim.Restart()
	c.e.Await()
	turns("with all servers", 5)
}

func (c *crew) turns() int {
	n := 0
	for i := range c.done {
		n += int(c.done[i].Load())
	}
	return n
}

func lost(err error) bool {
	return errors.Is(err, zk.ErrConnectionClosed) || errors.Is(err, zk.ErrNoServer) || errors.Is(err, zk.ErrClosing)
}

// go-zookeeper's recipes in an ensemble, while the server of two of their users dies and comes back.
func TestGoZKDying(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{Servers: 3})

	t.Run("lock", func(t *testing.T) {
		c := newCrew(t, e)
		must[string](t)(c.all[0].Create("/count", []byte("0"), 0, open))
		sessions := slices.Clone(c.all)
		var inside atomic.Int32
		c.work(func(i int) error {
			l, err := lockSurely(t, e, &sessions[i])
			if err != nil {
				return err
			}
			if n := inside.Add(1); n != 1 {
				return fmt.Errorf("%d have the lock", n)
			}
			if err := count(t, sessions[i]); err != nil {
				return err
			}
			inside.Add(-1)
			err = retry(t, l.Unlock)
			if errors.Is(err, zk.ErrNoNode) { // a call before it did it
				return nil
			}
			return err
		})
		last := dial(t, e.Addrs(), 20*time.Second)
		must[string](t)(last.Sync("/"))
		data, _, err := last.Get("/count")
		if err != nil || string(data) != strconv.Itoa(c.turns()) {
			t.Fatalf("%s for %d turns, %v", data, c.turns(), err)
		}
	})

	t.Run("protected", func(t *testing.T) {
		c := newCrew(t, e)
		must[string](t)(c.all[0].Create("/protected", nil, 0, open))
		var mu sync.Mutex
		made := make(map[string]bool)
		c.work(func(i int) error {
			p, err := c.all[i].CreateProtectedEphemeralSequential("/protected/n-", nil, open)
			if lost(err) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			if made[p] {
				return fmt.Errorf("%s was made twice", p)
			}
			made[p] = true
			return err
		})
		must[string](t)(c.all[3].Sync("/"))
		kids, _, err := c.all[3].Children("/protected")
		if err != nil {
			t.Fatal(err)
		}
		extra, losses := 0, 0
		for _, k := range kids {
			if p := "/protected/" + k; made[p] {
				delete(made, p)
			} else {
				extra++
			}
		}
		for _, s := range c.all {
			losses += s.dialed() - 1
		}
		if len(made) > 0 {
			t.Errorf("made and gone: %v", made)
		}
		// The library looks for what it was not told of once, on a server that may be behind.
		if extra > losses {
			t.Errorf("%d were made that nobody knows, with %d lost connections", extra, losses)
		}
	})
}

// lockSurely takes the lock, and begins a new session when the connection is lost before it has it: go-zookeeper's Lock
// gives up then, or makes a second node, and only the end of the session removes what it leaves in the line.
func lockSurely(t *testing.T, e *harness.Ensemble, s **session) (*zk.Lock, error) {
	for {
		l := zk.NewLock((*s).Conn, "/line", open)
		dials, got := (*s).dialed(), make(chan error, 1)
		go func() { got <- l.Lock() }()
		for waits := true; waits; {
			select {
			case err := <-got:
				if err == nil && (*s).dialed() == dials {
					return l, nil
				}
				if err != nil && !lost(err) {
					return nil, err
				}
				waits = false
			case <-time.After(20 * time.Millisecond):
				waits = (*s).dialed() == dials
			}
		}
		if err := retry(t, func() error { _, _, err := (*s).Exists("/line"); return err }); err != nil { // connected, so that Close is heard
			return nil, err
		}
		(*s).Close()
		*s = dial(t, e.Addrs(), 20*time.Second)
	}
}

// count reads and writes /count in two steps, which loses counts unless the lock holds.
func count(t *testing.T, s *session) error {
	var n int
	if err := retry(t, func() error {
		data, _, err := s.Get("/count")
		if err == nil {
			n, err = strconv.Atoi(string(data))
		}
		return err
	}); err != nil {
		return err
	}
	return retry(t, func() error { _, err := s.Set("/count", []byte(strconv.Itoa(n+1)), -1); return err })
}
