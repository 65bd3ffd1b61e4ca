package history

import (
	"slices"
	"sync"
)

// A Log gathers records. It may be used from many goroutines; the order of the
// records is that of the calls of Append.
type Log struct {
	mu      sync.Mutex
	now     func() int64
	records []Record
}

// NewLog makes an empty log. now is the clock of the run in nanoseconds, which
// never goes back.
func NewLog(now func() int64) *Log { return &Log{now: now} }

// Append adds a record and sets its time. The log keeps r.Body: nobody changes it
// any more. It returns the record's time.
func (l *Log) Append(r Record) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.At = l.now() // under the lock: times are in the order of the records
	l.records = append(l.records, r)
	return r.At
}

// Len is the number of records.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.records)
}

// Records returns all records so far. Nobody changes them, nor what is in them.
func (l *Log) Records() []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clip(l.records)
}
