package recorded

import (
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// A Difference is an exchange in which zkcore does not do what Apache's servers did.
type Difference struct {
	// Because is the first column of the row of docs/compatibility.md that says so.
	Because string
	what    what
}

type what int

const (
	refused    what = iota // with Unimplemented, and the connection is closed
	notSent                // the connection is gone
	headerOnly             // there is nothing behind the header of the reply
)

const (
	serversOwn = "deleteContainer, createSession sent by a client"
	badRead    = "a multiRead that does not decode"
)

// Ours are the exchanges with 3.9.5 in which zkcore differs, by their names.
var Ours = map[string]Difference{
	"deleteContainer_from_client_not_empty": {serversOwn, refused},
	"deleteContainer_from_client":           {serversOwn, notSent},
	"deleteContainer_ephemeral":             {serversOwn, notSent},
	"multiRead_with_write":                  {badRead, headerOnly},
}

// expected is what has to come for x, frame by frame, and whether the connection is closed behind it.
func (d Difference) expected(x *Exchange) (frames [][]byte, closed bool) {
	frames = Frames(x.Came)
	switch d.what {
	case refused:
		var h proto.RequestHeader
		if proto.Unmarshal(x.Sent[4:], &h) != nil {
			return frames, x.Closed
		}
		r := proto.ReplyHeader{Xid: h.Xid, Zxid: -1, Err: zkerr.Unimplemented}
		return [][]byte{r.Append(nil)}, true
	case headerOnly:
		frames[0] = frames[0][:proto.ReplyHeaderSize]
	}
	return frames, x.Closed
}
