package sim

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"sort"

	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/test/history"
)

// The truth is the committed order: what any node has been given, once and for all. It is
// written as nodes are given it, and every node is held against it.
type truth struct {
	w       *world
	rng     *rand.Rand
	txns    []history.Txn
	place   map[consensus.Zxid]int // of a txn, the first has 1
	at      map[*machine]int       // how many txns a node's state holds
	leaders map[int64]consensus.ServerID
	epoch   int64 // the highest that was led
}

func (t *truth) init(w *world) {
	t.w = w
	t.rng = rand.New(rand.NewPCG(w.seed, 6))
	t.txns = []history.Txn{}
	t.place = map[consensus.Zxid]int{0: 0}
	t.at = map[*machine]int{}
	t.leaders = map[int64]consensus.ServerID{}
}

func (t *truth) down(m *machine) { delete(t.at, m) }

// placed notes where a node's state stands after a recovery.
func (t *truth) placed(m *machine, z consensus.Zxid, how string) {
	n, ok := t.place[z]
	if !ok {
		t.w.fail("I17: node %d has %s the state at %v, which was never committed", m.id, how, z)
		return
	}
	t.at[m] = n
}

// delivered holds what a node is given against the order.
func (t *truth) delivered(m *machine, txns []consensus.Txn) {
	for _, x := range txns {
		n := t.at[m]
		if n < len(t.txns) {
			o := &t.txns[n]
			if o.Zxid != int64(x.Zxid) || !bytes.Equal(o.Data, x.Data) {
				t.w.fail("I13: node %d is given %v in place %d, where another was given %v\n%s\n%s",
					m.id, x.Zxid, n+1, consensus.Zxid(o.Zxid), hex.EncodeToString(x.Data), hex.EncodeToString(o.Data))
				return
			}
			t.at[m]++
			continue
		}
		if n > 0 {
			last := consensus.Zxid(t.txns[n-1].Zxid)
			if x.Zxid != last+1 && (x.Zxid.Epoch() <= last.Epoch() || x.Zxid.Counter() != 1) {
				t.w.fail("I16: node %d is given %v behind %v", m.id, x.Zxid, last)
				return
			}
		}
		if t.rng.IntN(48) == 0 || m.disk.struck {
			t.durable(m, x.Zxid)
		}
		t.ended(x)
		t.txns = append(t.txns, history.Txn{Zxid: int64(x.Zxid), Data: x.Data})
		t.place[x.Zxid] = len(t.txns)
		t.at[m]++
		t.w.stats.Txns++
	}
}

// ended looks whether a session that ends was silent (I20). While there is harm a server may
// die with what it has heard and not told, and the judge counts only what is in transactions;
// in peace, each sign of life counts.
func (t *truth) ended(x consensus.Txn) {
	w := t.w
	if w.faults || w.peace == 0 || len(x.Data) < 32 || int32(binary.BigEndian.Uint32(x.Data[28:])) != txn.TypeCloseSession {
		return
	}
	session := int64(binary.BigEndian.Uint64(x.Data))
	for _, c := range w.clients {
		if c.session != session || !c.open || c.e == nil || c.closes {
			continue
		}
		timeout := int64(c.timeoutMS) * ms
		if w.now-max(c.since, w.peace) > timeout+timeout/10+2*w.plan.tickMS*ms {
			w.fail("I20: session 0x%x ends in peace, and client %d is connected to node %d and was never silent", uint64(session), c.no, c.server)
		}
	}
}

// durable looks whether a txn that is committed now would survive the loss of all power
// (I06): it must be on the disks of a majority, whatever is not synced.
func (t *truth) durable(m *machine, z consensus.Zxid) {
	copies, voters := 0, 0
	for _, o := range t.w.machines {
		if o.observer {
			continue
		}
		voters++
		if o.holds(z) {
			copies++
		}
	}
	if copies <= voters/2 {
		t.w.fail("I06: node %d is given %v, which is on the disks of %d of %d voters", m.id, z, copies, voters)
	}
}

// holds says whether a machine would have a txn after a power cut that loses all it can.
func (m *machine) holds(z consensus.Zxid) bool {
	// What was on a disk that is lost since was there when it was acknowledged.
	return m.holdsOn(m.disk.synced(), m.shelf.durable(), z) || m.held != nil && m.holdsOn(m.held.Synced(), m.heldStore, z)
}

// holdsOn asks it of a disk, and of a store that has all up to a zxid.
func (m *machine) holdsOn(fs *vfs.Mem, store, z consensus.Zxid) bool {
	base := store
	if files, err := txnlog.ListSnapshots(fs, dataDir); err == nil {
		for _, f := range files {
			base = max(base, f.Zxid)
		}
	}
	if base >= z {
		return true
	}
	found := false
	l, _, err := txnlog.OpenLog(fs, dataDir, txnlog.Options{From: base, Visit: func(x consensus.Txn) error {
		found = found || x.Zxid == z
		return nil
	}})
	if err != nil {
		m.w.logf(m, "its log can't be read after a power cut: %v", err)
		return false
	}
	l.Close()
	return found
}

