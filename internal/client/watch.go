package client

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// An EventType says what a watch saw.
type EventType = proto.EventType

// The event types. None is a change of the client's own state.
const (
	None                = proto.EventNone
	NodeCreated         = proto.EventNodeCreated
	NodeDeleted         = proto.EventNodeDeleted
	NodeDataChanged     = proto.EventNodeDataChanged
	NodeChildrenChanged = proto.EventNodeChildrenChanged
)

// An Event is what a watch fires, or a change of state.
type Event struct {
	Type  EventType
	State State
	Path  string // "" for a change of state
	Zxid  int64  // of the change, -1 if the server did not say
}

// A WatchMode says what a watch set by AddWatch sees.
type WatchMode = proto.AddWatchMode

// The modes of AddWatch.
const (
	PersistentWatch          = proto.AddWatchPersistent          // the node and its list of children
	PersistentRecursiveWatch = proto.AddWatchPersistentRecursive // the node and all below it, but no lists of children
)

// A Watch takes the events of a watch that stays. Events are there before the reply to any request
// that the server answered after them.
type Watch struct {
	path      string
	recursive bool

	mu     sync.Mutex
	events []Event
	err    error
	ready  chan struct{} // has room for one
}

// Next returns the next event and waits for it if need be. It fails when ctx ends, and, once all
// events are taken, when the watch has ended: with its client's end, by RemoveWatches, or because
// 65536 events were waiting and further ones had to be left out.
func (w *Watch) Next(ctx context.Context) (Event, error) {
	for {
		w.mu.Lock()
		if len(w.events) > 0 {
			e := w.events[0]
			w.events = w.events[1:]
			w.mu.Unlock()
			return e, nil
		}
		err := w.err
		w.mu.Unlock()
		if err != nil {
			return Event{}, err
		}
		select {
		case <-w.ready:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// Take returns the events that are there now, and leaves none behind.
func (w *Watch) Take() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := w.events
	w.events = nil
	return events
}

func (w *Watch) put(e Event) {
	w.mu.Lock()
	switch {
	case w.err != nil:
	case len(w.events) >= maxEvents:
		w.err = fmt.Errorf("watch on %s: more than %d events waiting", w.path, maxEvents)
	default:
		w.events = append(w.events, e)
	}
	w.mu.Unlock()
	w.signal()
}

func (w *Watch) end(err error) {
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	w.mu.Unlock()
	w.signal()
}

func (w *Watch) signal() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// A kind is one of the lists that a server keeps watches in.
type kind int

const (
	noWatch kind = iota
	dataWatch
	existWatch
	childWatch
)

// watches are those set and not yet fired, by the path that the caller knows. The client's mutex
// guards them.
type watches struct {
	data, exist, child    map[string][]chan Event
	persistent, recursive map[string][]*Watch
}

func (ws *watches) init() {
	ws.data = make(map[string][]chan Event)
	ws.exist = make(map[string][]chan Event)
	ws.child = make(map[string][]chan Event)
	ws.persistent = make(map[string][]*Watch)
	ws.recursive = make(map[string][]*Watch)
}

func (ws *watches) add(k kind, path string, ch chan Event) {
	switch k {
	case dataWatch:
		ws.data[path] = append(ws.data[path], ch)
	case existWatch:
		ws.exist[path] = append(ws.exist[path], ch)
	case childWatch:
		ws.child[path] = append(ws.child[path], ch)
	}
}

func (ws *watches) addPersistent(w *Watch) {
	m := ws.persistent
	if w.recursive {
		m = ws.recursive
	}
	m[w.path] = append(m[w.path], w)
}

// fire hands e to the watches that it concerns. Those of one shot are used up.
func (ws *watches) fire(e Event) {
	once := func(m map[string][]chan Event) {
		for _, ch := range m[e.Path] {
			ch <- e // each has room for its one event
			close(ch)
		}
		delete(m, e.Path)
	}
	switch e.Type {
	case NodeCreated, NodeDataChanged:
		once(ws.data)
		once(ws.exist)
	case NodeDeleted:
		once(ws.data)
		once(ws.exist)
		once(ws.child)
	case NodeChildrenChanged:
		once(ws.child)
	}
	for _, w := range ws.persistent[e.Path] {
		w.put(e)
	}
	if e.Type == NodeChildrenChanged || len(ws.recursive) == 0 {
		return
	}
	for path := e.Path; ; {
		for _, w := range ws.recursive[path] {
			w.put(e)
		}
		i := strings.LastIndexByte(path, '/')
		switch {
		case path == "/" || i < 0:
			return
		case i == 0:
			path = "/"
		default:
			path = path[:i]
		}
	}
}

// end gives every watch the last event and closes it.
func (ws *watches) end(e Event) {
	for _, m := range []map[string][]chan Event{ws.data, ws.exist, ws.child} {
		for path, chs := range m {
			for _, ch := range chs {
				ch <- e
				close(ch)
			}
			delete(m, path)
		}
	}
	err := &zkerr.Error{Op: "watch", Code: finalCode(e.State)}
	for _, m := range []map[string][]*Watch{ws.persistent, ws.recursive} {
		for path, list := range m {
			for _, w := range list {
				w.end(err)
			}
			delete(m, path)
		}
	}
}

// removed forgets the watches that a removeWatches of type t took off the server.
func (ws *watches) removed(path string, t WatcherType) {
	once := func(m map[string][]chan Event) {
		for _, ch := range m[path] {
			close(ch)
		}
		delete(m, path)
	}
	stay := func(m map[string][]*Watch) {
		for _, w := range m[path] {
			w.end(&zkerr.Error{Op: "watch", Path: path, Code: zkerr.NoWatcher})
		}
		delete(m, path)
	}
	if t == WatcherData || t == WatcherAny {
		once(ws.data)
		once(ws.exist)
	}
	if t == WatcherChildren || t == WatcherAny {
		once(ws.child)
	}
	if t == WatcherPersistent || t == WatcherAny {
		stay(ws.persistent)
	}
	if t == WatcherPersistentRecursive || t == WatcherAny {
		stay(ws.recursive)
	}
}

// lists returns the paths of each list in the order in which setWatches2 carries them, sorted, so
// that equal watches make equal frames.
func (ws *watches) lists() [5][]string {
	return [5][]string{keys(ws.data), keys(ws.exist), keys(ws.child), keys(ws.persistent), keys(ws.recursive)}
}

func keys[V any](m map[string]V) []string {
	list := make([]string, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// An eventQueue hands events to a callback without ever making the one who puts them wait.
type eventQueue struct {
	on bool // set before use, if there is a callback

	mu         sync.Mutex
	more       sync.Cond // something to take, or stopped
	taken      sync.Cond // the callback has come back
	events     []Event
	came, done int64 // how many were put, and of how many the callback came back or was spared
	stopped    bool
	ended      chan struct{} // closed when all events up to stop were taken
}

func (q *eventQueue) start(f func(Event)) {
	q.on = true
	q.more.L, q.taken.L = &q.mu, &q.mu
	q.ended = make(chan struct{})
	go func() {
		defer close(q.ended)
		q.mu.Lock()
		defer q.mu.Unlock()
		for {
			for len(q.events) == 0 {
				if q.stopped {
					return
				}
				q.more.Wait()
			}
			e := q.events[0]
			q.events = q.events[1:]
			q.mu.Unlock()
			f(e)
			q.mu.Lock()
			q.done++
			q.taken.Broadcast()
		}
	}()
}

func (q *eventQueue) put(e Event) {
	if !q.on {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		return
	}
	if len(q.events) >= maxEvents {
		q.events = q.events[1:]
		q.done++
	}
	q.came++
	q.events = append(q.events, e)
	q.more.Signal()
}

// drain waits until the callback has come back from all events put so far.
func (q *eventQueue) drain() {
	if !q.on {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for n := q.came; q.done < n; {
		q.taken.Wait()
	}
}

func (q *eventQueue) stop() {
	if !q.on {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	q.more.Signal()
}
