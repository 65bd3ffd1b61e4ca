package quorum

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func ExampleParseConfig() {
	c, err := ParseConfig("server.1=zoo1:2888:3888;2181\nserver.2=zoo2:2888:3888:observer\nversion=100000000", false)
	if err != nil {
		panic(err)
	}
	fmt.Println(c.Voters(), c.IsObserver(2), c.Version)
	fmt.Println(c.Text())
	// Output:
	// [1] true 4294967296
	// server.1=zoo1:2888:3888:participant;0.0.0.0:2181
	// server.2=zoo2:2888:3888:observer
	// version=100000000
}

func TestParseServer(t *testing.T) {
	const form = " does not have the form server_config or server_config;client_config" +
		" where server_config is the pipe separated list of host:port:port or host:port:port:type" +
		" and client_config is port or host:port"
	for _, tc := range []struct {
		value string
		multi bool
		want  string // canonical, or the error
	}{
		{"zoo1:2888:3888", false, "zoo1:2888:3888:participant"},
		{"zoo1:2888:3888:participant", false, "zoo1:2888:3888:participant"},
		{"zoo1:2888:3888:Observer", false, "zoo1:2888:3888:observer"},
		{"zoo1:2888:3888: OBSERVER ", false, "zoo1:2888:3888:observer"},
		{"10.0.0.1:2888:3888;2181", false, "10.0.0.1:2888:3888:participant;0.0.0.0:2181"},
		{"zoo1:2888:3888:observer;10.0.0.1:2181", false, "zoo1:2888:3888:observer;10.0.0.1:2181"},
		{"[::1]:2888:3888", false, "[::1]:2888:3888:participant"},
		{"[2001:db8::1]:2888:3888:participant;[::]:2181", false, "[2001:db8::1]:2888:3888:participant;[::]:2181"},
		{"[zoo1]:2888:3888", false, "zoo1:2888:3888:participant"},
		{"zoo1:2888:3888:", false, "zoo1:2888:3888:participant"},
		{"zoo1:2888:3888;", false, "zoo1:2888:3888:participant"},
		{"zoo1:0:1", false, "zoo1:0:1:participant"},
		{"b:2888:3888|a:2889:3889", true, "a:2889:3889|b:2888:3888:participant"},
		{"b:2888:3888:observer|a:2889:3889:observer;2181", true, "a:2889:3889|b:2888:3888:observer;0.0.0.0:2181"},
		{"b:2888:3888:observer|a:2889:3889", true, "a:2889:3889|b:2888:3888:observer"},

		{"b:2888:3888|a:2889:3889", false, "Multiple address feature is disabled, but multiple addresses were specified for sid 7"},
		{"zoo1", false, "zoo1" + form},
		{"", false, form},
		{";", false, ";" + form},
		{"|", true, "|" + form},
		{";2181", false, ";2181" + form},
		{"zoo1:2888", false, "zoo1:2888" + form},
		{"zoo1:2888:3888:participant:x", false, "zoo1:2888:3888:participant:x" + form},
		{"zoo1:2888:3888;2181;2182", false, "zoo1:2888:3888;2181;2182" + form},
		{"zoo1:2888:3888;a:b:2181", false, "zoo1:2888:3888;a:b:2181" + form},
		{"zoo1:2888:3888;:", false, "zoo1:2888:3888;:" + form},
		{"zoo1:2888:3888;a:x", false, "Address unresolved: a:x"},
		{"zoo1:2888:3888;x", false, "Address unresolved: 0.0.0.0:x"},
		{"zoo1:x:3888", false, "Address unresolved: zoo1:x"},
		{"zoo1:2888:x", false, "Address unresolved: zoo1:x"},
		{"zoo1:65536:3888", false, "Address unresolved: zoo1:65536"},
		{"zoo1:-1:3888", false, "Address unresolved: zoo1:-1"},
		{"zoo1:2888:2888", false, "Client and election port must be different! Please update the configuration file on server.7"},
		{"zoo1:2888:3888:leader", false, "Unrecognised peertype: leader"},
		{"a:2888:3888:observer|b:2888:3888:participant", true, "Multiple addresses should have similar roles: OBSERVER vs PARTICIPANT"},
		{"[::1:2888:3888", false, "[::1:2888:3888 starts with '[' but has no matching ']:'"},
		{"zoo1:2888:3888;[::1", false, "[::1 starts with '[' but has no matching ']:'"},
		{"[::1]:", false, "[::1]: doesn't have a port after colon"},
		{"[::1]2888:3888", false, "[::1]2888:3888 has no colon behind ']'"},
		{"[::1]", false, "[::1]" + form},
		{":2888:3888", false, `"" is not a host name or address`},
		{"a b:2888:3888", false, `"a b" is not a host name or address`},
		{"zoo1:2888:3888;[]:2181", false, `"" is not a host name or address`},
	} {
		s, err := ParseServer(7, tc.value, tc.multi)
		got := s.String()
		if err != nil {
			got = err.Error()
			if s.ID != 0 || s.Addrs != nil {
				t.Errorf("%q: %+v beside an error", tc.value, s)
			}
		}
		if got != tc.want {
			t.Errorf("%q:\n got %s\nwant %s", tc.value, got, tc.want)
		}
		if err != nil {
			continue
		}
		if s.ID != 7 {
			t.Errorf("%q: id %d", tc.value, s.ID)
		}
		if again, err := ParseServer(7, s.String(), tc.multi); err != nil || !again.Equal(s) {
			t.Errorf("%q: again %+v, %v", tc.value, again, err)
		}
	}
}

