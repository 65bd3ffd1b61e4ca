package txnlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/adler32"
	"io"
	"strconv"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// digestVersion is the version of the tree digest that is in use since 3.6.
const digestVersion = 2

// maxField is the longest string or buffer that a snapshot may hold. The memory
// for one grows with the bytes that arrive, so it need not be small.
const maxField = 256 << 20

// A Trailer is what follows the nodes of a snapshot file, as far as it does.
type Trailer struct {
	// HasDigest: the digest section is there. Digest is the tree's at DigestZxid,
	// by that version of the algorithm; for a version below 2 it is not set.
	HasDigest     bool
	DigestZxid    consensus.Zxid
	DigestVersion int32
	Digest        uint64
	// HasLastZxid: the last section is there.
	HasLastZxid bool
	LastZxid    consensus.Zxid
}

// A SnapshotReader reads one snapshot as a stream: Sessions, ACLs, Nodes and
// Finish are called in this order, each once. What it read counts only when
// Finish has returned nil. Memory is bounded by the largest node.
type SnapshotReader struct {
	r    *bufio.Reader
	form Form
	sum  hash.Hash32
	off  int64
	err  error

	scratch [16 + statSize]byte
	buf     []byte
	stage   stage
}

// NewSnapshotReader begins to read a snapshot. Of a *bufio.Reader it consumes no
// byte more than the snapshot; of another reader it may, since it buffers.
func NewSnapshotReader(r io.Reader, form Form) *SnapshotReader {
	br, ok := r.(*bufio.Reader)
	if !ok {
		br = bufio.NewReaderSize(r, snapshotBuffer)
	}
	return &SnapshotReader{r: br, form: form, sum: adler32.New()}
}

func (s *SnapshotReader) fail(err error) error {
	if s.err == nil && err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		s.err = fmt.Errorf("snapshot, at offset %d: %w", s.off, err)
	}
	return s.err
}

// read fills b, which the checksum then covers.
func (s *SnapshotReader) read(b []byte) bool {
	if s.err != nil {
		return false
	}
	n, err := io.ReadFull(s.r, b)
	if s.form == FileForm {
		s.sum.Write(b[:n])
	}
	s.off += int64(n)
	return s.fail(err) == nil
}

func (s *SnapshotReader) int() int32 {
	if !s.read(s.scratch[:4]) {
		return 0
	}
	return int32(binary.BigEndian.Uint32(s.scratch[:]))
}

func (s *SnapshotReader) long() int64 {
	if !s.read(s.scratch[:8]) {
		return 0
	}
	return int64(binary.BigEndian.Uint64(s.scratch[:]))
}

// bytes reads a buffer or a string into memory that the next call uses again; a
// null one is nil.
func (s *SnapshotReader) bytes() []byte {
	n := s.int()
	if s.err != nil || n == -1 {
		return nil
	}
	if n < 0 || n > maxField {
		s.fail(fmt.Errorf("unreasonable length %d", n))
		return nil
	}
	// Memory follows the bytes: a length alone buys no more than a step.
	const step = 64 << 10
	b := s.buf[:0]
	if b == nil {
		b = make([]byte, 0, 1024)
	}
	for len(b) < int(n) {
		k := min(int(n)-len(b), max(step, len(b)))
		if cap(b)-len(b) < k {
			nb := make([]byte, len(b), len(b)+k)
			copy(nb, b)
			b = nb
		}
		if !s.read(b[len(b) : len(b)+k]) {
			return nil
		}
		b = b[:len(b)+k]
	}
	s.buf = b
	return b
}

func (s *SnapshotReader) string() string { return string(s.bytes()) }

func (s *SnapshotReader) count() int {
	n := s.int()
	if s.err == nil && n < -1 {
		s.fail(fmt.Errorf("unreasonable count %d", n))
	}
	return int(n)
}

func (s *SnapshotReader) enter(from, to stage, what string) bool {
	if s.err == nil && s.stage != from {
		s.err = fmt.Errorf("txnlog: snapshot reader: %s out of turn", what)
	}
	s.stage = to
	return s.err == nil
}

// Sessions calls fn for each session.
func (s *SnapshotReader) Sessions(fn func(id int64, timeoutMS int32) error) error {
	if !s.enter(stageSessions, stageACL, "Sessions") {
		return s.err
	}
	if s.form == FileForm {
		if magic := s.int(); s.err == nil && magic != snapMagic {
			return s.fail(errors.New("not a snapshot: wrong magic number"))
		}
		if v := s.int(); s.err == nil && unknownVersion(v) {
			s.fail(&FormatError{"snapshot", v})
		}
		s.long() // dbid
	}
	for n := s.count(); n > 0 && s.err == nil; n-- {
		id, timeout := s.long(), s.int()
		if s.err == nil {
			if err := fn(id, timeout); err != nil {
				return s.fail(err)
			}
		}
	}
	return s.err
}

