package zab

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
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

// A reign is the story of server 1 under one leader after the other, and what server 1
// said on the way: that is what must be on its disk, wherever it is stopped.
type reign struct {
	rng *rand.Rand
	s   *stepped

	epoch     int64
	history   []consensus.Zxid   // of the present leader
	committed int                // how much of it is
	branches  [][]consensus.Zxid // the histories of all leaders, each as long as it got
	steps     []string

	// Said by server 1:
	accepted int64            // that it will follow nobody older
	current  int64            // that it has what the leader of this epoch began with
	must     []consensus.Zxid // that it has this
}

func (p *reign) step(format string, args ...any) {
	p.steps = append(p.steps, fmt.Sprintf(format, args...))
}

func plainPacket(t quorum.PacketType, z consensus.Zxid) quorum.Packet {
	return quorum.Packet{Type: t, Zxid: int64(z)}
}

func proposal(z consensus.Zxid) quorum.Packet {
	return quorum.Packet{Type: quorum.TypeProposal, Zxid: int64(z), Data: txnOf(z).Data}
}

// next is the zxid of the present leader's next txn.
func (p *reign) next() consensus.Zxid {
	if n := len(p.history); n > 0 && p.history[n-1].Epoch() == p.epoch {
		return p.history[n-1] + 1
	}
	return consensus.MakeZxid(p.epoch, 1)
}

// grow adds a txn to the present leader's history.
func (p *reign) grow() consensus.Zxid {
	z := p.next()
	p.history = append(p.history, z)
	p.branches[len(p.branches)-1] = p.history
	return z
}

// note takes in what server 1 has sent.
func (p *reign) note(ks []quorum.Packet) (last consensus.Zxid, asked bool, err error) {
	for _, k := range ks {
		z := consensus.Zxid(k.Zxid)
		switch k.Type {
		case quorum.TypeFollowerInfo:
			p.accepted = max(p.accepted, z.Epoch())
		case quorum.TypeAckEpoch:
			p.accepted = max(p.accepted, p.epoch)
			last, asked = z, true
		case quorum.TypeAck:
			if z == consensus.MakeZxid(p.epoch, 0) {
				p.current = p.epoch
				p.must = slices.Clone(p.history)
				continue
			}
			n := slices.Index(p.history, z)
			if n < 0 {
				return 0, false, fmt.Errorf("it acks %v, which was never proposed", z)
			}
			if n+1 > len(p.must) {
				p.must = slices.Clone(p.history[:n+1])
			}
		}
	}
	return last, asked, nil
}

// elect makes a new leader, of whom server 1 hears: one that has all that is committed,
// and of the rest what the leader before had sent to others.
func (p *reign) elect() {
	keep := p.committed
	if more := len(p.history) - p.committed; more > 0 {
		keep += p.rng.IntN(more + 1)
	}
	p.epoch++
	p.history = slices.Clone(p.history[:keep])
	p.branches = append(p.branches, p.history)
	p.step("leader of epoch %d with %d of %d", p.epoch, keep, p.committed)
}

// follow makes server 1 connect to the leader, and tells it the epoch.
func (p *reign) follow() (last consensus.Zxid, err error) {
	s := p.s
	s.conn = 0
	for _, id := range []consensus.ServerID{2, 3} {
		n := protocol.Notification{State: quorum.Following, Leader: 3, Zxid: 1, ElectionEpoch: p.epoch, PeerEpoch: p.epoch, Version: 2}
		if id == 3 {
			n.State = quorum.Leading
		}
		s.member.Notification(s.now, id, n)
	}
	if err := s.settle(); err != nil {
		return 0, err
	}
	if err := s.pass(func() bool {
		if s.conn == 0 {
			for _, id := range []consensus.ServerID{2, 3} {
				n := protocol.Notification{State: quorum.Following, Leader: 3, Zxid: 1, ElectionEpoch: p.epoch, PeerEpoch: p.epoch, Version: 2}
				if id == 3 {
					n.State = quorum.Leading
				}
				s.member.Notification(s.now, id, n)
			}
		}
		return s.conn != 0
	}); err != nil {
		return 0, fmt.Errorf("it does not follow: %w", err)
	}
	if _, _, err := p.note(s.sent(s.conn)); err != nil {
		return 0, err
	}
	if err := s.hear(s.conn, quorum.Packet{Type: quorum.TypeLeaderInfo, Zxid: p.epoch << 32, Data: quorum.AppendInt(nil, quorum.ProtocolVersion)}); err != nil {
		return 0, err
	}
	last, asked, err := p.note(s.sent(s.conn))
	if err == nil && !asked {
		err = errors.New("it sends no ACKEPOCH")
	}
	return last, err
}

