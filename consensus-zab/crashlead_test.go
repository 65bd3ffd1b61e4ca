package zab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/zkcore/zkcore/consensus-zab/protocol"
	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A rule is the story of server 1 as the leader of one epoch after the other, with server
// 2 as its follower, which acks all that it gets.
type rule struct {
	rng   *rand.Rand
	s     *stepped
	steps []string
	all   []consensus.Zxid // proposed

	// Said by server 1:
	epoch     int64          // in LEADERINFO: nobody leads in it a second time
	current   int64          // in UPTODATE
	committed consensus.Zxid // in COMMIT
	voted     consensus.Zxid // in a vote: its log goes at least there
}

func (p *rule) hear(c protocol.Conn, ks ...quorum.Packet) (got []quorum.Packet, err error) {
	if err := p.s.hear(c, ks...); err != nil {
		return nil, err
	}
	got = p.s.sent(c)
	for _, k := range got {
		z := consensus.Zxid(k.Zxid)
		switch k.Type {
		case quorum.TypeLeaderInfo:
			p.epoch = max(p.epoch, z.Epoch())
		case quorum.TypeUpToDate:
			p.current = p.epoch
		case quorum.TypeCommit:
			if slices.Contains(p.all, z) {
				p.committed = max(p.committed, z)
			}
		}
	}
	return got, p.s.err
}

// lead makes server 1 the leader, with server 2 following.
func (p *rule) lead() error {
	s := p.s
	p.voted = s.log.Last()
	current, _, err := txnlog.ReadEpoch(s.fs, s.node.dirs.Snap, txnlog.CurrentEpoch)
	if err != nil {
		return err
	}
	leading := func() bool {
		n := len(s.node.roles)
		return n > 0 && s.node.roles[n-1].State == consensus.Leading
	}
	// Server 2 votes as server 1 does.
	vote := func() {
		n := s.told
		n.State, n.Version = quorum.Looking, 2
		s.member.Notification(s.now, 2, n)
	}
	if err := s.pass(func() bool {
		if s.member.Peer() != "looking" {
			return true
		}
		vote()
		return false
	}); err != nil {
		return err
	}
	p.step("leads from %v", s.log.Last())
	if err := s.settle(); err != nil {
		return err
	}
	c := s.connect(false)
	s.member.Accepted(s.now, c, "2")
	info := quorum.LearnerInfo{ServerID: 2, ProtocolVersion: quorum.ProtocolVersion}
	if _, err := p.hear(c, quorum.Packet{Type: quorum.TypeFollowerInfo, Zxid: current << 32, Data: info.Append(nil)}); err != nil {
		return err
	}
	if _, err := p.hear(c, quorum.Packet{Type: quorum.TypeAckEpoch, Zxid: int64(s.log.Last()), Data: quorum.AppendInt(nil, int32(current))}); err != nil {
		return err
	}
	if p.rng.IntN(5) == 0 {
		p.step("the follower goes before it acks")
		s.member.Closed(s.now, c, "gone")
		return p.lose()
	}
	if _, err := p.hear(c, plainPacket(quorum.TypeAck, consensus.MakeZxid(p.epoch, 0))); err != nil {
		return err
	}
	if !leading() {
		return fmt.Errorf("it does not lead: %v", s.member.Peer())
	}
	return p.propose(c)
}

func (p *rule) step(format string, args ...any) {
	p.steps = append(p.steps, fmt.Sprintf(format, args...))
}

func (p *rule) propose(c protocol.Conn) error {
	s := p.s
	role := s.node.roles[len(s.node.roles)-1]
	last := role.Last
	for range 2 + p.rng.IntN(5) {
		var txns []consensus.Txn
		for range 1 + p.rng.IntN(3) {
			last++
			p.all = append(p.all, last)
			txns = append(txns, txnOf(last))
		}
		p.step("propose up to %v", last)
		if err := s.Propose(role.Term, txns); err != nil {
			return err
		}
		ks, err := p.hear(c)
		if err != nil {
			return err
		}
		var acks []quorum.Packet
		for _, k := range ks {
			if k.Type == quorum.TypeProposal && p.rng.IntN(6) > 0 {
				acks = append(acks, quorum.Packet{Type: quorum.TypeAck, Zxid: k.Zxid})
			}
		}
		// An ack counts for all before it.
		if _, err := p.hear(c, acks...); err != nil {
			return err
		}
		if s.node.wrong != nil {
			return s.node.wrong
		}
		if len(s.node.state) > 0 && s.node.at > s.log.Durable() {
			return fmt.Errorf("the node is at %v, its own log durable to %v (I17)", s.node.at, s.log.Durable())
		}
	}
	s.member.Closed(s.now, c, "gone")
	return p.lose()
}

// lose lets the leader find out that its quorum is gone.
func (p *rule) lose() error {
	return p.s.pass(func() bool { return p.s.member.Peer() == "looking" })
}

func (p *rule) run(fsys vfs.FS, seed uint64) error {
	p.rng = rand.New(rand.NewPCG(seed, 11))
	s, err := openStepped(fsys)
	if err != nil {
		return err
	}
	p.s = s
	for range 5 {
		p.s.node.every, p.s.node.keep = 4+int(seed%3)*3, int(seed%4)
		if err := p.lead(); err != nil {
			return err
		}
		if p.rng.IntN(2) == 0 {
			p.step("restart")
			if p.s, err = p.s.restart(); err != nil {
				return err
			}
		}
	}
	return p.s.log.Close()
}

