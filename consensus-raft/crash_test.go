package raft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/zkcore/zkcore/consensus-raft/protocol"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A stepped is a whole member of an ensemble (protocol, journal, files, and a node with
// snapshots) of which nothing runs by itself: settle does what there is to do, in one
// order. So its operations on the disk have numbers, and it can be stopped at each. The
// test is the other two servers.
type stepped struct {
	t    *testing.T
	fs   vfs.FS
	d    *Driven
	node *tree
	now  protocol.Time
	rng  *rand.Rand
	err  error // of the disk, or what else ends the process
	conn protocol.Conn
	said *promises
}

// promises are what the server has said, in all its lives.
type promises struct {
	term  uint64
	votes map[uint64]consensus.ServerID
	// acked is how far its log goes, as it has said, and terms where each term begins. What
	// is replaced by another leader it may forget from then on.
	acked protocol.Point
	terms map[uint64]uint64
	cut   uint64 // entries from here on may be gone
}

// last is the zxid of an entry.
func (p *promises) at(index uint64) protocol.Point {
	best := protocol.Point{Index: index}
	start := uint64(0)
	for term, first := range p.terms {
		if first <= index && term > best.Term {
			best.Term, start = term, first
		}
	}
	best.Zxid = consensus.MakeZxid(int64(best.Term), uint32(index-start))
	return best
}

// A tree is a node whose state is the zxids that it was given.
type tree struct {
	fs    vfs.FS
	given []consensus.Zxid
	role  consensus.Role
	wrong string
}

const crashDir = "/data/version-2"

func (n *tree) Recover(max consensus.Zxid) (consensus.Zxid, error) {
	names, err := n.fs.ReadDir(crashDir)
	if err != nil {
		return 0, err
	}
	var zs []consensus.Zxid
	for _, name := range names {
		if hex, ok := strings.CutPrefix(name, "snapshot."); ok {
			z, err := strconv.ParseUint(hex, 16, 64)
			if err != nil {
				return 0, err
			}
			zs = append(zs, consensus.Zxid(z))
		}
	}
	n.given = nil
	if len(zs) == 0 {
		return 0, nil
	}
	b, err := vfs.ReadFile(n.fs, crashDir+"/"+txnlog.SnapshotName(slices.Max(zs)), 1<<20)
	if err != nil {
		return 0, err
	}
	n.load(b)
	return n.last(), nil
}

func (n *tree) load(b []byte) {
	n.given = nil
	for ; len(b) >= 8; b = b[8:] {
		n.given = append(n.given, consensus.Zxid(binary.BigEndian.Uint64(b)))
	}
}

func (n *tree) bytes() (b []byte) {
	for _, z := range n.given {
		b = binary.BigEndian.AppendUint64(b, uint64(z))
	}
	return b
}

func (n *tree) last() consensus.Zxid {
	if len(n.given) == 0 {
		return 0
	}
	return n.given[len(n.given)-1]
}

func (n *tree) save() error {
	name := crashDir + "/" + txnlog.SnapshotName(n.last())
	return vfs.WriteFile(n.fs, crashDir, crashDir+"/tmp."+txnlog.SnapshotName(n.last()), name, n.bytes())
}

func (n *tree) SetAside(folder string) error { n.given = nil; n.wrong = "set aside"; return nil }
func (n *tree) Role(r consensus.Role)        { n.role = r }
func (n *tree) Deliver(txns []consensus.Txn) {
	for _, x := range txns {
		if z := n.last(); x.Zxid != z+1 && (x.Zxid.Epoch() <= z.Epoch() || x.Zxid.Counter() != 1) {
			n.wrong = fmt.Sprintf("%v is delivered behind %v", x.Zxid, z)
		}
		n.given = append(n.given, x.Zxid)
	}
}
func (n *tree) Receive(consensus.ServerID, consensus.Request)       {}
func (n *tree) Touch(consensus.ServerID, []consensus.Touch)         {}
func (n *tree) Revalidate(consensus.ServerID, consensus.Touch) bool { return false }
func (n *tree) Revalidated(int64, bool)                             {}
func (n *tree) Synced(consensus.SyncID)                             {}
func (n *tree) Touched() []consensus.Touch                          { return nil }
func (n *tree) Snapshot() (consensus.Snapshot, error)               { return nil, errors.New("no") }
func (n *tree) Restore(zxid consensus.Zxid, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		n.given = nil
		return err
	}
	n.load(b)
	return n.save()
}

