package client

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// An ACL grants permissions to an identity.
type ACL = jute.ACL

// OpenACL grants everything to everybody. It is what a create without ACL uses.
func OpenACL() []ACL { return jute.OpenACL() }

// CreatorACL grants everything to the identities that the creator has authenticated.
func CreatorACL() []ACL { return []ACL{{Perms: jute.PermAll, Scheme: "auth"}} }

// A Mode says what kind of znode to create.
type Mode int32

// The modes, by their numbers on the wire.
const (
	Persistent              Mode = 0
	Ephemeral               Mode = 1
	PersistentSequential    Mode = 2
	EphemeralSequential     Mode = 3
	Container               Mode = 4
	PersistentTTL           Mode = 5
	PersistentSequentialTTL Mode = 6
)

// A Stat is what a server tells about a znode.
type Stat = proto.Stat

func decodeStat(d *jute.Decoder) (st Stat) {
	st.Decode(d)
	return st
}

// A Reply is the answer to an op. Zxid is always set, the others as far as the op has them.
type Reply struct {
	Zxid     int64
	Path     string   // Create, Sync
	Data     []byte   // Get, Reconfig; nil if the znode's data is null
	Stat     Stat     // all but Delete, Sync and a plain Create
	Children []string // Children, Ephemerals, in the server's order
	ACL      []ACL    // GetACL
	Number   int32    // AllChildrenNumber
	Users    []User   // WhoAmI
	Results  []Result // Multi, MultiRead: one for each op
	Body     []byte   // Raw

	Event <-chan Event // GetW, ExistsW, ChildrenW: gets the one event, or none if the watch is removed, and is closed
	Watch *Watch       // AddWatch

	failed error // of a multi
}

// A User is one of the identities of a connection.
type User struct{ Scheme, User string }

// A Result is the answer to one op of a multi.
type Result struct {
	Code     zkerr.Code
	Path     string
	Data     []byte
	Stat     Stat
	Children []string
}

// An Op is a request: one of the ...Op types of this package.
type Op interface {
	code() proto.Op
	name() string
	path() string
	append(b []byte, chroot string) []byte
	decode(d *jute.Decoder, r *Reply, chroot string)
}

// A watcher is an op whose reply may confirm a watch.
type watcher interface {
	set(code zkerr.Code, r *Reply, ws *watches)
}

// A PathError says what is wrong with a path that is not sent at all.
type PathError struct {
	Path, Reason string
}

func (e *PathError) Error() string { return e.Reason }

// ZKCode says that the arguments of a call were bad.
func (e *PathError) ZKCode() int32 { return int32(zkerr.BadArguments) }

// CheckPath says what is wrong with a path, in the words of Apache's clients.
func CheckPath(path string) error {
	bad := func(why string) error { return &PathError{Path: path, Reason: why} }
	switch {
	case path == "":
		return bad("Path length must be > 0")
	case path[0] != '/':
		return bad("Path must start with / character")
	case path == "/":
		return nil
	case path[len(path)-1] == '/':
		return bad("Path must not end with / character")
	}
	units := utf16.Encode([]rune(path)) // positions count as Apache counts them
	last := uint16('/')
	for i := 1; i < len(units); i++ {
		u := units[i]
		ends := i+1 == len(units) || units[i+1] == '/'
		why := ""
		switch {
		case u == 0:
			why = "null character not allowed"
		case u == '/' && last == '/':
			why = "empty node name specified"
		case u == '.' && ends && (last == '/' || last == '.' && units[i-2] == '/'):
			why = "relative paths not allowed"
		case u <= 0x1f, u >= 0x7f && u <= 0x9f, u >= 0xd800 && u <= 0xf8ff, u >= 0xfff0:
			why = "invalid character"
		}
		if why != "" {
			return bad(fmt.Sprintf("Invalid path string \"%s\" caused by %s @%d", path, why, i))
		}
		last = u
	}
	return nil
}

// serverPath puts the chroot before a path.
func serverPath(chroot, path string) string {
	if chroot != "" && path == "/" {
		return chroot
	}
	return chroot + path
}

// clientPath takes the chroot off a path that the server sent.
func clientPath(chroot, path string) string {
	if chroot == "" || !strings.HasPrefix(path, chroot) {
		return path
	}
	if path == chroot {
		return "/"
	}
	return path[len(chroot):]
}

