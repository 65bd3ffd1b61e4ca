package protocol

import (
	"fmt"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A step is how far a learner has come.
type step uint8

const (
	dialing      step = iota
	introduced        // FOLLOWERINFO is out
	savingTold        // acceptedEpoch is being written
	agreed            // ACKEPOCH is out
	replaying         // DIFF, TRUNC or SNAP is here; the history comes
	savingNew         // NEWLEADER is here; log and currentEpoch are being written
	acknowledged      // NEWLEADER's ack is out
	serving
)

func (s step) String() string {
	switch s {
	case dialing, introduced, savingTold, agreed:
		return "discovery"
	case replaying, savingNew, acknowledged:
		return "synchronization"
	}
	return "broadcast"
}

// A learner follows or observes one leader.
type learner struct {
	m      *Member
	leader ServerID
	step   step
	conn   Conn
	epoch  int64
	saving uint64
	since  Time
	heard  Time
	began  Time // of the synchronisation
	again  Time // when to dial once more
	dials  int
	how    string

	told     int64 // what ACKEPOCH says: currentEpoch, or -1
	waiting  bool  // packets must wait for the log or the node
	backlog  []Packet
	merging  bool // after a SNAP below what the log holds: see offer
	previous Zxid // while merging, the last txn that the leader's history goes through

	// The node hears of its role when it has all that was proposed before UPTODATE, up to
	// until: there may be what it forwarded to this leader on an earlier connection.
	until  Zxid
	joined bool

	batch  []Txn  // to be appended with the next flush
	commit Zxid   // to be delivered with it
	acks   []Zxid // proposals to be acked once they are on disk

	syncs   []consensus.SyncID
	answers []heldAnswer
}

// A heldAnswer to a Revalidate waits for what was proposed before it.
type heldAnswer struct {
	Revalidated
	zxid Zxid
}

func newLearner(m *Member, leader ServerID) *learner {
	m.out(Connect{Leader: leader})
	return &learner{m: m, leader: leader, since: m.now, heard: m.now, dials: 1}
}

// A leader opens its port a moment after others know that it leads. Until then what stands
// in front of it (a proxy, a balancer) may take a connection in and drop it: that is no
// reason for another election, in which the leader, waiting for its followers, takes no part.
const (
	maxDials  = 10
	dialAgain = 20 * Millisecond // and longer each time
)

// closed takes in that the connection is gone. A reason that comes back ends the following.
func (l *learner) closed(why string) string {
	if l.step != introduced || l.dials >= maxDials {
		return "connection to the leader: " + why
	}
	l.step, l.conn = dialing, 0
	l.again = l.m.now + dialAgain*Time(l.dials)
	l.dials++
	return ""
}

// failed is what packet returns to end the following.
func failed(format string, args ...any) string { return fmt.Sprintf(format, args...) }

// connected introduces this server.
func (l *learner) connected(c Conn) {
	l.conn, l.step, l.heard = c, introduced, l.m.now
	t := quorum.TypeFollowerInfo
	if l.m.cfg.Observer {
		t = quorum.TypeObserverInfo
	}
	info := quorum.LearnerInfo{ServerID: int64(l.m.cfg.ID), ProtocolVersion: quorum.ProtocolVersion, ConfigVersion: l.m.cfg.Version}
	l.send(Packet{Type: t, Zxid: int64(consensus.MakeZxid(l.m.accepted, 0)), Data: info.Append(nil)})
}

func (l *learner) send(k ...Packet) { l.m.out(Send{To: []Conn{l.conn}, Packets: k}) }

// packets takes in what the leader sent. A reason that comes back ends the following.
func (l *learner) packets(ks []Packet) string {
	l.heard = l.m.now
	for i := range ks {
		if l.waiting {
			l.backlog = append(l.backlog, ks[i:]...)
			return ""
		}
		if why := l.packet(&ks[i]); why != "" {
			return why
		}
	}
	return ""
}

// resume goes on after the log or the node is ready.
func (l *learner) resume() string {
	l.waiting = false
	l.heard = l.m.now
	ks := l.backlog
	l.backlog = nil
	return l.packets(ks)
}

func (l *learner) packet(k *Packet) string {
	z := Zxid(k.Zxid)
	switch l.step {
	case introduced:
		return l.leaderInfo(k)
	case agreed:
		return l.begin(k)
	case serving:
		return l.serve(k)
	case savingTold:
		return failed("the leader sent %v before this server's ACKEPOCH", k.Type)
	}
	switch k.Type {
	case quorum.TypeProposal:
		return l.offer(z, k.Data, false)
	case quorum.TypeInform:
		return l.offer(z, k.Data, true)
	case quorum.TypeInformAndActivate:
		_, txn, err := quorum.DecodeActivate(k.Data)
		if err != nil {
			return failed("INFORMANDACTIVATE is malformed")
		}
		return l.offer(z, txn, true)
	case quorum.TypeCommit, quorum.TypeCommitAndActivate:
		if z > l.top() {
			return failed("COMMIT of %v, which was not proposed", z)
		}
		l.commit = max(l.commit, z)
	case quorum.TypeNewLeader:
		return l.newLeader(k)
	case quorum.TypeUpToDate:
		if l.step != acknowledged {
			return failed("UPTODATE comes before the ack of NEWLEADER")
		}
		l.upToDate()
	case quorum.TypeSnap, quorum.TypeDiff, quorum.TypeTrunc:
		return failed("%v comes a second time", k.Type)
	}
	// A PING is not answered before UPTODATE; what else there is says nothing here.
	return ""
}

// leaderInfo takes in the leader's epoch.
func (l *learner) leaderInfo(k *Packet) string {
	if k.Type != quorum.TypeLeaderInfo {
		return failed("the leader's first packet is %v", k.Type)
	}
	version, err := quorum.DecodeInt(k.Data)
	if err != nil || version < quorum.ProtocolVersion {
		return failed("the leader's protocol is older than that of ZooKeeper 3.4")
	}
	l.epoch = Zxid(k.Zxid).Epoch()
	switch {
	case l.epoch < l.m.accepted:
		return failed("the leader's epoch %d is older than %d, which this server accepted", l.epoch, l.m.accepted)
	case l.epoch == l.m.accepted:
		// It was accepted before: once more would count twice.
		l.told = -1
		if l.m.acceptedDurable {
			l.ackEpoch()
			break
		}
		l.step = savingTold
		l.saving = l.m.saveAccepted(l.epoch)
	default:
		l.told = l.m.current
		l.step = savingTold
		l.saving = l.m.saveAccepted(l.epoch)
		if simbug.On("vote-before-durable") {
			l.ackEpoch() // its file will be there soon enough
		}
	}
	return ""
}

func (l *learner) ackEpoch() {
	l.step = agreed
	l.send(Packet{Type: quorum.TypeAckEpoch, Zxid: int64(l.m.lastZxid()), Data: quorum.AppendInt(nil, int32(l.told))})
}

// saved goes on when an epoch file is written.
func (l *learner) saved(id uint64) {
	if id != l.saving {
		return
	}
	switch l.step {
	case savingTold:
		l.ackEpoch()
	case savingNew:
		l.step = acknowledged
		l.send(Packet{Type: quorum.TypeAck, Zxid: int64(consensus.MakeZxid(l.epoch, 0))})
		l.ackLogged()
	}
}

// begin takes in how the leader brings this server up to date.
func (l *learner) begin(k *Packet) string {
	h, z := l.m.hist, Zxid(k.Zxid)
	l.began, l.step = l.m.now, replaying
	switch k.Type {
	case quorum.TypeDiff:
		if l.m.void {
			return failed("DIFF is no use to a server whose history is not known")
		}
		l.how = "DIFF"
		l.commit = h.last
		l.m.report("synchronising with the leader", "leader", l.leader, "how", "DIFF", "from", h.last, "to", z)
	case quorum.TypeTrunc:
		l.how = "TRUNC"
		l.m.report("synchronising with the leader", "leader", l.leader, "how", "TRUNC", "from", h.last, "to", z)
		return l.trunc(z)
	case quorum.TypeSnap:
		l.how = "SNAP"
		l.m.report("synchronising with the leader", "leader", l.leader, "how", "SNAP", "from", l.m.lastZxid(), "to", z)
		l.waiting = true
		l.m.restore(l.conn, z)
	default:
		return failed("the leader sent %v where DIFF, TRUNC or SNAP must come", k.Type)
	}
	return ""
}

// trunc forgets what the log has above z.
func (l *learner) trunc(z Zxid) string {
	h := l.m.hist
	if l.m.void || z > h.last {
		return failed("TRUNC to %v is no use: the log ends at %v", z, l.m.lastZxid())
	}
	if z >= h.delivered && z >= h.base {
		return l.cut(z)
	}
	// The node's state has what the ensemble does not: it goes back to an older snapshot.
	l.waiting = true
	l.m.recover(z, func() {
		if l.m.learner != l {
			return
		}
		why := l.cut(z)
		if why == "" {
			why = l.resume()
		}
		if why != "" {
			l.m.look(why)
		}
	})
	return ""
}

// cut truncates the log once the state is not above z.
func (l *learner) cut(z Zxid) string {
	h := l.m.hist
	if z < h.delivered || !h.contains(z) || !h.whole() {
		// Neither the log nor the state leads to z: the leader's snapshot must.
		l.m.void = true
		return failed("TRUNC to %v is not possible: the log does not go through it; asking for a snapshot", z)
	}
	if z != h.last && !simbug.On("skip-trunc") { // else what is too much does no harm
		h.truncate(z)
		l.m.out(Truncate{z, z == h.base})
	}
	l.commit = z
	return ""
}

// restored goes on when the state is that of the leader's snapshot. kept says that the
// log still holds what was there before, beyond the snapshot.
func (l *learner) restored(z Zxid, kept bool) {
	l.commit = z
	l.merging, l.previous = kept, z
}

// top is the last txn that is in the log, or will be.
func (l *learner) top() Zxid {
	if n := len(l.batch); n > 0 {
		return l.batch[n-1].Zxid
	}
	return l.m.hist.last
}

// offer takes in a txn of the leader's.
func (l *learner) offer(z Zxid, data []byte, committed bool) string {
	if got, ok := headerZxid(data); !ok || got != z {
		return failed("proposal %v holds another txn, or none", z)
	}
	h := l.m.hist
	if l.merging && z > l.previous {
		// The snapshot is older than what the log holds. What the log holds may be all that
		// there is of a committed txn, so it stays until the leader's history is known to
		// leave it.
		if !follows(l.previous, z) {
			return failed("proposal %v comes after %v", z, l.previous)
		}
		if z <= h.base {
			l.previous = z
			return ""
		}
		if l.previous < h.base {
			return l.stray()
		}
		if !h.contains(z) && l.previous < h.last {
			h.truncate(l.previous)
			l.m.out(Truncate{l.previous, l.previous == h.base})
		}
		if l.previous = z; h.contains(z) {
			if committed {
				l.commit = max(l.commit, z)
			}
			return ""
		}
	}
	top := l.top()
	if z > top {
		if !follows(top, z) {
			return failed("proposal %v comes after %v", z, top)
		}
		l.batch = append(l.batch, Txn{Zxid: z, Data: data})
		if l.merging {
			l.append() // contains must know it
		}
		if !l.m.cfg.Observer {
			l.acks = append(l.acks, z)
		}
	}
	// What comes again, after a snapshot that has it, is committed.
	if committed {
		l.commit = max(l.commit, z)
	}
	return ""
}

// stray is the end of a server whose state is not one that the leader's history goes
// through: it needs the leader's.
func (l *learner) stray() string {
	l.m.void = true
	return failed("the leader's history does not go through the snapshot at %v: asking for the leader's", l.m.hist.base)
}

func headerZxid(data []byte) (Zxid, bool) {
	d := jute.NewDecoder(data)
	d.Long()
	d.Int()
	z := d.Long()
	return Zxid(z), d.Err() == nil && len(data) >= 32
}

// append hands the batch to the log.
func (l *learner) append() {
	if len(l.batch) == 0 {
		return
	}
	h := l.m.hist
	h.append(l.batch)
	l.m.out(Append{Gen: h.gen, Txns: l.batch})
	l.m.count("learner_proposal_received_count", int64(len(l.batch)))
	l.batch = nil
}

// newLeader makes the history that came durable, then the epoch, then says so.
func (l *learner) newLeader(k *Packet) string {
	if l.step != replaying {
		return failed("NEWLEADER comes a second time")
	}
	if z := Zxid(k.Zxid); z != consensus.MakeZxid(l.epoch, 0) {
		return failed("NEWLEADER says %v, LEADERINFO said epoch %d", z, l.epoch)
	}
	if simbug.On("epoch-before-log") {
		l.step, l.saving = savingNew, l.m.saveCurrent(l.epoch) // the log follows
		l.merging = false
		return ""
	}
	l.append()
	if l.merging && l.previous < l.m.hist.base {
		return l.stray()
	}
	if h := l.m.hist; l.merging && h.last > l.previous {
		h.truncate(l.previous)
		l.m.out(Truncate{l.previous, l.previous == h.base})
	}
	l.merging = false
	// What others may have of an earlier disk of this server's the leader had when it was elected, or said so: it
	// may not have been on its disk, and it started anew since. (Apache's, after an epoch without a txn, name one
	// that there is not.)
	if m := l.m; m.standing == Blank && m.entitled && m.hist.last < m.bid && m.bid.Counter() != 0 {
		return failed("the leader was elected with %v, and its history ends at %v", m.bid, m.hist.last)
	}
	l.step = savingNew
	l.saving = l.m.saveCurrent(l.epoch)
	if simbug.On("early-newleader-ack") {
		l.saved(l.saving) // all of it is on its way to the disk
	}
	// What was committed before counts as acked with this.
	n := 0
	for n < len(l.acks) && l.acks[n] <= l.commit {
		n++
	}
	l.acks = l.acks[n:]
	return ""
}

// upToDate begins to serve.
func (l *learner) upToDate() {
	l.append()
	l.step = serving
	h := l.m.hist
	h.committed = max(l.commit, h.delivered)
	if simbug.On("deliver-uncommitted") {
		h.committed = h.last // UPTODATE says that all that came is right
	}
	h.deliver(h.committed, l.m.out)
	l.m.election.Established(l.epoch)
	l.send(Packet{Type: quorum.TypeAck, Zxid: int64(consensus.MakeZxid(l.epoch, 0))})
	l.until = l.top()
	l.join()
}

// join tells the node that it follows.
func (l *learner) join() {
	if l.joined || l.m.hist.committed < l.until && !simbug.On("requeue-early") { // else what is proposed is not known yet
		return
	}
	l.joined = true
	state := consensus.Following
	if l.m.cfg.Observer {
		state = consensus.Observing
	}
	l.m.setRole(consensus.Role{State: state, Leader: l.leader, Epoch: l.epoch})
	l.m.report(state.String(), "leader", l.leader, "epoch", l.epoch, "zxid", l.m.hist.committed,
		"how", l.how, "ms", int64((l.m.now-l.since)/Millisecond))
}

// serve takes in a packet of the broadcast.
func (l *learner) serve(k *Packet) string {
	z := Zxid(k.Zxid)
	switch k.Type {
	case quorum.TypeProposal:
		if l.m.cfg.Observer {
			return ""
		}
		return l.offer(z, k.Data, false)
	case quorum.TypeInform:
		return l.offer(z, k.Data, true)
	case quorum.TypeInformAndActivate:
		_, txn, err := quorum.DecodeActivate(k.Data)
		if err != nil {
			return failed("INFORMANDACTIVATE is malformed")
		}
		return l.offer(z, txn, true)
	case quorum.TypeCommit, quorum.TypeCommitAndActivate:
		if l.m.cfg.Observer {
			return ""
		}
		if z > l.top() {
			return failed("COMMIT of %v, which was not proposed", z)
		}
		l.commit = max(l.commit, z)
	case quorum.TypePing:
		l.m.out(Pong{To: l.conn, Zxid: z})
	case quorum.TypeSync:
		if len(l.syncs) == 0 {
			return failed("SYNC comes and none was asked for")
		}
		l.deliver()
		l.m.out(Synced{[]consensus.SyncID{l.syncs[0]}})
		l.syncs = l.syncs[1:]
	case quorum.TypeRevalidate:
		r, err := quorum.DecodeRevalidated(k.Data)
		if err != nil {
			return failed("REVALIDATE is malformed")
		}
		l.answers = append(l.answers, heldAnswer{Revalidated{r.SessionID, r.Valid}, l.top()})
		l.deliver()
	default:
		l.m.warn("packet of an unknown type passed over", "server", l.leader, "type", k.Type.String())
	}
	return ""
}

// deliver hands over what is committed, and the answers that waited for it.
func (l *learner) deliver() {
	if l.step != serving {
		return
	}
	l.append()
	h := l.m.hist
	if l.commit > h.committed {
		l.m.count("learner_commit_received_count", int64(h.index(l.commit)-h.index(h.committed)))
		h.committed = l.commit
		h.deliver(h.committed, l.m.out)
		l.join()
	}
	n := 0
	for ; n < len(l.answers) && l.answers[n].zxid <= h.committed; n++ {
		l.m.out(l.answers[n].Revalidated)
	}
	l.answers = l.answers[n:]
}

// ackLogged acks the proposals that are on the disk.
func (l *learner) ackLogged() {
	if l.step != acknowledged && l.step != serving {
		return
	}
	n := 0
	for n < len(l.acks) && l.acks[n] <= l.m.hist.durable {
		n++
	}
	if n > 0 {
		l.m.out(SendAcks{To: l.conn, Zxids: l.acks[:n:n]})
		l.acks = l.acks[n:]
	}
}

// flush does what the inputs since the last one made possible.
func (l *learner) flush() {
	l.append()
	l.deliver()
}

// forward sends requests to the leader.
func (l *learner) forward(rs []consensus.Request) {
	ks := make([]Packet, len(rs))
	for i := range rs {
		r := quorum.Request{SessionID: rs[i].Session, Cxid: rs[i].Cxid, Op: rs[i].Op, Body: rs[i].Body}
		ks[i] = Packet{Type: quorum.TypeRequest, Zxid: -1, Data: r.Append(make([]byte, 0, 16+len(r.Body)))}
		for _, a := range rs[i].Auth {
			ks[i].AuthInfo = append(ks[i].AuthInfo, jute.ID{Scheme: a.Scheme, ID: a.ID})
		}
	}
	l.send(ks...)
}

func (l *learner) sync(id consensus.SyncID) {
	l.syncs = append(l.syncs, id)
	r := quorum.Request{Op: opSync, Body: jute.AppendString(nil, "/")}
	l.send(Packet{Type: quorum.TypeRequest, Zxid: -1, Data: r.Append(nil)})
}

func (l *learner) revalidate(t consensus.Touch) {
	r := quorum.Revalidate{SessionID: t.Session, TimeoutMS: t.TimeoutMS}
	l.send(Packet{Type: quorum.TypeRevalidate, Zxid: -1, Data: r.Append(nil)})
}

// tick tells the time. A reason that comes back ends the following.
func (l *learner) tick() string {
	limit := l.m.cfg.initTimeout()
	if l.step >= acknowledged {
		limit = l.m.cfg.syncTimeout()
	}
	switch {
	case l.waiting || l.step == savingTold || l.step == savingNew:
		// It is this server that the leader waits for.
		l.heard = l.m.now
	case l.step == dialing:
		if l.again != 0 && l.m.now >= l.again {
			l.again = 0
			l.m.out(Connect{Leader: l.leader})
		}
		switch waited := l.m.now - l.since; {
		case waited > limit:
			return failed("no connection to the leader in time")
		case waited > patience && l.m.election.reach[l.leader] == Refused:
			// It was elected in its last moment.
			return failed("the leader is gone")
		}
	case l.m.now-l.heard > limit:
		return failed("nothing was heard from the leader in time")
	}
	return ""
}

// patience is how long a server is dialled whose election port is closed.
const patience = 100 * Millisecond

// next is when tick has something to do.
func (l *learner) next() Time {
	next := l.m.now + l.m.cfg.Tick/2
	if l.again != 0 {
		next = min(next, l.again)
	}
	if until := l.since + patience + Millisecond; l.step == dialing && l.m.now < until {
		next = min(next, until)
	}
	return next
}

func (l *learner) quit(why string) {
	if l.step == dialing {
		l.m.out(HangUp{})
		return
	}
	l.m.out(Disconnect{Conn: l.conn, Why: why})
}
