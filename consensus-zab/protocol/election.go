package protocol

import (
	"math"

	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/core/simbug"
)

// none is what a server that isn't to be elected proposes.
const none = math.MinInt64

// An Election is fast leader election: it finds whom to follow, and while that is
// settled it tells the servers that still look.
type Election struct {
	cfg *Config
	out func(Output)

	state   quorum.ServerState
	current Vote  // what is told while the state is not looking
	clock   int64 // the round

	// While looking:
	initial  Vote
	proposal Vote
	recv     map[ServerID]Vote // the votes of this round
	settled  map[ServerID]Vote // what servers say that are not looking
	resendAt Time
	interval Time
	decideAt Time  // when the proposal is final; 0 while no quorum supports it
	seasoned bool  // this is not the first election
	stirred  int64 // the last round that a server without a vote heard of

	// A server without data listens before it votes.
	blank    bool              // it listens
	entitled bool              // it votes
	heard    map[ServerID]Vote // who told his vote in this round
	fresh    int64             // from this round on it counts; 0: not known yet
	joined   bool              // what was settled is what others had settled already

	reach map[ServerID]Reach
}

func newElection(cfg *Config, out func(Output)) *Election {
	return &Election{cfg: cfg, out: out, reach: map[ServerID]Reach{}}
}

// beats says whether vote n is to replace vote c.
func (e *Election) beats(n, c Vote) bool {
	if simbug.On("vote-ignores-zxid") {
		n.Zxid = c.Zxid // the epochs say who knows more
	}
	return e.cfg.Quorum.members.Weight(n.Leader) != 0 && n.Beats(c)
}

// Start begins a new election with this server's last zxid and its currentEpoch.
func (e *Election) Start(now Time, last Zxid, epoch int64) {
	e.seasoned = e.state != quorum.Looking
	e.state = quorum.Looking
	e.clock++
	e.initial = Vote{Leader: int64(e.cfg.ID), Zxid: int64(last), PeerEpoch: epoch, ElectionEpoch: -1}
	if e.cfg.Observer {
		e.initial = Vote{Leader: none, Zxid: none, PeerEpoch: none, ElectionEpoch: -1}
	}
	if e.current == (Vote{}) {
		e.current = Vote{Leader: int64(e.cfg.ID), Zxid: int64(last), PeerEpoch: epoch, ElectionEpoch: -1}
	}
	e.interval = e.cfg.MinNotify
	e.settled = map[ServerID]Vote{}
	e.blank, e.entitled, e.joined, e.fresh, e.stirred = false, false, false, 0, 0
	e.newRound(now, e.initial)
}

// StartBlank begins a new election of a server without data. It says that, as a new
// server of Apache's would: a vote for itself, which anybody's beats who has anything. It
// is nobody else's vote until it is entitled to one.
func (e *Election) StartBlank(now Time) {
	e.Start(now, 0, 0)
	e.blank = true
	e.decideAt = 0
	e.entitle(now)
}

// entitle lets a server without data vote once it has heard the votes of all, in a round
// that began after it had heard from all: the first message of a server may be one that
// it sent to the life before. What is best among all votes has all that was ever
// committed, as far as it still exists. So this server supports nothing less.
func (e *Election) entitle(now Time) {
	if len(e.Missing()) > 0 {
		return
	}
	if e.fresh == 0 && len(e.heard) > 0 {
		e.clock++
		e.fresh = e.clock
		e.newRound(now, e.initial)
		return
	}
	best := e.initial
	for _, id := range e.cfg.Quorum.Voters() {
		if v, ok := e.heard[id]; ok && e.beats(v, best) {
			best = v
		}
	}
	best.State, best.Version, best.ElectionEpoch = 0, 0, -1
	e.blank, e.entitled, e.initial = false, true, best
	heard := e.heard
	e.newRound(now, best)
	for id, v := range heard {
		e.recv[id] = v
	}
	e.count(now)
}

// Missing are the voters that a server without data has not heard a vote of.
func (e *Election) Missing() []ServerID {
	var missing []ServerID
	for _, id := range e.cfg.Quorum.Voters() {
		if _, ok := e.heard[id]; !ok && id != e.cfg.ID && e.weight(id) != 0 {
			missing = append(missing, id)
		}
	}
	return missing
}

