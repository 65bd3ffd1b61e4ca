package main

import (
	"math"
	"math/bits"
)

// A histogram counts durations in nanoseconds. Its buckets double in width with
// each power of two and there are 64 to a power, so that a percentile is off by
// at most one part in 64, whatever its size, and recording costs one increment.
// One goroutine owns a histogram; merge brings those of many together.
type histogram struct {
	n        int64
	sum      int64
	min, max int64
	counts   [buckets]int64
}

const (
	subBits = 6
	sub     = 1 << subBits
	// buckets covers durations up to 2^42 ns, well over an hour.
	buckets = sub * (42 - subBits + 1)
)

func bucketOf(v int64) int {
	if v < sub {
		return int(max(v, 0))
	}
	shift := bits.Len64(uint64(v)) - subBits - 1
	i := shift*sub + int(v>>shift)
	return min(i, buckets-1)
}

// upperBound is the largest duration that falls in bucket i.
func upperBound(i int) int64 {
	if i < sub {
		return int64(i)
	}
	shift := i/sub - 1
	return (int64(i%sub)+sub+1)<<shift - 1
}

func (h *histogram) record(v int64) { h.recordN(v, 1) }

func (h *histogram) recordN(v, n int64) {
	if h.n == 0 || v < h.min {
		h.min = v
	}
	h.max = max(h.max, v)
	h.n += n
	h.sum += v * n
	h.counts[bucketOf(v)] += n
}

func (h *histogram) merge(o *histogram) {
	if o.n == 0 {
		return
	}
	if h.n == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.n += o.n
	h.sum += o.sum
	for i, c := range o.counts {
		h.counts[i] += c
	}
}

// quantile is the duration that the share q of all recorded ones does not
// exceed, rounded up to the end of its bucket but never above the maximum.
func (h *histogram) quantile(q float64) int64 {
	if h.n == 0 {
		return 0
	}
	rank := int64(math.Ceil(q * float64(h.n)))
	rank = min(max(rank, 1), h.n)
	var seen int64
	for i, c := range h.counts {
		if seen += c; seen >= rank {
			return max(min(upperBound(i), h.max), h.min)
		}
	}
	return h.max
}

// latencies is what a report says of a histogram, in microseconds.
type latencies struct {
	Min  float64 `json:"min_us"`
	Mean float64 `json:"mean_us"`
	P50  float64 `json:"p50_us"`
	P90  float64 `json:"p90_us"`
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p999_us"`
	Max  float64 `json:"max_us"`
}

func (h *histogram) summary() latencies {
	if h.n == 0 {
		return latencies{}
	}
	us := func(ns int64) float64 { return math.Round(float64(ns)/10) / 100 }
	return latencies{
		Min:  us(h.min),
		Mean: us(h.sum / h.n),
		P50:  us(h.quantile(0.50)),
		P90:  us(h.quantile(0.90)),
		P99:  us(h.quantile(0.99)),
		P999: us(h.quantile(0.999)),
		Max:  us(h.max),
	}
}
