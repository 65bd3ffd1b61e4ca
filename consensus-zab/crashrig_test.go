package zab

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/zkcore/zkcore/consensus-zab/protocol"
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/member"
	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A stepped is a whole member of an ensemble (protocol, journal, log, epoch files and a
// node with snapshots) of which nothing runs by itself: settle does what there is to do,
// in one order. So its operations on the disk have numbers, and it can be stopped at each.
type stepped struct {
	*ensemble
	node *tree
	now  protocol.Time
	err  error // of the disk, or what else ends the process
	in   map[protocol.Conn]*bytes.Buffer
	conn protocol.Conn         // to the leader
	told protocol.Notification // the last one that it sent
}

// txnOf is what stands in the log under a zxid: each zxid means one transaction.
func txnOf(z consensus.Zxid) consensus.Txn {
	b := make([]byte, 40+int(z*37%300))
	binary.BigEndian.PutUint64(b[12:], uint64(z))
	for i := 40; i < len(b); i++ {
		b[i] = byte(int(z) * i)
	}
	return consensus.Txn{Zxid: z, Data: b}
}

const crashServers = 3

// crashLogDir is dataLogDir: where dataDir is, or another one.
var crashLogDir = "/data"

func crashConfig(s *stepped) consensus.Config {
	cfg := consensus.Config{ID: 1, DataDir: "/data", LogDir: crashLogDir, Tick: time.Second, InitLimit: 10, SyncLimit: 5, Log: quiet(),
		Options: map[string]string{"preAllocSize": "1", "db.autocreate": "true"}, Fail: func(_ int, err error) { s.fail(err) }}
	for i := 1; i <= crashServers; i++ {
		at := func(port int) []string { return []string{fmt.Sprintf("127.0.0.1:%d", port+i)} }
		cfg.Servers = append(cfg.Servers, consensus.Server{ID: consensus.ServerID(i), Quorum: at(2880), Election: at(3880)})
	}
	return cfg
}

// openStepped starts a server from what is on the disk.
func openStepped(fsys vfs.FS) (*stepped, error) {
	s := &stepped{now: 1000 * protocol.Millisecond, in: map[protocol.Conn]*bytes.Buffer{}}
	s.node = &tree{fs: fsys, s: s}
	cfg := crashConfig(s)
	var err error
	if s.node.dirs, err = txnlog.OpenDirs(fsys, cfg.DataDir, cfg.LogDir, true); err != nil {
		return nil, err
	}
	o := parseOptions(cfg.Options, cfg.Log)
	st, err := openStore(fsys, cfg, &o, s.node)
	if err != nil {
		return nil, err
	}
	j := member.NewJournal(st.log, member.NewGauge(fsys, cfg, 0), o.fsyncWarn, cfg.Fail, cfg.Log, member.Meter{})
	if s.ensemble, err = newEnsemble(fsys, cfg, o, st, j, member.NewCaller(s.node, 1<<30)); err != nil {
		return nil, err
	}
	s.self.Quorum = nil // where it would listen
	s.member.Begin(s.now)
	return s, s.settle()
}

func (s *stepped) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// settle does all that follows from what has happened.
func (s *stepped) settle() error {
	for s.err == nil {
		busy := false
		s.member.Flush(s.now)
		for outs := s.member.Outputs(); len(outs) > 0; outs = s.member.Outputs() {
			busy = true
			for _, o := range outs {
				switch o := o.(type) {
				case protocol.Notify:
					s.told = o.N
				case protocol.Connect:
					s.attempt++
					s.conn = s.connect(true)
					s.member.Connected(s.now, s.conn)
				case protocol.HangUp:
					s.attempt++
				default:
					s.do(o)
				}
			}
			s.wg.Wait() // for a look into the log on the side
		}
		for s.journal.Waits() {
			busy = true
			if err := s.journal.Turn(); err != nil {
				s.fail(err)
				break
			}
		}
		for s.err == nil && s.caller.Turn() {
			busy = true
		}
		for _, ev := range s.take(nil) {
			busy = true
			ev(s.member, s.now)
		}
		if !busy {
			return s.err
		}
	}
	return s.err
}

// connect makes a link that nobody serves: what is sent stays in its queue, and what a
// snapshot is read from is in s.in.
func (s *stepped) connect(snaps bool) protocol.Conn {
	in := new(bytes.Buffer)
	l := s.link(&deaf{r: in}, snaps)
	l.r = bufio.NewReaderSize(in, 16)
	s.in[l.id] = in
	return l.id
}

// sent takes the packets that were queued for a connection.
func (s *stepped) sent(c protocol.Conn) (ks []quorum.Packet) {
	l := s.links[c]
	if l == nil {
		return nil
	}
	l.mu.Lock()
	queue := l.queue
	l.queue, l.bytes = nil, 0
	l.mu.Unlock()
	for _, it := range queue {
		b := it.b
		if it.stream != nil {
			var w bytes.Buffer
			if err := it.stream(&w); err != nil {
				s.fail(err)
				return nil
			}
			b = w.Bytes()
		}
		for d := jute.NewDecoder(b); d.Remaining() > 0; {
			var k quorum.Packet
			if k.Decode(&d); d.Err() != nil {
				s.fail(d.Err())
				return nil
			}
			ks = append(ks, k)
			if k.Type == quorum.TypeSnap {
				break // its stream follows
			}
		}
	}
	return ks
}

// hear hands the member packets that came on a connection.
func (s *stepped) hear(c protocol.Conn, ks ...quorum.Packet) error {
	s.member.Packets(s.now, c, ks)
	return s.settle()
}

// pass lets time pass until ok, in steps.
func (s *stepped) pass(ok func() bool) error {
	for range 600 {
		if ok() {
			return nil
		}
		s.now += 50 * protocol.Millisecond
		s.member.Tick(s.now)
		if err := s.settle(); err != nil {
			return err
		}
	}
	return errors.New("it does not come to pass")
}

// restart ends the server in good order and starts it again.
func (s *stepped) restart() (*stepped, error) {
	if err := s.log.Close(); err != nil {
		return nil, err
	}
	return openStepped(s.fs)
}

// A deaf connection has somebody at the other end who does not listen.
type deaf struct {
	net.Conn
	r io.Reader
}

func (d *deaf) Read(b []byte) (int, error)       { return d.r.Read(b) }
func (d *deaf) Close() error                     { return nil }
func (d *deaf) SetReadDeadline(time.Time) error  { return nil }
func (d *deaf) SetWriteDeadline(time.Time) error { return nil }
func (d *deaf) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// A tree is a node whose state is the list of the zxids that it was given. It keeps
// snapshots as core/node does, operation by operation.
type tree struct {
	fs     vfs.FS
	s      *stepped
	dirs   txnlog.Dirs
	state  []consensus.Zxid
	at     consensus.Zxid
	begun  bool
	given  int // since the last snapshot
	every  int // txns after which there is a snapshot; 0 for never
	keep   int
	needed consensus.Zxid
	roles  []consensus.Role
	wrong  error // an order that must not be
}

func (n *tree) Recover(max consensus.Zxid) (consensus.Zxid, error) {
	if n.begun {
		if _, err := txnlog.DropSnapshotsAbove(n.fs, n.dirs.Snap, max); err != nil {
			return 0, err
		}
	}
	first := !n.begun
	n.begun = true
	if err := txnlog.SyncSnapshots(n.fs, n.dirs.Snap); err != nil {
		return 0, err
	}
	start, err := txnlog.Begin(n.fs, n.dirs, true, true)
	if err != nil {
		return 0, err
	}
	for _, f := range start.Snapshots {
		if f.Zxid > max {
			continue
		}
		r, c, err := txnlog.OpenSnapshot(n.fs, n.dirs.Snap, f.Name)
		if err != nil {
			return 0, err
		}
		err = n.read(r)
		if err := errors.Join(err, c.Close()); err != nil {
			return 0, err
		}
		n.at = f.Zxid
		return f.Zxid, nil
	}
	n.state, n.at = nil, 0
	if first && start.Fresh {
		return 0, n.save(0)
	}
	return 0, nil
}

func (n *tree) read(r *txnlog.SnapshotReader) error {
	n.state = nil
	if err := r.Sessions(func(int64, int32) error { return nil }); err != nil {
		return err
	}
	if err := r.ACLs(func(int64, []jute.ACL) error { return nil }); err != nil {
		return err
	}
	err := r.Nodes(func(x *txnlog.Node) error {
		if x.Path == "" {
			return nil
		}
		z := consensus.Zxid(x.Stat.Czxid)
		if !bytes.Equal(x.Data, txnOf(z).Data) {
			return fmt.Errorf("the snapshot's %v is not what it was", z)
		}
		n.state = append(n.state, z)
		return nil
	})
	if err == nil {
		_, err = r.Finish()
	}
	return err
}

func writeState(w *txnlog.SnapshotWriter, state []consensus.Zxid) error {
	w.Sessions(0)
	w.ACLs(0)
	if err := w.Node(&txnlog.Node{}); err != nil {
		return err
	}
	for _, z := range state {
		if err := w.Node(&txnlog.Node{Path: fmt.Sprintf("/%x", uint64(z)), Data: txnOf(z).Data, Stat: txnlog.Stat{Czxid: int64(z)}}); err != nil {
			return err
		}
	}
	return nil
}

// streamOf is a leader's snapshot.
func streamOf(state []consensus.Zxid) []byte {
	var b bytes.Buffer
	w := txnlog.NewSnapshotWriter(&b, txnlog.StreamForm)
	if err := errors.Join(writeState(w, state), w.Close()); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func (n *tree) save(z consensus.Zxid) error {
	_, err := txnlog.SaveSnapshot(n.fs, n.dirs.Snap, z, txnlog.Plain, func(w *txnlog.SnapshotWriter) error {
		return writeState(w, n.state)
	})
	n.given = 0
	return err
}

func (n *tree) Restore(z consensus.Zxid, r io.Reader) error {
	if err := n.read(txnlog.NewSnapshotReader(r, txnlog.StreamForm)); err != nil {
		return err
	}
	n.at = z
	if err := n.save(z); err != nil {
		n.s.fail(err)
		return err
	}
	return nil
}

func (n *tree) Deliver(txns []consensus.Txn) {
	for _, x := range txns {
		if x.Zxid <= n.at || !bytes.Equal(x.Data, txnOf(x.Zxid).Data) {
			n.wrong = fmt.Errorf("delivered %v behind %v, or not what it is", x.Zxid, n.at)
		}
		n.state = append(n.state, x.Zxid)
		n.at = x.Zxid
	}
	if n.given += len(txns); n.every > 0 && n.given >= n.every {
		n.checkpoint()
	}
}

// checkpoint writes a snapshot and removes what is too old, in core/node's order.
func (n *tree) checkpoint() {
	err := n.save(n.at)
	if err == nil {
		err = n.s.Checkpoint(n.at, n.needed)
	}
	if err == nil && n.keep > 0 {
		var needed consensus.Zxid
		var kept bool
		if needed, kept, _, err = txnlog.PurgeSnapshots(n.fs, n.dirs.Snap, n.keep); err == nil && kept && needed > n.needed {
			n.needed = needed
			err = n.s.Checkpoint(n.at, needed)
		}
	}
	if err != nil {
		n.s.fail(err)
	}
}

func (n *tree) SetAside(folder string) error {
	_, err := txnlog.SetSnapshotsAside(n.fs, n.dirs.Snap, folder)
	n.begun = false
	return err
}

func (n *tree) Role(r consensus.Role)                               { n.roles = append(n.roles, r) }
func (n *tree) Receive(consensus.ServerID, consensus.Request)       {}
func (n *tree) Touch(consensus.ServerID, []consensus.Touch)         {}
func (n *tree) Revalidate(consensus.ServerID, consensus.Touch) bool { return false }
func (n *tree) Revalidated(int64, bool)                             {}
func (n *tree) Synced(consensus.SyncID)                             {}
func (n *tree) Touched() []consensus.Touch                          { return nil }
func (n *tree) Snapshot() (consensus.Snapshot, error) {
	return &treeSnapshot{n.at, slices.Clone(n.state)}, nil
}

type treeSnapshot struct {
	at    consensus.Zxid
	state []consensus.Zxid
}

func (t *treeSnapshot) Zxid() consensus.Zxid { return t.at }
func (t *treeSnapshot) Close() error         { return nil }
func (t *treeSnapshot) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(streamOf(t.state))
	return int64(n), err
}

// onDisk is what a server finds when it starts: the state of its snapshot and what the
// log holds above it.
func (s *stepped) onDisk() ([]consensus.Zxid, error) {
	all := slices.Clone(s.node.state)
	if s.log.Last() == s.node.at {
		return all, nil
	}
	err := member.ReadLog(s.log, s.node.at, s.log.Last(), func(txns []consensus.Txn) error {
		for _, x := range txns {
			if !bytes.Equal(x.Data, txnOf(x.Zxid).Data) {
				return fmt.Errorf("the log's %v is not what it was", x.Zxid)
			}
			all = append(all, x.Zxid)
		}
		return nil
	})
	return all, err
}
