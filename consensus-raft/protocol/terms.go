package protocol

import (
	"github.com/zkcore/zkcore/plugins/consensus"
)

// terms say which entry is which txn: the first entry of a term is empty, and the ones
// behind it are the txns of that epoch, the counter counting from it.
type terms struct {
	base   Point
	starts []Start // those of entries above base, and the one that base is in
}

// at is the place in starts of the term that index is in; -1 if it is not above base.
func (t *terms) at(index uint64) int {
	i := len(t.starts) - 1
	for i >= 0 && t.starts[i].Index > index {
		i--
	}
	return i
}

// term is that of an entry at or above base, which must be in the log.
func (t *terms) term(index uint64) uint64 {
	if index == t.base.Index {
		return t.base.Term
	}
	if i := t.at(index); i >= 0 {
		return t.starts[i].Term
	}
	return 0
}

// id is the zxid of an entry above base; its counter is 0 for an empty one.
func (t *terms) id(index uint64) Zxid {
	i := t.at(index)
	if i < 0 {
		return t.base.Zxid
	}
	return consensus.MakeZxid(int64(t.starts[i].Term), uint32(index-t.starts[i].Index))
}

// zxid is the last txn at or before an entry at or above base.
func (t *terms) zxid(index uint64) Zxid {
	for index > t.base.Index {
		if z := t.id(index); z.Counter() != 0 {
			return z
		}
		index--
	}
	return t.base.Zxid
}

// point is the entry that a txn is, or base, if that is its last txn. Whether the entry is
// in the log it does not know.
func (t *terms) point(z Zxid) (Point, bool) {
	if z == t.base.Zxid {
		return t.base, true
	}
	if z < t.base.Zxid {
		return Point{}, false
	}
	for i := range t.starts {
		if int64(t.starts[i].Term) == z.Epoch() && z.Counter() != 0 {
			p := Point{Index: t.starts[i].Index + uint64(z.Counter()), Term: t.starts[i].Term, Zxid: z}
			if i+1 < len(t.starts) && p.Index >= t.starts[i+1].Index {
				return Point{}, false
			}
			return p, true
		}
	}
	return Point{}, false
}

// truncate forgets terms that begin above index.
func (t *terms) truncate(index uint64) {
	n := len(t.starts)
	for n > 0 && t.starts[n-1].Index > index {
		n--
	}
	t.starts = t.starts[:n:n]
}

// compact makes p the base.
func (t *terms) compact(p Point) {
	n := 0
	for n+1 < len(t.starts) && t.starts[n+1].Index <= p.Index {
		n++
	}
	t.starts = append([]Start(nil), t.starts[n:]...)
	t.base = p
}

// reset makes p the base of an empty log.
func (t *terms) reset(p Point) {
	t.base, t.starts = p, nil
	switch {
	case p.Term == 0:
	case p.Zxid.Epoch() == int64(p.Term):
		t.starts = []Start{{Term: p.Term, Index: p.Index - uint64(p.Zxid.Counter())}}
	default: // the entry is an empty one
		t.starts = []Start{{Term: p.Term, Index: p.Index}}
	}
}
