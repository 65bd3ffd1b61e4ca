package raft

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/zkcore/zkcore/consensus-raft/protocol"
	"github.com/zkcore/zkcore/core/member"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A World is what a Driven member has in place of sockets, goroutines, chance and a clock.
// Its methods are called from within those of the member, and only note what is to be done.
type World interface {
	// Now is monotonic time; never 0.
	Now() protocol.Time
	// IntN returns a number in [0, n).
	IntN(n int64) int64
	// Wake, WakeJournal and WakeNode say that Turn, Journal and Node have something to do.
	Wake()
	WakeJournal()
	WakeNode()

	// Mail carries a frame to another server's election port.
	Mail(to consensus.ServerID, frame []byte)
	// Dial connects to a member's quorum port, after a while, until Linked or HangUp.
	Dial(to consensus.ServerID, after protocol.Time)
	// HangUp ends all dialling.
	HangUp()
	// Send writes whole frames to a connection on the quorum port.
	Send(c protocol.Conn, b []byte)
	// Disconnect closes one, behind what was sent.
	Disconnect(c protocol.Conn)
}

// A Driven is a member that runs nothing by itself: the simulator calls it, one call at a
// time, and carries out what it wants of its World. What it decides, and what it does with
// its files, is done by the code that serves users.
type Driven struct {
	consensus.Member
	world   World
	e       *ensemble // nil: standalone
	journal *member.Journal
	caller  *member.Caller
	left    bool

	snaps map[protocol.Conn]*stream
	takes *taking // the node waits for a snapshot

	src bytes.Reader // ReadFrames'
	in  *bufio.Reader
}

// A stream is what came of a snapshot.
type stream struct {
	b    []byte
	done bool
	end  bool // of the connection
}

// A taking is a Restore that waits until all of the snapshot is there.
type taking struct {
	conn protocol.Conn
	at   protocol.Point
	s    *stream
}

// OpenDriven opens a member as OpenFS does.
func OpenDriven(fsys vfs.FS, w World, cfg consensus.Config, n consensus.Node) (*Driven, error) {
	o := parseOptions(cfg.Options, cfg.Log)
	m := member.Meter{To: cfg.Metrics}
	s, err := openData(fsys, cfg, &o, n)
	if err != nil {
		return nil, err
	}
	j := member.NewJournal(s.log, member.NewGauge(fsys, cfg, o.reserve), o.fsyncWarn, cfg.Fail, cfg.Log, m)
	c := member.NewCaller(n, o.queueBytes)
	c.Drive(w.WakeNode)
	// How long a machine with too much to do really takes is no part of a seed.
	j.Drive(w.WakeJournal, func() time.Duration { return time.Duration(w.Now()) })
	d := &Driven{world: w, journal: j, caller: c, snaps: map[protocol.Conn]*stream{}, in: bufio.NewReaderSize(nil, 512)}
	if len(cfg.Servers) == 0 {
		alone := member.NewStandalone(cfg, s.log, j, c)
		d.Member = alone
		alone.Start(s.found.Recovered, s.found.Last)
		return d, nil
	}
	if d.e, err = newEnsemble(fsys, cfg, o, s, j, c, w.IntN, uint64(w.IntN(1<<62))|1); err != nil {
		return nil, err
	}
	d.e.driven = d
	d.Member = d.e
	return d, nil
}

// Begin is the first call of a member of an ensemble.
func (d *Driven) Begin() { d.e.begin() }

// Role is what the protocol has made of this member; the node may be told later.
func (d *Driven) Role() consensus.Role {
	d.e.mu.Lock()
	defer d.e.mu.Unlock()
	return d.e.made
}

// Next is when Turn is wanted if nothing happens.
func (d *Driven) Next() protocol.Time { return d.e.member.Next() }

// Turn tells the protocol what happened.
func (d *Driven) Turn() { d.e.turn(d.world.Now()) }

// Journal does the next thing for the log: a write of all that waits, the sync behind it,
// which tells what is durable, or a change of another kind.
func (d *Driven) Journal() error { return d.journal.Turn() }

// JournalWaits says whether Journal has something to do.
func (d *Driven) JournalWaits() bool { return d.journal.Waits() }

// WaitsForSpace says that the disk is full: Journal looks again, and does nothing else
// before there is space.
func (d *Driven) WaitsForSpace() bool { return d.journal.WaitsForSpace() }

// Node makes the next call of the node. It reports whether there was one.
func (d *Driven) Node() bool {
	if t := d.takes; t != nil {
		if !d.ready() || d.caller.Closed() {
			return false
		}
		d.takes = nil
		d.restore(t)
		return true
	}
	return d.caller.Turn()
}

// NodeWaits says whether Node has something to do.
func (d *Driven) NodeWaits() bool {
	if d.takes != nil {
		return d.ready()
	}
	return d.caller.Waits()
}

// ready says whether the snapshot that the node waits for is there, or will never be.
func (d *Driven) ready() bool { return d.takes.s.done || d.takes.s.end }