// sync brings server 1, whose log ends at last, to where the leader is; or breaks off, if
// it may. The leader sends what Apache's would.
func (p *reign) sync(last consensus.Zxid, mayBreak bool) (whole bool, err error) {
	s := p.s
	var ks []quorum.Packet
	var stream []byte
	from := 0 // of the history, what is sent as proposals
	end := consensus.Zxid(0)
	if n := len(p.history); n > 0 {
		end = p.history[n-1]
	}
	at := slices.Index(p.history, last)
	how := ""
	switch {
	case last == -1 || p.rng.IntN(4) == 0:
		how = "SNAP"
		ks = append(ks, plainPacket(quorum.TypeSnap, end))
		stream = streamOf(p.history)
		from = len(p.history)
	case at >= 0 || last == 0:
		how = "DIFF"
		from = at + 1
		ks = append(ks, plainPacket(quorum.TypeDiff, end))
	default:
		how = "TRUNC"
		for from < len(p.history) && p.history[from] < last {
			from++
		}
		to := consensus.Zxid(0)
		if from > 0 {
			to = p.history[from-1]
		}
		ks = append(ks, plainPacket(quorum.TypeTrunc, to))
	}
	p.step("%s from %v to %v", how, last, end)
	// From here on what it had acked and the leader does not have may go.
	p.must = common(p.must, p.history)
	for _, z := range p.history[from:] {
		ks = append(ks, proposal(z), plainPacket(quorum.TypeCommit, z))
	}
	ks = append(ks, plainPacket(quorum.TypeNewLeader, consensus.MakeZxid(p.epoch, 0)))
	stop := len(ks)
	if mayBreak && p.rng.IntN(5) < 2 {
		stop = 1 + p.rng.IntN(len(ks))
	}
	for i := 0; i < stop; {
		n := min(1+p.rng.IntN(4), stop-i)
		if ks[i].Type == quorum.TypeSnap {
			n = 1
			s.in[s.conn].Write(stream)
		}
		if err := s.hear(s.conn, ks[i:i+n]...); err != nil {
			return false, err
		}
		l := s.links[s.conn]
		if l == nil {
			// The snapshot that it has is not in this leader's history (the one before sent it
			// and was never established): it comes back for one.
			p.step("left after %d of %d packets", i+n, len(ks))
			return false, nil
		}
		if ks[i].Type == quorum.TypeSnap {
			<-l.restored
		}
		i += n
	}
	if _, _, err := p.note(s.sent(s.conn)); err != nil {
		return false, err
	}
	if stop < len(ks) {
		p.step("cut after %d of %d packets", stop, len(ks))
		return false, nil
	}
	if p.current != p.epoch {
		return false, errors.New("it does not ack NEWLEADER")
	}
	p.committed = len(p.history)
	return true, s.hear(s.conn, plainPacket(quorum.TypeUpToDate, -1))
}

// common is what two histories begin with.
func common(a, b []consensus.Zxid) []consensus.Zxid {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return a[:n:n]
}

