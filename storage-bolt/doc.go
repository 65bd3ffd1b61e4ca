// Package bolt is the store that keeps the tree in a file: for trees larger than
// memory, and for starts that load nothing.
//
// Open returns a tree (tree.go), each commit of which is one synced transaction of
// bbolt's, behind the layer of plugins/storage/behind, which gathers many commits
// for one and caches records.
//
// # The file
//
// tree.db is a bbolt file with four buckets. Numbers are big-endian, and each value
// begins with a checksum of its key and itself (value.go).
//
//	records  depth, path               → flags, head, data (up to 1 KiB)
//	data     depth, path               → data that is longer
//	tables   table's length, table, key → value
//	meta     "state"                   → format 4 bytes, applied 8, number of records 8
//
// Keys begin with a number of one byte or five, so that the children of a znode
// stand together in the order of their names, and parents before them (key.go). A
// key longer than the file takes is cut, and its rest is in the value. The first
// and the last key of each bucket are marks, 00 and ff, so that every key that is
// looked for has two neighbours.
//
// Data, and the zxid up to which it reaches, change in one transaction. A file that
// is begun anew (Reset, Compact) is made as tree.db.new and renamed when it is
// whole. Open writes the newest head once more and syncs it: what the system shows
// of it need not be on the disk.
//
// # Reads
//
// bbolt trusts its pages. So it is asked for transactions, which keep pages from
// being used anew, and for writes; pages are read by pread and checked on each
// read (page.go, cursor.go). What is not what it was written to be is a Damage.
// The tree then marks its directory with a file named damaged, so that no later
// life opens it before it is discarded. docs/decisions/0020 tells what is seen and
// what is not.
package bolt
