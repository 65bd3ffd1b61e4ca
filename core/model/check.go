package model

import (
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// Check says what is wrong with a write that any server can see without a look at
// the state, and may therefore refuse without a txn; OK if nothing is.
func (m *Model) Check(q Request) zkerr.Code {
	if rec := proto.NewRequest(q.Op); rec != nil && proto.Unmarshal(q.Body, rec) != nil {
		return zkerr.MarshallingError
	}
	switch q.Op {
	case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL:
		o, _ := decode(q.Op, q.Body)
		return (&write{m: m}).mode(&o)
	}
	return zkerr.OK
}