// broadcast lets the leader propose and commit.
func (p *reign) broadcast() error {
	s := p.s
	for range 1 + p.rng.IntN(5) {
		var ks []quorum.Packet
		for range 1 + p.rng.IntN(4) {
			ks = append(ks, proposal(p.grow()))
		}
		p.step("propose up to %v", p.history[len(p.history)-1])
		if err := s.hear(s.conn, ks...); err != nil {
			return err
		}
		if _, _, err := p.note(s.sent(s.conn)); err != nil {
			return err
		}
		if len(p.must) != len(p.history) {
			return fmt.Errorf("it acked %d of %d", len(p.must), len(p.history))
		}
		upTo := p.committed + p.rng.IntN(len(p.history)-p.committed+1)
		ks = nil
		for _, z := range p.history[p.committed:upTo] {
			ks = append(ks, plainPacket(quorum.TypeCommit, z))
		}
		p.committed = upTo
		if err := s.hear(s.conn, ks...); err != nil {
			return err
		}
		if s.node.wrong != nil {
			return s.node.wrong
		}
		if !slices.Equal(s.node.state, p.history[:p.committed]) {
			return fmt.Errorf("the node is at %v, of %d committed", s.node.at, p.committed)
		}
	}
	return nil
}

// leave ends the following.
func (p *reign) leave() error {
	s := p.s
	s.member.Closed(s.now, s.conn, "gone")
	return s.settle()
}

// run plays the story on a disk, until the disk fails or it is over.
func (p *reign) run(fsys vfs.FS, seed uint64) (err error) {
	p.rng = rand.New(rand.NewPCG(seed, 5))
	open := func(s *stepped, err error) error {
		if err != nil {
			return err
		}
		p.s = s
		s.node.every, s.node.keep = 3+int(seed%3)*4, int(seed%4)
		return nil
	}
	if err := open(openStepped(fsys)); err != nil {
		return err
	}
	p.elect()
	for range 7 {
		last, err := p.follow()
		if err != nil {
			return err
		}
		whole, err := p.sync(last, true)
		if err != nil {
			return err
		}
		if whole {
			if err := p.broadcast(); err != nil {
				return err
			}
		}
		if p.rng.IntN(4) == 0 {
			p.step("restart")
			if err := open(p.s.restart()); err != nil {
				return err
			}
		} else if err := p.leave(); err != nil {
			return err
		}
		// What the leader does before its quorum is gone, server 1 does not see.
		for range p.rng.IntN(3) {
			p.grow()
		}
		if whole && p.rng.IntN(4) == 0 {
			continue // back to the same leader
		}
		p.elect()
	}
	return p.s.log.Close()
}

// check starts from what a crash left, and holds it against what server 1 said.
func (p *reign) check(left *vfs.Mem) error {
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
	switch {
	case current > accepted:
		return fmt.Errorf("currentEpoch %d, acceptedEpoch %d (I14)", current, accepted)
	case accepted < p.accepted:
		return fmt.Errorf("acceptedEpoch %d, it had promised %d (I14)", accepted, p.accepted)
	case current < p.current:
		return fmt.Errorf("currentEpoch %d, it had acked NEWLEADER of %d (I15)", current, p.current)
	}
	if c := common(p.must, has); len(c) < len(p.must) {
		return fmt.Errorf("it has %v, and had acked %v (I06)", has, p.must)
	}
	// All that it has is the beginning of some leader's history: no hole, nothing of two.
	var branch []consensus.Zxid
	known := len(has) == 0
	for _, b := range p.branches {
		if len(common(has, b)) == len(has) {
			branch, known = b, true
		}
	}
	if !known {
		return fmt.Errorf("it has %v, which no leader had (I16)", has)
	}
	// An epoch file vouches for what the leader of that epoch began with.
	if current > 0 && current <= int64(len(p.branches)) {
		begin := p.branches[current-1]
		n := 0
		for n < len(begin) && begin[n].Epoch() < current {
			n++
		}
		if len(common(has, begin[:n])) < n {
			return fmt.Errorf("currentEpoch is %d, whose leader began with %v, and it has %v (I14)", current, begin[:n], has)
		}
	}
	if n := len(s.node.state); n > 0 && len(common(s.node.state, branch)) < n {
		return fmt.Errorf("the snapshot has %v (I17)", s.node.state)
	}
	// It can go on: a new leader brings it up to date, and that lasts.
	q := reign{rng: rand.New(rand.NewPCG(1, 1)), s: s, epoch: p.epoch, history: p.history, committed: p.committed, branches: slices.Clone(p.branches),
		accepted: accepted, current: current, must: has}
	q.committed = max(q.committed, 0)
	q.elect()
	for try, whole := 0, false; !whole; try++ {
		last, err := q.follow()
		if err == nil {
			whole, err = q.sync(last, false)
		}
		if err == nil && try == 2 && !whole {
			err = errors.New("it leaves again and again")
		}
		if err != nil {
			return fmt.Errorf("the next sync: %w", err)
		}
	}
	if !slices.Equal(s.node.state, q.history) || s.node.wrong != nil {
		return fmt.Errorf("after the next sync the node has %v, the leader %v, %v", s.node.state, q.history, s.node.wrong)
	}
	if err := q.broadcast(); err != nil {
		return err
	}
	again, err := openStepped(left.Crash(vfs.LoseAll, 0))
	if err != nil {
		return fmt.Errorf("started again: %w", err)
	}
	if has, err := again.onDisk(); err != nil || len(common(has, q.must)) < len(q.must) {
		return fmt.Errorf("started again it has %v of %v, %v (I26)", has, q.must, err)
	}
	return nil
}

