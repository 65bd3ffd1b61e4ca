package node

import (
	"cmp"
	"slices"
	"time"

	"github.com/zkcore/zkcore/core/conn"
)

// ConnInfo is a connection as cons shows it.
type ConnInfo struct {
	RemoteAddr     string
	Writing        bool // replies wait for the socket
	Queued         int  // requests not answered
	Received, Sent int64
	Established    time.Time

	// What follows is there with a session only.
	Session           int64
	TimeoutMS         int32
	LastOp            string
	LastCxid          int32 // -1: none
	LastZxid          int64
	LastResponse      time.Duration // on the node's monotonic clock
	LastLatency       time.Duration
	MinLat, MaxLat    time.Duration
	Count             int64
	SumLat            time.Duration
	HeardAgo, ExpireI time.Duration // since the client was heard from; until the connection is closed
}

// Connections are all open connections, oldest first.
func (n *Node) Connections() []ConnInfo {
	var conns []*conn.Conn
	n.conns.Each(func(c *conn.Conn) { conns = append(conns, c) })
	slices.SortFunc(conns, func(a, b *conn.Conn) int { return cmp.Compare(a.ID, b.ID) })
	now := n.clock()
	infos := make([]ConnInfo, 0, len(conns))
	for _, c := range conns {
		i := ConnInfo{RemoteAddr: c.RemoteAddr(), Established: c.Since(), LastCxid: -1, LastOp: "NA"}
		if cl, ok := c.Client().(*client); ok {
			c.Lock()
			st := cl.stats
			i.Writing, i.Queued, i.Received, i.Sent = c.Writing(), cl.fifo.n, st.received, st.sent
			if cl.opened.Load() {
				i.Session, i.TimeoutMS = cl.session, cl.timeoutMS
				if st.lastOp != 0 {
					i.LastOp = opName(st.lastOp)
				}
				if st.hasCxid {
					i.LastCxid = st.lastCxid
				}
				i.LastZxid, i.LastResponse, i.LastLatency = st.lastZxid, time.Duration(st.lastAt), time.Duration(st.last)
				i.MinLat, i.MaxLat = time.Duration(max(st.minPlus1-1, 0)), time.Duration(st.max)
				i.Count, i.SumLat = st.count, time.Duration(st.sum)
				i.HeardAgo = time.Duration(now - cl.heard.Load())
				i.ExpireI = time.Duration(cl.timeoutMS)*time.Millisecond - i.HeardAgo
			}
			c.Unlock()
		}
		infos = append(infos, i)
	}
	return infos
}

// ResetConnectionStats is crst.
func (n *Node) ResetConnectionStats() {
	var conns []*conn.Conn
	n.conns.Each(func(c *conn.Conn) { conns = append(conns, c) })
	for _, c := range conns {
		if cl, ok := c.Client().(*client); ok {
			c.Lock()
			cl.stats.reset()
			c.Unlock()
		}
	}
}
