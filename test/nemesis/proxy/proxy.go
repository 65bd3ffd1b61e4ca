// Package proxy is a TCP proxy that hurts what goes through it.
//
// A [Link] stands between those who dial one address and the server behind it. It carries bytes
// in both ways until it is told to misbehave: to hold them up (a partition, one-way or both), to be
// slow, to reset connections at once or in the middle of a frame, to leave one side with a
// connection that the other side doesn't have any more.
//
//	l, err := proxy.Listen("127.0.0.1:2181")
//	l.Hold(proxy.Out, true) // what is dialled is not heard any more; it still speaks
//	l.Hold(proxy.Out, false)
//
// What is held is not lost: TCP would send it again, so it comes when the way is free. It knows
// nothing of the bytes that it carries, and it draws nothing: who uses it has the seed.
package proxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// A Way is a direction.
type Way int

// Out is what the one who dialled says, In what he hears.
const (
	Out Way = iota
	In
)

// How much a link keeps for one way of one connection: what it has read and may not pass on yet.
const (
	chunkBytes = 16 << 10
	chunks     = 64
)

// A Link listens on an address of its own and carries to one target. Its methods may be called
// from any goroutine.
type Link struct {
	target string
	ln     net.Listener
	wg     sync.WaitGroup

	mu      sync.Mutex
	freed   sync.Cond
	held    [2]bool
	delay   time.Duration
	rate    int // bytes in a second for each way of each connection; 0 is no limit
	closed  bool
	pairs   map[*pair]bool
	refused bool
	cutNext int64 // connections made from now on are reset after so many bytes; 0 for never
}

// A pair is one connection through a link: what was accepted, and what was dialled for it.
type pair struct {
	l     *Link
	sides [2]net.Conn // 0 accepted, 1 dialled
	// Guarded by the link's mutex.
	left int64 // bytes until the reset, when above 0
	dead bool  // it was reset, or a side of it was
}

// Listen opens a link to a target, on a loopback port that the kernel picks.
func Listen(target string) (*Link, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &Link{target: target, ln: ln, pairs: make(map[*pair]bool)}
	l.freed.L = &l.mu
	l.wg.Go(l.accept)
	return l, nil
}

// Port is the one that the link listens on.
func (l *Link) Port() int { return l.ln.Addr().(*net.TCPAddr).Port }

// Close ends the link and all its connections, and waits until nothing of it is left.
func (l *Link) Close() {
	l.ln.Close()
	l.mu.Lock()
	l.closed = true
	l.freed.Broadcast()
	l.mu.Unlock()
	l.Reset()
	l.wg.Wait()
}

// Hold stops what goes one way, or lets it go on with all that gathered. No connection is made
// while a way is held: a dialler gets one that nobody answers.
func (l *Link) Hold(w Way, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[w] = on
	l.freed.Broadcast()
}

// Slow makes everything come so much later and no faster than so many bytes in a second; zeros end
// that.
func (l *Link) Slow(delay time.Duration, rate int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay, l.rate = delay, rate
}

// Refuse resets whoever dials, until it is off again.
func (l *Link) Refuse(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = on
}

// Reset resets all connections on both sides, with what they have not carried yet.
func (l *Link) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.pairs {
		p.reset()
	}
}

// ResetAfter resets every connection after so many more bytes, both ways together: most likely in
// the middle of a frame. It is so for those that stand, and for those made before it is called
// with 0.
func (l *Link) ResetAfter(bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cutNext = bytes
	for p := range l.pairs {
		p.left = bytes
	}
}

// HalfOpen resets one side of every connection and tells the other side nothing: it goes on to
// speak to nobody, until its own patience ends or Reset is called. Out keeps the one who dialled
// in the dark, In the one who was dialled.
func (l *Link) HalfOpen(dark Way) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.pairs {
		if p.dead {
			continue
		}
		p.dead = true
		abort(p.sides[1-int(dark)])
	}
	l.freed.Broadcast()
}

