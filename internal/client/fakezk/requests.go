package fakezk

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// request carries out one frame.
func (c *conn) request(b []byte) {
	s := c.s
	d := jute.NewDecoder(b)
	xid, op := d.Int(), proto.Op(d.Int())
	s.frames = append(s.frames, op)
	body := d.Rest()
	switch op {
	case proto.OpPing:
		c.reply(proto.XidPing, zkerr.OK, nil)
	case proto.OpCloseSession:
		s.zxid++
		s.end(c.session)
		c.reply(xid, zkerr.OK, nil)
		c.done = true
	case proto.OpAuth:
		var req proto.AuthPacket
		if proto.Unmarshal(body, &req) != nil || req.Scheme != "digest" {
			c.reply(xid, zkerr.AuthFailed, nil)
			c.done = true
			return
		}
		user, _, _ := strings.Cut(string(req.Auth), ":")
		c.identity = append(c.identity, "digest:"+user)
		c.reply(xid, zkerr.OK, nil)
	case proto.OpSetWatches, proto.OpSetWatches2:
		c.setWatches(op, body)
		c.reply(xid, zkerr.OK, nil)
	case proto.OpMulti:
		c.multi(xid, body)
	case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL, proto.OpDelete, proto.OpSetData, proto.OpSetACL:
		s.zxid++
		out, code := c.write(op, body)
		c.reply(xid, code, out)
	default:
		out, code := c.read(op, body)
		c.reply(xid, code, out)
	}
}

func (c *conn) write(op proto.Op, body []byte) ([]byte, zkerr.Code) {
	switch op {
	case proto.OpDelete:
		var req proto.VersionRequest
		if proto.Unmarshal(body, &req) != nil {
			return nil, zkerr.MarshallingError
		}
		return nil, c.delete(req.Path, req.Version)
	case proto.OpSetData:
		var req proto.SetDataRequest
		if proto.Unmarshal(body, &req) != nil {
			return nil, zkerr.MarshallingError
		}
		code := c.set(req.Path, req.Data, req.Version)
		if code != zkerr.OK {
			return nil, code
		}
		st := c.s.stat(req.Path)
		return st.Append(nil), code
	case proto.OpSetACL:
		var req proto.SetACLRequest
		if proto.Unmarshal(body, &req) != nil {
			return nil, zkerr.MarshallingError
		}
		return c.setACL(&req)
	}
	var req proto.CreateTTLRequest
	var err error
	if op == proto.OpCreateTTL {
		err = proto.Unmarshal(body, &req)
	} else {
		err = proto.Unmarshal(body, &req.CreateRequest)
	}
	if err != nil {
		return nil, zkerr.MarshallingError
	}
	path, code := c.create(&req.CreateRequest)
	if code != zkerr.OK {
		return nil, code
	}
	out := jute.AppendString(nil, path)
	if op != proto.OpCreate {
		st := c.s.stat(path)
		out = st.Append(out)
	}
	return out, code
}

func (c *conn) create(req *proto.CreateRequest) (string, zkerr.Code) {
	s := c.s
	acl, code := c.fixACL(req.ACL)
	if code != zkerr.OK {
		return "", code
	}
	up := s.nodes[parent(req.Path)]
	if up == nil {
		return "", zkerr.NoNode
	}
	path := req.Path
	if req.Flags.Sequential() {
		path += fmt.Sprintf("%010d", up.creates)
	}
	switch {
	case s.nodes[path] != nil:
		return "", zkerr.NodeExists
	case up.stat.EphemeralOwner != 0:
		return "", zkerr.NoChildrenForEphemerals
	}
	n := &node{data: req.Data, acl: acl, stat: proto.Stat{Czxid: s.zxid, Mzxid: s.zxid, Pzxid: s.zxid, Ctime: 1, Mtime: 1}}
	if req.Flags.Ephemeral() {
		n.stat.EphemeralOwner = c.session
	}
	s.nodes[path] = n
	up.creates++
	up.stat.Cversion++
	up.stat.Pzxid = s.zxid
	s.fire(proto.EventNodeCreated, path)
	s.fire(proto.EventNodeChildrenChanged, parent(path))
	return path, zkerr.OK
}

