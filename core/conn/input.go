package conn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// stash is the longest beginning of a frame that is kept in memory of its own
// size while the rest of it does not come.
const stash = 4 << 10

// input is the incoming side. It belongs to the connection's own goroutine.
type input struct {
	in    *buffer // nil: nothing was read that is not handled yet
	pos   int     // where the next frame begins
	limit int     // longest frame
	large int64   // bytes reserved in Server.large

	greeted bool // Established was called

	backlog []byte // of a connection with a Port: what came and is not in in
	over    bool   // likewise: nothing more is taken

	// The call of the system that waits for readRaw, and what came of it. A
	// closure made once: one for each read would be an allocation.
	readRaw func(fd uintptr) bool
	n       int
	err     error
}

// fill waits until bytes have come and reads as many as there is room for.
func (c *Conn) fill() error {
	if err := c.room(); err != nil {
		return err
	}
	n, err := c.read()
	if n > 0 {
		c.srv.add("bytes_received_count", int64(n))
		return nil
	}
	if err == nil {
		err = io.EOF
	}
	return err
}

// frames hands all complete frames to the client and leaves the beginning of
// the next one at the front of the buffer.
func (c *Conn) frames() error {
	for {
		end, err := c.complete()
		if end == c.pos {
			c.compact()
			return err
		}
		switch c.await() {
		case gone:
			c.pos = len(c.in.b) // closing: what comes is not looked at
			c.compact()
			return nil
		case stalled:
			return errStalled
		}
		n, ferr := c.client.Frames(c.in.b[c.pos:end])
		c.pos += n
		c.Flush()
		if ferr != nil {
			return ferr
		}
	}
}

// complete finds the end of the last whole frame. An error is about the frame
// behind it.
func (c *Conn) complete() (end int, err error) {
	if c.in == nil {
		return c.pos, nil
	}
	b := c.in.b
	end = c.pos
	for len(b)-end >= 4 {
		n, err := c.frameLen(b[end:])
		if err != nil {
			c.srv.add("zkcore_frames_refused", 1)
			return end, err
		}
		if len(b)-end-4 < n {
			return end, c.srv.mayRead(n)
		}
		end += 4 + n
		if !c.greeted {
			break // what follows the greeting has another limit
		}
	}
	return end, nil
}

func (c *Conn) frameLen(b []byte) (int, error) {
	n := int(int32(binary.BigEndian.Uint32(b)))
	switch {
	case n < 0:
		return 0, fmt.Errorf("frame of %d bytes", n)
	case n > c.limit && !c.greeted:
		return 0, fmt.Errorf("frame of %d bytes before there is a session", n)
	case n > c.limit:
		return 0, fmt.Errorf("frame of %d bytes is longer than jute.maxbuffer, %d", n, c.limit)
	}
	return n, nil
}

// A turn says whether frames may be handed over.
type turn uint8

const (
	ready   turn = iota
	stalled      // not now: whoever called sees to it
	gone         // the connection is closing
)

// await waits while the client takes no frames or does not read its replies; a
// connection with a Port, or one of the cold ones, does not wait here.
func (c *Conn) await() turn {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.mustWait() {
		switch {
		case c.port != nil:
			c.waiting = 1
			return stalled
		case c.cold:
			return stalled // others wait for the place
		}
		c.waiting++
		c.cond.Wait()
		c.waiting--
	}
	if c.closed || c.closing {
		return gone
	}
	return ready
}

// mustWait says that no frames may be handed over now. The connection is locked.
func (c *Conn) mustWait() bool {
	return !c.closed && !c.closing && (c.queued() > highWater || c.client.Blocked())
}

// compact moves what is left to the front of the buffer; with nothing left, the
// buffer goes back.
func (c *Conn) compact() {
	if c.in == nil {
		return
	}
	left := copy(c.in.b, c.in.b[c.pos:])
	c.in.b, c.pos = c.in.b[:left], 0
	if left == 0 {
		c.releaseInput()
	}
}

func (c *Conn) releaseInput() {
	if c.in != nil {
		putIn(c.in)
		c.in = nil
	}
	if c.large > 0 {
		c.srv.large.Add(-c.large)
		c.large = 0
	}
}

var errLarge = errors.New("no memory left for large requests of all clients together")

// room makes room for at least one byte. The buffer grows with the bytes that
// have come, not with the length that they claim.
func (c *Conn) room() error {
	if c.in == nil || len(c.in.b) < cap(c.in.b) {
		return nil
	}
	size := 2 * cap(c.in.b)
	if len(c.in.b) >= 4 {
		if n, err := c.frameLen(c.in.b); err == nil {
			size = min(size, max(4+n, inSize))
		}
	}
	size = max(size, cap(c.in.b)+1)
	if extra := int64(size - inSize - int(c.large)); extra > 0 {
		if c.srv.large.Add(extra) > c.srv.cfg.MaxLarge {
			c.srv.large.Add(-extra)
			c.srv.add("large_requests_rejected", 1)
			return errLarge
		}
		c.large += extra
	}
	b := make([]byte, len(c.in.b), size)
	copy(b, c.in.b)
	putIn(c.in)
	c.in = &buffer{b}
	return nil
}

// park gives the buffer back while nothing comes; the beginning of a frame is
// kept in as few bytes as it has.
func (c *Conn) park() {
	switch {
	case c.in == nil:
	case len(c.in.b) == 0:
		putIn(c.in)
		c.in = nil
	case len(c.in.b) <= stash && cap(c.in.b) == inSize:
		kept := &buffer{append(make([]byte, 0, len(c.in.b)), c.in.b...)}
		putIn(c.in)
		c.in = kept
	}
}

// unpark is the reverse of park, when bytes may be there.
func (c *Conn) unpark() {
	if c.in == nil && !c.greeted {
		c.in = getShort()
	} else if c.in == nil {
		c.in = getIn()
	} else if cap(c.in.b) < inSize {
		full := getIn()
		full.b = append(full.b, c.in.b...)
		c.in = full
	}
}

// readPlain reads from what is no socket: a small buffer is held meanwhile.
func (c *Conn) readPlain() (int, error) {
	var small [512]byte
	n, err := c.nc.Read(small[:])
	if n > 0 {
		c.unpark()
		c.in.b = append(c.in.b, small[:n]...)
		return n, nil
	}
	return 0, err
}
