package raft

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/zkcore/zkcore/consensus-raft/protocol"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A link is one connection on the quorum port, of either side. A goroutine of its own
// reads it and one writes it.
type link struct {
	id   protocol.Conn
	e    *ensemble
	c    net.Conn
	r    *bufio.Reader
	snap *pipe // what comes of a snapshot

	mu     sync.Mutex
	more   sync.Cond
	queue  []item
	bytes  int // in the queue
	closed bool
	ending bool // what is queued is still sent
	gone   chan struct{}
}

// An item is what is to be written: bytes, or what a function writes.
type item struct {
	b      []byte
	stream func() error
	drop   func() // what to do if it is never called
}

const linkBuffer = 64 << 10

func newLink(e *ensemble, id protocol.Conn, c net.Conn) *link {
	l := &link{id: id, e: e, c: c, r: bufio.NewReaderSize(c, linkBuffer), gone: make(chan struct{})}
	l.snap = newPipe(l.gone)
	l.more.L = &l.mu
	return l
}

// An attentive reader ends a connection on which nothing comes for as long as that.
type attentive struct {
	c    net.Conn
	long time.Duration
}

func (r attentive) Read(b []byte) (int, error) {
	r.c.SetReadDeadline(time.Now().Add(r.long))
	return r.c.Read(b)
}

// attend makes the link one of a leader's, who says something with each beat. A machine that lost its power ends no
// connection, and one that stands still none either: a snapshot that comes no further must not keep this server
// from voting for another one. What waits to be read here, since the node takes long with it, is no silence.
func (l *link) attend() { l.r.Reset(attentive{l.c, l.e.initTimeout}) }

// start begins to read and to write.
func (l *link) start() {
	l.e.wg.Add(2)
	go func() { defer l.e.wg.Done(); l.read() }()
	go func() { defer l.e.wg.Done(); l.write() }()
}

// close ends both. It may be called more than once.
func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
}

// end is close for who holds mu.
func (l *link) end() {
	if !l.closed {
		l.closed = true
		close(l.gone)
		l.more.Broadcast()
		l.c.Close()
	}
}

// finish closes the link when what is queued is sent: the last frame may say why.
func (l *link) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		l.end()
		return
	}
	l.ending = true
	l.c.SetWriteDeadline(time.Now().Add(time.Second))
	l.more.Broadcast()
}

// send queues bytes, which nobody changes any more.
func (l *link) send(b []byte) {
	if len(b) > 0 {
		l.add(item{b: b})
	}
}

func (l *link) add(it item) {
	l.mu.Lock()
	if l.closed || l.ending {
		l.mu.Unlock()
		if it.drop != nil {
			it.drop()
		}
		return
	}
	l.queue = append(l.queue, it)
	l.bytes += len(it.b)
	over := l.bytes > l.e.opts.queueBytes
	l.more.Signal()
	l.mu.Unlock()
	if over {
		l.fail(fmt.Errorf("it does not read: more than %d bytes wait for it", l.e.opts.queueBytes))
	}
}

// fail closes the link and tells the member.
func (l *link) fail(err error) {
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return
	}
	l.close()
	why := err.Error()
	if errors.Is(err, io.EOF) {
		why = "the other side closed the connection"
	}
	l.e.post(func(m *protocol.Member, now protocol.Time) {
		if l.e.links[l.id] == l {
			delete(l.e.links, l.id)
			m.Closed(now, l.id, why)
		}
	})
}

// write writes what is queued, as much as there is with one system call.
func (l *link) write() {
	var items []item
	for {
		l.mu.Lock()
		for len(l.queue) == 0 && !l.closed && !l.ending {
			l.more.Wait()
		}
		items, l.queue = l.queue, items[:0]
		l.bytes = 0
		closed, ending := l.closed, l.ending
		l.mu.Unlock()
		var err error
		for i, it := range items {
			if closed || err != nil {
				if it.drop != nil {
					it.drop()
				}
				continue
			}
			if it.stream != nil {
				err = it.stream()
			} else {
				err = l.put(it.b)
			}
			items[i] = item{}
		}
		if closed {
			return
		}
		if err != nil {
			l.fail(err)
			// Once more around, to drop what was queued meanwhile.
		}
		if ending {
			l.close()
		}
	}
}

