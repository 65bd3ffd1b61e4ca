package config

import (
	"math"
	"strconv"
)

// Throttling is how clients are held back that come or ask too often.
type Throttling struct {
	Tokens, FillMS, FillCount, FreezeMS       int64 // connection_throttle_*
	DropIncrease, DropDecrease, DecreaseRatio float64
	Weighed                                   bool
	GlobalWeight, LocalWeight, RenewWeight    int64
	MaxRequests                               int // request_throttle_max_requests
	DropStale, StaleLatency                   bool
	OpWaitMS                                  int64 // throttled_op_wait_time
	LargeRequestMaxBytes                      int64
	LargeRequestOver                          int // largeRequestThreshold; 0: off
}

func (c *Config) readThrottling(r *reader) {
	const most = 1<<31 - 1
	t := &c.Throttling
	t.Tokens = r.property("connection_throttle_tokens", 0, 0, most)
	t.FillMS = r.property("connection_throttle_fill_time", 1, 1, most)
	t.FillCount = r.property("connection_throttle_fill_count", 1, 1, most)
	t.FreezeMS = r.property("connection_throttle_freeze_time", -1, -1, most)
	t.DropIncrease = r.fraction("connection_throttle_drop_increase", 0.02)
	t.DropDecrease = r.fraction("connection_throttle_drop_decrease", 0.002)
	t.DecreaseRatio = r.fraction("connection_throttle_decrease_ratio", 0)
	t.Weighed = r.flag("connection_throttle_weight_enabled", false)
	t.LocalWeight = r.property("connection_throttle_local_session_weight", 1, 1, most)
	weight := func(key string, def int64) int64 {
		w := r.property(key, def, 1, most)
		if w < t.LocalWeight {
			at := key
			if !r.has(key) {
				at = "connection_throttle_local_session_weight"
			}
			r.warn(at, "%s, %d, is less than the weight of a local session; using that, %d", key, w, t.LocalWeight)
			w = t.LocalWeight
		}
		return w
	}
	t.GlobalWeight = weight("connection_throttle_global_session_weight", 3)
	t.RenewWeight = weight("connection_throttle_renew_session_weight", 2)

	t.MaxRequests = int(r.property("request_throttle_max_requests", 0, 0, most))
	t.DropStale = r.flag("request_throttle_drop_stale", true)
	t.StaleLatency = r.flag("request_stale_latency_check", false)
	if !r.flag("request_stale_connection_check", true) {
		r.warn("request_stale_connection_check", "has no effect: what waits of a connection that is closed is always dropped")
	}
	t.OpWaitMS = r.property("throttled_op_wait_time", 0, 0, most)
	const alone = "has no effect without request_throttle_max_requests"
	if t.MaxRequests == 0 && t.OpWaitMS > 0 {
		r.warn("throttled_op_wait_time", alone)
	}
	if t.MaxRequests == 0 && t.StaleLatency {
		r.warn("request_stale_latency_check", alone)
	}

	t.LargeRequestMaxBytes = r.property("largeRequestMaxBytes", 100<<20, 1, most)
	threshold := r.property("largeRequestThreshold", -1, -1<<31, most)
	if threshold == 0 || threshold < -1 {
		r.warn("largeRequestThreshold", "%d is none; there is no threshold", threshold)
	}
	t.LargeRequestOver = int(max(threshold, 0))
}

// fraction reads a real number that Apache takes from a system property; one that can't be
// read stops its server too.
func (r *reader) fraction(key string, def float64) float64 {
	text := r.text(key, "")
	if !r.has(key) {
		return def
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || f < 0 {
		r.fail(key, "%q is not a number from 0 on", text)
		return def
	}
	return f
}

// throttlingKeys are those that readThrottling reads.
var throttlingKeys = []string{
	"connection_throttle_tokens", "connection_throttle_fill_time", "connection_throttle_fill_count", "connection_throttle_freeze_time",
	"connection_throttle_drop_increase", "connection_throttle_drop_decrease", "connection_throttle_decrease_ratio",
	"connection_throttle_weight_enabled", "connection_throttle_global_session_weight", "connection_throttle_local_session_weight",
	"connection_throttle_renew_session_weight", "request_throttle_max_requests", "request_throttle_drop_stale",
	"request_stale_latency_check", "request_stale_connection_check", "throttled_op_wait_time", "largeRequestMaxBytes", "largeRequestThreshold",
}
