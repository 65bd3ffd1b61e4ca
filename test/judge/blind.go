package judge

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// What follows needs nobody to have looked at what was committed, and does not
// trust who has.

// shown is what one reply says of a znode.
type shown struct {
	op   *op
	path string
	stat *proto.Stat
	data []byte
	has  bool // data is what the znode holds
	kids []string
	list bool // kids are its children
}

// shows lists what a reply says of znodes; gone has the paths that it says there
// is nothing at.
func (o *op) shows() (list []shown, gone []string) {
	if !o.answered() || o.zxid < 0 {
		return nil, nil
	}
	switch o.op {
	case proto.OpExists, proto.OpGetData, proto.OpGetChildren2, proto.OpGetACL, proto.OpGetChildren, proto.OpGetAllChildrenNum:
		var q proto.PathRequest // what they all begin with
		if proto.Unmarshal(o.body, &q) != nil {
			return nil, nil
		}
		q.Path = root(q.Path)
		switch o.code {
		case zkerr.OK:
		case zkerr.NoNode:
			return nil, []string{q.Path}
		default:
			return nil, nil
		}
		rec := proto.NewResponse(o.op)
		if proto.Unmarshal(o.out, rec) != nil {
			return nil, nil
		}
		s := shown{op: o, path: q.Path}
		switch p := rec.(type) {
		case *proto.Stat:
			s.stat = p
		case *proto.GetDataResponse:
			s.stat, s.data, s.has = &p.Stat, p.Data, true
		case *proto.GetChildren2Response:
			s.stat, s.kids, s.list = &p.Stat, p.Children, true
		case *proto.GetACLResponse:
			s.stat = &p.Stat
		default:
			return nil, nil
		}
		return []shown{s}, nil
	case proto.OpMultiRead:
		q := proto.MultiRequest{Read: true}
		var p proto.MultiResponse
		if o.code != zkerr.OK || proto.Unmarshal(o.body, &q) != nil || proto.Unmarshal(o.out, &p) != nil || len(p.Results) != len(q.Ops) {
			return nil, nil
		}
		for i := range p.Results {
			r, path := &p.Results[i], root(q.Ops[i].Path)
			switch {
			case r.Op == proto.OpGetData:
				list = append(list, shown{op: o, path: path, stat: &r.Stat, data: r.Data, has: true})
			case r.Op == proto.OpError && r.Err == zkerr.NoNode:
				gone = append(gone, path)
			}
		}
	}
	if o.done() {
		for _, t := range o.touches() {
			if t.stat != nil && t.kind != proto.OpSetACL {
				list = append(list, shown{op: o, path: t.path, stat: t.stat})
			}
		}
	}
	return list, gone
}

