package admin

import (
	"time"

	"github.com/zkcore/zkcore/plugins/storage"
)

// A Source is what the answers are made of: the node, seen from outside. Its
// methods may be called at any time from any goroutine.
type Source interface {
	// Facts are the server's state and totals.
	Facts() Facts
	// Connections are the open client connections.
	Connections() []Connection
	// Watches counts connections that watch, paths watched, and watches.
	Watches() (connections, paths, total int)
	// Sessions are the open sessions, by id; Expires is set where this server
	// expires them.
	Sessions() []Session
	// LocalSessions are those that only this server knows.
	LocalSessions() []Session
	// Ephemerals are the paths of each session that has some, by session id.
	Ephemerals() []Ephemerals
	// Quotas sum up the quotas, by the first names of the paths that they are on.
	Quotas() []Quota
	// ResetServer sets latencies and packet counts back, ResetConnections those of
	// each connection.
	ResetServer()
	ResetConnections()
}

// Facts are what srvr, mntr and conf tell of a server.
type Facts struct {
	Serving bool
	// ReadOnly is set for a server without a leader that shows its state all the same.
	ReadOnly bool
	// Mode is standalone, leader, follower, observer or read-only. Peer is the state in
	// Apache's words, "following - broadcast"; empty standalone.
	Mode, Peer string
	Ensemble   bool

	// Latencies in milliseconds.
	LatencyMin, LatencyMax int64
	LatencyAvg             float64
	Received, Sent         int64
	Connections            int
	Outstanding            int64
	DropChance             float64 // of a client to be refused by lot
	Zxid                   int64
	Started                time.Time

	Nodes         int // without the root's second name
	Ephemerals    int
	DataSize      int64
	Sessions      int
	LocalSessions int // those that only this server knows
	Digest        uint64
	DigestZxid    int64

	QuorumSize                                 int
	Learners, SyncedFollowers, SyncedNonVoting int
	SyncedObservers, PendingSyncs              int
	LeaderSince                                time.Time
	LastProposal, MinProposal, MaxProposal     int64
	LastResponse, MinResponse, MaxResponse     int64 // bytes, -1 if none yet
	AuthFailed                                 int64
	Disk                                       int   // 0; 1: nearly full; 2: full
	DiskFree                                   int64 // bytes
	Storage                                    storage.Stats
	LastSnapshot                               int64 // zxid, -1 if none
}

// A Connection is one client connection.
type Connection struct {
	Addr         string // host:port
	Interest     int    // 1 read, 4 write, 5 both
	Queued       int64
	Received     int64
	Sent         int64
	Session      int64 // 0 without one
	TimeoutMS    int32
	LastOp       string
	Since        time.Time
	LastCxid     int64 // -1 if none
	LastZxid     int64
	LastResponse time.Time
	Expires      time.Time // when it is closed if its client says nothing more
	// Latencies in milliseconds.
	LastLatency, MinLatency, MaxLatency int64
	AvgLatency                          float64
}

// A Quota sums up all quotas below one name under the root.
type Quota struct {
	Namespace              string
	Limited                bool // there are limits
	CountLimit, BytesLimit int64
	Kept                   bool // there is a usage
	Count, Bytes           int64
	Refused                int64
}

// A Session is an open session.
type Session struct {
	ID        int64
	TimeoutMS int32
	Expires   time.Time // zero where another server counts
}

// Ephemerals are the paths that a session owns.
type Ephemerals struct {
	Session int64
	Paths   []string
}
