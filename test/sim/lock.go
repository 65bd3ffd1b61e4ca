package sim

import (
	"path"
	"slices"
	"strings"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/test/history"
)

// A locker takes a lock by the usual recipe: an ephemeral sequential node, the least of which
// holds; who is not first waits for the one before it.
type locker struct {
	state lockState
	mine  string // the node
	asked int32  // xid of the request under way
	held  int64  // until when
}

type lockState uint8

const (
	lockIdle lockState = iota
	lockCreating
	lockListing
	lockWaiting // for the node before
	lockWatching
	lockHeld
	lockReleasing
)

const lockDir = "/lock"

// wants does the next step of the recipe, if it is time, and reports whether it did.
func (l *locker) wants(c *client) bool {
	r := c.w.loadRand
	switch l.state {
	case lockIdle:
		if r.IntN(12) > 0 || c.w.plan.locks == 0 || c.no > c.w.plan.locks {
			return false
		}
		if l.mine != "" {
			// Left over from a try that a lost connection ended.
			c.ask(proto.OpDelete, &proto.VersionRequest{Path: l.mine, Version: -1})
			l.mine = ""
			return true
		}
		l.state = lockCreating
		l.asked = c.ask(proto.OpCreate, &proto.CreateRequest{Path: lockDir + "/n-", ACL: jute.OpenACL(), Flags: proto.FlagEphemeralSequential}).xid
		return true
	case lockHeld:
		if c.w.now < l.held {
			return false
		}
		c.note(history.Record{Kind: history.Released, Path: lockDir})
		l.state = lockReleasing
		l.asked = c.ask(proto.OpDelete, &proto.VersionRequest{Path: l.mine, Version: -1}).xid
		return true
	}
	return false
}

// reply goes on when the request under way is answered.
func (l *locker) reply(c *client, q sent, code zkerr.Code, body []byte) {
	if l.state == lockIdle || q.xid != l.asked {
		return
	}
	switch l.state {
	case lockCreating:
		var r proto.PathResponse
		if code != zkerr.OK || proto.Unmarshal(body, &r) != nil {
			l.state = lockIdle
			if code == zkerr.NoNode {
				c.ask(proto.OpCreate, &proto.CreateRequest{Path: lockDir, ACL: jute.OpenACL()})
			}
			return
		}
		l.mine = r.Path
		l.list(c)
	case lockListing:
		var r proto.StringsResponse
		if code != zkerr.OK || proto.Unmarshal(body, &r) != nil {
			l.state = lockIdle
			return
		}
		names := slices.DeleteFunc(r.Strings, func(s string) bool { return !strings.HasPrefix(s, "n-") })
		slices.Sort(names)
		switch at := slices.Index(names, path.Base(l.mine)); at {
		case -1:
			l.state = lockIdle // it is gone: the session was
		case 0:
			l.state, l.held = lockHeld, c.w.now+c.w.loadRand.Int64N(400*ms)
			c.note(history.Record{Kind: history.Acquired, Path: lockDir})
		default:
			l.state = lockWatching
			l.asked = c.ask(proto.OpExists, &proto.ReadRequest{Path: lockDir + "/" + names[at-1], Watch: true}).xid
		}
	case lockWatching:
		if l.state = lockWaiting; code != zkerr.OK {
			l.list(c)
		}
	case lockReleasing:
		l.state, l.mine = lockIdle, ""
	}
}

func (l *locker) list(c *client) {
	l.state = lockListing
	l.asked = c.ask(proto.OpGetChildren, &proto.ReadRequest{Path: lockDir}).xid
}

// event looks again when the node before has gone.
func (l *locker) event(c *client, e proto.WatcherEvent) {
	if l.state == lockWaiting && e.Type == proto.EventNodeDeleted && strings.HasPrefix(e.Path, lockDir+"/") {
		l.list(c)
	}
}

// lost is for the end of a connection: what was under way is unknown. Who holds the lock
// does not know any more whether he does, until he hears of his session.
func (l *locker) lost(c *client) {
	switch l.state {
	case lockHeld:
		c.note(history.Record{Kind: history.Released, Path: lockDir})
		l.state = lockReleasing
	case lockWaiting:
		// The watch comes back with the next connection.
		return
	}
	l.state = lockIdle
}

// gone is for the end of the session.
func (l *locker) gone(c *client) {
	if l.state == lockHeld {
		c.note(history.Record{Kind: history.Released, Path: lockDir})
	}
	l.state, l.mine = lockIdle, ""
}
