package znode

import (
	"strconv"
	"strings"
)

// A quota of /a/b is two znodes: /zookeeper/quota/a/b/zookeeper_limits, whose data
// a client writes, and /zookeeper/quota/a/b/zookeeper_stats, whose data the
// servers write: how many znodes there are at and below /a/b, and how many bytes
// of data they have. The root has none.
const (
	belowQuota = Quota + "/"
	limitsNode = "/zookeeper_limits"
	statsNode  = "/zookeeper_stats"
)

// A QuotaRole is what a znode has to do with quotas.
type QuotaRole uint8

// The roles.
const (
	NoRole QuotaRole = iota
	LimitsRole
	StatsRole
)

// RoleOf says whether the znode at path is one of a quota's two, and whose.
func RoleOf(path string) (of string, role QuotaRole) {
	if !BelowQuota(path) {
		return "", NoRole
	}
	rest := path[len(Quota):]
	if of, ok := strings.CutSuffix(rest, limitsNode); ok && of != "" {
		return of, LimitsRole
	}
	if of, ok := strings.CutSuffix(rest, statsNode); ok && of != "" {
		return of, StatsRole
	}
	return "", NoRole
}

// BelowQuota says whether path is of the znodes that describe quotas. Those don't
// count in any: else what a quota is measured by would change with the result.
func BelowQuota(path string) bool { return strings.HasPrefix(path, belowQuota) }

// StatsPath is where what a quota measures is written down.
func StatsPath(of string) string { return Quota + of + statsNode }

// LimitsPath is where a client says what a quota allows.
func LimitsPath(of string) string { return Quota + of + limitsNode }

// Limits are what a quota allows: -1 is no limit. Before a soft limit there comes a
// hard one, if there is one, and what is beyond that is refused.
type Limits struct {
	Count, Bytes         int64
	CountHard, BytesHard int64
}

// NoLimits is what a quota without a limit allows.
var NoLimits = Limits{Count: -1, Bytes: -1, CountHard: -1, BytesHard: -1}

// Append appends l as the data of a limits node, in the form of clients of 3.9: those of 3.4 take what stands behind
// the second "=" for a part of the bytes and leave it.
func (l Limits) Append(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, "count="...), l.Count, 10)
	dst = strconv.AppendInt(append(dst, ",bytes="...), l.Bytes, 10)
	dst = strconv.AppendInt(append(dst, "=;byteHardLimit="...), l.BytesHard, 10)
	return strconv.AppendInt(append(dst, ";countHardLimit="...), l.CountHard, 10)
}

// ParseLimits reads the data of a limits node: key=value, with commas or
// semicolons between them. What follows a second "=" is ignored, as clients of 3.4
// and today's write it for each other; so is a key that nobody knows.
func ParseLimits(data []byte) (Limits, bool) {
	l := NoLimits
	if data == nil {
		return l, false
	}
	text := strings.TrimRight(string(data), ",;")
	if text == "" {
		return l, true
	}
	if text[0] == ',' || text[0] == ';' {
		return l, false // there is an empty pair before it
	}
	for _, pair := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ';' }) {
		// Trailing "=" are not looked at: "count=" has no value, "count==7" an empty one.
		kv := strings.Split(strings.TrimRight(pair, "="), "=")
		if len(kv) < 2 {
			return l, false
		}
		v := int64(-1)
		if kv[1] != "" {
			var err error
			if v, err = strconv.ParseInt(kv[1], 10, 64); err != nil {
				return l, false
			}
		}
		switch kv[0] {
		case "count":
			l.Count = v
		case "bytes":
			l.Bytes = v
		case "countHardLimit":
			l.CountHard = v
		case "byteHardLimit":
			l.BytesHard = v
		}
	}
	return l, true
}

// Usage is what a quota measures.
type Usage struct{ Count, Bytes int64 }

// Append appends u as the data of a stats node.
func (u Usage) Append(dst []byte) []byte {
	dst = append(dst, "count="...)
	dst = strconv.AppendInt(dst, u.Count, 10)
	dst = append(dst, ",bytes="...)
	return strconv.AppendInt(dst, u.Bytes, 10)
}

// ParseUsage reads what Append has written.
func ParseUsage(data []byte) (Usage, bool) {
	count, bytes, ok := strings.Cut(strings.TrimPrefix(string(data), "count="), ",bytes=")
	if !ok {
		return Usage{}, false
	}
	var u Usage
	var err1, err2 error
	u.Count, err1 = strconv.ParseInt(count, 10, 64)
	u.Bytes, err2 = strconv.ParseInt(bytes, 10, 64)
	return u, err1 == nil && err2 == nil && string(u.Append(nil)) == string(data)
}