func TestParseConfig(t *testing.T) {
	for _, tc := range []struct {
		name, text, want string
	}{
		{"nothing", "", "version=0"},
		{"sorted by number", "server.10=j:1:2\nserver.9=i:1:2\n", "server.9=i:1:2:participant\nserver.10=j:1:2:participant\nversion=0"},
		{"properties syntax",
			"# comment\n! another\r\n\n  server.1 : a\\\n    :1:2\rserver.2\ta\\u002eb:1:2\nversion\\\n=ff",
			"server.1=a:1:2:participant\nserver.2=a.b:1:2:participant\nversion=ff"},
		{"the last one counts", "server.1=a:1:2\nserver.1=b:1:2", "server.1=b:1:2:participant\nversion=0"},
		{"blanks around", "server.1=a:1:2:observer  \nversion= a \n", "server.1=a:1:2:observer\nversion=a"},
		{"highest version", "version=7fffffffffffffff", "version=7fffffffffffffff"},
		{"groups",
			"server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2:observer\ngroup.2=3\ngroup.1=2:1\nweight.2=5\n",
			"server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.3=c:1:2:participant\nserver.4=d:1:2:observer\n" +
				"group.1=1:2\ngroup.2=3\nweight.1=1\nweight.2=5\nweight.3=1\nversion=0"},
		{"observer with a weight in a group", "server.1=a:1:2\nserver.2=b:1:2:observer\ngroup.1=1:2\nweight.2=0",
			"server.1=a:1:2:participant\nserver.2=b:1:2:observer\ngroup.1=1:2\nweight.1=1\nweight.2=0\nversion=0"},

		{"other key", "clientPort=2181", "Unrecognised parameter: clientPort"},
		{"no id", "server.=a:1:2", `server.: "" is not a number`},
		{"id", "server.x=a:1:2", `server.x: "x" is not a number`},
		{"server", "server.1=a", "server.1: a does not have the form server_config or server_config;client_config" +
			" where server_config is the pipe separated list of host:port:port or host:port:port:type and client_config is port or host:port"},
		{"version", "version=0x1", `version: "0x1" is not a hexadecimal zxid`},
		{"negative version", "version=-1", `version: "-1" is not a hexadecimal zxid`},
		{"version with the top bit", "version=8000000000000000", `version: "8000000000000000" is not a hexadecimal zxid`},
		{"twice", "server.1=a:1:2\nserver.01=b:1:2", "server 1 is there twice"},
		{"group id", "group=1", `group: "" is not a number`},
		{"group member", "group.1=a", `group.1: "a" is not a number`},
		{"empty group", "group.1=", `group.1: "" is not a number`},
		{"group twice", "server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1\ngroup.01=2", "group 1 is there twice"},
		{"two groups", "server.1=a:1:2\ngroup.1=1\ngroup.2=1", "group.2: Server 1is in multiple groups"},
		{"no group", "server.1=a:1:2\nweight.1=1", "Server 1is not in a group"},
		{"stranger in a group", "server.1=a:1:2\ngroup.1=1:2", "Server 2 of group 1 has no weight: it is not a participant"},
		{"weight id", "weight.x=1", `weight.x: "x" is not a number`},
		{"weight", "weight.1=x", `weight.1: "x" is not a weight`},
		{"negative weight", "weight.1=-1", `weight.1: "-1" is not a weight`},
		{"huge weight", "weight.1=4294967296", `weight.1: "4294967296" is not a weight`},
		{"escape in a key", `\u12x=1`, `Malformed \uxxxx encoding.`},
		{"escape in a value", `version=\u12`, `Malformed \uxxxx encoding.`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := ParseConfig(tc.text, false)
			if err != nil {
				var ce *ConfigError
				if err.Error() != tc.want || !errors.As(err, &ce) {
					t.Fatalf("got %v, want %s", err, tc.want)
				}
				return
			}
			if got := c.Text(); got != tc.want {
				t.Fatalf("got\n%s\nwant\n%s", got, tc.want)
			}
			again, err := ParseConfig(c.Text(), false)
			if err != nil || !reflect.DeepEqual(again, c) {
				t.Errorf("again %+v, %v, want %+v", again, err, c)
			}
		})
	}
}

