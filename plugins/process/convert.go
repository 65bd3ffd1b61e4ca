package process

import (
	"strings"
	"time"

	"github.com/zkcore/zkcore/plugins/consensus"
	pb "github.com/zkcore/zkcore/plugins/process/modulepb"
)

// clean is text as protobuf takes it.
func clean(s string) string { return strings.ToValidUTF8(s, "?") }

func roleToWire(r consensus.Role) *pb.Role {
	return &pb.Role{State: uint32(r.State), Term: r.Term, Leader: int64(r.Leader), Epoch: r.Epoch, Last: int64(r.Last), Standalone: r.Standalone}
}

func roleFromWire(r *pb.Role) consensus.Role {
	return consensus.Role{State: consensus.State(r.GetState()), Term: r.GetTerm(), Leader: consensus.ServerID(r.GetLeader()), Epoch: r.GetEpoch(),
		Last: consensus.Zxid(r.GetLast()), Standalone: r.GetStandalone()}
}

func configToWire(c *consensus.Config, debug bool) *pb.ConsensusConfig {
	w := &pb.ConsensusConfig{
		Id: int64(c.ID), ConfigText: clean(c.ConfigText), TickNs: int64(c.Tick), InitLimit: int64(c.InitLimit), SyncLimit: int64(c.SyncLimit),
		QuorumListenOnAllIps: c.QuorumListenOnAllIPs, DataDir: c.DataDir, LogDir: c.LogDir, Options: map[string]string{}, Debug: debug,
	}
	for k, v := range c.Options {
		w.Options[clean(k)] = clean(v)
	}
	for _, s := range c.Servers {
		w.Servers = append(w.Servers, &pb.Server{Id: int64(s.ID), Observer: s.Observer, Quorum: s.Quorum, Election: s.Election,
			Group: s.Group, Weight: s.Weight, Client: s.Client})
	}
	return w
}

func configFromWire(w *pb.ConsensusConfig) consensus.Config {
	c := consensus.Config{
		ID: consensus.ServerID(w.Id), ConfigText: w.ConfigText, Tick: time.Duration(w.TickNs), InitLimit: int(w.InitLimit), SyncLimit: int(w.SyncLimit),
		QuorumListenOnAllIPs: w.QuorumListenOnAllIps, DataDir: w.DataDir, LogDir: w.LogDir, Options: w.Options,
	}
	if c.Options == nil {
		c.Options = map[string]string{}
	}
	for _, s := range w.Servers {
		c.Servers = append(c.Servers, consensus.Server{ID: consensus.ServerID(s.Id), Observer: s.Observer, Quorum: s.Quorum, Election: s.Election,
			Group: s.Group, Weight: s.Weight, Client: s.Client})
	}
	return c
}

func statusToWire(s consensus.Status) *pb.MemberStatus {
	w := &pb.MemberStatus{
		Role: roleToWire(s.Role), Peer: clean(s.Peer), Logged: int64(s.Logged), Committed: int64(s.Committed), Quorum: int64(s.Quorum),
		DiskFree: s.Disk.Free, DiskReserve: s.Disk.Reserve, DiskLow: s.Disk.Low, DiskFull: s.Disk.Full,
		PendingSyncs: int64(s.PendingSyncs), LastProposal: s.LastProposal, MinProposal: s.MinProposal, MaxProposal: s.MaxProposal,
	}
	if !s.LeaderSince.IsZero() {
		w.LeaderSinceNs = s.LeaderSince.UnixNano()
	}
	for _, l := range s.Learners {
		w.Learners = append(w.Learners, &pb.Learner{Id: int64(l.ID), Addr: clean(l.Addr), Observer: l.Observer, Voter: l.Voter, Synced: l.Synced,
			Acked: int64(l.Acked), Queued: int64(l.Queued)})
	}
	return w
}

func statusFromWire(w *pb.MemberStatus) consensus.Status {
	s := consensus.Status{
		Role: roleFromWire(w.GetRole()), Peer: w.Peer, Logged: consensus.Zxid(w.Logged), Committed: consensus.Zxid(w.Committed), Quorum: int(w.Quorum),
		Disk:         consensus.Disk{Free: w.DiskFree, Reserve: w.DiskReserve, Low: w.DiskLow, Full: w.DiskFull},
		PendingSyncs: int(w.PendingSyncs), LastProposal: w.LastProposal, MinProposal: w.MinProposal, MaxProposal: w.MaxProposal,
	}
	if w.LeaderSinceNs != 0 {
		s.LeaderSince = time.Unix(0, w.LeaderSinceNs)
	}
	for _, l := range w.Learners {
		s.Learners = append(s.Learners, consensus.Learner{ID: consensus.ServerID(l.Id), Addr: l.Addr, Observer: l.Observer, Voter: l.Voter, Synced: l.Synced,
			Acked: consensus.Zxid(l.Acked), Queued: int(l.Queued)})
	}
	return s
}
