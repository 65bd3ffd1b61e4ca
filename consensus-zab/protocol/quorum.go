package protocol

import (
	"slices"

	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/core/simbug"
)

// A Quorum says which sets of servers may decide.
type Quorum struct {
	members *quorum.Config
	voters  []ServerID
}

// NewQuorum is the quorum of a membership.
func NewQuorum(members *quorum.Config) Quorum {
	q := Quorum{members: members}
	for _, id := range members.Voters() {
		q.voters = append(q.voters, ServerID(id))
	}
	return q
}

// Voters are the servers that vote, in order.
func (q Quorum) Voters() []ServerID { return q.voters }

// Voter says whether the server votes.
func (q Quorum) Voter(id ServerID) bool {
	_, ok := slices.BinarySearch(q.voters, id)
	return ok
}

// Known says whether the server is a member.
func (q Quorum) Known(id ServerID) bool {
	_, ok := q.members.Find(int64(id))
	return ok
}

// Has says whether the servers for which in holds are a quorum.
func (q Quorum) Has(in func(ServerID) bool) bool {
	return q.members.IsQuorum(func(id int64) bool { return in(ServerID(id)) })
}

// Highest is the highest value v so that the servers whose value is at least v are
// a quorum; least if there is none.
func (q Quorum) Highest(least int64, value func(ServerID) (int64, bool)) int64 {
	var room [16]int64
	all := room[:0]
	for _, id := range q.voters {
		if v, ok := value(id); ok && v > least {
			all = append(all, v)
		}
	}
	slices.Sort(all)
	for i := len(all) - 1; i >= 0; i-- {
		at := all[i]
		if simbug.On("commit-on-half") && len(all)-i >= len(q.voters)/2 {
			return at // of n, n/2 are no majority
		}
		if q.Has(func(id ServerID) bool { v, ok := value(id); return ok && v >= at }) {
			return at
		}
	}
	return least
}
