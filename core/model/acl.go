package model

import (
	"crypto/sha1"
	"encoding/base64"
	"net/netip"
	"strconv"
	"strings"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/zkerr"
)

// Authenticate says who a client is that shows data under a scheme.
func (m *Model) Authenticate(scheme string, data []byte, addr string) ([]jute.ID, zkerr.Code) {
	switch scheme {
	case "ip":
		return []jute.ID{{Scheme: "ip", ID: addr}}, zkerr.OK
	case "digest":
		if data == nil {
			return nil, zkerr.AuthFailed
		}
		text := jute.Text(data)
		user, _, _ := strings.Cut(text, ":")
		hash := sha1.Sum([]byte(text))
		id := user + ":" + base64.StdEncoding.EncodeToString(hash[:])
		var ids []jute.ID
		if m.opts.SuperDigest != "" && id == m.opts.SuperDigest {
			ids = append(ids, jute.ID{Scheme: "super"})
		}
		return append(ids, jute.ID{Scheme: "digest", ID: id}), zkerr.OK
	}
	return nil, zkerr.AuthFailed
}

// Permits says whether somebody known as ids may do what perm is the bit of to a
// znode with this list.
func Permits(list []jute.ACL, perm int32, ids []jute.ID) bool {
	if len(list) == 0 {
		return true
	}
	for _, id := range ids {
		if id.Scheme == "super" {
			return true
		}
	}
	for _, a := range list {
		if a.Perms&perm == 0 {
			continue
		}
		if a.Scheme == "world" && a.ID == "anyone" {
			return true
		}
		for _, id := range ids {
			if id.Scheme != a.Scheme {
				continue
			}
			if a.Scheme == "ip" && within(id.ID, a.ID) || a.Scheme != "ip" && id.ID == a.ID {
				return true
			}
		}
	}
	return false
}

// network reads an address, or one with the number of bits that count. Numbers are written as
// Java reads them, with a sign if one likes; nothing else than numbers stands in an address.
func network(s string) (netip.Prefix, bool) {
	host, mask, masked := strings.Cut(s, "/")
	sep, base := ".", 10
	if strings.Contains(host, ":") {
		sep, base = ":", 16
	}
	parts := strings.Split(host, sep)
	for i, p := range parts {
		if p == "" && sep == ":" {
			continue // of "::", if it is in its place
		}
		n, err := strconv.ParseInt(p, base, 32)
		switch {
		case err != nil, sep == ":" && len(p) > 4, sep == "." && (n < 0 || n > 255):
			return netip.Prefix{}, false
		}
		parts[i] = strconv.FormatInt(n&0xffff, base)
	}
	a, err := netip.ParseAddr(strings.Join(parts, sep))
	if err != nil {
		return netip.Prefix{}, false
	}
	bits := a.BitLen()
	if masked {
		if bits, err = strconv.Atoi(mask); err != nil {
			return netip.Prefix{}, false
		}
	}
	p := netip.PrefixFrom(a, bits)
	return p, p.IsValid()
}

func within(addr, entry string) bool {
	p, ok := network(entry)
	a, err := netip.ParseAddr(addr)
	return ok && err == nil && p.Contains(a)
}

// wellFormed makes of a list that a client sets the one that is stored.
func wellFormed(list []jute.ACL, ids []jute.ID) ([]jute.ACL, bool) {
	var out []jute.ACL
	seen := map[jute.ACL]bool{}
	for _, a := range list {
		if seen[a] {
			continue
		}
		seen[a] = true
		ok := false
		switch a.Scheme {
		case "world":
			ok = a.ID == "anyone"
		case "ip":
			_, ok = network(a.ID)
		case "digest":
			// Two parts; empty ones at the end don't count.
			ok = strings.Count(strings.TrimRight(a.ID, ":"), ":") == 1
		case "auth":
			for _, id := range ids {
				if id.Scheme == "digest" {
					out = append(out, jute.ACL{Perms: a.Perms, Scheme: id.Scheme, ID: id.ID})
					ok = true
				}
			}
			if ok {
				continue
			}
		}
		if !ok {
			return nil, false
		}
		out = append(out, a)
	}
	return out, len(out) > 0
}

// masked is a list as those see it who may not administer the znode.
func masked(list []jute.ACL) []jute.ACL {
	out := make([]jute.ACL, len(list))
	for i, a := range list {
		if user, _, ok := strings.Cut(a.ID, ":"); ok && a.Scheme == "digest" {
			a.ID = user + ":x"
		}
		out[i] = a
	}
	return out
}
