package raft

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// options are the keys of the configuration that concern this module, with Apache's
// defaults.
type options struct {
	noSync     bool  // forceSync
	preAllocKB int64 // preAllocSize
	logSizeKB  int64 // txnLogSizeLimitInKb
	maxRecord  int   // jute.maxbuffer and jute.maxbuffer.extrasize
	fsyncWarn  time.Duration

	dialTimeout time.Duration // cnxTimeout
	keepAlive   bool
	bindRetries int            // electionPortBindRetry; 0 for ever
	autocreate  string         // db.autocreate: "true", "false", or "" if it is not set
	queueBytes  int            // zkcore.learner.queueBytes
	reserve     int64          // zkcore.disk.reserveMb, in bytes
	committed   consensus.Zxid // consensus.OptionCommitted

	election time.Duration // zkcore.raft.electionMs
	window   int           // zkcore.raft.windowBytes
	keep     int64         // zkcore.raft.keepEntries
	inflight int           // zkcore.raft.inflight
}

// unused are keys of Apache's for what this module has no use for, or not yet, with the
// reason.
var unused = map[string]string{
	"sslQuorum":                          "this version has no TLS between servers",
	"portUnification":                    "this version has no TLS between servers",
	"multiAddress.enabled":               "the first address that answers is taken",
	"quorum.auth.enableSasl":             "this version has no SASL between servers",
	"observerMasterPort":                 "this version has no observer masters",
	"reconfigEnabled":                    "raft's reconfiguration is not there yet; the membership is that of the file",
	"oraclePath":                         "quorums by an oracle are not supported",
	"learner.asyncSending":               "every connection has a sender of its own",
	"learner.closeSocketAsync":           "closing never waits",
	"leader.closeSocketAsync":            "closing never waits",
	"observer.reconnectDelayMs":          "the leader connects to its observers",
	"fastleader.minNotificationInterval": "raft's elections have no notifications",
	"fastleader.maxNotificationInterval": "raft's elections have no notifications",
	"leader.maxTimeToWaitForEpoch":       "raft's leaders wait for no epoch",
	"connectToLearnerMasterLimit":        "the leader connects to its learners",
	"leaderConnectDelayDuringRetryMs":    "the leader connects to its learners",
	"leader.maxConcurrentSnapSyncs":      "one snapshot is taken at a time for each learner",
	"leader.maxConcurrentDiffSyncs":      "learners are brought up to date out of the log as fast as they acknowledge",
	"forceSnapshotSync":                  "a learner whose log fits is brought up to date out of the log",
	"quorumCnxnTimeoutMs":                "it is cnxTimeout",
}

func parseOptions(m map[string]string, log *slog.Logger) options {
	get := func(key string) (string, bool) {
		v, ok := m[key]
		if !ok {
			v, ok = m["zookeeper."+key]
		}
		return strings.TrimSpace(v), ok
	}
	number := func(key string, def, least int64) int64 {
		v, ok := get(key)
		if !ok || v == "" {
			return def
		}
		n, err := strconv.ParseInt(v, 0, 64)
		if err != nil || n < least {
			log.Warn("configuration: value can't be used", "key", key, "value", v, "instead", def)
			return def
		}
		return n
	}
	flag := func(key string, def bool) bool {
		v, ok := get(key)
		if !ok || v == "" {
			return def
		}
		switch strings.ToLower(v) {
		case "true", "yes":
			return true
		case "false", "no":
			return false
		}
		log.Warn("configuration: value can't be used", "key", key, "value", v, "instead", def)
		return def
	}
	ms := func(key string, def, least int64) time.Duration {
		return time.Duration(number(key, def, least)) * time.Millisecond
	}

	buffer := number("jute.maxbuffer", 0xfffff, 1)
	o := options{
		preAllocKB: number("preAllocSize", 65536, 0),
		logSizeKB:  max(number("txnLogSizeLimitInKb", 0, -1), 0),
		maxRecord:  int(buffer + number("jute.maxbuffer.extrasize", buffer, 0)),
		fsyncWarn:  ms("fsync.warningthresholdms", 1000, 0),

		dialTimeout: ms("cnxTimeout", 5000, 1),
		keepAlive:   flag("tcpKeepAlive", false),
		bindRetries: int(number("electionPortBindRetry", 3, 0)),
		queueBytes:  int(number("zkcore.learner.queueBytes", 256<<20, 1<<20)),

		election: ms("zkcore.raft.electionMs", 1000, 100),
		window:   int(number("zkcore.raft.windowBytes", 32<<20, 1<<12)),
		keep:     number("zkcore.raft.keepEntries", 5000, 0),
		inflight: int(number("zkcore.raft.inflight", 256, 1)),
	}
	// Apache's way to say that a learner gets little out of the log, and else a snapshot.
	if v, ok := get("snapshotSizeFactor"); ok && strings.HasPrefix(v, "-") {
		o.keep = number("zkcore.raft.keepEntries", number("commitLogCount", 500, 0), 0)
	}
	o.committed = consensus.Zxid(number(consensus.OptionCommitted, 0, 0))
	// Two segments, where they have a size.
	o.reserve = number("zkcore.disk.reserveMb", max(64, 2*o.logSizeKB>>10), 0) << 20
	if v, ok := get("db.autocreate"); ok && v != "" {
		o.autocreate = strconv.FormatBool(flag("db.autocreate", true))
	}
	if v, ok := get("forceSync"); ok {
		switch v {
		case "no":
			o.noSync = true
			log.Warn("forceSync=no: transactions are acknowledged before they are on the disk")
		case "yes", "":
		default:
			log.Warn("configuration: value can't be used", "key", "forceSync", "value", v, "instead", "yes")
		}
	}
	for key, why := range unused {
		if v, ok := get(key); ok && v != "" && !strings.EqualFold(v, "false") {
			log.Warn("configuration: key has no effect", "key", key, "value", v, "reason", why)
		}
	}
	return o
}

func errKey(key string, format string, args ...any) error {
	return fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...))
}
