package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client/fakezk"
)

// The comparison starts floors, and crowd its writer, by running its own binary, which in a test is the test's.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "floor" || os.Args[1] == "probe") {
		if err := command(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestHistogram(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var a, b, all histogram
	var values []int64
	for i := range 20000 {
		v := int64(r.ExpFloat64() * float64(int64(1)<<(uint(i)%36)))
		values = append(values, v)
		if i%3 == 0 {
			a.record(v)
		} else {
			b.record(v)
		}
	}
	all.merge(&a)
	all.merge(&b)
	all.merge(new(histogram))
	slices.Sort(values)
	if all.n != int64(len(values)) || all.min != values[0] || all.max != values[len(values)-1] {
		t.Fatalf("%d values, %d to %d", all.n, all.min, all.max)
	}
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := values[max(0, int(q*float64(len(values))+0.9999999)-1)]
		got := all.quantile(q)
		if got < exact || got > exact+exact/sub+1 {
			t.Errorf("quantile %v is %d, exactly %d", q, got, exact)
		}
	}
}

// Every duration lies within its bucket, and buckets follow each other without a gap.
func TestHistogramBuckets(t *testing.T) {
	for i := range buckets - 1 {
		if bucketOf(upperBound(i)) != i || bucketOf(upperBound(i)+1) != i+1 {
			t.Fatalf("bucket %d ends at %d, which falls in %d, and the next value in %d", i, upperBound(i), bucketOf(upperBound(i)), bucketOf(upperBound(i)+1))
		}
	}
	if bucketOf(1<<62) != buckets-1 || bucketOf(-1) != 0 {
		t.Fatal("values out of range")
	}
}

func TestParseProc(t *testing.T) {
	stat := "4711 (a) b (c)) S 1 4711 4711 0 -1 4194560 100 0 0 0 250 50 7 8 20 0 9 0 100 1000 200\n"
	status := "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n"
	s, err := parseProc([]byte(stat), []byte(status))
	if err != nil || s != (procSample{CPU: 3, RSS: 1 << 20, PeakRSS: 2 << 20}) {
		t.Fatalf("%+v, %v", s, err)
	}
	for _, bad := range []string{"", "1 (x", "1 (x) S 1", "1 (x) S 1 1 1 1 1 1 1 1 1 1 a b c d"} {
		if _, err := parseProc([]byte(bad), nil); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if s, err := sampleProcs([]int{os.Getpid()}); err != nil || s.RSS == 0 || s.PeakRSS < s.RSS {
		t.Fatalf("this process: %+v, %v", s, err)
	}
}

func TestHeapInfo(t *testing.T) {
	n, err := parseHeapInfo("4711:\n garbage-first heap   total 385024K, used 3584K [0x0, 0x1)\n  region size 1024K\n Metaspace       used 300K\n")
	if err != nil || n != 3584<<10 {
		t.Fatalf("%d, %v", n, err)
	}
	if _, err := parseHeapInfo("nothing"); err == nil {
		t.Fatal("accepted")
	}
}

func TestLongestGap(t *testing.T) {
	const ms = 1e6
	at := []int64{900 * ms, 0, 500 * ms, 510 * ms, 520 * ms, 880 * ms}
	// The gap before the kill, 0 to 500, does not count; the one across it does.
	if got := longestGap(at, 515*ms); got != 360 {
		t.Fatalf("%v", got)
	}
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		v    []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(tc.v); got != tc.want {
			t.Errorf("median of %v is %v", tc.v, got)
		}
	}
}

func TestFrameReader(t *testing.T) {
	var stream []byte
	sizes := []int{0, 1, 5, bufSize - 4, bufSize, 3 * bufSize, 7, 0, 2}
	for i, n := range sizes {
		stream = frame(stream, func(b []byte) []byte { return append(b, bytes.Repeat([]byte{byte(i)}, n)...) })
	}
	readers := map[string]*frameReader{
		"at once": newFrameReader(bytes.NewReader(stream)),
		"halves":  newFrameReader(iotest.HalfReader(bytes.NewReader(stream))),
		"bytes":   newFrameReader(iotest.OneByteReader(bytes.NewReader(stream))),
	}
	for name, f := range readers {
		for i, n := range sizes {
			b, err := f.next()
			if err != nil || !bytes.Equal(b, bytes.Repeat([]byte{byte(i)}, n)) {
				t.Fatalf("%s: frame %d has %d bytes, want %d (%v)", name, i, len(b), n, err)
			}
		}
		if _, err := f.next(); err == nil {
			t.Fatalf("%s: a frame too many", name)
		}
	}
	for _, bad := range [][]byte{{0xff, 0xff, 0xff, 0xff}, {0x7f, 0, 0, 0}} {
		if _, err := newFrameReader(bytes.NewReader(bad)).next(); err == nil {
			t.Errorf("%x was accepted as a length", bad)
		}
	}
}

