// Command zkbench measures ZooKeeper servers: what they answer per second and per second of CPU
// time, how long a client waits, how long a start and the loss of a leader take, what a znode costs
// in memory. It speaks the protocol by itself, with as little work per request as it can, so that
// the servers are what is measured.
//
//	zkbench get -servers 127.0.0.1:2181 -connections 8 -outstanding 64 -pids 4711
//	zkbench floor -listen 127.0.0.1:2181 -log /var/tmp/floor.log
//	zkbench compare -zkcore build/zkcore
//
// "zkbench floor" is the least that a server can do on this machine, and compare puts servers and
// floor side by side in one run: figures from different machines, or from different hours of one,
// say little.
//
// How a server is to be configured is its own business, except in compare.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp), errors.Is(err, errUsage):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "zkbench:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage")

const usage = `usage: zkbench WHAT [flags]

workloads, against servers that run already:
  create set get exists mixed   pipelined requests over several connections
  lone                          one set at a time on one connection
  watches                       one client sets, all others watch
  sessions                      open and close sessions
other measurements:
  znodes                        memory per znode
  crowd                         memory per silent session and per watch; reconnect storms
  start -- COMMAND…             time from process start to the first answer
  failover                      longest pause in writes when the leader is killed
  compare                       floor, zkcore and Apache side by side
  modules                       zkcore's modules as processes and built in, side by side
  floor                         run the server that does the least possible

zkbench WHAT -h lists the flags.
`

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
		fmt.Fprint(stderr, usage)
		return errUsage
	}
	name, args := args[0], args[1:]
	fs := flag.NewFlagSet("zkbench "+name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	c := cli{ctx: ctx, fs: fs, args: args, out: stdout, err: stderr}
	switch name {
	case "floor":
		return c.floor()
	case "start":
		return c.start()
	case "znodes":
		return c.znodes()
	case "crowd":
		return c.crowd()
	case "probe": // crowd's own
		if len(args) != 1 {
			return errUsage
		}
		return probe(args[0], 40*time.Second, os.Stdin, stdout)
	case "failover":
		return c.failover()
	case "compare":
		return c.compare()
	case "modules":
		return c.modules()
	}
	if _, ok := workloads[name]; ok {
		return c.workload(name)
	}
	fmt.Fprintf(stderr, "zkbench: unknown command %q\n\n%s", name, usage)
	return errUsage
}

type cli struct {
	ctx      context.Context
	fs       *flag.FlagSet
	args     []string
	out, err io.Writer
	json     bool
}

func (c *cli) parse() error {
	if err := c.fs.Parse(c.args); err != nil {
		return errUsage // the flag set has said what is wrong
	}
	return nil
}

// noArgs refuses words that no flag takes: they are a flag's value with a blank in it, or a typo.
func (c *cli) noArgs() error {
	if c.fs.NArg() > 0 {
		fmt.Fprintf(c.err, "%s: unexpected %q\n", c.fs.Name(), c.fs.Arg(0))
		return errUsage
	}
	return nil
}

func (c *cli) jsonFlag() { c.fs.BoolVar(&c.json, "json", false, "print JSON") }

// print writes v as JSON, or what text makes of it.
func (c *cli) print(v any, text func(io.Writer)) error {
	if c.json {
		e := json.NewEncoder(c.out)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	text(c.out)
	return nil
}

// A list is a flag of comma-separated words.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }
func (l *list) Set(s string) error {
	*l = nil
	for w := range strings.SplitSeq(s, ",") {
		if w = strings.TrimSpace(w); w != "" {
			*l = append(*l, w)
		}
	}
	return nil
}

// pids is a flag of comma-separated process ids.
type pids []int

func (p *pids) String() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(*p), " ", ","), "[]")
}
func (p *pids) Set(s string) error {
	*p = nil
	for w := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(w))
		if err != nil {
			return err
		}
		*p = append(*p, n)
	}
	return nil
}

func (c *cli) serverFlags(servers *list, ids *pids) {
	*servers = list{"127.0.0.1:2181"}
	c.fs.Var(servers, "servers", "addresses, comma-separated; connections are spread over them")
	c.fs.Var(ids, "pids", "process ids of the servers, to sample their CPU time and memory")
	c.fs.Var(ids, "pid", "same as -pids")
}

