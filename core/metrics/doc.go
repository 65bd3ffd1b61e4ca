// Package metrics counts and measures under Apache's names.
//
// A Registry holds every metric that Apache registers from its start, those of
// features that are not built included, so that dashboards find the names they
// know. Counters are atomic; a summary takes a lock for a few dozen
// nanoseconds, and is meant to be fed once for a batch. How the numbers are
// written out is the business of core/admin. Gauges are read off the node when
// somebody asks, and are no part of this.
package metrics
