package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A target is a server to compare: how its processes are made.
type target struct {
	name     string
	settings string // what is not default, for the report
	ensemble bool   // can be more than one server
	config   string // further lines of its zoo.cfg
	// command makes the process of the server whose files lie in dir, which holds its zoo.cfg.
	command func(dir string, clientPort int) *exec.Cmd
}

const (
	floorName  = "floor"
	bareName   = "floor-no-log"
	zkcoreName = "zkcore"
	apacheName = "apache"
)

// A plan is what a comparison does.
type plan struct {
	Rounds       int           `json:"rounds"`
	Warmup       time.Duration `json:"warmup_ns"`
	Duration     time.Duration `json:"duration_ns"`
	Connections  int           `json:"connections"`
	Outstanding  int           `json:"outstanding"`
	Size         int           `json:"value_bytes"`
	Znodes       int           `json:"znodes"`
	Starts       int           `json:"starts"`
	Failovers    int           `json:"failovers"`
	MemoryZnodes int           `json:"memory_znodes"`
	Sections     list          `json:"sections"`
	dir          string
	targets      []target
	progress     io.Writer
	settle       time.Duration
}

// A comparison is what it has found.
type comparison struct {
	Plan     plan              `json:"plan"`
	Machine  map[string]string `json:"machine"`
	Settings map[string]string `json:"settings"`
	// Loads are the medians over the rounds, of one server and of three.
	Loads    []comparedLoad            `json:"loads"`
	Start    map[string]spread         `json:"start_ms,omitempty"`
	Memory   map[string]footprint      `json:"memory,omitempty"`
	Openings map[string]opening        `json:"start_with_znodes,omitempty"`
	Failover map[string]failoverResult `json:"failover,omitempty"`
	order    []string                  // of the targets
}

// A comparedLoad is one workload on every target.
type comparedLoad struct {
	Servers  int                        `json:"servers"`
	Workload string                     `json:"workload"`
	Targets  map[string]*comparedFigure `json:"targets"`
}

type comparedFigure struct {
	PerSecond    float64  `json:"operations_per_second"`
	PerCPUSecond float64  `json:"operations_per_server_cpu_second"`
	P50          float64  `json:"p50_us"`
	P99          float64  `json:"p99_us"`
	Min          float64  `json:"min_us"`
	RSS          float64  `json:"rss_bytes"`
	Rounds       []result `json:"rounds"`
}

var sections = []string{"one", "three", "start", "memory", "failover"}

