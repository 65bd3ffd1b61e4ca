package sim

import (
	"math/rand/v2"
	"slices"
)

// Clients that vanish, in some runs: whoever leaves a server, for another or for good, does not say so, as when a cable is
// pulled or a firewall forgets a connection. The server has to find it out, and what it then does must not hurt
// a client that has long been elsewhere. Which runs those are, and how often, is drawn from streams of their own.

// drawVanishing draws whether clients vanish. Then half of the harm is that they move, and a session lasts a few ticks:
// the server that was left finds it out before somebody ends.
func (p *plan) drawVanishing(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 42))
	if r.IntN(5) > 0 || above(vanishLine)[seed] {
		return
	}
	p.vanish = true
	p.sessionMS = int32(p.tickMS) * int32(2+r.IntN(4))
	for i := range faultKinds {
		if faultKinds[i].name == "client moves" {
			p.kinds = append(p.kinds, slices.Repeat([]int{i}, len(p.kinds))...)
		}
	}
}

// vanishes says whether a client that leaves now does so without a word.
func (c *client) vanishes() bool {
	return c.w.plan.vanish && c.w.faults && c.w.vanishRand.IntN(2) == 0
}

// hurries says whether a client that is back from a server that it left without a word ends its session at once: what it
// had asked for there may still be under way.
func (c *client) hurries() bool {
	left := c.left
	c.left = false
	return left && c.w.faults && len(c.route) == 0 && c.w.vanishRand.IntN(3) == 0
}

// vanish ends this side, and tells nobody: what the other sends is lost.
func (e *end) vanish() { e.dead, e.vanished = true, true }
