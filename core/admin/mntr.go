package admin

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/zkcore/zkcore/core/metrics"
)

// mntr writes every metric, a line each, as Apache's default provider names
// them, or with Prometheus its samples.
func (w *Words) mntr(b *bytes.Buffer) {
	f := w.Source.Facts()
	line := func(name, value string) { fmt.Fprintf(b, "zk_%s\t%s\n", name, value) }
	line("version", VersionText())
	line("server_state", f.Mode)
	if f.Ensemble && f.Peer != "" {
		line("peer_state", f.Peer)
	}
	_, _, watches := w.Source.Watches()
	open, limit := w.descriptors()
	for _, g := range gauges(f, watches, open, limit, time.Now()) {
		switch {
		case w.Config.MetricsEnabled:
			line(g.name, JavaDouble(g.value))
		case g.whole:
			line(g.name, strconv.FormatInt(int64(g.value), 10))
		default:
			line(g.name, Average(g.value))
		}
	}
	for _, q := range quotaGauges(w.Source.Quotas()) {
		if w.Config.MetricsEnabled {
			line(fmt.Sprintf("%s{key=%q}", q.name, q.key), JavaDouble(float64(q.value)))
		} else {
			line(q.key+"_"+q.name, strconv.FormatInt(q.value, 10))
		}
	}
	// Too large for a float: 64 bits that are to be compared.
	line("zkcore_tree_digest", fmt.Sprintf("0x%x:%d", uint64(f.DigestZxid), int64(f.Digest)))
	if w.Config.MetricsEnabled {
		w.samples(line)
	} else {
		w.defaults(line)
	}
}

func (w *Words) descriptors() (open, limit int64) {
	if w.Descriptors == nil {
		return 0, 0
	}
	return w.Descriptors()
}

// defaults are the metrics as Apache's default provider writes them.
func (w *Words) defaults(line func(name, value string)) {
	whole := func(v float64) string { return strconv.FormatInt(int64(v), 10) }
	summary := func(name string, s *metrics.Summary) {
		t := s.Totals()
		line("avg_"+name, Average(t.Avg()))
		line("min_"+name, whole(t.Min))
		line("max_"+name, whole(t.Max))
		line("cnt_"+name, strconv.FormatInt(t.Count, 10))
		line("sum_"+name, whole(t.Sum))
		if s.Advanced {
			for i, q := range s.Overall(0.5, 0.95, 0.99, 0.999) {
				line([]string{"p50_", "p95_", "p99_", "p999_"}[i]+name, whole(q))
			}
		}
	}
	w.Metrics.Counters(func(name string, v int64) { line(name, strconv.FormatInt(v, 10)) })
	w.Metrics.Summaries(summary)
	w.Metrics.Sets(func(name, key string, s *metrics.Summary) { summary(key+"_"+name, s) })
}

// samples are the metrics as Prometheus gets them.
func (w *Words) samples(line func(name, value string)) {
	summary := func(name, labels string, s *metrics.Summary) {
		qs := quantiles(s)
		for i, v := range s.Recent(qs...) {
			line(fmt.Sprintf("%s{%squantile=%q}", name, labels, JavaDouble(qs[i])), JavaDouble(v))
		}
		count, sum := s.Lifetime()
		braces := ""
		if labels != "" {
			braces = "{" + labels[:len(labels)-1] + "}"
		}
		line(name+"_count"+braces, JavaDouble(float64(count)))
		line(name+"_sum"+braces, JavaDouble(sum))
	}
	w.Metrics.Counters(func(name string, v int64) { line(name, JavaDouble(float64(v))) })
	w.Metrics.Summaries(func(name string, s *metrics.Summary) { summary(name, "", s) })
	w.Metrics.Sets(func(name, key string, s *metrics.Summary) { summary(name, fmt.Sprintf("key=%q,", key), s) })
}

// quantiles are those that Apache shows of a summary.
func quantiles(s *metrics.Summary) []float64 {
	if s.Advanced {
		return []float64{0.5, 0.9, 0.99}
	}
	return []float64{0.5}
}
