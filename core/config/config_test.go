package config

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// loadText writes a zoo.cfg, and a myid if it isn't empty, and loads it. DATA in
// the text is the data directory.
func loadText(t *testing.T, text, myid string, over ...Settings) (*Config, error) {
	t.Helper()
	dir := t.TempDir()
	if myid != "" {
		if err := os.WriteFile(filepath.Join(dir, "myid"), []byte(myid), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "zoo.cfg")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DATA", dir)), 0o644); err != nil {
		t.Fatal(err)
	}
	return Open(path, over...)
}

const three = "server.1=h1:2888:3888\nserver.2=h2:2888:3888\nserver.3=h3:2888:3888:observer;127.0.0.1:2183\n"

func TestLoad(t *testing.T) {
	c, err := loadText(t, `
# the tutorial's file
tickTime=2000
initLimit : 10
syncLimit 5
dataDir=DATA
clientPort=2181
clientPortAddress=127.0.0.1
snapCount=0x100
forceSync=no
autopurge.snapRetainCount=2
autopurge.purgeInterval=1
4lw.commands.whitelist=mntr, ruok
serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
localSessionsEnabled=true
misspelt.key=1
consensus=zab
zkcore.storage.mem.x=y
`+three, "1\n")
	if err != nil {
		t.Fatal(err)
	}
	if c.TickTime != 2*time.Second || c.InitLimit != 10 || c.SyncLimit != 5 || c.ServerID != 1 || c.Standalone || c.Observer {
		t.Errorf("%+v", c)
	}
	if c.MinSessionTimeout != 4*time.Second || c.MaxSessionTimeout != 40*time.Second {
		t.Errorf("session timeouts %v to %v", c.MinSessionTimeout, c.MaxSessionTimeout)
	}
	if len(c.ClientAddrs) != 1 || c.ClientAddrs[0] != "127.0.0.1:2181" {
		t.Errorf("client addresses %v", c.ClientAddrs)
	}
	if c.SnapCount != 256 || c.SnapRetain != 3 || c.PurgeInterval != time.Hour || c.Options["forceSync"] != "no" || c.StorageOptions["x"] != "y" {
		t.Errorf("%+v", c)
	}
	if got := strings.Join(c.FourLetterWords, " "); got != "srvr mntr ruok" {
		t.Errorf("words %q", got)
	}
	members := c.Members()
	if len(members) != 3 || members[2].Quorum[0] != "h3:2888" || members[2].Election[0] != "h3:3888" || !members[2].Observer || members[2].Client != "127.0.0.1:2183" {
		t.Errorf("members %+v", members)
	}
	var warned []string
	for _, w := range c.Warnings {
		warned = append(warned, w.Key)
		if w.Origin.File != c.File || w.Origin.Line == 0 {
			t.Errorf("warning %q does not name its line", w)
		}
	}
	if got := strings.Join(warned, " "); got != "autopurge.snapRetainCount misspelt.key" {
		t.Errorf("warned of %q", got)
	}
	if !c.LocalSessions || c.LocalUpgrade || c.ReadOnly {
		t.Errorf("%+v", c)
	}
}

// Clients of a server in read-only mode look for another by isro.
func TestReadOnlyMode(t *testing.T) {
	for text, want := range map[string]string{"": "srvr", "readonlymode.enabled=TRUE\n": "srvr isro", "readonlymode.enabled=no\n": "srvr"} {
		c, err := loadText(t, "dataDir=DATA\nclientPort=2181\n"+text, "")
		if err != nil || strings.Join(c.FourLetterWords, " ") != want || c.ReadOnly != strings.Contains(want, "isro") {
			t.Errorf("%q: %v, %v, %v", text, c.FourLetterWords, c.ReadOnly, err)
		}
	}
	_, err := loadText(t, "dataDir=DATA\nclientPort=2181\nlocalSessionsUpgradingEnabled=yes\n", "")
	if err == nil || !strings.Contains(err.Error(), "localSessionsUpgradingEnabled") {
		t.Error(err)
	}
}