// put writes bytes. It fails when the other side takes nothing for as long as it might not
// answer either.
func (l *link) put(b []byte) error {
	l.mu.Lock()
	if !l.ending {
		l.c.SetWriteDeadline(time.Now().Add(l.e.initTimeout))
	}
	l.mu.Unlock()
	_, err := l.c.Write(b)
	return err
}

// between writes the bytes that are queued at the front: a long stream lets them pass.
func (l *link) between() error {
	for {
		l.mu.Lock()
		if len(l.queue) == 0 || l.queue[0].stream != nil || l.closed {
			closed := l.closed
			l.mu.Unlock()
			if closed {
				return net.ErrClosed
			}
			return nil
		}
		b := l.queue[0].b
		l.queue = l.queue[1:]
		l.bytes -= len(b)
		l.mu.Unlock()
		if err := l.put(b); err != nil {
			return err
		}
	}
}

// sendSnapshot queues SNAP and the stream. Frames that are queued meanwhile go out between
// its chunks: a leader that sends a snapshot still leads.
func (l *link) sendSnapshot(at protocol.Point, s consensus.Snapshot) {
	l.add(item{
		stream: func() error {
			defer s.Close()
			start := time.Now()
			f := protocol.Frame{Kind: protocol.Snap, At: at}
			if err := l.put(f.Append(nil)); err != nil {
				return err
			}
			w := bufio.NewWriterSize(chunkWriter{l}, protocol.MaxChunk)
			n, err := s.WriteTo(w)
			if err == nil {
				err = w.Flush()
			}
			if err != nil {
				return err
			}
			f = protocol.Frame{Kind: protocol.SnapDone}
			if err := l.put(f.Append(nil)); err != nil {
				return err
			}
			l.e.cfg.Log.Info("snapshot sent to a learner", "zxid", at.Zxid, "bytes", n, "ms", time.Since(start).Milliseconds())
			return nil
		},
		drop: func() { s.Close() },
	})
}

// A chunkWriter sends what is written as chunks.
type chunkWriter struct{ l *link }

func (w chunkWriter) Write(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k := min(len(b)-n, protocol.MaxChunk)
		f := protocol.Frame{Kind: protocol.Chunk, Data: b[n : n+k]}
		if err := w.l.put(f.Append(make([]byte, 0, k+8))); err != nil {
			return n, err
		}
		if err := w.l.between(); err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}

// read reads frames, and gives the member those that came together at once.
func (l *link) read() {
	if err := l.readAll(); err != nil {
		l.snap.fail(io.ErrUnexpectedEOF)
		l.fail(err)
	}
}

// maxTogether bounds how many frames are given to the member at once.
const maxTogether = 1024

func (l *link) readAll() error {
	limit := l.e.frameLimit()
	for {
		var fs []protocol.Frame
		bytes := 0
		for {
			f, n, err := readFrame(l.r, limit)
			if err == nil && f.Kind.OnElectionPort() {
				err = fmt.Errorf("%v comes to the quorum port", f.Kind)
			}
			if err != nil {
				// What came before the end counts.
				l.give(fs, bytes)
				return err
			}
			switch f.Kind {
			case protocol.Chunk:
				// What stands before it is given first, so that the member knows what it is of.
				l.give(fs, bytes)
				fs, bytes = nil, 0
				if !l.snap.put(f.Data) {
					return net.ErrClosed
				}
			case protocol.SnapDone:
				l.snap.fail(io.EOF)
			default:
				if f.Kind == protocol.Snap {
					l.snap.begin()
				}
				fs = append(fs, f)
				bytes += n
			}
			if l.r.Buffered() < 5 || len(fs) == maxTogether || bytes > 1<<20 {
				break
			}
		}
		l.give(fs, bytes)
	}
}

func (l *link) give(fs []protocol.Frame, bytes int) {
	if len(fs) > 0 {
		l.e.postBytes(bytes, l.gone, func(m *protocol.Member, now protocol.Time) {
			if l.e.links[l.id] == l {
				m.Frames(now, l.id, fs)
			}
		})
	}
}

