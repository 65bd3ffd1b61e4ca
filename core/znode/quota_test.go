package znode

import "testing"

func TestRoleOf(t *testing.T) {
	for path, want := range map[string]struct {
		of   string
		role QuotaRole
	}{
		"/zookeeper/quota/a/zookeeper_limits":                {"/a", LimitsRole},
		"/zookeeper/quota/a/b/zookeeper_stats":               {"/a/b", StatsRole},
		"/zookeeper/quota/zookeeper_limits":                  {}, // of the root: there is none
		"/zookeeper/quota/zookeeper_stats":                   {},
		"/zookeeper/quota/a/xzookeeper_stats":                {},
		"/zookeeper/quota/a/zookeeper_stats/x":               {},
		"/zookeeper/quota":                                   {},
		"/zookeeper/quotas/zookeeper_stats":                  {},
		"/a/zookeeper_limits":                                {},
		"/zookeeper/quota/zookeeper_limits/zookeeper_limits": {"/zookeeper_limits", LimitsRole},
		"/zookeeper/quota/a/zookeeper_stats/zookeeper_stats": {"/a/zookeeper_stats", StatsRole},
		"/zookeeper/quota/zookeeper/quota/x/zookeeper_stats": {"/zookeeper/quota/x", StatsRole},
		"/zookeeper/quota/zookeeper/config/zookeeper_limits": {"/zookeeper/config", LimitsRole},
		"/zookeeper/quota/a/zookeeper_limits/":               {},
		"/zookeeper/quota/\xff\xfe/zookeeper_limits":         {"/\xff\xfe", LimitsRole},
		"/zookeeper/quota//zookeeper_limits":                 {"/", LimitsRole}, // no znode's path
	} {
		if of, role := RoleOf(path); of != want.of || role != want.role {
			t.Errorf("%s: %q, %d, want %q, %d", path, of, role, want.of, want.role)
		}
	}
	if p := StatsPath("/a"); p != "/zookeeper/quota/a/zookeeper_stats" {
		t.Errorf("stats of /a are at %s", p)
	}
}

// What Apache 3.9.5 makes of the same is in test/conformance's quota table.
func TestParseLimits(t *testing.T) {
	for data, want := range map[string]Limits{
		"": NoLimits,
		"count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=3": {-1, -1, 3, 10},
		"count=5,bytes=6":                      {5, 6, -1, -1},
		"countHardLimit=1;;,countHardLimit=2;": {-1, -1, 2, -1},
		"bytes=+7=8=9":                         {-1, 7, -1, -1},
		"count==4":                             NoLimits, // an empty value, and what follows it is ignored
		"=9":                                   NoLimits,
		";,;":                                  NoLimits,
		"who=1":                                NoLimits,
		"count=-9223372036854775808":           {-1 << 63, -1, -1, -1},
	} {
		if l, ok := ParseLimits([]byte(data)); !ok || l != want {
			t.Errorf("%q: %+v, %v, want %+v", data, l, ok, want)
		}
	}
	for _, data := range []string{"?", "=", "==", "count", "count=", "count==", ",count=1", "count=1,=", "count= 1", "count=1_0", "count=0x1", "count=9223372036854775808", "\x00"} {
		if l, ok := ParseLimits([]byte(data)); ok {
			t.Errorf("%q: %+v", data, l)
		}
	}
	if _, ok := ParseLimits(nil); ok {
		t.Error("null is understood")
	}
}

func TestUsage(t *testing.T) {
	for _, u := range []Usage{{}, {1, 2}, {-1, -2}, {1 << 62, 1 << 62}} {
		if got, ok := ParseUsage(u.Append(nil)); !ok || got != u {
			t.Errorf("%s: %+v, %v", u.Append(nil), got, ok)
		}
	}
	for _, data := range []string{"", "count=1", "count=1,bytes=", "count=01,bytes=1", "count=1,bytes=1 ", "1,bytes=1", "count=1,bytes=1=;x=1"} {
		if u, ok := ParseUsage([]byte(data)); ok {
			t.Errorf("%q: %+v", data, u)
		}
	}
}

// TestLimitsAppend: what is written is read again.
func TestLimitsAppend(t *testing.T) {
	for _, l := range []Limits{NoLimits, {1, 2, 3, 4}, {Count: 0, Bytes: -1, CountHard: 1 << 40, BytesHard: 0}} {
		if got, ok := ParseLimits(l.Append(nil)); !ok || got != l {
			t.Errorf("%s is %+v, want %+v", l.Append(nil), got, l)
		}
	}
	if got := string(NoLimits.Append(nil)); got != "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=-1" {
		t.Error(got)
	}
}
