package oracle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/test/harness"
)

// A pair is the two sides, and the clients of a run on each. Sides are those of zkcore and of what it is compared with.
type pair struct {
	sides     [2]*side
	rules     *rules
	ensembles [2]*harness.Ensemble
	clients   [clientCount]*client
	admin     *client // reads and sweeps; its session lives as long as the pair
	// all has the sessions of the run, also those that no client has any more.
	all []*session

	requests, frames, events, expired int // what was compared
	allowed                           map[string]int
}

// clientCount is how many clients a run has.
const clientCount = 4

// A client has a session, and a connection at times.
type client struct {
	no    int
	links [2]*link
	sess  *session
	moved int // in an ensemble: how many servers it is from where it began
}

// A session as both sides know it.
type session struct{ id [2]session1 }

func (c *client) connected() bool { return c.links[0].alive() && c.links[1].alive() }

// A difference ends a run.
type difference struct {
	step int // len(steps): in the tree
	text string
}

func (d *difference) Error() string {
	if d.step < 0 {
		return d.text
	}
	return fmt.Sprintf("step %d: %s", d.step, d.text)
}

// run does the steps and compares. A *difference is what it was made to find; any other error says
// that it could not be done.
func (p *pair) run(steps []step) error {
	for _, s := range p.sides {
		s.begin()
		s.rules = p.rules
	}
	p.all = nil
	for i := range p.clients {
		p.clients[i] = &client{no: i}
	}
	for i := range steps {
		if err := p.step(&steps[i]); err != nil {
			return at(i, err)
		}
	}
	// Every request that was sent has had its barrier, so the trees stand still.
	if err := p.compareTrees(); err != nil {
		return at(len(steps), err)
	}
	return nil
}

func at(i int, err error) error {
	var d *difference
	var silent *silentError
	switch {
	case errors.As(err, &d):
		d.step = i
	case errors.As(err, &silent):
		return &difference{i, err.Error()}
	}
	return err
}

func differ(format string, args ...any) error {
	return &difference{-1, fmt.Sprintf(format, args...)}
}

// both runs f for each side.
func both(f func(i int) error) error {
	if err := f(0); err != nil {
		return err
	}
	return f(1)
}

// step does one step on both sides, waits until all that comes of it has come, and compares.
func (p *pair) step(st *step) error {
	c := p.clients[st.Client]
	switch st.Kind {
	case kindRequests:
		if !c.connected() {
			return nil
		}
		return p.burst(c, st)
	case kindDrop:
		return c.hangUp()
	case kindOpen:
		if err := c.hangUp(); err != nil {
			return err
		}
		c.sess = nil
		return p.connect(c, st)
	case kindResume, kindExpire:
		if c.sess == nil {
			return nil
		}
		return p.connect(c, st)
	case kindPassword, kindUnknown, kindAhead:
		return p.stranger(c, st)
	}
	return fmt.Errorf("no kind of step is called %q", st.Kind)
}

func (c *client) hangUp() error {
	old := c.links
	c.links = [2]*link{}
	return leave(old)
}

func leave(links [2]*link) error {
	return both(func(i int) error { return links[i].leave() })
}

// burst sends requests in one write, with a barrier behind them unless the last one closes.
func (p *pair) burst(c *client, st *step) error {
	err := both(func(i int) error {
		var out packet
		p.put(c.links[i], &out, st)
		return c.links[i].send(out)
	})
	if err != nil {
		return err
	}
	return p.collect(c, st, nil)
}

func (p *pair) put(l *link, out *packet, st *step) {
	for i := range st.Requests {
		l.request(out, &st.Requests[i], false)
	}
	if n := len(st.Requests); n == 0 || !st.Requests[n-1].closes() {
		l.request(out, p.barrier(), true)
	}
}

// barrier is a request whose reply comes behind all that was sent before it is asked.
func (p *pair) barrier() *request {
	for _, s := range p.sides {
		if len(s.addrs) > 1 {
			// A ping says what its own server knows, a sync what the leader does.
			return &request{Op: "sync", Path: "/"}
		}
	}
	return &request{Op: "ping"}
}

