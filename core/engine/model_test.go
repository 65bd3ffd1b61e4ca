package engine

import (
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A model is the rules written once more, with nothing in mind but to be
// plainly right: a map of znodes, copied where something may have to be undone.
type model struct {
	nodes    map[string]mnode
	sessions map[int64]bool
	zxid     int64
	extended bool
}

type mnode struct {
	data   []byte
	acl    []jute.ACL
	stat   proto.Stat // Cversion is the number of creates, NumChildren and DataLength are not kept
	kind   string     // "", "ephemeral", "container", "ttl"
	ttl    int64
	hidden bool // counts in no digest
}

func newModel() *model {
	m := &model{nodes: map[string]mnode{}, sessions: map[int64]bool{}, extended: true}
	open := jute.OpenACL()
	m.nodes["/"] = mnode{data: []byte{}, acl: open}
	m.nodes["/zookeeper"] = mnode{data: []byte{}, acl: open}
	m.nodes["/zookeeper/quota"] = mnode{data: []byte{}, acl: open, hidden: true}
	m.nodes["/zookeeper/config"] = mnode{data: []byte{}, acl: jute.ReadACL(), stat: proto.Stat{Aversion: -1}, hidden: true}
	return m
}

func (m *model) children(path string) []string {
	prefix := strings.TrimSuffix(path, "/") + "/"
	var names []string
	for p := range m.nodes {
		if name, ok := strings.CutPrefix(p, prefix); ok && name != "" && !strings.Contains(name, "/") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

// stat is what a client is shown.
func (m *model) stat(path string) proto.Stat {
	n := m.nodes[path]
	s := n.stat
	s.NumChildren = int32(len(m.children(path)))
	s.Cversion = 2*n.stat.Cversion - s.NumChildren
	s.DataLength = int32(len(n.data))
	return s
}

func mayDo(acl []jute.ACL, perm int32, ids []consensus.Identity) bool {
	for _, id := range ids {
		if id.Scheme == "super" {
			return true
		}
	}
	for _, a := range acl {
		if a.Perms&perm == 0 {
			continue
		}
		if a.Scheme == "world" {
			return true
		}
		for _, id := range ids {
			if id.Scheme == a.Scheme && id.ID == a.ID {
				return true
			}
		}
	}
	return len(acl) == 0
}

func fixup(acl []jute.ACL, ids []consensus.Identity) ([]jute.ACL, bool) {
	var out []jute.ACL
	seen := map[jute.ACL]bool{}
	for _, a := range acl {
		if seen[a] {
			continue
		}
		seen[a] = true
		switch {
		case a.Scheme == "world" && a.ID == "anyone", a.Scheme == "digest" && strings.Count(a.ID, ":") == 1:
			out = append(out, a)
		case a.Scheme == "auth":
			n := len(out)
			for _, id := range ids {
				if id.Scheme == "digest" {
					out = append(out, jute.ACL{Perms: a.Perms, Scheme: "digest", ID: id.ID})
				}
			}
			if n == len(out) {
				return nil, false
			}
		default:
			return nil, false
		}
	}
	return out, len(out) > 0
}

func parentOf(path string) string {
	i := strings.LastIndex(path, "/")
	if i <= 0 {
		return "/"
	}
	return path[:i]
}

// do carries one operation out, or says why not. The result is what a multi
// would answer for it.
func (m *model) do(session, now int64, ids []consensus.Identity, o proto.MultiOp, multi bool) (proto.MultiResult, zkerr.Code) {
	var res proto.MultiResult
	switch o.Op {
	case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL:
		return m.create(session, now, ids, o, multi)
	case proto.OpDelete:
		if !strings.Contains(o.Path, "/") || slices.Contains([]string{"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"}, o.Path) {
			return res, zkerr.BadArguments
		}
		parent, ok := m.nodes[parentOf(o.Path)]
		if !ok {
			return res, zkerr.NoNode
		}
		if !mayDo(parent.acl, jute.PermDelete, ids) {
			return res, zkerr.NoAuth
		}
		n, ok := m.nodes[o.Path]
		if !ok {
			return res, zkerr.NoNode
		}
		if o.Version != -1 && o.Version != n.stat.Version {
			return res, zkerr.BadVersion
		}
		if len(m.children(o.Path)) > 0 {
			return res, zkerr.NotEmpty
		}
		m.remove(o.Path)
		return proto.MultiResult{Op: proto.OpDelete}, zkerr.OK
	}
	if proto.ValidatePath(o.Path) != nil {
		return res, zkerr.BadArguments
	}
	var acl []jute.ACL
	if o.Op == proto.OpSetACL {
		var ok bool
		if acl, ok = fixup(o.ACL, ids); !ok {
			return res, zkerr.InvalidACL
		}
	}
	n, ok := m.nodes[o.Path]
	if !ok {
		return res, zkerr.NoNode
	}
	perm, version := jute.PermWrite, n.stat.Version
	switch o.Op {
	case proto.OpCheck:
		perm = jute.PermRead
	case proto.OpSetACL:
		perm, version = jute.PermAdmin, n.stat.Aversion
	}
	if !mayDo(n.acl, perm, ids) {
		return res, zkerr.NoAuth
	}
	if o.Version != -1 && o.Version != version {
		return res, zkerr.BadVersion
	}
	if version++; version == -1 {
		version = 0
	}
	switch o.Op {
	case proto.OpSetData:
		n.data = o.Data
		n.stat.Version = version
		n.stat.Mzxid, n.stat.Mtime = m.zxid, now
	case proto.OpSetACL:
		n.acl = acl
		n.stat.Aversion = version
	}
	m.nodes[o.Path] = n
	return proto.MultiResult{Op: o.Op, Stat: m.stat(o.Path)}, zkerr.OK
}

// mode is what is said of a create before anything else.
func (m *model) mode(o proto.MultiOp) zkerr.Code {
	ttl := o.Flags == 5 || o.Flags == 6
	switch {
	case o.Op != proto.OpCreate && o.Op != proto.OpCreate2 && o.Op != proto.OpCreateContainer && o.Op != proto.OpCreateTTL:
	case ttl && !m.extended:
		return zkerr.Unimplemented
	case ttl != (o.Op == proto.OpCreateTTL), ttl && (o.TTL < 1 || o.TTL > 1<<40-1):
		return zkerr.BadArguments
	}
	return zkerr.OK
}

func (m *model) create(session, now int64, ids []consensus.Identity, o proto.MultiOp, multi bool) (proto.MultiResult, zkerr.Code) {
	var res proto.MultiResult
	if code := m.mode(o); code != zkerr.OK {
		return res, code
	}
	flags := int(o.Flags)
	op := o.Op
	if multi && flags == 4 {
		op = proto.OpCreateContainer
	}
	path := o.Path
	if !strings.Contains(path, "/") {
		return res, zkerr.BadArguments
	}
	acl, ok := fixup(o.ACL, ids)
	if !ok {
		return res, zkerr.InvalidACL
	}
	parent, ok := m.nodes[parentOf(path)]
	if !ok {
		return res, zkerr.NoNode
	}
	if !mayDo(parent.acl, jute.PermCreate, ids) {
		return res, zkerr.NoAuth
	}
	if flags == 2 || flags == 3 || flags == 6 {
		path += fmt.Sprintf("%010d", parent.stat.Cversion)
	}
	if proto.ValidatePath(path) != nil {
		return res, zkerr.BadArguments
	}
	if _, there := m.nodes[path]; there {
		return res, zkerr.NodeExists
	}
	if parent.kind == "ephemeral" {
		return res, zkerr.NoChildrenForEphemerals
	}
	parent.stat.Cversion++
	parent.stat.Pzxid = m.zxid
	m.nodes[parentOf(path)] = parent
	n := mnode{data: o.Data, acl: acl, hidden: strings.HasPrefix(path, "/zookeeper/")}
	n.stat.Czxid, n.stat.Mzxid, n.stat.Pzxid = m.zxid, m.zxid, m.zxid
	n.stat.Ctime, n.stat.Mtime = now, now
	res = proto.MultiResult{Op: proto.OpCreate2, Path: path}
	switch {
	case op == proto.OpCreateContainer:
		n.kind = "container"
	case op == proto.OpCreateTTL:
		n.kind, n.ttl = "ttl", o.TTL
	default:
		res.Op = op
		if flags == 1 || flags == 3 {
			n.kind = "ephemeral"
			n.stat.EphemeralOwner = session
		}
	}
	m.nodes[path] = n
	res.Stat = m.stat(path)
	return res, zkerr.OK
}

func (m *model) remove(path string) {
	delete(m.nodes, path)
	p := m.nodes[parentOf(path)]
	p.stat.Pzxid = m.zxid
	m.nodes[parentOf(path)] = p
}

// write is one request: what the client gets.
func (m *model) write(session, now int64, ids []consensus.Identity, o proto.MultiOp) (zkerr.Code, []byte) {
	m.zxid++
	if code := m.mode(o); code != zkerr.OK {
		return code, nil
	}
	if !m.sessions[session] {
		return zkerr.SessionExpired, nil
	}
	res, code := m.do(session, now, ids, o, false)
	if code != zkerr.OK {
		return code, nil
	}
	switch o.Op {
	case proto.OpCreate:
		return code, jute.AppendString(nil, res.Path)
	case proto.OpDelete:
		return code, nil
	case proto.OpSetData, proto.OpSetACL:
		return code, res.Stat.Append(nil)
	}
	return code, res.Stat.Append(jute.AppendString(nil, res.Path))
}

func (m *model) multi(session, now int64, ids []consensus.Identity, ops []proto.MultiOp) (zkerr.Code, []byte) {
	m.zxid++
	if !m.sessions[session] {
		return zkerr.SessionExpired, nil
	}
	before := maps.Clone(m.nodes)
	var resp proto.MultiResponse
	for i, o := range ops {
		res, code := m.do(session, now, ids, o, true)
		if code == zkerr.OK {
			resp.Results = append(resp.Results, res)
			continue
		}
		m.nodes = before
		resp.Results = nil
		for j := range ops {
			c := zkerr.OK
			switch {
			case j == i:
				c = code
			case j > i:
				c = zkerr.RuntimeInconsistency
			}
			resp.Results = append(resp.Results, proto.MultiResult{Op: proto.OpError, Err: c})
		}
		break
	}
	return zkerr.OK, resp.Append(nil)
}

func (m *model) open(session int64) { m.zxid++; m.sessions[session] = true }

func (m *model) close(session int64) {
	m.zxid++
	delete(m.sessions, session)
	for path, n := range m.nodes {
		if n.kind == "ephemeral" && n.stat.EphemeralOwner == session {
			m.remove(path)
		}
	}
}

func (n mnode) owner() uint64 {
	switch n.kind {
	case "ephemeral":
		return uint64(n.stat.EphemeralOwner)
	case "container":
		return 0x8000000000000000
	case "ttl":
		return 0xff00000000000000 | uint64(n.ttl)
	}
	return 0
}

// dump is as Engine's.
func (m *model) dump() map[string]string {
	out := map[string]string{}
	for path, n := range m.nodes {
		data := "null"
		if n.data != nil {
			data = hex.EncodeToString(n.data)
		}
		line := fmt.Sprintf("data %s acl", data)
		for _, a := range n.acl {
			line += fmt.Sprintf(" %d:%s:%s", a.Perms, a.Scheme, a.ID)
		}
		s := n.stat
		line += fmt.Sprintf(" c %x m %x p %x ct %d mt %d v %d cv %d av %d o %x",
			s.Czxid, s.Mzxid, s.Pzxid, s.Ctime, s.Mtime, s.Version, s.Cversion, s.Aversion, n.owner())
		out[path] = line
	}
	return out
}

func (m *model) digest() uint64 {
	sum := uint64(0)
	for path, n := range m.nodes {
		if n.hidden {
			continue
		}
		if path == "/" {
			path = ""
		}
		s := n.stat
		b := append([]byte(path), n.data...)
		for _, v := range []int64{s.Czxid, s.Mzxid, s.Pzxid, s.Ctime, s.Mtime} {
			b = jute.AppendLong(b, v)
		}
		for _, v := range []int32{s.Version, s.Cversion, s.Aversion} {
			b = jute.AppendInt(b, v)
		}
		b = jute.AppendLong(b, int64(n.owner()))
		sum += uint64(crc32.ChecksumIEEE(b))
	}
	return sum
}
