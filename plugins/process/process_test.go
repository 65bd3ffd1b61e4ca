package process

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/zkcore/zkcore/plugins/consensus"
	pb "github.com/zkcore/zkcore/plugins/process/modulepb"
	"github.com/zkcore/zkcore/plugins/storage"
)

// The test's own program is every module that the tests need: what it is to be, its first
// argument says.
func TestMain(m *testing.M) {
	if os.Getenv(handshake.MagicCookieKey) == "" {
		if n := os.Getenv(numberKey); n != "" {
			os.Exit(startAs(n))
		}
		os.Exit(m.Run())
	}
	switch os.Args[1] {
	case "store":
		ServeStorage(openFake)
	case "member":
		ServeConsensus(openFakeMember)
	case "future":
		s := &storeServer{open: openFake}
		serveModule(&moduleServer{kind: kindStorage, alive: s.alive}, contractVersion+1, func(g *grpc.Server) { pb.RegisterStorageServer(g, s) })
	case "garbage":
		serveModule(&moduleServer{kind: kindStorage, alive: func(*pb.HealthReply) {}}, contractVersion, func(g *grpc.Server) { pb.RegisterStorageServer(g, garbage{}) })
	case "garbage-member":
		serveModule(&moduleServer{kind: kindConsensus, alive: func(*pb.HealthReply) {}}, contractVersion, func(g *grpc.Server) { pb.RegisterConsensusServer(g, garbageMember{}) })
	case "deaf":
		time.Sleep(time.Hour)
	case "silent":
		os.Exit(0)
	case "three":
		os.Exit(3)
	case "mute":
		fmt.Println("hello")
		time.Sleep(time.Hour)
	case "paints":
		fmt.Println("\x1b[31mhello\r\x00world" + strings.Repeat("!", 10000))
		time.Sleep(time.Hour)
	case "other":
		fmt.Println("2|1|unix|/nowhere|grpc|")
		time.Sleep(time.Hour)
	case "panics":
		panic("at once")
	case "fails":
		Fail(consensus.ExitDamage, errors.New("the disk is not what it was"))
	}
}

// patience is for what must happen.
const patience = 60 * time.Second

// as is a module that is this program.
func as(t *testing.T, what string) Config {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sum, err := Sum(path)
	if err != nil {
		t.Fatal(err)
	}
	return Config{Path: path, SHA256: sum, Name: what, args: []string{what}, Timeout: patience, StartTimeout: patience}
}

// A fake store keeps one record, and does what its path says.
type fake struct {
	mu   sync.Mutex
	path string
	rec  storage.Record
	at   int64
}

func openFake(c storage.Config) (storage.Store, error) {
	if c.Options["refuse"] != "" {
		return nil, fmt.Errorf("option refuse: %w", &consensus.ExitError{Code: consensus.ExitLocked, Err: storage.ErrDamaged})
	}
	if c.Log != nil {
		c.Log.Warn("opened", "dir", c.Dir, "zxid", consensus.Zxid(16))
	}
	if c.Options["print"] != "" {
		fmt.Println("on stdout")
		fmt.Fprintln(os.Stderr, "on stderr")
	}
	return &fake{}, nil
}

func (f *fake) View() storage.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &fake{path: f.path, rec: f.rec, at: f.at}
}

func (f *fake) Commit(b *storage.Batch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, op := range b.Ops {
		switch op.Path {
		case "/exit":
			os.Exit(3)
		case "/panic":
			panic("on a commit")
		case "/fail":
			Fail(consensus.ExitDisk, errors.New("a write has failed"))
		case "/hang":
			select {}
		}
		f.path, f.rec = strings.Clone(op.Path), storage.Record{Head: bytes.Clone(op.Head), Data: bytes.Clone(op.Data)}
	}
	f.at = b.Zxid
	return nil
}

func (f *fake) Applied() int64              { return f.at }
func (f *fake) Durable() int64              { return 0 }
func (f *fake) Flush(context.Context) error { return nil }
func (f *fake) Reset() error                { return nil }
func (f *fake) Stats() storage.Stats        { return storage.Stats{File: 7} }
func (f *fake) Close() error                { return nil }
func (f *fake) Len() int                    { return 1 }
func (f *fake) Release()                    {}
func (f *fake) Get(path string) (storage.Record, bool, error) {
	if path == "/damaged" {
		return storage.Record{}, false, fmt.Errorf("page 7: %w", storage.ErrDamaged)
	}
	return f.rec, path == f.path, nil
}
func (f *fake) Children(string, func(string) bool) error { return nil }
func (f *fake) Walk(func(string, storage.Record) bool) error {
	return fmt.Errorf("page 8: %w", storage.ErrDamaged)
}
func (f *fake) TableGet(string, string) ([]byte, bool, error) { return nil, false, nil }
func (f *fake) TableScan(string, string, func(string, []byte) bool) error {
	return nil
}