// checkRestart starts the server after its process has ended alone, and cuts the power
// then: what it found, and might have told others, must be there still. After a failed
// sync, or one that did not take place, the system shows what the disk does not have.
func checkRestart(m *vfs.Mem) error {
	m.Restart()
	s, err := openStepped(m)
	if err != nil {
		return fmt.Errorf("it does not start: %w", err)
	}
	has, err := s.onDisk()
	if err != nil {
		return err
	}
	epochs := func(fsys vfs.FS) (accepted, current int64, err error) {
		accepted, _, err = txnlog.ReadEpoch(fsys, s.node.dirs.Snap, txnlog.AcceptedEpoch)
		if err == nil {
			current, _, err = txnlog.ReadEpoch(fsys, s.node.dirs.Snap, txnlog.CurrentEpoch)
		}
		return accepted, current, err
	}
	accepted, current, err := epochs(m)
	if err != nil {
		return err
	}
	left := m.Crash(vfs.LoseAll, 0)
	again, err := openStepped(left)
	if err != nil {
		return fmt.Errorf("after the power cut it does not start: %w", err)
	}
	if got, err := again.onDisk(); err != nil || !slices.Equal(got, has) {
		return fmt.Errorf("after the power cut it has %v, %v; before it found %v (I14, I27)", got, err, has)
	}
	if a, c, err := epochs(left); err != nil || a < accepted || c < current {
		return fmt.Errorf("after the power cut its epochs are %d and %d, %v; before it found %d and %d (I14)", a, c, err, accepted, current)
	}
	return nil
}

// apart puts the log of every other story into a directory of its own.
func apart(t *testing.T, seed uint64) {
	before := crashLogDir
	t.Cleanup(func() { crashLogDir = before })
	crashLogDir = []string{"/data", "/log"}[seed%2]
}

