package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A boundary is what it costs that modules run as processes of their own: the same server with
// its modules built in and as processes, in turn.
type boundary struct {
	Pairs    int               `json:"pairs"`
	Warmup   time.Duration     `json:"warmup_ns"`
	Duration time.Duration     `json:"duration_ns"`
	Machine  map[string]string `json:"machine"`
	Cases    []*boundaryCase   `json:"cases"`
}

// A boundaryCase is one set of modules as processes, against the same built in.
type boundaryCase struct {
	Processes string        `json:"processes"` // which ones: consensus, storage, both
	Loads     []*pairedLoad `json:"loads"`
}

// A pairedLoad is one workload: a figure for each pair.
type pairedLoad struct {
	Workload string `json:"workload"`
	// PerSecond and PerCPUSecond are what the processes do, as a share of what the built-in modules do.
	PerSecond    []float64 `json:"per_second_of_built_in"`
	PerCPUSecond []float64 `json:"per_cpu_second_of_built_in"`
	// More is by how much the median latency is longer, in µs.
	More    []float64 `json:"median_us_more"`
	BuiltIn []result  `json:"built_in"`
	Process []result  `json:"process"`
}

func (c *cli) modules() error {
	c.jsonFlag()
	p := plan{progress: c.err}
	res := &boundary{Machine: machine()}
	bin := c.fs.String("zkcore", "", "the zkcore binary; its modules' programs lie beside it")
	consensus := c.fs.String("consensus", "zab", "the consensus module")
	storage := c.fs.String("storage", "mem", "the storage module")
	processes := list{"consensus", "storage", "both"}
	c.fs.Var(&processes, "processes", "which modules are to be processes: consensus, storage, both")
	names := list{"get", "set", "create", "lone"}
	c.fs.Var(&names, "workloads", "what to measure")
	c.fs.IntVar(&res.Pairs, "pairs", 5, "pairs of measurements, of which the medians count")
	c.fs.DurationVar(&res.Warmup, "warmup", time.Second, "load before each measurement")
	c.fs.DurationVar(&res.Duration, "duration", 2*time.Second, "length of each measurement")
	c.fs.IntVar(&p.Connections, "connections", 8, "connections")
	c.fs.IntVar(&p.Outstanding, "outstanding", 64, "requests under way on each connection")
	c.fs.IntVar(&p.Size, "size", 100, "bytes of a value")
	c.fs.IntVar(&p.Znodes, "znodes", 1000, "znodes to set and to read")
	servers := c.fs.Int("servers", 1, "servers of an ensemble, all of them alike")
	c.fs.StringVar(&p.dir, "dir", "", "folder for the servers' files; default: a new one in the temporary folder")
	if err := c.parse(); err != nil {
		return err
	}
	if err := c.noArgs(); err != nil {
		return err
	}
	if *bin == "" || res.Pairs < 1 || *servers < 1 {
		return errors.New("modules: needs -zkcore, and at least one pair and one server")
	}
	for _, name := range names {
		if _, ok := workloads[name]; !ok {
			return fmt.Errorf("modules: unknown workload %q", name)
		}
	}
	if p.dir == "" {
		dir, err := os.MkdirTemp("", "zkbench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		p.dir = dir
	}
	p.Warmup, p.Duration = res.Warmup, res.Duration
	for _, which := range processes {
		built, err := moduleTarget(*bin, *consensus, *storage, "")
		if err != nil {
			return err
		}
		far, err := moduleTarget(*bin, *consensus, *storage, which)
		if err != nil {
			return err
		}
		bc, err := p.pairs(c.ctx, built, far, names, *servers, res.Pairs)
		if err != nil {
			return fmt.Errorf("%s: %w", which, err)
		}
		bc.Processes = which
		res.Cases = append(res.Cases, bc)
	}
	return c.print(res, res.text)
}

// moduleTarget is zkcore with these modules, those that which names as processes.
func moduleTarget(bin, consensus, storage, which string) (target, error) {
	t, err := zkcoreTarget(bin, nil)
	if err != nil {
		return target{}, err
	}
	bin, err = filepath.Abs(bin)
	if err != nil {
		return target{}, err
	}
	var cfg strings.Builder
	choose := func(kind, name string, far bool) error {
		if !far {
			fmt.Fprintf(&cfg, "%s=%s\n", kind, name)
			return nil
		}
		path := filepath.Join(filepath.Dir(bin), "zkcore-"+kind+"-"+name)
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(&cfg, "%s=%s\nzkcore.plugin.%s.sha256=%x\n", kind, path, name, sha256.Sum256(b))
		return nil
	}
	t.name = "built-in"
	if which != "" {
		t.name = which
		if !slices.Contains([]string{"consensus", "storage", "both"}, which) {
			return target{}, fmt.Errorf("no module is called %q", which)
		}
	}
	err = errors.Join(choose("consensus", consensus, which == "consensus" || which == "both"), choose("storage", storage, which == "storage" || which == "both"))
	if err != nil {
		return target{}, err
	}
	t.config = cfg.String()
	return t, nil
}

// pairs measures both targets in turn, as many times. Both run all the time, so that neither has
// the fresher files, and who comes first changes from pair to pair.
func (p *plan) pairs(ctx context.Context, built, far target, names []string, servers, pairs int) (*boundaryCase, error) {
	var both [2]*cluster
	for i, t := range []target{built, far} {
		cl, err := p.lay(t, servers)
		if err != nil {
			return nil, err
		}
		both[i] = cl
		defer cl.down()
		if err := cl.up(ctx); err != nil {
			return nil, err
		}
	}
	bc := new(boundaryCase)
	for _, name := range names {
		pl := &pairedLoad{Workload: name}
		bc.Loads = append(bc.Loads, pl)
		for pair := range pairs {
			var rs [2]result
			for i := range both {
				which := (i + pair) % 2
				r, err := p.loadOnce(ctx, both[which], name)
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", both[which].target.name, name, err)
				}
				rs[which] = r
			}
			pl.add(rs[0], rs[1])
			p.say("pair %d/%d, %s, %s: %.2f per second, %.2f per CPU second, %+.0f µs", pair+1, pairs, far.name, name,
				pl.PerSecond[pair], pl.PerCPUSecond[pair], pl.More[pair])
		}
	}
	return bc, nil
}

