package node

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// leadersTxns makes a leader's txns, each of which creates a node.
func leadersTxns(t *testing.T, n int) (*rig, []consensus.Txn) {
	src := start(t, consensus.Leading, true, nil)
	p := src.connectBy(1)
	var txns []consensus.Txn
	src.m.mu.Lock()
	txns = append(txns, src.m.proposed...)
	src.m.mu.Unlock()
	for i := len(txns); i < n; i++ {
		p.send(proto.OpCreate, create(fmt.Sprintf("/n%d", i), 0))
		src.proposed(1)
		src.m.mu.Lock()
		txns = append(txns, src.m.proposed...)
		src.m.mu.Unlock()
		src.m.deliver(-1)
		p.reply()
	}
	return src, txns
}

// wrong is the txn of a leader whose tree is another one.
func wrong(x consensus.Txn) consensus.Txn {
	x.Data = slices.Clone(x.Data)
	b := x.Data[len(x.Data)-8:]
	binary.BigEndian.PutUint64(b, binary.BigEndian.Uint64(b)+1)
	return x
}

// TestDigestDiffers: a follower whose tree is not the leader's serves nobody until it has
// the leader's, and ends when that does not help.
func TestDigestDiffers(t *testing.T) {
	src, txns := leadersTxns(t, 10)
	var code atomic.Int64
	r := start(t, consensus.Following, true, func(c *Config) {
		c.ServerID = 2
		c.Fail = func(n int, _ error) { code.Store(int64(n)) }
	})
	p := r.dial()
	p.sendConnect(&proto.ConnectRequest{TimeoutMS: sessionMS, Passwd: make([]byte, 16)})
	deliver := func(ts ...consensus.Txn) { r.m.wait(func() { r.n.Deliver(ts) }) }
	deliver(wrong(txns[len(txns)-3]))
	at := txns[len(txns)-3].Zxid
	r.m.mu.Lock()
	got := slices.Clone(r.m.distrusted)
	r.m.mu.Unlock()
	if !slices.Equal(got, []consensus.Zxid{at}) || r.n.Serving() {
		t.Fatalf("distrusts %v, serving %v", got, r.n.Serving())
	}
	p.ended()
	// What comes until then is for nobody: not the next txn, not a role.
	deliver(txns[len(txns)-2])
	r.m.setRole(consensus.Looking)
	r.m.setRole(consensus.Following)
	r.m.wait(func() {})
	if r.n.Serving() || r.n.lastZxid() > int64(at) {
		t.Fatalf("serving %v, at 0x%x", r.n.Serving(), r.n.lastZxid())
	}
	if _, err := r.n.Snapshot(); err == nil {
		t.Error("it hands its state on")
	}
	r.m.setRole(consensus.Looking)
	restore := func() {
		s, err := src.n.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var b bytes.Buffer
		if _, err := s.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		r.m.wait(func() {
			if err := r.n.Restore(s.Zxid(), &b); err != nil {
				t.Error(err)
			}
		})
	}
	restore()
	r.m.setRole(consensus.Following)
	r.until("serving with the leader's state", r.n.Serving)
	if a, b := r.n.Info().Digest, src.n.Info().Digest; a != b {
		t.Errorf("digest %d, the leader's is %d", a, b)
	}
	// Once more: it is not this server's memory then.
	last := txns[len(txns)-1]
	next := last
	next.Zxid++
	next.Data = slices.Clone(last.Data)
	binary.BigEndian.PutUint64(next.Data[12:], uint64(next.Zxid))
	deliver(wrong(next))
	if code.Load() != consensus.ExitDigest {
		t.Errorf("exit code %d, want %d", code.Load(), consensus.ExitDigest)
	}
}

// TestDigestOfTheLeader: a leader that does not come to what it proposed itself ends.
func TestDigestOfTheLeader(t *testing.T) {
	var code atomic.Int64
	r := start(t, consensus.Leading, true, func(c *Config) {
		c.Fail = func(n int, _ error) { code.Store(int64(n)) }
	})
	p := r.connectBy(1)
	p.send(proto.OpCreate, create("/a", 0))
	r.proposed(1)
	r.m.mu.Lock()
	r.m.proposed[0] = wrong(r.m.proposed[0])
	r.m.mu.Unlock()
	r.m.deliver(-1)
	if code.Load() != consensus.ExitDigest {
		t.Errorf("exit code %d, want %d", code.Load(), consensus.ExitDigest)
	}
	p.ended()
}

// TestNoDigest: a leader that sends none is believed.
func TestNoDigest(t *testing.T) {
	_, txns := leadersTxns(t, 4)
	r := start(t, consensus.Following, true, func(c *Config) { c.ServerID = 2 })
	last := txns[len(txns)-1]
	last.Data = last.Data[:len(last.Data)-12]
	r.m.wait(func() { r.n.Deliver([]consensus.Txn{last}) })
	other := wrong(txns[len(txns)-1])
	other.Zxid++
	binary.BigEndian.PutUint64(other.Data[12:], uint64(other.Zxid))
	binary.BigEndian.PutUint32(other.Data[len(other.Data)-12:], 1) // of another version
	r.m.wait(func() { r.n.Deliver([]consensus.Txn{other}) })
	if !r.n.Serving() || r.n.lastZxid() != int64(other.Zxid) {
		t.Errorf("serving %v, at 0x%x", r.n.Serving(), r.n.lastZxid())
	}
}

// TestDigestDiffersBesideASnapshot: a snapshot that was about to be taken when the state was given up is not one of the
// emptied store, under the number of the last txn.
func TestDigestDiffersBesideASnapshot(t *testing.T) {
	_, txns := leadersTxns(t, 5)
	r := start(t, consensus.Following, true, func(c *Config) { c.ServerID = 2 })
	last := len(txns) - 1
	r.m.wait(func() { r.n.Deliver(txns[:last]) })
	before, err := txnlog.ListSnapshots(r.n.cfg.FS, r.n.snaps.dirs.Snap)
	if err != nil {
		t.Fatal(err)
	}
	r.m.mu.Lock()
	r.m.asked = func() {
		r.m.mu.Lock()
		r.m.asked = nil
		r.m.mu.Unlock()
		r.m.wait(func() { r.n.Deliver([]consensus.Txn{wrong(txns[last])}) })
	}
	r.m.mu.Unlock()
	r.n.save()
	r.m.mu.Lock()
	distrusted, saved := len(r.m.distrusted), len(r.m.saved)
	r.m.mu.Unlock()
	if distrusted != 1 {
		t.Fatalf("the state is given up %d times", distrusted)
	}
	after, err := txnlog.ListSnapshots(r.n.cfg.FS, r.n.snaps.dirs.Snap)
	if err != nil {
		t.Fatal(err)
	}
	if saved > 0 || !slices.Equal(before, after) {
		t.Errorf("the log may go up to %d snapshots: %v, which were %v", saved, after, before)
	}
}
