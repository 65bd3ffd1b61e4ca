package recorded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// A Replay sends to a server what was sent to another.
type Replay struct {
	// Dial connects to a fresh server, one with extendedTypesEnabled=true and one without. Both have a tickTime of 2 s.
	Dial func(extendedTypes bool) (net.Conn, error)
	// Ours says where the server differs.
	Ours map[string]Difference
	// OwnPasswords says that the server makes passwords of sessions in a way of its own.
	OwnPasswords bool
	// Patience is how long something may take that must come.
	Patience time.Duration

	all      []Exchange
	peers    map[string]*peer
	sessions map[int64]*peer // by the id that they had when recorded
	zxids    map[int64]int64 // recorded → here
}

// Begin makes it ready for the exchanges with a release, which it returns, to be done one by one, in their order.
func (r *Replay) Begin(release string) ([]Exchange, error) {
	var err error
	r.all, err = Exchanges(release)
	r.peers, r.sessions, r.zxids = map[string]*peer{}, map[int64]*peer{}, map[int64]int64{}
	return r.all, err
}

// Close closes all connections that are open yet.
func (r *Replay) Close() {
	for _, p := range r.peers {
		p.conn.Close()
	}
}

// Do does one exchange, and says what came that should not have come, or the other way round.
func (r *Replay) Do(x *Exchange) error {
	d, differs := r.Ours[x.Name]
	if differs && d.what == notSent {
		return nil
	}
	want, closed := Frames(x.Came), x.Closed
	if differs {
		want, closed = d.expected(x)
	}
	for _, name := range slices.Sorted(maps.Keys(r.peers)) {
		if err := r.peers[name].touch(); err != nil {
			return fmt.Errorf("a ping on connection %s: %w", name, err)
		}
	}
	if err := r.prepare(x); err != nil {
		return fmt.Errorf("before it: %w", err)
	}
	p, greets := r.peers[x.Conn], false
	if p == nil {
		var err error
		greets = x.greets()
		if p, err = r.open(x, greets); err != nil {
			return err
		}
	}
	sent, err := r.sent(x, greets)
	if err != nil {
		return err
	}
	if len(sent) > 0 {
		if err := p.write(sent); err != nil {
			return err
		}
	}
	ops := opsOf(sent, greets)
	var wrong []error
	for i := range want {
		got, err := p.next()
		if err != nil {
			return errors.Join(append(wrong, fmt.Errorf("%w, want a frame %x", err, want[i]))...)
		}
		c := comparison{r: r, nottl: x.Conn == "nottl"}
		if greets && i == 0 {
			c.connected(p, got, want[i])
		} else {
			ops = c.frame(got, want[i], ops)
		}
		wrong = append(wrong, c.wrong...)
	}
	if closed {
		rest, err := p.rest()
		if err != nil || len(rest) > 0 {
			wrong = append(wrong, fmt.Errorf("behind what is wanted comes %x, then the end: %v", rest, err == nil))
		}
	}
	return errors.Join(wrong...)
}

// greets says that what is sent on a new connection begins with a ConnectRequest.
func (x *Exchange) greets() bool {
	return len(x.Sent) > 0 && (strings.HasPrefix(x.Name, "connect") || strings.HasPrefix(x.Name, "reconnect") || x.Conn == "pipe")
}

// opsOf are the operations of the requests, whose replies come in this order.
func opsOf(sent []byte, greets bool) (ops []proto.Op) {
	for i, f := range Frames(sent) {
		var h proto.RequestHeader
		if (i > 0 || !greets) && proto.Unmarshal(f, &h) == nil {
			ops = append(ops, h.Op)
		}
	}
	return ops
}

// open connects. Sessions that nobody sees the opening of live long, but for one whose request 3.8 never answers.
func (r *Replay) open(x *Exchange, greets bool) (*peer, error) {
	timeout := int32(40000)
	if x.Name == "check_standalone" {
		timeout = 4000
	}
	return r.dial(x.Conn, timeout, !greets)
}

func (r *Replay) dial(name string, timeoutMS int32, greet bool) (*peer, error) {
	c, err := r.Dial(name != "nottl")
	if err != nil {
		return nil, err
	}
	if old := r.peers[name]; old != nil {
		old.conn.Close()
	}
	p := &peer{conn: c, patience: r.Patience}
	r.peers[name] = p
	if !greet {
		return p, nil
	}
	q := proto.ConnectRequest{TimeoutMS: timeoutMS, Passwd: make([]byte, 16), HasReadOnly: true}
	if err := p.write(frame(q.Append(nil))); err != nil {
		return nil, err
	}
	b, err := p.next()
	if err != nil {
		return nil, fmt.Errorf("connection %s: %w", name, err)
	}
	var a proto.ConnectResponse
	if err := proto.Unmarshal(b, &a); err != nil || a.SessionID == 0 {
		return nil, fmt.Errorf("connection %s gets no session: %x", name, b)
	}
	p.session, p.passwd = a.SessionID, a.Passwd
	return p, nil
}

