package badinput

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zkcore/zkcore/test/harness"
)

// meanwhile serves the honest client over and over, and new ones, until the function that it returns
// is called; that one reports how large the server was at most. Its caller leaves open what the others
// did until then: at least one round comes to its end before it returns.
func (h *honest) meanwhile(t *testing.T) (stop func() (peak int64)) {
	t.Helper()
	quit := make(chan struct{})
	var wg sync.WaitGroup
	var rounds int
	var peak int64
	wg.Go(func() {
		for {
			select {
			case <-quit:
				if rounds > 0 {
					return
				}
			case <-time.After(20 * time.Millisecond):
			}
			if err := h.serve(); err != nil {
				t.Errorf("the honest client is not served: %v", err)
				return
			}
			if err := newClient(h.s); err != nil {
				t.Errorf("a new client is not served: %v", err)
				return
			}
			rounds++
		}
	})
	wg.Go(func() {
		for {
			peak = max(peak, h.s.RSS())
			select {
			case <-quit:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	return func() int64 {
		close(quit)
		wg.Wait()
		t.Logf("%d rounds of honest clients meanwhile", rounds)
		return peak
	}
}

// newClient connects, reads and goes.
func newClient(s *harness.Server) error {
	c, err := net.DialTimeout("tcp", s.Addr(), harness.Patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(harness.Patience)); err != nil {
		return err
	}
	w := &wire{Conn: c}
	if _, err := c.Write(append(connect(30_000), request(1, opGetData, str("/honest"), []byte{0})...)); err != nil {
		return err
	}
	if b, err := w.tryReceive(); err != nil || len(b) < 20 {
		return fmt.Errorf("handshake: % x, %w", b, err)
	}
	code, err := w.tryReply(1)
	if err == nil && code != ok {
		err = fmt.Errorf("code %d", code)
	}
	return err
}

// needDescriptors raises this process's limit of open files, which the server inherits.
func needDescriptors(t *testing.T, n uint64) {
	t.Helper()
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	lim.Max = max(lim.Max, n)
	lim.Cur = lim.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatalf("this test needs %d open files: %v (raise the hard limit, ulimit -Hn)", n, err)
	}
}

// silent is how many connections say nothing.
const silent = 10_000

// Ten thousand connections that never say anything cost little, keep nobody else from being served,
// and are closed after a while; some that dribble or stop in mid-handshake go the same way.
func TestSilentConnections(t *testing.T) {
	needDescriptors(t, silent+4000)
	s := harness.Start(t, harness.Options{Extra: map[string]string{"maxClientCnxns": "0"}}).Servers[0]
	h := newHonest(t, s)
	h.served()
	base, descriptors := s.RSS(), s.Descriptors()
	stop := h.meanwhile(t)

	conns := make([]net.Conn, 0, silent)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for len(conns) < silent {
		c, err := net.DialTimeout("tcp", s.Addr(), harness.Patience)
		if err != nil {
			t.Fatalf("connection %d: %v", len(conns), err)
		}
		conns = append(conns, c)
	}
	// They wait in the listener's queue, or are the server's: in either case all of them are open now.
	most := s.Descriptors() - descriptors
	t.Logf("%d silent connections, of which the server has %d at once", silent, most)
	if most < silent/2 && !harness.Apache() {
		t.Errorf("the server took only %d of %d connections", most, silent)
	}

	half := open(t, s)
	half.send(connect(10000)[:20])
	dribbled := make(chan error, 1)
	dribbler := open(t, s)
	go func() { dribbled <- dribble(dribbler, connect(10000)) }()

	// The server closes all of them, and says why.
	for i, c := range conns {
		if err := c.SetReadDeadline(time.Now().Add(harness.Patience)); err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if n, err := c.Read(b[:]); n > 0 || !closedByPeer(err) {
			t.Fatalf("silent connection %d: %d bytes, %v", i, n, err)
		}
		c.Close()
	}
	half.closed()
	if err := <-dribbled; err != nil {
		t.Error(err)
	}
	peak := stop()
	bounded(t, fmt.Sprintf("%d silent connections", silent), peak-base, 200<<20)
	if !harness.Apache() && !strings.Contains(s.Log(), "greeting") {
		t.Error("the log does not say that connections were closed for want of a greeting")
	}
	if lines := strings.Count(s.Log(), "\n"); lines > 1000 && !harness.Apache() {
		t.Errorf("silent connections make a log of %d lines", lines)
	}
	for end := time.Now().Add(harness.Patience); s.Descriptors() > descriptors+20; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the server has %d descriptors open, before %d", s.Descriptors(), descriptors)
		}
	}
	h.served()
}

// dribble sends a handshake so slowly that it would take minutes. The server must not wait for it.
func dribble(w *wire, handshake []byte) error {
	for i := range handshake {
		if _, err := w.Write(handshake[i : i+1]); err != nil {
			if closedByPeer(err) {
				return nil
			}
			return err
		}
		if err := w.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return err
		}
		var b [1]byte
		switch _, err := w.Read(b[:]); {
		case closedByPeer(err):
			return nil
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
		// Apache's server lets every byte buy more time.
		if harness.Apache() && i > 5 {
			return nil
		}
	}
	return errors.New("a handshake was dribbled for minutes, and the server waited for it")
}

// A handshake that comes byte by byte, but in time, is as good as any, and so are requests.
func TestDribbled(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{}).Servers[0]
	newHonest(t, s)
	w := open(t, s)
	for _, b := range [][]byte{connect(30_000), request(1, opGetData, str("/honest"), []byte{0})} {
		for i := range b {
			w.send(b[i : i+1])
			time.Sleep(5 * time.Millisecond)
		}
		if w.receive() == nil {
			t.Fatal("no answer")
		}
	}
	// A word in two pieces is a word.
	w = open(t, s)
	w.send([]byte("ru"))
	time.Sleep(50 * time.Millisecond)
	w.send([]byte("ok"))
	if got := w.closed(); got != "imok" {
		t.Fatalf("answer %q", got)
	}
	// Handshakes that stop anywhere and go.
	whole := connect(10000)
	for n := range len(whole) {
		c := open(t, s)
		c.send(whole[:n])
		c.Close()
	}
	(&honest{newHonestAgain(t, s).Conn, t, s}).served()
}

