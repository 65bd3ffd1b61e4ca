package conformance

import (
	"maps"
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
	return harness.Start(t, harness.Options{TickTimeMS: tickMS, Extra: extra, Apache: []int{1}, JVMArgs: args, ApacheClasspath: classpath})
}

func (c *configuration) zkcore(t *testing.T, consensus, storage string) *harness.Ensemble {
	extra := c.settings()
	extra["consensus"], extra["storage"] = consensus, storage
	return harness.Start(t, harness.Options{TickTimeMS: tickMS, Extra: extra})
}

// ensemble is three servers. A server that stands alone has no use for a consensus module: it takes three to see one at
// work. Clients know one of them, whoever leads.
func (c *configuration) ensemble(t *testing.T, consensus, storage string) *harness.Ensemble {
	extra := c.settings()
	extra["consensus"], extra["storage"] = consensus, storage
	return harness.Start(t, harness.Options{Servers: 3, TickTimeMS: tickMS, InitLimit: 100, SyncLimit: 50, Extra: extra})
}
