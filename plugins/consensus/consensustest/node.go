package consensustest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// A Node is a node whose state is small and says all.
type Node struct {
	dir    string
	broken func(string) // reports a broken promise

	// Prepare, if set, makes the leader's txns of a request. Without it a request becomes
	// one txn.
	Prepare func(from consensus.ServerID, r consensus.Request)

	mu        sync.Mutex
	changed   sync.Cond
	member    consensus.Member
	opening   bool // the member is being opened
	calling   bool // a call is under way: they must not overlap
	recovered bool
	role      consensus.Role
	roles     []consensus.Role
	pinned    int
	calls     int

	last     consensus.Zxid
	count    uint64
	digest   uint64
	log      []Applied // what was delivered since the last Recover or Restore
	next     consensus.Zxid
	synced   []consensus.SyncID
	revals   []Revalidated
	received []Received
	touched  []Touched
	touches  []consensus.Touch // what Touched returns
	alive    map[int64]consensus.ServerID
	restores int
	aside    int
	damaged  bool // Recover finds nothing good until SetAside
	filler   int
	block    chan struct{} // Deliver waits for it
}

// Applied is one delivered txn.
type Applied struct {
	Zxid    consensus.Zxid
	Session int64
	Cxid    int32
	Digest  uint64 // of the state after it
}

// Received is one request that a leader's node got.
type Received struct {
	From    consensus.ServerID
	Request consensus.Request
}

// Touched is one Touch that a leader's node got.
type Touched struct {
	From  consensus.ServerID
	Touch consensus.Touch
}

// Revalidated is one answer to a revalidation, and what had been delivered by then.
type Revalidated struct {
	Session int64
	Alive   bool
	At      consensus.Zxid
}

var _ consensus.Node = (*Node)(nil)

// NewNode makes a node that keeps its snapshots in dir, where dataDir's are. broken is
// told of each promise that the member breaks.
func NewNode(dir string, broken func(string)) *Node {
	n := &Node{dir: filepath.Join(dir, "version-2"), broken: broken, alive: map[int64]consensus.ServerID{}}
	n.changed.L = &n.mu
	return n
}

// MakeTxn is a txn in Apache's format, a setData of /t, with a value that depends on
// its zxid.
func MakeTxn(z consensus.Zxid, session int64, cxid int32, size int) consensus.Txn {
	b := binary.BigEndian.AppendUint64(nil, uint64(session))
	b = binary.BigEndian.AppendUint32(b, uint32(cxid))
	b = binary.BigEndian.AppendUint64(b, uint64(z))
	b = binary.BigEndian.AppendUint64(b, 1_700_000_000_000)
	b = binary.BigEndian.AppendUint32(b, 5)
	b = binary.BigEndian.AppendUint32(b, 2)
	b = append(b, "/t"...)
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	for i := range size {
		b = append(b, byte(int(z)+i))
	}
	b = binary.BigEndian.AppendUint32(b, 1)
	return consensus.Txn{Zxid: z, Data: b}
}

// enter begins a call of the member. Two at a time, or one before Recover, break the
// contract.
func (n *Node) enter(what string) {
	n.mu.Lock()
	if n.calling {
		n.breaks("%s is called while another call is under way", what)
	}
	if !n.recovered && what != "Recover" && what != "SetAside" {
		n.breaks("%s is called before Recover", what)
	}
	n.calling = true
	n.calls++
	for n.opening && what != "Recover" && what != "SetAside" {
		n.changed.Wait()
	}
}

func (n *Node) leave() {
	n.calling = false
	n.changed.Broadcast()
	n.mu.Unlock()
}

func (n *Node) breaks(format string, args ...any) {
	n.broken(fmt.Sprintf(format, args...))
}

// Recover implements consensus.Node.
func (n *Node) Recover(max consensus.Zxid) (consensus.Zxid, error) {
	n.enter("Recover")
	defer n.leave()
	if n.established() {
		n.breaks("Recover(%v) is called while %v", max, n.role.State)
	}
	if n.damaged {
		return 0, fmt.Errorf("snapshots: %w", consensus.ErrDamaged)
	}
	n.recovered = true
	n.log, n.last, n.count, n.digest = nil, 0, 0, 0
	for _, z := range n.snapshots() {
		if z > max {
			if max != math.MaxInt64 {
				os.Remove(n.file(z))
			}
			continue
		}
		f, err := os.Open(n.file(z))
		if err != nil {
			return 0, err
		}
		err = n.read(bufio.NewReader(f))
		f.Close()
		if err != nil || n.last != z {
			return 0, fmt.Errorf("snapshot %v: %v, holds %v", z, err, n.last)
		}
		break
	}
	return n.last, nil
}