// garbage is a store that answers what no store does.
type garbage struct{ pb.UnimplementedStorageServer }

func (garbage) Open(context.Context, *pb.StorageConfig) (*pb.StoreState, error) {
	return &pb.StoreState{Version: 1}, nil
}

func (garbage) Commit(s grpc.ClientStreamingServer[pb.Chunk, pb.StoreState]) error {
	return s.SendAndClose(&pb.StoreState{Version: 2, Len: -1})
}

func (garbage) Walk(_ *pb.ScanRequest, s grpc.ServerStreamingServer[pb.Chunk]) error {
	return s.Send(&pb.Chunk{Data: bytes.Repeat([]byte{0xff}, 100)})
}

// garbageMember is a member that says what no member does.
type garbageMember struct {
	pb.UnimplementedConsensusServer
}

func (garbageMember) Run(s grpc.BidiStreamingServer[pb.Frames, pb.Frames]) error {
	out := newOutbox(&grpcLine{stream: s})
	go out.run()
	out.put(func(dst []byte) []byte { return appendProto(append(dst, fOpened), &pb.Opened{}) })
	out.put(func(dst []byte) []byte { return append(dst, fDeliver, 0xff, 0xff, 0xff, 0xff, 0x7f) })
	<-s.Context().Done()
	return nil
}

