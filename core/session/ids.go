package session

import "math"

// IDs numbers the sessions of one server: the server's id in the high byte, the
// time of its start in milliseconds in the next 40 bits, then a counter. No
// number is given twice in the life of an ensemble (I19): the time is that of
// the wall clock, whoever has seen a higher number of this server says so, and who
// keeps on disk up to where numbers may be given reserves them before.
type IDs struct {
	server   int64 // the high byte
	next     int64
	reserved int64 // the first that may not be given yet; 0: nobody reserves
}

// NewIDs starts numbering at nowMS, wall clock.
func NewIDs(serverID, nowMS int64) *IDs {
	return &IDs{server: serverID << 56, next: serverID<<56 | int64(uint64(nowMS<<24)>>8)}
}

// Saw says that id is or was in use. One that another server gave is ignored.
func (g *IDs) Saw(id int64) {
	if id&^low == g.server && id >= g.next {
		g.next = id + 1
	}
}

// Since says that numbers may have been given up to that time, wall clock.
func (g *IDs) Since(ms int64) { g.Saw(g.server | int64(uint64(ms<<24)>>8)) }

// After is the n-th number behind the next.
func (g *IDs) After(n int64) int64 { return g.server | (g.next+n)&low }

// Reserve lets numbers below high be given, and no others.
func (g *IDs) Reserve(high int64) { g.reserved = high }

// Left is how many numbers may be given.
func (g *IDs) Left() int64 {
	left := (g.reserved - g.next) & low
	if g.reserved == 0 || left > low/2 {
		return 0 // next is beyond
	}
	return left
}

// low masks what a server counts in.
const low = 1<<56 - 1

// Next returns a number for which taken is false.
func (g *IDs) Next(taken func(int64) bool) int64 {
	for {
		id := g.next
		// Past the last number of this server the next would be another's.
		g.next = g.server | (id+1)&low
		if id != 0 && id != math.MinInt64 && !taken(id) {
			return id
		}
	}
}
