package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

const patience = 20 * time.Second

// echo is a server that says what it hears.
func echo(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	return ln
}

func link(t *testing.T) *Link {
	t.Helper()
	l, err := Listen(echo(t).Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func dial(t *testing.T, l *Link) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, c net.Conn, text string) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != text {
		t.Fatalf("heard %q, %v; want %q", b, err, text)
	}
}

// silent says that nothing is heard. It can't wait for ever: a way that is not held is quicker
// than this on any machine that runs at all.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	n, err := c.Read(make([]byte, 1))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("heard %d bytes, %v; want silence", n, err)
	}
}

func hearReset(t *testing.T, c net.Conn) []byte {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(c)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("heard %q, %v; want a reset", b, err)
	}
	return b
}

func TestHold(t *testing.T) {
	for _, w := range []Way{Out, In} {
		l := link(t)
		c := dial(t, l)
		say(t, c, "a")
		hear(t, c, "a")
		l.Hold(w, true)
		say(t, c, "b")
		silent(t, c)
		other := dial(t, l)
		say(t, other, "c")
		silent(t, other)
		l.Hold(w, false)
		hear(t, c, "b")
		hear(t, other, "c")
	}
}

func TestReset(t *testing.T) {
	l := link(t)
	c := dial(t, l)
	say(t, c, "a")
	hear(t, c, "a")
	l.Reset()
	hearReset(t, c)
	c = dial(t, l)
	say(t, c, "a")
	hear(t, c, "a")
	l.Refuse(true)
	// The reset may come while the connection is still being made.
	switch c, err := net.Dial("tcp", l.ln.Addr().String()); {
	case err == nil:
		t.Cleanup(func() { c.Close() })
		hearReset(t, c)
	case !errors.Is(err, syscall.ECONNRESET):
		t.Fatal(err)
	}
	l.Refuse(false)
	for l.Connections() > 1 {
		time.Sleep(time.Millisecond)
	}
}

func TestResetAfter(t *testing.T) {
	l := link(t)
	c := dial(t, l)
	say(t, c, "a")
	hear(t, c, "a")
	l.ResetAfter(10) // seven go out, three come back
	say(t, c, "1234567")
	if b := hearReset(t, c); len(b) > 3 || !bytes.HasPrefix([]byte("1234567"), b) {
		t.Fatalf("heard %q", b)
	}
	l.ResetAfter(0)
	c = dial(t, l)
	say(t, c, "1234567890")
	hear(t, c, "1234567890")
}

func TestSlow(t *testing.T) {
	l := link(t)
	c := dial(t, l)
	const delay = 30 * time.Millisecond
	l.Slow(delay, 0)
	start := time.Now()
	say(t, c, "a")
	hear(t, c, "a")
	if took := time.Since(start); took < 2*delay {
		t.Fatalf("there and back in %v, each way takes %v", took, delay)
	}
	l.Slow(0, 1000)
	start = time.Now()
	say(t, c, "1234567890")
	hear(t, c, "1234567890")
	if took := time.Since(start); took < 20*time.Millisecond {
		t.Fatalf("20 bytes in %v at 1000 bytes/s", took)
	}
}

func TestHalfOpen(t *testing.T) {
	l := link(t)
	c := dial(t, l)
	say(t, c, "a")
	hear(t, c, "a")
	l.HalfOpen(Out)
	say(t, c, "b")
	silent(t, c)
	l.Reset()
	hearReset(t, c)

	// The one who was dialled stays in the dark, the dialler knows.
	c = dial(t, l)
	say(t, c, "a")
	hear(t, c, "a")
	l.HalfOpen(In)
	hearReset(t, c)
}

// An end goes through, behind what was said before.
func TestEnd(t *testing.T) {
	l := link(t)
	c := dial(t, l)
	big := bytes.Repeat([]byte("0123456789"), 100_000)
	go func() {
		c.Write(big)
	}()
	c.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(big))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, big) {
		t.Fatalf("%d bytes came, %v", len(got), err)
	}
	c.Close()
	for end := time.Now().Add(patience); l.Connections() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a connection that was closed is still there")
		}
	}
}
