package protocol

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// Standing is what a server's log is worth in an election.
type Standing uint8

// The standings.
const (
	// Proven: it has all that it ever acknowledged.
	Proven Standing = iota
	// Settling: the same, but it may have voted and forgotten it. It votes later.
	Settling
	// Blank: it never acknowledged anything, as far as this disk knows; perhaps it had
	// another one.
	Blank
	// Lost: it had something, and lost it.
	Lost
)

var standings = []string{"proven", "settling", "blank", "lost"}

func (s Standing) String() string { return standings[min(int(s), len(standings)-1)] }

// A Point is a place in the history: an entry, and the last txn at or before it.
type Point struct {
	Index, Term uint64
	Zxid        Zxid
}

func (p Point) before(q Point) bool {
	return p.Term < q.Term || p.Term == q.Term && p.Index < q.Index
}

// A Start says at which index a term began: its first entry, which is empty, is there.
type Start struct{ Term, Index uint64 }

// State is what a server keeps on disk beside the txns.
type State struct {
	Standing Standing
	Why      string // of a standing, for the operator
	Term     uint64
	Vote     ServerID
	// Base is what the log continues. All of it is committed.
	Base Point
	// Starts are the terms that the log has entries of, rising.
	Starts []Start
	// Pending is a snapshot that is being restored, if its index is not 0.
	Pending Point
	// Cut says that the log is to be cut behind CutTo, if that was not done yet.
	Cut   bool
	CutTo Zxid
	// Alone says that the log was written by a server without an ensemble: all of it is
	// committed, and is the base.
	Alone bool
}

const stateHead = "zkcore-raft 1"

// Encode is the state as it is in the file.
func (s *State) Encode() []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, stateHead)
	fmt.Fprintf(&b, "standing %s", s.Standing)
	if s.Why != "" {
		fmt.Fprintf(&b, " %s", strconv.Quote(s.Why))
	}
	fmt.Fprintf(&b, "\nterm %d\nvote %d\nbase %d %d 0x%x\n", s.Term, s.Vote, s.Base.Index, s.Base.Term, uint64(s.Base.Zxid))
	for _, t := range s.Starts {
		fmt.Fprintf(&b, "start %d %d\n", t.Term, t.Index)
	}
	if s.Pending.Index != 0 {
		fmt.Fprintf(&b, "pending %d %d 0x%x\n", s.Pending.Index, s.Pending.Term, uint64(s.Pending.Zxid))
	}
	if s.Cut {
		fmt.Fprintf(&b, "cut 0x%x\n", uint64(s.CutTo))
	}
	if s.Alone {
		fmt.Fprintln(&b, "alone")
	}
	fmt.Fprintf(&b, "crc %08x\n", crc32.Checksum(b.Bytes(), castagnoli))
	return b.Bytes()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrVersion is the error of a file that a later version wrote.
var ErrVersion = fmt.Errorf("it was written by a later version")

// DecodeState is the inverse of Encode. Whatever is wrong with the file is
// consensus.ErrDamaged, but for ErrVersion.
func DecodeState(b []byte) (State, error) {
	var s State
	bad := func(why string) (State, error) {
		return State{}, fmt.Errorf("%s: %w", why, consensus.ErrDamaged)
	}
	head, _, _ := strings.Cut(string(b), "\n")
	if head != stateHead {
		if v, ok := strings.CutPrefix(head, "zkcore-raft "); ok {
			if n, err := strconv.Atoi(v); err == nil && n > 1 {
				return s, ErrVersion
			}
		}
		return bad("it does not begin with " + strconv.Quote(stateHead))
	}
	i := bytes.LastIndex(b, []byte("crc "))
	if i < 0 || len(b) != i+4+8+1 || b[len(b)-1] != '\n' {
		return bad("it does not end with a checksum")
	}
	sum, err := hex.DecodeString(string(b[i+4 : i+12]))
	if err != nil || crc32.Checksum(b[:i], castagnoli) != uint32(sum[0])<<24|uint32(sum[1])<<16|uint32(sum[2])<<8|uint32(sum[3]) {
		return bad("its checksum is wrong")
	}
	for n, line := range strings.Split(strings.TrimSuffix(string(b[len(head)+1:i]), "\n"), "\n") {
		key, rest, _ := strings.Cut(line, " ")
		ok := true
		switch key {
		case "standing":
			word, why, quoted := strings.Cut(rest, " ")
			k := slices.Index(standings, word)
			ok = k >= 0
			s.Standing = Standing(max(k, 0))
			if quoted && ok {
				s.Why, err = strconv.Unquote(why)
				ok = err == nil
			}
		case "term":
			ok = scan(rest, &s.Term)
		case "vote":
			var v uint64
			ok = scan(rest, &v)
			s.Vote = ServerID(v)
		case "base":
			s.Base, ok = scanPoint(rest)
		case "pending":
			s.Pending, ok = scanPoint(rest)
		case "start":
			var t Start
			ok = scan(rest, &t.Term, &t.Index)
			s.Starts = append(s.Starts, t)
		case "cut":
			var z uint64
			ok = scan(rest, &z)
			s.Cut, s.CutTo = true, Zxid(z)
		case "alone":
			s.Alone = true
		default:
			ok = false
		}
		if !ok {
			return bad(fmt.Sprintf("line %d says %q", n+2, line))
		}
	}
	if why := s.check(); why != "" {
		return bad(why)
	}
	return s, nil
}

