package zab

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

var errStream = errors.New("snapshot stream is malformed")

// A snapStream reads the snapshot that follows a SNAP packet, and ends where it ends.
// The stream has no length, so it must be followed through its records; that way
// whoever reads may read ahead, and what follows is still there for us.
//
//	count int, sessions: id long, timeout int
//	count int, ACLs: key long, count int, entries: perms int, scheme and id ustring
//	nodes: path ustring, data buffer, ACL key long, stat of 60 bytes; the last path is "/"
//	signature ustring
type snapStream struct {
	r     *bufio.Reader
	begin func() // called before each read that may wait
	part  snapPart
	left  int64 // bytes that pass before the next part
	acls  int32
	ids   int32
}

type snapPart uint8

const (
	partSessions snapPart = iota
	partACLs
	partACL
	partEntry
	partEntryID
	partPath
	partData
	partSignature
	partEnd
)

const (
	sessionSize = 8 + 4
	nodeTail    = 8 + 60 // ACL key and stat
)

func (s *snapStream) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if s.left == 0 {
			if s.part == partEnd {
				break
			}
			if n > 0 && s.r.Buffered() < 12 {
				break // what is here is enough: don't wait for more
			}
			if err := s.next(); err != nil {
				return n, err
			}
			continue
		}
		if n > 0 && s.r.Buffered() == 0 {
			break
		}
		s.begin()
		k, err := s.r.Read(p[n:min(int64(len(p)), int64(n)+s.left)])
		n += k
		s.left -= int64(k)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return n, err
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// next looks at the next part without taking it, and says how long it is.
func (s *snapStream) next() error {
	switch s.part {
	case partSessions:
		n, err := s.count(0)
		if err != nil {
			return err
		}
		s.left, s.part = 4+sessionSize*int64(n), partACLs
	case partACLs:
		n, err := s.count(0)
		if err != nil {
			return err
		}
		s.left, s.acls, s.part = 4, n, partACL
	case partACL:
		if s.acls == 0 {
			s.part = partPath
			return nil
		}
		n, err := s.count(8)
		if err != nil {
			return err
		}
		s.acls--
		s.left, s.ids, s.part = 8+4, n, partEntry
	case partEntry:
		if s.ids == 0 {
			s.part = partACL
			return nil
		}
		n, err := s.count(4)
		if err != nil {
			return err
		}
		s.left, s.part = 4+4+int64(n), partEntryID
	case partEntryID:
		n, err := s.count(0)
		if err != nil {
			return err
		}
		s.ids--
		s.left, s.part = 4+int64(n), partEntry
	case partPath:
		n, err := s.count(0)
		if err != nil {
			return err
		}
		s.left, s.part = 4+int64(n), partData
		if n == 1 {
			b, err := s.peek(5)
			if err != nil {
				return err
			}
			if b[4] == '/' {
				s.part = partSignature
			}
		}
	case partData:
		n, err := s.count(0)
		if err != nil {
			return err
		}
		s.left, s.part = 4+int64(n)+nodeTail, partPath
	case partSignature:
		n, err := s.count(0)
		if err != nil {
			return err
		}
		if n > 64 {
			return errStream
		}
		s.left, s.part = 4+int64(n), partEnd
	}
	return nil
}

// count is the count or length that stands skip bytes ahead; null is 0.
func (s *snapStream) count(skip int) (int32, error) {
	b, err := s.peek(skip + 4)
	if err != nil {
		return 0, err
	}
	n := int32(binary.BigEndian.Uint32(b[skip:]))
	if n < -1 {
		return 0, errStream
	}
	return max(n, 0), nil
}

func (s *snapStream) peek(n int) ([]byte, error) {
	if s.r.Buffered() < n {
		s.begin()
	}
	b, err := s.r.Peek(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}
