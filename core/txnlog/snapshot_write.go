package txnlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/adler32"
	"io"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/plugins/consensus"
)

const (
	snapMagic   = 0x5A4B534E // "ZKSN"
	snapVersion = 2

	snapshotBuffer = 256 << 10
	signature      = "BenWasHere"
)

// A Form is one of the two shapes of a snapshot.
type Form uint8

// The forms.
const (
	// FileForm is a snapshot file: header, content, seals.
	FileForm Form = iota
	// StreamForm is what follows a SNAP packet: content and signature.
	StreamForm
)

// A Stat is a node's stat as it is stored.
type Stat struct {
	Czxid, Mzxid                int64
	Ctime, Mtime                int64
	Version, Cversion, Aversion int32
	EphemeralOwner, Pzxid       int64
}

const statSize = 4*8 + 3*4 + 2*8

func appendStat(b []byte, s *Stat) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(s.Czxid))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Mzxid))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Ctime))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Mtime))
	b = binary.BigEndian.AppendUint32(b, uint32(s.Version))
	b = binary.BigEndian.AppendUint32(b, uint32(s.Cversion))
	b = binary.BigEndian.AppendUint32(b, uint32(s.Aversion))
	b = binary.BigEndian.AppendUint64(b, uint64(s.EphemeralOwner))
	return binary.BigEndian.AppendUint64(b, uint64(s.Pzxid))
}

func parseStat(b []byte, s *Stat) {
	_ = b[statSize-1]
	s.Czxid = int64(binary.BigEndian.Uint64(b))
	s.Mzxid = int64(binary.BigEndian.Uint64(b[8:]))
	s.Ctime = int64(binary.BigEndian.Uint64(b[16:]))
	s.Mtime = int64(binary.BigEndian.Uint64(b[24:]))
	s.Version = int32(binary.BigEndian.Uint32(b[32:]))
	s.Cversion = int32(binary.BigEndian.Uint32(b[36:]))
	s.Aversion = int32(binary.BigEndian.Uint32(b[40:]))
	s.EphemeralOwner = int64(binary.BigEndian.Uint64(b[44:]))
	s.Pzxid = int64(binary.BigEndian.Uint64(b[52:]))
}

// A Node is a znode in a snapshot.
type Node struct {
	Path string // "" is the root
	Data []byte // nil is null, which is not empty
	ACL  int64  // key of the ACL map; -1 is world:anyone with all permissions
	Stat Stat
}

// A SnapshotWriter writes one snapshot. Its methods are called in this order:
//
//	Sessions, Session for each, ACLs, ACL for each, Node for each with parents
//	before children and the root first, then Digest and LastZxid, or the first of
//	them, or neither, then Close
//
// The first error is kept; Close returns it. Nothing is durable by Close.
type SnapshotWriter struct {
	w    io.Writer
	form Form
	buf  []byte
	sum  hash.Hash32
	n    int64 // bytes flushed
	err  error

	stage stage
	left  int // sessions or ACLs that must follow
}

type stage uint8

const (
	stageSessions stage = iota
	stageSession
	stageACL
	stageNode
	stageDigest
	stageLast
	stageEnd
)

// NewSnapshotWriter begins a snapshot. It buffers by itself.
func NewSnapshotWriter(w io.Writer, form Form) *SnapshotWriter {
	s := &SnapshotWriter{w: w, form: form, sum: adler32.New(), buf: make([]byte, 0, snapshotBuffer)}
	if form == FileForm {
		s.buf = binary.BigEndian.AppendUint32(s.buf, snapMagic)
		s.buf = binary.BigEndian.AppendUint32(s.buf, snapVersion)
		s.buf = binary.BigEndian.AppendUint64(s.buf, ^uint64(0))
	}
	return s
}

// at checks the order of calls.
func (s *SnapshotWriter) at(ok bool, what string) bool {
	if s.err == nil && !ok {
		s.err = fmt.Errorf("txnlog: snapshot writer: %s out of turn", what)
	}
	return s.err == nil
}

func (s *SnapshotWriter) flush() {
	if s.err != nil || len(s.buf) == 0 {
		return
	}
	if s.form == FileForm {
		s.sum.Write(s.buf)
	}
	_, s.err = s.w.Write(s.buf)
	s.n += int64(len(s.buf))
	if cap(s.buf) > 4*snapshotBuffer {
		s.buf = make([]byte, 0, snapshotBuffer)
	}
	s.buf = s.buf[:0]
}

