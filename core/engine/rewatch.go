package engine

import (
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/core/watch"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/core/znode"
)

// A Rewatch is a setWatches that is being carried out: the watches that a client had on
// another connection are set, and it is told of what has changed since the last zxid that it
// saw. It may be done in steps, with txns applied between them: what such a txn changes is told
// by the watch, or found by the step that comes to it.
type Rewatch struct {
	q     proto.SetWatches2Request
	lists [5][]string
	list  int // where the next step begins
	next  int
}

// NewRewatch decodes a setWatches. It keeps nothing of body.
func NewRewatch(op int32, body []byte) (*Rewatch, zkerr.Code) {
	w := &Rewatch{}
	d := jute.NewDecoder(body)
	if proto.Op(op) == proto.OpSetWatches2 {
		w.q.Decode(&d)
	} else {
		w.q.SetWatchesRequest.Decode(&d)
	}
	if d.Err() != nil {
		return nil, zkerr.MarshallingError
	}
	w.lists = [...][]string{w.q.Data, w.q.Exist, w.q.Child, w.q.Persistent, w.q.PersistentRecursive}
	return w, zkerr.OK
}

// setWatches carries out a setWatches in one step.
func (e *Engine) setWatches(r *ReadRequest, s Sink) zkerr.Code {
	w, code := NewRewatch(r.Op, r.Body)
	for code == zkerr.OK && !e.Rewatch(w, r, s, 1<<20) {
	}
	return code
}

// Rewatch sets at most so many more of the watches, and says whether that was all. Of r it
// takes the watcher and what it is known as. It touches watches: see the package.
func (e *Engine) Rewatch(w *Rewatch, r *ReadRequest, s Sink, most int) (done bool) {
	for ; w.list < len(w.lists); w.list, w.next = w.list+1, 0 {
		for ; w.next < len(w.lists[w.list]); w.next++ {
			if most--; most < 0 {
				return false
			}
			e.rewatch(w.list, w.lists[w.list][w.next], w.q.RelativeZxid, r, s)
		}
	}
	return true
}

// rewatch sets one watch, of the list with that number. Of a znode that the client may not read
// it is told nothing, as it would not have been then.
func (e *Engine) rewatch(list int, path string, since int64, r *ReadRequest, s Sink) {
	tell := func(typ proto.EventType, h znode.Head) {
		if h == nil || e.readable(h, jute.PermRead, r.Auth) {
			s.Event(r.Watcher, -1, int32(typ), path)
		}
	}
	switch list {
	case 0:
		switch h, _, ok := e.get(alias(path)); {
		case !ok:
			tell(proto.EventNodeDeleted, nil)
		case h.Mzxid() > since && !simbug.On("set-watches-no-catch-up"): // else from now on is soon enough
			tell(proto.EventNodeDataChanged, h)
		default:
			e.watches.Add(r.Watcher, path, watch.Data)
		}
	case 1:
		if h, _, ok := e.get(alias(path)); ok {
			tell(proto.EventNodeCreated, h)
		} else {
			e.watches.Add(r.Watcher, path, watch.Data)
		}
	case 2:
		switch h, _, ok := e.get(alias(path)); {
		case !ok:
			tell(proto.EventNodeDeleted, nil)
		case h.Pzxid() > since:
			tell(proto.EventNodeChildrenChanged, h)
		default:
			e.watches.Add(r.Watcher, path, watch.Child)
		}
	case 3:
		e.watches.Add(r.Watcher, path, watch.Persistent)
	case 4:
		e.watches.Add(r.Watcher, path, watch.Recursive)
	}
}
