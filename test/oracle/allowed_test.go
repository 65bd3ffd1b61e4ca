package oracle

import (
	"bytes"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// What may differ from Apache. Each entry has the sentence that says so; whatever is not here fails, and nothing of it
// holds between zkcore and zkcore. Beside these, names
// of children are sorted before they are compared (docs/compatibility.md: "names of children … sorted"),
// and so are what "auth:" stands for in an ACL and the events of the ephemerals of one session that ends: Apache
// takes all of them out of hash tables.

// wrongPasswordEvicts: docs/compatibility.md: "a wrong session password | closes the owner's connection
// first | refuses the caller, leaves the owner alone". What the stranger is answered is compared.
const wrongPasswordEvicts = "a wrong session password"

// nullPath: docs/compatibility.md: "a path that is null, in a write or a request about watches | …
// | MarshallingError, takes no zxid".
const nullPath = "a path that is null"

// setWatchesTells: docs/compatibility.md: "setWatches, of znodes that the client may not read | tells what has
// changed | tells nothing".
const setWatchesTells = "setWatches tells of what the client may not read"

// badRead: docs/compatibility.md: "a multiRead that does not decode | MarshallingError with a list of no results behind
// it, at times | MarshallingError, and nothing behind it".
const badRead = "a multiRead that does not decode"

// hide takes out of what Apache has sent the events of a setWatches that zkcore has not sent. Nothing came
// behind the setWatches in its step, so the client's right to read their znodes can be checked after it.
func (p *pair) hide(got *[2][]frame) (paths []string) {
	if len(got[0]) >= len(got[1]) || p.rules.eventsWithoutZxid || p.rules.same {
		return nil
	}
	var kept []frame
	for _, f := range got[1] {
		at := len(kept)
		if f.unasked && (at >= len(got[0]) || !bytes.Equal(f.norm, got[0][at].norm)) {
			paths = append(paths, f.path)
			p.allow(setWatchesTells)
			continue
		}
		kept = append(kept, f)
	}
	got[1] = kept
	return paths
}

// unreadable checks that both sides refuse a client to read.
func (p *pair) unreadable(c *client, path string) error {
	return both(func(i int) error {
		if !c.links[i].alive() {
			return nil
		}
		var out packet
		c.links[i].request(&out, &request{Op: "exists", Path: path}, false)
		c.links[i].request(&out, p.barrier(), true)
		if err := c.links[i].send(out); err != nil {
			return err
		}
		got, err := c.links[i].gather(nil)
		if err != nil {
			return err
		}
		if len(got) != 1 || got[0].code != zkerr.NoAuth {
			return differ("setWatches of client %d tells nothing of %q, which the client may read: %+v", c.no, path, got)
		}
		return nil
	})
}

// discount takes a zxid out of the count that only Apache has given, for a request that zkcore refuses before
// it is logged. docs/compatibility.md: "a multi that does not decode", and nullPath.
func (s *side) discount(r *request, h *proto.ReplyHeader) {
	undecodable := h.Err == zkerr.MarshallingError && (r.op() == proto.OpMulti || s.rules.undecodableTakesZxid && r.writes())
	null := r.Null && r.writes() && r.op() != proto.OpReconfig
	if s.apache && h.Zxid > s.last && (undecodable || null) {
		s.extra = append(s.extra, h.Zxid)
	}
}

// allows says why two frames that differ may do so; "" is that they may not.
func (r *rules) allows(ours, theirs *frame) string {
	if !r.same && ours.req != nil && ours.req == theirs.req && ours.req.Null && ours.code == zkerr.MarshallingError {
		return nullPath
	}
	if !r.same && ours.req != nil && ours.req == theirs.req && ours.req.op() == proto.OpMultiRead && ours.code == zkerr.MarshallingError && bytes.HasPrefix(theirs.norm, ours.norm) {
		return badRead // the header is the same
	}
	return ""
}