func (c *cli) compare() error {
	c.jsonFlag()
	p := plan{progress: c.err}
	zkcore := c.fs.String("zkcore", "", "the zkcore binary; without it zkcore is left out")
	var modules list
	c.fs.Var(&modules, "modules", "zkcore's modules to compare, such as zab+mem,raft+bolt,zab+mem:processes; all: every choice; without it what is default")
	zkcoreArgs := c.fs.String("zkcore-args", "", "further arguments of it, blank-separated")
	apache := c.fs.Bool("apache", true, "include Apache's server of Debian's packages zookeeper and libnetty-java")
	xmx := c.fs.String("apache-xmx", "2g", "heap limit of Apache's server")
	jars := c.fs.String("jars", "/usr/share/java", "folder of its jars")
	jsonFile := c.fs.String("json-file", "", "also write JSON to this file")
	p.Sections = sections
	c.fs.Var(&p.Sections, "sections", "what to measure")
	c.fs.IntVar(&p.Rounds, "rounds", 3, "rounds, of which the medians count")
	c.fs.DurationVar(&p.Warmup, "warmup", 5*time.Second, "load before each measurement; a JVM needs some seconds")
	c.fs.DurationVar(&p.Duration, "duration", 3*time.Second, "length of each measurement")
	c.fs.IntVar(&p.Connections, "connections", 8, "connections")
	c.fs.IntVar(&p.Outstanding, "outstanding", 64, "requests under way on each connection")
	c.fs.IntVar(&p.Size, "size", 100, "bytes of a value")
	c.fs.IntVar(&p.Znodes, "znodes", 1000, "znodes to set and to read")
	c.fs.IntVar(&p.Starts, "starts", 10, "starts of each server")
	c.fs.IntVar(&p.Failovers, "failovers", 10, "deaths of each leader")
	c.fs.IntVar(&p.MemoryZnodes, "memory-znodes", 1000000, "znodes for the memory of one, and for a start with them")
	c.fs.DurationVar(&p.settle, "settle", 3*time.Second, "rest before memory is read")
	c.fs.StringVar(&p.dir, "dir", "", "folder for the servers' files, on the disk to measure; default: a new one in the temporary folder")
	if err := c.parse(); err != nil {
		return err
	}
	if err := c.noArgs(); err != nil {
		return err
	}
	for _, s := range p.Sections {
		if !slices.Contains(sections, s) {
			return fmt.Errorf("compare: unknown section %q, know %s", s, strings.Join(sections, ","))
		}
	}
	if p.Rounds < 1 {
		return errors.New("compare: at least one round")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p.targets = append(p.targets, floorTargets(self, p.Size)...)
	switch {
	case *zkcore != "" && len(modules) > 0:
		ts, err := matrixTargets(*zkcore, strings.Fields(*zkcoreArgs), modules)
		if err != nil {
			return err
		}
		p.targets = append(p.targets, ts...)
	case *zkcore != "":
		t, err := zkcoreTarget(*zkcore, strings.Fields(*zkcoreArgs))
		if err != nil {
			return err
		}
		p.targets = append(p.targets, t)
	}
	if *apache {
		t, err := apacheTarget(*jars, *xmx)
		if err != nil {
			return err
		}
		p.targets = append(p.targets, t)
	}
	if p.dir == "" {
		dir, err := os.MkdirTemp("", "zkbench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		p.dir = dir
	}
	if p.dir, err = filepath.Abs(p.dir); err != nil {
		return err
	}
	res, err := p.run(c.ctx)
	if err != nil {
		return err
	}
	if *jsonFile != "" {
		f, err := os.Create(*jsonFile)
		if err != nil {
			return err
		}
		jc := cli{out: f, json: true}
		if err := errors.Join(jc.print(res, nil), f.Close()); err != nil {
			return err
		}
	}
	return c.print(res, res.text)
}

func floorTargets(self string, size int) []target {
	cmd := func(dir string, port int, log ...string) *exec.Cmd {
		args := append([]string{"floor", "-listen", loopback(port), "-size", fmt.Sprint(size)}, log...)
		return exec.Command(self, args...)
	}
	return []target{
		{
			name:     floorName,
			settings: "echo server, one group-committed log of 64 MiB, written with zeros beforehand, fdatasync",
			command: func(dir string, port int) *exec.Cmd {
				return cmd(dir, port, "-log", filepath.Join(dir, "floor.log"))
			},
		},
		{
			name:     bareName,
			settings: "the same without a log",
			command:  func(dir string, port int) *exec.Cmd { return cmd(dir, port) },
		},
	}
}

func zkcoreTarget(bin string, args []string) (target, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return target{}, err
	}
	if _, err := os.Stat(bin); err != nil {
		return target{}, err
	}
	settings := strings.TrimSpace("default " + strings.Join(args, " "))
	if out, err := exec.Command(bin, "version").Output(); err == nil {
		if line, _, _ := strings.Cut(string(out), "\n"); line != "" {
			settings = line + ", " + settings
		}
	}
	return target{
		name:     zkcoreName,
		settings: settings,
		ensemble: true,
		command: func(dir string, _ int) *exec.Cmd {
			return exec.Command(bin, append([]string{"--config=" + filepath.Join(dir, "zoo.cfg")}, args...)...)
		},
	}, nil
}

// apacheTarget is Apache's server in its fastest set-up: the Netty connection factory, logging
// switched off.
func apacheTarget(jars, xmx string) (target, error) {
	var cp []string
	for _, jar := range []string{
		"zookeeper.jar", // its manifest names most of the others
		"netty-codec.jar", "netty-resolver.jar", "netty-transport-native-unix-common.jar",
		"slf4j-nop.jar",
	} {
		path := filepath.Join(jars, jar)
		if _, err := os.Stat(path); err != nil {
			return target{}, fmt.Errorf("%w (Debian: zookeeper, libnetty-java; or -apache=false)", err)
		}
		cp = append(cp, path)
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return target{}, err
	}
	version := ""
	if real, err := filepath.EvalSymlinks(cp[0]); err == nil {
		version = strings.TrimSuffix(filepath.Base(real), ".jar") + ", "
	}
	if m, err := filepath.Glob(filepath.Join(jars, "zookeeper-[0-9]*.jar")); err == nil && len(m) > 0 {
		version = strings.TrimSuffix(filepath.Base(m[0]), ".jar") + ", "
	}
	if out, err := exec.Command(java, "-version").CombinedOutput(); err == nil {
		line, _, _ := strings.Cut(string(out), "\n")
		version += line + ", "
	}
	opts := []string{"-Xmx" + xmx, "-Dzookeeper.serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory"}
	return target{
		name:     apacheName,
		settings: version + "default collector, " + strings.Join(opts, " "),
		ensemble: true,
		command: func(dir string, _ int) *exec.Cmd {
			args := append(slices.Clone(opts), "-cp", strings.Join(cp, ":"),
				"org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(dir, "zoo.cfg"))
			return exec.Command(java, args...)
		},
	}, nil
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// A cluster is one or more servers of a target, with their files.
type cluster struct {
	target  target
	dirs    []string
	servers []string
	ports   []int
	procs   []*process
}

// lay makes the files of n servers in a fresh folder.
func (p *plan) lay(t target, n int) (*cluster, error) {
	dir, err := os.MkdirTemp(p.dir, t.name+"-")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(3 * n)
	if err != nil {
		return nil, err
	}
	cl := &cluster{target: t, procs: make([]*process, n)}
	var members strings.Builder
	for i := range n {
		cl.ports = append(cl.ports, ports[3*i])
		cl.servers = append(cl.servers, loopback(ports[3*i]))
		fmt.Fprintf(&members, "server.%d=127.0.0.1:%d:%d\n", i+1, ports[3*i+1], ports[3*i+2])
	}
	for i := range n {
		d := filepath.Join(dir, fmt.Sprint(i+1))
		if err := os.MkdirAll(filepath.Join(d, "data"), 0o755); err != nil {
			return nil, err
		}
		cfg := fmt.Sprintf("tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=*\n",
			filepath.Join(d, "data"), cl.ports[i]) + t.config
		if n > 1 {
			cfg += members.String()
			if err := os.WriteFile(filepath.Join(d, "data", "myid"), fmt.Appendf(nil, "%d\n", i+1), 0o644); err != nil {
				return nil, err
			}
		}
		if err := os.WriteFile(filepath.Join(d, "zoo.cfg"), []byte(cfg), 0o644); err != nil {
			return nil, err
		}
		cl.dirs = append(cl.dirs, d)
	}
	return cl, nil
}

func (cl *cluster) command(i int) (*exec.Cmd, *os.File, error) {
	log, err := os.OpenFile(filepath.Join(cl.dirs[i], "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, err
	}
	cmd := cl.target.command(cl.dirs[i], cl.ports[i])
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = cl.dirs[i]
	return cmd, log, nil
}

func (cl *cluster) start(i int) error {
	cmd, log, err := cl.command(i)
	if err != nil {
		return err
	}
	defer log.Close()
	cl.procs[i], err = spawn(cmd)
	return err
}

// up starts all servers and waits until all serve.
func (cl *cluster) up(ctx context.Context) error {
	for i := range cl.procs {
		if err := cl.start(i); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for i, p := range cl.procs {
		if _, err := p.awaitAnswer(ctx, cl.servers[i]); err != nil {
			return fmt.Errorf("%s: %w\n%s", cl.target.name, err, logTail(filepath.Join(cl.dirs[i], "log")))
		}
	}
	if len(cl.procs) > 1 {
		return awaitAll(ctx, cl.servers)
	}
	return nil
}

// down kills all servers and removes their files.
func (cl *cluster) down() {
	for _, p := range cl.procs {
		if p != nil {
			p.kill()
		}
	}
	os.RemoveAll(filepath.Dir(cl.dirs[0]))
}

// pids are the processes of the servers and of their modules.
func (cl *cluster) pids() ([]int, error) {
	var all []int
	for _, p := range cl.procs {
		ids, err := family(p.pid())
		if err != nil {
			return nil, err
		}
		all = append(all, ids...)
	}
	return all, nil
}

// The three methods make a cluster an ensemble.
func (cl *cluster) addrs() []string { return cl.servers }
func (cl *cluster) kill(i int) error {
	cl.procs[i].kill()
	return nil
}
func (cl *cluster) restart(i int) error { return cl.start(i) }

func (p *plan) run(ctx context.Context) (*comparison, error) {
	res := &comparison{Plan: *p, Machine: machine(), Settings: make(map[string]string)}
	for _, t := range p.targets {
		res.Settings[t.name] = t.settings
		res.order = append(res.order, t.name)
	}
	for _, s := range p.Sections {
		var err error
		switch s {
		case "one":
			err = p.loads(ctx, res, 1, []string{"get", "set", "create", "lone"})
		case "three":
			err = p.loads(ctx, res, 3, []string{"get", "set", "create", "lone"})
		case "start":
			err = p.starts(ctx, res)
		case "memory":
			err = p.memory(ctx, res)
		case "failover":
			err = p.failovers(ctx, res)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s, err)
		}
	}
	return res, nil
}

func (p *plan) say(format string, args ...any) {
	fmt.Fprintf(p.progress, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// chosen are the targets that can be n servers.
func (p *plan) chosen(n int) []target {
	var ts []target
	for _, t := range p.targets {
		if n == 1 || t.ensemble {
			ts = append(ts, t)
		}
	}
	return ts
}

// loads runs the workloads on each target in turn, round by round: what else happens on the
// machine hits them all.
func (p *plan) loads(ctx context.Context, res *comparison, n int, names []string) error {
	byName := make(map[string]*comparedLoad)
	for _, name := range names {
		byName[name] = &comparedLoad{Servers: n, Workload: name, Targets: make(map[string]*comparedFigure)}
	}
	for round := range p.Rounds {
		for _, t := range p.chosen(n) {
			if err := p.loadsOn(ctx, t, n, names, round, byName); err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
		}
	}
	for _, name := range names {
		cl := byName[name]
		for _, f := range cl.Targets {
			f.settle()
		}
		res.Loads = append(res.Loads, *cl)
	}
	return nil
}

func (p *plan) loadsOn(ctx context.Context, t target, n int, names []string, round int, into map[string]*comparedLoad) error {
	cl, err := p.lay(t, n)
	if err != nil {
		return err
	}
	defer cl.down()
	if err := cl.up(ctx); err != nil {
		return err
	}
	ids, err := cl.pids()
	if err != nil {
		return err
	}
	for _, name := range names {
		l := load{
			Workload: name, Servers: cl.servers, PIDs: ids,
			Connections: p.Connections, Outstanding: p.Outstanding, Size: p.Size, Znodes: p.Znodes,
			Warmup: p.Warmup, Duration: p.Duration, Keep: true, SessionTimeout: 30 * time.Second,
		}
		if name == "lone" {
			l.Connections, l.Outstanding = 1, 1
		}
		r, err := l.do(ctx)
		if err != nil {
			return err
		}
		if len(r.Errors) > 0 {
			return fmt.Errorf("%s: requests failed: %v", name, r.Errors)
		}
		p.say("round %d/%d, %d × %s, %s: %.0f/s, %.0f per CPU second, p50 %.0f µs", round+1, p.Rounds, n, t.name, name, r.PerSecond, r.PerCPUSecond, r.Latency.P50)
		f := into[name].Targets[t.name]
		if f == nil {
			f = new(comparedFigure)
			into[name].Targets[t.name] = f
		}
		f.Rounds = append(f.Rounds, r)
	}
	return nil
}

// settle takes the medians.
func (f *comparedFigure) settle() {
	of := func(get func(result) float64) float64 {
		var v []float64
		for _, r := range f.Rounds {
			v = append(v, get(r))
		}
		return median(v)
	}
	f.PerSecond = of(func(r result) float64 { return r.PerSecond })
	f.PerCPUSecond = of(func(r result) float64 { return r.PerCPUSecond })
	f.P50 = of(func(r result) float64 { return r.Latency.P50 })
	f.P99 = of(func(r result) float64 { return r.Latency.P99 })
	f.Min = of(func(r result) float64 { return r.Latency.Min })
	f.RSS = of(func(r result) float64 { return float64(r.Server.RSS) })
}

func (p *plan) starts(ctx context.Context, res *comparison) error {
	times := make(map[string][]float64)
	for range p.Starts {
		for _, t := range p.chosen(1) {
			if t.name == floorName {
				continue // it starts by writing its log full of zeros
			}
			ms, err := p.startOnce(ctx, t)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			times[t.name] = append(times[t.name], ms)
		}
	}
	res.Start = make(map[string]spread)
	for name, v := range times {
		res.Start[name] = spreadOf(v)
		p.say("start of %s: median %.1f ms", name, res.Start[name].Median)
	}
	return nil
}

func (p *plan) startOnce(ctx context.Context, t target) (float64, error) {
	cl, err := p.lay(t, 1)
	if err != nil {
		return 0, err
	}
	defer cl.down()
	return cl.timeStart(ctx)
}

// timeStart starts the first server and returns how many milliseconds it took to open a session.
func (cl *cluster) timeStart(ctx context.Context) (float64, error) {
	cmd, log, err := cl.command(0)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	ms, proc, err := timeStart(ctx, cmd, cl.servers[0])
	if err != nil {
		return 0, fmt.Errorf("%w\n%s", err, logTail(filepath.Join(cl.dirs[0], "log")))
	}
	cl.procs[0] = proc
	return ms, nil
}

func (p *plan) memory(ctx context.Context, res *comparison) error {
	res.Memory, res.Openings = make(map[string]footprint), make(map[string]opening)
	for _, t := range p.chosen(1) {
		if !t.ensemble {
			continue // a floor keeps nothing
		}
		cl, err := p.lay(t, 1)
		if err != nil {
			return err
		}
		err = cl.up(ctx)
		if err == nil {
			var fp footprint
			fp, err = p.footprint(ctx, cl)
			res.Memory[t.name] = fp
			p.say("memory of %s: %.0f bytes per znode", t.name, fp.PerZnode)
		}
		if err == nil {
			var o opening
			o, err = p.openings(ctx, cl)
			res.Openings[t.name] = o
			p.say("start of %s with them: %.0f ms, after kill -9 %.0f ms", t.name, o.Clean, o.Killed)
		}
		cl.down()
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}

func (p *plan) footprint(ctx context.Context, cl *cluster) (footprint, error) {
	ids, err := cl.pids()
	if err != nil {
		return footprint{}, err
	}
	return measureZnodes(ctx, cl.servers, ids, len(cl.procs), p.MemoryZnodes, p.Size, p.settle)
}

func (p *plan) failovers(ctx context.Context, res *comparison) error {
	res.Failover = make(map[string]failoverResult)
	for _, t := range p.chosen(3) {
		cl, err := p.lay(t, 3)
		if err != nil {
			return err
		}
		err = cl.up(ctx)
		if err == nil {
			var f failoverResult
			f, err = measureFailovers(ctx, cl, p.Failovers, func(f failover) {
				p.say("failover of %s: writes paused for %.0f ms, for the worst client %.0f ms", t.name, f.Gap, f.Worst)
			})
			res.Failover[t.name] = f
		}
		cl.down()
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}
