package zab

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zkcore/zkcore/consensus-zab/protocol"
	"github.com/zkcore/zkcore/plugins/consensus/consensustest"
)

// A server that comes to lead and goes again opens the quorum port each time: a thousand
// times leave nothing open (ZOOKEEPER-4736, 3706).
func TestListenersComeAndGo(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("descriptors are counted in /proc")
	}
	open := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	s, err := openStepped(newDisk(t))
	if err != nil {
		t.Fatal(err)
	}
	s.self.Quorum = []string{"127.0.0.1:0"}
	round := func() {
		s.do(protocol.Listen{})
		if len(s.ln) != 1 {
			t.Fatalf("%d listeners", len(s.ln))
		}
		c, err := net.Dial("tcp", s.ln[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		s.do(protocol.StopListening{})
		s.wg.Wait()
		// What was accepted meanwhile is the loop's to close: it has ended.
		s.cancel()
		for _, ev := range s.take(nil) {
			ev(s.member, s.now)
		}
		s.ctx, s.cancel = context.WithCancel(context.Background())
	}
	round()
	before := open()
	for range 1000 {
		round()
	}
	eventually(t, "no more descriptors than before", func() bool { return open() <= before })
}

// nameServer answers every question for an IPv4 address with addr's last octet.
func nameServer(t *testing.T, last *atomic.Int32) string {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			q := b[:n]
			end := 12
			for end < n && q[end] != 0 {
				end += 1 + int(q[end])
			}
			end += 5 // the root, type and class
			if end > n {
				continue
			}
			a := append([]byte{}, q[:end]...)
			a[2], a[3] = 0x81, 0x80
			binary.BigEndian.PutUint16(a[6:], 0)
			binary.BigEndian.PutUint32(a[8:], 0)
			if binary.BigEndian.Uint16(q[end-4:]) == 1 {
				binary.BigEndian.PutUint16(a[6:], 1)
				a = append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 127, 0, 0, byte(last.Load())) // good for an hour, it says
			}
			if _, err := c.WriteTo(a, from); err != nil {
				return
			}
		}
	}()
	return c.LocalAddr().String()
}

// The address of a name may change while servers run: who is dialled again is looked up
// again (ZOOKEEPER-2184).
func TestAddressThatMoves(t *testing.T) {
	var last atomic.Int32
	last.Store(11)
	dns := nameServer(t, &last)
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", dns)
	}}
	defer func() { net.DefaultResolver = before }()
	ln, err := net.Listen("tcp", "127.0.0.12:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	s, err := openStepped(newDisk(t))
	if err != nil {
		t.Fatal(err)
	}
	s.opts.connectDelay = 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), consensustest.Patience)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		for {
			c, err := s.dialLeader(ctx, []string{net.JoinHostPort("peer.moves.example", port)})
			if err == nil {
				c.Close()
			}
			if err == nil || ctx.Err() != nil {
				done <- err
				return
			}
			last.Store(12) // it was refused at the old address
		}
	}()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := <-done; err != nil || last.Load() != 12 {
		t.Fatalf("dialled: %v, the name is at %d", err, last.Load())
	}
}