// prepare does what was done without being recorded.
func (r *Replay) prepare(x *Exchange) error {
	switch x.Name {
	case "reconnect_existing_while_old_connection_open":
		return r.meet("re1", 10000, x)
	case "reconnect_after_tcp_close":
		return r.peers["re2"].leave()
	case "close_session":
		return r.meet("re6", 10000, r.find("reconnect_closed_session"))
	case "deleteContainer_from_client_not_empty":
		return r.expire()
	case "pipelined_connect_and_requests":
		return r.pass()
	case "watch_ephemeral":
		if err := r.meet("ex", 4000, r.find("reconnect_expired")); err != nil {
			return err
		}
		q := proto.CreateRequest{Path: "/exp", Data: []byte{}, ACL: jute.OpenACL(), Flags: proto.FlagEphemeral}
		h, err := r.peers["ex"].call(proto.RequestHeader{Xid: 1, Op: proto.OpCreate}, q.Append(nil))
		if err != nil || h.Err != zkerr.OK {
			return fmt.Errorf("create /exp: %+v, %w", h, err)
		}
		_, err = r.dial("w2", 40000, true)
		return err
	case "event_ephemeral_deleted_on_expiry":
		// Its client is gone, and its session ends after a while.
		ex := r.peers["ex"]
		ex.ended = true
		return ex.conn.Close()
	}
	return nil
}

// expire ends the session of "a" if it had expired by then: on 3.8, where another one's end took its time.
func (r *Replay) expire() error {
	there, err := r.rootThen()
	if err != nil || slices.Contains(there, "e") {
		return err
	}
	a := r.peers["a"]
	_, err = a.call(proto.RequestHeader{Xid: 1 << 20, Op: proto.OpCloseSession}, nil)
	a.session = 0
	return err
}

// pass does what else came of the time that passed there, and of what zkcore lets no client do: what was not seen any
// more has to go.
func (r *Replay) pass() error {
	there, err := r.rootThen()
	if err != nil {
		return err
	}
	p, err := r.dial("time", 40000, true)
	if err != nil {
		return err
	}
	for i, name := range []string{"cont0", "mttl"} {
		if slices.Contains(there, name) {
			continue
		}
		q := proto.VersionRequest{Path: "/" + name, Version: -1}
		h, err := p.call(proto.RequestHeader{Xid: int32(i + 1), Op: proto.OpDelete}, q.Append(nil))
		if err != nil || h.Err != zkerr.OK && h.Err != zkerr.NoNode {
			return fmt.Errorf("delete /%s: %+v, %w", name, h, err)
		}
	}
	return nil
}

// rootThen are the children of the root when they were seen last.
func (r *Replay) rootThen() ([]string, error) {
	frames := Frames(r.find("pipelined_connect_and_requests").Came)
	var there proto.StringsResponse
	err := proto.Unmarshal(frames[len(frames)-1][proto.ReplyHeaderSize:], &there)
	return there.Strings, err
}

func (r *Replay) find(name string) *Exchange {
	return &r.all[slices.IndexFunc(r.all, func(x Exchange) bool { return x.Name == name })]
}

// meet opens the session that comes back in x.
func (r *Replay) meet(conn string, timeoutMS int32, x *Exchange) error {
	var q proto.ConnectRequest
	if err := proto.Unmarshal(x.Sent[4:], &q); err != nil {
		return err
	}
	p, err := r.dial(conn, timeoutMS, true)
	r.sessions[q.SessionID] = p
	return err
}

// sent is what is sent for x: our sessions and zxids stand in the place of the recorded ones.
func (r *Replay) sent(x *Exchange, greets bool) ([]byte, error) {
	sent := slices.Clone(x.Sent)
	switch {
	case x.Name == "oversized_length": // which nobody took down
		return []byte{0x7f, 0xff, 0xff, 0xff}, nil
	case x.Name == "negative_length":
		return []byte{0xff, 0xff, 0xff, 0xfb}, nil
	case strings.HasPrefix(x.Name, "setWatches"):
		at := sent[4+proto.RequestHeaderSize:]
		binary.BigEndian.PutUint64(at, uint64(r.zxidOf(int64(binary.BigEndian.Uint64(at)))))
	case greets:
		n := 4 + binary.BigEndian.Uint32(sent)
		var q proto.ConnectRequest
		if err := proto.Unmarshal(sent[4:n], &q); err != nil {
			return nil, err
		}
		if p := r.sessions[q.SessionID]; p != nil {
			right := proto.SessionPassword(q.SessionID)
			if string(q.Passwd) == string(right[:]) {
				q.Passwd = p.passwd
			}
			q.SessionID = p.session
		}
		return append(frame(q.Append(nil)), sent[n:]...), nil
	}
	return sent, nil
}

// zxidOf is the zxid here that is the same point in the order as one there. If no reply had that one, the next
// smaller one is.
func (r *Replay) zxidOf(there int64) int64 {
	best := int64(-1)
	for z := range r.zxids {
		if z <= there && z > best {
			best = z
		}
	}
	return r.zxids[best]
}

// Order says what is wrong with the zxids that were seen: what is later there is not earlier here. It may be the same,
// as a write that is refused before it is ordered has none.
func (r *Replay) Order() error {
	var wrong []error
	there := slices.Sorted(maps.Keys(r.zxids))
	for i := 1; i < len(there); i++ {
		if a, b := r.zxids[there[i-1]], r.zxids[there[i]]; b < a {
			wrong = append(wrong, fmt.Errorf("zxids 0x%x, 0x%x there are 0x%x, 0x%x here", there[i-1], there[i], a, b))
		}
	}
	return errors.Join(wrong...)
}
