package model

import (
	"maps"
	"slices"
	"strings"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
)

// Options are what a server is configured with.
type Options struct {
	ExtendedTypes bool   // there are TTL nodes
	EnforceQuota  bool   // what is beyond a hard limit is refused
	SuperDigest   string // user:hash
	// ConfigText is what /zookeeper/config holds, and ConfigVersion its mzxid.
	ConfigText    string
	ConfigVersion int64
	ConfigTimeMS  int64
}

// A Model is the state of an ensemble.
type Model struct {
	opts     Options
	zxid     int64
	nodes    map[string]*Node // never changed in place: see put
	kids     map[string]map[string]bool
	owned    map[int64]map[string]bool // the ephemerals of each session
	sessions map[int64]int32
	watches  map[string]map[uint64]Mode
	below    map[string]int // how many recursive watches a path has
	watched  map[uint64]map[string]bool
	digest   uint64

	undo    []undone // what a write has changed, latest last
	changes []change // what it owes to watchers
}

// undone is a znode as it was; nil if there was none.
type undone struct {
	path string
	was  *Node
}

// New makes a fresh tree.
func New(opts Options) *Model {
	m := &Model{
		opts:     opts,
		nodes:    map[string]*Node{},
		kids:     map[string]map[string]bool{},
		owned:    map[int64]map[string]bool{},
		sessions: map[int64]int32{},
		watches:  map[string]map[uint64]Mode{},
		below:    map[string]int{},
		watched:  map[uint64]map[string]bool{},
	}
	for _, path := range special {
		m.put(path, &Node{Data: []byte{}, ACL: jute.OpenACL()})
	}
	config := &Node{Data: []byte(opts.ConfigText), ACL: jute.ReadACL(), Aversion: -1}
	if opts.ConfigText != "" {
		config.Version, config.Mzxid, config.Mtime = -1, opts.ConfigVersion, opts.ConfigTimeMS
	}
	m.put("/zookeeper/config", config)
	m.undo = nil
	return m
}

// Restore makes the state another one, as a snapshot would: the znodes, which have
// the special ones among them, and the open sessions. Watches stay.
func (m *Model) Restore(zxid int64, nodes map[string]*Node, sessions map[int64]int32) {
	m.zxid, m.digest = zxid, 0
	m.nodes, m.kids, m.owned = map[string]*Node{}, map[string]map[string]bool{}, map[int64]map[string]bool{}
	for path, n := range nodes {
		m.set(path, n)
	}
	m.sessions = map[int64]int32{}
	maps.Copy(m.sessions, sessions)
	m.writeUsage()
	m.undo, m.changes = nil, nil
}

// special are the znodes that every tree has and that nobody can delete.
var special = []string{"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"}

// put makes n the znode at path, in place of what is there. n is not changed any
// more: to change a znode is to put a changed copy.
func (m *Model) put(path string, n *Node) {
	was := m.nodes[path]
	m.undo = append(m.undo, undone{path, was})
	m.set(path, n)
}

// drop takes the znode at path away.
func (m *Model) drop(path string) {
	m.undo = append(m.undo, undone{path, m.nodes[path]})
	m.set(path, nil)
}

// set keeps all that follows from the znodes: children, ephemerals, digest.
func (m *Model) set(path string, n *Node) {
	parent, name := split(path)
	if was := m.nodes[path]; was != nil {
		m.digest -= was.share(path)
		if was.Kind == Ephemeral {
			delete(m.owned[was.Owner], path)
			if len(m.owned[was.Owner]) == 0 {
				delete(m.owned, was.Owner)
			}
		}
	}
	if n == nil {
		delete(m.nodes, path)
		if delete(m.kids[parent], name); len(m.kids[parent]) == 0 {
			delete(m.kids, parent)
		}
		return
	}
	m.nodes[path] = n
	m.digest += n.share(path)
	if path != "/" {
		if m.kids[parent] == nil {
			m.kids[parent] = map[string]bool{}
		}
		m.kids[parent][name] = true
	}
	if n.Kind == Ephemeral {
		if m.owned[n.Owner] == nil {
			m.owned[n.Owner] = map[string]bool{}
		}
		m.owned[n.Owner][path] = true
	}
}

// rollback takes back what was changed since the write began.
func (m *Model) rollback() {
	for i := len(m.undo) - 1; i >= 0; i-- {
		m.set(m.undo[i].path, m.undo[i].was)
	}
	m.undo = m.undo[:0]
	m.changes = m.changes[:0]
}

// split cuts a path that has a slash.
func split(path string) (parent, name string) {
	i := strings.LastIndex(path, "/")
	if i <= 0 {
		return "/", path[i+1:]
	}
	return path[:i], path[i+1:]
}

// Zxid is that of the last write.
func (m *Model) Zxid() int64 { return m.zxid }

// Digest is the tree digest as Apache's servers compute it, version 2.
func (m *Model) Digest() uint64 { return m.digest }

// Node is the znode at path, nil if there is none. It is not to be changed.
func (m *Model) Node(path string) *Node { return m.nodes[path] }

// Stat is what a client is shown of the znode at path, which is there.
func (m *Model) Stat(path string) proto.Stat {
	n := m.nodes[path]
	s := proto.Stat{
		Czxid: n.Czxid, Mzxid: n.Mzxid, Pzxid: n.Pzxid, Ctime: n.Ctime, Mtime: n.Mtime,
		Version: n.Version, Aversion: n.Aversion,
		DataLength: int32(len(n.Data)), NumChildren: int32(len(m.kids[path])),
	}
	s.Cversion = 2*n.Creates - s.NumChildren
	if n.Kind == Ephemeral {
		s.EphemeralOwner = n.Owner
	}
	return s
}

// Children are the names of the children of path, in order.
func (m *Model) Children(path string) []string { return sorted(m.kids[path]) }

// Paths are the paths of all znodes, in order.
func (m *Model) Paths() []string {
	return slices.Sorted(maps.Keys(m.nodes))
}

// Nodes are all znodes by their paths. The map is the caller's, the znodes are not
// to be changed: they stay as they are when the model goes on.
func (m *Model) Nodes() map[string]*Node { return maps.Clone(m.nodes) }

// Sessions are the open sessions with their timeouts in ms, a copy.
func (m *Model) Sessions() map[int64]int32 {
	return maps.Clone(m.sessions)
}

// Open says whether a session is open.
func (m *Model) Open(session int64) bool {
	_, ok := m.sessions[session]
	return ok
}

// Ephemerals are the paths of a session's ephemerals, in order.
func (m *Model) Ephemerals(session int64) []string { return sorted(m.owned[session]) }

func sorted(set map[string]bool) []string {
	names := slices.AppendSeq(make([]string, 0, len(set)), maps.Keys(set))
	slices.Sort(names)
	return names
}
