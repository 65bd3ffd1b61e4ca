package protocol

import (
	"github.com/zkcore/zkcore/plugins/consensus"
)

// Short names for the contract's.
type (
	ServerID = consensus.ServerID
	Zxid     = consensus.Zxid
	Txn      = consensus.Txn
)

// Time is monotonic time in nanoseconds. It only has to grow.
type Time int64

// Millisecond and Second in Time.
const (
	Millisecond Time = 1e6
	Second      Time = 1e9
)

// Conn names a connection on the quorum port.
type Conn uint64

// MaxTerm is the last term there can be: a zxid has 31 bits for it.
const MaxTerm = 1<<31 - 1

// Config is what a Member must know.
type Config struct {
	ID        ServerID
	Voters    []ServerID // rising
	Observers []ServerID // rising

	// Tick is the ensemble's; InitLimit, in Ticks, is how long a server that distrusts its
	// state waits for another one.
	Tick      Time
	InitLimit int
	// Beat is how often a leader is heard, Silence how long a follower waits for it at
	// least before it looks for another one: a multiple of Beat.
	Beat, Silence Time

	// WindowBytes is how much of the log is kept in memory for learners and the node, KeepCount
	// how many entries below the newest snapshot a leader still sends instead of it.
	WindowBytes int
	KeepCount   uint64
	// Inflight is how many messages with txns are sent to a learner before it acks the first of them.
	Inflight int
	// MaxMessage bounds the txns of one message, MaxDelivering those that the node was
	// given and has not taken. One txn may be larger.
	MaxMessage, MaxDelivering uint64

	// Rand returns a number in [0, n).
	Rand func(n int64) int64
}

func (c *Config) voter(id ServerID) bool    { return has(c.Voters, id) }
func (c *Config) observer(id ServerID) bool { return has(c.Observers, id) }

func has(ids []ServerID, id ServerID) bool {
	for _, i := range ids {
		if i == id {
			return true
		}
	}
	return false
}

// An Output is what is to be done. The outputs of one input are to be begun in order.
type Output interface{}

// For the network.
type (
	// Mail sends a frame to another server's election port. It may be lost; a later frame
	// of the same kind may replace it.
	Mail struct {
		To ServerID
		F  Frame
	}
	// Dial connects to a member's quorum port, again and again until Linked can be told
	// or until HangUp. It begins after a while.
	Dial struct {
		To    ServerID
		After Time
	}
	// HangUp ends the dialling of all members.
	HangUp struct{}
	// Send sends frames on a connection.
	Send struct {
		To     Conn
		Frames []Frame
	}
	// SendTouches sends what the node heard from.
	SendTouches struct{ To Conn }
	// SendSnapshot sends SNAP and the stream of the pinned state.
	SendSnapshot struct {
		To       Conn
		At       Point
		Snapshot consensus.Snapshot
	}
	// DropSnapshot closes a pinned state that nobody wants any more.
	DropSnapshot struct{ Snapshot consensus.Snapshot }
	// Disconnect closes a connection; no Closed follows.
	Disconnect struct {
		Conn Conn
		Why  string
	}
)

// Persist is for the log: the steps are done in this order, each durable before the next.
// Answer: Persisted, in the order of the Persists; a later one answers for those before it.
type Persist struct {
	Seq uint64
	// Before is written to the state file first, if there is any.
	Before []byte
	// Cut makes CutTo the last txn of the log. Reset instead empties it, which goes on
	// after CutTo.
	Cut, Reset bool
	CutTo      Zxid
	// After is written to the state file, before Txns are appended.
	After []byte
	Txns  []Txn
}

// Purge lets the log drop what nobody needs. No answer.
type Purge struct{ Needed Zxid }

// For the node.
type (
	// Deliver hands over committed txns. Answer: Delivered, for the last of several.
	Deliver struct {
		Gen, Seq uint64
		Txns     []Txn
	}
	// DeliverLog hands over the txns above From, up to Last, out of the log.
	DeliverLog struct{ From, Last Zxid }
	// SetRole tells the node its role.
	SetRole struct{ Role consensus.Role }
	// Receive hands over requests that a learner forwarded.
	Receive struct {
		From     ServerID
		Requests []consensus.Request
	}
	// Touch hands over sessions that a learner heard from.
	Touch struct {
		From     ServerID
		Sessions []consensus.Touch
	}
	// AskRevalidate asks the node about a session. Answer: RevalidateDone.
	AskRevalidate struct {
		Conn  Conn
		From  ServerID
		Touch consensus.Touch
	}
	// Revalidated answers a call of the node.
	Revalidated struct {
		Session int64
		Alive   bool
	}
	// Synced answers calls of the node.
	Synced struct{ IDs []consensus.SyncID }
	// Recover goes back to what is on the disk. Answer: Recovered.
	Recover struct{}
	// Restore reads the snapshot that comes on the connection. Answer: Restored.
	Restore struct {
		Conn Conn
		At   Point
	}
	// TakeSnapshot pins the state for a learner. Answer: SnapshotTaken.
	TakeSnapshot struct{ Conn Conn }
)

// Left says that a server that was told to leave has handed over, or can't.
type Left struct{}

// For the operator.
type (
	// Report is a line for the log; Args are pairs of key and value.
	Report struct {
		Warn bool
		Text string
		Args []any
	}
	// Count adds to a counter.
	Count struct {
		Name string
		N    int64
	}
	// Observe adds a measurement, with a key if the metric has keys.
	Observe struct {
		Name, Key string
		Value     float64
	}
)

// Disk is how full the disk is.
type Disk uint8

// The levels.
const (
	DiskOK Disk = iota
	DiskLow
	DiskFull
)
