package config

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/plugins"
)

// Config is a server's configuration, checked.
type Config struct {
	// File is the path of zoo.cfg, Text its content; empty without a file.
	File, Text string

	// Consensus and Storage are the names of modules, or the paths of programs.
	Consensus, Storage string
	// Plugins is about the modules that are programs of their own.
	Plugins Plugins

	// ServerID is myid; 0 standalone without a myid.
	ServerID int64
	// Standalone is set for a server without an ensemble.
	Standalone bool
	// Ensemble is the membership; empty standalone.
	Ensemble quorum.Config
	// Observer says that this server is one.
	Observer bool

	DataDir, DataLogDir string

	TickTime             time.Duration
	InitLimit, SyncLimit int // ticks
	QuorumListenOnAllIPs bool

	// ClientAddrs are the plain client listeners, host:port.
	ClientAddrs []string
	// ClientPort and ClientPortAddress are as conf shows them; -1 for no port.
	ClientPort        int
	ClientPortAddress string
	ListenBacklog     int

	MaxClientCnxns, MaxCnxns             int
	MinSessionTimeout, MaxSessionTimeout time.Duration
	OutstandingLimit                     int
	Throttling                           Throttling
	JuteMaxBuffer, JuteExtraSize         int // jute.maxbuffer.extrasize
	SessionlessTimeout                   time.Duration
	ElectionHold                         time.Duration
	ReadOnly                             bool   // readonlymode.enabled
	SessionSecret                        []byte // zkcore.session.secretFile
	SecretSince                          time.Time
	Mixed                                bool // zkcore.ensemble.mixed: some servers are Apache's
	LocalSessions, LocalUpgrade          bool // localSessionsEnabled, localSessionsUpgradingEnabled
	SnapCount                            int64
	SnapSizeLimitKB                      int64
	PurgeInterval                        time.Duration
	SnapRetain                           int
	AutocreateDataDir                    bool
	TrustEmptySnapshot                   bool
	Digest, ExtendedTypes, SkipACL       bool
	EnforceQuota, ReconfigEnabled        bool
	MultiAddress, NoStandalone           bool // multiAddress.enabled, standaloneEnabled=false
	DigestAuth                           bool
	SuperDigest                          string
	FsyncWarning                         time.Duration
	ContainerCheck, ContainerNeverUsed   time.Duration
	ContainersPerMinute                  int
	ClientKeepAlive                      bool
	FourLetterWords                      []string // "*" for all
	MetricsEnabled                       bool     // the Prometheus port
	MetricsHost                          string
	MetricsPort                          int
	MemoryLimit                          int64 // bytes, GOMEMLIMIT; 0 for none

	// Options are the keys that the consensus module reads itself; StorageOptions
	// those of the store, without "zkcore.storage.NAME.".
	Options, StorageOptions map[string]string

	// Warnings are for the log, once it is there.
	Warnings []Warning

	origins map[string]Origin
}

// Plugins is what is configured of modules that run as processes.
type Plugins struct {
	Dir        string            // where those are looked for that are not built in
	SHA256     map[string]string // checksums of programs, by the names of the modules
	Timeout    time.Duration     // of a call
	MaxCrashes int               // before the server gives up
	CacheBytes int64             // of records of a store that is a process
}

// Origin is where a key was set: the zero Origin if nowhere.
func (c *Config) Origin(key string) Origin { return c.origins[key] }

// Load makes a configuration of all settings: the file's, and those that flags
// and the environment put over them.
func Load(s Settings) (*Config, error) { return load(s, "", "") }

func load(s Settings, path, text string) (*Config, error) {
	r := &reader{s: s, taken: make(map[string]bool)}
	c := &Config{File: path, Text: text, origins: make(map[string]Origin, len(s.Keys()))}
	for _, key := range s.Keys() {
		v, _ := s.Get(key)
		c.origins[key] = v.Origin
		if v.Before > 0 {
			r.warn(key, "is set on line %d too: the last one counts", v.Before)
		}
	}
	c.read(r)
	if r.err == nil {
		c.readMyID(r)
	}
	c.warnUnread(r)
	c.Warnings = r.warnings
	if r.err != nil {
		return c, r.err
	}
	return c, nil
}

