package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/zkcore/zkcore/core/conn"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// Config is what a node is started with. The names in the comments are the keys
// of zoo.cfg.
type Config struct {
	// ServerID is myid; 1 standalone. It is the high byte of session ids.
	ServerID int64
	// DataDir (dataDir) holds snapshots, LogDir (dataLogDir) logs, both without
	// version-2.
	DataDir, LogDir string
	// ClientAddrs are the client ports, host:port each. There may be none.
	ClientAddrs []string

	TickMS                                   int64 // tickTime; 0: 3000
	MinSessionTimeoutMS, MaxSessionTimeoutMS int32 // 0 or less: 2 and 20 ticks
	MaxClientCnxns                           int   // from one address; 0: no limit
	MaxCnxns                                 int   // of one port; 0: no limit
	ClientKeepAlive                          bool  // clientTcpKeepAlive
	JuteMaxBuffer                            int   // 0: 1048575
	JuteExtraSize                            int   // what a txn may have beyond that; 0: as much
	// OutstandingLimit is globalOutstandingLimit; 0: 1000. With more than two
	// voters a node takes its share of it.
	OutstandingLimit int
	// RequestThrottle and ConnectionThrottle hold back who asks, and who comes, too often.
	RequestThrottle    RequestThrottle
	ConnectionThrottle conn.Throttle
	LargeRequestMax    int64 // largeRequestMaxBytes; 0: 100 MiB
	LargeRequestOver   int   // largeRequestThreshold; 0: off
	ListenBacklog      int   // clientPortListenBacklog; 0 or less: the system's
	// RewatchBytes is how long a setWatches may be that is carried out at one go; 0: 4 KiB.
	RewatchBytes int
	Sessionless  time.Duration // nio.sessionlessCnxnTimeout; 0: 10 s
	// HoldMS (zkcore.election.holdMs) bounds the time for which clients keep their
	// connections while there is no leader; 0: 30000, negative: not at all.
	HoldMS int64

	// ReadOnly (readonlymode.enabled) lets clients that only read in while there is no
	// leader.
	ReadOnly bool

	// LocalSessions (localSessionsEnabled) makes new sessions local ones: this server alone
	// knows them. With LocalUpgrade (localSessionsUpgradingEnabled) one becomes the
	// ensemble's when it asks for an ephemeral. Standalone they make no sense.
	LocalSessions, LocalUpgrade bool
	// Mixed (zkcore.ensemble.mixed) says that some servers of the ensemble are Apache's.
	Mixed bool

	// SnapCount (snapCount) is the txns between snapshots; 0: 100000. A large tree
	// waits for more, until the log since the last snapshot is as long as that: to
	// write it anew for each 100000 would cost more than they do.
	SnapCount       int
	SnapSizeLimitKB int64         // snapSizeLimitInKb; 0: 4194304, negative: no limit
	PurgeInterval   time.Duration // autopurge.purgeInterval; 0: never
	SnapRetain      int           // autopurge.snapRetainCount; at least 3

	// ContainerCheck (znode.container.checkIntervalMs) is how often a leader looks
	// for containers and TTL nodes to remove; 0: a minute. It removes at most
	// ContainersPerCheck at a time; 0: 10000. A container that never had a child goes
	// after ContainerNeverUsed (znode.container.maxNeverUsedIntervalMs); 0: never.
	ContainerCheck, ContainerNeverUsed time.Duration
	ContainersPerCheck                 int

	SuperDigest   string // DigestAuthenticationProvider.superDigest
	NoDigestAuth  bool   // DigestAuthenticationProvider.enabled=false
	SkipACL       bool   // skipACL=yes
	ExtendedTypes bool   // extendedTypesEnabled
	NoDigest      bool   // digest.enabled=false
	EnforceQuota  bool   // enforceQuota
	// ReconfigEnabled is reconfigEnabled; MultiAddress and NoStandalone, by which a
	// reconfig is judged, multiAddress.enabled and standaloneEnabled=false.
	ReconfigEnabled, MultiAddress, NoStandalone bool
	// SessionSecret makes session passwords: nobody who does not know it can take
	// a session over. Without one they are Apache's, which servers of a mixed
	// ensemble need, and which anybody can compute from the session's id.
	SessionSecret []byte
	// SecretFrom is the number, among those that a server gives, from which on sessions have
	// such passwords; 0: all have.
	SecretFrom int64
	// OwnSecret is what a server without one may make its own: it keeps the first that it
	// is given.
	OwnSecret []byte

	// Consensus is what the member is opened with. What a node fills in itself is
	// left out: ID, DataDir, LogDir, Tick, Log, Metrics, Fail.
	Consensus     consensus.Config
	OpenConsensus consensus.Open
	// Storage is what the store is opened with.
	Storage     storage.Config
	OpenStorage storage.Open

	// FourLetter answers a four-letter word on nc; false: there is no such word.
	FourLetter func(n *Node, word string, nc net.Conn) bool

	FS      vfs.FS // nil: the real one
	World   World  // nil: the real one
	Log     *slog.Logger
	Metrics consensus.Metrics
	// Fail ends the process: after it nothing is known to be true any more. It
	// does not return. code is Apache's exit code.
	Fail func(code int, err error)
}