// open opens a store, which is closed with the test.
func open(t *testing.T, c Config, sc storage.Config) storage.Store {
	t.Helper()
	s, err := Storage(c)(sc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(path string) *storage.Batch {
	b := &storage.Batch{Zxid: 1}
	b.Put(path, []byte("head"), []byte("data"))
	return b
}

func TestErrorsCross(t *testing.T) {
	_, err := Storage(as(t, "store"))(storage.Config{Options: map[string]string{"refuse": "yes"}})
	var coded interface{ ExitCode() int }
	if !errors.Is(err, storage.ErrDamaged) || !errors.As(err, &coded) || coded.ExitCode() != consensus.ExitLocked || !strings.Contains(err.Error(), "option refuse") {
		t.Errorf("Open: %v", err)
	}
	s := open(t, as(t, "store"), storage.Config{})
	v := s.View()
	defer v.Release()
	if _, _, err := v.Get("/damaged"); !errors.Is(err, storage.ErrDamaged) || !strings.Contains(err.Error(), "page 7") {
		t.Errorf("Get: %v", err)
	}
	if err := v.Walk(func(string, storage.Record) bool { return true }); !errors.Is(err, storage.ErrDamaged) || !strings.Contains(err.Error(), "page 8") {
		t.Errorf("Walk: %v", err)
	}
	if st := s.Stats(); st.File != 7 {
		t.Errorf("Stats: %+v", st)
	}
	for _, want := range []error{consensus.ErrNotNow, consensus.ErrUnsupported, consensus.ErrClosed, consensus.ErrDamaged, context.Canceled} {
		err := fromWire(kindConsensus, toWire(fmt.Errorf("doing this: %w", want)))
		if !errors.Is(err, want) || !strings.HasPrefix(err.Error(), "doing this: ") {
			t.Errorf("%v becomes %v", want, err)
		}
	}
	if fromWire(kindStorage, toWire(nil)) != nil {
		t.Error("no error becomes one")
	}
}

// TestRefused: what is not to be started is not, and the error says what is wrong.
func TestRefused(t *testing.T) {
	good := as(t, "store")
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no checksum":    {func(c *Config) { c.SHA256 = "" }, "no checksum is configured; the file's is sha256 " + good.SHA256},
		"half a sum":     {func(c *Config) { c.SHA256 = c.SHA256[:32] }, "is not a SHA-256 in hex"},
		"another file":   {func(c *Config) { c.SHA256 = strings.Repeat("0", 64) }, "its SHA-256 is " + good.SHA256},
		"a relative one": {func(c *Config) { c.Path = "x/y" }, "is not an absolute path"},
		"a later module": {func(c *Config) { c.args = []string{"future"} }, fmt.Sprintf("another version than this server, which speaks %d", contractVersion)},
		"another core":   {func(c *Config) { c.args = []string{"other"} }, fmt.Sprintf("another version than this server, which speaks %d", contractVersion)},
		"another kind":   {func(c *Config) { c.args = []string{"member"} }, "it is a consensus module, not a storage one"},
	} {
		c := good
		tc.change(&c)
		_, err := Storage(c)(storage.Config{})
		var refused *Refused
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") || refused.ExitCode() != 2 {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestCheckFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "module")
	if err := os.WriteFile(file, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := CheckFile(file); err != nil {
		t.Error(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	linkedDir := filepath.Join(t.TempDir(), "dir")
	if err := os.Symlink(dir, linkedDir); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	plain := filepath.Join(dir, "plain")
	for path, mode := range map[string]os.FileMode{open: 0o757, plain: 0o644} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		link: "is a link", filepath.Join(linkedDir, "module"): "is a link", open: "written to by everybody", plain: "can't be executed",
		dir: "is not a file", filepath.Join(dir, "none"): "no such file",
	} {
		if err := CheckFile(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// TestDoesNotStart: a module that does not come so far as to be asked what it is has died, and
// its process is dead.
func TestDoesNotStart(t *testing.T) {
	for what, want := range map[string]string{
		"silent": "does not start: the process has ended by itself", "three": "does not start: the process has ended (exit status 3)",
		"paints": "message: ?[31mhello??world!!", "panics": "panic: at once", "mute": "Unrecognized remote plugin message: hello",
		"deaf": "does not answer within", "fails": "the disk is not what it was",
	} {
		c := as(t, what)
		var told *Died
		c.OnDeath = func(d *Died) { told = d }
		c.Running = new(Running)
		if what == "deaf" {
			c.StartTimeout = 500 * time.Millisecond
		}
		_, err := Storage(c)(storage.Config{})
		var died *Died
		if !errors.As(err, &died) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
			continue
		}
		if text := err.Error(); len(text) > 1000 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%s: the error is no line for a terminal: %q", what, text)
		}
		if told != died {
			t.Errorf("%s: OnDeath was told %v", what, told)
		}
		code := consensus.ExitModule
		if what == "fails" {
			code = consensus.ExitDamage
		}
		if died.ExitCode() != code {
			t.Errorf("%s: exit code %d, want %d", what, died.ExitCode(), code)
		}
		c.Running.Kill() // returns when nothing runs
	}
}

// stop stops a process, and returns when it stands still: on a busy machine its other threads go
// on until the one runs that has got the signal.
func stop(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(tasks) == 0 {
			return err // there is no /proc here
		}
		still := true
		for _, task := range tasks {
			b, err := os.ReadFile(task)
			if err != nil {
				return err
			}
			_, state, _ := strings.Cut(string(b), ") ")
			still = still && strings.HasPrefix(state, "T")
		}
		if still {
			return nil
		}
	}
	return errors.New("the process does not stop")
}

// TestDies: a module that ends, hangs, or says what nobody understands is dead when the call
// returns, OnDeath was told before, and it stays so.
func TestDies(t *testing.T) {
	for name, tc := range map[string]struct {
		what string
		do   func(s storage.Store, pid int) error
		want string
		code int
	}{
		"exits":  {"store", func(s storage.Store, _ int) error { return s.Commit(put("/exit")) }, "exit status 3", consensus.ExitModule},
		"panics": {"store", func(s storage.Store, _ int) error { return s.Commit(put("/panic")) }, "panic: on a commit", consensus.ExitModule},
		"fails":  {"store", func(s storage.Store, _ int) error { return s.Commit(put("/fail")) }, "a write has failed", consensus.ExitDisk},
		"is killed": {"store", func(s storage.Store, pid int) error {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				return err
			}
			return s.Commit(put("/a"))
		}, "signal: killed", consensus.ExitModule},
		"hangs": {"store", func(s storage.Store, _ int) error {
			return s.Commit(put("/hang"))
		}, "it does not answer", consensus.ExitModule},
		"is stopped": {"store", func(s storage.Store, pid int) error {
			if err := stop(pid); err != nil {
				return err
			}
			_, _, err := s.View().Get("/a")
			return err
		}, "it does not answer", consensus.ExitModule},
		"answers garbage": {"garbage", func(s storage.Store, _ int) error { return s.Commit(put("/a")) }, "what it says of its state", consensus.ExitModule},
		"sends garbage": {"garbage", func(s storage.Store, _ int) error {
			return s.View().Walk(func(string, storage.Record) bool { return true })
		}, "what it sent can't be decoded", consensus.ExitModule},
		"does not know a call": {"garbage", func(s storage.Store, _ int) error { return s.Reset() }, "Unimplemented", consensus.ExitModule},
	} {
		t.Run(name, func(t *testing.T) {
			c := as(t, tc.what)
			c.Running = new(Running)
			if tc.want == "it does not answer" {
				c.Timeout = time.Second
			}
			var mu sync.Mutex
			var told []*Died
			c.OnDeath = func(d *Died) {
				mu.Lock()
				told = append(told, d)
				mu.Unlock()
			}
			s, err := Storage(c)(storage.Config{})
			if err != nil {
				t.Fatal(err)
			}
			pid := s.(*store).m.child.cmd.Process.Pid
			err = tc.do(s, pid)
			mu.Lock()
			n := len(told)
			mu.Unlock()
			var died *Died
			if !errors.As(err, &died) || !strings.Contains(err.Error(), tc.want) || died.ExitCode() != tc.code {
				t.Errorf("%v (%T), want %q", err, err, tc.want)
			}
			if n != 1 || told[0] != died {
				t.Errorf("OnDeath was told %v", told)
			}
			if syscall.Kill(pid, 0) != syscall.ESRCH {
				t.Error("the process is still there")
			}
			for what, err := range map[string]error{"Commit": s.Commit(put("/b")), "Reset": s.Reset(), "Flush": s.Flush(t.Context())} {
				if !errors.As(err, &died) {
					t.Errorf("%s afterwards: %v", what, err)
				}
			}
			if _, _, err := s.View().Get("/a"); !errors.As(err, &died) {
				t.Errorf("Get afterwards: %v", err)
			}
			if err := s.Close(); !errors.As(err, &died) {
				t.Errorf("Close afterwards: %v", err)
			}
			if n := len(told); n != 1 {
				t.Errorf("OnDeath was told %d times", n)
			}
		})
	}
}

// TestHangsUnasked: a module that hangs while nobody wants anything of it is found out by the health
// call.
func TestHangsUnasked(t *testing.T) {
	died := func(c *Config) chan *Died {
		ch := make(chan *Died, 1)
		c.Timeout, c.Running = time.Second, new(Running)
		c.OnDeath = func(d *Died) { ch <- d }
		return ch
	}
	found := func(c Config, ch chan *Died, m *module) {
		t.Helper()
		pid := m.child.cmd.Process.Pid
		if err := stop(pid); err != nil {
			t.Fatal(err)
		}
		select {
		case d := <-ch:
			if !strings.Contains(d.Err.Error(), "it does not answer: a health call") {
				t.Errorf("it is said to have died of %v", d.Err)
			}
		case <-time.After(patience):
			t.Fatal("nobody notices")
		}
		c.Running.Kill() // as the supervisor does
		if syscall.Kill(pid, 0) != syscall.ESRCH {
			t.Error("the process is still there")
		}
	}
	c := as(t, "store")
	ch := died(&c)
	s, err := Storage(c)(storage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.(*store).made.Wait() // what is asked of a store at its start
	found(c, ch, s.(*store).m)

	c = as(t, "member")
	ch = died(&c)
	m, err := Consensus(c)(consensus.Config{Fail: func(int, error) {}}, newFakeNode())
	if err != nil {
		t.Fatal(err)
	}
	found(c, ch, m.(*member).m)
}

// A logged is a log that a test reads.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestLogCrosses: a module's lines are the node's, with level and attributes. The node's
// environment is not the module's.
func TestLogCrosses(t *testing.T) {
	l := new(logged)
	c := as(t, "store")
	c.Log = slog.New(slog.NewTextHandler(l, nil))
	open(t, c, storage.Config{Dir: "/data"})
	for end := time.Now().Add(patience); !strings.Contains(l.String(), "level=WARN msg=opened dir=/data zxid=0x10"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the module's line is not in the log:\n%s", l)
		}
	}
}

// TestExitCodes: no module ends its server with a code that the system takes for success.
func TestExitCodes(t *testing.T) {
	for code, want := range map[int]int{20: 20, 255: 255, 256: consensus.ExitUnexpected, -1: consensus.ExitUnexpected, 1 << 20: consensus.ExitUnexpected} {
		if rec, ok := parseLine(fmt.Appendf(nil, `{"msg":"the disk is full","%s":%d}`, failKey, code)); !ok || rec.fail != want {
			t.Errorf("a line with %d: %+v, %v", code, rec, ok)
		}
		var coded *consensus.ExitError
		if err := fromWire(kindConsensus, toWire(&consensus.ExitError{Code: code, Err: errors.New("no")})); !errors.As(err, &coded) || coded.Code != want {
			t.Errorf("an error with %d: %v", code, err)
		}
	}
}

// TestPrintsCross: what a module prints is a warning with its name, wherever it prints it.
func TestPrintsCross(t *testing.T) {
	l := new(logged)
	c := as(t, "store")
	c.Log = slog.New(slog.NewTextHandler(l, nil))
	open(t, c, storage.Config{Options: map[string]string{"print": "yes"}})
	for _, want := range []string{`level=WARN msg="on stdout" module="storage store"`, `level=WARN msg="on stderr" module="storage store"`} {
		for end := time.Now().Add(patience); !strings.Contains(l.String(), want); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the log has no %s:\n%s", want, l)
			}
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("ZKCORE_SECRET", "hidden")
	s := open(t, as(t, "store"), storage.Config{})
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", s.(*store).m.child.cmd.Process.Pid))
	if errors.Is(err, os.ErrNotExist) {
		return // no such file on this system
	}
	if err != nil {
		t.Fatal(err)
	}
	for kv := range strings.SplitSeq(string(raw), "\x00") {
		if name, _, _ := strings.Cut(kv, "="); name != "" && name != handshake.MagicCookieKey && !strings.HasPrefix(name, "PLUGIN_") {
			t.Errorf("the module has %s in its environment", kv)
		}
	}
}

// TestSocketIsPrivate: nobody else can reach a module's socket, and nothing of it is left.
func TestSocketIsPrivate(t *testing.T) {
	c := as(t, "store")
	c.RunDir = filepath.Join(t.TempDir(), "run")
	if len(c.RunDir) > maxSocketName {
		var err error
		if c.RunDir, err = os.MkdirTemp("", "zk"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(c.RunDir) })
	}
	left := filepath.Join(c.RunDir, "left")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Storage(c)(storage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what an earlier process left is still there: %v", err)
	}
	dirs, err := os.ReadDir(c.RunDir)
	if err != nil || len(dirs) != 1 {
		t.Fatalf("the folder holds %v: %v", dirs, err)
	}
	info, err := dirs[0].Info()
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder has mode %v", info.Mode())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if dirs, _ := os.ReadDir(c.RunDir); len(dirs) != 0 {
		t.Errorf("%v is left", dirs)
	}
}

// TestSocketIsForTheServerAlone: who can open the socket, as the server's user can, is not answered
// without the certificate that was made for this one connection.
func TestSocketIsForTheServerAlone(t *testing.T) {
	c := as(t, "store")
	s := open(t, c, storage.Config{})
	addr, err := s.(*store).m.plug.Start() // it has started, and says where
	if err != nil {
		t.Fatal(err)
	}
	for how, creds := range map[string]credentials.TransportCredentials{
		"in the clear":          insecure.NewCredentials(),
		"without a certificate": credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}),
	} {
		nc, err := net.Dial("unix", addr.String())
		if err != nil {
			t.Fatal(err) // then what follows would say nothing
		}
		nc.Close()
		stranger, err := grpc.NewClient("unix:"+addr.String(), grpc.WithTransportCredentials(creds))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if r, err := pb.NewModuleClient(stranger).Describe(ctx, &pb.DescribeRequest{}); err == nil {
			t.Errorf("%s it answers %v", how, r)
		}
		cancel()
		stranger.Close()
	}
	if err := s.Commit(put("/a")); err != nil {
		t.Error(err)
	}
}

