package conformance

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/test/harness"
)

// A scene is where one row happens: a server, and what makes its answers comparable with another's.
type scene struct {
	addr     string
	label    string
	writing  bool // answers are taken down, not expected
	fresh    bool // the server does nothing but what this table says
	super    bool // the admin can log in
	forgets  bool // the server may leave a request until it is asked something else
	admin    *admin
	base     string // the row's own znode
	limited  bool   // the row speaks of that znode's quota
	left     bool   // the row's sessions are left to their timeouts
	first    int64  // the last zxid before the row
	last     int64  // the highest seen
	repeated int64  // how many up to behind do not count
	behind   int64
	times    map[int64]int64
	clients  map[string]*client
	order    []*client
	sessions map[string]*session
	names    []string // of the sessions, in the order of their opening
}

// An admin makes and removes what rows are about.
type admin struct {
	c     *client
	count int
}

// quotas is what the quota of a znode is below.
const quotas = "/zookeeper/quota"

// The super digest of all servers, and what logs in with it.
const (
	superDigest = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="
	superLogin  = "super:test"
)

func (sc *scene) login() error {
	c, b, err := sc.hello()
	// A server that has just begun may send clients away until it has noted down which sessions it opens.
	for end := time.Now().Add(harness.Patience); err != nil && time.Now().Before(end); c, b, err = sc.hello() {
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	var r proto.ConnectResponse
	if err := proto.Unmarshal(b, &r); err != nil || r.SessionID == 0 {
		return fmt.Errorf("admin gets no session: %x", b)
	}
	sc.admin = &admin{c: c}
	if !sc.super {
		return nil
	}
	if line, err := sc.do("auth digest " + superLogin); err != nil || !strings.HasPrefix(line, "OK") {
		return fmt.Errorf("admin is not let in: %s: %v", line, err)
	}
	return nil
}

// hello opens the admin's connection, and returns what it is greeted with.
func (sc *scene) hello() (*client, []byte, error) {
	c, err := sc.dial("admin")
	if err != nil {
		return nil, nil, err
	}
	hello, err := sc.greeting([]string{"timeout=600000"})
	if err != nil {
		return nil, nil, err
	}
	if err := c.write(hello); err != nil {
		return nil, nil, err
	}
	b, err := c.frame()
	return c, b, err
}

// ping asks the server something, on the admin's connection if there is one.
func (sc *scene) ping() error {
	if sc.admin != nil {
		return sc.admin.c.bar()
	}
	c, err := sc.dial("waker")
	if err != nil {
		return err
	}
	hello, err := sc.greeting([]string{"timeout=600000"}) // longer than all that happens here
	if err != nil {
		return err
	}
	return c.write(hello)
}

// do is one request of the admin, and the first line of its answer.
func (sc *scene) do(line string) (string, error) {
	w, err := split(line)
	if err != nil {
		return "", err
	}
	c := sc.admin.c
	c.sc = sc
	c.xid++
	r, err := sc.build(w, nil, c.xid)
	if err != nil {
		return "", err
	}
	if err := c.write(r.frame); err != nil {
		return "", err
	}
	c.waiting = append(c.waiting, r)
	lines, err := c.more(func() bool { return len(c.waiting) == 0 })
	if err != nil || len(lines) != 1 || !c.open {
		return "", fmt.Errorf("admin: %s: %q: %v", line, lines, err)
	}
	return lines[0], nil
}

// begin gives a row what it needs.
func (sc *scene) begin(r *row) error {
	sc.times = make(map[int64]int64)
	sc.clients = make(map[string]*client)
	sc.sessions = make(map[string]*session)
	sc.order, sc.names = nil, nil
	sc.behind, sc.repeated = 0, 0
	sc.base, sc.limited, sc.left = "", false, r.has("sessions are left")
	if !r.has("no znode of its own") {
		sc.admin.count++
		base := fmt.Sprintf("/c%d", sc.admin.count)
		if line, err := sc.do("create " + base); err != nil || !strings.HasPrefix(line, "OK") {
			return fmt.Errorf("create %s: %s: %v", base, line, err)
		}
		sc.base = base
	}
	if _, err := sc.do("ping"); err != nil {
		return err
	}
	sc.first = sc.last
	return nil
}

// end ends all sessions of a row and removes its znode.
func (sc *scene) end() error {
	for _, c := range sc.order {
		if err := c.leave(); err != nil {
			return err
		}
	}
	for _, name := range sc.names {
		if sc.left {
			break
		}
		if err := sc.close(sc.sessions[name]); err != nil {
			return fmt.Errorf("session of %s: %w", name, err)
		}
	}
	if sc.base == "" {
		return nil
	}
	base := sc.base
	sc.base = "" // so that paths are what they are
	if sc.limited {
		if err := sc.remove(quotas + base); err != nil {
			return err
		}
	}
	return sc.remove(base)
}

func (sc *scene) close(s *session) error {
	c, err := sc.dial("end")
	if err != nil {
		return err
	}
	defer c.conn.Close()
	q := proto.ConnectRequest{TimeoutMS: 300_000, SessionID: s.id, Passwd: s.passwd}
	b := q.Append(nil)
	if err := c.write(append(jute.AppendInt(nil, int32(len(b))), b...)); err != nil {
		return err
	}
	var r proto.ConnectResponse
	if b, err = c.frame(); err != nil {
		return err
	}
	if err := proto.Unmarshal(b, &r); err != nil || r.SessionID == 0 {
		return err // it has ended already
	}
	req, err := sc.build([]string{"closeSession"}, nil, 1)
	if err != nil {
		return err
	}
	if err := c.write(req.frame); err != nil {
		return err
	}
	c.waiting = append(c.waiting, req)
	_, err = c.more(func() bool { return false })
	return err
}

// remove deletes a znode and all below it.
func (sc *scene) remove(path string) error {
	line, err := sc.do("getChildren " + quote(path))
	if err != nil {
		return err
	}
	if rest, ok := strings.CutPrefix(line, "OK"); ok {
		_, rest, _ = strings.Cut(rest, "[")
		names, err := split(strings.TrimSuffix(rest, "]"))
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := sc.remove(path + "/" + unquote(name)); err != nil {
				return err
			}
		}
	}
	line, err = sc.do("delete " + quote(path))
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, zkerr.OK.String()) && !strings.HasPrefix(line, zkerr.NoNode.String()) {
		return fmt.Errorf("delete %s: %s", path, line)
	}
	return nil
}

