package e2e

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/zkcore/zkcore/test/harness"
)

// A wire stands between two servers: what one of them dials to reach the other
// goes through it, and may be cut or held up there.
type wire struct {
	from, to int // who dials whom
	target   string
	ln       net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex
	freed sync.Cond
	held  [2]bool // what goes to the dialled server, and what comes back
	shut  bool
	conns map[net.Conn]bool
}

func newWire(t *testing.T, from, to int, target string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{from: from, to: to, target: target, ln: ln, conns: make(map[net.Conn]bool)}
	w.freed.L = &w.mu
	w.wg.Go(w.accept)
	t.Cleanup(func() {
		ln.Close()
		w.mu.Lock()
		w.shut = true
		w.freed.Broadcast()
		w.mu.Unlock()
		w.cut()
		w.wg.Wait()
	})
	return w
}

func (w *wire) port() int { return w.ln.Addr().(*net.TCPAddr).Port }

func (w *wire) accept() {
	for {
		c, err := w.ln.Accept()
		if err != nil {
			return
		}
		w.wg.Go(func() { w.join(c) })
	}
}

// join carries bytes both ways until either side ends or the wire is cut.
func (w *wire) join(a net.Conn) {
	defer a.Close()
	if !w.add(a) {
		return
	}
	defer w.remove(a)
	b, err := net.Dial("tcp", w.target)
	if err != nil {
		a.(*net.TCPConn).SetLinger(0) // the nearest there is to a refusal
		return
	}
	defer b.Close()
	if !w.add(b) {
		return
	}
	defer w.remove(b)
	var both sync.WaitGroup
	both.Go(func() { w.carry(b, a, 0) })
	both.Go(func() { w.carry(a, b, 1) })
	both.Wait()
}

func (w *wire) add(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shut {
		return false
	}
	w.conns[c] = true
	return true
}

func (w *wire) remove(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, c)
}

func (w *wire) carry(to, from net.Conn, way int) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		w.mu.Lock()
		for w.held[way] && !w.shut {
			w.freed.Wait()
		}
		w.mu.Unlock()
		if n > 0 {
			if _, werr := to.Write(b[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				to.(*net.TCPConn).SetLinger(0)
			}
			return
		}
	}
}

// hold stops what goes one way, or lets it go on, with all that gathered.
func (w *wire) hold(way int, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held[way] = on
	w.freed.Broadcast()
}

// cut resets all connections. New ones are possible.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

// wires are all those of an ensemble.
type wires []*wire

// wireUp puts wires between all servers, before they are started.
func wireUp(t *testing.T, e *harness.Ensemble) wires {
	t.Helper()
	var ws wires
	for _, s := range e.Servers {
		s.Extra = make(map[string]string)
		for _, p := range e.Servers {
			if p == s {
				continue
			}
			q := newWire(t, s.ID, p.ID, fmt.Sprintf("127.0.0.1:%d", p.QuorumPort))
			l := newWire(t, s.ID, p.ID, fmt.Sprintf("127.0.0.1:%d", p.ElectionPort))
			line := fmt.Sprintf("127.0.0.1:%d:%d", q.port(), l.port())
			if p.Observer {
				line += ":observer"
			}
			s.Extra[fmt.Sprintf("server.%d", p.ID)] = line
			ws = append(ws, q, l)
		}
		e.WriteConfig(s)
	}
	return ws
}

// between calls fn for the wires between two servers; way is the one from a to b.
func (ws wires) between(a, b int, fn func(w *wire, way int)) {
	for _, w := range ws {
		switch {
		case w.from == a && w.to == b:
			fn(w, 0)
		case w.from == b && w.to == a:
			fn(w, 1)
		}
	}
}
