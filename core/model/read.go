package model

import (
	"slices"
	"strings"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// Read answers a request that changes nothing but watches, from the state as it
// is. Names of children and paths of ephemerals are in order, which a server need
// not do. Events are those of setWatches, which come before the reply.
func (m *Model) Read(q Request) Result {
	switch q.Op {
	case proto.OpExists, proto.OpGetData, proto.OpGetChildren, proto.OpGetChildren2:
		var r proto.ReadRequest
		if proto.Unmarshal(q.Body, &r) != nil {
			return refused(zkerr.MarshallingError)
		}
		watcher := q.Watcher
		if !r.Watch {
			watcher = 0
		}
		body, code := m.look(q.Op, r.Path, q.IDs, watcher)
		return Result{Code: code, Body: body}
	case proto.OpGetACL:
		return m.getACL(q)
	case proto.OpMultiRead:
		return m.lookAtSeveral(q)
	case proto.OpSync:
		var r proto.AnyPathRequest
		if proto.Unmarshal(q.Body, &r) != nil {
			return refused(zkerr.MarshallingError)
		}
		return Result{Body: r.Append(nil)}
	case proto.OpGetEphemerals:
		var r proto.AnyPathRequest
		if proto.Unmarshal(q.Body, &r) != nil {
			return refused(zkerr.MarshallingError)
		}
		paths := []string{}
		for _, p := range m.Ephemerals(q.Session) {
			if t := strings.TrimFunc(r.Path, func(c rune) bool { return c <= 0x20 }); t == "" || t == "/" || strings.HasPrefix(p, r.Path) {
				paths = append(paths, p)
			}
		}
		return Result{Body: jute.AppendStrings(nil, paths)}
	case proto.OpGetAllChildrenNum:
		return m.countBelow(q)
	case proto.OpWhoAmI:
		var r proto.WhoAmIResponse
		r.ClientInfo = []proto.ClientInfo{}
		for _, id := range q.IDs {
			user := id.ID
			switch id.Scheme {
			case "digest":
				user, _, _ = strings.Cut(user, ":")
			case "super":
				user = ""
			}
			r.ClientInfo = append(r.ClientInfo, proto.ClientInfo{AuthScheme: id.Scheme, User: user})
		}
		return Result{Body: r.Append(nil)}
	case proto.OpSetWatches, proto.OpSetWatches2:
		return m.setWatches(q)
	case proto.OpAddWatch:
		var r proto.AddWatchRequest
		if proto.Unmarshal(q.Body, &r) != nil {
			return refused(zkerr.MarshallingError)
		}
		mode := Always
		if r.Mode == proto.AddWatchPersistentRecursive {
			mode = AlwaysDeep
		}
		m.watch(q.Watcher, r.Path, mode)
		return Result{Body: jute.AppendInt(nil, 0)}
	case proto.OpRemoveWatches, proto.OpCheckWatches:
		var r proto.WatchesRequest
		if proto.Unmarshal(q.Body, &r) != nil {
			return refused(zkerr.MarshallingError)
		}
		mode := Data | Child | Always | AlwaysDeep
		switch r.Type {
		case proto.WatcherChildren:
			mode = Child
		case proto.WatcherData:
			mode = Data
		case proto.WatcherPersistent:
			mode = Always
		case proto.WatcherPersistentRecursive:
			mode = AlwaysDeep
		}
		had := m.watches[r.Path][q.Watcher] & mode
		if q.Op == proto.OpRemoveWatches {
			m.unwatch(q.Watcher, r.Path, mode)
		}
		if had == 0 {
			return refused(zkerr.NoWatcher)
		}
		return Result{}
	}
	return refused(zkerr.Unimplemented)
}

func refused(code zkerr.Code) Result { return Result{Code: code} }

// root is the path as it is kept: clients may call the root "". Watches are kept by
// the path that was sent.
func root(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// look answers what is asked of one znode.
func (m *Model) look(op proto.Op, path string, ids []jute.ID, watcher uint64) ([]byte, zkerr.Code) {
	if op == proto.OpExists && strings.Contains(path, "\x00") {
		return nil, zkerr.BadArguments
	}
	n := m.nodes[root(path)]
	if n == nil {
		if op == proto.OpExists {
			m.watch(watcher, path, Data)
		}
		return nil, zkerr.NoNode
	}
	if !Permits(n.ACL, jute.PermRead, ids) {
		return nil, zkerr.NoAuth
	}
	stat := m.Stat(root(path))
	switch op {
	case proto.OpExists:
		m.watch(watcher, path, Data)
		return stat.Append(nil), zkerr.OK
	case proto.OpGetData:
		m.watch(watcher, path, Data)
		return stat.Append(jute.AppendBuffer(nil, n.Data)), zkerr.OK
	}
	m.watch(watcher, path, Child)
	names := jute.AppendStrings(nil, m.Children(root(path)))
	if op == proto.OpGetChildren {
		return names, zkerr.OK
	}
	return stat.Append(names), zkerr.OK
}

func (m *Model) lookAtSeveral(q Request) Result {
	r := proto.MultiRequest{Read: true}
	if proto.Unmarshal(q.Body, &r) != nil {
		return refused(zkerr.MarshallingError)
	}
	var resp proto.MultiResponse
	for _, o := range r.Ops {
		body, code := m.look(o.Op, o.Path, q.IDs, 0)
		res := proto.MultiResult{Op: o.Op}
		d := jute.NewDecoder(body)
		switch {
		case code != zkerr.OK:
			res = proto.MultiResult{Op: proto.OpError, Err: code}
		case o.Op == proto.OpGetData:
			res.Data = d.Buffer()
			res.Stat.Decode(&d)
		default:
			res.Children = d.Strings()
		}
		resp.Results = append(resp.Results, res)
	}
	return Result{Body: resp.Append(nil)}
}

func (m *Model) getACL(q Request) Result {
	var r proto.PathRequest
	if proto.Unmarshal(q.Body, &r) != nil {
		return refused(zkerr.MarshallingError)
	}
	path := root(r.Path)
	n := m.nodes[path]
	switch {
	case n == nil:
		return refused(zkerr.NoNode)
	case !Permits(n.ACL, jute.PermRead|jute.PermAdmin, q.IDs):
		return refused(zkerr.NoAuth)
	}
	list := n.ACL
	if !Permits(n.ACL, jute.PermAdmin, q.IDs) {
		list = masked(list)
	}
	stat := m.Stat(path)
	return Result{Body: stat.Append(jute.AppendACLs(nil, list))}
}

func (m *Model) countBelow(q Request) Result {
	var r proto.PathRequest
	if proto.Unmarshal(q.Body, &r) != nil {
		return refused(zkerr.MarshallingError)
	}
	path := root(r.Path)
	n := m.nodes[path]
	switch {
	case n == nil:
		return refused(zkerr.NoNode)
	case !Permits(n.ACL, jute.PermRead, q.IDs):
		return refused(zkerr.NoAuth)
	}
	count := int32(0)
	for p := range m.nodes {
		if (p != "/" || r.Path == "") && strings.HasPrefix(p, strings.TrimSuffix(path, "/")+"/") {
			count++
		}
	}
	return Result{Body: jute.AppendInt(nil, count)}
}

// setWatches sets watches anew on another connection, and tells of what has
// happened since.
func (m *Model) setWatches(q Request) Result {
	var r proto.SetWatches2Request
	d := jute.NewDecoder(q.Body)
	if q.Op == proto.OpSetWatches2 {
		r.Decode(&d)
	} else {
		r.SetWatchesRequest.Decode(&d)
	}
	if d.Err() != nil {
		return refused(zkerr.MarshallingError)
	}
	var events []Event
	// n is nil for what is gone: nothing forbids to know that.
	tell := func(typ proto.EventType, path string, n *Node) {
		e := Event{Watcher: q.Watcher, Type: typ, Path: path}
		if n != nil {
			e.ACL = n.ACL
		}
		events = append(events, e)
	}
	for _, path := range r.Data {
		switch n := m.nodes[root(path)]; {
		case n == nil:
			tell(proto.EventNodeDeleted, path, nil)
		case n.Mzxid > r.RelativeZxid:
			tell(proto.EventNodeDataChanged, path, n)
		default:
			m.watch(q.Watcher, path, Data)
		}
	}
	for _, path := range r.Exist {
		if n := m.nodes[root(path)]; n != nil {
			tell(proto.EventNodeCreated, path, n)
		} else {
			m.watch(q.Watcher, path, Data)
		}
	}
	for _, path := range r.Child {
		switch n := m.nodes[root(path)]; {
		case n == nil:
			tell(proto.EventNodeDeleted, path, nil)
		case n.Pzxid > r.RelativeZxid:
			tell(proto.EventNodeChildrenChanged, path, n)
		default:
			m.watch(q.Watcher, path, Child)
		}
	}
	for _, path := range r.Persistent {
		m.watch(q.Watcher, path, Always)
	}
	for _, path := range r.PersistentRecursive {
		m.watch(q.Watcher, path, AlwaysDeep)
	}
	return Result{Events: slices.Clip(events)}
}