func TestVerify(t *testing.T) {
	d, err := Verify(as(t, "store"), kindStorage)
	if err != nil || d.Kind != kindStorage || d.Contract != contractVersion {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := Verify(as(t, "store"), kindConsensus); err == nil {
		t.Error("a store is a consensus module")
	}
}

// TestStoreErrorsCross keeps what a node asks of an error of its store: what the system said, and which option
// was wrong.
func TestStoreErrorsCross(t *testing.T) {
	for _, want := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
		if err := fromWire(kindStorage, toWire(fmt.Errorf("flush: %w", &os.PathError{Op: "write", Path: "x", Err: want}))); !errors.Is(err, want) {
			t.Errorf("%v came as %v", want, err)
		}
	}
	err := fromWire(kindStorage, toWire(fmt.Errorf("open: %w", &storage.OptionError{Key: "k", Reason: "is odd"})))
	var o *storage.OptionError
	if !errors.As(err, &o) || o.Key != "k" || o.Reason != "is odd" || err.Error() != "open: k: is odd" {
		t.Errorf("an option's error came as %v", err)
	}
	err = fromWire(kindStorage, toWire(&storage.OptionError{Key: "k", Reason: "odd\x1b[2J\nand more"}))
	if !errors.As(err, &o) || o.Reason != "odd?[2J" {
		t.Errorf("an option's error has %q", o.Reason)
	}
}

