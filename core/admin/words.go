package admin

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zkcore/zkcore/core/config"
	"github.com/zkcore/zkcore/core/metrics"
)

// Words answers four-letter words.
type Words struct {
	Config  *config.Config
	Source  Source
	Metrics *metrics.Registry
	Log     *slog.Logger
	// Descriptors returns how many files are open, and how many may be.
	Descriptors func() (open, max int64)
	// Refusals bounds the log lines about words that are refused; nil: no bound.
	Refusals *Limiter
}

// A Limiter passes ten lines a second, for all that share it.
type Limiter struct {
	mu     sync.Mutex
	second time.Time
	lines  int
}

func (l *Limiter) pass(now time.Time) bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.second) >= time.Second {
		l.second, l.lines = now, 0
	}
	l.lines++
	return l.lines <= 10
}

const (
	notServing = "This ZooKeeper instance is not currently serving requests"
	telnet     = "\xff\xf4\xff\xfd"
)

// A word makes an answer. idle ones answer whether the server serves or not.
type word struct {
	answer func(*Words, *bytes.Buffer)
	idle   bool
}

var words = map[string]word{
	"ruok": {func(_ *Words, b *bytes.Buffer) { b.WriteString("imok") }, true},
	"isro": {(*Words).isro, true},
	"envi": {(*Words).envi, true},
	"gtmk": {func(_ *Words, b *bytes.Buffer) { b.WriteString("306") }, true},
	"srvr": {(*Words).srvr, false},
	"stat": {(*Words).stat, false},
	"cons": {(*Words).cons, false},
	"conf": {(*Words).conf, false},
	"dump": {(*Words).dump, false},
	"wchs": {(*Words).wchs, false},
	"mntr": {(*Words).mntr, false},
	"dirs": {(*Words).dirs, false},
	"srst": {(*Words).srst, false},
	"crst": {(*Words).crst, false},
}

// later are words of Apache's that are not there yet.
var later = []string{"wchc", "wchp", "hash", "stmk"}

// Answer writes the answer to a word. It is false for what is no word at all.
func (w *Words) Answer(name string, to io.Writer) bool {
	known, ok := words[name]
	missing := slices.Contains(later, name)
	if !ok && !missing && name != telnet {
		return false
	}
	var b bytes.Buffer
	switch {
	case !w.listed(name):
		if name == telnet {
			name = "telnet close"
		}
		if w.Refusals.pass(time.Now()) {
			asker := ""
			if c, ok := to.(net.Conn); ok {
				asker = c.RemoteAddr().String()
			}
			w.Log.Info("four-letter word refused: not in 4lw.commands.whitelist", "word", name, "client", asker)
		}
		fmt.Fprintf(&b, "%s is not executed because it is not in the whitelist.\n", name)
	case name == telnet:
	case missing:
		fmt.Fprintf(&b, "%s is not supported by this release of zkcore.\n", name)
	case !known.idle && !w.serves():
		b.WriteString(notServing + "\n")
	default:
		known.answer(w, &b)
	}
	if _, err := to.Write(b.Bytes()); err != nil {
		w.Log.Debug("the asker of a four-letter word is gone", "word", name, "err", err)
	}
	return true
}

func (w *Words) listed(name string) bool {
	for _, l := range w.Config.FourLetterWords {
		if l == name || l == "*" {
			return true
		}
	}
	return false
}

// serves says whether the server answers anybody.
func (w *Words) serves() bool {
	f := w.Source.Facts()
	return f.Serving || f.ReadOnly
}

func (w *Words) isro(b *bytes.Buffer) {
	switch f := w.Source.Facts(); {
	case f.ReadOnly:
		b.WriteString("ro")
	case f.Serving:
		b.WriteString("rw")
	default:
		b.WriteString("null")
	}
}

func (w *Words) srvr(b *bytes.Buffer) { w.status(b, false) }
func (w *Words) stat(b *bytes.Buffer) { w.status(b, true) }

func (w *Words) status(b *bytes.Buffer, clients bool) {
	f := w.Source.Facts()
	fmt.Fprintf(b, "Zookeeper version: %s\n", VersionText())
	if f.ReadOnly {
		b.WriteString("READ-ONLY mode; serving only read-only clients\n")
	}
	if clients {
		b.WriteString("Clients:\n")
		for _, c := range w.connections() {
			fmt.Fprintf(b, " /%s[%x](queued=%d,recved=%d,sent=%d)\n", c.Addr, c.Interest, c.Queued, c.Received, c.Sent)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(b, "Latency min/avg/max: %d/%s/%d\n", f.LatencyMin, Average(f.LatencyAvg), f.LatencyMax)
	fmt.Fprintf(b, "Received: %d\nSent: %d\nConnections: %d\nOutstanding: %d\nZxid: 0x%x\nMode: %s\nNode count: %d\n",
		f.Received, f.Sent, f.Connections, f.Outstanding, uint64(f.Zxid), f.Mode, f.Nodes+1)
	if f.Mode == "leader" {
		fmt.Fprintf(b, "Proposal sizes last/min/max: %d/%d/%d\n", f.LastProposal, f.MinProposal, f.MaxProposal)
	}
}

func (w *Words) connections() []Connection {
	cs := w.Source.Connections()
	slices.SortFunc(cs, func(a, b Connection) int { return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.Addr, b.Addr)) })
	return cs
}

