// Package mem is the store that keeps all records in memory: many of them in
// little, read in the time of two or three cache misses.
//
// It implements the contract of plugins/storage and nothing else: what is in a
// record is the engine's business, and making it durable is the transaction
// log's.
//
// # Where things are
//
// Everything that grows with the number of records lies outside of the Go heap,
// in memory mapped from the system (pages.go), so that the collector neither
// scans it nor lets as much garbage pile up beside it.
//
//   - An arena (arena.go) hands out blocks by size class. A block has a ref of 32
//     bits, counted in units of 8 bytes, which bounds a store at 32 GiB.
//   - A record (record.go) is one block: a header of 8 bytes, its key, head and
//     data. A znode's key is its whole path. A table's entry is a record, too,
//     with the table's number in the header.
//   - The index (index.go) finds a record by the hash of its key. It is one
//     sorted sequence of hashes with gaps, cut into segments which grow and split
//     one by one, so that no insert pays for all.
//   - The children of a znode, and the entries of a table, are a list of refs
//     ordered by key (list.go): one block, or a root over leaves. The index knows
//     a list by the hash of its parent's path; a znode without children costs
//     nothing for it.
//
// A znode with 20 bytes of path, 84 of head and 100 of data takes some 232 bytes:
// a record of 216, 10 in the index, 4 to 6 in its parent's list, 1 or 2 for the
// arena's tables.
//
// # Views
//
// Each commit has an epoch, and a view shows all that is not younger than the
// epoch in which it was taken (state.go, view.go). Without a view, or for what no
// view can see, records are written in place. Otherwise a record is replaced by
// a new one that carries its epoch and a ref to the one before it: that is how a
// view gets from the newest record, which the index and the lists refer to, to
// its own. A deleted record is followed by a dead one. What no view can see any
// more is freed when the views that could are released, in small portions.
//
// Records that a view shows never change, so only the index and the lists need a
// lock between readers and the committer: a few read-write locks, of which a
// reader takes one and a committer all, but only if there is a view to share
// with. A node releases its view before each commit and meets no lock.
package mem
