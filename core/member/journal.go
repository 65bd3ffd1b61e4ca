package member

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A Journal writes the log. What it is given is done in order; of what waits while a
// sync runs, all is written and synced together.
type Journal struct {
	log   *txnlog.Log
	Gauge *Gauge
	slow  time.Duration // a sync that takes longer is worth a line; 0: none is
	fail  func(code int, err error)
	slog  *slog.Logger
	m     Meter
	now   func() time.Duration // a clock that goes on

	// Whose turn it is, Run's: how many txns are written and not synced, and whom to tell.
	written int
	taken   []job // of a journal that somebody else runs: what it has begun with
	then    func(consensus.Zxid)

	mu     sync.Mutex
	more   sync.Cond
	jobs   []job
	closed bool
	full   bool // the jobs wait for space
	done   chan struct{}
	idle   chan struct{} // asks for zeros ahead
	wake   func()        // of a journal that somebody else runs: there is a job
	grown  chan struct{} // closed when nobody fills any more
}

// A job is txns to append or, after those given before are durable, fn. An fn returns
// what ends the process.
type job struct {
	txns []consensus.Txn
	then func(consensus.Zxid) // after these txns, and those behind them up to the zxid, are durable
	fn   func() error
}

// NewJournal makes one that writes to l. fail ends the process, with a code.
func NewJournal(l *txnlog.Log, g *Gauge, slow time.Duration, fail func(int, error), lg *slog.Logger, m Meter) *Journal {
	start := time.Now()
	j := &Journal{log: l, Gauge: g, slow: slow, fail: fail, slog: lg, m: m, now: func() time.Duration { return time.Since(start) },
		done: make(chan struct{}), idle: make(chan struct{}, 1), grown: make(chan struct{})}
	j.more.L = &j.mu
	return j
}

// Append appends txns, and calls then when they are durable. Of several thens only the
// last one of what was synced together is called: it says how far.
func (j *Journal) Append(txns []consensus.Txn, then func(consensus.Zxid)) {
	j.add(job{txns: txns, then: then})
}

// Do calls fn when all before is durable.
func (j *Journal) Do(fn func() error) { j.add(job{fn: fn}) }

func (j *Journal) add(k job) {
	j.mu.Lock()
	if !j.closed {
		j.jobs = append(j.jobs, k)
		j.more.Signal()
	}
	j.mu.Unlock()
	if j.wake != nil {
		j.wake()
	}
}

// Run does the jobs until Close, and those given before that.
func (j *Journal) Run() {
	defer close(j.done)
	go j.grow()
	defer func() { close(j.idle); <-j.grown }()
	var jobs []job
	for {
		j.mu.Lock()
		for !j.closed && (len(j.jobs) == 0 || j.full) {
			j.more.Wait()
		}
		if len(j.jobs) == 0 || j.full {
			// What can't be written was never acknowledged.
			j.mu.Unlock()
			return
		}
		jobs, j.jobs = j.jobs, jobs[:0]
		j.mu.Unlock()
		if !j.fits(jobs) {
			continue
		}
		if err := j.work(jobs); err != nil {
			// What is on the disk now nobody knows: not a word of it to anybody.
			j.fail(ExitCode(err), err)
			return
		}
		clear(jobs)
	}
}

// fits says whether there is space for what the jobs write. If not, they wait: the order
// is kept, nothing of them is acknowledged, and no write fails that could end the process.
func (j *Journal) fits(jobs []job) bool {
	n := int64(0)
	for i := range jobs {
		n += int64(size(jobs[i].txns))
		if simbug.On("space-for-each-job") { // each may grow the file
			n += ahead
		}
	}
	if n > 0 {
		n += ahead // once: what is grown into is counted already
	}
	// The gauge calls Resume: mu is not held here.
	if n == 0 || j.Gauge.room(n) {
		return true
	}
	j.mu.Lock()
	j.full = true
	j.jobs = append(append([]job(nil), jobs...), j.jobs...)
	j.mu.Unlock()
	if !j.Gauge.Picture().Full {
		j.Resume() // it came in between
	}
	return false
}

// ahead is by how much a file may grow beyond what is appended.
const ahead = 2 << 20

// Resume says that there is space again.
func (j *Journal) Resume() {
	j.mu.Lock()
	j.full = false
	j.more.Signal()
	j.mu.Unlock()
	if j.wake != nil {
		j.wake()
	}
}

func (j *Journal) work(jobs []job) error {
	for len(jobs) > 0 || j.written > 0 {
		var err error
		if jobs, err = j.step(jobs); err != nil {
			return err
		}
	}
	return nil
}

// step does the next thing that is to be done, and returns what is left: it writes the
// txns up to the next fn, syncs them, or calls the fn.
func (j *Journal) step(jobs []job) ([]job, error) {
	switch {
	case len(jobs) > 0 && jobs[0].fn == nil:
		for len(jobs) > 0 && jobs[0].fn == nil {
			if err := j.log.Append(jobs[0].txns); err != nil {
				return jobs, fmt.Errorf("transaction log: %w", err)
			}
			j.written += len(jobs[0].txns)
			j.then = jobs[0].then
			jobs = jobs[1:]
		}
		if simbug.On("ack-before-sync") {
			j.then(j.log.Last()) // written is taken for durable
		}
		return jobs, nil
	case j.written > 0:
		return jobs, j.sync()
	default:
		return jobs[1:], jobs[0].fn()
	}
}

