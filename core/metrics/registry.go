package metrics

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Registry holds the metrics of one server.
type Registry struct {
	now       func() time.Time
	counters  map[string]*Counter // fixed once made: read without a lock
	summaries map[string]*Summary
	sets      map[string]*Set
	unknown   Counter
}

// A Counter only grows, but for Reset.
type Counter struct{ n atomic.Int64 }

// Add adds n.
func (c *Counter) Add(n int64) { c.n.Add(n) }

// Value is what was counted since the start, or since Reset.
func (c *Counter) Value() int64 { return c.n.Load() }

// New makes a registry with all of Apache's names. now is the clock by which
// the windows of summaries move; nil for the system's.
func New(now func() time.Time) *Registry {
	if now == nil {
		now = time.Now
	}
	r := &Registry{
		now: now, counters: make(map[string]*Counter), summaries: make(map[string]*Summary), sets: make(map[string]*Set),
	}
	for _, name := range counterNames {
		r.counters[name] = new(Counter)
	}
	for _, name := range basicNames {
		r.summaries[name] = &Summary{now: now}
	}
	for _, name := range advancedNames {
		r.summaries[name] = &Summary{now: now, Advanced: true}
	}
	for _, name := range basicSetNames {
		r.sets[name] = &Set{now: now}
	}
	for _, name := range advancedSetNames {
		r.sets[name] = &Set{now: now, Advanced: true}
	}
	return r
}

// Counter returns the counter of that name. A name that is not in the list gets
// one that nobody shows: a typing error must not stop a server.
func (r *Registry) Counter(name string) *Counter {
	if c, ok := r.counters[name]; ok {
		return c
	}
	return &r.unknown
}

// Add adds n to the counter of that name.
func (r *Registry) Add(name string, n int64) { r.Counter(name).Add(n) }

// Observe feeds the summary of that name, if there is one.
func (r *Registry) Observe(name string, v float64) {
	if s, ok := r.summaries[name]; ok {
		s.Observe(v)
	}
}

// ObserveKey feeds the summary of a key in the set of that name.
func (r *Registry) ObserveKey(name, key string, v float64) {
	if s, ok := r.sets[name]; ok {
		s.Observe(key, v)
	}
}

// Known says whether there is a metric of that name.
func (r *Registry) Known(name string) bool {
	return r.counters[name] != nil || r.summaries[name] != nil || r.sets[name] != nil
}

// Counters calls fn for each counter, by name.
func (r *Registry) Counters(fn func(name string, value int64)) {
	for _, name := range slices.Sorted(maps.Keys(r.counters)) {
		fn(name, r.counters[name].Value())
	}
}

// Summaries calls fn for each summary, by name.
func (r *Registry) Summaries(fn func(name string, s *Summary)) {
	for _, name := range slices.Sorted(maps.Keys(r.summaries)) {
		fn(name, r.summaries[name])
	}
}

// Sets calls fn for each summary of each set, by name and key.
func (r *Registry) Sets(fn func(name, key string, s *Summary)) {
	for _, name := range slices.Sorted(maps.Keys(r.sets)) {
		set := r.sets[name]
		set.mu.Lock()
		keys := slices.Sorted(maps.Keys(set.byKey))
		set.mu.Unlock()
		for _, key := range keys {
			fn(name, key, set.get(key))
		}
	}
}

// Reset sets counters and the totals of summaries back, as srst does.
func (r *Registry) Reset() {
	for _, c := range r.counters {
		c.n.Store(0)
	}
	for _, s := range r.summaries {
		s.reset()
	}
	for _, set := range r.sets {
		set.mu.Lock()
		clear(set.byKey)
		set.mu.Unlock()
	}
}

// maxKeys bounds a set: keys are server ids and first path elements, of which
// a client can make as many as it likes.
const maxKeys = 256

// A Set is summaries by key.
type Set struct {
	Advanced bool
	now      func() time.Time
	mu       sync.Mutex
	byKey    map[string]*Summary
}

// Observe feeds the summary of key; once there are too many keys, of "other".
func (s *Set) Observe(key string, v float64) { s.get(key).Observe(v) }

func (s *Set) get(key string) *Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey == nil {
		s.byKey = make(map[string]*Summary)
	}
	if sum, ok := s.byKey[key]; ok {
		return sum
	}
	if len(s.byKey) >= maxKeys {
		key = "other"
		if sum, ok := s.byKey[key]; ok {
			return sum
		}
	}
	sum := &Summary{now: s.now, Advanced: s.Advanced}
	s.byKey[key] = sum
	return sum
}
