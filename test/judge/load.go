package judge

import (
	"fmt"

	"github.com/zkcore/zkcore/test/history"
)

// load: a run counts only if there was something to break, somebody tried, and it
// went on afterwards.
func (c *court) load(o *Options) {
	first, last, faults, records := -1, -1, 0, c.run.Records
	for i := range records {
		switch records[i].Kind {
		case history.Fault:
			if faults++; first < 0 {
				first = i
			}
			last = i
		case history.Heal:
			last = i
		}
	}
	c.v.Counts["faults"] = faults
	if faults < o.MinFaults {
		c.v.add("run", fmt.Sprintf("%d faults, there should be %d", faults, o.MinFaults))
	}
	if o.MinRate > 0 {
		until := first
		if until < 0 {
			until = len(records) - 1
		}
		begin, answered := -1, 0
		for i := range records[:until+1] {
			switch records[i].Kind {
			case history.Call:
				if begin < 0 {
					begin = i
				}
			case history.Reply:
				answered++
			}
		}
		rate := 0.0
		if begin >= 0 {
			if d := float64(records[until].At-records[begin].At) / 1e9; d > 0 {
				rate = float64(answered) / d
			}
		}
		c.v.Counts["requests per second before the first fault"] = int(rate)
		if rate < o.MinRate {
			c.v.add("run", fmt.Sprintf("%.0f requests were answered per second before the first fault, there should be %.0f", rate, o.MinRate), first)
		}
	}
	if o.LastWrite {
		for _, x := range c.ops {
			if x.call > last && x.done() {
				return
			}
		}
		c.v.add("run", "no write succeeded behind the last fault", last)
	}
}
