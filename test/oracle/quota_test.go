package oracle

import (
	"fmt"
	"strings"
)

// Quotas, in some of the sequences. What docs/compatibility.md says about their stats stays out of them: none is
// inside another, limits and stats come and go together, and nobody else writes the stats. And what stands close
// together in one write stays out of those sequences, since Apache looks at what is applied, not at what is prepared.

// quota makes a request about quotas.
func (g *generator) quota() request {
	of := pick(g, "/a", "/a", "/a", "/b", "/b/a", "/c/b", "/ü", "/e-")
	base := "/zookeeper/quota" + of
	limits, stats := base+"/zookeeper_limits", base+"/zookeeper_stats"
	if g.quotas[of] {
		switch n := g.IntN(10); {
		case n < 3:
			return request{Op: "setData", Path: limits, Data: g.limits(), Version: -1}
		case n < 4:
			delete(g.quotas, of)
			return request{Op: "multi", Ops: []request{{Op: "delete", Path: limits, Version: -1}, {Op: "delete", Path: stats, Version: -1}}}
		}
		return request{Op: "getData", Path: stats, Watch: g.chance(300)}
	}
	for other := range g.quotas {
		if strings.HasPrefix(of, other+"/") || strings.HasPrefix(other, of+"/") {
			return request{Op: "exists", Path: stats}
		}
	}
	g.quotas[of] = true
	r := request{Op: "multi"}
	for i := 1; i <= len(of); i++ {
		if i < len(of) && of[i] != '/' {
			continue
		}
		if p := "/zookeeper/quota" + of[:i]; !g.quotaDirs[p] {
			g.quotaDirs[p] = true
			r.Ops = append(r.Ops, request{Op: "create", Path: p, ACL: "31 world:anyone"})
		}
	}
	zero := "count=0,bytes=0"
	both := []request{
		{Op: "create", Path: limits, Data: g.limits(), ACL: "31 world:anyone"},
		{Op: pick(g, "create", "create2"), Path: stats, Data: &zero, ACL: "31 world:anyone"},
	}
	if g.chance(300) {
		both[0], both[1] = both[1], both[0]
	}
	r.Ops = append(r.Ops, both...)
	return r
}

func (g *generator) limits() *string {
	s := fmt.Sprintf("count=%d,bytes=%d=;byteHardLimit=%d;countHardLimit=%d", pick(g, -1, -1, 0, 2), pick(g, -1, -1, 0, 50), pick(g, -1, -1, 0, 10, 60, 400), pick(g, -1, 0, 1, 2, 3, 5))
	if g.chance(60) {
		// None that are not understood: a multi below those is answered as one that does not decode, of which
		// Apache's zxid is another. They are in test/conformance.
		s = pick(g, "", "countHardLimit=2", "byteHardLimit=20", "countHardLimit=1,", "countHardLimit==1", "x=1")
	}
	return &s
}