// A CreateOp creates a znode. A nil ACL stands for OpenACL. WithStat asks for the new znode's Stat,
// which servers before 3.5 do not give; containers and TTL znodes come with it anyway.
type CreateOp struct {
	Path     string
	Data     []byte
	Mode     Mode
	ACL      []ACL
	TTL      time.Duration // of the two TTL modes
	WithStat bool
}

func (o CreateOp) code() proto.Op {
	switch {
	case o.Mode == Container:
		return proto.OpCreateContainer
	case o.Mode == PersistentTTL || o.Mode == PersistentSequentialTTL:
		return proto.OpCreateTTL
	case o.WithStat:
		return proto.OpCreate2
	}
	return proto.OpCreate
}
func (CreateOp) name() string   { return "create" }
func (o CreateOp) path() string { return o.Path }
func (o CreateOp) append(b []byte, chroot string) []byte {
	path := serverPath(chroot, o.Path)
	if chroot != "" && o.Path == "/" && (o.Mode == PersistentSequential || o.Mode == EphemeralSequential || o.Mode == PersistentSequentialTTL) {
		path += "/" // else the number would go behind the chroot's own name
	}
	b = jute.AppendString(b, path)
	b = jute.AppendBuffer(b, o.Data)
	acl := o.ACL
	if acl == nil {
		acl = OpenACL()
	}
	b = jute.AppendACLs(b, acl)
	b = jute.AppendInt(b, int32(o.Mode))
	if o.code() == proto.OpCreateTTL {
		b = jute.AppendLong(b, o.TTL.Milliseconds())
	}
	return b
}
func (o CreateOp) decode(d *jute.Decoder, r *Reply, chroot string) {
	r.Path = clientPath(chroot, d.String())
	if o.code() != proto.OpCreate {
		r.Stat = decodeStat(d)
	}
}

// A DeleteOp deletes a znode that has the version, any with -1.
type DeleteOp struct {
	Path    string
	Version int32
}

func (DeleteOp) code() proto.Op { return proto.OpDelete }
func (DeleteOp) name() string   { return "delete" }
func (o DeleteOp) path() string { return o.Path }
func (o DeleteOp) append(b []byte, chroot string) []byte {
	b = jute.AppendString(b, serverPath(chroot, o.Path))
	return jute.AppendInt(b, o.Version)
}
func (DeleteOp) decode(*jute.Decoder, *Reply, string) {}

// A CheckOp makes a multi fail unless the znode has the version. It can't go alone.
type CheckOp struct {
	Path    string
	Version int32
}

func (CheckOp) code() proto.Op { return proto.OpCheck }
func (CheckOp) name() string   { return "check" }
func (o CheckOp) path() string { return o.Path }
func (o CheckOp) append(b []byte, chroot string) []byte {
	return DeleteOp(o).append(b, chroot)
}
func (CheckOp) decode(*jute.Decoder, *Reply, string) {}

// A SetOp replaces a znode's data if it has the version, any with -1.
type SetOp struct {
	Path    string
	Data    []byte
	Version int32
}

func (SetOp) code() proto.Op { return proto.OpSetData }
func (SetOp) name() string   { return "set" }
func (o SetOp) path() string { return o.Path }
func (o SetOp) append(b []byte, chroot string) []byte {
	b = jute.AppendString(b, serverPath(chroot, o.Path))
	b = jute.AppendBuffer(b, o.Data)
	return jute.AppendInt(b, o.Version)
}
func (SetOp) decode(d *jute.Decoder, r *Reply, _ string) { r.Stat = decodeStat(d) }

// An ExistsOp asks for a znode's Stat. With Watch it also watches for its creation, deletion and
// change of data, whether it exists or not.
type ExistsOp struct {
	Path  string
	Watch bool
}

func (ExistsOp) code() proto.Op { return proto.OpExists }
func (ExistsOp) name() string   { return "exists" }
func (o ExistsOp) path() string { return o.Path }
func (o ExistsOp) append(b []byte, chroot string) []byte {
	return appendRead(b, chroot, o.Path, o.Watch)
}
func (ExistsOp) decode(d *jute.Decoder, r *Reply, _ string) { r.Stat = decodeStat(d) }
func (o ExistsOp) set(code zkerr.Code, r *Reply, ws *watches) {
	switch {
	case !o.Watch:
	case code == zkerr.OK:
		setOnce(ws, dataWatch, o.Path, r)
	case code == zkerr.NoNode:
		setOnce(ws, existWatch, o.Path, r)
	}
}

// A GetOp reads a znode's data. With Watch it also watches for its deletion and change of data.
type GetOp struct {
	Path  string
	Watch bool
}