func (w *Words) cons(b *bytes.Buffer) {
	for _, c := range w.connections() {
		fmt.Fprintf(b, " /%s[%x](queued=%d,recved=%d,sent=%d", c.Addr, c.Interest, c.Queued, c.Received, c.Sent)
		if c.Session != 0 {
			fmt.Fprintf(b, ",sid=0x%x,lop=%s,est=%d,to=%d", uint64(c.Session), c.LastOp, c.Since.UnixMilli(), c.TimeoutMS)
			if c.LastCxid >= 0 {
				fmt.Fprintf(b, ",lcxid=0x%x", c.LastCxid)
			}
			fmt.Fprintf(b, ",lzxid=0x%x,lresp=%d,llat=%d,minlat=%d,avglat=%d,maxlat=%d", uint64(c.LastZxid), c.LastResponse.UnixMilli(),
				c.LastLatency, c.MinLatency, int64(c.AvgLatency), c.MaxLatency)
		}
		b.WriteString(")\n")
	}
	b.WriteByte('\n')
}

func (w *Words) conf(b *bytes.Buffer) {
	c := w.Config
	data, log := filepath.Join(c.DataDir, "version-2"), filepath.Join(c.DataLogDir, "version-2")
	dataSize, logSize := w.sizes()
	fmt.Fprintf(b, "clientPort=%d\nsecureClientPort=-1\ndataDir=%s\ndataDirSize=%d\ndataLogDir=%s\ndataLogSize=%d\n",
		c.ClientPort, data, dataSize, log, logSize)
	fmt.Fprintf(b, "tickTime=%d\nmaxClientCnxns=%d\nminSessionTimeout=%d\nmaxSessionTimeout=%d\nclientPortListenBacklog=%d\nserverId=%d\n",
		c.TickTime.Milliseconds(), c.MaxClientCnxns, c.MinSessionTimeout.Milliseconds(), c.MaxSessionTimeout.Milliseconds(),
		c.ListenBacklog, c.ServerID)
	if c.Standalone {
		return
	}
	var election, quorum []string
	if me, ok := c.Ensemble.Find(c.ServerID); ok {
		for _, a := range me.Addrs {
			election = append(election, strconv.Itoa(a.ElectionPort))
			quorum = append(quorum, strconv.Itoa(a.QuorumPort))
		}
	}
	peerType := 0
	if c.Observer {
		peerType = 1
	}
	fmt.Fprintf(b, "initLimit=%d\nsyncLimit=%d\nelectionAlg=3\nelectionPort=%s\nquorumPort=%s\npeerType=%d\n",
		c.InitLimit, c.SyncLimit, strings.Join(election, "|"), strings.Join(quorum, "|"), peerType)
	if !w.Source.Facts().ReadOnly {
		fmt.Fprintf(b, "membership: \n%s", c.EnsembleText())
	}
}

// sizes are the bytes of snapshots and of logs; of the whole directory, twice,
// when it is the same.
func (w *Words) sizes() (data, log int64) {
	sum := func(dir string) (n int64) {
		entries, err := os.ReadDir(filepath.Join(dir, "version-2"))
		if err != nil {
			return 0
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
				n += info.Size()
			}
		}
		return n
	}
	return sum(w.Config.DataDir), sum(w.Config.DataLogDir)
}

func (w *Words) dirs(b *bytes.Buffer) {
	data, log := w.sizes()
	fmt.Fprintf(b, "datadir_size: %d\nlogdir_size: %d\n", data, log)
}

func (w *Words) srst(b *bytes.Buffer) {
	w.Source.ResetServer()
	w.Metrics.Reset()
	b.WriteString("Server stats reset.\n")
}

func (w *Words) crst(b *bytes.Buffer) {
	w.Source.ResetConnections()
	b.WriteString("Connection stats reset.\n")
}

func (w *Words) wchs(b *bytes.Buffer) {
	conns, paths, total := w.Source.Watches()
	fmt.Fprintf(b, "%d connections watching %d paths\nTotal watches:%d\n", conns, paths, total)
}

// javaDate is how java.util.Date prints itself.
const javaDate = "Mon Jan 02 15:04:05 MST 2006"

