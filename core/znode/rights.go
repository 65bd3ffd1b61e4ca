package znode

import (
	"cmp"
	"slices"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A Rights is a long list in a form in which it takes little time to find somebody: a list of one frame has
// tens of thousands of entries, and a multi asks for one tens of thousands of times.
type Rights struct {
	anyone int32 // permissions of all there are
	list   []jute.ACL
	byID   []idRights
	nets   []netRights
	groups []int // where in nets each length of address and number of bits begins
}

// An idRights is what one identity may do.
type idRights struct {
	at    uint32 // which entry of the list has it
	perms int32
}

// A netRights is what the addresses in a net may do.
type netRights struct {
	net   addr
	bits  int
	perms int32
}

// manyACLs is how long a list is at least for which there is a Rights.
const manyACLs = 8

// NewRights returns nil for a list that is not long, and is asked by Permits. It keeps the list.
func NewRights(list []jute.ACL) *Rights {
	if len(list) <= manyACLs {
		return nil
	}
	r := &Rights{list: list}
	for i := range list {
		switch a := &list[i]; {
		case a.Scheme == SchemeWorld && a.ID == anyone:
			r.anyone |= a.Perms
		case a.Scheme == SchemeIP:
			if net, bits, ok := parseNet(a.ID); ok {
				r.nets = append(r.nets, netRights{net.masked(bits), bits, a.Perms})
			}
		default:
			r.byID = append(r.byID, idRights{uint32(i), a.Perms})
		}
	}
	slices.SortFunc(r.byID, func(a, b idRights) int { return r.compare(a, list[b.at].Scheme, list[b.at].ID) })
	n := 0
	for _, x := range r.byID {
		if n > 0 && r.compare(r.byID[n-1], list[x.at].Scheme, list[x.at].ID) == 0 {
			r.byID[n-1].perms |= x.perms
			continue
		}
		r.byID[n] = x
		n++
	}
	r.byID = slices.Clip(r.byID[:n])
	slices.SortFunc(r.nets, netRights.compare)
	n = 0
	for _, x := range r.nets {
		if n > 0 && r.nets[n-1].compare(x) == 0 {
			r.nets[n-1].perms |= x.perms
			continue
		}
		if n == 0 || r.nets[n-1].net.len != x.net.len || r.nets[n-1].bits != x.bits {
			r.groups = append(r.groups, n)
		}
		r.nets[n] = x
		n++
	}
	r.nets = slices.Clip(r.nets[:n])
	return r
}

func (r *Rights) compare(a idRights, scheme, id string) int {
	e := &r.list[a.at]
	return cmp.Or(cmp.Compare(e.Scheme, scheme), cmp.Compare(e.ID, id))
}

func (a netRights) compare(b netRights) int {
	return cmp.Or(cmp.Compare(a.net.len, b.net.len), cmp.Compare(a.bits, b.bits), slices.Compare(a.net.b[:], b.net.b[:]))
}

// Permits is Permits of the list.
func (r *Rights) Permits(perm int32, ids []consensus.Identity) bool {
	if r.anyone&perm != 0 {
		return true
	}
	for i := range ids {
		switch scheme, id := ids[i].Scheme, ids[i].ID; scheme {
		case SchemeSuper:
			return true
		case SchemeIP:
			if a, ok := parseAddr(id); ok && r.perms(a)&perm != 0 {
				return true
			}
		default:
			at, found := slices.BinarySearchFunc(r.byID, id, func(x idRights, id string) int { return r.compare(x, scheme, id) })
			if found && r.byID[at].perms&perm != 0 {
				return true
			}
		}
	}
	return false
}

// perms is what an address may do by all nets that it is in.
func (r *Rights) perms(a addr) (perms int32) {
	for i, from := range r.groups {
		nets := r.nets[from:]
		if i+1 < len(r.groups) {
			nets = r.nets[from:r.groups[i+1]]
		}
		if nets[0].net.len != a.len {
			continue
		}
		want := netRights{net: a.masked(nets[0].bits), bits: nets[0].bits}
		if at, found := slices.BinarySearchFunc(nets, want, netRights.compare); found {
			perms |= nets[at].perms
		}
	}
	return perms
}

// masked is a without the bits that do not count.
func (a addr) masked(bits int) addr {
	for i := range a.b {
		switch n := bits - 8*i; {
		case n <= 0:
			a.b[i] = 0
		case n < 8:
			a.b[i] &= 0xff << (8 - n)
		}
	}
	return a
}