func (GetOp) code() proto.Op { return proto.OpGetData }
func (GetOp) name() string   { return "get" }
func (o GetOp) path() string { return o.Path }
func (o GetOp) append(b []byte, chroot string) []byte {
	return appendRead(b, chroot, o.Path, o.Watch)
}
func (GetOp) decode(d *jute.Decoder, r *Reply, _ string) {
	r.Data = d.Buffer()
	r.Stat = decodeStat(d)
}
func (o GetOp) set(code zkerr.Code, r *Reply, ws *watches) {
	if o.Watch && code == zkerr.OK {
		setOnce(ws, dataWatch, o.Path, r)
	}
}

// A ChildrenOp reads the names of a znode's children, and its Stat. With Watch it also watches for
// its deletion and for children that come and go. NoStat uses the op that servers before 3.4 know.
type ChildrenOp struct {
	Path   string
	Watch  bool
	NoStat bool
}

func (o ChildrenOp) code() proto.Op {
	if o.NoStat {
		return proto.OpGetChildren
	}
	return proto.OpGetChildren2
}
func (ChildrenOp) name() string   { return "children" }
func (o ChildrenOp) path() string { return o.Path }
func (o ChildrenOp) append(b []byte, chroot string) []byte {
	return appendRead(b, chroot, o.Path, o.Watch)
}
func (o ChildrenOp) decode(d *jute.Decoder, r *Reply, _ string) {
	r.Children = d.Strings()
	if !o.NoStat {
		r.Stat = decodeStat(d)
	}
}
func (o ChildrenOp) set(code zkerr.Code, r *Reply, ws *watches) {
	if o.Watch && code == zkerr.OK {
		setOnce(ws, childWatch, o.Path, r)
	}
}

func appendRead(b []byte, chroot, path string, watch bool) []byte {
	b = jute.AppendString(b, serverPath(chroot, path))
	return jute.AppendBool(b, watch)
}

func setOnce(ws *watches, k kind, path string, r *Reply) {
	ch := make(chan Event, 1)
	ws.add(k, path, ch)
	r.Event = ch
}

// A GetACLOp reads a znode's ACL.
type GetACLOp struct{ Path string }

func (GetACLOp) code() proto.Op { return proto.OpGetACL }
func (GetACLOp) name() string   { return "getACL" }
func (o GetACLOp) path() string { return o.Path }
func (o GetACLOp) append(b []byte, chroot string) []byte {
	return jute.AppendString(b, serverPath(chroot, o.Path))
}
func (GetACLOp) decode(d *jute.Decoder, r *Reply, _ string) {
	r.ACL = d.ACLs()
	r.Stat = decodeStat(d)
}

// A SetACLOp replaces a znode's ACL if its Aversion is the version, any with -1.
type SetACLOp struct {
	Path    string
	ACL     []ACL
	Version int32
}

func (SetACLOp) code() proto.Op { return proto.OpSetACL }
func (SetACLOp) name() string   { return "setACL" }
func (o SetACLOp) path() string { return o.Path }
func (o SetACLOp) append(b []byte, chroot string) []byte {
	b = jute.AppendString(b, serverPath(chroot, o.Path))
	b = jute.AppendACLs(b, o.ACL)
	return jute.AppendInt(b, o.Version)
}
func (SetACLOp) decode(d *jute.Decoder, r *Reply, _ string) { r.Stat = decodeStat(d) }

// A SyncOp is answered when the server has all that the leader had committed when it got the op.
type SyncOp struct{ Path string }

func (SyncOp) code() proto.Op { return proto.OpSync }
func (SyncOp) name() string   { return "sync" }
func (o SyncOp) path() string { return o.Path }
func (o SyncOp) append(b []byte, chroot string) []byte {
	return jute.AppendString(b, serverPath(chroot, o.Path))
}
func (SyncOp) decode(d *jute.Decoder, r *Reply, chroot string) {
	r.Path = clientPath(chroot, d.String())
}

// A MultiOp does all of its ops or none: CreateOp, DeleteOp, SetOp, CheckOp.
type MultiOp struct{ Ops []Op }

func (MultiOp) code() proto.Op { return proto.OpMulti }
func (MultiOp) name() string   { return "multi" }
func (MultiOp) path() string   { return "" }
func (o MultiOp) append(b []byte, chroot string) []byte {
	for _, op := range o.Ops {
		b = appendMultiHeader(b, op.code(), false)
		b = op.append(b, chroot)
	}
	return appendMultiHeader(b, proto.OpError, true)
}

