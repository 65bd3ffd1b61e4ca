package harness

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Patience bounds every wait for something that must happen. It is meant for a busy machine: no test
// may read a speed into it.
const Patience = 60 * time.Second

// Options says what to run. The zero value is one standalone server.
type Options struct {
	Servers   int // voting members, default 1; one alone (and no observer) gets no server.N line
	Observers int // follow the voting members in number

	TickTimeMS int // default 1000
	InitLimit  int // default 10
	SyncLimit  int // default 5

	// Extra holds further zoo.cfg lines, and replaces lines that the harness would write.
	Extra map[string]string

	Args []string // further arguments of zkcore; Apache's server does not get them
	Env  []string // further environment, NAME=value

	// Host is where each server listens, by its id; nil is loopback. Prefix is put before the command
	// that runs it: what takes it there, for example into a network namespace, without leaving a
	// process of its own.
	Host   func(id int) string
	Prefix func(id int) []string

	Dir    string // holds the servers' folders, and stays; default is a folder that ends with the test
	Binary string // a zkcore to run; default is Binary's

	// Consensus and Storage choose the modules by their names: "zab", or "process:zab" for its
	// program. The environment's ZKCORE_TEST_CONSENSUS and ZKCORE_TEST_STORAGE are the defaults.
	Consensus, Storage string

	Apache  []int    // ids of servers that are Apache's, whatever the environment says
	JVMArgs []string // further arguments of the JVM, before the class

	ApacheClasspath string // of a release other than what the environment says
}

// An Ensemble is one server, or several that know each other.
type Ensemble struct {
	Servers []*Server // in the order of their ids, 1 first

	t   testing.TB
	opt Options
}

// Start makes an ensemble, starts all its servers and waits until all of them serve. What it
// started is killed when the test ends, and if the test failed the end of each log is shown.
func Start(t testing.TB, opt Options) *Ensemble {
	t.Helper()
	e := New(t, opt)
	for _, s := range e.Servers {
		s.Start()
	}
	e.Await()
	return e
}

// New is Start without starting anything.
func New(t testing.TB, opt Options) *Ensemble {
	t.Helper()
	if kind := os.Getenv("ZKCORE_TEST_SERVER"); kind != "" && kind != "zkcore" && kind != "apache" {
		t.Fatalf("ZKCORE_TEST_SERVER=%s: know zkcore and apache", kind)
	}
	if !Apache() && opt.Binary == "" {
		opt.Binary = Binary(t) // not in the middle of a test
	}
	if opt.Host == nil {
		opt.Host = func(int) string { return "127.0.0.1" }
	}
	if opt.Servers == 0 {
		opt.Servers = 1
	}
	if opt.TickTimeMS == 0 {
		opt.TickTimeMS = 1000
	}
	if opt.InitLimit == 0 {
		opt.InitLimit = 10
	}
	if opt.SyncLimit == 0 {
		opt.SyncLimit = 5
	}
	e := &Ensemble{t: t, opt: opt}
	dir := opt.Dir
	if dir == "" {
		dir = t.TempDir()
	}
	n := opt.Servers + opt.Observers
	for id := 1; id <= n; id++ {
		s := &Server{
			ID:       id,
			Observer: id > opt.Servers,
			Apache:   Apache() || slices.Contains(opt.Apache, id),
			Host:     opt.Host(id),
			Dir:      filepath.Join(dir, fmt.Sprintf("server%d", id)),
			t:        t,
			opt:      opt,
		}
		s.DataDir = filepath.Join(s.Dir, "data")
		s.Config = filepath.Join(s.Dir, "zoo.cfg")
		s.LogFile = filepath.Join(s.Dir, "log")
		s.ClientPort = FreePort(t)
		if n > 1 {
			s.QuorumPort, s.ElectionPort = FreePort(t), FreePort(t)
		}
		if err := os.MkdirAll(s.DataDir, 0o755); err != nil {
			t.Fatal(err)
		}
		e.Servers = append(e.Servers, s)
	}
	for _, s := range e.Servers {
		e.WriteConfig(s)
	}
	t.Cleanup(func() {
		for _, s := range e.Servers {
			s.end()
		}
		e.keepLogs()
		if t.Failed() {
			e.showLogs()
		}
	})
	return e
}

