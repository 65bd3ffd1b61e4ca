package node

import (
	"strconv"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestIdentitiesAreForWhatFollows: what a client has asked for before it shows who it is, it has asked for
// as who it was then, though all of it came in one write; and an ACL of "auth" that it has asked for holds
// nobody that it became later. Also where a leader is yet to be found.
func TestIdentitiesAreForWhatFollows(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	bob := &proto.AuthPacket{Scheme: "digest", Auth: []byte("bob:secret")}
	ann := &proto.AuthPacket{Scheme: "digest", Auth: []byte("ann:secret")}
	own := func(path string) *proto.CreateRequest {
		q := create(path, 0)
		q.ACL = []proto.ACL{{Perms: 31, Scheme: "auth"}}
		return q
	}
	owner := r.connect()
	owner.must(proto.OpAuth, bob)
	owner.must(proto.OpCreate, own("/bobs"))

	check := func(p *peer, want ...zkerr.Code) {
		t.Helper()
		for i, code := range want {
			if a := p.reply(); a.Err != code {
				t.Errorf("answer %d is %v, want %v", i, a.Err, code)
			}
		}
	}
	batch := func(p *peer, tail string) []byte {
		b := p.request(proto.OpSetData, set("/bobs", "1"))
		b = append(b, p.request(proto.OpGetData, get("/bobs"))...)
		b = append(b, p.request(proto.OpSync, &proto.AnyPathRequest{Path: "/"})...)
		b = append(b, p.request(proto.OpSetWatches, &proto.SetWatchesRequest{Exist: []string{"/bobs"}})...)
		b = append(b, p.request(proto.OpCreate, own("/early"+tail))...)
		b = append(b, p.request(proto.OpAuth, ann)...)
		b = append(b, p.request(proto.OpCreate, own("/anns"+tail))...)
		b = append(b, p.request(proto.OpAuth, bob)...)
		return append(b, p.request(proto.OpSetData, set("/bobs", "2"))...)
	}
	want := []zkerr.Code{zkerr.NoAuth, zkerr.NoAuth, zkerr.OK, zkerr.OK, zkerr.InvalidACL, zkerr.OK, zkerr.OK, zkerr.OK, zkerr.OK}

	p := r.connect()
	p.write(batch(p, ""))
	check(p, want...)
	if list := acls(t, p, "/anns"); len(list) != 1 || list[0].ID[:4] != "ann:" {
		t.Errorf("/anns belongs to %v", list)
	}

	q := r.connect()
	r.m.setRole(consensus.Looking)
	r.until("no leader", func() bool { return !r.n.Serving() })
	q.write(batch(q, "2"))
	r.until("all is here", func() bool { n, _ := r.fifoLen(q.session); return n == len(want) })
	r.m.setRole(consensus.Leading)
	check(q, want...)
	if list := acls(t, q, "/anns2"); len(list) != 1 || list[0].ID[:4] != "ann:" {
		t.Errorf("/anns2 belongs to %v", list)
	}
}

// TestIdentitiesAreBounded: each write carries what its client is known as, so that is neither many names nor
// long ones.
func TestIdentitiesAreBounded(t *testing.T) {
	r := start(t, consensus.Leading, false, nil)
	auth := func(p *peer, user string) zkerr.Code {
		p.write(p.request(proto.OpAuth, &proto.AuthPacket{Scheme: "digest", Auth: []byte(user + ":secret")}))
		return p.reply().Err
	}
	for _, tc := range []struct {
		name  string
		taken int // beside the address, which each client is known by
		user  func(i int) string
	}{
		{"many", maxIdentities - 1, strconv.Itoa},
		{"long", 4, func(i int) string { return strings.Repeat(strconv.Itoa(i), 4000) }},
		{"very long", 0, func(int) string { return strings.Repeat("a", maxIdentityBytes) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := r.connect()
			for i := range tc.taken {
				if code := auth(p, tc.user(i)); code != zkerr.OK {
					t.Fatalf("user %d: %v", i, code)
				}
			}
			for i := range tc.taken {
				if code := auth(p, tc.user(i)); code != zkerr.OK {
					t.Fatalf("user %d, whom it is known as already: %v", i, code)
				}
			}
			if code := auth(p, tc.user(tc.taken)); code != zkerr.AuthFailed {
				t.Fatalf("one user more: %v, want %v", code, zkerr.AuthFailed)
			}
			p.ended()
		})
	}
}

// acls is the ACL of a znode.
func acls(t *testing.T, p *peer, path string) []proto.ACL {
	t.Helper()
	var a proto.GetACLResponse
	if err := proto.Unmarshal(p.must(proto.OpGetACL, &proto.PathRequest{Path: path}).body, &a); err != nil {
		t.Fatal(err)
	}
	return a.ACL
}
