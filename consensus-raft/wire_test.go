package raft

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/zkcore/zkcore/consensus-raft/protocol"
	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/consensus/consensustest"
)

// TestHostileConnections: whatever comes to the ports harms the connection that it came
// on, and nothing else.
func TestHostileConnections(t *testing.T) {
	c := consensustest.NewCluster(t, patient, 3, 0)
	c.StartAll()
	c.Agree(c.Write(5))
	rng := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	frame := func(f protocol.Frame) []byte { return f.Append(nil) }
	lead := protocol.Frame{Kind: protocol.Lead, Version: protocol.Version, From: 2, Term: 1 << 20}
	attacks := [][]byte{
		nil,
		noise,
		{0xff, 0xff, 0xff, 0xff, 5},
		{0, 0, 0, 0},
		{0x7f, 0xff, 0xff, 0xff, byte(protocol.Raft)},
		frame(protocol.Frame{Kind: protocol.Hello, Version: 99, From: 2}),
		frame(protocol.Frame{Kind: protocol.Hello, Version: protocol.Version, From: 77}),
		frame(lead),
		frame(protocol.Frame{Kind: protocol.Lead, Version: protocol.Version, From: 77, Term: 1 << 20}),
		frame(protocol.Frame{Kind: protocol.Requests, Requests: make([]consensus.Request, 100)}),
		frame(protocol.Frame{Kind: protocol.Chunk, Data: noise}),
		frame(protocol.Frame{Kind: protocol.Raft, Raft: &pb.Message{Type: pb.MsgApp.Enum(), Term: new(uint64(1 << 20)), Commit: new(uint64(1 << 40))}}),
		bytes.Repeat(frame(protocol.Frame{Kind: protocol.Alive}), 100),
	}
	for _, id := range c.IDs() {
		s := c.Config(id).Servers[id-1]
		for _, addr := range []string{s.Quorum[0], s.Election[0]} {
			for i, b := range attacks {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				conn.Write(b) // it may be closed in the middle
				if i%2 == 0 {
					conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
					io.Copy(io.Discard, conn)
				}
				conn.Close()
			}
		}
	}
	epoch := c.Nodes[c.Leader()].State().Role.Epoch
	c.Agree(c.Write(5))
	if epoch > 1<<16 {
		t.Errorf("a stranger made the epoch %d", epoch)
	}
}