func (e *Election) weight(id ServerID) int64 { return e.cfg.Quorum.members.Weight(int64(id)) }

// Entitled says of a server without data that it had a say in what was settled.
func (e *Election) Entitled() bool { return e.entitled && !e.joined }

// newRound begins with an empty urn and a proposal.
func (e *Election) newRound(now Time, proposal Vote) {
	e.recv, e.heard = map[ServerID]Vote{}, map[ServerID]Vote{}
	e.propose(now, proposal)
}

// propose makes v the proposal and tells everybody.
func (e *Election) propose(now Time, v Vote) {
	v.ElectionEpoch = e.clock
	v.State, v.Version = quorum.Looking, 0
	e.proposal = v
	e.tellAll(now)
	if e.cfg.Quorum.Voter(e.cfg.ID) {
		e.recv[e.cfg.ID] = v
	}
	e.count(now)
}

func (e *Election) tellAll(now Time) {
	e.resendAt = now + e.interval
	for _, id := range e.cfg.Quorum.Voters() {
		if id != e.cfg.ID {
			e.tell(id, e.proposal, quorum.Looking)
		}
	}
}

func (e *Election) tell(to ServerID, v Vote, s quorum.ServerState) {
	e.out(Notify{To: to, N: Notification{
		State: s, Leader: v.Leader, Zxid: v.Zxid, ElectionEpoch: v.ElectionEpoch, PeerEpoch: v.PeerEpoch,
		Version: quorum.NotificationVersion, Config: e.cfg.Text,
	}})
}

// Receive takes a notification in. It returns true when the election is over:
// Result says how.
func (e *Election) Receive(now Time, from ServerID, n Notification) bool {
	looking := e.state == quorum.Looking
	if !e.cfg.Quorum.Voter(from) {
		// An observer looks for the leader: it gets an opinion at once, and has none.
		v := e.current
		v.ElectionEpoch = e.clock
		e.tell(from, v, e.state)
		return false
	}
	if !looking {
		if n.State == quorum.Looking {
			e.tell(from, e.current, e.state)
		}
		return false
	}
	if !e.cfg.Quorum.Voter(ServerID(n.Leader)) {
		return false
	}
	switch n.State {
	case quorum.Looking:
		e.looking(now, from, n)
	case quorum.Following, quorum.Leading:
		return e.heardSettled(from, n)
	}
	return e.decided(now)
}

// looking counts the vote of a server that looks.
func (e *Election) looking(now Time, from ServerID, n Notification) {
	if n.ElectionEpoch < e.clock {
		e.tell(from, e.proposal, quorum.Looking)
		return
	}
	if e.initial.Zxid == -1 || n.Zxid == -1 {
		// One of the two suspects that it lost its data: no vote of it counts. But it wants
		// to know what comes of a new round, and may not have asked for long.
		if n.Zxid != -1 && n.ElectionEpoch > e.stirred {
			e.stirred = n.ElectionEpoch
			e.interval = e.cfg.MinNotify
			e.resendAt = min(e.resendAt, now+e.interval)
		}
		return
	}
	if e.blank {
		if n.ElectionEpoch > e.clock {
			e.clock = n.ElectionEpoch
			e.interval = e.cfg.MinNotify
			e.newRound(now, e.initial)
		}
		v := n.Vote()
		v.Version = 0
		e.heard[from] = v
		e.entitle(now)
		return
	}
	if n.ElectionEpoch > e.clock {
		e.clock = n.ElectionEpoch
		e.interval = e.cfg.MinNotify
		v := e.initial
		if e.beats(n.Vote(), v) {
			v = n.Vote()
		}
		e.newRound(now, v)
	} else if e.beats(n.Vote(), e.proposal) {
		e.propose(now, n.Vote())
	} else if v := n.Vote(); !v.Matches(e.proposal) {
		// It may have begun to look after this server's vote came by, and so never have
		// counted it. Apache's servers find that out when they ask again.
		e.tell(from, e.proposal, quorum.Looking)
	}
	v := n.Vote()
	v.Version = 0 // as Apache keeps it
	e.recv[from] = v
	e.count(now)
}