// TestOwnerErrorCrosses keeps whose data it is that a module refuses: the server names its file in the line that says what to do.
func TestOwnerErrorCrosses(t *testing.T) {
	want := consensus.OwnerError{Dir: "/data/version-2", Owner: "zab", Want: "raft"}
	err := fromWire(kindConsensus, toWire(fmt.Errorf("open: %w", &want)))
	var o *consensus.OwnerError
	if !errors.As(err, &o) || *o != want || err.Error() != "open: "+want.Error() {
		t.Fatalf("it came as %v", err)
	}
	if text := o.Text("/etc/zoo.cfg"); !strings.HasSuffix(text, "zkcore convert --to=raft --config=/etc/zoo.cfg") {
		t.Error(text)
	}
	if errors.As(fromWire(kindStorage, toWire(&want)), &o) {
		t.Error("a store has said it")
	}
}

// A lateFlush answers a Flush after something else has been begun, and says that it has made 7 durable.
type lateFlush struct {
	pb.StorageClient
	begin func()
}

func (l lateFlush) Flush(ctx context.Context, r *pb.StoreRequest, _ ...grpc.CallOption) (*pb.StoreState, error) {
	_, err := l.StorageClient.Flush(ctx, r)
	l.begin()
	return &pb.StoreState{Durable: 7}, err
}