func TestFileText(t *testing.T) {
	c, err := ParseConfig("server.2=b:1:2\nserver.10=a:1:2\ngroup.1=2:10\nversion=5", false)
	if err != nil {
		t.Fatal(err)
	}
	want := "group.1=2:10\nserver.10=a:1:2:participant\nserver.2=b:1:2:participant\nweight.10=1\nweight.2=1"
	if got := c.FileText(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestProperties(t *testing.T) {
	for _, tc := range []struct {
		text string
		want map[string]string
	}{
		{"a=1", map[string]string{"a": "1"}},
		{"a:1", map[string]string{"a": "1"}},
		{"a 1", map[string]string{"a": "1"}},
		{"a \t= 1 ", map[string]string{"a": "1 "}},
		{"a = = 1", map[string]string{"a": "= 1"}},
		{"a", map[string]string{"a": ""}},
		{"a=", map[string]string{"a": ""}},
		{"=1", map[string]string{"": "1"}},
		{`a\=b=1`, map[string]string{"a=b": "1"}},
		{`a\ b c`, map[string]string{"a b": "c"}},
		{`a=\t\n\r\f\\\x`, map[string]string{"a": "\t\n\r\f\\x"}},
		{`a=\u00e9\ud83d\ude00`, map[string]string{"a": "é😀"}},
		{`a=\ud83dx`, map[string]string{"a": "\ufffdx"}},
		{`a=\ud83d\u0041`, map[string]string{"a": "\ufffdA"}},
		{"a=1\\\n  2\\\n3", map[string]string{"a": "123"}},
		{"a=1\\\\\nb=2", map[string]string{"a": `1\`, "b": "2"}},
		{"a=1\\", map[string]string{"a": "1"}},
		{"a=1\\\n#b=2", map[string]string{"a": "1#b=2"}},
		{"#a=1\\\nb=2", map[string]string{"b": "2"}},
		{"a=1\r\nb=2\rc=3\n\n", map[string]string{"a": "1", "b": "2", "c": "3"}},
	} {
		got, err := parseProperties(tc.text)
		if err != nil || !maps.Equal(got, tc.want) {
			t.Errorf("%q: %q, %v, want %q", tc.text, got, err, tc.want)
		}
	}
	for _, text := range []string{`\u`, `a=\u123`, `a=\u123g`, `a=\ud83d\u1`} {
		if got, err := parseProperties(text); err == nil {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestMembers(t *testing.T) {
	c, err := ParseConfig("server.5=e:1:2\nserver.1=a:1:2\nserver.3=c:1:2:observer", false)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[int64]string{0: "", 1: "voter", 2: "", 3: "observer", 5: "voter", 6: ""} {
		s, ok := c.Find(id)
		if ok != (want != "") || ok && s.ID != id {
			t.Errorf("%d: found %v, %v", id, s, ok)
		}
		if c.IsVoter(id) != (want == "voter") || c.IsObserver(id) != (want == "observer") {
			t.Errorf("%d is not %q", id, want)
		}
		if c.Weight(id) != 1 {
			t.Errorf("%d has weight %d", id, c.Weight(id))
		}
	}
	if got := c.Voters(); !slices.Equal(got, []int64{1, 5}) {
		t.Errorf("voters %v", got)
	}
}

func TestEqualAndClone(t *testing.T) {
	const text = "server.1=a:1:2;3\nserver.2=b:1:2\ngroup.1=1:2\nweight.1=2"
	c, err := ParseConfig(text, false)
	if err != nil {
		t.Fatal(err)
	}
	d := c.Clone()
	if d.Version = 9; !c.Equal(d) {
		t.Error("a clone with another version is not equal")
	}
	for name, change := range map[string]func(c *Config){
		"hierarchical": func(c *Config) { c.Hierarchical = false },
		"address":      func(c *Config) { c.Servers[0].Addrs[0].QuorumPort++ },
		"role":         func(c *Config) { c.Servers[1].Observer = true },
		"client host":  func(c *Config) { c.Servers[0].ClientHost = "x" },
		"client port":  func(c *Config) { c.Servers[0].ClientPort++ },
		"no client":    func(c *Config) { c.Servers[0].HasClient = false },
		"id":           func(c *Config) { c.Servers[1].ID++ },
		"a server":     func(c *Config) { c.Servers = c.Servers[:1] },
		"group":        func(c *Config) { c.Groups[0].Members[0] = 7 },
		"group id":     func(c *Config) { c.Groups[0].ID = 7 },
		"weight":       func(c *Config) { c.Weights[1]++ },
	} {
		d := c.Clone()
		if change(d); c.Equal(d) {
			t.Errorf("%s: still equal", name)
		}
		if now, _ := ParseConfig(text, false); !c.Equal(now) {
			t.Fatalf("%s: the clone shares memory", name)
		}
	}
}

func TestIsQuorum(t *testing.T) {
	const three = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\n"
	const six = three + "server.4=d:1:2\nserver.5=e:1:2\nserver.6=f:1:2\n"
	for _, tc := range []struct {
		name, text string
		acks       []int64
		want       bool
	}{
		{"nobody of none", "", nil, false},
		{"one of one", "server.1=a:1:2", []int64{1}, true},
		{"one of two", "server.1=a:1:2\nserver.2=b:1:2", []int64{1}, false},
		{"one of three", three, []int64{2}, false},
		{"two of three", three, []int64{2, 3}, true},
		{"strangers do not count", three, []int64{2, 7, 8}, false},
		{"observers do not count", three + "server.4=d:1:2:observer", []int64{1, 4}, false},
		{"nor do they raise the bar", three + "server.4=d:1:2:observer", []int64{1, 2}, true},
		{"two of three groups", six + "group.1=1:2\ngroup.2=3:4\ngroup.3=5:6", []int64{1, 2, 3, 4}, true},
		{"half of each group", six + "group.1=1:2\ngroup.2=3:4\ngroup.3=5:6", []int64{1, 3, 5}, false},
		{"one of two groups", six + "group.1=1:2:3\ngroup.2=4:5:6", []int64{1, 2, 3}, false},
		{"majorities of two groups", six + "group.1=1:2:3\ngroup.2=4:5:6", []int64{1, 2, 5, 6}, true},
		{"one heavy server", three + "group.1=1:2:3\nweight.1=5", []int64{1}, true},
		{"two light ones", three + "group.1=1:2:3\nweight.1=5", []int64{2, 3}, false},
		{"a group without weight is not counted", six + "group.1=1:2:3\ngroup.2=4:5:6\nweight.4=0\nweight.5=0\nweight.6=0", []int64{1, 2}, true},
		{"nor are its servers", six + "group.1=1:2:3\ngroup.2=4:5:6\nweight.4=0\nweight.5=0\nweight.6=0", []int64{4, 5, 6, 1}, false},
		{"observers of a group do not count", three + "server.4=d:1:2:observer\ngroup.1=1:2:3:4\nweight.4=2", []int64{1, 4}, false},
		{"nobody in groups", three + "group.1=1:2:3", nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := ParseConfig(tc.text, false)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.IsQuorumOf(tc.acks...); got != tc.want {
				t.Errorf("%v: %v", tc.acks, got)
			}
		})
	}
	c, _ := ParseConfig(three+"group.1=1:2:3\nweight.1=0", false)
	if c.Weight(1) != 0 || c.Weight(2) != 1 || c.Weight(9) != 0 {
		t.Errorf("weights %d, %d, %d", c.Weight(1), c.Weight(2), c.Weight(9))
	}
}

// Two quorums of one configuration always share a voter: all of Zab rests on it.
func TestQuorumsIntersect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 7).Draw(t, "servers")
		hierarchical := rapid.Bool().Draw(t, "hierarchical")
		var lines []string
		groups := map[int][]string{}
		for id := 1; id <= n; id++ {
			observer := rapid.IntRange(0, 5).Draw(t, "role") == 0
			line := fmt.Sprintf("server.%d=h:1:2", id)
			if observer {
				line += ":observer"
			}
			lines = append(lines, line)
			if hierarchical {
				g := rapid.IntRange(1, 3).Draw(t, "group")
				groups[g] = append(groups[g], fmt.Sprint(id))
				lines = append(lines, fmt.Sprintf("weight.%d=%d", id, rapid.IntRange(0, 3).Draw(t, "weight")))
			}
		}
		for g, ids := range groups {
			lines = append(lines, fmt.Sprintf("group.%d=%s", g, strings.Join(ids, ":")))
		}
		c, err := ParseConfig(strings.Join(lines, "\n"), false)
		if err != nil {
			t.Fatal(err)
		}
		in := func(mask int) func(int64) bool { return func(id int64) bool { return mask>>id&1 == 1 } }
		for a := 0; a < 2<<n; a += 2 {
			// The largest set that shares no voter with a is its complement.
			if c.IsQuorum(in(a)) && c.IsQuorum(in(^a)) {
				t.Fatalf("%b and its complement are quorums of\n%s", a, c.Text())
			}
		}
	})
}

func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		text       string
		standalone bool
		want       string
	}{
		{"", true, ""},
		{"", false, "standaloneEnabled = false then number of participants should be >0"},
		{"server.1=a:1:2", true, ""},
		{"server.1=a:1:2", false, ""},
		{"server.1=a:1:2:observer", true, "Observers w/o participants is an invalid configuration"},
		{"server.1=a:1:2\nserver.2=a:1:2:observer", true, "Observers w/o quorum is an invalid configuration"},
		{"server.1=a:1:2\nserver.2=a:1:2:observer", false, ""},
		{"server.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2:observer", true, ""},
	} {
		c, err := ParseConfig(tc.text, false)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := c.Check(tc.standalone); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%q, standalone %v: %s", tc.text, tc.standalone, got)
		}
	}
}
