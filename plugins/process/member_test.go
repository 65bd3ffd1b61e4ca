package process

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// A fakeMember leads at once, delivers what is proposed, and does what the session of a request
// or the epoch of a txn asks for. What the real ones do, the kit checks, in test/process.
type fakeMember struct {
	n     consensus.Node
	cfg   consensus.Config
	calls chan func() // of the node, one after the other

	delivered atomic.Int64 // bytes for which Deliver has returned
}

func openFakeMember(cfg consensus.Config, n consensus.Node) (consensus.Member, error) {
	if cfg.Options["refuse"] != "" {
		return nil, &consensus.ExitError{Code: consensus.ExitDamage, Err: consensus.ErrDamaged}
	}
	if _, err := n.Recover(1<<62 - 1); err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	m := &fakeMember{n: n, cfg: cfg, calls: make(chan func(), 1<<10)}
	cfg.Metrics.Add("proposals", 2)
	cfg.Metrics.Observe("latency", 1.5)
	cfg.Metrics.ObserveKey("latency_by", "me", 2.5)
	m.calls <- func() {
		n.Role(consensus.Role{State: consensus.Leading, Term: 1, Epoch: 1, Last: consensus.MakeZxid(1, 0), Standalone: true})
	}
	go func() {
		for call := range m.calls {
			call()
		}
	}()
	return m, nil
}

func (m *fakeMember) Propose(_ uint64, txns []consensus.Txn) error {
	switch string(txns[0].Data) {
	case "hole":
		return errors.New("a hole in the zxids")
	case "fail":
		m.cfg.Fail(consensus.ExitDisk, errors.New("a sync has failed"))
	case "restore":
		m.calls <- func() {
			broken := errors.New("the leader is gone")
			err := m.n.Restore(5, io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), &brokenReader{broken}))
			if errors.Is(err, broken) {
				m.n.Synced(77)
			}
			m.n.Deliver(txns)
		}
		return nil
	case "snapshot":
		m.calls <- func() {
			s, err := m.n.Snapshot()
			if err != nil {
				return
			}
			n, err := s.WriteTo(&limitedWriter{left: 1 << 20})
			if n >= 1<<20-chunkSize && err != nil && s.Zxid() == 9 && s.Close() == nil {
				m.n.Synced(88)
			}
			m.n.Deliver(txns)
		}
		return nil
	}
	m.calls <- func() {
		m.n.Deliver(txns)
		for i := range txns {
			m.delivered.Add(int64(len(txns[i].Data)))
		}
	}
	return nil
}

type brokenReader struct{ err error }

func (r *brokenReader) Read([]byte) (int, error) { return 0, r.err }

// A limitedWriter is a peer that goes away.
type limitedWriter struct{ left int }

func (w *limitedWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, errors.New("the peer is gone")
	}
	return len(b), nil
}

func (m *fakeMember) Forward(uint64, []consensus.Request) error       { return nil }
func (m *fakeMember) Sync(_ uint64, id consensus.SyncID) error        { m.n.Synced(id); return nil }
func (m *fakeMember) Revalidate(uint64, consensus.Touch) error        { return nil }
func (m *fakeMember) Checkpoint(consensus.Zxid, consensus.Zxid) error { return nil }
func (m *fakeMember) Distrust(consensus.Zxid, string) error           { return nil }
func (m *fakeMember) Caps() consensus.Caps                            { return consensus.Caps{Reconfigure: true} }
func (m *fakeMember) Close() error                                    { return nil }
func (m *fakeMember) Status() consensus.Status {
	return consensus.Status{Peer: "fake", Quorum: 3, LastProposal: m.delivered.Load()}
}
func (m *fakeMember) Reconfigure(term uint64, config string) (err error) {
	switch config {
	case "":
		err = errors.New("no members")
	case "hang":
		select {}
	}
	return err
}

