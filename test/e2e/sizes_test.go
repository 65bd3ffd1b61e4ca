package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// TestTxnSizes: whatever jute.maxbuffer and its extrasize are, no txn is made that the log does not take: what is too
// long is refused, and the server goes on. The longest request that there may be is taken.
func TestTxnSizes(t *testing.T) {
	for name, tc := range map[string]struct {
		extra  map[string]string
		buffer int
	}{
		"no extra size":      {map[string]string{"jute.maxbuffer.extrasize": "0"}, 1048575},
		"little extra size":  {map[string]string{"jute.maxbuffer": "100000", "jute.maxbuffer.extrasize": "2000"}, 100000},
		"no size that is":    {map[string]string{"jute.maxbuffer": "500"}, 1048575},
		"much extra size":    {map[string]string{"jute.maxbuffer": "100000", "jute.maxbuffer.extrasize": "4000000"}, 100000},
		"an extra size only": {map[string]string{"jute.maxbuffer.extrasize": "no number"}, 1048575},
	} {
		t.Run(name, func(t *testing.T) {
			if harness.Apache() {
				return // it takes these from the JVM's properties
			}
			e := harness.Start(t, harness.Options{Extra: tc.extra})
			s := e.Servers[0]
			c := connect(t, s.Addr())
			// The longest setData: 8 bytes of header, path, length, version.
			must(t, c, client.CreateOp{Path: "/a"})
			must(t, c, client.SetOp{Path: "/a", Data: make([]byte, tc.buffer-8-6-4-4), Version: -1})
			// A close whose list of ephemerals is several times as long as a request.
			owner := connect(t, s.Addr())
			must(t, owner, client.CreateOp{Path: "/e"})
			long := strings.Repeat("x", min(tc.buffer/4, 20_000))
			n := 3*tc.buffer/len(long) + 1
			for i := range n {
				must(t, owner, client.CreateOp{Path: fmt.Sprintf("/e/%s%d", long, i), Mode: client.Ephemeral})
			}
			ctx, cancel := patience()
			defer cancel()
			if err := owner.Close(ctx); err != nil {
				t.Fatal(err)
			}
			if st := must(t, c, client.ExistsOp{Path: "/e"}).Stat; st.NumChildren != 0 {
				t.Errorf("%d of %d ephemerals are left", st.NumChildren, n)
			}
			// An ACL that is longer as a txn than as a request: each auth: is all that the client is.
			for i := range 60 {
				if err := c.AddAuth(ctx, "digest", fmt.Appendf(nil, "user%02d:%s", i, "word")); err != nil {
					t.Fatal(err)
				}
			}
			acl := make([]client.ACL, tc.buffer/400)
			for i := range acl {
				acl[i] = client.ACL{Perms: int32(1 + i%31), Scheme: "auth"}
			}
			if _, err := c.Do(ctx, client.CreateOp{Path: "/acl", ACL: acl}); err != nil && !errors.Is(err, zkerr.MarshallingError) && !errors.Is(err, zkerr.InvalidACL) {
				t.Error(err)
			}
			if err := s.Died(); err != nil {
				t.Fatal(err)
			}
			s.Restart()
			if r := must(t, c, client.ExistsOp{Path: "/a"}); int(r.Stat.DataLength) != tc.buffer-22 {
				t.Errorf("%d bytes after a start", r.Stat.DataLength)
			}
		})
	}
}
