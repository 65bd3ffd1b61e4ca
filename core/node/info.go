package node

import (
	"time"

	"github.com/zkcore/zkcore/core/watch"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// Info is a picture of a node for an operator's eyes.
type Info struct {
	// Serving is whether there is a leader that the node is, or follows. Without
	// one only Role, Uptime, Connections, Received and Sent mean anything.
	Serving bool
	// ReadOnly is whether it shows its state although there is none.
	ReadOnly bool
	Role     consensus.Role
	Status   consensus.Status // the member's
	Uptime   time.Duration

	Zxid             int64
	Znodes           int // without Apache's second root
	Ephemerals       int
	DataSize         int64
	Sessions         int
	LocalSessions    int // that only this server knows
	Digest           uint64
	DigestMismatches uint64
	Watchers         int // connections that watch something
	WatchedPaths     int
	Watches          int

	DropChance           float64 // of a client to be refused by lot
	Connections          int
	Outstanding          int64
	Received, Sent       int64
	Reads, Updates, All  Latency
	AuthFailed           int64
	LastReply            int64 // bytes of replies; -1 if there was none
	MinReply, MaxReply   int64
	LastSnapshot         consensus.Zxid // meaningless if SnapshotAt is zero
	SnapshotAt           time.Time
	SnapDir, LogDir      string // with version-2
	Storage              storage.Stats
	MinTimeout, MaxTimeo int32 // session timeouts in ms
}

// State is what the node is, in Apache's words; "" if it does not serve.
func (i *Info) State() string {
	switch {
	case i.ReadOnly:
		return "read-only"
	case !i.Serving:
		return ""
	case i.Role.Standalone:
		return "standalone"
	}
	switch i.Role.State {
	case consensus.Leading:
		return "leader"
	case consensus.Observing:
		return "observer"
	}
	return "follower"
}

// Latency sums up how long requests took.
type Latency struct {
	Count    int64
	Sum      time.Duration
	Min, Max time.Duration
}

// AvgMS is the mean in milliseconds.
func (l Latency) AvgMS() float64 {
	if l.Count == 0 {
		return 0
	}
	return float64(l.Sum) / float64(l.Count) / 1e6
}

func (l *latency) read() Latency {
	return Latency{
		Count: l.count.Load(), Sum: time.Duration(l.sum.Load()),
		Min: time.Duration(max(l.minPlus1.Load()-1, 0)), Max: time.Duration(l.max.Load()),
	}
}

func (l Latency) plus(o Latency) Latency {
	switch {
	case l.Count == 0:
		return o
	case o.Count == 0:
		return l
	}
	return Latency{Count: l.Count + o.Count, Sum: l.Sum + o.Sum, Min: min(l.Min, o.Min), Max: max(l.Max, o.Max)}
}

// Serving says whether there is a leader that the node is, or follows.
func (n *Node) Serving() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.serving
}

// Info takes the picture.
func (n *Node) Info() Info {
	i := Info{
		Status: n.member.Status(), Uptime: time.Duration(n.clock() - n.start),
		Connections: n.conns.Len(), Outstanding: n.outstanding.Load(), Received: n.received.Load(), Sent: n.sent.Load(),
		Reads: n.reads.read(), Updates: n.updates.read(), AuthFailed: n.authFailed.Load(),
		SnapDir: n.snaps.dirs.Snap, LogDir: n.snaps.dirs.Log,
		Storage:    n.store.Stats(),
		MinTimeout: n.cfg.MinSessionTimeoutMS, MaxTimeo: n.cfg.MaxSessionTimeoutMS,
	}
	i.All = i.Reads.plus(i.Updates)
	n.bucketMu.Lock()
	i.DropChance = n.bucket.Chance()
	n.bucketMu.Unlock()
	n.sizes.mu.Lock()
	i.LastReply, i.MinReply, i.MaxReply = n.sizes.all.last, n.sizes.all.least, n.sizes.all.most
	n.sizes.mu.Unlock()
	if i.LastReply == 0 {
		i.LastReply, i.MinReply, i.MaxReply = -1, -1, -1
	}
	n.snaps.busyMu.Lock()
	i.LastSnapshot, i.SnapshotAt = n.snaps.last.Zxid, n.snaps.lastAt
	n.snaps.busyMu.Unlock()
	n.mu.RLock()
	defer n.mu.RUnlock()
	i.Serving, i.ReadOnly, i.Role = n.serving, n.readOnly, n.role
	n.trackMu.Lock()
	i.LocalSessions = len(n.locals.open)
	n.trackMu.Unlock()
	if n.loading {
		return i
	}
	i.Zxid, i.Znodes, i.Ephemerals, i.DataSize = n.engine.LastZxid(), n.engine.NodeCount(), n.engine.EphemeralsCount(), n.engine.DataSize()
	i.Sessions, i.Digest, i.DigestMismatches = n.engine.SessionCount(), n.engine.Digest(), n.engine.DigestMismatches()
	n.watchMu.Lock()
	i.Watchers, i.WatchedPaths, i.Watches = n.engine.WatchCounts()
	n.watchMu.Unlock()
	return i
}

// ResetStats is srst: latencies and packet counts begin anew.
func (n *Node) ResetStats() {
	n.reads.reset()
	n.updates.reset()
	n.received.Store(0)
	n.sent.Store(0)
	n.sizes.mu.Lock()
	n.sizes.all = span{}
	n.sizes.mu.Unlock()
}

// A SessionInfo is an open session.
type SessionInfo struct {
	ID        int64
	TimeoutMS int32
	// ExpiresIn is how long it has unless it is heard from, where this node is who
	// ends sessions; 0 elsewhere.
	ExpiresIn time.Duration
}

// Sessions are all open sessions, in ascending order.
func (n *Node) Sessions() []SessionInfo {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.loading {
		return nil
	}
	var all []SessionInfo
	now := n.clockMS()
	n.trackMu.Lock()
	defer n.trackMu.Unlock()
	n.engine.Sessions(func(id int64, timeoutMS int32) {
		i := SessionInfo{ID: id, TimeoutMS: timeoutMS}
		if end, ok := n.tracker.End(id); ok {
			i.ExpiresIn = time.Duration(max(end-now, 1)) * time.Millisecond
		}
		all = append(all, i)
	})
	return all
}

// Ephemerals calls fn for all ephemerals, in order of session and path, until it
// returns false. It must not take long: nothing is written meanwhile.
func (n *Node) Ephemerals(fn func(session int64, path string) bool) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.loading {
		return nil
	}
	return n.engine.AllEphemerals(fn)
}

// Watches calls fn for all watches, in order of path and connection; session is
// 0 if the connection has just gone. It must not take long.
func (n *Node) Watches(fn func(path string, session int64)) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	sessions := map[uint64]int64{}
	n.clientsMu.Lock()
	for session, cl := range n.sessions {
		sessions[cl.c.ID] = session
	}
	n.clientsMu.Unlock()
	n.watchMu.Lock()
	defer n.watchMu.Unlock()
	n.engine.Watches(func(path string, watcher uint64, _ watch.Mode) { fn(path, sessions[watcher]) })
}

// Config is what the node was started with, its defaults filled in.
func (n *Node) Config() Config { return n.cfg }
