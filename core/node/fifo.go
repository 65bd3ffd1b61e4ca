package node

import (
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// kind says what an entry waits for and how it is answered.
type kind uint8

const (
	kRead    kind = iota // the engine answers it, when it is at the head
	kPing                // a header
	kSASL                // an empty token: there is no SASL login here
	kReply               // a header with code, decided when it was read
	kOpen                // the beginning of a session that only this server knows
	kClose               // its end
	kSync                // waits for Synced
	kRewatch             // a long setWatches, or a wide read: waits for its turns
	kWrite               // waits for its txn
	kCreate              // createSession: waits for its txn
	kUpgrade             // the same for a session that was local; nobody is told
	kReclaim             // an old session: waits for the leader's word
)

// waits says whether an entry of this kind waits for somebody else.
func (k kind) waits() bool { return k >= kSync }

// isTxn says whether an entry of this kind is answered by a txn.
func (k kind) isTxn() bool { return k == kWrite || k == kCreate || k == kUpgrade }

// An entry is a request that is not answered yet.
type entry struct {
	kind kind
	// done says that what the entry waited for has come; ok is the answer to
	// kReclaim.
	done, ok bool
	// barrier is set for a write that was queued while something before it was
	// still to be answered: its txn must not be applied before that is.
	barrier bool
	// throttled says that it counts among what is under way, large how long its frame
	// is, if that counts among the large ones.
	throttled bool
	large     int32
	// last closes the connection behind the reply.
	last bool
	// local says of a write that its session was local when it was asked for.
	local bool
	// known is how many identities the client had then: what it adds afterwards is for what
	// it asks afterwards.
	known uint8
	code  zkerr.Code // kReply
	xid   int32
	op    int32
	body  []byte
	// count and zxid are what a getAllChildrenNumber of kRewatch has found, and as of when.
	count int32
	zxid  int64
	at    int64 // when it was read, ns on the node's clock
	sync  consensus.SyncID
}

// A fifo is what a connection has asked for and not been told, oldest first.
// Entries keep their number for as long as they are in it.
type fifo struct {
	ring  []entry // its length is a power of two, or 0
	first uint64  // number of the oldest entry
	n     int
}

// at returns the entry with that number, which is in the fifo.
func (f *fifo) at(no uint64) *entry { return &f.ring[no&uint64(len(f.ring)-1)] }

// head returns the oldest entry; there is one.
func (f *fifo) head() *entry { return f.at(f.first) }

// end is the number of the next entry to come.
func (f *fifo) end() uint64 { return f.first + uint64(f.n) }

func (f *fifo) push(e *entry) {
	if f.n == len(f.ring) {
		f.grow()
	}
	*f.at(f.end()) = *e
	f.n++
}

func (f *fifo) pop() {
	*f.head() = entry{}
	f.first++
	f.n--
}

func (f *fifo) grow() {
	ring := make([]entry, max(2*len(f.ring), 4))
	for no := f.first; no != f.end(); no++ {
		ring[no&uint64(len(ring)-1)] = *f.at(no)
	}
	f.ring = ring
}

// shrink gives the memory of an empty fifo back.
func (f *fifo) shrink() {
	if f.n == 0 {
		f.ring = nil
	}
}
