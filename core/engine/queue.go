package engine

// touched says what a prepared txn changes: a path, or, with none, that a
// session ends.
type touched struct {
	zxid    int64
	session int64
	path    string
}

// A queue is a ring that grows.
type queue struct {
	ring []touched // its length is a power of two
	head int
	n    int
}

func (q *queue) len() int { return q.n }

func (q *queue) push(t touched) {
	if q.n == len(q.ring) {
		grown := make([]touched, max(64, 2*len(q.ring)))
		for i := range q.n {
			grown[i] = q.ring[(q.head+i)&(len(q.ring)-1)]
		}
		q.ring, q.head = grown, 0
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = t
	q.n++
}

func (q *queue) first() (touched, bool) {
	if q.n == 0 {
		return touched{}, false
	}
	return q.ring[q.head], true
}

func (q *queue) pop() {
	q.ring[q.head] = touched{}
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
}
