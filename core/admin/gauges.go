package admin

import "time"

// A gauge is a value as it stands now.
type gauge struct {
	name  string
	value float64
	whole bool // Apache's gauge is a whole number
}

// gauges are the values that the server has in its present role; none while it
// does not serve.
func gauges(f Facts, watches int, open, max int64, now time.Time) []gauge {
	if !f.Serving && !f.ReadOnly {
		return nil
	}
	var gs []gauge
	whole := func(name string, v int64) { gs = append(gs, gauge{name, float64(v), true}) }
	gs = append(gs, gauge{"avg_latency", f.LatencyAvg, false})
	whole("max_latency", f.LatencyMax)
	whole("min_latency", f.LatencyMin)
	whole("packets_received", f.Received)
	whole("packets_sent", f.Sent)
	whole("num_alive_connections", int64(f.Connections))
	whole("outstanding_requests", f.Outstanding)
	whole("uptime", now.Sub(f.Started).Milliseconds())
	whole("znode_count", int64(f.Nodes)+1)
	whole("watch_count", int64(watches))
	whole("ephemerals_count", int64(f.Ephemerals))
	whole("approximate_data_size", f.DataSize)
	whole("global_sessions", int64(f.Sessions))
	whole("local_sessions", int64(f.LocalSessions))
	whole("open_file_descriptor_count", open)
	whole("max_file_descriptor_count", max)
	gs = append(gs, gauge{"connection_drop_probability", f.DropChance, false})
	whole("last_client_response_size", f.LastResponse)
	whole("max_client_response_size", f.MaxResponse)
	whole("min_client_response_size", f.MinResponse)
	whole("outstanding_tls_handshake", 0)
	whole("auth_failed_count", f.AuthFailed)
	whole("non_mtls_remote_conn_count", 0)
	whole("non_mtls_local_conn_count", 0)
	if f.Ensemble {
		whole("quorum_size", int64(f.QuorumSize))
	}
	if f.Mode == "leader" {
		whole("learners", int64(f.Learners))
		whole("synced_followers", int64(f.SyncedFollowers))
		whole("synced_non_voting_followers", int64(f.SyncedNonVoting))
		whole("synced_observers", int64(f.SyncedObservers))
		whole("pending_syncs", int64(f.PendingSyncs))
		whole("leader_uptime", now.Sub(f.LeaderSince).Milliseconds())
		whole("last_proposal_size", f.LastProposal)
		whole("max_proposal_size", f.MaxProposal)
		whole("min_proposal_size", f.MinProposal)
	}
	return gs
}
