package judge

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/zkcore/zkcore/test/history"
)

// A holder is a client that believes that it holds a lock, and may: until it gives
// it back, or until its session may have ended without its knowing, which is not
// before its timeout is over since the last of its writes (see expiries).
type holder struct {
	from, until int64 // times
	record, end int
}

// locks: nobody holds a lock while another does.
func (c *court) locks(o *Options) {
	byLock := map[string][]holder{}
	var names []string
	for i := range c.run.Records {
		r := &c.run.Records[i]
		if r.Kind != history.Acquired {
			continue
		}
		if byLock[r.Path] == nil {
			names = append(names, r.Path)
		}
		h := holder{from: r.At, until: math.MaxInt64, record: i, end: -1}
		for j := i + 1; j < len(c.run.Records); j++ {
			e := &c.run.Records[j]
			if e.Kind == history.Released && e.Path == r.Path && e.Client == r.Client && e.Session == r.Session {
				h.until, h.end = e.At, j
				break
			}
		}
		if s := c.sessions[r.Session]; s != nil {
			heard := int64(-1)
			timeout := int64(c.shortest(s, len(c.run.Records)))
			if first := s.conns[0]; first.asked == 0 && first.connecting >= 0 {
				heard = c.run.Records[first.connecting].At
			}
			for _, x := range s.ops {
				if x.done() {
					heard = max(heard, c.run.Records[x.call].At)
				}
			}
			if end := heard + int64(float64(timeout)*1e6/(1+o.ClockDrift)); end < h.until {
				h.until = end
			}
		}
		byLock[r.Path] = append(byLock[r.Path], h)
		c.v.Counts["lock holders"]++
	}
	for _, name := range names {
		all := byLock[name]
		slices.SortStableFunc(all, func(a, b holder) int { return cmp.Compare(a.from, b.from) })
		var last *holder
		for i := range all {
			h := &all[i]
			if h.until <= h.from {
				continue
			}
			if last != nil && h.record > last.record && h.from < last.until && (last.end < 0 || h.record < last.end) {
				c.v.add("lock", fmt.Sprintf("%s has two holders", name), last.record, last.end, h.record, h.end)
			}
			if last == nil || h.until > last.until {
				last = h
			}
		}
	}
}
