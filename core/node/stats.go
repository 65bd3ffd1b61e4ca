package node

import (
	"sync"
	"sync/atomic"

	"github.com/zkcore/zkcore/core/proto"
)

// A latency sums up how long requests took, in nanoseconds. What is answered
// together is counted together.
type latency struct{ count, sum, minPlus1, max atomic.Int64 }

func (l *latency) add(count, sum, least, most int64) {
	l.count.Add(count)
	l.sum.Add(sum)
	for {
		have := l.minPlus1.Load()
		if have != 0 && have <= least+1 || l.minPlus1.CompareAndSwap(have, least+1) {
			break
		}
	}
	for {
		have := l.max.Load()
		if have >= most || l.max.CompareAndSwap(have, most) {
			break
		}
	}
}

func (l *latency) reset() {
	l.count.Store(0)
	l.sum.Store(0)
	l.minPlus1.Store(0)
	l.max.Store(0)
}

// A span is how long replies were, in bytes; least is 0 before the first.
type span struct{ last, least, most int64 }

func (s *span) see(n int) {
	s.last = int64(n)
	if s.least == 0 || s.last < s.least {
		s.least = s.last
	}
	s.most = max(s.most, s.last)
}

// sizes are the spans of a node's replies, gathered batch by batch.
type sizes struct {
	mu  sync.Mutex
	all span
}

// take adds a batch's and begins a new one.
func (s *sizes) take(b *span) {
	if b.last == 0 {
		return
	}
	s.mu.Lock()
	s.all.last, s.all.most = b.last, max(s.all.most, b.most)
	if s.all.least == 0 || b.least < s.all.least {
		s.all.least = b.least
	}
	s.mu.Unlock()
	*b = span{}
}

// connStats is what an operator sees of a connection. The connection's lock
// guards it.
type connStats struct {
	received, sent int64
	lastOp         int32 // 0: none yet
	lastCxid       int32
	hasCxid        bool
	lastZxid       int64
	lastAt         int64 // ns on the node's clock
	last           int64 // ns
	count, sum     int64
	minPlus1, max  int64
	sizes          span // of the batch
}

func (s *connStats) answered(op, xid int32, zxid int64) {
	s.sent++
	s.lastOp, s.lastZxid = op, zxid
	if xid >= 0 {
		s.lastCxid, s.hasCxid = xid, true
	}
}

func (s *connStats) took(count, ns, now int64) {
	s.lastAt, s.last = now, ns
	s.count += count
	s.sum += count * ns
	if s.minPlus1 == 0 || ns < s.minPlus1-1 {
		s.minPlus1 = ns + 1
	}
	s.max = max(s.max, ns)
}

func (s *connStats) reset() { *s = connStats{lastOp: s.lastOp} }

// measure takes note of count requests that were read at at and are answered
// now. One look at the clock does for all of them.
func (cl *client) measure(count int, at int64, l *latency, metric string) {
	now := cl.n.clock()
	ns := max(now-at, 0)
	cl.stats.took(int64(count), ns, now)
	l.add(int64(count), int64(count)*ns, ns, ns)
	cl.n.sizes.take(&cl.stats.sizes)
	cl.n.cfg.Metrics.Observe(metric, float64(ns)/1e6)
}

// opLetters are the names of operations in cons.
var opLetters = map[proto.Op]string{
	proto.OpCreateSession: "SESS", proto.OpPing: "PING", proto.OpCreate: "CREA", proto.OpCreate2: "CREA",
	proto.OpCreateTTL: "CREA", proto.OpCreateContainer: "CREA", proto.OpDelete: "DELE", proto.OpDeleteContainer: "DELE",
	proto.OpExists: "EXIS", proto.OpGetData: "GETD", proto.OpSetData: "SETD", proto.OpGetACL: "GETA", proto.OpSetACL: "SETA",
	proto.OpGetChildren: "GETC", proto.OpGetChildren2: "GETC", proto.OpSync: "SYNC", proto.OpCheck: "CHEC",
	proto.OpMulti: "MULT", proto.OpMultiRead: "MLTR", proto.OpReconfig: "RECO", proto.OpCloseSession: "CLOS",
	proto.OpSetWatches: "SETW", proto.OpSetWatches2: "STW2", proto.OpAddWatch: "ADDW", proto.OpCheckWatches: "CHKW",
	proto.OpRemoveWatches: "REMW", proto.OpGetAllChildrenNum: "GETACN", proto.OpGetEphemerals: "GETE", proto.OpWhoAmI: "HOMI",
}

func opName(op int32) string {
	if s, ok := opLetters[proto.Op(op)]; ok {
		return s
	}
	return "NA"
}
