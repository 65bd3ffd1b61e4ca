package metrics

import (
	"math"
	"sync"
	"time"
)

// The window that quantiles are taken over, and the steps in which it moves.
const (
	window = 10 * time.Minute
	ages   = 5
)

// A Summary keeps count, sum, least and largest of what it is fed since the
// start or a reset, and histograms of a sliding window and of all, from which
// quantiles are read to within 7 %.
type Summary struct {
	// Advanced says that Apache shows more quantiles of it.
	Advanced bool

	now    func() time.Time
	mu     sync.Mutex
	count  int64
	sum    float64
	min    float64
	max    float64
	all    *histogram
	recent [ages]*histogram
	age    int
	turned time.Time
	// What Prometheus shows never goes back, resets or not.
	allCount int64
	allSum   float64
}

// Observe takes in one value.
func (s *Summary) Observe(v float64) {
	if math.IsNaN(v) {
		return
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == 0 || v < s.min {
		s.min = v
	}
	if s.count == 0 || v > s.max {
		s.max = v
	}
	s.count++
	s.sum += v
	s.allCount++
	s.allSum += v
	s.turn(now)
	if s.all == nil {
		s.all = new(histogram)
	}
	if s.recent[s.age] == nil {
		s.recent[s.age] = new(histogram)
	}
	i := bucket(v)
	s.all.add(i)
	s.recent[s.age].add(i)
}

// turn moves the window up to now.
func (s *Summary) turn(now time.Time) {
	if s.turned.IsZero() {
		s.turned = now
		return
	}
	for n := 0; now.Sub(s.turned) >= window/ages && n < ages; n++ {
		s.turned = s.turned.Add(window / ages)
		s.age = (s.age + 1) % ages
		s.recent[s.age] = nil
	}
	if now.Sub(s.turned) >= window/ages {
		s.turned = now // nobody fed it for longer than the window
	}
}

// Totals are what a summary was fed since the start or a reset.
type Totals struct {
	Count    int64
	Sum      float64
	Min, Max float64
}

// Avg is the mean; 0 when empty.
func (t Totals) Avg() float64 {
	if t.Count == 0 {
		return 0
	}
	return t.Sum / float64(t.Count)
}

// Totals returns count, sum, min and max.
func (s *Summary) Totals() Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Totals{Count: s.count, Sum: s.sum, Min: s.min, Max: s.max}
}

// Lifetime returns count and sum since the start, whatever was reset.
func (s *Summary) Lifetime() (count int64, sum float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.allCount, s.allSum
}

// Recent returns quantiles of the last ten minutes; NaN when there was nothing.
func (s *Summary) Recent(qs ...float64) []float64 {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn(now)
	var sum histogram
	for _, h := range s.recent {
		if h != nil {
			sum.merge(h)
		}
	}
	return sum.quantiles(qs, math.NaN())
}

// Overall returns quantiles of all since the start or a reset; 0 when empty.
func (s *Summary) Overall(qs ...float64) []float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		return make([]float64, len(qs))
	}
	return s.all.quantiles(qs, 0)
}

func (s *Summary) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count, s.sum, s.min, s.max, s.all = 0, 0, 0, 0, nil
}

// A histogram counts by powers of two, each cut in eight: a value is known to
// within 1/16 of itself. It reaches from 2^-10 to 2^38, the rest goes to the
// ends, and 0 has a place of its own.
type histogram struct {
	n      int64
	counts [1 + 48*8]uint32
}

func bucket(v float64) int {
	if v <= 0 {
		return 0
	}
	bits := math.Float64bits(v)
	i := (int(bits>>52)-1023+10)*8 + int(bits>>49&7) + 1
	return min(max(i, 1), 48*8)
}

// middle is the value that stands for a bucket.
func middle(i int) float64 {
	if i == 0 {
		return 0
	}
	i--
	low := math.Ldexp(1+float64(i%8)/8, i/8-10)
	return low + math.Ldexp(1.0/16, i/8-10)
}

func (h *histogram) add(i int) {
	h.counts[i]++
	h.n++
}

func (h *histogram) merge(o *histogram) {
	h.n += o.n
	for i, c := range o.counts {
		h.counts[i] += c
	}
}

func (h *histogram) quantiles(qs []float64, empty float64) []float64 {
	out := make([]float64, len(qs))
	for i, q := range qs {
		out[i] = empty
		if h.n == 0 {
			continue
		}
		rank := int64(math.Ceil(q * float64(h.n)))
		var seen int64
		for b, c := range h.counts {
			if seen += int64(c); seen >= max(rank, 1) {
				out[i] = middle(b)
				break
			}
		}
	}
	return out
}
