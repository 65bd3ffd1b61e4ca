package protocol

import (
	"sort"

	"github.com/zkcore/zkcore/core/simbug"
)

// A Run is a part of the log without a hole, First to Last in one epoch.
type Run struct{ First, Last Zxid }

// follows says whether next may come right after z in a history: it is the next in the
// same epoch, or the first of a later one.
func follows(z, next Zxid) bool {
	return next == z+1 || next.Epoch() > z.Epoch() && next.Counter() == 1
}

// A History is what the machines know of the log and of what the node has of it.
//
//	base … delivered … [window.lo … committed … last]
//
// The log holds everything above base. Its last part is in memory too, the window.
type History struct {
	base Zxid  // the newest state on disk: of what the log holds the index says what is above
	runs []Run // what the log holds above base
	last Zxid  // the last txn in the log, or base

	gen     uint64 // counts truncations: a Logged from before one says nothing
	durable Zxid   // up to here the log is on disk

	delivered Zxid // up to here the node has it
	committed Zxid // up to here it is known to be committed; what is known begins anew with each leader

	lo     Zxid // the window holds the txns above lo
	window []Txn
	bytes  int
}

func newHistory(base Zxid, runs []Run) *History {
	h := &History{delivered: base, committed: base}
	h.reset(base, runs)
	return h
}

// reset makes the history one that begins at base and goes on with what the log holds.
func (h *History) reset(base Zxid, runs []Run) {
	h.base, h.runs, h.last = base, nil, base
	for _, r := range runs {
		if r.Last > base {
			r.First = max(r.First, base+1)
			h.runs = append(h.runs, r)
			h.last = r.Last
		}
	}
	h.durable = h.last
	h.lo, h.window, h.bytes = h.last, nil, 0
}

// rebase makes the state at z, which the node has, the one that the log continues.
func (h *History) rebase(z Zxid) {
	if z <= h.base || z > h.delivered {
		return
	}
	var runs []Run
	for _, r := range h.runs {
		if r.Last > z {
			runs = append(runs, Run{max(r.First, z+1), r.Last})
		}
	}
	h.base, h.runs = z, runs
}

// whole says whether no txn is missing between base and last.
func (h *History) whole() bool {
	at := h.base
	for _, r := range h.runs {
		if !follows(at, r.First) {
			return false
		}
		at = r.Last
	}
	return true
}

// contains says whether the log, or the base below it, ends or goes through z.
func (h *History) contains(z Zxid) bool {
	if z == h.base {
		return true
	}
	i := sort.Search(len(h.runs), func(i int) bool { return h.runs[i].Last >= z })
	return i < len(h.runs) && h.runs[i].First <= z
}

// append adds txns that go to the log.
func (h *History) append(txns []Txn) {
	for _, t := range txns {
		check("I16", follows(h.last, t.Zxid), "%v is appended to a history that ends at %v", t.Zxid, h.last)
		if n := len(h.runs); n > 0 && h.runs[n-1].Last+1 == t.Zxid && t.Zxid.Counter() != 0 {
			h.runs[n-1].Last = t.Zxid
		} else {
			h.runs = append(h.runs, Run{t.Zxid, t.Zxid})
		}
		h.last = t.Zxid
		h.bytes += len(t.Data)
	}
	h.window = append(h.window, txns...)
}

// truncate makes z, which the history contains, its last txn.
func (h *History) truncate(z Zxid) {
	h.gen++
	for n := len(h.runs); n > 0 && h.runs[n-1].Last > z; n-- {
		if h.runs[n-1].First <= z {
			h.runs[n-1].Last = z
			break
		}
		h.runs = h.runs[:n-1]
	}
	h.last = z
	h.durable = min(h.durable, z)
	if z <= h.lo {
		h.lo, h.window, h.bytes = z, nil, 0
		return
	}
	i := h.index(z)
	for _, t := range h.window[i:] {
		h.bytes -= len(t.Data)
	}
	clear(h.window[i:])
	h.window = h.window[:i]
}

// index is the place in the window of the first txn above z.
func (h *History) index(z Zxid) int {
	return sort.Search(len(h.window), func(i int) bool { return h.window[i].Zxid > z })
}

// between is the part of the window above from, up to last; from is at least lo.
func (h *History) between(from, last Zxid) []Txn {
	i, j := h.index(from), h.index(last)
	return h.window[i:j:j]
}

// trim forgets the oldest of the window that need not be in memory: what is on disk, up
// to upTo, but for the last n txns of that within maxBytes.
func (h *History) trim(upTo Zxid, n, maxBytes int) {
	keep := h.index(min(upTo, h.durable))
	if keep <= n && h.bytes <= maxBytes {
		return
	}
	i, bytes := max(0, keep-n), h.bytes
	for _, t := range h.window[:i] {
		bytes -= len(t.Data)
	}
	for ; i < keep && bytes > maxBytes; i++ {
		bytes -= len(h.window[i].Data)
	}
	// Moving the rest costs as much as what is forgotten: wait until that is worth it.
	if i == 0 || (i < len(h.window)/2 && h.bytes <= 2*maxBytes) {
		return
	}
	h.lo = h.window[i-1].Zxid
	h.window = append([]Txn(nil), h.window[i:]...)
	h.bytes = bytes
}

// resume hands the node what the log holds of what was committed up to z in an earlier life.
func (h *History) resume(z Zxid, out func(Output)) {
	if z = min(z, h.last); z > h.committed {
		h.committed = z
		h.deliver(z, out)
	}
}

// deliver hands the node what follows what it has, up to z.
func (h *History) deliver(z Zxid, out func(Output)) {
	if z <= h.delivered {
		return
	}
	if h.delivered < h.lo {
		disk := min(z, h.lo)
		out(DeliverLog{From: h.delivered, Last: disk})
		h.delivered = disk
	}
	if z > h.delivered {
		txns := h.between(h.delivered, z)
		check("I13", z <= h.last && len(txns) > 0 && follows(h.delivered, txns[0].Zxid), "%v is delivered behind %v, and the history ends at %v", z, h.delivered, h.last)
		if simbug.On("apply-out-of-order") && len(txns) > 1 {
			txns = append(txns[1:len(txns):len(txns)], txns[0]) // as they were written, not as they were proposed
		}
		out(Deliver{Txns: txns})
		h.delivered = z
	}
}
