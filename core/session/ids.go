package session

import "math"

// IDs numbers the sessions of one server: the server's id in the high byte, the
// time of its start in milliseconds in the next 40 bits, then a counter. No
// number is given twice in the life of an ensemble (I19): the time is that of
// the wall clock, and whoever has seen a higher number of this server says so.
type IDs struct {
	server int64 // the high byte
	next   int64
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