// fixACL refuses what is plainly wrong and puts the connection's identities in place of "auth".
func (c *conn) fixACL(list []jute.ACL) ([]jute.ACL, zkerr.Code) {
	if len(list) == 0 {
		return nil, zkerr.InvalidACL
	}
	var fixed []jute.ACL
	for _, a := range list {
		switch a.Scheme {
		case "world", "ip":
			fixed = append(fixed, a)
		case "digest":
			if strings.Count(a.ID, ":") != 1 {
				return nil, zkerr.InvalidACL
			}
			fixed = append(fixed, a)
		case "auth":
			for _, id := range c.identity[1:] {
				scheme, user, _ := strings.Cut(id, ":")
				fixed = append(fixed, jute.ACL{Perms: a.Perms, Scheme: scheme, ID: user})
			}
		default:
			return nil, zkerr.InvalidACL
		}
	}
	return fixed, zkerr.OK
}

func (c *conn) delete(path string, version int32) zkerr.Code {
	n := c.s.nodes[path]
	switch {
	case path == "/":
		return zkerr.BadArguments
	case n == nil:
		return zkerr.NoNode
	case version != -1 && version != n.stat.Version:
		return zkerr.BadVersion
	case len(c.s.children(path)) > 0:
		return zkerr.NotEmpty
	}
	c.s.remove(path)
	return zkerr.OK
}

func (c *conn) set(path string, data []byte, version int32) zkerr.Code {
	n := c.s.nodes[path]
	switch {
	case n == nil:
		return zkerr.NoNode
	case version != -1 && version != n.stat.Version:
		return zkerr.BadVersion
	}
	n.data = data
	n.stat.Version++
	n.stat.Mzxid = c.s.zxid
	c.s.fire(proto.EventNodeDataChanged, path)
	return zkerr.OK
}

func (c *conn) setACL(req *proto.SetACLRequest) ([]byte, zkerr.Code) {
	acl, code := c.fixACL(req.ACL)
	n := c.s.nodes[req.Path]
	switch {
	case code != zkerr.OK:
		return nil, code
	case n == nil:
		return nil, zkerr.NoNode
	case req.Version != -1 && req.Version != n.stat.Aversion:
		return nil, zkerr.BadVersion
	}
	n.acl = acl
	n.stat.Aversion++
	st := c.s.stat(req.Path)
	return st.Append(nil), zkerr.OK
}

func (c *conn) read(op proto.Op, body []byte) ([]byte, zkerr.Code) {
	s := c.s
	d := jute.NewDecoder(body)
	if op == proto.OpWhoAmI {
		var res proto.WhoAmIResponse
		for _, id := range c.identity {
			scheme, user, _ := strings.Cut(id, ":")
			res.ClientInfo = append(res.ClientInfo, proto.ClientInfo{AuthScheme: scheme, User: user})
		}
		return res.Append(nil), zkerr.OK
	}
	path := d.String()
	if d.Err() != nil {
		return nil, zkerr.MarshallingError
	}
	n := s.nodes[path]
	switch op {
	case proto.OpSync:
		return jute.AppendString(nil, path), zkerr.OK
	case proto.OpAddWatch:
		c.lasting[path] = proto.AddWatchMode(d.Int())
		return jute.AppendInt(nil, 0), zkerr.OK
	case proto.OpRemoveWatches:
		_, lasting := c.lasting[path]
		if !c.data[path] && !c.child[path] && !lasting {
			return nil, zkerr.NoWatcher
		}
		delete(c.data, path)
		delete(c.child, path)
		delete(c.lasting, path)
		return nil, zkerr.OK
	case proto.OpExists:
		if d.Bool() {
			c.data[path] = true
		}
		if n == nil {
			return nil, zkerr.NoNode
		}
		st := s.stat(path)
		return st.Append(nil), zkerr.OK
	case proto.OpGetEphemerals:
		list := []string{}
		for p, n := range s.nodes {
			if n.stat.EphemeralOwner == c.session && strings.HasPrefix(p, path) {
				list = append(list, p)
			}
		}
		return jute.AppendStrings(nil, list), zkerr.OK
	}
	if n == nil {
		return nil, zkerr.NoNode
	}
	st := s.stat(path)
	switch op {
	case proto.OpGetData:
		if d.Bool() {
			c.data[path] = true
		}
		return st.Append(jute.AppendBuffer(nil, n.data)), zkerr.OK
	case proto.OpGetChildren, proto.OpGetChildren2:
		if d.Bool() {
			c.child[path] = true
		}
		out := jute.AppendStrings(nil, s.children(path))
		if op == proto.OpGetChildren2 {
			out = st.Append(out)
		}
		return out, zkerr.OK
	case proto.OpGetACL:
		return st.Append(jute.AppendACLs(nil, n.acl)), zkerr.OK
	case proto.OpGetAllChildrenNum:
		count := int32(0)
		for p := range s.nodes {
			if p != path && strings.HasPrefix(p, strings.TrimSuffix(path, "/")+"/") {
				count++
			}
		}
		return jute.AppendInt(nil, count), zkerr.OK
	}
	return nil, zkerr.Unimplemented
}

