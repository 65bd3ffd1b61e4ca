package recorded

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// A comparison is of one frame with the recorded one.
type comparison struct {
	r     *Replay
	nottl bool // its zxids are another server's
	wrong []error
}

func (c *comparison) errorf(format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Errorf(format, args...))
}

// connected compares answers to a greeting.
func (c *comparison) connected(p *peer, got, want []byte) {
	var a, b proto.ConnectResponse
	if err := proto.Unmarshal(got, &a); err != nil {
		c.errorf("no ConnectResponse: %x: %v", got, err)
		return
	}
	if err := proto.Unmarshal(want, &b); err != nil {
		c.errorf("the recorded ConnectResponse: %v", err)
		return
	}
	if len(got) != len(want) || a.TimeoutMS != b.TimeoutMS || a.ReadOnly != b.ReadOnly || (a.SessionID == 0) != (b.SessionID == 0) {
		c.errorf("%+v, want as %+v", a, b)
	}
	if old := c.r.sessions[b.SessionID]; old != nil && old.session != a.SessionID {
		c.errorf("another session: 0x%x, want 0x%x", a.SessionID, old.session)
	}
	if a.SessionID == 0 {
		if string(a.Passwd) != string(b.Passwd) {
			c.errorf("password %x, want zeros", a.Passwd)
		}
		return
	}
	if apaches := proto.SessionPassword(a.SessionID); !c.r.OwnPasswords && string(a.Passwd) != string(apaches[:]) {
		c.errorf("password %x, want %x", a.Passwd, apaches)
	}
	p.session, p.passwd = a.SessionID, a.Passwd
	c.r.sessions[b.SessionID] = p
}

// frame compares replies or events; ops are those that wait for replies, and those that still do.
func (c *comparison) frame(got, want []byte, ops []proto.Op) []proto.Op {
	var a, b proto.ReplyHeader
	if err := proto.Unmarshal(got, &a); err != nil {
		c.errorf("no reply: %x: %v", got, err)
		return ops
	}
	if err := proto.Unmarshal(want, &b); err != nil {
		c.errorf("the recorded reply: %v", err)
		return ops
	}
	if a.Xid != b.Xid || a.Err != b.Err {
		c.errorf("xid %d, %v, want %d, %v", a.Xid, a.Err, b.Xid, b.Err)
		return ops
	}
	c.zxid(a.Zxid, b.Zxid)
	got, want = got[proto.ReplyHeaderSize:], want[proto.ReplyHeaderSize:]
	var ra, rb proto.Record
	if b.Xid == proto.XidNotification {
		ra, rb = new(proto.WatcherEvent), new(proto.WatcherEvent)
	} else {
		if len(ops) == 0 {
			c.errorf("a reply to nothing: %x", got)
			return ops
		}
		if b.Err == zkerr.OK {
			ra, rb = proto.NewResponse(ops[0]), proto.NewResponse(ops[0])
		}
		ops = ops[1:]
	}
	if ra == nil {
		if string(got) != string(want) {
			c.errorf("behind the header %x, want %x", got, want)
		}
		return ops
	}
	if err := proto.Unmarshal(got, ra); err != nil {
		c.errorf("%T: %v", ra, err)
		return ops
	}
	if err := proto.Unmarshal(want, rb); err != nil {
		c.errorf("the recorded %T: %v", rb, err)
		return ops
	}
	if string(ra.Append(nil)) != string(got) {
		c.errorf("more bytes than the record has: %x", got)
	}
	c.level(ra, rb)
	if string(ra.Append(nil)) != string(rb.Append(nil)) {
		c.errorf("%+v\n\twant %+v", ra, rb)
	}
	return ops
}

// zxid takes note of a pair: what is the same there is the same here.
func (c *comparison) zxid(here, there int64) {
	if here <= 0 || there <= 0 {
		if here != there {
			c.errorf("zxid %d, want %d", here, there)
		}
		return
	}
	if c.nottl {
		return
	}
	if was, ok := c.r.zxids[there]; ok && was != here {
		c.errorf("zxid 0x%x, which was 0x%x before: want 0x%x", here, was, there)
		return
	}
	c.r.zxids[there] = here
}

// level makes equal what may differ.
func (c *comparison) level(ra, rb proto.Record) {
	switch a := ra.(type) {
	case *proto.Stat:
		c.stat(a, rb.(*proto.Stat))
	case *proto.Create2Response:
		c.stat(&a.Stat, &rb.(*proto.Create2Response).Stat)
	case *proto.GetDataResponse:
		c.stat(&a.Stat, &rb.(*proto.GetDataResponse).Stat)
	case *proto.GetACLResponse:
		c.stat(&a.Stat, &rb.(*proto.GetACLResponse).Stat)
	case *proto.StringsResponse:
		slices.Sort(a.Strings)
		slices.Sort(rb.(*proto.StringsResponse).Strings)
	case *proto.GetChildren2Response:
		b := rb.(*proto.GetChildren2Response)
		slices.Sort(a.Children)
		slices.Sort(b.Children)
		c.stat(&a.Stat, &b.Stat)
	case *proto.WhoAmIResponse:
		by := func(a, b proto.ClientInfo) int { return strings.Compare(a.AuthScheme+a.User, b.AuthScheme+b.User) }
		slices.SortFunc(a.ClientInfo, by)
		slices.SortFunc(rb.(*proto.WhoAmIResponse).ClientInfo, by)
	case *proto.MultiResponse:
		b := rb.(*proto.MultiResponse)
		if len(a.Results) != len(b.Results) {
			return
		}
		for i := range a.Results {
			c.stat(&a.Results[i].Stat, &b.Results[i].Stat)
			slices.Sort(a.Results[i].Children)
			slices.Sort(b.Results[i].Children)
		}
	}
}

func (c *comparison) stat(a, b *proto.Stat) {
	for _, z := range []struct{ a, b *int64 }{{&a.Czxid, &b.Czxid}, {&a.Mzxid, &b.Mzxid}, {&a.Pzxid, &b.Pzxid}} {
		c.zxid(*z.a, *z.b)
		*z.a = *z.b
	}
	for _, z := range []struct{ a, b *int64 }{{&a.Ctime, &b.Ctime}, {&a.Mtime, &b.Mtime}} {
		if (*z.a == 0) != (*z.b == 0) {
			c.errorf("time %d, want %d", *z.a, *z.b)
		}
		*z.a = *z.b
	}
	if b.EphemeralOwner != 0 {
		if p := c.r.sessions[b.EphemeralOwner]; p == nil || p.session != a.EphemeralOwner {
			c.errorf("owner 0x%x, want that of 0x%x", a.EphemeralOwner, b.EphemeralOwner)
		}
		a.EphemeralOwner = b.EphemeralOwner
	}
}