func TestModes(t *testing.T) {
	head := "dataDir=DATA\nclientPort=2181\ninitLimit=5\nsyncLimit=2\n"
	for _, tc := range []struct {
		name, text, myid string
		standalone, obs  bool
		addr             string
	}{
		{"no servers", head, "", true, false, ":2181"},
		{"one server", head + "server.1=h:2888:3888\n", "1", true, false, ":2181"},
		{"one server that is to be an ensemble", head + "standaloneEnabled=false\nserver.1=h:2888:3888\n", "1", false, false, ":2181"},
		{"observer", head + "server.1=h:2888:3888\nserver.2=h:2889:3889\nserver.3=h:2890:3890:observer\n", "3", false, true, ":2181"},
		{"client part", "dataDir=DATA\ninitLimit=5\nsyncLimit=2\nserver.1=h:2888:3888;2191\nserver.2=h:2889:3889;2192\n", "2", false, false, ":2192"},
		{"hierarchical", head + "server.1=h:2888:3888\nserver.2=h:2889:3889\ngroup.1=1:2\nweight.1=3\n", "1", false, false, ":2181"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := loadText(t, tc.text, tc.myid)
			if err != nil {
				t.Fatal(err)
			}
			if c.Standalone != tc.standalone || c.Observer != tc.obs || len(c.ClientAddrs) != 1 || c.ClientAddrs[0] != tc.addr {
				t.Errorf("standalone %v, observer %v, clients at %v", c.Standalone, c.Observer, c.ClientAddrs)
			}
			if (len(c.Members()) == 0) != tc.standalone || (c.EnsembleText() == "") != tc.standalone {
				t.Errorf("members %v, text %q", c.Members(), c.EnsembleText())
			}
		})
	}
}

func TestDynamicFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("myid", "2")
	write("zoo.cfg", "dataDir="+dir+"\ninitLimit=5\nsyncLimit=2\ndynamicConfigFile=zoo.cfg.dynamic\n")
	write("zoo.cfg.dynamic", "server.1=h1:2888:3888:participant;2181\nserver.2=h2:2888:3888:participant;2181\n")
	c, err := Open(filepath.Join(dir, "zoo.cfg"))
	if err != nil || len(c.Members()) != 2 || c.ClientAddrs[0] != ":2181" {
		t.Fatalf("%v, %+v", err, c)
	}
	write("zoo.cfg.dynamic", "server.1=h1:2888:3888\n\ntickTime=5\n")
	if _, err = Open(filepath.Join(dir, "zoo.cfg")); err == nil || !strings.Contains(err.Error(), "zoo.cfg.dynamic:3: Unrecognised parameter: tickTime") {
		t.Errorf("another key in the dynamic file: %v", err)
	}
}