func (c *cli) workload(name string) error {
	l := load{Workload: name, ReadPercent: 90}
	c.jsonFlag()
	c.serverFlags((*list)(&l.Servers), (*pids)(&l.PIDs))
	c.fs.IntVar(&l.Connections, "connections", 8, "connections")
	c.fs.IntVar(&l.Outstanding, "outstanding", 64, "requests under way on each connection (watches: znodes watched)")
	c.fs.IntVar(&l.Size, "size", 100, "bytes of a value")
	c.fs.IntVar(&l.Znodes, "znodes", 1000, "znodes to set and to read")
	c.fs.IntVar(&l.ReadPercent, "reads", 90, "percent of reads (mixed)")
	c.fs.DurationVar(&l.Warmup, "warmup", time.Second, "load before the measurement")
	c.fs.DurationVar(&l.Duration, "duration", 5*time.Second, "length of the measurement")
	c.fs.Int64Var(&l.Count, "count", 0, "measure this many operations, without warm-up, in place of a duration")
	c.fs.BoolVar(&l.Keep, "keep", false, "leave the znodes that were created")
	c.fs.DurationVar(&l.SessionTimeout, "timeout", 30*time.Second, "session timeout")
	if err := c.parse(); err != nil {
		return err
	}
	if err := c.noArgs(); err != nil {
		return err
	}
	if name != "mixed" {
		l.ReadPercent = 0
	}
	if name == "lone" {
		l.Connections, l.Outstanding = 1, 1
	}
	res, err := l.do(c.ctx)
	if err != nil {
		return err
	}
	if err := c.print(res, res.text); err != nil {
		return err
	}
	if len(res.Errors) > 0 {
		return fmt.Errorf("requests failed: %v", res.Errors)
	}
	return nil
}