func appendMultiHeader(b []byte, code proto.Op, done bool) []byte {
	b = jute.AppendInt(b, int32(code))
	b = jute.AppendBool(b, done)
	return jute.AppendInt(b, -1)
}

func (o MultiOp) decode(d *jute.Decoder, r *Reply, chroot string) {
	var res proto.MultiResponse
	res.Decode(d)
	if d.Err() == nil && len(res.Results) != len(o.Ops) {
		d.Fail(fmt.Errorf("%d results for %d ops", len(res.Results), len(o.Ops)))
	}
	if d.Err() != nil {
		return
	}
	for _, m := range res.Results {
		p := m.Path
		if p != "" {
			p = clientPath(chroot, p)
		}
		r.Results = append(r.Results, Result{Code: m.Err, Path: p, Data: m.Data, Stat: m.Stat, Children: m.Children})
	}
	r.failed = o.failure(r.Results)
}

// failure is the error of the op that made a multi fail: the first that has a code of its own, as
// those behind it only say RuntimeInconsistency.
func (o MultiOp) failure(results []Result) error {
	for i, res := range results {
		if res.Code != zkerr.OK {
			return &zkerr.Error{Op: "multi: " + o.Ops[i].name(), Path: o.Ops[i].path(), Code: res.Code}
		}
	}
	return nil
}

// A MultiReadOp does many reads in one request: GetOp, ChildrenOp with NoStat. Each of them
// succeeds or fails by itself.
type MultiReadOp struct{ Ops []Op }

func (MultiReadOp) code() proto.Op { return proto.OpMultiRead }
func (MultiReadOp) name() string   { return "multiRead" }
func (MultiReadOp) path() string   { return "" }
func (o MultiReadOp) append(b []byte, chroot string) []byte {
	return MultiOp(o).append(b, chroot)
}
func (o MultiReadOp) decode(d *jute.Decoder, r *Reply, chroot string) {
	MultiOp(o).decode(d, r, chroot)
	r.failed = nil
}

// An AddWatchOp sets a watch that stays.
type AddWatchOp struct {
	Path string
	Mode WatchMode
}

func (AddWatchOp) code() proto.Op { return proto.OpAddWatch }
func (AddWatchOp) name() string   { return "addWatch" }
func (o AddWatchOp) path() string { return o.Path }
func (o AddWatchOp) append(b []byte, chroot string) []byte {
	b = jute.AppendString(b, serverPath(chroot, o.Path))
	return jute.AppendInt(b, int32(o.Mode))
}
func (AddWatchOp) decode(*jute.Decoder, *Reply, string) {}
func (o AddWatchOp) set(code zkerr.Code, r *Reply, ws *watches) {
	if code != zkerr.OK {
		return
	}
	r.Watch = &Watch{path: o.Path, recursive: o.Mode == PersistentRecursiveWatch, ready: make(chan struct{}, 1)}
	ws.addPersistent(r.Watch)
}

// A WatcherType selects the watches that RemoveWatchesOp and CheckWatchesOp mean.
type WatcherType = proto.WatcherType

// The types of watchers.
const (
	WatcherChildren            = proto.WatcherChildren
	WatcherData                = proto.WatcherData
	WatcherAny                 = proto.WatcherAny
	WatcherPersistent          = proto.WatcherPersistent
	WatcherPersistentRecursive = proto.WatcherPersistentRecursive
)

// A RemoveWatchesOp takes the client's watches of a type off a path. Their channels are closed
// without an event.
type RemoveWatchesOp struct {
	Path string
	Type WatcherType
}

func (RemoveWatchesOp) code() proto.Op { return proto.OpRemoveWatches }
func (RemoveWatchesOp) name() string   { return "removeWatches" }
func (o RemoveWatchesOp) path() string { return o.Path }
func (o RemoveWatchesOp) append(b []byte, chroot string) []byte {
	b = jute.AppendString(b, serverPath(chroot, o.Path))
	return jute.AppendInt(b, int32(o.Type))
}
func (RemoveWatchesOp) decode(*jute.Decoder, *Reply, string) {}
func (o RemoveWatchesOp) set(code zkerr.Code, _ *Reply, ws *watches) {
	if code == zkerr.OK {
		ws.removed(o.Path, o.Type)
	}
}

// A CheckWatchesOp asks whether the server has a watch of the type on a path: zkerr.NoWatcher if not.
type CheckWatchesOp struct {
	Path string
	Type WatcherType
}

