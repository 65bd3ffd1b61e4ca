package metrics

import (
	"math"
	"sync"
	"testing"
	"time"
)

func TestSummary(t *testing.T) {
	now := time.Unix(1000, 0)
	r := New(func() time.Time { return now })
	for i := 1; i <= 1000; i++ {
		r.Observe("fsynctime", float64(i))
	}
	s := r.summaries["fsynctime"]
	if got := s.Totals(); got.Count != 1000 || got.Sum != 500500 || got.Min != 1 || got.Max != 1000 || got.Avg() != 500.5 {
		t.Errorf("totals %+v", got)
	}
	for q, want := range map[float64]float64{0.5: 500, 0.99: 990} {
		for _, got := range []float64{s.Recent(q)[0], s.Overall(q)[0]} {
			if math.Abs(got-want)/want > 0.07 {
				t.Errorf("quantile %v: %v, want about %v", q, got, want)
			}
		}
	}
	now = now.Add(5 * time.Minute)
	r.Observe("fsynctime", 5)
	now = now.Add(6 * time.Minute)
	if got := s.Recent(0.99)[0]; math.Abs(got-5) > 0.5 {
		t.Errorf("after the window moved on: %v, want 5", got)
	}
	now = now.Add(time.Hour)
	if got := s.Recent(0.5)[0]; !math.IsNaN(got) {
		t.Errorf("an empty window shows %v, want NaN", got)
	}
	r.Reset()
	if got := s.Totals(); got != (Totals{}) {
		t.Errorf("after a reset: %+v", got)
	}
	if n, sum := s.Lifetime(); n != 1001 || sum != 500505 {
		t.Errorf("a reset took the lifetime back to %d, %v", n, sum)
	}
}

func TestBuckets(t *testing.T) {
	for v := 0.001; v < 1e10; v *= 1.37 {
		if got := middle(bucket(v)); math.Abs(got-v)/v > 1.0/14 {
			t.Errorf("%v is shown as %v", v, got)
		}
	}
	for _, v := range []float64{0, -3} {
		if middle(bucket(v)) != 0 {
			t.Errorf("%v is shown as %v", v, middle(bucket(v)))
		}
	}
	if bucket(1e300) != 48*8 || bucket(1e-300) != 1 {
		t.Error("a value out of range is not at the end")
	}
}

func TestKeysAreBounded(t *testing.T) {
	r := New(nil)
	for i := range 10 * maxKeys {
		r.ObserveKey("write_per_namespace", string(rune('a'+i)), 1)
	}
	n, total := 0, int64(0)
	r.Sets(func(name, key string, s *Summary) { n++; total += s.Totals().Count })
	if n != maxKeys+1 || total != 10*maxKeys {
		t.Errorf("%d keys with %d values", n, total)
	}
}

func TestConcurrent(t *testing.T) {
	r := New(nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				r.Add("response_bytes", 2)
				r.Observe("readlatency", 1)
				r.Add("no such counter", 1)
			}
		})
	}
	wg.Wait()
	if r.Counter("response_bytes").Value() != 8000 || r.summaries["readlatency"].Totals().Count != 4000 {
		t.Error("lost updates")
	}
	if r.Known("no such counter") || !r.Known("readlatency") || !r.Known("ack_latency") {
		t.Error("Known is wrong")
	}
}