// SetAside implements consensus.Node.
func (n *Node) SetAside(folder string) error {
	n.enter("SetAside")
	defer n.leave()
	if n.established() {
		n.breaks("SetAside while %v", n.role.State)
	}
	for _, z := range n.snapshots() {
		if err := os.Rename(n.file(z), filepath.Join(folder, filepath.Base(n.file(z)))); err != nil {
			return err
		}
	}
	n.last, n.count, n.digest, n.log = 0, 0, 0, nil
	n.aside++
	n.damaged = false
	return nil
}

// snapshots are the zxids of the snapshots on disk, the newest first.
func (n *Node) snapshots() []consensus.Zxid {
	files, _ := os.ReadDir(n.dir)
	var zxids []consensus.Zxid
	for _, f := range files {
		if hex, ok := strings.CutPrefix(f.Name(), "snapshot."); ok {
			if z, err := strconv.ParseUint(hex, 16, 64); err == nil {
				zxids = append(zxids, consensus.Zxid(z))
			}
		}
	}
	slices.Sort(zxids)
	slices.Reverse(zxids)
	return zxids
}

func (n *Node) file(z consensus.Zxid) string {
	return filepath.Join(n.dir, fmt.Sprintf("snapshot.%x", uint64(z)))
}

func (n *Node) established() bool { return n.role.Term != 0 && n.role.State != consensus.Looking }

// Role implements consensus.Node.
func (n *Node) Role(r consensus.Role) {
	n.enter("Role")
	defer n.leave()
	switch {
	case len(n.roles) == 0 && r.State != consensus.Looking:
		n.breaks("the first role is %v", r.State)
	case len(n.roles) > 0 && n.role.State == consensus.Looking && r.State == consensus.Looking:
		n.breaks("looking comes after looking")
	case len(n.roles) > 0 && n.role.State != consensus.Looking && r.State != consensus.Looking:
		n.breaks("%v comes after %v without looking between them", r.State, n.role.State)
	case r.Term <= n.role.Term:
		n.breaks("term %d comes after %d", r.Term, n.role.Term)
	}
	if r.State == consensus.Leading {
		if r.Last < n.last {
			n.breaks("leading: Last is %v, and %v was delivered", r.Last, n.last)
		}
		if !r.Standalone && r.Last != consensus.MakeZxid(r.Epoch, 0) {
			n.breaks("leading in epoch %d: Last is %v", r.Epoch, r.Last)
		}
		n.next = r.Last + 1
	}
	n.role = r
	n.roles = append(n.roles, r)
}

// Deliver implements consensus.Node.
func (n *Node) Deliver(txns []consensus.Txn) {
	n.enter("Deliver")
	block := n.block
	n.mu.Unlock()
	if block != nil {
		<-block
	}
	n.mu.Lock()
	defer n.leave()
	if len(txns) == 0 {
		n.breaks("Deliver of nothing")
	}
	for _, t := range txns {
		n.apply(t)
	}
}

func (n *Node) apply(t consensus.Txn) {
	if t.Zxid <= n.last {
		n.breaks("Deliver(%v) comes after %v", t.Zxid, n.last)
		return
	}
	if t.Zxid != n.last+1 && (t.Zxid.Epoch() <= n.last.Epoch() || t.Zxid.Counter() != 1) {
		n.breaks("Deliver(%v) comes after %v: there is a hole between them", t.Zxid, n.last)
	}
	if len(t.Data) < 32 || binary.BigEndian.Uint64(t.Data[12:]) != uint64(t.Zxid) {
		n.breaks("Deliver(%v): the data is that of another txn", t.Zxid)
		return
	}
	h := fnv.New64a()
	binary.Write(h, binary.BigEndian, n.digest)
	h.Write(t.Data)
	n.last, n.digest = t.Zxid, h.Sum64()
	n.count++
	n.log = append(n.log, Applied{t.Zxid, int64(binary.BigEndian.Uint64(t.Data)), int32(binary.BigEndian.Uint32(t.Data[8:])), n.digest})
}

