package conn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// An echo answers each frame with itself, and a frame "n<size>" with so many
// bytes.
type echo struct {
	c       *Conn
	blocked bool
	closed  *atomic.Int64
	frames  atomic.Int64
	calls   atomic.Int64
}

func (e *echo) Blocked() bool    { return e.blocked }
func (e *echo) Closed()          { e.closed.Add(1) }
func (e *echo) Describe() string { return "echo" }

func (e *echo) Frames(b []byte) (int, error) {
	e.calls.Add(1)
	e.c.Lock()
	defer e.c.Unlock()
	out := e.c.Out()
	taken := 0
	for taken < len(b) && (taken == 0 || !e.blocked && len(out) < 64<<10) {
		n := int(binary.BigEndian.Uint32(b[taken:]))
		f := b[taken+4 : taken+4+n]
		taken += 4 + n
		e.frames.Add(1)
		switch s := string(f[:min(len(f), 32)]); {
		case s == "hello":
			e.c.Established()
		case s == "block":
			e.blocked = true
		case s == "bad":
			return taken, errors.New("a bad frame")
		case s == "last":
			out = append(out, 0, 0, 0, 3, 'e', 'n', 'd')
			e.c.SetOut(out)
			e.c.CloseSent()
			return taken, nil
		case strings.HasPrefix(s, "n"):
			var size int
			fmt.Sscanf(s, "n%d", &size)
			out = binary.BigEndian.AppendUint32(out, uint32(size))
			out = append(out, make([]byte, size)...)
			continue
		}
		out = append(out, b[taken-4-n:taken]...)
	}
	e.c.SetOut(out)
	return taken, nil
}

type rig struct {
	t      *testing.T
	s      *Server
	addr   string
	closed atomic.Int64
	log    *lines

	mu    sync.Mutex
	echos []*echo
}

// lines is a log that a test reads.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := unheard(t, change)
	a, err := r.s.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = a.String()
	return r
}

// unheard is start without a port.
func unheard(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, log: &lines{}}
	cfg := Config{
		Log: slog.New(slog.NewTextHandler(r.log, nil)),
		Accept: func(c *Conn) Client {
			e := &echo{c: c, closed: &r.closed}
			r.mu.Lock()
			r.echos = append(r.echos, e)
			r.mu.Unlock()
			return e
		},
	}
	if change != nil {
		change(&cfg)
	}
	r.s = NewServer(cfg)
	t.Cleanup(r.s.Close)
	return r
}

func (r *rig) echo(i int) *echo {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.echos[i]
}

func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// pipe is dial for a test in a time of its own.
func (r *rig) pipe() net.Conn {
	here, there := net.Pipe()
	r.t.Cleanup(func() { here.Close() })
	r.s.Add(there, nil)
	return here
}

// refused connects in vain. The reset may come before the system says that there
// is a connection.
func (r *rig) refused() {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		r.t.Fatal("one too many is let in")
	}
}

func (r *rig) hello() net.Conn {
	c := r.dial()
	write(r.t, c, frame("hello"))
	r.read(c, "hello")
	return c
}

func frame(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}

func write(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) read(c net.Conn, want string) {
	r.t.Helper()
	b := make([]byte, 4+len(want))
	if _, err := io.ReadFull(c, b); err != nil {
		r.t.Fatal(err)
	}
	if string(b) != string(frame(want)) {
		r.t.Fatalf("%q, want %q", b, want)
	}
}

// ended waits for the end of a connection.
func (r *rig) ended(c net.Conn) {
	r.t.Helper()
	b, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r.t.Fatal("the connection stays open")
	}
	if len(b) > 0 {
		r.t.Fatalf("%q before the end", b)
	}
}

func (r *rig) until(what string, cond func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("%s: does not happen; log:\n%s", what, r.log)
		}
	}
}

// logged waits for a log line with all of the words.
func (r *rig) logged(words ...string) {
	r.t.Helper()
	r.until(fmt.Sprintf("a log line with %q", words), func() bool {
		for line := range strings.Lines(r.log.String()) {
			all := true
			for _, w := range words {
				all = all && strings.Contains(line, w)
			}
			if all {
				return true
			}
		}
		return false
	})
}