// collect reads what a step brings the client that acts, and then what it brings all others.
func (p *pair) collect(c *client, st *step, old *[2]*link) error {
	var got [2][]frame
	err := both(func(i int) (err error) {
		got[i], err = c.links[i].gather(nil)
		return err
	})
	if err != nil && !isSilent(err) {
		return err
	}
	unordered := len(st.Requests) > 0 && st.Requests[len(st.Requests)-1].ends()
	if d := p.compare(fmt.Sprintf("client %d", c.no), st, got, unordered); d != nil || err != nil {
		return errors.Join(d, err)
	}
	p.requests += len(st.Requests)
	if err := p.settle(c); err != nil {
		return err
	}
	if old != nil {
		if err := p.evicted(c, old); err != nil {
			return err
		}
	}
	quiet := st.Kind == kindRequests
	for i := range st.Requests {
		quiet = quiet && !st.Requests[i].writes()
	}
	if quiet {
		return nil
	}
	return p.others(c, unordered)
}

func isSilent(err error) bool {
	var s *silentError
	return errors.As(err, &s)
}

// settle makes one of two connections that one side has closed the same on both.
func (p *pair) settle(c *client) error {
	if c.connected() {
		return nil
	}
	return c.hangUp()
}

// others lets all other clients ask, so that the events that they have been sent are read.
func (p *pair) others(c *client, unordered bool) error {
	for _, o := range p.clients {
		if o == c || !o.connected() {
			continue
		}
		err := both(func(i int) error {
			var out packet
			o.links[i].request(&out, p.barrier(), true)
			return o.links[i].send(out)
		})
		if err != nil {
			return err
		}
	}
	for _, o := range p.clients {
		if o == c || !o.connected() {
			continue
		}
		var got [2][]frame
		err := both(func(i int) (err error) {
			got[i], err = o.links[i].gather(nil)
			return err
		})
		if err != nil && !isSilent(err) {
			return err
		}
		if d := p.compare(fmt.Sprintf("client %d, which looks on,", o.no), &step{Client: o.no}, got, unordered); d != nil || err != nil {
			return errors.Join(d, err)
		}
		if err := p.settle(o); err != nil {
			return err
		}
	}
	return nil
}

// shortest is less than any server grants: the clients get the least there is.
const shortest = 1

// connect opens a connection with the client's session, or with a new one if it has none.
func (p *pair) connect(c *client, st *step) error {
	old := c.links
	c.links = [2]*link{}
	if p.ensemble() && st.Move != 0 {
		// On another server nobody closes the old connection at once.
		c.moved += st.Move
		if err := leave(old); err != nil {
			return err
		}
		old = [2]*link{}
	}
	err := both(func(i int) (err error) {
		s := p.sides[i]
		if c.links[i], err = s.dial(s.addrs[(c.no+c.moved)%len(s.addrs)]); err != nil {
			return err
		}
		req := proto.ConnectRequest{ProtocolVersion: st.Protocol, TimeoutMS: st.TimeoutMS, ReadOnly: st.ReadOnly, HasReadOnly: !st.NoReadOnly}
		if !p.ensemble() {
			req.LastZxidSeen = s.last // the next server may not have it yet
		}
		if req.TimeoutMS == 0 {
			req.TimeoutMS = 300_000 // no session goes because the machine is busy
		}
		if c.sess != nil {
			req.SessionID, req.Passwd = c.sess.id[i].id, c.sess.id[i].passwd
		} else {
			req.Passwd = st.passwd()
		}
		var out packet
		if st.Kind == kindExpire {
			req.TimeoutMS = shortest
		}
		c.links[i].greet(&out, &req)
		if st.Kind != kindExpire {
			p.put(c.links[i], &out, st)
		}
		return c.links[i].send(out)
	})
	if err != nil {
		return err
	}
	evicted := &old
	if !old[0].alive() || !old[1].alive() {
		evicted = nil
	}
	if c.sess == nil {
		c.sess = &session{}
		p.all = append(p.all, c.sess)
		links := c.links // collect hangs up what was closed
		err := p.collect(c, st, nil)
		for i, l := range links {
			c.sess.id[i] = l.opened
		}
		return err
	}
	if st.Kind == kindExpire {
		return p.expire(c, evicted)
	}
	return p.collect(c, st, evicted)
}

func (p *pair) ensemble() bool { return len(p.sides[0].addrs) > 1 }

// evicted checks that the connection is closed that had the session before.
func (p *pair) evicted(c *client, old *[2]*link) error {
	if !c.connected() {
		// Refused: the session is gone, and its connection with it, as was compared then.
		return leave(*old)
	}
	var got [2][]frame
	err := both(func(i int) (err error) {
		got[i], err = old[i].gather(nil)
		return err
	})
	if err != nil {
		return err
	}
	return p.compare(fmt.Sprintf("the old connection of client %d", c.no), &step{Client: c.no}, got, false)
}