// Receive implements consensus.Node.
func (n *Node) Receive(from consensus.ServerID, r consensus.Request) {
	n.enter("Receive")
	if n.role.State != consensus.Leading {
		n.breaks("Receive is called while %v", n.role.State)
	}
	n.received = append(n.received, Received{from, r})
	prepare := n.Prepare
	if prepare == nil {
		n.propose(1, r.Session, r.Cxid, 16)
	}
	n.leave()
	if prepare != nil {
		prepare(from, r)
	}
}

// Touch implements consensus.Node.
func (n *Node) Touch(from consensus.ServerID, ts []consensus.Touch) {
	n.enter("Touch")
	defer n.leave()
	if n.role.State != consensus.Leading {
		n.breaks("Touch is called while %v", n.role.State)
	}
	for _, t := range ts {
		n.touched = append(n.touched, Touched{from, t})
	}
}

// Revalidate implements consensus.Node. Sessions are alive that SetAlive named.
func (n *Node) Revalidate(from consensus.ServerID, t consensus.Touch) bool {
	n.enter("Revalidate")
	defer n.leave()
	if n.role.State != consensus.Leading {
		n.breaks("Revalidate is called while %v", n.role.State)
	}
	_, ok := n.alive[t.Session]
	if ok {
		n.alive[t.Session] = from
	}
	return ok
}

// Revalidated implements consensus.Node.
func (n *Node) Revalidated(session int64, alive bool) {
	n.enter("Revalidated")
	defer n.leave()
	n.revals = append(n.revals, Revalidated{session, alive, n.last})
}

// Synced implements consensus.Node.
func (n *Node) Synced(id consensus.SyncID) {
	n.enter("Synced")
	defer n.leave()
	n.synced = append(n.synced, id)
}

// Touched implements consensus.Node.
func (n *Node) Touched() []consensus.Touch {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.touches
	n.touches = nil
	return t
}

// Snapshot implements consensus.Node.
func (n *Node) Snapshot() (consensus.Snapshot, error) {
	n.enter("Snapshot")
	defer n.leave()
	n.pinned++
	return &snapshot{n: n, last: n.last, count: n.count, digest: n.digest, filler: n.filler}, nil
}

type snapshot struct {
	n             *Node
	last          consensus.Zxid
	count, digest uint64
	filler        int
	closed        bool
}

func (s *snapshot) Zxid() consensus.Zxid { return s.last }

// WriteTo writes the state as a tree of /state, whose data are the three numbers, and of
// as many more nodes as make it as large as the test wants.
func (s *snapshot) WriteTo(w io.Writer) (int64, error) {
	var b []byte
	str := func(v string) { b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...) }
	node := func(path string, data []byte) {
		str(path)
		str(string(data))
		b = binary.BigEndian.AppendUint64(b, math.MaxUint64)
		b = append(b, make([]byte, 60)...)
	}
	b = append(b, make([]byte, 8)...) // no sessions, no ACLs
	node("", nil)
	var state []byte
	for _, v := range []uint64{uint64(s.last), s.count, s.digest} {
		state = binary.BigEndian.AppendUint64(state, v)
	}
	node("/state", state)
	written := int64(0)
	for i := 0; i < s.filler; i++ {
		node("/filler"+strconv.Itoa(i), make([]byte, 1000))
		if len(b) > 64<<10 {
			k, err := w.Write(b)
			if written += int64(k); err != nil {
				return written, err
			}
			b = b[:0]
		}
	}
	str("/")
	str("BenWasHere")
	k, err := w.Write(b)
	return written + int64(k), err
}

func (s *snapshot) Close() error {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if s.closed {
		s.n.breaks("a Snapshot is closed twice")
	}
	s.closed = true
	s.n.pinned--
	s.n.changed.Broadcast()
	return nil
}

// read makes the state that of the stream.
func (n *Node) read(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	const mark = "/state\x00\x00\x00\x18"
	i := bytes.Index(b, []byte(mark))
	if i < 0 || len(b) < i+len(mark)+24 || !bytes.HasSuffix(b, []byte("BenWasHere")) {
		return errors.New("consensustest: not a whole snapshot")
	}
	v := b[i+len(mark):]
	n.last = consensus.Zxid(binary.BigEndian.Uint64(v))
	n.count = binary.BigEndian.Uint64(v[8:])
	n.digest = binary.BigEndian.Uint64(v[16:])
	return nil
}

