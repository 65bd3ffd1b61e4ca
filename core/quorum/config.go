package quorum

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// A Config is the membership of an ensemble: what NEWLEADER, notifications,
// /zookeeper/config and the dynamic configuration file say of it.
type Config struct {
	Version int64    // the zxid by which it was made; 0 from a static file
	Servers []Server // by ascending id

	// Hierarchical quorums count weights in groups instead of heads.
	Hierarchical bool
	Groups       []Group         // by ascending id
	Weights      map[int64]int64 // by server; every voter has one
}

// A Server is a member.
type Server struct {
	ID       int64
	Addrs    []ServerAddr // by host; more than one only with multiAddress.enabled
	Observer bool

	// Where it serves clients, if the line says so: else its static
	// configuration does.
	HasClient  bool
	ClientHost string
	ClientPort int
}

// A ServerAddr is where a server talks to its peers.
type ServerAddr struct {
	Host         string // name or address as configured, without brackets
	QuorumPort   int
	ElectionPort int
}

// A Group is a group of servers of a hierarchical quorum.
type Group struct {
	ID      int64
	Members []int64 // ascending
}

// Find returns the server with that id.
func (c *Config) Find(id int64) (Server, bool) {
	i := sort.Search(len(c.Servers), func(i int) bool { return c.Servers[i].ID >= id })
	if i < len(c.Servers) && c.Servers[i].ID == id {
		return c.Servers[i], true
	}
	return Server{}, false
}

// IsVoter says whether id is a member that votes.
func (c *Config) IsVoter(id int64) bool {
	s, ok := c.Find(id)
	return ok && !s.Observer
}

// IsObserver says whether id is a member that does not vote.
func (c *Config) IsObserver(id int64) bool {
	s, ok := c.Find(id)
	return ok && s.Observer
}

// Voters returns the ids of the members that vote, ascending.
func (c *Config) Voters() []int64 {
	ids := make([]int64, 0, len(c.Servers))
	for i := range c.Servers {
		if !c.Servers[i].Observer {
			ids = append(ids, c.Servers[i].ID)
		}
	}
	return ids
}

// Weight returns what the vote of id counts. A server without weight can't be
// elected.
func (c *Config) Weight(id int64) int64 {
	if c.Hierarchical {
		return c.Weights[id]
	}
	return 1
}

// IsQuorum says whether the voters for which acked holds are a quorum: more than
// half of them, or, in more than half of the groups that have weight, more than
// half of the weight.
func (c *Config) IsQuorum(acked func(id int64) bool) bool {
	if !c.Hierarchical {
		voters, acks := 0, 0
		for i := range c.Servers {
			if c.Servers[i].Observer {
				continue
			}
			voters++
			if acked(c.Servers[i].ID) {
				acks++
			}
		}
		return acks > voters/2
	}
	groups, won := 0, 0
	for i := range c.Groups {
		var total, got int64
		for _, id := range c.Groups[i].Members {
			total += c.Weights[id]
			if c.IsVoter(id) && acked(id) {
				got += c.Weights[id]
			}
		}
		if total == 0 {
			continue
		}
		groups++
		if got > total/2 {
			won++
		}
	}
	return won > groups/2
}

// IsQuorumOf says whether ids are a quorum.
func (c *Config) IsQuorumOf(ids ...int64) bool {
	return c.IsQuorum(func(id int64) bool { return slices.Contains(ids, id) })
}

// Equal says whether c and o have the same members, groups and weights. Versions
// are not compared: a version is to name one membership, but static files all
// have version 0.
func (c *Config) Equal(o *Config) bool {
	return c.Hierarchical == o.Hierarchical &&
		slices.EqualFunc(c.Servers, o.Servers, func(a, b Server) bool { return a.Equal(b) }) &&
		slices.EqualFunc(c.Groups, o.Groups, func(a, b Group) bool {
			return a.ID == b.ID && slices.Equal(a.Members, b.Members)
		}) &&
		maps.Equal(c.Weights, o.Weights)
}

// Equal says whether s and o are the same member at the same addresses.
func (s Server) Equal(o Server) bool {
	return s.ID == o.ID && s.Observer == o.Observer && slices.Equal(s.Addrs, o.Addrs) &&
		s.HasClient == o.HasClient && s.ClientHost == o.ClientHost && s.ClientPort == o.ClientPort
}

