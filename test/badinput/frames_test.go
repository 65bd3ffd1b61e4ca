package badinput

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/zkcore/zkcore/test/harness"
)

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// An honest client shares the server with all the others.
type honest struct {
	*zk.Conn
	t testing.TB
	s *harness.Server
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}

func newHonest(t testing.TB, s *harness.Server) *honest {
	t.Helper()
	c, events, err := zk.Connect([]string{s.Addr()}, 20*time.Second, zk.WithLogger(quiet{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	patience := time.After(harness.Patience)
	for {
		select {
		case ev := <-events:
			if ev.State != zk.StateHasSession {
				continue
			}
			if _, err := c.Create("/honest", nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
				t.Fatal(err)
			}
			return &honest{c, t, s}
		case <-patience:
			t.Fatal("the honest client gets no session")
		}
	}
}

// served checks that the client is served on its old connection, and a new one too.
func (h *honest) served() {
	h.t.Helper()
	if err := h.s.Died(); err != nil {
		h.t.Fatal(err)
	}
	if err := h.serve(); err != nil {
		h.t.Fatalf("the honest client is not served: %v", err)
	}
	w := openSession(h.t, h.s)
	w.send(request(1, opGetData, str("/honest"), []byte{0}))
	if code := w.reply(1); code != ok {
		h.t.Fatalf("a new client gets %d", code)
	}
	w.Close()
}

func (h *honest) serve() error {
	st, err := h.Set("/honest", []byte("honest"), -1)
	if err != nil {
		return err
	}
	data, got, err := h.Get("/honest")
	if err != nil {
		return err
	}
	if string(data) != "honest" || got.Version < st.Version {
		return errors.New("it does not read what it wrote")
	}
	return nil
}

// What a server does to a connection.
const (
	closes      = iota // without a reply
	refuses            // a reply with the code, then it closes
	complains          // a reply with the code, and goes on
	takes              // a reply without an error
	answers            // the text, then it closes
	saysExpired        // the handshake's way to refuse a session
)

// said is a line that gives a reason, whichever.
const said = `(why|reason)=`

type badFrame struct {
	name    string
	session bool // sent on a connection that has a session
	bytes   []byte
	does    int
	code    int32
	text    string
	why     string // what the log says of it, a regular expression; "": nothing needs be said
}

var badFrames = []badFrame{
	// Before there is a session.
	{name: "negative length", bytes: i32(-1), does: closes, why: `frame|length`},
	{name: "most negative length", bytes: i32(-1 << 31), does: closes, why: `frame|length`},
	{name: "greatest length", bytes: i32(1<<31 - 1), does: closes, why: `frame|length`},
	{name: "one more than jute.maxbuffer", bytes: i32(0x100000), does: closes, why: `frame|length`},
	{name: "nothing in the frame", bytes: i32(0), does: closes, why: said},
	{name: "four bytes in the frame", bytes: frame(i32(0)), does: closes, why: said},
	{name: "cut handshake in a whole frame", bytes: frame(i32(0), i64(0), i32(10000)), does: closes, why: said},
	{name: "password longer than the frame", bytes: frame(i32(0), i64(0), i32(10000), i64(0), i32(1<<31-1), make([]byte, 16)), does: closes, why: said},
	{name: "password of negative length", bytes: frame(i32(0), i64(0), i32(10000), i64(0), i32(-2), make([]byte, 16)), does: closes, why: said},
	{name: "a zxid that no server has", bytes: frame(i32(0), i64(1<<62), i32(10000), i64(0), i32(16), make([]byte, 16), []byte{0}), does: closes, why: `zxid`},
	{name: "a session that nobody opened", bytes: frame(i32(0), i64(0), i32(10000), i64(0x1234), i32(16), make([]byte, 16), []byte{0}), does: saysExpired},
	{name: "a request before the handshake", bytes: request(1, opGetData, str("/honest"), []byte{0}), does: closes, why: said},
	{name: "HTTP", bytes: []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), does: closes, why: `frame|length`},
	{name: "TLS", bytes: []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, does: closes, why: `frame|length`},
	{name: "SSH", bytes: []byte("SSH-2.0-OpenSSH_9.2\r\n"), does: closes, why: `frame|length`},

	// Four-letter words.
	{name: "a word that is none", bytes: []byte("abcd"), does: closes, why: `frame|length|word`},
	{name: "a word in capitals", bytes: []byte("RUOK"), does: closes, why: `frame|length|word`},
	{name: "a word that is not in the whitelist", bytes: []byte("wchp"), does: answers, text: "wchp is not executed because it is not in the whitelist.\n"},
	{name: "a word", bytes: []byte("ruok"), does: answers, text: "imok"},
	{name: "a word and a line end", bytes: []byte("ruok\r\n"), does: answers, text: "imok"},
	{name: "a word glued to garbage", bytes: append([]byte("ruok"), bytes.Repeat([]byte{0xee}, 5000)...), does: answers, text: "imok"},
	{name: "a word glued to a handshake", bytes: append([]byte("ruok"), connect(10000)...), does: answers, text: "imok"},
	{name: "two words", bytes: []byte("ruokruok"), does: answers, text: "imok"},

	// With a session: frames.
	{name: "negative length", session: true, bytes: i32(-1), does: closes, why: `frame|length`},
	{name: "greatest length", session: true, bytes: i32(1<<31 - 1), does: closes, why: `frame|length`},
	{name: "one more than jute.maxbuffer", session: true, bytes: i32(0x100000), does: closes, why: `frame|length`},
	{name: "a word", session: true, bytes: []byte("ruok"), does: closes, why: `frame|length`},
	{name: "nothing in the frame", session: true, bytes: i32(0), does: closes, why: `header`},
	{name: "half an xid", session: true, bytes: frame([]byte{0, 0}), does: closes, why: `header`},
	{name: "half a header", session: true, bytes: frame(i32(1)), does: closes, why: `header`},

	// Operations that are none.
	{name: "unknown operation", session: true, bytes: request(1, 9999), does: refuses, code: unimplemented, why: `operation`},
	{name: "unknown operation below zero", session: true, bytes: request(1, -7777), does: refuses, code: unimplemented, why: `operation`},
	{name: "a notification", session: true, bytes: request(1, opNotification, i32(1), i32(3), str("/")), does: refuses, code: unimplemented, why: `operation`},
	{name: "an unused operation", session: true, bytes: request(1, opUnused), does: refuses, code: unimplemented, why: `operation`},
	{name: "a second handshake", session: true, bytes: connect(10000), does: refuses, code: unimplemented, why: `operation`},

	// Records.
	{name: "no record", session: true, bytes: request(1, opGetData), does: complains, code: marshalling},
	{name: "cut record", session: true, bytes: request(1, opCreate, str("/x"), i32(3), []byte("d")), does: complains, code: marshalling},
	{name: "path longer than the frame", session: true, bytes: request(1, opGetData, i32(1<<31-1), []byte("/x")), does: complains, code: marshalling},
	{name: "path of negative length", session: true, bytes: request(1, opGetData, i32(-2), []byte("/x")), does: complains, code: marshalling},
	{name: "data longer than the frame", session: true, bytes: request(1, opSetData, str("/honest"), i32(1<<30), []byte("x")), does: complains, code: marshalling},
	{name: "two thousand million ACLs", session: true, bytes: request(1, opCreate, str("/x"), str("d"), i32(1<<31-1), i32(31)), does: complains, code: marshalling},
	{name: "ACLs cut short", session: true, bytes: request(1, opCreate, str("/x"), str("d"), i32(100000), bytes.Repeat([]byte{0}, 60000)), does: complains, code: marshalling},
	{name: "two thousand million parts", session: true, bytes: request(1, opMulti, i32(opCreate), []byte{0}, i32(-1), str("/x"), str("d"), i32(1<<31-1)), does: complains, code: marshalling},
	{name: "a multi without an end", session: true, bytes: request(1, opMulti, i32(13), []byte{0}, i32(-1), str("/honest"), i32(-1)), does: complains, code: marshalling},
	{name: "garbage behind a record", session: true, bytes: request(1, opExists, str("/honest"), []byte{0}, bytes.Repeat([]byte{0xee}, 5000)), does: takes},

	// Paths.
	{name: "empty path", session: true, bytes: request(1, opCreate, str(""), str("d"), worldAll, i32(0)), does: complains, code: badArguments},
	{name: "relative path", session: true, bytes: request(1, opCreate, str("x"), str("d"), worldAll, i32(0)), does: complains, code: badArguments},
	{name: "NUL in the path", session: true, bytes: request(1, opCreate, str("/x\x00y"), str("d"), worldAll, i32(0)), does: complains, code: badArguments},
	{name: "dots in the path", session: true, bytes: request(1, opCreate, str("/.."), str("d"), worldAll, i32(0)), does: complains, code: badArguments},
	{name: "a path of half a million levels", session: true, bytes: request(1, opExists, str(strings.Repeat("/a", 500_000)), []byte{0}), does: complains, code: noNode},
}

// Each bad frame gets what it deserves, and no other client notices.
func TestBadFrames(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{Extra: map[string]string{
		"maxClientCnxns":         "0",
		"4lw.commands.whitelist": "srvr,ruok,mntr,cons",
	}})
	s := e.Servers[0]
	h := newHonest(t, s)
	base := s.RSS()
	for _, tc := range badFrames {
		name := "no session/" + tc.name
		if tc.session {
			name = "session/" + tc.name
		}
		t.Run(name, func(t *testing.T) {
			h := &honest{h.Conn, t, s}
			// The server may leave out lines where there are many; then it is tried again.
			var addr string
			for end := time.Now().Add(harness.Patience); time.Now().Before(end); {
				addr = tc.try(t, s)
				h.served()
				if tc.why == "" || logged(t, s, addr, tc.why) {
					return
				}
			}
			t.Fatalf("no line of the log says of the client %s why it was refused (%s)", addr, tc.why)
		})
	}
	bounded(t, "bad frames", s.RSS()-base, 64<<20)
}

// try sends the frame, checks what comes of it, and returns the client's address.
func (tc *badFrame) try(t *testing.T, s *harness.Server) string {
	t.Helper()
	var w *wire
	if tc.session {
		w = openSession(t, s)
	} else {
		w = open(t, s)
	}
	defer w.Close()
	w.send(tc.bytes)
	xid := int32(1)
	if tc.name == "a second handshake" {
		xid = 0 // it is read as a request: its version is the xid
	}
	switch tc.does {
	case closes:
		if got := w.closed(); got != "" {
			t.Fatalf("the server says %q", got)
		}
	case refuses:
		if code := w.reply(xid); code != tc.code {
			t.Fatalf("code %d, want %d", code, tc.code)
		}
		if got := w.closed(); got != "" {
			t.Fatalf("then the server says %q", got)
		}
	case complains, takes:
		if code := w.reply(xid); code != tc.code {
			t.Fatalf("code %d, want %d", code, tc.code)
		}
		w.send(request(2, opExists, str("/honest"), []byte{0}))
		if code := w.reply(2); code != ok {
			t.Fatalf("then a good request gets %d", code)
		}
	case answers:
		if got := w.closed(); got != tc.text {
			t.Fatalf("answer %q, want %q", got, tc.text)
		}
	case saysExpired:
		if b := w.receive(); !bytes.Equal(b[:16], make([]byte, 16)) {
			t.Fatalf("answer % x", b)
		}
		w.closed()
	}
	return w.addr()
}

// logged waits for a line of the log that names the client and says why. That is a promise of ours:
// Apache's log is not judged.
func logged(t *testing.T, s *harness.Server, addr, why string) bool {
	t.Helper()
	if harness.Apache() {
		return true
	}
	re := regexp.MustCompile(why)
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		for line := range strings.Lines(s.Log()) {
			if _, rest, found := strings.Cut(line, addr); found && re.MatchString(rest) {
				return true
			}
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// bounded judges memory, ours only: a JVM takes what it may have.
func bounded(t *testing.T, what string, grown, limit int64) {
	t.Helper()
	t.Logf("%s: the server grew by %d MB (bound %d MB)", what, grown>>20, limit>>20)
	if grown > limit && !harness.Apache() {
		t.Errorf("%s: the server grew by %d MB, more than %d MB", what, grown>>20, limit>>20)
	}
}

// Records that a decoder could believe: the server answers with an error or closes, whichever, and
// holds no memory for what they claim.
func TestAbsurdCounts(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Extra: map[string]string{"maxClientCnxns": "0"}}).Servers[0]
	h := newHonest(t, s)
	base := s.RSS()
	many, empty := i32(1<<31-1), i32(0)
	part := join(i32(13), []byte{0}, i32(-1), str("/honest"), i32(-1)) // check
	for _, tc := range []struct {
		name  string
		bytes []byte
	}{
		{"setWatches data", request(-8, opSetWatches, i64(0), many, str("/x"))},
		{"setWatches exist", request(-8, opSetWatches, i64(0), empty, many, str("/x"))},
		{"setWatches child", request(-8, opSetWatches, i64(0), empty, empty, many, str("/x"))},
		{"setWatches2 persistent", request(-8, opSetWatches2, i64(0), empty, empty, empty, many, str("/x"))},
		{"setWatches2 recursive", request(-8, opSetWatches2, i64(0), empty, empty, empty, empty, many, str("/x"))},
		{"auth buffer", request(-4, opAuth, i32(0), str("digest"), many)},
		{"auth scheme", request(-4, opAuth, i32(0), many)},
		{"multi in multi", request(1, opMulti, bytes.Repeat(join(i32(opMulti), []byte{0}, i32(-1)), 50_000))},
		{"multi of an unknown operation", request(1, opMulti, i32(777), []byte{0}, i32(-1), part)},
		{"ACL ids", request(1, opCreate, str("/x"), str("d"), i32(2), i32(31), many)},
		{"empty ACL ids", request(1, opCreate, str("/x"), str("d"), i32(80_000), make([]byte, 80_000*12))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &honest{h.Conn, t, s}
			for range 20 {
				w := openSession(t, s)
				w.send(tc.bytes)
				if b, err := w.tryReceive(); err == nil {
					if len(b) < 16 || bytes.Equal(b[12:16], i32(ok)) {
						t.Fatalf("it was taken: % x", b)
					}
				} else if !closedByPeer(err) {
					t.Fatal(err)
				}
				w.Close()
			}
			h.served()
		})
	}
	bounded(t, "absurd counts", s.RSS()-base, 96<<20)
}
