package zab

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/consensus/consensustest"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// eventually polls: what must come has all the time that a slow machine may need.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(consensustest.Patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// alone is a standalone member on some file system.
type alone struct {
	m      consensus.Member
	mu     sync.Mutex
	role   consensus.Role
	given  []consensus.Zxid
	failed error
}

func (a *alone) Recover(consensus.Zxid) (consensus.Zxid, error) { return 0, nil }
func (a *alone) Role(r consensus.Role) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.role = r
}
func (a *alone) Deliver(txns []consensus.Txn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range txns {
		a.given = append(a.given, x.Zxid)
	}
}
func (a *alone) Receive(consensus.ServerID, consensus.Request)       {}
func (a *alone) Touch(consensus.ServerID, []consensus.Touch)         {}
func (a *alone) Revalidate(consensus.ServerID, consensus.Touch) bool { return false }
func (a *alone) Revalidated(int64, bool)                             {}
func (a *alone) Synced(consensus.SyncID)                             {}
func (a *alone) Touched() []consensus.Touch                          { return nil }
func (a *alone) Snapshot() (consensus.Snapshot, error)               { return nil, errors.New("none") }
func (a *alone) SetAside(string) error                               { return errors.New("none") }
func (a *alone) Restore(consensus.Zxid, io.Reader) error             { return errors.New("none") }
func (a *alone) view() (consensus.Role, []consensus.Zxid, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.role, a.given[:len(a.given):len(a.given)], a.failed
}

func openAlone(fsys vfs.FS) (*alone, error) {
	a := &alone{}
	m, err := OpenFS(fsys)(consensus.Config{ID: 1, DataDir: "/d", LogDir: "/d", Tick: time.Second, Log: quiet(),
		Options: map[string]string{"preAllocSize": "64"},
		Fail: func(code int, err error) {
			a.mu.Lock()
			a.failed = err
			a.mu.Unlock()
			runtime.Goexit()
		}}, a)
	a.m = m
	return a, err
}

func (a *alone) leads() bool {
	r, _, _ := a.view()
	return r.State == consensus.Leading
}