// TestFrames: frames are cut the same wherever the stream is.
func TestFrames(t *testing.T) {
	r := start(t, nil)
	var all, want []byte
	for i := range 300 {
		f := frame(fmt.Sprint("x", strings.Repeat("y", i*i%977), i))
		all = append(all, f...)
		want = append(want, f...)
	}
	big := frame("x" + strings.Repeat("z", 700<<10)) // outgrows the common buffer
	all = append(append(all, big...), frame("xend")...)
	want = append(append(want, big...), frame("xend")...)
	for _, size := range []int{len(all), 40000, 1009} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			c := r.hello()
			go func() {
				for b := all; len(b) > 0; {
					n := min(size, len(b))
					if _, err := c.Write(b[:n]); err != nil {
						return
					}
					b = b[n:]
				}
			}()
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatal("something else comes back")
			}
		})
	}
	r.until("the memory of large frames to be given back", func() bool { return r.s.large.Load() == 0 })
}

// TestByteByByte: a frame whose bytes come one by one is a frame.
func TestByteByByte(t *testing.T) {
	r := start(t, nil)
	c := r.dial()
	for _, b := range append(frame("hello"), frame("xyz")...) {
		write(t, c, []byte{b})
		time.Sleep(100 * time.Microsecond)
	}
	r.read(c, "hello")
	r.read(c, "xyz")
}

// TestManyFramesPerRead: frames that come together are handed over together.
func TestManyFramesPerRead(t *testing.T) {
	r := start(t, nil)
	c := r.hello()
	var b []byte
	for range 64 {
		b = append(b, frame("x")...)
	}
	before := r.echo(0).calls.Load()
	write(t, c, b)
	if _, err := io.ReadFull(c, make([]byte, len(b))); err != nil {
		t.Fatal(err)
	}
	if n := r.echo(0).calls.Load() - before; n > 8 {
		t.Errorf("64 frames took %d calls", n)
	}
}

// counted are counters for a test to look at.
type counted struct {
	mu   sync.Mutex
	sums map[string]int64
}

func (c *counted) Add(name string, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sums == nil {
		c.sums = map[string]int64{}
	}
	c.sums[name] += n
}

func (c *counted) get(name string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sums[name]
}

func TestRefusedFrames(t *testing.T) {
	var m counted
	r := start(t, func(c *Config) { c.Metrics = &m })
	for _, tc := range []struct {
		name  string
		hello bool
		send  string
		log   string
	}{
		{"negative", true, "\xff\xff\xff\xfb", "frame of -5 bytes"},
		{"oversized", true, "\x7f\xff\xff\xff", "jute.maxbuffer"},
		{"one too long", true, "\x00\x10\x00\x00", "jute.maxbuffer"},
		{"negative greeting", false, "\x80\x00\x00\x00", "frame of -2147483648 bytes"},
		{"long greeting", false, "\x00\x00\x04\x01", "before there is a session"},
		{"http", false, "GET / HTTP/1.1\r\n\r\n", "before there is a session"},
		{"unknown word", false, "abcd", "unknown four-letter word"},
		{"from the client", true, string(frame("bad")), "a bad frame"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var c net.Conn
			if tc.hello {
				c = r.hello()
			} else {
				c = r.dial()
			}
			write(t, c, []byte(tc.send))
			r.ended(c)
			r.logged(tc.log, c.LocalAddr().String())
		})
	}
	r.until("all to be closed", func() bool { return r.closed.Load() == 8 && r.s.Len() == 0 })
	if n := m.get("zkcore_frames_refused"); n != 6 { // all but the word and the client's own
		t.Errorf("%d refused frames are counted", n)
	}
}

// TestGreetingInTime: the greeting has its time from the beginning; bytes that
// dribble in don't lengthen it.
func TestGreetingInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const greeting = 300 * time.Millisecond
		r := unheard(t, func(c *Config) { c.Greeting = greeting })
		begin := time.Now()
		silent, dribbling, fine := r.pipe(), r.pipe(), r.pipe()
		write(t, fine, frame("hello"))
		r.read(fine, "hello")
		go func() {
			for _, b := range frame(strings.Repeat("x", 1000)) {
				time.Sleep(20 * time.Millisecond)
				if _, err := dribbling.Write([]byte{b}); err != nil {
					return
				}
			}
		}()
		r.ended(silent)
		r.ended(dribbling)
		if d := time.Since(begin); d != greeting {
			t.Errorf("it took %v", d)
		}
		r.logged("no complete greeting within 300ms")
		time.Sleep(greeting)
		write(t, fine, frame("x"))
		r.read(fine, "x")
	})
}