func (r *result) text(w io.Writer) {
	l := r.Load
	fmt.Fprintf(w, "%s on %s: %d connections, %d outstanding, %d bytes, %d znodes", l.Workload, strings.Join(l.Servers, ","), l.Connections, l.Outstanding, l.Size, l.Znodes)
	if l.Workload == "mixed" {
		fmt.Fprintf(w, ", %d%% reads", l.ReadPercent)
	}
	fmt.Fprintf(w, "\noperations  %d in %.2f s: %.0f/s\n", r.Ops, r.Seconds, r.PerSecond)
	for name, n := range r.Errors {
		fmt.Fprintf(w, "errors      %d × %s\n", n, name)
	}
	t := r.Latency
	fmt.Fprintf(w, "latency µs  min %.0f  mean %.0f  p50 %.0f  p90 %.0f  p99 %.0f  p99.9 %.0f  max %.0f\n", t.Min, t.Mean, t.P50, t.P90, t.P99, t.P999, t.Max)
	if s := r.Server; s != nil {
		fmt.Fprintf(w, "servers     %.2f s CPU", s.CPU)
		if r.PerCPUSecond > 0 {
			fmt.Fprintf(w, ": %.0f operations per CPU second", r.PerCPUSecond)
		}
		fmt.Fprintf(w, "; %s resident, %s at most\n", mib(s.RSS), mib(s.PeakRSS))
	}
	fmt.Fprintf(w, "client      %.2f s CPU, %s resident\n", r.Client.CPU, mib(r.Client.RSS))
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

func (c *cli) floor() error {
	listen := c.fs.String("listen", "127.0.0.1:2181", "address to listen on")
	log := c.fs.String("log", "", "file to log and sync writes to, overwritten; empty: writes are answered at once")
	logSize := c.fs.Int64("log-size", 64, "size of that file, MiB")
	size := c.fs.Int("size", 100, "bytes that a get answers")
	if err := c.parse(); err != nil {
		return err
	}
	if err := c.noArgs(); err != nil {
		return err
	}
	if *logSize < 1 || *size < 0 || *size > maxFrame/2 {
		return errors.New("floor: size out of range")
	}
	fl := &floor{data: makeValue(*size)}
	if *log != "" {
		var err error
		if fl.log, err = newGroupLog(*log, *logSize<<20); err != nil {
			return err
		}
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(c.ctx, func() { ln.Close() })
	defer stop()
	if err := fl.serve(ln); c.ctx.Err() == nil {
		return err
	}
	return nil
}

func (c *cli) start() error {
	c.jsonFlag()
	server := c.fs.String("server", "127.0.0.1:2181", "address at which the server answers")
	n := c.fs.Int("n", 10, "starts")
	if err := c.parse(); err != nil {
		return err
	}
	argv := c.fs.Args()
	if len(argv) == 0 {
		fmt.Fprintln(c.err, "zkbench start: which command? zkbench start [flags] -- COMMAND…")
		return errUsage
	}
	if answers(*server) {
		return fmt.Errorf("start: a server answers at %s already", *server)
	}
	var times []float64
	for range *n {
		cmd := exec.Command(argv[0], argv[1:]...)
		ms, p, err := timeStart(c.ctx, cmd, *server)
		if err != nil {
			return err
		}
		p.kill()
		times = append(times, ms)
	}
	s := spreadOf(times)
	return c.print(s, func(w io.Writer) {
		fmt.Fprintf(w, "start to first answer: median %.1f ms (%.1f to %.1f, %d starts)\n", s.Median, s.Min, s.Max, len(s.All))
	})
}

func (c *cli) znodes() error {
	c.jsonFlag()
	var servers list
	var ids pids
	c.serverFlags(&servers, &ids)
	n := c.fs.Int("n", 500000, "znodes")
	size := c.fs.Int("size", 100, "bytes of a value")
	settle := c.fs.Duration("settle", 3*time.Second, "rest before memory is read")
	if err := c.parse(); err != nil {
		return err
	}
	if err := c.noArgs(); err != nil {
		return err
	}
	if len(ids) == 0 || *n < 1 || len(servers) == 0 {
		return errors.New("znodes: needs -servers, -pids and a number of znodes")
	}
	fp, err := measureZnodes(c.ctx, servers, ids, len(ids), *n, *size, *settle)
	if err != nil {
		return err
	}
	return c.print(fp, fp.text)
}

func (fp *footprint) text(w io.Writer) {
	fmt.Fprintf(w, "%d znodes of %d bytes: %.0f bytes resident per znode (%s before, %s after, %s at most)\n",
		fp.Znodes, fp.Size, fp.PerZnode, mib(fp.Before), mib(fp.After), mib(fp.Peak))
	if fp.Collected {
		fmt.Fprintf(w, "garbage collected before both readings; live heap %s before, %s after: %.0f bytes per znode\n", mib(fp.HeapBefore), mib(fp.HeapAfter), fp.HeapPer)
	}
}

func (c *cli) failover() error {
	c.jsonFlag()
	e := &foreignEnsemble{}
	c.serverFlags((*list)(&e.servers), (*pids)(&e.ids))
	n := c.fs.Int("n", 10, "deaths")
	c.fs.StringVar(&e.command, "restart", "", "shell command that becomes the server again, of which {i} is the number, 1 being the first of -servers")
	if err := c.parse(); err != nil {
		return err
	}
	if err := c.noArgs(); err != nil {
		return err
	}
	if len(e.servers) < 3 || len(e.ids) != len(e.servers) || e.command == "" {
		return errors.New("failover: needs at least three -servers, the -pids of each in the same order, and -restart")
	}
	defer e.killAll()
	res, err := measureFailovers(c.ctx, e, *n, func(f failover) {
		fmt.Fprintf(c.err, "writes paused for %.0f ms, for the worst client %.0f ms, %d reconnections\n", f.Gap, f.Worst, f.Reconnects)
	})
	if err != nil {
		return err
	}
	return c.print(res, func(w io.Writer) {
		fmt.Fprintf(w, "writes paused for %.0f ms (median of %d; %.0f to %.0f), for the worst client %.0f ms\n",
			res.Gap.Median, len(res.Runs), res.Gap.Min, res.Gap.Max, res.Worst.Median)
	})
}

// A foreignEnsemble was started by somebody else; only servers that had to be brought back are ours.
type foreignEnsemble struct {
	servers list
	ids     pids
	command string

	mu   sync.Mutex
	ours map[int]*process
}

func (e *foreignEnsemble) addrs() []string { return e.servers }

func (e *foreignEnsemble) kill(i int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.ours[i]; p != nil {
		p.kill()
		return nil
	}
	return syscall.Kill(e.ids[i], syscall.SIGKILL)
}

func (e *foreignEnsemble) restart(i int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	line := strings.ReplaceAll(e.command, "{i}", strconv.Itoa(i+1))
	p, err := spawn(exec.Command("sh", "-c", "exec "+line))
	if err != nil {
		return err
	}
	if e.ours == nil {
		e.ours = make(map[int]*process)
	}
	e.ours[i] = p
	return nil
}

// killAll leaves none of those that die with this program anyway half alive.
func (e *foreignEnsemble) killAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.ours {
		p.kill()
	}
}

// machine says where a measurement was made.
func machine() map[string]string {
	m := map[string]string{
		"go":   runtime.Version(),
		"cpus": strconv.Itoa(runtime.NumCPU()),
		"os":   runtime.GOOS + "/" + runtime.GOARCH,
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m["kernel"] = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				m["cpu"] = strings.TrimSpace(v)
				break
			}
		}
	}
	return m
}