// WriteConfig writes the zoo.cfg and myid of s anew, from the options and s.Extra. The server reads
// them when it next starts.
func (e *Ensemble) WriteConfig(s *Server) {
	e.t.Helper()
	cfg := map[string]string{
		"tickTime":               fmt.Sprint(e.opt.TickTimeMS),
		"initLimit":              fmt.Sprint(e.opt.InitLimit),
		"syncLimit":              fmt.Sprint(e.opt.SyncLimit),
		"dataDir":                s.DataDir,
		"clientPort":             fmt.Sprint(s.ClientPort),
		"clientPortAddress":      s.Host,
		"4lw.commands.whitelist": "*",
		"admin.enableServer":     "false", // its port is not one of ours
	}
	if len(e.Servers) > 1 {
		for _, p := range e.Servers {
			line := fmt.Sprintf("%s:%d:%d", p.Host, p.QuorumPort, p.ElectionPort)
			if p.Observer {
				line += ":observer"
			}
			cfg[fmt.Sprintf("server.%d", p.ID)] = line
		}
		if s.Observer {
			cfg["peerType"] = "observer"
		}
		myid := filepath.Join(s.DataDir, "myid")
		if err := os.WriteFile(myid, fmt.Appendf(nil, "%d\n", s.ID), 0o644); err != nil {
			e.t.Fatal(err)
		}
	}
	if !s.Apache {
		maps.Copy(cfg, modules(e.t, e.opt))
	}
	maps.Copy(cfg, e.opt.Extra)
	maps.Copy(cfg, s.Extra)
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(cfg)) {
		fmt.Fprintf(&b, "%s=%s\n", k, cfg[k])
	}
	if err := os.WriteFile(s.Config, []byte(b.String()), 0o644); err != nil {
		e.t.Fatal(err)
	}
}

// Await returns when every running server serves and, in an ensemble, exactly one of them leads. It
// ends the test if that doesn't come to be.
func (e *Ensemble) Await() {
	e.t.Helper()
	if err := e.await(Patience); err != nil {
		e.t.Fatal(err)
	}
}

func (e *Ensemble) await(patience time.Duration) error {
	end := time.Now().Add(patience)
	for {
		modes, leaders, all := e.modes()
		if all && (leaders == 1 || len(e.Servers) == 1) {
			return nil
		}
		for _, s := range e.Running() {
			if err := s.Died(); err != nil {
				return err
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("after %v the ensemble does not serve: %s", patience, modes)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// modes asks every running server what it is.
func (e *Ensemble) modes() (text string, leaders int, all bool) {
	all = true
	var b strings.Builder
	for _, s := range e.Servers {
		switch {
		case !s.Running():
			fmt.Fprintf(&b, "[%d: not running] ", s.ID)
			continue
		case s.frozen:
			fmt.Fprintf(&b, "[%d: stopped by a signal] ", s.ID)
			continue
		}
		mode, err := s.Mode()
		if err != nil {
			all = false
			fmt.Fprintf(&b, "[%d: %v] ", s.ID, err)
			continue
		}
		if mode == "leader" {
			leaders++
		}
		fmt.Fprintf(&b, "[%d: %s] ", s.ID, mode)
	}
	return b.String(), leaders, all
}

// Running returns the servers whose process was started and not ended.
func (e *Ensemble) Running() []*Server {
	var out []*Server
	for _, s := range e.Servers {
		if s.Running() {
			out = append(out, s)
		}
	}
	return out
}

// Leader returns the server that says it leads (a standalone one leads itself). It waits for an
// election under way, and ends the test if nobody comes to lead.
func (e *Ensemble) Leader() *Server {
	e.t.Helper()
	return e.find("leader", "standalone")
}

// Follower returns one of the servers that say they follow.
func (e *Ensemble) Follower() *Server {
	e.t.Helper()
	return e.find("follower")
}

func (e *Ensemble) find(modes ...string) *Server {
	e.t.Helper()
	end := time.Now().Add(Patience)
	for {
		for _, s := range e.Running() {
			if s.frozen {
				continue
			}
			if mode, err := s.Mode(); err == nil && slices.Contains(modes, mode) {
				return s
			}
		}
		if time.Now().After(end) {
			text, _, _ := e.modes()
			e.t.Fatalf("after %v no server is %s: %s", Patience, strings.Join(modes, " or "), text)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Connect is the connect string of all servers: host:port,host:port.
func (e *Ensemble) Connect() string {
	return strings.Join(e.Addrs(), ",")
}

// Addrs are the client addresses of all servers.
func (e *Ensemble) Addrs() []string {
	var out []string
	for _, s := range e.Servers {
		out = append(out, s.Addr())
	}
	return out
}

// ByPort returns the server with that client port.
func (e *Ensemble) ByPort(port int) *Server {
	e.t.Helper()
	for _, s := range e.Servers {
		if s.ClientPort == port {
			return s
		}
	}
	e.t.Fatalf("no server listens on port %d", port)
	return nil
}

// keepLogs copies the logs to where ZKCORE_TEST_LOGS says.
func (e *Ensemble) keepLogs() {
	dir := os.Getenv("ZKCORE_TEST_LOGS")
	if dir == "" {
		return
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		e.t.Error(err)
		return
	}
	name := strings.NewReplacer("/", "_", " ", "_").Replace(e.t.Name())
	for _, s := range e.Servers {
		to := filepath.Join(dir, fmt.Sprintf("%s-server%d.log", name, s.ID))
		if err := os.WriteFile(to, []byte(s.Log()), 0o644); err != nil {
			e.t.Error(err)
		}
	}
}

// logTail is how much of a log a failed test shows.
const logTail = 8 << 10

func (e *Ensemble) showLogs() {
	for _, s := range e.Servers {
		log := s.Log()
		if len(log) > logTail {
			log = "…" + log[len(log)-logTail:]
		}
		e.t.Logf("log of server %d (client port %d):\n%s", s.ID, s.ClientPort, log)
	}
}
