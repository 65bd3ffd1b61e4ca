package sim

import (
	"maps"
	"slices"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// A kind is one of the kinds of watches.
type kind uint8

const (
	dataWatch kind = iota
	existWatch
	childWatch
	persistentWatch
	recursiveWatch
	kinds
)

// A watchSet is what a client waits for, so that it can tell the next server.
type watchSet struct{ on [kinds]map[string]bool }

func (s *watchSet) init() {
	for k := range s.on {
		s.on[k] = map[string]bool{}
	}
}

// again is the request that tells a new server of all watches; nil if there are none.
func (s *watchSet) again(seen int64) (proto.Op, []byte) {
	list := func(k kind) []string { return slices.Sorted(maps.Keys(s.on[k])) }
	n := 0
	for k := range s.on {
		n += len(s.on[k])
	}
	if n == 0 {
		return 0, nil
	}
	q := proto.SetWatchesRequest{RelativeZxid: seen, Data: list(dataWatch), Exist: list(existWatch), Child: list(childWatch)}
	if len(s.on[persistentWatch])+len(s.on[recursiveWatch]) == 0 {
		return proto.OpSetWatches, q.Append(nil)
	}
	q2 := proto.SetWatches2Request{SetWatchesRequest: q, Persistent: list(persistentWatch), PersistentRecursive: list(recursiveWatch)}
	return proto.OpSetWatches2, q2.Append(nil)
}

// answered notes the watch that a request has set.
func (s *watchSet) answered(q sent, code zkerr.Code, _ []byte) {
	switch q.op {
	case proto.OpGetData, proto.OpExists, proto.OpGetChildren, proto.OpGetChildren2:
		var r proto.ReadRequest
		if proto.Unmarshal(q.body, &r) != nil || !r.Watch {
			return
		}
		switch {
		case q.op == proto.OpExists && code == zkerr.NoNode:
			s.on[existWatch][r.Path] = true
		case code != zkerr.OK:
		case q.op == proto.OpGetData, q.op == proto.OpExists:
			s.on[dataWatch][r.Path] = true
		default:
			s.on[childWatch][r.Path] = true
		}
	case proto.OpAddWatch:
		var r proto.AddWatchRequest
		if code != zkerr.OK || proto.Unmarshal(q.body, &r) != nil {
			return
		}
		if r.Mode == proto.AddWatchPersistentRecursive {
			s.on[recursiveWatch][r.Path] = true
		} else {
			s.on[persistentWatch][r.Path] = true
		}
	case proto.OpRemoveWatches:
		var r proto.WatchesRequest
		if code != zkerr.OK || proto.Unmarshal(q.body, &r) != nil {
			return
		}
		switch r.Type {
		case proto.WatcherAny:
			for k := range s.on {
				delete(s.on[k], r.Path)
			}
		case proto.WatcherChildren:
			delete(s.on[childWatch], r.Path)
		case proto.WatcherData:
			delete(s.on[dataWatch], r.Path)
			delete(s.on[existWatch], r.Path)
		case proto.WatcherPersistent:
			delete(s.on[persistentWatch], r.Path)
		case proto.WatcherPersistentRecursive:
			delete(s.on[recursiveWatch], r.Path)
		}
	}
}

// fired drops the watches that an event has used up.
func (s *watchSet) fired(e proto.WatcherEvent) {
	switch e.Type {
	case proto.EventNodeCreated:
		delete(s.on[existWatch], e.Path)
		delete(s.on[dataWatch], e.Path)
	case proto.EventNodeDataChanged:
		delete(s.on[dataWatch], e.Path)
		delete(s.on[existWatch], e.Path)
	case proto.EventNodeChildrenChanged:
		delete(s.on[childWatch], e.Path)
	case proto.EventNodeDeleted:
		delete(s.on[dataWatch], e.Path)
		delete(s.on[existWatch], e.Path)
		delete(s.on[childWatch], e.Path)
	}
}