// The World of a stepped: nothing wakes anybody, and what it sends is looked at.
func (s *stepped) Now() protocol.Time                     { return s.now }
func (s *stepped) IntN(n int64) int64                     { return s.rng.Int64N(n) }
func (s *stepped) Wake()                                  {}
func (s *stepped) WakeJournal()                           {}
func (s *stepped) WakeNode()                              {}
func (s *stepped) Dial(consensus.ServerID, protocol.Time) {}
func (s *stepped) HangUp()                                {}
func (s *stepped) Disconnect(protocol.Conn)               {}
func (s *stepped) Mail(to consensus.ServerID, b []byte) {
	f, err := protocol.DecodeFrame(b[4:])
	if err != nil {
		s.t.Fatal(err)
	}
	switch {
	case f.Kind == protocol.Bid && f.Echo == 0:
		answer := protocol.Frame{Kind: protocol.Bid, Nonce: 99, Echo: f.Nonce, Worth: protocol.Proven}
		if err := s.d.Mailed(to, answer.Append(nil)); err != nil {
			s.t.Fatal(err)
		}
	case f.Kind == protocol.Vote && f.Raft.GetType() == pb.MsgVoteResp && !f.Raft.GetReject():
		if was := s.said.votes[f.Raft.GetTerm()]; was != 0 && was != to {
			s.t.Errorf("it votes for %d and for %d in term %d", was, to, f.Raft.GetTerm())
		}
		s.said.votes[f.Raft.GetTerm()] = to
		s.said.term = max(s.said.term, f.Raft.GetTerm())
	}
}
func (s *stepped) Send(_ protocol.Conn, b []byte) {
	for len(b) > 4 {
		n := int(beUint32(b))
		f, err := protocol.DecodeFrame(b[4 : 4+n])
		if err != nil {
			s.t.Fatal(err)
		}
		b = b[4+n:]
		switch {
		case f.Kind == protocol.Installed:
			s.said.acked, s.said.cut = f.At, f.At.Index+1
		case f.Kind == protocol.Raft && f.Raft.GetType() == pb.MsgAppResp && !f.Raft.GetReject():
			s.said.term = max(s.said.term, f.Raft.GetTerm())
			if i := f.Raft.GetIndex(); i >= s.said.acked.Index || i >= s.said.cut {
				s.said.acked = s.said.at(i)
				s.said.cut = i + 1
			}
		}
	}
}

func openStepped(t *testing.T, fsys vfs.FS, said *promises) (s *stepped, err error) {
	s = &stepped{t: t, fs: fsys, now: 1000 * protocol.Millisecond, rng: rand.New(rand.NewPCG(1, 1)), said: said}
	s.node = &tree{fs: fsys}
	cfg := consensus.Config{ID: 1, DataDir: "/data", LogDir: "/data", Tick: time.Second, InitLimit: 10, SyncLimit: 5,
		Log:     slog.New(slog.DiscardHandler),
		Options: map[string]string{"preAllocSize": "1", "zkcore.raft.windowBytes": "4096", "zkcore.disk.reserveMb": "0"},
		Fail: func(_ int, err error) {
			if s.err == nil {
				s.err = err
			}
		}}
	for i := 1; i <= 3; i++ {
		at := func(port int) []string { return []string{fmt.Sprintf("127.0.0.1:%d", port+i)} }
		cfg.Servers = append(cfg.Servers, consensus.Server{ID: consensus.ServerID(i), Quorum: at(2880), Election: at(3880)})
	}
	if err := fsys.MkdirAll(crashDir); err != nil {
		return nil, err
	}
	if s.d, err = OpenDriven(fsys, s, cfg, s.node); err != nil {
		return nil, err
	}
	s.d.Begin()
	return s, s.settle()
}

