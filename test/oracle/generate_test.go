package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// A generator makes the steps of a run from a seed. It follows what its steps come to, roughly: most
// requests are to hit what is there, and the others to fail in interesting ways. Nothing
// depends on it being right.
type generator struct {
	*rand.Rand
	rules   *rules
	nodes   map[string]*guess
	clients [clientCount]guessedClient

	limited   bool            // there are quotas
	quotas    map[string]bool // by their paths
	quotaDirs map[string]bool
}

type guess struct {
	version, aversion, creates, children int32
	owner                                int // client + 1; 0 is nobody
}

type guessedClient struct{ connected, session bool }

// generate makes a run's steps.
func generate(seed uint64, r *rules, length int) []step {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0x7a6b)), rules: r, nodes: map[string]*guess{"/": {}}}
	g.limited, g.quotas, g.quotaDirs = g.chance(350), map[string]bool{}, map[string]bool{}
	var steps []step
	for c := range clientCount {
		steps = append(steps, g.session(kindOpen, c))
	}
	for len(steps) < length {
		steps = append(steps, g.step())
	}
	return steps
}

// chance is true n times in a thousand.
func (g *generator) chance(n int) bool { return g.IntN(1000) < n }

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

func (g *generator) step() step {
	c := g.IntN(clientCount)
	if !g.clients[c].connected {
		if g.clients[c].session && !g.chance(100) {
			return g.session(pick(g, kindResume, kindResume, kindResume, kindUnknown, kindAhead, kindPassword, kindExpire), c)
		}
		return g.session(kindOpen, c)
	}
	switch n := g.IntN(1000); {
	case n < 8:
		return g.session(kindDrop, c)
	case n < 26:
		return g.session(kindResume, c)
	case n < 29:
		return g.session(kindOpen, c)
	case n < 32:
		return g.session(pick(g, kindPassword, kindUnknown, kindAhead), c)
	case n < 33:
		return g.session(kindExpire, c)
	}
	return step{Client: c, Requests: g.burst(c)}
}

func (g *generator) session(kind string, c int) step {
	st := step{Client: c, Kind: kind, NoReadOnly: g.chance(150)}
	g.greeting(&st)
	gc := &g.clients[c]
	switch kind {
	case kindDrop, kindPassword:
		gc.connected = false
	case kindExpire:
		gc.connected, gc.session = false, false
		g.gone(c)
	case kindOpen, kindResume:
		if kind == kindOpen && gc.session {
			for _, n := range g.nodes { // they stay, and nobody of ours owns them
				if n.owner == c+1 {
					n.owner = -1
				}
			}
		}
		gc.connected, gc.session = true, true
		if g.chance(300) {
			st.TimeoutMS = pick[int32](g, 300_000, 599_999, 600_000, 600_001, 1<<31-1)
		}
		if kind == kindResume && g.chance(500) {
			st.Move = 1 + g.IntN(2)
		}
		if g.chance(300) {
			st.Requests = g.burst(c)
		}
	}
	return st
}

func (g *generator) burst(c int) []request {
	n := 1
	if g.chance(300) && !g.limited {
		n = 2 + g.IntN(7)
	}
	var reqs []request
	for range n {
		r := g.request(c)
		if r.atOnce() && len(reqs) > 0 {
			continue
		}
		reqs = append(reqs, r)
		if r.Op == "setACL" || strings.HasPrefix(r.Op, "setWatches") {
			// docs/compatibility.md: Apache may judge what comes close behind a setACL by the old one. And what
			// setWatches makes known is checked against what the client may read then.
			break
		}
		if r.closes() {
			g.clients[c].connected = false
			if r.ends() {
				g.clients[c].session = false
				g.gone(c)
			}
			break
		}
	}
	return reqs
}

// gone forgets the ephemerals of a client.
func (g *generator) gone(c int) {
	for _, path := range g.paths() {
		if g.nodes[path].owner == c+1 {
			g.delete(path)
		}
	}
}

