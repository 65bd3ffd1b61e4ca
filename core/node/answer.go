package node

import (
	"encoding/binary"

	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// answer appends the reply to e, which waits for nothing.
func (cl *client) answer(out []byte, e *entry) []byte {
	zxid := cl.n.engine.LastZxid()
	op := e.op
	switch e.kind {
	case kRead:
		return cl.read(out, e, zxid)
	case kPing:
		out = appendReply(out, proto.XidPing, zxid, zkerr.OK, nil)
	case kSync:
		out = appendReply(out, e.xid, zxid, zkerr.OK, e.body)
	case kRewatch:
		var body []byte
		if isCount(e.op) {
			body, zxid = jute.AppendInt(nil, e.count), e.zxid
		}
		out = cl.tellLate(appendReply(out, e.xid, zxid, e.code, body))
		if e.code != zkerr.OK {
			op = int32(proto.OpError)
		}
	case kSASL:
		out = appendReply(out, e.xid, 0, zkerr.OK, nullToken)
	case kReply:
		switch {
		case proto.Op(e.op) == proto.OpAuth:
			zxid = 0
		case e.code == zkerr.Unimplemented && e.last:
			zxid = -1
		}
		out = appendReply(out, e.xid, zxid, e.code, nil)
		if e.code != zkerr.OK {
			op = int32(proto.OpError)
		}
	case kOpen:
		out = cl.welcome(out)
	case kClose:
		out = appendReply(out, e.xid, zxid, zkerr.OK, nil)
		cl.n.closeLocal(cl.session)
		e.last = true
	case kReclaim:
		out = cl.answerReclaim(out, e.ok)
		op = int32(proto.OpCreateSession)
		if !e.ok {
			e.last = true
		}
	}
	cl.stats.answered(op, e.xid, zxid)
	if e.last {
		cl.deaf = true
		cl.c.CloseSent()
	}
	return out
}

var nullToken = []byte{0xff, 0xff, 0xff, 0xff}

// read lets the engine append its record behind a header, which is filled in
// afterwards.
func (cl *client) read(out []byte, e *entry, zxid int64) []byte {
	n := cl.n
	r := engine.ReadRequest{Session: cl.session, Watcher: cl.c.ID, Auth: cl.knownAs(e), Op: e.op, Body: e.body}
	watches := engine.SetsWatch(e.op, e.body)
	if watches {
		n.watchMu.Lock()
	}
	var at int
	var code zkerr.Code
	if op := proto.Op(e.op); op == proto.OpSetWatches || op == proto.OpSetWatches2 {
		// Their reply has no record, but events may come before it, through the
		// same buffer.
		cl.c.SetOut(out)
		_, code = n.engine.Read(nil, &r, (*readSink)(cl))
		out = cl.c.Out()
		at = len(out)
		out = append(out, noHeader[:]...)
	} else {
		at = len(out)
		out = append(out, noHeader[:]...)
		out, code = n.engine.Read(out, &r, (*readSink)(cl))
	}
	if watches {
		n.watchMu.Unlock()
	}
	h := out[at:]
	cl.stats.sizes.see(len(h) - 4)
	cl.replySize += (len(h) - cl.replySize) / 8
	binary.BigEndian.PutUint32(h, uint32(len(h)-4))
	binary.BigEndian.PutUint32(h[4:], uint32(e.xid))
	binary.BigEndian.PutUint64(h[8:], uint64(zxid))
	binary.BigEndian.PutUint32(h[16:], uint32(code))
	op := e.op
	if code != zkerr.OK {
		op = int32(proto.OpError)
	}
	cl.stats.answered(op, e.xid, zxid)
	return out
}

var noHeader [4 + proto.ReplyHeaderSize]byte

// appendReply appends a whole reply frame.
func appendReply(out []byte, xid int32, zxid int64, code zkerr.Code, body []byte) []byte {
	if code != zkerr.OK {
		body = nil
	}
	out = binary.BigEndian.AppendUint32(out, uint32(proto.ReplyHeaderSize+len(body)))
	out = proto.AppendReplyHeader(out, xid, zxid, code)
	return append(out, body...)
}

// readSink takes the events of setWatches: they go to the client that asked.
type readSink client

func (s *readSink) Event(_ uint64, zxid int64, typ int32, path string) {
	s.c.SetOut(appendEvent(s.c.Out(), zxid, typ, path))
	s.stats.sent++
}

func (s *readSink) Auth(uint64) []consensus.Identity { return s.auth }

func (s *readSink) Waits(int64, int32) ([]byte, bool) { return nil, false }
func (s *readSink) Wrote(int64, int32)                {}

func (s *readSink) Reply(int64, int32, int64, int32, zkerr.Code, []byte) {}

func (s *readSink) Enough() bool { return false }

func (s *readSink) SessionOpened(int64, int32) {}

func (s *readSink) SessionClosed(int64) {}

// appendEvent appends a notification frame.
func appendEvent(out []byte, zxid int64, typ int32, path string) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(proto.ReplyHeaderSize+4+4+4+len(path)))
	out = proto.AppendReplyHeader(out, proto.XidNotification, zxid, zkerr.OK)
	out = binary.BigEndian.AppendUint32(out, uint32(typ))
	out = binary.BigEndian.AppendUint32(out, uint32(proto.StateSyncConnected))
	out = binary.BigEndian.AppendUint32(out, uint32(len(path)))
	return append(out, path...)
}
