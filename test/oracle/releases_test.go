package oracle

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/test/harness"
)

// A release is what zkcore is compared with: an Apache, or zkcore itself with the modules that it has by itself.
type release struct {
	name      string
	classpath func(t testing.TB) string // nil: zkcore
	rules     rules
}

// rules say where a release answers in another way than 3.9.5. Differences that change one answer only
// are made equal before they are compared; those that change what is there afterwards are left out of
// the sequences.
type rules struct {
	// eventsWithoutZxid: before 3.9.0 the header of every event has zxid -1.
	eventsWithoutZxid bool
	// plainCreateInMulti: before 3.8.2 a create2 inside a multi is answered as a create.
	plainCreateInMulti bool
	// alwaysReadable: before 3.8.4 exists asks for no permission and events go to everybody, so that all ACLs
	// of the sequences let everybody read.
	alwaysReadable bool
	// noWatcherChecks: before 3.9.0 removeWatches and checkWatches know three types, look at persistent watches under
	// each, and find those of other clients.
	noWatcherChecks bool
	// noBadMulti: before 3.8.2 what stands in a multi with flags of no mode, or without ACL, fails alone, and a
	// createContainer is what its flags say.
	noBadMulti bool
	// undecodableTakesZxid: before 3.9.0 not only a multi that does not decode takes a zxid, but every write.
	undecodableTakesZxid bool
	// oneMode: before 3.9.0 who watches a path in two modes has the last of them only, and who watches all below a
	// path hears of children too: there are no persistent watches.
	oneMode bool
	// noIPv6: before 3.9.0 the ids of ip are IPv4 addresses.
	noIPv6 bool
	// noConfig: of an ensemble there is a text at /zookeeper/config, which a lone server has not.
	noConfig bool
	// same: both sides are zkcore, and nothing may differ but session ids, times and where zxids begin (I28).
	same bool
	// noLoneCheck: before 3.8.5 a check outside a multi is logged, and not answered.
	noLoneCheck bool
}

func (r *rules) eventZxid(z int64) int64 {
	if r.eventsWithoutZxid {
		return -1
	}
	return z
}

var releases = []release{
	{name: "3.9.5", classpath: harness.ApacheRelease},
	{name: "debian", classpath: harness.ApacheClasspath, rules: rules{
		eventsWithoutZxid: true, plainCreateInMulti: true, alwaysReadable: true, noWatcherChecks: true, noBadMulti: true, noLoneCheck: true, oneMode: true, noIPv6: true, undecodableTakesZxid: true,
	}},
	{name: "zkcore", rules: rules{same: true}},
}

// start starts zkcore with some modules, alone or as several servers, and what it is compared with: a lone Apache, or
// as many servers of zkcore with zab and mem built in. With ZKCORE_TEST_SERVER=apache Apache is compared with itself,
// which shows what can't be compared.
func (r *release) start(t *testing.T, servers int, consensus, store string) *pair {
	t.Helper()
	extra := map[string]string{
		"forceSync":                       "no", // nobody pulls a plug here
		"extendedTypesEnabled":            "true",
		"enforceQuota":                    "true",
		"maxSessionTimeout":               "600000",
		"maxClientCnxns":                  "0",
		"snapCount":                       "1000000",
		"znode.container.checkIntervalMs": "86400000",
		"DigestAuthenticationProvider.superDigest": superDigest,
	}
	quiet := []string{"-Dorg.slf4j.simpleLogger.defaultLogLevel=error"} // a warning for each frame that is wrong
	own := maps.Clone(extra)
	if strings.HasSuffix(store, "bolt") {
		// Its file is in use all the time.
		own["zkcore.storage.bolt.cacheBytes"] = "1048576"
		own["zkcore.storage.bolt.gatherRecords"] = "50"
	}
	opt := harness.Options{Servers: servers, Consensus: consensus, Storage: store, TickTimeMS: tickMS, InitLimit: 100, SyncLimit: 50, Extra: own, JVMArgs: quiet}
	reference := harness.Options{TickTimeMS: tickMS, InitLimit: 100, SyncLimit: 50, Extra: extra, JVMArgs: quiet}
	name := fmt.Sprintf("Apache (%s)", r.name)
	if r.classpath == nil {
		reference.Servers, reference.Consensus, reference.Storage = servers, "zab", "mem"
		name = "zkcore with zab and mem"
	} else {
		reference.Apache = []int{1}
		opt.ApacheClasspath, reference.ApacheClasspath = r.classpath(t), r.classpath(t)
	}
	ours, theirs := harness.Start(t, opt), harness.Start(t, reference)
	rules := r.rules
	rules.noConfig = servers > 1 // it names ports
	p := &pair{ensembles: [2]*harness.Ensemble{ours, theirs}, rules: &rules, allowed: make(map[string]int)}
	p.sides[0] = &side{name: fmt.Sprintf("zkcore with %s and %s", consensus, store), addrs: ours.Addrs(), apache: harness.Apache()}
	p.sides[1] = &side{name: name, addrs: theirs.Addrs(), apache: r.classpath != nil}
	if err := p.login(); err != nil {
		t.Fatal(err)
	}
	return p
}

// stop ends the servers of a pair that is not needed any more.
func (p *pair) stop() {
	for _, e := range p.ensembles {
		for _, s := range e.Running() {
			s.Kill9()
		}
	}
}

// tickMS makes sessions that are to expire do so soon: the shortest timeout is twice that.
const tickMS = 200