// restore gives the node the snapshot.
func (d *Driven) restore(t *taking) {
	var r io.Reader = bytes.NewReader(t.s.b)
	if !t.s.done {
		r = io.MultiReader(r, broken{})
	}
	err := d.caller.Node.Restore(t.at.Zxid, r)
	t.s.b = nil
	d.e.post(func(m *protocol.Member, now protocol.Time) { m.Restored(now, err) })
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Mailed is a frame that came to the election port.
func (d *Driven) Mailed(from consensus.ServerID, frame []byte) error {
	f, err := protocol.DecodeFrame(frame[4:])
	if err != nil {
		return err
	}
	d.e.post(func(m *protocol.Member, now protocol.Time) { m.Mailed(now, from, f) })
	return nil
}

// Accepted is a connection that a leader made to the quorum port.
func (d *Driven) Accepted(c protocol.Conn, addr string) {
	d.e.post(func(m *protocol.Member, now protocol.Time) { m.Accepted(now, c, addr) })
}

// Linked is a connection that Dial asked for.
func (d *Driven) Linked(to consensus.ServerID, c protocol.Conn, addr string) {
	d.e.post(func(m *protocol.Member, now protocol.Time) { m.Linked(now, to, c, addr) })
}

// Closed says that the other side ended a connection, or that it broke.
func (d *Driven) Closed(c protocol.Conn, why string) {
	d.endStream(c)
	d.e.post(func(m *protocol.Member, now protocol.Time) { m.Closed(now, c, why) })
}

func (d *Driven) endStream(c protocol.Conn) {
	if s := d.snaps[c]; s != nil {
		s.end = true
		delete(d.snaps, c)
		d.world.WakeNode()
	}
}

// Frames takes in what came on a connection, and returns what is left of b: a frame that
// is not all there.
func (d *Driven) Frames(c protocol.Conn, b []byte) (rest []byte, err error) {
	var fs []protocol.Frame
	give := func() {
		if len(fs) > 0 {
			frames := fs
			fs = nil
			d.e.post(func(m *protocol.Member, now protocol.Time) { m.Frames(now, c, frames) })
		}
	}
	defer give()
	for {
		d.src.Reset(b)
		d.in.Reset(&d.src)
		f, n, err := readFrame(d.in, d.e.frameLimit())
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
		b = b[n:]
		switch f.Kind {
		case protocol.Snap:
			d.snaps[c] = new(stream)
			fs = append(fs, f)
		case protocol.Chunk:
			if s := d.snaps[c]; s != nil {
				s.b = append(s.b, f.Data...)
			}
		case protocol.SnapDone:
			if s := d.snaps[c]; s != nil {
				s.done = true
				d.world.WakeNode()
			}
		default:
			fs = append(fs, f)
		}
	}
}

// Left says whether the member has handed over, after Leave.
func (d *Driven) Left() bool { return d.left || d.e == nil }

// Leave is what comes before Close in an orderly end.
func (d *Driven) Leave() {
	if d.e != nil {
		d.e.post(func(m *protocol.Member, now protocol.Time) { m.Leave(now) })
	}
}

// Close does what is left for the journal, and closes the log.
func (d *Driven) Close() error {
	if d.caller.Shut() {
		return nil
	}
	if d.e != nil {
		d.e.mu.Lock()
		d.e.closed = true
		d.e.mu.Unlock()
		d.e.cancel()
		d.e.dropPinned()
	}
	return d.journal.Finish()
}

// do carries out what needs the world, and reports whether it did.
func (d *Driven) do(o protocol.Output) bool {
	switch o := o.(type) {
	case protocol.Mail:
		d.world.Mail(o.To, o.F.Append(nil))
	case protocol.Dial:
		d.world.Dial(o.To, o.After)
	case protocol.HangUp:
		d.world.HangUp()
	case protocol.Disconnect:
		d.endStream(o.Conn)
		d.world.Disconnect(o.Conn)
	case protocol.Send:
		d.world.Send(o.To, encode(o.Frames))
	case protocol.SendTouches:
		d.world.Send(o.To, encodeTouches(d.caller.Node.Touched()))
	case protocol.SendSnapshot:
		defer o.Snapshot.Close()
		var state bytes.Buffer
		if _, err := o.Snapshot.WriteTo(&state); err != nil {
			d.world.Disconnect(o.To)
			d.Closed(o.To, err.Error())
			return true
		}
		f := protocol.Frame{Kind: protocol.Snap, At: o.At}
		d.world.Send(o.To, f.Append(nil))
		for b := state.Bytes(); len(b) > 0; {
			n := min(len(b), protocol.MaxChunk)
			f := protocol.Frame{Kind: protocol.Chunk, Data: b[:n]}
			d.world.Send(o.To, f.Append(nil))
			b = b[n:]
		}
		f = protocol.Frame{Kind: protocol.SnapDone}
		d.world.Send(o.To, f.Append(nil))
	case protocol.Restore:
		if o.At == (protocol.Point{}) {
			return true
		}
		s := d.snaps[o.Conn]
		if s == nil {
			s = &stream{end: true}
		}
		d.caller.Do(func() { d.takes = &taking{o.Conn, o.At, s} })
	case protocol.Left:
		d.left = true
	default:
		return false
	}
	return true
}
