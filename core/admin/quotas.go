package admin

import "strings"

// A keyed is a metric of one namespace.
type keyed struct {
	name, key string
	value     int64
	counts    bool // it only grows
}

// quotaGauges are Apache's metrics of quotas.
func quotaGauges(quotas []Quota) []keyed {
	var out []keyed
	seen := map[string]bool{}
	for _, q := range quotas {
		key := strings.ToValidUTF8(q.Namespace, "\ufffd") // else Prometheus' library panics
		if seen[key] {
			continue // no valid name either: one of them has to do
		}
		seen[key] = true
		if q.Limited {
			out = append(out, keyed{"quota_count_limit_per_namespace", key, q.CountLimit, false}, keyed{"quota_bytes_limit_per_namespace", key, q.BytesLimit, false})
		}
		if q.Kept {
			out = append(out, keyed{"quota_count_usage_per_namespace", key, q.Count, false}, keyed{"quota_bytes_usage_per_namespace", key, q.Bytes, false})
		}
		if q.Refused > 0 {
			out = append(out, keyed{"quota_exceeded_error_per_namespace", key, q.Refused, true})
		}
	}
	return out
}