// TestFlushBesideReset: what a flush has made durable is not told of the state after a reset.
func TestFlushBesideReset(t *testing.T) {
	s := open(t, as(t, "store"), storage.Config{}).(*store)
	reset := make(chan error, 1)
	resets := func() uint64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.resets
	}
	s.c = lateFlush{s.c, func() {
		go func() { reset <- s.Reset() }()
		// It is through, or it waits: there is no sign of the latter.
		for end := time.Now().Add(200 * time.Millisecond); resets() == 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if resets() != 0 {
			reset <- <-reset
		}
	}}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-reset; err != nil {
		t.Fatal(err)
	}
	if d := s.Durable(); d != 0 {
		t.Errorf("an empty store is durable up to %d", d)
	}
}

// TestSocketsElsewhere: where a data directory's name is too long for a socket, nothing piles up in the system's folder for
// temporary files: neither of modules that ended in order or did not start, nor of servers that were killed.
func TestSocketsElsewhere(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	left := func() []os.DirEntry {
		entries, err := os.ReadDir(tmp)
		if err != nil {
			t.Fatal(err)
		}
		return entries
	}
	c := as(t, "store")
	c.RunDir = filepath.Join(t.TempDir(), strings.Repeat("x", maxSocketName), "storage")
	for range 3 { // killed, each of them
		dir, err := runDir(c.RunDir)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "socket"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if n := len(left()); n != 1 {
			t.Errorf("there are %d folders", n)
		}
	}
	s, err := Storage(c)(storage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.args = []string{"silent"}
	if _, err := Storage(c)(storage.Config{}); err == nil {
		t.Error("it started")
	}
	for _, dir := range []string{"", c.RunDir} {
		c.RunDir, c.Path = dir, filepath.Join(t.TempDir(), "text")
		if err := os.WriteFile(c.Path, []byte("no program"), 0o755); err != nil {
			t.Fatal(err)
		}
		if c.SHA256, err = Sum(c.Path); err != nil {
			t.Fatal(err)
		}
		if _, err := Storage(c)(storage.Config{}); err == nil {
			t.Error("a text was started")
		}
	}
	if l := left(); len(l) != 0 {
		t.Errorf("there is left: %v", l)
	}
}