// settle does all that follows from what has happened. The disk is slow: before each of its
// operations everybody has heard all that there is to hear.
func (s *stepped) settle() error {
	for s.err == nil {
		for first := true; s.err == nil; first = false {
			s.d.e.evMu.Lock()
			events := len(s.d.e.events)
			s.d.e.evMu.Unlock()
			if events == 0 && !first {
				break
			}
			s.d.Turn()
		}
		switch {
		case s.err != nil:
		case s.d.NodeWaits() && s.d.Node():
		case s.d.JournalWaits():
			if err := s.d.Journal(); err != nil {
				s.err = err
			}
		default:
			return nil
		}
	}
	return s.err
}

// frames gives it what its leader sends.
func (s *stepped) frames(fs ...protocol.Frame) error {
	var b []byte
	for i := range fs {
		b = fs[i].Append(b)
	}
	if _, err := s.d.Frames(s.conn, b); err != nil {
		return err
	}
	return s.settle()
}

func (s *stepped) lead(id consensus.ServerID, term uint64) error {
	s.conn++
	s.d.Accepted(s.conn, "leader")
	return s.frames(protocol.Frame{Kind: protocol.Lead, Version: protocol.Version, From: id, Set: s.d.e.member.Set(), Term: term})
}

// appends sends entries of a term, from index on; with begin the first one is empty.
func (s *stepped) appends(term uint64, prev protocol.Point, n int, begin bool, commit uint64) error {
	k := &pb.Message{Type: pb.MsgApp.Enum(), Term: new(term), LogTerm: new(prev.Term), Index: new(prev.Index), Commit: new(commit)}
	index := prev.Index + 1
	if index <= s.said.acked.Index {
		s.said.acked, s.said.cut = s.said.at(prev.Index), index // it may forget what it had from here on
		for t, first := range s.said.terms {
			if first >= index {
				delete(s.said.terms, t)
			}
		}
	}
	for range n {
		e := &pb.Entry{Term: new(term)}
		if begin {
			s.said.terms[term] = index
			begin = false
		} else {
			z := consensus.MakeZxid(int64(term), uint32(index-s.said.terms[term]))
			data := make([]byte, 40+int(z%7)*30)
			binary.BigEndian.PutUint64(data[12:], uint64(z))
			e.Data = data
		}
		k.Entries = append(k.Entries, e)
		index++
	}
	return s.frames(protocol.Frame{Kind: protocol.Raft, Raft: k})
}

// story is what happens to the server: all kinds of writes that it knows. It stops at the
// first error.
func (s *stepped) story() error {
	checkpoint := func(needed consensus.Zxid) func() error {
		return func() error {
			if err := s.node.save(); err != nil {
				return err
			}
			if err := s.d.Checkpoint(s.node.last(), needed); err != nil {
				return err
			}
			return s.settle()
		}
	}
	var snap bytes.Buffer
	for i := range uint32(40) {
		binary.Write(&snap, binary.BigEndian, uint64(consensus.MakeZxid(1, i+1)))
	}
	for i := range uint32(9) {
		binary.Write(&snap, binary.BigEndian, uint64(consensus.MakeZxid(5, i+1)))
	}
	far := protocol.Point{Index: 51, Term: 5, Zxid: consensus.MakeZxid(5, 9)}
	for _, step := range []func() error{
		func() error { return s.lead(2, 1) },
		func() error { return s.appends(1, protocol.Point{}, 10, true, 0) },
		func() error { return s.appends(1, s.said.at(10), 5, false, 10) },
		checkpoint(0),
		func() error { return s.appends(1, s.said.at(15), 10, false, 15) },
		// Another leader has only the first 20 of these.
		func() error { return s.vote(3, 3, s.said.at(25)) },
		func() error { return s.lead(3, 3) },
		func() error { return s.appends(3, s.said.at(20), 6, true, 15) },
		// The next one has still less, and nothing of the last.
		func() error { return s.lead(2, 4) },
		func() error { return s.appends(4, s.said.at(18), 6, true, 19) },
		func() error { return s.appends(4, s.said.at(24), 6, false, 26) },
		checkpoint(consensus.MakeZxid(1, 14)),
		// And one that is far ahead.
		func() error { return s.vote(3, 5, s.said.at(30)) },
		func() error { return s.lead(3, 5) },
		func() error { s.said.terms[5] = 42; return nil },
		func() error {
			s.said.acked, s.said.cut = s.said.at(26), 27 // what it has is about to be replaced
			return s.frames(protocol.Frame{Kind: protocol.Snap, At: far}, protocol.Frame{Kind: protocol.Chunk, Data: snap.Bytes()},
				protocol.Frame{Kind: protocol.SnapDone})
		},
		func() error { return s.appends(5, far, 5, false, far.Index) },
		checkpoint(far.Zxid),
		func() error { return s.appends(5, s.said.at(far.Index+5), 3, false, far.Index+6) },
	} {
		if err := step(); err != nil {
			return err
		}
		if s.node.wrong != "" {
			s.t.Fatal(s.node.wrong)
		}
	}
	return nil
}