func (g *generator) delete(path string) {
	delete(g.nodes, path)
	if p := g.nodes[parent(path)]; p != nil {
		p.children--
	}
}

func parent(path string) string {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)] + map[bool]string{true: "/"}[i <= 0]
}

func (g *generator) paths() []string {
	all := make([]string, 0, len(g.nodes))
	for p := range g.nodes {
		all = append(all, p)
	}
	slices.Sort(all)
	return all
}

func (g *generator) existing() string {
	all := g.paths()
	return all[g.IntN(len(all))]
}

var names = []string{"a", "b", "c", "ü", "e-"}

// child is a path below something that is there.
func (g *generator) child() string {
	for range 10 {
		p := g.existing()
		if strings.Count(p, "/") < 4 {
			return strings.TrimSuffix(p, "/") + "/" + pick(g, names...)
		}
	}
	return "/a"
}

var special = []string{"/", "/zookeeper", "/zookeeper/quota", config}

// astral is a path that Apache, whose characters have 16 bits, does not echo as it came. docs/compatibility.md:
// "characters above U+FFFF".
const astral = "/😀"

var weird = []string{
	"", "/", "//", "a", "a/b", "/a/", "/a//b", "//a", "/a/./b", "/a/..", "/.", "/..", "/a/b/", "/a\x00", "/\x00", "/a/\x00b", "/a\x01", "/a\x1f", "/a\u007f",
	"/a\u0085", "/a\u009f", "/a\u00a0", "/\uf8ff", "/\uf900", "/\uffef", "/\ufff0", "/\uffff", astral, "/.a", "/a.", "/...", "/ ", "/a b", "/zookeeper/x", "/zookeeper/quota/x",
	"/zookeeper/config/x", "/zookeeperx", "/\ue000", "/zookeeper/", "/zookeeper//quota",
}

func (g *generator) path() string {
	switch n := g.IntN(1000); {
	case n < 700:
		return g.existing()
	case n < 880:
		return g.child()
	case n < 920:
		return "/" + pick(g, names...) + "/" + pick(g, names...) + "/" + pick(g, names...)
	case n < 960:
		if p := pick(g, special...); p != config || !g.rules.noConfig {
			return p
		}
	}
	return pick(g, weird...)
}

func (g *generator) data() *string {
	if g.chance(100) {
		return nil
	}
	s := pick(g, "", "1", "some data", "data that is somewhat longer than the other", "*300")
	if g.chance(20) {
		s = fmt.Sprintf("*%d", g.IntN(20_000))
	}
	if g.chance(1) {
		s = pick(g, "*500000", "*1000000", "*1048000", "*1048576", "*2000000")
	}
	return &s
}

// The hashes of joe:secret and ann:secret.
const joe, ann = "joe:oesAybBun9icKJjQSTRN8OBueSc=", "ann:7RJfAeIvrl4zdj6sS2fXrQHDvHM="