// Restore implements consensus.Node.
func (n *Node) Restore(zxid consensus.Zxid, r io.Reader) error {
	n.enter("Restore")
	if n.established() {
		n.breaks("Restore(%v) is called while %v", zxid, n.role.State)
	}
	n.mu.Unlock()
	// A buffer that reads ahead must not hurt what follows the stream.
	b, err := io.ReadAll(bufio.NewReaderSize(r, 1<<16))
	n.mu.Lock()
	defer n.leave()
	n.log, n.last, n.count, n.digest = nil, 0, 0, 0
	n.restores++
	if err == nil {
		err = n.read(bytes.NewReader(b))
	}
	if err == nil && n.last != zxid {
		n.breaks("Restore(%v): the stream is that of %v", zxid, n.last)
	}
	if err == nil {
		err = n.write(b, zxid)
	}
	return err
}

func (n *Node) write(b []byte, z consensus.Zxid) error {
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return err
	}
	tmp := filepath.Join(n.dir, "tmp.snapshot")
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, n.file(z))
}

// What follows is for the test.

// Checkpoint writes a snapshot and tells the member.
func (n *Node) Checkpoint() error {
	n.mu.Lock()
	s := &snapshot{n: n, last: n.last, count: n.count, digest: n.digest, filler: n.filler}
	m := n.member
	n.mu.Unlock()
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		return err
	}
	if err := n.write(b.Bytes(), s.last); err != nil {
		return err
	}
	return m.Checkpoint(s.last, s.last)
}

// Propose proposes k txns as a leader's node does, and returns the zxid of the last
// one.
func (n *Node) Propose(k int, session int64, cxid int32, size int) (consensus.Zxid, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.propose(k, session, cxid, size)
}

func (n *Node) propose(k int, session int64, cxid int32, size int) (consensus.Zxid, error) {
	if n.role.State != consensus.Leading {
		return 0, consensus.ErrNotNow
	}
	txns := make([]consensus.Txn, k)
	for i := range txns {
		txns[i] = MakeTxn(n.next+consensus.Zxid(i), session, cxid+int32(i), size)
	}
	err := n.member.Propose(n.role.Term, txns)
	if err == nil {
		n.next += consensus.Zxid(k)
	}
	return n.next - 1, err
}

// State is what a test looks at.
type State struct {
	Role     consensus.Role
	Roles    []consensus.Role
	Last     consensus.Zxid
	Count    uint64
	Digest   uint64
	Log      []Applied
	Synced   []consensus.SyncID
	Revals   []Revalidated
	Received []Received
	Touched  []Touched
	Restores int
	Aside    int // calls of SetAside
	Pinned   int
	Calls    int
}

// State is a picture of the node.
func (n *Node) State() State {
	n.mu.Lock()
	defer n.mu.Unlock()
	return State{n.role, slices.Clone(n.roles), n.last, n.count, n.digest, slices.Clone(n.log), slices.Clone(n.synced),
		slices.Clone(n.revals), slices.Clone(n.received), slices.Clone(n.touched), n.restores, n.aside, n.pinned, n.calls}
}

// SetAlive makes a session one that Revalidate finds.
func (n *Node) SetAlive(session int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.alive[session] = 0
}

// Owner is the server that a session belongs to.
func (n *Node) Owner(session int64) consensus.ServerID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.alive[session]
}

// SetTouched makes ts what the next Touched returns.
func (n *Node) SetTouched(ts []consensus.Touch) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.touches = ts
}

// SetFiller makes snapshots some kilobytes longer.
func (n *Node) SetFiller(kb int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.filler = kb
}

// Block makes Deliver wait until the function that it returns is called.
func (n *Node) Block() (release func()) {
	c := make(chan struct{})
	n.mu.Lock()
	n.block = c
	n.mu.Unlock()
	return sync.OnceFunc(func() {
		n.mu.Lock()
		n.block = nil
		n.mu.Unlock()
		close(c)
	})
}

// Last is the last txn that the node has.
func (n *Node) Last() consensus.Zxid {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last
}