func newHonestAgain(t *testing.T, s *harness.Server) *honest {
	t.Helper()
	w := openSession(t, s)
	w.send(request(1, 2, str("/honest"), i32(-1))) // delete
	if code := w.reply(1); code != ok {
		t.Fatalf("delete: %d", code)
	}
	w.Close()
	return newHonest(t, s)
}

// Frames that claim the greatest length and don't come hold no memory of that length; frames that do
// come, but not to their end, hold a bounded amount in all.
func TestUnfinishedFrames(t *testing.T) {
	t.Parallel()
	const clients = 400
	const size = 1_000_000
	s := harness.Start(t, harness.Options{Extra: map[string]string{"maxClientCnxns": "0"}}).Servers[0]
	h := newHonest(t, s)
	h.served()
	base := s.RSS()
	stop := h.meanwhile(t)
	var ws []*wire
	for range clients {
		w := openSession(t, s)
		w.send(join(i32(0xfffff), i32(1), i32(opSetData), str("/honest")))
		ws = append(ws, w)
	}
	time.Sleep(200 * time.Millisecond)
	h.served()
	peak := stop()
	bounded(t, fmt.Sprintf("%d claims of a megabyte", clients), peak-base, 64<<20)

	stop = h.meanwhile(t)
	part := make([]byte, size)
	var wg sync.WaitGroup
	refused := make(chan struct{}, clients)
	for _, w := range ws {
		wg.Go(func() {
			// The server may stop reading or close: both bound what it holds.
			if err := w.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Error(err)
			}
			if _, err := w.Write(part); err != nil {
				refused <- struct{}{}
			}
		})
	}
	wg.Wait()
	h.served()
	peak = stop()
	t.Logf("%d of %d were not read to the end", len(refused), clients)
	bounded(t, fmt.Sprintf("%d unfinished megabytes", clients), peak-base, 300<<20)
	for _, w := range ws {
		w.Close()
	}
	h.served()
}

