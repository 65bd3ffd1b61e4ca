package conformance

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/test/harness"
)

// A configuration is what servers are started with, for the tables that name it.
type configuration struct {
	name  string
	extra map[string]string // zoo.cfg
	tree  []txnlog.Node     // what there is before the first start, besides what is always there
	one   bool              // an ensemble of one server
}

var configurations = []configuration{
	{name: "plain"},
	{name: "fresh"}, // what is always there is shown as it is: such a table is run as a whole
	{name: "no-extended-types", extra: map[string]string{"extendedTypesEnabled": "false"}},
	{name: "reconfig-enabled", extra: map[string]string{"reconfigEnabled": "true"}},
	{name: "reconfig-one", one: true, extra: map[string]string{"reconfigEnabled": "true", "standaloneEnabled": "false"}},
	{name: "reconfig-one-skip-acl", one: true, extra: map[string]string{"reconfigEnabled": "true", "standaloneEnabled": "false", "skipACL": "yes"}},
	{name: "skip-acl", extra: map[string]string{"skipACL": "yes"}},
	{name: "no-digest-login", extra: map[string]string{"DigestAuthenticationProvider.enabled": "false"}},
	{name: "quota", extra: map[string]string{"enforceQuota": "true"}},
	{name: "soon-gone", extra: map[string]string{"znode.container.checkIntervalMs": "100"}},
	{name: "old", tree: old},
	{name: "small-buffer", extra: map[string]string{"jute.maxbuffer": "4096"}},
	// One of these connections is the admin's.
	{name: "limit-of-an-address", extra: map[string]string{"maxClientCnxns": "3"}},
	{name: "limit-of-all", extra: map[string]string{"maxCnxns": "3"}},
	{name: "limit-of-tokens", extra: map[string]string{"connection_throttle_tokens": "9", "connection_throttle_fill_time": "1000000000"}},
	{name: "limit-of-large", extra: map[string]string{"largeRequestThreshold": "1000", "largeRequestMaxBytes": "2000"}},
	{name: "limit-of-requests", extra: map[string]string{"globalOutstandingLimit": "1", "request_throttle_max_requests": "1", "request_throttle_stall_time": "10"}},
	// A standalone server has no local sessions: these are ensembles of one.
	{name: "local-sessions", one: true, extra: map[string]string{"standaloneEnabled": "false", "localSessionsEnabled": "true"}},
	{name: "local-upgrade", one: true, extra: map[string]string{"standaloneEnabled": "false", "localSessionsEnabled": "true", "localSessionsUpgradingEnabled": "true"}},
}

// tickMS makes sessions that are to expire do so soon: the shortest timeout is twice that.
const tickMS = 200

// settings are those of all configurations, with c's own.
func (c *configuration) settings() map[string]string {
	m := map[string]string{
		"forceSync":                                "no", // nobody pulls a plug here
		"extendedTypesEnabled":                     "true",
		"maxSessionTimeout":                        "600000",
		"maxClientCnxns":                           "0",
		"snapCount":                                "1000000",
		"znode.container.checkIntervalMs":          "86400000",
		"DigestAuthenticationProvider.superDigest": superDigest,
	}
	maps.Copy(m, c.extra)
	return m
}

func (c *configuration) apache(t *testing.T, classpath string) *harness.Ensemble {
	// A warning for each frame that is wrong says nothing.
	args := []string{"-Dorg.slf4j.simpleLogger.defaultLogLevel=error"}
	extra := c.settings()
	for key, value := range extra {
		if strings.HasPrefix(key, "jute.") || strings.HasPrefix(key, "znode.") { // read from the JVM's properties, not from the file
			args = append(args, "-D"+key+"="+value)
		}
	}
	return c.start(t, harness.Options{TickTimeMS: tickMS, Extra: extra, Apache: []int{1}, JVMArgs: args, ApacheClasspath: classpath})
}

func (c *configuration) zkcore(t *testing.T, consensus, storage string) *harness.Ensemble {
	extra := c.settings()
	extra["consensus"], extra["storage"] = consensus, storage
	return c.start(t, harness.Options{TickTimeMS: tickMS, Extra: extra})
}

// old are znodes of a tree that has seen much: their counters are about to pass 2³¹, or -1.
var old = []txnlog.Node{
	{Path: "/end", Stat: txnlog.Stat{Cversion: 1<<31 - 2}},
	{Path: "/last", Stat: txnlog.Stat{Cversion: 1<<31 - 1}},
	{Path: "/lasting", Stat: txnlog.Stat{Cversion: 1<<31 - 1}},
	{Path: "/least", Stat: txnlog.Stat{Cversion: -1 << 31}},
	{Path: "/negative", Stat: txnlog.Stat{Cversion: -1234567}},
	{Path: "/nil", Stat: txnlog.Stat{Cversion: -3}},
	{Path: "/versions", Stat: txnlog.Stat{Version: 1<<31 - 1, Aversion: 1<<31 - 1}},
	{Path: "/minus", Stat: txnlog.Stat{Version: -3, Aversion: -3}},
	{Path: "/much", Stat: txnlog.Stat{Cversion: 1000000000}},
}

// start starts a server, on the tree that it is to have.
func (c *configuration) start(t *testing.T, opt harness.Options) *harness.Ensemble {
	t.Helper()
	if c.one {
		opt.Extra["server.1"] = fmt.Sprintf("127.0.0.1:%d:%d", harness.FreePort(t), harness.FreePort(t))
	}
	e := harness.New(t, opt)
	if c.one {
		if err := os.WriteFile(filepath.Join(e.Servers[0].DataDir, "myid"), []byte("1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if c.tree != nil {
		dir := filepath.Join(e.Servers[0].DataDir, txnlog.VersionDir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := txnlog.SaveSnapshot(vfs.OS, dir, 16, txnlog.Plain, c.write); err != nil {
			t.Fatal(err)
		}
	}
	e.Servers[0].Start()
	e.Await()
	return e
}

// write writes the tree.
func (c *configuration) write(w *txnlog.SnapshotWriter) error {
	w.Sessions(0)
	w.ACLs(1)
	w.ACL(1, jute.ReadACL())
	nodes := []txnlog.Node{{ACL: -1}, {Path: "/zookeeper", ACL: -1}, {Path: "/zookeeper/config", ACL: 1}, {Path: "/zookeeper/quota", ACL: -1}}
	for _, n := range c.tree {
		n.ACL = -1
		n.Stat.Czxid, n.Stat.Mzxid, n.Stat.Pzxid = 1, 1, 1
		nodes = append(nodes, n)
	}
	for i := range nodes {
		nodes[i].Data = []byte{}
		if err := w.Node(&nodes[i]); err != nil {
			return err
		}
	}
	return nil
}

// ensemble is three servers. A server that stands alone has no use for a consensus module: it takes three to see one at
// work, or one that has an ensemble to itself. Clients know one of them, whoever leads.
func (c *configuration) ensemble(t *testing.T, consensus, storage string) *harness.Ensemble {
	opt := harness.Options{TickTimeMS: tickMS, Consensus: consensus, Storage: storage, Extra: c.settings()}
	if c.one {
		return c.start(t, opt)
	}
	opt.Servers, opt.InitLimit, opt.SyncLimit = 3, 100, 50
	return harness.Start(t, opt)
}
