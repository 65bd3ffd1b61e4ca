package history

import (
	"fmt"
	"slices"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/txnlog"
)

// ReadTree reads the state that a snapshot holds. What the snapshot says of its digest and its
// zxid is in the trailer: a stream says neither.
func ReadTree(r *txnlog.SnapshotReader) (Tree, txnlog.Trailer, error) {
	t := Tree{Sessions: map[int64]int32{}}
	lists := map[int64][]jute.ACL{-1: jute.OpenACL()}
	err := r.Sessions(func(id int64, timeoutMS int32) error {
		t.Sessions[id] = timeoutMS
		return nil
	})
	if err == nil {
		err = r.ACLs(func(key int64, acl []jute.ACL) error {
			lists[key] = acl
			return nil
		})
	}
	if err == nil {
		err = r.Nodes(func(n *txnlog.Node) error {
			z := Znode{
				Path: n.Path, Data: slices.Clone(n.Data), ACL: lists[n.ACL],
				Czxid: n.Stat.Czxid, Mzxid: n.Stat.Mzxid, Pzxid: n.Stat.Pzxid, Ctime: n.Stat.Ctime, Mtime: n.Stat.Mtime,
				Version: n.Stat.Version, Creates: n.Stat.Cversion, Aversion: n.Stat.Aversion, Owner: n.Stat.EphemeralOwner,
			}
			if z.Path == "" {
				z.Path = "/"
			}
			if z.ACL == nil {
				return fmt.Errorf("%s: no ACL has the key %d", z.Path, n.ACL)
			}
			t.Nodes = append(t.Nodes, z)
			return nil
		})
	}
	if err != nil {
		return t, txnlog.Trailer{}, err
	}
	trailer, err := r.Finish()
	return t, trailer, err
}
