package protocol

import (
	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// The words of the contract, which are this package's words too.
type (
	Zxid     = consensus.Zxid
	ServerID = consensus.ServerID
	Txn      = consensus.Txn
	State    = consensus.State
)

// Time is monotonic time in nanoseconds. Where it starts doesn't matter.
type Time int64

// Millisecond is a thousandth of a second of Time.
const Millisecond Time = 1e6

// A Conn numbers a connection on the quorum port. The driver never uses a number
// twice.
type Conn uint64

// Notify and the rest below speak of packets, notifications and votes as package
// quorum decodes them.
type (
	// Packet is one packet on the quorum port.
	Packet = quorum.Packet
	// Notification is a message between two servers on their election ports.
	Notification = quorum.Notification
	// Vote is what a server proposes in an election.
	Vote = quorum.Vote
)

// Reach is what is known of a way to another server's election port.
type Reach uint8

// The reaches.
const (
	Unknown Reach = iota
	Up            // a connection stands
	Refused       // the last attempt was refused: no process listens
)

// Disk says how full the disk is that the log is on.
type Disk uint8

// The states of the disk.
const (
	DiskOK   Disk = iota
	DiskLow       // the reserve is touched
	DiskFull      // the reserve is all but used up: nothing more is written
)

// An Output is one thing to do, one of the types below.
type Output any

// For the network.
type (
	// Notify sends a notification.
	Notify struct {
		To ServerID
		N  Notification
	}
	// Listen opens the quorum port.
	Listen struct{}
	// StopListening closes it.
	StopListening struct{}
	// Connect dials a leader's quorum port, again and again until Connected or
	// ConnectFailed can be told, or until HangUp.
	Connect struct{ Leader ServerID }
	// HangUp ends the dialling.
	HangUp struct{}
	// Disconnect closes a connection; no Closed follows.
	Disconnect struct {
		Conn Conn
		Why  string
	}
	// Send sends packets to each of the connections.
	Send struct {
		To      []Conn
		Packets []Packet
	}
	// SendTxns sends a packet of the type for each txn: PROPOSAL or INFORM.
	SendTxns struct {
		To   []Conn
		Type quorum.PacketType
		Txns []Txn
	}
	// SendCommits sends a COMMIT for each txn.
	SendCommits struct {
		To   []Conn
		Txns []Txn
	}
	// SendHistory sends a PROPOSAL and a COMMIT for each txn.
	SendHistory struct {
		To   Conn
		Txns []Txn
	}
	// SendLog is SendHistory for the txns above From, up to Last, out of the log.
	SendLog struct {
		To         Conn
		From, Last Zxid
	}
	// SendSnapshot sends a SNAP packet and the stream of the pinned state.
	SendSnapshot struct {
		To       Conn
		Zxid     Zxid
		Snapshot consensus.Snapshot
	}
	// DropSnapshot closes a pinned state that nobody wants any more.
	DropSnapshot struct{ Snapshot consensus.Snapshot }
	// SendAcks acks each of the txns.
	SendAcks struct {
		To    Conn
		Zxids []Zxid
	}
	// Pong answers a PING with the sessions that the node heard from.
	Pong struct {
		To   Conn
		Zxid Zxid
	}
)

// For the log. Each has its answer, in the same order: Logged for an Append, else the
// method named after the output.
type (
	// Append adds txns to the log. Gen comes back with Logged.
	Append struct {
		Gen  uint64
		Txns []Txn
	}
	// SaveAccepted writes acceptedEpoch. Answer: Saved.
	SaveAccepted struct {
		ID    uint64
		Epoch int64
	}
	// SaveCurrent writes currentEpoch. Answer: Saved.
	SaveCurrent struct {
		ID    uint64
		Epoch int64
	}
	// Truncate makes Zxid the last txn of the log. Base says that it is the zxid of the
	// node's state on disk, and so need not be in the log: then the log is emptied. No
	// answer: later jobs wait for it.
	Truncate struct {
		Zxid Zxid
		Base bool
	}
	// ResetLog empties the log, which goes on after Zxid. No answer.
	ResetLog struct{ Zxid Zxid }
	// Scan reads which zxids the log holds above From. If it is limited it may be done
	// beside the other jobs, and gives up when it has read more than what sending a
	// snapshot is thought to cost. Answer: Scanned.
	Scan struct {
		ID      uint64
		From    Zxid
		Limited bool
	}
)

// For the node.
type (
	// Deliver hands over committed txns.
	Deliver struct{ Txns []Txn }
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
	// Recover goes back to a snapshot at or below Max. Answer: Recovered.
	Recover struct{ Max Zxid }
	// Restore reads a snapshot from the connection, or if it is to be skipped leaves the
	// node alone and passes over it. Answer: Restored.
	Restore struct {
		Conn Conn
		Zxid Zxid
		Skip bool
	}
	// TakeSnapshot pins the state for a learner. Answer: SnapshotTaken.
	TakeSnapshot struct{ Conn Conn }
)

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

// Config is what the machines must know.
type Config struct {
	ID       ServerID
	Observer bool
	Quorum   Quorum
	// Text is the membership as it goes into notifications and NEWLEADER, Version its
	// version.
	Text    []byte
	Version int64

	Tick                 Time
	InitLimit, SyncLimit int

	// MinNotify and MaxNotify bound the time between two notifications of a server
	// that nobody answers.
	MinNotify, MaxNotify Time
	// FinalizeWait is how long a server waits for a better vote when a quorum agrees
	// but not everybody who might.
	FinalizeWait Time
	// GiveUp is how long a leader without a quorum ignores that voters look for another
	// one.
	GiveUp Time

	// CommitLogCount is how many committed txns stay in memory for learners that are a
	// little behind.
	CommitLogCount int
	// CommitLogBytes bounds their size.
	CommitLogBytes int
	// ForceSnapshot sends every learner a snapshot.
	ForceSnapshot bool
	// MaxSnapshots and MaxDiffs bound the observers that are being synchronised at a
	// time.
	MaxSnapshots, MaxDiffs int
}

func (c *Config) initTimeout() Time { return c.Tick * Time(c.InitLimit) }
func (c *Config) syncTimeout() Time { return c.Tick * Time(c.SyncLimit) }

// pauseLimit is how long a leader may have been asleep without asking anybody
// whether it still leads.
func (c *Config) pauseLimit() Time { return max(c.syncTimeout()/2, c.Tick, 500*Millisecond) }