func (s *SnapshotWriter) room() {
	if len(s.buf) >= snapshotBuffer-4096 {
		s.flush()
	}
}

// Sessions says how many sessions follow.
func (s *SnapshotWriter) Sessions(n int) {
	if s.at(s.stage == stageSessions, "Sessions") {
		s.buf = jute.AppendInt(s.buf, int32(n))
		s.stage, s.left = stageSession, n
	}
}

// Session writes a session.
func (s *SnapshotWriter) Session(id int64, timeoutMS int32) {
	if s.at(s.stage == stageSession && s.left > 0, "Session") {
		s.buf = jute.AppendLong(s.buf, id)
		s.buf = jute.AppendInt(s.buf, timeoutMS)
		s.left--
		s.room()
	}
}

// ACLs says how many entries of the ACL map follow.
func (s *SnapshotWriter) ACLs(n int) {
	if s.at(s.stage == stageSession && s.left == 0, "ACLs") {
		s.buf = jute.AppendInt(s.buf, int32(n))
		s.stage, s.left = stageACL, n
	}
}

// ACL writes an entry of the ACL map.
func (s *SnapshotWriter) ACL(key int64, acl []jute.ACL) {
	if s.at(s.stage == stageACL && s.left > 0, "ACL") {
		s.buf = jute.AppendLong(s.buf, key)
		s.buf = jute.AppendACLs(s.buf, acl)
		s.left--
		s.room()
	}
}

// Node writes a node.
func (s *SnapshotWriter) Node(n *Node) error {
	if s.stage == stageACL && s.left == 0 {
		s.stage = stageNode
	}
	if s.at(s.stage == stageNode && n.Path != "/", "Node") {
		s.buf = jute.AppendString(s.buf, n.Path)
		s.buf = jute.AppendBuffer(s.buf, n.Data)
		s.buf = jute.AppendLong(s.buf, n.ACL)
		s.buf = appendStat(s.buf, &n.Stat)
		s.room()
	}
	return s.err
}

// endNodes writes what follows the last node.
func (s *SnapshotWriter) endNodes() {
	if s.stage == stageACL && s.left == 0 {
		s.stage = stageNode
	}
	if s.stage != stageNode {
		return
	}
	s.buf = jute.AppendString(s.buf, "/")
	if s.form == FileForm {
		s.seal()
		s.stage = stageDigest
	} else {
		s.buf = jute.AppendString(s.buf, signature)
		s.stage = stageEnd
	}
}

func (s *SnapshotWriter) seal() {
	s.flush()
	s.buf = jute.AppendLong(s.buf, int64(s.sum.Sum32()))
	s.buf = jute.AppendString(s.buf, "/")
}

// Digest writes the digest section of a file: the tree digest at zxid, or zeros
// if none is known.
func (s *SnapshotWriter) Digest(zxid consensus.Zxid, digest uint64) {
	s.endNodes()
	if s.at(s.stage == stageDigest, "Digest") {
		s.buf = jute.AppendLong(s.buf, int64(zxid))
		s.buf = jute.AppendInt(s.buf, digestVersion)
		s.buf = jute.AppendLong(s.buf, int64(digest))
		s.seal()
		s.stage = stageLast
	}
}

// LastZxid writes the last section of a file. A file without a digest section
// can't have it: readers would take it for one.
func (s *SnapshotWriter) LastZxid(zxid consensus.Zxid) {
	if s.at(s.stage == stageLast, "LastZxid") {
		s.buf = jute.AppendLong(s.buf, int64(zxid))
		s.seal()
		s.stage = stageEnd
	}
}

// Close ends the snapshot. It does not close the writer underneath.
func (s *SnapshotWriter) Close() error {
	s.endNodes()
	if s.at(s.stage >= stageDigest, "Close") {
		s.flush()
	}
	err := s.err
	if err == nil {
		s.err = errors.New("txnlog: snapshot writer: used after Close")
	}
	return err
}

// Written is the number of bytes that went out so far, uncompressed.
func (s *SnapshotWriter) Written() int64 { return s.n }