// startFloor runs a floor in this process.
func startFloor(t *testing.T, fl *floor) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go fl.serve(ln)
	return ln.Addr().String()
}

func testLoad(workload, addr string) load {
	return load{Workload: workload, Servers: []string{addr}, Connections: 3, Outstanding: 16, Size: 50, Znodes: 40,
		Count: 3000, SessionTimeout: 30 * time.Second, PIDs: []int{os.Getpid()}}
}

func TestWorkloadsOnFloor(t *testing.T) {
	log, err := newGroupLog(filepath.Join(t.TempDir(), "log"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	addr := startFloor(t, &floor{log: log, data: makeValue(50)})
	for _, w := range []string{"create", "set", "get", "exists", "mixed", "lone", "sessions"} {
		t.Run(w, func(t *testing.T) {
			l := testLoad(w, addr)
			if w == "sessions" || w == "lone" {
				l.Count = 200
			}
			r, err := l.do(t.Context())
			if err != nil || len(r.Errors) > 0 {
				t.Fatalf("%v, %v", err, r.Errors)
			}
			if r.Ops != l.Count {
				t.Errorf("%d operations, want %d", r.Ops, l.Count)
			}
			if r.Latency.Min <= 0 || r.Latency.Max < r.Latency.P99 || r.Latency.P99 < r.Latency.P50 || r.Server == nil {
				t.Errorf("%+v", r)
			}
		})
	}
}

// On a server that keeps things the workloads do what they say, and leave no litter.
func TestWorkloadsOnServer(t *testing.T) {
	s := fakezk.Start(t)
	for _, w := range []string{"create", "set", "get", "exists", "mixed", "watches"} {
		t.Run(w, func(t *testing.T) {
			l := testLoad(w, s.Addr)
			l.Count, l.ReadPercent = 500, 50
			s.Seen()
			r, err := l.do(t.Context())
			if err != nil || len(r.Errors) > 0 {
				t.Fatalf("%v, %v", err, r.Errors)
			}
			if w != "watches" && r.Ops != l.Count || r.Ops < l.Count {
				t.Errorf("%d operations, want %d", r.Ops, l.Count)
			}
			ops := make(map[string]int)
			for _, op := range s.Seen() {
				ops[op.String()]++
			}
			switch w {
			case "create":
				if ops["create"] < 500 || ops["delete"] < 500 {
					t.Errorf("%v", ops)
				}
			case "mixed":
				// Each of the three lanes may be one off.
				if got := ops["getData"]; got < 247 || got > 253 {
					t.Errorf("%d reads of 500 with 50%% reads", got)
				}
			case "get", "exists":
				if ops["getData"]+ops["exists"] != 500 {
					t.Errorf("%v", ops)
				}
			}
		})
	}
	left, err := dial(s.Addr, time.Minute, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer left.close()
	b, err := left.call(8, func(b []byte) []byte { return append(b, "\x00\x00\x00\x08/zkbench\x00"...) })
	if err != nil {
		t.Fatal(err)
	}
	if n := int(b[3]); n != 40 {
		t.Errorf("%d znodes are left, want the 40 shared ones", n)
	}
}

func TestDuration(t *testing.T) {
	addr := startFloor(t, &floor{data: makeValue(50)})
	l := testLoad("get", addr)
	l.Count, l.Duration, l.Warmup = 0, 100*time.Millisecond, 20*time.Millisecond
	r, err := l.do(t.Context())
	if err != nil || r.Ops == 0 || r.Seconds < 0.1 {
		t.Fatalf("%+v, %v", r, err)
	}
}

// Whatever goes wrong ends the run with an error, and soon.
func TestBrokenServer(t *testing.T) {
	for name, answer := range map[string][]byte{
		"closes":         nil,
		"nonsense frame": {0xff, 0, 0, 0},
		"wrong xid":      frame(nil, func(b []byte) []byte { return append(b, make([]byte, 16)...) }),
		"short reply":    frame(nil, func(b []byte) []byte { return append(b, 1, 2, 3) }),
	} {
		t.Run(name, func(t *testing.T) {
			// It takes part until the load begins, and answers that with what the case says.
			fl := &floor{data: makeValue(50)}
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				for n := 0; ; n++ {
					nc, err := ln.Accept()
					if err != nil {
						return
					}
					if n == 0 {
						go fl.conn(nc) // prepares
						continue
					}
					go func() {
						defer nc.Close()
						f := newFrameReader(nc)
						if _, err := f.next(); err != nil {
							return
						}
						nc.Write(append([]byte{0, 0, 0, 37, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 16}, make([]byte, 17)...))
						if _, err := f.next(); err == nil {
							nc.Write(answer)
						}
					}()
				}
			}()
			if r, err := testLoad("get", ln.Addr().String()).do(t.Context()); err == nil {
				t.Fatalf("no error: %+v", r)
			}
		})
	}
	l := testLoad("get", "127.0.0.1:1")
	if _, err := l.do(t.Context()); err == nil {
		t.Error("no server: no error")
	}
}

func TestErrorsAreCounted(t *testing.T) {
	s := fakezk.Start(t)
	l := testLoad("set", s.Addr)
	l.Count, l.Size = 10, 10
	r := &run{load: l}
	r.budget.Store(10)
	r.phase.Store(measuring)
	c, err := dial(s.Addr, time.Minute, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	tl := new(tally)
	if err := r.lane(t.Context(), c, tl, r.maker(0, new(int64))); err != nil {
		t.Fatal(err)
	}
	if tl.errors[zkerr.NoNode] != 10 || tl.ops != 10 {
		t.Fatalf("%+v of %d", tl.errors, tl.ops)
	}
}

func TestCancel(t *testing.T) {
	addr := startFloor(t, &floor{data: makeValue(50)})
	l := testLoad("get", addr)
	l.Count, l.Duration = 0, time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := l.do(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
}

func TestLoadCheck(t *testing.T) {
	good := testLoad("get", "h:1")
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*load){
		"servers":     func(l *load) { l.Servers = nil },
		"connections": func(l *load) { l.Connections = 0 },
		"outstanding": func(l *load) { l.Outstanding = -1 },
		"znodes":      func(l *load) { l.Znodes = 0 },
		"size":        func(l *load) { l.Size = -1 },
		"reads":       func(l *load) { l.ReadPercent = 101 },
		"length":      func(l *load) { l.Count = 0 },
		"workload":    func(l *load) { l.Workload = "nothing" },
	} {
		l := good
		spoil(&l)
		if l.check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// What commit has returned from is in the file, in order, until the file wraps.
func TestGroupLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := newGroupLog(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 50 {
				rec := fmt.Appendf(nil, "[%d.%d]", i, n)
				if err := l.commit(rec); err != nil {
					t.Error(err)
					return
				}
				b, err := os.ReadFile(path)
				if err != nil || !bytes.Contains(b, rec) {
					t.Errorf("%s is not in the file (%v)", rec, err)
					return
				}
			}
		})
	}
	wg.Wait()

	small, err := newGroupLog(filepath.Join(t.TempDir(), "small"), 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range []string{"abcdefg", "hijkl", "a record longer than the file"} {
		if err := small.commit([]byte(rec)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(small.f.Name())
	if err != nil || len(b) != 10 {
		t.Fatalf("%q, %v", b, err)
	}
}

// run runs the program's command line.
func runCommand(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out, errs bytes.Buffer
	err := command(t.Context(), args, &out, &errs)
	if err != nil {
		return out.String() + errs.String(), err
	}
	return out.String(), nil
}

func TestCommandLine(t *testing.T) {
	addr := startFloor(t, &floor{data: makeValue(100)})
	text, err := runCommand(t, "get", "-servers", addr, "-count", "500", "-pid", fmt.Sprint(os.Getpid()))
	if err != nil || !strings.Contains(text, "operations  500 in") || !strings.Contains(text, "servers ") {
		t.Errorf("%v\n%s", err, text)
	}
	text, err = runCommand(t, "set", "-servers", addr, "-count", "500", "-json")
	var r result
	if err != nil || json.Unmarshal([]byte(text), &r) != nil || r.Ops != 500 || r.Load.Workload != "set" {
		t.Errorf("%v\n%s", err, text)
	}
	for _, bad := range [][]string{
		nil, {"nothing"}, {"get", "-nothing"}, {"get", "word"}, {"floor", "word"}, {"start"}, {"znodes", "word"}, {"crowd", "word"}, {"probe"}, {"failover", "word"}, {"compare", "word"},
	} {
		if _, err := runCommand(t, bad...); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v, want the usage", bad, err)
		}
	}
	for _, bad := range [][]string{
		{"get", "-servers", addr, "-size", "-1"}, {"floor", "-log-size", "0"}, {"znodes", "-servers", addr}, {"crowd", "-servers", addr},
		{"failover", "-servers", addr}, {"compare", "-sections", "six"}, {"compare", "-rounds", "0"}, {"compare", "-zkcore", "/nonexistent/zkcore"},
	} {
		if _, err := runCommand(t, bad...); err == nil || errors.Is(err, errUsage) {
			t.Errorf("%q: %v, want an error", bad, err)
		}
	}
}

func TestStart(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	addr := loopback(ports[0])
	text, err := runCommand(t, "start", "-server", addr, "-n", "2", "-json", "--", self, "floor", "-listen", addr)
	var s spread
	if err != nil || json.Unmarshal([]byte(text), &s) != nil || len(s.All) != 2 || s.Min <= 0 {
		t.Fatalf("%v\n%s", err, text)
	}
	if answers(addr) {
		t.Error("a server was left behind")
	}
	if _, err := runCommand(t, "start", "-server", addr, "--", "false"); err == nil {
		t.Error("a command that ends was taken for a server")
	}
}

func TestZnodes(t *testing.T) {
	s := fakezk.Start(t)
	text, err := runCommand(t, "znodes", "-servers", s.Addr, "-pids", fmt.Sprint(os.Getpid()), "-n", "200", "-settle", "1ms", "-json")
	var fp footprint
	if err != nil || json.Unmarshal([]byte(text), &fp) != nil || fp.Znodes != 200 || fp.After == 0 || fp.Collected {
		t.Fatalf("%v\n%s", err, text)
	}
}

func TestCrowd(t *testing.T) {
	s := fakezk.Start(t)
	text, err := runCommand(t, "crowd", "-servers", s.Addr, "-pids", fmt.Sprint(os.Getpid()), "-n", "50", "-watches", "3", "-settle", "1ms", "-fire", "-storm", "-json")
	var f crowdFigures
	if err != nil || json.Unmarshal([]byte(text), &f) != nil || f.Sessions != 50 || f.Watches != 150 || f.Events != 50 || f.Lost != 0 || f.Tries < 50 ||
		f.Stormed == nil || f.Stormed.Writes == 0 || f.WithAll == 0 {
		t.Fatalf("%v\n%s", err, text)
	}
}

// The comparison of the floors alone: every section that they can take part in.
func TestCompareFloors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "result.json")
	text, err := runCommand(t, "compare", "-apache=false", "-rounds", "2", "-warmup", "10ms", "-duration", "50ms", "-starts", "2",
		"-failovers", "1", "-settle", "1ms", "-dir", t.TempDir(), "-json-file", file)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, want := range []string{"one server, get", "one server, one set at a time", "process start to first answer", "floor-no-log"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	b, err := os.ReadFile(file)
	var c comparison
	if err != nil || json.Unmarshal(b, &c) != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	f := c.Loads[0].Targets[floorName]
	if len(f.Rounds) != 2 || f.PerSecond <= 0 || len(c.Start[bareName].All) != 2 {
		t.Errorf("%+v", c)
	}
}

func TestReportRatios(t *testing.T) {
	c := comparison{Settings: map[string]string{floorName: "", zkcoreName: "", apacheName: ""}, order: []string{floorName, zkcoreName, apacheName}, Loads: []comparedLoad{{
		Servers: 1, Workload: "get", Targets: map[string]*comparedFigure{
			floorName: {PerCPUSecond: 4000}, zkcoreName: {PerCPUSecond: 600}, apacheName: {PerCPUSecond: 100},
		}}}}
	var b strings.Builder
	c.text(&b)
	for line := range strings.Lines(b.String()) {
		f := strings.Fields(line)
		if len(f) == 8 && f[0] == zkcoreName {
			if f[6] != "6.00" || f[7] != "0.15" {
				t.Errorf("ratios %s and %s", f[6], f[7])
			}
			return
		}
	}
	t.Errorf("no line of zkcore in\n%s", &b)
}

// A testEnsemble is three floors in this process, one of which says that it leads.
type testEnsemble struct {
	t       *testing.T
	mu      sync.Mutex
	leader  int
	servers []string
	lns     []net.Listener
	conns   [][]net.Conn
	pause   time.Duration // how long nobody answers after a kill
}

func newTestEnsemble(t *testing.T) *testEnsemble {
	e := &testEnsemble{t: t, pause: 50 * time.Millisecond, conns: make([][]net.Conn, 3), lns: make([]net.Listener, 3), servers: make([]string, 3)}
	for i := range 3 {
		if err := e.restart(i); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for i := range e.lns {
			e.drop(i)
		}
	})
	return e
}

func (e *testEnsemble) addrs() []string { return e.servers }

func (e *testEnsemble) drop(i int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lns[i].Close()
	for _, nc := range e.conns[i] {
		nc.Close()
	}
	e.conns[i] = nil
}

func (e *testEnsemble) kill(i int) error {
	for j := range e.servers {
		e.drop(j)
	}
	e.mu.Lock()
	e.leader = (i + 1) % 3
	e.mu.Unlock()
	time.Sleep(e.pause)
	for j := range e.servers {
		if j != i {
			if err := e.restart(j); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *testEnsemble) restart(i int) error {
	addr := e.servers[i]
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.lns[i] = ln
	e.mu.Unlock()
	if e.servers[i] == "" { // afterwards the clients read it
		e.servers[i] = ln.Addr().String()
	}
	fl := &floor{mode: func() string {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.leader == i {
			return "leader"
		}
		return "follower"
	}}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			e.mu.Lock()
			e.conns[i] = append(e.conns[i], nc)
			e.mu.Unlock()
			go func() {
				defer nc.Close()
				fl.conn(nc)
			}()
		}
	}()
	return nil
}

func TestFailover(t *testing.T) {
	e := newTestEnsemble(t)
	var seen []failover
	res, err := measureFailovers(t.Context(), e, 2, func(f failover) { seen = append(seen, f) })
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Runs) != 2 || len(seen) != 2 {
		t.Fatalf("%+v", res)
	}
	for _, f := range res.Runs {
		// The pause is a lower bound, and the worst client can't fare better than all together.
		if f.Gap < 50 || f.Worst < f.Gap || f.Reconnects < 3 {
			t.Errorf("%+v", f)
		}
	}
}

func TestMatrixTargets(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "zkcore")
	for _, name := range []string{"zkcore", "zkcore-consensus-zab", "zkcore-storage-bolt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("abc"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ts, err := matrixTargets(bin, nil, []string{"raft+mem", "zab+bolt:processes"})
	if err != nil {
		t.Fatal(err)
	}
	const sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	want := []string{
		"consensus=raft\nstorage=mem\n",
		"consensus=" + dir + "/zkcore-consensus-zab\nzkcore.plugin.zab.sha256=" + sum + "\nstorage=" + dir + "/zkcore-storage-bolt\nzkcore.plugin.bolt.sha256=" + sum + "\n",
	}
	for i := range want {
		if ts[i].config != want[i] {
			t.Errorf("%s: %q, want %q", ts[i].name, ts[i].config, want[i])
		}
	}
	for _, bad := range []string{"zab", "+mem", "zab+", "raft+mem:processes"} {
		if _, err := matrixTargets(bin, nil, []string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