// read takes all that the settings have, but for what depends on myid.
func (c *Config) read(r *reader) {
	c.readModules(r)
	c.readFiles(r)
	c.readTimes(r)
	c.readListeners(r)
	c.readLimits(r)
	c.readThrottling(r)
	c.readAdmin(r)
	c.readOptions(r)
	c.readEnsemble(r)
}

func (c *Config) readModules(r *reader) {
	c.Consensus = r.text("consensus", "zab")
	c.Storage = r.text("storage", "mem")
	p := &c.Plugins
	p.Dir = r.text("zkcore.plugin.dir", "")
	p.Timeout = time.Duration(r.property("zkcore.plugin.timeoutMs", 10000, 10, 1<<31)) * time.Millisecond
	p.MaxCrashes = int(r.property("zkcore.plugin.maxCrashes", 10, 0, 1<<20))
	p.CacheBytes = r.property("zkcore.plugin.cacheBytes", 64<<20, 0, 1<<40)
	p.SHA256 = map[string]string{}
	for _, key := range r.s.Keys() {
		rest, ok := strings.CutPrefix(key, "zkcore.plugin.")
		if !ok {
			continue
		}
		if name, ok := strings.CutSuffix(rest, ".sha256"); ok && name != "" {
			p.SHA256[name] = r.text(key, "")
		}
	}
}

func (c *Config) readFiles(r *reader) {
	c.DataDir = strings.TrimRight(r.text("dataDir", ""), "/")
	if r.text("dataDir", "") == "/" {
		c.DataDir = "/"
	}
	if c.DataDir == "" {
		r.fail("dataDir", "dataDir is not set")
	}
	c.DataLogDir = r.text("dataLogDir", "")
	if c.DataLogDir == "" {
		c.DataLogDir = c.DataDir
	}
	c.AutocreateDataDir = r.flag("datadir.autocreate", true)
	c.TrustEmptySnapshot = r.flag("snapshot.trust.empty", false)
	c.SnapCount = r.property("snapCount", 100000, 1, 1<<40)
	if c.SnapCount < 2 {
		r.warn("snapCount", "raised to 2")
		c.SnapCount = 2
	}
	c.SnapSizeLimitKB = r.property("snapSizeLimitInKb", 4194304, -1<<40, 1<<40)
	c.SnapRetain = int(r.number("autopurge.snapRetainCount", 3, -1<<31, 1<<20))
	if c.SnapRetain < 3 {
		r.warn("autopurge.snapRetainCount", "raised to 3, the least that is kept")
		c.SnapRetain = 3
	}
	c.ContainerCheck = time.Duration(r.property("znode.container.checkIntervalMs", 60000, 1, 1<<40)) * time.Millisecond
	c.ContainersPerMinute = int(r.property("znode.container.maxPerMinute", 10000, 1, 1<<30))
	c.ContainerNeverUsed = time.Duration(r.property("znode.container.maxNeverUsedIntervalMs", 0, 0, 1<<40)) * time.Millisecond
	if method := r.text("snapshot.compression.method", ""); method != "" && method != "gz" {
		r.warn("snapshot.compression.method", "%q is not supported: snapshots are written uncompressed", method)
	}
	c.PurgeInterval = time.Duration(max(r.number("autopurge.purgeInterval", 0, -1<<31, 1<<20), 0)) * time.Hour // Apache takes -1 for never, too
	c.FsyncWarning = time.Duration(r.property("fsync.warningthresholdms", 1000, 0, 1<<31)) * time.Millisecond
}

func (c *Config) readTimes(r *reader) {
	tick := r.number("tickTime", 3000, 0, 1<<30)
	if tick == 0 {
		r.fail("tickTime", "tickTime is not set")
		tick = 3000
	}
	c.TickTime = time.Duration(tick) * time.Millisecond
	c.InitLimit = int(r.number("initLimit", 0, 0, 1<<20))
	c.SyncLimit = int(r.number("syncLimit", 0, 0, 1<<20))
	limit := func(key string, def int64) time.Duration {
		n := r.number(key, -1, -1, 1<<31-1)
		if n == -1 {
			n = def
		}
		return time.Duration(n) * time.Millisecond
	}
	c.MinSessionTimeout = limit("minSessionTimeout", 2*tick)
	c.MaxSessionTimeout = limit("maxSessionTimeout", 20*tick)
	if c.MinSessionTimeout > c.MaxSessionTimeout {
		key := "minSessionTimeout"
		if !r.has(key) {
			key = "maxSessionTimeout"
		}
		r.fail(key, "minSessionTimeout must not be larger than maxSessionTimeout")
	}
	// A dead leader is a pause: clients keep their connections this long. After
	// it they are better off looking for a server that has a quorum.
	hold := int64(c.InitLimit) * tick
	if hold <= 0 || hold > 30000 {
		hold = 30000
	}
	c.ElectionHold = time.Duration(r.property("zkcore.election.holdMs", hold, 0, 1<<31)) * time.Millisecond
}

