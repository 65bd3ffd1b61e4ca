package session

import "slices"

// A Table is the sessions that a leader keeps alive. It is not safe for
// concurrent use.
//
// Inside, time is what has counted of it: less what Pause was told of.
type Table struct {
	tickMS  int64
	lost    int64 // ms that did not count
	byID    map[int64]tracked
	buckets map[int64]*bucket // end → who is in it
	next    int64             // the earliest bucket there may be; 0 if there is none
	free    []*bucket
}

// A tracked session has the end of its bucket, and the timeout by which it was
// reckoned.
type tracked struct {
	end       int64
	timeoutMS int32
}

// A bucket is the sessions that end at the same time. Leaving one costs nothing:
// an id counts only where byID says that it is.
type bucket struct{ ids []int64 }

// New makes an empty table. tickMS is the width of a bucket.
func New(tickMS int64) *Table {
	return &Table{tickMS: max(tickMS, 1), byID: map[int64]tracked{}, buckets: map[int64]*bucket{}}
}

// Add tracks a session from now on; one that is tracked already is touched. The
// timeout is what its client has now: shorter than before, it ends sooner.
func (t *Table) Add(id int64, timeoutMS int32, now int64) { t.put(id, timeoutMS, now-t.lost) }

// Touch says that a session was heard from at a time, which may be in the past: the
// session ends no sooner for it. It reports false, and does nothing, if the session is
// not tracked.
func (t *Table) Touch(id int64, timeoutMS int32, at int64) bool {
	at -= t.lost
	was, ok := t.byID[id]
	if ok && t.end(timeoutMS, at) > was.end {
		t.put(id, timeoutMS, at)
	}
	return ok
}

// Heard is Touch by one who does not know the timeout: it is the one that the
// session's end goes by now.
func (t *Table) Heard(id int64, at int64) bool { return t.Touch(id, t.byID[id].timeoutMS, at) }

// end is the end of the bucket of who was heard from at a time.
func (t *Table) end(timeoutMS int32, at int64) int64 {
	return ((at+int64(timeoutMS))/t.tickMS + 1) * t.tickMS
}

func (t *Table) put(id int64, timeoutMS int32, now int64) {
	end := t.end(timeoutMS, now)
	was, ok := t.byID[id]
	t.byID[id] = tracked{end, timeoutMS}
	if ok && was.end == end {
		return
	}
	b := t.buckets[end]
	if b == nil {
		if n := len(t.free); n > 0 {
			b, t.free = t.free[n-1], t.free[:n-1]
		} else {
			b = &bucket{}
		}
		t.buckets[end] = b
		if t.next == 0 || end < t.next {
			t.next = end
		}
	}
	b.ids = append(b.ids, id)
}

// Pause says that so many ms of the time until now do not count: every session ends
// that much later. What was heard before the pause has been told before it.
func (t *Table) Pause(ms int64) { t.lost += ms }

// Fresh gives the sessions whose timeout is at most that long the whole of it from now on.
func (t *Table) Fresh(now, atMostMS int64) {
	for id, s := range t.byID { // the order of a bucket's sessions is nowhere seen
		if int64(s.timeoutMS) <= atMostMS {
			t.put(id, s.timeoutMS, now-t.lost)
		}
	}
}

// Remove forgets a session; an unknown one is no error.
func (t *Table) Remove(id int64) { delete(t.byID, id) }

// End is when a session expires unless it is touched.
func (t *Table) End(id int64) (at int64, ok bool) {
	s, ok := t.byID[id]
	return s.end + t.lost, ok
}

// Len is the number of sessions.
func (t *Table) Len() int { return len(t.byID) }

// Next is the time at which the next bucket ends, 0 if there is none. Nobody in
// it need be alive still.
func (t *Table) Next() int64 {
	if t.next == 0 {
		return 0
	}
	return t.next + t.lost
}

// Expire forgets the sessions whose bucket has ended at now and returns them in
// ascending order, so that the same table says the same everywhere.
func (t *Table) Expire(now int64) []int64 {
	now -= t.lost
	var dead []int64
	for t.next != 0 && t.next <= now {
		end := t.next
		b := t.buckets[end]
		for _, id := range b.ids {
			if s, ok := t.byID[id]; ok && s.end == end {
				delete(t.byID, id)
				dead = append(dead, id)
			}
		}
		t.drop(end, b)
		t.next = t.earliest()
	}
	slices.Sort(dead)
	return dead
}

func (t *Table) drop(end int64, b *bucket) {
	delete(t.buckets, end)
	b.ids = b.ids[:0]
	if cap(b.ids) <= 4096 && len(t.free) < 64 {
		t.free = append(t.free, b)
	}
}

// earliest finds the first bucket. There are as many as the longest timeout has
// ticks.
func (t *Table) earliest() int64 {
	var first int64
	for end := range t.buckets {
		if first == 0 || end < first {
			first = end
		}
	}
	return first
}

// Reset forgets all sessions.
func (t *Table) Reset() {
	clear(t.byID)
	clear(t.buckets)
	t.next = 0
}
