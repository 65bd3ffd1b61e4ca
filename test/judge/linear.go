package judge

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// linear is the second opinion: of each znode alone, porcupine looks for an order
// of the writes and of the reads behind a sync that agrees with real time and with
// what was answered. It is told no zxid. What was not answered may have happened
// at any time, or in the very end, where nobody sees it; whether it did, the log
// says, where somebody looked: with a hundred writes of which each may have
// happened or not, porcupine comes to no end.
func (c *court) linear(o *Options) {
	if o.Porcupine <= 0 {
		return
	}
	keys := c.keys()
	for _, k := range keys {
		c.v.Counts["znodes that porcupine looked at"]++
		c.v.Counts["operations that porcupine looked at"] += len(k.ops)
		switch porcupine.CheckOperationsTimeout(znodeModel, k.ops, o.Porcupine) {
		case porcupine.Illegal:
			c.v.add("linear", fmt.Sprintf("there is no order for the %d operations on %s", len(k.ops), k.path), k.records...)
		case porcupine.Unknown:
			c.v.add("linear", fmt.Sprintf("porcupine does not come to an end with the %d operations on %s in %v", len(k.ops), k.path, o.Porcupine))
		}
	}
}

// A key is a znode's path and what was done to it.
type key struct {
	path    string
	ops     []porcupine.Operation
	records []int
}

// A step is one thing that is done to a znode; a multi may do several at once.
type step struct {
	kind    proto.Op // create, setData, delete, check, setACL; getData, exists; closeSession
	data    string
	version int32 // the one that is expected
	session int64 // closeSession, and of an ephemeral that is created
	// known: what came of it. Else it happens if it can.
	known bool
	code  zkerr.Code
	// saw has what was answered of the znode.
	saw     bool
	hasData bool
	gotData string
	gotVer  int32
}

// znodeState is what the steps see of a znode.
type znodeState struct {
	exists  bool
	data    string
	version int32
	session int64
}

var znodeModel = porcupine.Model{
	Init: func() any { return znodeState{} },
	Step: func(state, input, _ any) (bool, any) {
		s := state.(znodeState)
		before := s
		for _, st := range input.([]step) {
			next, code := s.do(&st)
			if !st.known {
				if code != zkerr.OK {
					return true, before // it came to nothing
				}
				s = next
				continue
			}
			if !st.agrees(s, next, code) {
				return false, before
			}
			if st.code == zkerr.OK {
				s = next
			}
		}
		return true, s
	},
	DescribeOperation: func(input, _ any) string {
		var parts []string
		for _, st := range input.([]step) {
			parts = append(parts, fmt.Sprintf("%s %q %d: %v", st.kind, st.data, st.version, st.code))
		}
		return strings.Join(parts, "; ")
	},
}

// do is what a step comes to, as far as this znode decides it.
func (s znodeState) do(st *step) (znodeState, zkerr.Code) {
	wrong := st.version != -1 && st.version != s.version
	switch st.kind {
	case proto.OpCreate:
		if s.exists {
			return s, zkerr.NodeExists
		}
		return znodeState{true, st.data, 0, st.session}, zkerr.OK
	case proto.OpCloseSession:
		if s.exists && s.session == st.session {
			return znodeState{}, zkerr.OK
		}
		return s, zkerr.OK
	}
	switch {
	case !s.exists:
		return s, zkerr.NoNode
	case st.kind == proto.OpSetData && wrong, st.kind == proto.OpDelete && wrong, st.kind == proto.OpCheck && wrong:
		return s, zkerr.BadVersion
	case st.kind == proto.OpDelete:
		return znodeState{}, zkerr.OK
	case st.kind == proto.OpSetData:
		if s.version++; s.version == -1 {
			s.version = 0
		}
		s.data = st.data
	}
	return s, zkerr.OK
}

// agrees says whether what was answered can be, where the znode goes from s to
// next.
func (st *step) agrees(s, next znodeState, code zkerr.Code) bool {
	switch st.code {
	case zkerr.OK:
		if code != zkerr.OK {
			return false
		}
		if st.saw && (st.gotVer != next.version || st.hasData && st.gotData != next.data) {
			return false
		}
		return true
	case zkerr.NoNode:
		return !s.exists // of a create it is the parent that is not there
	case zkerr.NodeExists, zkerr.NotEmpty:
		return s.exists
	case zkerr.BadVersion:
		// setACL is about another version.
		return st.kind == proto.OpSetACL && s.exists || code == zkerr.BadVersion
	}
	return true
}

func text(data []byte) string {
	if data == nil {
		return "null"
	}
	return "=" + string(data)
}

