package badinput

import (
	"bytes"
	"fmt"
	"net"
	"regexp"
	"testing"
	"time"

	"github.com/zkcore/zkcore/test/harness"
)

// What is no peer and connects to the election port or to the leader's quorum port ends no
// leadership, costs little memory, and is refused with a line of the log.
func TestPeerPorts(t *testing.T) {
	t.Parallel()
	// What ends a leadership here is no pause of a busy machine.
	e := harness.Start(t, harness.Options{Servers: 3, SyncLimit: 60})
	leader := e.Leader()
	h := newHonest(t, leader)
	h.served()
	before := epoch(t, leader)
	var base int64
	for _, s := range e.Servers {
		base += s.RSS()
	}
	stop := h.meanwhile(t)

	hello := func(sid int64, addr []byte, n int32) []byte { // what opens an election connection
		return join(i64(-65536), i64(sid), i32(n), addr)
	}
	info := func(n int32, data []byte) []byte { // FOLLOWERINFO, which opens a learner's
		return join(i32(11), i64(0), i32(n), data, i32(0))
	}
	for _, tc := range []struct {
		name     string
		election bool
		bytes    []byte
		why      string // what the log says; "": it need not, as nothing was asked
	}{
		{"HTTP", true, []byte("GET / HTTP/1.1\r\n\r\n"), said},
		{"nonsense", true, bytes.Repeat([]byte{0xee}, 64<<10), said},
		{"zeros", true, make([]byte, 64<<10), said},
		{"half a hello", true, hello(2, nil, 0)[:12], ``},
		{"an address longer than a packet may be", true, hello(2, nil, 1<<31-1), said},
		{"an address of negative length", true, hello(2, nil, -5), said},
		{"a server that is not in the ensemble", true, hello(99, []byte("127.0.0.1:1"), 11), `membership`},
		{"HTTP", false, []byte("GET / HTTP/1.1\r\n\r\n"), said},
		{"nonsense", false, bytes.Repeat([]byte{0xee}, 64<<10), said},
		{"half a packet", false, info(20, nil)[:9], ``},
		{"a packet that claims two gigabytes", false, info(1<<31-1, []byte("x")), said},
		{"a packet of negative length", false, info(-7, []byte("x")), said},
		{"another packet than a learner begins with", false, join(i32(3), i64(1), i32(-1), i32(0)), said},
		{"a learner that is not in the ensemble", false, info(20, join(i64(99), i32(0x10000), i64(0))), `membership`},
	} {
		name := "quorum port/" + tc.name
		if tc.election {
			name = "election port/" + tc.name
		}
		t.Run(name, func(t *testing.T) {
			for end := time.Now().Add(harness.Patience); time.Now().Before(end); {
				port := leader.QuorumPort
				if tc.election {
					port = leader.ElectionPort
				}
				addr := knock(t, port, tc.bytes)
				if tc.why == "" || logged(t, leader, addr, tc.why) {
					return
				}
			}
			t.Fatalf("no line of the log says who was refused at port %s", name)
		})
	}

	// Many that say nothing, at all servers.
	for _, s := range e.Servers {
		for _, port := range []int{s.ElectionPort, s.QuorumPort} {
			for range 100 {
				c, err := net.DialTimeout("tcp", loopback(port), 2*time.Second)
				if err != nil {
					break // it takes no more, or does not listen: only a leader needs to, at its quorum port
				}
				defer c.Close()
			}
		}
	}
	time.Sleep(2 * time.Second)
	h.served()
	stop()
	if now := e.Leader(); now != leader {
		t.Errorf("server %d leads, before it was %d", now.ID, leader.ID)
	}
	if now := epoch(t, leader); now != before {
		t.Errorf("the epoch is %s, before it was %s: there was an election", now, before)
	}
	var grown int64
	for _, s := range e.Servers {
		grown += s.RSS()
	}
	bounded(t, "strangers at the peers' ports", grown-base, 96<<20)
	e.Await()
}

// knock sends bytes to a port, waits until the other side has closed or has had the time to, and
// returns this side's address.
func knock(t *testing.T, port int, b []byte) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", loopback(port), harness.Patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w := &wire{c, t}
	w.send(b)
	if err := c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var buf [512]byte
	for {
		if _, err := c.Read(buf[:]); err != nil {
			return w.addr()
		}
	}
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// epoch is the upper half of the zxid that the server names.
func epoch(t *testing.T, s *harness.Server) string {
	t.Helper()
	text, err := s.FourLetter("srvr")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^Zxid: 0x([0-9a-f]+)[0-9a-f]{8}$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no epoch in %q", text)
	}
	return m[1]
}
