package protocol

import (
	"encoding/binary"
	"math"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// A Reader reads the log on disk: the txns above from, up to last, as many as max bytes
// hold, and at least one. If one is not there the error says so.
type Reader interface {
	Read(from, last Zxid, max uint64) ([]Txn, error)
}

// store is raft's view of the log. The end of it is in memory, the rest on disk.
type store struct {
	terms
	hs     pb.HardState
	conf   *pb.ConfState
	last   uint64 // the last entry
	disk   Reader
	failed func(error)
	unread func(error) // what only learners need can't be read

	// window has the entries from first on, up to last. What is not durable is in it.
	window  []*pb.Entry
	first   uint64
	bytes   int
	max     int
	durable uint64
	// saved is the entry that the newest snapshot is at: below it nothing is read to start
	// from. keep says how many entries below it are still for learners. What is above hold,
	// if that is not 0, is for one that was sent a state at it.
	saved, keep, low, hold uint64
}

var _ raft.Storage = (*store)(nil)

func (s *store) InitialState() (*pb.HardState, *pb.ConfState, error) {
	return proto.Clone(&s.hs).(*pb.HardState), s.conf, nil
}

func (s *store) LastIndex() (uint64, error) { return s.last, nil }

func (s *store) FirstIndex() (uint64, error) {
	if s.saved > s.keep {
		low := s.saved - s.keep
		if s.hold != 0 {
			low = min(low, s.hold)
		}
		s.low = max(s.low, low)
	}
	s.low = max(s.low, s.base.Index)
	return s.low + 1, nil
}

func (s *store) Term(i uint64) (uint64, error) {
	first, _ := s.FirstIndex()
	switch {
	case i+1 < first:
		return 0, raft.ErrCompacted
	case i > s.last:
		return 0, raft.ErrUnavailable
	}
	return s.term(i), nil
}

func (s *store) Snapshot() (*pb.Snapshot, error) {
	// What is sent is the state at the moment when it is sent.
	return &pb.Snapshot{Metadata: &pb.SnapshotMetadata{ConfState: s.conf, Index: new(s.saved), Term: new(s.term(s.saved))}}, nil
}

func (s *store) Entries(lo, hi, max uint64) ([]*pb.Entry, error) {
	first, _ := s.FirstIndex()
	switch {
	case lo < first:
		return nil, raft.ErrCompacted
	case hi > s.last+1:
		return nil, raft.ErrUnavailable
	}
	if lo >= s.first {
		return limit(s.window[lo-s.first:hi-s.first], max), nil
	}
	ents, err := s.read(lo, min(hi, s.first), max)
	if err != nil {
		if lo <= s.saved {
			// It is not needed here: a snapshot will do.
			s.unread(err)
			s.low = s.saved
			return nil, raft.ErrCompacted
		}
		s.failed(err)
		return nil, raft.ErrUnavailable
	}
	return ents, nil
}

// limit is as many entries as max bytes hold, and at least one.
func limit(ents []*pb.Entry, max uint64) []*pb.Entry {
	n, size := 0, uint64(0)
	for n < len(ents) {
		size += uint64(len(ents[n].GetData())) + entryCost
		if n > 0 && size > max {
			break
		}
		n++
	}
	return append([]*pb.Entry(nil), ents[:n]...)
}

// entryCost is what an entry takes beside its data.
const entryCost = 32

// read reads entries from the disk.
func (s *store) read(lo, hi, max uint64) ([]*pb.Entry, error) {
	var ents []*pb.Entry
	var txns []Txn
	from, last := s.zxid(lo-1), s.zxid(hi-1)
	for i := lo; i < hi; i++ {
		z := s.id(i)
		if z.Counter() == 0 {
			ents = append(ents, &pb.Entry{Term: new(s.term(i)), Index: new(i)})
			continue
		}
		if len(txns) == 0 {
			if len(ents) > 0 && max == 0 {
				break
			}
			var err error
			if txns, err = s.disk.Read(from, last, min(max, math.MaxInt64)); err != nil {
				if len(ents) > 0 {
					break
				}
				return nil, err
			}
			max = 0 // one read is enough
		}
		ents = append(ents, &pb.Entry{Term: new(s.term(i)), Index: new(i), Data: txns[0].Data})
		from = z
		txns = txns[1:]
	}
	return ents, nil
}

// append takes entries in, over those that have their indexes.
func (s *store) append(ents []*pb.Entry) {
	lo := ents[0].GetIndex()
	if lo <= s.last {
		s.truncate(lo - 1)
	}
	for _, e := range ents {
		if len(e.GetData()) == 0 {
			s.starts = append(s.starts, Start{e.GetTerm(), e.GetIndex()})
		}
		s.bytes += len(e.GetData()) + entryCost
	}
	s.window = append(s.window, ents...)
	s.last = ents[len(ents)-1].GetIndex()
}

func (s *store) truncate(index uint64) {
	s.terms.truncate(index)
	n := 0
	if index >= s.first {
		n = int(index + 1 - s.first)
	}
	for _, e := range s.window[min(n, len(s.window)):] {
		s.bytes -= len(e.GetData()) + entryCost
	}
	if n < len(s.window) {
		s.window = append([]*pb.Entry(nil), s.window[:n]...)
	}
	s.last = index
	s.first = min(s.first, index+1)
	s.durable = min(s.durable, index)
}

// trim forgets what is on disk and more than the window is for. Up to done the node has
// it.
func (s *store) trim(done uint64) {
	n := 0
	for n < len(s.window) && s.bytes > s.max && s.first+uint64(n) <= min(s.durable, done) {
		s.bytes -= len(s.window[n].GetData()) + entryCost
		n++
	}
	if n == 0 {
		return
	}
	clear(s.window[:n])
	s.window = s.window[n:]
	s.first += uint64(n)
}

// headerZxid is the zxid that a txn says it has.
func headerZxid(data []byte) (Zxid, bool) {
	if len(data) < 32 {
		return 0, false
	}
	return Zxid(binary.BigEndian.Uint64(data[12:])), true
}
