package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/zkcore/zkcore/plugins"
	"github.com/zkcore/zkcore/plugins/consensus"
	pb "github.com/zkcore/zkcore/plugins/process/modulepb"
)

const (
	kindConsensus = plugins.KindConsensus
	kindStorage   = plugins.KindStorage
)

// Config says which program a module is, and how it is dealt with.
type Config struct {
	// Path is the program's, absolute. Neither it nor its folder is a link or can be
	// written to by everybody.
	Path string
	// SHA256 is the program's checksum in hex. Without it nothing is started.
	SHA256 string
	// Name is what the module is called in lines and errors; the file's name if it is empty.
	Name string
	// RunDir is where the socket's directory is made: a folder for this module alone, that
	// is emptied first. If it is empty, or too long for a socket's name, the socket is in the
	// system's folder for temporary files; in the second case what an earlier process left
	// there is removed.
	RunDir string
	// Timeout is how long the module may take to answer; 0: 10 s. What writes much, such as
	// a flush, may take ten times as long.
	Timeout time.Duration
	// StartTimeout is how long it may take to begin to answer; 0: 30 s.
	StartTimeout time.Duration
	// MaxMessage bounds a message from the module; 0: 64 MiB.
	MaxMessage int

	Log     *slog.Logger
	Metrics consensus.Metrics
	// OnDeath is told when the module dies without having been asked to, or is about to be
	// killed, before any call returns an error for it, once. Calls wait until it has returned;
	// it may as well not.
	OnDeath func(*Died)
	// Running, if it is set, knows the process while it runs.
	Running *Running

	args    []string // of tests
	version int      // of tests: the version that is asked for

	noSocket bool // of tests: a member's frames travel in a stream of gRPC, as where there are no sockets
}

func (c *Config) defaults() {
	if c.Name == "" {
		c.Name = plugins.Name(c.Path)
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	if c.StartTimeout <= 0 {
		c.StartTimeout = 30 * time.Second
	}
	if c.MaxMessage <= 0 {
		c.MaxMessage = 64 << 20
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.version == 0 {
		c.version = contractVersion
	}
}

// A module is a running process and the connection to it.
type module struct {
	cfg   Config
	kind  string
	log   *slog.Logger
	child *child
	plug  *plugin.Client
	conn  *grpc.ClientConn
	line  line   // of a member that takes the socket; or nil
	dir   string // that the socket's directory is in; "": the system's for temporary files
	calls *calls
	well  func(*pb.HealthReply) // is told what a health call has brought; it may be nil
	pulse pulse

	ctx    context.Context // ends with the module
	cancel context.CancelFunc

	mu      sync.Mutex
	closing bool // it was asked to end
	died    *Died
	told    chan struct{} // closed when OnDeath has returned; nil before
}

// start starts a module of that kind and asks it what it is.
func start(cfg Config, kind string) (*module, error) {
	cfg.defaults()
	m := &module{cfg: cfg, kind: kind, log: cfg.Log.With("module", kind+" "+cfg.Name)}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	if err := m.start(); err != nil {
		m.cancel()
		m.hangUp()
		m.clean()
		return nil, err
	}
	return m, nil
}

// clean removes the folder that the socket's directory was in, if it was made elsewhere.
func (m *module) clean() {
	if strings.HasPrefix(filepath.Base(m.dir), elsewhere) {
		_ = os.Remove(m.dir) // the next start would
	}
}

func (m *module) start() error {
	file, err := verify(m.cfg.Path, m.cfg.SHA256)
	if err != nil {
		return &Refused{m.cfg.Path, err}
	}
	m.dir, err = runDir(m.cfg.RunDir)
	if err != nil {
		file.Close()
		return fmt.Errorf("module %s: make a folder for its socket: %w", m.cfg.Path, err)
	}
	var theirs []*os.File
	if m.kind == kindConsensus && !m.cfg.noSocket {
		if m.line, theirs, err = socketPair(m.cfg.MaxMessage); err != nil {
			file.Close()
			return fmt.Errorf("module %s: make a socket for it: %w", m.cfg.Path, err)
		}
	}
	var socketDir string
	limit := grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(m.cfg.MaxMessage), grpc.MaxCallSendMsgSize(m.cfg.MaxMessage))
	m.plug = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: map[int]plugin.PluginSet{m.cfg.version: {pluginName: connect{}}},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, dir string) (runner.Runner, error) {
			socketDir = dir
			m.child = &child{
				cmd: &exec.Cmd{Env: cmd.Env}, file: file, sockets: theirs, path: m.cfg.Path, args: m.cfg.args, running: m.cfg.Running,
				log: newLogReader(m.cfg.Log, m.log), done: make(chan struct{}), late: m.cfg.StartTimeout,
			}
			return m.child, nil
		},
		SkipHostEnv:      true,
		AutoMTLS:         true,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: m.dir},
		StartTimeout:     m.cfg.StartTimeout,
		Logger:           hclog.NewNullLogger(),
		SyncStdout:       &lineWriter{log: m.log},
		SyncStderr:       &lineWriter{log: m.log},
		GRPCDialOptions: []grpc.DialOption{limit,
			grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(2 * window),
			grpc.WithReadBufferSize(bufferSize), grpc.WithWriteBufferSize(bufferSize)},
	})
	err = m.dial()
	inTime := m.child == nil || m.child.inTime()
	switch {
	case err == nil:
	case m.child == nil:
		file.Close()
		closeAll(theirs)
		m.plug.Kill()
		return &Refused{m.cfg.Path, err}
	default:
		m.child.kill()
		m.plug.Kill()
		if m.child.cmd.Process == nil {
			_ = os.RemoveAll(socketDir) // go-plugin forgets it then
			return &Refused{m.cfg.Path, fmt.Errorf("it can't be started: %w", err)}
		}
		<-m.child.done
		var refused *Refused
		if errors.As(err, &refused) {
			return err
		}
		if strings.Contains(err.Error(), "incompatible") || strings.Contains(err.Error(), "unsupported plugin protocol") {
			return &Refused{m.cfg.Path, fmt.Errorf("it speaks another version than this server, which speaks %d: %w", m.cfg.version, oneLine(err))}
		}
		died := &Died{Module: m.name(), Err: fmt.Errorf("it does not start: %w", oneLine(err)), Code: m.child.log.failure()}
		switch {
		case died.Code != 0 || m.child.log.lastWord() != "":
			died.Err = m.child.how() // go-plugin says only that it has read nothing, if it looks too early
		case m.child.cmd.ProcessState.Exited():
			died.Err = fmt.Errorf("it does not start: %w", m.child.how())
		}
		if !inTime {
			died.Err = fmt.Errorf("it does not answer within %v of its start", m.cfg.StartTimeout)
		}
		m.tell(died)
		return died
	}
	m.log.Info("module runs", "pid", m.child.ID(), "version", m.version())
	return nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// hangUp closes the line, if there is one.
