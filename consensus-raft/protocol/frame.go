package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// Version is that of the frames. Servers of different versions don't talk.
const Version = 1

// A Kind says what a frame is.
type Kind uint8

// The kinds. On the election port there are only the first three.
const (
	Hello Kind = iota + 1 // who speaks: the first frame of a connection to the election port
	Vote                  // a raft message of an election
	Bid                   // what a server without a leader has, and the answer to one

	Lead      // a leader's first frame on a connection that it made to the quorum port
	Here      // the learner's answer
	Newer     // or this: there is a later term
	Raft      // a raft message of the replication
	Join      // the learner may serve when it has this entry
	Requests  // requests for the leader
	Sync      // a sync for the leader
	SyncDone  // its answer: when the learner has this entry
	Reval     // a revalidation for the leader
	RevalDone // its answer
	TouchList // sessions that were heard from
	Snap      // a snapshot begins
	Chunk     // a part of it
	SnapDone  // its end
	Installed // it is on the learner's disk
	Alive     // the leader is there

)

var kindNames = [...]string{Hello: "HELLO", Vote: "VOTE", Bid: "BID", Lead: "LEAD", Here: "HERE", Newer: "NEWER", Raft: "RAFT", Join: "JOIN",
	Requests: "REQUESTS", Sync: "SYNC", SyncDone: "SYNCED", Reval: "REVALIDATE", RevalDone: "REVALIDATED", TouchList: "TOUCHES",
	Snap: "SNAP", Chunk: "CHUNK", SnapDone: "SNAPDONE", Installed: "INSTALLED", Alive: "ALIVE"}

func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// OnElectionPort says on which port a frame of this kind may be.
func (k Kind) OnElectionPort() bool { return k >= Hello && k <= Bid }

// A Frame is what servers send each other. Which fields it has depends on the kind.
type Frame struct {
	Kind     Kind
	From     ServerID // Hello, Lead, Here
	Set      uint64   // Hello, Lead, Here: which voters there are
	Term     uint64   // Bid, Lead, Here, Newer
	Worth    Standing // Bid, Here
	At       Point    // Bid: the end of the log; Snap: what it is of; Installed
	Nonce    uint64   // Bid: of the process that speaks
	Echo     uint64   // Bid: of the process that is spoken to; 0 if it is not known
	Index    uint64   // Join, SyncDone, RevalDone
	ID       uint64   // Sync, SyncDone
	Session  int64    // Reval, RevalDone
	Timeout  int32    // Reval
	Valid    bool     // RevalDone
	Raft     *pb.Message
	Requests []consensus.Request
	Touches  []consensus.Touch
	Data     []byte // Chunk
	Version  uint32 // Hello, Lead, Here
}

// Bounds of what one frame may hold.
const (
	maxIdentities = 1024
	MaxTouches    = 4096
	MaxChunk      = 64 << 10
	minEntry      = 8 + 4
	maxEntries    = 1 << 15
	minRequest    = 8 + 4 + 4 + 4 + 4
)

// ErrFrame is the error of a frame that says nothing.
var ErrFrame = errors.New("frame is malformed")

// Append appends the frame with its length in front.
func (f *Frame) Append(b []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, byte(f.Kind))
	u32, u64 := binary.BigEndian.AppendUint32, binary.BigEndian.AppendUint64
	point := func(p Point) { b = u64(u64(u64(b, p.Index), p.Term), uint64(p.Zxid)) }
	switch f.Kind {
	case Hello, Lead, Here:
		b = u64(u64(u32(b, f.Version), uint64(f.From)), f.Set)
		if f.Kind != Hello {
			b = u64(b, f.Term)
		}
		if f.Kind == Here {
			b = append(b, byte(f.Worth))
		}
	case Bid:
		b = u64(u64(u64(b, f.Term), f.Nonce), f.Echo)
		b = append(b, byte(f.Worth))
		point(f.At)
	case Newer:
		b = u64(b, f.Term)
	case Vote, Raft:
		b = appendRaft(b, f.Raft)
	case Join:
		b = u64(b, f.Index)
	case Sync:
		b = u64(b, f.ID)
	case SyncDone:
		b = u64(u64(b, f.ID), f.Index)
	case Requests:
		b = u32(b, uint32(len(f.Requests)))
		for i := range f.Requests {
			r := &f.Requests[i]
			b = u32(u32(u64(b, uint64(r.Session)), uint32(r.Cxid)), uint32(r.Op))
			b = u32(b, uint32(len(r.Auth)))
			for _, a := range r.Auth {
				b = append(u32(b, uint32(len(a.Scheme))), a.Scheme...)
				b = append(u32(b, uint32(len(a.ID))), a.ID...)
			}
			b = append(u32(b, uint32(len(r.Body))), r.Body...)
		}
	case Reval:
		b = u32(u64(b, uint64(f.Session)), uint32(f.Timeout))
	case RevalDone:
		b = u64(u64(b, uint64(f.Session)), f.Index)
		b = append(b, flag(f.Valid))
	case TouchList:
		b = u32(b, uint32(len(f.Touches)))
		for _, t := range f.Touches {
			b = u32(u64(b, uint64(t.Session)), uint32(t.TimeoutMS))
		}
	case Snap, Installed:
		point(f.At)
	case Chunk:
		b = append(b, f.Data...)
	}
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// A reader takes a frame apart. After something missing all it returns is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// count is a number of elements that are at least so many bytes long each.
func (r *reader) count(size, limit int) int {
	n := int(r.u32())
	if n > limit || n > len(r.b)/size {
		r.bad, r.b = true, nil
		return 0
	}
	return n
}