// client is the client of that name, with a new session if it has not been seen before.
func (sc *scene) client(name string) (*client, error) {
	if c := sc.clients[name]; c != nil {
		return c, nil
	}
	lines, err := sc.connect(name, nil, nil)
	if err != nil {
		return nil, err
	}
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "connected") {
		return nil, fmt.Errorf("client %s: %q", name, lines)
	}
	return sc.clients[name], nil
}

// connect opens a connection, and sends more in the same write.
func (sc *scene) connect(name string, line []string, more []*request) ([]string, error) {
	hello, err := sc.greeting(line)
	if err != nil {
		return nil, err
	}
	c, err := sc.dial(name)
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return []string{"closed"}, nil // before this side knew that it was open
	}
	if err != nil {
		return nil, err
	}
	sc.clients[name] = c
	sc.order = append(sc.order, c)
	for _, r := range more {
		hello = append(hello, r.frame...)
		c.waiting = append(c.waiting, r)
	}
	if err := c.write(hello); err != nil {
		return nil, err
	}
	b, err := c.frame()
	if err != nil {
		if !c.open {
			return []string{"closed"}, nil
		}
		return nil, err
	}
	answer, opened := sc.connected(c, b)
	lines := []string{answer}
	if !opened {
		rest, err := c.more(func() bool { return false })
		return append(lines, rest...), err
	}
	rest, err := c.more(func() bool { return len(c.waiting) == 0 })
	return append(lines, rest...), err
}

