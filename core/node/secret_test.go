package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestOwnSecret: a server that is alone makes itself a secret and keeps it. Who was there before it had
// one comes back with the password that it got.
func TestOwnSecret(t *testing.T) {
	dir := t.TempDir()
	start := func(secret string) *rig {
		r := start(t, consensus.Leading, false, func(c *Config) { c.DataDir, c.OwnSecret = dir, []byte(secret) })
		return r
	}
	stop := func(r *rig) {
		if err := r.n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	apaches := func(p *peer) bool {
		pw := proto.SessionPassword(p.session)
		return string(pw[:]) == string(p.passwd)
	}
	r := start("")
	old := r.connect()
	if !apaches(old) {
		t.Fatal("a password, and no secret")
	}
	r.n.save()
	stop(r)
	for _, secret := range []string{strings.Repeat("first", 7), strings.Repeat("other", 7)} {
		r = start(secret)
		if a := r.again(old).greeted(); a.SessionID != old.session {
			t.Errorf("the session of before is lost: %+v", a)
		}
		p := r.connect()
		if apaches(p) {
			t.Error("anybody can compute the password of a session")
		}
		want, again := r.n.password(p.session), r.again(p).greeted()
		if string(want[:]) != string(p.passwd) || again.SessionID != p.session {
			t.Errorf("%x, %x, %+v", want, p.passwd, again)
		}
		if got := string(r.n.cfg.SessionSecret); got != strings.Repeat("first", 7) {
			t.Errorf("the secret is %q", got)
		}
		stop(r)
	}
	name := filepath.Join(dir, txnlog.VersionDir, secretFile)
	if info, err := os.Stat(name); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	for _, text := range []string{"", "xyz 1", "0123 1", strings.Repeat("00", 32)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		n := &Node{cfg: Config{OwnSecret: []byte("x"), FS: r.n.cfg.FS}, snaps: snapshots{dirs: r.n.snaps.dirs}}
		if err := n.openSecret(); err == nil || !strings.Contains(err.Error(), secretFile) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestSecretSince: with a secret of the ensemble, what was numbered before it counts has Apache's password, on
// every server.
func TestSecretSince(t *testing.T) {
	n := &Node{cfg: Config{SessionSecret: []byte("a secret of the ensemble"), SecretFrom: 1000}}
	for session, keyed := range map[int64]bool{1<<56 | 999: false, 1<<56 | 1000: true, -1<<56 | 999: false, -1<<56 | 5000: true} {
		if got := n.password(session) != proto.SessionPassword(session); got != keyed {
			t.Errorf("%x: %v", session, got)
		}
		if pw := n.readOnlyPassword(session); n.isPassword(session, pw[:]) || !n.isReadOnlyPassword(session, pw[:]) {
			t.Errorf("%x: %x", session, pw)
		}
	}
}