// A fakeNode counts what is asked of it.
type fakeNode struct {
	mu      sync.Mutex
	changed sync.Cond
	role    consensus.Role
	last    consensus.Zxid
	bytes   int
	synced  []consensus.SyncID
	block   chan struct{}
	counts  map[string]int64
	seen    map[string]float64
	pinned  int
}

func newFakeNode() *fakeNode {
	n := &fakeNode{counts: map[string]int64{}, seen: map[string]float64{}}
	n.changed.L = &n.mu
	return n
}

func (n *fakeNode) do(fn func()) {
	n.mu.Lock()
	fn()
	n.changed.Broadcast()
	n.mu.Unlock()
}

func (n *fakeNode) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	t.Logf("waiting: %s", what)
	timer := time.AfterFunc(patience, func() { n.do(func() {}) })
	defer timer.Stop()
	end := time.Now().Add(patience)
	n.mu.Lock()
	defer n.mu.Unlock()
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
		n.changed.Wait()
	}
}

func (n *fakeNode) Recover(consensus.Zxid) (consensus.Zxid, error) { return 0, nil }
func (n *fakeNode) SetAside(string) error                          { return nil }
func (n *fakeNode) Role(r consensus.Role)                          { n.do(func() { n.role = r }) }
func (n *fakeNode) Deliver(txns []consensus.Txn) {
	n.mu.Lock()
	block := n.block
	n.mu.Unlock()
	if block != nil {
		<-block
	}
	n.do(func() {
		for _, x := range txns {
			n.last = x.Zxid
			n.bytes += len(x.Data)
		}
	})
}
func (n *fakeNode) Receive(consensus.ServerID, consensus.Request)       {}
func (n *fakeNode) Touch(consensus.ServerID, []consensus.Touch)         {}
func (n *fakeNode) Revalidate(consensus.ServerID, consensus.Touch) bool { return true }
func (n *fakeNode) Revalidated(int64, bool)                             {}
func (n *fakeNode) Synced(id consensus.SyncID)                          { n.do(func() { n.synced = append(n.synced, id) }) }
func (n *fakeNode) Touched() []consensus.Touch                          { return nil }
func (n *fakeNode) Snapshot() (consensus.Snapshot, error) {
	n.do(func() { n.pinned++ })
	return &fakeSnapshot{n}, nil
}
func (n *fakeNode) Restore(_ consensus.Zxid, r io.Reader) error {
	got, err := io.Copy(io.Discard, r)
	if err != nil && got == 1<<20 {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// A fakeSnapshot has no end.
type fakeSnapshot struct{ n *fakeNode }

func (s *fakeSnapshot) Zxid() consensus.Zxid { return 9 }
func (s *fakeSnapshot) Close() error         { s.n.do(func() { s.n.pinned-- }); return nil }
func (s *fakeSnapshot) WriteTo(w io.Writer) (n int64, err error) {
	b := make([]byte, 10000)
	for err == nil {
		var k int
		k, err = w.Write(b)
		n += int64(k)
	}
	return n, err
}

func (n *fakeNode) Add(name string, k int64)               { n.do(func() { n.counts[name] += k }) }
func (n *fakeNode) Observe(name string, v float64)         { n.do(func() { n.seen[name] = v }) }
func (n *fakeNode) ObserveKey(name, key string, v float64) { n.do(func() { n.seen[name+" "+key] = v }) }

func openMemberOf(t *testing.T, c Config, n *fakeNode, fail func(int, error)) consensus.Member {
	t.Helper()
	m, err := Consensus(c)(consensus.Config{Metrics: n, Fail: fail, Options: map[string]string{}}, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func txn(z consensus.Zxid, data string) []consensus.Txn {
	return []consensus.Txn{{Zxid: z, Data: []byte(data)}}
}

// TestMember: what crosses beside the contract's calls.
func TestMember(t *testing.T) {
	t.Run("on its socket", func(t *testing.T) { testMember(t, as(t, "member")) })
	t.Run("without sockets", func(t *testing.T) {
		c := as(t, "member")
		c.noSocket = true
		testMember(t, c)
	})
}

func testMember(t *testing.T, c Config) {
	n := newFakeNode()
	m := openMemberOf(t, c, n, func(code int, err error) { t.Errorf("Fail(%d, %v)", code, err) })
	n.wait(t, "leading", func() bool { return n.role.State == consensus.Leading })
	n.wait(t, "metrics", func() bool {
		return n.counts["proposals"] == 2 && n.seen["latency"] == 1.5 && n.seen["latency_by me"] == 2.5
	})
	if s := m.Status(); s.Peer != "fake" || s.Quorum != 3 {
		t.Errorf("Status: %+v", s)
	}
	if err := m.Reconfigure(1, "server.1=…"); err != nil {
		t.Errorf("Reconfigure: %v", err)
	}
	if err := m.Reconfigure(1, ""); err == nil || !strings.Contains(err.Error(), "no members") {
		t.Errorf("Reconfigure: %v", err)
	}
	if err := m.Reconfigure(2, ""); !errors.Is(err, consensus.ErrNotNow) {
		t.Errorf("Reconfigure in another term: %v", err)
	}
	z := consensus.MakeZxid(1, 1)
	if err := m.Propose(1, txn(z, "restore")); err != nil {
		t.Fatal(err)
	}
	n.wait(t, "a broken snapshot is known by its error", func() bool { return len(n.synced) == 1 && n.synced[0] == 77 })
	if err := m.Propose(1, txn(z+1, "snapshot")); err != nil {
		t.Fatal(err)
	}
	n.wait(t, "a snapshot that nobody wants any more ends", func() bool { return len(n.synced) == 2 && n.synced[1] == 88 })
	n.wait(t, "it is closed", func() bool { return n.pinned == 0 })
	if err := m.Propose(1, txn(z+3, "x")); err == nil {
		t.Error("a hole is taken in")
	}
	if err := m.Propose(1, txn(z+2, "x")); err != nil {
		t.Fatal(err)
	}
	n.wait(t, "delivered", func() bool { return n.last == z+2 })
	if err := m.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := m.Propose(1, txn(z+3, "x")); !errors.Is(err, consensus.ErrClosed) {
		t.Errorf("Propose after Close: %v", err)
	}
}

// TestBackPressure: a node that does not take txns is felt by the module, which does not send on
// for ever; and no call waits for that.
func TestBackPressure(t *testing.T) {
	n := newFakeNode()
	m := openMemberOf(t, as(t, "member"), n, func(code int, err error) { t.Errorf("Fail(%d, %v)", code, err) })
	n.wait(t, "leading", func() bool { return n.role.State == consensus.Leading })
	block := make(chan struct{})
	n.do(func() { n.block = block })
	z := consensus.MakeZxid(1, 0)
	data := strings.Repeat("x", 1<<20)
	const count = 3 * sendWindow >> 20
	for range count {
		z++
		if err := m.Propose(1, txn(z, data)); err != nil {
			t.Fatal(err)
		}
	}
	// All that may be delivered is when nothing more is.
	last := int64(-1)
	for end := time.Now().Add(patience); ; time.Sleep(300 * time.Millisecond) {
		now := m.Status().LastProposal
		if now == last && now > 0 {
			break
		}
		if last = now; time.Now().After(end) {
			t.Fatalf("%d bytes delivered, and no end", now)
		}
	}
	if last > sendWindow+2<<20 {
		t.Errorf("%d bytes are delivered and not taken, with a window of %d", last, sendWindow)
	}
	n.do(func() { n.block = nil })
	close(block)
	n.wait(t, "all delivered", func() bool { return n.bytes == count<<20 })
}

// TestMemberDies: what a node hears of a member that is gone.
func TestMemberDies(t *testing.T) {
	for name, tc := range map[string]struct {
		what, data, want string
		code             int
	}{
		"fails":         {"member", "fail", "a sync has failed", consensus.ExitDisk},
		"refuses":       {"member", "hole", "propose: a hole in the zxids", consensus.ExitUnexpected},
		"sends garbage": {"garbage-member", "", "can't be decoded", consensus.ExitModule},
		"is not there":  {"member", "kill", "signal: killed", consensus.ExitModule},
	} {
		t.Run(name, func(t *testing.T) {
			type failure struct {
				code int
				err  error
			}
			failed := make(chan failure, 1)
			n := newFakeNode()
			m, err := Consensus(as(t, tc.what))(consensus.Config{Fail: func(code int, err error) { failed <- failure{code, err} }}, n)
			var died *Died
			if err != nil && errors.As(err, &died) && tc.data == "" {
				failed <- failure{died.ExitCode(), err} // so fast was it
			} else if err != nil {
				t.Fatal(err)
			}
			if tc.data != "" {
				n.wait(t, "leading", func() bool { return n.role.State == consensus.Leading })
			}
			switch tc.data {
			case "":
			case "kill":
				m.(*member).m.child.cmd.Process.Kill()
			default:
				if err := m.Propose(1, txn(consensus.MakeZxid(1, 1), tc.data)); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case f := <-failed:
				if f.code != tc.code || !strings.Contains(f.err.Error(), tc.want) {
					t.Errorf("Fail(%d, %v), want %d and %q", f.code, f.err, tc.code, tc.want)
				}
			case <-time.After(patience):
				t.Fatal("Fail is not called")
			}
			if m != nil {
				if err := m.Close(); !errors.As(err, &died) {
					t.Errorf("Close: %v", err)
				}
				if s := m.Status(); s.Quorum != 0 {
					t.Errorf("Status: %+v", s)
				}
			}
		})
	}
	if _, err := Consensus(as(t, "member"))(consensus.Config{Options: map[string]string{"refuse": "1"}}, newFakeNode()); !errors.Is(err, consensus.ErrDamaged) {
		t.Errorf("Open: %v", err)
	}
}

// TestUnanswered: that a member's process stands still is known, and afterwards for how long it did.
func TestUnanswered(t *testing.T) {
	n := newFakeNode()
	m := openMemberOf(t, as(t, "member"), n, func(code int, err error) { t.Errorf("Fail(%d, %v)", code, err) }).(*member)
	pid := m.m.child.cmd.Process.Pid
	if err := stop(pid); err != nil {
		t.Fatal(err)
	}
	const still = time.Second
	until := func(what string, ok func(now, longest time.Duration) bool) {
		t.Helper()
		for end := time.Now().Add(patience); !ok(m.Unanswered()); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("waited in vain: %s", what)
			}
		}
	}
	until("it stands still", func(now, _ time.Duration) bool { return now > still })
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until("it did, and goes on", func(_, longest time.Duration) bool { return longest > still })
	until("it is well", func(now, longest time.Duration) bool { return now < still && longest < still })
}

// TestReconfigureHangs: also a reconfiguration has its time.
func TestReconfigureHangs(t *testing.T) {
	c := as(t, "member")
	c.Timeout = time.Second
	n := newFakeNode()
	failed := make(chan error, 1)
	m, err := Consensus(c)(consensus.Config{Options: map[string]string{}, Fail: func(_ int, err error) { failed <- err }}, n)
	if err != nil {
		t.Fatal(err)
	}
	n.wait(t, "leading", func() bool { return n.role.State == consensus.Leading })
	returned := make(chan error, 1)
	go func() { returned <- m.Reconfigure(1, "hang") }()
	select {
	case err := <-failed:
		if !strings.Contains(err.Error(), "it does not answer: a reconfiguration") {
			t.Errorf("Fail: %v", err)
		}
	case <-time.After(patience):
		t.Error("a module that judges for ever is well")
		m.(*member).m.child.kill()
	}
	if err := <-returned; err == nil {
		t.Error("a reconfiguration that nobody has judged is done")
	}
	var died *Died
	if err := m.Close(); !errors.As(err, &died) {
		t.Errorf("Close: %v", err)
	}
}