func (c *Config) readListeners(r *reader) {
	c.ClientPort = int(r.number("clientPort", -1, -1, 65535))
	if c.ClientPort == 0 && r.has("clientPort") {
		// Apache takes 0 for "no port"; so do we.
		c.ClientPort = -1
	}
	c.ClientPortAddress = r.text("clientPortAddress", "")
	if host := c.ClientPortAddress; host != "" && r.err == nil {
		if _, err := net.LookupHost(host); err != nil {
			r.fail("clientPortAddress", "%v", err)
		}
	}
	if c.ClientPortAddress != "" && c.ClientPort < 0 {
		r.fail("clientPortAddress", "clientPortAddress is set but clientPort is not set")
	}
	c.ListenBacklog = int(r.number("clientPortListenBacklog", -1, -1, 1<<16))
	if r.has("secureClientPortAddress") && !r.has("secureClientPort") {
		r.fail("secureClientPortAddress", "secureClientPortAddress is set but secureClientPort is not set")
	}
}

func (c *Config) readLimits(r *reader) {
	c.MaxClientCnxns = int(r.number("maxClientCnxns", 60, -1<<31, 1<<31-1))
	c.MaxCnxns = int(r.property("maxCnxns", 0, -1<<31, 1<<31-1))
	c.MaxClientCnxns, c.MaxCnxns = max(c.MaxClientCnxns, 0), max(c.MaxCnxns, 0)
	c.OutstandingLimit = int(r.property("globalOutstandingLimit", 1000, 1, 1<<30))
	c.JuteMaxBuffer = int(r.property("jute.maxbuffer", 1048575, 1024, 1<<30))
	c.JuteExtraSize = max(int(r.property("jute.maxbuffer.extrasize", int64(c.JuteMaxBuffer), 0, 1<<30)), 1024) // as Apache raises it
	c.SessionlessTimeout = time.Duration(r.property("nio.sessionlessCnxnTimeout", 10000, 1, 1<<31)) * time.Millisecond
	c.MemoryLimit = r.property("zkcore.memoryLimitMb", 0, 0, 1<<30) << 20
	c.ClientKeepAlive = r.flag("clientTcpKeepAlive", false)
	c.Digest = r.flag("digest.enabled", true)
	c.LocalSessions, c.LocalUpgrade = r.boolean("localSessionsEnabled", false), r.boolean("localSessionsUpgradingEnabled", false)
	c.Mixed = r.flag("zkcore.ensemble.mixed", false)
	c.readSecret(r)
	c.ReadOnly = r.flag("readonlymode.enabled", false)
	c.ExtendedTypes = r.flag("extendedTypesEnabled", false)
	c.EnforceQuota = r.flag("enforceQuota", false)
	if c.ReconfigEnabled = r.boolean("reconfigEnabled", false); c.ReconfigEnabled {
		r.warn("reconfigEnabled", "dynamic reconfiguration is not supported yet: a reconfig is checked, and answered Unimplemented")
	}
	switch skip := r.text("skipACL", "no"); skip {
	case "yes":
		c.SkipACL = true
	case "no":
	default:
		r.warn("skipACL", "%q is neither yes nor no; taken as no", skip)
	}
	c.DigestAuth = r.flag("DigestAuthenticationProvider.enabled", true)
	c.SuperDigest = r.text("DigestAuthenticationProvider.superDigest", "")
	if alg := r.text("DigestAuthenticationProvider.digestAlg", "SHA1"); !strings.EqualFold(alg, "SHA1") {
		r.fail("DigestAuthenticationProvider.digestAlg", "%q is not supported: only SHA1", alg)
	}
}

