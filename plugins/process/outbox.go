package process

import "sync"

// An outbox is what is to be sent on a line. Whoever puts something in sends it himself, if nobody
// else is sending: to wake another goroutine takes longer than that, and it is what a lone write
// waits for. He never waits for the other side: what does not go at once, and what others put in
// meanwhile for longer than he likes, is sent by a goroutine.
type outbox struct {
	line line

	mu      sync.Mutex
	more    sync.Cond
	b       []byte // frames
	rest    []byte // of what is being sent: it goes before b
	spare   []byte // memory for the next frames
	sending bool
	closed  bool
	err     error // of the line
}

func newOutbox(l line) *outbox {
	o := &outbox{line: l}
	o.more.L = &o.mu
	return o
}

// put sends a frame, which fn appends to what it is given.
func (o *outbox) put(fn func(dst []byte) []byte) {
	if _, mine := o.add(fn); mine {
		o.flush()
	}
}

// add puts a frame in, and returns its size. If mine is true the caller calls flush, once he
// holds no lock.
func (o *outbox) add(fn func(dst []byte) []byte) (size int, mine bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return 0, false
	}
	o.b, size = appendFrame(o.b, fn)
	if mine = !o.sending && len(o.rest) == 0; mine {
		o.sending = true
	}
	return size, mine
}

// flushRounds is how often who has put something in looks whether others have, too.
const flushRounds = 2

// flush sends what there is, as far as that takes no waiting.
func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for round := 0; len(o.b) > 0 && len(o.rest) == 0 && o.err == nil && round < flushRounds; round++ {
		b := o.take()
		o.mu.Unlock()
		n, err := o.line.try(b)
		o.mu.Lock()
		o.sent(b, n, err)
	}
	o.sending = false
	if len(o.rest) > 0 || len(o.b) > 0 || o.closed {
		o.more.Broadcast()
	}
}

func (o *outbox) take() []byte {
	b := o.b
	o.b, o.spare = o.spare[:0], nil
	return b
}

// maxSpare is how much memory is kept for the next frames.
const maxSpare = 4 << 20

func (o *outbox) sent(b []byte, n int, err error) {
	if err != nil {
		o.err, o.closed = err, true
		return
	}
	if o.rest = b[n:]; len(o.rest) == 0 {
		o.rest = nil
		if cap(b) <= maxSpare {
			o.spare = b
		}
	}
}

// run sends what others leave to it, until the outbox is closed and empty, or the line fails.
func (o *outbox) run() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		for o.sending || len(o.b) == 0 && len(o.rest) == 0 && !o.closed {
			o.more.Wait()
		}
		if o.err != nil {
			return o.err
		}
		b := o.rest
		if len(b) == 0 {
			b = o.take()
		}
		if len(b) == 0 {
			return nil
		}
		o.sending = true
		o.mu.Unlock()
		err := o.line.send(b)
		o.mu.Lock()
		o.sending = false
		o.sent(b, len(b), err)
	}
}

func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.more.Broadcast()
	o.mu.Unlock()
}

// headSize is what the length of a frame takes. It is written before the frame is known, in a
// form that always takes as much.
const headSize = 5

// appendFrame appends the frame that fn appends, behind its length.
func appendFrame(dst []byte, fn func(dst []byte) []byte) (b []byte, size int) {
	start := len(dst)
	dst = fn(append(dst, 0, 0, 0, 0, 0))
	size = len(dst) - start - headSize
	for i := range headSize {
		c := byte(size>>(7*i)) & 0x7f
		if i < headSize-1 {
			c |= 0x80
		}
		dst[start+i] = c
	}
	return dst, size
}
