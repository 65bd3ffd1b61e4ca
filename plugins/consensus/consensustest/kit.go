package consensustest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// Patience is how long a test waits for what must come.
const Patience = 60 * time.Second

// A Cluster is an ensemble on loopback, or one standalone server, as tests need it.
type Cluster struct {
	t       testing.TB
	open    consensus.Open
	dir     string
	servers []consensus.Server
	text    string
	log     *lines

	// Options are what members are opened with from then on.
	Options map[string]string
	// Tick, InitLimit and SyncLimit likewise.
	Tick                 time.Duration
	InitLimit, SyncLimit int

	// Damaged are servers whose node finds its snapshots damaged when it recovers next.
	Damaged map[consensus.ServerID]bool

	Nodes   map[consensus.ServerID]*Node
	Members map[consensus.ServerID]consensus.Member
}

// NewCluster makes a cluster of so many voters and observers, none of them running. With
// no voters it is one standalone server with id 1.
func NewCluster(t testing.TB, open consensus.Open, voters, observers int) *Cluster {
	c := &Cluster{t: t, open: open, dir: t.TempDir(), log: new(lines), Options: map[string]string{},
		// No machine is so busy that a member gives up its leader for that, or its leadership.
		Tick: 200 * time.Millisecond, InitLimit: 150, SyncLimit: 100,
		Nodes: map[consensus.ServerID]*Node{}, Members: map[consensus.ServerID]consensus.Member{}}
	var text strings.Builder
	ports := freePorts(t, 2*(voters+observers))
	for i := range voters + observers {
		s := consensus.Server{ID: consensus.ServerID(i + 1), Observer: i >= voters, Weight: 1,
			Quorum: []string{ports[2*i]}, Election: []string{ports[2*i+1]}}
		c.servers = append(c.servers, s)
		role := "participant"
		if s.Observer {
			role = "observer"
		}
		_, electionPort, _ := net.SplitHostPort(ports[2*i+1])
		fmt.Fprintf(&text, "server.%d=%s:%s:%s\n", s.ID, ports[2*i], electionPort, role)
	}
	if len(c.servers) > 0 {
		c.text = text.String() + "version=0"
	}
	t.Cleanup(func() {
		for id := range c.Members {
			c.Stop(id)
		}
		if t.Failed() {
			t.Log(c.log.tail(20000))
		}
	})
	return c
}

// Dir is where a server has its data.
func (c *Cluster) Dir(id consensus.ServerID) string { return filepath.Join(c.dir, fmt.Sprint(id)) }

// IDs are the ids of all servers.
func (c *Cluster) IDs() []consensus.ServerID {
	if len(c.servers) == 0 {
		return []consensus.ServerID{1}
	}
	var ids []consensus.ServerID
	for _, s := range c.servers {
		ids = append(ids, s.ID)
	}
	return ids
}

// Config is what a server is opened with.
func (c *Cluster) Config(id consensus.ServerID) consensus.Config {
	return consensus.Config{
		ID: id, Servers: c.servers, ConfigText: c.text,
		Tick: c.Tick, InitLimit: c.InitLimit, SyncLimit: c.SyncLimit,
		DataDir: c.Dir(id), LogDir: c.Dir(id), Options: c.Options,
		Log: slog.New(slog.NewTextHandler(c.log, nil)).With("server", id),
		Fail: func(code int, err error) {
			c.t.Errorf("server %d: Fail(%d, %v)", id, code, err)
			select {} // it does not return
		},
	}
}

// Start opens a server's member.
func (c *Cluster) Start(id consensus.ServerID) {
	c.t.Helper()
	if err := c.TryStart(id); err != nil {
		c.t.Fatalf("server %d: %v", id, err)
	}
}

// TryStart is Start where the error matters.
func (c *Cluster) TryStart(id consensus.ServerID) error {
	if err := os.MkdirAll(filepath.Join(c.Dir(id), "version-2"), 0o755); err != nil {
		return err
	}
	n := NewNode(c.Dir(id), func(what string) { c.t.Errorf("server %d: %s", id, what) })
	// Nobody may call the member before the node knows it.
	n.mu.Lock()
	n.opening = true
	n.damaged = c.Damaged[id]
	n.mu.Unlock()
	m, err := c.open(c.Config(id), n)
	n.mu.Lock()
	n.member, n.opening = m, false
	n.changed.Broadcast()
	n.mu.Unlock()
	if err != nil {
		return err
	}
	c.Nodes[id], c.Members[id] = n, m
	return nil
}