func TestRefused(t *testing.T) {
	head := "dataDir=DATA\nclientPort=2181\ninitLimit=5\nsyncLimit=2\n"
	for _, tc := range []struct{ name, text, myid, want string }{
		{"no dataDir", "clientPort=2181\n", "", "dataDir: dataDir is not set"},
		{"number", "dataDir=DATA\n\ntickTime=fast\n", "", `zoo.cfg:3: tickTime: "fast" is not a number`},
		{"tickTime 0", "dataDir=DATA\ntickTime=0\n", "", "zoo.cfg:2: tickTime: tickTime is not set"},
		{"port", "dataDir=DATA\nclientPort=70000\n", "", "zoo.cfg:2: clientPort: 70000 is not between"},
		{"boolean", "dataDir=DATA\nstandaloneEnabled=maybe\n", "", "zoo.cfg:2: standaloneEnabled: Invalid option maybe for standaloneEnabled. Choose 'true' or 'false.'"},
		{"session timeouts", "dataDir=DATA\nminSessionTimeout=9000\nmaxSessionTimeout=8000\n", "", "minSessionTimeout must not be larger than maxSessionTimeout"},
		{"address without port", "dataDir=DATA\nclientPortAddress=::1\n", "", "clientPortAddress is set but clientPort is not set"},
		{"address", "dataDir=DATA\nclientPort=2181\nclientPortAddress=300.0.0.1\n", "", "zoo.cfg:3: clientPortAddress: lookup 300.0.0.1"},
		{"electionAlg", head + "electionAlg=2\n", "", "zoo.cfg:5: electionAlg: Invalid electionAlg value. Only 3 is supported."},
		{"peerType", head + "peerType=boss\n", "", "Unrecognised peertype: boss"},
		{"metrics class", head + "metricsProvider.className=com.example.M\n", "", "metrics provider class was not found"},
		{"server line", head + "server.1=h1:2888\n", "1", "zoo.cfg:5: server.1: "},
		{"same ports", head + "server.1=h1:2888:2888\nserver.2=h2:2888:3888\n", "1", "Client and election port must be different! Please update the configuration file on server.1"},
		{"two addresses", head + "server.1=h1:2888:3888|h2:2888:3888\nserver.2=h2:2888:3888\n", "1", "Multiple address feature is disabled, but multiple addresses were specified for sid 1"},
		{"only observers", head + "server.1=h1:2888:3888:observer\n", "1", "Observers w/o participants is an invalid configuration"},
		{"one and an observer", head + "server.1=h1:2888:3888\nserver.2=h2:2888:3888:observer\n", "1", "Observers w/o quorum is an invalid configuration"},
		{"no myid", head + three, "", "myid file is missing"},
		{"bad myid", head + three, " 1\n", "myid:1: serverid  1 is not a number"},
		{"foreign myid", head + three, "9\n", "My id 9 not in the peer list"},
		{"no initLimit", "dataDir=DATA\nclientPort=2181\nsyncLimit=2\n" + three, "1", "initLimit is not set"},
		{"other client port", head + "server.1=h1:2888:3888;2199\nserver.2=h2:2888:3888\n", "1", "is different from client address found in dynamic file"},
		{"members twice", head + "dynamicConfigFile=x\n" + three, "1", "must be in a separate dynamic config file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := loadText(t, tc.text, tc.myid)
			if err == nil {
				t.Fatal("was taken")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%q does not say %q", err, tc.want)
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.cfg")); err == nil || !strings.Contains(err.Error(), "none.cfg file is missing") {
		t.Errorf("no file: %v", err)
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory: %v", err)
	}
}

func TestSources(t *testing.T) {
	env, warnings := FromEnviron([]string{"HOME=/", "ZKCORE_TICKTIME=700", "ZKCORE_SERVER_1=h1:2888:3888", "ZKCORE_SERVER_2=h2:2888:3888",
		"ZKCORE_JUTE_MAXBUFFER=5000", "ZKCORE_COLOUR=red", "ZKCORE_TEST_SERVER=x"})
	if len(warnings) != 1 || !strings.Contains(warnings[0].String(), "ZKCORE_COLOUR") {
		t.Errorf("warnings %v", warnings)
	}
	props, warnings := FromProperties([]string{"zookeeper.snapCount=77", "jute.maxbuffer=4000", "java.net.preferIPv4Stack=true", "foo=1", "zookeeper.commitLogCount=900"})
	if len(warnings) != 1 || !strings.Contains(warnings[0].String(), "-Dfoo") {
		t.Errorf("warnings %v", warnings)
	}
	var flags Settings
	flags.Put(Value{Key: "storage", Text: "bolt", Origin: Origin{Name: "flag --storage"}})

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "myid"), []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "zoo.cfg")
	text := "dataDir=" + dir + "\nstorage=mem\ntickTime=2000\ninitLimit=5\nsyncLimit=5\nclientPort=2181\ncommitLogCount=600\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := OpenWith(path, props, env, flags)
	if err != nil {
		t.Fatal(err)
	}
	if c.TickTime != 700*time.Millisecond || c.Storage != "bolt" || c.SnapCount != 77 || c.JuteMaxBuffer != 5000 || len(c.Members()) != 2 {
		t.Errorf("%+v", c)
	}
	if c.Options["commitLogCount"] != "600" {
		t.Errorf("a property beat the file: %v", c.Options)
	}
	env.Put(Value{Key: "tickTime", Text: "soon", Origin: Origin{Name: "environment ZKCORE_TICKTIME"}})
	if _, err := OpenWith(path, props, env, flags); err == nil || !strings.HasPrefix(err.Error(), "environment ZKCORE_TICKTIME: tickTime:") {
		t.Errorf("a bad variable: %v", err)
	}
}

