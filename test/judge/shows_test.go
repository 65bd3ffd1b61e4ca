package judge

import (
	"slices"
	"testing"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// Reads may call the root "". What they show of it is of "/".
func TestShowsTheRoot(t *testing.T) {
	several := proto.MultiRequest{Read: true, Ops: []proto.MultiOp{{Op: proto.OpGetData}, {Op: proto.OpGetChildren}, {Op: proto.OpGetData, Path: "/a"}}}
	found := proto.MultiResponse{Results: []proto.MultiResult{
		{Op: proto.OpGetData, Data: []byte("root")}, {Op: proto.OpGetChildren, Children: []string{"b"}}, {Op: proto.OpError, Err: zkerr.NoNode},
	}}
	for _, o := range []*op{
		{op: proto.OpMultiRead, body: several.Append(nil), out: found.Append(nil)},
		{op: proto.OpGetData, body: (&proto.ReadRequest{}).Append(nil), out: (&proto.GetDataResponse{Data: []byte("root")}).Append(nil)},
	} {
		list, gone := o.shows()
		if len(list) != 1 || list[0].path != "/" || string(list[0].data) != "root" {
			t.Errorf("%s shows %+v", o.op, list)
		}
		if o.op == proto.OpMultiRead && !slices.Equal(gone, []string{"/a"}) {
			t.Errorf("gone are %q", gone)
		}
	}
}

// What a client may ask for is what has a request record, and what needs none.
func TestForbidden(t *testing.T) {
	for op := proto.Op(-20); op < 200; op++ {
		want := op.String()[0] == 'o' && op.String()[1] == 'p' // which has no name
		switch op {
		case proto.OpCheck, proto.OpCreateSession, proto.OpDeleteContainer, proto.OpError, proto.OpNotification:
			want = true
		}
		if forbidden(op) != want {
			t.Errorf("%s is forbidden: %v", op, !want)
		}
	}
}