func TestPerIP(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxPerIP = 3 })
	var open []net.Conn
	for range 3 {
		open = append(open, r.hello())
	}
	r.refused()
	r.logged("client refused", "maxClientCnxns")
	other, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("tcp", r.addr)
	if err == nil { // not every system has the address
		defer other.Close()
		other.SetDeadline(time.Now().Add(patience))
		write(t, other, frame("hello"))
		r.read(other, "hello")
		other.Close()
	}
	// When the client sees the end of a connection its place is free.
	for range 20 {
		if err := open[0].(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, open[0]); err != nil {
			t.Fatal(err)
		}
		open = append(open[1:], r.hello())
	}
}

func TestMax(t *testing.T) {
	r := start(t, func(c *Config) { c.Max = 2 })
	a, _ := r.hello(), r.hello()
	r.refused()
	r.logged("client refused", "maxCnxns")
	a.Close()
	r.until("the place to be free", func() bool { return r.s.Len() == 1 })
	r.hello()
}

// TestLargeTogether: large frames of all clients together have a budget.
func TestLargeTogether(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxLarge = 512 << 10 })
	small := r.hello()
	c := r.hello()
	half := frame("x" + strings.Repeat("z", 1000<<10))
	if _, err := c.Write(half[:900<<10]); err == nil {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatal("an answer to half a frame")
		}
	}
	r.logged("large requests", c.LocalAddr().String())
	write(t, small, frame("x"))
	r.read(small, "x")
	r.until("the memory to be given back", func() bool { return r.s.large.Load() == 0 })
}

// TestNoReader: for a client that does not read, no more is executed when enough
// waits for it; another one is served meanwhile.
func TestNoReader(t *testing.T) {
	const frames = 600 // more than what the sockets take
	r := start(t, nil)
	c := r.hello()
	other := r.hello()
	go func() {
		for range frames {
			if _, err := c.Write(frame("n100000")); err != nil {
				return
			}
		}
	}()
	e := r.echo(0)
	var last int64
	r.until("the client to be stopped", func() bool {
		n := e.frames.Load()
		same := n == last && n > 1
		last = n
		time.Sleep(50 * time.Millisecond)
		return same
	})
	e.c.Lock()
	queued := e.c.Queued()
	e.c.Unlock()
	if queued > highWater+64<<10+100<<10 {
		t.Errorf("%d bytes wait", queued)
	}
	write(t, other, frame("x"))
	r.read(other, "x")
	if n := e.frames.Load(); n >= frames {
		t.Error("all was executed")
	}
	// Once it reads, all comes.
	want := frames * (4 + 100000)
	if n, err := io.CopyN(io.Discard, c, int64(want)); err != nil {
		t.Fatalf("%d bytes of %d: %v", n, want, err)
	}
}

// TestSlowReader: whoever is sent more than it reads loses its connection.
func TestSlowReader(t *testing.T) {
	var m counted
	r := start(t, func(c *Config) { c.MaxQueued, c.Metrics = 1<<20, &m })
	c := r.hello()
	e := r.echo(0)
	for range 1000 {
		e.c.Lock()
		if e.c.Gone() {
			e.c.Unlock()
			break
		}
		e.c.SetOut(append(e.c.Out(), make([]byte, 100<<10)...))
		e.c.Unlock()
		e.c.Flush()
	}
	r.logged("does not read", c.LocalAddr().String())
	if n := m.get("zkcore_slow_readers_closed"); n != 1 {
		t.Errorf("%d slow readers are counted", n)
	}
}