func (s *stepped) vote(id consensus.ServerID, term uint64, at protocol.Point) error {
	// The leader of before is silent for long enough.
	s.d.Closed(s.conn, "gone")
	if err := s.settle(); err != nil {
		return err
	}
	f := protocol.Frame{Kind: protocol.Vote, Raft: &pb.Message{Type: pb.MsgVote.Enum(), Term: new(term), LogTerm: new(at.Term), Index: new(at.Index)}}
	if err := s.d.Mailed(id, f.Append(nil)); err != nil {
		return err
	}
	return s.settle()
}

// check opens what is left, and looks whether it is what was promised.
func (s *promises) check(t *testing.T, what string, fsys vfs.FS) {
	t.Helper()
	r, err := openStepped(t, fsys, &promises{votes: map[uint64]consensus.ServerID{}, terms: map[uint64]uint64{}})
	if err != nil {
		t.Errorf("%s: it does not start again: %v", what, err)
		return
	}
	defer r.d.Close()
	if r.node.wrong != "" {
		t.Errorf("%s: %s", what, r.node.wrong)
	}
	b, err := vfs.ReadFile(fsys, crashDir+"/raft", 1<<20)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	st, err := protocol.DecodeState(b)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if st.Term < s.term {
		t.Errorf("%s: it is in term %d, and has spoken in %d (I14)", what, st.Term, s.term)
	}
	if v := s.votes[st.Term]; v != 0 && st.Vote != v {
		t.Errorf("%s: it has voted for %d in term %d, and says %d (I14)", what, v, st.Term, st.Vote)
	}
	v := r.d.e.member.View()
	if s.acked.Zxid != 0 && v.Logged < s.acked.Zxid {
		t.Errorf("%s: its log ends at %v, and it has acknowledged %v (I06)", what, v.Logged, s.acked.Zxid)
	}
	if st.Standing == protocol.Lost {
		t.Errorf("%s: it says that it is damaged: %s", what, st.Why)
	}
}

func newPromises() *promises {
	return &promises{votes: map[uint64]consensus.ServerID{}, terms: map[uint64]uint64{}}
}

