package znode

import (
	"bytes"
	"hash/crc32"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// The Stat in a head is what a client decodes.
func TestHeadHoldsTheStat(t *testing.T) {
	h := Head(make([]byte, HeadSize))
	h.Init(11, 12, 5, 77, 9, false)
	h.SetModified(13, 14)
	h.SetVersion(3)
	h.SetAversion(-1)
	h.SetChildren(10, 4)
	h.SetPzxid(15)
	want := proto.Stat{
		Czxid: 11, Mzxid: 13, Ctime: 12, Mtime: 14, Version: 3, Cversion: 16, Aversion: -1,
		EphemeralOwner: 77, DataLength: 5, NumChildren: 4, Pzxid: 15,
	}
	var got proto.Stat
	if err := proto.Unmarshal(h.Stat(), &got); err != nil || got != want {
		t.Errorf("stat is %+v, %v", got, err)
	}
	if StatSize != proto.StatSize || len(h.Stat()) != StatSize {
		t.Errorf("stat has %d bytes", len(h.Stat()))
	}
	if h.ACL() != 9 || h.Creates() != 10 || h.Owner() != 77 {
		t.Errorf("acl %d, creates %d, owner %d", h.ACL(), h.Creates(), h.Owner())
	}
	read := proto.Stat{
		Czxid: h.Czxid(), Mzxid: h.Mzxid(), Ctime: h.Ctime(), Mtime: h.Mtime(), Version: h.Version(), Cversion: h.Cversion(),
		Aversion: h.Aversion(), EphemeralOwner: 77, DataLength: h.DataLength(), NumChildren: h.NumChildren(), Pzxid: h.Pzxid(),
	}
	if read != want {
		t.Errorf("read one by one: %+v", read)
	}
}

func TestKinds(t *testing.T) {
	ttl := TTLOwner(MaxTTL)
	for _, tc := range []struct {
		owner    int64
		extended bool
		want     Kind
		reported int64
	}{
		{0, true, Persistent, 0},
		{72057743394865152, true, Ephemeral, 72057743394865152},
		{math.MinInt64, true, Container, 0},
		{math.MinInt64, false, Container, 0},
		{ttl, true, TTL, 0},
		{ttl, false, Ephemeral, ttl}, // a session of server 255
		{-5 << 56, true, Ephemeral, -5 << 56},
	} {
		if got := KindOf(tc.owner, tc.extended); got != tc.want {
			t.Errorf("kind of %#x, %v is %d", uint64(tc.owner), tc.extended, got)
		}
		h := Head(make([]byte, HeadSize))
		h.SetOwner(tc.owner, tc.extended)
		if got := h.long(statOwnerAt); got != tc.reported || h.Owner() != tc.owner {
			t.Errorf("owner %#x is reported as %#x", uint64(tc.owner), uint64(got))
		}
	}
	if uint64(ttl) != 0xff0000ffffffffff || TTLOf(ttl) != MaxTTL {
		t.Errorf("ttl owner %#x", uint64(ttl))
	}
}

func TestNextVersion(t *testing.T) {
	for v, want := range map[int32]int32{0: 1, math.MaxInt32: math.MinInt32, -2: 0, -3: -2, -1: 0} {
		if got := NextVersion(v); got != want {
			t.Errorf("version behind %d is %d, want %d", v, got, want)
		}
	}
}

// The worked example of the format's description.
func TestDigestExample(t *testing.T) {
	var d Hasher
	fresh := Head(make([]byte, HeadSize))
	sum := d.Digest("/", fresh, []byte{}) + d.Digest("/zookeeper", fresh, []byte{}) +
		d.Digest("/zookeeper/quota", fresh, nil) + d.Digest("/zookeeper/config", fresh, []byte("x"))
	if sum != 1371985504 {
		t.Errorf("digest of the fresh tree is %d", sum)
	}
	app := Head(make([]byte, HeadSize))
	app.Init(0x100000003, 0x1a20648e57e, 4, 0, OpenACL, true)
	if got := d.Digest("/app", app, []byte("root")); got != 0x1f55320b {
		t.Errorf("/app has %#x", got)
	}
	app.SetPzxid(0x100000004)
	app.SetChildren(1, 1)
	if got := d.Digest("/app", app, []byte("root")); got != 0xf6f18251 {
		t.Errorf("/app with a child has %#x", got)
	}
	eph := Head(make([]byte, HeadSize))
	eph.Init(0x100000004, 0x1a20648e58c, 2, 0x10000255f310000, OpenACL, true)
	if got := d.Digest("/app/eph", eph, []byte("e1")); got != 0xb5f3a4f9 {
		t.Errorf("/app/eph has %#x", got)
	}
}

// In one run or in two steps, and of any size: CRC-32 over path, data, stat.
func TestDigestIsCRC(t *testing.T) {
	var d Hasher
	rapid.Check(t, func(t *rapid.T) {
		path := "/" + rapid.StringMatching(`[a-z/]{0,40}`).Draw(t, "path")
		data := bytes.Repeat([]byte{5}, rapid.SampledFrom([]int{0, 1, 60, 900, 964, 1024, 5000}).Draw(t, "size"))
		h := Head(make([]byte, HeadSize))
		h.Init(rapid.Int64().Draw(t, "zxid"), rapid.Int64().Draw(t, "time"), len(data), rapid.Int64().Draw(t, "owner"), 3, true)
		h.SetChildren(rapid.Int32().Draw(t, "creates"), 1)
		b := append([]byte(path), data...)
		if path == "/" {
			b = b[1:]
		}
		for _, v := range []int64{h.Czxid(), h.Mzxid(), h.Pzxid(), h.Ctime(), h.Mtime()} {
			b = jute.AppendLong(b, v)
		}
		for _, v := range []int32{h.Version(), h.Creates(), h.Aversion()} {
			b = jute.AppendInt(b, v)
		}
		b = jute.AppendLong(b, h.Owner())
		want := uint64(crc32.ChecksumIEEE(b))
		if got := d.Whole(path, h, data); got != want {
			t.Fatalf("whole is %#x, want %#x", got, want)
		}
		if got := d.Share(d.Content(path, data), h); got != want {
			t.Fatalf("in steps %#x, want %#x", got, want)
		}
	})
}

func TestPaths(t *testing.T) {
	for path, want := range map[string]string{"/a": "/", "/a/b": "/a", "/": "/", "//a": "/", "/a/": "/a", "a/b": "a", "/zookeeper/quota": "/zookeeper"} {
		if got := Parent(path); got != want {
			t.Errorf("parent of %q is %q, want %q", path, got, want)
		}
	}
	for path, want := range map[string]bool{"/": true, "/zookeeper": true, "/zookeeper/quota": true, "/zookeeper/config": true, "/zookeeper/x": false, "/a": false, "": false} {
		if got := Special(path); got != want {
			t.Errorf("%q special: %v", path, got)
		}
	}
	for counter, want := range map[int32]string{
		0: "/s-0000000000", 7: "/s-0000000007", math.MaxInt32: "/s-2147483647", math.MinInt32: "/s--2147483648", -1: "/s--000000001",
	} {
		if got := Sequential("/s-", counter); got != want {
			t.Errorf("name for %d is %s, want %s", counter, got, want)
		}
	}
}

var (
	world = jute.ACL{Perms: 31, Scheme: "world", ID: "anyone"}
	bob   = consensus.Identity{Scheme: "digest", ID: "bob:hash"}
	ann   = consensus.Identity{Scheme: "digest", ID: "ann:hash"}
	host  = consensus.Identity{Scheme: "ip", ID: "10.1.2.3"}
	root  = consensus.Identity{Scheme: "super"}
)

func TestPermits(t *testing.T) {
	none := []jute.ACL{{Perms: 0, Scheme: "world", ID: "anyone"}}
	bobs := []jute.ACL{{Perms: jute.PermRead | jute.PermWrite, Scheme: "digest", ID: "bob:hash"}, {Perms: jute.PermCreate, Scheme: "ip", ID: "10.0.0.0/8"}}
	for _, tc := range []struct {
		name string
		list []jute.ACL
		perm int32
		ids  []consensus.Identity
		want bool
	}{
		{"open", []jute.ACL{world}, jute.PermAdmin, nil, true},
		{"empty list", nil, jute.PermAdmin, nil, true},
		{"nobody", none, jute.PermRead, []consensus.Identity{bob}, false},
		{"super", none, jute.PermRead, []consensus.Identity{host, root}, true},
		{"his", bobs, jute.PermWrite, []consensus.Identity{ann, bob}, true},
		{"not his", bobs, jute.PermWrite, []consensus.Identity{ann}, false},
		{"not that", bobs, jute.PermDelete, []consensus.Identity{bob}, false},
		{"one of two", bobs, jute.PermDelete | jute.PermRead, []consensus.Identity{bob}, true},
		{"net", bobs, jute.PermCreate, []consensus.Identity{host}, true},
		{"other scheme, same id", []jute.ACL{{Perms: 31, Scheme: "sasl", ID: "bob:hash"}}, jute.PermRead, []consensus.Identity{bob}, false},
		{"world of another name", []jute.ACL{{Perms: 31, Scheme: "world", ID: "someone"}}, jute.PermRead, nil, false},
	} {
		if got := Permits(tc.list, tc.perm, tc.ids); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func TestFixup(t *testing.T) {
	auth := jute.ACL{Perms: 5, Scheme: "auth", ID: "whatever"}
	for _, tc := range []struct {
		name string
		list []jute.ACL
		ids  []consensus.Identity
		want string // perms:scheme:id …; "" is refused
	}{
		{"open", []jute.ACL{world}, nil, "31:world:anyone "},
		{"null", nil, nil, ""},
		{"empty", []jute.ACL{}, nil, ""},
		{"twice", []jute.ACL{world, world}, nil, "31:world:anyone "},
		{"auth of nobody", []jute.ACL{auth}, []consensus.Identity{host, root}, ""},
		{"auth of two", []jute.ACL{auth, world}, []consensus.Identity{host, bob, ann}, "5:digest:bob:hash 5:digest:ann:hash 31:world:anyone "},
		{"world of another name", []jute.ACL{{Perms: 31, Scheme: "world", ID: "x"}}, nil, ""},
		{"no scheme", []jute.ACL{{Perms: 31}}, nil, ""},
		{"unknown scheme", []jute.ACL{{Perms: 31, Scheme: "sasl", ID: "x"}}, nil, ""},
		{"any perms", []jute.ACL{{Perms: 1 << 20, Scheme: "world", ID: "anyone"}}, nil, "1048576:world:anyone "},
		{"digest", []jute.ACL{{Perms: 1, Scheme: "digest", ID: "a:b"}}, nil, "1:digest:a:b "},
		{"digest, trailing colons", []jute.ACL{{Perms: 1, Scheme: "digest", ID: "a:b::"}}, nil, "1:digest:a:b:: "},
		{"digest, three parts", []jute.ACL{{Perms: 1, Scheme: "digest", ID: "a:b:c"}}, nil, ""},
		{"digest, one part", []jute.ACL{{Perms: 1, Scheme: "digest", ID: "a:"}}, nil, ""},
		{"digest, nothing", []jute.ACL{{Perms: 1, Scheme: "digest", ID: ""}}, nil, ""},
		{"digest, no user", []jute.ACL{{Perms: 1, Scheme: "digest", ID: ":b"}}, nil, "1:digest::b "},
		{"ip", []jute.ACL{{Perms: 1, Scheme: "ip", ID: "10.0.0.0/8"}}, nil, "1:ip:10.0.0.0/8 "},
		{"not an ip", []jute.ACL{{Perms: 1, Scheme: "ip", ID: "10.0.0/8"}}, nil, ""},
	} {
		got := ""
		list, code := Fixup(tc.list, tc.ids, true)
		for _, a := range list {
			got += itoa(a.Perms) + ":" + a.Scheme + ":" + a.ID + " "
		}
		if got != tc.want || (code == zkerr.OK) != (tc.want != "") || code != zkerr.OK && code != zkerr.InvalidACL {
			t.Errorf("%s: %q, %v", tc.name, got, code)
		}
	}
	// With the scheme switched off nobody is authenticated by it.
	if _, code := Fixup([]jute.ACL{auth}, []consensus.Identity{bob}, false); code != zkerr.InvalidACL {
		t.Errorf("auth without digest: %v", code)
	}
	if _, code := Fixup([]jute.ACL{{Perms: 1, Scheme: "digest", ID: "a:b"}}, nil, false); code != zkerr.InvalidACL {
		t.Errorf("digest without digest: %v", code)
	}
}

func itoa(v int32) string {
	if v < 10 {
		return string(rune('0' + v))
	}
	return itoa(v/10) + string(rune('0'+v%10))
}

func TestMask(t *testing.T) {
	for id, want := range map[string]string{"bob:hash=": "bob:x", "bob": "bob", ":h": ":x", "a:b:c": "a:x"} {
		if got := Mask(jute.ACL{Scheme: "digest", ID: id}).ID; got != want {
			t.Errorf("%s is shown as %s, want %s", id, got, want)
		}
	}
	if got := Mask(jute.ACL{Scheme: "ip", ID: "::1"}).ID; got != "::1" {
		t.Errorf("an address is shown as %s", got)
	}
}

func TestAddresses(t *testing.T) {
	for _, tc := range []struct {
		id, entry string
		want      bool
	}{
		{"10.1.2.3", "10.1.2.3", true},
		{"10.1.2.3", "10.1.2.4", false},
		{"10.1.2.3", "10.0.0.0/8", true},
		{"11.1.2.3", "10.0.0.0/8", false},
		{"10.1.2.3", "1.2.3.4/0", true},
		{"10.1.2.129", "10.1.2.128/25", true},
		{"10.1.2.127", "10.1.2.128/25", false},
		{"0:0:0:0:0:0:0:1", "::1", true},
		{"0:0:0:0:0:0:0:1", "::", false},
		{"fe80:0:0:0:0:0:0:1", "fe80::/10", true},
		{"fe80:0:0:0:0:0:0:1%eth0", "fe80::/10", false}, // nobody is known by that
		{"fe80:0:0:0:0:0:0:1", "fe80::1%eth0", false},
		{"2001:db8:0:0:0:0:0:1", "2001:db8::/32", true},
		{"2001:db9:0:0:0:0:0:1", "2001:db8::/32", false},
		{"10.1.2.3", "::/0", false}, // another family
		{"0:0:0:0:0:0:0:1", "0.0.0.0/0", false},
		{"0:0:0:0:0:ffff:a01:203", "::ffff:a01:203", true},
		{"0:0:0:0:0:ffff:a01:203", "::ffff:10.1.2.3", false},
		{"ffff:0:0:0:0:0:0:0", "-1::", true},
		{"10.1.2.3", "+10.001.000002.-0/24", true},
		{"10.1.3.3", "+10.001.000002.-0/+24", false},
		{"somebody", "10.0.0.0/8", false},
		{"10.1.2.3", "nonsense", false},
	} {
		if got := matchIP(tc.id, tc.entry); got != tc.want {
			t.Errorf("%s in %s: %v", tc.id, tc.entry, got)
		}
	}
	for entry, want := range map[string]bool{
		"1.2.3.4": true, "1.2.3.4/32": true, "1.2.3.4/33": false, "1.2.3.4/-1": false, "1.2.3.4/x": false, "1.2.3": false, "1.2.3.4.5": false,
		"256.1.1.1": false, "1.2.3.": false, "01.2.3.4": true, "0001.2.3.4": true, "+1.2.3.-0": true, "-1.2.3.4": false, "1.2.3.99999999999": false, "1.2.3.0x4": false, "1.2.3.4%1": false, "1.2.3.4/+8": true, "1.2.3.4/-0": true, "": false, "/8": false,
		"::": true, "::/128": true, "::/129": false, "1:2:3:4:5:6:7:8": true, "1:2:3:4:5:6:7": false, "1:2:3:4:5:6:7:8:9": false,
		"1::2::3": false, "12345::": false, "g::": false, "::1.2.3.4": false, "fe80::1%eth0": false, "fe80::1%1": false, "-1::": true, "+abc::": true, "+abcd::": false, "1_0::": false, ":": false, ":::": false, "1:2:3:4:5:6:7::": true, "::1:2:3:4:5:6:7": true, "::1:2:3:4:5:6:7:8": false, "::1.2.3": false, "1:2:3:4:5:6:7:1.2.3.4": false,
		"1:2:3:4:5:6:1.2.3.4": false, "1:2:3:4:5:6:7::8": false, "1:2:3:4:5:6::8": true, "x::": false, "::y": false,
	} {
		if got := validIP(entry); got != want {
			t.Errorf("%q valid: %v", entry, got)
		}
	}
}