// TestManySlowReaders: of clients that read nothing, and get a lot that they have not asked for, those
// lose their connections that have more than their share of what may wait of it in all: so much that
// nobody's is more than he may have alone. Who has little, who reads, and what was asked for is left alone.
func TestManySlowReaders(t *testing.T) {
	const all, many, step = 8 << 20, 50, 32 << 10
	r := start(t, func(c *Config) { c.MaxUnasked, c.MaxQueued = all, 64<<20 })
	tell := func(e *echo, asked bool) {
		e.c.Lock()
		if !e.c.Gone() {
			e.c.SetOut(append(e.c.Out(), make([]byte, step)...))
			if !asked {
				e.c.Unasked(step)
			}
		}
		e.c.Unlock()
		e.c.Flush()
	}
	reader := r.hello()
	read := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, reader)
		read <- n
	}()
	for range many + 2 {
		r.hello()
	}
	little, asks := r.echo(1), r.echo(2)
	fill := func(e *echo) { // until something waits behind what the socket took
		r.until("the socket to be full", func() bool {
			tell(e, true)
			e.c.Lock()
			defer e.c.Unlock()
			return e.c.Writing() && e.c.Queued() > 4<<20
		})
	}
	fill(little)
	fill(asks)
	tell(little, false)
	held := func() int64 { return r.s.unasked.bytes.Load() }
	rounds := 0
	gone := func() (n int) {
		for i := range many {
			e := r.echo(3 + i)
			e.c.Lock()
			if e.c.Gone() {
				n++
			}
			e.c.Unlock()
		}
		return n
	}
	for most := int64(0); gone() < many; rounds++ {
		for i := range many {
			tell(r.echo(3+i), false)
		}
		tell(r.echo(0), false)
		tell(asks, true)
		if most = max(most, held()); most > 2*all {
			t.Fatalf("%d bytes wait", most)
		}
		if rounds > 16<<20/step*2 {
			t.Fatalf("of %d connections %d are closed", many, gone())
		}
	}
	if n := held(); n < step || n > all {
		t.Errorf("%d bytes are left", n)
	}
	for name, e := range map[string]*echo{"the reader": r.echo(0), "who has little": little, "who asks": asks} {
		e.c.Lock()
		if e.c.Gone() {
			t.Errorf("%s is gone", name)
		}
		e.c.Unlock()
	}
	r.until("the reader to have all", func() bool { e := r.echo(0); e.c.Lock(); defer e.c.Unlock(); return e.c.Queued() == 0 })
	e := r.echo(0)
	e.c.Lock()
	e.c.CloseSent()
	e.c.Unlock()
	e.c.Flush()
	if n := <-read; n < int64(rounds*step) {
		t.Errorf("the reader got %d bytes of %d", n, rounds*step)
	}
	r.until("only what little has to be left", func() bool { return held() == step && r.s.unasked.conns.Load() == 1 })
	little.c.Close(nil)
	if n, m := held(), r.s.unasked.conns.Load(); n != 0 || m != 0 {
		t.Errorf("%d bytes of %d connections are left", n, m)
	}
}

// TestBlocked: a client that takes no frames now gets them later.
func TestBlocked(t *testing.T) {
	r := start(t, nil)
	c := r.hello()
	write(t, c, append(frame("block"), frame("x1")...))
	r.read(c, "block")
	write(t, c, frame("x2"))
	e := r.echo(0)
	r.until("it to wait", func() bool { e.c.Lock(); defer e.c.Unlock(); return e.c.Stalled() })
	if n := e.frames.Load(); n != 2 {
		t.Fatalf("%d frames", n)
	}
	e.c.Lock()
	e.blocked = false
	e.c.Wake()
	e.c.Unlock()
	r.read(c, "x1")
	r.read(c, "x2")
}

// TestCloseSent: what was appended before the end arrives, also if more comes in.
func TestCloseSent(t *testing.T) {
	r := start(t, nil)
	for range 50 {
		c := r.hello()
		write(t, c, append(append(frame("xx"), frame("last")...), bytes.Repeat(frame("more"), 2000)...))
		r.read(c, "xx")
		r.read(c, "end")
		r.ended(c)
		c.Close()
	}
	r.until("all to be closed", func() bool { return r.s.Len() == 0 })
}