// check says what can't be.
func (s *State) check() string {
	if s.Term > MaxTerm || s.Base.Term > s.Term || s.Base.Zxid.Epoch() > MaxTerm {
		return "a term is above the highest"
	}
	for i, t := range s.Starts {
		switch {
		case t.Term > s.Term || t.Term == 0:
			return fmt.Sprintf("term %d begins in the log, and the server is in term %d", t.Term, s.Term)
		case i > 0 && (t.Term <= s.Starts[i-1].Term || t.Index <= s.Starts[i-1].Index):
			return "terms begin out of order"
		case t.Index <= s.Base.Index && i+1 < len(s.Starts) && s.Starts[i+1].Index <= s.Base.Index:
			return "a term is named that ends below the base"
		}
	}
	return ""
}

func scan(s string, to ...*uint64) bool {
	fields := strings.Fields(s)
	if len(fields) != len(to) {
		return false
	}
	for i, f := range fields {
		v, err := strconv.ParseUint(f, 0, 64)
		if err != nil {
			return false
		}
		*to[i] = v
	}
	return true
}

func scanPoint(s string) (p Point, ok bool) {
	var z uint64
	ok = scan(s, &p.Index, &p.Term, &z)
	p.Zxid = Zxid(z)
	return p, ok
}

// A Run is zxids of one epoch that the log has without a hole.
type Run struct{ First, Last Zxid }

// A Disk image is what a server finds when it starts.
type Found struct {
	State State
	// Recovered is the zxid of the node's state; Last the last one of the log, or Recovered.
	Recovered, Last Zxid
	// Runs are what the log has above Recovered.
	Runs []Run
	// Committed is a zxid up to which txns are known to be committed; 0 if none is.
	Committed Zxid
}

// Check says whether the log is what the state file says that it is. An error is
// consensus.ErrDamaged.
func (f *Found) Check() error {
	s := &f.State
	bad := func(format string, args ...any) error {
		return fmt.Errorf(format+": %w", append(args, consensus.ErrDamaged)...)
	}
	t := terms{base: s.Base, starts: s.Starts}
	at := f.Recovered
	if at > s.Base.Zxid && at.Counter() != 0 {
		if _, ok := t.point(at); !ok {
			return bad("the snapshot is at %v, in a term that the log never had", at)
		}
	}
	for _, r := range f.Runs {
		if r.Last <= s.Base.Zxid {
			continue
		}
		// In a term that the state file knows, and not behind its end.
		p, ok := t.point(r.Last)
		if !ok {
			return bad("the log goes up to %v, in a term that it never had", r.Last)
		}
		if p.Term != uint64(r.Last.Epoch()) {
			return bad("the log has %v, which is behind the end of its term", r.Last)
		}
	}
	// What the log continues, if the state is below that.
	if b := s.Base.Zxid; f.Recovered < b && b.Counter() != 0 &&
		!slices.ContainsFunc(f.Runs, func(r Run) bool { return r.First <= b && b <= r.Last }) {
		return bad("the state is at %v, and the log continues one at %v", f.Recovered, b)
	}
	// All of each term but the last one.
	for i := 0; i+1 < len(s.Starts); i++ {
		start, next := s.Starts[i], s.Starts[i+1]
		n := next.Index - start.Index - 1
		if n == 0 {
			continue
		}
		last := consensus.MakeZxid(int64(start.Term), uint32(n))
		if last <= f.Recovered || last <= s.Base.Zxid {
			continue
		}
		if !slices.ContainsFunc(f.Runs, func(r Run) bool { return r.First <= last && last <= r.Last }) {
			return bad("the log does not have %v, the last txn of its term", last)
		}
	}
	return nil
}

// TakeOver makes the pending snapshot, which is the node's state now, what the log
// continues.
func (s *State) TakeOver() {
	t := terms{}
	t.reset(s.Pending)
	s.Base, s.Starts = t.base, t.starts
	if s.Term < s.Base.Term {
		s.Term, s.Vote = s.Base.Term, 0
	}
	s.Pending = Point{}
	s.Cut, s.CutTo = false, 0
}

// Complete says that this server has all that it can have acknowledged, on whatever disk.
func (s *State) Complete(voters int, observer bool) {
	if s.Standing == Blank || s.Standing == Lost {
		s.Standing, s.Why = Proven, ""
		if voters >= 5 && !observer {
			s.Standing, s.Why = Settling, "the votes that it gave before are forgotten"
		}
	}
}

// Zxid is the last txn at or before an entry, as far as the state file knows.
func (s *State) Zxid(index uint64) Zxid {
	t := terms{base: s.Base, starts: s.Starts}
	return t.zxid(index)
}

// LastTerm is the term of the last entry.
func (f *Found) LastTerm() uint64 {
	term := f.State.Base.Term
	if n := len(f.State.Starts); n > 0 {
		term = max(term, f.State.Starts[n-1].Term)
	}
	return term
}