func (CheckWatchesOp) code() proto.Op { return proto.OpCheckWatches }
func (CheckWatchesOp) name() string   { return "checkWatches" }
func (o CheckWatchesOp) path() string { return o.Path }
func (o CheckWatchesOp) append(b []byte, chroot string) []byte {
	return RemoveWatchesOp(o).append(b, chroot)
}
func (CheckWatchesOp) decode(*jute.Decoder, *Reply, string) {}

// A ReconfigOp changes the members of the ensemble. An empty string stands for null.
type ReconfigOp struct {
	Joining, Leaving, Members string
	Version                   int64 // of the configuration to change, -1 for any
}

func (ReconfigOp) code() proto.Op { return proto.OpReconfig }
func (ReconfigOp) name() string   { return "reconfig" }
func (ReconfigOp) path() string   { return "" }
func (o ReconfigOp) append(b []byte, _ string) []byte {
	b = jute.AppendNullableString(b, o.Joining, o.Joining == "")
	b = jute.AppendNullableString(b, o.Leaving, o.Leaving == "")
	b = jute.AppendNullableString(b, o.Members, o.Members == "")
	return jute.AppendLong(b, o.Version)
}
func (ReconfigOp) decode(d *jute.Decoder, r *Reply, chroot string) {
	GetOp{}.decode(d, r, chroot)
}

// An EphemeralsOp lists the session's ephemerals whose paths start with Prefix.
type EphemeralsOp struct{ Prefix string }

func (EphemeralsOp) code() proto.Op { return proto.OpGetEphemerals }
func (EphemeralsOp) name() string   { return "getEphemerals" }
func (o EphemeralsOp) path() string { return o.Prefix }
func (o EphemeralsOp) append(b []byte, chroot string) []byte {
	return jute.AppendString(b, serverPath(chroot, o.Prefix))
}
func (EphemeralsOp) decode(d *jute.Decoder, r *Reply, chroot string) {
	r.Children = d.Strings()
	for i, p := range r.Children {
		r.Children[i] = clientPath(chroot, p)
	}
}

// An AllChildrenNumberOp counts a znode's descendants.
type AllChildrenNumberOp struct{ Path string }

func (AllChildrenNumberOp) code() proto.Op { return proto.OpGetAllChildrenNum }
func (AllChildrenNumberOp) name() string   { return "getAllChildrenNumber" }
func (o AllChildrenNumberOp) path() string { return o.Path }
func (o AllChildrenNumberOp) append(b []byte, chroot string) []byte {
	return jute.AppendString(b, serverPath(chroot, o.Path))
}
func (AllChildrenNumberOp) decode(d *jute.Decoder, r *Reply, _ string) { r.Number = d.Int() }

// A WhoAmIOp lists the identities of the connection.
type WhoAmIOp struct{}

func (WhoAmIOp) code() proto.Op                   { return proto.OpWhoAmI }
func (WhoAmIOp) name() string                     { return "whoAmI" }
func (WhoAmIOp) path() string                     { return "" }
func (WhoAmIOp) append(b []byte, _ string) []byte { return b }
func (WhoAmIOp) decode(d *jute.Decoder, r *Reply, _ string) {
	n := d.Count(8)
	for range max(n, 0) {
		r.Users = append(r.Users, User{Scheme: d.String(), User: d.String()})
	}
}

// A RawOp sends any opcode and body, and keeps the body of the answer as it came.
type RawOp struct {
	Code proto.Op
	Body []byte
}

func (o RawOp) code() proto.Op                           { return o.Code }
func (RawOp) name() string                               { return "raw" }
func (RawOp) path() string                               { return "" }
func (o RawOp) append(b []byte, _ string) []byte         { return append(b, o.Body...) }
func (RawOp) decode(d *jute.Decoder, r *Reply, _ string) { r.Body = d.Rest() }

type closeOp struct{}

func (closeOp) code() proto.Op                       { return proto.OpCloseSession }
func (closeOp) name() string                         { return "closeSession" }
func (closeOp) path() string                         { return "" }
func (closeOp) append(b []byte, _ string) []byte     { return b }
func (closeOp) decode(*jute.Decoder, *Reply, string) {}

// An authOp is an auth as a call.
type authOp auth

func (authOp) code() proto.Op { return proto.OpAuth }
func (authOp) name() string   { return "addAuth" }
func (authOp) path() string   { return "" }
func (o authOp) append(b []byte, _ string) []byte {
	b = jute.AppendInt(b, 0)
	b = jute.AppendString(b, o.scheme)
	return jute.AppendBuffer(b, o.data)
}
func (authOp) decode(*jute.Decoder, *Reply, string) {}
