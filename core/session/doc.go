// Package session knows when sessions end: a table of all of them in buckets of
// the tick, and the numbers that new ones get.
//
// The leader of an ensemble alone ends sessions. Its table is told of each sign
// of life, and of the time, which is monotonic and in milliseconds; it starts no
// timer and asks no clock. A session expires with its whole bucket, so that it
// lives for its timeout at least and for a tick more at most, and a million of
// them cost one map operation per sign of life.
//
// Who may speak for a session, and what becomes of its ephemerals, is engine's
// business.
package session
