package znode

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A Rights says what Permits says of its list.
func TestRightsArePermits(t *testing.T) {
	address := rapid.Custom(func(t *rapid.T) string {
		part := rapid.SampledFrom([]int{0, 1, 2, 3, 127, 128, 255})
		if rapid.Bool().Draw(t, "v6") {
			return fmt.Sprintf("%x::%x:%x", part.Draw(t, "a"), part.Draw(t, "b"), part.Draw(t, "c"))
		}
		return fmt.Sprintf("10.%d.%d.%d", part.Draw(t, "a"), part.Draw(t, "b"), part.Draw(t, "c"))
	})
	net := rapid.Custom(func(t *rapid.T) string {
		s := address.Draw(t, "address")
		if rapid.Bool().Draw(t, "masked") {
			s += fmt.Sprintf("/%d", rapid.IntRange(0, 34).Draw(t, "bits")) // of more than an IPv4 address has, too
		}
		return s
	})
	name := rapid.SampledFrom([]string{"", "ann:hash", "bob:hash", "bob", "anyone", "10.0.0.1"})
	entry := rapid.Custom(func(t *rapid.T) jute.ACL {
		a := jute.ACL{Perms: rapid.Int32Range(0, 31).Draw(t, "perms") & rapid.Int32Range(0, 31).Draw(t, "and")}
		switch a.Scheme = rapid.SampledFrom([]string{"ip", "ip", "digest", "digest", "sasl", "world", "auth", "super", ""}).Draw(t, "scheme"); a.Scheme {
		case "ip":
			a.ID = rapid.OneOf(net, name).Draw(t, "net")
		default:
			a.ID = name.Draw(t, "id")
		}
		return a
	})
	identity := rapid.Custom(func(t *rapid.T) consensus.Identity {
		id := consensus.Identity{Scheme: rapid.SampledFrom([]string{"ip", "ip", "digest", "digest", "sasl", "world", "super"}).Draw(t, "scheme")}
		switch id.Scheme {
		case "ip":
			id.ID = rapid.OneOf(address, name).Draw(t, "address")
		default:
			id.ID = name.Draw(t, "id")
		}
		return id
	})
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(entry, 0, 40).Draw(t, "list")
		r := NewRights(list)
		if (r == nil) != (len(list) <= manyACLs) {
			t.Fatalf("%v of a list of %d", r, len(list))
		}
		if r == nil {
			return
		}
		ids := rapid.SliceOfN(identity, 0, 4).Draw(t, "ids")
		perm := rapid.Int32Range(0, 31).Draw(t, "perm")
		if got, want := r.Permits(perm, ids), Permits(list, perm, ids); got != want {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}
