package config

import (
	"strconv"
	"strings"
)

// fileKeys are the keys that Load reads by name, beside the members and what
// the modules read.
var fileKeys = []string{
	"consensus", "storage", "dataDir", "dataLogDir", "clientPort", "clientPortAddress", "tickTime", "initLimit", "syncLimit",
	"connectToLearnerMasterLimit", "clientPortListenBacklog", "maxClientCnxns", "maxCnxns", "minSessionTimeout", "maxSessionTimeout",
	"globalOutstandingLimit", "jute.maxbuffer", "nio.sessionlessCnxnTimeout", "autopurge.snapRetainCount", "autopurge.purgeInterval",
	"snapCount", "snapSizeLimitInKb", "snapshot.trust.empty", "datadir.autocreate", "digest.enabled", "extendedTypesEnabled", "skipACL",
	"DigestAuthenticationProvider.enabled", "DigestAuthenticationProvider.superDigest", "DigestAuthenticationProvider.digestAlg",
	"4lw.commands.whitelist", "electionAlg", "peerType", "standaloneEnabled", "quorumListenOnAllIPs", "syncEnabled", "observer.syncEnabled",
	"multiAddress.enabled", "metricsProvider.className", "metricsProvider.httpHost", "metricsProvider.httpPort",
	"metricsProvider.exportJvmInfo", "fsync.warningthresholdms", "zkcore.election.holdMs", "zkcore.memoryLimitMb", "zkcore.plugin.dir", "zkcore.plugin.timeoutMs", "zkcore.plugin.maxCrashes", "zkcore.plugin.cacheBytes", "clientTcpKeepAlive", "readonlymode.enabled", "localSessionsEnabled", "localSessionsUpgradingEnabled", "zkcore.ensemble.mixed", "zkcore.session.secretFile",
	"znode.container.checkIntervalMs", "znode.container.maxPerMinute", "znode.container.maxNeverUsedIntervalMs",
	"enforceQuota", "reconfigEnabled",
	// A variable has lost the case of its key. So those with a module's name in them can be set
	// by one only if they stand here.
	"zkcore.storage.bolt.cacheBytes", "zkcore.storage.bolt.flushIntervalMs", "zkcore.storage.bolt.gatherBytes", "zkcore.storage.bolt.gatherRecords",
}

// EnvPrefix begins the name of every variable that sets a key.
const EnvPrefix = "ZKCORE_"

// EnvName is the variable that sets a key: tickTime is ZKCORE_TICKTIME,
// server.1 is ZKCORE_SERVER_1.
func EnvName(key string) string {
	return EnvPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// FromEnviron takes the settings out of an environment (os.Environ). A variable
// with our prefix that sets nothing is a warning.
func FromEnviron(environ []string) (Settings, []Warning) {
	names := make(map[string]string)
	for _, list := range [][]string{fileKeys, throttlingKeys, consensusKeys} {
		for _, key := range list {
			names[EnvName(key)] = key
		}
	}
	for key := range notYet {
		names[EnvName(key)] = key
	}
	var s Settings
	var warnings []Warning
	for _, kv := range environ {
		name, text, _ := strings.Cut(kv, "=")
		rest, ok := strings.CutPrefix(name, EnvPrefix)
		if !ok || rest == "TEST" || strings.HasPrefix(rest, "TEST_") {
			continue
		}
		origin := Origin{Name: "environment " + name}
		key, ok := names[name]
		if kind, n, cut := strings.Cut(rest, "_"); !ok && cut {
			if _, err := strconv.ParseInt(n, 10, 64); err == nil && (kind == "SERVER" || kind == "GROUP" || kind == "WEIGHT") {
				key, ok = strings.ToLower(kind)+"."+n, true
			}
		}
		if !ok {
			warnings = append(warnings, Warning{Origin: origin, Reason: "sets no key that zkcore knows; ignored"})
			continue
		}
		s.Put(Value{Key: key, Text: text, Origin: origin})
	}
	return s, warnings
}

// jvmOnly begin the properties that configure a JVM and its libraries.
var jvmOnly = []string{
	"java.", "javax.", "jdk.", "sun.", "com.sun.", "log4j", "logback.", "slf4j.", "file.encoding", "user.", "zookeeper.log.",
	"zookeeper.root.logger", "zookeeper.jmx.", "zookeeper.DigestAuthenticationProvider.clazz",
}

// plainProperties are the properties of Apache's that don't begin with
// "zookeeper.".
var plainProperties = []string{
	"jute.maxbuffer", "readonlymode.enabled", "leader.nodelay", "follower.nodelay", "fsync.warningthresholdms",
	"znode.container.checkIntervalMs", "znode.container.maxPerMinute", "znode.container.maxNeverUsedIntervalMs",
}

// FromProperties takes the settings out of words as -D has them: name=value,
// where Apache's names are "zookeeper." and the key.
func FromProperties(words []string) (Settings, []Warning) {
	var s Settings
	var warnings []Warning
next:
	for _, w := range words {
		name, text, _ := strings.Cut(w, "=")
		origin := Origin{Name: "-D" + name}
		for _, p := range jvmOnly {
			if strings.HasPrefix(name, p) {
				continue next
			}
		}
		if key, ok := strings.CutPrefix(name, "zookeeper."); ok {
			s.Put(Value{Key: key, Text: text, Origin: origin})
			continue
		}
		for _, p := range plainProperties {
			if name == p {
				s.Put(Value{Key: name, Text: text, Origin: origin})
				continue next
			}
		}
		if strings.HasPrefix(name, "zkcore.") {
			s.Put(Value{Key: name, Text: text, Origin: origin})
			continue
		}
		warnings = append(warnings, Warning{Origin: origin, Reason: "is not a property that zkcore knows; ignored"})
	}
	return s, warnings
}
