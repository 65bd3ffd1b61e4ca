package model

import (
	"slices"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
)

// A Mode is a set of ways in which somebody watches a path.
type Mode uint8

// The ways.
const (
	Data       Mode = 1 << iota // tells once of creation, deletion, new data
	Child                       // tells once of deletion, of a child more or less
	Always                      // tells of all that, for ever
	AlwaysDeep                  // tells of creation, deletion, new data there and anywhere below, for ever
)

// An Event is what a watcher is owed. It is not told if it may not read a znode
// with this list.
type Event struct {
	Watcher uint64
	Type    proto.EventType
	Path    string
	ACL     []jute.ACL
}

type what int

const (
	created what = iota
	deleted
	dataSet
)

// A change is one that watchers may be told of.
type change struct {
	what             what
	path, parent     string
	acl, parentACL   []jute.ACL
	childrenOfParent bool
}

func (m *Model) changed(w what, path string, n *Node, parent string, p *Node) {
	c := change{what: w, path: path, acl: n.ACL}
	if p != nil {
		c.parent, c.parentACL, c.childrenOfParent = parent, p.ACL, true
	}
	m.changes = append(m.changes, c)
}

// fire says what all changes of a write owe, in their order: first what happened
// to the znode, then what its parent has to tell.
func (m *Model) fire() []Event {
	if len(m.watches) == 0 {
		return nil
	}
	var events []Event
	for i := range m.changes {
		c := &m.changes[i]
		switch c.what {
		case created:
			events = m.tell(events, proto.EventNodeCreated, c.path, c.acl, Data, Data|Always|AlwaysDeep)
		case dataSet:
			events = m.tell(events, proto.EventNodeDataChanged, c.path, c.acl, Data, Data|Always|AlwaysDeep)
		case deleted:
			events = m.tell(events, proto.EventNodeDeleted, c.path, c.acl, Data|Child, Data|Child|Always|AlwaysDeep)
		}
		if c.childrenOfParent {
			events = m.tell(events, proto.EventNodeChildrenChanged, c.parent, c.parentACL, Child, Child|Always)
		}
	}
	return events
}

// tell adds the events of those who watch path in one of the ways of heard, and
// uses up the ways of once.
func (m *Model) tell(events []Event, typ proto.EventType, path string, acl []jute.ACL, once, heard Mode) []Event {
	told := map[uint64]bool{}
	for w, mode := range m.watches[path] {
		if mode&heard != 0 {
			told[w] = true
		}
		if mode&once != 0 {
			m.unwatch(w, path, once)
		}
	}
	if heard&AlwaysDeep != 0 && len(m.below) > 0 {
		for p := path; p != "/"; {
			p, _ = split(p)
			if m.below[p] == 0 {
				continue
			}
			for w, mode := range m.watches[p] {
				if mode&AlwaysDeep != 0 {
					told[w] = true
				}
			}
		}
	}
	watchers := make([]uint64, 0, len(told))
	for w := range told {
		watchers = append(watchers, w)
	}
	slices.Sort(watchers)
	for _, w := range watchers {
		events = append(events, Event{w, typ, path, acl})
	}
	return events
}

// watch adds ways to watch a path.
func (m *Model) watch(w uint64, path string, mode Mode) {
	if w == 0 {
		return
	}
	if m.watches[path] == nil {
		m.watches[path] = map[uint64]Mode{}
	}
	if m.watched[w] == nil {
		m.watched[w] = map[string]bool{}
	}
	if mode&AlwaysDeep != 0 && m.watches[path][w]&AlwaysDeep == 0 {
		m.below[path]++
	}
	m.watches[path][w] |= mode
	m.watched[w][path] = true
}

// unwatch ends ways to watch a path and says which there were.
func (m *Model) unwatch(w uint64, path string, mode Mode) Mode {
	had := m.watches[path][w] & mode
	if had == 0 {
		return 0
	}
	if had&AlwaysDeep != 0 {
		if m.below[path]--; m.below[path] == 0 {
			delete(m.below, path)
		}
	}
	if m.watches[path][w] &^= had; m.watches[path][w] == 0 {
		delete(m.watches[path], w)
		delete(m.watched[w], path)
	}
	if len(m.watches[path]) == 0 {
		delete(m.watches, path)
	}
	return had
}

// Forget ends all watches of a watcher, as the end of its connection does.
func (m *Model) Forget(watcher uint64) {
	for path := range m.watched[watcher] {
		m.unwatch(watcher, path, Data|Child|Always|AlwaysDeep)
	}
	delete(m.watched, watcher)
}

// Watches says in which ways somebody watches a path.
func (m *Model) Watches(watcher uint64, path string) Mode { return m.watches[path][watcher] }
