package zab

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/zkcore/zkcore/consensus-zab/protocol"
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/member"
	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A link is one connection on the quorum port, of either side. A goroutine of its own
// reads it and one writes it.
type link struct {
	id    protocol.Conn
	e     *ensemble
	c     net.Conn
	r     *bufio.Reader
	snaps bool // the other side may send a snapshot: it is the leader
	// restored tells the reader that the node has read the snapshot.
	restored chan struct{}

	mu     sync.Mutex
	more   sync.Cond
	queue  []item
	bytes  int // in the queue
	closed bool
	gone   chan struct{}
}

// An item is what is to be written: bytes, or what a function writes.
type item struct {
	b      []byte
	stream func(io.Writer) error
	drop   func() // what to do if it is never called
}

const linkBuffer = 64 << 10

func newLink(e *ensemble, id protocol.Conn, c net.Conn, snaps bool) *link {
	l := &link{id: id, e: e, c: c, r: bufio.NewReaderSize(c, linkBuffer), snaps: snaps,
		restored: make(chan struct{}, 1), gone: make(chan struct{})}
	l.more.L = &l.mu
	return l
}

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
	if !l.closed {
		l.closed = true
		close(l.gone)
		l.more.Broadcast()
		l.c.Close()
	}
}

// send queues bytes, which nobody changes any more.
func (l *link) send(b []byte) { l.add(item{b: b}) }

func (l *link) add(it item) {
	l.mu.Lock()
	if l.closed {
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
		delete(l.e.links, l.id)
		m.Closed(now, l.id, why)
	})
}

// write writes what is queued, as much as there is with one system call.
func (l *link) write() {
	w := bufio.NewWriterSize(deadlineWriter{l}, linkBuffer)
	var items []item
	for {
		l.mu.Lock()
		for len(l.queue) == 0 && !l.closed {
			l.more.Wait()
		}
		items, l.queue = l.queue, items[:0]
		l.bytes = 0
		closed := l.closed
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
				err = it.stream(w)
			} else {
				_, err = w.Write(it.b)
			}
			items[i] = item{}
		}
		if closed {
			return
		}
		if err == nil {
			err = w.Flush()
		}
		if err != nil {
			l.fail(err)
			// Once more around, to drop what was queued meanwhile.
		}
	}
}

// A deadlineWriter fails when the other side takes nothing for as long as it might not
// answer either.
type deadlineWriter struct{ l *link }

func (d deadlineWriter) Write(b []byte) (int, error) {
	d.l.c.SetWriteDeadline(time.Now().Add(d.l.e.initTimeout))
	return d.l.c.Write(b)
}

// A progress tells the member now and then that a long stream gets through.
type progress struct {
	l    *link
	w    io.Writer
	last time.Time
}

func (p *progress) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if now := time.Now(); now.Sub(p.last) > p.l.e.cfg.Tick/2 {
		p.last = now
		p.l.e.post(func(m *protocol.Member, now protocol.Time) { m.Sent(now, p.l.id) })
	}
	return n, err
}

// sendSnapshot queues a SNAP packet and the stream.
func (l *link) sendSnapshot(zxid consensus.Zxid, s consensus.Snapshot) {
	l.add(item{
		stream: func(w io.Writer) error {
			defer s.Close()
			start := time.Now()
			if _, err := w.Write(quorum.AppendPacket(nil, quorum.TypeSnap, int64(zxid), nil)); err != nil {
				return err
			}
			n, err := s.WriteTo(&progress{l: l, w: w, last: start})
			if err == nil {
				l.e.cfg.Log.Info("snapshot sent to a learner", "zxid", zxid, "bytes", n, "ms", time.Since(start).Milliseconds())
			}
			return err
		},
		drop: func() { s.Close() },
	})
}

// sendLog queues a PROPOSAL and a COMMIT for each txn above from, up to last, out of the
// log.
func (l *link) sendLog(from, last consensus.Zxid) {
	l.add(item{stream: func(w io.Writer) error {
		p := &progress{l: l, w: w, last: time.Now()}
		return member.ReadLog(l.e.log, from, last, func(txns []consensus.Txn) error {
			_, err := p.Write(appendHistory(nil, txns))
			return err
		})
	}})
}

// appendTxns appends a packet for each txn.
func appendTxns(b []byte, t quorum.PacketType, txns []consensus.Txn) []byte {
	if b == nil {
		n := 0
		for i := range txns {
			n += quorum.MinPacketSize + len(txns[i].Data)
		}
		b = make([]byte, 0, n)
	}
	for i := range txns {
		b = appendTxn(b, t, txns[i])
	}
	return b
}

func appendTxn(b []byte, t quorum.PacketType, x consensus.Txn) []byte {
	b = appendHead(b, t, x.Zxid)
	b = binary.BigEndian.AppendUint32(b, uint32(len(x.Data)))
	b = append(b, x.Data...)
	return jute.AppendNull(b)
}

func appendHead(b []byte, t quorum.PacketType, z consensus.Zxid) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(t))
	return binary.BigEndian.AppendUint64(b, uint64(z))
}