// meet takes note of a session that was opened or resumed.
func (sc *scene) meet(c *client, id int64, passwd []byte) {
	for _, s := range sc.sessions {
		if s.id == id {
			return
		}
	}
	name := c.name
	if sc.sessions[name] != nil {
		name += "'"
	}
	sc.sessions[name] = &session{id: id, passwd: slices.Clone(passwd)}
	sc.names = append(sc.names, name)
}

// step does one step and returns what came of it, on all connections.
func (sc *scene) step(s *step) ([]string, error) {
	name, line := s.requests[0][0], s.requests[0][1:]
	want := s.answer(sc.label)
	ends := slices.Contains(want, "closed") && !sc.writing
	lines, err := sc.act(name, line, s.requests[1:], ends)
	if err != nil {
		return lines, err
	}
	if line[0] == "closeSession" || line[0] == "wait" {
		slices.Sort(lines[:max(0, len(lines)-2)]) // nobody says in which order the ephemerals of a session go
	}
	for _, c := range sc.order {
		if c.name == name || !c.open {
			continue
		}
		more, err := c.ask()
		if err != nil {
			return lines, err
		}
		if line[0] == "closeSession" || line[0] == "wait" {
			slices.Sort(more)
		}
		for _, l := range more {
			lines = append(lines, c.name+": "+l)
		}
	}
	return lines, nil
}

// mixed says whether a write to the tree stands before an auth packet. Its reply is then shown behind the others.
func mixed(reqs []*request) bool {
	for _, r := range reqs {
		if r.op == proto.OpAuth {
			return r != reqs[0] && reqs[0].op != proto.OpAuth
		}
	}
	return false
}

func (sc *scene) act(name string, line []string, rest [][]string, ends bool) ([]string, error) {
	switch line[0] {
	case "crowd":
		// Clients come until one is sent away.
		for i := range 100 {
			lines, err := sc.connect(fmt.Sprintf("%s%d", name, i), line[1:], nil)
			if err != nil || !strings.HasPrefix(lines[0], "connected") {
				return lines, err
			}
		}
		return nil, fmt.Errorf("nobody is sent away")
	case "connect":
		if c := sc.clients[name]; c != nil && c.open {
			return nil, fmt.Errorf("%s is connected", name)
		}
		reqs, err := sc.requests(new(client), nil, rest)
		if err != nil {
			return nil, err
		}
		return sc.connect(name, line[1:], reqs)
	case "dial":
		c, err := sc.dial(name)
		if err != nil {
			return nil, err
		}
		// Nobody asks it anything before its greeting.
		sc.clients[name] = c
		c.name = name
		reqs, err := sc.requests(c, nil, rest)
		if err != nil {
			return nil, err
		}
		var out []byte
		for _, r := range reqs {
			out = append(out, r.frame...)
		}
		if err := c.write(out); err != nil {
			return nil, err
		}
		b, err := c.frame()
		if err != nil && c.open {
			return nil, err
		} else if err != nil {
			return []string{"closed"}, nil
		}
		sc.order = append(sc.order, c)
		answer, opened := sc.connected(c, b)
		c.waiting = nil
		if !opened {
			rest, err := c.more(func() bool { return false })
			return append([]string{answer}, rest...), err
		}
		return []string{answer}, nil
	}
	c, err := sc.client(name)
	if err != nil {
		return nil, err
	}
	switch line[0] {
	case "drop":
		return nil, c.leave()
	case "wait":
		return sc.wait(c, line[1:])
	}
	if !c.open {
		return nil, fmt.Errorf("%s is not connected", name)
	}
	reqs, err := sc.requests(c, line, rest)
	if err != nil {
		return nil, err
	}
	var out []byte
	raw := false
	for _, r := range reqs {
		out = append(out, r.frame...)
		raw = raw || r.raw
		if !r.quiet && !r.raw {
			c.waiting = append(c.waiting, r)
		}
	}
	if err := c.write(out); err != nil {
		return nil, err
	}
	if raw || ends {
		return c.more(func() bool { return false })
	}
	c.auths, c.apart = nil, mixed(reqs)
	lines, err := c.more(func() bool { return len(c.waiting) == 0 })
	lines, c.apart = append(lines, c.auths...), false
	if err != nil || !c.open {
		return lines, err
	}
	if n := len(lines); sc.writing && n > 0 && !strings.HasPrefix(lines[n-1], "OK ") && !strings.HasPrefix(lines[n-1], "No") && !strings.HasPrefix(lines[n-1], "Bad") {
		time.Sleep(50 * time.Millisecond) // for a server that is about to close the connection
	}
	more, err := c.ask()
	return append(lines, more...), err
}