// Clone returns a copy that shares nothing with c.
func (c *Config) Clone() *Config {
	d := *c
	d.Servers = slices.Clone(c.Servers)
	for i := range d.Servers {
		d.Servers[i].Addrs = slices.Clone(d.Servers[i].Addrs)
	}
	d.Groups = slices.Clone(c.Groups)
	for i := range d.Groups {
		d.Groups[i].Members = slices.Clone(d.Groups[i].Members)
	}
	d.Weights = maps.Clone(c.Weights)
	return &d
}

// Text returns the canonical text: servers, groups and weights by ascending id,
// then the version in hex, without a newline at the end.
func (c *Config) Text() string {
	return strings.Join(append(c.lines(), "version="+strconv.FormatUint(uint64(c.Version), 16)), "\n")
}

// FileText returns the text of a dynamic configuration file: its lines sorted as
// strings and without the version, which is in the file's name.
func (c *Config) FileText() string {
	lines := c.lines()
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (c *Config) lines() []string {
	var lines []string
	for i := range c.Servers {
		lines = append(lines, fmt.Sprintf("server.%d=%s", c.Servers[i].ID, c.Servers[i]))
	}
	for _, g := range c.Groups {
		ids := make([]string, len(g.Members))
		for i, id := range g.Members {
			ids[i] = strconv.FormatInt(id, 10)
		}
		lines = append(lines, fmt.Sprintf("group.%d=%s", g.ID, strings.Join(ids, ":")))
	}
	for _, id := range slices.Sorted(maps.Keys(c.Weights)) {
		lines = append(lines, fmt.Sprintf("weight.%d=%d", id, c.Weights[id]))
	}
	return lines
}

// String returns what stands behind "server.N=" in the canonical text.
func (s Server) String() string {
	var b strings.Builder
	for i, a := range s.Addrs {
		if i > 0 {
			b.WriteByte('|')
		}
		fmt.Fprintf(&b, "%s:%d:%d", bracket(a.Host), a.QuorumPort, a.ElectionPort)
	}
	if s.Observer {
		b.WriteString(":observer")
	} else {
		b.WriteString(":participant")
	}
	if s.HasClient {
		fmt.Fprintf(&b, ";%s:%d", bracket(s.ClientHost), s.ClientPort)
	}
	return b.String()
}

// A ConfigError says why a configuration is refused, in Apache's words (and with
// its blanks) where it has some, since operators search for them.
type ConfigError struct {
	Key string // the line's key, if it is about one: "server.3"
	Msg string
	// Unexpected says that Apache's servers stumble over it, as over what is no
	// number, and tell clients so in another way.
	Unexpected bool
}

func (e *ConfigError) Error() string {
	if e.Key == "" {
		return e.Msg
	}
	return e.Key + ": " + e.Msg
}

// ParseConfig reads a configuration from its text, which has the form of a Java
// properties file. It takes the keys server.N, group.N, weight.N and version
// only; multiAddress allows a server to have several addresses.
func ParseConfig(text string, multiAddress bool) (*Config, error) {
	props, err := parseProperties(text)
	if err != nil {
		return nil, err
	}
	return NewConfig(props, multiAddress)
}

// NewConfig makes a configuration of the properties server.N, group.N, weight.N
// and version; it refuses other keys.
func NewConfig(props map[string]string, multiAddress bool) (*Config, error) {
	c := new(Config)
	inGroup := map[int64]bool{}
	for _, key := range slices.Sorted(maps.Keys(props)) {
		value := strings.TrimSpace(props[key])
		fail := func(err error) error {
			var ce *ConfigError
			if errors.As(err, &ce) {
				return &ConfigError{Key: key, Msg: ce.Msg, Unexpected: ce.Unexpected}
			}
			return &ConfigError{Key: key, Msg: err.Error(), Unexpected: true}
		}
		switch {
		case strings.HasPrefix(key, "server."):
			id, err := keyID(key)
			if err != nil {
				return nil, fail(err)
			}
			s, err := ParseServer(id, value, multiAddress)
			if err != nil {
				return nil, fail(err)
			}
			c.Servers = append(c.Servers, s)
		case strings.HasPrefix(key, "group"):
			c.Hierarchical = true
			g, err := parseGroup(key, value, inGroup)
			if err != nil {
				return nil, fail(err)
			}
			c.Groups = append(c.Groups, g)
		case strings.HasPrefix(key, "weight"):
			c.Hierarchical = true
			id, err := keyID(key)
			if err != nil {
				return nil, fail(err)
			}
			w, err := strconv.ParseInt(value, 10, 64)
			if err != nil || w < 0 || w > math.MaxInt32 {
				return nil, fail(fmt.Errorf("%q is not a weight", value))
			}
			if c.Weights == nil {
				c.Weights = map[int64]int64{}
			}
			c.Weights[id] = w
		case key == "version":
			v, err := strconv.ParseUint(value, 16, 63)
			if err != nil {
				return nil, fail(fmt.Errorf("%q is not a hexadecimal zxid", value))
			}
			c.Version = int64(v)
		default:
			return nil, &ConfigError{Msg: "Unrecognised parameter: " + key}
		}
	}
	slices.SortFunc(c.Servers, func(a, b Server) int { return compare(a.ID, b.ID) })
	slices.SortFunc(c.Groups, func(a, b Group) int { return compare(a.ID, b.ID) })
	for i := 1; i < len(c.Servers); i++ {
		if c.Servers[i].ID == c.Servers[i-1].ID { // server.1 and server.01
			return nil, &ConfigError{Msg: fmt.Sprintf("server %d is there twice", c.Servers[i].ID)}
		}
	}
	if err := c.checkGroups(inGroup); err != nil {
		return nil, err
	}
	return c, nil
}

// checkGroups sees to it that quorums can be counted, and gives every voter a
// weight.
func (c *Config) checkGroups(inGroup map[int64]bool) error {
	if !c.Hierarchical {
		return nil
	}
	if c.Weights == nil {
		c.Weights = map[int64]int64{}
	}
	for i := range c.Servers {
		s := &c.Servers[i]
		if s.Observer {
			continue
		}
		if !inGroup[s.ID] {
			return &ConfigError{Msg: fmt.Sprintf("Server %dis not in a group", s.ID)}
		}
		if _, ok := c.Weights[s.ID]; !ok {
			c.Weights[s.ID] = 1
		}
	}
	for i, g := range c.Groups {
		if i > 0 && g.ID == c.Groups[i-1].ID {
			return &ConfigError{Msg: fmt.Sprintf("group %d is there twice", g.ID)}
		}
		for _, id := range g.Members {
			// Apache stops with a null pointer here.
			if _, ok := c.Weights[id]; !ok {
				return &ConfigError{Msg: fmt.Sprintf("Server %d of group %d has no weight: it is not a participant", id, g.ID)}
			}
		}
	}
	return nil
}

// Check refuses memberships that can't elect a leader.
func (c *Config) Check(standaloneEnabled bool) error {
	voters := len(c.Voters())
	observers := len(c.Servers) - voters
	switch {
	case voters == 0 && !standaloneEnabled:
		return &ConfigError{Msg: "standaloneEnabled = false then number of participants should be >0"}
	case voters == 0 && observers > 0:
		return &ConfigError{Msg: "Observers w/o participants is an invalid configuration"}
	case voters == 1 && standaloneEnabled && observers > 0:
		return &ConfigError{Msg: "Observers w/o quorum is an invalid configuration"}
	}
	return nil
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// keyID returns the number behind the first dot of a key.
func keyID(key string) (int64, error) {
	_, num, _ := strings.Cut(key, ".")
	id, err := strconv.ParseInt(num, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", num)
	}
	return id, nil
}

func parseGroup(key, value string, inGroup map[int64]bool) (Group, error) {
	gid, err := keyID(key)
	if err != nil {
		return Group{}, err
	}
	g := Group{ID: gid}
	for _, s := range javaSplit(value, ":") {
		id, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return Group{}, fmt.Errorf("%q is not a number", s)
		}
		if inGroup[id] {
			return Group{}, &ConfigError{Msg: fmt.Sprintf("Server %dis in multiple groups", id)}
		}
		inGroup[id] = true
		g.Members = append(g.Members, id)
	}
	slices.Sort(g.Members)
	return g, nil
}

const wrongFormat = " does not have the form server_config or server_config;client_config" +
	" where server_config is the pipe separated list of host:port:port or host:port:port:type" +
	" and client_config is port or host:port"

// ParseServer reads what stands behind "server.N=":
//
//	host:quorumPort:electionPort[:role][|…][;[clientHost:]clientPort]
func ParseServer(id int64, value string, multiAddress bool) (Server, error) {
	s := Server{ID: id}
	fail := func(format string, args ...any) (Server, error) {
		return Server{}, &ConfigError{Msg: fmt.Sprintf(format, args...)}
	}
	halves := javaSplit(value, ";")
	if len(halves) < 1 || len(halves) > 2 {
		return fail("%s%s", value, wrongFormat)
	}
	if len(halves) == 2 {
		parts, err := splitHost(halves[1])
		if err != nil {
			return fail("%v", err)
		}
		s.HasClient, s.ClientHost = true, "0.0.0.0"
		switch len(parts) {
		case 1:
		case 2:
			s.ClientHost = parts[0]
			if !validHost(s.ClientHost) {
				return fail("%q is not a host name or address", s.ClientHost)
			}
		default:
			return fail("%s%s", value, wrongFormat)
		}
		port := parts[len(parts)-1]
		if s.ClientPort, err = parsePort(port); err != nil {
			return fail("Address unresolved: %s:%s", s.ClientHost, port)
		}
	}
	addrs := javaSplit(halves[0], "|")
	if len(addrs) > 1 && !multiAddress {
		return fail("Multiple address feature is disabled, but multiple addresses were specified for sid %d", id)
	}
	if len(addrs) == 0 {
		return fail("%s%s", value, wrongFormat)
	}
	role := ""
	for _, addr := range addrs {
		parts, err := splitHost(addr)
		if err != nil {
			return fail("%v", err)
		}
		if len(parts) < 3 || len(parts) > 4 {
			return fail("%s%s", value, wrongFormat)
		}
		a := ServerAddr{Host: parts[0]}
		if !validHost(a.Host) {
			return fail("%q is not a host name or address", a.Host)
		}
		if a.QuorumPort, err = parsePort(parts[1]); err != nil {
			return fail("Address unresolved: %s:%s", a.Host, parts[1])
		}
		if a.ElectionPort, err = parsePort(parts[2]); err != nil {
			return fail("Address unresolved: %s:%s", a.Host, parts[2])
		}
		if a.QuorumPort == a.ElectionPort {
			return fail("Client and election port must be different! Please update the configuration file on server.%d", id)
		}
		if len(parts) == 4 {
			r := strings.ToLower(strings.TrimSpace(parts[3]))
			if r != "participant" && r != "observer" {
				return fail("Unrecognised peertype: %s", parts[3])
			}
			if role != "" && role != r {
				return fail("Multiple addresses should have similar roles: %s vs %s", strings.ToUpper(role), strings.ToUpper(r))
			}
			role = r
		}
		s.Addrs = append(s.Addrs, a)
	}
	s.Observer = role == "observer"
	slices.SortStableFunc(s.Addrs, func(a, b ServerAddr) int { return strings.Compare(a.Host, b.Host) })
	return s, nil
}

// validHost says whether host can stand in a line and be read back from it. What
// it names, if anything, shows when it is dialled.
func validHost(host string) bool {
	return host != "" && !strings.ContainsFunc(host, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(`[]|;\`, r)
	})
}

// splitHost splits host:a:b at the colons, but for those of an IPv6 host in
// brackets.
func splitHost(s string) ([]string, error) {
	if !strings.HasPrefix(s, "[") {
		return javaSplit(s, ":"), nil
	}
	end := strings.IndexByte(s, ']')
	if end < 0 {
		return nil, &ConfigError{Msg: s + " starts with '[' but has no matching ']:'"}
	}
	host, rest := s[1:end], s[end+1:]
	switch {
	case rest == "":
		return []string{host}, nil
	case rest == ":":
		return nil, &ConfigError{Msg: s + " doesn't have a port after colon"}
	case rest[0] != ':':
		return nil, &ConfigError{Msg: s + " has no colon behind ']'"}
	}
	return append([]string{host}, javaSplit(rest[1:], ":")...), nil
}

// javaSplit splits like Java does: without the empty parts at the end, so that
// "host:2888:3888:" has three.
func javaSplit(s, sep string) []string {
	parts := strings.Split(s, sep)
	if len(parts) == 1 {
		return parts
	}
	for len(parts) > 0 && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	return parts
}

func parsePort(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 || n > 65535 {
		return 0, fmt.Errorf("%q is not a port", s)
	}
	return int(n), nil
}
