package sim

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/test/history"
)

// A reader is a client for which reading is enough: it goes to servers that have no leader and show
// what they have (a plan's readOnly). It may change nothing there, sees only what was committed, never
// less than before, and is sent away once there is a leader. A server that has got one when the
// reader arrives gives it a session like any other, which it leaves alone.
type reader struct {
	w    *world
	no   int
	rng  *rand.Rand
	host host
	addr netip.AddrPort

	e      *end
	m      *machine
	conn   int
	in     []byte
	open   bool
	seen   int64
	xid    int32
	expect []zkerr.Code // of what is unanswered
}

func newReader(w *world, no int) *reader {
	return &reader{w: w, no: no, rng: rand.New(rand.NewPCG(w.seed, 18)), host: host(1000 + no),
		addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(no)}), 40000)}
}

func (r *reader) start() { r.w.after(r.rng.Int64N(500*ms), nil, r.tick) }

func (r *reader) tick() {
	w := r.w
	w.after(50*ms+r.rng.Int64N(200*ms), nil, r.tick)
	switch {
	case r.e == nil:
		m := w.machines[r.rng.IntN(len(w.machines))]
		if m.up && m.node != nil && !m.stopped && m.node.Info().ReadOnly {
			r.connect(m)
		}
	case !r.open:
	case r.rng.IntN(10) == 0:
		r.call(proto.OpCloseSession, nil, zkerr.OK)
		r.open = false
	case r.rng.IntN(10) == 0:
		r.hangUp("leaves")
	case len(r.expect) < 10:
		r.ask()
	}
}

func (r *reader) ask() {
	path := &proto.ReadRequest{Path: "/", Watch: r.rng.IntN(2) == 0}
	set := &proto.SetDataRequest{Path: "/", Data: []byte("not to be"), Version: -1}
	switch r.rng.IntN(6) {
	case 0:
		r.call(proto.OpSetData, set, zkerr.NotReadOnly)
	case 1:
		r.call(proto.OpSync, &proto.AnyPathRequest{Path: "/"}, zkerr.NotReadOnly)
	case 2:
		r.call(proto.OpMulti, &proto.MultiRequest{Ops: []proto.MultiOp{{Op: proto.OpSetData, Path: "/", Version: -1}}}, zkerr.NotReadOnly)
	case 3:
		r.call(proto.OpGetChildren2, path, zkerr.OK)
	case 4:
		r.call(proto.OpGetData, path, zkerr.OK)
	default:
		r.call(proto.OpExists, path, zkerr.OK)
	}
}

func (r *reader) call(op proto.Op, rec proto.Record, want zkerr.Code) {
	r.xid++
	h := proto.RequestHeader{Xid: r.xid, Op: op}
	b := h.Append(nil)
	if rec != nil {
		b = rec.Append(b)
	}
	r.expect = append(r.expect, want)
	r.write(b)
}

func (r *reader) write(b []byte) {
	r.e.send(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
}

func (r *reader) note(rec history.Record) {
	rec.Client, rec.Conn, rec.Server = r.no, r.conn, int(r.m.id)
	r.w.log.Append(rec)
}

func (r *reader) connect(m *machine) {
	w := r.w
	if w.net.isCut(r.host, host(m.id)) || w.net.isCut(host(m.id), r.host) {
		return
	}
	r.conn++
	r.m, r.in, r.open, r.seen, r.xid, r.expect = m, nil, false, 0, 0, nil
	a, b := w.net.connect(r.host, host(m.id), nil, m)
	addr := netip.AddrPortFrom(r.addr.Addr(), uint16(1024+a.no%60000))
	r.e = a
	a.recv = func(b []byte) {
		if r.e == a {
			r.receive(b)
		}
	}
	a.closed = func(why string) {
		if r.e == a {
			r.hangUp(why)
		}
	}
	a.put(func() {
		if !b.owned() {
			a.hangUp("refused")
			return
		}
		w.at(w.now, m, func() {
			if !b.dead {
				m.accept(b, addr)
			}
		})
	})
	q := proto.ConnectRequest{TimeoutMS: w.plan.sessionMS, Passwd: make([]byte, 16), ReadOnly: true, HasReadOnly: true}
	r.note(history.Record{Kind: history.Connecting, Body: q.Passwd, TimeoutMS: q.TimeoutMS, Addr: addr.Addr().String()})
	r.write(q.Append(nil))
}

func (r *reader) hangUp(why string) {
	r.w.logf(nil, "reader leaves %d: %s", r.m.id, why)
	r.note(history.Record{Kind: history.Lost, Note: why})
	e := r.e
	r.e, r.open = nil, false
	e.close()
}

func (r *reader) receive(b []byte) {
	r.in = append(r.in, b...)
	for len(r.in) >= 4 && r.e != nil {
		n := int(binary.BigEndian.Uint32(r.in))
		if len(r.in) < 4+n {
			return
		}
		f := r.in[4 : 4+n : 4+n]
		r.in = r.in[4+n:]
		if r.xid == 0 && !r.open {
			r.greeted(f)
		} else {
			r.frame(f)
		}
	}
}

func (r *reader) greeted(b []byte) {
	var a proto.ConnectResponse
	if err := proto.Unmarshal(b, &a); err != nil || a.SessionID == 0 {
		r.w.fail("reader: answer to a greeting: %+v, %v", a, err)
		return
	}
	if a.ReadOnly {
		r.w.logf(nil, "reader reads from %d", r.m.id)
		r.w.stats.Readers++
		r.open = true
		return
	}
	r.note(history.Record{Kind: history.Connected, Session: a.SessionID, TimeoutMS: a.TimeoutMS, Body: a.Passwd})
	r.hangUp("there is a leader")
}

func (r *reader) frame(b []byte) {
	w := r.w
	var h proto.ReplyHeader
	if len(b) < proto.ReplyHeaderSize || proto.Unmarshal(b[:proto.ReplyHeaderSize], &h) != nil {
		w.fail("reader: a frame of %d bytes is no reply", len(b))
		return
	}
	switch _, committed := w.truth.place[consensus.Zxid(h.Zxid)]; {
	case !committed:
		w.fail("I13: reader sees zxid 0x%x, which was never committed", h.Zxid)
		return
	case h.Zxid < r.seen:
		w.fail("I04: reader sees zxid 0x%x behind 0x%x", h.Zxid, r.seen)
		return
	}
	r.seen = h.Zxid
	if h.Xid == proto.XidNotification {
		return
	}
	if want := r.xid - int32(len(r.expect)) + 1; len(r.expect) == 0 || h.Xid != want {
		w.fail("I03: reader is answered %d, and waits for %d", h.Xid, want)
		return
	}
	if h.Err != r.expect[0] {
		w.fail("I07: reader is answered %v, not %v", h.Err, r.expect[0])
		return
	}
	r.expect = r.expect[1:]
}
