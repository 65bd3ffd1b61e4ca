package sim

import "math/rand/v2"

// Local sessions, in some runs: only the server that opened one knows it, so that its client has to come back to that one,
// and must begin anew elsewhere. Whether there are any is drawn from a stream of its own, and so is where clients go.

// ofLocals is what the judge counts of them, in the runs that have any.
var ofLocals = []string{"local sessions upgraded", "local sessions closed", "local sessions welcomed back", "writes of local sessions", "refused, maybe local"}

// drawLocal draws whose sessions are.
func (p *plan) drawLocal(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 20))
	if r.IntN(5) > 0 || above(localsLine)[seed] {
		return
	}
	p.local, p.upgrades = true, r.IntN(4) > 0
	if !p.upgrades {
		p.locks = 0 // they are made of ephemerals
	}
}

// home is the server that a client goes to for the sake of its session, 0 if it may be any.
func (c *client) home() int {
	if !c.w.plan.local || c.session == 0 || c.w.localRand.IntN(3) == 0 {
		return 0
	}
	return c.server
}