func (g *generator) acl() string {
	if g.chance(720) {
		return "31 world:anyone"
	}
	if g.chance(250) {
		s := pick(g, "null", "", "31 auth:", "31 auth:joe", "1 world:bob", "31 world:", "31 bogus:x", "31 digest:joe", "31 digest:a:b:c", "31 digest::", "31 digest:",
			"31 digest:a:", "31 digest::b", "31 ip:127.0.0.1/33", "31 ip:127.0.0.1/-1", "31 ip:127.0.0", "31 ip:127.0.0.1/", "31 ip:127.0.0.1/a", "31 ip:", "31 ip:localhost", "31 ip:::1/129",
			"31 ip:::1", "31 ip:300.1.1.1", "31 ip:127.0.0.1/8/8", "31 :", "31 super:", "31 super:x", "31 sasl:x", "31 x509:x", "31 world:anyone, 31 bogus:x",
			"31 auth:, 1 world:anyone", "31 world:Anyone", "31 WORLD:anyone", "31 ip:01.2.3.4", "31 ip:1.2.3.4/08", "31 ip:1.2.3.4/+8", "31 ip: 1.2.3.4")
		if g.rules.noIPv6 && strings.Contains(s, "::1") {
			s = "31 ip:1.2.3.4"
		}
		if g.rules.alwaysReadable && s != "null" && s != "" {
			s += ", 1 world:anyone"
		}
		return s
	}
	perms := pick[int32](g, 0, 1, 2, 4, 8, 16, 31, 31, 30, 29, 15, 7, 3, 32, 63, -1, 27, 23)
	who := pick(g, "world:anyone", "world:anyone", "digest:"+joe, "digest:"+ann, "auth:", "ip:127.0.0.1", "ip:127.0.0.0/8", "ip:10.0.0.0/8", "ip:0.0.0.0/0")
	s := fmt.Sprintf("%d %s", perms, who)
	if g.chance(300) {
		s += ", " + fmt.Sprintf("%d %s", pick[int32](g, 1, 31, 2, 4, 12), pick(g, "world:anyone", "digest:"+joe, who, "ip:127.0.0.1"))
	}
	if g.chance(100) {
		s += ", " + s
	}
	if g.rules.alwaysReadable {
		s += ", 1 world:anyone"
	}
	return s
}

func (g *generator) version(now int32) int32 {
	switch n := g.IntN(100); {
	case n < 45:
		return -1
	case n < 85:
		return now
	}
	return pick(g, now+1, now-1, 0, 7, -2, 1<<31-1, -1<<31)
}

// request makes one of a client's.
func (g *generator) request(c int) request {
	if g.limited && g.chance(120) {
		return g.quota()
	}
	r := g.wellFormed(c)
	if g.chance(20) && r.Op != "createTTL" {
		g.damage(&r)
	}
	g.odd(&r)
	return r
}

// damage makes another record of a request. An operation that closes the connection if it is refused is
// left alone, and what a damaged createTTL may do to Apache is known.
func (g *generator) damage(r *request) {
	if r.closes() {
		return
	}
	switch r.Op {
	case "auth", "closeSession", "ping", "whoAmI", "sync", "sasl", "multi", "multiRead":
		if r.Op == "sync" || r.Op == "multi" || r.Op == "multiRead" {
			r.Cut = 1 + g.IntN(12)
		}
		return
	}
	switch g.IntN(3) {
	case 0:
		r.Cut = 1 + g.IntN(20)
	case 1:
		r.Extra = "extra"
	case 2:
		if r.Op != "setWatches" && r.Op != "setWatches2" {
			r.Null = true
		}
	}
}

