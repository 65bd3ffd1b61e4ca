package raft

import (
	"time"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// meter is the node's metrics, which may be missing.
type meter struct{ to consensus.Metrics }

func (m meter) add(name string, n int64) {
	if m.to != nil && n != 0 {
		m.to.Add(name, n)
	}
}

func (m meter) observe(name string, v float64) {
	if m.to != nil {
		m.to.Observe(name, v)
	}
}

func (m meter) observeKey(name, key string, v float64) {
	if m.to != nil {
		m.to.ObserveKey(name, key, v)
	}
}

// since observes how long something took, in milliseconds.
func (m meter) since(name string, t time.Time) {
	if m.to != nil {
		m.to.Observe(name, float64(time.Since(t))/1e6)
	}
}
