// Package failpoint marks the places where a test ends a server, or holds it up: before and after
// each write, sync and rename, each vote, acknowledgement, proposal and commit that is sent, each
// batch that is applied, each step of a snapshot, each answer and watch event.
//
// In a server as it is built for use [Hit] is empty and costs nothing. Built with
// -tags failpoints, and started with the environment variable ZKCORE_TEST_FAILPOINTS, a server listens
// on the Unix socket of that path for commands, one a connection, which it answers with ok:
//
//	kill POINT N     end the process as SIGKILL does at the Nth time from now that it comes there
//	sleep POINT MS   wait so long each time that it comes there
//	fail POINT N     make the Nth operation from now fail with an I/O error; files only
//	off              forget all of these
//
// A POINT may end in *, and is then any that begins so. ZKCORE_TEST_FAILPOINTS_AT_START holds one
// command that is in force from the first moment.
//
// Points of files come from core/vfs and are KIND.CLASS.before and KIND.CLASS.after: of create,
// write, sync, rename, remove, truncate, syncdir; of log, snapshot, epoch, other. The others are
// listed here.
package failpoint

// A Point is a place in the code.
type Point string

// The points beside those of files.
const (
	BeforeVote     Point = "vote.before" // a notification of the election
	AfterVote      Point = "vote.after"
	BeforeAck      Point = "ack.before" // of proposals
	AfterAck       Point = "ack.after"
	BeforePacket   Point = "packet.before" // what leads to a synced learner: epochs, NEWLEADER and its ack, UPTODATE
	AfterPacket    Point = "packet.after"
	BeforeProposal Point = "proposal.before"
	AfterProposal  Point = "proposal.after"
	BeforeCommit   Point = "commit.before"
	AfterCommit    Point = "commit.after"
	BeforeApply    Point = "apply.before"
	AfterApply     Point = "apply.after"
	BeforeReply    Point = "reply.before" // replies and events of a batch
	AfterReply     Point = "reply.after"
	BeforeEvent    Point = "event.before" // one watch event
	AfterEvent     Point = "event.after"
	BeforeStream   Point = "stream.before" // a snapshot is sent to a learner
	AfterStream    Point = "stream.after"
	BeforeRestore  Point = "restore.before" // a learner takes one
	AfterRestore   Point = "restore.after"
)

// Points are those beside the points of files.
var Points = []Point{
	BeforeVote, AfterVote, BeforeAck, AfterAck, BeforePacket, AfterPacket, BeforeProposal, AfterProposal, BeforeCommit, AfterCommit, BeforeApply, AfterApply,
	BeforeReply, AfterReply, BeforeEvent, AfterEvent, BeforeStream, AfterStream, BeforeRestore, AfterRestore,
}

// Env and EnvAtStart are the environment variables that a server built with the tag reads.
const (
	Env        = "ZKCORE_TEST_FAILPOINTS"
	EnvAtStart = "ZKCORE_TEST_FAILPOINTS_AT_START"
)
