package engine

import (
	"encoding/binary"
	"math"
	"strings"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/core/watch"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// Read answers a request that changes nothing but watches, from the state as of
// the last Apply: it appends the reply record to dst. With a code that is not OK
// dst comes back as it was. Events that setWatches owes go to the sink at once,
// and to the client before the reply.
func (e *Engine) Read(dst []byte, r *ReadRequest, s Sink) ([]byte, zkerr.Code) {
	switch op := proto.Op(r.Op); op {
	case proto.OpExists, proto.OpGetData, proto.OpGetChildren, proto.OpGetChildren2:
		d := jute.NewDecoder(r.Body)
		path, watched := proto.DecodeRead(&d)
		if d.Err() != nil {
			return dst, zkerr.MarshallingError
		}
		return e.readNode(dst, r, op, temporary(path), watched)
	case proto.OpGetACL:
		return e.getACL(dst, r)
	case proto.OpMultiRead:
		return e.multiRead(dst, r)
	case proto.OpSync:
		var q proto.AnyPathRequest
		if proto.Unmarshal(r.Body, &q) != nil {
			return dst, zkerr.MarshallingError
		}
		return q.Append(dst), zkerr.OK
	case proto.OpSetWatches, proto.OpSetWatches2:
		return dst, e.setWatches(r, s)
	case proto.OpAddWatch:
		var q proto.AddWatchRequest
		if proto.Unmarshal(r.Body, &q) != nil || !q.Mode.Valid() {
			return dst, zkerr.MarshallingError
		}
		mode := watch.Persistent
		if q.Mode == proto.AddWatchPersistentRecursive {
			mode = watch.Recursive
		}
		e.watches.Add(r.Watcher, q.Path, mode)
		return jute.AppendInt(dst, 0), zkerr.OK
	case proto.OpRemoveWatches, proto.OpCheckWatches:
		var q proto.WatchesRequest
		if proto.Unmarshal(r.Body, &q) != nil || !q.Type.Valid() {
			return dst, zkerr.MarshallingError
		}
		modes := modesOf(q.Type)
		if op == proto.OpCheckWatches {
			modes &= e.watches.Has(r.Watcher, q.Path)
		} else {
			modes = e.watches.Remove(r.Watcher, q.Path, modes)
			if modes != 0 && simbug.On("removed-in-all-modes") { // nobody watches a znode twice
				e.watches.Remove(r.Watcher, q.Path, watch.Any)
			}
		}
		if modes == 0 {
			return dst, zkerr.NoWatcher
		}
		return dst, zkerr.OK
	case proto.OpGetEphemerals:
		return e.getEphemerals(dst, r)
	case proto.OpGetAllChildrenNum:
		return e.getAllChildrenNumber(dst, r)
	case proto.OpWhoAmI:
		return whoAmI(dst, r.Auth), zkerr.OK
	}
	return dst, zkerr.Unimplemented
}

// alias is the path under which a znode is kept: "" is the root to clients that read it. A watch is kept under
// the path that its client gave: one on "" is another than one on the root, and nothing fires it.
func alias(path string) string {
	if path == "" {
		return znode.Root
	}
	return path
}

func modesOf(t proto.WatcherType) watch.Mode {
	switch t {
	case proto.WatcherChildren:
		return watch.Child
	case proto.WatcherData:
		return watch.Data
	case proto.WatcherPersistent:
		return watch.Persistent
	case proto.WatcherPersistentRecursive:
		return watch.Recursive
	}
	return watch.Any
}

// get looks a znode up in the committed state.
func (e *Engine) get(path string) (h znode.Head, data []byte, ok bool) {
	rec, ok, err := e.view.Get(path)
	if err != nil {
		e.fail(err)
	}
	return rec.Head, rec.Data, ok
}

// readable says whether one of these identities may do what perm is the bit of.
func (e *Engine) readable(h znode.Head, perm int32, ids []consensus.Identity) bool {
	key := h.ACL()
	return key == znode.OpenACL || e.opts.SkipACL || e.acls.permits(key, perm, ids)
}

// readNode answers the four requests that look at one znode and may watch it.
// The path is the client's, and may be a temporary.
func (e *Engine) readNode(dst []byte, r *ReadRequest, op proto.Op, path string, watched bool) ([]byte, zkerr.Code) {
	if op == proto.OpExists && strings.IndexByte(path, 0) >= 0 {
		return dst, zkerr.BadArguments
	}
	h, data, ok := e.get(alias(path))
	if ok && !e.readable(h, jute.PermRead, r.Auth) {
		return dst, zkerr.NoAuth
	}
	if watched && (ok || op == proto.OpExists) {
		mode := watch.Data
		if op == proto.OpGetChildren || op == proto.OpGetChildren2 {
			mode = watch.Child
		}
		e.watches.Add(r.Watcher, path, mode)
	}
	if !ok {
		return dst, zkerr.NoNode
	}
	switch op {
	case proto.OpGetData:
		dst = jute.AppendBuffer(dst, data)
	case proto.OpGetChildren:
		return e.appendChildren(dst, alias(path)), zkerr.OK
	case proto.OpGetChildren2:
		dst = e.appendChildren(dst, alias(path))
	}
	return append(dst, h.Stat()...), zkerr.OK
}

func (e *Engine) appendChildren(dst []byte, path string) []byte {
	at, n := len(dst), uint32(0)
	dst = jute.AppendCount(dst, 0)
	err := e.view.Children(path, func(name string) bool {
		dst = jute.AppendString(dst, name)
		n++
		return true
	})
	if err != nil {
		e.fail(err)
	}
	binary.BigEndian.PutUint32(dst[at:], n)
	return dst
}

func (e *Engine) getACL(dst []byte, r *ReadRequest) ([]byte, zkerr.Code) {
	var q proto.PathRequest
	if proto.Unmarshal(r.Body, &q) != nil {
		return dst, zkerr.MarshallingError
	}
	h, _, ok := e.get(alias(q.Path))
	switch {
	case !ok:
		return dst, zkerr.NoNode
	case !e.readable(h, jute.PermRead|jute.PermAdmin, r.Auth):
		return dst, zkerr.NoAuth
	}
	list := e.acls.list(h.ACL())
	if !e.readable(h, jute.PermAdmin, r.Auth) {
		masked := make([]jute.ACL, len(list))
		for i := range list {
			masked[i] = znode.Mask(list[i])
		}
		list = masked
	}
	dst = jute.AppendACLs(dst, list)
	return append(dst, h.Stat()...), zkerr.OK
}

// multiRead answers several reads: one that is refused is no matter to the
// others. Some bytes can ask for a megabyte many times over, so the reply has a
// bound of its own.
func (e *Engine) multiRead(dst []byte, r *ReadRequest) ([]byte, zkerr.Code) {
	q := proto.MultiRequest{Read: true}
	if proto.Unmarshal(r.Body, &q) != nil {
		return dst, zkerr.MarshallingError
	}
	limit := e.opts.MaxReplyBytes
	if limit <= 0 {
		limit = 64 << 20
	}
	from := len(dst)
	for i := range q.Ops {
		o := &q.Ops[i]
		at := len(dst)
		dst = appendMultiHeader(dst, int32(o.Op), zkerr.OK)
		out, code := e.readNode(dst, r, o.Op, o.Path, false)
		if code == zkerr.NoAuth && simbug.On("multi-read-fails-whole") { // as a multi does
			return dst[:from], code
		}
		if code != zkerr.OK {
			out = appendMultiError(dst[:at], code)
		}
		if dst = out; len(dst)-from > limit {
			return dst[:from], zkerr.MarshallingError
		}
	}
	return proto.AppendMultiEnd(dst), zkerr.OK
}

// blanks are the characters that Java trims: all up to the space, and none above.
const blanks = "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f "

func (e *Engine) getEphemerals(dst []byte, r *ReadRequest) ([]byte, zkerr.Code) {
	var q proto.AnyPathRequest
	if proto.Unmarshal(r.Body, &q) != nil {
		return dst, zkerr.MarshallingError
	}
	prefix := q.Path
	if t := strings.Trim(prefix, blanks); t == "" || t == znode.Root {
		prefix = ""
	}
	at, n := len(dst), uint32(0)
	dst = jute.AppendCount(dst, 0)
	err := e.Ephemerals(r.Session, func(path string) bool {
		if strings.HasPrefix(path, prefix) {
			dst = jute.AppendString(dst, path)
			n++
		}
		return true
	})
	if err != nil {
		e.fail(err)
	}
	binary.BigEndian.PutUint32(dst[at:], n)
	return dst, zkerr.OK
}

func (e *Engine) getAllChildrenNumber(dst []byte, r *ReadRequest) ([]byte, zkerr.Code) {
	n, below, code := e.Count(r)
	if code != zkerr.OK {
		return dst, code
	}
	if below != "" {
		var err error
		if n, err = CountBelow(e.view, below, nil); err != nil {
			e.fail(err)
		}
	}
	return jute.AppendInt(dst, n), zkerr.OK
}

// Count answers a getAllChildrenNumber as far as that takes no time: if below is not "",
// the answer is what CountBelow finds there.
func (e *Engine) Count(r *ReadRequest) (n int32, below string, code zkerr.Code) {
	var q proto.PathRequest
	if proto.Unmarshal(r.Body, &q) != nil {
		return 0, "", zkerr.MarshallingError
	}
	path := alias(q.Path)
	h, _, ok := e.get(path)
	switch {
	case !ok:
		return 0, "", zkerr.NoNode
	case !e.readable(h, jute.PermRead, r.Auth):
		return 0, "", zkerr.NoAuth
	case q.Path == "":
		// Apache counts the paths that begin with this one and a slash, so with the
		// root itself.
		return int32(e.view.Len()), "", zkerr.OK
	case path == znode.Root:
		return int32(e.view.Len() - 1), "", zkerr.OK
	}
	return 0, path, zkerr.OK
}

// manyCounted is after how many znodes CountBelow asks whether it is to go on.
const manyCounted = 1000

// CountBelow counts what is below path in a view, as far as it comes until stop, which may be nil, says so. It may run
// beside Apply, if that is no engine's own.
func CountBelow(view storage.View, path string, stop func() bool) (int32, error) {
	n := 0
	stopped := false
	var failed error
	todo := [][]byte{[]byte(path)}
	for len(todo) > 0 && !stopped {
		parent := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		err := view.Children(string(parent), func(name string) bool {
			n++
			if stopped = stop != nil && n%manyCounted == 0 && stop(); stopped {
				return false
			}
			child := make([]byte, 0, len(parent)+1+len(name))
			child = append(append(append(child, parent...), '/'), name...)
			rec, ok, err := view.Get(temporary(child))
			if err != nil {
				failed = err
				return false
			}
			if ok && znode.Head(rec.Head).NumChildren() > 0 {
				todo = append(todo, child)
			}
			return true
		})
		if err == nil {
			err = failed
		}
		if err != nil {
			return 0, err
		}
	}
	return int32(min(n, math.MaxInt32)), nil
}

// whoAmI names the users behind a connection's identities.
func whoAmI(dst []byte, ids []consensus.Identity) []byte {
	dst = jute.AppendCount(dst, len(ids))
	for _, id := range ids {
		dst = jute.AppendString(dst, id.Scheme)
		user := id.ID
		switch id.Scheme {
		case znode.SchemeDigest:
			user, _, _ = strings.Cut(user, ":")
		case znode.SchemeSuper:
			user = ""
		}
		dst = jute.AppendString(dst, user)
	}
	return dst
}
