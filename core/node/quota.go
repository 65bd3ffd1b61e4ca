package node

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/zkcore/zkcore/core/engine"
)

// excesses are the writes that were beyond a quota, as far as this node has led.
type excesses struct {
	mu      sync.Mutex
	refused map[string]int64 // by the first name in the path; at most maxExcesses
	said    int64            // when a line was logged
	unsaid  int              // how many have not been since
}

// maxExcesses bounds what a client can make grow by quotas under many names.
const maxExcesses = 256

// exceeded is told of a write that goes beyond a quota.
func (n *Node) exceeded(x engine.QuotaExcess) {
	e := &n.excesses
	e.mu.Lock()
	defer e.mu.Unlock()
	if x.Hard {
		space := namespace(x.Write)
		if _, ok := e.refused[space]; !ok && len(e.refused) >= maxExcesses {
			space = "other"
		}
		e.refused[space]++
	}
	now := n.clock()
	if e.said != 0 && now-e.said < int64(sayEvery) {
		e.unsaid++
		return
	}
	what, limit := "znodes", "soft"
	if x.Bytes {
		what = "bytes"
	}
	if x.Hard {
		limit = "hard"
	}
	n.log.Warn("a write goes beyond a quota", "quota", x.Path, "path", x.Write, "of", what, "limit", limit, "allowed", x.Limit, "asked", x.Now,
		"refused", x.Hard, "others", e.unsaid)
	e.said, e.unsaid = max(now, 1), 0
}

// namespace is the first name in a path.
func namespace(path string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return name
}

// A QuotaInfo sums up the quotas below one name under the root, as Apache's metrics
// do: a limit is the hard one, if there is one, and -1 counts as -1.
type QuotaInfo struct {
	Namespace              string
	Limited                bool // there are limits
	CountLimit, BytesLimit int64
	Kept                   bool // there is a usage
	Count, Bytes           int64
	Refused                int64 // writes, since this server has started
}

// Quotas are those that there are, by their namespaces, and where writes were
// refused, in order.
func (n *Node) Quotas() []QuotaInfo {
	all := map[string]*QuotaInfo{}
	in := func(space string) *QuotaInfo {
		if all[space] == nil {
			all[space] = &QuotaInfo{Namespace: space}
		}
		return all[space]
	}
	n.mu.RLock()
	if !n.loading {
		for _, q := range n.engine.Quotas() {
			i := in(namespace(q.Path))
			if q.Limited {
				i.Limited = true
				i.CountLimit += or(q.Limits.CountHard, q.Limits.Count)
				i.BytesLimit += or(q.Limits.BytesHard, q.Limits.Bytes)
			}
			if q.Kept {
				i.Kept = true
				i.Count += q.Usage.Count
				i.Bytes += q.Usage.Bytes
			}
		}
	}
	n.mu.RUnlock()
	n.excesses.mu.Lock()
	for space, count := range n.excesses.refused {
		in(space).Refused = count
	}
	n.excesses.mu.Unlock()
	out := make([]QuotaInfo, 0, len(all))
	for _, space := range slices.Sorted(maps.Keys(all)) {
		out = append(out, *all[space])
	}
	return out
}

func or(hard, soft int64) int64 {
	if hard > -1 {
		return hard
	}
	return soft
}
