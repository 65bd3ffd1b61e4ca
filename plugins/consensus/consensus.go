// Package consensus is the contract between a node and the protocol that puts
// the transactions of its ensemble in order.
//
// A node opens a member, which is its part in the ensemble. The member owns the
// transaction log, the votes and the epochs, and keeps them on disk before it
// answers anybody. The node owns the state that the transactions make, and its
// snapshots. What comes of a call on the member comes through the node's
// methods, in an order that has a meaning:
//
//	Recover, Role(looking)
//	  { [Recover | Restore] Deliver… Role(following|observing|leading) Deliver… Role(looking) }
//
// A member delivers a transaction only when it knows that it is committed, of what
// it had from an earlier life by OptionCommitted if at all.
// What is in its log beyond that waits until an established leader says what
// becomes of it, so the state of a node is never taken back by the protocol.
//
// The kit in consensustest checks an implementation of this contract.
package consensus

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// A Zxid numbers a transaction: the epoch of the leader that proposed it in the
// high 32 bits, its place in that epoch in the low 32.
type Zxid int64

// MakeZxid puts epoch and counter together.
func MakeZxid(epoch int64, counter uint32) Zxid { return Zxid(epoch<<32 | int64(counter)) }

// Epoch is the epoch of the leader that proposed the transaction.
func (z Zxid) Epoch() int64 { return int64(z) >> 32 }

// Counter is the transaction's place in its epoch; the first has 1.
func (z Zxid) Counter() uint32 { return uint32(z) }

// String is the zxid in hex, as operators know it.
func (z Zxid) String() string { return fmt.Sprintf("0x%x", uint64(z)) }

// A ServerID is the number of a member in its ensemble: myid.
type ServerID int64

// A Txn is one transaction as it is logged and sent: Data is the header, the
// record and the digest in Apache's format (TxnHeader, txn, TxnDigest).
type Txn struct {
	Zxid Zxid
	Data []byte
}

// An Identity is one of the names under which a client is known: "ip" and its
// address, "digest" and user:hash, ….
type Identity struct{ Scheme, ID string }

// A Request is a client's write on its way to the leader.
type Request struct {
	Session int64
	Cxid    int32 // the client's xid; with Session it tells whose write a Txn was
	Op      int32 // the client protocol's opcode
	Auth    []Identity
	Body    []byte // the request record, without the RequestHeader
}

// A Touch says that a session was heard from, and its timeout in milliseconds.
type Touch struct {
	Session   int64
	TimeoutMS int32
}

// A SyncID tells the syncs of one node apart.
type SyncID uint64

// State is what a node is in its ensemble.
type State uint8

// The states. A standalone node is Leading.
const (
	Looking State = iota
	Following
	Observing
	Leading
)

// String is the state in Apache's words.
func (s State) String() string {
	switch s {
	case Following:
		return "following"
	case Observing:
		return "observing"
	case Leading:
		return "leading"
	}
	return "looking"
}

// A Role is what a node is from now on.
type Role struct {
	State State
	// Term numbers the roles of this member since it was opened. A call that
	// names another term than the present one is refused: so nothing meant for one
	// leader reaches the next by accident.
	Term uint64
	// Leader is whom the node follows; its own id when it leads.
	Leader ServerID
	// Epoch is the leader's epoch. Standalone: the epoch of Last.
	Epoch int64
	// Last is, for a leader, the zxid before the first that it proposes.
	Last Zxid
	// Standalone is set for a node without an ensemble.
	Standalone bool
}

// Errors that a Member's methods return.
var (
	// ErrNotNow means that the call was not taken in: the member has another role
	// than the call needs, or the term is not the present one. The next Role says
	// how to go on.
	ErrNotNow = errors.New("consensus: not in that role now")
	// ErrUnsupported is returned for what this kind of member can't do.
	ErrUnsupported = errors.New("consensus: not supported by this module")
	// ErrClosed is returned by calls on a closed member.
	ErrClosed = errors.New("consensus: member is closed")
)