// Exit codes: see package consensus.
const (
	ExitUnexpected = consensus.ExitUnexpected
	ExitSnapshot   = consensus.ExitSnapshot
)

type noMetrics struct{}

func (noMetrics) Add(string, int64)                  {}
func (noMetrics) Observe(string, float64)            {}
func (noMetrics) ObserveKey(string, string, float64) {}

func (c *Config) defaults() error {
	if c.OpenConsensus == nil || c.OpenStorage == nil {
		return errors.New("node: no consensus or no storage module given")
	}
	if c.DataDir == "" {
		return errors.New("dataDir is not set")
	}
	if c.LogDir == "" {
		c.LogDir = c.DataDir
	}
	if c.TickMS <= 0 {
		c.TickMS = 3000
	}
	if c.MinSessionTimeoutMS <= 0 {
		c.MinSessionTimeoutMS = int32(2 * c.TickMS)
	}
	if c.MaxSessionTimeoutMS <= 0 {
		c.MaxSessionTimeoutMS = int32(20 * c.TickMS)
	}
	if c.MinSessionTimeoutMS > c.MaxSessionTimeoutMS {
		return fmt.Errorf("minSessionTimeout (%d) must not be larger than maxSessionTimeout (%d)", c.MinSessionTimeoutMS, c.MaxSessionTimeoutMS)
	}
	if c.JuteMaxBuffer <= 0 {
		c.JuteMaxBuffer = 0xfffff
	}
	if c.JuteExtraSize <= 0 {
		c.JuteExtraSize = c.JuteMaxBuffer
	}
	if c.RewatchBytes <= 0 {
		c.RewatchBytes = rewatchBytes
	}
	if c.OutstandingLimit <= 0 {
		c.OutstandingLimit = 1000
	}
	voters := 0
	for _, s := range c.Consensus.Servers {
		if !s.Observer {
			voters++
		}
	}
	if voters > 2 {
		c.OutstandingLimit = max(c.OutstandingLimit/(voters-1), 1)
	}
	if c.HoldMS == 0 {
		c.HoldMS = 30000
	}
	if c.SnapCount == 0 {
		c.SnapCount = 100000
	}
	c.SnapCount = max(c.SnapCount, 2)
	if c.SnapSizeLimitKB == 0 {
		c.SnapSizeLimitKB = 4194304
	}
	if c.ContainerCheck <= 0 {
		c.ContainerCheck = time.Minute
	}
	if c.ContainersPerCheck <= 0 {
		c.ContainersPerCheck = 10000
	}
	c.SnapRetain = max(c.SnapRetain, 3)
	if c.FS == nil {
		c.FS = vfs.OS
	}
	if c.World == nil {
		c.World = newWorld()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = noMetrics{}
	}
	if c.Fail == nil {
		c.Fail = func(code int, err error) { panic(fmt.Sprintf("exit %d: %v", code, err)) }
	}
	return nil
}

func (c *Config) clamp(timeoutMS int32) int32 {
	return min(max(timeoutMS, c.MinSessionTimeoutMS), c.MaxSessionTimeoutMS)
}
