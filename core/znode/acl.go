package znode

import (
	"strings"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// Schemes of identities.
const (
	SchemeWorld  = "world"
	SchemeAuth   = "auth"
	SchemeDigest = "digest"
	SchemeIP     = "ip"
	SchemeSuper  = "super"
)

const anyone = "anyone"

// IsOpen says whether a list gives everything to everybody and holds nothing
// else.
func IsOpen(list []jute.ACL) bool {
	return len(list) == 1 && list[0].Perms == jute.PermAll && list[0].Scheme == SchemeWorld && list[0].ID == anyone
}

// Permits says whether a client known as ids may do what perm is the bit of to a
// znode with this list.
func Permits(list []jute.ACL, perm int32, ids []consensus.Identity) bool {
	if len(list) == 0 {
		return true
	}
	for i := range ids {
		if ids[i].Scheme == SchemeSuper {
			return true
		}
	}
	for i := range list {
		a := &list[i]
		if a.Perms&perm == 0 {
			continue
		}
		if a.Scheme == SchemeWorld && a.ID == anyone {
			return true
		}
		for j := range ids {
			if ids[j].Scheme == a.Scheme && matches(a.Scheme, ids[j].ID, a.ID) {
				return true
			}
		}
	}
	return false
}

func matches(scheme, id, entry string) bool {
	if scheme == SchemeIP {
		return matchIP(id, entry)
	}
	return id == entry
}

// Fixup checks a list that a client wants to set and returns it as it is stored:
// without repetitions, and with the client's identities in place of auth. It is
// zkerr.InvalidACL when the list is empty, an entry is not well formed, or so many
// identities stand for so many entries of auth that no txn could hold the result.
func Fixup(list []jute.ACL, ids []consensus.Identity, digest bool) ([]jute.ACL, zkerr.Code) {
	if len(list) == 1 && list[0].Scheme == SchemeWorld && list[0].ID == anyone {
		return list, zkerr.OK
	}
	if len(list) == 0 {
		return nil, zkerr.InvalidACL
	}
	var seen map[jute.ACL]bool
	if len(list) > fewACLs {
		// A list of one frame can be so long that to compare each entry with all before
		// it would stop everybody else for seconds.
		seen = make(map[jute.ACL]bool, len(list))
	}
	out := make([]jute.ACL, 0, len(list))
	size := 0
	for i := range list {
		a := &list[i]
		if seen == nil && repeated(list[:i], a) || seen[*a] {
			continue
		}
		if seen != nil {
			seen[*a] = true
		}
		switch a.Scheme {
		case SchemeAuth:
			found := false
			for _, id := range ids {
				if authenticates(id.Scheme, digest) {
					if size += 12 + len(id.Scheme) + len(id.ID); size > maxListBytes {
						return nil, zkerr.InvalidACL
					}
					out = append(out, jute.ACL{Perms: a.Perms, Scheme: id.Scheme, ID: id.ID})
					found = true
				}
			}
			if !found {
				return nil, zkerr.InvalidACL
			}
		default:
			if !valid(a, digest) {
				return nil, zkerr.InvalidACL
			}
			out = append(out, *a)
		}
	}
	return out, zkerr.OK
}

const (
	// fewACLs is how many entries are compared with each other.
	fewACLs = 32
	// maxListBytes bounds what a list grows to by auth: no txn is longer.
	maxListBytes = 2 << 20
)

func repeated(before []jute.ACL, a *jute.ACL) bool {
	for i := range before {
		if before[i] == *a {
			return true
		}
	}
	return false
}

// authenticates says whether an identity of this scheme stands for "auth": it
// does if the client has proved something.
func authenticates(scheme string, digest bool) bool {
	return scheme == SchemeDigest && digest
}

func valid(a *jute.ACL, digest bool) bool {
	switch a.Scheme {
	case SchemeWorld:
		return a.ID == anyone
	case SchemeIP:
		return validIP(a.ID)
	case SchemeDigest:
		// Java's split: exactly two parts, trailing empty ones dropped.
		return digest && splitParts(a.ID) == 2
	}
	return false
}

// splitParts counts the parts between colons as Java's String.split does: empty
// ones at the end don't count.
func splitParts(s string) int {
	s = strings.TrimRight(s, ":")
	if s == "" {
		return 0
	}
	return strings.Count(s, ":") + 1
}

// Mask hides the password hash of a digest identity from those who may not
// administer the znode.
func Mask(a jute.ACL) jute.ACL {
	if a.Scheme == SchemeDigest {
		user, _, found := strings.Cut(a.ID, ":")
		if found {
			a.ID = user + ":x"
		}
	}
	return a
}