// leads notes that a member leads. Its node may hear of that when it is over, or when there is
// another leader already: a peer that knows earlier says so.
//
// What made it the leader may have come late to the member itself, for example while it was asleep, and others
// have a leader of a later epoch since. It can commit nothing. But the epochs that were led before it began must be
// lower, and it must have all that was committed in them.
func (t *truth) leads(m *machine, r consensus.Role) {
	if r.Term <= m.reign {
		return
	}
	m.reign, m.found = r.Term, len(t.txns)
	t.w.stats.Elections++
	if id, ok := t.leaders[r.Epoch]; ok {
		t.w.fail("I12: nodes %d and %d lead in epoch %d", id, m.id, r.Epoch)
	}
	if r.Epoch <= m.ceiling {
		t.w.fail("I09: node %d leads in epoch %d after epoch %d", m.id, r.Epoch, m.ceiling)
	}
	if r.Epoch < t.epoch {
		m.found = sort.Search(len(t.txns), func(i int) bool { return consensus.Zxid(t.txns[i].Zxid).Epoch() >= r.Epoch })
	}
	t.leaders[r.Epoch], t.epoch = m.id, max(t.epoch, r.Epoch)
}

// A watched is a node as its member sees it, with the truth looking on.
type watched struct {
	m *machine
	n consensus.Node
}

var _ consensus.Node = (*watched)(nil)

func (c *watched) Recover(max consensus.Zxid) (consensus.Zxid, error) {
	z, err := c.n.Recover(max)
	if err == nil {
		c.m.w.logf(c.m, "recovered at %v", z)
		c.m.w.truth.placed(c.m, z, "recovered")
	}
	return z, err
}

func (c *watched) SetAside(folder string) error {
	c.m.w.logf(c.m, "sets its data aside in %s", folder)
	return c.n.SetAside(folder)
}

func (c *watched) Role(r consensus.Role) {
	m, t := c.m, &c.m.w.truth
	m.w.logf(m, "%v, leader %d, epoch %d, last %v", r.State, r.Leader, r.Epoch, r.Last)
	if r.Term <= m.role.Term {
		m.w.fail("node %d: term %d comes after %d", m.id, r.Term, m.role.Term)
	}
	m.role = r
	if r.State == consensus.Looking {
		m.ceiling = t.epoch
	} else {
		m.held, m.heldStore = nil, 0 // it has the history of a leader
	}
	if r.State == consensus.Leading && !r.Standalone {
		t.leads(m, r)
		if m.reign == r.Term && t.at[m] < m.found {
			m.w.fail("I13: node %d leads in epoch %d with %d of %d committed txns", m.id, r.Epoch, t.at[m], m.found)
		}
		if n := len(t.txns); n > 0 {
			t.durable(m, consensus.Zxid(t.txns[n-1].Zxid))
		}
	}
	c.n.Role(r)
}

func (c *watched) Deliver(txns []consensus.Txn) {
	c.m.w.truth.delivered(c.m, txns)
	c.n.Deliver(txns)
}

func (c *watched) Restore(zxid consensus.Zxid, r io.Reader) error {
	err := c.n.Restore(zxid, r)
	if err == nil {
		c.m.w.logf(c.m, "restored at %v", zxid)
		c.m.hasSnapshot(zxid, "restored")
		c.m.w.truth.placed(c.m, zxid, "restored")
	}
	return err
}

func (c *watched) Snapshot() (consensus.Snapshot, error) {
	s, err := c.n.Snapshot()
	if err == nil && c.m.w.truth.place[s.Zxid()] != c.m.w.truth.at[c.m] {
		c.m.w.fail("node %d pins %v, and was given %d txns", c.m.id, s.Zxid(), c.m.w.truth.at[c.m])
	}
	return s, err
}

func (c *watched) Receive(from consensus.ServerID, r consensus.Request) { c.n.Receive(from, r) }
func (c *watched) Touch(from consensus.ServerID, ts []consensus.Touch)  { c.n.Touch(from, ts) }
func (c *watched) Revalidate(from consensus.ServerID, t consensus.Touch) bool {
	return c.n.Revalidate(from, t)
}
func (c *watched) Revalidated(session int64, alive bool) { c.n.Revalidated(session, alive) }
func (c *watched) Synced(id consensus.SyncID)            { c.n.Synced(id) }
func (c *watched) Touched() []consensus.Touch            { return c.n.Touched() }