// StartAll starts all servers.
func (c *Cluster) StartAll() {
	c.t.Helper()
	for _, id := range c.IDs() {
		c.Start(id)
	}
}

// Stop closes a server's member. From then on it must not call its node.
func (c *Cluster) Stop(id consensus.ServerID) {
	c.t.Helper()
	m := c.Members[id]
	if m == nil {
		return
	}
	if err := m.Close(); err != nil {
		c.t.Errorf("server %d: Close: %v", id, err)
	}
	delete(c.Members, id)
	n := c.Nodes[id]
	calls := n.State().Calls
	c.t.Cleanup(func() {
		if s := n.State(); s.Calls != calls {
			c.t.Errorf("server %d: its node was called after Close", id)
		}
	})
	if s := n.State(); s.Pinned != 0 {
		c.t.Errorf("server %d: %d snapshots were not closed", id, s.Pinned)
	}
}

// Wait waits until ok holds.
func (c *Cluster) Wait(what string, ok func() bool) {
	c.t.Helper()
	if !eventually(ok) {
		for id, n := range c.Nodes {
			s := n.State()
			c.t.Logf("server %d: %v, last %v, %d txns", id, s.Role, s.Last, s.Count)
		}
		c.t.Fatalf("waited in vain: %s", what)
	}
}

func eventually(ok func() bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			return ok()
		case <-time.After(2 * time.Millisecond):
		}
	}
	return true
}

// Leader waits until one of the running servers leads and all others follow or observe
// it, and returns its id.
func (c *Cluster) Leader() consensus.ServerID {
	c.t.Helper()
	var leader consensus.ServerID
	c.Wait("one leader, and everybody with it", func() bool {
		leader = 0
		for id := range c.Members {
			if c.Nodes[id].State().Role.State == consensus.Leading {
				leader = id
			}
		}
		if leader == 0 {
			return false
		}
		epoch := c.Nodes[leader].State().Role.Epoch
		for id := range c.Members {
			r := c.Nodes[id].State().Role
			if r.State == consensus.Looking || r.Leader != leader || r.Epoch != epoch {
				return false
			}
		}
		return true
	})
	return leader
}

// Write makes the leader propose k txns and waits until it has them back.
func (c *Cluster) Write(k int) consensus.Zxid {
	c.t.Helper()
	for {
		id := c.Leader()
		z, err := c.Nodes[id].Propose(k, 1, 1, 20)
		if errors.Is(err, consensus.ErrNotNow) {
			continue
		}
		if err != nil {
			c.t.Fatal(err)
		}
		c.Delivered(id, z)
		return z
	}
}

// Delivered waits until a server has z.
func (c *Cluster) Delivered(id consensus.ServerID, z consensus.Zxid) {
	c.t.Helper()
	c.Wait(fmt.Sprintf("server %d has %v", id, z), func() bool { return c.Nodes[id].State().Last >= z })
}

// Agree waits until all running servers have z, and checks that their states are equal.
func (c *Cluster) Agree(z consensus.Zxid) {
	c.t.Helper()
	var first State
	for id := range c.Members {
		c.Delivered(id, z)
		s := c.Nodes[id].State()
		if first.Last == 0 {
			first = s
		} else if s.Last == first.Last && (s.Digest != first.Digest || s.Count != first.Count) {
			c.t.Errorf("the states at %v differ: digest %x of %d txns, and %x of %d", s.Last, first.Digest, first.Count, s.Digest, s.Count)
		}
	}
}

// lines keeps the log for a test that fails.
type lines struct {
	mu sync.Mutex
	b  []byte
}

var _ io.Writer = (*lines)(nil)

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, b...)
	return len(b), nil
}

func (l *lines) tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b[max(0, len(l.b)-n):])
}
