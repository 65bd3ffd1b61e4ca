package judge

import (
	"fmt"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/zkerr"
)

// A ledger is what the ensemble has committed: the witness of what became of each
// request.
type ledger struct {
	txns   []*committed
	byZxid map[int64]*committed
	last   int64
}

// A committed is a txn with the request that it was made for.
type committed struct {
	txn.Txn
	op *op // nil: the servers' own
}

// effect says whether the txn changes anything.
func (t *committed) effect() bool {
	return t.Header.Type != txn.TypeError && !(t.Header.Type == txn.TypeMulti && t.Failed())
}

func (t *committed) String() string {
	s := fmt.Sprintf("0x%x, %s of session 0x%x, cxid %d", t.Header.Zxid, txn.TypeName(t.Header.Type), t.Header.ClientID, t.Header.Cxid)
	if t.Header.Type == txn.TypeError {
		s += fmt.Sprintf(" (%v)", zkerr.Code(t.Err))
	}
	return s
}

// asker is who has asked for a txn.
type asker struct {
	session int64
	cxid    int32
}

// openLedger decodes the txns and finds the request of each. What it says of them:
// they go on without a hole (I09, I16), a request has made at most one (I07), and
// what was answered is among them (I13).
func (c *court) openLedger() {
	if c.run.Txns == nil {
		c.v.blind("nobody looked at what was committed: replies are not replayed, unanswered writes not followed, events not checked")
		return
	}
	l := &ledger{byZxid: make(map[int64]*committed, len(c.run.Txns))}
	c.ledger = l
	askers := make(map[asker]*op, len(c.ops))
	for _, o := range c.ops {
		if isWrite(o.op) && o.conn.session != nil {
			askers[asker{o.conn.session.id, o.xid}] = o
		}
	}
	made := map[*op][]*committed{}
	for i := range c.run.Txns {
		raw := &c.run.Txns[i]
		t := &committed{}
		if err := txn.Decode(raw.Data, &t.Txn); err != nil {
			c.v.add("I16", fmt.Sprintf("what is committed at 0x%x does not decode: %v", raw.Zxid, err))
			return
		}
		if t.Header.Zxid != raw.Zxid {
			c.v.add("I16", fmt.Sprintf("what is committed at 0x%x says that it is 0x%x", raw.Zxid, t.Header.Zxid))
		}
		if next := raw.Zxid == l.last+1 || raw.Zxid>>32 > l.last>>32 && raw.Zxid&(1<<32-1) == 1; !next {
			c.v.add("I16", fmt.Sprintf("behind 0x%x comes 0x%x", l.last, raw.Zxid))
		}
		l.last = raw.Zxid
		l.txns = append(l.txns, t)
		l.byZxid[raw.Zxid] = t
		c.v.Counts["txns"]++
		s := c.sessions[t.Header.ClientID]
		switch t.Header.Type {
		case txn.TypeCreateSession:
			if s != nil {
				if s.opened != nil {
					c.v.add("I19", fmt.Sprintf("session 0x%x is opened at 0x%x and again at 0x%x", s.id, s.opened.Header.Zxid, raw.Zxid))
				}
				s.opened = t
			}
			continue
		case txn.TypeCloseSession:
			if s != nil && s.closed == nil {
				s.closed = t
			}
		}
		if o := askers[asker{t.Header.ClientID, t.Header.Cxid}]; o != nil && t.Header.Cxid != 0 {
			t.op = o
			made[o] = append(made[o], t)
		}
	}
	for _, o := range c.ops {
		if o.op == proto.OpCloseSession && c.run.About.LocalSessions && o.conn.session.opened == nil {
			o.own = false // its server has ended it alone
			c.v.Counts["local sessions closed"]++
		}
		if isWrite(o.op) {
			c.follow(o, made[o])
		}
	}
	for _, s := range c.order {
		if c.run.About.LocalSessions {
			break
		}
		if s.opened == nil && len(s.conns) > 0 {
			c.v.add("I13", fmt.Sprintf("session 0x%x was welcomed and is not among what is committed", s.id), s.conns[0].connected)
		}
	}
}

// follow says what became of a write, given the txns that were made for it.
func (c *court) follow(o *op, made []*committed) {
	var effects []*committed
	for _, t := range made {
		if t.effect() {
			effects = append(effects, t)
		}
		if o.answered() && t.Header.Zxid == o.zxid {
			o.txn, o.own = t, true
		}
	}
	if len(effects) > 1 {
		c.v.add("I07", fmt.Sprintf("%s took effect twice: at 0x%x and at 0x%x", o, effects[0].Header.Zxid, effects[1].Header.Zxid), o.call, o.reply)
	}
	switch {
	case !o.answered():
		c.v.Counts["unanswered writes"]++
		if len(effects) > 0 {
			o.txn = effects[0]
			c.v.Counts["unanswered writes with an effect"]++
		} else if len(made) > 0 {
			o.txn = made[0]
		}
	case o.own && o.txn == nil:
		c.v.add("I13", fmt.Sprintf("%s was answered at 0x%x, and is not what is committed there", o, o.zxid), o.call, o.reply)
	case o.code != zkerr.OK && len(effects) > 0:
		c.v.add("I07", fmt.Sprintf("%s was answered %v at 0x%x, and took effect at 0x%x", o, o.code, o.zxid, effects[0].Header.Zxid), o.call, o.reply)
	case len(effects) > 0 && effects[0] != o.txn:
		c.v.add("I07", fmt.Sprintf("%s was answered %v at 0x%x, and took effect at 0x%x", o, o.code, o.zxid, effects[0].Header.Zxid), o.call, o.reply)
	}
}

// zxidOf is the zxid of a write, if it is known; 0 if not.
func zxidOf(o *op) int64 {
	switch {
	case !isWrite(o.op):
		return 0
	case o.txn != nil:
		return o.txn.Header.Zxid
	case o.answered() && o.own:
		return o.zxid
	}
	return 0
}
