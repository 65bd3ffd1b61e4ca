package oracle

import (
	"slices"
	"strings"
)

// What clients send that is odd, and that a server has to do something about: numbers of requests that mean something
// else, bytes behind what has none, single bytes that are wrong, and greetings of other clients.

// odd makes a request odd, at times.
func (g *generator) odd(r *request) {
	if g.chance(30) && r.Op != "ping" { // a ping is always answered as -2
		r.Xid = pick[int32](g, -2, -3, -4, -8, 1<<31-1, -1<<31)
	}
	switch r.Op {
	case "ping", "whoAmI", "closeSession", "auth":
		if g.chance(60) {
			r.Extra = "extra"
		}
	}
	if r.Op == "auth" && g.chance(100) {
		r.Type = pick[int32](g, 1, 100, -1)
	}
	if g.chance(20) {
		g.flip(r)
	}
}

// flip makes one byte of a record another. What is left out has differences that docs/compatibility.md knows, when it
// is taken for something else: TTLs that no server survives, containers that are ephemerals, characters that are none.
func (g *generator) flip(r *request) {
	switch r.Op {
	case "create", "create2", "setACL":
		if g.rules.alwaysReadable {
			return
		}
	case "delete", "setData", "exists", "getData", "getChildren", "getChildren2", "getACL", "getAllChildrenNumber", "getEphemerals", "addWatch", "removeWatches", "checkWatches":
	default:
		return
	}
	if r.Null || r.Cut > 0 || r.closes() || !ascii(r.Path) || (g.rules.oneMode || g.rules.noWatcherChecks) && strings.HasSuffix(r.Op, "Watch") {
		return
	}
	r.At = 1 + g.IntN(40)
	r.Byte = byte(pick(g, 0, 1, 2, 3, 5, 31, '/', '.', 'a', 0x7f))
	if r.At == 1 && g.chance(500) {
		r.Byte = pick[byte](g, 0x80, 0xff) // a length below zero
	}
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c >= 0x7f })
}

// greeting makes that of another client, at times.
func (g *generator) greeting(st *step) {
	st.ReadOnly = !st.NoReadOnly && g.chance(150)
	if g.chance(50) {
		st.Protocol = pick[int32](g, 1, -1, 1<<31-1)
	}
	if st.Kind == kindOpen && g.chance(150) {
		st.Passwd = pick(g, "null", "empty", "short", "long")
	}
}

// passwd is what somebody without a session shows.
func (st *step) passwd() []byte {
	switch st.Passwd {
	case "null":
		return nil
	case "empty":
		return []byte{}
	case "short":
		return []byte("short")
	case "long":
		return slices.Repeat([]byte("long"), 50)
	}
	return make([]byte, 16)
}

// reconfig asks for other members, in any of the ways.
func (g *generator) reconfig() request {
	return request{Op: "reconfig", Path: "server.9=127.0.0.1:1:2;3", Lists: pick(g, nil, []string{"leave"}, []string{"members"}, []string{"leave", "members"}, []string{"nobody"}), Version: pick[int32](g, -1, -1, 0, 7)}
}

// many makes a multi long: what is in it most often, over and over.
func (g *generator) many(c int) []request {
	var ops []request
	for range 20 + g.IntN(100) {
		switch g.IntN(3) {
		case 0:
			ops = append(ops, request{Op: "check", Path: "/", Version: -1})
		case 1:
			r := request{Op: "create", Path: "/" + pick(g, names...), ACL: "31 world:anyone", Flags: pick[int32](g, 2, 3)}
			g.created(c, &r)
			ops = append(ops, r)
		default:
			ops = append(ops, request{Op: "setData", Path: "/", Version: -1})
		}
	}
	return ops
}
