package znode

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"testing"

	"github.com/zkcore/zkcore/core/fuzztest"
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// No text is taken for an address by accident, and none does harm.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"1.2.3.4/8", "::1", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4/96", "fe80::1%eth0/10",
		"1.2.3.4/99999999999999999999", "1.2.3.4/-0", "::::::::", "1.2.3.4.", "/", "0x1.2.3.4", "1.2.3.4/8/8", "::/0"} {
		f.Add(s, "1.2.3.4")
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, s, entry string) {
		fuzztest.Check(t, len(s)+len(entry), func() {
			if a, bits, ok := parseNet(s); ok && (a.len != 4 && a.len != 16 || bits < 0 || bits > a.len*8) {
				t.Errorf("%q is %s/%d", s, hex.EncodeToString(a.b[:]), bits)
			}
			validIP(s)
			matchIP(s, entry)
		})
	})
}

// fixups is the limit for a list as it is stored: a table of what is in it comes on
// top of the list itself.
var fixups = fuzztest.Limit{Factor: 16, Constant: fuzztest.Rule.Constant}

// FuzzACL takes a list as it comes in a request through all that is done to one.
func FuzzACL(f *testing.F) {
	for _, l := range [][]jute.ACL{
		jute.OpenACL(), jute.ReadACL(), {},
		{{Perms: 31, Scheme: "auth", ID: "x"}, {Perms: 1, Scheme: "auth"}, {Perms: 1, Scheme: "world", ID: "anyone"}},
		{{Perms: -1, Scheme: "digest", ID: "a:b"}, {Perms: -1, Scheme: "digest", ID: "a:b"}},
		{{Perms: 1, Scheme: "digest", ID: ":::"}}, {{Perms: 1, Scheme: "ip", ID: "10.0.0.0/8"}}, {{Perms: 1, Scheme: "ip", ID: "::/129"}},
		{{Perms: 1, Scheme: "super"}}, {{Perms: 0, Scheme: "world", ID: "anyone"}},
	} {
		f.Add(jute.AppendACLs(nil, l))
	}
	ids := []consensus.Identity{{Scheme: "ip", ID: "10.1.2.3"}, {Scheme: "digest", ID: "bob:hash"}, {Scheme: "digest", ID: "ann:hash"}}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := jute.NewDecoder(b)
		list := d.ACLs()
		if d.Err() != nil {
			return
		}
		var fixed []jute.ACL
		var code zkerr.Code
		fixups.Check(t, len(b), func() { fixed, code = Fixup(list, ids, true) })
		if code != zkerr.OK {
			if code != zkerr.InvalidACL {
				t.Fatalf("%v", code)
			}
			return
		}
		// What is stored is well formed, and stays as it is if it comes once more.
		again, code := Fixup(fixed, nil, true)
		if code != zkerr.OK {
			t.Fatalf("%+v is stored and refused: %v", fixed, code)
		}
		for i, a := range fixed {
			if a.Scheme == SchemeAuth || a.Scheme == SchemeSuper {
				t.Fatalf("stored: %+v", a)
			}
			if !repeated(fixed[:i], &a) && !repeated(again, &a) {
				t.Fatalf("%+v is lost", a)
			}
			Mask(a)
		}
		for bit := range 5 {
			Permits(fixed, 1<<bit, ids)
		}
		e := jute.NewDecoder(jute.AppendACLs(nil, fixed))
		if got := e.ACLs(); e.Err() != nil || !reflect.DeepEqual(got, fixed) {
			t.Fatalf("%+v\n%+v", fixed, got)
		}
	})
}

// A list of one frame, as long and as dear as it can be made.
func TestLongLists(t *testing.T) {
	distinct := func(n int, scheme, id string) (list []jute.ACL) {
		for i := range n {
			list = append(list, jute.ACL{Perms: int32(i), Scheme: scheme, ID: id})
		}
		return list
	}
	var many []consensus.Identity
	for i := range 64 {
		many = append(many, consensus.Identity{Scheme: "digest", ID: fmt.Sprintf("user-%d:hash", i)})
	}
	for _, tc := range []struct {
		name string
		list []jute.ACL
		ids  []consensus.Identity
		n    int
		code zkerr.Code
	}{
		{"distinct", distinct(45000, "digest", "a:b"), nil, 45000, zkerr.OK},
		{"one", distinct(1, "digest", "a:b"), nil, 1, zkerr.OK},
		{"twice", append(distinct(20000, "digest", "a:b"), distinct(20000, "digest", "a:b")...), nil, 20000, zkerr.OK},
		{"auth of one", distinct(60000, "auth", ""), many[:1], 60000, zkerr.OK},
		{"auth of many", distinct(60000, "auth", ""), many, 0, zkerr.InvalidACL},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out []jute.ACL
			var code zkerr.Code
			input := len(jute.AppendACLs(nil, tc.list))
			fixups.Check(t, input, func() { out, code = Fixup(tc.list, tc.ids, true) })
			if code != tc.code || len(out) != tc.n {
				t.Errorf("%d entries, %v", len(out), code)
			}
		})
	}
}
