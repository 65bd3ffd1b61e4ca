package zab

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/zkcore/zkcore/consensus-zab/protocol"
	"github.com/zkcore/zkcore/core/member"
	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A World is what a Driven member has in place of sockets, goroutines and a clock. Its
// methods are called from within those of the member, and only note what is to be done.
type World interface {
	// Now is monotonic time; never 0.
	Now() protocol.Time
	// Wake, WakeJournal and WakeNode say that Turn, Journal and Node have something to do.
	Wake()
	WakeJournal()
	WakeNode()

	// Notify carries a frame to another server's election port.
	Notify(to consensus.ServerID, n protocol.Notification)
	// Listen opens the quorum port, StopListening closes it.
	Listen()
	StopListening()
	// Connect dials a leader until Connected, ConnectFailed or HangUp.
	Connect(leader consensus.ServerID)
	HangUp()
	// Send writes whole packets to a connection on the quorum port.
	Send(c protocol.Conn, b []byte)
	// Disconnect closes one.
	Disconnect(c protocol.Conn)
	// Restore asks for the snapshot that comes on a connection: Driven.Restore, when it
	// is there, or when the connection ended. Until then Node does nothing.
	Restore(c protocol.Conn, zxid consensus.Zxid, skip bool)
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
	waits   bool // for Restore

	src bytes.Reader // ReadPackets'
	in  *bufio.Reader
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
	d := &Driven{world: w, journal: j, caller: c, in: bufio.NewReaderSize(nil, 512)}
	if len(cfg.Servers) == 0 {
		alone := member.NewStandalone(cfg, s.log, j, c)
		d.Member = alone
		alone.Start(s.base, s.last)
		return d, nil
	}
	if d.e, err = newEnsemble(fsys, cfg, o, s, j, c); err != nil {
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
	return d.e.role
}

// Next is when Turn is wanted if nothing happens.
func (d *Driven) Next() protocol.Time { return d.e.next() }

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
func (d *Driven) Node() bool { return !d.waits && d.caller.Turn() }

// NodeWaits says whether Node has something to do.
func (d *Driven) NodeWaits() bool { return !d.waits && d.caller.Waits() }

// Notification is one that came from another server.
func (d *Driven) Notification(from consensus.ServerID, n protocol.Notification) {
	d.e.post(func(m *protocol.Member, now protocol.Time) { m.Notification(now, from, n) })
}

// Reach tells what is known of the way to another server's election port.
func (d *Driven) Reach(id consensus.ServerID, r protocol.Reach) {
	d.e.post(func(m *protocol.Member, now protocol.Time) { m.Reach(now, id, r) })
}

// Accepted is a connection that a learner made to the quorum port.
func (d *Driven) Accepted(c protocol.Conn, addr string) {
	d.e.post(func(m *protocol.Member, now protocol.Time) { m.Accepted(now, c, addr) })
}

// Connected is the connection to the leader.
func (d *Driven) Connected(c protocol.Conn) {
	d.e.post(func(m *protocol.Member, now protocol.Time) { m.Connected(now, c) })
}

// ConnectFailed says that the leader can't be reached.
func (d *Driven) ConnectFailed(leader consensus.ServerID, why string) {
	d.e.post(func(m *protocol.Member, now protocol.Time) { m.ConnectFailed(now, leader, why) })
}

// Packets came on a connection.
func (d *Driven) Packets(c protocol.Conn, ks []protocol.Packet) {
	d.e.post(func(m *protocol.Member, now protocol.Time) { m.Packets(now, c, ks) })
}

// Sent says that a long stream gets through.
func (d *Driven) Sent(c protocol.Conn) {
	d.e.post(func(m *protocol.Member, now protocol.Time) { m.Sent(now, c) })
}

// Closed says that the other side ended a connection, or that it broke.
func (d *Driven) Closed(c protocol.Conn, why string) {
	d.e.post(func(m *protocol.Member, now protocol.Time) { m.Closed(now, c, why) })
}

// Restore gives the node the snapshot that World.Restore asked for. b begins with the
// stream; what is left of it is returned. An end of b in the middle is the end of the
// connection.
func (d *Driven) Restore(zxid consensus.Zxid, skip bool, b []byte) (rest []byte, err error) {
	d.waits = false
	r := bufio.NewReader(bytes.NewReader(b))
	end := &countReader{r: &snapStream{r: r, begin: func() {}}}
	if !skip {
		err = d.caller.Node.Restore(zxid, end)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, end)
	}
	if err == nil {
		rest = b[end.n:]
	}
	d.e.post(func(m *protocol.Member, now protocol.Time) { m.Restored(now, err) })
	d.world.WakeNode()
	return rest, err
}

// SnapshotLen is how long the snapshot stream is that b begins with; -1 if b does not
// hold all of it, 0 if b is no such stream.
func SnapshotLen(b []byte) int64 {
	n, err := io.Copy(io.Discard, &snapStream{r: bufio.NewReader(bytes.NewReader(b)), begin: func() {}})
	switch {
	case err == nil:
		return n
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return -1
	}
	return 0
}

// ReadPackets decodes the whole packets that b begins with, up to and with a SNAP packet
// if snaps is set, and returns what is left.
func (d *Driven) ReadPackets(b []byte, snaps bool) (ks []protocol.Packet, rest []byte, err error) {
	for {
		d.src.Reset(b)
		d.in.Reset(&d.src)
		k, err := readPacket(d.in, d.e.opts.maxRecord)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return ks, b, nil
		}
		if err != nil {
			return ks, b, err
		}
		ks = append(ks, k)
		b = b[len(b)-d.src.Len()-d.in.Buffered():]
		if snaps && k.Type == quorum.TypeSnap {
			return ks, b, nil
		}
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
		for _, ev := range d.e.take(nil) {
			ev(d.e.member, d.world.Now())
		}
		for _, o := range d.e.member.Outputs() {
			switch o := o.(type) {
			case protocol.SendSnapshot:
				o.Snapshot.Close()
			case protocol.DropSnapshot:
				o.Snapshot.Close()
			}
		}
	}
	return d.journal.Finish()
}

// do carries out what needs the world, and reports whether it did.
func (d *Driven) do(o protocol.Output) bool {
	switch o := o.(type) {
	case protocol.Notify:
		d.world.Notify(o.To, o.N)
	case protocol.Listen:
		d.world.Listen()
	case protocol.StopListening:
		d.world.StopListening()
	case protocol.Connect:
		d.world.Connect(o.Leader)
	case protocol.HangUp:
		d.world.HangUp()
	case protocol.Disconnect:
		d.world.Disconnect(o.Conn)
	case protocol.SendLog:
		err := member.ReadLog(d.e.log, o.From, o.Last, func(txns []consensus.Txn) error {
			d.world.Send(o.To, appendHistory(nil, txns))
			return nil
		})
		if err != nil {
			d.e.cfg.Log.Warn("the log can't be sent to a learner", "err", err)
			d.world.Disconnect(o.To)
			d.Closed(o.To, err.Error())
		}
	case protocol.SendSnapshot:
		defer o.Snapshot.Close()
		var b bytes.Buffer
		b.Write(quorum.AppendPacket(nil, quorum.TypeSnap, int64(o.Zxid), nil))
		if _, err := o.Snapshot.WriteTo(&b); err != nil {
			d.world.Disconnect(o.To)
			d.Closed(o.To, err.Error())
			return true
		}
		d.world.Send(o.To, b.Bytes())
	case protocol.Restore:
		d.caller.Do(func() {
			d.waits = true
			d.world.Restore(o.Conn, o.Zxid, o.Skip)
		})
	default:
		return false
	}
	return true
}
