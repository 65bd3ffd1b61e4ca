package member

import (
	"time"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// Meter is the node's metrics, which may be missing.
type Meter struct{ To consensus.Metrics }

// Add adds to a counter.
func (m Meter) Add(name string, n int64) {
	if m.To != nil && n != 0 {
		m.To.Add(name, n)
	}
}

// Observe adds a measurement.
func (m Meter) Observe(name string, v float64) {
	if m.To != nil {
		m.To.Observe(name, v)
	}
}

// ObserveKey adds one to a metric that has keys.
func (m Meter) ObserveKey(name, key string, v float64) {
	if m.To != nil {
		m.To.ObserveKey(name, key, v)
	}
}

// Since observes how long something took, in milliseconds.
func (m Meter) Since(name string, t time.Time) {
	if m.To != nil {
		m.To.Observe(name, float64(time.Since(t))/1e6)
	}
}
