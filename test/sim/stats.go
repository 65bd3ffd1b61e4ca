package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Stats says what happened in a run, or in many.
type Stats struct {
	Events, Faults        int
	Txns, Calls, Replies  int
	Elections, Restarts   int
	Crashes, Exits, Snaps int
	Readers               int            // connections to servers without a leader
	Kinds                 map[string]int // of faults
	Done                  map[string]int // replies without an error, by operation
	Nanos                 int64          // of virtual time
}

func (s *Stats) add(o *Stats) {
	s.Events += o.Events
	s.Faults += o.Faults
	s.Txns += o.Txns
	s.Calls += o.Calls
	s.Replies += o.Replies
	s.Elections += o.Elections
	s.Restarts += o.Restarts
	s.Crashes += o.Crashes
	s.Exits += o.Exits
	s.Snaps += o.Snaps
	s.Readers += o.Readers
	s.Nanos += o.Nanos
	for k, n := range o.Kinds {
		s.Kinds[k] += n
	}
	for k, n := range o.Done {
		s.Done[k] += n
	}
}

// String is all of it in one line.
func (s *Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d events, %d txns, %d of %d requests answered, %d elections, %d ends of processes (%d by themselves), %d snapshots to learners, %d readers without a leader, %d faults:",
		s.Events, s.Txns, s.Replies, s.Calls, s.Elections, s.Crashes, s.Exits, s.Snaps, s.Readers, s.Faults)
	for i, k := range slices.Sorted(maps.Keys(s.Kinds)) {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, " %s %d", k, s.Kinds[k])
	}
	return b.String()
}
