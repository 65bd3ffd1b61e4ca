package raft

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/consensus/consensustest"
)

// faults are mistakes that a member could make, with the case of the kit that has to notice. The kit is checked here
// because that takes a member that makes none.
var faults = map[string]string{
	"begins as a follower":      "roles come in order",
	"loses a txn":               "what is proposed is delivered once and in order",
	"delivers one again":        "what is proposed is delivered once and in order",
	"takes calls of any term":   "a call of another term is refused",
	"takes any zxid":            "a hole in the zxids is refused",
	"waits for deliver":         "propose does not wait for deliver",
	"syncs at once":             "sync comes after what was committed before",
	"syncs in pairs, turned":    "syncs are answered in order",
	"forgets":                   "a restart delivers what was acknowledged",
	"delivers from the start":   "a restart begins with the snapshot",
	"goes on when it is closed": "a closed member refuses everything",
	"has no status":             "status says what it is",
	"proposes as a learner":     "only the leader may propose",
	"forwards backwards":        "requests arrive in the order sent",
	"loses identities":          "requests arrive in the order sent",
	"revalidates at once":       "a revalidation is answered after what was proposed before",
	"touches nothing":           "touches reach the leader",
	"trusts for ever":           "who distrusts its state gets the leader's",
	"takes damage for nothing":  "what is damaged is set aside",
	"never says that it looks":  "without a majority nobody leads",
}

const faultVar = "CONSENSUSTEST_FAULT"

// TestFaulty is what TestFaultsAreFound runs in processes of its own.
func TestFaulty(t *testing.T) {
	fault := os.Getenv(faultVar)
	consensustest.RunEnsemble(t, func(cfg consensus.Config, n consensus.Node) (consensus.Member, error) {
		return openFaulty(fault, cfg, n)
	}, 3, 0)
}

// TestFaultsAreFound: each case of the kit is of use only if it fails for a member that breaks the promise, and passes
// for one that keeps it.
func TestFaultsAreFound(t *testing.T) {
	if os.Getenv(faultVar) != "" {
		t.Skip("a process that this test has started")
	}
	// What never comes is waited for no longer than this.
	run := func(t *testing.T, fault, name, wait string) (out string, err error) {
		t.Helper()
		name = strings.ReplaceAll(name, " ", "_")
		cmd := exec.Command(os.Args[0], "-test.run", "^TestFaulty$/^"+name+"$", "-test.v", "-test.timeout", wait)
		cmd.Env = append(os.Environ(), faultVar+"="+fault)
		b, err := cmd.CombinedOutput()
		if !strings.Contains(string(b), "=== RUN   TestFaulty/"+name) {
			t.Fatalf("there is no case %s:\n%.2000s", name, b)
		}
		return string(b), err
	}
	cases := map[string]bool{}
	for fault, name := range faults {
		cases[name] = true
		t.Run(strings.ReplaceAll(fault, " ", "_"), func(t *testing.T) {
			t.Parallel()
			if _, err := run(t, fault, name, "20s"); err == nil {
				t.Errorf("case %q passes for a member that %s", name, fault)
			}
		})
	}
	for name := range cases {
		t.Run("without/"+strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			if out, err := run(t, "none", name, "5m"); err != nil {
				t.Errorf("case %q fails for a member that makes no mistake: %v\n%.4000s", name, err, out)
			}
		})
	}
}

func openFaulty(fault string, cfg consensus.Config, n consensus.Node) (consensus.Member, error) {
	f := &faulty{Node: n, fault: fault}
	if fault == "forgets" {
		names, err := filepath.Glob(filepath.Join(cfg.LogDir, "version-2", "*"))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if err := os.RemoveAll(name); err != nil {
				return nil, err
			}
		}
	}
	m, err := patient(cfg, f)
	if err != nil {
		return nil, err
	}
	return &faultyMember{m, f}, nil
}

// A faulty stands between a member and its node. With a fault it makes one mistake.
type faulty struct {
	consensus.Node
	fault string

	mu      sync.Mutex
	role    consensus.Role
	roles   int
	count   int
	last    consensus.Zxid
	pending []consensus.SyncID
}

func (f *faulty) is(fault string) bool { return f.fault == fault }

func (f *faulty) Recover(max consensus.Zxid) (consensus.Zxid, error) {
	if f.is("delivers from the start") {
		max = 0
	}
	z, err := f.Node.Recover(max)
	if f.is("takes damage for nothing") && errors.Is(err, consensus.ErrDamaged) {
		return 0, nil
	}
	return z, err
}

