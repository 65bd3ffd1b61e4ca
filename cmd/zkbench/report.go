package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// text prints a comparison as tables, each figure with its ratio to Apache's and to the floor's.
// For times and memory a ratio below one is the better.
func (c *comparison) text(w io.Writer) {
	fmt.Fprintln(w, "machine")
	for _, k := range slices.Sorted(maps.Keys(c.Machine)) {
		fmt.Fprintf(w, "  %-19s %s\n", k, c.Machine[k])
	}
	fmt.Fprintln(w, "settings")
	for _, name := range c.names() {
		fmt.Fprintf(w, "  %-19s %s\n", name, c.Settings[name])
	}
	fmt.Fprintf(w, "load: %d connections × %d outstanding, values of %d bytes, %d znodes; medians of %d rounds of %v after %v of warm-up\n",
		c.Plan.Connections, c.Plan.Outstanding, c.Plan.Size, c.Plan.Znodes, c.Plan.Rounds, c.Plan.Duration, c.Plan.Warmup)

	for _, l := range c.Loads {
		if l.Workload == "lone" {
			fmt.Fprintf(w, "\n%s, one set at a time\n", servers(l.Servers))
			c.table(w, []string{"min µs", "median µs", "p99 µs"}, 1, func(name string) []float64 {
				f := l.Targets[name]
				if f == nil {
					return nil
				}
				return []float64{f.Min, f.P50, f.P99}
			})
			continue
		}
		fmt.Fprintf(w, "\n%s, %s\n", servers(l.Servers), l.Workload)
		c.table(w, []string{"per s", "per CPU s", "p50 µs", "p99 µs", "MiB"}, 1, func(name string) []float64 {
			f := l.Targets[name]
			if f == nil {
				return nil
			}
			return []float64{f.PerSecond, f.PerCPUSecond, f.P50, f.P99, f.RSS / (1 << 20)}
		})
	}
	if c.Start != nil {
		fmt.Fprintln(w, "\nprocess start to first answer")
		c.table(w, []string{"min ms", "median ms", "max ms"}, 1, func(name string) []float64 {
			s, ok := c.Start[name]
			if !ok {
				return nil
			}
			return []float64{s.Min, s.Median, s.Max}
		})
	}
	if c.Memory != nil {
		fmt.Fprintf(w, "\nmemory of %d znodes of %d bytes\n", c.Plan.MemoryZnodes, c.Plan.Size)
		c.table(w, []string{"MiB", "bytes per znode"}, 1, func(name string) []float64 {
			fp, ok := c.Memory[name]
			if !ok {
				return nil
			}
			return []float64{float64(fp.After) / (1 << 20), fp.PerZnode}
		})
		for _, name := range c.names() {
			if fp, ok := c.Memory[name]; ok && name == apacheName && !fp.Collected {
				fmt.Fprintf(w, "  %s: garbage included, since there is no jcmd to make it collect\n", name)
			}
			if fp, ok := c.Memory[name]; ok && fp.Collected {
				fmt.Fprintf(w, "  %s: read after a forced collection; live heap alone %.0f bytes per znode\n", name, fp.HeapPer)
			}
		}
	}
	if c.Openings != nil {
		fmt.Fprintf(w, "\nprocess start to first answer, with these znodes\n")
		c.table(w, []string{"clean stop ms", "kill -9 ms"}, 0, func(name string) []float64 {
			o, ok := c.Openings[name]
			if !ok {
				return nil
			}
			return []float64{o.Clean, o.Killed}
		})
	}
	if c.Failover != nil {
		fmt.Fprintf(w, "\nthree servers, writes when the leader is killed with -9, %d times\n", c.Plan.Failovers)
		c.table(w, []string{"min ms", "median ms", "max ms", "worst client's median ms", "reconnections"}, 1, func(name string) []float64 {
			f, ok := c.Failover[name]
			if !ok {
				return nil
			}
			return []float64{f.Gap.Min, f.Gap.Median, f.Gap.Max, f.Worst.Median, f.Reconnects.Median}
		})
	}
}

func servers(n int) string {
	if n == 1 {
		return "one server"
	}
	return fmt.Sprintf("%d servers", n)
}

// names are the targets in the order of the report.
func (c *comparison) names() []string {
	return c.order
}

// table prints a line for each target that has figures, with the ratios of the column ratio.
func (c *comparison) table(w io.Writer, columns []string, ratio int, figures func(name string) []float64) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "\t")
	for _, col := range columns {
		fmt.Fprintf(tw, "%s\t", col)
	}
	fmt.Fprintf(tw, "%s: of apache\tof floor\t\n", columns[ratio])
	base := func(name string) float64 {
		if f := figures(name); f != nil {
			return f[ratio]
		}
		return 0
	}
	apache, floor := base(apacheName), base(floorName)
	if floor == 0 {
		floor = base(bareName)
	}
	for _, name := range c.names() {
		f := figures(name)
		if f == nil {
			continue
		}
		fmt.Fprintf(tw, "%s\t", name)
		for _, v := range f {
			fmt.Fprintf(tw, "%s\t", number(v))
		}
		for _, b := range []float64{apache, floor} {
			if b > 0 {
				fmt.Fprintf(tw, "%.2f\t", f[ratio]/b)
			} else {
				fmt.Fprint(tw, "-\t")
			}
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
}

func number(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