// A crash at any operation on the disk loses nothing that was delivered.
func TestCrashLosesNothingDelivered(t *testing.T) {
	for _, loss := range []vfs.Loss{vfs.LoseAll, vfs.LoseNone, vfs.LoseSome} {
		for stop := 1; stop < 60; stop += 2 {
			mem := vfs.NewMem()
			mem.StopAt(stop)
			a, err := openAlone(mem)
			var before []consensus.Zxid
			if err == nil {
				eventually(t, "leading", a.leads)
				z := consensus.Zxid(0)
				for i := range 12 {
					var txns []consensus.Txn
					for range 1 + i%3 {
						z++
						txns = append(txns, consensustest.MakeTxn(z, 1, 1, 200))
					}
					if a.m.Propose(a.role.Term, txns) != nil {
						break
					}
					eventually(t, "a delivery or the end", func() bool {
						_, given, failed := a.view()
						return failed != nil || len(given) > 0 && given[len(given)-1] == z
					})
				}
				var failed error
				if _, before, failed = a.view(); failed == nil && stop < mem.Ops() {
					t.Errorf("stop %d: the disk failed and the member goes on", stop)
				}
				a.m.Close()
			}
			b, err := openAlone(mem.Crash(loss, uint64(stop)))
			if err != nil {
				t.Fatalf("stop %d, loss %v: %v", stop, loss, err)
			}
			eventually(t, "leading again", b.leads)
			r, after, _ := b.view()
			if len(after) < len(before) {
				t.Fatalf("stop %d, loss %v: %d txns were delivered, %d are there", stop, loss, len(before), len(after))
			}
			for i, z := range after {
				if z != consensus.Zxid(i+1) {
					t.Fatalf("stop %d: txn %d is %v", stop, i, z)
				}
			}
			if r.Last != consensus.Zxid(len(after)) {
				t.Errorf("stop %d: it leads from %v on, with %d txns", stop, r.Last, len(after))
			}
			if err := b.m.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// An error of the disk ends the process, and nothing of what it concerns is delivered.
func TestDiskErrorEndsTheProcess(t *testing.T) {
	boom := errors.New("boom")
	armed := make(chan struct{})
	a, err := openAlone(vfs.NewErrors(vfs.NewMem(), func(op vfs.Op) error {
		select {
		case <-armed:
			if op.Kind == "sync" {
				return boom
			}
		default:
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer a.m.Close()
	eventually(t, "leading", a.leads)
	if err := a.m.Propose(1+1, []consensus.Txn{consensustest.MakeTxn(1, 1, 1, 1)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first txn", func() bool { _, given, _ := a.view(); return len(given) == 1 })
	close(armed)
	if err := a.m.Propose(2, []consensus.Txn{consensustest.MakeTxn(2, 1, 1, 1)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end", func() bool { _, _, failed := a.view(); return failed != nil })
	_, given, failed := a.view()
	if len(given) != 1 || !errors.Is(failed, boom) {
		t.Errorf("%d txns delivered, failed with %v", len(given), failed)
	}
}

// cluster is an ensemble whose third voter is left to the test.
func cluster(t *testing.T, opts map[string]string) (*consensustest.Cluster, consensus.ServerID) {
	c := consensustest.NewCluster(t, Open, 3, 0)
	maps.Copy(c.Options, opts)
	c.Options["db.autocreate"] = "true" // server 3 is not there
	c.Start(1)
	c.Start(2)
	return c, c.Leader()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// closes says that the other side closes a connection.
func closes(t *testing.T, what string, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(consensustest.Patience))
	if _, err := io.Copy(io.Discard, c); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		t.Errorf("%s: the connection stays open", what)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func info(t quorum.PacketType, id int64, version int32) []byte {
	l := quorum.LearnerInfo{ServerID: id, ProtocolVersion: version}
	return quorum.AppendPacket(nil, t, 0, l.Append(nil))
}

// Bytes that no server sends harm only their connection.
func TestBadBytes(t *testing.T) {
	c, leader := cluster(t, nil)
	server := c.Config(leader).Servers[leader-1]
	long := func(v int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(v)) }
	for what, b := range map[string][]byte{
		"nothing known":           []byte("GET / HTTP/1.1\r\n\r\n"),
		"an unknown server":       info(quorum.TypeFollowerInfo, 99, quorum.ProtocolVersion),
		"this server":             info(quorum.TypeFollowerInfo, int64(leader), quorum.ProtocolVersion),
		"no protocol":             info(quorum.TypeFollowerInfo, 3, 0),
		"no id":                   quorum.AppendPacket(nil, quorum.TypeFollowerInfo, 0, nil),
		"another first packet":    quorum.AppendPacket(nil, quorum.TypeAck, 0, nil),
		"a huge length":           append(quorum.AppendPacket(nil, quorum.TypeFollowerInfo, 0, nil)[:12], 0x7f, 0xff, 0xff, 0xff),
		"a negative length":       append(quorum.AppendPacket(nil, quorum.TypeFollowerInfo, 0, nil)[:12], 0x80, 0, 0, 0),
		"huge authinfo":           append(quorum.AppendPacket(nil, quorum.TypeFollowerInfo, 0, nil)[:16], 0x7f, 0xff, 0xff, 0xff),
		"ACKEPOCH out of order":   append(info(quorum.TypeFollowerInfo, 3, quorum.ProtocolVersion), info(quorum.TypeFollowerInfo, 3, quorum.ProtocolVersion)...),
		"a malformed ACKEPOCH":    append(info(quorum.TypeFollowerInfo, 3, quorum.ProtocolVersion), quorum.AppendPacket(nil, quorum.TypeAckEpoch, 0, nil)...),
		"REQUEST before its time": append(info(quorum.TypeFollowerInfo, 3, quorum.ProtocolVersion), quorum.AppendPacket(nil, quorum.TypeRequest, 0, make([]byte, 20))...),
	} {
		conn := dial(t, server.Quorum[0])
		conn.Write(b)
		closes(t, "quorum port, "+what, conn)
	}
	hello := func(version, id int64, addr string) []byte {
		b := append(long(version), long(id)...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(addr)))
		return append(b, addr...)
	}
	for what, b := range map[string][]byte{
		"another version":   hello(-5, 3, "h:1"),
		"an unknown server": hello(quorum.InitialV1, 99, "h:1"),
		"this server":       hello(quorum.InitialV1, int64(leader), "h:1"),
		"an anonymous one":  hello(quorum.InitialV1, quorum.AnonymousObserver, "h:1"),
		"no address":        hello(quorum.InitialV1, 3, ""),
		"a huge address":    append(hello(quorum.InitialV1, 3, "")[:16], 0x7f, 0xff, 0xff, 0xff),
		"a bad address":     hello(quorum.InitialV1, 3, "nowhere"),
		"a huge message":    append(hello(quorum.InitialV1, 3, "h:1"), 0x7f, 0xff, 0xff, 0xff),
		"an empty message":  append(hello(quorum.InitialV1, 3, "h:1"), 0, 0, 0, 0),
	} {
		conn := dial(t, server.Election[0])
		conn.Write(b)
		closes(t, "election port, "+what, conn)
	}
	// A message that can't be used is passed over, the next one counts.
	conn := dial(t, server.Election[0])
	conn.Write(hello(quorum.InitialV1, 3, "h:1"))
	conn.Write([]byte{0, 0, 0, 3, 1, 2, 3})
	n := quorum.Notification{State: quorum.Looking, Leader: 3, ElectionEpoch: 1, Version: 2, Config: []byte("version=0")}
	conn.Write(n.AppendFrame(nil))
	conn.SetReadDeadline(time.Now().Add(consensustest.Patience))
	for {
		// The last message to server 3, from before there was a leader, may come once more.
		b, err := quorum.ReadMessage(conn, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := quorum.DecodeNotification(b)
		if err != nil {
			t.Fatal(err)
		}
		if got.State == quorum.Leading && got.Leader == int64(leader) {
			break
		}
	}
	conn.Close()
	c.Write(3)
	c.Start(3)
	c.Agree(c.Write(3))
}

// learn plays server 3 up to UPTODATE, on a connection that it returns.
func learn(t *testing.T, addr string) (net.Conn, *jute.Reader) {
	conn := dial(t, addr)
	conn.SetDeadline(time.Now().Add(consensustest.Patience))
	in := jute.NewReader(bufio.NewReader(conn), 1<<20)
	conn.Write(info(quorum.TypeFollowerInfo, 3, quorum.ProtocolVersion))
	for {
		var k quorum.Packet
		if err := k.Read(in); err != nil {
			t.Fatal(err)
		}
		switch k.Type {
		case quorum.TypeLeaderInfo:
			conn.Write(quorum.AppendPacket(nil, quorum.TypeAckEpoch, 0, quorum.AppendInt(nil, 0)))
		case quorum.TypeNewLeader:
			conn.Write(quorum.AppendPacket(nil, quorum.TypeAck, k.Zxid, nil))
		case quorum.TypeUpToDate:
			conn.SetDeadline(time.Time{})
			return conn, in
		}
	}
}

// A learner that does not read is dropped, and the others don't notice.
func TestSlowLearnerIsDropped(t *testing.T) {
	c, leader := cluster(t, map[string]string{"zkcore.learner.queueBytes": "1048576"})
	conn, _ := learn(t, c.Config(leader).Servers[leader-1].Quorum[0])
	has := func() bool {
		for _, l := range c.Members[leader].Status().Learners {
			if l.ID == 3 {
				return true
			}
		}
		return false
	}
	eventually(t, "the leader shows the learner", has)
	for i := 0; has(); i++ {
		z, err := c.Nodes[leader].Propose(20, 1, 1, 10000)
		if err != nil {
			t.Fatal(err)
		}
		c.Delivered(leader, z)
		if i > 5000 {
			t.Fatal("a gigabyte was proposed, and the learner is still there")
		}
	}
	closes(t, "the learner", conn)
	c.Agree(c.Write(1))
}

// When the zxids of an epoch are used up another one begins. What the node has prepared
// behind the last of them comes too late, like all that comes after a leader's end.
func TestEpochIsUsedUp(t *testing.T) {
	c, leader := cluster(t, nil)
	e := c.Members[leader].(*ensemble)
	e.mu.Lock()
	role := e.role
	e.offered = consensus.MakeZxid(role.Epoch, math.MaxUint32-3)
	e.mu.Unlock()
	txns := func(from consensus.Zxid, n int) (txns []consensus.Txn) {
		for i := range n {
			txns = append(txns, consensus.Txn{Zxid: from + consensus.Zxid(i), Data: make([]byte, 32)})
		}
		return txns
	}
	next := e.offered + 1
	for range 3 {
		if err := e.Propose(role.Term, txns(next, 4)); !errors.Is(err, consensus.ErrNotNow) {
			t.Fatalf("propose 4 from %v: %v", next, err)
		}
		next += 4
	}
	c.Agree(c.Write(3))
	if l := c.Leader(); c.Nodes[l].State().Role.Epoch <= role.Epoch {
		t.Errorf("leading in epoch %d after %d", c.Nodes[l].State().Role.Epoch, role.Epoch)
	}
}

// A server whose election port ends each connection at once, since it does not know
// this one, is not dialled without a pause.
func TestUnwantedConnections(t *testing.T) {
	c := consensustest.NewCluster(t, Open, 3, 0)
	ln, err := net.Listen("tcp", c.Config(3).Servers[0].Election[0])
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cfg := c.Config(3)
	var log logText
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	m, err := Open(cfg, &alone{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	start := time.Now()
	for range 15 {
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	// The pauses, and the notifications that come in between, take seconds.
	if d := time.Since(start); d < 500*time.Millisecond {
		t.Errorf("15 connections in %v", d)
	}
	// That is said once, and once only: it goes on for as long as nobody mends it.
	log.await(t, "level=WARN", "ends each connection", "server=1")
	if n := strings.Count(log.String(), "server=1"); n > 3 {
		t.Errorf("%d lines about it:\n%s", n, &log)
	}
}

// A stranger comes back again and again: the log says it once.
func TestStrangers(t *testing.T) {
	c := consensustest.NewCluster(t, Open, 3, 0)
	cfg := c.Config(1)
	var log logText
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	m, err := Open(cfg, &alone{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for range 5 {
		for sid := int64(7); sid < 9; sid++ {
			conn := dial(t, cfg.Servers[0].Election[0])
			hello := quorum.InitialMessage{Version: quorum.InitialV1, SID: sid, Addrs: []quorum.HostPort{{Host: "127.0.0.1", Port: 1}}}
			conn.Write(hello.Append(nil))
			closes(t, "the stranger", conn)
		}
	}
	for range 3 { // HELLO of consensus-raft: length, kind, version, server, voters
		conn := dial(t, cfg.Servers[0].Election[0])
		conn.Write(append([]byte{0, 0, 0, 21, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2}, make([]byte, 8)...))
		closes(t, "a server of Raft's", conn)
	}
	log.await(t, "it speaks Raft: that server runs with --consensus=raft")
	if n := strings.Count(log.String(), "speaks Raft"); n != 1 {
		t.Errorf("%d lines about Raft:\n%s", n, &log)
	}
	log.await(t, "server 7 is not in the membership")
	log.await(t, "server 8 is not in the membership")
	if n := strings.Count(log.String(), "not in the membership"); n != 2 {
		t.Errorf("%d lines about two strangers:\n%s", n, &log)
	}
}

// A server that looks for a leader in vain says whom it can't reach, and when it can.
func TestUnreachableIsLogged(t *testing.T) {
	c := consensustest.NewCluster(t, Open, 3, 0)
	cfg := c.Config(1)
	cfg.Servers[2].Election = []string{"no-such-host.invalid:3888"}
	var log logText
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	m, err := Open(cfg, &alone{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	log.await(t, "level=WARN", "can't be reached", "server=2", cfg.Servers[1].Election[0], "refused")
	log.await(t, "level=WARN", "can't be reached", "server=3", "no-such-host.invalid:3888")
	ln, err := net.Listen("tcp", cfg.Servers[1].Election[0])
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	log.await(t, "level=INFO", "reached", "server=2", "after=")
}

// A logText is a log that a test reads.
type logText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// await waits for a line with all the words.
func (l *logText) await(t *testing.T, words ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("a line with %q", words), func() bool {
		for line := range strings.Lines(l.String()) {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
				return true
			}
		}
		return false
	})
}

// A sync is answered only when a majority said, after it was asked, whom it follows.
func TestSyncAsksTheMajority(t *testing.T) {
	c := consensustest.NewCluster(t, Open, 3, 0)
	c.Options["db.autocreate"] = "true" // server 2 is not there
	c.Start(1)
	// Server 3 is this test: with it server 1 has a majority, and only with it.
	conn, in := playVoter(t, c)
	n, m := c.Nodes[1], c.Members[1]
	eventually(t, "leading", func() bool { return n.State().Role.State == consensus.Leading })
	if err := m.Sync(n.State().Role.Term, 7); err != nil {
		t.Fatal(err)
	}
	// The pings of the ticks before may still come; none is answered.
	pings := 0
	for pings < 3 {
		var k quorum.Packet
		if err := k.Read(in); err != nil {
			t.Fatal(err)
		}
		if k.Type == quorum.TypePing {
			pings++
		}
	}
	if s := n.State().Synced; len(s) != 0 {
		t.Fatalf("synced %v, and nobody had answered a ping", s)
	}
	for range pings {
		conn.Write(quorum.AppendPacket(nil, quorum.TypePing, 0, []byte{}))
	}
	eventually(t, "Synced", func() bool { return len(n.State().Synced) == 1 })
}

// playVoter makes server 1 of the cluster leader, as server 3 would that votes for it.
func playVoter(t *testing.T, c *consensustest.Cluster) (net.Conn, *jute.Reader) {
	servers := c.Config(1).Servers
	el := dial(t, servers[0].Election[0])
	m := quorum.InitialMessage{Version: quorum.InitialV1, SID: 3, Addrs: []quorum.HostPort{{Host: "127.0.0.1", Port: 1}}}
	el.Write(m.Append(nil))
	vote := quorum.Notification{State: quorum.Looking, Leader: 1, ElectionEpoch: 1, Version: 2, Config: []byte("version=0")}
	el.Write(vote.AppendFrame(nil))
	for end := time.Now().Add(consensustest.Patience); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", servers[0].Quorum[0])
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal("server 1 does not lead")
		}
	}
	return learn(t, servers[0].Quorum[0])
}

func TestConfigurationErrors(t *testing.T) {
	base := func() consensus.Config {
		return consensus.Config{ID: 1, Tick: time.Second, InitLimit: 5, SyncLimit: 2, DataDir: t.TempDir(), LogDir: t.TempDir(), Log: quiet(),
			Servers: []consensus.Server{{ID: 1, Quorum: []string{"127.0.0.1:1"}, Election: []string{"127.0.0.1:2"}}}}
	}
	for _, tc := range []struct {
		name, want string
		change     func(*consensus.Config)
	}{
		{"this server is missing", "myid", func(c *consensus.Config) { c.ID = 2 }},
		{"no address", "server.1", func(c *consensus.Config) { c.Servers[0].Quorum = nil }},
		{"no ticks", "tickTime", func(c *consensus.Config) { c.Tick = 0 }},
		{"text and list differ", "differ", func(c *consensus.Config) { c.ConfigText = "server.2=h:1:2:participant\nversion=0" }},
		{"no text at all", "configuration", func(c *consensus.Config) { c.ConfigText = "server.1=nonsense" }},
		{"the port is taken", "election port", func(c *consensus.Config) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ln.Close() })
			c.Servers[0].Election[0] = ln.Addr().String()
			c.Options = map[string]string{"electionPortBindRetry": "1"}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := base()
			tc.change(&cfg)
			m, err := Open(cfg, &alone{})
			if err == nil {
				m.Close()
				t.Fatal("it opens")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %q, which does not name %q", err, tc.want)
			}
		})
	}
}

// What can't be used is said, once for each key, and the default taken.
func TestOptionsThatCannotBeUsed(t *testing.T) {
	var out strings.Builder
	o := parseOptions(map[string]string{"preAllocSize": "lots", "forceSync": "maybe", "snapshotSizeFactor": "2", "cnxTimeout": "-1",
		"commitLogCount": "7", "sslQuorum": "true", "tcpKeepAlive": "true", "fsync.warningthresholdms": "5"},
		slog.New(slog.NewTextHandler(&out, nil)))
	if o.preAllocKB != 65536 || o.noSync || o.sizeFactor != 0.33 || o.dialTimeout != 5*time.Second || o.logCount != 500 || !o.keepAlive ||
		o.fsyncWarn != 5*time.Millisecond {
		t.Errorf("%+v", o)
	}
	for _, key := range []string{"preAllocSize", "forceSync", "snapshotSizeFactor", "cnxTimeout", "sslQuorum"} {
		if n := strings.Count(out.String(), fmt.Sprintf("key=%s ", key)); n != 1 {
			t.Errorf("%s is named %d times in\n%s", key, n, out.String())
		}
	}
	if strings.Contains(out.String(), "tcpKeepAlive") {
		t.Error("a good value is complained about")
	}
}
