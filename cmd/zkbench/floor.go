package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// A floor is a server that does nothing but what a server on this machine can't avoid: it reads
// frames, many per system call, answers each with bytes of the right shape, many per system call,
// and, if it has a log, syncs what it was told to write before it says so, many writes per sync.
// No server that keeps its promises is faster.
type floor struct {
	log  *groupLog     // nil: writes are answered at once
	data []byte        // what every get answers
	mode func() string // what srvr says it is; nil: standalone
	ids  atomic.Int64
	zxid atomic.Int64
}

func (fl *floor) serve(ln net.Listener) error {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			if err := fl.conn(nc); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				fmt.Fprintf(os.Stderr, "zkbench floor: %v: %v\n", nc.RemoteAddr(), err)
			}
		}()
	}
}

func (fl *floor) conn(nc net.Conn) error {
	f := newFrameReader(nc)
	// What a monitor or a starting script sends in place of a handshake.
	var word [4]byte
	if _, err := io.ReadFull(nc, word[:]); err != nil {
		return err
	}
	switch string(word[:]) {
	case "ruok":
		_, err := io.WriteString(nc, "imok")
		return err
	case "srvr", "stat":
		mode := "standalone"
		if fl.mode != nil {
			mode = fl.mode()
		}
		_, err := fmt.Fprintf(nc, "Zookeeper version: 0.0.0-floor, built on 01/01/1970 00:00 UTC\nMode: %s\n", mode)
		return err
	}
	f.z = copy(f.buf, word[:])
	b, err := f.next()
	if err != nil {
		return err
	}
	var req proto.ConnectRequest
	if err := proto.Unmarshal(b, &req); err != nil {
		return err
	}
	id := req.SessionID
	if id == 0 {
		id = fl.ids.Add(1)
	}
	res := proto.ConnectResponse{TimeoutMS: max(req.TimeoutMS, 1), SessionID: id, Passwd: make([]byte, 16), HasReadOnly: req.HasReadOnly}
	if _, err := nc.Write(frame(nil, res.Append)); err != nil {
		return err
	}
	var out, log []byte
	for {
		closing := false
		out, log = out[:0], log[:0]
		b, err := f.next()
		if err != nil {
			return err
		}
		for {
			if len(b) < 8 {
				return fmt.Errorf("request of %d bytes", len(b))
			}
			op := proto.Op(binary.BigEndian.Uint32(b[4:]))
			if fl.log != nil && writes(op) {
				log = append(log, b...)
			}
			out = fl.answer(out, b, op)
			closing = closing || op == proto.OpCloseSession
			if len(out) > bufSize || len(log) > bufSize || !f.buffered() {
				break
			}
			if b, err = f.next(); err != nil {
				return err
			}
		}
		if len(log) > 0 {
			if err := fl.log.commit(log); err != nil {
				fmt.Fprintf(os.Stderr, "zkbench floor: log: %v\n", err)
				os.Exit(1)
			}
		}
		if _, err := nc.Write(out); err != nil || closing {
			return err
		}
		if cap(out) > 1<<20 {
			out = nil
		}
	}
}

func writes(op proto.Op) bool {
	switch op {
	case proto.OpCreate, proto.OpCreate2, proto.OpDelete, proto.OpSetData, proto.OpMulti:
		return true
	}
	return false
}

func (fl *floor) answer(out, b []byte, op proto.Op) []byte {
	at := len(out)
	xid := int32(binary.BigEndian.Uint32(b))
	zxid := fl.zxid.Load()
	if writes(op) {
		zxid = fl.zxid.Add(1)
	}
	out = append(out, 0, 0, 0, 0)
	switch op {
	case proto.OpGetData:
		out = proto.AppendReplyHeader(out, xid, zxid, zkerr.OK)
		out = jute.AppendBuffer(out, fl.data)
		out = append(out, zeroStat[:]...)
	case proto.OpSetData, proto.OpExists:
		out = proto.AppendReplyHeader(out, xid, zxid, zkerr.OK)
		out = append(out, zeroStat[:]...)
	case proto.OpCreate, proto.OpSync:
		d := jute.NewDecoder(b[8:])
		path := d.Buffer()
		if d.Err() != nil {
			out = proto.AppendReplyHeader(out, xid, zxid, zkerr.MarshallingError)
			break
		}
		out = proto.AppendReplyHeader(out, xid, zxid, zkerr.OK)
		out = jute.AppendBuffer(out, path)
	case proto.OpPing, proto.OpDelete, proto.OpCloseSession:
		out = proto.AppendReplyHeader(out, xid, zxid, zkerr.OK)
	default:
		out = proto.AppendReplyHeader(out, xid, zxid, zkerr.Unimplemented)
	}
	binary.BigEndian.PutUint32(out[at:], uint32(len(out)-at-4))
	return out
}

var zeroStat [proto.StatSize]byte

// A groupLog is a file of fixed size, written with zeros beforehand, that is overwritten from its
// beginning when it is full: so a sync writes data and nothing about the file. Whoever comes while
// a sync is under way waits for the next one, which then serves all who came.
type groupLog struct {
	f    *os.File
	size int64

	mu      sync.Mutex
	cond    sync.Cond
	pending []byte
	spare   []byte
	batch   int64 // the batch that pending is
	synced  int64 // the last batch on disk
	syncing bool
	err     error

	off int64 // owned by whoever syncs
}

func newGroupLog(path string, size int64) (*groupLog, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			f.Close()
			return nil, err
		}
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return nil, err
	}
	l := &groupLog{f: f, size: size, batch: 1}
	l.cond.L = &l.mu
	return l, nil
}

// commit returns when b is on disk. The first who comes syncs, for itself and for all behind it:
// nobody is woken up only to do that.
func (l *groupLog) commit(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(l.pending, b...)
	mine := l.batch
	for l.synced < mine && l.err == nil {
		if l.syncing {
			l.cond.Wait()
			continue
		}
		l.syncing = true
		data, batch := l.pending, l.batch
		l.pending = l.spare[:0]
		l.batch++
		l.mu.Unlock()
		err := l.write(data)
		l.mu.Lock()
		l.spare, l.synced, l.err, l.syncing = data, batch, err, false
		l.cond.Broadcast()
	}
	return l.err
}

func (l *groupLog) write(b []byte) error {
	for len(b) > 0 {
		if l.off == l.size {
			l.off = 0
		}
		n := min(int64(len(b)), l.size-l.off)
		if _, err := l.f.WriteAt(b[:n], l.off); err != nil {
			return err
		}
		l.off += n
		b = b[n:]
	}
	return syscall.Fdatasync(int(l.f.Fd()))
}