func (g *generator) wellFormed(c int) request {
	switch n := g.IntN(1000); {
	case n < 260:
		return g.create(c, false)
	case n < 350:
		return g.remove()
	case n < 450:
		return g.setData()
	case n < 510:
		return request{Op: "exists", Path: g.path(), Watch: g.chance(600)}
	case n < 580:
		return request{Op: "getData", Path: g.path(), Watch: g.chance(600)}
	case n < 610:
		return request{Op: "getChildren", Path: g.path(), Watch: g.chance(600)}
	case n < 650:
		return request{Op: "getChildren2", Path: g.path(), Watch: g.chance(600)}
	case n < 680:
		return request{Op: "getACL", Path: g.path()}
	case n < 740:
		return g.setACL()
	case n < 750:
		r := request{Op: "sync", Path: g.path()}
		if r.Path == astral {
			r.Path = "/"
		}
		return r
	case n < 760:
		return request{Op: "ping"}
	case n < 850:
		return g.multi(c)
	case n < 862:
		r := request{Op: "multiRead"}
		for range g.IntN(5) {
			r.Ops = append(r.Ops, request{Op: pick(g, "getData", "getChildren"), Path: g.path(), Watch: g.chance(300)})
		}
		if g.chance(150) {
			r.Ops = slices.Insert(r.Ops, g.IntN(len(r.Ops)+1), request{Op: pick(g, "exists", "getACL", "getChildren2", "check", "delete", "op 99"), Path: g.existing(), Version: -1})
		}
		return r
	case n < 870:
		return request{Op: "getEphemerals", Path: pick(g, "/", "", "/a", " ", g.path())}
	case n < 878:
		return request{Op: "getAllChildrenNumber", Path: g.path()}
	case n < 908:
		if g.rules.oneMode {
			return request{Op: "exists", Path: g.path(), Watch: true}
		}
		return request{Op: "addWatch", Path: g.path(), Type: pick[int32](g, 0, 0, 0, 1, 1, 1, 1, 2, -1)}
	case n < 928:
		t := pick[int32](g, 1, 2, 3, 3, 4, 5, 0, 6, -1)
		if g.rules.noWatcherChecks {
			return request{Op: "whoAmI"}
		}
		return request{Op: pick(g, "removeWatches", "checkWatches"), Path: g.path(), Type: t}
	case n < 946:
		return g.setWatches()
	case n < 966:
		return g.auth()
	case n < 974:
		return request{Op: "whoAmI"}
	case n < 976:
		return g.reconfig()
	case n < 978:
		token := pick(g, "", "token") // Apache dies of a null one; SASL is not in this release
		return request{Op: "sasl", Data: &token}
	case n < 980:
		r := request{Op: pick(g, "check", "op 10", "op 108", "error", "notification"), Path: g.existing(), Version: -1}
		if r.Op == "check" && g.rules.noLoneCheck {
			r.Op = "op 108"
		}
		return r
	case n < 985:
		return request{Op: "closeSession"}
	}
	return g.create(c, false)
}

func (g *generator) create(c int, inMulti bool) request {
	r := request{Op: pick(g, "create", "create", "create", "create2", "create2", "createContainer", "createTTL"), Path: g.child(), Data: g.data(), ACL: g.acl()}
	if g.chance(150) {
		r.Path = g.path()
	}
	r.Flags = pick[int32](g, 0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4)
	if g.chance(30) {
		r.Flags = pick[int32](g, 5, 6, 7, -1, 1<<31-1, -1<<31)
	}
	switch {
	case r.Op == "createContainer" && (!g.chance(100) || r.Flags == 1 || r.Flags == 3):
		// docs/compatibility.md: one with an ephemeral flag is an ephemeral to what comes close behind it.
		r.Flags = 4
	case r.Op == "createTTL":
		r.Flags = pick[int32](g, 5, 6)
		r.TTL = pick[int64](g, 1<<40-1, 1<<39, 100_000_000)
		if g.chance(150) {
			r.TTL = pick[int64](g, 0, -1, 1<<40, -1<<63, 1<<63-1)
		}
		if g.chance(100) {
			// Not negative: docs/compatibility.md says what Apache dies of.
			r.Flags, r.TTL = pick[int32](g, 0, 1, 2, 3, 4), pick[int64](g, 0, 1, 1<<40)
		}
	}
	if (r.Flags == 2 || r.Flags == 3 || r.Flags == 6) && g.chance(150) {
		r.Path = strings.TrimSuffix(g.existing(), "/") + "/" // the counter is the whole name
	}
	if inMulti && g.rules.noBadMulti {
		if r.Op == "createTTL" {
			r.Flags = pick[int32](g, 5, 6)
		} else if r.Op == "createContainer" {
			r.Flags = 4
		} else if r.Flags < 0 || r.Flags > 4 {
			r.Flags = 0
		}
		if r.ACL == "null" {
			r.ACL = ""
		}
	}
	g.created(c, &r)
	return r
}

