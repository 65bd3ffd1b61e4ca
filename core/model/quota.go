package model

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// The znodes that describe quotas.
const (
	quotaBase = "/zookeeper/quota"
	limitsEnd = "/zookeeper_limits"
	statsEnd  = "/zookeeper_stats"
)

// A quota is the limits of the znodes at and below a path, and what there is of them.
type quota struct {
	limits     map[string]int64
	understood bool
	stats      bool // what there is, is written down
	count, len int64
}

// quotas are those that have limits, by their paths.
func (m *Model) quotas() map[string]quota {
	all := map[string]quota{}
	if len(m.kids[quotaBase]) == 0 {
		return all
	}
	for path, n := range m.nodes {
		of, ok := strings.CutSuffix(strings.TrimPrefix(path, quotaBase), limitsEnd)
		if !ok || of == "" || !strings.HasPrefix(path, quotaBase+"/") {
			continue
		}
		q := quota{stats: m.nodes[quotaBase+of+statsEnd] != nil}
		q.limits, q.understood = limits(n.Data)
		q.count, q.len = m.usage(of)
		all[of] = q
	}
	return all
}

// usage counts the znodes at and below path, and their data. Those that describe
// quotas don't count.
func (m *Model) usage(path string) (count, length int64) {
	for p, n := range m.nodes {
		if (p == path || strings.HasPrefix(p, path+"/")) && !strings.HasPrefix(p, quotaBase+"/") {
			count++
			length += int64(len(n.Data))
		}
	}
	return count, length
}

// writeUsage brings the data of all stats nodes up to date.
func (m *Model) writeUsage() {
	if len(m.kids[quotaBase]) == 0 {
		return
	}
	for _, path := range slices.Collect(maps.Keys(m.nodes)) {
		of, ok := strings.CutSuffix(strings.TrimPrefix(path, quotaBase), statsEnd)
		if !ok || of == "" || !strings.HasPrefix(path, quotaBase+"/") {
			continue
		}
		count, length := m.usage(of)
		n := *m.nodes[path]
		n.Data = fmt.Appendf(nil, "count=%d,bytes=%d", count, length)
		m.set(path, &n)
	}
}

// limits reads what a client has written: numbers by their names.
func limits(data []byte) (map[string]int64, bool) {
	if data == nil {
		return nil, false
	}
	out := map[string]int64{}
	pairs := strings.Split(strings.ReplaceAll(string(data), ";", ","), ",")
	for len(pairs) > 0 && pairs[len(pairs)-1] == "" {
		pairs = pairs[:len(pairs)-1]
	}
	for i, pair := range pairs {
		if pair == "" && i > 0 {
			continue // two separators are one
		}
		words := strings.Split(pair, "=")
		for len(words) > 0 && words[len(words)-1] == "" {
			words = words[:len(words)-1]
		}
		if len(words) < 2 {
			return nil, false
		}
		v := int64(-1)
		if words[1] != "" {
			var err error
			if v, err = strconv.ParseInt(words[1], 10, 64); err != nil {
				return nil, false
			}
		}
		out[words[0]] = v
	}
	return out, true
}

// within says whether a create, or a setData, would be within what is allowed: by the
// deepest quota at or above the path, as it was before the write.
func (w *write) within(path string, o *op, was *Node) zkerr.Code {
	if !w.m.opts.EnforceQuota || strings.HasPrefix(path, quotaBase+"/") {
		return zkerr.OK
	}
	for at := path; at != "/"; at, _ = split(at) {
		q, ok := w.quotas[at]
		if !ok {
			continue
		}
		if !q.understood {
			return zkerr.MarshallingError
		}
		more := int64(len(o.Data))
		if was != nil {
			more -= int64(len(was.Data))
		}
		over := func(name string, now int64) bool {
			limit, ok := q.limits[name]
			return ok && limit >= 0 && now > limit
		}
		if q.stats && o.Op != proto.OpSetData && over("countHardLimit", q.count+1) ||
			q.stats && more != 0 && over("byteHardLimit", q.len+more) {
			return zkerr.QuotaExceeded
		}
		return zkerr.OK
	}
	return zkerr.OK
}
