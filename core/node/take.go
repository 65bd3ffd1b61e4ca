package node

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/zkcore/zkcore/core/engine"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

var (
	errHeader = errors.New("frame too short for a request header")
	errMoved  = errors.New("the session has moved to another server")
)

// take answers or queues the requests in b, as many as may be.
func (cl *client) take(b []byte, now int64) (taken int, err error) {
	n := cl.n
	sent := cl.stats.sent
	var kept []byte // copy of the frames from keptAt on, for those that wait
	var keptAt, frames, answered int
	out := cl.c.Out()
	enough := len(out) + replyBatch
	for taken < len(b) {
		if taken > 0 && (len(out) >= enough || cl.Blocked()) {
			break
		}
		size := int(binary.BigEndian.Uint32(b[taken:]))
		frame := b[taken+4 : taken+4+size]
		if size < proto.RequestHeaderSize {
			err = errHeader
			break
		}
		at := taken
		taken += 4 + size
		frames++
		if cl.deaf {
			continue
		}
		large := n.conns.IsLarge(size)
		if large {
			if err = n.conns.TakeLarge(size); err != nil {
				break
			}
		}
		e := entry{
			xid:  int32(binary.BigEndian.Uint32(frame)),
			op:   int32(binary.BigEndian.Uint32(frame[4:])),
			body: frame[8:],
			at:   now,

			known: uint8(len(cl.auth)),
		}
		cl.classify(&e)
		switch {
		case e.kind == kPing && !n.serving:
			out = cl.answer(cl.tellLate(out), &e) // it tells that the server is there, not who leads
			cl.pinged = true
			answered++
			if large {
				n.conns.GiveLarge(size)
			}
		case (cl.fifo.n == 0 || simbug.On("read-overtakes-write")) && !e.kind.waits() && cl.served():
			if out = cl.answer(out, &e); e.kind == kRead || e.kind == kPing {
				answered++
			}
			if large {
				n.conns.GiveLarge(size)
			}
		default:
			if large {
				e.large = int32(size)
			}
			if len(e.body) > 0 {
				if taken > keptAt+len(kept) || kept == nil {
					kept, keptAt = bytes.Clone(b[at:window(b, at)]), at
				}
				from := at - keptAt + 4 + proto.RequestHeaderSize
				e.body = kept[from : from+len(e.body)] // classify may have left less than there was
			}
			cl.push(&e)
		}
	}
	cl.c.SetOut(out)
	cl.stats.received += int64(frames)
	n.received.Add(int64(frames))
	n.sent.Add(cl.stats.sent - sent)
	if answered > 0 {
		cl.measure(answered, now, &n.reads, "readlatency")
	}
	return taken, err
}

// window returns the end of the frame at which a copy of b[at:] may end.
func window(b []byte, at int) int {
	end := at
	for end < len(b) && end-at < copyAhead {
		end += 4 + int(binary.BigEndian.Uint32(b[end:]))
	}
	return end
}

// classify says what is to become of a request, and checks what can be checked.
func (cl *client) classify(e *entry) {
	refuse := func(code zkerr.Code) { e.kind, e.code, e.body = kReply, code, nil }
	switch op := proto.Op(e.op); {
	case op == proto.OpPing:
		e.kind, e.body = kPing, nil
	case op == proto.OpCloseSession && cl.isLocal():
		e.kind, e.body = kClose, nil
		cl.deaf = true
	case cl.onlyReads() && (engine.IsWrite(e.op) || op == proto.OpSync) && engine.Known(e.op):
		refuse(zkerr.NotReadOnly)
	case engine.IsWrite(e.op) && engine.Known(e.op):
		e.kind = kWrite
		if op == proto.OpCloseSession {
			e.body = nil
			cl.deaf = true // nothing is executed behind it
		} else if code := cl.n.engine.Check(e.op, e.body); code != zkerr.OK {
			refuse(code)
		} else if cl.isLocal() {
			cl.writeLocal(e)
		}
	case op == proto.OpSync:
		e.kind = kSync
		if n := pathLen(e.body); n < 0 {
			refuse(zkerr.MarshallingError)
		} else {
			e.body = e.body[:n]
		}
	case op == proto.OpAuth:
		refuse(cl.authenticate(e.body))
		if e.code != zkerr.OK {
			e.last, cl.deaf = true, true
		}
	case op == proto.OpSASL:
		e.kind, e.body = kSASL, nil
	case engine.Known(e.op):
		if e.kind = kRead; cl.isLong(e) {
			e.kind = kRewatch
		}
	default:
		refuse(zkerr.Unimplemented)
		e.last, cl.deaf = true, true
		cl.n.conns.Warn("connection closed", "client", cl.c.RemoteAddr(), "of", cl.Describe(), "why", "no such operation", "op", e.op)
	}
}

// pathLen is the length of the string at the front of b, which may be null; -1 if
// there is none.
func pathLen(b []byte) int {
	if len(b) < 4 {
		return -1
	}
	n := int(int32(binary.BigEndian.Uint32(b)))
	switch {
	case n == -1:
		return 4
	case n < 0, n > len(b)-4:
		return -1
	}
	return 4 + n
}

// authenticate adds identities, for all that is read behind it.
func (cl *client) authenticate(body []byte) zkerr.Code {
	var p proto.AuthPacket
	if err := proto.Unmarshal(body, &p); err != nil {
		return zkerr.CodeOf(err)
	}
	ids, code := cl.n.engine.Authenticate(p.Scheme, p.Auth, cl.ipString())
	if code != zkerr.OK {
		cl.n.authFailed.Add(1)
		cl.n.conns.Warn("authentication failed", "client", cl.c.RemoteAddr(), "of", cl.Describe(), "scheme", schemeForLog(p.Scheme))
		return code
	}
	auth, size := cl.auth, 0
	for _, have := range auth {
		size += len(have.Scheme) + len(have.ID)
	}
next:
	for _, id := range ids {
		for _, have := range auth {
			if have == id {
				continue next
			}
		}
		if size += len(id.Scheme) + len(id.ID); size > maxIdentityBytes || len(auth) == maxIdentities {
			return zkerr.AuthFailed
		}
		auth = append(auth[:len(auth):len(auth)], id) // a copy: requests hold the old one
	}
	cl.auth = auth
	return zkerr.OK
}

// schemeForLog is a scheme as a log line may have it: what a client sends in its place can
// be a megabyte, or its password.
func schemeForLog(scheme string) string {
	switch scheme {
	case "digest", "ip", "sasl", "x509", "super", "world", "auth", "host":
		return scheme
	}
	return "unknown"
}

// maxIdentities and maxIdentityBytes bound what a connection can be known as: each write carries it. A user's
// name may be as long as a frame, and what a follower forwards must not be longer than its leader takes.
const (
	maxIdentities    = 64
	maxIdentityBytes = 16 << 10
)

// knownAs is what the client was known as when it asked for e.
func (cl *client) knownAs(e *entry) []consensus.Identity { return cl.auth[:e.known:e.known] }