func (f *faulty) Role(r consensus.Role) {
	f.mu.Lock()
	f.role = r
	f.roles++
	first := f.roles == 1
	f.mu.Unlock()
	switch {
	case f.is("begins as a follower") && first:
		r.State, r.Leader = consensus.Following, 1
	case f.is("never says that it looks") && !first && r.State == consensus.Looking:
		return
	}
	f.Node.Role(r)
}

func (f *faulty) Deliver(txns []consensus.Txn) {
	f.mu.Lock()
	f.count += len(txns)
	count, leads := f.count, f.role.State == consensus.Leading
	f.mu.Unlock()
	if (f.is("syncs at once") || f.is("revalidates at once")) && !leads {
		time.Sleep(50 * time.Millisecond) // a node may take its time
	}
	switch {
	case f.is("loses a txn") && count > 20 && count-len(txns) <= 20:
		txns = txns[1:]
	case f.is("delivers one again") && count > 20 && count-len(txns) <= 20:
		txns = append(slices.Clone(txns), txns[len(txns)-1])
	}
	f.Node.Deliver(txns)
	if k := len(txns); k > 0 {
		f.mu.Lock()
		f.last = txns[k-1].Zxid
		f.mu.Unlock()
	}
}

func (f *faulty) Synced(id consensus.SyncID) {
	if f.is("syncs at once") {
		return
	}
	if !f.is("syncs in pairs, turned") {
		f.Node.Synced(id)
		return
	}
	if f.pending = append(f.pending, id); len(f.pending) == 2 {
		f.Node.Synced(f.pending[1])
		f.Node.Synced(f.pending[0])
		f.pending = nil
	}
}

func (f *faulty) Revalidated(session int64, alive bool) {
	if !f.is("revalidates at once") {
		f.Node.Revalidated(session, alive)
	}
}

func (f *faulty) Touched() []consensus.Touch {
	if f.is("touches nothing") {
		return nil
	}
	return f.Node.Touched()
}

// term is the one to call the member with.
func (f *faulty) term(asked uint64) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.is("takes calls of any term") {
		return f.role.Term
	}
	return asked
}

// A faultyMember is what the kit calls.
type faultyMember struct {
	consensus.Member
	f *faulty
}

// told is what the kit is told of a call.
func (m *faultyMember) told(err error) error {
	if m.f.is("goes on when it is closed") && errors.Is(err, consensus.ErrClosed) {
		return nil
	}
	return err
}

func (m *faultyMember) Propose(term uint64, txns []consensus.Txn) error {
	f := m.f
	err := m.Member.Propose(f.term(term), txns)
	f.mu.Lock()
	learns := f.role.State == consensus.Following
	f.mu.Unlock()
	switch {
	case f.is("takes any zxid") && err != nil && !errors.Is(err, consensus.ErrNotNow), f.is("proposes as a learner") && learns:
		return nil
	case f.is("waits for deliver") && err == nil:
		for ; ; time.Sleep(time.Millisecond) {
			f.mu.Lock()
			there := f.last >= txns[len(txns)-1].Zxid
			f.mu.Unlock()
			if there {
				break
			}
		}
	}
	return m.told(err)
}

func (m *faultyMember) Forward(term uint64, rs []consensus.Request) error {
	rs = slices.Clone(rs)
	if m.f.is("forwards backwards") {
		slices.Reverse(rs)
	}
	if m.f.is("loses identities") {
		for i := range rs {
			rs[i].Auth = nil
		}
	}
	return m.Member.Forward(m.f.term(term), rs)
}

func (m *faultyMember) Sync(term uint64, id consensus.SyncID) error {
	err := m.Member.Sync(m.f.term(term), id)
	if m.f.is("syncs at once") && err == nil {
		m.f.Node.Synced(id)
	}
	return m.told(err)
}

func (m *faultyMember) Revalidate(term uint64, t consensus.Touch) error {
	err := m.Member.Revalidate(m.f.term(term), t)
	if m.f.is("revalidates at once") && err == nil {
		m.f.Node.Revalidated(t.Session, t.Session%2 == 0)
	}
	return err
}

func (m *faultyMember) Checkpoint(saved, needed consensus.Zxid) error {
	return m.told(m.Member.Checkpoint(saved, needed))
}

func (m *faultyMember) Distrust(at consensus.Zxid, why string) error {
	if m.f.is("trusts for ever") {
		return nil
	}
	return m.told(m.Member.Distrust(at, why))
}

func (m *faultyMember) Status() consensus.Status {
	s := m.Member.Status()
	if m.f.is("has no status") {
		s.Role = consensus.Role{}
	}
	return s
}