func (w *Words) dump(b *bytes.Buffer) {
	b.WriteString("SessionTracker dump:\n")
	sessions := w.Source.Sessions()
	f := w.Source.Facts()
	counts := f.Mode == "leader" || f.Mode == "standalone"
	if locals := w.Source.LocalSessions(); w.Config.LocalSessions && !w.Config.Standalone || len(locals) > 0 {
		b.WriteString("Local ")
		sessionSets(b, locals)
		if counts {
			b.WriteString("Global ")
		}
	}
	if counts {
		sessionSets(b, sessions)
	} else {
		fmt.Fprintf(b, "Global Sessions(%d):\n", len(sessions))
		for _, s := range sessions {
			fmt.Fprintf(b, "0x%x\t%dms\n", uint64(s.ID), s.TimeoutMS)
		}
	}
	eph := w.Source.Ephemerals()
	fmt.Fprintf(b, "ephemeral nodes dump:\nSessions with Ephemerals (%d):\n", len(eph))
	for _, e := range eph {
		fmt.Fprintf(b, "0x%x:\n", uint64(e.Session))
		for _, p := range e.Paths {
			fmt.Fprintf(b, "\t%s\n", p)
		}
	}
	conns := w.connections()
	ends := make(map[time.Time][]Connection)
	for _, c := range conns {
		// By the second, as it is shown: those that end together stand together.
		at := c.Expires.Truncate(time.Second)
		ends[at] = append(ends[at], c)
	}
	fmt.Fprintf(b, "Connections dump:\nConnections Sets (%d)/(%d):\n", len(ends), len(conns))
	for _, at := range slices.SortedFunc(maps.Keys(ends), time.Time.Compare) {
		fmt.Fprintf(b, "%d expire at %s:\n", len(ends[at]), at.Local().Format(javaDate))
		for _, c := range ends[at] {
			fmt.Fprintf(b, "\tip: /%s sessionId: 0x%x\n", c.Addr, uint64(c.Session))
		}
	}
}

// sessionSets are sessions by when they expire.
func sessionSets(b *bytes.Buffer, sessions []Session) {
	sets := make(map[time.Time][]int64)
	for _, s := range sessions {
		sets[s.Expires] = append(sets[s.Expires], s.ID)
	}
	fmt.Fprintf(b, "Session Sets (%d)/(%d):\n", len(sets), len(sessions))
	for _, at := range slices.SortedFunc(maps.Keys(sets), time.Time.Compare) {
		fmt.Fprintf(b, "%d expire at %s:\n", len(sets[at]), at.Local().Format(javaDate))
		for _, id := range sets[at] {
			fmt.Fprintf(b, "\t0x%x\n", uint64(id))
		}
	}
}

func (w *Words) envi(b *bytes.Buffer) {
	b.WriteString("Environment:\n")
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	host, err := os.Hostname()
	if err != nil {
		host = "<NA>"
	}
	name, home := "<NA>", "<NA>"
	if u, err := user.Current(); err == nil {
		name, home = u.Username, u.HomeDir
	}
	dir, err := os.Getwd()
	if err != nil {
		dir = "<NA>"
	}
	for _, kv := range [][2]string{
		{"zookeeper.version", VersionText()}, {"host.name", host},
		{"java.version", "<NA>"}, {"java.vendor", "<NA>"}, {"java.home", "<NA>"}, {"java.class.path", "<NA>"},
		{"java.library.path", "<NA>"}, {"java.io.tmpdir", os.TempDir()}, {"java.compiler", "<NA>"},
		{"os.name", osName()}, {"os.arch", runtime.GOARCH}, {"os.version", "<NA>"},
		{"user.name", name}, {"user.home", home}, {"user.dir", dir},
		{"os.memory.free", megabytes(mem.Sys - mem.HeapInuse)}, {"os.memory.max", megabytes(mem.Sys)}, {"os.memory.total", megabytes(mem.Sys)},
		{"go.version", runtime.Version()},
	} {
		fmt.Fprintf(b, "%s=%s\n", kv[0], kv[1])
	}
}

func osName() string {
	return strings.ToUpper(runtime.GOOS[:1]) + runtime.GOOS[1:]
}

func megabytes(n uint64) string { return strconv.FormatUint(n>>20, 10) + "MB" }

// Average prints a mean as Apache does: at most four decimals, half up, at
// least one.
func Average(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "0.0"
	}
	return JavaDouble(math.Floor(v*10000+0.5) / 10000)
}

// JavaDouble prints a number as Java does: 5.0, 2.3E7, NaN.
func JavaDouble(v float64) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	case v == 0:
		return "0.0"
	}
	if abs := math.Abs(v); abs >= 1e-3 && abs < 1e7 {
		s := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	s := strconv.FormatFloat(v, 'E', -1, 64)
	mantissa, exp, _ := strings.Cut(s, "E")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, err := strconv.Atoi(exp)
	if err != nil {
		return s
	}
	return mantissa + "E" + strconv.Itoa(n)
}
