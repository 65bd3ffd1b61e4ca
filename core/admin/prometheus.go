package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/zkcore/zkcore/core/metrics"
)

// A collector shows the registry and the server's gauges to Prometheus.
type collector struct{ w *Words }

// Describe says nothing: which metrics there are changes with the server's
// role, and a collector that says nothing is taken at its word.
func (c collector) Describe(chan<- *prometheus.Desc) {}

func (c collector) Collect(out chan<- prometheus.Metric) {
	desc := func(name string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, name, labels, nil)
	}
	c.w.Metrics.Counters(func(name string, v int64) {
		out <- prometheus.MustNewConstMetric(desc(name), prometheus.CounterValue, float64(v))
	})
	summary := func(d *prometheus.Desc, s *metrics.Summary, labels ...string) {
		qs := quantiles(s)
		values := make(map[float64]float64, len(qs))
		for i, v := range s.Recent(qs...) {
			values[qs[i]] = v
		}
		count, sum := s.Lifetime()
		out <- prometheus.MustNewConstSummary(d, uint64(count), sum, values, labels...)
	}
	c.w.Metrics.Summaries(func(name string, s *metrics.Summary) { summary(desc(name), s) })
	c.w.Metrics.Sets(func(name, key string, s *metrics.Summary) { summary(desc(name, "key"), s, key) })

	_, _, watches := c.w.Source.Watches()
	open, limit := c.w.descriptors()
	f := c.w.Source.Facts()
	for _, g := range gauges(f, watches, open, limit, time.Now()) {
		out <- prometheus.MustNewConstMetric(desc(g.name), prometheus.GaugeValue, g.value)
	}
	for _, q := range quotaGauges(c.w.Source.Quotas()) {
		kind := prometheus.GaugeValue
		if q.counts {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(desc(q.name, "key"), kind, float64(q.value), q.key)
	}
	serving := 0.0
	if f.Serving {
		serving = 1
	}
	out <- prometheus.MustNewConstMetric(desc("zkcore_serving"), prometheus.GaugeValue, serving)
	out <- prometheus.MustNewConstMetric(desc("zkcore_last_zxid"), prometheus.GaugeValue, float64(f.Zxid))
	out <- prometheus.MustNewConstMetric(desc("zkcore_disk_state"), prometheus.GaugeValue, float64(f.Disk))
	out <- prometheus.MustNewConstMetric(desc("zkcore_disk_free_bytes"), prometheus.GaugeValue, float64(f.DiskFree))
	if st := f.Storage; st.File > 0 {
		for _, g := range []struct {
			name  string
			kind  prometheus.ValueType
			value int64
		}{
			{"zkcore_storage_file_bytes", prometheus.GaugeValue, st.File},
			{"zkcore_storage_free_bytes", prometheus.GaugeValue, st.Free},
			{"zkcore_storage_gathered_bytes", prometheus.GaugeValue, st.Gathered},
			{"zkcore_storage_cache_bytes", prometheus.GaugeValue, st.Cache},
			{"zkcore_storage_cache_hits_total", prometheus.CounterValue, st.Hits},
			{"zkcore_storage_cache_misses_total", prometheus.CounterValue, st.Misses},
			{"zkcore_storage_flushes_total", prometheus.CounterValue, st.Flushes},
			{"zkcore_storage_flushed_ops_total", prometheus.CounterValue, st.FlushedOps},
		} {
			out <- prometheus.MustNewConstMetric(desc(g.name), g.kind, float64(g.value))
		}
	}
}

// A named gatherer shows only the families whose names were asked for.
type named struct {
	prometheus.Gatherer
	names map[string]bool
}

func (n named) Gather() ([]*dto.MetricFamily, error) {
	all, err := n.Gatherer.Gather()
	var out []*dto.MetricFamily
	for _, f := range all {
		if n.names[f.GetName()] {
			out = append(out, f)
		}
	}
	return out, err
}

// Handler serves /metrics.
func (w *Words) Handler() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{w}, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(rw http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodTrace {
			http.Error(rw, "TRACE is not allowed", http.StatusForbidden)
			return
		}
		var g prometheus.Gatherer = r
		if names := req.URL.Query()["name[]"]; len(names) > 0 {
			n := named{r, make(map[string]bool)}
			for _, name := range names {
				n.names[name] = true
			}
			g = n
			// It has filtered; the library's own reading of name[] is not needed.
			req = req.Clone(req.Context())
			req.URL.RawQuery = ""
		}
		promhttp.HandlerFor(g, promhttp.HandlerOpts{}).ServeHTTP(rw, req)
	})
	return mux
}

// Serve serves the metrics until ctx ends. The listener is there when it
// returns; a port in use is an error.
func (w *Words) Serve(ctx context.Context, host string, port int, log *slog.Logger) (net.Addr, error) {
	addr := net.JoinHostPort(host, strconv.Itoa(port))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("metricsProvider.httpPort: %w", err)
	}
	srv := &http.Server{
		Handler: w.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the metrics port failed", "addr", addr, "err", err)
		}
	}()
	context.AfterFunc(ctx, func() { srv.Close() })
	return l.Addr(), nil
}