// requests makes those of a step: its first line, and the lines with "&" and "+".
func (sc *scene) requests(c *client, first []string, rest [][]string) ([]*request, error) {
	var list []*request
	for line := first; line != nil || len(rest) > 0; line = nil {
		if line == nil {
			if line, rest = rest[0][1:], rest[1:]; len(line) == 0 {
				return nil, fmt.Errorf("an empty request")
			}
		}
		var subs [][]string
		for len(rest) > 0 && rest[0][0] == "+" {
			subs = append(subs, rest[0])
			rest = rest[1:]
		}
		c.xid++
		r, err := sc.build(line, subs, c.xid)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// wait waits for what comes by itself: "closed", "ends CLIENT", or "gone PATH z=+N" with the last zxid then. "after" and
// a request behind that are for one whose events may be followed at once by those of what is waited for.
func (sc *scene) wait(c *client, line []string) ([]string, error) {
	switch {
	case line[0] == "closed":
		return c.more(func() bool { return false })
	case line[0] == "gone" && (len(line) == 2 || len(line) == 3 || len(line) > 4 && line[3] == "after"):
		var asked []string
		if len(line) > 4 {
			var err error
			if asked, err = sc.act(c.name, line[4:], nil, false); err != nil {
				return asked, err
			}
		}
		for end := time.Now().Add(harness.Patience); ; time.Sleep(10 * time.Millisecond) {
			answer, err := sc.do("exists " + line[1])
			if err != nil {
				return nil, err
			}
			if strings.HasPrefix(answer, zkerr.NoNode.String()) {
				lines, err := c.ask()
				if err == nil && len(line) > 2 {
					err = sc.removals(line[2])
				}
				return append(asked, lines...), err
			}
			if time.Now().After(end) {
				return nil, fmt.Errorf("%s is not gone", line[1])
			}
		}
	case line[0] == "ends" && len(line) == 2: // a session, which the server expires
		s := sc.sessions[line[1]]
		if s == nil {
			return nil, fmt.Errorf("there is no session of %s", line[1])
		}
		before := sc.last
		for end := time.Now().Add(harness.Patience); ; time.Sleep(10 * time.Millisecond) {
			if _, err := sc.do("ping"); err != nil {
				return nil, err
			}
			if sc.last > before {
				return c.ask()
			}
			if time.Now().After(end) {
				return nil, fmt.Errorf("the session of %s does not end", line[1])
			}
		}
	}
	return nil, fmt.Errorf("nobody can wait for %q", line)
}

// removals checks how many transactions there were until the server had removed what it removes by itself.
// Apache's servers, when they are slow, ask for a removal again before they have carried it out, and each
// that fails takes a zxid too: such are not counted.
func (sc *scene) removals(want string) error {
	n, err := strconv.ParseInt(strings.TrimPrefix(want, "z=+"), 10, 64)
	if err != nil {
		return err
	}
	more := sc.last - sc.first - n
	if more < 0 || more > 0 && sc.label == "zkcore" {
		return fmt.Errorf("the last zxid is +%d, not +%d", n+more, n)
	}
	sc.behind, sc.repeated = sc.last, more
	return nil
}
