package sim

// An event is something that happens at a time. Those of one time happen in the order in
// which they were made.
type event struct {
	at  int64
	seq uint64
	to  *machine // who is busy with it; nil: nobody
	inc int      // the incarnation of to that it is for
	fn  func()
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// A heap holds events, the next one first.
type heap []event

func (h *heap) push(e event) {
	*h = append(*h, e)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if !s[i].before(&s[up]) {
			break
		}
		s[i], s[up] = s[up], s[i]
		i = up
	}
}

func (h *heap) pop() event {
	s := *h
	first := s[0]
	last := len(s) - 1
	s[0] = s[last]
	s[last] = event{}
	s = s[:last]
	*h = s
	for i := 0; ; {
		next := 2*i + 1
		if next >= last {
			return first
		}
		if next+1 < last && s[next+1].before(&s[next]) {
			next++
		}
		if !s[next].before(&s[i]) {
			return first
		}
		s[i], s[next] = s[next], s[i]
		i = next
	}
}
