package main

import (
	"time"

	"github.com/zkcore/zkcore/core/admin"
	"github.com/zkcore/zkcore/core/node"
)

// source shows a node to admin.
type source struct {
	n *node.Node
	// sessionless is how long a connection may take to open a session.
	sessionless time.Duration
	asker       string // the client address of who asks, if it is one of the connections
}

func (s source) Facts() admin.Facts {
	i := s.n.Info()
	f := admin.Facts{
		Serving: i.Serving, ReadOnly: i.ReadOnly, Mode: i.State(), Peer: i.Status.Peer, Ensemble: !i.Role.Standalone,
		LatencyMin: i.All.Min.Milliseconds(), LatencyMax: i.All.Max.Milliseconds(), LatencyAvg: i.All.AvgMS(),
		Received: i.Received, Sent: i.Sent, Connections: i.Connections, Outstanding: i.Outstanding, DropChance: i.DropChance, Zxid: i.Zxid,
		Started: time.Now().Add(-i.Uptime),
		Nodes:   i.Znodes, Ephemerals: i.Ephemerals, DataSize: i.DataSize, Sessions: i.Sessions, LocalSessions: i.LocalSessions, Digest: i.Digest, DigestZxid: i.Zxid,
		QuorumSize: i.Status.Quorum, PendingSyncs: i.Status.PendingSyncs, LeaderSince: i.Status.LeaderSince,
		LastProposal: i.Status.LastProposal, MinProposal: i.Status.MinProposal, MaxProposal: i.Status.MaxProposal,
		LastResponse: i.LastReply, MinResponse: i.MinReply, MaxResponse: i.MaxReply,
		AuthFailed: i.AuthFailed, LastSnapshot: -1, DiskFree: i.Status.Disk.Free, Storage: i.Storage,
	}
	switch d := i.Status.Disk; {
	case d.Full:
		f.Disk = 2
	case d.Low:
		f.Disk = 1
	}
	if !i.SnapshotAt.IsZero() {
		f.LastSnapshot = int64(i.LastSnapshot)
	}
	for _, l := range i.Status.Learners {
		f.Learners++
		switch {
		case !l.Synced:
		case l.Observer:
			f.SyncedObservers++
		case l.Voter:
			f.SyncedFollowers++
		default:
			f.SyncedNonVoting++
		}
	}
	return f
}

func (s source) Connections() []admin.Connection {
	var out []admin.Connection
	now := time.Now()
	for _, c := range s.n.Connections() {
		a := admin.Connection{
			Addr: c.RemoteAddr, Interest: 1, Queued: int64(c.Queued), Received: c.Received, Sent: c.Sent, Since: c.Established,
			Session: c.Session, TimeoutMS: c.TimeoutMS, LastOp: c.LastOp, LastCxid: int64(c.LastCxid), LastZxid: c.LastZxid,
			LastLatency: c.LastLatency.Milliseconds(), MinLatency: c.MinLat.Milliseconds(), MaxLatency: c.MaxLat.Milliseconds(),
			LastResponse: time.UnixMilli(c.LastResponse.Milliseconds()),
		}
		a.Expires = now.Add(c.ExpireI)
		if c.Session == 0 {
			a.Expires = c.Established.Add(s.sessionless)
		}
		switch {
		case c.RemoteAddr == s.asker: // it has sent its word, and nothing more is read
			a.Interest, a.Received = 0, 1
		case c.Writing:
			a.Interest = 5
		}
		if c.Count > 0 {
			a.AvgLatency = float64(c.SumLat) / float64(c.Count) / float64(time.Millisecond)
		}
		out = append(out, a)
	}
	return out
}

func (s source) Watches() (connections, paths, total int) {
	i := s.n.Info()
	return i.Watchers, i.WatchedPaths, i.Watches
}

func (s source) Quotas() []admin.Quota {
	var out []admin.Quota
	for _, q := range s.n.Quotas() {
		out = append(out, admin.Quota(q))
	}
	return out
}

func (s source) Sessions() []admin.Session      { return shown(s.n.Sessions()) }
func (s source) LocalSessions() []admin.Session { return shown(s.n.LocalSessions()) }

func shown(sessions []node.SessionInfo) []admin.Session {
	var out []admin.Session
	now := time.Now()
	for _, i := range sessions {
		a := admin.Session{ID: i.ID, TimeoutMS: i.TimeoutMS}
		if i.ExpiresIn > 0 {
			// By the second, as it is shown: those that end together stand together.
			a.Expires = now.Add(i.ExpiresIn).Truncate(time.Second)
		}
		out = append(out, a)
	}
	return out
}

func (s source) Ephemerals() []admin.Ephemerals {
	var out []admin.Ephemerals
	err := s.n.Ephemerals(func(session int64, path string) bool {
		if len(out) == 0 || out[len(out)-1].Session != session {
			out = append(out, admin.Ephemerals{Session: session})
		}
		last := &out[len(out)-1]
		last.Paths = append(last.Paths, path)
		return true
	})
	if err != nil {
		// The node itself stops on such an error when it next reads.
		return nil
	}
	return out
}

func (s source) ResetServer()      { s.n.ResetStats() }
func (s source) ResetConnections() { s.n.ResetConnectionStats() }