// Connections is the number of those that are open.
func (l *Link) Connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pairs)
}

func abort(c net.Conn) {
	if c == nil {
		return
	}
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0) // a reset, not an end
	}
	c.Close()
}

// reset is called with the link's mutex held.
func (p *pair) reset() {
	p.dead = true
	abort(p.sides[0])
	abort(p.sides[1])
	p.l.freed.Broadcast()
}

func (l *Link) accept() {
	for {
		c, err := l.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(time.Millisecond) // no descriptors: the one who dials waits
			continue
		}
		l.wg.Go(func() { l.join(c) })
	}
}

// join makes a pair and carries until its end.
func (l *Link) join(a net.Conn) {
	p := &pair{l: l}
	l.mu.Lock()
	if l.closed || l.refused {
		l.mu.Unlock()
		abort(a)
		return
	}
	p.sides[0], p.left = a, l.cutNext
	l.pairs[p] = true
	for (l.held[Out] || l.held[In]) && !l.closed && !p.dead {
		l.freed.Wait()
	}
	gone := l.closed || p.dead
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.pairs, p)
		l.mu.Unlock()
	}()
	if gone {
		abort(a)
		return
	}
	b, err := net.Dial("tcp", l.target)
	if err != nil {
		abort(a) // the nearest there is to a refusal
		return
	}
	l.mu.Lock()
	p.sides[1] = b
	if p.dead || l.closed {
		p.reset()
	}
	l.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.carry(Out) })
	both.Go(func() { p.carry(In) })
	both.Wait()
	a.Close()
	b.Close()
}

// A chunk is bytes and when they came. The last one of a way has the error that ended it.
type chunk struct {
	b   []byte
	at  time.Time
	err error
}

// carry takes what one side says to the other.
func (p *pair) carry(w Way) {
	from, to := p.sides[int(w)], p.sides[1-int(w)]
	queue := make(chan chunk, chunks)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(queue)
		for {
			b := make([]byte, chunkBytes)
			n, err := from.Read(b)
			if n > 0 {
				queue <- chunk{b: b[:n], at: time.Now()}
			}
			if err != nil {
				queue <- chunk{err: err}
				return
			}
		}
	})
	ended := false
	for c := range queue {
		if ended {
			continue // so that the reader is not stuck
		}
		switch {
		case c.err == io.EOF:
			ended = true
			if p.pass(w, c.at) {
				to.Close()
				from.Close()
			}
		case c.err != nil:
			ended = true
			if p.pass(w, c.at) {
				abort(to)
				from.Close()
			}
		case !p.pass(w, c.at) || !p.write(to, c.b):
			ended = true
		}
	}
	reader.Wait()
}

// pass waits until what came then may go on, and says whether it still may.
func (p *pair) pass(w Way, came time.Time) bool {
	l := p.l
	l.mu.Lock()
	wait := time.Until(came.Add(l.delay))
	l.mu.Unlock()
	if wait > 0 && !came.IsZero() {
		time.Sleep(wait)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.held[w] && !l.closed && !p.dead {
		l.freed.Wait()
	}
	return !l.closed && !p.dead
}

// write writes b, or what comes of it before the reset that is due.
func (p *pair) write(to net.Conn, b []byte) bool {
	l := p.l
	l.mu.Lock()
	rate, cut := l.rate, false
	if p.left > 0 {
		if cut = p.left <= int64(len(b)); cut {
			b = b[:p.left]
		}
		p.left -= int64(len(b))
	}
	l.mu.Unlock()
	if rate > 0 {
		time.Sleep(time.Duration(len(b)) * time.Second / time.Duration(rate))
	}
	_, err := to.Write(b)
	if cut {
		// Let what was written go out: a reset takes away what the other side has not read.
		time.Sleep(time.Millisecond)
		l.mu.Lock()
		p.reset()
		l.mu.Unlock()
	}
	return err == nil && !cut
}
