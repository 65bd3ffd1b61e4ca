package config

import (
	"slices"
	"strings"
)

// consensusKeys are handed to the consensus module, which reads them.
var consensusKeys = []string{
	"forceSync", "preAllocSize", "txnLogSizeLimitInKb", "commitLogCount", "snapshotSizeFactor", "forceSnapshotSync",
	"snapshot.trust.empty", "db.autocreate", "fsync.warningthresholdms", "jute.maxbuffer", "jute.maxbuffer.extrasize",
	"cnxTimeout", "quorumCnxnTimeoutMs", "tcpKeepAlive", "electionPortBindRetry",
	"fastleader.minNotificationInterval", "fastleader.maxNotificationInterval",
	"connectToLearnerMasterLimit", "leader.nodelay", "follower.nodelay", "leaderConnectDelayDuringRetryMs",
	"leader.maxConcurrentSnapSyncs", "leader.maxConcurrentDiffSyncs", "leader.maxTimeToWaitForEpoch",
	"observer.reconnectDelayMs", "observer.election.DelayMs",
	"multiAddress.enabled", "snapCount", "datadir.autocreate", "snapshot.compression.method", "zkcore.learner.queueBytes", "zkcore.disk.reserveMb", "zkcore.raft.electionMs", "zkcore.raft.windowBytes", "zkcore.raft.keepEntries", "zkcore.raft.inflight",
}

// notYet are Apache's keys that a later release reads, with what to say of them
// where "not supported yet" is not all there is to say.
var notYet = map[string]string{
	"maxBatchSize":                            "has no effect: one sync of the log takes all that waits",
	"secureClientPort":                        "TLS is not supported yet: no secure port is opened",
	"secureClientPortAddress":                 "TLS is not supported yet: no secure port is opened",
	"sslQuorum":                               "TLS between servers is not supported yet",
	"portUnification":                         "TLS between servers is not supported yet",
	"client.portUnification":                  "TLS is not supported yet",
	"sslQuorumReloadCertFiles":                "",
	"fips-mode":                               "",
	"dynamicConfigFile":                       "",
	"observerMasterPort":                      "observers follow the leader; observer masters are not supported yet",
	"oraclePath":                              "",
	"leaderServes":                            "the leader serves clients",
	"enableEagerACLCheck":                     "",
	"emulate353TTLNodes":                      "",
	"flushDelay":                              "",
	"maxWriteQueuePollTime":                   "",
	"serializeLastProcessedZxid.enabled":      "",
	"closeSessionTxn.enabled":                 "",
	"admin.enableServer":                      "the admin server is not supported yet: none is started",
	"admin.serverAddress":                     "the admin server is not supported yet: none is started",
	"admin.serverPort":                        "the admin server is not supported yet: none is started",
	"admin.commandURL":                        "the admin server is not supported yet: none is started",
	"admin.idleTimeout":                       "the admin server is not supported yet: none is started",
	"admin.snapshot.enabled":                  "the admin server is not supported yet: none is started",
	"admin.restore.enabled":                   "the admin server is not supported yet: none is started",
	"audit.enable":                            "the audit log is not supported yet",
	"audit.impl.class":                        "the audit log is not supported yet",
	"superUser":                               "SASL is not supported yet",
	"allowSaslFailedClients":                  "SASL is not supported yet",
	"sessionRequireClientSASLAuth":            "SASL is not supported yet",
	"enforce.auth.enabled":                    "enforced authentication is not supported yet",
	"enforce.auth.schemes":                    "enforced authentication is not supported yet",
	"ensembleAuthName":                        "",
	"quorum.auth.enableSasl":                  "SASL between servers is not supported yet",
	"quorum.auth.learnerRequireSasl":          "SASL between servers is not supported yet",
	"quorum.auth.serverRequireSasl":           "SASL between servers is not supported yet",
	"multiAddress.reachabilityCheckEnabled":   "",
	"multiAddress.reachabilityCheckTimeoutMs": "",
}

// notYetPrefixes begin the keys of a feature that a later release has.
var notYetPrefixes = [][2]string{
	{"ssl.", "TLS is not supported yet"},
	{"X509AuthenticationProvider.", "TLS is not supported yet"},
	{"authProvider.", "authentication is by world, auth, digest and ip; other providers are not supported yet"},
	{"sasl.", "SASL is not supported yet"},
	{"SASLAuthenticationProvider.", "SASL is not supported yet"},
	{"superUser.", "SASL is not supported yet"},
	{"kerberos.", "SASL is not supported yet"},
	{"quorum.auth.", "SASL between servers is not supported yet"},
	{"admin.", "the admin server is not supported yet: none is started"},
	{"audit.", "the audit log is not supported yet"},
}

// unsupported says whether a key is one of Apache's that is not read yet, and
// what there is to say of it.
func unsupported(key string) (reason string, known bool) {
	if reason, known = notYet[key]; known {
		return reason, true
	}
	for _, p := range notYetPrefixes {
		if strings.HasPrefix(key, p[0]) {
			return p[1], true
		}
	}
	return "", false
}

// offByDefault are features that we don't have and that a configuration may
// name only to do without them.
var offByDefault = []string{
	"sslQuorum", "portUnification", "client.portUnification", "sslQuorumReloadCertFiles", "fips-mode",
	"enableEagerACLCheck", "emulate353TTLNodes",
	"admin.enableServer", "audit.enable", "sessionRequireClientSASLAuth", "enforce.auth.enabled", "quorum.auth.enableSasl",
	"quorum.auth.learnerRequireSasl", "quorum.auth.serverRequireSasl",
}

// asksForNothing says whether a key that is not supported only says what holds
// without it: that is no reason for a warning.
func asksForNothing(s Settings, key, text string) bool {
	off := func(text string) bool { return strings.EqualFold(text, "false") }
	switch {
	case key == "leaderServes":
		return text != "no"
	case slices.Contains(offByDefault, key):
		return off(text)
	case strings.HasPrefix(key, "admin."):
		v, ok := s.Get("admin.enableServer")
		return ok && off(v.Text)
	}
	return false
}

// meaningless are keys, or their beginnings, of what only a JVM has.
var meaningless = []string{
	"serverCnxnFactory", "nio.", "netty.", "intBufferStartingSizeBytes", "commitProcessor.", "watchManagerName", "watcherClean",
	"maxInProcessingDeadWatchers", "bitHashCacheSize", "pathStats.", "messageTracker.", "jvm.pause.", "learner.asyncSending",
	"learner.closeSocketAsync", "leader.closeSocketAsync", "leader.ackLoggingFrequency", "quorum.cnxn.threads.size",
	"follower.skipLearnerRequestToNextProcessor", "forward_learner_requests_to_commit_processor_disabled",
	"maxResponseCacheSize", "maxGetChildrenResponseCacheSize", "kinit", "kerberos.minReLoginTimeMs", "jmx.", "metricsProvider.",
	"request_throttler.shutdownTimeout", "request_throttle_stall_time", "controllerPort",
}

func noMeaning(key string) bool {
	for _, m := range meaningless {
		if key == m || strings.HasSuffix(m, ".") && strings.HasPrefix(key, m) || m == "watcherClean" && strings.HasPrefix(key, m) {
			return true
		}
	}
	return false
}

// isMember says whether a key describes the membership.
func isMember(key string) bool {
	return strings.HasPrefix(key, "server.") || strings.HasPrefix(key, "group") || strings.HasPrefix(key, "weight")
}
