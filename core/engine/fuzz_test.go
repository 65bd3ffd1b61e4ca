package engine

import (
	"bytes"
	"testing"

	"github.com/zkcore/zkcore/core/fuzztest"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/recorded"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// Whatever a client sends as whatever operation, the engine answers and keeps a
// sound state, and what it logs can be applied. What Check refuses, Prepare does
// too.
func FuzzRequest(f *testing.F) {
	f.Add(int32(proto.OpCreate), create("/x", 2, open))
	f.Add(int32(proto.OpCreateTTL), createTTL("/x", 5, 7))
	f.Add(int32(proto.OpDelete), version("/p/kid", -1))
	f.Add(int32(proto.OpSetData), setData("/p", "data", 1))
	f.Add(int32(proto.OpSetACL), setACL("/p", bobsACL, 1))
	f.Add(int32(proto.OpCloseSession), []byte(nil))
	f.Add(int32(proto.OpMulti), (&proto.MultiRequest{Ops: []proto.MultiOp{
		{Op: proto.OpCreate, Path: "/m", ACL: open, Flags: 4}, {Op: proto.OpCheck, Path: "/p", Version: 1}, {Op: proto.OpDelete, Path: "/m"},
	}}).Append(nil))
	f.Add(int32(proto.OpMultiRead), (&proto.MultiRequest{Read: true, Ops: []proto.MultiOp{{Op: proto.OpGetData, Path: "/p"}}}).Append(nil))
	f.Add(int32(proto.OpGetData), look("/p", true))
	f.Add(int32(proto.OpGetACL), onlyPath("/locked"))
	f.Add(int32(proto.OpSetWatches2), (&proto.SetWatches2Request{SetWatchesRequest: proto.SetWatchesRequest{Data: []string{"/p"}}}).Append(nil))
	f.Add(int32(proto.OpAddWatch), addWatch("/p", 1))
	f.Add(int32(proto.OpCreateSession), []byte{0, 0, 0, 9})
	all := loadExchangesFrom(f)
	for _, x := range all {
		f.Add(x.op, x.body)
	}
	f.Fuzz(func(t *testing.T, op int32, body []byte) {
		r, c := tree(t, Options{ExtendedTypes: true})
		before := bytes.Clone(body)
		var code zkerr.Code
		// An op of a multi takes some seven times what it can come in.
		(fuzztest.Limit{Factor: 8, Constant: fuzztest.Rule.Constant}).Check(t, len(body), func() { code = r.e.Check(op, body) })
		r.held = true
		// Twice, so that the second meets what the first will have done.
		for range 2 {
			x := r.prepare(1, &consensus.Request{Session: c.session, Cxid: 7, Op: op, Auth: c.auth, Body: body})
			h, err := txn.DecodeHeader(x.Data)
			if err != nil {
				t.Fatal(err)
			}
			if code != zkerr.OK && h.Type != txn.TypeError && proto.Op(op) != proto.OpCreateSession {
				t.Errorf("check says %v, prepare makes a txn of type %d", code, h.Type)
			}
			if h.Type == txn.TypeMulti && proto.Op(op) != proto.OpMulti {
				t.Errorf("%d became a multi", op)
			}
		}
		r.release(1)
		r.release(1)
		c.read(proto.Op(op), body)
		SetsWatch(op, body)
		if !bytes.Equal(before, body) {
			t.Error("the request was changed")
		}
		r.e.dump(t)
	})
}

type rawRequest struct {
	op   int32
	body []byte
}

func loadExchangesFrom(f *testing.F) []rawRequest {
	var out []rawRequest
	for _, x := range loadExchanges(f) {
		in := recorded.Frames(x.Sent)
		if len(in) == 0 || len(in[0]) < proto.RequestHeaderSize {
			continue
		}
		var h proto.RequestHeader
		if proto.Unmarshal(in[0], &h) == nil {
			out = append(out, rawRequest{int32(h.Op), in[0][proto.RequestHeaderSize:]})
		}
	}
	return out
}

// What comes as a txn is applied or refused, and does no other harm.
func FuzzApply(f *testing.F) {
	r, _ := tree(f, Options{ExtendedTypes: true})
	for _, x := range r.log {
		f.Add(x.Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, _ := tree(t, Options{ExtendedTypes: true})
		r.e.StopLeading()
		h, err := txn.DecodeHeader(data)
		if err != nil || h.Zxid <= r.e.LastZxid() {
			h.Zxid = r.e.LastZxid() + 1
			if len(data) >= txn.HeaderSize {
				data = append(txn.AppendHeader(nil, &h), data[txn.HeaderSize:]...)
			}
		}
		r.e.opts.OnDigestMismatch = nil
		if err := r.e.Apply([]consensus.Txn{{Zxid: consensus.Zxid(h.Zxid), Data: data}}, r); err == nil {
			r.e.dump(t)
		}
	})
}