// Clients that ask without end and read no reply: the server stops reading from them, and keeps
// neither their requests nor the replies.
func TestFloods(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Extra: map[string]string{"maxClientCnxns": "0"}}).Servers[0]
	h := newHonest(t, s)
	w := openSession(t, s)
	w.send(request(1, opCreate, str("/large"), str(strings.Repeat("x", 100_000)), worldAll, i32(0)))
	if code := w.reply(1); code != ok {
		t.Fatal(code)
	}
	h.served()
	for _, tc := range []struct {
		name  string
		one   func(xid int32) []byte
		limit int64
	}{
		{"reads of a large value", func(xid int32) []byte { return request(xid, opGetData, str("/large"), []byte{0}) }, 160 << 20},
		{"pings", func(int32) []byte { return request(-2, opPing) }, 160 << 20},
		{"writes", func(xid int32) []byte {
			return request(xid, opSetData, str("/large"), str(strings.Repeat("y", 1000)), i32(-1))
		}, 160 << 20},
		{"watches on paths that don't exist", func(xid int32) []byte {
			return request(xid, opExists, str(fmt.Sprintf("/none/%d", xid%1000)), []byte{1})
		}, 160 << 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &honest{h.Conn, t, s}
			base := s.RSS()
			stop := h.meanwhile(t)
			const clients = 20
			const most = 64 << 20 // bytes from each
			var wg sync.WaitGroup
			var ws []*wire
			for range clients {
				w := openSession(t, s)
				ws = append(ws, w)
				if err := w.SetWriteDeadline(time.Now().Add(2 * time.Second)); err != nil {
					t.Fatal(err)
				}
				wg.Go(func() {
					xid := int32(1)
					for sent := 0; sent < most; {
						var b []byte
						for len(b) < 32<<10 {
							b = append(b, tc.one(xid)...)
							xid++
						}
						n, err := w.Write(b)
						if err != nil {
							return // the server takes no more, which is right
						}
						sent += n
					}
				})
			}
			wg.Wait()
			bounded(t, "a flood of "+tc.name, stop()-base, tc.limit)
			for _, w := range ws {
				w.Close()
			}
			h.served()
		})
	}
}

// More connections than one address may have are refused, and the log says so; those that are there
// stay.
func TestConnectionsPerAddress(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Extra: map[string]string{"maxClientCnxns": "10"}}).Servers[0]
	var ws []*wire
	for range 10 {
		ws = append(ws, openSession(t, s))
	}
	end := time.Now().Add(harness.Patience)
	for {
		w, err := tryOpen(t, s)
		switch {
		case isReset(err):
			// so early that it has no address yet; the next one may get further
		case err != nil:
			t.Fatal(err)
		case w.closed() != "":
			t.Fatal("the server answers a connection too many")
		}
		if err == nil && logged(t, s, w.addr(), "maxClientCnxns|connections") {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no line of the log says who was refused for maxClientCnxns")
		}
	}
	for _, w := range ws {
		w.send(request(1, opExists, str("/"), []byte{0}))
		if code := w.reply(1); code != ok {
			t.Fatalf("code %d", code)
		}
	}
	// Where one goes, another may come.
	ws[0].Close()
	for {
		if err := newClientAt(s); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a free place is not given away")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func newClientAt(s *harness.Server) error {
	c, err := net.DialTimeout("tcp", s.Addr(), harness.Patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(harness.Patience)); err != nil {
		return err
	}
	if _, err := c.Write(connect(10000)); err != nil {
		return err
	}
	_, err = (&wire{Conn: c}).tryReceive()
	return err
}