// TestEnvironmentSetsEachKey: whatever is read can be set by a variable.
func TestEnvironmentSetsEachKey(t *testing.T) {
	r := &reader{taken: map[string]bool{}}
	(&Config{Options: map[string]string{}}).read(r)
	keys := append(slices.Sorted(maps.Keys(r.taken)), consensusKeys...)
	keys = append(keys, "zkcore.storage.bolt.cacheBytes", "zkcore.storage.bolt.flushIntervalMs", "zkcore.storage.bolt.gatherBytes", "zkcore.storage.bolt.gatherRecords")
	if len(keys) < 100 {
		t.Fatalf("only %d keys are read", len(keys))
	}
	for _, key := range keys {
		s, warnings := FromEnviron([]string{EnvName(key) + "=x"})
		if v, ok := s.Get(key); !ok || v.Text != "x" || len(warnings) != 0 {
			t.Errorf("%s does not set %s: %v", EnvName(key), key, warnings)
		}
	}
}

// TestPurgeAsApacheTakesIt: what is below its least value is no mistake to Apache's server.
func TestPurgeAsApacheTakesIt(t *testing.T) {
	c, err := ParseFile("zoo.cfg", []byte("dataDir="+t.TempDir()+"\nautopurge.purgeInterval=-1\nautopurge.snapRetainCount=-1\n"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(c)
	if err != nil || cfg.PurgeInterval != 0 || cfg.SnapRetain != 3 {
		t.Errorf("%v, %+v", err, cfg)
	}
}

func TestObserverAlwaysLogs(t *testing.T) {
	c, err := loadText(t, "dataDir=DATA\nclientPort=2181\nobserver.syncEnabled=false\n", "")
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].String(), "zoo.cfg:3: observer.syncEnabled: has no effect") {
		t.Errorf("%v, %v", err, c.Warnings)
	}
}

func TestKeyLines(t *testing.T) {
	s, err := ParseFile("f", []byte("a=1\n# b=2\n! c\n\n  b : x\\\n  y=z\nc\\=d=5\r\na 6\n"))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]struct {
		text string
		line int
	}{"a": {"6", 8}, "b": {"xy=z", 5}, "c=d": {"5", 7}} {
		if v, ok := s.Get(key); !ok || v.Text != want.text || v.Origin.Line != want.line {
			t.Errorf("%s: %+v, want %+v", key, v, want)
		}
	}
}

func TestPropertyNumbers(t *testing.T) {
	c, err := loadText(t, "dataDir=DATA\nsnapCount=many\nglobalOutstandingLimit=010\nzkcore.election.holdMs=123\nskipACL=yes\ndigest.enabled=perhaps\n", "")
	if err != nil {
		t.Fatal(err)
	}
	if c.SnapCount != 100000 || c.OutstandingLimit != 8 || c.ElectionHold != 123*time.Millisecond || !c.SkipACL || c.Digest {
		t.Errorf("%+v", c)
	}
	if len(c.Warnings) < 2 || !strings.Contains(c.Warnings[0].String(), `zoo.cfg:2: snapCount: "many" is not a number; using 100000`) {
		t.Errorf("warnings %v", c.Warnings)
	}
}

