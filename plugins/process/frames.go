package process

import (
	"encoding/binary"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// What crosses in either direction is a row of frames, each of them its length and its bytes; the
// first byte says what it is. Numbers are varints, signed ones zigzag.

// What the node sends.
const (
	fOpen        byte = iota + 1 // ConsensusConfig, as protobuf: the first frame
	fPropose                     // term, txns
	fForward                     // term, requests
	fSync                        // term, id
	fRevalidate                  // term, session, timeout
	fCheckpoint                  // saved, needed
	fReconfigure                 // id, term, config; answered by fReply
	fDistrust                    // at, why
	fClose
	fAnswer // id, and the answer to that call
	fCredit // bytes: so much of what was sent has been dealt with
)

// What the module sends. Those from fRecover to fRestore, and fClosed, are calls of the node,
// made in their order; behind those there is an id if the module waits for an answer.
const (
	fOpened      byte = iota + 0x40 // Opened, as protobuf
	fRecover                        // id, max
	fSetAside                       // id, folder
	fRole                           // Role, as protobuf
	fDeliver                        // txns
	fReceive                        // from, request
	fTouch                          // from, touches
	fAsk                            // id, from, session, timeout: Node.Revalidate
	fRevalidated                    // session, alive
	fSynced                         // id
	fSnapshot                       // id
	fRestore                        // id, zxid
	fClosed                         // Error, as protobuf, or nothing: Close is done
	fTouched                        // id: asked beside the others
	fStream                         // id of a snapshot: send it by PutSnapshot
	fUnpin                          // id of a snapshot: it is closed
	fReply                          // id, Error as protobuf: of a Reconfigure
	fMetrics                        // counts, observations
	fOwn                            // how many, last zxid: Deliver of txns that the node has proposed in this term itself
)

// ordered says whether a frame is a call that the node's goroutine makes, in order.
func ordered(kind byte) bool { return kind >= fRecover && kind <= fClosed || kind == fOwn }

func appendTxns(dst []byte, txns []consensus.Txn) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(txns)))
	last := consensus.Zxid(0)
	for i := range txns {
		dst = binary.AppendVarint(dst, int64(txns[i].Zxid-last))
		last = txns[i].Zxid
		dst = appendBytes(dst, txns[i].Data)
	}
	return dst
}

// txns are pieces of the message, which nobody writes to again.
func (r *reader) txns() []consensus.Txn {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	txns := make([]consensus.Txn, n)
	last := consensus.Zxid(0)
	for i := range txns {
		last += consensus.Zxid(r.int())
		txns[i] = consensus.Txn{Zxid: last, Data: r.bytes()}
	}
	return txns
}

func appendRequest(dst []byte, q *consensus.Request) []byte {
	dst = binary.AppendVarint(dst, q.Session)
	dst = binary.AppendVarint(dst, int64(q.Cxid))
	dst = binary.AppendVarint(dst, int64(q.Op))
	dst = binary.AppendUvarint(dst, uint64(len(q.Auth)))
	for _, id := range q.Auth {
		dst = appendBytes(appendBytes(dst, id.Scheme), id.ID)
	}
	return appendBytes(dst, q.Body)
}

func (r *reader) request() consensus.Request {
	q := consensus.Request{Session: r.int(), Cxid: r.int32(), Op: r.int32()}
	if n := r.count(2); n > 0 {
		q.Auth = make([]consensus.Identity, n)
		for i := range q.Auth {
			q.Auth[i] = consensus.Identity{Scheme: r.string(), ID: r.string()}
		}
	}
	q.Body = r.bytes()
	return q
}

func appendTouches(dst []byte, ts []consensus.Touch) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ts)))
	for _, t := range ts {
		dst = binary.AppendVarint(dst, t.Session)
		dst = binary.AppendVarint(dst, int64(t.TimeoutMS))
	}
	return dst
}

func (r *reader) touches() []consensus.Touch {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	ts := make([]consensus.Touch, n)
	for i := range ts {
		ts[i] = consensus.Touch{Session: r.int(), TimeoutMS: r.int32()}
	}
	return ts
}

// appendProto appends a message as the rest of a frame.
func appendProto(dst []byte, m proto.Message) []byte {
	out, err := proto.MarshalOptions{}.MarshalAppend(dst, m)
	if err != nil {
		panic("a message of our own can't be encoded: " + err.Error()) // text that is no UTF-8: see clean
	}
	return out
}

// proto takes the rest of a frame as a message.
func (r *reader) proto(m proto.Message) {
	if proto.Unmarshal(r.b, m) != nil {
		r.fail()
		return
	}
	r.b = nil
}

// asked are calls that wait for an answer from the other side.
type asked struct {
	mu   sync.Mutex
	next uint64
	open map[uint64]chan []byte
	gone bool
}

// begin numbers a call. The channel gives the answer, or is closed if there will be none.
func (a *asked) begin() (uint64, chan []byte) {
	ch := make(chan []byte, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	if a.gone {
		close(ch)
		return a.next, ch
	}
	if a.open == nil {
		a.open = map[uint64]chan []byte{}
	}
	a.open[a.next] = ch
	return a.next, ch
}

// answer passes an answer on. False: nobody has asked.
func (a *asked) answer(id uint64, b []byte) bool {
	a.mu.Lock()
	ch := a.open[id]
	delete(a.open, id)
	a.mu.Unlock()
	if ch == nil {
		return false
	}
	ch <- b
	return true
}

func (a *asked) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = true
	for id, ch := range a.open {
		close(ch)
		delete(a.open, id)
	}
}