// expire waits until the servers end a session whose client says nothing any more.
func (p *pair) expire(c *client, old *[2]*link) error {
	links := c.links
	var got [2][]frame
	err := both(func(i int) (err error) {
		before := p.sides[i].last
		got[i], err = links[i].gather(nil) // there is no barrier: until the end of the connection
		if err != nil || links[i].opened.id == 0 {
			return err
		}
		// The connection of a silent client may be closed before its session is.
		for end := time.Now().Add(2 * harness.Patience); p.sides[i].last == before; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				return &silentError{p.sides[i].name + ": a session does not expire"}
			}
			if _, err := p.ask(i, []request{{Op: "ping"}}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if d := p.compare(fmt.Sprintf("client %d, whose session expires,", c.no), &step{Client: c.no, Kind: kindExpire}, got, true); d != nil || err != nil {
		return errors.Join(d, err)
	}
	c.links = [2]*link{}
	if old != nil {
		if err := leave(*old); err != nil {
			return err
		}
	}
	p.expired++
	return p.others(c, true)
}

// stranger connects in a way that is refused.
func (p *pair) stranger(c *client, st *step) error {
	if st.Kind == kindPassword && c.sess == nil {
		return nil
	}
	var got [2][]frame
	err := both(func(i int) error {
		s := p.sides[i]
		l, err := s.dial(s.addrs[(c.no+c.moved)%len(s.addrs)])
		if err != nil {
			return err
		}
		defer l.drop() // the server has closed it
		req := proto.ConnectRequest{ProtocolVersion: st.Protocol, TimeoutMS: 30_000, ReadOnly: st.ReadOnly, HasReadOnly: !st.NoReadOnly, Passwd: make([]byte, 16)}
		switch st.Kind {
		case kindPassword:
			req.SessionID, req.Passwd = c.sess.id[i].id, []byte("not the password")
		case kindUnknown:
			req.SessionID = 0x0123456789abcdef
		case kindAhead:
			req.LastZxidSeen = s.last + 1<<33
		}
		var out packet
		l.greet(&out, &req)
		if err := l.send(out); err != nil {
			return err
		}
		got[i], err = l.gather(nil)
		return err
	})
	if err != nil {
		return err
	}
	if err := p.compare("a stranger", st, got, false); err != nil {
		return err
	}
	if st.Kind == kindPassword && c.connected() {
		// Allowed: see allowed_test.go. Both connections go, so that both sides are alike again.
		p.allow(wrongPasswordEvicts)
		return c.hangUp()
	}
	return nil
}

func (p *pair) allow(why string) { p.allowed[why]++ }

// compare compares what both sides have sent on one connection.
func (p *pair) compare(who string, st *step, got [2][]frame, unordered bool) error {
	if unordered && !p.rules.same {
		for i := range got {
			sortEvents(got[i])
		}
	}
	hidden := p.hide(&got)
	for i := range max(len(got[0]), len(got[1])) {
		var f [2]*frame
		for s := range got {
			if i < len(got[s]) {
				f[s] = &got[s][i]
			}
		}
		if f[0] != nil && f[1] != nil && bytes.Equal(f[0].norm, f[1].norm) {
			p.frames++
			if f[0].event {
				p.events++
			}
			continue
		}
		if f[0] != nil && f[1] != nil {
			if why := p.rules.allows(f[0], f[1]); why != "" {
				p.allow(why)
				continue
			}
		}
		return differ("%s gets\n%s", who, p.show(got, i))
	}
	for _, path := range hidden {
		if err := p.unreadable(p.clients[st.Client], path); err != nil {
			return err
		}
	}
	return nil
}

// show prints what came on both sides, with a mark where they part.
func (p *pair) show(got [2][]frame, at int) string {
	var b strings.Builder
	for s := range got {
		fmt.Fprintf(&b, "\t%s:\n", p.sides[s].name)
		for i, f := range got[s] {
			mark := " "
			if i == at {
				mark = ">"
			}
			fmt.Fprintf(&b, "\t %s %s\n", mark, f.text)
		}
		if at >= len(got[s]) {
			b.WriteString("\t > nothing more\n")
		}
	}
	return b.String()
}

// sortEvents puts runs of events in an order of their own: nobody says in which order the ephemerals
// of a session go.
func sortEvents(frames []frame) {
	for i := 1; i < len(frames); i++ {
		for j := i; j > 0 && frames[j].event && frames[j-1].event && bytes.Compare(frames[j].norm, frames[j-1].norm) < 0; j-- {
			frames[j], frames[j-1] = frames[j-1], frames[j]
		}
	}
}

var errClosed = fmt.Errorf("the connection of the one that reads the trees is closed: %w", io.ErrUnexpectedEOF)