// TestCrash stops the server before each of its operations on the disk, and starts it again
// from what three kinds of power cuts leave.
func TestCrash(t *testing.T) {
	whole := vfs.NewMem()
	said := newPromises()
	s, err := openStepped(t, whole, said)
	if err == nil {
		err = s.story()
	}
	if err != nil {
		t.Fatal(err)
	}
	if want := consensus.MakeZxid(5, 15); s.node.last() != want {
		t.Fatalf("in the end it is at %v, want %v", s.node.last(), want)
	}
	if err := s.d.Close(); err != nil {
		t.Fatal(err)
	}
	ops, states := whole.Ops(), 0
	for n := range ops {
		m := vfs.NewMem()
		m.StopAt(n)
		said := newPromises()
		s, err := openStepped(t, m, said)
		if err == nil {
			err = s.story()
		}
		if err == nil {
			continue // it closes
		}
		if !errors.Is(err, vfs.ErrCrashed) {
			t.Fatalf("operation %d: %v", n, err)
		}
		for _, loss := range []vfs.Loss{vfs.LoseAll, vfs.LoseNone, vfs.LoseSome, vfs.LoseSome} {
			states++
			said.check(t, fmt.Sprintf("power cut before operation %d of %d, loss %d, seed %d", n, ops, loss, states), m.Crash(loss, uint64(states)))
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d operations, %d states of the disk", ops, states)
	if states < 200 {
		t.Error("that is too few to say anything")
	}
}

// TestDiskErrors fails each operation on the disk once: the server ends, and what it has
// promised by then it finds when it starts again, after a power cut at that.
func TestDiskErrors(t *testing.T) {
	for n := 0; ; n++ {
		m := vfs.NewMem()
		var failed bool
		e := vfs.NewErrors(m, func(op vfs.Op) error {
			if op.N == n {
				failed = true
				return syscall.EIO
			}
			return nil
		})
		said := newPromises()
		s, err := openStepped(t, e, said)
		if err == nil {
			err = s.story()
		}
		if !failed {
			if n < 200 {
				t.Errorf("there were only %d operations", n)
			}
			t.Logf("%d operations", n)
			return
		}
		if err == nil {
			// What it asks the disk and can do without.
			continue
		}
		if !errors.Is(err, syscall.EIO) && !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("operation %d: %v", n, err)
		}
		said.check(t, fmt.Sprintf("operation %d failed", n), m.Crash(vfs.LoseSome, uint64(n)))
		if t.Failed() {
			return
		}
	}
}

// TestMarkIsGoneForGood: the file initialize is for one start. After a power cut it is not there again, when the server may have
// acknowledged something and its data is damaged.
func TestMarkIsGoneForGood(t *testing.T) {
	fsys := vfs.NewMem()
	if err := fsys.MkdirAll("/data"); err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFile(fsys, "/data", "/data/tmp", "/data/initialize", nil); err != nil {
		t.Fatal(err)
	}
	s, err := openStepped(t, fsys, &promises{votes: map[uint64]consensus.ServerID{}, terms: map[uint64]uint64{}})
	if err != nil {
		t.Fatal(err)
	}
	if st := s.d.e.member.View().Standing; st != protocol.Proven {
		t.Fatalf("a new server is %v", st)
	}
	fsys = fsys.Crash(vfs.LoseAll, 0)
	if err := vfs.WriteFile(fsys, crashDir, crashDir+"/tmp", stateName("/data"), []byte("damaged")); err != nil {
		t.Fatal(err)
	}
	if s, err = openStepped(t, fsys, &promises{votes: map[uint64]consensus.ServerID{}, terms: map[uint64]uint64{}}); err != nil {
		t.Fatal(err)
	}
	if st := s.d.e.member.View().Standing; st != protocol.Lost {
		t.Errorf("a server that does not know what it acknowledged is %v", st)
	}
}

// A hookedFS does something at the next read of a file.
type hookedFS struct {
	vfs.FS
	hook func()
}

func (h *hookedFS) Open(name string) (vfs.File, error) {
	f, err := h.FS.Open(name)
	return hookedFile{f, h}, err
}

type hookedFile struct {
	vfs.File
	h *hookedFS
}

func (f hookedFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(b, off)
	if hook := f.h.hook; hook != nil {
		f.h.hook = nil
		hook()
	}
	return n, err
}

// TestReadBesideACut: while what is committed is read out of the log for the node, what is behind it, and the leader does not
// have, is cut off.
func TestReadBesideACut(t *testing.T) {
	fsys := &hookedFS{FS: vfs.NewMem()}
	if err := fsys.MkdirAll("/log"); err != nil {
		t.Fatal(err)
	}
	l, _, err := txnlog.OpenLog(fsys, "/log", txnlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for z := consensus.Zxid(1); z <= 10; z++ {
		b := make([]byte, 64)
		binary.BigEndian.PutUint64(b[12:], uint64(z))
		if err := l.Append([]consensus.Txn{{Zxid: z, Data: b}}); err != nil {
			t.Fatal(err)
		}
	}
	r := &logReader{log: l}
	defer r.close()
	fsys.hook = func() {
		if err := l.TruncateTo(8); err != nil {
			t.Error(err)
		}
	}
	txns, err := r.Read(2, 8, 1<<20)
	if err != nil || len(txns) != 6 || l.Last() != 8 {
		t.Errorf("it reads %d txns, %v; the log ends at %v", len(txns), err, l.Last())
	}
	fsys.hook = func() {
		if err := l.TruncateTo(6); err != nil {
			t.Error(err)
		}
	}
	if txns, err := (&logReader{log: l}).Read(2, 8, 1<<20); err == nil {
		t.Errorf("what was cut is read: %d txns", len(txns))
	}
}
