package e2e

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// convert runs zkcore convert for a server that does not run.
func convert(t *testing.T, s *harness.Server, to string) (string, error) {
	t.Helper()
	out, err := exec.Command(harness.Binary(t), "convert", "--to="+to, "--config="+s.Config).CombinedOutput()
	return string(out), err
}

// TestConvert takes an ensemble from Zab to Raft and back: data, sessions and ACLs stay.
func TestConvert(t *testing.T) {
	for _, storage := range []string{"mem", "bolt"} {
		t.Run(storage, func(t *testing.T) { convertAndBack(t, storage) })
	}
}

func convertAndBack(t *testing.T, storage string) {
	e := harness.New(t, harness.Options{Servers: 3, Observers: 1, Extra: map[string]string{"snapCount": "100", "storage": storage, "jute.maxbuffer": "4000000"}})
	start := func(module string) {
		for _, s := range e.Servers {
			s.Args = []string{"--consensus=" + module}
			s.Start()
		}
		e.Await()
	}
	stop := func() {
		for _, s := range e.Servers {
			s.Stop()
		}
	}
	start("zab")
	c := connect(t, e.Addrs()...)
	writeMany(t, c, "/zab", 250, 30)
	must(t, c, client.CreateOp{Path: "/mine", Mode: client.Ephemeral})
	if harness.Apache() {
		return // its servers have nothing to convert to
	}
	must(t, c, client.CreateOp{Path: "/large", Data: make([]byte, 3_000_000)}) // more than any record by default
	secret := connect(t, e.Addrs()...)
	ctx, cancel := patience()
	defer cancel()
	if err := secret.AddAuth(ctx, "digest", []byte("me:word")); err != nil {
		t.Fatal(err)
	}
	must(t, secret, client.CreateOp{Path: "/secret", Data: []byte("x"), ACL: append(client.CreatorACL(), jute.ReadACL()...)})
	before := c.Session().ID

	for i, to := range []string{"raft", "zab", "raft"} {
		from := map[string]string{"raft": "zab", "zab": "raft"}[to]
		stop()
		// The other module refuses what is not its own, and says what to do.
		s := e.Servers[i]
		s.Args = []string{"--consensus=" + to}
		at := len(s.Log())
		s.Start()
		s.Wait()
		if text := since(s, at); !strings.Contains(text, "zkcore convert --to="+to+" --config="+s.Config) {
			t.Fatalf("%s on the data of %s says:\n%s", to, from, text)
		}
		for _, s := range e.Servers {
			if out, err := convert(t, s, to); err != nil {
				t.Fatalf("convert: %v: %s", err, out)
			}
			if out, err := convert(t, s, to); err == nil {
				t.Fatalf("a second time it says %q", out)
			}
		}
		start(to)
		must(t, c, client.SetOp{Path: "/zab", Data: []byte(to), Version: -1})
		if id := c.Session().ID; id != before {
			t.Errorf("under %s the session is %x, it was %x", to, id, before)
		}
		if st := must(t, c, client.GetOp{Path: "/mine"}).Stat; st.EphemeralOwner != before {
			t.Errorf("under %s the ephemeral node belongs to %x", to, st.EphemeralOwner)
		}
		if n := len(must(t, c, client.ChildrenOp{Path: "/zab"}).Children); n != 250 {
			t.Errorf("under %s there are %d children", to, n)
		}
		stranger := connect(t, e.Addrs()...)
		ctx, cancel := patience()
		if _, err := stranger.Do(ctx, client.SetOp{Path: "/secret", Version: -1}); !errors.Is(err, zkerr.NoAuth) {
			t.Errorf("under %s a stranger writes what has an ACL: %v", to, err)
		}
		cancel()
		must(t, secret, client.SetOp{Path: "/secret", Data: []byte(to), Version: int32(i)})
		writeMany(t, c, "/under-"+to+string(rune('0'+i)), 120, 30)
		sameTrees(t, e)
	}
}