// The metrics providers that Apache ships; any other is a Java class.
const (
	defaultMetrics    = "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"
	nullMetrics       = "org.apache.zookeeper.metrics.impl.NullMetricsProvider"
	prometheusMetrics = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
)

func (c *Config) readAdmin(r *reader) {
	c.FourLetterWords = []string{"srvr"}
	if c.ReadOnly {
		c.FourLetterWords = append(c.FourLetterWords, "isro") // by which clients look for a server that takes writes
	}
	for _, w := range strings.Split(r.text("4lw.commands.whitelist", ""), ",") {
		if w = strings.TrimSpace(w); w != "" {
			c.FourLetterWords = append(c.FourLetterWords, w)
		}
	}
	switch class := r.text("metricsProvider.className", defaultMetrics); class {
	case prometheusMetrics:
		c.MetricsEnabled = true
	case defaultMetrics, nullMetrics, "":
	default:
		r.fail("metricsProvider.className", "metrics provider class was not found: %s", class)
	}
	c.MetricsHost = r.text("metricsProvider.httpHost", "0.0.0.0")
	c.MetricsPort = int(r.number("metricsProvider.httpPort", 7000, 0, 65535))
	r.boolean("metricsProvider.exportJvmInfo", true) // no JVM: process_* and go_* are there always
}

// readOptions checks and hands on what the modules read.
func (c *Config) readOptions(r *reader) {
	c.Options, c.StorageOptions = make(map[string]string), make(map[string]string)
	for _, key := range consensusKeys {
		if v, ok := r.s.Get(key); ok {
			c.Options[key] = v.Text
			r.taken[key] = true
		}
	}
	// What is said of these in a warning is what holds, for the node and for the module: above all
	// that no txn is made which the log would not take.
	for key, v := range map[string]any{
		"jute.maxbuffer": c.JuteMaxBuffer, "jute.maxbuffer.extrasize": c.JuteExtraSize, "fsync.warningthresholdms": c.FsyncWarning.Milliseconds(),
		"datadir.autocreate": c.AutocreateDataDir, "snapshot.trust.empty": c.TrustEmptySnapshot,
	} {
		if r.has(key) {
			c.Options[key] = fmt.Sprint(v)
		}
	}
	prefix := "zkcore.storage." + plugins.Name(c.Storage) + "."
	own := "zkcore.consensus." + plugins.Name(c.Consensus) + "."
	for _, key := range r.s.Keys() {
		v, _ := r.s.Get(key)
		if name, ok := strings.CutPrefix(key, prefix); ok {
			c.StorageOptions[name] = v.Text
			r.taken[key] = true
		}
		if strings.HasPrefix(key, own) {
			c.Options[key] = v.Text
			r.taken[key] = true
		}
	}
	if alg := r.number("electionAlg", 3, -1<<31, 1<<31-1); alg != 3 {
		r.fail("electionAlg", "Invalid electionAlg value. Only 3 is supported.")
	}
	for key, on := range map[string]bool{"syncEnabled": r.boolean("syncEnabled", true), "observer.syncEnabled": r.flag("observer.syncEnabled", true)} {
		if !on {
			r.warn(key, "has no effect: an observer always writes its log and snapshots")
		}
	}
}

// warnUnread names each key that nothing here reads.
func (c *Config) warnUnread(r *reader) {
	for _, key := range r.s.Keys() {
		if r.taken[key] || isMember(key) {
			continue
		}
		v, _ := r.s.Get(key)
		switch reason, known := unsupported(key); {
		case known && asksForNothing(r.s, key, v.Text):
		case known && reason != "":
			r.warn(key, "%s", reason)
		case known:
			r.warn(key, "is not supported yet; the default is used")
		case noMeaning(key):
			// It tunes Java's threads and buffers: nothing to say.
		case strings.HasPrefix(key, "zkcore.storage.") || strings.HasPrefix(key, "zkcore.consensus."):
			r.warn(key, "is for a module that this server does not have (consensus=%s, storage=%s); ignored", c.Consensus, c.Storage)
		default:
			r.warn(key, "is not a key that zkcore knows; ignored")
		}
	}
}