// created takes note of a create that is likely to succeed.
func (g *generator) created(c int, r *request) {
	path := r.Path
	p := g.nodes[parent(path)]
	if p == nil || p.owner != 0 || r.Flags < 0 || r.Flags > 6 || slices.Contains(weird, path) {
		return
	}
	if r.Flags == 2 || r.Flags == 3 || r.Flags == 6 {
		path += fmt.Sprintf("%010d", p.creates)
	}
	if g.nodes[path] != nil || strings.HasSuffix(path, "/") {
		return
	}
	p.creates++
	p.children++
	n := &guess{}
	if (r.Flags == 1 || r.Flags == 3) && r.Op != "createContainer" {
		n.owner = c + 1
	}
	g.nodes[path] = n
}

func (g *generator) remove() request {
	r := request{Op: "delete", Path: g.path(), Version: -1}
	if n := g.nodes[r.Path]; n != nil {
		r.Version = g.version(n.version)
		if (r.Version == -1 || r.Version == n.version) && n.children == 0 && r.Path != "/" {
			g.delete(r.Path)
		}
	} else {
		r.Version = g.version(0)
	}
	return r
}

func (g *generator) setData() request {
	r := request{Op: "setData", Path: g.path(), Data: g.data(), Version: -1}
	if n := g.nodes[r.Path]; n != nil {
		if r.Path != "/" || g.chance(100) {
			r.Version = g.version(n.version)
		}
		if r.Version == -1 || r.Version == n.version {
			n.version++
		}
	}
	return r
}

func (g *generator) setACL() request {
	r := request{Op: "setACL", Path: g.path(), ACL: g.acl(), Version: -1}
	if (r.Path == "/" || strings.HasPrefix(r.Path, "/zookeeper")) && g.chance(800) {
		r.ACL = "31 world:anyone" // else soon nobody may do anything
	} else if g.chance(400) {
		r.ACL = "31 world:anyone"
	}
	if n := g.nodes[r.Path]; n != nil {
		r.Version = g.version(n.aversion)
		if r.Version == -1 || r.Version == n.aversion {
			n.aversion++
		}
	}
	return r
}

func (g *generator) multi(c int) request {
	r := request{Op: "multi"}
	if g.chance(20) {
		return r // an empty one
	}
	if g.chance(10) {
		r.Ops = g.many(c)
	}
	for range 1 + g.IntN(6) {
		switch n := g.IntN(100); {
		case n < 40:
			r.Ops = append(r.Ops, g.create(c, true))
		case n < 60:
			r.Ops = append(r.Ops, g.remove())
		case n < 80:
			r.Ops = append(r.Ops, g.setData())
		default:
			o := request{Op: "check", Path: g.path(), Version: -1}
			if k := g.nodes[o.Path]; k != nil {
				o.Version = g.version(k.version)
			}
			r.Ops = append(r.Ops, o)
		}
	}
	if g.chance(30) && !g.rules.noBadMulti {
		r.Ops = slices.Insert(r.Ops, g.IntN(len(r.Ops)+1), request{Op: pick(g, "getData", "ping", "setACL", "multi", "op 99"), Path: g.existing()})
	}
	return r
}

func (g *generator) setWatches() request {
	r := request{Op: pick(g, "setWatches", "setWatches2"), Back: pick[int64](g, 0, 1, 2, 5, 10, 1000, -1000, 1<<62)}
	for i := range 5 {
		var list []string
		if i > 2 && g.rules.oneMode {
			break
		}
		for range g.IntN(3) {
			p := g.path()
			if p != astral && !strings.ContainsAny(p, " \u0085\u00a0") {
				list = append(list, p)
			}
		}
		r.Lists = append(r.Lists, strings.Join(list, " "))
	}
	return r
}

func (g *generator) auth() request {
	r := request{Op: "auth", Scheme: "digest"}
	login := pick(g, "joe:secret", "joe:secret", "ann:secret", "ann:secret", "joe", "joe:", ":", "joe:a:b", "")
	if g.chance(30) {
		login = superLogin
	}
	r.Data = &login
	if g.chance(100) {
		r.Scheme = pick(g, "ip", "ip", "world", "bogus", "auth", "super", "sasl", "x509", "")
	}
	if g.chance(20) {
		r.Data = nil
	}
	return r
}