// TestUnsupportedKeys wants a warning for what is asked for and not there, and
// none for what is only said to be off.
func TestUnsupportedKeys(t *testing.T) {
	for line, want := range map[string]string{
		"ssl.keyStore.location=/k":                   "TLS is not supported yet",
		"authProvider.1=x.Y":                         "other providers are not supported yet",
		"reconfigEnabled=true":                       "reconfiguration is not supported yet",
		"admin.serverPort=8081":                      "none is started",
		"skipACL=true":                               "neither yes nor no",
		"leaderServes=no":                            "the leader serves clients",
		"tickTimee=5":                                "is not a key that zkcore knows",
		"zkcore.storage.bolt.cacheBytes=5000000":     "for a module that this server does not have (consensus=zab, storage=mem)",
		"reconfigEnabled=false":                      "",
		"admin.enableServer=false":                   "",
		"localSessionsEnabled=False":                 "",
		"leaderServes=yes":                           "",
		"quorum.auth.enableSasl=false":               "",
		"nio.numWorkerThreads=4":                     "",
		"closeSessionTxn.enabled=false":              "closeSessionTxn.enabled: is not supported yet",
		"request_throttle_stall_time=10":             "",
		"throttled_op_wait_time=10":                  "throttled_op_wait_time: has no effect without request_throttle_max_requests",
		"request_stale_connection_check=false":       "always dropped",
		"connection_throttle_renew_session_weight=0": "not between 1",
		"connection_throttle_local_session_weight=3": "renew_session_weight, 2, is less than the weight of a local session; using that, 3",
		"connection_throttle_tokens=5":               "",
		"largeRequestThreshold=-5":                   "there is no threshold",
	} {
		c, err := loadText(t, "dataDir=DATA\n"+line+"\nclientPort=2181\n", "")
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		switch {
		case want == "" && len(c.Warnings) > 0:
			t.Errorf("%s: warnings %v", line, c.Warnings)
		case want != "" && (len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].String(), "zoo.cfg:2: ") || !strings.Contains(c.Warnings[0].String(), want)):
			t.Errorf("%s: warnings %v, want one with %q", line, c.Warnings, want)
		}
	}
	c, err := loadText(t, "dataDir=DATA\nclientPort=2181\ntickTime=1\n clientPort : 2182\n#tickTime=2\n", "")
	if err != nil || c.ClientPort != 2182 || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].String(), "zoo.cfg:4: clientPort: is set on line 2 too") {
		t.Errorf("a key that is there twice: %v, port %d, warnings %v", err, c.ClientPort, c.Warnings)
	}
	c, err = loadText(t, "dataDir=DATA\nadmin.serverPort=8081\nadmin.enableServer=false\nclientPort=2181\n", "")
	if err != nil || len(c.Warnings) != 0 {
		t.Errorf("the port of an admin server that is off: %v, warnings %v", err, c.Warnings)
	}
	if o := c.Origin("admin.serverPort"); o.Line != 2 || c.Origin("tickTime") != (Origin{}) {
		t.Errorf("origin %v", o)
	}
}

// TestTxnSizes: the node, which makes txns, and the module, whose log takes them, are told the same sizes: those that
// can be used.
func TestTxnSizes(t *testing.T) {
	for text, want := range map[string][2]int{
		"":                            {1048575, 1048575},
		"jute.maxbuffer=5000":         {5000, 5000},
		"jute.maxbuffer=500":          {1048575, 1048575},
		"jute.maxbuffer=lots":         {1048575, 1048575},
		"jute.maxbuffer.extrasize=0":  {1048575, 1024},
		"jute.maxbuffer.extrasize=-1": {1048575, 1048575},
		"jute.maxbuffer=0x2000\njute.maxbuffer.extrasize=3000": {8192, 3000},
	} {
		c, err := loadText(t, "dataDir=DATA\nclientPort=2181\n"+text+"\n", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]int{c.JuteMaxBuffer, c.JuteExtraSize}; got != want {
			t.Errorf("%q: the node has %v, want %v", text, got, want)
		}
		// What a module makes of its options: consensus-zab and consensus-raft.
		module := func(key string, def int) int {
			if v, ok := c.Options[key]; ok {
				n, err := strconv.ParseInt(v, 0, 64)
				if err != nil {
					t.Errorf("%q: %v", text, err)
				}
				return int(n)
			}
			return def
		}
		buffer := module("jute.maxbuffer", 0xfffff)
		if got := [2]int{buffer, module("jute.maxbuffer.extrasize", buffer)}; got != want {
			t.Errorf("%q: the module has %v, want %v", text, got, want)
		}
	}
}

// TestFlagsOfTheNode: what Apache takes for true or false, the node is told as such.
func TestFlagsOfTheNode(t *testing.T) {
	for text, want := range map[string]string{"True": "true", "FALSE": "false", "no": "false", "0": "false", "false": "false", "true": "true"} {
		c, err := loadText(t, "dataDir=DATA\nclientPort=2181\ndatadir.autocreate="+text+"\nsnapshot.trust.empty="+text+"\n", "")
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"datadir.autocreate", "snapshot.trust.empty"} {
			if got := c.Options[key]; got != want {
				t.Errorf("%s=%s is %q", key, text, got)
			}
		}
	}
}