// count looks whether a quorum supports the proposal, and whether there is anybody to
// wait for.
func (e *Election) count(now Time) {
	supports := func(id ServerID) bool { v, ok := e.recv[id]; return ok && v.Matches(e.proposal) }
	if e.blank || !e.cfg.Quorum.Has(supports) {
		e.decideAt = 0
		return
	}
	// Epochs make a hasty decision harmless; the wait is for a better vote that is on its
	// way. Where everybody has voted or is known to be gone there is none. In a server's
	// first election that may mean that the others are just being started too.
	for _, id := range e.cfg.Quorum.Voters() {
		if id != e.cfg.ID && !supports(id) && (e.reach[id] != Refused || !e.seasoned) {
			if e.decideAt == 0 || e.decideAt > now+e.cfg.FinalizeWait {
				e.decideAt = now + e.cfg.FinalizeWait
			}
			return
		}
	}
	e.decideAt = now
}

// heardSettled counts what a server says that follows or leads.
func (e *Election) heardSettled(from ServerID, n Notification) bool {
	b := n.Vote()
	if n.ElectionEpoch == e.clock {
		kept := b
		kept.Version = 0 // what Apache stores here is matched by its leader alone
		e.recv[from] = kept
		if e.leads(e.recv, b) {
			e.joined = true
			e.settle(b)
			return true
		}
	}
	e.settled[from] = b
	if e.leads(e.settled, b) {
		e.clock, e.joined = n.ElectionEpoch, true
		e.settle(b)
		return true
	}
	return false
}

// leads says whether a quorum in votes agrees with b and its leader says so too, so
// that a leader that crashed isn't elected over and over.
func (e *Election) leads(votes map[ServerID]Vote, b Vote) bool {
	agrees := func(id ServerID) bool { v, ok := votes[id]; return ok && v.Matches(b) }
	if !e.cfg.Quorum.Has(agrees) {
		return false
	}
	if b.Leader == int64(e.cfg.ID) {
		// It may be one of an earlier life that the others follow. Without a vote it leads nobody, or, if it has
		// only not heard from all, a quorum without it that has nothing either.
		without := func(id ServerID) bool { return id != e.cfg.ID && agrees(id) }
		if e.initial.Zxid == -1 || e.blank && !e.cfg.Quorum.Has(without) {
			return false
		}
		return b.ElectionEpoch == e.clock
	}
	v, ok := votes[ServerID(b.Leader)]
	return ok && v.State == quorum.Leading
}

// maxAsk is the longest time between two questions of a server without a vote: nobody tells it
// who leads unless it asks.
const maxAsk = 2000 * Millisecond

// Tick tells the time. It returns true when the election is over.
func (e *Election) Tick(now Time) bool {
	if e.state != quorum.Looking {
		return false
	}
	if e.decided(now) {
		return true
	}
	if now >= e.resendAt {
		longest := e.cfg.MaxNotify
		if e.initial.Zxid == -1 {
			longest = min(longest, maxAsk)
		}
		e.interval = min(2*e.interval, longest)
		e.tellAll(now)
	}
	return false
}

// SetReach tells what is known of the way to a server. It returns true when the election
// is over.
func (e *Election) SetReach(now Time, id ServerID, r Reach) bool {
	e.reach[id] = r
	if e.state != quorum.Looking {
		return false
	}
	e.count(now)
	return e.decided(now)
}

// Next is when Tick has something to do.
func (e *Election) Next() Time {
	if e.state != quorum.Looking {
		return math.MaxInt64
	}
	if e.decideAt != 0 {
		return min(e.decideAt, e.resendAt)
	}
	return e.resendAt
}

// decided ends the election when the proposal is final.
func (e *Election) decided(now Time) bool {
	if e.decideAt == 0 || now < e.decideAt {
		return false
	}
	e.settle(e.proposal)
	return true
}

func (e *Election) settle(v Vote) {
	e.current = v
	e.decideAt = 0
	switch {
	case v.Leader == int64(e.cfg.ID):
		e.state = quorum.Leading
	case e.cfg.Observer:
		e.state = quorum.Observing
	default:
		e.state = quorum.Following
	}
}

// Result is the vote that won.
func (e *Election) Result() (Vote, quorum.ServerState) { return e.current, e.state }

// Established says that the leader has a quorum for a new epoch: whoever looks is told
// that one.
func (e *Election) Established(epoch int64) { e.current.PeerEpoch = epoch }
