package engine

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// acls are the access control lists in use, each one once: most znodes have one
// of very few. The keys are this store's own.
type acls struct {
	byKey  map[uint32]*aclEntry
	byText map[string]*aclEntry
	dirty  map[uint32]*aclEntry // what changed since the last commit
	next   uint32
	buf    []byte
}

type aclEntry struct {
	key  uint32
	refs int64 // znodes that have it
	list []jute.ACL
	text string // as it is encoded
	// rights is nil unless the list is long.
	rights *znode.Rights
}

func (a *acls) reset() {
	*a = acls{byKey: map[uint32]*aclEntry{}, byText: map[string]*aclEntry{}, dirty: map[uint32]*aclEntry{}, next: 1}
}

// list returns what key stands for. A key without a list, which a sound store
// does not hold, gives nobody anything.
func (a *acls) list(key uint32) []jute.ACL {
	if key == znode.OpenACL {
		return jute.OpenACL()
	}
	if e := a.byKey[key]; e != nil {
		return e.list
	}
	return []jute.ACL{{}}
}

// permits says whether a client known as ids may do what perm is the bit of to a znode with the list that key
// stands for.
func (a *acls) permits(key uint32, perm int32, ids []consensus.Identity) bool {
	if e := a.byKey[key]; e != nil && e.rights != nil {
		return e.rights.Permits(perm, ids)
	}
	return znode.Permits(a.list(key), perm, ids)
}

// use counts one more znode with this list and returns the list's key.
func (a *acls) use(list []jute.ACL) uint32 {
	if list == nil || znode.IsOpen(list) {
		return znode.OpenACL
	}
	a.buf = jute.AppendACLs(a.buf[:0], list)
	e := a.byText[string(a.buf)]
	if e == nil {
		for a.byKey[a.next] != nil || a.next == znode.OpenACL || a.next == 0 {
			a.next++
		}
		e = &aclEntry{key: a.next, list: slices.Clone(list), text: string(a.buf)}
		e.rights = znode.NewRights(e.list)
		a.next++
		a.byKey[e.key] = e
		a.byText[e.text] = e
	}
	e.refs++
	a.dirty[e.key] = e
	return e.key
}

// unuse counts one znode less.
func (a *acls) unuse(key uint32) {
	if e := a.byKey[key]; e != nil {
		e.refs--
		a.dirty[key] = e
	}
}

// flush puts into b what changed, and forgets the lists that nobody has.
func (a *acls) flush(b *storage.Batch) {
	if len(a.dirty) == 0 {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(a.dirty)) {
		e := a.dirty[key]
		if e.refs > 0 {
			value := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(e.text)), uint64(e.refs))
			b.TablePut(tableACLs, aclKey(key), append(value, e.text...))
			continue
		}
		delete(a.byKey, key)
		delete(a.byText, e.text)
		b.TableDelete(tableACLs, aclKey(key))
	}
	clear(a.dirty)
}

// load takes an entry of the table.
func (a *acls) load(key string, value []byte) bool {
	if len(key) != 4 || len(value) < 8 {
		return false
	}
	d := jute.NewDecoder(value[8:])
	e := &aclEntry{
		key:  binary.BigEndian.Uint32([]byte(key)),
		refs: int64(binary.BigEndian.Uint64(value)),
		list: d.ACLs(),
		text: string(value[8:]),
	}
	if d.Err() != nil {
		return false
	}
	e.rights = znode.NewRights(e.list)
	a.byKey[e.key] = e
	a.byText[e.text] = e
	return true
}

func aclKey(key uint32) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], key)
	return string(b[:])
}
