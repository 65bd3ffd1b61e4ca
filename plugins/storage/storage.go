// Package storage is the contract between a node and the store that holds its
// znode records.
//
// A store keeps records by path and a few small tables, and knows none of
// ZooKeeper's rules: what a record's bytes mean, which znode may have children
// and who may read it are the engine's business. A store is derived state. The
// transaction log makes a write durable, so a store may lose what Durable does
// not cover; what it must not do is show half of a batch.
//
// The kit in storagetest checks an implementation of this contract, promise by
// promise.
package storage

import (
	"context"
	"errors"
	"log/slog"
)

// ErrClosed is returned by calls on a store that was closed.
var ErrClosed = errors.New("storage: store is closed")

// ErrDamaged says that what a store has on disk is not what it wrote. Errors that
// are it name the file and the place in it. Nothing is served out of such a
// store: it is opened again with Config.Discard, and filled anew from a snapshot
// and the log, or from another server. That is done when Open returns it; so a store
// in which it was met later remembers it on disk until it is discarded.
var ErrDamaged = errors.New("storage: the store is damaged")

// An OptionError is what Open returns for an option that a store can't use: whoever has read
// the configuration says where it stands.
type OptionError struct {
	Key    string // as in Config.Options
	Reason string
}

func (e *OptionError) Error() string { return e.Key + ": " + e.Reason }

// A Record is what a store keeps for one path: a head of a few dozen bytes that
// changes often (the stat, and what the engine needs beside it) and the data,
// which may be large and changes seldom. Both are opaque to the store.
type Record struct {
	Head []byte
	Data []byte // nil and empty are told apart
}

// A Store keeps one node's records and tables. Commit, Reset and Close are called by
// one goroutine at a time; the others by any, also beside those.
type Store interface {
	// View returns a consistent view of the last committed batch. It stays what
	// it is while later batches are committed, until it is released. Taking a
	// view is cheap: a node takes one after every batch, and others for as long
	// as writing a snapshot lasts. It releases the one before it commits the next
	// batch, so that a store which has no other view to keep may write in place.
	View() View

	// Commit applies the batch whole, or, with an error, not at all. When it
	// returns nil, views taken from now on show it. It keeps nothing of the batch,
	// neither slices nor strings: the caller reuses its memory. A nil error says
	// nothing about durability.
	Commit(*Batch) error

	// Applied is the Zxid of the last committed batch; after Open, of the last
	// one that survived; 0 for an empty store.
	Applied() int64

	// Durable is the zxid up to which the store alone survives a crash; 0 for a
	// store in memory. It waits for no Commit or Flush that is under way: a store in
	// another process that does not say it in time is given up.
	Durable() int64

	// Flush makes durable what was committed before the call, as far as the
	// store can: Durable() is not below the Applied() of the call's begin then,
	// or it is 0 for ever.
	Flush(ctx context.Context) error

	// Reset empties the store: no records, no tables, Applied() is 0. Views taken
	// before stay valid. In a store that survives crashes it is durable when it
	// returns.
	Reset() error

	// Stats is a picture of the store for an operator's eyes. What a store does not
	// have is 0.
	Stats() Stats

	// Close frees what the store holds. A store that survives makes durable what it
	// can first. All views must have been released, and
	// Commit, Reset and Flush return ErrClosed from now on.
	Close() error
}

// A View is a consistent state of a store. It may be read by any number of
// goroutines, also while batches are committed. What its methods hand out is
// valid until Release, or as long as they say, and must not be changed; a caller
// that needs it longer copies it. A function that they call may use the view,
// and they don't hold up commits while it runs.
type View interface {
	// Applied is the zxid of the batch that this view shows.
	Applied() int64

	// Get returns the record of path; ok is false if there is none. An error
	// means that the store can't be read: the node stops. The path is the caller's
	// and valid during the call: a store that keeps it, in a cache say, copies it.
	Get(path string) (rec Record, ok bool, err error)

	// Children calls fn with the name (the last segment) of each child of path,
	// in byte order, until fn returns false. A path without a record has none. The
	// name is valid during the call of fn only, unless it is copied.
	Children(path string, fn func(name string) bool) error

	// Walk calls fn for every record, parents before their children, until fn
	// returns false. The path and the record are valid during the call of fn only.
	Walk(fn func(path string, rec Record) bool) error

	// Len is the number of records.
	Len() int

	// TableGet returns the value of key in a table; ok is false if there is none.
	// A table is there as soon as something was put into it. For a value, nil and
	// empty are the same.
	TableGet(table, key string) (value []byte, ok bool, err error)

	// TableScan calls fn for each entry of a table whose key begins with prefix,
	// in byte order of the keys, until fn returns false. Key and value are valid
	// during the call of fn only.
	TableScan(table, prefix string, fn func(key string, value []byte) bool) error

	// Release ends the view. It is called once, when nobody reads the view or what
	// it handed out any more.
	Release()
}

// Stats says what a store takes, and what has gone on in it since it was opened.
// Everything is in bytes, unless its name says otherwise.
type Stats struct {
	// File is the size of what is on disk, Free how much of that is free for reuse.
	File, Free int64
	// Gathered is what is committed and not on disk yet.
	Gathered int64
	// Flushes counts the transactions that brought it there, FlushedOps the
	// records and entries in them.
	Flushes, FlushedOps int64
	// Cache is what a cache of records holds; Hits and Misses count the reads that
	// found their record there, and that did not.
	Cache, Hits, Misses int64
}

// Open opens a store in dir, its own directory, which it creates when it needs
// one. A store that keeps no files ignores dir.
type Open func(Config) (Store, error)

// Tools are what a store can do with its directory while no server has it open. What
// it can't do is nil.
type Tools struct {
	// Compact makes what is on disk as small as it can, and returns its size before
	// and after. It may end at any point and leaves the store as it was, or as it is
	// to be.
	Compact func(Config) (before, after int64, err error)
	// Check reads all that is on disk; an error that is ErrDamaged says what is wrong.
	Check func(Config) error
}

// Config is what a store is opened with.
type Config struct {
	// Dir is the store's own directory; it may not exist yet.
	Dir string
	// Options are the configuration's keys that begin with
	// "zkcore.storage.NAME.", without that prefix. A key that the store doesn't
	// know, or a value that it can't use, is an OptionError.
	Options map[string]string
	// Discard opens an empty store whatever is in Dir, which may be damaged. Of
	// that the store may keep a copy for an operator's eyes.
	Discard bool
	// Log takes one line per event that an operator cares about. Nil: none.
	Log *slog.Logger
	// Fail is told when the store can't keep what it holds while nobody waits for
	// it: its file can't be written, or is damaged. Calls that come later fail, too.
	// It may be nil, and it may be called from any goroutine.
	Fail func(error)
}