// TestZabCalls: a server that was left with the other module, and has this one's address, is named as what it is.
func TestZabCalls(t *testing.T) {
	var mu sync.Mutex
	var log strings.Builder
	c := consensustest.NewCluster(t, func(cfg consensus.Config, n consensus.Node) (consensus.Member, error) {
		cfg.Log = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return log.Write(b)
		}), nil))
		return patient(cfg, n)
	}, 3, 0)
	c.Start(1)
	conn, err := net.Dial("tcp", c.Config(1).Servers[0].Election[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hello := quorum.InitialMessage{Version: quorum.InitialV1, SID: 2, Addrs: []quorum.HostPort{{Host: "127.0.0.1", Port: 1}}}
	conn.Write(hello.Append(nil))
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	io.Copy(io.Discard, conn) // until it is refused; the line comes before that
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(log.String(), "it speaks Zab: that server runs with --consensus=zab") {
		t.Errorf("the log says\n%s", &log)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestSilentElectionConnection: a server that lost its power leaves a connection that takes in what is sent
// and passes it to nobody. What is said to it later goes over another one.
func TestSilentElectionConnection(t *testing.T) {
	c := consensustest.NewCluster(t, func(cfg consensus.Config, n consensus.Node) (consensus.Member, error) {
		cfg.Options = maps.Clone(cfg.Options)
		cfg.Options["cnxTimeout"] = "300"
		return patient(cfg, n)
	}, 3, 0)
	ln := listen(t, c.Config(1).Servers[1].Election[0])
	c.Start(1)
	for i := range 3 {
		conn, err := ln.Accept()
		if err != nil {
			t.Fatalf("after %d connections that nobody reads: %v", i, err)
		}
		defer conn.Close()
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		r := bufio.NewReader(conn)
		for _, want := range []protocol.Kind{protocol.Hello, protocol.Bid} {
			if f, _, err := readFrame(r, maxMailFrame); err != nil || f.Kind != want || want == protocol.Hello && f.From != 1 {
				t.Fatalf("connection %d: %v from server %d, %v; %v comes first", i, f.Kind, f.From, err, want)
			}
		}
	}
}

// TestLeaderGoneInASnapshot: a leader that loses its power, or stands still, while it sends its state ends no connection.
// Who reads that must not wait for it without end: it votes for nobody else meanwhile.
func TestLeaderGoneInASnapshot(t *testing.T) {
	c := consensustest.NewCluster(t, func(cfg consensus.Config, n consensus.Node) (consensus.Member, error) {
		cfg.Tick, cfg.InitLimit = 100*time.Millisecond, 5
		return patient(cfg, n)
	}, 3, 0)
	ln := listen(t, c.Config(1).Servers[1].Election[0])
	c.Start(1)
	votes, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer votes.Close()
	votes.SetReadDeadline(time.Now().Add(time.Minute))
	hello, _, err := readFrame(bufio.NewReader(votes), maxMailFrame)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", c.Config(1).Servers[0].Quorum[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	send := func(f protocol.Frame) {
		if _, err := conn.Write(f.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	r := bufio.NewReader(conn)
	send(protocol.Frame{Kind: protocol.Lead, Version: protocol.Version, From: 2, Set: hello.Set, Term: 5})
	if f, _, err := readFrame(r, 1<<20); err != nil || f.Kind != protocol.Here {
		t.Fatalf("%v, %v", f.Kind, err)
	}
	send(protocol.Frame{Kind: protocol.Snap, At: protocol.Point{Index: 10, Term: 5, Zxid: consensus.MakeZxid(5, 9)}})
	send(protocol.Frame{Kind: protocol.Chunk, Data: []byte{1}})
	if _, err := io.Copy(io.Discard, r); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it waits for the rest of the state: %v", err)
	}
}

// TestReadFrame: a length is a claim, and a frame that is cut short is none.
func TestReadFrame(t *testing.T) {
	f := protocol.Frame{Kind: protocol.Chunk, Data: bytes.Repeat([]byte("x"), 60000)}
	b := f.Append(nil)
	for _, cut := range []int{len(b), len(b) - 1, 5, 4, 1, 0} {
		got, n, err := readFrame(bufio.NewReaderSize(bytes.NewReader(b[:cut]), 64), 1<<20)
		switch {
		case cut == len(b):
			if err != nil || n != len(b) || !bytes.Equal(got.Data, f.Data) {
				t.Errorf("a whole frame: %d bytes, %v", n, err)
			}
		case cut == 0:
			if err != io.EOF {
				t.Errorf("nothing: %v", err)
			}
		default:
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("cut at %d: %v", cut, err)
			}
		}
	}
	if _, _, err := readFrame(bufio.NewReader(bytes.NewReader(b)), 1000); err == nil || !strings.Contains(err.Error(), "60001 bytes") {
		t.Errorf("a frame above the limit: %v", err)
	}
}

// TestConfigurations that can't be used are refused, before anything is touched.
func TestConfigurations(t *testing.T) {
	for _, tc := range []struct {
		change func(*consensus.Config)
		want   string
	}{
		{func(c *consensus.Config) { c.ID = 9 }, "myid"},
		{func(c *consensus.Config) { c.Servers[1].Group = 1 }, "server.2"},
		{func(c *consensus.Config) { c.Servers[1].Weight = 2 }, "server.2"},
		{func(c *consensus.Config) { c.Servers[1].ID = 0 }, "server.0"},
		{func(c *consensus.Config) { c.Servers[1].ID = 1 }, "twice"},
		{func(c *consensus.Config) { c.Servers[2].Election = nil }, "server.3"},
		{func(c *consensus.Config) { c.Tick = 0 }, "tickTime"},
	} {
		c := consensustest.NewCluster(t, Open, 3, 0)
		cfg := c.Config(1)
		cfg.Servers = append([]consensus.Server(nil), cfg.Servers...)
		tc.change(&cfg)
		if _, err := Open(cfg, consensustest.NewNode(t.TempDir(), func(s string) { t.Error(s) })); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.want, err)
		}
	}
}

// listen stands in for a server at addr, for no longer than a minute.
func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	ln.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute))
	return ln
}