func (p *rule) check(left *vfs.Mem) error {
	s, err := openStepped(left)
	if err != nil {
		return fmt.Errorf("it does not start: %w", err)
	}
	has, err := s.onDisk()
	if err != nil {
		return err
	}
	accepted, _, err := txnlog.ReadEpoch(left, s.node.dirs.Snap, txnlog.AcceptedEpoch)
	if err != nil {
		return err
	}
	current, _, err := txnlog.ReadEpoch(left, s.node.dirs.Snap, txnlog.CurrentEpoch)
	if err != nil {
		return err
	}
	last := consensus.Zxid(0)
	if len(has) > 0 {
		last = has[len(has)-1]
	}
	switch {
	case current > accepted:
		return fmt.Errorf("currentEpoch %d, acceptedEpoch %d (I14)", current, accepted)
	case accepted < p.epoch:
		return fmt.Errorf("acceptedEpoch %d, it had begun to lead in %d: it might again (I09)", accepted, p.epoch)
	case current < p.current:
		return fmt.Errorf("currentEpoch %d, it had led in %d", current, p.current)
	case last < p.committed:
		return fmt.Errorf("it has up to %v, %v is committed (I06)", last, p.committed)
	case last < p.voted:
		return fmt.Errorf("it has up to %v, it had voted with %v (I14)", last, p.voted)
	case len(common(has, p.all)) < len(has):
		return fmt.Errorf("it has %v, proposed were %v (I16)", has, p.all)
	}
	// It can lead again, and that lasts.
	q := rule{rng: rand.New(rand.NewPCG(3, 3)), s: s, all: has}
	if err := q.lead(); err != nil {
		return fmt.Errorf("it does not lead again: %w", err)
	}
	if q.epoch <= p.epoch {
		return fmt.Errorf("it leads in epoch %d a second time (I09)", q.epoch)
	}
	again, err := openStepped(left.Crash(vfs.LoseAll, 0))
	if err != nil {
		return fmt.Errorf("started again: %w", err)
	}
	if again.log.Last() < q.committed {
		return fmt.Errorf("started again it has up to %v, %v is committed (I06)", again.log.Last(), q.committed)
	}
	return nil
}

// TestCrashAnywhereWhileLeading stops a leader before each operation on its disk.
func TestCrashAnywhereWhileLeading(t *testing.T) {
	states, kept := 0, 0
	for seed := range *crashSeeds {
		apart(t, seed)
		whole := newDisk(t)
		base := whole.Ops()
		p := &rule{}
		if err := p.run(whole, seed); err != nil {
			t.Fatalf("seed %d: %v\n%q", seed, err, p.steps)
		}
		if p.committed == 0 || p.current == 0 {
			t.Fatalf("seed %d: nothing was committed\n%q", seed, p.steps)
		}
		for stop := base; stop <= whole.Ops(); stop++ {
			m := newDisk(t)
			m.StopAt(stop)
			p := &rule{}
			if err := p.run(m, seed); err != nil && !errors.Is(err, vfs.ErrCrashed) {
				t.Fatalf("seed %d, stop %d: %v\n%q", seed, stop, err, p.steps)
			}
			if p.committed > 0 {
				kept++
			}
			for loss, tries := range map[vfs.Loss]uint64{vfs.LoseAll: 1, vfs.LoseNone: 1, vfs.LoseSome: 2} {
				for try := range tries {
					states++
					if err := p.check(m.Crash(loss, try)); err != nil {
						t.Fatalf("seed %d, stopped before operation %d, loss %d, try %d: %v\n%q", seed, stop, loss, try, err, p.steps)
					}
				}
			}
		}
	}
	t.Logf("%d states", states)
	if states < 1000 || kept < 100 {
		t.Errorf("%d states, %d stops with something committed: too few to mean anything", states, kept)
	}
}

// TestErrorAnywhereWhileLeading fails each operation of a leader's disk once.
func TestErrorAnywhereWhileLeading(t *testing.T) {
	for seed := range (*crashSeeds + 1) / 2 {
		apart(t, seed+1)
		clean := vfs.NewErrors(newDisk(t), func(vfs.Op) error { return nil })
		if err := (&rule{}).run(clean, seed); err != nil {
			t.Fatal(err)
		}
		for i := range clean.Ops() {
			m := newDisk(t)
			p := &rule{}
			var failed vfs.Op
			err := p.run(vfs.NewErrors(m, func(op vfs.Op) error {
				if op.N != i {
					return nil
				}
				failed = op
				return syscall.EIO
			}), seed)
			harmless := failed.Kind == "close" || failed.Kind == "remove" ||
				slices.Contains([]string{"open", "read", "size"}, failed.Kind) && strings.Contains(failed.Name, "/log.")
			if !errors.Is(err, syscall.EIO) && !(harmless && err == nil) {
				t.Fatalf("seed %d, operation %+v: passed over: %v\n%q", seed, failed, err, p.steps)
			}
			for _, loss := range []vfs.Loss{vfs.LoseAll, vfs.LoseNone, vfs.LoseSome} {
				if err := p.check(m.Crash(loss, uint64(i))); err != nil {
					t.Fatalf("seed %d, operation %+v failed, loss %d: %v\n%q", seed, failed, loss, err, p.steps)
				}
			}
		}
	}
}