// root is the path as writes have it: reads may call the root "".
func root(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// stats: what a Stat says of itself makes sense, and it is not ahead of the state
// that it was taken from (I11).
func (c *court) stats(*Options) {
	for _, o := range c.ops {
		list, _ := o.shows()
		for i := range list {
			s := &list[i]
			st := s.stat
			c.v.Counts["I11 stats"]++
			wrong := ""
			switch {
			case st.Czxid > o.zxid || st.Mzxid > o.zxid || st.Pzxid > o.zxid:
				wrong = "is of later than the reply"
			case st.Czxid > st.Mzxid || st.Czxid > st.Pzxid:
				if s.path != "/zookeeper/config" {
					wrong = "was changed before it was created"
				}
			case s.has && int(st.DataLength) != len(s.data):
				wrong = fmt.Sprintf("comes with %d bytes", len(s.data))
			case s.list && int(st.NumChildren) != len(s.kids):
				wrong = fmt.Sprintf("comes with %d children", len(s.kids))
			}
			if wrong != "" {
				c.v.add("I11", fmt.Sprintf("the stat of %s %s: %+v", s.path, wrong, *st), o.call, o.reply)
			}
		}
	}
}

// witnessless: a read shows the latest of the writes that were answered up to its
// zxid, or a later one that nobody was answered (I02, I07), and what was created
// and never deleted is there (I13).
func (c *court) witnessless(*Options) {
	byPath := map[string][]*touch{}
	var loose []*touch // creates that nobody knows the path of
	deletes := map[string][]*touch{}
	list := c.touched()
	for i := range list {
		t := &list[i]
		switch {
		case t.void:
		case t.kind == proto.OpDelete:
			deletes[t.path] = append(deletes[t.path], t)
		case t.kind == proto.OpCreate || t.kind == proto.OpSetData:
			if t.sequential() && !t.done {
				loose = append(loose, t)
			} else {
				byPath[t.path] = append(byPath[t.path], t)
			}
		}
	}
	for _, o := range c.ops {
		shows, gone := o.shows()
		for i := range shows {
			c.plausible(&shows[i], byPath[shows[i].path], loose)
		}
		for _, path := range gone {
			c.lost(o, path, byPath[path], deletes[path])
		}
	}
}

func (c *court) plausible(s *shown, writes, loose []*touch) {
	if strings.HasPrefix(s.path, "/zookeeper") || s.path == "/" {
		return
	}
	c.v.Counts["I02 reads without a witness"]++
	var of *touch
	unknown := false
	m := s.stat.Mzxid
	for _, t := range writes {
		switch {
		case !t.done:
			unknown = unknown || !s.has || bytes.Equal(t.data, s.data)
		case t.op.zxid == m:
			of = t // in a multi the last one counts
		case t.op.zxid > m && t.op.zxid <= s.op.zxid:
			c.v.add("I02", fmt.Sprintf("%s shows %s as of 0x%x, and %s was answered at 0x%x", s.op, s.path, m, t.op, t.op.zxid),
				t.op.call, t.op.reply, s.op.call, s.op.reply)
			return
		}
	}
	for _, t := range loose {
		unknown = unknown || t.mine(s.path)
	}
	switch {
	case of == nil && !unknown:
		c.v.add("I02", fmt.Sprintf("%s shows %s as of 0x%x, and nobody has written that", s.op, s.path, m), s.op.call, s.op.reply)
	case of != nil && s.has && !bytes.Equal(of.data, s.data):
		c.v.add("I02", fmt.Sprintf("%s shows in %s as of 0x%x what %s has not written", s.op, s.path, m, of.op), of.op.call, s.op.call, s.op.reply)
	}
}

// lost: path is not there. Somebody may have deleted it.
func (c *court) lost(o *op, path string, writes, deletes []*touch) {
	for _, t := range writes {
		if !t.done || t.kind != proto.OpCreate || t.op.zxid > o.zxid || t.goes() {
			continue
		}
		c.v.Counts["I13 missing znodes"]++
		excused := slices.ContainsFunc(deletes, func(d *touch) bool {
			return !d.done || d.op.zxid >= t.op.zxid && d.op.zxid <= o.zxid
		})
		if !excused {
			c.v.add("I13", fmt.Sprintf("%s finds no %s at 0x%x, and it was created at 0x%x", o, path, o.zxid, t.op.zxid), t.op.call, t.op.reply, o.call, o.reply)
		}
	}
}

// ownEphemerals: a client whose session goes on finds its ephemerals (I21), unless
// somebody has deleted them.
func (c *court) ownEphemerals(*Options) {
	deleted := map[string]bool{}
	made := map[*session]map[string]*touch{}
	list := c.touched()
	for i := range list {
		switch t := &list[i]; {
		case t.kind == proto.OpDelete && !t.void:
			deleted[t.path] = true
		case t.kind == proto.OpCreate && t.done && t.flags.Ephemeral() && t.mode != proto.OpCreateContainer:
			s := t.op.conn.session
			if made[s] == nil {
				made[s] = map[string]*touch{}
			}
			made[s][t.path] = t
		}
	}
	for _, o := range c.ops {
		if !o.answered() || o.conn.session == nil {
			continue
		}
		shows, gone := o.shows()
		for _, path := range gone {
			t := made[o.conn.session][path]
			if t == nil || t.op.zxid > o.zxid || deleted[path] {
				continue
			}
			c.v.add("I21", fmt.Sprintf("%s finds no %s, an ephemeral of its own session from 0x%x", o, path, t.op.zxid), t.op.call, t.op.reply, o.call, o.reply)
		}
		for i := range shows {
			s := &shows[i]
			if made[o.conn.session][s.path] != nil {
				c.v.Counts["I21 own ephemerals"]++
			}
			// And no other session's that this client was told is over.
			if owner := c.sessions[s.stat.EphemeralOwner]; owner != nil && owner != o.conn.session {
				for _, cn := range c.conns {
					if cn.refused >= 0 && cn.client == o.conn.client && cn.asked == owner.id && cn.refused < o.call && !cn.shownWrong && !c.unknown(cn) {
						c.v.add("I21", fmt.Sprintf("%s finds %s of session 0x%x, which its client was told is over", o, s.path, owner.id), cn.refused, o.call, o.reply)
					}
				}
			}
		}
	}
}

// sequences: numbers under a parent rise with the zxid (I10).
func (c *court) sequences(*Options) {
	type made struct {
		t      *touch
		number int32
	}
	byParent := map[string][]made{}
	goes := map[string]bool{} // parents that may have been made anew
	list := c.touched()
	for i := range list {
		t := &list[i]
		switch {
		case t.kind == proto.OpDelete && !t.void:
			goes[t.path] = true
		case t.kind == proto.OpCreate && t.goes() && !t.void:
			goes[t.path] = true
		}
		if t.kind != proto.OpCreate || !t.done || !t.sequential() || len(t.path) < 10 {
			continue
		}
		digits := t.path[len(t.path)-10:]
		if len(t.path) > 10 && t.path[len(t.path)-11] == '-' && digits[0] == '2' {
			digits = "-" + digits // -2147483648 is one longer than the others
		}
		n, err := strconv.ParseInt(digits, 10, 32)
		if err != nil {
			c.v.add("I10", fmt.Sprintf("%s is answered with %q, which ends in no number", t.op, t.path), t.op.call, t.op.reply)
			continue
		}
		parent := t.path[:strings.LastIndex(t.path, "/")]
		byParent[parent] = append(byParent[parent], made{t, int32(n)})
	}
	for parent, all := range byParent {
		if goes[parent] {
			continue
		}
		slices.SortStableFunc(all, func(a, b made) int {
			return cmp.Or(cmp.Compare(a.t.op.zxid, b.t.op.zxid), cmp.Compare(a.t.part, b.t.part))
		})
		for i := 1; i < len(all); i++ {
			c.v.Counts["I10 numbers"]++
			if a, b := all[i-1], all[i]; b.number-a.number <= 0 {
				c.v.add("I10", fmt.Sprintf("%s at 0x%x comes behind %s at 0x%x", b.t.path, b.t.op.zxid, a.t.path, a.t.op.zxid),
					a.t.op.call, a.t.op.reply, b.t.op.call, b.t.op.reply)
			}
		}
	}
}