func (m *module) hangUp() {
	if m.line != nil {
		m.line.close()
	}
}

// version is what the module says that it is.
func (m *module) version() string {
	d, err := m.describe()
	if err != nil {
		return "unknown"
	}
	return d.Version
}

func (m *module) name() string { return m.kind + " " + m.cfg.Name }

// dial starts the process, connects, and checks that it is what it should be.
func (m *module) dial() error {
	cl, err := m.plug.Client()
	if err != nil {
		return err
	}
	raw, err := cl.Dispense(pluginName)
	if err != nil {
		return err
	}
	m.conn = raw.(*grpc.ClientConn)
	m.calls = newCalls(max(m.cfg.Timeout/20, time.Millisecond), func(what string, after time.Duration) {
		m.fail(lateError(what, after))
	})
	d, err := m.describe()
	if err != nil {
		m.calls.close()
		return err
	}
	if d.Kind != m.kind {
		m.calls.close()
		return &Refused{m.cfg.Path, fmt.Errorf("it is a %s module, not a %s one", clean(d.Kind[:min(len(d.Kind), 32)]), m.kind)}
	}
	if !d.Socket {
		m.hangUp()
		m.line = nil
	}
	go m.watch()
	return nil
}

func (m *module) describe() (*pb.Description, error) {
	ctx, cancel := context.WithTimeout(m.ctx, m.cfg.StartTimeout)
	defer cancel()
	return pb.NewModuleClient(m.conn).Describe(ctx, &pb.DescribeRequest{})
}

// watch waits for the end of the process.
func (m *module) watch() {
	<-m.child.done
	m.fail(m.child.how())
}

// health asks the module now and then whether it is well.
func (m *module) health() {
	c := pb.NewModuleClient(m.conn)
	step := max(m.cfg.Timeout/10, time.Millisecond)
	if m.kind == kindConsensus {
		step = min(step, beat) // the member wants to hear from its node
	}
	t := time.NewTicker(step)
	defer t.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-t.C:
		}
		k := m.calls.begin("a health call", m.cfg.Timeout)
		m.pulse.ask()
		r, err := c.Health(m.ctx, &pb.HealthRequest{})
		m.pulse.answered()
		m.calls.end(k)
		if err != nil {
			m.broken("a health call", err)
			return
		}
		if m.well != nil {
			m.well(r)
		}
	}
}