// frameLimit is the longest frame there can be: the txns of one message, or one txn.
func (e *ensemble) frameLimit() int { return max(2<<20, e.opts.maxRecord) + 64<<10 }

// readFrame reads a frame, and returns how many bytes it took.
func readFrame(r *bufio.Reader, limit int) (protocol.Frame, int, error) {
	head, err := r.Peek(5)
	if err != nil {
		if err == io.EOF && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return protocol.Frame{}, 0, err
	}
	n := int(beUint32(head))
	if n < 1 || n > limit {
		return protocol.Frame{}, 0, fmt.Errorf("a frame of %d bytes, where 1 to %d may be", n, limit)
	}
	r.Discard(4)
	// What is not here yet is a claim: it gets its memory as it comes.
	b := make([]byte, 0, min(n, max(r.Buffered(), 4096)))
	for len(b) < n {
		k := min(n-len(b), max(len(b), 4096))
		if cap(b)-len(b) < k {
			b = append(make([]byte, 0, len(b)+k), b...)
		}
		if _, err := io.ReadFull(r, b[len(b):len(b)+k]); err != nil {
			return protocol.Frame{}, 0, noEOF(err)
		}
		b = b[:len(b)+k]
	}
	f, err := protocol.DecodeFrame(b)
	return f, 4 + n, err
}

// noEOF is for an end in the middle of a frame.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// restore makes the node read the snapshot that comes on the link. It runs on the node's
// goroutine.
func (l *link) restore(at protocol.Point) error {
	start := time.Now()
	count := &countReader{r: l.snap}
	// When it returns, all of it is on the disk: what becomes of the connection is another
	// matter.
	err := l.e.caller.Node.Restore(at.Zxid, count)
	l.snap.discard()
	if err != nil {
		return err
	}
	l.e.cfg.Log.Info("snapshot received from the leader", "zxid", at.Zxid, "bytes", count.n, "ms", time.Since(start).Milliseconds())
	return nil
}

type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// A pipe hands the chunks of a snapshot from the link's reader to the node, a few at a
// time.
type pipe struct {
	gone <-chan struct{}

	mu      sync.Mutex
	cond    sync.Cond
	chunks  [][]byte
	err     error // behind the chunks
	ignored bool
}

// maxChunks bounds what waits.
const maxChunks = 16

func newPipe(gone <-chan struct{}) *pipe {
	p := &pipe{gone: gone, err: io.ErrUnexpectedEOF}
	p.cond.L = &p.mu
	context.AfterFunc(doneContext{gone}, func() { p.fail(net.ErrClosed) })
	return p
}

// begin is the begin of a snapshot.
func (p *pipe) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.chunks, p.err, p.ignored = nil, nil, false
}

// put waits until there is room. It reports false when the link is closed.
func (p *pipe) put(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.chunks) >= maxChunks && p.err == nil && !p.ignored {
		p.cond.Wait()
	}
	if p.err == nil && !p.ignored {
		p.chunks = append(p.chunks, b)
		p.cond.Broadcast()
	}
	return !errors.Is(p.err, net.ErrClosed)
}

// fail is the end of the snapshot: io.EOF if all of it came.
func (p *pipe) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil || errors.Is(err, net.ErrClosed) && p.err != io.EOF {
		p.err = err
	}
	p.cond.Broadcast()
}

// discard drops what is there and what comes.
func (p *pipe) discard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ignored, p.chunks = true, nil
	p.cond.Broadcast()
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.chunks) == 0 && p.err == nil && !p.ignored {
		p.cond.Wait()
	}
	if len(p.chunks) == 0 {
		if p.err == nil {
			return 0, io.ErrUnexpectedEOF
		}
		return 0, p.err
	}
	n := copy(b, p.chunks[0])
	if p.chunks[0] = p.chunks[0][n:]; len(p.chunks[0]) == 0 {
		p.chunks = p.chunks[1:]
		p.cond.Broadcast()
	}
	return n, nil
}

// doneContext is a context of a channel.
type doneContext struct{ done <-chan struct{} }

func (d doneContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (d doneContext) Done() <-chan struct{}       { return d.done }
func (d doneContext) Value(any) any               { return nil }
func (d doneContext) Err() error {
	select {
	case <-d.done:
		return context.Canceled
	default:
		return nil
	}
}