func (p *plan) loadOnce(ctx context.Context, cl *cluster, name string) (result, error) {
	l := load{
		Workload: name, Servers: cl.servers,
		Connections: p.Connections, Outstanding: p.Outstanding, Size: p.Size, Znodes: p.Znodes,
		Warmup: p.Warmup, Duration: p.Duration, SessionTimeout: 30 * time.Second,
	}
	for _, pid := range cl.pids() {
		ids, err := family(pid)
		if err != nil {
			return result{}, err
		}
		l.PIDs = append(l.PIDs, ids...)
	}
	if name == "lone" {
		l.Connections, l.Outstanding = 1, 1
	}
	r, err := l.do(ctx)
	if err == nil && len(r.Errors) > 0 {
		err = fmt.Errorf("requests failed: %v", r.Errors)
	}
	return r, err
}

// family is a process and its children: a server and its modules.
func family(pid int) ([]int, error) {
	ids := []int{pid}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for word := range strings.FieldsSeq(string(b)) {
			id, err := strconv.Atoi(word)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", task, err)
			}
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (pl *pairedLoad) add(built, far result) {
	pl.BuiltIn, pl.Process = append(pl.BuiltIn, built), append(pl.Process, far)
	pl.PerSecond = append(pl.PerSecond, ratio(far.PerSecond, built.PerSecond))
	pl.PerCPUSecond = append(pl.PerCPUSecond, ratio(far.PerCPUSecond, built.PerCPUSecond))
	pl.More = append(pl.More, far.Latency.P50-built.Latency.P50)
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func (b *boundary) text(w io.Writer) {
	fmt.Fprintf(w, "modules as processes, medians of %d pairs of %v after %v of warm-up (lowest to highest)\n", b.Pairs, b.Duration, b.Warmup)
	for _, bc := range b.Cases {
		fmt.Fprintf(w, "\n%s in a process, built in = 1\n", bc.Processes)
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprint(tw, "\tper s\t\tper CPU s\t\tmedian µs more\t\tmedian µs built in\t\n")
		for _, pl := range bc.Loads {
			var built []float64
			for _, r := range pl.BuiltIn {
				built = append(built, r.Latency.P50)
			}
			fmt.Fprintf(tw, "%s\t", pl.Workload)
			for _, v := range [][]float64{pl.PerSecond, pl.PerCPUSecond} {
				fmt.Fprintf(tw, "%.2f\t(%.2f–%.2f)\t", median(v), slices.Min(v), slices.Max(v))
			}
			fmt.Fprintf(tw, "%+.0f\t(%+.0f–%+.0f)\t%.0f\t\n", median(pl.More), slices.Min(pl.More), slices.Max(pl.More), median(built))
		}
		tw.Flush()
	}
}
