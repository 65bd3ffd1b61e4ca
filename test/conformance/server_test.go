package conformance

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/test/harness"
)

// A configuration is what servers are started with, for the tables that name it.
type configuration struct {
	name  string
	extra map[string]string // zoo.cfg
}

var configurations = []configuration{
	{"plain", nil},
	{"fresh", nil}, // what is always there is shown as it is: such a table is run as a whole
	{"no-extended-types", map[string]string{"extendedTypesEnabled": "false"}},
	{"reconfig-enabled", map[string]string{"reconfigEnabled": "true"}},
	{"skip-acl", map[string]string{"skipACL": "yes"}},
	{"no-digest-login", map[string]string{"DigestAuthenticationProvider.enabled": "false"}},
	{"small-buffer", map[string]string{"jute.maxbuffer": "4096"}},
	// A standalone server has no local sessions: these are ensembles of one.
	{"local-sessions", map[string]string{"standaloneEnabled": "false", "localSessionsEnabled": "true"}},
	{"local-upgrade", map[string]string{"standaloneEnabled": "false", "localSessionsEnabled": "true", "localSessionsUpgradingEnabled": "true"}},
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
		if strings.HasPrefix(key, "jute.") { // read from the JVM's properties, not from the file
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

// start starts a standalone server, or an ensemble of one.
func (c *configuration) start(t *testing.T, opt harness.Options) *harness.Ensemble {
	if c.extra["standaloneEnabled"] != "false" {
		return harness.Start(t, opt)
	}
	opt.Extra["server.1"] = fmt.Sprintf("127.0.0.1:%d:%d", harness.FreePort(t), harness.FreePort(t))
	e := harness.New(t, opt)
	if err := os.WriteFile(filepath.Join(e.Servers[0].DataDir, "myid"), []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	e.Servers[0].Start()
	e.Await()
	return e
}