// multi tries the ops one after the other and takes all back when one fails.
func (c *conn) multi(xid int32, body []byte) {
	s := c.s
	var req proto.MultiRequest
	if proto.Unmarshal(body, &req) != nil {
		c.reply(xid, zkerr.MarshallingError, nil)
		return
	}
	s.zxid++
	before := make(map[string]*node)
	for p, n := range s.nodes {
		cp := *n
		before[p] = &cp
	}
	var res proto.MultiResponse
	failed := -1
	out := make(map[*conn]int)
	for other := range s.conns {
		out[other] = len(other.out)
	}
	for i, op := range req.Ops {
		r := proto.MultiResult{Op: op.Op}
		var code zkerr.Code
		switch op.Op {
		case proto.OpCreate, proto.OpCreate2:
			r.Path, code = c.create(&proto.CreateRequest{Path: op.Path, Data: op.Data, ACL: op.ACL, Flags: op.Flags})
			if code == zkerr.OK {
				r.Stat = s.stat(r.Path)
			}
		case proto.OpDelete:
			code = c.delete(op.Path, op.Version)
		case proto.OpSetData:
			if code = c.set(op.Path, op.Data, op.Version); code == zkerr.OK {
				r.Stat = s.stat(op.Path)
			}
		case proto.OpCheck:
			switch n := s.nodes[op.Path]; {
			case n == nil:
				code = zkerr.NoNode
			case op.Version != -1 && op.Version != n.stat.Version:
				code = zkerr.BadVersion
			}
		}
		if code != zkerr.OK {
			failed = i
			res.Results = make([]proto.MultiResult, len(req.Ops))
			for j := range res.Results {
				res.Results[j] = proto.MultiResult{Op: proto.OpError}
				if j == i {
					res.Results[j].Err = code
				} else if j > i {
					res.Results[j].Err = zkerr.RuntimeInconsistency
				}
			}
			break
		}
		res.Results = append(res.Results, r)
	}
	if failed >= 0 {
		s.nodes = before
		for other, n := range out {
			other.out = slices.Delete(other.out, n, len(other.out))
		}
	}
	c.reply(xid, zkerr.OK, res.Append(nil))
}

// setWatches sets what a client had, and tells it at once what it has missed.
func (c *conn) setWatches(op proto.Op, body []byte) {
	s := c.s
	var req proto.SetWatches2Request
	if op == proto.OpSetWatches2 {
		if proto.Unmarshal(body, &req) != nil {
			return
		}
	} else if proto.Unmarshal(body, &req.SetWatchesRequest) != nil {
		return
	}
	for _, p := range req.Data {
		switch n := s.nodes[p]; {
		case n == nil:
			c.event(proto.EventNodeDeleted, p, -1)
		case n.stat.Mzxid > req.RelativeZxid:
			c.event(proto.EventNodeDataChanged, p, -1)
		default:
			c.data[p] = true
		}
	}
	for _, p := range req.Exist {
		if s.nodes[p] != nil {
			c.event(proto.EventNodeCreated, p, -1)
		} else {
			c.data[p] = true
		}
	}
	for _, p := range req.Child {
		switch n := s.nodes[p]; {
		case n == nil:
			c.event(proto.EventNodeDeleted, p, -1)
		case n.stat.Pzxid > req.RelativeZxid:
			c.event(proto.EventNodeChildrenChanged, p, -1)
		default:
			c.child[p] = true
		}
	}
	for _, p := range req.Persistent {
		c.lasting[p] = proto.AddWatchPersistent
	}
	for _, p := range req.PersistentRecursive {
		c.lasting[p] = proto.AddWatchPersistentRecursive
	}
}