func (r *reader) bytes() []byte {
	n := r.u32()
	if int64(n) > int64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	return r.take(int(n))
}

func (r *reader) bool() bool {
	switch r.u8() {
	case 0:
		return false
	case 1:
		return true
	}
	r.bad = true
	return false
}

func (r *reader) worth() Standing {
	s := Standing(r.u8())
	if s > Lost {
		r.bad = true
	}
	return s
}

func (r *reader) point() Point { return Point{r.u64(), r.u64(), Zxid(r.u64())} }

// DecodeFrame is the inverse of Append, of what follows the length. The frame keeps b.
func DecodeFrame(b []byte) (Frame, error) {
	r := &reader{b: b}
	f := Frame{Kind: Kind(r.u8())}
	switch f.Kind {
	case Hello, Lead, Here:
		f.Version, f.From, f.Set = r.u32(), ServerID(r.u64()), r.u64()
		if f.Kind != Hello {
			f.Term = r.u64()
		}
		if f.Kind == Here {
			f.Worth = r.worth()
		}
	case Bid:
		f.Term, f.Nonce, f.Echo = r.u64(), r.u64(), r.u64()
		f.Worth = r.worth()
		f.At = r.point()
	case Newer:
		f.Term = r.u64()
	case Vote, Raft:
		f.Raft = r.raft()
	case Join:
		f.Index = r.u64()
	case Sync:
		f.ID = r.u64()
	case SyncDone:
		f.ID, f.Index = r.u64(), r.u64()
	case Requests:
		n := r.count(minRequest, len(b))
		if n > 0 {
			f.Requests = make([]consensus.Request, 0, n)
		}
		for range n {
			q := consensus.Request{Session: int64(r.u64()), Cxid: int32(r.u32()), Op: int32(r.u32())}
			for range r.count(8, maxIdentities) {
				q.Auth = append(q.Auth, consensus.Identity{Scheme: string(r.bytes()), ID: string(r.bytes())})
			}
			q.Body = r.bytes()
			f.Requests = append(f.Requests, q)
		}
	case Reval:
		f.Session, f.Timeout = int64(r.u64()), int32(r.u32())
	case RevalDone:
		f.Session, f.Index = int64(r.u64()), r.u64()
		f.Valid = r.bool()
	case TouchList:
		n := r.count(12, MaxTouches)
		for range n {
			f.Touches = append(f.Touches, consensus.Touch{Session: int64(r.u64()), TimeoutMS: int32(r.u32())})
		}
	case Snap, Installed:
		f.At = r.point()
	case Chunk:
		if len(r.b) > MaxChunk {
			return f, ErrFrame
		}
		f.Data = r.take(len(r.b))
	case SnapDone, Alive:
	default:
		return f, fmt.Errorf("%w: %v", ErrFrame, f.Kind)
	}
	if r.bad || len(r.b) > 0 || f.Term > MaxTerm {
		return Frame{Kind: f.Kind}, fmt.Errorf("%v: %w", f.Kind, ErrFrame)
	}
	return f, nil
}

// A raft message:
//
//	type byte, reject byte
//	term, log term, index, commit, hint long
//	context  length int, bytes
//	entries  count int; each: term long, length int, bytes; their indexes follow index
func appendRaft(b []byte, m *pb.Message) []byte {
	u32, u64 := binary.BigEndian.AppendUint32, binary.BigEndian.AppendUint64
	b = append(b, byte(m.GetType()), flag(m.GetReject()))
	b = u64(u64(u64(u64(u64(b, m.GetTerm()), m.GetLogTerm()), m.GetIndex()), m.GetCommit()), m.GetRejectHint())
	b = append(u32(b, uint32(len(m.GetContext()))), m.GetContext()...)
	b = u32(b, uint32(len(m.GetEntries())))
	for _, e := range m.GetEntries() {
		b = append(u32(u64(b, e.GetTerm()), uint32(len(e.GetData()))), e.GetData()...)
	}
	return b
}

// maxContext is longer than all that raft puts there.
const maxContext = 64

func (r *reader) raft() *pb.Message {
	m := &pb.Message{Type: pb.MessageType(r.u8()).Enum(), Reject: new(r.bool())}
	m.Term, m.LogTerm, m.Index = new(r.u64()), new(r.u64()), new(r.u64())
	m.Commit, m.RejectHint = new(r.u64()), new(r.u64())
	if ctx := r.bytes(); len(ctx) > maxContext {
		r.bad = true
	} else if len(ctx) > 0 {
		m.Context = ctx
	}
	n := r.count(minEntry, maxEntries)
	if n > 0 {
		m.Entries = make([]*pb.Entry, 0, n)
	}
	for i := range n {
		e := &pb.Entry{Term: new(r.u64()), Index: new(m.GetIndex() + 1 + uint64(i)), Type: pb.EntryNormal.Enum()}
		if d := r.bytes(); len(d) > 0 {
			e.Data = d
		}
		m.Entries = append(m.Entries, e)
	}
	if m.GetTerm() > MaxTerm {
		r.bad = true
	}
	return m
}

// Size is about how many bytes a frame has.
func (f *Frame) Size() int {
	n := 64 + len(f.Data) + 12*len(f.Touches)
	for i := range f.Requests {
		n += requestSize(&f.Requests[i])
	}
	for _, e := range f.Raft.GetEntries() {
		n += minEntry + len(e.GetData())
	}
	return n
}

// requestSize is how many bytes a request has in a frame.
func requestSize(q *consensus.Request) int {
	n := minRequest + len(q.Body)
	for _, a := range q.Auth {
		n += 8 + len(a.Scheme) + len(a.ID)
	}
	return n
}
