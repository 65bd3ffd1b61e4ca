package engine

import (
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/plugins/consensus"
)

func multi(ops ...proto.MultiOp) []byte { return (&proto.MultiRequest{Ops: ops}).Append(nil) }

func made(path string, flags proto.CreateFlags) proto.MultiOp {
	return proto.MultiOp{Op: proto.OpCreate, Path: path, Data: []byte("d"), ACL: open, Flags: flags}
}

// TestLocalSessions: a leader takes the writes of a session that it does not know if the server that
// sends them says that it is a local one, and gives it no ephemerals.
func TestLocalSessions(t *testing.T) {
	ip := []consensus.Identity{{Scheme: "ip", ID: "127.0.0.1"}}
	const (
		known, closed, own, theirs = 1, 2, 3<<56 | 9, 4<<56 | 9
	)
	for _, tc := range []struct {
		name    string
		mixed   bool
		session int64
		from    consensus.ServerID
		marked  bool
		op      proto.Op
		body    []byte
		want    zkerr.Code
	}{
		{"a write", false, theirs, 4, true, proto.OpCreate, create("/x", 0, open), zkerr.OK},
		{"a write of one of this server's", false, own, 3, true, proto.OpSetData, setData("/p", "x", -1), zkerr.OK},
		{"a container", false, theirs, 4, true, proto.OpCreateContainer, create("/x", 4, open), zkerr.OK},
		{"a container with an ephemeral flag", false, theirs, 4, true, proto.OpCreateContainer, create("/x", 1, open), zkerr.SessionExpired},
		{"the same of one that the ensemble knows", false, known, 1, true, proto.OpCreateContainer, create("/x", 1, open), zkerr.OK},
		{"an ephemeral", false, theirs, 4, true, proto.OpCreate, create("/x", 1, open), zkerr.EphemeralOnLocalSession},
		{"an ephemeral, sequential", false, theirs, 4, true, proto.OpCreate2, create("/x", 3, open), zkerr.EphemeralOnLocalSession},
		{"an ephemeral that could not be made anyway", false, theirs, 4, true, proto.OpCreate, create("/no/x", 1, open), zkerr.EphemeralOnLocalSession},
		{"flags that are none", false, theirs, 4, true, proto.OpCreate, create("/x", 99, open), zkerr.BadArguments},
		{"not said", false, theirs, 4, false, proto.OpCreate, create("/x", 0, open), zkerr.SessionExpired},
		{"an ephemeral of one that the ensemble knows by now", false, known, 1, true, proto.OpCreate, create("/x", 1, open), zkerr.OK},
		{"of one that is ending", false, closed, 1, true, proto.OpCreate, create("/x", 0, open), zkerr.SessionExpired},

		{"not said, Apache's", true, theirs, 4, false, proto.OpCreate, create("/x", 0, open), zkerr.OK},
		{"not said, an ephemeral", true, theirs, 4, false, proto.OpCreate, create("/x", 1, open), zkerr.SessionExpired},
		{"not said, through this server", true, theirs, 3, false, proto.OpCreate, create("/x", 0, open), zkerr.SessionExpired},
		{"not said, numbered by this server", true, own, 4, false, proto.OpCreate, create("/x", 0, open), zkerr.SessionExpired},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, _ := tree(t, Options{Server: 3, UnmarkedLocals: tc.mixed})
			r.connect(closed)
			r.held = true
			r.prepare(1, &consensus.Request{Session: closed, Op: int32(proto.OpCloseSession)})
			q := &consensus.Request{Session: tc.session, Cxid: 5, Op: int32(tc.op), Body: tc.body, Auth: ip}
			if tc.marked {
				q.Auth = MarkLocal(ip)
			}
			var x txn.Txn
			if err := txn.Decode(r.prepare(tc.from, q).Data, &x); err != nil {
				t.Fatal(err)
			}
			got := zkerr.OK
			if x.Header.Type == txn.TypeError {
				got = zkerr.Code(x.Err)
			}
			if got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

// TestLocalSessionsMulti: in a multi it is the ephemeral that fails, and what is before it is undone.
func TestLocalSessionsMulti(t *testing.T) {
	r, _ := tree(t, Options{})
	prepare := func(body []byte) txn.Txn {
		var x txn.Txn
		q := &consensus.Request{Session: 77, Op: int32(proto.OpMulti), Body: body, Auth: MarkLocal(nil)}
		if err := txn.Decode(r.prepare(4, q).Data, &x); err != nil {
			t.Fatal(err)
		}
		return x
	}
	x := prepare(multi(made("/m1", 0), made("/m2", proto.FlagEphemeral), made("/m3", 0)))
	for i, want := range []zkerr.Code{1: zkerr.EphemeralOnLocalSession, 2: zkerr.RuntimeInconsistency} {
		if s := x.Subs[i]; i > 0 && (s.Type != txn.TypeError || zkerr.Code(s.Body.Err) != want) {
			t.Errorf("operation %d: %+v", i, s)
		}
	}
	x = prepare(multi(made("/m1", 0), made("/m3", 0)))
	if len(x.Subs) != 2 || x.Subs[0].Type != txn.TypeCreate {
		t.Errorf("%+v", x.Subs)
	}
}

// The mark is no identity: "auth" does not stand for it, and nobody gets it by asking.
func TestLocalMark(t *testing.T) {
	bob := []consensus.Identity{{Scheme: "digest", ID: "bob:h"}}
	r, _ := tree(t, Options{})
	q := &consensus.Request{Session: 77, Op: int32(proto.OpCreate), Auth: MarkLocal(bob),
		Body: create("/mine", 0, []jute.ACL{{Perms: 31, Scheme: "auth"}})}
	r.prepare(4, q)
	rec, _, err := r.e.View().Get("/mine")
	if err != nil {
		t.Fatal(err)
	}
	acl := r.e.acls.list(znode.Head(rec.Head).ACL())
	if len(acl) != 1 || acl[0] != bobsACL[0] {
		t.Errorf("%+v", acl)
	}
	if ids, code := r.e.Authenticate(localMark.Scheme, []byte(localMark.ID), ""); code != zkerr.AuthFailed {
		t.Errorf("%v, %v", ids, code)
	}
}

func TestMakesEphemeral(t *testing.T) {
	for _, tc := range []struct {
		op   proto.Op
		body []byte
		want bool
	}{
		{proto.OpCreate, create("/x", 0, open), false},
		{proto.OpCreate, create("/x", 1, open), true},
		{proto.OpCreate2, create("/x", 3, open), true},
		{proto.OpCreate, create("/x", 2, open), false},
		{proto.OpCreate, create("/x", 1, open)[:3], false},
		{proto.OpCreateContainer, create("/x", 4, open), false},
		{proto.OpSetData, setData("/x", "", 1), false},
		{proto.OpMulti, multi(), false},
		{proto.OpMulti, multi(made("/x", 0), made("/y", 2)), false},
		{proto.OpMulti, multi(made("/x", 0), made("/y", 3)), true},
		{proto.OpMulti, multi(made("/x", 4)), false},
		{proto.OpMulti, []byte{1}, false},
	} {
		if got := MakesEphemeral(int32(tc.op), tc.body); got != tc.want {
			t.Errorf("%v %q: %v", tc.op, tc.body, got)
		}
	}
}