// keys gathers the operations on each znode that can be looked at alone: not those
// that go by themselves for other reasons than their session's end, nor those that
// a create may have made whose number nobody knows.
func (c *court) keys() []*key {
	byPath := map[string]*key{}
	var order []*key
	skip := map[string]bool{}
	owners := map[string][]*session{}
	var loose []*touch
	at := func(path string) *key {
		k := byPath[path]
		if k == nil {
			k = &key{path: path}
			byPath[path] = k
			order = append(order, k)
		}
		return k
	}
	put := func(k *key, steps []step, call, reply int, client int) {
		end := int64(math.MaxInt64)
		if reply >= 0 {
			end = int64(reply)
		}
		k.ops = append(k.ops, porcupine.Operation{ClientId: client, Input: steps, Call: int64(call), Return: end})
		k.records = append(k.records, call)
	}
	for _, o := range c.ops {
		if !isWrite(o.op) || o.answered() && o.code != zkerr.OK && !o.own {
			continue
		}
		if c.ledger != nil && !o.answered() && (o.txn == nil || !o.txn.effect()) {
			continue // it came to nothing
		}
		list := o.touches()
		for i := range list {
			t := &list[i]
			if t.sequential() && !t.done {
				if !t.void {
					loose = append(loose, t)
				}
				continue
			}
			if t.kind == proto.OpCreate && !t.void {
				switch {
				case !t.goes():
				case t.mode == proto.OpCreateContainer || t.mode == proto.OpCreateTTL:
					skip[t.path] = true
				default:
					owners[t.path] = append(owners[t.path], o.conn.session)
				}
			}
			if slices.ContainsFunc(list[:i], func(u touch) bool { return u.path == t.path }) {
				continue // taken with the first
			}
			var steps []step
			for j := i; j < len(list); j++ {
				if list[j].path == t.path {
					if st, ok := c.step(o, &list[j]); ok {
						steps = append(steps, st)
					}
					if !list[j].done && o.answered() {
						break // a multi that failed shows nothing of what is behind
					}
				}
			}
			if len(steps) > 0 {
				put(at(t.path), steps, o.call, o.reply, o.conn.client)
			}
		}
	}
	for path, sessions := range owners {
		slices.SortFunc(sessions, func(a, b *session) int { return a.conns[0].no - b.conns[0].no })
		for _, s := range slices.Compact(sessions) {
			if call, reply, may := c.ends(s); may {
				put(at(path), []step{{kind: proto.OpCloseSession, session: s.id}}, call, reply, s.client)
			}
		}
	}
	for _, cn := range c.conns {
		var sync *op
		for _, o := range cn.ops {
			if !o.answered() {
				break
			}
			if o.op == proto.OpSync && o.code == zkerr.OK {
				sync = o
			}
			if sync == nil || o.op != proto.OpGetData && o.op != proto.OpExists {
				continue
			}
			shows, gone := o.shows()
			for _, path := range gone {
				if byPath[path] != nil {
					put(byPath[path], []step{{kind: o.op, version: -1, known: true, code: zkerr.NoNode}}, sync.call, o.reply, cn.client)
				}
			}
			for _, s := range shows {
				if byPath[s.path] != nil {
					put(byPath[s.path], []step{{kind: o.op, version: -1, known: true, saw: true, hasData: s.has, gotData: text(s.data), gotVer: s.stat.Version}},
						sync.call, o.reply, cn.client)
				}
			}
		}
	}
	return slices.DeleteFunc(order, func(k *key) bool {
		return skip[k.path] || strings.HasPrefix(k.path, "/zookeeper") || k.path == "/" ||
			slices.ContainsFunc(loose, func(t *touch) bool { return t.mine(k.path) })
	})
}

// step is what a touch means for its znode; false if nothing.
func (c *court) step(o *op, t *touch) (step, bool) {
	st := step{kind: t.kind, data: text(t.data), version: t.version, known: o.answered() || c.ledger != nil, code: o.code}
	if t.kind == proto.OpCreate {
		st.version = -1
		if t.flags.Ephemeral() && t.mode != proto.OpCreateContainer {
			st.session = o.session()
		}
	}
	if t.stat != nil && t.kind != proto.OpSetACL {
		st.saw, st.gotVer = true, t.stat.Version
	}
	if o.op == proto.OpMulti && o.answered() && failed(o) {
		var p proto.MultiResponse
		if proto.Unmarshal(o.out, &p) != nil || t.part >= len(p.Results) {
			return st, false
		}
		// What stands before the part that failed was possible, and did not happen.
		if st.code = p.Results[t.part].Err; st.code == zkerr.OK || st.code == zkerr.RuntimeInconsistency {
			return st, false
		}
	}
	return st, true
}

// ends says when a session may have ended.
func (c *court) ends(s *session) (call, reply int, may bool) {
	call, reply = s.conns[0].connecting, -1
	for _, o := range s.ops {
		if o.op == proto.OpCloseSession {
			if o.answered() && o.code == zkerr.OK {
				return o.call, o.reply, true
			}
		} else if o.done() {
			call = o.call
		}
	}
	return call, reply, c.ledger == nil || s.closed != nil
}
