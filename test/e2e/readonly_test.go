package e2e

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/test/harness"
)

// readOnlyMode are options under which a server without a majority is read from.
func readOnlyMode() harness.Options {
	opt := harness.Options{Servers: 3, TickTimeMS: 300, JVMArgs: []string{"-Dreadonlymode.enabled=true"},
		Extra: map[string]string{"readonlymode.enabled": "true", "4lw.commands.whitelist": "stat,mntr,conf"}}
	if harness.Apache() {
		// Without local sessions its clients would get no answer that they understand.
		opt.Extra["localSessionsEnabled"], opt.Extra["localSessionsUpgradingEnabled"] = "true", "true"
	}
	return opt
}

// awaitWord polls a four-letter word until its answer has the text.
func awaitWord(t *testing.T, s *harness.Server, word, text string) string {
	t.Helper()
	for end := time.Now().Add(harness.Patience); ; time.Sleep(20 * time.Millisecond) {
		answer, err := s.FourLetter(word)
		if err == nil && strings.Contains(answer, text) {
			return answer
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not say %q: %q, %v", word, text, answer, err)
		}
	}
}

// TestReadOnlyMode: who asks for no more is served by a server that is alone, from what the
// ensemble had; who wants to write is not. With a majority everything is as it was.
func TestReadOnlyMode(t *testing.T) {
	e := harness.Start(t, readOnlyMode())
	writer := connect(t, e.Addrs()...)
	must(t, writer, client.CreateOp{Path: "/a", Data: []byte("1")})
	must(t, writer, client.CreateOp{Path: "/here", Mode: client.Ephemeral})
	alone := e.Follower()
	on := connect(t, alone.Addr())
	must(t, on, client.SyncOp{Path: "/"})
	if got := awaitWord(t, alone, "isro", "r"); got != "rw" {
		t.Errorf("isro of a follower says %q", got)
	}
	for _, s := range e.Servers {
		if s != alone {
			s.Kill9()
		}
	}

	awaitWord(t, alone, "isro", "ro")
	stat := awaitWord(t, alone, "stat", "Mode: read-only")
	if !strings.Contains(stat, "\nREAD-ONLY mode; serving only read-only clients\nClients:\n") {
		t.Errorf("stat says %q", stat)
	}
	awaitWord(t, alone, "mntr", "zk_server_state\tread-only\n")
	if conf := awaitWord(t, alone, "conf", "peerType=0\n"); strings.Contains(conf, "membership") {
		t.Errorf("conf of a read-only server says %q", conf)
	}

	reader := connectWith(t, client.Options{ReadOnly: true}, alone.Addr())
	if st := reader.State(); st != client.ConnectedReadOnly {
		t.Fatalf("the state is %v", st)
	}
	if r := must(t, reader, client.GetOp{Path: "/a"}); string(r.Data) != "1" {
		t.Errorf("/a is %q", r.Data)
	}
	must(t, reader, client.ExistsOp{Path: "/here"}) // nobody's session ends now
	ctx, cancel := patience()
	defer cancel()
	for _, op := range []client.Op{client.SetOp{Path: "/a", Data: []byte("2"), Version: -1}, client.CreateOp{Path: "/b"}, client.SyncOp{Path: "/"}} {
		if _, err := reader.Do(ctx, op); !errors.Is(err, zkerr.NotReadOnly) {
			t.Errorf("%T: %v", op, err)
		}
	}
	first := reader.Session().ID
	// It shows the same after a restart, when there is nobody to ask what was committed.
	alone.Kill9()
	alone.Start()
	awaitWord(t, alone, "isro", "ro")
	again := connectWith(t, client.Options{ReadOnly: true}, alone.Addr())
	if r := must(t, again, client.GetOp{Path: "/a"}); string(r.Data) != "1" {
		t.Errorf("/a is %q after a restart", r.Data)
	}
	for _, s := range e.Servers {
		if s != alone {
			s.Start()
		}
	}
	e.Await()
	// Its session was that server's alone; the next is the ensemble's.
	if err := reader.WaitState(ctx, client.Connected, client.Expired); err != nil {
		t.Fatal(err)
	}
	next := connectWith(t, client.Options{ReadOnly: true}, e.Addrs()...)
	if st := next.State(); st != client.Connected || next.Session().ID == first {
		t.Errorf("the state is %v", st)
	}
	must(t, next, client.SetOp{Path: "/a", Data: []byte("2"), Version: 0})
	must(t, writer, client.SyncOp{Path: "/"})
	if r := must(t, writer, client.ExistsOp{Path: "/here"}); r.Stat.EphemeralOwner != writer.Session().ID {
		t.Errorf("the writer's session: %+v", r.Stat)
	}
	if !harness.Apache() {
		sameTrees(t, e)
	}
}