func (j *Journal) sync() error {
	start := j.now()
	n, then := j.written, j.then
	j.written, j.then = 0, nil
	z, err := j.log.Sync()
	if err != nil {
		return fmt.Errorf("transaction log: sync: %w", err)
	}
	took := j.now() - start
	then(z)
	j.m.Observe("fsynctime", float64(took)/1e6)
	j.m.Observe("sync_processor_batch_size", float64(n))
	if j.slow > 0 && took > j.slow {
		j.m.Add("fsync_threshold_exceed_count", 1)
		j.slog.Warn("fsync of the transaction log took long: clients wait for it", "ms", took.Milliseconds())
	}
	if j.log.Low() {
		select {
		case j.idle <- struct{}{}:
		default:
		}
	}
	return nil
}

// grow fills the file with zeros ahead of its records, beside the writing.
func (j *Journal) grow() {
	defer close(j.grown)
	for range j.idle {
		if !j.Gauge.room(ahead) {
			continue // the next append asks again
		}
		if err := j.log.Preallocate(); err != nil {
			j.fail(ExitCode(err), fmt.Errorf("transaction log: preallocate: %w", err))
			return
		}
	}
}

// Close ends Run when the jobs given so far are done, and closes the log.
func (j *Journal) Close() error {
	j.mu.Lock()
	j.closed = true
	j.more.Broadcast()
	j.mu.Unlock()
	<-j.done
	return j.log.Close()
}

// Drive is for a journal that somebody else runs, one thing at a time with Turn: wake says that
// there is one, and now is the clock in place of the machine's.
func (j *Journal) Drive(wake func(), now func() time.Duration) { j.wake, j.now = wake, now }

// Turn does the next thing for the log: a write of all that waits, the sync behind it,
// which tells what is durable, or a change of another kind.
func (j *Journal) Turn() error {
	j.mu.Lock()
	full := j.full
	j.mu.Unlock()
	if full {
		j.Gauge.Measure()
	}
	if len(j.taken) == 0 && j.written == 0 {
		j.mu.Lock()
		if !j.full {
			j.taken, j.jobs = j.jobs, nil
		}
		j.mu.Unlock()
		if len(j.taken) == 0 {
			return nil
		}
		if !j.fits(j.taken) {
			j.taken = nil
			return nil
		}
	}
	var err error
	if j.taken, err = j.step(j.taken); err != nil {
		return err
	}
	select {
	case <-j.idle:
		if !j.Gauge.room(ahead) {
			return nil
		}
		return j.log.Preallocate()
	default:
		return nil
	}
}

// Waits says whether Turn has something to do.
func (j *Journal) Waits() bool { return len(j.taken) > 0 || j.written > 0 || len(j.jobs) > 0 }

// WaitsForSpace says that the disk is full: Turn looks again, and does nothing else
// before there is space.
func (j *Journal) WaitsForSpace() bool { return j.full }

// Finish does what is left for a journal that is driven, and closes the log.
func (j *Journal) Finish() error {
	// What can't be written was never acknowledged.
	for j.Waits() && !j.WaitsForSpace() {
		if err := j.Turn(); err != nil {
			return err
		}
	}
	if err := j.log.Close(); err != nil {
		return fmt.Errorf("transaction log: %w", err)
	}
	return nil
}

// ReadLog calls take with the txns above from, up to last, in batches. It fails if one of
// them is not there, or if what is not in the log might be one of them.
func ReadLog(l *txnlog.Log, from, last consensus.Zxid, take func([]consensus.Txn) error) error {
	if from >= last {
		return nil
	}
	r, err := l.ReaderAbove(from)
	if err != nil {
		return err
	}
	defer func() { r.Close() }()
	var (
		txns  []consensus.Txn
		arena []byte
		at    = from
	)
	const arenaSize = 256 << 10
	for at < last {
		t, err := r.Next()
		if errors.Is(err, txnlog.ErrCut) {
			// What a leader does not have was cut off behind last, or what is asked for is missing now.
			above, err := l.ReaderAbove(at)
			if err != nil {
				return err
			}
			r.Close()
			r = above
			continue
		}
		if err == io.EOF {
			return fmt.Errorf("transaction log: it ends at %v, %v is missing", at, last)
		}
		if err != nil {
			return err
		}
		if t.Zxid <= at {
			continue
		}
		if t.Zxid > last {
			return fmt.Errorf("transaction log: %v is missing", last)
		}
		if t.Zxid != at+1 && !(t.Zxid.Epoch() > at.Epoch() && t.Zxid.Counter() == 1) {
			return fmt.Errorf("transaction log: between %v and %v something is missing", at, t.Zxid)
		}
		if len(arena)+len(t.Data) > cap(arena) {
			if len(txns) > 0 {
				if err := take(txns); err != nil {
					return err
				}
				txns = nil
			}
			arena = make([]byte, 0, max(arenaSize, len(t.Data)))
		}
		n := len(arena)
		arena = append(arena, t.Data...)
		txns = append(txns, consensus.Txn{Zxid: t.Zxid, Data: arena[n:len(arena):len(arena)]})
		at = t.Zxid
	}
	if len(txns) == 0 {
		return nil
	}
	return take(txns)
}
