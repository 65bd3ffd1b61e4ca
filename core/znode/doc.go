// Package znode is what a znode is: the layout of its record, its kinds, its
// share of the tree digest, its access control list.
//
// A record has a head, of fixed length, and the data. The head holds what the
// server alone knows and then the Stat as a reply carries it, so that an answer
// is a copy:
//
//	 0  ACL key         uint32  the list's number in this store; OpenACL for world:anyone:31
//	 4  creates         int32   children ever created: the stored cversion
//	 8  owner           int64   the stored ephemeralOwner: session, container, TTL
//	16  czxid           int64   the Stat, 68 bytes, from here on
//	24  mzxid           int64
//	32  ctime           int64
//	40  mtime           int64
//	48  version         int32
//	52  cversion        int32   as reported: 2*creates - numChildren
//	56  aversion        int32
//	60  ephemeralOwner  int64   as reported: 0 for containers and TTL nodes
//	68  dataLength      int32
//	72  numChildren     int32
//	76  pzxid           int64
//
// All integers are big-endian. Which change a txn makes to which head is
// engine's business, and where records are kept is the store's.
package znode
