package quorum

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// Change is the membership that a reconfig asks for, which c becomes, or what is
// answered if there can be none such: BadArguments for what is wrong,
// MarshallingError for what Apache's server stumbles over. Whether the new members
// are there is not looked at. The version stays c's.
func (c *Config) Change(r *proto.ReconfigRequest, multiAddress, standaloneEnabled bool) (*Config, zkerr.Code) {
	var next *Config
	code := zkerr.OK
	if r.NewMembers != nil {
		next, code = replaced(*r.NewMembers, multiAddress, standaloneEnabled)
	} else {
		next, code = c.moved(r.LeavingServers, r.JoiningServers, multiAddress)
	}
	if code != zkerr.OK {
		return nil, code
	}
	next.Version = c.Version
	if voters := len(next.Voters()); voters < 1 || voters < 2 && standaloneEnabled {
		return nil, zkerr.BadArguments
	}
	return next, zkerr.OK
}

// replaced is a membership that is given as a whole.
func replaced(members string, multiAddress, standaloneEnabled bool) (*Config, zkerr.Code) {
	c, err := ParseConfig(strings.ReplaceAll(members, ",", "\n"), multiAddress)
	if err != nil {
		return nil, refusal(err)
	}
	if c.Check(standaloneEnabled) != nil {
		return nil, zkerr.MarshallingError
	}
	return c, zkerr.OK
}

// refusal is what a client is told of an error in a configuration.
func refusal(err error) zkerr.Code {
	var ce *ConfigError
	if errors.As(err, &ce) && !ce.Unexpected {
		return zkerr.BadArguments
	}
	return zkerr.MarshallingError
}

// moved is c without some servers, and then with others. A client may name tens of thousands,
// so none is held against each other one.
func (c *Config) moved(leaving, joining *string, multiAddress bool) (*Config, zkerr.Code) {
	if c.Hierarchical {
		return nil, zkerr.BadArguments // nobody knows which groups they would belong to
	}
	next := c.Clone()
	servers := make(map[int64]Server, len(next.Servers))
	taken := map[string]int{} // how many listen at a place
	count := func(s Server, by int) {
		for _, p := range s.places() {
			taken[p] += by
		}
	}
	drop := func(id int64) {
		if s, ok := servers[id]; ok {
			count(s, -1)
			delete(servers, id)
		}
	}
	for _, s := range next.Servers {
		servers[s.ID] = s
		count(s, 1)
	}
	for _, s := range pieces(leaving, ",") {
		id, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, zkerr.MarshallingError
		}
		drop(id)
	}
	for _, joiner := range pieces(joining, ",") {
		parts := pieces(&joiner, "=")
		if len(parts) != 2 {
			return nil, zkerr.BadArguments
		}
		id, err := strconv.ParseInt(parts[0][strings.LastIndexByte(parts[0], '.')+1:], 10, 64)
		if err != nil {
			return nil, zkerr.MarshallingError
		}
		s, err := ParseServer(id, parts[1], multiAddress)
		if err != nil || !s.HasClient {
			return nil, zkerr.BadArguments
		}
		drop(id)
		for _, p := range s.places() {
			if taken[p] > 0 {
				return nil, zkerr.BadArguments
			}
		}
		servers[id] = s
		count(s, 1)
	}
	next.Servers = slices.SortedFunc(maps.Values(servers), func(a, b Server) int { return compare(a.ID, b.ID) })
	return next, zkerr.OK
}

// pieces are what stands between separators, without blanks and without what is
// empty.
func pieces(list *string, sep string) []string {
	if list == nil {
		return nil
	}
	var out []string
	for _, s := range strings.Split(*list, sep) {
		if s = strings.TrimFunc(s, func(r rune) bool { return r <= ' ' }); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// places are where a server listens, as far as two of them can't. Loopback and
// wildcard addresses are not one place.
func (s Server) places() []string {
	var out []string
	add := func(host string, port int) {
		host = strings.ToLower(host)
		switch {
		case strings.HasPrefix(host, "127."), host == "localhost", host == "0.0.0.0", strings.Trim(host, ":0") == "", strings.TrimLeft(host, ":0") == "1":
			return // the latter two are IPv6
		}
		out = append(out, host+" "+strconv.Itoa(port))
	}
	for _, a := range s.Addrs {
		add(a.Host, a.QuorumPort)
		add(a.Host, a.ElectionPort)
	}
	if s.HasClient {
		add(s.ClientHost, s.ClientPort)
	}
	return out
}