// A Member is this node's part in the ensemble. Its methods may be called from
// any goroutine, also from within a call of the Node, and wait neither for the
// network nor for the disk: what comes of a call comes through Node.
type Member interface {
	// Propose offers transactions for ordering, behind all offered before. Their
	// zxids continue Role.Last without a hole; the member keeps their Data. Only
	// the leader may. A nil error means that they were taken in, not that they are
	// committed: committed, they come back through Node.Deliver. A leader that
	// loses its role may lose what it had taken in, unannounced but for the Role.
	Propose(term uint64, txns []Txn) error

	// Forward passes requests to the leader's Node.Receive, behind all forwarded
	// before. Followers and observers only. It may be lost with the leader; the
	// next Role says so: what was not delivered before it never will be. The member
	// keeps the requests.
	Forward(term uint64, rs []Request) error

	// Sync asks that Node.Synced(id) be called here once everything that the
	// leader had committed when it got this call is delivered here. Any role but
	// looking. Syncs are answered in order; lost like a Forward.
	Sync(term uint64, id SyncID) error

	// Revalidate asks the leader whether a session that came to this node from
	// another one is alive, and makes this node its owner. Followers and observers
	// only. The answer is Node.Revalidated, after the delivery here of everything
	// that was proposed, or forwarded from here, before it. Lost like a Forward.
	Revalidate(term uint64, t Touch) error

	// Checkpoint says that a snapshot of the state at saved is on disk, and that
	// nothing at or below needed is wanted for a recovery any more. The member
	// begins a new log file, and may drop files that hold nothing above needed.
	Checkpoint(saved, needed Zxid) error

	// Reconfigure changes the membership, if Caps.Reconfigure is set.
	Reconfigure(term uint64, config string) error

	// Distrust says that the node's state is not what the transactions up to at should
	// have made of it: its digest differs from the leader's. The member leaves its leader
	// and has no vote until it has the state anew, with Node.Restore, from a leader that a
	// quorum follows without it; if there is none for long, it goes back to what is on disk,
	// with Node.Recover. What is delivered until then the node may pass over, and it must
	// not serve, whatever Role says. Standalone there is nobody to ask: the member fails.
	Distrust(at Zxid, why string) error

	// Status is a picture of the member for an operator's eyes.
	Status() Status

	// Caps says what this kind of member can do.
	Caps() Caps

	// Close leaves the ensemble and closes the log. When it returns, Node is
	// called no more.
	Close() error
}

// Caps says in data what not every module can do: a type assertion on a module
// in another process would ask the stub, not the module.
type Caps struct {
	Reconfigure bool
	// Silence is for how long the others wait for a member that stands still before they go
	// on without it, if that is not syncLimit ticks. A member in a process of its own waits as
	// long for a node that does.
	Silence time.Duration
}

// A Node is what a member drives. Except for what a method says, a member calls
// these from one goroutine, so that their order means something.
type Node interface {
	// Recover makes the state that of the newest snapshot at or below max and
	// returns its zxid; 0 for an empty state. It is called when the member opens,
	// with the highest Zxid there is, and again when the leader shows that the
	// ensemble never committed what that snapshot holds (possible with snapshots
	// of Apache's): snapshots above max are gone for good then. An error that is
	// ErrDamaged says that what is on disk can't be used.
	Recover(max Zxid) (Zxid, error)

	// SetAside moves all that is on disk of the state into folder, a directory in
	// DataDir that is there already, durably: nothing is deleted. It is called while the
	// member opens, when the log or the state turns out to be damaged; a Recover
	// follows, and finds nothing.
	SetAside(folder string) error

	// Role says what this node is from now on. After Role(leading), following or
	// observing, everything of earlier epochs that the ensemble kept has been
	// delivered, and of the present one, if its leader is followed again, all that
	// came of what was forwarded before: a request that was forwarded or proposed
	// earlier, and not delivered since, never will be.
	Role(Role)

	// Deliver hands over committed transactions in zxid order, each one once. The
	// member waits for it. The node may keep the Data, which nobody changes.
	Deliver([]Txn)

	// Receive hands a leader's node a request: from is the server whose client
	// sent it. It does not wait.
	Receive(from ServerID, r Request)

	// Touch tells a leader's node of sessions that a learner heard from.
	Touch(from ServerID, ts []Touch)

	// Revalidate asks a leader's node whether a session is alive, touches it if
	// so, and makes from its owner.
	Revalidate(from ServerID, t Touch) bool

	// Revalidated answers Member.Revalidate.
	Revalidated(session int64, alive bool)

	// Synced answers Member.Sync.
	Synced(id SyncID)

	// Touched returns, on a learner, the sessions heard from since the last call,
	// to ride on the next answer to a ping. It may be called from any goroutine.
	Touched() []Touch

	// Snapshot pins the present state for a learner that is far behind. It
	// returns at once.
	Snapshot() (Snapshot, error)

	// Restore replaces the whole state by a leader's snapshot, taken at zxid, in
	// Apache's stream format as Snapshot.WriteTo writes it. r ends after the
	// signature, so reading ahead does no harm. When it returns nil the state is on
	// disk, and older snapshots are still there. After an error the state is empty,
	// and a Recover follows.
	Restore(zxid Zxid, r io.Reader) error
}