func newDisk(t testing.TB) *vfs.Mem {
	m := vfs.NewMem()
	for _, dir := range []string{"/data", "/log"} {
		if err := m.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// crashSeeds is how many stories are told; each is stopped at each of its operations.
var crashSeeds = flag.Uint64("crashseeds", 2, "stories to stop at each of their operations")

// TestCrashAnywhereInAReign stops a server before each operation on its disk, while
// leaders come and go, synchronise it by DIFF, TRUNC and SNAP, and break off; and starts
// it from what each kind of loss leaves.
func TestCrashAnywhereInAReign(t *testing.T) {
	states := 0
	how := map[string]int{}
	for seed := range *crashSeeds {
		apart(t, seed)
		whole := newDisk(t)
		base := whole.Ops()
		p := &reign{}
		if err := p.run(whole, seed); err != nil {
			t.Fatalf("seed %d: %v\n%q", seed, err, p.steps)
		}
		for _, s := range p.steps {
			for _, kind := range []string{"SNAP", "DIFF", "TRUNC", "cut", "restart"} {
				if len(s) >= len(kind) && s[:len(kind)] == kind {
					how[kind]++
				}
			}
		}
		for stop := base; stop <= whole.Ops(); stop++ {
			m := newDisk(t)
			m.StopAt(stop)
			p := &reign{}
			if err := p.run(m, seed); err != nil && !errors.Is(err, vfs.ErrCrashed) {
				t.Fatalf("seed %d, stop %d: %v\n%q", seed, stop, err, p.steps)
			}
			for loss, tries := range map[vfs.Loss]uint64{vfs.LoseAll: 1, vfs.LoseNone: 1, vfs.LoseSome: 2} {
				for try := range tries {
					states++
					if err := p.check(m.Crash(loss, try)); err != nil {
						t.Fatalf("seed %d, stopped before operation %d, loss %d, try %d: %v\n%q", seed, stop, loss, try, err, p.steps)
					}
				}
			}
			states++
			if err := checkRestart(m); err != nil {
				t.Fatalf("seed %d, ended before operation %d: %v\n%q", seed, stop, err, p.steps)
			}
		}
	}
	t.Logf("%d states, %v", states, how)
	if states < 2000 || how["SNAP"] < 1 || how["DIFF"] < 5 || how["TRUNC"] < 1 || how["cut"] < 1 || how["restart"] < 1 {
		t.Errorf("%d states, %v: too few to mean anything", states, how)
	}
}

// TestErrorAnywhereInAReign fails each operation once: the server says so and stops, and
// what it had said is on the disk.
func TestErrorAnywhereInAReign(t *testing.T) {
	for seed := range (*crashSeeds + 1) / 2 {
		apart(t, seed+1)
		clean := vfs.NewErrors(newDisk(t), func(vfs.Op) error { return nil })
		if err := (&reign{}).run(clean, seed); err != nil {
			t.Fatal(err)
		}
		for i := range clean.Ops() {
			m := newDisk(t)
			p := &reign{}
			var failed vfs.Op
			err := p.run(vfs.NewErrors(m, func(op vfs.Op) error {
				if op.N != i {
					return nil
				}
				failed = op
				return syscall.EIO
			}), seed)
			// Closing a file that was only read tells nothing; what a purge leaves behind is
			// removed the next time; and where the log can't be read to find out what it
			// holds, a snapshot is asked for.
			harmless := failed.Kind == "close" || failed.Kind == "remove" ||
				slices.Contains([]string{"open", "read", "size"}, failed.Kind) && strings.HasPrefix(path.Base(failed.Name), "log.")
			if !errors.Is(err, syscall.EIO) && !(harmless && err == nil) {
				t.Fatalf("seed %d, operation %+v: passed over: %v\n%q", seed, failed, err, p.steps)
			}
			for _, loss := range []vfs.Loss{vfs.LoseAll, vfs.LoseNone, vfs.LoseSome} {
				if err := p.check(m.Crash(loss, uint64(i))); err != nil {
					t.Fatalf("seed %d, operation %+v failed, loss %d: %v\n%q", seed, failed, loss, err, p.steps)
				}
			}
			if err := checkRestart(m); err != nil {
				t.Fatalf("seed %d, ended after operation %+v failed: %v\n%q", seed, failed, err, p.steps)
			}
		}
	}
}

// TestMarkIsGoneForGood: the file initialize is for one start. After a power cut it is not there again, when the server may have
// acknowledged something and its data is damaged.
func TestMarkIsGoneForGood(t *testing.T) {
	fsys := vfs.NewMem()
	if err := fsys.MkdirAll(crashLogDir); err != nil {
		t.Fatal(err)
	}
	mark := crashLogDir + "/initialize"
	if err := vfs.WriteFile(fsys, crashLogDir, crashLogDir+"/tmp", mark, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := openStepped(fsys); err != nil {
		t.Fatal(err)
	}
	if _, err := fsys.Crash(vfs.LoseAll, 0).Stat(mark); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after a power cut the mark is there again: %v", err)
	}
}