// TestFewLinger: connections on which all is said stay open for a moment, for their clients to take it, and count
// against no limit. Clients that don't close their side can't have more of them than there are descriptors for.
func TestFewLinger(t *testing.T) {
	const may, many = 10, 400
	r := start(t, func(c *Config) { c.MaxPerIP = 2 })
	r.s.places.mu.Lock()
	r.s.places.mayLinger = may
	r.s.places.mu.Unlock()
	for range many {
		c := r.hello()
		write(t, c, frame("last"))
		r.until("the place", func() bool {
			r.s.places.mu.Lock()
			defer r.s.places.mu.Unlock()
			if n := r.s.places.lingering; n > may {
				t.Fatalf("%d linger", n)
			}
			return len(r.s.places.perIP) == 0
		})
		if n := r.s.Len(); n > many/4 { // some are closed, and not forgotten yet
			t.Fatalf("%d are open", n)
		}
	}
	r.until("the last of them to go", func() bool { return r.s.Len() == 0 })
	r.s.places.mu.Lock()
	defer r.s.places.mu.Unlock()
	if n := r.s.places.lingering; n != 0 {
		t.Errorf("%d linger", n)
	}
}

func TestFourLetterWords(t *testing.T) {
	r := start(t, func(c *Config) {
		c.FourLetter = func(word string, nc net.Conn) bool {
			switch word {
			case "ruok":
				io.WriteString(nc, "imok")
			case "stmk":
				b := make([]byte, 8)
				if _, err := io.ReadFull(nc, b); err == nil {
					fmt.Fprint(nc, binary.BigEndian.Uint64(b))
				}
			case telnetClose:
			default:
				return false
			}
			return true
		}
	})
	for _, tc := range []struct{ send, want string }{
		{"ruok", "imok"},
		{"ruok\n", "imok"},
		{"ruok" + strings.Repeat("garbage", 3000), "imok"},
		{"stmk\x00\x00\x00\x00\x00\x00\x01\x32", "306"},
		{telnetClose, ""},
		{"wxyz", ""},
	} {
		c := r.dial()
		write(t, c, []byte(tc.send[:2]))
		write(t, c, []byte(tc.send[2:]))
		if b, err := io.ReadAll(c); err != nil || string(b) != tc.want {
			t.Errorf("%q: %q, %v, want %q", tc.send[:4], b, err, tc.want)
		}
	}
	// Behind a greeting it is a length like another.
	c := r.hello()
	write(t, c, []byte("ruok"))
	r.ended(c)
}

// TestClose: closing the server ends all, whatever they are at.
func TestClose(t *testing.T) {
	r := start(t, nil)
	r.dial()
	r.hello()
	blocked := r.hello()
	write(t, blocked, append(frame("block"), frame("x")...))
	slow := r.hello()
	go func() {
		for {
			if _, err := slow.Write(frame("n1000000")); err != nil {
				return
			}
		}
	}()
	r.until("them to be busy", func() bool { return r.echo(3).frames.Load() > 1 })
	r.s.Close()
	if r.s.Len() != 0 || r.closed.Load() != 4 {
		t.Fatalf("%d connections, %d closed", r.s.Len(), r.closed.Load())
	}
	if err := r.s.Serve(&net.TCPListener{}); err == nil {
		t.Fatal("a closed server listens")
	}
}

// TestLogLimit: clients can't fill the log.
func TestLogLimit(t *testing.T) {
	r := start(t, nil)
	for range 100 {
		c := r.dial()
		write(t, c, []byte("\xff\xff\xff\xff"))
		r.ended(c)
	}
	r.until("all to be closed", func() bool { return r.closed.Load() == 100 })
	if n := strings.Count(r.log.String(), "\n"); n > 5*linesPerSecond {
		t.Errorf("%d lines", n)
	}
}

// TestCutBesideClose: a server that closes, and waits for somebody who has a connection locked and waits himself, is cut
// none the less. So it is with one whose module hangs when a signal ends it.
func TestCutBesideClose(t *testing.T) {
	r := start(t, nil)
	c := r.hello()
	held := r.echo(0).c
	held.Lock()
	closed := make(chan struct{})
	go func() { r.s.Close(); close(closed) }()
	begun := func() bool {
		if !r.s.mu.TryLock() {
			return false
		}
		defer r.s.mu.Unlock()
		return r.s.closed
	}
	for end := time.Now().Add(patience); !begun(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			held.Unlock()
			t.Fatal("Close waits for a connection with the server locked")
		}
	}
	r.s.Cut()
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection that was cut: %v", err)
	}
	held.Unlock()
	<-closed
}
