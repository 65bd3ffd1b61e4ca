// Package txn is what a write becomes once it is prepared: a record that any
// node applies without checking, in the form that is logged, proposed to
// followers and told to observers. One encoding serves all three.
//
//	Header   clientId long, cxid int, zxid long, time long, type int
//	record   by type, below
//	Digest   version int, treeDigest long; may be missing; what follows is ignored
//
//	 1 create, 15 create2   path, data buffer, acl vector, ephemeral bool, parentCVersion int
//	                        (before 3.4 without parentCVersion: known by the end of the data)
//	 2 delete               path
//	 5 setData              path, data buffer, version int (the new one)
//	 7 setACL               path, acl vector, version int (the new aversion)
//	13 check                path, version int; inside a multi only
//	14 multi               vector of {type int, data buffer}: records without a header
//	16 reconfig             as setData
//	19 createContainer      path, data, acl, parentCVersion int
//	20 deleteContainer      path
//	21 createTTL            path, data, acl, parentCVersion int, ttl long (ms)
//	-1 error                err int
//	-10 createSession       timeOut int (ms)
//	-11 closeSession        vector of paths; or nothing, if nothing follows it
//
// A [Txn] is one struct for all types, so that decoding one allocates its path
// and nothing else. What a txn does to the tree is package znode's business, and
// how txns stand in a file is txnlog's.
package txn