// A Snapshot is a pinned state of a node. Its methods may be called from any
// goroutine, one at a time.
type Snapshot interface {
	// Zxid is the last transaction in it.
	Zxid() Zxid
	// WriteTo writes Apache's snapshot stream as it follows a SNAP packet, from the
	// count of sessions to the signature (BenWasHere).
	io.WriterTo
	// Close unpins the state.
	Close() error
}

// A Server is one member of an ensemble, as the configuration names it.
type Server struct {
	ID       ServerID
	Observer bool
	// Quorum and Election are host:port; one of each, or several where a server
	// has several networks.
	Quorum, Election []string
	Group            int64 // hierarchical quorums: the group, 0 for none
	Weight           int64 // hierarchical quorums: the weight, 1 if not set
	// Client is the client address as the configuration text carries it
	// ("host:port"), or empty.
	Client string
}

// Config is what a member is opened with.
type Config struct {
	ID      ServerID
	Servers []Server // empty: standalone
	// ConfigText is the membership in Apache's text form (/zookeeper/config).
	ConfigText string

	Tick                 time.Duration
	InitLimit, SyncLimit int // ticks
	// QuorumListenOnAllIPs binds the server ports on any address.
	QuorumListenOnAllIPs bool

	// DataDir holds epochs and snapshots, LogDir the log; both without version-2.
	DataDir, LogDir string

	// Options are the configuration's other keys (zoo.cfg's names, without
	// "zookeeper."), such as forceSync, preAllocSize, commitLogCount, cnxTimeout.
	Options map[string]string

	// Log takes one line per event that an operator cares about.
	Log *slog.Logger
	// Metrics takes counts and measurements; it may be nil.
	Metrics Metrics
	// Fail ends the process: an error after which the member can't tell what is on
	// disk, or an invariant that broke. code is the exit code. It does not return.
	Fail func(code int, err error)
}

// OptionCommitted is the option by which a node that shows its state without a leader tells its
// member, as it opens it, of a zxid up to which it knows that transactions are committed, in
// decimal. What the log holds of those the member may deliver before it has a leader.
const OptionCommitted = "zkcore.committed"

// Metrics takes what a member counts and measures, under Apache's names.
type Metrics interface {
	Add(name string, n int64)
	Observe(name string, v float64)
	// ObserveKey is Observe for a set of summaries, one for each key.
	ObserveKey(name, key string, v float64)
}

// Open starts a member. It calls n.Recover before it returns, and the rest of n
// from then on. Its errors name the file or the key that is wrong; one with a
// method ExitCode() int says what the process ends with, 1 otherwise. Data of another
// module's is an *OwnerError.
type Open func(cfg Config, n Node) (Member, error)

// Status is a picture of a member.
type Status struct {
	Role Role
	// Peer is the state in words, as zk_peer_state has it: "leading - broadcast".
	Peer string
	// Logged is the last zxid in the log, Committed the last delivered.
	Logged, Committed Zxid
	// Quorum is the number of voters.
	Quorum int
	// Learners are a leader's, as far as they are connected.
	Learners []Learner
	// Disk says how full the disk is that the log is on.
	Disk Disk
	// PendingSyncs counts syncs that wait on a leader.
	PendingSyncs int
	// Sizes in bytes of the proposals of this leader; -1 if none.
	LastProposal, MinProposal, MaxProposal int64
	LeaderSince                            time.Time
}

// Disk is how full a disk is.
type Disk struct {
	Free, Reserve int64 // bytes
	// Low: less than the reserve is free. Full: so little that nothing is written.
	Low, Full bool
}

// A Learner is a leader's view of one follower or observer.
type Learner struct {
	ID       ServerID
	Addr     string
	Observer bool
	Voter    bool
	Synced   bool
	Acked    Zxid
	Queued   int
}
