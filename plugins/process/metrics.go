package process

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// A collector gathers what a module counts and measures until it is sent to the node.
type collector struct {
	mu     sync.Mutex
	counts map[string]int64
	seen   []observation
}

// An observation is one value of a summary, or of one in a set of them.
type observation struct {
	name, key string
	keyed     bool
	v         float64
}

// maxSeen bounds the observations between two messages: a summary of what is left out
// would hardly look different.
const maxSeen = 4096

var _ consensus.Metrics = (*collector)(nil)

func (c *collector) Add(name string, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]int64{}
	}
	c.counts[name] += n
}

func (c *collector) Observe(name string, v float64) { c.observe(observation{name: name, v: v}) }

func (c *collector) ObserveKey(name, key string, v float64) {
	c.observe(observation{name: name, key: key, keyed: true, v: v})
}

func (c *collector) observe(o observation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.seen) < maxSeen {
		c.seen = append(c.seen, o)
	}
}

// take appends what was gathered to a frame; false if that is nothing.
func (c *collector) take(dst []byte) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.counts) == 0 && len(c.seen) == 0 {
		return dst, false
	}
	dst = append(dst, fMetrics)
	dst = binary.AppendUvarint(dst, uint64(len(c.counts)))
	for _, name := range slices.Sorted(maps.Keys(c.counts)) {
		dst = appendBytes(dst, name)
		dst = binary.AppendVarint(dst, c.counts[name])
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.seen)))
	for _, o := range c.seen {
		dst = appendBytes(dst, o.name)
		if o.keyed {
			dst = appendBytes(append(dst, 1), o.key)
		} else {
			dst = append(dst, 0)
		}
		dst = binary.BigEndian.AppendUint64(dst, math.Float64bits(o.v))
	}
	clear(c.counts)
	c.seen = c.seen[:0]
	return dst, true
}

// decodeMetrics takes apart what a collector has gathered.
func decodeMetrics(r *reader) (counts map[string]int64, seen []observation, err error) {
	counts = map[string]int64{}
	for range r.count(2) {
		name := r.string()
		counts[name] += r.int()
	}
	n := r.count(10)
	if n > maxSeen {
		return nil, nil, errGarbage
	}
	seen = make([]observation, 0, n)
	for range n {
		o := observation{name: r.string(), keyed: r.byte() == 1}
		if o.keyed {
			o.key = r.string()
		}
		if len(r.b) < 8 {
			r.fail()
			break
		}
		o.v = math.Float64frombits(binary.BigEndian.Uint64(r.b))
		r.b = r.b[8:]
		seen = append(seen, o)
	}
	return counts, seen, r.err()
}

// passOn feeds a node's metrics with what a module has gathered.
func passOn(m consensus.Metrics, counts map[string]int64, seen []observation) {
	for name, n := range counts {
		m.Add(name, n)
	}
	for _, o := range seen {
		switch {
		case math.IsNaN(o.v) || math.IsInf(o.v, 0): // no summary can use it
		case o.keyed:
			m.ObserveKey(o.name, o.key, o.v)
		default:
			m.Observe(o.name, o.v)
		}
	}
}