// appendEmpty appends a packet without data.
func appendEmpty(b []byte, t quorum.PacketType, z consensus.Zxid) []byte {
	return jute.AppendNull(jute.AppendNull(appendHead(b, t, z)))
}

func appendHistory(b []byte, txns []consensus.Txn) []byte {
	for i := range txns {
		b = appendTxn(b, quorum.TypeProposal, txns[i])
		b = appendEmpty(b, quorum.TypeCommit, txns[i].Zxid)
	}
	return b
}

// read reads packets, and gives the member those that came together at once.
func (l *link) read() {
	if err := l.readAll(); err != nil {
		l.fail(err)
	}
}

// maxTogether bounds how many packets are given to the member at once.
const maxTogether = 1024

func (l *link) readAll() error {
	for {
		var ks []protocol.Packet
		bytes := 0
		for {
			k, err := readPacket(l.r, l.e.opts.maxRecord)
			if err != nil {
				// What came before the end counts.
				l.give(ks, bytes)
				return err
			}
			ks = append(ks, k)
			bytes += quorum.MinPacketSize + len(k.Data)
			if l.snaps && k.Type == quorum.TypeSnap {
				break
			}
			if l.r.Buffered() < quorum.MinPacketSize || len(ks) == maxTogether || bytes > 1<<20 {
				break
			}
		}
		snap := l.snaps && ks[len(ks)-1].Type == quorum.TypeSnap
		l.give(ks, bytes)
		if snap {
			// The stream is for the node. If the member wants none it closes the link.
			select {
			case <-l.restored:
			case <-l.gone:
				return nil
			}
		}
	}
}

// maxIdentities bounds the identities of one client. They have no length of their own, so
// their number is all that there is to check before they are read.
const maxIdentities = 1024

// A ping brings all sessions that were heard from, twelve bytes for each: after an election all that
// there are. How many that may be has nothing to do with how long a request or a record is.
const (
	touchSize  = 12
	maxTouches = 200_000
)

// readPacket is quorum.Packet's Read without a call for each field.
func readPacket(r *bufio.Reader, limit int) (protocol.Packet, error) {
	const head = 4 + 8 + 4
	var k protocol.Packet
	b, err := r.Peek(head)
	if err != nil {
		if err == io.EOF && len(b) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return k, err
	}
	k.Type = quorum.PacketType(binary.BigEndian.Uint32(b))
	k.Zxid = int64(binary.BigEndian.Uint64(b[4:]))
	n := int32(binary.BigEndian.Uint32(b[12:]))
	r.Discard(head)
	if k.Type == quorum.TypePing {
		limit = max(limit, maxTouches*touchSize)
	}
	if n < -1 || int(n) > limit {
		return k, fmt.Errorf("%v of %d bytes: %w", k.Type, n, jute.ErrLength)
	}
	if n >= 0 {
		if int(n) <= r.Buffered() {
			k.Data = make([]byte, n)
			_, err = io.ReadFull(r, k.Data)
		} else {
			// What is not here yet is a claim: it gets its memory as it comes.
			in := jute.NewReader(r, limit)
			k.Data = in.AppendBytes(nil, int(n))
			err = in.Err()
		}
		if err != nil {
			return k, noEOF(err)
		}
	}
	if b, err = r.Peek(4); err != nil {
		return k, noEOF(err)
	}
	n = int32(binary.BigEndian.Uint32(b))
	r.Discard(4)
	if n < -1 || n > maxIdentities {
		return k, fmt.Errorf("%v with %d identities: %w", k.Type, n, jute.ErrLength)
	}
	in := jute.NewReader(r, limit)
	for range n {
		id := jute.ID{Scheme: in.String(), ID: in.String()}
		if err := in.Err(); err != nil {
			return k, noEOF(err)
		}
		k.AuthInfo = append(k.AuthInfo, id)
	}
	return k, nil
}

// noEOF is for an end in the middle of a packet.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (l *link) give(ks []protocol.Packet, bytes int) {
	if len(ks) > 0 {
		l.e.postBytes(bytes, l.gone, func(m *protocol.Member, now protocol.Time) { m.Packets(now, l.id, ks) })
	}
}

// restore makes the node read the snapshot that comes on the link, unless it is to be
// passed over. It runs on the node's goroutine.
func (l *link) restore(zxid consensus.Zxid, skip bool) error {
	start := time.Now()
	s := &snapStream{r: l.r, begin: func() { l.c.SetReadDeadline(time.Now().Add(l.e.initTimeout)) }}
	count := &countReader{r: s}
	var err error
	if !skip {
		err = l.e.caller.Node.Restore(zxid, count)
	}
	if err == nil {
		// The node may have stopped reading before the signature.
		_, err = io.Copy(io.Discard, count)
	}
	if err != nil {
		return err
	}
	l.c.SetReadDeadline(time.Time{})
	l.e.cfg.Log.Info("snapshot received from the leader", "zxid", zxid, "bytes", count.n, "ms", time.Since(start).Milliseconds())
	l.restored <- struct{}{}
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