// ACLs calls fn for each entry of the ACL map; acl is fn's to keep.
func (s *SnapshotReader) ACLs(fn func(key int64, acl []jute.ACL) error) error {
	if !s.enter(stageACL, stageNode, "ACLs") {
		return s.err
	}
	for n := s.count(); n > 0 && s.err == nil; n-- {
		key := s.long()
		acl := s.acls()
		if s.err == nil {
			if err := fn(key, acl); err != nil {
				return s.fail(err)
			}
		}
	}
	return s.err
}

func (s *SnapshotReader) acls() []jute.ACL {
	n := s.count()
	if n < 0 || s.err != nil {
		return nil
	}
	acl := []jute.ACL{}
	for ; n > 0 && s.err == nil; n-- {
		a := jute.ACL{Perms: s.int()}
		a.Scheme = s.string()
		a.ID = s.string()
		acl = append(acl, a)
	}
	return acl
}

// Nodes calls fn for each node. The node and its data are valid during the call.
func (s *SnapshotReader) Nodes(fn func(n *Node) error) error {
	if !s.enter(stageNode, stageDigest, "Nodes") {
		return s.err
	}
	var n Node
	for s.err == nil {
		n.Path = s.string()
		if s.err != nil {
			break
		}
		if n.Path == "/" {
			if s.form == FileForm {
				s.seal()
			}
			break
		}
		n.Data = s.bytes()
		tail := s.scratch[:8+statSize]
		if !s.read(tail) {
			break
		}
		n.ACL = int64(binary.BigEndian.Uint64(tail))
		parseStat(tail[8:], &n.Stat)
		if err := fn(&n); err != nil {
			return s.fail(err)
		}
	}
	return s.err
}

// seal reads a seal and holds it against what was read.
func (s *SnapshotReader) seal() {
	at, want := s.off, int64(s.sum.Sum32())
	got := s.long()
	end := s.bytes()
	switch {
	case s.err != nil:
	case got != want:
		s.err = fmt.Errorf("snapshot, at offset %d: checksum is %#x, content has %#x", at, got, want)
	case string(end) != "/":
		s.err = fmt.Errorf("snapshot, at offset %d: no end behind the checksum", at)
	}
}

// more says whether another section follows.
func (s *SnapshotReader) more() bool {
	if s.err != nil {
		return false
	}
	_, err := s.r.Peek(1)
	if err == io.EOF {
		return false
	}
	return s.fail(err) == nil
}

// Finish reads what follows the nodes. A nil error means that the snapshot is
// whole and was read whole.
func (s *SnapshotReader) Finish() (Trailer, error) {
	var t Trailer
	if !s.enter(stageDigest, stageEnd, "Finish") {
		return t, s.err
	}
	if s.form == StreamForm {
		if sig := s.bytes(); s.err == nil && string(sig) != signature {
			s.fail(fmt.Errorf("the signature is %q", clip(sig)))
		}
		return t, s.err
	}
	if !s.more() {
		return t, s.err
	}
	zxid := consensus.Zxid(s.long())
	at, sum := s.off, s.sum.Sum32()
	t.DigestVersion = s.int()
	if t.DigestVersion == 0 && s.err == nil {
		// There is no such version: it is the upper half of a seal. Who keeps no digest
		// writes the last section alone.
		if got := uint32(s.int()); s.err == nil && got != sum {
			s.err = fmt.Errorf("snapshot, at offset %d: checksum is %#x, content has %#x", at, got, sum)
		}
		if end := s.bytes(); s.err == nil && string(end) != "/" {
			s.err = fmt.Errorf("snapshot, at offset %d: no end behind the checksum", at)
		}
		if s.err == nil {
			t.LastZxid, t.HasLastZxid = zxid, true
		}
		return t, s.err
	}
	t.DigestZxid = zxid
	if t.DigestVersion >= digestVersion {
		t.Digest = uint64(s.long())
	} else if hex := s.bytes(); s.err == nil {
		if _, err := strconv.ParseUint(string(hex), 16, 64); err != nil {
			s.fail(fmt.Errorf("digest %q of version %d", clip(hex), t.DigestVersion))
		}
	}
	s.seal()
	t.HasDigest = s.err == nil
	if !s.more() {
		return t, s.err
	}
	t.LastZxid = consensus.Zxid(s.long())
	s.seal()
	t.HasLastZxid = s.err == nil
	return t, s.err
}
