// Package behind makes a fast store out of one whose commits are slow: it stands
// before a store that syncs each commit to a disk, or that lives in another process.
//
// Committed batches gather in memory and are written behind the caller's back: many
// of them as one batch of the store behind, so that this is never in the middle of
// one. Reads look in a cache of records first, then in what has gathered, then in
// the store behind.
//
//	Commit ──→ layer (gathering) ──→ layer (being written) ──→ store behind
//	              ↑ cache of records (Get only)
//	View = both layers and a view of the store behind, as they were when it was taken
//
// A layer (layer.go) is an ordered map that never changes: a commit makes a new one
// that shares with the last what is the same. So a view is three pointers, it stays
// what it is without a lock, and it keeps alive what it shows and no more. The cache
// (cache.go) knows from which commit on what it holds is valid, and so do the slots
// before it that have what was read last (hot.go).
//
// # What is durable
//
// What the store behind says is. What has gathered is lost with the process, and the
// log has it: it is bounded in bytes, in records and in time. Over half of the bound
// it is written; over the bound commits wait.
//
// An error of the store behind is for good: nothing is written after it, Commit
// returns it from then on, and Fail is told.
package behind