// broken is what a call returns that has failed with err: the module can't be relied on any
// more. A process that has ended says best itself how it ended.
func (m *module) broken(what string, err error) error {
	if m.ctx.Err() == nil {
		t := time.NewTimer(time.Second)
		defer t.Stop()
		select {
		case <-m.child.done:
			return m.fail(m.child.how())
		case <-m.ctx.Done():
		case <-t.C:
		}
	}
	return m.fail(fmt.Errorf("%s: %w", what, err))
}

// fail ends the module, as it can't be relied on for that reason. Of several reasons the
// first counts. When it returns, the process is dead.
func (m *module) fail(why error) error {
	m.mu.Lock()
	if m.closing {
		m.mu.Unlock()
		return &Died{Module: m.name(), Err: errors.New("it was asked to end")}
	}
	first := m.died == nil
	if first {
		m.died = &Died{Module: m.name(), Err: why, Code: m.child.log.failure(), Silence: m.child.log.silence()}
		m.told = make(chan struct{})
	}
	died, told := m.died, m.told
	m.mu.Unlock()
	if !first {
		<-told
		return died
	}
	m.child.kill()
	m.cancel()
	m.calls.close()
	m.tell(died)
	<-m.child.done
	m.plug.Kill() // what is left: the connection, the socket
	m.hangUp()
	m.clean()
	close(told)
	return died
}

func (m *module) tell(died *Died) {
	if m.cfg.OnDeath != nil {
		m.cfg.OnDeath(died)
	}
}

// failed is the reason for which the module is gone, or nil.
func (m *module) failed() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.died == nil {
		return nil
	}
	return m.died
}

// shut ends a module that has nothing more to do, and returns when its process is dead.
func (m *module) shut() {
	m.mu.Lock()
	m.closing = true
	dead := m.died != nil
	m.mu.Unlock()
	m.cancel()
	m.calls.close()
	if dead {
		return
	}
	m.child.end(5 * time.Second)
	m.plug.Kill()
	m.hangUp()
	m.clean()
}

// call makes a call that is answered soon.
func (m *module) call(what string, limit time.Duration, fn func(ctx context.Context) error) error {
	if err := m.failed(); err != nil {
		return m.fail(err)
	}
	k := m.calls.begin(what, limit)
	err := fn(m.ctx)
	m.calls.end(k)
	if err != nil {
		return m.broken(what, err)
	}
	return nil
}

// Running are the processes of modules that run. The zero Running is ready for use, and a nil
// one knows nothing.
type Running struct {
	mu       sync.Mutex
	children map[*child]struct{}
	over     bool
}

func (r *Running) add(c *child) {
	if r == nil {
		return
	}
	r.mu.Lock()
	if r.children == nil {
		r.children = map[*child]struct{}{}
	}
	r.children[c] = struct{}{}
	over := r.over
	r.mu.Unlock()
	if over {
		c.kill()
	}
	go func() {
		<-c.done
		r.mu.Lock()
		delete(r.children, c)
		r.mu.Unlock()
	}()
}

// Kill kills all processes and returns when they are dead. One that is started later is killed
// at once.
func (r *Running) Kill() {
	r.mu.Lock()
	r.over = true
	all := make([]*child, 0, len(r.children))
	for c := range r.children {
		all = append(all, c)
	}
	r.mu.Unlock()
	for _, c := range all {
		c.kill()
	}
	for _, c := range all {
		<-c.done
	}
}

// maxSocketName bounds the path of a folder for sockets: the system has 104 bytes or a few
// more for the whole name.
const maxSocketName = 60

// runDir makes and empties the folder in which the socket's directory is made.
func runDir(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	link := filepath.Join(dir, "elsewhere")
	if old, err := os.Readlink(link); err == nil && strings.HasPrefix(filepath.Base(old), elsewhere) {
		_ = os.RemoveAll(old) // who can't remove it has lost nothing
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil || len(dir) <= maxSocketName {
		return dir, err
	}
	away, err := os.MkdirTemp("", elsewhere)
	if err == nil {
		_ = os.Symlink(away, link) // where there are none it stays, if the process is killed
	}
	return away, err
}

// elsewhere is how a folder for sockets begins that is not in its own place.
const elsewhere = "zkcore-module"

// A lineWriter logs what a module prints, line by line.
type lineWriter struct {
	log  *slog.Logger
	rest []byte
}

func (w *lineWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		line, rest, whole := strings.Cut(string(b), "\n")
		w.rest = append(w.rest, line...)
		b = []byte(rest)
		if !whole && len(w.rest) < maxLine {
			break
		}
		if text := strings.TrimSpace(strings.ToValidUTF8(string(w.rest), "?")); text != "" {
			w.log.Warn(text) // as what comes on the process's own stderr
		}
		w.rest = w.rest[:0]
	}
	return n, nil
}
